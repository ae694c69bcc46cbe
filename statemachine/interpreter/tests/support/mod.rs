//! What the tests share: a machine, a runner that answers from a script, a clock at a fixed date.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asl_interpreter::{
    EventType, Execution, Interpreter, Launch, Outcome, RuntimeClock, StateMachine, TaskFailure,
    TaskRequest,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const START: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
pub(crate) const INVOKE: &str = "arn:aws:states:::lambda:invoke";
pub(crate) const CALLBACK: &str = "arn:aws:states:::lambda:invoke.waitForTaskToken";

pub(crate) type Answer = Result<Value, TaskFailure>;

/// What a runner was asked, and when.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<(Duration, TaskRequest)>>>);

impl Asked {
    pub(crate) fn requests(&self) -> Vec<TaskRequest> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// Seconds between one request and the next.
    pub(crate) fn gaps(&self) -> Vec<f64> {
        let at: Vec<f64> = self
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(at, _)| at.as_secs_f64())
            .collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn note(&self, since: tokio::time::Instant, request: &TaskRequest) {
        self.0
            .lock()
            .unwrap()
            .push((since.elapsed(), request.clone()));
    }
}

/// An interpreter whose tasks answer one after another from `answers`, then with `{}`.
pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> (Interpreter, Asked) {
    let asked = Asked::default();
    let note = asked.clone();
    let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    let since = tokio::time::Instant::now();
    let runner = move |request: TaskRequest| {
        note.note(since, &request);
        let answer = answers
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or_else(|| Ok(json!({})));
        async move { answer }
    };
    (
        Interpreter::new(runner, RuntimeClock::starting_at(START)).with_seed(1),
        asked,
    )
}

/// An interpreter for machines without tasks.
pub(crate) fn idle() -> Interpreter {
    answering([]).0
}

pub(crate) fn load(interpreter: &Interpreter, definition: &Value) -> StateMachine {
    interpreter.load(&definition.to_string()).unwrap()
}

/// A machine of these states that starts at the first.
pub(crate) fn machine(states: Value) -> Value {
    let first = states.as_object().unwrap().keys().next().unwrap().clone();
    json!({ "StartAt": first, "States": states })
}

pub(crate) fn begin(interpreter: &Interpreter, definition: &Value, input: Value) -> Execution {
    let (execution, run) = interpreter.start(
        &load(interpreter, definition),
        Launch::new("drill-7", input),
    );
    tokio::spawn(run);
    execution
}

pub(crate) async fn run(
    interpreter: &Interpreter,
    states: Value,
    input: Value,
) -> (Execution, Outcome) {
    let execution = begin(interpreter, &machine(states), input);
    let outcome = execution.finished().await;
    (execution, outcome)
}

/// The output of a machine without tasks.
pub(crate) async fn output(states: Value, input: Value) -> Value {
    match run(&idle(), states, input).await.1 {
        Outcome::Succeeded { output } => output,
        other => panic!("expected success, got {other:?}"),
    }
}

/// The error and cause of a machine without tasks.
pub(crate) async fn failure(states: Value, input: Value) -> (String, String) {
    fail_of(run(&idle(), states, input).await.1)
}

pub(crate) fn fail_of(outcome: Outcome) -> (String, String) {
    match outcome {
        Outcome::Failed { error, cause } => (error.unwrap_or_default(), cause.unwrap_or_default()),
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// One Pass state that makes its output from `parameters`.
pub(crate) async fn filled(parameters: Value, input: Value) -> Value {
    output(
        json!({ "Make": { "Type": "Pass", "Parameters": parameters, "End": true } }),
        input,
    )
    .await
}

/// One value computed by an expression.
pub(crate) async fn value_of(expression: &str, input: Value) -> Value {
    filled(json!({ "it.$": expression }), input).await["it"].clone()
}

/// Each event as `id<previous Type`.
pub(crate) fn chain(execution: &Execution) -> Vec<String> {
    let events = execution.history().events();
    events
        .iter()
        .map(|event| {
            format!(
                "{}<{} {}",
                event.id, event.previous_event_id, event.event_type
            )
        })
        .collect()
}

pub(crate) fn types(execution: &Execution) -> Vec<EventType> {
    execution.history().event_types()
}
