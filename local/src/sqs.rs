//! SQS: standard queues, where what could not be delivered waits for somebody to look.
//!
//! Messages are hidden while a receiver has them, and go after the queue's retention. There are no
//! FIFO queues, delays, or dead-letter queues of queues.

use std::collections::BTreeMap;
use std::sync::Weak;

use async_trait::async_trait;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::fields::Fields;
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response, json_response};
use crate::world::{Service, World};

/// 1 MiB since August 2025.
const MESSAGE_BYTES_MAX: usize = 1_048_576;
const RETENTION_SECONDS: i64 = 345_600;
const VISIBILITY_SECONDS: i64 = 30;
const VISIBILITY_BOUNDS: std::ops::RangeInclusive<i64> = 0..=43_200;

/// The queues of every account and region.
pub struct Sqs {
    world: Weak<World>,
    queues: Regional<BTreeMap<String, Queue>>,
}

#[derive(Default)]
struct Queue {
    attributes: BTreeMap<String, String>,
    messages: Vec<QueuedMessage>,
}

struct QueuedMessage {
    id: String,
    body: String,
    sent: OffsetDateTime,
    /// Who received it last may delete it with this.
    receipt: Option<String>,
    hidden_until: OffsetDateTime,
    receptions: u64,
}

impl Queue {
    fn seconds(&self, attribute: &str, otherwise: i64) -> Duration {
        let given = self
            .attributes
            .get(attribute)
            .and_then(|text| text.parse::<u32>().ok());
        Duration::seconds(given.map_or(otherwise, i64::from))
    }

    fn forget_old(&mut self, now: OffsetDateTime) {
        let retention = self.seconds("MessageRetentionPeriod", RETENTION_SECONDS);
        self.messages
            .retain(|message| message.sent + retention > now);
    }
}

impl Sqs {
    /// No queues yet.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self {
            world,
            queues: Regional::default(),
        }
    }

    /// Every message that waits in the queue of this name, in whatever account and region.
    #[must_use]
    pub fn messages(&self, queue_name: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.queues.for_each(|_, _, queues| {
            let messages = queues.get(queue_name).map(|queue| queue.messages.iter());
            found.extend(
                messages
                    .into_iter()
                    .flatten()
                    .map(|message| message.body.clone()),
            );
        });
        found
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let body = request.json_body()?;
        let (caller, fields) = (&request.caller, Fields::new(&body));
        match request.json_operation().unwrap_or_default() {
            "CreateQueue" => self.create_queue(caller, fields),
            "DeleteQueue" => {
                let name = self.existing(caller, fields)?;
                self.queues.with(caller, |queues| queues.remove(&name));
                Ok(json!({}))
            }
            "ListQueues" => {
                Ok(self.list_queues(caller, fields.text("QueueNamePrefix")?.unwrap_or_default()))
            }
            "GetQueueUrl" => {
                let name = fields.required("QueueName")?;
                self.with_queue(caller, name, |_, _| ())?;
                Ok(json!({ "QueueUrl": queue_url(caller, name) }))
            }
            "GetQueueAttributes" => self.get_queue_attributes(caller, fields),
            "SetQueueAttributes" => self.set_queue_attributes(caller, fields),
            "SendMessage" => self.send_message(caller, fields),
            "ReceiveMessage" => self.receive_message(caller, fields),
            "DeleteMessage" => self.delete_message(caller, fields),
            "PurgeQueue" => {
                let name = self.existing(caller, fields)?;
                self.with_queue(caller, &name, |queue, _| queue.messages.clear())?;
                Ok(json!({}))
            }
            other => Err(ApiError::unknown_operation("SQS", other)),
        }
    }

    fn create_queue(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = fields.required("QueueName")?;
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if name.len() > 80 || !name.chars().all(allowed) {
            let text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length; the local cloud has no FIFO queues";
            return Err(ApiError::new(
                400,
                "com.amazonaws.sqs#InvalidParameterValue",
                text,
            ));
        }
        let attributes = attributes(fields)?;
        self.queues.with(caller, |queues| match queues.get(name) {
            Some(existing) if existing.attributes != attributes => {
                let text = format!("A queue already exists with the same name and a different value for an attribute: {name}");
                Err(ApiError::new(400, "com.amazonaws.sqs#QueueNameExists", text))
            }
            Some(_) => Ok(()),
            None => {
                let queue = Queue { attributes, ..Queue::default() };
                queues.insert(name.to_owned(), queue);
                Ok(())
            }
        })?;
        Ok(json!({ "QueueUrl": queue_url(caller, name) }))
    }

    fn list_queues(&self, caller: &Caller, prefix: &str) -> Value {
        let urls: Vec<String> = self.queues.with(caller, |queues| {
            let chosen = queues.keys().filter(|name| name.starts_with(prefix));
            chosen.map(|name| queue_url(caller, name)).collect()
        });
        json!({ "QueueUrls": urls })
    }

    fn get_queue_attributes(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = self.existing(caller, fields)?;
        let wanted = fields.texts("AttributeNames")?;
        let is_wanted = |attribute: &str| wanted.iter().any(|one| one == "All" || one == attribute);
        let mut attributes = self.with_queue(caller, &name, |queue, now| {
            let mut attributes = queue.attributes.clone();
            let (hidden, visible): (Vec<_>, Vec<_>) = queue
                .messages
                .iter()
                .partition(|message| message.hidden_until > now);
            attributes.insert(
                "ApproximateNumberOfMessages".to_owned(),
                visible.len().to_string(),
            );
            attributes.insert(
                "ApproximateNumberOfMessagesNotVisible".to_owned(),
                hidden.len().to_string(),
            );
            attributes
        })?;
        attributes.insert("QueueArn".to_owned(), queue_arn(caller, &name));
        attributes.retain(|attribute, _| is_wanted(attribute));
        Ok(json!({ "Attributes": attributes }))
    }

    fn set_queue_attributes(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = self.existing(caller, fields)?;
        let attributes = attributes(fields)?;
        self.with_queue(caller, &name, |queue, _| {
            queue.attributes.extend(attributes);
            // An empty text takes an attribute away.
            queue.attributes.retain(|_, value| !value.is_empty());
        })?;
        Ok(json!({}))
    }

    fn send_message(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = self.existing(caller, fields)?;
        let body = fields.required("MessageBody")?;
        if body.len() > MESSAGE_BYTES_MAX {
            let text = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {MESSAGE_BYTES_MAX} bytes."
            );
            return Err(ApiError::new(
                400,
                "com.amazonaws.sqs#InvalidParameterValue",
                text,
            ));
        }
        let id = self.uuid();
        self.with_queue(caller, &name, |queue, now| {
            queue.messages.push(QueuedMessage {
                id: id.clone(),
                body: body.to_owned(),
                sent: now,
                receipt: None,
                hidden_until: now,
                receptions: 0,
            });
        })?;
        Ok(json!({ "MessageId": id }))
    }

    fn receive_message(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = self.existing(caller, fields)?;
        let most = fields.integer("MaxNumberOfMessages")?.unwrap_or(1);
        let most = usize::try_from(most).unwrap_or_default().min(10);
        let hidden = fields.integer("VisibilityTimeout")?;
        if let Some(hidden) = hidden.filter(|seconds| !VISIBILITY_BOUNDS.contains(seconds)) {
            return Err(ApiError::new(
                400,
                "com.amazonaws.sqs#InvalidParameterValue",
                format!(
                    "Value {hidden} for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200, if provided."
                ),
            ));
        }
        let receipt = self.uuid();
        let messages: Vec<Value> = self.with_queue(caller, &name, |queue, now| {
            let hidden = hidden.map_or_else(
                || queue.seconds("VisibilityTimeout", VISIBILITY_SECONDS),
                Duration::seconds,
            );
            let visible = queue
                .messages
                .iter_mut()
                .filter(|message| message.hidden_until <= now);
            let received = visible.take(most).map(|message| {
                let receipt = format!("{receipt}/{}", message.id);
                message.hidden_until = now + hidden;
                message.receptions += 1;
                message.receipt = Some(receipt.clone());
                json!({
                    "MessageId": message.id,
                    "ReceiptHandle": receipt,
                    "Body": message.body,
                    "Attributes": { "ApproximateReceiveCount": message.receptions.to_string() },
                })
            });
            received.collect()
        })?;
        Ok(if messages.is_empty() {
            json!({})
        } else {
            json!({ "Messages": messages })
        })
    }

    fn delete_message(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = self.existing(caller, fields)?;
        let receipt = fields.required("ReceiptHandle")?;
        self.with_queue(caller, &name, |queue, _| {
            queue
                .messages
                .retain(|message| message.receipt.as_deref() != Some(receipt));
        })?;
        Ok(json!({}))
    }

    /// The name of the queue that the request's URL names, or its ARN, as other services have it.
    fn existing(&self, caller: &Caller, fields: Fields<'_>) -> Result<String, ApiError> {
        let url = fields.required("QueueUrl")?;
        let name = url.rsplit(['/', ':']).next().unwrap_or_default();
        self.with_queue(caller, name, |_, _| name.to_owned())
    }

    fn with_queue<R>(
        &self,
        caller: &Caller,
        name: &str,
        act: impl FnOnce(&mut Queue, OffsetDateTime) -> R,
    ) -> Result<R, ApiError> {
        let now = self
            .world
            .upgrade()
            .map_or(OffsetDateTime::UNIX_EPOCH, |world| world.now());
        let done = self.queues.with(caller, |queues| {
            let queue = queues.get_mut(name)?;
            queue.forget_old(now);
            Some(act(queue, now))
        });
        done.ok_or_else(|| {
            ApiError::new(
                400,
                "com.amazonaws.sqs#QueueDoesNotExist",
                "The specified queue does not exist.",
            )
        })
    }

    fn uuid(&self) -> String {
        self.world
            .upgrade()
            .map(|world| world.randomness().uuid())
            .unwrap_or_default()
    }
}

#[async_trait]
impl Service for Sqs {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error.to_json_response(),
        }
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let mut texts = Vec::new();
        self.queues.for_each(|account, region, queues| {
            for (name, queue) in queues {
                let place = format!("sqs {account}/{region} {name}");
                texts.extend(
                    queue
                        .messages
                        .iter()
                        .map(|message| RecordedText::new(&place, message.body.clone())),
                );
            }
        });
        texts
    }
}

fn attributes(fields: Fields<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let empty = serde_json::Map::new();
    let given = fields
        .value("Attributes")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let attribute = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        _ => Err(ApiError::new(
            400,
            "SerializationException",
            format!("`Attributes.{name}` must be a string"),
        )),
    };
    given.iter().map(attribute).collect()
}

fn queue_url(caller: &Caller, name: &str) -> String {
    format!(
        "https://sqs.{}.amazonaws.com/{}/{name}",
        caller.region, caller.account
    )
}

fn queue_arn(caller: &Caller, name: &str) -> String {
    format!("arn:aws:sqs:{}:{}:{name}", caller.region, caller.account)
}
