//! Ends what nobody else ends any more.
//!
//! An execution that is stopped, times out, or dies of an error that no Catch covers
//! ends without Undo. A target expires, a cluster that was replaced is kept long enough. A create call lands after its restore was
//! undone, and a deletion that was refused would be accepted by now. A pass looks for
//! these, acts once and goes; what takes time is met again by the next pass, so that
//! nothing here waits, and repeating a pass changes nothing.
//!
//! Restore ids may come from outside, names of resources never: what is removed is
//! in the ledger of a restore whose execution is over, carries its tag, and has the
//! resource id recorded there, as everywhere.

mod account;
mod ended;
mod expired;
mod retired;
mod warning;

use aurora_restore_core::errors::{AR0036, AR0037};
use aurora_restore_core::ledger::{self, ResourceState, ToDo};
use aurora_restore_core::metrics::{self, Unit};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step, StepError, execution};
use ended::Settled;
use expired::Removal;
use retired::Retirement;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// The step.
pub const STEP: Step = Step { name: "reap", run };

/// Each part of a pass acts on at most this many restores; its answer says `more` when there are others.
pub const RESTORES_PER_PASS: usize = 20;

/// What a pass looks for, one part after the other.
const PARTS: i32 = 5;

/// How often the schedule comes.
const COMES_EVERY: time::Duration = time::Duration::minutes(5);

/// A pass takes nothing on after this long, and no part of it more than its share: a function may run for five
/// minutes.
const TAKES_ON_FOR: time::Duration = time::Duration::minutes(3);

/// A pass asks of at most this many running restores whether their executions run, the oldest first.
const LOOKED_AT_PER_PASS: i32 = 200;

/// After this long of trying, an end that cannot be told is left to its record.
const TOLD_WITHIN: time::Duration = time::Duration::days(1);

/// The metrics that this step emits: counts, and what says how old the last proof is that backups can be restored.
pub const METRICS: [&str; 6] = [
    "RestoresReaped",
    "ExpiryWarnings",
    "OrphansRemoved",
    "Strangers",
    "ReapFailures",
    "LastVerifiedRestoreAge",
];

/// An event of Step Functions about an execution, or ids given by hand; anything else asks for a whole pass.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default)]
    detail: Execution,
    #[serde(default)]
    restore_ids: Vec<String>,
    /// A restored restore whose time is over, to be removed before the next pass comes.
    #[serde(default)]
    remove_expired: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    name: Option<String>,
    execution_arn: Option<String>,
}

/// What a pass did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Restores whose execution is over, and whose end was recorded in its stead.
    pub ended: Vec<Ended>,
    /// Restores that are being undone in their execution's stead.
    pub undoing: Vec<String>,
    /// How many were left alone because their execution runs.
    pub running: usize,
    /// Restores whose expired target is being removed, or is gone now.
    pub expired: Vec<String>,
    /// Restores of which people were told that the target goes soon.
    pub warned: Vec<String>,
    /// ARNs, or a secret's name, of what was left of ended restores and is being removed.
    pub orphans: Vec<String>,
    /// Restores whose retired cluster is being removed, or is gone now.
    pub retired: Vec<String>,
    /// Restores whose end was told, because nobody had.
    pub told: Vec<String>,
    /// What could not be removed now, and why.
    pub refused: Vec<String>,
    /// How many resources carry a restore's tag and are not proved to be its own. They are left alone.
    pub strangers: usize,
    /// What failed; the next pass tries again.
    pub failures: Vec<Failed>,
    /// Whether more is to be done than one pass takes on.
    pub more: bool,
}

/// An end that was recorded.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The restore.
    pub restore_id: String,
    /// How it ended.
    pub outcome: &'static str,
}

/// Something that could not be done.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// A restore, or what was looked for.
    pub about: String,
    /// Why.
    pub error: String,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let mut pass = Pass::new(context);
        if let Some(id) = &event.remove_expired {
            pass.remove_expired(&RestoreId::parse(id)?).await?;
            return answer(&pass.report);
        }
        match (event.detail.name, event.restore_ids.as_slice()) {
            (Some(name), _) => {
                let id = RestoreId::parse(&name)?;
                let arn = event.detail.execution_arn;
                pass.settle(&id, arn.as_deref()).await?;
            }
            (None, []) => pass.sweep().await?,
            (None, ids) => {
                for id in ids {
                    pass.settle(&RestoreId::parse(id)?, None).await?;
                }
            }
        }
        pass.emit_metrics();
        answer(&pass.report)
    })
}

/// Whether the ledger has nothing left.
async fn is_gone(restore: &Restore) -> Result<bool, StepError> {
    let resources = restore.resources().await?;
    let mut states = resources.iter().map(|resource| resource.state);
    Ok(states.all(|state| state == ResourceState::Removed))
}

/// One pass: what it did so far, and what it may still take on.
struct Pass<'a> {
    context: &'a Context,
    report: Report,
    /// When the last restore was proved, if any was.
    last_verified: Option<OffsetDateTime>,
    began: OffsetDateTime,
    left: usize,
    takes_on_until: OffsetDateTime,
}

impl<'a> Pass<'a> {
    fn new(context: &'a Context) -> Self {
        let began = context.clock.now();
        Self {
            context,
            report: Report::default(),
            last_verified: None,
            began,
            left: RESTORES_PER_PASS,
            takes_on_until: began + TAKES_ON_FOR,
        }
    }

    /// Begins a part, counted from 1, with a budget of its own: what cannot be ended keeps nothing else waiting.
    fn part(&mut self, number: i32) {
        self.left = RESTORES_PER_PASS;
        self.takes_on_until = self.began + TAKES_ON_FOR * number / PARTS;
    }

    /// A list from another place in every pass, so that nobody at its head, failing for ever, keeps the rest waiting.
    /// The next pass begins where even a slow one gets to.
    fn in_turn<T>(&self, mut list: Vec<T>) -> Vec<T> {
        let passes = self.began.unix_timestamp() / COMES_EVERY.whole_seconds();
        let begins = usize::try_from(passes).unwrap_or(0) * (RESTORES_PER_PASS / 4);
        if !list.is_empty() {
            let len = list.len();
            list.rotate_left(begins % len);
        }
        list
    }

    /// Whether this part takes nothing more on; says so in the report.
    fn is_used_up(&mut self) -> bool {
        let used_up = self.left == 0 || self.context.clock.now() > self.takes_on_until;
        self.report.more |= used_up;
        used_up
    }

    /// Everything: executions that are over, ends that nobody told, expired targets, what is left in the account.
    /// What fails stops nothing else.
    ///
    /// # Errors
    /// When nothing at all could be read.
    async fn sweep(&mut self) -> Result<(), StepError> {
        let table = self.context.table();
        let mut unread = Vec::new();
        self.part(1);
        match ledger::list_running(&table, LOOKED_AT_PER_PASS).await {
            Ok(ids) => {
                for id in self.in_turn(ids) {
                    if self.is_used_up() {
                        break;
                    }
                    self.attempt(&id, None).await;
                }
            }
            Err(error) => unread.push(error),
        }
        self.part(2);
        match ledger::list_to_do(&table, ToDo::Tell).await {
            Ok(untold) => self.tell_all(untold).await,
            Err(error) => unread.push(error),
        }
        self.part(3);
        match ledger::list_to_do(&table, ToDo::Expire).await {
            Ok(begun) => {
                for (id, _) in self.in_turn(begun) {
                    self.expire(&id).await;
                }
            }
            Err(error) => unread.push(error),
        }
        self.part(4);
        match ledger::list_to_do(&table, ToDo::Retire).await {
            Ok(kept) => self.tend_all(kept).await,
            Err(error) => unread.push(error),
        }
        self.part(PARTS);
        match account::look(self.context).await {
            Ok(found) => self.remove_orphans(found).await,
            Err(error) => unread.push(error),
        }
        match ledger::last_restored(&table).await {
            Ok(at) => self.last_verified = at,
            Err(error) => unread.push(error),
        }
        if unread.len() == 6 {
            return Err(unread.remove(0));
        }
        for error in unread {
            self.failed("a list", &error);
        }
        Ok(())
    }

    /// Ends a restore whose execution is over and did not, and tells it if nobody did.
    ///
    /// # Errors
    /// Whatever kept it from that.
    async fn settle(&mut self, id: &RestoreId, arn: Option<&str>) -> Result<(), StepError> {
        let restore_id = id.as_str().to_owned();
        match ended::settle(self.context, id, arn).await? {
            Settled::Running => self.report.running += 1,
            Settled::Unknown => {}
            Settled::Undoing(refused) => {
                self.left = self.left.saturating_sub(1);
                self.report.undoing.push(restore_id);
                self.report.refused.extend(refused);
            }
            Settled::Before => self.tell(id).await?,
            Settled::Now(outcome) => {
                self.left = self.left.saturating_sub(1);
                self.report.ended.push(Ended {
                    restore_id,
                    outcome: outcome.name(),
                });
                self.tell(id).await?;
            }
        }
        Ok(())
    }

    async fn attempt(&mut self, id: &RestoreId, arn: Option<&str>) {
        if let Err(error) = self.settle(id, arn).await {
            self.left = self.left.saturating_sub(1);
            self.failed(id.as_str(), &error);
        }
    }

    async fn tell_all(&mut self, untold: Vec<(RestoreId, OffsetDateTime)>) {
        for (id, since) in self.in_turn(untold) {
            if self.is_used_up() {
                return;
            }
            let told = if self.context.clock.now() > since + TOLD_WITHIN {
                ledger::done(&self.context.table(), ToDo::Tell, &id).await
            } else {
                self.tell(&id).await
            };
            if let Err(error) = told {
                self.left = self.left.saturating_sub(1);
                self.failed(id.as_str(), &error);
            }
        }
    }

    /// Tells an end that its execution can no longer tell, once.
    async fn tell(&mut self, id: &RestoreId) -> Result<(), StepError> {
        let Some((arn, plan)) = ledger::execution_of(self.context, id).await? else {
            return Ok(());
        };
        let over = execution::how_it_ended(self.context, &arn, plan.as_ref()).await?;
        if over.is_none() || !ledger::claim_telling(self.context, id).await? {
            return Ok(());
        }
        notify::notify(self.context, id, None, None).await?;
        self.left = self.left.saturating_sub(1);
        self.report.told.push(id.as_str().to_owned());
        Ok(())
    }

    async fn expire(&mut self, id: &RestoreId) {
        let this = id.as_str();
        if self.report.expired.iter().any(|done| done == this) || self.is_used_up() {
            return;
        }
        self.left = self.left.saturating_sub(1);
        match expired::remove(self.context, id).await {
            Ok(Removal::Begun(refused)) => {
                self.report.expired.push(this.to_owned());
                self.report.refused.extend(refused);
            }
            // Where its removal had begun, the account shows it once more.
            Ok(Removal::Kept(reason)) if self.report.refused.contains(&reason) => {}
            Ok(Removal::Kept(reason)) => self.report.refused.push(reason),
            Ok(Removal::Locked) => {}
            Err(error) => self.failed(id.as_str(), &error),
        }
    }

    /// Tends the clusters that restores replaced. To look at one takes little; only what is removed counts.
    async fn tend_all(&mut self, kept: Vec<(RestoreId, OffsetDateTime)>) {
        for (id, _) in self.in_turn(kept) {
            if self.is_used_up() {
                return;
            }
            let refused = match retired::tend(self.context, &id).await {
                Ok(Retirement::Kept(refused)) => refused.into_iter().collect(),
                Ok(Retirement::TakenBack(reason)) => vec![reason],
                Ok(Retirement::Locked) => Vec::new(),
                Ok(Retirement::Begun(refused)) => {
                    self.left = self.left.saturating_sub(1);
                    self.report.retired.push(id.as_str().to_owned());
                    refused
                }
                Ok(Retirement::Gone) => {
                    self.report.retired.push(id.as_str().to_owned());
                    Vec::new()
                }
                Err(error) => {
                    self.left = self.left.saturating_sub(1);
                    self.failed(id.as_str(), &error);
                    Vec::new()
                }
            };
            self.report.refused.extend(refused);
        }
    }

    /// Removes the target of one restore whose time is over, as every pass does, and says whether it is gone: who
    /// asks waits for its place.
    ///
    /// # Errors
    /// AR0036 while it is being removed; AR0037 with the reason when it stays; what AWS refuses.
    async fn remove_expired(&mut self, id: &RestoreId) -> Result<(), StepError> {
        let going = || {
            let text = format!("the target of restore `{}` is being removed", id.as_str());
            StepError::new(&AR0036, text)
        };
        // Once RDS deletes the cluster there is nothing to do but to look, and who waits looks often.
        if expired::is_being_deleted(self.context, id).await? {
            return Err(going());
        }
        let removal = expired::remove(self.context, id).await?;
        let restore = Restore::load(self.context, id).await?;
        if is_gone(&restore).await? {
            self.report.expired.push(id.as_str().to_owned());
            return Ok(());
        }
        Err(match removal {
            Removal::Kept(reason) => StepError::new(&AR0037, reason),
            Removal::Begun(_) | Removal::Locked => going(),
        })
    }

    async fn remove_orphans(&mut self, found: account::ByRestore) {
        for (id, found) in self.in_turn(found.into_iter().collect()) {
            if self.is_used_up() {
                return;
            }
            let judged = match account::judge(self.context, &id, found).await {
                Ok(judged) => judged,
                Err(error) => {
                    self.left = self.left.saturating_sub(1);
                    self.failed(&id, &error);
                    continue;
                }
            };
            self.report.strangers += judged.strangers;
            let Some(restore) = judged.restore else {
                continue;
            };
            if let Some(at) = judged.goes_soon {
                self.warn(&restore, at).await;
            }
            if judged.expired
                && let Ok(id) = RestoreId::parse(&id)
            {
                self.expire(&id).await;
            }
            if !judged.orphans.is_empty() {
                self.left = self.left.saturating_sub(1);
            }
            for resource in judged.orphans {
                match cleanup::delete(self.context, &restore, &resource).await {
                    Ok(_) => self.report.orphans.push(resource.arn),
                    Err(error) => self.report.refused.push(error.to_string()),
                }
            }
            self.report.refused.extend(judged.refused);
        }
    }

    /// Tells people that a target goes soon, once for the time at which it does.
    async fn warn(&mut self, restore: &Restore, at: OffsetDateTime) {
        let id = &restore.plan().restore_id;
        match warning::tell(self.context, restore.plan(), at).await {
            Ok(true) => {
                self.left = self.left.saturating_sub(1);
                self.report.warned.push(id.clone());
            }
            Ok(false) => {}
            Err(error) => self.failed(id, &error),
        }
    }

    fn failed(&mut self, about: &str, error: &StepError) {
        tracing::error!(about, code = error.code().id, "{error}");
        self.report.failures.push(Failed {
            about: about.to_owned(),
            error: error.to_string(),
        });
    }

    fn emit_metrics(&self) {
        let report = &self.report;
        tracing::info!(?report, "reaped");
        let [reaped, warned, orphans, strangers, failures, age] = METRICS;
        let count = |name, number: usize| (name, Unit::Count, number as f64);
        let mut values = vec![
            count(reaped, report.ended.len() + report.expired.len()),
            count(warned, report.warned.len()),
            count(orphans, report.orphans.len()),
            count(strangers, report.strangers),
            count(failures, report.failures.len()),
        ];
        if let Some(at) = self.last_verified {
            let since = self.context.clock.now() - at;
            values.push((age, Unit::Seconds, since.as_seconds_f64()));
        }
        metrics::emit(self.context, &[], &values);
    }
}
