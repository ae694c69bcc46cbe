//! One look at what a state waits for.
//!
//! RDS may show no trace of a resource right after it was asked for, and a cluster
//! may leave `available` again after reaching it: neither is a failure. What other
//! people do meanwhile is: they delete a resource, rename it, put another in its
//! place, or take its tags.

use aurora_restore_core::errors::{AR0012, AR0017, AR0018, AR0019, AR0037, Code, StepError};
use aurora_restore_core::ledger::{Resource, ResourceKind, ResourceState};
use aurora_restore_core::plan::{Plan, SnapshotCopy};
use aurora_restore_core::queue::{self, Turn};
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::{Context, Restore, ownership, rds};
use aws_sdk_rds::types::DbCluster;
use serde_json::json;
use time::OffsetDateTime;

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
        WaitFor::Copy => plan.copies.iter().map(|copy| copy.arn.clone()).collect(),
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
            .map(|resource| resource.given_name.map_or(resource.arn, |given| given.arn))
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
    let plan = restore.plan();
    match wait_for {
        WaitFor::Copy => copies(context, restore).await,
        WaitFor::Cluster => cluster(context, restore, |_| None).await,
        // What comes next changes the cluster, so it must be ready as well: a backup of it may have begun.
        WaitFor::Instances => {
            let cluster = cluster(context, restore, |_| None).await?;
            Ok(cluster.and(instances(context, restore).await?))
        }
        WaitFor::Credentials => {
            let cluster = cluster(context, restore, |cluster| credentials(plan, cluster)).await?;
            Ok(cluster.and(instances(context, restore).await?))
        }
        WaitFor::Switch => {
            let cluster = cluster(context, restore, |cluster| groups(plan, cluster)).await?;
            Ok(cluster.and(instances(context, restore).await?))
        }
        WaitFor::Undo => Err(StepError::defect("Undo is looked at by its own rule")),
    }
}

/// Looks at the copies, the first that is not made first: at whose turn it is until it was asked for, then at itself.
async fn copies(context: &Context, restore: &Restore) -> Result<Progress, StepError> {
    let plan = restore.plan();
    let mut made = None;
    for copy in &plan.copies {
        let again = json!({ "snapshotCopy": made, "more": true });
        if restore.resource(&copy.arn).await?.is_none() {
            let Some(ticket) = queue::ticket(context, restore, copy).await? else {
                return Ok(Progress::Done(again)); // CopySnapshot takes one
            };
            return Ok(match queue::turn(context, &ticket, copy).await? {
                Turn::Later(seen) => Progress::Pending(seen),
                Turn::Now | Turn::Never(_) => Progress::Done(again),
            });
        }
        match one_copy(context, restore, copy).await? {
            Progress::Done(_) => made = Some(&copy.identifier),
            otherwise => return Ok(otherwise),
        }
    }
    Ok(Progress::Done(
        json!({ "snapshotCopy": made, "more": false }),
    ))
}

async fn one_copy(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<Progress, StepError> {
    let name = &copy.identifier;
    let Some(found) = rds::find_snapshot(&context.aws.rds(&copy.region), name).await? else {
        return Ok(missing(ResourceKind::SnapshotCopy, name));
    };
    let status = found.status().unwrap_or_default();
    let seen = format!(
        "copy to {} `{status}`, {} %",
        copy.region,
        found.percent_progress().unwrap_or(0)
    );
    Ok(
        match judge(status::of_snapshot(status), &AR0017, name, status) {
            // Only what is restored next need be proved.
            Some(Progress::Done(_)) => {
                let id = &restore.plan().restore_id;
                match ownership::prove(name, found.tag_list(), id, None, None) {
                    Ok(()) => Progress::Done(json!(null)),
                    Err(error) => not_ours(error),
                }
            }
            Some(decided) => decided,
            None => Progress::Pending(seen),
        },
    )
}

/// Gives back the tickets of copies that are made. Whoever is next is woken.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn leave_queue(context: &Context, restore: &Restore) -> Result<(), StepError> {
    for copy in &restore.plan().copies {
        if restore.resource(&copy.arn).await?.is_some() {
            queue::leave(context, restore, copy).await?;
        }
    }
    Ok(())
}

/// From when the wait's deadline counts: a copy's from when the restore queued for it.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn waits_since(
    context: &Context,
    restore: &Restore,
    wait_for: WaitFor,
    entered_at: OffsetDateTime,
) -> Result<OffsetDateTime, StepError> {
    if wait_for == WaitFor::Copy {
        for copy in restore.plan().copies.iter().rev() {
            if let Some(ticket) = queue::ticket(context, restore, copy).await? {
                return Ok(ticket.joined_at());
            }
        }
    }
    Ok(entered_at)
}

/// Looks at the cluster; `more` names what is still missing once it is available.
async fn cluster(
    context: &Context,
    restore: &Restore,
    more: impl Fn(&DbCluster) -> Option<String>,
) -> Result<Progress, StepError> {
    let target = &restore.plan().target;
    let name = &target.cluster_identifier;
    let client = context.aws.rds(&target.region);
    let Some(found) = restore.find_target(context).await? else {
        return match restore.resource(&target.arn).await? {
            Some(recorded) => lost(&client, &recorded).await,
            None => Ok(missing(ResourceKind::Cluster, name)),
        };
    };
    match restore.prove_target(&found).await {
        Ok(()) => {}
        Err(error) if *error.code() == AR0012 => return Ok(not_ours(error)),
        Err(error) => return Err(error),
    }
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

/// What is not seen under its name: known by its resource id under another, or missing.
async fn lost(client: &aws_sdk_rds::Client, recorded: &Resource) -> Result<Progress, StepError> {
    Ok(match rds::renamed_to(client, recorded).await? {
        Some(name) => Progress::Failed(rds::renamed(recorded, &name)),
        None => missing(recorded.kind, &recorded.identifier),
    })
}

fn missing(kind: ResourceKind, name: &str) -> Progress {
    Progress::Missing(StepError::new(
        &AR0037,
        format!("{kind} `{name}` was made and cannot be seen"),
    ))
}

/// Tags may lag behind a create as the rest does.
fn not_ours(error: StepError) -> Progress {
    Progress::Missing(error)
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
    let mut all = Progress::Done(json!(null));
    let awaited = restore.resources().await?.into_iter().filter(|resource| {
        resource.kind == ResourceKind::Instance && resource.state != ResourceState::Removed
    });
    for instance in awaited {
        let name = &instance.identifier;
        let seen = match rds::find_instance(&client, name).await? {
            None => lost(&client, &instance).await?,
            Some(found) => {
                let proved = ownership::prove(
                    name,
                    found.tag_list(),
                    &restore.plan().restore_id,
                    found.dbi_resource_id(),
                    instance.resource_id.as_deref(),
                );
                let status = found.db_instance_status().unwrap_or_default();
                match proved {
                    Ok(()) => judge(status::of_instance(status), &AR0019, name, status)
                        .unwrap_or_else(|| {
                            Progress::Pending(format!("instance `{name}` `{status}`"))
                        }),
                    Err(error) => not_ours(error),
                }
            }
        };
        if matches!(seen, Progress::Done(_)) {
            ready.push(instance.identifier);
        }
        all = all.and(seen);
    }
    ready.sort_unstable();
    Ok(match all {
        Progress::Done(_) => Progress::Done(json!({ "instances": ready })),
        other => other,
    })
}

/// What a status decides; `None` while it decides nothing.
fn judge(meaning: Meaning, stuck: &'static Code, name: &str, status: &str) -> Option<Progress> {
    if let Some(error) = status::hopeless(meaning, stuck, name, status) {
        return Some(Progress::Failed(error));
    }
    if meaning == Meaning::Unknown {
        tracing::warn!(name, status, "a status never heard of; waiting on");
    }
    (meaning == Meaning::Ready).then(|| Progress::Done(json!(null)))
}

impl Progress {
    /// Both: what failed before what is missing, that before what is pending; of two alike the first.
    fn and(self, other: Self) -> Self {
        let weight = |progress: &Self| match progress {
            Self::Done(_) => 0,
            Self::Pending(_) => 1,
            Self::Missing(_) => 2,
            Self::Failed(_) => 3,
        };
        if weight(&self) >= weight(&other) {
            self
        } else {
            other
        }
    }
}
