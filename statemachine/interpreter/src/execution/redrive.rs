//! Redriving: an execution that ended badly goes on from where it stands.
//!
//! The states that have not been left run again with the same input, and their
//! retries count from nothing. Branches and iterations that succeeded stay as they
//! are. (Step Functions Developer Guide, "Redriving executions"; what the history
//! shows is as recorded on AWS.) The guide leaves open how long a Wait state with
//! `Seconds` waits then: here it is all of them.

use std::future::Future;
use std::sync::{MutexGuard, PoisonError};

use time::{Duration, OffsetDateTime};

use super::run::Run;
use super::{Execution, Interpreter, Status};

/// How long after its end an execution can be redriven.
const REDRIVABLE_PERIOD: Duration = Duration::days(14);

/// How long an execution may stay open (Step Functions quotas).
const OPEN_TIME_MAX: Duration = Duration::days(365);

/// `ExecutionRedriven` and one event more must fit the history.
const EVENTS_MAX: usize = 24_999;

/// The redrives of an execution so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Redrives {
    pub(super) count: u64,
    /// When the last one was.
    pub(super) last: Option<OffsetDateTime>,
}

/// Why an execution cannot be redriven. The texts are those of the Step Functions API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRedrivable {
    /// It has not ended.
    #[error("Execution is RUNNING and cannot be redriven")]
    Running,
    /// It reached its end.
    #[error("Execution is SUCCEEDED and cannot be redriven")]
    Succeeded,
    /// It has 24,999 events or more.
    #[error("Execution history event limit exceeded")]
    HistoryLimit,
    /// It started more than a year ago.
    #[error("Execution has exceeded the max execution time")]
    OpenTime,
    /// It ended more than 14 days ago.
    #[error("Execution redrivable period exceeded")]
    Period,
}

impl Interpreter {
    /// `RedriveExecution`: takes up an execution that failed, was stopped or timed out.
    /// The future is the run, as [`Interpreter::start`]'s is; all handles stay good.
    ///
    /// # Errors
    /// As [`Interpreter::redrivable`].
    pub fn redrive(
        &self,
        execution: &Execution,
    ) -> Result<impl Future<Output = ()> + Send + 'static + use<>, NotRedrivable> {
        let mut redrives = execution.redrives();
        self.redrivable(execution)?;
        let now = self.clock.now();
        redrives.count += 1;
        redrives.last = Some(now);
        let inner = &execution.inner;
        inner.stop.send_replace(None);
        let first = inner.history.reopen(now, redrives.count);
        inner.outcome.send_replace(None);
        let run = Run::new(self, execution, *redrives, first);
        Ok(Box::pin(run.drive(execution.clone())))
    }

    /// Whether an execution can be redriven now.
    ///
    /// # Errors
    /// The reason why not.
    pub fn redrivable(&self, execution: &Execution) -> Result<(), NotRedrivable> {
        let now = self.clock.now();
        let ended_at = execution.stopped_at().unwrap_or(now);
        match execution.status() {
            Status::Running => Err(NotRedrivable::Running),
            Status::Succeeded => Err(NotRedrivable::Succeeded),
            _ if execution.history().len() >= EVENTS_MAX => Err(NotRedrivable::HistoryLimit),
            _ if now - execution.started_at() > OPEN_TIME_MAX => Err(NotRedrivable::OpenTime),
            _ if now - ended_at > REDRIVABLE_PERIOD => Err(NotRedrivable::Period),
            Status::Failed | Status::TimedOut | Status::Aborted => Ok(()),
        }
    }
}

impl Execution {
    /// How often it has been redriven.
    #[must_use]
    pub fn redrive_count(&self) -> u64 {
        self.redrives().count
    }

    /// When it was last redriven.
    #[must_use]
    pub fn redriven_at(&self) -> Option<OffsetDateTime> {
        self.redrives().last
    }

    fn redrives(&self) -> MutexGuard<'_, Redrives> {
        let redrives = &self.inner.redrives;
        redrives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
