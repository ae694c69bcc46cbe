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

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub(crate) use api::LambdaApi;
pub use function::{
    EventInvocation, FunctionError, FunctionKind, FunctionSettings, Handler, Invocation,
};
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
    /// By function: what becomes of events, where it is not as usual.
    events: Regional<BTreeMap<String, EventInvocation>>,
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
            events: Regional::default(),
            process_environment: Mutex::default(),
        }
    }

    /// Adds a function to an account and region; one of the same name is replaced.
    /// Returns its ARN.
    ///
    /// # Errors
    /// `InvalidParameterValueException` when the function is given a role that does not exist or does not let Lambda
    /// assume it; `ServiceException` when the world is gone.
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
        if let Some(role) = &settings.role {
            check_role(&world, role, &arn)?;
        }
        let role = settings
            .role
            .clone()
            .unwrap_or_else(|| format!("arn:aws:iam::{account}:role/{}", settings.name));
        let role_name = role.rsplit('/').next().unwrap_or_default();
        let principal = format!(
            "arn:aws:sts::{account}:assumed-role/{role_name}/{}",
            settings.name
        );
        world.iam().note_function(&principal, &arn);
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

    /// What a function was registered with.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn settings(&self, caller: &Caller, function: &str) -> Result<FunctionSettings, ApiError> {
        Ok(self.find(caller, function)?.settings.clone())
    }

    /// Removes a function; what runs of it ends by itself.
    pub fn remove(&self, caller: &Caller, name: &str) {
        self.functions
            .with(caller, |functions| functions.remove(name));
        self.events.with(caller, |events| events.remove(name));
    }

    /// Says what becomes of events that a function fails on; `None` is as usual: two retries, nobody told.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn configure_events(
        &self,
        caller: &Caller,
        function: &str,
        invocation: Option<EventInvocation>,
    ) -> Result<(), ApiError> {
        let name = self.find(caller, function)?.settings.name.clone();
        self.events.with(caller, |events| match invocation {
            Some(invocation) => events.insert(name, invocation),
            None => events.remove(&name),
        });
        Ok(())
    }

    /// `InvocationType: Event`: runs a function and waits for nothing. A function
    /// that fails is run twice more, as on AWS, a minute and then two minutes later,
    /// unless [`Lambda::configure_events`] says otherwise.
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
        let events = self.events.with(caller, |events| {
            events.get(&function.settings.name).cloned()
        });
        let (lambda, caller) = (Arc::clone(self), caller.clone());
        let clock = Arc::clone(world.clock());
        world.spawn(async move {
            let retries = events
                .as_ref()
                .map_or(EVENT_RETRY_WAITS_SECONDS.len(), |events| events.retries);
            let mut waits = EVENT_RETRY_WAITS_SECONDS.into_iter().take(retries);
            let failed = loop {
                let invoked = lambda.run(&function, payload.clone()).await;
                if invoked.as_ref().is_ok_and(|invoked| invoked.result.is_ok()) {
                    return;
                }
                match waits.next() {
                    Some(seconds) => clock.sleep(std::time::Duration::from_secs(seconds)).await,
                    None => break invoked,
                }
            };
            tracing::warn!(
                function = function.settings.name,
                retries,
                "an event was dropped after its last retry"
            );
            if let Some(destination) = events.and_then(|events| events.on_failure) {
                lambda
                    .tell_failure(&caller, &function, &destination, retries, &payload, failed)
                    .await;
            }
        });
        Ok(())
    }

    /// Whether a service such as `events.amazonaws.com` may invoke a function for `source`, a rule or the like. A
    /// function whose role nobody described lets everybody in.
    ///
    /// # Errors
    /// `AccessDeniedException`, which the service keeps to itself.
    pub fn check_permission(
        &self,
        service: &str,
        function_arn: &str,
        source: &str,
    ) -> Result<(), ApiError> {
        let mut judged = false;
        let world = self.world()?;
        self.functions.for_each(|_, _, functions| {
            judged |= functions.values().any(|function| {
                function.arn == function_arn && world.iam().role(&function.role).is_some()
            });
        });
        if !judged || world.iam().may_invoke(service, function_arn, source) {
            return Ok(());
        }
        let text = format!(
            "{service} is not authorized to perform: lambda:InvokeFunction on resource: {function_arn} because no \
             resource-based policy allows the lambda:InvokeFunction action"
        );
        Err(ApiError::new(403, "AccessDeniedException", text))
    }

    /// Tells a destination which event a function failed on, in Lambda's form.
    async fn tell_failure(
        &self,
        caller: &Caller,
        function: &Function,
        destination: &str,
        retries: usize,
        payload: &Value,
        failed: Result<Invoked, ApiError>,
    ) {
        let Ok(world) = self.world() else { return };
        let record = failure_record(&world, function, retries, payload, failed).to_string();
        let told = tell(&world, caller, function, destination, &record).await;
        if let Err(error) = told {
            tracing::warn!(destination, %error, "an event that failed could not be told");
        }
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

fn check_role(world: &World, role: &str, function: &str) -> Result<(), ApiError> {
    let trusted = world
        .iam()
        .trusts_service(world, role, "lambda.amazonaws.com", function);
    if trusted == Some(true) {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
    ))
}

/// Sends a record to a queue or topic, as far as the function's role may.
async fn tell(
    world: &World,
    caller: &Caller,
    function: &Function,
    destination: &str,
    record: &str,
) -> Result<(), ApiError> {
    let (action, service, target, request) = match destination.split(':').nth(2) {
        Some("sqs") => (
            "sqs:SendMessage",
            "sqs",
            "AmazonSQS.SendMessage",
            json!({ "QueueUrl": destination, "MessageBody": record }),
        ),
        Some("sns") => (
            "sns:Publish",
            "sns",
            "AmazonSimpleNotificationService.Publish",
            json!({ "TopicArn": destination, "Message": record }),
        ),
        _ => {
            let text = format!("{destination}: events that failed go to queues and topics only");
            return Err(ApiError::new(400, "InvalidParameterValueException", text));
        }
    };
    let role = Caller {
        principal: function.role.clone(),
        ..caller.clone()
    };
    let iam = world.iam();
    iam.may_as(world, &role, &function.settings.name, action, destination)?;
    world
        .call(caller, service, target, &request)
        .await
        .map(drop)
}

/// What Lambda tells of an event that failed ("Record format" under "Capturing records of asynchronous invocations").
fn failure_record(
    world: &World,
    function: &Function,
    retries: usize,
    payload: &Value,
    failed: Result<Invoked, ApiError>,
) -> Value {
    let (request_id, response) = match failed {
        Ok(invoked) => (
            invoked.request_id,
            invoked.result.unwrap_or_else(|error| error),
        ),
        Err(error) => (
            world.randomness().uuid(),
            json!({ "errorType": error.code, "errorMessage": error.message }),
        ),
    };
    json!({
        "version": "1.0",
        "timestamp": world.now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
        "requestContext": {
            "requestId": request_id,
            "functionArn": format!("{}:$LATEST", function.arn),
            "condition": "RetriesExhausted",
            "approximateInvokeCount": retries + 1,
        },
        "requestPayload": payload,
        "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
        "responsePayload": response,
    })
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
