//! How each service says that it will not: the codes on the wire, and their status.
//!
//! From the services' API references ("Common Errors" and each operation's list).

use crate::layer::Answer;
use crate::request::{ApiError, Request, speaks_query};

fn answer(request: &Request, status: u16, code: &str, message: &str) -> Answer {
    let error = ApiError::new(status, code, message);
    Ok(if speaks_query(&request.headers) {
        error.to_xml_response()
    } else {
        error.to_json_response()
    })
}

pub(super) fn throttled(request: &Request) -> Answer {
    let (status, code) = match request.service.as_str() {
        "dynamodb" => (400, "ProvisionedThroughputExceededException"),
        "sns" => (429, "Throttled"),
        "rds" | "sts" => (400, "Throttling"),
        _ => (400, "ThrottlingException"),
    };
    answer(request, status, code, "Rate exceeded")
}

pub(super) fn internal_error(request: &Request) -> Answer {
    let code = match request.service.as_str() {
        "dynamodb" | "ssm" => "InternalServerError",
        "secretsmanager" => "InternalServiceError",
        "sns" => "InternalError",
        "kms" => "KMSInternalException",
        _ => "InternalFailure",
    };
    answer(request, 500, code, "An internal error occurred")
}

pub(super) fn unavailable(request: &Request) -> Answer {
    let code = if speaks_query(&request.headers) {
        "ServiceUnavailable"
    } else {
        "ServiceUnavailableException"
    };
    answer(request, 503, code, "The service is unavailable")
}

pub(super) fn access_denied(request: &Request, operation: &str) -> Answer {
    let text = format!(
        "User: {} is not authorized to perform: {}:{operation}",
        request.caller.principal, request.service
    );
    Ok(crate::iam::access_denied(request, &text))
}

pub(super) fn expired_token(request: &Request) -> Answer {
    let text = "The security token included in the request is expired";
    if speaks_query(&request.headers) {
        answer(request, 403, "ExpiredToken", text)
    } else {
        answer(request, 400, "ExpiredTokenException", text)
    }
}

/// DynamoDB, "ReplicatedWriteConflictException": an item is being modified by a request in another region.
pub(super) fn written_elsewhere(request: &Request) -> Answer {
    let text =
        "One or more items in this request are being modified by a request in another Region.";
    answer(request, 400, "ReplicatedWriteConflictException", text)
}
