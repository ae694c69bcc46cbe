//! Copies the source snapshot to where the restore will happen.
//!
//! RDS cannot restore across regions, and a snapshot of another account depends on
//! that account's key and good will, so a copy of our own comes first. A plan without
//! a copy makes this step an empty one. Undo and Cleanup delete the copy, and only if
//! the ledger says it is ours.

use aurora_restore_core::errors::{AR0012, AR0020, AR0028, wire_code};
use aurora_restore_core::ledger::{Resource, ResourceKind, ResourceState};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::SnapshotCopy;
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step, StepError, approval, ownership, rds};
use aws_sdk_rds::types::DbClusterSnapshot;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "copy-snapshot",
    run,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
}

/// What the state machine learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The copy, when the plan has one.
    pub snapshot_copy: Option<String>,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let restore = Restore::load(context, &RestoreId::parse(&event.restore_id)?).await?;
        answer(&copy_snapshot(context, &restore).await?)
    })
}

/// Asks for the copy, or finds the one that was asked for before.
///
/// # Errors
/// AR0012 when a snapshot of that name is not ours, AR0029 while five copies are in progress, AR0010 for the key,
/// AR0011 for the quota, AR0007 when the source snapshot is gone, AR0054 when nobody approved what must be approved.
pub async fn copy_snapshot(context: &Context, restore: &Restore) -> Result<Answer, StepError> {
    let plan = restore.plan();
    let Some(copy) = plan.copies.first() else {
        return Ok(Answer {
            snapshot_copy: None,
        });
    };
    let client = context.aws.rds(&copy.region);
    let began = approval::require(context, plan).await?;
    let deadline = began + time::Duration::minutes(plan.waits.copy_deadline_minutes.into());
    if context.clock.now() > deadline {
        // Five copies at a time may be in progress per destination region: this one never had its turn.
        return Err(StepError::new(
            &AR0020,
            format!("snapshot `{}` could not be copied in time", copy.source_arn),
        ));
    }
    let resource = Resource::new(ResourceKind::SnapshotCopy, &copy.arn, &copy.identifier);
    let resource = restore.intend(resource).await?;
    let asked_for = Answer {
        snapshot_copy: Some(copy.identifier.clone()),
    };

    let made = match rds::find_snapshot(&client, &copy.identifier).await? {
        Some(found) => found, // a repeated step: already asked for, or a stranger's
        // It was there. Whether RDS does not show it or somebody deleted it, WaitForCopy finds out.
        None if resource.state == ResourceState::Created => return Ok(asked_for),
        None => ask(context, restore, copy).await?,
    };
    ownership::prove(
        &copy.identifier,
        made.tag_list(),
        &plan.restore_id,
        None,
        None,
    )?;
    prove_source(&made, &copy.source_arn)?;
    restore.created(resource, None).await?;
    tracing::info!(snapshot = copy.identifier, reasons = ?copy.reasons, "snapshot copy asked for");
    Ok(asked_for)
}

async fn ask(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<DbClusterSnapshot, StepError> {
    let plan = restore.plan();
    let client = context.aws.rds(&copy.region);
    let asked = client
        .copy_db_cluster_snapshot()
        .source_db_cluster_snapshot_identifier(&copy.source_arn)
        .target_db_cluster_snapshot_identifier(&copy.identifier)
        .set_kms_key_id(copy.kms_key_id.clone())
        // A copy is never needed after the run's last deadline.
        .set_tags(Some(ownership::tags(plan, Some(plan.last_deadline()))))
        .send()
        .await;
    let found = match asked {
        Ok(answer) => answer.db_cluster_snapshot,
        Err(error) if wire_code(&error) == Some("DBClusterSnapshotAlreadyExistsFault") => {
            rds::find_snapshot(&client, &copy.identifier).await?
        }
        Err(error) => {
            return Err(StepError::from_sdk(
                format!("copy snapshot `{}`", copy.source_arn),
                error,
            ));
        }
    };
    found.ok_or_else(|| {
        StepError::new(
            &AR0028,
            format!(
                "snapshot `{}` exists but cannot be seen yet",
                copy.identifier
            ),
        )
    })
}

/// A snapshot has no resource id of its own, but RDS tells what it is a copy of.
fn prove_source(made: &DbClusterSnapshot, source_arn: &str) -> Result<(), StepError> {
    match made.source_db_cluster_snapshot_arn() {
        Some(found) if !found.eq_ignore_ascii_case(source_arn) => Err(StepError::new(
            &AR0012,
            format!(
                "snapshot `{}` is a copy of {found}",
                made.db_cluster_snapshot_identifier().unwrap_or_default()
            ),
        )),
        _ => Ok(()),
    }
}
