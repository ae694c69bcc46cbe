//! RDS's events: on the bus, best effort, and in DescribeEvents.
//!
//! Copies and modifications have none, so whoever waits for those must ask.

use serde_json::json;
use time::OffsetDateTime;

use super::Inner;
use super::api::{Answer, Call};
use super::listing;
use super::names::Place;
use super::xml::{Xml, timestamp};
use crate::events::Event;

/// Something RDS tells the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    ClusterCreated,
    ClusterDeleted,
    ClusterStopped,
    ClusterStarted,
    ClusterRenamed,
    MasterPasswordReset,
    MasterPasswordNotReset,
    ClusterImpossible,
    FailoverStarted,
    FailoverCompleted,
    InstanceCreated,
    InstanceDeleted,
    InstanceRestarted,
    SnapshotStarted,
    SnapshotCreated,
    AutomatedSnapshotStarted,
    AutomatedSnapshotCreated,
}

/// Event number, source type, category, message.
type Description = (&'static str, Source, &'static str, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Cluster,
    Instance,
    Snapshot,
}

impl Happening {
    fn description(self) -> Description {
        use Source::{Cluster, Instance, Snapshot};
        match self {
            Self::ClusterCreated => ("0170", Cluster, "creation", "DB cluster created"),
            Self::ClusterDeleted => ("0171", Cluster, "deletion", "DB cluster deleted"),
            Self::ClusterStopped => ("0150", Cluster, "notification", "DB cluster stopped"),
            Self::ClusterStarted => ("0151", Cluster, "notification", "DB cluster started"),
            Self::ClusterRenamed => ("0172", Cluster, "notification", "Renamed cluster"),
            Self::MasterPasswordReset => (
                "0016",
                Cluster,
                "configuration change",
                "Reset master credentials",
            ),
            Self::MasterPasswordNotReset => (
                "0067",
                Cluster,
                "failure",
                "An attempt to reset the master password for the DB cluster has failed",
            ),
            Self::ClusterImpossible => (
                "0354",
                Cluster,
                "failure",
                "The DB cluster can't be created because of incompatible resources",
            ),
            Self::FailoverStarted => ("0073", Cluster, "failover", "Started failover"),
            Self::FailoverCompleted => ("0071", Cluster, "failover", "Completed failover"),
            Self::InstanceCreated => ("0005", Instance, "creation", "DB instance created"),
            Self::InstanceDeleted => ("0003", Instance, "deletion", "DB instance deleted"),
            Self::InstanceRestarted => ("0006", Instance, "availability", "DB instance restarted"),
            Self::SnapshotStarted => (
                "0074",
                Snapshot,
                "backup",
                "Creating manual cluster snapshot",
            ),
            Self::SnapshotCreated => (
                "0075",
                Snapshot,
                "backup",
                "Manual cluster snapshot created",
            ),
            Self::AutomatedSnapshotStarted => (
                "0168",
                Snapshot,
                "backup",
                "Creating automated cluster snapshot",
            ),
            Self::AutomatedSnapshotCreated => (
                "0169",
                Snapshot,
                "backup",
                "Automated cluster snapshot created",
            ),
        }
    }
}

impl Source {
    /// In events, in DescribeEvents, in the detail type, in ARNs.
    fn names(self) -> [&'static str; 4] {
        match self {
            Self::Cluster => ["CLUSTER", "db-cluster", "RDS DB Cluster Event", "cluster"],
            Self::Instance => ["DB_INSTANCE", "db-instance", "RDS DB Instance Event", "db"],
            Self::Snapshot => [
                "CLUSTER_SNAPSHOT",
                "db-cluster-snapshot",
                "RDS DB Cluster Snapshot Event",
                "cluster-snapshot",
            ],
        }
    }
}

/// An event as DescribeEvents lists it.
#[derive(Clone, Debug)]
pub(super) struct PastEvent {
    place: Place,
    id: String,
    happening: Happening,
    at: OffsetDateTime,
}

impl Inner {
    /// Tells the world. An event may be lost on the bus; DescribeEvents has it all the same.
    pub(super) fn tell(&self, place: &Place, id: &str, happening: Happening) {
        let (number, source, category, message) = happening.description();
        let [source_type, _, detail_type, kind] = source.names();
        let at = self.now();
        let arn = place.arn(kind, id);
        let lost = self.edit(|book| {
            book.events.push(PastEvent {
                place: place.clone(),
                id: id.to_owned(),
                happening,
                at,
            });
            book.chance(self.settings.event_loss)
        });
        let Some(world) = self.world.upgrade().filter(|_| !lost) else {
            return;
        };
        world.publish(Event {
            account: place.account.clone(),
            region: place.region.clone(),
            source: "aws.rds".to_owned(),
            detail_type: detail_type.to_owned(),
            resources: vec![arn.clone()],
            detail: json!({
                "EventCategories": [category],
                "SourceType": source_type,
                "SourceArn": arn,
                "Date": timestamp(at),
                "Message": message,
                "SourceIdentifier": id,
                "EventID": format!("RDS-EVENT-{number}"),
            }),
        });
    }
}

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    let end = form.time("EndTime")?.unwrap_or(call.now);
    let duration = form
        .minutes("Duration")?
        .unwrap_or(std::time::Duration::from_secs(3600));
    let start = form.time("StartTime")?.unwrap_or(end - duration);
    let categories = form.list("EventCategories").unwrap_or_default();
    let found = rds.read(|book| {
        book.events
            .iter()
            .enumerate()
            .filter(|(_, event)| {
                let (_, source, category, _) = event.happening.description();
                event.place == call.place
                    && (start..=end).contains(&event.at)
                    && form
                        .text("SourceIdentifier")
                        .is_none_or(|id| id == event.id)
                    && form
                        .text("SourceType")
                        .is_none_or(|kind| kind == source.names()[1])
                    && (categories.is_empty() || categories.iter().any(|wanted| wanted == category))
            })
            .map(|(number, event)| (format!("{number:08}"), event.clone()))
            .collect()
    });
    let page = listing::page(form, found)?;
    Ok(Xml::of(|xml| {
        xml.some("Marker", page.marker)
            .list("Events", "Event", page.items, |xml, event| {
                let (_, source, category, message) = event.happening.description();
                let [_, source_type, _, kind] = source.names();
                xml.text("SourceIdentifier", &event.id)
                    .text("SourceType", source_type)
                    .text("Message", message)
                    .strings("EventCategories", "EventCategory", [category])
                    .time("Date", event.at)
                    .text("SourceArn", event.place.arn(kind, &event.id));
            });
    }))
}
