//! Settings survive a restore: every row of the table of settings.

use std::collections::BTreeSet;

use aurora_restore::local::FINAL_GROUP;
use aurora_restore_core::fidelity::{SETTINGS, Setting, Verdict};
use aurora_restore_core::rds::find_instance;
use aws_sdk_rds::types::{
    CloudwatchLogsExportConfiguration, DatabaseInsightsMode, DbInstance,
    ServerlessV2ScalingConfiguration, Tag,
};
use pipeline_tests::paths::{REFUSED_BY_PLAN, SHORTEST, WITH_READERS};
use pipeline_tests::{Run, SOURCE, Scene, TARGET, step};
use serde_json::{Value, json};

use crate::steps::{event, until_roles_are_locked};

/// A source of which no setting is what RDS falls back to.
const PARTICULAR: &str = "billing-prod";
/// Its master user.
const MASTER: &str = "billing_admin";

/// What a restore call that leaves it out does not change, or what cannot be otherwise: nothing to lose.
const KEPT_BY_RDS: [&str; 5] = [
    "port",
    "encrypted",
    "kmsKeyId",
    "backupRetentionDays",
    "availabilityZone",
];

fn role(name: &str) -> String {
    format!("arn:aws:iam::123456789012:role/aurora-restore-database-{name}")
}

/// Makes the particular source, with two instances and a snapshot; gives the secret of its master password.
async fn make_particular_source(scene: &Scene) -> String {
    make_groups(scene).await;
    let key = scene.key_in(&scene.local.stack.region).await;
    make_particular_cluster(scene, &key).await;
    make_particular_instance(scene, 1, "db.r6g.large", 3, &key).await;
    make_particular_instance(scene, 2, "db.serverless", 7, &key).await;
    let rds = scene.rds();
    rds.enable_http_endpoint()
        .resource_arn(arn(scene, PARTICULAR))
        .send()
        .await
        .unwrap();
    rds.add_role_to_db_cluster()
        .db_cluster_identifier(PARTICULAR)
        .role_arn(role("s3"))
        .feature_name("s3Import")
        .send()
        .await
        .unwrap();
    scene.sleep(std::time::Duration::from_secs(600)).await;
    rds.create_db_cluster_snapshot()
        .db_cluster_identifier(PARTICULAR)
        .db_cluster_snapshot_identifier("billing-1")
        .send()
        .await
        .unwrap();
    scene.sleep(std::time::Duration::from_secs(600)).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&scene.local.config);
    let value = json!({"username": MASTER, "password": scene.old_password}).to_string();
    let secret = secrets.create_secret().name("billing-prod/master");
    let secret = secret.secret_string(value).send().await.unwrap();
    secret.arn.unwrap()
}

fn arn(scene: &Scene, cluster: &str) -> String {
    let place = scene.place();
    format!(
        "arn:aws:rds:{}:{}:cluster:{cluster}",
        place.region, place.account
    )
}

async fn make_groups(scene: &Scene) {
    let rds = scene.rds();
    rds.create_db_subnet_group()
        .db_subnet_group_name("private")
        .db_subnet_group_description("private")
        .subnet_ids("subnet-a")
        .subnet_ids("subnet-b")
        .send()
        .await
        .unwrap();
    rds.create_db_cluster_parameter_group()
        .db_cluster_parameter_group_name("tuned")
        .db_parameter_group_family("aurora-postgresql15")
        .description("tuned")
        .send()
        .await
        .unwrap();
    rds.create_db_parameter_group()
        .db_parameter_group_name("tuned-instances")
        .db_parameter_group_family("aurora-postgresql15")
        .description("tuned")
        .send()
        .await
        .unwrap();
}

async fn make_particular_cluster(scene: &Scene, key: &str) {
    let rds = scene.rds();
    let scaling = ServerlessV2ScalingConfiguration::builder()
        .min_capacity(0.0)
        .max_capacity(8.0)
        .seconds_until_auto_pause(600);
    rds.create_db_cluster()
        .db_cluster_identifier(PARTICULAR)
        .engine("aurora-postgresql")
        .engine_version("15.12")
        .master_username(MASTER)
        .master_user_password(&scene.old_password)
        .port(5433)
        .storage_encrypted(true)
        .kms_key_id(key)
        .storage_type("aurora-iopt1")
        .db_subnet_group_name("private")
        .network_type("DUAL")
        .publicly_accessible(false)
        .vpc_security_group_ids("sg-0production")
        .db_cluster_parameter_group_name("tuned")
        .deletion_protection(true)
        .copy_tags_to_snapshot(true)
        .enable_iam_database_authentication(true)
        .enable_cloudwatch_logs_exports("postgresql")
        .backup_retention_period(9)
        .preferred_backup_window("01:00-01:45")
        .preferred_maintenance_window("tue:02:00-tue:02:30")
        .engine_lifecycle_support("open-source-rds-extended-support-disabled")
        .serverless_v2_scaling_configuration(scaling.build())
        .enable_performance_insights(true)
        .performance_insights_retention_period(465)
        .performance_insights_kms_key_id(key)
        .database_insights_mode(DatabaseInsightsMode::Advanced)
        .tags(Tag::builder().key("team").value("billing").build())
        .send()
        .await
        .unwrap();
    scene.until_available("cluster", PARTICULAR).await;
}

async fn make_particular_instance(scene: &Scene, number: u8, class: &str, tier: i32, key: &str) {
    let name = format!("{PARTICULAR}-{number}");
    scene
        .rds()
        .create_db_instance()
        .db_instance_identifier(&name)
        .db_cluster_identifier(PARTICULAR)
        .engine("aurora-postgresql")
        .db_instance_class(class)
        .promotion_tier(tier)
        .db_parameter_group_name("tuned-instances")
        .ca_certificate_identifier("rds-ca-ecc384-g1")
        .auto_minor_version_upgrade(false)
        .preferred_maintenance_window("wed:03:00-wed:03:30")
        .monitoring_interval(15)
        .monitoring_role_arn(role("monitoring"))
        .enable_performance_insights(true)
        .performance_insights_retention_period(465)
        .performance_insights_kms_key_id(key)
        .send()
        .await
        .unwrap();
    scene.until_available("db", &name).await;
}

async fn instances(scene: &Scene, cluster: &str) -> Vec<DbInstance> {
    let rds = scene.rds();
    let first = find_instance(&rds, &format!("{cluster}-1")).await.unwrap();
    let second = find_instance(&rds, &format!("{cluster}-2")).await.unwrap();
    first.into_iter().chain(second).collect()
}

fn of_cluster() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| !setting.is_of_instances())
}

fn of_instances() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.is_of_instances())
}

fn particular_request(secret: &str) -> Value {
    json!({
        "source": {"clusterIdentifier": PARTICULAR, "masterSecretArn": secret},
        "target": {
            "clusterIdentifier": TARGET,
            "securityGroupIds": [FINAL_GROUP],
            "copySourceTags": true,
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_target_has_every_setting_of_its_source() {
    let scene = Scene::real().await;
    let secret = make_particular_source(&scene).await;
    let run = scene.restore(particular_request(&secret)).await;
    assert_eq!(run.path(), WITH_READERS, "{:?}", run.report.cause);

    let otherwise: Vec<(&str, Verdict)> = run
        .report
        .settings
        .iter()
        .filter(|row| row.verdict != Verdict::Same)
        .map(|row| (row.setting.as_str(), row.verdict))
        .collect();
    assert_eq!(
        otherwise,
        [
            ("security groups", Verdict::Intended),
            ("availability zone", Verdict::NotVisible),
            ("availability zone", Verdict::NotVisible),
        ]
    );
    // What Switch sets comes after the evidence: so the target itself is asked.
    let (source, target) = (scene.cluster(PARTICULAR).await, scene.cluster(TARGET).await);
    for setting in of_cluster().filter(|setting| setting.path != "securityGroupIds") {
        let name = setting.name;
        assert_eq!(
            setting.of_cluster(&target),
            setting.of_cluster(&source),
            "{name}"
        );
    }
    let of_source = instances(&scene, PARTICULAR).await;
    let of_target = instances(&scene, TARGET).await;
    assert_eq!(of_target.len(), 2);
    for (of_source, of_target) in of_source.iter().zip(&of_target) {
        for setting in of_instances().filter(|setting| setting.path != "availabilityZone") {
            let name = setting.name;
            assert_eq!(
                setting.of_instance(of_target),
                setting.of_instance(of_source),
                "{name}"
            );
        }
    }
    scene.local.shutdown().await;
}

/// What a call that leaves a setting out makes is not what the source has: so the test above fails for each setting
/// that is dropped.
#[tokio::test(start_paused = true)]
async fn rds_falls_back_for_every_setting_that_a_call_leaves_out() {
    let scene = Scene::metadata().await;
    make_particular_source(&scene).await;
    let rds = scene.rds();
    rds.restore_db_cluster_from_snapshot()
        .db_cluster_identifier("bare")
        .snapshot_identifier("billing-1")
        .engine("aurora-postgresql")
        .send()
        .await
        .unwrap();
    scene.until_available("cluster", "bare").await;
    rds.create_db_instance()
        .db_instance_identifier("bare-1")
        .db_cluster_identifier("bare")
        .engine("aurora-postgresql")
        .db_instance_class("db.r7g.large")
        .send()
        .await
        .unwrap();
    scene.until_available("db", "bare-1").await;
    let (source, bare) = (scene.cluster(PARTICULAR).await, scene.cluster("bare").await);
    let of_source = &instances(&scene, PARTICULAR).await[0];
    let of_bare = &instances(&scene, "bare").await[0];
    let lost = of_cluster()
        .filter(|setting| setting.of_cluster(&source) != setting.of_cluster(&bare))
        .chain(
            of_instances()
                .filter(|setting| setting.of_instance(of_source) != setting.of_instance(of_bare)),
        );
    let lost: BTreeSet<(bool, &str)> = lost
        .map(|setting| (setting.is_of_instances(), setting.path))
        .collect();
    let losable: BTreeSet<(bool, &str)> = SETTINGS
        .iter()
        .map(|setting| (setting.is_of_instances(), setting.path))
        .filter(|(_, path)| !KEPT_BY_RDS.contains(path))
        // An instance is private unless somebody says otherwise.
        .filter(|setting| *setting != (true, "publiclyAccessible"))
        .collect();
    assert_eq!(lost, losable);
    scene.local.shutdown().await;
}

/// The settings that RDS lets nobody change afterwards.
const UNCHANGEABLE: [(bool, &str); 6] = [
    (false, "port"),
    (false, "encrypted"),
    (false, "kmsKeyId"),
    (false, "subnetGroup"),
    (false, "publiclyAccessible"),
    (true, "availabilityZone"),
];

#[tokio::test(start_paused = true)]
async fn a_setting_that_is_changed_behind_the_pipelines_back_fails_verify_by_its_name() {
    let scene = Scene::real().await;
    scene.walk(&until_roles_are_locked(&scene)).await;
    change_everything(&scene).await;
    let refused = scene
        .invoke(step("verify"), event("Verify", json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.contains("AR0023") && refused.contains("setting: "),
        "{refused}"
    );

    let report = scene
        .local
        .pipeline
        .report("restore-1", scene.local.cloud.world().now());
    let report = report.await.unwrap().unwrap();
    let differing = report
        .settings
        .iter()
        .filter(|row| row.verdict == Verdict::Differs);
    let differing: BTreeSet<(bool, &str)> = differing
        .map(|row| (row.instance.is_some(), row.setting.as_str()))
        .collect();
    let changeable: BTreeSet<(bool, &str)> = SETTINGS
        .iter()
        .filter(|setting| !UNCHANGEABLE.contains(&(setting.is_of_instances(), setting.path)))
        // The source's is on, and so the plan's: somebody did what Switch will do.
        .filter(|setting| setting.path != "deletionProtection")
        // What the plan leaves to RDS may be anything.
        .filter(|setting| !setting.path.ends_with("KmsKeyId"))
        .map(|setting| (setting.is_of_instances(), setting.name))
        .collect();
    assert_eq!(differing, changeable);
    for row in report
        .settings
        .iter()
        .filter(|row| row.verdict == Verdict::Differs)
    {
        let named = format!("setting: {}", row.subject());
        let finding = report
            .evidence
            .iter()
            .find(|finding| finding.check == named);
        assert!(finding.is_some_and(|finding| !finding.passed), "{named}");
    }
    scene.local.shutdown().await;
}

/// Changes whatever of a target can be changed.
async fn change_everything(scene: &Scene) {
    make_groups(scene).await;
    let rds = scene.rds();
    let logs = CloudwatchLogsExportConfiguration::builder().enable_log_types("postgresql");
    let scaling = ServerlessV2ScalingConfiguration::builder()
        .min_capacity(1.0)
        .max_capacity(2.0);
    rds.enable_http_endpoint()
        .resource_arn(arn(scene, TARGET))
        .send()
        .await
        .unwrap();
    rds.add_role_to_db_cluster()
        .db_cluster_identifier(TARGET)
        .role_arn(role("s3"))
        .send()
        .await
        .unwrap();
    rds.add_tags_to_resource()
        .resource_name(arn(scene, TARGET))
        .tags(Tag::builder().key("team").value("else").build())
        .send()
        .await
        .unwrap();
    rds.modify_db_instance()
        .db_instance_identifier(format!("{TARGET}-1"))
        .db_instance_class("db.r7g.large")
        .promotion_tier(9)
        .db_parameter_group_name("tuned-instances")
        .publicly_accessible(true)
        .ca_certificate_identifier("rds-ca-ecc384-g1")
        .auto_minor_version_upgrade(false)
        .preferred_maintenance_window("wed:03:00-wed:03:30")
        .monitoring_interval(15)
        .monitoring_role_arn(role("monitoring"))
        .enable_performance_insights(true)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    scene.sleep(std::time::Duration::from_secs(600)).await;
    rds.create_db_instance()
        .db_instance_identifier(format!("{TARGET}-7"))
        .db_cluster_identifier(TARGET)
        .engine("aurora-postgresql")
        .db_instance_class("db.r6g.large")
        .send()
        .await
        .unwrap();
    scene.until_available("db", &format!("{TARGET}-7")).await;
    rds.modify_db_cluster()
        .db_cluster_identifier(TARGET)
        .engine_version("15.14")
        .storage_type("aurora-iopt1")
        .network_type("DUAL")
        .vpc_security_group_ids("sg-0elsewhere")
        .db_cluster_parameter_group_name("tuned")
        .deletion_protection(true)
        .copy_tags_to_snapshot(true)
        .enable_iam_database_authentication(true)
        .cloudwatch_logs_export_configuration(logs.build())
        .backup_retention_period(9)
        .preferred_backup_window("01:00-01:45")
        .preferred_maintenance_window("tue:02:00-tue:02:30")
        .engine_lifecycle_support("open-source-rds-extended-support-disabled")
        .serverless_v2_scaling_configuration(scaling.build())
        .enable_performance_insights(true)
        .performance_insights_retention_period(465)
        .database_insights_mode(DatabaseInsightsMode::Advanced)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    scene.sleep(std::time::Duration::from_secs(3600)).await;
    scene.until_available("cluster", TARGET).await;
}

/// A row of a run's settings.
fn row<'a>(run: &'a Run<'_>, setting: &str) -> &'a aurora_restore_core::fidelity::Compared {
    run.report
        .settings
        .iter()
        .find(|row| row.setting == setting)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_request_wants_otherwise_than_the_source_is_named_as_intended() {
    let scene = Scene::real().await;
    let request = scene.request_with(json!({
        "target": {
            "port": 5439,
            "instanceClass": null,
            "instances": [{"class": "db.r7g.large", "promotionTier": 4}, {"class": "db.r6g.xlarge"}],
        },
        "expiresAfterHours": 2,
    }));
    let run = scene.restore(request).await;
    assert_eq!(run.path(), WITH_READERS, "{:?}", run.report.cause);
    for (setting, by) in [
        ("port", "target.port"),
        ("class", "target.instances[0].class"),
        ("promotion tier", "target.instances[0].promotionTier"),
        ("number of instances", "target.instances"),
        ("deletion protection", "expiresAfterHours"),
    ] {
        let row = row(&run, setting);
        assert_eq!(
            (row.verdict, row.by.as_deref()),
            (Verdict::Intended, Some(by)),
            "{row:?}"
        );
    }
    let classes = instances(&scene, TARGET).await;
    let classes: Vec<_> = classes
        .iter()
        .map(|found| found.db_instance_class().unwrap())
        .collect();
    assert_eq!(classes, ["db.r7g.large", "db.r6g.xlarge"]);
    let target = scene.cluster(TARGET).await;
    assert_eq!(target.deletion_protection(), Some(false));
    scene.local.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_seen_needs_a_class_and_has_settings_that_are_not_visible() {
    let scene = Scene::real().await;
    let key = scene.key_in(&scene.local.stack.region).await;
    let rds = scene.rds();
    rds.modify_db_cluster()
        .db_cluster_identifier(SOURCE)
        .deletion_protection(false)
        .send()
        .await
        .unwrap();
    scene.sleep(std::time::Duration::from_secs(600)).await;
    let instance = rds
        .delete_db_instance()
        .db_instance_identifier(format!("{SOURCE}-1"));
    instance.send().await.unwrap();
    scene.sleep(std::time::Duration::from_secs(600)).await;
    let cluster = rds.delete_db_cluster().db_cluster_identifier(SOURCE);
    cluster.skip_final_snapshot(true).send().await.unwrap();
    scene.sleep(std::time::Duration::from_secs(600)).await;
    let over = json!({"target": {"kmsKeyId": key, "instanceClass": null}});
    let run = scene
        .restore_as("classless", scene.request_with(over))
        .await;
    assert_eq!(run.path(), REFUSED_BY_PLAN);
    let (error, cause) = run.failure();
    assert!(
        error == "AR0001" && cause.contains("target.instanceClass"),
        "{cause}"
    );

    let over = json!({"target": {"kmsKeyId": key}});
    let run = scene
        .restore_as("with-class", scene.request_with(over))
        .await;
    assert_eq!(run.path(), SHORTEST, "{:?}", run.report.cause);
    for setting in [
        "subnet group",
        "maintenance window",
        "class",
        "number of instances",
    ] {
        assert_eq!(row(&run, setting).verdict, Verdict::NotVisible, "{setting}");
    }
    // The snapshot tells these.
    for setting in ["engine version", "port", "backup retention"] {
        assert_eq!(row(&run, setting).verdict, Verdict::Same, "{setting}");
    }
    scene.local.shutdown().await;
}
