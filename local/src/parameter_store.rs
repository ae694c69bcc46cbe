//! Systems Manager's Parameter Store: parameters, versions, paths.
//!
//! Patterns, policies, labels and the rest of Systems Manager are not here.

use std::collections::BTreeMap;
use std::sync::Weak;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::fields::{Fields, epoch_seconds, page};
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response, json_response};
use crate::world::{Known, Service, World};

/// The most bytes a value may have, by tier.
const STANDARD_BYTES_MAX: usize = 4_096;
const ADVANCED_BYTES_MAX: usize = 8_192;

/// Levels of a path, and characters of a name with its ARN.
const LEVELS_MAX: usize = 15;
const ARN_CHARACTERS_MAX: usize = 1_011;

/// The most parameters `GetParametersByPath` and `GetParameters` answer with.
const BY_PATH_PAGE: i64 = 10;
const DESCRIBE_PAGE: i64 = 50;

/// The parameters of every account and region.
pub struct ParameterStore {
    world: Weak<World>,
    parameters: Regional<BTreeMap<String, Parameter>>,
}

/// A parameter with all its versions.
struct Parameter {
    kind: String,
    advanced: bool,
    key: Option<String>,
    description: Option<String>,
    tags: BTreeMap<String, String>,
    /// The first is version 1.
    versions: Vec<Version>,
    changed_by: String,
}

struct Version {
    value: String,
    modified: OffsetDateTime,
}

impl ParameterStore {
    /// No parameters yet.
    #[must_use]
    pub fn new(world: Weak<World>) -> Self {
        Self {
            world,
            parameters: Regional::default(),
        }
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let body = request.json_body()?;
        let (caller, fields) = (&request.caller, Fields::new(&body));
        match request.json_operation().unwrap_or_default() {
            "PutParameter" => self.put_parameter(caller, fields),
            "GetParameter" => self.get_parameter(caller, fields),
            "GetParameters" => self.get_parameters(caller, fields),
            "GetParametersByPath" => self.get_parameters_by_path(caller, fields),
            "GetParameterHistory" => self.get_parameter_history(caller, fields),
            "DescribeParameters" => self.describe_parameters(caller, fields),
            "DeleteParameter" => self.delete_parameter(caller, fields),
            "DeleteParameters" => self.delete_parameters(caller, fields),
            "AddTagsToResource" => self.add_tags(caller, fields),
            "ListTagsForResource" => self.list_tags(caller, fields),
            other => Err(ApiError::unknown_operation("Systems Manager", other)),
        }
    }

    fn put_parameter(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = fields.required("Name")?;
        check_name(caller, name)?;
        for missing in ["AllowedPattern", "Policies"] {
            if fields.text(missing)?.is_some_and(|text| !text.is_empty()) {
                return Err(validation(&format!(
                    "the local cloud's Parameter Store has no {missing}"
                )));
            }
        }
        let value = fields.required("Value")?;
        let advanced = is_advanced(fields.text("Tier")?, value)?;
        let (kind, overwrite) = (fields.text("Type")?, fields.flag("Overwrite")?);
        let tags = fields.tags("Tags", "Key", "Value")?;
        let (key, description) = (fields.text("KeyId")?, fields.text("Description")?);
        let version = Version {
            value: value.to_owned(),
            modified: self.now(),
        };
        self.parameters.with(caller, |parameters| {
            if let Some(existing) = parameters.get_mut(name) {
                if !overwrite {
                    let text = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
                    return Err(ApiError::new(400, "ParameterAlreadyExists", text));
                }
                if !tags.is_empty() {
                    return Err(validation("tags and overwrite can't be used together."));
                }
                existing.overwrite(kind, advanced, key, description, version, caller)?;
                return Ok(existing.put());
            }
            let kind = kind.ok_or_else(|| validation("A parameter type is required when you create a parameter."))?;
            let parameter = Parameter {
                kind: known_kind(kind)?.to_owned(),
                advanced,
                key: key.map(str::to_owned),
                description: description.map(str::to_owned),
                tags,
                versions: vec![version],
                changed_by: caller.principal.clone(),
            };
            let answer = parameter.put();
            parameters.insert(name.to_owned(), parameter);
            Ok(answer)
        })
    }

    fn get_parameter(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let (name, decrypt) = (fields.required("Name")?, fields.flag("WithDecryption")?);
        let parameter = self
            .parameters
            .with(caller, |parameters| read(parameters, caller, name, decrypt))?;
        Ok(json!({ "Parameter": parameter }))
    }

    fn get_parameters(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let (names, decrypt) = (fields.texts("Names")?, fields.flag("WithDecryption")?);
        if !(1..=10).contains(&names.len()) {
            return Err(validation("Names must have 1 to 10 entries."));
        }
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        self.parameters.with(caller, |parameters| {
            for name in names {
                match read(parameters, caller, &name, decrypt) {
                    Ok(parameter) => found.push(parameter),
                    Err(_) => invalid.push(name),
                }
            }
        });
        Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
    }

    fn get_parameters_by_path(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let (path, recursive) = (fields.required("Path")?, fields.flag("Recursive")?);
        let decrypt = fields.flag("WithDecryption")?;
        if !path.starts_with('/') {
            return Err(validation(
                "The parameter path must begin with a forward slash.",
            ));
        }
        if !fields.list("ParameterFilters")?.is_empty() {
            return Err(ApiError::new(
                400,
                "InvalidFilterKey",
                "the local cloud's GetParametersByPath has no filters",
            ));
        }
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let is_below = |name: &str| {
            let rest = name.strip_prefix(&prefix);
            rest.is_some_and(|rest| !rest.is_empty() && (recursive || !rest.contains('/')))
        };
        let parameters: Vec<Value> = self.parameters.with(caller, |parameters| {
            let below = parameters.iter().filter(|(name, _)| is_below(name));
            below
                .filter_map(|(name, parameter)| parameter.read(caller, name, None, decrypt))
                .collect()
        });
        paged(fields, "Parameters", &parameters, BY_PATH_PAGE)
    }

    fn get_parameter_history(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let (name, decrypt) = (fields.required("Name")?, fields.flag("WithDecryption")?);
        let versions: Vec<Value> = self.parameters.with(caller, |parameters| {
            let parameter = parameters.get(name).ok_or_else(not_found)?;
            let versions = (1..=parameter.versions.len()).filter_map(|version| {
                let mut read = parameter.read(caller, name, Some(version), decrypt)?;
                read["LastModifiedUser"] = parameter.changed_by.as_str().into();
                Some(read)
            });
            Ok::<_, ApiError>(versions.collect())
        })?;
        paged(fields, "Parameters", &versions, DESCRIBE_PAGE)
    }

    fn describe_parameters(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let filters = fields
            .list("ParameterFilters")?
            .iter()
            .map(|filter| NameFilter::read(Fields::new(filter)));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let parameters: Vec<Value> = self.parameters.with(caller, |parameters| {
            let chosen = parameters
                .iter()
                .filter(|(name, _)| filters.iter().all(|filter| filter.fits(name)));
            chosen
                .filter_map(|(name, parameter)| parameter.described(caller, name))
                .collect()
        });
        paged(fields, "Parameters", &parameters, DESCRIBE_PAGE)
    }

    fn delete_parameter(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = fields.required("Name")?;
        let removed = self
            .parameters
            .with(caller, |parameters| parameters.remove(name));
        removed.map(|_| json!({})).ok_or_else(not_found)
    }

    fn delete_parameters(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let names = fields.texts("Names")?;
        let (deleted, invalid): (Vec<_>, Vec<_>) = self.parameters.with(caller, |parameters| {
            names
                .into_iter()
                .partition(|name| parameters.remove(name.as_str()).is_some())
        });
        Ok(json!({ "DeletedParameters": deleted, "InvalidParameters": invalid }))
    }

    fn add_tags(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let tags = fields.tags("Tags", "Key", "Value")?;
        self.with_tagged(caller, fields, |parameter| {
            parameter.tags.extend(tags);
            json!({})
        })
    }

    fn list_tags(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        self.with_tagged(caller, fields, |parameter| {
            let tags = parameter
                .tags
                .iter()
                .map(|(key, value)| json!({ "Key": key, "Value": value }));
            json!({ "TagList": tags.collect::<Vec<_>>() })
        })
    }

    fn with_tagged(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
        act: impl FnOnce(&mut Parameter) -> Value,
    ) -> Result<Value, ApiError> {
        if fields.required("ResourceType")? != "Parameter" {
            return Err(ApiError::new(
                400,
                "InvalidResourceType",
                "the local cloud tags parameters only",
            ));
        }
        let name = fields.required("ResourceId")?;
        self.parameters.with(caller, |parameters| {
            parameters
                .get_mut(name)
                .map(act)
                .ok_or_else(|| ApiError::new(400, "InvalidResourceId", "no such parameter"))
        })
    }

    fn now(&self) -> OffsetDateTime {
        self.world
            .upgrade()
            .map_or(OffsetDateTime::UNIX_EPOCH, |world| world.now())
    }
}

#[async_trait]
impl Service for ParameterStore {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error.to_json_response(),
        }
    }

    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        // An ARN does not tell whether the name begins with a slash.
        let (_, bare) = name.split_once(":parameter/")?;
        self.parameters.with(caller, |parameters| {
            let parameter = parameters
                .get(&format!("/{bare}"))
                .or_else(|| parameters.get(bare))?;
            Some(Known {
                arn: name.to_owned(),
                tags: parameter.tags.clone(),
                key: parameter.key.clone(),
                ..Known::default()
            })
        })
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let mut texts = Vec::new();
        self.parameters.for_each(|account, region, parameters| {
            for (name, parameter) in parameters {
                let place = format!("ssm {account}/{region} {name}");
                let values = parameter
                    .versions
                    .iter()
                    .map(|version| parameter.shown(&version.value, false));
                texts.extend(values.map(|value| RecordedText::new(&place, value)));
            }
        });
        texts
    }
}

impl Parameter {
    fn overwrite(
        &mut self,
        kind: Option<&str>,
        advanced: bool,
        key: Option<&str>,
        description: Option<&str>,
        version: Version,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        if kind.is_some_and(|kind| kind != self.kind) {
            return Err(ApiError::new(
                400,
                "HierarchyTypeMismatchException",
                "a parameter's type cannot be changed",
            ));
        }
        // Advanced stays advanced: a standard parameter may become one, never the reverse.
        self.advanced |= advanced;
        if let Some(key) = key {
            self.key = Some(key.to_owned());
        }
        if let Some(description) = description {
            self.description = Some(description.to_owned());
        }
        self.versions.push(version);
        self.changed_by.clone_from(&caller.principal);
        Ok(())
    }

    fn put(&self) -> Value {
        json!({ "Version": self.versions.len(), "Tier": self.tier() })
    }

    fn tier(&self) -> &'static str {
        if self.advanced {
            "Advanced"
        } else {
            "Standard"
        }
    }

    /// The value, or what stands in its place when it is secure and not to be decrypted.
    fn shown(&self, value: &str, decrypt: bool) -> String {
        if self.kind == "SecureString" && !decrypt {
            // Like ciphertext it says nothing and changes with the value.
            return STANDARD.encode(Sha256::digest(value));
        }
        value.to_owned()
    }

    /// One version, the newest unless said otherwise.
    fn read(
        &self,
        caller: &Caller,
        name: &str,
        version: Option<usize>,
        decrypt: bool,
    ) -> Option<Value> {
        let number = version.unwrap_or(self.versions.len());
        let version = self.versions.get(number.checked_sub(1)?)?;
        Some(json!({
            "Name": name,
            "Type": self.kind,
            "Value": self.shown(&version.value, decrypt),
            "Version": number,
            "LastModifiedDate": epoch_seconds(version.modified),
            "ARN": arn(caller, name),
            "DataType": "text",
        }))
    }

    fn described(&self, caller: &Caller, name: &str) -> Option<Value> {
        let newest = self.versions.last()?;
        let mut answer = json!({
            "Name": name,
            "ARN": arn(caller, name),
            "Type": self.kind,
            "LastModifiedDate": epoch_seconds(newest.modified),
            "LastModifiedUser": self.changed_by,
            "Version": self.versions.len(),
            "Tier": self.tier(),
            "Policies": [],
            "DataType": "text",
        });
        if let Some(description) = &self.description {
            answer["Description"] = description.as_str().into();
        }
        if self.kind == "SecureString" {
            answer["KeyId"] = self.key.as_deref().unwrap_or("alias/aws/ssm").into();
        }
        Some(answer)
    }
}

/// Finds `name`, `name:version`, or either behind an ARN.
fn read(
    parameters: &BTreeMap<String, Parameter>,
    caller: &Caller,
    name: &str,
    decrypt: bool,
) -> Result<Value, ApiError> {
    let given = match name.strip_prefix("arn:") {
        None => name.to_owned(),
        Some(rest) => {
            let path = rest
                .split_once(":parameter")
                .map(|(_, path)| path)
                .ok_or_else(not_found)?;
            // Names without a path lose the slash that their ARN has.
            let is_path = path.trim_start_matches('/').contains('/');
            if is_path {
                path.to_owned()
            } else {
                path.trim_start_matches('/').to_owned()
            }
        }
    };
    let (given, version) = match given.split_once(':') {
        None => (given.as_str(), None),
        Some((given, version)) => (
            given,
            Some(version.parse::<usize>().map_err(|_| version_not_found())?),
        ),
    };
    let with_slash = format!("/{given}");
    let (name, parameter) = parameters
        .get_key_value(given)
        .or_else(|| {
            if name.starts_with("arn:") {
                parameters.get_key_value(&with_slash)
            } else {
                None
            }
        })
        .ok_or_else(not_found)?;
    let mut answer = parameter
        .read(caller, name, version, decrypt)
        .ok_or_else(version_not_found)?;
    if let Some(version) = version {
        answer["Selector"] = format!(":{version}").into();
    }
    Ok(answer)
}

fn arn(caller: &Caller, name: &str) -> String {
    let slash = if name.starts_with('/') { "" } else { "/" };
    format!(
        "arn:aws:ssm:{}:{}:parameter{slash}{name}",
        caller.region, caller.account
    )
}

fn check_name(caller: &Caller, name: &str) -> Result<(), ApiError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_.-/".contains(character);
    let levels = name.trim_start_matches('/').split('/').count();
    if !name.chars().all(allowed) || name.ends_with('/') || name.contains("//") {
        return Err(validation(
            "Parameter name: only a mix of letters, numbers and the following 4 symbols .-_/ can be used.",
        ));
    }
    if levels > 1 && !name.starts_with('/') {
        return Err(validation("Parameter name must be a fully qualified name."));
    }
    if levels > LEVELS_MAX {
        let text = format!("A hierarchy can have a maximum of {LEVELS_MAX} levels.");
        return Err(ApiError::new(
            400,
            "HierarchyLevelLimitExceededException",
            text,
        ));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        return Err(validation(
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).",
        ));
    }
    if arn(caller, name).chars().count() > ARN_CHARACTERS_MAX {
        return Err(validation(&format!(
            "Parameter name with its ARN must not exceed {ARN_CHARACTERS_MAX} characters."
        )));
    }
    Ok(())
}

fn known_kind(kind: &str) -> Result<&str, ApiError> {
    match kind {
        "String" | "StringList" | "SecureString" => Ok(kind),
        other => Err(ApiError::new(
            400,
            "UnsupportedParameterType",
            format!("{other} is not a parameter type"),
        )),
    }
}

fn is_advanced(tier: Option<&str>, value: &str) -> Result<bool, ApiError> {
    let is_large = value.len() > STANDARD_BYTES_MAX;
    let advanced = match tier.unwrap_or("Standard") {
        "Advanced" => true,
        "Intelligent-Tiering" => is_large,
        _ if is_large => {
            return Err(validation(&format!(
                "Standard tier parameters support a maximum parameter value of {STANDARD_BYTES_MAX} characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier."
            )));
        }
        _ => false,
    };
    if value.len() > ADVANCED_BYTES_MAX {
        return Err(validation(&format!(
            "Advanced tier parameters support a maximum parameter value of {ADVANCED_BYTES_MAX} characters."
        )));
    }
    Ok(advanced)
}

/// A filter of `DescribeParameters` on names.
struct NameFilter {
    option: String,
    values: Vec<String>,
}

impl NameFilter {
    fn read(fields: Fields<'_>) -> Result<Self, ApiError> {
        let key = fields.required("Key")?;
        if key != "Name" {
            let text = format!("the local cloud's DescribeParameters has no filter {key}");
            return Err(ApiError::new(400, "InvalidFilterKey", text));
        }
        let option = fields.text("Option")?.unwrap_or("Equals").to_owned();
        if !["Equals", "BeginsWith", "Contains"].contains(&option.as_str()) {
            return Err(ApiError::new(
                400,
                "InvalidFilterOption",
                format!("{option} is not an option for Name"),
            ));
        }
        Ok(Self {
            option,
            values: fields.texts("Values")?,
        })
    }

    fn fits(&self, name: &str) -> bool {
        self.values.iter().any(|value| match self.option.as_str() {
            "BeginsWith" => name.starts_with(value),
            "Contains" => name.contains(value),
            _ => name == value,
        })
    }
}

fn paged(fields: Fields<'_>, name: &str, items: &[Value], most: i64) -> Result<Value, ApiError> {
    let size = fields.integer("MaxResults")?.unwrap_or(most);
    if !(1..=most).contains(&size) {
        return Err(validation(&format!(
            "MaxResults must be between 1 and {most}"
        )));
    }
    let size = usize::try_from(size).unwrap_or(1);
    let (items, next) = page(items, fields.text("NextToken")?, size).ok_or_else(|| {
        ApiError::new(400, "InvalidNextToken", "The specified token is not valid.")
    })?;
    let mut answer = json!({ name: items });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

fn not_found() -> ApiError {
    ApiError::new(400, "ParameterNotFound", "")
}

fn version_not_found() -> ApiError {
    ApiError::new(
        400,
        "ParameterVersionNotFound",
        "Systems Manager could not find that version of the parameter.",
    )
}

fn validation(message: &str) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}
