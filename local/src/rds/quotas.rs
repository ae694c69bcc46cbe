//! What an account may have in one region.

use super::Inner;
use super::api::{Answer, Call};
use super::errors;
use super::names::Place;
use super::settings::Quotas;
use super::snapshot::{Snapshot, SnapshotType};
use super::state::Book;
use super::xml::Xml;
use crate::request::ApiError;

pub(super) fn another_cluster(book: &Book, quotas: &Quotas, place: &Place) -> Result<(), ApiError> {
    let used = book
        .clusters
        .values()
        .filter(|cluster| cluster.place == *place)
        .count();
    if used < quotas.clusters {
        Ok(())
    } else {
        Err(errors::cluster_quota())
    }
}

pub(super) fn another_instance(
    book: &Book,
    quotas: &Quotas,
    place: &Place,
) -> Result<(), ApiError> {
    let used = book
        .instances
        .values()
        .filter(|instance| instance.place == *place)
        .count();
    if used < quotas.instances {
        Ok(())
    } else {
        Err(errors::instance_quota())
    }
}

pub(super) fn another_manual_snapshot(
    book: &Book,
    quotas: &Quotas,
    place: &Place,
) -> Result<(), ApiError> {
    if manual_snapshots(book, place) < quotas.manual_snapshots {
        return Ok(());
    }
    Err(errors::snapshot_quota(format!(
        "Cannot create more than {} manual snapshots",
        quotas.manual_snapshots
    )))
}

pub(super) fn another_copy(book: &Book, quotas: &Quotas, place: &Place) -> Result<(), ApiError> {
    let used = snapshots(book, place)
        .filter(|snapshot| snapshot.status.is("copying"))
        .count();
    if used < quotas.copies_in_progress {
        return Ok(());
    }
    Err(errors::snapshot_quota(format!(
        "Cannot copy more than {} snapshots across regions",
        quotas.copies_in_progress
    )))
}

fn manual_snapshots(book: &Book, place: &Place) -> usize {
    snapshots(book, place)
        .filter(|snapshot| snapshot.kind == SnapshotType::Manual)
        .count()
}

fn snapshots<'a>(book: &'a Book, place: &Place) -> impl Iterator<Item = &'a Snapshot> {
    book.snapshots
        .values()
        .filter(move |snapshot| snapshot.place == *place)
}

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    let (quotas, place) = (&rds.settings.quotas, &call.place);
    let rows = rds.read(|book| {
        [
            (
                "DBClusters",
                book.clusters
                    .values()
                    .filter(|cluster| cluster.place == *place)
                    .count(),
                quotas.clusters,
            ),
            (
                "DBInstances",
                book.instances
                    .values()
                    .filter(|instance| instance.place == *place)
                    .count(),
                quotas.instances,
            ),
            (
                "ManualClusterSnapshots",
                manual_snapshots(book, place),
                quotas.manual_snapshots,
            ),
            (
                "DBClusterParameterGroups",
                book.parameter_groups
                    .keys()
                    .filter(|(at, kind, _)| at == place && kind == "cluster-pg")
                    .count(),
                quotas.cluster_parameter_groups,
            ),
            ("DBClusterRoles", 0, quotas.roles_per_cluster),
            ("ReadReplicasPerMaster", 0, quotas.readers_per_cluster),
        ]
    });
    Ok(Xml::of(|xml| {
        xml.list(
            "AccountQuotas",
            "AccountQuota",
            rows,
            |xml, (name, used, max)| {
                xml.text("AccountQuotaName", name)
                    .text("Used", used)
                    .text("Max", max);
            },
        );
    }))
}
