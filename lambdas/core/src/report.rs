//! The report of a restore, from the state table: what notifications, the CLI and people read.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::approval::{self, ApprovalReport};
use crate::errors::StepError;
use crate::fidelity::Compared;
use crate::ledger::{
    Address, Begun, Ending, Evidence, Finding, Leftover, Resource, ResourceState, Status,
    restore_key, rfc3339,
};
use crate::names::RestoreId;
use crate::plan::Plan;
use crate::request;
use crate::table::{Item, Table};

/// The report of a restore.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `Running`, `Restored`, `FailedClean` or `FailedDirty`.
    pub outcome: String,
    /// The restore.
    pub restore_id: String,
    /// When its execution started, once planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_started_at: Option<String>,
    /// Its profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The documented code, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What happened and what to do, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What was restored, once planned: a snapshot, a cluster at a point in time, or a clone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The moment that the data is of (RFC 3339), once planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_from: Option<String>,
    /// The cluster that was made of it, once planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_cluster: Option<String>,
    /// Kind and name of every resource that was made.
    pub created: Vec<String>,
    /// Kind and name of every resource that was made and removed again.
    pub removed: Vec<String>,
    /// ARNs of what was kept because it is in service, although the restore failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// What is left behind.
    pub leftovers: Vec<Leftover>,
    /// How to reach the target, when it is in service.
    pub target: Option<Address>,
    /// Its approval, when it needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalReport>,
    /// The cluster in whose place the target came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<ReplacedReport>,
    /// When the target was found to be gone after it had expired (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaped_at: Option<String>,
    /// Each check with its result.
    pub evidence: Vec<Finding>,
    /// Every setting of the target beside the plan's and the source's.
    pub settings: Vec<Compared>,
    /// The story, state by state.
    pub steps: Vec<StepReport>,
    /// Where the time went.
    pub seconds: Seconds,
}

/// The cluster in whose place a target came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedReport {
    /// What it was called.
    pub was: String,
    /// What it is called since.
    pub is: String,
    /// What tells it from another of its name.
    pub resource_id: String,
    /// Whether it is stopped.
    pub stopped: bool,
    /// When it is removed (RFC 3339); kept when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<String>,
    /// Whether a last snapshot is taken then.
    pub final_snapshot: bool,
    /// Whether it was protected against deletion, which keeps it for longer.
    pub protected: bool,
}

impl ReplacedReport {
    /// What the plan and the record of the switch say.
    fn of(plan: &Plan, begun: &Begun) -> Option<Self> {
        let replaced = plan.switch.replaced()?;
        let retire = replaced.retire.as_ref();
        Some(Self {
            was: replaced.identifier.clone(),
            is: replaced.retired_identifier.clone(),
            resource_id: replaced.resource_id.clone(),
            stopped: retire.is_some_and(|retire| retire.stopped),
            kept_until: begun.kept_until.map(rfc3339),
            final_snapshot: retire.is_some_and(|retire| retire.final_snapshot),
            protected: replaced.protected,
        })
    }
}

impl fmt::Display for ReplacedReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            was,
            is,
            resource_id,
            ..
        } = self;
        write!(formatter, "{was} ({resource_id})")?;
        if was != is {
            write!(formatter, ", called {is} now")?;
        }
        if self.stopped {
            write!(formatter, ", stopped")?;
        }
        match (&self.kept_until, self.protected) {
            (None, _) => write!(formatter, ", kept"),
            (Some(_), true) => write!(
                formatter,
                ", kept as long as it is protected against deletion"
            ),
            (Some(until), false) if self.final_snapshot => {
                write!(formatter, ", removed after {until}, with a last snapshot")
            }
            (Some(until), false) => write!(formatter, ", removed after {until}"),
        }
    }
}

/// What one state did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// The state.
    pub state: String,
    /// `done`, or the kind of the error of the last attempt.
    pub outcome: String,
    /// How often its function was called.
    pub attempts: i64,
    /// Milliseconds its function worked, over all attempts.
    pub worked_millis: i64,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// When its last attempt ended (RFC 3339).
    pub ended_at: String,
}

/// Where the time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// From plan to end.
    pub total: f64,
    /// Total less working: AWS at work, or nobody.
    pub waiting: f64,
    /// Functions at work.
    pub working: f64,
}

impl Report {
    /// The report of a restore that left no record of its own.
    pub fn unrecorded(id: &RestoreId, status: Status) -> Self {
        Self {
            outcome: status.name().to_owned(),
            restore_id: id.as_str().to_owned(),
            execution_started_at: None,
            profile: None,
            error: None,
            cause: None,
            source: None,
            data_from: None,
            target_cluster: None,
            created: Vec::new(),
            removed: Vec::new(),
            kept: Vec::new(),
            leftovers: Vec::new(),
            target: None,
            approval: None,
            replaced: None,
            reaped_at: None,
            evidence: Vec::new(),
            settings: Vec::new(),
            steps: Vec::new(),
            seconds: Seconds::default(),
        }
    }

    /// Lets the report say that the restore ended like this.
    pub fn end(&mut self, ending: Ending) {
        self.outcome = ending.status.name().to_owned();
        self.error = ending.error;
        self.cause = ending.cause;
        self.leftovers = ending.leftovers;
        self.kept = ending.kept;
        self.target = ending.target;
    }
}

/// Builds the report of a restore; `None` when there is no such restore.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn build(
    table: &Table,
    id: &RestoreId,
    now: OffsetDateTime,
) -> Result<Option<Report>, StepError> {
    let items = table.query(&restore_key(id.as_str()), "").await?;
    let find = |sk: &str| items.iter().find(|item| item.text("sk") == Some(sk));
    let meta = find("META");
    if items.is_empty() {
        return Ok(None);
    }
    let plan: Option<Plan> = find("PLAN").and_then(|item| read(item, "plan"));
    let ending: Option<Ending> = meta.and_then(|item| read(item, "ending"));
    let evidence: Option<Evidence> = find("EVIDENCE").and_then(|item| read(item, "evidence"));
    let (findings, settings) = evidence
        .map(|evidence| (evidence.findings, evidence.settings))
        .unwrap_or_default();
    let begun: Option<Begun> = find("SWITCH").and_then(|item| read(item, "switch"));
    // A switch that was taken back replaced nothing.
    let in_service = find("IN_SERVICE").and_then(|item| item.text("state")) == Some("in-service");
    let replaced = plan
        .as_ref()
        .zip(begun.as_ref().filter(|_| in_service))
        .and_then(|(plan, begun)| ReplacedReport::of(plan, begun));
    let mut resources: Vec<Resource> = with_prefix(&items, "RESOURCE#")
        .filter_map(|item| read(item, "resource"))
        .collect();
    resources.sort_by(|a, b| {
        b.kind
            .cmp(&a.kind)
            .then_with(|| a.identifier.cmp(&b.identifier))
    });
    let steps: Vec<StepReport> = with_prefix(&items, "STEP#").map(step).collect();
    let status = meta
        .and_then(|item| item.text("status"))
        .unwrap_or("Running");
    let name = |resource: &Resource| format!("{} {}", resource.kind, resource.identifier);
    let made = resources.iter().filter(|resource| resource.made);
    Ok(Some(Report {
        outcome: status.to_owned(),
        restore_id: id.as_str().to_owned(),
        execution_started_at: plan.as_ref().map(|plan| plan.execution_started_at.clone()),
        profile: plan.as_ref().and_then(|plan| plan.profile.clone()),
        error: ending.as_ref().and_then(|ending| ending.error.clone()),
        cause: ending.as_ref().and_then(|ending| ending.cause.clone()),
        source: plan.as_ref().map(|plan| plan.source.to_string()),
        data_from: plan.as_ref().map(|plan| rfc3339(plan.source.taken_at)),
        target_cluster: plan.as_ref().map(|plan| plan.name().to_owned()),
        created: made.clone().map(name).collect(),
        removed: made
            .filter(|resource| resource.state == ResourceState::Removed)
            .map(name)
            .collect(),
        kept: ending
            .as_ref()
            .map(|ending| ending.kept.clone())
            .unwrap_or_default(),
        leftovers: ending
            .as_ref()
            .map(|ending| ending.leftovers.clone())
            .unwrap_or_default(),
        target: ending.and_then(|ending| ending.target),
        approval: match &plan {
            Some(plan) => approval::report(table, plan).await?,
            None => None,
        },
        replaced,
        reaped_at: meta
            .and_then(|item| item.text("reapedAt"))
            .map(str::to_owned),
        evidence: findings,
        settings,
        seconds: seconds(&steps, meta, now),
        steps,
    }))
}

fn with_prefix<'a>(
    items: &'a [Item],
    prefix: &'a str,
) -> impl DoubleEndedIterator<Item = &'a Item> + Clone {
    items
        .iter()
        .filter(move |item| item.text("sk").is_some_and(|sk| sk.starts_with(prefix)))
}

fn read<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> Option<T> {
    item.text(name).and_then(|text| request::parse(text).ok())
}

fn step(item: &Item) -> StepReport {
    let text = |name: &str| item.text(name).unwrap_or_default().to_owned();
    StepReport {
        state: text("state"),
        outcome: text("outcome"),
        attempts: item.number("attempts").unwrap_or(0),
        worked_millis: item.number("workedMillis").unwrap_or(0),
        started_at: text("startedAt"),
        ended_at: text("endedAt"),
    }
}

fn seconds(steps: &[StepReport], meta: Option<&Item>, now: OffsetDateTime) -> Seconds {
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let began = steps.iter().filter_map(|step| time(&step.started_at)).min();
    let ended = meta
        .and_then(|item| item.text("endedAt"))
        .and_then(time)
        .unwrap_or(now);
    let working = steps.iter().map(|step| step.worked_millis).sum::<i64>() as f64 / 1000.0;
    // A moved clock may stand still while functions work.
    let total = began
        .map_or(0.0, |began| (ended - began).as_seconds_f64())
        .max(working);
    Seconds {
        total,
        working,
        waiting: total - working,
    }
}
