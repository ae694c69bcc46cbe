//! Choice states: operators, combinations, variables and the way out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use serde_json::{Value, json};
use support::{failure, output};

async fn chosen(mut rule: Value, input: Value) -> bool {
    rule["Next"] = json!("Yes");
    let states = json!({
        "Ask": { "Type": "Choice", "Choices": [rule], "Default": "No" },
        "Yes": { "Type": "Pass", "Result": true, "End": true },
        "No": { "Type": "Pass", "Result": false, "End": true },
    });
    output(states, input).await == json!(true)
}

#[tokio::test(start_paused = true)]
async fn comparisons_hold_only_between_values_of_their_type() {
    let input = || {
        json!({
            "n": 5, "m": 5.0, "s": "mango", "b": true, "nil": null,
            "t": "2026-01-01T00:00:00Z", "u": "2026-01-01T01:00:00+01:00", "later": "2026-01-02T00:00:00Z",
        })
    };
    for (variable, operator, operand, wanted) in [
        ("$.n", "NumericEquals", json!(5.0), true),
        ("$.n", "NumericEqualsPath", json!("$.m"), true),
        ("$.n", "NumericLessThan", json!(5), false),
        ("$.n", "NumericLessThanEquals", json!(5), true),
        ("$.n", "NumericGreaterThan", json!(4.9), true),
        ("$.n", "NumericGreaterThanEqualsPath", json!("$.m"), true),
        ("$.s", "NumericEquals", json!(5), false),
        ("$.s", "StringEquals", json!("mango"), true),
        ("$.s", "StringLessThan", json!("nectarine"), true),
        ("$.s", "StringGreaterThanEquals", json!("mango"), true),
        ("$.n", "StringEquals", json!("5"), false),
        ("$.b", "BooleanEquals", json!(true), true),
        ("$.b", "BooleanEqualsPath", json!("$.nil"), false),
        ("$.t", "TimestampEqualsPath", json!("$.u"), true),
        (
            "$.t",
            "TimestampLessThan",
            json!("2026-06-01T00:00:00Z"),
            true,
        ),
        ("$.later", "TimestampGreaterThanPath", json!("$.t"), true),
        (
            "$.s",
            "TimestampEquals",
            json!("2026-06-01T00:00:00Z"),
            false,
        ),
        ("$.s", "StringMatches", json!("m*g*"), true),
        ("$.s", "StringMatches", json!("man"), false),
        ("$.nil", "IsNull", json!(true), true),
        ("$.n", "IsNumeric", json!(true), true),
        ("$.n", "IsString", json!(false), true),
        ("$.b", "IsBoolean", json!(true), true),
        ("$.t", "IsTimestamp", json!(true), true),
        ("$.s", "IsTimestamp", json!(true), false),
        ("$.nil", "IsPresent", json!(true), true),
        ("$.none", "IsPresent", json!(false), true),
        ("$.none.deeper", "IsPresent", json!(true), false),
        ("$$.Execution.Name", "StringEquals", json!("drill-7"), true),
    ] {
        let rule = json!({ "Variable": variable, operator: operand });
        assert_eq!(chosen(rule.clone(), input()).await, wanted, "{rule}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pattern_can_name_an_asterisk() {
    let rule = || json!({ "Variable": "$.s", "StringMatches": "log-*\\*" });
    assert!(chosen(rule(), json!({ "s": "log-7*" })).await);
    assert!(!chosen(rule(), json!({ "s": "log-7" })).await);
}

#[tokio::test(start_paused = true)]
async fn conditions_combine_and_stop_as_soon_as_they_know() {
    let is = |wanted: i64| json!({ "Variable": "$.n", "NumericEquals": wanted });
    let missing = || json!({ "Variable": "$.missing", "NumericEquals": 1 });
    for (rule, wanted) in [
        (json!({ "And": [is(1), is(1)] }), true),
        (json!({ "And": [is(2), missing()] }), false),
        (json!({ "Or": [is(1), missing()] }), true),
        (json!({ "Or": [is(2), is(3)] }), false),
        (
            json!({ "Not": { "And": [is(1), { "Not": is(2) }] } }),
            false,
        ),
    ] {
        assert_eq!(
            chosen(rule.clone(), json!({ "n": 1 })).await,
            wanted,
            "{rule}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_variable_that_is_not_there_ends_the_execution() {
    let states = json!({
        "Ask": { "Type": "Choice", "Choices": [{ "Variable": "$.gone", "IsNull": true, "Next": "Yes" }] },
        "Yes": { "Type": "Succeed" },
    });
    let (error, cause) = failure(states, json!({})).await;
    assert_eq!(error, "States.Runtime");
    assert!(
        cause.ends_with(
            "Invalid path '$.gone': The choice state's condition path references an invalid value."
        ),
        "{cause}"
    );
}

#[tokio::test(start_paused = true)]
async fn no_match_and_no_default_is_no_choice_matched() {
    let states = json!({
        "Ask": { "Type": "Choice", "Choices": [{ "Variable": "$.n", "NumericEquals": 1, "Next": "Yes" }] },
        "Yes": { "Type": "Succeed" },
    });
    let (error, cause) = failure(states, json!({ "n": 2 })).await;
    assert_eq!(error, "States.NoChoiceMatched");
    assert_eq!(
        cause,
        "Failed to transition out of the state 'Ask'. The state does not point to a next state."
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_assigns_its_own_variables_and_the_default_the_states() {
    let states = || {
        json!({
            "Ask": {
                "Type": "Choice",
                "Choices": [{ "Variable": "$.n", "NumericEquals": 1, "Assign": { "by": "rule" }, "Next": "Tell" }],
                "Assign": { "by": "default" },
                "Default": "Tell",
            },
            "Tell": { "Type": "Pass", "Parameters": { "by.$": "$by" }, "End": true },
        })
    };
    assert_eq!(
        output(states(), json!({ "n": 1 })).await,
        json!({ "by": "rule" })
    );
    assert_eq!(
        output(states(), json!({ "n": 2 })).await,
        json!({ "by": "default" })
    );
}
