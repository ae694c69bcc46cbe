//! Lambda: functions that are processes of their own, over the Runtime API.
//!
//! Real processes take real time, so these tests do not pause it.

use std::time::{Duration, Instant};

use local_cloud::lambda::{FunctionKind, FunctionSettings, Invoked};
use local_cloud::{Caller, LocalCloud};
use serde_json::{Value, json};

use crate::client::{ACCOUNT, REGION, cloud};

fn add(cloud: &LocalCloud, settings: FunctionSettings) {
    let bootstrap = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/bootstrap");
    cloud
        .add_function(settings, FunctionKind::process(bootstrap))
        .unwrap();
}

async fn invoke(cloud: &LocalCloud, function: &str, payload: &str) -> Invoked {
    let caller = Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    };
    cloud
        .lambda()
        .invoke(&caller, function, json!(payload))
        .await
        .unwrap()
}

fn error_type(invoked: &Invoked) -> Value {
    invoked.result.as_ref().unwrap_err()["errorType"].clone()
}

#[tokio::test]
async fn a_process_is_started_with_its_environment_and_kept_warm() {
    let cloud = cloud();
    let server = cloud.serve().await.unwrap();
    add(
        &cloud,
        FunctionSettings::new("plan")
            .timeout(Duration::from_secs(20))
            .variable("MINE", "yes"),
    );
    let first = invoke(&cloud, "plan", "hello").await.result.unwrap();
    assert_eq!(
        (&first["served"], &first["name"], &first["mine"]),
        (&json!(1), &json!("plan"), &json!("yes"))
    );
    assert_eq!(first["endpoint"], server.endpoint());
    assert_eq!(
        first["arn"],
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:plan")
    );
    assert_eq!(
        first["home"], "",
        "nothing of this process's environment is passed on"
    );
    assert!(first["key"].as_str().unwrap().starts_with("ASIA"));
    let second = invoke(&cloud, "plan", "hello").await.result.unwrap();
    assert_eq!(second["served"], 2);
    let (left, right) = tokio::join!(
        invoke(&cloud, "plan", "hello"),
        invoke(&cloud, "plan", "hello")
    );
    let served = [
        left.result.unwrap()["served"].clone(),
        right.result.unwrap()["served"].clone(),
    ];
    assert!(
        served.contains(&json!(3)) && served.contains(&json!(1)),
        "one warm, one new: {served:?}"
    );
    cloud.shutdown();
}

#[tokio::test]
async fn a_functions_own_error_leaves_its_process_warm() {
    let cloud = cloud();
    add(
        &cloud,
        FunctionSettings::new("plan").timeout(Duration::from_secs(20)),
    );
    let failed = invoke(&cloud, "plan", "fail").await;
    assert_eq!(
        failed.result,
        Err(json!({ "errorType": "Transient", "errorMessage": "not yet" }))
    );
    assert_eq!(
        invoke(&cloud, "plan", "hello").await.result.unwrap()["served"],
        2
    );
}

#[tokio::test]
async fn a_process_that_ends_is_an_error_and_is_started_again() {
    let cloud = cloud();
    add(
        &cloud,
        FunctionSettings::new("plan").timeout(Duration::from_secs(20)),
    );
    let ended = invoke(&cloud, "plan", "exit").await;
    assert_eq!(error_type(&ended), "Runtime.ExitError");
    let message = ended.result.as_ref().unwrap_err()["errorMessage"]
        .as_str()
        .unwrap();
    assert!(
        message.ends_with("Error: Runtime exited with error: exit status 3"),
        "{message}"
    );
    assert_eq!(
        invoke(&cloud, "plan", "hello").await.result.unwrap()["served"],
        1
    );
    assert!(
        cloud
            .lambda()
            .logs("plan")
            .iter()
            .any(|line| line.text == "going away")
    );
}

#[tokio::test]
async fn a_process_that_takes_too_long_is_killed() {
    let cloud = cloud();
    add(
        &cloud,
        FunctionSettings::new("plan").timeout(Duration::from_secs(1)),
    );
    let started = Instant::now();
    let hung = invoke(&cloud, "plan", "hang").await;
    assert_eq!(error_type(&hung), "Sandbox.Timedout");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(
        invoke(&cloud, "plan", "hello").await.result.unwrap()["served"],
        1
    );
}

#[tokio::test]
async fn a_process_that_cannot_start_says_why() {
    let cloud = cloud();
    let settings = FunctionSettings::new("plan")
        .timeout(Duration::from_secs(20))
        .variable("BREAK_AT_START", "yes");
    add(&cloud, settings);
    let broken = invoke(&cloud, "plan", "hello").await;
    assert_eq!(
        broken.result,
        Err(json!({ "errorType": "Defect", "errorMessage": "no settings" }))
    );
    cloud
        .add_function(
            FunctionSettings::new("nothing"),
            FunctionKind::process("/nowhere/bootstrap"),
        )
        .unwrap();
    assert_eq!(
        error_type(&invoke(&cloud, "nothing", "hello").await),
        "Runtime.InvalidEntrypoint"
    );
}

#[tokio::test]
async fn what_a_process_prints_is_its_log_and_its_metrics() {
    let cloud = cloud();
    add(
        &cloud,
        FunctionSettings::new("plan").timeout(Duration::from_secs(20)),
    );
    invoke(&cloud, "plan", "print").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    // The line travels through a pipe and may come in after the answer.
    while cloud.lambda().logs("plan").is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        cloud.cloudwatch().data_points("AuroraRestore", "Bytes")[0]
            .1
            .sum,
        7.0
    );
}
