//! The record of one restore: its plan, its lock, what it intended and made, and what was proved.
//!
//! Intent comes before effect: a create call is made only after the ledger names
//! its resource, so a crash between the two loses nothing. Every write that stands
//! before an effect is conditional on the lock of the target still being ours, by
//! epoch; a step that lost the lock stops there.
//!
//! A lock goes one way: held, then undoing (sealed: no step of this restore writes or
//! makes anything any more, only Undo works), then released. What Undo writes needs no
//! condition for that reason. The end that is recorded first stands.

use std::fmt;

use aws_sdk_rds::types::DbCluster;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::errors::{AR0013, AR0014, AR0018, AR0028, AR0032, AR0034, AR0036, AR0099, StepError};
use crate::execution;
use crate::expiry::Expiry;
use crate::names::RestoreId;
use crate::plan::Plan;
use crate::rds::Found;
use crate::request::{self, MasterPassword};
use crate::secrets::{self, Credentials, Stage};
use crate::sql::Endpoint;
use crate::status::Meaning;
use crate::step::{Context, record_key};
use crate::table::{Condition, Item, Order, PK, SK, TTL, Table, Written};
use crate::{ownership, rds, status};

mod switching;

pub use switching::{Begun, GivenName};

/// Where a restore stands, for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Under way.
    Running,
    /// The target is proved and in service.
    Restored,
    /// Failed, and nothing was left behind.
    FailedClean,
    /// Failed, and what is left behind is named.
    FailedDirty,
}

impl Status {
    /// As it stands in the table and in the state machine.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Restored => "Restored",
            Self::FailedClean => "FailedClean",
            Self::FailedDirty => "FailedDirty",
        }
    }
}

/// What kind of thing a ledger entry is. The order is that of undo: last made, first removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// A DB instance.
    Instance,
    /// A DB cluster.
    Cluster,
    /// A DB cluster snapshot.
    SnapshotCopy,
    /// A secret of our own (RDS-managed secrets go with their cluster).
    Secret,
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Instance => "DB instance",
            Self::Cluster => "DB cluster",
            Self::SnapshotCopy => "DB cluster snapshot",
            Self::Secret => "secret",
        })
    }
}

/// How far a resource of ours has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceState {
    /// A create call may have been made.
    Intended,
    /// It was seen to exist, with its resource id.
    Created,
    /// It was seen to be gone.
    Removed,
}

/// One resource that this restore made or meant to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its ARN, or for a secret its name: known before it exists.
    pub arn: String,
    /// Its name.
    pub identifier: String,
    /// How far it has come.
    pub state: ResourceState,
    /// What tells it from a later one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Whether it was ever seen to exist.
    #[serde(default)]
    pub made: bool,
    /// The name that this restore gives it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<GivenName>,
}

impl Resource {
    /// A resource about to be asked for.
    pub fn new(kind: ResourceKind, arn: impl Into<String>, identifier: impl Into<String>) -> Self {
        Self {
            kind,
            arn: arn.into(),
            identifier: identifier.into(),
            state: ResourceState::Intended,
            resource_id: None,
            made: false,
            given_name: None,
        }
    }

    /// The region it is in: a snapshot copy's may be another than the target's.
    pub fn region<'a>(&'a self, plan: &'a Plan) -> &'a str {
        region_of(&self.arn).unwrap_or(&plan.target.region)
    }

    /// Whether what was found is this: by its ARN, or that of the name it is given, and by its resource id where one is recorded.
    pub fn is(&self, found: &Found) -> bool {
        let same = self.resource_id == found.resource_id;
        self.kind == found.kind
            && (self.arn.eq_ignore_ascii_case(&found.arn) && (self.resource_id.is_none() || same)
                || self.has_given_name(found) && self.resource_id.is_some() && same)
    }

    fn has_given_name(&self, found: &Found) -> bool {
        let given = self.given_name.as_ref();
        given.is_some_and(|given| given.arn.eq_ignore_ascii_case(&found.arn))
    }

    /// Whether what was found is this under another name.
    pub fn is_renamed(&self, found: &Found) -> bool {
        self.kind == found.kind
            && self.resource_id.is_some()
            && self.resource_id == found.resource_id
            && !self.arn.eq_ignore_ascii_case(&found.arn)
            && !self.has_given_name(found)
    }
}

/// The region that an ARN names; none for a secret, which goes by its name.
fn region_of(arn: &str) -> Option<&str> {
    rds::is_arn(arn).then(|| rds::arn_field(arn, 3)).flatten()
}

/// One check of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found, never data that could be secret.
    pub detail: String,
}

/// The record of what was verified; Switch requires it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When it was gathered.
    #[serde(with = "time::serde::rfc3339")]
    pub verified_at: OffsetDateTime,
    /// All checks, in order.
    pub findings: Vec<Finding>,
    /// Every setting of the target beside the plan's and the source's.
    #[serde(default)]
    pub settings: Vec<crate::fidelity::Compared>,
}

impl Evidence {
    /// Whether every check holds, and there is at least one.
    pub fn holds(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.passed)
    }
}

/// How a restore ended, as Undo or Cleanup recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// One of the three ends.
    pub status: Status,
    /// The documented code, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For people: what happened and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What is left behind, each with the command that removes it.
    #[serde(default)]
    pub leftovers: Vec<Leftover>,
    /// ARNs of what was kept because it is in service, although the restore failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// How to reach the target, when it is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Address>,
}

/// How to reach the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Host name or address.
    pub endpoint: String,
    /// TCP port.
    pub port: u16,
    /// The secret with the master user's name and password.
    pub secret_arn: String,
}

/// A resource of ours that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// Its ARN, or a secret's name.
    pub arn: String,
    /// The command that removes it.
    pub remove_with: String,
}

impl Leftover {
    /// What was found, with the command that removes it; where RDS refuses a plain deletion now, with what must go
    /// before. `home` is the target's region.
    pub fn found(found: &Found, home: &str) -> Self {
        let region = region_of(&found.arn).unwrap_or(home);
        let meaning = match found.kind {
            ResourceKind::Instance => status::of_instance(&found.status),
            ResourceKind::Cluster => status::of_cluster(&found.status),
            ResourceKind::SnapshotCopy => status::of_snapshot(&found.status),
            ResourceKind::Secret => Meaning::Ready,
        };
        let commands = Commands {
            kind: found.kind,
            name: &found.identifier,
            region,
        };
        let remove_with = match meaning {
            Meaning::Leaving => commands.wait_until("deleted"),
            // A copy under way can be deleted.
            Meaning::Progress if found.kind != ResourceKind::SnapshotCopy => format!(
                "{} && {}",
                commands.wait_until("available"),
                commands.delete(found.protected)
            ),
            _ => commands.delete(found.protected),
        };
        Self {
            arn: found.arn.clone(),
            remove_with,
        }
    }

    /// What may be there, with the command that removes it. `home` is the target's region.
    pub fn recorded(resource: &Resource, home: &str) -> Self {
        let region = region_of(&resource.arn).unwrap_or(home);
        let commands = Commands {
            kind: resource.kind,
            name: &resource.identifier,
            region,
        };
        Self {
            arn: resource.arn.clone(),
            remove_with: commands.delete(false),
        }
    }
}

/// The commands of the AWS CLI about one resource.
struct Commands<'a> {
    kind: ResourceKind,
    name: &'a str,
    region: &'a str,
}

impl Commands<'_> {
    fn noun(&self) -> &'static str {
        match self.kind {
            ResourceKind::Instance => "db-instance",
            ResourceKind::Cluster => "db-cluster",
            ResourceKind::SnapshotCopy => "db-cluster-snapshot",
            ResourceKind::Secret => "secret",
        }
    }

    fn which(&self) -> String {
        let (noun, Self { region, name, .. }) = (self.noun(), self);
        format!("--region {region} --{noun}-identifier {name}")
    }

    fn wait_until(&self, status: &str) -> String {
        format!("aws rds wait {}-{status} {}", self.noun(), self.which())
    }

    fn delete(&self, protected: bool) -> String {
        let (noun, which) = (self.noun(), self.which());
        match self.kind {
            ResourceKind::Secret => format!(
                "aws secretsmanager delete-secret --region {} --secret-id {}",
                self.region, self.name
            ),
            ResourceKind::SnapshotCopy => format!("aws rds delete-{noun} {which}"),
            _ if protected => format!(
                "aws rds modify-{noun} {which} --no-deletion-protection --apply-immediately && {}",
                self.delete(false)
            ),
            _ => format!("aws rds delete-{noun} {which} --skip-final-snapshot"),
        }
    }
}

/// One restore, loaded from the state table.
#[derive(Clone, Debug)]
pub struct Restore {
    table: Table,
    plan: Plan,
    epoch: i64,
}

/// The partition of a restore.
pub fn restore_key(id: &str) -> String {
    format!("RESTORE#{id}")
}

/// The restore that holds a target's lock, if one does.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn lock_holder(table: &Table, target_arn: &str) -> Result<Option<String>, StepError> {
    let lock = table.get(&lock_key(target_arn), "LOCK").await?;
    let held = lock.filter(|lock| lock.text("state") != Some(RELEASED));
    Ok(held.and_then(|lock| lock.text("owner").map(str::to_owned)))
}

fn lock_key(target_arn: &str) -> String {
    format!("TARGET#{target_arn}")
}

/// The lock's states: a restore is at work, is being undone, has ended.
const HELD: &str = "held";
const UNDOING: &str = "undoing";
const RELEASED: &str = "released";
/// What a removal's lock is held for.
const REMOVING: &str = "removing";

/// When the execution started whose item it is: a name can be used again.
const STARTED_AT: &str = "executionStartedAt";

fn locked(plan: &Plan, lock: &Item) -> StepError {
    let text = |name: &str| lock.text(name).unwrap_or("unknown");
    StepError::new(
        &AR0013,
        format!(
            "`{}` is locked by restore `{}` since {} ({})",
            plan.name(),
            text("owner"),
            text("takenAt"),
            text("executionArn")
        ),
    )
}

impl Restore {
    /// Loads the plan that the Plan step recorded; `None` before it did.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn find(context: &Context, id: &RestoreId) -> Result<Option<Self>, StepError> {
        let table = context.table();
        let Some(item) = table.get(&restore_key(id.as_str()), "PLAN").await? else {
            return Ok(None);
        };
        let plan = json_attribute(&item, "plan")?;
        let epoch = item
            .number("epoch")
            .ok_or_else(|| StepError::defect("the recorded plan has no epoch"))?;
        Ok(Some(Self { table, plan, epoch }))
    }

    /// Loads the plan for a step that cannot be without it.
    ///
    /// # Errors
    /// AR0099 when there is none: the state machine runs Plan first.
    pub async fn load(context: &Context, id: &RestoreId) -> Result<Self, StepError> {
        let found = Self::find(context, id).await?;
        found.ok_or_else(|| {
            StepError::defect(format!("restore `{}` has no recorded plan", id.as_str()))
        })
    }

    /// Makes sure that the target's lock can be taken: nobody holds it, or only a restore whose execution is over and
    /// that left nothing. Gives the lock as it was found.
    ///
    /// The lock of such a restore is sealed on the way, so that nothing is made under it behind the next one's back.
    ///
    /// # Errors
    /// AR0013 when another restore is at work, AR0036 when an ended one is still being removed.
    pub async fn find_free_lock(context: &Context, plan: &Plan) -> Result<Option<Item>, StepError> {
        let table = context.table();
        let key = lock_key(plan.named_arn());
        let Some(lock) = table.get(&key, "LOCK").await? else {
            return Ok(None);
        };
        let owner = lock.text("owner").unwrap_or("unknown");
        if lock.text("state") == Some(RELEASED) || owner == plan.restore_id {
            return Ok(Some(lock));
        }
        let locked = || locked(plan, &lock);
        let id = RestoreId::parse(owner).map_err(|_| locked())?;
        let holder = Self::find(context, &id).await?.ok_or_else(locked)?;
        let held_by = &holder.plan;
        let how = execution::how_it_ended(context, &held_by.execution_arn, Some(held_by)).await?;
        let how = how.ok_or_else(locked)?;
        holder.seal(context.clock.now()).await?;
        let left: Vec<String> = holder
            .resources()
            .await?
            .into_iter()
            .filter(|resource| resource.state != ResourceState::Removed)
            .map(|resource| format!("{} `{}`", resource.kind, resource.identifier))
            .collect();
        if left.is_empty() {
            return table.get(&key, "LOCK").await;
        }
        Err(StepError::new(
            &AR0036,
            format!(
                "`{}` is locked by restore `{owner}`, whose execution {how}, and of which there may be: {}",
                plan.name(),
                left.join(", ")
            ),
        ))
    }

    /// Records the plan and takes the target's lock, both or neither.
    ///
    /// # Errors
    /// AR0013 when another restore holds the lock, AR0036 when one that ended does, AR0034 when this id was used by
    /// another execution.
    pub async fn begin(context: &Context, plan: Plan) -> Result<Self, StepError> {
        let table = context.table();
        let found = Self::find_free_lock(context, &plan).await?;
        let number = |lock: &Item| lock.number("epoch").unwrap_or(0);
        let epoch = found.as_ref().map_or(0, number) + 1;
        let as_found = match &found {
            None => Condition::absent(),
            Some(lock) => Condition::new("#owner = :owner AND #epoch = :epoch AND #state = :state")
                .name("owner")
                .name("epoch")
                .name("state")
                .value("owner", lock.text("owner").unwrap_or_default())
                .number("epoch", number(lock))
                .value("state", lock.text("state").unwrap_or_default()),
        };
        // Its execution may have been stopped and ended by the reaper while Plan was at work; an end of an earlier
        // execution of this name does not matter.
        let unended = Condition::new("attribute_not_exists(#ending) OR #endedAt < :started")
            .name("ending")
            .name("endedAt")
            .value("started", &plan.execution_started_at);
        let writes = vec![
            (planned(&plan, epoch)?, Some(Condition::absent())),
            (
                Item::key(&lock_key(plan.named_arn()), "LOCK")
                    .with("owner", &plan.restore_id)
                    .with("executionArn", &plan.execution_arn)
                    .with("state", HELD)
                    .with("takenAt", rfc3339(context.clock.now()))
                    .with_number("epoch", epoch),
                Some(as_found),
            ),
            (meta(&plan, Status::Running, None, None)?, Some(unended)),
        ];
        match table.write(writes, None).await? {
            Written::Yes => Ok(Self { table, plan, epoch }),
            Written::Refused => Self::explain_refusal(context, plan, table).await,
        }
    }

    /// Why the plan could not be recorded: our own lost success, a used id, or another restore's lock.
    async fn explain_refusal(
        context: &Context,
        plan: Plan,
        table: Table,
    ) -> Result<Self, StepError> {
        let id = RestoreId::parse(&plan.restore_id)?;
        if let Some(recorded) = Self::find(context, &id).await? {
            return recorded.of_execution(&plan.execution_started_at);
        }
        let meta = table.get(&restore_key(&plan.restore_id), "META").await?;
        let ended_at = meta.as_ref().and_then(|meta| meta.text("endedAt"));
        if ended_at.is_some_and(|ended_at| ended_at >= plan.execution_started_at.as_str()) {
            let id = &plan.restore_id;
            let text = format!("restore `{id}` was ended before it was planned");
            return Err(StepError::new(&AR0014, text));
        }
        let lock = table.get(&lock_key(plan.named_arn()), "LOCK").await?;
        match lock.filter(|lock| lock.text("state") == Some(HELD)) {
            Some(lock) => Err(locked(&plan, &lock)),
            // It was let go of, or sealed, since it was looked at.
            None => {
                let target = plan.name();
                let text = format!("the lock of `{target}` is changing hands");
                Err(StepError::new(&AR0036, text))
            }
        }
    }

    /// This restore, if it is the one of this execution.
    ///
    /// # Errors
    /// AR0034 when another execution used the id.
    pub fn of_execution(self, started_at: &str) -> Result<Self, StepError> {
        if self.belongs_to(started_at) {
            return Ok(self);
        }
        let plan = &self.plan;
        Err(StepError::new(
            &AR0034,
            format!(
                "restore `{}` was already planned by the execution of {}",
                plan.restore_id, plan.execution_started_at
            ),
        ))
    }

    /// Whether this restore was planned by the execution that started then.
    pub fn belongs_to(&self, started_at: &str) -> bool {
        self.plan.execution_started_at == started_at
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn pk(&self) -> String {
        restore_key(&self.plan.restore_id)
    }

    async fn lock(&self) -> Result<Option<Item>, StepError> {
        self.table
            .get(&lock_key(self.plan.named_arn()), "LOCK")
            .await
    }

    /// Whether this is our lock, in this state.
    fn is_ours(&self, lock: Option<&Item>, state: &str) -> bool {
        lock.is_some_and(|lock| {
            lock.text("owner") == Some(&self.plan.restore_id)
                && lock.number("epoch") == Some(self.epoch)
                && lock.text("state") == Some(state)
        })
    }

    /// Holds while the target's lock is ours, and in this state.
    fn lock_is(&self, state: &str) -> Condition {
        Condition::new("#owner = :owner AND #epoch = :epoch AND #state = :state")
            .name("owner")
            .name("epoch")
            .name("state")
            .value("owner", &self.plan.restore_id)
            .number("epoch", self.epoch)
            .value("state", state)
    }

    async fn write(&self, item: Item) -> Result<(), StepError> {
        self.write_all(vec![(item, None)]).await
    }

    /// Writes all of it or nothing, while the lock is ours and held.
    ///
    /// # Errors
    /// AR0014 when it was lost.
    pub(crate) async fn write_all(
        &self,
        items: Vec<(Item, Option<Condition>)>,
    ) -> Result<(), StepError> {
        let lock = Item::key(&lock_key(self.plan.named_arn()), "LOCK");
        match self
            .table
            .write(items, Some((lock, self.lock_is(HELD))))
            .await?
        {
            Written::Yes => Ok(()),
            Written::Refused => Err(self.lock_lost()),
        }
    }

    /// Makes sure, before an effect that no write stands before, that the lock is still ours and held.
    ///
    /// # Errors
    /// AR0014 when it was lost, or Undo has begun.
    pub async fn hold(&self) -> Result<(), StepError> {
        if self.is_ours(self.lock().await?.as_ref(), HELD) {
            Ok(())
        } else {
            Err(self.lock_lost())
        }
    }

    /// Seals the lock: from here on every step of this restore is refused, so that nothing is made any more but
    /// by a call that is under way. Gives since when; `None` when the lock was released or is another restore's,
    /// which shuts the steps out as well.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn seal(&self, at: OffsetDateTime) -> Result<Option<OffsetDateTime>, StepError> {
        let mut lock = self.lock().await?;
        if let Some(held) = lock.clone().filter(|lock| self.is_ours(Some(lock), HELD)) {
            let sealed = held
                .with("state", UNDOING)
                .with("undoingSince", rfc3339(at));
            // Refused means that somebody else sealed, released or took it since, or a lost answer of our own.
            self.table.put(sealed, Some(self.lock_is(HELD))).await?;
            lock = self.lock().await?;
        }
        if self.is_ours(lock.as_ref(), HELD) {
            return Err(StepError::defect(
                "a lock was held again after it was sealed",
            ));
        }
        let since = lock
            .filter(|lock| self.is_ours(Some(lock), UNDOING))
            .and_then(|lock| time(lock.text("undoingSince")?));
        Ok(since)
    }

    fn lock_lost(&self) -> StepError {
        let (target, id) = (self.plan.name(), &self.plan.restore_id);
        StepError::new(
            &AR0014,
            format!("the lock of `{target}` is no longer held by restore `{id}`"),
        )
    }

    /// Names a resource in the ledger before the call that makes it. What was recorded earlier stands.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn intend(&self, resource: Resource) -> Result<Resource, StepError> {
        self.hold().await?;
        if let Some(recorded) = self.resource(&resource.arn).await?
            && recorded.state != ResourceState::Removed
        {
            return Ok(recorded);
        }
        self.write(resource_item(&self.pk(), &resource)?).await?;
        Ok(resource)
    }

    /// Records that a resource was seen to exist, and what tells it from a later one of its name.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn created(
        &self,
        mut resource: Resource,
        resource_id: Option<&str>,
    ) -> Result<(), StepError> {
        if resource.state == ResourceState::Created {
            return Ok(());
        }
        resource.state = ResourceState::Created;
        resource.made = true;
        resource.resource_id = resource_id.map(str::to_owned);
        self.write(resource_item(&self.pk(), &resource)?).await
    }

    /// Records that a resource was seen to be gone. Asks for no lock: whoever may say so has sealed it, or is the
    /// last step that holds it.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn removed(&self, mut resource: Resource) -> Result<(), StepError> {
        if resource.state == ResourceState::Removed {
            return Ok(());
        }
        resource.state = ResourceState::Removed;
        let item = resource_item(&self.pk(), &resource)?;
        self.table.put(item, None).await.map(|_| ())
    }

    /// One resource of the ledger.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn resource(&self, arn: &str) -> Result<Option<Resource>, StepError> {
        let item = self.table.get(&self.pk(), &resource_key(arn)).await?;
        item.map(|item| json_attribute(&item, "resource"))
            .transpose()
    }

    /// Every resource of the ledger, in the order of undo.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn resources(&self) -> Result<Vec<Resource>, StepError> {
        let items = self.table.query(&self.pk(), "RESOURCE#").await?;
        let mut resources: Vec<Resource> = items
            .iter()
            .map(|item| json_attribute(item, "resource"))
            .collect::<Result<_, _>>()?;
        // Within a kind the last named goes first: readers before the writer.
        resources.sort_by(|a, b| {
            a.kind
                .cmp(&b.kind)
                .then_with(|| b.identifier.cmp(&a.identifier))
        });
        Ok(resources)
    }

    /// Records what was verified.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn record_evidence(&self, evidence: &Evidence) -> Result<(), StepError> {
        self.write(
            Item::key(&self.pk(), "EVIDENCE")
                .with("evidence", to_json(evidence)?)
                .kept_from(evidence.verified_at),
        )
        .await
    }

    /// What was verified.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn evidence(&self) -> Result<Option<Evidence>, StepError> {
        let item = self.table.get(&self.pk(), "EVIDENCE").await?;
        item.map(|item| json_attribute(&item, "evidence"))
            .transpose()
    }

    /// Records that from here on others may reach the target, so that undo no longer removes it.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn record_in_service(&self, at: OffsetDateTime) -> Result<(), StepError> {
        self.write(self.service("in-service", at)).await
    }

    /// Takes that back, because RDS refused to let anyone in.
    ///
    /// # Errors
    /// AR0014 when the lock was lost.
    pub async fn record_not_in_service(&self, at: OffsetDateTime) -> Result<(), StepError> {
        self.write(self.service("refused", at)).await
    }

    /// Kept for good: it is what keeps the target.
    fn service(&self, state: &str, at: OffsetDateTime) -> Item {
        Item::key(&self.pk(), "IN_SERVICE")
            .with("state", state)
            .with("since", rfc3339(at))
            .with(STARTED_AT, &self.plan.execution_started_at)
    }

    /// Whether an item is this restore's, and not one's that bore the same name before.
    fn is_own(&self, item: &Item) -> bool {
        item.text(STARTED_AT) == Some(&self.plan.execution_started_at)
    }

    /// Whether others may reach the target.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn is_in_service(&self) -> Result<bool, StepError> {
        let item = self.table.get(&self.pk(), "IN_SERVICE").await?;
        Ok(item.is_some_and(|item| self.is_own(&item) && item.text("state") == Some("in-service")))
    }

    /// Records how the restore ended and releases the lock, both or neither; gives the end that stands.
    ///
    /// An end that was recorded before stands: our own whose answer was lost, or that of another attempt. Only
    /// `Restored` gives way to a failure: then the execution failed after all. A failure is recorded even where
    /// the lock is another restore's by now; that lock is left alone.
    ///
    /// # Errors
    /// AR0014 when the lock was lost before the restore could be called restored.
    pub async fn end(&self, ending: &Ending, at: OffsetDateTime) -> Result<Ending, StepError> {
        let restored = ending.status == Status::Restored;
        let lock = Item::key(&lock_key(self.plan.named_arn()), "LOCK")
            .with("owner", &self.plan.restore_id)
            .with("executionArn", &self.plan.execution_arn)
            .with("state", RELEASED)
            .with("releasedAt", rfc3339(at))
            .with_number("epoch", self.epoch);
        let ours = self.lock_is(if restored { HELD } else { UNDOING });
        let record = meta(&self.plan, ending.status, Some(ending), Some(at))?;
        let first = Condition::new("attribute_not_exists(#ending)").name("ending");
        let untold = (to_do(ToDo::Tell, &self.plan.restore_id, at), None);
        let mut all = vec![
            (lock, Some(ours)),
            (record.clone(), Some(first.clone())),
            untold.clone(),
        ];
        let over = match ending.status {
            Status::FailedClean => Some((planned(&self.plan, self.epoch)?.kept_from(at), None)),
            _ => None,
        };
        all.extend(over.clone());
        if restored {
            all.extend(self.retirement(at).map(|item| (item, None)));
        }
        if self.table.write(all, None).await? == Written::Yes {
            return Ok(ending.clone());
        }
        let recorded = recorded_ending(&self.table, &self.pk()).await?;
        let only = match recorded {
            Some(recorded) if restored || recorded.status != Status::Restored => {
                return Ok(recorded);
            }
            None if restored => return Err(self.lock_lost()),
            None => first,
            Some(_) => Condition::new("#status = :restored")
                .name("status")
                .value("restored", Status::Restored.name()),
        };
        let without_lock = [(record, Some(only)), untold].into_iter().chain(over);
        let without_lock = without_lock.collect();
        match self.table.write(without_lock, None).await? {
            Written::Yes => Ok(ending.clone()),
            Written::Refused => recorded_ending(&self.table, &self.pk())
                .await?
                .ok_or_else(|| StepError::defect("an end was refused and none is recorded")),
        }
    }
}

/// How a restore ended, as recorded; `None` while it runs.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn ending(table: &Table, id: &RestoreId) -> Result<Option<Ending>, StepError> {
    recorded_ending(table, &restore_key(id.as_str())).await
}

/// When a restore's end was recorded.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn ended_at(table: &Table, id: &RestoreId) -> Result<Option<OffsetDateTime>, StepError> {
    let item = table.get(&restore_key(id.as_str()), "META").await?;
    Ok(item.and_then(|item| time(item.text("endedAt")?)))
}

async fn recorded_ending(table: &Table, pk: &str) -> Result<Option<Ending>, StepError> {
    let item = table.get(pk, "META").await?;
    item.map_or(Ok(None), |item| ending_in(&item))
}

/// The end that a restore's own item tells; `None` while it runs.
///
/// # Errors
/// AR0099 when it is not as it was written.
pub(crate) fn ending_in(item: &Item) -> Result<Option<Ending>, StepError> {
    let told = item.text("ending").is_some();
    told.then(|| json_attribute(item, "ending")).transpose()
}

/// The ARN of a restore's execution and, once there is one, its plan.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn execution_of(
    context: &Context,
    id: &RestoreId,
) -> Result<Option<(String, Option<Plan>)>, StepError> {
    if let Some(Restore { plan, .. }) = Restore::find(context, id).await? {
        return Ok(Some((plan.execution_arn.clone(), Some(plan))));
    }
    let item = context
        .table()
        .get(&restore_key(id.as_str()), "META")
        .await?;
    Ok(item.and_then(|item| Some((item.text("executionArn")?.to_owned(), None))))
}

/// Records the end of a restore that failed before it had a plan, and so has neither lock nor resources.
///
/// Where an earlier restore used the same id, its record stands.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn end_without_plan(
    context: &Context,
    id: &RestoreId,
    execution_arn: &str,
    ending: &Ending,
) -> Result<(), StepError> {
    let now = context.clock.now();
    let item = Item::key(&restore_key(id.as_str()), "META")
        .with("restoreId", id.as_str())
        .with("executionArn", execution_arn)
        .with("status", ending.status.name())
        .with("startedAt", rfc3339(now))
        .with("endedAt", rfc3339(now))
        .with("ending", to_json(ending)?)
        .kept_from(now);
    let untold = to_do(ToDo::Tell, id.as_str(), now);
    let writes = vec![(item, Some(Condition::absent())), (untold, None)];
    context.table().write(writes, None).await.map(|_| ())
}

/// Records an end that nobody recorded yet, as well as it can be: whoever waited for it could not. Gives the end
/// that stands.
///
/// A dirty end that names nothing is of an undo at which nobody could look: everything that the ledger does not know
/// to be gone is named.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn close(
    context: &Context,
    id: &RestoreId,
    execution_arn: &str,
    started_at: &str,
    ending: &Ending,
) -> Result<Ending, StepError> {
    let Some(restore) = Restore::find(context, id)
        .await?
        .filter(|found| found.belongs_to(started_at))
    else {
        end_without_plan(context, id, execution_arn, ending).await?;
        return Ok(ending.clone());
    };
    let mut ending = ending.clone();
    if ending.status == Status::FailedDirty && ending.leftovers.is_empty() && ending.kept.is_empty()
    {
        let in_service = restore.is_in_service().await?;
        for resource in restore.resources().await? {
            if resource.state == ResourceState::Removed {
                continue;
            }
            if in_service && resource.kind != ResourceKind::SnapshotCopy {
                ending.kept.push(resource.arn);
            } else {
                let region = &restore.plan.target.region;
                ending.leftovers.push(Leftover::recorded(&resource, region));
            }
        }
    }
    let now = context.clock.now();
    restore.seal(now).await?;
    restore.end(&ending, now).await
}

/// What is still to be done about a restore that has ended. The reaper does what nobody else did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToDo {
    /// Nobody was told of the end yet.
    Tell,
    /// The target expired, and its removal has begun.
    Expire,
    /// The cluster that the target replaced is kept for a time, and then removed.
    Retire,
}

impl ToDo {
    fn name(self) -> &'static str {
        match self {
            Self::Tell => "TELL",
            Self::Expire => "EXPIRE",
            Self::Retire => "RETIRE",
        }
    }

    fn prefix(self) -> String {
        format!("{}#", self.name())
    }

    fn key(self, id: &str) -> String {
        format!("{}{id}", self.prefix())
    }
}

/// The partition of what is to be done.
const TO_DO: &str = "TODO";

/// Whoever began to tell of an end is given this long before another may try.
const TELLING_TAKES: time::Duration = time::Duration::minutes(5);

fn to_do(what: ToDo, id: &str, since: OffsetDateTime) -> Item {
    let item = Item::key(TO_DO, &what.key(id))
        .with("restoreId", id)
        .with("since", rfc3339(since));
    match what {
        ToDo::Tell | ToDo::Expire => item.kept_from(since),
        ToDo::Retire => item, // for as long as somebody keeps the cluster
    }
}

/// The restores about which this is to be done, and since when.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn list_to_do(
    table: &Table,
    what: ToDo,
) -> Result<Vec<(RestoreId, OffsetDateTime)>, StepError> {
    let items = table.query(TO_DO, &what.prefix()).await?;
    let read = |item: &Item| {
        let id = RestoreId::parse(item.text("restoreId")?).ok()?;
        Some((id, time(item.text("since")?)?))
    };
    Ok(items.iter().filter_map(read).collect())
}

/// Takes it upon oneself to tell of an end; `false` when it was told, or somebody is about to.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn claim_telling(context: &Context, id: &RestoreId) -> Result<bool, StepError> {
    let (table, now) = (context.table(), context.clock.now());
    let Some(item) = table.get(TO_DO, &ToDo::Tell.key(id.as_str())).await? else {
        return Ok(false);
    };
    let unclaimed = Condition::new(
        "attribute_exists(pk) AND (attribute_not_exists(#claimedAt) OR #claimedAt < :abandoned)",
    )
    .name("claimedAt")
    .number("abandoned", (now - TELLING_TAKES).unix_timestamp());
    let claimed = item.with_number("claimedAt", now.unix_timestamp());
    Ok(table.put(claimed, Some(unclaimed)).await? == Written::Yes)
}

/// Takes something off the list.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn done(table: &Table, what: ToDo, id: &RestoreId) -> Result<(), StepError> {
    table.delete(TO_DO, &what.key(id.as_str())).await
}

/// Restores that are recorded as running, oldest first, at most this many. A hint: the index lags behind.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn list_running(table: &Table, most: i32) -> Result<Vec<RestoreId>, StepError> {
    let key = ("status", Status::Running.name());
    let items = table.query_index("by-status", key, Order::OldestFirst, most);
    let read = |item: &Item| RestoreId::parse(item.text("restoreId")?).ok();
    Ok(items.await?.iter().filter_map(read).collect())
}

/// When the restore that was started last, of those that were proved and put into service, ended. A hint, as above.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn last_restored(table: &Table) -> Result<Option<OffsetDateTime>, StepError> {
    let key = ("status", Status::Restored.name());
    let items = table.query_index("by-status", key, Order::NewestFirst, 1);
    Ok(items
        .await?
        .first()
        .and_then(|item| time(item.text("endedAt")?)))
}

/// How the target of a restored restore goes once it expired, and the cluster that it replaced once it was kept
/// long enough.
impl Restore {
    /// Takes the target's lock for a removal, so that it meets no new restore; `false` when that lock is somebody
    /// else's, another removal's too, or the time that was looked at does not stand any more. No step of this restore
    /// holds the lock by that: the epoch is not theirs.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn begin_removal(
        &self,
        what: ToDo,
        expiry: Option<&Expiry>,
        at: OffsetDateTime,
    ) -> Result<bool, StepError> {
        let lock = self.lock().await?;
        if lock
            .as_ref()
            .is_some_and(|lock| self.is_removing(lock, what))
        {
            return Ok(true);
        }
        let state = lock.as_ref().and_then(|lock| lock.text("state"));
        if state.is_some_and(|state| state != RELEASED) {
            return Ok(false);
        }
        let found = lock.as_ref().and_then(|lock| lock.number("epoch"));
        let as_found = match found {
            None => Condition::absent(),
            Some(epoch) => Condition::new("#epoch = :epoch AND #state = :released")
                .name("epoch")
                .name("state")
                .number("epoch", epoch)
                .value("released", RELEASED),
        };
        let taken = Item::key(&lock_key(self.plan.named_arn()), "LOCK")
            .with("owner", &self.plan.restore_id)
            .with("executionArn", &self.plan.execution_arn)
            .with("state", UNDOING)
            .with(REMOVING, what.name())
            .with("undoingSince", rfc3339(at))
            .with_number("epoch", found.unwrap_or(self.epoch) + 1);
        let begun = to_do(what, &self.plan.restore_id, at);
        let writes = vec![(taken, Some(as_found)), (begun, None)];
        Ok(self.table.write(writes, expiry.map(Expiry::guard)).await? == Written::Yes)
    }

    /// Writes an item if this holds of it, while nobody holds the target's lock.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub(crate) async fn write_while_free(
        &self,
        item: Item,
        condition: Condition,
    ) -> Result<Written, StepError> {
        let free = Condition::new("attribute_not_exists(pk) OR #state = :released")
            .name("state")
            .value("released", RELEASED);
        let lock = Item::key(&lock_key(self.plan.named_arn()), "LOCK");
        let writes = vec![(item, Some(condition))];
        self.table.write(writes, Some((lock, free))).await
    }

    fn is_removing(&self, lock: &Item, what: ToDo) -> bool {
        lock.text("owner") == Some(&self.plan.restore_id)
            && lock.text("state") == Some(UNDOING)
            && lock.text(REMOVING) == Some(what.name())
    }

    /// Records that the expired target is gone, and releases the lock.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn end_expiry(&self, at: OffsetDateTime) -> Result<(), StepError> {
        if let Some(record) = self.table.get(&self.pk(), "META").await? {
            let restored = Condition::new("#status = :restored")
                .name("status")
                .value("restored", Status::Restored.name());
            let record = record.with("reapedAt", rfc3339(at)).kept_from(at);
            self.table.put(record, Some(restored)).await?;
            let plan = planned(&self.plan, self.epoch)?.kept_from(at);
            self.table.put(plan, None).await?;
        }
        self.abandon(ToDo::Expire, at).await
    }

    /// Releases the lock of a removal, if it had begun, and takes it off the list: what was to be removed is gone, or
    /// to be kept.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn abandon(&self, what: ToDo, at: OffsetDateTime) -> Result<(), StepError> {
        self.release_removal(what, at).await?;
        done(&self.table, what, &RestoreId::parse(&self.plan.restore_id)?).await
    }

    /// Releases the lock of a removal, if it had begun.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn release_removal(&self, what: ToDo, at: OffsetDateTime) -> Result<(), StepError> {
        let lock = self.lock().await?;
        if let Some(lock) = lock.filter(|lock| self.is_removing(lock, what)) {
            let ours =
                Condition::new("#owner = :owner AND #state = :undoing AND #removing = :what")
                    .name("owner")
                    .name("state")
                    .name(REMOVING)
                    .value("owner", &self.plan.restore_id)
                    .value("undoing", UNDOING)
                    .value("what", what.name());
            let released = lock.with("state", RELEASED).with("releasedAt", rfc3339(at));
            self.table.put(released, Some(ours)).await?;
        }
        Ok(())
    }
}

/// When a state was first tried, by its record.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn step_began(
    context: &Context,
    id: &RestoreId,
    state: &str,
) -> Result<Option<OffsetDateTime>, StepError> {
    let item = context
        .table()
        .get(&restore_key(id.as_str()), &record_key(state))
        .await?;
    Ok(item.and_then(|item| time(item.text("startedAt")?)))
}

/// What a state's function answered last, by the state's record; `None` when its last attempt failed.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn last_answer(
    context: &Context,
    id: &RestoreId,
    state: &str,
) -> Result<Option<Value>, StepError> {
    let item = context
        .table()
        .get(&restore_key(id.as_str()), &record_key(state))
        .await?;
    Ok(item.and_then(|item| serde_json::from_str(item.text("detail")?).ok()))
}

/// The token of an execution that waits for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Whose restore waits.
    pub restore_id: String,
    /// The waiting state.
    pub state: String,
    /// What it waits for.
    pub wait_for: String,
    /// Step Functions' task token.
    pub task_token: String,
}

/// A token is of no use after its wait's longest deadline.
const TOKEN_KEPT_FOR: time::Duration = time::Duration::days(7);

/// Leaves the token where an event about the resource finds it.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn leave_token(
    context: &Context,
    resource_arn: &str,
    waiting: &Waiting,
) -> Result<(), StepError> {
    let now = context.clock.now();
    let item = Item::key(&wake_key(resource_arn), "TOKEN")
        .with("waiting", to_json(waiting)?)
        .with("since", rfc3339(now))
        .with_number(TTL, (now + TOKEN_KEPT_FOR).unix_timestamp());
    context.table().put(item, None).await.map(|_| ())
}

/// The token that was left for a resource.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn find_token(
    context: &Context,
    resource_arn: &str,
) -> Result<Option<Waiting>, StepError> {
    let item = context
        .table()
        .get(&wake_key(resource_arn), "TOKEN")
        .await?;
    item.map(|item| json_attribute(&item, "waiting"))
        .transpose()
}

fn wake_key(resource_arn: &str) -> String {
    format!("WAKE#{resource_arn}")
}

fn resource_key(arn: &str) -> String {
    format!("RESOURCE#{arn}")
}

fn resource_item(pk: &str, resource: &Resource) -> Result<Item, StepError> {
    Ok(Item::key(pk, &resource_key(&resource.arn)).with("resource", to_json(resource)?))
}

fn meta(
    plan: &Plan,
    status: Status,
    ending: Option<&Ending>,
    ended_at: Option<OffsetDateTime>,
) -> Result<Item, StepError> {
    let mut item = Item::key(&restore_key(&plan.restore_id), "META")
        .with("restoreId", &plan.restore_id)
        .with("executionArn", &plan.execution_arn)
        .with("status", status.name())
        .with("target", plan.named_arn())
        .with("source", plan.source.arn())
        .with("sourceCluster", &plan.source.cluster_identifier)
        .with("executionStartedAt", &plan.execution_started_at)
        .with("startedAt", rfc3339(plan.planned_at))
        .with_some("profile", plan.profile.as_deref());
    if let (Some(ending), Some(at)) = (ending, ended_at) {
        item = item
            .with("endedAt", rfc3339(at))
            .with("ending", to_json(ending)?);
        if ending.status == Status::FailedClean {
            item = item.kept_from(at);
        }
    }
    Ok(item)
}

/// A plan's record. Like the end's, it is kept while anything of the restore may stand.
fn planned(plan: &Plan, epoch: i64) -> Result<Item, StepError> {
    let item = Item::key(&restore_key(&plan.restore_id), "PLAN");
    Ok(item
        .with("plan", to_json(plan)?)
        .with_number("epoch", epoch))
}

/// A time that the table holds.
pub(crate) fn time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A time as the table holds it.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339)
        .unwrap_or_else(|_| at.unix_timestamp().to_string())
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StepError> {
    serde_json::to_string(value)
        .map_err(|error| StepError::defect("a record of ours does not serialize").caused_by(error))
}

fn json_attribute<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> Result<T, StepError> {
    let place = || {
        format!(
            "{}/{}",
            item.text(PK).unwrap_or("?"),
            item.text(SK).unwrap_or("?")
        )
    };
    let text = item
        .text(name)
        .ok_or_else(|| StepError::new(&AR0099, format!("`{}` has no `{name}`", place())))?;
    request::parse(text)
        .map_err(|problem| StepError::new(&AR0099, format!("`{}`: {problem}", place())))
}

/// One attempt of a state: when it began, how long it worked, how it ended.
#[derive(Clone, Debug)]
pub struct StepRecord<'a> {
    /// The state's name.
    pub state: &'a str,
    /// When the attempt began.
    pub started_at: OffsetDateTime,
    /// Milliseconds of work in this attempt.
    pub worked_millis: i64,
    /// What it answered, or the error's code.
    pub outcome: Result<&'a Value, &'a StepError>,
}

/// What steps after the restore ask of the target.
impl Restore {
    /// The target as RDS describes it now.
    ///
    /// # Errors
    /// AR0018 for a status from which it does not become ready, AR0037 when it is being deleted or has another name
    /// now, AR0028 when it cannot be seen.
    pub async fn describe_target(&self, context: &Context) -> Result<DbCluster, StepError> {
        let target = &self.plan.target;
        let client = context.aws.rds(&target.region);
        let name = &target.cluster_identifier;
        if let Some(found) = self.find_target(context).await? {
            let status = found.status().unwrap_or_default();
            let meaning = status::of_cluster(status);
            if let Some(error) = status::hopeless(meaning, &AR0018, name, status) {
                self.hold().await?; // where it is our own Undo that deletes it, AR0014 is the reason
                return Err(error);
            }
            return Ok(found);
        }
        if let Some(recorded) = self.resource(&target.arn).await?
            && let Some(new_name) = rds::renamed_to(&client, &recorded).await?
        {
            return Err(rds::renamed(&recorded, &new_name));
        }
        Err(StepError::new(
            &AR0028,
            format!("cluster `{name}` cannot be seen"),
        ))
    }

    /// Proves, before a change, that the target is still the cluster this restore made.
    ///
    /// # Errors
    /// AR0012 when it is not, or is not in the ledger.
    pub async fn prove_target(&self, cluster: &DbCluster) -> Result<(), StepError> {
        let name = &self.plan.target.cluster_identifier;
        let recorded = self.target_resource().await?;
        let (tags, id) = (cluster.tag_list(), cluster.db_cluster_resource_id());
        ownership::prove(
            name,
            tags,
            &self.plan.restore_id,
            id,
            recorded.resource_id.as_deref(),
        )
    }

    /// Where the target listens.
    ///
    /// # Errors
    /// AR0032 when RDS does not tell yet.
    pub fn endpoint(&self, cluster: &DbCluster) -> Result<Endpoint, StepError> {
        let host = cluster
            .endpoint()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| {
                StepError::new(
                    &AR0032,
                    format!(
                        "cluster `{}` has no endpoint yet",
                        self.plan.target.cluster_identifier
                    ),
                )
            })?;
        let port = cluster
            .port()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(self.plan.target.port);
        Ok(Endpoint {
            host: host.to_owned(),
            port,
            tls: self.plan.database_tls.clone(),
        })
    }

    /// The secret that holds the new master password.
    ///
    /// # Errors
    /// AR0028 when RDS does not name it yet.
    pub fn master_secret_id(&self, cluster: &DbCluster) -> Result<String, StepError> {
        match self.plan.master_password {
            MasterPassword::Secret => Ok(self.plan.secret_name.clone()),
            MasterPassword::RdsManaged => cluster
                .master_user_secret()
                .and_then(|secret| secret.secret_arn())
                .map(str::to_owned)
                .ok_or_else(|| {
                    StepError::new(&AR0028, "RDS does not name the master user's secret yet")
                }),
        }
    }

    /// The new master credentials: pending ones first, as long as there are any.
    ///
    /// # Errors
    /// AR0028 while the secret has no value.
    pub async fn new_master_credentials(
        &self,
        context: &Context,
        cluster: &DbCluster,
    ) -> Result<Credentials, StepError> {
        let secret = self.master_secret_id(cluster)?;
        let client = context.aws.secrets_manager();
        let user = &self.plan.source.master_username;
        if self.plan.master_password == MasterPassword::Secret
            && let Some(pending) = secrets::read(client, &secret, Stage::Pending, user).await?
        {
            return Ok(pending);
        }
        let current = secrets::read(client, &secret, Stage::Current, user).await?;
        current
            .ok_or_else(|| StepError::new(&AR0028, format!("secret `{secret}` has no value yet")))
    }
}
