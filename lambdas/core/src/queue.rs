//! The queue of snapshot copies: first come, first served, across executions.
//!
//! RDS copies five cluster snapshots at a time to a region of an account, and keeps a
//! hundred manual ones (Aurora User Guide, "Copying a DB cluster snapshot" and "Quotas").
//! Each restore takes a ticket per region it copies to. Whose turn it is follows from the
//! tickets before it and from what RDS shows, strangers' copies included; nobody keeps a
//! count that could be wrong. Whoever leaves wakes the next one by its task token; where
//! that is lost, the next one's own heartbeat finds out.
//!
//! A ticket goes when its copy is made, by Undo, or, of a restore that has ended, by
//! whoever waits behind it.

use std::collections::HashSet;

use aws_sdk_rds::types::DbClusterSnapshot;
use serde_json::json;
use time::OffsetDateTime;

use crate::errors::{StepError, wire_code};
use crate::ledger::{self, Restore, restore_key, rfc3339};
use crate::names::RestoreId;
use crate::ownership;
use crate::plan::SnapshotCopy;
use crate::status::{self, Meaning};
use crate::step::Context;
use crate::table::{Condition, Item, Table, Written};

/// Copies that RDS has in progress per account and destination region.
pub const MOST_COPIES: usize = 5;

/// Seconds between two looks of who waits for its turn: it is woken, and this is the safety net.
pub const HEARTBEAT_SECONDS: u32 = 600;

/// Tickets that one look reads. Of those before the one whose turn it is, at most [`MOST_COPIES`] are copying or about
/// to, and as many may be copied and not gone yet.
const HEAD: i32 = 12;

/// Tickets begin so, and then with the time of joining: their order is the order of turns.
const TICKETS: &str = "TICKET#";

/// A place in the queue of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    key: String,
    restore_id: String,
    copy_arn: String,
    joined_at: OffsetDateTime,
    state: State,
}

/// How far a ticket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Others are before it, or copying.
    Waiting,
    /// Likewise, and there is no room for another snapshot.
    WaitingForRoom,
    /// Its copy is being asked for, or was.
    Copying,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::WaitingForRoom => "waiting-for-room",
            Self::Copying => "copying",
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "copying" => Self::Copying,
            "waiting-for-room" => Self::WaitingForRoom,
            _ => Self::Waiting,
        }
    }
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Ours.
    Now,
    /// Others'; a word for the log.
    Later(String),
    /// Nobody's: the quota of snapshots is used up, and no restore will free any of it.
    Never(String),
}

/// What was freed, and so who is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// A copy is no longer in progress.
    Copy,
    /// A snapshot is gone.
    Snapshot,
}

fn queue_key(region: &str) -> String {
    format!("COPIES#{region}")
}

fn own_key(region: &str) -> String {
    format!("{TICKETS}{region}")
}

impl Ticket {
    fn new(restore_id: &str, copy: &SnapshotCopy, joined_at: OffsetDateTime) -> Self {
        Self {
            key: format!(
                "{TICKETS}{:020}#{restore_id}",
                joined_at.unix_timestamp_nanos()
            ),
            restore_id: restore_id.to_owned(),
            copy_arn: copy.arn.clone(),
            joined_at,
            state: State::Waiting,
        }
    }

    fn item(&self, region: &str) -> Item {
        Item::key(&queue_key(region), &self.key)
            .with("restoreId", &self.restore_id)
            .with("copy", &self.copy_arn)
            .with("joinedAt", rfc3339(self.joined_at))
            .with("state", self.state.name())
    }

    fn read(item: &Item) -> Option<Self> {
        Some(Self {
            key: item.text("sk")?.to_owned(),
            restore_id: item.text("restoreId")?.to_owned(),
            copy_arn: item.text("copy")?.to_owned(),
            joined_at: ledger::time(item.text("joinedAt")?)?,
            state: State::named(item.text("state")?),
        })
    }

    /// When it was taken: from then counts how long a copy may take.
    pub fn joined_at(&self) -> OffsetDateTime {
        self.joined_at
    }
}

/// The ticket that this restore took for this copy; none before it did, and none after it left.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn ticket(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<Option<Ticket>, StepError> {
    let id = &restore.plan().restore_id;
    let own = context
        .table()
        .get(&restore_key(id), &own_key(&copy.region))
        .await?;
    let joined_at = own
        .filter(|own| own.text("leftAt").is_none())
        .and_then(|own| ledger::time(own.text("joinedAt")?));
    Ok(joined_at.map(|at| Ticket::new(id, copy, at)))
}

/// Takes a ticket, or finds the one taken before.
///
/// # Errors
/// AR0014 when the lock was lost.
pub async fn join(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<Ticket, StepError> {
    if let Some(ticket) = ticket(context, restore, copy).await? {
        return Ok(ticket);
    }
    let id = &restore.plan().restore_id;
    let ticket = Ticket::new(id, copy, context.clock.now());
    let own = Item::key(&restore_key(id), &own_key(&copy.region))
        .with("joinedAt", rfc3339(ticket.joined_at))
        .kept_from(ticket.joined_at);
    restore
        .write_all(vec![(own, None), (ticket.item(&copy.region), None)])
        .await?;
    Ok(ticket)
}

/// Looks whose turn it is. Tickets of ended restores that stand in the way are removed.
///
/// # Errors
/// What DynamoDB or RDS refuses.
pub async fn turn(
    context: &Context,
    ticket: &Ticket,
    copy: &SnapshotCopy,
) -> Result<Turn, StepError> {
    let table = context.table();
    let (mut before, found) = before(&table, ticket, &copy.region).await?;
    let Some(mine) = found else {
        remove_ended(&table, &copy.region, before.first()).await?;
        return Ok(Turn::Later(format!("more than {HEAD} are before it")));
    };
    // The tickets first: a copy that is made in between counts twice at worst, and never not at all.
    let shown = Shown::now(context, &copy.region).await?;
    loop {
        let judged = shown.judge(&before, &mine, copy);
        let Turn::Later(_) = judged else {
            return Ok(judged);
        };
        let waits = before
            .iter()
            .position(|other| shown.stands_in_the_way(other));
        let Some(waits) = waits else {
            note(&table, &copy.region, &mine, &shown, copy).await?;
            return Ok(judged);
        };
        if !remove_ended(&table, &copy.region, before.get(waits)).await? {
            note(&table, &copy.region, &mine, &shown, copy).await?;
            return Ok(judged);
        }
        before.remove(waits);
    }
}

/// Whether there is no room for a copy and will never be, unless a person makes some; what was seen then.
///
/// # Errors
/// What RDS refuses.
pub async fn no_room(context: &Context, copy: &SnapshotCopy) -> Result<Option<String>, StepError> {
    let shown = Shown::now(context, &copy.region).await?;
    Ok(shown
        .is_full(copy)
        .then(|| shown.seen(copy))
        .filter(|_| shown.of_restores == 0))
}

/// The tickets before this one, and this one, as far as one look reaches.
async fn before(
    table: &Table,
    ticket: &Ticket,
    region: &str,
) -> Result<(Vec<Ticket>, Option<Ticket>), StepError> {
    let head = head(table, region).await?;
    let reaches = head.len() < usize::try_from(HEAD).unwrap_or(usize::MAX);
    let mut before: Vec<Ticket> = Vec::new();
    for other in head {
        if other.key == ticket.key {
            return Ok((before, Some(other)));
        }
        if other.key < ticket.key {
            before.push(other);
        }
    }
    if !reaches {
        return Ok((before, None));
    }
    // Somebody took it for one of an ended restore: it stands again where it stood.
    table.put(ticket.item(region), None).await?;
    Ok((before, Some(ticket.clone())))
}

async fn head(table: &Table, region: &str) -> Result<Vec<Ticket>, StepError> {
    let items = table.first(&queue_key(region), TICKETS, HEAD).await?;
    Ok(items.iter().filter_map(Ticket::read).collect())
}

/// Removes a ticket if its restore has ended; whether it did.
async fn remove_ended(
    table: &Table,
    region: &str,
    other: Option<&Ticket>,
) -> Result<bool, StepError> {
    let Some(other) = other else {
        return Ok(false);
    };
    let id = RestoreId::parse(&other.restore_id)?;
    // An end from before the ticket is that of an earlier restore of this id.
    let ended = ledger::ended_at(table, &id).await?;
    if ended.is_none_or(|at| at < other.joined_at) {
        return Ok(false);
    }
    tracing::warn!(
        restore = other.restore_id,
        "a ticket of an ended restore was left; removed"
    );
    table.delete(&queue_key(region), &other.key).await?;
    Ok(true)
}

/// Writes down what a ticket waits for, when that has changed: by it the right one is woken.
async fn note(
    table: &Table,
    region: &str,
    mine: &Ticket,
    shown: &Shown,
    copy: &SnapshotCopy,
) -> Result<(), StepError> {
    let state = if shown.is_full(copy) {
        State::WaitingForRoom
    } else {
        State::Waiting
    };
    if mine.state == state {
        return Ok(());
    }
    let noted = Ticket {
        state,
        ..mine.clone()
    };
    put_if_there(table, &noted, region).await.map(|_| ())
}

async fn put_if_there(table: &Table, ticket: &Ticket, region: &str) -> Result<Written, StepError> {
    let there = Condition::new("attribute_exists(pk)");
    table.put(ticket.item(region), Some(there)).await
}

/// Says, before the copy is asked for, that it is: from here on it counts, whether RDS shows it yet or not.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn go(context: &Context, ticket: &Ticket, copy: &SnapshotCopy) -> Result<(), StepError> {
    let going = Ticket {
        state: State::Copying,
        ..ticket.clone()
    };
    let table = context.table();
    table.put(going.item(&copy.region), None).await.map(|_| ())
}

/// Gives the ticket back, once, and wakes the next one: the copy is made, or will never be.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn leave(
    context: &Context,
    restore: &Restore,
    copy: &SnapshotCopy,
) -> Result<(), StepError> {
    let Some(ticket) = ticket(context, restore, copy).await? else {
        return Ok(());
    };
    let table = context.table();
    table.delete(&queue_key(&copy.region), &ticket.key).await?;
    let now = context.clock.now();
    let left = Item::key(&restore_key(&ticket.restore_id), &own_key(&copy.region))
        .with("joinedAt", rfc3339(ticket.joined_at))
        .with("leftAt", rfc3339(now))
        .kept_from(now);
    table.put(left, None).await?;
    wake_next(context, &copy.region, Freed::Copy).await
}

/// Wakes the first one that waits, if what was freed is what it waits for.
///
/// That is a courtesy: who cannot be woken looks by itself.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn wake_next(context: &Context, region: &str, freed: Freed) -> Result<(), StepError> {
    let tickets = head(&context.table(), region).await?;
    let next = tickets
        .iter()
        .find(|ticket| ticket.state != State::Copying)
        .filter(|ticket| freed == Freed::Copy || ticket.state == State::WaitingForRoom);
    let Some(next) = next else {
        return Ok(());
    };
    let Some(waiting) = ledger::find_token(context, &next.copy_arn).await? else {
        return Ok(());
    };
    let sent = context
        .aws
        .sfn()
        .send_task_success()
        .task_token(&waiting.task_token)
        .output(json!({ "snapshotCopy": null, "more": true }).to_string())
        .send()
        .await;
    match sent {
        Ok(_) => tracing::info!(restore = next.restore_id, "woken: its turn may have come"),
        Err(error) => tracing::info!(
            restore = next.restore_id,
            code = wire_code(&error).unwrap_or("no answer"),
            "not woken; it looks by itself"
        ),
    }
    Ok(())
}

/// What RDS shows of a region's manual snapshots.
#[derive(Debug, Default)]
struct Shown {
    /// ARNs of copies in progress.
    copying: HashSet<String>,
    /// ARNs of all.
    all: HashSet<String>,
    /// How many are a restore's temporary copy.
    of_restores: usize,
}

impl Shown {
    async fn now(context: &Context, region: &str) -> Result<Self, StepError> {
        let mut snapshots = context
            .aws
            .rds(region)
            .describe_db_cluster_snapshots()
            .snapshot_type("manual")
            .into_paginator()
            .page_size(100)
            .items()
            .send();
        let mut shown = Self::default();
        while let Some(snapshot) = snapshots.next().await {
            let snapshot = snapshot
                .map_err(|error| StepError::from_sdk(format!("list copies to {region}"), error))?;
            shown.add(&snapshot);
        }
        Ok(shown)
    }

    fn add(&mut self, snapshot: &DbClusterSnapshot) {
        let arn = snapshot.db_cluster_snapshot_arn().unwrap_or_default();
        let is_copy = snapshot.source_db_cluster_snapshot_arn().is_some();
        let status = snapshot.status().unwrap_or_default();
        let in_progress = is_copy && status::of_snapshot(status) == Meaning::Progress;
        if in_progress {
            self.copying.insert(arn.to_owned());
        }
        if ownership::is_copy_of_a_restore(snapshot) {
            self.of_restores += 1;
        }
        self.all.insert(arn.to_owned());
    }

    /// Whether a ticket takes a place although RDS shows no copy of it.
    fn stands_in_the_way(&self, other: &Ticket) -> bool {
        other.state != State::Copying || !self.all.contains(&other.copy_arn)
    }

    /// Whether there is no room for another snapshot.
    fn is_full(&self, copy: &SnapshotCopy) -> bool {
        copy.quota
            .is_some_and(|quota| self.all.len() >= usize::try_from(quota).unwrap_or(usize::MAX))
    }

    fn seen(&self, copy: &SnapshotCopy) -> String {
        let (snapshots, quota) = (self.all.len(), copy.quota.unwrap_or_default());
        format!("{snapshots} of {quota} manual snapshots in {}", copy.region)
    }

    fn judge(&self, before: &[Ticket], mine: &Ticket, copy: &SnapshotCopy) -> Turn {
        // One's own copy, asked for before, takes no second place.
        if self.all.contains(&mine.copy_arn) {
            return Turn::Now;
        }
        let ahead = before
            .iter()
            .filter(|other| self.stands_in_the_way(other))
            .count();
        let (copying, region) = (self.copying.len(), &copy.region);
        if copying + ahead >= MOST_COPIES {
            return Turn::Later(format!(
                "{copying} of {MOST_COPIES} copies to {region} in progress, {ahead} to come before it"
            ));
        }
        let Some(quota) = copy.quota else {
            return Turn::Now;
        };
        if self.all.len() + ahead < usize::try_from(quota).unwrap_or(usize::MAX) {
            return Turn::Now;
        }
        let seen = self.seen(copy);
        if self.of_restores + ahead > 0 {
            Turn::Later(format!("{seen}, {ahead} to come before it"))
        } else {
            Turn::Never(seen)
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::types::Tag;
    use time::macros::datetime;

    use super::*;
    use crate::plan::rds_arn;

    const REGION: &str = "eu-west-1";

    fn copy(number: usize, quota: Option<u32>) -> SnapshotCopy {
        let identifier = format!("copy-{number}");
        SnapshotCopy {
            arn: rds_arn(REGION, "123456789012", "cluster-snapshot", &identifier),
            identifier,
            region: REGION.to_owned(),
            source_arn: String::new(),
            kms_key_id: None,
            reasons: Vec::new(),
            quota,
        }
    }

    fn ticket(number: usize, state: State) -> Ticket {
        let second = time::Duration::seconds(i64::try_from(number).unwrap());
        let at = datetime!(2026-11-21 06:00 UTC) + second;
        let ticket = Ticket::new(&format!("restore-{number}"), &copy(number, None), at);
        Ticket { state, ..ticket }
    }

    fn shown(copies: &[(&str, &str)]) -> Shown {
        let mut shown = Shown::default();
        for (name, status) in copies {
            let arn = rds_arn(REGION, "123456789012", "cluster-snapshot", name);
            let tag = Tag::builder().key(ownership::RESTORE_ID_TAG).value("x");
            shown.add(
                &DbClusterSnapshot::builder()
                    .db_cluster_snapshot_arn(arn)
                    .db_cluster_snapshot_identifier(*name)
                    .source_db_cluster_snapshot_arn("source")
                    .status(*status)
                    .tag_list(tag.build())
                    .build(),
            );
        }
        shown
    }

    fn judge(shown: &Shown, before: &[Ticket], quota: Option<u32>) -> Turn {
        shown.judge(before, &ticket(99, State::Waiting), &copy(99, quota))
    }

    #[test]
    fn tickets_are_in_the_order_of_joining() {
        let mut keys: Vec<String> = [11, 2, 1, 10]
            .into_iter()
            .map(|number| ticket(number, State::Waiting).key)
            .collect();
        keys.sort_unstable();
        let ids: Vec<&str> = keys
            .iter()
            .map(|key| key.rsplit('#').next().unwrap())
            .collect();
        assert_eq!(ids, ["restore-1", "restore-2", "restore-10", "restore-11"]);
    }

    #[test]
    fn a_ticket_survives_the_table() {
        let ticket = ticket(3, State::WaitingForRoom);
        assert_eq!(Ticket::read(&ticket.item(REGION)), Some(ticket));
    }

    #[test]
    fn five_copies_are_in_progress_whosever_they_are() {
        let four = shown(&[
            ("copy-1", "copying"),
            ("theirs-1", "copying"),
            ("theirs-2", "copying"),
            ("theirs-3", "copying"),
            ("old", "available"),
        ]);
        let first = ticket(1, State::Copying);
        assert_eq!(judge(&four, std::slice::from_ref(&first), None), Turn::Now);
        let before = [first, ticket(2, State::Waiting)];
        assert!(matches!(judge(&four, &before, None), Turn::Later(_)));
    }

    #[test]
    fn a_copy_that_was_asked_for_counts_before_rds_shows_it_and_not_once_it_is_made() {
        let before: Vec<Ticket> = (1..=5)
            .map(|number| ticket(number, State::Copying))
            .collect();
        assert!(matches!(judge(&shown(&[]), &before, None), Turn::Later(_)));
        let made = shown(&[("copy-1", "available")]);
        assert_eq!(judge(&made, &before, None), Turn::Now);
    }

    #[test]
    fn a_used_up_quota_is_waited_for_only_if_a_restore_will_free_some_of_it() {
        let theirs = shown(&[("a", "available"), ("b", "available")]);
        assert!(matches!(judge(&theirs, &[], Some(2)), Turn::Never(_)));
        assert_eq!(judge(&theirs, &[], Some(3)), Turn::Now);
        // A tag alone makes no copy of a restore: the name belongs to it.
        let copy = RestoreId::parse("x").unwrap().snapshot_copy();
        let ours = shown(&[("a", "available"), (&copy, "available")]);
        assert!(matches!(judge(&ours, &[], Some(2)), Turn::Later(_)));
        let before = [ticket(1, State::Waiting)];
        assert!(matches!(judge(&theirs, &before, Some(3)), Turn::Later(_)));
    }

    #[test]
    fn who_has_asked_already_may_ask_again() {
        let full = shown(&[("copy-99", "copying"), ("a", "copying"), ("b", "copying")]);
        let before: Vec<Ticket> = (1..=5)
            .map(|number| ticket(number, State::Waiting))
            .collect();
        assert_eq!(judge(&full, &before, Some(3)), Turn::Now);
    }
}
