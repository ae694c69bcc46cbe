//! State machines: create, change, describe, delete, tag.

use std::collections::BTreeMap;

use asl_interpreter::{DefinitionError, StateMachine};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::names::{StatesArn, machine_arn, no_machine};
use super::{StepFunctions, given_name, paged};
use crate::fields::{Fields, epoch_seconds};
use crate::request::{ApiError, Caller};

/// A state machine as it stands.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) loaded: StateMachine,
    pub(super) definition: String,
    pub(super) role_arn: String,
    logging: Value,
    tracing: Value,
    created: OffsetDateTime,
    updated: OffsetDateTime,
    revision: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
}

impl StepFunctions {
    pub(super) fn create_state_machine(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let name = given_name(fields, "name")?;
        refuse_what_is_missing_here(fields)?;
        let definition = fields.required("definition")?;
        let role_arn = fields.required("roleArn")?;
        self.check_role(caller, &name, role_arn)?;
        let loaded = self.load(definition)?;
        self.check_managed_rule(caller, &loaded, role_arn)?;
        let machine = Machine {
            loaded,
            definition: definition.to_owned(),
            role_arn: role_arn.to_owned(),
            logging: setting(
                fields,
                "loggingConfiguration",
                json!({ "level": "OFF", "includeExecutionData": false }),
            ),
            tracing: setting(fields, "tracingConfiguration", json!({ "enabled": false })),
            created: self.now(),
            updated: self.now(),
            revision: None,
            tags: fields.tags("tags", "key", "value")?,
            name: name.clone(),
        };
        let arn = machine_arn(caller, &name);
        let created = self
            .places
            .with(caller, |place| match place.machines.get(&name) {
                // Creating the same thing again is no error; the existing one is the answer.
                Some(existing) if existing.is_same_as(&machine) => Ok(existing.created),
                Some(_) => Err(ApiError::new(
                    400,
                    "StateMachineAlreadyExists",
                    format!("State Machine Already Exists: '{arn}'"),
                )),
                None => {
                    let created = machine.created;
                    place.machines.insert(name.clone(), machine);
                    Ok(created)
                }
            })?;
        Ok(json!({ "stateMachineArn": arn, "creationDate": epoch_seconds(created) }))
    }

    pub(super) fn update_state_machine(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let arn = fields.required("stateMachineArn")?;
        refuse_what_is_missing_here(fields)?;
        let mut machine = self.machine(caller, arn)?;
        let changes = [
            "definition",
            "roleArn",
            "loggingConfiguration",
            "tracingConfiguration",
        ];
        if changes.iter().all(|name| fields.value(name).is_none()) {
            let text = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified";
            return Err(ApiError::new(400, "MissingRequiredParameter", text));
        }
        if let Some(definition) = fields.text("definition")? {
            machine.loaded = self.load(definition)?;
            definition.clone_into(&mut machine.definition);
        }
        if let Some(role_arn) = fields.text("roleArn")? {
            self.check_role(caller, &machine.name, role_arn)?;
            role_arn.clone_into(&mut machine.role_arn);
        }
        self.check_managed_rule(caller, &machine.loaded, &machine.role_arn)?;
        machine.logging = setting(fields, "loggingConfiguration", machine.logging);
        machine.tracing = setting(fields, "tracingConfiguration", machine.tracing);
        machine.updated = self.now();
        let revision = self.world()?.randomness().uuid();
        machine.revision = Some(revision.clone());
        let updated = machine.updated;
        self.places.with(caller, |place| {
            place.machines.insert(machine.name.clone(), machine)
        });
        Ok(json!({ "updateDate": epoch_seconds(updated), "revisionId": revision }))
    }

    pub(super) fn describe_state_machine(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let arn = fields.required("stateMachineArn")?;
        let machine = self.machine(caller, arn)?;
        let mut answer = machine.described(arn);
        answer["status"] = "ACTIVE".into();
        answer["type"] = "STANDARD".into();
        answer["creationDate"] = epoch_seconds(machine.created).into();
        Ok(answer)
    }

    pub(super) fn describe_machine_of(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let run = self.run(caller, fields.required("executionArn")?)?;
        let mut answer = run
            .machine
            .described(&run.execution.launch().state_machine_arn);
        answer["updateDate"] = epoch_seconds(run.machine.updated).into();
        Ok(answer)
    }

    pub(super) fn list_state_machines(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let machines: Vec<Value> = self.places.with(caller, |place| {
            let listed = |machine: &Machine| {
                json!({
                    "stateMachineArn": machine_arn(caller, &machine.name),
                    "name": machine.name,
                    "type": "STANDARD",
                    "creationDate": epoch_seconds(machine.created),
                })
            };
            place.machines.values().map(listed).collect()
        });
        paged(fields, "stateMachines", &machines)
    }

    /// What runs goes on; on AWS it would end at its next transition.
    pub(super) fn delete_state_machine(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let arn = fields.required("stateMachineArn")?;
        let parsed = StatesArn::parse(arn)?;
        let name = parsed.machine(arn)?;
        if parsed.is_at(caller) {
            self.places
                .with(caller, |place| place.machines.remove(name));
        }
        Ok(json!({}))
    }

    pub(super) fn validate_definition(&self, fields: Fields<'_>) -> Result<Value, ApiError> {
        let Err(error) = self.interpreter.load(fields.required("definition")?) else {
            return Ok(json!({ "result": "OK", "diagnostics": [], "truncated": false }));
        };
        let diagnostic = |problem: &asl_interpreter::Problem| {
            let state = problem
                .state
                .as_ref()
                .map(|state| format!("/States/{state}"))
                .unwrap_or_default();
            json!({
                "severity": "ERROR",
                "code": "SCHEMA_VALIDATION_FAILED",
                "message": problem.to_string(),
                "location": format!("{state}/{}", problem.field),
            })
        };
        let diagnostics: Vec<Value> = error.problems.iter().map(diagnostic).collect();
        Ok(json!({ "result": "FAIL", "diagnostics": diagnostics, "truncated": false }))
    }

    pub(super) fn tag_resource(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let tags = fields.tags("tags", "key", "value")?;
        self.with_tags(caller, fields, |existing| existing.extend(tags))
    }

    pub(super) fn untag_resource(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let keys = fields.texts("tagKeys")?;
        self.with_tags(caller, fields, |existing| {
            existing.retain(|key, _| !keys.contains(key))
        })
    }

    pub(super) fn list_tags(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let mut tags = Vec::new();
        self.with_tags(caller, fields, |existing| {
            tags.extend(
                existing
                    .iter()
                    .map(|(key, value)| json!({ "key": key, "value": value })),
            );
        })?;
        Ok(json!({ "tags": tags }))
    }

    /// The machine an ARN names.
    pub(super) fn machine(&self, caller: &Caller, arn: &str) -> Result<Machine, ApiError> {
        let parsed = StatesArn::parse(arn)?;
        let name = parsed.machine(arn)?;
        if !parsed.is_at(caller) {
            return Err(no_machine(arn));
        }
        self.places
            .with(caller, |place| place.machines.get(name).cloned())
            .ok_or_else(|| no_machine(arn))
    }

    /// A role that IAM knows must let Step Functions assume it.
    fn check_role(&self, caller: &Caller, machine: &str, role_arn: &str) -> Result<(), ApiError> {
        let world = self.world()?;
        let machine = machine_arn(caller, machine);
        let trusted =
            world
                .iam()
                .trusts_service(&world, role_arn, "states.amazonaws.com", &machine);
        if trusted != Some(false) {
            return Ok(());
        }
        Err(ApiError::new(
            400,
            "AccessDeniedException",
            "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to assume the provided role.",
        ))
    }

    fn load(&self, definition: &str) -> Result<StateMachine, ApiError> {
        self.interpreter
            .load(definition)
            .map_err(|error| invalid_definition(&error))
    }

    fn with_tags(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
        act: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<Value, ApiError> {
        let arn = fields.required("resourceArn")?;
        let parsed = StatesArn::parse(arn)?;
        let name = parsed.machine(arn)?;
        let not_found = || {
            ApiError::new(
                400,
                "ResourceNotFound",
                format!("Resource not found: '{arn}'"),
            )
        };
        if !parsed.is_at(caller) {
            return Err(not_found());
        }
        self.places.with(caller, |place| {
            act(&mut place.machines.get_mut(name).ok_or_else(not_found)?.tags);
            Ok(json!({}))
        })
    }
}

impl Machine {
    fn is_same_as(&self, other: &Self) -> bool {
        self.definition == other.definition
            && self.role_arn == other.role_arn
            && self.logging == other.logging
            && self.tracing == other.tracing
    }

    fn described(&self, arn: &str) -> Value {
        let mut answer = json!({
            "stateMachineArn": arn,
            "name": self.name,
            "definition": self.definition,
            "roleArn": self.role_arn,
            "loggingConfiguration": self.logging,
            "tracingConfiguration": self.tracing,
            "encryptionConfiguration": { "type": "AWS_OWNED_KEY" },
        });
        if let Some(revision) = &self.revision {
            answer["revisionId"] = revision.as_str().into();
        }
        answer
    }
}

fn setting(fields: Fields<'_>, name: &str, otherwise: Value) -> Value {
    fields.value(name).cloned().unwrap_or(otherwise)
}

fn refuse_what_is_missing_here(fields: Fields<'_>) -> Result<(), ApiError> {
    if fields.text("type")?.is_some_and(|kind| kind != "STANDARD") {
        let text = "the local cloud runs STANDARD state machines only";
        return Err(ApiError::new(400, "StateMachineTypeNotSupported", text));
    }
    if fields.flag("publish")? {
        return Err(ApiError::new(
            400,
            "ValidationException",
            "the local cloud has no state machine versions",
        ));
    }
    Ok(())
}

fn invalid_definition(error: &DefinitionError) -> ApiError {
    let problems: Vec<String> = error
        .problems
        .iter()
        .map(|problem| format!("SCHEMA_VALIDATION_FAILED: {problem}"))
        .collect();
    ApiError::new(
        400,
        "InvalidDefinition",
        format!(
            "Invalid State Machine Definition: '{}'",
            problems.join(", ")
        ),
    )
}
