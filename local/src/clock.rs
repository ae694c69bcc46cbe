//! A clock that runs faster than real time, for rehearsals.

use std::time::Duration;

use asl_interpreter::{Clock, RuntimeClock, Sleep};
use time::OffsetDateTime;

/// Runs `speed` times as fast as another clock, from the moment it is made.
///
/// What the world waits for becomes short; what machines do stays as long as it
/// is. Timestamps run ahead of the machine's clock accordingly.
pub struct FastClock {
    inner: RuntimeClock,
    started: OffsetDateTime,
    speed: f64,
}

impl FastClock {
    /// A clock `speed` times as fast as `inner`; anything but a positive number is 1.
    #[must_use]
    pub fn new(inner: RuntimeClock, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 {
            speed
        } else {
            1.0
        };
        Self {
            inner,
            started: inner.now(),
            speed,
        }
    }
}

impl Clock for FastClock {
    fn now(&self) -> OffsetDateTime {
        self.started + (self.inner.now() - self.started) * self.speed
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.inner.sleep(duration.div_f64(self.speed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_on_a_clock_sixty_times_as_fast_takes_a_minute() {
        let real = RuntimeClock::starting_at(OffsetDateTime::UNIX_EPOCH);
        let fast = FastClock::new(real, 60.0);
        fast.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(
            (real.now() - OffsetDateTime::UNIX_EPOCH).whole_seconds(),
            60
        );
        assert_eq!(
            (fast.now() - OffsetDateTime::UNIX_EPOCH).whole_seconds(),
            3_600
        );
    }
}
