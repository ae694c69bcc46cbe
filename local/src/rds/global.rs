//! Global databases: clusters of several regions, one of which is written to.
//!
//! As much as a restore can run into. A global database is made around a cluster of people's, a secondary is added
//! in another region, and RDS refuses for the members what it refuses for them. A secondary here has no instances
//! ("headless"), and holds what the primary held when it was added: nothing is replicated.
//!
//! Refusals are from the Aurora user guide ("Limitations of Amazon Aurora global databases", "Limitations for
//! stopping and starting Aurora DB clusters", "Password management with Amazon Aurora and AWS Secrets Manager") and,
//! for the codes and words of deletions, from answers of RDS that Terraform's provider (issue 26236, pull request
//! 40333) and cloud-nuke (issue 597) quote. The codes of the refused stop and of the refused managed password are
//! not documented.

use std::sync::Arc;

use super::api::{Answer, Call};
use super::catalog::DbEngine;
use super::cluster::{self, Cluster, NewCluster};
use super::configuration::{Configuration, Inherited};
use super::lifecycle::blocking;
use super::listing::{self, Filter};
use super::names::{self, Place};
use super::state::Book;
use super::tags::Tags;
use super::trouble::Kind;
use super::xml::Xml;
use super::{Inner, errors};
use crate::request::ApiError;

/// A global database.
pub(super) struct GlobalCluster {
    account: String,
    id: String,
    resource_id: String,
    engine: DbEngine,
    version: String,
    encrypted: bool,
    /// Resource ids of the clusters, the primary first.
    members: Vec<String>,
}

impl GlobalCluster {
    fn arn(&self) -> String {
        // It belongs to no region.
        format!("arn:aws:rds::{}:global-cluster:{}", self.account, self.id)
    }

    fn primary<'a>(&self, book: &'a Book) -> Option<&'a Cluster> {
        book.clusters.get(self.members.first()?)
    }

    fn write(&self, book: &Book, xml: &mut Xml) {
        let members = self
            .members
            .iter()
            .filter_map(|member| book.clusters.get(member));
        let arns: Vec<String> = members.map(Cluster::arn).collect();
        xml.text("GlobalClusterIdentifier", &self.id)
            .text("GlobalClusterResourceId", &self.resource_id)
            .text("GlobalClusterArn", self.arn())
            .text("Status", "available")
            .text("Engine", self.engine.name())
            .text("EngineVersion", &self.version)
            .text("StorageEncrypted", self.encrypted)
            .text("DeletionProtection", false)
            .list(
                "GlobalClusterMembers",
                "GlobalClusterMember",
                arns.iter().enumerate(),
                |xml, (number, arn)| {
                    let readers: &[String] = if number == 0 { &arns[1..] } else { &[] };
                    xml.text("DBClusterArn", arn)
                        .text("IsWriter", number == 0)
                        .strings("Readers", "member", readers)
                        .text("SynchronizationStatus", "connected");
                    if number > 0 {
                        xml.text("GlobalWriteForwardingStatus", "disabled");
                    }
                },
            );
    }
}

impl Book {
    /// The global database that a cluster is in.
    pub(super) fn global_of(&self, resource_id: &str) -> Option<&GlobalCluster> {
        self.global_clusters
            .values()
            .find(|global| global.members.iter().any(|member| member == resource_id))
    }

    fn global(&self, account: &str, id: &str) -> Result<&GlobalCluster, ApiError> {
        let id = id.to_lowercase();
        self.global_clusters
            .get(&(account.to_owned(), id.clone()))
            .ok_or_else(|| errors::global_cluster_not_found(&id))
    }
}

/// How a cluster shows that it is in a global database.
pub(super) fn write_membership(cluster: &Cluster, book: &Book, xml: &mut Xml) {
    let Some(global) = book.global_of(&cluster.resource_id) else {
        return;
    };
    xml.text("GlobalClusterIdentifier", &global.id);
    if global.members.first() != Some(&cluster.resource_id) {
        xml.text("GlobalWriteForwardingStatus", "disabled");
    }
}

/// Only the last cluster of a global database can be stopped.
pub(super) fn check_stoppable(book: &Book, cluster: &Cluster) -> Result<(), ApiError> {
    match book.global_of(&cluster.resource_id) {
        Some(global) if global.members.len() > 1 => Err(errors::cluster_state(format!(
            "DB cluster {} can't be stopped: it isn't the only cluster in the global database {}",
            cluster.id, global.id
        ))),
        _ => Ok(()),
    }
}

/// A member is deleted once it is none any more.
pub(super) fn check_deletable(book: &Book, cluster: &Cluster) -> Result<(), ApiError> {
    let Some(global) = book.global_of(&cluster.resource_id) else {
        return Ok(());
    };
    let is_primary = global.members.first() == Some(&cluster.resource_id);
    if is_primary && global.members.len() > 1 {
        return Err(errors::global_cluster_state(
            "Unable to delete cluster that is a primary member of global cluster while there are other global cluster members",
        ));
    }
    Err(errors::cluster_state(
        "This cluster is a part of a global cluster, please remove it from globalcluster first",
    ))
}

/// RDS manages no member's password.
pub(super) fn check_unmanaged(book: &Book, cluster: &Cluster) -> Result<(), ApiError> {
    match book.global_of(&cluster.resource_id) {
        Some(global) => Err(errors::invalid_combination(format!(
            "ManageMasterUserPassword isn't supported for DB cluster {}, which is part of the global database {}",
            cluster.id, global.id
        ))),
        None => Ok(()),
    }
}

/// A secondary has no instances here.
pub(super) fn check_takes_instances(book: &Book, cluster: &Cluster) -> Result<(), ApiError> {
    match book.global_of(&cluster.resource_id) {
        Some(global) if global.members.first() != Some(&cluster.resource_id) => Err(
            errors::not_implemented("DB instances of a global database's secondary cluster"),
        ),
        _ => Ok(()),
    }
}

pub(super) fn create(rds: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("GlobalClusterIdentifier")?;
    let Some(source) = form.text("SourceDBClusterIdentifier") else {
        return Err(errors::not_implemented(
            "CreateGlobalCluster without SourceDBClusterIdentifier",
        ));
    };
    let key = (call.place.account.clone(), id.clone());
    rds.edit(|book| {
        if book.global_clusters.contains_key(&key) {
            return Err(errors::global_cluster_exists(&id));
        }
        let (place, name) = names::locate(&call.place, "cluster", source)?;
        let cluster = book.cluster(&place, &name)?;
        cluster.require_available()?;
        if let Some(other) = book.global_of(&cluster.resource_id) {
            return Err(errors::cluster_state(format!(
                "DB cluster {name} is part of the global database {} already",
                other.id
            )));
        }
        if cluster.secret.is_some() {
            return Err(errors::invalid_combination(format!(
                "The master user password of DB cluster {name} is managed in Secrets Manager, which isn't supported for global databases"
            )));
        }
        let (engine, version) = (cluster.engine, cluster.version.clone());
        let (member, encrypted) = (cluster.resource_id.clone(), cluster.encryption.key().is_some());
        let global = GlobalCluster {
            account: call.place.account.clone(),
            id: id.clone(),
            resource_id: book.new_resource_id("global-cluster"),
            engine,
            version,
            encrypted,
            members: vec![member],
        };
        book.global_clusters.insert(key.clone(), global);
        answer(book, &call.place.account, &id)
    })
}

/// Adds a secondary cluster, without instances.
pub(super) async fn create_secondary(rds: &Arc<Inner>, call: &Call, global: &str) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("DBClusterIdentifier")?;
    for refused in ["MasterUsername", "MasterUserPassword", "DatabaseName"] {
        if form.text(refused).is_some() {
            return Err(errors::invalid_combination(format!(
                "{refused} can't be specified for a secondary cluster of a global database"
            )));
        }
    }
    let engine = DbEngine::named(form.required("Engine")?)?;
    let encryption = rds.chosen_encryption(call).await?;
    let (volume, version, master_username, database, size_gib) = rds.read(|book| {
        let global = book.global(&call.place.account, global)?;
        let primary = global
            .primary(book)
            .ok_or_else(|| errors::global_cluster_state("The global cluster has no primary"))?;
        check_addable(book, global, engine, &call.place)?;
        Ok::<_, ApiError>((
            Arc::clone(&primary.volume),
            primary.version.clone(),
            primary.master_username.clone(),
            primary.database.clone(),
            primary.size_gib,
        ))
    })?;
    let image = blocking(move || volume.image())
        .await
        .map_err(|error| errors::global_cluster_state(error.to_string()))?;
    let tags = Tags::from_form(form, rds.settings.quotas.tags_per_resource)?;
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
            database,
            configuration,
            encryption,
            tags,
            roles: Vec::new(),
            image,
            size_gib,
            clone_group: None,
        };
        let resource_id = cluster::insert(rds, book, call, new)?;
        let key = (call.place.account.clone(), global.to_lowercase());
        if let Some(global) = book.global_clusters.get_mut(&key) {
            global.members.push(resource_id.clone());
        }
        Ok::<_, ApiError>(resource_id)
    })?;
    let lasting = rds.lasting(
        rds.settings.durations.create_cluster,
        &format!("create {id}"),
    );
    let fate = rds.fate(Kind::Cluster, &id);
    cluster::make_available(rds, &resource_id, lasting, fate, Kind::Cluster);
    cluster::answer(rds, &resource_id)
}

/// One cluster in each region, of one engine.
fn check_addable(
    book: &Book,
    global: &GlobalCluster,
    engine: DbEngine,
    place: &Place,
) -> Result<(), ApiError> {
    if engine != global.engine {
        return Err(errors::invalid_combination(format!(
            "The global database {} is of the engine {}",
            global.id,
            global.engine.name()
        )));
    }
    let mut members = global
        .members
        .iter()
        .filter_map(|member| book.clusters.get(member));
    if members.any(|member| member.place.region == place.region) {
        return Err(errors::global_cluster_state(format!(
            "The global database {} has a cluster in {} already",
            global.id, place.region
        )));
    }
    Ok(())
}

pub(super) fn remove(rds: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    let global = form.required("GlobalClusterIdentifier")?;
    let member = form.required("DbClusterIdentifier")?;
    let account = call.place.account.clone();
    rds.edit(|book| {
        let (place, name) = names::locate(&call.place, "cluster", member)?;
        let resource_id = book.cluster(&place, &name)?.resource_id.clone();
        let found = book.global(&account, global)?;
        let Some(at) = found.members.iter().position(|known| *known == resource_id) else {
            return Err(errors::cluster_not_found(&name));
        };
        if at == 0 && found.members.len() > 1 {
            return Err(errors::global_cluster_state(format!(
                "The primary cluster {name} can't be removed while the global database has secondary clusters"
            )));
        }
        let key = (account.clone(), global.to_lowercase());
        if let Some(global) = book.global_clusters.get_mut(&key) {
            global.members.remove(at);
        }
        answer(book, &account, global)
    })
}

pub(super) fn delete(rds: &Inner, call: &Call) -> Answer {
    let global = call.form.required("GlobalClusterIdentifier")?;
    let account = call.place.account.clone();
    rds.edit(|book| {
        let found = book.global(&account, global)?;
        if !found.members.is_empty() {
            return Err(errors::global_cluster_state(format!(
                "Global cluster {} is not empty",
                found.id
            )));
        }
        let gone = answer(book, &account, global);
        book.global_clusters
            .remove(&(account.clone(), global.to_lowercase()));
        gone
    })
}

/// Of the names and ARNs of the members.
const FILTERS: &[Filter<Vec<String>>] = &[("db-cluster-id", Vec::clone)];

/// Global databases are seen from every region.
pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    listing::check_filters(form, FILTERS)?;
    rds.read(|book| {
        let account = &call.place.account;
        if let Some(id) = form.text("GlobalClusterIdentifier") {
            book.global(account, id)?;
        }
        let mut found = Vec::new();
        for global in book.global_clusters.values() {
            let wanted = form.text("GlobalClusterIdentifier");
            let named = wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&global.id));
            let members = global
                .members
                .iter()
                .filter_map(|member| book.clusters.get(member));
            let members: Vec<String> = members
                .flat_map(|member| [member.id.clone(), member.arn()])
                .collect();
            if named && global.account == *account && listing::passes(form, FILTERS, &members)? {
                found.push((global.id.clone(), global));
            }
        }
        let page = listing::page(form, found)?;
        Ok(Xml::of(|xml| {
            xml.some("Marker", page.marker).list(
                "GlobalClusters",
                "GlobalClusterMember",
                page.items,
                |xml, global| global.write(book, xml),
            );
        }))
    })
}

fn answer(book: &Book, account: &str, id: &str) -> Answer {
    let global = book.global(account, id)?;
    Ok(Xml::of(|xml| {
        xml.within("GlobalCluster", |xml| global.write(book, xml));
    }))
}
