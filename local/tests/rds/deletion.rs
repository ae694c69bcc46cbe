//! Deleting, and what it is refused for.

use crate::cloud::{Cloud, MASTER, PASSWORD, wait_minutes};

#[tokio::test(start_paused = true)]
async fn a_cluster_is_deleted_after_its_instances_and_unprotected() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let (cluster, skip) = ("DBClusterIdentifier=orders", "SkipFinalSnapshot=true");
    assert_eq!(
        cloud.code("DeleteDBCluster", &[cluster]).await,
        "InvalidParameterCombination"
    );
    assert_eq!(
        cloud
            .code(
                "DeleteDBCluster",
                &[cluster, skip, "FinalDBSnapshotIdentifier=last"]
            )
            .await,
        "InvalidParameterCombination"
    );
    let refusal = cloud
        .ask("DeleteDBCluster", &[cluster, skip])
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "InvalidDBClusterStateFault");
    assert!(
        refusal
            .message
            .contains("still contains DB instances in non-deleting state"),
        "{refusal:?}"
    );

    cloud
        .call("ModifyDBCluster", &[cluster, "DeletionProtection=true"])
        .await;
    assert_eq!(
        cloud.cluster("orders").await.text("Status").unwrap(),
        "available",
        "protection is no modification to wait for"
    );
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    let refusal = cloud
        .ask("DeleteDBCluster", &[cluster, skip])
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "InvalidParameterCombination");
    assert_eq!(
        refusal.message,
        "Cannot delete protected Cluster, please disable deletion protection and try again."
    );

    cloud
        .call("ModifyDBCluster", &[cluster, "DeletionProtection=false"])
        .await;
    let answer = cloud.call("DeleteDBCluster", &[cluster, skip]).await;
    assert_eq!(
        answer.text("DBCluster/Status").unwrap(),
        "available",
        "the answer shows it as it was"
    );
    assert_eq!(
        cloud.code("DeleteDBCluster", &[cluster, skip]).await,
        "InvalidDBClusterStateFault"
    );
    let refusal = cloud
        .ask("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "InvalidDBInstanceState");
    assert!(
        refusal.message.contains("already being deleted"),
        "{refusal:?}"
    );
    wait_minutes(15).await;
    assert_eq!(
        cloud.code("DeleteDBCluster", &[cluster, skip]).await,
        "DBClusterNotFoundFault"
    );
    assert_eq!(
        cloud
            .code("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
            .await,
        "DBInstanceNotFound"
    );
    assert!(cloud.rds.resources(None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_final_snapshot_holds_the_data_and_outlives_its_cluster() {
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
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    cloud
        .call(
            "DeleteDBCluster",
            &[
                "DBClusterIdentifier=orders",
                "FinalDBSnapshotIdentifier=last",
            ],
        )
        .await;
    wait_minutes(15).await;
    assert_eq!(
        cloud
            .code("DescribeDBClusters", &["DBClusterIdentifier=orders"])
            .await,
        "DBClusterNotFoundFault"
    );
    cloud.restore("orders", "last", &[]).await;
    cloud.create_instance("orders-1", "orders").await;
    cloud.wait_for("instance", "orders-1", &["available"]).await;
    assert_eq!(
        cloud
            .sql("orders", MASTER, PASSWORD, "SELECT id FROM item")
            .await
            .unwrap(),
        ["7"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_outlives_its_snapshot() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud.restore("copy", "nightly", &[]).await;
    cloud
        .call(
            "DeleteDBClusterSnapshot",
            &["DBClusterSnapshotIdentifier=nightly"],
        )
        .await;
    wait_minutes(30).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    cloud
        .sql("copy", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_takes_over_when_the_writer_is_deleted() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud.create_instance("orders-2", "orders").await;
    cloud.wait_for("instance", "orders-2", &["available"]).await;
    let writers = async || {
        cloud
            .cluster("orders")
            .await
            .all("DBClusterMembers/DBClusterMember/IsClusterWriter")
    };
    assert_eq!(writers().await, ["true", "false"]);
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    wait_minutes(6).await;
    assert_eq!(writers().await, ["true"]);
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap();
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-2"])
        .await;
    wait_minutes(6).await;
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap_err();
    cloud.create_instance("orders-3", "orders").await;
    cloud.wait_for("instance", "orders-3", &["available"]).await;
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap();
}
