//! `aurora-restore fleet`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use aurora_restore::remote::{Execution, FleetStatus, Pipeline};
use aurora_restore_core::Clock;
use aurora_restore_core::approval::REQUESTED_BY;
use aurora_restore_core::fleet::FleetId;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{Deployed, looked, print, print_json, read_json, shown};

#[derive(Subcommand)]
pub(crate) enum FleetCommand {
    /// Start a fleet, or take one up again.
    Start(Start),
    /// Show how a fleet and its members stand.
    Status {
        /// The fleet's id.
        fleet_id: String,
        #[command(flatten)]
        deployed: Deployed,
    },
}

#[derive(Args)]
#[command(group = ArgGroup::new("members").required(true).args(["file", "profiles", "again"]))]
pub(crate) struct Start {
    /// The members' requests: a JSON file with a list of them, or - for standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Every profile whose name fits, * standing for any characters.
    #[arg(long, value_name = "PATTERN")]
    profiles: Option<String>,
    /// Take the fleet of this id up again: what is restored stays, what failed clean is tried once more.
    #[arg(long)]
    again: bool,
    /// At most so many at once, whatever the quotas leave.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// The fleet's id, never used before: 1 to 50 letters, digits, hyphens or underscores. Its members are <id>-1,
    /// <id>-2 …
    #[arg(long)]
    id: String,
    #[command(flatten)]
    deployed: Deployed,
}

pub(crate) async fn fleet(command: FleetCommand) -> Result<ExitCode> {
    match command {
        FleetCommand::Start(arguments) => start(arguments).await,
        FleetCommand::Status { fleet_id, deployed } => status(&fleet_id, &deployed).await,
    }
}

async fn start(arguments: Start) -> Result<ExitCode> {
    let id = FleetId::parse(&arguments.id).map_err(|error| anyhow!(error.report()))?;
    let mut input = json!({"fleetId": id.as_str()});
    if let Some(file) = &arguments.file {
        input["members"] = members(file)?;
    }
    if let Some(profiles) = arguments.profiles {
        input["profiles"] = profiles.into();
    }
    if let Some(at_once) = arguments.at_once {
        input["maxConcurrency"] = at_once.into();
    }
    let pipeline = Pipeline::connect(&arguments.deployed.stack).await?;
    let mut name = id.as_str().to_owned();
    if arguments.again {
        let recorded = pipeline.fleet(id.as_str()).await?;
        may_be_taken_up(&pipeline, id.as_str(), recorded.as_ref()).await?;
        input["again"] = true.into();
        // An execution's name is taken for good; the fleet's id stays.
        let now = Clock::system().now();
        name = format!("{name}-again-{}", now.unix_timestamp());
    }
    input[REQUESTED_BY] = pipeline.caller().await?.into();
    let arn = pipeline.start_fleet(&name, &input).await?;
    if arguments.deployed.json {
        print_json(&json!({"fleetId": id.as_str(), "executionArn": arn}))?;
    } else {
        print(&arn)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn members(file: &Path) -> Result<Value> {
    let value = read_json(file)?;
    match value.as_array() {
        Some(members) if !members.is_empty() && members.iter().all(Value::is_object) => Ok(value),
        _ => bail!(
            "{} holds {}, expected a list of the members' requests, at least one, such as [{{\"profile\": \"nightly\"}}]",
            file.display(),
            shown(&value)
        ),
    }
}

/// Says at once what the fleet's own execution would refuse.
async fn may_be_taken_up(
    pipeline: &Pipeline,
    id: &str,
    recorded: Option<&FleetStatus>,
) -> Result<()> {
    let Some(fleet) = recorded else {
        bail!("there is no fleet `{id}` on record to take up");
    };
    if fleet.tally.is_whole() {
        bail!(
            "nothing is left to do: all members of fleet `{id}` ({}) are restored",
            fleet.tally.members
        );
    }
    let execution = pipeline.fleet_execution(id, recorded).await?;
    if execution.is_some_and(|execution| execution.runs()) {
        bail!(
            "fleet `{id}` is under way: execution `{}`. Wait for its end, or stop it first",
            fleet.execution_arn
        );
    }
    Ok(())
}

async fn status(id: &str, deployed: &Deployed) -> Result<ExitCode> {
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let recorded = pipeline.fleet(id).await?;
    let execution = pipeline.fleet_execution(id, recorded.as_ref()).await?;
    let Some(fleet) = recorded else {
        let Some(execution) = execution else {
            bail!("there is no fleet `{id}`: none is on record, and no execution has its name");
        };
        return without_record(id, &execution, deployed);
    };
    // One that was stopped, or ran out of time, could not record its end.
    let broken_off = execution.filter(|it| fleet.outcome == "Running" && it.failed());
    let outcome = match &broken_off {
        Some(_) => "Failed",
        None => fleet.outcome.as_str(),
    };
    let failed = looked(outcome == "Failed");
    if deployed.json {
        let mut document = serde_json::to_value(&fleet)?;
        document["outcome"] = outcome.into();
        if let Some(execution) = &broken_off {
            document["execution"] = execution.status.as_str().into();
        }
        print_json(&document)?;
        return Ok(failed);
    }
    print(&format!("{outcome}: {}", fleet.tally.in_words()))?;
    for member in &fleet.members {
        let error = member.error.as_deref().unwrap_or_default();
        let line = format!(
            "{:<11}  {:<24} {}  {error}",
            member.status, member.restore_id, member.target
        );
        print(line.trim_end())?;
    }
    if let Some(execution) = &broken_off {
        print(&format!("execution    {}", execution.status))?;
    }
    Ok(failed)
}

/// A fleet that was refused leaves no record, and one that was started a moment ago has none yet.
fn without_record(id: &str, execution: &Execution, deployed: &Deployed) -> Result<ExitCode> {
    let outcome = if execution.failed() {
        "Failed"
    } else {
        "Running"
    };
    if deployed.json {
        print_json(&json!({
            "fleetId": id,
            "outcome": outcome,
            "execution": execution.status.as_str(),
            "error": execution.error,
            "cause": execution.cause,
            "members": [],
        }))?;
    } else if execution.failed() {
        let cause = execution.cause.as_deref();
        let cause = cause.unwrap_or("Step Functions tells no cause");
        print(&format!("Failed: no member was started\n{cause}"))?;
    } else {
        print("Running: the members are not recorded yet")?;
    }
    Ok(looked(execution.failed()))
}
