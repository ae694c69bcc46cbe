//! Steps by themselves: repeated, out of order, or without what they need.

use aurora_restore::deployment::STEPS;
use aurora_restore_core::Step;
use pipeline_tests::{Scene, TARGET};
use serde_json::{Value, json};

/// The start of an execution that only the test knows.
const STARTED_AT: &str = "2026-11-21T00:00:00.000Z";

fn step(name: &str) -> Step {
    STEPS.into_iter().find(|step| step.name == name).unwrap()
}

fn event(state: &str, over: Value) -> Value {
    let mut event = json!({"restoreId": "restore-1", "state": state});
    for (name, value) in over.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

#[tokio::test(start_paused = true)]
async fn every_step_can_be_run_again_after_the_restore_and_changes_nothing() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;
    let before = (
        scene.everything(),
        scene.view("cluster", TARGET).resource_id,
    );
    let plan = event(
        "Plan",
        json!({"executionArn": scene.local.stack.execution_arn("restore-1"), "startedAt": run.started_at(), "input": scene.request()}),
    );
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
        let answer = scene.invoke(step(name), event).await;
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
    assert_eq!(
        (
            scene.everything(),
            scene.view("cluster", TARGET).resource_id
        ),
        before
    );
    let master = scene
        .secret(&run.report.target.as_ref().unwrap().secret_arn)
        .await;
    assert!(scene.accepts(&scene.endpoint(TARGET).await, &master).await);
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
