//! The committed templates.

use serde_json::json;

use crate::{ask, cloud, create, root};

const PIPELINE: &str = include_str!("../../../cloudformation/pipeline.yaml");
const MONITORING: &str = include_str!("../../../cloudformation/monitoring.yaml");
const RUNBOOK: &str = include_str!("../../../cloudformation/runbook.yaml");
const SOURCE_ACCOUNT: &str = include_str!("../../../cloudformation/source-account.yaml");

const PARAMETERS: [(&str, &str); 4] = [
    ("TargetClusterNames", "*-staging"),
    (
        "SourceSecretArns",
        "arn:aws:secretsmanager:*:*:secret:rds!cluster-*",
    ),
    ("VpcId", "vpc-0123456789abcdef0"),
    (
        "SubnetIds",
        "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    ),
];

#[tokio::test(start_paused = true)]
async fn the_committed_pipeline_deploys() {
    let cloud = cloud();
    let stack = create(&cloud, PIPELINE, &PARAMETERS).await.unwrap();
    assert_eq!(
        stack.outputs()["QuarantineSecurityGroupId"],
        "sg-0quarantine"
    );
    assert_eq!(stack.outputs()["StateTableName"], "orders-state");
}

#[tokio::test(start_paused = true)]
async fn the_committed_pipeline_deploys_with_endpoints() {
    let parameters = [
        ("CreateVpcEndpoints", "true"),
        ("RouteTableIds", "rtb-0123456789abcdef0"),
    ];
    let stack = create(
        &cloud(),
        PIPELINE,
        &[&PARAMETERS[..], &parameters[..]].concat(),
    )
    .await
    .unwrap();
    assert!(stack.resource("DynamoDbEndpoint").is_some());
}

#[tokio::test(start_paused = true)]
async fn endpoints_without_route_tables_are_refused() {
    let parameters = [&PARAMETERS[..], &[("CreateVpcEndpoints", "true")]].concat();
    let error = create(&cloud(), PIPELINE, &parameters).await.unwrap_err();
    assert!(error.to_string().contains("RouteTableIds"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_committed_pipeline_deploys_with_a_schedule() {
    let cloud = cloud();
    let parameters = [
        ("ScheduleName", "nightly"),
        ("ScheduledRequest", r#"{"profile":"orders"}"#),
    ];
    let stack = create(
        &cloud,
        PIPELINE,
        &[&PARAMETERS[..], &parameters[..]].concat(),
    )
    .await
    .unwrap();
    assert_eq!(
        stack.resource("RestoreSchedule").unwrap().physical_id(),
        "orders-nightly"
    );
    let error = cloud.cloudformation().delete_stack(&root(), "orders").await;
    assert_eq!(error, Ok(()), "the state table is retained, all else goes");
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_the_pipeline_deploys() {
    let topic = (
        "OutcomesTopicArn",
        "arn:aws:sns:eu-west-1:123456789012:orders-outcomes",
    );
    let cloud = cloud();
    create(&cloud, MONITORING, &[topic, ("MonthlyBudget", "500")])
        .await
        .unwrap();
    let alarms = ask(
        &cloud,
        "monitoring",
        "GraniteServiceVersion20100801.DescribeAlarms",
        json!({}),
    )
    .await;
    assert!(!alarms["MetricAlarms"].as_array().unwrap().is_empty());
    let runbook = [
        (
            "PipelineKeyArn",
            "arn:aws:kms:eu-west-1:123456789012:key/0e520eaa-c3c4-4ab1-9099-9c8c6d5d4e9d",
        ),
        ("ApproverArns", "arn:aws:iam::123456789012:role/approvers"),
    ];
    create(&crate::cloud(), RUNBOOK, &runbook).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_source_accounts_part_deploys_and_its_schedule_says_that_automation_is_not_here() {
    let parameters = [
        ("SourceCluster", "orders-prod"),
        ("PipelineAccountId", "210987654321"),
        ("ScheduleExpression", "rate(1 hour)"),
        ("ScheduleState", "ENABLED"),
    ];
    let cloud = cloud();
    create(&cloud, SOURCE_ACCOUNT, &parameters).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3 * 3600)).await;
    let letters = cloud.scheduler().dead_letters();
    assert_eq!(letters[0].attributes["ERROR_CODE"], "NotImplemented");
    assert_eq!(
        letters[0].attributes["ERROR_MESSAGE"],
        "the local cloud's schedules cannot call ssm:startAutomationExecution"
    );
}

#[tokio::test(start_paused = true)]
async fn a_schedule_without_a_request_is_refused() {
    let parameters = [&PARAMETERS[..], &[("ScheduleName", "nightly")]].concat();
    let error = create(&cloud(), PIPELINE, &parameters)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("rule `ScheduleHasARequest`: "), "{error}");
}
