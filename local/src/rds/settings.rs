//! What a world's RDS is like: how long things take, how much it allows, where data lives.

use std::path::PathBuf;
use std::time::Duration;

use crate::database::addresses::AddressPlan;

/// What a world's RDS is like.
#[derive(Clone, Debug)]
pub struct RdsSettings {
    /// Times faster than life: every duration is divided by it. It comes on top of the world's clock,
    /// which may run fast itself; one of the two is enough.
    pub speed: f64,
    /// How long things take in life.
    pub durations: Durations,
    /// Durations vary by up to this share, the same way for the same seed and name.
    pub jitter: f64,
    /// What an account may have, per region.
    pub quotas: Quotas,
    /// Real servers, or none.
    pub data: Data,
    /// Where data directories are made; each world has its own below it and removes it. Left out, it is
    /// memory if there is plenty, for copying is what takes time, and else the temporary directory.
    pub data_root: Option<PathBuf>,
    /// How clusters are told apart on the network.
    pub addresses: AddressPlan,
    /// Decides everything that is random: resource ids, addresses, jitter, lost events.
    pub seed: u64,
    /// Probability that an event never arrives.
    pub event_loss: f64,
    /// For this long after its creation Describe does not find a resource.
    pub invisible_after_create: Duration,
    /// The volume of a cluster nobody said more about, in GiB; restores and copies take time by it.
    pub size_gib: u32,
    /// Whether volumes made without a key get the key AWS owns (`sse-rds`), as the guide says since February 2026,
    /// or none, as the API model says.
    pub aws_owned_key_by_default: bool,
    /// Whether one call copies an encrypted snapshot of another account from another region. The guide says both; the
    /// stricter reading is the default.
    pub copies_across_account_and_region: bool,
    /// Whether `CreateDBInstance` is refused while its cluster is `creating`. In practice it is accepted.
    pub refuse_instance_while_creating: bool,
    /// Whether a cluster or instance may not be deleted while `creating`. Unverified on AWS; the stricter reading
    /// is the default, since a pipeline that survives it survives the other too.
    pub refuse_delete_while_creating: bool,
}

impl Default for RdsSettings {
    fn default() -> Self {
        Self {
            speed: 1.0,
            durations: Durations::default(),
            jitter: 0.1,
            quotas: Quotas::default(),
            data: Data::Real,
            data_root: None,
            addresses: if cfg!(target_os = "linux") {
                AddressPlan::OnePerCluster
            } else {
                AddressPlan::OneHost(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
            },
            seed: 1,
            event_loss: 0.0,
            invisible_after_create: Duration::ZERO,
            size_gib: 100,
            aws_owned_key_by_default: true,
            copies_across_account_and_region: false,
            refuse_instance_while_creating: false,
            refuse_delete_while_creating: true,
        }
    }
}

/// Whether clusters hold data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Each cluster is a database server of its own.
    Real,
    /// No servers and no data: only what Describe says. For measuring and testing the flow of calls and
    /// statuses; nothing about data, passwords or reachability can be learned from such a world.
    Metadata,
}

/// How long things take in life.
#[derive(Clone, Debug)]
pub struct Durations {
    /// A new, empty cluster.
    pub create_cluster: Duration,
    /// A cluster restored from a snapshot or a point in time, of no size.
    pub restore_cluster: Duration,
    /// More for each GiB.
    pub restore_per_gib: Duration,
    /// A copy-on-write clone, of any size.
    pub clone_cluster: Duration,
    /// An instance, from the moment its cluster is available.
    pub create_instance: Duration,
    /// A manual snapshot.
    pub create_snapshot: Duration,
    /// A copy within the region, of no size.
    pub copy_snapshot: Duration,
    /// More for each GiB.
    pub copy_per_gib: Duration,
    /// More for a copy from another region; it spends this time queued, without progress.
    pub copy_queue_across_regions: Duration,
    /// Removing a snapshot.
    pub delete_snapshot: Duration,
    /// How long a cluster or instance still reads `available` after a modification was accepted.
    pub modify_lag: Duration,
    /// `modifying`.
    pub modify: Duration,
    /// `resetting-master-credentials`.
    pub reset_credentials: Duration,
    /// `renaming`.
    pub rename: Duration,
    /// `upgrading`.
    pub upgrade: Duration,
    /// `deleting`, of a cluster.
    pub delete_cluster: Duration,
    /// `deleting`, of an instance.
    pub delete_instance: Duration,
    /// `stopping`.
    pub stop: Duration,
    /// `starting`.
    pub start: Duration,
    /// `rebooting`.
    pub reboot: Duration,
    /// `failing-over`.
    pub failover: Duration,
    /// A role association's `PENDING`.
    pub associate_role: Duration,
    /// How often RDS uses a cluster's key, and so notices that it cannot.
    pub notice_lost_key: Duration,
    /// A stopped cluster starts again by itself after this.
    pub longest_stop: Duration,
}

impl Default for Durations {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            create_cluster: seconds(90),
            restore_cluster: minutes(12),
            restore_per_gib: Duration::from_millis(1_500),
            clone_cluster: minutes(4),
            create_instance: minutes(7),
            create_snapshot: minutes(3),
            copy_snapshot: minutes(3),
            copy_per_gib: seconds(2),
            copy_queue_across_regions: minutes(3),
            delete_snapshot: seconds(20),
            modify_lag: seconds(20),
            modify: seconds(60),
            reset_credentials: seconds(40),
            rename: seconds(120),
            upgrade: minutes(15),
            delete_cluster: minutes(3),
            delete_instance: minutes(4),
            stop: minutes(5),
            start: minutes(7),
            reboot: seconds(60),
            failover: seconds(30),
            associate_role: seconds(60),
            notice_lost_key: minutes(10),
            longest_stop: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What an account may have in one region.
#[derive(Clone, Debug)]
pub struct Quotas {
    /// Clusters.
    pub clusters: usize,
    /// Instances of all engines.
    pub instances: usize,
    /// Manual cluster snapshots.
    pub manual_snapshots: usize,
    /// Copies under way to the region.
    pub copies_in_progress: usize,
    /// Cluster parameter groups.
    pub cluster_parameter_groups: usize,
    /// Roles per cluster.
    pub roles_per_cluster: usize,
    /// Readers per cluster.
    pub readers_per_cluster: usize,
    /// Accounts a snapshot may be shared with.
    pub accounts_per_snapshot: usize,
    /// Tags per resource.
    pub tags_per_resource: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            clusters: 40,
            instances: 40,
            manual_snapshots: 100,
            copies_in_progress: 5,
            cluster_parameter_groups: 50,
            roles_per_cluster: 5,
            readers_per_cluster: 15,
            accounts_per_snapshot: 20,
            tags_per_resource: 50,
        }
    }
}
