//! Restores that come in the place of a cluster, for the roles that replace, give back and retire.

use std::sync::Arc;
use std::time::Duration;

use asl_interpreter::Execution;
use aurora_restore_core::names::RestoreId;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use local_cloud::faults::{Call, Fault, Faults};
use local_cloud::rds::ResourceView;
use local_cloud::route53::zone_id;
use pipeline_tests::{Scene, Serving, TARGET};
use serde_json::{Value, json};

use crate::scenarios::{
    CLUSTER_GROUP, INSTANCE_GROUP, available, ends, expect, in_state, make_groups, outcome_of,
    restored, stop,
};

/// What points to clusters here.
pub(crate) const PARAMETER: &str = "/orders/endpoint";
pub(crate) const CONNECTION: &str = "orders/connection";
pub(crate) const ZONE: &str = "db.example.com";

/// How often is looked for what takes minutes.
const LOOK: Duration = Duration::from_secs(5);

fn id() -> RestoreId {
    RestoreId::parse("restore-1").unwrap()
}

fn retired() -> String {
    id().retired_cluster(TARGET)
}

fn request(scene: &Scene) -> Value {
    let mut request = scene.request_to_rename();
    request["switch"]["retire"]["keepHours"] = json!(1);
    request
}

/// The cluster that bears a name.
fn bearer(scene: &Scene, name: &str) -> Option<ResourceView> {
    let views = scene.local.rds.resources(None).into_iter();
    let mut found = views.filter(|view| view.kind == "cluster" && view.id == name);
    found.next()
}

/// A cluster that serves under the target's name. One of its instances is called as those of a restore are that took
/// the name over before.
async fn serving(scene: &Scene) -> Serving {
    let serving = scene.serve(TARGET).await;
    let instance = "aurora-restore-earlier-1";
    let made = scene
        .rds()
        .create_db_instance()
        .db_instance_identifier(instance)
        .db_cluster_identifier(TARGET)
        .db_instance_class("db.r6g.large")
        .engine("aurora-postgresql");
    made.send().await.unwrap();
    available(scene, instance).await;
    serving
}

/// With groups of its own, for which ours is rebooted before it gets the name.
pub(crate) async fn renamed(scene: &Scene) -> Result<(), String> {
    serving(scene).await;
    let mut request = request(scene);
    make_groups(scene).await;
    request["target"]["clusterParameterGroup"] = json!(CLUSTER_GROUP);
    request["target"]["instanceParameterGroup"] = json!(INSTANCE_GROUP);
    scene.reaper_comes(false).await;
    restored(scene, request).await?;
    is_retired(scene, &retired()).await
}

/// Cleanup has stopped what was replaced; RDS, or a person, starts it, and the reaper stops it again; then it goes.
async fn is_retired(scene: &Scene, name: &str) -> Result<(), String> {
    in_status(scene, name, "stopped").await?;
    let started = scene.rds().start_db_cluster().db_cluster_identifier(name);
    started.send().await.map_err(|error| format!("{error:?}"))?;
    in_status(scene, name, "available").await?;
    scene.reaper_comes(true).await;
    in_status(scene, name, "stopped").await?;
    scene.sleep(Duration::from_secs(3 * 3600)).await;
    let is_there = bearer(scene, name).is_some().to_string();
    expect("the retired cluster is there", &is_there, "false")
}

/// Lets time pass until a retired cluster is in this status: less than it is kept.
async fn in_status(scene: &Scene, name: &str, wanted: &str) -> Result<(), String> {
    let status = || bearer(scene, name).map(|found| found.status);
    for _ in 0..40 {
        if status().as_deref() == Some(wanted) {
            break;
        }
        scene.sleep(Duration::from_secs(30)).await;
    }
    let found = status().unwrap_or_default();
    expect("the retired cluster", &found, wanted)
}

/// Faults for the calls of this world.
fn faults(scene: &Scene) -> Arc<Faults> {
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    faults
}

/// A call of Switch is refused for good.
fn refuse(scene: &Scene, call: &str) {
    faults(scene).arm(call.parse().unwrap(), Fault::AccessDenied, &[]);
}

/// Waits for something that comes before the execution ends.
async fn until(
    scene: &Scene,
    execution: &Execution,
    what: &str,
    looks_every: Duration,
    has_come: impl Fn() -> bool,
) -> Result<(), String> {
    while !has_come() {
        if let Some(outcome) = execution.outcome() {
            return Err(format!("ended before {what}: {outcome:?}"));
        }
        scene.sleep(looks_every).await;
    }
    Ok(())
}

/// Both have their new names by two calls, and nobody may be let in by the third.
pub(crate) async fn renamed_and_undone(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let serving = serving(scene).await;
    refuse(scene, "aurora-restore-switch rds:ModifyDBCluster#3");
    let execution = scene.start("restore-1", request(scene)).await;
    execution.finished().await;
    given_back(scene, &serving).await
}

/// Stopped as ours is being renamed: the reaper comes when it bears the name.
pub(crate) async fn renamed_and_stopped(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let serving = serving(scene).await;
    let execution = scene.start("restore-1", request(scene)).await;
    let own = id().working_cluster();
    let is_renamed = || bearer(scene, &own).is_some_and(|ours| ours.status == "renaming");
    until(scene, &execution, "ours was renamed", LOOK, is_renamed).await?;
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(600)).await;
    let bears = bearer(scene, TARGET).is_some_and(|found| found.resource_id != serving.resource_id);
    expect("ours bears the name", &bears.to_string(), "true")?;
    scene.reaper_comes(true).await;
    scene.sleep(Duration::from_secs(2 * 3600)).await;
    given_back(scene, &serving).await
}

/// The replaced cluster serves, and did before ours was removed: clients waited for renamings, and for nothing else.
async fn given_back(scene: &Scene, serving: &Serving) -> Result<(), String> {
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )?;
    let found = bearer(scene, TARGET).ok_or("nobody serves")?;
    expect("who serves", &found.resource_id, &serving.resource_id)?;
    let past = scene.local.rds.past_resources(None);
    let ours = past.iter().find(|view| view.kind == "cluster");
    let removal = ours.and_then(|ours| ours.statuses.last());
    let (removed, _) = removal.ok_or("ours was never removed")?;
    let (serves, status) = found.statuses.last().ok_or("it has no status")?;
    expect("who serves", status, "available")?;
    if serves < removed {
        return Ok(());
    }
    Err(format!(
        "it serves since {serves}, and ours was removed from {removed} on"
    ))
}

/// Says where a cluster is.
async fn put_parameter(scene: &Scene, value: &Value) {
    let ssm = aws_sdk_ssm::Client::new(&scene.local.config);
    let put = ssm.put_parameter().name(PARAMETER);
    let put = put.r#type(aws_sdk_ssm::types::ParameterType::String);
    put.value(value.to_string()).send().await.unwrap();
}

/// What points to nothing yet.
async fn pointers(scene: &Scene) -> Value {
    put_parameter(scene, &json!({})).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let key = scene.key_in(&scene.local.stack.region).await;
    let made = secrets.create_secret().name(CONNECTION).kms_key_id(key);
    made.secret_string("{}").send().await.unwrap();
    let dns = aws_sdk_route53::Client::new(&scene.local.config);
    let made = dns.create_hosted_zone().name(ZONE).caller_reference("1");
    made.send().await.unwrap();
    let value = ResourceRecord::builder()
        .value("nobody.example.com")
        .build();
    let set = ResourceRecordSet::builder()
        .name(format!("orders.{ZONE}"))
        .r#type(RrType::Cname)
        .ttl(60)
        .resource_records(value.unwrap())
        .build();
    let change = Change::builder()
        .action(ChangeAction::Create)
        .resource_record_set(set.unwrap())
        .build();
    let batch = ChangeBatch::builder().changes(change.unwrap()).build();
    dns.change_resource_record_sets()
        .hosted_zone_id(zone_id(ZONE))
        .change_batch(batch.unwrap())
        .send()
        .await
        .unwrap();
    let name = format!("orders.{ZONE}");
    scene.request_with(json!({
        "credentials": {"master": "secret", "secretName": "staging/master"},
        "switch": {
            "mode": "pointer",
            "parameter": PARAMETER,
            "secretName": CONNECTION,
            "record": {"hostedZoneId": zone_id(ZONE), "name": name},
        },
    }))
}

pub(crate) async fn pointed(scene: &Scene) -> Result<(), String> {
    let request = pointers(scene).await;
    restored(scene, request).await
}

/// The parameter leaves a cluster, which is then retired under its own name; without a secret for clients it names the
/// target's own.
pub(crate) async fn pointed_away(scene: &Scene) -> Result<(), String> {
    let serving = serving(scene).await;
    let arn = bearer(scene, &serving.name).ok_or("nobody serves")?.arn;
    put_parameter(scene, &json!({ "clusterArn": arn })).await;
    let request = scene.request_with(json!({
        "target": {"clusterIdentifier": "next-staging"},
        "credentials": {"master": "secret", "secretName": "staging/master"},
        "switch": {"mode": "pointer", "parameter": PARAMETER, "retire": {"keepHours": 1}},
    }));
    scene.reaper_comes(false).await;
    restored(scene, request).await?;
    is_retired(scene, &serving.name).await
}

/// All of it is moved, and then nobody may be let in.
pub(crate) async fn pointed_and_undone(scene: &Scene) -> Result<(), String> {
    let request = pointers(scene).await;
    refuse(scene, "aurora-restore-switch rds:ModifyDBCluster#1");
    ends(scene, "restore-1", request, "FailedClean").await
}

pub(crate) async fn pointed_and_stopped(scene: &Scene) -> Result<(), String> {
    let request = pointers(scene).await;
    let faults = faults(scene);
    let killed = format!(
        "aurora-restore-switch route53:POST /2013-04-01/hostedzone/{}/rrset#1",
        zone_id(ZONE)
    );
    let killed: Call = killed.parse().unwrap();
    faults.arm(killed.clone(), Fault::KilledAfter, &[]);
    let execution = scene.start("restore-1", request).await;
    in_state(scene, &execution, "WaitForCredentials").await?;
    // Switch is tried again within two seconds, and would let people in.
    let (soon, are_moved) = (Duration::from_millis(5), || {
        faults.reached(&killed, Fault::KilledAfter)
    });
    until(scene, &execution, "the records were moved", soon, are_moved).await?;
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(2 * 3600)).await;
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )
}
