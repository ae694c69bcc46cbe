//! One look at what a state waits for.
//!
//! RDS may show no trace of a resource right after it was asked for, and a cluster
//! may leave `available` again after reaching it: neither is a failure.

use aurora_restore_core::errors::{AR0017, AR0018, AR0019, Code, StepError};
use aurora_restore_core::ledger::{ResourceKind, ResourceState};
use aurora_restore_core::plan::Plan;
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::{Context, Restore, rds};
use aws_sdk_rds::types::DbCluster;
use serde_json::json;

use crate::{Progress, WaitFor};

/// How long a wait may take, in minutes.
pub fn deadline_minutes(plan: &Plan, wait_for: WaitFor) -> u32 {
    match wait_for {
        WaitFor::Copy => plan.waits.copy_deadline_minutes,
        WaitFor::Cluster => plan.waits.cluster_deadline_minutes,
        WaitFor::Instances => plan.waits.instances_deadline_minutes,
        WaitFor::Credentials | WaitFor::Switch | WaitFor::Undo => {
            plan.waits.change_deadline_minutes
        }
    }
}

/// The resources whose events may end the wait.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn awaited_arns(restore: &Restore, wait_for: WaitFor) -> Result<Vec<String>, StepError> {
    let plan = restore.plan();
    Ok(match wait_for {
        WaitFor::Copy => plan
            .copy
            .iter()
            .map(|copy| plan.arn("cluster-snapshot", &copy.identifier))
            .collect(),
        WaitFor::Cluster | WaitFor::Credentials => vec![plan.target.arn.clone()],
        // Only the wait itself knows the failure that Undo ends with; its heartbeat is short.
        WaitFor::Undo => Vec::new(),
        WaitFor::Instances | WaitFor::Switch => restore
            .resources()
            .await?
            .into_iter()
            .filter(|resource| resource.state != ResourceState::Removed)
            .filter(|resource| {
                matches!(
                    resource.kind,
                    ResourceKind::Instance | ResourceKind::Cluster
                )
            })
            .map(|resource| resource.arn)
            .collect(),
    })
}

/// Looks once.
///
/// # Errors
/// What RDS refuses.
pub async fn look(
    context: &Context,
    restore: &Restore,
    wait_for: WaitFor,
) -> Result<Progress, StepError> {
    match wait_for {
        WaitFor::Copy => copy(context, restore.plan()).await,
        WaitFor::Cluster => cluster(context, restore.plan(), |_| None).await,
        WaitFor::Instances => instances(context, restore).await,
        WaitFor::Credentials => {
            cluster(context, restore.plan(), |cluster| {
                credentials(restore.plan(), cluster)
            })
            .await
        }
        WaitFor::Switch => match cluster(context, restore.plan(), |cluster| {
            groups(restore.plan(), cluster)
        })
        .await?
        {
            Progress::Done(_) => instances(context, restore).await,
            other => Ok(other),
        },
        WaitFor::Undo => Err(StepError::defect("Undo is looked at by its own rule")),
    }
}

async fn copy(context: &Context, plan: &Plan) -> Result<Progress, StepError> {
    let Some(copy) = &plan.copy else {
        return Ok(Progress::Done(json!({ "snapshotCopy": null })));
    };
    let found = rds::find_snapshot(&context.aws.rds(&plan.target.region), &copy.identifier).await?;
    let Some(found) = found else {
        return Ok(Progress::Pending("copy not visible".to_owned()));
    };
    let status = found.status().unwrap_or_default();
    let seen = format!(
        "copy `{status}`, {} %",
        found.percent_progress().unwrap_or(0)
    );
    Ok(judge(
        status::of_snapshot(status),
        &AR0017,
        &copy.identifier,
        status,
    )
    .unwrap_or(Progress::Pending(seen))
    .or_done(json!({ "snapshotCopy": copy.identifier })))
}

/// Looks at the cluster; `more` names what is still missing once it is available.
async fn cluster(
    context: &Context,
    plan: &Plan,
    more: impl Fn(&DbCluster) -> Option<String>,
) -> Result<Progress, StepError> {
    let name = &plan.target.cluster_identifier;
    let Some(found) = rds::find_cluster(&context.aws.rds(&plan.target.region), name).await? else {
        return Ok(Progress::Pending("cluster not visible".to_owned()));
    };
    let status = found.status().unwrap_or_default();
    let progress = judge(status::of_cluster(status), &AR0018, name, status);
    Ok(match progress {
        Some(Progress::Done(_)) => match pending_change(&found).or_else(|| more(&found)) {
            Some(missing) => Progress::Pending(missing),
            None => Progress::Done(json!({ "clusterIdentifier": name })),
        },
        Some(decided) => decided,
        None => Progress::Pending(format!("cluster `{status}`")),
    })
}

/// A change that RDS accepted and has not applied.
fn pending_change(cluster: &DbCluster) -> Option<String> {
    let pending = cluster.pending_modified_values()?;
    // Only presence is told: the pending values include a masked password.
    let any = pending.master_user_password().is_some()
        || pending.engine_version().is_some()
        || pending.backup_retention_period().is_some()
        || pending.storage_type().is_some()
        || pending.iam_database_authentication_enabled().is_some();
    any.then(|| "a change is pending".to_owned())
}

fn credentials(plan: &Plan, cluster: &DbCluster) -> Option<String> {
    if plan.master_password != MasterPassword::RdsManaged {
        return None; // LockLoginRoles tries the password itself
    }
    match cluster
        .master_user_secret()
        .and_then(|secret| secret.secret_status())
    {
        Some("active") => None,
        Some(status) => Some(format!("master secret `{status}`")),
        None => Some("master secret not visible".to_owned()),
    }
}

fn groups(plan: &Plan, cluster: &DbCluster) -> Option<String> {
    let mut active: Vec<&str> = cluster
        .vpc_security_groups()
        .iter()
        .filter(|group| group.status() == Some("active"))
        .filter_map(|group| group.vpc_security_group_id())
        .collect();
    let mut wanted: Vec<&str> = plan
        .target
        .security_group_ids
        .iter()
        .map(String::as_str)
        .collect();
    active.sort_unstable();
    wanted.sort_unstable();
    if active != wanted {
        return Some(format!("security groups {active:?}"));
    }
    if cluster.db_cluster_parameter_group() != Some(plan.target.cluster_parameter_group.as_str()) {
        return Some(format!(
            "parameter group `{}`",
            cluster.db_cluster_parameter_group().unwrap_or_default()
        ));
    }
    let unsynced = cluster.db_cluster_members().iter().find(|member| {
        member
            .db_cluster_parameter_group_status()
            .is_some_and(|status| status != "in-sync")
    });
    unsynced.map(|member| {
        format!(
            "parameters of `{}` not in sync",
            member.db_instance_identifier().unwrap_or_default()
        )
    })
}

async fn instances(context: &Context, restore: &Restore) -> Result<Progress, StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let mut ready = Vec::new();
    let mut pending = Vec::new();
    let awaited = restore.resources().await?.into_iter().filter(|resource| {
        resource.kind == ResourceKind::Instance && resource.state != ResourceState::Removed
    });
    for instance in awaited {
        let found = rds::find_instance(&client, &instance.identifier).await?;
        let status = found
            .as_ref()
            .and_then(|found| found.db_instance_status())
            .unwrap_or("not visible");
        match judge(
            status::of_instance(status),
            &AR0019,
            &instance.identifier,
            status,
        ) {
            Some(Progress::Failed(error)) => return Ok(Progress::Failed(error)),
            Some(_) => ready.push(instance.identifier),
            None => pending.push(format!("instance `{}` {status}", instance.identifier)),
        }
    }
    ready.sort_unstable();
    Ok(if pending.is_empty() {
        Progress::Done(json!({ "instances": ready }))
    } else {
        Progress::Pending(pending.join(", "))
    })
}

/// What a status decides; `None` while it decides nothing.
fn judge(meaning: Meaning, stuck: &'static Code, name: &str, status: &str) -> Option<Progress> {
    match meaning {
        Meaning::Ready => Some(Progress::Done(json!(null))),
        Meaning::Stuck => Some(Progress::Failed(StepError::new(
            stuck,
            format!("`{name}` is `{status}`"),
        ))),
        Meaning::Progress => None,
        Meaning::Unknown => {
            tracing::warn!(name, status, "a status never heard of; waiting on");
            None
        }
    }
}

impl Progress {
    fn or_done(self, output: serde_json::Value) -> Self {
        match self {
            Self::Done(_) => Self::Done(output),
            other => other,
        }
    }
}
