//! RDS, spoken to as a client does: raw Query requests in, XML out, real PostgreSQL beneath.
//!
//! tokio's time is paused, so a quarter of an hour of `creating` passes at once
//! while whatever a database really does takes the time it takes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod cloud;

mod lifecycle;
