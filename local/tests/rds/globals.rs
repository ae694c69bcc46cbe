//! Global databases: how their members show, and what RDS refuses of them.

use crate::cloud::{ACCOUNT, Cloud, OTHER_REGION};

async fn join(cloud: &Cloud, global: &str, cluster: &str) -> String {
    let (global, arn) = (
        format!("GlobalClusterIdentifier={global}"),
        format!(
            "SourceDBClusterIdentifier={}",
            cloud.arn("cluster", cluster)
        ),
    );
    let made = cloud.call("CreateGlobalCluster", &[&global, &arn]).await;
    made.text("GlobalCluster/GlobalClusterArn").unwrap()
}

async fn add_secondary(elsewhere: &Cloud, name: &str) {
    let name_is = format!("DBClusterIdentifier={name}");
    elsewhere
        .call(
            "CreateDBCluster",
            &[
                &name_is,
                "Engine=aurora-postgresql",
                "GlobalClusterIdentifier=world",
            ],
        )
        .await;
    elsewhere.wait_for("cluster", name, &["available"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_shows_its_global_database_and_a_secondary_that_it_is_one() {
    let cloud = Cloud::without_data();
    let elsewhere = cloud.at(ACCOUNT, OTHER_REGION);
    cloud.source("orders").await;
    let arn = join(&cloud, "world", "orders").await;
    assert_eq!(arn, format!("arn:aws:rds::{ACCOUNT}:global-cluster:world"));
    add_secondary(&elsewhere, "orders-far").await;
    let (primary, secondary) = (
        cloud.cluster("orders").await,
        elsewhere.cluster("orders-far").await,
    );
    for member in [&primary, &secondary] {
        assert_eq!(member.text("GlobalClusterIdentifier").unwrap(), "world");
    }
    assert_eq!(primary.text("GlobalWriteForwardingStatus"), None);
    assert_eq!(
        secondary.text("GlobalWriteForwardingStatus").unwrap(),
        "disabled"
    );
    // It is seen from everywhere.
    let filter = format!(
        "Filters.Filter.1.Values.Value.1={}",
        cloud.arn("cluster", "orders")
    );
    let filters = ["Filters.Filter.1.Name=db-cluster-id", &filter];
    for place in [&cloud, &elsewhere] {
        let found = place.call("DescribeGlobalClusters", &filters).await;
        let members = found.within("GlobalClusters/GlobalClusterMember");
        let members = members.all("GlobalClusterMembers/GlobalClusterMember/DBClusterArn");
        assert_eq!(
            members,
            [
                cloud.arn("cluster", "orders"),
                elsewhere.arn("cluster", "orders-far")
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_is_stopped_only_alone_and_never_deleted() {
    let cloud = Cloud::without_data();
    let elsewhere = cloud.at(ACCOUNT, OTHER_REGION);
    cloud.source("orders").await;
    join(&cloud, "world", "orders").await;
    add_secondary(&elsewhere, "orders-far").await;
    let stop = ("StopDBCluster", ["DBClusterIdentifier=orders"]);
    assert_eq!(
        cloud.code(stop.0, &stop.1).await,
        "InvalidDBClusterStateFault"
    );
    let deletion = ["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"];
    assert_eq!(
        cloud.code("DeleteDBCluster", &deletion).await,
        "InvalidGlobalClusterStateFault"
    );
    let far = ["DBClusterIdentifier=orders-far", "SkipFinalSnapshot=true"];
    assert_eq!(
        elsewhere.code("DeleteDBCluster", &far).await,
        "InvalidDBClusterStateFault"
    );
    let of = |arn: &str| format!("DbClusterIdentifier={arn}");
    let (primary, secondary) = (
        of(&cloud.arn("cluster", "orders")),
        of(&elsewhere.arn("cluster", "orders-far")),
    );
    let from = "GlobalClusterIdentifier=world";
    assert_eq!(
        cloud
            .code("RemoveFromGlobalCluster", &[from, &primary])
            .await,
        "InvalidGlobalClusterStateFault",
        "the secondaries first"
    );
    assert_eq!(
        cloud.code("DeleteGlobalCluster", &[from]).await,
        "InvalidGlobalClusterStateFault"
    );
    cloud
        .call("RemoveFromGlobalCluster", &[from, &secondary])
        .await;
    elsewhere.call("DeleteDBCluster", &far).await;
    cloud.call(stop.0, &stop.1).await;
    cloud.wait_for("cluster", "orders", &["stopped"]).await;
    cloud.call("StartDBCluster", &stop.1).await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    cloud
        .call("RemoveFromGlobalCluster", &[from, &primary])
        .await;
    cloud.call("DeleteGlobalCluster", &[from]).await;
    assert_eq!(
        cloud.code("DescribeGlobalClusters", &[from]).await,
        "GlobalClusterNotFoundFault"
    );
    let cluster = cloud.cluster("orders").await;
    assert_eq!(cluster.text("GlobalClusterIdentifier"), None);
}

#[tokio::test(start_paused = true)]
async fn rds_manages_no_password_of_a_member() {
    let cloud = Cloud::without_data();
    let elsewhere = cloud.at(ACCOUNT, OTHER_REGION);
    cloud.source("orders").await;
    join(&cloud, "world", "orders").await;
    let managed = [
        "DBClusterIdentifier=orders",
        "ManageMasterUserPassword=true",
    ];
    assert_eq!(
        cloud.code("ModifyDBCluster", &managed).await,
        "InvalidParameterCombination"
    );
    let again = [
        "GlobalClusterIdentifier=other",
        "SourceDBClusterIdentifier=orders",
    ];
    assert_eq!(
        cloud.code("CreateGlobalCluster", &again).await,
        "InvalidDBClusterStateFault",
        "a cluster is in one global database"
    );
    let with_a_password = [
        "DBClusterIdentifier=orders-far",
        "Engine=aurora-postgresql",
        "GlobalClusterIdentifier=world",
        "MasterUsername=orders_admin",
    ];
    assert_eq!(
        elsewhere.code("CreateDBCluster", &with_a_password).await,
        "InvalidParameterCombination",
        "a secondary has the primary's"
    );
    let beside = [
        "DBClusterIdentifier=orders-near",
        "Engine=aurora-postgresql",
        "GlobalClusterIdentifier=world",
    ];
    assert_eq!(
        cloud.code("CreateDBCluster", &beside).await,
        "InvalidGlobalClusterStateFault",
        "one cluster in each region"
    );
}
