//! Telling people something once.
//!
//! Nobody can publish and note it in one breath. Who is about to tell takes it upon
//! itself first; that it was told is noted after. A function that dies in between
//! leaves it to another, some minutes later: a message may come late, seldom twice, and
//! never in a storm.

use time::OffsetDateTime;

use crate::errors::StepError;
use crate::ledger::rfc3339;
use crate::table::{Condition, Item, Table, Written};

/// Whoever began to tell is given this long before another may try: longer than any function runs that tells.
const TELLING_TAKES: time::Duration = time::Duration::minutes(6);

/// Something that people are told once: its place in the state table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    pk: String,
    sk: String,
}

impl Once {
    /// What this partition tells under this name.
    pub fn new(pk: impl Into<String>, name: &str) -> Self {
        Self {
            pk: pk.into(),
            sk: format!("TOLD#{name}"),
        }
    }

    /// Takes it upon oneself to tell; `false` when it was told, or somebody is about to.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn claim(&self, table: &Table, now: OffsetDateTime) -> Result<bool, StepError> {
        if table
            .get(&self.pk, &self.sk)
            .await?
            .is_some_and(|item| !is_abandoned(&item, now))
        {
            return Ok(false);
        }
        let unclaimed = Condition::new(
            "attribute_not_exists(pk) OR (attribute_not_exists(#toldAt) AND #claimedAt < :abandoned)",
        )
        .name("toldAt")
        .name("claimedAt")
        .number("abandoned", (now - TELLING_TAKES).unix_timestamp());
        let written = table.put(self.item(now), Some(unclaimed)).await?;
        Ok(written == Written::Yes)
    }

    /// Notes that it was told.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn told(&self, table: &Table, now: OffsetDateTime) -> Result<(), StepError> {
        let item = self.item(now).with("toldAt", rfc3339(now));
        table.put(item, None).await.map(|_| ())
    }

    /// Notes that it could not be told, so that the next try need not wait.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn untold(&self, table: &Table) -> Result<(), StepError> {
        table.delete(&self.pk, &self.sk).await
    }

    fn item(&self, now: OffsetDateTime) -> Item {
        Item::key(&self.pk, &self.sk)
            .with_number("claimedAt", now.unix_timestamp())
            .kept_from(now)
    }
}

fn is_abandoned(item: &Item, now: OffsetDateTime) -> bool {
    let claimed = item.number("claimedAt").unwrap_or_default();
    item.text("toldAt").is_none() && claimed < (now - TELLING_TAKES).unix_timestamp()
}
