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
#[cfg(test)]
mod naive;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use local_cloud::faults::Fault;
use matrix::{Case, Matrix, Plot, Tried};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

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
    /// One case of each kind, at calls that the seed chooses.
    #[arg(long)]
    sample: bool,
    /// Pairs of faults after an effect to try besides: a number, or `all`.
    #[arg(long, default_value = "100", value_parser = sample_size)]
    pairs: SampleSize,
    /// Single faults of an undo and of the reaper to try besides: a number, or `all`.
    #[arg(long, default_value = "300", value_parser = sample_size)]
    endings: SampleSize,
    /// Cases tried at a time; as many as there are processors when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Writes what each case did to this file, a case after another, for comparison with another run.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Lists the calls of the undisturbed restore and tries nothing.
    #[arg(long)]
    list: bool,
}

/// How many cases of a kind are tried; `None` for all of them.
#[derive(Clone, Copy)]
struct SampleSize(Option<usize>);

fn sample_size(text: &str) -> Result<SampleSize, String> {
    match text {
        "all" => Ok(SampleSize(None)),
        number => number
            .parse()
            .map(|number| SampleSize(Some(number)))
            .map_err(|_| format!("`{number}` is neither a number nor `all`")),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What goes wrong with this machine, and not with a restore.
    tracing_subscriber::fmt()
        .with_env_filter("off,local_cloud=error")
        .with_writer(std::io::stderr)
        .init();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let matrices = Plot::ALL.map(|plot| Matrix::record(seed, plot, |_| ()));
    for matrix in &matrices {
        if !matrix.is_sound() {
            eprintln!(
                "the undisturbed restore does not pass: {:#?}",
                matrix.undisturbed
            );
            return ExitCode::FAILURE;
        }
    }
    let of = |case: &Case| {
        let found = Plot::ALL.into_iter().position(|plot| plot == case.plot);
        &matrices[found.unwrap()]
    };
    if arguments.list {
        for (plot, matrix) in Plot::ALL.into_iter().zip(&matrices) {
            for (_, made) in matrix.calls() {
                println!("{}: {}", plot.name(), made.call);
            }
        }
        return ExitCode::SUCCESS;
    }
    if let Some(case) = &arguments.case {
        return show(&of(case).try_case(case));
    }
    let mut cases = if arguments.sample {
        matrices[0].one_of_each_kind()
    } else {
        let endings = matrices[1..].iter().flat_map(Matrix::single_faults);
        let pairs = matrices.iter().flat_map(Matrix::pairs);
        let mut all = matrices[0].single_faults();
        all.extend(sampled(endings, seed, arguments.endings));
        all.extend(sampled(pairs, seed, arguments.pairs));
        all
    };
    if let Some(only) = &arguments.only {
        cases.retain(|case| case.to_string().contains(only.as_str()));
    }
    if cases.is_empty() {
        eprintln!("no case contains what --only asks for; --list names the calls");
        return ExitCode::FAILURE;
    }
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let total = cases.len();
    let tried = matrix::try_all(&cases, threads, of, |done, tried| {
        if tried.failed() {
            eprintln!("{}", reproducer(seed, tried));
        }
        if done % 100 == 0 || done == total {
            eprintln!("{done} of {total}");
        }
    });
    print_table(seed, &matrices, &tried);
    if let Some(file) = &arguments.traces
        && let Err(error) = std::fs::write(file, traces(&tried))
    {
        eprintln!("cannot write {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if !tried.iter().any(Tried::failed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn traces(tried: &[Tried]) -> String {
    let of_case = |one: &Tried| {
        let steps = one.trace.iter().map(|step| format!("  {step}\n"));
        format!(
            "{}: {}\n{}",
            one.case,
            one.verdict.outcome,
            steps.collect::<String>()
        )
    };
    tried.iter().map(of_case).collect()
}

/// So many of these cases, drawn by the seed.
fn sampled(cases: impl Iterator<Item = Case>, seed: u64, size: SampleSize) -> Vec<Case> {
    let mut cases: Vec<Case> = cases.collect();
    if let SampleSize(Some(size)) = size {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        cases.shuffle(&mut random);
        cases.truncate(size);
    }
    cases
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
    println!("{}", tried.verdict.cause);
    if !tried.reached {
        println!("  not every fault was reached");
    }
    for complaint in tried.complaints() {
        println!("  {complaint}");
    }
    if tried.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_table(seed: u64, matrices: &[Matrix], tried: &[Tried]) {
    println!("| fault | cases | reached | passed | restored | failed clean | failed dirty |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let (after, others): (Vec<_>, Vec<_>) = Fault::ALL
        .into_iter()
        .partition(|fault| fault.is_after_effect());
    let single = |fault: Fault| {
        let of_kind = tried
            .iter()
            .filter(move |tried| tried.case.faults.len() == 1 && tried.case.faults[0].0 == fault);
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
        .filter(|tried| tried.case.faults.len() == 2)
        .collect();
    row("pairs after the effect", &pairs);
    row("**all**", &tried.iter().collect::<Vec<_>>());
    println!();
    let sum = |of: fn(&Tried) -> i128| tried.iter().map(of).sum::<i128>();
    println!(
        "calls of a whole restore: {}, of an undo: {}, of a reaper: {}",
        matrices[0].calls().count(),
        matrices[1].calls().count(),
        matrices[2].calls().count()
    );
    println!(
        "decoys: {}, touched: {}",
        matrices[0].decoys,
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
    for failed in tried.iter().filter(|tried| tried.failed()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What `make test` tries is the same each time; `make faults` explores.
    const SEED: u64 = 1;

    /// Cases of which each strikes this call.
    fn at(matrix: &Matrix, call: &str) -> Vec<Case> {
        let call = call.parse().unwrap();
        let mut cases = matrix.single_faults();
        cases.retain(|case| case.faults[0].1 == call);
        assert!(!cases.is_empty(), "{call} is not made");
        cases
    }

    fn failed(seed: u64, tried: &[Tried]) -> Vec<String> {
        let failed = tried.iter().filter(|tried| !tried.passed());
        failed.map(|tried| reproducer(seed, tried)).collect()
    }

    #[test]
    fn a_fault_of_each_kind_is_survived_or_ends_honestly() {
        let matrix = Matrix::record(SEED, Plot::Whole, |_| ());
        assert!(matrix.is_sound(), "{:#?}", matrix.undisturbed);
        let tried = matrix::try_all(&matrix.one_of_each_kind(), 1, |_| &matrix, |_, _| ());
        assert_eq!(tried.len(), Fault::ALL.len());
        assert_eq!(failed(SEED, &tried), Vec::<String>::new());
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        let run = || {
            let matrix = Matrix::record(SEED, Plot::Whole, |_| ());
            let cases = sampled(matrix.pairs().into_iter(), SEED, SampleSize(Some(2)));
            let tried = matrix::try_all(&cases, 1, |_| &matrix, |_, _| ());
            let mut traces = vec![("undisturbed".to_owned(), matrix.undisturbed.trace)];
            traces.extend(
                tried
                    .into_iter()
                    .map(|one| (one.case.to_string(), one.trace)),
            );
            traces
        };
        for ((case, first), (again, second)) in run().into_iter().zip(run()) {
            assert_eq!(case, again, "other cases were sampled");
            let parted = first
                .iter()
                .zip(&second)
                .position(|(one, other)| one != other);
            let parted = parted.unwrap_or(first.len().min(second.len()));
            let near = |trace: &[String]| {
                let (from, to) = (parted.saturating_sub(5), (parted + 5).min(trace.len()));
                trace[from.min(to)..to].join("\n  ")
            };
            assert!(
                first == second,
                "{case} parted after {parted} steps:\n  {}\nand again:\n  {}",
                near(&first),
                near(&second)
            );
        }
    }

    #[test]
    fn the_matrix_catches_an_effect_that_comes_before_its_intent() {
        let matrix = Matrix::record(SEED, Plot::Whole, naive::deploy_effect_before_intent);
        assert!(matrix.is_sound(), "{:#?}", matrix.undisturbed);
        let call = "aurora-restore-restore rds:RestoreDBClusterFromSnapshot#1";
        let tried = matrix::try_all(&at(&matrix, call), 1, |_| &matrix, |_, _| ());
        let (after, before): (Vec<_>, Vec<_>) = tried
            .into_iter()
            .partition(|tried| tried.case.faults[0].0.is_after_effect());
        for caught in &after {
            let leaks = caught
                .complaints()
                .iter()
                .any(|complaint| complaint.contains("left behind and not named"));
            assert!(caught.reached && leaks, "{caught:#?}");
        }
        let harmless = before.iter().filter(|tried| tried.passed()).count();
        assert!(harmless >= 5, "{:#?}", failed(SEED, &before));
    }

    #[test]
    fn the_matrix_catches_an_undo_that_believes_a_tag() {
        let matrix = Matrix::record(SEED, Plot::Whole, naive::deploy_undo_by_tag);
        assert!(matrix.is_sound(), "{:#?}", matrix.undisturbed);
        let call = "aurora-restore-restore rds:CreateDBInstance#1";
        let case = Case {
            plot: Plot::Whole,
            faults: vec![(Fault::AccessDenied, call.parse().unwrap())],
        };
        let tried = matrix.try_case(&case);
        assert!(tried.verdict.decoys_touched > 0, "{tried:#?}");
    }
}
