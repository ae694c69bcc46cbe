//! A cluster's settings: what a call says, and what holds when it says nothing.
//!
//! The same defaults apply to a new cluster and to a restored one. That a
//! restore falls back to them, instead of keeping what the source had, is the
//! trap this module is there to keep.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::DbEngine;
use super::errors::{invalid_combination, invalid_value, missing_parameter};
use super::form::Form;
use super::names::Place;
use super::parameter_groups::{self, OF_CLUSTER};
use super::state::Book;
use super::subnet_groups;
use super::xml::Xml;
use crate::request::ApiError;

/// Serverless v2 capacity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scaling {
    min_capacity: f64,
    max_capacity: f64,
    seconds_until_auto_pause: Option<u32>,
}

/// A cluster's settings.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) subnet_group: String,
    pub(super) security_groups: Vec<String>,
    pub(super) parameter_group: String,
    pub(super) port: u16,
    pub(super) iam_authentication: bool,
    pub(super) log_exports: BTreeSet<String>,
    pub(super) deletion_protection: bool,
    pub(super) copy_tags_to_snapshot: bool,
    pub(super) backup_retention_period: u32,
    pub(super) backup_window: String,
    pub(super) maintenance_window: String,
    /// `aurora` is shown as nothing at all.
    pub(super) storage_type: String,
    pub(super) scaling: Option<Scaling>,
    pub(super) lifecycle_support: String,
    pub(super) http_endpoint: bool,
    pub(super) shown_only: BTreeMap<&'static str, String>,
}

/// What falls back to the source instead of a constant.
pub(super) struct Inherited {
    pub(super) port: u16,
    pub(super) backup_retention_period: u32,
}

/// RDS draws one; here all draw the same.
const DEFAULT_BACKUP_WINDOW: &str = "03:00-03:30";

/// What a cluster shows that nobody said more about (RDS API reference).
const SHOWN_BY_DEFAULT: [(&str, &str); 3] = [
    ("PerformanceInsightsEnabled", "false"),
    ("NetworkType", "IPV4"),
    ("DatabaseInsightsMode", "standard"),
];

/// Parameters that are kept and shown and change nothing here, with their names in Describe.
const SHOWN_ONLY: [(&str, &str); 9] = [
    ("PubliclyAccessible", "PubliclyAccessible"),
    ("EnablePerformanceInsights", "PerformanceInsightsEnabled"),
    ("PerformanceInsightsKMSKeyId", "PerformanceInsightsKMSKeyId"),
    (
        "PerformanceInsightsRetentionPeriod",
        "PerformanceInsightsRetentionPeriod",
    ),
    ("MonitoringInterval", "MonitoringInterval"),
    ("MonitoringRoleArn", "MonitoringRoleArn"),
    ("NetworkType", "NetworkType"),
    ("DatabaseInsightsMode", "DatabaseInsightsMode"),
    ("AutoMinorVersionUpgrade", "AutoMinorVersionUpgrade"),
];

impl Configuration {
    /// The settings of a cluster about to be made.
    pub(super) fn of_new_cluster(
        form: &Form,
        book: &Book,
        place: &Place,
        engine: DbEngine,
        version: &str,
        inherited: Inherited,
    ) -> Result<Self, ApiError> {
        if form
            .text("EngineMode")
            .is_some_and(|mode| mode != "provisioned")
        {
            return Err(invalid_combination(format!(
                "The engine mode {} is not supported",
                form.text("EngineMode").unwrap_or_default()
            )));
        }
        let mut configuration = Self {
            subnet_group: subnet_groups::find(
                book,
                place,
                form.text("DBSubnetGroupName")
                    .unwrap_or(subnet_groups::DEFAULT),
            )?
            .name,
            security_groups: vec![place.default_security_group()],
            parameter_group: parameter_groups::chosen(
                book,
                OF_CLUSTER,
                place,
                form.text("DBClusterParameterGroupName"),
                engine,
                version,
            )?,
            port: form
                .number("Port", 1150..=65_535)?
                .unwrap_or(inherited.port),
            iam_authentication: form
                .flag("EnableIAMDatabaseAuthentication")?
                .unwrap_or(false),
            log_exports: BTreeSet::new(),
            deletion_protection: false,
            copy_tags_to_snapshot: false,
            backup_retention_period: inherited.backup_retention_period,
            backup_window: DEFAULT_BACKUP_WINDOW.to_owned(),
            maintenance_window: "sun:04:00-sun:04:30".to_owned(),
            storage_type: "aurora".to_owned(),
            scaling: None,
            lifecycle_support: form
                .text("EngineLifecycleSupport")
                .unwrap_or("open-source-rds-extended-support")
                .to_owned(),
            http_endpoint: form.flag("EnableHttpEndpoint")?.unwrap_or(false),
            shown_only: SHOWN_BY_DEFAULT
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
        };
        let logs = form.list("EnableCloudwatchLogsExports").unwrap_or_default();
        engine.check_log_types(&logs)?;
        configuration.log_exports = logs.into_iter().collect();
        configuration.take_immediate(form)?;
        configuration.take_scheduled(form)?;
        Ok(configuration)
    }

    /// Takes over the settings of a request that are never put off.
    pub(super) fn take_immediate(&mut self, form: &Form) -> Result<(), ApiError> {
        if let Some(groups) = form
            .list("VpcSecurityGroupIds")
            .filter(|groups| !groups.is_empty())
        {
            if let Some(wrong) = groups.iter().find(|group| !group.starts_with("sg-")) {
                return Err(invalid_value(format!(
                    "Invalid security group , groupId= {wrong}, groupName=."
                )));
            }
            self.security_groups = groups;
        }
        if let Some(protected) = form.flag("DeletionProtection")? {
            self.deletion_protection = protected;
        }
        if let Some(copied) = form.flag("CopyTagsToSnapshot")? {
            self.copy_tags_to_snapshot = copied;
        }
        if let Some(window) = form.text("PreferredBackupWindow") {
            window.clone_into(&mut self.backup_window);
        }
        if let Some(window) = form.text("PreferredMaintenanceWindow") {
            window.clone_into(&mut self.maintenance_window);
        }
        if let Some(support) = form.text("EngineLifecycleSupport") {
            support.clone_into(&mut self.lifecycle_support);
        }
        if let Some(scaling) = form.structure("ServerlessV2ScalingConfiguration") {
            self.scaling = Some(Scaling::read(&scaling)?);
        }
        for (parameter, shown) in SHOWN_ONLY {
            if let Some(value) = form.text(parameter) {
                self.shown_only.insert(shown, value.to_owned());
            }
        }
        self.check_insights()
    }

    /// Takes over the settings that a modification may leave to the maintenance window.
    pub(super) fn take_scheduled(&mut self, form: &Form) -> Result<(), ApiError> {
        if let Some(period) = form.number("BackupRetentionPeriod", 1..=35)? {
            self.backup_retention_period = period;
        }
        if let Some(enabled) = form.flag("EnableIAMDatabaseAuthentication")? {
            self.iam_authentication = enabled;
        }
        if let Some(storage_type) = form.text("StorageType") {
            if !["aurora", "aurora-iopt1"].contains(&storage_type) {
                return Err(ApiError::new(
                    400,
                    "StorageTypeNotSupported",
                    format!("Invalid storage type: {storage_type}"),
                ));
            }
            storage_type.clone_into(&mut self.storage_type);
        }
        Ok(())
    }

    /// A restored cluster that is not told otherwise is public where its network has a way to the internet (RDS API
    /// reference): the worst is taken for granted.
    pub(super) fn is_public_unless_told(&mut self) {
        let shown = self.shown_only.entry("PubliclyAccessible");
        shown.or_insert_with(|| "true".to_owned());
    }

    /// The advanced mode of Database Insights stands on Performance Insights that are kept for 465 days.
    fn check_insights(&self) -> Result<(), ApiError> {
        let shown = |name: &str| self.shown_only.get(name).map(String::as_str);
        let advanced = shown("DatabaseInsightsMode") == Some("advanced");
        let kept = shown("PerformanceInsightsEnabled") == Some("true")
            && shown("PerformanceInsightsRetentionPeriod") == Some("465");
        if advanced && !kept {
            return Err(invalid_combination(
                "To enable the advanced mode of Database Insights, enable Performance Insights with a retention period of 465 days.",
            ));
        }
        Ok(())
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        xml.text("DBClusterParameterGroup", &self.parameter_group)
            .text("DBSubnetGroup", &self.subnet_group)
            .text("Port", self.port)
            .text("BackupRetentionPeriod", self.backup_retention_period)
            .text("PreferredBackupWindow", &self.backup_window)
            .text("PreferredMaintenanceWindow", &self.maintenance_window)
            .text("IAMDatabaseAuthenticationEnabled", self.iam_authentication)
            .text("DeletionProtection", self.deletion_protection)
            .text("CopyTagsToSnapshot", self.copy_tags_to_snapshot)
            .text("HttpEndpointEnabled", self.http_endpoint)
            .text("EngineLifecycleSupport", &self.lifecycle_support)
            .some(
                "StorageType",
                Some(&self.storage_type).filter(|storage_type| *storage_type != "aurora"),
            );
        if !self.log_exports.is_empty() {
            xml.strings("EnabledCloudwatchLogsExports", "member", &self.log_exports);
        }
        if let Some(scaling) = &self.scaling {
            xml.within("ServerlessV2ScalingConfiguration", |xml| scaling.write(xml));
        }
        for (name, value) in &self.shown_only {
            xml.text(name, value);
        }
    }
}

impl Scaling {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let min_capacity = form
            .number("MinCapacity", 0.0..=256.0)?
            .ok_or_else(|| missing_parameter("MinCapacity"))?;
        let max_capacity = form
            .number("MaxCapacity", 1.0..=256.0)?
            .ok_or_else(|| missing_parameter("MaxCapacity"))?;
        let half_steps = |capacity: f64| (capacity * 2.0).fract() == 0.0;
        if min_capacity > max_capacity || !half_steps(min_capacity) || !half_steps(max_capacity) {
            return Err(invalid_combination(
                "Serverless v2 capacity is given in steps of 0.5, the minimum not above the maximum",
            ));
        }
        let pause = form.number("SecondsUntilAutoPause", 300..=86_400)?;
        let seconds_until_auto_pause = if min_capacity == 0.0 {
            pause.or(Some(300))
        } else {
            pause
        };
        Ok(Self {
            min_capacity,
            max_capacity,
            seconds_until_auto_pause,
        })
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("MinCapacity", self.min_capacity)
            .text("MaxCapacity", self.max_capacity)
            .some("SecondsUntilAutoPause", self.seconds_until_auto_pause);
    }
}
