//! Executions that a task of another execution starts, and follows to their end: `states:startExecution.sync:2`.

use asl_interpreter::{Execution, Outcome, StateMachine, Status, TaskFailure, TaskRequest};
use serde_json::{Value, json};

use super::names::StatesArn;
use super::{Run, StepFunctions};
use crate::fields::Fields;
use crate::request::{ApiError, Caller};
use crate::world::World;

/// The resource of a task that starts an execution and waits for its end; the output is JSON, not text.
pub(super) const START_EXECUTION: &str = "arn:aws:states:::states:startExecution.sync:2";

/// The rule by which Step Functions learns that an execution ended (guide: "IAM policies for calling other workflows").
const MANAGED_RULE: &str = "StepFunctionsGetEventsForStepFunctionsExecutionRule";

/// What a role needs to let Step Functions make that rule.
const MANAGED_RULE_ACTIONS: [&str; 3] =
    ["events:PutTargets", "events:PutRule", "events:DescribeRule"];

impl StepFunctions {
    /// The role of a machine that follows executions must be allowed Step Functions' own rule.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub(super) fn check_managed_rule(
        &self,
        caller: &Caller,
        machine: &StateMachine,
        role_arn: &str,
    ) -> Result<(), ApiError> {
        if !machine.resources().contains(&START_EXECUTION) {
            return Ok(());
        }
        let world = self.world()?;
        let rule = format!(
            "arn:aws:events:{}:{}:rule/{MANAGED_RULE}",
            caller.region, caller.account
        );
        let role = Caller {
            principal: role_arn.to_owned(),
            ..caller.clone()
        };
        for action in MANAGED_RULE_ACTIONS {
            let allowed = world
                .iam()
                .may_as(&world, &role, "create-managed-rule", action, &rule);
            allowed.map_err(|_| {
                let text = format!("'{role_arn}' is not authorized to create managed-rule.");
                ApiError::new(400, "AccessDeniedException", text)
            })?;
        }
        Ok(())
    }

    /// Starts the execution that a task asks for, as the state machine's role.
    pub(super) fn begin_job(
        &self,
        caller: &Caller,
        request: &TaskRequest,
    ) -> Result<Value, TaskFailure> {
        let world = self.world().map_err(|error| refusal(&error))?;
        let parameters = &request.parameters;
        let machine = parameters["StateMachineArn"].as_str().unwrap_or_default();
        let session = session(request);
        world
            .iam()
            .may_as(&world, caller, session, "states:StartExecution", machine)
            .map_err(|error| refusal(&error))?;
        let input = parameters
            .get("Input")
            .map_or_else(|| json!({}), Value::clone);
        let mut asked = json!({ "stateMachineArn": machine, "input": input.to_string() });
        if let Some(name) = parameters.get("Name") {
            asked["name"] = name.clone();
        }
        let run = self
            .start_run(caller, Fields::new(&asked))
            .map_err(|error| refusal(&error))?;
        Ok(json!({
            "ExecutionArn": run.execution.launch().execution_arn,
            "StartDate": milliseconds(run.execution.started_at()),
            "SdkHttpMetadata": { "HttpStatusCode": 200 },
        }))
    }

    /// The execution that a job is, if the role may look at it.
    pub(super) fn job(
        &self,
        caller: &Caller,
        request: &TaskRequest,
        began: &Value,
    ) -> Result<Run, TaskFailure> {
        let arn = began["ExecutionArn"].as_str().unwrap_or_default();
        let world = self.world().map_err(|error| refusal(&error))?;
        world
            .iam()
            .may_as(
                &world,
                caller,
                session(request),
                "states:DescribeExecution",
                arn,
            )
            .map_err(|error| refusal(&error))?;
        self.run(caller, arn).map_err(|error| refusal(&error))
    }
}

/// Stops a job when its task ends first, if the role may.
pub(super) struct StopUnlessEnded {
    pub(super) world: std::sync::Weak<World>,
    pub(super) caller: Caller,
    pub(super) request: TaskRequest,
    pub(super) execution: Execution,
}

impl Drop for StopUnlessEnded {
    fn drop(&mut self) {
        if self.execution.status() != Status::Running {
            return;
        }
        let arn = &self.execution.launch().execution_arn;
        if let Some(world) = self.world.upgrade()
            && world
                .iam()
                .may_as(
                    &world,
                    &self.caller,
                    session(&self.request),
                    "states:StopExecution",
                    arn,
                )
                .is_ok()
        {
            self.execution.stop(None, None);
        }
    }
}

/// What a job came to: a description as `DescribeExecution`'s, in the case of the Java SDK, with JSON for text.
pub(super) fn result(execution: &Execution) -> Result<Value, TaskFailure> {
    let launch = execution.launch();
    let mut described = json!({
        "ExecutionArn": launch.execution_arn,
        "StateMachineArn": launch.state_machine_arn,
        "Name": launch.name,
        "Status": execution.status().name(),
        "StartDate": milliseconds(execution.started_at()),
        "StopDate": execution.stopped_at().map(milliseconds),
        "Input": launch.input,
        "InputDetails": { "Included": true },
        "RedriveCount": execution.redrive_count(),
    });
    match execution.outcome() {
        Some(Outcome::Succeeded { output }) => {
            described["Output"] = output;
            described["OutputDetails"] = json!({ "Included": true });
            return Ok(described);
        }
        Some(Outcome::Failed { error, cause } | Outcome::Aborted { error, cause }) => {
            for (name, text) in [("Error", error), ("Cause", cause)] {
                if let Some(text) = text {
                    described[name] = text.into();
                }
            }
        }
        Some(Outcome::TimedOut) | None => {}
    }
    Err(TaskFailure::new("States.TaskFailed", described.to_string()))
}

/// What Step Functions answered to itself.
fn refusal(error: &ApiError) -> TaskFailure {
    // As in Lambda's integration, what the service's model does not know has the client's own name.
    let name = match error.code.as_str() {
        "AccessDeniedException" | "InternalFailure" | "ValidationException" => {
            "AWSStepFunctionsException".to_owned()
        }
        code if code.ends_with("Exception") => code.to_owned(),
        code => format!("{code}Exception"),
    };
    let cause = format!(
        "{} (Service: AWSStepFunctions; Status Code: {}; Error Code: {}; Request ID: local; Proxy: null)",
        error.message, error.status, error.code
    );
    TaskFailure::new(format!("StepFunctions.{name}"), cause)
}

/// The execution's account and region; its role is who asks.
pub(super) fn caller(execution_arn: &str, role_arn: &str) -> Result<Caller, ApiError> {
    let arn = StatesArn::parse(execution_arn)?;
    Ok(Caller {
        account: arn.account.to_owned(),
        region: arn.region.to_owned(),
        principal: role_arn.to_owned(),
    })
}

/// What Step Functions calls the session of the role.
pub(super) fn session(request: &TaskRequest) -> &str {
    request.execution_arn.rsplit(':').next().unwrap_or_default()
}

fn milliseconds(time: time::OffsetDateTime) -> Value {
    Value::from((time.unix_timestamp_nanos() / 1_000_000) as i64)
}
