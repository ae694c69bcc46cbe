//! Fleets: many restores that one request asked for, and their record in the state table.
//!
//! A member's restore id is derived from the fleet's id, the member's number and the
//! attempt, so that the same fleet, started again, finds what it has done already.
//! Members are resolved once and recorded; profiles may change afterwards.

use serde_json::Value;
use time::OffsetDateTime;

use crate::errors::{AR0001, AR0099, StepError};
use crate::ledger::{self, Status, rfc3339};
use crate::names::RestoreId;
use crate::table::{Condition, Item, Table, Written};

/// Longest id of a fleet: with number and attempt it becomes a member's id, and with the time of another start an
/// execution's name of at most 80 characters.
pub const ID_LIMIT: usize = 50;

/// How many members are written at once: a transaction of DynamoDB takes 100 writes and 4 MB.
const WRITTEN_AT_ONCE: usize = 25;

/// The id of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetId(String);

impl FleetId {
    /// Accepts 1 to 50 letters, digits, hyphens and underscores.
    ///
    /// # Errors
    /// AR0001 naming the value.
    pub fn parse(id: &str) -> Result<Self, StepError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=ID_LIMIT).contains(&id.len()) && id.chars().all(allowed) {
            return Ok(Self(id.to_owned()));
        }
        Err(StepError::new(
            &AR0001,
            format!(
                "fleet id `{id}`, expected 1 to {ID_LIMIT} letters, digits, hyphens or underscores: with a member's \
                 number it becomes a restore's id"
            ),
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The restore id of a member: its number, counted from 1, and the attempt if it is not the first.
    ///
    /// # Errors
    /// AR0001 when it would be too long for a restore's id.
    pub fn member(&self, number: u32, attempt: u32) -> Result<RestoreId, StepError> {
        let again = match attempt {
            0 | 1 => String::new(),
            attempt => format!("-again-{attempt}"),
        };
        RestoreId::parse(&format!("{}-{number}{again}", self.0))
    }

    fn key(&self) -> String {
        format!("FLEET#{}", self.0)
    }
}

/// One restore of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Counted from 1.
    pub number: u32,
    /// Counted from 1: the next one begins when the fleet is started again after this one failed clean.
    pub attempt: u32,
    /// The restore's id.
    pub restore_id: RestoreId,
    /// The input of its execution: a request, or a profile's name and what is laid over it.
    pub input: Value,
    /// The cluster that it makes.
    pub target: String,
    /// How many instances that has.
    pub instances: u32,
    /// Whether the cluster is removed as soon as it is proved (`expiresAfterHours` is 0).
    pub removed_when_proved: bool,
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `None` before its first record.
    pub status: Option<Status>,
    /// The documented code, when it failed.
    pub error: Option<String>,
    /// When it was planned (RFC 3339).
    pub started_at: Option<String>,
    /// When it ended (RFC 3339).
    pub ended_at: Option<String>,
}

/// How many members stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// All of them.
    pub members: usize,
    /// Proved.
    pub restored: usize,
    /// Failed, with nothing left behind.
    pub failed_clean: usize,
    /// Failed, with something left behind.
    pub failed_dirty: usize,
    /// Without an end on record: under way, or never begun.
    pub without_end: usize,
}

impl Tally {
    /// Adds a member.
    pub fn count(&mut self, status: Option<Status>) {
        self.members += 1;
        match status {
            Some(Status::Restored) => self.restored += 1,
            Some(Status::FailedClean) => self.failed_clean += 1,
            Some(Status::FailedDirty) => self.failed_dirty += 1,
            Some(Status::Running) | None => self.without_end += 1,
        }
    }

    /// Whether every member is proved.
    pub fn is_whole(&self) -> bool {
        self.restored == self.members
    }

    /// In words: `497 of 500 restored; 2 FailedClean, 1 FailedDirty, 0 without an end`.
    pub fn in_words(&self) -> String {
        format!(
            "{} of {} restored; {} FailedClean, {} FailedDirty, {} without an end",
            self.restored, self.members, self.failed_clean, self.failed_dirty, self.without_end
        )
    }
}

/// A fleet on record.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Its id.
    pub id: FleetId,
    /// The execution that was started last.
    pub execution_arn: String,
    /// What it was asked for, as text: another request must not take its id.
    pub asked: String,
    /// When it was planned first (RFC 3339).
    pub started_at: String,
    /// `Running`, `Restored` or `Failed`.
    pub status: String,
    /// When it ended last (RFC 3339).
    pub ended_at: Option<String>,
    /// Its members by number.
    pub members: Vec<Member>,
}

impl Fleet {
    /// The fleet of this id; `None` before it is recorded.
    ///
    /// # Errors
    /// What DynamoDB refuses; AR0099 when the record is not as it was written.
    pub async fn find(table: &Table, id: &FleetId) -> Result<Option<Self>, StepError> {
        let Some(meta) = table.get(&id.key(), "META").await? else {
            return Ok(None);
        };
        let text = |name: &str| meta.text(name).unwrap_or_default().to_owned();
        let items = table.query(&id.key(), "MEMBER#").await?;
        let members = items
            .iter()
            .map(|item| member(id, item))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self {
            id: id.clone(),
            execution_arn: text("executionArn"),
            asked: text("asked"),
            started_at: text("startedAt"),
            status: text("fleetStatus"),
            ended_at: meta.text("endedAt").map(str::to_owned),
            members,
        }))
    }

    /// Records a fleet: its members, then itself, so that a fleet on record is a whole one. `false` when another
    /// execution recorded one of this id meanwhile.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn begin(&self, table: &Table, at: OffsetDateTime) -> Result<bool, StepError> {
        for members in self.members.chunks(WRITTEN_AT_ONCE) {
            let puts = members.iter().map(|member| (self.item(member, at), None));
            table.write(puts.collect(), None).await?;
        }
        let written = table.put(self.meta(at), Some(Condition::absent())).await?;
        Ok(written == Written::Yes)
    }

    /// Records that another execution takes the fleet up, and the members it tries again.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn begin_again(&self, table: &Table, at: OffsetDateTime) -> Result<(), StepError> {
        for members in self.members.chunks(WRITTEN_AT_ONCE) {
            let puts = members.iter().map(|member| (self.item(member, at), None));
            table.write(puts.collect(), None).await?;
        }
        table.put(self.meta(at), None).await.map(drop)
    }

    /// Records how the fleet ended.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn end(
        &mut self,
        table: &Table,
        tally: &Tally,
        at: OffsetDateTime,
    ) -> Result<(), StepError> {
        let ended = if tally.is_whole() {
            "Restored"
        } else {
            "Failed"
        };
        ended.clone_into(&mut self.status);
        self.ended_at = Some(rfc3339(at));
        table.put(self.meta(at), None).await.map(drop)
    }

    /// How each member stands.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn standings(&self, table: &Table) -> Result<(Vec<Standing>, Tally), StepError> {
        let (mut standings, mut tally) = (Vec::new(), Tally::default());
        for member in &self.members {
            let standing = standing(table, &member.restore_id).await?;
            tally.count(standing.status);
            standings.push(standing);
        }
        Ok((standings, tally))
    }

    fn meta(&self, at: OffsetDateTime) -> Item {
        Item::key(&self.id.key(), "META")
            .with("fleetId", self.id.as_str())
            .with("executionArn", &self.execution_arn)
            .with("asked", &self.asked)
            .with("startedAt", &self.started_at)
            .with("fleetStatus", &self.status)
            .with_some("endedAt", self.ended_at.as_deref())
            .kept_from(at)
    }

    fn item(&self, member: &Member, at: OffsetDateTime) -> Item {
        Item::key(&self.id.key(), &format!("MEMBER#{:05}", member.number))
            .with_number("number", member.number.into())
            .with_number("attempt", member.attempt.into())
            .with("restoreId", member.restore_id.as_str())
            .with("input", member.input.to_string())
            .with("targetCluster", &member.target)
            .with_number("instances", member.instances.into())
            .with("removedWhenProved", member.removed_when_proved.to_string())
            .kept_from(at)
    }
}

fn member(fleet: &FleetId, item: &Item) -> Result<Member, StepError> {
    let broken = || {
        StepError::new(
            &AR0099,
            format!(
                "a member of fleet `{}` is not as it was written",
                fleet.as_str()
            ),
        )
    };
    let number = |name: &str| {
        let number = item
            .number(name)
            .and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(broken)
    };
    let text = |name: &str| item.text(name).ok_or_else(broken);
    Ok(Member {
        number: number("number")?,
        attempt: number("attempt")?,
        restore_id: RestoreId::parse(text("restoreId")?)?,
        input: serde_json::from_str(text("input")?).map_err(|_| broken())?,
        target: text("targetCluster")?.to_owned(),
        instances: number("instances")?,
        removed_when_proved: text("removedWhenProved")? == "true",
    })
}

/// How a restore stands, by its record.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn standing(table: &Table, id: &RestoreId) -> Result<Standing, StepError> {
    let item = table.get(&ledger::restore_key(id.as_str()), "META").await?;
    let text = |name: &str| item.as_ref()?.text(name).map(str::to_owned);
    let ending = ledger::ending(table, id).await?;
    let status = match (&ending, &item) {
        (Some(ending), _) => Some(ending.status),
        (None, Some(_)) => Some(Status::Running),
        (None, None) => None,
    };
    Ok(Standing {
        status,
        error: ending.and_then(|ending| ending.error),
        started_at: text("startedAt"),
        ended_at: text("endedAt").filter(|at| !at.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_called_after_their_fleet_their_number_and_their_attempt() {
        let fleet = FleetId::parse("weekly").unwrap();
        assert_eq!(fleet.member(7, 1).unwrap().as_str(), "weekly-7");
        assert_eq!(fleet.member(7, 2).unwrap().as_str(), "weekly-7-again-2");
    }

    #[test]
    fn the_longest_fleet_id_leaves_room_for_its_members() {
        let longest = FleetId::parse(&"x".repeat(ID_LIMIT)).unwrap();
        assert!(longest.member(99_999, 99).is_ok());
        for refused in ["", "a b", "a.b", &"x".repeat(ID_LIMIT + 1)] {
            assert_eq!(FleetId::parse(refused).unwrap_err().code().id, "AR0001");
        }
    }
}
