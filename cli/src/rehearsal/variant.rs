//! What can be rehearsed: the ways a restore is asked for, one by one.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::ledger::rfc3339;
use aurora_restore_core::sql::Engine;
use aws_sdk_rds::config::Region;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::source::{self, SOURCE_CLUSTER, Source};
use super::traffic::{Traffic, Written};
use super::{Options, Progress, SNAPSHOT, now, rename};
use crate::local::LocalPipeline;

/// Where the source of [`Variant::CrossRegion`] keeps its backups.
const OTHER_REGION: &str = "eu-central-1";
/// What somebody does to the source of [`Variant::PointInTime`].
const MISTAKE: &str = "TRUNCATE shop.order_lines";
/// How long before that they want it back from, and how long after they notice. Backups reach up to five minutes ago.
const A_WHILE: Duration = Duration::from_secs(600);

/// A way a restore is asked for. The doc comments are what `aurora-restore rehearse --list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// The newest snapshot, taken while transactions come in
    #[default]
    Snapshot,
    /// An encrypted snapshot of another region: copied here under a key of this region, restored, the copy removed
    CrossRegion,
    /// A moment between two backups: somebody empties a table, and the cluster comes back as it was just before
    PointInTime,
    /// A copy-on-write clone, made while transactions come in
    Clone,
    /// In the place of a cluster that serves, by its name: first stopped in the middle and taken back, then to the end
    Rename,
    /// Five clusters of one snapshot by one request
    Fleet,
}

/// What a variant made before its restore.
pub(super) struct Prepared {
    /// Laid over the profile of every rehearsal.
    pub(super) request: Value,
    /// What comes in at the source.
    pub(super) writes: Writes,
}

/// What comes in at the source.
pub(super) enum Writes {
    /// No more.
    Over(Written),
    /// Still something, until the restored cluster is cut off from the source.
    Going {
        /// The orders.
        traffic: Traffic,
        /// So many had come in before anything was restored.
        before: usize,
    },
}

/// The state in which the restored cluster has the data that it keeps.
const CUT_OFF_IN: &str = "AddInstances";

impl Writes {
    /// Ends them once nothing that comes in can be in the restored cluster any more.
    pub(super) fn entered(&self, state: &str) {
        if let Self::Going { traffic, .. } = self
            && state == CUT_OFF_IN
        {
            traffic.halt();
        }
    }

    /// What was written.
    ///
    /// # Errors
    /// When a transaction failed.
    pub(super) async fn end(self) -> Result<Written> {
        match self {
            Self::Over(written) => Ok(written),
            Self::Going { traffic, before } => Ok(traffic.stop().await?.with_before(before)),
        }
    }
}

impl Variant {
    /// The name on the command line, and what it shows.
    pub fn list() -> Vec<(String, String)> {
        let shown = |variant: &Self| {
            let value = variant.to_possible_value()?;
            let mut help = value
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let engines = Engine::ALL.into_iter();
            for engine in engines.filter(|engine| variant.refuses(*engine).is_some()) {
                help = format!("{help} (not with --engine {engine})");
            }
            Some((value.get_name().to_owned(), help))
        };
        Self::value_variants().iter().filter_map(shown).collect()
    }

    /// Why there is no source of this engine for it; `None` when there is.
    pub fn refuses(self, engine: Engine) -> Option<&'static str> {
        match (self, engine) {
            (Self::PointInTime, Engine::Mysql) => {
                Some("the local cloud takes no Aurora MySQL back to a point in time")
            }
            (Self::Rename, Engine::Mysql) => {
                Some("the client of this variant speaks to PostgreSQL alone")
            }
            _ => None,
        }
    }

    /// Whether the source is encrypted with a key of its own.
    pub(super) fn is_encrypted(self) -> bool {
        self == Self::CrossRegion
    }

    /// Makes what is restored.
    ///
    /// # Errors
    /// What RDS or the source's server refuses.
    pub(super) async fn prepare(
        self,
        local: &LocalPipeline,
        source: &Source,
        options: &Options,
        tell: &mut impl FnMut(Progress),
    ) -> Result<Prepared> {
        let sample = options.dump.is_none();
        match self {
            Self::Snapshot | Self::CrossRegion | Self::Rename | Self::Fleet => {
                self.of_snapshot(local, source, sample, tell).await
            }
            Self::PointInTime => of_moment(local, source, sample, tell).await,
            Self::Clone => of_life(source, sample, tell).await,
        }
    }

    async fn of_snapshot(
        self,
        local: &LocalPipeline,
        source: &Source,
        sample: bool,
        tell: &mut impl FnMut(Progress),
    ) -> Result<Prepared> {
        let written = snapshot_under_traffic(local, source, sample).await?;
        tell(Progress::Note(format!(
            "snapshot   {SNAPSHOT}: taken while {} transactions came in",
            written.transactions()
        )));
        let mut request = match self {
            Self::Rename => rename::request(),
            _ => json!({}),
        };
        if self == Self::CrossRegion {
            let snapshot = copy_to_other_region(local).await?;
            tell(Progress::Note(format!(
                "elsewhere  {snapshot}, under a key of {OTHER_REGION}"
            )));
            let key = local.make_key(&local.stack.region).await?;
            request = json!({
                "source": {"region": OTHER_REGION, "snapshot": snapshot},
                "target": {"kmsKeyId": key},
            });
        }
        Ok(Prepared {
            request,
            writes: Writes::Over(written),
        })
    }
}

/// Transactions come in, then somebody makes a mistake; asks for the moment between the two.
async fn of_moment(
    local: &LocalPipeline,
    source: &Source,
    sample: bool,
    tell: &mut impl FnMut(Progress),
) -> Result<Prepared> {
    let written = match sample {
        true => Written::orders(source, 50).await?,
        false => Written::default(),
    };
    local.sleep(A_WHILE).await;
    let moment = rfc3339(now(local));
    local.sleep(A_WHILE).await;
    if sample {
        source::session(&source.endpoint, &source.master, |client| {
            client.batch_execute(MISTAKE)
        })
        .await
        .context("make the mistake")?;
        let minutes = A_WHILE.as_secs() / 60;
        tell(Progress::Note(format!(
            "mistake    {MISTAKE}, {minutes} minutes after {moment}"
        )));
    }
    local.sleep(A_WHILE).await;
    Ok(Prepared {
        request: json!({"source": {"pointInTime": moment}}),
        writes: Writes::Over(written),
    })
}

/// Transactions come in until the clone has its own data.
async fn of_life(
    source: &Source,
    sample: bool,
    tell: &mut impl FnMut(Progress),
) -> Result<Prepared> {
    let writes = if sample {
        let traffic = Traffic::at(source).await?;
        let before = traffic.so_far();
        Writes::Going { traffic, before }
    } else {
        Writes::Over(Written::default())
    };
    tell(Progress::Note(format!(
        "life       {SOURCE_CLUSTER} is cloned while transactions come in"
    )));
    Ok(Prepared {
        request: json!({"source": {"clone": true}}),
        writes,
    })
}

/// Snapshots the source while transactions come in; the user's own data is left as it is.
async fn snapshot_under_traffic(
    local: &LocalPipeline,
    source: &Source,
    sample: bool,
) -> Result<Written> {
    if !sample {
        source.snapshot(local, SNAPSHOT).await?;
        return Ok(Written::default());
    }
    let traffic = Traffic::at(source).await?;
    let before = traffic.so_far();
    let taken = source.snapshot(local, SNAPSHOT).await;
    let written = traffic.stop().await?;
    taken.map(|()| written.with_before(before))
}

/// Copies the snapshot to the other region, as people do who keep backups there; its ARN.
async fn copy_to_other_region(local: &LocalPipeline) -> Result<String> {
    let config = aws_sdk_rds::config::Builder::from(&local.config);
    let rds =
        aws_sdk_rds::Client::from_conf(config.region(Region::from_static(OTHER_REGION)).build());
    let stack = &local.stack;
    let copied = rds
        .copy_db_cluster_snapshot()
        .source_db_cluster_snapshot_identifier(format!(
            "arn:aws:rds:{}:{}:cluster-snapshot:{SNAPSHOT}",
            stack.region, stack.account
        ))
        .target_db_cluster_snapshot_identifier(SNAPSHOT)
        .kms_key_id(local.make_key(OTHER_REGION).await?)
        .send()
        .await
        .with_context(|| format!("copy {SOURCE_CLUSTER}'s snapshot to {OTHER_REGION}"))?;
    let arn = copied
        .db_cluster_snapshot
        .and_then(|snapshot| snapshot.db_cluster_snapshot_arn)
        .ok_or_else(|| anyhow!("the copy has no ARN"))?;
    local
        .until("the snapshot elsewhere", async || {
            let found = rds
                .describe_db_cluster_snapshots()
                .db_cluster_snapshot_identifier(SNAPSHOT)
                .send()
                .await?;
            match found.db_cluster_snapshots()[0].status() {
                Some("available") => Ok(Some(())),
                Some("copying") => Ok(None),
                other => bail!("the snapshot in {OTHER_REGION} is {other:?}"),
            }
        })
        .await?;
    Ok(arn)
}
