//! Which moment of the machine's clock a time of this world was.
//!
//! Database servers stamp their logs by the machine's clock, which a world's clock may
//! outrun by hours. Once a minute of the world the two are written down side by side, so
//! a cluster can be restored to any minute: to the last one at or before the time that is
//! asked for. (RDS restores to the second.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::Inner;
use super::settings::Data;
use crate::database::volume::machine_time;

/// How far apart the moments are.
const MINUTE: Duration = Duration::from_secs(60);

/// The moments written down so far, in order.
#[derive(Default)]
pub(super) struct Moments(Mutex<Vec<(OffsetDateTime, SystemTime)>>);

impl Moments {
    fn lock(&self) -> MutexGuard<'_, Vec<(OffsetDateTime, SystemTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that it is this time of the world now. Says whether that is the first moment.
    fn note(&self, now: OffsetDateTime) -> bool {
        let mut moments = self.lock();
        moments.push((now, machine_time()));
        moments.len() == 1
    }

    /// The moment at or before this time of the world.
    pub(super) fn machine_time(&self, at: OffsetDateTime) -> SystemTime {
        let moments = self.lock();
        let after = moments.partition_point(|(time, _)| *time <= at);
        let before = after.checked_sub(1).and_then(|index| moments.get(index));
        before.map_or(SystemTime::UNIX_EPOCH, |(_, moment)| *moment)
    }
}

impl Inner {
    /// The time of the world to which everything can be restored; none as long as none was written down. A world
    /// without data can go back to any.
    pub(super) fn latest_moment(&self) -> Option<OffsetDateTime> {
        if self.settings.data == Data::Metadata {
            return Some(self.now());
        }
        self.moments.lock().last().map(|(time, _)| *time)
    }

    /// Writes moments down from now on, for as long as there is this world.
    pub(super) fn keep_moments(self: &Arc<Self>) {
        if self.settings.data == Data::Metadata
            || !self.moments.lock().is_empty()
            || !self.moments.note(self.now())
        {
            return;
        }
        self.flow(|flow| async move {
            loop {
                flow.sleep(MINUTE).await;
                let now = flow.now();
                flow.with(|rds| Some(rds.moments.note(now)))?;
            }
        });
    }
}
