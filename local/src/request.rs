//! One API request as every service sees it, and how a service answers.
//!
//! Account, region and service come from the SigV4 credential scope, as on AWS.
//! The access key id names the account: twelve digits are that account's root
//! credentials; keys issued by the local STS are looked up by the world.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

/// An answer with its whole body: nothing the pipeline calls streams.
pub type Response = http::Response<Bytes>;

/// Who is calling, from where, and which service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Twelve digits.
    pub account: String,
    /// For example `eu-west-1`.
    pub region: String,
    /// The caller's ARN: `arn:aws:iam::123456789012:root` for root credentials.
    pub principal: String,
}

/// A request on its way to a service.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who is calling.
    pub caller: Caller,
    /// The signing name: `rds`, `dynamodb`, `states`, `lambda`, `events`, `monitoring`, ...
    pub service: String,
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers as sent.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Whether the body is the Query protocol's form, whose answers are XML.
pub(crate) fn speaks_query(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"))
}

impl Request {
    /// Whether another service asks on a customer's behalf: clients' requests are signed.
    pub fn is_from_service(&self) -> bool {
        !self.headers.contains_key(http::header::AUTHORIZATION)
    }

    /// The operation of a JSON-protocol request: `X-Amz-Target` after its last dot.
    pub fn json_operation(&self) -> Option<&str> {
        let target = self.headers.get("x-amz-target")?.to_str().ok()?;
        target.rsplit('.').next()
    }

    /// The body as JSON; an empty body is an empty object.
    ///
    /// # Errors
    /// `SerializationException` when the body is not JSON.
    pub fn json_body(&self) -> Result<Value, ApiError> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| ApiError::new(400, "SerializationException", error.to_string()))
    }
}

/// An error as a service answers it: HTTP status, wire code, message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The code on the wire, such as `DBClusterNotFoundFault`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// An error with this status, wire code and message.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }

    /// What a local service answers to an operation it does not have.
    pub fn unknown_operation(service: &str, operation: &str) -> Self {
        Self::new(
            501,
            "UnknownOperationException",
            format!("the local cloud's {service} has no operation `{operation}`"),
        )
    }

    /// As the Query protocol answers it.
    pub fn to_xml_response(&self) -> Response {
        let fault = if self.status < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        let body = format!(
            "<ErrorResponse><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
             <RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>",
            escape_xml(&self.code),
            escape_xml(&self.message),
        );
        response(self.status, "text/xml", body)
    }

    /// As the JSON 1.0/1.1 protocols answer it.
    pub fn to_json_response(&self) -> Response {
        let body = json!({ "__type": self.code, "message": self.message, "Message": self.message });
        let mut response = json_response(self.status, &body);
        if let Ok(code) = self.code.parse() {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
    }
}

/// A JSON answer.
pub fn json_response(status: u16, body: &Value) -> Response {
    response(status, "application/x-amz-json-1.1", body.to_string())
}

/// An answer of any content type.
pub fn response(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static(content_type));
    response
}

/// Text as it may stand in an XML document.
pub fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // A parser would turn a bare carriage return into a line feed.
            '\r' => escaped.push_str("&#xD;"),
            // XML 1.0 has no way to write the other control characters.
            control if control.is_control() && !matches!(control, '\n' | '\t') => {
                escaped.push('\u{fffd}')
            }
            other => escaped.push(other),
        }
    }
    escaped
}
