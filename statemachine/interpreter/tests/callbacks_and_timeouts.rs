//! Tasks that wait for a callback, and the limits on waiting.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use asl_interpreter::{
    CallbackError, EventType, Execution, Interpreter, Outcome, RuntimeClock, TaskFailure,
    TaskRequest, TaskTokens,
};
use serde_json::{Value, json};
use support::{CALLBACK, INVOKE, START, begin, chain, fail_of, machine, run, types};
use tokio::time::sleep;

/// What a scripted function does with its token; answers as the invocation does.
type Script = Arc<dyn Fn(usize, String, TaskTokens) -> Deed + Send + Sync>;
type Deed = std::pin::Pin<Box<dyn Future<Output = Result<Value, TaskFailure>> + Send>>;

fn scripted(
    script: impl Fn(usize, String, TaskTokens) -> Deed + Send + Sync + 'static,
) -> (Interpreter, Arc<Mutex<Vec<String>>>) {
    let script: Script = Arc::new(script);
    let tokens: Arc<OnceLock<TaskTokens>> = Arc::default();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (registry, given) = (Arc::clone(&tokens), Arc::clone(&seen));
    let runner = move |request: TaskRequest| {
        let token = request.task_token.unwrap();
        given.lock().unwrap().push(token.clone());
        let attempt = given.lock().unwrap().len();
        script(attempt, token, registry.get().unwrap().clone())
    };
    let interpreter = Interpreter::new(runner, RuntimeClock::starting_at(START)).with_seed(3);
    tokens.set(interpreter.tokens().clone()).unwrap();
    (interpreter, seen)
}

fn waiting(extra: &Value) -> Value {
    let mut state = json!({
        "Type": "Task", "Resource": CALLBACK, "End": true,
        "Parameters": { "FunctionName": "wait", "Payload": { "token.$": "$$.Task.Token" } },
    });
    state
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    json!({ "Await": state })
}

fn attempts(execution: &Execution) -> usize {
    types(execution)
        .iter()
        .filter(|event| **event == EventType::TaskStarted)
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_callback_after_the_invocation_ends_the_task_with_its_output() {
    let (interpreter, _) = scripted(|_, token, tokens| {
        tokio::spawn(async move {
            sleep(Duration::from_secs(90)).await;
            tokens
                .send_success(&token, r#"{"status": "available"}"#)
                .unwrap();
        });
        Box::pin(async { Ok(json!({ "accepted": true })) })
    });
    let (execution, outcome) = run(&interpreter, waiting(&json!({})), json!({})).await;
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            output: json!({ "status": "available" })
        }
    );
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 TaskStateEntered",
            "3<2 TaskScheduled",
            "4<3 TaskStarted",
            "5<4 TaskSubmitted",
            "6<5 TaskSucceeded",
            "7<6 TaskStateExited",
            "8<7 ExecutionSucceeded",
        ]
    );
    assert_eq!(
        execution.stopped_at().unwrap(),
        START + Duration::from_secs(90)
    );
}

#[tokio::test(start_paused = true)]
async fn a_callback_out_of_the_invocation_ends_the_task_before_the_invocation_returns() {
    let finished = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&finished);
    let (interpreter, _) = scripted(move |_, token, tokens| {
        let flag = Arc::clone(&flag);
        Box::pin(async move {
            tokens.send_success(&token, "1").unwrap();
            sleep(Duration::from_secs(30)).await;
            *flag.lock().unwrap() = true;
            Ok(json!({}))
        })
    });
    let (execution, outcome) = run(&interpreter, waiting(&json!({})), json!({})).await;
    assert_eq!(outcome, Outcome::Succeeded { output: json!(1) });
    assert_eq!(execution.stopped_at().unwrap(), START);
    assert!(!types(&execution).contains(&EventType::TaskSubmitted));
    sleep(Duration::from_secs(31)).await;
    assert!(*finished.lock().unwrap(), "the function runs on to its end");
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_fails_fails_the_task() {
    let (interpreter, seen) = scripted(|_, _, _| {
        Box::pin(async { Err(TaskFailure::new("Lambda.Unknown", "out of memory")) })
    });
    let (execution, outcome) = run(&interpreter, waiting(&json!({})), json!({})).await;
    assert_eq!(
        fail_of(outcome),
        ("Lambda.Unknown".to_owned(), "out of memory".to_owned())
    );
    assert!(types(&execution).contains(&EventType::TaskFailed));
    let late = interpreter
        .tokens()
        .send_success(&seen.lock().unwrap()[0], "1");
    assert_eq!(late, Err(CallbackError::TaskTimedOut));
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_answers_and_then_fails_has_answered() {
    let (interpreter, _) = scripted(|_, token, tokens| {
        Box::pin(async move {
            tokens.send_success(&token, "\"done\"").unwrap();
            Err(TaskFailure::new("Lambda.Unknown", "died afterwards"))
        })
    });
    let (_, outcome) = run(&interpreter, waiting(&json!({})), json!({})).await;
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            output: json!("done")
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_by_callback_fails_the_task_and_both_its_parts_are_optional() {
    for (error, cause) in [(Some("Rejected"), Some("no such snapshot")), (None, None)] {
        let (interpreter, _) = scripted(move |_, token, tokens| {
            tokens.send_failure(&token, error, cause).unwrap();
            Box::pin(async { Ok(json!({})) })
        });
        let (_, outcome) = run(&interpreter, waiting(&json!({})), json!({})).await;
        let wanted = Outcome::Failed {
            error: error.map(str::to_owned),
            cause: cause.map(str::to_owned),
        };
        assert_eq!(outcome, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missed_heartbeat_is_a_timeout_in_the_history() {
    let (interpreter, seen) = scripted(|_, _, _| Box::pin(async { Ok(json!({})) }));
    let (execution, outcome) = run(
        &interpreter,
        waiting(&json!({ "HeartbeatSeconds": 20 })),
        json!({}),
    )
    .await;
    assert_eq!(
        outcome,
        Outcome::Failed {
            error: Some("States.Timeout".to_owned()),
            cause: None
        }
    );
    assert_eq!(
        execution.stopped_at().unwrap(),
        START + Duration::from_secs(20)
    );
    let event = execution.history().events()[5].to_json();
    assert_eq!(event["type"], "TaskTimedOut");
    let details = json!({ "resourceType": "lambda", "resource": "invoke.waitForTaskToken", "error": "States.Timeout" });
    assert_eq!(event["taskTimedOutEventDetails"], details);
    let late = interpreter
        .tokens()
        .send_success(&seen.lock().unwrap()[0], "1");
    assert_eq!(late, Err(CallbackError::TaskTimedOut));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_task_alive_until_they_stop() {
    let (interpreter, _) = scripted(|_, token, tokens| {
        tokio::spawn(async move {
            for _ in 0..5 {
                sleep(Duration::from_secs(15)).await;
                tokens.send_heartbeat(&token).unwrap();
            }
        });
        Box::pin(async { Ok(json!({})) })
    });
    let (execution, _) = run(
        &interpreter,
        waiting(&json!({ "HeartbeatSeconds": 20 })),
        json!({}),
    )
    .await;
    assert_eq!(
        execution.stopped_at().unwrap(),
        START + Duration::from_secs(5 * 15 + 20)
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_on_either_name_of_a_missed_heartbeat_polls_until_the_answer() {
    for names in [
        json!(["States.HeartbeatTimeout"]),
        json!(["States.Timeout"]),
        json!(["States.ALL"]),
    ] {
        let (interpreter, seen) = scripted(|attempt, token, tokens| {
            Box::pin(async move {
                if attempt == 4 {
                    tokens.send_success(&token, "\"available\"").unwrap();
                }
                Ok(json!({}))
            })
        });
        let states = waiting(&json!({
            "HeartbeatSeconds": 60,
            "Retry": [{ "ErrorEquals": names, "IntervalSeconds": 1, "BackoffRate": 1.0, "MaxAttempts": 1000 }],
        }));
        let (execution, outcome) = run(&interpreter, states, json!({})).await;
        assert_eq!(
            outcome,
            Outcome::Succeeded {
                output: json!("available")
            },
            "{names}"
        );
        assert_eq!(
            (attempts(&execution), execution.history().transitions()),
            (4, 4)
        );
        let tokens = seen.lock().unwrap().clone();
        let distinct: std::collections::HashSet<_> = tokens.iter().collect();
        assert_eq!(distinct.len(), 4, "every attempt has a token of its own");
        assert_eq!(
            interpreter.tokens().send_heartbeat(&tokens[0]),
            Err(CallbackError::TaskTimedOut)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_failed_retrier_leaves_a_missed_heartbeat_alone() {
    let (interpreter, seen) = scripted(|_, _, _| Box::pin(async { Ok(json!({})) }));
    let states = waiting(
        &json!({ "HeartbeatSeconds": 5, "Retry": [{ "ErrorEquals": ["States.TaskFailed"] }] }),
    );
    run(&interpreter, states, json!({})).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_invocation_times_out_and_its_caught_cause_is_empty() {
    let interpreter = Interpreter::new(
        |_: TaskRequest| async {
            sleep(Duration::from_secs(60)).await;
            Ok(json!({}))
        },
        RuntimeClock::starting_at(START),
    );
    let states = json!({
        "Slow": {
            "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName": "f" }, "TimeoutSecondsPath": "$.limit",
            "Catch": [{ "ErrorEquals": ["States.Timeout"], "Next": "After" }], "End": true,
        },
        "After": { "Type": "Succeed" },
    });
    let (execution, outcome) = run(&interpreter, states, json!({ "limit": 7 })).await;
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            output: json!({ "Error": "States.Timeout", "Cause": "" })
        }
    );
    assert_eq!(
        execution.stopped_at().unwrap(),
        START + Duration::from_secs(7)
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_and_outputs_that_make_no_sense_are_refused() {
    let (interpreter, seen) = scripted(|_, _, _| Box::pin(async { Ok(json!({})) }));
    let execution = begin(&interpreter, &machine(waiting(&json!({}))), json!({}));
    sleep(Duration::from_secs(1)).await;
    let tokens = interpreter.tokens();
    let token = seen.lock().unwrap()[0].clone();
    assert_eq!(
        tokens.send_heartbeat("not a token"),
        Err(CallbackError::InvalidToken)
    );
    assert_eq!(
        tokens.send_failure("bm90IG91cnM=", None, None),
        Err(CallbackError::InvalidToken)
    );
    let stranger = {
        let other = scripted(|_, _, _| Box::pin(async { Ok(json!({})) }));
        other.0.with_seed(99).tokens().clone()
    };
    assert_eq!(
        stranger.send_success(&token, "1"),
        Err(CallbackError::TaskDoesNotExist)
    );
    assert!(matches!(
        tokens.send_success(&token, "{oops"),
        Err(CallbackError::InvalidOutput(_))
    ));
    assert!(matches!(
        tokens.send_success(&token, &"1".repeat(262_145)),
        Err(CallbackError::InvalidOutput(_))
    ));
    assert_eq!(tokens.send_success(&token, "2"), Ok(()));
    assert_eq!(
        tokens.send_success(&token, "3"),
        Err(CallbackError::TaskTimedOut)
    );
    assert_eq!(
        execution.finished().await,
        Outcome::Succeeded { output: json!(2) }
    );
    assert_eq!(
        CallbackError::InvalidToken.to_string(),
        "Invalid Token: 'Invalid token'"
    );
    assert_eq!(CallbackError::TaskTimedOut.code(), "TaskTimedOut");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_hands_out_the_same_tokens() {
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let (interpreter, seen) = scripted(|_, token, tokens| {
            tokens.send_success(&token, "1").unwrap();
            Box::pin(async { Ok(json!({})) })
        });
        run(&interpreter, waiting(&json!({})), json!({})).await;
        drawn.push(seen.lock().unwrap().clone());
    }
    assert_eq!(drawn[0], drawn[1]);
}

#[tokio::test(start_paused = true)]
async fn an_execution_lives_no_longer_than_its_timeout() {
    let mut definition = machine(json!({ "Nap": { "Type": "Wait", "Seconds": 100, "End": true } }));
    definition["TimeoutSeconds"] = json!(30);
    let execution = begin(&support::idle(), &definition, json!({}));
    assert_eq!(execution.finished().await, Outcome::TimedOut);
    assert_eq!(execution.status().name(), "TIMED_OUT");
    assert_eq!(
        execution.stopped_at().unwrap(),
        START + Duration::from_secs(30)
    );
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 WaitStateEntered",
            "3<0 ExecutionTimedOut"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_execution_is_aborted_and_its_tokens_are_closed() {
    let (interpreter, seen) = scripted(|_, _, _| Box::pin(async { Ok(json!({})) }));
    let execution = begin(&interpreter, &machine(waiting(&json!({}))), json!({}));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(execution.status().name(), "RUNNING");
    execution.stop(Some("Cancelled"), Some("by an operator"));
    execution.stop(Some("Again"), None);
    let wanted = Outcome::Aborted {
        error: Some("Cancelled".to_owned()),
        cause: Some("by an operator".to_owned()),
    };
    assert_eq!(execution.finished().await, wanted);
    let last = execution.history().events().pop().unwrap().to_json();
    assert_eq!(
        last["executionAbortedEventDetails"],
        json!({ "error": "Cancelled", "cause": "by an operator" })
    );
    let late = interpreter
        .tokens()
        .send_success(&seen.lock().unwrap()[0], "1");
    assert_eq!(late, Err(CallbackError::TaskTimedOut));
}
