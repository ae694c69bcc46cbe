//! Starts the restore that a schedule asks for, once for every time it asks.
//!
//! EventBridge Scheduler delivers at least once. The restore's id is made of the
//! schedule's name and the time the schedule was meant to run, and an execution's
//! name is taken for good: a second delivery finds that it has nothing to do.
//! Whether the request can and may be carried out is Plan's to say, so that a
//! schedule whose request is wrong fails as loudly as any other restore.

mod schedule;

use aurora_restore_core::approval::REQUESTED_BY;
use aurora_restore_core::errors::{AR0001, AR0031, AR0034, wire_code};
use aurora_restore_core::metrics::{self, Unit};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::{StepFuture, answer};
use aurora_restore_core::{Context, Step, StepError, approval, region, request};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use schedule::restore_id;

/// The step.
pub const STEP: Step = Step { name: "start", run };

/// The metrics that this step emits.
pub const METRICS: [&str; 2] = ["RestoresStarted", "NotActive"];

/// Step Functions takes an input of at most 256 KiB (StartExecution).
const INPUT_BYTES_MAX: usize = 262_144;

/// What a schedule's target is given as its input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Event {
    schedule: String,
    scheduled_time: String,
    request: Value,
}

/// A restore that is under way, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The restore.
    pub restore_id: String,
    /// Its execution.
    pub execution_arn: String,
    /// Whether this call started it; `false` when it had been started before.
    pub started: bool,
}

/// A schedule that fired on the passive side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotActive {
    restore_id: String,
    started: bool,
    not_active: String,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = request::from_value(event).map_err(malformed)?;
        let id = restore_id(&event.schedule, &event.scheduled_time)?;
        // The same schedule is deployed in the active region and fires there, too: nothing is wrong here.
        if let Some(passive) = region::passive(context).await? {
            tracing::info!(restoreId = id.as_str(), "not active here: {passive}");
            metrics::emit(context, &[], &[(METRICS[1], Unit::Count, 1.0)]);
            return answer(&NotActive {
                restore_id: id.as_str().to_owned(),
                started: false,
                not_active: passive.message().to_owned(),
            });
        }
        let by = format!("schedule {}", event.schedule);
        answer(&start(context, &id, &event.request, &by).await?)
    })
}

/// People write a schedule's input: what is wrong with it is not a defect of ours.
fn malformed(problem: String) -> StepError {
    StepError::new(
        &AR0001,
        format!(
            "the schedule's input: {problem}; expected `schedule` (its name), `scheduledTime` \
             (`<aws.scheduler.scheduled-time>`) and `request`"
        ),
    )
}

/// Starts a restore, or finds that one of this id was started before. Who asks for it is said to the execution beside
/// the request, and is none of the request.
///
/// Step Functions answers with the execution under way when name and input are the same, and refuses a name that
/// was used within 90 days otherwise. A name used longer ago is refused by Plan, from the state table.
///
/// # Errors
/// AR0001 when the request is no object or too large; AR0004 when the function was not told the state machine; AR0034
/// when the name was taken by another request.
pub async fn start(
    context: &Context,
    id: &RestoreId,
    request: &Value,
    requested_by: &str,
) -> Result<Started, StepError> {
    let state_machine_arn = context.settings.state_machine_arn()?;
    let input = input(request, requested_by)?;
    let asked_at = context.clock.now();
    let answer = context
        .aws
        .sfn()
        .start_execution()
        .state_machine_arn(state_machine_arn)
        .name(id.as_str())
        .input(input)
        .send()
        .await;
    let started = match answer {
        // An execution that began before we asked was there already.
        Ok(answer) => {
            whole_millis(answer.start_date().as_nanos()) >= asked_at.unix_timestamp_nanos() / NANOS
        }
        Err(error) if wire_code(&error) == Some("ExecutionAlreadyExists") => false,
        Err(error) => {
            return Err(StepError::from_sdk(
                format!("start restore `{}`", id.as_str()),
                error,
            ));
        }
    };
    tracing::info!(restoreId = id.as_str(), started, "start");
    metrics::emit(
        context,
        &[],
        &[(METRICS[0], Unit::Count, f64::from(u8::from(started)))],
    );
    let execution_arn = execution_arn(state_machine_arn, id);
    if !started && !was_started_with(context, &execution_arn, request).await? {
        return Err(StepError::new(
            &AR0034,
            format!("restore `{}` was started with another request", id.as_str()),
        ));
    }
    Ok(Started {
        restore_id: id.as_str().to_owned(),
        execution_arn,
        started,
    })
}

/// Nanoseconds of a millisecond.
const NANOS: i128 = 1_000_000;

/// Step Functions tells times to the millisecond, as a fraction that may come out a little less.
fn whole_millis(nanos: i128) -> i128 {
    (nanos + NANOS / 2) / NANOS
}

fn input(request: &Value, requested_by: &str) -> Result<String, StepError> {
    let Some(fields) = request.as_object() else {
        return Err(StepError::new(
            &AR0001,
            format!("at `request`: {request}, expected a JSON object"),
        ));
    };
    if let Some(said) = fields.get(REQUESTED_BY) {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `request.{REQUESTED_BY}`: {said}, expected nothing: it is whoever starts the restore"
            ),
        ));
    }
    let mut input = request.clone();
    input[REQUESTED_BY] = requested_by.into();
    let input = input.to_string();
    if input.len() > INPUT_BYTES_MAX {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `request`: {} bytes of JSON, expected at most {INPUT_BYTES_MAX}: keep it in a profile",
                input.len()
            ),
        ));
    }
    Ok(input)
}

/// The ARN of a restore's execution, from its state machine's.
pub fn execution_arn(state_machine_arn: &str, id: &RestoreId) -> String {
    let machine = state_machine_arn.replacen(":stateMachine:", ":execution:", 1);
    format!("{machine}:{}", id.as_str())
}

/// Whether the execution of this ARN was started with this request.
///
/// # Errors
/// AR0031 when Step Functions does not know the execution yet, and what else it refuses.
async fn was_started_with(
    context: &Context,
    execution_arn: &str,
    request: &Value,
) -> Result<bool, StepError> {
    let action = format!("describe execution `{execution_arn}`");
    let found = context
        .aws
        .sfn()
        .describe_execution()
        .execution_arn(execution_arn)
        .send()
        .await;
    match found {
        Ok(found) => {
            let input = found
                .input()
                .and_then(|text| serde_json::from_str(text).ok());
            // Whoever asked for it.
            let input = input.and_then(|input| approval::take_requester(&input).ok());
            Ok(input.is_some_and(|(asked, _)| asked == *request))
        }
        // It refused the name a moment ago: what it describes lags behind what it starts.
        Err(error) if wire_code(&error) == Some("ExecutionDoesNotExist") => {
            Err(StepError::new(&AR0031, format!("failed to {action}")).caused_by(error))
        }
        Err(error) => Err(StepError::from_sdk(action, error)),
    }
}
