//! All that RDS remembers.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use time::OffsetDateTime;

use super::audit::{AuditRecord, ResourceView};
use super::cluster::Cluster;
use super::errors;
use super::events::PastEvent;
use super::global::GlobalCluster;
use super::instance::Instance;
use super::names::Place;
use super::parameter_groups::ParameterGroup;
use super::snapshot::Snapshot;
use super::subnet_groups::SubnetGroup;
use crate::request::ApiError;

/// All that RDS remembers.
///
/// Clusters, instances and snapshots are kept by resource id, which survives a
/// change of name.
pub(super) struct Book {
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) instances: BTreeMap<String, Instance>,
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    pub(super) subnet_groups: BTreeMap<(Place, String), SubnetGroup>,
    /// By place, kind (`cluster-pg` or `pg`) and name.
    pub(super) parameter_groups: BTreeMap<(Place, String, String), ParameterGroup>,
    /// By account and name.
    pub(super) global_clusters: BTreeMap<(String, String), GlobalCluster>,
    pub(super) events: Vec<PastEvent>,
    pub(super) audit: Vec<AuditRecord>,
    pub(super) past: Vec<ResourceView>,
    random: StdRng,
    requests: u64,
}

impl Book {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            clusters: BTreeMap::new(),
            instances: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            subnet_groups: BTreeMap::new(),
            parameter_groups: BTreeMap::new(),
            global_clusters: BTreeMap::new(),
            events: Vec::new(),
            audit: Vec::new(),
            past: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            requests: 0,
        }
    }

    pub(super) fn cluster(&self, place: &Place, id: &str) -> Result<&Cluster, ApiError> {
        let id = id.to_lowercase();
        self.clusters
            .values()
            .find(|cluster| cluster.place == *place && cluster.id == id)
            .ok_or_else(|| errors::cluster_not_found(&id))
    }

    pub(super) fn cluster_mut(
        &mut self,
        place: &Place,
        id: &str,
    ) -> Result<&mut Cluster, ApiError> {
        let id = id.to_lowercase();
        self.clusters
            .values_mut()
            .find(|cluster| cluster.place == *place && cluster.id == id)
            .ok_or_else(|| errors::cluster_not_found(&id))
    }

    pub(super) fn instance_mut(
        &mut self,
        place: &Place,
        id: &str,
    ) -> Result<&mut Instance, ApiError> {
        let id = id.to_lowercase();
        self.instances
            .values_mut()
            .find(|instance| instance.place == *place && instance.id == id)
            .ok_or_else(|| errors::instance_not_found(&id))
    }

    pub(super) fn snapshot(&self, place: &Place, id: &str) -> Result<&Snapshot, ApiError> {
        self.snapshots
            .values()
            .find(|snapshot| snapshot.place == *place && snapshot.id == id)
            .ok_or_else(|| errors::snapshot_not_found(id))
    }

    pub(super) fn snapshot_mut(
        &mut self,
        place: &Place,
        id: &str,
    ) -> Result<&mut Snapshot, ApiError> {
        self.snapshots
            .values_mut()
            .find(|snapshot| snapshot.place == *place && snapshot.id == id)
            .ok_or_else(|| errors::snapshot_not_found(id))
    }

    /// A cluster's instances, the writer first.
    pub(super) fn instances_of(&self, cluster_resource_id: &str) -> Vec<&Instance> {
        let mut found: Vec<_> = self
            .instances
            .values()
            .filter(|instance| instance.cluster == cluster_resource_id)
            .collect();
        found.sort_by_key(|instance| (!instance.writer, instance.id.clone()));
        found
    }

    /// Gives a cluster and its instances this status, but for those on their way in or out.
    pub(super) fn set_all(&mut self, cluster: &str, status: &str, now: OffsetDateTime) {
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.status.set(status, now);
        }
        let staying = |instance: &&mut Instance| {
            instance.cluster == cluster
                && !instance.status.is("creating")
                && !instance.status.is("deleting")
        };
        for instance in self.instances.values_mut().filter(staying) {
            instance.status.set(status, now);
        }
    }

    /// Whether a cluster has this name, or will have it once a rename under way is done.
    pub(super) fn cluster_name_taken(&self, place: &Place, id: &str) -> bool {
        self.clusters.values().any(|cluster| {
            cluster.place == *place
                && (cluster.id == id || cluster.new_name().is_some_and(|new_name| new_name == id))
        })
    }

    /// An id such as `cluster-4UXQ…`, as RDS gives to what may change its name.
    pub(super) fn new_resource_id(&mut self, prefix: &str) -> String {
        format!(
            "{prefix}-{}",
            self.random_text(26, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        )
    }

    /// A password as RDS makes them for secrets it manages.
    pub(super) fn new_password(&mut self) -> String {
        self.random_text(
            32,
            b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-_.!~$*()",
        )
    }

    /// A random UUID.
    pub(super) fn new_uuid(&mut self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid()
    }

    /// The id of a request. These come from a count of their own: however often somebody asks,
    /// what is made gets the same ids.
    pub(super) fn new_request_id(&mut self) -> String {
        self.requests += 1;
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &self.requests.to_be_bytes()).to_string()
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random_bool(probability.min(1.0))
    }

    fn random_text(&mut self, length: usize, letters: &[u8]) -> String {
        (0..length)
            .map(|_| char::from(letters[self.random.random_range(0..letters.len())]))
            .collect()
    }
}

/// A status, and every one before it.
#[derive(Clone, Debug)]
pub(super) struct Status {
    current: String,
    history: Vec<(OffsetDateTime, String)>,
}

impl Status {
    pub(super) fn new(status: &str, at: OffsetDateTime) -> Self {
        Self {
            current: status.to_owned(),
            history: vec![(at, status.to_owned())],
        }
    }

    pub(super) fn set(&mut self, status: &str, at: OffsetDateTime) {
        if self.current != status {
            status.clone_into(&mut self.current);
            self.history.push((at, status.to_owned()));
        }
    }

    pub(super) fn is(&self, status: &str) -> bool {
        self.current == status
    }

    pub(super) fn as_str(&self) -> &str {
        &self.current
    }

    pub(super) fn history(&self) -> &[(OffsetDateTime, String)] {
        &self.history
    }
}
