//! From a live source to a restored copy with a password of its own.

use crate::cloud::{Cloud, MASTER, PASSWORD, wait_minutes};

#[tokio::test(start_paused = true)]
async fn a_restored_cluster_holds_the_data_and_changes_its_password() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    let sql = async |cluster: &str, password: &str, statement: &str| {
        cloud.sql(cluster, MASTER, password, statement).await
    };
    sql(
        "orders",
        PASSWORD,
        "CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 100)",
    )
    .await
    .unwrap();
    cloud.take_snapshot("nightly", "orders").await;
    sql("orders", PASSWORD, "DELETE FROM item").await.unwrap();

    cloud.restore("copy", "nightly", &[]).await;
    assert_eq!(
        cloud.wait_for("cluster", "copy", &["available"]).await,
        "available"
    );
    assert!(
        sql("copy", PASSWORD, "SELECT 1").await.is_err(),
        "a cluster without instances is not connectable"
    );
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    assert_eq!(
        sql("copy", PASSWORD, "SELECT count(*) FROM item")
            .await
            .unwrap(),
        ["100"]
    );

    cloud
        .call(
            "ModifyDBCluster",
            &[
                "DBClusterIdentifier=copy",
                "MasterUserPassword=another-password",
            ],
        )
        .await;
    let copy = cloud.cluster("copy").await;
    assert_eq!(
        copy.text("Status").unwrap(),
        "available",
        "an accepted reset shows later"
    );
    assert_eq!(
        copy.text("PendingModifiedValues/MasterUserPassword")
            .unwrap(),
        "****"
    );
    assert!(
        sql("copy", PASSWORD, "SELECT 1").await.is_ok(),
        "the source's password still works"
    );
    cloud
        .wait_for("cluster", "copy", &["resetting-master-credentials"])
        .await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    assert_eq!(
        cloud.cluster("copy").await.text("PendingModifiedValues"),
        None
    );
    assert!(
        sql("copy", PASSWORD, "SELECT 1")
            .await
            .unwrap_err()
            .contains("password authentication failed")
    );
    assert_eq!(
        sql("copy", "another-password", "SELECT count(*) FROM item")
            .await
            .unwrap(),
        ["100"]
    );
    assert_eq!(
        sql("orders", PASSWORD, "SELECT count(*) FROM item")
            .await
            .unwrap(),
        ["0"],
        "the source is as it was"
    );

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
    assert_eq!(
        cloud
            .code("DescribeDBClusters", &["DBClusterIdentifier=copy"])
            .await,
        "DBClusterNotFoundFault"
    );
    assert_eq!(
        cloud.statuses("cluster", "copy"),
        [
            "creating",
            "available",
            "resetting-master-credentials",
            "available",
            "deleting"
        ]
    );
}
