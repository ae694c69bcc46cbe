//! Wait states, and what an observer sees.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use std::time::Duration;

use asl_interpreter::{EventType, Outcome};
use serde_json::{Value, json};
use support::{INVOKE, START, answering, begin, chain, failure, idle, machine, run};

async fn wait_ends_after(wait: Value, input: Value) -> Duration {
    let mut state = wait;
    state["Type"] = json!("Wait");
    state["End"] = json!(true);
    let (execution, outcome) = run(&idle(), json!({ "Nap": state }), input.clone()).await;
    assert_eq!(outcome, Outcome::Succeeded { output: input });
    (execution.stopped_at().unwrap() - START)
        .try_into()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_its_seconds_have_passed_or_its_moment_has_come() {
    let an_hour = Duration::from_secs(3_600);
    assert_eq!(
        wait_ends_after(json!({ "Seconds": 3600 }), json!({})).await,
        an_hour
    );
    assert_eq!(
        wait_ends_after(json!({ "SecondsPath": "$.s" }), json!({ "s": 3600 })).await,
        an_hour
    );
    assert_eq!(
        wait_ends_after(json!({ "Timestamp": "2026-03-01T13:00:00Z" }), json!({})).await,
        an_hour
    );
    let at = json!({ "at": "2026-03-01T15:00:00.000+02:00" });
    assert_eq!(
        wait_ends_after(json!({ "TimestampPath": "$.at" }), at).await,
        an_hour
    );
    assert_eq!(
        wait_ends_after(json!({ "Timestamp": "2020-01-01T00:00:00Z" }), json!({})).await,
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_something_that_is_no_time_ends_the_execution() {
    let nap = |field: &str| json!({ "Nap": { "Type": "Wait", field: "$.x", "End": true } });
    for (field, input, wanted) in [
        (
            "SecondsPath",
            json!({}),
            "The SecondsPath parameter does not reference an input value: $.x",
        ),
        (
            "SecondsPath",
            json!({ "x": -1 }),
            "The SecondsPath parameter references a negative value: $.x == -1",
        ),
        (
            "SecondsPath",
            json!({ "x": 1.5 }),
            "The SecondsPath parameter cannot be parsed as a long value: $.x == 1.5",
        ),
        (
            "SecondsPath",
            json!({ "x": 2_147_483_648_u64 }),
            "Wait state delay is too long.",
        ),
        (
            "TimestampPath",
            json!({ "x": "2026-03-01 13:00:00Z" }),
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: \
             $.x == 2026-03-01 13:00:00Z",
        ),
    ] {
        let (error, cause) = failure(nap(field), input).await;
        assert_eq!(error, "States.Runtime");
        assert!(cause.ends_with(wanted), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_year_of_waiting_takes_no_time_on_a_paused_clock() {
    let states = json!({ "Nap": { "Type": "Wait", "Seconds": 31_536_000, "End": true } });
    let (execution, _) = run(&idle(), states, json!({})).await;
    assert_eq!(
        execution.stopped_at().unwrap() - START,
        time::Duration::days(365)
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_spelt_as_the_api_spells_them() {
    let (interpreter, _) = answering([Ok(json!({ "ok": 1 }))]);
    let states = json!({ "Do": {
        "Type": "Task", "Resource": INVOKE, "TimeoutSeconds": 60, "HeartbeatSeconds": 10,
        "Parameters": { "FunctionName": "plan", "Payload": { "n.$": "$.n" } }, "OutputPath": "$.Payload", "End": true,
    } });
    let (execution, _) = run(&interpreter, states, json!({ "n": 1 })).await;
    let events: Vec<Value> = execution
        .history()
        .events()
        .iter()
        .map(|event| event.to_json())
        .collect();
    let whole = json!({ "truncated": false });
    assert_eq!(
        events[0],
        json!({
            "timestamp": 1_772_366_400.0, "type": "ExecutionStarted", "id": 1, "previousEventId": 0,
            "executionStartedEventDetails": {
                "input": "{\"n\":1}", "inputDetails": whole, "roleArn": "arn:aws:iam::000000000000:role/StateMachine",
            },
        })
    );
    let entered = json!({ "name": "Do", "input": "{\"n\":1}", "inputDetails": whole });
    assert_eq!(events[1]["stateEnteredEventDetails"], entered);
    assert_eq!(
        events[2]["taskScheduledEventDetails"],
        json!({
            "resourceType": "lambda", "resource": "invoke", "region": "us-east-1",
            "parameters": "{\"FunctionName\":\"plan\",\"Payload\":{\"n\":1}}",
            "timeoutInSeconds": 60, "heartbeatInSeconds": 10,
        })
    );
    assert_eq!(
        events[3]["taskStartedEventDetails"],
        json!({ "resourceType": "lambda", "resource": "invoke" })
    );
    let answer: Value = serde_json::from_str(
        events[4]["taskSucceededEventDetails"]["output"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "ExecutedVersion",
            "Payload",
            "SdkHttpMetadata",
            "SdkResponseMetadata",
            "StatusCode"
        ]
    );
    assert_eq!(
        (&answer["ExecutedVersion"], &answer["Payload"]),
        (&json!("$LATEST"), &json!({ "ok": 1 }))
    );
    let left = json!({ "name": "Do", "output": "{\"ok\":1}", "outputDetails": whole });
    assert_eq!(events[5]["stateExitedEventDetails"], left);
    assert_eq!(
        events[6]["executionSucceededEventDetails"],
        json!({ "output": "{\"ok\":1}", "outputDetails": whole })
    );
}

#[tokio::test(start_paused = true)]
async fn a_functions_own_arn_speaks_in_lambdas_events_and_answers_with_the_payload() {
    let arn = "arn:aws:lambda:eu-west-1:000000000000:function:plan";
    let (interpreter, asked) = answering([Ok(json!("made"))]);
    let states = json!({ "Do": { "Type": "Task", "Resource": arn, "End": true } });
    let (execution, outcome) = run(&interpreter, states, json!({ "n": 1 })).await;
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            output: json!("made")
        }
    );
    let lambda = asked.requests()[0].lambda().unwrap();
    assert_eq!(
        (lambda.function.as_str(), lambda.payload),
        (arn, json!({ "n": 1 }))
    );
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 TaskStateEntered",
            "3<2 LambdaFunctionScheduled",
            "4<3 LambdaFunctionStarted",
            "5<4 LambdaFunctionSucceeded",
            "6<5 TaskStateExited",
            "7<6 ExecutionSucceeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_misses_nothing_and_is_told_of_the_end() {
    let states = json!({
        "Nap": { "Type": "Wait", "Seconds": 5, "Next": "Done" },
        "Done": { "Type": "Succeed" },
    });
    let execution = begin(&idle(), &machine(states), json!({}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(execution.history().len(), 2);
    let mut subscription = execution.history().subscribe();
    let mut seen = Vec::new();
    while let Some(event) = subscription.next().await {
        seen.push(event);
    }
    assert_eq!(seen, execution.history().events());
    assert_eq!(execution.history().events_after(2).len(), seen.len() - 2);
    assert_eq!(
        seen.last().unwrap().event_type,
        EventType::ExecutionSucceeded
    );
    assert_eq!(execution.history().transitions(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_execution_fails_when_its_history_is_full() {
    let states = json!({
        "Ping": { "Type": "Pass", "Next": "Pong" },
        "Pong": { "Type": "Pass", "Next": "Ping" },
    });
    let (execution, outcome) = run(&idle(), states, json!({})).await;
    let (error, cause) = support::fail_of(outcome);
    assert_eq!(error, "States.Runtime");
    assert_eq!(
        cause,
        "The execution reached the maximum number of history events (25000)."
    );
    assert_eq!(execution.history().len(), 25_000);
}
