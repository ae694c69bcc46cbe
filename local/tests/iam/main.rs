//! What roles may do, as SDK clients with a role's credentials meet it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test that is how a surprise is reported"
)]

mod calls;
mod role;
mod trust;
