//! Redriving executions. Histories are as recorded on AWS, with Lambda tasks for activities.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use std::time::Duration;

use asl_interpreter::{
    CallbackError, Execution, Interpreter, Launch, NotRedrivable, Outcome, Status, TaskFailure,
    TaskRequest,
};
use serde_json::{Value, json};
use support::{
    Answer, CALLBACK, INVOKE, START, answering, begin, chain, fail_of, idle, load, machine, run,
};

fn task(name: &str) -> Value {
    json!({ "Type": "Task", "Resource": "arn:aws:lambda:eu-west-1:123456789012:function:do",
        "Comment": name, "End": true })
}

fn broken() -> Answer {
    Err(TaskFailure::new("Broken", "on purpose"))
}

/// Redrives, and waits for the end.
async fn redrive(interpreter: &Interpreter, execution: &Execution) -> Outcome {
    tokio::spawn(interpreter.redrive(execution).unwrap());
    execution.finished().await
}

/// The events after the first `count`.
fn chain_after(execution: &Execution, count: usize) -> Vec<String> {
    chain(execution).split_off(count)
}

/// What an invocation was asked with.
fn payload(request: &TaskRequest) -> Value {
    request.parameters["Payload"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_scheduled_again_without_its_state_being_entered_again() {
    let (interpreter, _) = answering([Ok(json!({ "n": 1 })), broken(), Ok(json!({ "n": 2 }))]);
    let mut first = task("first");
    first.as_object_mut().unwrap().remove("End");
    first["Next"] = "Work".into();
    let states = json!({ "First": first, "Work": task("work") });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome).0, "Broken");
    let transitions = execution.history().transitions();
    assert_eq!(
        redrive(&interpreter, &execution).await,
        Outcome::Succeeded {
            output: json!({ "n": 2 })
        }
    );
    assert_eq!(
        chain_after(&execution, 6),
        [
            "7<6 TaskStateEntered",
            "8<7 LambdaFunctionScheduled",
            "9<8 LambdaFunctionStarted",
            "10<9 LambdaFunctionFailed",
            "11<10 ExecutionFailed",
            "12<11 ExecutionRedriven",
            "13<7 LambdaFunctionScheduled",
            "14<13 LambdaFunctionStarted",
            "15<14 LambdaFunctionSucceeded",
            "16<15 TaskStateExited",
            "17<16 ExecutionSucceeded",
        ]
    );
    let redriven = execution.history().events()[11].to_json();
    assert_eq!(
        redriven["executionRedrivenEventDetails"],
        json!({ "redriveCount": 1 })
    );
    assert_eq!(
        execution.history().transitions(),
        transitions + 1,
        "a redrive is billed as a transition"
    );
}

#[tokio::test(start_paused = true)]
async fn a_redrive_has_all_its_retries_and_tells_of_itself_in_the_context() {
    let (interpreter, asked) = answering([broken(), broken(), broken(), broken()]);
    let states = json!({ "Work": {
        "Type": "Task", "Resource": INVOKE,
        "Parameters": { "FunctionName": "work", "Payload": { "execution.$": "$$.Execution", "state.$": "$$.State" } },
        "Retry": [{ "ErrorEquals": ["Broken"], "IntervalSeconds": 10, "MaxAttempts": 1 }],
        "OutputPath": "$.Payload",
        "End": true,
    } });
    let (execution, _) = run(&interpreter, states, json!({})).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    redrive(&interpreter, &execution).await;
    let outcome = redrive(&interpreter, &execution).await;
    assert_eq!(outcome, Outcome::Succeeded { output: json!({}) });

    let asked: Vec<Value> = asked.requests().iter().map(payload).collect();
    let retries: Vec<&Value> = asked
        .iter()
        .map(|own| &own["state"]["RetryCount"])
        .collect();
    assert_eq!(retries, [0, 1, 0, 1, 0]);
    let counts: Vec<&Value> = asked
        .iter()
        .map(|own| &own["execution"]["RedriveCount"])
        .collect();
    assert_eq!(counts, [0, 0, 1, 1, 2]);
    assert_eq!(asked[0]["execution"].get("RedriveTime"), None);
    assert_eq!(
        asked[2]["execution"]["RedriveTime"],
        "2026-03-01T13:00:10.000Z"
    );
    for own in &asked {
        assert_eq!(own["execution"]["StartTime"], "2026-03-01T12:00:00.000Z");
        assert_eq!(own["state"]["EnteredTime"], "2026-03-01T12:00:00.000Z");
    }
    assert_eq!(execution.redrive_count(), 2);
    assert_eq!(
        execution.redriven_at(),
        Some(START + Duration::from_secs(3620))
    );
}

#[tokio::test(start_paused = true)]
async fn a_redrive_sees_the_input_and_the_variables_the_state_was_entered_with() {
    let (interpreter, asked) = answering([broken()]);
    let states = json!({
        "Set": { "Type": "Pass", "Assign": { "word": "kept" }, "Result": { "n": 4 }, "Next": "Work" },
        "Work": {
            "Type": "Task", "Resource": INVOKE, "End": true,
            "Parameters": { "FunctionName": "work", "Payload": { "word.$": "$word", "n.$": "$.n" } },
        },
    });
    let (execution, _) = run(&interpreter, states, json!({})).await;
    redrive(&interpreter, &execution).await;
    let asked: Vec<Value> = asked.requests().iter().map(payload).collect();
    assert_eq!(
        asked,
        [
            json!({ "word": "kept", "n": 4 }),
            json!({ "word": "kept", "n": 4 })
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_execution_stopped_while_it_waits_for_a_callback_waits_with_a_new_token() {
    let (interpreter, asked) = answering([]);
    let definition = machine(json!({ "Ask": {
        "Type": "Task", "Resource": CALLBACK, "HeartbeatSeconds": 60,
        "Parameters": { "FunctionName": "ask", "Payload": { "token.$": "$$.Task.Token" } },
        "End": true,
    } }));
    let execution = begin(&interpreter, &definition, json!({}));
    let mut events = execution.history().subscribe();
    tokio::time::sleep(Duration::from_secs(50)).await;
    execution.stop(Some("Stopped"), None);
    assert_eq!(execution.finished().await.status(), Status::Aborted);
    while events.next().await.is_some() {}
    execution.stop(None, Some("of no effect on one that has ended"));

    tokio::spawn(interpreter.redrive(&execution).unwrap());
    assert_eq!(execution.status(), Status::Running);
    assert_eq!((execution.outcome(), execution.stopped_at()), (None, None));
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(
        execution.status(),
        Status::Running,
        "the heartbeat starts anew"
    );
    let tokens: Vec<String> = asked
        .requests()
        .into_iter()
        .map(|request| request.task_token.unwrap())
        .collect();
    let old = interpreter.tokens().send_success(&tokens[0], "{}");
    assert_eq!(old, Err(CallbackError::TaskTimedOut));
    interpreter.tokens().send_success(&tokens[1], "7").unwrap();
    assert_eq!(
        execution.finished().await,
        Outcome::Succeeded { output: json!(7) }
    );
    assert_eq!(
        events.next().await.unwrap().event_type.name(),
        "ExecutionRedriven",
        "a subscriber goes on"
    );
    assert_eq!(
        chain_after(&execution, 5)[..3],
        [
            "6<0 ExecutionAborted",
            "7<6 ExecutionRedriven",
            "8<2 TaskScheduled",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_executions_timeout_starts_anew() {
    let interpreter = idle();
    let mut definition = machine(json!({ "Nap": { "Type": "Wait", "Seconds": 60, "End": true } }));
    definition["TimeoutSeconds"] = 40.into();
    let execution = begin(&interpreter, &definition, json!({}));
    assert_eq!(execution.finished().await, Outcome::TimedOut);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(redrive(&interpreter, &execution).await, Outcome::TimedOut);
    assert_eq!(
        execution.stopped_at(),
        Some(START + Duration::from_secs(85)),
        "and so does a wait of so many seconds"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_moment_gone_by_is_over_at_once() {
    let interpreter = idle();
    let definition = machine(json!({
        "Nap": { "Type": "Wait", "Timestamp": "2026-03-01T13:00:00Z", "End": true },
    }));
    let execution = begin(&interpreter, &definition, json!({}));
    tokio::time::sleep(Duration::from_secs(60)).await;
    execution.stop(None, None);
    execution.finished().await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let outcome = redrive(&interpreter, &execution).await;
    assert_eq!(outcome.status(), Status::Succeeded);
    assert_eq!(execution.stopped_at(), execution.redriven_at());
}

#[tokio::test(start_paused = true)]
async fn a_fail_state_fails_once_more() {
    let states = json!({ "No": { "Type": "Fail", "Error": "No", "Cause": "never" } });
    let interpreter = idle();
    let (execution, first) = run(&interpreter, states, json!({})).await;
    assert_eq!(redrive(&interpreter, &execution).await, first);
    assert_eq!(
        chain_after(&execution, 1),
        [
            "2<0 FailStateEntered",
            "3<2 ExecutionFailed",
            "4<3 ExecutionRedriven",
            "5<4 ExecutionFailed",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_choice_and_a_pass_are_evaluated_again() {
    let interpreter = idle();
    let states = json!({ "Which": {
        "Type": "Choice",
        "Choices": [{ "Variable": "$$.Execution.RedriveCount", "NumericEquals": 1, "Next": "Say" }],
    }, "Say": { "Type": "Pass", "Parameters": { "at.$": "$$.Execution.RedriveTime" }, "End": true } });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome).0, "States.NoChoiceMatched");
    assert_eq!(
        redrive(&interpreter, &execution).await,
        Outcome::Succeeded {
            output: json!({ "at": "2026-03-01T12:00:00.000Z" })
        }
    );

    let states = json!({ "Say": { "Type": "Pass", "Parameters": { "at.$": "$$.Execution.RedriveTime" }, "End": true } });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome).0, "States.Runtime");
    let outcome = redrive(&interpreter, &execution).await;
    assert_eq!(outcome.status(), Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_parallel_state_goes_on_with_the_branches_that_failed_or_were_cut_short() {
    let (interpreter, asked) = answering([Ok(json!("kept")), broken()]);
    let branch = |name: &str| json!({ "StartAt": name, "States": { name: task(name) } });
    let states = json!({ "All": {
        "Type": "Parallel",
        "Branches": [
            branch("Succeeds"),
            branch("Fails"),
            { "StartAt": "Nap", "States": {
                "Nap": { "Type": "Wait", "Seconds": 60, "Next": "Then" },
                "Then": task("then"),
            } },
        ],
        "End": true,
    } });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome).0, "Broken");
    let before = execution.history().len();
    assert_eq!(
        redrive(&interpreter, &execution).await,
        Outcome::Succeeded {
            output: json!(["kept", {}, {}])
        }
    );
    assert_eq!(
        chain_after(&execution, before),
        [
            "18<17 ExecutionRedriven",
            "19<6 LambdaFunctionScheduled",
            "20<19 LambdaFunctionStarted",
            "21<20 LambdaFunctionSucceeded",
            "22<21 TaskStateExited",
            "23<8 WaitStateExited",
            "24<23 TaskStateEntered",
            "25<24 LambdaFunctionScheduled",
            "26<25 LambdaFunctionStarted",
            "27<26 LambdaFunctionSucceeded",
            "28<27 TaskStateExited",
            "29<28 ParallelStateSucceeded",
            "30<28 ParallelStateExited",
            "31<30 ExecutionSucceeded",
        ]
    );
    let asked: Vec<String> = asked
        .requests()
        .into_iter()
        .map(|request| request.state_name)
        .collect();
    assert_eq!(asked, ["Succeeds", "Fails", "Fails", "Then"]);
}

#[tokio::test(start_paused = true)]
async fn a_map_state_goes_on_with_the_items_that_failed_and_those_not_yet_begun() {
    let (interpreter, _) = answering([Ok(json!("kept")), broken()]);
    let states = json!({ "Each": {
        "Type": "Map", "MaxConcurrency": 1,
        "ItemProcessor": { "ProcessorConfig": { "Mode": "INLINE" }, "StartAt": "Do", "States": { "Do": task("do") } },
        "End": true,
    } });
    let (execution, outcome) = run(&interpreter, states, json!([0, 1, 2])).await;
    assert_eq!(fail_of(outcome).0, "Broken");
    let before = chain(&execution);
    assert_eq!(before[10], "11<9 MapIterationStarted");
    assert_eq!(before[11], "12<11 TaskStateEntered");
    assert_eq!(
        redrive(&interpreter, &execution).await,
        Outcome::Succeeded {
            output: json!(["kept", {}, {}])
        }
    );
    assert_eq!(
        chain_after(&execution, before.len()),
        [
            "20<19 ExecutionRedriven",
            "21<12 LambdaFunctionScheduled",
            "22<21 LambdaFunctionStarted",
            "23<22 LambdaFunctionSucceeded",
            "24<23 TaskStateExited",
            "25<24 MapIterationSucceeded",
            "26<24 MapIterationStarted",
            "27<26 TaskStateEntered",
            "28<27 LambdaFunctionScheduled",
            "29<28 LambdaFunctionStarted",
            "30<29 LambdaFunctionSucceeded",
            "31<30 TaskStateExited",
            "32<31 MapIterationSucceeded",
            "33<32 MapStateSucceeded",
            "34<32 MapStateExited",
            "35<34 ExecutionSucceeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_iteration_that_is_redriven_still_knows_its_item_and_its_variables() {
    let (interpreter, asked) = answering([broken()]);
    let states = json!({ "Each": {
        "Type": "Map", "MaxConcurrency": 1,
        "ItemSelector": { "name.$": "$$.Map.Item.Value" },
        "ItemProcessor": { "ProcessorConfig": { "Mode": "INLINE" }, "StartAt": "Set", "States": {
            "Set": { "Type": "Pass", "Assign": { "greeting.$": "States.Format('hello {}', $.name)" }, "Next": "Do" },
            "Do": { "Type": "Task", "Resource": INVOKE, "End": true,
                "Parameters": { "FunctionName": "do", "Payload": { "at.$": "$$.Map.Item.Index", "said.$": "$greeting" } } },
        } },
        "End": true,
    } });
    let (execution, _) = run(&interpreter, states, json!(["a", "b"])).await;
    redrive(&interpreter, &execution).await;
    let asked: Vec<Value> = asked.requests().iter().map(payload).collect();
    assert_eq!(
        asked,
        [
            json!({ "at": 0, "said": "hello a" }),
            json!({ "at": 0, "said": "hello a" }),
            json!({ "at": 1, "said": "hello b" }),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_state_whose_data_is_too_large_runs_all_its_branches_again() {
    let large = || Ok(json!("x".repeat(200_000)));
    let (interpreter, asked) = answering([large(), large()]);
    let branch = |name: &str| json!({ "StartAt": name, "States": { name: task(name) } });
    let states = json!({ "All": { "Type": "Parallel", "Branches": [branch("One"), branch("Two")], "End": true } });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome).0, "States.DataLimitExceeded");
    assert_eq!(
        redrive(&interpreter, &execution).await,
        Outcome::Succeeded {
            output: json!([{}, {}])
        }
    );
    assert_eq!(asked.requests().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_branch_stopped_between_two_attempts_at_its_state_goes_on_with_the_next() {
    let (interpreter, asked) = answering([Ok(json!("kept")), broken()]);
    let branch = |name: &str| json!({ "StartAt": name, "States": { name: task(name) } });
    let definition = machine(json!({ "All": {
        "Type": "Parallel", "Branches": [branch("Succeeds"), branch("Fails")],
        "Retry": [{ "ErrorEquals": ["States.ALL"], "IntervalSeconds": 600 }],
        "End": true,
    } }));
    let execution = begin(&interpreter, &definition, json!({}));
    tokio::time::sleep(Duration::from_secs(60)).await;
    execution.stop(None, None);
    execution.finished().await;
    let outcome = redrive(&interpreter, &execution).await;
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            output: json!(["kept", {}])
        }
    );
    assert_eq!(asked.requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_execution_stopped_before_its_first_state_begins_with_it() {
    let interpreter = idle();
    let definition = machine(json!({ "Say": { "Type": "Pass", "End": true } }));
    let (execution, work) = interpreter.start(
        &load(&interpreter, &definition),
        Launch::new("drill-7", json!({ "n": 1 })),
    );
    execution.stop(None, None);
    work.await;
    assert_eq!(execution.status(), Status::Aborted);
    assert_eq!(
        redrive(&interpreter, &execution).await,
        Outcome::Succeeded {
            output: json!({ "n": 1 })
        }
    );
}

#[tokio::test(start_paused = true)]
async fn what_runs_succeeded_is_too_old_or_too_long_is_not_redriven() {
    let refused = |interpreter: &Interpreter, execution: &Execution| {
        interpreter.redrive(execution).map(drop).unwrap_err()
    };
    let interpreter = idle();
    let definition = machine(json!({ "Nap": { "Type": "Wait", "Seconds": 60, "End": true } }));
    let execution = begin(&interpreter, &definition, json!({}));
    assert_eq!(refused(&interpreter, &execution), NotRedrivable::Running);
    execution.finished().await;
    assert_eq!(refused(&interpreter, &execution), NotRedrivable::Succeeded);

    let states = json!({ "No": { "Type": "Fail" } });
    let (execution, _) = run(&interpreter, states, json!({})).await;
    let days = |days: u64| Duration::from_secs(days * 86_400);
    tokio::time::sleep(days(14)).await;
    assert_eq!(interpreter.redrivable(&execution), Ok(()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(refused(&interpreter, &execution), NotRedrivable::Period);
    assert_eq!(execution.redrive_count(), 0);
    assert_eq!(execution.status(), Status::Failed);

    let definition = machine(json!({
        "Nap": { "Type": "Wait", "Seconds": 31_000_000, "Next": "Again" },
        "Again": { "Type": "Wait", "Seconds": 31_000_000, "Next": "No" },
        "No": { "Type": "Fail" },
    }));
    let execution = begin(&interpreter, &definition, json!({}));
    execution.finished().await;
    assert_eq!(refused(&interpreter, &execution), NotRedrivable::OpenTime);

    let states = json!({
        "Round": { "Type": "Pass", "Next": "Again" },
        "Again": { "Type": "Choice", "Choices": [{ "Variable": "$.never", "IsPresent": true, "Next": "Done" }], "Default": "Round" },
        "Done": { "Type": "Succeed" },
    });
    let (execution, _) = run(&interpreter, states, json!({})).await;
    assert_eq!(execution.history().len(), 25_000);
    assert_eq!(
        refused(&interpreter, &execution),
        NotRedrivable::HistoryLimit
    );
}
