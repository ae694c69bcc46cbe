//! Event patterns: which events a rule is for.

use serde_json::{Map, Value};

/// A pattern, read and found sound.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pattern {
    /// Every member must fit; with alternatives, at least one of them too.
    Object {
        members: Vec<(String, Pattern)>,
        any_of: Vec<Pattern>,
    },
    /// Any one must fit.
    Leaf(Vec<Matcher>),
}

/// One thing a value may be compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matcher {
    Equals(Value),
    Exists(bool),
    Text(TextTest),
    AnythingBut(Vec<Value>),
    AnythingButText(Vec<TextTest>),
    Numeric(Vec<(Comparison, f64)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextTest {
    Prefix { text: String, ignore_case: bool },
    Suffix { text: String, ignore_case: bool },
    EqualsIgnoreCase(String),
    Wildcard(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for `InvalidEventPatternException`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match &value {
            Value::Object(members) if !members.is_empty() => Self::object(members),
            _ => Err("the pattern must be an object with at least one member".to_owned()),
        }
    }

    fn object(members: &Map<String, Value>) -> Result<Self, String> {
        let mut fitting = Vec::new();
        let mut any_of = Vec::new();
        for (name, value) in members {
            match value {
                Value::Array(alternatives) if name == "$or" => {
                    for alternative in alternatives {
                        let members = alternative.as_object().ok_or("$or must hold objects")?;
                        any_of.push(Self::object(members)?);
                    }
                }
                Value::Object(members) if !members.is_empty() => {
                    fitting.push((name.clone(), Self::object(members)?))
                }
                Value::Array(matchers) if !matchers.is_empty() => {
                    let matchers = matchers
                        .iter()
                        .map(Matcher::parse)
                        .collect::<Result<_, _>>()?;
                    fitting.push((name.clone(), Self::Leaf(matchers)));
                }
                _ => return Err(format!("`{name}` must be an object or a non-empty array")),
            }
        }
        Ok(Self::Object {
            members: fitting,
            any_of,
        })
    }

    /// Whether an event fits.
    pub(super) fn fits(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Object { members, any_of } => match value {
                // One of several objects is enough.
                Some(Value::Array(items)) => items.iter().any(|item| self.fits(Some(item))),
                other => {
                    let member = |name: &str| other.and_then(|value| value.get(name));
                    members
                        .iter()
                        .all(|(name, pattern)| pattern.fits(member(name)))
                        && (any_of.is_empty() || any_of.iter().any(|pattern| pattern.fits(other)))
                }
            },
            Self::Leaf(matchers) => matchers.iter().any(|matcher| matcher.fits(value)),
        }
    }
}

impl Matcher {
    fn parse(value: &Value) -> Result<Self, String> {
        let Value::Object(operator) = value else {
            return if value.is_array() {
                Err("arrays cannot be nested".to_owned())
            } else {
                Ok(Self::Equals(value.clone()))
            };
        };
        let mut members = operator.iter();
        let (Some((name, argument)), None) = (members.next(), members.next()) else {
            return Err("a match expression has exactly one operator".to_owned());
        };
        match name.as_str() {
            "exists" => argument
                .as_bool()
                .map(Self::Exists)
                .ok_or_else(|| "exists must be true or false".to_owned()),
            "anything-but" => Self::anything_but(argument),
            "numeric" => numeric(argument).map(Self::Numeric),
            _ => TextTest::parse(name, argument).map(Self::Text),
        }
    }

    fn anything_but(argument: &Value) -> Result<Self, String> {
        match argument {
            Value::Object(operator) => {
                let mut tests = Vec::new();
                for (name, argument) in operator {
                    match argument {
                        Value::Array(items) => {
                            for item in items {
                                tests.push(TextTest::parse(name, item)?);
                            }
                        }
                        single => tests.push(TextTest::parse(name, single)?),
                    }
                }
                Ok(Self::AnythingButText(tests))
            }
            Value::Array(items) => Ok(Self::AnythingBut(items.clone())),
            single => Ok(Self::AnythingBut(vec![single.clone()])),
        }
    }

    fn fits(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // Only leaves exist or not: an object is neither.
            (Self::Exists(wanted), value) => {
                *wanted == value.is_some_and(|value| !value.is_object())
            }
            (_, None) => false,
            (_, Some(Value::Array(items))) => items.iter().any(|item| self.fits_one(item)),
            (_, Some(value)) => self.fits_one(value),
        }
    }

    fn fits_one(&self, value: &Value) -> bool {
        match self {
            Self::Equals(wanted) => are_equal(wanted, value),
            Self::Exists(wanted) => *wanted,
            Self::Text(test) => value.as_str().is_some_and(|text| test.fits(text)),
            Self::AnythingBut(unwanted) => {
                !unwanted.iter().any(|unwanted| are_equal(unwanted, value))
            }
            Self::AnythingButText(tests) => value
                .as_str()
                .is_some_and(|text| !tests.iter().any(|test| test.fits(text))),
            Self::Numeric(comparisons) => value.as_f64().is_some_and(|number| {
                comparisons
                    .iter()
                    .all(|(how, bound)| how.holds(number, *bound))
            }),
        }
    }
}

/// Numbers are equal by value, however they are written.
fn are_equal(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.total_cmp(&right).is_eq(),
        _ => left == right,
    }
}

impl TextTest {
    fn parse(name: &str, argument: &Value) -> Result<Self, String> {
        let (text, ignore_case) = match argument {
            Value::String(text) => (text.clone(), false),
            Value::Object(inner) => match inner.get("equals-ignore-case").and_then(Value::as_str) {
                Some(text) => (text.to_lowercase(), true),
                None => return Err(format!("{name} takes a string")),
            },
            _ => return Err(format!("{name} takes a string")),
        };
        match name {
            "prefix" => Ok(Self::Prefix { text, ignore_case }),
            "suffix" => Ok(Self::Suffix { text, ignore_case }),
            "equals-ignore-case" => Ok(Self::EqualsIgnoreCase(text.to_lowercase())),
            "wildcard" => Ok(Self::Wildcard(text)),
            other => Err(format!("unrecognized match type {other}")),
        }
    }

    fn fits(&self, given: &str) -> bool {
        let cased = |ignore_case: bool| {
            if ignore_case {
                given.to_lowercase()
            } else {
                given.to_owned()
            }
        };
        match self {
            Self::Prefix { text, ignore_case } => cased(*ignore_case).starts_with(text.as_str()),
            Self::Suffix { text, ignore_case } => cased(*ignore_case).ends_with(text.as_str()),
            Self::EqualsIgnoreCase(text) => given.to_lowercase() == *text,
            Self::Wildcard(pattern) => fits_wildcard(pattern, given),
        }
    }
}

/// `*` stands for any number of characters.
fn fits_wildcard(pattern: &str, given: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| given.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn numeric(argument: &Value) -> Result<Vec<(Comparison, f64)>, String> {
    let parts = argument
        .as_array()
        .filter(|parts| matches!(parts.len(), 2 | 4));
    let parts = parts.ok_or_else(|| "numeric takes one or two comparisons".to_owned())?;
    let comparison = |pair: &[Value]| match pair {
        [Value::String(how), Value::Number(bound)] => {
            let how =
                Comparison::parse(how).ok_or_else(|| format!("numeric has no comparison {how}"))?;
            Ok((how, bound.as_f64().unwrap_or_default()))
        }
        _ => Err("numeric takes pairs of a comparison and a number".to_owned()),
    };
    parts.chunks(2).map(comparison).collect()
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "<" => Some(Self::Less),
            "<=" => Some(Self::LessOrEqual),
            "=" => Some(Self::Equal),
            ">=" => Some(Self::GreaterOrEqual),
            ">" => Some(Self::Greater),
            _ => None,
        }
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Equal => left.total_cmp(&right).is_eq(),
            Self::GreaterOrEqual => left >= right,
            Self::Greater => left > right,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(pattern: Value, event: Value) -> bool {
        Pattern::parse(&pattern.to_string())
            .unwrap()
            .fits(Some(&event))
    }

    #[test]
    fn every_member_must_fit_and_any_value_of_it() {
        let pattern = json!({ "source": ["aws.rds"], "detail": { "EventID": ["RDS-EVENT-0170", "RDS-EVENT-0016"] } });
        assert!(fits(
            pattern.clone(),
            json!({ "source": "aws.rds", "detail": { "EventID": "RDS-EVENT-0016" } })
        ));
        assert!(!fits(
            pattern.clone(),
            json!({ "source": "aws.rds", "detail": { "EventID": "RDS-EVENT-0171" } })
        ));
        assert!(!fits(pattern, json!({ "source": "aws.rds" })));
    }

    #[test]
    fn lists_fit_when_one_of_their_elements_does() {
        let pattern = json!({ "resources": [{ "prefix": "arn:aws:rds:" }] });
        assert!(fits(
            pattern.clone(),
            json!({ "resources": ["arn:aws:s3:::b", "arn:aws:rds:eu-west-1:1:cluster:x"] })
        ));
        assert!(!fits(pattern, json!({ "resources": [] })));
    }

    #[test]
    fn operators_do_what_their_names_say() {
        let cases = [
            (json!([{ "suffix": ".png" }]), json!("a.png"), true),
            (
                json!([{ "prefix": { "equals-ignore-case": "DRILL-" } }]),
                json!("drill-1"),
                true,
            ),
            (
                json!([{ "anything-but": ["RUNNING", "SUCCEEDED"] }]),
                json!("FAILED"),
                true,
            ),
            (
                json!([{ "anything-but": "RUNNING" }]),
                json!("RUNNING"),
                false,
            ),
            (
                json!([{ "anything-but": { "prefix": "drill-" } }]),
                json!("prod"),
                true,
            ),
            (json!([{ "exists": true }]), json!(null), true),
            (json!([{ "exists": false }]), json!(1), false),
            (json!([{ "numeric": [">", 0, "<=", 5] }]), json!(5), true),
            (json!([{ "numeric": [">", 0, "<=", 5] }]), json!(5.1), false),
            (json!([{ "equals-ignore-case": "ok" }]), json!("OK"), true),
            (
                json!([{ "wildcard": "*:cluster:drill-*" }]),
                json!("arn:cluster:drill-7"),
                true,
            ),
            (json!([{ "wildcard": "a*b*c" }]), json!("a-c-b"), false),
            (json!([1]), json!(1.0), true),
            (json!([null]), json!(null), true),
        ];
        for (pattern, value, expected) in cases {
            assert_eq!(
                fits(json!({ "a": pattern }), json!({ "a": value })),
                expected,
                "{pattern} on {value}"
            );
        }
        assert!(fits(
            json!({ "a": [{ "exists": false }] }),
            json!({ "b": 1 })
        ));
        assert!(!fits(
            json!({ "a": [{ "anything-but": "x" }] }),
            json!({ "b": 1 })
        ));
    }

    #[test]
    fn alternatives_need_one() {
        let pattern = json!({ "source": ["x"], "$or": [{ "a": [1] }, { "b": [2] }] });
        assert!(fits(pattern.clone(), json!({ "source": "x", "b": 2 })));
        assert!(!fits(pattern, json!({ "source": "x", "b": 3 })));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "{",
            "[]",
            "{}",
            r#"{"a":"b"}"#,
            r#"{"a":[]}"#,
            r#"{"a":[{"near":"b"}]}"#,
            r#"{"a":[["b"]]}"#,
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
