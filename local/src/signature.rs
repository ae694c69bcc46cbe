//! Whether a request was signed with the secret of the key it names: Signature Version 4.
//!
//! The signature is computed again by the SDK's own signer, over the headers the
//! client says it signed, and compared. How old a signature is does not matter: the
//! world's time is not the client's.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderMap, Method, Uri};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::request::ApiError;

const DATE_HEADER: &str = "x-amz-date";
const TOKEN_HEADER: &str = "x-amz-security-token";
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// A request as it came over the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What a key's holder knows beside its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySecret {
    pub(crate) secret_access_key: String,
    /// `None` for keys of their own, which are no session's.
    pub(crate) session_token: Option<String>,
}

/// What an `Authorization` header says.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads `AWS4-HMAC-SHA256 Credential=.../20261121/eu-west-1/execute-api/aws4_request, SignedHeaders=a;b, Signature=...`.
    fn parse(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let part = |name: &str| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix(name))
        };
        let mut scope = part("Credential=")?.rsplitn(5, '/');
        let (terminator, service, region) = (scope.next()?, scope.next()?, scope.next()?);
        let (date, access_key_id) = (scope.next()?, scope.next()?);
        (terminator == "aws4_request").then_some(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers: part("SignedHeaders=")?.split(';').collect(),
            signature: part("Signature=")?,
        })
    }
}

/// Refuses a request for `service` that was not signed with this secret.
///
/// # Errors
/// As API Gateway: `IncompleteSignatureException`, `InvalidSignatureException`, `UnrecognizedClientException`.
pub(crate) fn verify(wire: Wire<'_>, service: &str, key: &KeySecret) -> Result<(), ApiError> {
    let header = text(wire.headers, http::header::AUTHORIZATION.as_str());
    let says = header
        .and_then(Authorization::parse)
        .ok_or_else(incomplete)?;
    if says.service != service {
        let text = format!("Credential should be scoped to correct service: '{service}'. ");
        return Err(ApiError::new(403, "InvalidSignatureException", text));
    }
    if text(wire.headers, TOKEN_HEADER) != key.session_token.as_deref() {
        return Err(unknown_token());
    }
    let computed = computed(wire, &says, key).ok_or_else(incomplete)?;
    if computed == says.signature {
        return Ok(());
    }
    Err(ApiError::new(
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details.",
    ))
}

/// The signature this request should have; `None` when it does not say what is needed to know.
fn computed(wire: Wire<'_>, says: &Authorization<'_>, key: &KeySecret) -> Option<String> {
    let host = text(wire.headers, "host")?;
    let date = text(wire.headers, DATE_HEADER)?;
    let signs = |name: &str| says.signed_headers.contains(&name);
    if !signs("host") || !signs(DATE_HEADER) || !date.starts_with(says.date) {
        return None;
    }
    let at: OffsetDateTime = PrimitiveDateTime::parse(date, DATE).ok()?.assume_utc();
    let headers: Vec<(&str, &str)> = says
        .signed_headers
        .iter()
        .flat_map(|name| {
            let values = wire.headers.get_all(*name).iter();
            values.filter_map(|value| Some((*name, value.to_str().ok()?)))
        })
        .collect();
    let path = wire.uri.path_and_query().map_or("/", |path| path.as_str());
    let request = SignableRequest::new(
        wire.method.as_str(),
        format!("http://{host}{path}"),
        headers.into_iter(),
        SignableBody::Bytes(wire.body),
    );
    // The session's token is among the headers, where it was signed.
    let identity = Credentials::new(
        says.access_key_id,
        &key.secret_access_key,
        None,
        None,
        "local",
    )
    .into();
    let mut settings = SigningSettings::default();
    settings.excluded_headers = None;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(says.region)
        .name(says.service)
        .time(SystemTime::from(at))
        .settings(settings)
        .build()
        .ok()?;
    let signed = sign(request.ok()?, &parameters.into()).ok()?;
    Some(signed.signature().to_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn incomplete() -> ApiError {
    ApiError::new(
        403,
        "IncompleteSignatureException",
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. \
         Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either \
         a 'X-Amz-Date' or a 'Date' header.",
    )
}

/// A key nobody issued, or a token that is not its own.
pub(crate) fn unknown_token() -> ApiError {
    ApiError::new(
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "execute-api";
    const BODY: &str = r#"{"name":"try 1"}"#;

    /// Headers as botocore 1.44 signed them, for the key 123456789012 with the secret `local`.
    fn signed(names: &str, signature: &str, others: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=123456789012/20261121/eu-west-1/execute-api/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        headers.insert("host", "127.0.0.1:8000".parse().unwrap());
        headers.insert("x-amz-date", "20261121T030000Z".parse().unwrap());
        for (name, value) in others {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    fn post() -> HeaderMap {
        signed(
            "content-type;host;x-amz-date",
            "dca56d6f9f1c1a85b862864c943839d0dc198b5d75b83a629877361863358c5a",
            &[("content-type", "application/json"), ("accept", "*/*")],
        )
    }

    fn checked(
        headers: &HeaderMap,
        path: &str,
        body: &str,
        key: (&str, Option<&str>),
    ) -> Result<(), String> {
        let method = if body.is_empty() {
            Method::GET
        } else {
            Method::POST
        };
        let wire = Wire {
            method: &method,
            uri: &path.parse().unwrap(),
            headers,
            body: body.as_bytes(),
        };
        let key = KeySecret {
            secret_access_key: key.0.to_owned(),
            session_token: key.1.map(str::to_owned),
        };
        verify(wire, SERVICE, &key).map_err(|error| error.code)
    }

    const PATH: &str = "/restapis/a1b2/live/_user_request_/restores";

    #[test]
    fn a_request_that_another_signer_signed_is_right() {
        assert_eq!(checked(&post(), PATH, BODY, ("local", None)), Ok(()));
    }

    #[test]
    fn what_needs_encoding_and_a_sessions_token_are_signed_too() {
        let headers = signed(
            "host;x-amz-date;x-amz-security-token",
            "676e791e20d4f73503752ca0379ff5dcb48559c4a4c2645cc3ad53f2ccd4515c",
            &[("x-amz-security-token", "session")],
        );
        let path = format!("{PATH}/a%20b?target=x%2Fy&outcome=&limit=2");
        let key = ("local", Some("session"));
        assert_eq!(checked(&headers, &path, "", key), Ok(()));
        assert_eq!(
            checked(&headers, &path, "", ("local", Some("another"))),
            Err("UnrecognizedClientException".to_owned())
        );
        assert_eq!(
            checked(&headers, &path.replace("limit=2", "limit=3"), "", key),
            Err("InvalidSignatureException".to_owned())
        );
    }

    #[test]
    fn a_request_that_was_changed_on_its_way_is_refused() {
        let wrong = Err("InvalidSignatureException".to_owned());
        let right = ("local", None);
        assert_eq!(checked(&post(), PATH, r#"{"name":"try 2"}"#, right), wrong);
        assert_eq!(
            checked(&post(), "/restapis/a1b2/live/_user_request_/x", BODY, right),
            wrong
        );
        assert_eq!(checked(&post(), PATH, BODY, ("guessed", None)), wrong);
        for (name, value) in [
            ("host", "127.0.0.1:8001"),
            ("content-type", "text/plain"),
            ("x-amz-date", "20261121T030001Z"),
        ] {
            let mut headers = post();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(checked(&headers, PATH, BODY, right), wrong, "{name}");
        }
    }

    #[test]
    fn a_signature_that_leaves_out_what_it_needs_is_incomplete() {
        let incomplete = Err("IncompleteSignatureException".to_owned());
        for (names, date) in [
            ("content-type;x-amz-date", "20261121T030000Z"),
            ("content-type;host", "20261121T030000Z"),
            ("host;x-amz-date", "20261122T030000Z"),
            ("host;x-amz-date", "yesterday"),
        ] {
            let mut headers = signed(names, "00", &[]);
            headers.insert("x-amz-date", date.parse().unwrap());
            assert_eq!(
                checked(&headers, PATH, BODY, ("local", None)),
                incomplete,
                "{names} {date}"
            );
        }
        let mut headers = post();
        headers.insert("authorization", "Bearer x".parse().unwrap());
        assert_eq!(checked(&headers, PATH, BODY, ("local", None)), incomplete);
    }
}
