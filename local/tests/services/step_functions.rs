//! Step Functions: a definition, Lambda functions, and the API around them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asl_interpreter::{EventType, Outcome};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::operation::redrive_execution::RedriveExecutionError;
use aws_sdk_sfn::primitives::DateTime;
use aws_sdk_sfn::types::{ExecutionRedriveStatus, ExecutionStatus, HistoryEventType};
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

/// The SDK's own client, as the account's root.
fn sfn(cloud: &LocalCloud) -> aws_sdk_sfn::Client {
    let key = cloud.root_key(ACCOUNT);
    let credentials = aws_sdk_sfn::config::Credentials::new(
        key.access_key_id,
        key.secret_access_key,
        None,
        None,
        "local cloud",
    );
    let config = aws_sdk_sfn::Config::builder()
        .behavior_version(aws_sdk_sfn::config::BehaviorVersion::latest())
        .region(aws_sdk_sfn::config::Region::new(REGION))
        .credentials_provider(credentials)
        .http_client(cloud.http_client())
        .time_source(cloud.time_source())
        .build();
    aws_sdk_sfn::Client::from_conf(config)
}

async fn redrive(
    sfn: &aws_sdk_sfn::Client,
    arn: &str,
    token: &str,
) -> Result<DateTime, RedriveExecutionError> {
    let redriven = sfn
        .redrive_execution()
        .execution_arn(arn)
        .client_token(token)
        .send()
        .await;
    redriven
        .map(|redriven| redriven.redrive_date)
        .map_err(aws_sdk_sfn::error::SdkError::into_service_error)
}

async fn describe(sfn: &aws_sdk_sfn::Client, name: &str) -> DescribeExecutionOutput {
    let describe = sfn.describe_execution().execution_arn(execution_arn(name));
    describe.send().await.unwrap()
}

/// A function that fails as often as it is told to, and then answers `{"n": 7}`.
fn add_failing(cloud: &LocalCloud, failures: usize) {
    let left = std::sync::atomic::AtomicUsize::new(failures);
    let kind = FunctionKind::in_process(move |_| {
        let failing = left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok();
        std::future::ready(if failing {
            Err(FunctionError::new("Broken", "on purpose"))
        } else {
            Ok(json!({ "n": 7 }))
        })
    });
    cloud
        .add_function(FunctionSettings::new("plan"), kind)
        .unwrap();
}

/// Calls `plan` and has no answer to its failure. `result` is what it puts around the answer.
fn failing_definition(result: &str) -> String {
    json!({
        "StartAt": "Plan",
        "States": { "Plan": {
            "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": { "FunctionName": "plan" }, "ResultSelector": { result: "$.Payload" }, "End": true,
        } },
    })
    .to_string()
}

#[tokio::test(start_paused = true)]
async fn a_stopped_execution_that_is_redriven_goes_on_with_a_new_token() {
    let cloud = cloud();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let kind = FunctionKind::in_process(move |invocation| {
        let token = invocation.payload["token"].as_str().unwrap_or_default();
        let _ = tell.send(token.to_owned());
        async { Ok(Value::Null) }
    });
    cloud
        .add_function(FunctionSettings::new("ask"), kind)
        .unwrap();
    let changes = status_changes(&cloud).await;
    let (client, sfn) = (Client::new(&cloud), sfn(&cloud));
    create(&client, &waiting_definition()).await;
    start(&client, "r-1", "{}").await.unwrap();
    let old_token = told.recv().await.unwrap();
    let execution = cloud
        .step_functions()
        .execution(&execution_arn("r-1"))
        .unwrap();
    let stop = sfn.stop_execution().execution_arn(execution_arn("r-1"));
    stop.error("Cancelled").send().await.unwrap();
    let stopped = describe(&sfn, "r-1").await;
    assert_eq!(stopped.status, ExecutionStatus::Aborted);
    assert_eq!(
        (stopped.redrive_count, stopped.redrive_date),
        (Some(0), None)
    );
    assert_eq!(
        stopped.redrive_status,
        Some(ExecutionRedriveStatus::Redrivable)
    );
    assert_eq!(stopped.redrive_status_reason, None);

    let date = redrive(&sfn, &execution_arn("r-1"), "token-1")
        .await
        .unwrap();
    let running = describe(&sfn, "r-1").await;
    assert_eq!(running.status, ExecutionStatus::Running);
    assert_eq!((running.stop_date, running.error), (None, None));
    assert_eq!(
        (running.redrive_count, running.redrive_date),
        (Some(1), Some(date))
    );
    assert_eq!(
        running.redrive_status_reason.as_deref(),
        Some("Execution is RUNNING and cannot be redriven")
    );
    assert_eq!(running.start_date, stopped.start_date);

    let new_token = told.recv().await.unwrap();
    let answer = |token: &str| sfn.send_task_success().task_token(token).output("true");
    let late = answer(&old_token).send().await.unwrap_err();
    assert!(late.into_service_error().is_task_timed_out());
    answer(&new_token).send().await.unwrap();
    assert_eq!(
        execution.finished().await,
        Outcome::Succeeded {
            output: json!(true)
        }
    );
    let history = sfn.get_execution_history();
    let history = history.execution_arn(execution_arn("r-1")).send().await;
    let history = history.unwrap().events;
    let event = history
        .iter()
        .find(|event| event.r#type == HistoryEventType::ExecutionRedriven)
        .unwrap();
    assert_eq!(
        history[event.id as usize - 2].r#type,
        HistoryEventType::ExecutionAborted
    );
    let details = event.execution_redriven_event_details.as_ref().unwrap();
    assert_eq!(details.redrive_count, Some(1));

    tokio::time::sleep(Duration::from_secs(60)).await;
    let changes = changes.lock().unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|detail| {
            (
                &detail["status"],
                &detail["redriveCount"],
                &detail["redriveStatus"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (&json!("RUNNING"), &json!(0), &json!("NOT_REDRIVABLE")),
            (&json!("ABORTED"), &json!(0), &json!("REDRIVABLE")),
            (&json!("RUNNING"), &json!(1), &json!("NOT_REDRIVABLE")),
            (&json!("SUCCEEDED"), &json!(1), &json!("NOT_REDRIVABLE")),
        ]
    );
    assert_eq!(changes[3]["redriveDate"], date.to_millis().unwrap());
}

/// The details of all status changes of executions, as a rule's function sees them.
async fn status_changes(cloud: &LocalCloud) -> Arc<Mutex<Vec<Value>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_function = Arc::clone(&seen);
    let kind = FunctionKind::in_process(move |invocation| {
        let detail = invocation.payload["detail"].clone();
        seen_by_function.lock().unwrap().push(detail);
        async { Ok(Value::Null) }
    });
    let function = cloud
        .add_function(FunctionSettings::new("watch"), kind)
        .unwrap();
    let client = Client::new(cloud);
    let pattern = json!({ "source": ["aws.states"] }).to_string();
    let targets = json!({ "Rule": "changes", "Targets": [{ "Id": "watch", "Arn": function }] });
    for (operation, request) in [
        (
            "PutRule",
            json!({ "Name": "changes", "EventPattern": pattern }),
        ),
        ("PutTargets", targets),
    ] {
        let target = format!("AWSEvents.{operation}");
        client.json("events", &target, request).await.unwrap();
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_redriven_with_the_definition_it_started_with() {
    let cloud = cloud();
    add_failing(&cloud, 1);
    let (client, sfn) = (Client::new(&cloud), sfn(&cloud));
    create(&client, &failing_definition("before.$")).await;
    start(&client, "r-1", "{}").await.unwrap();
    let arn = execution_arn("r-1");
    let execution = cloud.step_functions().execution(&arn).unwrap();
    assert!(matches!(execution.finished().await, Outcome::Failed { .. }));
    let update =
        json!({ "stateMachineArn": machine_arn(), "definition": failing_definition("after.$") });
    client.states("UpdateStateMachine", update).await.unwrap();
    let redriven = sfn.redrive_execution().execution_arn(&arn).send().await;
    let date = redriven.unwrap().redrive_date;
    assert_eq!(
        execution.finished().await,
        Outcome::Succeeded {
            output: json!({ "before": { "n": 7 } })
        }
    );
    let listed = sfn.list_executions().state_machine_arn(machine_arn());
    let listed = listed.send().await.unwrap().executions;
    assert_eq!(
        (listed[0].redrive_count, listed[0].redrive_date),
        (Some(1), Some(date))
    );
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_ended_in_a_fail_state_fails_there_again() {
    let cloud = cloud();
    let failure = FunctionError::new("Rejected", "no");
    add_plan(&cloud, Err(failure));
    let (client, sfn) = (Client::new(&cloud), sfn(&cloud));
    create(&client, &definition()).await;
    start(&client, "r-1", "{}").await.unwrap();
    let arn = execution_arn("r-1");
    let execution = cloud.step_functions().execution(&arn).unwrap();
    let first = execution.finished().await;
    redrive(&sfn, &arn, "token-1").await.unwrap();
    assert_eq!(execution.finished().await, first);
    let types = execution.history().event_types();
    assert_eq!(
        types[types.len() - 4..],
        [
            EventType::FailStateEntered,
            EventType::ExecutionFailed,
            EventType::ExecutionRedriven,
            EventType::ExecutionFailed,
        ]
    );
    assert_eq!(describe(&sfn, "r-1").await.redrive_count, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_redrive_is_answered_and_not_done_again() {
    let cloud = cloud();
    add_failing(&cloud, 3);
    let (client, sfn) = (Client::new(&cloud), sfn(&cloud));
    create(&client, &failing_definition("it.$")).await;
    start(&client, "r-1", "{}").await.unwrap();
    let arn = execution_arn("r-1");
    let execution = cloud.step_functions().execution(&arn).unwrap();
    execution.finished().await;
    let first = redrive(&sfn, &arn, "first").await.unwrap();
    assert_eq!(redrive(&sfn, &arn, "first").await.unwrap(), first);
    let refused = redrive(&sfn, &arn, "second").await.unwrap_err();
    assert!(
        refused.is_execution_not_redrivable(),
        "it runs: {refused:?}"
    );
    execution.finished().await;
    assert_eq!(redrive(&sfn, &arn, "first").await.unwrap(), first);
    assert_eq!(execution.redrive_count(), 1);

    tokio::time::sleep(Duration::from_secs(60)).await;
    let second = redrive(&sfn, &arn, "second").await.unwrap();
    assert!(second > first, "what was refused has not used its token up");
    execution.finished().await;
    tokio::time::sleep(Duration::from_secs(850)).await;
    assert_eq!(redrive(&sfn, &arn, "second").await.unwrap(), second);
    let third = redrive(&sfn, &arn, "first").await.unwrap();
    assert!(third > second, "a token is good for 15 minutes");
    execution.finished().await;
    assert_eq!(execution.redrive_count(), 3);
    assert!(matches!(
        execution.outcome(),
        Some(Outcome::Succeeded { .. })
    ));
    assert_eq!(redrive(&sfn, &arn, "first").await.unwrap(), third);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_redriven_is_refused_with_the_reason() {
    let cloud = cloud();
    add_failing(&cloud, 2);
    let (client, sfn) = (Client::new(&cloud), sfn(&cloud));
    create(&client, &failing_definition("it.$")).await;
    let refusal = async |arn: &str, token: &str| {
        let request = json!({ "executionArn": arn, "clientToken": token });
        let refused = client
            .states("RedriveExecution", request)
            .await
            .unwrap_err();
        assert_eq!(refused.status, 400);
        (refused.code, refused.message)
    };
    let finish = async |name: &str| {
        start(&client, name, "{}").await.unwrap();
        let execution = cloud.step_functions().execution(&execution_arn(name));
        execution.unwrap().finished().await;
    };
    let not_redrivable = |name: &str, reason: &str| {
        let text = format!(
            "Execution {} invalid for redrive as: {reason}",
            execution_arn(name)
        );
        ("ExecutionNotRedrivable".to_owned(), text)
    };
    start(&client, "r-1", "{}").await.unwrap();
    let running = "Execution is RUNNING and cannot be redriven";
    assert_eq!(
        refusal(&execution_arn("r-1"), "t").await,
        not_redrivable("r-1", running)
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    finish("r-2").await;
    finish("r-3").await;
    let succeeded = "Execution is SUCCEEDED and cannot be redriven";
    assert_eq!(
        refusal(&execution_arn("r-3"), "t").await,
        not_redrivable("r-3", succeeded)
    );
    assert_eq!(
        refusal(&execution_arn("r-4"), "t").await.0,
        "ExecutionDoesNotExist"
    );
    assert_eq!(refusal(&machine_arn(), "t").await.0, "InvalidArn");
    assert_eq!(
        refusal(&execution_arn("r-1"), "a token").await.0,
        "ValidationException"
    );
    let long = "t".repeat(65);
    assert_eq!(
        refusal(&execution_arn("r-1"), &long).await.0,
        "ValidationException"
    );
    let filtered = json!({ "stateMachineArn": machine_arn(), "redriveFilter": "REDRIVEN" });
    let filtered = client.states("ListExecutions", filtered).await.unwrap_err();
    assert_eq!(filtered.code, "ValidationException");

    let fortnight = Duration::from_secs(14 * 86_400);
    tokio::time::sleep(fortnight).await;
    let old = "Execution redrivable period exceeded";
    assert_eq!(
        refusal(&execution_arn("r-1"), "t").await,
        not_redrivable("r-1", old)
    );
    let described = describe(&sfn, "r-1").await;
    assert_eq!(
        described.redrive_status,
        Some(ExecutionRedriveStatus::NotRedrivable)
    );
    assert_eq!(described.redrive_status_reason.as_deref(), Some(old));

    let delete = json!({ "stateMachineArn": machine_arn() });
    client.states("DeleteStateMachine", delete).await.unwrap();
    let deleted = "State machine is in DELETING status";
    assert_eq!(
        refusal(&execution_arn("r-2"), "t").await,
        not_redrivable("r-2", deleted)
    );
}

/// Runs the machine `restore` by the name in the input for each item, and says what became of it.
fn fleet_definition() -> String {
    json!({
        "StartAt": "Each",
        "States": { "Each": {
            "Type": "Map", "Label": "Each", "MaxConcurrency": 2, "End": true,
            "ItemProcessor": {
                "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                "StartAt": "Restore",
                "States": {
                    "Restore": {
                        "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
                        "Parameters": { "StateMachineArn": machine_arn(), "Name.$": "$.name", "Input.$": "$" },
                        "ResultSelector": { "said.$": "$.Output" },
                        "Catch": [{ "ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Failed" }],
                        "End": true,
                    },
                    "Failed": { "Type": "Pass", "Parameters": { "error.$": "$.failure.Error" }, "End": true },
                },
            },
        } },
    })
    .to_string()
}

async fn create_fleet(client: &Client) {
    let request = json!({ "name": "fleet", "definition": fleet_definition(),
        "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/fleet") });
    client.states("CreateStateMachine", request).await.unwrap();
}

async fn start_fleet(client: &Client, name: &str, members: Value) -> String {
    let request = json!({ "name": name, "input": members.to_string(),
        "stateMachineArn": format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:fleet") });
    let started = client.states("StartExecution", request).await.unwrap();
    started["executionArn"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_execution_starts_others_and_learns_what_each_came_to() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    add_plan(&cloud, Ok(json!("planned")));
    create(&client, &definition()).await;
    create_fleet(&client).await;
    start(&client, "taken", r#"{"name":"another"}"#)
        .await
        .unwrap();
    let fleet = start_fleet(
        &client,
        "nightly",
        json!([{ "name": "a" }, { "name": "taken" }, { "name": "b" }]),
    )
    .await;
    let execution = cloud.step_functions().execution(&fleet).unwrap();
    let outcome = execution.finished().await;
    let output = json!([
        { "said": "planned" },
        { "error": "StepFunctions.ExecutionAlreadyExistsException" },
        { "said": "planned" },
    ]);
    assert_eq!(outcome, Outcome::Succeeded { output });

    let request = json!({ "executionArn": fleet });
    let listed = client.states("ListMapRuns", request).await.unwrap();
    let map_run = listed["mapRuns"][0]["mapRunArn"].as_str().unwrap();
    let request = json!({ "mapRunArn": map_run });
    let described = client.states("DescribeMapRun", request).await.unwrap();
    assert_eq!(described["status"], "SUCCEEDED");
    assert_eq!(described["itemCounts"]["succeeded"], 3);
    assert_eq!(described["maxConcurrency"], 2);
    let child = execution.map_runs()[0].children()[0].clone();
    let request = json!({ "executionArn": child.launch().execution_arn });
    let described = client
        .states("DescribeExecution", request.clone())
        .await
        .unwrap();
    assert_eq!(described["status"], "SUCCEEDED");
    assert_eq!(described["input"], r#"{"name":"a"}"#);
    let history = client.states("GetExecutionHistory", request).await.unwrap();
    let types: Vec<&str> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
    let submitted = &history["events"][4]["taskSubmittedEventDetails"];
    assert_eq!(submitted["resourceType"], "states");
    assert_eq!(submitted["resource"], "startExecution.sync:2");
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_fails_fails_the_task_that_started_it_and_stopping_the_one_stops_the_other()
 {
    let cloud = cloud();
    let client = Client::new(&cloud);
    add_plan(&cloud, Err(FunctionError::new("Rejected", "no")));
    create(&client, &definition()).await;
    create_fleet(&client).await;
    let fleet = start_fleet(&client, "failing", json!([{ "name": "a" }])).await;
    let execution = cloud.step_functions().execution(&fleet).unwrap();
    let output = json!([{ "error": "States.TaskFailed" }]);
    assert_eq!(execution.finished().await, Outcome::Succeeded { output });
    let child = execution.map_runs()[0].children()[0].clone();
    let failed = child
        .history()
        .events()
        .into_iter()
        .find(|event| event.event_type == EventType::TaskFailed)
        .unwrap()
        .to_json();
    let cause = failed["taskFailedEventDetails"]["cause"].as_str().unwrap();
    let cause: Value = serde_json::from_str(cause).unwrap();
    assert_eq!(cause["Error"], "FailedClean");
    assert_eq!(cause["Status"], "FAILED");

    add_plan(&cloud, Err(FunctionError::new("Transient", "later")));
    let fleet = start_fleet(&client, "stopped", json!([{ "name": "b" }])).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let request = json!({ "executionArn": fleet });
    client.states("StopExecution", request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let request = json!({ "executionArn": execution_arn("b") });
    let described = client.states("DescribeExecution", request).await.unwrap();
    assert_eq!(described["status"], "ABORTED");
}
