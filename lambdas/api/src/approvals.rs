//! Approving and rejecting restores that wait for it.

use aurora_restore_core::approval::{self, Verdict, Wanted};
use aurora_restore_core::errors::AR0001;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::{Context, StepError, request};
use serde::Deserialize;
use serde_json::json;

use crate::http::{Answer, Asked};

/// What `POST /restores/{id}/approval` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    decision: Word,
    comment: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Approve,
    Reject,
}

/// Decides in the name of whom API Gateway authenticated: 200, also when the same was decided before.
///
/// # Errors
/// AR0001 for a body that is no decision, AR0055 when it does not count.
pub(crate) async fn decide(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    let id = RestoreId::parse(asked.path_parameter("id"))?;
    let body = asked.body.as_deref().unwrap_or_default();
    let body: Body = request::parse(body)
        .map_err(|problem| StepError::new(&AR0001, format!("the body: {problem}")))?;
    let verdict = match body.decision {
        Word::Approve => Verdict::Approved,
        Word::Reject => Verdict::Rejected,
    };
    let wanted = Wanted::read(verdict, asked.caller(), body.comment.as_deref(), "comment")?;
    let (table, now) = (context.table(), context.clock.now());
    let decided = approval::decide(&table, context.aws.sfn(), &id, &wanted, now).await?;
    tracing::info!(restoreId = id.as_str(), caller = asked.caller(), decision = %decided.decision, "decided");
    Ok(Answer::json(
        200,
        &json!({
            "restoreId": id.as_str(),
            "decision": decided.decision,
            "recorded": decided.recorded,
            "heard": decided.heard,
        }),
    ))
}
