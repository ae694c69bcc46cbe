//! Where an execution stands, path by path.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;

use super::map_run::MapRun;
use super::variables::Variables;
use crate::definition::states::State;
use crate::history::EventType;

/// Where one path through the machine stands: the state it is in, and the branches inside it.
///
/// It outlives the path's future. A failing sibling has dropped that future when it
/// tells what it cut short, and a redrive goes on from here.
#[derive(Debug)]
pub(super) struct Position {
    /// `$$.Map.Item`, inside a Map state.
    map_item: Option<Value>,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    here: Here,
    /// What to say of the state it is in, should it be cut short.
    aborted: Option<EventType>,
    /// What the path came to.
    output: Option<Value>,
    attempt: Option<Attempt>,
}

/// What a path goes on with.
#[derive(Debug, Clone)]
pub(super) struct Here {
    /// The state it is in and when it was entered; `None` before the first.
    pub(super) state: Option<(String, OffsetDateTime)>,
    /// The event it goes on from: the state's entry, or what the path starts from.
    pub(super) event: u64,
    pub(super) input: Value,
    pub(super) variables: Variables,
}

/// One attempt at a Parallel or Map state.
#[derive(Debug)]
struct Attempt {
    /// Until a branch fails.
    under_way: bool,
    /// The branches that have started, in order.
    branches: Vec<(usize, Arc<Position>)>,
    /// The items whose iterations have not started.
    waiting: VecDeque<(usize, Value)>,
    /// In place of branches, in a Distributed Map state.
    map_run: Option<MapRun>,
}

impl Position {
    /// The start of a path.
    pub(super) fn start(
        event: u64,
        input: Value,
        variables: Variables,
        map_item: Option<Value>,
    ) -> Arc<Self> {
        Arc::new(Self {
            map_item,
            inside: Mutex::new(Inside {
                here: Here {
                    state: None,
                    event,
                    input,
                    variables,
                },
                aborted: None,
                output: None,
                attempt: None,
            }),
        })
    }

    pub(super) fn map_item(&self) -> Option<&Value> {
        self.map_item.as_ref()
    }

    pub(super) fn here(&self) -> Here {
        self.lock().here.clone()
    }

    pub(super) fn enter(&self, state: &State, here: Here) {
        let mut inside = self.lock();
        inside.here = here;
        inside.aborted = state.kind.aborted();
        inside.attempt = None;
    }

    /// The path has come to its end.
    pub(super) fn finish(&self, output: Value) {
        let mut inside = self.lock();
        inside.aborted = None;
        inside.output = Some(output);
        inside.attempt = None;
    }

    /// Begins an attempt at the state it is in. A Map state's items wait to be started.
    pub(super) fn begin(&self, waiting: VecDeque<(usize, Value)>) {
        self.lock().attempt = Some(Attempt {
            under_way: true,
            branches: Vec::new(),
            waiting,
            map_run: None,
        });
    }

    /// Begins an attempt at a Distributed Map state.
    pub(super) fn begin_map_run(&self, map_run: MapRun) {
        self.begin(VecDeque::new());
        if let Some(attempt) = &mut self.lock().attempt {
            attempt.map_run = Some(map_run);
        }
    }

    /// Takes up the Map Run that an earlier run of the execution left, if it left one.
    pub(super) fn resume_map_run(&self) -> Option<MapRun> {
        let mut inside = self.lock();
        let attempt = inside.attempt.as_mut()?;
        attempt.under_way = true;
        attempt.map_run.clone()
    }

    /// Takes up the attempt an earlier run left, if it left one.
    pub(super) fn resume(&self) -> bool {
        let mut inside = self.lock();
        let attempt = inside.attempt.as_mut();
        attempt.map(|attempt| attempt.under_way = true).is_some()
    }

    /// The attempt has failed. Its branches stay, for a redrive.
    pub(super) fn suspend(&self) {
        if let Some(attempt) = &mut self.lock().attempt {
            attempt.under_way = false;
        }
    }

    /// Leaves nothing of the attempt: the next one starts every branch.
    pub(super) fn forget_attempt(&self) {
        self.lock().attempt = None;
    }

    /// The item whose iteration is the next to start.
    pub(super) fn next_item(&self) -> Option<(usize, Value)> {
        let inside = self.lock();
        inside.attempt.as_ref()?.waiting.front().cloned()
    }

    /// A branch has started; if it is an iteration, its item no longer waits.
    pub(super) fn add_branch(&self, index: usize, branch: &Arc<Self>) {
        if let Some(attempt) = &mut self.lock().attempt {
            attempt.waiting.pop_front();
            attempt.branches.push((index, Arc::clone(branch)));
        }
    }

    /// The branches that have started and not come to their end, in order.
    pub(super) fn unfinished(&self) -> Vec<(usize, Arc<Self>)> {
        let mut branches = self.branches();
        branches.retain(|(_, branch)| branch.lock().output.is_none());
        branches
    }

    /// What every branch came to, in order.
    pub(super) fn outputs(&self) -> Vec<Value> {
        let branches = self.branches();
        let outputs = branches
            .iter()
            .map(|(_, branch)| branch.lock().output.clone());
        outputs.map(Option::unwrap_or_default).collect()
    }

    fn branches(&self) -> Vec<(usize, Arc<Self>)> {
        let inside = self.lock();
        let attempt = inside.attempt.as_ref();
        attempt.map_or_else(Vec::new, |attempt| attempt.branches.clone())
    }

    /// What to say of everything cut short here, outermost first.
    pub(super) fn aborted(&self) -> Vec<EventType> {
        let inside = self.lock();
        let attempt = inside.attempt.iter().filter(|attempt| attempt.under_way);
        let branches = attempt.flat_map(|attempt| &attempt.branches);
        let inner = branches.flat_map(|(_, branch)| branch.aborted());
        inside.aborted.into_iter().chain(inner).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
