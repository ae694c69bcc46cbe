//! Whether the snapshot is copied first, and why.

use aurora_restore_core::errors::{AR0001, AR0010};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::{CopyReason, SnapshotCopy, Source, rds_arn};
use aurora_restore_core::request::{Request, SnapshotType, Waits};
use aurora_restore_core::{Context, StepError, rds};
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot};
use time::OffsetDateTime;

use super::source::taken_at;

/// Where the target is made.
pub(super) struct Home<'a> {
    pub(super) account: &'a str,
    pub(super) region: &'a str,
}

/// The copies, if the snapshot cannot be restored as it is.
///
/// One call copies across accounts or across regions. Whether it copies an encrypted snapshot across both, the
/// documentation says both ways (Aurora User Guide, "Copying a DB cluster snapshot"), so then two calls do: into
/// this account in the snapshot's region, and from there.
pub(super) fn snapshot_copies(
    request: &Request,
    source: &Source,
    expiring: bool,
    home: &Home<'_>,
    id: &RestoreId,
) -> Result<Vec<SnapshotCopy>, StepError> {
    let Some(snapshot_arn) = source.snapshot_arn() else {
        return Ok(Vec::new());
    };
    let reasons = reasons(source, expiring, home);
    let crosses = |reason| reasons.contains(&reason);
    let both = crosses(CopyReason::Region) && crosses(CopyReason::Account);
    let twice = source.encrypted && both;
    let first_key = request.source.copy_kms_key_id.as_ref();
    if let Some(key) = first_key.filter(|_| !twice) {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `source.copyKmsKeyId`: `{key}`, expected no such field: only an encrypted snapshot of another account in another region is copied twice"
            ),
        ));
    }
    let to = |region: &str, source_arn: String, key: Option<&String>, reasons| {
        let identifier = id.snapshot_copy();
        SnapshotCopy {
            arn: rds_arn(region, home.account, "cluster-snapshot", &identifier),
            identifier,
            region: region.to_owned(),
            source_arn,
            // An unencrypted snapshot cannot be encrypted by copying; the restore call does that.
            kms_key_id: key.filter(|_| source.encrypted).cloned(),
            reasons,
            quota: None,
        }
    };
    let last_key = request.target.kms_key_id.as_ref();
    if reasons.is_empty() {
        return Ok(Vec::new());
    }
    if !twice {
        let only = to(home.region, snapshot_arn.to_owned(), last_key, reasons);
        return Ok(vec![only]);
    }
    if first_key.is_none() {
        return Err(StepError::new(
            &AR0010,
            format!(
                "`{snapshot_arn}` is encrypted, another account's and in another region: it is copied twice, and the first copy needs a key of {}, and source.copyKmsKeyId is absent",
                source.region
            ),
        ));
    }
    let (across_regions, within): (Vec<_>, Vec<_>) = reasons
        .into_iter()
        .partition(|reason| *reason == CopyReason::Region);
    let first = to(&source.region, snapshot_arn.to_owned(), first_key, within);
    let second = to(home.region, first.arn.clone(), last_key, across_regions);
    Ok(vec![first, second])
}

/// How many manual snapshots the account may have in a region, where RDS tells.
pub(super) async fn manual_snapshot_quota(
    context: &Context,
    region: &str,
) -> Result<Option<u32>, StepError> {
    let rds = context.aws.rds(region);
    let answer = rds.describe_account_attributes().send().await;
    let answer = answer
        .map_err(|error| StepError::from_sdk(format!("read the quotas of {region}"), error))?;
    let quota = answer
        .account_quotas()
        .iter()
        .find(|quota| quota.account_quota_name() == Some("ManualClusterSnapshots"));
    Ok(quota
        .and_then(|quota| quota.max())
        .and_then(|most| u32::try_from(most).ok()))
}

fn reasons(source: &Source, expiring: bool, home: &Home<'_>) -> Vec<CopyReason> {
    let foreign_key = source
        .kms_key_id
        .as_deref()
        .filter(|key| rds::is_arn(key))
        .and_then(|key| rds::arn_field(key, 4))
        .is_some_and(|owner| owner != home.account);
    [
        (source.region != home.region, CopyReason::Region),
        (source.account != home.account, CopyReason::Account),
        (foreign_key, CopyReason::Key),
        (expiring, CopyReason::Expiring),
    ]
    .into_iter()
    .filter_map(|(needed, reason)| needed.then_some(reason))
    .collect()
}

/// Whether RDS or AWS Backup would delete a snapshot, or may, before the run has restored it.
pub(super) fn is_expiring(
    snapshot: &DbClusterSnapshot,
    live: Option<&DbCluster>,
    needed_until: OffsetDateTime,
) -> bool {
    match snapshot.snapshot_type() {
        Some("automated") => {}
        // AWS Backup deletes by a lifecycle that RDS does not know.
        kind => return kind == Some(SnapshotType::AwsBackup.name()),
    }
    // Without its cluster nobody can tell how long RDS keeps it.
    let Some(days) = live.and_then(DbCluster::backup_retention_period) else {
        return true;
    };
    taken_at(snapshot) + time::Duration::days(days.into()) < needed_until
}

/// Until the snapshot has been read.
pub(super) fn longest(waits: &Waits) -> time::Duration {
    time::Duration::minutes((waits.copy_deadline_minutes + waits.cluster_deadline_minutes).into())
}
