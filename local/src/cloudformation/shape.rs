//! What the properties of a resource type look like: to refuse a template before anything is made.

use serde_json::{Map, Value};

use super::functions;

/// One property of a resource type or of a structure in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) is_required: bool,
    pub(super) shape: Shape,
}

/// What a property's value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Text; a number or a boolean is written out.
    Text,
    /// An integer, or text of digits.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`, or the text of it.
    Flag,
    /// Any document: a policy, a dashboard. Text or a structure.
    Document,
    /// A path that `aws cloudformation package` uploads and replaces, relative to the template.
    LocalPath,
    /// Each of this shape.
    List(&'static Self),
    /// Names the template chooses, values of this shape.
    Map(&'static Self),
    /// These members and no others.
    Record(&'static [Property]),
}

/// A property that may be absent.
pub(super) const fn optional(name: &'static str, shape: Shape) -> Property {
    Property {
        name,
        is_required: false,
        shape,
    }
}

/// A property that must be there.
pub(super) const fn required(name: &'static str, shape: Shape) -> Property {
    Property {
        name,
        is_required: true,
        shape,
    }
}

/// Many texts.
pub(super) const TEXTS: Shape = Shape::List(&Shape::Text);

/// Tags as most types have them.
pub(super) const TAGS: Shape = Shape::List(&Shape::Record(&[
    required("Key", Shape::Text),
    required("Value", Shape::Text),
]));

impl Shape {
    fn expectation(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Flag => "`true` or `false`",
            Self::Document => "a document",
            Self::LocalPath => {
                "a path relative to the template, which `aws cloudformation package` uploads"
            }
            Self::List(_) => "a list",
            Self::Map(_) | Self::Record(_) => "a structure",
        }
    }

    /// Finds what does not fit, in a template (whose functions may give anything) or resolved.
    pub(super) fn check(self, path: &str, value: &Value, found: &mut Vec<String>) {
        if let Some((function, argument)) = functions::applied(value) {
            if function == "Fn::If"
                && let Some([_, yes, no]) = argument.as_array().map(Vec::as_slice)
            {
                self.check(path, yes, found);
                self.check(path, no, found);
            }
            return;
        }
        match (self, value) {
            (Self::List(shape), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    shape.check(&format!("{path}.{index}"), item, found);
                }
            }
            (Self::Map(shape), Value::Object(members)) => {
                for (name, member) in members {
                    shape.check(&format!("{path}.{name}"), member, found);
                }
            }
            (Self::Record(properties), Value::Object(members)) => {
                check_members(path, properties, members, found);
            }
            (shape, value) if shape.fitted(value).is_none() => {
                found.push(format!(
                    "property `{path}`: expected {}, got {}",
                    self.expectation(),
                    shown(value)
                ));
            }
            _ => {}
        }
    }

    /// The value as its service wants it: CloudFormation passes text where numbers belong, and the reverse.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn coerced(self, path: &str, value: Value) -> Result<Value, String> {
        match (self, value) {
            (Self::List(shape), Value::Array(items)) => {
                let items = items.into_iter().enumerate();
                let item = |(index, item)| shape.coerced(&format!("{path}.{index}"), item);
                items
                    .map(item)
                    .collect::<Result<Vec<_>, _>>()
                    .map(Value::Array)
            }
            (Self::Map(shape), Value::Object(members)) => {
                let member = |(name, member): (String, Value)| {
                    let coerced = shape.coerced(&format!("{path}.{name}"), member)?;
                    Ok((name, coerced))
                };
                members
                    .into_iter()
                    .map(member)
                    .collect::<Result<Map<_, _>, _>>()
                    .map(Value::Object)
            }
            (Self::Record(properties), Value::Object(members)) => {
                coerced_members(path, properties, members).map(Value::Object)
            }
            (shape, value) => shape.fitted(&value).ok_or_else(|| {
                format!(
                    "property `{path}`: expected {}, got {}",
                    self.expectation(),
                    shown(&value)
                )
            }),
        }
    }

    /// A scalar or a document in this shape, if it fits.
    fn fitted(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Text | Self::LocalPath | Self::Document, Value::String(_))
            | (Self::Integer, Value::Number(_))
            | (Self::Number, Value::Number(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Document, Value::Object(_)) => {
                let is_fraction = matches!(self, Self::Integer) && value.as_i64().is_none();
                (!is_fraction).then(|| value.clone())
            }
            (Self::Text, Value::Number(_) | Value::Bool(_)) => Some(value.to_string().into()),
            (Self::Integer, Value::String(text)) => text.parse::<i64>().ok().map(Value::from),
            (Self::Number, Value::String(text)) => text.parse::<f64>().ok().map(Value::from),
            (Self::Flag, Value::String(text)) => text.parse::<bool>().ok().map(Value::from),
            _ => None,
        }
    }
}

/// Checks the members of a structure; `path` is empty for a resource's own properties.
pub(super) fn check_members(
    path: &str,
    properties: &[Property],
    members: &Map<String, Value>,
    found: &mut Vec<String>,
) {
    for property in properties {
        if property.is_required && !members.contains_key(property.name) {
            found.push(format!(
                "property `{}` is required",
                below(path, property.name)
            ));
        }
    }
    for (name, value) in members {
        match properties.iter().find(|property| property.name == name) {
            Some(property) => property.shape.check(&below(path, name), value, found),
            None => found.push(format!(
                "property `{}` is unknown: expected one of {}",
                below(path, name),
                names(properties)
            )),
        }
    }
}

/// The members of a structure as their service wants them.
///
/// # Errors
/// What does not fit, or is missing because a function gave `AWS::NoValue`.
pub(super) fn coerced_members(
    path: &str,
    properties: &[Property],
    members: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let missing =
        |property: &&Property| property.is_required && !members.contains_key(property.name);
    if let Some(property) = properties.iter().find(missing) {
        return Err(format!(
            "property `{}` is required",
            below(path, property.name)
        ));
    }
    let member = |(name, value): (String, Value)| {
        let path = below(path, &name);
        let property = properties.iter().find(|property| property.name == name);
        let property = property.ok_or_else(|| format!("property `{path}` is unknown"))?;
        let coerced = property.shape.coerced(&path, value)?;
        Ok((name, coerced))
    };
    members.into_iter().map(member).collect()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn names(properties: &[Property]) -> String {
    properties
        .iter()
        .map(|property| property.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What came instead. The value itself is not repeated: it may be a secret.
fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a structure",
    }
}
