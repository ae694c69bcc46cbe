//! Restores that nobody asks for by hand: schedules, delivered once or more often.

use std::time::Duration;

use aurora_restore::deployment::Schedule;
use aurora_restore::local::LocalOptions;
use aurora_restore_core::ledger::Status;
use local_cloud::scheduler::Delivery;
use pipeline_tests::{Scene, TARGET, seed, step};
use serde_json::{Value, json};
use time::macros::datetime;
use time::{OffsetDateTime, UtcOffset};

const MINUTE: Duration = Duration::from_secs(60);

/// The template's schedule, every night at three, in a pipeline that begins then.
async fn nightly(starting_at: OffsetDateTime) -> Scene {
    let mut options = LocalOptions::in_process(seed());
    options.starting_at = Some(starting_at);
    options.schedule = Some(Schedule {
        name: "nightly".to_owned(),
        expression: "cron(0 3 * * ? *)".to_owned(),
        timezone: "Europe/Dublin".to_owned(),
        request: json!({"profile": "nightly"}),
    });
    Scene::with(options).await
}

/// The names of all executions there have been, in order.
fn executions(scene: &Scene) -> Vec<String> {
    let executions = scene.local.cloud.step_functions().executions().into_iter();
    let mut names: Vec<String> = executions
        .map(|execution| execution.launch().name.clone())
        .collect();
    names.sort_unstable();
    names
}

async fn sleep_until(scene: &Scene, moment: OffsetDateTime) {
    let now = scene.local.cloud.world().now();
    scene
        .sleep(Duration::try_from(moment - now).unwrap_or_default())
        .await;
}

async fn redeliver(scene: &Scene, delivery: &Delivery) {
    let scheduler = scene.local.cloud.scheduler();
    scheduler.redeliver(delivery).unwrap();
    scene.sleep(MINUTE).await;
}

async fn outcome(scene: &Scene, restore_id: &str) -> String {
    let now = scene.local.cloud.world().now();
    let report = scene.local.pipeline.report(restore_id, now).await.unwrap();
    report.unwrap().outcome
}

#[tokio::test(start_paused = true)]
async fn a_nightly_schedule_restores_once_a_night_however_often_it_is_delivered() {
    let scene = nightly(datetime!(2026-10-23 20:00 UTC)).await;
    // The first night's target is gone before the second night's restore.
    let request = scene
        .request_with(json!({"expiresAfterHours": 12}))
        .to_string();
    let put = scene.local.put_profile("nightly", &request);
    put.await.unwrap();
    let scheduler = scene.local.cloud.scheduler();

    // Summer time: three o'clock is two o'clock UTC.
    sleep_until(&scene, datetime!(2026-10-24 02:05 UTC)).await;
    let first = scheduler.deliveries()[0].clone();
    assert!(
        first
            .schedule_arn
            .ends_with(":schedule/default/aurora-restore-nightly"),
        "{}",
        first.schedule_arn
    );
    assert_eq!(executions(&scene), ["nightly-20261024T020000Z"]);
    assert_eq!(
        scene.listed(Status::Running).await.len(),
        1,
        "it is still under way"
    );
    redeliver(&scene, &first).await;
    assert_eq!(executions(&scene), ["nightly-20261024T020000Z"]);

    sleep_until(&scene, datetime!(2026-10-25 02:05 UTC)).await;
    assert_eq!(
        outcome(&scene, "nightly-20261024T020000Z").await,
        "Restored"
    );
    redeliver(&scene, &first).await;
    assert_eq!(executions(&scene), ["nightly-20261024T020000Z"]);

    // Winter time since an hour ago: three o'clock is three o'clock.
    sleep_until(&scene, datetime!(2026-10-25 06:00 UTC)).await;
    let nights = ["nightly-20261024T020000Z", "nightly-20261025T030000Z"];
    assert_eq!(executions(&scene), nights);
    assert_eq!(outcome(&scene, nights[1]).await, "Restored");
    for delivery in scheduler.deliveries() {
        redeliver(&scene, &delivery).await;
    }
    assert_eq!(executions(&scene), nights);
    let clusters = scene.new_resources().into_iter();
    let clusters: Vec<String> = clusters
        .filter(|arn| arn.ends_with(&format!(":cluster:{TARGET}")))
        .collect();
    assert_eq!(clusters.len(), 1, "the second night's: {clusters:?}");
}

/// The outcomes of the members of a fleet, in order.
async fn members(scene: &Scene, fleet: &str) -> Vec<(String, String)> {
    let status = scene.local.pipeline.fleet(fleet).await.unwrap().unwrap();
    let members = status.members.into_iter();
    members
        .map(|member| (member.restore_id, member.status))
        .collect()
}

/// The names of all fleets there have been, in order.
fn fleets(scene: &Scene) -> Vec<String> {
    let machine = scene.local.stack.fleet_machine_arn();
    let executions = scene.local.cloud.step_functions().executions().into_iter();
    let mut fleets: Vec<String> = executions
        .filter(|execution| execution.launch().state_machine_arn == machine)
        .map(|execution| execution.launch().name.clone())
        .collect();
    fleets.sort_unstable();
    fleets
}

#[tokio::test(start_paused = true)]
async fn a_schedule_starts_a_fleet_each_time_however_often_it_is_delivered() {
    let mut options = LocalOptions::in_process(seed());
    options.starting_at = Some(datetime!(2026-11-21 02:00 UTC));
    let scene = Scene::with(options).await;
    for number in 1..=2 {
        let target = json!({"clusterIdentifier": format!("drill-{number}-staging")});
        let profile = scene.request_with(json!({"target": target})).to_string();
        let name = format!("drill-{number}");
        let put = scene.local.put_profile(&name, &profile);
        put.await.unwrap();
    }
    let drills = Schedule {
        name: "drills".to_owned(),
        expression: "cron(0 3 * * ? *)".to_owned(),
        timezone: "Europe/Dublin".to_owned(),
        request: json!({"profiles": "drill-*"}),
    };
    scene.deploy_fleet_by(Some(&drills)).await;
    let scheduler = scene.local.cloud.scheduler();
    sleep_until(&scene, datetime!(2026-11-21 03:05 UTC)).await;
    let first = scheduler.deliveries()[0].clone();
    assert!(
        first
            .schedule_arn
            .ends_with(":schedule/default/aurora-restore-fleet-drills"),
        "{}",
        first.schedule_arn
    );
    let saturday = "drills-20261121T030000Z";
    assert_eq!(fleets(&scene), [saturday]);
    redeliver(&scene, &first).await;
    sleep_until(&scene, datetime!(2026-11-21 06:00 UTC)).await;
    redeliver(&scene, &first).await;
    assert_eq!(fleets(&scene), [saturday]);
    let restored = [1, 2].map(|number| (format!("{saturday}-{number}"), "Restored".to_owned()));
    assert_eq!(members(&scene, saturday).await, restored);

    sleep_until(&scene, datetime!(2026-11-22 03:01 UTC)).await;
    assert_eq!(fleets(&scene), [saturday, "drills-20261122T030000Z"]);
    let stack = &scene.local.stack;
    let letters = stack.function_name("dead-letters");
    let letters = scene.local.cloud.sqs().messages(&letters);
    assert_eq!(letters, Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_fleet_that_cannot_be_started_is_said_to_be_so() {
    let scene = Scene::metadata().await;
    let fleet = |request: Value| {
        json!({
            "schedule": "weekly",
            "scheduledTime": "2026-11-22T03:00:00Z",
            "fleet": request,
        })
    };
    let event = fleet(json!({"profiles": "week-*"}));
    let error = scene
        .invoke(step("start"), event.clone())
        .await
        .unwrap_err();
    assert!(
        error.contains("AR0004") && error.contains("aurora-restore-fleet"),
        "the stack of fleets is optional: {error}"
    );
    scene.deploy_fleet().await;
    let first = scene.invoke(step("start"), event.clone()).await.unwrap();
    let (id, arn) = (&first["fleetId"], &first["executionArn"]);
    assert_eq!(
        (id, &first["started"]),
        (&json!("weekly-20261122T030000Z"), &json!(true))
    );
    let arn = arn.as_str().unwrap();
    let execution = scene.local.cloud.step_functions().execution(arn).unwrap();
    execution.finished().await;
    assert_eq!(execution.launch().input["requestedBy"], "schedule weekly");
    let again = scene.invoke(step("start"), event).await.unwrap();
    assert_eq!(again["started"], false);
    let other = fleet(json!({"profiles": "month-*"}));
    let error = scene.invoke(step("start"), other).await.unwrap_err();
    assert!(error.contains("AR0063"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_reaches_nobody_is_tried_again_and_then_kept_in_the_dead_letter_queue() {
    let scene = nightly(datetime!(2026-11-21 02:00 UTC)).await;
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let place = scene.caller(&stack.region);
    cloud.lambda().remove(&place, &stack.function_name("start"));
    sleep_until(&scene, datetime!(2026-11-21 06:00 UTC)).await;
    assert_eq!(executions(&scene), Vec::<String>::new());
    let letters = cloud.sqs().messages(&stack.function_name("dead-letters"));
    assert_eq!(letters.len(), 1);
    let letter: Value = serde_json::from_str(&letters[0]).unwrap();
    assert_eq!(
        letter,
        json!({
            "schedule": "nightly",
            "scheduledTime": "2026-11-21T03:00:00Z",
            "request": {"profile": "nightly"},
        })
    );
}

/// What the function answers to an event.
async fn start(scene: &Scene, time: OffsetDateTime, request: &Value) -> Value {
    let time = time.to_offset(UtcOffset::UTC);
    let event = json!({
        "schedule": "nightly",
        "scheduledTime": format!("{}T{:02}:{:02}:{:02}Z", time.date(), time.hour(), time.minute(), time.second()),
        "request": request,
    });
    scene.invoke(step("start"), event).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_starts_a_restore_once_while_it_runs_and_after_it_ended() {
    let scene = Scene::metadata().await;
    let (request, time) = (scene.request(), datetime!(2026-11-21 03:00 UTC));
    let first = start(&scene, time, &request).await;
    let id = "nightly-20261121T030000Z";
    assert_eq!(
        first,
        json!({"restoreId": id, "executionArn": scene.local.stack.execution_arn(id), "started": true})
    );
    scene.sleep(MINUTE).await;
    let again = start(&scene, time, &request).await;
    assert_eq!(again["started"], false);
    assert_eq!(again["executionArn"], first["executionArn"]);

    let arn = first["executionArn"].as_str().unwrap();
    let execution = scene.local.cloud.step_functions().execution(arn).unwrap();
    scene.stop(&execution).await;
    execution.finished().await;
    let late = start(&scene, time, &request).await;
    assert_eq!(
        (&late["started"], &late["restoreId"]),
        (&json!(false), &json!(id))
    );
    // Another schedule that bears the same name restores something else: it must not pass for done.
    let other = json!({
        "schedule": "nightly",
        "scheduledTime": "2026-11-21T03:00:00Z",
        "request": scene.request_with(json!({"expiresAfterHours": 1})),
    });
    let refused = scene.invoke(step("start"), other).await.unwrap_err();
    assert!(refused.contains("AR0034"), "{refused}");
    assert_eq!(executions(&scene), [id]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_request_is_wrong_fails_as_loudly_as_any_restore() {
    let scene = Scene::metadata().await;
    let request = scene.request_with(json!({"target": {"readers": 16}}));
    let started = start(&scene, datetime!(2026-11-21 03:00 UTC), &request).await;
    let arn = started["executionArn"].as_str().unwrap();
    let execution = scene.local.cloud.step_functions().execution(arn).unwrap();
    execution.finished().await;
    let run = scene.run("nightly-20261121T030000Z", execution).await;
    run.assert_failed_clean("AR0001");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_schedules_input_is_named() {
    let scene = Scene::metadata().await;
    let time = "2026-11-21T03:00:00Z";
    let request = scene.request();
    for (event, named) in [
        (
            json!({"schedule": "every night", "scheduledTime": time, "request": request}),
            "`schedule`",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": "<aws.scheduler.scheduled-time>", "request": request}),
            "`scheduledTime`",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": time, "request": "{}"}),
            "`request`",
        ),
        (
            json!({"schedule": "nightly", "request": request}),
            "scheduledTime",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": time, "request": {}, "profile": "x"}),
            "profile",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": time, "request": {}, "fleet": {}}),
            "`request` and `fleet`",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": time, "fleet": "{}"}),
            "`fleet`",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": time, "fleet": {"fleetId": "always"}}),
            "`fleet.fleetId`",
        ),
        (
            json!({"schedule": "nightly", "scheduledTime": time, "request": {"x": "y".repeat(262_144)}}),
            "262144",
        ),
    ] {
        let error = scene.invoke(step("start"), event).await.unwrap_err();
        let report = error.to_string();
        assert!(
            report.contains("AR0001") && report.contains(named),
            "{named}: {report}"
        );
    }
    assert_eq!(executions(&scene), Vec::<String>::new());
}
