//! What can be rehearsed: the ways a restore is asked for, one by one.

use anyhow::{Context as _, Result, anyhow, bail};
use aws_sdk_rds::config::Region;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::source::{SOURCE_CLUSTER, Source};
use super::traffic::{Traffic, Written};
use super::{Options, Progress, SNAPSHOT};
use crate::local::LocalPipeline;

/// Where the source of [`Variant::CrossRegion`] keeps its backups.
const OTHER_REGION: &str = "eu-central-1";

/// A way a restore is asked for. The doc comments are what `aurora-restore rehearse --list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// The newest snapshot, taken while transactions come in
    #[default]
    Snapshot,
    /// An encrypted snapshot of another region: copied here under a key of this region, restored, the copy removed
    CrossRegion,
}

/// What a variant made before its restore.
pub(super) struct Prepared {
    /// Laid over the profile of every rehearsal.
    pub(super) request: Value,
    /// What came in at the source meanwhile.
    pub(super) written: Written,
}

impl Variant {
    /// The name on the command line, and what it shows.
    pub fn list() -> Vec<(String, String)> {
        let shown = |variant: &Self| {
            let value = variant.to_possible_value()?;
            let help = value.get_help().map(ToString::to_string);
            Some((value.get_name().to_owned(), help.unwrap_or_default()))
        };
        Self::value_variants().iter().filter_map(shown).collect()
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
        let written = snapshot_under_traffic(local, source, options.dump.is_none()).await?;
        tell(Progress::Note(format!(
            "snapshot   {SNAPSHOT}: taken while {} transactions came in",
            written.transactions()
        )));
        let request = match self {
            Self::Snapshot => json!({}),
            Self::CrossRegion => {
                let snapshot = copy_to_other_region(local).await?;
                tell(Progress::Note(format!(
                    "elsewhere  {snapshot}, under a key of {OTHER_REGION}"
                )));
                let key = local.make_key(&local.stack.region).await?;
                json!({
                    "source": {"region": OTHER_REGION, "snapshot": snapshot},
                    "target": {"kmsKeyId": key},
                })
            }
        };
        Ok(Prepared { request, written })
    }
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
    let taken = source.snapshot(local, SNAPSHOT).await;
    let written = tokio::task::spawn_blocking(move || traffic.stop()).await??;
    taken.map(|()| written)
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
