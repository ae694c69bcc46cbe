//! KMS: keys, their states, aliases, policies and grants. Nothing is encrypted.
//!
//! What others ask KMS here is whether a key may be used: it must exist, be in the
//! caller's region, be enabled, and for another account be opened by its policy or
//! by a grant. AWS's own keys (`alias/aws/...`) come into being when asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::fields::{Fields, epoch_seconds, page};
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response, json_response};
use crate::world::{Known, Service, World};

const PENDING_DAYS_DEFAULT: i64 = 30;
const PAGE: i64 = 100;

/// The keys of every account and region.
pub struct Kms {
    world: Weak<World>,
    rings: Regional<Ring>,
}

/// One account's keys in one region.
#[derive(Default)]
struct Ring {
    keys: BTreeMap<String, Key>,
    /// By name, such as `alias/restore`: the key's id.
    aliases: BTreeMap<String, Alias>,
}

struct Alias {
    key_id: String,
    created: OffsetDateTime,
}

#[derive(Clone)]
struct Key {
    id: String,
    account: String,
    region: String,
    description: String,
    enabled: bool,
    aws_managed: bool,
    multi_region: bool,
    created: OffsetDateTime,
    deletion: Option<OffsetDateTime>,
    policy: Value,
    grants: BTreeMap<String, Grant>,
    tags: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Grant {
    grantee: String,
    operations: Vec<String>,
    name: Option<String>,
    issuer: String,
    created: OffsetDateTime,
}

/// One request.
struct Ask<'a> {
    world: Arc<World>,
    caller: &'a Caller,
    fields: Fields<'a>,
    operation: &'a str,
}

impl Kms {
    /// No keys yet.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self {
            world,
            rings: Regional::default(),
        }
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let body = request.json_body()?;
        let operation = request.json_operation().unwrap_or_default();
        let ask = Ask {
            world: self.world.upgrade().ok_or_else(|| {
                ApiError::new(500, "KMSInternalException", "the world has stopped")
            })?,
            caller: &request.caller,
            fields: Fields::new(&body),
            operation,
        };
        match operation {
            "CreateKey" => self.create_key(&ask),
            "DescribeKey" => {
                self.with_key(&ask, |key| Ok(json!({ "KeyMetadata": key.metadata() })))
            }
            "ListKeys" => self.list_keys(&ask),
            "CreateAlias" => self.create_alias(&ask),
            "UpdateAlias" => self.update_alias(&ask),
            "DeleteAlias" => self.delete_alias(&ask),
            "ListAliases" => self.list_aliases(&ask),
            "EnableKey" => self.set_enabled(&ask, true),
            "DisableKey" => self.set_enabled(&ask, false),
            "ScheduleKeyDeletion" => self.schedule_deletion(&ask),
            "CancelKeyDeletion" => self.cancel_deletion(&ask),
            "CreateGrant" => self.create_grant(&ask),
            "ListGrants" => self.list_grants(&ask),
            "RevokeGrant" => self.revoke_grant(&ask),
            "GetKeyPolicy" => self.with_key(&ask, |key| {
                Ok(json!({ "Policy": key.policy.to_string(), "PolicyName": "default" }))
            }),
            "PutKeyPolicy" => self.put_policy(&ask),
            "TagResource" => self.tag_resource(&ask),
            "ListResourceTags" => self.with_key(&ask, |key| {
                let tags = key
                    .tags
                    .iter()
                    .map(|(name, value)| json!({ "TagKey": name, "TagValue": value }));
                Ok(json!({ "Tags": tags.collect::<Vec<_>>(), "Truncated": false }))
            }),
            other => Err(ApiError::unknown_operation("KMS", other)),
        }
    }

    fn create_key(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        if ask
            .fields
            .text("KeySpec")?
            .is_some_and(|spec| spec != "SYMMETRIC_DEFAULT")
        {
            return Err(ApiError::new(
                400,
                "UnsupportedOperationException",
                "the local cloud has symmetric keys only",
            ));
        }
        let multi_region = ask.fields.flag("MultiRegion")?;
        let id = ask.world.randomness().uuid();
        let key = Key {
            id: if multi_region {
                format!("mrk-{}", id.replace('-', ""))
            } else {
                id
            },
            account: ask.caller.account.clone(),
            region: ask.caller.region.clone(),
            description: ask
                .fields
                .text("Description")?
                .unwrap_or_default()
                .to_owned(),
            enabled: true,
            aws_managed: false,
            multi_region,
            created: ask.world.now(),
            deletion: None,
            policy: match ask.fields.text("Policy")? {
                Some(policy) => parsed_policy(policy)?,
                None => default_policy(&ask.caller.account),
            },
            grants: BTreeMap::new(),
            tags: ask.fields.tags("Tags", "TagKey", "TagValue")?,
        };
        let answer = json!({ "KeyMetadata": key.metadata() });
        self.rings
            .with(ask.caller, |ring| ring.keys.insert(key.id.clone(), key));
        Ok(answer)
    }

    fn list_keys(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let keys: Vec<Value> = self.rings.with(ask.caller, |ring| {
            ring.keys
                .values()
                .map(|key| json!({ "KeyId": key.id, "KeyArn": key.arn() }))
                .collect()
        });
        paged(ask.fields, "Keys", &keys)
    }

    fn create_alias(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let alias = alias_name(ask.fields)?;
        let key_id = self.own_key(ask, "TargetKeyId")?;
        self.rings.with(ask.caller, |ring| {
            if ring.aliases.contains_key(alias) {
                let text = format!(
                    "An alias with the name {} already exists",
                    alias_arn(ask.caller, alias)
                );
                return Err(ApiError::new(400, "AlreadyExistsException", text));
            }
            ring.aliases.insert(
                alias.to_owned(),
                Alias {
                    key_id,
                    created: ask.world.now(),
                },
            );
            Ok(json!({}))
        })
    }

    fn update_alias(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let alias = alias_name(ask.fields)?;
        let target = self.own_key(ask, "TargetKeyId")?;
        self.rings.with(ask.caller, |ring| {
            ring.aliases
                .get_mut(alias)
                .ok_or_else(|| no_alias(ask.caller, alias))?
                .key_id = target;
            Ok(json!({}))
        })
    }

    fn delete_alias(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let alias = alias_name(ask.fields)?;
        let removed = self
            .rings
            .with(ask.caller, |ring| ring.aliases.remove(alias));
        removed
            .map(|_| json!({}))
            .ok_or_else(|| no_alias(ask.caller, alias))
    }

    fn list_aliases(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let only = match ask.fields.text("KeyId")? {
            Some(_) => Some(self.own_key(ask, "KeyId")?),
            None => None,
        };
        let aliases: Vec<Value> = self.rings.with(ask.caller, |ring| {
            let chosen = ring
                .aliases
                .iter()
                .filter(|(_, alias)| only.as_ref().is_none_or(|only| *only == alias.key_id));
            let described = chosen.map(|(name, alias)| {
                json!({
                    "AliasName": name,
                    "AliasArn": alias_arn(ask.caller, name),
                    "TargetKeyId": alias.key_id,
                    "CreationDate": epoch_seconds(alias.created),
                    "LastUpdatedDate": epoch_seconds(alias.created),
                })
            });
            described.collect()
        });
        paged(ask.fields, "Aliases", &aliases)
    }

    fn set_enabled(&self, ask: &Ask<'_>, enabled: bool) -> Result<Value, ApiError> {
        self.with_key(ask, |key| {
            key.check_not_pending_deletion()?;
            key.enabled = enabled;
            Ok(json!({}))
        })
    }

    fn schedule_deletion(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let days = ask
            .fields
            .integer("PendingWindowInDays")?
            .unwrap_or(PENDING_DAYS_DEFAULT);
        if !(7..=30).contains(&days) {
            return Err(validation("PendingWindowInDays must be between 7 and 30"));
        }
        let due = ask.world.now() + Duration::days(days);
        self.with_key(ask, |key| {
            key.check_not_pending_deletion()?;
            key.enabled = false;
            key.deletion = Some(due);
            Ok(json!({
                "KeyId": key.arn(),
                "DeletionDate": epoch_seconds(due),
                "KeyState": key.state(),
                "PendingWindowInDays": days,
            }))
        })
    }

    fn cancel_deletion(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        self.with_key(ask, |key| {
            if key.deletion.take().is_none() {
                let text = format!("{} is not pending deletion.", key.arn());
                return Err(ApiError::new(400, "KMSInvalidStateException", text));
            }
            Ok(json!({ "KeyId": key.arn() }))
        })
    }

    fn create_grant(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let grant = Grant {
            grantee: ask.fields.required("GranteePrincipal")?.to_owned(),
            operations: ask.fields.texts("Operations")?,
            name: ask.fields.text("Name")?.map(str::to_owned),
            issuer: ask.caller.account.clone(),
            created: ask.world.now(),
        };
        let randomness = ask.world.randomness();
        let id = format!("{}{}", randomness.simple_uuid(), randomness.simple_uuid());
        self.with_key(ask, |key| {
            key.check_usable()?;
            let repeated = |(_, existing): &(&String, &Grant)| {
                grant.name.is_some()
                    && existing.name == grant.name
                    && existing.grantee == grant.grantee
                    && existing.operations == grant.operations
            };
            if let Some((id, _)) = key.grants.iter().find(repeated) {
                return Ok(json!({ "GrantId": id, "GrantToken": format!("local-{id}") }));
            }
            key.grants.insert(id.clone(), grant);
            Ok(json!({ "GrantId": id, "GrantToken": format!("local-{id}") }))
        })
    }

    fn list_grants(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let grants: Vec<Value> = self.with_key(ask, |key| {
            let arn = key.arn();
            let described = key.grants.iter().map(|(id, grant)| {
                json!({
                    "KeyId": arn,
                    "GrantId": id,
                    "Name": grant.name.as_deref().unwrap_or_default(),
                    "CreationDate": epoch_seconds(grant.created),
                    "GranteePrincipal": grant.grantee,
                    "IssuingAccount": format!("arn:aws:iam::{}:root", grant.issuer),
                    "Operations": grant.operations,
                })
            });
            Ok(described.collect())
        })?;
        paged(ask.fields, "Grants", &grants)
    }

    fn revoke_grant(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let id = ask.fields.required("GrantId")?;
        self.with_key(ask, |key| {
            let removed = key.grants.remove(id);
            removed
                .map(|_| json!({}))
                .ok_or_else(|| not_found(&format!("Grant ID {id} not found")))
        })
    }

    fn put_policy(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let policy = parsed_policy(ask.fields.required("Policy")?)?;
        self.with_key(ask, |key| {
            key.policy = policy;
            Ok(json!({}))
        })
    }

    fn tag_resource(&self, ask: &Ask<'_>) -> Result<Value, ApiError> {
        let tags = ask.fields.tags("Tags", "TagKey", "TagValue")?;
        self.with_key(ask, |key| {
            key.tags.extend(tags);
            Ok(json!({}))
        })
    }

    /// The id of a key of the caller's own.
    fn own_key(&self, ask: &Ask<'_>, member: &str) -> Result<String, ApiError> {
        self.with_key_named(ask, ask.fields.required(member)?, |key| Ok(key.id.clone()))
    }

    fn with_key<R>(
        &self,
        ask: &Ask<'_>,
        act: impl FnOnce(&mut Key) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        self.with_key_named(ask, ask.fields.required("KeyId")?, act)
    }

    /// Finds a key by id, alias, or either's ARN. Another account's is found by ARN
    /// only, and only when it lets the caller in.
    fn with_key_named<R>(
        &self,
        ask: &Ask<'_>,
        given: &str,
        act: impl FnOnce(&mut Key) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let caller = ask.caller;
        let named = Named::parse(given, caller)?;
        let missing = || not_found(&format!("Key '{}' does not exist", named.arn()));
        if named.region != caller.region {
            return Err(missing());
        }
        let now = ask.world.now();
        let is_own = named.account == caller.account;
        self.rings.at(&named.account, &named.region, |ring| {
            ring.keys
                .retain(|_, key| key.deletion.is_none_or(|due| due > now));
            if is_own {
                ring.make_aws_managed(ask, &named.resource);
            }
            let id = match named.resource.strip_prefix("key/") {
                Some(id) => id.to_owned(),
                None => ring
                    .aliases
                    .get(&named.resource)
                    .map(|alias| alias.key_id.clone())
                    .ok_or_else(missing)?,
            };
            let key = ring.keys.get_mut(&id).ok_or_else(missing)?;
            if !is_own && !key.lets_in(caller, ask.operation) {
                let text = format!(
                    "User: {} is not authorized to perform: kms:{} on resource: {}",
                    caller.principal,
                    ask.operation,
                    key.arn()
                );
                return Err(ApiError::new(400, "AccessDeniedException", text));
            }
            act(key)
        })
    }
}

#[async_trait]
impl Service for Kms {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error.to_json_response(),
        }
    }

    /// By id, alias, or either's ARN. AWS's own keys are known once they have been used.
    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        let named = Named::parse(name, caller).ok()?;
        self.rings.at(&named.account, &named.region, |ring| {
            let id = match named.resource.strip_prefix("key/") {
                Some(id) => id.to_owned(),
                None => ring.aliases.get(&named.resource)?.key_id.clone(),
            };
            let key = ring.keys.get(&id)?;
            Some(Known {
                arn: key.arn(),
                tags: key.tags.clone(),
                by_aws: key.aws_managed,
                ..Known::default()
            })
        })
    }
}

impl Ring {
    /// AWS makes `alias/aws/rds` and its like when a service first needs them.
    fn make_aws_managed(&mut self, ask: &Ask<'_>, resource: &str) {
        let Some(service) = resource.strip_prefix("alias/aws/") else {
            return;
        };
        if self.aliases.contains_key(resource) || service.is_empty() {
            return;
        }
        let key = Key {
            id: ask.world.randomness().uuid(),
            account: ask.caller.account.clone(),
            region: ask.caller.region.clone(),
            description: format!(
                "Default key that protects my {service} data when no other key is defined"
            ),
            enabled: true,
            aws_managed: true,
            multi_region: false,
            created: ask.world.now(),
            deletion: None,
            policy: default_policy(&ask.caller.account),
            grants: BTreeMap::new(),
            tags: BTreeMap::new(),
        };
        self.aliases.insert(
            resource.to_owned(),
            Alias {
                key_id: key.id.clone(),
                created: key.created,
            },
        );
        self.keys.insert(key.id.clone(), key);
    }
}

impl Key {
    fn arn(&self) -> String {
        format!(
            "arn:aws:kms:{}:{}:key/{}",
            self.region, self.account, self.id
        )
    }

    fn state(&self) -> &'static str {
        match (self.deletion, self.enabled) {
            (Some(_), _) => "PendingDeletion",
            (None, true) => "Enabled",
            (None, false) => "Disabled",
        }
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "AWSAccountId": self.account,
            "KeyId": self.id,
            "Arn": self.arn(),
            "CreationDate": epoch_seconds(self.created),
            "Enabled": self.state() == "Enabled",
            "Description": self.description,
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": self.state(),
            "Origin": "AWS_KMS",
            "KeyManager": if self.aws_managed { "AWS" } else { "CUSTOMER" },
            "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": self.multi_region,
        });
        if let Some(due) = self.deletion {
            metadata["DeletionDate"] = epoch_seconds(due).into();
        }
        metadata
    }

    fn check_not_pending_deletion(&self) -> Result<(), ApiError> {
        match self.deletion {
            Some(_) => {
                let text = format!("{} is pending deletion.", self.arn());
                Err(ApiError::new(400, "KMSInvalidStateException", text))
            }
            None => Ok(()),
        }
    }

    fn check_usable(&self) -> Result<(), ApiError> {
        self.check_not_pending_deletion()?;
        if self.enabled {
            return Ok(());
        }
        Err(ApiError::new(
            400,
            "DisabledException",
            format!("{} is disabled.", self.arn()),
        ))
    }

    /// Whether policy or grants let another account's principal do this. Conditions
    /// are not looked at, and a Deny counts whatever its condition.
    fn lets_in(&self, caller: &Caller, operation: &str) -> bool {
        let statements = match &self.policy["Statement"] {
            Value::Array(statements) => statements.as_slice(),
            single => std::slice::from_ref(single),
        };
        let applies = |statement: &&Value| {
            names_principal(&statement["Principal"], caller)
                && names_action(&statement["Action"], operation)
        };
        let effects: Vec<&str> = statements
            .iter()
            .filter(applies)
            .filter_map(|statement| statement["Effect"].as_str())
            .collect();
        if effects.contains(&"Deny") {
            return false;
        }
        let granted = |grant: &Grant| {
            grant.operations.iter().any(|granted| granted == operation)
                && (grant.grantee == caller.principal
                    || grant.grantee == format!("arn:aws:iam::{}:root", caller.account))
        };
        effects.contains(&"Allow") || self.grants.values().any(granted)
    }
}

fn names_principal(principal: &Value, caller: &Caller) -> bool {
    let root = format!("arn:aws:iam::{}:root", caller.account);
    let fits = |text: &str| {
        text == "*" || text == root || text == caller.account || text == caller.principal
    };
    one_or_more(principal.get("AWS").unwrap_or(principal)).any(fits)
}

fn names_action(action: &Value, operation: &str) -> bool {
    one_or_more(action).any(|action| match action.strip_prefix("kms:") {
        Some(pattern) => match pattern.strip_suffix('*') {
            Some(prefix) => operation.starts_with(prefix),
            None => pattern == operation,
        },
        None => action == "*",
    })
}

/// IAM writes one of a thing as itself and several as a list.
fn one_or_more(value: &Value) -> impl Iterator<Item = &str> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    items.iter().filter_map(Value::as_str)
}

/// What a `KeyId` means.
struct Named {
    region: String,
    account: String,
    /// `key/...` or `alias/...`.
    resource: String,
}

impl Named {
    fn parse(given: &str, caller: &Caller) -> Result<Self, ApiError> {
        let named = |region: &str, account: &str, resource: String| Self {
            region: region.to_owned(),
            account: account.to_owned(),
            resource,
        };
        if given.starts_with("arn:") {
            return match given.splitn(6, ':').collect::<Vec<_>>().as_slice() {
                ["arn", _, "kms", region, account, resource] => {
                    Ok(named(region, account, (*resource).to_owned()))
                }
                _ => Err(ApiError::new(
                    400,
                    "InvalidArnException",
                    format!("Invalid arn {given}"),
                )),
            };
        }
        let resource = if given.starts_with("alias/") {
            given.to_owned()
        } else {
            format!("key/{given}")
        };
        Ok(named(&caller.region, &caller.account, resource))
    }

    fn arn(&self) -> String {
        format!(
            "arn:aws:kms:{}:{}:{}",
            self.region, self.account, self.resource
        )
    }
}

fn default_policy(account: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
}

fn parsed_policy(text: &str) -> Result<Value, ApiError> {
    let policy: Option<Value> = serde_json::from_str(text).ok();
    policy
        .filter(|policy| policy.get("Statement").is_some())
        .ok_or_else(|| {
            ApiError::new(
                400,
                "MalformedPolicyDocumentException",
                "The policy has no statements, or is not JSON",
            )
        })
}

fn alias_name<'a>(fields: Fields<'a>) -> Result<&'a str, ApiError> {
    let name = fields.required("AliasName")?;
    let allowed = |character: char| character.is_ascii_alphanumeric() || "/_-".contains(character);
    if !name.starts_with("alias/") || name.starts_with("alias/aws/") || !name.chars().all(allowed) {
        return Err(ApiError::new(
            400,
            "InvalidAliasNameException",
            format!("Alias {name} is not valid"),
        ));
    }
    Ok(name)
}

fn alias_arn(caller: &Caller, alias: &str) -> String {
    format!("arn:aws:kms:{}:{}:{alias}", caller.region, caller.account)
}

fn no_alias(caller: &Caller, alias: &str) -> ApiError {
    not_found(&format!("Alias {} is not found.", alias_arn(caller, alias)))
}

fn paged(fields: Fields<'_>, name: &str, items: &[Value]) -> Result<Value, ApiError> {
    let size =
        usize::try_from(fields.integer("Limit")?.unwrap_or(PAGE).clamp(1, 1_000)).unwrap_or(1);
    let (items, next) = page(items, fields.text("Marker")?, size)
        .ok_or_else(|| ApiError::new(400, "InvalidMarkerException", "The marker is not valid"))?;
    let mut answer = json!({ name: items, "Truncated": next.is_some() });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(answer)
}

fn not_found(message: &str) -> ApiError {
    ApiError::new(400, "NotFoundException", message)
}

fn validation(message: &str) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}
