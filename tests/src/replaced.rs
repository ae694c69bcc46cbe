//! A cluster that serves, and in whose place a restore comes.

use aurora_restore::local::FINAL_GROUP;
use aurora_restore_core::rds::find_instance;
use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::Endpoint;
use aws_sdk_rds::types::DbCluster;
use serde_json::{Value, json};

use crate::{DATABASE, MASTER, Scene, TARGET, canary, credentials};

/// A cluster that serves under a name that a restore takes over.
pub struct Serving {
    /// Its name.
    pub name: String,
    /// What tells it from another of this name.
    pub resource_id: String,
    /// Where clients reach it.
    pub endpoint: Endpoint,
    /// Who they are.
    pub master: Credentials,
}

impl Scene {
    /// Puts a cluster with one instance and a table `serving` into service under the target's name. What exists then
    /// is what existed before the first restore.
    pub async fn with_serving(&mut self) -> Serving {
        let serving = self.serve(TARGET).await;
        self.begin();
        serving
    }

    /// Puts a cluster with one instance into service.
    pub async fn serve(&self, name: &str) -> Serving {
        let (rds, password) = (self.rds(), canary("serving"));
        let made = rds
            .create_db_cluster()
            .db_cluster_identifier(name)
            .engine(self.engine)
            .database_name(DATABASE)
            .master_username(MASTER)
            .master_user_password(&password)
            .vpc_security_group_ids(FINAL_GROUP);
        made.send().await.unwrap();
        let instance = format!("{name}-1");
        let made = rds
            .create_db_instance()
            .db_instance_identifier(&instance)
            .db_cluster_identifier(name)
            .db_instance_class("db.r6g.large")
            .engine(self.engine);
        made.send().await.unwrap();
        self.until_available("db", &instance).await;
        let serving = Serving {
            name: name.to_owned(),
            resource_id: resource_id(&self.cluster(name).await),
            endpoint: self.endpoint(name).await,
            master: credentials(MASTER, &password),
        };
        if self.real {
            let table = format!("CREATE TABLE serving AS SELECT '{name}' AS name, 1 AS writes");
            self.sql(&serving.endpoint, &serving.master, &table).await;
        }
        serving
    }

    /// A request that restores the source and takes over the target's name; what was replaced is kept for three days.
    pub fn request_to_rename(&self) -> Value {
        let retire = json!({"keepHours": 72});
        self.request_with(json!({"switch": {"mode": "rename", "retire": retire}}))
    }

    /// Asserts that this cluster serves as if nothing had been: the same cluster under the same name, at rest, open to
    /// who may come in, with its tags, and with its data and its password where there is data; and nothing else is
    /// there that was not before.
    pub async fn assert_serves_as_before(&self, serving: &Serving) {
        let found = self.cluster(&serving.name).await;
        assert_eq!(resource_id(&found), serving.resource_id);
        assert_eq!(found.status(), Some("available"));
        assert!(found.tag_list().is_empty(), "{:?}", found.tag_list());
        for member in found.db_cluster_members() {
            let name = member.db_instance_identifier().unwrap();
            let instance = find_instance(&self.rds(), name).await.unwrap().unwrap();
            assert!(
                instance.tag_list().is_empty(),
                "{name}: {:?}",
                instance.tag_list()
            );
        }
        assert_eq!(open_to(&found), [FINAL_GROUP]);
        if self.real {
            let writes = "SELECT count(*) FROM serving";
            let writes = self.value(&serving.endpoint, &serving.master, writes);
            assert_eq!(writes.await, 1);
        }
        assert_eq!(self.new_resources(), Vec::<String>::new());
        assert_eq!(self.lost_resources(), Vec::<String>::new());
    }
}

/// What tells a cluster from another of its name.
pub fn resource_id(cluster: &DbCluster) -> String {
    cluster.db_cluster_resource_id().unwrap().to_owned()
}

/// The security groups through which a cluster is reached now.
pub fn open_to(cluster: &DbCluster) -> Vec<&str> {
    let groups = cluster.vpc_security_groups().iter();
    let active = groups.filter(|group| group.status() == Some("active"));
    active
        .filter_map(|group| group.vpc_security_group_id())
        .collect()
}
