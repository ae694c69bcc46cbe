//! Starting restores, looking at one, and listing them.

use std::collections::BTreeMap;

use aurora_restore_core::errors::{AR0001, wire_code};
use aurora_restore_core::ledger::Status;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::report::{self, Report};
use aurora_restore_core::table::{Item, Order};
use aurora_restore_core::{Context, StepError, region, request};
use aws_sdk_sfn::types::ExecutionStatus;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::http::{Answer, Asked};

/// Restores on one page: when nothing is asked, and at most.
const PAGE_DEFAULT: i32 = 25;
const PAGE_MAX: i32 = 100;

/// Letters of a cluster identifier at most.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBCluster.html>
const LONGEST_IDENTIFIER: usize = 63;

/// What `POST /restores` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    name: String,
    request: Value,
}

/// Starts a restore: 201, or 200 when it was started before with the same request.
///
/// # Errors
/// AR0001 for what cannot be a name or a request, AR0034 when the name is another request's, AR0064 where another region
/// is the active one.
pub(crate) async fn start(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    let body = asked.body.as_deref().unwrap_or_default();
    let body: Start = request::parse(body)
        .map_err(|problem| StepError::new(&AR0001, format!("the body: {problem}")))?;
    let id = name(&body.name)?;
    // Plan would refuse it; whoever asks is told where to ask instead.
    if let Some(passive) = region::passive(context).await? {
        return Err(passive);
    }
    let started = start::start(context, &id, &body.request, asked.caller()).await?;
    tracing::info!(
        restoreId = id.as_str(),
        caller = asked.caller(),
        started = started.started,
        "asked for"
    );
    let status = if started.started { 201 } else { 200 };
    let answer = Answer::json(
        status,
        &json!({ "restoreId": started.restore_id, "executionArn": started.execution_arn, "started": started.started }),
    );
    Ok(answer.with_header("location", format!("restores/{}", id.as_str())))
}

/// A name that needs no escaping, neither in a path nor for Step Functions.
fn name(name: &str) -> Result<RestoreId, StepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=80).contains(&name.len()) && name.chars().all(allowed) {
        return RestoreId::parse(name);
    }
    Err(StepError::new(
        &AR0001,
        format!(
            "at `name`: `{name}`, expected 1 to 80 letters, digits, hyphens, dots or underscores"
        ),
    ))
}

/// One line of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    restore_id: String,
    outcome: String,
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Listed {
    pub(crate) fn of(item: &Item) -> Self {
        let text = |name: &str| item.text(name).map(str::to_owned);
        Self {
            restore_id: text("restoreId").unwrap_or_default(),
            outcome: text("status").unwrap_or_default(),
            started_at: text("startedAt").unwrap_or_default(),
            ended_at: text("endedAt"),
            target: text("target").filter(|target| !target.is_empty()),
        }
    }
}

/// Lists the restores of one outcome or of one target, newest first.
///
/// # Errors
/// AR0001 for a query that cannot be answered.
pub(crate) async fn list(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    let (index, attribute, value) = index(context, asked)?;
    let after = asked
        .query("nextToken")
        .map(|token| read_token(token, attribute, &value))
        .transpose()?;
    let (items, next) = context
        .table()
        .page_of_index(
            index,
            (attribute, &value),
            Order::NewestFirst,
            page_size(asked)?,
            after,
        )
        .await?;
    let restores: Vec<Listed> = items.iter().map(Listed::of).collect();
    let mut answer = json!({ "restores": restores });
    if let Some(next) = next {
        answer["nextToken"] = written_token(&next, attribute).into();
    }
    Ok(Answer::json(200, &answer))
}

/// The index that a query reads, and its key.
fn index(
    context: &Context,
    asked: &Asked,
) -> Result<(&'static str, &'static str, String), StepError> {
    match (asked.query("outcome"), asked.query("target")) {
        (Some(outcome), None) => Ok(("by-status", "status", known_outcome(outcome)?)),
        (None, Some(target)) => Ok(("by-target", "target", target_arn(context, target)?)),
        (outcome, target) => Err(query(
            "outcome` or `target",
            &format!(
                "{} and {}",
                outcome.unwrap_or("nothing"),
                target.unwrap_or("nothing")
            ),
            "exactly one of the two",
        )),
    }
}

fn known_outcome(outcome: &str) -> Result<String, StepError> {
    let known = [
        Status::Running,
        Status::Restored,
        Status::FailedClean,
        Status::FailedDirty,
    ];
    let known = known.map(Status::name);
    if known.contains(&outcome) {
        return Ok(outcome.to_owned());
    }
    Err(query("outcome", outcome, &known.join(", ")))
}

/// A target by its ARN, or by its cluster identifier in the pipeline's own account and region.
fn target_arn(context: &Context, target: &str) -> Result<String, StepError> {
    let identifier = target.rsplit(':').next().unwrap_or(target);
    let is_identifier = (1..=LONGEST_IDENTIFIER).contains(&identifier.len())
        && identifier
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    let is_arn = target.starts_with("arn:") && target.split(':').count() == 7;
    if !is_identifier || (identifier != target && !is_arn) {
        return Err(query("target", target, "a cluster's identifier or ARN"));
    }
    if is_arn {
        return Ok(target.to_owned());
    }
    let machine: Vec<&str> = context.settings.state_machine_arn()?.split(':').collect();
    match machine.as_slice() {
        ["arn", partition, _, region, account, ..] => Ok(format!(
            "arn:{partition}:rds:{region}:{account}:cluster:{}",
            target.to_ascii_lowercase()
        )),
        _ => Err(StepError::defect(
            "the state machine's ARN has no region and account",
        )),
    }
}

fn page_size(asked: &Asked) -> Result<i32, StepError> {
    let Some(limit) = asked.query("limit") else {
        return Ok(PAGE_DEFAULT);
    };
    let size = limit
        .parse()
        .ok()
        .filter(|size| (1..=PAGE_MAX).contains(size));
    size.ok_or_else(|| query("limit", limit, &format!("1 to {PAGE_MAX}")))
}

/// The key to go on after, but for what the query itself says.
fn written_token(key: &Item, attribute: &str) -> String {
    let texts = key.0.keys().filter(|name| *name != attribute);
    let texts: Map<String, Value> = texts
        .filter_map(|name| Some((name.clone(), key.text(name)?.into())))
        .collect();
    URL_SAFE_NO_PAD.encode(Value::Object(texts).to_string())
}

fn read_token(token: &str, attribute: &str, value: &str) -> Result<Item, StepError> {
    let refused = || query("nextToken", token, "what the page before answered with");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    let texts: BTreeMap<String, String> = request::parse(&text).map_err(|_| refused())?;
    if !texts.keys().eq(["pk", "sk", "startedAt"]) {
        return Err(refused());
    }
    let key = texts
        .iter()
        .fold(Item::default(), |key, (name, text)| key.with(name, text));
    Ok(key.with(attribute, value))
}

fn query(name: &str, value: &str, expected: &str) -> StepError {
    StepError::new(
        &AR0001,
        format!("at the query's `{name}`: `{value}`, expected {expected}"),
    )
}

/// One restore: where it stands, and its report once there is one.
///
/// # Errors
/// AR0001 for what cannot be a restore's id.
pub(crate) async fn get(context: &Context, asked: &Asked) -> Result<Answer, StepError> {
    let id = RestoreId::parse(asked.path_parameter("id"))?;
    let report = report::build(&context.table(), &id, context.clock.now()).await?;
    let arn = start::execution_arn(context.settings.state_machine_arn()?, id.as_str());
    if let Some(report) = report {
        return Ok(Answer::json(
            200,
            &json!({
                "restoreId": id.as_str(),
                "executionArn": arn,
                "outcome": report.outcome,
                "state": last_state(&report),
                "report": report,
            }),
        ));
    }
    Ok(match execution_status(context, &arn).await? {
        Some(status) => Answer::json(
            200,
            &json!({ "restoreId": id.as_str(), "executionArn": arn, "outcome": unrecorded(&status), "state": null, "report": null }),
        ),
        None => Answer::error(
            404,
            "NotFound",
            &format!("there is no restore `{}`", id.as_str()),
        ),
    })
}

/// The state that was entered last.
fn last_state(report: &Report) -> Option<&str> {
    let last = report
        .steps
        .iter()
        .max_by(|one, other| one.started_at.cmp(&other.started_at));
    last.map(|step| step.state.as_str())
}

/// What an execution without a record is: not planned yet, ended before it was, or so long ago that its record is
/// gone. It succeeds in `Restored` alone.
fn unrecorded(status: &ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Failed | ExecutionStatus::TimedOut | ExecutionStatus::Aborted => {
            Status::FailedClean.name()
        }
        ExecutionStatus::Succeeded => Status::Restored.name(),
        _ => Status::Running.name(),
    }
}

async fn execution_status(
    context: &Context,
    arn: &str,
) -> Result<Option<ExecutionStatus>, StepError> {
    let found = context
        .aws
        .sfn()
        .describe_execution()
        .execution_arn(arn)
        .send()
        .await;
    match found {
        Ok(found) => Ok(Some(found.status)),
        Err(error)
            if matches!(
                wire_code(&error),
                Some("ExecutionDoesNotExist" | "InvalidArn")
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(StepError::from_sdk(
            format!("describe execution `{arn}`"),
            error,
        )),
    }
}
