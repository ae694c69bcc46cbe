//! Stopping and starting, and snapshots of what is stopped.

use crate::cloud::{Cloud, MASTER, PASSWORD, wait_minutes};

#[tokio::test(start_paused = true)]
async fn a_stopped_cluster_keeps_its_data_and_can_be_snapshotted() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud
        .sql(
            "orders",
            MASTER,
            PASSWORD,
            "CREATE TABLE item AS SELECT 7 AS id",
        )
        .await
        .unwrap();
    cloud
        .call("StopDBCluster", &["DBClusterIdentifier=orders"])
        .await;
    cloud.wait_for("cluster", "orders", &["stopped"]).await;
    assert_eq!(
        cloud
            .instance("orders-1")
            .await
            .text("DBInstanceStatus")
            .unwrap(),
        "stopped"
    );
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap_err();
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    assert_eq!(
        cloud
            .code(
                "DeleteDBCluster",
                &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"]
            )
            .await,
        "InvalidDBClusterStateFault",
        "it is started first"
    );
    cloud.take_snapshot("stopped", "orders").await;
    cloud.restore("copy", "stopped", &[]).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    assert_eq!(
        cloud
            .sql("copy", MASTER, PASSWORD, "SELECT id FROM item")
            .await
            .unwrap(),
        ["7"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_lasts_seven_days_at_most() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    for _ in 0..2 {
        cloud
            .call("StopDBCluster", &["DBClusterIdentifier=orders"])
            .await;
        cloud.wait_for("cluster", "orders", &["stopped"]).await;
        cloud
            .call("StartDBCluster", &["DBClusterIdentifier=orders"])
            .await;
        cloud.wait_for("cluster", "orders", &["available"]).await;
    }
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap();
    cloud
        .call("StopDBCluster", &["DBClusterIdentifier=orders"])
        .await;
    wait_minutes(7 * 24 * 60 - 60).await;
    assert_eq!(
        cloud.cluster("orders").await.text("Status").unwrap(),
        "stopped"
    );
    wait_minutes(120).await;
    assert_eq!(
        cloud.cluster("orders").await.text("Status").unwrap(),
        "available"
    );
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failover_makes_a_reader_the_writer() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    assert_eq!(
        cloud
            .code("FailoverDBCluster", &["DBClusterIdentifier=orders"])
            .await,
        "InvalidDBClusterStateFault"
    );
    cloud.create_instance("orders-2", "orders").await;
    cloud.wait_for("instance", "orders-2", &["available"]).await;
    cloud
        .call("FailoverDBCluster", &["DBClusterIdentifier=orders"])
        .await;
    assert_eq!(
        cloud.cluster("orders").await.text("Status").unwrap(),
        "failing-over"
    );
    wait_minutes(1).await;
    let cluster = cloud.cluster("orders").await;
    assert_eq!(cluster.text("Status").unwrap(), "available");
    assert_eq!(
        cluster
            .text("DBClusterMembers/DBClusterMember/DBInstanceIdentifier")
            .unwrap(),
        "orders-2",
        "the writer comes first"
    );
}
