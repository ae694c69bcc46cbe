//! EventBridge: rules with their targets.

use serde_json::{Value, json};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, optional, required};
use crate::request::ApiError;

pub(super) const DEAD_LETTERS: Property = optional(
    "DeadLetterConfig",
    Shape::Record(&[required("Arn", Shape::Text)]),
);

pub(super) const RETRIES: Property = optional(
    "RetryPolicy",
    Shape::Record(&[
        optional("MaximumEventAgeInSeconds", Shape::Integer),
        optional("MaximumRetryAttempts", Shape::Integer),
    ]),
);

const PROPERTIES: &[Property] = &[
    optional("Name", Shape::Text),
    optional("Description", Shape::Text),
    optional("EventPattern", Shape::Document),
    optional("ScheduleExpression", Shape::Text),
    optional("State", Shape::Text),
    optional("Tags", TAGS),
    optional(
        "Targets",
        Shape::List(&Shape::Record(&[
            required("Id", Shape::Text),
            required("Arn", Shape::Text),
            optional("RoleArn", Shape::Text),
            optional("Input", Shape::Text),
            optional("InputPath", Shape::Text),
            optional(
                "InputTransformer",
                Shape::Record(&[
                    optional("InputPathsMap", Shape::Map(&Shape::Text)),
                    required("InputTemplate", Shape::Text),
                ]),
            ),
            RETRIES,
            DEAD_LETTERS,
        ])),
    ),
];

pub(super) const TYPES: &[ResourceType] = &[ResourceType {
    name: "AWS::Events::Rule",
    properties: PROPERTIES,
    attributes: &["Arn"],
    create: |making, _| Box::pin(create(making)),
    delete: |making, rule| Box::pin(delete(making, rule)),
}];

async fn create(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("Name", 64);
    let mut rule = making.picked(&["Description", "ScheduleExpression", "State", "Tags"]);
    rule.insert("Name".to_owned(), name.as_str().into());
    if making.value("EventPattern").is_some() {
        rule.insert(
            "EventPattern".to_owned(),
            making.document("EventPattern").into(),
        );
    }
    making
        .call("events", "AWSEvents.PutRule", Value::Object(rule))
        .await?;
    if let Some(targets) = making.value("Targets") {
        let request = json!({ "Rule": name, "Targets": targets });
        if let Err(error) = making.call("events", "AWSEvents.PutTargets", request).await {
            delete(making, &name).await?;
            return Err(error);
        }
    }
    Ok(Made::new(&name).with("Arn", making.arn("events", &format!("rule/{name}"))))
}

async fn delete(making: &Making<'_>, rule: &str) -> Result<(), ApiError> {
    let targets = making.value("Targets").and_then(Value::as_array);
    let ids: Vec<&Value> = targets
        .into_iter()
        .flatten()
        .map(|target| &target["Id"])
        .collect();
    let gone = &["ResourceNotFoundException"];
    let request = json!({ "Rule": rule, "Ids": ids });
    making
        .remove("events", "AWSEvents.RemoveTargets", request, gone)
        .await?;
    making
        .remove(
            "events",
            "AWSEvents.DeleteRule",
            json!({ "Name": rule }),
            gone,
        )
        .await
}
