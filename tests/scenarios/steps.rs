//! Steps by themselves: repeated, out of order, or without what they need.

use local_cloud::faults::Faults;
use pipeline_tests::{Scene, TARGET, step};
use serde_json::{Value, json};

/// The start of an execution that only the test knows.
const STARTED_AT: &str = "2026-11-21T00:00:00.000Z";

pub(crate) fn event(state: &str, over: Value) -> Value {
    let mut event = json!({"restoreId": "restore-1", "state": state});
    for (name, value) in over.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

#[tokio::test(start_paused = true)]
async fn a_step_that_comes_after_the_end_changes_nothing() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;
    let (master, endpoint) = (
        scene
            .secret(&run.report.target.as_ref().unwrap().secret_arn)
            .await,
        scene.endpoint(TARGET).await,
    );
    scene
        .sql(
            &endpoint,
            &master,
            "CREATE ROLE service LOGIN PASSWORD 'made-after-the-end'",
        )
        .await;
    let before = (
        scene.everything(),
        scene.view("cluster", TARGET).resource_id,
    );
    let plan = scene.plan_event("restore-1", &run.started_at());
    for (name, event) in [
        ("plan", plan),
        ("copy-snapshot", event("CopySnapshot", json!({}))),
        (
            "restore",
            event("RestoreCluster", json!({"action": "restore-cluster"})),
        ),
        (
            "restore",
            event("AddInstances", json!({"action": "add-instances"})),
        ),
        (
            "reset-credentials",
            event("ResetCredentials", json!({"action": "reset-credentials"})),
        ),
        (
            "reset-credentials",
            event("LockLoginRoles", json!({"action": "lock-login-roles"})),
        ),
        ("switch", event("Switch", json!({}))),
        ("cleanup", event("Cleanup", json!({"action": "retire"}))),
    ] {
        if let Err(error) = scene.invoke(step(name), event).await {
            assert!(error.contains("AR0014"), "{name}: {error}");
        }
    }
    assert_eq!(
        (
            scene.everything(),
            scene.view("cluster", TARGET).resource_id
        ),
        before
    );
    assert!(scene.accepts(&endpoint, &master).await);
    let service = pipeline_tests::credentials("service", "made-after-the-end");
    assert!(
        scene.accepts(&endpoint, &service).await,
        "a role made after the end keeps its login"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_step_that_comes_after_a_clean_failure_makes_nothing() {
    let scene = Scene::metadata().await;
    scene.local.rds.fail_next_restore("incompatible-restore");
    scene
        .restore(scene.request())
        .await
        .assert_failed_clean("AR0018");
    let late = event("RestoreCluster", json!({"action": "restore-cluster"}));
    let refused = scene.invoke(step("restore"), late).await.unwrap_err();
    assert!(refused.contains("AR0014"), "{refused}");
    assert!(scene.new_resources().is_empty());
    scene.local.shutdown().await;
}

/// The steps up to the point where the roles are locked.
pub(crate) fn until_roles_are_locked(scene: &Scene) -> [(&'static str, Value); 5] {
    [
        ("plan", scene.plan_event("restore-1", STARTED_AT)),
        (
            "restore",
            event("RestoreCluster", json!({"action": "restore-cluster"})),
        ),
        (
            "restore",
            event("AddInstances", json!({"action": "add-instances"})),
        ),
        (
            "reset-credentials",
            event("ResetCredentials", json!({"action": "reset-credentials"})),
        ),
        (
            "reset-credentials",
            event("LockLoginRoles", json!({"action": "lock-login-roles"})),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_step_can_be_repeated_before_the_next() {
    let scene = Scene::real().await;
    for step in until_roles_are_locked(&scene) {
        scene.walk(&[step.clone(), step]).await;
    }
    scene
        .walk(&[
            ("verify", event("Verify", json!({}))),
            ("verify", event("Verify", json!({}))),
        ])
        .await;
    let made: Vec<_> = scene
        .new_resources()
        .into_iter()
        .filter(|arn| arn.contains(TARGET))
        .collect();
    assert_eq!(made.len(), 2, "one cluster, one instance: {made:?}");
    // Who is let in is said once: what people change afterwards stays.
    let cloud = &scene.local.cloud;
    let watched = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(watched.clone());
    let switch = ("switch", event("Switch", json!({})));
    scene.walk(&[switch.clone(), switch]).await;
    let calls = watched.recorded();
    let calls = calls.iter().map(|made| made.call.to_string());
    let changes: Vec<String> = calls.filter(|call| call.contains("rds:Modify")).collect();
    assert_eq!(changes, ["aurora-restore-switch rds:ModifyDBCluster#1"]);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_can_log_in_when_verify_looks_fails_the_run() {
    let scene = Scene::real().await;
    scene.walk(&until_roles_are_locked(&scene)).await;
    let cluster = scene.cluster(TARGET).await;
    let secret = cluster
        .master_user_secret()
        .unwrap()
        .secret_arn()
        .unwrap()
        .to_owned();
    let (endpoint, master) = (scene.endpoint(TARGET).await, scene.secret(&secret).await);
    scene
        .sql(
            &endpoint,
            &master,
            "CREATE ROLE rds_lookalike LOGIN PASSWORD 'known-to-many'",
        )
        .await;
    let refused = scene
        .invoke(step("verify"), event("Verify", json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.contains("AR0022") && refused.contains("rds_lookalike"),
        "{refused}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_password_that_is_still_accepted_fails_the_run() {
    let scene = Scene::real().await;
    scene.walk(&until_roles_are_locked(&scene)).await;
    let cluster = scene.cluster(TARGET).await;
    let new = scene
        .secret(cluster.master_user_secret().unwrap().secret_arn().unwrap())
        .await;
    // As if the reset had changed nothing: the source's secret holds what the target accepts.
    scene
        .rewrite_source_secret(pipeline_tests::MASTER, new.password.expose())
        .await;
    let refused = scene
        .invoke(step("verify"), event("Verify", json!({})))
        .await
        .unwrap_err();
    assert!(refused.contains("AR0022"), "{refused}");
    // A secret of somebody else is refused by any server, and proves nothing.
    scene
        .rewrite_source_secret("nobody-at-all", "whatever")
        .await;
    let refused = scene
        .invoke(step("verify"), event("Verify", json!({})))
        .await
        .unwrap_err();
    assert!(refused.contains("AR0024"), "{refused}");
    scene.local.shutdown().await;
}

/// Whatever a restore waits for when its lock is lost: it changes nothing from there on, but to undo.
#[tokio::test(start_paused = true)]
async fn a_lock_that_is_lost_in_any_wait_is_the_end_of_all_effects() {
    let waits = [
        "WaitForCopy",
        "WaitForCluster",
        "WaitForInstances",
        "WaitForCredentials",
        "WaitForSwitch",
    ];
    for state in waits {
        let scene = Scene::real().await;
        let key = scene.key_in(&scene.local.stack.region).await;
        let remote = scene.copy_to_region("eu-central-1").await;
        let over = json!({
            "source": {"region": "eu-central-1", "snapshot": remote},
            "target": {"kmsKeyId": key, "readers": 1},
        });
        let running = scene.start("restore-1", scene.request_with(over)).await;
        scene.until_state(&running, state).await;
        scene.take_over_lock().await;
        let lost_at = scene.local.cloud.world().now();
        running.finished().await;
        let run = scene.run("restore-1", running).await;
        assert_eq!(run.failure().0, "AR0014", "{state}: {:?}", run.failure());
        let changes: Vec<_> = scene
            .local
            .rds
            .audit()
            .into_iter()
            .filter(|call| call.at > lost_at && call.principal.contains("assumed-role"))
            .filter(|call| !call.action.starts_with("Describe") && !call.action.starts_with("List"))
            .map(|call| call.action)
            .filter(|action| !action.starts_with("Delete"))
            .collect();
        assert!(changes.is_empty(), "{state}: {changes:?}");
        let lock = scene.lock().await;
        assert_eq!(lock["owner"]["S"], "somebody-else", "{state}");
        assert_eq!(lock["state"]["S"], "held", "{state}");
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_lost_its_lock_stops_before_its_next_effect_and_says_so() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.sleep(std::time::Duration::from_secs(60)).await;
    scene.take_over_lock().await;
    running.finished().await;
    let run = scene.run("restore-1", running).await;
    assert_eq!(run.failure().0, "AR0014", "{:?}", run.failure());
    let made: Vec<_> = scene
        .local
        .rds
        .audit()
        .into_iter()
        .filter(|call| call.action == "CreateDBInstance")
        .collect();
    assert_eq!(made.len(), 1, "only the source's own instance");
    // What it had made is removed and its end recorded, although the lock is another's.
    run.assert_failed_clean("AR0014");
    let lock = scene.lock().await;
    assert_eq!(
        (&lock["owner"]["S"], &lock["state"]["S"]),
        (&json!("somebody-else"), &json!("held"))
    );
    let listed = scene
        .listed(aurora_restore_core::ledger::Status::Running)
        .await;
    assert!(listed.is_empty(), "{listed:?}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn once_undo_has_begun_no_step_makes_anything_any_more() {
    let scene = Scene::metadata().await;
    scene.walk(&until_roles_are_locked(&scene)[..2]).await;
    let undo = || event("Undo", json!({"action": "undo", "startedAt": STARTED_AT}));
    scene.invoke(step("cleanup"), undo()).await.unwrap();
    let lock = scene.lock().await;
    assert_eq!(lock["state"]["S"], "undoing");
    let wait = json!({
        "executionArn": "arn", "startedAt": STARTED_AT, "waitFor": "cluster",
        "enteredAt": STARTED_AT, "taskToken": "by-hand",
    });
    for (name, event) in [
        (
            "restore",
            event("RestoreCluster", json!({"action": "restore-cluster"})),
        ),
        (
            "restore",
            event("AddInstances", json!({"action": "add-instances"})),
        ),
        ("wait", event("WaitForCluster", wait)),
        ("cleanup", event("Cleanup", json!({"action": "retire"}))),
    ] {
        let refused = scene.invoke(step(name), event).await.unwrap_err();
        assert!(refused.contains("AR0014"), "{name}: {refused}");
    }
    scene.invoke(step("cleanup"), undo()).await.unwrap();
    assert_eq!(scene.lock().await, lock, "sealed once");
    scene.sleep(std::time::Duration::from_secs(1800)).await;
    assert!(scene.new_resources().is_empty());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_recorded_stands_when_the_undo_is_looked_at_again() {
    let scene = Scene::metadata().await;
    scene.local.rds.fail_next_restore("incompatible-restore");
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0018");
    let (lock, ended) = (scene.lock().await, run.report.clone());
    let again = event(
        "WaitForUndo",
        json!({
            "executionArn": "arn", "startedAt": run.started_at(), "waitFor": "undo",
            "enteredAt": STARTED_AT, "taskToken": "by-hand",
            "failure": {"Error": "Rejected", "Cause": "AR0007 something else"},
        }),
    );
    let answer = scene.invoke(step("wait"), again).await.unwrap();
    assert_eq!(
        answer,
        json!({"waiting": false, "seen": "no longer awaited"})
    );
    let run = scene.run("restore-1", run.execution).await;
    assert_eq!(
        (&run.report.outcome, &run.report.error, &run.report.cause),
        (&ended.outcome, &ended.error, &ended.cause)
    );
    assert_eq!(scene.lock().await, lock);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_fails_without_a_word_is_undone_all_the_same() {
    let scene = Scene::metadata().await;
    let running = scene.start("restore-1", scene.request()).await;
    scene.sleep(std::time::Duration::from_secs(60)).await;
    let token = scene.task_token(&running);
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    sfn.send_task_failure()
        .task_token(token)
        .send()
        .await
        .unwrap();
    running.finished().await;
    scene
        .run("restore-1", running)
        .await
        .assert_failed_clean("AR0099");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn undo_never_removes_a_target_that_is_in_service() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;
    let undo = event(
        "Undo",
        json!({"action": "undo", "startedAt": run.started_at()}),
    );
    let answer = scene.invoke(step("cleanup"), undo).await.unwrap();
    assert_eq!(answer, json!({"deleting": [], "refused": []}));
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn switch_refuses_to_open_a_target_without_evidence() {
    let scene = Scene::real().await;
    let check =
        json!({"name": "never", "database": "orders", "sql": "SELECT 1", "expect": {"equals": 2}});
    scene
        .restore(scene.request_with(json!({"checks": [check]})))
        .await
        .assert_failed_clean("AR0023");
    let refused = scene
        .invoke(step("switch"), event("Switch", json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.contains("Rejected") && refused.contains("AR0025"),
        "{refused}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_without_a_plan_says_so() {
    let scene = Scene::metadata().await;
    let refused = scene
        .invoke(step("verify"), event("Verify", json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.contains("Defect") && refused.contains("AR0099"),
        "{refused}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_fit_names_what_is_missing() {
    let scene = Scene::metadata().await;
    let refused = scene
        .invoke(step("restore"), event("RestoreCluster", json!({})))
        .await
        .unwrap_err();
    assert!(refused.contains("action"), "{refused}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_took_our_name_is_not_adopted() {
    let scene = Scene::metadata().await;
    let rds = scene.rds();
    // The name is free when the plan is made, and taken when the cluster is restored.
    let plan = event(
        "Plan",
        json!({"executionArn": scene.local.stack.execution_arn("restore-1"), "startedAt": STARTED_AT, "input": scene.request()}),
    );
    scene.invoke(step("plan"), plan).await.unwrap();
    rds.create_db_cluster()
        .db_cluster_identifier(TARGET)
        .engine("aurora-postgresql")
        .master_username("someone")
        .master_user_password("someone-elses-password")
        .send()
        .await
        .unwrap();
    let refused = scene
        .invoke(
            step("restore"),
            event("RestoreCluster", json!({"action": "restore-cluster"})),
        )
        .await;
    assert!(
        refused.clone().unwrap_err().contains("AR0012"),
        "{refused:?}"
    );
    let undo = event("Undo", json!({"action": "undo", "startedAt": STARTED_AT}));
    let answer = scene.invoke(step("cleanup"), undo).await.unwrap();
    assert_eq!(
        answer,
        json!({"deleting": [], "refused": []}),
        "a stranger's cluster is not ours to remove"
    );
    assert!(scene.everything().iter().any(|arn| arn.ends_with(TARGET)));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_used_again_neither_adopts_nor_undoes_the_earlier_restore() {
    let scene = Scene::metadata().await;
    let plan = |started_at: &str| {
        let arn = scene.local.stack.execution_arn("restore-1");
        event(
            "Plan",
            json!({"executionArn": arn, "startedAt": started_at, "input": scene.request()}),
        )
    };
    scene.invoke(step("plan"), plan(STARTED_AT)).await.unwrap();
    scene
        .invoke(
            step("restore"),
            event("RestoreCluster", json!({"action": "restore-cluster"})),
        )
        .await
        .unwrap();
    let later = "2027-03-01T00:00:00.000Z";
    let refused = scene.invoke(step("plan"), plan(later)).await.unwrap_err();
    assert!(refused.contains("AR0034"), "{refused}");
    let undo = event("Undo", json!({"action": "undo", "startedAt": later}));
    assert_eq!(
        scene.invoke(step("cleanup"), undo).await.unwrap(),
        json!({"deleting": [], "refused": []})
    );
    scene.local.shutdown().await;
}
