//! Payload templates: JSON in which a field named `something.$` is computed.

use serde_json::Value;

use super::{Expression, NoValue, Scope};

/// A payload template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    /// Says the same every time.
    Literal(Value),
    /// Computed from an expression; `field` is its name as written, such as `id.$`.
    Computed {
        field: String,
        expression: Expression,
    },
    /// An object with something computed in it.
    Object(Vec<(String, Template)>),
    /// A list with something computed in it.
    Array(Vec<Template>),
}

/// What is wrong with a template: where, the value there, and why.
pub(crate) struct TemplateFault {
    pub(crate) field: String,
    pub(crate) value: Value,
    pub(crate) fault: String,
}

impl Template {
    /// Reads a template; every fault in it is reported.
    pub(crate) fn parse(value: &Value, at: &str, faults: &mut Vec<TemplateFault>) -> Self {
        let template = match value {
            Value::Object(fields) => Self::Object(
                fields
                    .iter()
                    .filter_map(|(name, value)| Self::parse_field(name, value, at, faults))
                    .collect(),
            ),
            Value::Array(items) => Self::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::parse(item, &format!("{at}[{index}]"), faults))
                    .collect(),
            ),
            scalar => Self::Literal(scalar.clone()),
        };
        if template.is_literal() {
            Self::Literal(value.clone())
        } else {
            template
        }
    }

    fn parse_field(
        name: &str,
        value: &Value,
        at: &str,
        faults: &mut Vec<TemplateFault>,
    ) -> Option<(String, Self)> {
        let field = format!("{at}.{name}");
        let Some(plain) = name.strip_suffix(".$") else {
            return Some((name.to_owned(), Self::parse(value, &field, faults)));
        };
        let parsed = value
            .as_str()
            .ok_or_else(|| {
                "a field whose name ends in `.$` must be a text: a path or an intrinsic function"
                    .to_owned()
            })
            .and_then(|text| {
                Expression::parse(text)
                    .map_err(|fault| format!("not a valid path or intrinsic function: {fault}"))
            });
        match parsed {
            Ok(expression) => Some((
                plain.to_owned(),
                Self::Computed {
                    field: name.to_owned(),
                    expression,
                },
            )),
            Err(fault) => {
                faults.push(TemplateFault {
                    field,
                    value: value.clone(),
                    fault,
                });
                None
            }
        }
    }

    fn is_literal(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Computed { .. } => false,
            Self::Object(fields) => fields.iter().all(|(_, template)| template.is_literal()),
            Self::Array(items) => items.iter().all(Self::is_literal),
        }
    }

    /// The top-level fields, by the name they have in the result.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Literal(Value::Object(fields)) => fields.keys().map(String::as_str).collect(),
            Self::Object(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Fills the template in. An error is the whole sentence AWS has for it.
    pub(crate) fn fill(&self, scope: Scope<'_>) -> Result<Value, String> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Computed { field, expression } => expression
                .evaluate(scope)
                .map_err(|fault| explain(fault, &expression.text, field, scope.input)),
            Self::Object(fields) => {
                let fill =
                    |(name, template): &(String, Self)| Ok((name.clone(), template.fill(scope)?));
                fields
                    .iter()
                    .map(fill)
                    .collect::<Result<serde_json::Map<_, _>, String>>()
                    .map(Value::Object)
            }
            Self::Array(items) => items
                .iter()
                .map(|item| item.fill(scope))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array),
        }
    }
}

/// The sentence AWS has for an expression in `field` without a value (recorded for paths).
pub(crate) fn explain(fault: NoValue, text: &str, field: &str, input: &Value) -> String {
    match fault {
        NoValue::Missing(_) => {
            format!(
                "The JSONPath '{text}' specified for the field '{field}' could not be found in the input '{input}'"
            )
        }
        NoValue::Function(sentence) => sentence,
    }
}
