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

use super::active::Active;
use super::strand::{Strand, Visit, plain};
use crate::definition::states::{Amount, Flow, Map, Parallel};
use crate::history::{EventDetails, EventType};
use crate::retry::Failure;

/// A strand under way, as what it will have come to: its last event and its result.
type Branch<'b> = Pin<Box<dyn Future<Output = (u64, Result<Value, Failure>)> + Send + 'b>>;

/// Branches under way, with their index.
struct Running<'b>(Vec<(usize, Branch<'b>)>);

impl Running<'_> {
    /// The next branch to end; `None` when none is under way.
    async fn next(&mut self) -> Option<(usize, u64, Result<Value, Failure>)> {
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
    /// A strand of its own for a branch: it starts from here and sees what is seen here.
    fn branch(&self) -> Self {
        Self {
            run: self.run,
            last: self.last,
            variables: self.variables.clone(),
            map_item: self.map_item.clone(),
            active: self.active.branch(),
        }
    }

    pub(super) async fn attempt_parallel(
        &mut self,
        visit: &Visit<'_>,
        parallel: &Parallel,
        input: &Value,
    ) -> Result<Value, Failure> {
        let context = self.context(visit, None);
        let input = self.fill(parallel.parameters.as_ref(), visit, input, &context)?;
        self.record(EventType::ParallelStateStarted, EventDetails::None);
        let mut running = Running(Vec::new());
        let mut actives = Vec::new();
        for (index, flow) in parallel.branches.iter().enumerate() {
            let branch = self.branch();
            actives.push(Arc::clone(&branch.active));
            running
                .0
                .push((index, branch.walk_branch(flow, input.clone())));
        }
        let mut results = vec![Value::Null; parallel.branches.len()];
        while let Some((index, last, result)) = running.next().await {
            self.last = last;
            match result {
                Ok(output) => results[index] = output,
                Err(failure) => {
                    drop(running);
                    if !failure.is_terminal() {
                        for active in &actives {
                            self.note_aborted(active);
                        }
                    }
                    self.active.leave_branches();
                    return Err(failure);
                }
            }
        }
        self.active.leave_branches();
        self.note(EventType::ParallelStateSucceeded, EventDetails::None);
        Ok(Value::Array(results))
    }

    fn walk_branch<'b>(mut self, flow: &'b Flow, input: Value) -> Branch<'b>
    where
        'r: 'b,
    {
        Box::pin(async move {
            let result = self.run_flow(flow, input).await;
            (self.last, result)
        })
    }

    fn note_aborted(&self, active: &Active) {
        for event_type in active.aborted() {
            self.note(event_type, EventDetails::None);
        }
    }

    pub(super) async fn attempt_map(
        &mut self,
        visit: &Visit<'_>,
        map: &Map,
        input: &Value,
    ) -> Result<Value, Failure> {
        let items = self.items(visit, map, input)?;
        let concurrency = self.concurrency(visit, map, input)?;
        self.record(
            EventType::MapStateStarted,
            EventDetails::MapStarted {
                length: items.len(),
            },
        );
        let mut iterations = Iterations {
            visit,
            map,
            input,
            waiting: items.into_iter().enumerate().collect(),
            running: Running(Vec::new()),
            started: Vec::new(),
        };
        let mut results = vec![Value::Null; iterations.waiting.len()];
        while iterations.running.0.len() < concurrency && iterations.start_next(self)? {}
        while let Some((index, last, result)) = iterations.running.next().await {
            self.last = last;
            match result {
                Ok(output) => {
                    results[index] = output;
                    let succeeded =
                        self.note(EventType::MapIterationSucceeded, iteration(visit, index));
                    iterations.started.retain(|(started, _)| *started != index);
                    if !iterations.start_next(self)? && iterations.running.0.is_empty() {
                        self.last = succeeded; // recorded on AWS: only the last one is followed
                    }
                }
                Err(failure) => {
                    iterations.abort(self, index, &failure);
                    return Err(failure);
                }
            }
        }
        self.active.leave_branches();
        self.note(EventType::MapStateSucceeded, EventDetails::None);
        Ok(Value::Array(results))
    }

    fn items(&self, visit: &Visit<'_>, map: &Map, input: &Value) -> Result<Vec<Value>, Failure> {
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
    fn concurrency(&self, visit: &Visit<'_>, map: &Map, input: &Value) -> Result<usize, Failure> {
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

/// The iterations of one attempt at a Map state.
struct Iterations<'b> {
    visit: &'b Visit<'b>,
    map: &'b Map,
    input: &'b Value,
    waiting: VecDeque<(usize, Value)>,
    running: Running<'b>,
    /// What is under way, so that an abort can tell.
    started: Vec<(usize, Arc<Active>)>,
}

impl<'b> Iterations<'b> {
    /// Starts the next item's iteration, if one is waiting.
    fn start_next<'r: 'b>(&mut self, strand: &Strand<'r>) -> Result<bool, Failure> {
        let Some((index, item)) = self.waiting.pop_front() else {
            return Ok(false);
        };
        let mut branch = strand.branch();
        branch.map_item = Some(json!({ "Index": index, "Value": item }));
        let input = if self.map.selector.is_some() {
            let context = branch.context(self.visit, None);
            branch.fill(self.map.selector.as_ref(), self.visit, self.input, &context)?
        } else {
            item
        };
        branch.record(EventType::MapIterationStarted, iteration(self.visit, index));
        self.started.push((index, Arc::clone(&branch.active)));
        let flow = &self.map.processor;
        let walk = Box::pin(async move {
            tokio::task::yield_now().await; // all iterations start before the first one's states do
            branch.walk_branch(flow, input).await
        });
        self.running.0.push((index, walk));
        Ok(true)
    }

    /// Drops every iteration and says so, the failed one in its place.
    fn abort(self, strand: &Strand<'_>, failed: usize, failure: &Failure) {
        drop(self.running);
        if !failure.is_terminal() {
            for (index, active) in &self.started {
                let event_type = if *index == failed {
                    EventType::MapIterationFailed
                } else {
                    EventType::MapIterationAborted
                };
                strand.note(event_type, iteration(self.visit, *index));
                strand.note_aborted(active);
            }
        }
        strand.active.leave_branches();
    }
}

fn iteration(visit: &Visit<'_>, index: usize) -> EventDetails {
    EventDetails::MapIteration {
        name: visit.state.name.clone(),
        index,
    }
}
