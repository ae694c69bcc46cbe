//! Schedule expressions: `rate(5 minutes)`, `cron(0 2 * * ? *)`, `at(2026-11-21T03:00:00)`.
//!
//! Times are UTC. Of cron's special characters `L`, `W` and `#` are refused.

use std::collections::BTreeSet;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time};

const AT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// How far ahead a cron expression is searched: two leap years apart, at most eight years.
const SEARCH_DAYS: i64 = 8 * 366;

/// When a rule fires by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    Rate(Duration),
    Cron(Box<Cron>),
    At(OffsetDateTime),
}

/// What each field of a cron expression allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    /// `None` is `?` or `*`.
    days_of_month: Option<BTreeSet<u32>>,
    months: BTreeSet<u32>,
    /// 1 is Sunday. `None` is `?` or `*`.
    days_of_week: Option<BTreeSet<u32>>,
    years: BTreeSet<u32>,
}

impl Schedule {
    /// Reads an expression; `None` when it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('(')?;
        let inner = rest.strip_suffix(')')?;
        match kind {
            "rate" => rate(inner).map(Self::Rate),
            "cron" => Cron::parse(inner).map(|cron| Self::Cron(Box::new(cron))),
            "at" => PrimitiveDateTime::parse(inner, AT)
                .ok()
                .map(|time| Self::At(time.assume_utc())),
            _ => None,
        }
    }

    /// The next time after `now`; `None` when there is none.
    pub(crate) fn next_after(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Rate(every) => now.checked_add(*every),
            Self::Cron(cron) => cron.next_after(now),
            Self::At(time) => (*time > now).then_some(*time),
        }
    }
}

fn rate(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_once(' ')?;
    let number: i32 = number.parse().ok().filter(|number| *number > 0)?;
    // AWS insists on the singular for one and on the plural for more.
    let unit = match (number, unit) {
        (1, "minute") | (2.., "minutes") => Duration::MINUTE,
        (1, "hour") | (2.., "hours") => Duration::HOUR,
        (1, "day") | (2.., "days") => Duration::DAY,
        _ => return None,
    };
    unit.checked_mul(number)
}

impl Cron {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days_of_month, months, days_of_week, years] = fields.as_slice() else {
            return None;
        };
        // One of the two day fields must be `?`.
        if (*days_of_month == "?") == (*days_of_week == "?") {
            return None;
        }
        let month_names = [
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ];
        let day_names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
        let days = |text: &str, range: (u32, u32), names: &[&str]| match text {
            "?" | "*" => Some(None),
            text => field(text, range, names).map(Some),
        };
        Some(Self {
            minutes: field(minutes, (0, 59), &[])?,
            hours: field(hours, (0, 23), &[])?,
            days_of_month: days(days_of_month, (1, 31), &[])?,
            months: field(months, (1, 12), &month_names)?,
            days_of_week: days(days_of_week, (1, 7), &day_names)?,
            years: field(years, (1970, 2199), &[])?,
        })
    }

    fn next_after(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let now = now.to_offset(time::UtcOffset::UTC);
        (0..SEARCH_DAYS).find_map(|days| {
            let date = now.date().checked_add(Duration::days(days))?;
            if !self.allows(date) {
                return None;
            }
            let times = self
                .hours
                .iter()
                .flat_map(|hour| self.minutes.iter().map(move |minute| (*hour, *minute)));
            times
                .filter_map(|(hour, minute)| {
                    Time::from_hms(u8::try_from(hour).ok()?, u8::try_from(minute).ok()?, 0).ok()
                })
                .map(|time| PrimitiveDateTime::new(date, time).assume_utc())
                .find(|time| *time > now)
        })
    }

    fn allows(&self, date: Date) -> bool {
        let is_in = |allowed: &Option<BTreeSet<u32>>, value: u8| {
            allowed
                .as_ref()
                .is_none_or(|allowed| allowed.contains(&u32::from(value)))
        };
        u32::try_from(date.year()).is_ok_and(|year| self.years.contains(&year))
            && self.months.contains(&u32::from(u8::from(date.month())))
            && is_in(&self.days_of_month, date.day())
            && is_in(&self.days_of_week, date.weekday().number_from_sunday())
    }
}

/// The values a field allows: lists of `*`, values, ranges and steps.
fn field(text: &str, (least, most): (u32, u32), names: &[&str]) -> Option<BTreeSet<u32>> {
    let value = |text: &str| {
        let named = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        let named = named
            .and_then(|index| u32::try_from(index).ok())
            .map(|index| index + least);
        named
            .or_else(|| text.parse().ok())
            .filter(|value| (least..=most).contains(value))
    };
    let mut values = BTreeSet::new();
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (
                range,
                Some(step.parse::<usize>().ok().filter(|step| *step > 0)?),
            ),
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (value(from)?, value(to)?),
            None if range == "*" => (least, most),
            // `5/10` begins at 5 and goes on to the end.
            None => (
                value(range)?,
                if step.is_some() { most } else { value(range)? },
            ),
        };
        values.extend((from..=to).step_by(step.unwrap_or(1)));
    }
    (!values.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn next(expression: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
        Schedule::parse(expression).unwrap().next_after(now)
    }

    #[test]
    fn schedules_say_when_they_come_next() {
        let now = datetime!(2026-11-21 03:00:30 UTC); // a Saturday
        for (expression, expected) in [
            ("rate(1 hour)", datetime!(2026-11-21 04:00:30 UTC)),
            ("rate(5 minutes)", datetime!(2026-11-21 03:05:30 UTC)),
            ("cron(0 2 * * ? *)", datetime!(2026-11-22 02:00 UTC)),
            ("cron(0/15 * * * ? *)", datetime!(2026-11-21 03:15 UTC)),
            ("cron(30 4 ? * MON-FRI *)", datetime!(2026-11-23 04:30 UTC)),
            ("cron(0 0 29 2 ? *)", datetime!(2028-02-29 00:00 UTC)),
            ("cron(0 8,20 ? * 7 2026)", datetime!(2026-11-21 08:00 UTC)),
            ("at(2026-12-01T00:00:00)", datetime!(2026-12-01 00:00 UTC)),
        ] {
            assert_eq!(next(expression, now), Some(expected), "{expression}");
        }
        assert_eq!(next("at(2026-01-01T00:00:00)", now), None);
        assert_eq!(next("cron(0 0 1 1 ? 2020)", now), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "rate(1 hours)",
            "rate(0 minutes)",
            "rate(5 weeks)",
            "rate(9223372036854775807 days)",
            "cron(0 2 * * * *)",
            "cron(0 2 ? * ? *)",
            "cron(0 2 * * ?)",
            "cron(0 25 * * ? *)",
            "cron(0 0 L * ? *)",
            "every day",
            "at(tomorrow)",
        ] {
            assert_eq!(Schedule::parse(text), None, "{text}");
        }
    }
}
