//! Lambda's REST API: invoke a function, describe those there are.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use time::macros::format_description;

use super::{Function, FunctionKind, Invoked, Lambda};
use crate::recorded::RecordedText;
use crate::request::{ApiError, Request, Response, response};
use crate::world::Service;

const PREFIX: &str = "/2015-03-31/functions";

/// `LogType: Tail` answers with the last 4 KB of the log.
const LOG_TAIL_BYTES: usize = 4 * 1024;

/// The service is shared: what it starts in the background holds on to it.
pub(crate) struct LambdaApi(pub(crate) Arc<Lambda>);

#[async_trait]
impl Service for LambdaApi {
    async fn handle(&self, request: Request) -> Response {
        self.answer(&request)
            .await
            .unwrap_or_else(|error| refused(&error))
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        self.0.recorded_texts()
    }
}

impl LambdaApi {
    async fn answer(&self, request: &Request) -> Result<Response, ApiError> {
        let path = request.uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (&request.method, parts.as_slice()) {
            (&Method::POST, [function, "invocations"]) => self.invoke(request, function).await,
            (&Method::GET, []) => Ok(self.list(request)),
            (&Method::GET, [function]) => {
                let function = self.0.find(&request.caller, function)?;
                Ok(json(
                    200,
                    &json!({ "Configuration": described(&function), "Code": {}, "Tags": {} }),
                ))
            }
            (&Method::GET, [function, "configuration"]) => Ok(json(
                200,
                &described(&*self.0.find(&request.caller, function)?),
            )),
            (method, _) => Err(ApiError::unknown_operation(
                "Lambda",
                &format!("{method} {}", request.uri.path()),
            )),
        }
    }

    async fn invoke(&self, request: &Request, function: &str) -> Result<Response, ApiError> {
        let header = |name: &str| {
            request
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let payload = payload(&request.body)?;
        match header("x-amz-invocation-type").unwrap_or("RequestResponse") {
            "RequestResponse" => {
                let invoked = self.0.invoke(&request.caller, function, payload).await?;
                let tail = match header("x-amz-log-type") {
                    Some("Tail") => Some(self.log_tail(request, function, &invoked)?),
                    _ => None,
                };
                Ok(answered(&invoked, tail))
            }
            "Event" => {
                self.0.invoke_event(&request.caller, function, payload)?;
                Ok(response(202, "application/json", ""))
            }
            "DryRun" => {
                self.0.find(&request.caller, function)?;
                Ok(response(204, "application/json", ""))
            }
            other => {
                let text =
                    format!("Value '{other}' at 'invocationType' failed to satisfy constraint");
                Err(ApiError::new(400, "InvalidParameterValueException", text))
            }
        }
    }

    fn log_tail(
        &self,
        request: &Request,
        function: &str,
        invoked: &Invoked,
    ) -> Result<String, ApiError> {
        let function = self.0.find(&request.caller, function)?;
        let mut text = String::new();
        for line in function.log.lines() {
            if line
                .request_id
                .as_deref()
                .is_none_or(|id| id == invoked.request_id)
            {
                text.push_str(&line.text);
                text.push('\n');
            }
        }
        let bytes = text.as_bytes();
        Ok(STANDARD.encode(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]))
    }

    fn list(&self, request: &Request) -> Response {
        let functions: Vec<Value> = self.0.functions.with(&request.caller, |functions| {
            functions
                .values()
                .map(|function| described(function))
                .collect()
        });
        json(200, &json!({ "Functions": functions }))
    }
}

fn payload(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = format!("Could not parse request body into json: {error}");
        ApiError::new(400, "InvalidRequestContentException", text)
    })
}

fn answered(invoked: &Invoked, tail: Option<String>) -> Response {
    let (body, failed) = match &invoked.result {
        Ok(answer) => (answer, false),
        Err(error) => (error, true),
    };
    let mut response = json(200, body);
    let headers = response.headers_mut();
    headers.insert(
        "x-amz-executed-version",
        HeaderValue::from_static("$LATEST"),
    );
    if failed {
        headers.insert(
            "x-amz-function-error",
            HeaderValue::from_static("Unhandled"),
        );
    }
    if let Ok(request_id) = invoked.request_id.parse() {
        headers.insert("x-amzn-requestid", request_id);
    }
    if let Some(tail) = tail.and_then(|tail| tail.parse().ok()) {
        headers.insert("x-amz-log-result", tail);
    }
    response
}

fn described(function: &Function) -> Value {
    let stamp = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000"
    );
    let settings = &function.settings;
    json!({
        "FunctionName": settings.name,
        "FunctionArn": function.arn,
        "Runtime": "provided.al2023",
        "Role": function.role,
        "Handler": "bootstrap",
        "CodeSize": 0,
        "Description": match &function.kind {
            FunctionKind::InProcess(_) => "in process".to_owned(),
            FunctionKind::Process { bootstrap } => bootstrap.display().to_string(),
        },
        "Timeout": settings.timeout.as_secs(),
        "MemorySize": settings.memory_megabytes,
        "LastModified": function.modified.format(stamp).unwrap_or_default(),
        "Version": "$LATEST",
        "Environment": { "Variables": settings.environment },
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["arm64"],
        "LoggingConfig": { "LogFormat": "Text", "LogGroup": format!("/aws/lambda/{}", settings.name) },
    })
}

fn json(status: u16, body: &Value) -> Response {
    response(status, "application/json", body.to_string())
}

/// REST-JSON errors: the code in a header, `Type` in the body.
fn refused(error: &ApiError) -> Response {
    let fault = if error.status < 500 {
        "User"
    } else {
        "Service"
    };
    let mut response = json(
        error.status,
        &json!({ "Type": fault, "Message": error.message, "message": error.message }),
    );
    if let Ok(code) = error.code.parse() {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}
