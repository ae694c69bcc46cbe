//! Condition operators.
//!
//! What a missing key means, how several values combine and what the set operators
//! make of none follows "IAM JSON policy elements: Condition operators" and
//! "Conditions with multiple context keys or values".

use std::net::IpAddr;
use std::str::FromStr;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use super::context::Context;
use super::pattern::Pattern;

/// One key of a condition block, with its operator: all of them must hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    operator: Operator,
    key: String,
    values: Vec<Pattern>,
}

/// Such as `ForAnyValue:StringNotLikeIfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    set: Option<Set>,
    test: Test,
    negated: bool,
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

/// What is compared, and how; the negated operators are these with `negated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    /// `ArnEquals` and `ArnLike` are the same: both take wildcards, part by part.
    Arn,
    Bool,
    Null,
    Numeric(Order),
    Date(Order),
    IpAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl FromStr for Operator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (set, name) = match text.split_once(':') {
            Some(("ForAllValues", name)) => (Some(Set::All), name),
            Some(("ForAnyValue", name)) => (Some(Set::Any), name),
            Some(_) => return Err(unknown(text)),
            None => (None, text),
        };
        let (base, if_exists) = match name.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (name, false),
        };
        let (test, negated) = test(base).ok_or_else(|| unknown(text))?;
        if test == Test::Null && (if_exists || set.is_some()) {
            return Err(unknown(text));
        }
        Ok(Self {
            set,
            test,
            negated,
            if_exists,
        })
    }
}

fn test(name: &str) -> Option<(Test, bool)> {
    use Order::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    let plain = match name {
        "StringEquals" => Test::StringEquals,
        "StringEqualsIgnoreCase" => Test::StringEqualsIgnoreCase,
        "StringLike" => Test::StringLike,
        "ArnEquals" | "ArnLike" => Test::Arn,
        "Bool" => Test::Bool,
        "Null" => Test::Null,
        "NumericEquals" => Test::Numeric(Equal),
        "NumericLessThan" => Test::Numeric(Less),
        "NumericLessThanEquals" => Test::Numeric(LessOrEqual),
        "NumericGreaterThan" => Test::Numeric(Greater),
        "NumericGreaterThanEquals" => Test::Numeric(GreaterOrEqual),
        "DateEquals" => Test::Date(Equal),
        "DateLessThan" => Test::Date(Less),
        "DateLessThanEquals" => Test::Date(LessOrEqual),
        "DateGreaterThan" => Test::Date(Greater),
        "DateGreaterThanEquals" => Test::Date(GreaterOrEqual),
        "IpAddress" => Test::IpAddress,
        _ => {
            let negated = match name {
                "StringNotEquals" => Test::StringEquals,
                "StringNotEqualsIgnoreCase" => Test::StringEqualsIgnoreCase,
                "StringNotLike" => Test::StringLike,
                "ArnNotEquals" | "ArnNotLike" => Test::Arn,
                "NumericNotEquals" => Test::Numeric(Equal),
                "DateNotEquals" => Test::Date(Equal),
                "NotIpAddress" => Test::IpAddress,
                _ => return None,
            };
            return Some((negated, true));
        }
    };
    Some((plain, false))
}

fn unknown(text: &str) -> String {
    format!(
        "is no condition operator known here: \"{text}\"; there are String…, Arn…, Numeric…, Date…, Bool, Null and \
         IpAddress, their …Not… and …IfExists, ForAllValues: and ForAnyValue:"
    )
}

impl Condition {
    /// # Errors
    /// What is wrong with a value.
    pub(super) fn parse(operator: Operator, key: &str, values: &[String]) -> Result<Self, String> {
        if !key.contains(':') {
            return Err("is no condition key; one reads like aws:ResourceTag/owner".to_owned());
        }
        if values.is_empty() {
            return Err("must have a value to compare with".to_owned());
        }
        let values = values
            .iter()
            .map(|value| {
                let pattern = Pattern::parse(value)?;
                operator.test.check(value)?;
                Ok(pattern)
            })
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Self {
            operator,
            key: key.to_owned(),
            values,
        })
    }

    /// The key it looks at, as it was written.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn holds(&self, context: &Context) -> bool {
        let Operator {
            set,
            test,
            negated,
            if_exists,
        } = self.operator;
        let given = context.values(&self.key).unwrap_or_default();
        if test == Test::Null {
            let wanted = |value: &Pattern| {
                value
                    .literal(context)
                    .is_some_and(|value| value.eq_ignore_ascii_case("true"))
            };
            return self
                .values
                .iter()
                .any(|value| wanted(value) == given.is_empty());
        }
        // A negated operator holds for a value that none of the listed fits.
        let satisfies = |value: &String| {
            negated
                != self
                    .values
                    .iter()
                    .any(|pattern| test.compare(value, pattern, context))
        };
        match set {
            Some(Set::All) => given.iter().all(satisfies),
            Some(Set::Any) => given.iter().any(satisfies),
            None if given.is_empty() => negated || if_exists,
            // Several values where one is expected: any may fit, and none may be the forbidden one.
            None if negated => given.iter().all(satisfies),
            None => given.iter().any(satisfies),
        }
    }
}

impl Test {
    /// Refuses values that could never be compared.
    fn check(self, value: &str) -> Result<(), String> {
        if value.contains("${") {
            return Ok(());
        }
        let (fine, expected) = match self {
            Self::Numeric(_) => (value.parse::<f64>().is_ok(), "a number"),
            Self::Date(_) => (
                moment(value).is_some(),
                "a time such as 2026-11-21T00:00:00Z",
            ),
            Self::Bool | Self::Null => (
                ["true", "false"].contains(&value.to_ascii_lowercase().as_str()),
                "true or false",
            ),
            Self::IpAddress => (
                Network::parse(value).is_some(),
                "a range such as 10.0.0.0/8",
            ),
            Self::Arn => (
                value == "*" || (value.starts_with("arn:") && value.splitn(6, ':').count() == 6),
                "an ARN of six parts",
            ),
            Self::StringEquals | Self::StringEqualsIgnoreCase | Self::StringLike => (true, ""),
        };
        if fine {
            Ok(())
        } else {
            Err(format!("is \"{value}\"; it must be {expected}"))
        }
    }

    fn compare(self, given: &str, pattern: &Pattern, context: &Context) -> bool {
        match self {
            Self::StringLike => return pattern.fits(given, context),
            Self::Arn => return pattern.fits_arn(given, context),
            _ => {}
        }
        let Some(wanted) = pattern.literal(context) else {
            return false;
        };
        match self {
            Self::StringEquals => given == wanted,
            Self::StringEqualsIgnoreCase => given.to_lowercase() == wanted.to_lowercase(),
            Self::Bool => given.eq_ignore_ascii_case(&wanted),
            Self::Numeric(order) => match (given.parse::<f64>(), wanted.parse::<f64>()) {
                (Ok(given), Ok(wanted)) => order.holds(given.partial_cmp(&wanted)),
                _ => false,
            },
            Self::Date(order) => match (moment(given), moment(&wanted)) {
                (Some(given), Some(wanted)) => order.holds(Some(given.cmp(&wanted))),
                _ => false,
            },
            Self::IpAddress => match (given.parse::<IpAddr>(), Network::parse(&wanted)) {
                (Ok(given), Some(network)) => network.holds(given),
                _ => false,
            },
            Self::StringLike | Self::Arn | Self::Null => false,
        }
    }
}

impl Order {
    fn holds(self, found: Option<std::cmp::Ordering>) -> bool {
        found.is_some_and(|found| match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        })
    }
}

/// A time as ISO 8601 has it, a day, or seconds since 1970.
fn moment(text: &str) -> Option<OffsetDateTime> {
    if let Ok(seconds) = text.parse::<i64>() {
        return OffsetDateTime::from_unix_timestamp(seconds).ok();
    }
    let day = format_description!("[year]-[month]-[day]");
    let at_midnight = |day: Date| day.with_time(Time::MIDNIGHT).assume_utc();
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(|| Date::parse(text, day).ok().map(at_midnight))
}

/// A range of addresses, such as `10.0.0.0/8`.
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let width = if matches!(address, IpAddr::V4(_)) {
            32
        } else {
            128
        };
        let prefix = prefix.unwrap_or(width);
        (prefix <= width).then_some(Self { address, prefix })
    }

    fn holds(&self, given: IpAddr) -> bool {
        let (network, given, width) = match (self.address, given) {
            (IpAddr::V4(network), IpAddr::V4(given)) => {
                (network.to_bits().into(), given.to_bits().into(), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(given)) => (network.to_bits(), given.to_bits(), 128),
            _ => return false,
        };
        let difference: u128 = network ^ given;
        difference.checked_shr(width - self.prefix).unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(operator: &str, key: &str, values: &[&str], context: &Context) -> bool {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        Condition::parse(operator.parse().unwrap(), key, &values)
            .unwrap()
            .holds(context)
    }

    fn tag_keys(keys: &[&str]) -> Context {
        keys.iter().fold(Context::default(), |context, key| {
            context.with("aws:TagKeys", *key)
        })
    }

    #[test]
    fn a_missing_key_fits_nothing_unless_the_operator_is_negated_or_says_if_exists() {
        let nothing = Context::default();
        for (operator, value, expected) in [
            ("StringEquals", "a", false),
            ("StringLike", "*", false),
            ("StringNotEquals", "a", true),
            ("StringNotLike", "*", true),
            ("StringEqualsIfExists", "a", true),
            ("StringNotEqualsIfExists", "a", true),
            ("ArnLike", "*", false),
            ("ArnNotLike", "*", true),
            ("Bool", "true", false),
            ("BoolIfExists", "true", true),
            ("NumericLessThan", "3", false),
            ("DateGreaterThan", "2026-01-01", false),
            ("NotIpAddress", "10.0.0.0/8", true),
            ("Null", "true", true),
            ("Null", "false", false),
        ] {
            assert_eq!(
                holds(operator, "aws:x", &[value], &nothing),
                expected,
                "{operator}"
            );
        }
    }

    #[test]
    fn several_listed_values_are_alternatives_and_all_of_them_forbidden_when_negated() {
        let region = Context::default().with("aws:RequestedRegion", "eu-west-1");
        let listed = ["eu-central-1", "eu-west-1"];
        assert!(holds(
            "StringEquals",
            "AWS:requestedregion",
            &listed,
            &region
        ));
        assert!(!holds(
            "StringNotEquals",
            "aws:RequestedRegion",
            &listed,
            &region
        ));
        assert!(holds(
            "StringNotEquals",
            "aws:RequestedRegion",
            &listed[..1],
            &region
        ));
        assert!(holds(
            "StringEqualsIgnoreCase",
            "aws:RequestedRegion",
            &["EU-WEST-1"],
            &region
        ));
        assert!(!holds(
            "StringEquals",
            "aws:RequestedRegion",
            &["eu-west-*"],
            &region
        ));
        assert!(holds(
            "StringLike",
            "aws:RequestedRegion",
            &["eu-west-?"],
            &region
        ));
    }

    #[test]
    fn for_all_values_holds_for_none_and_for_any_value_does_not() {
        let none = Context::default();
        let listed = ["a", "b"];
        assert!(holds(
            "ForAllValues:StringEquals",
            "aws:TagKeys",
            &listed,
            &none
        ));
        assert!(!holds(
            "ForAnyValue:StringEquals",
            "aws:TagKeys",
            &listed,
            &none
        ));
        assert!(!holds(
            "ForAnyValue:StringEqualsIfExists",
            "aws:TagKeys",
            &listed,
            &none
        ));
        assert!(holds(
            "ForAllValues:StringEquals",
            "aws:TagKeys",
            &listed,
            &tag_keys(&["a"])
        ));
        let more = tag_keys(&["a", "c"]);
        assert!(!holds(
            "ForAllValues:StringEquals",
            "aws:TagKeys",
            &listed,
            &more
        ));
        assert!(holds(
            "ForAnyValue:StringEquals",
            "aws:TagKeys",
            &listed,
            &more
        ));
        assert!(holds(
            "ForAnyValue:StringNotEquals",
            "aws:TagKeys",
            &listed,
            &more
        ));
        assert!(!holds(
            "ForAllValues:StringNotEquals",
            "aws:TagKeys",
            &listed,
            &more
        ));
        assert!(holds(
            "ForAllValues:StringLike",
            "aws:TagKeys",
            &["?"],
            &more
        ));
    }

    #[test]
    fn arns_are_compared_part_by_part_with_wildcards_whichever_operator_is_used() {
        let principal =
            Context::default().with("aws:PrincipalArn", "arn:aws:iam::123456789012:role/x");
        for operator in ["ArnEquals", "ArnLike"] {
            let fits = |value| holds(operator, "aws:PrincipalArn", &[value], &principal);
            assert!(fits("arn:aws:iam::*:role/?"), "{operator}");
            assert!(!fits("arn:aws:iam::*:role:x"), "{operator}");
        }
        assert!(!holds(
            "ArnNotLike",
            "aws:PrincipalArn",
            &["arn:aws:iam::*:role/*"],
            &principal
        ));
    }

    #[test]
    fn numbers_times_flags_and_addresses_are_compared_as_what_they_are() {
        let context = Context::default()
            .with("x:days", "7.0")
            .with("aws:CurrentTime", "2026-11-21T03:00:00Z")
            .with("aws:SecureTransport", "true")
            .with("aws:SourceIp", "10.1.2.3");
        for (operator, key, value, expected) in [
            ("NumericEquals", "x:days", "7", true),
            ("NumericLessThan", "x:days", "7", false),
            ("NumericLessThanEquals", "x:days", "7", true),
            ("NumericGreaterThan", "x:days", "10", false),
            ("NumericNotEquals", "x:days", "8", true),
            (
                "DateLessThan",
                "aws:CurrentTime",
                "2026-11-21T04:00:00+01:00",
                false,
            ),
            ("DateGreaterThan", "aws:CurrentTime", "2026-11-21", true),
            ("DateLessThan", "aws:CurrentTime", "4102444800", true),
            ("Bool", "aws:SecureTransport", "TRUE", true),
            ("Bool", "aws:SecureTransport", "false", false),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8", true),
            ("IpAddress", "aws:SourceIp", "10.1.2.0/25", true),
            ("IpAddress", "aws:SourceIp", "10.1.2.4", false),
            ("IpAddress", "aws:SourceIp", "::/0", false),
            ("NotIpAddress", "aws:SourceIp", "0.0.0.0/0", false),
            ("Null", "aws:SourceIp", "false", true),
        ] {
            assert_eq!(
                holds(operator, key, &[value], &context),
                expected,
                "{operator} {value}"
            );
        }
    }

    #[test]
    fn a_variable_without_a_value_fits_nothing() {
        let own = |context: &Context| {
            holds(
                "StringEquals",
                "aws:ResourceTag/team",
                &["${aws:PrincipalTag/team}"],
                context,
            )
        };
        let of = |resource: &str, principal: &str| {
            Context::default()
                .with("aws:ResourceTag/team", resource)
                .with("aws:PrincipalTag/team", principal)
        };
        assert!(own(&of("red", "red")));
        assert!(!own(&of("red", "blue")));
        assert!(!own(&of("red", "*")));
        assert!(!own(&Context::default().with("aws:ResourceTag/team", "")));
    }

    #[test]
    fn what_is_no_operator_or_no_value_for_it_is_refused() {
        for operator in [
            "StringEqual",
            "ForSome:StringEquals",
            "NullIfExists",
            "BinaryEquals",
        ] {
            assert!(operator.parse::<Operator>().is_err(), "{operator}");
        }
        for (operator, value) in [
            ("NumericEquals", "seven"),
            ("DateLessThan", "tomorrow"),
            ("Bool", "yes"),
            ("IpAddress", "10.0.0.0/33"),
            ("ArnLike", "role/x"),
        ] {
            let parsed = Condition::parse(operator.parse().unwrap(), "aws:x", &[value.to_owned()]);
            assert!(parsed.is_err(), "{operator} {value}");
        }
    }
}
