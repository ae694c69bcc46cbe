//! Puts the target into service: its final parameter group, its name, its final security groups.
//!
//! Evidence that holds is the condition. The parameter group comes first, with the
//! reboot it needs, so that nobody is cut off right after being let in. Then clients are
//! brought to it: by the name of the cluster that it replaces, or by what points to it
//! (`core::switching`). From the moment the security groups are asked for, the target
//! counts as in service: undo no longer removes it. Until then nobody can reach it, so
//! that all of it can be taken back and nothing is lost.

mod settings;

use aurora_restore_core::errors::{AR0019, AR0025, AR0028, AR0048, Kind, StepError};
use aurora_restore_core::ledger::{Evidence, Finding};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::switching::{self, Switch, pointer, rename};
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

/// Brings clients to the target and lets them in; each call takes the next step that is not done yet.
///
/// # Errors
/// AR0025 without evidence that holds, AR0012 when the target is not ours, AR0028 while a change is being applied,
/// AR0048 while clients cannot connect; AR0047 and AR0050 as the way to switch finds.
pub async fn switch(context: &Context, restore: &Restore) -> Result<Answer, StepError> {
    let Err(error) = next(context, restore).await else {
        return Ok(Answer {
            security_group_ids: restore.plan().target.security_group_ids.clone(),
        });
    };
    // Once clients cannot connect, whatever may pass is tried again within seconds.
    if error.kind() == Kind::Transient && restore.switch_begun().await?.is_some() {
        return Err(StepError::new(&AR0048, error.message()).caused_by(error));
    }
    Err(error)
}

async fn next(context: &Context, restore: &Restore) -> Result<(), StepError> {
    let evidence = restore.evidence().await?.filter(Evidence::holds);
    let Some(evidence) = evidence else {
        return Err(StepError::new(
            &AR0025,
            format!(
                "restore `{}` has no evidence that holds",
                restore.plan().restore_id
            ),
        ));
    };
    let cluster = restore.describe_target(context).await?;
    restore.prove_target(&cluster).await?;
    restore.hold().await?;
    settings::attach_instance_groups(context, restore).await?;
    attach_parameter_group(context, restore, &cluster).await?;
    bring_clients(context, restore, &cluster).await?;
    if let Some(finding) = replaced(&restore.plan().switch) {
        restore.add_evidence(evidence, finding).await?;
    }
    restore.record_in_service(context.clock.now()).await?;
    settings::enable_data_api(context, restore, &cluster).await?;
    attach_security_groups(context, restore, &cluster).await
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
            .db_cluster_identifier(cluster.db_cluster_identifier().unwrap_or_default())
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
    let Err(error) = switching::let_in(context, restore, cluster).await else {
        return Ok(());
    };
    // What is neither passing nor without an answer is RDS' no: nobody was let in.
    if !error.kind().is_passing() {
        restore.record_not_in_service(context.clock.now()).await?;
    }
    Err(error)
}

/// Brings clients to the target, as the plan says; an error until they would find it.
async fn bring_clients(
    context: &Context,
    restore: &Restore,
    cluster: &DbCluster,
) -> Result<(), StepError> {
    match &restore.plan().switch {
        Switch::None => Ok(()),
        Switch::Rename(rename) => rename::take_over(context, restore, rename, cluster).await,
        Switch::Pointer(pointer) => pointer::point(context, restore, pointer, cluster).await,
    }
}

/// What the evidence says of what was replaced.
fn replaced(switch: &Switch) -> Option<Finding> {
    let detail = match switch {
        Switch::None => return None,
        Switch::Rename(rename) => match &rename.replaced {
            Some(replaced) => format!(
                "`{}` ({}) is called `{}` now",
                rename.name, replaced.resource_id, replaced.retired_identifier
            ),
            None => format!("nobody was called `{}`", rename.name),
        },
        Switch::Pointer(pointer) => match &pointer.replaced {
            Some(replaced) => format!(
                "`{}` pointed to `{}`",
                pointer.parameter, replaced.identifier
            ),
            None => format!("`{}` pointed to no cluster", pointer.parameter),
        },
    };
    Some(Finding {
        check: "what the target replaced".to_owned(),
        passed: true,
        detail,
    })
}
