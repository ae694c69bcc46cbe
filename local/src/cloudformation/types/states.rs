//! Step Functions: state machines from a definition with placeholders.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Made, Making, ResourceType, refused};
use crate::cloudformation::Artefacts;
use crate::cloudformation::shape::{Property, Shape, TAGS, optional, required};
use crate::request::ApiError;

const PROPERTIES: &[Property] = &[
    optional("DefinitionS3Location", Shape::LocalPath),
    optional("DefinitionString", Shape::Text),
    optional("DefinitionSubstitutions", Shape::Map(&Shape::Text)),
    optional(
        "LoggingConfiguration",
        Shape::Record(&[
            optional(
                "Destinations",
                Shape::List(&Shape::Record(&[optional(
                    "CloudWatchLogsLogGroup",
                    Shape::Record(&[required("LogGroupArn", Shape::Text)]),
                )])),
            ),
            optional("IncludeExecutionData", Shape::Flag),
            optional("Level", Shape::Text),
        ]),
    ),
    required("RoleArn", Shape::Text),
    optional("StateMachineName", Shape::Text),
    optional("StateMachineType", Shape::Text),
    optional("Tags", TAGS),
    optional(
        "TracingConfiguration",
        Shape::Record(&[required("Enabled", Shape::Flag)]),
    ),
];

pub(super) const TYPES: &[ResourceType] = &[ResourceType {
    name: "AWS::StepFunctions::StateMachine",
    properties: PROPERTIES,
    attributes: &["Arn", "Name"],
    create: |making, artefacts| Box::pin(create(making, artefacts)),
    delete: |making, machine| Box::pin(delete(making, machine)),
}];

async fn create(making: &Making<'_>, artefacts: &dyn Artefacts) -> Result<Made, ApiError> {
    let name = making.name("StateMachineName", 80);
    let text = match (
        making.text("DefinitionS3Location"),
        making.text("DefinitionString"),
    ) {
        (Some(path), None) => artefacts.text(path).map_err(refused)?,
        (None, Some(text)) => text.to_owned(),
        _ => {
            return Err(refused(
                "one of DefinitionS3Location and DefinitionString must be given",
            ));
        }
    };
    let empty = Map::new();
    let substitutions = making
        .value("DefinitionSubstitutions")
        .and_then(Value::as_object);
    let definition = substituted(text, substitutions.unwrap_or(&empty))?;
    let mut request = json!({
        "name": name,
        "definition": definition,
        "roleArn": making.required("RoleArn"),
    });
    let others = [
        ("StateMachineType", "type"),
        ("LoggingConfiguration", "loggingConfiguration"),
        ("TracingConfiguration", "tracingConfiguration"),
        ("Tags", "tags"),
    ];
    for (name, value) in making.renamed(&others) {
        request[name] = lower_camel(value);
    }
    let answer = making
        .call("states", "AWSStepFunctions.CreateStateMachine", request)
        .await?;
    let arn = answer["stateMachineArn"].as_str().unwrap_or_default();
    Ok(Made::new(arn).with("Arn", arn).with("Name", name))
}

async fn delete(making: &Making<'_>, machine: &str) -> Result<(), ApiError> {
    let request = json!({ "stateMachineArn": machine });
    let gone = &["StateMachineDoesNotExist"];
    making
        .remove(
            "states",
            "AWSStepFunctions.DeleteStateMachine",
            request,
            gone,
        )
        .await
}

/// Replaces the placeholders. One without a substitution would reach the state machine as it is,
/// and a substitution without a placeholder is a step that nothing calls: both are mistakes.
fn substituted(definition: String, substitutions: &Map<String, Value>) -> Result<String, ApiError> {
    let placeholders = placeholders(&definition);
    let given: BTreeSet<&str> = substitutions.keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = placeholders.iter().map(String::as_str).collect();
    if let Some(missing) = wanted.difference(&given).next() {
        return Err(refused(format!(
            "the definition's placeholder ${{{missing}}} has no value in DefinitionSubstitutions"
        )));
    }
    if let Some(unused) = given.difference(&wanted).next() {
        return Err(refused(format!(
            "DefinitionSubstitutions.{unused}: the definition has no placeholder ${{{unused}}}"
        )));
    }
    Ok(substitutions
        .iter()
        .fold(definition, |definition, (name, value)| {
            definition.replace(&format!("${{{name}}}"), value.as_str().unwrap_or_default())
        }))
}

/// The names in `${...}`.
fn placeholders(definition: &str) -> BTreeSet<String> {
    let after = definition.split("${").skip(1);
    after
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned()))
        .collect()
}

/// The API's members begin with a small letter where the template's begin with a capital.
fn lower_camel(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(lower_camel).collect(),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| {
                let mut characters = name.chars();
                let first = characters.next().map(|first| first.to_ascii_lowercase());
                (
                    first.into_iter().chain(characters).collect::<String>(),
                    lower_camel(value),
                )
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        other => other,
    }
}
