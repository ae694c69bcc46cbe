//! The id of a restore, or of a fleet, that a schedule asks for: `nightly-20261121T030000Z`.

use aurora_restore_core::StepError;
use aurora_restore_core::errors::AR0001;
use aurora_restore_core::fleet::{FleetId, ID_LIMIT};
use aurora_restore_core::names::RestoreId;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// UTC, to the second, without what Step Functions refuses in names.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// What the hyphen and the time take of an id.
const TIME_TAKES: usize = 17;

/// An execution's name has at most 80 characters (StartExecution).
const SCHEDULE_LIMIT: usize = 80 - TIME_TAKES;

/// A fleet's id is shorter: numbers of members follow.
const FLEET_SCHEDULE_LIMIT: usize = ID_LIMIT - TIME_TAKES;

/// The id of the restore that this schedule asks for at this time (RFC 3339).
///
/// Each part is checked for what people get wrong: a name EventBridge Scheduler would not take or that leaves no
/// room for the time, and a time that is not one, such as the keyword where nothing replaced it.
///
/// # Errors
/// AR0001 naming the part, its value and what was expected.
pub fn restore_id(schedule: &str, scheduled_time: &str) -> Result<RestoreId, StepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !(1..=SCHEDULE_LIMIT).contains(&schedule.len()) || !schedule.chars().all(allowed) {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `schedule`: `{schedule}`, expected 1 to {SCHEDULE_LIMIT} letters, digits, hyphens, dots or \
                 underscores: with the scheduled time it becomes the restore's id of at most 80 characters"
            ),
        ));
    }
    RestoreId::parse(&format!("{schedule}-{}", stamp(scheduled_time)?))
}

/// The id of the fleet that this schedule asks for at this time (RFC 3339).
///
/// # Errors
/// As [`restore_id`].
pub fn fleet_id(schedule: &str, scheduled_time: &str) -> Result<FleetId, StepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !(1..=FLEET_SCHEDULE_LIMIT).contains(&schedule.len()) || !schedule.chars().all(allowed) {
        return Err(StepError::new(
            &AR0001,
            format!(
                "at `schedule`: `{schedule}`, expected 1 to {FLEET_SCHEDULE_LIMIT} letters, digits, hyphens or \
                 underscores: with the scheduled time it becomes the fleet's id of at most {ID_LIMIT} characters"
            ),
        ));
    }
    FleetId::parse(&format!("{schedule}-{}", stamp(scheduled_time)?))
}

/// The scheduled time as a part of a name.
fn stamp(scheduled_time: &str) -> Result<String, StepError> {
    let time = OffsetDateTime::parse(scheduled_time, &Rfc3339).map_err(|error| {
        StepError::new(
            &AR0001,
            format!(
                "at `scheduledTime`: `{scheduled_time}`, expected a time such as 2026-11-21T03:00:00Z, which \
                 EventBridge Scheduler puts in place of `<aws.scheduler.scheduled-time>`"
            ),
        )
        .caused_by(error)
    })?;
    time.to_offset(UtcOffset::UTC)
        .format(STAMP)
        .map_err(|error| {
            StepError::defect(format!("`{scheduled_time}` cannot be written")).caused_by(error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_schedule_and_its_time_in_utc() {
        for (time, id) in [
            ("2026-11-21T03:00:00Z", "nightly-20261121T030000Z"),
            ("2026-11-21T03:00:00.250+01:00", "nightly-20261121T020000Z"),
        ] {
            assert_eq!(restore_id("nightly", time).unwrap().as_str(), id);
        }
    }

    #[test]
    fn a_schedule_whose_name_leaves_no_room_for_the_time_is_refused() {
        let time = "2026-11-21T03:00:00Z";
        let longest = "x".repeat(63);
        assert_eq!(
            restore_id(&longest, time).unwrap().as_str().len(),
            80,
            "as long as an execution's name may be"
        );
        for name in [
            "",
            "a b",
            "group/nightly",
            "n\u{e4}chtlich",
            &"x".repeat(64),
        ] {
            let error = restore_id(name, time).unwrap_err();
            assert_eq!(error.code().id, "AR0001");
            assert!(error.message().starts_with("at `schedule`"), "{error}");
        }
    }

    #[test]
    fn a_schedule_of_fleets_leaves_room_for_the_members_too() {
        let time = "2026-11-21T03:00:00Z";
        let longest = fleet_id(&"x".repeat(33), time).unwrap();
        assert_eq!(longest.as_str().len(), ID_LIMIT);
        for name in ["", "a.b", &"x".repeat(34)] {
            let error = fleet_id(name, time).unwrap_err();
            assert_eq!(error.code().id, "AR0001");
            assert!(error.message().starts_with("at `schedule`"), "{error}");
        }
    }

    #[test]
    fn a_time_that_nothing_was_put_in_place_of_is_refused() {
        for time in ["<aws.scheduler.scheduled-time>", "", "2026-11-21", "03:00"] {
            let error = restore_id("nightly", time).unwrap_err();
            assert_eq!(error.code().id, "AR0001");
            assert!(error.message().starts_with("at `scheduledTime`"), "{error}");
        }
    }
}
