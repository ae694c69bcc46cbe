//! The target: every setting explicit.

use aurora_restore_core::plan::{Source, TargetCluster, rds_arn};
use aurora_restore_core::request::{Request, ServerlessScaling};
use aws_sdk_rds::types::DbCluster;

/// The setting that opts in to paid Extended Support.
const EXTENDED_SUPPORT: &str = "open-source-rds-extended-support";

/// Every setting of the target: the request's, else the source's where it can be seen, else the engine's.
pub(super) fn target(
    request: &Request,
    source: &Source,
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
pub(super) fn family(engine: &str, version: &str) -> String {
    format!("{engine}{}", version.split('.').next().unwrap_or(version))
}
