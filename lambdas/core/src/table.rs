//! The state table: one DynamoDB table for plans, ledgers, locks and wake tokens.
//!
//! Items are flat: strings, numbers, and JSON in strings. Every read is strongly
//! consistent. This module knows keys and conditions; what the items mean is the
//! [`ledger`](crate::ledger)'s.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use time::OffsetDateTime;

use crate::errors::{StepError, wire_code};

/// Partition key.
pub const PK: &str = "pk";
/// Sort key.
pub const SK: &str = "sk";
/// Time-to-live attribute, in seconds since 1970. Locks and intents never carry it.
pub const TTL: &str = "expiresAt";

/// Records of finished restores are kept this long.
const KEPT_FOR: time::Duration = time::Duration::days(400);

fn expiry(at: OffsetDateTime) -> i64 {
    (at + KEPT_FOR).unix_timestamp()
}

/// Which items of an index come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those that started first.
    OldestFirst,
    /// Those that started last.
    NewestFirst,
}

/// One item of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item(pub HashMap<String, AttributeValue>);

impl Item {
    /// An item with this key.
    pub fn key(pk: &str, sk: &str) -> Self {
        Self::default().with(PK, pk).with(SK, sk)
    }

    /// With a text attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0
            .insert(name.to_owned(), AttributeValue::S(value.into()));
        self
    }

    /// With a text attribute, when there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a number attribute.
    #[must_use]
    pub fn with_number(mut self, name: &str, value: i64) -> Self {
        self.0
            .insert(name.to_owned(), AttributeValue::N(value.to_string()));
        self
    }

    /// Kept for 400 days from then: for records of what happened, never for locks or intents.
    #[must_use]
    pub fn kept_from(self, at: OffsetDateTime) -> Self {
        self.with_number(TTL, expiry(at))
    }

    /// A text attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_s().ok().map(String::as_str)
    }

    /// A number attribute.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_n().ok()?.parse().ok()
    }
}

/// A condition on one item: an expression over `#name` and `:value` placeholders.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    expression: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Condition {
    /// The item does not exist.
    pub fn absent() -> Self {
        Self {
            expression: "attribute_not_exists(pk)".to_owned(),
            ..Self::default()
        }
    }

    /// An expression; every placeholder must be bound with [`Self::name`] or [`Self::value`].
    pub fn new(expression: &str) -> Self {
        Self {
            expression: expression.to_owned(),
            ..Self::default()
        }
    }

    /// Binds `#name` to the attribute of that name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.names.insert(format!("#{name}"), name.to_owned());
        self
    }

    /// Binds `:placeholder` to a text.
    #[must_use]
    pub fn value(mut self, placeholder: &str, value: impl Into<String>) -> Self {
        self.values
            .insert(format!(":{placeholder}"), AttributeValue::S(value.into()));
        self
    }

    /// Binds `:placeholder` to a number.
    #[must_use]
    pub fn number(mut self, placeholder: &str, value: i64) -> Self {
        self.values.insert(
            format!(":{placeholder}"),
            AttributeValue::N(value.to_string()),
        );
        self
    }
}

/// How a conditional write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it was written.
    Yes,
    /// A condition did not hold; nothing was written.
    Refused,
}

/// The state table.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// The table of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// One item.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, StepError> {
        let key = Item::key(pk, sk).0;
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.item.map(Item)),
            Err(error) => Err(StepError::from_sdk(
                format!("read `{pk}/{sk}` from table `{}`", self.name),
                error,
            )),
        }
    }

    /// Asks for what of a partition has a sort key that starts with `prefix`.
    fn partition(&self, pk: &str, prefix: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned()))
            .consistent_read(true)
    }

    /// All items of a partition whose sort key starts with `prefix`, in order of sort key.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn query(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, StepError> {
        let query = self.partition(pk, prefix);
        let mut pages = query.into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(Item(item.map_err(|error| {
                StepError::from_sdk(format!("read `{pk}` from table `{}`", self.name), error)
            })?));
        }
        Ok(items)
    }

    /// The first items, at most this many, of a partition whose sort key starts with `prefix`, in order of sort key.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn first(&self, pk: &str, prefix: &str, most: i32) -> Result<Vec<Item>, StepError> {
        let found = self.partition(pk, prefix).limit(most).send().await;
        let found = found.map_err(|error| {
            StepError::from_sdk(format!("read `{pk}` from table `{}`", self.name), error)
        })?;
        let items = found.items.unwrap_or_default();
        Ok(items.into_iter().map(Item).collect())
    }

    /// At most this many items whose attribute, the key of this index, has this value, in order of their start.
    ///
    /// An index is read as it was a moment ago: what it says is a hint to look.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn query_index(
        &self,
        index: &str,
        key: (&str, &str),
        order: Order,
        most: i32,
    ) -> Result<Vec<Item>, StepError> {
        let (items, _) = self.page_of_index(index, key, order, most, None).await?;
        Ok(items)
    }

    /// As [`Table::query_index`], beginning after the item with the key `after`; and the key to go on after, when
    /// there may be more.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn page_of_index(
        &self,
        index: &str,
        (attribute, value): (&str, &str),
        order: Order,
        most: i32,
        after: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StepError> {
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(index)
            .key_condition_expression("#attribute = :value")
            .expression_attribute_names("#attribute", attribute)
            .expression_attribute_values(":value", AttributeValue::S(value.to_owned()))
            .scan_index_forward(order == Order::OldestFirst)
            .limit(most)
            .set_exclusive_start_key(after.map(|item| item.0))
            .send()
            .await;
        let found = found.map_err(|error| {
            StepError::from_sdk(
                format!("read the index `{index}` of table `{}`", self.name),
                error,
            )
        })?;
        let items = found.items.unwrap_or_default();
        let next = found.last_evaluated_key.filter(|key| !key.is_empty());
        Ok((items.into_iter().map(Item).collect(), next.map(Item)))
    }

    /// Deletes one item, if it is there.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn delete(&self, pk: &str, sk: &str) -> Result<(), StepError> {
        self.client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(Item::key(pk, sk).0))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StepError::from_sdk(format!("delete `{pk}/{sk}`"), error))
    }

    /// Writes one item, replacing it whole.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn put(
        &self,
        item: Item,
        condition: Option<Condition>,
    ) -> Result<Written, StepError> {
        let mut request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item.0));
        if let Some(condition) = condition {
            request = request
                .condition_expression(condition.expression)
                .set_expression_attribute_names(none_if_empty(condition.names))
                .set_expression_attribute_values(none_if_empty(condition.values));
        }
        match request.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) if wire_code(&error) == Some("ConditionalCheckFailedException") => {
                Ok(Written::Refused)
            }
            Err(error) => Err(StepError::from_sdk(
                format!("write to table `{}`", self.name),
                error,
            )),
        }
    }

    /// Writes all of `puts` or nothing, while `guard` holds on the item of that key.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn write(
        &self,
        puts: Vec<(Item, Option<Condition>)>,
        guard: Option<(Item, Condition)>,
    ) -> Result<Written, StepError> {
        let mut actions = Vec::new();
        if let Some((key, condition)) = guard {
            let check = ConditionCheck::builder()
                .table_name(&self.name)
                .set_key(Some(key.0))
                .condition_expression(condition.expression)
                .set_expression_attribute_names(none_if_empty(condition.names))
                .set_expression_attribute_values(none_if_empty(condition.values))
                .build()
                .map_err(|error| {
                    StepError::defect("a condition of ours is incomplete").caused_by(error)
                })?;
            actions.push(TransactWriteItem::builder().condition_check(check).build());
        }
        for (item, condition) in puts {
            let mut put = Put::builder().table_name(&self.name).set_item(Some(item.0));
            if let Some(condition) = condition {
                put = put
                    .condition_expression(condition.expression)
                    .set_expression_attribute_names(none_if_empty(condition.names))
                    .set_expression_attribute_values(none_if_empty(condition.values));
            }
            let put = put.build().map_err(|error| {
                StepError::defect("an item of ours is incomplete").caused_by(error)
            })?;
            actions.push(TransactWriteItem::builder().put(put).build());
        }
        match self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .send()
            .await
        {
            Ok(_) => Ok(Written::Yes),
            Err(error) if condition_failed(&error) => Ok(Written::Refused),
            Err(error) => Err(StepError::from_sdk(
                format!("write to table `{}`", self.name),
                error,
            )),
        }
    }
}

/// A cancelled transaction is a refused condition only when a reason says so; otherwise it was contention.
fn condition_failed<R>(
    error: &aws_sdk_dynamodb::error::SdkError<
        aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError,
        R,
    >,
) -> bool {
    use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException;
    match error.as_service_error() {
        Some(TransactionCanceledException(cancelled)) => {
            let reasons = cancelled.cancellation_reasons();
            reasons
                .iter()
                .any(|reason| reason.code() == Some("ConditionalCheckFailed"))
                || reasons.is_empty()
                    && cancelled
                        .message()
                        .is_some_and(|text| text.contains("ConditionalCheckFailed"))
        }
        _ => false,
    }
}

fn none_if_empty<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

impl Table {
    /// Adds one attempt to a step's record: attempts and work add up, outcome and times are the last attempt's.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn add_attempt(
        &self,
        pk: &str,
        sk: &str,
        record: &crate::ledger::StepRecord<'_>,
        ended_at: OffsetDateTime,
    ) -> Result<(), StepError> {
        let text = |value: String| AttributeValue::S(value);
        let (outcome, detail) = match record.outcome {
            Ok(answer) => ("done", answer.to_string()),
            Err(error) => (error.kind().name(), error.to_string()),
        };
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Item::key(pk, sk).0))
            .update_expression(
                "SET #state = :state, startedAt = if_not_exists(startedAt, :started), endedAt = :ended, \
                 outcome = :outcome, detail = :detail, expiresAt = :expires ADD attempts :one, workedMillis :worked",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", text(record.state.to_owned()))
            .expression_attribute_values(":started", text(crate::ledger::rfc3339(record.started_at)))
            .expression_attribute_values(":ended", text(crate::ledger::rfc3339(ended_at)))
            .expression_attribute_values(":outcome", text(outcome.to_owned()))
            .expression_attribute_values(":detail", text(detail))
            .expression_attribute_values(":expires", AttributeValue::N(expiry(ended_at).to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":worked", AttributeValue::N(record.worked_millis.to_string()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StepError::from_sdk(format!("record `{sk}`"), error))
    }
}
