//! `aurora-restore fleet`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use aurora_restore::remote::Pipeline;
use aurora_restore_core::Clock;
use clap::Subcommand;
use serde_json::json;

use super::{Deployed, print, print_json, read_json};

#[derive(Subcommand)]
pub(crate) enum FleetCommand {
    /// Start a fleet, or take one up again.
    Start {
        /// The members' requests: a JSON file with a list of them, or - for standard input.
        #[arg(value_name = "FILE", required_unless_present_any = ["profiles", "again"], conflicts_with_all = ["profiles", "again"])]
        file: Option<PathBuf>,
        /// Every profile whose name fits, * standing for any characters.
        #[arg(long, value_name = "PATTERN", conflicts_with = "again")]
        profiles: Option<String>,
        /// Take the fleet of this id up again: what is restored stays, what failed clean is tried once more.
        #[arg(long)]
        again: bool,
        /// At most so many at once, whatever the quotas leave.
        #[arg(long, value_name = "NUMBER")]
        at_once: Option<u32>,
        /// The fleet's id: 1 to 50 letters, digits, hyphens or underscores. Its members are <id>-1, <id>-2 …
        #[arg(long)]
        id: String,
        #[command(flatten)]
        deployed: Deployed,
    },
    /// Show how a fleet and its members stand.
    Status {
        /// The fleet's id.
        fleet_id: String,
        #[command(flatten)]
        deployed: Deployed,
    },
}

pub(crate) async fn fleet(command: FleetCommand) -> Result<ExitCode> {
    match command {
        FleetCommand::Start {
            file,
            profiles,
            again,
            at_once,
            id,
            deployed,
        } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let mut input = json!({"fleetId": id});
            if let Some(file) = file {
                input["members"] = read_json(&file)?;
            }
            if let Some(profiles) = profiles {
                input["profiles"] = profiles.into();
            }
            if let Some(at_once) = at_once {
                input["maxConcurrency"] = at_once.into();
            }
            let mut name = id;
            if again {
                input["again"] = true.into();
                // An execution's name is taken for good; the fleet's id stays.
                let now = Clock::system().now();
                name = format!("{name}-again-{}", now.unix_timestamp());
            }
            let arn = pipeline.start_fleet(&name, &input).await?;
            print(&arn)?;
            Ok(ExitCode::SUCCESS)
        }
        FleetCommand::Status { fleet_id, deployed } => {
            let pipeline = Pipeline::connect(&deployed.stack).await?;
            let found = pipeline.fleet(&fleet_id).await?;
            let Some(fleet) = found else {
                bail!("there is no fleet `{fleet_id}` on record");
            };
            if deployed.json {
                print_json(&fleet)?;
            } else {
                print(&format!("{}: {}", fleet.outcome, fleet.tally.in_words()))?;
                for member in &fleet.members {
                    let error = member.error.as_deref().unwrap_or_default();
                    let line = format!(
                        "{:<11}  {:<24} {}  {error}",
                        member.status, member.restore_id, member.target
                    );
                    print(line.trim_end())?;
                }
            }
            let failed = fleet.outcome == "Failed";
            Ok(if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}
