//! Tells people how a restore ended, and CloudWatch with it; and before that, where a
//! restore needs a person's approval, asks for it.
//!
//! What is told comes from the state table, not from the state machine's data. A
//! failure of this step never changes the outcome: the state machine sees to that.

mod approval;

use std::fmt::Write;

use aurora_restore_core::fidelity::Verdict;
use aurora_restore_core::ledger::{self, Ending, Status, ToDo};
use aurora_restore_core::metrics::{self, Unit};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::report::{self, Report};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Step, StepError};
use aws_sdk_sns::types::MessageAttributeValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "notify",
    run,
};

/// The action of the state that asks for approval; the others have none.
const ASKS: &str = "ask";

/// SNS takes subjects up to this many ASCII characters.
const SUBJECT_LIMIT: usize = 100;

/// The metrics that this step emits: one count for the outcome, and what it took.
pub const METRICS: [&str; 9] = [
    "Restored",
    "FailedClean",
    "FailedDirty",
    "RestoreDuration",
    "WaitingTime",
    "WorkingTime",
    "ResourcesRemoved",
    "Leftovers",
    "FailedChecks",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
    /// On failure, what the state machine knows; on success the record says it.
    #[serde(flatten)]
    failed: Option<Failed>,
}

/// A failed restore, as the state machine knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The execution.
    pub execution_arn: String,
    /// When it started.
    pub started_at: String,
    /// How it ended.
    pub ending: Ending,
}

/// What the state machine learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The outcome that was told: the recorded one, which a failed execution ends with, too.
    pub outcome: String,
    /// The documented code, when it failed.
    pub error: Option<String>,
    /// What happened and what to do, when it failed.
    pub cause: Option<String>,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        if event.get("action").is_some_and(|action| action == ASKS) {
            return answer(&approval::ask(context, &read_event(event)?).await?);
        }
        let event: Event = read_event(event)?;
        let id = RestoreId::parse(&event.restore_id)?;
        // Without a failure the state machine comes here once the restore is in service.
        let known = event.failed.is_none().then_some(Status::Restored);
        answer(&notify(context, &id, event.failed, known).await?)
    })
}

/// Publishes the outcome and its metrics.
///
/// `known` is the outcome to tell where the record cannot be read; without it, that is an error.
///
/// # Errors
/// What SNS refuses; what DynamoDB refuses, if it may pass or nothing else tells the outcome.
pub async fn notify(
    context: &Context,
    id: &RestoreId,
    failed: Option<Failed>,
    known: Option<Status>,
) -> Result<Answer, StepError> {
    let mut report = match recorded(context, id, failed.as_ref()).await {
        Ok(report) => report,
        // A person who hears little is better off than one who hears nothing.
        Err(error) if !error.kind().is_passing() && (failed.is_some() || known.is_some()) => {
            tracing::error!(
                code = error.code().id,
                "{error}; telling what the state machine knows"
            );
            None
        }
        Err(error) => return Err(error),
    }
    .unwrap_or_else(|| Report::unrecorded(id, known.unwrap_or(Status::Running)));
    if let Some(failed) = failed
        && report.outcome == Status::Running.name()
    {
        report.end(failed.ending); // what the state machine knows counts where it could not be recorded
    }
    let attributes = [
        ("outcome", report.outcome.as_str()),
        ("restoreId", &report.restore_id),
    ];
    publish(context, &subject(&report), &message(&report), &attributes).await?;
    emit_metrics(context, &report);
    // Told is told: that it could not be noted costs a second message at most.
    if let Err(error) = ledger::done(&context.table(), ToDo::Tell, id).await {
        tracing::warn!("{error}");
    }
    Ok(Answer {
        outcome: report.outcome,
        error: report.error,
        cause: report.cause,
    })
}

/// Publishes to the pipeline's topic, with attributes to filter by.
///
/// # Errors
/// What SNS refuses.
pub async fn publish(
    context: &Context,
    subject: &str,
    message: &str,
    attributes: &[(&str, &str)],
) -> Result<(), StepError> {
    let mut publish = context
        .aws
        .sns()
        .publish()
        .topic_arn(&context.settings.topic_arn)
        .subject(fitting(subject))
        .message(message);
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(*value)
            .build();
        let value = value.map_err(|error| {
            StepError::defect("a message attribute is incomplete").caused_by(error)
        })?;
        publish = publish.message_attributes(*name, value);
    }
    let said = publish.send().await;
    said.map(drop)
        .map_err(|error| StepError::from_sdk(format!("publish `{subject}`"), error))
}

/// A subject as SNS takes it.
fn fitting(subject: &str) -> String {
    let mut subject = subject.to_owned();
    subject.retain(|c| c.is_ascii() && !c.is_ascii_control());
    subject.truncate(SUBJECT_LIMIT);
    subject
}

/// The report from the record, once the end is on it; none when there is no record of this execution.
async fn recorded(
    context: &Context,
    id: &RestoreId,
    failed: Option<&Failed>,
) -> Result<Option<Report>, StepError> {
    if let Some(failed) = failed {
        let Failed {
            execution_arn,
            started_at,
            ending,
        } = failed;
        ledger::close(context, id, execution_arn, started_at, ending).await?;
    }
    let report = report::build(&context.table(), id, context.clock.now()).await?;
    // A record of an earlier execution of the same name is not this one's story.
    let is_own = |report: &Report| {
        let found = report.execution_started_at.as_deref();
        failed.is_none_or(|failed| found.is_none_or(|found| found == failed.started_at))
    };
    Ok(report.filter(is_own))
}

fn emit_metrics(context: &Context, report: &Report) {
    let profile = report.profile.as_deref().unwrap_or("none");
    let failed_checks = report
        .evidence
        .iter()
        .filter(|finding| !finding.passed)
        .count();
    metrics::emit(
        context,
        &[("Profile", profile)],
        &[
            (report.outcome.as_str(), Unit::Count, 1.0),
            ("RestoreDuration", Unit::Seconds, report.seconds.total),
            ("WaitingTime", Unit::Seconds, report.seconds.waiting),
            ("WorkingTime", Unit::Seconds, report.seconds.working),
            ("ResourcesRemoved", Unit::Count, report.removed.len() as f64),
            ("Leftovers", Unit::Count, report.leftovers.len() as f64),
            ("FailedChecks", Unit::Count, failed_checks as f64),
        ],
    );
}

fn subject(report: &Report) -> String {
    let target = report
        .target_cluster
        .as_deref()
        .unwrap_or(&report.restore_id);
    format!("{}: {target}", report.outcome)
}

fn message(report: &Report) -> String {
    let mut text = format!("{}: restore {}\n", report.outcome, report.restore_id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}"); // writing to a string cannot fail
    };
    if let Some(cause) = &report.cause {
        line("what happened", cause);
    }
    line("source", report.source.as_deref().unwrap_or("not resolved"));
    if let Some(moment) = &report.data_from {
        line("data from", moment);
    }
    line(
        "target",
        report.target_cluster.as_deref().unwrap_or("not planned"),
    );
    if let Some(target) = &report.target {
        line("endpoint", &format!("{}:{}", target.endpoint, target.port));
        line("secret", &target.secret_arn);
    }
    if let Some(approval) = &report.approval {
        let decision = approval.decision.as_ref().map(ToString::to_string);
        line("approval", &decision.unwrap_or(approval.state.clone()));
    }
    if let Some(replaced) = &report.replaced {
        line("replaced", &replaced.to_string());
    }
    let seconds = report.seconds;
    line(
        "duration",
        &format!(
            "{:.0} s, of which {:.1} s working",
            seconds.total, seconds.working
        ),
    );
    line("created", &list(&report.created));
    line("removed", &list(&report.removed));
    for arn in &report.kept {
        line("kept, in service", arn);
    }
    for leftover in &report.leftovers {
        line(
            "left behind",
            &format!("{}; remove with: {}", leftover.arn, leftover.remove_with),
        );
    }
    for finding in &report.evidence {
        let verdict = if finding.passed { "holds" } else { "FAILED" };
        line(verdict, &format!("{} ({})", finding.check, finding.detail));
    }
    for row in report
        .settings
        .iter()
        .filter(|row| row.verdict == Verdict::Intended)
    {
        line(
            "otherwise than the source",
            &format!("{}: {}", row.subject(), row.detail()),
        );
    }
    text
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
