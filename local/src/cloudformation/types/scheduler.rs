//! EventBridge Scheduler: schedules.

use http::{HeaderMap, Method};
use serde_json::{Map, Value};

use super::events::{DEAD_LETTERS, RETRIES};
use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, optional, required};
use crate::request::{ApiError, Request};

const PROPERTIES: &[Property] = &[
    optional("Description", Shape::Text),
    optional("EndDate", Shape::Text),
    required(
        "FlexibleTimeWindow",
        Shape::Record(&[
            required("Mode", Shape::Text),
            optional("MaximumWindowInMinutes", Shape::Integer),
        ]),
    ),
    optional("GroupName", Shape::Text),
    optional("KmsKeyArn", Shape::Text),
    optional("Name", Shape::Text),
    required("ScheduleExpression", Shape::Text),
    optional("ScheduleExpressionTimezone", Shape::Text),
    optional("StartDate", Shape::Text),
    optional("State", Shape::Text),
    required(
        "Target",
        Shape::Record(&[
            required("Arn", Shape::Text),
            required("RoleArn", Shape::Text),
            optional("Input", Shape::Text),
            RETRIES,
            DEAD_LETTERS,
        ]),
    ),
];

pub(super) const TYPES: &[ResourceType] = &[ResourceType {
    name: "AWS::Scheduler::Schedule",
    properties: PROPERTIES,
    attributes: &["Arn"],
    create: |making, _| Box::pin(create(making)),
    delete: |making, schedule| Box::pin(delete(making, schedule)),
}];

async fn create(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("Name", 64);
    let mut request: Map<String, Value> = making.properties.clone();
    request.remove("Name");
    send(
        making,
        Method::POST,
        &format!("/schedules/{name}"),
        &Value::Object(request),
    )
    .await?;
    let group = making.text("GroupName").unwrap_or("default");
    let arn = making.arn("scheduler", &format!("schedule/{group}/{name}"));
    Ok(Made::new(name).with("Arn", arn))
}

async fn delete(making: &Making<'_>, schedule: &str) -> Result<(), ApiError> {
    let group = making.text("GroupName").unwrap_or("default");
    let path = format!("/schedules/{schedule}?groupName={group}");
    match send(making, Method::DELETE, &path, &Value::Null).await {
        Err(error) if error.code != "ResourceNotFoundException" => Err(error),
        _ => Ok(()),
    }
}

/// Scheduler speaks REST: the operation is in method and path, the error's code in a header.
async fn send(
    making: &Making<'_>,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<(), ApiError> {
    let uri = path
        .parse()
        .map_err(|_| super::refused(format!("`{path}` is no path")))?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request {
        caller: making.caller.clone(),
        service: "scheduler".to_owned(),
        method,
        uri,
        headers: HeaderMap::new(),
        body: body.into(),
    };
    let response = making.world.handle(request).await;
    if response.status().is_success() {
        return Ok(());
    }
    let header = response
        .headers()
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok());
    let code = header
        .and_then(|code| code.split(':').next())
        .unwrap_or_default()
        .to_owned();
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let text = |name: &str| answer[name].as_str();
    let message = text("message").or(text("Message")).unwrap_or_default();
    Err(ApiError::new(response.status().as_u16(), code, message))
}
