//! The resource types that templates may use: their properties, and how each is made and removed.
//!
//! A property named here is accepted. Where nothing in the local cloud observes it (tracing, say),
//! it is only told back by the service that keeps it.

mod api_gateway;
mod dynamodb;
mod events;
mod iam;
mod kms;
mod lambda;
mod monitoring;
pub mod records;
mod scheduler;
mod sns;
mod sqs;
mod ssm;
mod states;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::Artefacts;
use super::shape::Property;
use crate::lambda::Lambda;
use crate::regional::Regional;
use crate::request::{ApiError, Caller};
use crate::world::World;

/// Every type.
static TYPES: [&[ResourceType]; 13] = [
    api_gateway::TYPES,
    dynamodb::TYPES,
    events::TYPES,
    iam::TYPES,
    kms::TYPES,
    lambda::TYPES,
    monitoring::TYPES,
    records::TYPES,
    scheduler::TYPES,
    sns::TYPES,
    sqs::TYPES,
    ssm::TYPES,
    states::TYPES,
];

/// The type of this name, if templates may use it.
pub(super) fn find(name: &str) -> Option<&'static ResourceType> {
    TYPES
        .iter()
        .flat_map(|types| types.iter())
        .find(|kind| kind.name == name)
}

type Create =
    for<'a> fn(&'a Making<'a>, &'a dyn Artefacts) -> BoxFuture<'a, Result<Made, ApiError>>;
type Delete = for<'a> fn(&'a Making<'a>, &'a str) -> BoxFuture<'a, Result<(), ApiError>>;

/// A resource type.
pub(super) struct ResourceType {
    /// Such as `AWS::Lambda::Function`.
    pub(super) name: &'static str,
    pub(super) properties: &'static [Property],
    /// What `Fn::GetAtt` gives.
    pub(super) attributes: &'static [&'static str],
    pub(super) create: Create,
    /// Removes what bears this physical id; one that is gone is no error.
    pub(super) delete: Delete,
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What was made: what `Ref` and `Fn::GetAtt` give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) physical_id: String,
    pub(super) attributes: BTreeMap<&'static str, String>,
}

impl Made {
    pub(super) fn new(physical_id: impl Into<String>) -> Self {
        Self {
            physical_id: physical_id.into(),
            attributes: BTreeMap::new(),
        }
    }

    pub(super) fn with(mut self, attribute: &'static str, value: impl Into<String>) -> Self {
        self.attributes.insert(attribute, value.into());
        self
    }
}

/// A resource being made or removed: where, and with which properties.
pub(super) struct Making<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) lambda: &'a Arc<Lambda>,
    /// The ids of security groups there are.
    pub(super) groups: &'a Regional<BTreeSet<String>>,
    pub(super) caller: &'a Caller,
    pub(super) stack: &'a str,
    pub(super) logical_id: &'a str,
    pub(super) properties: &'a Map<String, Value>,
}

impl Making<'_> {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name).and_then(Value::as_str)
    }

    /// A property that the type requires as text.
    pub(super) fn required(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.properties.get(name)
    }

    /// A document as text, however the template gives it.
    pub(super) fn document(&self, name: &str) -> String {
        match self.properties.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// The name the template gives in this property, or one as CloudFormation makes them:
    /// stack, logical id and chance, within `most` characters.
    pub(super) fn name(&self, property: &str, most: usize) -> String {
        if let Some(name) = self.text(property) {
            return name.to_owned();
        }
        let chance = self.world.randomness().alphanumeric(12);
        let room = most.saturating_sub(chance.len() + 1);
        let beginning = format!("{}-{}", self.stack, self.logical_id);
        let beginning: String = beginning.chars().take(room).collect();
        format!("{}-{chance}", beginning.trim_end_matches('-'))
    }

    pub(super) fn arn(&self, service: &str, resource: &str) -> String {
        format!(
            "arn:aws:{service}:{}:{}:{resource}",
            self.caller.region, self.caller.account
        )
    }

    /// Calls a service as CloudFormation does, with its caller's rights.
    pub(super) async fn call(
        &self,
        service: &str,
        target: &str,
        body: Value,
    ) -> Result<Value, ApiError> {
        self.world.call(self.caller, service, target, &body).await
    }

    /// The same, where the service may say that there is nothing to remove.
    pub(super) async fn remove(
        &self,
        service: &str,
        target: &str,
        body: Value,
        gone: &[&str],
    ) -> Result<(), ApiError> {
        match self.call(service, target, body).await {
            Err(error) if !gone.iter().any(|code| error.code.ends_with(code)) => Err(error),
            _ => Ok(()),
        }
    }

    /// The given properties under other names, for requests; absent ones are left out.
    pub(super) fn renamed(&self, names: &[(&str, &str)]) -> Map<String, Value> {
        let member = |(from, to): &(&str, &str)| {
            Some(((*to).to_owned(), self.properties.get(*from)?.clone()))
        };
        names.iter().filter_map(member).collect()
    }

    /// The given properties as they are, for requests; absent ones are left out.
    pub(super) fn picked(&self, names: &[&str]) -> Map<String, Value> {
        let member = |name: &&str| Some(((*name).to_owned(), self.properties.get(*name)?.clone()));
        names.iter().filter_map(member).collect()
    }
}

/// A refusal of CloudFormation itself, in the name of a service.
pub(super) fn refused(reason: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidRequest", reason)
}
