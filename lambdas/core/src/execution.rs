//! What Step Functions says of an execution, for whoever acts in its stead.

use aws_sdk_sfn::types::ExecutionStatus;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::errors::{StepError, wire_code};
use crate::plan::Plan;
use crate::step::Context;

/// Names of executions can be used again after 90 days; two that start this far apart are two.
const SAME_START: time::Duration = time::Duration::minutes(1);

/// The longest that an execution may run, by the definition.
pub const LONGEST: time::Duration = time::Duration::days(10);

/// A cause may be as long as 32 KB; people need its beginning.
const CAUSE_LIMIT: usize = 500;

/// What Step Functions knows of an execution.
enum Known {
    /// Nothing: it never was, or ended long ago.
    Not,
    /// Only a later one of its name.
    Later,
    /// It runs, or runs again because it was redriven.
    Running,
    /// It ended, in words.
    Ended(String),
}

/// How an execution ended, in words; `None` while it runs, or runs again because it was redriven.
///
/// The plan, once there is one, tells it from a later execution of the same name. An execution that Step Functions
/// does not know is that of a person who carries the restore out step by step, until no execution could run so long.
///
/// # Errors
/// What Step Functions refuses.
pub async fn how_it_ended(
    context: &Context,
    arn: &str,
    plan: Option<&Plan>,
) -> Result<Option<String>, StepError> {
    let started = plan.map(|plan| plan.execution_started_at.as_str());
    Ok(match look(context, arn, started).await? {
        Known::Not => {
            let abandoned =
                plan.is_some_and(|plan| context.clock.now() > plan.planned_at + LONGEST);
            abandoned.then(|| "is not known to Step Functions".to_owned())
        }
        Known::Later => Some("is known no longer, only a later one of its name".to_owned()),
        Known::Running => None,
        Known::Ended(how) => Some(how),
    })
}

/// Whether the execution of this ARN that started then runs, or runs again because it was redriven.
///
/// # Errors
/// What Step Functions refuses.
pub async fn runs(context: &Context, arn: &str, started_at: &str) -> Result<bool, StepError> {
    let known = look(context, arn, Some(started_at)).await?;
    Ok(matches!(known, Known::Running))
}

async fn look(context: &Context, arn: &str, started_at: Option<&str>) -> Result<Known, StepError> {
    let found = match context
        .aws
        .sfn()
        .describe_execution()
        .execution_arn(arn)
        .send()
        .await
    {
        Ok(found) => found,
        Err(error) if wire_code(&error) == Some("ExecutionDoesNotExist") => return Ok(Known::Not),
        Err(error) => {
            return Err(StepError::from_sdk(
                format!("describe execution `{arn}`"),
                error,
            ));
        }
    };
    let found_start = OffsetDateTime::from_unix_timestamp(found.start_date().secs()).ok();
    let started = started_at.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    if let (Some(found), Some(started)) = (found_start, started)
        && found > started + SAME_START
    {
        return Ok(Known::Later);
    }
    let how = match found.status() {
        ExecutionStatus::Failed => "failed",
        ExecutionStatus::TimedOut => "timed out",
        ExecutionStatus::Aborted => "was stopped",
        ExecutionStatus::Succeeded => "succeeded",
        // Running, or waiting to be redriven, or what this version has not heard of: left alone.
        _ => return Ok(Known::Running),
    };
    let mut said = [found.error(), found.cause()]
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    if let Some((end, _)) = said.char_indices().nth(CAUSE_LIMIT) {
        said.truncate(end);
    }
    Ok(Known::Ended(if said.is_empty() {
        how.to_owned()
    } else {
        format!("{how} ({said})")
    }))
}
