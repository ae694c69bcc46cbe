//! Whether the snapshot is copied first, and why.

use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::{CopyReason, SnapshotCopy, SourceSnapshot};
use aurora_restore_core::rds;
use aurora_restore_core::request::{Request, Waits};
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot};
use time::OffsetDateTime;

use super::source::taken_at;

/// The copy, if the snapshot cannot be restored as it is.
pub(super) fn snapshot_copy(
    request: &Request,
    source: &SourceSnapshot,
    expiring: bool,
    account: &str,
    region: &str,
    id: &RestoreId,
) -> Option<SnapshotCopy> {
    let foreign_key = source
        .kms_key_id
        .as_deref()
        .filter(|key| rds::is_arn(key))
        .and_then(|key| rds::arn_field(key, 4))
        .is_some_and(|owner| owner != account);
    let reasons: Vec<CopyReason> = [
        (source.region != region, CopyReason::Region),
        (source.account != account, CopyReason::Account),
        (foreign_key, CopyReason::Key),
        (expiring, CopyReason::Expiring),
    ]
    .into_iter()
    .filter_map(|(needed, reason)| needed.then_some(reason))
    .collect();
    (!reasons.is_empty()).then(|| SnapshotCopy {
        identifier: id.snapshot_copy(),
        // An unencrypted snapshot cannot be encrypted by copying; the restore call does that.
        kms_key_id: request
            .target
            .kms_key_id
            .clone()
            .filter(|_| source.encrypted),
        reasons,
    })
}

/// Whether RDS would delete an automated snapshot before the run has restored it.
pub(super) fn is_expiring(
    snapshot: &DbClusterSnapshot,
    live: Option<&DbCluster>,
    needed_until: OffsetDateTime,
) -> bool {
    if snapshot.snapshot_type() != Some("automated") {
        return false;
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
