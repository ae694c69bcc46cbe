//! SNS: messages go in, and can be read.

use crate::client::{ACCOUNT, Client, REGION, cloud, element};

fn topic() -> String {
    format!("arn:aws:sns:{REGION}:{ACCOUNT}:restores")
}

#[tokio::test(start_paused = true)]
async fn what_is_published_can_be_read() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    for _ in 0..2 {
        let xml = client
            .query("sns", "Action=CreateTopic&Name=restores&Version=2010-03-31")
            .await
            .text();
        assert_eq!(element(&xml, "TopicArn"), Some(topic().as_str()));
    }
    let form = format!(
        "Action=Publish&TopicArn={}&Subject=Restored&Message=a%20%26%20b&MessageAttributes.entry.1.Name=outcome\
         &MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1.Value.StringValue=Restored",
        topic()
    );
    let answered = client.query("sns", &form).await;
    let xml = answered.text();
    let messages = cloud.sns().messages();
    assert_eq!(
        element(&xml, "MessageId"),
        Some(messages[0].message_id.as_str())
    );
    assert_eq!(
        (messages[0].message.as_str(), messages[0].subject.as_deref()),
        ("a & b", Some("Restored"))
    );
    assert_eq!(messages[0].attributes["outcome"], "Restored");
    assert!(
        cloud
            .recorded_texts()
            .iter()
            .any(|recorded| recorded.text.contains("a & b"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_published_is_refused() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    let publish = |text: String, extra: &'static str| {
        let (client, form) = (
            client.clone(),
            format!("Action=Publish&TopicArn={}&Message={text}{extra}", topic()),
        );
        async move {
            let answered = client.query("sns", &form).await;
            (
                answered.status,
                element(&answered.text(), "Code").map(str::to_owned),
            )
        }
    };
    assert_eq!(
        publish("x".into(), "").await,
        (404, Some("NotFound".into()))
    );
    client
        .query("sns", "Action=CreateTopic&Name=restores")
        .await;
    assert_eq!(publish("x".repeat(262_144), "").await, (200, None));
    assert_eq!(
        publish("x".repeat(262_145), "").await,
        (400, Some("InvalidParameter".into()))
    );
    assert_eq!(publish(String::new(), "").await.0, 400);
    assert_eq!(publish("x".into(), "&Subject=two%0Alines").await.0, 400);
    assert_eq!(publish("x".into(), "&MessageStructure=json").await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_kept() {
    let cloud = cloud();
    let client = Client::new(&cloud);
    client
        .query("sns", "Action=CreateTopic&Name=restores")
        .await;
    let form = format!(
        "Action=Subscribe&TopicArn={}&Protocol=email&Endpoint=dba%40example.com",
        topic()
    );
    let xml = client.query("sns", &form).await.text();
    let arn = element(&xml, "SubscriptionArn").unwrap().to_owned();
    let form = format!("Action=ListSubscriptionsByTopic&TopicArn={}", topic());
    for form in ["Action=ListSubscriptions", &form] {
        let xml = client.query("sns", form).await.text();
        assert_eq!(element(&xml, "Endpoint"), Some("dba@example.com"), "{xml}");
    }
    let attributes = client
        .query(
            "sns",
            &format!("Action=GetTopicAttributes&TopicArn={}", topic()),
        )
        .await
        .text();
    assert!(
        attributes.contains("<entry><key>SubscriptionsConfirmed</key><value>1</value></entry>"),
        "{attributes}"
    );
    client
        .query("sns", &format!("Action=Unsubscribe&SubscriptionArn={arn}"))
        .await;
    let xml = client.query("sns", "Action=ListSubscriptions").await.text();
    assert!(!xml.contains("dba@example.com"));
    client
        .query("sns", &format!("Action=DeleteTopic&TopicArn={}", topic()))
        .await;
    assert_eq!(
        element(
            &client.query("sns", "Action=ListTopics").await.text(),
            "TopicArn"
        ),
        None
    );
}
