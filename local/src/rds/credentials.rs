//! Master passwords: given by the caller, or kept in a secret that RDS manages.

use serde_json::json;

use super::catalog::DbEngine;
use super::errors::{invalid_combination, invalid_value};
use super::form::Form;
use super::lifecycle::Flow;
use super::xml::Xml;
use super::{Inner, errors};
use crate::database::{Credentials, Password};
use crate::request::{ApiError, Caller};

/// A secret that RDS made and rotates.
#[derive(Clone, Debug)]
pub(super) struct ManagedSecret {
    pub(super) arn: String,
    status: &'static str,
    key: Option<String>,
}

impl ManagedSecret {
    /// What was being done to it is done.
    pub(super) fn settle(&mut self) {
        self.status = "active";
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        xml.text("SecretArn", &self.arn)
            .text("SecretStatus", self.status)
            .some("KmsKeyId", self.key.as_deref());
    }
}

/// Names no master user may have.
const RESERVED: [&str; 6] = [
    "rdsadmin",
    "rds_superuser",
    "postgres",
    "admin",
    "public",
    "rdsproxyadmin",
];

pub(super) fn check_username(engine: DbEngine, name: &str) -> Result<(), ApiError> {
    let longest = match engine {
        DbEngine::Postgresql => 63,
        DbEngine::Mysql => 32,
    };
    let legal = (1..=longest).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    // What most people call theirs, and Aurora lets them.
    let usual = match engine {
        DbEngine::Postgresql => "postgres",
        DbEngine::Mysql => "admin",
    };
    let reserved = RESERVED.contains(&name.to_lowercase().as_str()) && name != usual;
    if legal && !reserved {
        return Ok(());
    }
    Err(invalid_value(format!(
        "MasterUsername {name} cannot be used as it is a reserved word or not a valid name"
    )))
}

/// A password within the engine's rules.
pub(super) fn checked(engine: DbEngine, password: &str) -> Result<Password, ApiError> {
    let length = password.chars().count();
    if length < 8 || length > engine.longest_password() {
        return Err(invalid_value(format!(
            "The parameter MasterUserPassword is not a valid password because it is {} than {} characters.",
            if length < 8 { "shorter" } else { "longer" },
            if length < 8 {
                8
            } else {
                engine.longest_password()
            }
        )));
    }
    if !password
        .chars()
        .all(|character| character.is_ascii_graphic() && !"/@\"".contains(character))
    {
        return Err(invalid_value(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' \
             may be used.",
        ));
    }
    Ok(Password::new(password))
}

/// Whether a request wants the password managed; it may not give one as well.
pub(super) fn asks_for_managed(form: &Form) -> Result<bool, ApiError> {
    let managed = form.flag("ManageMasterUserPassword")?.unwrap_or(false);
    if managed && form.text("MasterUserPassword").is_some() {
        return Err(invalid_combination(
            "You can't specify MasterUserPassword when ManageMasterUserPassword is enabled.",
        ));
    }
    if !managed && form.text("MasterUserSecretKmsKeyId").is_some() {
        return Err(invalid_combination(
            "You can specify MasterUserSecretKmsKeyId only when ManageMasterUserPassword is enabled.",
        ));
    }
    Ok(managed)
}

/// Makes the secret of a cluster, holding these credentials; its status is `creating`.
pub(super) async fn manage(
    rds: &Inner,
    caller: &Caller,
    resource_id: &str,
    master: &Credentials,
    form: &Form,
) -> Result<(), ApiError> {
    let key = match form.text("MasterUserSecretKmsKeyId") {
        Some(key) => Some(rds.usable_key(caller, "specified", key).await?.arn),
        None => None,
    };
    let (name, cluster_arn) = rds.edit(|book| {
        let name = format!("rds!cluster-{}", book.new_uuid());
        book.clusters
            .get(resource_id)
            .map(|cluster| (name, cluster.arn()))
            .ok_or_else(|| errors::cluster_not_found(resource_id))
    })?;
    let mut request = json!({
        "Name": name,
        "Description": format!("The secret associated with the primary RDS DB cluster: {cluster_arn}"),
        "SecretString": secret_text(master),
        "Tags": [
            { "Key": "aws:rds:primaryDBClusterArn", "Value": cluster_arn },
            { "Key": "aws:secretsmanager:owningService", "Value": "rds" },
        ],
    });
    if let Some(key) = &key {
        request["KmsKeyId"] = json!(key);
    }
    let world = rds
        .world
        .upgrade()
        .ok_or_else(|| ApiError::new(500, "InternalFailure", "the world is gone"))?;
    let made = world
        .call(
            caller,
            "secretsmanager",
            "secretsmanager.CreateSecret",
            &request,
        )
        .await?;
    let arn = made["ARN"].as_str().unwrap_or_default().to_owned();
    rds.edit(|book| {
        if let Some(cluster) = book.clusters.get_mut(resource_id) {
            cluster.secret = Some(ManagedSecret {
                arn,
                status: "creating",
                key,
            });
        }
    });
    Ok(())
}

/// Puts a new password into a cluster's secret; its status is `rotating`.
pub(super) async fn rotate(
    rds: &Inner,
    caller: &Caller,
    resource_id: &str,
    master: &Credentials,
) -> Result<(), ApiError> {
    let arn = rds
        .edit(|book| {
            let secret = book.clusters.get_mut(resource_id)?.secret.as_mut()?;
            secret.status = "rotating";
            Some(secret.arn.clone())
        })
        .ok_or_else(|| {
            invalid_combination("RotateMasterUserPassword needs a password that RDS manages")
        })?;
    let world = rds
        .world
        .upgrade()
        .ok_or_else(|| ApiError::new(500, "InternalFailure", "the world is gone"))?;
    let request = json!({ "SecretId": arn, "SecretString": secret_text(master) });
    world
        .call(
            caller,
            "secretsmanager",
            "secretsmanager.PutSecretValue",
            &request,
        )
        .await
        .map(drop)
}

/// Removes a managed secret. That it is gone already, or cannot be removed, keeps nothing waiting.
pub(super) async fn remove_secret(flow: &Flow, caller: &Caller, arn: &str) {
    let Some(world) = flow.with(|rds| rds.world.upgrade()) else {
        return;
    };
    let request = json!({ "SecretId": arn, "ForceDeleteWithoutRecovery": true });
    if let Err(error) = world
        .call(
            caller,
            "secretsmanager",
            "secretsmanager.DeleteSecret",
            &request,
        )
        .await
    {
        tracing::warn!(%error, "a managed secret was not removed");
    }
}

/// A managed secret holds these two and nothing else: no host, no port.
fn secret_text(master: &Credentials) -> String {
    json!({ "username": master.username, "password": master.password.reveal() }).to_string()
}
