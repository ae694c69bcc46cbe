//! What is refused when a definition is loaded, and how it is said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use asl_interpreter::{Problem, StateMachine};
use serde_json::{Value, json};
use support::{CALLBACK, INVOKE};

fn problems(definition: &Value) -> Vec<Problem> {
    match StateMachine::load(&definition.to_string(), |_| false) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems,
    }
}

/// The one problem a state has, among states that are fine.
fn problem_of(state: Value) -> String {
    let definition =
        json!({ "StartAt": "It", "States": { "It": state, "Done": { "Type": "Succeed" } } });
    let found: Vec<String> = problems(&definition)
        .iter()
        .map(ToString::to_string)
        .filter(|problem| !problem.contains("no state leads here"))
        .collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

fn task(field: &str, value: Value) -> Value {
    json!({
        "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName": "f" }, field: value, "Next": "Done",
    })
}

fn map(field: &str, value: Value) -> Value {
    json!({
        "Type": "Map", "ItemProcessor": { "StartAt": "In", "States": { "In": { "Type": "Pass", "End": true } } },
        field: value, "Next": "Done",
    })
}

fn choice(rules: Value) -> Value {
    json!({ "Type": "Choice", "Choices": rules, "Default": "Done" })
}

#[test]
fn a_sound_definition_loads_and_keeps_its_order() {
    let definition = json!({
        "Comment": "sound", "StartAt": "Zeta", "TimeoutSeconds": 60, "Version": "1.0", "QueryLanguage": "JSONPath",
        "States": {
            "Zeta": { "Type": "Task", "Resource": INVOKE, "Parameters": { "FunctionName.$": "$.f" }, "Next": "Alpha" },
            "Alpha": {
                "Type": "Parallel", "End": true,
                "Branches": [{ "StartAt": "Inner", "States": { "Inner": {
                    "Type": "Task", "Resource": CALLBACK, "Parameters": { "FunctionName": "g" }, "End": true,
                } } }],
            },
        },
    });
    let machine = StateMachine::load(&definition.to_string(), |_| false).unwrap();
    assert_eq!(machine.state_names(), ["Zeta", "Alpha", "Inner"]);
    assert_eq!(machine.resources(), [INVOKE, CALLBACK]);
    assert_eq!(
        (machine.start_at(), machine.comment()),
        ("Zeta", Some("sound"))
    );
}

#[test]
fn a_problem_names_the_state_the_field_the_value_and_the_remedy() {
    assert_eq!(
        problem_of(task("HeartbeatSeconds", json!(0))),
        "state `It`, `HeartbeatSeconds` = 0: must be a whole number from 1 to 99999999"
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let definition = json!({
        "StartAt": "One", "Strange": 1,
        "States": {
            "One": { "Type": "Pass", "InputPath": "nope", "Next": "Two" },
            "Two": { "Type": "Dance", "End": true },
            "Three": { "Type": "Wait", "End": true },
        },
    });
    let found: Vec<(Option<String>, String)> = problems(&definition)
        .into_iter()
        .map(|problem| (problem.state, problem.field))
        .collect();
    let wanted = [
        (None, "Strange"),
        (Some("One"), "InputPath"),
        (Some("Two"), "Type"),
        (Some("Three"), ""),
    ];
    assert_eq!(
        found,
        wanted.map(|(state, field)| (state.map(str::to_owned), field.to_owned()))
    );
}

#[test]
fn what_is_not_implemented_is_refused() {
    for (state, wanted) in [
        (
            json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Next": "Done" }),
            "is not implemented",
        ),
        (
            json!({ "Type": "Pass", "Output": "{% 1 %}", "Next": "Done" }),
            "belongs to JSONata",
        ),
        (
            task("Credentials", json!({ "RoleArn": "arn:aws:iam::1:role/x" })),
            "is not implemented",
        ),
        (
            task("Resource", json!("arn:aws:states:::sqs:sendMessage")),
            "is not a resource this task runner can serve",
        ),
        (
            task("Resource", json!("arn:aws:states:::lambda:invoke.sync")),
            "is not a resource this task runner can serve",
        ),
        (
            map("ItemReader", json!({})),
            "is not implemented: items come",
        ),
        (
            map("ToleratedFailureCount", json!(1)),
            "belongs to Distributed Map",
        ),
        (
            map(
                "ItemProcessor",
                json!({
                    "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS" },
                    "StartAt": "In", "States": { "In": { "Type": "Pass", "End": true } },
                }),
            ),
            "must be STANDARD",
        ),
        (
            json!({ "Type": "Pass", "InputPath": "$.list.length()", "Next": "Done" }),
            "the path function `length()`",
        ),
    ] {
        let problem = problem_of(state);
        assert!(problem.contains(wanted), "{problem}");
    }
}

#[test]
fn a_runner_can_say_what_else_it_supports() {
    let definition = json!({ "StartAt": "It", "States": { "It": {
        "Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true,
    } } })
    .to_string();
    assert!(StateMachine::load(&definition, |resource| resource.ends_with("sns:publish")).is_ok());
}

#[test]
fn fields_are_checked_one_by_one() {
    for (state, wanted) in [
        (json!({ "Type": "Pass" }), "`Next`: is required"),
        (
            json!({ "Type": "Pass", "Next": "Done", "End": true }),
            "`End` = true: cannot stand beside `Next`",
        ),
        (json!({ "Type": "Pass", "End": false }), "can only be true"),
        (
            json!({ "Type": "Pass", "Nxt": "Done", "Next": "Done" }),
            "`Nxt` = \"Done\": is not a field of this",
        ),
        (
            json!({ "Type": "Succeed", "Assign": {} }),
            "`Assign` = {}: is not a field",
        ),
        (
            json!({ "Type": "Fail", "Error": "a", "ErrorPath": "$.a" }),
            "`ErrorPath` = \"$.a\": cannot stand beside `Error`",
        ),
        (
            json!({ "Type": "Wait", "Seconds": 1, "SecondsPath": "$.s", "Next": "Done" }),
            "cannot stand beside",
        ),
        (
            json!({ "Type": "Wait", "Seconds": -1, "Next": "Done" }),
            "must be a whole number",
        ),
        (
            json!({ "Type": "Wait", "Timestamp": "tomorrow", "Next": "Done" }),
            "must be an RFC 3339 timestamp",
        ),
        (
            json!({ "Type": "Wait", "SecondsPath": "$.s[*]", "Next": "Done" }),
            "must be a reference path",
        ),
        (
            json!({ "Type": "Pass", "ResultPath": "$.a[*]", "Next": "Done" }),
            "must be null or a reference path",
        ),
        (
            json!({ "Type": "Pass", "ResultPath": "$$.a", "Next": "Done" }),
            "must be null or a reference path",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "b" }, "Next": "Done" }),
            "`Parameters.a.$` = \"b\": not a valid path",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "l": [{ "a.$": 1 }] }, "Next": "Done" }),
            "`Parameters.l[0].a.$` = 1",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "States.Nope()" }, "Next": "Done" }),
            "there is no intrinsic function `States.Nope`",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "States.MathAdd(1)" }, "Next": "Done" }),
            "does not take 1 arguments",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "States.Format('\\\"')" }, "Next": "Done" }),
            "is not an escape",
        ),
        (
            task("TimeoutSecondsPath", json!("$.a[0:1]")),
            "must be a reference path",
        ),
        (
            task("Parameters", json!({ "Payload": 1 })),
            "must name the function in `FunctionName`",
        ),
        (
            task("Parameters", json!({ "FunctionName": "f", "payload": 1 })),
            "`payload` is not a parameter of lambda:invoke",
        ),
        (
            task("Retry", json!([{ "ErrorEquals": [] }])),
            "`Retry[0].ErrorEquals` = []: must be a list",
        ),
        (
            task(
                "Retry",
                json!([{ "ErrorEquals": ["A"], "BackoffRate": 0.5 }]),
            ),
            "at least 1.0",
        ),
        (
            task(
                "Retry",
                json!([{ "ErrorEquals": ["A"], "IntervalSeconds": 0 }]),
            ),
            "must be a whole number from 1",
        ),
        (
            task(
                "Retry",
                json!([{ "ErrorEquals": ["A"], "MaxAttempts": 1.5 }]),
            ),
            "must be a whole number from 0",
        ),
        (
            task(
                "Retry",
                json!([{ "ErrorEquals": ["A"], "IntervalSeconds": 9, "MaxDelaySeconds": 9 }]),
            ),
            "must be more than",
        ),
        (
            task(
                "Retry",
                json!([{ "ErrorEquals": ["A"], "JitterStrategy": "SOME" }]),
            ),
            "must be FULL or NONE",
        ),
        (
            task("Retry", json!([{ "ErrorEquals": ["States.ALL", "A"] }])),
            "must stand alone",
        ),
        (
            task(
                "Catch",
                json!([
                    { "ErrorEquals": ["States.ALL"], "Next": "Done" },
                    { "ErrorEquals": ["A"], "Next": "Done" },
                ]),
            ),
            "and in the last entry",
        ),
        (choice(json!([])), "give at least one rule"),
        (
            choice(json!([{ "Variable": "$.a", "Next": "Done" }])),
            "give exactly one of",
        ),
        (
            choice(
                json!([{ "Variable": "$.a", "IsNull": true, "IsString": true, "Next": "Done" }]),
            ),
            "give exactly one of",
        ),
        (
            choice(json!([{ "Variable": "$.a", "NumericEquals": "1", "Next": "Done" }])),
            "must be a number",
        ),
        (
            choice(json!([{ "Variable": "$.a", "BooleanLessThan": true, "Next": "Done" }])),
            "is not a comparison",
        ),
        (
            choice(
                json!([{ "Not": { "Variable": "$.a", "IsNull": true, "Next": "Done" }, "Next": "Done" }]),
            ),
            "exactly one of",
        ),
        (map("MaxConcurrency", json!(-1)), "must be a whole number"),
        (
            map(
                "Iterator",
                json!({ "StartAt": "In", "States": { "In": { "Type": "Succeed" } } }),
            ),
            "cannot stand beside",
        ),
    ] {
        let problem = problem_of(state.clone());
        assert!(problem.contains(wanted), "{state}\n{problem}");
    }
}

#[test]
fn the_heartbeat_must_be_shorter_than_the_timeout() {
    let mut state = task("HeartbeatSeconds", json!(30));
    state["TimeoutSeconds"] = json!(30);
    assert!(problem_of(state).contains("must be less than TimeoutSeconds (30)"));
}

#[test]
fn every_target_must_exist_beside_its_state_and_every_state_be_reached() {
    let definition = json!({
        "StartAt": "Gone",
        "States": {
            "A": { "Type": "Pass", "Next": "Inner" },
            "B": { "Type": "Parallel", "End": true, "Branches": [
                { "StartAt": "Inner", "States": { "Inner": { "Type": "Pass", "Next": "A" } } },
            ] },
        },
    });
    let found: Vec<String> = problems(&definition)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "state machine, `StartAt` = \"Gone\": is not one of the states beside it; name one that is",
            "state `A`, `Next` = \"Inner\": is not one of the states beside it; name one that is",
            "state `Inner`, `Next` = \"A\": is not one of the states beside it; name one that is",
            "state `A`: no state leads here; connect it or remove it",
            "state `B`: no state leads here; connect it or remove it",
        ]
    );
}

#[test]
fn a_name_is_used_once_in_the_whole_machine_and_has_at_most_80_characters() {
    let twice = json!({
        "StartAt": "A",
        "States": { "A": { "Type": "Parallel", "End": true, "Branches": [
            { "StartAt": "A", "States": { "A": { "Type": "Succeed" } } },
        ] } },
    });
    assert!(problems(&twice)[0].remedy.contains("used more than once"));
    let name = "x".repeat(81);
    let long = json!({ "StartAt": &name, "States": { name: { "Type": "Succeed" } } });
    assert!(problems(&long)[0].remedy.contains("1 to 80 characters"));
}

#[test]
fn an_inner_scope_may_not_assign_what_an_outer_one_assigns() {
    let definition = json!({
        "StartAt": "Set",
        "States": {
            "Set": { "Type": "Pass", "Assign": { "x": 1 }, "Next": "All" },
            "All": { "Type": "Parallel", "End": true, "Branches": [
                { "StartAt": "In", "States": { "In": { "Type": "Pass", "Assign": { "x": 2 }, "End": true } } },
                { "StartAt": "Is", "States": { "Is": { "Type": "Pass", "Assign": { "y": 2 }, "End": true } } },
                { "StartAt": "It", "States": { "It": { "Type": "Pass", "Assign": { "y": 2 }, "End": true } } },
            ] },
        },
    });
    let found: Vec<String> = problems(&definition)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "state `In`, `Assign` = \"x\": `Set` around this state assigns the same variable; use another name here"
        ]
    );
}

#[test]
fn what_is_not_a_definition_is_said_to_be_none() {
    for (text, wanted) in [
        ("nope", "is not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "`StartAt`: is required"),
        (
            r#"{"StartAt": "A", "States": {}}"#,
            "with at least one state",
        ),
    ] {
        let error = StateMachine::load(text, |_| true).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
