//! What the command line does: a module for each command, with its arguments beside it.

pub(crate) mod cost;
pub(crate) mod decisions;
pub(crate) mod explain;
pub(crate) mod fleets;
pub(crate) mod local;
pub(crate) mod plan;
pub(crate) mod profiles;
pub(crate) mod regions;
pub(crate) mod rehearse;
pub(crate) mod restores;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use aurora_restore::local::STACK;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// Where the pipeline is deployed.
#[derive(Args)]
pub(crate) struct Deployed {
    /// The stack's name. Account, region and endpoint come from the AWS environment.
    #[arg(long, default_value = STACK)]
    pub(crate) stack: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the functions of a local cloud run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lambdas {
    InProcess,
    Processes,
}

/// What every command ends with, for its help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done; what was looked at holds, or is not over yet
    1  what was looked at or waited for failed: a restore, a fleet, a rehearsal,
       a check of a plan, a file that is no profile
    2  the command could not be carried out: the error says why
  130  a rehearsal was interrupted";

/// The exit code of a command that was carried out and looked at something.
pub(crate) fn looked(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Reads a request, or fields to lay over a profile's.
pub(crate) fn read_object(file: &Path) -> Result<Value> {
    let value = read_json(file)?;
    if value.is_object() {
        return Ok(value);
    }
    bail!(
        "{} holds {}, expected a JSON object: a request, or fields to lay over the profile's",
        file.display(),
        shown(&value)
    )
}

/// Bytes of JSON that a message repeats.
const SHOWN_LIMIT: usize = 60;

/// A value in a message: whole when it is short.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match value {
        _ if text.len() <= SHOWN_LIMIT => format!("`{text}`"),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
        _ => "a text".to_owned(),
    }
}

pub(crate) fn read_json(file: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(file)?)
        .with_context(|| format!("{} is not JSON", file.display()))
}

pub(crate) fn read_text(file: &Path) -> Result<String> {
    if file.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("cannot read standard input");
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Writes to standard output. A reader that went away changes nothing else.
pub(crate) fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Tells a person something beside the result. That nobody listens changes nothing.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Waits until a person or the system asks the program to end.
pub(crate) async fn interrupted() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done?,
        _ = terminated.recv() => {}
    }
    Ok(())
}
