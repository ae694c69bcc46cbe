//! Paths, payload templates and the five fields that move data through a state.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use serde_json::{Value, json};
use support::{answering, fail_of, failure, filled, idle, output, run, value_of};

fn shop() -> Value {
    json!({
        "store": { "name": "corner", "open": true, "till": null },
        "books": [
            { "title": "Sand", "price": 8, "tags": ["a", "b"] },
            { "title": "Salt", "price": 12.5, "tags": [] },
            { "title": "Rust", "price": 30, "isbn": "7" }
        ],
        "odd key": { "it's": 1 }
    })
}

#[tokio::test(start_paused = true)]
async fn a_definite_path_answers_with_the_value_itself() {
    for (path, wanted) in [
        ("$", shop()),
        ("$.store.name", json!("corner")),
        ("$['store']['open']", json!(true)),
        ("$.store.till", json!(null)),
        ("$.books[0].title", json!("Sand")),
        ("$.books[-1].title", json!("Rust")),
        ("$['odd key']['it\\'s']", json!(1)),
        ("$[\"odd key\"]", json!({ "it's": 1 })),
    ] {
        assert_eq!(value_of(path, shop()).await, wanted, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_may_name_several_values_answers_with_a_list() {
    for (path, wanted) in [
        ("$.books[*].price", json!([8, 12.5, 30])),
        ("$..price", json!([8, 12.5, 30])),
        ("$.books[0:2].title", json!(["Sand", "Salt"])),
        ("$.books[-1:].title", json!(["Rust"])),
        ("$.books[:1]", json!([shop()["books"][0]])),
        ("$.books[::2].title", json!(["Sand", "Rust"])),
        ("$.books[0,2].title", json!(["Sand", "Rust"])),
        ("$.store['name','open']", json!(["corner", true])),
        ("$.store.*", json!(["corner", true, null])),
        ("$.books[?(@.price < 20)].title", json!(["Sand", "Salt"])),
        ("$.books[?(@.isbn)].title", json!(["Rust"])),
        ("$.books[?(!@.isbn)].title", json!(["Sand", "Salt"])),
        (
            "$.books[?(@.title == 'Salt' || @.price >= 30)].title",
            json!(["Salt", "Rust"]),
        ),
        (
            "$.books[?(@.price > 5 && @.price != 30)].title",
            json!(["Sand", "Salt"]),
        ),
        (
            "$.books[?(@.title in ['Rust', 'Sand'])].price",
            json!([8, 30]),
        ),
        ("$.nowhere[*]", json!([])),
        ("$.nowhere[1:].deeper", json!([])),
        ("$.books[9:]", json!([])),
    ] {
        assert_eq!(value_of(path, shop()).await, wanted, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_template_computes_only_the_fields_that_say_so() {
    let template = json!({
        "fixed": "$.store.name",
        "taken.$": "$.store.name",
        "deep": { "list": [{ "first.$": "$.books[0].price" }, "$.price"] },
    });
    let wanted = json!({
        "fixed": "$.store.name",
        "taken": "corner",
        "deep": { "list": [{ "first": 8 }, "$.price"] },
    });
    assert_eq!(filled(template, shop()).await, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_template_whose_path_finds_nothing_ends_the_execution() {
    let states =
        json!({ "Make": { "Type": "Pass", "Parameters": { "x.$": "$.missing" }, "End": true } });
    let (error, cause) = failure(states, json!({ "here": 1 })).await;
    assert_eq!(error, "States.Runtime");
    assert_eq!(
        cause,
        "An error occurred while executing the state 'Make' (entered at the event id #2). The JSONPath '$.missing' \
         specified for the field 'x.$' could not be found in the input '{\"here\":1}'"
    );
}

#[tokio::test(start_paused = true)]
async fn input_path_selects_and_null_empties() {
    let pick = |path: Value| json!({ "Pick": { "Type": "Pass", "InputPath": path, "End": true } });
    assert_eq!(
        output(pick(json!("$.store.name")), shop()).await,
        json!("corner")
    );
    assert_eq!(
        output(pick(json!("$$.Execution.Name")), shop()).await,
        json!("drill-7")
    );
    assert_eq!(output(pick(Value::Null), shop()).await, json!({}));
}

#[tokio::test(start_paused = true)]
async fn output_path_selects_and_null_empties() {
    let pick = |path: Value| json!({ "Pick": { "Type": "Pass", "OutputPath": path, "End": true } });
    assert_eq!(
        output(pick(json!("$.books[0].tags")), shop()).await,
        json!(["a", "b"])
    );
    assert_eq!(output(pick(Value::Null), shop()).await, json!({}));
    let (error, cause) = failure(pick(json!("$.a.b")), json!({})).await;
    assert_eq!(error, "States.Runtime");
    assert!(
        cause.ends_with("Invalid path '$.a.b' : Missing property in path $['a']"),
        "{cause}"
    );
}

#[tokio::test(start_paused = true)]
async fn result_path_puts_the_result_into_the_raw_input() {
    let put = |path: Value| json!({ "Put": { "Type": "Pass", "InputPath": "$.a", "Result": 5, "ResultPath": path, "End": true } });
    let input = || json!({ "a": { "b": 1 }, "list": [1, 2] });
    for (path, wanted) in [
        (json!("$"), json!(5)),
        (Value::Null, input()),
        (json!("$.a.b"), json!({ "a": { "b": 5 }, "list": [1, 2] })),
        (
            json!("$.new.deep"),
            json!({ "a": { "b": 1 }, "list": [1, 2], "new": { "deep": 5 } }),
        ),
        (
            json!("$.list[1]"),
            json!({ "a": { "b": 1 }, "list": [1, 5] }),
        ),
    ] {
        assert_eq!(output(put(path.clone()), input()).await, wanted, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_has_no_place_in_the_input_is_a_result_path_match_failure() {
    let states =
        json!({ "Put": { "Type": "Pass", "Result": 5, "ResultPath": "$.a.b", "End": true } });
    let (error, cause) = failure(states, json!({ "a": "text" })).await;
    assert_eq!(error, "States.ResultPathMatchFailure");
    assert_eq!(
        cause,
        "Unable to apply ReferencePath $.a.b to input {\"a\":\"text\"}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_five_fields_apply_in_order_around_a_task() {
    let (interpreter, asked) = answering([Ok(json!({ "id": "snap-1", "size": 3 }))]);
    let states = json!({ "Copy": {
        "Type": "Task",
        "Resource": support::INVOKE,
        "InputPath": "$.request",
        "Parameters": { "FunctionName": "copy", "Payload": { "source.$": "$.source" } },
        "ResultSelector": { "id.$": "$.Payload.id", "code.$": "$.StatusCode" },
        "ResultPath": "$.copy",
        "OutputPath": "$.copy",
        "End": true,
    } });
    let (_, outcome) = run(
        &interpreter,
        states,
        json!({ "request": { "source": "orders" } }),
    )
    .await;
    assert_eq!(
        outcome,
        asl_interpreter::Outcome::Succeeded {
            output: json!({ "id": "snap-1", "code": 200 })
        }
    );
    let lambda = asked.requests()[0].lambda().unwrap();
    assert_eq!(
        (lambda.function.as_str(), lambda.payload),
        ("copy", json!({ "source": "orders" }))
    );
}

#[tokio::test(start_paused = true)]
async fn the_context_object_tells_of_execution_state_and_machine() {
    let context = value_of("$$", json!({ "in": 1 })).await;
    assert_eq!(
        context,
        json!({
            "Execution": {
                "Id": "arn:aws:states:us-east-1:000000000000:execution:StateMachine:drill-7",
                "Input": { "in": 1 },
                "StartTime": "2026-03-01T12:00:00.000Z",
                "Name": "drill-7",
                "RoleArn": "arn:aws:iam::000000000000:role/StateMachine",
                "RedriveCount": 0
            },
            "StateMachine": {
                "Id": "arn:aws:states:us-east-1:000000000000:stateMachine:StateMachine",
                "Name": "StateMachine"
            },
            "State": { "Name": "Make", "EnteredTime": "2026-03-01T12:00:00.000Z" }
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_states_result_is_never_a_template() {
    let states = json!({ "Say": { "Type": "Pass", "Result": { "x.$": "$.y" }, "End": true } });
    assert_eq!(output(states, json!({})).await, json!({ "x.$": "$.y" }));
}

#[tokio::test(start_paused = true)]
async fn an_output_over_256_kibibytes_is_a_data_limit_failure() {
    let long = "x".repeat(262_144);
    let states = json!({ "Say": { "Type": "Pass", "Result": long, "End": true } });
    let (_, outcome) = run(&idle(), states, json!({})).await;
    let (error, cause) = fail_of(outcome);
    assert_eq!(error, "States.DataLimitExceeded");
    assert!(
        cause.starts_with("The state/task 'Say' returned a result with a size exceeding"),
        "{cause}"
    );
}
