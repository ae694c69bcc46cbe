//! CloudWatch: alarms, as they were put.

use serde_json::{Value, json};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::ApiError;

const DIMENSIONS: Shape = Shape::List(&Shape::Record(&[
    required("Name", Shape::Text),
    required("Value", Shape::Text),
]));

const METRIC_STAT: Shape = Shape::Record(&[
    required(
        "Metric",
        Shape::Record(&[
            optional("Dimensions", DIMENSIONS),
            optional("MetricName", Shape::Text),
            optional("Namespace", Shape::Text),
        ]),
    ),
    required("Period", Shape::Integer),
    required("Stat", Shape::Text),
    optional("Unit", Shape::Text),
]);

const ALARM: &[Property] = &[
    optional("ActionsEnabled", Shape::Flag),
    optional("AlarmActions", TEXTS),
    optional("AlarmDescription", Shape::Text),
    optional("AlarmName", Shape::Text),
    required("ComparisonOperator", Shape::Text),
    optional("DatapointsToAlarm", Shape::Integer),
    optional("Dimensions", DIMENSIONS),
    required("EvaluationPeriods", Shape::Integer),
    optional("ExtendedStatistic", Shape::Text),
    optional("InsufficientDataActions", TEXTS),
    optional("MetricName", Shape::Text),
    optional(
        "Metrics",
        Shape::List(&Shape::Record(&[
            optional("AccountId", Shape::Text),
            optional("Expression", Shape::Text),
            required("Id", Shape::Text),
            optional("Label", Shape::Text),
            optional("MetricStat", METRIC_STAT),
            optional("Period", Shape::Integer),
            optional("ReturnData", Shape::Flag),
        ])),
    ),
    optional("Namespace", Shape::Text),
    optional("OKActions", TEXTS),
    optional("Period", Shape::Integer),
    optional("Statistic", Shape::Text),
    optional("Tags", TAGS),
    optional("Threshold", Shape::Number),
    optional("TreatMissingData", Shape::Text),
    optional("Unit", Shape::Text),
];

pub(super) const TYPES: &[ResourceType] = &[ResourceType {
    name: "AWS::CloudWatch::Alarm",
    properties: ALARM,
    attributes: &["Arn"],
    create: |making, _| Box::pin(create(making)),
    delete: |making, alarm| Box::pin(delete(making, alarm)),
}];

async fn create(making: &Making<'_>) -> Result<Made, ApiError> {
    let name = making.name("AlarmName", 255);
    let mut request = Value::Object(making.properties.clone());
    request["AlarmName"] = name.as_str().into();
    making
        .call(
            "monitoring",
            "GraniteServiceVersion20100801.PutMetricAlarm",
            request,
        )
        .await?;
    Ok(Made::new(&name).with("Arn", making.arn("cloudwatch", &format!("alarm:{name}"))))
}

async fn delete(making: &Making<'_>, alarm: &str) -> Result<(), ApiError> {
    let request = json!({ "AlarmNames": [alarm] });
    let target = "GraniteServiceVersion20100801.DeleteAlarms";
    making
        .remove(
            "monitoring",
            target,
            request,
            &["ResourceNotFoundException", "ResourceNotFound"],
        )
        .await
}
