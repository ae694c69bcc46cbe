//! Every service as a client meets it: signed requests in, real answers out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test that is how a surprise is reported"
)]

mod client;
mod cloudwatch;
mod dynamodb;
mod endpoint;
mod lambda;
mod step_functions;
