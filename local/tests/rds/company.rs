//! RDS among the local cloud's own services: its keys and its secrets.

use std::sync::Arc;

use crate::cloud::{ACCOUNT, Cloud, wait_minutes};
use local_cloud::rds::{Data, RdsSettings};
use local_cloud::{Caller, LocalCloud};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn keys_and_secrets_are_those_of_the_local_cloud() {
    let whole = LocalCloud::builder().account(ACCOUNT).start();
    let metadata = RdsSettings {
        data: Data::Metadata,
        ..RdsSettings::default()
    };
    let cloud = Cloud::in_world(Arc::clone(whole.world()), metadata);
    let caller = Caller {
        account: ACCOUNT.to_owned(),
        region: "eu-west-1".to_owned(),
        principal: format!("arn:aws:iam::{ACCOUNT}:root"),
    };
    let ask = async |service: &str, target: &str, body| {
        cloud.world.call(&caller, service, target, &body).await
    };

    cloud
        .create_cluster(
            "orders",
            &["StorageEncrypted=true", "ManageMasterUserPassword=true"],
        )
        .await;
    cloud.wait_for("cluster", "orders", &["available"]).await;
    let orders = cloud.cluster("orders").await;
    let key = orders.text("KmsKeyId").unwrap();
    let described = ask(
        "kms",
        "TrentService.DescribeKey",
        json!({ "KeyId": "alias/aws/rds" }),
    )
    .await
    .unwrap();
    assert_eq!(described["KeyMetadata"]["Arn"], key.as_str());
    let secret = orders.text("MasterUserSecret/SecretArn").unwrap();
    let value = ask(
        "secretsmanager",
        "secretsmanager.GetSecretValue",
        json!({ "SecretId": secret }),
    )
    .await
    .unwrap();
    assert!(
        value["SecretString"]
            .as_str()
            .unwrap()
            .contains("\"password\"")
    );
    let rotate = [
        "DBClusterIdentifier=orders",
        "RotateMasterUserPassword=true",
        "ApplyImmediately=true",
    ];
    cloud.call("ModifyDBCluster", &rotate).await;
    wait_minutes(3).await;
    let rotated = ask(
        "secretsmanager",
        "secretsmanager.GetSecretValue",
        json!({ "SecretId": secret }),
    )
    .await
    .unwrap();
    assert_ne!(rotated["SecretString"], value["SecretString"]);

    cloud.take_snapshot("nightly", "orders").await;
    let share = [
        "DBClusterSnapshotIdentifier=nightly",
        "AttributeName=restore",
        "ValuesToAdd.AttributeValue.1=444455556666",
    ];
    assert_eq!(
        cloud.code("ModifyDBClusterSnapshotAttribute", &share).await,
        "InvalidParameterCombination"
    );
    let made = ask("kms", "TrentService.CreateKey", json!({}))
        .await
        .unwrap();
    let own = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let copy = [
        "SourceDBClusterSnapshotIdentifier=nightly",
        "TargetDBClusterSnapshotIdentifier=copy",
        &format!("KmsKeyId={own}"),
    ];
    cloud.call("CopyDBClusterSnapshot", &copy).await;
    ask("kms", "TrentService.DisableKey", json!({ "KeyId": own }))
        .await
        .unwrap();
    assert_eq!(
        cloud
            .wait_for("snapshot", "copy", &["available", "failed"])
            .await,
        "failed"
    );

    cloud
        .call(
            "DeleteDBCluster",
            &["DBClusterIdentifier=orders", "SkipFinalSnapshot=true"],
        )
        .await;
    wait_minutes(10).await;
    let gone = ask(
        "secretsmanager",
        "secretsmanager.GetSecretValue",
        json!({ "SecretId": secret }),
    )
    .await
    .unwrap_err();
    assert_eq!(gone.code, "ResourceNotFoundException");
}
