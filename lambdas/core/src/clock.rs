//! The time of day, from one place.
//!
//! Steps ask this clock instead of the operating system, so that a test or a
//! rehearsal can move time. Steps never sleep: waiting belongs to the state machine.

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;

/// Tells the time of day, in UTC.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> OffsetDateTime + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The operating system's clock: what a deployed function uses.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the operating system"
    )]
    pub fn system() -> Self {
        Self::new(OffsetDateTime::now_utc)
    }

    /// The time of day, in UTC.
    pub fn now(&self) -> OffsetDateTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({})", self.now())
    }
}
