//! SNS: topics, their policies and subscriptions.

use serde_json::{Map, Value, json};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::ApiError;

const TOPIC: &[Property] = &[
    optional("DisplayName", Shape::Text),
    optional("KmsMasterKeyId", Shape::Text),
    optional(
        "Subscription",
        Shape::List(&Shape::Record(&[
            required("Endpoint", Shape::Text),
            required("Protocol", Shape::Text),
        ])),
    ),
    optional("Tags", TAGS),
    optional("TopicName", Shape::Text),
];

const POLICY: &[Property] = &[
    required("PolicyDocument", Shape::Document),
    required("Topics", TEXTS),
];

const SUBSCRIPTION: &[Property] = &[
    optional("Endpoint", Shape::Text),
    required("Protocol", Shape::Text),
    required("TopicArn", Shape::Text),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::SNS::Topic",
        properties: TOPIC,
        attributes: &["TopicArn", "TopicName"],
        create: |making, _| Box::pin(create_topic(making)),
        delete: |making, topic| Box::pin(delete_topic(making, topic)),
    },
    ResourceType {
        name: "AWS::SNS::TopicPolicy",
        properties: POLICY,
        attributes: &["Id"],
        create: |making, _| Box::pin(create_policy(making)),
        delete: |making, _| Box::pin(set_policy(making, "")),
    },
    ResourceType {
        name: "AWS::SNS::Subscription",
        properties: SUBSCRIPTION,
        attributes: &["Arn"],
        create: |making, _| Box::pin(create_subscription(making)),
        delete: |making, subscription| Box::pin(delete_subscription(making, subscription)),
    },
];

async fn create_topic(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("TopicName", 256);
    let attributes: Map<String, Value> = making.picked(&["DisplayName", "KmsMasterKeyId"]);
    let tags = making.value("Tags").cloned().unwrap_or_else(|| json!([]));
    let request = json!({ "Name": name, "Attributes": attributes, "Tags": tags });
    making
        .call(
            "sns",
            "AmazonSimpleNotificationService.CreateTopic",
            request,
        )
        .await?;
    let arn = making.arn("sns", &name);
    for subscription in making
        .value("Subscription")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let mut request = subscription.clone();
        request["TopicArn"] = arn.as_str().into();
        making
            .call("sns", "AmazonSimpleNotificationService.Subscribe", request)
            .await?;
    }
    Ok(Made::new(&arn)
        .with("TopicArn", &arn)
        .with("TopicName", name))
}

async fn delete_topic(making: &Making<'_>, topic: &str) -> Result<(), ApiError> {
    let request = json!({ "TopicArn": topic });
    making
        .remove(
            "sns",
            "AmazonSimpleNotificationService.DeleteTopic",
            request,
            &["NotFound"],
        )
        .await
}

async fn create_policy(making: &Making<'_>) -> Result<Made, ApiError> {
    set_policy(making, &making.document("PolicyDocument")).await?;
    let id = making.name("", 256);
    Ok(Made::new(&id).with("Id", &id))
}

async fn set_policy(making: &Making<'_>, policy: &str) -> Result<(), ApiError> {
    for topic in making
        .value("Topics")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let request =
            json!({ "TopicArn": topic, "AttributeName": "Policy", "AttributeValue": policy });
        let target = "AmazonSimpleNotificationService.SetTopicAttributes";
        let set = making.call("sns", target, request).await;
        // A policy that goes with its stack may outlive its topic.
        if let Err(error) = set
            && !(policy.is_empty() && error.code == "NotFound")
        {
            return Err(error);
        }
    }
    Ok(())
}

async fn create_subscription(making: &Making<'_>) -> Result<Made, ApiError> {
    let request = Value::Object(making.picked(&["Endpoint", "Protocol", "TopicArn"]));
    let answer = making
        .call("sns", "AmazonSimpleNotificationService.Subscribe", request)
        .await?;
    let arn = answer["SubscriptionArn"].as_str().unwrap_or_default();
    Ok(Made::new(arn).with("Arn", arn))
}

async fn delete_subscription(making: &Making<'_>, subscription: &str) -> Result<(), ApiError> {
    let request = json!({ "SubscriptionArn": subscription });
    making
        .remove(
            "sns",
            "AmazonSimpleNotificationService.Unsubscribe",
            request,
            &["NotFound"],
        )
        .await
}
