//! What goes wrong on RDS itself when a test says so, and what is written down of it all.

use std::time::Duration;

use crate::cloud::{ACCOUNT, Cloud, MASTER, PASSWORD, wait_minutes};
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

#[tokio::test(start_paused = true)]
async fn a_cluster_leaves_available_again() {
    let cloud = with_snapshot().await;
    let minute = Duration::from_secs(60);
    cloud.rds.script(
        Kind::RestoredCluster,
        "copy",
        Trouble::BacksUp {
            after: minute,
            lasts: 3 * minute,
        },
    );
    cloud
        .rds
        .script(Kind::Cluster, "locked", Trouble::LosesKey { after: minute });
    cloud.restore("copy", "nightly", &[]).await;
    cloud.restore("locked", "nightly", &[]).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    cloud.wait_for("cluster", "copy", &["backing-up"]).await;
    assert_eq!(
        cloud
            .code("ModifyDBCluster", &["DBClusterIdentifier=copy"])
            .await,
        "InvalidDBClusterStateFault"
    );
    cloud.wait_for("cluster", "copy", &["available"]).await;
    cloud
        .wait_for(
            "cluster",
            "locked",
            &["inaccessible-encryption-credentials-recoverable"],
        )
        .await;
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
async fn a_modification_and_a_deletion_never_end() {
    let cloud = with_snapshot().await;
    let never_leaves = |status: &str| Trouble::NeverLeaves(status.to_owned());
    cloud.rds.script(
        Kind::Cluster,
        "orders",
        never_leaves("resetting-master-credentials"),
    );
    cloud
        .rds
        .script(Kind::Instance, "orders-1", never_leaves("deleting"));
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
