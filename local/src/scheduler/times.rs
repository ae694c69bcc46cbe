//! When a schedule comes: its expression in its time zone, between its start and its end.
//!
//! Where clocks go forward, a time that does not exist is skipped; where they go
//! back, one that comes twice is taken once. A rate counts hours, whatever clocks
//! do (EventBridge Scheduler User Guide, "Schedule types", daylight saving time).

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use time::{Duration, OffsetDateTime};

use crate::eventbridge::schedule::Schedule;

/// The times of one schedule.
#[derive(Clone, Debug)]
pub(super) struct Times {
    schedule: Schedule,
    zone: TimeZone,
    /// Nothing comes before.
    from: OffsetDateTime,
    /// Nothing comes after.
    until: Option<OffsetDateTime>,
}

impl Times {
    /// Reads an expression and a time zone of the IANA database; says which of them is wrong.
    pub(super) fn parse(
        expression: &str,
        zone: &str,
        from: OffsetDateTime,
        until: Option<OffsetDateTime>,
    ) -> Result<Self, String> {
        let schedule = Schedule::parse(expression)
            .ok_or_else(|| format!("Invalid Schedule Expression {expression}."))?;
        let zone = TimeZone::get(zone)
            .map_err(|_| format!("Invalid ScheduleExpressionTimezone {zone}."))?;
        Ok(Self {
            schedule,
            zone,
            from,
            until,
        })
    }

    /// The first time, and after that the next one after `last`; `None` when there is none.
    pub(super) fn next(&self, last: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
        let next = match &self.schedule {
            // A rate begins when the schedule does.
            Schedule::Rate(every) => match last {
                None => Some(self.from),
                Some(last) => last.checked_add(*every),
            },
            Schedule::Cron(_) => self.next_local(last.unwrap_or(self.from)),
            Schedule::At(local) => self
                .instant(*local)
                .filter(|time| *time > last.unwrap_or(self.from)),
        };
        next.filter(|time| self.until.is_none_or(|until| *time <= until))
    }

    /// The next time of a cron expression, which speaks of what clocks in the time zone show.
    fn next_local(&self, last: OffsetDateTime) -> Option<OffsetDateTime> {
        let mut shown = self.shown(last)?;
        loop {
            shown = self.schedule.next_after(shown)?;
            if let Some(time) = self.instant(shown).filter(|time| *time > last) {
                return Some(time);
            }
        }
    }

    /// What clocks show at this instant, written as if it were UTC.
    fn shown(&self, instant: OffsetDateTime) -> Option<OffsetDateTime> {
        let timestamp = Timestamp::from_second(instant.unix_timestamp()).ok()?;
        let offset = self.zone.to_offset(timestamp).seconds();
        instant
            .to_offset(time::UtcOffset::UTC)
            .checked_add(Duration::seconds(offset.into()))
    }

    /// The first instant at which clocks show this; `None` when they never do.
    fn instant(&self, shown: OffsetDateTime) -> Option<OffsetDateTime> {
        let shown = Timestamp::from_second(shown.unix_timestamp()).ok()?;
        let shown = TimeZone::UTC.to_datetime(shown);
        let offset = match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset }
            | AmbiguousOffset::Fold { before: offset, .. } => offset,
            AmbiguousOffset::Gap { .. } => return None,
        };
        let seconds = offset.to_timestamp(shown).ok()?.as_second();
        OffsetDateTime::from_unix_timestamp(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn times(expression: &str, zone: &str, from: OffsetDateTime) -> Vec<OffsetDateTime> {
        let times = Times::parse(expression, zone, from, None).unwrap();
        let mut found = Vec::new();
        for _ in 0..3 {
            found.extend(times.next(found.last().copied()));
        }
        found
    }

    #[test]
    fn three_o_clock_in_dublin_is_three_o_clock_in_summer_and_in_winter() {
        assert_eq!(
            times(
                "cron(0 3 * * ? *)",
                "Europe/Dublin",
                datetime!(2026-10-23 12:00 UTC)
            ),
            [
                datetime!(2026-10-24 02:00 UTC),
                datetime!(2026-10-25 03:00 UTC),
                datetime!(2026-10-26 03:00 UTC)
            ]
        );
    }

    #[test]
    fn a_time_that_clocks_jump_over_is_skipped() {
        assert_eq!(
            times(
                "cron(30 1 * * ? *)",
                "Europe/Dublin",
                datetime!(2026-03-27 12:00 UTC)
            ),
            [
                datetime!(2026-03-28 01:30 UTC),
                // On the 29th clocks go from 01:00 to 02:00.
                datetime!(2026-03-30 00:30 UTC),
                datetime!(2026-03-31 00:30 UTC)
            ]
        );
        assert_eq!(
            times(
                "at(2026-03-29T01:30:00)",
                "Europe/Dublin",
                datetime!(2026-03-27 12:00 UTC)
            ),
            Vec::<OffsetDateTime>::new()
        );
    }

    #[test]
    fn a_time_that_clocks_show_twice_comes_once() {
        assert_eq!(
            times(
                "cron(30 1 * * ? *)",
                "Europe/Dublin",
                datetime!(2026-10-24 12:00 UTC)
            ),
            [
                datetime!(2026-10-25 00:30 UTC),
                datetime!(2026-10-26 01:30 UTC),
                datetime!(2026-10-27 01:30 UTC)
            ]
        );
        let midway = datetime!(2026-10-25 01:10 UTC); // the second 01:10
        assert_eq!(
            times("cron(30 1 * * ? *)", "Europe/Dublin", midway)[0],
            datetime!(2026-10-26 01:30 UTC)
        );
    }

    #[test]
    fn a_rate_begins_at_once_and_counts_hours() {
        assert_eq!(
            times(
                "rate(1 day)",
                "Europe/Dublin",
                datetime!(2026-10-24 12:00 UTC)
            ),
            [
                datetime!(2026-10-24 12:00 UTC),
                datetime!(2026-10-25 12:00 UTC),
                datetime!(2026-10-26 12:00 UTC)
            ]
        );
    }

    #[test]
    fn one_time_is_local_time_and_comes_once() {
        let from = datetime!(2026-06-01 00:00 UTC);
        assert_eq!(
            times("at(2026-06-02T03:00:00)", "America/New_York", from),
            [datetime!(2026-06-02 07:00 UTC)]
        );
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let (from, until) = (
            datetime!(2026-11-21 00:00 UTC),
            datetime!(2026-11-22 03:00 UTC),
        );
        let times = Times::parse("cron(0 3 * * ? *)", "UTC", from, Some(until)).unwrap();
        let second = times.next(times.next(None));
        assert_eq!(second, Some(until));
        assert_eq!(times.next(second), None);
    }

    #[test]
    fn what_is_no_time_zone_is_refused() {
        let from = datetime!(2026-11-21 00:00 UTC);
        let refused = Times::parse("rate(1 day)", "Europe/Atlantis", from, None).unwrap_err();
        assert!(refused.contains("Europe/Atlantis"), "{refused}");
    }
}
