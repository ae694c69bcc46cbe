//! Another account that lends a snapshot.

use aurora_restore::deployment;
use aws_sdk_rds::types::DbCluster;
use local_cloud::Caller;
use serde_json::{Value, json};

use crate::{DATABASE, MASTER, Scene};

/// The account that lends. A flow of data has to lead from it.
pub const LENDER: &str = "999988887777";
/// Its cluster.
pub const LENT: &str = "lent-prod";
/// What it lends: a snapshot of that cluster.
pub const LENT_SNAPSHOT: &str = "lent-prod-1";

/// An account that lends the scene's a snapshot, encrypted under a key of its own.
pub struct Lender {
    /// The lender's RDS.
    pub rds: aws_sdk_rds::Client,
    /// The ARN of the key.
    pub key: String,
    /// The ARN of the snapshot.
    pub snapshot: String,
    caller: Caller,
}

impl Lender {
    /// Makes the cluster, with the source's data where there is data, and lends a snapshot of it. The scene's account
    /// may use the key.
    pub async fn of(scene: &Scene, region: &str) -> Self {
        let cloud = &scene.local.cloud;
        let caller = Caller {
            account: LENDER.to_owned(),
            region: region.to_owned(),
            principal: root(LENDER),
        };
        let (create, nothing) = ("TrentService.CreateKey", json!({}));
        let made = cloud.world().call(&caller, "kms", create, &nothing).await;
        let key = made.unwrap()["KeyMetadata"]["Arn"].clone();
        let config = deployment::sdk_config(cloud, region, &cloud.root_key(LENDER));
        let mut lender = Self {
            rds: aws_sdk_rds::Client::new(&config),
            key: key.as_str().unwrap().to_owned(),
            snapshot: String::new(),
            caller,
        };
        let borrower = scene.local.stack.account.as_str();
        lender.let_use_key(scene, &[borrower]).await;
        lender.make_cluster(scene).await;
        let taken = lender.rds.create_db_cluster_snapshot();
        let taken = taken.db_cluster_identifier(LENT);
        let taken = taken.db_cluster_snapshot_identifier(LENT_SNAPSHOT);
        taken.send().await.unwrap();
        scene
            .until_available("cluster-snapshot", LENT_SNAPSHOT)
            .await;
        lender.snapshot = scene.view("cluster-snapshot", LENT_SNAPSHOT).arn;
        lender.share(Some(borrower), None).await;
        lender
    }

    async fn make_cluster(&self, scene: &Scene) {
        let cluster = self.rds.create_db_cluster().db_cluster_identifier(LENT);
        let cluster = cluster.engine("aurora-postgresql").database_name(DATABASE);
        let cluster = cluster.master_username(MASTER);
        let cluster = cluster.master_user_password(&scene.old_password);
        let cluster = cluster.storage_encrypted(true).kms_key_id(&self.key);
        cluster.send().await.unwrap();
        scene.until_available("cluster", LENT).await;
        if !scene.real {
            return;
        }
        let member = format!("{LENT}-1");
        let instance = self.rds.create_db_instance().db_cluster_identifier(LENT);
        let instance = instance.db_instance_identifier(&member);
        let instance = instance.engine("aurora-postgresql");
        let made = instance.db_instance_class("db.r6g.large").send().await;
        made.unwrap();
        scene.until_available("db", &member).await;
        scene.load(&scene.endpoint_of(&self.cluster().await)).await;
    }

    async fn cluster(&self) -> DbCluster {
        let found = self.rds.describe_db_clusters().db_cluster_identifier(LENT);
        found.send().await.unwrap().db_clusters()[0].clone()
    }

    /// Shares the snapshot with an account, and no longer with another.
    pub async fn share(&self, with: Option<&str>, no_longer_with: Option<&str>) {
        let call = self.rds.modify_db_cluster_snapshot_attribute();
        let call = call.db_cluster_snapshot_identifier(LENT_SNAPSHOT);
        let call = call.attribute_name("restore");
        let call = call.set_values_to_add(with.map(|account| vec![account.to_owned()]));
        let gone = no_longer_with.map(|account| vec![account.to_owned()]);
        call.set_values_to_remove(gone).send().await.unwrap();
    }

    /// Lets these accounts use the key besides the lender, and no others.
    pub async fn let_use_key(&self, scene: &Scene, accounts: &[&str]) {
        let roots: Vec<String> = [LENDER].iter().chain(accounts).map(|id| root(id)).collect();
        let statement = json!({
            "Effect": "Allow", "Principal": {"AWS": roots}, "Action": "kms:*", "Resource": "*",
        });
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let body = json!({"KeyId": self.key, "PolicyName": "default", "Policy": policy});
        let world = scene.local.cloud.world();
        let put = world.call(&self.caller, "kms", "TrentService.PutKeyPolicy", &body);
        put.await.unwrap();
    }

    /// A request's source.
    #[must_use]
    pub fn source(&self) -> Value {
        json!({
            "clusterIdentifier": LENT, "snapshot": self.snapshot, "region": self.caller.region,
        })
    }
}

fn root(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}
