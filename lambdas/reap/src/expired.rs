//! Targets whose time is over.

use aurora_restore_core::errors::AR0012;
use aurora_restore_core::ledger::{Resource, ResourceState};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::rds::Found;
use aurora_restore_core::{Context, Restore, StepError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wait::undo::Seen;

/// Whether this cluster of a restored restore may be removed by now: by the plan, and by the tag as it is today.
/// Who wants to keep a target longer changes the tag, or takes it away.
pub(crate) fn is_over(
    restore: &Restore,
    recorded: &Resource,
    found: &Found,
    now: OffsetDateTime,
) -> bool {
    let planned = restore.plan().expires_at.is_some_and(|at| at <= now);
    let tagged = found
        .expires_at
        .as_deref()
        .and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok())
        .is_some_and(|at| at <= now);
    planned && tagged && recorded.resource_id.is_some() && recorded.resource_id == found.resource_id
}

/// Removes an expired target under its lock, or goes on with it; what was refused for now. `None` when somebody
/// else has the lock.
///
/// # Errors
/// What AWS refuses.
pub(crate) async fn remove(
    context: &Context,
    id: &RestoreId,
) -> Result<Option<Vec<String>>, StepError> {
    let restore = Restore::load(context, id).await?;
    if !restore.begin_expiry(context.clock.now()).await? {
        return Ok(None);
    }
    let mut refused = Vec::new();
    for resource in restore.resources().await? {
        if resource.state == ResourceState::Removed {
            continue;
        }
        match cleanup::delete(context, &restore, &resource).await {
            Ok(_) => {}
            Err(error) if *error.code() == AR0012 => tracing::warn!("{error}"),
            Err(error) => refused.push(error.to_string()),
        }
    }
    let seen = Seen::now(context, &restore, false).await?;
    // Somebody renamed it or took its tag: then it is theirs to remove.
    let astray = seen.astray.iter().map(|found| {
        format!(
            "`{}` lost the restore's tag or its name, and stays",
            found.arn
        )
    });
    refused.extend(astray);
    if seen.leaving.is_empty() {
        seen.record_removed(&restore).await?;
        restore.end_expiry(context.clock.now()).await?;
    }
    Ok(Some(refused))
}
