//! Compares what RDS made with what was planned.
//!
//! What a restore call leaves out, or what RDS ignores, falls back to a default
//! without a word; here it is noticed.

use aurora_restore_core::errors::AR0023;
use aurora_restore_core::plan::Plan;
use aurora_restore_core::{Context, StepError, rds};
use aws_sdk_rds::types::DbCluster;

use crate::{Checked, checked};

/// One finding per setting.
pub(crate) async fn compare(
    context: &Context,
    plan: &Plan,
    cluster: &DbCluster,
) -> Result<Vec<Checked>, StepError> {
    let target = &plan.target;
    let storage_type = cluster
        .storage_type()
        .filter(|kind| !kind.is_empty())
        .unwrap_or("aurora");
    let encrypted = cluster.storage_encrypted().unwrap_or(false) || cluster.kms_key_id().is_some();
    let scaling = cluster
        .serverless_v2_scaling_configuration()
        .and_then(|scaling| Some((scaling.min_capacity()?, scaling.max_capacity()?)));
    let planned_scaling = target
        .serverless_scaling
        .as_ref()
        .map(|scaling| (scaling.min_capacity, scaling.max_capacity));
    let mut found = vec![
        same(
            "engine version",
            cluster.engine_version().unwrap_or_default(),
            &plan.source.engine_version,
        ),
        same(
            "port",
            &cluster.port().unwrap_or(0).to_string(),
            &target.port.to_string(),
        ),
        same(
            "subnet group",
            cluster.db_subnet_group().unwrap_or_default(),
            &target.subnet_group,
        ),
        same(
            "cluster parameter group in quarantine",
            cluster.db_cluster_parameter_group().unwrap_or_default(),
            &plan.quarantine_parameter_group,
        ),
        same_set(
            "security groups in quarantine",
            cluster
                .vpc_security_groups()
                .iter()
                .filter_map(|group| group.vpc_security_group_id()),
            &plan.quarantine_security_group_ids,
        ),
        same("storage type", storage_type, &target.storage_type),
        same(
            "backup retention",
            &cluster.backup_retention_period().unwrap_or(0).to_string(),
            &target.backup_retention_days.to_string(),
        ),
        same(
            "IAM authentication",
            &cluster
                .iam_database_authentication_enabled()
                .unwrap_or(false)
                .to_string(),
            &target.iam_authentication.to_string(),
        ),
        same_set(
            "log exports",
            cluster
                .enabled_cloudwatch_logs_exports()
                .iter()
                .map(String::as_str),
            &target.log_exports,
        ),
        same(
            "serverless scaling",
            &format!("{scaling:?}"),
            &format!("{planned_scaling:?}"),
        ),
    ];
    if plan.source.encrypted || target.kms_key_id.is_some() {
        found.push(same("encrypted", &encrypted.to_string(), "true"));
    }
    if let Some(key) = plan
        .target
        .kms_key_id
        .as_deref()
        .filter(|key| rds::is_arn(key))
    {
        found.push(same("key", cluster.kms_key_id().unwrap_or_default(), key));
    }
    found.extend(instances(context, plan).await?);
    Ok(found)
}

async fn instances(context: &Context, plan: &Plan) -> Result<Vec<Checked>, StepError> {
    let client = context.aws.rds(&plan.target.region);
    let mut found = Vec::new();
    for identifier in plan.instance_identifiers() {
        let instance = rds::find_instance(&client, &identifier).await?;
        let class = instance
            .as_ref()
            .and_then(|instance| instance.db_instance_class())
            .unwrap_or("missing");
        found.push(same(
            &format!("class of {identifier}"),
            class,
            &plan.target.instance_class,
        ));
    }
    Ok(found)
}

fn same(what: &str, found: &str, planned: &str) -> Checked {
    let passed = found == planned;
    let detail = if passed {
        found.to_owned()
    } else {
        format!("`{found}`, planned `{planned}`")
    };
    checked(format!("setting: {what}"), passed, detail, &AR0023)
}

fn same_set<'a>(what: &str, found: impl Iterator<Item = &'a str>, planned: &[String]) -> Checked {
    let mut found: Vec<&str> = found.collect();
    let mut planned: Vec<&str> = planned.iter().map(String::as_str).collect();
    found.sort_unstable();
    planned.sort_unstable();
    same(what, &found.join(", "), &planned.join(", "))
}
