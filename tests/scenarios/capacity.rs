//! Sources by what they run on: Serverless v2, beside provisioned instances or alone, and I/O-Optimized storage.

use aurora_restore_core::fidelity::Verdict;
use aurora_restore_core::rds::{find_cluster, find_instance};
use aws_sdk_rds::types::{DbCluster, ServerlessV2ScalingConfiguration};
use pipeline_tests::paths::SHORTEST;
use pipeline_tests::{DATABASE, MASTER, Scene, TARGET};
use serde_json::{Value, json};

/// The source.
const METERED: &str = "meter-prod";

/// Capacity that pauses after a quarter of an hour.
fn scaling() -> ServerlessV2ScalingConfiguration {
    ServerlessV2ScalingConfiguration::builder()
        .min_capacity(0.0)
        .max_capacity(16.0)
        .seconds_until_auto_pause(900)
        .build()
}

/// Makes a source with these instances, the writer first, a table, and a snapshot.
async fn make(
    scene: &Scene,
    classes: &[&str],
    scaling: Option<ServerlessV2ScalingConfiguration>,
    storage_type: &str,
) {
    let rds = scene.rds();
    rds.create_db_cluster()
        .db_cluster_identifier(METERED)
        .engine("aurora-postgresql")
        .database_name(DATABASE)
        .master_username(MASTER)
        .master_user_password(&scene.old_password)
        .storage_type(storage_type)
        .set_serverless_v2_scaling_configuration(scaling)
        .send()
        .await
        .unwrap();
    let ready = async || {
        let found = find_cluster(&rds, METERED).await?;
        let status = found.as_ref().and_then(|found| found.status());
        Ok((status == Some("available")).then_some(()))
    };
    scene.local.until("the source", ready).await.unwrap();
    for (number, class) in (1..).zip(classes) {
        let name = format!("{METERED}-{number}");
        rds.create_db_instance()
            .db_instance_identifier(&name)
            .db_cluster_identifier(METERED)
            .engine("aurora-postgresql")
            .db_instance_class(*class)
            .send()
            .await
            .unwrap();
        let ready = async || {
            let found = find_instance(&rds, &name).await?;
            let status = found.as_ref().and_then(|found| found.db_instance_status());
            Ok((status == Some("available")).then_some(()))
        };
        scene.local.until("its instance", ready).await.unwrap();
    }
    let endpoint = scene.endpoint(METERED).await;
    let table = "CREATE TABLE readings AS SELECT generate_series(1, 500) AS reading";
    scene.sql(&endpoint, &scene.old_master(), table).await;
    rds.create_db_cluster_snapshot()
        .db_cluster_identifier(METERED)
        .db_cluster_snapshot_identifier("meter-1")
        .send()
        .await
        .unwrap();
    // The backups reach what was written just now.
    scene.sleep(std::time::Duration::from_secs(1200)).await;
}

/// The path of a restore with one reader or more.
fn with_readers() -> Vec<&'static str> {
    let again = ["AddInstances", "WaitForInstances", "AreInstancesMissing"];
    let missing = SHORTEST
        .iter()
        .position(|state| *state == "AreInstancesMissing")
        .unwrap();
    [&SHORTEST[..=missing], &again, &SHORTEST[missing + 1..]].concat()
}

/// The classes of a cluster's instances, in the order of their names.
async fn classes(scene: &Scene, cluster: &DbCluster) -> Vec<String> {
    let members = cluster.db_cluster_members().iter();
    let mut names: Vec<&str> = members
        .filter_map(|member| member.db_instance_identifier())
        .collect();
    names.sort_unstable();
    let mut classes = Vec::new();
    for name in names {
        let found = find_instance(&scene.rds(), name).await.unwrap().unwrap();
        classes.push(found.db_instance_class().unwrap().to_owned());
    }
    classes
}

/// Restores the source in each way, by this path: the target runs on what the source runs on, holds its data, and the
/// evidence compared it.
async fn assert_restored_alike(scene: &Scene, path: &[&str]) {
    let ways = [
        json!({"snapshot": "meter-1"}),
        json!({"pointInTime": "latest"}),
        json!({"clone": true}),
    ];
    let source = scene.cluster(METERED).await;
    for (number, way) in ways.into_iter().enumerate() {
        let name = format!("meter-{number}-staging");
        let run = scene
            .restore_as(&format!("restore-{number}"), request(scene, &way, &name))
            .await;
        assert_eq!(run.path(), path, "{way}: {:?}", run.report.cause);
        let target = scene.cluster(&name).await;
        assert_eq!(
            target.serverless_v2_scaling_configuration(),
            source.serverless_v2_scaling_configuration(),
            "{way}"
        );
        assert_eq!(target.storage_type(), source.storage_type(), "{way}");
        assert_eq!(
            classes(scene, &target).await,
            classes(scene, &source).await,
            "{way}"
        );
        for setting in ["serverless scaling", "storage type", "class"] {
            let mut rows = run.report.settings.iter();
            let row = rows.find(|row| row.setting == setting);
            let row = row.unwrap_or_else(|| panic!("no {setting} in the evidence"));
            assert_eq!(row.verdict, Verdict::Same, "{way}: {setting}");
        }
        let made = run.report.target.clone().unwrap();
        let (endpoint, master) = (
            scene.endpoint(&name).await,
            scene.secret(&made.secret_arn).await,
        );
        let query = "SELECT count(*) FROM readings";
        assert_eq!(scene.value(&endpoint, &master, query).await, 500, "{way}");
    }
}

fn request(scene: &Scene, way: &Value, target: &str) -> Value {
    let mut source = way.clone();
    source["clusterIdentifier"] = json!(METERED);
    source["masterSecretArn"] = json!(scene.master_secret_arn);
    json!({
        "source": source,
        "target": {
            "clusterIdentifier": target,
            "securityGroupIds": [aurora_restore::local::FINAL_GROUP],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_serverless_source_is_restored_serverless_with_its_scaling() {
    let scene = Scene::real().await;
    make(&scene, &["db.serverless"], Some(scaling()), "aurora").await;
    assert_restored_alike(&scene, &SHORTEST).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_of_provisioned_and_serverless_instances_is_restored_with_both() {
    let scene = Scene::real().await;
    let classes = ["db.r6g.large", "db.serverless"];
    make(&scene, &classes, Some(scaling()), "aurora").await;
    assert_restored_alike(&scene, &with_readers()).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_io_optimized_source_is_restored_io_optimized() {
    let scene = Scene::real().await;
    make(&scene, &["db.r6g.large"], None, "aurora-iopt1").await;
    assert_restored_alike(&scene, &SHORTEST).await;
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_io_optimized_serverless_source_can_be_restored_on_other_storage_and_another_class() {
    let scene = Scene::real().await;
    make(&scene, &["db.serverless"], Some(scaling()), "aurora-iopt1").await;
    let mut request = request(&scene, &json!({"snapshot": "meter-1"}), TARGET);
    request["target"]["storageType"] = json!("aurora");
    request["target"]["instanceClass"] = json!("db.t4g.medium");
    let run = scene.restore(request).await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    let target = scene.cluster(TARGET).await;
    assert_eq!(
        target.storage_type(),
        None,
        "RDS does not show the standard"
    );
    assert_eq!(classes(&scene, &target).await, ["db.t4g.medium"]);
    for setting in ["storage type", "class"] {
        let mut rows = run.report.settings.iter();
        let row = rows.find(|row| row.setting == setting).unwrap();
        assert_eq!(row.verdict, Verdict::Intended, "{setting}");
    }
    scene.local.shutdown().await;
}
