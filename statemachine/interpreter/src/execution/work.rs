//! States that do work: one attempt after another, and what becomes of the result.

use std::time::Duration;

use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc2822;

use super::strand::{Strand, Visit, combine, follow_next, plain};
use crate::clock::Sleep;
use crate::definition::states::{After, Amount, Kind, Task};
use crate::history::{EventDetails, EventType};
use crate::query::Scope;
use crate::retry::{Failure, Nature, Retries, TASK_FAILED};
use crate::task::{
    IntegrationPattern, TaskFailure, TaskRequest, is_function_arn, is_lambda_invoke,
};
use crate::tokens::{Listener, PAYLOAD_BYTES_MAX, Signal};

/// The error name for a function that ended without saying why.
const LAMBDA_UNKNOWN: &str = "Lambda.Unknown";

impl Strand<'_> {
    /// Does a state's work until it succeeds, is caught, or fails for good.
    pub(super) async fn work<'d>(
        &mut self,
        mut visit: Visit<'d>,
        after: &'d After,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        let context = self.context(&visit, None);
        let input = self.effective_input(&visit, &context)?;
        let mut retries = Retries::new(&after.retry);
        let result = loop {
            let failure = match self.attempt(&visit, &input).await {
                Ok(result) => break result,
                Err(failure) if failure.is_terminal() => return Err(failure),
                Err(failure) => failure,
            };
            let Some(delay) = retries.next_delay(&failure, &self.run.chance) else {
                self.record_failed(&visit);
                return self.catch(&visit, after, failure);
            };
            self.run.clock.sleep(delay).await;
            visit.retry_count += 1;
            self.position.forget_attempt();
            self.run.history.count_transition();
        };
        match self.settle(&visit, after, &result) {
            Err(failure) if !failure.is_terminal() => self.catch(&visit, after, failure),
            settled => settled,
        }
    }

    async fn attempt(&mut self, visit: &Visit<'_>, input: &Value) -> Result<Value, Failure> {
        match &visit.state.kind {
            Kind::Task(task) => self.attempt_task(visit, task, input).await,
            Kind::Parallel(parallel) => self.attempt_parallel(visit, parallel, input).await,
            Kind::Map(map) => self.attempt_map(visit, map, input).await,
            _ => Ok(input.clone()),
        }
    }

    /// Parallel and Map states say that they failed once no retry is left; a task has said so already.
    fn record_failed(&mut self, visit: &Visit<'_>) {
        let event_type = match visit.state.kind {
            Kind::Parallel(_) => EventType::ParallelStateFailed,
            Kind::Map(_) => EventType::MapStateFailed,
            _ => return,
        };
        self.record(event_type, EventDetails::None);
    }

    /// `Assign` and `ResultSelector` (both see the result), `ResultPath`, `OutputPath`, exit.
    fn settle<'d>(
        &mut self,
        visit: &Visit<'d>,
        after: &'d After,
        result: &Value,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        let context = self.context(visit, None);
        let selected = self.fill(after.result_selector.as_ref(), visit, result, &context)?;
        let combined = combine(&after.result_path, &visit.raw, selected)?;
        let output = self.output(visit, &combined, &context)?;
        let assigned = self.assign(visit.state.assign.as_ref(), visit, result, &context)?;
        self.exit(visit, &output, &assigned)?;
        Ok((follow_next(&after.next), output))
    }

    /// Hands a failure to the first catcher that names it.
    fn catch<'d>(
        &mut self,
        visit: &Visit<'d>,
        after: &'d After,
        failure: Failure,
    ) -> Result<(Option<&'d str>, Value), Failure> {
        let Some(catcher) = after
            .catch
            .iter()
            .find(|catcher| failure.is_named_by(&catcher.errors))
        else {
            return Err(failure);
        };
        // Recorded on AWS: a timeout has an empty cause here, a failure without one a null.
        let cause = if failure.is_timeout() {
            failure.cause.or_else(|| Some(String::new()))
        } else {
            failure.cause
        };
        let caught = json!({ "Error": failure.error, "Cause": cause });
        let context = self.context(visit, None);
        let assigned = self.assign(catcher.assign.as_ref(), visit, &caught, &context)?;
        let output = combine(&catcher.result_path, &visit.raw, caught)?;
        self.exit(visit, &output, &assigned)?;
        Ok((Some(catcher.next.as_str()), output))
    }

    async fn attempt_task(
        &mut self,
        visit: &Visit<'_>,
        task: &Task,
        input: &Value,
    ) -> Result<Value, Failure> {
        let listener = match task.pattern {
            IntegrationPattern::WaitForTaskToken => {
                Some(self.run.tokens.open(self.run.chance.bytes()))
            }
            IntegrationPattern::RequestResponse | IntegrationPattern::RunJob => None,
        };
        let context = self.context(visit, listener.as_ref().map(Listener::token));
        let scope = self.scope(input, &context);
        let timeout = seconds(task.timeout.as_ref(), "TimeoutSecondsPath", visit, scope)?;
        let heartbeat = seconds(
            task.heartbeat.as_ref(),
            "HeartbeatSecondsPath",
            visit,
            scope,
        )?;
        let parameters = self.fill(task.parameters.as_ref(), visit, input, &context)?;
        let report = Report::new(task);
        self.record_scheduled(&report, &parameters, timeout, heartbeat)?;
        tokio::task::yield_now().await;
        self.record(report.started(), report.started_details());
        let request = TaskRequest {
            resource: task.resource.clone(),
            parameters,
            pattern: task.pattern,
            task_token: listener
                .as_ref()
                .map(|listener| listener.token().to_owned()),
            timeout,
            heartbeat,
            state_name: visit.state.name.clone(),
            retry_count: visit.retry_count,
            execution_arn: self.run.launch.execution_arn.clone(),
            execution_name: self.run.launch.name.clone(),
            role_arn: self.run.launch.role_arn.clone(),
        };
        let (answer, failed) = match task.pattern {
            IntegrationPattern::RunJob => self.run_job(request, &report).await,
            _ => (
                self.listen(request, listener, &report).await,
                report.failed(),
            ),
        };
        let result = answer.and_then(|value| report.fits(value));
        match &result {
            Ok(output) => self.record(report.succeeded(), report.output_details(output)),
            Err(failure) if failure.is_timeout() => {
                self.record(report.timed_out(), report.failure_details(failure))
            }
            Err(failure) => self.record(failed, report.failure_details(failure)),
        };
        result
    }

    fn record_scheduled(
        &mut self,
        report: &Report<'_>,
        parameters: &Value,
        timeout: Option<Duration>,
        heartbeat: Option<Duration>,
    ) -> Result<(), Failure> {
        let text = parameters.to_string();
        if text.len() > PAYLOAD_BYTES_MAX {
            return Err(Failure::too_large(report.subject(), Nature::Ordinary));
        }
        let (timeout, heartbeat) = (
            timeout.map(|limit| limit.as_secs()),
            heartbeat.map(|limit| limit.as_secs()),
        );
        self.record(
            report.scheduled(),
            report.scheduled_details(text, self.run.region(), timeout, heartbeat),
        );
        Ok(())
    }

    /// Waits for what ends the attempt: the runner's answer, a callback, or a limit.
    ///
    /// The runner's work is spawned, because Step Functions cannot call back what it
    /// has asked for: when the attempt ends first, the work goes on unheard.
    async fn listen(
        &mut self,
        request: TaskRequest,
        mut listener: Option<Listener>,
        report: &Report<'_>,
    ) -> Result<Value, Failure> {
        let (timeout, heartbeat) = (request.timeout, request.heartbeat);
        let qualifier = request.lambda().and_then(|lambda| lambda.qualifier);
        let mut work = tokio::spawn(self.run.runner.run(request));
        let mut overdue = self.limit(timeout);
        // Only a task that waits for a callback has heartbeats to miss.
        let heartbeat = heartbeat.filter(|_| listener.is_some());
        let mut silent = self.limit(heartbeat);
        let mut submitted = false;
        loop {
            tokio::select! {
                biased;
                signal = signal(&mut listener) => match signal {
                    Signal::Answer(answer) => return answer.map_err(ordinary),
                    Signal::Heartbeat => silent = self.limit(heartbeat),
                },
                answer = &mut work, if !submitted => {
                    let answer = answer.unwrap_or_else(|_| Err(report.vanished()));
                    let output = answer.map(|output| report.wrap(output, qualifier.as_deref(), self)).map_err(ordinary);
                    match (output, listener.as_mut().map(Listener::answer_now)) {
                        // A callback out of the invocation counts, however the invocation ended.
                        (_, Some(Some(answer))) => return answer.map_err(ordinary),
                        (Ok(output), Some(None)) => {
                            self.record(EventType::TaskSubmitted, report.output_details(&output));
                            submitted = true;
                        }
                        (output, _) => return output,
                    }
                },
                () = &mut overdue => return Err(Failure::timeout()),
                () = &mut silent => return Err(Failure::missed_heartbeat()),
            }
        }
    }

    /// Begins a job and follows it to its end; and the event that tells its failure.
    ///
    /// What follows the job is dropped when the attempt ends first: then the job is stopped.
    async fn run_job(
        &mut self,
        request: TaskRequest,
        report: &Report<'_>,
    ) -> (Result<Value, Failure>, EventType) {
        let mut overdue = self.limit(request.timeout);
        let mut beginning = tokio::spawn(self.run.runner.run(request.clone()));
        let began = tokio::select! {
            biased;
            began = &mut beginning => began.unwrap_or_else(|_| Err(report.vanished())).map_err(ordinary),
            () = &mut overdue => Err(Failure::timeout()),
        };
        let began = match began {
            Ok(began) => began,
            failed => return (failed, EventType::TaskSubmitFailed),
        };
        self.record(EventType::TaskSubmitted, report.output_details(&began));
        let mut job = self.run.runner.follow(request, began);
        let ended = tokio::select! {
            biased;
            ended = &mut job => ended.map_err(ordinary),
            () = &mut overdue => Err(Failure::timeout()),
        };
        (ended, report.failed())
    }

    /// A wait that never ends where there is no limit.
    fn limit(&self, limit: Option<Duration>) -> Sleep {
        match limit {
            Some(limit) => self.run.clock.sleep(limit),
            None => Box::pin(std::future::pending()),
        }
    }
}

async fn signal(listener: &mut Option<Listener>) -> Signal {
    match listener {
        Some(listener) => listener.signal().await,
        None => std::future::pending().await,
    }
}

fn ordinary(failure: TaskFailure) -> Failure {
    Failure {
        error: failure.error,
        cause: failure.cause,
        nature: Nature::Ordinary,
    }
}

/// A number of seconds, fixed or read from the input.
fn seconds(
    amount: Option<&Amount>,
    field: &str,
    visit: &Visit<'_>,
    scope: Scope<'_>,
) -> Result<Option<Duration>, Failure> {
    let path = match amount {
        None => return Ok(None),
        Some(Amount::Fixed(seconds)) => return Ok(Some(Duration::from_secs(*seconds))),
        Some(Amount::Path(path)) => path,
    };
    let value = path.evaluate(scope).map_err(|missing| {
        visit.runtime_failure(format_args!(
            "Invalid path '{}' : {}",
            path.text,
            missing.into_text()
        ))
    })?;
    let seconds = value
        .as_u64()
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| {
            let shown = plain(&value);
            visit.runtime_failure(format_args!(
                "The {field} parameter cannot be parsed as a positive long value: {} == {shown}",
                path.text
            ))
        })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// How an attempt at a task shows in the history: in the words of Lambda's own
/// events for a function's ARN, in a task's for everything else.
struct Report<'t> {
    resource: &'t str,
    service: &'t str,
    action: &'t str,
    function: bool,
    wraps: bool,
}

impl<'t> Report<'t> {
    fn new(task: &'t Task) -> Self {
        let resource = task.resource.as_str();
        let (service, action) = service_and_action(resource);
        Self {
            resource,
            service,
            action,
            function: is_function_arn(resource),
            wraps: is_lambda_invoke(resource),
        }
    }

    /// What AWS names in a sentence about an answer that is too large.
    fn subject(&self) -> &str {
        if self.function {
            self.resource
        } else {
            self.service
        }
    }

    fn scheduled(&self) -> EventType {
        if self.function {
            EventType::LambdaFunctionScheduled
        } else {
            EventType::TaskScheduled
        }
    }

    fn started(&self) -> EventType {
        if self.function {
            EventType::LambdaFunctionStarted
        } else {
            EventType::TaskStarted
        }
    }

    fn succeeded(&self) -> EventType {
        if self.function {
            EventType::LambdaFunctionSucceeded
        } else {
            EventType::TaskSucceeded
        }
    }

    fn failed(&self) -> EventType {
        if self.function {
            EventType::LambdaFunctionFailed
        } else {
            EventType::TaskFailed
        }
    }

    fn timed_out(&self) -> EventType {
        if self.function {
            EventType::LambdaFunctionTimedOut
        } else {
            EventType::TaskTimedOut
        }
    }

    fn scheduled_details(
        &self,
        text: String,
        region: &str,
        timeout_seconds: Option<u64>,
        heartbeat_seconds: Option<u64>,
    ) -> EventDetails {
        if self.function {
            return EventDetails::LambdaScheduled {
                resource: self.resource.to_owned(),
                input: text,
                timeout_seconds,
            };
        }
        EventDetails::TaskScheduled {
            resource_type: self.service.to_owned(),
            resource: self.action.to_owned(),
            region: region.to_owned(),
            parameters: text,
            timeout_seconds,
            heartbeat_seconds,
        }
    }

    fn started_details(&self) -> EventDetails {
        if self.function {
            return EventDetails::None;
        }
        EventDetails::TaskStarted {
            resource_type: self.service.to_owned(),
            resource: self.action.to_owned(),
        }
    }

    fn output_details(&self, output: &Value) -> EventDetails {
        let output = output.to_string();
        if self.function {
            return EventDetails::Output { output };
        }
        EventDetails::TaskOutput {
            resource_type: self.service.to_owned(),
            resource: self.action.to_owned(),
            output,
        }
    }

    fn failure_details(&self, failure: &Failure) -> EventDetails {
        let (error, cause) = (failure.error.clone(), failure.cause.clone());
        if self.function {
            return EventDetails::Failure { error, cause };
        }
        let (resource_type, resource) = (self.service.to_owned(), self.action.to_owned());
        EventDetails::TaskFailure {
            resource_type,
            resource,
            error,
            cause,
        }
    }

    /// A runner that panicked is a function that crashed.
    fn vanished(&self) -> TaskFailure {
        let error = if self.function || self.wraps {
            LAMBDA_UNKNOWN
        } else {
            TASK_FAILED
        };
        TaskFailure::new(error, "the task ended without an answer")
    }

    fn fits(&self, output: Value) -> Result<Value, Failure> {
        if output.to_string().len() > PAYLOAD_BYTES_MAX {
            return Err(Failure::too_large(self.subject(), Nature::AnswerTooLarge));
        }
        Ok(output)
    }

    /// The response of Lambda's Invoke around a payload, for `lambda:invoke` only.
    fn wrap(&self, payload: Value, qualifier: Option<&str>, strand: &Strand<'_>) -> Value {
        if !self.wraps {
            return payload;
        }
        let version = qualifier
            .filter(|qualifier| qualifier.bytes().all(|b| b.is_ascii_digit()))
            .unwrap_or("$LATEST");
        let request_id = strand.run.chance.uuid().to_string();
        let headers = [
            ("Connection", "keep-alive".to_owned()),
            ("Content-Length", payload.to_string().len().to_string()),
            ("Content-Type", "application/json".to_owned()),
            (
                "Date",
                strand.run.clock.now().format(&Rfc2822).unwrap_or_default(),
            ),
            ("X-Amz-Executed-Version", version.to_owned()),
            ("x-amzn-Remapped-Content-Length", "0".to_owned()),
            ("x-amzn-RequestId", request_id.clone()),
        ];
        let one: Map<String, Value> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        let all: Map<String, Value> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!([value])))
            .collect();
        json!({
            "ExecutedVersion": version,
            "Payload": payload,
            "SdkHttpMetadata": { "AllHttpHeaders": all, "HttpHeaders": one, "HttpStatusCode": 200 },
            "SdkResponseMetadata": { "RequestId": request_id },
            "StatusCode": 200,
        })
    }
}

/// The service and the action of a resource: `lambda` and `invoke.waitForTaskToken`,
/// `aws-sdk:rds` and `describeDBClusters`.
fn service_and_action(resource: &str) -> (&str, &str) {
    let Some(rest) = resource.strip_prefix("arn:aws:states:::") else {
        return (resource, resource);
    };
    let service_ends = match rest.strip_prefix("aws-sdk:") {
        Some(sdk) => sdk.find(':').map(|at| at + "aws-sdk:".len()),
        None => rest.find(':'),
    };
    service_ends.map_or((rest, rest), |at| (&rest[..at], &rest[at + 1..]))
}
