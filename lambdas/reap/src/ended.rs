//! Executions that ended without an end of their restore.

use std::time::Instant;

use aurora_restore_core::errors::{AR0026, AR0035, Kind};
use aurora_restore_core::ledger::{self, Ending, Status, StepRecord};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::{answer, write_record};
use aurora_restore_core::{Context, Restore, StepError, execution};
use wait::undo::{self, Failure, Look, Undoing};

/// The name of this step's records in a restore's story.
const STATE: &str = "Reap";

/// An undo that keeps failing is given up after this long: longer than any undo has to its deadline.
const TRIES_FOR: time::Duration = time::Duration::hours(2);

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
    let now = context.clock.now();
    let look = Look {
        id,
        execution_arn: arn,
        started_at: plan.map_or("", |plan| &plan.execution_started_at),
        state: STATE,
        entered_at: now,
        attempt: 0,
        failure: Some(&failure),
    };
    match undo_and_look(context, restore.as_ref(), &look).await {
        Ok(settled) => Ok(settled),
        Err(error) => {
            let began = ledger::step_began(context, id, STATE).await?;
            let is_late = began.is_some_and(|began| now > began + TRIES_FOR);
            if error.kind().is_passing() && !is_late {
                return Err(error);
            }
            close(context, &look, &error).await.map(Settled::Now)
        }
    }
}

async fn undo_and_look(
    context: &Context,
    restore: Option<&Restore>,
    look: &Look<'_>,
) -> Result<Settled, StepError> {
    let mut refused = Vec::new();
    if let Some(restore) = restore {
        refused = match undo_once(context, look.id, restore).await {
            Err(error) if error.kind() == Kind::Switching => vec![error.to_string()],
            undone => undone?,
        };
    }
    Ok(match undo::look(context, restore, look).await? {
        Undoing::Ended(ending) => Settled::Now(ending.status),
        Undoing::Pending(_) | Undoing::Again => Settled::Undoing(refused),
    })
}

/// Assumes the worst and says so, as UndoUnfinished does: nobody could look, and the lock is not to be held for ever.
async fn close(
    context: &Context,
    look: &Look<'_>,
    unseen: &StepError,
) -> Result<Status, StepError> {
    let first = look.failure.map(|failure| failure.describe().1);
    let cause = format!(
        "{} {}: it could not be established what is left of restore {} ({unseen}). \
         See the ledger in the state table. First failure: {}",
        AR0026.id,
        AR0026.title,
        look.id.as_str(),
        first.unwrap_or_default()
    );
    let ending = Ending {
        status: Status::FailedDirty,
        error: Some(AR0026.id.to_owned()),
        cause: Some(cause),
        leftovers: Vec::new(),
        kept: Vec::new(),
        target: None,
    };
    let Look {
        id,
        execution_arn,
        started_at,
        ..
    } = *look;
    let ending = ledger::close(context, id, execution_arn, started_at, &ending).await?;
    Ok(ending.status)
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
