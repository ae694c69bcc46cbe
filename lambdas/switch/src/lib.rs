//! Puts the target into service: its final parameter group, then its final security groups.
//!
//! Evidence that holds is the condition. The parameter group comes first, with the
//! reboot it needs, so that nobody is cut off right after being let in. From the
//! moment the security groups are asked for, the target counts as in service: undo
//! no longer removes it.

mod settings;

use aurora_restore_core::errors::{AR0019, AR0025, AR0028, Kind, StepError};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step, rds};
use aws_sdk_rds::types::{DbCluster, DbClusterMember};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "switch",
    run,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
}

/// What the state machine learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The groups that may reach the target from now on.
    pub security_group_ids: Vec<String>,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let restore = Restore::load(context, &RestoreId::parse(&event.restore_id)?).await?;
        answer(&switch(context, &restore).await?)
    })
}

/// Attaches the final groups; each call takes the next step that is not done yet.
///
/// # Errors
/// AR0025 without evidence that holds, AR0012 when the target is not ours, AR0028 while a change is being applied.
pub async fn switch(context: &Context, restore: &Restore) -> Result<Answer, StepError> {
    let plan = restore.plan();
    if !restore
        .evidence()
        .await?
        .is_some_and(|evidence| evidence.holds())
    {
        return Err(StepError::new(
            &AR0025,
            format!("restore `{}` has no evidence that holds", plan.restore_id),
        ));
    }
    let cluster = restore.describe_target(context).await?;
    restore.prove_target(&cluster).await?;
    restore.hold().await?;
    settings::attach_instance_groups(context, restore).await?;
    attach_parameter_group(context, restore, &cluster).await?;
    restore.record_in_service(context.clock.now()).await?;
    settings::enable_data_api(context, restore, &cluster).await?;
    attach_security_groups(context, restore, &cluster).await?;
    Ok(Answer {
        security_group_ids: plan.target.security_group_ids.clone(),
    })
}

/// The status of a member whose parameters are the group's.
const IN_SYNC: &str = "in-sync";

/// Attaches the group and reboots what waits for it; an error until all members are in sync.
async fn attach_parameter_group(
    context: &Context,
    restore: &Restore,
    cluster: &DbCluster,
) -> Result<(), StepError> {
    let target = &restore.plan().target;
    let client = context.aws.rds(&target.region);
    let group = &target.cluster_parameter_group;
    let applying = |what: &str| {
        StepError::new(
            &AR0028,
            format!("parameter group `{group}` is being applied: {what}"),
        )
    };
    if cluster.db_cluster_parameter_group() != Some(group) {
        client
            .modify_db_cluster()
            .db_cluster_identifier(&target.cluster_identifier)
            .db_cluster_parameter_group_name(group)
            .apply_immediately(true)
            .send()
            .await
            .map_err(|error| {
                StepError::from_sdk(format!("attach parameter group `{group}`"), error)
            })?;
        return Err(applying("asked for"));
    }
    let members = cluster.db_cluster_members();
    let of_status = |status: &str| {
        let is = |member: &&DbClusterMember| {
            member
                .db_cluster_parameter_group_status()
                .unwrap_or(IN_SYNC)
                == status
        };
        members
            .iter()
            .filter(is)
            .filter_map(DbClusterMember::db_instance_identifier)
            .collect::<Vec<_>>()
    };
    let mut pending = settings::awaiting_reboot(context, restore).await?;
    pending.extend(of_status("pending-reboot").into_iter().map(str::to_owned));
    pending.sort_unstable();
    pending.dedup();
    for name in &pending {
        reboot(&client, name).await?;
    }
    if !pending.is_empty() || of_status(IN_SYNC).len() < members.len() {
        return Err(applying("not in sync"));
    }
    for name in restore.plan().instance_identifiers() {
        let found = rds::find_instance(&client, &name).await?;
        let status = found
            .as_ref()
            .and_then(|found| found.db_instance_status())
            .unwrap_or_default();
        let meaning = status::of_instance(status);
        if let Some(error) = status::hopeless(meaning, &AR0019, &name, status) {
            return Err(error);
        }
        if meaning != Meaning::Ready {
            return Err(applying(&name));
        }
    }
    Ok(())
}

async fn reboot(client: &aws_sdk_rds::Client, instance: &str) -> Result<(), StepError> {
    let asked = client
        .reboot_db_instance()
        .db_instance_identifier(instance)
        .send()
        .await;
    asked
        .map(|_| ())
        .map_err(|error| StepError::from_sdk(format!("reboot `{instance}`"), error))
}

async fn attach_security_groups(
    context: &Context,
    restore: &Restore,
    cluster: &DbCluster,
) -> Result<(), StepError> {
    let target = &restore.plan().target;
    let attached: Vec<&str> = cluster
        .vpc_security_groups()
        .iter()
        .filter_map(|group| group.vpc_security_group_id())
        .collect();
    let all_attached = target.security_group_ids.len() == attached.len()
        && target
            .security_group_ids
            .iter()
            .all(|group| attached.contains(&group.as_str()));
    let protected = cluster.deletion_protection().unwrap_or(false);
    let copies_tags = cluster.copy_tags_to_snapshot().unwrap_or(false);
    let flags_set =
        protected == target.deletion_protection && copies_tags == target.copy_tags_to_snapshot;
    if all_attached && flags_set {
        return Ok(()); // a repeated step: asked for before
    }
    let asked = context
        .aws
        .rds(&target.region)
        .modify_db_cluster()
        .db_cluster_identifier(&target.cluster_identifier)
        .set_vpc_security_group_ids(Some(target.security_group_ids.clone()))
        .deletion_protection(target.deletion_protection)
        .copy_tags_to_snapshot(target.copy_tags_to_snapshot)
        .apply_immediately(true)
        .send()
        .await;
    let Err(error) = asked else { return Ok(()) };
    let answered = error.as_service_error().is_some();
    let error = StepError::from_sdk(
        format!("attach security groups to `{}`", target.cluster_identifier),
        error,
    );
    if answered && error.kind() != Kind::Transient {
        restore.record_not_in_service(context.clock.now()).await?; // RDS said no: nobody was let in
    }
    Err(error)
}
