//! API Gateway: REST APIs from OpenAPI documents, deployed to stages.

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Made, Making, ResourceType, refused};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::{ApiError, Request};

const REST_API: &[Property] = &[
    required("Body", Shape::Document),
    optional("Description", Shape::Text),
    optional(
        "EndpointConfiguration",
        Shape::Record(&[optional("Types", TEXTS)]),
    ),
    optional("FailOnWarnings", Shape::Flag),
    optional("Name", Shape::Text),
    optional("Policy", Shape::Document),
    optional("Tags", TAGS),
];

const DEPLOYMENT: &[Property] = &[
    optional("Description", Shape::Text),
    required("RestApiId", Shape::Text),
];

const STAGE: &[Property] = &[
    optional(
        "AccessLogSetting",
        Shape::Record(&[
            optional("DestinationArn", Shape::Text),
            optional("Format", Shape::Text),
        ]),
    ),
    required("DeploymentId", Shape::Text),
    optional("Description", Shape::Text),
    optional(
        "MethodSettings",
        Shape::List(&Shape::Record(&[
            optional("DataTraceEnabled", Shape::Flag),
            optional("HttpMethod", Shape::Text),
            optional("LoggingLevel", Shape::Text),
            optional("MetricsEnabled", Shape::Flag),
            optional("ResourcePath", Shape::Text),
            optional("ThrottlingBurstLimit", Shape::Integer),
            optional("ThrottlingRateLimit", Shape::Number),
        ])),
    ),
    required("RestApiId", Shape::Text),
    required("StageName", Shape::Text),
    optional("Tags", TAGS),
    optional("TracingEnabled", Shape::Flag),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::ApiGateway::RestApi",
        properties: REST_API,
        attributes: &["RestApiId", "RootResourceId"],
        create: |making, _| Box::pin(create_rest_api(making)),
        delete: |making, api| Box::pin(delete_rest_api(making, api)),
    },
    // What an API is now is deployed with its stage.
    ResourceType {
        name: "AWS::ApiGateway::Deployment",
        properties: DEPLOYMENT,
        attributes: &["DeploymentId"],
        create: |making, _| Box::pin(async move { Ok(create_deployment(making)) }),
        delete: |_, _| Box::pin(async { Ok(()) }),
    },
    ResourceType {
        name: "AWS::ApiGateway::Stage",
        properties: STAGE,
        attributes: &[],
        create: |making, _| Box::pin(create_stage(making)),
        // It goes with its API.
        delete: |_, _| Box::pin(async { Ok(()) }),
    },
];

async fn create_rest_api(making: &Making<'_>) -> Result<Made, ApiError> {
    let mut document: Value = serde_json::from_str(&making.document("Body"))
        .map_err(|error| refused(format!("Body is no document: {error}")))?;
    document["info"]["title"] = making.name("Name", 255).into();
    let made = send(making, Method::POST, "/restapis?mode=import", &document).await?;
    let id = made["id"].as_str().unwrap_or_default();
    let root = making.world.randomness().base32(10).to_ascii_lowercase();
    Ok(Made::new(id)
        .with("RestApiId", id)
        .with("RootResourceId", root))
}

async fn delete_rest_api(making: &Making<'_>, api: &str) -> Result<(), ApiError> {
    let path = format!("/restapis/{api}");
    match send(making, Method::DELETE, &path, &Value::Null).await {
        Err(error) if error.code != "NotFoundException" => Err(error),
        _ => Ok(()),
    }
}

fn create_deployment(making: &Making<'_>) -> Made {
    let id = making.world.randomness().base32(6).to_ascii_lowercase();
    Made::new(&id).with("DeploymentId", id)
}

async fn create_stage(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.required("StageName");
    let path = format!("/restapis/{}/deployments", making.required("RestApiId"));
    let body = json!({ "stageName": name });
    send(making, Method::POST, &path, &body).await?;
    Ok(Made::new(name))
}

/// API Gateway speaks REST: the operation is in method and path.
async fn send(
    making: &Making<'_>,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value, ApiError> {
    let uri = path
        .parse()
        .map_err(|_| refused(format!("`{path}` is no path")))?;
    let request = Request {
        caller: making.caller.clone(),
        service: "apigateway".to_owned(),
        method,
        uri,
        headers: HeaderMap::new(),
        body: if body.is_null() {
            String::new().into()
        } else {
            body.to_string().into()
        },
    };
    let response = making.world.handle(request).await;
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    if response.status().is_success() {
        return Ok(answer);
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    Err(ApiError::new(
        response.status().as_u16(),
        text("__type"),
        text("message"),
    ))
}
