//! Asks people whether a restore may go on, and hears what they decided.
//!
//! The state Approve calls this with a task token whenever a heartbeat is missed. The
//! token is left where a decision finds it, then the record is looked at: token
//! first, look second, so that a decision in between finds the token. People are told
//! when it begins, and once more when a quarter of the time is left.

use std::fmt::Write;

use aurora_restore_core::approval::{self, Decision};
use aurora_restore_core::ledger::rfc3339;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::once::Once;
use aurora_restore_core::plan::{ApprovalNeeded, Plan};
use aurora_restore_core::{Context, Restore, StepError};
use estimate::{duration, planned};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// What the state Approve hands over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    restore_id: String,
    started_at: String,
    task_token: String,
}

/// What the invocation answers; the state machine does not see it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Looked {
    /// `awaited`, or what was decided.
    state: String,
    /// Whether people were told by this call.
    told: bool,
}

/// Looks once: hands a decision on, lets the approval expire when its time is over, or asks.
///
/// # Errors
/// AR0014 when the lock was lost; what SNS refuses: a restore that nobody can be asked about does not wait.
pub(crate) async fn ask(context: &Context, event: &Event) -> Result<Looked, StepError> {
    let id = RestoreId::parse(&event.restore_id)?;
    let restore = Restore::load(context, &id)
        .await?
        .of_execution(&event.started_at)?;
    let plan = restore.plan();
    let (Some(needed), Some(until)) = (&plan.approval, approval::until(plan)) else {
        let text = format!("restore `{}` needs no approval", id.as_str());
        return Err(StepError::defect(text));
    };
    // Once Undo has begun, nobody's word changes anything.
    restore.hold().await?;
    approval::leave_token(context, plan, &event.task_token).await?;
    if let Some(decision) = decided(context, plan, until).await? {
        approval::tell(context.aws.sfn(), id.as_str(), &event.task_token, &decision).await?;
        return Ok(Looked {
            state: decision.verdict.to_string(),
            told: false,
        });
    }
    let now = context.clock.now();
    let asked = Question {
        plan,
        needed,
        until,
    };
    let mut told = tell_once(context, &asked, "ask").await?;
    if now >= remind_at(plan, until) {
        // Whoever is told that it begins is not told in the same moment that it soon ends.
        told |= !told && tell_once(context, &asked, "remind").await?;
    }
    tracing::info!(told, "waiting for an approval");
    Ok(Looked {
        state: "awaited".to_owned(),
        told,
    })
}

/// The decision that stands, if there is one by now; when its time is over, that is one.
async fn decided(
    context: &Context,
    plan: &Plan,
    until: OffsetDateTime,
) -> Result<Option<Decision>, StepError> {
    let (table, now) = (context.table(), context.clock.now());
    let (id, started) = (&plan.restore_id, &plan.execution_started_at);
    let found = approval::find(&table, id, started).await?;
    if found.is_some() || now < until {
        return Ok(found);
    }
    let (stands, _) = approval::record(&table, id, started, &Decision::expired(now)).await?;
    Ok(Some(stands))
}

/// When a quarter of the time is left.
fn remind_at(plan: &Plan, until: OffsetDateTime) -> OffsetDateTime {
    until - (until - plan.planned_at) / 4
}

/// What people are asked about.
struct Question<'a> {
    plan: &'a Plan,
    needed: &'a ApprovalNeeded,
    until: OffsetDateTime,
}

/// Publishes the question, if nobody has; whether this call did.
async fn tell_once(
    context: &Context,
    question: &Question<'_>,
    name: &str,
) -> Result<bool, StepError> {
    let plan = question.plan;
    let once = Once::new(approval::asked_key(&plan.restore_id), name);
    let (table, now) = (context.table(), context.clock.now());
    if !once.claim(&table, now).await? {
        return Ok(false);
    }
    let reminder = name != "ask";
    let subject = subject(plan, reminder);
    let takes = match duration::expected(&table, plan).await {
        Ok(expected) => expected.in_words(),
        // Nobody waits longer for a decision because this is not known.
        Err(error) => format!("unknown: {}", error.message()),
    };
    let message = message(question, &takes, &context.settings.pipeline, reminder);
    let attributes = [
        ("outcome", "ApprovalNeeded"),
        ("restoreId", plan.restore_id.as_str()),
    ];
    if let Err(error) = crate::publish(context, &subject, &message, &attributes).await {
        once.untold(&table).await?;
        return Err(error);
    }
    // Told is told: that it could not be noted costs a second message at most.
    if let Err(error) = once.told(&table, now).await {
        tracing::warn!("{error}");
    }
    Ok(true)
}

fn subject(plan: &Plan, reminder: bool) -> String {
    let what = if reminder {
        "Approval still needed"
    } else {
        "Approval needed"
    };
    format!("{what}: {}", plan.name())
}

/// What becomes of what is there already.
fn destroyed(plan: &Plan) -> String {
    let Some(replaced) = plan.switch.replaced() else {
        return "nothing".to_owned();
    };
    let (name, kept) = (&replaced.identifier, &replaced.retired_identifier);
    let Some(retire) = &replaced.retire else {
        return format!("nothing: `{name}` is replaced, and kept as `{kept}`");
    };
    let snapshot = if retire.final_snapshot {
        "with"
    } else {
        "without"
    };
    format!(
        "`{name}` is replaced, kept as `{kept}` for {} hours, and then deleted {snapshot} a last snapshot",
        retire.keep_hours
    )
}

/// The plan for who decides, and how to decide. The token is not in it.
fn message(question: &Question<'_>, takes: &str, pipeline: &str, reminder: bool) -> String {
    let Question {
        plan,
        needed,
        until,
    } = question;
    let (id, source, target) = (&plan.restore_id, &plan.source, &plan.target);
    let beginning = if reminder {
        "Approval still needed"
    } else {
        "Approval needed"
    };
    let mut text = format!("{beginning}: restore {id}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}"); // writing to a string cannot fail
    };
    let because = if needed.production {
        "the target is production, as deployed"
    } else {
        "the request says so"
    };
    line("why", because);
    let unknown = "not said by whoever started the execution";
    line(
        "asked for by",
        plan.requested_by.as_deref().unwrap_or(unknown),
    );
    line("profile", plan.profile.as_deref().unwrap_or("none"));
    line("source", &source.to_string());
    line(
        "data of",
        &format!(
            "{}, {}",
            source.cluster_identifier,
            rfc3339(source.taken_at)
        ),
    );
    line("target", plan.named_arn());
    let readers = target.instances.len().saturating_sub(1);
    let mut classes: Vec<&str> = target
        .instances
        .iter()
        .map(|instance| instance.class.as_str())
        .collect();
    classes.dedup();
    line(
        "made",
        &format!("1 writer and {readers} readers, {}", classes.join(", ")),
    );
    line("reachable from", &target.security_group_ids.join(", "));
    line("destroyed", &destroyed(plan));
    match plan.expires_at {
        Some(at) => line("removed again", &rfc3339(at)),
        None => line("removed again", "never by itself"),
    }
    line("takes", takes);
    line("costs", &planned::cost_in_words(plan));
    line("decide until", &rfc3339(*until));
    let own = if needed.own_counts {
        "anybody who may, also who asked for it"
    } else {
        "anybody who may, but not who asked for it"
    };
    line("who decides", own);
    let stack = match pipeline {
        "aurora-restore" => String::new(),
        other => format!(" --stack {other}"),
    };
    line(
        "approve with",
        &format!("aurora-restore approve{stack} {id} --comment '…'"),
    );
    line(
        "reject with",
        &format!("aurora-restore reject{stack} {id} --reason '…'"),
    );
    line(
        "or",
        &format!(
            "POST /restores/{id}/approval with {{\"decision\": \"approve\"}} or {{\"decision\": \"reject\", \"comment\": \"…\"}}"
        ),
    );
    text
}
