//! Snapshots of other accounts.

use crate::cloud::{ACCOUNT, Cloud, MASTER, OTHER_ACCOUNT, PASSWORD, REGION};
use crate::neighbours::Kms;

fn share(snapshot: &str, account: &str) -> [String; 3] {
    [
        format!("DBClusterSnapshotIdentifier={snapshot}"),
        "AttributeName=restore".to_owned(),
        format!("ValuesToAdd.AttributeValue.1={account}"),
    ]
}

async fn share_with(cloud: &Cloud, snapshot: &str, account: &str) -> Result<(), String> {
    let [name, attribute, value] = share(snapshot, account);
    cloud
        .ask(
            "ModifyDBClusterSnapshotAttribute",
            &[&name, &attribute, &value],
        )
        .await
        .map(drop)
        .map_err(|refusal| refusal.code)
}

#[tokio::test(start_paused = true)]
async fn a_shared_snapshot_is_seen_and_restored_by_its_arn_alone() {
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
    cloud.take_snapshot("nightly", "orders").await;
    let other = cloud.at(OTHER_ACCOUNT, REGION);
    let arn = cloud.arn("cluster-snapshot", "nightly");
    let (by_arn, restore) = (
        format!("DBClusterSnapshotIdentifier={arn}"),
        format!("SnapshotIdentifier={arn}"),
    );
    let restored = [
        "DBClusterIdentifier=copy",
        &restore,
        "Engine=aurora-postgresql",
    ];
    assert_eq!(
        other.code("RestoreDBClusterFromSnapshot", &restored).await,
        "DBClusterSnapshotNotFoundFault",
        "not shared yet"
    );

    share_with(&cloud, "nightly", OTHER_ACCOUNT).await.unwrap();
    let attributes = cloud
        .call(
            "DescribeDBClusterSnapshotAttributes",
            &["DBClusterSnapshotIdentifier=nightly"],
        )
        .await;
    let path = "DBClusterSnapshotAttributesResult/DBClusterSnapshotAttributes/DBClusterSnapshotAttribute/AttributeValues/AttributeValue";
    assert_eq!(attributes.all(path), [OTHER_ACCOUNT]);
    let ids = "DBClusterSnapshots/DBClusterSnapshot/DBClusterSnapshotIdentifier";
    assert!(
        other
            .call("DescribeDBClusterSnapshots", &[])
            .await
            .all(ids)
            .is_empty(),
        "shared ones are asked for"
    );
    assert_eq!(
        other
            .call("DescribeDBClusterSnapshots", &["IncludeShared=true"])
            .await
            .all(ids),
        [arn.as_str()]
    );
    assert_eq!(
        other
            .call(
                "DescribeDBClusterSnapshots",
                &["SnapshotType=shared", &by_arn]
            )
            .await
            .all(ids),
        [arn.as_str()]
    );
    assert_eq!(
        other
            .code(
                "RestoreDBClusterFromSnapshot",
                &[
                    "DBClusterIdentifier=copy",
                    "SnapshotIdentifier=nightly",
                    "Engine=aurora-postgresql"
                ]
            )
            .await,
        "DBClusterSnapshotNotFoundFault"
    );
    other.call("RestoreDBClusterFromSnapshot", &restored).await;
    other.create_instance("copy-1", "copy").await;
    other.wait_for("instance", "copy-1", &["available"]).await;
    assert_eq!(
        other
            .sql("copy", MASTER, PASSWORD, "SELECT id FROM item")
            .await
            .unwrap(),
        ["7"]
    );

    let removal = [
        "DBClusterSnapshotIdentifier=nightly",
        "AttributeName=restore",
        "ValuesToRemove.AttributeValue.1=444455556666",
    ];
    cloud
        .call("ModifyDBClusterSnapshotAttribute", &removal)
        .await;
    let copy = [
        format!("SourceDBClusterSnapshotIdentifier={arn}"),
        "TargetDBClusterSnapshotIdentifier=copy".to_owned(),
    ];
    assert_eq!(
        other
            .code("CopyDBClusterSnapshot", &[&copy[0], &copy[1]])
            .await,
        "DBClusterSnapshotNotFoundFault"
    );
    assert_eq!(
        other.code("DeleteDBClusterSnapshot", &[&by_arn]).await,
        "DBClusterSnapshotNotFoundFault"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shared_encrypted_snapshot_needs_both_keys() {
    let cloud = Cloud::without_data();
    let kms = Kms::in_world(&cloud);
    let (theirs, ours) = (
        format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/a"),
        format!("arn:aws:kms:{REGION}:{OTHER_ACCOUNT}:key/b"),
    );
    kms.allow(&theirs, &[ACCOUNT]);
    kms.allow(&ours, &[OTHER_ACCOUNT]);
    cloud
        .create_cluster("orders", &[&format!("KmsKeyId={theirs}")])
        .await;
    cloud
        .create_cluster("default-key", &["StorageEncrypted=true"])
        .await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    cloud
        .wait_for("cluster", "default-key", &["available"])
        .await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud.take_snapshot("unshareable", "default-key").await;
    assert_eq!(
        share_with(&cloud, "unshareable", OTHER_ACCOUNT)
            .await
            .unwrap_err(),
        "InvalidParameterCombination"
    );
    assert_eq!(
        share_with(&cloud, "nightly", "all").await.unwrap_err(),
        "InvalidParameterCombination"
    );
    share_with(&cloud, "nightly", OTHER_ACCOUNT).await.unwrap();

    let other = cloud.at(OTHER_ACCOUNT, REGION);
    let source = format!(
        "SourceDBClusterSnapshotIdentifier={}",
        cloud.arn("cluster-snapshot", "nightly")
    );
    let (target, key) = (
        "TargetDBClusterSnapshotIdentifier=copy",
        format!("KmsKeyId={ours}"),
    );
    let refusal = other
        .ask("CopyDBClusterSnapshot", &[&source, target])
        .await
        .unwrap_err();
    assert!(
        refusal.message.contains("target KMS key [None]"),
        "{refusal:?}"
    );
    let refusal = other
        .ask("CopyDBClusterSnapshot", &[&source, target, &key])
        .await
        .unwrap_err();
    assert!(
        refusal.code == "KMSKeyNotAccessibleFault" && refusal.message.contains(&theirs),
        "{refusal:?}"
    );
    kms.allow(&theirs, &[ACCOUNT, OTHER_ACCOUNT]);
    other
        .call("CopyDBClusterSnapshot", &[&source, target, &key])
        .await;
    assert_eq!(other.snapshot("copy").await.text("KmsKeyId").unwrap(), ours);

    // Restored without a key of its own, a cluster goes on depending on the other account's.
    let snapshot = cloud.arn("cluster-snapshot", "nightly");
    other.restore("dependent", &snapshot, &[]).await;
    assert_eq!(
        other.cluster("dependent").await.text("KmsKeyId").unwrap(),
        theirs
    );
    kms.allow(&theirs, &[ACCOUNT]);
    let ended = other
        .wait_for(
            "cluster",
            "dependent",
            &[
                "available",
                "inaccessible-encryption-credentials-recoverable",
            ],
        )
        .await;
    assert_eq!(ended, "inaccessible-encryption-credentials-recoverable");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_shared_with_twenty_accounts_at_most() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    for number in 0..20 {
        share_with(&cloud, "nightly", &format!("{:012}", 100 + number))
            .await
            .unwrap();
    }
    assert_eq!(
        share_with(&cloud, "nightly", OTHER_ACCOUNT)
            .await
            .unwrap_err(),
        "SharedSnapshotQuotaExceeded"
    );
    assert_eq!(
        share_with(&cloud, "nightly", "12").await.unwrap_err(),
        "InvalidParameterValue"
    );
}
