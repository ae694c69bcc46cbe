//! Waits without sleeping.
//!
//! The state that calls this step waits for a task token. The step leaves the token
//! where an RDS event finds it (the `wake` function), looks once, and returns: done
//! answers the token with success, failed or past the deadline with failure, and
//! otherwise the next missed heartbeat calls the step again. Token first, look
//! second: an event that arrives in between finds the token.

pub mod observe;
pub mod undo;

use aurora_restore_core::errors::{AR0020, StepError, wire_code};
use aurora_restore_core::ledger::{self, Waiting};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::runtime::error_payload;
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The step.
pub const STEP: Step = Step { name: "wait", run };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
    execution_arn: String,
    started_at: String,
    state: String,
    wait_for: WaitFor,
    task_token: String,
    #[serde(with = "time::serde::rfc3339")]
    entered_at: OffsetDateTime,
    /// How often the state was tried before.
    #[serde(default)]
    attempt: u32,
    /// The failure that led to Undo.
    failure: Option<undo::Failure>,
}

/// What a state waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitFor {
    /// Our turn to copy the snapshot, or our copy.
    Copy,
    /// The cluster.
    Cluster,
    /// Every instance asked for so far.
    Instances,
    /// The new master password.
    Credentials,
    /// The final groups.
    Switch,
    /// The end of every deletion that Undo began.
    Undo,
}

/// What a look found.
#[derive(Debug)]
pub enum Progress {
    /// The wait is over; the state machine gets this.
    Done(Value),
    /// Not yet; a word for the log.
    Pending(String),
    /// Not there, or not ours. Right after a create that means nothing; this is the error if it stays so.
    Missing(StepError),
    /// It will never be.
    Failed(StepError),
}

/// What the invocation answers; the state machine does not see it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    waiting: bool,
    seen: String,
    /// Since when looks have missed something; the next look reads it here.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    missing_since: Option<OffsetDateTime>,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let (heard, missing_since) = wait(context, &event).await?;
        answer(&Answer {
            waiting: matches!(heard, Heard::NotYet(_)),
            seen: match heard {
                Heard::NotYet(seen) => seen,
                Heard::Answered => "answered".to_owned(),
                Heard::TooLate => "no longer awaited".to_owned(),
            },
            missing_since,
        })
    })
}

/// Leaves the token, looks once, and answers if there is an answer. What was heard, and since when something is missing.
async fn wait(
    context: &Context,
    event: &Event,
) -> Result<(Heard, Option<OffsetDateTime>), StepError> {
    let id = RestoreId::parse(&event.restore_id)?;
    // A plan of an earlier execution of the same name is not this one's.
    let restore = Restore::find(context, &id)
        .await?
        .filter(|found| found.belongs_to(&event.started_at));
    if event.wait_for == WaitFor::Undo {
        let look = undo::Look {
            id: &id,
            execution_arn: &event.execution_arn,
            started_at: &event.started_at,
            state: "Undo",
            entered_at: event.entered_at,
            attempt: event.attempt,
            failure: event.failure.as_ref(),
        };
        let undoing = undo::look(context, restore.as_ref(), &look).await?;
        let heard = respond(context, &event.task_token, undoing.into()).await?;
        return Ok((heard, None));
    }
    let restore = restore.ok_or_else(|| {
        StepError::defect(format!("restore `{}` has no recorded plan", id.as_str()))
    })?;
    // Once Undo has begun, what is waited for never comes.
    restore.hold().await?;
    leave_tokens(context, &restore, event).await?;
    let look = match observe::look(context, &restore, event.wait_for).await {
        // A look that fails in passing counts as one that found nothing, so that the deadline holds.
        Err(error) if error.kind().is_passing() => Progress::Pending(error.to_string()),
        look => look?,
    };
    let mut missing_since = None;
    let look = match look {
        Progress::Missing(error) => {
            let now = context.clock.now();
            let since = missed_before(context, &id, event).await?.unwrap_or(now);
            missing_since = Some(since);
            if now - since >= undo::APPEARS_WITHIN {
                Progress::Failed(error)
            } else {
                Progress::Pending(error.message().to_owned())
            }
        }
        other => other,
    };
    let progress = match look {
        Progress::Pending(seen) => {
            let (wait_for, entered_at) = (event.wait_for, event.entered_at);
            let since = observe::waits_since(context, &restore, wait_for, entered_at).await?;
            past_deadline(context, &restore, event, since, &seen)
                .map_or(Progress::Pending(seen), Progress::Failed)
        }
        decided => decided,
    };
    if event.wait_for == WaitFor::Copy && matches!(progress, Progress::Done(_)) {
        observe::leave_queue(context, &restore).await?;
    }
    let heard = respond(context, &event.task_token, progress).await?;
    Ok((heard, missing_since))
}

/// Since when the looks before this one have missed something, by the state's record.
async fn missed_before(
    context: &Context,
    id: &RestoreId,
    event: &Event,
) -> Result<Option<OffsetDateTime>, StepError> {
    let last = ledger::last_answer(context, id, &event.state).await?;
    let since = last
        .as_ref()
        .and_then(|answer| answer.get("missingSince")?.as_str())
        .and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok());
    // An earlier round of the same state may have left a record, too.
    Ok(since.filter(|since| *since >= event.entered_at))
}

async fn leave_tokens(
    context: &Context,
    restore: &Restore,
    event: &Event,
) -> Result<(), StepError> {
    for arn in observe::awaited_arns(restore, event.wait_for).await? {
        let waiting = Waiting {
            restore_id: event.restore_id.clone(),
            state: event.state.clone(),
            wait_for: serde_json::to_value(event.wait_for)
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned))
                .unwrap_or_default(),
            task_token: event.task_token.clone(),
        };
        ledger::leave_token(context, &arn, &waiting).await?;
    }
    Ok(())
}

fn past_deadline(
    context: &Context,
    restore: &Restore,
    event: &Event,
    since: OffsetDateTime,
    seen: &str,
) -> Option<StepError> {
    let minutes = observe::deadline_minutes(restore.plan(), event.wait_for);
    let over = context.clock.now() >= since + time::Duration::minutes(minutes.into());
    over.then(|| {
        StepError::new(
            &AR0020,
            format!("{} waited {minutes} minutes: {seen}", event.state),
        )
    })
}

/// What Step Functions heard of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: this is still awaited.
    NotYet(String),
    /// The answer.
    Answered,
    /// Nothing: the token was answered by somebody else, or its attempt or its execution is over. All are ordinary.
    TooLate,
}

/// Answers a token, if there is an answer.
///
/// # Errors
/// What Step Functions refuses.
pub async fn respond(
    context: &Context,
    task_token: &str,
    progress: Progress,
) -> Result<Heard, StepError> {
    let sfn = context.aws.sfn();
    match progress {
        Progress::Pending(seen) => {
            tracing::info!(seen, "waiting");
            Ok(Heard::NotYet(seen))
        }
        Progress::Missing(error) => {
            tracing::warn!("{error}");
            Ok(Heard::NotYet(error.message().to_owned()))
        }
        Progress::Done(output) => {
            let sent = sfn
                .send_task_success()
                .task_token(task_token)
                .output(output.to_string())
                .send()
                .await;
            heard(sent, "report success")
        }
        Progress::Failed(error) => {
            tracing::error!(code = error.code().id, "{error}");
            let cause = json!(error_payload(&error)).to_string();
            let sent = sfn
                .send_task_failure()
                .task_token(task_token)
                .error(error.kind().name())
                .cause(cause)
                .send()
                .await;
            heard(sent, "report failure")
        }
    }
}

fn heard<T, E>(
    sent: Result<T, aws_sdk_sfn::error::SdkError<E>>,
    action: &str,
) -> Result<Heard, StepError>
where
    E: aws_sdk_sfn::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(Heard::Answered),
        Err(error)
            if matches!(
                wire_code(&error),
                Some("TaskTimedOut" | "TaskDoesNotExist" | "InvalidToken")
            ) =>
        {
            tracing::info!("the token is no longer awaited");
            Ok(Heard::TooLate)
        }
        Err(error) => Err(StepError::from_sdk(action, error)),
    }
}
