//! Distributed Map: every item an execution of its own.
//!
//! One stay in such a state is a Map Run. It starts a child execution for each item,
//! so many at a time, and succeeds when no more of them failed than is tolerated
//! (Step Functions Developer Guide, "Using Map state in Distributed mode"; the events
//! are as recorded on AWS). Children are spawned, not polled by the parent: there may
//! be thousands, and each wakes for itself.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::strand::{Strand, Visit, plain};
use super::{Execution, Interpreter, Launch, Outcome, Status};
use crate::definition::StateMachine;
use crate::definition::states::{Amount, Distributed, Map, Percentage};
use crate::history::{EventDetails, EventType};
use crate::query::Expression;
use crate::retry::{EXCEED_TOLERATED_FAILURE_THRESHOLD, Failure, Nature};
use crate::task::TaskFailure;

/// How many child executions may run at once where the state sets no limit (guide: "MaxConcurrency").
const CHILDREN_MAX: usize = 10_000;

/// The child executions that one stay in a Distributed Map state started. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct MapRun {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    arn: String,
    machine: StateMachine,
    /// What every child is started with, but for name and input.
    launch: Launch,
    total: usize,
    concurrency: usize,
    tolerated: Tolerated,
    started_at: OffsetDateTime,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// Names and inputs of the children that have not been started.
    waiting: VecDeque<(String, Value)>,
    /// In the order of their items.
    children: Vec<Execution>,
    status: Status,
    stopped_at: Option<OffsetDateTime>,
    redrive_count: u64,
}

/// How many children may fail. Without a count, a percentage alone decides, and without both, none may.
#[derive(Debug, Clone, Copy)]
struct Tolerated {
    count: Option<u64>,
    percentage: Option<f64>,
}

impl Tolerated {
    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of items are far below 2^52"
    )]
    fn is_exceeded(self, failed: usize, total: usize) -> bool {
        let by_count = |most: u64| failed as u64 > most;
        let by_percentage = |most: f64| failed as f64 * 100.0 > most * total as f64;
        match (self.count, self.percentage) {
            (None, None) => failed > 0,
            (count, percentage) => {
                count.is_some_and(by_count) || percentage.is_some_and(by_percentage)
            }
        }
    }
}

/// A child's future, from its start or its redrive to its end.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl MapRun {
    /// The Map Run's ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.shared.arn
    }

    /// The child executions started so far, in the order of their items.
    #[must_use]
    pub fn children(&self) -> Vec<Execution> {
        self.lock().children.clone()
    }

    /// How many items there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.shared.total
    }

    /// How many children may run at once.
    #[must_use]
    pub fn max_concurrency(&self) -> usize {
        self.shared.concurrency
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.lock().status
    }

    /// When it started.
    #[must_use]
    pub fn started_at(&self) -> OffsetDateTime {
        self.shared.started_at
    }

    /// When it ended; `None` while it runs.
    #[must_use]
    pub fn stopped_at(&self) -> Option<OffsetDateTime> {
        self.lock().stopped_at
    }

    /// How often it has been redriven, with its parent.
    #[must_use]
    pub fn redrive_count(&self) -> u64 {
        self.lock().redrive_count
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        let inside = self.shared.inside.lock();
        inside.unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, status: Status, at: OffsetDateTime) {
        let mut inside = self.lock();
        (inside.status, inside.stopped_at) = (status, Some(at));
    }

    /// Begins to run again; answers with how often it has by now.
    fn redriven(&self) -> u64 {
        let mut inside = self.lock();
        (inside.status, inside.stopped_at) = (Status::Running, None);
        inside.redrive_count += 1;
        inside.redrive_count
    }

    /// The next child that was not started.
    fn start_next(&self, interpreter: &Interpreter) -> Option<(Execution, Work)> {
        let (name, input) = self.lock().waiting.pop_front()?;
        let launch = Launch {
            execution_arn: format!("{}:{name}", self.shared.launch.execution_arn),
            name,
            input,
            ..self.shared.launch.clone()
        };
        let (child, work) = interpreter.start(&self.shared.machine, launch);
        self.lock().children.push(child.clone());
        Some((child, Box::pin(work)))
    }

    /// Runs what is left to run: children that ended badly once more, then those that were not started.
    async fn drive(&self, interpreter: &Interpreter) -> Result<Value, Failure> {
        let (tell, mut ends) = mpsc::unbounded_channel();
        let cut_short = CutShort {
            map_run: self,
            interpreter,
        };
        let ended = self.children().into_iter();
        let mut again: VecDeque<Execution> = ended
            .filter(|child| child.status() != Status::Succeeded)
            .collect();
        let (mut running, mut failed) = (0, 0);
        loop {
            while running < self.shared.concurrency {
                let next = match again.pop_front() {
                    Some(child) => match interpreter.redrive(&child) {
                        Ok(work) => Some((child, Box::pin(work) as Work)),
                        Err(_) => {
                            failed += 1;
                            continue;
                        }
                    },
                    None => self.start_next(interpreter),
                };
                let Some((child, work)) = next else { break };
                let tell = tell.clone();
                tokio::spawn(async move {
                    work.await;
                    let _ = tell.send(child); // the Map Run may have ended
                });
                running += 1;
            }
            if self.shared.tolerated.is_exceeded(failed, self.shared.total) {
                drop(cut_short);
                self.end(Status::Failed, interpreter.clock.now());
                let cause = "The specified tolerated failure threshold was exceeded";
                return Err(Failure::new(EXCEED_TOLERATED_FAILURE_THRESHOLD, cause));
            }
            if running == 0 {
                break;
            }
            let Some(child) = ends.recv().await else {
                break;
            };
            running -= 1;
            failed += usize::from(child.status() != Status::Succeeded);
        }
        self.end(Status::Succeeded, interpreter.clock.now());
        Ok(self.outputs())
    }

    /// What the children came to that succeeded, in the order of their items. The guide does not say what stands
    /// for one whose failure is tolerated: here it is nothing.
    fn outputs(&self) -> Value {
        let outcomes = self.children().into_iter();
        let outputs = outcomes.filter_map(|child| match child.outcome() {
            Some(Outcome::Succeeded { output }) => Some(output),
            _ => None,
        });
        Value::Array(outputs.collect())
    }
}

fn not_permitted(refused: TaskFailure) -> Failure {
    Failure {
        error: refused.error,
        cause: refused.cause,
        nature: Nature::Ordinary,
    }
}

/// Stops the children that run when their Map Run ends before they do.
struct CutShort<'m> {
    map_run: &'m MapRun,
    interpreter: &'m Interpreter,
}

impl Drop for CutShort<'_> {
    fn drop(&mut self) {
        if self.map_run.status() == Status::Running {
            self.map_run
                .end(Status::Aborted, self.interpreter.clock.now());
        }
        for child in self.map_run.children() {
            if child.status() == Status::Running {
                child.stop(None, None);
            }
        }
    }
}

impl Strand<'_> {
    pub(super) async fn attempt_map_run(
        &mut self,
        visit: &Visit<'_>,
        map: &Map,
        distributed: &Distributed,
        input: &Value,
    ) -> Result<Value, Failure> {
        let map_run = match self.position.resume_map_run() {
            Some(map_run) => {
                self.may_redrive(&map_run)?;
                let redrive_count = map_run.redriven();
                let map_run_arn = map_run.arn().to_owned();
                let details = EventDetails::MapRunRedriven {
                    map_run_arn,
                    redrive_count,
                };
                self.record(EventType::MapRunRedriven, details);
                map_run
            }
            None => self.begin_map_run(visit, map, distributed, input)?,
        };
        match map_run.drive(&self.run.interpreter).await {
            Ok(outputs) => {
                self.record(EventType::MapRunSucceeded, EventDetails::None);
                self.note(EventType::MapStateSucceeded, EventDetails::None);
                Ok(outputs)
            }
            Err(failure) => {
                let details = EventDetails::Failure {
                    error: failure.error.clone(),
                    cause: failure.cause.clone(),
                };
                self.record(EventType::MapRunFailed, details);
                self.position.suspend();
                Err(failure)
            }
        }
    }

    fn may_redrive(&self, map_run: &MapRun) -> Result<(), Failure> {
        let children = &map_run.shared.launch.execution_arn;
        let asked = self.run.runner.may_redrive_map(&self.run.launch, children);
        asked.map_err(|refused| {
            self.position.suspend();
            not_permitted(refused)
        })
    }

    fn begin_map_run(
        &mut self,
        visit: &Visit<'_>,
        map: &Map,
        distributed: &Distributed,
        input: &Value,
    ) -> Result<MapRun, Failure> {
        let items = self.items(visit, map, input)?;
        let concurrency = self.concurrency(visit, map, input)?.min(CHILDREN_MAX);
        let details = EventDetails::MapStarted {
            length: items.len(),
        };
        self.record(EventType::MapStateStarted, details);
        let tolerated = self.tolerated(visit, distributed, input)?;
        let parent = &self.run.launch;
        self.run.runner.may_map(parent).map_err(not_permitted)?;
        let total = items.len();
        let mut waiting = VecDeque::with_capacity(total);
        for (index, item) in items.into_iter().enumerate() {
            let name = self.run.chance.uuid().to_string();
            waiting.push_back((name, self.child_input(visit, map, input, index, item)?));
        }
        let chosen = || self.run.chance.uuid().to_string();
        let label = distributed.label.clone().unwrap_or_else(chosen);
        let map_run = MapRun {
            shared: Arc::new(Shared {
                arn: format!(
                    "{}/{label}:{}",
                    machine_arn(&parent.state_machine_arn, "mapRun"),
                    chosen()
                ),
                machine: map.processor.clone(),
                launch: Launch {
                    name: String::new(),
                    input: Value::Null,
                    execution_arn: format!(
                        "{}/{label}",
                        machine_arn(&parent.state_machine_arn, "execution")
                    ),
                    state_machine_arn: format!("{}/{label}", parent.state_machine_arn),
                    role_arn: parent.role_arn.clone(),
                },
                total,
                concurrency,
                tolerated,
                started_at: self.run.clock.now(),
                inside: Mutex::new(Inside {
                    waiting,
                    children: Vec::with_capacity(total),
                    status: Status::Running,
                    stopped_at: None,
                    redrive_count: 0,
                }),
            }),
        };
        let map_run_arn = map_run.arn().to_owned();
        let details = EventDetails::MapRunStarted { map_run_arn };
        self.record(EventType::MapRunStarted, details);
        self.position.begin_map_run(map_run.clone());
        let map_runs = self.run.map_runs.lock();
        map_runs
            .unwrap_or_else(PoisonError::into_inner)
            .push(map_run.clone());
        Ok(map_run)
    }

    /// A child's input: the item, or what `ItemSelector` makes of it.
    fn child_input(
        &self,
        visit: &Visit<'_>,
        map: &Map,
        input: &Value,
        index: usize,
        item: Value,
    ) -> Result<Value, Failure> {
        if map.selector.is_none() {
            return Ok(item);
        }
        let map_item = json!({ "Index": index, "Value": item });
        let context = self.context_for(visit, None, Some(&map_item));
        self.fill(map.selector.as_ref(), visit, input, &context)
    }

    /// The thresholds. The sentences are AWS's, as recorded.
    fn tolerated(
        &self,
        visit: &Visit<'_>,
        distributed: &Distributed,
        input: &Value,
    ) -> Result<Tolerated, Failure> {
        let refused = |field: &str, path: &Expression, kind: &str, value: &Value| {
            visit.runtime_failure(format_args!(
                "The {field} field refers to value \"{}\" which is not a valid {kind}: {}",
                plain(value),
                path.text
            ))
        };
        let count = match &distributed.tolerated_count {
            None => None,
            Some(Amount::Fixed(count)) => Some(*count),
            Some(Amount::Path(path)) => {
                let value = self.threshold(visit, path, input)?;
                let count = value
                    .as_i64()
                    .ok_or_else(|| refused("ToleratedFailureCountPath", path, "integer", &value))?;
                let negative =
                    |_| visit.runtime_failure("ToleratedFailureCount cannot be negative.");
                Some(u64::try_from(count).map_err(negative)?)
            }
        };
        let percentage = match &distributed.tolerated_percentage {
            None => None,
            Some(Percentage::Fixed(percentage)) => Some(*percentage),
            Some(Percentage::Path(path)) => {
                let value = self.threshold(visit, path, input)?;
                let percentage = value.as_f64().ok_or_else(|| {
                    refused("ToleratedFailurePercentagePath", path, "float", &value)
                })?;
                if !(0.0..=100.0).contains(&percentage) {
                    let sentence = "ToleratedFailurePercentage must be between 0 and 100.";
                    return Err(visit.runtime_failure(sentence));
                }
                Some(percentage)
            }
        };
        Ok(Tolerated { count, percentage })
    }

    fn threshold(
        &self,
        visit: &Visit<'_>,
        path: &Expression,
        input: &Value,
    ) -> Result<Value, Failure> {
        let context = self.context(visit, None);
        path.evaluate(self.scope(input, &context))
            .map_err(|missing| {
                visit.runtime_failure(format_args!(
                    "Invalid path '{}' : {}",
                    path.text,
                    missing.into_text()
                ))
            })
    }
}

/// The ARN of what belongs to a state machine: its executions, its Map Runs.
fn machine_arn(state_machine_arn: &str, kind: &str) -> String {
    state_machine_arn.replacen(":stateMachine:", &format!(":{kind}:"), 1)
}
