//! A template, checked: every resource type is served, every property known, every name resolved.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::functions::{Names, Reference, for_each_reference, holds};
use super::parameters::Parameter;
use super::shape::{Property, Shape, check_members, optional, required};
use super::types::{self, ResourceType};
use super::yaml;

/// What CloudFormation itself gives a name to.
pub(super) const PSEUDO_PARAMETERS: [&str; 8] = [
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

const SECTIONS: &[Property] = &[
    optional("AWSTemplateFormatVersion", Shape::Text),
    optional("Description", Shape::Text),
    optional("Metadata", Shape::Document),
    optional("Parameters", Shape::Map(&Shape::Document)),
    optional("Mappings", Shape::Map(&Shape::Map(&Shape::Document))),
    optional("Conditions", Shape::Map(&Shape::Document)),
    optional("Rules", Shape::Map(&Shape::Document)),
    required("Resources", Shape::Map(&Shape::Document)),
    optional("Outputs", Shape::Map(&Shape::Document)),
];

const RESOURCE: &[Property] = &[
    required("Type", Shape::Text),
    optional("Properties", Shape::Document),
    optional("Condition", Shape::Text),
    optional("DeletionPolicy", Shape::Text),
    optional("UpdateReplacePolicy", Shape::Text),
    optional("Metadata", Shape::Document),
    // Text, or a list of texts.
    optional("DependsOn", Shape::Document),
];

const RULE: &[Property] = &[
    optional("RuleCondition", Shape::Document),
    required(
        "Assertions",
        Shape::List(&Shape::Record(&[
            required("Assert", Shape::Document),
            optional("AssertDescription", Shape::Text),
        ])),
    ),
];

const OUTPUT: &[Property] = &[
    required("Value", Shape::Text),
    optional("Condition", Shape::Text),
    optional("Description", Shape::Text),
    optional("Export", Shape::Record(&[required("Name", Shape::Text)])),
];

/// Everything that is wrong with a template or with a stack's parameters. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct ValidationError {
    /// One sentence each, naming the logical id and the property or parameter.
    pub problems: Vec<String>,
}

/// A template that can be made a stack of.
#[derive(Debug)]
pub struct Template {
    pub(super) parameters: Vec<Parameter>,
    pub(super) mappings: Value,
    pub(super) conditions: BTreeMap<String, Value>,
    pub(super) rules: Vec<Rule>,
    pub(super) resources: Vec<Resource>,
    pub(super) outputs: BTreeMap<String, Output>,
}

/// A resource as the template describes it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) logical_id: String,
    pub(super) kind: &'static ResourceType,
    pub(super) properties: Map<String, Value>,
    pub(super) depends_on: Vec<String>,
    pub(super) condition: Option<String>,
    pub(super) deletion: DeletionPolicy,
}

/// What becomes of a resource when its stack goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeletionPolicy {
    Delete,
    Retain,
    /// Kept, unless the stack that would have made it was rolled back.
    RetainExceptOnCreate,
}

/// What must hold of the parameters.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    condition: Option<Value>,
    assertions: Vec<(Value, String)>,
}

impl Rule {
    /// The descriptions of the assertions that do not hold.
    ///
    /// # Errors
    /// A function that cannot give a truth.
    pub(super) fn failed(&self, names: &dyn Names) -> Result<Vec<String>, String> {
        if let Some(condition) = &self.condition
            && !holds(names, condition)?
        {
            return Ok(Vec::new());
        }
        let mut failed = Vec::new();
        for (assertion, description) in &self.assertions {
            if !holds(names, assertion)? {
                failed.push(format!("rule `{}`: {description}", self.name));
            }
        }
        Ok(failed)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) value: Value,
    pub(super) condition: Option<String>,
    pub(super) export: Option<Value>,
}

impl Template {
    /// Reads a template and checks all of it that does not depend on parameters.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ValidationError> {
        let mut problems = Vec::new();
        let template = Self::read(text, &mut problems);
        match template {
            Some(template) if problems.is_empty() => Ok(template),
            _ => Err(ValidationError { problems }),
        }
    }

    fn read(text: &str, problems: &mut Vec<String>) -> Option<Self> {
        let document = match yaml::read(text) {
            Ok(document) => document,
            Err(error) => {
                problems.push(format!(
                    "Template format error: YAML not well-formed. ({error})"
                ));
                return None;
            }
        };
        let empty = Map::new();
        let sections = document.as_object().unwrap_or(&empty);
        let mut found = Vec::new();
        check_members("", SECTIONS, sections, &mut found);
        problems.extend(
            found
                .into_iter()
                .map(|reason| format!("Template format error: {reason}")),
        );
        if !problems.is_empty() {
            return None;
        }
        let members = |name: &str| {
            sections
                .get(name)
                .and_then(Value::as_object)
                .unwrap_or(&empty)
        };
        let template = Self {
            parameters: read_parameters(members("Parameters"), problems),
            mappings: sections.get("Mappings").cloned().unwrap_or_default(),
            conditions: members("Conditions").clone().into_iter().collect(),
            rules: read_rules(members("Rules"), problems),
            resources: read_resources(members("Resources"), problems),
            outputs: read_outputs(members("Outputs"), problems),
        };
        if problems.is_empty() {
            template.check_references(members("Parameters"), problems);
        }
        Some(template)
    }

    fn check_references(&self, parameters: &Map<String, Value>, problems: &mut Vec<String>) {
        let known = Known {
            template: self,
            parameters,
        };
        for resource in &self.resources {
            let place = format!("resource `{}`", resource.logical_id);
            known.check_condition(&place, resource.condition.as_deref(), problems);
            for (name, value) in &resource.properties {
                known.check(&format!("property `{name}` of {place}"), value, problems);
            }
            for other in &resource.depends_on {
                if self.resource(other).is_none() {
                    problems.push(format!(
                        "Template format error: Unresolved resource dependencies [{other}] in the Resources block of the template: DependsOn of {place}"
                    ));
                }
            }
        }
        for (name, output) in &self.outputs {
            let place = format!("output `{name}`");
            known.check_condition(&place, output.condition.as_deref(), problems);
            known.check(&place, &output.value, problems);
            if let Some(export) = &output.export {
                known.check(&format!("export of {place}"), export, problems);
            }
        }
        for (name, expression) in &self.conditions {
            known.check_expression(&format!("condition `{name}`"), expression, problems);
        }
        for rule in &self.rules {
            let place = format!("rule `{}`", rule.name);
            let asserted = rule.assertions.iter().map(|(assertion, _)| assertion);
            for expression in rule.condition.iter().chain(asserted) {
                known.check_expression(&place, expression, problems);
            }
        }
    }

    pub(super) fn resource(&self, logical_id: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|resource| resource.logical_id == logical_id)
    }
}

/// What references may name.
struct Known<'a> {
    template: &'a Template,
    parameters: &'a Map<String, Value>,
}

impl Known<'_> {
    fn is_parameter(&self, name: &str) -> bool {
        self.parameters.contains_key(name) || PSEUDO_PARAMETERS.contains(&name)
    }

    fn check_condition(&self, place: &str, condition: Option<&str>, problems: &mut Vec<String>) {
        if let Some(name) = condition
            && !self.template.conditions.contains_key(name)
        {
            problems.push(format!(
                "Template format error: Unresolved condition dependency {name}: Condition of {place}"
            ));
        }
    }

    fn check(&self, place: &str, value: &Value, problems: &mut Vec<String>) {
        for_each_reference(value, None, &mut |reference| {
            problems.extend(
                self.problem(reference)
                    .map(|problem| format!("{problem}: {place}")),
            );
        });
    }

    fn problem(&self, reference: Reference<'_>) -> Option<String> {
        let unresolved = |name: &str| {
            format!(
                "Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template"
            )
        };
        match reference {
            Reference::Named(name) => {
                let is_known = self.is_parameter(name) || self.template.resource(name).is_some();
                (!is_known).then(|| unresolved(name))
            }
            Reference::Attribute(name, attribute) => match self.template.resource(name) {
                None => Some(unresolved(name)),
                Some(resource) if !resource.kind.attributes.contains(&attribute) => Some(format!(
                    "Template error: resource {name} does not support attribute type {attribute} in Fn::GetAtt; {} has {}",
                    resource.kind.name,
                    listed(resource.kind.attributes)
                )),
                Some(_) => None,
            },
            Reference::Condition(name) => (!self.template.conditions.contains_key(name))
                .then(|| format!("Template format error: Unresolved condition dependency {name}")),
            Reference::Mapping(name) => self.template.mappings.get(name).is_none().then(|| {
                format!("Template error: Mapping named '{name}' is not present in the 'Mappings' section of template")
            }),
            Reference::Wrong(function, reason) => Some(format!("Template error: {function} {reason}")),
        }
    }

    /// Conditions name parameters, mappings and each other, no resources.
    fn check_expression(&self, place: &str, expression: &Value, problems: &mut Vec<String>) {
        if let Value::Object(members) = expression
            && members.len() == 1
            && let Some((function, argument)) = members.iter().next()
        {
            match (function.as_str(), argument) {
                ("Condition", Value::String(name)) => {
                    self.check_condition(place, Some(name), problems);
                }
                ("Fn::And" | "Fn::Or" | "Fn::Not", Value::Array(parts)) => {
                    for part in parts {
                        self.check_expression(place, part, problems);
                    }
                }
                ("Fn::Equals", argument) => for_each_reference(argument, None, &mut |reference| {
                    problems.extend(match reference {
                        Reference::Named(name) if self.is_parameter(name) => None,
                        Reference::Named(name) | Reference::Attribute(name, _) => Some(format!(
                            "Template format error: Unresolved dependencies [{name}]. Cannot reference resources in the Conditions block of the template: {place}"
                        )),
                        other => self.problem(other).map(|problem| format!("{problem}: {place}")),
                    });
                }),
                (other, _) => {
                    problems.push(format!("Template error: {other} is no condition: {place}"))
                }
            }
            return;
        }
        problems.push(format!(
            "Template error: expected one of Fn::And, Fn::Equals, Fn::Not, Fn::Or, Condition: {place}"
        ));
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn read_parameters(definitions: &Map<String, Value>, problems: &mut Vec<String>) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for (name, definition) in definitions {
        match Parameter::read(name, definition) {
            Ok(parameter) => parameters.push(parameter),
            Err(found) => problems.extend(found),
        }
    }
    parameters
}

fn read_resources(definitions: &Map<String, Value>, problems: &mut Vec<String>) -> Vec<Resource> {
    let mut resources = Vec::new();
    for (logical_id, definition) in definitions {
        let mut found = Vec::new();
        resources.extend(read_resource(logical_id, definition, &mut found));
        problems.extend(found);
    }
    resources
}

fn read_resource(
    logical_id: &str,
    definition: &Value,
    problems: &mut Vec<String>,
) -> Option<Resource> {
    let empty = Map::new();
    let members = definition.as_object().unwrap_or(&empty);
    let said = |reason: String| format!("Template format error: resource `{logical_id}`: {reason}");
    if logical_id.is_empty()
        || !logical_id
            .chars()
            .all(|character| character.is_ascii_alphanumeric())
    {
        problems.push(said("Resource name is non alphanumeric.".to_owned()));
        return None;
    }
    let mut depends_on = Vec::new();
    let mut others = members.clone();
    match others.remove("DependsOn") {
        None => {}
        Some(Value::String(other)) => depends_on.push(other),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            depends_on.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Some(_) => problems.push(said(
            "DependsOn: expected a logical id or a list of them".to_owned(),
        )),
    }
    let mut found = Vec::new();
    check_members("", RESOURCE, &others, &mut found);
    if !found.is_empty() {
        problems.extend(found.into_iter().map(said));
        return None;
    }
    let text = |name: &str| others.get(name).and_then(Value::as_str);
    let type_name = text("Type").unwrap_or_default();
    let Some(kind) = types::find(type_name) else {
        problems.push(format!(
            "Template format error: Unrecognized resource types: [{type_name}]: resource `{logical_id}`"
        ));
        return None;
    };
    let properties = others
        .get("Properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut found = Vec::new();
    check_members("", kind.properties, properties, &mut found);
    problems.extend(
        found
            .into_iter()
            .map(|reason| format!("resource `{logical_id}` ({type_name}): {reason}")),
    );
    let deletion = match text("DeletionPolicy") {
        None | Some("Delete") => DeletionPolicy::Delete,
        Some("Retain") => DeletionPolicy::Retain,
        Some("RetainExceptOnCreate") => DeletionPolicy::RetainExceptOnCreate,
        Some(other) => {
            problems.push(said(format!("Unrecognized DeletionPolicy {other}")));
            DeletionPolicy::Delete
        }
    };
    Some(Resource {
        logical_id: logical_id.to_owned(),
        kind,
        properties: properties.clone(),
        depends_on,
        condition: text("Condition").map(str::to_owned),
        deletion,
    })
}

fn read_rules(definitions: &Map<String, Value>, problems: &mut Vec<String>) -> Vec<Rule> {
    let empty = Map::new();
    let mut rules = Vec::new();
    for (name, definition) in definitions {
        let members = definition.as_object().unwrap_or(&empty);
        let mut found = Vec::new();
        check_members("", RULE, members, &mut found);
        problems.extend(
            found
                .into_iter()
                .map(|reason| format!("Template format error: rule `{name}`: {reason}")),
        );
        let assertions = members
            .get("Assertions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let described = |assertion: &Value| {
            let description = assertion["AssertDescription"]
                .as_str()
                .unwrap_or("an assertion does not hold");
            (assertion["Assert"].clone(), description.to_owned())
        };
        rules.push(Rule {
            name: name.clone(),
            condition: members.get("RuleCondition").cloned(),
            assertions: assertions.map(described).collect(),
        });
    }
    rules
}

fn read_outputs(
    definitions: &Map<String, Value>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, Output> {
    let mut outputs = BTreeMap::new();
    let empty = Map::new();
    for (name, definition) in definitions {
        let members = definition.as_object().unwrap_or(&empty);
        let mut found = Vec::new();
        check_members("", OUTPUT, members, &mut found);
        problems.extend(
            found
                .into_iter()
                .map(|reason| format!("Template format error: output `{name}`: {reason}")),
        );
        let output = Output {
            value: members.get("Value").cloned().unwrap_or_default(),
            condition: members
                .get("Condition")
                .and_then(Value::as_str)
                .map(str::to_owned),
            export: members
                .get("Export")
                .and_then(|export| export.get("Name"))
                .cloned(),
        };
        outputs.insert(name.clone(), output);
    }
    outputs
}

impl Template {
    /// The active resources in an order in which each comes after what it names.
    ///
    /// # Errors
    /// What names each other in a circle, or a resource that its condition leaves out.
    pub(super) fn in_order(
        &self,
        conditions: &BTreeMap<String, bool>,
    ) -> Result<Vec<&Resource>, Vec<String>> {
        let is_active = |condition: &Option<String>| {
            condition
                .as_ref()
                .is_none_or(|name| conditions.get(name) == Some(&true))
        };
        let active: Vec<&Resource> = self
            .resources
            .iter()
            .filter(|resource| is_active(&resource.condition))
            .collect();
        let ids: BTreeSet<&str> = active
            .iter()
            .map(|resource| resource.logical_id.as_str())
            .collect();
        let mut problems = Vec::new();
        let mut waiting = Vec::new();
        for resource in active {
            let (names, left_out) = self.named_by(resource, conditions, &ids);
            problems.extend(left_out);
            waiting.push((resource, names));
        }
        for (name, output) in self
            .outputs
            .iter()
            .filter(|(_, output)| is_active(&output.condition))
        {
            let (_, left_out) = self.resources_named(&output.value, conditions, &ids);
            problems.extend(
                left_out
                    .iter()
                    .map(|id| left_out_by_condition(id, &format!("output `{name}`"))),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        ordered(waiting)
    }

    fn named_by<'a>(
        &'a self,
        resource: &'a Resource,
        conditions: &BTreeMap<String, bool>,
        active: &BTreeSet<&str>,
    ) -> (BTreeSet<&'a str>, Vec<String>) {
        let place = format!("resource `{}`", resource.logical_id);
        let mut names: BTreeSet<&str> = resource
            .depends_on
            .iter()
            .map(String::as_str)
            // CloudFormation, too, overlooks a dependency on what a condition leaves out.
            .filter(|name| active.contains(name))
            .collect();
        let mut problems = Vec::new();
        for value in resource.properties.values() {
            let (found, left_out) = self.resources_named(value, conditions, active);
            names.extend(found);
            problems.extend(left_out.iter().map(|id| left_out_by_condition(id, &place)));
        }
        (names, problems)
    }

    /// The resources a value names: those there will be, and those a condition leaves out.
    fn resources_named<'a>(
        &self,
        value: &'a Value,
        conditions: &BTreeMap<String, bool>,
        active: &BTreeSet<&str>,
    ) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
        let mut names = BTreeSet::new();
        for_each_reference(value, Some(conditions), &mut |reference| {
            let (Reference::Named(name) | Reference::Attribute(name, _)) = reference else {
                return;
            };
            if self.resource(name).is_some() {
                names.insert(name);
            }
        });
        names.into_iter().partition(|name| active.contains(name))
    }
}

fn left_out_by_condition(id: &str, place: &str) -> String {
    format!(
        "Template format error: Unresolved resource dependencies [{id}] in the Resources block of the template: {place} names a resource that its condition leaves out"
    )
}

/// In the template's order, but for what must wait.
fn ordered<'a>(
    mut waiting: Vec<(&'a Resource, BTreeSet<&'a str>)>,
) -> Result<Vec<&'a Resource>, Vec<String>> {
    let mut order: Vec<&Resource> = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|(resource, names)| {
            let is_ready = names.is_subset(&done);
            if is_ready {
                order.push(resource);
                done.insert(&resource.logical_id);
            }
            !is_ready
        });
        if waiting.len() == before {
            let ids: Vec<&str> = waiting
                .iter()
                .map(|(resource, _)| resource.logical_id.as_str())
                .collect();
            return Err(vec![format!(
                "Circular dependency between resources: [{}]",
                ids.join(", ")
            )]);
        }
    }
    Ok(order)
}
