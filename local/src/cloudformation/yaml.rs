//! CloudFormation's YAML: the short forms of its functions become the long ones.
//!
//! As CloudFormation reads it (YAML 1.1 with exceptions, "YAML" under "Template format" in its
//! guide): aliases are not supported, a date such as `2012-10-17` is text. A number that would
//! lose digits when written again, such as an account id that begins with a zero, is text, too.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

/// The functions with a short form, less their exclamation mark. `Ref` and `Condition` have no `Fn::`.
const SHORT_FORMS: [&str; 16] = [
    "And",
    "Base64",
    "Condition",
    "Equals",
    "FindInMap",
    "GetAZs",
    "GetAtt",
    "If",
    "ImportValue",
    "Join",
    "Not",
    "Or",
    "Ref",
    "Select",
    "Split",
    "Sub",
];

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct YamlError {
    line: usize,
    reason: String,
}

impl YamlError {
    fn at(mark: Marker, reason: impl Into<String>) -> Self {
        Self {
            line: mark.line(),
            reason: reason.into(),
        }
    }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        Self::at(*error.marker(), error.info())
    }
}

/// Reads a document; `!Ref x` is `{"Ref": "x"}` afterwards, `!GetAtt a.b` is `{"Fn::GetAtt": ["a", "b"]}`.
///
/// # Errors
/// The line, and what is wrong there.
pub(super) fn read(text: &str) -> Result<Value, YamlError> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
    };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(document.unwrap_or(Value::Null)),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (_, span) if document.is_some() => {
                return Err(YamlError::at(span.start, "a template is one document"));
            }
            (event, span) => document = Some(reader.node(event, span)?),
        }
    }
}

struct Reader<'input> {
    events: Parser<'input, saphyr_parser::StrInput<'input>>,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span), YamlError> {
        match self.events.next() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'input>, span: Span) -> Result<Value, YamlError> {
        match event {
            Event::Scalar(text, style, _, tag) => {
                let function = function(tag.as_deref(), span)?;
                let value = match style {
                    // A function's argument is text: the account in `!Equals [!Ref A, 1]` is not.
                    ScalarStyle::Plain if function.is_none() => plain(&text),
                    _ => Value::String(text.into_owned()),
                };
                Ok(applied(function, value))
            }
            Event::SequenceStart(_, tag) => {
                let function = function(tag.as_deref(), span)?;
                let items = self.items()?;
                Ok(applied(function, Value::Array(items)))
            }
            Event::MappingStart(_, tag) => {
                let function = function(tag.as_deref(), span)?;
                let members = self.members()?;
                Ok(applied(function, Value::Object(members)))
            }
            Event::Alias(_) => Err(YamlError::at(
                span.start,
                "CloudFormation does not support aliases: write the value out",
            )),
            _ => Err(YamlError::at(span.start, "expected a value")),
        }
    }

    fn items(&mut self) -> Result<Vec<Value>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn members(&mut self) -> Result<Map<String, Value>, YamlError> {
        let mut members = Map::new();
        loop {
            let (name, place) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(members),
                (Event::Scalar(name, _, _, None), span) => (name.into_owned(), span.start),
                (_, span) => return Err(YamlError::at(span.start, "a key must be plain text")),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if members.contains_key(&name) {
                return Err(YamlError::at(place, format!("`{name}` is given twice")));
            }
            members.insert(name, value);
        }
    }
}

/// The long form of the function a tag stands for.
fn function(tag: Option<&Tag>, span: Span) -> Result<Option<Cow<'static, str>>, YamlError> {
    let Some(tag) = tag else { return Ok(None) };
    if tag.is_yaml_core_schema() {
        return match tag.suffix.as_str() {
            "str" | "map" | "seq" => Ok(None),
            other => Err(YamlError::at(
                span.start,
                format!("the tag !!{other} is not supported"),
            )),
        };
    }
    match tag.suffix.as_str() {
        "Ref" => Ok(Some(Cow::Borrowed("Ref"))),
        "Condition" => Ok(Some(Cow::Borrowed("Condition"))),
        name if SHORT_FORMS.contains(&name) => Ok(Some(Cow::Owned(format!("Fn::{name}")))),
        other => Err(YamlError::at(
            span.start,
            format!("`!{other}` is not a function this template reader has"),
        )),
    }
}

fn applied(function: Option<Cow<'static, str>>, argument: Value) -> Value {
    let Some(function) = function else {
        return argument;
    };
    let argument = match (function.as_ref(), argument) {
        ("Fn::GetAtt", Value::String(text)) => match text.split_once('.') {
            Some((resource, attribute)) => Value::from(vec![resource, attribute]),
            None => Value::String(text),
        },
        (_, argument) => argument,
    };
    Value::Object(Map::from_iter([(function.into_owned(), argument)]))
}

/// A scalar without quotes: null, true, false, a number that can be written back as it was, or text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let number = |value: Value| {
        let written = value.to_string();
        (written == text).then_some(value)
    };
    let integer = text
        .parse::<i64>()
        .ok()
        .and_then(|value| number(value.into()));
    let decimal = || {
        text.parse::<f64>()
            .ok()
            .and_then(|value| number(value.into()))
    };
    integer.or_else(decimal).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_forms_become_long_ones() {
        let text = "a: !Ref B\nc: !GetAtt D.Arn.X\ne: !Join ['', [f, !Sub '${G}']]\nh: {Fn::If: [i, !Condition j, 1]}";
        assert_eq!(
            read(text).unwrap(),
            json!({
                "a": {"Ref": "B"},
                "c": {"Fn::GetAtt": ["D", "Arn.X"]},
                "e": {"Fn::Join": ["", ["f", {"Fn::Sub": "${G}"}]]},
                "h": {"Fn::If": ["i", {"Condition": "j"}, 1]},
            })
        );
    }

    #[test]
    fn dates_and_numbers_that_would_change_are_text() {
        assert_eq!(
            read("[2012-10-17, 012345678901, 1.10, 1.5, 300, '300', yes, true, ~]").unwrap(),
            json!([
                "2012-10-17",
                "012345678901",
                "1.10",
                1.5,
                300,
                "300",
                "yes",
                true,
                null
            ])
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let told = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            told("a: 1\nb: !Rfe C"),
            "line 2: `!Rfe` is not a function this template reader has"
        );
        assert_eq!(told("a: 1\nb: 2\na: 3"), "line 3: `a` is given twice");
        assert_eq!(
            told("a: &x 1\nb: *x"),
            "line 2: CloudFormation does not support aliases: write the value out"
        );
        assert!(told("a: [1").starts_with("line 1: ") || told("a: [1").starts_with("line 2: "));
        assert_eq!(told("--- 1\n--- 2"), "line 2: a template is one document");
    }
}
