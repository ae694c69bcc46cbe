//! Master passwords, real ones: tried on the server.

use crate::cloud::{Cloud, MASTER, PASSWORD, wait_minutes};
use crate::neighbours::Secrets;

const SECRET: &str = "MasterUserSecret/SecretArn";

#[tokio::test(start_paused = true)]
async fn a_managed_password_is_in_the_secret_and_on_the_server() {
    let cloud = Cloud::new();
    let secrets = Secrets::in_world(&cloud);
    cloud.source("orders").await;
    let manage = [
        "DBClusterIdentifier=orders",
        "ManageMasterUserPassword=true",
    ];
    let answer = cloud
        .call("ModifyDBCluster", &manage)
        .await
        .within("DBCluster");
    assert_eq!(
        answer.text("MasterUserSecret/SecretStatus").unwrap(),
        "creating"
    );
    let arn = answer.text(SECRET).unwrap();
    assert!(arn.contains(":secret:rds!cluster-"), "{arn}");
    wait_minutes(3).await;
    assert_eq!(
        cloud
            .cluster("orders")
            .await
            .text("MasterUserSecret/SecretStatus")
            .unwrap(),
        "active"
    );
    let made = secrets.made.lock().unwrap()[0].clone();
    assert_eq!(made["Tags"][0]["Key"], "aws:rds:primaryDBClusterArn");
    assert_eq!(made["Tags"][0]["Value"], cloud.arn("cluster", "orders"));
    let held = secrets.held.lock().unwrap()[&arn].clone();
    assert_eq!(
        held.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["username", "password"],
        "and nothing else"
    );
    let first = secrets.password(&arn);
    cloud
        .sql("orders", MASTER, &first, "SELECT 1")
        .await
        .unwrap();
    cloud
        .sql("orders", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap_err();

    cloud.call("ModifyDBCluster", &manage).await;
    assert_eq!(
        cloud.cluster("orders").await.text(SECRET).unwrap(),
        arn,
        "asked for again it stays"
    );
    let both = [
        "DBClusterIdentifier=orders",
        "ManageMasterUserPassword=true",
        "MasterUserPassword=something-else",
    ];
    assert_eq!(
        cloud.code("ModifyDBCluster", &both).await,
        "InvalidParameterCombination"
    );
    assert_eq!(
        cloud.code("ModifyDBCluster", &[both[0], both[2]]).await,
        "InvalidParameterCombination"
    );
    assert_eq!(
        cloud
            .code(
                "ModifyDBCluster",
                &[both[0], "RotateMasterUserPassword=true"]
            )
            .await,
        "InvalidParameterCombination"
    );

    cloud
        .call(
            "ModifyDBCluster",
            &[
                both[0],
                "RotateMasterUserPassword=true",
                "ApplyImmediately=true",
            ],
        )
        .await;
    assert_eq!(
        cloud
            .cluster("orders")
            .await
            .text("MasterUserSecret/SecretStatus")
            .unwrap(),
        "rotating"
    );
    wait_minutes(3).await;
    let second = secrets.password(&arn);
    assert_ne!(first, second);
    cloud
        .sql("orders", MASTER, &first, "SELECT 1")
        .await
        .unwrap_err();
    cloud
        .sql("orders", MASTER, &second, "SELECT 1")
        .await
        .unwrap();

    let off = [
        "DBClusterIdentifier=orders",
        "ManageMasterUserPassword=false",
        "MasterUserPassword=my-own-password",
    ];
    assert_eq!(
        cloud.code("ModifyDBCluster", &off[..2]).await,
        "InvalidParameterCombination",
        "a password must follow"
    );
    cloud.call("ModifyDBCluster", &off).await;
    wait_minutes(3).await;
    assert_eq!(cloud.cluster("orders").await.text("MasterUserSecret"), None);
    assert!(
        secrets.held.lock().unwrap().is_empty(),
        "the secret is gone"
    );
    cloud
        .sql("orders", MASTER, "my-own-password", "SELECT 1")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cluster_made_with_a_managed_password_takes_its_secret_with_it() {
    let cloud = Cloud::without_data();
    let secrets = Secrets::in_world(&cloud);
    cloud
        .create_cluster("orders", &["ManageMasterUserPassword=true"])
        .await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    let arn = cloud.cluster("orders").await.text(SECRET).unwrap();
    assert!(secrets.password(&arn).len() >= 30);
    cloud.take_snapshot("nightly", "orders").await;
    cloud.restore("copy", "nightly", &[]).await;
    assert_eq!(
        cloud.cluster("copy").await.text("MasterUserSecret"),
        None,
        "a restored cluster does not say where its password is"
    );
    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        )
        .await;
    wait_minutes(10).await;
    assert!(secrets.held.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_password_set_before_the_first_instance_holds_from_its_start() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    cloud.take_snapshot("nightly", "orders").await;
    cloud.restore("copy", "nightly", &[]).await;
    cloud.wait_for("cluster", "copy", &["available"]).await;
    cloud
        .call(
            "ModifyDBCluster",
            &[
                "DBClusterIdentifier=copy",
                "MasterUserPassword=another-password",
            ],
        )
        .await;
    wait_minutes(3).await;
    cloud.create_instance("copy-1", "copy").await;
    cloud.wait_for("instance", "copy-1", &["available"]).await;
    cloud
        .sql("copy", MASTER, PASSWORD, "SELECT 1")
        .await
        .unwrap_err();
    cloud
        .sql("copy", MASTER, "another-password", "SELECT 1")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_master_is_no_superuser_and_gets_its_privileges_back() {
    let cloud = Cloud::new();
    cloud.source("orders").await;
    let ask = async |statement: &str| cloud.sql("orders", MASTER, PASSWORD, statement).await;
    assert_eq!(
        ask("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            .await
            .unwrap(),
        ["f"]
    );
    assert_eq!(
        ask("SELECT pg_has_role(current_user, 'rds_superuser', 'member')")
            .await
            .unwrap(),
        ["t"]
    );
    ask("CREATE DATABASE more").await.unwrap();
    ask("CREATE ROLE app LOGIN PASSWORD 'application'")
        .await
        .unwrap();
    assert_eq!(
        cloud
            .sql("orders", "app", "application", "SELECT 1")
            .await
            .unwrap(),
        ["1"]
    );
    ask("SELECT pg_reload_conf()").await.unwrap_err();
    assert!(
        cloud
            .sql("orders", "rdsadmin", "", "SELECT 1")
            .await
            .unwrap_err()
            .contains("rejects")
    );

    ask(&format!("ALTER ROLE {MASTER} NOCREATEROLE"))
        .await
        .unwrap();
    ask("CREATE ROLE second").await.unwrap_err();
    cloud
        .call(
            "ModifyDBCluster",
            &[
                "DBClusterIdentifier=orders",
                "MasterUserPassword=source-password-1",
            ],
        )
        .await;
    wait_minutes(3).await;
    ask("CREATE ROLE second").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn passwords_have_their_rules() {
    let cloud = Cloud::without_data();
    cloud.source("orders").await;
    let long = "a".repeat(100);
    for wrong in [
        "short",
        &long,
        "with/slash",
        "with@sign",
        "with\"quote",
        "with space",
        "umläut-word",
    ] {
        let password = format!("MasterUserPassword={wrong}");
        assert_eq!(
            cloud
                .code(
                    "ModifyDBCluster",
                    &["DBClusterIdentifier=orders", &password]
                )
                .await,
            "InvalidParameterValue",
            "{wrong}"
        );
    }
    let right = format!("MasterUserPassword={}", "a".repeat(99));
    cloud
        .call("ModifyDBCluster", &["DBClusterIdentifier=orders", &right])
        .await;
}
