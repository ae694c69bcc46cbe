//! RDS, spoken to as a client does: raw Query requests in, XML out, real PostgreSQL beneath.
//!
//! tokio's time is paused, so a quarter of an hour of `creating` passes at once
//! while whatever a database really does takes the time it takes. Tests that are
//! not about data run without servers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod cloud;
mod neighbours;

mod company;
mod copying;
mod credentials;
mod defaults;
mod deletion;
mod events;
mod globals;
mod leftovers;
mod lifecycle;
mod mysql;
mod refusals;
mod renaming;
mod sharing;
mod stopping;
mod troubles;
