//! Copies the source snapshot to where the restore will happen, when it is this restore's turn.
//!
//! RDS cannot restore across regions, and a snapshot of another account depends on
//! that account's key and good will, so a copy of our own comes first; where one call
//! cannot cross both account and region, two, the second of the first. RDS makes five
//! copies at a time, so each waits in a queue. This step asks for the next copy when its
//! turn has come, and otherwise leaves the waiting to WaitForCopy, which comes back here.
//! A plan without a copy makes it an empty one. Undo and Cleanup delete the copies, and
//! only if the ledger says they are ours.

use aurora_restore_core::errors::{AR0011, AR0012, AR0020, AR0028, wire_code};
use aurora_restore_core::ledger::{Resource, ResourceKind, ResourceState};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::SnapshotCopy;
use aurora_restore_core::queue::{self, Turn};
use aurora_restore_core::status::{self, Meaning};
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
    /// The copy that was asked for last, when one was.
    pub snapshot_copy: Option<String>,
    /// What is waited for, while it is others' turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<String>,
    /// Seconds between two looks of WaitForCopy.
    pub heartbeat_seconds: u32,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let restore = Restore::load(context, &RestoreId::parse(&event.restore_id)?).await?;
        answer(&copy_snapshot(context, &restore).await?)
    })
}

/// Asks for the next copy if it is its turn, or finds the one that was asked for before.
///
/// # Errors
/// AR0012 when a snapshot of that name is not ours, AR0020 when its turn did not come in time, AR0029 while five copies
/// are in progress that could not be seen, AR0010 for the key, AR0011 for the quota, AR0007 when the source snapshot is
/// gone, AR0054 when nobody approved what must be approved.
pub async fn copy_snapshot(context: &Context, restore: &Restore) -> Result<Answer, StepError> {
    let plan = restore.plan();
    let mut answer = Answer {
        snapshot_copy: None,
        queued: None,
        heartbeat_seconds: plan.copy_poll_seconds(),
    };
    if plan.copies.is_empty() {
        return Ok(answer);
    }
    approval::require(context, plan).await?;
    for copy in &plan.copies {
        if let Some(turn) = wait_for_turn(context, restore, copy).await? {
            answer.heartbeat_seconds = answer.heartbeat_seconds.max(queue::HEARTBEAT_SECONDS);
            answer.queued = Some(turn);
            return Ok(answer);
        }
        answer.snapshot_copy = Some(copy.identifier.clone());
        if !copy_once(context, restore, copy).await? {
            return Ok(answer);
        }
    }
    Ok(answer)
}

/// Queues for this copy; what is waited for, while it is others' turn.
async fn wait_for_turn(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<Option<String>, StepError> {
    let recorded = restore.resource(&copy.arn).await?;
    if recorded.is_some_and(|recorded| recorded.made) {
        return Ok(None);
    }
    let plan = restore.plan();
    let ticket = queue::join(context, restore, copy).await?;
    let minutes = time::Duration::minutes(plan.waits.copy_deadline_minutes.into());
    let late = context.clock.now() > ticket.joined_at() + minutes;
    let too_late = |seen: &str| {
        let text = format!(
            "snapshot `{}` could not be copied in time: {seen}",
            copy.source_arn
        );
        Err(StepError::new(&AR0020, text))
    };
    match queue::turn(context, &ticket, copy).await? {
        // RDS refused it until now.
        Turn::Now if late => too_late("RDS takes on no copy"),
        Turn::Now => {
            queue::go(context, &ticket, copy).await?;
            Ok(None)
        }
        Turn::Later(seen) if late => too_late(&seen),
        Turn::Later(seen) => Ok(Some(seen)),
        Turn::Never(seen) => Err(StepError::new(
            &AR0011,
            format!("{seen}, and none of them is a restore's to remove"),
        )),
    }
}

/// Asks for this copy, or finds the one that was asked for before; whether it is available.
async fn copy_once(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<bool, StepError> {
    let resource = Resource::new(ResourceKind::SnapshotCopy, &copy.arn, &copy.identifier);
    let resource = restore.intend(resource).await?;
    let client = context.aws.rds(&copy.region);
    let made = match rds::find_snapshot(&client, &copy.identifier).await? {
        Some(found) => found, // a repeated step: already asked for, or a stranger's
        // It was there. Whether RDS does not show it or somebody deleted it, WaitForCopy finds out.
        None if resource.state == ResourceState::Created => return Ok(false),
        None => ask(context, restore, copy).await?,
    };
    ownership::prove(
        &copy.identifier,
        made.tag_list(),
        &restore.plan().restore_id,
        None,
        None,
    )?;
    prove_source(&made, &copy.source_arn)?;
    restore.created(resource, None).await?;
    tracing::info!(snapshot = copy.arn, reasons = ?copy.reasons, "snapshot copy asked for");
    let status = made.status().unwrap_or_default();
    Ok(status::of_snapshot(status) == Meaning::Ready)
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
