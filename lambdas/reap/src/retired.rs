//! Clusters in whose place a restore came: kept for the time that the request says, and then removed.
//!
//! The one exception from "nothing that is not ours is changed". It takes the request's
//! consent, which is in the plan, the mark that Switch left, the name that it gave, the
//! recorded resource id, and the lock. Who takes the mark away, renames the cluster, or
//! leads clients back to it has taken it back.

use aurora_restore_core::errors::{AR0012, StepError, wire_code};
use aurora_restore_core::ledger::{self, Status, ToDo};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::ownership::{RETIRED_BY_TAG, RETIRED_UNTIL_TAG, tag};
use aurora_restore_core::request::Retire;
use aurora_restore_core::switching::{self, Replaced};
use aurora_restore_core::{Context, Restore, rds};
use aws_sdk_rds::Client;
use aws_sdk_rds::types::DbCluster;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What became of a retired cluster.
pub(crate) enum Retirement {
    /// Its time is not over; what was refused for now.
    Kept(Option<String>),
    /// Somebody took it back, for this reason.
    TakenBack(String),
    /// Somebody else has the lock.
    Locked,
    /// It is being removed; what was refused for now.
    Begun(Vec<String>),
    /// It is gone.
    Gone,
}

/// Stops a retired cluster again that RDS started, or removes it when its time is over.
///
/// # Errors
/// What AWS refuses.
pub(crate) async fn tend(context: &Context, id: &RestoreId) -> Result<Retirement, StepError> {
    let restore = Restore::load(context, id).await?;
    let plan = restore.plan();
    let retired = plan.switch.replaced();
    let Some((replaced, retire)) =
        retired.and_then(|replaced| Some((replaced, replaced.retire.as_ref()?)))
    else {
        return Ok(Retirement::Gone);
    };
    let client = context.aws.rds(&plan.target.region);
    let now = context.clock.now();
    let Some(found) = rds::find_cluster_by_id(&client, &replaced.resource_id).await? else {
        restore.abandon(ToDo::Retire, now).await?;
        return Ok(Retirement::Gone);
    };
    // A pass that was cut off may have left it; what goes on takes it again.
    restore.release_removal(ToDo::Retire, now).await?;
    let name = &replaced.retired_identifier;
    let until = match kept_until(&found, replaced, &plan.restore_id) {
        None => Err("lost its mark or its name"),
        Some(_) if switching::leads_back(context, &restore).await? => Err("has clients led to it"),
        Some(_) if !is_restored(context, id).await? => Err("was replaced by a restore that failed"),
        Some(until) => Ok(until),
    };
    let until = match until {
        Ok(until) => until,
        Err(why) => {
            restore.abandon(ToDo::Retire, now).await?;
            let text = format!("retired cluster `{name}` {why}, and stays");
            return Ok(Retirement::TakenBack(text));
        }
    };
    let planned = restore
        .switch_begun()
        .await?
        .and_then(|begun| begun.kept_until);
    if now < until || planned.is_none_or(|planned| now < planned) {
        let stopped = if retire.stopped {
            stop(&client, &found).await
        } else {
            Ok(())
        };
        return Ok(Retirement::Kept(
            stopped.err().map(|error| error.to_string()),
        ));
    }
    if let Err(member) = rds::refuse_member(&found) {
        return Ok(Retirement::Kept(Some(member.to_string())));
    }
    if found.deletion_protection() == Some(true) {
        let text = format!(
            "retired cluster `{name}` is protected against deletion, and its protection is not ours to switch off"
        );
        return Ok(Retirement::Kept(Some(text)));
    }
    if !restore.begin_removal(ToDo::Retire, None, now).await? {
        return Ok(Retirement::Locked);
    }
    let removed = remove(&client, &restore, replaced, retire, &found).await;
    restore.release_removal(ToDo::Retire, now).await?;
    removed.map(Retirement::Begun)
}

/// An execution that failed after all keeps what it replaced, as its end says.
async fn is_restored(context: &Context, id: &RestoreId) -> Result<bool, StepError> {
    let ending = ledger::ending(&context.table(), id).await?;
    Ok(ending.is_some_and(|ending| ending.status == Status::Restored))
}

/// Until when it is kept, by its tag as it is today; `None` when it is not ours to remove any more.
fn kept_until(found: &DbCluster, replaced: &Replaced, restore_id: &str) -> Option<OffsetDateTime> {
    let name = found.db_cluster_identifier()?;
    let is_as_left = name.eq_ignore_ascii_case(&replaced.retired_identifier)
        && tag(found.tag_list(), RETIRED_BY_TAG) == Some(restore_id);
    let until = tag(found.tag_list(), RETIRED_UNTIL_TAG).filter(|_| is_as_left)?;
    OffsetDateTime::parse(until, &Rfc3339).ok()
}

async fn stop(client: &Client, found: &DbCluster) -> Result<(), StepError> {
    if found.status() != Some("available") {
        return Ok(());
    }
    rds::refuse_member(found)?;
    cleanup::stop(client, found.db_cluster_identifier().unwrap_or_default()).await
}

/// Takes the next step of the removal: RDS takes no snapshot of a cluster that is stopped, and deletes none that is or
/// that has instances. Nothing is deleted before the last snapshot is there.
async fn remove(
    client: &Client,
    restore: &Restore,
    replaced: &Replaced,
    retire: &Retire,
    found: &DbCluster,
) -> Result<Vec<String>, StepError> {
    let name = &replaced.retired_identifier;
    match found.status() {
        Some("stopped") => {
            let asked = client
                .start_db_cluster()
                .db_cluster_identifier(name)
                .send()
                .await;
            asked.map_err(|error| StepError::from_sdk(format!("start `{name}`"), error))?;
            return Ok(Vec::new());
        }
        Some("available") => {}
        _ => return Ok(Vec::new()),
    }
    let members = found.db_cluster_members().iter();
    let members: Vec<&str> = members
        .filter_map(|member| member.db_instance_identifier())
        .collect();
    let is_its_own = |member: &&str| replaced.instances.iter().any(|known| known == *member);
    if let Some(foreign) = members.iter().find(|member| !is_its_own(member)) {
        return Ok(vec![format!(
            "retired cluster `{name}` has an instance `{foreign}` that was not there when it was replaced, and stays"
        )]);
    }
    let id = RestoreId::parse(&restore.plan().restore_id)?;
    if retire.final_snapshot && !has_last_snapshot(client, &id, replaced, name).await? {
        return Ok(Vec::new());
    }
    for member in members {
        if let Err(error) = client
            .delete_db_instance()
            .db_instance_identifier(member)
            .send()
            .await
        {
            match wire_code(&error) {
                // It is being deleted, or gone.
                Some("InvalidDBInstanceState" | "DBInstanceNotFound") => {}
                _ => {
                    return Err(StepError::from_sdk(
                        format!("delete instance `{member}`"),
                        error,
                    ));
                }
            }
        }
    }
    let asked = client
        .delete_db_cluster()
        .db_cluster_identifier(name)
        .skip_final_snapshot(true)
        .send()
        .await;
    match asked {
        Ok(_) => Ok(Vec::new()),
        Err(error) => {
            let error = StepError::from_sdk(format!("delete retired cluster `{name}`"), error);
            Ok(vec![error.to_string()])
        }
    }
}

/// Whether the last snapshot of the cluster is there; asks for it where nobody has.
async fn has_last_snapshot(
    client: &Client,
    id: &RestoreId,
    replaced: &Replaced,
    name: &str,
) -> Result<bool, StepError> {
    let snapshot = id.final_snapshot(&replaced.identifier);
    let Some(found) = rds::find_snapshot(client, &snapshot).await? else {
        let asked = client
            .create_db_cluster_snapshot()
            .db_cluster_identifier(name)
            .db_cluster_snapshot_identifier(&snapshot);
        let asked = asked.send().await.map(|_| false);
        return asked.map_err(|error| {
            StepError::from_sdk(format!("take snapshot `{snapshot}` of `{name}`"), error)
        });
    };
    if found.db_cluster_resource_id() != Some(&replaced.resource_id) {
        let text = format!("snapshot `{snapshot}` is of another cluster than `{name}`");
        return Err(StepError::new(&AR0012, text));
    }
    Ok(found.status() == Some("available"))
}
