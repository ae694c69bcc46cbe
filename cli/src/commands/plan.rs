//! `aurora-restore plan`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use aurora_restore::plan;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::Clock;
use aurora_restore_core::approval::REQUESTED_BY;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::{Deployed, looked, print, print_json, read_object};

#[derive(Args)]
#[command(group = ArgGroup::new("request").required(true).multiple(true).args(["profile", "input"]))]
pub(crate) struct PlanOf {
    /// The profile to look at.
    profile: Option<String>,
    /// The whole request, or fields to lay over the profile's: a JSON file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The restore's id, from which names are derived.
    #[arg(long, default_value = "preview")]
    restore_id: String,
    #[command(flatten)]
    deployed: Deployed,
}

pub(crate) async fn preview(arguments: PlanOf) -> Result<ExitCode> {
    let input = match &arguments.input {
        Some(file) => read_object(file)?,
        None => json!({}),
    };
    let mut input = plan::input(arguments.profile.as_deref(), input)?;
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    // As `start` says it: where an approval is needed, who asks must be known.
    input[REQUESTED_BY] = json!(pipeline.caller().await?);
    let clock = Clock::system();
    let preview = plan::preview(&pipeline, &clock, &arguments.restore_id, &input).await?;
    if arguments.deployed.json {
        print_json(&preview)?;
    } else {
        print(plan::render(&preview).trim_end())?;
    }
    Ok(looked(!preview.ok))
}
