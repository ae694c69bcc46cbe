//! Passwords, and how they are kept from everywhere else.
//!
//! A [`Secret`] has no `Serialize`, no `Debug` and no `Display`; it is wiped when
//! dropped. It is read from Secrets Manager, handed to the database, and goes
//! nowhere else.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::errors::{AR0021, AR0050, StepError, wire_code};
use crate::ownership::RESTORE_ID_TAG;
use crate::rds::Found;

/// A password.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a password in.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The password itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A user name and its password, as a database secret holds them.
#[derive(Clone)]
pub struct Credentials {
    /// The role to log in as.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// The fields of a database secret that matter here. RDS-managed secrets hold only these two.
#[derive(Deserialize)]
struct DatabaseSecret {
    username: Option<String>,
    password: String,
}

/// Which version of a secret to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `AWSCURRENT`.
    Current,
    /// `AWSPENDING`: written, not yet proved.
    Pending,
    /// `AWSPREVIOUS`: what `AWSCURRENT` was before the last rotation.
    Previous,
}

impl Stage {
    /// The staging label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// Every secret that carries the tag of a restore. Those marked for deletion are not among them.
///
/// # Errors
/// What Secrets Manager refuses.
pub async fn find_made(client: &Client) -> Result<Vec<Found>, StepError> {
    let by_tag = Filter::builder()
        .key(FilterNameStringType::TagKey)
        .values(RESTORE_ID_TAG)
        .build();
    let mut pages = client
        .list_secrets()
        .filters(by_tag)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| StepError::from_sdk("list secrets", error))?;
        for secret in page.secret_list() {
            let mut tags = secret.tags().iter();
            let tag = tags.find(|tag| tag.key() == Some(RESTORE_ID_TAG));
            if let (Some(restore_id), Some(name)) = (tag.and_then(|tag| tag.value()), secret.name())
            {
                found.push(Found::secret(name, restore_id));
            }
        }
    }
    Ok(found)
}

/// The ARN of a secret that is named by its ARN or its name.
///
/// # Errors
/// What Secrets Manager refuses.
pub async fn arn_of(client: &Client, secret_id: &str) -> Result<String, StepError> {
    if crate::rds::is_arn(secret_id) {
        return Ok(secret_id.to_owned());
    }
    let described = client.describe_secret().secret_id(secret_id).send().await;
    let described = described
        .map_err(|error| StepError::from_sdk(format!("describe secret `{secret_id}`"), error))?;
    Ok(described.arn.unwrap_or_else(|| secret_id.to_owned()))
}

/// Every field of a secret's current version, without its password.
///
/// # Errors
/// What Secrets Manager refuses; AR0050 when the value is not a JSON object.
pub async fn read_fields(
    client: &Client,
    secret_id: &str,
) -> Result<serde_json::Map<String, serde_json::Value>, StepError> {
    let answer = client.get_secret_value().secret_id(secret_id).send().await;
    let answer =
        answer.map_err(|error| StepError::from_sdk(format!("read secret `{secret_id}`"), error))?;
    let value = answer.secret_string.map(Secret::new);
    // The parse error is left out on purpose: it could quote the value.
    let parsed = value.and_then(|value| serde_json::from_str(value.expose()).ok());
    let Some(serde_json::Value::Object(mut fields)) = parsed else {
        let text = format!("secret `{secret_id}` is not a JSON object");
        return Err(StepError::new(&AR0050, text));
    };
    if let Some(serde_json::Value::String(password)) = fields.remove("password") {
        drop(Secret::new(password)); // wiped
    }
    Ok(fields)
}

/// Reads a database secret; `None` when the secret or that version of it does not exist.
///
/// `username` is used where the secret names none.
///
/// # Errors
/// What Secrets Manager refuses; AR0021 when the value is not a database secret.
pub async fn read(
    client: &Client,
    secret_id: &str,
    stage: Stage,
    username: &str,
) -> Result<Option<Credentials>, StepError> {
    let answer = client
        .get_secret_value()
        .secret_id(secret_id)
        .version_stage(stage.label())
        .send()
        .await;
    let value = match answer {
        Ok(value) => value.secret_string.map(Secret::new),
        Err(error) if wire_code(&error) == Some("ResourceNotFoundException") => return Ok(None),
        Err(error) => {
            return Err(StepError::from_sdk(
                format!("read secret `{secret_id}`"),
                error,
            ));
        }
    };
    // The parse error is left out on purpose: it could quote the value.
    let parsed =
        value.and_then(|value| serde_json::from_str::<DatabaseSecret>(value.expose()).ok());
    let Some(secret) = parsed else {
        return Err(StepError::new(
            &AR0021,
            format!("secret `{secret_id}` is not JSON with the keys `username` and `password`"),
        ));
    };
    Ok(Some(Credentials {
        username: secret.username.unwrap_or_else(|| username.to_owned()),
        password: Secret::new(secret.password),
    }))
}
