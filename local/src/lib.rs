//! A local cloud to rehearse restores in.
//!
//! One [`World`] holds every account and region. A request reaches it either
//! over the loopback endpoint ([`server`]) or straight from an SDK client in
//! the same process ([`http_client`]); both end in [`World::receive`], which reads
//! account, region and service from the request's signature, passes the
//! [`layer`]s, and hands it to the [`Service`] of that name. [`LocalCloud`] puts
//! a whole world together.
//!
//! Time is the world's clock: real, or tokio's paused clock, which jumps to the
//! next timer as soon as nothing is left to do. Work that takes real time (a
//! database server starting, a file copy, a SQL session) therefore runs on the
//! blocking pool, which holds the clock still until it is done.

pub mod api_gateway;
pub mod clock;
pub mod cloud;
pub mod cloud_control;
pub mod cloudformation;
pub mod cloudwatch;
pub mod credentials;
pub mod database;
pub mod dynamodb;
pub mod eventbridge;
pub mod events;
pub mod faults;
mod fields;
pub mod http_client;
pub mod iam;
pub mod kms;
pub mod lambda;
pub mod layer;
pub mod parameter_store;
pub mod randomness;
pub mod rds;
mod recorded;
mod regional;
pub mod request;
pub mod route53;
pub mod scheduler;
pub mod secrets_manager;
pub mod security_groups;
pub mod server;
mod signature;
pub mod sns;
pub mod sqs;
pub mod step_functions;
pub mod sts;
mod wire;
pub mod world;

pub use cloud::{LocalCloud, LocalCloudBuilder};
pub use credentials::AccessKey;
pub use recorded::RecordedText;
pub use request::{ApiError, Caller, Request, Response};
pub use world::{Service, World};
