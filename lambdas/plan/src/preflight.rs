//! What would fail later is refused now, before anything is made.

use std::collections::BTreeSet;

use aurora_restore_core::errors::{
    AR0001, AR0006, AR0009, AR0010, AR0011, AR0016, AR0024, wire_code,
};
use aurora_restore_core::plan::{CopyReason, SnapshotCopy};
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::{Context, Plan, StepError, ownership, queue, rds};
use aws_sdk_kms::types::KeyState;

/// Checks target, groups, class, quotas and key.
pub(crate) async fn check(context: &Context, plan: &Plan) -> Result<(), StepError> {
    let client = context.aws.rds(&plan.target.region);
    target_is_free(&client, plan).await?;
    source_secret_exists(context, plan).await?;
    own_secret_is_free(context, plan).await?;
    serverless_has_scaling(plan)?;
    groups_exist(&client, plan).await?;
    class_is_offered(&client, plan).await?;
    quotas_suffice(&client, plan).await?;
    copies_have_room(context, plan).await?;
    key_is_usable(context, plan).await
}

async fn target_is_free(client: &aws_sdk_rds::Client, plan: &Plan) -> Result<(), StepError> {
    let name = &plan.target.cluster_identifier;
    match rds::find_cluster(client, name).await? {
        Some(found)
            if found.db_cluster_resource_id().is_some()
                && found.db_cluster_resource_id() == plan.source.cluster_resource_id.as_deref() =>
        {
            Err(StepError::new(
                &AR0006,
                format!("`{name}` is the cluster that the data is of"),
            ))
        }
        Some(found) if !ownership::is_tagged(found.tag_list(), &plan.restore_id) => {
            Err(StepError::new(
                &AR0009,
                format!(
                    "cluster `{name}` is there already, `{}`",
                    found.status().unwrap_or("?")
                ),
            ))
        }
        _ => Ok(()),
    }?;
    for name in plan.instance_identifiers() {
        if let Some(found) = rds::find_instance(client, &name).await?
            && !ownership::is_tagged(found.tag_list(), &plan.restore_id)
        {
            return Err(StepError::new(
                &AR0009,
                format!("instance `{name}` is there already"),
            ));
        }
    }
    Ok(())
}

async fn source_secret_exists(context: &Context, plan: &Plan) -> Result<(), StepError> {
    let secret = &plan.source_master_secret_arn;
    match context
        .aws
        .secrets_manager_of(secret)
        .describe_secret()
        .secret_id(secret)
        .send()
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => Err(
            StepError::new(&AR0024, format!("there is no secret `{secret}`")),
        ),
        Err(error) => Err(StepError::from_sdk(
            format!("describe secret `{secret}`"),
            error,
        )),
    }
}

/// A secret of that name is somebody's, such as an earlier restore's.
async fn own_secret_is_free(context: &Context, plan: &Plan) -> Result<(), StepError> {
    if plan.master_password != MasterPassword::Secret {
        return Ok(());
    }
    let name = &plan.secret_name;
    match context
        .aws
        .secrets_manager()
        .describe_secret()
        .secret_id(name)
        .send()
        .await
    {
        Ok(_) => Err(StepError::new(
            &AR0009,
            format!("secret `{name}` is there already"),
        )),
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => Ok(()),
        Err(error) => Err(StepError::from_sdk(
            format!("describe secret `{name}`"),
            error,
        )),
    }
}

fn serverless_has_scaling(plan: &Plan) -> Result<(), StepError> {
    let target = &plan.target;
    let serverless = target
        .instances
        .iter()
        .any(|instance| instance.class == "db.serverless");
    if serverless && target.serverless_scaling.is_none() {
        return Err(StepError::new(
            &AR0001,
            "at `target.serverlessScaling`: absent, and the source has none to take; expected minCapacity and maxCapacity for db.serverless",
        ));
    }
    Ok(())
}

async fn groups_exist(client: &aws_sdk_rds::Client, plan: &Plan) -> Result<(), StepError> {
    let target = &plan.target;
    let subnet = client
        .describe_db_subnet_groups()
        .db_subnet_group_name(&target.subnet_group)
        .send()
        .await;
    if let Err(error) = subnet {
        return Err(StepError::from_sdk(
            format!("describe subnet group `{}`", target.subnet_group),
            error,
        ));
    }
    for group in [
        &target.cluster_parameter_group,
        &plan.quarantine_parameter_group,
    ] {
        let described = client
            .describe_db_cluster_parameter_groups()
            .db_cluster_parameter_group_name(group)
            .send()
            .await;
        if let Err(error) = described {
            return Err(StepError::from_sdk(
                format!("describe cluster parameter group `{group}`"),
                error,
            ));
        }
    }
    for instance in &target.instances {
        let group = &instance.parameter_group;
        let described = client
            .describe_db_parameter_groups()
            .db_parameter_group_name(group)
            .send()
            .await;
        if let Err(error) = described {
            return Err(StepError::from_sdk(
                format!("describe parameter group `{group}`"),
                error,
            ));
        }
    }
    Ok(())
}

async fn class_is_offered(client: &aws_sdk_rds::Client, plan: &Plan) -> Result<(), StepError> {
    let classes: BTreeSet<&str> = plan
        .target
        .instances
        .iter()
        .map(|instance| instance.class.as_str())
        .collect();
    for class in classes {
        class_is_offered_here(client, plan, class).await?;
    }
    Ok(())
}

async fn class_is_offered_here(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    class: &str,
) -> Result<(), StepError> {
    let (engine, version) = (plan.source.engine, &plan.source.engine_version);
    let offered = client
        .describe_orderable_db_instance_options()
        .engine(engine)
        .engine_version(version)
        .db_instance_class(class)
        .send()
        .await
        .map_err(|error| StepError::from_sdk(format!("ask whether `{class}` is offered"), error))?;
    if offered.orderable_db_instance_options().is_empty() {
        return Err(StepError::new(
            &AR0016,
            format!(
                "`{class}` is not offered for {engine} {version} in {}",
                plan.target.region
            ),
        ));
    }
    Ok(())
}

async fn quotas_suffice(client: &aws_sdk_rds::Client, plan: &Plan) -> Result<(), StepError> {
    let answer = client.describe_account_attributes().send().await;
    let answer = answer.map_err(|error| StepError::from_sdk("read the account's quotas", error))?;
    let wanted = [
        ("DBClusters", 1),
        (
            "DBInstances",
            i64::try_from(plan.target.instances.len()).unwrap_or(i64::MAX),
        ),
    ];
    for quota in answer.account_quotas() {
        let (name, used, most) = (
            quota.account_quota_name().unwrap_or_default(),
            quota.used().unwrap_or(0),
            quota.max().unwrap_or(i64::MAX),
        );
        let more = wanted
            .iter()
            .find(|(wanted, _)| *wanted == name)
            .map_or(0, |(_, more)| *more);
        if more > 0 && used + more > most {
            return Err(StepError::new(
                &AR0011,
                format!(
                    "{name}: {used} of {most} in use in {}, {more} more needed",
                    plan.target.region
                ),
            ));
        }
    }
    Ok(())
}

/// Copies wait for room that other restores' copies take up, and not for what nobody will ever free.
async fn copies_have_room(context: &Context, plan: &Plan) -> Result<(), StepError> {
    for copy in &plan.copies {
        if let Some(seen) = queue::no_room(context, copy).await? {
            return Err(StepError::new(
                &AR0011,
                format!("{seen}, and none of them is a restore's to remove"),
            ));
        }
    }
    Ok(())
}

/// The key must be enabled where the target is; a copy of an encrypted snapshot that crosses account or region must name one.
async fn key_is_usable(context: &Context, plan: &Plan) -> Result<(), StepError> {
    let Some(key) = &plan.target.kms_key_id else {
        // A copy that stays within account, region and key keeps the snapshot's key.
        let crosses = |copy: &SnapshotCopy| {
            copy.reasons
                .iter()
                .any(|reason| *reason != CopyReason::Expiring)
        };
        let encrypted_copy = plan.source.encrypted && plan.copies.last().is_some_and(crosses);
        return if encrypted_copy {
            Err(StepError::new(
                &AR0010,
                format!(
                    "the copy of {} needs a key of {}, and target.kmsKeyId is absent",
                    plan.source, plan.target.region
                ),
            ))
        } else {
            Ok(())
        };
    };
    let described = context
        .aws
        .kms(&plan.target.region)
        .describe_key()
        .key_id(key)
        .send()
        .await;
    let described =
        described.map_err(|error| StepError::from_sdk(format!("describe key `{key}`"), error))?;
    match described
        .key_metadata()
        .and_then(|metadata| metadata.key_state())
    {
        Some(KeyState::Enabled) => Ok(()),
        state => Err(StepError::new(
            &AR0010,
            format!(
                "key `{key}` is {}, expected Enabled",
                state.map_or("in an unknown state", KeyState::as_str)
            ),
        )),
    }
}
