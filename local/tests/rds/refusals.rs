//! What is refused, by which code.

use crate::cloud::{Cloud, PASSWORD};
use local_cloud::rds::{Data, Quotas, RdsSettings};

fn with_quotas(quotas: Quotas) -> Cloud {
    Cloud::with(RdsSettings {
        data: Data::Metadata,
        quotas,
        ..RdsSettings::default()
    })
}

#[tokio::test(start_paused = true)]
async fn actions_and_parameters_that_do_not_exist_here_are_refused_by_name() {
    let cloud = Cloud::without_data();
    let refusal = cloud.ask("StartExportTask", &[]).await.unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (400, "InvalidAction")
    );
    let refusal = cloud
        .ask("DescribeDBClusters", &["Unheard=of"])
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (400, "NotImplemented")
    );
    assert!(refusal.message.contains("Unheard in DescribeDBClusters"));
    assert_eq!(
        cloud
            .code("DeleteDBCluster", &["SkipFinalSnapshot=true"])
            .await,
        "MissingParameter"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let cloud = Cloud::without_data();
    for (action, parameters, code) in [
        (
            "DescribeDBClusters",
            &["DBClusterIdentifier=none"][..],
            "DBClusterNotFoundFault",
        ),
        (
            "DescribeDBInstances",
            &["DBInstanceIdentifier=none"],
            "DBInstanceNotFound",
        ),
        (
            "DescribeDBClusterSnapshots",
            &["DBClusterSnapshotIdentifier=none"],
            "DBClusterSnapshotNotFoundFault",
        ),
        (
            "ModifyDBCluster",
            &["DBClusterIdentifier=none"],
            "DBClusterNotFoundFault",
        ),
        (
            "DeleteDBInstance",
            &["DBInstanceIdentifier=none"],
            "DBInstanceNotFound",
        ),
        (
            "DescribeDBClusterParameterGroups",
            &["DBClusterParameterGroupName=none"],
            "DBParameterGroupNotFound",
        ),
        (
            "DescribeDBSubnetGroups",
            &["DBSubnetGroupName=none"],
            "DBSubnetGroupNotFoundFault",
        ),
        (
            "CreateDBClusterSnapshot",
            &[
                "DBClusterIdentifier=none",
                "DBClusterSnapshotIdentifier=nightly",
            ],
            "DBClusterNotFoundFault",
        ),
    ] {
        let refusal = cloud.ask(action, parameters).await.unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (404, code),
            "{action}"
        );
    }
    assert!(
        cloud
            .call("DescribeDBClusterSnapshots", &["DBClusterIdentifier=none"])
            .await
            .all("DBClusterSnapshots/DBClusterSnapshot")
            .is_empty()
    );
    let filter = [
        "Filters.Filter.1.Name=colour",
        "Filters.Filter.1.Values.Value.1=red",
    ];
    assert_eq!(
        cloud.code("DescribeDBClusters", &filter).await,
        "InvalidParameterValue"
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_and_kept_in_lower_case() {
    let cloud = Cloud::without_data();
    cloud.create_cluster("Orders-PROD", &[]).await;
    assert_eq!(
        cloud
            .cluster("orders-prod")
            .await
            .text("DBClusterIdentifier")
            .unwrap(),
        "orders-prod"
    );
    assert_eq!(
        cloud
            .cluster("ORDERS-prod")
            .await
            .text("DBClusterIdentifier")
            .unwrap(),
        "orders-prod"
    );
    assert_eq!(
        cloud
            .cluster(&cloud.arn("cluster", "orders-prod"))
            .await
            .text("DBClusterIdentifier")
            .unwrap(),
        "orders-prod"
    );
    for wrong in ["1orders", "orders-", "or--ders", "or_ders"] {
        let name = format!("DBClusterIdentifier={wrong}");
        let parameters = [
            name.as_str(),
            "Engine=aurora-postgresql",
            "MasterUsername=a",
        ];
        assert_eq!(
            cloud.code("CreateDBCluster", &parameters).await,
            "InvalidParameterValue",
            "{wrong}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_name_is_not_given_twice() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    let password = format!("MasterUserPassword={PASSWORD}");
    let again = [
        "DBClusterIdentifier=orders",
        "Engine=aurora-postgresql",
        "MasterUsername=a",
        &password,
    ];
    assert_eq!(
        cloud.code("CreateDBCluster", &again).await,
        "DBClusterAlreadyExistsFault"
    );
    let restore = [
        "DBClusterIdentifier=orders",
        "SnapshotIdentifier=nightly",
        "Engine=aurora-postgresql",
    ];
    assert_eq!(
        cloud.code("RestoreDBClusterFromSnapshot", &restore).await,
        "DBClusterAlreadyExistsFault"
    );
    let instance = [
        "DBInstanceIdentifier=Orders-1",
        "DBClusterIdentifier=orders",
        "Engine=aurora-postgresql",
        "DBInstanceClass=db.r6g.large",
    ];
    assert_eq!(
        cloud.code("CreateDBInstance", &instance).await,
        "DBInstanceAlreadyExists"
    );
    let snapshot = [
        "DBClusterSnapshotIdentifier=nightly",
        "DBClusterIdentifier=orders",
    ];
    assert_eq!(
        cloud.code("CreateDBClusterSnapshot", &snapshot).await,
        "DBClusterSnapshotAlreadyExistsFault"
    );
    let copy = [
        "SourceDBClusterSnapshotIdentifier=nightly",
        "TargetDBClusterSnapshotIdentifier=nightly",
    ];
    assert_eq!(
        cloud.code("CopyDBClusterSnapshot", &copy).await,
        "DBClusterSnapshotAlreadyExistsFault"
    );
    // Another region, another namespace.
    cloud
        .at(crate::cloud::ACCOUNT, crate::cloud::OTHER_REGION)
        .create_cluster("orders", &[])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_creating_refuses_what_needs_it_available() {
    let cloud = Cloud::without_data();
    cloud.create_cluster("orders", &[]).await;
    let role = [
        "DBClusterIdentifier=orders",
        "RoleArn=arn:aws:iam::111122223333:role/load",
    ];
    for (action, parameters) in [
        (
            "CreateDBClusterSnapshot",
            &[
                "DBClusterSnapshotIdentifier=nightly",
                "DBClusterIdentifier=orders",
            ][..],
        ),
        (
            "ModifyDBCluster",
            &["DBClusterIdentifier=orders", "DeletionProtection=true"],
        ),
        ("StopDBCluster", &["DBClusterIdentifier=orders"]),
        ("StartDBCluster", &["DBClusterIdentifier=orders"]),
        ("AddRoleToDBCluster", &role),
        (
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        ),
    ] {
        assert_eq!(
            cloud.code(action, parameters).await,
            "InvalidDBClusterStateFault",
            "{action}"
        );
    }
    cloud.create_instance("orders-1", "orders").await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    assert_eq!(
        cloud
            .instance("orders-1")
            .await
            .text("DBInstanceStatus")
            .unwrap(),
        "creating",
        "an instance waits for its cluster"
    );
    cloud.call("AddRoleToDBCluster", &role).await;
    assert_eq!(
        cloud
            .cluster("orders")
            .await
            .text("AssociatedRoles/DBClusterRole/Status")
            .unwrap(),
        "PENDING"
    );
    assert_eq!(
        cloud.code("AddRoleToDBCluster", &role).await,
        "DBClusterRoleAlreadyExists"
    );
    crate::cloud::wait_minutes(2).await;
    assert_eq!(
        cloud
            .cluster("orders")
            .await
            .text("AssociatedRoles/DBClusterRole/Status")
            .unwrap(),
        "ACTIVE"
    );
    cloud.call("RemoveRoleFromDBCluster", &role).await;
    assert_eq!(
        cloud.code("RemoveRoleFromDBCluster", &role).await,
        "DBClusterRoleNotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_not_available_is_neither_copied_nor_restored() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    cloud
        .call(
            "CreateDBClusterSnapshot",
            &[
                "DBClusterSnapshotIdentifier=nightly",
                "DBClusterIdentifier=orders",
            ],
        )
        .await;
    let copy = [
        "SourceDBClusterSnapshotIdentifier=nightly",
        "TargetDBClusterSnapshotIdentifier=copy",
    ];
    assert_eq!(
        cloud.code("CopyDBClusterSnapshot", &copy).await,
        "InvalidDBClusterSnapshotStateFault"
    );
    let restore = [
        "DBClusterIdentifier=copy",
        "SnapshotIdentifier=nightly",
        "Engine=aurora-postgresql",
    ];
    assert_eq!(
        cloud.code("RestoreDBClusterFromSnapshot", &restore).await,
        "InvalidDBClusterSnapshotStateFault"
    );
    assert_eq!(
        cloud
            .code(
                "DeleteDBClusterSnapshot",
                &["DBClusterSnapshotIdentifier=nightly"]
            )
            .await,
        "InvalidDBClusterSnapshotStateFault"
    );
}

#[tokio::test(start_paused = true)]
async fn quotas_are_per_region() {
    let cloud = with_quotas(Quotas {
        clusters: 1,
        instances: 1,
        manual_snapshots: 1,
        ..Quotas::default()
    });
    cloud.source("orders").await;
    let password = format!("MasterUserPassword={PASSWORD}");
    let second = [
        "DBClusterIdentifier=second",
        "Engine=aurora-postgresql",
        "MasterUsername=a",
        &password,
    ];
    let refusal = cloud.ask("CreateDBCluster", &second).await.unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (403, "DBClusterQuotaExceededFault")
    );
    let instance = [
        "DBInstanceIdentifier=orders-2",
        "DBClusterIdentifier=orders",
        "Engine=aurora-postgresql",
        "DBInstanceClass=db.r6g.large",
    ];
    assert_eq!(
        cloud.code("CreateDBInstance", &instance).await,
        "InstanceQuotaExceeded"
    );
    cloud.take_snapshot("nightly", "orders").await;
    let refusal = cloud
        .ask(
            "CreateDBClusterSnapshot",
            &[
                "DBClusterSnapshotIdentifier=b",
                "DBClusterIdentifier=orders",
            ],
        )
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "SnapshotQuotaExceeded");
    assert_eq!(
        refusal.message,
        "Cannot create more than 1 manual snapshots"
    );
    cloud
        .rds
        .take_automated_snapshot(cloud.place(), "orders")
        .await
        .unwrap();
    let quotas = cloud.call("DescribeAccountAttributes", &[]).await;
    assert_eq!(
        quotas.all("AccountQuotas/AccountQuota/Used")[..3],
        ["1", "1", "1"]
    );
}

#[tokio::test(start_paused = true)]
async fn tags_have_their_rules() {
    let cloud = Cloud::without_data();
    cloud
        .create_cluster("orders", &["Tags.Tag.1.Key=team", "Tags.Tag.1.Value=a"])
        .await;
    let resource = format!("ResourceName={}", cloud.arn("cluster", "orders"));
    for reserved in ["aws:x", "rds:x", "AWS:x"] {
        let key = format!("Tags.Tag.1.Key={reserved}");
        assert_eq!(
            cloud
                .code(
                    "AddTagsToResource",
                    &[&resource, &key, "Tags.Tag.1.Value=b"]
                )
                .await,
            "InvalidParameterValue"
        );
    }
    cloud
        .call(
            "AddTagsToResource",
            &[
                &resource,
                "Tags.Tag.1.Key=team",
                "Tags.Tag.1.Value=b",
                "Tags.Tag.2.Key=stage",
            ],
        )
        .await;
    let tags = cloud.call("ListTagsForResource", &[&resource]).await;
    assert_eq!(
        (tags.all("TagList/Tag/Key"), tags.all("TagList/Tag/Value")),
        (
            vec!["team".into(), "stage".into()],
            vec!["b".into(), String::new()]
        )
    );
    cloud
        .call(
            "RemoveTagsFromResource",
            &[&resource, "TagKeys.member.1=team"],
        )
        .await;
    assert_eq!(
        cloud.cluster("orders").await.all("TagList/Tag/Key"),
        ["stage"]
    );
    let many: Vec<String> = (1..=50)
        .map(|number| format!("Tags.Tag.{number}.Key=k{number}"))
        .collect();
    let mut parameters = vec![resource.as_str()];
    parameters.extend(many.iter().map(String::as_str));
    assert_eq!(
        cloud.code("AddTagsToResource", &parameters).await,
        "InvalidParameterValue",
        "that would be 51"
    );
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pages() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    for number in 0..23 {
        cloud
            .take_snapshot(&format!("nightly-{number:02}"), "orders")
            .await;
    }
    let first = cloud
        .call("DescribeDBClusterSnapshots", &["MaxRecords=20"])
        .await;
    let path = "DBClusterSnapshots/DBClusterSnapshot/DBClusterSnapshotIdentifier";
    assert_eq!(first.all(path).len(), 20);
    let marker = format!("Marker={}", first.text("Marker").unwrap());
    let second = cloud
        .call("DescribeDBClusterSnapshots", &["MaxRecords=20", &marker])
        .await;
    assert_eq!(second.all(path), ["nightly-20", "nightly-21", "nightly-22"]);
    assert_eq!(second.text("Marker"), None);
    assert_eq!(
        cloud
            .code("DescribeDBClusterSnapshots", &["MaxRecords=5"])
            .await,
        "InvalidParameterValue"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_just_made_may_not_be_found_at_first() {
    let settings = RdsSettings {
        data: Data::Metadata,
        invisible_after_create: std::time::Duration::from_secs(5),
        ..RdsSettings::default()
    };
    let cloud = Cloud::with(settings);
    cloud.create_cluster("orders", &[]).await;
    assert_eq!(
        cloud
            .code("DescribeDBClusters", &["DBClusterIdentifier=orders"])
            .await,
        "DBClusterNotFoundFault"
    );
    crate::cloud::wait(std::time::Duration::from_secs(6)).await;
    cloud.cluster("orders").await;
}
