//! A local cloud to rehearse restores in.
//!
//! One [`World`] holds every account and region. A request reaches it either
//! over the loopback endpoint ([`server`]) or straight from an SDK client in
//! the same process ([`http_client`]); both end in [`World::handle`], which reads
//! account, region and service from the request's signature and hands it to the
//! [`Service`] of that name.
//!
//! Time is the world's clock: real, or tokio's paused clock, which jumps to the
//! next timer as soon as nothing is left to do. Work that takes real time (a
//! database server starting, a file copy, a SQL session) therefore runs on the
//! blocking pool, which holds the clock still until it is done.

pub mod database;
pub mod events;
pub mod rds;
pub mod request;
pub mod world;

pub use request::{ApiError, Caller, Request, Response};
pub use world::{Service, World};
