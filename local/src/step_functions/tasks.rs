//! Does what Task states ask for: invokes Lambda functions.

use std::sync::{Arc, Weak};

use asl_interpreter::{LambdaInvocation, TaskFailure, TaskFuture, TaskRequest, TaskRunner};
use serde_json::Value;

use super::names::StatesArn;
use crate::lambda::Lambda;
use crate::request::{ApiError, Caller};
use crate::world::World;

/// Invokes functions in the execution's account and region, as its role.
pub(super) struct LambdaTasks {
    world: Weak<World>,
    lambda: Weak<Lambda>,
}

impl LambdaTasks {
    pub(super) fn new(world: &Arc<World>, lambda: &Arc<Lambda>) -> Self {
        Self {
            world: Arc::downgrade(world),
            lambda: Arc::downgrade(lambda),
        }
    }
}

impl TaskRunner for LambdaTasks {
    fn run(&self, request: TaskRequest) -> TaskFuture {
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

/// The state machine's role must be allowed to invoke the function.
fn check_role(world: &World, request: &TaskRequest) -> Result<(), TaskFailure> {
    let Some(invocation) = request.lambda() else {
        return Ok(());
    };
    let caller = caller(request).map_err(|error| refusal(&error))?;
    let function = function_arn(&caller, &invocation);
    let session = request.execution_arn.rsplit(':').next().unwrap_or_default();
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
    let arn = StatesArn::parse(&request.execution_arn)?;
    Ok(Caller {
        account: arn.account.to_owned(),
        region: arn.region.to_owned(),
        principal: request.role_arn.clone(),
    })
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
