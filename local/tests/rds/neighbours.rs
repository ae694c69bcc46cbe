//! As much of KMS, Secrets Manager and the event bus as RDS calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use local_cloud::events::Event;
use local_cloud::request::json_response;
use local_cloud::world::EventSink;
use local_cloud::{ApiError, Request, Response, Service};
use serde_json::{Value, json};

use crate::cloud::Cloud;

/// Keys and who may use them.
#[derive(Default)]
pub(crate) struct Kms {
    keys: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Kms {
    /// A KMS in this world, with the default key of RDS in every account and region.
    pub(crate) fn in_world(cloud: &Cloud) -> Arc<Self> {
        let kms = Arc::new(Self::default());
        cloud
            .world
            .register("kms", Arc::clone(&kms) as Arc<dyn Service>);
        kms
    }

    /// Lets these accounts, and only these, use a key.
    pub(crate) fn allow(&self, key: &str, accounts: &[&str]) {
        self.keys.lock().unwrap().insert(
            key.to_owned(),
            accounts
                .iter()
                .map(|account| (*account).to_owned())
                .collect(),
        );
    }
}

#[async_trait]
impl Service for Kms {
    async fn handle(&self, request: Request) -> Response {
        let (caller, key) = (
            &request.caller,
            request.json_body().unwrap()["KeyId"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        if key.ends_with("alias/aws/rds") || key.contains(":key/aws-rds-") {
            let arn = format!(
                "arn:aws:kms:{}:{}:key/aws-rds-{}",
                caller.region, caller.account, caller.account
            );
            let own = !key.starts_with("arn:") || key == arn;
            return answer(
                own.then(|| json!({ "Arn": arn, "KeyState": "Enabled", "KeyManager": "AWS" })),
            );
        }
        let allowed = self
            .keys
            .lock()
            .unwrap()
            .get(&key)
            .is_some_and(|accounts| accounts.contains(&caller.account));
        answer(
            allowed.then(|| json!({ "Arn": key, "KeyState": "Enabled", "KeyManager": "CUSTOMER" })),
        )
    }
}

fn answer(metadata: Option<Value>) -> Response {
    match metadata {
        Some(metadata) => json_response(200, &json!({ "KeyMetadata": metadata })),
        None => ApiError::new(400, "NotFoundException", "no such key").to_json_response(),
    }
}

/// Secrets by ARN: what was asked for when they were made, and what they hold now.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) made: Mutex<Vec<Value>>,
    pub(crate) held: Mutex<BTreeMap<String, Value>>,
}

impl Secrets {
    pub(crate) fn in_world(cloud: &Cloud) -> Arc<Self> {
        let secrets = Arc::new(Self::default());
        cloud
            .world
            .register("secretsmanager", Arc::clone(&secrets) as Arc<dyn Service>);
        secrets
    }

    /// The password in the secret with this ARN.
    pub(crate) fn password(&self, arn: &str) -> String {
        self.held.lock().unwrap()[arn]["password"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[async_trait]
impl Service for Secrets {
    async fn handle(&self, request: Request) -> Response {
        let body = request.json_body().unwrap();
        let held =
            || serde_json::from_str::<Value>(body["SecretString"].as_str().unwrap()).unwrap();
        let arn = match request.json_operation().unwrap() {
            "CreateSecret" => {
                let name = body["Name"].as_str().unwrap();
                let arn = format!(
                    "arn:aws:secretsmanager:{}:{}:secret:{name}-AbCdEf",
                    request.caller.region, request.caller.account
                );
                self.made.lock().unwrap().push(body.clone());
                self.held.lock().unwrap().insert(arn.clone(), held());
                arn
            }
            "PutSecretValue" => {
                let arn = body["SecretId"].as_str().unwrap().to_owned();
                self.held.lock().unwrap().insert(arn.clone(), held());
                arn
            }
            "DeleteSecret" => {
                let arn = body["SecretId"].as_str().unwrap().to_owned();
                self.held.lock().unwrap().remove(&arn);
                arn
            }
            other => panic!("RDS has no business with {other}"),
        };
        json_response(200, &json!({ "ARN": arn }))
    }
}

/// Every event that reached the bus.
#[derive(Default)]
pub(crate) struct Bus(Mutex<Vec<Event>>);

impl Bus {
    pub(crate) fn in_world(cloud: &Cloud) -> Arc<Self> {
        let bus = Arc::new(Self::default());
        cloud
            .world
            .set_event_bus(Arc::clone(&bus) as Arc<dyn EventSink>);
        bus
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Event number and the resource's name, in order.
    pub(crate) fn heard(&self) -> Vec<(String, String)> {
        let text = |event: &Event, name: &str| event.detail[name].as_str().unwrap().to_owned();
        self.events()
            .iter()
            .map(|event| {
                (
                    text(event, "EventID").replace("RDS-EVENT-", ""),
                    text(event, "SourceIdentifier"),
                )
            })
            .collect()
    }
}

impl EventSink for Bus {
    fn publish(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}
