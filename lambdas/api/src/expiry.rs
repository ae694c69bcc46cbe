//! Keeping the target of a restored restore longer, and letting it go, by the rules of the command line.

use aurora_restore_core::errors::AR0001;
use aurora_restore_core::expiry::{self, Wanted};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::{Context, StepError, request};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::http::{Answer, Asked};

/// What `POST /restores/{id}/extension` takes: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    hours: Option<u32>,
    until: Option<String>,
}

impl Body {
    fn wanted(&self) -> Result<Wanted, StepError> {
        match (self.hours, &self.until) {
            (Some(hours), None) => Ok(Wanted::Later(hours)),
            (None, Some(until)) => {
                let at = OffsetDateTime::parse(until, &Rfc3339).map_err(|error| {
                    let text = format!(
                        "at `until`: `{until}`, expected a time such as 2026-11-28T18:00:00Z"
                    );
                    StepError::new(&AR0001, text).caused_by(error)
                })?;
                Ok(Wanted::At(at))
            }
            (hours, _) => Err(StepError::new(
                &AR0001,
                format!(
                    "the body: {}, expected exactly one of `hours` and `until`",
                    hours.map_or("neither", |_| "both")
                ),
            )),
        }
    }
}

/// Keeps a target longer, in the name of whom API Gateway authenticated: 200.
///
/// # Errors
/// AR0001 for a body that says no time, or one that is not permitted; AR0055 when there is nothing to change.
pub(crate) async fn extend(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    let body = asked.body.as_deref().unwrap_or_default();
    let body: Body = request::parse(body)
        .map_err(|problem| StepError::new(&AR0001, format!("the body: {problem}")))?;
    change(context, asked, body.wanted()?).await
}

/// Lets a target go now, likewise. The reaper removes it when it comes next.
///
/// # Errors
/// AR0055 when there is nothing that could go, or it is protected.
pub(crate) async fn expire(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    change(context, asked, Wanted::Now).await
}

async fn change(context: &Context, asked: &Asked, wanted: Wanted) -> Result<Answer, StepError> {
    let id = RestoreId::parse(asked.path_parameter("id"))?;
    let changed = expiry::change(context, &id, wanted, asked.caller()).await?;
    Ok(Answer::json(200, &json!(changed)))
}
