//! SQS: queues and their policies.

use serde_json::{Map, Value, json};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::ApiError;

const QUEUE: &[Property] = &[
    optional("KmsDataKeyReusePeriodSeconds", Shape::Integer),
    optional("KmsMasterKeyId", Shape::Text),
    optional("MessageRetentionPeriod", Shape::Integer),
    optional("QueueName", Shape::Text),
    optional("SqsManagedSseEnabled", Shape::Flag),
    optional("Tags", TAGS),
    optional("VisibilityTimeout", Shape::Integer),
];

const POLICY: &[Property] = &[
    required("PolicyDocument", Shape::Document),
    required("Queues", TEXTS),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::SQS::Queue",
        properties: QUEUE,
        attributes: &["Arn", "QueueName", "QueueUrl"],
        create: |making, _| Box::pin(create_queue(making)),
        delete: |making, queue| Box::pin(delete_queue(making, queue)),
    },
    ResourceType {
        name: "AWS::SQS::QueuePolicy",
        properties: POLICY,
        attributes: &["Id"],
        create: |making, _| Box::pin(create_policy(making)),
        delete: |making, _| Box::pin(set_policy(making, "")),
    },
];

const NO_QUEUE: &[&str] = &["QueueDoesNotExist"];

async fn create_queue(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("QueueName", 80);
    let mut attributes: Map<String, Value> = making.properties.clone();
    attributes.remove("QueueName");
    attributes.remove("Tags");
    // SQS takes every attribute as text.
    for value in attributes.values_mut().filter(|value| !value.is_string()) {
        *value = value.to_string().into();
    }
    let request = json!({ "QueueName": name, "Attributes": attributes });
    let answer = making.call("sqs", "AmazonSQS.CreateQueue", request).await?;
    let url = answer["QueueUrl"].as_str().unwrap_or_default();
    let made = Made::new(url)
        .with("QueueUrl", url)
        .with("Arn", making.arn("sqs", &name));
    Ok(made.with("QueueName", name))
}

async fn delete_queue(making: &Making<'_>, queue: &str) -> Result<(), ApiError> {
    making
        .remove(
            "sqs",
            "AmazonSQS.DeleteQueue",
            json!({ "QueueUrl": queue }),
            NO_QUEUE,
        )
        .await
}

async fn create_policy(making: &Making<'_>) -> Result<Made, ApiError> {
    set_policy(making, &making.document("PolicyDocument")).await?;
    let id = making.name("", 80);
    Ok(Made::new(&id).with("Id", &id))
}

async fn set_policy(making: &Making<'_>, policy: &str) -> Result<(), ApiError> {
    // A policy that goes with its stack may outlive its queue.
    let gone = if policy.is_empty() { NO_QUEUE } else { &[] };
    for queue in making
        .value("Queues")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let request = json!({ "QueueUrl": queue, "Attributes": { "Policy": policy } });
        making
            .remove("sqs", "AmazonSQS.SetQueueAttributes", request, gone)
            .await?;
    }
    Ok(())
}
