//! SNS: topics, and every message ever published, to be read by whoever asks.
//!
//! Subscriptions are kept and listed; nothing is delivered to them. What would have
//! been sent is [`Sns::messages`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, Weak};

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;

use crate::fields::{Fields, page};
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response};
use crate::wire::{self, Datum, Names, record};
use crate::world::{Known, Service, World};

const NAMES: Names = Names {
    namespace: "http://sns.amazonaws.com/doc/2010-03-31/",
    error_shape: |code| code,
};

/// The most bytes a message may have, its attributes included.
const MESSAGE_BYTES_MAX: usize = 262_144;

/// The most characters a subject may have.
const SUBJECT_CHARACTERS_MAX: usize = 100;

/// Lists answer with so many at a time.
const PAGE: usize = 100;

/// A message somebody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where it was published.
    pub topic_arn: String,
    /// Its id.
    pub message_id: String,
    /// The subject of an e-mail.
    pub subject: Option<String>,
    /// The text.
    pub message: String,
    /// Attributes, by name; only those with a string value.
    pub attributes: BTreeMap<String, String>,
    /// When, on the world's clock.
    pub time: OffsetDateTime,
}

/// Topics and messages of every account and region.
pub struct Sns {
    world: Weak<World>,
    topics: Regional<BTreeMap<String, Topic>>,
    messages: Mutex<Vec<Message>>,
}

/// A topic, by its name.
#[derive(Default)]
struct Topic {
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    subscriptions: Vec<Subscription>,
}

struct Subscription {
    arn: String,
    protocol: String,
    endpoint: String,
}

impl Sns {
    /// No topics yet.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self {
            world,
            topics: Regional::default(),
            messages: Mutex::default(),
        }
    }

    /// Every message published so far, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Publishes a message as another service would. Returns its id.
    ///
    /// # Errors
    /// As `Publish`.
    pub fn publish(
        &self,
        caller: &Caller,
        topic_arn: &str,
        subject: Option<&str>,
        text: &str,
    ) -> Result<String, ApiError> {
        self.publish_with(caller, topic_arn, subject, text, BTreeMap::new())
    }

    fn answer(
        &self,
        caller: &Caller,
        operation: &str,
        input: &Value,
    ) -> Result<Option<Datum>, ApiError> {
        let fields = Fields::new(input);
        match operation {
            "CreateTopic" => self.create_topic(caller, fields),
            "DeleteTopic" => self.delete_topic(caller, fields),
            "ListTopics" => self.list_topics(caller, fields),
            "GetTopicAttributes" => self.get_topic_attributes(caller, fields),
            "SetTopicAttributes" => self.set_topic_attributes(caller, fields),
            "Publish" => self.answer_publish(caller, fields),
            "Subscribe" => self.subscribe(caller, fields),
            "Unsubscribe" => self.unsubscribe(caller, fields),
            "ListSubscriptions" => self.list_subscriptions(caller, fields, None),
            "ListSubscriptionsByTopic" => {
                let name = topic_name(caller, needed(fields, "TopicArn")?)?.to_owned();
                self.with_topic(caller, &name, |_| ())?;
                self.list_subscriptions(caller, fields, Some(&name))
            }
            "ListTagsForResource" => self.list_tags(caller, fields),
            other => Err(ApiError::unknown_operation("SNS", other)),
        }
    }

    fn create_topic(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let name = needed(fields, "Name")?;
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if name.len() > 256 || !name.trim_end_matches(".fifo").chars().all(allowed) {
            return Err(invalid("Topic Name"));
        }
        let attributes = text_map(fields, "Attributes");
        let tags = fields.tags("Tags", "Key", "Value")?;
        self.topics.with(caller, |topics| {
            let topic = topics.entry(name.to_owned()).or_default();
            // Creating again answers with the existing topic, unless it would be another.
            if attributes.iter().any(|(name, value)| {
                topic
                    .attributes
                    .get(name)
                    .is_some_and(|given| given != value)
            }) {
                return Err(invalid(
                    "Attributes Reason: Topic already exists with different attributes",
                ));
            }
            topic.attributes.extend(attributes);
            topic.tags.extend(tags);
            Ok(())
        })?;
        Ok(Some(record([("TopicArn", topic_arn(caller, name).into())])))
    }

    fn delete_topic(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let name = topic_name(caller, needed(fields, "TopicArn")?)?;
        self.topics.with(caller, |topics| topics.remove(name));
        Ok(None)
    }

    fn list_topics(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let arns: Vec<String> = self.topics.with(caller, |topics| {
            topics.keys().map(|name| topic_arn(caller, name)).collect()
        });
        let (arns, next) =
            page(&arns, fields.text("NextToken")?, PAGE).ok_or_else(|| invalid("NextToken"))?;
        let topics = arns
            .into_iter()
            .map(|arn| record([("TopicArn", arn.into())]));
        Ok(Some(record([
            ("Topics", Datum::List(topics.collect())),
            ("NextToken", next.into()),
        ])))
    }

    fn get_topic_attributes(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let arn = needed(fields, "TopicArn")?;
        let attributes = self.with_topic(caller, topic_name(caller, arn)?, |topic| {
            let mut attributes = topic.attributes.clone();
            attributes.insert("TopicArn".to_owned(), arn.to_owned());
            attributes.insert("Owner".to_owned(), caller.account.clone());
            attributes.insert(
                "SubscriptionsConfirmed".to_owned(),
                topic.subscriptions.len().to_string(),
            );
            attributes.insert("SubscriptionsPending".to_owned(), "0".to_owned());
            attributes
        })?;
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        Ok(Some(record([("Attributes", Datum::Map(attributes))])))
    }

    fn set_topic_attributes(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let name = topic_name(caller, needed(fields, "TopicArn")?)?;
        let attribute = needed(fields, "AttributeName")?;
        let value = fields.text("AttributeValue")?.unwrap_or_default();
        self.with_topic(caller, name, |topic| {
            if value.is_empty() {
                topic.attributes.remove(attribute);
            } else {
                topic
                    .attributes
                    .insert(attribute.to_owned(), value.to_owned());
            }
        })?;
        Ok(None)
    }

    fn answer_publish(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Option<Datum>, ApiError> {
        let arn = match fields.text("TopicArn")?.or(fields.text("TargetArn")?) {
            Some(arn) => arn,
            None => {
                return Err(invalid(
                    "TopicArn or TargetArn Reason: no value for required parameter",
                ));
            }
        };
        let text = fields.text("Message")?.unwrap_or_default();
        if fields.text("MessageStructure")? == Some("json") {
            let parsed: Value = serde_json::from_str(text).unwrap_or_default();
            if !parsed.get("default").is_some_and(Value::is_string) {
                return Err(invalid(
                    "Message Structure - No default entry in JSON message body",
                ));
            }
        }
        let attributes = string_attributes(fields);
        let message_id =
            self.publish_with(caller, arn, fields.text("Subject")?, text, attributes)?;
        Ok(Some(record([("MessageId", message_id.into())])))
    }

    fn publish_with(
        &self,
        caller: &Caller,
        topic_arn: &str,
        subject: Option<&str>,
        text: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<String, ApiError> {
        self.with_topic(caller, topic_name(caller, topic_arn)?, |_| ())?;
        let attribute_bytes: usize = attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if text.is_empty() {
            return Err(invalid("Empty message"));
        }
        if text.len() + attribute_bytes > MESSAGE_BYTES_MAX {
            return Err(invalid("Message too long"));
        }
        if subject.is_some_and(|subject| !is_subject(subject)) {
            return Err(invalid("Subject"));
        }
        let world = self
            .world
            .upgrade()
            .ok_or_else(|| ApiError::new(500, "InternalError", "the world has stopped"))?;
        let message = Message {
            topic_arn: topic_arn.to_owned(),
            message_id: world.randomness().uuid(),
            subject: subject.map(str::to_owned),
            message: text.to_owned(),
            attributes,
            time: world.now(),
        };
        let message_id = message.message_id.clone();
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
        Ok(message_id)
    }

    fn subscribe(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let topic = needed(fields, "TopicArn")?;
        let (protocol, endpoint) = (
            needed(fields, "Protocol")?,
            fields.text("Endpoint")?.unwrap_or_default(),
        );
        let world = self.world.upgrade();
        let id = world
            .map(|world| world.randomness().uuid())
            .unwrap_or_default();
        let arn = self.with_topic(caller, topic_name(caller, topic)?, |topic_contents| {
            let is_it = |one: &&Subscription| one.protocol == protocol && one.endpoint == endpoint;
            if let Some(existing) = topic_contents.subscriptions.iter().find(is_it) {
                return existing.arn.clone();
            }
            let arn = format!("{topic}:{id}");
            topic_contents.subscriptions.push(Subscription {
                arn: arn.clone(),
                protocol: protocol.to_owned(),
                endpoint: endpoint.to_owned(),
            });
            arn
        })?;
        Ok(Some(record([("SubscriptionArn", arn.into())])))
    }

    fn unsubscribe(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let arn = needed(fields, "SubscriptionArn")?;
        self.topics.with(caller, |topics| {
            topics
                .values_mut()
                .for_each(|topic| topic.subscriptions.retain(|one| one.arn != arn));
        });
        Ok(None)
    }

    fn list_subscriptions(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
        only: Option<&str>,
    ) -> Result<Option<Datum>, ApiError> {
        let subscriptions: Vec<Datum> = self.topics.with(caller, |topics| {
            let chosen = topics
                .iter()
                .filter(|(name, _)| only.is_none_or(|only| only == name.as_str()));
            let described = chosen.flat_map(|(name, topic)| {
                topic.subscriptions.iter().map(|one| {
                    record([
                        ("SubscriptionArn", one.arn.as_str().into()),
                        ("Owner", caller.account.as_str().into()),
                        ("Protocol", one.protocol.as_str().into()),
                        ("Endpoint", one.endpoint.as_str().into()),
                        ("TopicArn", topic_arn(caller, name).into()),
                    ])
                })
            });
            described.collect()
        });
        let (subscriptions, next) = page(&subscriptions, fields.text("NextToken")?, PAGE)
            .ok_or_else(|| invalid("NextToken"))?;
        Ok(Some(record([
            ("Subscriptions", Datum::List(subscriptions)),
            ("NextToken", next.into()),
        ])))
    }

    fn list_tags(&self, caller: &Caller, fields: Fields<'_>) -> Result<Option<Datum>, ApiError> {
        let tags = self.with_topic(
            caller,
            topic_name(caller, needed(fields, "ResourceArn")?)?,
            |topic| {
                let tag = |(key, value): (&String, &String)| {
                    record([
                        ("Key", key.as_str().into()),
                        ("Value", value.as_str().into()),
                    ])
                };
                topic.tags.iter().map(tag).collect()
            },
        )?;
        Ok(Some(record([("Tags", Datum::List(tags))])))
    }

    fn with_topic<R>(
        &self,
        caller: &Caller,
        name: &str,
        act: impl FnOnce(&mut Topic) -> R,
    ) -> Result<R, ApiError> {
        let topic = self
            .topics
            .with(caller, |topics| topics.get_mut(name).map(act));
        topic.ok_or_else(|| ApiError::new(404, "NotFound", "Topic does not exist"))
    }
}

#[async_trait]
impl Service for Sns {
    async fn handle(&self, request: Request) -> Response {
        let request_id = self
            .world
            .upgrade()
            .map(|world| world.randomness().uuid())
            .unwrap_or_default();
        match wire::read(&request) {
            Ok(call) => {
                let answer = self.answer(&request.caller, &call.operation, &call.input);
                wire::write(call.protocol, &NAMES, &call.operation, &request_id, answer)
            }
            Err((protocol, error)) => wire::write(protocol, &NAMES, "", &request_id, Err(error)),
        }
    }

    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        let topic = topic_name(caller, name).ok()?;
        self.topics.with(caller, |topics| {
            let topic = topics.get(topic)?;
            Some(Known {
                arn: name.to_owned(),
                tags: topic.tags.clone(),
                key: topic.attributes.get("KmsMasterKeyId").cloned(),
                ..Known::default()
            })
        })
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let text = |message: Message| {
            let attributes = message
                .attributes
                .iter()
                .map(|(name, value)| format!("\n{name}: {value}"))
                .collect::<String>();
            let subject = message.subject.unwrap_or_default();
            RecordedText::new(
                format!("sns {}", message.topic_arn),
                format!("{subject}\n{}{attributes}", message.message),
            )
        };
        self.messages().into_iter().map(text).collect()
    }
}

fn topic_arn(caller: &Caller, name: &str) -> String {
    format!("arn:aws:sns:{}:{}:{name}", caller.region, caller.account)
}

/// The name in a topic's ARN, if the topic is where the caller is.
fn topic_name<'a>(caller: &Caller, arn: &'a str) -> Result<&'a str, ApiError> {
    match arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "sns", region, account, name] if *region == caller.region => {
            if *account == caller.account {
                return Ok(name);
            }
            let text = format!(
                "User: {} is not authorized to access this resource: {arn}",
                caller.principal
            );
            Err(ApiError::new(403, "AuthorizationError", text))
        }
        _ => Err(invalid("TopicArn")),
    }
}

fn is_subject(subject: &str) -> bool {
    let plain = |character: char| character.is_ascii() && !character.is_ascii_control();
    (1..=SUBJECT_CHARACTERS_MAX).contains(&subject.chars().count()) && subject.chars().all(plain)
}

fn text_map(fields: Fields<'_>, name: &str) -> BTreeMap<String, String> {
    let entries = fields.value(name).and_then(Value::as_object);
    let entry = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    entries
        .map(|entries| entries.iter().filter_map(entry).collect())
        .unwrap_or_default()
}

fn string_attributes(fields: Fields<'_>) -> BTreeMap<String, String> {
    let entries = fields.value("MessageAttributes").and_then(Value::as_object);
    let entry = |(name, value): (&String, &Value)| {
        Some((name.clone(), value.get("StringValue")?.as_str()?.to_owned()))
    };
    entries
        .map(|entries| entries.iter().filter_map(entry).collect())
        .unwrap_or_default()
}

fn needed<'a>(fields: Fields<'a>, name: &str) -> Result<&'a str, ApiError> {
    fields
        .text(name)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid(name))
}

fn invalid(what: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidParameter",
        format!("Invalid parameter: {what}"),
    )
}
