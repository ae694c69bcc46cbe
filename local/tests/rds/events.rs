//! Events, and what has none.

use crate::cloud::{ACCOUNT, Cloud, REGION, wait_minutes};
use crate::neighbours::Bus;
use local_cloud::rds::{Data, RdsSettings};

#[tokio::test(start_paused = true)]
async fn a_restore_is_heard_of_and_its_copies_and_modifications_are_not() {
    let cloud = Cloud::without_data();
    let bus = Bus::in_world(&cloud);
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    let copy = [
        "SourceDBClusterSnapshotIdentifier=nightly",
        "TargetDBClusterSnapshotIdentifier=copied",
    ];
    cloud.call("CopyDBClusterSnapshot", &copy).await;
    cloud.wait_for("snapshot", "copied", &["available"]).await;
    cloud.restore("copy", "copied", &[]).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    let modify = [
        "DBClusterIdentifier=copy",
        "VpcSecurityGroupIds.VpcSecurityGroupId.1=sg-app",
        "MasterUserPassword=another-password",
    ];
    cloud.call("ModifyDBCluster", &modify).await;
    wait_minutes(5).await;
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=copy-1"])
        .await;
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=copy", "SkipFinalSnapshot=true"],
        )
        .await;
    wait_minutes(15).await;
    let heard = bus.heard();
    let heard: Vec<(&str, &str)> = heard
        .iter()
        .map(|(number, id)| (number.as_str(), id.as_str()))
        .collect();
    assert_eq!(
        heard,
        [
            ("0170", "orders"),
            ("0005", "orders-1"),
            ("0074", "nightly"),
            ("0075", "nightly"),
            ("0170", "copy"),
            ("0005", "copy-1"),
            ("0016", "copy"),
            ("0003", "copy-1"),
            ("0171", "copy"),
        ]
    );
    let first = bus.events().remove(0);
    assert_eq!(
        (
            first.account.as_str(),
            first.region.as_str(),
            first.source.as_str()
        ),
        (ACCOUNT, REGION, "aws.rds")
    );
    assert_eq!(first.detail_type, "RDS DB Cluster Event");
    assert_eq!(first.resources, [cloud.arn("cluster", "orders")]);
    assert_eq!(first.detail["SourceType"], "CLUSTER");
    assert_eq!(first.detail["EventCategories"][0], "creation");
    assert!(
        first.detail["Date"]
            .as_str()
            .unwrap()
            .starts_with("2026-04-01T10:0")
    );

    let listed = cloud
        .call(
            "DescribeEvents",
            &[
                "SourceIdentifier=copy",
                "SourceType=db-cluster",
                "Duration=1440",
            ],
        )
        .await;
    assert_eq!(
        listed.all("Events/Event/Message"),
        [
            "DB cluster created",
            "Reset master credentials",
            "DB cluster deleted"
        ]
    );
    assert!(
        cloud
            .call("DescribeEvents", &["Duration=1"])
            .await
            .all("Events/Event/Message")
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn events_may_be_lost_and_are_still_listed() {
    let cloud = Cloud::with(RdsSettings {
        data: Data::Metadata,
        event_loss: 1.0,
        ..RdsSettings::default()
    });
    let bus = Bus::in_world(&cloud);
    cloud.source("orders").await;
    assert!(bus.events().is_empty());
    assert_eq!(
        cloud
            .call("DescribeEvents", &["Duration=60"])
            .await
            .all("Events/Event/Message")
            .len(),
        2
    );
}
