//! HTTP APIs over a real socket: who gets past the gateway, and what the function is told.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use local_cloud::lambda::{FunctionError, FunctionKind, FunctionSettings};
use local_cloud::server::Server;
use local_cloud::{AccessKey, Caller, LocalCloud};
use serde_json::{Value, json};

use crate::client::{ACCOUNT, REGION, cloud};

type HttpRequest = http::Request<Full<bytes::Bytes>>;

/// An API in front of a function, served.
struct Scene {
    cloud: LocalCloud,
    server: Server,
    id: String,
    seen: Arc<Mutex<Vec<Value>>>,
    key: AccessKey,
}

fn place() -> Caller {
    Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    }
}

fn document(function: &str) -> Value {
    let uri = format!(
        "arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations"
    );
    let operation = |over: Value| {
        let mut operation = json!({
            "x-amazon-apigateway-auth": { "type": "AWS_IAM" },
            "x-amazon-apigateway-integration": { "type": "aws_proxy", "httpMethod": "POST", "uri": uri },
        });
        for (name, value) in over.as_object().unwrap() {
            operation[name] = value.clone();
        }
        operation
    };
    let model = json!({ "$ref": "#/components/schemas/Start" });
    json!({
        "openapi": "3.0.1",
        "x-amazon-apigateway-request-validators": {
            "all": { "validateRequestBody": true, "validateRequestParameters": true } },
        "x-amazon-apigateway-request-validator": "all",
        "paths": {
            "/restores": {
                "post": operation(json!({ "requestBody": {
                    "required": true, "content": { "application/json": { "schema": model } } } })),
                "get": operation(json!({ "parameters": [
                    { "name": "outcome", "in": "query", "required": true, "schema": { "type": "string" } }] })),
            },
            "/restores/{id}": { "get": operation(json!({})) },
        },
        "components": { "schemas": {
            "Start": { "type": "object", "required": ["name"], "properties": { "name": { "$ref": "#/components/schemas/Name" } } },
            "Name": { "type": "string", "pattern": "^[a-z]+$" },
        } },
    })
}

impl Scene {
    async fn new() -> Self {
        let cloud = cloud();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seen_by_function = Arc::clone(&seen);
        let kind = FunctionKind::in_process(move |invocation| {
            let answer = match invocation.payload["pathParameters"]["id"].as_str() {
                Some("broken") => Err(FunctionError::new("Defect", "a secret of the function's")),
                Some("odd") => Ok(json!("no answer")),
                _ => Ok(
                    json!({ "statusCode": 201, "headers": { "x-made-by": "me" }, "body": "{\"a\":1}" }),
                ),
            };
            seen_by_function.lock().unwrap().push(invocation.payload);
            async { answer }
        });
        let function = cloud
            .add_function(FunctionSettings::new("api"), kind)
            .unwrap();
        let gateway = cloud.api_gateway();
        let id = gateway
            .put_rest_api(&place(), "api", &document(&function))
            .unwrap();
        gateway.put_stage(&id, "live").unwrap();
        Self {
            server: cloud.serve().await.unwrap(),
            key: cloud.root_key(ACCOUNT),
            cloud,
            id,
            seen,
        }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> HttpRequest {
        let uri = format!(
            "{}/restapis/{}/live/_user_request_{path}",
            self.server.endpoint(),
            self.id
        );
        let host = format!("127.0.0.1:{}", self.server.port());
        http::Request::builder()
            .method(method)
            .uri(uri)
            .header("host", host)
            .header("content-type", "application/json")
            .body(Full::new(body.to_owned().into()))
            .unwrap()
    }

    /// A request signed with this key, as any client of AWS signs it.
    fn signed(&self, key: &AccessKey, method: &str, path: &str, body: &str) -> HttpRequest {
        let mut request = self.request(method, path, body);
        let identity = aws_credential_types::Credentials::new(
            &key.access_key_id,
            &key.secret_access_key,
            Some(key.session_token.clone()).filter(|token| !token.is_empty()),
            None,
            "test",
        )
        .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("execute-api")
            .time(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().clone();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let body = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new(method, uri, headers, body).unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    async fn send(&self, request: HttpRequest) -> (http::response::Parts, Value) {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.server.port()))
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Refused before the function was called.
    async fn assert_refused(&self, request: HttpRequest, status: u16, message: &str) {
        let called = self.seen.lock().unwrap().len();
        let (parts, body) = self.send(request).await;
        let said = body["message"].as_str().or(body["Message"].as_str());
        assert!(
            said.is_some_and(|said| said.starts_with(message)),
            "{message}: {body}"
        );
        assert_eq!(parts.status.as_u16(), status);
        assert_eq!(self.seen.lock().unwrap().len(), called);
    }
}

#[tokio::test]
async fn a_signed_request_reaches_the_function_and_its_answer_comes_back() {
    let scene = Scene::new().await;
    let path = "/restores/orders%20x?outcome=Restored&outcome=Running";
    let request = scene.signed(&scene.key, "GET", path, "");
    let (parts, body) = scene.send(request).await;
    assert_eq!((parts.status.as_u16(), &body), (201, &json!({ "a": 1 })));
    assert_eq!(parts.headers["x-made-by"], "me");
    let seen = scene.seen.lock().unwrap();
    let event = &seen[0];
    assert_eq!(event["resource"], "/restores/{id}");
    assert_eq!(event["pathParameters"], json!({ "id": "orders x" }));
    assert_eq!(
        event["queryStringParameters"],
        json!({ "outcome": "Running" })
    );
    assert_eq!(event["body"], Value::Null);
    let identity = &event["requestContext"]["identity"];
    assert_eq!(identity["userArn"], format!("arn:aws:iam::{ACCOUNT}:root"));
    assert_eq!(event["requestContext"]["stage"], "live");
}

#[tokio::test]
async fn whoever_does_not_prove_who_they_are_does_not_get_in() {
    let scene = Scene::new().await;
    let body = r#"{"name":"a"}"#;
    let missing = "Missing Authentication Token";
    let unsigned = scene.request("POST", "/restores", body);
    scene.assert_refused(unsigned, 403, missing).await;

    let nobodys = AccessKey {
        access_key_id: "AKIAUNKNOWN".to_owned(),
        ..scene.key.clone()
    };
    let unknown = "The security token included in the request is invalid.";
    let request = scene.signed(&nobodys, "POST", "/restores", body);
    scene.assert_refused(request, 403, unknown).await;

    let guessed = AccessKey {
        secret_access_key: "guessed".to_owned(),
        ..scene.key.clone()
    };
    let wrong = "The request signature we calculated does not match";
    let request = scene.signed(&guessed, "POST", "/restores", body);
    scene.assert_refused(request, 403, wrong).await;

    let signed = scene.signed(&scene.key, "POST", "/restores", body);
    let (parts, _) = signed.into_parts();
    let tampered = http::Request::from_parts(parts, Full::new(r#"{"name":"b"}"#.into()));
    scene.assert_refused(tampered, 403, wrong).await;

    let stranger = scene.cloud.root_key("210987654321");
    let request = scene.signed(&stranger, "POST", "/restores", body);
    let denied =
        "User: arn:aws:iam::210987654321:root is not authorized to perform: execute-api:Invoke";
    scene.assert_refused(request, 403, denied).await;
}

#[tokio::test]
async fn the_root_key_of_an_account_is_its_digits_and_a_known_secret() {
    let scene = Scene::new().await;
    let root = AccessKey {
        access_key_id: ACCOUNT.to_owned(),
        secret_access_key: local_cloud::credentials::ROOT_SECRET.to_owned(),
        session_token: String::new(),
        expiration: None,
    };
    let request = scene.signed(&root, "GET", "/restores/x", "");
    assert_eq!(scene.send(request).await.0.status, 201);
}

#[tokio::test]
async fn a_key_that_has_ended_does_not_get_in() {
    let scene = Scene::new().await;
    let world = scene.cloud.world();
    let role = format!("arn:aws:sts::{ACCOUNT}:assumed-role/caller/me");
    let ended = world.issue_key(ACCOUNT, &role, Some(world.now()));
    let request = scene.signed(&ended, "GET", "/restores/x", "");
    let expired = "The security token included in the request is expired";
    scene.assert_refused(request, 403, expired).await;
}

#[tokio::test]
async fn what_is_not_there_looks_as_if_it_was_not_signed() {
    let scene = Scene::new().await;
    for (method, path) in [
        ("GET", "/else"),
        ("GET", "/restores/a/b"),
        ("DELETE", "/restores/a"),
    ] {
        let request = scene.signed(&scene.key, method, path, "");
        scene
            .assert_refused(request, 403, "Missing Authentication Token")
            .await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_the_model_says_is_refused() {
    let scene = Scene::new().await;
    for body in ["", "{", "[]", "{}", r#"{"name":"A1"}"#, r#"{"name":7}"#] {
        let request = scene.signed(&scene.key, "POST", "/restores", body);
        scene
            .assert_refused(request, 400, "Invalid request body")
            .await;
    }
    let good = scene.signed(&scene.key, "POST", "/restores", r#"{"name":"a"}"#);
    assert_eq!(scene.send(good).await.0.status, 201);
    assert_eq!(scene.seen.lock().unwrap()[0]["body"], r#"{"name":"a"}"#);
}

#[tokio::test]
async fn a_parameter_that_must_be_there_is_named() {
    let scene = Scene::new().await;
    let request = scene.signed(&scene.key, "GET", "/restores?target=x", "");
    let missing = "Missing required request parameters: [outcome]";
    scene.assert_refused(request, 400, missing).await;
}

#[tokio::test]
async fn what_goes_wrong_in_the_function_is_not_told() {
    let scene = Scene::new().await;
    for id in ["broken", "odd"] {
        let request = scene.signed(&scene.key, "GET", &format!("/restores/{id}"), "");
        let (parts, body) = scene.send(request).await;
        assert_eq!(
            (parts.status.as_u16(), body),
            (502, json!({ "message": "Internal server error" }))
        );
    }
}

#[tokio::test]
async fn a_stage_stays_as_it_was_deployed() {
    let scene = Scene::new().await;
    let gateway = scene.cloud.api_gateway();
    let mut changed = document(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:api"));
    changed["paths"]
        .as_object_mut()
        .unwrap()
        .remove("/restores/{id}");
    let id = gateway.put_rest_api(&place(), "api", &changed).unwrap();
    assert_eq!(id, scene.id);
    let request = || scene.signed(&scene.key, "GET", "/restores/x", "");
    assert_eq!(scene.send(request()).await.0.status, 201);
    gateway.put_stage(&id, "live").unwrap();
    assert_eq!(scene.send(request()).await.0.status, 403);
    gateway.delete_rest_api(&id).unwrap();
    assert!(gateway.put_stage(&id, "live").is_err());
}

#[tokio::test]
async fn a_role_reaches_what_its_policy_lets_it_and_nothing_else() {
    let scene = Scene::new().await;
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") }, "Action": "sts:AssumeRole" }] });
    let reading = format!(
        "arn:aws:execute-api:{REGION}:{ACCOUNT}:{}/live/GET/*",
        scene.id
    );
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Action": "execute-api:Invoke", "Resource": reading }] });
    let put = |name: &str, policies| scene.cloud.iam().put_role(ACCOUNT, name, &trust, &policies);
    put("reader", [("p".to_owned(), policy)].into()).unwrap();
    put("nobody", [].into()).unwrap();
    let key = |role: &str| {
        let session = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/me");
        scene.cloud.world().issue_key(ACCOUNT, &session, None)
    };
    let look = |role: &str| scene.signed(&key(role), "GET", "/restores/x", "");
    assert_eq!(scene.send(look("reader")).await.0.status, 201);
    let denied = |role: &str, method: &str, path: &str| {
        format!(
            "User: arn:aws:sts::{ACCOUNT}:assumed-role/{role}/me is not authorized to perform: execute-api:Invoke on \
             resource: arn:aws:execute-api:{REGION}:********9012:{}/live/{method}{path}",
            scene.id
        )
    };
    let starting = scene.signed(&key("reader"), "POST", "/restores", r#"{"name":"a"}"#);
    let message = denied("reader", "POST", "/restores");
    scene.assert_refused(starting, 403, &message).await;
    let message = denied("nobody", "GET", "/restores/x");
    scene.assert_refused(look("nobody"), 403, &message).await;
}
