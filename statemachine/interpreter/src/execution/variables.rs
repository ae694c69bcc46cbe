//! Workflow variables: what `Assign` sets and `$name` reads.
//!
//! Each branch of a Parallel state and each iteration of a Map state has a scope
//! of its own. It reads the scopes around it, as they were when it started, and
//! writes only to itself; when it ends, what it assigned is gone.

use serde_json::{Map, Value};

/// The variables one path through the machine can see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    values: Map<String, Value>,
}

impl Variables {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Sets variables. All were computed before any is set.
    pub(crate) fn assign(&mut self, assigned: Map<String, Value>) {
        self.values.extend(assigned);
    }
}
