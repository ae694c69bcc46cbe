//! What a Task state asks for, and who does it.
//!
//! The interpreter decides when a task runs, with what, and what its end means.
//! The work itself belongs to the [`TaskRunner`]: the local cloud invokes a
//! Lambda function there, a test answers on the spot.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::execution::Launch;

/// The optimised Lambda integration.
pub(crate) const LAMBDA_INVOKE: &str = "arn:aws:states:::lambda:invoke";

/// How a task's end is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrationPattern {
    /// The runner's answer ends the task.
    RequestResponse,
    /// A callback with the task token ends the task (`.waitForTaskToken`).
    WaitForTaskToken,
    /// The end of the job that the runner's answer began ends the task (`.sync`).
    RunJob,
}

impl IntegrationPattern {
    /// The pattern that a `Resource` names with its ending.
    pub(crate) fn of(resource: &str) -> Self {
        if resource.ends_with(".waitForTaskToken") {
            Self::WaitForTaskToken
        } else if resource.ends_with(".sync") || resource.ends_with(".sync:2") {
            Self::RunJob
        } else {
            Self::RequestResponse
        }
    }
}

/// One attempt at a Task state's work.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// The state's `Resource`, as written in the definition.
    pub resource: String,
    /// The effective input: after `InputPath` and `Parameters`.
    pub parameters: Value,
    /// How the task ends.
    pub pattern: IntegrationPattern,
    /// This attempt's token, when the task waits for a callback. Every attempt has its own.
    pub task_token: Option<String>,
    /// `TimeoutSeconds`, if the state sets it.
    pub timeout: Option<Duration>,
    /// `HeartbeatSeconds`, if the state sets it.
    pub heartbeat: Option<Duration>,
    /// The state's name.
    pub state_name: String,
    /// How often this state has been retried: 0 on the first attempt.
    pub retry_count: u64,
    /// The execution's ARN.
    pub execution_arn: String,
    /// The execution's name.
    pub execution_name: String,
    /// The role the state machine runs as.
    pub role_arn: String,
}

/// A Lambda function and what it is called with.
#[derive(Debug, Clone, PartialEq)]
pub struct LambdaInvocation {
    /// Name, partial ARN or ARN.
    pub function: String,
    /// Version or alias, if one is named.
    pub qualifier: Option<String>,
    /// The event. `{}` when the state gives none, as Step Functions sends.
    pub payload: Value,
}

impl TaskRequest {
    /// The Lambda function this task is for; `None` when it is for something else.
    ///
    /// Knows both spellings: `arn:aws:states:::lambda:invoke` with its
    /// `Parameters`, and a function's own ARN, whose event is the whole input.
    #[must_use]
    pub fn lambda(&self) -> Option<LambdaInvocation> {
        if is_function_arn(&self.resource) {
            return Some(LambdaInvocation {
                function: self.resource.clone(),
                qualifier: None,
                payload: self.parameters.clone(),
            });
        }
        if !is_lambda_invoke(&self.resource) {
            return None;
        }
        let text = |field: &str| {
            self.parameters
                .get(field)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Some(LambdaInvocation {
            function: text("FunctionName")?,
            qualifier: text("Qualifier"),
            payload: self
                .parameters
                .get("Payload")
                .cloned()
                .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        })
    }
}

/// Whether this is `lambda:invoke` in either pattern.
pub(crate) fn is_lambda_invoke(resource: &str) -> bool {
    resource == LAMBDA_INVOKE || resource.strip_suffix(".waitForTaskToken") == Some(LAMBDA_INVOKE)
}

/// Whether this is the ARN of a Lambda function.
pub(crate) fn is_function_arn(resource: &str) -> bool {
    let mut parts = resource.splitn(7, ':').skip(2);
    parts.next() == Some("lambda")
        && parts.nth(2) == Some("function")
        && resource.starts_with("arn:")
}

/// How a task failed, as Step Functions would name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskFailure {
    /// The error name that `Retry` and `Catch` match, such as a Lambda's `errorType`.
    pub error: Option<String>,
    /// The cause: for a Lambda, its whole error object as JSON text.
    pub cause: Option<String>,
}

impl TaskFailure {
    /// A failure with a name and a cause.
    #[must_use]
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            cause: Some(cause.into()),
        }
    }
}

/// A task under way.
pub type TaskFuture = Pin<Box<dyn Future<Output = Result<Value, TaskFailure>> + Send>>;

/// Does what Task states ask for.
///
/// Any `Fn(TaskRequest) -> impl Future<Output = Result<Value, TaskFailure>>` is one.
pub trait TaskRunner: Send + Sync + 'static {
    /// Starts one attempt.
    ///
    /// For Lambda (`lambda:invoke` and function ARNs) the answer is the function's
    /// **payload**; the interpreter wraps it in the Invoke response where Step
    /// Functions does. For any other resource the answer is the task's output. With
    /// `.waitForTaskToken` it only marks the task as submitted, and a failure fails
    /// the task unless a callback has ended it already. With `.sync` it is what began
    /// the job, which [`TaskRunner::follow`] follows.
    ///
    /// The future is spawned and never cancelled: when a task times out or the
    /// execution stops, Step Functions stops listening but the function runs on.
    fn run(&self, request: TaskRequest) -> TaskFuture;

    /// Follows the job that [`TaskRunner::run`] began with this answer (`.sync`), and
    /// answers with the task's output when it has ended.
    ///
    /// When the task ends first, because it timed out or the execution stopped, the
    /// future is dropped: then the job is to be stopped, as Step Functions tries to.
    fn follow(&self, request: TaskRequest, began: Value) -> TaskFuture {
        let _ = request;
        Box::pin(async move { Ok(began) })
    }

    /// Whether the role of this execution may start and follow the child executions
    /// of a Distributed Map.
    ///
    /// # Errors
    /// How the Map Run fails.
    fn may_map(&self, parent: &Launch) -> Result<(), TaskFailure> {
        let _ = parent;
        Ok(())
    }

    /// Whether the role of this execution may redrive the child executions of a Distributed Map. These are the
    /// children's ARNs without their names.
    ///
    /// # Errors
    /// How the Map Run fails.
    fn may_redrive_map(&self, parent: &Launch, children: &str) -> Result<(), TaskFailure> {
        let _ = (parent, children);
        Ok(())
    }

    /// Whether [`TaskRunner::run`] can serve a `Resource` other than Lambda's.
    ///
    /// Asked when a definition is loaded; a resource not supported is refused there.
    fn supports(&self, resource: &str) -> bool {
        let _ = resource;
        false
    }
}

impl<F, A> TaskRunner for F
where
    F: Fn(TaskRequest) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Value, TaskFailure>> + Send + 'static,
{
    fn run(&self, request: TaskRequest) -> TaskFuture {
        Box::pin(self(request))
    }
}

/// A runner several owners share.
impl TaskRunner for Arc<dyn TaskRunner> {
    fn run(&self, request: TaskRequest) -> TaskFuture {
        (**self).run(request)
    }

    fn follow(&self, request: TaskRequest, began: Value) -> TaskFuture {
        (**self).follow(request, began)
    }

    fn may_map(&self, parent: &Launch) -> Result<(), TaskFailure> {
        (**self).may_map(parent)
    }

    fn may_redrive_map(&self, parent: &Launch, children: &str) -> Result<(), TaskFailure> {
        (**self).may_redrive_map(parent, children)
    }

    fn supports(&self, resource: &str) -> bool {
        (**self).supports(resource)
    }
}
