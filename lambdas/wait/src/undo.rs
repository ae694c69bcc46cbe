//! How a failed restore ends: clean or dirty, by a fresh look at the account.
//!
//! The look is at what carries the restore's tag and at what the ledger names, not
//! at what our own calls answered. Only when neither is there any more is the end
//! `FailedClean`. Past the deadline, whatever is still there is named, each with the
//! command that removes it, and the end is `FailedDirty`.

use aurora_restore_core::errors::{AR0020, AR0026, AR0099, Code};
use aurora_restore_core::ledger::{self, Ending, Leftover, Resource, ResourceKind, ResourceState, Status};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::rds::{self, Found};
use aurora_restore_core::{Context, Restore, StepError};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::Progress;

/// Minutes that Undo's deletions may take when there is no plan to say so.
const DEADLINE_MINUTES: i64 = 60;

/// What a Catch leaves behind: the error's name and its cause.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    /// The error's name.
    pub error: String,
    /// For a function's error, Lambda's JSON with `errorMessage`.
    #[serde(default)]
    pub cause: String,
}

impl Failure {
    /// The documented code and the one line for people.
    ///
    /// What did not come from a step (a timeout, a crash, a mistake in the definition) has no code of its own.
    pub fn describe(&self) -> (&'static Code, String) {
        let message = serde_json::from_str::<Value>(&self.cause)
            .ok()
            .and_then(|cause| cause.get("errorMessage").and_then(Value::as_str).map(str::to_owned))
            .unwrap_or_else(|| self.cause.clone());
        match message.split_whitespace().next().and_then(Code::find) {
            Some(code) => (code, message),
            None if self.error.contains("Timeout") || self.error.contains("Timedout") => {
                (&AR0020, format!("{} {}: {} {message}", AR0020.id, AR0020.title, self.error))
            }
            None => (&AR0099, format!("{} {}: {} {message}", AR0099.id, AR0099.title, self.error)),
        }
    }
}

/// Whose undo is looked at.
#[derive(Debug)]
pub struct Look<'a> {
    /// The restore.
    pub id: &'a RestoreId,
    /// Its execution.
    pub execution_arn: &'a str,
    /// When the waiting began.
    pub entered_at: OffsetDateTime,
    /// What led to Undo.
    pub failure: Option<&'a Failure>,
}

/// Looks once, and records the end when there is one.
///
/// # Errors
/// What RDS or DynamoDB refuses.
pub async fn look(context: &Context, restore: Option<&Restore>, look: &Look<'_>) -> Result<Progress, StepError> {
    let Some(restore) = restore else {
        let ending = ending(look.failure, Vec::new(), false);
        ledger::end_without_plan(context, look.id, look.execution_arn, &ending).await?;
        return Ok(done(&ending));
    };
    let in_service = restore.is_in_service().await?;
    let remaining = remaining(context, restore).await?;
    let kept = |found: &Found| in_service && matches!(found.kind, ResourceKind::Instance | ResourceKind::Cluster);
    let leaving = remaining.iter().filter(|found| !kept(found)).count();
    let over = context.clock.now() >= look.entered_at + time::Duration::minutes(DEADLINE_MINUTES);
    let will_go = remaining.iter().filter(|found| !kept(found)).all(|found| found.status == "deleting");
    if leaving > 0 && will_go && !over {
        return Ok(Progress::Pending(format!("{leaving} resources still being deleted")));
    }
    let leftovers = remaining.iter().map(|found| leftover(found, &restore.plan().target.region)).collect();
    let ending = ending(look.failure, leftovers, in_service);
    restore.end(&ending, context.clock.now()).await?;
    Ok(done(&ending))
}

fn done(ending: &Ending) -> Progress {
    Progress::Done(serde_json::to_value(ending).unwrap_or_default())
}

/// What of this restore is still there, and a record in the ledger of what is not.
async fn remaining(context: &Context, restore: &Restore) -> Result<Vec<Found>, StepError> {
    let plan = restore.plan();
    let client = context.aws.rds(&plan.target.region);
    let mut remaining = rds::find_tagged(&client, &plan.restore_id).await?;
    for resource in restore.resources().await? {
        if resource.kind == ResourceKind::Secret {
            if secret_exists(context, &resource).await? {
                remaining.push(Found {
                    kind: resource.kind,
                    arn: resource.arn.clone(),
                    identifier: resource.identifier.clone(),
                    status: "present".to_owned(),
                });
                continue;
            }
        } else if remaining.iter().any(|found| found.arn.eq_ignore_ascii_case(&resource.arn)) {
            continue;
        }
        if resource.state != ResourceState::Removed {
            restore.removed(resource).await?;
        }
    }
    Ok(remaining)
}

async fn secret_exists(context: &Context, resource: &Resource) -> Result<bool, StepError> {
    match context.aws.secrets_manager().describe_secret().secret_id(&resource.identifier).send().await {
        Ok(secret) => Ok(secret.deleted_date().is_none()),
        Err(error) if aurora_restore_core::errors::wire_code(&error) == Some("ResourceNotFoundException") => Ok(false),
        Err(error) => Err(StepError::from_sdk(format!("describe secret `{}`", resource.identifier), error)),
    }
}

fn leftover(found: &Found, region: &str) -> Leftover {
    let name = &found.identifier;
    let command = match found.kind {
        ResourceKind::Instance => format!("aws rds delete-db-instance --region {region} --db-instance-identifier {name} --skip-final-snapshot"),
        ResourceKind::Cluster => format!("aws rds delete-db-cluster --region {region} --db-cluster-identifier {name} --skip-final-snapshot"),
        ResourceKind::SnapshotCopy => format!("aws rds delete-db-cluster-snapshot --region {region} --db-cluster-snapshot-identifier {name}"),
        ResourceKind::Secret => format!("aws secretsmanager delete-secret --region {region} --secret-id {name}"),
    };
    Leftover { arn: found.arn.clone(), remove_with: command }
}

fn ending(failure: Option<&Failure>, leftovers: Vec<Leftover>, in_service: bool) -> Ending {
    let (code, mut cause) = match failure {
        Some(failure) => failure.describe(),
        None => (&AR0099, format!("{} {}: no failure was handed to Undo", AR0099.id, AR0099.title)),
    };
    let status = if leftovers.is_empty() { Status::FailedClean } else { Status::FailedDirty };
    if leftovers.is_empty() {
        cause.push_str(" Nothing was left behind.");
    } else {
        if in_service {
            cause.push_str(" The target is in service already and was kept.");
        }
        cause.push_str(&format!(" {} ({}), remove with: ", AR0026.title, AR0026.id));
        let commands: Vec<&str> = leftovers.iter().map(|leftover| leftover.remove_with.as_str()).collect();
        cause.push_str(&commands.join("; "));
    }
    Ending { status, error: Some(code.id.to_owned()), cause: Some(cause), leftovers, target: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_failure_keeps_its_code_and_message() {
        let failure = Failure {
            error: "Rejected".into(),
            cause: r#"{"errorType":"Rejected","errorMessage":"AR0007 snapshot not found: x. Do y."}"#.into(),
        };
        let (code, message) = failure.describe();
        assert_eq!((code.id, message.as_str()), ("AR0007", "AR0007 snapshot not found: x. Do y."));
    }

    #[test]
    fn a_failure_that_no_step_reported_is_a_timeout_or_a_defect() {
        let of = |error: &str| Failure { error: error.into(), cause: String::new() }.describe().0.id;
        assert_eq!(of("States.Timeout"), "AR0020");
        assert_eq!(of("States.Runtime"), "AR0099");
    }

    #[test]
    fn a_failure_is_clean_only_when_nothing_is_left() {
        let leftover = Leftover { arn: "a".into(), remove_with: "aws ...".into() };
        assert_eq!(ending(None, vec![], false).status, Status::FailedClean);
        let dirty = ending(None, vec![leftover], true);
        assert_eq!(dirty.status, Status::FailedDirty);
        assert!(dirty.cause.unwrap().contains("aws ..."));
    }
}
