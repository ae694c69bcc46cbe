//! What is asked for.
//!
//! A request names a source and a target and leaves the rest to defaults or to the
//! source's own settings. Unknown fields are refused, so that a typing error cannot
//! silently change a restore. Secrets are named, never contained.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is asked for, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Where the data comes from.
    pub source: Source,
    /// What is made of it.
    pub target: Target,
    /// Who may log in afterwards.
    #[serde(default)]
    pub credentials: CredentialsPolicy,
    /// SQL that must hold before anyone may reach the target.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// How long each wait may take.
    #[serde(default)]
    pub waits: Waits,
    /// The target is tagged to be removed after this many hours; with 0 as soon as it is proved; kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 8760))]
    pub expires_after_hours: Option<u32>,
    /// A person who must agree before anything is made; who need not, when absent. The deployed settings may ask for
    /// one all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// How clients come to the target.
    #[serde(default)]
    pub switch: Switch,
}

/// A person who must agree before anything is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Approval {
    /// Whether one must.
    pub required: bool,
    /// The restore fails when nobody has decided after this long.
    #[schemars(range(min = 5, max = 2880))]
    pub expires_after_minutes: u32,
}

/// Two days: with every other wait at its longest, an execution still ends within its ten.
const LONGEST_APPROVAL_MINUTES: u32 = 2_880;

impl Default for Approval {
    fn default() -> Self {
        Self {
            required: false,
            expires_after_minutes: 1_440,
        }
    }
}

/// Where the data comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The DB cluster whose data is restored.
    pub cluster_identifier: String,
    /// `latest`, or a snapshot's identifier, or its ARN (necessary when another account shared it). `latest` when
    /// neither this nor `latestBefore`, `pointInTime` or `clone` is given; at most one of the four may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The newest usable snapshot that was not taken after this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub latest_before: Option<String>,
    /// The cluster as it was at this time (RFC 3339), or at the `latest` one that its backups reach. In the
    /// pipeline's own region and account only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<String>,
    /// A copy-on-write clone of the cluster as it is. In the pipeline's own region and account only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clone: bool,
    /// Which snapshots `latest` and `latestBefore` choose from; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub snapshot_types: Option<Vec<SnapshotType>>,
    /// The region the snapshot is in; the pipeline's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A KMS key of that region, for the first of two copies: necessary when the snapshot is encrypted, another
    /// account's, and in another region; elsewhere refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_kms_key_id: Option<String>,
    /// The secret with the source's master password, which must be refused afterwards. Found by itself
    /// when RDS manages it and the source still exists in this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_secret_arn: Option<String>,
}

/// Who made a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotType {
    /// RDS, every day; named `rds:…`, and deleted with the cluster's retention.
    Automated,
    /// People and programs.
    Manual,
    /// AWS Backup; named `awsbackup:job-…`, and deleted by its lifecycle.
    AwsBackup,
}

impl SnapshotType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Automated, Self::Manual, Self::AwsBackup];

    /// As RDS spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Automated => "automated",
            Self::Manual => "manual",
            Self::AwsBackup => "awsbackup",
        }
    }
}

/// What of the source is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The newest usable snapshot.
    Latest,
    /// The newest usable snapshot that was not taken after this.
    LatestBefore(OffsetDateTime),
    /// This snapshot, by its identifier or ARN.
    Snapshot(&'a str),
    /// The cluster as it was then; at the latest time its backups reach when absent.
    PointInTime(Option<OffsetDateTime>),
    /// A clone of the cluster as it is.
    Clone,
}

impl Source {
    /// What is asked for.
    ///
    /// # Errors
    /// The broken rule: more than one is asked for, or a time is none.
    pub fn wanted(&self) -> Result<Wanted<'_>, String> {
        let given = [
            (self.snapshot.is_some(), "source.snapshot"),
            (self.latest_before.is_some(), "source.latestBefore"),
            (self.point_in_time.is_some(), "source.pointInTime"),
            (self.clone, "source.clone"),
        ];
        let given: Vec<&str> = given
            .iter()
            .filter_map(|(given, name)| given.then_some(*name))
            .collect();
        if given.len() > 1 {
            let given = given.join("`, `");
            return Err(format!(
                "at `source`: `{given}`, expected one of them; `null` takes a profile's back"
            ));
        }
        Ok(match (&self.latest_before, &self.point_in_time) {
            (Some(before), _) => Wanted::LatestBefore(moment("source.latestBefore", before)?),
            (_, Some(latest)) if latest == LATEST => Wanted::PointInTime(None),
            (_, Some(at)) => Wanted::PointInTime(Some(moment("source.pointInTime", at)?)),
            _ if self.clone => Wanted::Clone,
            _ => match self.snapshot.as_deref() {
                None | Some(LATEST) => Wanted::Latest,
                Some(snapshot) => Wanted::Snapshot(snapshot),
            },
        })
    }

    /// The rules that join fields, beside [`Self::wanted`].
    fn problems(&self) -> Vec<String> {
        let wanted = match self.wanted() {
            Ok(wanted) => wanted,
            Err(problem) => return vec![problem],
        };
        let chooses = matches!(wanted, Wanted::Latest | Wanted::LatestBefore(_));
        let of_snapshot = chooses || matches!(wanted, Wanted::Snapshot(_));
        let types = self.snapshot_types.as_deref();
        let rules = [
            rule(
                "source.snapshotTypes",
                &format!("{} types", types.map_or(0, <[_]>::len)),
                types.is_none_or(|types| !types.is_empty()),
                "at least one of automated, manual and awsbackup, or no such field for all of them",
            ),
            rule(
                "source.snapshotTypes",
                "given",
                types.is_none() || chooses,
                "no such field unless the latest snapshot is asked for: source.snapshot `latest` or source.latestBefore",
            ),
            rule(
                "source.copyKmsKeyId",
                self.copy_kms_key_id.as_deref().unwrap_or_default(),
                self.copy_kms_key_id.is_none() || of_snapshot,
                "no such field for source.pointInTime and source.clone, which copy no snapshot",
            ),
        ];
        rules.into_iter().flatten().collect()
    }
}

const LATEST: &str = "latest";

fn moment(field: &str, text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        format!("at `{field}`: `{text}`, expected a time such as 2026-11-20T02:00:00Z (RFC 3339)")
    })
}

/// What is made of it. What is absent is taken from the source where it can be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The DB cluster to make; must not exist.
    pub cluster_identifier: String,
    /// The class of every instance, such as `db.r7g.large`; that of each of the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_class: Option<String>,
    /// Readers beside the writer. Absent: none beside an `instanceClass`, else as many as the source has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 15))]
    pub readers: Option<u8>,
    /// Each instance by itself, the writer first; instead of `instanceClass` and `readers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub instances: Option<Vec<AskedInstance>>,
    /// The groups that may reach the target once it is proved safe. At least one.
    pub security_group_ids: Vec<String>,
    /// The source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_group: Option<String>,
    /// The source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_parameter_group: Option<String>,
    /// The source's when absent. Attached in Switch, like the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_parameter_group: Option<String>,
    /// The KMS key of the target; necessary when a copy of an encrypted snapshot crosses account or region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// TCP port; the snapshot's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1150))]
    pub port: Option<u16>,
    /// Refuses deletion of the target until switched off. Set in Switch, not before. Absent: the source's, but off for a
    /// target that expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection: Option<bool>,
    /// Snapshots of the target carry its tags; the source's setting when absent. Set in Switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_tags_to_snapshot: Option<bool>,
    /// Log-in with IAM tokens; the source's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_authentication: Option<bool>,
    /// Log types sent to CloudWatch Logs; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_exports: Option<Vec<String>>,
    /// `aurora` or `aurora-iopt1`; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
    /// Days automated backups are kept, 1 to 35; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 35))]
    pub backup_retention_days: Option<u8>,
    /// When backups are taken, such as `03:00-03:30` (UTC); the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_window: Option<String>,
    /// When the cluster is maintained, such as `sun:04:00-sun:04:30` (UTC); the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<String>,
    /// When the instances are maintained; each of the source's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_maintenance_window: Option<String>,
    /// Paid Extended Support past the engine version's end of standard support; the source's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_support: Option<bool>,
    /// Necessary for `db.serverless`; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serverless_scaling: Option<ServerlessScaling>,
    /// IAM roles that the database may assume; the source's when absent, where it is in this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<ClusterRole>>,
    /// `IPV4` or `DUAL`; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
    /// The Data API, which needs no network; the source's setting when absent. Switched on in Switch, not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_api: Option<bool>,
    /// Performance Insights of cluster and instances; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_insights: Option<PerformanceInsights>,
    /// The KMS key of Performance Insights; the source's when absent, where it is in this region, else RDS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_insights_kms_key_id: Option<String>,
    /// `standard` or `advanced`; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_insights_mode: Option<String>,
    /// Enhanced Monitoring of the instances; that of each of the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
    /// Whether minor versions are installed in the maintenance window; as at each of the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_minor_version_upgrade: Option<bool>,
    /// The authority of the instances' certificates, such as `rds-ca-rsa2048-g1`; that of each of the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// Tags of your own, beside the pipeline's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether the target gets the source's own tags, too; `tags` win over them.
    #[serde(default)]
    pub copy_source_tags: bool,
}

/// An instance that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskedInstance {
    /// Such as `db.r7g.large`.
    pub class: String,
    /// Who becomes the writer when the writer fails: the lowest of 0 to 15. The source's of the same rank when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 15))]
    pub promotion_tier: Option<u8>,
    /// Where it runs; RDS chooses when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

/// An IAM role that a database may assume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRole {
    /// The role's ARN.
    pub role_arn: String,
    /// What it is for, such as `s3Import`; MySQL has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

/// Performance Insights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerformanceInsights {
    /// Whether it is on.
    pub enabled: bool,
    /// Days that its data are kept while it is on: 7, a multiple of 31 up to 713, or 731. 7 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u16>,
}

/// Enhanced Monitoring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Monitoring {
    /// Seconds between two points: 1, 5, 10, 15, 30 or 60; 0 for none.
    pub interval_seconds: u8,
    /// The role that RDS writes them with; needed unless there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}

/// Capacity of Aurora Serverless v2, in ACU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerlessScaling {
    /// 0 (pauses when idle) or from 0.5 in steps of 0.5.
    pub min_capacity: f64,
    /// Up to 256 (128 on older engine versions).
    pub max_capacity: f64,
    /// Seconds without a connection until it pauses, 300 to 86400; only with a `minCapacity` of 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 300, max = 86400))]
    pub seconds_until_auto_pause: Option<u32>,
}

/// Who may log in afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsPolicy {
    /// Who keeps the master password.
    #[serde(default)]
    pub master: MasterPassword,
    /// The name of the secret when `master` is `secret`; derived from the restore id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// Who keeps the master password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MasterPassword {
    /// RDS makes, stores and rotates it; the pipeline never sees how.
    #[default]
    RdsManaged,
    /// The pipeline makes it and stores it in a secret of its own.
    Secret,
}

impl Request {
    /// The names by which clients will come to the target, as far as the request tells.
    pub fn names(&self) -> Vec<&str> {
        let switch = &self.switch;
        let all = [
            Some(self.target.cluster_identifier.as_str()),
            switch.parameter.as_deref(),
            switch.secret_name.as_deref(),
            switch.record.as_ref().map(|record| record.name.as_str()),
        ];
        all.into_iter().flatten().collect()
    }
}

/// How clients come to the target. To name a mode that replaces a cluster is the consent to replace it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Switch {
    /// By which of the ways below.
    #[serde(default)]
    pub mode: SwitchMode,
    /// What becomes of the cluster that is replaced; absent, it is kept as it is. For `rename` and `pointer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retire>,
    /// For `pointer`: the parameter of Parameter Store that says where the cluster is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// For `pointer`: the secret with which clients connect; it exists, and gets a new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// For `pointer`: the CNAME record that leads to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<DnsRecord>,
}

/// By which way clients come to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchMode {
    /// By its own name, which is new.
    #[default]
    None,
    /// By the name of the cluster that it replaces: both are renamed.
    Rename,
    /// By a parameter, a secret or a record of DNS, which are moved to it.
    Pointer,
}

/// What becomes of the cluster that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retire {
    /// How many hours it is kept. Then it is deleted.
    #[schemars(range(min = 1, max = 8760))]
    pub keep_hours: u32,
    /// Whether it is stopped meanwhile.
    #[serde(default = "yes")]
    pub stopped: bool,
    /// Whether a last snapshot of it is taken when it is deleted.
    #[serde(default = "yes")]
    pub final_snapshot: bool,
}

/// A CNAME record of Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsRecord {
    /// The hosted zone, such as `Z0123456789ABCDEFGHIJ`.
    pub hosted_zone_id: String,
    /// The record's whole name, such as `orders.db.example.com`.
    pub name: String,
    /// How long resolvers may keep it.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 1, max = 86_400))]
    pub ttl_seconds: u32,
}

fn yes() -> bool {
    true
}

fn a_minute() -> u32 {
    60
}

/// SQL that must hold before anyone may reach the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// For the evidence.
    pub name: String,
    /// The database to connect to.
    pub database: String,
    /// One statement that returns one row with one column. Run read-only.
    pub sql: String,
    /// What the value must be.
    pub expect: Expectation,
}

/// What a check's value must be, compared as numbers where both are numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Expectation {
    /// Equal to this text or number.
    Equals(Value),
    /// A number not below this.
    AtLeast(f64),
    /// A number not above this.
    AtMost(f64),
}

/// How long each wait may take, and how often it looks by itself. RDS events wake a wait earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Waits {
    /// Until the snapshot copy is available. Cross-region copies can queue for hours.
    #[schemars(range(min = 1, max = 1440))]
    pub copy_deadline_minutes: u32,
    /// Until the cluster is available.
    #[schemars(range(min = 1, max = 1440))]
    pub cluster_deadline_minutes: u32,
    /// Until the instances are available.
    #[schemars(range(min = 1, max = 1440))]
    pub instances_deadline_minutes: u32,
    /// Until a modification has been applied, or a deletion is over.
    #[schemars(range(min = 1, max = 1440))]
    pub change_deadline_minutes: u32,
    /// Seconds between two looks where RDS events wake the wait.
    #[schemars(range(min = 5, max = 3600))]
    pub heartbeat_seconds: u32,
    /// Seconds between two looks where RDS has no event: modifications, and snapshot copies, whose interval
    /// grows with their size from here.
    #[schemars(range(min = 5, max = 3600))]
    pub poll_seconds: u32,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            copy_deadline_minutes: 360,
            cluster_deadline_minutes: 180,
            instances_deadline_minutes: 90,
            change_deadline_minutes: 60,
            heartbeat_seconds: 300,
            poll_seconds: 30,
        }
    }
}

/// A wait is never longer than a day.
const LONGEST_WAIT_MINUTES: u32 = 1440;
/// An execution's history holds 25,000 events (Step Functions quotas); a look that finds nothing writes five.
const MOST_LOOKS: u32 = 4_000;

impl Waits {
    /// How often the waits look by themselves if each uses up its deadline.
    fn most_looks(&self) -> u32 {
        let looks = |minutes: u32, seconds: u32| minutes * 60 / seconds.max(1);
        looks(
            self.cluster_deadline_minutes + 2 * self.instances_deadline_minutes,
            self.heartbeat_seconds,
        ) + looks(self.change_deadline_minutes, self.heartbeat_seconds)
            + looks(
                self.copy_deadline_minutes + self.change_deadline_minutes,
                self.poll_seconds,
            )
    }
}

/// Parses JSON into `T`; a failure names the path, the value's place and what was expected.
///
/// # Errors
/// The problem as one line.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| describe(&error))?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(parsed)
}

/// As [`parse`], from a value.
///
/// # Errors
/// The problem as one line.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| describe(&error))
}

fn describe<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> String {
    match error.path().to_string().as_str() {
        "." | "?" => error.inner().to_string(),
        path => format!("at `{path}`: {}", error.inner()),
    }
}

/// Reads a whole request and checks it.
///
/// # Errors
/// Every broken rule, each with its field's path, the value and what was expected.
pub fn read(whole: Value) -> Result<Request, String> {
    from_value(whole).and_then(validated)
}

/// Checks what types cannot say. Each rule names its field, the value and what was expected.
fn validated(request: Request) -> Result<Request, String> {
    let waits = &request.waits;
    let rules = [
        identifier_rule(
            "source.clusterIdentifier",
            &request.source.cluster_identifier,
            63,
        ),
        // Instances add `-` and a number of up to two digits to the cluster's name.
        identifier_rule(
            "target.clusterIdentifier",
            &request.target.cluster_identifier,
            60,
        ),
        rule(
            "target.securityGroupIds",
            &format!("{:?}", request.target.security_group_ids),
            !request.target.security_group_ids.is_empty()
                && request
                    .target
                    .security_group_ids
                    .iter()
                    .all(|id| id.starts_with("sg-")),
            "at least one security group id, such as sg-0a1b2c3d",
        ),
        range(
            "target.readers",
            request.target.readers.unwrap_or(0).into(),
            0,
            15,
        ),
        range(
            "target.port",
            request.target.port.unwrap_or(5432).into(),
            1150,
            65_535,
        ),
        range(
            "target.backupRetentionDays",
            request.target.backup_retention_days.unwrap_or(1).into(),
            1,
            35,
        ),
        range(
            "expiresAfterHours",
            request.expires_after_hours.unwrap_or(1),
            0,
            8760,
        ),
        range(
            "approval.expiresAfterMinutes",
            request
                .approval
                .as_ref()
                .map_or(5, |approval| approval.expires_after_minutes),
            5,
            LONGEST_APPROVAL_MINUTES,
        ),
        range(
            "waits.copyDeadlineMinutes",
            waits.copy_deadline_minutes,
            1,
            LONGEST_WAIT_MINUTES,
        ),
        range(
            "waits.clusterDeadlineMinutes",
            waits.cluster_deadline_minutes,
            1,
            LONGEST_WAIT_MINUTES,
        ),
        range(
            "waits.instancesDeadlineMinutes",
            waits.instances_deadline_minutes,
            1,
            LONGEST_WAIT_MINUTES,
        ),
        range(
            "waits.changeDeadlineMinutes",
            waits.change_deadline_minutes,
            1,
            LONGEST_WAIT_MINUTES,
        ),
        range("waits.heartbeatSeconds", waits.heartbeat_seconds, 5, 3600),
        range("waits.pollSeconds", waits.poll_seconds, 5, 3600),
        rule(
            "waits",
            &format!("{} looks", waits.most_looks()),
            waits.most_looks() <= MOST_LOOKS,
            &format!(
                "at most {MOST_LOOKS} looks before all deadlines: a history holds 25,000 events; look less often or wait less long"
            ),
        ),
        range(
            "checks",
            u32::try_from(request.checks.len()).unwrap_or(u32::MAX),
            0,
            50,
        ),
    ];
    let tags = request.target.tags.iter().map(|(key, value)| {
        let fits = key.len() <= 128 && value.len() <= 256;
        let reserved = ["aws:", "rds:", "aurora-restore:"].iter().any(|prefix| key.starts_with(prefix));
        rule("target.tags", key, fits && !reserved, "keys up to 128 and values up to 256 characters, no aws:, rds: or aurora-restore: prefix")
    });
    let problems: Vec<String> = rules
        .into_iter()
        .chain(tags)
        .chain(instance_rules(&request.target))
        .chain(setting_rules(&request.target))
        .chain(switch_rules(&request))
        .flatten()
        .chain(request.source.problems())
        .collect();
    if problems.is_empty() {
        Ok(request)
    } else {
        Err(problems.join("; "))
    }
}

/// What each mode of Switch needs, and what it has no use for.
fn switch_rules(request: &Request) -> Vec<Option<String>> {
    let Switch {
        mode,
        retire,
        parameter,
        secret_name,
        record,
    } = &request.switch;
    let (replaces, points) = (*mode != SwitchMode::None, *mode == SwitchMode::Pointer);
    let only = |field: &str, given: bool, permitted: bool, modes: &str| {
        let expected = format!("nothing, unless `switch.mode` is {modes}");
        rule(field, "given", !given || permitted, &expected)
    };
    let pointer = "`pointer`";
    let path = parameter.as_deref();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    let is_path = |path: &str| {
        path.starts_with('/') && (2..=1011).contains(&path.len()) && path.chars().all(plain)
    };
    let is_secret_name = |name: &str| {
        (1..=512).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c))
    };
    let mut rules = vec![
        only(
            "switch.retire",
            retire.is_some(),
            replaces,
            "`rename` or `pointer`",
        ),
        only("switch.parameter", path.is_some(), points, pointer),
        only("switch.secretName", secret_name.is_some(), points, pointer),
        only("switch.record", record.is_some(), points, pointer),
        rule(
            "switch.parameter",
            path.unwrap_or("absent"),
            !points || path.is_some_and(is_path),
            "the whole name of a parameter, such as /orders/endpoint",
        ),
        // RDS changes a password that it manages: a copy would go stale.
        rule(
            "switch.secretName",
            secret_name.as_deref().unwrap_or_default(),
            secret_name.is_none() || request.credentials.master == MasterPassword::Secret,
            "`credentials.master` to be `secret`: RDS rotates a password that it manages, and a copy of it would go stale",
        ),
        // By its name alone: by an ARN, production's secret would not be known as production's.
        rule(
            "switch.secretName",
            secret_name.as_deref().unwrap_or_default(),
            secret_name.as_deref().is_none_or(is_secret_name),
            "the whole name of a secret, such as orders/connection, and no ARN",
        ),
    ];
    if let Some(retire) = retire {
        rules.push(range("switch.retire.keepHours", retire.keep_hours, 1, 8760));
    }
    if let Some(record) = record {
        let DnsRecord {
            hosted_zone_id: zone,
            name,
            ttl_seconds,
        } = record;
        let is_zone = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        let labels = || name.split('.');
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        rules.extend([
            rule(
                "switch.record.hostedZoneId",
                zone,
                zone.starts_with('Z')
                    && (2..=32).contains(&zone.len())
                    && zone.chars().all(is_zone),
                "the id of a hosted zone, such as Z0123456789ABCDEFGHIJ",
            ),
            rule(
                "switch.record.name",
                name,
                name.len() <= 255 && labels().count() > 1 && labels().all(is_label),
                "a whole domain name without a dot at its end, such as orders.db.example.com",
            ),
            range("switch.record.ttlSeconds", *ttl_seconds, 1, 86_400),
        ]);
    }
    rules
}

fn instance_rules(target: &Target) -> Vec<Option<String>> {
    let class = |field: &str, class: &str| {
        let holds = class.starts_with("db.");
        rule(field, class, holds, "a class such as db.r7g.large")
    };
    let listed = target.instances.as_deref().unwrap_or_default();
    let both =
        target.instances.is_some() && (target.instance_class.is_some() || target.readers.is_some());
    let of_all = target.instance_class.iter();
    let mut rules: Vec<_> = of_all
        .map(|name| class("target.instanceClass", name))
        .collect();
    rules.push(rule(
        "target.instances",
        "beside instanceClass or readers",
        !both,
        "either `instances`, or `instanceClass` and `readers`",
    ));
    if target.instances.is_some() {
        let count = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        rules.push(range("target.instances", count, 1, 16));
    }
    for (index, instance) in listed.iter().enumerate() {
        let field = format!("target.instances[{index}]");
        rules.push(class(&format!("{field}.class"), &instance.class));
        let tier = instance.promotion_tier.unwrap_or(0).into();
        rules.push(range(&format!("{field}.promotionTier"), tier, 0, 15));
    }
    rules
}

/// What RDS takes for a setting (its API reference).
fn setting_rules(target: &Target) -> Vec<Option<String>> {
    let one_of = |field: &str, value: &Option<String>, known: &[&str]| {
        let value = value.as_deref()?;
        rule(field, value, known.contains(&value), &known.join(" or "))
    };
    let pause = target
        .serverless_scaling
        .as_ref()
        .and_then(|scaling| scaling.seconds_until_auto_pause);
    let insights = target.performance_insights.as_ref();
    let monitoring = target.monitoring.as_ref();
    vec![
        one_of(
            "target.storageType",
            &target.storage_type,
            &["aurora", "aurora-iopt1"],
        ),
        one_of(
            "target.networkType",
            &target.network_type,
            &["IPV4", "DUAL"],
        ),
        one_of(
            "target.databaseInsightsMode",
            &target.database_insights_mode,
            &["standard", "advanced"],
        ),
        range(
            "target.serverlessScaling.secondsUntilAutoPause",
            pause.unwrap_or(300),
            300,
            86_400,
        ),
        insights.and_then(|insights| {
            let days = insights.retention_days.unwrap_or(7);
            let holds = days == 7 || days == 731 || (days % 31 == 0 && (31..=713).contains(&days));
            let field = "target.performanceInsights.retentionDays";
            rule(
                field,
                &days.to_string(),
                holds,
                "7, a multiple of 31 up to 713, or 731",
            )
        }),
        monitoring.and_then(|monitoring| {
            let seconds = monitoring.interval_seconds;
            let holds = [0, 1, 5, 10, 15, 30, 60].contains(&seconds)
                && (seconds > 0) == monitoring.role_arn.is_some();
            let field = "target.monitoring";
            let expected =
                "intervalSeconds of 1, 5, 10, 15, 30 or 60 with a roleArn, or 0 without one";
            rule(field, &seconds.to_string(), holds, expected)
        }),
    ]
}

fn rule(field: &str, value: &str, holds: bool, expected: &str) -> Option<String> {
    (!holds).then(|| format!("at `{field}`: `{value}`, expected {expected}"))
}

fn range(field: &str, value: u32, least: u32, most: u32) -> Option<String> {
    rule(
        field,
        &value.to_string(),
        (least..=most).contains(&value),
        &format!("{least} to {most}"),
    )
}

fn identifier_rule(field: &str, value: &str, limit: usize) -> Option<String> {
    let starts = value.starts_with(|c: char| c.is_ascii_alphabetic());
    let holds = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let fits = (1..=limit).contains(&value.len());
    let hyphens = !value.ends_with('-') && !value.contains("--");
    rule(
        field,
        value,
        starts && holds && fits && hyphens,
        &format!(
            "1 to {limit} letters, digits and single hyphens, starting with a letter and not ending with a hyphen"
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minimal() -> Value {
        json!({
            "source": {"clusterIdentifier": "orders-prod"},
            "target": {"clusterIdentifier": "orders-staging", "instanceClass": "db.r7g.large", "securityGroupIds": ["sg-1"]}
        })
    }

    #[test]
    fn a_minimal_request_is_completed_by_defaults() {
        let request = read(minimal()).unwrap();
        assert_eq!(request.source.wanted(), Ok(Wanted::Latest));
        assert_eq!(request.credentials.master, MasterPassword::RdsManaged);
        assert_eq!(request.waits.heartbeat_seconds, 300);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_path() {
        let mut input = minimal();
        input["target"]["instanceClas"] = json!("db.r7g.large");
        let problem = read(input).unwrap_err();
        assert!(problem.contains("target.instanceClas"), "{problem}");
    }

    #[test]
    fn each_way_to_switch_takes_its_own_fields_and_no_others() {
        let with = |switch: Value| {
            let mut input = minimal();
            input["switch"] = switch;
            read(input)
        };
        let retire = json!({"keepHours": 72});
        assert_eq!(read(minimal()).unwrap().switch.mode, SwitchMode::None);
        let renaming = with(json!({"mode": "rename", "retire": retire})).unwrap();
        assert!(renaming.switch.retire.unwrap().final_snapshot);
        for (switch, path) in [
            (json!({"retire": retire}), "switch.retire"),
            (
                json!({"mode": "rename", "parameter": "/a"}),
                "switch.parameter",
            ),
            (json!({"mode": "pointer"}), "switch.parameter"),
            (
                json!({"mode": "pointer", "parameter": "a b"}),
                "switch.parameter",
            ),
            (
                json!({"mode": "pointer", "parameter": "/a", "secretName": "orders/app"}),
                "switch.secretName",
            ),
            (
                json!({"mode": "pointer", "parameter": "/a", "record": {"hostedZoneId": "z", "name": "a.b"}}),
                "switch.record.hostedZoneId",
            ),
            (
                json!({"mode": "rename", "retire": {"keepHours": 0}}),
                "switch.retire.keepHours",
            ),
            (
                json!({"mode": "rename", "retire": {"keepDays": 3}}),
                "switch.retire.keepDays",
            ),
        ] {
            let problem = with(switch).unwrap_err();
            assert!(problem.contains(&format!("`{path}`")), "{problem}");
        }
    }

    #[test]
    fn what_points_to_a_cluster_is_named_in_one_way_alone() {
        let point_by = |secret: &str, record: &str| {
            let mut input = minimal();
            input["credentials"] = json!({"master": "secret"});
            input["switch"] = json!({
                "mode": "pointer",
                "parameter": "/a",
                "secretName": secret,
                "record": {"hostedZoneId": "Z1", "name": record},
            });
            read(input)
        };
        let (secret, record) = ("orders/connection", "orders.db.example.com");
        point_by(secret, record).unwrap();
        let arn = format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{secret}-AbCdEf");
        let problem = point_by(&arn, record).unwrap_err();
        assert!(problem.contains("`switch.secretName`"), "{problem}");
        let problem = point_by(secret, &format!("{record}.")).unwrap_err();
        assert!(problem.contains("`switch.record.name`"), "{problem}");
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let mut input = minimal();
        input["target"]["readers"] = json!(16);
        input["target"]["clusterIdentifier"] = json!("9-lives-");
        let problem = read(input).unwrap_err();
        assert!(
            problem.contains("target.readers") && problem.contains("9-lives-"),
            "{problem}"
        );
    }

    fn source(fields: Value) -> Result<Request, String> {
        let mut input = minimal();
        for (name, value) in fields.as_object().unwrap() {
            input["source"][name] = value.clone();
        }
        read(input)
    }

    #[test]
    fn a_source_is_asked_for_in_one_way() {
        let wanted = |fields| {
            source(fields)
                .unwrap()
                .source
                .wanted()
                .map(|wanted| format!("{wanted:?}"))
        };
        assert_eq!(wanted(json!({"snapshot": "latest"})).unwrap(), "Latest");
        assert_eq!(
            wanted(json!({"snapshot": "s-1"})).unwrap(),
            "Snapshot(\"s-1\")"
        );
        assert_eq!(
            wanted(json!({"pointInTime": "latest"})).unwrap(),
            "PointInTime(None)"
        );
        assert_eq!(
            wanted(json!({"clone": true, "snapshot": null})).unwrap(),
            "Clone"
        );
        let at = wanted(json!({"latestBefore": "2026-11-20T02:00:00+01:00"})).unwrap();
        assert!(at.contains("2026-11-20 2:00:00.0 +01:00:00"), "{at}");
        let both = source(json!({"clone": true, "pointInTime": "latest"})).unwrap_err();
        assert!(
            both.contains("`source.pointInTime`, `source.clone`"),
            "{both}"
        );
    }

    #[test]
    fn a_field_that_does_not_fit_the_way_a_source_is_asked_for_is_refused() {
        for (fields, named) in [
            (
                json!({"pointInTime": "yesterday"}),
                "source.pointInTime`: `yesterday`, expected a time",
            ),
            (
                json!({"latestBefore": "latest"}),
                "source.latestBefore`: `latest`",
            ),
            (json!({"snapshotTypes": []}), "source.snapshotTypes"),
            (
                json!({"snapshotTypes": ["manual"], "clone": true}),
                "source.snapshotTypes",
            ),
            (json!({"snapshotTypes": ["shared"]}), "source.snapshotTypes"),
            (
                json!({"copyKmsKeyId": "alias/x", "clone": true}),
                "source.copyKmsKeyId",
            ),
        ] {
            let problem = source(fields).unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
    }
}
