//! Identifiers and ARNs.

use std::fmt;

use super::errors::invalid_value;
use crate::request::{ApiError, Caller};

/// An account and a region: what a resource's name is unique in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Twelve digits.
    pub account: String,
    /// For example `eu-west-1`.
    pub region: String,
}

impl Place {
    pub(crate) fn of(caller: &Caller) -> Self {
        Self {
            account: caller.account.clone(),
            region: caller.region.clone(),
        }
    }

    pub(super) fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:rds:{}:{}:{kind}:{id}", self.region, self.account)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.account, self.region)
    }
}

/// An RDS ARN in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arn {
    pub(super) place: Place,
    /// Such as `cluster-snapshot`.
    pub(super) kind: String,
    pub(super) id: String,
}

impl Arn {
    /// Reads an ARN; anything else is a name and gives nothing.
    pub(super) fn read(text: &str) -> Option<Self> {
        // An automated snapshot's id holds a colon itself, so the id is all that follows the sixth.
        let parts: Vec<&str> = text.splitn(7, ':').collect();
        let ["arn", _partition, "rds", region, account, kind, id] = parts[..] else {
            return None;
        };
        let place = Place {
            account: account.to_owned(),
            region: region.to_owned(),
        };
        Some(Self {
            place,
            kind: kind.to_owned(),
            id: id.to_lowercase(),
        })
    }
}

/// Where a resource is meant to be, and its name there: from an ARN of this kind, or a name in the caller's place.
pub(super) fn locate(own: &Place, kind: &str, text: &str) -> Result<(Place, String), ApiError> {
    match Arn::read(text) {
        Some(arn) if arn.kind == kind => Ok((arn.place, arn.id)),
        Some(arn) => Err(invalid_value(format!(
            "Invalid resource type {} in ARN {text}: expected {kind}",
            arn.kind
        ))),
        None if text.starts_with("arn:") => Err(invalid_value(format!("Invalid ARN: {text}"))),
        None => Ok((own.clone(), text.to_lowercase())),
    }
}

/// A new resource's name in lower case, as RDS keeps it.
pub(super) fn identifier(parameter: &str, text: &str) -> Result<String, ApiError> {
    let legal = (1..=63).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '-')
        && !text.ends_with('-')
        && !text.contains("--");
    if legal {
        return Ok(text.to_lowercase());
    }
    Err(invalid_value(format!(
        "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII \
         letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_follow_the_rules_and_are_lowered() {
        assert_eq!(identifier("X", "Orders-Prod").unwrap(), "orders-prod");
        for wrong in ["", "1a", "a-", "a--b", "a_b", "rds:a", &"a".repeat(64)] {
            assert_eq!(
                identifier("X", wrong).unwrap_err().code,
                "InvalidParameterValue",
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_arn_of_an_automated_snapshot_keeps_its_colon() {
        let arn =
            Arn::read("arn:aws:rds:eu-west-1:111122223333:cluster-snapshot:rds:orders-2026-01-01")
                .unwrap();
        assert_eq!(
            (arn.kind.as_str(), arn.id.as_str()),
            ("cluster-snapshot", "rds:orders-2026-01-01")
        );
        assert_eq!(Arn::read("orders"), None);
    }
}
