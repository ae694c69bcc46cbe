//! Types that are checked and written down in their stack, and nothing else.
//!
//! Nothing in the local cloud observes them: [`RECORDS`] says why, one by one.

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::{Made, Making, ResourceType};
use crate::cloudformation::shape::{Property, Shape, TAGS, TEXTS, optional, required};
use crate::request::ApiError;

/// The types that exist as a record only, and why that is enough.
pub const RECORDS: [(&str, &str); 14] = [
    ("AWS::Budgets::Budget", "nothing is billed"),
    (
        "AWS::CloudWatch::CompositeAlarm",
        "alarms are kept and not evaluated",
    ),
    (
        "AWS::CloudWatch::Dashboard",
        "there is no console to show it",
    ),
    (
        "AWS::EC2::SecurityGroup",
        "servers listen on the loopback interface; RDS keeps groups by name, and Cloud Control tells their VPC",
    ),
    ("AWS::EC2::SecurityGroupEgress", "as security groups"),
    ("AWS::EC2::SecurityGroupIngress", "as security groups"),
    (
        "AWS::EC2::VPCEndpoint",
        "every service is at one endpoint, reachable from everywhere",
    ),
    (
        "AWS::Logs::LogGroup",
        "lines of functions are kept with the function, as long as the cloud runs",
    ),
    (
        "AWS::Logs::MetricFilter",
        "metrics come from Embedded Metric Format",
    ),
    (
        "AWS::Logs::QueryDefinition",
        "there is no Logs Insights to run it",
    ),
    (
        "AWS::Logs::ResourcePolicy",
        "nothing delivers logs from outside",
    ),
    ("AWS::SSM::Document", "there is no Automation to run it"),
    (
        "AWS::Scheduler::ScheduleGroup",
        "schedules are kept by the name of their group",
    ),
    ("AWS::XRay::Group", "there are no traces"),
];

const RULE: &[Property] = &[
    optional("CidrIp", Shape::Text),
    optional("CidrIpv6", Shape::Text),
    optional("Description", Shape::Text),
    optional("DestinationPrefixListId", Shape::Text),
    optional("DestinationSecurityGroupId", Shape::Text),
    optional("FromPort", Shape::Integer),
    required("IpProtocol", Shape::Text),
    optional("SourcePrefixListId", Shape::Text),
    optional("SourceSecurityGroupId", Shape::Text),
    optional("ToPort", Shape::Integer),
];

const INGRESS: &[Property] = &[
    optional("CidrIp", Shape::Text),
    optional("CidrIpv6", Shape::Text),
    optional("Description", Shape::Text),
    optional("FromPort", Shape::Integer),
    required("GroupId", Shape::Text),
    required("IpProtocol", Shape::Text),
    optional("SourcePrefixListId", Shape::Text),
    optional("SourceSecurityGroupId", Shape::Text),
    optional("ToPort", Shape::Integer),
];

const EGRESS: &[Property] = &[
    optional("CidrIp", Shape::Text),
    optional("CidrIpv6", Shape::Text),
    optional("Description", Shape::Text),
    optional("DestinationPrefixListId", Shape::Text),
    optional("DestinationSecurityGroupId", Shape::Text),
    optional("FromPort", Shape::Integer),
    required("GroupId", Shape::Text),
    required("IpProtocol", Shape::Text),
    optional("ToPort", Shape::Integer),
];

const SECURITY_GROUP: &[Property] = &[
    required("GroupDescription", Shape::Text),
    optional("GroupName", Shape::Text),
    optional("SecurityGroupEgress", Shape::List(&Shape::Record(RULE))),
    optional("SecurityGroupIngress", Shape::List(&Shape::Record(RULE))),
    optional("Tags", TAGS),
    optional("VpcId", Shape::Text),
];

const VPC_ENDPOINT: &[Property] = &[
    optional("PolicyDocument", Shape::Document),
    optional("PrivateDnsEnabled", Shape::Flag),
    optional("RouteTableIds", TEXTS),
    optional("SecurityGroupIds", TEXTS),
    required("ServiceName", Shape::Text),
    optional("SubnetIds", TEXTS),
    optional("Tags", TAGS),
    optional("VpcEndpointType", Shape::Text),
    required("VpcId", Shape::Text),
];

const LOG_GROUP: &[Property] = &[
    optional("KmsKeyId", Shape::Text),
    optional("LogGroupClass", Shape::Text),
    optional("LogGroupName", Shape::Text),
    optional("RetentionInDays", Shape::Integer),
    optional("Tags", TAGS),
];

const METRIC_FILTER: &[Property] = &[
    optional("FilterName", Shape::Text),
    required("FilterPattern", Shape::Text),
    required("LogGroupName", Shape::Text),
    required(
        "MetricTransformations",
        Shape::List(&Shape::Record(&[
            optional("DefaultValue", Shape::Number),
            optional(
                "Dimensions",
                Shape::List(&Shape::Record(&[
                    required("Key", Shape::Text),
                    required("Value", Shape::Text),
                ])),
            ),
            required("MetricName", Shape::Text),
            required("MetricNamespace", Shape::Text),
            required("MetricValue", Shape::Text),
            optional("Unit", Shape::Text),
        ])),
    ),
];

const QUERY_DEFINITION: &[Property] = &[
    optional("LogGroupNames", TEXTS),
    required("Name", Shape::Text),
    optional("QueryLanguage", Shape::Text),
    required("QueryString", Shape::Text),
];

const RESOURCE_POLICY: &[Property] = &[
    required("PolicyDocument", Shape::Text),
    required("PolicyName", Shape::Text),
];

const COMPOSITE_ALARM: &[Property] = &[
    optional("ActionsEnabled", Shape::Flag),
    optional("AlarmActions", TEXTS),
    optional("AlarmDescription", Shape::Text),
    optional("AlarmName", Shape::Text),
    required("AlarmRule", Shape::Text),
    optional("OKActions", TEXTS),
    optional("Tags", TAGS),
];

const DASHBOARD: &[Property] = &[
    required("DashboardBody", Shape::Text),
    optional("DashboardName", Shape::Text),
];

const DOCUMENT: &[Property] = &[
    required("Content", Shape::Document),
    optional("DocumentFormat", Shape::Text),
    optional("DocumentType", Shape::Text),
    optional("Name", Shape::Text),
    optional("Tags", TAGS),
    optional("TargetType", Shape::Text),
    optional("UpdateMethod", Shape::Text),
    optional("VersionName", Shape::Text),
];

const SPEND: Shape = Shape::Record(&[
    required("Amount", Shape::Number),
    required("Unit", Shape::Text),
]);

const BUDGET: &[Property] = &[
    required(
        "Budget",
        Shape::Record(&[
            optional("BudgetLimit", SPEND),
            optional("BudgetName", Shape::Text),
            required("BudgetType", Shape::Text),
            optional("CostFilters", Shape::Document),
            optional("CostTypes", Shape::Document),
            optional("FilterExpression", Shape::Document),
            optional("Metrics", TEXTS),
            required("TimeUnit", Shape::Text),
        ]),
    ),
    optional(
        "NotificationsWithSubscribers",
        Shape::List(&Shape::Record(&[
            required(
                "Notification",
                Shape::Record(&[
                    required("ComparisonOperator", Shape::Text),
                    required("NotificationType", Shape::Text),
                    required("Threshold", Shape::Number),
                    optional("ThresholdType", Shape::Text),
                ]),
            ),
            required(
                "Subscribers",
                Shape::List(&Shape::Record(&[
                    required("Address", Shape::Text),
                    required("SubscriptionType", Shape::Text),
                ])),
            ),
        ])),
    ),
];

const SCHEDULE_GROUP: &[Property] = &[optional("Name", Shape::Text), optional("Tags", TAGS)];

const TRACE_GROUP: &[Property] = &[
    optional("FilterExpression", Shape::Text),
    required("GroupName", Shape::Text),
    optional("Tags", TAGS),
];

pub(super) const TYPES: &[ResourceType] = &[
    ResourceType {
        name: "AWS::Budgets::Budget",
        properties: BUDGET,
        attributes: &[],
        create: |making, _| recorded(Made::new(making.name("", 100))),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::CloudWatch::CompositeAlarm",
        properties: COMPOSITE_ALARM,
        attributes: &["Arn"],
        create: |making, _| recorded(named(making, "AlarmName", "cloudwatch", "alarm:", "")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::CloudWatch::Dashboard",
        properties: DASHBOARD,
        attributes: &[],
        create: |making, _| recorded(Made::new(making.name("DashboardName", 255))),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::EC2::SecurityGroup",
        properties: SECURITY_GROUP,
        attributes: &["GroupId", "VpcId"],
        create: |making, _| recorded(security_group(making)),
        delete: delete_security_group,
    },
    ResourceType {
        name: "AWS::EC2::SecurityGroupEgress",
        properties: EGRESS,
        attributes: &["Id"],
        create: |making, _| recorded(with_id(making, "Id", "sgr-0")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::EC2::SecurityGroupIngress",
        properties: INGRESS,
        attributes: &["Id"],
        create: |making, _| recorded(with_id(making, "Id", "sgr-0")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::EC2::VPCEndpoint",
        properties: VPC_ENDPOINT,
        attributes: &["Id"],
        create: |making, _| recorded(with_id(making, "Id", "vpce-0")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::Logs::LogGroup",
        properties: LOG_GROUP,
        attributes: &["Arn"],
        create: |making, _| recorded(named(making, "LogGroupName", "logs", "log-group:", ":*")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::Logs::MetricFilter",
        properties: METRIC_FILTER,
        attributes: &[],
        create: |making, _| recorded(Made::new(making.name("FilterName", 512))),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::Logs::QueryDefinition",
        properties: QUERY_DEFINITION,
        attributes: &["QueryDefinitionId"],
        create: |making, _| recorded(with_id(making, "QueryDefinitionId", "")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::Logs::ResourcePolicy",
        properties: RESOURCE_POLICY,
        attributes: &[],
        create: |making, _| recorded(Made::new(making.name("PolicyName", 512))),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::SSM::Document",
        properties: DOCUMENT,
        attributes: &[],
        create: |making, _| recorded(Made::new(making.name("Name", 128))),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::Scheduler::ScheduleGroup",
        properties: SCHEDULE_GROUP,
        attributes: &["Arn"],
        create: |making, _| recorded(named(making, "Name", "scheduler", "schedule-group/", "")),
        delete: nothing,
    },
    ResourceType {
        name: "AWS::XRay::Group",
        properties: TRACE_GROUP,
        attributes: &["GroupARN"],
        create: |making, _| recorded(trace_group(making)),
        delete: nothing,
    },
];

fn recorded<'a>(made: Made) -> BoxFuture<'a, Result<Made, ApiError>> {
    ready(Ok(made)).boxed()
}

fn nothing<'a>(
    _making: &'a Making<'a>,
    _physical_id: &'a str,
) -> BoxFuture<'a, Result<(), ApiError>> {
    ready(Ok(())).boxed()
}

fn named(making: &Making<'_>, property: &str, service: &str, before: &str, after: &str) -> Made {
    let name = making.name(property, 255);
    let arn = making.arn(service, &format!("{before}{name}{after}"));
    Made::new(name).with("Arn", arn)
}

fn with_id(making: &Making<'_>, attribute: &'static str, beginning: &str) -> Made {
    let id = match beginning {
        "" => making.world.randomness().uuid(),
        beginning => format!("{beginning}{}", hexadecimal(making)),
    };
    Made::new(&id).with(attribute, &id)
}

fn hexadecimal(making: &Making<'_>) -> String {
    making
        .world
        .randomness()
        .simple_uuid()
        .chars()
        .take(16)
        .collect()
}

/// The id says which group it is, so that reports and tests can be read: `QuarantineSecurityGroup`
/// is `sg-0quarantine`. On AWS it would be seventeen hexadecimal digits.
fn security_group(making: &Making<'_>) -> Made {
    let name = making
        .logical_id
        .trim_end_matches("SecurityGroup")
        .to_lowercase();
    let id = making.groups.with(making.caller, |groups| {
        let mut numbers = (2..).map(|number| format!("sg-0{name}{number}"));
        let mut id = format!("sg-0{name}");
        while !groups.insert(id.clone()) {
            id = numbers.next().unwrap_or_default();
        }
        id
    });
    let vpc = making.text("VpcId").unwrap_or_default();
    making.world.security_groups().put(making.caller, &id, vpc);
    Made::new(&id).with("GroupId", &id).with("VpcId", vpc)
}

fn delete_security_group<'a>(
    making: &'a Making<'a>,
    id: &'a str,
) -> BoxFuture<'a, Result<(), ApiError>> {
    making
        .groups
        .with(making.caller, |groups| groups.remove(id));
    making.world.security_groups().remove(making.caller, id);
    nothing(making, id)
}

fn trace_group(making: &Making<'_>) -> Made {
    let name = making.required("GroupName");
    let arn = making.arn("xray", &format!("group/{name}/{}", hexadecimal(making)));
    Made::new(&arn).with("GroupARN", &arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_its_reason() {
        let types: Vec<&str> = TYPES.iter().map(|kind| kind.name).collect();
        let reasons: Vec<&str> = RECORDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(types, reasons);
    }
}
