//! IAM: roles with their inline policies.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, optional, required};
use crate::request::ApiError;

const PROPERTIES: &[Property] = &[
    required("AssumeRolePolicyDocument", Shape::Document),
    optional("Description", Shape::Text),
    optional("MaxSessionDuration", Shape::Integer),
    optional(
        "Policies",
        Shape::List(&Shape::Record(&[
            required("PolicyName", Shape::Text),
            required("PolicyDocument", Shape::Document),
        ])),
    ),
    optional("RoleName", Shape::Text),
    optional("Tags", TAGS),
];

pub(super) const TYPES: &[ResourceType] = &[ResourceType {
    name: "AWS::IAM::Role",
    properties: PROPERTIES,
    attributes: &["Arn", "RoleId"],
    create: |making, _| Box::pin(async move { create(making) }),
    delete: |making, role| Box::pin(async move { delete(making, role) }),
}];

fn create(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("RoleName", 64);
    let mut policies = BTreeMap::new();
    for policy in making
        .value("Policies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = policy["PolicyName"].as_str().unwrap_or_default().to_owned();
        policies.insert(name, policy["PolicyDocument"].clone());
    }
    let trust = making
        .value("AssumeRolePolicyDocument")
        .cloned()
        .unwrap_or_default();
    let arn = making
        .world
        .iam()
        .put_role(&making.caller.account, &name, &trust, &policies)?;
    let id = format!("AROA{}", making.world.randomness().base32(17));
    Ok(Made::new(name).with("Arn", arn).with("RoleId", id))
}

fn delete(making: &Making<'_>, role: &str) -> Result<(), ApiError> {
    let arn = format!("arn:aws:iam::{}:role/{role}", making.caller.account);
    match making.world.iam().delete_role(&arn) {
        Err(error) if error.code != "NoSuchEntity" => Err(error),
        _ => Ok(()),
    }
}
