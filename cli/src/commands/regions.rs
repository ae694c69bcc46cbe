//! `aurora-restore region`.

use std::process::ExitCode;

use anyhow::Result;
use aurora_restore::remote::Pipeline;
use aurora_restore_core::Clock;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Deployed, print, print_json, tell};

#[derive(Subcommand)]
pub(crate) enum RegionCommand {
    /// Show which region is active.
    Status {
        #[command(flatten)]
        roles: Roles,
    },
    /// Make this region the active one: refused while restores run in the other, or when it cannot be asked.
    Activate {
        /// Do it all the same. What runs in the other region goes on there, now or when it is back.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        roles: Roles,
    },
}

#[derive(Args)]
pub(crate) struct Roles {
    /// The table that both regions see; the stack's name and `-role` when absent.
    #[arg(long, value_name = "NAME")]
    role_table: Option<String>,
    #[command(flatten)]
    deployed: Deployed,
}

pub(crate) async fn region(command: RegionCommand) -> Result<ExitCode> {
    let (
        Roles {
            role_table,
            deployed,
        },
        activate,
    ) = match command {
        RegionCommand::Status { roles } => (roles, None),
        RegionCommand::Activate { force, roles } => (roles, Some(force)),
    };
    let pipeline = Pipeline::connect(&deployed.stack).await?;
    let table = role_table.unwrap_or_else(|| pipeline.stack.role_table());
    let here = &pipeline.stack.region;
    let Some(force) = activate else {
        let role = pipeline.role(&table).await?;
        if deployed.json {
            print_json(&json!({"region": here, "role": role}))?;
            return Ok(ExitCode::SUCCESS);
        }
        print(&match role {
            Some(role) => format!(
                "active     {}\nepoch      {}\nsince      {}\nby         {}\nhere       {here}",
                role.active_region, role.epoch, role.since, role.by
            ),
            None => format!("active     none yet\nhere       {here}"),
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let now = Clock::system().now();
    let activated = pipeline.activate(&table, force, now).await?;
    if deployed.json {
        print_json(&activated)?;
        return Ok(ExitCode::SUCCESS);
    }
    let epoch = activated.role.epoch;
    print(&if activated.changed {
        format!("{here} is active (epoch {epoch})")
    } else {
        format!("{here} was active before (epoch {epoch})")
    })?;
    if !activated.still_running.is_empty() {
        let running = activated.still_running.join(", ");
        tell(&format!("still running in the other region: {running}"));
    }
    if let Some(reason) = activated.not_asked {
        tell(&format!("the other region could not be asked: {reason}"));
    }
    Ok(ExitCode::SUCCESS)
}
