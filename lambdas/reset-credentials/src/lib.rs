//! Takes the source's credentials away from the restored cluster.
//!
//! A restore brings every password of the source with it. First the master password
//! is replaced: by RDS itself, which stores it in a secret of its own, or by one that
//! the pipeline makes and stores. Then, with the new password, every other login role
//! loses login and password.
//!
//! Two states call this step: ResetCredentials, and, after the wait for the new
//! password, LockLoginRoles.

mod master;

use aurora_restore_core::errors::{AR0028, StepError};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::sql::SqlError;
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "reset-credentials",
    run,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
    action: Action,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    ResetCredentials,
    LockLoginRoles,
}

/// What the state machine learns of LockLoginRoles.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Locked {
    /// How many roles lost login and password in this call.
    pub locked_roles: usize,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let restore = Restore::load(context, &RestoreId::parse(&event.restore_id)?).await?;
        match event.action {
            Action::ResetCredentials => answer(&master::reset(context, &restore).await?),
            Action::LockLoginRoles => answer(&lock_login_roles(context, &restore).await?),
        }
    })
}

/// Takes login and password from every other login role, with the new master password.
///
/// # Errors
/// AR0028 while the new password is not in force, AR0032 while the server cannot be reached.
pub async fn lock_login_roles(context: &Context, restore: &Restore) -> Result<Locked, StepError> {
    let cluster = restore.describe_target(context).await?;
    restore.prove_target(&cluster).await?;
    restore.hold().await?;
    let endpoint = restore.endpoint(&cluster)?;
    let master = restore.new_master_credentials(context, &cluster).await?;
    let engine = restore.plan().source.engine;
    let locked = match engine.lock_other_logins(&endpoint, &master).await {
        Ok(locked) => locked,
        // RDS reports `available` before a new password is in force.
        Err(SqlError::Refused) => {
            return Err(StepError::new(
                &AR0028,
                "the new master password is not in force yet",
            ));
        }
        Err(other) => return Err(other.during("lock the other login roles")),
    };
    if engine.accepts(&endpoint, &master).await? {
        master::promote(context, restore).await?;
    }
    tracing::info!(roles = ?locked, "login and password taken from every other login role");
    Ok(Locked {
        locked_roles: locked.len(),
    })
}
