//! The target: every setting explicit.
//!
//! Each setting of [`SETTINGS`] is the request's, else the source's where that can be seen and used, else what the
//! table says. What the source has is recorded with it, and why the target is to have something else.

use std::collections::BTreeMap;

use aurora_restore_core::StepError;
use aurora_restore_core::errors::AR0001;
use aurora_restore_core::fidelity::{Reach, SETTINGS, Setting, Unknown, canonical};
use aurora_restore_core::plan::{Source, SourceSetting, TargetCluster, rds_arn};
use aurora_restore_core::request::{self, Request};
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot, DbInstance};
use serde_json::{Map, Value, json};

/// What can be seen of the source.
pub(super) struct Seen<'a> {
    /// Its snapshot, where one is restored.
    pub(super) snapshot: Option<&'a DbClusterSnapshot>,
    /// The cluster itself, if it still exists where we can see it.
    pub(super) cluster: Option<&'a DbCluster>,
    /// Its instances, the writer first, then by rank.
    pub(super) instances: &'a [DbInstance],
}

/// Where the target is made.
pub(super) struct Place<'a> {
    pub(super) account: &'a str,
    pub(super) region: &'a str,
    /// What it is called when it is made.
    pub(super) identifier: &'a str,
}

/// Every setting of the target.
///
/// # Errors
/// AR0001 when the request names no class and the source shows none.
pub(super) fn target(
    request: &Request,
    source: &Source,
    seen: &Seen<'_>,
    place: &Place<'_>,
) -> Result<TargetCluster, StepError> {
    let resolving = Resolving {
        request,
        source,
        seen,
        same_region: source.region == place.region,
        asked: serde_json::to_value(&request.target)
            .map_err(|error| StepError::defect("the request is no JSON").caused_by(error))?,
    };
    let mut whole = Map::new();
    whole.insert("account".to_owned(), json!(place.account));
    whole.insert("region".to_owned(), json!(place.region));
    let arn = rds_arn(place.region, place.account, "cluster", place.identifier);
    whole.insert("arn".to_owned(), json!(arn));
    whole.insert("clusterIdentifier".to_owned(), json!(place.identifier));
    for setting in of_cluster().filter(|setting| !is_derived_later(setting)) {
        whole.insert(setting.path.to_owned(), resolving.cluster(setting));
    }
    let count = resolving.count();
    let instances = (0..count).map(|number| resolving.instance(number));
    whole.insert(
        "instances".to_owned(),
        instances.collect::<Result<Value, _>>()?,
    );
    whole.insert("kmsKeyId".to_owned(), json!(request.target.kms_key_id));
    let whole = without_nulls(Value::Object(whole));
    let mut target: TargetCluster = request::from_value(whole)
        .map_err(|problem| StepError::defect(format!("the resolved target: {problem}")))?;
    target.source_settings = resolving.source_settings(&target)?;
    Ok(target)
}

fn of_cluster() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| !setting.is_of_instances())
}

fn of_instances() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.is_of_instances())
}

/// Settings that are not fields of the plan's target, or not by this rule.
fn is_derived_later(setting: &Setting) -> bool {
    ["engineVersion", "encrypted", "kmsKeyId", "instances"].contains(&setting.path)
}

struct Resolving<'a> {
    request: &'a Request,
    source: &'a Source,
    seen: &'a Seen<'a>,
    same_region: bool,
    /// The request's target.
    asked: Value,
}

impl Resolving<'_> {
    /// The first of the request's fields that says something.
    fn asked(&self, setting: &Setting) -> Value {
        let fields = setting.asked_as.iter();
        let said = fields.map(|field| self.asked[*field].clone());
        said.into_iter()
            .find(|value| !value.is_null())
            .unwrap_or(Value::Null)
    }

    /// Whether a value of the source means anything where the target is.
    fn is_usable(&self, setting: &Setting) -> bool {
        match setting.reach {
            Reach::Account => true,
            Reach::Region => self.same_region,
            Reach::Nowhere => false,
        }
    }

    /// What the source's cluster has, where it can be used.
    fn of_source(&self, setting: &Setting) -> Value {
        if !self.is_usable(setting) {
            return Value::Null;
        }
        setting.of_source(self.seen.cluster, self.seen.snapshot)
    }

    /// What an instance of the source has, where it can be used; the writer stands for those it has not.
    fn of_source_instance(&self, setting: &Setting, number: usize) -> Value {
        let instances = self.seen.instances;
        match instances.get(number).or_else(|| instances.first()) {
            Some(instance) if self.is_usable(setting) => setting.of_instance(instance),
            _ => Value::Null,
        }
    }

    /// A setting of the cluster.
    fn cluster(&self, setting: &Setting) -> Value {
        let asked = self.asked(setting);
        let source = self.of_source(setting);
        match setting.path {
            // Never, whatever the source is.
            "publiclyAccessible" => json!(false),
            "securityGroupIds" => asked,
            // The reaper does not lift a protection.
            "deletionProtection" if asked.is_null() && self.expires() => json!(false),
            "tags" => self.tags(source),
            "subnetGroup" | "clusterParameterGroup" => {
                lowercase(first([asked, source, self.otherwise(setting)]))
            }
            "serverlessScaling" => with_pause(first([asked, source])),
            "performanceInsights" => with_retention(first([asked, source])),
            "roles" | "logExports" => canonical(first([asked, source, self.otherwise(setting)])),
            _ => first([asked, source, self.otherwise(setting)]),
        }
    }

    fn otherwise(&self, setting: &Setting) -> Value {
        let engine = self.source.engine;
        let family = engine.family(&self.source.engine_version);
        match (setting.unknown, setting.path) {
            (Unknown::Is(value), _) => value(),
            (_, "port") => json!(self.source.port.unwrap_or(engine.default_port())),
            (_, "clusterParameterGroup" | "parameterGroup") => json!(format!("default.{family}")),
            _ => Value::Null,
        }
    }

    fn expires(&self) -> bool {
        self.request.expires_after_hours.is_some()
    }

    /// The request's tags, and the source's own where it wants them.
    fn tags(&self, source: Value) -> Value {
        let mut tags = match source {
            Value::Object(tags) if self.request.target.copy_source_tags => tags,
            _ => Map::new(),
        };
        for (key, value) in &self.request.target.tags {
            tags.insert(key.clone(), json!(value));
        }
        Value::Object(tags)
    }

    /// How many instances the target has.
    fn count(&self) -> usize {
        let asked = &self.request.target;
        match (&asked.instances, asked.readers, &asked.instance_class) {
            (Some(listed), ..) => listed.len(),
            (None, Some(readers), _) => usize::from(readers) + 1,
            (None, None, Some(_)) => 1,
            (None, None, None) => self.seen.instances.len().max(1),
        }
    }

    /// An instance, with every setting.
    fn instance(&self, number: usize) -> Result<Value, StepError> {
        let listed = self.asked["instances"][number].clone();
        let mut instance = Map::new();
        for setting in of_instances() {
            let asked = first([listed[setting.path].clone(), self.asked(setting)]);
            let source = self.of_source_instance(setting, number);
            let value = match setting.path {
                "publiclyAccessible" => json!(false),
                "performanceInsights" => {
                    with_retention(first([asked, source, self.otherwise(setting)]))
                }
                "parameterGroup" => lowercase(first([asked, source, self.otherwise(setting)])),
                _ => first([asked, source, self.otherwise(setting)]),
            };
            if setting.path == "class" && value.is_null() {
                return Err(StepError::new(
                    &AR0001,
                    "at `target.instanceClass`: absent, and the source has no instance that can be seen; expected a class such as db.r7g.large",
                ));
            }
            instance.insert(setting.path.to_owned(), value);
        }
        Ok(Value::Object(instance))
    }

    /// What the source has for every setting, and what wants it otherwise.
    fn source_settings(
        &self,
        target: &TargetCluster,
    ) -> Result<BTreeMap<String, SourceSetting>, StepError> {
        let planned = serde_json::to_value(target)
            .map_err(|error| StepError::defect("the target is no JSON").caused_by(error))?;
        let mut settings = BTreeMap::new();
        for setting in of_cluster() {
            let value = match setting.path {
                "instances" if self.seen.instances.is_empty() => Value::Null,
                "instances" => json!(self.seen.instances.len()),
                _ => self.of_source(setting),
            };
            let planned = match setting.path {
                "instances" => json!(target.instances.len()),
                "engineVersion" | "encrypted" => Value::Null,
                path => canonical(planned[path].clone()),
            };
            let intended_by = self.reason(setting, None, &value, &planned);
            settings.insert(setting.key(None), SourceSetting { value, intended_by });
        }
        for number in 0..target.instances.len() {
            for setting in of_instances() {
                let value = match self.seen.instances.get(number) {
                    Some(_) => self.of_source_instance(setting, number),
                    None => Value::Null, // one more than the source has
                };
                let planned = canonical(planned["instances"][number][setting.path].clone());
                let intended_by = self.reason(setting, Some(number), &value, &planned);
                settings.insert(
                    setting.key(Some(number)),
                    SourceSetting { value, intended_by },
                );
            }
        }
        Ok(settings)
    }

    /// What of the request, or which rule, wants a setting otherwise than the source has it.
    fn reason(
        &self,
        setting: &Setting,
        instance: Option<usize>,
        source: &Value,
        planned: &Value,
    ) -> Option<String> {
        if source.is_null() || source == planned {
            return None;
        }
        if let Some(number) = instance
            && !self.asked["instances"][number][setting.path].is_null()
        {
            return Some(format!("target.instances[{number}].{}", setting.path));
        }
        let said = setting
            .asked_as
            .iter()
            .find(|field| !self.asked[**field].is_null());
        match (said, setting.path) {
            (_, "tags") if !self.request.target.copy_source_tags => {
                Some("target.copySourceTags, which is off".to_owned())
            }
            (Some(field), _) => Some(format!("target.{field}")),
            (None, "publiclyAccessible") => Some("the rule that no target is public".to_owned()),
            (None, "deletionProtection") if self.expires() => Some("expiresAfterHours".to_owned()),
            (None, _) => None,
        }
    }
}

fn first<const N: usize>(values: [Value; N]) -> Value {
    let mut said = values.into_iter().filter(|value| !value.is_null());
    said.next().unwrap_or(Value::Null)
}

fn lowercase(value: Value) -> Value {
    match value {
        Value::String(name) => json!(name.to_ascii_lowercase()),
        other => other,
    }
}

/// A minimum of 0 pauses, after five minutes when nobody says when (Aurora user guide).
fn with_pause(mut scaling: Value) -> Value {
    if let Some(fields) = scaling.as_object_mut() {
        if fields.get("minCapacity").and_then(Value::as_f64) == Some(0.0) {
            fields.entry("secondsUntilAutoPause").or_insert(json!(300));
        } else {
            fields.remove("secondsUntilAutoPause");
        }
    }
    scaling
}

/// What is on is kept for a week when nobody says how long (RDS API reference).
fn with_retention(mut insights: Value) -> Value {
    if let Some(fields) = insights.as_object_mut() {
        if fields.get("enabled") == Some(&json!(true)) {
            fields.entry("retentionDays").or_insert(json!(7));
        } else {
            fields.remove("retentionDays");
        }
    }
    insights
}

/// Fields that may be absent are absent, rather than null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
