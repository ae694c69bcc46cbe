//! Does what Task states ask for: invokes Lambda functions.

use std::sync::Weak;

use asl_interpreter::{TaskFailure, TaskFuture, TaskRequest, TaskRunner};
use serde_json::Value;

use super::names::StatesArn;
use crate::lambda::Lambda;
use crate::request::{ApiError, Caller};

/// Invokes functions in the execution's account and region, as its role.
pub(super) struct LambdaTasks(pub(super) Weak<Lambda>);

impl TaskRunner for LambdaTasks {
    fn run(&self, request: TaskRequest) -> TaskFuture {
        let lambda = self.0.clone();
        Box::pin(async move {
            let lambda = lambda.upgrade().ok_or_else(|| {
                TaskFailure::new("Lambda.ServiceException", "the world has stopped")
            })?;
            invoke(&lambda, &request).await
        })
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
    let code = if error.code.ends_with("Exception") {
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
