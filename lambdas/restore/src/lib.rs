//! Makes the target: the cluster from a snapshot, a point in time or a clone, then its writer, then its readers.
//!
//! A restore call falls back to defaults for every setting it leaves out, so all of
//! them are passed. RDS restores storage only: until a writer exists nothing listens.
//! The cluster is born in the quarantine groups, because until the password is reset
//! it answers to the source's credentials.
//!
//! Two states call this step: RestoreCluster, and AddInstances until no more are wanted.

use aurora_restore_core::errors::{AR0028, AR0037, AR0038, wire_code};
use aurora_restore_core::fidelity::EXTENDED_SUPPORT;
use aurora_restore_core::ledger::{Resource, ResourceKind, ResourceState};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::{Plan, Source, SourceKind, TargetCluster, TargetInstance};
use aurora_restore_core::request::PerformanceInsights;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Restore, Step, StepError, approval, ownership, rds};
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::{
    DbCluster, DbClusterAssociatedRole, DbInstance, ServerlessV2ScalingConfiguration,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step.
pub const STEP: Step = Step {
    name: "restore",
    run,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
    action: Action,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    RestoreCluster,
    AddInstances,
}

/// What the state machine learns of RestoreCluster.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The target.
    pub cluster_identifier: String,
}

/// What the state machine learns of AddInstances.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// Whether AddInstances is to be called again once these are available.
    pub more: bool,
    /// The instances asked for so far.
    pub instances: Vec<String>,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let restore = Restore::load(context, &RestoreId::parse(&event.restore_id)?).await?;
        match event.action {
            Action::RestoreCluster => answer(&restore_cluster(context, &restore).await?),
            Action::AddInstances => answer(&add_instances(context, &restore).await?),
        }
    })
}

/// Asks for the cluster, or finds the one that was asked for before.
///
/// # Errors
/// AR0012 when a cluster of that name is not ours; AR0037 when our copy of the snapshot is gone; AR0038 when the
/// source cluster is; AR0007, AR0010, AR0011, AR0015, AR0030 as RDS refuses; AR0054 when nobody approved what must be
/// approved.
pub async fn restore_cluster(context: &Context, restore: &Restore) -> Result<Restored, StepError> {
    let plan = restore.plan();
    approval::require(context, plan).await?;
    let target = &plan.target;
    let client = context.aws.rds(&target.region);
    let resource = Resource::new(
        ResourceKind::Cluster,
        &target.arn,
        &target.cluster_identifier,
    );
    let resource = restore.intend(resource).await?;
    let asked_for = Restored {
        cluster_identifier: target.cluster_identifier.clone(),
    };

    let made = match rds::find_cluster(&client, &target.cluster_identifier).await? {
        Some(found) => found,
        // It was there. Whether RDS does not show it or somebody deleted it, WaitForCluster finds out.
        None if resource.state == ResourceState::Created => return Ok(asked_for),
        None => ask_for_cluster(&client, plan).await?,
    };
    ownership::prove(
        &target.cluster_identifier,
        made.tag_list(),
        &plan.restore_id,
        made.db_cluster_resource_id(),
        resource.resource_id.as_deref(),
    )?;
    restore
        .created(resource, made.db_cluster_resource_id())
        .await?;
    Ok(asked_for)
}

/// The roles that the cluster gets; none when there are none.
fn roles(target: &TargetCluster) -> Result<Option<Vec<DbClusterAssociatedRole>>, StepError> {
    let roles = target.roles.iter().map(|role| {
        DbClusterAssociatedRole::builder()
            .role_arn(&role.role_arn)
            .set_feature_name(role.feature.clone())
            .build()
    });
    let roles: Vec<_> = roles
        .collect::<Result<_, _>>()
        .map_err(|error| StepError::defect("a planned role has no ARN").caused_by(error))?;
    Ok((!roles.is_empty()).then_some(roles))
}

/// How long Performance Insights keeps its data, in days, where it is on.
fn retention_days(insights: Option<&PerformanceInsights>) -> Option<i32> {
    insights
        .filter(|insights| insights.enabled)
        .and_then(|insights| insights.retention_days)
        .map(i32::from)
}

/// The key of Performance Insights, where it is on.
fn insights_key(insights: Option<&PerformanceInsights>, key: &Option<String>) -> Option<String> {
    insights
        .filter(|insights| insights.enabled)
        .and(key.clone())
}

/// Why a restore call made nothing.
enum Refused {
    /// A cluster of that name is there.
    Exists,
    /// Anything else.
    Otherwise(StepError),
}

/// Sets all that both restore calls take: their builders have it in common, and no type.
macro_rules! with_every_setting {
    ($call:expr, $plan:expr, $roles:expr) => {{
        let (plan, target) = ($plan, &$plan.target);
        let scaling = target.serverless_scaling.as_ref().map(|scaling| {
            ServerlessV2ScalingConfiguration::builder()
                .min_capacity(scaling.min_capacity)
                .max_capacity(scaling.max_capacity)
                .set_seconds_until_auto_pause(
                    scaling.seconds_until_auto_pause.map(u32::cast_signed),
                )
                .build()
        });
        let insights = target.performance_insights.as_ref();
        $call
            .db_cluster_identifier(&target.cluster_identifier)
            .port(i32::from(target.port))
            .db_subnet_group_name(&target.subnet_group)
            .set_vpc_security_group_ids(Some(plan.quarantine_security_group_ids.clone()))
            // The final group comes in Switch: what it preloads (pg_cron, for one) must not run before.
            .db_cluster_parameter_group_name(&plan.quarantine_parameter_group)
            .set_kms_key_id(target.kms_key_id.clone())
            .storage_type(&target.storage_type)
            .backup_retention_period(i32::from(target.backup_retention_days))
            .enable_iam_database_authentication(target.iam_authentication)
            .set_enable_cloudwatch_logs_exports(Some(target.log_exports.clone()))
            .set_serverless_v2_scaling_configuration(scaling)
            .set_preferred_backup_window(target.backup_window.clone())
            .engine_lifecycle_support(if target.extended_support {
                EXTENDED_SUPPORT
            } else {
                "open-source-rds-extended-support-disabled"
            })
            .set_associated_roles($roles)
            .set_network_type(target.network_type.clone())
            // Left out, it is public wherever the network has a way to the internet.
            .publicly_accessible(target.publicly_accessible)
            .set_enable_performance_insights(insights.map(|insights| insights.enabled))
            .set_performance_insights_retention_period(retention_days(insights))
            .set_performance_insights_kms_key_id(insights_key(
                insights,
                &target.performance_insights_kms_key_id,
            ))
            // These two come in Switch: what copies its tags marks snapshots as a restore's, and until then an undo
            // must be able to remove the cluster.
            .copy_tags_to_snapshot(false)
            .deletion_protection(false)
            .set_tags(Some(ownership::tags(plan, plan.expires_at)))
    }};
}

/// Restores the snapshot, as the engine version that it has.
async fn from_snapshot(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    snapshot: &str,
) -> Result<Option<DbCluster>, Refused> {
    let roles = roles(&plan.target).map_err(Refused::Otherwise)?;
    let call = client
        .restore_db_cluster_from_snapshot()
        .snapshot_identifier(snapshot)
        .engine(plan.source.engine)
        .engine_version(&plan.source.engine_version);
    match with_every_setting!(call, plan, roles).send().await {
        Ok(answer) => Ok(answer.db_cluster),
        Err(error) => Err(match (wire_code(&error), plan.copies.last()) {
            (Some("DBClusterAlreadyExistsFault"), _) => Refused::Exists,
            (Some("DBClusterSnapshotNotFoundFault"), Some(copy)) => {
                let text = format!(
                    "DB cluster snapshot `{}` was made and is gone",
                    copy.identifier
                );
                Refused::Otherwise(StepError::new(&AR0037, text).caused_by(error))
            }
            _ => Refused::Otherwise(StepError::from_sdk(action(plan), error)),
        }),
    }
}

/// Restores the source cluster as it was at the planned time, or clones it. The call takes no engine version: it is
/// the source's.
async fn to_point_in_time(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
) -> Result<Option<DbCluster>, Refused> {
    let source = &plan.source;
    is_as_planned(client, source)
        .await
        .map_err(Refused::Otherwise)?;
    let roles = roles(&plan.target).map_err(Refused::Otherwise)?;
    let call = client
        .restore_db_cluster_to_point_in_time()
        .source_db_cluster_identifier(&source.cluster_identifier);
    let call = if source.kind == SourceKind::Clone {
        // A clone is of now: RDS takes no other time for it.
        call.restore_type("copy-on-write")
            .use_latest_restorable_time(true)
    } else {
        let at = DateTime::from_nanos(source.taken_at.unix_timestamp_nanos());
        let at = at.map_err(|error| {
            Refused::Otherwise(
                StepError::defect("the planned time is none of RDS's").caused_by(error),
            )
        })?;
        call.restore_type("full-copy").restore_to_time(at)
    };
    match with_every_setting!(call, plan, roles).send().await {
        Ok(answer) => Ok(answer.db_cluster),
        Err(error) => Err(match wire_code(&error) {
            Some("DBClusterAlreadyExistsFault") => Refused::Exists,
            Some("DBClusterNotFoundFault" | "DBClusterAutomatedBackupNotFoundFault") => {
                let text = format!("{source} cannot be found any more");
                Refused::Otherwise(StepError::new(&AR0038, text).caused_by(error))
            }
            _ => Refused::Otherwise(StepError::from_sdk(action(plan), error)),
        }),
    }
}

/// The call takes a name, which may be another cluster's by now: that was not planned, nor approved.
async fn is_as_planned(client: &aws_sdk_rds::Client, source: &Source) -> Result<(), StepError> {
    let found = rds::find_cluster(client, &source.cluster_identifier).await?;
    let found = found.as_ref().and_then(DbCluster::db_cluster_resource_id);
    if found == source.cluster_resource_id.as_deref() {
        return Ok(());
    }
    let text =
        format!("{source} cannot be found any more: the name is another cluster's, or nobody's");
    Err(StepError::new(&AR0038, text))
}

fn action(plan: &Plan) -> String {
    format!("restore cluster `{}`", plan.target.cluster_identifier)
}

async fn ask_for_cluster(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
) -> Result<DbCluster, StepError> {
    let target = &plan.target;
    let asked = match plan.snapshot_to_restore() {
        Some(snapshot) => from_snapshot(client, plan, snapshot).await,
        None => to_point_in_time(client, plan).await,
    };
    let found = match asked {
        Ok(made) => made,
        Err(Refused::Exists) => rds::find_cluster(client, &target.cluster_identifier).await?,
        Err(Refused::Otherwise(error)) => return Err(error),
    };
    found.ok_or_else(|| {
        StepError::new(
            &AR0028,
            format!(
                "cluster `{}` exists but cannot be seen yet",
                target.cluster_identifier
            ),
        )
    })
}

/// Asks for the writer, or, once it is available, for all readers.
///
/// The instance that exists first becomes the writer, so readers wait for it.
///
/// # Errors
/// AR0012 when the cluster or an instance of that name is not ours, AR0037 when the cluster was renamed; AR0011, AR0015, AR0016, AR0030 as RDS refuses.
pub async fn add_instances(context: &Context, restore: &Restore) -> Result<Added, StepError> {
    let plan = restore.plan();
    // An instance changes the cluster it is put into, which somebody may have replaced by another.
    let cluster = restore.describe_target(context).await?;
    restore.prove_target(&cluster).await?;
    let names = plan.instance_identifiers();
    let mut instances = names.iter().zip(&plan.target.instances);
    let Some((writer, planned)) = instances.next() else {
        return Err(StepError::defect("the plan has no instance"));
    };
    if !add_instance(context, restore, writer, planned).await? {
        return Ok(Added {
            more: instances.next().is_some(),
            instances: vec![writer.clone()],
        });
    }
    for (reader, planned) in instances {
        add_instance(context, restore, reader, planned).await?;
    }
    Ok(Added {
        more: false,
        instances: names,
    })
}

/// Asks for an instance, or finds the one that was asked for before; whether it is available.
async fn add_instance(
    context: &Context,
    restore: &Restore,
    identifier: &str,
    planned: &TargetInstance,
) -> Result<bool, StepError> {
    let plan = restore.plan();
    let client = context.aws.rds(&plan.target.region);
    let resource = Resource::new(
        ResourceKind::Instance,
        plan.arn("db", identifier),
        identifier,
    );
    let resource = restore.intend(resource).await?;
    let made = match rds::find_instance(&client, identifier).await? {
        Some(found) => found,
        // It was there. Whether RDS does not show it or somebody deleted it, WaitForInstances finds out.
        None if resource.state == ResourceState::Created => return Ok(false),
        None => ask_for_instance(&client, plan, identifier, planned).await?,
    };
    ownership::prove(
        identifier,
        made.tag_list(),
        &plan.restore_id,
        made.dbi_resource_id(),
        resource.resource_id.as_deref(),
    )?;
    restore.created(resource, made.dbi_resource_id()).await?;
    Ok(made
        .db_instance_status()
        .is_some_and(|status| status::of_instance(status) == Meaning::Ready))
}

async fn ask_for_instance(
    client: &aws_sdk_rds::Client,
    plan: &Plan,
    identifier: &str,
    planned: &TargetInstance,
) -> Result<DbInstance, StepError> {
    let insights = Some(&planned.performance_insights);
    let asked = client
        .create_db_instance()
        .db_instance_identifier(identifier)
        .db_cluster_identifier(&plan.target.cluster_identifier)
        .db_instance_class(&planned.class)
        .engine(plan.source.engine)
        .promotion_tier(planned.promotion_tier.into())
        .set_availability_zone(planned.availability_zone.clone())
        // The final group comes in Switch, as the cluster's does.
        .db_parameter_group_name(plan.default_parameter_group())
        .publicly_accessible(planned.publicly_accessible)
        .set_ca_certificate_identifier(planned.ca_certificate.clone())
        .auto_minor_version_upgrade(planned.auto_minor_version_upgrade)
        .set_preferred_maintenance_window(planned.maintenance_window.clone())
        .monitoring_interval(planned.monitoring.interval_seconds.into())
        .set_monitoring_role_arn(planned.monitoring.role_arn.clone())
        .enable_performance_insights(planned.performance_insights.enabled)
        .set_performance_insights_retention_period(retention_days(insights))
        .set_performance_insights_kms_key_id(insights_key(
            insights,
            &planned.performance_insights_kms_key_id,
        ))
        .set_tags(Some(ownership::tags(plan, plan.expires_at)))
        .send()
        .await;
    let found = match asked {
        Ok(answer) => answer.db_instance,
        Err(error) if wire_code(&error) == Some("DBInstanceAlreadyExists") => {
            rds::find_instance(client, identifier).await?
        }
        Err(error) => {
            return Err(StepError::from_sdk(
                format!("create instance `{identifier}`"),
                error,
            ));
        }
    };
    found.ok_or_else(|| {
        StepError::new(
            &AR0028,
            format!("instance `{identifier}` exists but cannot be seen yet"),
        )
    })
}
