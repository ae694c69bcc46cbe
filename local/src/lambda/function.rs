//! A function: what it is called, what it may do, and what runs when it is invoked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::logs::LogSink;
use crate::credentials::AccessKey;

/// What a function is registered with.
#[derive(Clone, Debug)]
pub struct FunctionSettings {
    /// Such as `nightly-copy-snapshot`.
    pub name: String,
    /// How long one invocation may take; AWS gives 3 seconds when nothing is said.
    pub timeout: Duration,
    /// What `GetFunction` tells.
    pub memory_megabytes: u32,
    /// The ARN of the role it runs as; `None` is a role named like the function.
    pub role: Option<String>,
    /// Its environment, besides what Lambda itself sets.
    pub environment: BTreeMap<String, String>,
    /// Reserved concurrency: one invocation more is answered `TooManyRequestsException`.
    pub concurrency: Option<usize>,
}

impl FunctionSettings {
    /// A function with AWS's defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            timeout: Duration::from_secs(3),
            memory_megabytes: 128,
            role: None,
            environment: BTreeMap::new(),
            concurrency: None,
        }
    }

    /// With this timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Running as this role.
    #[must_use]
    pub fn role(mut self, arn: impl Into<String>) -> Self {
        self.role = Some(arn.into());
        self
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// With this many invocations at a time.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = Some(concurrency);
        self
    }
}

/// What becomes of events that a function fails on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInvocation {
    /// How often it is run again: 0 to 2.
    pub retries: usize,
    /// The ARN of a queue or topic that is told afterwards.
    pub on_failure: Option<String>,
}

/// One invocation, as an in-process function sees it.
#[derive(Clone)]
pub struct Invocation {
    /// The event.
    pub payload: Value,
    /// The request id, as in the logs.
    pub request_id: String,
    /// When the invocation will be cut off, on the world's clock.
    pub deadline: OffsetDateTime,
    /// The function's name.
    pub function_name: String,
    /// The function's ARN.
    pub function_arn: String,
    /// The function's own credentials: what it asks for is asked by its role.
    pub credentials: AccessKey,
    /// The region it runs in.
    pub region: String,
    /// Its environment, besides what Lambda itself sets.
    pub environment: BTreeMap<String, String>,
    /// Where its lines go.
    pub log: LogSink,
}

/// How a function says that it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {error_message}")]
pub struct FunctionError {
    /// What Step Functions matches, such as `Transient`.
    pub error_type: String,
    /// For people.
    pub error_message: String,
}

impl FunctionError {
    /// A failure with this type and message.
    pub fn new(error_type: impl Into<String>, error_message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            error_message: error_message.into(),
        }
    }

    /// The payload an invocation that failed answers with.
    #[must_use]
    pub fn to_payload(&self) -> Value {
        json!({ "errorType": self.error_type, "errorMessage": self.error_message })
    }
}

/// An in-process function.
pub type Handler =
    dyn Fn(Invocation) -> BoxFuture<'static, Result<Value, FunctionError>> + Send + Sync;

/// What runs when a function is invoked.
#[derive(Clone)]
pub enum FunctionKind {
    /// A Rust function in this process.
    InProcess(Arc<Handler>),
    /// A `bootstrap` that speaks the Lambda Runtime API: the binary that is deployed.
    Process {
        /// The executable.
        bootstrap: PathBuf,
    },
}

impl FunctionKind {
    /// A Rust function in this process.
    pub fn in_process<F, A>(function: F) -> Self
    where
        F: Fn(Invocation) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Value, FunctionError>> + Send + 'static,
    {
        Self::InProcess(Arc::new(move |invocation| Box::pin(function(invocation))))
    }

    /// The binary that is deployed.
    pub fn process(bootstrap: impl Into<PathBuf>) -> Self {
        Self::Process {
            bootstrap: bootstrap.into(),
        }
    }
}

impl fmt::Debug for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess(_) => f.write_str("InProcess"),
            Self::Process { bootstrap } => f
                .debug_struct("Process")
                .field("bootstrap", bootstrap)
                .finish(),
        }
    }
}
