//! `aurora-restore start`, `status` and `list`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use aurora_restore::remote::{Execution, Pipeline};
use aurora_restore_core::approval::REQUESTED_BY;
use aurora_restore_core::ledger::{Status, rfc3339};
use aurora_restore_core::report::Report;
use aurora_restore_core::{Clock, fidelity};
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::json;

use super::{Deployed, looked, print, print_json, read_object};

#[derive(Args)]
#[command(group = ArgGroup::new("request").required(true).multiple(true).args(["profile", "input"]))]
pub(crate) struct Start {
    /// The profile to run.
    #[arg(long)]
    profile: Option<String>,
    /// The whole request, or fields to lay over the profile's: a JSON file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The restore's id: 1 to 80 characters without white space. Starting it again with the same request while it
    /// runs starts nothing, whoever does; any other second start is refused.
    restore_id: String,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Args)]
pub(crate) struct StatusOf {
    /// The restore's id.
    pub(crate) restore_id: String,
    #[command(flatten)]
    pub(crate) deployed: Deployed,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only restores of this status.
    #[arg(long, value_enum)]
    status: Option<Listed>,
    #[command(flatten)]
    deployed: Deployed,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Listed {
    Running,
    Restored,
    FailedClean,
    FailedDirty,
}

pub(crate) async fn start(arguments: Start) -> Result<ExitCode> {
    let mut input = match &arguments.input {
        Some(file) => read_object(file)?,
        None => json!({}),
    };
    if let Some(profile) = &arguments.profile {
        input["profile"] = json!(profile);
    }
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    input[REQUESTED_BY] = json!(pipeline.caller().await?);
    let arn = pipeline.start(&arguments.restore_id, &input).await?;
    if arguments.deployed.json {
        print_json(&json!({"restoreId": arguments.restore_id, "executionArn": arn}))?;
    } else {
        print(&arn)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn status(arguments: StatusOf) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    let execution = pipeline.execution(&arguments.restore_id).await?;
    let code = looked(execution.failed());
    let Execution {
        status,
        error,
        cause,
    } = execution;
    let path = pipeline.path(&arguments.restore_id).await?;
    let report = pipeline
        .report(&arguments.restore_id, Clock::system().now())
        .await?;
    if arguments.deployed.json {
        print_json(
            &json!({"execution": status.as_str(), "error": error, "cause": cause, "path": path.path, "transitions": path.transitions, "report": report}),
        )?;
        return Ok(code);
    }
    let mut lines = vec![
        format!("execution  {}", status.as_str()),
        format!("path       {}", path.path.join(" > ")),
    ];
    if let Some(at) = pipeline.expires_at(&arguments.restore_id).await?
        && report
            .as_ref()
            .is_some_and(|report| report.outcome == Status::Restored.name())
    {
        lines.push(format!("expires    {}", rfc3339(at)));
    }
    let mut settings = Vec::new();
    if let Some(report) = report {
        settings = unlike_the_source(&report);
        lines.push(format!("outcome    {}", report.outcome));
        lines.extend(report.approval.map(|approval| match approval.decision {
            Some(decision) => format!("approval   {decision}"),
            None => format!("approval   {} until {}", approval.state, approval.until),
        }));
        lines.extend(report.steps.iter().map(|step| {
            format!(
                "  {}  {:<20} {} ({} calls, {} ms)",
                step.started_at, step.state, step.outcome, step.attempts, step.worked_millis
            )
        }));
    }
    lines.extend(settings);
    lines.extend(error.map(|error| format!("error      {error}")));
    lines.extend(cause.map(|cause| format!("cause      {cause}")));
    print(&lines.join("\n"))?;
    Ok(code)
}

/// The settings of the target that are not as at the source, or not as planned.
fn unlike_the_source(report: &Report) -> Vec<String> {
    let unlike = report.settings.iter().filter(|row| {
        matches!(
            row.verdict,
            fidelity::Verdict::Intended | fidelity::Verdict::Differs
        )
    });
    unlike
        .map(|row| format!("setting    {}: {}", row.subject(), row.detail()))
        .collect()
}

pub(crate) async fn list(arguments: List) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    let statuses = match arguments.status {
        Some(Listed::Running) => vec![Status::Running],
        Some(Listed::Restored) => vec![Status::Restored],
        Some(Listed::FailedClean) => vec![Status::FailedClean],
        Some(Listed::FailedDirty) => vec![Status::FailedDirty],
        None => vec![
            Status::Running,
            Status::FailedDirty,
            Status::FailedClean,
            Status::Restored,
        ],
    };
    let mut restores = Vec::new();
    for status in statuses {
        restores.extend(pipeline.list(status).await?);
    }
    restores.sort_by(|a, b| b.started_at.cmp(&a.started_at));
    if arguments.deployed.json {
        print_json(&restores)?;
        return Ok(ExitCode::SUCCESS);
    }
    for restore in &restores {
        let target = restore.target.rsplit(':').next().unwrap_or_default();
        print(&format!(
            "{}  {:<12} {:<24} {}",
            restore.started_at, restore.status, target, restore.restore_id
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
