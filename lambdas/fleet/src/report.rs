//! What became of a fleet: one record, one message, one answer.

use std::fmt::Write;

use aurora_restore_core::fleet::{Fleet, Member, Standing, Tally};
use aurora_restore_core::ledger::Status;
use aurora_restore_core::metrics::{self, Unit};
use aurora_restore_core::table::Written;
use aurora_restore_core::{Context, StepError};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Execution, Failure, METRICS, asked, is_own};

/// SNS takes messages of up to 256 KB.
const MESSAGE_BYTES_MAX: usize = 200 * 1024;

/// What the state machine learns.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// `Restored` when every member is, `Failed` otherwise.
    pub outcome: &'static str,
    /// The error of a failed fleet.
    pub error: String,
    /// How many members ended how, and what kept the fleet from its end.
    pub cause: String,
}

/// Reads how every member stands, records the fleet's end and tells it.
///
/// That nobody could be told changes nothing about the end.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn report(
    context: &Context,
    execution: Execution<'_>,
    failure: Option<Failure>,
) -> Result<Reported, StepError> {
    let table = context.table();
    let failure = failure.map(|failure| in_words(&failure));
    // A request that is wrong names no fleet, and has no record.
    let named = asked(execution).ok().map(|(id, ..)| id);
    let found = match &named {
        Some(id) => Fleet::find(&table, id).await?,
        None => None,
    };
    let name = named.as_ref().map_or(execution.name, |id| id.as_str());
    // A fleet of this id that another execution carries out is not this one's to end.
    let mut fleet = match found {
        Some(fleet) if is_own(&fleet, execution) => fleet,
        other => {
            let cause = failure.unwrap_or_else(|| not_own(other.as_ref()));
            return Ok(tell_of_no_record(context, name, cause).await);
        }
    };
    let (standings, tally) = fleet.standings(&table).await?;
    let now = context.clock.now();
    let whole = tally.is_whole() && failure.is_none();
    if fleet.end(&table, whole, now).await? == Written::Refused {
        let cause = "another execution took it up meanwhile".to_owned();
        return Ok(tell_of_no_record(context, name, cause).await);
    }
    emit_metrics(context, &fleet, &tally, now);
    let outcome = if whole { "Restored" } else { "Failed" };
    let words = tally.in_words();
    let subject = format!(
        "{outcome}: fleet {name}, {} of {}",
        tally.restored, tally.members
    );
    let mut text = format!("{outcome}: fleet {name}\n{words}\n");
    if let Some(cause) = &failure {
        let _ = writeln!(text, "what happened: {cause}"); // writing to a string cannot fail
    }
    add_rows(&mut text, &fleet.members, &standings);
    tell(context, name, &subject, &text, whole).await;
    if whole {
        return Ok(Reported {
            outcome,
            error: String::new(),
            cause: words,
        });
    }
    Ok(failed(match failure {
        Some(failure) => format!("{words}. {failure}"),
        None => words,
    }))
}

fn failed(cause: String) -> Reported {
    Reported {
        outcome: "Failed",
        error: "FleetFailed".to_owned(),
        cause,
    }
}

/// Tells the failure of an execution whose fleet is not on record, or not its own.
async fn tell_of_no_record(context: &Context, fleet: &str, cause: String) -> Reported {
    let subject = format!("Failed: fleet {fleet}");
    let text = format!("{subject}\nwhat happened: {cause}\n");
    tell(context, fleet, &subject, &text, false).await;
    failed(cause)
}

fn not_own(found: Option<&Fleet>) -> String {
    found.map_or_else(
        || "there is no record of it".to_owned(),
        |fleet| format!("execution `{}` carries it out", fleet.execution_arn),
    )
}

/// A function's error object says it in its message.
fn in_words(failure: &Failure) -> String {
    let cause = failure.cause.as_deref().unwrap_or_default();
    let object: Option<Value> = serde_json::from_str(cause).ok();
    let message = object
        .as_ref()
        .and_then(|object| object["errorMessage"].as_str());
    let error = failure.error.as_deref().unwrap_or("no error");
    message.map_or_else(|| format!("{error}: {cause}"), str::to_owned)
}

/// A row for each member, those that failed first.
fn add_rows(text: &mut String, members: &[Member], standings: &[Standing]) {
    let mut rows: Vec<(&Member, &Standing)> = members.iter().zip(standings).collect();
    rows.sort_by_key(|(member, standing)| {
        (standing.status == Some(Status::Restored), member.number)
    });
    for (at, (member, standing)) in rows.iter().enumerate() {
        if text.len() > MESSAGE_BYTES_MAX {
            let _ = writeln!(text, "and {} more", rows.len() - at);
            return;
        }
        let status = standing.status.map_or("not begun", Status::name);
        let took = seconds(standing).map(|seconds| format!(", {:.0} min", seconds / 60.0));
        let error = standing.error.as_deref().map(|error| format!(", {error}"));
        let _ = writeln!(
            text,
            "{status}: {} ({}{}{})",
            member.target,
            member.restore_id.as_str(),
            took.unwrap_or_default(),
            error.unwrap_or_default()
        );
    }
}

fn seconds(standing: &Standing) -> Option<f64> {
    let parse = |at: &Option<String>| OffsetDateTime::parse(at.as_deref()?, &Rfc3339).ok();
    Some((parse(&standing.ended_at)? - parse(&standing.started_at)?).as_seconds_f64())
}

async fn tell(context: &Context, fleet: &str, subject: &str, text: &str, whole: bool) {
    let outcome = if whole { "Restored" } else { "FleetFailed" };
    let attributes = [("outcome", outcome), ("fleetId", fleet)];
    if let Err(error) = notify::publish(context, subject, text, &attributes).await {
        tracing::error!(code = error.code().id, "{error}");
    }
}

fn emit_metrics(context: &Context, fleet: &Fleet, tally: &Tally, now: OffsetDateTime) {
    let began = OffsetDateTime::parse(&fleet.started_at, &Rfc3339).unwrap_or(now);
    let [members, restored, failed, duration] = METRICS;
    let count = |name, number: usize| (name, Unit::Count, number as f64);
    metrics::emit(
        context,
        &[],
        &[
            count(members, tally.members),
            count(restored, tally.restored),
            count(failed, tally.members - tally.restored),
            (duration, Unit::Seconds, (now - began).as_seconds_f64()),
        ],
    );
}
