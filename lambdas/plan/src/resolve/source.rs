//! The source as a snapshot: the one that was asked for, what it tells, and the cluster it was taken of.

use aurora_restore_core::errors::{AR0007, AR0008, AR0024};
use aurora_restore_core::plan::{Source, SourceKind};
use aurora_restore_core::request::{Request, SnapshotType};
use aurora_restore_core::sql::Engine;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::{Context, StepError, ledger, ownership, rds};
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot, DbInstance};
use time::OffsetDateTime;

/// The snapshot of this name or ARN.
pub(super) async fn named_snapshot(
    context: &Context,
    snapshot: &str,
    region: &str,
) -> Result<DbClusterSnapshot, StepError> {
    let found = rds::find_snapshot(&context.aws.rds(region), snapshot).await?;
    found.ok_or_else(|| {
        StepError::new(
            &AR0007,
            format!("there is no snapshot `{snapshot}` in {region}"),
        )
    })
}

/// The newest usable snapshot of the cluster, of these types, not taken after `before`.
pub(super) async fn newest_snapshot(
    context: &Context,
    request: &Request,
    region: &str,
    before: Option<OffsetDateTime>,
) -> Result<DbClusterSnapshot, StepError> {
    let source = &request.source;
    let types = source
        .snapshot_types
        .as_deref()
        .unwrap_or(&SnapshotType::ALL);
    let cluster = &source.cluster_identifier;
    let snapshots = rds::snapshots_of(&context.aws.rds(region), cluster, types).await?;
    // The temporary copy of another restore is nobody's backup.
    let usable = snapshots.into_iter().filter(|snapshot| {
        is_usable(snapshot)
            && !ownership::is_copy_of_a_restore(snapshot)
            && before.is_none_or(|before| taken_at(snapshot) <= before)
    });
    usable.max_by_key(taken_at).ok_or_else(|| {
        let kinds: Vec<&str> = types.iter().map(|kind| kind.name()).collect();
        let limit = before.map_or_else(String::new, |before| {
            format!(" taken at {} or before", ledger::rfc3339(before))
        });
        StepError::new(
            &AR0007,
            format!(
                "cluster `{cluster}` has no available snapshot{limit} in {region}, of type {}",
                kinds.join(", ")
            ),
        )
    })
}

fn is_usable(snapshot: &DbClusterSnapshot) -> bool {
    status::of_snapshot(snapshot.status().unwrap_or_default()) == Meaning::Ready
}

pub(super) fn describe_source(
    snapshot: &DbClusterSnapshot,
    request: &Request,
    region: &str,
) -> Result<Source, StepError> {
    let arn = required(snapshot.db_cluster_snapshot_arn(), "ARN")?;
    if !is_usable(snapshot) {
        let status = snapshot.status().unwrap_or("unknown");
        return Err(StepError::new(
            &AR0008,
            format!("snapshot `{arn}` is `{status}`, expected `available`"),
        ));
    }
    let cluster = required(snapshot.db_cluster_identifier(), "cluster")?;
    if !cluster.eq_ignore_ascii_case(&request.source.cluster_identifier) {
        return Err(StepError::new(
            &AR0008,
            format!(
                "snapshot `{arn}` is of cluster `{cluster}`, the request names `{}`",
                request.source.cluster_identifier
            ),
        ));
    }
    let engine = required(snapshot.engine(), "engine")?;
    let engine_version = required(snapshot.engine_version(), "engine version")?;
    let engine = known_engine(&engine, &engine_version, &format!("snapshot `{arn}`"))?;
    let kms_key_id = snapshot
        .kms_key_id()
        .filter(|key| !key.is_empty())
        .map(str::to_owned);
    Ok(Source {
        kind: SourceKind::Snapshot {
            snapshot_arn: arn.clone(),
        },
        cluster_resource_id: snapshot.db_cluster_resource_id().map(str::to_owned),
        account: required(rds::arn_field(&arn, 4), "account")?,
        region: rds::arn_field(&arn, 3).unwrap_or(region).to_owned(),
        taken_at: taken_at(snapshot),
        engine_version,
        master_username: required(snapshot.master_username(), "master user")?,
        port: snapshot
            .port()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        allocated_storage_gib: snapshot.allocated_storage().unwrap_or(0),
        // Since February 2026 an AWS-owned key leaves `StorageEncrypted` false; the key's presence decides.
        encrypted: snapshot.storage_encrypted().unwrap_or(false) || kms_key_id.is_some(),
        kms_key_id,
        cluster_identifier: cluster,
        engine,
    })
}

/// The engine of what is restored, if its accounts can be locked and its data looked at.
pub(super) fn known_engine(engine: &str, version: &str, what: &str) -> Result<Engine, StepError> {
    let known = Engine::named(engine).ok_or_else(|| {
        let known = Engine::ALL.map(Engine::name).join("` or `");
        StepError::new(
            &AR0008,
            format!("{what} is of engine `{engine}`, expected `{known}`"),
        )
    })?;
    // Aurora MySQL 2, whose standard support ended in October 2024, speaks MySQL 5.7: without roles, and with other
    // tables of accounts.
    if known == Engine::Mysql && version.starts_with("5.") {
        return Err(StepError::new(
            &AR0008,
            format!("{what} is of Aurora MySQL `{version}`, expected version 3 (`8.0...`)"),
        ));
    }
    Ok(known)
}

/// What RDS tells of a snapshot or a cluster and a restore cannot do without.
pub(super) fn required(value: Option<&str>, what: &str) -> Result<String, StepError> {
    let found = value.filter(|value| !value.is_empty());
    found.map(str::to_owned).ok_or_else(|| {
        StepError::new(
            &AR0008,
            format!("RDS describes the source without its {what}"),
        )
    })
}

pub(super) fn taken_at(snapshot: &DbClusterSnapshot) -> OffsetDateTime {
    rds::moment(snapshot.snapshot_create_time()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The source cluster itself, if it still exists where we can see it.
pub(super) async fn live_source(
    context: &Context,
    source: &Source,
    account: &str,
) -> Result<Option<DbCluster>, StepError> {
    if source.account != account {
        return Ok(None);
    }
    let found =
        rds::find_cluster(&context.aws.rds(&source.region), &source.cluster_identifier).await?;
    // A later cluster of the same name is not the source.
    Ok(found.filter(|cluster| {
        source.cluster_resource_id.is_none()
            || cluster.db_cluster_resource_id() == source.cluster_resource_id.as_deref()
    }))
}

/// The instances of the source cluster, where it can be seen: the writer first, then by rank and name.
pub(super) async fn live_instances(
    context: &Context,
    source: &Source,
    live: Option<&DbCluster>,
) -> Result<Vec<DbInstance>, StepError> {
    let Some(cluster) = live else {
        return Ok(Vec::new());
    };
    let mut members = cluster.db_cluster_members().to_vec();
    members.sort_by_key(|member| {
        let name = member.db_instance_identifier().map(str::to_owned);
        let reader = !member.is_cluster_writer().unwrap_or(false);
        (reader, member.promotion_tier(), name)
    });
    let client = context.aws.rds(&source.region);
    let mut instances = Vec::new();
    for member in &members {
        let name = member.db_instance_identifier().unwrap_or_default();
        instances.extend(rds::find_instance(&client, name).await?);
    }
    Ok(instances)
}

/// The secret whose password must be refused afterwards.
pub(super) fn source_secret(
    request: &Request,
    live: Option<&DbCluster>,
) -> Result<String, StepError> {
    let managed = live
        .and_then(DbCluster::master_user_secret)
        .and_then(|secret| secret.secret_arn());
    let named = request.source.master_secret_arn.as_deref();
    named.or(managed).map(str::to_owned).ok_or_else(|| {
        let global = live.and_then(DbCluster::global_cluster_identifier);
        // Aurora User Guide, "Limitations for Secrets Manager integration with Amazon Aurora".
        let why = global.map_or_else(
            || "has no RDS-managed master secret that can be seen".to_owned(),
            |global| {
                format!("is in the global database `{global}`, for whose clusters RDS manages no master secret")
            },
        );
        let cluster = &request.source.cluster_identifier;
        StepError::new(
            &AR0024,
            format!("`{cluster}` {why}, and source.masterSecretArn is absent"),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_engine_whose_accounts_could_not_be_locked_is_refused_by_name_and_version() {
        let of = |engine, version| known_engine(engine, version, "snapshot `s`");
        assert!(of("aurora-mysql", "8.0.mysql_aurora.3.10.0").is_ok());
        assert!(of("aurora-postgresql", "16.4").is_ok());
        let old = "5.7.mysql_aurora.2.12.5";
        for (engine, version, named) in [("aurora-mysql", old, old), ("aurora", "5.6", "`aurora`")]
        {
            let refused = of(engine, version).unwrap_err();
            assert_eq!(refused.code().id, "AR0008");
            assert!(refused.message().contains(named), "{refused}");
        }
    }

    #[test]
    fn a_member_of_a_global_database_needs_its_secret_named() {
        let request = json!({
            "source": {"clusterIdentifier": "orders-prod"},
            "target": {
                "clusterIdentifier": "orders-staging",
                "instanceClass": "db.r7g.large",
                "securityGroupIds": ["sg-1"],
            },
        });
        let mut request = aurora_restore_core::request::read(request).unwrap();
        let member = DbCluster::builder()
            .global_cluster_identifier("orders-world")
            .build();
        let error = source_secret(&request, Some(&member)).unwrap_err();
        assert_eq!(error.code().id, "AR0024");
        assert!(error.message().contains("orders-world"), "{error}");
        request.source.master_secret_arn = Some("arn:aws:secretsmanager:x".to_owned());
        assert!(source_secret(&request, Some(&member)).is_ok());
    }
}
