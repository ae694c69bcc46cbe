//! IAM: roles with their policies, inline and managed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::ApiError;

const PROPERTIES: &[Property] = &[
    required("AssumeRolePolicyDocument", Shape::Document),
    optional("Description", Shape::Text),
    optional("ManagedPolicyArns", TEXTS),
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

const MANAGED_POLICY: &[Property] = &[
    optional("Description", Shape::Text),
    optional("ManagedPolicyName", Shape::Text),
    required("PolicyDocument", Shape::Document),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::IAM::ManagedPolicy",
        properties: MANAGED_POLICY,
        attributes: &["PolicyArn"],
        create: |making, _| Box::pin(async move { create_managed_policy(making) }),
        delete: |making, arn| {
            making.world.iam().delete_managed_policy(arn);
            Box::pin(async move { Ok(()) })
        },
    },
    ResourceType {
        name: "AWS::IAM::Role",
        properties: PROPERTIES,
        attributes: &["Arn", "RoleId"],
        create: |making, _| Box::pin(async move { create(making) }),
        delete: |making, role| Box::pin(async move { delete(making, role) }),
    },
];

fn create_managed_policy(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("ManagedPolicyName", 128);
    let document = making.value("PolicyDocument").cloned().unwrap_or_default();
    let iam = making.world.iam();
    let arn = iam.put_managed_policy(&making.caller.account, &name, &document)?;
    Ok(Made::new(arn.clone()).with("PolicyArn", arn))
}

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
    for arn in making
        .value("ManagedPolicyArns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let document = making.world.iam().managed_policy(arn).ok_or_else(|| {
            ApiError::new(
                404,
                "NoSuchEntity",
                format!("Policy {arn} does not exist or is not attachable."),
            )
        })?;
        policies.insert(arn.to_owned(), document);
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
