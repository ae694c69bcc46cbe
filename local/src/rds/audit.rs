//! What happened and what exists, for verdicts.

use time::OffsetDateTime;

use super::cluster::Cluster;
use super::instance::Instance;
use super::names::Place;
use super::snapshot::Snapshot;
use super::state::Book;
use super::tags::Tags;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When, in the world's time.
    pub at: OffsetDateTime,
    /// In which account and region.
    pub place: Place,
    /// The caller's ARN.
    pub principal: String,
    /// Such as `DeleteDBCluster`.
    pub action: String,
    /// The identifier or ARN the call named first, as it was given.
    pub resource: String,
    /// The error's code, if the call was refused.
    pub error: Option<String>,
}

/// A moment, and what was set then.
pub type Since<T> = (OffsetDateTime, T);

/// A cluster, an instance or a snapshot.
#[derive(Clone, Debug)]
pub struct ResourceView {
    /// `cluster`, `db` or `cluster-snapshot`, as in ARNs.
    pub kind: &'static str,
    /// Account and region.
    pub place: Place,
    /// Its name now.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// What survives a change of name.
    pub resource_id: String,
    /// Its status now.
    pub status: String,
    /// Every status it had.
    pub statuses: Vec<Since<String>>,
    /// When it was gone, for what existed once.
    pub removed_at: Option<OffsetDateTime>,
    /// Its tags.
    pub tags: Tags,
    /// A cluster's security groups now.
    pub security_groups: Vec<String>,
    /// Every set of security groups a cluster had.
    pub security_group_history: Vec<Since<Vec<String>>>,
}

impl ResourceView {
    /// The last look at what is gone from this moment on.
    pub(super) fn removed(mut self, at: OffsetDateTime) -> Self {
        self.removed_at = Some(at);
        self
    }
}

/// Everything that exists, of one account or of all.
pub(super) fn views(book: &Book, account: Option<&str>) -> Vec<ResourceView> {
    let clusters = book.clusters.values().map(Cluster::view);
    let instances = book.instances.values().map(Instance::view);
    let snapshots = book.snapshots.values().map(Snapshot::view);
    clusters
        .chain(instances)
        .chain(snapshots)
        .filter(|view| account.is_none_or(|account| view.place.account == account))
        .collect()
}
