//! What may point to a cluster: a parameter, a secret, a record of DNS.

use aurora_restore::deployment::Pointers;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use local_cloud::route53::zone_id;
use serde_json::{Value, json};

use crate::{DATABASE, Scene, Serving};

/// The parameter.
pub const PARAMETER: &str = "/orders/endpoint";
/// The secret with which clients connect.
pub const CONNECTION: &str = "orders/connection";
/// The zone of the record.
pub const ZONE: &str = "db.example.com";
/// The record.
pub const RECORD: &str = "orders.db.example.com";

/// What a pipeline is deployed with that may move them.
#[must_use]
pub fn deployed() -> Pointers {
    Pointers {
        parameters: "/orders/*".to_owned(),
        secrets: "orders/*".to_owned(),
        hosted_zone: zone_id(ZONE),
    }
}

/// Where the three of them point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointing {
    /// The parameter's value.
    pub parameter: Value,
    /// The secret's.
    pub connection: Value,
    /// The record's.
    pub record: String,
}

impl Scene {
    /// Makes the three of them.
    pub async fn make_pointers(&self, pointing: &Pointing) {
        self.put_parameter(&pointing.parameter).await;
        let secrets = aws_sdk_secretsmanager::Client::new(&self.local.config);
        let key = self.key_in(&self.local.stack.region).await;
        let made = secrets.create_secret().name(CONNECTION).kms_key_id(key);
        let made = made.secret_string(pointing.connection.to_string());
        made.send().await.unwrap();
        let dns = aws_sdk_route53::Client::new(&self.local.config);
        let made = dns.create_hosted_zone().name(ZONE).caller_reference("1");
        made.send().await.unwrap();
        self.put_record(ChangeAction::Create, &pointing.record)
            .await;
    }

    /// Changes the record.
    pub async fn put_record(&self, action: ChangeAction, leads_to: &str) {
        let value = ResourceRecord::builder().value(leads_to).build();
        let set = ResourceRecordSet::builder().name(RECORD);
        let set = set.r#type(RrType::Cname).ttl(300);
        let set = set.resource_records(value.unwrap()).build().unwrap();
        let change = Change::builder().action(action);
        let change = change.resource_record_set(set).build().unwrap();
        let batch = ChangeBatch::builder().changes(change).build().unwrap();
        let dns = aws_sdk_route53::Client::new(&self.local.config);
        let changed = dns
            .change_resource_record_sets()
            .hosted_zone_id(zone_id(ZONE));
        changed.change_batch(batch).send().await.unwrap();
    }

    /// Puts a cluster into service, and the three of them that point to it. What exists then is what existed before
    /// the first restore.
    pub async fn serve_with_pointers(&mut self, name: &str) -> (Serving, Pointing) {
        let serving = self.serve(name).await;
        let (arn, host) = (self.view("cluster", name).arn, &serving.endpoint.host);
        let pointing = Pointing {
            parameter: json!({"clusterArn": arn, "endpoint": host, "team": "orders"}),
            connection: json!({
                "host": host, "dbname": DATABASE, "username": "x", "password": "canary-old-connection",
            }),
            record: "old.example.com".to_owned(),
        };
        self.make_pointers(&pointing).await;
        self.begin();
        (serving, pointing)
    }

    /// Puts the parameter's value.
    pub async fn put_parameter(&self, value: &Value) {
        let ssm = aws_sdk_ssm::Client::new(&self.local.config);
        let put = ssm.put_parameter().name(PARAMETER).overwrite(true);
        let put = put.r#type(aws_sdk_ssm::types::ParameterType::String);
        put.value(value.to_string()).send().await.unwrap();
    }

    /// Where the three of them point now.
    pub async fn pointing(&self) -> Pointing {
        let ssm = aws_sdk_ssm::Client::new(&self.local.config);
        let found = ssm.get_parameter().name(PARAMETER).send().await.unwrap();
        let found = found.parameter.unwrap();
        let parameter = serde_json::from_str(found.value().unwrap()).unwrap();
        let secrets = aws_sdk_secretsmanager::Client::new(&self.local.config);
        let found = secrets.get_secret_value().secret_id(CONNECTION).send();
        let found = found.await.unwrap();
        let connection = serde_json::from_str(found.secret_string().unwrap()).unwrap();
        let dns = aws_sdk_route53::Client::new(&self.local.config);
        let listed = dns
            .list_resource_record_sets()
            .hosted_zone_id(zone_id(ZONE));
        let listed = listed.send().await.unwrap();
        let record = &listed.resource_record_sets()[0].resource_records()[0];
        Pointing {
            parameter,
            connection,
            record: record.value().to_owned(),
        }
    }

    /// A request that moves the three of them to the target; what they pointed to is kept for a day.
    pub fn request_to_point(&self) -> Value {
        self.request_with(json!({
            "credentials": {"master": "secret"},
            "switch": {
                "mode": "pointer",
                "parameter": PARAMETER,
                "secretName": CONNECTION,
                "record": {"hostedZoneId": zone_id(ZONE), "name": RECORD},
                "retire": {"keepHours": 24},
            },
        }))
    }
}
