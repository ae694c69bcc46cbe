//! Waits: woken by events, and safe without them.

use std::time::Duration;

use aurora_restore::local::LocalOptions;
use local_cloud::rds::{Kind, Trouble};
use pipeline_tests::{SOURCE, Scene, TARGET, seed, step};
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
    let scene = Scene::metadata().await;
    scene
        .local
        .rds
        .script(Kind::RestoredCluster, "*", Trouble::NeverReady);
    let waiting = scene.start("restore-1", scene.request()).await;
    scene.sleep(Duration::from_secs(120)).await;
    let of = |cluster: &str| {
        let arn = format!(
            "arn:aws:rds:{}:{}:cluster:{cluster}",
            scene.local.stack.region, scene.local.stack.account
        );
        json!({"source": "aws.rds", "resources": [arn], "detail": {"EventID": "RDS-EVENT-0170"}})
    };
    let strange = scene.invoke(step("wake"), of(SOURCE)).await.unwrap();
    assert_eq!(strange, json!({"answered": 0}));
    let early = scene.invoke(step("wake"), of(TARGET)).await.unwrap();
    assert_eq!(
        early,
        json!({"answered": 0}),
        "the event is only a hint: the cluster is not ready"
    );
    assert_eq!(
        waiting.history().states_entered().last().unwrap(),
        "WaitForCluster"
    );
    waiting.stop(None, None);
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waits_for_any_more_is_not_counted() {
    let scene = Scene::metadata().await;
    let stopped = scene.start("restore-1", scene.request()).await;
    scene.sleep(Duration::from_secs(60)).await;
    stopped.stop(None, None);
    let arn = format!(
        "arn:aws:rds:{}:{}:cluster:{TARGET}",
        scene.local.stack.region, scene.local.stack.account
    );
    while scene.view("cluster", TARGET).status != "available" {
        scene.sleep(Duration::from_secs(5)).await;
    }
    let event = json!({"source": "aws.rds", "resources": [arn], "detail": {}});
    let answer = scene.invoke(step("wake"), event).await.unwrap();
    assert_eq!(answer, json!({"answered": 0}));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_with_a_copy_and_a_reader_and_a_group_of_its_own_takes_at_most_forty_transitions()
{
    let scene = Scene::real().await;
    let run = scene.restore(scene.request_of_every_step().await).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let minutes = run.report.seconds.total / 60.0;
    let transitions = run.execution.history().transitions();
    let attempts: Vec<_> = run
        .report
        .steps
        .iter()
        .map(|step| (&step.state, step.attempts))
        .collect();
    println!("{minutes:.1} minutes, {transitions} transitions: {attempts:?}");
    assert!(
        minutes < 60.0 && transitions <= 40,
        "{minutes:.1} minutes, {transitions} transitions"
    );
    scene.local.shutdown().await;
}
