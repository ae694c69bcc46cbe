//! Looking at RDS: what is there under a name, and what of it is ours.
//!
//! A describe's answer is compared with the name that was asked for, and "not found"
//! is an answer, not an error. Right after a create it is no proof of absence
//! (domain fact: RDS describes are eventually consistent).

use aws_sdk_rds::Client;
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot, DbInstance, Filter, Tag};
use time::OffsetDateTime;

use crate::Plan;
use crate::errors::{AR0037, AR0066, StepError, wire_code};
use crate::ledger::{Resource, ResourceKind};
use crate::ownership::{EXPIRES_AT_TAG, RESTORE_ID_TAG, RETIRED_BY_TAG, is_copy_of_a_restore, tag};
use crate::request::SnapshotType;

/// The cluster of this name.
///
/// # Errors
/// What RDS refuses.
pub async fn find_cluster(rds: &Client, identifier: &str) -> Result<Option<DbCluster>, StepError> {
    match rds
        .describe_db_clusters()
        .db_cluster_identifier(identifier)
        .send()
        .await
    {
        Ok(answer) => {
            let same = |cluster: &DbCluster| is_same(cluster.db_cluster_identifier(), identifier);
            Ok(answer
                .db_clusters
                .unwrap_or_default()
                .into_iter()
                .find(same))
        }
        Err(error) if wire_code(&error) == Some("DBClusterNotFoundFault") => Ok(None),
        Err(error) => Err(StepError::from_sdk(
            format!("describe cluster `{identifier}`"),
            error,
        )),
    }
}

/// The cluster of this resource id, whatever it is called.
///
/// # Errors
/// What RDS refuses.
pub async fn find_cluster_by_id(
    rds: &Client,
    resource_id: &str,
) -> Result<Option<DbCluster>, StepError> {
    let by_id = Filter::builder()
        .name("db-cluster-resource-id")
        .values(resource_id)
        .build();
    let answer = rds.describe_db_clusters().filters(by_id).send().await;
    let answer = answer
        .map_err(|error| StepError::from_sdk(format!("look for cluster {resource_id}"), error))?;
    let same = |found: &DbCluster| found.db_cluster_resource_id() == Some(resource_id);
    Ok(answer
        .db_clusters
        .unwrap_or_default()
        .into_iter()
        .find(same))
}

/// A cluster of the ledger, under its own name or, by its resource id, under the one it is given.
///
/// # Errors
/// What RDS refuses.
pub async fn find_our_cluster(
    rds: &Client,
    resource: &Resource,
) -> Result<Option<DbCluster>, StepError> {
    if let Some(found) = find_cluster(rds, &resource.identifier).await? {
        return Ok(Some(found));
    }
    let (Some(given), Some(id)) = (&resource.given_name, &resource.resource_id) else {
        return Ok(None);
    };
    let found = find_cluster(rds, &given.identifier).await?;
    Ok(found.filter(|found| found.db_cluster_resource_id() == Some(id)))
}

/// Refuses a cluster that is in a global database, where it is to be renamed, stopped or removed.
///
/// RDS stops a member only if it is the last one and deletes none (Aurora user guide, "Limitations for stopping and
/// starting Aurora DB clusters", "Deleting an Amazon Aurora global database"); whether it renames one is not said.
///
/// # Errors
/// AR0066.
pub fn refuse_member(cluster: &DbCluster) -> Result<(), StepError> {
    let global = cluster.global_cluster_identifier().unwrap_or_default();
    if global.is_empty() {
        return Ok(());
    }
    let name = cluster.db_cluster_identifier().unwrap_or_default();
    Err(StepError::new(
        &AR0066,
        format!("cluster `{name}` is in the global database `{global}`"),
    ))
}

/// The instance of this name.
///
/// # Errors
/// What RDS refuses.
pub async fn find_instance(
    rds: &Client,
    identifier: &str,
) -> Result<Option<DbInstance>, StepError> {
    match rds
        .describe_db_instances()
        .db_instance_identifier(identifier)
        .send()
        .await
    {
        Ok(answer) => {
            let same =
                |instance: &DbInstance| is_same(instance.db_instance_identifier(), identifier);
            Ok(answer
                .db_instances
                .unwrap_or_default()
                .into_iter()
                .find(same))
        }
        Err(error) if wire_code(&error) == Some("DBInstanceNotFound") => Ok(None),
        Err(error) => Err(StepError::from_sdk(
            format!("describe instance `{identifier}`"),
            error,
        )),
    }
}

/// The cluster snapshot of this name, or of this ARN when another account shared it.
///
/// # Errors
/// What RDS refuses.
pub async fn find_snapshot(
    rds: &Client,
    snapshot: &str,
) -> Result<Option<DbClusterSnapshot>, StepError> {
    let mut request = rds
        .describe_db_cluster_snapshots()
        .db_cluster_snapshot_identifier(snapshot);
    // Those that a service made are found only with their type; they cannot be shared.
    match made_by_a_service(snapshot) {
        Some(kind) => request = request.snapshot_type(kind.name()),
        None if is_arn(snapshot) => request = request.include_shared(true),
        None => {}
    }
    match request.send().await {
        Ok(answer) => {
            let same = |found: &DbClusterSnapshot| {
                is_same(found.db_cluster_snapshot_identifier(), snapshot)
                    || is_same(found.db_cluster_snapshot_arn(), snapshot)
            };
            Ok(answer
                .db_cluster_snapshots
                .unwrap_or_default()
                .into_iter()
                .find(same))
        }
        Err(error) if wire_code(&error) == Some("DBClusterSnapshotNotFoundFault") => Ok(None),
        Err(error) => Err(StepError::from_sdk(
            format!("describe snapshot `{snapshot}`"),
            error,
        )),
    }
}

/// The type of a snapshot that RDS or AWS Backup made, by the prefix of its name.
fn made_by_a_service(snapshot: &str) -> Option<SnapshotType> {
    let name = if is_arn(snapshot) {
        snapshot.splitn(7, ':').nth(6).unwrap_or_default()
    } else {
        snapshot
    };
    match name {
        name if name.starts_with("rds:") => Some(SnapshotType::Automated),
        name if name.starts_with("awsbackup:") => Some(SnapshotType::AwsBackup),
        _ => None,
    }
}

/// Every snapshot of a cluster in this account and region, of these types. Where all are wanted, one call lists what
/// RDS shows unasked, and one what it shows only by its type.
///
/// # Errors
/// What RDS refuses.
pub async fn snapshots_of(
    rds: &Client,
    cluster: &str,
    types: &[SnapshotType],
) -> Result<Vec<DbClusterSnapshot>, StepError> {
    let all = SnapshotType::ALL.iter().all(|kind| types.contains(kind));
    let asked: Vec<Option<SnapshotType>> = if all {
        vec![None, Some(SnapshotType::AwsBackup)]
    } else {
        types.iter().copied().map(Some).collect()
    };
    let mut snapshots = Vec::new();
    for kind in asked {
        let mut pages = rds
            .describe_db_cluster_snapshots()
            .db_cluster_identifier(cluster)
            .set_snapshot_type(kind.map(|kind| kind.name().to_owned()))
            .into_paginator()
            .items()
            .send();
        while let Some(snapshot) = pages.next().await {
            match snapshot {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) if wire_code(&error) == Some("DBClusterNotFoundFault") => {
                    return Ok(snapshots);
                }
                Err(error) => {
                    return Err(StepError::from_sdk(
                        format!("list snapshots of `{cluster}`"),
                        error,
                    ));
                }
            }
        }
    }
    Ok(snapshots)
}

/// How many clusters of this account and region share a volume by copy-on-write.
///
/// # Errors
/// What RDS refuses.
pub async fn clone_group(rds: &Client, group: &str) -> Result<usize, StepError> {
    let filter = Filter::builder()
        .name("clone-group-id")
        .values(group)
        .build();
    let mut clusters = rds
        .describe_db_clusters()
        .filters(filter)
        .into_paginator()
        .items()
        .send();
    let mut count = 0;
    while let Some(cluster) = clusters.next().await {
        cluster.map_err(|error| StepError::from_sdk(format!("count clones of {group}"), error))?;
        count += 1;
    }
    Ok(count)
}

/// What became of a resource that RDS no longer shows under its name. Its resource id survives a change of name.
///
/// `None`: RDS does not show it at all, which right after a create means nothing yet.
///
/// # Errors
/// What RDS refuses.
pub async fn renamed_to(rds: &Client, resource: &Resource) -> Result<Option<String>, StepError> {
    let Some(id) = &resource.resource_id else {
        return Ok(None);
    };
    let by = |name: &str| Filter::builder().name(name).values(id).build();
    let action = || format!("look for {} {id}", resource.kind);
    let name = match resource.kind {
        ResourceKind::Cluster => {
            let asked = rds
                .describe_db_clusters()
                .filters(by("db-cluster-resource-id"));
            let answer = asked.send().await;
            let answer = answer.map_err(|error| StepError::from_sdk(action(), error))?;
            let first = answer.db_clusters.unwrap_or_default().into_iter().next();
            first.and_then(|found| found.db_cluster_identifier)
        }
        ResourceKind::Instance => {
            let asked = rds.describe_db_instances().filters(by("dbi-resource-id"));
            let answer = asked.send().await;
            let answer = answer.map_err(|error| StepError::from_sdk(action(), error))?;
            let first = answer.db_instances.unwrap_or_default().into_iter().next();
            first.and_then(|found| found.db_instance_identifier)
        }
        ResourceKind::SnapshotCopy | ResourceKind::Secret => None,
    };
    // Found by its id under its own name: the look before came too early.
    let given = resource.given_name.as_ref();
    Ok(name.filter(|name| {
        !name.eq_ignore_ascii_case(&resource.identifier)
            && !given.is_some_and(|given| given.identifier.eq_ignore_ascii_case(name))
    }))
}

/// The error of a resource that was made and has another name now.
pub fn renamed(resource: &Resource, name: &str) -> StepError {
    let Resource {
        kind, identifier, ..
    } = resource;
    StepError::new(
        &AR0037,
        format!("{kind} `{identifier}` is called `{name}` now"),
    )
}

/// A resource of a restore, found in the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its ARN; for a secret its name.
    pub arn: String,
    /// Its name.
    pub identifier: String,
    /// Its status.
    pub status: String,
    /// The restore that its tag names; empty when it has none.
    pub restore_id: String,
    /// What tells it from a later one of the same name, where RDS has such an id.
    pub resource_id: Option<String>,
    /// When a cluster or an instance was made; an instance that is being created does not say.
    pub created_at: Option<OffsetDateTime>,
    /// From when its tag says that it may be removed (RFC 3339).
    pub expires_at: Option<String>,
    /// Whether it is a cluster protected against deletion: only who protected it may take that back.
    pub protected: bool,
    /// Whether another restore came in its place.
    pub retired: bool,
}

impl Found {
    /// A secret that is there.
    pub fn secret(name: &str, restore_id: &str) -> Self {
        Self {
            kind: ResourceKind::Secret,
            arn: name.to_owned(),
            identifier: name.to_owned(),
            status: "present".to_owned(),
            restore_id: restore_id.to_owned(),
            resource_id: None,
            created_at: None,
            expires_at: None,
            protected: false,
            retired: false,
        }
    }

    fn instance(instance: &DbInstance) -> Self {
        let named = [
            instance.db_instance_arn(),
            instance.db_instance_identifier(),
            instance.db_instance_status(),
        ];
        Self {
            resource_id: instance.dbi_resource_id().map(str::to_owned),
            created_at: moment(instance.instance_create_time()),
            ..Self::new(ResourceKind::Instance, instance.tag_list(), named)
        }
    }

    fn cluster(cluster: &DbCluster) -> Self {
        let named = [
            cluster.db_cluster_arn(),
            cluster.db_cluster_identifier(),
            cluster.status(),
        ];
        Self {
            resource_id: cluster.db_cluster_resource_id().map(str::to_owned),
            created_at: moment(cluster.cluster_create_time()),
            protected: cluster.deletion_protection().unwrap_or(false),
            ..Self::new(ResourceKind::Cluster, cluster.tag_list(), named)
        }
    }

    fn snapshot(snapshot: &DbClusterSnapshot) -> Self {
        let named = [
            snapshot.db_cluster_snapshot_arn(),
            snapshot.db_cluster_snapshot_identifier(),
            snapshot.status(),
        ];
        Self::new(ResourceKind::SnapshotCopy, snapshot.tag_list(), named)
    }

    fn new(kind: ResourceKind, tags: &[Tag], named: [Option<&str>; 3]) -> Self {
        let [arn, identifier, status] = named.map(text);
        Self {
            kind,
            arn,
            identifier,
            status,
            restore_id: text(tag(tags, RESTORE_ID_TAG)),
            resource_id: None,
            created_at: None,
            expires_at: tag(tags, EXPIRES_AT_TAG).map(str::to_owned),
            protected: false,
            retired: tag(tags, RETIRED_BY_TAG).is_some(),
        }
    }
}

/// A resource of the ledger that a look by tag did not show: under its own name, or under another.
///
/// With our tag it is only that lists lag. Without it, it is what was made by its resource id, or, for a copy, by its
/// source: somebody took the tag, so it must not be touched, and must not be forgotten.
///
/// # Errors
/// What RDS refuses.
pub async fn find_unlisted(
    rds: &Client,
    resource: &Resource,
    plan: &Plan,
) -> Result<Option<Found>, StepError> {
    let found = find_named(rds, resource, &resource.identifier, plan).await?;
    let known = resource.resource_id.is_some() || resource.kind == ResourceKind::SnapshotCopy;
    let ours = |found: &Found| (known || found.restore_id == plan.restore_id) && resource.is(found);
    if let Some(found) = found.filter(ours) {
        return Ok(Some(found));
    }
    if let Some(given) = &resource.given_name {
        let found = find_named(rds, resource, &given.identifier, plan).await?;
        if let Some(found) = found.filter(|found| resource.is(found)) {
            return Ok(Some(found));
        }
    }
    let Some(name) = renamed_to(rds, resource).await? else {
        return Ok(None);
    };
    let found = find_named(rds, resource, &name, plan).await?;
    Ok(found.filter(|found| resource.is_renamed(found)))
}

async fn find_named(
    rds: &Client,
    resource: &Resource,
    name: &str,
    plan: &Plan,
) -> Result<Option<Found>, StepError> {
    Ok(match resource.kind {
        ResourceKind::Instance => find_instance(rds, name)
            .await?
            .map(|found| Found::instance(&found)),
        ResourceKind::Cluster => find_cluster(rds, name)
            .await?
            .map(|found| Found::cluster(&found)),
        ResourceKind::SnapshotCopy => find_snapshot(rds, name).await?.and_then(|snapshot| {
            let found = Found::snapshot(&snapshot);
            let source = snapshot.source_db_cluster_snapshot_arn();
            let copied = plan
                .copy(&resource.arn)
                .map(|copy| copy.source_arn.as_str());
            let made = resource.made && source.is_some() && source == copied;
            (made || found.restore_id == plan.restore_id).then_some(found)
        }),
        ResourceKind::Secret => None,
    })
}

/// A fresh look at the account: everything that carries this restore's tag, in the order of undo.
///
/// # Errors
/// What RDS refuses.
pub async fn find_tagged(rds: &Client, restore_id: &str) -> Result<Vec<Found>, StepError> {
    let mut found = find_made(rds).await?;
    found.retain(|found| found.restore_id == restore_id);
    Ok(found)
}

/// A fresh look at the account: everything that carries the tag of any restore, in the order of undo.
///
/// # Errors
/// What RDS refuses.
pub async fn find_made(rds: &Client) -> Result<Vec<Found>, StepError> {
    let mut found = Vec::new();
    let mut instances = rds.describe_db_instances().into_paginator().items().send();
    while let Some(instance) = instances.next().await {
        let instance = instance.map_err(|error| StepError::from_sdk("list instances", error))?;
        found.push(Found::instance(&instance));
    }
    let mut clusters = rds.describe_db_clusters().into_paginator().items().send();
    while let Some(cluster) = clusters.next().await {
        let cluster = cluster.map_err(|error| StepError::from_sdk("list clusters", error))?;
        found.push(Found::cluster(&cluster));
    }
    found.extend(manual_snapshots(rds).await?);
    found.retain(|found| !found.restore_id.is_empty());
    Ok(found)
}

/// The manual snapshots that carry this restore's tag.
///
/// # Errors
/// What RDS refuses.
pub async fn find_tagged_snapshots(
    rds: &Client,
    restore_id: &str,
) -> Result<Vec<Found>, StepError> {
    let mut found = manual_snapshots(rds).await?;
    found.retain(|found| found.restore_id == restore_id);
    Ok(found)
}

async fn manual_snapshots(rds: &Client) -> Result<Vec<Found>, StepError> {
    let mut snapshots = rds
        .describe_db_cluster_snapshots()
        .snapshot_type("manual")
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(snapshot) = snapshots.next().await {
        let snapshot = snapshot.map_err(|error| StepError::from_sdk("list snapshots", error))?;
        if is_copy_of_a_restore(&snapshot) {
            found.push(Found::snapshot(&snapshot));
        }
    }
    Ok(found)
}

/// Whether a text is an ARN.
pub fn is_arn(text: &str) -> bool {
    text.starts_with("arn:")
}

/// The field of an ARN, counted from 0: 3 is the region, 4 the account.
pub fn arn_field(arn: &str, index: usize) -> Option<&str> {
    arn.split(':').nth(index).filter(|field| !field.is_empty())
}

/// RDS lowercases identifiers, so names are compared without regard to case.
fn is_same(found: Option<&str>, asked: &str) -> bool {
    found.is_some_and(|found| found.eq_ignore_ascii_case(asked))
}

/// A moment that RDS tells, to the nanosecond.
pub fn moment(at: Option<&DateTime>) -> Option<OffsetDateTime> {
    at.and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(at.as_nanos()).ok())
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
