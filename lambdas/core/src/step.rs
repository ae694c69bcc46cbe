//! What a step is, and what happens around every one of them.
//!
//! A step is a function of the restore's id: it loads plan and ledger, acts,
//! records, and answers with a small result. Around it stand the same four things
//! each time: the log span, the story in the state table, the duration metric, and
//! the translation of the error.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::Instrument;

use crate::aws::Clients;
use crate::clock::Clock;
use crate::errors::{AR0099, Kind, StepError};
use crate::ledger::{StepRecord, restore_key};
use crate::logs::LogSink;
use crate::metrics::{self, Unit};
use crate::names::RestoreId;
use crate::request;
use crate::settings::Settings;
use crate::table::Table;

/// The states that call a function, in the order of the flow. A step's record in the state table is
/// numbered by it, so that the records read as a story.
pub const STATES: &[&str] = &[
    "Plan",
    "Approve",
    "CopySnapshot",
    "WaitForCopy",
    "RestoreCluster",
    "WaitForCluster",
    "AddInstances",
    "WaitForInstances",
    "ResetCredentials",
    "WaitForCredentials",
    "LockLoginRoles",
    "Verify",
    "Switch",
    "WaitForSwitch",
    "Cleanup",
    "Notify",
    "Undo",
    "WaitForUndo",
    "NotifyFailure",
];

/// What a step works with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The names of the pipeline's own resources.
    pub settings: Settings,
    /// AWS clients.
    pub aws: Clients,
    /// The time of day.
    pub clock: Clock,
    /// Where log and metric lines go.
    pub log: LogSink,
}

impl Context {
    /// The state table.
    pub fn table(&self) -> Table {
        Table::new(self.aws.dynamodb().clone(), &self.settings.table)
    }
}

/// The future of a step.
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<Value, StepError>> + Send + 'a>>;

/// One step: its name, as in its folder and its function's name, and what it does.
#[derive(Clone, Copy)]
pub struct Step {
    /// Such as `copy-snapshot`.
    pub name: &'static str,
    /// What it does with an event.
    pub run: for<'a> fn(&'a Context, Value) -> StepFuture<'a>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Step({})", self.name)
    }
}

/// What every state hands its function.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heading {
    restore_id: String,
    state: String,
}

/// Reads a step's own event.
///
/// # Errors
/// AR0099: the state machine and the step disagree.
pub fn read_event<T: DeserializeOwned>(event: Value) -> Result<T, StepError> {
    request::from_value(event).map_err(|problem| {
        StepError::new(
            &AR0099,
            format!("the event does not fit the step: {problem}"),
        )
    })
}

/// Writes a step's answer.
///
/// # Errors
/// AR0099 when it does not serialize.
pub fn answer<T: Serialize>(value: &T) -> Result<Value, StepError> {
    serde_json::to_value(value)
        .map_err(|error| StepError::defect("the answer does not serialize").caused_by(error))
}

/// Runs a step on an event, with everything that stands around a step.
///
/// Events without a heading, such as those of EventBridge, run without a record.
///
/// # Errors
/// The step's own error.
pub async fn execute(context: &Context, step: &Step, event: Value) -> Result<Value, StepError> {
    let heading = Heading::deserialize(&event).ok();
    let restore_id = heading
        .as_ref()
        .map_or("", |heading| heading.restore_id.as_str());
    let span = tracing::info_span!("step", step = step.name, restoreId = restore_id);
    run_recorded(context, step, event, heading.as_ref())
        .instrument(span)
        .await
}

async fn run_recorded(
    context: &Context,
    step: &Step,
    event: Value,
    heading: Option<&Heading>,
) -> Result<Value, StepError> {
    let started_at = context.clock.now();
    let started = Instant::now(); // work is measured in real time, also where the clock is moved
    let outcome = (step.run)(context, event).await;
    let worked_millis = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    match &outcome {
        Ok(_) => tracing::info!(workedMillis = worked_millis, "step done"),
        Err(error) => log_failure(error, worked_millis),
    }
    metrics::emit(
        context,
        &[("Step", step.name)],
        &[("StepDuration", Unit::Milliseconds, worked_millis as f64)],
    );
    if let Some(heading) = heading {
        let record = StepRecord {
            state: &heading.state,
            started_at,
            worked_millis,
            outcome: outcome.as_ref(),
        };
        match RestoreId::parse(&heading.restore_id) {
            Ok(id) => write_record(context, &id, &record).await,
            Err(error) => tracing::warn!("{error}"),
        }
    }
    outcome
}

fn log_failure(error: &StepError, worked_millis: i64) {
    let code = error.code().id;
    match error.kind() {
        Kind::Transient | Kind::Switching => {
            tracing::warn!(code, workedMillis = worked_millis, "{error}")
        }
        _ => tracing::error!(code, workedMillis = worked_millis, "{error}"),
    }
}

/// Adds an attempt to a state's record. The story is for people: that it could not be written never changes what
/// happened.
pub async fn write_record(context: &Context, id: &RestoreId, record: &StepRecord<'_>) {
    let (pk, sk) = (restore_key(id.as_str()), record_key(record.state));
    let written = context
        .table()
        .add_attempt(&pk, &sk, record, context.clock.now())
        .await;
    if let Err(error) = written {
        tracing::warn!(error = %error, "the step's record could not be written");
    }
}

/// The sort key of a state's record.
pub(crate) fn record_key(state: &str) -> String {
    let number = STATES
        .iter()
        .position(|known| *known == state)
        .map_or(99, |position| position + 1);
    format!("STEP#{number:02}#{state}")
}
