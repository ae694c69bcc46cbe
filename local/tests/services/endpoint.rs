//! The loopback endpoint and what stands between it and the services.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use local_cloud::layer::{Answer, Layer, Severed};
use local_cloud::server::HEALTH_PATH;
use local_cloud::{ApiError, Request};
use serde_json::json;

use crate::client::{Client, cloud};

/// One request over a real socket.
async fn over_the_wire(
    port: u16,
    request: http::Request<Full<bytes::Bytes>>,
) -> Option<(u16, String)> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

fn list_tables(signed: bool) -> http::Request<Full<bytes::Bytes>> {
    let mut request = http::Request::post("/")
        .header("host", "127.0.0.1")
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .header("content-type", "application/x-amz-json-1.0");
    if signed {
        let scope = "test/20261121/eu-west-1/dynamodb/aws4_request";
        request = request.header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, Signature=00"),
        );
    }
    request.body(Full::new("{}".into())).unwrap()
}

#[tokio::test]
async fn one_address_serves_every_service_until_it_is_shut_down() {
    let cloud = cloud();
    let server = cloud.serve().await.unwrap();
    let port = server.port();
    let health = http::Request::get(HEALTH_PATH)
        .header("host", "127.0.0.1")
        .body(Full::default())
        .unwrap();
    assert_eq!(over_the_wire(port, health).await.unwrap().0, 200);
    assert_eq!(
        over_the_wire(port, list_tables(true)).await,
        Some((200, r#"{"TableNames":[]}"#.to_owned()))
    );
    let (status, body) = over_the_wire(port, list_tables(false)).await.unwrap();
    assert_eq!(status, 403);
    assert!(body.contains("MissingAuthenticationToken"), "{body}");
    server.shutdown().await;
    assert_eq!(over_the_wire(port, list_tables(true)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_missing_is_named() {
    let refused = Client::new(&cloud())
        .json("glacier", "Glacier.ListVaults", json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (501, "NotImplemented")
    );
    assert!(refused.message.contains("glacier"));
}

/// Loses the answer to one operation, after it took effect or before.
struct Loses {
    operation: &'static str,
    after_effect: bool,
}

#[async_trait]
impl Layer for Loses {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        if !self.after_effect && request.json_operation() == Some(self.operation) {
            return ControlFlow::Break(Ok(ApiError::new(
                400,
                "ThrottlingException",
                "Rate exceeded",
            )
            .to_json_response()));
        }
        ControlFlow::Continue(())
    }

    async fn after(&self, request: &Request, answer: Answer) -> Answer {
        let lost = self.after_effect && request.json_operation() == Some(self.operation);
        if lost { Err(Severed::Reset) } else { answer }
    }
}

#[tokio::test]
async fn a_fault_before_the_effect_is_an_answer_and_nothing_happens() {
    let cloud = cloud();
    cloud.world().add_layer(Arc::new(Loses {
        operation: "ListTables",
        after_effect: false,
    }));
    let refused = Client::new(&cloud)
        .dynamodb("ListTables", json!({}))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "ThrottlingException");
}

#[tokio::test]
async fn a_fault_after_the_effect_closes_the_connection() {
    let cloud = cloud();
    cloud.world().add_layer(Arc::new(Loses {
        operation: "ListTables",
        after_effect: true,
    }));
    let server = cloud.serve().await.unwrap();
    assert_eq!(over_the_wire(server.port(), list_tables(true)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_understood_is_refused_in_its_own_protocol() {
    let cloud = cloud();
    let world = cloud.world();
    let mut headers = http::HeaderMap::new();
    headers.insert(
        "content-type",
        "application/x-www-form-urlencoded".parse().unwrap(),
    );
    let response = world
        .receive(
            Method::POST,
            "/".parse().unwrap(),
            headers,
            "Action=X".into(),
        )
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    assert!(response.body().starts_with(b"<ErrorResponse>"));
}

#[tokio::test(start_paused = true)]
async fn a_world_nobody_holds_any_more_ends_with_all_that_goes_on_in_it() {
    let cloud = cloud();
    let client = cloud.http_client();
    let held = Arc::new(());
    let watched = Arc::downgrade(&held);
    let kind = local_cloud::lambda::FunctionKind::in_process(move |_| {
        let (_client, held) = (client.clone(), Arc::clone(&held));
        async move {
            let _held = held;
            std::future::pending().await
        }
    });
    let settings = local_cloud::lambda::FunctionSettings::new("endless");
    let arn = cloud
        .add_function(settings.timeout(std::time::Duration::from_secs(900)), kind)
        .unwrap();
    let definition = json!({ "StartAt": "A", "States": { "A": { "Type": "Task", "Resource": arn, "End": true } } });
    let machine = cloud
        .put_state_machine("endless", &definition.to_string())
        .unwrap();
    let execution = cloud
        .step_functions()
        .start(&machine, "r-1", &json!({}))
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(execution.outcome().is_none());
    drop(cloud);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(watched.upgrade().is_none());
}
