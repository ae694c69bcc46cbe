//! The settings of a cluster and its instances, each known once: how RDS shows it, what asks for it, what
//! sets it, and what holds when nobody says.
//!
//! A restore call falls back to a default for whatever it leaves out. So every setting is in this table: Plan
//! resolves the target by it, Verify compares the target with the plan and the source by it, and
//! `docs/settings.md` prints it. A row that is missing here is a setting that can be lost.

use std::fmt::Write as _;

use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot, DbInstance, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::plan::Plan;

/// The setting that opts in to paid Extended Support.
pub const EXTENDED_SUPPORT: &str = "open-source-rds-extended-support";

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its field in the plan's target, or in each of the target's instances.
    pub path: &'static str,
    /// For people.
    pub name: &'static str,
    /// The fields of the request's `target` that ask for it, the more particular first.
    pub asked_as: &'static [&'static str],
    /// What sets it.
    pub set_by: SetBy,
    /// Where the source's value can be used.
    pub reach: Reach,
    /// What holds when neither request nor source says.
    pub unknown: Unknown,
    /// How RDS shows it.
    pub read: Read,
}

/// The state and the call that set a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// RestoreCluster, in the restore call.
    Restore,
    /// AddInstances, in `CreateDBInstance`.
    CreateInstance,
    /// ResetCredentials, in the `ModifyDBCluster` that replaces the password: a restore call does not take it.
    Reset,
    /// Switch: in quarantine the target has another value, see [`in_quarantine`].
    Switch(&'static str),
}

/// Where the source's value can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In any region of the account.
    Account,
    /// In the source's region only: the value names something that exists there.
    Region,
    /// Nowhere: it is not taken from the source.
    Nowhere,
}

/// What holds when neither request nor source says.
#[derive(Clone, Copy, Debug)]
pub enum Unknown {
    /// This.
    Is(fn() -> Value),
    /// What RDS chooses. Then it is shown and not compared.
    LeftToRds,
    /// What the plan derives from other fields.
    Derived,
}

/// How RDS shows a setting. Null is what it does not show.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// A cluster's; of the snapshot where that tells it, and the cluster cannot be seen.
    Cluster(
        fn(&DbCluster) -> Value,
        Option<fn(&DbClusterSnapshot) -> Value>,
    ),
    /// A setting of the data: of the snapshot, and of the cluster only without one.
    Data(fn(&DbCluster) -> Value, fn(&DbClusterSnapshot) -> Value),
    /// An instance's.
    Instance(fn(&DbInstance) -> Value),
}

impl Setting {
    /// Whether it is one of each instance.
    pub fn is_of_instances(&self) -> bool {
        matches!(self.read, Read::Instance(_))
    }

    /// As this cluster has it.
    pub fn of_cluster(&self, cluster: &DbCluster) -> Value {
        match self.read {
            Read::Cluster(read, _) | Read::Data(read, _) => canonical(read(cluster)),
            Read::Instance(_) => Value::Null,
        }
    }

    /// As the source has it: its cluster, where that can be seen, and its snapshot, where there is one.
    pub fn of_source(
        &self,
        cluster: Option<&DbCluster>,
        snapshot: Option<&DbClusterSnapshot>,
    ) -> Value {
        let shown = match self.read {
            Read::Cluster(read, of_snapshot) => {
                cluster.map(read).or_else(|| Some(of_snapshot?(snapshot?)))
            }
            Read::Data(read, of_snapshot) => {
                snapshot.map(of_snapshot).or_else(|| cluster.map(read))
            }
            Read::Instance(_) => None,
        };
        canonical(shown.unwrap_or(Value::Null))
    }

    /// As this instance has it.
    pub fn of_instance(&self, instance: &DbInstance) -> Value {
        match self.read {
            Read::Instance(read) => canonical(read(instance)),
            Read::Cluster(..) | Read::Data(..) => Value::Null,
        }
    }

    /// Its key among the source's settings in the plan: its path, and of which instance.
    pub fn key(&self, instance: Option<usize>) -> String {
        match instance {
            Some(number) => format!("instances[{number}].{}", self.path),
            None => self.path.to_owned(),
        }
    }
}

/// The same value in one form: the order of a list means nothing.
pub fn canonical(value: Value) -> Value {
    match value {
        Value::Array(mut items) => {
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

macro_rules! settings {
    ($($path:literal $name:literal [$($asked:literal),*] $set_by:expr, $reach:ident, $unknown:expr, $read:expr;)*) => {
        &[$(Setting {
            path: $path,
            name: $name,
            asked_as: &[$($asked),*],
            set_by: $set_by,
            reach: Reach::$reach,
            unknown: $unknown,
            read: $read,
        }),*]
    };
}

/// Every setting, clusters' first.
pub const SETTINGS: &[Setting] = {
    use Read::{Cluster, Data, Instance};
    use SetBy::{CreateInstance, Reset, Restore, Switch};
    use Unknown::{Derived, Is, LeftToRds};
    settings! {
        "engineVersion" "engine version" [] Restore, Account, Derived,
            Data(|c| text(c.engine_version()), |s| text(s.engine_version()));
        "port" "port" ["port"] Restore, Account, Derived,
            Data(|c| port(c.port()), |s| port(s.port()));
        "encrypted" "encrypted" ["kmsKeyId"] Restore, Account, Derived,
            Data(|c| json!(c.storage_encrypted().unwrap_or(false) || named(c.kms_key_id())),
                 |s| json!(s.storage_encrypted().unwrap_or(false) || named(s.kms_key_id())));
        "kmsKeyId" "key" ["kmsKeyId"] Restore, Region, Derived,
            Data(|c| text(c.kms_key_id()), |s| text(s.kms_key_id()));
        "storageType" "storage type" ["storageType"] Restore, Account, Is(|| json!("aurora")),
            Cluster(|c| storage_type(c.storage_type()), Some(|s| storage_type(s.storage_type())));
        "subnetGroup" "subnet group" ["subnetGroup"] Restore, Region, Is(|| json!("default")),
            Cluster(|c| text(c.db_subnet_group()), None);
        "networkType" "network type" ["networkType"] Restore, Account, LeftToRds,
            Cluster(|c| text(c.network_type()), None);
        "publiclyAccessible" "publicly accessible" [] Restore, Account, Is(|| json!(false)),
            Cluster(|c| json!(c.publicly_accessible().unwrap_or(false)), None);
        "securityGroupIds" "security groups" ["securityGroupIds"] Switch("ModifyDBCluster"), Region, Derived,
            Cluster(|c| c.vpc_security_groups().iter().filter_map(|group| group.vpc_security_group_id()).collect(), None);
        "clusterParameterGroup" "cluster parameter group" ["clusterParameterGroup"] Switch("ModifyDBCluster"), Region, Derived,
            Cluster(|c| text(c.db_cluster_parameter_group()), None);
        "deletionProtection" "deletion protection" ["deletionProtection"] Switch("ModifyDBCluster"), Account, Is(|| json!(false)),
            Cluster(|c| json!(c.deletion_protection().unwrap_or(false)), None);
        "copyTagsToSnapshot" "copy tags to snapshots" ["copyTagsToSnapshot"] Switch("ModifyDBCluster"), Account, Is(|| json!(false)),
            Cluster(|c| json!(c.copy_tags_to_snapshot().unwrap_or(false)), None);
        "dataApi" "Data API" ["dataApi"] Switch("EnableHttpEndpoint"), Account, Is(|| json!(false)),
            Cluster(|c| json!(c.http_endpoint_enabled().unwrap_or(false)), None);
        "iamAuthentication" "IAM authentication" ["iamAuthentication"] Restore, Account, Is(|| json!(false)),
            Cluster(|c| json!(c.iam_database_authentication_enabled().unwrap_or(false)),
                    Some(|s| json!(s.iam_database_authentication_enabled().unwrap_or(false))));
        "roles" "IAM roles" ["roles"] Restore, Account, Is(|| json!([])),
            Cluster(roles, None);
        "logExports" "log exports" ["logExports"] Restore, Account, Is(|| json!([])),
            Cluster(|c| c.enabled_cloudwatch_logs_exports().iter().map(String::as_str).collect(), None);
        "backupRetentionDays" "backup retention" ["backupRetentionDays"] Restore, Account, Is(|| json!(1)),
            Cluster(|c| number(c.backup_retention_period()), Some(|s| number(s.backup_retention_period().filter(|days| *days > 0))));
        "backupWindow" "backup window" ["backupWindow"] Restore, Account, LeftToRds,
            Cluster(|c| text(c.preferred_backup_window()), Some(|s| text(s.preferred_backup_window())));
        "maintenanceWindow" "maintenance window" ["maintenanceWindow"] Reset, Account, LeftToRds,
            Cluster(|c| text(c.preferred_maintenance_window()), None);
        "extendedSupport" "Extended Support" ["extendedSupport"] Restore, Account, Is(|| json!(false)),
            Cluster(|c| json!(c.engine_lifecycle_support() == Some(EXTENDED_SUPPORT)), None);
        "serverlessScaling" "serverless scaling" ["serverlessScaling"] Restore, Account, Is(|| Value::Null),
            Cluster(scaling, None);
        "performanceInsights" "Performance Insights" ["performanceInsights"] Restore, Account, LeftToRds,
            Cluster(|c| insights(c.performance_insights_enabled(), c.performance_insights_retention_period()), None);
        "performanceInsightsKmsKeyId" "key of Performance Insights" ["performanceInsightsKmsKeyId"] Restore, Region, LeftToRds,
            Cluster(|c| text(c.performance_insights_kms_key_id()), None);
        "databaseInsightsMode" "Database Insights" ["databaseInsightsMode"] Reset, Account, LeftToRds,
            Cluster(|c| text(c.database_insights_mode().map(aws_sdk_rds::types::DatabaseInsightsMode::as_str)), None);
        "tags" "tags" ["tags", "copySourceTags"] Restore, Account, Is(|| json!({})),
            Cluster(|c| own_tags(c.tag_list()), None);
        "instances" "number of instances" ["instances", "readers", "instanceClass"] CreateInstance, Account, Derived,
            Cluster(|c| json!(c.db_cluster_members().len()), None);

        "class" "class" ["instanceClass"] CreateInstance, Account, Derived,
            Instance(|i| text(i.db_instance_class()));
        "promotionTier" "promotion tier" [] CreateInstance, Account, Is(|| json!(1)),
            Instance(|i| number(i.promotion_tier()));
        "availabilityZone" "availability zone" [] CreateInstance, Nowhere, LeftToRds,
            Instance(|i| text(i.availability_zone()));
        "parameterGroup" "parameter group" ["instanceParameterGroup"] Switch("ModifyDBInstance"), Region, Derived,
            Instance(|i| text(i.db_parameter_groups().first().and_then(|group| group.db_parameter_group_name())));
        "publiclyAccessible" "publicly accessible" [] CreateInstance, Account, Is(|| json!(false)),
            Instance(|i| json!(i.publicly_accessible().unwrap_or(false)));
        "caCertificate" "CA certificate" ["caCertificate"] CreateInstance, Account, LeftToRds,
            Instance(|i| text(i.ca_certificate_identifier()));
        "autoMinorVersionUpgrade" "automatic minor upgrades" ["autoMinorVersionUpgrade"] CreateInstance, Account, Is(|| json!(true)),
            Instance(|i| i.auto_minor_version_upgrade().map_or(Value::Null, Value::Bool));
        "maintenanceWindow" "maintenance window" ["instanceMaintenanceWindow"] CreateInstance, Account, LeftToRds,
            Instance(|i| text(i.preferred_maintenance_window()));
        "monitoring" "Enhanced Monitoring" ["monitoring"] CreateInstance, Account, Is(|| json!({"intervalSeconds": 0})),
            Instance(monitoring);
        "performanceInsights" "Performance Insights" ["performanceInsights"] CreateInstance, Account, Is(|| json!({"enabled": false})),
            Instance(|i| insights(Some(i.performance_insights_enabled().unwrap_or(false)), i.performance_insights_retention_period()));
        "performanceInsightsKmsKeyId" "key of Performance Insights" ["performanceInsightsKmsKeyId"] CreateInstance, Region, LeftToRds,
            Instance(|i| text(i.performance_insights_kms_key_id()));
    }
};

fn named(value: Option<&str>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

fn text(value: Option<&str>) -> Value {
    value
        .filter(|value| !value.is_empty())
        .map_or(Value::Null, Value::from)
}

fn number(value: Option<i32>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// A snapshot that does not know its port says 0.
fn port(value: Option<i32>) -> Value {
    number(value.filter(|port| *port > 0))
}

/// RDS shows plain `aurora` as nothing at all.
fn storage_type(value: Option<&str>) -> Value {
    json!(value.filter(|kind| !kind.is_empty()).unwrap_or("aurora"))
}

/// Roles that are in force.
fn roles(cluster: &DbCluster) -> Value {
    let active = cluster
        .associated_roles()
        .iter()
        .filter(|role| role.status() == Some("ACTIVE"));
    active
        .map(
            |role| match role.feature_name().filter(|name| !name.is_empty()) {
                Some(feature) => json!({"roleArn": role.role_arn(), "feature": feature}),
                None => json!({"roleArn": role.role_arn()}),
            },
        )
        .collect()
}

fn scaling(cluster: &DbCluster) -> Value {
    let Some(scaling) = cluster.serverless_v2_scaling_configuration() else {
        return Value::Null;
    };
    let (Some(least), Some(most)) = (scaling.min_capacity(), scaling.max_capacity()) else {
        return Value::Null;
    };
    match scaling.seconds_until_auto_pause() {
        // Without pausing, the time until then means nothing.
        Some(seconds) if least == 0.0 => {
            json!({"minCapacity": least, "maxCapacity": most, "secondsUntilAutoPause": seconds})
        }
        _ => json!({"minCapacity": least, "maxCapacity": most}),
    }
}

fn insights(enabled: Option<bool>, retention_days: Option<i32>) -> Value {
    match enabled {
        None => Value::Null,
        Some(false) => json!({"enabled": false}),
        Some(true) => json!({"enabled": true, "retentionDays": retention_days.unwrap_or(7)}),
    }
}

fn monitoring(instance: &DbInstance) -> Value {
    match (
        instance.monitoring_interval().unwrap_or(0),
        instance.monitoring_role_arn(),
    ) {
        (0, _) | (_, None) => json!({"intervalSeconds": 0}),
        (seconds, Some(role)) => json!({"intervalSeconds": seconds, "roleArn": role}),
    }
}

/// Tags that people gave: neither AWS's nor the pipeline's, which nobody may set.
pub fn own_tags(tags: &[Tag]) -> Value {
    let reserved = ["aws:", "rds:", "aurora-restore:"];
    let own = tags.iter().filter_map(|tag| {
        let key = tag.key()?;
        let own = !reserved.iter().any(|prefix| key.starts_with(prefix));
        own.then(|| (key.to_owned(), json!(tag.value().unwrap_or_default())))
    });
    Value::Object(own.collect::<Map<_, _>>())
}

/// What the target has in quarantine for a setting that Switch sets; none for others.
pub fn in_quarantine(setting: &Setting, plan: &Plan) -> Option<Value> {
    let SetBy::Switch(_) = setting.set_by else {
        return None;
    };
    Some(match setting.path {
        "securityGroupIds" => json!(plan.quarantine_security_group_ids),
        "clusterParameterGroup" => json!(plan.quarantine_parameter_group),
        "parameterGroup" => json!(plan.default_parameter_group()),
        // Protection, copied tags, and an access that asks no security group: what is not proved has none.
        _ => json!(false),
    })
}

/// A setting of the target: what the source has, what was planned, what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// The setting.
    pub setting: String,
    /// The instance that has it; absent for the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What the source has; null where that cannot be seen or used.
    pub source: Value,
    /// What was planned; null where it is left to RDS.
    pub planned: Value,
    /// What the target has.
    pub found: Value,
    /// What that means.
    pub verdict: Verdict,
    /// What of the request, or which rule, wants it otherwise than the source; or what comes only in Switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What a comparison means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As planned, and as the source has it.
    Same,
    /// As planned, and the request or a rule wants it otherwise than the source has it.
    Intended,
    /// As planned; what the source has cannot be seen or used.
    NotVisible,
    /// Not as planned, or otherwise than the source for no reason: the check fails.
    Differs,
}

impl Compared {
    /// The setting and whose it is.
    pub fn subject(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{} of {instance}", self.setting),
            None => self.setting.clone(),
        }
    }

    /// For people: what differs from what.
    pub fn detail(&self) -> String {
        let Self {
            source,
            planned,
            found,
            by,
            ..
        } = self;
        match (self.verdict, by) {
            (Verdict::Differs, Some(by)) => format!("{found}, planned {planned} ({by})"),
            (Verdict::Differs, None) => {
                format!("{found}, planned {planned}, the source has {source}")
            }
            (Verdict::Intended, Some(by)) => format!("{planned} by {by}, the source has {source}"),
            _ => found.to_string(),
        }
    }
}

/// Compares a target in quarantine with its plan, and with the source. `instances` are the plan's, in its order.
pub fn compare(
    plan: &Plan,
    cluster: &DbCluster,
    instances: &[Option<DbInstance>],
) -> Vec<Compared> {
    let target = plan.target_settings();
    let mut compared = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| !setting.is_of_instances()) {
        let planned = planned_of_cluster(setting, plan, &target);
        let found = setting.of_cluster(cluster);
        compared.push(judge(setting, plan, None, planned, found));
    }
    let identifiers = plan.instance_identifiers();
    for (number, identifier) in identifiers.into_iter().enumerate() {
        let found = instances.get(number).and_then(Option::as_ref);
        for setting in SETTINGS.iter().filter(|setting| setting.is_of_instances()) {
            let planned = canonical(target["instances"][number][setting.path].clone());
            let found = found.map_or_else(
                || json!("no such instance"),
                |found| setting.of_instance(found),
            );
            compared.push(judge(
                setting,
                plan,
                Some((number, &identifier)),
                planned,
                found,
            ));
        }
    }
    compared
}

/// What is planned for a cluster's setting. `target` is [`Plan::target_settings`].
pub fn planned_of_cluster(setting: &Setting, plan: &Plan, target: &Value) -> Value {
    canonical(match setting.path {
        "engineVersion" => json!(plan.source.engine_version),
        // Whether RDS encrypts what nobody asked to be encrypted is its own affair.
        "encrypted" if plan.source.encrypted || plan.target.kms_key_id.is_some() => json!(true),
        "encrypted" => Value::Null,
        "kmsKeyId" => plan.planned_key().map_or(Value::Null, Value::from),
        "instances" => json!(plan.target.instances.len()),
        path => target[path].clone(),
    })
}

fn judge(
    setting: &Setting,
    plan: &Plan,
    instance: Option<(usize, &String)>,
    planned: Value,
    found: Value,
) -> Compared {
    let key = setting.key(instance.map(|(number, _)| number));
    let recorded = plan.target.source_settings.get(&key);
    let source = recorded.map_or(Value::Null, |recorded| recorded.value.clone());
    let mut by = recorded.and_then(|recorded| recorded.intended_by.clone());
    let quarantined = in_quarantine(setting, plan).map(canonical);
    let due = quarantined.as_ref().unwrap_or(&planned);
    let left_to_rds = due.is_null() && !matches!(setting.unknown, Unknown::Is(_));
    // Protection and copied tags let nobody in: whoever set them early did what Switch will do.
    let early = ["deletionProtection", "copyTagsToSnapshot"].contains(&setting.path);
    let is_due = *due == found || early && planned == found;
    let verdict = if !left_to_rds && !is_due {
        Verdict::Differs
    } else if source.is_null() && !planned.is_null() || left_to_rds {
        Verdict::NotVisible
    } else if source == planned {
        Verdict::Same
    } else if by.is_some() {
        Verdict::Intended
    } else {
        Verdict::Differs
    };
    if by.is_none() && quarantined.is_some_and(|quarantined| quarantined != planned) {
        by = Some("set in Switch, not before".to_owned());
    }
    Compared {
        setting: setting.name.to_owned(),
        instance: instance.map(|(_, identifier)| identifier.clone()),
        source,
        planned,
        found,
        verdict,
        by,
    }
}

/// How many settings have which verdict, and those that differ from the source, in one line.
pub fn summary(compared: &[Compared]) -> String {
    let of = |verdict: Verdict| compared.iter().filter(move |row| row.verdict == verdict);
    let mut text = format!("{} as at the source", of(Verdict::Same).count());
    let unseen = of(Verdict::NotVisible).count();
    if unseen > 0 {
        let _ = write!(text, ", {unseen} not visible there"); // writing to a string cannot fail
    }
    let intended: Vec<String> = of(Verdict::Intended).map(Compared::subject).collect();
    if !intended.is_empty() {
        let _ = write!(
            text,
            ", {} otherwise as intended: {}",
            intended.len(),
            intended.join(", ")
        );
    }
    text
}

/// The table as Markdown, for `docs/settings.md`.
pub fn markdown() -> String {
    let mut table = String::from(
        "| setting | field of `target` | set in | by | the source's where | else |\n|---|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let whose = if setting.is_of_instances() {
            " (instance)"
        } else {
            ""
        };
        let fields: Vec<String> = setting
            .asked_as
            .iter()
            .map(|field| format!("`{field}`"))
            .collect();
        let listed = ["class", "promotionTier", "availabilityZone"].contains(&setting.path);
        let fields = match (listed, fields.is_empty()) {
            (true, true) => format!("`instances[].{}`", setting.path),
            (true, false) => format!("`instances[].{}`, {}", setting.path, fields.join(", ")),
            (false, true) => "none".to_owned(),
            (false, false) => fields.join(", "),
        };
        let (state, call) = match setting.set_by {
            SetBy::Restore => ("RestoreCluster", "the restore call"),
            SetBy::CreateInstance => ("AddInstances", "`CreateDBInstance`"),
            SetBy::Reset => ("ResetCredentials", "`ModifyDBCluster`"),
            SetBy::Switch("EnableHttpEndpoint") => ("Switch", "`EnableHttpEndpoint`"),
            SetBy::Switch("ModifyDBInstance") => ("Switch", "`ModifyDBInstance`"),
            SetBy::Switch(_) => ("Switch", "`ModifyDBCluster`"),
        };
        let reach = match setting.reach {
            Reach::Account => "it can be seen",
            Reach::Region => "it is in the target's region",
            Reach::Nowhere => "never",
        };
        let unknown = match setting.unknown {
            Unknown::Is(value) if value().is_null() => "none".to_owned(),
            Unknown::Is(value) => format!("`{}`", value()),
            Unknown::LeftToRds => "RDS chooses".to_owned(),
            Unknown::Derived => "see [request](request.md#target)".to_owned(),
        };
        let name = setting.name;
        let _ = writeln!(
            table,
            "| {name}{whose} | {fields} | {state} | {call} | {reach} | {unknown} |"
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_settings_shows_the_table() {
        let page = include_str!("../../../docs/settings.md");
        assert!(
            page.contains(&markdown()),
            "docs/settings.md needs this table:\n{}",
            markdown()
        );
    }

    #[test]
    fn tags_of_aws_and_of_the_pipeline_are_nobodys_own() {
        let tag = |key: &str| Tag::builder().key(key).value("x").build();
        let tags = [
            "team",
            "aws:cloudformation:stack-name",
            "rds:x",
            "aurora-restore:restore-id",
        ]
        .map(tag);
        assert_eq!(own_tags(&tags), json!({"team": "x"}));
    }
}
