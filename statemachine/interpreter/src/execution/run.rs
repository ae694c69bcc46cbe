//! One execution from its first event to its last.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::map_run::MapRun;
use super::position::Position;
use super::redrive::Redrives;
use super::strand::Strand;
use super::{Execution, Interpreter, Launch, Outcome};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::definition::StateMachine;
use crate::history::{EVENTS_MAX, EventDetails, EventType, History};
use crate::retry::Failure;
use crate::task::TaskRunner;
use crate::tokens::TaskTokens;

/// What the whole execution shares.
pub(super) struct Run {
    pub(super) machine: StateMachine,
    pub(super) runner: Arc<dyn TaskRunner>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tokens: TaskTokens,
    pub(super) chance: Chance,
    pub(super) history: History,
    pub(super) launch: Launch,
    pub(super) started_at: OffsetDateTime,
    pub(super) redrives: Redrives,
    /// What its child executions are started with.
    pub(super) interpreter: Interpreter,
    pub(super) map_runs: Arc<Mutex<Vec<MapRun>>>,
    position: Arc<Position>,
    /// The event this run begins with.
    first: u64,
}

/// What ended the walk through the machine.
enum Ended {
    ByItself(Result<Value, Failure>),
    Stopped(Option<String>, Option<String>),
    TimedOut,
    HistoryFull,
}

impl Run {
    /// The run of an execution that `first` has begun.
    pub(super) fn new(
        interpreter: &Interpreter,
        execution: &Execution,
        redrives: Redrives,
        first: u64,
    ) -> Self {
        let launch = execution.launch().clone();
        // A redrive that drew the same numbers would revive dead task tokens.
        let drawn_for = match redrives.count {
            0 => launch.execution_arn.clone(),
            count => format!("{}#{count}", launch.execution_arn),
        };
        Self {
            machine: execution.inner.machine.clone(),
            runner: Arc::clone(&interpreter.runner),
            clock: Arc::clone(&interpreter.clock),
            tokens: interpreter.tokens.clone(),
            chance: Chance::new(interpreter.seed, &drawn_for),
            history: execution.history().clone(),
            started_at: execution.started_at(),
            interpreter: interpreter.clone(),
            map_runs: Arc::clone(&execution.inner.map_runs),
            position: Arc::clone(&execution.inner.position),
            launch,
            redrives,
            first,
        }
    }

    /// The region tasks run in.
    pub(super) fn region(&self) -> &str {
        self.launch
            .state_machine_arn
            .split(':')
            .nth(3)
            .unwrap_or_default()
    }

    /// Walks through the machine and tells `execution` how it ended.
    pub(super) async fn drive(self, execution: Execution) {
        let mut strand = Strand::at(&self, Arc::clone(&self.position));
        let ended = self.walk(&mut strand, &execution).await;
        let last = if self.redrives.count > 0 && self.history.len() as u64 == self.first {
            self.first // recorded on AWS: a Fail state that is redriven only fails once more
        } else {
            strand.last
        };
        let now = self.clock.now();
        let (outcome, previous, event_type, details) = match ended {
            _ if self.history.is_full() => Self::failed(last, history_full()),
            Ended::HistoryFull => Self::failed(last, history_full()),
            Ended::ByItself(Err(failure)) => Self::failed(last, failure),
            Ended::ByItself(Ok(output)) => {
                let details = EventDetails::Output {
                    output: output.to_string(),
                };
                (
                    Outcome::Succeeded { output },
                    last,
                    EventType::ExecutionSucceeded,
                    details,
                )
            }
            // Recorded on AWS: the event that cuts an execution short follows event 0.
            Ended::Stopped(error, cause) => {
                let details = EventDetails::Failure {
                    error: error.clone(),
                    cause: cause.clone(),
                };
                (
                    Outcome::Aborted { error, cause },
                    0,
                    EventType::ExecutionAborted,
                    details,
                )
            }
            Ended::TimedOut => {
                let details = EventDetails::Failure {
                    error: None,
                    cause: None,
                };
                (Outcome::TimedOut, 0, EventType::ExecutionTimedOut, details)
            }
        };
        self.history.finish(now, previous, event_type, details);
        execution.end(outcome, now);
    }

    async fn walk<'r>(&'r self, strand: &mut Strand<'r>, execution: &Execution) -> Ended {
        let deadline = async {
            match self.machine.timeout_seconds() {
                Some(seconds) => self.clock.sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (error, cause) = execution.stopped() => Ended::Stopped(error, cause),
            () = self.history.full() => Ended::HistoryFull,
            () = deadline => Ended::TimedOut,
            result = strand.run_flow(self.machine.flow()) => Ended::ByItself(result),
        }
    }

    fn failed(last: u64, failure: Failure) -> (Outcome, u64, EventType, EventDetails) {
        let Failure { error, cause, .. } = failure;
        let details = EventDetails::Failure {
            error: error.clone(),
            cause: cause.clone(),
        };
        (
            Outcome::Failed { error, cause },
            last,
            EventType::ExecutionFailed,
            details,
        )
    }
}

fn history_full() -> Failure {
    Failure::runtime(format!(
        "The execution reached the maximum number of history events ({EVENTS_MAX})."
    ))
}
