//! The protocols of services that speak more than plain JSON.
//!
//! SNS and STS speak Query: a form in, XML out. CloudWatch is asked in Query, JSON
//! 1.0 or RPC v2 CBOR, depending on the client and its age. A service behind this
//! module sees JSON values and answers with a [`Datum`], and the client gets back
//! the protocol it came with.

mod cbor;
mod datum;
mod form;

pub(crate) use datum::{Datum, record};

use serde_json::Value;

use crate::request::{ApiError, Request, Response, response};

/// What a client spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Query,
    Json,
    Cbor,
}

/// A request, whatever it was written in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) protocol: Protocol,
    pub(crate) operation: String,
    pub(crate) input: Value,
}

/// Reads a request in the protocol it is written in.
///
/// # Errors
/// The protocol, so that the refusal can be written in it, and the refusal.
pub(crate) fn read(request: &Request) -> Result<Call, (Protocol, ApiError)> {
    let protocol = protocol(request);
    let call = |operation: &str, input: Value| Call {
        protocol,
        operation: operation.to_owned(),
        input,
    };
    if request.headers.contains_key(http::header::CONTENT_ENCODING) {
        let text = "compressed bodies are not understood: set AWS_DISABLE_REQUEST_COMPRESSION=true";
        return Err((protocol, ApiError::new(400, "SerializationException", text)));
    }
    match protocol {
        Protocol::Cbor => {
            let operation = request.uri.path().rsplit('/').next().unwrap_or_default();
            let input = cbor::read(&request.body).map_err(|error| (protocol, error))?;
            Ok(call(operation, input))
        }
        Protocol::Json => {
            let input = request.json_body().map_err(|error| (protocol, error))?;
            Ok(call(request.json_operation().unwrap_or_default(), input))
        }
        Protocol::Query => {
            let input = form::read(&request.body);
            let operation = input
                .get("Action")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            Ok(call(&operation, input))
        }
    }
}

fn protocol(request: &Request) -> Protocol {
    let has = |name: &str, value: &str| {
        request
            .headers
            .get(name)
            .is_some_and(|given| given == value)
    };
    if has("smithy-protocol", "rpc-v2-cbor") {
        Protocol::Cbor
    } else if request.headers.contains_key("x-amz-target") {
        Protocol::Json
    } else {
        Protocol::Query
    }
}

/// How a service names itself in answers.
pub(crate) struct Names {
    /// The XML namespace, such as `http://sns.amazonaws.com/doc/2010-03-31/`.
    pub(crate) namespace: &'static str,
    /// The shape behind a Query error code: JSON and CBOR name that instead.
    pub(crate) error_shape: fn(&str) -> &str,
}

/// Writes an answer in the protocol the client spoke.
pub(crate) fn write(
    protocol: Protocol,
    names: &Names,
    operation: &str,
    request_id: &str,
    answer: Result<Option<Datum>, ApiError>,
) -> Response {
    let mut response = match (protocol, answer) {
        (Protocol::Query, Ok(result)) => response(
            200,
            "text/xml",
            result_xml(names, operation, request_id, result),
        ),
        (Protocol::Query, Err(error)) => response(
            error.status,
            "text/xml",
            error_xml(names, request_id, &error),
        ),
        (Protocol::Json, Ok(result)) => {
            let body = result.map_or(Value::Object(serde_json::Map::new()), |result| {
                result.to_json()
            });
            response(200, "application/x-amz-json-1.0", body.to_string())
        }
        (Protocol::Json, Err(error)) => {
            with_query_error(shaped(names, &error).to_json_response(), &error)
        }
        (Protocol::Cbor, Ok(result)) => response(
            200,
            "application/cbor",
            cbor::write(&result.unwrap_or_else(|| record([]))),
        ),
        (Protocol::Cbor, Err(error)) => {
            let shaped = shaped(names, &error);
            let body = record([
                ("__type", shaped.code.into()),
                ("message", shaped.message.into()),
            ]);
            with_query_error(
                response(error.status, "application/cbor", cbor::write(&body)),
                &error,
            )
        }
    };
    if protocol == Protocol::Cbor {
        response.headers_mut().insert(
            "smithy-protocol",
            http::HeaderValue::from_static("rpc-v2-cbor"),
        );
    }
    response
}

/// An error in the protocol of its request, from before any service has seen it.
pub(crate) fn refuse(request: &Request, error: &ApiError) -> Response {
    let names = Names {
        namespace: "",
        error_shape: |code| code,
    };
    write(protocol(request), &names, "", "", Err(error.clone()))
}

fn shaped(names: &Names, error: &ApiError) -> ApiError {
    ApiError::new(
        error.status,
        (names.error_shape)(&error.code),
        error.message.clone(),
    )
}

/// Clients that still expect Query's codes find them in a header.
fn with_query_error(mut response: Response, error: &ApiError) -> Response {
    let fault = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    if let Ok(value) = format!("{};{fault}", error.code).parse() {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}

fn result_xml(names: &Names, operation: &str, request_id: &str, result: Option<Datum>) -> String {
    let namespace = names.namespace;
    let result = result
        .map(|result| format!("<{operation}Result>{}</{operation}Result>", result.to_xml()))
        .unwrap_or_default();
    format!(
        "<{operation}Response xmlns=\"{namespace}\">{result}<ResponseMetadata><RequestId>{request_id}</RequestId>\
         </ResponseMetadata></{operation}Response>"
    )
}

fn error_xml(names: &Names, request_id: &str, error: &ApiError) -> String {
    let fault = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    format!(
        "<ErrorResponse xmlns=\"{}\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        names.namespace,
        crate::request::escape_xml(&error.code),
        crate::request::escape_xml(&error.message),
    )
}
