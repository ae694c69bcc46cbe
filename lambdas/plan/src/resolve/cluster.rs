//! The source as a cluster: a point in time that its backups reach, or a clone of its volume.
//!
//! RDS does both within a region, and within an account but for clusters shared through
//! Resource Access Manager, which this pipeline does not use (Aurora User Guide, "Restoring a DB
//! cluster to a specified time" and "Cloning a volume for an Amazon Aurora DB cluster").

use aurora_restore_core::errors::{AR0001, AR0038, AR0039, AR0040};
use aurora_restore_core::ledger::rfc3339;
use aurora_restore_core::plan::{Source, SourceKind};
use aurora_restore_core::request::Request;
use aurora_restore_core::{Context, StepError, rds};
use aws_sdk_rds::types::{DbCluster, StorageEncryptionType};
use time::OffsetDateTime;

use super::source::{known_engine, required};

/// A volume has so many copy-on-write descendants; RDS makes the next clone a full copy, without a word (Aurora User
/// Guide, "Limitations of Aurora cloning").
const MOST_CLONES: usize = 15;

/// The cluster that is asked for, and where it is.
pub(super) struct Place<'a> {
    pub(super) account: &'a str,
    pub(super) region: &'a str,
}

/// The cluster as it was at `at`, or at the latest time that can be restored.
pub(super) async fn point_in_time(
    context: &Context,
    request: &Request,
    place: &Place<'_>,
    at: Option<OffsetDateTime>,
) -> Result<(Source, DbCluster), StepError> {
    let cluster = live_cluster(context, request, place, "source.pointInTime").await?;
    let taken_at = restorable(&cluster, at)?;
    let source = describe(&cluster, place, SourceKind::PointInTime, taken_at)?;
    Ok((source, cluster))
}

/// The cluster as it is when RestoreCluster asks for the clone.
pub(super) async fn clone(
    context: &Context,
    request: &Request,
    place: &Place<'_>,
) -> Result<(Source, DbCluster), StepError> {
    let cluster = live_cluster(context, request, place, "source.clone").await?;
    can_be_cloned(context, &cluster, place).await?;
    let source = describe(&cluster, place, SourceKind::Clone, context.clock.now())?;
    Ok((source, cluster))
}

async fn live_cluster(
    context: &Context,
    request: &Request,
    place: &Place<'_>,
    field: &str,
) -> Result<DbCluster, StepError> {
    let Place { account, region } = place;
    if let Some(elsewhere) = request
        .source
        .region
        .as_deref()
        .filter(|asked| asked != region)
    {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `source.region`: `{elsewhere}`, expected `{region}` or no such field with {field}: RDS restores to a point in time, and clones, within a region; restore a snapshot of the cluster instead, which is copied here"
            ),
        ));
    }
    let name = &request.source.cluster_identifier;
    let found = rds::find_cluster(&context.aws.rds(region), name).await?;
    let cluster = found.ok_or_else(|| {
        StepError::new(
            &AR0038,
            format!("`{name}` in {region} of account {account}, for {field}"),
        )
    })?;
    refuse_key_of_unencrypted(request, &cluster, field)?;
    Ok(cluster)
}

/// RDS rejects a key for what it makes of a cluster that is not encrypted (API reference, `KmsKeyId` of
/// `RestoreDBClusterToPointInTime`). A cluster under a key that AWS owns is encrypted.
fn refuse_key_of_unencrypted(
    request: &Request,
    cluster: &DbCluster,
    field: &str,
) -> Result<(), StepError> {
    let unencrypted = Some(&StorageEncryptionType::Unencrypted);
    match &request.target.kms_key_id {
        Some(key) if cluster.storage_encryption_type() == unencrypted => Err(StepError::new(
            &AR0001,
            format!(
                "at `target.kmsKeyId`: `{key}`, expected no such field with {field}: `{}` is not encrypted, and RDS takes a key for such a cluster only when one of its snapshots is restored",
                request.source.cluster_identifier
            ),
        )),
        _ => Ok(()),
    }
}

/// The point in time: the one asked for, if the backups reach it, or the last second that they reach.
fn restorable(
    cluster: &DbCluster,
    at: Option<OffsetDateTime>,
) -> Result<OffsetDateTime, StepError> {
    let name = cluster.db_cluster_identifier().unwrap_or_default();
    let earliest = rds::moment(cluster.earliest_restorable_time());
    let latest = rds::moment(cluster.latest_restorable_time());
    let (Some(earliest), Some(latest)) = (earliest, latest) else {
        return Err(StepError::new(
            &AR0039,
            format!("RDS tells no times to which `{name}` can be restored"),
        ));
    };
    let Some(at) = at else {
        // RDS wants a time before the latest one.
        let second = latest.replace_nanosecond(0).unwrap_or(latest);
        return Ok(if second < latest {
            second
        } else {
            second - time::Duration::SECOND
        }
        .max(earliest));
    };
    if at < earliest || at > latest {
        return Err(StepError::new(
            &AR0039,
            format!(
                "at `source.pointInTime`: `{}`, expected {} to {} for `{name}`",
                rfc3339(at),
                rfc3339(earliest),
                rfc3339(latest)
            ),
        ));
    }
    Ok(at)
}

async fn can_be_cloned(
    context: &Context,
    cluster: &DbCluster,
    place: &Place<'_>,
) -> Result<(), StepError> {
    let name = cluster.db_cluster_identifier().unwrap_or_default();
    if cluster.db_cluster_members().is_empty() {
        return Err(StepError::new(
            &AR0040,
            format!("`{name}` has no DB instance, and RDS clones only clusters that have one"),
        ));
    }
    let Some(group) = cluster.clone_group_id().filter(|group| !group.is_empty()) else {
        return Ok(());
    };
    let sharing = rds::clone_group(&context.aws.rds(place.region), group).await?;
    // The cluster that was there first is no clone.
    let clones = sharing.saturating_sub(1);
    if clones >= MOST_CLONES {
        return Err(StepError::new(
            &AR0040,
            format!(
                "{clones} clones share the volume of `{name}`, of at most {MOST_CLONES}: RDS would make a full copy"
            ),
        ));
    }
    Ok(())
}

fn describe(
    cluster: &DbCluster,
    place: &Place<'_>,
    kind: SourceKind,
    taken_at: OffsetDateTime,
) -> Result<Source, StepError> {
    let name = required(cluster.db_cluster_identifier(), "name")?;
    let engine = required(cluster.engine(), "engine")?;
    let engine_version = required(cluster.engine_version(), "engine version")?;
    let engine = known_engine(&engine, &engine_version, &format!("cluster `{name}`"))?;
    let kms_key_id = cluster
        .kms_key_id()
        .filter(|key| !key.is_empty())
        .map(str::to_owned);
    Ok(Source {
        kind,
        cluster_identifier: name,
        cluster_resource_id: cluster.db_cluster_resource_id().map(str::to_owned),
        account: place.account.to_owned(),
        region: place.region.to_owned(),
        taken_at,
        engine,
        engine_version,
        master_username: required(cluster.master_username(), "master user")?,
        port: cluster
            .port()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        allocated_storage_gib: cluster.allocated_storage().unwrap_or(0),
        encrypted: cluster.storage_encrypted().unwrap_or(false) || kms_key_id.is_some(),
        kms_key_id,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::primitives::DateTime;
    use time::macros::datetime;

    use super::*;

    fn reaching(latest_millis: i64) -> DbCluster {
        let day = datetime!(2026-11-20 00:00 UTC).unix_timestamp();
        DbCluster::builder()
            .db_cluster_identifier("orders-prod")
            .earliest_restorable_time(DateTime::from_secs(day))
            .latest_restorable_time(DateTime::from_millis(day * 1000 + latest_millis))
            .build()
    }

    #[test]
    fn the_latest_time_is_the_last_whole_second_before_what_rds_names() {
        let at = |millis| restorable(&reaching(millis), None).unwrap();
        assert_eq!(at(3_600_500), datetime!(2026-11-20 01:00:00 UTC));
        assert_eq!(at(3_600_000), datetime!(2026-11-20 00:59:59 UTC));
        assert_eq!(at(0), datetime!(2026-11-20 00:00:00 UTC));
    }

    #[test]
    fn a_time_that_the_backups_do_not_reach_is_refused_with_those_that_they_do() {
        for at in [
            datetime!(2026-11-19 23:59:59 UTC),
            datetime!(2026-11-20 01:00:01 UTC),
        ] {
            let error = restorable(&reaching(3_600_000), Some(at)).unwrap_err();
            assert_eq!(error.code().id, "AR0039");
            assert!(
                error
                    .message()
                    .contains("2026-11-20T00:00:00Z to 2026-11-20T01:00:00Z"),
                "{error}"
            );
        }
    }
}
