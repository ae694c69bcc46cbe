//! Policy documents, read strictly.
//!
//! IAM refuses what it does not know (`MalformedPolicyDocument`), and so does this:
//! a misspelt element would otherwise grant more or less than its author thinks.
//! The grammar is the one in "Grammar of the IAM JSON policy language".

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::condition::{Condition, Operator};
use super::pattern::Pattern;

/// A policy document.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The statements, in their order.
    pub statements: Vec<Statement>,
}

/// What a document is attached to decides what its statements must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// To a role: no principals, but resources.
    Identity,
    /// To a role, saying who may assume it: principals, and no resources.
    Trust,
    /// To a resource, such as a topic or a queue: both.
    Resource,
}

/// One statement of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its `Sid`, if it has one.
    pub sid: Option<String>,
    /// Whether it allows or denies.
    pub effect: Effect,
    pub(super) actions: OneOf<Pattern>,
    pub(super) resources: Option<OneOf<Pattern>>,
    pub(super) principals: Option<OneOf<Principal>>,
    pub(super) conditions: Vec<Condition>,
}

/// What a statement does when it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// `Allow`.
    Allow,
    /// `Deny`.
    Deny,
}

/// `Action` or `NotAction`, and likewise for resources and principals.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OneOf<T> {
    These(Vec<T>),
    AllBut(Vec<T>),
}

/// Whom a trust or resource policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    Anyone,
    /// An account's number, or the ARN of its root, of a role or of a session.
    Aws(String),
    /// Such as `lambda.amazonaws.com`.
    Service(String),
}

/// Why a document is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct MalformedPolicy {
    /// Where, such as `Statement[2].Effect`.
    pub place: String,
    /// What is wrong, and what is expected.
    pub problem: String,
}

const DOCUMENT: [&str; 3] = ["Version", "Id", "Statement"];
const STATEMENT: [&str; 9] = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "NotPrincipal",
    "Condition",
];

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// The first thing that the grammar does not allow, with its place.
    pub fn parse(kind: PolicyKind, document: &Value) -> Result<Self, MalformedPolicy> {
        let members = object(document, "policy")?;
        refuse_unknown(members, &DOCUMENT, "policy")?;
        // The older language, 2008-10-17, has no policy variables: nobody wants it by intention.
        if members.get("Version") != Some(&Value::from("2012-10-17")) {
            return Err(malformed(
                "Version",
                "must be \"2012-10-17\"; without it policy variables stand for themselves",
            ));
        }
        let statements = match members.get("Statement") {
            Some(Value::Array(statements)) => statements.as_slice(),
            Some(single) => std::slice::from_ref(single),
            None => return Err(malformed("Statement", "is missing")),
        };
        if statements.is_empty() {
            return Err(malformed("Statement", "must hold at least one statement"));
        }
        let statements = statements
            .iter()
            .enumerate()
            .map(|(number, statement)| {
                Statement::parse(kind, statement, &format!("Statement[{number}]"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        unique_sids(&statements)?;
        Ok(Self { statements })
    }
}

impl Statement {
    fn parse(kind: PolicyKind, statement: &Value, place: &str) -> Result<Self, MalformedPolicy> {
        let members = object(statement, place)?;
        refuse_unknown(members, &STATEMENT, place)?;
        let parsed = Self {
            sid: sid(members, place)?,
            effect: effect(members, place)?,
            actions: actions(members, place)?,
            resources: either(members, "Resource", "NotResource", place, |text, place| {
                resource(kind, text, place)
            })?,
            principals: principals(members, place)?,
            conditions: conditions(members, place)?,
        };
        parsed.check_kind(kind, place)?;
        Ok(parsed)
    }

    fn check_kind(&self, kind: PolicyKind, place: &str) -> Result<(), MalformedPolicy> {
        let (needs_resources, needs_principals) = match kind {
            PolicyKind::Identity => (true, false),
            PolicyKind::Trust => (false, true),
            PolicyKind::Resource => (true, true),
        };
        for (name, given, needed) in [
            ("Resource", self.resources.is_some(), needs_resources),
            ("Principal", self.principals.is_some(), needs_principals),
        ] {
            if needed && !given {
                return Err(malformed(&format!("{place}.{name}"), "is missing"));
            }
            if given && !needed {
                return Err(malformed(
                    &format!("{place}.{name}"),
                    "has no place in this kind of policy",
                ));
            }
        }
        Ok(())
    }
}

fn sid(members: &Map<String, Value>, place: &str) -> Result<Option<String>, MalformedPolicy> {
    let Some(value) = members.get("Sid") else {
        return Ok(None);
    };
    let plain =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let sid = value.as_str().filter(plain).ok_or_else(|| {
        malformed(
            &format!("{place}.Sid"),
            &format!("is {value}; it must be letters and digits"),
        )
    })?;
    Ok(Some(sid.to_owned()))
}

fn effect(members: &Map<String, Value>, place: &str) -> Result<Effect, MalformedPolicy> {
    match members.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Ok(Effect::Allow),
        Some("Deny") => Ok(Effect::Deny),
        _ => Err(malformed(
            &format!("{place}.Effect"),
            "must be \"Allow\" or \"Deny\"",
        )),
    }
}

fn actions(members: &Map<String, Value>, place: &str) -> Result<OneOf<Pattern>, MalformedPolicy> {
    let action = |text: &str, place: &str| {
        let named = text
            .split_once(':')
            .is_some_and(|(service, action)| !service.is_empty() && !action.is_empty());
        if named || text == "*" {
            // Actions are compared without regard to case, and take no variables.
            Ok(Pattern::action(text))
        } else {
            Err(malformed(
                place,
                &format!("is \"{text}\"; an action reads like rds:DeleteDBCluster"),
            ))
        }
    };
    either(members, "Action", "NotAction", place, action)?
        .ok_or_else(|| malformed(&format!("{place}.Action"), "is missing"))
}

fn resource(kind: PolicyKind, text: &str, place: &str) -> Result<Pattern, MalformedPolicy> {
    let parts = text.splitn(6, ':').count();
    if text == "*" || (text.starts_with("arn:") && parts == 6) {
        return Pattern::parse(text).map_err(|problem| malformed(place, &problem));
    }
    let expected = match kind {
        PolicyKind::Identity => "\"*\" or an ARN of six parts, wildcards included",
        _ => "\"*\" or the ARN of the resource",
    };
    Err(malformed(
        place,
        &format!("is \"{text}\"; expected {expected}"),
    ))
}

/// Reads `Name` or `NotName`, one text or a list of them.
fn either<T>(
    members: &Map<String, Value>,
    name: &str,
    not_name: &str,
    place: &str,
    read: impl Fn(&str, &str) -> Result<T, MalformedPolicy>,
) -> Result<Option<OneOf<T>>, MalformedPolicy> {
    let items = |name: &str, value: &Value| {
        let place = format!("{place}.{name}");
        texts(value, &place)?
            .into_iter()
            .map(|text| read(text, &place))
            .collect::<Result<Vec<T>, _>>()
    };
    match (members.get(name), members.get(not_name)) {
        (Some(_), Some(_)) => Err(malformed(
            place,
            &format!("has both {name} and {not_name}; one of them is allowed"),
        )),
        (Some(value), None) => items(name, value).map(|items| Some(OneOf::These(items))),
        (None, Some(value)) => items(not_name, value).map(|items| Some(OneOf::AllBut(items))),
        (None, None) => Ok(None),
    }
}

fn principals(
    members: &Map<String, Value>,
    place: &str,
) -> Result<Option<OneOf<Principal>>, MalformedPolicy> {
    let read = |name: &str| {
        members
            .get(name)
            .map(|value| principal(value, &format!("{place}.{name}")))
            .transpose()
    };
    match (read("Principal")?, read("NotPrincipal")?) {
        (Some(_), Some(_)) => Err(malformed(
            place,
            "has both Principal and NotPrincipal; one of them is allowed",
        )),
        (Some(these), None) => Ok(Some(OneOf::These(these))),
        (None, Some(these)) => Ok(Some(OneOf::AllBut(these))),
        (None, None) => Ok(None),
    }
}

fn principal(value: &Value, place: &str) -> Result<Vec<Principal>, MalformedPolicy> {
    if value == "*" {
        return Ok(vec![Principal::Anyone]);
    }
    let mut found = Vec::new();
    for (kind, names) in object(value, place)? {
        let place = format!("{place}.{kind}");
        for name in texts(names, &place)? {
            found.push(match (kind.as_str(), name) {
                ("AWS", "*") => Principal::Anyone,
                ("AWS", name) => Principal::Aws(name.to_owned()),
                ("Service", name) => Principal::Service(name.to_owned()),
                _ => {
                    return Err(malformed(
                        &place,
                        "is no kind of principal known here; there are AWS and Service",
                    ));
                }
            });
        }
    }
    Ok(found)
}

fn conditions(
    members: &Map<String, Value>,
    place: &str,
) -> Result<Vec<Condition>, MalformedPolicy> {
    let Some(block) = members.get("Condition") else {
        return Ok(Vec::new());
    };
    let place = format!("{place}.Condition");
    let mut found = Vec::new();
    for (operator, keys) in object(block, &place)? {
        let place = format!("{place}.{operator}");
        let operator: Operator = operator
            .parse()
            .map_err(|problem: String| malformed(&place, &problem))?;
        for (key, values) in object(keys, &place)? {
            let place = format!("{place}.{key}");
            let condition = Condition::parse(operator, key, &scalars(values, &place)?)
                .map_err(|problem| malformed(&place, &problem))?;
            found.push(condition);
        }
    }
    Ok(found)
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, MalformedPolicy> {
    value
        .as_object()
        .ok_or_else(|| malformed(place, "must be an object"))
}

fn texts<'a>(value: &'a Value, place: &str) -> Result<Vec<&'a str>, MalformedPolicy> {
    let items = match value {
        Value::Array(items) if !items.is_empty() => items.as_slice(),
        Value::Array(_) => return Err(malformed(place, "must not be empty")),
        single => std::slice::from_ref(single),
    };
    let text = |item: &'a Value| {
        item.as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| malformed(place, &format!("holds {item}; it must be text")))
    };
    items.iter().map(text).collect()
}

/// The values of a condition: text, and numbers and booleans as they are written.
fn scalars(value: &Value, place: &str) -> Result<Vec<String>, MalformedPolicy> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let scalar = |item: &Value| match item {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(malformed(
            place,
            &format!("holds {other}; it must be text, a number or a boolean"),
        )),
    };
    items.iter().map(scalar).collect()
}

fn refuse_unknown(
    members: &Map<String, Value>,
    known: &[&str],
    place: &str,
) -> Result<(), MalformedPolicy> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(malformed(
            &format!("{place}.{name}"),
            &format!("is no element; there are {}", known.join(", ")),
        )),
        None => Ok(()),
    }
}

fn unique_sids(statements: &[Statement]) -> Result<(), MalformedPolicy> {
    let mut seen = BTreeMap::new();
    for (number, statement) in statements.iter().enumerate() {
        if let Some(sid) = &statement.sid
            && let Some(first) = seen.insert(sid, number)
        {
            return Err(malformed(
                &format!("Statement[{number}].Sid"),
                &format!("is \"{sid}\", which Statement[{first}] has already"),
            ));
        }
    }
    Ok(())
}

fn malformed(place: &str, problem: &str) -> MalformedPolicy {
    MalformedPolicy {
        place: place.to_owned(),
        problem: problem.to_owned(),
    }
}
