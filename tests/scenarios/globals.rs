//! Members of Aurora global databases: restored like any other cluster, and never replaced or removed.

use std::time::Duration;

use aurora_restore_core::names::RestoreId;
use pipeline_tests::global::{ELSEWHERE, GLOBAL};
use pipeline_tests::paths::{REFUSED_BY_PLAN, SHORTEST, failing_in};
use pipeline_tests::{SOURCE, Scene, TARGET, resource_id, step};
use serde_json::{Value, json};

/// A scene whose source is the primary of a global database with a secondary in another region, and a snapshot taken
/// since.
async fn of_a_primary() -> Scene {
    let mut scene = Scene::real().await;
    scene.join(SOURCE).await;
    scene.add_secondary("orders-prod-elsewhere").await;
    scene.snapshot("of-a-member").await;
    scene.sleep(Duration::from_secs(600)).await;
    scene.begin();
    scene
}

async fn reap(scene: &Scene) -> Value {
    scene.invoke(step("reap"), json!({})).await.unwrap()
}

/// Lets time pass without the reaper, and then has it come until nothing is left for it to do; gives what its last
/// pass said.
async fn pass_after(scene: &Scene, time: Duration) -> Value {
    scene.reaper_comes(false).await;
    scene.sleep(time).await;
    for _ in 0..3 {
        reap(scene).await;
        scene.sleep(Duration::from_secs(1800)).await;
    }
    reap(scene).await
}

#[tokio::test(start_paused = true)]
async fn a_primary_is_restored_in_every_way_into_a_cluster_of_its_own() {
    let scene = of_a_primary().await;
    let ways = [
        json!({"snapshot": "of-a-member"}),
        json!({"pointInTime": "latest"}),
        json!({"clone": true}),
    ];
    for (number, source) in ways.into_iter().enumerate() {
        let name = format!("way-{number}-staging");
        let over = json!({"source": source, "target": {"clusterIdentifier": name}});
        let run = scene
            .restore_as(&format!("restore-{number}"), scene.request_with(over))
            .await;
        assert_eq!(run.path(), SHORTEST, "{source}: {:?}", run.report.cause);
        assert_eq!(scene.global_of(&name).await, None, "{source}");
        // RDS manages the target's password, which it does for no member.
        let target = run.report.target.clone().unwrap();
        let (endpoint, master) = (
            scene.endpoint(&name).await,
            scene.secret(&target.secret_arn).await,
        );
        let query = "SELECT count(*) FROM orders";
        assert_eq!(scene.value(&endpoint, &master, query).await, 1000);
    }
    assert_eq!(scene.global_of(SOURCE).await.as_deref(), Some(GLOBAL));
    assert_eq!(scene.lost_resources(), Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn rds_manages_no_secret_of_a_member_so_that_it_must_be_named() {
    let scene = of_a_primary().await;
    let mut request = scene.request();
    request["source"] = json!({"clusterIdentifier": SOURCE, "snapshot": "of-a-member"});
    let run = scene.restore(request).await;
    run.assert_failed_clean("AR0024");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let cause = run.failure().1;
    assert!(
        cause.contains(GLOBAL) && cause.contains("masterSecretArn"),
        "{cause}"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_is_not_replaced_by_its_name_until_it_is_none_any_more() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    scene.join(TARGET).await;
    let kept_as_it_is = scene.request_with(json!({"switch": {"mode": "rename"}}));
    for (number, request) in [scene.request_to_rename(), kept_as_it_is.clone()]
        .into_iter()
        .enumerate()
    {
        let run = scene
            .restore_as(&format!("restore-{number}"), request)
            .await;
        run.assert_failed_clean("AR0066");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
        let cause = run.failure().1;
        for said in [TARGET, GLOBAL, "remove-from-global-cluster"] {
            assert!(cause.contains(said), "{said} in {cause}");
        }
        scene.assert_serves_as_before(&serving).await;
    }
    let arn = scene.cluster(TARGET).await;
    scene
        .rds()
        .remove_from_global_cluster()
        .global_cluster_identifier(GLOBAL)
        .db_cluster_identifier(arn.db_cluster_arn().unwrap())
        .send()
        .await
        .unwrap();
    let run = scene.restore_as("restore-2", kept_as_it_is).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_becomes_a_member_before_the_switch_keeps_its_name() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let execution = scene.start("restore-1", scene.request_to_rename()).await;
    scene.until_state(&execution, "WaitForCredentials").await;
    scene.join(TARGET).await;
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    run.assert_failed_clean("AR0066");
    assert_eq!(run.path(), failing_in("Switch"));
    scene.assert_serves_as_before(&serving).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_cluster_that_becomes_a_member_is_kept_and_named() {
    let mut scene = Scene::real().await;
    scene.with_serving().await;
    let mut request = scene.request_to_rename();
    request["switch"]["retire"] = json!({"keepHours": 24, "stopped": false});
    scene.restore(request).await;
    let retired = RestoreId::parse("restore-1")
        .unwrap()
        .retired_cluster(TARGET);
    scene.join(&retired).await;
    let said = pass_after(&scene, Duration::from_secs(2 * 86_400)).await;
    let refused = said["refused"].to_string();
    assert!(
        refused.contains("AR0066") && refused.contains(&retired) && refused.contains(GLOBAL),
        "{said}"
    );
    let found = scene.cluster(&retired).await;
    assert_eq!(found.status(), Some("available"));
    assert_eq!(found.db_cluster_members().len(), 1);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_target_that_a_global_database_was_made_of_stays_whole() {
    let scene = Scene::real().await;
    let own = json!({
        "credentials": {"master": "secret"},
        "target": {"deletionProtection": false},
        "expiresAfterHours": 6,
    });
    let run = scene.restore(scene.request_with(own)).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let ours = resource_id(&scene.cluster(TARGET).await);
    scene.join(TARGET).await;
    scene.add_secondary("orders-elsewhere").await;
    pass_after(&scene, Duration::from_secs(86_400)).await;
    let found = scene.cluster(TARGET).await;
    assert_eq!(resource_id(&found), ours);
    assert_eq!(found.status(), Some("available"));
    assert_eq!(found.db_cluster_members().len(), 1);
    let rds = scene.rds_in(ELSEWHERE);
    let secondary = aurora_restore_core::rds::find_cluster(&rds, "orders-elsewhere");
    assert!(secondary.await.unwrap().is_some());
    scene.local.shutdown().await;
}
