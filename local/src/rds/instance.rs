//! Instances: a cluster's servers. The first one starts the real server, the last one's end stops it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::api::{Answer, Call};
use super::audit::ResourceView;
use super::catalog::{self, DbEngine, SERVERLESS};
use super::cluster::Cluster;
use super::encryption::KEY_LOST;
use super::events::Happening;
use super::form::Form;
use super::lifecycle::{Flow, blocking};
use super::listing::{self, Filter};
use super::names::{self, Place};
use super::parameter_groups::{self, OF_INSTANCE};
use super::state::{Book, Status};
use super::subnet_groups;
use super::tags::Tags;
use super::trouble::{Ending, Kind};
use super::xml::Xml;
use super::{Inner, errors, global, quotas};
use crate::request::ApiError;

/// An instance.
pub(super) struct Instance {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) resource_id: String,
    /// The cluster's resource id.
    pub(super) cluster: String,
    pub(super) status: Status,
    pub(super) class: String,
    pub(super) writer: bool,
    pub(super) promotion_tier: u8,
    pub(super) parameter_group: String,
    pub(super) parameter_status: &'static str,
    pub(super) cluster_parameter_status: &'static str,
    zone: String,
    certificate: String,
    shown_only: BTreeMap<&'static str, String>,
    pub(super) tags: Tags,
    created: OffsetDateTime,
    visible_from: OffsetDateTime,
    /// Whether it has ever been available; only then has it an endpoint.
    reachable: bool,
    pending: Pending,
}

/// Modifications that are accepted and not yet made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pending {
    class: Option<String>,
    name: Option<String>,
}

/// Statuses of a cluster in which it takes a new instance, besides `creating`.
const ACCEPTING: [&str; 7] = [
    "available",
    "backing-up",
    "modifying",
    "resetting-master-credentials",
    "maintenance",
    "storage-optimization",
    "failing-over",
];

/// What an instance shows that nobody said more about (RDS API reference).
const SHOWN_BY_DEFAULT: [(&str, &str); 5] = [
    ("PubliclyAccessible", "false"),
    ("AutoMinorVersionUpgrade", "true"),
    ("MonitoringInterval", "0"),
    ("PerformanceInsightsEnabled", "false"),
    ("PreferredMaintenanceWindow", "mon:05:00-mon:05:30"),
];

/// Parameters that are kept and shown and change nothing here.
const SHOWN_ONLY: [(&str, &str); 9] = [
    ("PubliclyAccessible", "PubliclyAccessible"),
    ("EnablePerformanceInsights", "PerformanceInsightsEnabled"),
    ("PerformanceInsightsKMSKeyId", "PerformanceInsightsKMSKeyId"),
    (
        "PerformanceInsightsRetentionPeriod",
        "PerformanceInsightsRetentionPeriod",
    ),
    ("MonitoringInterval", "MonitoringInterval"),
    ("MonitoringRoleArn", "MonitoringRoleArn"),
    ("PreferredMaintenanceWindow", "PreferredMaintenanceWindow"),
    ("DatabaseInsightsMode", "DatabaseInsightsMode"),
    ("AutoMinorVersionUpgrade", "AutoMinorVersionUpgrade"),
];

impl Instance {
    pub(super) fn arn(&self) -> String {
        self.place.arn("db", &self.id)
    }

    pub(super) fn require_available(&self) -> Result<(), ApiError> {
        if self.status.is("available") {
            return Ok(());
        }
        Err(errors::instance_state(format!(
            "Instance {} is not in available state: it is {}",
            self.id,
            self.status.as_str()
        )))
    }

    pub(super) fn view(&self) -> ResourceView {
        ResourceView {
            removed_at: None,
            kind: "db",
            place: self.place.clone(),
            id: self.id.clone(),
            arn: self.arn(),
            resource_id: self.resource_id.clone(),
            status: self.status.as_str().to_owned(),
            statuses: self.status.history().to_vec(),
            tags: self.tags.clone(),
            security_groups: Vec::new(),
            security_group_history: Vec::new(),
        }
    }

    fn take_shown_only(&mut self, form: &Form) {
        for (parameter, shown) in SHOWN_ONLY {
            if let Some(value) = form.text(parameter) {
                self.shown_only.insert(shown, value.to_owned());
            }
        }
    }

    fn write(&self, book: &Book, xml: &mut Xml) {
        xml.text("DBInstanceIdentifier", &self.id)
            .text("DBInstanceClass", &self.class)
            .text("DBInstanceStatus", self.status.as_str())
            .text("InstanceCreateTime", super::xml::timestamp(self.created))
            .text("AvailabilityZone", &self.zone)
            .text("MultiAZ", false)
            .text("PromotionTier", self.promotion_tier)
            .text("DbiResourceId", &self.resource_id)
            .text("DBInstanceArn", self.arn())
            .text("CACertificateIdentifier", &self.certificate)
            .text("AllocatedStorage", 1)
            .text("StorageType", "aurora")
            .list("DBSecurityGroups", "DBSecurityGroup", [(); 0], |_, ()| {})
            .list("DBParameterGroups", "DBParameterGroup", [()], |xml, ()| {
                xml.text("DBParameterGroupName", &self.parameter_group)
                    .text("ParameterApplyStatus", self.parameter_status);
            })
            .within("PendingModifiedValues", |xml| {
                xml.some("DBInstanceClass", self.pending.class.as_deref())
                    .some("DBInstanceIdentifier", self.pending.name.as_deref());
            });
        self.tags.write(xml);
        for (name, value) in &self.shown_only {
            xml.text(name, value);
        }
        if let Some(cluster) = book.clusters.get(&self.cluster) {
            self.write_of_cluster(cluster, book, xml);
        }
    }

    /// What an Aurora instance has from its cluster.
    fn write_of_cluster(&self, cluster: &Cluster, book: &Book, xml: &mut Xml) {
        let configuration = &cluster.configuration;
        xml.text("DBClusterIdentifier", &cluster.id)
            .text("Engine", cluster.engine.name())
            .text("EngineVersion", &cluster.version)
            .text("MasterUsername", &cluster.master_username)
            .some("DBName", cluster.database.as_deref())
            .text("LicenseModel", cluster.engine.license())
            .text(
                "BackupRetentionPeriod",
                configuration.backup_retention_period,
            )
            .text("PreferredBackupWindow", &configuration.backup_window)
            .text(
                "IAMDatabaseAuthenticationEnabled",
                configuration.iam_authentication,
            )
            .text("CopyTagsToSnapshot", false)
            .text("DeletionProtection", false)
            .text("DbInstancePort", 0)
            .list(
                "VpcSecurityGroups",
                "VpcSecurityGroupMembership",
                &configuration.security_groups,
                |xml, group| {
                    xml.text("VpcSecurityGroupId", group)
                        .text("Status", "active");
                },
            );
        cluster.encryption.write(xml);
        if self.reachable {
            xml.within("Endpoint", |xml| {
                xml.text("Address", cluster.address)
                    .text("Port", configuration.port);
            });
        }
        if let Ok(group) = subnet_groups::find(book, &self.place, &configuration.subnet_group) {
            xml.within("DBSubnetGroup", |xml| group.write(xml));
        }
    }
}

pub(super) fn create(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("DBInstanceIdentifier")?;
    rds.refuse_if_scripted(Kind::Instance, &id)?;
    let resource_id = rds.edit(|book| insert(rds, book, call, &id))?;
    become_available(rds, &resource_id, &id);
    answer(rds, &resource_id)
}

fn insert(rds: &Inner, book: &mut Book, call: &Call, id: &str) -> Result<String, ApiError> {
    let form = &call.form;
    let class = form.required("DBInstanceClass")?;
    let engine = DbEngine::named(form.required("Engine")?)?;
    let cluster_id = form
        .text("DBClusterIdentifier")
        .ok_or_else(|| errors::not_implemented("instances outside Aurora clusters"))?;
    if book.instance_mut(&call.place, id).is_ok() {
        return Err(errors::instance_exists());
    }
    let cluster = book.cluster(&call.place, cluster_id)?;
    check_against_cluster(rds, form, cluster, engine, class)?;
    global::check_takes_instances(book, cluster)?;
    let parameter_group = parameter_groups::chosen(
        book,
        OF_INSTANCE,
        &call.place,
        form.text("DBParameterGroupName"),
        engine,
        &cluster.version,
    )?;
    let cluster = cluster.resource_id.clone();
    quotas::another_instance(book, &rds.settings.quotas, &call.place)?;
    let siblings = book.instances_of(&cluster);
    if siblings.len() > rds.settings.quotas.readers_per_cluster {
        return Err(errors::instance_quota());
    }
    let (writer, zone) = (siblings.is_empty(), call.place.zone(siblings.len()));
    let resource_id = book.new_resource_id("db");
    let mut instance = Instance {
        place: call.place.clone(),
        id: id.to_owned(),
        resource_id: resource_id.clone(),
        cluster,
        status: Status::new("creating", call.now),
        class: class.to_owned(),
        writer,
        promotion_tier: form.number("PromotionTier", 0..=15)?.unwrap_or(1),
        parameter_group,
        parameter_status: "in-sync",
        cluster_parameter_status: "in-sync",
        zone: form.text("AvailabilityZone").map_or(zone, str::to_owned),
        certificate: form
            .text("CACertificateIdentifier")
            .unwrap_or("rds-ca-rsa2048-g1")
            .to_owned(),
        shown_only: SHOWN_BY_DEFAULT
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
        tags: Tags::from_form(form, rds.settings.quotas.tags_per_resource)?,
        created: call.now,
        visible_from: call.now + rds.settings.invisible_after_create,
        reachable: false,
        pending: Pending::default(),
    };
    instance.take_shown_only(form);
    book.instances.insert(resource_id.clone(), instance);
    Ok(resource_id)
}

fn check_against_cluster(
    rds: &Inner,
    form: &Form,
    cluster: &Cluster,
    engine: DbEngine,
    class: &str,
) -> Result<(), ApiError> {
    if engine != cluster.engine {
        return Err(errors::invalid_combination(format!(
            "The engine name requested for your DB instance ({}) doesn't match the engine name of your DB cluster ({}).",
            engine.name(),
            cluster.engine.name()
        )));
    }
    if form
        .text("EngineVersion")
        .is_some_and(|version| version != cluster.version)
    {
        return Err(errors::invalid_combination(format!(
            "The engine version that you requested for your DB instance doesn't match the engine version of your DB cluster ({}).",
            cluster.version
        )));
    }
    if form
        .text("DBSubnetGroupName")
        .is_some_and(|group| group != cluster.configuration.subnet_group)
    {
        return Err(errors::invalid_combination(
            "The DB instance and its DB cluster must be in the same DB subnet group",
        ));
    }
    catalog::check_class(class, engine, &cluster.version)?;
    let creating_is_fine =
        cluster.status.is("creating") && !rds.settings.refuse_instance_while_creating;
    if !creating_is_fine {
        cluster.require(&ACCEPTING)?;
    }
    if class == SERVERLESS && cluster.configuration.scaling.is_none() {
        return Err(errors::cluster_state(
            "Set the Serverless v2 scaling configuration on the parent DB cluster before creating a Serverless v2 DB instance.",
        ));
    }
    Ok(())
}

/// The rest of an instance's creation: it waits for its cluster, and then takes its time.
fn become_available(rds: &Arc<Inner>, resource_id: &str, name: &str) {
    let fate = rds.fate(Kind::Instance, name);
    let lasting = rds
        .lasting(
            rds.settings.durations.create_instance,
            &format!("create {name}"),
        )
        .mul_f64(fate.slower);
    let id = resource_id.to_owned();
    rds.flow(move |mut flow| async move {
        let ready = flow
            .until(|book| {
                let Some(instance) = book.instances.get(&id) else {
                    return Some(false);
                };
                let Some(cluster) = book.clusters.get(&instance.cluster) else {
                    return Some(false);
                };
                (!cluster.status.is("creating"))
                    .then(|| ACCEPTING.contains(&cluster.status.as_str()))
            })
            .await?;
        if fate.ending == Ending::Never {
            return None;
        }
        flow.sleep(lasting).await;
        let of_cluster = flow.edit(|book| {
            let cluster = &book.instances.get(&id)?.cluster;
            Some(book.clusters.get(cluster)?.status.as_str().to_owned())
        })?;
        let status = match &fate.ending {
            Ending::Status { status, .. } => status.clone(),
            _ if of_cluster == KEY_LOST => of_cluster,
            _ if !ready => "failed".to_owned(),
            _ => serve(&flow, &id).await?,
        };
        let (place, name) = flow.instance(&id, |instance, now| {
            if !instance.status.is("creating") {
                return None;
            }
            instance.status.set(&status, now);
            instance.reachable = status == "available";
            Some((instance.place.clone(), instance.id.clone()))
        })?;
        if status == "available" {
            flow.tell(&place, &name, Happening::InstanceCreated)?;
            flow.with(|rds| {
                rds.leave_if_scripted(Kind::Instance, &id, &name);
                Some(())
            })?;
        }
        Some(())
    });
}

/// Makes sure the cluster's server runs, and says which status an instance gets by it.
pub(super) async fn serve(flow: &Flow, instance: &str) -> Option<String> {
    let (volume, listen) = flow.edit(|book| {
        let instance = book
            .instances
            .get(instance)
            .filter(|instance| !instance.status.is("deleting"))?;
        let cluster = book.clusters.get(&instance.cluster)?;
        Some((
            Arc::clone(&cluster.volume),
            SocketAddr::new(cluster.address, cluster.configuration.port),
        ))
    })?;
    match blocking(move || volume.start(listen)).await {
        Ok(()) => Some("available".to_owned()),
        Err(error) => {
            let reason = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(%error, reason, "a database server did not start");
            Some("failed".to_owned())
        }
    }
}

/// The instance, as an answer to a call about it.
pub(super) fn answer(rds: &Inner, resource_id: &str) -> Answer {
    rds.read(|book| {
        let instance = book
            .instances
            .get(resource_id)
            .ok_or_else(|| errors::instance_not_found(resource_id))?;
        Ok(Xml::of(|xml| {
            xml.within("DBInstance", |xml| instance.write(book, xml));
        }))
    })
}

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    let wanted = call
        .form
        .text("DBInstanceIdentifier")
        .map(|text| names::locate(&call.place, "db", text))
        .transpose()?;
    rds.read(|book| {
        // A filter may ask for the cluster, which only the book knows: so each instance goes with its cluster.
        let known: &[Filter<(&Instance, Option<&Cluster>)>] = &[
            ("db-cluster-id", |(_, cluster)| {
                cluster
                    .map(|cluster| vec![cluster.id.clone(), cluster.arn()])
                    .unwrap_or_default()
            }),
            ("db-instance-id", |(instance, _)| {
                vec![instance.id.clone(), instance.arn()]
            }),
            ("dbi-resource-id", |(instance, _)| {
                vec![instance.resource_id.clone()]
            }),
            ("engine", |(_, cluster)| {
                cluster
                    .map(|cluster| vec![cluster.engine.name().to_owned()])
                    .unwrap_or_default()
            }),
        ];
        listing::check_filters(&call.form, known)?;
        let mut found = Vec::new();
        for instance in book
            .instances
            .values()
            .filter(|instance| instance.place == call.place)
        {
            let named = wanted
                .as_ref()
                .is_none_or(|(place, id)| instance.place == *place && instance.id == *id);
            let pair = (instance, book.clusters.get(&instance.cluster));
            if named
                && instance.visible_from <= call.now
                && listing::passes(&call.form, known, &pair)?
            {
                found.push((instance.id.clone(), instance));
            }
        }
        if let (Some((_, id)), true) = (&wanted, found.is_empty()) {
            return Err(errors::instance_not_found(id));
        }
        let page = listing::page(&call.form, found)?;
        Ok(Xml::of(|xml| {
            xml.some("Marker", page.marker).list(
                "DBInstances",
                "DBInstance",
                page.items,
                |xml, instance| instance.write(book, xml),
            );
        }))
    })
}

pub(super) fn modify(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let name = form.required("DBInstanceIdentifier")?;
    let at_once = form.flag("ApplyImmediately")?.unwrap_or(false);
    let new_name = form
        .text("NewDBInstanceIdentifier")
        .map(|name| names::identifier("NewDBInstanceIdentifier", name))
        .transpose()?;
    let id = rds.edit(|book| {
        if let Some(new_name) = &new_name
            && book.instance_mut(&call.place, new_name).is_ok()
        {
            return Err(errors::instance_exists());
        }
        let instance = book.instance_mut(&call.place, name)?;
        instance.require_available()?;
        let (id, cluster) = (instance.resource_id.clone(), instance.cluster.clone());
        let cluster = book
            .clusters
            .get(&cluster)
            .ok_or_else(|| errors::cluster_not_found(&cluster))?;
        if let Some(class) = form.text("DBInstanceClass") {
            catalog::check_class(class, cluster.engine, &cluster.version)?;
        }
        let group = match form.text("DBParameterGroupName") {
            Some(group) => Some(parameter_groups::chosen(
                book,
                OF_INSTANCE,
                &call.place,
                Some(group),
                cluster.engine,
                &cluster.version,
            )?),
            None => None,
        };
        let tier = form.number("PromotionTier", 0..=15)?;
        let instance = book.instance_mut(&call.place, name)?;
        instance.take_shown_only(form);
        instance.promotion_tier = tier.unwrap_or(instance.promotion_tier);
        if let Some(certificate) = form.text("CACertificateIdentifier") {
            certificate.clone_into(&mut instance.certificate);
        }
        if let Some(group) = group.filter(|group| *group != instance.parameter_group) {
            instance.parameter_group = group;
            instance.parameter_status = "pending-reboot";
        }
        if let Some(class) = form
            .text("DBInstanceClass")
            .filter(|class| *class != instance.class)
        {
            instance.pending.class = Some(class.to_owned());
        }
        if new_name.is_some() {
            instance.pending.name.clone_from(&new_name);
        }
        Ok(id)
    })?;
    if at_once {
        make_changes(rds, &id);
    }
    answer(rds, &id)
}

fn make_changes(rds: &Arc<Inner>, resource_id: &str) {
    let id = resource_id.to_owned();
    let durations = &rds.settings.durations;
    let (lag, lasting) = (
        rds.lasting(durations.modify_lag, &id),
        rds.lasting(durations.modify, &id),
    );
    rds.flow(move |flow| async move {
        flow.sleep(lag).await;
        flow.instance(&id, |instance, now| {
            (instance.pending != Pending::default()).then_some(())?;
            instance
                .status
                .is("available")
                .then(|| instance.status.set("modifying", now))
        })?;
        flow.sleep(lasting).await;
        flow.instance(&id, |instance, now| {
            instance.status.is("modifying").then_some(())?;
            let pending = std::mem::take(&mut instance.pending);
            instance.class = pending.class.unwrap_or_else(|| instance.class.clone());
            instance.id = pending.name.unwrap_or_else(|| instance.id.clone());
            instance.status.set("available", now);
            Some(())
        })
    });
}
