//! EventBridge: rules on events and on time, and what they start.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use local_cloud::LocalCloud;
use local_cloud::lambda::{FunctionKind, FunctionSettings};
use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, Refused, cloud};

async fn events(client: &Client, operation: &str, body: Value) -> Result<Value, Refused> {
    client
        .json("events", &format!("AWSEvents.{operation}"), body)
        .await
}

/// A function that remembers what it was called with.
fn recorder(cloud: &LocalCloud) -> (String, Arc<Mutex<Vec<Value>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_function = Arc::clone(&seen);
    let kind = FunctionKind::in_process(move |invocation| {
        seen_by_function.lock().unwrap().push(invocation.payload);
        async { Ok(Value::Null) }
    });
    (
        cloud
            .add_function(FunctionSettings::new("wake"), kind)
            .unwrap(),
        seen,
    )
}

async fn rule(client: &Client, pattern: Value, target: Value) {
    let request = json!({ "Name": "rule", "EventPattern": pattern.to_string() });
    events(client, "PutRule", request).await.unwrap();
    let put = events(
        client,
        "PutTargets",
        json!({ "Rule": "rule", "Targets": [target] }),
    )
    .await
    .unwrap();
    assert_eq!(put["FailedEntryCount"], 0);
}

async fn put_event(client: &Client, detail: Value) -> Value {
    let entry = json!({ "Source": "aurora.restore", "DetailType": "Restore Finished", "Detail": detail.to_string() });
    events(client, "PutEvents", json!({ "Entries": [entry] }))
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fits_reaches_its_function_and_another_does_not() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let (arn, seen) = recorder(&cloud);
    rule(
        &client,
        json!({ "detail": { "outcome": ["FailedDirty"] } }),
        json!({ "Id": "1", "Arn": arn }),
    )
    .await;
    put_event(&client, json!({ "outcome": "Restored" })).await;
    let put = put_event(&client, json!({ "outcome": "FailedDirty" })).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["id"], put["Entries"][0]["EventId"]);
    assert_eq!(
        (&seen[0]["account"], &seen[0]["region"]),
        (&json!(ACCOUNT), &json!(REGION))
    );
    assert_eq!(seen[0]["time"], "2026-11-21T03:00:00Z");
    assert_eq!(cloud.events().published().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_told_to_people() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    client.query("sns", "Action=CreateTopic&Name=pager").await;
    let pattern = json!({ "source": ["aws.states"], "detail": { "status": ["FAILED", "TIMED_OUT", "ABORTED"] } });
    let target = json!({ "Id": "1", "Arn": format!("arn:aws:sns:{REGION}:{ACCOUNT}:pager"), "InputTransformer": {
        "InputPathsMap": { "name": "$.detail.name", "status": "$.detail.status" },
        "InputTemplate": "\"restore <name> ended as <status>\"" } });
    rule(&client, pattern, target).await;
    let definition = json!({ "StartAt": "End", "States": { "End": { "Type": "Fail", "Error": "FailedClean" } } });
    let machine = cloud
        .put_state_machine("restore", &definition.to_string())
        .unwrap();
    cloud
        .step_functions()
        .start(&machine, "r-1", &json!({}))
        .unwrap()
        .finished()
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let messages = cloud.sns().messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].message, r#""restore r-1 ended as FAILED""#);
    let statuses: Vec<_> = cloud
        .events()
        .published()
        .iter()
        .map(|event| event["detail"]["status"].clone())
        .collect();
    assert_eq!(statuses, ["RUNNING", "FAILED"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_starts_a_state_machine() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let definition = json!({ "StartAt": "End", "States": { "End": { "Type": "Succeed" } } });
    let machine = cloud
        .put_state_machine("restore", &definition.to_string())
        .unwrap();
    rule(
        &client,
        json!({ "source": ["aurora.restore"] }),
        json!({ "Id": "1", "Arn": machine, "Input": "{\"profile\":\"nightly\"}" }),
    )
    .await;
    put_event(&client, json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let executions = cloud.step_functions().executions();
    assert_eq!(executions.len(), 1);
    assert_eq!(
        executions[0].launch().input,
        json!({ "profile": "nightly" })
    );
}

#[tokio::test(start_paused = true)]
async fn a_schedule_fires_until_its_rule_is_disabled() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let (arn, seen) = recorder(&cloud);
    let request = json!({ "Name": "reaper", "ScheduleExpression": "rate(1 hour)" });
    events(&client, "PutRule", request.clone()).await.unwrap();
    events(
        &client,
        "PutTargets",
        json!({ "Rule": "reaper", "Targets": [{ "Id": "1", "Arn": arn }] }),
    )
    .await
    .unwrap();
    events(&client, "PutRule", request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3 * 3_600 + 60)).await;
    assert_eq!(
        seen.lock().unwrap().len(),
        3,
        "putting a rule again does not make it fire twice"
    );
    assert_eq!(seen.lock().unwrap()[0]["detail-type"], "Scheduled Event");
    events(&client, "DisableRule", json!({ "Name": "reaper" }))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn rules_and_targets_are_described_listed_and_removed() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    rule(
        &client,
        json!({ "source": ["x"] }),
        json!({ "Id": "1", "Arn": "arn:aws:sns:eu-west-1:1:t" }),
    )
    .await;
    let described = events(&client, "DescribeRule", json!({ "Name": "rule" }))
        .await
        .unwrap();
    assert_eq!(
        (&described["State"], &described["EventPattern"]),
        (&json!("ENABLED"), &json!(r#"{"source":["x"]}"#))
    );
    let listed = events(&client, "ListRules", json!({ "NamePrefix": "ru" }))
        .await
        .unwrap();
    assert_eq!(listed["Rules"][0]["Name"], "rule");
    let targets = events(&client, "ListTargetsByRule", json!({ "Rule": "rule" }))
        .await
        .unwrap();
    assert_eq!(targets["Targets"][0]["Id"], "1");
    let name = json!({ "Name": "rule" });
    assert_eq!(
        events(&client, "DeleteRule", name.clone())
            .await
            .unwrap_err()
            .code,
        "ValidationException"
    );
    let removed = events(
        &client,
        "RemoveTargets",
        json!({ "Rule": "rule", "Ids": ["1", "2"] }),
    )
    .await
    .unwrap();
    assert_eq!(removed["FailedEntryCount"], 1);
    events(&client, "DeleteRule", name.clone()).await.unwrap();
    assert_eq!(
        events(&client, "DescribeRule", name)
            .await
            .unwrap_err()
            .code,
        "ResourceNotFoundException"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_refused() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let request = json!({ "Name": "rule", "EventPattern": "{\"source\":\"x\"}" });
    assert_eq!(
        events(&client, "PutRule", request).await.unwrap_err().code,
        "InvalidEventPatternException"
    );
    let request = json!({ "Name": "rule", "ScheduleExpression": "hourly" });
    assert_eq!(
        events(&client, "PutRule", request).await.unwrap_err().code,
        "ValidationException"
    );
    assert_eq!(
        events(&client, "PutRule", json!({ "Name": "rule" }))
            .await
            .unwrap_err()
            .code,
        "ValidationException"
    );
    let entries = json!({ "Entries": [
        { "Source": "x", "DetailType": "y", "Detail": "not json" },
        { "Source": "aws.rds", "DetailType": "y", "Detail": "{}" },
        { "DetailType": "y", "Detail": "{}" },
    ] });
    let put = events(&client, "PutEvents", entries).await.unwrap();
    let codes: Vec<_> = put["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["ErrorCode"].clone())
        .collect();
    assert_eq!(
        codes,
        [
            "MalformedDetail",
            "NotAuthorizedForSourceException",
            "InvalidArgument"
        ]
    );
}
