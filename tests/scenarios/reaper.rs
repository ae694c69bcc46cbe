//! What nobody else ends any more: the reaper, and locks of executions that are over.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use asl_interpreter::Execution;
use async_trait::async_trait;
use aurora_restore::deployment::{STEPS, placeholder};
use aurora_restore_core::ledger::{Status, ToDo};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::report::Report;
use aurora_restore_core::{Restore, expiry};
use local_cloud::faults::{Fault, Faults};
use local_cloud::layer::{Answer, Layer, Severed};
use local_cloud::rds::{Kind, Trouble};
use local_cloud::{ApiError, Request};
use pipeline_tests::{SOURCE, Scene, TARGET, step};
use serde_json::{Value, json};

/// Longer than an execution may run.
const TEN_DAYS: Duration = Duration::from_secs(10 * 24 * 3600 + 60);

async fn reap(scene: &Scene) -> Value {
    scene.invoke(step("reap"), json!({})).await.unwrap()
}

async fn report(scene: &Scene, restore_id: &str) -> Option<Report> {
    let now = scene.local.cloud.world().now();
    scene.local.pipeline.report(restore_id, now).await.unwrap()
}

/// Lets time pass until a restore's end is on record.
async fn ended(scene: &Scene, restore_id: &str) -> Report {
    let found = async || {
        let found = report(scene, restore_id).await;
        Ok(found.filter(|report| report.outcome != "Running" && !report.outcome.is_empty()))
    };
    let report = scene.local.until("an end", found).await.unwrap();
    scene.sleep(Duration::from_secs(1)).await;
    report
}

fn told(scene: &Scene, restore_id: &str) -> Vec<String> {
    let messages = scene.local.cloud.sns().messages();
    let about = messages
        .into_iter()
        .map(|message| message.message)
        .filter(|text| text.contains(restore_id));
    about.collect()
}

/// Ended by the reaper, clean, told once, and the way is free for the next restore.
async fn assert_reaped_clean(scene: &Scene, restore_id: &str) {
    let report = ended(scene, restore_id).await;
    assert_eq!(report.outcome, "FailedClean", "{:?}", report.cause);
    assert_eq!(report.error.as_deref(), Some("AR0035"));
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    assert_eq!(scene.lost_resources(), Vec::<String>::new());
    assert_eq!(scene.lock().await["state"]["S"], "released");
    scene.sleep(Duration::from_secs(1200)).await;
    let told = told(scene, restore_id);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("FailedClean"), "{}", told[0]);
}

/// The definition as it is deployed, with this text in place of that.
fn deploy_with(scene: &Scene, from: &str, to: &str) {
    let stack = &scene.local.stack;
    let mut definition = aurora_restore::deployment::DEFINITION.to_owned();
    assert!(definition.contains(from), "{from}");
    definition = definition.replace(from, to);
    for step in STEPS {
        let arn = format!(
            "arn:aws:lambda:{}:{}:function:{}",
            stack.region,
            stack.account,
            stack.function_name(step.name)
        );
        definition = definition.replace(&placeholder(step.name), &arn);
    }
    scene
        .local
        .cloud
        .put_state_machine(&stack.name, &definition)
        .unwrap();
}

/// A restore whose cluster RDS refuses: it ends clean, and its ledger names a cluster without a resource id.
async fn refused_restore(scene: &Scene) {
    let refusal = ApiError::new(400, "StorageQuotaExceeded", "no more");
    let script = Trouble::Refused(refusal);
    scene.local.rds.script(Kind::RestoredCluster, "*", script);
    scene
        .restore(scene.request())
        .await
        .assert_failed_clean("AR0011");
}

async fn create_cluster(scene: &Scene, name: &str, restore_id: &str) {
    let tag = aws_sdk_rds::types::Tag::builder()
        .key("aurora-restore:restore-id")
        .value(restore_id)
        .build();
    let made = scene
        .rds()
        .create_db_cluster()
        .db_cluster_identifier(name)
        .engine("aurora-postgresql")
        .master_username("someone")
        .master_user_password("someones-password")
        .tags(tag);
    made.send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_is_stopped_is_undone_and_told_once_whatever_state_it_was_in() {
    for state in ["WaitForCluster", "WaitForInstances", "WaitForCredentials"] {
        let scene = Scene::metadata().await;
        let running = scene.start("restore-1", scene.request()).await;
        scene.until_state(&running, state).await;
        scene.stop(&running).await;
        assert_reaped_clean(&scene, "restore-1").await;
        let next = scene.start("restore-2", scene.request()).await;
        scene.until_state(&next, "WaitForCluster").await;
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_copy_under_way_is_removed_when_its_execution_is_stopped() {
    let scene = Scene::metadata().await;
    let key = scene.key_in(&scene.local.stack.region).await;
    let remote = scene.copy_to_region("eu-central-1").await;
    let before = scene.everything();
    let over = json!({"source": {"region": "eu-central-1", "snapshot": remote}, "target": {"kmsKeyId": key}});
    let running = scene.start("restore-1", scene.request_with(over)).await;
    scene.until_state(&running, "WaitForCopy").await;
    scene.stop(&running).await;
    let report = ended(&scene, "restore-1").await;
    assert_eq!(report.outcome, "FailedClean", "{:?}", report.cause);
    assert_eq!(scene.everything(), before);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_schedule_finds_an_execution_whose_event_was_lost() {
    let scene = Scene::metadata().await;
    scene.switch_rule("reap-ended", false).await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForInstances").await;
    scene.stop(&running).await;
    assert_reaped_clean(&scene, "restore-1").await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_runs_into_its_own_timeout_is_undone() {
    let scene = Scene::metadata().await;
    deploy_with(
        &scene,
        r#""TimeoutSeconds": 864000"#,
        r#""TimeoutSeconds": 90"#,
    );
    let running = scene.start("restore-1", scene.request()).await;
    running.finished().await;
    assert_reaped_clean(&scene, "restore-1").await;
    let report = report(&scene, "restore-1").await.unwrap();
    assert!(report.cause.unwrap().contains("timed out"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_dies_of_what_no_catch_covers_is_undone() {
    let scene = Scene::metadata().await;
    deploy_with(&scene, "$.instances.more", "$.instances.none");
    let running = scene.start("restore-1", scene.request()).await;
    running.finished().await;
    assert_eq!(
        running.history().states_entered().last().unwrap(),
        "AreInstancesMissing"
    );
    assert_reaped_clean(&scene, "restore-1").await;
    let report = report(&scene, "restore-1").await.unwrap();
    assert!(report.cause.unwrap().contains("States.Runtime"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_dies_before_it_planned_is_told_once_all_the_same() {
    let scene = Scene::metadata().await;
    deploy_with(
        &scene,
        r#""restoreId.$": "$$.Execution.Name"
      },
      "Next": "Plan""#,
        r#""restoreId.$": "$.nothing"
      },
      "Next": "Plan""#,
    );
    let running = scene.start("restore-1", scene.request()).await;
    running.finished().await;
    scene.sleep(Duration::from_secs(1200)).await;
    let report = report(&scene, "restore-1").await.unwrap();
    assert_eq!(
        (report.outcome.as_str(), report.error.as_deref()),
        ("FailedClean", Some("AR0035"))
    );
    assert_eq!(told(&scene, "restore-1").len(), 1);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_runs_is_left_alone_whatever_an_event_says() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForCluster").await;
    let (lock, before) = (scene.lock().await, scene.everything());
    let arn = running.launch().execution_arn.clone();
    for event in [
        json!({"source": "aws.states", "detail": {"name": "restore-1", "executionArn": arn, "status": "ABORTED"}}),
        json!({"restoreIds": ["restore-1"]}),
        json!({}),
    ] {
        let answer = scene.invoke(step("reap"), event).await.unwrap();
        assert_eq!(answer["running"], 1, "{answer}");
    }
    assert_eq!((scene.lock().await, scene.everything()), (lock, before));
    scene.until_state(&running, "WaitForInstances").await;
    scene.local.shutdown().await;
}

/// Every call of the reaper to RDS breaks off.
struct DeafRds;

#[async_trait]
impl Layer for DeafRds {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        let is_reapers = request.caller.principal.ends_with("-reap");
        if is_reapers && request.service == "rds" {
            return ControlFlow::Break(Err(Severed::Reset));
        }
        ControlFlow::Continue(())
    }
}

/// Nobody could look, so all that the ledger has is named, the way is free, and somebody is told.
async fn assert_ended_unseen(scene: &Scene, run: &Execution) {
    let report = ended(scene, "restore-1").await;
    assert_eq!(report.outcome, "FailedDirty", "{:?}", report.cause);
    assert_eq!(report.error.as_deref(), Some("AR0026"));
    let named: Vec<_> = report.leftovers.iter().map(|left| &left.arn).collect();
    let there = scene.new_resources();
    assert!(!there.is_empty());
    for arn in &there {
        assert!(named.contains(&arn), "{arn} is not among {named:?}");
    }
    assert_eq!(scene.lock().await["state"]["S"], "released");
    scene.sleep(Duration::from_secs(1200)).await;
    let told = told(scene, "restore-1");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("FailedDirty"), "{}", told[0]);
    assert!(run.outcome().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_the_reaper_may_not_look_at_ends_dirty_at_once() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForCluster").await;
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    let call = "aurora-restore-reap rds:DescribeDBClusters#1";
    faults.arm(call.parse().unwrap(), Fault::AccessDenied, &[]);
    scene.stop(&running).await;
    assert_ended_unseen(&scene, &running).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_the_reaper_cannot_look_at_is_given_up_after_two_hours() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForCluster").await;
    scene.local.cloud.world().add_layer(Arc::new(DeafRds));
    scene.stop(&running).await;
    scene.sleep(Duration::from_secs(100 * 60)).await;
    let tried = report(&scene, "restore-1").await.unwrap();
    assert_eq!(tried.outcome, "Running");
    assert_eq!(scene.lock().await["state"]["S"], "undoing");
    assert_ended_unseen(&scene, &running).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_is_redriven_after_it_was_undone_ends_as_it_is_recorded() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForInstances").await;
    scene.stop(&running).await;
    assert_reaped_clean(&scene, "restore-1").await;
    let lock = scene.lock().await;
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let redriven = sfn.redrive_execution();
    redriven
        .execution_arn(&running.launch().execution_arn)
        .send()
        .await
        .unwrap();
    running.finished().await;
    let run = scene.run("restore-1", running).await;
    assert_eq!(run.failure().0, "AR0035");
    assert_eq!(run.path().last().unwrap(), "FailedClean");
    assert_eq!(run.report.outcome, "FailedClean");
    assert_eq!(scene.lock().await, lock);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_a_person_carries_out_step_by_step_is_left_alone() {
    let scene = Scene::metadata().await;
    let planned = scene.plan_event("restore-1", "2026-11-21T00:00:00Z");
    let restore = scene.event(
        "restore-1",
        "RestoreCluster",
        json!({"action": "restore-cluster"}),
    );
    scene.walk(&[("plan", planned), ("restore", restore)]).await;
    scene.sleep(Duration::from_secs(3 * 3600)).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    assert_eq!(scene.lock().await["state"]["S"], "held");
    // Half done and forgotten: in the end it is removed like any other.
    scene.reaper_comes(false).await;
    scene.sleep(TEN_DAYS).await;
    scene.reaper_comes(true).await;
    assert_reaped_clean(&scene, "restore-1").await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn passes_side_by_side_and_one_after_the_other_do_it_once() {
    let scene = Scene::metadata().await;
    scene.reaper_comes(false).await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForCredentials").await;
    scene.stop(&running).await;
    for _ in 0..20 {
        tokio::join!(reap(&scene), reap(&scene));
        scene.sleep(Duration::from_secs(60)).await;
    }
    assert_reaped_clean(&scene, "restore-1").await;
    let calls = scene.local.rds.audit().len();
    for _ in 0..3 {
        let nothing = json!({
            "ended": [], "undoing": [], "running": 0, "expired": [], "warned": [], "orphans": [], "retired": [], "told": [],
            "refused": [], "strangers": 0, "failures": [], "more": false,
        });
        assert_eq!(reap(&scene).await, nothing);
    }
    let changed: Vec<_> = scene.local.rds.audit()[calls..]
        .iter()
        .filter(|call| call.action.starts_with("Delete"))
        .map(|call| call.action.clone())
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_its_execution_could_not_tell_is_told_by_the_reaper_once() {
    let scene = Scene::metadata().await;
    let topic = scene.local.stack.topic_name();
    scene.forget_topic().await;
    let run = scene.restore(json!({"profile": "missing"})).await;
    assert_eq!(run.report.outcome, "FailedClean");
    assert!(told(&scene, "restore-1").is_empty());
    let sns = aws_sdk_sns::Client::new(&scene.local.config);
    sns.create_topic().name(topic).send().await.unwrap();
    scene.sleep(Duration::from_secs(3600)).await;
    let told = told(&scene, "restore-1");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("AR0002"), "{}", told[0]);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_is_removed_when_it_expired_and_nothing_else_is() {
    let scene = Scene::real().await;
    let run = scene
        .restore(scene.request_with(json!({"expiresAfterHours": 1})))
        .await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let messages = scene.local.cloud.sns().messages().len();
    scene.sleep(Duration::from_secs(20 * 60)).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    // Who wants to keep it longer says so in the tag.
    let arn = scene.view("cluster", TARGET).arn;
    let tagged = async |at: &str| {
        let tag = aws_sdk_rds::types::Tag::builder()
            .key("aurora-restore:expires-at")
            .value(at)
            .build();
        let asked = scene.rds().add_tags_to_resource().resource_name(&arn);
        asked.tags(tag).send().await.unwrap();
    };
    tagged("2099-01-01T00:00:00Z").await;
    scene.sleep(Duration::from_secs(3600)).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    tagged("2026-11-21T00:00:00Z").await;
    scene.sleep(Duration::from_secs(1800)).await;
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    assert_eq!(scene.lost_resources(), Vec::<String>::new());
    let report = report(&scene, "restore-1").await.unwrap();
    assert_eq!(report.outcome, "Restored");
    assert!(report.reaped_at.is_some());
    assert_eq!(report.removed.len(), 2, "{:?}", report.removed);
    let lock = scene.lock().await;
    assert_eq!(
        (&lock["state"]["S"], &lock["epoch"]["N"]),
        (&json!("released"), &json!("2"))
    );
    assert_eq!(scene.local.cloud.sns().messages().len(), messages);
    let next = scene.start("restore-2", scene.request()).await;
    scene.until_state(&next, "WaitForCluster").await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_measures_how_long_ago_a_restore_was_last_proved() {
    let scene = Scene::real().await;
    let ages = || {
        let cloudwatch = scene.local.cloud.cloudwatch();
        let points = cloudwatch.data_points("AuroraRestore", "LastVerifiedRestoreAge");
        let ages = points.into_iter().map(|(_, point)| point.maximum);
        ages.collect::<Vec<_>>()
    };
    scene.reaper_comes(false).await;
    reap(&scene).await;
    assert!(ages().is_empty(), "nothing was ever restored");
    let run = scene.restore(scene.request()).await;
    assert_eq!(run.report.outcome, "Restored");
    scene.sleep(Duration::from_secs(3600)).await;
    reap(&scene).await;
    let age = ages().pop().unwrap();
    assert!((3600.0..3700.0).contains(&age), "{age}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_target_that_somebody_protected_is_kept() {
    let scene = Scene::real().await;
    let run = scene
        .restore(scene.request_with(json!({"expiresAfterHours": 1})))
        .await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    scene.protect(TARGET).await;
    scene.sleep(Duration::from_secs(2 * 3600)).await;
    let answer = reap(&scene).await;
    assert!(
        answer["refused"][0].as_str().unwrap().contains(TARGET),
        "{answer}"
    );
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    assert_eq!(scene.new_resources().len(), 2, "with its instance");
    assert_eq!(scene.lock().await["state"]["S"], "released");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_target_that_people_use_is_kept_whole_also_when_its_removal_had_begun() {
    let scene = Scene::real().await;
    let run = scene
        .restore(scene.request_with(json!({"expiresAfterHours": 1})))
        .await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    scene.reaper_comes(false).await;
    scene.sleep(Duration::from_secs(3600)).await;
    // A pass took the lock and went no further.
    let id = RestoreId::parse("restore-1").unwrap();
    let context = scene.context();
    let restore = Restore::load(&context, &id).await.unwrap();
    let expiry = expiry::stands(&context.table(), restore.plan())
        .await
        .unwrap();
    let begun = restore.begin_removal(ToDo::Expire, Some(&expiry), context.clock.now());
    assert!(begun.await.unwrap());
    let reader = "orders-report";
    scene
        .local
        .rds
        .script(Kind::Instance, reader, Trouble::NeverReady);
    let added = scene.rds().create_db_instance();
    added
        .db_instance_identifier(reader)
        .db_cluster_identifier(TARGET)
        .db_instance_class("db.r6g.large")
        .engine("aurora-postgresql")
        .send()
        .await
        .unwrap();
    for _ in 0..2 {
        let answer = reap(&scene).await;
        let refused = answer["refused"].as_array().unwrap();
        assert!(
            refused.len() == 1 && refused[0].as_str().unwrap().contains(reader),
            "{answer}"
        );
        assert_eq!(answer["expired"], json!([]));
        assert_eq!(scene.lock().await["state"]["S"], "released");
    }
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    assert_eq!(scene.new_resources().len(), 3, "with both instances");
    let kept = report(&scene, "restore-1").await.unwrap();
    assert!(kept.reaped_at.is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_lands_after_the_end_of_its_restore_is_removed() {
    let scene = Scene::metadata().await;
    refused_restore(&scene).await;
    create_cluster(&scene, TARGET, "restore-1").await;
    scene.sleep(Duration::from_secs(1800)).await;
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    assert_eq!(
        report(&scene, "restore-1").await.unwrap().outcome,
        "FailedClean"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_alone_makes_nothing_ours() {
    let scene = Scene::metadata().await;
    // Of this one the ledger knows the resource id.
    scene.local.rds.fail_next_restore("incompatible-restore");
    scene
        .restore(scene.request())
        .await
        .assert_failed_clean("AR0018");
    create_cluster(&scene, TARGET, "restore-1").await;
    create_cluster(&scene, "orders-clone", "restore-1").await;
    create_cluster(&scene, "orders-other", "never-heard-of").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let tag = aws_sdk_secretsmanager::types::Tag::builder()
        .key("aurora-restore:restore-id")
        .value("restore-1");
    secrets
        .create_secret()
        .name("somebody/elses")
        .secret_string("{}")
        .tags(tag.build())
        .send()
        .await
        .unwrap();
    scene.sleep(Duration::from_secs(1800)).await;
    let answer = reap(&scene).await;
    assert_eq!(answer["strangers"], 4, "{answer}");
    assert_eq!(answer["orphans"], json!([]));
    assert_eq!(
        scene.new_resources().len(),
        4,
        "{:?}",
        scene.new_resources()
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_and_a_tag_long_after_the_end_make_nothing_ours() {
    let scene = Scene::metadata().await;
    refused_restore(&scene).await;
    scene.sleep(Duration::from_secs(1200)).await;
    create_cluster(&scene, TARGET, "restore-1").await;
    scene.sleep(Duration::from_secs(1800)).await;
    let answer = reap(&scene).await;
    assert_eq!(
        (&answer["strangers"], &answer["orphans"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_is_removed_once_it_can_be() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForInstances").await;
    let protect = async |protected: bool| {
        let asked = scene
            .rds()
            .modify_db_cluster()
            .db_cluster_identifier(TARGET)
            .deletion_protection(protected);
        asked.apply_immediately(true).send().await.unwrap();
    };
    protect(true).await;
    scene.stop(&running).await;
    let report = ended(&scene, "restore-1").await;
    assert_eq!(report.outcome, "FailedDirty");
    assert!(
        report.leftovers[0]
            .remove_with
            .contains("--no-deletion-protection")
    );
    assert!(report.seconds.total < 3600.0, "{:?}", report.seconds);
    assert_eq!(told(&scene, "restore-1").len(), 1);
    scene.sleep(Duration::from_secs(1800)).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    protect(false).await;
    scene.sleep(Duration::from_secs(1800)).await;
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    assert_eq!(told(&scene, "restore-1").len(), 1);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_in_service_is_kept_and_named_when_its_execution_is_stopped() {
    let scene = Scene::real().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForSwitch").await;
    scene.stop(&running).await;
    let report = ended(&scene, "restore-1").await;
    assert_eq!(report.outcome, "FailedDirty");
    assert_eq!(report.kept.len(), 2, "{:?}", report.kept);
    scene.sleep(Duration::from_secs(3600)).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    assert_eq!(told(&scene, "restore-1").len(), 1);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_execution_is_over_and_made_nothing_is_taken_over() {
    let scene = Scene::metadata().await;
    scene.reaper_comes(false).await;
    let planned = scene.plan_event("restore-0", "2026-11-21T00:00:00Z");
    scene.invoke(step("plan"), planned).await.unwrap();
    // Nobody knows its execution: it may be a person's, for as long as an execution could run.
    let refused = scene.restore_as("restore-1", scene.request()).await;
    assert_eq!(refused.failure().0, "AR0013");
    scene.sleep(TEN_DAYS).await;
    let next = scene.start("restore-2", scene.request()).await;
    scene.until_state(&next, "WaitForCluster").await;
    let lock = scene.lock().await;
    assert_eq!(
        (&lock["owner"]["S"], &lock["epoch"]["N"]),
        (&json!("restore-2"), &json!("2"))
    );
    // The one that died is ended, and does not touch the lock that is another's now.
    let answer = reap(&scene).await;
    assert_eq!(
        answer["ended"],
        json!([{"restoreId": "restore-0", "outcome": "FailedClean"}])
    );
    assert_eq!(scene.lock().await, lock);
    assert_eq!(scene.listed(Status::Running).await, ["restore-2"]);
    let late = scene.event(
        "restore-0",
        "RestoreCluster",
        json!({"action": "restore-cluster"}),
    );
    let refused = scene.invoke(step("restore"), late).await.unwrap_err();
    assert!(refused.contains("AR0014"), "{refused}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_waits_for_what_an_execution_that_is_over_made() {
    let scene = Scene::metadata().await;
    scene.reaper_comes(false).await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForInstances").await;
    scene.stop(&running).await;
    while scene.view("cluster", TARGET).status != "deleting" {
        scene.sleep(Duration::from_secs(60)).await;
        reap(&scene).await;
    }
    while !scene.new_resources().is_empty() {
        scene.sleep(Duration::from_secs(60)).await;
    }
    let next = scene.start("restore-2", scene.request()).await;
    scene.sleep(Duration::from_secs(8)).await;
    let waiting = report(&scene, "restore-2").await.unwrap();
    assert_eq!(waiting.steps[0].outcome, "Transient", "{:?}", waiting.steps);
    assert!(waiting.steps[0].attempts > 1);
    scene.sleep(Duration::from_secs(40)).await;
    while report(&scene, "restore-1").await.unwrap().outcome == "Running" {
        reap(&scene).await;
        scene.sleep(Duration::from_secs(10)).await;
    }
    scene.until_state(&next, "WaitForCluster").await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_execution_runs_is_not_taken_over() {
    let scene = Scene::metadata().await;
    let first = scene.start("restore-1", scene.request()).await;
    scene.until_state(&first, "WaitForCluster").await;
    let second = scene.restore_as("restore-2", scene.request()).await;
    assert_eq!(second.failure().0, "AR0013", "{:?}", second.failure());
    scene.until_state(&first, "WaitForInstances").await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_restore_that_cannot_be_ended_does_not_stop_the_others() {
    let scene = Scene::metadata().await;
    scene.reaper_comes(false).await;
    for number in 0..2 {
        plan_dead(&scene, number).await;
    }
    scene.sleep(TEN_DAYS).await;
    break_plan(&scene, 0).await;
    let answer = reap(&scene).await;
    assert_eq!(answer["failures"][0]["about"], "dead-0", "{answer}");
    assert_eq!(answer["ended"][0]["restoreId"], "dead-1", "{answer}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn more_restores_than_a_pass_takes_on_that_cannot_be_ended_keep_nothing_else_waiting() {
    let scene = Scene::metadata().await;
    refused_restore(&scene).await;
    scene.reaper_comes(false).await;
    create_cluster(&scene, TARGET, "restore-1").await;
    let last = 2 * reap::RESTORES_PER_PASS;
    for number in 0..=last {
        plan_dead(&scene, number).await;
    }
    scene.sleep(TEN_DAYS).await;
    for number in 0..last {
        break_plan(&scene, number).await;
    }
    let first = reap(&scene).await;
    assert_eq!(first["more"], true, "{first}");
    // Where a pass begins is up to the clock: the one that can be ended, and told, may be among the first.
    let failures = first["failures"].as_array().unwrap().len();
    let most = reap::RESTORES_PER_PASS;
    assert!((most - 2..=most).contains(&failures), "{first}");
    assert_eq!(first["orphans"].as_array().unwrap().len(), 1, "{first}");
    for _ in 0..10 {
        reap(&scene).await;
        scene.sleep(Duration::from_secs(300)).await;
    }
    let last = report(&scene, &format!("dead-{last}")).await.unwrap();
    assert_eq!(last.outcome, "FailedClean");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_takes_on_so_much_and_says_that_there_is_more() {
    let scene = Scene::metadata().await;
    scene.reaper_comes(false).await;
    for number in 0..=reap::RESTORES_PER_PASS {
        plan_dead(&scene, number).await;
    }
    scene.sleep(TEN_DAYS).await;
    let first = reap(&scene).await;
    let count = |answer: &Value| answer["ended"].as_array().unwrap().len();
    assert!(
        count(&first) <= reap::RESTORES_PER_PASS && first["more"] == true,
        "{first}"
    );
    let mut all = count(&first);
    for _ in 0..3 {
        all += count(&reap(&scene).await);
    }
    assert_eq!(all, reap::RESTORES_PER_PASS + 1);
    assert_eq!(reap(&scene).await["more"], false);
    scene.local.shutdown().await;
}

/// A restore with a target of its own that was planned by an execution nobody knows.
async fn plan_dead(scene: &Scene, number: usize) {
    let id = format!("dead-{number}");
    let mut event = scene.plan_event(&id, "2026-11-21T00:00:00Z");
    event["input"]["target"]["clusterIdentifier"] = format!("dead-{number}-staging").into();
    scene.invoke(step("plan"), event).await.unwrap();
    assert!(scene.everything().iter().any(|arn| arn.ends_with(SOURCE)));
}

/// Leaves a plan that nobody can read.
async fn break_plan(scene: &Scene, number: usize) {
    let broken = json!({
        "Key": {"pk": {"S": format!("RESTORE#dead-{number}")}, "sk": {"S": "PLAN"}},
        "UpdateExpression": "SET #plan = :nothing",
        "ExpressionAttributeNames": {"#plan": "plan"},
        "ExpressionAttributeValues": {":nothing": {"S": "{}"}},
    });
    scene.dynamodb("UpdateItem", broken).await;
}
