//! The restores that the roles must be enough for, and that use all they grant.

use std::time::Duration;

use aurora_restore::local::LocalOptions;
use futures::future::LocalBoxFuture;
use local_cloud::ApiError;
use local_cloud::rds::{Kind, Trouble};
use pipeline_tests::{Original, Scene, TARGET, step};
use serde_json::{Value, json};

/// Longer than an execution may run.
const TEN_DAYS: Duration = Duration::from_secs(10 * 24 * 3600 + 60);

/// One way that things can go, which it says when they went otherwise.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    play: for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, Result<(), String>>,
    dress: fn(&mut LocalOptions),
}

impl Scenario {
    /// A world for it, deployed.
    pub(crate) async fn scene(&self, original: &Original, seed: u64) -> Scene {
        let mut options = LocalOptions::in_process(seed);
        (self.dress)(&mut options);
        Scene::of(original, options).await
    }

    /// Plays it to its end.
    pub(crate) async fn play(&self, scene: &Scene) -> Result<(), String> {
        (self.play)(scene).await
    }
}

macro_rules! scenarios {
    ($($name:literal: $play:path),* $(,)?) => {
        &[$(Scenario { name: $name, play: |scene| Box::pin($play(scene)), dress: |_| {} }),*]
    };
}

/// All of them.
pub(crate) const ALL: &[Scenario] = scenarios![
    "plain": plain,
    "from a profile, with readers and groups": readers_and_groups,
    "from another region, under a key": another_region,
    "an encrypted source": encrypted_source,
    "a secret of our own": own_secret,
    "a secret of our own, undone": own_secret_undone,
    "a cluster that fails, undone": failed_cluster,
    "an instance that fails, undone": failed_instance,
    "a copy that fails, undone": failed_copy,
    "a check that does not hold": failed_check,
    "stopped, and reaped": stopped,
    "stopped with a copy and a secret, and reaped": stopped_with_all,
    "dead before it planned": dead_before_plan,
    "expired, and reaped": expired,
    "protected, kept, and reaped when it could be": protected,
    "a lock that is taken over": takeover,
    "a target that exists already": existing_target,
    "a notification that cannot be sent": untold,
];

async fn restored(scene: &Scene, request: Value) -> Result<(), String> {
    ends(scene, "restore-1", request, "Restored").await
}

async fn ends(scene: &Scene, id: &str, request: Value, outcome: &str) -> Result<(), String> {
    let execution = scene.start(id, request).await;
    execution.finished().await;
    let found = outcome_of(scene, id).await;
    expect(&format!("the end of {id}"), &found, outcome)
}

/// What is on record of a restore; a restore that could not be planned has nothing.
async fn outcome_of(scene: &Scene, id: &str) -> String {
    let now = scene.local.cloud.world().now();
    match scene.local.pipeline.report(id, now).await {
        Ok(Some(report)) => report.outcome,
        Ok(None) => "nothing on record".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn expect(what: &str, found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {found} instead of {wanted}"))
    }
}

fn nothing_left(scene: &Scene) -> Result<(), String> {
    let left = scene.new_resources();
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("left behind: {}", left.join(", ")))
    }
}

async fn plain(scene: &Scene) -> Result<(), String> {
    restored(scene, scene.request()).await
}

async fn readers_and_groups(scene: &Scene) -> Result<(), String> {
    let rds = scene.rds();
    let made = rds
        .create_db_cluster_parameter_group()
        .db_cluster_parameter_group_name("staging-params")
        .db_parameter_group_family("aurora-postgresql15")
        .description("staging")
        .send()
        .await;
    made.map_err(|error| format!("{error:?}"))?;
    let made = rds
        .create_db_parameter_group()
        .db_parameter_group_name("staging-instances")
        .db_parameter_group_family("aurora-postgresql15")
        .description("staging")
        .send()
        .await;
    made.map_err(|error| format!("{error:?}"))?;
    let request = scene.request_with(json!({
        "target": {
            "readers": 2,
            "clusterParameterGroup": "staging-params",
            "instanceParameterGroup": "staging-instances",
        },
    }));
    let put = scene
        .local
        .put_profile("nightly", &request.to_string())
        .await;
    put.map_err(|error| error.to_string())?;
    restored(scene, json!({"profile": "nightly"})).await
}

async fn another_region(scene: &Scene) -> Result<(), String> {
    let request = from_elsewhere(scene).await;
    restored(scene, request).await
}

/// A request whose source is a snapshot of another region, and whose copy is under a key of this one.
async fn from_elsewhere(scene: &Scene) -> Value {
    let key = scene.key_in(&scene.local.stack.region).await;
    let remote = scene.copy_to_region("eu-central-1").await;
    scene.request_with(json!({
        "source": {"region": "eu-central-1", "snapshot": remote},
        "target": {"kmsKeyId": key},
    }))
}

async fn encrypted_source(scene: &Scene) -> Result<(), String> {
    let key = scene.key_in(&scene.local.stack.region).await;
    let request = scene.request_with(json!({"target": {"kmsKeyId": key}}));
    restored(scene, request).await
}

fn with_own_secret(scene: &Scene) -> Value {
    let credentials = json!({"master": "secret", "secretName": "staging/master"});
    scene.request_with(json!({"credentials": credentials}))
}

async fn own_secret(scene: &Scene) -> Result<(), String> {
    restored(scene, with_own_secret(scene)).await
}

async fn own_secret_undone(scene: &Scene) -> Result<(), String> {
    let mut request = with_own_secret(scene);
    request["checks"] = failing_check();
    ends(scene, "restore-1", request, "FailedClean").await?;
    nothing_left(scene)
}

fn failing_check() -> Value {
    json!([{
        "name": "orders are there",
        "database": "orders",
        "sql": "SELECT count(*) FROM orders",
        "expect": {"equals": 1},
    }])
}

async fn failed_check(scene: &Scene) -> Result<(), String> {
    let request = scene.request_with(json!({"checks": failing_check()}));
    ends(scene, "restore-1", request, "FailedClean").await?;
    nothing_left(scene)
}

async fn failed_cluster(scene: &Scene) -> Result<(), String> {
    let refusal = ApiError::new(400, "StorageQuotaExceeded", "no more");
    let script = Trouble::Refused(refusal);
    scene.local.rds.script(Kind::RestoredCluster, "*", script);
    ends(scene, "restore-1", scene.request(), "FailedClean").await?;
    nothing_left(scene)
}

async fn failed_instance(scene: &Scene) -> Result<(), String> {
    let script = Trouble::EndsIn("incompatible-parameters".to_owned());
    scene.local.rds.script(Kind::Instance, "*", script);
    ends(scene, "restore-1", scene.request(), "FailedClean").await?;
    nothing_left(scene)
}

async fn failed_copy(scene: &Scene) -> Result<(), String> {
    let request = from_elsewhere(scene).await;
    let before = scene.everything().len();
    let script = Trouble::FailsAt(40);
    scene.local.rds.script(Kind::SnapshotCopy, "*", script);
    ends(scene, "restore-1", request, "FailedClean").await?;
    expect(
        "what there is",
        &scene.everything().len().to_string(),
        &before.to_string(),
    )
}

async fn stop(scene: &Scene, arn: &str) -> Result<(), String> {
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let stopped = sfn.stop_execution().execution_arn(arn).cause("by hand");
    let stopped = stopped.send().await;
    stopped.map(drop).map_err(|error| format!("{error:?}"))
}

/// Starts a restore, stops it in this state, and waits until the reaper has ended it.
async fn stopped_in(scene: &Scene, request: Value, state: &str) -> Result<(), String> {
    let before = scene.everything();
    let execution = scene.start("restore-1", request).await;
    while execution
        .history()
        .states_entered()
        .last()
        .map(String::as_str)
        != Some(state)
    {
        if execution.outcome().is_some() {
            return Err(format!("ended before {state}: {:?}", execution.outcome()));
        }
        scene.sleep(Duration::from_secs(5)).await;
    }
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(3600)).await;
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )?;
    expect(
        "what there is",
        &scene.everything().join(", "),
        &before.join(", "),
    )
}

async fn stopped(scene: &Scene) -> Result<(), String> {
    stopped_in(scene, scene.request(), "WaitForInstances").await
}

async fn stopped_with_all(scene: &Scene) -> Result<(), String> {
    let mut request = from_elsewhere(scene).await;
    request["credentials"] = json!({"master": "secret", "secretName": "staging/master"});
    stopped_in(scene, request, "WaitForCredentials").await
}

async fn dead_before_plan(scene: &Scene) -> Result<(), String> {
    let execution = scene.start("restore-1", scene.request()).await;
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(3600)).await;
    nothing_left(scene)
}

async fn expired(scene: &Scene) -> Result<(), String> {
    restored(scene, scene.request_with(json!({"expiresAfterHours": 1}))).await?;
    scene.sleep(Duration::from_secs(3 * 3600)).await;
    nothing_left(scene)
}

async fn protected(scene: &Scene) -> Result<(), String> {
    restored(scene, scene.request_with(json!({"expiresAfterHours": 1}))).await?;
    protect(scene, true).await?;
    scene.sleep(Duration::from_secs(3 * 3600)).await;
    if scene.new_resources().is_empty() {
        return Err("a protected target is gone".to_owned());
    }
    protect(scene, false).await?;
    scene.sleep(Duration::from_secs(3600)).await;
    nothing_left(scene)
}

async fn protect(scene: &Scene, protected: bool) -> Result<(), String> {
    let modified = scene
        .rds()
        .modify_db_cluster()
        .db_cluster_identifier(TARGET)
        .deletion_protection(protected)
        .send()
        .await;
    modified.map(drop).map_err(|error| format!("{error:?}"))
}

async fn takeover(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let planned = scene.plan_event("restore-0", "2026-11-21T00:00:00Z");
    scene.invoke(step("plan"), planned).await?;
    scene.sleep(TEN_DAYS).await;
    restored(scene, scene.request()).await
}

async fn existing_target(scene: &Scene) -> Result<(), String> {
    restored(scene, scene.request()).await?;
    ends(scene, "restore-2", scene.request(), "FailedClean").await
}

async fn untold(scene: &Scene) -> Result<(), String> {
    scene.forget_topic().await;
    restored(scene, scene.request()).await
}
