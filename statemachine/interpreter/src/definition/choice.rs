//! Choice rules: reading them and telling which one matches.

use std::cmp::Ordering;

use serde_json::Value;
use time::OffsetDateTime;

use super::section::{Problems, Section};
use crate::query::{Expression, Scope, Template};
use crate::timestamp;

/// A rule and where it leads.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) condition: Condition,
    pub(crate) next: String,
    pub(crate) assign: Option<Template>,
}

#[derive(Debug)]
pub(crate) enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Test { variable: Expression, test: Test },
}

/// What a rule asks of its variable.
#[derive(Debug)]
pub(crate) enum Test {
    IsPresent(bool),
    Is(Type, bool),
    Compare(Compared, Relation, Operand),
    StringMatches(Vec<Piece>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Type {
    Null,
    Boolean,
    Numeric,
    String,
    Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Compared {
    Boolean,
    Numeric,
    String,
    Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Relation {
    Equals,
    LessThan,
    GreaterThan,
    LessThanEquals,
    GreaterThanEquals,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Literal(Value),
    Path(Expression),
}

/// A piece of a `StringMatches` pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Anything,
}

impl Condition {
    /// Whether the condition holds. An error is the whole sentence AWS has for it.
    pub(crate) fn holds(&self, scope: Scope<'_>) -> Result<bool, String> {
        match self {
            Self::And(all) => all
                .iter()
                .try_fold(true, |held, next| Ok(held && next.holds(scope)?)),
            Self::Or(any) => any
                .iter()
                .try_fold(false, |held, next| Ok(held || next.holds(scope)?)),
            Self::Not(inner) => Ok(!inner.holds(scope)?),
            Self::Test { variable, test } => test.holds(variable, scope),
        }
    }
}

impl Test {
    fn holds(&self, variable: &Expression, scope: Scope<'_>) -> Result<bool, String> {
        if let Self::IsPresent(wanted) = self {
            return Ok(variable.evaluate(scope).is_ok() == *wanted);
        }
        let value = read(variable, scope)?;
        Ok(match self {
            Self::IsPresent(wanted) => *wanted,
            Self::Is(kind, wanted) => kind.fits(&value) == *wanted,
            Self::Compare(compared, relation, Operand::Literal(operand)) => compared
                .order(&value, operand)
                .is_some_and(|order| relation.holds(order)),
            Self::Compare(compared, relation, Operand::Path(path)) => compared
                .order(&value, &read(path, scope)?)
                .is_some_and(|order| relation.holds(order)),
            Self::StringMatches(pattern) => {
                value.as_str().is_some_and(|text| matches(pattern, text))
            }
        })
    }
}

fn read(path: &Expression, scope: Scope<'_>) -> Result<Value, String> {
    path.evaluate(scope).map_err(|_| {
        format!(
            "Invalid path '{}': The choice state's condition path references an invalid value.",
            path.text
        )
    })
}

impl Type {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            Self::Numeric => value.is_number(),
            Self::String => value.is_string(),
            Self::Timestamp => moment(value).is_some(),
        }
    }
}

impl Compared {
    /// How two values of this type compare; `None` when one is of another type.
    fn order(self, left: &Value, right: &Value) -> Option<Ordering> {
        match self {
            Self::Boolean => Some(left.as_bool()?.cmp(&right.as_bool()?)),
            Self::Numeric => left.as_f64()?.partial_cmp(&right.as_f64()?),
            Self::String => Some(left.as_str()?.cmp(right.as_str()?)),
            Self::Timestamp => Some(moment(left)?.cmp(&moment(right)?)),
        }
    }
}

fn moment(value: &Value) -> Option<OffsetDateTime> {
    timestamp::parse(value.as_str()?)
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order.is_eq(),
            Self::LessThan => order.is_lt(),
            Self::GreaterThan => order.is_gt(),
            Self::LessThanEquals => order.is_le(),
            Self::GreaterThanEquals => order.is_ge(),
        }
    }
}

/// Whether a text matches a pattern: `*` is any text, even none; `\*` is an asterisk.
fn matches(pattern: &[Piece], text: &str) -> bool {
    match pattern {
        [] => text.is_empty(),
        [Piece::Text(start), rest @ ..] => text
            .strip_prefix(start.as_str())
            .is_some_and(|text| matches(rest, text)),
        [Piece::Anything, rest @ ..] => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| matches(rest, &text[at..])),
    }
}

fn read_pattern(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(
                chars
                    .next()
                    .ok_or("the pattern ends in a backslash; write `\\\\` for a backslash")?,
            ),
            '*' => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                if pieces.last() != Some(&Piece::Anything) {
                    pieces.push(Piece::Anything);
                }
            }
            c => text.push(c),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Reads `Choices`.
pub(super) fn read_rules(state: &Section<'_>, problems: &mut Problems) -> Vec<Rule> {
    let sections = state.sections(problems, "Choices");
    if sections.is_empty() {
        problems.add(
            state,
            "Choices",
            "give at least one rule: without one, nothing is chosen",
        );
    }
    sections
        .iter()
        .filter_map(|rule| read_rule(rule, problems))
        .collect()
}

fn read_rule(rule: &Section<'_>, problems: &mut Problems) -> Option<Rule> {
    let next = rule.required_text(problems, "Next");
    let assign = rule.template(problems, "Assign");
    let condition = read_condition(rule, true, problems);
    Some(Rule {
        condition: condition?,
        next: next?.to_owned(),
        assign,
    })
}

fn read_condition(section: &Section<'_>, top: bool, problems: &mut Problems) -> Option<Condition> {
    let mut known = vec!["Comment"];
    if top {
        known.extend(["Next", "Assign"]);
    }
    let operators: Vec<&str> = section
        .names()
        .filter(|name| !known.contains(name) && *name != "Variable")
        .collect();
    let [operator] = operators[..] else {
        problems.add(
            section,
            "",
            "give exactly one of And, Or, Not, or a Variable with one comparison",
        );
        return None;
    };
    if matches!(operator, "And" | "Or" | "Not") {
        if section.get("Variable").is_some() {
            problems.add(
                section,
                "Variable",
                "belongs to a comparison, not beside And, Or or Not",
            );
        }
        return read_composite(section, operator, problems);
    }
    let variable = section.path(problems, "Variable");
    if section.get("Variable").is_none() {
        problems.add(section, "Variable", "name what is compared");
    }
    let test = read_test(section, operator, problems);
    Some(Condition::Test {
        variable: variable?,
        test: test?,
    })
}

fn read_composite(
    section: &Section<'_>,
    operator: &str,
    problems: &mut Problems,
) -> Option<Condition> {
    if operator == "Not" {
        let inner = section.section(problems, "Not")?;
        return Some(Condition::Not(Box::new(read_condition(
            &inner, false, problems,
        )?)));
    }
    let inner = section.sections(problems, operator);
    if inner.is_empty() {
        problems.add(section, operator, "give at least one condition");
    }
    let conditions: Vec<Condition> = inner
        .iter()
        .filter_map(|condition| read_condition(condition, false, problems))
        .collect();
    Some(if operator == "And" {
        Condition::And(conditions)
    } else {
        Condition::Or(conditions)
    })
}

fn read_test(section: &Section<'_>, operator: &str, problems: &mut Problems) -> Option<Test> {
    if operator == "IsPresent" {
        return section.boolean(problems, operator).map(Test::IsPresent);
    }
    if let Some(kind) = is_type(operator) {
        return section
            .boolean(problems, operator)
            .map(|wanted| Test::Is(kind, wanted));
    }
    if operator == "StringMatches" {
        let pattern = section.text(problems, operator)?;
        return match read_pattern(pattern) {
            Ok(pieces) => Some(Test::StringMatches(pieces)),
            Err(fault) => {
                problems.add(section, operator, &fault);
                None
            }
        };
    }
    let (plain, from_path) = match operator.strip_suffix("Path") {
        Some(plain) => (plain, true),
        None => (operator, false),
    };
    let Some((compared, relation)) = comparison(plain) else {
        problems.add(
            section,
            operator,
            "is not a comparison Step Functions knows",
        );
        return None;
    };
    let operand = if from_path {
        Operand::Path(section.path(problems, operator)?)
    } else {
        Operand::Literal(read_literal(section, operator, compared, problems)?)
    };
    Some(Test::Compare(compared, relation, operand))
}

fn is_type(operator: &str) -> Option<Type> {
    match operator {
        "IsNull" => Some(Type::Null),
        "IsBoolean" => Some(Type::Boolean),
        "IsNumeric" => Some(Type::Numeric),
        "IsString" => Some(Type::String),
        "IsTimestamp" => Some(Type::Timestamp),
        _ => None,
    }
}

fn comparison(operator: &str) -> Option<(Compared, Relation)> {
    const TYPES: [(&str, Compared); 4] = [
        ("Boolean", Compared::Boolean),
        ("Numeric", Compared::Numeric),
        ("String", Compared::String),
        ("Timestamp", Compared::Timestamp),
    ];
    let (compared, relation) = TYPES
        .into_iter()
        .find_map(|(prefix, compared)| Some((compared, operator.strip_prefix(prefix)?)))?;
    let relation = match relation {
        "Equals" => Relation::Equals,
        _ if matches!(compared, Compared::Boolean) => return None,
        "LessThan" => Relation::LessThan,
        "GreaterThan" => Relation::GreaterThan,
        "LessThanEquals" => Relation::LessThanEquals,
        "GreaterThanEquals" => Relation::GreaterThanEquals,
        _ => return None,
    };
    Some((compared, relation))
}

fn read_literal(
    section: &Section<'_>,
    operator: &str,
    compared: Compared,
    problems: &mut Problems,
) -> Option<Value> {
    let value = section.get(operator)?;
    let (fits, wanted) = match compared {
        Compared::Boolean => (value.is_boolean(), "must be true or false"),
        Compared::Numeric => (value.is_number(), "must be a number"),
        Compared::String => (value.is_string(), "must be a text"),
        Compared::Timestamp => (
            moment(value).is_some(),
            "must be an RFC 3339 timestamp with `T` and an offset, such as 2026-01-31T12:00:00Z",
        ),
    };
    if !fits {
        problems.add(section, operator, wanted);
        return None;
    }
    Some(value.clone())
}
