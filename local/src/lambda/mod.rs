//! Lambda: functions in this process, or the deployed binaries over the Runtime API.
//!
//! Tests run the functions in process, where virtual time holds; a rehearsal runs
//! the very binaries that are deployed. Either way a function has a timeout, its own
//! credentials and a log, and its errors reach the caller as on AWS: HTTP 200,
//! `X-Amz-Function-Error: Unhandled`, and a payload with `errorType` and
//! `errorMessage`.
//!
//! Timeouts are tokio's time, not the world's clock: a clock that runs faster than
//! real time makes waiting short, but no machine faster.

mod api;
mod function;
mod in_process;
mod logs;
mod process;
mod runtime_api;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub(crate) use api::LambdaApi;
pub use function::{FunctionError, FunctionKind, FunctionSettings, Handler, Invocation};
pub use in_process::Running;
pub use logs::{LogLine, LogSink};

use crate::cloudwatch::CloudWatch;
use crate::credentials::AccessKey;
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller};
use crate::world::World;
use logs::LogGroup;
use process::Sandboxes;

/// Synchronous payloads, both ways: 6 MB.
const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Asynchronous invocations that fail are tried again after these waits.
const EVENT_RETRY_WAITS_SECONDS: [u64; 2] = [60, 120];

/// The functions of every account and region.
pub struct Lambda {
    world: Weak<World>,
    metrics: Arc<CloudWatch>,
    functions: Regional<BTreeMap<String, Arc<Function>>>,
    /// Variables every process gets, such as `AWS_ENDPOINT_URL`.
    process_environment: Mutex<BTreeMap<String, String>>,
}

/// A registered function.
struct Function {
    settings: FunctionSettings,
    kind: FunctionKind,
    arn: String,
    region: String,
    role: String,
    credentials: AccessKey,
    modified: OffsetDateTime,
    log: Arc<LogGroup>,
    concurrency: Option<Arc<Semaphore>>,
    sandboxes: Sandboxes,
}

/// One request to run a function.
#[derive(Clone)]
struct Job {
    request_id: String,
    payload: Value,
}

/// What an invocation came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoked {
    /// The request id, as in the logs.
    pub request_id: String,
    /// The function's answer, or its error as a payload.
    pub result: Result<Value, Value>,
}

impl Lambda {
    /// No functions yet.
    #[must_use]
    pub fn new(world: Weak<World>, metrics: Arc<CloudWatch>) -> Self {
        Self {
            world,
            metrics,
            functions: Regional::default(),
            process_environment: Mutex::default(),
        }
    }

    /// Adds a function to an account and region; one of the same name is replaced.
    /// Returns its ARN.
    ///
    /// # Errors
    /// `ServiceException` when the world is gone.
    pub fn register(
        &self,
        account: &str,
        region: &str,
        settings: FunctionSettings,
        kind: FunctionKind,
    ) -> Result<String, ApiError> {
        let world = self.world()?;
        let arn = format!(
            "arn:aws:lambda:{region}:{account}:function:{}",
            settings.name
        );
        let role = settings
            .role
            .clone()
            .unwrap_or_else(|| format!("arn:aws:iam::{account}:role/{}", settings.name));
        let role_name = role.rsplit('/').next().unwrap_or_default();
        let principal = format!(
            "arn:aws:sts::{account}:assumed-role/{role_name}/{}",
            settings.name
        );
        let function = Function {
            credentials: world.issue_key(account, &principal, None),
            log: LogGroup::new(
                account,
                region,
                Arc::clone(world.clock()),
                Arc::clone(&self.metrics),
            ),
            concurrency: settings
                .concurrency
                .map(|places| Arc::new(Semaphore::new(places))),
            modified: world.now(),
            sandboxes: Sandboxes::default(),
            arn: arn.clone(),
            region: region.to_owned(),
            role,
            kind,
            settings,
        };
        let name = function.settings.name.clone();
        self.functions.at(account, region, |functions| {
            functions.insert(name, Arc::new(function))
        });
        Ok(arn)
    }

    /// Sets a variable that every process is started with, such as `AWS_ENDPOINT_URL`.
    pub fn set_process_variable(&self, name: &str, value: &str) {
        let mut environment = self
            .process_environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        environment.insert(name.to_owned(), value.to_owned());
    }

    /// Every line of the functions of this name, in whatever account and region.
    #[must_use]
    pub fn logs(&self, function_name: &str) -> Vec<LogLine> {
        let mut lines = Vec::new();
        self.functions.for_each(|_, _, functions| {
            lines.extend(
                functions
                    .get(function_name)
                    .map(|function| function.log.lines())
                    .unwrap_or_default(),
            );
        });
        lines
    }

    /// Every line of every log.
    pub(crate) fn recorded_texts(&self) -> Vec<RecordedText> {
        let mut texts = Vec::new();
        self.functions.for_each(|account, region, functions| {
            for (name, function) in functions {
                let place = format!("logs {account}/{region} /aws/lambda/{name}");
                texts.extend(
                    function
                        .log
                        .lines()
                        .into_iter()
                        .map(|line| RecordedText::new(&place, line.text)),
                );
            }
        });
        texts
    }

    /// Ends every process of every function.
    pub fn stop(&self) {
        self.functions.for_each(|_, _, functions| {
            functions
                .values()
                .for_each(|function| function.sandboxes.clear());
        });
    }

    /// Runs a function and waits for its end. It runs on even when nobody waits.
    ///
    /// # Errors
    /// What the Invoke API answers before a function runs: `ResourceNotFoundException`,
    /// `TooManyRequestsException`, `RequestTooLargeException`.
    pub async fn invoke(
        &self,
        caller: &Caller,
        function: &str,
        payload: Value,
    ) -> Result<Invoked, ApiError> {
        let function = self.find(caller, function)?;
        self.run(&function, payload).await
    }

    /// `InvocationType: Event`: runs a function and waits for nothing. A function
    /// that fails is run twice more, as on AWS, a minute and then two minutes later.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn invoke_event(
        self: &Arc<Self>,
        caller: &Caller,
        function: &str,
        payload: Value,
    ) -> Result<(), ApiError> {
        let function = self.find(caller, function)?;
        let world = self.world()?;
        let lambda = Arc::clone(self);
        let clock = Arc::clone(world.clock());
        world.spawn(async move {
            for wait in EVENT_RETRY_WAITS_SECONDS
                .into_iter()
                .map(Some)
                .chain([None])
            {
                let invoked = lambda.run(&function, payload.clone()).await;
                if invoked.is_ok_and(|invoked| invoked.result.is_ok()) {
                    return;
                }
                if let Some(seconds) = wait {
                    clock.sleep(std::time::Duration::from_secs(seconds)).await;
                }
            }
            tracing::warn!(
                function = function.settings.name,
                "an event was dropped after three failures"
            );
        });
        Ok(())
    }

    async fn run(&self, function: &Arc<Function>, payload: Value) -> Result<Invoked, ApiError> {
        // Nothing here may hold the world while it waits: the end of the world ends the wait.
        let (request_id, outcome) = self.begin(function, payload)?;
        let result = outcome
            .await
            .map_err(|_| ApiError::new(500, "ServiceException", "the world has stopped"))?;
        Ok(Invoked { request_id, result })
    }

    /// Starts a function; what it comes to can be waited for.
    fn begin(
        &self,
        function: &Arc<Function>,
        payload: Value,
    ) -> Result<(String, oneshot::Receiver<Result<Value, Value>>), ApiError> {
        let world = self.world()?;
        if payload.to_string().len() > PAYLOAD_BYTES_MAX {
            let text = format!(
                "Request must be smaller than {PAYLOAD_BYTES_MAX} bytes for the InvokeFunction operation"
            );
            return Err(ApiError::new(413, "RequestTooLargeException", text));
        }
        let place = function.take_place()?;
        let request_id = world.randomness().uuid();
        let job = Job {
            request_id: request_id.clone(),
            payload,
        };
        let environment = self
            .process_environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (finished, outcome) = oneshot::channel();
        let function = Arc::clone(function);
        let clock = Arc::clone(world.clock());
        world.spawn(async move {
            let _place = place;
            let result = match &function.kind {
                FunctionKind::InProcess(handler) => {
                    in_process::run(&function, handler, job, clock.now()).await
                }
                FunctionKind::Process { bootstrap } => {
                    process::run(&function, bootstrap, job, environment).await
                }
            };
            let _ = finished.send(bounded(result));
        });
        Ok((request_id, outcome))
    }

    /// Finds a function by name, ARN or partial ARN, with or without `$LATEST`.
    fn find(&self, caller: &Caller, function: &str) -> Result<Arc<Function>, ApiError> {
        let not_found = || {
            let arn = format!(
                "arn:aws:lambda:{}:{}:function:{function}",
                caller.region, caller.account
            );
            let arn = if function.starts_with("arn:") {
                function.to_owned()
            } else {
                arn
            };
            ApiError::new(
                404,
                "ResourceNotFoundException",
                format!("Function not found: {arn}"),
            )
        };
        let named = named(function).ok_or_else(not_found)?;
        let account = named.account.unwrap_or(&caller.account);
        if account != caller.account {
            let text = format!(
                "User: {} is not authorized to perform: lambda:InvokeFunction on resource: {function}",
                caller.principal
            );
            return Err(ApiError::new(403, "AccessDeniedException", text));
        }
        if named.region.is_some_and(|region| region != caller.region) {
            return Err(not_found());
        }
        self.functions
            .with(caller, |functions| functions.get(named.name).cloned())
            .ok_or_else(not_found)
    }

    fn world(&self) -> Result<Arc<World>, ApiError> {
        self.world
            .upgrade()
            .ok_or_else(|| ApiError::new(500, "ServiceException", "the world has stopped"))
    }
}

impl Function {
    /// One of the function's reserved places, if it has a number of them.
    fn take_place(&self) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let Some(places) = &self.concurrency else {
            return Ok(None);
        };
        let place = Arc::clone(places).try_acquire_owned();
        place
            .map(Some)
            .map_err(|_| ApiError::new(429, "TooManyRequestsException", "Rate Exceeded."))
    }
}

/// An answer over 6 MB never leaves Lambda.
fn bounded(result: Result<Value, Value>) -> Result<Value, Value> {
    let size = result.as_ref().map_or(0, |answer| answer.to_string().len());
    if size <= PAYLOAD_BYTES_MAX {
        return result;
    }
    let text = format!(
        "Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes)."
    );
    Err(FunctionError::new("Function.ResponseSizeTooLarge", text).to_payload())
}

struct Named<'a> {
    account: Option<&'a str>,
    region: Option<&'a str>,
    name: &'a str,
}

/// Takes apart `name`, `123456789012:function:name` and whole ARNs. There are no
/// versions or aliases here: only `$LATEST` may follow.
fn named(function: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = function.split(':').collect();
    let (account, region, rest) = match parts.as_slice() {
        ["arn", _, "lambda", region, account, "function", rest @ ..] => {
            (Some(*account), Some(*region), rest)
        }
        [account, "function", rest @ ..] => (Some(*account), None, rest),
        rest => (None, None, rest),
    };
    match rest {
        [name] | [name, "$LATEST"] => Some(Named {
            account,
            region,
            name,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_three_spellings_and_two_endings() {
        for spelling in [
            "plan",
            "plan:$LATEST",
            "123456789012:function:plan",
            "arn:aws:lambda:eu-west-1:123456789012:function:plan",
            "arn:aws:lambda:eu-west-1:123456789012:function:plan:$LATEST",
        ] {
            assert_eq!(
                named(spelling).map(|named| named.name),
                Some("plan"),
                "{spelling}"
            );
        }
        assert!(named("plan:7").is_none());
    }
}
