//! Restores that come in the place of a cluster, for the roles that replace, give back and retire.

use std::time::Duration;

use aurora_restore_core::names::RestoreId;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use local_cloud::faults::{Fault, Faults};
use local_cloud::route53::zone_id;
use pipeline_tests::{Scene, TARGET};
use serde_json::{Value, json};

use crate::scenarios::{ends, expect, in_state, outcome_of, restored, stop};

/// What points to clusters here.
pub(crate) const PARAMETER: &str = "/orders/endpoint";
pub(crate) const CONNECTION: &str = "orders/connection";
pub(crate) const ZONE: &str = "db.example.com";

fn retired() -> String {
    RestoreId::parse("restore-1")
        .unwrap()
        .retired_cluster(TARGET)
}

fn request(scene: &Scene) -> Value {
    let mut request = scene.request_to_rename();
    request["switch"]["retire"]["keepHours"] = json!(1);
    request
}

/// Whether a cluster of this name is there.
async fn is_there(scene: &Scene, name: &str) -> bool {
    let found = aurora_restore_core::rds::find_cluster(&scene.rds(), name).await;
    found.is_ok_and(|found| found.is_some())
}

pub(crate) async fn renamed(scene: &Scene) -> Result<(), String> {
    scene.serve(TARGET).await;
    restored(scene, request(scene)).await?;
    // RDS, or a person, starts what was stopped: the reaper stops it again.
    let started = scene
        .rds()
        .start_db_cluster()
        .db_cluster_identifier(retired());
    scene.sleep(Duration::from_secs(900)).await;
    started.send().await.map_err(|error| format!("{error:?}"))?;
    scene.sleep(Duration::from_secs(1200)).await;
    scene.sleep(Duration::from_secs(3 * 3600)).await;
    expect(
        "the retired cluster",
        &is_there(scene, &retired()).await.to_string(),
        "false",
    )
}

/// A call of Switch is refused for good.
fn refuse(scene: &Scene, call: &str) {
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    faults.arm(call.parse().unwrap(), Fault::AccessDenied, &[]);
}

pub(crate) async fn renamed_and_undone(scene: &Scene) -> Result<(), String> {
    scene.reaper_comes(false).await;
    let serving = scene.serve(TARGET).await;
    let execution = scene.start("restore-1", request(scene)).await;
    in_state(scene, &execution, "Switch").await?;
    let rds = scene.rds();
    // Ours gets the name, and is then not let in.
    while !is_there(scene, &retired()).await {
        scene.sleep(Duration::from_millis(100)).await;
    }
    refuse(scene, "aurora-restore-switch rds:ModifyDBCluster#2");
    execution.finished().await;
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )?;
    let found = aurora_restore_core::rds::find_cluster(&rds, TARGET).await;
    let found = found.ok().flatten();
    let id = found
        .as_ref()
        .and_then(|found| found.db_cluster_resource_id());
    expect("who serves", id.unwrap_or_default(), &serving.resource_id)
}

pub(crate) async fn renamed_and_stopped(scene: &Scene) -> Result<(), String> {
    let serving = scene.serve(TARGET).await;
    let execution = scene.start("restore-1", request(scene)).await;
    in_state(scene, &execution, "Switch").await?;
    let rds = scene.rds();
    // Until ours bears the name and nobody was let in.
    loop {
        let found = aurora_restore_core::rds::find_cluster(&rds, TARGET).await;
        let found = found.ok().flatten();
        let id = found
            .as_ref()
            .and_then(|found| found.db_cluster_resource_id());
        if id.is_some_and(|id| id != serving.resource_id) {
            break;
        }
        scene.sleep(Duration::from_millis(200)).await;
    }
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(2 * 3600)).await;
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )?;
    let found = aurora_restore_core::rds::find_cluster(&rds, TARGET).await;
    let found = found.ok().flatten();
    let id = found
        .as_ref()
        .and_then(|found| found.db_cluster_resource_id());
    expect("who serves", id.unwrap_or_default(), &serving.resource_id)
}

/// What points to nothing yet.
async fn pointers(scene: &Scene) -> Value {
    let ssm = aws_sdk_ssm::Client::new(&scene.local.config);
    let kind = aws_sdk_ssm::types::ParameterType::String;
    let put = ssm.put_parameter().name(PARAMETER).value("{}").r#type(kind);
    put.send().await.unwrap();
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let made = secrets.create_secret().name(CONNECTION).secret_string("{}");
    made.send().await.unwrap();
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

pub(crate) async fn pointed_and_undone(scene: &Scene) -> Result<(), String> {
    let request = pointers(scene).await;
    let denied = format!(
        "aurora-restore-switch route53:POST /2013-04-01/hostedzone/{}/rrset#1",
        zone_id(ZONE)
    );
    refuse(scene, &denied);
    ends(scene, "restore-1", request, "FailedClean").await
}

pub(crate) async fn pointed_and_stopped(scene: &Scene) -> Result<(), String> {
    let request = pointers(scene).await;
    let cloud = &scene.local.cloud;
    let faults = Faults::new(cloud.world(), cloud.lambda());
    cloud.world().add_layer(faults.clone());
    let killed = format!(
        "aurora-restore-switch route53:POST /2013-04-01/hostedzone/{}/rrset#1",
        zone_id(ZONE)
    );
    faults.arm(killed.parse().unwrap(), Fault::KilledAfter, &[]);
    let execution = scene.start("restore-1", request).await;
    // It is in Switch for less than a look by states would notice.
    while !faults.reached(&killed.parse().unwrap(), Fault::KilledAfter) {
        if let Some(outcome) = execution.outcome() {
            return Err(format!("ended before the records were moved: {outcome:?}"));
        }
        scene.sleep(Duration::from_millis(200)).await;
    }
    stop(scene, &execution.launch().execution_arn).await?;
    scene.sleep(Duration::from_secs(2 * 3600)).await;
    expect(
        "the end",
        &outcome_of(scene, "restore-1").await,
        "FailedClean",
    )
}
