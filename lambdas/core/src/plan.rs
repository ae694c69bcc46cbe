//! The request, fully resolved: what every later step obeys.
//!
//! The Plan step derives it once and records it; no step derives any of it again,
//! so a run cannot drift when a snapshot expires, a profile is edited or a default
//! changes while it is under way.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ledger::rfc3339;
use crate::request::{
    Check, ClusterRole, MasterPassword, Monitoring, PerformanceInsights, ServerlessScaling, Waits,
};
use crate::settings::DatabaseTls;
use crate::sql::Engine;
use crate::switching::Switch;

/// The fully resolved request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The execution's name.
    pub restore_id: String,
    /// The execution's ARN, for the lock and for people.
    pub execution_arn: String,
    /// When the execution started, as Step Functions tells it: a name, and so an ARN, can be used again after 90 days.
    pub execution_started_at: String,
    /// The profile it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// When the plan was made.
    #[serde(with = "time::serde::rfc3339")]
    pub planned_at: OffsetDateTime,
    /// What is restored.
    pub source: Source,
    /// The copies that are made first, each of the one before: none, one, or two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<SnapshotCopy>,
    /// What is made of it.
    pub target: TargetCluster,
    /// Groups the target lives in until Switch.
    pub quarantine_security_group_ids: Vec<String>,
    /// Cluster parameter group the target lives with until Switch: what the source preloads must not run yet.
    pub quarantine_parameter_group: String,
    /// Who keeps the new master password.
    pub master_password: MasterPassword,
    /// The secret of the new master password when the pipeline keeps it.
    pub secret_name: String,
    /// The secret of the source's master password, which must be refused afterwards.
    pub source_master_secret_arn: String,
    /// SQL that must hold.
    pub checks: Vec<Check>,
    /// How the functions that speak SQL check the server.
    pub database_tls: DatabaseTls,
    /// Deadlines and intervals.
    pub waits: Waits,
    /// When the target may be removed again, in the `aurora-restore:expires-at` tag.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub expires_at: Option<OffsetDateTime>,
    /// How long before it expires people are told, in hours; a quarter of its life at most.
    #[serde(default)]
    pub expiry_warning_hours: u32,
    /// The approval without which nothing is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalNeeded>,
    /// Who asked for the restore, as far as who started its execution said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// How clients come to the target.
    #[serde(default)]
    pub switch: Switch,
}

/// The approval without which nothing is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalNeeded {
    /// Whether it is needed because the target is production, whatever the request says.
    pub production: bool,
    /// Minutes for which it is waited for.
    pub expires_after_minutes: u32,
    /// Whether who asked for the restore may give it.
    pub own_counts: bool,
}

impl ApprovalNeeded {
    /// Seconds between two looks at whether somebody decided, so that a lost answer is found: 24 until it is too
    /// late, but at most one a minute and at least one an hour.
    pub fn poll_seconds(&self) -> u32 {
        (self.expires_after_minutes * 60 / 24).clamp(60, 3_600)
    }
}

/// What is restored, as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Which way it is restored.
    #[serde(flatten)]
    pub kind: SourceKind,
    /// The cluster that the data is of.
    pub cluster_identifier: String,
    /// That cluster's resource id, where RDS tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_resource_id: Option<String>,
    /// The account that owns the snapshot or the cluster.
    pub account: String,
    /// The region it is in.
    pub region: String,
    /// The moment that the data is of: when the snapshot was taken, or the point in time. A clone is of the moment
    /// at which RestoreCluster asks for it; what was there at this moment is in it.
    #[serde(with = "time::serde::rfc3339")]
    pub taken_at: OffsetDateTime,
    /// What kind of database it is.
    pub engine: Engine,
    /// Restored as this version, never as the region's default.
    pub engine_version: String,
    /// The master user's name, which a restore keeps.
    pub master_username: String,
    /// Its TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Size of the data, in GiB, as RDS reports it.
    pub allocated_storage_gib: i32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its key, when encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// Which way a source is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum SourceKind {
    /// From a snapshot.
    Snapshot {
        /// The snapshot's ARN.
        snapshot_arn: String,
    },
    /// From the cluster's continuous backup, as the cluster was at [`Source::taken_at`].
    PointInTime,
    /// From the cluster's volume as it is, copied only where one of the two changes (copy-on-write).
    Clone,
}

impl Source {
    /// The snapshot, where one is restored.
    pub fn snapshot_arn(&self) -> Option<&str> {
        match &self.kind {
            SourceKind::Snapshot { snapshot_arn } => Some(snapshot_arn),
            SourceKind::PointInTime | SourceKind::Clone => None,
        }
    }

    /// The cluster's ARN.
    pub fn cluster_arn(&self) -> String {
        rds_arn(
            &self.region,
            &self.account,
            "cluster",
            &self.cluster_identifier,
        )
    }

    /// The ARN of what is restored: of the snapshot, or of the cluster itself.
    pub fn arn(&self) -> String {
        self.snapshot_arn()
            .map_or_else(|| self.cluster_arn(), str::to_owned)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = &self.cluster_identifier;
        match &self.kind {
            SourceKind::Snapshot { snapshot_arn } => write!(formatter, "snapshot {snapshot_arn}"),
            SourceKind::PointInTime => {
                write!(formatter, "{cluster} at {}", rfc3339(self.taken_at))
            }
            SourceKind::Clone => write!(formatter, "clone of {cluster}"),
        }
    }
}

/// A copy that is made first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotCopy {
    /// Its name, derived from the restore's id.
    pub identifier: String,
    /// The region it is made in. The account is the target's.
    pub region: String,
    /// Its ARN.
    pub arn: String,
    /// The ARN of the snapshot that it is a copy of.
    pub source_arn: String,
    /// The key it is encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Why it is needed.
    pub reasons: Vec<CopyReason>,
    /// How many manual snapshots the account may have in that region, where RDS tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u32>,
}

/// Why a snapshot cannot be restored as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyReason {
    /// RDS restores only within a region.
    Region,
    /// Another account could withdraw it, or its key, while we depend on them.
    Account,
    /// Encrypted under a key of another account.
    Key,
    /// A snapshot that RDS or AWS Backup would delete, or may, before the run's last deadline.
    Expiring,
}

/// The cluster that is made, every setting explicit: what a restore call leaves out falls back to a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetCluster {
    /// The account it is made in.
    pub account: String,
    /// The region it is made in.
    pub region: String,
    /// Its identifier, lowercase.
    pub cluster_identifier: String,
    /// Its ARN.
    pub arn: String,
    /// Its instances, writer first.
    pub instances: Vec<TargetInstance>,
    /// Groups that may reach it after Switch.
    pub security_group_ids: Vec<String>,
    /// Subnet group.
    pub subnet_group: String,
    /// Cluster parameter group.
    pub cluster_parameter_group: String,
    /// KMS key; the snapshot's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// TCP port.
    pub port: u16,
    /// Set in Switch.
    pub deletion_protection: bool,
    /// Set in Switch.
    pub copy_tags_to_snapshot: bool,
    /// Log-in with IAM tokens.
    pub iam_authentication: bool,
    /// Log types sent to CloudWatch Logs.
    pub log_exports: Vec<String>,
    /// `aurora` or `aurora-iopt1`.
    pub storage_type: String,
    /// Days automated backups are kept.
    pub backup_retention_days: u8,
    /// When backups are taken (UTC); left to RDS when absent, as all that may be absent below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_window: Option<String>,
    /// When the cluster is maintained (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<String>,
    /// Paid Extended Support: what a restore call leaves out is opted in.
    pub extended_support: bool,
    /// For `db.serverless`; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serverless_scaling: Option<ServerlessScaling>,
    /// IAM roles that the database may assume.
    #[serde(default)]
    pub roles: Vec<ClusterRole>,
    /// `IPV4` or `DUAL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
    /// Whether it is reachable from outside its network: never.
    #[serde(default)]
    pub publicly_accessible: bool,
    /// The Data API. Switched on in Switch.
    #[serde(default)]
    pub data_api: bool,
    /// Performance Insights of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_insights: Option<PerformanceInsights>,
    /// The key of Performance Insights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_insights_kms_key_id: Option<String>,
    /// `standard` or `advanced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_insights_mode: Option<String>,
    /// Tags of the requester's own, and the source's where they were asked for.
    pub tags: BTreeMap<String, String>,
    /// What the source has for each setting, by the setting's path in this document.
    #[serde(default)]
    pub source_settings: BTreeMap<String, SourceSetting>,
}

/// An instance that is made, every setting explicit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetInstance {
    /// Its class.
    pub class: String,
    /// Who becomes the writer when the writer fails: the lowest of 0 to 15.
    pub promotion_tier: u8,
    /// Where it runs; RDS chooses when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// Its parameter group. Attached in Switch.
    pub parameter_group: String,
    /// Whether it is reachable from outside its network: never.
    #[serde(default)]
    pub publicly_accessible: bool,
    /// The authority of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// Whether minor versions are installed in the maintenance window.
    pub auto_minor_version_upgrade: bool,
    /// When it is maintained (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<String>,
    /// Enhanced Monitoring.
    pub monitoring: Monitoring,
    /// Performance Insights.
    pub performance_insights: PerformanceInsights,
    /// The key of Performance Insights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_insights_kms_key_id: Option<String>,
}

/// What the source has for a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSetting {
    /// Its value; null when it could not be seen, or cannot be where the target is.
    pub value: serde_json::Value,
    /// What of the request, or which rule, wants it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intended_by: Option<String>,
}

impl Plan {
    /// The ARN, in the target's region and account, of one of our RDS resources.
    ///
    /// `resource` is `cluster`, `db` or `cluster-snapshot`.
    pub fn arn(&self, resource: &str, identifier: &str) -> String {
        rds_arn(
            &self.target.region,
            &self.target.account,
            resource,
            identifier,
        )
    }

    /// The name that was asked for: the target's own, or the one that it gets in Switch.
    pub fn name(&self) -> &str {
        match &self.switch {
            Switch::Rename(rename) => &rename.name,
            Switch::None | Switch::Pointer(_) => &self.target.cluster_identifier,
        }
    }

    /// The ARN that goes with that name: the lock's key, so that two restores for one name keep apart.
    pub fn named_arn(&self) -> &str {
        match &self.switch {
            Switch::Rename(rename) => &rename.arn,
            Switch::None | Switch::Pointer(_) => &self.target.arn,
        }
    }

    /// The identifiers of the target's instances, writer first.
    pub fn instance_identifiers(&self) -> Vec<String> {
        (1_u8..)
            .zip(&self.target.instances)
            .map(|(number, _)| crate::names::instance(&self.target.cluster_identifier, number))
            .collect()
    }

    /// The target's settings by their paths, as [`crate::fidelity`] compares them.
    pub fn target_settings(&self) -> serde_json::Value {
        serde_json::to_value(&self.target).unwrap_or_default()
    }

    /// The key that the target will have, where its ARN is known before.
    pub fn planned_key(&self) -> Option<&str> {
        let own = self.target.kms_key_id.as_deref();
        // Without a key of its own the target keeps the snapshot's; what a copy makes of it only the copy shows.
        let kept = self
            .source
            .kms_key_id
            .as_deref()
            .filter(|_| self.copies.is_empty());
        own.or(kept).filter(|key| crate::rds::is_arn(key))
    }

    /// The engine's own instance parameter group, which instances have in quarantine.
    pub fn default_parameter_group(&self) -> String {
        let source = &self.source;
        format!("default.{}", source.engine.family(&source.engine_version))
    }

    /// The moment by which every wait of the run is over, if each uses up its deadline.
    pub fn last_deadline(&self) -> OffsetDateTime {
        let waits = &self.waits;
        let copies = u32::try_from(self.copies.len()).unwrap_or(u32::MAX);
        let approval = self.approval.as_ref();
        let minutes = approval.map_or(0, |approval| approval.expires_after_minutes)
            + copies * waits.copy_deadline_minutes
            + waits.cluster_deadline_minutes
            + 2 * waits.instances_deadline_minutes
            + 3 * waits.change_deadline_minutes;
        self.planned_at + time::Duration::minutes(minutes.into())
    }

    /// Seconds between two looks at the snapshot copy: a twentieth of what a copy of this size may take at about
    /// half a GiB a second, but at least a minute and at most five.
    pub fn copy_poll_seconds(&self) -> u32 {
        let by_size = u32::try_from(self.source.allocated_storage_gib / 10).unwrap_or(0);
        let least = self.waits.poll_seconds.max(60);
        by_size.clamp(least, least.max(300))
    }

    /// The snapshot that RestoreCluster restores: our last copy when there is one. None for a source that is no
    /// snapshot.
    pub fn snapshot_to_restore(&self) -> Option<&str> {
        match self.copies.last() {
            Some(copy) => Some(&copy.identifier),
            None => self.source.snapshot_arn(),
        }
    }

    /// The copy with this ARN.
    pub fn copy(&self, arn: &str) -> Option<&SnapshotCopy> {
        self.copies
            .iter()
            .find(|copy| copy.arn.eq_ignore_ascii_case(arn))
    }
}

/// An RDS ARN.
pub fn rds_arn(region: &str, account: &str, resource: &str, identifier: &str) -> String {
    format!(
        "arn:{}:rds:{region}:{account}:{resource}:{identifier}",
        partition(region)
    )
}

/// The partition a region belongs to.
fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
