//! Fleets: many restores that one request asked for, and their record in the state table.
//!
//! A member's restore id is derived from the fleet's id, the member's number and the
//! attempt, so that the same fleet, started again, finds what it has done already.
//! Members are resolved once and recorded; profiles may change afterwards.
//!
//! A record is made whole or not at all: members first, under a key that only the
//! fleet's own item names, then that item, if it is still as it was read. Two that
//! start one fleet at once do not mix, and what a start left that died is never read.

use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::errors::{AR0001, AR0034, AR0099, StepError};
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
    /// The input of its execution, but for who asks: a request, or a profile's name and what is laid over it.
    pub input: Value,
    /// The cluster that the data is of.
    pub source: String,
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
    /// `None` before its first record, and where the record is another restore's.
    pub status: Option<Status>,
    /// The documented code, when it failed; AR0034 where another restore has its id.
    pub error: Option<String>,
    /// When it was planned (RFC 3339).
    pub started_at: Option<String>,
    /// When it ended (RFC 3339).
    pub ended_at: Option<String>,
}

impl Standing {
    /// Whether another restore has the member's id: an earlier one, or one of something else.
    pub fn is_taken(&self) -> bool {
        self.status.is_none() && self.error.is_some()
    }
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
    /// When that started, as Step Functions tells it: a name, and so an ARN, can be used again after 90 days.
    pub execution_started_at: String,
    /// When its first execution started, as Step Functions tells it.
    pub started_at: String,
    /// `Running`, `Restored` or `Failed`.
    pub status: String,
    /// When it ended last (RFC 3339).
    pub ended_at: Option<String>,
    /// Its members by number.
    pub members: Vec<Member>,
    /// What the keys of its members begin with.
    members_key: String,
}

impl Fleet {
    /// A fleet that an execution begins, started then as Step Functions tells it.
    pub fn begun_by(
        id: FleetId,
        execution_arn: &str,
        started_at: &str,
        members: Vec<Member>,
    ) -> Self {
        Self {
            id,
            execution_arn: execution_arn.to_owned(),
            execution_started_at: started_at.to_owned(),
            started_at: started_at.to_owned(),
            status: Status::Running.name().to_owned(),
            ended_at: None,
            members_key: members_key(execution_arn, started_at, &members),
            members,
        }
    }

    /// This fleet as another execution takes it up, with its members as they are then.
    #[must_use]
    pub fn taken_up_by(&self, execution_arn: &str, started_at: &str, members: Vec<Member>) -> Self {
        Self {
            started_at: self.started_at.clone(),
            ..Self::begun_by(self.id.clone(), execution_arn, started_at, members)
        }
    }

    /// The fleet of this id; `None` before it is recorded.
    ///
    /// # Errors
    /// What DynamoDB refuses; AR0099 when the record is not as it was written.
    pub async fn find(table: &Table, id: &FleetId) -> Result<Option<Self>, StepError> {
        let Some(meta) = table.get(&id.key(), "META").await? else {
            return Ok(None);
        };
        let text = |name: &str| meta.text(name).unwrap_or_default().to_owned();
        let items = table.query(&id.key(), &text("membersKey")).await?;
        let members: Vec<Member> = items
            .iter()
            .map(|item| member(id, item))
            .collect::<Result<_, _>>()?;
        if meta.number("members") != i64::try_from(members.len()).ok() {
            return Err(broken(id));
        }
        Ok(Some(Self {
            id: id.clone(),
            execution_arn: text("executionArn"),
            execution_started_at: text("executionStartedAt"),
            started_at: text("startedAt"),
            status: text("fleetStatus"),
            ended_at: meta.text("endedAt").map(str::to_owned),
            members,
            members_key: text("membersKey"),
        }))
    }

    /// Whether this execution was the last to be started.
    pub fn belongs_to(&self, execution_arn: &str, started_at: &str) -> bool {
        self.execution_arn == execution_arn && self.execution_started_at == started_at
    }

    /// Records a fleet, in place of `before` if it is still as that was read. `Refused` when somebody recorded one of
    /// this id meanwhile, or this very call did and its answer was lost.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn record(
        &self,
        table: &Table,
        before: Option<&Self>,
        at: OffsetDateTime,
    ) -> Result<Written, StepError> {
        for members in self.members.chunks(WRITTEN_AT_ONCE) {
            let items = members.iter().map(|member| self.item(member, at));
            let puts = items.map(|item| (item, None)).collect();
            table.write(puts, None).await?;
        }
        let unchanged = before.map_or_else(Condition::absent, Self::is_as_read);
        table.put(self.meta(at), Some(unchanged)).await
    }

    /// Records how the fleet ended: `whole` when every member is restored and nothing kept it from its end. `Refused`
    /// when another execution took it up meanwhile.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn end(
        &mut self,
        table: &Table,
        whole: bool,
        at: OffsetDateTime,
    ) -> Result<Written, StepError> {
        let ended = if whole { "Restored" } else { "Failed" };
        ended.clone_into(&mut self.status);
        self.ended_at = Some(rfc3339(at));
        table.put(self.meta(at), Some(self.is_as_read())).await
    }

    /// How each member stands.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn standings(&self, table: &Table) -> Result<(Vec<Standing>, Tally), StepError> {
        let (mut standings, mut tally) = (Vec::new(), Tally::default());
        for member in &self.members {
            let standing = self.standing(table, member).await?;
            tally.count(standing.status);
            standings.push(standing);
        }
        Ok((standings, tally))
    }

    /// How a member stands, by its restore's record.
    async fn standing(&self, table: &Table, member: &Member) -> Result<Standing, StepError> {
        let Some(item) = restore_record(table, &member.restore_id).await? else {
            return Ok(Standing {
                status: None,
                error: None,
                started_at: None,
                ended_at: None,
            });
        };
        let text = |name: &str| item.text(name).map(str::to_owned);
        let ended_at = text("endedAt").filter(|at| !at.is_empty());
        if !self.asked_for(member, &item) {
            return Ok(Standing {
                status: None,
                error: Some(AR0034.id.to_owned()),
                started_at: text("startedAt"),
                ended_at,
            });
        }
        let ending = ledger::ending_in(&item)?;
        Ok(Standing {
            status: Some(ending.as_ref().map_or(Status::Running, |it| it.status)),
            error: ending.and_then(|ending| ending.error),
            started_at: text("startedAt"),
            ended_at,
        })
    }

    /// Whether a restore's record is of what this fleet asked for: of a restore that began after the fleet did, of the
    /// member's source into the member's target. One that failed before it was planned has neither of the two.
    fn asked_for(&self, member: &Member, item: &Item) -> bool {
        let same = |name: &str, asked: &str| {
            let found = item.text(name).filter(|found| !found.is_empty());
            let found = found.and_then(|found| found.rsplit(':').next());
            found.is_none_or(|found| found.eq_ignore_ascii_case(asked))
        };
        let began = item.text("executionStartedAt").or(item.text("startedAt"));
        began.and_then(ledger::time) >= ledger::time(&self.started_at)
            && same("sourceCluster", &member.source)
            && same("target", &member.target)
    }

    fn is_as_read(&self) -> Condition {
        Condition::new("#executionArn = :arn AND #executionStartedAt = :started")
            .name("executionArn")
            .name("executionStartedAt")
            .value("arn", &self.execution_arn)
            .value("started", &self.execution_started_at)
    }

    fn meta(&self, at: OffsetDateTime) -> Item {
        let count = i64::try_from(self.members.len()).unwrap_or(i64::MAX);
        Item::key(&self.id.key(), "META")
            .with("fleetId", self.id.as_str())
            .with("executionArn", &self.execution_arn)
            .with("executionStartedAt", &self.execution_started_at)
            .with("startedAt", &self.started_at)
            .with("fleetStatus", &self.status)
            .with("membersKey", &self.members_key)
            .with_number("members", count)
            .with_some("endedAt", self.ended_at.as_deref())
            .kept_from(at)
    }

    fn item(&self, member: &Member, at: OffsetDateTime) -> Item {
        let sort_key = format!("{}{:05}", self.members_key, member.number);
        Item::key(&self.id.key(), &sort_key)
            .with_number("number", member.number.into())
            .with_number("attempt", member.attempt.into())
            .with("restoreId", member.restore_id.as_str())
            .with("input", member.input.to_string())
            .with("sourceCluster", &member.source)
            .with("targetCluster", &member.target)
            .with_number("instances", member.instances.into())
            .with("removedWhenProved", member.removed_when_proved.to_string())
            .kept_from(at)
    }
}

/// What the keys of members begin with: another for other members, and for another execution's.
fn members_key(execution_arn: &str, started_at: &str, members: &[Member]) -> String {
    let hash = Sha256::digest(format!("{execution_arn} {started_at} {members:?}"));
    let digits: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("MEMBER#{digits}#")
}

/// The record of a restore of this id; `None` when there is none.
async fn restore_record(table: &Table, id: &RestoreId) -> Result<Option<Item>, StepError> {
    table.get(&ledger::restore_key(id.as_str()), "META").await
}

/// Whether a restore of this id is on record.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn is_used(table: &Table, id: &RestoreId) -> Result<bool, StepError> {
    Ok(restore_record(table, id).await?.is_some())
}

fn broken(fleet: &FleetId) -> StepError {
    let text = format!(
        "the record of fleet `{}` is not as it was written",
        fleet.as_str()
    );
    StepError::new(&AR0099, text)
}

fn member(fleet: &FleetId, item: &Item) -> Result<Member, StepError> {
    let broken = || broken(fleet);
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
        source: text("sourceCluster")?.to_owned(),
        target: text("targetCluster")?.to_owned(),
        instances: number("instances")?,
        removed_when_proved: text("removedWhenProved")? == "true",
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
