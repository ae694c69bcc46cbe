//! Waits: woken by events, and safe without them.

use aurora_restore::local::LocalOptions;
use local_cloud::rds::{Data, Kind, Trouble};
use pipeline_tests::{SNAPSHOT, SOURCE, Scene, TARGET, seed};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_forty_five_minute_restore_takes_at_most_forty_transitions() {
    let scene = Scene::real().await;
    scene
        .local
        .rds
        .script(Kind::RestoredCluster, "*", Trouble::Slow(2.7));
    let run = scene.restore(scene.request()).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let minutes = run.report.seconds.total / 60.0;
    let transitions = run.execution.history().transitions();
    println!("{minutes:.1} minutes, {transitions} transitions");
    assert!((44.0..60.0).contains(&minutes), "{minutes}");
    assert!(transitions <= 40, "{transitions}");
    let told = scene.local.pipeline.path("restore-1").await.unwrap();
    assert_eq!(
        told.transitions as u64, transitions,
        "what is counted from the history is what is billed"
    );
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_whose_events_are_all_lost_is_only_slower() {
    let mut options = LocalOptions::in_process(seed());
    options.rds.event_loss = 1.0;
    let scene = Scene::with(options).await;
    let run = scene.restore(scene.request()).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let woken = scene
        .local
        .cloud
        .lambda()
        .logs(&scene.local.stack.function_name("wake"));
    assert!(woken.is_empty());
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_ends_a_wait_before_the_next_look() {
    let scene = Scene::real().await;
    let run = scene
        .restore(scene.request_with(json!({"waits": {"heartbeatSeconds": 3600}})))
        .await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let cluster = run
        .report
        .steps
        .iter()
        .find(|step| step.state == "WaitForCluster")
        .unwrap();
    assert_eq!(cluster.attempts, 1, "no heartbeat was missed");
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_cannot_be_seen_right_after_its_creation_is_waited_for() {
    let mut options = LocalOptions::in_process(seed());
    options.rds.invisible_after_create = std::time::Duration::from_secs(20);
    let scene = Scene::with(options).await;
    let run = scene.restore(scene.request()).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_about_somebody_elses_cluster_wakes_nobody() {
    let mut options = LocalOptions::in_process(seed());
    options.rds.data = Data::Metadata;
    let scene = Scene::with(options).await;
    scene.snapshot("another").await;
    let answer = scene
        .invoke(
            wake_step(),
            json!({"source": "aws.rds", "resources": [format!("arn:aws:rds:eu-west-1:123456789012:cluster:{SOURCE}")], "detail": {"EventID": "RDS-EVENT-0170"}}),
        )
        .await;
    assert_eq!(answer.unwrap(), json!({"answered": 0}));
    assert_ne!(SNAPSHOT, TARGET);
    scene.local.shutdown().await;
}

fn wake_step() -> aurora_restore_core::Step {
    aurora_restore::deployment::STEPS
        .into_iter()
        .find(|step| step.name == "wake")
        .unwrap()
}
