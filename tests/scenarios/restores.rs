//! Restores that succeed.

use aurora_restore::local::FINAL_GROUP;
use pipeline_tests::paths::{ONE_COPY, REFUSED_BY_PLAN, SHORTEST, WITH_READERS};
use pipeline_tests::{APP_ROLE, SNAPSHOT, SOURCE, Scene, TARGET, quarantine};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_restored_cluster_holds_the_data_and_answers_only_to_the_new_password() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;

    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    run.assert_told("Restored");
    let target = run.report.target.clone().unwrap();
    let endpoint = scene.endpoint(TARGET).await;
    assert_eq!(
        (&endpoint.host, endpoint.port),
        (&target.endpoint, target.port)
    );
    let master = scene.secret(&target.secret_arn).await;
    assert_eq!(
        scene
            .value(&endpoint, &master, "SELECT count(*) FROM orders")
            .await,
        1000
    );
    assert!(!scene.accepts(&endpoint, &scene.old_master()).await);
    assert!(!scene.accepts(&endpoint, &scene.old_app()).await);
    let source = scene.endpoint(SOURCE).await;
    assert!(
        scene.accepts(&source, &scene.old_master()).await,
        "the source is as it was"
    );
    assert!(
        scene.accepts(&source, &scene.old_app()).await,
        "the source is as it was"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_but_the_pipeline_can_reach_the_target_before_it_is_proved() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;

    let history = scene.view("cluster", TARGET).security_group_history;
    let groups: Vec<_> = history.iter().map(|(_, groups)| groups.clone()).collect();
    assert_eq!(groups, [quarantine(), vec![FINAL_GROUP.to_owned()]]);
    let opened_at = history[1].0;
    let verified = run
        .report
        .steps
        .iter()
        .find(|step| step.state == "Verify")
        .unwrap();
    let verified_at = time::OffsetDateTime::parse(
        &verified.ended_at,
        &time::format_description::well_known::Rfc3339,
    )
    .unwrap();
    assert!(
        verified_at <= opened_at,
        "opened at {opened_at}, verified at {verified_at}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_password_is_written_down_anywhere_but_in_secrets_manager() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;
    let new = scene
        .secret(&run.report.target.as_ref().unwrap().secret_arn)
        .await;
    let (old, app) = (scene.old_password.clone(), scene.app_password.clone());
    assert_eq!(
        scene.leaks(&[&old, &app, new.password.expose()]),
        Vec::<String>::new()
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_search_for_passwords_finds_one_that_was_written_down() {
    let scene = Scene::metadata().await;
    let mut request = scene.request();
    request["source"]["snapshot"] = json!(scene.old_password);
    scene.restore(request).await;
    assert!(!scene.leaks(&[&scene.old_password]).is_empty());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_state_table_tells_the_story_step_by_step() {
    let scene = Scene::real().await;
    let run = scene.restore(scene.request()).await;
    let told: Vec<&str> = run
        .report
        .steps
        .iter()
        .map(|step| step.state.as_str())
        .collect();
    let called: Vec<&str> = SHORTEST
        .into_iter()
        .filter(|state| {
            !["Begin", "IsCopyNeeded", "AreInstancesMissing", "Restored"].contains(state)
        })
        .collect();
    assert_eq!(told, called);
    assert!(
        run.report.steps.iter().all(|step| step.outcome == "done"),
        "{:?}",
        run.report.steps
    );
    assert_eq!(
        run.report.created,
        [
            format!("DB cluster {TARGET}"),
            format!("DB instance {TARGET}-1")
        ]
    );
    assert!(run.report.removed.is_empty() && run.report.leftovers.is_empty());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_evidence_names_every_check() {
    let scene = Scene::real().await;
    let check = json!({"name": "orders are there", "database": "orders", "sql": "SELECT count(*) FROM orders", "expect": {"equals": 1000}});
    let run = scene
        .restore(scene.request_with(json!({"checks": [check]})))
        .await;
    assert!(run.report.evidence.iter().all(|finding| finding.passed));
    for check in [
        "new master password is accepted",
        "source's master password (AWSCURRENT) is refused",
        "no other role can log in",
        "orders are there",
        "settings are as planned",
    ] {
        assert!(
            run.report
                .evidence
                .iter()
                .any(|finding| finding.check == check),
            "{check}"
        );
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn readers_come_after_the_writer() {
    let scene = Scene::real().await;
    let run = scene
        .restore(scene.request_with(json!({"target": {"readers": 2}})))
        .await;
    assert_eq!(run.path(), WITH_READERS, "{:?}", run.report.cause);
    let cluster = scene.cluster(TARGET).await;
    let writers: Vec<_> = cluster
        .db_cluster_members()
        .iter()
        .filter(|member| member.is_cluster_writer() == Some(true))
        .collect();
    assert_eq!(cluster.db_cluster_members().len(), 3);
    assert_eq!(
        writers[0].db_instance_identifier(),
        Some(format!("{TARGET}-1").as_str())
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_pipeline_can_keep_the_new_password_itself() {
    let scene = Scene::real().await;
    let run = scene
        .restore(scene.request_with(
            json!({"credentials": {"master": "secret", "secretName": "staging/master"}}),
        ))
        .await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let secret_arn = &run.report.target.as_ref().unwrap().secret_arn;
    assert!(
        secret_arn.starts_with("arn:aws:secretsmanager:") && secret_arn.contains("staging/master")
    );
    let master = scene.secret("staging/master").await;
    let endpoint = scene.endpoint(TARGET).await;
    assert!(scene.accepts(&endpoint, &master).await);
    assert!(!scene.accepts(&endpoint, &scene.old_master()).await);
    assert_eq!(
        scene.leaks(&[master.password.expose(), &scene.old_password]),
        Vec::<String>::new()
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_profile_is_a_request_with_a_name() {
    let scene = Scene::real().await;
    scene
        .local
        .put_profile(
            "nightly",
            &scene
                .request_with(json!({"overrides": ["target.tags"]}))
                .to_string(),
        )
        .await
        .unwrap();
    let run = scene
        .restore(json!({"profile": "nightly", "target": {"tags": {"team": "data"}}}))
        .await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    assert_eq!(run.report.profile.as_deref(), Some("nightly"));
    assert_eq!(scene.view("cluster", TARGET).tags.get("team"), Some("data"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_profile_with_a_password_in_it_is_neither_put_nor_restored() {
    let scene = Scene::metadata().await;
    let over = json!({"credentials": {"password": scene.old_password}});
    let text = scene.request_with(over).to_string();
    let refused = scene.local.pipeline.put_profile("careless", &text).await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("credentials"), "{refused}");
    assert!(!refused.contains(&scene.old_password), "{refused}");
    assert_eq!(scene.local.pipeline.profiles().await.unwrap(), []);

    // Somebody puts it there by other means.
    scene.local.put_profile("careless", &text).await.unwrap();
    let run = scene.restore(json!({"profile": "careless"})).await;
    run.assert_failed_clean("AR0003");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let leaks = scene.leaks(&[&scene.old_password]).into_iter();
    let elsewhere: Vec<_> = leaks.filter(|place| !place.contains("ssm")).collect();
    assert_eq!(elsewhere, Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_final_parameter_group_comes_in_switch_with_the_reboot_it_needs() {
    let scene = Scene::real().await;
    let rds = scene.rds();
    let group = rds
        .create_db_cluster_parameter_group()
        .db_cluster_parameter_group_name("staging-params");
    group
        .db_parameter_group_family("aurora-postgresql15")
        .description("staging")
        .send()
        .await
        .unwrap();
    let run = scene
        .restore(scene.request_with(json!({"target": {"clusterParameterGroup": "staging-params"}})))
        .await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    assert_eq!(
        scene.cluster(TARGET).await.db_cluster_parameter_group(),
        Some("staging-params")
    );
    let mut settings = run.report.settings.iter();
    let in_quarantine = settings.find(|row| row.setting == "cluster parameter group");
    let in_quarantine = &in_quarantine.unwrap().found;
    assert_eq!(in_quarantine, "default.aurora-postgresql15");
    let rebooted = scene
        .local
        .rds
        .audit()
        .iter()
        .any(|call| call.action == "RebootDBInstance");
    assert!(rebooted);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_another_region_is_copied_first_under_a_key_of_this_one_and_the_copy_is_removed()
 {
    let scene = Scene::real().await;
    let key = scene.key_in(&scene.local.stack.region).await;
    let remote = scene.copy_to_region("eu-central-1").await;
    let over = json!({
        "source": {"region": "eu-central-1", "snapshot": remote},
        "target": {"kmsKeyId": key},
    });
    let before = scene.everything();
    let run = scene.restore(scene.request_with(over)).await;
    assert_eq!(run.path(), ONE_COPY, "{:?}", run.report.cause);
    let copies: Vec<_> = run
        .report
        .removed
        .iter()
        .filter(|name| name.starts_with("DB cluster snapshot"))
        .collect();
    assert_eq!(copies.len(), 1, "{:?}", run.report.removed);
    let left: Vec<_> = scene
        .everything()
        .into_iter()
        .filter(|arn| !before.contains(arn))
        .collect();
    assert!(
        left.iter().all(|arn| !arn.contains("cluster-snapshot")),
        "{left:?}"
    );
    let endpoint = scene.endpoint(TARGET).await;
    let master = scene
        .secret(&run.report.target.as_ref().unwrap().secret_arn)
        .await;
    assert_eq!(
        scene
            .value(&endpoint, &master, "SELECT count(*) FROM orders")
            .await,
        1000
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_changes_at_the_source_after_the_snapshot_is_not_in_the_copy() {
    let scene = Scene::real().await;
    let source = scene.endpoint(SOURCE).await;
    scene
        .sql(
            &source,
            &scene.old_master(),
            "DELETE FROM orders WHERE id > 10",
        )
        .await;
    let run = scene
        .restore(scene.request_with(json!({"source": {"snapshot": SNAPSHOT}})))
        .await;
    let master = scene
        .secret(&run.report.target.as_ref().unwrap().secret_arn)
        .await;
    let endpoint = scene.endpoint(TARGET).await;
    assert_eq!(
        scene
            .value(&endpoint, &master, "SELECT count(*) FROM orders")
            .await,
        1000
    );
    let query =
        format!("SELECT count(*) FROM pg_roles WHERE rolname = '{APP_ROLE}' AND NOT rolcanlogin");
    assert_eq!(
        scene.value(&endpoint, &master, &query).await,
        1,
        "the role is kept, its login is not"
    );
    scene.local.shutdown().await;
}
