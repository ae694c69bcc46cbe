//! Which states are under way, so that those cut short can be told.

use std::sync::{Arc, Mutex, PoisonError};

use crate::history::EventType;

/// What one path through the machine is in the middle of.
///
/// It lives outside the path's future, so it is still there when a failing
/// sibling has dropped that future.
#[derive(Debug, Default)]
pub(super) struct Active {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// What to say of the state it is in, should it be cut short.
    aborted: Option<EventType>,
    branches: Vec<Arc<Active>>,
}

impl Active {
    pub(super) fn enter(&self, aborted: Option<EventType>) {
        self.change(|inside| inside.aborted = aborted);
    }

    /// One more branch inside the state it is in.
    pub(super) fn branch(&self) -> Arc<Self> {
        let branch = Arc::new(Self::default());
        self.change(|inside| inside.branches.push(Arc::clone(&branch)));
        branch
    }

    pub(super) fn leave_branches(&self) {
        self.change(|inside| inside.branches.clear());
    }

    /// What to say of everything cut short here, outermost first.
    pub(super) fn aborted(&self) -> Vec<EventType> {
        let mut aborted = Vec::new();
        self.change(|inside| {
            aborted.extend(inside.aborted);
            for branch in &inside.branches {
                aborted.extend(branch.aborted());
            }
        });
        aborted
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
