//! RDS's errors by their codes on the wire.
//!
//! Codes and HTTP statuses are those of the service model; several drop the
//! `Fault` their shape ends in. The last few are not in the model at all and
//! reach SDKs as unhandled.

use crate::request::ApiError;

fn refused(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(400, code, message)
}

fn missing(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(404, code, message)
}

pub(super) fn cluster_not_found(id: &str) -> ApiError {
    missing(
        "DBClusterNotFoundFault",
        format!("DBCluster {id} not found."),
    )
}

pub(super) fn cluster_exists(id: &str) -> ApiError {
    refused(
        "DBClusterAlreadyExistsFault",
        format!("DB Cluster already exists: {id}"),
    )
}

pub(super) fn cluster_state(message: impl Into<String>) -> ApiError {
    refused("InvalidDBClusterStateFault", message)
}

pub(super) fn global_cluster_not_found(id: &str) -> ApiError {
    missing(
        "GlobalClusterNotFoundFault",
        format!("Global cluster {id} not found."),
    )
}

pub(super) fn global_cluster_exists(id: &str) -> ApiError {
    refused(
        "GlobalClusterAlreadyExistsFault",
        format!("Global cluster {id} already exists"),
    )
}

pub(super) fn global_cluster_state(message: impl Into<String>) -> ApiError {
    refused("InvalidGlobalClusterStateFault", message)
}

pub(super) fn cluster_quota() -> ApiError {
    ApiError::new(
        403,
        "DBClusterQuotaExceededFault",
        "DB Cluster quota exceeded",
    )
}

pub(super) fn instance_not_found(id: &str) -> ApiError {
    missing("DBInstanceNotFound", format!("DBInstance {id} not found."))
}

pub(super) fn instance_exists() -> ApiError {
    refused("DBInstanceAlreadyExists", "DB instance already exists")
}

pub(super) fn instance_state(message: impl Into<String>) -> ApiError {
    refused("InvalidDBInstanceState", message)
}

pub(super) fn instance_quota() -> ApiError {
    refused("InstanceQuotaExceeded", "DB Instance quota exceeded")
}

pub(super) fn snapshot_not_found(id: &str) -> ApiError {
    missing(
        "DBClusterSnapshotNotFoundFault",
        format!("DBClusterSnapshot {id} not found."),
    )
}

pub(super) fn snapshot_exists(id: &str) -> ApiError {
    refused(
        "DBClusterSnapshotAlreadyExistsFault",
        format!("Cannot create the snapshot because one with the identifier {id} already exists."),
    )
}

pub(super) fn snapshot_state(message: impl Into<String>) -> ApiError {
    refused("InvalidDBClusterSnapshotStateFault", message)
}

/// Two limits share this code; only the message tells them apart.
pub(super) fn snapshot_quota(message: impl Into<String>) -> ApiError {
    refused("SnapshotQuotaExceeded", message)
}

pub(super) fn sharing_quota() -> ApiError {
    refused(
        "SharedSnapshotQuotaExceeded",
        "You have exceeded the maximum number of accounts that you can share a snapshot with.",
    )
}

pub(super) fn invalid_restore(message: impl Into<String>) -> ApiError {
    refused("InvalidRestoreFault", message)
}

pub(super) fn key_not_accessible(which: &str, key: &str) -> ApiError {
    refused(
        "KMSKeyNotAccessibleFault",
        format!(
            "The {which} KMS key [{key}] does not exist, is not enabled or you do not have permissions to access it."
        ),
    )
}

pub(super) fn cluster_parameter_group_not_found(name: &str) -> ApiError {
    missing(
        "DBClusterParameterGroupNotFound",
        format!("DBClusterParameterGroup not found: {name}"),
    )
}

pub(super) fn parameter_group_not_found(name: &str) -> ApiError {
    missing(
        "DBParameterGroupNotFound",
        format!("DBParameterGroup not found: {name}"),
    )
}

pub(super) fn parameter_group_exists(name: &str) -> ApiError {
    refused(
        "DBParameterGroupAlreadyExists",
        format!("Parameter group {name} already exists"),
    )
}

pub(super) fn parameter_group_quota() -> ApiError {
    refused(
        "DBParameterGroupQuotaExceeded",
        "DB Parameter Group quota exceeded",
    )
}

pub(super) fn subnet_group_not_found(name: &str) -> ApiError {
    missing(
        "DBSubnetGroupNotFoundFault",
        format!("DB subnet group '{name}' does not exist."),
    )
}

pub(super) fn subnet_group_exists(name: &str) -> ApiError {
    refused(
        "DBSubnetGroupAlreadyExists",
        format!("The DB subnet group '{name}' already exists."),
    )
}

pub(super) fn too_few_zones() -> ApiError {
    refused(
        "DBSubnetGroupDoesNotCoverEnoughAZs",
        "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Add subnets to cover at least 2 AZs.",
    )
}

pub(super) fn role_exists(role: &str, cluster: &str) -> ApiError {
    refused(
        "DBClusterRoleAlreadyExists",
        format!("The role {role} is already associated with DB cluster {cluster}"),
    )
}

pub(super) fn role_not_found(role: &str, cluster: &str) -> ApiError {
    missing(
        "DBClusterRoleNotFound",
        format!("The role {role} is not associated with DB cluster {cluster}"),
    )
}

pub(super) fn role_quota() -> ApiError {
    refused(
        "DBClusterRoleQuotaExceeded",
        "You have exceeded the maximum number of IAM roles that can be associated with the DB cluster.",
    )
}

pub(super) fn storage_type_not_available() -> ApiError {
    refused(
        "StorageTypeNotAvailableFault",
        "The aurora-iopt1 storage type isn't available, because the storage type was changed less than a month ago.",
    )
}

pub(super) fn resource_not_found(arn: &str) -> ApiError {
    missing(
        "ResourceNotFoundFault",
        format!("The specified resource was not found: {arn}"),
    )
}

/// Not in the model.
pub(super) fn invalid_value(message: impl Into<String>) -> ApiError {
    refused("InvalidParameterValue", message)
}

/// Not in the model.
pub(super) fn invalid_combination(message: impl Into<String>) -> ApiError {
    refused("InvalidParameterCombination", message)
}

/// Not in the model.
pub(super) fn missing_parameter(name: &str) -> ApiError {
    refused(
        "MissingParameter",
        format!("The request must contain the parameter {name}"),
    )
}

/// What this local RDS does not do. Nothing is quietly left out.
///
/// Its status is 400, so that no client tries again.
pub(super) fn not_implemented(what: &str) -> ApiError {
    refused(
        "NotImplemented",
        format!("the local cloud does not implement {what}"),
    )
}
