//! Stacks: made in order, rolled back when a part cannot be made, deleted in reverse.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::functions::{self, Names};
use super::shape::coerced_members;
use super::template::{DeletionPolicy, Output, Resource, Template, ValidationError};
use super::types::{Made, Making, ResourceType};
use super::{Artefacts, CloudFormation, parameters};
use crate::request::Caller;
use crate::world::World;

/// A stack that was made.
#[derive(Clone, Debug)]
pub struct Stack {
    name: String,
    id: String,
    resources: Vec<StackResource>,
    outputs: BTreeMap<String, String>,
    exports: BTreeMap<String, String>,
}

/// A resource of a stack.
#[derive(Clone, Debug)]
pub struct StackResource {
    logical_id: String,
    kind: &'static ResourceType,
    deletion: DeletionPolicy,
    properties: Map<String, Value>,
    made: Made,
}

impl StackResource {
    /// What the template calls it.
    #[must_use]
    pub fn logical_id(&self) -> &str {
        &self.logical_id
    }

    /// Such as `AWS::Lambda::Function`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.kind.name
    }

    /// What `Ref` gives: a name, an ARN or an id, as the type has it.
    #[must_use]
    pub fn physical_id(&self) -> &str {
        &self.made.physical_id
    }

    /// The properties it was made with, functions resolved.
    #[must_use]
    pub fn properties(&self) -> &Map<String, Value> {
        &self.properties
    }
}

impl Stack {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ARN.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its resources, in the order they were made.
    #[must_use]
    pub fn resources(&self) -> &[StackResource] {
        &self.resources
    }

    /// The resource of this logical id, unless a condition left it out.
    #[must_use]
    pub fn resource(&self, logical_id: &str) -> Option<&StackResource> {
        self.resources
            .iter()
            .find(|resource| resource.logical_id == logical_id)
    }

    /// What the template's outputs came to.
    #[must_use]
    pub fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }
}

/// Why there is no stack, or why it is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// The template or its parameters are wrong; nothing was made.
    #[error(transparent)]
    Refused(#[from] ValidationError),
    /// There is a stack of this name.
    #[error("Stack [{0}] already exists")]
    AlreadyExists(String),
    /// A part could not be made; what was made before is gone again, but for what is listed.
    #[error(
        "stack `{stack}`: {part} CREATE_FAILED: {reason}; ROLLBACK_{}",
        if .left.is_empty() { "COMPLETE".to_owned() } else { format!("FAILED, left behind: {}", .left.join("; ")) }
    )]
    RolledBack {
        /// The stack that was to be.
        stack: String,
        /// The resource or output that could not be made, with its type.
        part: String,
        /// What its service refused.
        reason: String,
        /// Resources that could not be removed, and why.
        left: Vec<String>,
    },
    /// Resources could not be removed.
    #[error("stack `{stack}` DELETE_FAILED: {}", .left.join("; "))]
    NotDeleted {
        /// The stack.
        stack: String,
        /// What is left, and why.
        left: Vec<String>,
    },
}

impl StackError {
    fn refused(problem: String) -> Self {
        ValidationError {
            problems: vec![problem],
        }
        .into()
    }
}

impl CloudFormation {
    /// Makes a stack of a template.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters, or the first resource that could not be made.
    pub async fn create_stack(
        &self,
        caller: &Caller,
        name: &str,
        template: &Template,
        given: &BTreeMap<String, String>,
        artefacts: &dyn Artefacts,
    ) -> Result<Stack, StackError> {
        let world = self
            .world()
            .map_err(|error| StackError::refused(error.to_string()))?;
        check_name(name)?;
        if self.stack(caller, name).is_some() {
            return Err(StackError::AlreadyExists(name.to_owned()));
        }
        let values = parameters::values(&template.parameters, given)
            .map_err(|problems| ValidationError { problems })?;
        let mut scope = Scope::new(&world, caller, name, template, values, self.exports(caller));
        scope.decide_conditions()?;
        scope.check_rules()?;
        let order = template
            .in_order(&scope.conditions)
            .map_err(|problems| ValidationError { problems })?;
        let mut made = Vec::new();
        for resource in order {
            match self.create(&world, &scope, resource, artefacts).await {
                Ok(one) => {
                    scope.made.insert(one.logical_id.clone(), one.made.clone());
                    made.push(one);
                }
                Err(reason) => {
                    let part = format!(
                        "resource `{}` ({})",
                        resource.logical_id, resource.kind.name
                    );
                    return Err(self.roll_back(&world, &scope, made, part, reason).await);
                }
            }
        }
        let (outputs, exports) = match scope.outputs() {
            Ok(values) => values,
            Err((output, reason)) => {
                let part = format!("output `{output}`");
                return Err(self.roll_back(&world, &scope, made, part, reason).await);
            }
        };
        let stack = Stack {
            name: name.to_owned(),
            id: scope.stack_id,
            resources: made,
            outputs,
            exports,
        };
        self.stacks.with(caller, |stacks| {
            stacks.insert(name.to_owned(), stack.clone())
        });
        Ok(stack)
    }

    /// Deletes a stack: its resources in reverse, but for those the template retains. One that is gone is no error.
    ///
    /// # Errors
    /// What could not be removed; the stack stays, with that.
    pub async fn delete_stack(&self, caller: &Caller, name: &str) -> Result<(), StackError> {
        let world = self
            .world()
            .map_err(|error| StackError::refused(error.to_string()))?;
        let Some(mut stack) = self.stack(caller, name) else {
            return Ok(());
        };
        let (mut kept, mut left) = (Vec::new(), Vec::new());
        for resource in std::mem::take(&mut stack.resources).into_iter().rev() {
            if resource.deletion != DeletionPolicy::Delete {
                continue;
            }
            if let Err(reason) = self.delete(&world, caller, &stack.name, &resource).await {
                left.push(reason);
                kept.insert(0, resource);
            }
        }
        stack.resources = kept;
        self.stacks.with(caller, |stacks| {
            stacks.remove(name);
            if !left.is_empty() {
                stacks.insert(name.to_owned(), stack);
            }
        });
        if left.is_empty() {
            Ok(())
        } else {
            Err(StackError::NotDeleted {
                stack: name.to_owned(),
                left,
            })
        }
    }

    async fn create(
        &self,
        world: &Arc<World>,
        scope: &Scope<'_>,
        resource: &Resource,
        artefacts: &dyn Artefacts,
    ) -> Result<StackResource, String> {
        let mut properties = Map::new();
        for (name, value) in &resource.properties {
            if let Some(value) = functions::resolved(scope, value)? {
                properties.insert(name.clone(), value);
            }
        }
        let properties = coerced_members("", resource.kind.properties, properties)?;
        let making = Making {
            world,
            lambda: &self.lambda,
            groups: &self.groups,
            caller: scope.caller,
            stack: scope.stack_name,
            logical_id: &resource.logical_id,
            properties: &properties,
        };
        let made = (resource.kind.create)(&making, artefacts)
            .await
            .map_err(|error| error.to_string())?;
        Ok(StackResource {
            logical_id: resource.logical_id.clone(),
            kind: resource.kind,
            deletion: resource.deletion,
            properties,
            made,
        })
    }

    /// Removes what was made, last first.
    async fn roll_back(
        &self,
        world: &Arc<World>,
        scope: &Scope<'_>,
        made: Vec<StackResource>,
        part: String,
        reason: String,
    ) -> StackError {
        let mut left = Vec::new();
        for resource in made.into_iter().rev() {
            if resource.deletion != DeletionPolicy::Retain {
                let deleted = self.delete(world, scope.caller, scope.stack_name, &resource);
                left.extend(deleted.await.err());
            }
        }
        StackError::RolledBack {
            stack: scope.stack_name.to_owned(),
            part,
            reason,
            left,
        }
    }

    async fn delete(
        &self,
        world: &Arc<World>,
        caller: &Caller,
        stack: &str,
        resource: &StackResource,
    ) -> Result<(), String> {
        let making = Making {
            world,
            lambda: &self.lambda,
            groups: &self.groups,
            caller,
            stack,
            logical_id: &resource.logical_id,
            properties: &resource.properties,
        };
        let deleted = (resource.kind.delete)(&making, &resource.made.physical_id).await;
        deleted.map_err(|error| {
            format!(
                "`{}` ({}): {error}",
                resource.logical_id, resource.kind.name
            )
        })
    }

    fn exports(&self, caller: &Caller) -> BTreeMap<String, String> {
        self.stacks.with(caller, |stacks| {
            stacks
                .values()
                .flat_map(|stack| stack.exports.clone())
                .collect()
        })
    }
}

/// Letters, digits and hyphens, a letter first, at most 128.
fn check_name(name: &str) -> Result<(), StackError> {
    let fits = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= 128
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '-');
    if fits {
        return Ok(());
    }
    Err(StackError::refused(format!(
        "1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
    )))
}

/// Outputs or exports, by name.
type Values = BTreeMap<String, String>;

/// What the names in a template stand for while a stack is made.
struct Scope<'a> {
    caller: &'a Caller,
    template: &'a Template,
    stack_name: &'a str,
    stack_id: String,
    values: BTreeMap<String, Value>,
    conditions: BTreeMap<String, bool>,
    made: BTreeMap<String, Made>,
    exports: BTreeMap<String, String>,
}

impl<'a> Scope<'a> {
    fn new(
        world: &World,
        caller: &'a Caller,
        stack_name: &'a str,
        template: &'a Template,
        values: BTreeMap<String, Value>,
        exports: BTreeMap<String, String>,
    ) -> Self {
        let stack_id = format!(
            "arn:aws:cloudformation:{}:{}:stack/{stack_name}/{}",
            caller.region,
            caller.account,
            world.randomness().uuid()
        );
        Self {
            caller,
            template,
            stack_name,
            stack_id,
            values,
            conditions: BTreeMap::new(),
            made: BTreeMap::new(),
            exports,
        }
    }

    /// Conditions may name each other: each waits until those it names are decided.
    fn decide_conditions(&mut self) -> Result<(), StackError> {
        let mut waiting: Vec<_> = self.template.conditions.iter().collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut problem = None;
            waiting.retain(
                |(name, expression)| match functions::holds(self, expression) {
                    Ok(holds) => self.conditions.insert((*name).clone(), holds).is_some(),
                    Err(reason) => {
                        problem = Some(format!("{reason}: condition `{name}`"));
                        true
                    }
                },
            );
            if waiting.len() == before {
                return Err(StackError::refused(problem.unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Assertions about the parameters.
    fn check_rules(&self) -> Result<(), StackError> {
        let mut problems = Vec::new();
        for rule in &self.template.rules {
            let failed = rule
                .failed(self)
                .map_err(|reason| StackError::refused(format!("rule `{}`: {reason}", rule.name)))?;
            problems.extend(failed);
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ValidationError { problems }.into())
        }
    }

    /// Outputs and exports; what cannot be given is named.
    fn outputs(&self) -> Result<(Values, Values), (String, String)> {
        let (mut outputs, mut exports) = (BTreeMap::new(), BTreeMap::new());
        for (name, output) in &self.template.outputs {
            let holds = |condition: &String| self.conditions.get(condition) == Some(&true);
            if !output.condition.as_ref().is_none_or(holds) {
                continue;
            }
            let (value, export) = self
                .output(output)
                .map_err(|reason| (name.clone(), reason))?;
            exports.extend(export.map(|export| (export, value.clone())));
            outputs.insert(name.clone(), value);
        }
        Ok((outputs, exports))
    }

    fn output(&self, output: &Output) -> Result<(String, Option<String>), String> {
        let text = |value: &Value| {
            let resolved = functions::resolved(self, value)?.unwrap_or_default();
            functions::text(&resolved)
        };
        Ok((
            text(&output.value)?,
            output.export.as_ref().map(text).transpose()?,
        ))
    }
}

impl Names for Scope<'_> {
    fn named(&self, name: &str) -> Option<Value> {
        let pseudo = match name {
            "AWS::AccountId" => &self.caller.account,
            "AWS::Region" => &self.caller.region,
            "AWS::Partition" => "aws",
            "AWS::URLSuffix" => "amazonaws.com",
            "AWS::StackName" => self.stack_name,
            "AWS::StackId" => &self.stack_id,
            "AWS::NotificationARNs" => return Some(Value::Array(Vec::new())),
            name => {
                let made = self
                    .made
                    .get(name)
                    .map(|made| Value::from(made.physical_id.as_str()));
                return self.values.get(name).cloned().or(made);
            }
        };
        Some(pseudo.into())
    }

    fn attribute(&self, resource: &str, attribute: &str) -> Option<Value> {
        let made = self.made.get(resource)?;
        made.attributes
            .get(attribute)
            .map(|value| value.as_str().into())
    }

    fn condition(&self, name: &str) -> Option<bool> {
        self.conditions.get(name).copied()
    }

    fn mapped(&self, mapping: &str, first: &str, second: &str) -> Option<Value> {
        self.template
            .mappings
            .get(mapping)?
            .get(first)?
            .get(second)
            .cloned()
    }

    fn exported(&self, name: &str) -> Option<Value> {
        self.exports.get(name).map(|value| value.as_str().into())
    }

    fn region(&self) -> &str {
        &self.caller.region
    }
}
