//! A schedule as it was put: when it comes, what it calls, and what it hands over.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::times::Times;
use crate::fields::{Fields, epoch_seconds};
use crate::request::{ApiError, Caller};

/// Retries of one delivery, and seconds after which it is given up, when nothing is said.
const RETRIES_MAX: i64 = 185;
const AGE_SECONDS_MAX: i64 = 86_400;

/// How the ARNs of universal targets begin: any operation of any service follows.
const UNIVERSAL: &str = "arn:aws:scheduler:::aws-sdk:";

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) times: Times,
    /// A delivery comes at any moment of so many minutes after its time.
    pub(super) window_minutes: Option<u32>,
    pub(super) enabled: bool,
    pub(super) target: Target,
    /// Whether it goes when there is no next time.
    pub(super) ends_with_its_last_time: bool,
    /// As it was put, to be told.
    pub(super) properties: Value,
    pub(super) created: OffsetDateTime,
    pub(super) modified: OffsetDateTime,
    /// Which put made it: what waits for an earlier one ends.
    pub(super) put_number: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) arn: String,
    pub(super) role_arn: String,
    pub(super) input: Option<String>,
    pub(super) retries: u32,
    pub(super) age_seconds: u32,
    pub(super) dead_letter_arn: Option<String>,
}

/// What of one try a target's input may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try<'a> {
    pub(super) scheduled_time: OffsetDateTime,
    pub(super) execution_id: &'a str,
    /// Counted from 1.
    pub(super) number: u32,
}

impl Entry {
    /// Reads what `CreateSchedule` and `UpdateSchedule` are given.
    ///
    /// # Errors
    /// `ValidationException` naming what is wrong.
    pub(super) fn parse(
        name: &str,
        properties: &Value,
        now: OffsetDateTime,
    ) -> Result<Self, ApiError> {
        let fields = Fields::new(properties);
        check_name(name)?;
        let start = fields.time("StartDate")?;
        let times = Times::parse(
            fields.required("ScheduleExpression")?,
            fields.text("ScheduleExpressionTimezone")?.unwrap_or("UTC"),
            start.filter(|start| *start > now).unwrap_or(now),
            fields.time("EndDate")?,
        );
        Ok(Self {
            name: name.to_owned(),
            times: times.map_err(validation)?,
            window_minutes: window(fields)?,
            enabled: choice(fields, "State", ["ENABLED", "DISABLED"])? == "ENABLED",
            target: Target::parse(structure(fields, "Target")?)?,
            ends_with_its_last_time: choice(fields, "ActionAfterCompletion", ["NONE", "DELETE"])?
                == "DELETE",
            properties: properties.clone(),
            created: now,
            modified: now,
            put_number: 0,
        })
    }

    pub(super) fn arn(&self, place: &Caller) -> String {
        arn(place, &self.name)
    }

    /// What `GetSchedule` tells.
    pub(super) fn described(&self, place: &Caller) -> Value {
        let mut answer = self.listed(place);
        let told = [
            "Description",
            "EndDate",
            "FlexibleTimeWindow",
            "KmsKeyArn",
            "ScheduleExpression",
            "StartDate",
            "Target",
        ];
        for name in told {
            if let Some(value) = Fields::new(&self.properties).value(name) {
                answer[name] = value.clone();
            }
        }
        let text = |name: &str, otherwise: &str| -> Value {
            let given = self.properties[name].as_str();
            given.unwrap_or(otherwise).into()
        };
        answer["ScheduleExpressionTimezone"] = text("ScheduleExpressionTimezone", "UTC");
        answer["ActionAfterCompletion"] = text("ActionAfterCompletion", "NONE");
        answer
    }

    /// What `ListSchedules` tells.
    pub(super) fn listed(&self, place: &Caller) -> Value {
        json!({
            "Arn": self.arn(place),
            "Name": self.name,
            "GroupName": super::GROUP,
            "State": if self.enabled { "ENABLED" } else { "DISABLED" },
            "CreationDate": epoch_seconds(self.created),
            "LastModificationDate": epoch_seconds(self.modified),
            "Target": { "Arn": self.target.arn },
        })
    }

    /// What the target is given: its input with the keywords replaced, or an event that tells of the schedule.
    pub(super) fn payload(&self, place: &Caller, a_try: Try<'_>) -> String {
        let (time, arn) = (stamp(a_try.scheduled_time), self.arn(place));
        let Some(input) = &self.target.input else {
            return json!({
                "version": "0",
                "id": a_try.execution_id,
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": place.account,
                "time": time,
                "region": place.region,
                "resources": [arn],
                "detail": "{}",
            })
            .to_string();
        };
        let keywords = [
            ("<aws.scheduler.scheduled-time>", time),
            ("<aws.scheduler.schedule-arn>", arn),
            (
                "<aws.scheduler.execution-id>",
                a_try.execution_id.to_owned(),
            ),
            ("<aws.scheduler.attempt-number>", a_try.number.to_string()),
        ];
        keywords
            .into_iter()
            .fold(input.clone(), |text, (keyword, value)| {
                text.replace(keyword, &value)
            })
    }
}

impl Target {
    /// The operation that a universal target calls, such as `ssm:startAutomationExecution`.
    pub(super) fn operation(&self) -> Option<&str> {
        self.arn.strip_prefix(UNIVERSAL)
    }

    fn parse(fields: Fields<'_>) -> Result<Self, ApiError> {
        let arn = fields.required("Arn")?;
        if arn.split(':').nth(2) != Some("lambda") && !arn.starts_with(UNIVERSAL) {
            return Err(validation(format!(
                "Target.Arn is {arn}: the local cloud's schedules have Lambda functions and universal targets only"
            )));
        }
        let retry = fields.value("RetryPolicy").unwrap_or(&Value::Null);
        let retry = Fields::new(retry);
        let dead_letters = fields.value("DeadLetterConfig").unwrap_or(&Value::Null);
        Ok(Self {
            arn: arn.to_owned(),
            role_arn: fields.required("RoleArn")?.to_owned(),
            input: fields.text("Input")?.map(str::to_owned),
            retries: within(retry, "MaximumRetryAttempts", (0, RETRIES_MAX), RETRIES_MAX)?,
            age_seconds: within(
                retry,
                "MaximumEventAgeInSeconds",
                (60, AGE_SECONDS_MAX),
                AGE_SECONDS_MAX,
            )?,
            dead_letter_arn: Fields::new(dead_letters).text("Arn")?.map(str::to_owned),
        })
    }
}

fn window(fields: Fields<'_>) -> Result<Option<u32>, ApiError> {
    let window = structure(fields, "FlexibleTimeWindow")?;
    match window.required("Mode")? {
        "OFF" => Ok(None),
        "FLEXIBLE" if window.value("MaximumWindowInMinutes").is_some() => {
            within(window, "MaximumWindowInMinutes", (1, 1_440), 1).map(Some)
        }
        "FLEXIBLE" => Err(validation(
            "FlexibleTimeWindow of mode FLEXIBLE needs MaximumWindowInMinutes.",
        )),
        other => Err(unknown_value("flexibleTimeWindow.mode", other)),
    }
}

fn structure<'a>(fields: Fields<'a>, name: &str) -> Result<Fields<'a>, ApiError> {
    match fields.value(name) {
        Some(value) if value.is_object() => Ok(Fields::new(value)),
        _ => fields.required(name).and(Err(unknown_value(name, "text"))),
    }
}

/// One of two values, the first when nothing is said.
fn choice<'a>(
    fields: Fields<'a>,
    name: &str,
    values: [&'static str; 2],
) -> Result<&'a str, ApiError> {
    let value = fields.text(name)?.unwrap_or(values[0]);
    if values.contains(&value) {
        Ok(value)
    } else {
        Err(unknown_value(name, value))
    }
}

fn within(
    fields: Fields<'_>,
    name: &str,
    (least, most): (i64, i64),
    otherwise: i64,
) -> Result<u32, ApiError> {
    let value = fields.integer(name)?.unwrap_or(otherwise);
    u32::try_from(value)
        .ok()
        .filter(|_| (least..=most).contains(&value))
        .ok_or_else(|| unknown_value(name, &value.to_string()))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if (1..=64).contains(&name.len()) && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(unknown_value("name", name))
    }
}

pub(super) fn arn(place: &Caller, name: &str) -> String {
    format!(
        "arn:aws:scheduler:{}:{}:schedule/{}/{name}",
        place.region,
        place.account,
        super::GROUP
    )
}

/// A time as keywords give it: UTC, to the second.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

fn unknown_value(name: &str, value: &str) -> ApiError {
    validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint"
    ))
}

pub(super) fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}
