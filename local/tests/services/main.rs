//! Every service as a client meets it: signed requests in, real answers out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test that is how a surprise is reported"
)]

mod api_gateway;
mod client;
mod cloud_control;
mod cloudwatch;
mod dynamodb;
mod endpoint;
mod eventbridge;
mod kms;
mod lambda;
mod parameter_store;
mod policy_simulator;
mod processes;
mod scheduler;
mod secrets_manager;
mod sns;
mod sqs;
mod step_functions;
mod sts;
