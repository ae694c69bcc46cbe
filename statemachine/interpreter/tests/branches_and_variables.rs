//! Parallel and Map states, and who sees which variable.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use asl_interpreter::{Interpreter, Outcome, RuntimeClock, TaskFailure, TaskRequest};
use serde_json::{Value, json};
use support::{INVOKE, START, chain, fail_of, failure, idle, output, run};

fn lambda(name: &str) -> Value {
    json!({ "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName": name, "Payload.$": "$" }, "End": true })
}

#[tokio::test(start_paused = true)]
async fn a_parallel_state_gives_each_branch_its_input_and_lists_their_outputs_in_order() {
    let states = json!({ "All": {
        "Type": "Parallel",
        "Parameters": { "n.$": "$.n" },
        "Branches": [
            { "StartAt": "Slow", "States": { "Slow": { "Type": "Wait", "Seconds": 9, "End": true } } },
            { "StartAt": "Quick", "States": { "Quick": { "Type": "Pass", "Result": "quick", "End": true } } },
        ],
        "ResultSelector": { "slow.$": "$[0].n", "quick.$": "$[1]" },
        "ResultPath": "$.done",
        "End": true,
    } });
    assert_eq!(
        output(states, json!({ "n": 4 })).await,
        json!({ "n": 4, "done": { "slow": 4, "quick": "quick" } })
    );
}

#[tokio::test(start_paused = true)]
async fn branch_events_follow_their_own_branch_and_the_exit_follows_the_last_to_end() {
    let states = json!({ "All": {
        "Type": "Parallel",
        "Branches": [
            { "StartAt": "A", "States": { "A": { "Type": "Pass", "End": true } } },
            { "StartAt": "B", "States": { "B": { "Type": "Wait", "Seconds": 5, "End": true } } },
        ],
        "End": true,
    } });
    let (execution, _) = run(&idle(), states, json!({})).await;
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 ParallelStateEntered",
            "3<2 ParallelStateStarted",
            "4<3 PassStateEntered",
            "5<3 WaitStateEntered",
            "6<4 PassStateExited",
            "7<5 WaitStateExited",
            "8<7 ParallelStateSucceeded",
            "9<7 ParallelStateExited",
            "10<9 ExecutionSucceeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_branch_to_fail_aborts_the_others() {
    let runner = |request: TaskRequest| async move {
        if request.state_name == "Breaks" {
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(TaskFailure::new("Broken", "early"));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(json!({}))
    };
    let interpreter = Interpreter::new(runner, RuntimeClock::starting_at(START));
    let states = json!({ "All": {
        "Type": "Parallel",
        "Branches": [
            { "StartAt": "Lasts", "States": { "Lasts": lambda("long") } },
            { "StartAt": "Breaks", "States": { "Breaks": lambda("short") } },
            { "StartAt": "Naps", "States": { "Naps": { "Type": "Wait", "Seconds": 60, "End": true } } },
        ],
        "End": true,
    } });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(fail_of(outcome), ("Broken".to_owned(), "early".to_owned()));
    assert_eq!(
        execution.stopped_at().unwrap(),
        START + Duration::from_secs(2)
    );
    let chain = chain(&execution);
    assert_eq!(
        chain[chain.len() - 6..],
        [
            "11<10 TaskFailed",
            "12<11 TaskStateAborted",
            "13<11 TaskStateAborted",
            "14<11 WaitStateAborted",
            "15<11 ParallelStateFailed",
            "16<15 ExecutionFailed",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_map_state_runs_its_states_for_each_item() {
    let states = json!({ "Each": {
        "Type": "Map",
        "ItemsPath": "$.names",
        "ItemSelector": { "name.$": "$$.Map.Item.Value", "at.$": "$$.Map.Item.Index", "from.$": "$.source" },
        "ItemProcessor": { "ProcessorConfig": { "Mode": "INLINE" }, "StartAt": "Say", "States": {
            "Say": { "Type": "Pass", "Parameters": { "said.$": "States.Format('{}/{} {}', $.from, $.name, $$.Map.Item.Index)" }, "End": true }
        } },
        "End": true,
    } });
    let input = json!({ "source": "prod", "names": ["a", "b"] });
    assert_eq!(
        output(states, input).await,
        json!([{ "said": "prod/a 0" }, { "said": "prod/b 1" }])
    );
}

#[tokio::test(start_paused = true)]
async fn the_names_of_old_work_like_the_new_ones() {
    let states = json!({ "Each": {
        "Type": "Map",
        "Parameters": { "value.$": "$$.Map.Item.Value" },
        "Iterator": { "StartAt": "Say", "States": { "Say": { "Type": "Pass", "OutputPath": "$.value", "End": true } } },
        "End": true,
    } });
    assert_eq!(output(states, json!([1, 2])).await, json!([1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_map_state_over_nothing_succeeds_with_nothing() {
    let states = json!({ "Each": {
        "Type": "Map",
        "ItemProcessor": { "StartAt": "Say", "States": { "Say": { "Type": "Pass", "End": true } } },
        "End": true,
    } });
    let (execution, outcome) = run(&idle(), states, json!([])).await;
    assert_eq!(outcome, Outcome::Succeeded { output: json!([]) });
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 MapStateEntered",
            "3<2 MapStateStarted",
            "4<3 MapStateSucceeded",
            "5<3 MapStateExited",
            "6<5 ExecutionSucceeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_iterations_run_at_once_than_allowed() {
    for (limit, wanted) in [(json!(1), 1), (json!(3), 3), (json!(0), 8)] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
        let runner = move |_: TaskRequest| {
            let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(json!({}))
            }
        };
        let interpreter = Interpreter::new(runner, RuntimeClock::starting_at(START));
        let states = json!({ "Each": {
            "Type": "Map", "ItemsPath": "$.items", "MaxConcurrencyPath": "$.limit",
            "ItemProcessor": { "StartAt": "Do", "States": { "Do": lambda("f") } },
            "End": true,
        } });
        run(
            &interpreter,
            states,
            json!({ "items": [1, 2, 3, 4, 5, 6, 7, 8], "limit": limit }),
        )
        .await;
        assert_eq!(most.load(Ordering::SeqCst), wanted, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn iterations_all_start_before_their_states_do() {
    let states = json!({ "Each": {
        "Type": "Map",
        "ItemProcessor": { "StartAt": "Say", "States": { "Say": { "Type": "Pass", "End": true } } },
        "End": true,
    } });
    let (execution, _) = run(&idle(), states, json!(["a", "b"])).await;
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 MapStateEntered",
            "3<2 MapStateStarted",
            "4<3 MapIterationStarted",
            "5<3 MapIterationStarted",
            "6<4 PassStateEntered",
            "7<5 PassStateEntered",
            "8<6 PassStateExited",
            "9<8 MapIterationSucceeded",
            "10<7 PassStateExited",
            "11<10 MapIterationSucceeded",
            "12<11 MapStateSucceeded",
            "13<11 MapStateExited",
            "14<13 ExecutionSucceeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_iteration_fails_the_map_and_aborts_the_rest() {
    let states = json!({ "Each": {
        "Type": "Map",
        "ItemProcessor": { "StartAt": "Look", "States": {
            "Look": { "Type": "Choice", "Default": "Nap", "Choices": [{ "Variable": "$", "StringEquals": "bad", "Next": "Stop" }] },
            "Nap": { "Type": "Wait", "Seconds": 60, "End": true },
            "Stop": { "Type": "Fail", "Error": "Bad" },
        } },
        "End": true,
    } });
    let (execution, outcome) = run(&idle(), states, json!(["good", "bad"])).await;
    assert_eq!(
        outcome,
        Outcome::Failed {
            error: Some("Bad".to_owned()),
            cause: None
        }
    );
    let chain = chain(&execution);
    assert_eq!(
        chain[chain.len() - 6..],
        [
            "11<10 FailStateEntered",
            "12<11 MapIterationAborted",
            "13<11 WaitStateAborted",
            "14<11 MapIterationFailed",
            "15<11 MapStateFailed",
            "16<15 ExecutionFailed",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_map_state_wants_an_array() {
    let states = json!({ "Each": {
        "Type": "Map", "ItemsPath": "$.items",
        "ItemProcessor": { "StartAt": "Say", "States": { "Say": { "Type": "Pass", "End": true } } },
        "End": true,
    } });
    let (error, cause) = failure(states, json!({ "items": 5 })).await;
    assert_eq!(error, "States.Runtime");
    assert!(
        cause.ends_with("Reference path \"$.items\" must point to array."),
        "{cause}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_machine_inside_a_branch_ends_the_execution_uncaught() {
    let states = json!({
        "All": {
            "Type": "Parallel",
            "Branches": [{ "StartAt": "Odd", "States": { "Odd": { "Type": "Pass", "InputPath": "$.none", "End": true } } }],
            "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "After" }],
            "End": true,
        },
        "After": { "Type": "Succeed" },
    });
    assert_eq!(failure(states, json!({})).await.0, "States.Runtime");
}

#[tokio::test(start_paused = true)]
async fn an_assignment_sees_the_variables_as_they_were_before_it() {
    let states = json!({
        "First": { "Type": "Pass", "Assign": { "a": 1, "b": 2 }, "Next": "Swap" },
        "Swap": { "Type": "Pass", "Assign": { "a.$": "$b", "b.$": "$a" }, "Next": "Tell" },
        "Tell": { "Type": "Pass", "Parameters": { "a.$": "$a", "b.$": "$b" }, "End": true },
    });
    assert_eq!(output(states, json!({})).await, json!({ "a": 2, "b": 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_tasks_assignment_reads_the_whole_result_whatever_the_state_puts_out() {
    let (interpreter, _) = support::answering([Ok(json!({ "copies": 2 }))]);
    let states = json!({
        "Ask": {
            "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName": "f" },
            "Assign": { "copies.$": "$.Payload.copies" }, "ResultSelector": { "kept": true }, "Next": "Tell",
        },
        "Tell": { "Type": "Pass", "Parameters": { "copies.$": "$copies", "out.$": "$" }, "End": true },
    });
    let (execution, outcome) = run(&interpreter, states, json!({})).await;
    assert_eq!(
        outcome,
        Outcome::Succeeded {
            output: json!({ "copies": 2, "out": { "kept": true } })
        }
    );
    let exit = execution.history().events()[5].to_json();
    assert_eq!(
        exit["stateExitedEventDetails"]["assignedVariables"],
        json!({ "copies": "2" })
    );
}

#[tokio::test(start_paused = true)]
async fn branches_read_the_variables_around_them_and_keep_their_own() {
    let states = json!({
        "Set": { "Type": "Pass", "Assign": { "outer": 10 }, "Next": "Each" },
        "Each": {
            "Type": "Map",
            "ItemProcessor": { "StartAt": "Keep", "States": {
                "Keep": { "Type": "Pass", "Assign": { "own.$": "States.MathAdd($outer, $)" }, "Next": "Tell" },
                "Tell": { "Type": "Pass", "Parameters": { "own.$": "$own" }, "End": true },
            } },
            "Next": "Look",
        },
        "Look": { "Type": "Pass", "Parameters": { "own.$": "$own" }, "End": true },
    });
    let (execution, outcome) = run(&idle(), states, json!([1, 2])).await;
    assert_eq!(
        fail_of(outcome).0,
        "States.Runtime",
        "what an iteration assigned is gone"
    );
    let mapped = execution
        .history()
        .events()
        .iter()
        .filter(|event| event.state_name() == Some("Each"))
        .map(|event| event.to_json()["stateExitedEventDetails"]["output"].clone())
        .next_back()
        .unwrap();
    assert_eq!(mapped, json!("[{\"own\":11},{\"own\":12}]"));
}
