//! The HTTP API, called as any client would: signed, through API Gateway, on the world's own clock.

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::Method;
use pipeline_tests::{Scene, TARGET};
use serde_json::{Value, json};

const HOST: &str = "localhost";

/// An API of a deployed pipeline.
pub(crate) struct Api<'a> {
    scene: &'a Scene,
    path: String,
}

impl<'a> Api<'a> {
    pub(crate) fn of(scene: &'a Scene) -> Self {
        let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
        let root = scene.caller(&stack.region);
        let made = cloud
            .cloudformation()
            .stack(&root, &format!("{}-api", stack.name))
            .unwrap();
        let id = &made.outputs()["RestApiId"];
        Self {
            scene,
            path: format!("/restapis/{id}/live/_user_request_"),
        }
    }

    /// Calls it, and says when the status is another one.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        status: u16,
    ) -> Result<Value, String> {
        let cloud = &self.scene.local.cloud;
        let uri: http::Uri = format!("{}{path}", self.path).parse().unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [("host", HOST), ("content-type", "application/json")];
        let mut request = http::Request::builder().method(&method).uri(&uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut request = request.body(bytes::Bytes::from(body.clone())).unwrap();
        let key = cloud.root_key(&self.scene.local.stack.account);
        let identity = aws_credential_types::Credentials::new(
            &key.access_key_id,
            &key.secret_access_key,
            Some(key.session_token).filter(|token| !token.is_empty()),
            None,
            "trial",
        )
        .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.scene.local.stack.region)
            .name("execute-api")
            .time(cloud.world().now().into())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let signable = SignableRequest::new(
            method.as_str(),
            format!("http://{HOST}{uri}"),
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )
        .unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let (parts, body) = request.into_parts();
        let answer = cloud
            .world()
            .receive(parts.method, uri, parts.headers, body)
            .await
            .map_err(|_| format!("{method} {path}: no answer"))?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if answer.status().as_u16() == status {
            return Ok(said);
        }
        Err(format!(
            "{method} {path}: {} instead of {status}: {said}",
            answer.status().as_u16()
        ))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, String> {
        self.call(Method::GET, path, &Value::Null, 200).await
    }
}

/// Every route: health, a start, the same once more, the name for something else, lists, and one restore.
pub(crate) async fn every_route(scene: &Scene) -> Result<(), String> {
    let api = Api::of(scene);
    api.get("/health").await?;
    // Plan refuses it, and an end is on record.
    let start = |source: &str| {
        let source = json!({"clusterIdentifier": source});
        json!({"name": "today", "request": {"source": source}})
    };
    let (post, path) = (|| Method::POST, "/restores");
    api.call(post(), path, &start("9"), 201).await?;
    scene.sleep(std::time::Duration::from_secs(600)).await;
    api.call(post(), path, &start("9"), 200).await?;
    api.call(post(), path, &start("8"), 409).await?;
    let shown = api.get("/restores/today").await?;
    if shown["report"]["outcome"] != "FailedClean" {
        return Err(format!("/restores/today: {shown}"));
    }
    let listed = api.get("/restores?outcome=FailedClean").await?;
    if listed["restores"][0]["restoreId"] != "today" {
        return Err(format!("/restores?outcome=FailedClean: {listed}"));
    }
    api.get(&format!("/restores?target={TARGET}"))
        .await
        .map(drop)
}
