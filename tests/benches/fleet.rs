//! A fleet of drills against the lower bound that the account's quotas allow.
//!
//! `make bench-fleet`. Time is the local cloud's, paused between events; `MEMBERS` says how many, 500 when absent.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot be is a failed test"
)]

use std::time::Instant;

use pipeline_tests::fleet::drills;

/// What an account with the usual quotas of 40 clusters and 40 instances has left beside one cluster of its own.
const PLACES: usize = 39;

fn main() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the size of a benchmark is given from outside"
    )]
    let members = std::env::var("MEMBERS").ok();
    let members = members.and_then(|members| members.parse().ok());
    let members = members.unwrap_or(500);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let began = Instant::now();
    let drills = runtime.block_on(drills(members, PLACES, 1, 1));
    let minutes = |duration: std::time::Duration| duration.as_secs_f64() / 60.0;
    println!(
        "| members | places | fullest | one member, min (least, mean) | lower bound, min | makespan, min | makespan ÷ bound | transitions |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!(
        "| {} | {} | {} | {:.1}, {:.1} | {:.1} | {:.1} | {:.3} | {} |",
        drills.members,
        drills.places,
        drills.peak,
        minutes(drills.own_least),
        minutes(drills.own_mean),
        minutes(drills.bound()),
        minutes(drills.makespan),
        drills.ratio(),
        drills.transitions,
    );
    println!();
    println!("{:.0} s on this machine", began.elapsed().as_secs_f64());
}
