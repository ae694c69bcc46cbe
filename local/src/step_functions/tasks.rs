//! Does what Task states ask for: invokes Lambda functions, starts and follows executions.

use std::sync::{Arc, Weak};

use asl_interpreter::{LambdaInvocation, Launch, TaskFailure, TaskFuture, TaskRequest, TaskRunner};
use serde_json::Value;

use super::StepFunctions;
use super::jobs::{self, START_EXECUTION, StopUnlessEnded};
use super::map_runs::executions_of;
use crate::lambda::Lambda;
use crate::request::{ApiError, Caller};
use crate::world::World;

/// Works in the execution's account and region, as its role.
pub(super) struct Tasks {
    world: Weak<World>,
    lambda: Weak<Lambda>,
    step_functions: Weak<StepFunctions>,
}

impl Tasks {
    pub(super) fn new(
        world: &Arc<World>,
        lambda: &Arc<Lambda>,
        step_functions: &Weak<StepFunctions>,
    ) -> Self {
        Self {
            world: Arc::downgrade(world),
            lambda: Arc::downgrade(lambda),
            step_functions: step_functions.clone(),
        }
    }
}

/// How a task fails that outlives its world.
fn stopped() -> TaskFailure {
    TaskFailure::new("States.Runtime", "the world has stopped")
}

impl TaskRunner for Tasks {
    fn supports(&self, resource: &str) -> bool {
        resource == START_EXECUTION
    }

    fn follow(&self, request: TaskRequest, began: Value) -> TaskFuture {
        let (world, step_functions) = (self.world.clone(), self.step_functions.clone());
        Box::pin(async move {
            let caller = caller(&request).map_err(|error| refusal(&error))?;
            let step_functions = step_functions.upgrade().ok_or_else(stopped)?;
            let run = step_functions.job(&caller, &request, &began)?;
            drop(step_functions);
            let job = StopUnlessEnded {
                world,
                caller,
                request,
                execution: run.execution,
            };
            job.execution.finished().await;
            jobs::result(&job.execution)
        })
    }

    /// What the guide asks of the role of a Distributed Map: to start its own state machine's executions, and to
    /// look at them and stop them ("IAM policies for using Distributed Map states").
    fn may_map(&self, parent: &Launch) -> Result<(), TaskFailure> {
        let world = self.world.upgrade().ok_or_else(stopped)?;
        let machine = &parent.state_machine_arn;
        let caller = jobs::caller(&parent.execution_arn, &parent.role_arn)
            .map_err(|error| refusal(&error))?;
        let name = machine.rsplit(':').next().unwrap_or_default();
        let executions = executions_of(&caller, name);
        for (action, resource) in [
            ("states:StartExecution", machine),
            ("states:DescribeExecution", &executions),
            ("states:StopExecution", &executions),
        ] {
            permitted(&world, &caller, parent, action, resource)?;
        }
        Ok(())
    }

    /// To redrive a Distributed Map, the role needs to redrive its children (same page, "Permissions for redriving").
    fn may_redrive_map(&self, parent: &Launch, children: &str) -> Result<(), TaskFailure> {
        let world = self.world.upgrade().ok_or_else(stopped)?;
        let caller = jobs::caller(&parent.execution_arn, &parent.role_arn)
            .map_err(|error| refusal(&error))?;
        let children = format!("{children}:*");
        permitted(
            &world,
            &caller,
            parent,
            "states:RedriveExecution",
            &children,
        )
    }

    fn run(&self, request: TaskRequest) -> TaskFuture {
        if request.resource == START_EXECUTION {
            let step_functions = self.step_functions.clone();
            return Box::pin(async move {
                let step_functions = step_functions.upgrade().ok_or_else(stopped)?;
                let caller = caller(&request).map_err(|error| refusal(&error))?;
                step_functions.begin_job(&caller, &request)
            });
        }
        let (world, lambda) = (self.world.clone(), self.lambda.clone());
        Box::pin(async move {
            let stopped = || TaskFailure::new("Lambda.ServiceException", "the world has stopped");
            let lambda = lambda.upgrade().ok_or_else(stopped)?;
            // Nothing here may hold the world while it waits: the end of the world ends the wait.
            check_role(&*world.upgrade().ok_or_else(stopped)?, &request)?;
            invoke(&lambda, &request).await
        })
    }
}

/// The role of an execution must be allowed what a Distributed Map does in its name.
fn permitted(
    world: &World,
    caller: &Caller,
    parent: &Launch,
    action: &str,
    resource: &str,
) -> Result<(), TaskFailure> {
    let allowed = world
        .iam()
        .may_as(world, caller, &parent.name, action, resource);
    allowed.map_err(|error| TaskFailure::new("States.Permissions", error.message))
}

/// The state machine's role must be allowed to invoke the function.
fn check_role(world: &World, request: &TaskRequest) -> Result<(), TaskFailure> {
    let Some(invocation) = request.lambda() else {
        return Ok(());
    };
    let caller = caller(request).map_err(|error| refusal(&error))?;
    let function = function_arn(&caller, &invocation);
    let session = jobs::session(request);
    world
        .iam()
        .may_as(world, &caller, session, "lambda:InvokeFunction", &function)
        .map_err(|error| refusal(&error))
}

fn function_arn(caller: &Caller, invocation: &LambdaInvocation) -> String {
    let function = &invocation.function;
    let arn = if function.starts_with("arn:") {
        function.clone()
    } else {
        format!(
            "arn:aws:lambda:{}:{}:function:{function}",
            caller.region, caller.account
        )
    };
    match invocation.qualifier.as_deref() {
        None | Some("$LATEST") => arn,
        Some(qualifier) => format!("{arn}:{qualifier}"),
    }
}

async fn invoke(lambda: &Lambda, request: &TaskRequest) -> Result<Value, TaskFailure> {
    let Some(invocation) = request.lambda() else {
        return Err(TaskFailure::new(
            "States.Runtime",
            format!("`{}` is not a Lambda function", request.resource),
        ));
    };
    let caller = caller(request).map_err(|error| refusal(&error))?;
    let function = match &invocation.qualifier {
        Some(qualifier) => format!("{}:{qualifier}", invocation.function),
        None => invocation.function,
    };
    let invoked = lambda
        .invoke(&caller, &function, invocation.payload)
        .await
        .map_err(|error| refusal(&error))?;
    invoked.result.map_err(|payload| failure(&payload))
}

/// The execution's account and region; its role is who asks.
fn caller(request: &TaskRequest) -> Result<Caller, ApiError> {
    jobs::caller(&request.execution_arn, &request.role_arn)
}

/// The function's own error: its type is the error's name, its payload the cause.
fn failure(payload: &Value) -> TaskFailure {
    let error = payload
        .get("errorType")
        .and_then(Value::as_str)
        .unwrap_or("Lambda.Unknown");
    TaskFailure::new(error, payload.to_string())
}

/// What the Invoke API answered before a function ran, named as Step Functions does.
fn refusal(error: &ApiError) -> TaskFailure {
    // Lambda's model does not know a refusal by IAM, so the client calls it what it calls the unknown.
    let modelled = error.code.ends_with("Exception") && error.code != "AccessDeniedException";
    let code = if modelled {
        error.code.as_str()
    } else {
        "AWSLambdaException"
    };
    let cause = format!(
        "{} (Service: Lambda, Status Code: {}, Request ID: local)",
        error.message, error.status
    );
    TaskFailure::new(format!("Lambda.{code}"), cause)
}
