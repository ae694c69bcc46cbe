//! What is there in the account with a restore's tag on it, and what of it is to go.

use std::collections::BTreeMap;

use aurora_restore_core::ledger::{self, Resource, ResourceKind, Status};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::rds::{self, Found};
use aurora_restore_core::{Context, Restore, StepError, expiry, secrets};
use time::OffsetDateTime;

use crate::expired;

/// A call whose answer was lost has made what it makes this long after the end of its restore, at the latest.
const LANDS_WITHIN: time::Duration = time::Duration::minutes(15);

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
    /// When its target goes, where people are to be told by now.
    pub(crate) goes_soon: Option<OffsetDateTime>,
    /// What is left of it and must go.
    pub(crate) orphans: Vec<Resource>,
    /// What must go and cannot.
    pub(crate) refused: Vec<String>,
    /// What is not proved to be its own.
    pub(crate) strangers: usize,
}

/// Tells what of these is left over: the restore has ended, its ledger names them, with this resource id where one
/// is recorded, or else with a time of creation at which it could have made them, and they are not in service.
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
    let began = restore.plan().planned_at;
    let ended = ledger::ended_at(&context.table(), &id).await?;
    let last = ended.unwrap_or(began) + LANDS_WITHIN;
    let meanwhile = began.unix_timestamp()..=last.unix_timestamp();
    // Months later, a name and a copied list of tags are somebody else's. Copies and secrets have no resource id.
    let proved = |recorded: &Resource, found: &Found| {
        let has_id = matches!(found.kind, ResourceKind::Cluster | ResourceKind::Instance);
        let created = found.created_at.map(OffsetDateTime::unix_timestamp);
        !has_id
            || recorded.resource_id.is_some()
            || created.is_some_and(|at| meanwhile.contains(&at))
    };
    for found in found {
        let ours = |recorded: &&Resource| recorded.is(&found) && proved(recorded, &found);
        // The target of this restore until another came in its place: that one's to remove.
        if found.retired && (in_service || !ledger.iter().any(|recorded| recorded.is(&found))) {
            continue;
        }
        let Some(recorded) = ledger.iter().find(ours) else {
            tracing::warn!(arn = found.arn, restore_id, "a restore's tag on a stranger");
            judged.strangers += 1;
            continue;
        };
        if in_service && found.kind != ResourceKind::SnapshotCopy {
            if !restored || found.kind != ResourceKind::Cluster {
                continue;
            }
            let expiry = expiry::stands(&context.table(), restore.plan()).await?;
            let (tag, id) = (found.expires_at.as_deref(), found.resource_id.as_deref());
            let Some(at) = expired::goes_at(&expiry, recorded, tag, id) else {
                continue;
            };
            if at <= now && found.protected {
                judged.refused.push(protected(&found));
            } else if at <= now {
                judged.expired = true;
            } else if !found.protected && now >= at - expiry::warning_lead(restore.plan(), at) {
                judged.goes_soon = Some(at);
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
