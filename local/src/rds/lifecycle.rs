//! What happens after a call has been answered.
//!
//! A flow is a task on the world's clock: it sleeps, looks whether the resource
//! still is what it was, and moves it on. It holds RDS weakly between its steps,
//! and ends when RDS or the resource is gone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use asl_interpreter::Clock;
use time::OffsetDateTime;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use super::Inner;
use super::cluster::Cluster;
use super::events::Happening;
use super::instance::Instance;
use super::names::Place;
use super::snapshot::Snapshot;
use super::state::Book;
use super::trouble::{Kind, Trouble};
use crate::database::DatabaseError;

/// A flow's view of RDS.
pub(super) struct Flow {
    rds: Weak<Inner>,
    clock: Arc<dyn Clock>,
    changed: watch::Receiver<u64>,
}

impl Inner {
    /// Starts a flow. It ends early, with `None`, when what it works on is gone.
    pub(super) fn flow<F, Fut>(self: &Arc<Self>, steps: F)
    where
        F: FnOnce(Flow) -> Fut,
        Fut: Future<Output = Option<()>> + Send + 'static,
    {
        let flow = Flow {
            rds: Arc::downgrade(self),
            clock: Arc::clone(&self.clock),
            changed: self.changed.subscribe(),
        };
        let steps = steps(flow);
        // A world that is gone has no time left for anything to happen in.
        if let Some(world) = self.world.upgrade() {
            world.spawn(async move {
                steps.await;
            });
        }
    }
}

impl Flow {
    pub(super) async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            self.clock.sleep(duration).await;
        }
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// One step with RDS at hand; nothing if it is gone.
    pub(super) fn with<R>(&self, step: impl FnOnce(&Arc<Inner>) -> Option<R>) -> Option<R> {
        step(&self.rds.upgrade()?)
    }

    /// One step on the book.
    pub(super) fn edit<R>(&self, step: impl FnOnce(&mut Book) -> Option<R>) -> Option<R> {
        self.with(|rds| rds.edit(step))
    }

    /// One step on a cluster that still exists.
    pub(super) fn cluster<R>(
        &self,
        id: &str,
        step: impl FnOnce(&mut Cluster, OffsetDateTime) -> Option<R>,
    ) -> Option<R> {
        let now = self.clock.now();
        self.edit(|book| step(book.clusters.get_mut(id)?, now))
    }

    /// One step on an instance that still exists.
    pub(super) fn instance<R>(
        &self,
        id: &str,
        step: impl FnOnce(&mut Instance, OffsetDateTime) -> Option<R>,
    ) -> Option<R> {
        let now = self.clock.now();
        self.edit(|book| step(book.instances.get_mut(id)?, now))
    }

    /// One step on a snapshot that still exists.
    pub(super) fn snapshot<R>(
        &self,
        id: &str,
        step: impl FnOnce(&mut Snapshot, OffsetDateTime) -> Option<R>,
    ) -> Option<R> {
        let now = self.clock.now();
        self.edit(|book| step(book.snapshots.get_mut(id)?, now))
    }

    /// Tells the world of something.
    pub(super) fn tell(&self, place: &Place, id: &str, happening: Happening) -> Option<()> {
        self.with(|rds| {
            rds.tell(place, id, happening);
            Some(())
        })
    }

    /// Stays in the status a resource has just got, as long as a test wants; for ever ends the flow.
    pub(super) async fn linger(&self, kind: Kind, name: &str, status: &str) -> Option<()> {
        let wanted = |trouble: &Trouble| match trouble {
            Trouble::StaysIn {
                status: meant,
                lasts,
            } if meant == status => Some(*lasts),
            _ => None,
        };
        let (lasts, speed) =
            self.with(|rds| Some((rds.trouble(kind, name, wanted), rds.settings.speed)))?;
        if let Some(lasts) = lasts {
            self.sleep(lasts?.mul_f64(1.0 / speed)).await;
        }
        Some(())
    }

    /// Waits until this finds something in the book.
    pub(super) async fn until<R>(&mut self, mut look: impl FnMut(&Book) -> Option<R>) -> Option<R> {
        loop {
            self.changed.mark_unchanged();
            if let Some(found) = self.rds.upgrade()?.read(&mut look) {
                return Some(found);
            }
            self.changed.changed().await.ok()?;
        }
    }
}

/// Work that takes real time.
///
/// On a runtime of one thread, which is what a paused clock runs on, the world stands still
/// meanwhile: what happens in it then never depends on how quick the machine was.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, DatabaseError> {
    let done = match Handle::current().runtime_flavor() {
        // On a thread of its own: the database's client will not run inside a runtime.
        RuntimeFlavor::CurrentThread => std::thread::spawn(work).join(),
        _ => match tokio::task::spawn_blocking(work).await {
            Ok(result) => Ok(result),
            Err(error) => Err(error
                .try_into_panic()
                .map_err(|_| DatabaseError::State("the runtime is shutting down"))?),
        },
    };
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
