//! Restores that fail: honestly, with a code, a notification, and nothing left behind.

use std::time::Duration;

use local_cloud::ApiError;
use local_cloud::faults::{Fault, Faults};
use local_cloud::rds::{Kind, Trouble};
use pipeline_tests::paths::{REFUSED_BY_PLAN, failing_in};
use pipeline_tests::{SOURCE, Scene, TARGET, quarantine};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_does_not_exist_is_named() {
    let scene = Scene::metadata().await;
    let run = scene
        .restore(scene.request_with(json!({"source": {"snapshot": "orders-prod-9"}})))
        .await;
    run.assert_failed_clean("AR0007");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    assert!(
        run.failure().1.contains("orders-prod-9"),
        "{}",
        run.failure().1
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_record_nobody_may_read_is_told_as_a_failure() {
    let scene = Scene::metadata().await;
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    for operation in ["GetItem", "Query"] {
        let call = format!("aurora-restore-notify dynamodb:{operation}#1");
        faults.arm(call.parse().unwrap(), Fault::AccessDenied, &[]);
    }
    let missing = json!({"source": {"snapshot": "orders-prod-9"}});
    let execution = scene.start("restore-1", scene.request_with(missing)).await;
    execution.finished().await;
    let told = scene.local.cloud.sns().messages();
    let told = told[0].subject.as_deref().unwrap();
    assert_eq!(told, "FailedClean: restore-1");
    let path = execution.history().states_entered();
    assert_eq!(path.last().map(String::as_str), Some("FailedClean"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_without_snapshots_is_named() {
    let scene = Scene::metadata().await;
    let run = scene
        .restore(scene.request_with(json!({"source": {"clusterIdentifier": "orders-old"}})))
        .await;
    run.assert_failed_clean("AR0007");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_exists_already_is_left_as_it_is() {
    let scene = Scene::real().await;
    let first = scene.restore(scene.request()).await;
    assert_eq!(first.report.outcome, "Restored", "{:?}", first.report.cause);
    let (resource_id, before) = (
        scene.view("cluster", TARGET).resource_id,
        scene.everything(),
    );

    let second = scene.restore_as("restore-2", scene.request()).await;
    assert_eq!(second.failure().0, "AR0009");
    assert_eq!(second.report.outcome, "FailedClean");
    second.assert_told("FailedClean");
    assert_eq!(scene.everything(), before);
    assert_eq!(scene.view("cluster", TARGET).resource_id, resource_id);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_malformed_profile_is_told_with_the_path_of_its_mistake() {
    let scene = Scene::metadata().await;
    scene
        .local
        .put_profile(
            "nightly",
            r#"{"source": {"clusterIdentifer": "orders-prod"}}"#,
        )
        .await
        .unwrap();
    let run = scene.restore(json!({"profile": "nightly"})).await;
    run.assert_failed_clean("AR0003");
    let cause = run.failure().1;
    assert!(
        cause.contains("nightly") && cause.contains("source.clusterIdentifer"),
        "{cause}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_does_not_exist_is_named() {
    let scene = Scene::metadata().await;
    scene
        .restore(json!({"profile": "weekly"}))
        .await
        .assert_failed_clean("AR0002");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_input_that_is_no_request_is_refused() {
    let scene = Scene::metadata().await;
    scene
        .restore(json!({"sauce": "orders-prod"}))
        .await
        .assert_failed_clean("AR0001");
    scene
        .restore_as("restore-2", json!([]))
        .await
        .assert_failed_clean("AR0001");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn data_flows_only_where_the_deployed_settings_let_it() {
    let scene = Scene::metadata().await;
    let run = scene
        .restore(scene.request_with(json!({"target": {"clusterIdentifier": "orders-elsewhere"}})))
        .await;
    run.assert_failed_clean("AR0005");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_never_restored_over_itself() {
    let mut options = aurora_restore::local::LocalOptions::in_process(pipeline_tests::seed());
    options.rds.data = local_cloud::rds::Data::Metadata;
    options.flows[0].target = "*".to_owned();
    let scene = Scene::with(options).await;
    let run = scene
        .restore(
            scene.request_with(json!({"target": {"clusterIdentifier": SOURCE.to_uppercase()}})),
        )
        .await;
    run.assert_failed_clean("AR0006");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn groups_and_classes_that_do_not_exist_are_refused_before_anything_is_made() {
    let scene = Scene::metadata().await;
    let cases = [
        (json!({"target": {"subnetGroup": "nowhere"}}), "AR0015"),
        (
            json!({"target": {"clusterParameterGroup": "nothing"}}),
            "AR0015",
        ),
        (
            json!({"target": {"instanceParameterGroup": "nothing"}}),
            "AR0015",
        ),
        (json!({"target": {"instanceClass": "db.z9.mega"}}), "AR0016"),
        (json!({"target": {"kmsKeyId": "no-such-key"}}), "AR0010"),
    ];
    for (number, (over, code)) in cases.into_iter().enumerate() {
        let run = scene
            .restore_as(&format!("restore-{number}"), scene.request_with(over))
            .await;
        run.assert_failed_clean(code);
    }
    let made: Vec<_> = scene
        .local
        .rds
        .audit()
        .into_iter()
        .filter(|call| call.action.starts_with("Restore"))
        .collect();
    assert!(made.is_empty(), "{made:?}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_old_password_cannot_be_tried_is_refused() {
    let scene = Scene::metadata().await;
    let mut request = scene.request();
    request["source"]
        .as_object_mut()
        .unwrap()
        .remove("masterSecretArn");
    scene.restore(request).await.assert_failed_clean("AR0024");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_fails_in_rds_is_undone() {
    let scene = Scene::metadata().await;
    scene.local.rds.fail_next_restore("incompatible-restore");
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0018");
    assert!(
        run.failure().1.contains("incompatible-restore"),
        "{}",
        run.failure().1
    );
    assert_eq!(run.path(), failing_in("WaitForCluster"));
    assert_eq!(run.report.removed, [format!("DB cluster {TARGET}")]);
    assert_eq!(
        scene.view("cluster", TARGET).security_group_history.len(),
        1
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_rds_has_no_room_for_is_undone_with_its_cluster() {
    let scene = Scene::metadata().await;
    scene.local.rds.script(
        Kind::Instance,
        &format!("{TARGET}-1"),
        Trouble::EndsIn("insufficient-capacity".into()),
    );
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0019");
    assert_eq!(run.report.removed.len(), 2, "{:?}", run.report.removed);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_half_way_is_removed() {
    let scene = Scene::metadata().await;
    let key = scene.key_in(&scene.local.stack.region).await;
    let remote = scene.copy_to_region("eu-central-1").await;
    scene
        .local
        .rds
        .script(Kind::SnapshotCopy, "aurora-restore-*", Trouble::FailsAt(40));
    let before = scene.everything();
    let over = json!({"source": {"region": "eu-central-1", "snapshot": remote}, "target": {"kmsKeyId": key}});
    let run = scene.restore(scene.request_with(over)).await;
    assert_eq!(run.failure().0, "AR0017");
    assert_eq!(run.report.outcome, "FailedClean");
    assert_eq!(scene.everything(), before);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_does_not_hold_fails_the_run_before_anyone_can_reach_the_target() {
    let scene = Scene::real().await;
    let check = json!({"name": "a million orders", "database": "orders", "sql": "SELECT count(*) FROM orders", "expect": {"atLeast": 1e6}});
    let run = scene
        .restore(scene.request_with(json!({"checks": [check]})))
        .await;
    run.assert_failed_clean("AR0023");
    let failed: Vec<_> = run
        .report
        .evidence
        .iter()
        .filter(|finding| !finding.passed)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].check, "a million orders");
    let history = scene.view("cluster", TARGET).security_group_history;
    assert_eq!(
        history
            .into_iter()
            .map(|(_, groups)| groups)
            .collect::<Vec<_>>(),
        [quarantine()]
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn capacity_that_comes_back_is_waited_for() {
    let scene = Scene::real().await;
    let refusal = ApiError::new(403, "InsufficientDBClusterCapacityFault", "not now");
    scene
        .local
        .rds
        .script(Kind::RestoredCluster, "*", Trouble::Refused(refusal));
    let run = scene.restore(scene.request()).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let attempts = run
        .report
        .steps
        .iter()
        .find(|step| step.state == "RestoreCluster")
        .unwrap()
        .attempts;
    assert_eq!(attempts, 2);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_never_becomes_available_meets_the_deadline() {
    let scene = Scene::metadata().await;
    scene
        .local
        .rds
        .script(Kind::RestoredCluster, "*", Trouble::NeverReady);
    let run = scene
        .restore(scene.request_with(json!({"waits": {"clusterDeadlineMinutes": 30}})))
        .await;
    let (error, cause) = run.failure();
    assert_eq!(error, "AR0020", "{cause}");
    // RDS refuses to delete a cluster that is still being created: it is named, and a person is told.
    assert_eq!(run.report.outcome, "FailedDirty");
    assert_eq!(run.path().last().map(String::as_str), Some("FailedDirty"));
    assert_eq!(run.report.leftovers.len(), 1);
    assert!(
        cause.contains("aws rds delete-db-cluster") && cause.contains(TARGET),
        "{cause}"
    );
    run.assert_told("FailedDirty");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_cannot_be_sent_changes_nothing() {
    let scene = Scene::real().await;
    scene.forget_topic().await;
    let run = scene.restore(scene.request()).await;
    assert_eq!(run.path().last().map(String::as_str), Some("Restored"));
    let failed = scene
        .restore_as("restore-2", json!({"profile": "missing"}))
        .await;
    assert_eq!(
        failed.path().last().map(String::as_str),
        Some("FailedClean")
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_restores_of_one_target_do_not_meet() {
    let scene = Scene::real().await;
    let over = json!({"target": {"clusterIdentifier": "orders-second-staging"}});
    let request = || scene.request_with(over.clone());
    let first = scene.start("restore-1", request()).await;
    scene.sleep(Duration::from_secs(60)).await;
    let second = scene.restore_as("restore-2", request()).await;
    assert_eq!(second.report.outcome, "FailedClean");
    assert_eq!(second.failure().0, "AR0013", "{:?}", second.failure());
    first.finished().await;
    let first = scene.run("restore-1", first).await;
    assert_eq!(first.report.outcome, "Restored", "{:?}", first.report.cause);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_ours_is_removed_with_what_it_opened() {
    let scene = Scene::real().await;
    let check =
        json!({"name": "never", "database": "orders", "sql": "SELECT 1", "expect": {"equals": 2}});
    let over = json!({"credentials": {"master": "secret", "secretName": "staging/master"}, "checks": [check]});
    let run = scene.restore(scene.request_with(over)).await;
    run.assert_failed_clean("AR0023");
    assert!(
        run.report
            .removed
            .iter()
            .any(|name| name == "secret staging/master"),
        "{:?}",
        run.report.removed
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_ours_whose_tag_somebody_takes_is_left_alone_and_named() {
    let scene = Scene::metadata().await;
    let over = json!({"credentials": {"master": "secret", "secretName": "staging/master"}});
    let running = scene.start("restore-1", scene.request_with(over)).await;
    scene.until_state(&running, "WaitForCredentials").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let untag = secrets.untag_resource().secret_id("staging/master");
    let untag = untag.tag_keys("aurora-restore:restore-id");
    untag.send().await.unwrap();
    running.finished().await;
    let report = scene.run("restore-1", running).await.report;
    assert_eq!(report.outcome, "FailedDirty", "{:?}", report.cause);
    let named: Vec<_> = report.leftovers.iter().map(|left| &left.arn).collect();
    assert_eq!(named, ["staging/master"]);
    let there = secrets.describe_secret().secret_id("staging/master");
    assert!(there.send().await.unwrap().deleted_date().is_none());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_there_already_is_refused_before_anything_is_made() {
    let scene = Scene::metadata().await;
    let over = json!({"credentials": {"master": "secret", "secretName": "orders-prod/master"}});
    let run = scene.restore(scene.request_with(over)).await;
    run.assert_failed_clean("AR0009");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_serverless_class_without_scaling_is_refused_by_the_plan() {
    let scene = Scene::metadata().await;
    let run = scene
        .restore(scene.request_with(json!({"target": {"instanceClass": "db.serverless"}})))
        .await;
    run.assert_failed_clean("AR0001");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_clean_while_something_of_ours_may_still_appear() {
    let mut options = aurora_restore::local::LocalOptions::in_process(pipeline_tests::seed());
    options.rds.data = local_cloud::rds::Data::Metadata;
    options.rds.invisible_after_create = Duration::from_secs(90);
    let scene = Scene::with(options).await;
    scene.local.rds.fail_next_restore("incompatible-restore");
    let running = scene.start("restore-1", scene.request()).await;
    scene.sleep(Duration::from_secs(5)).await;
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let failure = sfn
        .send_task_failure()
        .task_token(scene.task_token(&running))
        .error("Rejected");
    failure.cause("stopped by hand").send().await.unwrap();
    running.finished().await;
    let run = scene.run("restore-1", running).await;
    assert_eq!(run.report.outcome, "FailedClean", "{:?}", run.report.cause);
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_opened_is_kept_and_named_when_the_run_fails_afterwards() {
    let scene = Scene::real().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForSwitch").await;
    scene.sleep(Duration::from_secs(1)).await;
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    sfn.send_task_failure()
        .task_token(scene.task_token(&running))
        .error("Rejected")
        .send()
        .await
        .unwrap();
    running.finished().await;
    let run = scene.run("restore-1", running).await;
    assert_eq!(run.report.outcome, "FailedDirty");
    assert!(run.failure().1.contains(TARGET), "{}", run.failure().1);
    assert_eq!(run.report.kept.len(), 2, "{:?}", run.report.kept);
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    run.assert_told("FailedDirty");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_somebody_protected_is_named_soon_with_the_commands_that_remove_it() {
    let scene = Scene::metadata().await;
    scene.local.rds.script(
        Kind::Instance,
        &format!("{TARGET}-1"),
        Trouble::EndsIn("insufficient-capacity".into()),
    );
    let running = scene.start("restore-1", scene.request()).await;
    scene.until_state(&running, "WaitForInstances").await;
    scene.protect(TARGET).await;
    running.finished().await;
    let run = scene.run("restore-1", running).await;
    assert_eq!(run.failure().0, "AR0019");
    assert_eq!(run.report.outcome, "FailedDirty");
    let [leftover] = run.report.leftovers.as_slice() else {
        panic!("one cluster: {:?}", run.report.leftovers);
    };
    let commands: Vec<&str> = leftover.remove_with.split(" && ").collect();
    assert!(
        commands[0].contains("modify-db-cluster")
            && commands[0].contains("--no-deletion-protection")
    );
    assert!(commands[1].contains("delete-db-cluster"), "{commands:?}");
    assert!(
        run.report.seconds.total < 45.0 * 60.0,
        "nobody waits for what does not pass: {:?}",
        run.report.seconds
    );
    assert_eq!(
        scene.cluster(TARGET).await.deletion_protection(),
        Some(true)
    );
    run.assert_told("FailedDirty");
    scene.local.shutdown().await;
}
