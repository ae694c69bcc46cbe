//! Executions that ended without an end of their restore.

use std::time::Instant;

use aurora_restore_core::errors::AR0035;
use aurora_restore_core::ledger::{self, Status, StepRecord};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::{answer, write_record};
use aurora_restore_core::{Context, Restore, StepError, execution};
use wait::undo::{self, Failure, Look, Undoing};

/// The name of this step's records in a restore's story.
const STATE: &str = "Reap";

/// What became of a restore.
pub(crate) enum Settled {
    /// Nothing of it is on record, and nothing is known of its execution.
    Unknown,
    /// Its execution runs: nobody else's business.
    Running,
    /// Its end was on record before.
    Before,
    /// It is being undone; what was refused for now.
    Undoing(Vec<String>),
    /// Its end is on record now.
    Now(Status),
}

/// Undoes a restore whose execution is over and looks at it, as Undo and WaitForUndo would have done.
///
/// # Errors
/// What AWS refuses.
pub(crate) async fn settle(
    context: &Context,
    id: &RestoreId,
    arn: Option<&str>,
) -> Result<Settled, StepError> {
    if ledger::ending(&context.table(), id).await?.is_some() {
        return Ok(Settled::Before);
    }
    let restore = Restore::find(context, id).await?;
    let plan = restore.as_ref().map(Restore::plan);
    // It may have died before its plan was recorded: then only the event knows of it.
    let arn = arn.filter(|arn| arn.ends_with(&format!(":{}", id.as_str())));
    let Some(arn) = plan.map(|plan| plan.execution_arn.as_str()).or(arn) else {
        return Ok(Settled::Unknown);
    };
    let Some(how) = execution::how_it_ended(context, arn, plan).await? else {
        return Ok(Settled::Running);
    };
    let failure = Failure {
        error: Some(AR0035.kind.name().to_owned()),
        cause: Some(StepError::new(&AR0035, format!("execution `{arn}` {how}")).report()),
    };
    let began = context.clock.now();
    let mut refused = Vec::new();
    if let Some(restore) = &restore {
        refused = undo_once(context, id, restore).await?;
    }
    let look = Look {
        id,
        execution_arn: arn,
        started_at: plan.map_or("", |plan| &plan.execution_started_at),
        state: STATE,
        entered_at: began,
        attempt: 0,
        failure: Some(&failure),
    };
    Ok(match undo::look(context, restore.as_ref(), &look).await? {
        Undoing::Ended(ending) => Settled::Now(ending.status),
        Undoing::Pending(_) | Undoing::Again => Settled::Undoing(refused),
    })
}

/// Asks for every deletion, and notes it in the restore's story: the deadline counts from the first time.
async fn undo_once(
    context: &Context,
    id: &RestoreId,
    restore: &Restore,
) -> Result<Vec<String>, StepError> {
    let (started_at, started) = (context.clock.now(), Instant::now());
    let undone = cleanup::undo(context, restore).await;
    let told = undone.as_ref().map(answer);
    let outcome = match &told {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(*error),
    };
    let record = StepRecord {
        state: STATE,
        started_at,
        worked_millis: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
        outcome,
    };
    write_record(context, id, &record).await;
    undone.map(|undone| undone.refused)
}
