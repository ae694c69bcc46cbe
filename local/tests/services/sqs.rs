//! SQS: messages wait, are hidden while somebody has them, and go.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, cloud};

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/letters";

async fn ask(client: &Client, operation: &str, body: Value) -> Value {
    client
        .json("sqs", &format!("AmazonSQS.{operation}"), body)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_until_it_is_deleted() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let made = ask(&client, "CreateQueue", json!({ "QueueName": "letters" })).await;
    assert_eq!(made["QueueUrl"], URL);
    let letter = json!({ "QueueUrl": URL, "MessageBody": "hello" });
    ask(&client, "SendMessage", letter).await;
    let queue = json!({ "QueueUrl": URL });
    let received = ask(&client, "ReceiveMessage", queue.clone()).await;
    assert_eq!(received["Messages"][0]["Body"], "hello");
    let nothing = ask(&client, "ReceiveMessage", queue.clone()).await;
    assert_eq!(nothing, json!({}), "it is hidden from others");
    cloud.world().clock().sleep(Duration::from_secs(31)).await;
    let again = ask(&client, "ReceiveMessage", queue.clone()).await;
    assert_eq!(
        again["Messages"][0]["Attributes"]["ApproximateReceiveCount"],
        "2"
    );
    let receipt = &again["Messages"][0]["ReceiptHandle"];
    ask(
        &client,
        "DeleteMessage",
        json!({ "QueueUrl": URL, "ReceiptHandle": receipt }),
    )
    .await;
    let wanted = json!({ "QueueUrl": URL, "AttributeNames": ["All"] });
    let attributes = ask(&client, "GetQueueAttributes", wanted).await;
    assert_eq!(attributes["Attributes"]["ApproximateNumberOfMessages"], "0");
    assert_eq!(
        attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"],
        "0"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_when_the_queue_keeps_it_no_longer() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let queue = json!({ "QueueName": "letters", "Attributes": { "MessageRetentionPeriod": "60" } });
    ask(&client, "CreateQueue", queue).await;
    ask(
        &client,
        "SendMessage",
        json!({ "QueueUrl": URL, "MessageBody": "hello" }),
    )
    .await;
    cloud.world().clock().sleep(Duration::from_secs(61)).await;
    assert_eq!(
        ask(&client, "ReceiveMessage", json!({ "QueueUrl": URL })).await,
        json!({})
    );
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_not_there_is_refused_as_sqs_does() {
    let client = Client::new(&cloud());
    let letter = json!({ "QueueUrl": URL, "MessageBody": "hello" });
    let refused = client
        .json("sqs", "AmazonSQS.SendMessage", letter)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (400, "QueueDoesNotExist")
    );
}
