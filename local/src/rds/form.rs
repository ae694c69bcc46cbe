//! Reads the Query protocol: one flat form in which lists and structures are spelled into the names.
//!
//! `Tags.Tag.2.Key=team` is the key of the second tag; what stands between the
//! list's name and the number differs by list and by client, and means nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::errors::{invalid_value, missing_parameter};
use super::names;
use crate::request::ApiError;

/// A request's parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Decodes a body.
    pub(super) fn decode(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The name of every parameter, without what it holds.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|key| key.split('.').next())
    }

    /// A parameter that has a value.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| missing_parameter(name))
    }

    /// A resource's new name: checked, and in lower case as RDS keeps it.
    pub(super) fn new_identifier(&self, name: &str) -> Result<String, ApiError> {
        names::identifier(name, self.required(name)?)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.parsed(name)
    }

    /// A number within these bounds.
    pub(super) fn number<N>(
        &self,
        name: &str,
        within: std::ops::RangeInclusive<N>,
    ) -> Result<Option<N>, ApiError>
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(number) = self.parsed(name)? else {
            return Ok(None);
        };
        if within.contains(&number) {
            return Ok(Some(number));
        }
        Err(invalid_value(format!(
            "Invalid value {number} for {name}. Must be between {} and {}",
            within.start(),
            within.end()
        )))
    }

    /// A moment.
    pub(super) fn time(&self, name: &str) -> Result<Option<OffsetDateTime>, ApiError> {
        self.text(name)
            .map(|value| {
                OffsetDateTime::parse(value, &Rfc3339).map_err(|_| {
                    invalid_value(format!("Invalid value {value} for {name}: not a timestamp"))
                })
            })
            .transpose()
    }

    /// A number of minutes.
    pub(super) fn minutes(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        Ok(self
            .number::<u64>(name, 1..=20_160)?
            .map(|minutes| Duration::from_secs(60 * minutes)))
    }

    /// The values of a list, if the list was given.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        if !self.members().any(|member| member == name) {
            return None;
        }
        Some(
            self.items(name)
                .into_iter()
                .filter_map(|item| item.0.get("").cloned())
                .collect(),
        )
    }

    /// The structures of a list, each as a form of its own.
    pub(super) fn items(&self, name: &str) -> Vec<Form> {
        let mut items: BTreeMap<u32, Form> = BTreeMap::new();
        for (key, value) in &self.0 {
            let mut parts = key.splitn(4, '.');
            let (Some(list), Some(_), Some(number)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if let (true, Ok(number)) = (list == name, number.parse()) {
                let rest = parts.next().unwrap_or_default().to_owned();
                items
                    .entry(number)
                    .or_default()
                    .0
                    .insert(rest, value.clone());
            }
        }
        items.into_values().collect()
    }

    /// A structure as a form of its own, if it was given.
    pub(super) fn structure(&self, name: &str) -> Option<Form> {
        let inside: BTreeMap<_, _> = self
            .0
            .iter()
            .filter_map(|(key, value)| {
                Some((
                    key.strip_prefix(name)?.strip_prefix('.')?.to_owned(),
                    value.clone(),
                ))
            })
            .collect();
        (!inside.is_empty()).then_some(Form(inside))
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.text(name)
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| invalid_value(format!("Invalid value {value} for {name}")))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_structures_are_read_whatever_their_elements_are_called() {
        let form = Form::decode(
            b"Action=X&VpcSecurityGroupIds.VpcSecurityGroupId.2=sg-b&VpcSecurityGroupIds.member.1=sg-a&Tags.Tag.1.Key=a%20b&Tags.Tag.1.Value=c\
              &Filters.Filter.1.Name=db-cluster-id&Filters.Filter.1.Values.Value.1=one&ServerlessV2ScalingConfiguration.MinCapacity=0.5&Empty=",
        );
        assert_eq!(form.list("VpcSecurityGroupIds").unwrap(), ["sg-a", "sg-b"]);
        assert_eq!(form.items("Tags")[0].text("Key"), Some("a b"));
        assert_eq!(form.items("Filters")[0].list("Values").unwrap(), ["one"]);
        assert_eq!(
            form.structure("ServerlessV2ScalingConfiguration")
                .unwrap()
                .text("MinCapacity"),
            Some("0.5")
        );
        assert_eq!(form.list("Empty").unwrap(), Vec::<String>::new());
        assert_eq!(form.list("Absent"), None);
    }
}
