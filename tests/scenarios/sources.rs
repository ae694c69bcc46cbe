//! Every way to say what is restored.

use std::time::Duration;

use aws_sdk_rds::types::DbCluster;
use pipeline_tests::{SNAPSHOT, SOURCE, Scene, TARGET, quarantine};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The states of a restore that copies nothing: whatever the source is.
const WITHOUT_A_COPY: [&str; 17] = [
    "Begin",
    "Plan",
    "IsCopyNeeded",
    "RestoreCluster",
    "WaitForCluster",
    "AddInstances",
    "WaitForInstances",
    "AreInstancesMissing",
    "ResetCredentials",
    "WaitForCredentials",
    "LockLoginRoles",
    "Verify",
    "Switch",
    "WaitForSwitch",
    "Cleanup",
    "Notify",
    "Restored",
];

/// The states of a restore that Plan refuses.
const REFUSED_BY_PLAN: [&str; 8] = [
    "Begin",
    "Plan",
    "Undo",
    "WaitForUndo",
    "IsUndoDone",
    "NotifyFailure",
    "HowDidItEnd",
    "FailedClean",
];

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

    assert_eq!(run.path(), WITHOUT_A_COPY, "{:?}", run.report.cause);
    run.assert_told("Restored");
    assert_eq!(restoring_calls(&scene), ["RestoreDBClusterToPointInTime"]);
    let target = run.report.target.clone().unwrap();
    assert_eq!(orders(&scene, &target.secret_arn).await, 600);
    let endpoint = scene.endpoint(TARGET).await;
    assert!(!scene.accepts(&endpoint, &scene.old_master()).await);
    assert!(!scene.accepts(&endpoint, &scene.old_app()).await);
    assert_eq!(run.report.data_from, Some(text(at)));
    assert_eq!(run.report.source, Some(format!("{SOURCE} at {}", text(at))));
    let groups = scene.view("cluster", TARGET).security_group_history;
    assert_eq!(groups[0].1, quarantine());
    assert_eq!(scene.lost_resources(), Vec::<String>::new());
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
    assert_eq!(run.path(), WITHOUT_A_COPY, "{:?}", run.report.cause);
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
    assert_eq!(again.path(), WITHOUT_A_COPY, "{:?}", again.report.cause);
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
    assert_eq!(run.path(), WITHOUT_A_COPY, "{:?}", run.report.cause);
    assert_eq!(restoring_calls(&scene), ["RestoreDBClusterToPointInTime"]);
    let target = run.report.target.clone().unwrap();
    assert_eq!(orders(&scene, &target.secret_arn).await, 42);
    let (ours, theirs) = (scene.cluster(TARGET).await, source(&scene).await);
    assert_eq!(ours.clone_group_id(), theirs.clone_group_id());
    assert_eq!(run.report.source, Some(format!("clone of {SOURCE}")));
    // What the call resets is as it was planned all the same: the evidence compares each setting.
    for setting in ["port", "security groups in quarantine", "subnet group"] {
        let check = format!("setting: {setting}");
        let found = run
            .report
            .evidence
            .iter()
            .find(|found| found.check == check);
        assert!(found.unwrap().passed, "{check}");
    }
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

#[tokio::test(start_paused = true)]
async fn a_cluster_of_another_region_is_restored_from_a_snapshot_only() {
    let scene = Scene::metadata().await;
    for (number, field) in [json!({"clone": true}), json!({"pointInTime": "latest"})]
        .into_iter()
        .enumerate()
    {
        let request = from(&scene, field);
        let request = {
            let mut request = request;
            request["source"]["region"] = json!("eu-central-1");
            request
        };
        let run = scene
            .restore_as(&format!("restore-{number}"), request)
            .await;
        run.assert_failed_clean("AR0001");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
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
    for (number, field) in [json!({"clone": true}), json!({"pointInTime": "latest"})]
        .into_iter()
        .enumerate()
    {
        let mut request = from(&scene, field);
        request["source"]["clusterIdentifier"] = json!("Orders-Staging");
        request["target"]["clusterIdentifier"] = json!("orders-staging");
        let made = scene.rds().create_db_cluster();
        let made = made.db_cluster_identifier("orders-staging");
        let made = made.engine("aurora-postgresql").master_username("owner");
        let made = made.master_user_password("a-password").send().await;
        assert_eq!(made.is_ok(), number == 0);
        let instance = scene.rds().create_db_instance();
        let instance = instance.db_instance_identifier("theirs");
        let instance = instance.db_cluster_identifier("orders-staging");
        let instance = instance.engine("aurora-postgresql");
        let made = instance.db_instance_class("db.r6g.large").send().await;
        assert_eq!(made.is_ok(), number == 0);
        scene.sleep(MINUTES(60)).await;
        let run = scene
            .restore_as(&format!("restore-{number}"), request)
            .await;
        assert_eq!(run.failure().0, "AR0006");
        assert_eq!(run.path(), REFUSED_BY_PLAN);
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
async fn a_snapshot_of_aws_backup_is_copied_because_its_lifecycle_may_delete_it() {
    let scene = Scene::real().await;
    let backup = scene.local.rds.take_backup(&scene.place(), SOURCE).await;
    let backup = backup.unwrap();
    let run = scene
        .restore(from(&scene, json!({"snapshot": backup})))
        .await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    assert_eq!(
        run.path()[..5],
        [
            "Begin",
            "Plan",
            "IsCopyNeeded",
            "CopySnapshot",
            "WaitForCopy"
        ]
    );
    let target = run.report.target.clone().unwrap();
    assert_eq!(orders(&scene, &target.secret_arn).await, 1000);
    let left: Vec<String> = scene.new_resources();
    assert!(
        left.iter().all(|arn| !arn.contains("aurora-restore-")),
        "{left:?}"
    );
    scene.local.shutdown().await;
}
