//! Which errors a `Retry` or `Catch` names, and how long a retry waits.

use std::time::Duration;

use crate::chance::Chance;
use crate::definition::states::ResultPath;
use crate::query::Template;

/// Matches every error but those that end an execution (guide: "Error names").
pub(crate) const ALL: &str = "States.ALL";
pub(crate) const TASK_FAILED: &str = "States.TaskFailed";
pub(crate) const TIMEOUT: &str = "States.Timeout";
pub(crate) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
pub(crate) const RUNTIME: &str = "States.Runtime";
pub(crate) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
pub(crate) const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
pub(crate) const EXCEED_TOLERATED_FAILURE_THRESHOLD: &str =
    "States.ExceedToleratedFailureThreshold";
pub(crate) const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";

/// A state that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The error name. `SendTaskFailure` and Fail states may leave it out.
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) nature: Nature,
}

/// What kind of failure it is, beyond its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// One that `Retry` and `Catch` may handle.
    Ordinary,
    /// A missed heartbeat. AWS records it as `States.Timeout`, while its guide
    /// has retriers and catchers name it `States.HeartbeatTimeout`: both match.
    MissedHeartbeat,
    /// A task's answer over 256 KiB. The guide says that `States.ALL` does not match
    /// `States.DataLimitExceeded`; AWS was recorded to match it for a task's answer.
    AnswerTooLarge,
    /// One that ends the execution whatever `Retry` and `Catch` say (recorded on
    /// AWS for `States.Runtime`, even where a catcher names it).
    Terminal,
}

impl Failure {
    pub(crate) fn new(error: &str, cause: impl Into<String>) -> Self {
        Self {
            error: Some(error.to_owned()),
            cause: Some(cause.into()),
            nature: Nature::Ordinary,
        }
    }

    /// A failure of the machine itself: `States.Runtime`.
    pub(crate) fn runtime(cause: impl Into<String>) -> Self {
        Self {
            nature: Nature::Terminal,
            ..Self::new(RUNTIME, cause)
        }
    }

    /// `TimeoutSeconds` passed. AWS records no cause.
    pub(crate) fn timeout() -> Self {
        Self {
            error: Some(TIMEOUT.to_owned()),
            cause: None,
            nature: Nature::Ordinary,
        }
    }

    /// `HeartbeatSeconds` passed without a heartbeat.
    pub(crate) fn missed_heartbeat() -> Self {
        Self {
            nature: Nature::MissedHeartbeat,
            ..Self::timeout()
        }
    }

    /// More than 256 KiB out of a state, or out of a task as `nature` says.
    pub(crate) fn too_large(what: &str, nature: Nature) -> Self {
        let cause = format!(
            "The state/task '{what}' returned a result with a size exceeding the maximum number of bytes service limit."
        );
        Self {
            nature,
            ..Self::new(DATA_LIMIT_EXCEEDED, cause)
        }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.error.as_deref() == Some(TIMEOUT)
    }

    pub(crate) fn is_data_limit(&self) -> bool {
        self.error.as_deref() == Some(DATA_LIMIT_EXCEEDED)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.nature == Nature::Terminal
    }

    /// Whether one of the names in an `ErrorEquals` means this failure.
    pub(crate) fn is_named_by(&self, names: &[String]) -> bool {
        !self.is_terminal() && names.iter().any(|name| self.is_named(name))
    }

    fn is_named(&self, name: &str) -> bool {
        let error = self.error.as_deref();
        match name {
            ALL if self.nature == Nature::AnswerTooLarge => true,
            ALL => error != Some(RUNTIME) && error != Some(DATA_LIMIT_EXCEEDED),
            TASK_FAILED => error != Some(TIMEOUT) && error != Some(HEARTBEAT_TIMEOUT),
            HEARTBEAT_TIMEOUT if self.nature == Nature::MissedHeartbeat => true,
            name => error == Some(name),
        }
    }
}

/// How a retry's delay is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jitter {
    /// The delay as computed.
    None,
    /// Anything from nothing to the delay.
    Full,
}

/// One retrier.
#[derive(Debug, Clone)]
pub(crate) struct Retrier {
    pub(crate) errors: Vec<String>,
    pub(crate) interval_seconds: u64,
    pub(crate) attempts_max: u64,
    pub(crate) backoff_rate: f64,
    pub(crate) delay_seconds_max: Option<u64>,
    pub(crate) jitter: Jitter,
}

impl Retrier {
    /// How long to wait before the retry that follows `retries` earlier ones.
    fn delay(&self, retries: u64, chance: &Chance) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
        let grown = self.interval_seconds as f64 * self.backoff_rate.powf(retries as f64);
        #[expect(clippy::cast_precision_loss, reason = "at most a year")]
        let longest = self.delay_seconds_max.unwrap_or(DELAY_SECONDS_MAX) as f64;
        let delay = grown.min(longest);
        Duration::from_secs_f64(match self.jitter {
            Jitter::None => delay,
            Jitter::Full => delay * chance.fraction(),
        })
    }
}

/// A delay that outgrows everything stops here: an execution lives no longer than a year.
const DELAY_SECONDS_MAX: u64 = 31_622_400;

/// The retriers of one visit to a state, and how often each has been used.
pub(crate) struct Retries<'d> {
    retriers: Vec<(&'d Retrier, u64)>,
}

impl<'d> Retries<'d> {
    pub(crate) fn new(retriers: &'d [Retrier]) -> Self {
        Self {
            retriers: retriers.iter().map(|retrier| (retrier, 0)).collect(),
        }
    }

    /// How long to wait before trying again; `None` when nothing says to.
    ///
    /// The first retrier that names the failure decides; once it is used up, the
    /// ones after it are not asked (recorded on AWS).
    pub(crate) fn next_delay(&mut self, failure: &Failure, chance: &Chance) -> Option<Duration> {
        let (retrier, used) = self
            .retriers
            .iter_mut()
            .find(|(retrier, _)| failure.is_named_by(&retrier.errors))?;
        if *used >= retrier.attempts_max {
            return None;
        }
        let delay = retrier.delay(*used, chance);
        *used += 1;
        Some(delay)
    }
}

/// One catcher.
#[derive(Debug)]
pub(crate) struct Catcher {
    pub(crate) errors: Vec<String>,
    pub(crate) next: String,
    pub(crate) result_path: ResultPath,
    pub(crate) assign: Option<Template>,
}
