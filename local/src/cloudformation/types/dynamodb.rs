//! DynamoDB: tables.

use serde_json::{Value, json};

use super::{Made, Making, ResourceType, refused};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::ApiError;

const KEY_SCHEMA: Shape = Shape::List(&Shape::Record(&[
    required("AttributeName", Shape::Text),
    required("KeyType", Shape::Text),
]));

const ATTRIBUTES: Shape = Shape::List(&Shape::Record(&[
    required("AttributeName", Shape::Text),
    required("AttributeType", Shape::Text),
]));

const RECOVERY: Shape = Shape::Record(&[
    optional("PointInTimeRecoveryEnabled", Shape::Flag),
    optional("RecoveryPeriodInDays", Shape::Integer),
]);

const PROPERTIES: &[Property] = &[
    optional("TableName", Shape::Text),
    optional("BillingMode", Shape::Text),
    required("AttributeDefinitions", ATTRIBUTES),
    required("KeySchema", KEY_SCHEMA),
    optional(
        "GlobalSecondaryIndexes",
        Shape::List(&Shape::Record(&[
            required("IndexName", Shape::Text),
            required("KeySchema", KEY_SCHEMA),
            required(
                "Projection",
                Shape::Record(&[
                    optional("ProjectionType", Shape::Text),
                    optional("NonKeyAttributes", TEXTS),
                ]),
            ),
        ])),
    ),
    optional(
        "TimeToLiveSpecification",
        Shape::Record(&[
            optional("AttributeName", Shape::Text),
            required("Enabled", Shape::Flag),
        ]),
    ),
    optional("PointInTimeRecoverySpecification", RECOVERY),
    optional(
        "SSESpecification",
        Shape::Record(&[
            required("SSEEnabled", Shape::Flag),
            optional("SSEType", Shape::Text),
            optional("KMSMasterKeyId", Shape::Text),
        ]),
    ),
    optional("DeletionProtectionEnabled", Shape::Flag),
    optional("TableClass", Shape::Text),
    optional("Tags", TAGS),
];

const GLOBAL_PROPERTIES: &[Property] = &[
    optional("TableName", Shape::Text),
    optional("BillingMode", Shape::Text),
    required("AttributeDefinitions", ATTRIBUTES),
    required("KeySchema", KEY_SCHEMA),
    optional("MultiRegionConsistency", Shape::Text),
    optional(
        "GlobalTableWitnesses",
        Shape::List(&Shape::Record(&[required("Region", Shape::Text)])),
    ),
    required(
        "Replicas",
        Shape::List(&Shape::Record(&[
            required("Region", Shape::Text),
            optional("DeletionProtectionEnabled", Shape::Flag),
            optional("PointInTimeRecoverySpecification", RECOVERY),
        ])),
    ),
    optional(
        "SSESpecification",
        Shape::Record(&[
            required("SSEEnabled", Shape::Flag),
            optional("SSEType", Shape::Text),
        ]),
    ),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::DynamoDB::Table",
        properties: PROPERTIES,
        attributes: &["Arn"],
        create: |making, _| Box::pin(create(making)),
        delete: |making, table| Box::pin(delete(making, table)),
    },
    ResourceType {
        name: "AWS::DynamoDB::GlobalTable",
        properties: GLOBAL_PROPERTIES,
        attributes: &["Arn"],
        create: |making, _| Box::pin(create_global(making)),
        delete: |making, table| Box::pin(delete(making, table)),
    },
];

/// Makes the table where the stack is, and then the replicas, as UpdateTable does.
async fn create_global(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("TableName", 255);
    let regions = |property: &str| -> Vec<&str> {
        let listed = making.value(property).and_then(Value::as_array);
        let listed = listed.into_iter().flatten();
        listed.filter_map(|one| one["Region"].as_str()).collect()
    };
    let replicas = regions("Replicas");
    if !replicas.contains(&making.caller.region.as_str()) {
        return Err(refused(format!(
            "Replicas must contain the Region of the stack: {}",
            making.caller.region
        )));
    }
    let mut request = making.picked(&["BillingMode", "AttributeDefinitions", "KeySchema"]);
    request.insert("TableName".to_owned(), name.as_str().into());
    let target = "DynamoDB_20120810.CreateTable";
    making
        .call("dynamodb", target, Value::Object(request))
        .await?;
    let create = |regions: Vec<&str>| -> Vec<Value> {
        let others = regions.into_iter();
        others
            .filter(|region| *region != making.caller.region)
            .map(|region| json!({"Create": {"RegionName": region}}))
            .collect()
    };
    let request = json!({
        "TableName": name,
        "MultiRegionConsistency": making.value("MultiRegionConsistency"),
        "ReplicaUpdates": create(replicas),
        "GlobalTableWitnessUpdates": create(regions("GlobalTableWitnesses")),
    });
    making
        .call("dynamodb", "DynamoDB_20120810.UpdateTable", request)
        .await?;
    Ok(Made::new(&name).with("Arn", making.arn("dynamodb", &format!("table/{name}"))))
}

async fn create(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("TableName", 255);
    let mut request = making.picked(&[
        "BillingMode",
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
        "Tags",
    ]);
    request.insert("TableName".to_owned(), name.as_str().into());
    making
        .call(
            "dynamodb",
            "DynamoDB_20120810.CreateTable",
            Value::Object(request),
        )
        .await?;
    if let Some(specification) = making.value("TimeToLiveSpecification") {
        let request = json!({ "TableName": name, "TimeToLiveSpecification": specification });
        making
            .call("dynamodb", "DynamoDB_20120810.UpdateTimeToLive", request)
            .await?;
    }
    Ok(Made::new(&name).with("Arn", making.arn("dynamodb", &format!("table/{name}"))))
}

async fn delete(making: &Making<'_>, table: &str) -> Result<(), ApiError> {
    // The engine keeps no protection; a table that the template protects is not deleted here either.
    if making.value("DeletionProtectionEnabled") == Some(&Value::Bool(true)) {
        return Err(refused(format!(
            "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first: {table}"
        )));
    }
    let request = json!({ "TableName": table });
    making
        .remove(
            "dynamodb",
            "DynamoDB_20120810.DeleteTable",
            request,
            &["ResourceNotFoundException"],
        )
        .await
}
