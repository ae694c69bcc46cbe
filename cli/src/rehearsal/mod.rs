//! The whole job on this machine: a source with data is snapshotted, restored through
//! the committed state machine and the real steps, and compared with what it was.
//!
//! With the functions in process, the clock is tokio's, paused: AWS's own minutes pass
//! in no time, and only the functions' work takes real time. With the functions as
//! processes, RDS works faster than in life, and the clock runs faster than the wall's.

pub mod fingerprint;
mod fleet;
mod mysql;
pub mod rename;
pub mod render;
pub mod source;
pub mod traffic;
pub mod variant;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use asl_interpreter::{EventType, Execution};
use aurora_restore_core::ledger::Address;
use aurora_restore_core::metrics;
use aurora_restore_core::profile::overlay;
use aurora_restore_core::report::Report;
use aurora_restore_core::secrets::{self, Credentials};
use aurora_restore_core::sql::{Endpoint, Engine};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::deployment::Functions;
use crate::local::{FINAL_GROUP, LocalOptions, LocalPipeline};
use crate::remote::{FleetStatus, Path};
use rename::Switched;
use source::{DATABASE, SOURCE_CLUSTER, Source};
use traffic::Written;
use variant::{Variant, Writes};

/// The cluster that a rehearsal makes.
pub const TARGET_CLUSTER: &str = "orders-staging";
/// The snapshot that it restores.
pub const SNAPSHOT: &str = "orders-prod-rehearsal";
/// The profile that it runs.
pub const PROFILE: &str = "rehearsal";
/// How many times faster than life RDS works when the functions are processes.
pub const PROCESSES_SPEED: f64 = 120.0;

/// How to rehearse.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is rehearsed.
    pub variant: Variant,
    /// What kind of database is restored.
    pub engine: Engine,
    /// Run the functions as the real binaries.
    pub processes: bool,
    /// Load the source from this SQL or pg_dump file instead of the sample.
    pub dump: Option<PathBuf>,
    /// Fixes names, tokens and jitter.
    pub seed: u64,
}

/// What a rehearsal tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was prepared.
    Note(String),
    /// The execution entered a state, this many seconds after its start.
    State {
        /// Seconds on the cloud's clock.
        seconds: i64,
        /// The state.
        name: String,
    },
}

/// The result of a rehearsal.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Rehearsed {
    /// Of one restore.
    Restore(Box<RehearsedRestore>),
    /// Of many from one request.
    Fleet(Box<RehearsedFleet>),
}

/// The result of a rehearsal of one restore.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsedRestore {
    /// The pipeline's own report.
    #[serde(flatten)]
    pub report: Report,
    /// The execution's path and transitions.
    #[serde(flatten)]
    pub path: Path,
    /// The restored data beside the source's.
    pub data: Comparison,
    /// The switch that was taken back before, and what clients noticed of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<Switched>,
    /// Notifications and metrics that were recorded.
    pub told: Told,
    /// Seed of the run.
    pub seed: u64,
}

/// The result of a rehearsal of a fleet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsedFleet {
    /// The fleet and its members.
    #[serde(flatten)]
    pub fleet: FleetStatus,
    /// The states of the fleet's own execution.
    pub path: Vec<String>,
    /// The restored data beside the source's, by target.
    pub data: BTreeMap<String, Comparison>,
    /// Notifications and metrics that were recorded.
    pub told: Told,
    /// Seed of the run.
    pub seed: u64,
}

/// The restored data beside the source's at the moment of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Whether every table has the same rows and the same checksum.
    pub equal: bool,
    /// Tables and materialized views compared.
    pub tables: usize,
    /// Rows in all.
    pub rows: i64,
    /// Transactions that came in at the source before the snapshot's moment.
    pub transactions_in_snapshot: usize,
    /// Transactions that came in after it, and must not be in the copy.
    pub transactions_after_snapshot: usize,
    /// Tables that differ; and transactions that are not there though they came in before the moment.
    pub differences: Vec<String>,
}

/// Notifications and metrics that were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Subjects of the messages on the topic.
    pub notifications: Vec<String>,
    /// Names of the metrics in CloudWatch.
    pub metrics: Vec<String>,
}

impl Rehearsed {
    /// Whether all ended as it should, and the data is what it was.
    pub fn succeeded(&self) -> bool {
        match self {
            Self::Restore(rehearsed) => {
                let taken_back = |switched: &Switched| switched.first.outcome == "FailedClean";
                rehearsed.report.outcome == "Restored"
                    && rehearsed.data.equal
                    && rehearsed.switched.as_ref().is_none_or(taken_back)
            }
            Self::Fleet(rehearsed) => {
                rehearsed.fleet.outcome == "Restored"
                    && rehearsed.data.len() == rehearsed.fleet.members.len()
                    && rehearsed.data.values().all(|data| data.equal)
            }
        }
    }
}

/// Sets up the local pipeline of a rehearsal.
///
/// # Errors
/// As [`LocalPipeline::start`]; or when the functions' binaries are not built.
pub async fn set_up(options: &Options) -> Result<LocalPipeline> {
    if let Some(why) = options.variant.refuses(options.engine) {
        bail!(
            "{why}: rehearse another variant (--list), or --engine {}",
            Engine::Postgresql
        );
    }
    let mut local = LocalOptions::in_process(options.seed);
    local.functions = Functions::InProcess { count_work: true };
    if options.processes {
        local.functions = Functions::processes()?;
        local.speed = PROCESSES_SPEED;
        local.port = Some(0);
    }
    LocalPipeline::start(local).await
}

/// Rehearses in a local pipeline.
///
/// # Errors
/// When the rehearsal itself cannot be carried out; a restore that fails is a result.
pub async fn rehearse(
    local: &LocalPipeline,
    options: &Options,
    tell: &mut impl FnMut(Progress),
) -> Result<Rehearsed> {
    let variant = options.variant;
    let source = Source::create(
        local,
        options.engine,
        options.dump.as_deref(),
        variant.is_encrypted(),
    )
    .await?;
    let rows: i64 = source.baseline.values().map(|content| content.rows).sum();
    tell(Progress::Note(format!(
        "source     {SOURCE_CLUSTER}: {} {}, {} tables, {rows} rows, {} login roles",
        match source.engine {
            Engine::Postgresql => "PostgreSQL",
            Engine::Mysql => "MySQL",
        },
        source.engine_version,
        source.baseline.len(),
        source::LOGIN_ROLES.len() + 1
    )));
    let prepared = variant.prepare(local, &source, options, tell).await?;

    let mut request = profile(&source);
    overlay(&mut request, prepared.request);
    local.put_profile(PROFILE, &request.to_string()).await?;
    let stage = Stage {
        local,
        source: &source,
        writes: prepared.writes,
        options,
    };
    match variant {
        Variant::Fleet => fleet::rehearse(stage, &request, tell).await,
        _ => rehearse_restore(stage, tell).await,
    }
}

async fn rehearse_restore(stage: Stage<'_>, tell: &mut impl FnMut(Progress)) -> Result<Rehearsed> {
    let (local, id) = (stage.local, stage.id());
    let (report, switched) = match stage.options.variant {
        Variant::Rename => {
            let (report, switched) = rename::rehearse(&stage, &id, tell).await?;
            (report, Some(switched))
        }
        _ => (stage.restore(&id, tell).await?, None),
    };
    let (options, source) = (stage.options, stage.source);
    let written = stage.writes.end().await?;
    let data = match &report.target {
        Some(target) => compare(local, source, target, &written, options).await?,
        None => Comparison::default(),
    };
    Ok(Rehearsed::Restore(Box::new(RehearsedRestore {
        path: local.pipeline.path(&id).await?,
        report,
        data,
        switched,
        told: told(local),
        seed: options.seed,
    })))
}

/// What a rehearsal plays on.
struct Stage<'a> {
    local: &'a LocalPipeline,
    source: &'a Source,
    writes: Writes,
    options: &'a Options,
}

impl Stage<'_> {
    /// The id of the restore, or of the fleet.
    fn id(&self) -> String {
        format!("rehearsal-{:08x}", self.options.seed & 0xffff_ffff)
    }

    /// Restores, follows it to the end, and gives the pipeline's own report.
    async fn restore(&self, id: &str, tell: &mut impl FnMut(Progress)) -> Result<Report> {
        let execution = self.start(id, tell).await?;
        self.follow(&execution, tell).await;
        self.report(id).await
    }

    async fn start(&self, id: &str, tell: &mut impl FnMut(Progress)) -> Result<Execution> {
        let input = json!({"profile": PROFILE});
        let arn = self.local.pipeline.start(id, &input).await?;
        tell(Progress::Note(format!(
            "restore    {id} into {TARGET_CLUSTER}"
        )));
        self.execution(&arn)
    }

    fn execution(&self, arn: &str) -> Result<Execution> {
        let found = self.local.cloud.step_functions().execution(arn);
        found.map_err(|error| anyhow!("{error}"))
    }

    async fn report(&self, id: &str) -> Result<Report> {
        let report = self.local.pipeline.report(id, now(self.local)).await?;
        report.ok_or_else(|| anyhow!("restore `{id}` left no record"))
    }

    /// Tells the states as they are entered, until the execution ends.
    async fn follow(&self, execution: &Execution, tell: &mut impl FnMut(Progress)) {
        let mut history = execution.history().subscribe();
        let began = execution.started_at();
        while let Some(event) = history.next().await {
            if let Some(name) = event.state_name().filter(|_| is_entry(event.event_type)) {
                self.writes.entered(name);
                tell(Progress::State {
                    seconds: (event.timestamp - began).whole_seconds(),
                    name: name.to_owned(),
                });
            }
        }
    }
}

fn now(local: &LocalPipeline) -> OffsetDateTime {
    local.cloud.world().now()
}

/// The profile of a rehearsal.
pub fn profile(source: &Source) -> Value {
    let (table, rows) = source
        .baseline
        .iter()
        .max_by_key(|(_, content)| content.rows)
        .map_or(("pg_class", 1), |(table, content)| {
            (table.as_str(), content.rows)
        });
    let (sound, query) = match source.engine {
        Engine::Postgresql => (
            "indexes are valid",
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid",
        ),
        Engine::Mysql => mysql::CHECK,
    };
    json!({
        "source": {
            "clusterIdentifier": SOURCE_CLUSTER,
            "masterSecretArn": source.master_secret_arn,
        },
        "target": {
            "clusterIdentifier": TARGET_CLUSTER,
            "instanceClass": "db.r6g.large",
            "readers": 1,
            "securityGroupIds": [FINAL_GROUP],
            "tags": {"environment": "staging"},
        },
        "checks": [
            {"name": format!("{table} has its rows"), "database": DATABASE, "sql": format!("SELECT count(*) FROM {table}"), "expect": {"atLeast": rows}},
            {"name": sound, "database": DATABASE, "sql": query, "expect": {"equals": 0}},
        ],
        "expiresAfterHours": 24,
    })
}

fn is_entry(kind: EventType) -> bool {
    kind.name().ends_with("StateEntered")
}

/// The new master credentials, as whoever takes the target over reads them.
async fn target_master(local: &LocalPipeline, secret_arn: &str) -> Result<Credentials> {
    let client = aws_sdk_secretsmanager::Client::new(&local.config);
    let found = secrets::read(&client, secret_arn, secrets::Stage::Current, "").await?;
    found.with_context(|| format!("secret `{secret_arn}` has no value"))
}

/// Compares the copy with what the source held at the restored moment.
async fn compare(
    local: &LocalPipeline,
    source: &Source,
    target: &Address,
    written: &Written,
    options: &Options,
) -> Result<Comparison> {
    let endpoint = Endpoint {
        host: target.endpoint.clone(),
        port: target.port,
        tls: source.endpoint.tls.clone(),
    };
    let master = target_master(local, &target.secret_arn).await?;
    let held = fingerprint::of(source.engine, &endpoint, &master).await?;
    let last = match options.dump {
        None => traffic::last(source.engine, &endpoint, &master).await?,
        Some(_) => 0,
    };
    let expected = written.after(last, &source.baseline);
    let names = expected
        .keys()
        .chain(held.keys().filter(|name| !expected.contains_key(*name)));
    let mut differences: Vec<String> = names
        .filter(|name| expected.get(*name) != held.get(*name))
        .cloned()
        .collect();
    differences.extend(written.misses(last));
    Ok(Comparison {
        equal: differences.is_empty(),
        tables: held.len(),
        rows: held.values().map(|content| content.rows).sum(),
        transactions_in_snapshot: last,
        transactions_after_snapshot: written.transactions().saturating_sub(last),
        differences,
    })
}

fn told(local: &LocalPipeline) -> Told {
    let messages = local.cloud.sns().messages();
    let recorded = |name: &&&str| {
        !local
            .cloud
            .cloudwatch()
            .data_points(metrics::NAMESPACE, name)
            .is_empty()
    };
    let metrics = notify::METRICS
        .iter()
        .filter(recorded)
        .map(|name| (*name).to_owned())
        .collect();
    Told {
        notifications: messages
            .iter()
            .filter_map(|message| message.subject.clone())
            .collect(),
        metrics,
    }
}
