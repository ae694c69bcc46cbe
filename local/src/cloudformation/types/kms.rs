//! KMS: keys and their aliases.

use serde_json::{Value, json};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, optional, required};
use crate::request::ApiError;

const KEY: &[Property] = &[
    optional("Description", Shape::Text),
    optional("EnableKeyRotation", Shape::Flag),
    optional("KeyPolicy", Shape::Document),
    optional("KeySpec", Shape::Text),
    optional("KeyUsage", Shape::Text),
    optional("MultiRegion", Shape::Flag),
    optional("PendingWindowInDays", Shape::Integer),
    optional("RotationPeriodInDays", Shape::Integer),
    optional("Tags", TAGS),
];

const ALIAS: &[Property] = &[
    required("AliasName", Shape::Text),
    required("TargetKeyId", Shape::Text),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::KMS::Key",
        properties: KEY,
        attributes: &["Arn", "KeyId"],
        create: |making, _| Box::pin(create_key(making)),
        delete: |making, key| Box::pin(delete_key(making, key)),
    },
    ResourceType {
        name: "AWS::KMS::Alias",
        properties: ALIAS,
        attributes: &[],
        create: |making, _| Box::pin(create_alias(making)),
        delete: |making, alias| Box::pin(delete_alias(making, alias)),
    },
];

async fn create_key(making: &Making<'_>) -> Result<Made, ApiError> {
    let mut request = making.picked(&["Description", "KeySpec", "MultiRegion"]);
    if making.value("KeyPolicy").is_some() {
        request.insert("Policy".to_owned(), making.document("KeyPolicy").into());
    }
    let tag = |tag: &Value| json!({ "TagKey": tag["Key"], "TagValue": tag["Value"] });
    if let Some(Value::Array(tags)) = making.value("Tags") {
        request.insert("Tags".to_owned(), tags.iter().map(tag).collect());
    }
    let answer = making
        .call("kms", "TrentService.CreateKey", Value::Object(request))
        .await?;
    let metadata = |name: &str| answer["KeyMetadata"][name].as_str().unwrap_or_default();
    Ok(Made::new(metadata("KeyId"))
        .with("KeyId", metadata("KeyId"))
        .with("Arn", metadata("Arn")))
}

async fn delete_key(making: &Making<'_>, key: &str) -> Result<(), ApiError> {
    let days = making
        .value("PendingWindowInDays")
        .and_then(Value::as_i64)
        .unwrap_or(30);
    let request = json!({ "KeyId": key, "PendingWindowInDays": days });
    let gone = &["NotFoundException", "KMSInvalidStateException"];
    making
        .remove("kms", "TrentService.ScheduleKeyDeletion", request, gone)
        .await
}

async fn create_alias(making: &Making<'_>) -> Result<Made, ApiError> {
    let request = Value::Object(making.picked(&["AliasName", "TargetKeyId"]));
    making
        .call("kms", "TrentService.CreateAlias", request)
        .await?;
    Ok(Made::new(making.required("AliasName")))
}

async fn delete_alias(making: &Making<'_>, alias: &str) -> Result<(), ApiError> {
    let request = json!({ "AliasName": alias });
    making
        .remove(
            "kms",
            "TrentService.DeleteAlias",
            request,
            &["NotFoundException"],
        )
        .await
}
