//! How a failed restore ends: clean or dirty, by a fresh look at the account.
//!
//! The look is at what carries the restore's tag and at what the ledger names, not
//! at what our own calls answered. Only when neither is there any more is the end
//! `FailedClean`. Past the deadline, whatever is still there is named, each with the
//! command that removes it, and the end is `FailedDirty`; so is, without that wait, what
//! somebody protected against deletion, renamed, or took our tag from, because no
//! waiting changes that. A target that is in service is kept; then the end is dirty too,
//! because the run failed and something stands.

use aurora_restore_core::errors::{AR0020, AR0026, AR0049, AR0099, Code, wire_code};
use aurora_restore_core::ledger::{
    self, Ending, Leftover, Resource, ResourceKind, ResourceState, Status,
};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::rds::{self, Found};
use aurora_restore_core::switching::{self, Back};
use aurora_restore_core::{Context, Plan, Restore, StepError, ownership};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Progress;

/// What cannot be seen may still appear this long after the lock was sealed: a create call that was under way or
/// whose answer was lost, or a resource that RDS does not show yet, or not yet with its tags.
pub(crate) const APPEARS_WITHIN: time::Duration = time::Duration::minutes(3);

/// Undo gives up after two hours at most: its loop writes many events, and a history holds 25,000.
const LONGEST_MINUTES: u32 = 120;

/// What a Catch leaves behind: the error's name and its cause.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    /// The error's name; a task can fail without one.
    pub error: Option<String>,
    /// For a function's error, Lambda's JSON with `errorMessage`; a task can fail without one.
    pub cause: Option<String>,
}

impl Failure {
    /// The documented code and the one line for people.
    ///
    /// What did not come from a step (a timeout, a crash, a mistake in the definition) has no code of its own.
    pub fn describe(&self) -> (&'static Code, String) {
        let error = self.error.as_deref().unwrap_or("an error without a name");
        let cause = self.cause.as_deref().unwrap_or_default();
        let message = serde_json::from_str::<Value>(cause)
            .ok()
            .and_then(|cause| {
                cause
                    .get("errorMessage")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            })
            .unwrap_or_else(|| cause.to_owned());
        if let Some(code) = message.split_whitespace().next().and_then(Code::find) {
            return (code, message);
        }
        let timeout = error.contains("Timeout") || error.contains("Timedout");
        let code = if timeout { &AR0020 } else { &AR0099 };
        (
            code,
            format!("{} {}: {error} {message}", code.id, code.title),
        )
    }
}

/// Whose undo is looked at.
#[derive(Debug)]
pub struct Look<'a> {
    /// The restore.
    pub id: &'a RestoreId,
    /// Its execution.
    pub execution_arn: &'a str,
    /// When the execution started, as Step Functions tells it.
    pub started_at: &'a str,
    /// The state that undoes: its first record says from when the deadline counts.
    pub state: &'a str,
    /// When the undo began, where there is no such record.
    pub entered_at: OffsetDateTime,
    /// How often this wait has looked before.
    pub attempt: u32,
    /// What led to Undo.
    pub failure: Option<&'a Failure>,
}

/// What an undo has come to.
#[derive(Debug)]
pub enum Undoing {
    /// What is left goes by itself, or may still appear; a word for the log.
    Pending(String),
    /// Something is there and is not being deleted: Undo has to ask again.
    Again,
    /// It is over, and this end is on record.
    Ended(Ending),
}

impl From<Undoing> for Progress {
    fn from(undoing: Undoing) -> Self {
        match undoing {
            Undoing::Pending(seen) => Self::Pending(seen),
            // The state machine goes back to Undo.
            Undoing::Again => Self::Done(json!({ "status": Status::Running.name() })),
            Undoing::Ended(ending) => Self::Done(serde_json::to_value(ending).unwrap_or_default()),
        }
    }
}

/// Looks once, and records the end when there is one.
///
/// # Errors
/// What RDS or DynamoDB refuses.
pub async fn look(
    context: &Context,
    restore: Option<&Restore>,
    look: &Look<'_>,
) -> Result<Undoing, StepError> {
    let Some(restore) = restore else {
        let ending = ending(look.failure, Vec::new(), Vec::new());
        ledger::end_without_plan(context, look.id, look.execution_arn, &ending).await?;
        return Ok(Undoing::Ended(ending));
    };
    // A repeated step, or an execution that goes on after its undo was finished for it: the end stands.
    if let Some(recorded) = ledger::ending(&context.table(), look.id).await?
        && recorded.status != Status::Restored
    {
        return Ok(Undoing::Ended(recorded));
    }
    let now = context.clock.now();
    let sealed_at = restore.seal(now).await?;
    let in_service = restore.is_in_service().await?;
    let seen = Seen::now(context, restore, in_service).await?;
    let not_back = if in_service {
        None
    } else {
        switching::not_back(context, restore).await?
    };
    // A record of an earlier execution of the same name says nothing of this undo.
    let started = OffsetDateTime::parse(look.started_at, &Rfc3339).unwrap_or(look.entered_at);
    let recorded = ledger::step_began(context, look.id, look.state).await?;
    let began = recorded
        .filter(|began| *began >= started)
        .unwrap_or(look.entered_at);
    let minutes = restore.plan().waits.change_deadline_minutes;
    let deadline = began + time::Duration::minutes(minutes.min(LONGEST_MINUTES).into());
    if now < deadline
        && let Some(Back::UnderWay(what)) = &not_back
    {
        return Ok(match look.attempt {
            0 => Undoing::Pending(what.clone()),
            _ => Undoing::Again,
        });
    }
    // For what somebody protected against deletion there is nothing to wait for.
    let going = || seen.leaving.iter().filter(|found| !found.protected);
    if now < deadline && going().next().is_some() {
        let stays = going().find(|found| found.status != "deleting");
        return Ok(match stays {
            // A status may lag behind an accepted call, so the first look draws no conclusion.
            Some(found) if look.attempt > 0 => {
                tracing::warn!(
                    arn = found.arn,
                    status = found.status,
                    "not being deleted; undo tries again"
                );
                Undoing::Again
            }
            _ => Undoing::Pending(format!("{} resources still there", going().count())),
        });
    }
    let appears_until = sealed_at.unwrap_or(began) + APPEARS_WITHIN;
    // A renaming whose answer was lost may still come.
    let switched = restore.switch_begun().await?.is_some() && !in_service;
    let unclear = seen.gone.len() + seen.astray.len() + usize::from(switched);
    if going().next().is_none() && unclear > 0 && now < appears_until {
        return Ok(Undoing::Pending(format!(
            "{unclear} resources may still appear, or show their tag"
        )));
    }
    seen.record_removed(restore).await?;
    let region = &restore.plan().target.region;
    let mut left: Vec<&Found> = seen.leaving.iter().chain(&seen.astray).collect();
    left.sort_by_key(|found| found.kind); // the order in which the commands must be given
    let mut leftovers: Vec<Leftover> = left
        .into_iter()
        .map(|found| Leftover::found(found, region))
        .collect();
    leftovers.extend(not_back.as_ref().and_then(|_| switching::leftover(restore)));
    let mut ending = ending(look.failure, leftovers, seen.kept);
    if let (Some(back), Some(cause)) = (&not_back, &mut ending.cause) {
        cause.push_str(&format!(" {}", told(back)));
    }
    if let (true, Some(replaced)) = (in_service, restore.plan().switch.replaced()) {
        let cause = ending.cause.get_or_insert_default();
        cause.push_str(&format!(
            " It came in the place of `{}` ({}), which is called `{}` now, and stays.",
            replaced.identifier, replaced.resource_id, replaced.retired_identifier
        ));
    }
    restore.end(&ending, now).await.map(Undoing::Ended)
}

/// What is told of a switch that is not taken back.
fn told(back: &Back) -> String {
    match back {
        Back::Stuck(error) => error.report(),
        Back::UnderWay(what) => StepError::new(&AR0049, what.clone()).report(),
        Back::Done => String::new(),
    }
}

/// A fresh look at the account.
#[derive(Debug)]
pub struct Seen {
    /// What of this restore is there and must go.
    pub leaving: Vec<Found>,
    /// What this restore made and somebody has renamed or taken our tag from: there, and not ours to delete.
    pub astray: Vec<Found>,
    /// What the ledger names and is not there.
    pub gone: Vec<Resource>,
    /// What is in service and stays.
    pub kept: Vec<String>,
}

impl Seen {
    /// Looks; what is in service is kept.
    ///
    /// # Errors
    /// What RDS, Secrets Manager or DynamoDB refuses.
    pub async fn now(
        context: &Context,
        restore: &Restore,
        in_service: bool,
    ) -> Result<Self, StepError> {
        let plan = restore.plan();
        let client = context.aws.rds(&plan.target.region);
        let ledger = restore.resources().await?;
        let mut leaving = rds::find_tagged(&client, &plan.restore_id).await?;
        leaving.extend(find_copies_elsewhere(context, plan).await?);
        // A tag alone proves nothing: anybody can set it, and people's own snapshots of our cluster may inherit it.
        let (mut astray, mut gone) = (Vec::new(), Vec::new());
        leaving.retain(|found| {
            if ledger.iter().any(|resource| resource.is_renamed(found)) {
                astray.push(found.clone());
            }
            ledger.iter().any(|resource| resource.is(found))
        });
        for resource in &ledger {
            let removed = resource.state == ResourceState::Removed;
            let found = if resource.kind == ResourceKind::Secret {
                find_secret(context, resource).await?
            } else if removed
                || leaving.iter().any(|found| resource.is(found))
                || astray.iter().any(|found| resource.is_renamed(found))
            {
                continue;
            } else {
                let there = context.aws.rds(resource.region(plan));
                rds::find_unlisted(&there, resource, plan).await?
            };
            let tagged = |found: &Found| found.restore_id == plan.restore_id;
            match found {
                Some(found) if tagged(&found) && resource.is(&found) => leaving.push(found),
                _ if removed => {}
                Some(found) if resource.made => astray.push(found),
                _ => gone.push(resource.clone()),
            }
        }
        // A target in service is kept, and with it what belongs to it.
        let goes = |found: &Found| !in_service || found.kind == ResourceKind::SnapshotCopy;
        let (leaving, kept): (Vec<Found>, Vec<Found>) = leaving.into_iter().partition(goes);
        let (astray, kept_too): (Vec<Found>, Vec<Found>) = astray.into_iter().partition(goes);
        let kept = kept.into_iter().chain(kept_too);
        Ok(Self {
            leaving,
            astray,
            gone,
            kept: kept.map(|found| found.arn).collect(),
        })
    }

    /// Records in the ledger what is gone.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn record_removed(&self, restore: &Restore) -> Result<(), StepError> {
        for resource in &self.gone {
            restore.removed(resource.clone()).await?;
        }
        Ok(())
    }
}

/// What carries our tag among the snapshots of the regions where a copy was made on the way.
async fn find_copies_elsewhere(context: &Context, plan: &Plan) -> Result<Vec<Found>, StepError> {
    let mut found = Vec::new();
    let elsewhere = plan
        .copies
        .iter()
        .filter(|copy| copy.region != plan.target.region);
    for copy in elsewhere {
        let there = context.aws.rds(&copy.region);
        found.extend(rds::find_tagged_snapshots(&there, &plan.restore_id).await?);
    }
    Ok(found)
}

/// The secret of this name, whosever it is; one that is marked for deletion is gone.
async fn find_secret(context: &Context, resource: &Resource) -> Result<Option<Found>, StepError> {
    let name = &resource.identifier;
    let client = context.aws.secrets_manager();
    match client.describe_secret().secret_id(name).send().await {
        Ok(secret) => {
            let mut tags = secret.tags().iter();
            let tag = tags.find(|tag| tag.key() == Some(ownership::RESTORE_ID_TAG));
            let restore_id = tag.and_then(|tag| tag.value()).unwrap_or_default();
            let there = secret.deleted_date().is_none();
            Ok(there.then(|| Found::secret(name, restore_id)))
        }
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(StepError::from_sdk(
            format!("describe secret `{name}`"),
            error,
        )),
    }
}

fn ending(failure: Option<&Failure>, leftovers: Vec<Leftover>, kept: Vec<String>) -> Ending {
    let (code, mut cause) = match failure {
        Some(failure) => failure.describe(),
        None => (
            &AR0099,
            format!(
                "{} {}: no failure was handed to Undo",
                AR0099.id, AR0099.title
            ),
        ),
    };
    let clean = leftovers.is_empty() && kept.is_empty();
    if clean {
        cause.push_str(" Nothing was left behind.");
    }
    if !kept.is_empty() {
        cause.push_str(&format!(
            " In service already, and kept: {}.",
            kept.join(", ")
        ));
    }
    if !leftovers.is_empty() {
        let commands: Vec<&str> = leftovers
            .iter()
            .map(|leftover| leftover.remove_with.as_str())
            .collect();
        cause.push_str(&format!(
            " {} {}; remove with: {}",
            AR0026.id,
            AR0026.title,
            commands.join("; ")
        ));
    }
    let status = if clean {
        Status::FailedClean
    } else {
        Status::FailedDirty
    };
    Ending {
        status,
        error: Some(code.id.to_owned()),
        cause: Some(cause),
        leftovers,
        kept,
        target: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_failure_keeps_its_code_and_message() {
        let failure = Failure {
            error: Some("Rejected".into()),
            cause: Some(
                r#"{"errorType":"Rejected","errorMessage":"AR0007 snapshot not found: x. Do y."}"#
                    .into(),
            ),
        };
        let (code, message) = failure.describe();
        assert_eq!(
            (code.id, message.as_str()),
            ("AR0007", "AR0007 snapshot not found: x. Do y.")
        );
    }

    #[test]
    fn a_failure_without_a_name_or_a_cause_is_still_a_failure() {
        let failure: Failure = serde_json::from_str(r#"{"Error": null, "Cause": null}"#).unwrap();
        assert_eq!(failure.describe().0.id, "AR0099");
    }

    #[test]
    fn a_failure_that_no_step_reported_is_a_timeout_or_a_defect() {
        let of = |error: &str| {
            Failure {
                error: Some(error.into()),
                cause: None,
            }
            .describe()
            .0
            .id
        };
        assert_eq!(of("States.Timeout"), "AR0020");
        assert_eq!(of("States.Runtime"), "AR0099");
    }

    #[test]
    fn a_failure_is_clean_only_when_nothing_is_left() {
        let leftover = Leftover {
            arn: "a".into(),
            remove_with: "aws ...".into(),
        };
        assert_eq!(ending(None, vec![], vec![]).status, Status::FailedClean);
        let dirty = ending(None, vec![leftover], vec![]);
        assert_eq!(dirty.status, Status::FailedDirty);
        assert!(dirty.cause.unwrap().contains("aws ..."));
        assert_eq!(
            ending(None, vec![], vec!["arn".into()]).status,
            Status::FailedDirty
        );
    }
}
