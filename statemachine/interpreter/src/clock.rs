//! Time, as an execution sees it.
//!
//! The interpreter never looks at the machine's clock: waits, retries, timeouts
//! and the timestamps in the history all come from here, so that whoever owns
//! the clock owns the time of a run.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// A wait that ends by itself.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The time and the passing of it.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in UTC.
    fn now(&self) -> OffsetDateTime;

    /// Ends when `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// tokio's time, counted from the moment of creation.
///
/// On a running runtime this is wall time. On a paused one (`start_paused`) it
/// stands still until every task waits, then jumps to the next deadline.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeClock {
    epoch: OffsetDateTime,
    since: Instant,
}

impl RuntimeClock {
    /// Starts at the machine's time. Must be made inside a tokio runtime.
    #[must_use]
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock the rest of the code is told to use"
        )]
        Self::starting_at(OffsetDateTime::now_utc())
    }

    /// Starts at `epoch`, so that a test's timestamps are always the same.
    #[must_use]
    pub fn starting_at(epoch: OffsetDateTime) -> Self {
        Self {
            epoch,
            since: Instant::now(),
        }
    }
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> OffsetDateTime {
        self.epoch + self.since.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> OffsetDateTime {
        (**self).now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        (**self).sleep(duration)
    }
}
