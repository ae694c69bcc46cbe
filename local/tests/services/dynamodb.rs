//! DynamoDB: the operations the state table and its lock rest on.

use local_cloud::LocalCloud;
use serde_json::{Value, json};

use crate::client::{ACCOUNT, Client, REGION, cloud};

async fn table(cloud: &LocalCloud) -> Client {
    let client = Client::new(cloud);
    let definition = json!({
        "TableName": "restores",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "BillingMode": "PAY_PER_REQUEST",
    });
    client.dynamodb("CreateTable", definition).await.unwrap();
    client
}

fn lock(epoch: &str) -> Value {
    json!({ "pk": { "S": "TARGET#orders" }, "sk": { "S": "LOCK" }, "epoch": { "N": epoch } })
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_taken_once() {
    let cloud = cloud();
    let client = table(&cloud).await;
    let take = |epoch: &str| {
        json!({ "TableName": "restores", "Item": lock(epoch), "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD" })
    };
    client.dynamodb("PutItem", take("1")).await.unwrap();
    let headers = [("x-amz-target", "DynamoDB_20120810.PutItem")];
    let body = take("2").to_string().into();
    let refused = client
        .send("dynamodb", http::Method::POST, "/", &headers, body)
        .await;
    assert_eq!(refused.status, 400);
    let error = refused.json();
    let code = error["__type"].as_str().unwrap();
    assert!(code.ends_with("#ConditionalCheckFailedException"), "{code}");
    assert_eq!(
        error["Item"]["epoch"]["N"], "1",
        "who holds the lock is told"
    );
}

#[tokio::test(start_paused = true)]
async fn a_transaction_with_a_lost_epoch_changes_nothing_and_says_which_part_failed() {
    let cloud = cloud();
    let client = table(&cloud).await;
    client
        .dynamodb(
            "PutItem",
            json!({ "TableName": "restores", "Item": lock("2") }),
        )
        .await
        .unwrap();
    let intent = json!({ "pk": { "S": "RESTORE#r-1" }, "sk": { "S": "RESOURCE#x" } });
    let request = json!({ "TransactItems": [
        { "ConditionCheck": { "TableName": "restores", "Key": { "pk": { "S": "TARGET#orders" }, "sk": { "S": "LOCK" } },
            "ConditionExpression": "epoch = :e", "ExpressionAttributeValues": { ":e": { "N": "1" } } } },
        { "Put": { "TableName": "restores", "Item": intent } },
    ] });
    let refused = client
        .dynamodb("TransactWriteItems", request)
        .await
        .unwrap_err();
    assert_eq!(refused.code, "TransactionCanceledException");
    assert!(
        refused.message.contains("ConditionalCheckFailed"),
        "{}",
        refused.message
    );
    let query = json!({ "TableName": "restores", "KeyConditionExpression": "pk = :p",
                        "ExpressionAttributeValues": { ":p": { "S": "RESTORE#r-1" } } });
    assert_eq!(client.dynamodb("Query", query).await.unwrap()["Count"], 0);
}

#[tokio::test(start_paused = true)]
async fn accounts_and_regions_share_no_tables_and_arns_name_their_own() {
    let cloud = cloud();
    let client = table(&cloud).await;
    let described = client
        .dynamodb("DescribeTable", json!({ "TableName": "restores" }))
        .await
        .unwrap();
    assert_eq!(
        described["Table"]["TableArn"],
        format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/restores")
    );
    for stranger in [
        client.clone().in_region("us-east-1"),
        client.with_key("210987654321"),
    ] {
        let refused = stranger
            .dynamodb("DescribeTable", json!({ "TableName": "restores" }))
            .await
            .unwrap_err();
        assert_eq!(refused.code, "ResourceNotFoundException");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_past_its_ttl_stays_until_it_is_expired_on_purpose() {
    let cloud = cloud();
    let client = table(&cloud).await;
    let ttl = json!({ "TableName": "restores", "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "ttl" } });
    client.dynamodb("UpdateTimeToLive", ttl).await.unwrap();
    let end = cloud.world().now().unix_timestamp() + 60;
    let item = json!({ "pk": { "S": "a" }, "sk": { "S": "b" }, "ttl": { "N": end.to_string() } });
    client
        .dynamodb("PutItem", json!({ "TableName": "restores", "Item": item }))
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(400 * 86_400)).await;
    let scan = || client.dynamodb("Scan", json!({ "TableName": "restores" }));
    assert_eq!(scan().await.unwrap()["Count"], 1);
    assert_eq!(cloud.dynamodb().expire_items().unwrap(), 1);
    assert_eq!(scan().await.unwrap()["Count"], 0);
}

#[tokio::test(start_paused = true)]
async fn every_item_can_be_searched() {
    let cloud = cloud();
    let client = table(&cloud).await;
    let item = json!({ "pk": { "S": "a" }, "sk": { "S": "b" }, "note": { "S": "canary-7" } });
    client
        .dynamodb("PutItem", json!({ "TableName": "restores", "Item": item }))
        .await
        .unwrap();
    assert!(
        cloud
            .recorded_texts()
            .iter()
            .any(|recorded| recorded.text.contains("canary-7"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_missing_is_named() {
    let cloud = cloud();
    let refused = Client::new(&cloud)
        .dynamodb("CreateBackup", json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (501, "UnknownOperationException")
    );
    assert!(refused.message.contains("CreateBackup"));
}
