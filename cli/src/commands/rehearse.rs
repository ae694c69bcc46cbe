//! `aurora-restore rehearse`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use aurora_restore::rehearsal::variant::Variant;
use aurora_restore::rehearsal::{self, Options};
use aurora_restore_core::sql::Engine;
use clap::Args;

use super::{Lambdas, interrupted, looked, print, print_json, tell};

#[derive(Args)]
pub(crate) struct Rehearse {
    /// What to rehearse: --list says what each shows, and which engine it does without.
    #[arg(value_enum, default_value_t = Variant::Snapshot, hide_possible_values = true)]
    variant: Variant,
    /// Say what there is to rehearse, and rehearse nothing.
    #[arg(long, exclusive = true)]
    list: bool,
    /// Print one JSON document on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Load the source from this file: SQL of pg_dump, mysqldump or your own, or a custom or tar archive of pg_dump.
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// What kind of database the source is: `aurora-postgresql`, or `aurora-mysql` on a server of MariaDB (not for
    /// every variant: --list).
    #[arg(long, value_parser = engine, default_value = "aurora-postgresql")]
    engine: Engine,
    /// How the functions run: in this process, or as the real binaries over the Lambda Runtime API.
    #[arg(long, value_enum, default_value_t = Lambdas::InProcess)]
    pub(crate) lambdas: Lambdas,
    /// Fixes names, tokens and jitter.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the restored cluster running afterwards, until interrupted.
    #[arg(long)]
    keep: bool,
}

fn engine(name: &str) -> Result<Engine, String> {
    Engine::named(name).ok_or_else(|| {
        let known = Engine::ALL.map(Engine::name).join("` or `");
        format!("expected `{known}`")
    })
}

pub(crate) async fn rehearse(arguments: Rehearse) -> Result<ExitCode> {
    if arguments.list {
        for (name, shows) in Variant::list() {
            print(&format!("{name:<16}{shows}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &arguments.dump {
        // Found out before anything is started.
        std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let options = Options {
        variant: arguments.variant,
        engine: arguments.engine,
        processes: arguments.lambdas == Lambdas::Processes,
        dump: arguments.dump,
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    let local = rehearsal::set_up(&options).await?;
    let mut told = |progress: rehearsal::Progress| tell(&rehearsal::render::progress(&progress));
    let rehearsed = tokio::select! {
        rehearsed = rehearsal::rehearse(&local, &options, &mut told) => rehearsed,
        interrupted = interrupted() => {
            local.shutdown().await;
            interrupted?;
            tell("interrupted");
            return Ok(ExitCode::from(130));
        }
    };
    let rehearsed = match rehearsed {
        Ok(rehearsed) => rehearsed,
        Err(error) => {
            local.shutdown().await;
            return Err(error.context(format!(
                "the rehearsal could not be carried out (see it again with --seed {})",
                options.seed
            )));
        }
    };
    if arguments.json {
        print_json(&rehearsed)?;
    } else {
        tell("");
        print(rehearsal::render::render(&rehearsed).trim_end())?;
    }
    if arguments.keep {
        tell("kept running until interrupted (Ctrl-C)");
        interrupted().await?;
    }
    local.shutdown().await;
    Ok(looked(!rehearsed.succeeded()))
}
