//! What goes wrong on RDS itself when a test says so, and what is written down of it all.

use std::time::Duration;

use crate::cloud::{ACCOUNT, Cloud, MASTER, PASSWORD, wait_minutes};
use crate::neighbours::Kms;
use local_cloud::ApiError;
use local_cloud::rds::{Kind, Trouble};

async fn with_snapshot() -> Cloud {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud
}

#[tokio::test(start_paused = true)]
async fn a_restore_ends_badly_once() {
    let cloud = with_snapshot().await;
    cloud.rds.fail_next_restore("incompatible-restore");
    cloud.restore("copy", "nightly", &[]).await;
    cloud.create_instance("copy-1", "copy").await;
    assert_eq!(
        cloud
            .wait_for("cluster", "copy", &["available", "incompatible-restore"])
            .await,
        "incompatible-restore"
    );
    wait_minutes(30).await;
    assert_eq!(
        cloud
            .instance("copy-1")
            .await
            .text("DBInstanceStatus")
            .unwrap(),
        "failed",
        "its instance cannot come up"
    );
    cloud.restore("copy-2", "nightly", &[]).await;
    cloud.wait_for("cluster", "copy-2", &["available"]).await;
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=copy-1"])
        .await;
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=copy", "SkipFinalSnapshot=true"],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_fails_midway() {
    let cloud = with_snapshot().await;
    cloud
        .rds
        .script(Kind::SnapshotCopy, "drill-*", Trouble::FailsAt(60));
    let copy = [
        "SourceDBClusterSnapshotIdentifier=nightly",
        "TargetDBClusterSnapshotIdentifier=drill-copy",
    ];
    cloud.call("CopyDBClusterSnapshot", &copy).await;
    assert_eq!(
        cloud
            .wait_for("snapshot", "drill-copy", &["available", "failed"])
            .await,
        "failed"
    );
    assert_eq!(
        cloud
            .snapshot("drill-copy")
            .await
            .text("PercentProgress")
            .unwrap(),
        "60"
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_finds_no_room_and_a_cluster_no_capacity() {
    let cloud = with_snapshot().await;
    cloud.rds.script(
        Kind::Instance,
        "copy-1",
        Trouble::EndsIn("insufficient-capacity".to_owned()),
    );
    let no_room = ApiError::new(403, "InsufficientDBClusterCapacityFault", "no capacity");
    cloud
        .rds
        .script(Kind::RestoredCluster, "*", Trouble::Refused(no_room));
    let restore = [
        "DBClusterIdentifier=copy",
        "SnapshotIdentifier=nightly",
        "Engine=aurora-postgresql",
    ];
    let refusal = cloud
        .ask("RestoreDBClusterFromSnapshot", &restore)
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (403, "InsufficientDBClusterCapacityFault")
    );
    cloud.call("RestoreDBClusterFromSnapshot", &restore).await;
    cloud.create_instance("copy-1", "copy").await;
    assert_eq!(
        cloud
            .wait_for(
                "instance",
                "copy-1",
                &["available", "insufficient-capacity"]
            )
            .await,
        "insufficient-capacity"
    );
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=copy-1"])
        .await;
    wait_minutes(6).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
}

#[tokio::test(start_paused = true)]
async fn some_things_never_end_and_some_take_long() {
    let cloud = with_snapshot().await;
    cloud
        .rds
        .script(Kind::RestoredCluster, "stuck", Trouble::NeverReady);
    cloud
        .rds
        .script(Kind::RestoredCluster, "slow", Trouble::Slow(5.0));
    cloud.restore("stuck", "nightly", &[]).await;
    cloud.restore("slow", "nightly", &[]).await;
    wait_minutes(50).await;
    assert_eq!(
        cloud.cluster("slow").await.text("Status").unwrap(),
        "creating"
    );
    wait_minutes(48 * 60).await;
    assert_eq!(
        cloud.cluster("slow").await.text("Status").unwrap(),
        "available"
    );
    assert_eq!(
        cloud.cluster("stuck").await.text("Status").unwrap(),
        "creating"
    );
}

/// A trouble after a minute of `available`, for so many minutes.
fn leaves(status: &str, minutes: Option<u32>) -> Trouble {
    let minute = Duration::from_secs(60);
    Trouble::Leaves {
        status: status.to_owned(),
        after: minute,
        lasts: minutes.map(|minutes| minutes * minute),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_leaves_available_again_and_is_not_to_be_changed_meanwhile() {
    let cloud = with_snapshot().await;
    cloud
        .rds
        .script(Kind::RestoredCluster, "copy", leaves("backing-up", Some(3)));
    cloud.restore("copy", "nightly", &[]).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    cloud.wait_for("cluster", "copy", &["backing-up"]).await;
    assert_eq!(
        cloud
            .code("ModifyDBCluster", &["DBClusterIdentifier=copy"])
            .await,
        "InvalidDBClusterStateFault"
    );
    cloud.wait_for("cluster", "copy", &["available"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_runs_out_of_storage_for_good() {
    let cloud = with_snapshot().await;
    cloud
        .rds
        .script(Kind::Instance, "copy-1", leaves("storage-full", None));
    cloud.restore("copy", "nightly", &[]).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    cloud
        .wait_for("instance", "copy-1", &["storage-full"])
        .await;
    wait_minutes(24 * 60).await;
    let instance = cloud.instance("copy-1").await;
    assert_eq!(instance.text("DBInstanceStatus").unwrap(), "storage-full");
    assert_eq!(
        cloud.cluster("copy").await.text("Status").unwrap(),
        "available"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_key_is_lost_comes_back_within_seven_days_or_never() {
    let cloud = Cloud::without_data();
    let kms = Kms::in_world(&cloud);
    let key = format!("arn:aws:kms:{}:{ACCOUNT}:key/mine", cloud.place().region);
    kms.allow(&key, &[ACCOUNT]);
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud
        .restore("copy", "nightly", &[&format!("KmsKeyId={key}")])
        .await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    let start = ["DBClusterIdentifier=copy"];

    kms.allow(&key, &[]);
    let lost = "inaccessible-encryption-credentials-recoverable";
    cloud.wait_for("cluster", "copy", &[lost]).await;
    cloud.wait_for("instance", "copy-1", &[lost]).await;
    assert_eq!(
        cloud.code("StartDBCluster", &start).await,
        "KMSKeyNotAccessibleFault"
    );
    kms.allow(&key, &[ACCOUNT]);
    wait_minutes(60).await;
    assert_eq!(
        cloud.cluster("copy").await.text("Status").unwrap(),
        lost,
        "it does not come back by itself"
    );
    cloud.call("StartDBCluster", &start).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;

    kms.allow(&key, &[]);
    cloud.wait_for("cluster", "copy", &[lost]).await;
    wait_minutes(8 * 24 * 60).await;
    assert_eq!(
        cloud.cluster("copy").await.text("Status").unwrap(),
        "inaccessible-encryption-credentials"
    );
    kms.allow(&key, &[ACCOUNT]);
    assert_eq!(
        cloud.code("StartDBCluster", &start).await,
        "InvalidDBClusterStateFault"
    );
    assert_eq!(
        cloud.cluster("orders").await.text("Status").unwrap(),
        "available",
        "who has another key, or none, is not touched"
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_comes_up_after_the_key_was_lost_reads_so() {
    let cloud = Cloud::without_data();
    let kms = Kms::in_world(&cloud);
    let key = format!("arn:aws:kms:{}:{ACCOUNT}:key/mine", cloud.place().region);
    kms.allow(&key, &[ACCOUNT]);
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud
        .restore("copy", "nightly", &[&format!("KmsKeyId={key}")])
        .await;
    cloud.create_instance("copy-1", "copy").await;
    kms.allow(&key, &[]);
    let lost = "inaccessible-encryption-credentials-recoverable";
    assert_eq!(
        cloud
            .wait_for("instance", "copy-1", &["available", "failed", lost])
            .await,
        lost
    );
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=copy-1"])
        .await;
    let delete = ["DBClusterIdentifier=copy", "SkipFinalSnapshot=true"];
    cloud.call("DeleteDBCluster", &delete).await;
}

#[tokio::test(start_paused = true)]
async fn an_automated_snapshot_goes_with_its_cluster_and_fails_its_copy() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let automated = cloud
        .rds
        .take_automated_snapshot(cloud.place(), "orders")
        .await
        .unwrap();
    cloud.rds.set_size(cloud.place(), "orders", 10_000);
    let copy = [
        &format!("SourceDBClusterSnapshotIdentifier={automated}"),
        "TargetDBClusterSnapshotIdentifier=kept",
    ];
    cloud
        .rds
        .script(Kind::SnapshotCopy, "kept", Trouble::Slow(20.0));
    cloud.call("CopyDBClusterSnapshot", &copy).await;
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        )
        .await;
    assert_eq!(
        cloud
            .wait_for("snapshot", "kept", &["available", "failed"])
            .await,
        "failed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reset_comes_to_nothing() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud
        .rds
        .script(Kind::Cluster, "orders", Trouble::ResetFails);
    cloud
        .call(
            "ModifyDBCluster",
            &[
                "DBClusterIdentifier=orders",
                "MasterUserPassword=another-password",
            ],
        )
        .await;
    wait_minutes(3).await;
    let cluster = cloud.cluster("orders").await;
    assert_eq!(
        (
            cluster.text("Status").unwrap().as_str(),
            cluster.text("PendingModifiedValues")
        ),
        ("available", None)
    );
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_modification_and_a_deletion_never_end_or_take_hours() {
    let cloud = with_snapshot().await;
    let stays = |status: &str, lasts| Trouble::StaysIn {
        status: status.to_owned(),
        lasts,
    };
    cloud.rds.script(
        Kind::Cluster,
        "orders",
        stays("resetting-master-credentials", None),
    );
    cloud
        .rds
        .script(Kind::Instance, "orders-1", stays("deleting", None));
    cloud.restore("copy", "nightly", &[]).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    let two_hours = Duration::from_secs(2 * 3600);
    cloud
        .rds
        .script(Kind::Cluster, "copy", stays("deleting", Some(two_hours)));
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=copy", "SkipFinalSnapshot=true"],
        )
        .await;
    wait_minutes(119).await;
    assert_eq!(
        cloud.cluster("copy").await.text("Status").unwrap(),
        "deleting"
    );
    wait_minutes(10).await;
    assert_eq!(
        cloud
            .code("DescribeDBClusters", &["DBClusterIdentifier=copy"])
            .await,
        "DBClusterNotFoundFault"
    );
    cloud
        .call(
            "ModifyDBCluster",
            &[
                "DBClusterIdentifier=orders",
                "MasterUserPassword=another-password",
            ],
        )
        .await;
    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    wait_minutes(24 * 60).await;
    assert_eq!(
        cloud.cluster("orders").await.text("Status").unwrap(),
        "resetting-master-credentials"
    );
    assert_eq!(
        cloud
            .instance("orders-1")
            .await
            .text("DBInstanceStatus")
            .unwrap(),
        "deleting"
    );
}

#[tokio::test(start_paused = true)]
async fn every_call_is_written_down() {
    let cloud = with_snapshot().await;
    let _ = cloud
        .ask(
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        )
        .await;
    let audit = cloud.rds.audit();
    let last = audit.last().unwrap();
    assert_eq!(
        (last.action.as_str(), last.resource.as_str()),
        ("DeleteDBCluster", "orders")
    );
    assert_eq!(last.error.as_deref(), Some("InvalidDBClusterStateFault"));
    assert_eq!(
        (last.place.account.as_str(), last.principal.as_str()),
        (ACCOUNT, "arn:aws:iam::111122223333:root")
    );
    assert!(audit.is_sorted_by_key(|record| record.at));
    assert_eq!(audit[0].action, "CreateDBCluster");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_takes_the_same_time() {
    let history = async || {
        let cloud = with_snapshot().await;
        cloud.restore("copy", "nightly", &[]).await;
        cloud.wait_for("cluster", "copy", &["available"]).await;
        let mut views = cloud.rds.resources(None);
        views.sort_by(|one, other| one.arn.cmp(&other.arn));
        views
            .into_iter()
            .map(|view| (view.arn, view.resource_id, view.statuses))
            .collect::<Vec<_>>()
    };
    assert_eq!(history().await, history().await);
}
