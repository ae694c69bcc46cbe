//! How a target comes in the place of another cluster, and how that is taken back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aurora_restore::local::LocalOptions;
use aurora_restore_core::Restore;
use aurora_restore_core::ledger::{Ending, Status, ToDo};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::settings::Flow;
use aws_sdk_rds::types::Tag;
use local_cloud::Request;
use local_cloud::faults::{Fault, Faults};
use local_cloud::layer::{Answer, Layer};
use pipeline_tests::paths::{REFUSED_BY_PLAN, SHORTEST, failing_in};
use pipeline_tests::{SOURCE, Scene, TARGET, resource_id, step};
use serde_json::json;

fn id() -> RestoreId {
    RestoreId::parse("restore-1").unwrap()
}

/// Lets time pass without the reaper, and then has it come until nothing is left for it to do.
async fn pass_after(scene: &Scene, time: Duration) {
    scene.reaper_comes(false).await;
    scene.sleep(time).await;
    for _ in 0..4 {
        scene.invoke(step("reap"), json!({})).await.unwrap();
        scene.sleep(Duration::from_secs(1800)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_takes_over_the_name_of_a_cluster_that_serves_and_that_one_is_retired() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let run = scene.restore(scene.request_to_rename()).await;

    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    run.assert_told("Restored");
    let ours = scene.cluster(TARGET).await;
    assert_ne!(resource_id(&ours), serving.resource_id);
    let endpoint = scene.endpoint(TARGET).await;
    assert_eq!(endpoint.host, serving.endpoint.host, "clients keep it");
    let target = run.report.target.clone().unwrap();
    assert_eq!(target.endpoint, endpoint.host);
    let master = scene.secret(&target.secret_arn).await;
    let orders = scene.value(&endpoint, &master, "SELECT count(*) FROM orders");
    assert_eq!(orders.await, 1000);

    let retired = id().retired_cluster(TARGET);
    scene.sleep(Duration::from_secs(1200)).await;
    let old = scene.cluster(&retired).await;
    assert_eq!(resource_id(&old), serving.resource_id);
    assert_eq!(old.status(), Some("stopped"));
    let instances = ours.db_cluster_members();
    let instance = instances[0].db_instance_identifier().unwrap();
    assert_eq!(
        instance,
        format!("{}-1", id().working_cluster()),
        "instances keep their names"
    );
    let replaced = run.report.replaced.clone().unwrap();
    assert_eq!((replaced.was, replaced.is), (TARGET.to_owned(), retired));
    let finding = run.report.evidence.last().unwrap();
    assert_eq!(finding.check, "what the target replaced");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_bears_is_taken_at_the_end() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request_to_rename()).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    assert_eq!(scene.cluster(TARGET).await.status(), Some("available"));
    assert!(run.report.replaced.is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn production_is_restored_from_its_own_snapshot_and_keeps_its_name() {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.flows = vec![Flow {
        source: SOURCE.to_owned(),
        source_account: None,
        target: SOURCE.to_owned(),
    }];
    options.replaceable = SOURCE.to_owned();
    let scene = Scene::with(options).await;
    let before = resource_id(&scene.cluster(SOURCE).await);
    let mut request = scene.request_to_rename();
    request["target"]["clusterIdentifier"] = json!(SOURCE);
    let run = scene.restore(request).await;

    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let (ours, old) = (scene.cluster(SOURCE).await, id().retired_cluster(SOURCE));
    assert_ne!(resource_id(&ours), before);
    let old = scene.cluster(&old).await;
    assert_eq!(resource_id(&old), before);
    assert_eq!(
        old.deletion_protection(),
        Some(true),
        "not ours to switch off"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_the_deployed_settings_do_not_list_is_not_replaced() {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.replaceable = "other-staging".to_owned();
    let mut scene = Scene::with(options).await;
    let serving = scene.with_serving().await;
    let run = scene.restore(scene.request_to_rename()).await;
    run.assert_failed_clean("AR0046");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    scene.assert_serves_as_before(&serving).await;
    scene.local.shutdown().await;
}

/// Somebody who takes the target's name in the moment in which ours asks for it.
struct Quicker {
    rds: aws_sdk_rds::Client,
}

#[async_trait]
impl Layer for Quicker {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        let asked = String::from_utf8_lossy(&request.body);
        if asked.contains(&format!("NewDBClusterIdentifier={TARGET}")) {
            let made = self.rds.create_db_cluster().db_cluster_identifier(TARGET);
            let made = made.engine("aurora-postgresql").master_username("somebody");
            let made = made.master_user_password("somebody-elses").send().await;
            drop(made); // a second try of ours finds it taken
        }
        ControlFlow::Continue(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_somebody_takes_during_the_switch_is_left_to_them() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let quicker = Quicker { rds: scene.rds() };
    scene.local.cloud.world().add_layer(Arc::new(quicker));
    let execution = scene.start("restore-1", scene.request_to_rename()).await;
    let retired = id().retired_cluster(TARGET);
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    let (error, cause) = run.failure();
    assert_eq!(error, "AR0047", "{cause}");
    assert_eq!(run.report.outcome, "FailedDirty");
    assert!(
        cause.contains("AR0049") && cause.contains(&retired),
        "{cause}"
    );
    assert_eq!(
        resource_id(&scene.cluster(&retired).await),
        serving.resource_id
    );
    assert_eq!(
        scene.cluster(TARGET).await.master_username(),
        Some("somebody")
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_lost_an_instance_since_the_plan_is_replaced_all_the_same() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let (rds, reader) = (scene.rds(), format!("{TARGET}-2"));
    let made = rds.create_db_instance().db_instance_identifier(&reader);
    let made = made.db_cluster_identifier(TARGET);
    let made = made
        .db_instance_class("db.r6g.large")
        .engine("aurora-postgresql");
    made.send().await.unwrap();
    scene.until_available("db", &reader).await;
    let execution = scene.start("restore-1", scene.request_to_rename()).await;
    scene.until_state(&execution, "WaitForInstances").await;
    let removed = rds.delete_db_instance().db_instance_identifier(&reader);
    removed.send().await.unwrap();
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let retired = scene.cluster(&id().retired_cluster(TARGET)).await;
    assert_eq!(resource_id(&retired), serving.resource_id);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_cluster_is_kept_stopped_and_then_removed_with_a_last_snapshot() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let mut request = scene.request_to_rename();
    request["switch"]["retire"]["keepHours"] = json!(15 * 24);
    scene.restore(request).await;
    let retired = id().retired_cluster(TARGET);
    // RDS starts what was stopped after seven days, and the reaper stops it again.
    pass_after(&scene, Duration::from_secs(8 * 86_400)).await;
    let view = scene.view("cluster", &retired);
    let stops = view
        .statuses
        .iter()
        .filter(|(_, status)| *status == "stopped")
        .count();
    assert_eq!((view.status.as_str(), stops), ("stopped", 2));
    pass_after(&scene, Duration::from_secs(8 * 86_400)).await;

    let rds = scene.rds();
    let gone = aurora_restore_core::rds::find_cluster_by_id(&rds, &serving.resource_id);
    assert!(gone.await.unwrap().is_none());
    let last = id().final_snapshot(TARGET);
    let last = aurora_restore_core::rds::find_snapshot(&rds, &last)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(last.status(), Some("available"));
    assert_eq!(
        scene.cluster(TARGET).await.status(),
        Some("available"),
        "ours stays"
    );
    let listed = scene.dynamodb(
        "GetItem",
        json!({"Key": {"pk": {"S": "TODO"}, "sk": {"S": "RETIRE#restore-1"}}}),
    );
    assert!(listed.await["Item"].is_null());
    scene.local.shutdown().await;
}

/// A cluster of this name that is there.
async fn standing(scene: &Scene, name: &str) -> Option<aws_sdk_rds::types::DbCluster> {
    let found = aurora_restore_core::rds::find_cluster(&scene.rds(), name).await;
    found.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_retired_cluster_that_is_not_to_be_stopped_goes_on_running_and_is_removed_in_time() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let mut request = scene.request_to_rename();
    request["switch"]["retire"]["stopped"] = json!(false);
    let run = scene.restore(request).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let retired = id().retired_cluster(TARGET);
    pass_after(&scene, Duration::from_secs(2 * 86_400)).await;
    let old = standing(&scene, &retired).await.unwrap();
    assert_eq!(resource_id(&old), serving.resource_id);
    let view = scene.view("cluster", &retired);
    let stopped = view.statuses.iter().any(|(_, status)| status == "stopped");
    assert_eq!((view.status.as_str(), stopped), ("available", false));
    let endpoint = scene.endpoint(&retired).await;
    let rows = scene.value(&endpoint, &serving.master, "SELECT count(*) FROM serving");
    assert_eq!(rows.await, 1, "its password and its data are as they were");
    pass_after(&scene, Duration::from_secs(2 * 86_400)).await;
    assert!(standing(&scene, &retired).await.is_none());
    scene.local.shutdown().await;
}

/// The last of the renamings is done and the groups are refused: all of it is taken back.
#[tokio::test(start_paused = true)]
async fn a_name_that_was_taken_over_is_given_back_when_the_target_cannot_be_let_in() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    let call = "aurora-restore-switch rds:ModifyDBCluster#3";
    faults.arm(call.parse().unwrap(), Fault::AccessDenied, &[]);
    let run = scene.restore(scene.request_to_rename()).await;
    run.assert_failed_clean("AR0027");
    assert_eq!(run.path(), failing_in("Switch"));
    scene.sleep(Duration::from_secs(600)).await;
    scene.assert_serves_as_before(&serving).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_cluster_whose_mark_somebody_takes_is_theirs() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    scene.restore(scene.request_to_rename()).await;
    let (rds, retired) = (scene.rds(), id().retired_cluster(TARGET));
    let arn = scene
        .cluster(&retired)
        .await
        .db_cluster_arn()
        .unwrap()
        .to_owned();
    let taken = rds
        .remove_tags_from_resource()
        .resource_name(arn)
        .tag_keys("aurora-restore:retired-by");
    taken.send().await.unwrap();
    pass_after(&scene, Duration::from_secs(5 * 86_400)).await;
    assert_eq!(
        resource_id(&scene.cluster(&retired).await),
        serving.resource_id
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_cluster_is_kept_longer_by_its_tag() {
    let mut scene = Scene::real().await;
    scene.with_serving().await;
    scene.restore(scene.request_to_rename()).await;
    let (rds, retired) = (scene.rds(), id().retired_cluster(TARGET));
    let arn = scene
        .cluster(&retired)
        .await
        .db_cluster_arn()
        .unwrap()
        .to_owned();
    let later = Tag::builder()
        .key("aurora-restore:retired-until")
        .value("2026-12-24T12:00:00Z")
        .build();
    rds.add_tags_to_resource()
        .resource_name(arn)
        .tags(later)
        .send()
        .await
        .unwrap();
    pass_after(&scene, Duration::from_secs(5 * 86_400)).await;
    assert_eq!(scene.cluster(&retired).await.status(), Some("stopped"));
    pass_after(&scene, Duration::from_secs(40 * 86_400)).await;
    assert!(standing(&scene, &retired).await.is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_protected_cluster_is_retired_and_not_removed() {
    let mut scene = Scene::real().await;
    scene.with_serving().await;
    scene.protect(TARGET).await;
    scene.sleep(Duration::from_secs(600)).await;
    let run = scene.restore(scene.request_to_rename()).await;
    assert!(run.report.replaced.clone().unwrap().protected);
    pass_after(&scene, Duration::from_secs(4 * 86_400)).await;
    let retired = id().retired_cluster(TARGET);
    assert_eq!(scene.cluster(&retired).await.status(), Some("stopped"));
    let reaped = scene.invoke(step("reap"), json!({})).await.unwrap();
    assert!(
        reaped["refused"].to_string().contains("protected"),
        "{reaped}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_retired_cluster_is_deleted_before_its_last_snapshot_is_there() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    scene.restore(scene.request_to_rename()).await;
    let cloud = &scene.local.cloud;
    let faults = local_cloud::faults::Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    let call = "aurora-restore-reap rds:CreateDBClusterSnapshot#1".parse();
    faults.arm(call.unwrap(), local_cloud::faults::Fault::AccessDenied, &[]);
    pass_after(&scene, Duration::from_secs(4 * 86_400)).await;
    let retired = scene.cluster(&id().retired_cluster(TARGET)).await;
    assert_eq!(resource_id(&retired), serving.resource_id);
    assert_eq!(retired.db_cluster_members().len(), 1, "with its instance");
    let reaped = scene.invoke(step("reap"), json!({})).await.unwrap();
    assert!(
        reaped["failures"].to_string().contains("take snapshot"),
        "{reaped}"
    );
    scene.local.shutdown().await;
}

/// Of the restore `restore-1`.
async fn recorded(scene: &Scene) -> Restore {
    Restore::load(&scene.context(), &id()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_restore_replaced_that_failed_after_all_stays() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    scene.restore(scene.request_to_rename()).await;
    // Cleanup's answer came too late, and its execution went on to Undo.
    let failed = Ending {
        status: Status::FailedDirty,
        error: Some("AR0020".to_owned()),
        cause: None,
        leftovers: Vec::new(),
        kept: vec![scene.view("cluster", TARGET).arn],
        target: None,
    };
    let now = scene.local.cloud.world().now();
    let ending = recorded(&scene).await.end(&failed, now).await.unwrap();
    assert_eq!(ending.status, Status::FailedDirty);
    pass_after(&scene, Duration::from_secs(4 * 86_400)).await;
    let retired = scene.cluster(&id().retired_cluster(TARGET)).await;
    assert_eq!(resource_id(&retired), serving.resource_id);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_lock_of_a_removal_is_for_what_it_was_taken_and_goes_with_its_reason() {
    for taken_back in [true, false] {
        the_lock_of_a_removal_goes(taken_back).await;
    }
}

async fn the_lock_of_a_removal_goes(taken_back: bool) {
    let mut scene = Scene::real().await;
    scene.with_serving().await;
    scene.restore(scene.request_to_rename()).await;
    let (restore, now) = (recorded(&scene).await, scene.local.cloud.world().now());
    assert!(
        restore
            .begin_removal(ToDo::Retire, None, now)
            .await
            .unwrap()
    );
    assert!(
        restore
            .begin_removal(ToDo::Retire, None, now)
            .await
            .unwrap()
    );
    assert!(
        !restore
            .begin_removal(ToDo::Expire, None, now)
            .await
            .unwrap()
    );
    restore.release_removal(ToDo::Expire, now).await.unwrap();
    let lock = json!({"Key": {"pk": {"S": format!("TARGET#{}", restore.plan().named_arn())}, "sk": {"S": "LOCK"}}});
    let held = scene.dynamodb("GetItem", lock.clone()).await;
    assert_eq!(held["Item"]["state"]["S"], "undoing");
    // The pass that took it died, and before the next somebody took the cluster back, or gave it more time.
    if taken_back {
        let arn = scene.view("cluster", &id().retired_cluster(TARGET)).arn;
        let taken = scene.rds().remove_tags_from_resource().resource_name(arn);
        let taken = taken.tag_keys("aurora-restore:retired-by");
        taken.send().await.unwrap();
    }
    pass_after(&scene, Duration::from_secs(60)).await;
    let free = scene.dynamodb("GetItem", lock).await;
    assert_eq!(free["Item"]["state"]["S"], "released");
    scene.local.shutdown().await;
}
