//! Aurora MySQL through the same states: restored, proved, and refused where it is not safe.

use std::time::Duration;

use aurora_restore::deployment::put_parameter;
use aurora_restore::local::{LocalOptions, QUIET_MYSQL_GROUP};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::Endpoint;
use aws_sdk_rds::types::Parameter;
use pipeline_tests::paths::{ONE_COPY, REFUSED_BY_PLAN, SHORTEST, failing_in};
use pipeline_tests::{
    APP_ROLE, MASTER, Run, SOURCE, Scene, TARGET, credentials, pointers, resource_id, step,
};
use serde_json::{Value, json};

#[tokio::test(start_paused = true)]
async fn a_restored_cluster_of_aurora_mysql_holds_the_data_and_answers_only_to_the_new_password() {
    let scene = Scene::mysql().await;
    let checks = json!([
        {"name": "orders are there", "database": "orders", "sql": "SELECT count(*) FROM orders;", "expect": {"equals": 1000}},
        {"name": "notes are there", "database": "orders", "sql": "SELECT note FROM orders WHERE id = 1", "expect": {"equals": "c4ca4238a0b923820dcc509a6f75849b"}},
    ]);
    let over = json!({"target": {"logExports": ["error", "slowquery"]}, "checks": checks});
    let run = scene.restore(scene.request_with(over)).await;

    assert_restored(&scene, &run, &SHORTEST, 1000).await;
    run.assert_told("Restored");
    let target = run.report.target.clone().unwrap();
    assert_eq!(target.port, 3306);
    let master = scene.secret(&target.secret_arn).await;
    let source = scene.endpoint(SOURCE).await;
    assert!(
        scene.accepts(&source, &scene.old_master()).await
            && scene.accepts(&source, &scene.old_app()).await,
        "the source is as it was"
    );
    let new = master.password.expose();
    let canaries = [&scene.old_password, &scene.app_password, new];
    assert_eq!(scene.leaks(&canaries), Vec::<String>::new());

    let findings = run.report.evidence.clone();
    let seen = |check: &str| {
        let found = findings.iter().find(|finding| finding.check == check);
        found.unwrap_or_else(|| panic!("no {check}")).detail.clone()
    };
    assert_eq!(seen("no other role can log in"), "none");
    assert_eq!(seen("event scheduler is off in quarantine"), "OFF");
    assert_eq!(seen("orders are there"), "1000, expected 1000");
    let cluster = scene.cluster(TARGET).await;
    let group = cluster.db_cluster_parameter_group();
    assert_eq!(group, Some("default.aurora-mysql8.0"));
    let logs = cluster.enabled_cloudwatch_logs_exports();
    assert_eq!(logs, ["error", "slowquery"]);
    scene.local.shutdown().await;
}

/// A target whose orders are these, and which the source's passwords do not open.
async fn assert_restored(scene: &Scene, run: &Run<'_>, path: &[&str], rows: i64) {
    assert_eq!(run.path(), path, "{:?}", run.report.cause);
    let target = run.report.target.clone().unwrap();
    let (endpoint, master) = (
        scene.endpoint(TARGET).await,
        scene.secret(&target.secret_arn).await,
    );
    let count = "SELECT count(*) FROM orders";
    assert_eq!(scene.value(&endpoint, &master, count).await, rows);
    assert!(!scene.accepts(&endpoint, &scene.old_master()).await);
    assert!(!scene.accepts(&endpoint, &scene.old_app()).await);
}

#[tokio::test(start_paused = true)]
async fn a_clone_holds_what_is_there_when_it_is_asked_for() {
    let scene = Scene::mysql().await;
    let (source, few) = (
        scene.endpoint(SOURCE).await,
        "DELETE FROM orders WHERE id > 42",
    );
    scene.sql(&source, &scene.old_master(), few).await;
    let over = json!({"source": {"clone": true}});
    let run = scene.restore(scene.request_with(over)).await;
    assert_restored(&scene, &run, &SHORTEST, 42).await;
    assert_eq!(run.report.source, Some(format!("clone of {SOURCE}")));
    let (ours, theirs) = (scene.cluster(TARGET).await, scene.cluster(SOURCE).await);
    assert_eq!(ours.clone_group_id(), theirs.clone_group_id());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_another_region_is_copied_first() {
    let scene = Scene::mysql().await;
    let key = scene.key_in(&scene.local.stack.region).await;
    let remote = scene.copy_to_region("eu-central-1").await;
    let over = json!({
        "source": {"region": "eu-central-1", "snapshot": remote},
        "target": {"kmsKeyId": key},
    });
    let run = scene.restore(scene.request_with(over)).await;
    assert_restored(&scene, &run, &ONE_COPY, 1000).await;
    assert_eq!(scene.cluster(TARGET).await.kms_key_id(), Some(&*key));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_takes_over_the_name_of_a_cluster_that_serves() {
    let mut scene = Scene::mysql().await;
    let serving = scene.with_serving().await;
    let run = scene.restore(scene.request_to_rename()).await;
    assert_restored(&scene, &run, &SHORTEST, 1000).await;
    let endpoint = scene.endpoint(TARGET).await;
    assert_eq!(endpoint.host, serving.endpoint.host, "clients keep it");
    let ours = scene.cluster(TARGET).await;
    assert_ne!(resource_id(&ours), serving.resource_id);
    let retired = RestoreId::parse("restore-1").unwrap();
    let retired = retired.retired_cluster(TARGET);
    scene.sleep(Duration::from_secs(1200)).await;
    let old = scene.cluster(&retired).await;
    assert_eq!(resource_id(&old), serving.resource_id);
    assert_eq!(old.status(), Some("stopped"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_points_to_a_cluster_points_to_the_target_in_the_end() {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.pointers = pointers::deployed();
    options.replaceable = "live-staging".to_owned();
    let mut scene = Scene::mysql_with(options).await;
    scene.serve_with_pointers("live-staging").await;
    let run = scene.restore(scene.request_to_point()).await;
    assert_restored(&scene, &run, &SHORTEST, 1000).await;
    let endpoint = scene.endpoint(TARGET).await;
    let now = scene.pointing().await;
    assert_eq!(
        (&now.parameter["endpoint"], &now.parameter["port"]),
        (&json!(endpoint.host), &json!(3306))
    );
    assert_eq!(now.record, endpoint.host);
    assert_eq!(now.connection["engine"], "mysql");
    let login = credentials(
        now.connection["username"].as_str().unwrap(),
        now.connection["password"].as_str().unwrap(),
    );
    assert!(scene.accepts(&endpoint, &login).await);
    scene.local.shutdown().await;
}

/// MariaDB has nothing that the local cloud could go back in, and says so.
#[tokio::test(start_paused = true)]
async fn a_point_in_time_is_refused_by_the_local_cloud_and_nothing_is_left() {
    let scene = Scene::mysql().await;
    scene.sleep(Duration::from_secs(1800)).await;
    let over = json!({"source": {"pointInTime": "latest"}});
    let run = scene.restore(scene.request_with(over)).await;
    run.assert_failed_clean("AR0033");
    let path = failing_in("RestoreCluster");
    assert_eq!(run.path(), path);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_stays_shut_when_somebody_unlocks_it() {
    let scene = Scene::mysql().await;
    let run = scene.restore(scene.request()).await;
    let target = run.report.target.clone().unwrap();
    let (endpoint, master) = (
        scene.endpoint(TARGET).await,
        scene.secret(&target.secret_arn).await,
    );
    let unlock = format!("ALTER USER {APP_ROLE} ACCOUNT UNLOCK");
    scene.sql(&endpoint, &master, &unlock).await;
    assert!(
        !scene.accepts(&endpoint, &scene.old_app()).await,
        "the password went with the lock"
    );
    scene.local.shutdown().await;
}

/// The pipeline's own secret of a cluster of MySQL says so, for whoever connects by it.
#[tokio::test(start_paused = true)]
async fn the_secret_that_the_pipeline_keeps_names_the_engine_and_its_port() {
    let scene = Scene::mysql().await;
    let over = json!({"credentials": {"master": "secret"}});
    let run = scene.restore(scene.request_with(over)).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let target = run.report.target.clone().unwrap();
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let value = secrets.get_secret_value().secret_id(&target.secret_arn);
    let value = value.send().await.unwrap();
    let value: Value = serde_json::from_str(value.secret_string().unwrap()).unwrap();
    assert_eq!(
        (&value["engine"], &value["port"]),
        (&json!("mysql"), &json!(3306))
    );
    let master = credentials(MASTER, value["password"].as_str().unwrap());
    assert!(scene.accepts(&scene.endpoint(TARGET).await, &master).await);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_not_offered_is_refused_before_anything_is_made() {
    let scene = Scene::mysql().await;
    let over = json!({"target": {"instanceClass": "db.r4.large"}});
    let run = scene.restore(scene.request_with(over)).await;
    run.assert_failed_clean("AR0016");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_of_the_other_engine_is_refused_before_anything_is_made() {
    let scene = Scene::mysql().await;
    let over = json!({"target": {"logExports": ["postgresql"]}});
    let run = scene.restore(scene.request_with(over)).await;
    run.assert_failed_clean("AR0001");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (_, cause) = run.failure();
    assert!(
        cause.contains("target.logExports") && cause.contains("slowquery"),
        "{cause}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_no_query_fails_the_run_and_changes_nothing() {
    let scene = Scene::mysql().await;
    let check = json!({"name": "not a query", "database": "orders", "sql": "SELECT 1) AS a; DROP TABLE orders; -- ", "expect": {"equals": 1}});
    let run = scene
        .restore(scene.request_with(json!({"checks": [check]})))
        .await;
    run.assert_failed_clean("AR0023");
    let (_, cause) = run.failure();
    assert!(cause.contains("SQLSTATE 42000 (error 1064)"), "{cause}");
    assert_eq!(run.path(), failing_in("Verify"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_password_that_aurora_mysql_still_accepts_fails_the_run() {
    let scene = Scene::mysql().await;
    let (_, master) = until_accounts_are_locked(&scene).await;
    // As if the reset had changed nothing: the source's secret holds what the target accepts.
    scene
        .rewrite_source_secret(MASTER, master.password.expose())
        .await;
    let refused = verify(&scene).await.unwrap_err();
    assert!(refused.contains("AR0022"), "{refused}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_can_log_in_when_verify_looks_fails_the_run() {
    let scene = Scene::mysql().await;
    let (endpoint, master) = until_accounts_are_locked(&scene).await;
    // The master's own name from another host is another account, and so is one with a name that ends a quote.
    let accounts = [
        format!("{MASTER}@'10.%'"),
        "`back``tick`@`%`".to_owned(),
        "''@localhost".to_owned(),
    ];
    for account in accounts {
        let made = format!("CREATE USER {account} IDENTIFIED BY 'known-to-many'");
        scene.sql(&endpoint, &master, &made).await;
        let refused = verify(&scene).await.unwrap_err();
        assert!(refused.contains("AR0022"), "{account}: {refused}");
        lock_login_roles(&scene).await;
        verify(&scene).await.unwrap();
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_locked_account_are_ended() {
    let scene = Scene::mysql().await;
    let (endpoint, master) = until_accounts_are_locked(&scene).await;
    let made = "CREATE USER stayer IDENTIFIED BY 'known-to-many'";
    scene.sql(&endpoint, &master, made).await;
    let stayer = credentials("stayer", "known-to-many");
    let mut session = aurora_restore_core::sql::mysql::connect(&endpoint, &stayer, None).unwrap();
    session.query("SELECT 1").unwrap();
    lock_login_roles(&scene).await;
    assert!(session.query("SELECT 1").is_err());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_scheduler_that_is_on_fails_the_run() {
    let scene = Scene::mysql().await;
    until_accounts_are_locked(&scene).await;
    let rds = &scene.local.rds;
    let on = "SET GLOBAL event_scheduler = ON";
    let set = rds.run_as_superuser(&scene.place(), TARGET, "", on).await;
    set.unwrap();
    let refused = verify(&scene).await.unwrap_err();
    assert!(
        refused.contains("AR0043") && refused.contains("event scheduler"),
        "{refused}"
    );
    scene.local.shutdown().await;
}

/// The engine has events on where a group does not turn them off.
#[tokio::test(start_paused = true)]
async fn a_quarantine_group_that_lets_events_run_is_refused_before_anything_is_made() {
    let scene = Scene::mysql().await;
    let on = Parameter::builder()
        .parameter_name("event_scheduler")
        .parameter_value("ON");
    let rds = scene.rds();
    rds.modify_db_cluster_parameter_group()
        .db_cluster_parameter_group_name(QUIET_MYSQL_GROUP)
        .parameters(on.build())
        .send()
        .await
        .unwrap();
    let run = scene.restore(scene.request()).await;
    run.assert_failed_clean("AR0043");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (_, cause) = run.failure();
    let text = format!(
        "cluster parameter group `{QUIET_MYSQL_GROUP}` has event_scheduler `ON`, expected OFF: the source's events \
         would run in quarantine"
    );
    assert!(cause.contains(&text), "{cause}");

    let mut settings = plan::settings(&scene.context()).await.unwrap();
    settings.quarantine_parameter_groups.clear();
    let (cloud, stack) = (&scene.local.cloud, &scene.local.stack);
    let text = serde_json::to_string(&settings).unwrap();
    let name = stack.settings().settings_parameter;
    put_parameter(cloud, stack, &name, &text).await.unwrap();
    let run = scene.restore_as("restore-2", scene.request()).await;
    run.assert_failed_clean("AR0043");
    let (_, cause) = run.failure();
    assert!(
        cause.contains("`default.aurora-mysql8.0` leaves event_scheduler to the engine"),
        "{cause}"
    );
    scene.local.shutdown().await;
}

async fn verify(scene: &Scene) -> Result<Value, String> {
    let event = scene.event("restore-1", "Verify", json!({}));
    scene.invoke(step("verify"), event).await
}

async fn lock_login_roles(scene: &Scene) {
    let action = json!({"action": "lock-login-roles"});
    let event = scene.event("restore-1", "LockLoginRoles", action);
    let locked = scene.invoke(step("reset-credentials"), event).await;
    locked.unwrap();
}

/// Carries a restore out by hand, up to the state before Verify; gives how its target is reached.
async fn until_accounts_are_locked(scene: &Scene) -> (Endpoint, Credentials) {
    let act =
        |state: &str, action: &str| scene.event("restore-1", state, json!({"action": action}));
    let steps = [
        (
            "plan",
            scene.plan_event("restore-1", "2026-11-21T00:00:00.000Z"),
        ),
        ("restore", act("RestoreCluster", "restore-cluster")),
        ("restore", act("AddInstances", "add-instances")),
        (
            "reset-credentials",
            act("ResetCredentials", "reset-credentials"),
        ),
        (
            "reset-credentials",
            act("LockLoginRoles", "lock-login-roles"),
        ),
    ];
    scene.walk(&steps).await;
    let cluster = scene.cluster(TARGET).await;
    let secret = cluster.master_user_secret().unwrap().secret_arn().unwrap();
    (scene.endpoint(TARGET).await, scene.secret(secret).await)
}
