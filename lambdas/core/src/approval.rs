//! A person's word before anything is made.
//!
//! The state Approve leaves its task token here, asks people, and looks whether they
//! decided. Who decides writes the decision down first, once, and tells the state
//! machine after: an answer that is lost on its way is found by the next look. The
//! steps that make something read the decision themselves, so that whoever can answer
//! a token cannot by that approve.
//!
//! What was asked and what was decided are partitions of their own, so that who may
//! decide need not be able to write anything else. The token leaves neither.

use std::fmt;

use aws_sdk_sfn::Client as Sfn;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::errors::{AR0001, AR0052, AR0053, AR0054, AR0055, AR0099, StepError, wire_code};
use crate::ledger::{self, rfc3339};
use crate::names::RestoreId;
use crate::plan::Plan;
use crate::request;
use crate::runtime::error_payload;
use crate::step::Context;
use crate::table::{Condition, Item, Table, Written};

/// The field of an execution's input that says who asks.
pub const REQUESTED_BY: &str = "requestedBy";

/// IAM's longest ARNs have 2,048 characters (IAM API reference, `arnType`).
const REQUESTER_LIMIT: usize = 2_048;

/// Characters of a comment or a reason.
const COMMENT_LIMIT: usize = 500;

/// Takes who asks off an execution's input; what is left is the request.
///
/// # Errors
/// AR0001 when it is no name.
pub fn take_requester(input: &Value) -> Result<(Value, Option<String>), StepError> {
    let mut input = input.clone();
    let taken = input
        .as_object_mut()
        .and_then(|fields| fields.shift_remove(REQUESTED_BY));
    let by = match taken {
        None => None,
        Some(Value::String(by)) if is_text(&by, REQUESTER_LIMIT) => Some(by),
        Some(other) => {
            return Err(StepError::new(
                &AR0001,
                format!(
                    "at `{REQUESTED_BY}`: {other}, expected who asks: an ARN, or up to {REQUESTER_LIMIT} characters"
                ),
            ));
        }
    };
    Ok((input, by))
}

fn is_text(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may be made.
    Approved,
    /// It may not.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        })
    }
}

/// A decision about a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// Who decided: an ARN; nobody, when it expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What they said to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.verdict)?;
        if let Some(by) = &self.by {
            write!(formatter, " by {by}")?;
        }
        write!(formatter, " at {}", rfc3339(self.at))?;
        if let Some(comment) = &self.comment {
            write!(formatter, ": {comment}")?;
        }
        Ok(())
    }
}

impl Decision {
    /// That nobody decided in time.
    pub fn expired(at: OffsetDateTime) -> Self {
        Self {
            verdict: Verdict::Expired,
            by: None,
            at,
            comment: None,
        }
    }

    /// The error that the restore ends with; none when it was approved.
    pub fn refusal(&self, restore_id: &str) -> Option<StepError> {
        let code = match self.verdict {
            Verdict::Approved => return None,
            Verdict::Rejected => &AR0052,
            Verdict::Expired => &AR0053,
        };
        Some(StepError::new(
            code,
            format!("restore `{restore_id}` was {self}"),
        ))
    }
}

/// What people were asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// When the execution started that waits.
    pub execution_started_at: String,
    /// From when a decision comes too late.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// Who asked for the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// Whether who asked for it may approve it.
    pub own_counts: bool,
    /// Seconds between two looks of the state that waits: a decision that it does not hear of, it finds within these.
    pub poll_seconds: u32,
}

/// The partition of what was asked about a restore.
pub fn asked_key(id: &str) -> String {
    format!("APPROVAL#{id}")
}

/// The partition of what was decided about a restore.
pub fn decision_key(id: &str) -> String {
    format!("DECISION#{id}")
}

const ASKED: &str = "ASKED";
const DECISION: &str = "DECISION";

/// From when a decision about this plan comes too late; `None` when it needs none.
pub fn until(plan: &Plan) -> Option<OffsetDateTime> {
    let needed = plan.approval.as_ref()?;
    Some(plan.planned_at + time::Duration::minutes(needed.expires_after_minutes.into()))
}

/// Leaves the token of the state that waits where a decision finds it, in place of an earlier one.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn leave_token(context: &Context, plan: &Plan, token: &str) -> Result<(), StepError> {
    let (Some(needed), Some(until)) = (&plan.approval, until(plan)) else {
        return Ok(());
    };
    let asked = Asked {
        execution_started_at: plan.execution_started_at.clone(),
        until,
        requested_by: plan.requested_by.clone(),
        own_counts: needed.own_counts,
        poll_seconds: needed.poll_seconds(),
    };
    let item = Item::key(&asked_key(&plan.restore_id), ASKED)
        .with("asked", to_json(&asked)?)
        .with("taskToken", token)
        .kept_from(context.clock.now());
    context.table().put(item, None).await.map(|_| ())
}

/// The decision about an execution's restore, if there is one.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn find(
    table: &Table,
    restore_id: &str,
    execution_started_at: &str,
) -> Result<Option<Decision>, StepError> {
    let item = table.get(&decision_key(restore_id), DECISION).await?;
    // A name can be used again, and what was decided then is nothing now.
    let own = item.filter(|item| item.text("executionStartedAt") == Some(execution_started_at));
    own.map(|item| read(&item, "decision")).transpose()
}

/// Writes a decision down, unless there is one; gives the one that stands, and whether it is this one.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn record(
    table: &Table,
    restore_id: &str,
    execution_started_at: &str,
    decision: &Decision,
) -> Result<(Decision, bool), StepError> {
    let item = Item::key(&decision_key(restore_id), DECISION)
        .with("decision", to_json(decision)?)
        .with("executionStartedAt", execution_started_at)
        .kept_from(decision.at);
    let first = Condition::new("attribute_not_exists(pk) OR #executionStartedAt <> :started")
        .name("executionStartedAt")
        .value("started", execution_started_at);
    if table.put(item, Some(first)).await? == Written::Yes {
        return Ok((decision.clone(), true));
    }
    let found = find(table, restore_id, execution_started_at).await?;
    let found =
        found.ok_or_else(|| StepError::defect("a decision was refused and none is recorded"))?;
    let is_this = found == *decision; // an answer of our own that was lost
    Ok((found, is_this))
}

/// Makes sure that what must be approved was, before anything is made. Gives from when on it may be made.
///
/// # Errors
/// AR0054 when nobody decided, AR0052 or AR0053 when it may not be made.
pub async fn require(context: &Context, plan: &Plan) -> Result<OffsetDateTime, StepError> {
    if plan.approval.is_none() {
        return Ok(plan.planned_at);
    }
    let (id, started) = (&plan.restore_id, &plan.execution_started_at);
    match find(&context.table(), id, started).await? {
        Some(decision) => match decision.refusal(id) {
            None => Ok(decision.at),
            Some(refused) => Err(refused),
        },
        None => Err(StepError::new(
            &AR0054,
            format!("restore `{id}` needs an approval, and nobody has given one"),
        )),
    }
}

/// What somebody wants to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Approved or rejected.
    pub verdict: Verdict,
    /// The ARN of who decides.
    pub by: String,
    /// What they say to it; a rejection has a reason.
    pub comment: Option<String>,
}

impl Wanted {
    /// Checks what a person wrote; `field` is what the comment is called where they wrote it.
    ///
    /// # Errors
    /// AR0001 naming the field.
    pub fn read(
        verdict: Verdict,
        by: &str,
        comment: Option<&str>,
        field: &str,
    ) -> Result<Self, StepError> {
        let refused = |found: &str| {
            let text = format!(
                "at `{field}`: {found}, expected 1 to {COMMENT_LIMIT} characters in one line"
            );
            Err(StepError::new(&AR0001, text))
        };
        match comment {
            None if verdict == Verdict::Rejected => return refused("absent"),
            Some(comment) if !is_text(comment, COMMENT_LIMIT) => {
                return refused(&format!("`{comment}`"));
            }
            _ => {}
        }
        if by.is_empty() {
            return Err(StepError::defect("nobody is known to decide"));
        }
        Ok(Self {
            verdict,
            by: by.to_owned(),
            comment: comment.map(str::to_owned),
        })
    }
}

/// A decision that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// It.
    #[serde(flatten)]
    pub decision: Decision,
    /// Whether this call made it; `false` when the same had been decided before.
    pub recorded: bool,
    /// Whether the state machine heard of it now. If not, the state that waits finds it, within `found_within_seconds`.
    pub heard: bool,
    /// Seconds between two looks of the state that waits.
    pub found_within_seconds: u32,
}

/// Decides about a restore that waits for it, and tells the state machine.
///
/// The same decision once more, by whomever, changes nothing and tells the state machine again.
///
/// # Errors
/// AR0055 when the restore does not wait for it (any more), when something else was decided before, and when somebody
/// approves their own where that does not count.
pub async fn decide(
    table: &Table,
    sfn: &Sfn,
    id: &RestoreId,
    wanted: &Wanted,
    now: OffsetDateTime,
) -> Result<Decided, StepError> {
    let name = id.as_str();
    let refused = |why: String| StepError::new(&AR0055, format!("restore `{name}` {why}"));
    let Some((asked, _)) = find_asked(table, name).await? else {
        let why = "does not wait for an approval: none was asked for under this id";
        return Err(refused(why.to_owned()));
    };
    let started = &asked.execution_started_at;
    let (decision, recorded) = match find(table, name, started).await? {
        Some(found) => (found, false),
        None => {
            refuse_late(table, id, &asked, now).await?;
            if wanted.verdict == Verdict::Approved
                && !asked.own_counts
                && asked.requested_by.as_deref() == Some(wanted.by.as_str())
            {
                return Err(refused(format!(
                    "was asked for by {}, and nobody approves their own here",
                    wanted.by
                )));
            }
            let decision = Decision {
                verdict: wanted.verdict,
                by: Some(wanted.by.clone()),
                at: now,
                comment: wanted.comment.clone(),
            };
            record(table, name, started, &decision).await?
        }
    };
    if decision.verdict != wanted.verdict {
        return Err(refused(format!("was {decision}, and that stands")));
    }
    // The state that waits may have come again, with another token, since it was looked at.
    let token = find_asked(table, name).await?.map(|(_, token)| token);
    let heard = match token {
        None => false,
        // It stands: whoever waits finds it, whatever keeps it from being told.
        Some(token) => tell(sfn, name, &token, &decision)
            .await
            .unwrap_or_else(|error| {
                tracing::warn!("{error}");
                false
            }),
    };
    Ok(Decided {
        decision,
        recorded,
        heard,
        found_within_seconds: asked.poll_seconds,
    })
}

/// Refuses to decide what nobody waits for any more.
async fn refuse_late(
    table: &Table,
    id: &RestoreId,
    asked: &Asked,
    now: OffsetDateTime,
) -> Result<(), StepError> {
    let name = id.as_str();
    if let Some(ending) = ledger::ending(table, id).await? {
        let ended = ending.status.name();
        let text = format!("restore `{name}` has ended, {ended}");
        return Err(StepError::new(&AR0055, text));
    }
    if now >= asked.until {
        let until = rfc3339(asked.until);
        let text = format!("restore `{name}` could be decided about until {until}");
        return Err(StepError::new(&AR0055, text));
    }
    Ok(())
}

async fn find_asked(table: &Table, id: &str) -> Result<Option<(Asked, String)>, StepError> {
    let Some(item) = table.get(&asked_key(id), ASKED).await? else {
        return Ok(None);
    };
    let token = item.text("taskToken").unwrap_or_default().to_owned();
    Ok(Some((read(&item, "asked")?, token)))
}

/// Answers the token of the state that waits; whether it was heard. A token that was answered before, or whose
/// attempt or execution is over, is ordinary.
///
/// # Errors
/// What Step Functions refuses.
pub async fn tell(
    sfn: &Sfn,
    restore_id: &str,
    token: &str,
    decision: &Decision,
) -> Result<bool, StepError> {
    let sent = match decision.refusal(restore_id) {
        None => {
            let success = sfn.send_task_success().task_token(token);
            // What the state machine asks next is whether an approval is needed: no longer.
            let sent = success.output("false").send().await;
            sent.map(drop).map_err(|error| {
                let code = wire_code(&error).map(str::to_owned);
                (code, StepError::from_sdk("report the approval", error))
            })
        }
        Some(refusal) => {
            let failure = sfn.send_task_failure().task_token(token);
            let failure = failure
                .error(refusal.kind().name())
                .cause(error_payload(&refusal).to_string());
            failure.send().await.map(drop).map_err(|error| {
                let code = wire_code(&error).map(str::to_owned);
                (code, StepError::from_sdk("report the refusal", error))
            })
        }
    };
    match sent {
        Ok(()) => Ok(true),
        Err((Some(code), _))
            if ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"].contains(&code.as_str()) =>
        {
            Ok(false)
        }
        Err((_, error)) => Err(error),
    }
}

/// What a report says of a restore's approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalReport {
    /// `awaited`, `approved`, `rejected` or `expired`.
    pub state: String,
    /// Whether the target is production, so that it is needed whatever the request says.
    pub production: bool,
    /// Who asked for the restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// From when a decision comes too late (RFC 3339).
    pub until: String,
    /// The decision, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What a report says of a plan's approval; `None` when it needs none.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn report(table: &Table, plan: &Plan) -> Result<Option<ApprovalReport>, StepError> {
    let (Some(needed), Some(until)) = (&plan.approval, until(plan)) else {
        return Ok(None);
    };
    let decision = find(table, &plan.restore_id, &plan.execution_started_at).await?;
    let state = decision.as_ref().map_or("awaited".to_owned(), |decision| {
        decision.verdict.to_string()
    });
    Ok(Some(ApprovalReport {
        state,
        production: needed.production,
        requested_by: plan.requested_by.clone(),
        until: rfc3339(until),
        decision,
    }))
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StepError> {
    serde_json::to_string(value)
        .map_err(|error| StepError::defect("a record of ours does not serialize").caused_by(error))
}

fn read<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> Result<T, StepError> {
    let text = item.text(name).unwrap_or_default();
    request::parse(text).map_err(|problem| {
        let place = item.text("pk").unwrap_or("?");
        StepError::new(&AR0099, format!("`{place}`, `{name}`: {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_asks_is_no_part_of_the_request() {
        let by = "arn:aws:iam::123456789012:user/dba";
        let (rest, found) =
            take_requester(&json!({"profile": "nightly", "requestedBy": by})).unwrap();
        assert_eq!(
            (rest, found.as_deref()),
            (json!({"profile": "nightly"}), Some(by))
        );
        let (rest, found) = take_requester(&json!("no object")).unwrap();
        assert_eq!((rest, found), (json!("no object"), None));
        for by in [json!(""), json!(7), json!("a\nb"), json!("x".repeat(2_049))] {
            let refused = take_requester(&json!({"requestedBy": by})).unwrap_err();
            assert!(refused.message().contains("`requestedBy`"), "{refused}");
        }
    }

    #[test]
    fn a_rejection_says_why_and_a_comment_is_one_line() {
        let read =
            |verdict, comment| Wanted::read(verdict, "arn:aws:iam::1:user/a", comment, "reason");
        assert!(read(Verdict::Approved, None).is_ok());
        assert!(read(Verdict::Rejected, Some("not today")).is_ok());
        for (verdict, comment) in [
            (Verdict::Rejected, None),
            (Verdict::Rejected, Some("")),
            (Verdict::Approved, Some("two\nlines")),
        ] {
            let refused = read(verdict, comment).unwrap_err();
            assert!(refused.message().starts_with("at `reason`"), "{refused}");
        }
    }

    #[test]
    fn only_an_approval_is_no_error() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let decision = |verdict| Decision {
            verdict,
            by: Some("arn:aws:iam::1:user/a".to_owned()),
            at,
            comment: Some("why".to_owned()),
        };
        assert!(decision(Verdict::Approved).refusal("r").is_none());
        let rejected = decision(Verdict::Rejected).refusal("r").unwrap();
        assert_eq!(
            rejected.message(),
            "restore `r` was rejected by arn:aws:iam::1:user/a at 1970-01-01T00:00:00Z: why"
        );
        assert_eq!(
            Decision::expired(at).refusal("r").unwrap().code().id,
            "AR0053"
        );
    }
}
