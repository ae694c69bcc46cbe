//! Answers the HTTP API: start, look at, list, approve and reject restores, keep their targets longer or let them go,
//! and whether the pipeline is well.
//!
//! API Gateway has checked who asks, whether they may, and the form of the body.
//! What is started here is an execution and nothing else: Plan decides whether its
//! request may be carried out, as for every other restore, so that there is no way
//! around the direction of data. There is no secret in any answer.

mod approvals;
mod expiry;
mod health;
mod http;
mod restores;

use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Step, StepError};
use serde_json::Value;

use http::{Answer, Asked};

/// The step.
pub const STEP: Step = Step { name: "api", run };

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let asked: Asked = read_event(event)?;
        answer(&respond(context, &asked).await)
    })
}

/// An error is an answer, too: what fails in a function reaches callers of API Gateway as a bare 502.
async fn respond(context: &Context, asked: &Asked) -> Answer {
    let answer = route(context, asked)
        .await
        .unwrap_or_else(|error| Answer::refused(&error));
    tracing::info!(
        method = asked.http_method,
        path = asked.path,
        caller = asked.caller(),
        status = answer.status_code,
        "answered"
    );
    answer
}

async fn route(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    match (asked.http_method.as_str(), asked.resource.as_str()) {
        ("GET", "/health") => health::look(context).await,
        ("POST", "/restores") => restores::start(context, asked).await,
        ("GET", "/restores") => restores::list(context, asked).await,
        ("GET", "/restores/{id}") => restores::get(context, asked).await,
        ("POST", "/restores/{id}/approval") => approvals::decide(context, asked).await,
        ("POST", "/restores/{id}/extension") => expiry::extend(context, asked).await,
        ("POST", "/restores/{id}/expiry") => expiry::expire(context, asked).await,
        (method, resource) => Err(StepError::defect(format!(
            "API Gateway has a route that this function does not know: {method} {resource}"
        ))),
    }
}
