//! Executes an Amazon States Language definition as AWS Step Functions does
//! (Standard workflows, `JSONPath`), over a task runner and a clock of the caller's.
//!
//! The same `restore.asl.json` that runs in production runs here, so a rehearsal
//! tells something about production. What this crate does not implement it
//! refuses when a definition is loaded, never in the middle of a run.
//!
//! - [`StateMachine`] is a loaded definition; [`DefinitionError`] lists all that is wrong with one.
//! - [`Interpreter`] starts and redrives executions; a [`TaskRunner`] does what Task states ask for.
//! - [`Execution`] is the handle to one run: its status, its [`History`], and how to stop it.
//! - [`TaskTokens`] answers `SendTaskSuccess`, `SendTaskFailure` and `SendTaskHeartbeat`.
//! - [`Clock`] is time; [`RuntimeClock`] follows tokio's, which a test can pause.
//!
//! ```
//! use asl_interpreter::{Interpreter, Launch, Outcome, RuntimeClock, TaskRequest};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let interpreter = Interpreter::new(
//!     |request: TaskRequest| async move { Ok(json!({ "asked": request.state_name })) },
//!     RuntimeClock::new(),
//! )
//! .with_seed(7);
//! let machine = interpreter.load(
//!     r#"{"StartAt": "Ask", "States": {"Ask": {
//!         "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
//!         "Parameters": {"FunctionName": "plan", "Payload.$": "$"},
//!         "OutputPath": "$.Payload", "End": true}}}"#,
//! )?;
//! let (execution, run) = interpreter.start(&machine, Launch::new("nightly-1", json!({})));
//! tokio::spawn(run);
//! assert_eq!(execution.finished().await, Outcome::Succeeded { output: json!({"asked": "Ask"}) });
//! # Ok(())
//! # }
//! ```

mod chance;
mod clock;
mod definition;
mod execution;
mod history;
mod query;
mod retry;
mod task;
mod timestamp;
mod tokens;

pub use clock::{Clock, RuntimeClock, Sleep};
pub use definition::{DefinitionError, Problem, QueryLanguage, StateMachine};
pub use execution::{Execution, Interpreter, Launch, MapRun, NotRedrivable, Outcome, Status};
pub use history::{EventDetails, EventType, History, HistoryEvent, HistorySubscription};
pub use task::{
    IntegrationPattern, LambdaInvocation, TaskFailure, TaskFuture, TaskRequest, TaskRunner,
};
pub use tokens::{CallbackError, TaskTokens};
