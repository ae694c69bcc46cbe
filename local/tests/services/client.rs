//! A client without an SDK: writes requests as SDKs do and reads the answers.

use std::sync::Arc;

use http::{HeaderMap, Method};
use local_cloud::{LocalCloud, World};
use serde_json::Value;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "eu-west-1";

/// A cloud whose identifiers are the same in every run.
pub(crate) fn cloud() -> LocalCloud {
    LocalCloud::builder()
        .seed(7)
        .starting_at(time::macros::datetime!(2026-11-21 03:00 UTC))
        .start()
}

/// Asks as one access key, in one region.
#[derive(Clone)]
pub(crate) struct Client {
    world: Arc<World>,
    access_key_id: String,
    region: String,
}

/// A refusal: the HTTP status, the wire code and the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// An answer with its headers.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    pub(crate) fn new(cloud: &LocalCloud) -> Self {
        Self {
            world: Arc::clone(cloud.world()),
            access_key_id: "test".to_owned(),
            region: REGION.to_owned(),
        }
    }

    pub(crate) fn with_key(mut self, access_key_id: &str) -> Self {
        access_key_id.clone_into(&mut self.access_key_id);
        self
    }

    pub(crate) fn in_region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.region);
        self
    }

    /// Sends any request, signed for `service`.
    pub(crate) async fn send(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answered {
        let mut all = HeaderMap::new();
        let scope = format!(
            "{}/20261121/{}/{service}/aws4_request",
            self.access_key_id, self.region
        );
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=00"
        );
        all.insert("authorization", authorization.parse().unwrap());
        for (name, value) in headers {
            all.insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let response = self
            .world
            .receive(method, path.parse().unwrap(), all, body.into())
            .await
            .expect("an answer");
        let (parts, body) = response.into_parts();
        Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.to_vec(),
        }
    }

    /// Calls a JSON-protocol service.
    pub(crate) async fn json(
        &self,
        service: &str,
        target: &str,
        body: Value,
    ) -> Result<Value, Refused> {
        let headers = [
            ("x-amz-target", target),
            ("content-type", "application/x-amz-json-1.1"),
        ];
        let answered = self
            .send(
                service,
                Method::POST,
                "/",
                &headers,
                body.to_string().into(),
            )
            .await;
        let answer = answered.json();
        if answered.status < 300 {
            return Ok(answer);
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let code = text("__type").unwrap_or_default();
        Err(Refused {
            status: answered.status,
            code: code.rsplit('#').next().unwrap_or_default().to_owned(),
            message: text("message")
                .or(text("Message"))
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Calls a Query-protocol service.
    pub(crate) async fn query(&self, service: &str, form: &str) -> Answered {
        let headers = [(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )];
        self.send(
            service,
            Method::POST,
            "/",
            &headers,
            form.as_bytes().to_vec(),
        )
        .await
    }

    pub(crate) async fn states(&self, operation: &str, body: Value) -> Result<Value, Refused> {
        self.json("states", &format!("AWSStepFunctions.{operation}"), body)
            .await
    }

    pub(crate) async fn dynamodb(&self, operation: &str, body: Value) -> Result<Value, Refused> {
        self.json("dynamodb", &format!("DynamoDB_20120810.{operation}"), body)
            .await
    }
}

/// The text between the first `<name>` and its end.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    after
        .split_once(&format!("</{name}>"))
        .map(|(text, _)| text)
}
