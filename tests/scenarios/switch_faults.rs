//! Every call of Switch goes wrong once: either it passes, and the target serves, or the cluster that was to be
//! replaced serves as before.

use std::time::Duration;

use aurora_restore::local::{FINAL_GROUP, LocalOptions};
use aurora_restore_core::names::RestoreId;
use local_cloud::faults::{Call, Fault, Faults, Recorded};
use pipeline_tests::{
    Original, Run, Scene, Serving, TARGET, in_virtual_time, open_to, resource_id,
};
use serde_json::json;

/// A world with a cluster that serves, a restore that comes in its place, and what was called.
async fn tried(
    original: &Original,
    seed: u64,
    case: Option<(&Call, Fault)>,
    recording: &[Recorded],
) -> Vec<Recorded> {
    let mut scene = Scene::of(original, LocalOptions::in_process(seed)).await;
    scene.reaper_comes(false).await;
    let serving = scene.with_serving().await;
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    if let Some((call, fault)) = case {
        faults.arm(call.clone(), fault, recording);
    }
    let run = scene.restore(scene.request_to_rename()).await;
    if let Some((call, fault)) = case {
        assert!(
            faults.reached(call, fault),
            "{fault} at {call} was not reached"
        );
        println!("{fault} at {call}: {}", run.report.outcome);
    }
    scene.sleep(Duration::from_secs(900)).await;
    assert_one_serves(&scene, &run, &serving).await;
    let recorded = faults.recorded();
    scene.local.shutdown().await;
    recorded
}

/// One of the two serves under the name, as the outcome says, and answers to its own password alone.
async fn assert_one_serves(scene: &Scene, run: &Run<'_>, serving: &Serving) {
    if run.report.outcome == "FailedClean" {
        return scene.assert_serves_as_before(serving).await;
    }
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    let retired = RestoreId::parse("restore-1")
        .unwrap()
        .retired_cluster(TARGET);
    assert_eq!(
        resource_id(&scene.cluster(&retired).await),
        serving.resource_id
    );
    let ours = scene.cluster(TARGET).await;
    assert_ne!(resource_id(&ours), serving.resource_id);
    assert_eq!(ours.status(), Some("available"));
    assert_eq!(open_to(&ours), [FINAL_GROUP]);
    let endpoint = scene.endpoint(TARGET).await;
    assert_eq!(endpoint.host, serving.endpoint.host, "clients keep it");
    let target = run.report.target.as_ref().unwrap();
    let master = scene.secret(&target.secret_arn).await;
    let orders = scene.value(&endpoint, &master, "SELECT count(*) FROM orders");
    assert_eq!(orders.await, 1000);
    for old in [&serving.master, &scene.old_master()] {
        assert!(!scene.accepts(&endpoint, old).await);
    }
}

#[test]
fn whichever_call_of_switch_fails_the_one_or_the_other_cluster_serves() {
    let seed = pipeline_tests::seed();
    let (original, recording) = in_virtual_time(async {
        let original = Original::make(seed).await;
        let recording = tried(&original, seed, None, &[]).await;
        (original, recording)
    });
    let of_switch: Vec<&Call> = recording
        .iter()
        .map(|made| &made.call)
        .filter(|call| call.function.ends_with("-switch"))
        .collect();
    let mut cases = Vec::new();
    for call in of_switch {
        // Who may not read the first time may not read later.
        let tells_the_story = call.operation == "UpdateItem" && call.occurrence > 1;
        if call.is_mutating() && !tells_the_story || call.occurrence == 1 {
            cases.push((call, Fault::AccessDenied));
        }
        if call.is_mutating() && call.service == "rds" {
            let after = [Fault::ResetAfter, Fault::KilledAfter, Fault::LandsLate];
            cases.extend(after.map(|fault| (call, fault)));
        }
    }
    let renamings = cases
        .iter()
        .filter(|(call, _)| call.operation == "ModifyDBCluster");
    assert!(
        renamings.count() >= 12,
        "two renamings and the groups: {cases:?}"
    );
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((call, fault)) =
                    cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    in_virtual_time(tried(&original, seed, Some((call, *fault)), &recording));
                }
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_is_stopped_in_its_middle_is_taken_back_by_the_reaper() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let execution = scene.start("restore-1", scene.request_to_rename()).await;
    until_nobody_serves(&scene).await;
    execution.stop(None, None);
    scene.sleep(Duration::from_secs(3600)).await;
    let run = scene.run("restore-1", execution).await;
    assert_eq!(run.report.outcome, "FailedClean", "{:?}", run.report.cause);
    scene.assert_serves_as_before(&serving).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_is_stopped_and_redriven_goes_on_where_it_stopped() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    scene.reaper_comes(false).await;
    let execution = scene.start("restore-1", scene.request_to_rename()).await;
    until_nobody_serves(&scene).await;
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let arn = scene.local.stack.execution_arn("restore-1");
    scene.stop(&execution).await;
    sfn.redrive_execution()
        .execution_arn(&arn)
        .send()
        .await
        .unwrap();
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    assert_one_serves(&scene, &run, &serving).await;
    assert_eq!(run.report.outcome, "Restored");
    scene.local.shutdown().await;
}

/// Until the cluster that serves has made way.
async fn until_nobody_serves(scene: &Scene) {
    let retired = RestoreId::parse("restore-1")
        .unwrap()
        .retired_cluster(TARGET);
    let rds = scene.rds();
    while aurora_restore_core::rds::find_cluster(&rds, &retired)
        .await
        .unwrap()
        .is_none()
    {
        scene.sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_once_the_target_is_let_in_keeps_it_and_names_what_it_replaced() {
    let mut scene = Scene::real().await;
    let serving = scene.with_serving().await;
    let execution = scene.start("restore-1", scene.request_to_rename()).await;
    scene.until_state(&execution, "WaitForSwitch").await;
    // A person removes the writer of ours, which serves by now.
    let ours = scene.cluster(TARGET).await;
    let writer = ours.db_cluster_members()[0]
        .db_instance_identifier()
        .unwrap()
        .to_owned();
    scene
        .rds()
        .delete_db_instance()
        .db_instance_identifier(writer)
        .send()
        .await
        .unwrap();
    execution.finished().await;
    let run = scene.run("restore-1", execution).await;
    let (_, cause) = run.failure();
    assert_eq!(run.report.outcome, "FailedDirty", "{cause}");
    assert!(cause.contains(&serving.resource_id), "{cause}");
    assert_ne!(
        resource_id(&scene.cluster(TARGET).await),
        serving.resource_id
    );
    assert_eq!(json!(run.report.replaced)["was"], TARGET);
    scene.local.shutdown().await;
}
