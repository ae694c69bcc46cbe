//! Removes what a restore made: its temporary parts after success, all of it after failure.
//!
//! Retire (after success) deletes our snapshot copies, stops the cluster that was replaced
//! if it is to be, records the end and releases the lock. Undo (after failure) first seals
//! the lock, so that no step makes anything behind its back; then it takes back a switch
//! that has begun, so that the cluster that was replaced serves again; then it goes
//! through the ledger, instances before cluster before
//! copy, and asks for the deletion of what is proved to be ours; WaitForUndo then
//! looks whether it is gone. A target that is in service is never removed.

use aurora_restore_core::errors::{AR0012, AR0027, AR0028, AR0048, StepError, wire_code};
use aurora_restore_core::ledger::{
    self, Address, Ending, Resource, ResourceKind, ResourceState, Status,
};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::queue::{self, Freed};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::switching::{self, Back, Switch};
use aurora_restore_core::{Context, Restore, Step, ownership, rds, secrets};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "cleanup",
    run,
};

/// The state that retires.
const RETIRES: &str = "Cleanup";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
    action: Action,
    /// When the execution started; only Undo asks, because it may come before there is a plan.
    #[serde(default)]
    started_at: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Retire,
    Undo,
}

/// What the state machine learns of Undo.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    /// What is being deleted, in the order it was asked for.
    pub deleting: Vec<String>,
    /// What could not be deleted now, and why.
    pub refused: Vec<String>,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let id = RestoreId::parse(&event.restore_id)?;
        match event.action {
            Action::Retire => match ledger::ending(&context.table(), &id).await? {
                Some(ending) if ending.status == Status::Restored => answer(&ending), // a repeated step
                _ => answer(&retire(context, &Restore::load(context, &id).await?).await?),
            },
            // A plan of an earlier execution of the same name is not ours to undo.
            Action::Undo => match Restore::find(context, &id)
                .await?
                .filter(|found| found.belongs_to(&event.started_at))
            {
                Some(restore) => answer(&undo(context, &restore).await?),
                None => answer(&Undone::default()), // failed before there was a plan: nothing was made
            },
        }
    })
}

/// Deletes our snapshot copies, records the end and releases the lock.
///
/// # Errors
/// AR0014 when the lock was lost, AR0028 while the copy is still being deleted.
pub async fn retire(context: &Context, restore: &Restore) -> Result<Ending, StepError> {
    restore.hold().await?;
    for resource in restore.resources().await? {
        if resource.kind != ResourceKind::SnapshotCopy || resource.state == ResourceState::Removed {
            continue;
        }
        let is_there = match delete(context, restore, &resource).await {
            Err(error) if is_refused_as_gone(context, restore, &error).await? => true,
            deleted => deleted?,
        };
        if is_there {
            return Err(StepError::new(
                &AR0028,
                format!("snapshot `{}` is being deleted", resource.identifier),
            ));
        }
        let region = resource.region(restore.plan()).to_owned();
        restore.removed(resource).await?;
        // There is room for another restore's copy.
        queue::wake_next(context, &region, Freed::Snapshot).await?;
    }
    let cluster = restore.describe_target(context).await?;
    let endpoint = restore.endpoint(&cluster)?;
    let secret_id = restore.master_secret_id(&cluster)?;
    let secret_arn = secrets::arn_of(context.aws.secrets_manager(), &secret_id).await?;
    stop_replaced(context, restore).await;
    let ending = Ending {
        status: Status::Restored,
        error: None,
        cause: None,
        leftovers: Vec::new(),
        kept: Vec::new(),
        target: Some(Address {
            endpoint: endpoint.host,
            port: endpoint.port,
            secret_arn,
        }),
    };
    restore.end(&ending, context.clock.now()).await
}

/// Whether a deletion was refused because what it names is gone: what is gone has no tag by which IAM could allow it,
/// while a look from a moment ago still shows it. Only who asked before may think so.
async fn is_refused_as_gone(
    context: &Context,
    restore: &Restore,
    error: &StepError,
) -> Result<bool, StepError> {
    let id = RestoreId::parse(&restore.plan().restore_id)?;
    Ok(*error.code() == AR0027 && ledger::step_began(context, &id, RETIRES).await?.is_some())
}

/// Seals the lock, then asks for the deletion of everything in the ledger that is proved to be ours and not in
/// service.
///
/// What is refused is told and not an error: WaitForUndo decides whether to try again.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn undo(context: &Context, restore: &Restore) -> Result<Undone, StepError> {
    // Sealed first: from here on no step can put the target into service or make anything more.
    restore.seal(context.clock.now()).await?;
    let in_service = restore.is_in_service().await?;
    let (mut deleting, mut refused) = (Vec::new(), Vec::new());
    if in_service {
        refused.extend(let_in(context, restore).await);
    } else {
        refused.extend(switch_back(context, restore).await?);
    }
    for resource in restore.resources().await? {
        let serving = in_service && resource.kind != ResourceKind::SnapshotCopy;
        if serving || resource.state == ResourceState::Removed {
            continue;
        }
        match delete(context, restore, &resource).await {
            Ok(true) => deleting.push(format!("{} {}", resource.kind, resource.identifier)),
            Ok(false) => {}
            // The name was taken by a stranger: not ours to delete, and nothing of ours there.
            Err(error) if *error.code() == AR0012 => tracing::warn!("{error}"),
            // WaitForUndo sees that it is still there and has Undo try again; the rest need not wait for it.
            Err(error) => {
                tracing::warn!("{error}");
                refused.push(error.to_string());
            }
        }
    }
    // Whoever waits behind this restore's copies need not wait for them any more.
    for copy in &restore.plan().copies {
        queue::leave(context, restore, copy).await?;
    }
    tracing::info!(?deleting, ?refused, "undo");
    Ok(Undone { deleting, refused })
}

/// Takes back a switch that has begun: what it replaced serves before anything of ours is removed. Gives why that
/// cannot be; then the rest goes on, because ours serves nobody.
///
/// # Errors
/// AR0048 while it is under way; what may pass.
async fn switch_back(context: &Context, restore: &Restore) -> Result<Option<String>, StepError> {
    match switching::take_back(context, restore).await {
        Ok(Back::Done) => Ok(None),
        Ok(Back::UnderWay(what)) => Err(StepError::new(&AR0048, what)),
        Ok(Back::Stuck(error)) => {
            tracing::error!("{error}");
            Ok(Some(error.to_string()))
        }
        Err(error) if error.kind().is_passing() => {
            Err(StepError::new(&AR0048, error.message()).caused_by(error))
        }
        Err(error) => {
            tracing::error!("{error}");
            Ok(Some(error.to_string()))
        }
    }
}

/// The target took the place of another and is kept: whoever could not be let in yet is let in now, since nobody else
/// serves. Gives why not.
async fn let_in(context: &Context, restore: &Restore) -> Option<String> {
    if restore.plan().switch == Switch::None {
        return None;
    }
    let found = match restore.find_target(context).await {
        Ok(found) => found?,
        Err(error) => return Some(error.to_string()),
    };
    let proved = restore.prove_target(&found).await;
    let asked = match proved {
        Ok(()) => switching::let_in(context, restore, &found).await,
        Err(error) => Err(error),
    };
    asked.err().map(|error| error.to_string())
}

/// Stops a cluster. One that is stopped, or on the way, stays so.
///
/// # Errors
/// What RDS refuses.
pub async fn stop(client: &aws_sdk_rds::Client, name: &str) -> Result<(), StepError> {
    let asked = client
        .stop_db_cluster()
        .db_cluster_identifier(name)
        .send()
        .await;
    asked
        .map(|_| ())
        .map_err(|error| StepError::from_sdk(format!("stop cluster `{name}`"), error))
}

/// Stops the replaced cluster, if the request says so. What is refused now, the reaper does.
async fn stop_replaced(context: &Context, restore: &Restore) {
    let plan = restore.plan();
    let retired = plan.switch.replaced().filter(|replaced| {
        replaced
            .retire
            .as_ref()
            .is_some_and(|retire| retire.stopped)
    });
    let Some(replaced) = retired else { return };
    let client = context.aws.rds(&plan.target.region);
    let found = rds::find_cluster_by_id(&client, &replaced.resource_id).await;
    let is_retired = |found: &aws_sdk_rds::types::DbCluster| {
        let tagged = ownership::tag(found.tag_list(), ownership::RETIRED_BY_TAG);
        tagged == Some(&plan.restore_id)
            && found.status() == Some("available")
            && found.db_cluster_identifier() == Some(&replaced.retired_identifier)
    };
    let stopped = match found.map(|found| found.filter(is_retired)) {
        Ok(Some(_)) => stop(&client, &replaced.retired_identifier).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = stopped {
        tracing::warn!("{error}");
    }
}

/// Asks for the deletion of a resource proved to be ours; whether it is still there.
///
/// # Errors
/// AR0012 when what has its name is not ours; what RDS or Secrets Manager refuses.
pub async fn delete(
    context: &Context,
    restore: &Restore,
    resource: &Resource,
) -> Result<bool, StepError> {
    match resource.kind {
        ResourceKind::Instance => delete_instance(context, restore, resource).await,
        ResourceKind::Cluster => delete_cluster(context, restore, resource).await,
        ResourceKind::SnapshotCopy => delete_snapshot(context, restore, resource).await,
        ResourceKind::Secret => delete_secret(context, restore, resource).await,
    }
}

async fn delete_instance(
    context: &Context,
    restore: &Restore,
    resource: &Resource,
) -> Result<bool, StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let Some(found) = rds::find_instance(&client, &resource.identifier).await? else {
        return Ok(false);
    };
    prove(restore, resource, found.tag_list(), found.dbi_resource_id())?;
    if found.db_instance_status() == Some("deleting") {
        return Ok(true);
    }
    match client
        .delete_db_instance()
        .db_instance_identifier(&resource.identifier)
        .send()
        .await
    {
        Ok(_) => Ok(true),
        Err(error) => gone_or(
            error,
            "DBInstanceNotFound",
            &format!("delete instance `{}`", resource.identifier),
        ),
    }
}

async fn delete_cluster(
    context: &Context,
    restore: &Restore,
    resource: &Resource,
) -> Result<bool, StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let Some(found) = rds::find_our_cluster(&client, resource).await? else {
        return Ok(false);
    };
    prove(
        restore,
        resource,
        found.tag_list(),
        found.db_cluster_resource_id(),
    )?;
    if found.status() == Some("deleting") {
        return Ok(true);
    }
    let name = found.db_cluster_identifier();
    let asked = client
        .delete_db_cluster()
        .db_cluster_identifier(name.unwrap_or(&resource.identifier))
        .skip_final_snapshot(true);
    match asked.send().await {
        Ok(_) => Ok(true),
        Err(error) => gone_or(
            error,
            "DBClusterNotFoundFault",
            &format!("delete cluster `{}`", resource.identifier),
        ),
    }
}

async fn delete_snapshot(
    context: &Context,
    restore: &Restore,
    resource: &Resource,
) -> Result<bool, StepError> {
    let client = context.aws.rds(resource.region(restore.plan()));
    let Some(found) = rds::find_snapshot(&client, &resource.identifier).await? else {
        return Ok(false);
    };
    prove(restore, resource, found.tag_list(), None)?;
    if found.status() == Some("deleting") {
        return Ok(true);
    }
    let asked = client
        .delete_db_cluster_snapshot()
        .db_cluster_snapshot_identifier(&resource.identifier);
    match asked.send().await {
        Ok(_) => Ok(rds::find_snapshot(&client, &resource.identifier)
            .await?
            .is_some()),
        Err(error) => gone_or(
            error,
            "DBClusterSnapshotNotFoundFault",
            &format!("delete snapshot `{}`", resource.identifier),
        ),
    }
}

async fn delete_secret(
    context: &Context,
    restore: &Restore,
    resource: &Resource,
) -> Result<bool, StepError> {
    let secrets = context.aws.secrets_manager();
    let described = match secrets
        .describe_secret()
        .secret_id(&resource.identifier)
        .send()
        .await
    {
        Ok(described) => described,
        Err(error) => {
            return gone_or(
                error,
                "ResourceNotFoundException",
                &format!("describe secret `{}`", resource.identifier),
            );
        }
    };
    let tag = |key: Option<&str>, value: Option<&str>| {
        aws_sdk_rds::types::Tag::builder()
            .set_key(key.map(str::to_owned))
            .set_value(value.map(str::to_owned))
            .build()
    };
    let tags: Vec<_> = described
        .tags()
        .iter()
        .map(|found| tag(found.key(), found.value()))
        .collect();
    prove(restore, resource, &tags, None)?;
    let asked = secrets
        .delete_secret()
        .secret_id(&resource.identifier)
        .force_delete_without_recovery(true);
    match asked.send().await {
        Ok(_) => Ok(false),
        Err(error) => gone_or(
            error,
            "ResourceNotFoundException",
            &format!("delete secret `{}`", resource.identifier),
        ),
    }
}

fn prove(
    restore: &Restore,
    resource: &Resource,
    tags: &[aws_sdk_rds::types::Tag],
    found_id: Option<&str>,
) -> Result<(), StepError> {
    ownership::prove(
        &resource.identifier,
        tags,
        &restore.plan().restore_id,
        found_id,
        resource.resource_id.as_deref(),
    )
}

/// "Not found" means gone; anything else is an error. Deleting twice is refused as a state, which passes.
fn gone_or<E>(
    error: aws_sdk_rds::error::SdkError<E>,
    not_found: &str,
    action: &str,
) -> Result<bool, StepError>
where
    E: aws_sdk_rds::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if wire_code(&error) == Some(not_found) {
        Ok(false)
    } else {
        Err(StepError::from_sdk(action, error))
    }
}
