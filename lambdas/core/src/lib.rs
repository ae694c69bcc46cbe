//! The pipeline's own vocabulary.
//!
//! A restore is a [`request`] resolved once into a [`plan`], carried out by steps
//! that each load a [`Restore`], act, and record what they did in
//! the [`ledger`]. This crate is the only place that reads the environment, builds
//! AWS clients, talks to the state table, or turns an error into what Step
//! Functions sees. It knows nothing about the order of steps: that is the state
//! machine's.

pub mod approval;
pub mod aws;
pub mod clock;
pub mod errors;
pub mod execution;
pub mod expiry;
pub mod fidelity;
pub mod fleet;
pub mod ledger;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod once;
pub mod ownership;
pub mod plan;
pub mod profile;
pub mod queue;
pub mod rds;
pub mod region;
pub mod report;
pub mod request;
pub mod runtime;
pub mod secrets;
pub mod settings;
pub mod sql;
pub mod status;
pub mod step;
pub mod switching;
pub mod table;

pub use aws::Clients;
pub use clock::Clock;
pub use errors::{Code, Kind, StepError};
pub use ledger::Restore;
pub use plan::Plan;
pub use request::Request;
pub use secrets::Secret;
pub use settings::Settings;
pub use step::{Context, Step};
