//! Lambda: functions in this process, over the Invoke API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use local_cloud::LocalCloud;
use local_cloud::lambda::{FunctionError, FunctionKind, FunctionSettings};
use serde_json::{Value, json};

use crate::client::{Answered, Client, cloud};

async fn invoke(
    client: &Client,
    function: &str,
    headers: &[(&str, &str)],
    payload: Value,
) -> Answered {
    let path = format!("/2015-03-31/functions/{function}/invocations");
    client
        .send(
            "lambda",
            Method::POST,
            &path,
            headers,
            payload.to_string().into(),
        )
        .await
}

fn echo(cloud: &LocalCloud) -> String {
    let kind =
        FunctionKind::in_process(
            |invocation| async move { Ok(json!({ "echo": invocation.payload })) },
        );
    cloud
        .add_function(FunctionSettings::new("echo"), kind)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_the_payload() {
    let cloud = cloud();
    let arn = echo(&cloud);
    let encoded = arn.replace(':', "%3A");
    for function in ["echo", &encoded, "echo:$LATEST"] {
        let answered = invoke(&Client::new(&cloud), function, &[], json!({ "a": 1 })).await;
        assert_eq!(
            (answered.status, answered.json()),
            (200, json!({ "echo": { "a": 1 } })),
            "{function}"
        );
        assert_eq!(answered.header("x-amz-function-error"), None);
        assert_eq!(answered.header("x-amz-executed-version"), Some("$LATEST"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_functions_own_error_is_an_answer_with_a_mark() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|_| async {
        Err(FunctionError::new("Conflict", "`orders` is a stranger's"))
    });
    cloud
        .add_function(FunctionSettings::new("fails"), kind)
        .unwrap();
    let answered = invoke(&Client::new(&cloud), "fails", &[], json!({})).await;
    assert_eq!(
        (answered.status, answered.header("x-amz-function-error")),
        (200, Some("Unhandled"))
    );
    assert_eq!(
        answered.json(),
        json!({ "errorType": "Conflict", "errorMessage": "`orders` is a stranger's" })
    );
}

#[tokio::test(start_paused = true)]
async fn a_function_that_takes_too_long_is_cut_off() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Value::Null)
    });
    cloud
        .add_function(
            FunctionSettings::new("slow").timeout(Duration::from_secs(30)),
            kind,
        )
        .unwrap();
    let started = tokio::time::Instant::now();
    let answered = invoke(&Client::new(&cloud), "slow", &[], json!({})).await;
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    assert_eq!(answered.json()["errorType"], "Sandbox.Timedout");
    let message = answered.json()["errorMessage"].as_str().unwrap().to_owned();
    assert!(
        message.ends_with("Task timed out after 30.00 seconds"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_invocation_and_its_words_stay_in_the_log() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|_| async { panic!("index 7 is out of bounds") });
    cloud
        .add_function(FunctionSettings::new("breaks"), kind)
        .unwrap();
    let answered = invoke(&Client::new(&cloud), "breaks", &[], json!({})).await;
    assert_eq!(answered.json()["errorType"], "Runtime.ExitError");
    assert!(!answered.text().contains("index 7"));
    assert_eq!(
        cloud.lambda().logs("breaks")[0].text,
        "panicked: index 7 is out of bounds"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let cloud = cloud();
    let answered = invoke(&Client::new(&cloud), "nobody", &[], json!({})).await;
    assert_eq!(
        (answered.status, answered.header("x-amzn-errortype")),
        (404, Some("ResourceNotFoundException"))
    );
    echo(&cloud);
    let elsewhere = Client::new(&cloud).in_region("us-east-1");
    assert_eq!(invoke(&elsewhere, "echo", &[], json!({})).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn one_invocation_more_than_reserved_is_throttled() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Value::Null)
    });
    cloud
        .add_function(FunctionSettings::new("narrow").concurrency(1), kind)
        .unwrap();
    let client = Client::new(&cloud);
    let (first, second) = tokio::join!(
        invoke(&client, "narrow", &[], json!({})),
        invoke(&client, "narrow", &[], json!({}))
    );
    assert_eq!((first.status, second.status), (200, 429));
    assert_eq!(
        second.header("x-amzn-errortype"),
        Some("TooManyRequestsException")
    );
    assert_eq!(invoke(&client, "narrow", &[], json!({})).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_is_tried_three_times() {
    let cloud = cloud();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let kind = FunctionKind::in_process(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err(FunctionError::new("Defect", "always")) }
    });
    cloud
        .add_function(FunctionSettings::new("fails"), kind)
        .unwrap();
    let answered = invoke(
        &Client::new(&cloud),
        "fails",
        &[("x-amz-invocation-type", "Event")],
        json!({}),
    )
    .await;
    assert_eq!(answered.status, 202);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_functions_lines_are_kept_and_its_metrics_counted() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|invocation| async move {
        invocation.log.line(r#"{"level":"INFO","restoreId":"r-1"}"#);
        invocation.log.line(
            r#"{"_aws":{"Timestamp":1795230000000,"CloudWatchMetrics":[{"Namespace":"AuroraRestore","Dimensions":[["Step"]],"Metrics":[{"Name":"Duration","Unit":"Seconds"}]}]},"Step":"Plan","Duration":2.5}"#,
        );
        Ok(Value::Null)
    });
    cloud
        .add_function(FunctionSettings::new("plan"), kind)
        .unwrap();
    let answered = invoke(
        &Client::new(&cloud),
        "plan",
        &[("x-amz-log-type", "Tail")],
        json!({}),
    )
    .await;
    assert!(answered.header("x-amz-log-result").is_some());
    assert_eq!(cloud.lambda().logs("plan").len(), 2);
    let points = cloud.cloudwatch().data_points("AuroraRestore", "Duration");
    assert_eq!((points.len(), points[0].1.sum), (1, 2.5));
}

#[tokio::test(start_paused = true)]
async fn each_function_asks_as_its_own_role() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|invocation| async move {
        Ok(json!(invocation.credentials.access_key_id))
    });
    cloud
        .add_function(FunctionSettings::new("who"), kind)
        .unwrap();
    let key = invoke(&Client::new(&cloud), "who", &[], json!({}))
        .await
        .json();
    let mut headers = http::HeaderMap::new();
    let scope = format!(
        "{}/20261121/eu-west-1/sts/aws4_request",
        key.as_str().unwrap()
    );
    headers.insert(
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential={scope}, Signature=00")
            .parse()
            .unwrap(),
    );
    let signature = cloud
        .world()
        .credentials()
        .read(&headers, cloud.world().now())
        .unwrap();
    assert_eq!(
        signature.caller.principal,
        "arn:aws:sts::123456789012:assumed-role/who/who"
    );
}

#[tokio::test(start_paused = true)]
async fn functions_are_described() {
    let cloud = cloud();
    echo(&cloud);
    let client = Client::new(&cloud);
    let listed = client
        .send(
            "lambda",
            Method::GET,
            "/2015-03-31/functions/",
            &[],
            Vec::new(),
        )
        .await
        .json();
    assert_eq!(listed["Functions"][0]["FunctionName"], "echo");
    let one = client
        .send(
            "lambda",
            Method::GET,
            "/2015-03-31/functions/echo",
            &[],
            Vec::new(),
        )
        .await
        .json();
    assert_eq!(one["Configuration"]["Timeout"], 3);
}
