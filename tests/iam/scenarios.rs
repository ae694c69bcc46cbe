//! The restores that the roles must be enough for, and that use all they grant.

use std::time::Duration;

use asl_interpreter::Execution;
use aurora_restore::deployment::{self, Pointers, Schedule};
use aurora_restore::local::LocalOptions;
use aurora_restore_core::settings::Flow;
use futures::future::LocalBoxFuture;
use local_cloud::rds::{Kind, Trouble};
use local_cloud::{ApiError, Caller};
use pipeline_tests::{Original, SNAPSHOT, Scene, TARGET, step};
use serde_json::{Value, json};

use crate::{beside, fleets, http_api, people, regions, switching};

/// Longer than an execution may run.
const TEN_DAYS: Duration = Duration::from_secs(10 * 24 * 3600 + 60);

/// One way that things can go, which it says when they went otherwise.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// When the template's schedule comes, if there is one.
    schedule: Option<&'static str>,
    play: for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, Result<(), String>>,
}

/// An account of other people's, which lends a snapshot.
const LENDER: &str = beside::SOURCE_ACCOUNT;
/// A region that is not the pipeline's own.
pub(crate) const ELSEWHERE: &str = "eu-central-1";

/// The deployment that is tried: as narrow as its parameters can make it.
pub(crate) fn options(seed: u64) -> LocalOptions {
    let mut options = LocalOptions::in_process(seed);
    let lent = Flow {
        source_account: Some(LENDER.to_owned()),
        ..options.flows[0].clone()
    };
    options.flows.push(lent);
    options.source_secret_arns = "arn:aws:secretsmanager:*:*:secret:orders-prod/*".to_owned();
    options.own_secret_names = "staging/*".to_owned();
    options.replaceable = TARGET.to_owned();
    options.pointers = Pointers {
        parameters: switching::PARAMETER.to_owned(),
        secrets: switching::CONNECTION.to_owned(),
        hosted_zone: local_cloud::route53::zone_id(switching::ZONE),
    };
    options.role_table = regions::TABLE.to_owned();
    options
}

/// A world with the pipeline and what stands beside it.
pub(crate) async fn scene(original: &Original, options: LocalOptions) -> Scene {
    let scene = Scene::of(original, options).await;
    beside::deploy(&scene).await;
    people::deploy(&scene).await;
    regions::deploy(&scene).await;
    scene
}

impl Scenario {
    /// A world for it, deployed.
    pub(crate) async fn scene(&self, original: &Original, seed: u64) -> Scene {
        let mut options = options(seed);
        options.schedule = self.schedule.map(|expression| Schedule {
            name: "nightly".to_owned(),
            expression: expression.to_owned(),
            timezone: "UTC".to_owned(),
            request: json!({"profile": "nightly"}),
        });
        scene(original, options).await
    }

    /// Plays it to its end.
    pub(crate) async fn play(&self, scene: &Scene) -> Result<(), String> {
        (self.play)(scene).await
    }
}

macro_rules! scenarios {
    (@schedule) => { None };
    (@schedule $schedule:literal) => { Some($schedule) };
    ($($name:literal $(at $schedule:literal)?: $play:path),* $(,)?) => {
        &[$(Scenario {
            name: $name,
            schedule: scenarios!(@schedule $($schedule)?),
            play: |scene| Box::pin($play(scene)),
        }),*]
    };
}

/// All of them.
pub(crate) const ALL: &[Scenario] = scenarios![
    "plain": plain,
    "from a profile, with readers and groups": readers_and_groups,
    "from another region, under a key": another_region,
    "an encrypted source": encrypted_source,
    "an encrypted source of another region": encrypted_elsewhere,
    "a snapshot that another account lends": lent,
    "a point in time": point_in_time,
    "a queue of copies": queued,
    "a source whose secret is under a key": secret_under_key,
    "a schedule" at "cron(0 3 * * ? *)": scheduled,
    "a schedule that reaches nobody" at "cron(0 3 * * ? *)": undeliverable,
    "events that functions fail on": failed_events,
    "a secret of our own": own_secret,
    "a secret of our own that somebody writes into": own_secret_written_into,
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
    "approved and rejected": people::approvers,
    "approved, and nobody heard of it; and expired": people::unheard,
    "approved and rejected by the HTTP API": people::by_the_api,
    "kept longer, and let go": people::keepers,
    "kept longer, and let go, by the HTTP API": people::keepers_by_the_api,
    "a name that is taken over, and the cluster before reaped": switching::renamed,
    "a name that is given back": switching::renamed_and_undone,
    "a name that is given back by the reaper": switching::renamed_and_stopped,
    "pointers that are moved": switching::pointed,
    "a pointer that leaves a cluster, and the cluster reaped": switching::pointed_away,
    "pointers that are moved back": switching::pointed_and_undone,
    "pointers that are moved back by the reaper": switching::pointed_and_stopped,
    "drills of a fleet": fleets::drills,
    "a fleet that is stopped and redriven": fleets::redriven,
    "a fleet by schedule": fleets::scheduled,
    "a region that takes over": regions::taken_over,
    "the HTTP API": http_api::every_route,
    "the runbook": beside::runbook,
    "the source account's snapshots, shared": beside::share,
    "the source account's schedule": beside::share_by_schedule,
];

/// Where a role's work matters most: its permissions are taken away there, and the others' where they are used first.
const MATTERS: [(&str, &str); 3] = [
    ("NotifyRole", "approved and rejected"),
    ("ReapRole", "stopped with a copy and a secret, and reaped"),
    ("FleetStateMachineRole", "drills of a fleet"),
];

impl Scenario {
    /// Whether this is where a role's work matters most.
    pub(crate) fn matters_to(&self, role: &str) -> bool {
        MATTERS.contains(&(role, self.name))
    }
}

pub(crate) async fn restored(scene: &Scene, request: Value) -> Result<(), String> {
    ends(scene, "restore-1", request, "Restored").await
}

pub(crate) async fn ends(
    scene: &Scene,
    id: &str,
    request: Value,
    outcome: &str,
) -> Result<(), String> {
    let execution = scene.start(id, request).await;
    execution.finished().await;
    let found = outcome_of(scene, id).await;
    expect(&format!("the end of {id}"), &found, outcome)
}

/// The code that a restore ended with; empty when it is restored.
pub(crate) async fn code_of(scene: &Scene, id: &str) -> Result<String, String> {
    let now = scene.local.cloud.world().now();
    let report = scene.local.pipeline.report(id, now).await;
    let report = report.map_err(|error| error.to_string())?;
    Ok(report.and_then(|report| report.error).unwrap_or_default())
}

/// What is on record of a restore; a restore that could not be planned has nothing.
pub(crate) async fn outcome_of(scene: &Scene, id: &str) -> String {
    let now = scene.local.cloud.world().now();
    match scene.local.pipeline.report(id, now).await {
        Ok(Some(report)) => report.outcome,
        Ok(None) => "nothing on record".to_owned(),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn expect(what: &str, found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {found} instead of {wanted}"))
    }
}

pub(crate) fn nothing_left(scene: &Scene) -> Result<(), String> {
    let left = scene.new_resources();
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("left behind: {}", left.join(", ")))
    }
}

/// One message tells the end of the restore, and of which target it was: that is on record, and not in the event.
fn told(scene: &Scene) -> Result<(), String> {
    told_once(scene, "restore-1")
}

/// One message has this text, and says of which target it speaks.
pub(crate) fn told_once(scene: &Scene, text: &str) -> Result<(), String> {
    let messages = scene.local.cloud.sns().messages().into_iter();
    let about = messages.filter(|message| {
        [TARGET, text]
            .iter()
            .all(|text| message.message.contains(text))
    });
    expect(
        &format!("messages with {text}"),
        &about.count().to_string(),
        "1",
    )
}

/// It is told, and not by the reaper, and an event has ended a wait early.
async fn plain(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    restored(scene, scene.request()).await?;
    told(scene)?;
    let cloud = &scene.local.cloud;
    let woken = cloud
        .lambda()
        .logs(&scene.local.stack.function_name("wake"));
    if woken
        .iter()
        .any(|line| line.text.contains("\"answered\":1"))
    {
        Ok(())
    } else {
        Err("no event ended a wait".to_owned())
    }
}

/// Parameter groups of the target's own.
pub(crate) const CLUSTER_GROUP: &str = "staging-params";
pub(crate) const INSTANCE_GROUP: &str = "staging-instances";

pub(crate) async fn make_groups(scene: &Scene) {
    let (rds, family) = (scene.rds(), "aurora-postgresql15");
    rds.create_db_cluster_parameter_group()
        .db_cluster_parameter_group_name(CLUSTER_GROUP)
        .db_parameter_group_family(family)
        .description("staging")
        .send()
        .await
        .unwrap();
    rds.create_db_parameter_group()
        .db_parameter_group_name(INSTANCE_GROUP)
        .db_parameter_group_family(family)
        .description("staging")
        .send()
        .await
        .unwrap();
}

async fn readers_and_groups(scene: &Scene) -> Result<(), String> {
    make_groups(scene).await;
    let request = scene.request_with(json!({
        "target": {
            "readers": 2,
            "clusterParameterGroup": CLUSTER_GROUP,
            "instanceParameterGroup": INSTANCE_GROUP,
            "dataApi": true,
            "roles": [{"roleArn": role("s3"), "feature": "s3Import"}],
            "monitoring": {"intervalSeconds": 60, "roleArn": role("monitoring")},
        },
    }));
    let put = scene
        .local
        .put_profile("nightly", &request.to_string())
        .await;
    put.map_err(|error| error.to_string())?;
    restored(scene, json!({"profile": "nightly"})).await
}

/// A role that databases may be given.
fn role(name: &str) -> String {
    format!("arn:aws:iam::123456789012:role/aurora-restore-database-{name}")
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

/// Lets time pass until something in RDS is available.
pub(crate) async fn available(scene: &Scene, id: &str) {
    let found = async || {
        let views = scene.local.rds.resources(None);
        let found = views.iter().find(|view| view.id == id);
        Ok(found.filter(|view| view.status == "available").map(|_| ()))
    };
    scene.local.until(id, found).await.unwrap();
}

async fn encrypted_elsewhere(scene: &Scene) -> Result<(), String> {
    let here = scene.key_in(&scene.local.stack.region).await;
    let there = scene.key_in(ELSEWHERE).await;
    let rds = scene.rds();
    rds.restore_db_cluster_from_snapshot()
        .db_cluster_identifier("vault-prod")
        .snapshot_identifier(SNAPSHOT)
        .engine("aurora-postgresql")
        .kms_key_id(&here)
        .send()
        .await
        .unwrap();
    available(scene, "vault-prod").await;
    rds.create_db_cluster_snapshot()
        .db_cluster_identifier("vault-prod")
        .db_cluster_snapshot_identifier("vault-prod-1")
        .send()
        .await
        .unwrap();
    available(scene, "vault-prod-1").await;
    let source = scene.view("cluster-snapshot", "vault-prod-1").arn;
    scene
        .rds_in(ELSEWHERE)
        .copy_db_cluster_snapshot()
        .source_db_cluster_snapshot_identifier(source)
        .target_db_cluster_snapshot_identifier("vault-far")
        .kms_key_id(there)
        .send()
        .await
        .unwrap();
    available(scene, "vault-far").await;
    let own = scene.key_in(&scene.local.stack.region).await;
    let request = scene.request_with(json!({
        "source": {"clusterIdentifier": "vault-prod", "region": ELSEWHERE, "snapshot": "vault-far"},
        "target": {"kmsKeyId": own},
    }));
    restored(scene, request).await
}

/// An encrypted cluster in an account that lends its snapshots.
pub(crate) async fn lent_cluster(rds: &aws_sdk_rds::Client, identifier: &str, key: &Value) {
    rds.create_db_cluster()
        .db_cluster_identifier(identifier)
        .engine("aurora-postgresql")
        .master_username("lender")
        .master_user_password("lender-password")
        .storage_encrypted(true)
        .kms_key_id(key.as_str().unwrap())
        .send()
        .await
        .unwrap();
}

/// Far enough that the copy is made and restored: nobody here knows the lender's password.
async fn lent(scene: &Scene) -> Result<(), String> {
    let stack = &scene.local.stack;
    let own = scene.key_in(&stack.region).await;
    let lender = Caller {
        account: LENDER.to_owned(),
        region: stack.region.clone(),
        principal: format!("arn:aws:iam::{LENDER}:root"),
    };
    let world = scene.local.cloud.world();
    let roots = [LENDER, &stack.account].map(|account| format!("arn:aws:iam::{account}:root"));
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": roots}, "Action": "kms:*", "Resource": "*"}],
    });
    let key = json!({"Policy": policy.to_string()});
    let made = world
        .call(&lender, "kms", "TrentService.CreateKey", &key)
        .await;
    let key = made.unwrap()["KeyMetadata"]["Arn"].clone();
    let root = scene.local.cloud.root_key(LENDER);
    let config = deployment::sdk_config(&scene.local.cloud, &stack.region, &root);
    let rds = aws_sdk_rds::Client::new(&config);
    lent_cluster(&rds, "lent-prod", &key).await;
    available(scene, "lent-prod").await;
    rds.create_db_cluster_snapshot()
        .db_cluster_identifier("lent-prod")
        .db_cluster_snapshot_identifier("lent-prod-1")
        .send()
        .await
        .unwrap();
    available(scene, "lent-prod-1").await;
    rds.modify_db_cluster_snapshot_attribute()
        .db_cluster_snapshot_identifier("lent-prod-1")
        .attribute_name("restore")
        .values_to_add(&stack.account)
        .send()
        .await
        .unwrap();
    let arn = scene.view("cluster-snapshot", "lent-prod-1").arn;
    let request = scene.request_with(json!({
        "source": {"clusterIdentifier": "lent-prod", "snapshot": arn},
        "target": {"kmsKeyId": own},
    }));
    stopped_in(scene, request, "WaitForCluster").await
}

async fn point_in_time(scene: &Scene) -> Result<(), String> {
    scene.sleep(Duration::from_secs(300)).await;
    let latest = json!({"source": {"pointInTime": "latest"}});
    restored(scene, scene.request_with(latest)).await
}

/// Copies of other people keep restores waiting, and each who may gives back a ticket.
async fn queued(scene: &Scene) -> Result<(), String> {
    for number in 1..=5 {
        let copy = scene.rds().copy_db_cluster_snapshot();
        let copy = copy.source_db_cluster_snapshot_identifier(SNAPSHOT);
        let copy = copy.target_db_cluster_snapshot_identifier(format!("theirs-{number}"));
        copy.send().await.unwrap();
    }
    let backup = scene
        .local
        .rds
        .take_backup(&scene.place(), pipeline_tests::SOURCE)
        .await?;
    let waiting = async |number: u32, minutes: u32| {
        let request = scene.request_with(json!({
            "source": {"snapshot": backup},
            "target": {"clusterIdentifier": format!("queue-{number}-staging")},
            "waits": {"copyDeadlineMinutes": minutes},
        }));
        let execution = scene.start(&format!("queued-{number}"), request).await;
        in_state(scene, &execution, "WaitForCopy").await?;
        Ok::<_, String>(execution)
    };
    let first = waiting(1, 1).await?;
    let second = waiting(2, 360).await?;
    let stopped = waiting(4, 360).await?;
    stop(scene, &stopped.launch().execution_arn).await?; // undone by the reaper, which wakes who is next
    first.finished().await; // undone by Cleanup, which wakes the second
    expect(
        "the first",
        &outcome_of(scene, "queued-1").await,
        "FailedClean",
    )?;
    leave_ticket_of("queued-1", scene).await;
    let third = waiting(3, 360).await?; // CopySnapshot removes it
    leave_ticket_of("queued-1", scene).await;
    scene.sleep(Duration::from_secs(700)).await; // and WaitForCopy this one
    stop(scene, &second.launch().execution_arn).await?; // undone by the reaper, which wakes the third
    third.finished().await;
    expect(
        "the third",
        &outcome_of(scene, "queued-3").await,
        "Restored",
    )
}

/// A ticket that nobody gave back, before all others.
async fn leave_ticket_of(id: &str, scene: &Scene) {
    let region = &scene.local.stack.region;
    let item = json!({
        "pk": {"S": format!("COPIES#{region}")},
        "sk": {"S": format!("TICKET#0#{id}")},
        "restoreId": {"S": id},
        "copy": {"S": "arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:gone"},
        "joinedAt": {"S": "2001-01-01T00:00:00Z"},
        "state": {"S": "copying"},
    });
    scene.dynamodb("PutItem", json!({ "Item": item })).await;
}

async fn secret_under_key(scene: &Scene) -> Result<(), String> {
    let key = scene.key_in(&scene.local.stack.region).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let put = secrets
        .update_secret()
        .secret_id(&scene.master_secret_arn)
        .kms_key_id(key);
    put.send().await.unwrap();
    restored(scene, scene.request()).await
}

/// Lets the template's schedule ask for this.
async fn put_nightly(scene: &Scene) -> Result<(), String> {
    let request = scene.request().to_string();
    let put = scene.local.put_profile("nightly", &request).await;
    put.map_err(|error| error.to_string())
}

/// The template's schedule, whose event is delivered twice.
async fn scheduled(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let cloud = &scene.local.cloud;
    put_nightly(scene).await?;
    scene.sleep(Duration::from_secs(86_400 + 4 * 3600)).await;
    // Who took the name is looked up when an event comes once more.
    let deliveries = cloud.scheduler().deliveries();
    let first = deliveries.first().ok_or("nothing was delivered")?;
    let again = cloud.scheduler().redeliver(first);
    again.map_err(|error| error.to_string())?;
    scene.sleep(Duration::from_secs(600)).await;
    expect_dead_letters(scene, 0)?;
    let executions = cloud.step_functions().executions();
    let first = executions.first().ok_or("no execution was started")?;
    expect(
        "the end",
        &outcome_of(scene, &first.launch().name).await,
        "Restored",
    )
}

fn dead_letters(scene: &Scene) -> Vec<String> {
    let queue = scene.local.stack.function_name("dead-letters");
    scene.local.cloud.sqs().messages(&queue)
}

fn expect_dead_letters(scene: &Scene, wanted: usize) -> Result<(), String> {
    let found = dead_letters(scene).len();
    expect("dead letters", &found.to_string(), &wanted.to_string())
}

/// The template's schedule, whose function is gone: it is tried again until it is given up.
async fn undeliverable(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let stack = &scene.local.stack;
    let caller = scene.caller(&stack.region);
    let start = stack.function_name("start");
    scene.local.cloud.lambda().remove(&caller, &start);
    scene.sleep(Duration::from_secs(86_400 + 4 * 3600)).await;
    expect_dead_letters(scene, 1)
}

/// Events that cannot be read: each function is run again twice, and then the event is kept.
async fn failed_events(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let stack = &scene.local.stack;
    let caller = scene.caller(&stack.region);
    for step in ["start", "wake", "reap"] {
        let sent = scene.local.cloud.lambda().invoke_event(
            &caller,
            &stack.function_name(step),
            json!("no event"),
        );
        sent.map_err(|error| error.to_string())?;
    }
    scene.sleep(Duration::from_secs(600)).await;
    expect_dead_letters(scene, 3)
}

fn with_own_secret(scene: &Scene) -> Value {
    let credentials = json!({"master": "secret", "secretName": "staging/master"});
    scene.request_with(json!({"credentials": credentials}))
}

async fn own_secret(scene: &Scene) -> Result<(), String> {
    restored(scene, with_own_secret(scene)).await
}

/// What somebody else writes becomes the current version, until ours has been proved and takes its place.
async fn own_secret_written_into(scene: &Scene) -> Result<(), String> {
    let execution = scene.start("restore-1", with_own_secret(scene)).await;
    in_state(scene, &execution, "WaitForCredentials").await?;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let put = secrets
        .put_secret_value()
        .secret_id("staging/master")
        .secret_string("somebody else's");
    put.send().await.map_err(|error| format!("{error:?}"))?;
    execution.finished().await;
    expect("the end", &outcome_of(scene, "restore-1").await, "Restored")?;
    let current = secrets
        .get_secret_value()
        .secret_id("staging/master")
        .send();
    let current = current.await.map_err(|error| format!("{error:?}"))?;
    if current.secret_string() == Some("somebody else's") {
        return Err("the password that works is not the current one".to_owned());
    }
    Ok(())
}

async fn own_secret_undone(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let mut request = with_own_secret(scene);
    request["checks"] = failing_check();
    ends(scene, "restore-1", request, "FailedClean").await?;
    told(scene)?;
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

pub(crate) async fn stop(scene: &Scene, arn: &str) -> Result<(), String> {
    let sfn = aws_sdk_sfn::Client::new(&scene.local.config);
    let stopped = sfn.stop_execution().execution_arn(arn).cause("by hand");
    let stopped = stopped.send().await;
    stopped.map(drop).map_err(|error| format!("{error:?}"))
}

/// Lets time pass until an execution is in this state.
pub(crate) async fn in_state(
    scene: &Scene,
    execution: &Execution,
    state: &str,
) -> Result<(), String> {
    let is_there = || {
        let entered = execution.history().states_entered();
        entered.last().map(String::as_str) == Some(state)
    };
    while !is_there() {
        if execution.outcome().is_some() {
            return Err(format!("ended before {state}: {:?}", execution.outcome()));
        }
        scene.sleep(Duration::from_secs(5)).await;
    }
    Ok(())
}

/// Starts a restore, stops it in this state, and waits until the reaper has ended it.
async fn stopped_in(scene: &Scene, request: Value, state: &str) -> Result<(), String> {
    let before = scene.everything();
    let execution = scene.start("restore-1", request).await;
    in_state(scene, &execution, state).await?;
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(3600)).await;
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )?;
    told(scene)?;
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
