//! Restores as stories: each test is one, told against a local cloud under virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot be is a failed test"
)]

mod api;
mod approvals;
mod capacity;
mod clients;
mod cost;
mod expiry;
mod failures;
mod fidelity;
mod fleets;
mod globals;
mod mysql;
mod plans;
mod rds_failures;
mod reaper;
mod redrive;
mod regions;
mod restores;
mod schedules;
mod sources;
mod steps;
mod switch_faults;
mod switching;
mod waiting;
