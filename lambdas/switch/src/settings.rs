//! Settings that a target in quarantine must not have yet: the groups of its instances, which may preload what acts
//! by itself, and the Data API, which asks no security group.

use std::collections::BTreeMap;

use aurora_restore_core::errors::{AR0028, Kind, StepError};
use aurora_restore_core::{Context, Restore, rds};
use aws_sdk_rds::types::{DbCluster, DbInstance};

/// Asks for the final parameter groups of the instances. An error when it asked for one, so that the next call sees
/// what became of it. Without groups of one's own there is nothing to do.
pub(crate) async fn attach_instance_groups(
    context: &Context,
    restore: &Restore,
) -> Result<(), StepError> {
    let plan = restore.plan();
    if !has_instance_groups(restore) {
        return Ok(());
    }
    let client = context.aws.rds(&plan.target.region);
    let instances = find_instances(context, restore).await?;
    let mut asked_for = Vec::new();
    let names = plan.instance_identifiers();
    for (name, planned) in names.iter().zip(&plan.target.instances) {
        let attached = instances.get(name).and_then(group).map(|(group, _)| group);
        let group = &planned.parameter_group;
        if attached == Some(group) {
            continue;
        }
        let asked = client
            .modify_db_instance()
            .db_instance_identifier(name)
            .db_parameter_group_name(group)
            .apply_immediately(true)
            .send()
            .await;
        asked.map_err(|error| {
            StepError::from_sdk(
                format!("attach parameter group `{group}` to `{name}`"),
                error,
            )
        })?;
        asked_for.push(name.as_str());
    }
    if asked_for.is_empty() {
        return Ok(());
    }
    let names = asked_for.join("`, `");
    let text = format!("the parameter groups of `{names}` are being attached");
    Err(StepError::new(&AR0028, text))
}

/// Instances that wait for a reboot to have their group's parameters; an error while a group is being applied.
pub(crate) async fn awaiting_reboot(
    context: &Context,
    restore: &Restore,
) -> Result<Vec<String>, StepError> {
    if !has_instance_groups(restore) {
        return Ok(Vec::new());
    }
    let mut waiting = Vec::new();
    for (name, instance) in find_instances(context, restore).await? {
        match group(&instance).map(|(_, status)| status) {
            Some("pending-reboot") => waiting.push(name),
            Some("in-sync") | None => {}
            Some(status) => {
                let text = format!("the parameter group of `{name}` is `{status}`");
                return Err(StepError::new(&AR0028, text));
            }
        }
    }
    Ok(waiting)
}

fn has_instance_groups(restore: &Restore) -> bool {
    let plan = restore.plan();
    let default = plan.default_parameter_group();
    let mut instances = plan.target.instances.iter();
    instances.any(|instance| instance.parameter_group != default)
}

async fn find_instances(
    context: &Context,
    restore: &Restore,
) -> Result<BTreeMap<String, DbInstance>, StepError> {
    let plan = restore.plan();
    let client = context.aws.rds(&plan.target.region);
    let mut instances = BTreeMap::new();
    for name in plan.instance_identifiers() {
        if let Some(found) = rds::find_instance(&client, &name).await? {
            instances.insert(name, found);
        }
    }
    Ok(instances)
}

/// The name of an instance's parameter group, and how far it is applied.
fn group(instance: &DbInstance) -> Option<(&str, &str)> {
    let group = instance.db_parameter_groups().first()?;
    Some((
        group.db_parameter_group_name()?,
        group.parameter_apply_status()?,
    ))
}

/// Switches the Data API on where the plan has it. It is an operation of its own: neither a restore nor
/// `ModifyDBCluster` does it for provisioned clusters and Serverless v2 (RDS API reference).
pub(crate) async fn enable_data_api(
    context: &Context,
    restore: &Restore,
    cluster: &DbCluster,
) -> Result<(), StepError> {
    let target = &restore.plan().target;
    if !target.data_api || cluster.http_endpoint_enabled() == Some(true) {
        return Ok(());
    }
    let client = context.aws.rds(&target.region);
    let asked = client
        .enable_http_endpoint()
        .resource_arn(cluster.db_cluster_arn().unwrap_or(&target.arn))
        .send()
        .await;
    let Err(error) = asked else { return Ok(()) };
    let answered = error.as_service_error().is_some();
    let error = StepError::from_sdk("switch the Data API on", error);
    if answered && error.kind() != Kind::Transient {
        restore.record_not_in_service(context.clock.now()).await?; // RDS said no: nobody was let in
    }
    Err(error)
}
