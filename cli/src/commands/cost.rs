//! `aurora-restore cost`.

use std::process::ExitCode;

use anyhow::Result;
use aurora_restore::cost;
use clap::Args;

use super::{print, print_json};

#[derive(Args)]
pub(crate) struct Cost {
    #[command(flatten)]
    needs: Option<cost::Needs>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Show the table of prices, with their sources, and reckon nothing.
    #[arg(long, exclusive = true)]
    list_prices: bool,
}

pub(crate) fn reckon(arguments: &Cost) -> Result<ExitCode> {
    let Some(needs) = &arguments.needs else {
        for region in cost::prices::regions()? {
            let prices = cost::prices::Prices::of(&region)?;
            print(&format!("{}\n", cost::render::prices(&prices)))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let estimate = cost::estimate(needs)?;
    if arguments.json {
        print_json(&cost::render::json(&estimate))?;
    } else {
        print(&cost::render::table(&estimate))?;
    }
    Ok(ExitCode::SUCCESS)
}
