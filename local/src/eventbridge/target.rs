//! Targets: what a rule does with an event that fits.

use serde_json::{Value, json};

use crate::fields::Fields;
use crate::request::ApiError;

/// One target of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) input: Input,
    /// The ARN of the queue for what could not be delivered.
    pub(super) dead_letters: Option<String>,
    /// As it was put, to be listed.
    pub(super) settings: Value,
}

/// What a target is given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    /// The whole event.
    Event,
    /// Always the same.
    Constant(String),
    /// A part of the event.
    Path(Vec<String>),
    /// A template and the parts of the event to put into it.
    Transformer {
        paths: Vec<(String, Vec<String>)>,
        template: String,
    },
}

/// What of the rule a template may name.
pub(super) struct RuleNames<'a> {
    pub(super) name: &'a str,
    pub(super) arn: &'a str,
}

impl Target {
    /// # Errors
    /// What is wrong with it, for `FailedEntries`.
    pub(super) fn parse(settings: &Value) -> Result<Self, ApiError> {
        let fields = Fields::new(settings);
        Ok(Self {
            id: fields.required("Id")?.to_owned(),
            arn: fields.required("Arn")?.to_owned(),
            input: Input::parse(fields)?,
            dead_letters: dead_letters(fields)?,
            settings: settings.clone(),
        })
    }

    /// What this target is given of this event, as text. JSON, unless a template is not.
    pub(super) fn payload(&self, event: &Value, rule: &RuleNames<'_>) -> String {
        match &self.input {
            Input::Event => event.to_string(),
            Input::Constant(text) => text.clone(),
            Input::Path(path) => at(event, path).unwrap_or(&Value::Null).to_string(),
            Input::Transformer { paths, template } => transformed(template, |name| {
                let reserved = match name {
                    "aws.events.rule-arn" => Some(json!(rule.arn)),
                    "aws.events.rule-name" => Some(json!(rule.name)),
                    "aws.events.event.ingestion-time" => event.get("time").cloned(),
                    "aws.events.event" | "aws.events.event.json" => Some(event.clone()),
                    _ => None,
                };
                let path = paths
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, path)| path);
                reserved.or_else(|| path.map(|path| at(event, path).cloned().unwrap_or_default()))
            }),
        }
    }
}

fn dead_letters(fields: Fields<'_>) -> Result<Option<String>, ApiError> {
    match fields.value("DeadLetterConfig") {
        Some(config) => Ok(Fields::new(config).text("Arn")?.map(str::to_owned)),
        None => Ok(None),
    }
}

impl Input {
    fn parse(fields: Fields<'_>) -> Result<Self, ApiError> {
        let given = ["Input", "InputPath", "InputTransformer"]
            .into_iter()
            .filter(|name| fields.value(name).is_some());
        if given.count() > 1 {
            return Err(invalid(
                "Only one of Input, InputPath, or InputTransformer must be provided",
            ));
        }
        if let Some(text) = fields.text("Input")? {
            let _: Value =
                serde_json::from_str(text).map_err(|_| invalid("JSON syntax error in Input"))?;
            return Ok(Self::Constant(text.to_owned()));
        }
        if let Some(path) = fields.text("InputPath")? {
            return json_path(path).map(Self::Path);
        }
        let Some(transformer) = fields.value("InputTransformer") else {
            return Ok(Self::Event);
        };
        let template = Fields::new(transformer)
            .required("InputTemplate")?
            .to_owned();
        let paths = transformer.get("InputPathsMap").and_then(Value::as_object);
        let path = |(name, path): (&String, &Value)| {
            Ok((name.clone(), json_path(path.as_str().unwrap_or_default())?))
        };
        let paths = paths
            .map(|paths| paths.iter().map(path).collect::<Result<Vec<_>, ApiError>>())
            .transpose()?;
        Ok(Self::Transformer {
            paths: paths.unwrap_or_default(),
            template,
        })
    }
}

/// Reads `$.detail.requestParameters[0].name`: members and indexes only.
fn json_path(text: &str) -> Result<Vec<String>, ApiError> {
    let refused = || invalid(&format!("Invalid JSON path {text}"));
    let rest = text.strip_prefix('$').ok_or_else(refused)?;
    let parts = rest.replace('[', ".").replace([']', '\'', '"'], "");
    let parts: Vec<String> = parts.split('.').skip(1).map(str::to_owned).collect();
    if parts.iter().any(|part| part.is_empty() || part == "*")
        || (!rest.is_empty() && !rest.starts_with(['.', '[']))
    {
        return Err(refused());
    }
    Ok(parts)
}

fn at<'a>(event: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(event, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// Puts values in place of `<name>`. Inside quotes only a string's characters are
/// put; elsewhere a string brings its own quotes.
fn transformed(template: &str, value_of: impl Fn(&str) -> Option<Value>) -> String {
    let mut result = String::with_capacity(template.len());
    let mut rest = template;
    let mut quoted = false;
    let mut escaped = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        if character == '<'
            && let Some((name, beyond)) = after.split_once('>')
            && let Some(value) = value_of(name)
        {
            result.push_str(&written(&value, quoted));
            rest = beyond;
            continue;
        }
        if character == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = character == '\\' && !escaped;
        result.push(character);
        rest = after;
    }
    result
}

fn written(value: &Value, quoted: bool) -> String {
    let json = value.to_string();
    match value {
        Value::String(_) if quoted => json.get(1..json.len() - 1).unwrap_or_default().to_owned(),
        _ if quoted => json.replace('\\', "\\\\").replace('"', "\\\""),
        _ => json,
    }
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(settings: Value) -> String {
        let mut settings = settings;
        settings["Id"] = "1".into();
        settings["Arn"] = "arn:aws:sns:eu-west-1:123456789012:t".into();
        let event = json!({ "source": "aws.states", "detail": { "status": "FAILED", "name": "r \"1\"", "n": 3, "list": ["x"] } });
        let rule = RuleNames {
            name: "failed",
            arn: "arn:rule",
        };
        Target::parse(&settings).unwrap().payload(&event, &rule)
    }

    #[test]
    fn a_target_gets_the_event_a_part_of_it_or_something_else() {
        assert!(payload(json!({})).starts_with(r#"{"source":"aws.states""#));
        assert_eq!(
            payload(json!({ "InputPath": "$.detail.status" })),
            r#""FAILED""#
        );
        assert_eq!(
            payload(json!({ "InputPath": "$.detail.list[0]" })),
            r#""x""#
        );
        assert_eq!(payload(json!({ "InputPath": "$.nothing" })), "null");
        assert_eq!(payload(json!({ "Input": "{\"a\":1}" })), r#"{"a":1}"#);
    }

    #[test]
    fn a_template_gets_values_with_or_without_quotes() {
        let transformer = |template: &str| {
            json!({ "InputTransformer": {
                "InputPathsMap": { "name": "$.detail.name", "n": "$.detail.n", "status": "$.detail.status" },
                "InputTemplate": template } })
        };
        assert_eq!(
            payload(transformer(r#"{"id": <name>, "n": <n>}"#)),
            r#"{"id": "r \"1\"", "n": 3}"#
        );
        assert_eq!(
            payload(transformer(r#"{"text": "run <name> is <status>, <n>"}"#)),
            r#"{"text": "run r \"1\" is FAILED, 3"}"#
        );
        assert_eq!(
            payload(transformer(r#""by <aws.events.rule-name> a < b""#)),
            r#""by failed a < b""#
        );
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for settings in [
            json!({ "Id": "1", "Arn": "a", "Input": "{" }),
            json!({ "Id": "1", "Arn": "a", "InputPath": "detail" }),
            json!({ "Id": "1", "Arn": "a", "Input": "{}", "InputPath": "$.a" }),
            json!({ "Arn": "a" }),
        ] {
            assert!(Target::parse(&settings).is_err(), "{settings}");
        }
    }
}
