//! What an RDS status means for someone who waits.
//!
//! Statuses are free strings and new ones appear. Every documented one is classified
//! here (Aurora User Guide, "Viewing DB cluster status" and "Viewing DB instance
//! status", and the service model's waiters); an unknown one means: keep waiting, say
//! so, respect the deadline.

use crate::errors::{AR0037, Code, StepError};

/// What a status means for someone who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Ready for the next step.
    Ready,
    /// Passing.
    Progress,
    /// It will not become ready by itself.
    Stuck,
    /// Somebody is deleting it, or has.
    Leaving,
    /// Never heard of; treated as passing.
    Unknown,
}

/// The error of a resource that does not become ready by itself, if it does not.
pub fn hopeless(
    meaning: Meaning,
    stuck: &'static Code,
    name: &str,
    status: &str,
) -> Option<StepError> {
    let code = match meaning {
        Meaning::Stuck => stuck,
        Meaning::Leaving => &AR0037,
        Meaning::Ready | Meaning::Progress | Meaning::Unknown => return None,
    };
    Some(StepError::new(code, format!("`{name}` is `{status}`")))
}

/// Of a DB cluster.
pub fn of_cluster(status: &str) -> Meaning {
    match status {
        "available" => Meaning::Ready,
        "creating"
        | "backing-up"
        | "backtracking"
        | "failing-over"
        | "maintenance"
        | "migrating"
        | "modifying"
        | "preparing-data-migration"
        | "promoting"
        | "rebooting"
        | "renaming"
        | "resetting-master-credentials"
        | "scaling-compute"
        | "scaling-storage"
        | "starting"
        | "stopping"
        | "storage-optimization"
        | "update-iam-db-auth"
        | "upgrading" => Meaning::Progress,
        "cloning-failed"
        | "migration-failed"
        | "upgrade_failed"
        | "inaccessible-encryption-credentials"
        | "inaccessible-encryption-credentials-recoverable"
        | "insufficient-capacity"
        | "storage-full"
        | "failed"
        | "stopped" => Meaning::Stuck,
        "deleting" | "deleted" => Meaning::Leaving,
        status if status.starts_with("configuring-") => Meaning::Progress,
        status if status.starts_with("incompatible-") => Meaning::Stuck,
        _ => Meaning::Unknown,
    }
}

/// Of a DB instance.
pub fn of_instance(status: &str) -> Meaning {
    match status {
        "available" | "storage-optimization" => Meaning::Ready,
        "creating"
        | "backing-up"
        | "backtracking"
        | "converting-to-vpc"
        | "moving-to-vpc"
        | "maintenance"
        | "modifying"
        | "rebooting"
        | "renaming"
        | "resetting-master-credentials"
        | "starting"
        | "stopping"
        | "upgrading" => Meaning::Progress,
        "failed"
        | "insufficient-capacity"
        | "restore-error"
        | "storage-full"
        | "inaccessible-encryption-credentials"
        | "inaccessible-encryption-credentials-recoverable"
        | "stopped" => Meaning::Stuck,
        "delete-precheck" | "deleting" => Meaning::Leaving,
        status if status.starts_with("configuring-") => Meaning::Progress,
        status if status.starts_with("incompatible-") => Meaning::Stuck,
        _ => Meaning::Unknown,
    }
}

/// Of a DB cluster snapshot.
pub fn of_snapshot(status: &str) -> Meaning {
    match status {
        "available" => Meaning::Ready,
        "creating" | "copying" => Meaning::Progress,
        "failed" => Meaning::Stuck,
        "deleting" | "deleted" => Meaning::Leaving,
        status if status.starts_with("incompatible-") => Meaning::Stuck,
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_the_sdk_waiters_would_spin_on_are_stuck() {
        for status in [
            "cloning-failed",
            "migration-failed",
            "upgrade_failed",
            "inaccessible-encryption-credentials",
        ] {
            assert_eq!(of_cluster(status), Meaning::Stuck, "{status}");
        }
        assert_eq!(of_instance("insufficient-capacity"), Meaning::Stuck);
    }

    #[test]
    fn what_is_being_deleted_is_not_waited_for() {
        assert_eq!(of_cluster("deleting"), Meaning::Leaving);
        assert_eq!(of_instance("deleting"), Meaning::Leaving);
        assert_eq!(of_snapshot("deleting"), Meaning::Leaving);
    }

    #[test]
    fn backups_maintenance_and_configuration_pass() {
        for status in [
            "backing-up",
            "maintenance",
            "modifying",
            "upgrading",
            "configuring-iam-database-auth",
            "configuring-log-exports",
        ] {
            assert_eq!(of_cluster(status), Meaning::Progress, "{status}");
            assert_eq!(of_instance(status), Meaning::Progress, "{status}");
        }
    }

    #[test]
    fn a_status_never_heard_of_is_not_a_failure() {
        assert_eq!(of_cluster("polishing"), Meaning::Unknown);
        assert_eq!(of_instance("polishing"), Meaning::Unknown);
        assert_eq!(of_snapshot("polishing"), Meaning::Unknown);
    }
}
