//! `make faults`: a restore survives every single fault, by enumeration.
//!
//! Prints a table of fault kinds, and for every case that failed one line that shows
//! it again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a world that cannot be set up is a failed test; the table is what this program is for"
)]

mod decoys;
mod matrix;
mod verdict;

use std::process::ExitCode;

use clap::Parser;
use local_cloud::faults::Fault;
use matrix::{Case, Matrix, Tried};

/// Runs one restore with every kind of fault at each of its calls, and judges each run by the cloud's own record.
#[derive(Parser)]
#[command(name = "faults")]
struct Arguments {
    /// Makes identifiers, jitter and the sampling of pairs follow from this number.
    #[arg(long)]
    seed: Option<u64>,
    /// Tries one case and tells what happened, such as 'reset-after at restore rds:CreateDBInstance#1'.
    #[arg(long = "case")]
    case: Option<Case>,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Pairs of faults after an effect to try besides: a number, or `all`.
    #[arg(long, default_value = "200", value_parser = pairs)]
    pairs: Pairs,
    /// Cases tried at a time; as many as there are processors when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Lists the calls of the undisturbed restore and tries nothing.
    #[arg(long)]
    list: bool,
}

/// How many pairs are tried.
#[derive(Clone, Copy)]
struct Pairs(Option<usize>);

fn pairs(text: &str) -> Result<Pairs, String> {
    match text {
        "all" => Ok(Pairs(None)),
        number => number
            .parse()
            .map(|number| Pairs(Some(number)))
            .map_err(|_| format!("`{number}` is neither a number nor `all`")),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let matrix = Matrix::record(seed, |_| ());
    if !matrix.undisturbed.passed() {
        eprintln!(
            "the undisturbed restore does not pass: {:#?}",
            matrix.undisturbed
        );
        return ExitCode::FAILURE;
    }
    if arguments.list {
        matrix.calls().for_each(|call| println!("{call}"));
        return ExitCode::SUCCESS;
    }
    if let Some(case) = &arguments.case {
        return show(&matrix.try_case(case));
    }
    let mut cases = matrix.single_faults();
    cases.extend(matrix.pairs(arguments.pairs.0));
    if let Some(only) = &arguments.only {
        cases.retain(|case| case.to_string().contains(only.as_str()));
    }
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let total = cases.len();
    let tried = matrix.try_all(&cases, threads, |done, tried| {
        if !tried.passed() {
            eprintln!("{}", reproducer(seed, tried));
        }
        if done % 100 == 0 || done == total {
            eprintln!("{done} of {total}");
        }
    });
    print_table(seed, &matrix, &tried);
    if tried.iter().all(Tried::passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One line: what failed, and how to see it again.
fn reproducer(seed: u64, tried: &Tried) -> String {
    format!(
        "FAILED {}: {}\n  make faults ARGS=\"--seed {seed} --case '{}'\"",
        tried.case,
        tried.complaints().join("; "),
        tried.case
    )
}

fn show(tried: &Tried) -> ExitCode {
    for line in &tried.trace {
        println!("{line}");
    }
    println!("{}: {}", tried.case, tried.verdict.outcome);
    for complaint in tried.complaints() {
        println!("  {complaint}");
    }
    if tried.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_table(seed: u64, matrix: &Matrix, tried: &[Tried]) {
    println!("| fault | cases | reached | passed | restored | failed clean | failed dirty |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let (after, others): (Vec<_>, Vec<_>) = Fault::ALL
        .into_iter()
        .partition(|fault| fault.is_after_effect());
    let single = |fault: Fault| {
        let of_kind = tried
            .iter()
            .filter(move |tried| tried.case.0.len() == 1 && tried.case.0[0].0 == fault);
        of_kind.collect::<Vec<_>>()
    };
    for fault in others {
        row(fault.name(), &single(fault));
    }
    println!("| **after the effect** | | | | | | |");
    for fault in after {
        row(fault.name(), &single(fault));
    }
    let pairs: Vec<_> = tried
        .iter()
        .filter(|tried| tried.case.0.len() == 2)
        .collect();
    row("pairs after the effect", &pairs);
    row("**all**", &tried.iter().collect::<Vec<_>>());
    println!();
    let sum = |of: fn(&Tried) -> i128| tried.iter().map(of).sum::<i128>();
    println!(
        "calls in the undisturbed restore: {}",
        matrix.calls().count()
    );
    println!(
        "decoys: {}, touched: {}",
        matrix.decoys,
        sum(|tried| tried.verdict.decoys_touched as i128)
    );
    println!(
        "milliseconds of exposure: {}",
        sum(|tried| tried.verdict.exposed_millis)
    );
    println!(
        "canaries found: {}",
        sum(|tried| tried.verdict.canaries as i128)
    );
    println!("seed: {seed}, trace: {:016x}", matrix::fingerprint(tried));
    for failed in tried.iter().filter(|tried| !tried.passed()) {
        println!("{}", reproducer(seed, failed));
    }
}

fn row(name: &str, tried: &[&Tried]) {
    let count = |holds: &dyn Fn(&Tried) -> bool| tried.iter().filter(|tried| holds(tried)).count();
    let ended = |outcome: &'static str| move |tried: &Tried| tried.verdict.outcome == outcome;
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} |",
        tried.len(),
        count(&|tried| tried.reached),
        count(&Tried::passed),
        count(&ended("Restored")),
        count(&ended("FailedClean")),
        count(&ended("FailedDirty")),
    );
}
