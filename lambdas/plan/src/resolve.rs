//! From request to plan: the snapshot, what the source tells, and what is made of it.

use aurora_restore_core::errors::{AR0006, AR0007, AR0008, AR0024};
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::{CopyReason, SnapshotCopy, SourceSnapshot, TargetCluster, rds_arn};
use aurora_restore_core::request::{Request, ServerlessScaling, Waits};
use aurora_restore_core::settings::DeployedSettings;
use aurora_restore_core::status::{self, Meaning};
use aurora_restore_core::{Context, Plan, StepError, ownership, rds};
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot};
use time::OffsetDateTime;

use crate::Execution;

/// The setting that opts in to paid Extended Support.
const EXTENDED_SUPPORT: &str = "open-source-rds-extended-support";

/// Where a plan comes from.
pub(crate) struct Origin<'a> {
    pub(crate) execution: Execution<'a>,
    pub(crate) profile: Option<&'a str>,
    pub(crate) settings: &'a DeployedSettings,
}

/// Resolves every field of the plan.
pub(crate) async fn plan(
    context: &Context,
    request: &Request,
    origin: &Origin<'_>,
) -> Result<Plan, StepError> {
    let now = context.clock.now();
    let account = own_account(context, origin.execution.arn).await?;
    let region = context.aws.region().to_owned();
    let source_region = request
        .source
        .region
        .clone()
        .unwrap_or_else(|| region.clone());

    let snapshot = find_snapshot(context, request, &source_region).await?;
    let source = describe_source(&snapshot, request, &source_region)?;
    let source_name = &source.cluster_identifier;
    origin.settings.permit(
        source_name,
        &source.account,
        &account,
        &request.target.cluster_identifier,
    )?;
    let live = live_source(context, &source, &account).await?;
    refuse_source_as_target(request, &source, &account, &region)?;

    let target = target(request, &source, live.as_ref(), &account, &region);
    let expiring = is_expiring(&snapshot, live.as_ref(), now + longest(&request.waits));
    let copy = snapshot_copy(
        request,
        &source,
        expiring,
        &account,
        &region,
        origin.execution.id,
    );
    let source_master_secret_arn = source_secret(request, live.as_ref())?;
    let secret_name = request
        .credentials
        .secret_name
        .clone()
        .unwrap_or_else(|| origin.execution.id.master_secret());
    let family = family(&source.engine, &source.engine_version);
    let quarantine_parameter_group = origin
        .settings
        .quarantine_parameter_groups
        .get(&family)
        .map(|name| name.to_ascii_lowercase());
    Ok(Plan {
        restore_id: origin.execution.id.as_str().to_owned(),
        execution_arn: origin.execution.arn.to_owned(),
        execution_started_at: origin.execution.started_at.to_owned(),
        profile: origin.profile.map(str::to_owned),
        planned_at: now,
        source,
        copy,
        target,
        quarantine_security_group_ids: origin.settings.quarantine_security_group_ids.clone(),
        quarantine_parameter_group: quarantine_parameter_group
            .unwrap_or_else(|| format!("default.{family}")),
        master_password: request.credentials.master,
        secret_name,
        source_master_secret_arn,
        checks: request.checks.clone(),
        database_tls: origin.settings.database_tls.clone(),
        waits: request.waits.clone(),
        expires_at: request
            .expires_after_hours
            .map(|hours| now + time::Duration::hours(hours.into())),
    })
}

/// The account the pipeline runs in: the execution's own.
async fn own_account(context: &Context, execution_arn: &str) -> Result<String, StepError> {
    if let Some(account) = rds::arn_field(execution_arn, 4) {
        return Ok(account.to_owned());
    }
    let identity = context.aws.sts().get_caller_identity().send().await;
    let identity = identity.map_err(|error| StepError::from_sdk("ask for the account", error))?;
    identity
        .account
        .ok_or_else(|| StepError::defect("the caller's identity has no account"))
}

/// The snapshot that was asked for: by name or ARN, or the newest usable one of the cluster.
async fn find_snapshot(
    context: &Context,
    request: &Request,
    region: &str,
) -> Result<DbClusterSnapshot, StepError> {
    let client = context.aws.rds(region);
    let source = &request.source;
    if source.snapshot != "latest" {
        let found = rds::find_snapshot(&client, &source.snapshot).await?;
        return found.ok_or_else(|| {
            StepError::new(
                &AR0007,
                format!("there is no snapshot `{}` in {region}", source.snapshot),
            )
        });
    }
    let snapshots = rds::snapshots_of(&client, &source.cluster_identifier).await?;
    // The temporary copy of another restore is nobody's backup.
    let usable = snapshots.into_iter().filter(|snapshot| {
        is_usable(snapshot) && !ownership::is_made_by_a_restore(snapshot.tag_list())
    });
    usable
        .max_by_key(|snapshot| {
            snapshot
                .snapshot_create_time()
                .map(|at| (at.secs(), at.subsec_nanos()))
        })
        .ok_or_else(|| {
            StepError::new(
                &AR0007,
                format!(
                    "cluster `{}` has no available snapshot in {region}",
                    source.cluster_identifier
                ),
            )
        })
}

fn is_usable(snapshot: &DbClusterSnapshot) -> bool {
    status::of_snapshot(snapshot.status().unwrap_or_default()) == Meaning::Ready
}

fn describe_source(
    snapshot: &DbClusterSnapshot,
    request: &Request,
    region: &str,
) -> Result<SourceSnapshot, StepError> {
    let arn = required(snapshot.db_cluster_snapshot_arn(), "ARN")?;
    if !is_usable(snapshot) {
        let status = snapshot.status().unwrap_or("unknown");
        return Err(StepError::new(
            &AR0008,
            format!("snapshot `{arn}` is `{status}`, expected `available`"),
        ));
    }
    let cluster = required(snapshot.db_cluster_identifier(), "cluster")?;
    if !cluster.eq_ignore_ascii_case(&request.source.cluster_identifier) {
        return Err(StepError::new(
            &AR0008,
            format!(
                "snapshot `{arn}` is of cluster `{cluster}`, the request names `{}`",
                request.source.cluster_identifier
            ),
        ));
    }
    let engine = required(snapshot.engine(), "engine")?;
    if engine != "aurora-postgresql" {
        return Err(StepError::new(
            &AR0008,
            format!("snapshot `{arn}` is of engine `{engine}`, expected `aurora-postgresql`"),
        ));
    }
    let kms_key_id = snapshot
        .kms_key_id()
        .filter(|key| !key.is_empty())
        .map(str::to_owned);
    Ok(SourceSnapshot {
        cluster_resource_id: snapshot.db_cluster_resource_id().map(str::to_owned),
        account: required(rds::arn_field(&arn, 4), "account")?,
        region: rds::arn_field(&arn, 3).unwrap_or(region).to_owned(),
        taken_at: taken_at(snapshot),
        engine_version: required(snapshot.engine_version(), "engine version")?,
        master_username: required(snapshot.master_username(), "master user")?,
        port: snapshot
            .port()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        allocated_storage_gib: snapshot.allocated_storage().unwrap_or(0),
        // Since February 2026 an AWS-owned key leaves `StorageEncrypted` false; the key's presence decides.
        encrypted: snapshot.storage_encrypted().unwrap_or(false) || kms_key_id.is_some(),
        kms_key_id,
        cluster_identifier: cluster,
        snapshot_arn: arn,
        engine,
    })
}

fn required(value: Option<&str>, what: &str) -> Result<String, StepError> {
    let found = value.filter(|value| !value.is_empty());
    found.map(str::to_owned).ok_or_else(|| {
        StepError::new(
            &AR0008,
            format!("RDS describes the snapshot without its {what}"),
        )
    })
}

fn taken_at(snapshot: &DbClusterSnapshot) -> OffsetDateTime {
    let seconds = snapshot
        .snapshot_create_time()
        .map_or(0, aws_sdk_rds::primitives::DateTime::secs);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The source cluster itself, if it still exists where we can see it.
async fn live_source(
    context: &Context,
    source: &SourceSnapshot,
    account: &str,
) -> Result<Option<DbCluster>, StepError> {
    if source.account != account {
        return Ok(None);
    }
    let found =
        rds::find_cluster(&context.aws.rds(&source.region), &source.cluster_identifier).await?;
    // A later cluster of the same name is not the source.
    Ok(found.filter(|cluster| {
        source.cluster_resource_id.is_none()
            || cluster.db_cluster_resource_id() == source.cluster_resource_id.as_deref()
    }))
}

fn refuse_source_as_target(
    request: &Request,
    source: &SourceSnapshot,
    account: &str,
    region: &str,
) -> Result<(), StepError> {
    let same_name = source
        .cluster_identifier
        .eq_ignore_ascii_case(&request.target.cluster_identifier);
    if same_name && source.account == account && source.region == region {
        let name = &source.cluster_identifier;
        return Err(StepError::new(
            &AR0006,
            format!("`{name}` in {region} of account {account} is both"),
        ));
    }
    Ok(())
}

/// Every setting of the target: the request's, else the source's where it can be seen, else the engine's.
fn target(
    request: &Request,
    source: &SourceSnapshot,
    live: Option<&DbCluster>,
    account: &str,
    region: &str,
) -> TargetCluster {
    let asked = &request.target;
    let identifier = asked.cluster_identifier.to_ascii_lowercase();
    // Groups belong to a region: those of a source elsewhere do not exist here.
    let neighbour = live.filter(|_| source.region == region);
    let from_neighbour =
        |read: fn(&DbCluster) -> Option<&str>| neighbour.and_then(read).map(str::to_owned);
    TargetCluster {
        account: account.to_owned(),
        region: region.to_owned(),
        arn: rds_arn(region, account, "cluster", &identifier),
        cluster_identifier: identifier,
        instance_class: asked.instance_class.clone(),
        instances: asked.readers + 1,
        security_group_ids: asked.security_group_ids.clone(),
        subnet_group: asked
            .subnet_group
            .clone()
            .or_else(|| from_neighbour(DbCluster::db_subnet_group))
            .unwrap_or_else(|| "default".to_owned())
            .to_ascii_lowercase(),
        cluster_parameter_group: asked
            .cluster_parameter_group
            .clone()
            .or_else(|| from_neighbour(DbCluster::db_cluster_parameter_group))
            .unwrap_or_else(|| {
                format!("default.{}", family(&source.engine, &source.engine_version))
            })
            .to_ascii_lowercase(),
        instance_parameter_group: asked.instance_parameter_group.clone(),
        kms_key_id: asked.kms_key_id.clone(),
        port: asked.port.or(source.port).unwrap_or(5432),
        deletion_protection: asked.deletion_protection,
        iam_authentication: asked
            .iam_authentication
            .or_else(|| live.and_then(DbCluster::iam_database_authentication_enabled))
            .unwrap_or(false),
        log_exports: asked
            .log_exports
            .clone()
            .or_else(|| live.map(|live| live.enabled_cloudwatch_logs_exports().to_vec()))
            .unwrap_or_default(),
        storage_type: asked
            .storage_type
            .clone()
            .or_else(|| {
                live.and_then(DbCluster::storage_type)
                    .filter(|kind| !kind.is_empty())
                    .map(str::to_owned)
            })
            .unwrap_or_else(|| "aurora".to_owned()),
        backup_retention_days: asked
            .backup_retention_days
            .or_else(|| {
                live.and_then(DbCluster::backup_retention_period)
                    .and_then(|days| u8::try_from(days).ok())
            })
            .unwrap_or(1),
        extended_support: asked.extended_support.unwrap_or_else(|| {
            live.and_then(DbCluster::engine_lifecycle_support) == Some(EXTENDED_SUPPORT)
        }),
        serverless_scaling: asked
            .serverless_scaling
            .clone()
            .or_else(|| live.and_then(scaling)),
        tags: asked.tags.clone(),
    }
}

fn scaling(live: &DbCluster) -> Option<ServerlessScaling> {
    let scaling = live.serverless_v2_scaling_configuration()?;
    Some(ServerlessScaling {
        min_capacity: scaling.min_capacity()?,
        max_capacity: scaling.max_capacity()?,
    })
}

/// The parameter group family of an engine version: its major version.
fn family(engine: &str, version: &str) -> String {
    format!("{engine}{}", version.split('.').next().unwrap_or(version))
}

/// The copy, if the snapshot cannot be restored as it is.
fn snapshot_copy(
    request: &Request,
    source: &SourceSnapshot,
    expiring: bool,
    account: &str,
    region: &str,
    id: &RestoreId,
) -> Option<SnapshotCopy> {
    let foreign_key = source
        .kms_key_id
        .as_deref()
        .filter(|key| rds::is_arn(key))
        .and_then(|key| rds::arn_field(key, 4))
        .is_some_and(|owner| owner != account);
    let reasons: Vec<CopyReason> = [
        (source.region != region, CopyReason::Region),
        (source.account != account, CopyReason::Account),
        (foreign_key, CopyReason::Key),
        (expiring, CopyReason::Expiring),
    ]
    .into_iter()
    .filter_map(|(needed, reason)| needed.then_some(reason))
    .collect();
    (!reasons.is_empty()).then(|| SnapshotCopy {
        identifier: id.snapshot_copy(),
        // An unencrypted snapshot cannot be encrypted by copying; the restore call does that.
        kms_key_id: request
            .target
            .kms_key_id
            .clone()
            .filter(|_| source.encrypted),
        reasons,
    })
}

/// Whether RDS would delete an automated snapshot before the run has restored it.
fn is_expiring(
    snapshot: &DbClusterSnapshot,
    live: Option<&DbCluster>,
    needed_until: OffsetDateTime,
) -> bool {
    if snapshot.snapshot_type() != Some("automated") {
        return false;
    }
    // Without its cluster nobody can tell how long RDS keeps it.
    let Some(days) = live.and_then(DbCluster::backup_retention_period) else {
        return true;
    };
    taken_at(snapshot) + time::Duration::days(days.into()) < needed_until
}

/// Until the snapshot has been read.
fn longest(waits: &Waits) -> time::Duration {
    time::Duration::minutes((waits.copy_deadline_minutes + waits.cluster_deadline_minutes).into())
}

/// The secret whose password must be refused afterwards.
fn source_secret(request: &Request, live: Option<&DbCluster>) -> Result<String, StepError> {
    let managed = live
        .and_then(DbCluster::master_user_secret)
        .and_then(|secret| secret.secret_arn());
    request.source.master_secret_arn.as_deref().or(managed).map(str::to_owned).ok_or_else(|| {
        StepError::new(
            &AR0024,
            format!("`{}` has no RDS-managed master secret that can be seen, and source.masterSecretArn is absent", request.source.cluster_identifier),
        )
    })
}
