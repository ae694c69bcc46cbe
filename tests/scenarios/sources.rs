//! Every way to say what is restored.

use std::time::Duration;

use asl_interpreter::Execution;
use aurora_restore::local::LocalOptions;
use aurora_restore_core::names::RestoreId;
use aws_sdk_rds::types::DbCluster;
use local_cloud::rds::{AuditRecord, Data};
use pipeline_tests::lender::{LENDER, Lender};
use pipeline_tests::paths::{ONE_COPY, REFUSED_BY_PLAN, SHORTEST, TWO_COPIES, UNDONE, failing_in};
use pipeline_tests::{Run, SNAPSHOT, SOURCE, Scene, TARGET, quarantine, step};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MINUTES: fn(u64) -> Duration = |minutes| Duration::from_secs(60 * minutes);

/// A request for this source; its secret is named where the scene has it.
fn from(scene: &Scene, source: Value) -> Value {
    scene.request_with(json!({ "source": source }))
}

fn now(scene: &Scene) -> OffsetDateTime {
    scene.local.cloud.world().now()
}

fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap()
}

/// How many orders the target has.
async fn orders(scene: &Scene, secret: &str) -> i64 {
    let (endpoint, master) = (scene.endpoint(TARGET).await, scene.secret(secret).await);
    let query = "SELECT count(*) FROM orders";
    scene.value(&endpoint, &master, query).await
}

async fn delete_orders(scene: &Scene, above: u32) {
    let source = scene.endpoint(SOURCE).await;
    let statement = format!("DELETE FROM orders WHERE id > {above}");
    scene.sql(&source, &scene.old_master(), &statement).await;
}

/// The target of a restore that took this path holds so many orders; nothing temporary is left of it.
async fn assert_restored(scene: &Scene, run: &Run<'_>, path: &[&str], rows: i64) {
    assert_eq!(run.path(), path, "{:?}", run.report.cause);
    run.assert_told("Restored");
    let target = run.report.target.clone().unwrap();
    assert_eq!(orders(scene, &target.secret_arn).await, rows);
    let endpoint = scene.endpoint(TARGET).await;
    assert!(!scene.accepts(&endpoint, &scene.old_master()).await);
    assert!(!scene.accepts(&endpoint, &scene.old_app()).await);
    let copies = path.iter().filter(|state| **state == "CopySnapshot");
    let removed = run.report.removed.iter();
    let removed = removed.filter(|name| name.starts_with("DB cluster snapshot"));
    assert_eq!(removed.count(), copies.count(), "{:?}", run.report.removed);
    let left = scene.new_resources().into_iter();
    let left: Vec<_> = left.filter(|arn| arn.contains("aurora-restore-")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(scene.lost_resources(), Vec::<String>::new());
}

/// The calls that made a cluster, in order.
fn restoring_calls(scene: &Scene) -> Vec<String> {
    let calls = scene.local.rds.audit().into_iter();
    let restoring = calls.filter(|call| call.action.starts_with("RestoreDBCluster"));
    restoring.map(|call| call.action).collect()
}

async fn source(scene: &Scene) -> DbCluster {
    scene.cluster(SOURCE).await
}

/// Restores from this source, which Plan refuses with this code and these words.
async fn assert_refused(scene: &Scene, request: Value, code: &str, words: &[&str]) {
    let run = scene.restore(request).await;
    run.assert_failed_clean(code);
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (_, cause) = run.failure();
    for word in words {
        assert!(cause.contains(word), "{word} in {cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_restored_as_it_was_at_a_point_in_time() {
    let scene = Scene::real().await;
    scene.sleep(MINUTES(5)).await;
    delete_orders(&scene, 600).await;
    scene.sleep(MINUTES(10)).await;
    let at = now(&scene);
    scene.sleep(MINUTES(10)).await;
    delete_orders(&scene, 100).await;
    scene.sleep(MINUTES(5)).await;

    let run = scene
        .restore(from(&scene, json!({"pointInTime": text(at)})))
        .await;

    assert_restored(&scene, &run, &SHORTEST, 600).await;
    assert_eq!(restoring_calls(&scene), ["RestoreDBClusterToPointInTime"]);
    assert_eq!(run.report.data_from, Some(text(at)));
    assert_eq!(run.report.source, Some(format!("{SOURCE} at {}", text(at))));
    let groups = scene.view("cluster", TARGET).security_group_history;
    assert_eq!(groups[0].1, quarantine());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_latest_point_in_time_is_resolved_once_and_to_a_whole_second() {
    let scene = Scene::real().await;
    delete_orders(&scene, 7).await;
    scene.sleep(MINUTES(30)).await;
    let run = scene
        .restore(from(&scene, json!({"pointInTime": "latest"})))
        .await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let target = run.report.target.clone().unwrap();
    assert_eq!(orders(&scene, &target.secret_arn).await, 7);
    let data_from = run.report.data_from.clone().unwrap();
    let data_from = OffsetDateTime::parse(&data_from, &Rfc3339).unwrap();
    assert_eq!(data_from.nanosecond(), 0);
    let started = OffsetDateTime::parse(&run.started_at(), &Rfc3339).unwrap();
    assert!(data_from < started && started - data_from < MINUTES(5));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_point_in_time_can_be_gone_back_to_again() {
    let scene = Scene::real().await;
    scene.sleep(MINUTES(10)).await;
    let request = from(&scene, json!({"pointInTime": text(now(&scene))}));
    scene.sleep(MINUTES(10)).await;
    delete_orders(&scene, 100).await;
    let first = scene.restore(request).await;
    let first = first.report.target.clone().unwrap();
    assert_eq!(orders(&scene, &first.secret_arn).await, 1000);
    let flows = json!({
        "source": {"clusterIdentifier": TARGET, "pointInTime": "latest", "masterSecretArn": first.secret_arn},
        "target": {"clusterIdentifier": "again-staging"},
    });
    scene.sleep(MINUTES(10)).await;
    let again = scene
        .restore_as("restore-2", scene.request_with(flows))
        .await;
    assert_eq!(again.path(), SHORTEST, "{:?}", again.report.cause);
    let again = again.report.target.clone().unwrap();
    let (endpoint, master) = (
        scene.endpoint("again-staging").await,
        scene.secret(&again.secret_arn).await,
    );
    let query = "SELECT count(*) FROM orders";
    assert_eq!(scene.value(&endpoint, &master, query).await, 1000);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_holds_what_is_there_when_it_is_asked_for_and_shares_the_volume() {
    let scene = Scene::real().await;
    delete_orders(&scene, 42).await;
    let run = scene.restore(from(&scene, json!({"clone": true}))).await;
    assert_restored(&scene, &run, &SHORTEST, 42).await;
    assert_eq!(restoring_calls(&scene), ["RestoreDBClusterToPointInTime"]);
    let (ours, theirs) = (scene.cluster(TARGET).await, source(&scene).await);
    assert_eq!(ours.clone_group_id(), theirs.clone_group_id());
    assert_eq!(run.report.source, Some(format!("clone of {SOURCE}")));
    // What the call resets is as it was planned all the same: the evidence compares each setting.
    for setting in ["port", "security groups", "subnet group"] {
        let mut rows = run.report.settings.iter();
        assert!(rows.any(|row| row.subject() == setting), "{setting}");
    }
    assert!(run.report.evidence.iter().all(|finding| finding.passed));
    let tags = scene.view("cluster", TARGET).tags;
    assert_eq!(
        tags.get("aurora-restore:source-cluster"),
        theirs.db_cluster_arn()
    );
    assert_eq!(
        scene.leaks(&[&scene.old_password, &scene.app_password]),
        Vec::<String>::new()
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_fails_is_removed() {
    let scene = Scene::metadata().await;
    scene.local.rds.fail_next_restore("cloning-failed");
    let run = scene.restore(from(&scene, json!({"clone": true}))).await;
    run.assert_failed_clean("AR0018");
    assert_eq!(run.path(), failing_in("WaitForCluster"));
    assert!(run.failure().1.contains("cloning-failed"));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_would_silently_be_a_full_copy_is_refused() {
    let mut scene = Scene::metadata().await;
    let rds = scene.rds();
    for number in 1..=15 {
        let clone = rds
            .restore_db_cluster_to_point_in_time()
            .db_cluster_identifier(format!("clone-{number}"))
            .source_db_cluster_identifier(SOURCE)
            .restore_type("copy-on-write")
            .use_latest_restorable_time(true);
        clone.send().await.unwrap();
    }
    scene.sleep(MINUTES(60)).await;
    scene.begin();
    let request = from(&scene, json!({"clone": true}));
    assert_refused(&scene, request, "AR0040", &["15 clones", SOURCE]).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_an_instance_is_not_cloned() {
    let mut scene = Scene::metadata().await;
    let instance = format!("{SOURCE}-1");
    let deleted = scene.rds().delete_db_instance();
    deleted
        .db_instance_identifier(instance)
        .send()
        .await
        .unwrap();
    scene.sleep(MINUTES(60)).await;
    scene.begin();
    let request = from(&scene, json!({"clone": true}));
    assert_refused(&scene, request, "AR0040", &["no DB instance"]).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_backups_do_not_reach_is_refused_with_those_that_they_do() {
    let scene = Scene::metadata().await;
    for (number, at) in [
        now(&scene) - Duration::from_secs(9 * 86_400),
        now(&scene) + Duration::from_secs(3_600),
    ]
    .into_iter()
    .enumerate()
    {
        let request = from(&scene, json!({"pointInTime": text(at)}));
        let run = scene
            .restore_as(&format!("restore-{number}"), request)
            .await;
        run.assert_failed_clean("AR0039");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
        let earliest = source(&scene).await.earliest_restorable_time;
        let cause = run.failure().1;
        assert!(cause.contains(&text(at)), "{cause}");
        let earliest = earliest.unwrap().to_string();
        assert!(cause.contains(&earliest[..16]), "{earliest} in {cause}");
    }
    scene.local.shutdown().await;
}

/// Restores a cluster itself, not its snapshot, in both ways; Plan refuses both.
async fn restores_of_the_cluster<'a>(scene: &'a Scene, source: &Value) -> [Run<'a>; 2] {
    let run = async |id: &str, way: Value| {
        let mut asked = source.clone();
        aurora_restore_core::profile::overlay(&mut asked, way);
        let run = scene.restore_as(id, from(scene, asked)).await;
        assert_eq!(run.path(), REFUSED_BY_PLAN, "{:?}", run.report.cause);
        run
    };
    [
        run("restore-clone", json!({"clone": true})).await,
        run("restore-moment", json!({"pointInTime": "latest"})).await,
    ]
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_another_region_is_restored_from_a_snapshot_only() {
    let scene = Scene::metadata().await;
    let elsewhere = json!({"region": "eu-central-1"});
    for run in restores_of_the_cluster(&scene, &elsewhere).await {
        run.assert_failed_clean("AR0001");
        let cause = run.failure().1;
        assert!(
            cause.contains("source.region") && cause.contains("restore a snapshot"),
            "{cause}"
        );
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_there_cannot_be_gone_back_in() {
    let scene = Scene::metadata().await;
    let gone = json!({"clusterIdentifier": "orders-old", "pointInTime": "latest"});
    let request = from(&scene, gone);
    assert_refused(&scene, request, "AR0038", &["orders-old"]).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_ways_to_say_what_is_restored_are_one_too_many() {
    let scene = Scene::metadata().await;
    let request = from(&scene, json!({"clone": true, "snapshot": SNAPSHOT}));
    let both = ["`source.snapshot`, `source.clone`"];
    assert_refused(&scene, request, "AR0001", &both).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_is_never_its_own_target() {
    let scene = Scene::metadata().await;
    scene.serve(TARGET).await;
    let own = json!({"clusterIdentifier": TARGET.to_uppercase()});
    for run in restores_of_the_cluster(&scene, &own).await {
        assert_eq!(run.failure().0, "AR0006");
        assert_eq!(run.report.outcome, "FailedClean");
    }
    scene.local.shutdown().await;
}

/// Snapshots of every type, an hour apart: the first of people, then of RDS, then of AWS Backup, then of people again.
async fn snapshots_of_every_type(scene: &Scene) -> [(String, OffsetDateTime); 4] {
    let (rds, place) = (&scene.local.rds, scene.place());
    let first = (SNAPSHOT.to_owned(), now(scene));
    scene.sleep(MINUTES(60)).await;
    let automated = rds.take_automated_snapshot(&place, SOURCE).await.unwrap();
    let automated = (automated, now(scene));
    scene.sleep(MINUTES(60)).await;
    let backup = rds.take_backup(&place, SOURCE).await.unwrap();
    let backup = (backup, now(scene));
    scene.sleep(MINUTES(60)).await;
    scene.snapshot("orders-prod-2").await;
    let last = ("orders-prod-2".to_owned(), now(scene));
    scene.sleep(MINUTES(60)).await;
    [first, automated, backup, last]
}

#[tokio::test(start_paused = true)]
async fn the_latest_snapshot_before_a_time_is_chosen_among_the_types_that_count() {
    let scene = Scene::metadata().await;
    let [first, automated, backup, last] = snapshots_of_every_type(&scene).await;
    let before = |(_, taken): &(String, OffsetDateTime)| text(*taken + MINUTES(1));
    let choices = [
        (json!({}), &last),
        (
            json!({"snapshotTypes": ["automated", "awsbackup"]}),
            &backup,
        ),
        (json!({"snapshotTypes": ["automated"]}), &automated),
        (json!({"latestBefore": before(&backup)}), &backup),
        (json!({"latestBefore": before(&automated)}), &automated),
        (
            json!({"latestBefore": before(&backup), "snapshotTypes": ["manual"]}),
            &first,
        ),
    ];
    for (number, (asked, (expected, _))) in choices.into_iter().enumerate() {
        let id = format!("restore-{number}");
        let target = format!("choice-{number}-staging");
        let over = json!({"source": asked, "target": {"clusterIdentifier": target}});
        let run = scene.restore_as(&id, scene.request_with(over)).await;
        let chosen = run.report.source.clone().unwrap();
        assert!(
            chosen.ends_with(&format!(":{expected}")),
            "{asked}: {chosen}"
        );
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_before_every_snapshot_is_named() {
    let scene = Scene::metadata().await;
    let before = text(now(&scene) - Duration::from_secs(86_400));
    let request = from(&scene, json!({"latestBefore": before}));
    let words = [before.as_str(), SOURCE, "automated, manual, awsbackup"];
    assert_refused(&scene, request, "AR0007", &words).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_latest_snapshot_before_a_time_is_restored_with_what_it_holds() {
    let scene = Scene::real().await;
    let mut taken = Vec::new();
    for kept in [600, 100] {
        scene.sleep(MINUTES(60)).await;
        delete_orders(&scene, kept).await;
        scene.snapshot(&format!("orders-prod-{kept}")).await;
        taken.push(now(&scene));
    }
    let before = text(taken[0] + MINUTES(30));
    let run = scene
        .restore(from(&scene, json!({"latestBefore": before})))
        .await;
    assert_restored(&scene, &run, &SHORTEST, 600).await;
    let source = run.report.source.clone().unwrap();
    assert!(source.ends_with(":orders-prod-600"), "{source}");
    let data_from = run.report.data_from.clone().unwrap();
    let data_from = OffsetDateTime::parse(&data_from, &Rfc3339).unwrap();
    assert!(data_from <= taken[0], "{data_from}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_automated_snapshot_is_restored_where_it_is_while_rds_keeps_it() {
    let scene = Scene::real().await;
    delete_orders(&scene, 600).await;
    let place = scene.place();
    let automated = scene.local.rds.take_automated_snapshot(&place, SOURCE);
    let automated = automated.await.unwrap();
    assert!(automated.starts_with("rds:"), "{automated}");
    delete_orders(&scene, 100).await;
    let run = scene
        .restore(from(&scene, json!({"snapshotTypes": ["automated"]})))
        .await;
    assert_restored(&scene, &run, &SHORTEST, 600).await;
    let source = run.report.source.clone().unwrap();
    assert!(source.ends_with(&format!(":{automated}")), "{source}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_automated_snapshot_that_rds_may_delete_meanwhile_is_copied_first() {
    let mut scene = Scene::real().await;
    let kept_a_day = scene.rds().modify_db_cluster();
    let kept_a_day = kept_a_day
        .db_cluster_identifier(SOURCE)
        .backup_retention_period(1);
    kept_a_day.apply_immediately(true).send().await.unwrap();
    delete_orders(&scene, 600).await;
    let place = scene.place();
    let automated = scene.local.rds.take_automated_snapshot(&place, SOURCE);
    let automated = automated.await.unwrap();
    scene.reaper_comes(false).await;
    scene.sleep(MINUTES(20 * 60)).await;
    scene.begin();
    let run = scene
        .restore(from(&scene, json!({"snapshot": automated})))
        .await;
    assert_restored(&scene, &run, &ONE_COPY, 600).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_aws_backup_is_copied_because_its_lifecycle_may_delete_it() {
    let mut scene = Scene::real().await;
    let backup = scene.local.rds.take_backup(&scene.place(), SOURCE).await;
    let backup = backup.unwrap();
    scene.begin();
    let run = scene
        .restore(from(&scene, json!({"snapshot": backup})))
        .await;
    assert_restored(&scene, &run, &ONE_COPY, 1000).await;
    scene.local.shutdown().await;
}

/// The key that a cluster is encrypted under, where somebody chose one.
async fn key_of(scene: &Scene, cluster: &str) -> Option<String> {
    let found = scene.cluster(cluster).await;
    let key = found.kms_key_id().map(str::to_owned);
    assert_eq!(found.storage_encrypted(), Some(key.is_some()));
    key
}

/// RDS re-encrypts as it restores, within an account and a region: no copy is needed for it ("RestoreDBClusterFromSnapshot",
/// `KmsKeyId`).
#[tokio::test(start_paused = true)]
async fn a_snapshot_under_one_key_is_restored_under_another_of_the_same_account_without_a_copy() {
    let mut scene = Scene::real().await;
    let region = scene.local.stack.region.clone();
    let (theirs, ours) = (scene.key_in(&region).await, scene.key_in(&region).await);
    let (cluster, snapshot) = scene.keyed(&theirs).await;
    scene.begin();
    let run = scene
        .restore(scene.request_with(json!({
            "source": {"clusterIdentifier": cluster, "snapshot": snapshot},
            "target": {"kmsKeyId": ours},
        })))
        .await;
    assert_restored(&scene, &run, &SHORTEST, 1000).await;
    assert_eq!(key_of(&scene, cluster).await, Some(theirs));
    assert_eq!(key_of(&scene, TARGET).await, Some(ours));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_unencrypted_snapshot_is_restored_unencrypted_or_under_the_key_that_is_asked_for() {
    for encrypts in [false, true] {
        let mut options = LocalOptions::in_process(pipeline_tests::seed());
        options.rds.aws_owned_key_by_default = false;
        let scene = Scene::with(options).await;
        let region = scene.local.stack.region.clone();
        let mut request = scene.request();
        let key = match encrypts {
            true => Some(scene.key_in(&region).await),
            false => None,
        };
        if let Some(key) = &key {
            request["target"]["kmsKeyId"] = json!(key);
        }
        let run = scene.restore(request).await;
        assert_restored(&scene, &run, &SHORTEST, 1000).await;
        assert_eq!(key_of(&scene, SOURCE).await, None);
        assert_eq!(key_of(&scene, TARGET).await, key);
        scene.local.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_refused_for_a_cluster_that_is_not_encrypted_where_rds_refuses_it() {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.rds.aws_owned_key_by_default = false;
    let scene = Scene::with(options).await;
    let key = scene.key_in(&scene.local.stack.region).await;
    for (id, source) in [
        ("restore-1", json!({"pointInTime": "latest"})),
        ("restore-2", json!({"clone": true})),
    ] {
        let over = json!({"source": source, "target": {"kmsKeyId": key}});
        let run = scene.restore_as(id, scene.request_with(over)).await;
        run.assert_failed_clean("AR0001");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
        let (_, cause) = run.failure();
        assert!(cause.contains("`target.kmsKeyId`"), "{cause}");
    }
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cloned_or_taken_back_is_the_cluster_that_was_planned_and_no_other_of_its_name() {
    for source in [json!({"pointInTime": "latest"}), json!({"clone": true})] {
        let scene = Scene::metadata().await;
        let mut planned = scene.plan_event("restore-1", "2026-11-21T00:00:00Z");
        planned["input"] = scene.request_with(json!({"source": source}));
        scene.walk(&[("plan", planned)]).await;
        let rds = scene.rds();
        let renamed = rds.modify_db_cluster().db_cluster_identifier(SOURCE);
        let renamed = renamed.new_db_cluster_identifier("orders-aside");
        renamed.apply_immediately(true).send().await.unwrap();
        scene.sleep(Duration::from_secs(600)).await;
        let other = rds.create_db_cluster().db_cluster_identifier(SOURCE);
        let other = other.engine("aurora-postgresql").master_username("root");
        let other = other.master_user_password("canary-another");
        other.send().await.unwrap();
        scene.until_available("cluster", SOURCE).await;
        let before = scene.everything();
        let own = json!({"action": "restore-cluster"});
        let restore = scene.event("restore-1", "RestoreCluster", own);
        let refused = scene.invoke(step("restore"), restore).await.unwrap_err();
        assert!(refused.contains("AR0038"), "{refused}");
        assert_eq!(scene.everything(), before);
        scene.local.shutdown().await;
    }
}

/// Another region.
const FAR: &str = "eu-central-1";

/// A scene into which data of the lender may flow.
async fn borrowing() -> Scene {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.flows[0].source_account = Some(LENDER.to_owned());
    Scene::with(options).await
}

/// A scene in which another account has shared an encrypted snapshot of another region, and a request to restore it:
/// with a key of that region for the first copy.
async fn lent_from_afar() -> (Scene, Value) {
    let mut scene = borrowing().await;
    let mut source = Lender::of(&scene, FAR).await.source();
    source["copyKmsKeyId"] = json!(scene.key_in(FAR).await);
    let here = scene.key_in(&scene.local.stack.region).await;
    let request = scene.request_with(json!({"source": source, "target": {"kmsKeyId": here}}));
    scene.begin();
    (scene, request)
}

#[tokio::test(start_paused = true)]
async fn an_encrypted_snapshot_of_another_account_is_copied_once_under_a_key_of_this_one() {
    let mut scene = borrowing().await;
    let region = scene.local.stack.region.clone();
    let lender = Lender::of(&scene, &region).await;
    let own = scene.key_in(&region).await;
    let over = json!({"source": lender.source(), "target": {"kmsKeyId": own}});
    scene.begin();
    let run = scene.restore(scene.request_with(over)).await;
    assert_restored(&scene, &run, &ONE_COPY, 1000).await;
    assert_eq!(copies_to(&scene), [(region, None)]);
    assert_eq!(key_of(&scene, TARGET).await, Some(own));
    // Nothing of it needs the lender any more.
    lender.let_use_key(&scene, &[]).await;
    lender.share(None, Some(&scene.local.stack.account)).await;
    scene.sleep(MINUTES(60)).await;
    assert_eq!(scene.view("cluster", TARGET).status, "available");
    scene.local.shutdown().await;
}

/// The regions to which snapshots were copied, in order, and how each call ended.
fn copies_to(scene: &Scene) -> Vec<(String, Option<String>)> {
    copying_calls(scene)
        .into_iter()
        .map(|call| (call.place.region, call.error))
        .collect()
}

fn copying_calls(scene: &Scene) -> Vec<AuditRecord> {
    let calls = scene.local.rds.audit().into_iter();
    let copying = calls.filter(|call| call.action == "CopyDBClusterSnapshot");
    copying.collect()
}

#[tokio::test(start_paused = true)]
async fn an_encrypted_snapshot_of_another_account_in_another_region_is_copied_twice() {
    let (scene, request) = lent_from_afar().await;
    let run = scene.restore(request).await;
    assert_restored(&scene, &run, &TWO_COPIES, 1000).await;
    let home = scene.local.stack.region.clone();
    assert_eq!(copies_to(&scene), [(FAR.to_owned(), None), (home, None)]);
    assert_eq!(
        tickets(&scene, FAR).await + tickets(&scene, "eu-west-1").await,
        0
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn both_copies_are_removed_when_what_comes_after_them_fails() {
    let (scene, request) = lent_from_afar().await;
    scene.local.rds.fail_next_restore("incompatible-restore");
    let run = scene.restore(request).await;
    run.assert_failed_clean("AR0018");
    let path = [&TWO_COPIES[..=10], &UNDONE].concat();
    assert_eq!(run.path(), path);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn both_copies_are_reaped_when_the_execution_is_stopped_at_the_second() {
    let (scene, request) = lent_from_afar().await;
    let running = scene.start("restore-1", request).await;
    while copies_to(&scene).len() < 2 {
        scene.sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(
        scene.new_resources().len(),
        2,
        "{:?}",
        scene.new_resources()
    );
    scene.stop(&running).await;
    scene.sleep(MINUTES(60)).await;
    let run = scene.run("restore-1", running).await;
    assert_eq!(run.report.outcome, "FailedClean", "{:?}", run.report.cause);
    assert_eq!(scene.new_resources(), Vec::<String>::new());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_copy_without_a_key_is_refused_and_so_is_a_key_without_a_first_copy() {
    let (scene, mut request) = lent_from_afar().await;
    request["source"]
        .as_object_mut()
        .unwrap()
        .shift_remove("copyKmsKeyId");
    assert_refused(&scene, request, "AR0010", &["source.copyKmsKeyId", FAR]).await;
    scene.local.shutdown().await;

    let scene = Scene::metadata().await;
    let request = from(&scene, json!({"copyKmsKeyId": "alias/mine"}));
    assert_refused(&scene, request, "AR0001", &["source.copyKmsKeyId"]).await;
    scene.local.shutdown().await;
}

/// How many tickets are in the queue of a region.
async fn tickets(scene: &Scene, region: &str) -> usize {
    let query = json!({
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": format!("COPIES#{region}")}},
        "ConsistentRead": true,
    });
    let answer = scene.dynamodb("Query", query).await;
    answer["Items"].as_array().unwrap().len()
}

/// Starts so many restores, ten seconds apart, each of a backup that must be copied; gives their executions, and the
/// names of their copies, in order.
async fn restores_that_copy(scene: &Scene, count: usize) -> (Vec<Execution>, Vec<String>) {
    let (mut executions, mut copies) = (Vec::new(), Vec::new());
    for number in 1..=count {
        let backup = scene.local.rds.take_backup(&scene.place(), SOURCE).await;
        let backup = backup.unwrap();
        let over = json!({
            "source": {"snapshot": backup},
            "target": {"clusterIdentifier": format!("queue-{number}-staging")},
        });
        let id = format!("restore-{number}");
        executions.push(scene.start(&id, scene.request_with(over)).await);
        copies.push(RestoreId::parse(&id).unwrap().snapshot_copy());
        scene.sleep(Duration::from_secs(10)).await;
    }
    (executions, copies)
}

/// The copies that were asked for, in order: no call was refused.
fn copied(scene: &Scene) -> Vec<String> {
    let calls = copying_calls(scene).into_iter();
    calls
        .map(|call| {
            assert_eq!(call.error, None, "{call:?}");
            call.resource
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn twelve_restores_copy_five_at_a_time_in_the_order_in_which_they_came() {
    let scene = Scene::metadata().await;
    let (executions, copies) = restores_that_copy(&scene, 12).await;
    scene.sleep(MINUTES(3)).await;
    assert_eq!(copied(&scene), copies[..5], "five at a time");
    assert_eq!(tickets(&scene, "eu-west-1").await, 12);
    for execution in &executions {
        execution.finished().await;
    }
    assert_eq!(copied(&scene), copies, "first come, first served");
    let calls = copying_calls(&scene);
    let took = calls[11].at - calls[0].at;
    println!("the twelfth copy began {took} after the first");
    assert!(took < MINUTES(45), "{took}");
    assert_eq!(tickets(&scene, "eu-west-1").await, 0);
    // One restore waited at most as often as the safety net and the wakes let it look.
    let last = executions[11].history().states_entered();
    let rounds = last.iter().filter(|state| *state == "CopySnapshot").count();
    assert!(rounds <= 5, "{rounds} rounds: {last:?}");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn restores_that_die_while_they_copy_or_wait_give_up_their_places() {
    let scene = Scene::metadata().await;
    let (executions, copies) = restores_that_copy(&scene, 8).await;
    scene.sleep(MINUTES(2)).await;
    scene.stop(&executions[5]).await; // is the next
    scene.stop(&executions[0]).await; // copies
    for execution in &executions {
        execution.finished().await;
    }
    scene.sleep(MINUTES(30)).await;
    let mut expected = copies.clone();
    expected.remove(5);
    assert_eq!(copied(&scene), expected);
    assert_eq!(tickets(&scene, "eu-west-1").await, 0);
    assert_eq!(scene.new_resources().len(), 8, "the backups alone");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_nobody_gave_back_is_removed_by_who_waits_behind_it() {
    let scene = Scene::metadata().await;
    // Restores that ended long ago, and a table that still has their tickets: five of them would block for ever.
    let (executions, _) = restores_that_copy(&scene, 5).await;
    for execution in &executions {
        execution.finished().await;
    }
    let before = copied(&scene).len();
    for number in 1..=5 {
        let item = json!({
            "pk": {"S": "COPIES#eu-west-1"},
            "sk": {"S": format!("TICKET#{number:020}#restore-{number}")},
            "restoreId": {"S": format!("restore-{number}")},
            "copy": {"S": format!("arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:gone-{number}")},
            "joinedAt": {"S": "2001-01-01T00:00:00Z"},
            "state": {"S": "copying"},
        });
        scene.dynamodb("PutItem", json!({ "Item": item })).await;
    }
    let backup = scene.local.rds.take_backup(&scene.place(), SOURCE).await;
    let source = json!({"snapshot": backup.unwrap()});
    let run = scene.restore_as("restore-6", from(&scene, source)).await;
    assert_eq!(copied(&scene).len(), before + 1, "{:?}", run.path());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_quota_of_snapshots_copies_wait_until_another_restore_has_removed_its_own() {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.rds.data = Data::Metadata;
    options.rds.quotas.manual_snapshots = 4;
    let mut scene = Scene::with(options).await;
    scene.begin();
    let (executions, copies) = restores_that_copy(&scene, 5).await;
    scene.sleep(MINUTES(15)).await;
    assert_eq!(
        copied(&scene),
        copies[..3],
        "the source's own is the fourth"
    );
    for execution in &executions {
        execution.finished().await;
    }
    assert_eq!(copied(&scene), copies);
    assert_eq!(tickets(&scene, "eu-west-1").await, 0);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_snapshots_that_no_restore_will_free_is_refused_at_once() {
    let mut options = LocalOptions::in_process(pipeline_tests::seed());
    options.rds.data = Data::Metadata;
    options.rds.quotas.manual_snapshots = 1;
    let scene = Scene::with(options).await;
    let backup = scene.local.rds.take_backup(&scene.place(), SOURCE).await;
    let request = from(&scene, json!({"snapshot": backup.unwrap()}));
    let words = ["1 of 1 manual snapshots in eu-west-1"];
    let run = scene.restore(request).await;
    assert_eq!(run.failure().0, "AR0011");
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    assert!(run.failure().1.contains(words[0]), "{}", run.failure().1);
    scene.local.shutdown().await;
}
