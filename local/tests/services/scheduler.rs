//! EventBridge Scheduler: schedules, the functions they call, and what becomes of calls that fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use local_cloud::lambda::{FunctionKind, FunctionSettings};
use local_cloud::{Caller, LocalCloud};
use serde_json::{Value, json};
use time::macros::datetime;

use crate::client::{ACCOUNT, Answered, Client, REGION, cloud};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Calls the REST API; its query is part of the path.
async fn call(client: &Client, method: Method, path: &str, body: Option<Value>) -> Answered {
    let headers = [("content-type", "application/json")];
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    client.send("scheduler", method, path, &headers, body).await
}

/// A schedule of a function `start`, with these members put over it.
fn schedule(expression: &str, over: Value) -> Value {
    let mut schedule = json!({
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": "Europe/Dublin",
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "Target": {
            "Arn": format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:start"),
            "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/scheduler"),
            "Input": r#"{"at": "<aws.scheduler.scheduled-time>", "of": "<aws.scheduler.schedule-arn>", "try": <aws.scheduler.attempt-number>}"#,
        },
    });
    for (name, value) in over.as_object().unwrap() {
        schedule[name] = value.clone();
    }
    schedule
}

async fn create(client: &Client, schedule: Value) -> Answered {
    let path = "/schedules/nightly";
    call(client, Method::POST, path, Some(schedule)).await
}

/// Adds the function; it remembers what it was called with.
fn recorder(cloud: &LocalCloud) -> Arc<Mutex<Vec<Value>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_function = Arc::clone(&seen);
    let kind = FunctionKind::in_process(move |invocation| {
        seen_by_function.lock().unwrap().push(invocation.payload);
        async { Ok(Value::Null) }
    });
    cloud
        .add_function(FunctionSettings::new("start"), kind)
        .unwrap();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_schedule_calls_its_function_at_its_times_with_the_keywords_replaced() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    let created = create(&client, schedule("cron(30 3 * * ? *)", json!({}))).await;
    let arn = format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/nightly");
    assert_eq!(created.json(), json!({ "ScheduleArn": arn }));
    tokio::time::sleep(29 * MINUTE).await;
    assert_eq!(*seen.lock().unwrap(), Vec::<Value>::new());
    tokio::time::sleep(24 * HOUR + 2 * MINUTE).await;
    let called = |at: &str| json!({ "at": at, "of": arn, "try": 1 });
    assert_eq!(
        *seen.lock().unwrap(),
        [
            called("2026-11-21T03:30:00Z"),
            called("2026-11-22T03:30:00Z")
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_input_a_function_is_told_of_its_schedule() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    let mut hourly = schedule("rate(1 hour)", json!({}));
    hourly["Target"].as_object_mut().unwrap().remove("Input");
    create(&client, hourly).await;
    tokio::time::sleep(MINUTE).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "a rate begins at once");
    assert_eq!(
        (
            &seen[0]["detail-type"],
            &seen[0]["source"],
            &seen[0]["time"]
        ),
        (
            &json!("Scheduled Event"),
            &json!("aws.scheduler"),
            &json!("2026-11-21T03:00:00Z")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_schedule_is_created_once_changed_switched_off_and_deleted() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    let path = "/schedules/nightly";
    let hourly = schedule("cron(0 * * * ? *)", json!({ "ClientToken": "t-1" }));
    assert_eq!(create(&client, hourly.clone()).await.status, 200);
    assert_eq!(
        create(&client, hourly.clone()).await.status,
        200,
        "the same token is the same request"
    );
    let again = create(&client, schedule("cron(0 * * * ? *)", json!({}))).await;
    assert_eq!(
        (again.status, again.header("x-amzn-errortype")),
        (409, Some("ConflictException"))
    );

    let off = schedule("cron(0 * * * ? *)", json!({ "State": "DISABLED" }));
    assert_eq!(
        call(&client, Method::PUT, path, Some(off)).await.status,
        200
    );
    let found = call(&client, Method::GET, path, None).await.json();
    assert_eq!(
        (&found["State"], &found["ScheduleExpressionTimezone"]),
        (&json!("DISABLED"), &json!("Europe/Dublin"))
    );
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(*seen.lock().unwrap(), Vec::<Value>::new());

    let listed = call(&client, Method::GET, "/schedules?NamePrefix=night", None).await;
    assert_eq!(listed.json()["Schedules"][0]["Name"], "nightly");
    let enabled = call(&client, Method::GET, "/schedules?State=ENABLED", None).await;
    assert_eq!(enabled.json()["Schedules"], json!([]));

    let delete = "/schedules/nightly?groupName=default&clientToken=t-2";
    assert_eq!(
        call(&client, Method::DELETE, delete, None).await.status,
        200
    );
    for method in [Method::GET, Method::DELETE] {
        let gone = call(&client, method, path, None).await;
        assert_eq!(
            (gone.status, gone.header("x-amzn-errortype")),
            (404, Some("ResourceNotFoundException"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_is_deleted_comes_no_more() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    create(&client, schedule("cron(0 * * * ? *)", json!({}))).await;
    tokio::time::sleep(HOUR + MINUTE).await;
    call(&client, Method::DELETE, "/schedules/nightly", None).await;
    tokio::time::sleep(5 * HOUR).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_time_comes_once_and_goes_when_it_is_asked_to() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    let once = schedule(
        "at(2026-11-21T05:00:00)",
        json!({ "ActionAfterCompletion": "DELETE" }),
    );
    create(&client, once).await;
    tokio::time::sleep(48 * HOUR).await;
    assert_eq!(seen.lock().unwrap()[0]["at"], "2026-11-21T05:00:00Z");
    assert_eq!(seen.lock().unwrap().len(), 1);
    let found = call(&client, Method::GET, "/schedules/nightly", None).await;
    assert_eq!(found.status, 404);
}

#[tokio::test(start_paused = true)]
async fn in_a_flexible_window_the_time_it_is_for_stays_and_the_time_it_comes_moves() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let _seen = recorder(&cloud);
    let window = json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": 30 });
    let flexible = schedule("cron(0 * * * ? *)", json!({ "FlexibleTimeWindow": window }));
    create(&client, flexible).await;
    tokio::time::sleep(20 * HOUR).await;
    let deliveries = cloud.scheduler().deliveries();
    let late: Vec<i64> = deliveries
        .iter()
        .map(|delivery| (delivery.delivered_at - delivery.scheduled_time).whole_seconds())
        .collect();
    assert!(late.len() >= 19, "{late:?}");
    assert!(
        late.iter().all(|late| (0..1_800).contains(late)),
        "{late:?}"
    );
    assert!(late.iter().any(|late| *late > 60), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_be_called_is_tried_again_until_it_can() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    create(&client, schedule("at(2026-11-21T04:00:00)", json!({}))).await;
    tokio::time::sleep(HOUR + MINUTE).await;
    assert_eq!(cloud.scheduler().deliveries(), []);
    let seen = recorder(&cloud);
    tokio::time::sleep(HOUR).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["at"], "2026-11-21T04:00:00Z");
    assert!(seen[0]["try"].as_u64().unwrap() > 1, "{}", seen[0]);
    assert_eq!(cloud.scheduler().dead_letters(), []);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_is_given_up_as_the_policy_says() {
    for (policy, condition) in [
        (json!({ "MaximumRetryAttempts": 2 }), "MaximumRetryAttempts"),
        (
            json!({ "MaximumEventAgeInSeconds": 60 }),
            "MaximumEventAgeInSeconds",
        ),
    ] {
        let cloud = cloud();
        let client = Client::new(&cloud);
        let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:dead-letters");
        let mut once = schedule("at(2026-11-21T04:00:00)", json!({}));
        once["Target"]["RetryPolicy"] = policy;
        once["Target"]["DeadLetterConfig"] = json!({ "Arn": queue });
        create(&client, once).await;
        tokio::time::sleep(3 * HOUR).await;
        let letters = cloud.scheduler().dead_letters();
        assert_eq!(letters.len(), 1);
        let attribute = |name: &str| letters[0].attributes[name].as_str();
        assert_eq!(attribute("EXHAUSTED_RETRY_CONDITION"), condition);
        assert_eq!(attribute("ERROR_CODE"), "ResourceNotFoundException");
        assert_eq!(attribute("SCHEDULED_TIME"), "2026-11-21T04:00:00Z");
        assert_eq!(attribute("RETRY_ATTEMPTS"), "2");
        assert_eq!(letters[0].queue_arn.as_deref(), Some(queue.as_str()));
        assert!(letters[0].body.contains("2026-11-21T04:00:00Z"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_can_come_twice_and_is_the_same() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    create(&client, schedule("at(2026-11-21T04:00:00)", json!({}))).await;
    tokio::time::sleep(2 * HOUR).await;
    let scheduler = cloud.scheduler();
    scheduler.redeliver(&scheduler.deliveries()[0]).unwrap();
    tokio::time::sleep(MINUTE).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    let deliveries = scheduler.deliveries();
    assert_eq!(
        deliveries[1].scheduled_time,
        datetime!(2026-11-21 04:00 UTC)
    );
    assert_eq!(deliveries[1].delivered_at, datetime!(2026-11-21 05:00 UTC));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_schedule_is_named() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let target = |over: Value| {
        let mut target = schedule("rate(1 day)", json!({}))["Target"].clone();
        for (name, value) in over.as_object().unwrap() {
            target[name] = value.clone();
        }
        json!({ "Target": target })
    };
    let queue = "arn:aws:sqs:eu-west-1:123456789012:orders";
    for (over, named) in [
        (json!({ "ScheduleExpression": "every day" }), "every day"),
        (
            json!({ "ScheduleExpressionTimezone": "Europe/Atlantis" }),
            "Europe/Atlantis",
        ),
        (json!({ "FlexibleTimeWindow": null }), "flexibleTimeWindow"),
        (
            json!({ "FlexibleTimeWindow": { "Mode": "FLEXIBLE" } }),
            "MaximumWindowInMinutes",
        ),
        (json!({ "State": "ON" }), "State"),
        (target(json!({ "Arn": queue })), queue),
        (target(json!({ "RoleArn": null })), "roleArn"),
        (
            target(json!({ "RetryPolicy": { "MaximumRetryAttempts": 186 } })),
            "MaximumRetryAttempts",
        ),
    ] {
        let refused = create(&client, schedule("rate(1 day)", over)).await;
        assert_eq!(
            (refused.status, refused.header("x-amzn-errortype")),
            (400, Some("ValidationException"))
        );
        assert!(
            refused.text().contains(named),
            "{named}: {}",
            refused.text()
        );
    }
    let path = "/schedules/a%20night";
    let body = schedule("rate(1 day)", json!({}));
    let refused = call(&client, Method::POST, path, Some(body)).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let elsewhere = schedule("rate(1 day)", json!({ "GroupName": "others" }));
    assert_eq!(create(&client, elsewhere).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_may_only_what_its_role_lets_it() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let seen = recorder(&cloud);
    let trust = |service: &str| {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
            "Principal": { "Service": service }, "Action": "sts:AssumeRole" }] })
    };
    let role = |service: &str, function: &str| {
        let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}") }] });
        let policies = [("p".to_owned(), policy)].into();
        let put = cloud
            .iam()
            .put_role(ACCOUNT, "scheduler", &trust(service), &policies);
        put.unwrap()
    };
    let mut once = schedule("at(2026-11-21T04:00:00)", json!({}));
    once["Target"]["RetryPolicy"] = json!({ "MaximumRetryAttempts": 0 });
    role("lambda.amazonaws.com", "start");
    let refused = create(&client, once.clone()).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("execution role"),
        "{}",
        refused.text()
    );

    role("scheduler.amazonaws.com", "other");
    assert_eq!(create(&client, once.clone()).await.status, 200);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(*seen.lock().unwrap(), Vec::<Value>::new());
    let letters = cloud.scheduler().dead_letters();
    assert_eq!(letters[0].attributes["ERROR_CODE"], "AccessDeniedException");
    let asked = cloud.iam().evaluations();
    assert!(asked.iter().all(|asked| asked.action != "sqs:SendMessage"));

    // The queue, too, is the role's to reach.
    let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:letters");
    let caller = Caller {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    };
    let make = json!({ "QueueName": "letters" });
    let made = cloud
        .world()
        .call(&caller, "sqs", "AmazonSQS.CreateQueue", &make);
    made.await.unwrap();
    once["Target"]["DeadLetterConfig"] = json!({ "Arn": queue });
    once["ScheduleExpression"] = json!("at(2026-11-21T05:20:00)");
    call(
        &client,
        Method::PUT,
        "/schedules/nightly",
        Some(once.clone()),
    )
    .await;
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(cloud.scheduler().dead_letters().len(), 2);
    assert_eq!(cloud.sqs().messages("letters"), Vec::<String>::new());
    let asked = cloud.iam().evaluations();
    assert!(asked.iter().any(|asked| asked.action == "sqs:SendMessage"));

    role("scheduler.amazonaws.com", "start");
    once["ScheduleExpression"] = json!("at(2026-11-21T06:00:00)");
    call(&client, Method::PUT, "/schedules/nightly", Some(once)).await;
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}
