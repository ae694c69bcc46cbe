//! Targets whose time is over.

use aurora_restore_core::errors::AR0012;
use aurora_restore_core::expiry::{self, Expiry};
use aurora_restore_core::ledger::{Resource, ResourceKind, ResourceState, ToDo};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::ownership::{EXPIRES_AT_TAG, RETIRED_BY_TAG, is_tagged, tag};
use aurora_restore_core::rds;
use aurora_restore_core::{Context, Restore, StepError};
use time::OffsetDateTime;
use wait::undo::Seen;

/// Whether this cluster of a restored restore goes, and when: by the time that stands in the table, and by the tag as it
/// is today, whichever is later. Who wants to keep a target longer changes both, or the tag, or takes it away.
pub(crate) fn goes_at(
    expiry: &Expiry,
    recorded: &Resource,
    tag: Option<&str>,
    resource_id: Option<&str>,
) -> Option<OffsetDateTime> {
    let ours = resource_id.is_some() && recorded.resource_id.as_deref() == resource_id;
    expiry.with_tag(tag).filter(|_| ours)
}

/// What became of an expired target.
pub(crate) enum Removal {
    /// Somebody else has its lock, or changed its time in the same moment.
    Locked,
    /// It stays, for this reason.
    Kept(String),
    /// It is being removed, or gone; what was refused for now.
    Begun(Vec<String>),
}

/// Whether RDS is deleting the target's cluster, which it does once all of its instances are on their way out.
///
/// # Errors
/// What AWS refuses.
pub(crate) async fn is_being_deleted(context: &Context, id: &RestoreId) -> Result<bool, StepError> {
    let restore = Restore::load(context, id).await?;
    let target = &restore.plan().target;
    let client = context.aws.rds(&target.region);
    let found = rds::find_cluster(&client, &target.cluster_identifier).await?;
    Ok(found.is_some_and(|found| found.status() == Some("deleting")))
}

/// Removes an expired target under its lock, or goes on with it. Looks first, every time: what people did to it in
/// the meantime keeps it, and nothing of it is deleted by halves.
///
/// # Errors
/// What AWS refuses.
pub(crate) async fn remove(context: &Context, id: &RestoreId) -> Result<Removal, StepError> {
    let restore = Restore::load(context, id).await?;
    let resources = restore.resources().await?;
    let expiry = expiry::stands(&context.table(), restore.plan()).await?;
    if let Some(reason) = kept_by(context, &restore, &resources, &expiry).await? {
        restore.abandon(ToDo::Expire, context.clock.now()).await?;
        return Ok(Removal::Kept(reason));
    }
    let now = context.clock.now();
    if !restore
        .begin_removal(ToDo::Expire, Some(&expiry), now)
        .await?
    {
        return Ok(Removal::Locked);
    }
    let mut refused = Vec::new();
    for resource in resources {
        if resource.state == ResourceState::Removed {
            continue;
        }
        match cleanup::delete(context, &restore, &resource).await {
            Ok(_) => {}
            Err(error) if *error.code() == AR0012 => tracing::warn!("{error}"),
            Err(error) => refused.push(error.to_string()),
        }
    }
    let seen = Seen::now(context, &restore, false).await?;
    // Somebody renamed it or took its tag: then it is theirs to remove.
    let astray = seen.astray.iter().map(|found| {
        format!(
            "`{}` lost the restore's tag or its name, and stays",
            found.arn
        )
    });
    refused.extend(astray);
    if seen.leaving.is_empty() {
        seen.record_removed(&restore).await?;
        restore.end_expiry(context.clock.now()).await?;
    }
    Ok(Removal::Begun(refused))
}

/// What keeps the target, if it is there and not on its way out.
async fn kept_by(
    context: &Context,
    restore: &Restore,
    resources: &[Resource],
    expiry: &Expiry,
) -> Result<Option<String>, StepError> {
    let Some(found) = restore.find_target(context).await? else {
        return Ok(None);
    };
    let name = restore.plan().name();
    let id = found.db_cluster_resource_id();
    let recorded = resources.iter().find(|resource| {
        resource.kind == ResourceKind::Cluster && resource.resource_id.as_deref() == id
    });
    // Another cluster of this name: ours is gone.
    let Some(recorded) = recorded.filter(|_| found.status() != Some("deleting")) else {
        return Ok(None);
    };
    let (tags, now) = (found.tag_list(), context.clock.now());
    let goes_at = goes_at(expiry, recorded, tag(tags, EXPIRES_AT_TAG), id);
    let due = goes_at.is_some_and(|at| at <= now);
    let retired = tag(tags, RETIRED_BY_TAG).is_some();
    if !due || retired || !is_tagged(tags, &restore.plan().restore_id) {
        return Ok(Some(format!(
            "cluster `{name}` is not to expire any more, and stays"
        )));
    }
    if found.deletion_protection() == Some(true) {
        return Ok(Some(format!(
            "cluster `{name}` is protected against deletion, and stays"
        )));
    }
    // Whoever made a global database of it needs it: what RDS refuses is the deletion of the cluster alone, last of all.
    if let Err(member) = rds::refuse_member(&found) {
        return Ok(Some(format!("{}, and stays", member.message())));
    }
    let is_ours = |instance: &str| {
        resources.iter().any(|resource| {
            resource.kind == ResourceKind::Instance
                && resource.identifier.eq_ignore_ascii_case(instance)
        })
    };
    let members = found.db_cluster_members().iter();
    let foreign = members
        .filter_map(|member| member.db_instance_identifier())
        .find(|instance| !is_ours(instance));
    Ok(foreign.map(|instance| {
        format!("cluster `{name}` has an instance `{instance}` of somebody else's, and stays")
    }))
}
