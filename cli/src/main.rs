//! The command line of the pipeline.

mod commands;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use commands::{
    EXIT_CODES, Lambdas, cost, decisions, explain, fleets, local, plan, profiles, regions,
    rehearse, restores, tell,
};

/// Brings an Amazon Aurora cluster back from a snapshot: start, follow and rehearse restores.
#[derive(Parser)]
#[command(name = "aurora-restore", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole job on this machine, against a local cloud with real database servers.
    Rehearse(rehearse::Rehearse),
    /// The local cloud as a server.
    Local {
        #[command(subcommand)]
        command: local::Local,
    },
    /// Start a restore.
    Start(restores::Start),
    /// Show what a restore would do, and whether it could, without changing anything.
    Plan(plan::PlanOf),
    /// Show how a restore stands.
    Status(restores::StatusOf),
    /// List restores, newest first.
    List(restores::List),
    /// Fleets: many restores from one request.
    Fleet {
        #[command(subcommand)]
        command: fleets::FleetCommand,
    },
    /// Approve a restore that waits for it.
    Approve(decisions::Approve),
    /// Reject a restore that waits for an approval: it ends, and nothing is made.
    Reject(decisions::Reject),
    /// Keep a restored cluster longer than it would be.
    Extend(decisions::Extend),
    /// Let a restored cluster go now: the reaper removes it within minutes, without a last snapshot.
    Expire(restores::StatusOf),
    /// Profiles: restores with a name, kept in Parameter Store.
    Profile {
        #[command(subcommand)]
        command: profiles::ProfileCommand,
    },
    /// Regions: which of two that the pipeline is deployed in may restore.
    Region {
        #[command(subcommand)]
        command: regions::RegionCommand,
    },
    /// Reckon what restores cost: AWS's own part, and what the pipeline adds.
    Cost(Box<cost::Cost>),
    /// Show the page of an error code, such as AR0007.
    Explain {
        /// The code; all codes when absent.
        code: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    // A rehearsal in process pauses this runtime's clock, which only a runtime of one thread can.
    let paused =
        matches!(&command, Command::Rehearse(rehearse) if rehearse.lambdas == Lambdas::InProcess);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Rehearse(arguments) => rehearse::rehearse(arguments).await,
            Command::Local { command } => local::local(command).await,
            Command::Start(arguments) => restores::start(arguments).await,
            Command::Plan(arguments) => plan::preview(arguments).await,
            Command::Status(arguments) => restores::status(arguments).await,
            Command::List(arguments) => restores::list(arguments).await,
            Command::Approve(arguments) => decisions::approve(arguments).await,
            Command::Reject(arguments) => decisions::reject(arguments).await,
            Command::Extend(arguments) => decisions::extend(arguments).await,
            Command::Expire(arguments) => decisions::expire(arguments).await,
            Command::Fleet { command } => fleets::fleet(command).await,
            Command::Profile { command } => profiles::profile(command).await,
            Command::Region { command } => regions::region(command).await,
            Command::Cost(arguments) => cost::reckon(&arguments),
            Command::Explain { code } => explain::explain(code.as_deref()),
        }
    })
}
