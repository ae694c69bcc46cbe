//! Every intrinsic function: what it answers, what it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod support;

use serde_json::{Value, json};
use support::{failure, value_of};

async fn refused(expression: &str, input: Value) -> String {
    let states =
        json!({ "Make": { "Type": "Pass", "Parameters": { "it.$": expression }, "End": true } });
    let (error, cause) = failure(states, input).await;
    assert_eq!(error, "States.Runtime");
    cause
}

#[tokio::test(start_paused = true)]
async fn functions_answer_as_aws_documents_them() {
    let input = || json!({ "list": [1, 2, 2, 3.0], "o": { "a": 1, "b": [true, null] }, "t": "a-b--c", "n": 3 });
    for (expression, wanted) in [
        ("States.Format('{} of {}', $.n, 'ten')", json!("3 of ten")),
        (
            "States.Format('\\{{}\\} it\\'s \\\\', $.n)",
            json!("{3} it's \\"),
        ),
        ("States.Format('{}', $.o)", json!("{a=1, b=[true, null]}")),
        ("States.Format('plain')", json!("plain")),
        ("States.Format($.t)", json!("a-b--c")),
        ("States.StringToJson('{\"k\": [1]}')", json!({ "k": [1] })),
        ("States.StringToJson(' ')", json!(null)),
        (
            "States.JsonToString($.o)",
            json!("{\"a\":1,\"b\":[true,null]}"),
        ),
        ("States.Array()", json!([])),
        (
            "States.Array(1, 'x', null, true, $.n)",
            json!([1, "x", null, true, 3]),
        ),
        (
            "States.ArrayPartition($.list, 3)",
            json!([[1, 2, 2], [3.0]]),
        ),
        ("States.ArrayContains($.list, 3)", json!(true)),
        ("States.ArrayContains($.list, 'x')", json!(false)),
        ("States.ArrayRange(1, 9, 4)", json!([1, 5, 9])),
        ("States.ArrayRange(3, 1, -1)", json!([3, 2, 1])),
        ("States.ArrayGetItem($.list, 3)", json!(3.0)),
        ("States.ArrayLength($.list)", json!(4)),
        ("States.ArrayUnique($.list)", json!([1, 2, 3.0])),
        ("States.Base64Encode('hé')", json!("aMOp")),
        ("States.Base64Decode('aMOp')", json!("hé")),
        (
            "States.Hash('abc', 'MD5')",
            json!("900150983cd24fb0d6963f7d28e17f72"),
        ),
        (
            "States.Hash('abc', 'SHA-1')",
            json!("a9993e364706816aba3e25717850c26c9cd0d89d"),
        ),
        (
            "States.Hash('abc', 'SHA-256')",
            json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ),
        (
            "States.JsonMerge($.o, States.StringToJson('{\"a\": 2}'), false)",
            json!({ "a": 2, "b": [true, null] }),
        ),
        ("States.MathAdd($.n, -5)", json!(-2)),
        ("States.MathAdd(1.5, -1.5)", json!(1)),
        ("States.StringSplit($.t, '-')", json!(["a", "b", "c"])),
        ("States.StringSplit('a,b;c', ',;')", json!(["a", "b", "c"])),
        (
            "States.ArrayGetItem(States.StringSplit($.t, '-'), States.MathAdd(0, 1))",
            json!("b"),
        ),
    ] {
        assert_eq!(value_of(expression, input()).await, wanted, "{expression}");
    }
}

#[tokio::test(start_paused = true)]
async fn functions_refuse_what_aws_refuses() {
    let long = json!({ "long": "x".repeat(10_001) });
    for (expression, input, wanted) in [
        ("States.Format('{}')", json!({}), "more `{}` than arguments"),
        (
            "States.Format('x', 1)",
            json!({}),
            "more arguments than `{}`",
        ),
        ("States.StringToJson('{')", json!({}), "not JSON"),
        (
            "States.ArrayPartition(States.Array(1), 0)",
            json!({}),
            "must be positive",
        ),
        (
            "States.ArrayRange(0, 1000, 1)",
            json!({}),
            "more than 1000 items",
        ),
        ("States.ArrayRange(0, 1, 0)", json!({}), "must not be zero"),
        (
            "States.ArrayGetItem(States.Array(1), 1)",
            json!({}),
            "outside the array",
        ),
        ("States.ArrayLength('x')", json!({}), "expected an array"),
        ("States.Base64Decode('*')", json!({}), "not Base64"),
        (
            "States.Base64Encode($.long)",
            long.clone(),
            "more than 10000 characters",
        ),
        (
            "States.Hash($.long, 'MD5')",
            long,
            "more than 10000 characters",
        ),
        ("States.Hash('x', 'CRC')", json!({}), "not one of MD5"),
        ("States.JsonMerge($, $, true)", json!({}), "shallow"),
        ("States.MathRandom(3, 3)", json!({}), "less than the end"),
        ("States.MathAdd(2147483648, 1)", json!({}), "32-bit"),
        (
            "States.Format('{}', $.none)",
            json!({}),
            "The JsonPath argument for the field '$.none' could not be found",
        ),
    ] {
        let cause = refused(expression, input).await;
        assert!(
            cause.contains(&format!(
                "The function '{expression}' had the following error: "
            )),
            "{cause}"
        );
        assert!(cause.contains(wanted), "{expression}: {cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn random_numbers_stay_below_their_end_and_repeat_with_their_seed() {
    for _ in 0..50 {
        let number = value_of("States.MathRandom(3, 6)", json!({}))
            .await
            .as_i64()
            .unwrap();
        assert!((3..6).contains(&number));
    }
    let seeded = || value_of("States.MathRandom(1, 1000000, 42)", json!({}));
    assert_eq!(seeded().await, seeded().await);
}

#[tokio::test(start_paused = true)]
async fn a_uuid_is_a_version_4_uuid_and_the_same_for_the_same_seed() {
    let uuid = value_of("States.UUID()", json!({})).await;
    let text = uuid.as_str().unwrap();
    assert_eq!((text.len(), &text[14..15]), (36, "4"));
    assert_eq!(value_of("States.UUID()", json!({})).await, uuid);
}
