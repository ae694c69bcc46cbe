//! CloudFormation's functions: where a template uses them, and what they give.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Gives nothing: the member or item it stands for is left out.
const NO_VALUE: &str = "AWS::NoValue";

/// The functions that give values. `Fn::And`, `Fn::Equals`, `Fn::Not`, `Fn::Or` and `Condition` stand in conditions.
const GIVE_VALUES: [&str; 9] = [
    "Fn::Base64",
    "Fn::FindInMap",
    "Fn::GetAZs",
    "Fn::GetAtt",
    "Fn::If",
    "Fn::ImportValue",
    "Fn::Join",
    "Fn::Select",
    "Fn::Split",
];

/// The function a value is, and its argument.
pub(super) fn applied(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let (name, argument) = members.iter().next()?;
    (name == "Ref" || name.starts_with("Fn::")).then_some((name, argument))
}

/// Something a template names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    /// A parameter, a resource or a pseudo parameter.
    Named(&'a str),
    /// An attribute of a resource.
    Attribute(&'a str, &'a str),
    /// A condition.
    Condition(&'a str),
    /// A mapping.
    Mapping(&'a str),
    /// A function there is not, or one that is given something else than it takes.
    Wrong(&'a str, &'static str),
}

/// Calls `visit` with everything `value` names. With `conditions`, only the branches taken count.
pub(super) fn for_each_reference<'a>(
    value: &'a Value,
    conditions: Option<&BTreeMap<String, bool>>,
    visit: &mut impl FnMut(Reference<'a>),
) {
    let Some((function, argument)) = applied(value) else {
        match value {
            Value::Array(items) => {
                items
                    .iter()
                    .for_each(|item| for_each_reference(item, conditions, visit));
            }
            Value::Object(members) => {
                members
                    .values()
                    .for_each(|member| for_each_reference(member, conditions, visit));
            }
            _ => {}
        }
        return;
    };
    match (function, argument) {
        ("Ref", Value::String(name)) => visit(Reference::Named(name)),
        ("Ref", _) => visit(Reference::Wrong("Ref", "takes a name")),
        ("Fn::GetAtt", argument) => match attribute(argument) {
            Some((resource, attribute)) => visit(Reference::Attribute(resource, attribute)),
            None => visit(Reference::Wrong(
                "Fn::GetAtt",
                "takes a resource's logical id and an attribute",
            )),
        },
        ("Fn::Sub", argument) => visit_sub(argument, conditions, visit),
        ("Fn::If", argument) => match argument.as_array().map(Vec::as_slice) {
            Some([Value::String(condition), yes, no]) => {
                visit(Reference::Condition(condition));
                let taken = conditions.and_then(|conditions| conditions.get(condition));
                if taken != Some(&false) {
                    for_each_reference(yes, conditions, visit);
                }
                if taken != Some(&true) {
                    for_each_reference(no, conditions, visit);
                }
            }
            _ => visit(Reference::Wrong(
                "Fn::If",
                "takes a condition and two values",
            )),
        },
        ("Fn::FindInMap", argument) => {
            match argument.get(0).and_then(Value::as_str) {
                Some(mapping) => visit(Reference::Mapping(mapping)),
                None => visit(Reference::Wrong(
                    "Fn::FindInMap",
                    "takes a mapping's name and two keys",
                )),
            }
            for_each_reference(argument, conditions, visit);
        }
        (name, argument) if GIVE_VALUES.contains(&name) => {
            for_each_reference(argument, conditions, visit);
        }
        (name, _) => visit(Reference::Wrong(
            name,
            "is not a function that gives a value here",
        )),
    }
}

fn attribute(argument: &Value) -> Option<(&str, &str)> {
    match argument {
        Value::Array(parts) => match parts.as_slice() {
            [resource, attribute] => Some((resource.as_str()?, attribute.as_str()?)),
            _ => None,
        },
        Value::String(text) => text.split_once('.'),
        _ => None,
    }
}

fn visit_sub<'a>(
    argument: &'a Value,
    conditions: Option<&BTreeMap<String, bool>>,
    visit: &mut impl FnMut(Reference<'a>),
) {
    let Some((template, values)) = sub_arguments(argument) else {
        visit(Reference::Wrong(
            "Fn::Sub",
            "takes text, or text and a map of values",
        ));
        return;
    };
    for part in sub_parts(template) {
        match part {
            SubPart::Variable(name) if values.is_some_and(|values| values.contains_key(name)) => {}
            SubPart::Variable(name) => visit(match name.split_once('.') {
                Some((resource, attribute)) => Reference::Attribute(resource, attribute),
                None => Reference::Named(name),
            }),
            SubPart::Text(_) => {}
        }
    }
    for value in values.into_iter().flat_map(Map::values) {
        for_each_reference(value, conditions, visit);
    }
}

type SubArguments<'a> = (&'a str, Option<&'a Map<String, Value>>);

fn sub_arguments(argument: &Value) -> Option<SubArguments<'_>> {
    match argument {
        Value::String(template) => Some((template, None)),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(template), Value::Object(values)] => Some((template, Some(values))),
            _ => None,
        },
        _ => None,
    }
}

enum SubPart<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// `${Name}` is a variable, `${!Name}` the text `${Name}`.
fn sub_parts(template: &str) -> Vec<SubPart<'_>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, following)) = after.split_once('}') else {
            break;
        };
        parts.push(SubPart::Text(before));
        match name.strip_prefix('!') {
            Some(literal) => {
                parts.extend([
                    SubPart::Text("${"),
                    SubPart::Text(literal),
                    SubPart::Text("}"),
                ]);
            }
            None => parts.push(SubPart::Variable(name.trim())),
        }
        rest = following;
    }
    parts.push(SubPart::Text(rest));
    parts
}

/// What the names in a template stand for while a stack is made.
pub(super) trait Names {
    /// What `Ref` gives for a parameter, a resource or a pseudo parameter.
    fn named(&self, name: &str) -> Option<Value>;
    /// What `Fn::GetAtt` gives.
    fn attribute(&self, resource: &str, attribute: &str) -> Option<Value>;
    /// Whether a condition holds.
    fn condition(&self, name: &str) -> Option<bool>;
    /// What a mapping has under two keys.
    fn mapped(&self, mapping: &str, first: &str, second: &str) -> Option<Value>;
    /// What another stack exports.
    fn exported(&self, name: &str) -> Option<Value>;
    /// The region, whose availability zones these are.
    fn region(&self) -> &str;
}

/// The value with every function replaced by what it gives; `None` for `AWS::NoValue`.
///
/// # Errors
/// What a function cannot give, in CloudFormation's words where it has some.
pub(super) fn resolved(names: &dyn Names, value: &Value) -> Result<Option<Value>, String> {
    let Some((function, argument)) = applied(value) else {
        return match value {
            Value::Array(items) => {
                resolved_items(names, items).map(|items| Some(Value::Array(items)))
            }
            Value::Object(members) => {
                resolved_members(names, members).map(|members| Some(Value::Object(members)))
            }
            other => Ok(Some(other.clone())),
        };
    };
    if function == "Ref" && argument == NO_VALUE {
        return Ok(None);
    }
    if function == "Fn::If" {
        let (condition, yes, no) = match argument.as_array().map(Vec::as_slice) {
            Some([condition, yes, no]) => (condition.as_str().unwrap_or_default(), yes, no),
            _ => {
                return Err(
                    "Template error: every Fn::If object requires a condition and two values"
                        .to_owned(),
                );
            }
        };
        let holds = names
            .condition(condition)
            .ok_or_else(|| unresolved_condition(condition))?;
        return resolved(names, if holds { yes } else { no });
    }
    given(names, function, argument).map(Some)
}

fn resolved_items(names: &dyn Names, items: &[Value]) -> Result<Vec<Value>, String> {
    items
        .iter()
        .filter_map(|item| resolved(names, item).transpose())
        .collect()
}

fn resolved_members(
    names: &dyn Names,
    members: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let member = |(name, value): (&String, &Value)| {
        let value = resolved(names, value).transpose()?;
        Some(value.map(|value| (name.clone(), value)))
    };
    members.iter().filter_map(member).collect()
}

/// Arguments of a function, resolved.
fn arguments(names: &dyn Names, argument: &Value) -> Result<Vec<Value>, String> {
    match resolved(names, argument)? {
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Ok(vec![other]),
        None => Ok(Vec::new()),
    }
}

fn given(names: &dyn Names, function: &str, argument: &Value) -> Result<Value, String> {
    match function {
        "Ref" => {
            let name = argument.as_str().unwrap_or_default();
            names.named(name).ok_or_else(|| unresolved(name))
        }
        "Fn::GetAtt" => {
            let (resource, attribute) = attribute(argument)
                .ok_or("Template error: every Fn::GetAtt object requires two non-empty parameters")?;
            names
                .attribute(resource, attribute)
                .ok_or_else(|| unresolved(&format!("{resource}.{attribute}")))
        }
        "Fn::Sub" => substituted(names, argument).map(Value::String),
        "Fn::Join" => match arguments(names, argument)?.as_slice() {
            [Value::String(delimiter), Value::Array(items)] => {
                Ok(items.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(delimiter).into())
            }
            _ => Err("Template error: every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined".to_owned()),
        },
        "Fn::Split" => match arguments(names, argument)?.as_slice() {
            [Value::String(delimiter), Value::String(whole)] => {
                Ok(whole.split(delimiter.as_str()).collect::<Vec<_>>().into())
            }
            _ => Err("Template error: every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split".to_owned()),
        },
        "Fn::Select" => match arguments(names, argument)?.as_slice() {
            [index, Value::Array(items)] => text(index)?
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index).cloned())
                .ok_or_else(|| format!("Template error: Fn::Select cannot select nonexistent value at index {index}")),
            _ => Err("Template error: Fn::Select requires a list argument with two elements: an integer index and a list".to_owned()),
        },
        "Fn::FindInMap" => match arguments(names, argument)?.as_slice() {
            [mapping, first, second] => {
                let (mapping, first, second) = (text(mapping)?, text(first)?, text(second)?);
                names
                    .mapped(&mapping, &first, &second)
                    .ok_or_else(|| format!("Template error: Unable to get mapping for {mapping}::{first}::{second}"))
            }
            _ => Err("Template error: every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value".to_owned()),
        },
        "Fn::Base64" => match resolved(names, argument)? {
            Some(value) => Ok(STANDARD.encode(text(&value)?).into()),
            None => Err("Template error: every Fn::Base64 object must have a String-typed value".to_owned()),
        },
        "Fn::GetAZs" => {
            let zones = ["a", "b", "c"].map(|zone| format!("{}{zone}", names.region()));
            Ok(zones.to_vec().into())
        }
        "Fn::ImportValue" => match arguments(names, argument)?.as_slice() {
            [name] => {
                let name = text(name)?;
                names.exported(&name).ok_or_else(|| format!("No export named {name} found."))
            }
            _ => Err("Template error: the attribute in Fn::ImportValue must be a string".to_owned()),
        },
        other => Err(format!("Template error: {other} cannot be used here")),
    }
}

fn substituted(names: &dyn Names, argument: &Value) -> Result<String, String> {
    let (template, values) = sub_arguments(argument).ok_or(
        "Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments",
    )?;
    let mut whole = String::new();
    for part in sub_parts(template) {
        match part {
            SubPart::Text(text) => whole.push_str(text),
            SubPart::Variable(name) => whole.push_str(&variable(names, values, name)?),
        }
    }
    Ok(whole)
}

fn variable(
    names: &dyn Names,
    values: Option<&Map<String, Value>>,
    name: &str,
) -> Result<String, String> {
    if let Some(value) = values.and_then(|values| values.get(name)) {
        return match resolved(names, value)? {
            Some(value) => text(&value),
            None => Err(unresolved(name)),
        };
    }
    let value = match name.split_once('.') {
        Some((resource, attribute)) => names.attribute(resource, attribute),
        None => names.named(name),
    };
    text(&value.ok_or_else(|| unresolved(name))?)
}

/// Whether a condition's expression holds.
///
/// # Errors
/// What it names and is not there, or a function that gives no truth.
pub(super) fn holds(names: &dyn Names, expression: &Value) -> Result<bool, String> {
    let members = expression.as_object().filter(|members| members.len() == 1);
    let Some((function, argument)) = members.and_then(|members| members.iter().next()) else {
        return Err("Template error: a condition must be one of Fn::And, Fn::Equals, Fn::Not, Fn::Or, Condition".to_owned());
    };
    let all = |bounds: std::ops::RangeInclusive<usize>| match argument.as_array() {
        Some(parts) if bounds.contains(&parts.len()) => parts
            .iter()
            .map(|part| holds(names, part))
            .collect::<Result<Vec<_>, _>>(),
        _ => Err(format!(
            "Template error: {function} takes a list of {} to {} conditions",
            bounds.start(),
            bounds.end()
        )),
    };
    match function.as_str() {
        "Condition" => {
            let name = argument.as_str().unwrap_or_default();
            names
                .condition(name)
                .ok_or_else(|| unresolved_condition(name))
        }
        "Fn::And" => Ok(all(2..=10)?.into_iter().all(|part| part)),
        "Fn::Or" => Ok(all(2..=10)?.into_iter().any(|part| part)),
        "Fn::Not" => Ok(!all(1..=1)?.into_iter().all(|part| part)),
        "Fn::Equals" => match arguments(names, argument)?.as_slice() {
            [one, other] => Ok(as_compared(one) == as_compared(other)),
            _ => Err(
                "Template error: every Fn::Equals object requires a list of 2 string parameters"
                    .to_owned(),
            ),
        },
        other => Err(format!("Template error: {other} is no condition")),
    }
}

/// `true` and `"true"` are the same to `Fn::Equals`.
fn as_compared(value: &Value) -> String {
    text(value).unwrap_or_else(|_| value.to_string())
}

/// A scalar as text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err("Template error: a list or structure stands where text is expected".to_owned()),
    }
}

fn unresolved(name: &str) -> String {
    format!(
        "Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template"
    )
}

fn unresolved_condition(name: &str) -> String {
    format!("Template format error: Unresolved condition dependency {name}")
}
