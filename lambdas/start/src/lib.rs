//! Starts the restore, or the fleet, that a schedule asks for, once for every time it asks.
//!
//! EventBridge Scheduler delivers at least once. The id is made of the schedule's name
//! and the time the schedule was meant to run, and an execution's name is taken for
//! good: a second delivery finds that it has nothing to do. Whether the request can and
//! may be carried out is Plan's to say, or PlanFleet's, so that a schedule whose request
//! is wrong fails as loudly as any other.

mod schedule;

use aurora_restore_core::approval::REQUESTED_BY;
use aurora_restore_core::errors::{AR0001, AR0004, AR0031, AR0034, AR0063, wire_code};
use aurora_restore_core::fleet::FleetId;
use aurora_restore_core::metrics::{self, Unit};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::{StepFuture, answer};
use aurora_restore_core::{Context, Step, StepError, approval, region, request};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use schedule::{fleet_id, restore_id};

/// The step.
pub const STEP: Step = Step { name: "start", run };

/// The metrics that this step emits.
pub const METRICS: [&str; 3] = ["RestoresStarted", "NotActive", "FleetsStarted"];

/// Step Functions takes an input of at most 256 KiB (StartExecution).
const INPUT_BYTES_MAX: usize = 262_144;

/// What a schedule's target is given as its input: one of `request` and `fleet`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Event {
    schedule: String,
    scheduled_time: String,
    request: Option<Value>,
    fleet: Option<Value>,
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

/// A fleet that is under way, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedFleet {
    /// The fleet.
    pub fleet_id: String,
    /// Its execution.
    pub execution_arn: String,
    /// Whether this call started it; `false` when it had been started before.
    pub started: bool,
}

/// A schedule that fired on the passive side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotActive {
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet_id: Option<String>,
    started: bool,
    not_active: String,
}

/// What a schedule asks for.
enum Asked {
    Restore(RestoreId, Value),
    Fleet(FleetId, Value),
}

impl Asked {
    fn of(event: Event) -> Result<(Self, String), StepError> {
        let (schedule, time) = (event.schedule, event.scheduled_time);
        let asked = match (event.request, event.fleet) {
            (Some(request), None) => Self::Restore(restore_id(&schedule, &time)?, request),
            (None, Some(fleet)) => Self::Fleet(fleet_id(&schedule, &time)?, fleet),
            (Some(_), Some(_)) => return Err(malformed("`request` and `fleet`".to_owned())),
            (None, None) => return Err(malformed("neither `request` nor `fleet`".to_owned())),
        };
        Ok((asked, schedule))
    }

    /// The id of the restore, and that of the fleet: one of the two.
    fn ids(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Restore(id, _) => (Some(id.as_str()), None),
            Self::Fleet(id, _) => (None, Some(id.as_str())),
        }
    }
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = request::from_value(event).map_err(malformed)?;
        let (asked, schedule) = Asked::of(event)?;
        // The same schedule is deployed in the active region and fires there, too: nothing is wrong here.
        if let Some(passive) = region::passive(context).await? {
            let (restore_id, fleet_id) = asked.ids();
            tracing::info!(
                restoreId = restore_id,
                fleetId = fleet_id,
                "not active here: {passive}"
            );
            metrics::emit(context, &[], &[(METRICS[1], Unit::Count, 1.0)]);
            return answer(&NotActive {
                restore_id: restore_id.map(str::to_owned),
                fleet_id: fleet_id.map(str::to_owned),
                started: false,
                not_active: passive.message().to_owned(),
            });
        }
        let by = format!("schedule {schedule}");
        match asked {
            Asked::Restore(id, request) => answer(&start(context, &id, &request, &by).await?),
            Asked::Fleet(id, fleet) => answer(&start_fleet(context, &id, &fleet, &by).await?),
        }
    })
}

/// People write a schedule's input: what is wrong with it is not a defect of ours.
fn malformed(problem: String) -> StepError {
    StepError::new(
        &AR0001,
        format!(
            "the schedule's input: {problem}; expected `schedule` (its name), `scheduledTime` \
             (`<aws.scheduler.scheduled-time>`) and either `request` or `fleet`"
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
    let machine = context.settings.state_machine_arn()?;
    let input = input(request, "request", requested_by)?;
    let begun = execute(context, machine, id.as_str(), input).await?;
    tracing::info!(restoreId = id.as_str(), started = begun.now, "start");
    count(context, METRICS[0], begun.now);
    if !begun.now && !was_started_with(context, &begun.execution_arn, request).await? {
        return Err(StepError::new(
            &AR0034,
            format!("restore `{}` was started with another request", id.as_str()),
        ));
    }
    Ok(Started {
        restore_id: id.as_str().to_owned(),
        execution_arn: begun.execution_arn,
        started: begun.now,
    })
}

/// Starts a fleet, or finds that one of this id was started before, and says who asks for it. Its state machine is the
/// pipeline's `-fleet`.
///
/// # Errors
/// AR0001 when the request is no object, is too large or names a fleet; AR0004 when the function was not told the
/// pipeline's state machine, or there is none for fleets; AR0063 when the name was taken by another request.
pub async fn start_fleet(
    context: &Context,
    id: &FleetId,
    request: &Value,
    requested_by: &str,
) -> Result<StartedFleet, StepError> {
    let machine = format!("{}-fleet", context.settings.state_machine_arn()?);
    is_unnamed(request)?;
    let input = input(request, "fleet", requested_by)?;
    let begun = execute(context, &machine, id.as_str(), input).await?;
    tracing::info!(fleetId = id.as_str(), started = begun.now, "start");
    count(context, METRICS[2], begun.now);
    if !begun.now && !was_started_with(context, &begun.execution_arn, request).await? {
        return Err(StepError::new(
            &AR0063,
            format!("fleet `{}` was started with another request", id.as_str()),
        ));
    }
    Ok(StartedFleet {
        fleet_id: id.as_str().to_owned(),
        execution_arn: begun.execution_arn,
        started: begun.now,
    })
}

fn count(context: &Context, metric: &'static str, started: bool) {
    let value = f64::from(u8::from(started));
    metrics::emit(context, &[], &[(metric, Unit::Count, value)]);
}

/// An execution of a name.
struct Begun {
    execution_arn: String,
    /// Whether it began with this call.
    now: bool,
}

async fn execute(
    context: &Context,
    machine: &str,
    name: &str,
    input: String,
) -> Result<Begun, StepError> {
    let asked_at = context.clock.now();
    let answer = context
        .aws
        .sfn()
        .start_execution()
        .state_machine_arn(machine)
        .name(name)
        .input(input)
        .send()
        .await;
    let now = match answer {
        // An execution that began before we asked was there already.
        Ok(answer) => {
            whole_millis(answer.start_date().as_nanos()) >= asked_at.unix_timestamp_nanos() / NANOS
        }
        Err(error) if wire_code(&error) == Some("ExecutionAlreadyExists") => false,
        Err(error) if wire_code(&error) == Some("StateMachineDoesNotExist") => {
            let text = format!("there is no state machine `{machine}`, which `{name}` is for");
            return Err(StepError::new(&AR0004, text).caused_by(error));
        }
        Err(error) => return Err(StepError::from_sdk(format!("start `{name}`"), error)),
    };
    Ok(Begun {
        execution_arn: execution_arn(machine, name),
        now,
    })
}

/// Nanoseconds of a millisecond.
const NANOS: i128 = 1_000_000;

/// Step Functions tells times to the millisecond, as a fraction that may come out a little less.
fn whole_millis(nanos: i128) -> i128 {
    (nanos + NANOS / 2) / NANOS
}

/// The input of an execution: what is asked for, called `field` in what is wrong with it, and who asks.
fn input(asked: &Value, field: &str, requested_by: &str) -> Result<String, StepError> {
    let Some(fields) = asked.as_object() else {
        return Err(StepError::new(
            &AR0001,
            format!("at `{field}`: {asked}, expected a JSON object"),
        ));
    };
    if let Some(said) = fields.get(REQUESTED_BY) {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `{field}.{REQUESTED_BY}`: {said}, expected nothing: it is whoever starts it"
            ),
        ));
    }
    let mut input = asked.clone();
    input[REQUESTED_BY] = requested_by.into();
    let input = input.to_string();
    if input.len() > INPUT_BYTES_MAX {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `{field}`: {} bytes of JSON, expected at most {INPUT_BYTES_MAX}: keep it in profiles",
                input.len()
            ),
        ));
    }
    Ok(input)
}

/// A fleet is named by the schedule and its time: one that the request names would be the same at every time.
fn is_unnamed(fleet: &Value) -> Result<(), StepError> {
    match fleet.get("fleetId") {
        None => Ok(()),
        Some(named) => Err(StepError::new(
            &AR0001,
            format!(
                "at `fleet.fleetId`: {named}, expected nothing: it is the schedule's name and time"
            ),
        )),
    }
}

/// The ARN of an execution, from its state machine's.
pub fn execution_arn(state_machine_arn: &str, name: &str) -> String {
    let machine = state_machine_arn.replacen(":stateMachine:", ":execution:", 1);
    format!("{machine}:{name}")
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
