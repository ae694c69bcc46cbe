//! KMS: whether a key may be used, and by whom.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, Refused, cloud};

const OTHER: &str = "210987654321";

async fn kms(client: &Client, operation: &str, body: Value) -> Result<Value, Refused> {
    client
        .json("kms", &format!("TrentService.{operation}"), body)
        .await
}

async fn key(client: &Client, body: Value) -> String {
    kms(client, "CreateKey", body).await.unwrap()["KeyMetadata"]["Arn"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn state(client: &Client, key: &str) -> Value {
    kms(client, "DescribeKey", json!({ "KeyId": key }))
        .await
        .unwrap()["KeyMetadata"]["KeyState"]
        .clone()
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_through_its_states_and_is_gone_at_the_end() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let arn = key(&client, json!({ "Description": "orders" })).await;
    let id = json!({ "KeyId": arn });
    assert_eq!(state(&client, &arn).await, "Enabled");
    kms(&client, "DisableKey", id.clone()).await.unwrap();
    assert_eq!(state(&client, &arn).await, "Disabled");
    let grant = json!({ "KeyId": arn, "GranteePrincipal": "rds", "Operations": ["Decrypt"] });
    assert_eq!(
        kms(&client, "CreateGrant", grant).await.unwrap_err().code,
        "DisabledException"
    );
    kms(&client, "EnableKey", id.clone()).await.unwrap();
    let scheduled = kms(
        &client,
        "ScheduleKeyDeletion",
        json!({ "KeyId": arn, "PendingWindowInDays": 7 }),
    )
    .await
    .unwrap();
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    assert_eq!(
        kms(&client, "EnableKey", id.clone())
            .await
            .unwrap_err()
            .code,
        "KMSInvalidStateException"
    );
    kms(&client, "CancelKeyDeletion", id.clone()).await.unwrap();
    assert_eq!(state(&client, &arn).await, "Disabled");
    kms(
        &client,
        "ScheduleKeyDeletion",
        json!({ "KeyId": arn, "PendingWindowInDays": 7 }),
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    assert_eq!(
        kms(&client, "DescribeKey", id).await.unwrap_err().code,
        "NotFoundException"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_is_found_by_id_alias_and_either_arn_in_its_own_region() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let arn = key(&client, json!({})).await;
    let id = arn.rsplit('/').next().unwrap();
    kms(
        &client,
        "CreateAlias",
        json!({ "AliasName": "alias/orders", "TargetKeyId": id }),
    )
    .await
    .unwrap();
    let alias_arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/orders");
    for name in [id, &arn, "alias/orders", &alias_arn] {
        let described = kms(&client, "DescribeKey", json!({ "KeyId": name }))
            .await
            .unwrap();
        assert_eq!(described["KeyMetadata"]["Arn"], arn, "{name}");
    }
    let again = json!({ "AliasName": "alias/orders", "TargetKeyId": id });
    assert_eq!(
        kms(&client, "CreateAlias", again).await.unwrap_err().code,
        "AlreadyExistsException"
    );
    let listed = kms(&client, "ListAliases", json!({ "KeyId": id }))
        .await
        .unwrap();
    assert_eq!(listed["Aliases"][0]["AliasName"], "alias/orders");
    assert_eq!(
        kms(&client, "ListKeys", json!({})).await.unwrap()["Keys"][0]["KeyArn"],
        arn
    );
    let elsewhere = client.in_region("us-east-1");
    assert_eq!(
        kms(&elsewhere, "DescribeKey", json!({ "KeyId": arn }))
            .await
            .unwrap_err()
            .code,
        "NotFoundException"
    );
}

#[tokio::test(start_paused = true)]
async fn awss_own_keys_are_there_when_asked_for() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let describe = || kms(&client, "DescribeKey", json!({ "KeyId": "alias/aws/rds" }));
    let first = describe().await.unwrap();
    assert_eq!(first["KeyMetadata"]["KeyManager"], "AWS");
    assert_eq!(describe().await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn another_accounts_key_opens_by_policy_or_grant_and_only_by_arn() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let stranger = client.clone().with_key(OTHER);
    let arn = key(&client, json!({})).await;
    let describe = || kms(&stranger, "DescribeKey", json!({ "KeyId": arn }));
    assert_eq!(describe().await.unwrap_err().code, "AccessDeniedException");
    let id = arn.rsplit('/').next().unwrap();
    let by_id = kms(&stranger, "DescribeKey", json!({ "KeyId": id }))
        .await
        .unwrap_err();
    assert_eq!(by_id.code, "NotFoundException");

    let statement = |effect: &str| {
        json!({ "Effect": effect, "Principal": { "AWS": format!("arn:aws:iam::{OTHER}:root") },
                                           "Action": ["kms:Describe*", "kms:CreateGrant"], "Resource": "*" })
    };
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement("Allow")] }).to_string();
    kms(
        &client,
        "PutKeyPolicy",
        json!({ "KeyId": arn, "Policy": policy }),
    )
    .await
    .unwrap();
    describe().await.unwrap();
    assert_eq!(
        kms(&stranger, "DisableKey", json!({ "KeyId": arn }))
            .await
            .unwrap_err()
            .code,
        "AccessDeniedException"
    );

    let policy = json!({ "Statement": [statement("Allow"), statement("Deny")] }).to_string();
    kms(
        &client,
        "PutKeyPolicy",
        json!({ "KeyId": arn, "Policy": policy }),
    )
    .await
    .unwrap();
    assert_eq!(describe().await.unwrap_err().code, "AccessDeniedException");

    let closed = json!({ "Statement": [] }).to_string();
    kms(
        &client,
        "PutKeyPolicy",
        json!({ "KeyId": arn, "Policy": closed }),
    )
    .await
    .unwrap();
    let grant = json!({ "KeyId": arn, "GranteePrincipal": format!("arn:aws:iam::{OTHER}:root"), "Operations": ["DescribeKey"] });
    let granted = kms(&client, "CreateGrant", grant).await.unwrap();
    describe().await.unwrap();
    let listed = kms(&client, "ListGrants", json!({ "KeyId": arn }))
        .await
        .unwrap();
    assert_eq!(listed["Grants"][0]["GrantId"], granted["GrantId"]);
    kms(
        &client,
        "RevokeGrant",
        json!({ "KeyId": arn, "GrantId": granted["GrantId"] }),
    )
    .await
    .unwrap();
    assert_eq!(describe().await.unwrap_err().code, "AccessDeniedException");
}
