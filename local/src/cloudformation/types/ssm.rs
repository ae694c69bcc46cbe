//! Systems Manager: parameters.

use serde_json::{Value, json};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, optional, required};
use crate::request::ApiError;

const PARAMETER: &[Property] = &[
    optional("DataType", Shape::Text),
    optional("Description", Shape::Text),
    optional("Name", Shape::Text),
    optional("Tags", Shape::Map(&Shape::Text)),
    optional("Tier", Shape::Text),
    required("Type", Shape::Text),
    required("Value", Shape::Text),
];

pub(super) const TYPES: &[ResourceType] = &[ResourceType {
    name: "AWS::SSM::Parameter",
    properties: PARAMETER,
    attributes: &["Type", "Value"],
    create: |making, _| Box::pin(create(making)),
    delete: |making, parameter| Box::pin(delete(making, parameter)),
}];

async fn create(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("Name", 1_011);
    let mut request = making.picked(&["Description", "Tier", "Type", "Value"]);
    request.insert("Name".to_owned(), name.as_str().into());
    let tag = |(key, value): (&String, &Value)| json!({ "Key": key, "Value": value });
    if let Some(Value::Object(tags)) = making.value("Tags") {
        request.insert("Tags".to_owned(), tags.iter().map(tag).collect());
    }
    making
        .call("ssm", "AmazonSSM.PutParameter", Value::Object(request))
        .await?;
    let (kind, value) = (making.required("Type"), making.required("Value"));
    Ok(Made::new(name).with("Type", kind).with("Value", value))
}

async fn delete(making: &Making<'_>, parameter: &str) -> Result<(), ApiError> {
    let request = json!({ "Name": parameter });
    making
        .remove(
            "ssm",
            "AmazonSSM.DeleteParameter",
            request,
            &["ParameterNotFound"],
        )
        .await
}
