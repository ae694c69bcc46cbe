//! Ends a wait early when RDS says that something happened.
//!
//! EventBridge delivers RDS events here, best effort: duplicates, latecomers and
//! events about other people's resources are ordinary. An event is only a hint to
//! look; what it says is not believed.

use aurora_restore_core::ledger;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step, StepError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wait::{Heard, Progress, WaitFor, observe};

/// The step.
pub const STEP: Step = Step { name: "wake", run };

/// An RDS event as EventBridge delivers it (Aurora User Guide, "Monitoring Amazon Aurora events").
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    detail: Detail,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Detail {
    source_arn: Option<String>,
    #[serde(rename = "EventID")]
    event_id: Option<String>,
}

/// What the function's log learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Waits that were answered.
    pub answered: usize,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        answer(&wake(context, event).await?)
    })
}

async fn wake(context: &Context, event: Event) -> Result<Answer, StepError> {
    let mut arns = event.resources;
    arns.extend(event.detail.source_arn);
    arns.sort_unstable();
    arns.dedup();
    let mut answered = 0;
    for arn in &arns {
        if answers(context, arn).await? {
            answered += 1;
        }
    }
    tracing::info!(
        event = event.detail.event_id.unwrap_or_default(),
        answered,
        "woken"
    );
    Ok(Answer { answered })
}

/// Looks at what the restore that waits for this resource waits for, and answers it if it can.
async fn answers(context: &Context, arn: &str) -> Result<bool, StepError> {
    let Some(waiting) = ledger::find_token(context, arn).await? else {
        return Ok(false);
    };
    let Ok(wait_for) = serde_json::from_value::<WaitFor>(Value::from(waiting.wait_for.as_str()))
    else {
        return Err(StepError::defect(format!(
            "a token waits for `{}`",
            waiting.wait_for
        )));
    };
    let Some(restore) = Restore::find(context, &RestoreId::parse(&waiting.restore_id)?).await?
    else {
        return Ok(false);
    };
    match observe::look(context, &restore, wait_for).await? {
        Progress::Pending(seen) => {
            tracing::info!(restoreId = waiting.restore_id, seen, "not yet");
            Ok(false)
        }
        // That takes more than one look: the wait's own.
        Progress::Missing(error) => {
            tracing::info!(restoreId = waiting.restore_id, %error, "not yet");
            Ok(false)
        }
        decided => wait::respond(context, &waiting.task_token, decided)
            .await
            .map(|heard| heard == Heard::Answered),
    }
}
