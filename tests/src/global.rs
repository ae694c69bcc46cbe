//! Global databases, as people make them.

use crate::Scene;

/// A global database.
pub const GLOBAL: &str = "orders-world";
/// Where its secondary cluster is.
pub const ELSEWHERE: &str = "eu-central-1";

impl Scene {
    /// Makes a global database around this cluster, its primary.
    pub async fn join(&self, cluster: &str) {
        let place = self.place();
        let arn = format!(
            "arn:aws:rds:{}:{}:cluster:{cluster}",
            place.region, place.account
        );
        self.rds()
            .create_global_cluster()
            .global_cluster_identifier(GLOBAL)
            .source_db_cluster_identifier(arn)
            .send()
            .await
            .unwrap();
    }

    /// Adds a secondary of this name in the other region.
    pub async fn add_secondary(&self, name: &str) {
        let rds = self.rds_in(ELSEWHERE);
        rds.create_db_cluster()
            .db_cluster_identifier(name)
            .global_cluster_identifier(GLOBAL)
            .engine(self.engine)
            .send()
            .await
            .unwrap();
        let ready = async || {
            let found = aurora_restore_core::rds::find_cluster(&rds, name).await?;
            let status = found.as_ref().and_then(|found| found.status());
            Ok((status == Some("available")).then_some(()))
        };
        self.local.until("the secondary", ready).await.unwrap();
    }

    /// The global database that a cluster is in, as RDS shows it.
    pub async fn global_of(&self, cluster: &str) -> Option<String> {
        let found = self.cluster(cluster).await;
        found.global_cluster_identifier().map(str::to_owned)
    }
}
