//! Step Functions: a definition, Lambda functions, and the API around them.

use std::time::Duration;

use asl_interpreter::{EventType, Outcome};
use local_cloud::LocalCloud;
use local_cloud::lambda::{FunctionError, FunctionKind, FunctionSettings};
use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, cloud};

/// Calls `plan`, and goes to a Fail state when it says `Rejected`.
fn definition() -> String {
    json!({
        "StartAt": "Plan",
        "States": {
            "Plan": {
                "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": { "FunctionName": "plan", "Payload.$": "$" }, "OutputPath": "$.Payload",
                "Retry": [{ "ErrorEquals": ["Transient"], "IntervalSeconds": 60, "MaxAttempts": 2 }],
                "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "FailedClean" }],
                "End": true,
            },
            "FailedClean": { "Type": "Fail", "Error": "FailedClean", "Cause": "nothing left behind" },
        },
    })
    .to_string()
}

/// Waits for a callback.
fn waiting_definition() -> String {
    json!({
        "StartAt": "Approve",
        "States": { "Approve": {
            "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken", "HeartbeatSeconds": 600,
            "Parameters": { "FunctionName": "ask", "Payload": { "token.$": "$$.Task.Token" } },
            "End": true,
        } },
    })
    .to_string()
}

fn add_plan(cloud: &LocalCloud, result: Result<Value, FunctionError>) {
    let kind = FunctionKind::in_process(move |_| std::future::ready(result.clone()));
    cloud
        .add_function(FunctionSettings::new("plan"), kind)
        .unwrap();
}

fn machine_arn() -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:restore")
}

fn execution_arn(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:restore:{name}")
}

async fn create(client: &Client, definition: &str) -> Value {
    let request = json!({ "name": "restore", "definition": definition,
        "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/restore"), "tags": [{ "key": "stack", "value": "nightly" }] });
    client.states("CreateStateMachine", request).await.unwrap()
}

async fn start(client: &Client, name: &str, input: &str) -> Result<Value, crate::client::Refused> {
    client
        .states(
            "StartExecution",
            json!({ "stateMachineArn": machine_arn(), "name": name, "input": input }),
        )
        .await
}

#[tokio::test(start_paused = true)]
async fn an_execution_runs_its_functions_and_tells_all_about_it() {
    let cloud = cloud();
    add_plan(&cloud, Ok(json!({ "copy": true })));
    let client = Client::new(&cloud);
    assert_eq!(
        create(&client, &definition()).await["stateMachineArn"],
        machine_arn()
    );
    let started = start(&client, "r-1", r#"{"restoreId":"r-1"}"#)
        .await
        .unwrap();
    assert_eq!(started["executionArn"], execution_arn("r-1"));
    let execution = cloud
        .step_functions()
        .execution(&execution_arn("r-1"))
        .unwrap();
    assert_eq!(
        execution.finished().await,
        Outcome::Succeeded {
            output: json!({ "copy": true })
        }
    );

    let described = client
        .states(
            "DescribeExecution",
            json!({ "executionArn": execution_arn("r-1") }),
        )
        .await
        .unwrap();
    assert_eq!(
        (&described["status"], &described["output"]),
        (&json!("SUCCEEDED"), &json!(r#"{"copy":true}"#))
    );
    assert_eq!(described["input"], r#"{"restoreId":"r-1"}"#);

    let request = json!({ "executionArn": execution_arn("r-1"), "maxResults": 2 });
    let first = client.states("GetExecutionHistory", request).await.unwrap();
    assert_eq!(first["events"][0]["type"], "ExecutionStarted");
    assert_eq!(first["events"].as_array().unwrap().len(), 2);
    let request = json!({ "executionArn": execution_arn("r-1"), "maxResults": 2, "nextToken": first["nextToken"] });
    let second = client.states("GetExecutionHistory", request).await.unwrap();
    assert_eq!(second["events"][0]["id"], 3);
    let request = json!({ "executionArn": execution_arn("r-1"), "reverseOrder": true, "includeExecutionData": false });
    let last = client.states("GetExecutionHistory", request).await.unwrap();
    assert_eq!(last["events"][0]["type"], "ExecutionSucceeded");
    assert!(
        !last.to_string().contains("restoreId"),
        "no data was asked for: {last}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_functions_error_type_is_what_retry_and_catch_see() {
    let cloud = cloud();
    add_plan(&cloud, Err(FunctionError::new("Transient", "not yet")));
    let client = Client::new(&cloud);
    create(&client, &definition()).await;
    let execution = cloud
        .step_functions()
        .start(&machine_arn(), "r-1", &json!({}))
        .unwrap();
    let outcome = execution.finished().await;
    assert_eq!(
        outcome,
        Outcome::Failed {
            error: Some("FailedClean".into()),
            cause: Some("nothing left behind".into())
        }
    );
    let tries = execution
        .history()
        .event_types()
        .iter()
        .filter(|kind| **kind == EventType::TaskFailed)
        .count();
    assert_eq!(tries, 3);
    assert_eq!(
        execution.stopped_at().unwrap() - execution.started_at(),
        time::Duration::seconds(60 + 120)
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_name_and_input_is_the_same_execution_while_it_runs() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|_| async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(json!({}))
    });
    cloud
        .add_function(
            FunctionSettings::new("plan").timeout(Duration::from_secs(60)),
            kind,
        )
        .unwrap();
    let client = Client::new(&cloud);
    create(&client, &definition()).await;
    let first = start(&client, "r-1", "{}").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(start(&client, "r-1", "{}").await.unwrap(), first);
    assert_eq!(
        start(&client, "r-1", "[]").await.unwrap_err().code,
        "ExecutionAlreadyExists"
    );
    cloud
        .step_functions()
        .execution(&execution_arn("r-1"))
        .unwrap()
        .finished()
        .await;
    assert_eq!(
        start(&client, "r-1", "{}").await.unwrap_err().code,
        "ExecutionAlreadyExists"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_is_refused() {
    let cloud = cloud();
    add_plan(&cloud, Ok(json!({})));
    let client = Client::new(&cloud);
    assert_eq!(
        start(&client, "r-1", "{}").await.unwrap_err().code,
        "StateMachineDoesNotExist"
    );
    create(&client, &definition()).await;
    assert_eq!(
        start(&client, "r 1", "{}").await.unwrap_err().code,
        "InvalidName"
    );
    assert_eq!(
        start(&client, "r-1", "{").await.unwrap_err().code,
        "InvalidExecutionInput"
    );
    let request = json!({ "stateMachineArn": "restore" });
    assert_eq!(
        client
            .states("StartExecution", request)
            .await
            .unwrap_err()
            .code,
        "InvalidArn"
    );
    let request = json!({ "executionArn": execution_arn("nobody") });
    assert_eq!(
        client
            .states("DescribeExecution", request)
            .await
            .unwrap_err()
            .code,
        "ExecutionDoesNotExist"
    );
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_refused_with_everything_that_is_wrong() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let broken = json!({ "StartAt": "A", "States": {
        "A": { "Type": "Pass", "Next": "Nowhere" }, "B": { "Type": "Sleep", "End": true } } })
    .to_string();
    let request = json!({ "name": "restore", "definition": broken, "roleArn": "arn:aws:iam::123456789012:role/r" });
    assert_eq!(
        client
            .states("CreateStateMachine", request)
            .await
            .unwrap_err()
            .code,
        "InvalidDefinition"
    );
    let validated = client
        .states(
            "ValidateStateMachineDefinition",
            json!({ "definition": broken }),
        )
        .await
        .unwrap();
    assert_eq!(validated["result"], "FAIL");
    assert!(!validated["diagnostics"].as_array().unwrap().is_empty());
    let validated = client
        .states(
            "ValidateStateMachineDefinition",
            json!({ "definition": definition() }),
        )
        .await
        .unwrap();
    assert_eq!(
        validated,
        json!({ "result": "OK", "diagnostics": [], "truncated": false })
    );
}

#[tokio::test(start_paused = true)]
async fn a_callback_ends_the_task_and_a_second_one_is_too_late() {
    let cloud = cloud();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let kind = FunctionKind::in_process(move |invocation| {
        let _ = tell.send(
            invocation.payload["token"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        async { Ok(Value::Null) }
    });
    cloud
        .add_function(FunctionSettings::new("ask"), kind)
        .unwrap();
    let client = Client::new(&cloud);
    create(&client, &waiting_definition()).await;
    start(&client, "r-1", "{}").await.unwrap();
    let token = told.recv().await.unwrap();
    client
        .states("SendTaskHeartbeat", json!({ "taskToken": token }))
        .await
        .unwrap();
    let answer = json!({ "taskToken": token, "output": r#"{"approved":true}"# });
    client
        .states("SendTaskSuccess", answer.clone())
        .await
        .unwrap();
    let execution = cloud
        .step_functions()
        .execution(&execution_arn("r-1"))
        .unwrap();
    assert_eq!(
        execution.finished().await,
        Outcome::Succeeded {
            output: json!({ "approved": true })
        }
    );
    assert_eq!(
        client
            .states("SendTaskSuccess", answer)
            .await
            .unwrap_err()
            .code,
        "TaskTimedOut"
    );
    let stranger = json!({ "taskToken": "nonsense" });
    assert_eq!(
        client
            .states("SendTaskFailure", stranger)
            .await
            .unwrap_err()
            .code,
        "InvalidToken"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_execution_is_aborted_with_its_reason() {
    let cloud = cloud();
    let kind = FunctionKind::in_process(|_| async { Ok(Value::Null) });
    cloud
        .add_function(FunctionSettings::new("ask"), kind)
        .unwrap();
    let client = Client::new(&cloud);
    create(&client, &waiting_definition()).await;
    start(&client, "r-1", "{}").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let arn = execution_arn("r-1");
    let request = json!({ "executionArn": arn, "error": "Cancelled", "cause": "by hand" });
    let stopped = client.states("StopExecution", request).await.unwrap();
    let described = client
        .states("DescribeExecution", json!({ "executionArn": arn }))
        .await
        .unwrap();
    assert_eq!(
        (&described["status"], &described["error"]),
        (&json!("ABORTED"), &json!("Cancelled"))
    );
    assert_eq!(described["stopDate"], stopped["stopDate"]);
}

#[tokio::test(start_paused = true)]
async fn executions_are_listed_newest_first_by_status_and_by_page() {
    let cloud = cloud();
    add_plan(&cloud, Ok(json!({})));
    let client = Client::new(&cloud);
    create(&client, &definition()).await;
    for name in ["r-1", "r-2", "r-3"] {
        let execution = cloud
            .step_functions()
            .start(&machine_arn(), name, &json!({}))
            .unwrap();
        execution.finished().await;
    }
    let list = |more: Value| {
        let mut request = json!({ "stateMachineArn": machine_arn() });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        client.states("ListExecutions", request)
    };
    let page = list(json!({ "maxResults": 2 })).await.unwrap();
    let names: Vec<_> = page["executions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["r-3", "r-2"]);
    let page = list(json!({ "maxResults": 2, "nextToken": page["nextToken"] }))
        .await
        .unwrap();
    assert_eq!(page["executions"][0]["name"], "r-1");
    assert_eq!(
        list(json!({ "statusFilter": "FAILED" })).await.unwrap()["executions"],
        json!([])
    );
    assert_eq!(
        list(json!({ "nextToken": "x" })).await.unwrap_err().code,
        "InvalidToken"
    );
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_is_created_changed_described_tagged_and_deleted() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let created = create(&client, &definition()).await;
    assert_eq!(
        create(&client, &definition()).await,
        created,
        "creating the same again is no error"
    );
    let other = json!({ "name": "restore", "definition": waiting_definition(), "roleArn": "arn:aws:iam::1:role/r" });
    assert_eq!(
        client
            .states("CreateStateMachine", other)
            .await
            .unwrap_err()
            .code,
        "StateMachineAlreadyExists"
    );
    let arn = json!({ "stateMachineArn": machine_arn() });
    let update = json!({ "stateMachineArn": machine_arn(), "definition": waiting_definition() });
    client.states("UpdateStateMachine", update).await.unwrap();
    let described = client
        .states("DescribeStateMachine", arn.clone())
        .await
        .unwrap();
    assert_eq!(described["definition"], waiting_definition());
    let tags = client
        .states(
            "ListTagsForResource",
            json!({ "resourceArn": machine_arn() }),
        )
        .await
        .unwrap();
    assert_eq!(
        tags["tags"],
        json!([{ "key": "stack", "value": "nightly" }])
    );
    let listed = client.states("ListStateMachines", json!({})).await.unwrap();
    assert_eq!(listed["stateMachines"][0]["name"], "restore");
    client
        .states("DeleteStateMachine", arn.clone())
        .await
        .unwrap();
    assert_eq!(
        client
            .states("DescribeStateMachine", arn)
            .await
            .unwrap_err()
            .code,
        "StateMachineDoesNotExist"
    );
}
