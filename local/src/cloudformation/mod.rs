//! CloudFormation: stacks from templates, so that what is rehearsed is what is deployed.
//!
//! A [`Template`] is read and checked whole: a resource type that is not served, a property that
//! its type does not have, a name that nothing bears are refused before anything is made. Then
//! each resource is made in the order of what names what; when one cannot be, those made before
//! it are removed again in reverse. Stacks are created and deleted, not updated.
//!
//! What `aws cloudformation package` uploads (the code of functions, the definition of a state
//! machine) is a path in the template; [`Artefacts`] says what is there.

mod functions;
mod parameters;
mod shape;
mod stack;
mod template;
mod types;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::lambda::{FunctionKind, FunctionSettings, Lambda};
use crate::regional::Regional;
use crate::request::{ApiError, Caller};
use crate::world::World;

pub use stack::{Stack, StackError, StackResource};
pub use template::{Template, ValidationError};
pub use types::records;

/// What a template's local paths lead to.
pub trait Artefacts: Send + Sync {
    /// The program in an archive, such as `../package/plan.zip`, as a function with these settings runs it.
    ///
    /// # Errors
    /// Why there is none.
    fn function(&self, path: &str, settings: &FunctionSettings) -> Result<FunctionKind, String>;

    /// The text of a file, such as `../statemachine/restore.asl.json`.
    ///
    /// # Errors
    /// Why there is none.
    fn text(&self, path: &str) -> Result<String, String>;
}

/// The stacks of every account and region.
pub struct CloudFormation {
    world: Weak<World>,
    lambda: Arc<Lambda>,
    stacks: Regional<BTreeMap<String, Stack>>,
    /// The ids of security groups there are: EC2 is not here.
    groups: Regional<BTreeSet<String>>,
}

impl CloudFormation {
    /// No stacks yet.
    #[must_use]
    pub fn new(world: Weak<World>, lambda: Arc<Lambda>) -> Self {
        Self {
            world,
            lambda,
            stacks: Regional::default(),
            groups: Regional::default(),
        }
    }

    /// The stack of this name.
    #[must_use]
    pub fn stack(&self, caller: &Caller, name: &str) -> Option<Stack> {
        self.stacks.with(caller, |stacks| stacks.get(name).cloned())
    }

    fn world(&self) -> Result<Arc<World>, ApiError> {
        self.world
            .upgrade()
            .ok_or_else(|| ApiError::new(500, "InternalFailure", "the world has stopped"))
    }
}
