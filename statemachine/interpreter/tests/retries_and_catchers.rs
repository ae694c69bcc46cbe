//! Retry and Catch: which error goes where, and after how long.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use asl_interpreter::{Outcome, TaskFailure};
use serde_json::{Value, json};
use support::{Answer, INVOKE, answering, fail_of, output, run};

fn task(retry: Value, catch: Value) -> Value {
    json!({
        "Try": {
            "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName": "f" },
            "Retry": retry, "Catch": catch, "ResultPath": null, "End": true,
        },
        "Caught": { "Type": "Pass", "End": true },
    })
}

fn only_task(retry: Value) -> Value {
    let mut states = task(retry, json!([]));
    states.as_object_mut().unwrap().remove("Caught");
    states
}

fn failing(names: &[&str]) -> Vec<Answer> {
    names
        .iter()
        .map(|name| Err(TaskFailure::new(*name, "because")))
        .collect()
}

/// The pauses a retrier makes between `failures` failures and the success after them.
async fn pauses(retrier: Value, failures: usize) -> Vec<f64> {
    let (interpreter, asked) = answering(failing(&vec!["Transient"; failures]));
    let (_, outcome) = run(&interpreter, only_task(json!([retrier])), json!({})).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    asked.gaps()
}

/// tokio's timer rounds up to whole milliseconds.
fn about(pauses: &[f64], wanted: &[f64]) -> bool {
    pauses.len() == wanted.len()
        && pauses
            .iter()
            .zip(wanted)
            .all(|(pause, wanted)| (pause - wanted).abs() < 0.005)
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_the_interval_times_the_rate_to_the_power_of_retries_so_far_up_to_its_maximum() {
    for interval in [1_u32, 2, 7] {
        for rate in [1.0, 1.5, 2.0, 3.0] {
            for longest in [None, Some(10_u32)] {
                let mut retrier = json!({
                    "ErrorEquals": ["Transient"], "IntervalSeconds": interval, "BackoffRate": rate, "MaxAttempts": 6,
                });
                if let Some(longest) = longest {
                    retrier["MaxDelaySeconds"] = longest.into();
                }
                let wanted: Vec<f64> = (0..6)
                    .map(|retry| f64::from(interval) * f64::powi(rate, retry))
                    .map(|delay| longest.map_or(delay, |longest| delay.min(f64::from(longest))))
                    .collect();
                let pauses = pauses(retrier.clone(), 6).await;
                assert!(
                    about(&pauses, &wanted),
                    "{retrier}: {pauses:?} is not {wanted:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retrier_with_nothing_but_names_waits_1_2_and_4_seconds() {
    assert!(about(
        &pauses(json!({ "ErrorEquals": ["Transient"] }), 3).await,
        &[1.0, 2.0, 4.0]
    ));
}

#[tokio::test(start_paused = true)]
async fn full_jitter_stays_below_the_delay_and_repeats_with_its_seed() {
    let retrier = || {
        json!({
            "ErrorEquals": ["Transient"], "IntervalSeconds": 100, "BackoffRate": 1.0, "MaxAttempts": 40,
            "JitterStrategy": "FULL",
        })
    };
    let first = pauses(retrier(), 40).await;
    assert!(
        first.iter().all(|pause| (0.0..100.01).contains(pause)),
        "{first:?}"
    );
    assert!(
        first.iter().any(|pause| *pause < 50.0) && first.iter().any(|pause| *pause > 50.0),
        "{first:?}"
    );
    assert_eq!(first, pauses(retrier(), 40).await);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_for_each_retrier_on_its_own() {
    let retry = json!([
        { "ErrorEquals": ["A"], "IntervalSeconds": 1, "MaxAttempts": 2 },
        { "ErrorEquals": ["B"], "IntervalSeconds": 10, "MaxAttempts": 1 },
    ]);
    let (interpreter, asked) = answering(failing(&["A", "B", "A", "A"]));
    let (execution, outcome) = run(&interpreter, only_task(retry), json!({})).await;
    assert_eq!(fail_of(outcome).0, "A");
    assert!(
        about(&asked.gaps(), &[1.0, 10.0, 2.0]),
        "{:?}",
        asked.gaps()
    );
    assert_eq!(
        asked
            .requests()
            .iter()
            .map(|request| request.retry_count)
            .collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(
        execution.history().transitions(),
        4,
        "one state entered and three retries"
    );
}

#[tokio::test(start_paused = true)]
async fn once_the_first_retrier_that_names_an_error_is_used_up_no_other_is_asked() {
    let retry = json!([
        { "ErrorEquals": ["A"], "MaxAttempts": 1 },
        { "ErrorEquals": ["States.ALL"], "MaxAttempts": 5 },
    ]);
    let (interpreter, asked) = answering(failing(&["A", "A", "A"]));
    assert_eq!(
        fail_of(run(&interpreter, only_task(retry), json!({})).await.1).0,
        "A"
    );
    assert_eq!(asked.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_attempts_means_no_retry() {
    let retry = json!([{ "ErrorEquals": ["States.ALL"], "MaxAttempts": 0 }]);
    let (interpreter, asked) = answering(failing(&["A"]));
    assert_eq!(
        fail_of(run(&interpreter, only_task(retry), json!({})).await.1).0,
        "A"
    );
    assert_eq!(asked.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_match_errors_as_the_table_in_the_guide_says() {
    for (name, error, wanted) in [
        ("Transient", "Transient", true),
        ("Transient", "Other", false),
        ("States.ALL", "Transient", true),
        ("States.ALL", "States.Timeout", true),
        ("States.ALL", "States.TaskFailed", true),
        ("States.ALL", "States.Permissions", true),
        ("States.ALL", "States.Runtime", false),
        ("States.ALL", "States.DataLimitExceeded", false),
        ("States.DataLimitExceeded", "States.DataLimitExceeded", true),
        ("States.TaskFailed", "Transient", true),
        ("States.TaskFailed", "Lambda.Unknown", true),
        ("States.TaskFailed", "States.Timeout", false),
        ("States.TaskFailed", "States.HeartbeatTimeout", false),
        ("States.Timeout", "States.Timeout", true),
        ("States.HeartbeatTimeout", "States.Timeout", false),
    ] {
        let (interpreter, _) = answering(failing(&[error]));
        let states = task(
            json!([]),
            json!([{ "ErrorEquals": [name], "Next": "Caught" }]),
        );
        let (_, outcome) = run(&interpreter, states, json!({})).await;
        assert_eq!(
            matches!(outcome, Outcome::Succeeded { .. }),
            wanted,
            "`{name}` for {error}: {outcome:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_catcher_gets_error_and_cause_and_puts_them_where_it_says() {
    let catch =
        json!([{ "ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Caught" }]);
    let (interpreter, _) = answering(failing(&["Rejected"]));
    let (execution, outcome) = run(&interpreter, task(json!([]), catch), json!({ "in": 1 })).await;
    let wanted = json!({ "in": 1, "failure": { "Error": "Rejected", "Cause": "because" } });
    assert_eq!(outcome, Outcome::Succeeded { output: wanted });
    assert_eq!(execution.history().states_entered(), ["Try", "Caught"]);
}

#[tokio::test(start_paused = true)]
async fn a_catcher_assigns_from_the_error_and_skips_the_output_path() {
    let (interpreter, _) = answering(failing(&["Rejected"]));
    let states = json!({
        "Try": {
            "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName": "f" }, "OutputPath": "$.Payload",
            "Catch": [{ "ErrorEquals": ["Rejected"], "Assign": { "why.$": "$.Error" }, "Next": "Tell" }], "End": true,
        },
        "Tell": { "Type": "Pass", "Parameters": { "why.$": "$why", "all.$": "$" }, "End": true },
    });
    let wanted = json!({ "why": "Rejected", "all": { "Error": "Rejected", "Cause": "because" } });
    assert_eq!(
        run(&interpreter, states, json!({})).await.1,
        Outcome::Succeeded { output: wanted }
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_a_name_is_caught_by_all_and_shows_as_null() {
    let (interpreter, _) = answering([Err(TaskFailure::default())]);
    let states = task(
        json!([]),
        json!([{ "ErrorEquals": ["States.ALL"], "Next": "Caught" }]),
    );
    let wanted = json!({ "Error": null, "Cause": null });
    assert_eq!(
        run(&interpreter, states, json!({})).await.1,
        Outcome::Succeeded { output: wanted }
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_catches_an_error_of_the_machine_itself() {
    let (interpreter, _) = answering([Ok(json!(1))]);
    let mut states = task(
        json!([{ "ErrorEquals": ["States.Runtime"] }]),
        json!([
            { "ErrorEquals": ["States.Runtime"], "Next": "Caught" },
            { "ErrorEquals": ["States.ALL"], "Next": "Caught" },
        ]),
    );
    states["Try"]["OutputPath"] = json!("$.nowhere");
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome).0, "States.Runtime");
    assert_eq!(execution.history().states_entered(), ["Try"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_256_kibibytes_fails_the_task_and_is_caught_even_by_all() {
    let (interpreter, _) = answering([Ok(json!("x".repeat(262_144)))]);
    let states = task(
        json!([]),
        json!([{ "ErrorEquals": ["States.ALL"], "Next": "Caught" }]),
    );
    let (_, outcome) = run(&interpreter, states, json!({})).await;
    let cause = "The state/task 'lambda' returned a result with a size exceeding the maximum number of bytes service limit.";
    let wanted = json!({ "Error": "States.DataLimitExceeded", "Cause": cause });
    assert_eq!(outcome, Outcome::Succeeded { output: wanted });
}

#[tokio::test(start_paused = true)]
async fn a_fail_state_names_error_and_cause_from_texts_paths_functions_and_variables() {
    let states = json!({
        "Note": { "Type": "Pass", "Assign": { "step": "Verify" }, "Next": "Stop" },
        "Stop": {
            "Type": "Fail",
            "ErrorPath": "$.code",
            "CausePath": "States.Format('{} failed for {}', $step, $$.Execution.Name)",
        },
    });
    let (error, cause) = support::failure(states, json!({ "code": "Rejected" })).await;
    assert_eq!(
        (error.as_str(), cause.as_str()),
        ("Rejected", "Verify failed for drill-7")
    );
}

#[tokio::test(start_paused = true)]
async fn a_fail_state_may_say_nothing() {
    let (_, outcome) = run(
        &support::idle(),
        json!({ "Stop": { "Type": "Fail" } }),
        json!({}),
    )
    .await;
    assert_eq!(
        outcome,
        Outcome::Failed {
            error: None,
            cause: None
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_parallel_state_is_retried_as_a_whole_and_then_caught() {
    let states = json!({
        "Both": {
            "Type": "Parallel",
            "Branches": [{ "StartAt": "Stop", "States": { "Stop": { "Type": "Fail", "Error": "E", "Cause": "c" } } }],
            "Retry": [{ "ErrorEquals": ["E"], "MaxAttempts": 1 }],
            "Catch": [{ "ErrorEquals": ["States.TaskFailed"], "Next": "After" }],
            "End": true,
        },
        "After": { "Type": "Pass", "End": true },
    });
    assert_eq!(
        output(states, json!({})).await,
        json!({ "Error": "E", "Cause": "c" })
    );
}
