//! Where the target will be: its subnet group, and the security groups that it gets there.

use std::time::Duration;

use aurora_restore_core::errors::{AR0057, wire_code};
use aurora_restore_core::{Context, Plan, StepError};
use aws_sdk_cloudcontrol::config::timeout::TimeoutConfig;
use serde_json::Value;

use crate::finding::Finding;

/// What Cloud Control calls a security group.
const SECURITY_GROUP: &str = "AWS::EC2::SecurityGroup";
/// An API that takes longer is left alone: Switch finds out, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// The subnet group exists, and so do the security groups, in its VPC.
pub(crate) async fn network(
    context: &Context,
    client: &aws_sdk_rds::Client,
    plan: &Plan,
) -> Vec<Finding> {
    let subnet = &plan.target.subnet_group;
    let (vpc, answer) = match vpc_of(client, subnet).await {
        Ok(vpc) => (vpc.clone(), Ok(format!("exists, in {vpc}"))),
        Err(error) => (String::new(), Err(error)),
    };
    let mut found = vec![Finding::of("subnet group", subnet, answer)];
    let quarantine = plan.quarantine_security_group_ids.iter();
    let quarantine =
        quarantine.map(|id| (id, "`quarantineSecurityGroupIds` of the deployed settings"));
    let last = plan.target.security_group_ids.iter();
    let last = last.map(|id| (id, "`target.securityGroupIds`"));
    for (id, field) in quarantine.chain(last) {
        if vpc.is_empty() {
            let text = format!("not asked: the VPC of subnet group `{subnet}` is not known");
            found.push(Finding::open("security group", id, text));
            continue;
        }
        found.push(security_group(context, plan, id, field, &vpc).await);
    }
    found
}

async fn vpc_of(client: &aws_sdk_rds::Client, subnet_group: &str) -> Result<String, StepError> {
    let described = client
        .describe_db_subnet_groups()
        .db_subnet_group_name(subnet_group)
        .send()
        .await;
    let described = described.map_err(|error| {
        StepError::from_sdk(format!("describe subnet group `{subnet_group}`"), error)
    })?;
    let group = described.db_subnet_groups().first();
    let vpc = group.and_then(|group| group.vpc_id());
    Ok(vpc.unwrap_or_default().to_owned())
}

async fn security_group(
    context: &Context,
    plan: &Plan,
    id: &str,
    field: &str,
    wanted: &str,
) -> Finding {
    const CHECK: &str = "security group";
    let (region, subnet) = (&plan.target.region, &plan.target.subnet_group);
    let refuse = |text: String| {
        let text = format!("at {field}: {text}");
        Finding::of(CHECK, id, Err(StepError::new(&AR0057, text)))
    };
    match described(context, region, id).await {
        Ok(Some(vpc)) if vpc == wanted => {
            Finding::of(CHECK, id, Ok(format!("exists, in {wanted}")))
        }
        Ok(Some(vpc)) => refuse(format!(
            "security group `{id}` is in `{vpc}`, expected one of `{wanted}`, the VPC of subnet group `{subnet}`"
        )),
        Ok(None) => refuse(format!("there is no security group `{id}` in {region}")),
        // A group that cannot be looked at is no group that is not there.
        Err(error) => Finding::unasked(CHECK, id, &error),
    }
}

/// The VPC of a security group; `None` when there is no such group.
async fn described(context: &Context, region: &str, id: &str) -> Result<Option<String>, StepError> {
    let patience = TimeoutConfig::builder().operation_timeout(PATIENCE).build();
    let asked = context
        .aws
        .cloud_control(region)
        .get_resource()
        .type_name(SECURITY_GROUP)
        .identifier(id)
        .customize()
        .config_override(aws_sdk_cloudcontrol::config::Builder::new().timeout_config(patience))
        .send()
        .await;
    let answer = match asked {
        Ok(answer) => answer,
        // What is no id of a group at all is refused as such.
        Err(error)
            if matches!(
                wire_code(&error),
                Some("ResourceNotFoundException" | "InvalidRequestException")
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            let action = format!("look at security group `{id}`");
            return Err(StepError::from_sdk(action, error));
        }
    };
    let description = answer.resource_description();
    let properties = description.and_then(|description| description.properties());
    let properties: Value =
        serde_json::from_str(properties.unwrap_or_default()).unwrap_or_default();
    match properties["VpcId"].as_str() {
        Some(vpc) => Ok(Some(vpc.to_owned())),
        None => Err(StepError::defect(format!(
            "the description of security group `{id}` names no VPC"
        ))),
    }
}
