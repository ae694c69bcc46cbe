//! Takes over the name of a cluster, and gives it back.
//!
//! Two renamings: the replaced cluster makes way, then ours takes the name. In between
//! nobody bears it, and clients cannot connect. Each call takes the next step that is
//! not done yet, and what is done is found out by looking: both clusters are known by
//! their resource ids, which stay through a change of name. Ours is in quarantine all
//! the while: who finds it under the name cannot write into it, so that giving the name
//! back loses nothing.

use std::error::Error;

use aws_sdk_rds::Client;
use aws_sdk_rds::types::{DbCluster, Tag};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use time::OffsetDateTime;

use super::{Back, Rename, Replaced};
use crate::errors::{AR0027, AR0028, AR0047, AR0048, AR0049, StepError, wire_code};
use crate::ledger::{Begun, GivenName, Restore, rfc3339};
use crate::ownership::{RETIRED_BY_TAG, RETIRED_UNTIL_TAG, tag};
use crate::plan::Plan;
use crate::rds;
use crate::step::Context;
use crate::switching::pointer::Before;

/// IAM allows the renaming by the mark, which may not be known everywhere at once.
const MARKS_ARE_KNOWN_AFTER: time::Duration = time::Duration::minutes(1);

/// Takes the next step towards the name; `Ok` once ours bears it.
///
/// # Errors
/// AR0028 before the first renaming, while one of the two is not at rest; AR0047 when the replaced cluster is not what
/// the plan says, or somebody else has the name; AR0048 while a renaming is under way; AR0066 when the replaced cluster
/// is in a global database by now.
pub async fn take_over(
    context: &Context,
    restore: &Restore,
    rename: &Rename,
    ours: &DbCluster,
) -> Result<(), StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let name = &rename.name;
    if is_called(ours, name) {
        return match is_at_rest(ours) {
            true => Ok(()),
            false => Err(under_way(format!("`{name}` is ours and not at rest yet"))),
        };
    }
    if let Some(replaced) = &rename.replaced {
        make_way(context, restore, rename, replaced, ours).await?;
    } else if !is_at_rest(ours) {
        return Err(not_at_rest(ours));
    } else {
        restore
            .begin_switch(context.clock.now(), Before::default())
            .await?;
    }
    if !is_at_rest(ours) {
        return Err(under_way(format!(
            "ours is to be called `{name}` and is not at rest"
        )));
    }
    restore
        .give_name(GivenName {
            arn: rename.arn.clone(),
            identifier: name.clone(),
        })
        .await?;
    let own = ours.db_cluster_identifier().unwrap_or_default();
    match give(&client, own, name).await {
        Ok(()) => Err(under_way(format!("`{own}` becomes `{name}`"))),
        Err(Refusal::Taken(error)) => Err(taken(&client, rename, error).await?),
        Err(Refusal::Other(error)) => Err(error),
    }
}

/// The replaced cluster gets the name of a retired one; `Ok` once it bears that.
async fn make_way(
    context: &Context,
    restore: &Restore,
    rename: &Rename,
    replaced: &Replaced,
    ours: &DbCluster,
) -> Result<(), StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let (name, retired) = (&rename.name, &replaced.retired_identifier);
    let Some(found) = rds::find_cluster_by_id(&client, &replaced.resource_id).await? else {
        let text = format!("cluster `{name}` ({}) is gone", replaced.resource_id);
        return Err(StepError::new(&AR0047, text));
    };
    if is_called(&found, retired) {
        return Ok(());
    }
    if !is_called(&found, name) {
        let now = found.db_cluster_identifier().unwrap_or_default();
        let text = format!(
            "cluster `{name}` ({}) is called `{now}` now",
            replaced.resource_id
        );
        return Err(StepError::new(&AR0047, text));
    }
    if new_name(&found).is_some() || found.status() == Some("renaming") {
        return Err(under_way(format!("`{name}` becomes `{retired}`")));
    }
    rds::refuse_member(&found)?;
    // Once it makes way, clients wait for ours.
    if let Some(busy) = [ours, &found]
        .into_iter()
        .find(|cluster| !is_at_rest(cluster))
    {
        return Err(not_at_rest(busy));
    }
    let begun = restore
        .begin_switch(context.clock.now(), Before::default())
        .await?;
    mark(&client, restore.plan(), replaced, &found, &begun).await?;
    restore.hold().await?;
    let marked_just_now = context.clock.now() < begun.at + MARKS_ARE_KNOWN_AFTER;
    match give(&client, name, retired).await {
        Ok(()) => Err(under_way(format!("`{name}` becomes `{retired}`"))),
        Err(Refusal::Other(error)) if marked_just_now && *error.code() == AR0027 => Err(under_way(
            format!("the mark of `{name}` may not be known yet: {error}"),
        )
        .caused_by(error)),
        Err(Refusal::Taken(error)) => {
            // It may be an earlier attempt of this call that took it.
            let again = rds::find_cluster_by_id(&client, &replaced.resource_id).await?;
            let ours = |found: &DbCluster| is_called(found, retired) || new_name(found).is_some();
            Err(match again.is_some_and(|found| ours(&found)) {
                true => under_way(format!("`{name}` becomes `{retired}`")),
                false => StepError::new(&AR0047, format!("there is a cluster `{retired}` already")),
            }
            .caused_by(error))
        }
        Err(Refusal::Other(error)) => Err(error),
    }
}

/// Marks the replaced cluster and, where it is to be removed later, its instances: IAM lets the pipeline rename, stop
/// and remove only what carries the mark. All of it again when it is repeated.
pub(super) async fn mark(
    client: &Client,
    plan: &Plan,
    replaced: &Replaced,
    found: &DbCluster,
    begun: &Begun,
) -> Result<(), StepError> {
    // The cluster first: while it carries the mark, its instances may.
    for arn in marked(plan, replaced, found) {
        let marked = client
            .add_tags_to_resource()
            .resource_name(&arn)
            .set_tags(Some(marks(plan, begun.kept_until)))
            .send()
            .await;
        unless_gone(marked, format!("mark `{arn}` as replaced"))?;
    }
    Ok(())
}

/// The ARNs of what is marked, the cluster's first.
fn marked(plan: &Plan, replaced: &Replaced, found: &DbCluster) -> Vec<String> {
    let cluster = found.db_cluster_arn().unwrap_or(&replaced.arn).to_owned();
    let instances = replaced.instances.iter().map(|name| plan.arn("db", name));
    let instances = instances.filter(|_| replaced.retire.is_some());
    [cluster].into_iter().chain(instances).collect()
}

/// What somebody removed since the plan was made needs no mark, and carries none.
fn unless_gone<T, E>(
    answer: Result<T, SdkError<E, HttpResponse>>,
    action: String,
) -> Result<(), StepError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match answer {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(
                wire_code(&error),
                Some("DBInstanceNotFound" | "DBClusterNotFoundFault")
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(StepError::from_sdk(action, error)),
    }
}

fn marks(plan: &Plan, kept_until: Option<OffsetDateTime>) -> Vec<Tag> {
    let until = kept_until.map(|until| (RETIRED_UNTIL_TAG, rfc3339(until)));
    [Some((RETIRED_BY_TAG, plan.restore_id.clone())), until]
        .into_iter()
        .flatten()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// Takes the marks back, from the instances first.
pub(super) async fn unmark(
    client: &Client,
    plan: &Plan,
    replaced: &Replaced,
    found: &DbCluster,
) -> Result<(), StepError> {
    for arn in marked(plan, replaced, found).into_iter().rev() {
        let removed = client
            .remove_tags_from_resource()
            .resource_name(&arn)
            .tag_keys(RETIRED_BY_TAG)
            .tag_keys(RETIRED_UNTIL_TAG)
            .send()
            .await;
        unless_gone(removed, format!("take the mark from `{arn}`"))?;
    }
    Ok(())
}

/// Takes the next step back: ours away from the name, the replaced cluster back to it, its marks off.
///
/// # Errors
/// What RDS refuses.
pub async fn take_back(
    context: &Context,
    restore: &Restore,
    rename: &Rename,
) -> Result<Back, StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let (name, standing) = (&rename.name, look(context, restore, rename).await?);
    match standing {
        Standing::Back => Ok(Back::Done),
        Standing::Marked(found, replaced) => {
            unmark(&client, restore.plan(), replaced, &found).await?;
            Ok(Back::UnderWay(format!(
                "the marks of `{name}` are taken off"
            )))
        }
        Standing::Moving(what) => Ok(Back::UnderWay(what)),
        Standing::OursHasIt => {
            let own = &restore.plan().target.cluster_identifier;
            take_again(give(&client, name, own).await)?;
            Ok(Back::UnderWay(format!("`{name}` becomes `{own}` again")))
        }
        Standing::Free(replaced) => {
            let retired = &replaced.retired_identifier;
            take_again(give(&client, retired, name).await)?;
            Ok(Back::UnderWay(format!(
                "`{retired}` becomes `{name}` again"
            )))
        }
        Standing::Stuck(error) => Ok(Back::Stuck(error)),
    }
}

/// What is not as it was before the switch; `None` when all is.
///
/// # Errors
/// What RDS refuses.
pub async fn not_back(
    context: &Context,
    restore: &Restore,
    rename: &Rename,
) -> Result<Option<Back>, StepError> {
    let name = &rename.name;
    Ok(match look(context, restore, rename).await? {
        Standing::Back => None,
        Standing::Stuck(error) => Some(Back::Stuck(error)),
        Standing::Moving(what) => Some(Back::UnderWay(what)),
        Standing::Marked(..) => Some(Back::UnderWay(format!("`{name}` carries marks"))),
        Standing::OursHasIt => Some(Back::UnderWay(format!("`{name}` is ours"))),
        Standing::Free(_) => Some(Back::UnderWay(format!("nobody is called `{name}`"))),
    })
}

/// Where the two clusters stand when the name is to be given back.
enum Standing<'a> {
    /// The replaced cluster serves under its name, as if nothing had been.
    Back,
    /// It does, and still carries our marks.
    Marked(Box<DbCluster>, &'a Replaced),
    /// A renaming is under way.
    Moving(String),
    /// Ours bears the name.
    OursHasIt,
    /// Nobody bears it.
    Free(&'a Replaced),
    /// No renaming of ours puts it right.
    Stuck(StepError),
}

async fn look<'a>(
    context: &Context,
    restore: &Restore,
    rename: &'a Rename,
) -> Result<Standing<'a>, StepError> {
    let client = context.aws.rds(&restore.plan().target.region);
    let name = &rename.name;
    let Some(replaced) = &rename.replaced else {
        return Ok(Standing::Back); // ours is deleted under whichever name it bears
    };
    let stuck = |why: String| Standing::Stuck(StepError::new(&AR0049, why));
    let (id, retired) = (&replaced.resource_id, &replaced.retired_identifier);
    let Some(found) = rds::find_cluster_by_id(&client, id).await? else {
        return Ok(stuck(format!(
            "cluster `{name}` ({id}) was replaced and is gone"
        )));
    };
    if new_name(&found).is_some() || found.status() == Some("renaming") {
        return Ok(Standing::Moving(format!(
            "`{name}` ({id}) is being renamed"
        )));
    }
    if is_called(&found, name) {
        return Ok(match tag(found.tag_list(), RETIRED_BY_TAG) {
            Some(by) if by == restore.plan().restore_id => {
                Standing::Marked(Box::new(found), replaced)
            }
            _ => Standing::Back,
        });
    }
    if !is_called(&found, retired) {
        let now = found.db_cluster_identifier().unwrap_or_default();
        return Ok(stuck(format!(
            "cluster `{name}` ({id}) is called `{now}`: somebody renamed it"
        )));
    }
    let ours = restore.target_resource().await?.resource_id;
    Ok(match rds::find_cluster(&client, name).await? {
        None => Standing::Free(replaced),
        Some(bearer) if bearer.db_cluster_resource_id() == ours.as_deref() => {
            match is_at_rest(&bearer) {
                true => Standing::OursHasIt,
                false => Standing::Moving(format!("`{name}` is ours and not at rest")),
            }
        }
        Some(_) => stuck(format!(
            "`{name}` is somebody else's by now, and the replaced cluster is called `{retired}`"
        )),
    })
}

/// Why a cluster did not get a name.
enum Refusal {
    Taken(StepError),
    Other(StepError),
}

async fn give(client: &Client, from: &str, to: &str) -> Result<(), Refusal> {
    let asked = client
        .modify_db_cluster()
        .db_cluster_identifier(from)
        .new_db_cluster_identifier(to)
        .apply_immediately(true)
        .send()
        .await;
    let Err(error) = asked else { return Ok(()) };
    let is_taken = wire_code(&error) == Some("DBClusterAlreadyExistsFault");
    let error = StepError::from_sdk(format!("rename cluster `{from}` to `{to}`"), error);
    Err(match is_taken {
        true => Refusal::Taken(error),
        false => Refusal::Other(error),
    })
}

/// A name that is taken was taken by an earlier attempt, or the next look tells who has it.
fn take_again(given: Result<(), Refusal>) -> Result<(), StepError> {
    match given {
        Err(Refusal::Other(error)) => Err(error),
        Ok(()) | Err(Refusal::Taken(_)) => Ok(()),
    }
}

/// Who has the name: one of the two, and it is only that RDS lags, or a stranger.
async fn taken(client: &Client, rename: &Rename, error: StepError) -> Result<StepError, StepError> {
    let (name, bearer) = (&rename.name, rds::find_cluster(client, &rename.name).await?);
    let known = rename
        .replaced
        .as_ref()
        .map(|replaced| replaced.resource_id.as_str());
    let is_stranger = |found: &DbCluster| found.db_cluster_resource_id() != known;
    Ok(match bearer.filter(is_stranger) {
        Some(_) => StepError::new(&AR0047, format!("`{name}` is somebody else's by now")),
        None => under_way(format!("`{name}` is not free yet")),
    }
    .caused_by(error))
}

fn is_called(cluster: &DbCluster, name: &str) -> bool {
    let found = cluster.db_cluster_identifier();
    found.is_some_and(|found| found.eq_ignore_ascii_case(name))
}

fn new_name(cluster: &DbCluster) -> Option<&str> {
    cluster.pending_modified_values()?.db_cluster_identifier()
}

fn is_at_rest(cluster: &DbCluster) -> bool {
    cluster.status() == Some("available") && new_name(cluster).is_none()
}

fn not_at_rest(cluster: &DbCluster) -> StepError {
    let (name, status) = (cluster.db_cluster_identifier(), cluster.status());
    let (name, status) = (name.unwrap_or_default(), status.unwrap_or_default());
    StepError::new(
        &AR0028,
        format!("cluster `{name}` is `{status}`, or about to be renamed"),
    )
}

fn under_way(what: String) -> StepError {
    StepError::new(&AR0048, what)
}
