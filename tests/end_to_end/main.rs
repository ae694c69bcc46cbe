//! The real program and the real binaries, as a newcomer runs them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot be is a failed test"
)]

mod commands;
mod programs;
mod rehearsals;
mod stock_client;
