//! What stands between the wire and the services: faults, permissions, recordings.
//!
//! Every request from a client passes the layers, whichever way it came in: over
//! the loopback endpoint or from an SDK client in the same process. What services
//! ask of one another on a customer's behalf does not.

use std::ops::ControlFlow;

use async_trait::async_trait;

use crate::request::{Request, Response};

/// Why a client hears nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Severed {
    /// Nobody listens.
    #[error("the connection was refused")]
    Refused,
    /// The connection was reset.
    #[error("the connection was reset")]
    Reset,
    /// No answer came in the client's time.
    #[error("no answer came in time")]
    TimedOut,
}

/// What a client gets: an answer, or nothing.
pub type Answer = Result<Response, Severed>;

/// Sees every request before it has an effect and every answer after.
#[async_trait]
pub trait Layer: Send + Sync {
    /// Before the service sees the request. [`ControlFlow::Break`] answers in the
    /// service's place: nothing has happened, nothing will.
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        let _ = request;
        ControlFlow::Continue(())
    }

    /// After the service has acted. What is returned is what the client gets: the
    /// effect stays, even when the answer does not arrive.
    async fn after(&self, request: &Request, answer: Answer) -> Answer {
        let _ = request;
        answer
    }
}
