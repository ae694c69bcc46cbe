//! Secrets Manager: secrets, versions, staging labels, deletion with a window.
//!
//! No rotation, replication or resource policies. A secret that RDS manages
//! (`rds!...`) is made and changed by RDS alone, as on AWS.

mod password;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::fields::{Fields, epoch_seconds, page};
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response, json_response};
use crate::world::{Known, Service, World};
use secret::{Content, Secret};

/// The most bytes a value may have.
const CONTENT_BYTES_MAX: usize = 65_536;

/// How long a deleted secret can be restored when nothing else is said.
const RECOVERY_DAYS_DEFAULT: i64 = 30;

/// `ClientRequestToken` and version ids.
const TOKEN_CHARACTERS: std::ops::RangeInclusive<usize> = 32..=64;

/// The secrets of every account and region.
pub struct SecretsManager {
    world: Weak<World>,
    secrets: Regional<BTreeMap<String, Secret>>,
}

impl SecretsManager {
    /// No secrets yet.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self {
            world,
            secrets: Regional::default(),
        }
    }

    /// The names of all secrets that are not deleted, in the order of account and region.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.secrets.for_each(|_, _, secrets| {
            names.extend(
                secrets
                    .values()
                    .filter(|secret| secret.deletion.is_none())
                    .map(|secret| secret.name.clone()),
            );
        });
        names
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let body = request.json_body()?;
        let ask = Ask {
            world: self.world.upgrade().ok_or_else(|| {
                ApiError::new(500, "InternalServiceError", "the world has stopped")
            })?,
            caller: &request.caller,
            by_service: request.is_from_service(),
            fields: Fields::new(&body),
        };
        self.purge(&ask);
        match request.json_operation().unwrap_or_default() {
            "CreateSecret" => self.create_secret(&ask),
            "PutSecretValue" => self.put_secret_value(&ask),
            "UpdateSecret" => self.update_secret(&ask),
            "GetSecretValue" => self.get_secret_value(&ask),
            "DescribeSecret" => self.with_secret(&ask, |secret| Ok(described(secret))),
            "ListSecrets" => self.list_secrets(&ask),
            "ListSecretVersionIds" => self.list_versions(&ask),
            "UpdateSecretVersionStage" => self.update_version_stage(&ask),
            "DeleteSecret" => self.delete_secret(&ask),
            "RestoreSecret" => self.restore_secret(&ask),
            "TagResource" => self.tag_resource(&ask),
            "UntagResource" => self.untag_resource(&ask),
            "GetRandomPassword" => {
                let password = password::random_password(ask.fields, ask.world.randomness())?;
                Ok(json!({ "RandomPassword": password }))
            }
            other => Err(ApiError::unknown_operation("Secrets Manager", other)),
        }
    }

    fn create_secret(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let name = ask.fields.required("Name")?;
        ask.check_name(name)?;
        let (content, version_id) = (content(ask.fields)?, ask.version_id()?);
        let now = ask.world.now();
        let arn = format!(
            "arn:aws:secretsmanager:{}:{}:secret:{name}-{}",
            ask.caller.region,
            ask.caller.account,
            ask.world.randomness().alphanumeric(6)
        );
        let mut made = Secret {
            name: name.to_owned(),
            arn,
            description: ask.fields.text("Description")?.map(str::to_owned),
            kms_key: ask.fields.text("KmsKeyId")?.map(str::to_owned),
            owner: name.split_once('!').map(|(owner, _)| owner.to_owned()),
            tags: ask.tags()?,
            versions: BTreeMap::new(),
            created: now,
            changed: now,
            deletion: None,
        };
        let has_content = content.is_some();
        if let Some(content) = content.clone() {
            made.put(&version_id, content, None, now)?;
        }
        self.secrets.with(ask.caller, |secrets| {
            match secrets.get(name) {
                None => {}
                Some(existing) if existing.deletion.is_some() => {
                    return Err(invalid_request(
                        "You can't create this secret because a secret with this name is already scheduled for deletion.",
                    ));
                }
                // The same request again, because its answer was lost.
                Some(existing) if is_repeated(existing, &version_id, content.as_ref()) => {
                    return Ok(named(existing, has_content.then_some(version_id.as_str())));
                }
                Some(_) => {
                    let text = format!("The operation failed because the secret {name} already exists.");
                    return Err(ApiError::new(400, "ResourceExistsException", text));
                }
            }
            let answer = named(&made, has_content.then_some(version_id.as_str()));
            secrets.insert(name.to_owned(), made);
            Ok(answer)
        })
    }

    fn put_secret_value(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let content = content(ask.fields)?.ok_or_else(|| {
            invalid_request("You must provide either SecretString or SecretBinary.")
        })?;
        let labels: Option<BTreeSet<String>> = match ask.fields.value("VersionStages") {
            Some(_) => Some(ask.fields.texts("VersionStages")?.into_iter().collect()),
            None => None,
        };
        let version_id = ask.version_id()?;
        self.with_changeable(ask, |secret| {
            secret.put(&version_id, content, labels, ask.world.now())?;
            let mut answer = named(secret, Some(&version_id));
            answer["VersionStages"] = json!(secret.version(&version_id)?.labels);
            Ok(answer)
        })
    }

    fn update_secret(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let (content, version_id) = (content(ask.fields)?, ask.version_id()?);
        let (description, kms_key) = (
            ask.fields.text("Description")?,
            ask.fields.text("KmsKeyId")?,
        );
        self.with_changeable(ask, |secret| {
            let now = ask.world.now();
            let has_content = content.is_some();
            if let Some(content) = content {
                secret.put(&version_id, content, None, now)?;
            }
            if let Some(description) = description {
                secret.description = Some(description.to_owned());
            }
            if let Some(kms_key) = kms_key {
                secret.kms_key = Some(kms_key.to_owned());
            }
            secret.changed = now;
            Ok(named(secret, has_content.then_some(version_id.as_str())))
        })
    }

    fn get_secret_value(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let (version_id, label) = (
            ask.fields.text("VersionId")?,
            ask.fields.text("VersionStage")?,
        );
        self.with_living(ask, |secret| {
            let version_id = secret.chosen(version_id, label)?;
            let mut answer = named(secret, Some(&version_id));
            if let Some(version) = secret.versions.get_mut(&version_id) {
                version.accessed = Some(ask.world.now());
                answer["VersionStages"] = json!(version.labels);
                answer["CreatedDate"] = epoch_seconds(version.created).into();
                match &version.content {
                    Content::Text(text) => answer["SecretString"] = text.as_str().into(),
                    Content::Binary(base64) => answer["SecretBinary"] = base64.as_str().into(),
                }
            }
            Ok(answer)
        })
    }

    fn list_secrets(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let with_deleted = ask.fields.flag("IncludePlannedDeletion")?;
        let filters = filters(ask.fields)?;
        let secrets: Vec<Value> = self.secrets.with(ask.caller, |secrets| {
            let listed = secrets
                .values()
                .filter(|secret| with_deleted || secret.deletion.is_none());
            let chosen = listed.filter(|secret| filters.iter().all(|filter| filter.fits(secret)));
            chosen
                .map(|secret| {
                    let mut entry = described(secret);
                    if let Some(entry) = entry.as_object_mut() {
                        let stages = entry.remove("VersionIdsToStages").unwrap_or_default();
                        entry.insert("SecretVersionsToStages".to_owned(), stages);
                    }
                    entry
                })
                .collect()
        });
        ask.paged("SecretList", &secrets)
    }

    fn list_versions(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let with_deprecated = ask.fields.flag("IncludeDeprecated")?;
        let (named, versions) = self.with_secret(ask, |secret| {
            let listed = secret
                .versions
                .iter()
                .filter(|(_, version)| with_deprecated || !version.labels.is_empty());
            let entry = |(id, version): (&String, &secret::Version)| {
                let mut entry =
                    json!({ "VersionId": id, "CreatedDate": epoch_seconds(version.created) });
                if !version.labels.is_empty() {
                    entry["VersionStages"] = json!(version.labels);
                }
                if let Some(accessed) = version.accessed {
                    entry["LastAccessedDate"] = day(accessed).into();
                }
                entry
            };
            Ok((named(secret, None), listed.map(entry).collect::<Vec<_>>()))
        })?;
        let mut answer = ask.paged("Versions", &versions)?;
        for member in ["ARN", "Name"] {
            answer[member] = named[member].clone();
        }
        Ok(answer)
    }

    fn update_version_stage(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let label = ask.fields.required("VersionStage")?;
        let (from, to) = (
            ask.fields.text("RemoveFromVersionId")?,
            ask.fields.text("MoveToVersionId")?,
        );
        self.with_changeable(ask, |secret| {
            secret.restage(label, from, to, ask.world.now())?;
            Ok(named(secret, None))
        })
    }

    fn delete_secret(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let days = ask.fields.integer("RecoveryWindowInDays")?;
        let at_once = ask.fields.flag("ForceDeleteWithoutRecovery")?;
        if at_once && days.is_some() {
            return Err(invalid_parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let days = days.unwrap_or(RECOVERY_DAYS_DEFAULT);
        if !(7..=30).contains(&days) {
            return Err(invalid_parameter(
                "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
            ));
        }
        let now = ask.world.now();
        let secret_id = ask.fields.required("SecretId")?;
        self.secrets.with(ask.caller, |secrets| {
            let name = match found(secrets, ask.caller, secret_id) {
                Ok(name) => name,
                // Removing at once what is not there is no error, so that clean-up can be repeated.
                Err(error) if at_once && error.code == "ResourceNotFoundException" => {
                    return Ok(json!({ "ARN": secret_id, "Name": secret_id, "DeletionDate": epoch_seconds(now) }));
                }
                Err(error) => return Err(error),
            };
            let secret = secrets.get_mut(&name).ok_or_else(missing_secret)?;
            ask.check_owner(secret)?;
            let mut answer = named(secret, None);
            if at_once {
                secrets.remove(&name);
                answer["DeletionDate"] = epoch_seconds(now).into();
                return Ok(answer);
            }
            if secret.deletion.is_some() {
                return Err(marked_deleted());
            }
            answer["DeletionDate"] = epoch_seconds(secret.schedule_deletion(days, now)).into();
            Ok(answer)
        })
    }

    fn restore_secret(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        self.with_secret(ask, |secret| {
            secret.deletion = None;
            Ok(named(secret, None))
        })
    }

    fn tag_resource(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let tags = ask.tags()?;
        self.with_living(ask, |secret| {
            secret.tags.extend(tags);
            Ok(json!({}))
        })
    }

    fn untag_resource(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let keys = ask.fields.texts("TagKeys")?;
        self.with_living(ask, |secret| {
            secret.tags.retain(|key, _| !keys.contains(key));
            Ok(json!({}))
        })
    }

    /// A secret in whatever state.
    fn with_secret<R>(
        &self,
        ask: &Ask<'_>,
        act: impl FnOnce(&mut Secret) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let secret_id = ask.fields.required("SecretId")?;
        self.secrets.with(ask.caller, |secrets| {
            let name = found(secrets, ask.caller, secret_id)?;
            act(secrets.get_mut(&name).ok_or_else(missing_secret)?)
        })
    }

    /// A secret that is not marked for deletion.
    fn with_living<R>(
        &self,
        ask: &Ask<'_>,
        act: impl FnOnce(&mut Secret) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        self.with_secret(ask, |secret| {
            if secret.deletion.is_some() {
                Err(marked_deleted())
            } else {
                act(secret)
            }
        })
    }

    /// A living secret whose value the caller may change.
    fn with_changeable<R>(
        &self,
        ask: &Ask<'_>,
        act: impl FnOnce(&mut Secret) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        self.with_living(ask, |secret| {
            ask.check_owner(secret)?;
            act(secret)
        })
    }

    /// Removes what has come to the end of its recovery window.
    fn purge(&self, ask: &Ask<'_>) {
        let now = ask.world.now();
        self.secrets.with(ask.caller, |secrets| {
            secrets.retain(|_, secret| secret.deletion.is_none_or(|deletion| deletion.due > now));
        });
    }
}

#[async_trait]
impl Service for SecretsManager {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error.to_json_response(),
        }
    }

    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        self.secrets.with(caller, |secrets| {
            let secret = secrets.get(&found(secrets, caller, name).ok()?)?;
            Some(Known {
                arn: secret.arn.clone(),
                tags: secret.tags.clone(),
                key: secret.kms_key.clone(),
                ..Known::default()
            })
        })
    }
}

/// One request.
struct Ask<'a> {
    world: Arc<World>,
    caller: &'a Caller,
    by_service: bool,
    fields: Fields<'a>,
}

impl Ask<'_> {
    fn check_name(&self, name: &str) -> Result<(), ApiError> {
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "-/_+=.@!".contains(character);
        if name.len() > 512 || !name.chars().all(allowed) {
            return Err(invalid_parameter(
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
            ));
        }
        if name.contains('!') && !self.by_service {
            return Err(invalid_parameter(
                "A name with an exclamation mark is reserved for secrets that services manage.",
            ));
        }
        Ok(())
    }

    /// A managed secret is changed by the service that manages it.
    fn check_owner(&self, secret: &Secret) -> Result<(), ApiError> {
        match &secret.owner {
            Some(owner) if !self.by_service => Err(invalid_request(&format!(
                "You can't modify this secret because it is managed by {owner}."
            ))),
            _ => Ok(()),
        }
    }

    fn version_id(&self) -> Result<String, ApiError> {
        match self.fields.text("ClientRequestToken")? {
            Some(token) if TOKEN_CHARACTERS.contains(&token.chars().count()) => {
                Ok(token.to_owned())
            }
            Some(_) => Err(invalid_parameter(
                "ClientRequestToken must be 32 to 64 characters long.",
            )),
            None => Ok(self.world.randomness().uuid()),
        }
    }

    fn tags(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let tags = self.fields.tags("Tags", "Key", "Value")?;
        if !self.by_service && tags.keys().any(|key| key.starts_with("aws:")) {
            return Err(invalid_parameter(
                "Tag keys beginning with aws: are reserved.",
            ));
        }
        Ok(tags)
    }

    fn paged(&self, name: &str, items: &[Value]) -> Result<Value, ApiError> {
        let size = self
            .fields
            .integer("MaxResults")?
            .unwrap_or(100)
            .clamp(1, 100);
        let (items, next) = page(
            items,
            self.fields.text("NextToken")?,
            usize::try_from(size).unwrap_or(100),
        )
        .ok_or_else(|| {
            ApiError::new(
                400,
                "InvalidNextTokenException",
                "The NextToken value is invalid.",
            )
        })?;
        let mut answer = json!({ name: items });
        if let Some(next) = next {
            answer["NextToken"] = next.into();
        }
        Ok(answer)
    }
}

/// Whether a creation brings what an earlier one brought.
fn is_repeated(existing: &Secret, version_id: &str, content: Option<&Content>) -> bool {
    content.is_some_and(|content| {
        existing
            .versions
            .get(version_id)
            .is_some_and(|version| version.content == *content)
    })
}

fn content(fields: Fields<'_>) -> Result<Option<Content>, ApiError> {
    let content = match (fields.text("SecretString")?, fields.text("SecretBinary")?) {
        (Some(_), Some(_)) => {
            return Err(invalid_parameter(
                "You can't specify both a binary secret value and a string secret value in the same secret.",
            ));
        }
        (Some(text), None) => Content::Text(text.to_owned()),
        (None, Some(base64)) => Content::Binary(base64.to_owned()),
        (None, None) => return Ok(None),
    };
    let size = match &content {
        Content::Text(text) => text.len(),
        Content::Binary(base64) => base64.len() / 4 * 3,
    };
    if size == 0 || size > CONTENT_BYTES_MAX {
        return Err(invalid_parameter(
            "A secret value must have 1 to 65536 bytes.",
        ));
    }
    Ok(Some(content))
}

/// Finds a secret by name, ARN, or ARN without its last six characters.
fn found(
    secrets: &BTreeMap<String, Secret>,
    caller: &Caller,
    secret_id: &str,
) -> Result<String, ApiError> {
    let Some(rest) = secret_id.strip_prefix("arn:") else {
        return secrets
            .get(secret_id)
            .map(|secret| secret.name.clone())
            .ok_or_else(missing_secret);
    };
    let parts: Vec<&str> = rest.splitn(6, ':').collect();
    if parts
        .get(3)
        .is_some_and(|account| *account != caller.account)
    {
        let text = format!(
            "User: {} is not authorized to access the secret: no resource-based policy allows it",
            caller.principal
        );
        return Err(ApiError::new(400, "AccessDeniedException", text));
    }
    let is_it = |secret: &&Secret| {
        let partial = secret
            .arn
            .len()
            .checked_sub(7)
            .and_then(|end| secret.arn.get(..end));
        secret.arn == secret_id || partial == Some(secret_id)
    };
    secrets
        .values()
        .find(is_it)
        .map(|secret| secret.name.clone())
        .ok_or_else(missing_secret)
}

fn named(secret: &Secret, version_id: Option<&str>) -> Value {
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
    if let Some(version_id) = version_id {
        answer["VersionId"] = version_id.into();
    }
    answer
}

fn described(secret: &Secret) -> Value {
    let labels: BTreeMap<&str, &BTreeSet<String>> = secret
        .versions
        .iter()
        .filter(|(_, version)| !version.labels.is_empty())
        .map(|(id, version)| (id.as_str(), &version.labels))
        .collect();
    let tags: Vec<Value> = secret
        .tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    let mut answer = named(secret, None);
    answer["CreatedDate"] = epoch_seconds(secret.created).into();
    answer["LastChangedDate"] = epoch_seconds(secret.changed).into();
    answer["Tags"] = tags.into();
    answer["VersionIdsToStages"] = json!(labels);
    let optional = [
        ("Description", secret.description.clone().map(Value::from)),
        ("KmsKeyId", secret.kms_key.clone().map(Value::from)),
        ("OwningService", secret.owner.clone().map(Value::from)),
        (
            "DeletedDate",
            secret
                .deletion
                .map(|deletion| epoch_seconds(deletion.asked).into()),
        ),
        (
            "LastAccessedDate",
            secret
                .versions
                .values()
                .filter_map(|version| version.accessed)
                .max()
                .map(|at| day(at).into()),
        ),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            answer[name] = value;
        }
    }
    answer
}

/// Accesses are told to the day.
fn day(time: OffsetDateTime) -> f64 {
    epoch_seconds(time.replace_time(time::Time::MIDNIGHT))
}

/// One filter of `ListSecrets`: any of its values may fit.
struct Filter<'a> {
    key: &'a str,
    values: Vec<String>,
}

impl Filter<'_> {
    fn fits(&self, secret: &Secret) -> bool {
        self.values.iter().any(|value| {
            let begins = |text: &str| text.to_lowercase().starts_with(&value.to_lowercase());
            match self.key {
                "name" => secret.name.starts_with(value.as_str()),
                "description" => secret.description.as_deref().is_some_and(begins),
                "tag-key" => secret
                    .tags
                    .keys()
                    .any(|key| key.starts_with(value.as_str())),
                "tag-value" => secret
                    .tags
                    .values()
                    .any(|tag| tag.starts_with(value.as_str())),
                "owning-service" => secret.owner.as_deref().is_some_and(begins),
                _ => begins(&secret.name) || secret.description.as_deref().is_some_and(begins),
            }
        })
    }
}

fn filters(fields: Fields<'_>) -> Result<Vec<Filter<'_>>, ApiError> {
    let known = [
        "name",
        "description",
        "tag-key",
        "tag-value",
        "owning-service",
        "all",
    ];
    let filter = |value| {
        let filter = Fields::new(value);
        let key = filter.required("Key")?;
        if !known.contains(&key) {
            return Err(invalid_parameter(&format!(
                "the local cloud's ListSecrets has no filter {key}"
            )));
        }
        Ok(Filter {
            key,
            values: filter.texts("Values")?,
        })
    };
    fields.list("Filters")?.iter().map(filter).collect()
}

fn missing_secret() -> ApiError {
    not_found("Secrets Manager can't find the specified secret.")
}

fn marked_deleted() -> ApiError {
    invalid_request(
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
}

fn not_found(message: &str) -> ApiError {
    ApiError::new(400, "ResourceNotFoundException", message)
}

fn invalid_parameter(message: &str) -> ApiError {
    ApiError::new(400, "InvalidParameterException", message)
}

fn invalid_request(message: &str) -> ApiError {
    ApiError::new(400, "InvalidRequestException", message)
}
