//! A template's parameters, and the values a stack is made with.
//!
//! Refusals begin with CloudFormation's own words; what was given follows, unless `NoEcho` hides it.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::shape::{Property, Shape, check_members, optional, required};

const DEFINITION: &[Property] = &[
    required("Type", Shape::Text),
    optional("Default", Shape::Text),
    optional("AllowedPattern", Shape::Text),
    optional("AllowedValues", Shape::List(&Shape::Text)),
    optional("ConstraintDescription", Shape::Text),
    optional("Description", Shape::Text),
    optional("MaxLength", Shape::Integer),
    optional("MinLength", Shape::Integer),
    optional("MaxValue", Shape::Number),
    optional("MinValue", Shape::Number),
    optional("NoEcho", Shape::Flag),
];

/// The AWS-specific types, and how their values begin.
const IDENTIFIERS: [(&str, &str); 4] = [
    ("AWS::EC2::SecurityGroup::Id", "sg-"),
    ("AWS::EC2::Subnet::Id", "subnet-"),
    ("AWS::EC2::VPC::Id", "vpc-"),
    ("AWS::EC2::RouteTable::Id", "rtb-"),
];

/// A parameter as the template defines it.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    name: String,
    kind: Kind,
    is_list: bool,
    default: Option<String>,
    pattern: Option<(String, Regex)>,
    allowed: Option<Vec<String>>,
    constraint: Option<String>,
    length: (Option<usize>, Option<usize>),
    bounds: (Option<f64>, Option<f64>),
    is_hidden: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    /// Of a resource of EC2; begins with this.
    Identifier(&'static str),
}

impl Parameter {
    /// Reads a definition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(name: &str, definition: &Value) -> Result<Self, Vec<String>> {
        let empty = Map::new();
        let members = definition.as_object().unwrap_or(&empty);
        let mut found = Vec::new();
        check_members("", DEFINITION, members, &mut found);
        let said = |reason: String| format!("Template format error: parameter `{name}`: {reason}");
        if !found.is_empty() {
            return Err(found.into_iter().map(said).collect());
        }
        let scalar = |member: &str| {
            members
                .get(member)
                .and_then(|value| super::functions::text(value).ok())
        };
        let (kind, is_list) =
            kind(&scalar("Type").unwrap_or_default()).map_err(|reason| vec![said(reason)])?;
        let pattern = scalar("AllowedPattern")
            .map(|text| {
                // The pattern must match all of a value.
                Regex::new(&format!("^(?:{text})$"))
                    .map(|pattern| (text, pattern))
                    .map_err(|error| vec![said(format!("AllowedPattern cannot be read: {error}"))])
            })
            .transpose()?;
        let length = |member: &str| scalar(member).and_then(|text| text.parse().ok());
        let bound = |member: &str| scalar(member).and_then(|text| text.parse().ok());
        let allowed = members.get("AllowedValues").and_then(Value::as_array);
        Ok(Self {
            name: name.to_owned(),
            kind,
            is_list,
            default: scalar("Default"),
            pattern,
            allowed: allowed.map(|values| {
                values
                    .iter()
                    .filter_map(|value| super::functions::text(value).ok())
                    .collect()
            }),
            constraint: scalar("ConstraintDescription"),
            length: (length("MinLength"), length("MaxLength")),
            bounds: (bound("MinValue"), bound("MaxValue")),
            is_hidden: scalar("NoEcho").as_deref() == Some("true"),
        })
    }

    /// The value as `Ref` gives it.
    ///
    /// # Errors
    /// The constraint it does not meet.
    fn admitted(&self, given: &str) -> Result<Value, String> {
        if !self.is_list {
            self.check(given)?;
            return Ok(given.into());
        }
        let items: Vec<&str> = given.split(',').map(str::trim).collect();
        items.iter().try_for_each(|item| self.check(item))?;
        Ok(items.into())
    }

    fn check(&self, given: &str) -> Result<(), String> {
        let Some(broken) = self.broken_rule(given) else {
            return Ok(());
        };
        let name = &self.name;
        let said = match &self.constraint {
            Some(constraint) => {
                format!("Parameter {name} failed to satisfy constraint: {constraint}")
            }
            None => format!("Parameter '{name}' {broken}"),
        };
        Err(if self.is_hidden {
            said
        } else {
            format!("{said} (given: `{given}`)")
        })
    }

    fn broken_rule(&self, given: &str) -> Option<String> {
        let characters = given.chars().count();
        if let Kind::Identifier(beginning) = self.kind
            && !given.starts_with(beginning)
        {
            return Some(format!("must be an id that begins with `{beginning}`"));
        }
        if self.kind == Kind::Number {
            let Some(number) = given
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
            else {
                return Some("must be a number".to_owned());
            };
            match self.bounds {
                (Some(least), _) if number < least => {
                    return Some(format!("must be a number not less than {least}"));
                }
                (_, Some(most)) if number > most => {
                    return Some(format!("must be a number not greater than {most}"));
                }
                _ => {}
            }
        }
        match self.length {
            (Some(least), _) if characters < least => {
                return Some(format!("must contain at least {least} characters"));
            }
            (_, Some(most)) if characters > most => {
                return Some(format!("must contain at most {most} characters"));
            }
            _ => {}
        }
        if let Some(allowed) = &self.allowed
            && allowed.iter().all(|one| one != given)
        {
            return Some(format!(
                "must be one of AllowedValues: {}",
                allowed.join(", ")
            ));
        }
        match &self.pattern {
            Some((text, pattern)) if !pattern.is_match(given) => {
                Some(format!("must match pattern {text}"))
            }
            _ => None,
        }
    }
}

fn kind(text: &str) -> Result<(Kind, bool), String> {
    if text == "CommaDelimitedList" {
        return Ok((Kind::Text, true));
    }
    let item = text
        .strip_prefix("List<")
        .and_then(|rest| rest.strip_suffix('>'));
    let kind = match item.unwrap_or(text) {
        "String" => Kind::Text,
        "Number" => Kind::Number,
        other => match IDENTIFIERS.iter().find(|(name, _)| *name == other) {
            Some((_, beginning)) => Kind::Identifier(beginning),
            None => return Err(format!("Unrecognized parameter type: {text}")),
        },
    };
    Ok((kind, item.is_some()))
}

/// The values of all parameters: given, or the template's defaults.
///
/// # Errors
/// Every parameter that is unknown, has no value, or a value that does not meet its constraints.
pub(super) fn values(
    parameters: &[Parameter],
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, Vec<String>> {
    let mut problems = Vec::new();
    let unknown: Vec<&str> = given
        .keys()
        .filter(|name| parameters.iter().all(|parameter| parameter.name != **name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        problems.push(format!(
            "Parameters: [{}] do not exist in the template",
            unknown.join(", ")
        ));
    }
    let mut missing = Vec::new();
    let mut values = BTreeMap::new();
    for parameter in parameters {
        match given.get(&parameter.name).or(parameter.default.as_ref()) {
            None => missing.push(parameter.name.as_str()),
            Some(value) => match parameter.admitted(value) {
                Ok(value) => drop(values.insert(parameter.name.clone(), value)),
                Err(problem) => problems.push(problem),
            },
        }
    }
    if !missing.is_empty() {
        problems.push(format!(
            "Parameters: [{}] must have values",
            missing.join(", ")
        ));
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}
