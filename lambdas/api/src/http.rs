//! Requests and answers of a Lambda proxy integration (API Gateway Developer Guide, "Lambda proxy integrations").

use std::collections::BTreeMap;

use aurora_restore_core::StepError;
use aurora_restore_core::errors::{AR0001, AR0027, AR0034, AR0055, AR0064};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// Seconds to wait before a request that met a passing trouble is sent again.
const RETRY_AFTER_SECONDS: &str = "5";

/// What API Gateway hands over; null stands for what is absent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    pub(crate) http_method: String,
    /// The route, such as `/restores/{id}`.
    pub(crate) resource: String,
    #[serde(default)]
    pub(crate) path: String,
    #[serde(default, deserialize_with = "or_nothing")]
    path_parameters: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_nothing")]
    query_string_parameters: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    request_context: RequestContext,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestContext {
    #[serde(deserialize_with = "or_nothing")]
    identity: Identity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    user_arn: Option<String>,
}

fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Asked {
    /// The ARN of who asks.
    pub(crate) fn caller(&self) -> &str {
        let arn = self.request_context.identity.user_arn.as_deref();
        arn.unwrap_or_default()
    }

    pub(crate) fn path_parameter(&self, name: &str) -> &str {
        self.path_parameters
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query_string_parameters.get(name).map(String::as_str)
    }
}

/// What API Gateway sends on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) status_code: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
}

impl Answer {
    pub(crate) fn json(status_code: u16, body: &Value) -> Self {
        let headers = [
            ("content-type", "application/json".to_owned()),
            // It changes by the second, and is nobody else's business.
            ("cache-control", "no-store".to_owned()),
        ];
        Self {
            status_code,
            headers: headers.into(),
            body: body.to_string(),
        }
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    pub(crate) fn error(status_code: u16, code: &str, message: &str) -> Self {
        Self::json(
            status_code,
            &json!({ "error": { "code": code, "message": message } }),
        )
    }

    /// An error with its documented code.
    pub(crate) fn refused(error: &StepError) -> Self {
        let status = status_of(error);
        let code = error.code().id;
        match status {
            500.. => tracing::error!(code, "{error}"),
            _ => tracing::info!(code, "{error}"),
        }
        let answer = Self::error(status, code, &error.report());
        if status == 503 {
            return answer.with_header("retry-after", RETRY_AFTER_SECONDS);
        }
        answer
    }
}

/// What a caller can correct is theirs; what else goes wrong between us and AWS is not.
fn status_of(error: &StepError) -> u16 {
    match error.code() {
        code if code == &AR0001 => 400,
        code if [&AR0034, &AR0055, &AR0064].contains(&code) => 409,
        code if code == &AR0027 => 500,
        code if code.kind.is_passing() => 503,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use aurora_restore_core::errors::{AR0004, AR0031};

    use super::*;

    #[test]
    fn what_a_caller_can_correct_is_told_from_what_passes_and_from_what_is_ours() {
        for (code, status) in [
            (&AR0001, 400),
            (&AR0034, 409),
            (&AR0055, 409),
            (&AR0064, 409),
            (&AR0031, 503),
            (&AR0004, 500),
            (&AR0027, 500),
        ] {
            let answer = Answer::refused(&StepError::new(code, "x"));
            assert_eq!(answer.status_code, status, "{}", code.id);
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["error"]["code"], code.id);
            assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
        }
    }

    #[test]
    fn who_asks_is_whom_api_gateway_authenticated() {
        let arn = "arn:aws:sts::123456789012:assumed-role/operators/someone";
        let event = json!({
            "httpMethod": "GET", "resource": "/health", "path": "/health",
            "headers": {"x-caller": "another"}, "requestContext": {"identity": {"userArn": arn}},
        });
        let asked: Asked = serde_json::from_value(event).unwrap();
        assert_eq!(asked.caller(), arn);
    }

    #[test]
    fn what_api_gateway_leaves_out_or_null_is_absent() {
        let event = json!({
            "httpMethod": "GET", "resource": "/health", "path": "/health", "pathParameters": null,
            "queryStringParameters": null, "body": null, "requestContext": {"identity": {"userArn": null}},
        });
        let asked: Asked = serde_json::from_value(event).unwrap();
        assert_eq!((asked.caller(), asked.query("status")), ("", None));
    }
}
