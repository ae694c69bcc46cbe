//! Reading a request's members, with the refusals AWS gives.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::request::ApiError;

/// The members of a request or of a structure in it.
///
/// Numbers, booleans and times may also come as text, as the Query protocol has
/// nothing else.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    pub(crate) fn new(value: &'a Value) -> Self {
        Self(value)
    }

    /// The member as it came; JSON's null is absence.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "a string", other)),
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| {
            ApiError::new(
                400,
                "ValidationException",
                format!(
                    "1 validation error detected: Value null at '{}' failed to satisfy constraint: \
                     Member must not be null",
                    lower_first(name)
                ),
            )
        })
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => number
                .as_i64()
                .map(Some)
                .ok_or_else(|| wrong_type(name, "an integer", self.0)),
            Some(Value::String(text)) => text
                .parse()
                .map(Some)
                .map_err(|_| wrong_type(name, "an integer", self.0)),
            Some(other) => Err(wrong_type(name, "an integer", other)),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => as_number(value)
                .map(Some)
                .ok_or_else(|| wrong_type(name, "a number", value)),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.flag_if_given(name)?.unwrap_or(false))
    }

    pub(crate) fn flag_if_given(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" || text == "false" => {
                Ok(Some(text == "true"))
            }
            Some(other) => Err(wrong_type(name, "a boolean", other)),
        }
    }

    pub(crate) fn time(&self, name: &str) -> Result<Option<OffsetDateTime>, ApiError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let time = match value {
            Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).ok(),
            _ => None,
        };
        let time = time.or_else(|| as_number(value).and_then(from_epoch_seconds));
        time.map(Some)
            .ok_or_else(|| wrong_type(name, "a timestamp", value))
    }

    pub(crate) fn list(&self, name: &str) -> Result<&'a [Value], ApiError> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            // The Query protocol cannot tell an empty list from empty text.
            Some(Value::String(text)) if text.is_empty() => Ok(&[]),
            Some(other) => Err(wrong_type(name, "a list", other)),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, ApiError> {
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| wrong_type(name, "strings", value))
        };
        self.list(name)?.iter().map(text).collect()
    }

    /// Tags, given as a list of structures with these two members.
    pub(crate) fn tags(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let tag = |item: &Value| {
            let tag = Fields::new(item);
            Ok((
                tag.required(key)?.to_owned(),
                tag.text(value)?.unwrap_or_default().to_owned(),
            ))
        };
        self.list(name)?.iter().map(tag).collect()
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn wrong_type(name: &str, wanted: &str, _got: &Value) -> ApiError {
    // What came instead is not repeated: it may be a secret.
    ApiError::new(
        400,
        "SerializationException",
        format!("`{name}` must be {wanted}"),
    )
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}

/// A time as the AWS JSON protocols write it: seconds since 1970, to the millisecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit a double"
)]
pub(crate) fn epoch_seconds(time: OffsetDateTime) -> f64 {
    (time.unix_timestamp_nanos() / 1_000_000) as f64 / 1_000.0
}

/// The inverse of [`epoch_seconds`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "out of range is refused by OffsetDateTime"
)]
pub(crate) fn from_epoch_seconds(seconds: f64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos((seconds * 1_000.0).round() as i128 * 1_000_000).ok()
}

/// A page of `items` and the token of the next page, for lists whose token is an offset.
pub(crate) fn page<T: Clone>(
    items: &[T],
    token: Option<&str>,
    size: usize,
) -> Option<(Vec<T>, Option<String>)> {
    let start = match token {
        None => 0,
        Some(token) => token
            .parse::<usize>()
            .ok()
            .filter(|start| *start <= items.len())?,
    };
    let end = start.saturating_add(size).min(items.len());
    let next = (end < items.len()).then(|| end.to_string());
    Some((items.get(start..end)?.to_vec(), next))
}
