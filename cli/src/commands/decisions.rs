//! `aurora-restore approve`, `reject`, `extend` and `expire`.

use std::process::ExitCode;

use anyhow::Result;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::Clock;
use aurora_restore_core::approval::Verdict;
use aurora_restore_core::expiry::Wanted;
use aurora_restore_core::ledger::rfc3339;
use clap::{ArgGroup, Args};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::restores::StatusOf;
use super::{Deployed, print, print_json, tell};

#[derive(Args)]
pub(crate) struct Approve {
    /// The restore's id.
    restore_id: String,
    /// For the evidence: one line.
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
pub(crate) struct Reject {
    /// The restore's id.
    restore_id: String,
    /// Why, for who asked for it: one line.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
#[command(group = ArgGroup::new("time").required(true).args(["hours", "until"]))]
pub(crate) struct Extend {
    /// The restore's id.
    restore_id: String,
    /// So many hours later than it would go, or than now when that is past.
    #[arg(long)]
    hours: Option<u32>,
    /// Until this time, such as 2026-11-28T18:00:00Z. A cluster that is kept for good is given an end by it.
    #[arg(long, value_parser = moment)]
    until: Option<OffsetDateTime>,
    #[command(flatten)]
    deployed: Deployed,
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expected a time such as 2026-11-28T18:00:00Z".to_owned())
}

pub(crate) async fn approve(arguments: Approve) -> Result<ExitCode> {
    let comment = arguments.comment.as_deref();
    let comment = comment.map(|text| (text, "--comment"));
    let Approve {
        restore_id,
        deployed,
        ..
    } = &arguments;
    decide(restore_id, Verdict::Approved, comment, deployed).await
}

pub(crate) async fn reject(arguments: Reject) -> Result<ExitCode> {
    let reason = Some((arguments.reason.as_str(), "--reason"));
    let Reject {
        restore_id,
        deployed,
        ..
    } = &arguments;
    decide(restore_id, Verdict::Rejected, reason, deployed).await
}

async fn decide(
    restore_id: &str,
    verdict: Verdict,
    comment: Option<(&str, &str)>,
    deployed: &Deployed,
) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let (comment, field) = comment.map_or((None, "--comment"), |(text, field)| (Some(text), field));
    let now = Clock::system().now();
    let decided = pipeline
        .decide(restore_id, verdict, comment, field, now)
        .await?;
    if deployed.json {
        print_json(&decided)?;
    } else {
        print(&format!("{restore_id} was {}", decided.decision))?;
        if !decided.recorded {
            tell("it was decided so before");
        }
        if !decided.heard {
            tell(&format!(
                "the restore did not hear of it now; if it still waits, it looks by itself within {} seconds",
                decided.found_within_seconds
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn extend(arguments: Extend) -> Result<ExitCode> {
    let by_hours = arguments.hours.map(Wanted::Later);
    let wanted = by_hours.or(arguments.until.map(Wanted::At));
    let wanted = wanted.unwrap_or(Wanted::Later(0));
    change_expiry(&arguments.restore_id, wanted, &arguments.deployed).await
}

pub(crate) async fn expire(arguments: StatusOf) -> Result<ExitCode> {
    change_expiry(&arguments.restore_id, Wanted::Now, &arguments.deployed).await
}

async fn change_expiry(restore_id: &str, wanted: Wanted, deployed: &Deployed) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let changed = pipeline.change_expiry(restore_id, wanted).await?;
    if deployed.json {
        print_json(&changed)?;
    } else if wanted == Wanted::Now {
        print(&format!(
            "the target of {restore_id} goes now: the reaper comes every five minutes"
        ))?;
    } else {
        let at = rfc3339(changed.expires_at);
        print(&format!("the target of {restore_id} goes at {at}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
