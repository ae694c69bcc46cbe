//! Executions: starting them, watching them, stopping them.
//!
//! [`Interpreter::start`] makes a handle and a future. The future walks the
//! machine ([`strand`]), does its tasks ([`work`]) and its branches
//! ([`branches`], [`map_run`]); the handle reads what it leaves behind. Where it stands
//! ([`position`]) outlives it, so that a [`redrive`] can go on from there.

mod branches;
mod context;
mod map_run;
mod position;
mod redrive;
mod run;
mod strand;
pub(crate) mod variables;
mod work;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt as _;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::definition::{DefinitionError, StateMachine};
use crate::history::{EventDetails, EventType, History};
use crate::task::TaskRunner;
use crate::tokens::TaskTokens;
pub use map_run::MapRun;
use position::Position;
pub use redrive::NotRedrivable;
use redrive::Redrives;
use run::Run;
use variables::Variables;

/// Starts executions, and owns what they share: runner, clock, tokens and seed.
///
/// Clones share the runner, the clock and the tokens.
#[derive(Clone)]
pub struct Interpreter {
    runner: Arc<dyn TaskRunner>,
    clock: Arc<dyn Clock>,
    tokens: TaskTokens,
    seed: u64,
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interpreter")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Interpreter {
    /// An interpreter with a seed of chance.
    pub fn new(runner: impl TaskRunner, clock: impl Clock) -> Self {
        Self {
            runner: Arc::new(runner),
            clock: Arc::new(clock),
            tokens: TaskTokens::default(),
            seed: rand::rng().random(),
        }
    }

    /// Makes jitter, UUIDs, `MathRandom` and task tokens the same in every run.
    ///
    /// Each execution draws from its own generator, seeded by this and by its name,
    /// so executions side by side do not disturb each other.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The registry callbacks go to.
    #[must_use]
    pub fn tokens(&self) -> &TaskTokens {
        &self.tokens
    }

    /// Loads a definition this interpreter's runner can serve.
    ///
    /// # Errors
    /// [`DefinitionError`] with everything that is wrong or not implemented.
    pub fn load(&self, definition: &str) -> Result<StateMachine, DefinitionError> {
        StateMachine::load(definition, |resource| self.runner.supports(resource))
    }

    /// Starts an execution: a handle to it, and the run itself to be spawned.
    ///
    /// `ExecutionStarted` is in the history when this returns. Nothing else happens
    /// until the future is polled; dropping it freezes the execution as it stands.
    pub fn start(
        &self,
        machine: &StateMachine,
        launch: Launch,
    ) -> (Execution, impl Future<Output = ()> + Send + 'static + use<>) {
        let started_at = self.clock.now();
        let history = History::new();
        let details = EventDetails::ExecutionStarted {
            input: launch.input.to_string(),
            role_arn: launch.role_arn.clone(),
        };
        let first = history.add(started_at, 0, EventType::ExecutionStarted, details);
        // On AWS the first state's entry follows event 0, not the start of the execution.
        let position = Position::start(0, launch.input.clone(), Variables::default(), None);
        let execution = Execution {
            inner: Arc::new(Inner {
                machine: machine.clone(),
                launch,
                history,
                started_at,
                position,
                redrives: Mutex::default(),
                map_runs: Arc::default(),
                outcome: watch::Sender::default(),
                stop: watch::Sender::default(),
            }),
        };
        let run = Run::new(self, &execution, Redrives::default(), first);
        let handle = execution.clone();
        (execution, Box::pin(run.drive(handle)))
    }
}

/// What an execution starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The execution's name.
    pub name: String,
    /// The input.
    pub input: Value,
    /// The execution's ARN.
    pub execution_arn: String,
    /// The state machine's ARN. The region in the history is taken from it.
    pub state_machine_arn: String,
    /// The state machine's role.
    pub role_arn: String,
}

impl Launch {
    /// A launch with made-up ARNs (`us-east-1`, account 000000000000, machine `StateMachine`).
    #[must_use]
    pub fn new(name: impl Into<String>, input: Value) -> Self {
        let name = name.into();
        Self {
            execution_arn: format!(
                "arn:aws:states:us-east-1:000000000000:execution:StateMachine:{name}"
            ),
            state_machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:StateMachine"
                .to_owned(),
            role_arn: "arn:aws:iam::000000000000:role/StateMachine".to_owned(),
            name,
            input,
        }
    }
}

/// Where an execution stands. The names are Step Functions' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Under way.
    Running,
    /// Reached its end.
    Succeeded,
    /// A Fail state, an uncaught error, or a limit.
    Failed,
    /// The state machine's `TimeoutSeconds` passed.
    TimedOut,
    /// Stopped by a caller.
    Aborted,
}

impl Status {
    /// The name on the wire, such as `TIMED_OUT`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It reached its end.
    Succeeded {
        /// The last state's output.
        output: Value,
    },
    /// It failed.
    Failed {
        /// The error name, where there is one.
        error: Option<String>,
        /// The cause, where there is one.
        cause: Option<String>,
    },
    /// The state machine's `TimeoutSeconds` passed.
    TimedOut,
    /// A caller stopped it.
    Aborted {
        /// The caller's error name.
        error: Option<String>,
        /// The caller's reason.
        cause: Option<String>,
    },
}

impl Outcome {
    /// The status this outcome is.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Succeeded { .. } => Status::Succeeded,
            Self::Failed { .. } => Status::Failed,
            Self::TimedOut => Status::TimedOut,
            Self::Aborted { .. } => Status::Aborted,
        }
    }
}

/// One execution. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Execution {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// As it was at the start: a redrive goes on with the same definition.
    machine: StateMachine,
    launch: Launch,
    history: History,
    started_at: OffsetDateTime,
    position: Arc<Position>,
    redrives: Mutex<Redrives>,
    /// Of its Distributed Map states, in the order of their start.
    map_runs: Arc<Mutex<Vec<MapRun>>>,
    outcome: watch::Sender<Option<(Outcome, OffsetDateTime)>>,
    /// What a caller stopped it with: the error and the cause.
    stop: watch::Sender<Option<(Option<String>, Option<String>)>>,
}

impl Execution {
    /// What it was started with: name, input, ARNs.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.inner.launch
    }

    /// What has happened so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.inner.history
    }

    /// The Map Runs of its Distributed Map states, in the order of their start.
    #[must_use]
    pub fn map_runs(&self) -> Vec<MapRun> {
        let map_runs = self.inner.map_runs.lock();
        map_runs.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.outcome()
            .map_or(Status::Running, |outcome| outcome.status())
    }

    /// How it ended; `None` while it runs, and again once it is redriven.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.inner
            .outcome
            .borrow()
            .as_ref()
            .map(|(outcome, _)| outcome.clone())
    }

    /// When it started.
    #[must_use]
    pub fn started_at(&self) -> OffsetDateTime {
        self.inner.started_at
    }

    /// When it ended; `None` while it runs.
    #[must_use]
    pub fn stopped_at(&self) -> Option<OffsetDateTime> {
        self.inner.outcome.borrow().as_ref().map(|(_, at)| *at)
    }

    /// `StopExecution`: ends the execution as `ABORTED`. No effect on one that has ended.
    pub fn stop(&self, error: Option<&str>, cause: Option<&str>) {
        let reason = (error.map(str::to_owned), cause.map(str::to_owned));
        self.inner
            .stop
            .send_if_modified(|stop| stop.is_none() && stop.replace(reason).is_none());
    }

    /// Waits until a caller stops the execution, and answers with the reasons given.
    async fn stopped(&self) -> (Option<String>, Option<String>) {
        let mut stop = self.inner.stop.subscribe();
        let reason = stop
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    fn end(&self, outcome: Outcome, at: OffsetDateTime) {
        self.inner.outcome.send_replace(Some((outcome, at)));
    }

    /// Waits for the end: once it is redriven, for the next one.
    pub async fn finished(&self) -> Outcome {
        let mut outcome = self.inner.outcome.subscribe();
        loop {
            if let Some((outcome, _)) = outcome.borrow_and_update().as_ref() {
                return outcome.clone();
            }
            if outcome.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
