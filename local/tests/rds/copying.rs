//! Copying snapshots: slowly, in a queue, across regions and keys.

use std::time::Duration;

use crate::cloud::{ACCOUNT, Cloud, MASTER, OTHER_REGION, PASSWORD, REGION, wait, wait_minutes};
use crate::neighbours::Kms;
use local_cloud::rds::{Data, RdsSettings};

fn copy<'a>(source: &'a str, target: &'a str) -> [String; 2] {
    [
        format!("SourceDBClusterSnapshotIdentifier={source}"),
        format!("TargetDBClusterSnapshotIdentifier={target}"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_copy_shows_its_progress_and_holds_the_data() {
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
    let there = cloud.at(ACCOUNT, OTHER_REGION);
    let by_name = copy("nightly", "copy");
    assert_eq!(
        there
            .code("CopyDBClusterSnapshot", &[&by_name[0], &by_name[1]])
            .await,
        "DBClusterSnapshotNotFoundFault",
        "another region is named by ARN"
    );
    let [source, target] = copy(&cloud.arn("cluster-snapshot", "nightly"), "copy");
    there
        .call("CopyDBClusterSnapshot", &[&source, &target])
        .await;
    let mut percents = Vec::new();
    while there.snapshot("copy").await.text("Status").unwrap() == "copying" {
        percents.push(
            there
                .snapshot("copy")
                .await
                .text("PercentProgress")
                .unwrap()
                .parse::<u8>()
                .unwrap(),
        );
        wait(Duration::from_secs(60)).await;
    }
    assert_eq!(
        percents[..2],
        [0, 0],
        "it waits in a queue first: {percents:?}"
    );
    assert!(
        percents.is_sorted() && percents.len() > 5 && percents.last() < Some(&100),
        "{percents:?}"
    );
    let copied = there.snapshot("copy").await;
    assert_eq!(copied.text("PercentProgress").unwrap(), "100");
    assert_eq!(
        copied.text("SourceDBClusterSnapshotArn").unwrap(),
        cloud.arn("cluster-snapshot", "nightly")
    );
    there.restore("copy", "copy", &[]).await;
    there.create_instance("copy-1", "copy").await;
    there.wait_for("instance", "copy-1", &["available"]).await;
    assert_eq!(
        there
            .sql("copy", MASTER, PASSWORD, "SELECT id FROM item")
            .await
            .unwrap(),
        ["7"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_sixth_copy_is_refused_until_one_is_done() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    for number in 0..6 {
        cloud
            .take_snapshot(&format!("nightly-{number}"), "orders")
            .await;
    }
    for number in 0..5 {
        let [source, target] = copy(&format!("nightly-{number}"), &format!("copy-{number}"));
        cloud
            .call("CopyDBClusterSnapshot", &[&source, &target])
            .await;
    }
    let [source, target] = copy("nightly-5", "copy-5");
    let refusal = cloud
        .ask("CopyDBClusterSnapshot", &[&source, &target])
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "SnapshotQuotaExceeded");
    assert_eq!(
        refusal.message,
        "Cannot copy more than 5 snapshots across regions"
    );
    cloud.wait_for("snapshot", "copy-0", &["available"]).await;
    cloud
        .call("CopyDBClusterSnapshot", &[&source, &target])
        .await;
}

#[tokio::test(start_paused = true)]
async fn copies_of_one_source_go_one_after_another() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    for target in ["first", "second"] {
        let [source, target] = copy("nightly", target);
        cloud
            .call("CopyDBClusterSnapshot", &[&source, &target])
            .await;
    }
    cloud.wait_for("snapshot", "first", &["available"]).await;
    let second = cloud.snapshot("second").await;
    assert_eq!(second.text("Status").unwrap(), "copying");
    assert!(
        second
            .text("PercentProgress")
            .unwrap()
            .parse::<u8>()
            .unwrap()
            < 10
    );
    cloud.wait_for("snapshot", "second", &["available"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_does_not_outlive_its_source_and_is_cancelled_by_its_deletion() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud.take_snapshot("one", "orders").await;
    cloud.take_snapshot("two", "orders").await;
    for (source, target) in [("one", "copy-one"), ("two", "copy-two")] {
        let [source, target] = copy(source, target);
        cloud
            .call("CopyDBClusterSnapshot", &[&source, &target])
            .await;
    }
    cloud
        .call(
            "DeleteDBClusterSnapshot",
            &["DBClusterSnapshotIdentifier=one"],
        )
        .await;
    assert_eq!(
        cloud.snapshot("copy-one").await.text("Status").unwrap(),
        "failed"
    );
    cloud
        .call(
            "DeleteDBClusterSnapshot",
            &["DBClusterSnapshotIdentifier=copy-two"],
        )
        .await;
    wait_minutes(30).await;
    let missing = cloud
        .code(
            "DescribeDBClusterSnapshots",
            &["DBClusterSnapshotIdentifier=copy-two"],
        )
        .await;
    assert_eq!(missing, "DBClusterSnapshotNotFoundFault");
    assert_eq!(
        cloud.snapshot("copy-one").await.text("Status").unwrap(),
        "failed"
    );
    cloud
        .call(
            "DeleteDBClusterSnapshot",
            &["DBClusterSnapshotIdentifier=copy-one"],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn tags_given_win_over_tags_copied() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud
        .call(
            "CreateDBClusterSnapshot",
            &[
                "DBClusterSnapshotIdentifier=nightly",
                "DBClusterIdentifier=orders",
                "Tags.Tag.1.Key=team",
                "Tags.Tag.1.Value=a",
            ],
        )
        .await;
    cloud.wait_for("snapshot", "nightly", &["available"]).await;
    for (target, more, keys) in [
        ("plain", &[][..], &[][..]),
        ("copied", &["CopyTags=true"], &["team"]),
        (
            "given",
            &["CopyTags=true", "Tags.Tag.1.Key=mine"],
            &["mine"],
        ),
    ] {
        let [source, target_parameter] = copy("nightly", target);
        cloud
            .call(
                "CopyDBClusterSnapshot",
                &[&[source.as_str(), &target_parameter], more].concat(),
            )
            .await;
        assert_eq!(
            cloud.snapshot(target).await.all("TagList/Tag/Key"),
            keys,
            "{target}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn automated_snapshots_are_copied_to_become_manual() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let name = cloud
        .rds
        .take_automated_snapshot(cloud.place(), "orders")
        .await
        .unwrap();
    assert!(name.starts_with("rds:orders-2026-04-01-"), "{name}");
    let by_name = format!("DBClusterSnapshotIdentifier={name}");
    assert_eq!(
        cloud.code("DescribeDBClusterSnapshots", &[&by_name]).await,
        "DBClusterSnapshotNotFoundFault",
        "without its type"
    );
    cloud
        .call(
            "DescribeDBClusterSnapshots",
            &[&by_name, "SnapshotType=automated"],
        )
        .await;
    assert_eq!(
        cloud.code("DeleteDBClusterSnapshot", &[&by_name]).await,
        "InvalidDBClusterSnapshotStateFault"
    );
    assert_eq!(
        cloud
            .code(
                "ModifyDBClusterSnapshotAttribute",
                &[
                    &by_name,
                    "AttributeName=restore",
                    "ValuesToAdd.AttributeValue.1=444455556666"
                ]
            )
            .await,
        "InvalidDBClusterSnapshotStateFault"
    );
    let [source, bad] = copy(&name, "rds:copy");
    assert_eq!(
        cloud.code("CopyDBClusterSnapshot", &[&source, &bad]).await,
        "InvalidParameterValue"
    );
    let [source, target] = copy(&name, "copy");
    cloud
        .call("CopyDBClusterSnapshot", &[&source, &target])
        .await;
    cloud.wait_for("snapshot", "copy", &["available"]).await;
    assert_eq!(
        cloud.snapshot("copy").await.text("SnapshotType").unwrap(),
        "manual"
    );

    cloud
        .call("DeleteDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        )
        .await;
    wait_minutes(20).await;
    let left = cloud.call("DescribeDBClusterSnapshots", &[]).await;
    let left = left.all("DBClusterSnapshots/DBClusterSnapshot/DBClusterSnapshotIdentifier");
    assert_eq!(
        left,
        ["copy"],
        "automated snapshots go with their cluster, manual ones stay"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_encrypted_becomes_so_only_when_a_snapshot_is_restored() {
    let cloud = Cloud::with(RdsSettings {
        data: Data::Metadata,
        aws_owned_key_by_default: false,
        ..RdsSettings::default()
    });
    let key = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/own");
    Kms::in_world(&cloud).allow(&key, &[ACCOUNT]);
    cloud.create_cluster("plain", &[]).await;
    cloud.create_instance("plain-1", "plain").await;
    cloud.wait_for("instance", "plain-1", &["available"]).await;
    cloud.take_snapshot("plain-s", "plain").await;
    let under = format!("KmsKeyId={key}");
    for kind in ["full-copy", "copy-on-write"] {
        let again = [
            "DBClusterIdentifier=again",
            "SourceDBClusterIdentifier=plain",
            "UseLatestRestorableTime=true",
            &format!("RestoreType={kind}"),
            &under,
        ];
        assert_eq!(
            cloud.code("RestoreDBClusterToPointInTime", &again).await,
            "InvalidParameterCombination"
        );
    }
    cloud.restore("again", "plain-s", &[&under]).await;
    assert_eq!(cloud.cluster("again").await.text("KmsKeyId").unwrap(), key);
}

#[tokio::test(start_paused = true)]
async fn keys_decide_what_may_be_copied_where() {
    let cloud = Cloud::without_data();
    let kms = Kms::in_world(&cloud);
    let (here, there) = (
        format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/h"),
        format!("arn:aws:kms:{OTHER_REGION}:{ACCOUNT}:key/t"),
    );
    kms.allow(&here, &[ACCOUNT]);
    kms.allow(&there, &[ACCOUNT]);
    cloud.create_cluster("plain", &[]).await;
    cloud
        .create_cluster(
            "secret",
            &[&format!("KmsKeyId={here}"), "StorageEncrypted=true"],
        )
        .await;
    cloud.wait_for("cluster", "secret", &["available"]).await;
    for cluster in ["plain", "secret"] {
        cloud.take_snapshot(&format!("{cluster}-s"), cluster).await;
    }
    let elsewhere = cloud.at(ACCOUNT, OTHER_REGION);
    let key = |arn: &str| format!("KmsKeyId={arn}");

    let [source, target] = copy("secret-s", "same-key");
    cloud
        .call("CopyDBClusterSnapshot", &[&source, &target])
        .await;
    assert_eq!(
        cloud.snapshot("same-key").await.text("KmsKeyId").unwrap(),
        here
    );

    let [source, target] = copy("plain-s", "encrypted");
    assert_eq!(
        cloud
            .code("CopyDBClusterSnapshot", &[&source, &target, &key(&here)])
            .await,
        "InvalidParameterCombination"
    );

    let [source, target] = copy(&cloud.arn("cluster-snapshot", "secret-s"), "across");
    let refusal = elsewhere
        .ask("CopyDBClusterSnapshot", &[&source, &target])
        .await
        .unwrap_err();
    assert_eq!(
        refusal.message,
        "Must specify new KMS key for cross region encrypted snapshot copy."
    );
    assert_eq!(
        elsewhere
            .code("CopyDBClusterSnapshot", &[&source, &target, &key(&here)])
            .await,
        "KMSKeyNotAccessibleFault",
        "a key of the wrong region"
    );
    elsewhere
        .call("CopyDBClusterSnapshot", &[&source, &target, &key(&there)])
        .await;
    assert_eq!(
        elsewhere
            .snapshot("across")
            .await
            .text("StorageEncryptionType")
            .unwrap(),
        "sse-kms"
    );

    // The key is disabled while the copy is under way.
    kms.allow(&there, &[]);
    assert_eq!(
        elsewhere
            .wait_for("snapshot", "across", &["available", "failed"])
            .await,
        "failed"
    );
    assert_eq!(
        cloud
            .code(
                "RestoreDBClusterFromSnapshot",
                &[
                    "DBClusterIdentifier=x",
                    "SnapshotIdentifier=secret-s",
                    "Engine=aurora-postgresql",
                    &key(&there)
                ]
            )
            .await,
        "KMSKeyNotAccessibleFault"
    );
    cloud
        .restore("now-encrypted", "plain-s", &[&key(&here)])
        .await;
    assert_eq!(
        cloud
            .cluster("now-encrypted")
            .await
            .text("StorageEncrypted")
            .unwrap(),
        "true"
    );
}
