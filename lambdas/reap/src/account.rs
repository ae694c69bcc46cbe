//! What is there in the account with a restore's tag on it, and what of it is to go.

use std::collections::BTreeMap;

use aurora_restore_core::ledger::{self, Resource, ResourceKind, Status};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::rds::{self, Found};
use aurora_restore_core::{Context, Restore, StepError, secrets};

use crate::expired;

/// What carries a tag, by the restore it names, each in the order of undo.
pub(crate) type ByRestore = BTreeMap<String, Vec<Found>>;

/// Everything in the pipeline's region, where its targets are, that carries the tag of a restore.
///
/// # Errors
/// What RDS or Secrets Manager refuses.
pub(crate) async fn look(context: &Context) -> Result<ByRestore, StepError> {
    let mut all = rds::find_made(&context.aws.rds(context.aws.region())).await?;
    all.extend(secrets::find_made(context.aws.secrets_manager()).await?);
    let mut by_restore = ByRestore::new();
    for found in all {
        by_restore
            .entry(found.restore_id.clone())
            .or_default()
            .push(found);
    }
    Ok(by_restore)
}

/// What is to be done about the things of one restore.
#[derive(Default)]
pub(crate) struct Judged {
    /// The restore, if it has ended.
    pub(crate) restore: Option<Restore>,
    /// Whether its target is to go.
    pub(crate) expired: bool,
    /// What is left of it and must go.
    pub(crate) orphans: Vec<Resource>,
    /// What must go and cannot.
    pub(crate) refused: Vec<String>,
    /// What is not proved to be its own.
    pub(crate) strangers: usize,
}

/// Tells what of these is left over: the restore has ended, its ledger names them, with this resource id where one
/// is recorded, and they are not in service.
///
/// # Errors
/// What DynamoDB refuses.
pub(crate) async fn judge(
    context: &Context,
    restore_id: &str,
    found: Vec<Found>,
) -> Result<Judged, StepError> {
    let mut judged = Judged::default();
    // A tag alone proves nothing: anybody can set it, and copies of things inherit it.
    let strangers = Judged {
        strangers: found.len(),
        ..Judged::default()
    };
    let Ok(id) = RestoreId::parse(restore_id) else {
        return Ok(strangers);
    };
    let Some(restore) = Restore::find(context, &id).await? else {
        return Ok(strangers);
    };
    let Some(ending) = ledger::ending(&context.table(), &id).await? else {
        return Ok(judged); // at work, or being undone
    };
    let restored = ending.status == Status::Restored;
    let in_service = restored || !ending.kept.is_empty() || restore.is_in_service().await?;
    let (ledger, now) = (restore.resources().await?, context.clock.now());
    for found in found {
        let Some(recorded) = ledger.iter().find(|recorded| recorded.is(&found)) else {
            tracing::warn!(arn = found.arn, restore_id, "a restore's tag on a stranger");
            judged.strangers += 1;
            continue;
        };
        if in_service && found.kind != ResourceKind::SnapshotCopy {
            let over = restored
                && found.kind == ResourceKind::Cluster
                && expired::is_over(&restore, recorded, &found, now);
            if over && found.protected {
                judged.refused.push(protected(&found));
            } else {
                judged.expired |= over;
            }
        } else if found.protected {
            judged.refused.push(protected(&found));
        } else if found.status != "deleting" {
            judged.orphans.push(recorded.clone());
        }
    }
    judged.restore = Some(restore);
    Ok(judged)
}

fn protected(found: &Found) -> String {
    format!(
        "cluster `{}` is protected against deletion, and its protection is not ours to switch off",
        found.identifier
    )
}
