//! Distributed Map, and jobs that a task begins and follows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asl_interpreter::{
    Execution, IntegrationPattern, Interpreter, Launch, Outcome, RuntimeClock, Status, TaskFailure,
    TaskFuture, TaskRequest, TaskRunner,
};
use serde_json::{Value, json};
use support::{INVOKE, START, begin, chain, fail_of, failure, idle, machine, output, run};

/// A Distributed Map state over the input whose children are these states.
fn distributed(states: Value, own: Value) -> Value {
    let mut processor = machine(states);
    processor["ProcessorConfig"] = json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" });
    let mut map = json!({ "Type": "Map", "ItemProcessor": processor, "End": true });
    for (name, value) in own.as_object().unwrap() {
        map[name] = value.clone();
    }
    json!({ "Each": map })
}

fn pass() -> Value {
    json!({ "Echo": { "Type": "Pass", "End": true } })
}

/// States that fail where the item is below 0.
fn fail_below_zero() -> Value {
    json!({
        "Sign": { "Type": "Choice", "Default": "Fine",
            "Choices": [{ "Variable": "$", "NumericLessThan": 0, "Next": "Bad" }] },
        "Bad": { "Type": "Fail", "Error": "Negative" },
        "Fine": { "Type": "Succeed" },
    })
}

/// States that wait an hour.
fn an_hour() -> Value {
    json!({ "Hour": { "Type": "Wait", "Seconds": 3600, "End": true } })
}

#[tokio::test(start_paused = true)]
async fn every_item_has_an_execution_of_its_own_and_the_parent_records_the_map_run() {
    let states = distributed(pass(), json!({ "Label": "Each" }));
    let (execution, outcome) = run(&idle(), states, json!(["a", "b"])).await;
    let output = json!(["a", "b"]);
    assert_eq!(outcome, Outcome::Succeeded { output });
    assert_eq!(
        chain(&execution),
        [
            "1<0 ExecutionStarted",
            "2<0 MapStateEntered",
            "3<2 MapStateStarted",
            "4<3 MapRunStarted",
            "5<4 MapRunSucceeded",
            "6<5 MapStateSucceeded",
            "7<5 MapStateExited",
            "8<7 ExecutionSucceeded",
        ]
    );
    let map_run = &execution.map_runs()[0];
    assert_eq!(map_run.status(), Status::Succeeded);
    let machine = "us-east-1:000000000000:mapRun:StateMachine/Each:";
    assert!(map_run.arn().contains(machine), "{}", map_run.arn());
    let children = map_run.children();
    assert_eq!(children.len(), 2);
    let child = &children[1];
    assert_eq!(child.launch().input, json!("b"));
    let arn = "arn:aws:states:us-east-1:000000000000:execution:StateMachine/Each:";
    assert_eq!(
        child.launch().execution_arn,
        format!("{arn}{}", child.launch().name)
    );
    assert_eq!(
        chain(child),
        [
            "1<0 ExecutionStarted",
            "2<0 PassStateEntered",
            "3<2 PassStateExited",
            "4<3 ExecutionSucceeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_item_selector_sees_the_item_and_the_children_do_not() {
    let own = json!({
        "ItemsPath": "$.list",
        "ItemSelector": { "at.$": "$$.Map.Item.Index", "it.$": "$$.Map.Item.Value", "of.$": "$.of" },
    });
    let made = output(
        distributed(pass(), own),
        json!({ "of": "fleet", "list": [5, 6] }),
    )
    .await;
    let wanted = json!([{ "at": 0, "it": 5, "of": "fleet" }, { "at": 1, "it": 6, "of": "fleet" }]);
    assert_eq!(made, wanted);
}

#[tokio::test(start_paused = true)]
async fn no_more_children_run_at_once_than_the_path_says() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (current, peak) = (Arc::clone(&now), Arc::clone(&most));
    let runner = move |_: TaskRequest| {
        let (current, peak) = (Arc::clone(&current), Arc::clone(&peak));
        async move {
            peak.fetch_max(current.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(60)).await;
            current.fetch_sub(1, Ordering::SeqCst);
            Ok(json!({}))
        }
    };
    let interpreter = Interpreter::new(runner, RuntimeClock::starting_at(START)).with_seed(1);
    let work = json!({ "Work": { "Type": "Task", "Resource": INVOKE,
        "Parameters": { "FunctionName": "f" }, "End": true } });
    let own = json!({ "ItemsPath": "$.items", "MaxConcurrencyPath": "$.most" });
    let input = json!({ "most": 3, "items": [1, 2, 3, 4, 5, 6, 7] });
    let (execution, _) = run(&interpreter, distributed(work, own), input).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let took = execution.stopped_at().unwrap() - execution.started_at();
    assert_eq!(took.whole_seconds(), 180, "seven, three at a time");
}

#[tokio::test(start_paused = true)]
async fn failures_within_the_tolerated_percentage_stop_nobody() {
    let own = json!({ "ToleratedFailurePercentage": 100 });
    let states = distributed(fail_below_zero(), own);
    let (execution, outcome) = run(&idle(), states, json!([1, -1, 2])).await;
    let output = json!([1, 2]);
    assert_eq!(outcome, Outcome::Succeeded { output });
    let children = execution.map_runs()[0].children();
    let statuses: Vec<&str> = children.iter().map(|child| child.status().name()).collect();
    assert_eq!(statuses, ["SUCCEEDED", "FAILED", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn one_failure_more_than_tolerated_fails_the_map_run_and_can_be_caught() {
    for (own, tolerated) in [
        (json!({}), false),
        (json!({ "ToleratedFailureCount": 1 }), true),
        (json!({ "ToleratedFailurePercentage": 50 }), true),
        (json!({ "ToleratedFailurePercentage": 49.9 }), false),
        (
            json!({ "ToleratedFailurePercentage": 90, "ToleratedFailureCount": 0 }),
            false,
        ),
    ] {
        let states = distributed(fail_below_zero(), own.clone());
        let (execution, outcome) = run(&idle(), states, json!([1, -1])).await;
        assert_eq!(outcome.status() == Status::Succeeded, tolerated, "{own}");
        if !tolerated {
            let (error, cause) = fail_of(outcome);
            assert_eq!(error, "States.ExceedToleratedFailureThreshold");
            assert_eq!(
                cause,
                "The specified tolerated failure threshold was exceeded"
            );
            let failed = ["4<3 MapRunFailed", "5<4 MapRunFailed"];
            assert!(
                chain(&execution)
                    .iter()
                    .any(|event| failed.contains(&event.as_str()))
            );
            assert_eq!(execution.map_runs()[0].status(), Status::Failed);
        }
    }
    let own = json!({ "Catch": [{ "ErrorEquals": ["States.ExceedToleratedFailureThreshold"], "Next": "Caught" }] });
    let mut states = distributed(fail_below_zero(), own);
    states["Caught"] = json!({ "Type": "Pass", "Result": "caught", "End": true });
    assert_eq!(output(states, json!([-1])).await, json!("caught"));
}

#[tokio::test(start_paused = true)]
async fn a_threshold_that_is_no_number_is_refused_in_the_words_of_aws() {
    let prefix =
        "An error occurred while executing the state 'Each' (entered at the event id #2). ";
    for (field, value, sentence) in [
        (
            "ToleratedFailureCountPath",
            json!({}),
            "The ToleratedFailureCountPath field refers to value \"{}\" which is not a valid integer: $.most",
        ),
        (
            "ToleratedFailurePercentagePath",
            json!("NoNumber"),
            "The ToleratedFailurePercentagePath field refers to value \"NoNumber\" which is not a valid float: $.most",
        ),
        (
            "ToleratedFailurePercentagePath",
            json!(-1.1),
            "ToleratedFailurePercentage must be between 0 and 100.",
        ),
    ] {
        let own = json!({ "ItemsPath": "$.items", field: "$.most" });
        let input = json!({ "items": [0], "most": value });
        let (error, cause) = failure(distributed(pass(), own), input).await;
        assert_eq!(error, "States.Runtime");
        assert_eq!(cause, format!("{prefix}{sentence}"));
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_the_parent_stops_the_children_and_a_redrive_takes_up_those_alone() {
    let interpreter = idle();
    let states = distributed(an_hour(), json!({ "MaxConcurrency": 2 }));
    let parent = begin(&interpreter, &machine(states), json!([1, 2, 3]));
    tokio::time::sleep(Duration::from_secs(5_400)).await;
    parent.stop(None, None);
    parent.finished().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let statuses = |parent: &Execution| {
        let children = parent.map_runs()[0].children();
        let statuses = children.iter().map(|child| child.status().name());
        statuses.collect::<Vec<_>>()
    };
    assert_eq!(statuses(&parent), ["SUCCEEDED", "SUCCEEDED", "ABORTED"]);
    assert_eq!(parent.map_runs()[0].status(), Status::Aborted);

    tokio::spawn(interpreter.redrive(&parent).unwrap());
    let output = json!([1, 2, 3]);
    assert_eq!(parent.finished().await, Outcome::Succeeded { output });
    assert_eq!(statuses(&parent), ["SUCCEEDED"; 3]);
    let map_runs = parent.map_runs();
    assert_eq!(map_runs.len(), 1, "the same Map Run");
    assert_eq!(map_runs[0].redrive_count(), 1);
    let redriven = map_runs[0]
        .children()
        .iter()
        .map(Execution::redrive_count)
        .sum::<u64>();
    assert_eq!(
        redriven, 1,
        "the children that had succeeded are left alone"
    );
    let events = chain(&parent);
    assert!(
        events
            .iter()
            .any(|event| event.ends_with(" MapRunRedriven")),
        "{events:?}"
    );
}

/// A runner of jobs that last an hour; notes which were stopped.
struct Jobs {
    stopped: Arc<Mutex<Vec<Value>>>,
}

struct StopUnlessDone {
    job: Option<Value>,
    stopped: Arc<Mutex<Vec<Value>>>,
}

impl Drop for StopUnlessDone {
    fn drop(&mut self) {
        self.stopped.lock().unwrap().extend(self.job.take());
    }
}

impl TaskRunner for Jobs {
    fn run(&self, request: TaskRequest) -> TaskFuture {
        assert_eq!(request.pattern, IntegrationPattern::RunJob);
        Box::pin(async move {
            if request.parameters["refused"] == true {
                return Err(TaskFailure::new("Jobs.Refused", "no"));
            }
            Ok(json!({ "job": request.parameters["job"] }))
        })
    }

    fn follow(&self, request: TaskRequest, began: Value) -> TaskFuture {
        let running = StopUnlessDone {
            job: Some(began["job"].clone()),
            stopped: Arc::clone(&self.stopped),
        };
        Box::pin(async move {
            let mut running = running;
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            running.job = None;
            match request.parameters["fails"] == true {
                true => Err(TaskFailure::new("States.TaskFailed", "the job failed")),
                false => Ok(json!({ "done": began["job"] })),
            }
        })
    }

    fn supports(&self, resource: &str) -> bool {
        resource.ends_with("job.sync")
    }
}

fn job(own: Value) -> Value {
    let mut job = json!({ "Type": "Task", "Resource": "arn:aws:states:::jobs:job.sync",
        "Parameters": { "job": 7 }, "End": true });
    for (name, value) in own.as_object().unwrap() {
        job[name] = value.clone();
    }
    json!({ "Job": job })
}

#[tokio::test(start_paused = true)]
async fn a_job_is_begun_followed_and_stopped_when_its_task_ends_first() {
    let stopped = Arc::new(Mutex::new(Vec::new()));
    let jobs = Jobs {
        stopped: Arc::clone(&stopped),
    };
    let interpreter = Interpreter::new(jobs, RuntimeClock::starting_at(START)).with_seed(1);
    let (execution, outcome) = run(&interpreter, job(json!({})), json!({})).await;
    let output = json!({ "done": 7 });
    assert_eq!(outcome, Outcome::Succeeded { output });
    assert_eq!(
        chain(&execution)[2..6],
        [
            "3<2 TaskScheduled",
            "4<3 TaskStarted",
            "5<4 TaskSubmitted",
            "6<5 TaskSucceeded"
        ]
    );
    let failing = job(json!({ "Parameters": { "job": 8, "fails": true } }));
    let (execution, outcome) = run(&interpreter, failing, json!({})).await;
    assert_eq!(fail_of(outcome).0, "States.TaskFailed");
    assert_eq!(chain(&execution)[5], "6<5 TaskFailed");
    let refused = job(json!({ "Parameters": { "refused": true } }));
    let (execution, outcome) = run(&interpreter, refused, json!({})).await;
    assert_eq!(fail_of(outcome).0, "Jobs.Refused");
    assert_eq!(chain(&execution)[4], "5<4 TaskSubmitFailed");
    assert!(stopped.lock().unwrap().is_empty());

    let (execution, outcome) = run(
        &interpreter,
        job(json!({ "TimeoutSeconds": 60 })),
        json!({}),
    )
    .await;
    assert_eq!(fail_of(outcome).0, "States.Timeout");
    assert_eq!(chain(&execution)[5], "6<5 TaskTimedOut");
    assert_eq!(
        *stopped.lock().unwrap(),
        [7],
        "the job of a task that timed out"
    );

    let running = begin(&interpreter, &machine(job(json!({}))), json!({}));
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.stop(None, None);
    running.finished().await;
    assert_eq!(
        *stopped.lock().unwrap(),
        [7, 7],
        "the job of an execution that was stopped"
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_sees_no_variable_of_its_parent() {
    let states = json!({
        "Set": { "Type": "Pass", "Assign": { "secret": 7 }, "Next": "Each" },
        "Each": distributed(json!({ "Read": { "Type": "Pass",
            "Parameters": { "it.$": "$secret" }, "End": true } }), json!({}))["Each"],
    });
    let (execution, outcome) = run(&idle(), states, json!([1])).await;
    assert_eq!(fail_of(outcome).0, "States.ExceedToleratedFailureThreshold");
    let child = execution.map_runs()[0].children()[0].clone();
    assert_eq!(fail_of(child.outcome().unwrap()).0, "States.Runtime");
    let launched: &Launch = child.launch();
    assert!(launched.state_machine_arn.contains("StateMachine/"));
}
