//! Task tokens: how a task that waits for a callback hears of its end.
//!
//! Step Functions hands a token to the work it starts and waits until somebody
//! answers with it. The answer may come after the invocation returned, or out of
//! its middle; it may come late, twice, or never. Whoever answers is told which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::task::TaskFailure;

/// The most bytes a payload may have: 256 KiB (Step Functions quotas).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 262_144;

/// The most characters a token may have (API reference).
const TOKEN_CHARS_MAX: usize = 2_048;

/// What every token starts with once decoded; anything else is not a token.
const TOKEN_HEADER: &[u8] = b"asl\x01";

/// Random bytes in a token.
const TOKEN_RANDOM_BYTES: usize = 96;

/// Why a callback was refused. Codes and texts are those of the Step Functions API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// The token is well formed, but no task ever had it.
    #[error("Task Does Not Exist: 'Provided task does not exist'")]
    TaskDoesNotExist,
    /// The task has ended: answered, timed out, failed or stopped.
    #[error("Task Timed Out: 'Provided task does not exist anymore'")]
    TaskTimedOut,
    /// The text is not a token at all.
    #[error("Invalid Token: 'Invalid token'")]
    InvalidToken,
    /// The output is not JSON, or larger than 256 KiB. Holds what is wrong with it.
    #[error("Invalid Output: '{0}'")]
    InvalidOutput(String),
}

impl CallbackError {
    /// The error code on the wire.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TaskDoesNotExist => "TaskDoesNotExist",
            Self::TaskTimedOut => "TaskTimedOut",
            Self::InvalidToken => "InvalidToken",
            Self::InvalidOutput(_) => "InvalidOutput",
        }
    }
}

/// What a callback tells the waiting task.
#[derive(Debug)]
pub(crate) enum Signal {
    Answer(Result<Value, TaskFailure>),
    Heartbeat,
}

/// A token's state: a task listens, or listened once.
#[derive(Debug)]
enum Slot {
    Open(UnboundedSender<Signal>),
    Closed,
}

/// Every token handed out, and the tasks waiting behind them.
///
/// Clones share the same tokens. Closed tokens are remembered for as long as the
/// registry lives, so that a late callback is told `TaskTimedOut` and not
/// `TaskDoesNotExist`.
#[derive(Debug, Clone, Default)]
pub struct TaskTokens {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

impl TaskTokens {
    /// `SendTaskSuccess`: ends the task with `output`, which is JSON text.
    ///
    /// # Errors
    /// [`CallbackError::InvalidOutput`] when `output` is not JSON or too large, and
    /// the token's errors.
    pub fn send_success(&self, token: &str, output: &str) -> Result<(), CallbackError> {
        if output.len() > PAYLOAD_BYTES_MAX {
            return Err(CallbackError::InvalidOutput(format!(
                "output is larger than {PAYLOAD_BYTES_MAX} bytes"
            )));
        }
        let output = serde_json::from_str(output)
            .map_err(|error| CallbackError::InvalidOutput(error.to_string()))?;
        self.end(token, Signal::Answer(Ok(output)))
    }

    /// `SendTaskFailure`: fails the task. Both parts are optional, as in the API.
    ///
    /// # Errors
    /// The token's errors.
    pub fn send_failure(
        &self,
        token: &str,
        error: Option<&str>,
        cause: Option<&str>,
    ) -> Result<(), CallbackError> {
        let failure = TaskFailure {
            error: error.map(str::to_owned),
            cause: cause.map(str::to_owned),
        };
        self.end(token, Signal::Answer(Err(failure)))
    }

    /// `SendTaskHeartbeat`: starts the task's heartbeat interval anew.
    ///
    /// # Errors
    /// The token's errors.
    pub fn send_heartbeat(&self, token: &str) -> Result<(), CallbackError> {
        match self.lock().get(token) {
            Some(Slot::Open(task)) => task
                .send(Signal::Heartbeat)
                .map_err(|_| CallbackError::TaskTimedOut),
            Some(Slot::Closed) => Err(CallbackError::TaskTimedOut),
            None => Err(stranger(token)),
        }
    }

    /// Opens a token for a task; it closes when the returned listener is dropped.
    pub(crate) fn open(&self, random: [u8; TOKEN_RANDOM_BYTES]) -> Listener {
        let token = STANDARD.encode([TOKEN_HEADER, &random].concat());
        let (sender, signals) = unbounded_channel();
        self.lock().insert(token.clone(), Slot::Open(sender));
        Listener {
            token,
            signals,
            tokens: self.clone(),
        }
    }

    fn end(&self, token: &str, signal: Signal) -> Result<(), CallbackError> {
        let mut slots = self.lock();
        let slot = slots.get_mut(token).ok_or_else(|| stranger(token))?;
        match std::mem::replace(slot, Slot::Closed) {
            Slot::Open(task) => task.send(signal).map_err(|_| CallbackError::TaskTimedOut),
            Slot::Closed => Err(CallbackError::TaskTimedOut),
        }
    }

    fn close(&self, token: &str) {
        self.lock().insert(token.to_owned(), Slot::Closed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token nobody was given: well formed or not a token at all.
fn stranger(token: &str) -> CallbackError {
    let well_formed = token.len() <= TOKEN_CHARS_MAX
        && STANDARD.decode(token).is_ok_and(|bytes| {
            bytes.len() == TOKEN_HEADER.len() + TOKEN_RANDOM_BYTES
                && bytes.starts_with(TOKEN_HEADER)
        });
    if well_formed {
        CallbackError::TaskDoesNotExist
    } else {
        CallbackError::InvalidToken
    }
}

/// The task's end of a token.
#[derive(Debug)]
pub(crate) struct Listener {
    token: String,
    signals: UnboundedReceiver<Signal>,
    tokens: TaskTokens,
}

impl Listener {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The next callback. Never ends when there is none to come.
    pub(crate) async fn signal(&mut self) -> Signal {
        match self.signals.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// The answer that is already there, if any.
    ///
    /// Asked when the work has ended: a heartbeat from before then no longer matters.
    pub(crate) fn answer_now(&mut self) -> Option<Result<Value, TaskFailure>> {
        std::iter::from_fn(|| self.signals.try_recv().ok()).find_map(|signal| match signal {
            Signal::Answer(answer) => Some(answer),
            Signal::Heartbeat => None,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tokens.close(&self.token);
    }
}
