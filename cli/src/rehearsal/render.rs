//! A rehearsal as people read it.

use std::fmt::Write;

use super::{Comparison, Progress, Rehearsed, RehearsedFleet, RehearsedRestore, Told};

/// One line of progress.
pub fn progress(progress: &Progress) -> String {
    match progress {
        Progress::Note(note) => note.clone(),
        Progress::State { seconds, name } => format!("  {}  {name}", clock(*seconds)),
    }
}

fn clock(seconds: i64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The short report at the end.
pub fn render(rehearsed: &Rehearsed) -> String {
    match rehearsed {
        Rehearsed::Restore(rehearsed) => render_restore(rehearsed),
        Rehearsed::Fleet(rehearsed) => render_fleet(rehearsed),
    }
}

fn render_fleet(rehearsed: &RehearsedFleet) -> String {
    let fleet = &rehearsed.fleet;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11}{value}"); // writing to a string cannot fail
    };
    let outcome = format!("{}: {}", fleet.outcome, fleet.tally.in_words());
    line("outcome", &outcome);
    line("path", &rehearsed.path.join(" > "));
    for member in &fleet.members {
        let error = member.error.as_deref().unwrap_or_default();
        let (target, status) = (&member.target, &member.status);
        line("member", &format!("{status:<12} {target} {error}"));
        if let Some(data) = rehearsed.data.get(target) {
            line("data", &compared(data));
        }
    }
    line("told", &told(&rehearsed.told));
    text
}

fn render_restore(rehearsed: &RehearsedRestore) -> String {
    let report = &rehearsed.report;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11}{value}"); // writing to a string cannot fail
    };
    line("outcome", &report.outcome);
    if let Some(cause) = &report.cause {
        line("because", cause);
    }
    line("path", &rehearsed.path.path.join(" > "));
    let seconds = report.seconds;
    line(
        "duration",
        &format!(
            "{}: {} waiting, {:.1} s working; {} state transitions",
            clock(seconds.total as i64),
            clock(seconds.waiting as i64),
            seconds.working,
            rehearsed.path.transitions
        ),
    );
    line("created", &or_nothing(&report.created));
    line("removed", &or_nothing(&report.removed));
    for leftover in &report.leftovers {
        line(
            "left over",
            &format!("{}; remove with: {}", leftover.arn, leftover.remove_with),
        );
    }
    for finding in &report.evidence {
        let verdict = if finding.passed { "ok" } else { "FAILED" };
        line(
            "evidence",
            &format!("{verdict:<6} {} ({})", finding.check, finding.detail),
        );
    }
    let data = &rehearsed.data;
    if data.tables > 0 {
        line("data", &compared(data));
    }
    if !data.differences.is_empty() {
        line("differ", &data.differences.join(", "));
    }
    if let Some(switched) = &rehearsed.switched {
        let first = &switched.first;
        let cause = first.cause.as_deref().unwrap_or_default();
        line("first try", &format!("{}: {cause}", first.outcome));
        let outages = switched.outages_seconds.iter();
        let outages: Vec<String> = outages.map(|seconds| clock(*seconds as i64)).collect();
        line(
            "client",
            &format!(
                "could not write for {}, give or take {} s; {} tries",
                outages.join(", and for "),
                switched.tried_every_seconds,
                switched.tries
            ),
        );
    }
    line("told", &told(&rehearsed.told));
    if let Some(target) = &report.target {
        line(
            "connect",
            &format!(
                "host {} port {}, user and password in secret {}",
                target.endpoint, target.port, target.secret_arn
            ),
        );
    }
    text
}

fn compared(data: &Comparison) -> String {
    let verdict = if data.equal { "equal" } else { "DIFFERENT" };
    format!(
        "{verdict}: {} tables, {} rows at the restored moment; {} transactions before it, {} after it",
        data.tables, data.rows, data.transactions_in_snapshot, data.transactions_after_snapshot
    )
}

fn told(told: &Told) -> String {
    format!(
        "{}; {} metrics",
        told.notifications.join(", "),
        told.metrics.len()
    )
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
