//! Parallel and Map states: several strands side by side.
//!
//! They are polled in order within one task, so a run on a paused clock takes the
//! same steps every time. The first strand to fail drops the others; what AWS
//! says of each one then is said here.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use serde_json::{Value, json};

use super::position::Position;
use super::strand::{Strand, Visit, plain};
use crate::definition::states::{Amount, Flow, Map, Parallel};
use crate::history::{EventDetails, EventType};
use crate::retry::Failure;

/// A strand under way, as what it will have come to: its last event and whether it
/// failed. Its output is in its position.
type Branch<'b> = Pin<Box<dyn Future<Output = (u64, Result<(), Failure>)> + Send + 'b>>;

/// Branches under way, with their index.
struct Running<'b>(Vec<(usize, Branch<'b>)>);

impl Running<'_> {
    /// The next branch to end; `None` when none is under way.
    async fn next(&mut self) -> Option<(usize, u64, Result<(), Failure>)> {
        std::future::poll_fn(|context| {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            for place in 0..self.0.len() {
                let (index, branch) = &mut self.0[place];
                if let Poll::Ready((last, result)) = branch.as_mut().poll(context) {
                    let index = *index;
                    drop(self.0.remove(place));
                    return Poll::Ready(Some((index, last, result)));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<'r> Strand<'r> {
    pub(super) async fn attempt_parallel(
        &mut self,
        visit: &Visit<'_>,
        parallel: &Parallel,
        input: &Value,
    ) -> Result<Value, Failure> {
        // A redrive goes on with the branches that failed or were cut short, and says
        // nothing of a start (recorded on AWS).
        if !self.position.resume() {
            let context = self.context(visit, None);
            let input = self.fill(parallel.parameters.as_ref(), visit, input, &context)?;
            self.record(EventType::ParallelStateStarted, EventDetails::None);
            self.position.begin(VecDeque::new());
            for index in 0..parallel.branches.len() {
                let map_item = self.position.map_item().cloned();
                self.add_branch(index, self.last, input.clone(), map_item);
            }
        }
        let unfinished = self.position.unfinished().into_iter();
        let mut running = Running(
            unfinished
                .map(|(index, branch)| (index, self.walk_branch(branch, &parallel.branches[index])))
                .collect(),
        );
        while let Some((_, last, result)) = running.next().await {
            self.last = last;
            if let Err(failure) = result {
                drop(running);
                if !failure.is_terminal() {
                    for (_, branch) in self.position.unfinished() {
                        self.note_aborted(&branch);
                    }
                }
                self.position.suspend();
                return Err(failure);
            }
        }
        self.note(EventType::ParallelStateSucceeded, EventDetails::None);
        Ok(Value::Array(self.position.outputs()))
    }

    /// One more branch: it starts after this event and sees what is seen here.
    fn add_branch(
        &self,
        index: usize,
        event: u64,
        input: Value,
        map_item: Option<Value>,
    ) -> Arc<Position> {
        let branch = Position::start(event, input, self.variables.clone(), map_item);
        self.position.add_branch(index, &branch);
        branch
    }

    /// Goes through a branch from where it stands.
    fn walk_branch<'b>(&self, branch: Arc<Position>, flow: &'b Flow) -> Branch<'b>
    where
        'r: 'b,
    {
        let mut strand = Strand::at(self.run, branch);
        Box::pin(async move {
            let result = strand.run_flow(flow).await;
            let result = result.map(|output| strand.position.finish(output));
            (strand.last, result)
        })
    }

    fn note_aborted(&self, branch: &Position) {
        for event_type in branch.aborted() {
            self.note(event_type, EventDetails::None);
        }
    }

    pub(super) async fn attempt_map(
        &mut self,
        visit: &Visit<'_>,
        map: &Map,
        input: &Value,
    ) -> Result<Value, Failure> {
        if let Some(distributed) = &map.distributed {
            return self.attempt_map_run(visit, map, distributed, input).await;
        }
        // As in a Parallel state; items that had not started do so now (recorded on AWS).
        let items = if self.position.resume() {
            None
        } else {
            Some(self.items(visit, map, input)?)
        };
        let concurrency = self.concurrency(visit, map, input)?;
        if let Some(items) = items {
            let length = items.len();
            self.record(
                EventType::MapStateStarted,
                EventDetails::MapStarted { length },
            );
            self.position.begin(items.into_iter().enumerate().collect());
        }
        let unfinished = self.position.unfinished().into_iter();
        let mut running = Running(
            unfinished
                .map(|(index, branch)| (index, self.walk_branch(branch, map.processor.flow())))
                .collect(),
        );
        while running.0.len() < concurrency && self.start_next(visit, map, input, &mut running)? {}
        while let Some((index, last, result)) = running.next().await {
            self.last = last;
            if let Err(failure) = result {
                drop(running);
                self.note_abandoned(visit, index, &failure);
                self.position.suspend();
                return Err(failure);
            }
            let succeeded = self.note(EventType::MapIterationSucceeded, iteration(visit, index));
            if !self.start_next(visit, map, input, &mut running)? && running.0.is_empty() {
                self.last = succeeded; // recorded on AWS: only the last one is followed
            }
        }
        self.note(EventType::MapStateSucceeded, EventDetails::None);
        Ok(Value::Array(self.position.outputs()))
    }

    /// Starts the next item's iteration, if one is waiting.
    fn start_next<'b>(
        &self,
        visit: &Visit<'_>,
        map: &'b Map,
        input: &Value,
        running: &mut Running<'b>,
    ) -> Result<bool, Failure>
    where
        'r: 'b,
    {
        let Some((index, item)) = self.position.next_item() else {
            return Ok(false);
        };
        let map_item = json!({ "Index": index, "Value": item });
        let input = if map.selector.is_some() {
            let context = self.context_for(visit, None, Some(&map_item));
            self.fill(map.selector.as_ref(), visit, input, &context)?
        } else {
            item
        };
        let started = self.note(EventType::MapIterationStarted, iteration(visit, index));
        let branch = self.add_branch(index, started, input, Some(map_item));
        let walk = self.walk_branch(branch, map.processor.flow());
        let walk = Box::pin(async move {
            tokio::task::yield_now().await; // all iterations start before the first one's states do
            walk.await
        });
        running.0.push((index, walk));
        Ok(true)
    }

    /// Says of every iteration under way that it was aborted, of the failed one that it failed.
    fn note_abandoned(&self, visit: &Visit<'_>, failed: usize, failure: &Failure) {
        if failure.is_terminal() {
            return;
        }
        for (index, branch) in self.position.unfinished() {
            let event_type = if index == failed {
                EventType::MapIterationFailed
            } else {
                EventType::MapIterationAborted
            };
            self.note(event_type, iteration(visit, index));
            self.note_aborted(&branch);
        }
    }

    pub(super) fn items(
        &self,
        visit: &Visit<'_>,
        map: &Map,
        input: &Value,
    ) -> Result<Vec<Value>, Failure> {
        let context = self.context(visit, None);
        let (text, items) = match &map.items {
            None => ("$", input.clone()),
            Some(path) => {
                let items = path
                    .evaluate(self.scope(input, &context))
                    .map_err(|missing| {
                        visit.runtime_failure(format_args!(
                            "Invalid path '{}' : {}",
                            path.text,
                            missing.into_text()
                        ))
                    })?;
                (path.text.as_str(), items)
            }
        };
        match items {
            Value::Array(items) => Ok(items),
            _ => Err(visit.runtime_failure(format_args!(
                "Reference path \"{text}\" must point to array."
            ))),
        }
    }

    /// How many iterations may run at once; 0 is no limit.
    pub(super) fn concurrency(
        &self,
        visit: &Visit<'_>,
        map: &Map,
        input: &Value,
    ) -> Result<usize, Failure> {
        let most = match &map.max_concurrency {
            None => 0,
            Some(Amount::Fixed(most)) => *most,
            Some(Amount::Path(path)) => {
                let context = self.context(visit, None);
                let value = path
                    .evaluate(self.scope(input, &context))
                    .map_err(|missing| {
                        visit.runtime_failure(format_args!(
                            "Invalid path '{}' : {}",
                            path.text,
                            missing.into_text()
                        ))
                    })?;
                let integer = value.as_i64().ok_or_else(|| {
                    let shown = plain(&value);
                    visit.runtime_failure(format_args!(
                        "The MaxConcurrencyPath field refers to value \"{shown}\" which is not a valid integer: {}",
                        path.text
                    ))
                })?;
                let negative = |_| visit.runtime_failure("MaxConcurrency cannot be negative.");
                u64::try_from(integer).map_err(negative)?
            }
        };
        Ok(if most == 0 {
            usize::MAX
        } else {
            usize::try_from(most).unwrap_or(usize::MAX)
        })
    }
}

fn iteration(visit: &Visit<'_>, index: usize) -> EventDetails {
    EventDetails::MapIteration {
        name: visit.state.name.clone(),
        index,
    }
}
