//! When a target goes, and people who change that.
//!
//! The plan says when, once and for all; a person may say otherwise later, beside it.
//! A target is removed when both the time that stands here and the one in its tag have
//! passed, so a change that was written only half keeps it. A change is made while
//! nobody holds the target's lock, and its removal begins only while the time stands
//! that was looked at: whichever comes first, the other is refused.

use aws_sdk_rds::types::Tag;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Restore;
use crate::errors::{AR0001, AR0055, AR0099, StepError};
use crate::ledger::{self, Resource, ResourceKind, Status, rfc3339};
use crate::names::RestoreId;
use crate::ownership::{EXPIRES_AT_TAG, RETIRED_BY_TAG};
use crate::plan::Plan;
use crate::rds::{self, Found};
use crate::request;
use crate::settings::DeployedSettings;
use crate::step::Context;
use crate::table::{Condition, Item, Table, Written};

/// The partition of when a restore's target goes.
pub fn expiry_key(id: &str) -> String {
    format!("EXPIRY#{id}")
}

const AT: &str = "AT";

/// A time that somebody said later than the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The ARN of who said it.
    by: String,
    #[serde(with = "time::serde::rfc3339")]
    changed_at: OffsetDateTime,
}

/// When a target goes, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The time; `None` when the target is kept.
    pub at: Option<OffsetDateTime>,
    /// How often it was changed.
    version: i64,
    started_at: String,
    restore_id: String,
}

/// The time that stands: the plan's, or what somebody said later.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn stands(table: &Table, plan: &Plan) -> Result<Expiry, StepError> {
    let planned = Expiry {
        at: plan.expires_at,
        version: 0,
        started_at: plan.execution_started_at.clone(),
        restore_id: plan.restore_id.clone(),
    };
    let item = table.get(&expiry_key(&plan.restore_id), AT).await?;
    // A name can be used again; what was said of its last bearer is nothing now.
    let own =
        item.filter(|item| item.text("executionStartedAt") == Some(&plan.execution_started_at));
    let Some(item) = own else {
        return Ok(planned);
    };
    let text = item.text("change").unwrap_or_default();
    let change: Change = request::parse(text).map_err(|problem| {
        StepError::new(
            &AR0099,
            format!("`{}`: {problem}", expiry_key(&plan.restore_id)),
        )
    })?;
    Ok(Expiry {
        at: Some(change.at),
        version: item.number("version").unwrap_or(0),
        ..planned
    })
}

impl Expiry {
    /// Holds while nobody has changed it.
    fn unchanged(&self) -> Condition {
        let own = "#executionStartedAt = :started";
        let condition = match self.version {
            0 => Condition::new("attribute_not_exists(pk) OR #executionStartedAt <> :started"),
            version => Condition::new(&format!("{own} AND #version = :version"))
                .name("version")
                .number("version", version),
        };
        condition
            .name("executionStartedAt")
            .value("started", &self.started_at)
    }

    /// Its item, and what holds while nobody has changed it.
    pub(crate) fn guard(&self) -> (Item, Condition) {
        (
            Item::key(&expiry_key(&self.restore_id), AT),
            self.unchanged(),
        )
    }

    /// When the target goes, by this and by its tag; `None` when it does not.
    pub fn with_tag(&self, tag: Option<&str>) -> Option<OffsetDateTime> {
        let tagged = OffsetDateTime::parse(tag?, &Rfc3339).ok()?;
        self.at.map(|at| at.max(tagged))
    }

    /// The time of the tag, where a change did not reach it: who asks for so many hours again asks for the same change.
    fn not_in_tag(&self, tag: Option<&str>) -> Option<OffsetDateTime> {
        let tagged = OffsetDateTime::parse(tag?, &Rfc3339).ok()?;
        self.at.is_some_and(|at| tagged < at).then_some(tagged)
    }
}

/// How long before it goes people are told: as planned, but a quarter of its life at most.
pub fn warning_lead(plan: &Plan, at: OffsetDateTime) -> time::Duration {
    let planned = time::Duration::hours(plan.expiry_warning_hours.into());
    planned.min((at - plan.planned_at) / 4)
}

/// When somebody wants a target to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// So many hours later than it would.
    Later(u32),
    /// At this time.
    At(OffsetDateTime),
    /// Now.
    Now,
}

/// A time that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The restore.
    pub restore_id: String,
    /// When its target goes now.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it would have gone; `None` when it was kept.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expired_at: Option<OffsetDateTime>,
    /// The ARNs that are tagged with it.
    pub tagged: Vec<String>,
}

/// Changes when the target of a restored restore goes: in the table first, then in the tags of its cluster and its
/// instances.
///
/// # Errors
/// AR0001 for a time that is not permitted; AR0055 when the target is being removed, is not there, or was never
/// restored; what RDS refuses: then the target stays, and the same change can be asked for again.
pub async fn change(
    context: &Context,
    id: &RestoreId,
    wanted: Wanted,
    by: &str,
) -> Result<Changed, StepError> {
    let (table, now) = (context.table(), context.clock.now());
    let restore = restored(context, id).await?;
    let plan = restore.plan();
    let settings = DeployedSettings::read(context.aws.ssm(), &context.settings.settings_parameter);
    let settings = settings.await?;
    let production = is_production(plan, &settings);
    if production && plan.expires_at.is_none() {
        let name = plan.name();
        let text = format!("has a target `{name}` that is production's and was not made to go");
        return Err(refused(id, &text));
    }
    let found = proved(context, &restore).await?;
    let expiry = stands(&table, plan).await?;
    let cluster = found
        .iter()
        .find(|found| found.kind == ResourceKind::Cluster);
    let Some(cluster) = cluster.filter(|cluster| cluster.status != "deleting") else {
        return Err(refused(id, "has no target any more that could be changed"));
    };
    // More time does no harm: whoever takes a retired cluster back needs it before the mark goes.
    if wanted == Wanted::Now
        && let Some(why) = stays(cluster)
    {
        let name = &cluster.identifier;
        return Err(refused(id, &format!("has a target `{name}` that {why}")));
    }
    let tagged = cluster.expires_at.as_deref();
    let standing = expiry.with_tag(tagged).or(expiry.at);
    let year = now + time::Duration::hours(MOST_HOURS.into());
    let last = match settings.longest_lifetime().filter(|_| !production) {
        Some(longest) => (plan.planned_at + longest, "as deployed"),
        None => (year, "a year from now"),
    };
    let from = expiry.not_in_tag(tagged).or(standing);
    let at = permitted(wanted, standing, from, now, last)?;
    record(&restore, &expiry, id, at, by, now).await?;
    let mut done = Vec::new();
    // The cluster last: its tag is what the reaper goes by.
    let (clusters, others): (Vec<&Found>, Vec<&Found>) = found
        .iter()
        .partition(|found| found.kind == ResourceKind::Cluster);
    for found in others.into_iter().chain(clusters) {
        tag(context, plan, found, at).await?;
        done.push(found.arn.clone());
    }
    tracing::info!(
        restoreId = id.as_str(),
        expiresAt = rfc3339(at),
        by,
        "expiry changed"
    );
    Ok(Changed {
        restore_id: id.as_str().to_owned(),
        expires_at: at,
        expired_at: standing,
        tagged: done,
    })
}

/// Whether clients of production come to the target, as it was planned or as it is deployed today.
fn is_production(plan: &Plan, settings: &DeployedSettings) -> bool {
    let approved = plan.approval.as_ref();
    approved.is_some_and(|approval| approval.production)
        || plan
            .switch
            .names(plan.name())
            .into_iter()
            .any(|name| settings.is_production(name))
}

/// Why a target does not go now, whoever asks for it.
fn stays(cluster: &Found) -> Option<String> {
    if cluster.protected {
        let why = "is protected against deletion: whoever protected it takes that back first";
        return Some(why.to_owned());
    }
    cluster.retired.then(|| {
        format!(
            "another restore replaced, and keeps for the time that it was told; the tag `{RETIRED_BY_TAG}` must go first"
        )
    })
}

fn refused(id: &RestoreId, why: &str) -> StepError {
    StepError::new(&AR0055, format!("restore `{}` {why}", id.as_str()))
}

/// The restore, if it ended well.
async fn restored(context: &Context, id: &RestoreId) -> Result<Restore, StepError> {
    let restore = Restore::find(context, id).await?;
    match ledger::ending(&context.table(), id).await? {
        Some(ending) if ending.status == Status::Restored => {
            restore.ok_or_else(|| refused(id, "has no plan on record any more"))
        }
        Some(ending) => {
            let ended = ending.status.name();
            Err(refused(
                id,
                &format!("ended {ended}, and has no target that expires"),
            ))
        }
        None if restore.is_none() => Err(refused(id, "is not on record")),
        None => Err(refused(id, "is still at work")),
    }
}

/// What is there of the target, and proved to be this restore's: by tag, ledger and resource id, whatever it is called
/// by now.
async fn proved(context: &Context, restore: &Restore) -> Result<Vec<Found>, StepError> {
    let plan = restore.plan();
    let client = context.aws.rds(&plan.target.region);
    let ledger = restore.resources().await?;
    let mut found = rds::find_tagged(&client, &plan.restore_id).await?;
    found.retain(|found| {
        let ours = |recorded: &Resource| {
            recorded.resource_id.is_some() && (recorded.is(found) || recorded.is_renamed(found))
        };
        let kept = matches!(found.kind, ResourceKind::Cluster | ResourceKind::Instance);
        kept && ledger.iter().any(ours)
    });
    Ok(found)
}

/// The time that is asked for, if it is one to which the target may live. Hours count from `from`.
fn permitted(
    wanted: Wanted,
    standing: Option<OffsetDateTime>,
    from: Option<OffsetDateTime>,
    now: OffsetDateTime,
    (last, why): (OffsetDateTime, &str),
) -> Result<OffsetDateTime, StepError> {
    let malformed = |field: &str, found: &str, expected: &str| {
        let text = format!("at `{field}`: {found}, expected {expected}");
        Err(StepError::new(&AR0001, text))
    };
    let (field, at) = match (wanted, from) {
        (Wanted::Now, _) => return Ok(now),
        (Wanted::Later(hours), Some(from)) if (1..=MOST_HOURS).contains(&hours) => {
            let hours = time::Duration::hours(hours.into());
            ("hours", from.max(now) + hours)
        }
        (Wanted::Later(hours), Some(_)) => {
            let expected = format!("1 to {MOST_HOURS}");
            return malformed("hours", &format!("`{hours}`"), &expected);
        }
        (Wanted::Later(_), None) => {
            let expected = "`until`: the target is kept, and there is no time to count from";
            return malformed("hours", "given", expected);
        }
        (Wanted::At(at), _) => ("until", at),
    };
    let said = match wanted {
        Wanted::Later(hours) => format!("`{hours}`, until {}", rfc3339(at)),
        Wanted::At(_) | Wanted::Now => format!("`{}`", rfc3339(at)),
    };
    if at <= now {
        return malformed(
            field,
            &said,
            "a time to come; `aurora-restore expire` is for now",
        );
    }
    if let Some(standing) = standing.filter(|standing| at < *standing) {
        let expected = format!("no earlier than {}, when it goes anyhow", rfc3339(standing));
        return malformed(field, &said, &expected);
    }
    if at > last {
        let expected = format!("no later than {}, {why}", rfc3339(last));
        return malformed(field, &said, &expected);
    }
    Ok(at)
}

/// A year: nothing is put off for longer at a time.
const MOST_HOURS: u32 = 8_760;

/// Writes the time down, while nobody holds the target's lock and nobody changed it since it was looked at.
async fn record(
    restore: &Restore,
    expiry: &Expiry,
    id: &RestoreId,
    at: OffsetDateTime,
    by: &str,
    now: OffsetDateTime,
) -> Result<(), StepError> {
    let change = Change {
        at,
        by: by.to_owned(),
        changed_at: now,
    };
    let change = serde_json::to_string(&change).map_err(|error| {
        StepError::defect("a record of ours does not serialize").caused_by(error)
    })?;
    // Kept as long as the ledger, which has no end: it keeps a target.
    let item = Item::key(&expiry_key(id.as_str()), AT)
        .with("change", change)
        .with("executionStartedAt", &expiry.started_at)
        .with_number("version", expiry.version + 1);
    match restore.write_while_free(item, expiry.unchanged()).await? {
        Written::Yes => Ok(()),
        Written::Refused => Err(refused(
            id,
            "has a target that is being removed or replaced, or whose time somebody else changed in the same moment",
        )),
    }
}

async fn tag(
    context: &Context,
    plan: &Plan,
    found: &Found,
    at: OffsetDateTime,
) -> Result<(), StepError> {
    let tag = Tag::builder()
        .key(EXPIRES_AT_TAG)
        .value(rfc3339(at))
        .build();
    let asked = context
        .aws
        .rds(&plan.target.region)
        .add_tags_to_resource()
        .resource_name(&found.arn)
        .tags(tag);
    asked.send().await.map(drop).map_err(|error| {
        let action = format!(
            "tag `{}`; it stays until it is tagged with {}",
            found.arn,
            rfc3339(at)
        );
        StepError::from_sdk(action, error)
    })
}
