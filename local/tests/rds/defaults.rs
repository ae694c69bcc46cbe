//! A restore takes defaults for what the call leaves out, not the source's settings.

use crate::cloud::Cloud;

const SETTINGS: [&str; 13] = [
    "DBClusterParameterGroupName=tuned",
    "DBSubnetGroupName=private",
    "VpcSecurityGroupIds.VpcSecurityGroupId.1=sg-app",
    "DeletionProtection=true",
    "CopyTagsToSnapshot=true",
    "EnableIAMDatabaseAuthentication=true",
    "EnableCloudwatchLogsExports.member.1=postgresql",
    "StorageType=aurora-iopt1",
    "EngineLifecycleSupport=open-source-rds-extended-support-disabled",
    "ServerlessV2ScalingConfiguration.MinCapacity=0.5",
    "ServerlessV2ScalingConfiguration.MaxCapacity=8",
    "Tags.Tag.1.Key=team",
    "Tags.Tag.1.Value=orders & co",
];

/// What Describe says about a setting, before it is left out and after.
const FALLING_BACK: [(&str, Option<&str>, Option<&str>); 11] = [
    ("EngineVersion", Some("15.12"), Some("15.13")),
    (
        "DBClusterParameterGroup",
        Some("tuned"),
        Some("default.aurora-postgresql15"),
    ),
    ("DBSubnetGroup", Some("private"), Some("default")),
    ("DeletionProtection", Some("true"), Some("false")),
    ("CopyTagsToSnapshot", Some("true"), Some("false")),
    (
        "IAMDatabaseAuthenticationEnabled",
        Some("true"),
        Some("false"),
    ),
    (
        "EnabledCloudwatchLogsExports/member",
        Some("postgresql"),
        None,
    ),
    ("StorageType", Some("aurora-iopt1"), None),
    (
        "EngineLifecycleSupport",
        Some("open-source-rds-extended-support-disabled"),
        Some("open-source-rds-extended-support"),
    ),
    (
        "ServerlessV2ScalingConfiguration/MaxCapacity",
        Some("8"),
        None,
    ),
    ("TagList/Tag/Value", Some("orders & co"), None),
];

async fn cloud_with_groups() -> Cloud {
    let cloud = Cloud::without_data();
    cloud
        .call(
            "CreateDBClusterParameterGroup",
            &[
                "DBClusterParameterGroupName=tuned",
                "DBParameterGroupFamily=aurora-postgresql15",
                "Description=x",
            ],
        )
        .await;
    cloud
        .call(
            "CreateDBSubnetGroup",
            &[
                "DBSubnetGroupName=private",
                "DBSubnetGroupDescription=x",
                "SubnetIds.SubnetIdentifier.1=subnet-a",
                "SubnetIds.SubnetIdentifier.2=subnet-b",
            ],
        )
        .await;
    cloud
}

#[tokio::test(start_paused = true)]
async fn what_a_restore_leaves_out_falls_back_to_defaults() {
    let cloud = cloud_with_groups().await;
    let more = [&SETTINGS[..], &["Port=6543", "BackupRetentionPeriod=7"]].concat();
    cloud.create_cluster("orders", &more).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    cloud.take_snapshot("nightly", "orders").await;

    cloud.restore("bare", "nightly", &[]).await;
    cloud
        .restore(
            "explicit",
            "nightly",
            &[&SETTINGS[..], &["EngineVersion=15.12"]].concat(),
        )
        .await;
    let (source, bare, explicit) = (
        cloud.cluster("orders").await,
        cloud.cluster("bare").await,
        cloud.cluster("explicit").await,
    );
    for (path, of_source, of_bare) in FALLING_BACK {
        assert_eq!(
            source.text(path).as_deref(),
            of_source,
            "{path} of the source"
        );
        assert_eq!(
            bare.text(path).as_deref(),
            of_bare,
            "{path} of a bare restore"
        );
        assert_eq!(
            explicit.text(path).as_deref(),
            of_source,
            "{path} of an explicit restore"
        );
    }
    assert_eq!(
        bare.text("VpcSecurityGroups/VpcSecurityGroupMembership/VpcSecurityGroupId")
            .unwrap(),
        cloud.default_security_group().await
    );
    for path in [
        "Port",
        "MasterUsername",
        "BackupRetentionPeriod",
        "DatabaseName",
    ] {
        assert_eq!(bare.text(path), source.text(path), "{path} is the source's");
    }
    assert!(
        bare.all("DBClusterMembers/DBClusterMember").is_empty(),
        "no instances are restored"
    );
    assert!(
        bare.text("Endpoint").is_some(),
        "the endpoint has a name before anything listens there"
    );
    assert_ne!(
        bare.text("DbClusterResourceId"),
        source.text("DbClusterResourceId")
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_not_restored_to_a_lower_version() {
    let cloud = Cloud::without_data();
    cloud
        .create_cluster("orders", &["EngineVersion=15.14"])
        .await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    cloud.take_snapshot("nightly", "orders").await;
    let restore = [
        "DBClusterIdentifier=copy",
        "SnapshotIdentifier=nightly",
        "Engine=aurora-postgresql",
    ];
    // The default is 15.13 and so lower: leaving the version out is refused here.
    assert_eq!(
        cloud.code("RestoreDBClusterFromSnapshot", &restore).await,
        "InvalidParameterCombination"
    );
    cloud
        .restore("copy", "nightly", &["EngineVersion=15.14"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_without_scaling_takes_no_serverless_instance() {
    let cloud = Cloud::without_data();
    let scaling = [
        "ServerlessV2ScalingConfiguration.MinCapacity=0",
        "ServerlessV2ScalingConfiguration.MaxCapacity=4",
    ];
    cloud.create_cluster("orders", &scaling).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    assert_eq!(
        cloud
            .cluster("orders")
            .await
            .text("ServerlessV2ScalingConfiguration/SecondsUntilAutoPause")
            .unwrap(),
        "300"
    );
    cloud.take_snapshot("nightly", "orders").await;
    cloud.restore("copy", "nightly", &[]).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    let instance = [
        "DBInstanceIdentifier=copy-1",
        "DBClusterIdentifier=copy",
        "Engine=aurora-postgresql",
        "DBInstanceClass=db.serverless",
    ];
    let refusal = cloud.ask("CreateDBInstance", &instance).await.unwrap_err();
    assert_eq!(refusal.code, "InvalidDBClusterStateFault");
    assert!(
        refusal
            .message
            .starts_with("Set the Serverless v2 scaling configuration"),
        "{refusal:?}"
    );
    cloud
        .call(
            "ModifyDBCluster",
            &["DBClusterIdentifier=copy", scaling[0], scaling[1]],
        )
        .await;
    cloud.call("CreateDBInstance", &instance).await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_to_a_point_in_time_goes_back_to_the_engines_port() {
    let cloud = Cloud::without_data();
    cloud.create_cluster("orders", &["Port=6543"]).await;
    cloud.create_instance("orders-1", "orders").await;
    cloud.wait_for("instance", "orders-1", &["available"]).await;
    let clone = [
        "DBClusterIdentifier=clone",
        "SourceDBClusterIdentifier=orders",
        "UseLatestRestorableTime=true",
        "RestoreType=copy-on-write",
    ];
    cloud.call("RestoreDBClusterToPointInTime", &clone).await;
    let (source, clone) = (cloud.cluster("orders").await, cloud.cluster("clone").await);
    assert_eq!(clone.text("Port").unwrap(), "5432");
    assert_eq!(
        clone.text("EngineVersion"),
        source.text("EngineVersion"),
        "there is no version to choose"
    );
    assert_eq!(clone.text("CloneGroupId"), source.text("CloneGroupId"));
    let earlier = [
        "DBClusterIdentifier=c2",
        "SourceDBClusterIdentifier=orders",
        "RestoreToTime=2026-04-01T09:00:00Z",
    ];
    assert_eq!(
        cloud.code("RestoreDBClusterToPointInTime", &earlier).await,
        "InvalidParameterValue",
        "its backups do not reach that far"
    );
}
