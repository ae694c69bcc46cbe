//! How services say that IAM does not let somebody: the codes on the wire, and the text.
//!
//! Codes and statuses are those of the services' API references ("Common Errors"), the
//! text is that of "Troubleshoot access denied error messages".

use super::evaluate::{Decision, Question};
use crate::request::{ApiError, Request, Response, speaks_query};
use crate::wire;

/// What the client reads; nothing when it is allowed.
pub(super) fn text(principal: &str, question: &Question, decision: Decision) -> Option<String> {
    let Question {
        action, resource, ..
    } = question;
    let why = match decision {
        Decision::Allowed => return None,
        Decision::ExplicitlyDenied => {
            "with an explicit deny in an identity-based policy".to_owned()
        }
        Decision::NotAllowed => {
            format!("because no identity-based policy allows the {action} action")
        }
    };
    Some(format!(
        "User: {principal} is not authorized to perform: {action} on resource: {resource} {why}"
    ))
}

/// A refusal by IAM, as the service of this request answers it.
pub(crate) fn access_denied(request: &Request, text: &str) -> Response {
    let (status, code) = match request.service.as_str() {
        "rds" | "sts" | "iam" | "route53" => (403, "AccessDenied"),
        "sns" => (403, "AuthorizationError"),
        "monitoring" if speaks_query(&request.headers) => (403, "AccessDenied"),
        "lambda" | "scheduler" => (403, "AccessDeniedException"),
        _ => (400, "AccessDeniedException"),
    };
    written(request, &ApiError::new(status, code, text))
}

/// A call of which nobody has said what it asks: a defect of the local cloud, and no call to be let through.
pub(super) fn no_entry(request: &Request, operation: &str) -> Response {
    let operation = if operation.is_empty() {
        format!("{} {}", request.method, request.uri.path())
    } else {
        operation.to_owned()
    };
    tracing::error!(
        service = request.service,
        operation,
        "no entry in the table of permissions"
    );
    let text = format!(
        "the local cloud does not know which permissions {}:{operation} needs, or cannot read the request: add it to \
         local/src/iam/services",
        request.service
    );
    written(request, &ApiError::new(501, "NotImplemented", text))
}

/// An error in the protocol of the request.
pub(super) fn written(request: &Request, error: &ApiError) -> Response {
    if speaks_query(&request.headers) || request.service == "route53" {
        error.to_xml_response()
    } else if request.headers.contains_key("smithy-protocol") {
        wire::refuse(request, error)
    } else {
        error.to_json_response()
    }
}
