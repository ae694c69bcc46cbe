//! Modifications that wait, and the swap of two clusters' names.

use crate::cloud::{Answer, Cloud, MASTER, PASSWORD, wait_minutes};

#[tokio::test(start_paused = true)]
async fn an_address_belongs_to_the_name_and_not_to_the_cluster() {
    let cloud = Cloud::new();
    for (cluster, word) in [("prod", "old"), ("drill", "new")] {
        cloud.source(cluster).await;
        cloud
            .sql(
                cluster,
                MASTER,
                PASSWORD,
                &format!("CREATE TABLE says AS SELECT '{word}' AS word"),
            )
            .await
            .unwrap();
    }
    let address = async |cluster: &str| cloud.cluster(cluster).await.text("Endpoint").unwrap();
    let says = async |cluster: &str| {
        cloud
            .sql(cluster, MASTER, PASSWORD, "SELECT word FROM says")
            .await
            .unwrap()
    };
    let (prod, resource) = (
        address("prod").await,
        cloud.cluster("drill").await.text("DbClusterResourceId"),
    );

    let rename = async |from: &str, to: &str| {
        let names = [
            format!("DBClusterIdentifier={from}"),
            format!("NewDBClusterIdentifier={to}"),
        ];
        cloud
            .call(
                "ModifyDBCluster",
                &[&names[0], &names[1], "ApplyImmediately=true"],
            )
            .await;
        assert_eq!(
            cloud
                .cluster(from)
                .await
                .text("PendingModifiedValues/DBClusterIdentifier")
                .unwrap(),
            to
        );
        cloud.wait_for("cluster", from, &["renaming"]).await;
        wait_minutes(3).await;
        cloud.wait_for("cluster", to, &["available"]).await;
    };
    let taken = [
        "DBClusterIdentifier=drill",
        "NewDBClusterIdentifier=prod",
        "ApplyImmediately=true",
    ];
    assert_eq!(
        cloud.code("ModifyDBCluster", &taken).await,
        "DBClusterAlreadyExistsFault"
    );
    rename("prod", "prod-old").await;
    rename("drill", "prod").await;
    assert_eq!(address("prod").await, prod);
    assert_eq!(
        (says("prod").await, says("prod-old").await),
        (vec!["new".to_owned()], vec!["old".to_owned()])
    );
    assert_eq!(
        cloud.cluster("prod").await.text("DbClusterResourceId"),
        resource,
        "what survives a change of name"
    );
    assert_eq!(
        cloud
            .code("DescribeDBClusters", &["DBClusterIdentifier=drill"])
            .await,
        "DBClusterNotFoundFault"
    );
    assert_eq!(
        cloud
            .instance("drill-1")
            .await
            .text("DBClusterIdentifier")
            .unwrap(),
        "prod"
    );
}

#[tokio::test(start_paused = true)]
async fn without_apply_immediately_some_modifications_wait() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let cluster = "DBClusterIdentifier=orders";
    cloud
        .call(
            "ModifyDBCluster",
            &[
                cluster,
                "BackupRetentionPeriod=14",
                "EnableIAMDatabaseAuthentication=true",
                "StorageType=aurora-iopt1",
            ],
        )
        .await;
    wait_minutes(60).await;
    let waiting = cloud.cluster("orders").await;
    assert_eq!(waiting.text("BackupRetentionPeriod").unwrap(), "1");
    assert_eq!(
        waiting
            .text("PendingModifiedValues/BackupRetentionPeriod")
            .unwrap(),
        "14"
    );
    assert_eq!(
        waiting
            .text("PendingModifiedValues/IAMDatabaseAuthenticationEnabled")
            .unwrap(),
        "true"
    );
    cloud
        .call("ModifyDBCluster", &[cluster, "ApplyImmediately=true"])
        .await;
    cloud.wait_for("cluster", "orders", &["modifying"]).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    let done = cloud.cluster("orders").await;
    assert_eq!(
        (
            done.text("BackupRetentionPeriod").unwrap().as_str(),
            done.text("PendingModifiedValues")
        ),
        ("14", None)
    );
    assert_eq!(done.text("StorageType").unwrap(), "aurora-iopt1");
    assert_eq!(
        cloud
            .code("ModifyDBCluster", &[cluster, "StorageType=aurora"])
            .await,
        "StorageTypeNotAvailableFault"
    );
}

#[tokio::test(start_paused = true)]
async fn security_groups_change_in_steps_and_are_remembered() {
    let cloud = Cloud::without_data();
    cloud
        .create_cluster(
            "orders",
            &["VpcSecurityGroupIds.VpcSecurityGroupId.1=sg-quarantine"],
        )
        .await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    cloud
        .call(
            "ModifyDBCluster",
            &[
                "DBClusterIdentifier=orders",
                "VpcSecurityGroupIds.VpcSecurityGroupId.1=sg-app",
            ],
        )
        .await;
    let groups = async || {
        let cluster = cloud.cluster("orders").await;
        let all = |name: &str| {
            cluster.all(&format!(
                "VpcSecurityGroups/VpcSecurityGroupMembership/{name}"
            ))
        };
        (all("VpcSecurityGroupId"), all("Status"))
    };
    assert_eq!(
        groups().await,
        (
            vec!["sg-app".into(), "sg-quarantine".into()],
            vec!["adding".into(), "removing".into()]
        )
    );
    cloud.wait_for("cluster", "orders", &["modifying"]).await;
    assert_eq!(
        cloud
            .code("ModifyDBCluster", &["DBClusterIdentifier=orders", "Port=1"])
            .await,
        "NotImplemented"
    );
    assert_eq!(
        cloud
            .code("ModifyDBCluster", &["DBClusterIdentifier=orders"])
            .await,
        "InvalidDBClusterStateFault"
    );
    cloud.wait_for("cluster", "orders", &["available"]).await;
    assert_eq!(
        groups().await,
        (vec!["sg-app".into()], vec!["active".into()])
    );
    let view = cloud.rds.resources(Some(crate::cloud::ACCOUNT)).remove(0);
    let history: Vec<_> = view
        .security_group_history
        .into_iter()
        .map(|(_, groups)| groups.join(","))
        .collect();
    assert_eq!(history, ["sg-quarantine", "sg-app"]);
    assert_eq!(view.security_groups, ["sg-app"]);
    assert!(cloud.rds.resources(Some("999900001111")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn versions_go_up_with_a_healthy_writer() {
    let cloud = Cloud::without_data();
    cloud.create_cluster("orders", &[]).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    let upgrade = [
        "DBClusterIdentifier=orders",
        "EngineVersion=15.14",
        "ApplyImmediately=true",
    ];
    assert_eq!(
        cloud.code("ModifyDBCluster", &upgrade).await,
        "InvalidDBClusterStateFault",
        "nobody there to do it"
    );
    cloud.create_instance("orders-1", "orders").await;
    cloud.wait_for("instance", "orders-1", &["available"]).await;
    let major = [
        "DBClusterIdentifier=orders",
        "EngineVersion=16.9",
        "ApplyImmediately=true",
    ];
    assert_eq!(
        cloud.code("ModifyDBCluster", &major).await,
        "InvalidParameterCombination"
    );
    cloud.call("ModifyDBCluster", &upgrade).await;
    cloud.wait_for("cluster", "orders", &["upgrading"]).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    assert_eq!(
        cloud.cluster("orders").await.text("EngineVersion").unwrap(),
        "15.14"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_the_parameters_that_somebody_sets_and_shows_the_engines_own() {
    let cloud = Cloud::without_data();
    let named = "DBClusterParameterGroupName=quiet";
    let made = [
        named,
        "DBParameterGroupFamily=aurora-mysql8.0",
        "Description=x",
    ];
    cloud.call("CreateDBClusterParameterGroup", &made).await;
    let events = [
        named,
        "Filters.Filter.1.Name=parameter-name",
        "Filters.Filter.1.Values.Value.1=event_scheduler",
    ];
    let untouched = cloud.call("DescribeDBClusterParameters", &events).await;
    let shown = |answer: &Answer, what: &str| answer.text(&format!("Parameters/Parameter/{what}"));
    assert_eq!(shown(&untouched, "ParameterValue"), None);
    assert_eq!(
        shown(&untouched, "Source").as_deref(),
        Some("engine-default")
    );
    let set = |value: &'static str| {
        [
            named,
            "Parameters.Parameter.1.ParameterName=event_scheduler",
            value,
            "Parameters.Parameter.1.ApplyMethod=immediate",
        ]
    };
    let off = set("Parameters.Parameter.1.ParameterValue=OFF");
    cloud.call("ModifyDBClusterParameterGroup", &off).await;
    let changed = cloud.call("DescribeDBClusterParameters", &events).await;
    assert_eq!(shown(&changed, "ParameterValue").as_deref(), Some("OFF"));
    assert_eq!(shown(&changed, "Source").as_deref(), Some("user"));

    let wrong = set("Parameters.Parameter.1.ParameterValue=perhaps");
    let code = cloud.code("ModifyDBClusterParameterGroup", &wrong).await;
    assert_eq!(code, "InvalidParameterValue");
    let mut default = off;
    default[0] = "DBClusterParameterGroupName=default.aurora-mysql8.0";
    let code = cloud.code("ModifyDBClusterParameterGroup", &default).await;
    assert_eq!(code, "InvalidParameterValue");
    let gone = ["DBClusterParameterGroupName=gone"];
    let code = cloud.code("DescribeDBClusterParameters", &gone).await;
    assert_eq!(code, "DBParameterGroupNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_parameter_group_waits_for_a_reboot() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let group = [
        "DBClusterParameterGroupName=tuned",
        "DBParameterGroupFamily=aurora-postgresql15",
        "Description=x",
    ];
    cloud.call("CreateDBClusterParameterGroup", &group).await;
    let other = [
        "DBClusterParameterGroupName=wrong",
        "DBParameterGroupFamily=aurora-postgresql16",
        "Description=x",
    ];
    cloud.call("CreateDBClusterParameterGroup", &other).await;
    let cluster = "DBClusterIdentifier=orders";
    assert_eq!(
        cloud.code("ModifyDBCluster", &[cluster, other[0]]).await,
        "InvalidParameterCombination"
    );
    assert_eq!(
        cloud
            .code(
                "ModifyDBCluster",
                &[cluster, "DBClusterParameterGroupName=none"]
            )
            .await,
        "DBClusterParameterGroupNotFound"
    );
    cloud.call("ModifyDBCluster", &[cluster, group[0]]).await;
    cloud.wait_for("cluster", "orders", &["modifying"]).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    let status = async || {
        cloud
            .cluster("orders")
            .await
            .text("DBClusterMembers/DBClusterMember/DBClusterParameterGroupStatus")
            .unwrap()
    };
    assert_eq!(status().await, "pending-reboot");
    cloud
        .call("RebootDBInstance", &["DBInstanceIdentifier=orders-1"])
        .await;
    wait_minutes(2).await;
    assert_eq!(status().await, "in-sync");
}

#[tokio::test(start_paused = true)]
async fn an_instance_changes_class_and_name() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let modify = [
        "DBInstanceIdentifier=orders-1",
        "DBInstanceClass=db.r7g.large",
        "NewDBInstanceIdentifier=writer",
        "ApplyImmediately=true",
    ];
    cloud.call("ModifyDBInstance", &modify).await;
    assert_eq!(
        cloud
            .instance("orders-1")
            .await
            .text("PendingModifiedValues/DBInstanceClass")
            .unwrap(),
        "db.r7g.large"
    );
    cloud.wait_for("instance", "orders-1", &["modifying"]).await;
    wait_minutes(3).await;
    let writer = cloud.instance("writer").await;
    assert_eq!(
        (
            writer.text("DBInstanceClass").unwrap().as_str(),
            writer.text("DBInstanceStatus").unwrap().as_str()
        ),
        ("db.r7g.large", "available")
    );
    let unknown = ["DBInstanceIdentifier=writer", "DBInstanceClass=db.x99.huge"];
    assert_eq!(
        cloud.code("ModifyDBInstance", &unknown).await,
        "InvalidParameterCombination"
    );
}
