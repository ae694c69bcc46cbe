//! Clusters: how one is made new, and how Describe shows it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::api::{Answer, Call};
use super::audit::ResourceView;
use super::catalog::DbEngine;
use super::configuration::{Configuration, Inherited};
use super::credentials::{self, ManagedSecret};
use super::encryption::{Encryption, KEY_LOST};
use super::events::Happening;
use super::listing::{self, Filter};
use super::modification::{Change, PutOff};
use super::names::{self, Place};
use super::roles::RoleAssociation;
use super::state::{Book, Status};
use super::tags::Tags;
use super::trouble::{Ending, Fate, Kind};
use super::xml::Xml;
use super::{Inner, errors, global, hex_of, quotas};
use crate::database::{Bootstrap, Image, Password, Volume};
use crate::request::{ApiError, Caller};

/// The hosted zone of every endpoint, which callers pass on to Route 53.
const HOSTED_ZONE: &str = "Z29XKXDKYMONMX";

/// A cluster.
pub(super) struct Cluster {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) resource_id: String,
    pub(super) status: Status,
    pub(super) engine: DbEngine,
    pub(super) version: String,
    pub(super) master_username: String,
    pub(super) database: Option<String>,
    pub(super) secret: Option<ManagedSecret>,
    pub(super) configuration: Configuration,
    pub(super) encryption: Encryption,
    pub(super) tags: Tags,
    pub(super) roles: Vec<RoleAssociation>,
    pub(super) created: OffsetDateTime,
    pub(super) visible_from: OffsetDateTime,
    pub(super) address: IpAddr,
    pub(super) volume: Arc<Volume>,
    pub(super) size_gib: u32,
    pub(super) clone_group: String,
    /// Whom RDS acts for when it uses the cluster's key.
    pub(super) owner: Caller,
    /// Security groups it had, the present ones last.
    pub(super) security_group_history: Vec<(OffsetDateTime, Vec<String>)>,
    /// Groups that a modification under way takes away.
    pub(super) leaving_groups: Option<Vec<String>>,
    pub(super) storage_type_changed: Option<OffsetDateTime>,
    pub(super) restart_at: Option<OffsetDateTime>,
    /// Accepted modifications, the first of which is being made.
    pub(super) changes: VecDeque<Change>,
    /// Modifications left to the maintenance window.
    pub(super) put_off: PutOff,
}

/// What differs between the calls that make a cluster.
pub(super) struct NewCluster {
    pub(super) id: String,
    pub(super) engine: DbEngine,
    pub(super) version: String,
    pub(super) master_username: String,
    pub(super) database: Option<String>,
    pub(super) configuration: Configuration,
    pub(super) encryption: Encryption,
    pub(super) tags: Tags,
    pub(super) roles: Vec<RoleAssociation>,
    pub(super) image: Image,
    pub(super) size_gib: u32,
    pub(super) clone_group: Option<String>,
}

impl Cluster {
    pub(super) fn arn(&self) -> String {
        self.place.arn("cluster", &self.id)
    }

    /// The name it gets at the end of a modification under way.
    pub(super) fn new_name(&self) -> Option<&str> {
        self.changes.iter().find_map(|change| match change {
            Change::Rename(new_name) => Some(new_name.as_str()),
            _ => None,
        })
    }

    pub(super) fn require_available(&self) -> Result<(), ApiError> {
        self.require(&["available"])
    }

    pub(super) fn require(&self, statuses: &[&str]) -> Result<(), ApiError> {
        if statuses.contains(&self.status.as_str()) {
            return Ok(());
        }
        Err(errors::cluster_state(format!(
            "DB cluster {} is not in {} state: it is {}",
            self.id,
            statuses.join(" or "),
            self.status.as_str()
        )))
    }

    pub(super) fn set_security_groups(&mut self, groups: Vec<String>, at: OffsetDateTime) {
        if self.configuration.security_groups != groups {
            self.leaving_groups = Some(std::mem::replace(
                &mut self.configuration.security_groups,
                groups.clone(),
            ));
            self.security_group_history.push((at, groups));
        }
    }

    pub(super) fn view(&self) -> ResourceView {
        ResourceView {
            removed_at: None,
            kind: "cluster",
            place: self.place.clone(),
            id: self.id.clone(),
            arn: self.arn(),
            resource_id: self.resource_id.clone(),
            status: self.status.as_str().to_owned(),
            statuses: self.status.history().to_vec(),
            tags: self.tags.clone(),
            security_groups: self.configuration.security_groups.clone(),
            security_group_history: self.security_group_history.clone(),
        }
    }

    /// The times to which it can be restored. `latest` is the world's.
    pub(super) fn restorable(
        &self,
        now: OffsetDateTime,
        latest: Option<OffsetDateTime>,
    ) -> (OffsetDateTime, Option<OffsetDateTime>) {
        let kept = time::Duration::days(self.configuration.backup_retention_period.into());
        let earliest = self.created.max(now - kept);
        (earliest, latest.filter(|latest| *latest >= earliest))
    }

    pub(super) fn write(&self, rds: &Inner, book: &Book, xml: &mut Xml) {
        let (earliest, latest) = self.restorable(rds.now(), rds.latest_moment());
        xml.text("AllocatedStorage", 1)
            .strings(
                "AvailabilityZones",
                "AvailabilityZone",
                (0..3).map(|number| self.place.zone(number)),
            )
            .some("DatabaseName", self.database.as_deref())
            .text("DBClusterIdentifier", &self.id)
            .text("Status", self.status.as_str())
            .text("Endpoint", self.address)
            .text("ReaderEndpoint", self.address)
            .text("MultiAZ", book.instances_of(&self.resource_id).len() > 1)
            .text("Engine", self.engine.name())
            .text("EngineVersion", &self.version)
            .text("EngineMode", "provisioned")
            .text("MasterUsername", &self.master_username)
            .text("HostedZoneId", HOSTED_ZONE)
            .text("DbClusterResourceId", &self.resource_id)
            .text("DBClusterArn", self.arn())
            .time("ClusterCreateTime", self.created)
            .time("EarliestRestorableTime", earliest)
            .some("LatestRestorableTime", latest.map(super::xml::timestamp))
            .text("CloneGroupId", &self.clone_group)
            .text("CrossAccountClone", false)
            .text("ActivityStreamStatus", "stopped")
            .some(
                "AutomaticRestartTime",
                self.restart_at.map(super::xml::timestamp),
            );
        self.encryption.write(xml);
        self.configuration.write(xml);
        self.write_memberships(book, xml);
        global::write_membership(self, book, xml);
        self.tags.write(xml);
        if let Some(secret) = &self.secret {
            xml.within("MasterUserSecret", |xml| secret.write(xml));
        }
        self.write_pending(xml);
    }

    fn write_memberships(&self, book: &Book, xml: &mut Xml) {
        let present = |group: &String| {
            self.leaving_groups
                .as_ref()
                .is_none_or(|leaving| leaving.contains(group))
        };
        let groups = &self.configuration.security_groups;
        let leaving = self
            .leaving_groups
            .iter()
            .flatten()
            .filter(|group| !groups.contains(group))
            .map(|group| (group, "removing"));
        let staying = groups
            .iter()
            .map(|group| (group, if present(group) { "active" } else { "adding" }));
        xml.list(
            "VpcSecurityGroups",
            "VpcSecurityGroupMembership",
            staying.chain(leaving),
            |xml, (group, status)| {
                xml.text("VpcSecurityGroupId", group).text("Status", status);
            },
        )
        .list(
            "DBClusterMembers",
            "DBClusterMember",
            book.instances_of(&self.resource_id),
            |xml, instance| {
                xml.text("DBInstanceIdentifier", &instance.id)
                    .text("IsClusterWriter", instance.writer)
                    .text(
                        "DBClusterParameterGroupStatus",
                        instance.cluster_parameter_status,
                    )
                    .text("PromotionTier", instance.promotion_tier);
            },
        )
        .list(
            "AssociatedRoles",
            "DBClusterRole",
            &self.roles,
            |xml, role| role.write(xml),
        );
    }

    fn write_pending(&self, xml: &mut Xml) {
        let resetting = self
            .changes
            .iter()
            .any(|change| matches!(change, Change::Master(_)));
        if !resetting && self.put_off.is_empty() && self.new_name().is_none() {
            return;
        }
        xml.within("PendingModifiedValues", |xml| {
            if resetting {
                xml.text("MasterUserPassword", "****");
            }
            xml.some("DBClusterIdentifier", self.new_name());
            self.put_off.write(xml);
        });
    }
}

/// Puts a new cluster into the book, `creating`. Its becoming `available` is another step.
pub(super) fn insert(
    rds: &Inner,
    book: &mut Book,
    call: &Call,
    new: NewCluster,
) -> Result<String, ApiError> {
    if book.cluster_name_taken(&call.place, &new.id) {
        return Err(errors::cluster_exists(&new.id));
    }
    quotas::another_cluster(book, &rds.settings.quotas, &call.place)?;
    let store = rds.store(new.engine)?;
    let resource_id = book.new_resource_id("cluster");
    let mut configuration = new.configuration;
    let address = rds
        .addresses
        .of(&address_name(&call.place, &new.id), configuration.port);
    configuration.port = address.port();
    let clone_group = new.clone_group.unwrap_or_else(|| hex_of(&resource_id, 32));
    let cluster = Cluster {
        place: call.place.clone(),
        id: new.id,
        resource_id: resource_id.clone(),
        status: Status::new("creating", call.now),
        engine: new.engine,
        version: new.version,
        master_username: new.master_username,
        database: new.database,
        secret: None,
        security_group_history: vec![(call.now, configuration.security_groups.clone())],
        configuration,
        encryption: new.encryption,
        tags: new.tags,
        roles: new.roles,
        created: call.now,
        visible_from: call.now + rds.settings.invisible_after_create,
        address: address.ip(),
        volume: Arc::new(Volume::new(store, new.image)),
        size_gib: new.size_gib,
        clone_group,
        owner: call.caller.clone(),
        leaving_groups: None,
        storage_type_changed: None,
        restart_at: None,
        changes: VecDeque::new(),
        put_off: PutOff::default(),
    };
    book.clusters.insert(resource_id.clone(), cluster);
    Ok(resource_id)
}

/// The name an address belongs to: that of the cluster, as on RDS.
pub(super) fn address_name(place: &Place, id: &str) -> String {
    format!("{place}/{id}")
}

pub(super) async fn create(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    if let Some(global) = form.text("GlobalClusterIdentifier") {
        return global::create_secondary(rds, call, global).await;
    }
    let id = form.new_identifier("DBClusterIdentifier")?;
    let engine = DbEngine::named(form.required("Engine")?)?;
    let version = engine.version(form.text("EngineVersion"))?;
    let master_username = form.required("MasterUsername")?.to_owned();
    credentials::check_username(engine, &master_username)?;
    let tags = Tags::from_form(form, rds.settings.quotas.tags_per_resource)?;
    rds.refuse_if_scripted(Kind::Cluster, &id)?;
    let encryption = rds.chosen_encryption(call).await?;
    let managed = credentials::asks_for_managed(form)?;
    let password = match form.text("MasterUserPassword") {
        Some(password) => credentials::checked(engine, password)?,
        None if managed => Password::new(rds.edit(Book::new_password)),
        None => {
            return Err(errors::invalid_combination(
                "You must specify MasterUserPassword or ManageMasterUserPassword",
            ));
        }
    };
    let master = crate::database::Credentials {
        username: master_username.clone(),
        password,
    };
    let database = form.text("DatabaseName").map(str::to_owned);
    let fate = rds.fate(Kind::Cluster, &id);
    let resource_id = rds.edit(|book| {
        let inherited = Inherited {
            port: engine.port(),
            backup_retention_period: 1,
        };
        let configuration =
            Configuration::of_new_cluster(form, book, &call.place, engine, &version, inherited)?;
        let new = NewCluster {
            id: id.clone(),
            engine,
            version,
            master_username,
            database: database.clone(),
            configuration,
            encryption,
            tags,
            roles: Vec::new(),
            image: Image::empty(Bootstrap {
                master: master.clone(),
                database,
            }),
            size_gib: rds.settings.size_gib,
            clone_group: None,
        };
        insert(rds, book, call, new)
    })?;
    if managed {
        // A cluster whose secret cannot be made is not made either.
        if let Err(error) =
            credentials::manage(rds, &call.caller, &resource_id, &master, form).await
        {
            rds.edit(|book| book.clusters.remove(&resource_id));
            return Err(error);
        }
    }
    let lasting = rds.lasting(
        rds.settings.durations.create_cluster,
        &format!("create {id}"),
    );
    make_available(rds, &resource_id, lasting, fate, Kind::Cluster);
    answer(rds, &resource_id)
}

/// Lets a cluster that is `creating` become what fate has for it.
pub(super) fn make_available(
    rds: &Arc<Inner>,
    resource_id: &str,
    lasting: std::time::Duration,
    fate: Fate,
    kind: Kind,
) {
    let id = resource_id.to_owned();
    rds.keep_moments();
    rds.flow(move |flow| async move {
        if fate.ending == Ending::Never {
            return None;
        }
        flow.sleep(lasting.mul_f64(fate.slower)).await;
        let (owner, encryption) = flow.cluster(&id, |cluster, _| {
            Some((cluster.owner.clone(), cluster.encryption.clone()))
        })?;
        let rds = flow.with(|rds| Some(Arc::clone(rds)))?;
        let readable = rds.readable(&owner, &encryption).await;
        drop(rds);
        let status = match &fate.ending {
            Ending::Status { status, .. } => status.as_str(),
            _ if !readable => KEY_LOST,
            _ => "available",
        };
        let (place, name) = flow.cluster(&id, |cluster, now| {
            if !cluster.status.is("creating") {
                return None;
            }
            cluster.status.set(status, now);
            if let Some(secret) = &mut cluster.secret {
                secret.settle();
            }
            for role in &mut cluster.roles {
                role.settle();
            }
            Some((cluster.place.clone(), cluster.id.clone()))
        })?;
        flow.with(|rds| {
            match status {
                "available" => {
                    rds.tell(&place, &name, Happening::ClusterCreated);
                    rds.leave_if_scripted(kind, &id, &name);
                }
                failed if failed.starts_with("incompatible") => {
                    rds.tell(&place, &name, Happening::ClusterImpossible)
                }
                _ => {}
            }
            rds.watch_key(&id);
            Some(())
        })
    });
}

/// The cluster, as an answer to a call about it.
pub(super) fn answer(rds: &Inner, resource_id: &str) -> Answer {
    rds.read(|book| {
        let cluster = book
            .clusters
            .get(resource_id)
            .ok_or_else(|| errors::cluster_not_found(resource_id))?;
        Ok(Xml::of(|xml| {
            xml.within("DBCluster", |xml| cluster.write(rds, book, xml));
        }))
    })
}

const FILTERS: &[Filter<Cluster>] = &[
    ("db-cluster-id", |cluster| {
        vec![cluster.id.clone(), cluster.arn()]
    }),
    ("db-cluster-resource-id", |cluster| {
        vec![cluster.resource_id.clone()]
    }),
    ("engine", |cluster| vec![cluster.engine.name().to_owned()]),
    ("clone-group-id", |cluster| {
        vec![cluster.clone_group.clone()]
    }),
];

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    listing::check_filters(&call.form, FILTERS)?;
    let wanted = call
        .form
        .text("DBClusterIdentifier")
        .map(|text| names::locate(&call.place, "cluster", text))
        .transpose()?;
    rds.read(|book| {
        let mut found = Vec::new();
        for cluster in book.clusters.values() {
            let named = match &wanted {
                Some((place, id)) => {
                    cluster.place == *place && cluster.id == *id && *place == call.place
                }
                None => cluster.place == call.place,
            };
            if named
                && cluster.visible_from <= call.now
                && listing::passes(&call.form, FILTERS, cluster)?
            {
                found.push((cluster.id.clone(), cluster));
            }
        }
        if let (Some((_, id)), true) = (&wanted, found.is_empty()) {
            return Err(errors::cluster_not_found(id));
        }
        let page = listing::page(&call.form, found)?;
        Ok(Xml::of(|xml| {
            xml.some("Marker", page.marker).list(
                "DBClusters",
                "DBCluster",
                page.items,
                |xml, cluster| cluster.write(rds, book, xml),
            );
        }))
    })
}

pub(super) fn enable_http_endpoint(rds: &Inner, call: &Call) -> Answer {
    switch_http_endpoint(rds, call, true)
}

pub(super) fn disable_http_endpoint(rds: &Inner, call: &Call) -> Answer {
    switch_http_endpoint(rds, call, false)
}

fn switch_http_endpoint(rds: &Inner, call: &Call, enabled: bool) -> Answer {
    let arn = call.form.required("ResourceArn")?;
    let (place, id) = names::locate(&call.place, "cluster", arn)?;
    rds.edit(|book| {
        let cluster = book
            .cluster_mut(&place, &id)
            .map_err(|_| errors::resource_not_found(arn))?;
        if !cluster.status.is("available") {
            return Err(ApiError::new(
                400,
                "InvalidResourceStateFault",
                format!("{arn} is not available"),
            ));
        }
        cluster.configuration.http_endpoint = enabled;
        Ok(Xml::of(|xml| {
            xml.text("ResourceArn", arn)
                .text("HttpEndpointEnabled", enabled);
        }))
    })
}
