//! What the flow itself costs: restores per second, and how late each wait notices.
//!
//! `make bench-flow`. Time is the local cloud's, paused between events, so lags are
//! exact; restores per second are of this machine and include real database servers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot be is a failed test"
)]

use std::time::Instant;

use aurora_restore::local::LocalOptions;
use aurora_restore_core::report::Report;
use local_cloud::rds::{Kind, Trouble};
use pipeline_tests::{Scene, TARGET};
use serde_json::json;
use time::OffsetDateTime;

/// How a wait learns that its resource is ready.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    /// Probability that an RDS event never arrives.
    event_loss: f64,
    heartbeat_seconds: u32,
}

const MODES: [Mode; 3] = [
    Mode {
        name: "events",
        event_loss: 0.0,
        heartbeat_seconds: 300,
    },
    Mode {
        name: "polling every 30 s",
        event_loss: 1.0,
        heartbeat_seconds: 30,
    },
    Mode {
        name: "polling every 60 s",
        event_loss: 1.0,
        heartbeat_seconds: 60,
    },
];

fn main() {
    println!(
        "| waits learn by | restore, min | lag per wait, s (mean, max) | overhead over the cloud's own time, s | transitions |"
    );
    println!("|---|---|---|---|---|");
    for mode in MODES {
        println!("{}", paused(measure(mode)));
    }
    println!();
    println!("{}", paused(throughput()));
}

fn paused<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime
        .unwrap_or_else(|error| panic!("{error}"))
        .block_on(work)
}

/// One restore of about 45 minutes in this mode.
async fn measure(mode: Mode) -> String {
    let mut options = LocalOptions::in_process(1);
    options.rds.event_loss = mode.event_loss;
    let scene = Scene::with(options).await;
    scene
        .local
        .rds
        .script(Kind::RestoredCluster, "*", Trouble::Slow(2.7));
    let request =
        scene.request_with(json!({"waits": {"heartbeatSeconds": mode.heartbeat_seconds}}));
    let run = scene.restore(request).await;
    assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);

    let total = run.report.seconds.total;
    let waits = waits(&scene, &run.report);
    let lags: Vec<f64> = waits.iter().map(|wait| wait.lag).collect();
    let own: f64 = waits.iter().map(|wait| wait.own).sum();
    let mean = lags.iter().sum::<f64>() / lags.len() as f64;
    let most = lags.iter().copied().fold(0.0, f64::max);
    let line = format!(
        "| {} | {:.1} | {mean:.1}, {most:.1} | {:.1} | {} |",
        mode.name,
        total / 60.0,
        total - own,
        run.execution.history().transitions()
    );
    scene.local.shutdown().await;
    line
}

/// One wait: how long the cloud needed, and how long after that the state machine went on.
struct Wait {
    own: f64,
    lag: f64,
}

fn waits(scene: &Scene, report: &Report) -> Vec<Wait> {
    let parse =
        |text: &str| OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    let states = scene.local.cloud.step_functions().executions();
    let events = states[states.len() - 1].history().events();
    let mut ready: Vec<OffsetDateTime> = Vec::new();
    for (kind, id) in [
        ("cluster", TARGET.to_owned()),
        ("db", format!("{TARGET}-1")),
    ] {
        let statuses = scene.view(kind, &id).statuses;
        ready.extend(
            statuses
                .into_iter()
                .filter(|(_, status)| status == "available")
                .map(|(at, _)| at),
        );
    }
    report
        .steps
        .iter()
        .filter(|step| step.state.starts_with("WaitFor"))
        .filter_map(|step| {
            let entered = parse(&step.started_at).ok()?;
            let left = events
                .iter()
                .find(|event| {
                    event.state_name() == Some(&step.state)
                        && event.event_type.name().ends_with("Exited")
                })?
                .timestamp;
            let at = ready
                .iter()
                .copied()
                .filter(|at| *at <= left && *at >= entered)
                .max()?;
            Some(Wait {
                own: (at - entered).as_seconds_f64(),
                lag: (left - at).as_seconds_f64(),
            })
        })
        .collect()
}

/// Restores one after the other, each with its own database servers.
async fn throughput() -> String {
    const RESTORES: u32 = 10;
    let scene = Scene::with(LocalOptions::in_process(1)).await;
    let began = Instant::now();
    for number in 0..RESTORES {
        let over = json!({"target": {"clusterIdentifier": format!("orders-{number}-staging")}});
        let run = scene
            .restore_as(&format!("restore-{number}"), scene.request_with(over))
            .await;
        assert_eq!(run.report.outcome, "Restored", "{:?}", run.report.cause);
    }
    let seconds = began.elapsed().as_secs_f64();
    scene.local.shutdown().await;
    format!(
        "{RESTORES} whole restores in {seconds:.1} s: {:.2} restores per second",
        f64::from(RESTORES) / seconds
    )
}
