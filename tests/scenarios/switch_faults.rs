//! Every call of Switch goes wrong once: either it passes, and the target serves, or the cluster that was to be
//! replaced serves as before.

use std::time::Duration;

use aurora_restore::local::{FINAL_GROUP, LocalOptions};
use aurora_restore_core::names::RestoreId;
use local_cloud::faults::{Call, Fault, Faults, Recorded};
use local_cloud::rds::Data;
use local_cloud::route53::zone_id;
use pipeline_tests::{
    Original, Run, Scene, Serving, TARGET, in_virtual_time, open_to, pointers, resource_id,
};
use serde_json::json;

/// The cluster that pointers point to.
const LIVE: &str = "live-staging";

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

/// How clients are brought to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Rename,
    Pointer,
}

/// Who takes the switch back whose calls go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakenBack {
    /// Nobody has to: the calls are Switch's own.
    Never,
    /// Undo, because RDS would not let anybody in.
    Undo,
    /// The reaper, because the execution was stopped once clients were led to the target.
    Reaper,
}

/// A switch on paper, without data and without SQL: names, pointers, groups and statuses are all that is looked at.
#[derive(Clone, Copy, Debug)]
struct Trial {
    mode: Mode,
    back: TakenBack,
    seed: u64,
}

/// What became of it.
struct Tried {
    outcome: String,
    cause: String,
    recorded: Vec<Recorded>,
}

impl Trial {
    fn function(self) -> &'static str {
        match self.back {
            TakenBack::Never => "aurora-restore-switch",
            TakenBack::Undo => "aurora-restore-cleanup",
            TakenBack::Reaper => "aurora-restore-reap",
        }
    }

    /// What goes wrong with Switch, so that it has to be taken back.
    fn trouble(self) -> Option<(Call, Fault)> {
        let (last, fault) = match (self.back, self.mode) {
            (TakenBack::Never, _) => return None,
            (TakenBack::Undo, Mode::Rename) => ("rds:ModifyDBCluster#3", Fault::AccessDenied),
            (TakenBack::Undo, Mode::Pointer) => ("rds:ModifyDBCluster#1", Fault::AccessDenied),
            (_, Mode::Rename) => ("rds:ModifyDBCluster#2", Fault::KilledAfter),
            (_, Mode::Pointer) => {
                let zone = zone_id(pointers::ZONE);
                let moved = format!(
                    "aurora-restore-switch route53:POST /2013-04-01/hostedzone/{zone}/rrset#1"
                );
                return Some((moved.parse().unwrap(), Fault::KilledAfter));
            }
        };
        let call = format!("aurora-restore-switch {last}").parse().unwrap();
        Some((call, fault))
    }

    async fn run(self, case: Option<&(Call, Fault)>) -> Tried {
        let mut options = LocalOptions::in_process(self.seed);
        options.rds.data = Data::Metadata;
        if self.mode == Mode::Pointer {
            options.replaceable = LIVE.to_owned();
            options.pointers = pointers::deployed();
        }
        let mut scene = Scene::with(options).await;
        scene.restore_on_paper();
        scene.reaper_comes(false).await;
        let (serving, before, mut request) = match self.mode {
            Mode::Rename => (scene.with_serving().await, None, scene.request_to_rename()),
            Mode::Pointer => {
                let (serving, before) = scene.serve_with_pointers(LIVE).await;
                (serving, Some(before), scene.request_to_point())
            }
        };
        // Undo asks again once a minute, so its deadline is what a trial takes its time for.
        request["waits"] = json!({"changeDeadlineMinutes": 40});
        let cloud = &scene.local.cloud;
        let faults = Faults::new(cloud.world(), cloud.lambda());
        cloud.world().add_layer(faults.clone());
        let trouble = self.trouble();
        for (call, fault) in trouble.iter().chain(case) {
            faults.arm(call.clone(), *fault, &[]);
        }
        let execution = scene.start("restore-1", request).await;
        if let (TakenBack::Reaper, Some((call, fault))) = (self.back, &trouble) {
            scene.until_state(&execution, "WaitForInstances").await;
            // Switch is tried again within two seconds: it is stopped before that, or goes on to where nothing is taken back.
            while !faults.reached(call, *fault) {
                assert!(execution.outcome().is_none(), "{:?}", execution.outcome());
                scene.sleep(Duration::from_millis(5)).await;
            }
            scene.reaper_comes(true).await;
            scene.stop(&execution).await;
            scene.sleep(Duration::from_secs(2 * 3600)).await;
        } else {
            execution.finished().await;
            scene.sleep(Duration::from_secs(900)).await;
        }
        for (call, fault) in trouble.iter().chain(case) {
            assert!(faults.reached(call, *fault), "{fault} at {call}");
        }
        let run = scene.run("restore-1", execution).await;
        let outcome = run.report.outcome.clone();
        let cause = run.report.cause.clone().unwrap_or_default();
        match outcome.as_str() {
            "FailedClean" => {
                scene.assert_serves_as_before(&serving).await;
                if let Some(before) = before {
                    assert_eq!(scene.pointing().await, before);
                }
            }
            "Restored" => self.assert_target_serves(&scene, &serving).await,
            _ => {} // judged by what it says
        }
        let recorded = faults.recorded();
        scene.local.shutdown().await;
        Tried {
            outcome,
            cause,
            recorded,
        }
    }

    /// The target is where clients look for it, and open to them.
    async fn assert_target_serves(self, scene: &Scene, serving: &Serving) {
        let ours = scene.cluster(TARGET).await;
        assert_ne!(resource_id(&ours), serving.resource_id);
        assert_eq!(ours.status(), Some("available"));
        assert_eq!(open_to(&ours), [FINAL_GROUP]);
        if self.mode == Mode::Pointer {
            let (now, endpoint) = (scene.pointing().await, scene.endpoint(TARGET).await);
            assert_eq!(now.parameter["clusterArn"], ours.db_cluster_arn().unwrap());
            assert_eq!(now.parameter["endpoint"], endpoint.host);
            assert_eq!(now.connection["host"], endpoint.host);
            assert_eq!(now.record, endpoint.host);
        }
    }

    /// Every call that changes something outside the state table, and of Switch also in it: until ours is removed, which
    /// `make faults` tries, as it does what else Undo and the reaper write.
    fn calls(self, recorded: &[Recorded]) -> Vec<Call> {
        let own = recorded.iter().map(|made| &made.call);
        let own = own.filter(|call| call.function == self.function());
        let own = own.take_while(|call| !call.operation.starts_with("DeleteDB"));
        let story = |call: &Call| call.operation == "UpdateItem" && call.occurrence > 1;
        let switches = self.back == TakenBack::Never;
        own.filter(|call| call.is_mutating() && !story(call))
            .filter(|call| switches || call.service != "dynamodb")
            .cloned()
            .collect()
    }

    /// Tries each of these calls denied, answered in vain, the last of its process, and late.
    ///
    /// Whoever takes a switch back and may not, for good, ends dirty, and says what is still to be done; everything else
    /// passes, or is taken back.
    fn try_all(self) {
        let plain = in_virtual_time(self.run(None));
        let end = match self.back {
            TakenBack::Never => "Restored",
            TakenBack::Undo | TakenBack::Reaper => "FailedClean",
        };
        assert_eq!(plain.outcome, end, "{}", plain.cause);
        let calls = self.calls(&plain.recorded);
        assert!(calls.len() >= 3, "{calls:?}");
        for call in calls {
            for fault in [
                Fault::AccessDenied,
                Fault::ResetAfter,
                Fault::KilledAfter,
                Fault::LandsLate,
            ] {
                let case = (call.clone(), fault);
                let Tried { outcome, cause, .. } = in_virtual_time(self.run(Some(&case)));
                println!("{fault} at {call}: {outcome}");
                let said = format!("{fault} at {call}: {outcome}: {cause}");
                if fault == Fault::AccessDenied && self.back != TakenBack::Never {
                    assert_eq!(outcome, "FailedDirty", "{said}");
                    let named = "AR0049 switch could not be taken back";
                    assert!(cause.contains(named), "{said}");
                } else {
                    assert!(["Restored", "FailedClean"].contains(&&*outcome), "{said}");
                }
            }
        }
    }
}

fn trial(mode: Mode, back: TakenBack) {
    let seed = pipeline_tests::seed();
    Trial { mode, back, seed }.try_all();
}

#[test]
fn whichever_call_of_switch_fails_pointers_lead_to_the_one_or_the_other_cluster() {
    trial(Mode::Pointer, TakenBack::Never);
}

#[test]
fn whichever_call_of_undo_fails_a_name_is_given_back_or_it_is_said_that_it_was_not() {
    trial(Mode::Rename, TakenBack::Undo);
}

#[test]
fn whichever_call_of_undo_fails_pointers_are_moved_back_or_named() {
    trial(Mode::Pointer, TakenBack::Undo);
}

#[test]
fn whichever_call_of_the_reaper_fails_a_name_is_given_back_or_it_is_said_that_it_was_not() {
    trial(Mode::Rename, TakenBack::Reaper);
}

#[test]
fn whichever_call_of_the_reaper_fails_pointers_are_moved_back_or_named() {
    trial(Mode::Pointer, TakenBack::Reaper);
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
