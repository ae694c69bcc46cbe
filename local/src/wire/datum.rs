//! A service's answer before it is written in a protocol.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::fields::epoch_seconds;
use crate::request::escape_xml;

/// A value that every protocol can write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Datum {
    Text(String),
    Integer(i64),
    Number(f64),
    Flag(bool),
    Time(OffsetDateTime),
    List(Vec<Datum>),
    /// Keys that are data, such as attribute names.
    Map(Vec<(String, Datum)>),
    /// Keys that are the API's.
    Record(Vec<(&'static str, Datum)>),
    /// Left out of the record it stands in.
    Absent,
}

/// A structure of the API.
pub(crate) fn record<const N: usize>(members: [(&'static str, Datum); N]) -> Datum {
    Datum::Record(
        members
            .into_iter()
            .filter(|(_, value)| *value != Datum::Absent)
            .collect(),
    )
}

impl Datum {
    pub(crate) fn list(items: impl IntoIterator<Item = impl Into<Datum>>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(integer) => (*integer).into(),
            Self::Number(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Time(time) => epoch_seconds(*time).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_json()))
                    .collect(),
            ),
            Self::Record(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.to_json()))
                    .collect(),
            ),
            Self::Absent => Value::Null,
        }
    }

    pub(super) fn to_xml(&self) -> String {
        let element = |name: &str, value: &Self| format!("<{name}>{}</{name}>", value.to_xml());
        match self {
            Self::Text(text) => escape_xml(text),
            Self::Integer(integer) => integer.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Time(time) => time.format(&Rfc3339).unwrap_or_default(),
            Self::List(items) => items.iter().map(|item| element("member", item)).collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, value)| {
                    format!(
                        "<entry><key>{}</key>{}</entry>",
                        escape_xml(key),
                        element("value", value)
                    )
                })
                .collect(),
            Self::Record(members) => members
                .iter()
                .map(|(name, value)| element(name, value))
                .collect(),
            Self::Absent => String::new(),
        }
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Datum {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<f64> for Datum {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Datum {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<OffsetDateTime> for Datum {
    fn from(time: OffsetDateTime) -> Self {
        Self::Time(time)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}
