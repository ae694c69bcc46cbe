//! The execution history, event by event, as `GetExecutionHistory` returns it.
//!
//! A run writes here and nowhere else; whoever watches reads from here, while it
//! runs or afterwards. Each event names the event before it *on its own path*, so
//! the branches of a Parallel state can be told apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

/// The most events an execution may have (Step Functions quotas).
pub(crate) const EVENTS_MAX: u64 = 25_000;

/// What happened. The names are Step Functions' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "documented in the Step Functions API reference, under HistoryEvent"
)]
pub enum EventType {
    ExecutionStarted,
    ExecutionSucceeded,
    ExecutionFailed,
    ExecutionTimedOut,
    ExecutionAborted,
    ExecutionRedriven,
    TaskStateEntered,
    TaskStateExited,
    TaskStateAborted,
    TaskScheduled,
    TaskStarted,
    TaskStartFailed,
    TaskSubmitted,
    TaskSubmitFailed,
    TaskSucceeded,
    TaskFailed,
    TaskTimedOut,
    LambdaFunctionScheduled,
    LambdaFunctionStarted,
    LambdaFunctionSucceeded,
    LambdaFunctionFailed,
    LambdaFunctionTimedOut,
    PassStateEntered,
    PassStateExited,
    ChoiceStateEntered,
    ChoiceStateExited,
    WaitStateEntered,
    WaitStateExited,
    WaitStateAborted,
    SucceedStateEntered,
    SucceedStateExited,
    FailStateEntered,
    ParallelStateEntered,
    ParallelStateStarted,
    ParallelStateSucceeded,
    ParallelStateFailed,
    ParallelStateAborted,
    ParallelStateExited,
    MapStateEntered,
    MapStateStarted,
    MapStateSucceeded,
    MapStateFailed,
    MapStateAborted,
    MapStateExited,
    MapIterationStarted,
    MapIterationSucceeded,
    MapIterationFailed,
    MapIterationAborted,
    MapRunStarted,
    MapRunSucceeded,
    MapRunFailed,
    MapRunRedriven,
}

impl EventType {
    /// The name on the wire, such as `TaskStateEntered`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What an event carries. Inputs and outputs are JSON text, as on AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventDetails {
    /// Nothing but the type, as for `LambdaFunctionStarted`.
    None,
    /// `ExecutionStarted`.
    ExecutionStarted {
        /// The execution's input.
        input: String,
        /// The state machine's role.
        role_arn: String,
    },
    /// `ExecutionSucceeded`, `LambdaFunctionSucceeded`.
    Output {
        /// The output.
        output: String,
    },
    /// Every failure, timeout and abort that is not a task's.
    Failure {
        /// The error name.
        error: Option<String>,
        /// The cause.
        cause: Option<String>,
    },
    /// `ExecutionRedriven`.
    ExecutionRedriven {
        /// How often the execution has been redriven, this time included.
        redrive_count: u64,
    },
    /// `…StateEntered`.
    StateEntered {
        /// The state's name.
        name: String,
        /// Its raw input.
        input: String,
    },
    /// `…StateExited`.
    StateExited {
        /// The state's name.
        name: String,
        /// Its output.
        output: String,
        /// What `Assign` set: variable names and their values as JSON text.
        assigned_variables: Vec<(String, String)>,
    },
    /// `TaskScheduled`.
    TaskScheduled {
        /// The service, such as `lambda`.
        resource_type: String,
        /// The action with its pattern, such as `invoke.waitForTaskToken`.
        resource: String,
        /// The region the action runs in.
        region: String,
        /// What the action is called with.
        parameters: String,
        /// `TimeoutSeconds`, if set.
        timeout_seconds: Option<u64>,
        /// `HeartbeatSeconds`, if set.
        heartbeat_seconds: Option<u64>,
    },
    /// `TaskStarted`.
    TaskStarted {
        /// The service.
        resource_type: String,
        /// The action with its pattern.
        resource: String,
    },
    /// `TaskSubmitted`, `TaskSucceeded`.
    TaskOutput {
        /// The service.
        resource_type: String,
        /// The action with its pattern.
        resource: String,
        /// The action's answer, or the callback's.
        output: String,
    },
    /// `TaskFailed`, `TaskTimedOut`, `TaskSubmitFailed`, `TaskStartFailed`.
    TaskFailure {
        /// The service.
        resource_type: String,
        /// The action with its pattern.
        resource: String,
        /// The error name.
        error: Option<String>,
        /// The cause.
        cause: Option<String>,
    },
    /// `LambdaFunctionScheduled`.
    LambdaScheduled {
        /// The function's ARN.
        resource: String,
        /// The event it is called with.
        input: String,
        /// `TimeoutSeconds`, if set.
        timeout_seconds: Option<u64>,
    },
    /// `MapStateStarted`.
    MapStarted {
        /// How many items there are.
        length: usize,
    },
    /// `MapIteration…`.
    MapIteration {
        /// The Map state's name.
        name: String,
        /// The item's index.
        index: usize,
    },
    /// `MapRunStarted`.
    MapRunStarted {
        /// The Map Run's ARN.
        map_run_arn: String,
    },
    /// `MapRunRedriven`.
    MapRunRedriven {
        /// The Map Run's ARN.
        map_run_arn: String,
        /// How often it has been redriven, this time included.
        redrive_count: u64,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    /// 1 for the first event.
    pub id: u64,
    /// The event before this one on the same path; 0 for the first state's too, as on AWS.
    pub previous_event_id: u64,
    /// When it happened, on the execution's clock.
    pub timestamp: OffsetDateTime,
    /// What happened.
    pub event_type: EventType,
    /// What it carries.
    pub details: EventDetails,
}

impl HistoryEvent {
    /// The name of the state entered or exited, where the event says so.
    #[must_use]
    pub fn state_name(&self) -> Option<&str> {
        match &self.details {
            EventDetails::StateEntered { name, .. } | EventDetails::StateExited { name, .. } => {
                Some(name)
            }
            _ => None,
        }
    }

    /// The event as the `GetExecutionHistory` API spells it; times are seconds since 1970.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl Serialize for HistoryEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &epoch_seconds(self.timestamp))?;
        map.serialize_entry("type", &self.event_type.name())?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("previousEventId", &self.previous_event_id)?;
        if let Some((key, details)) = self.details.to_json(self.event_type) {
            map.serialize_entry(&key, &details)?;
        }
        map.end()
    }
}

/// Seconds since 1970 with milliseconds, as the AWS JSON protocol writes times.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit a double"
)]
fn epoch_seconds(time: OffsetDateTime) -> f64 {
    let milliseconds = time.unix_timestamp_nanos() / 1_000_000;
    milliseconds as f64 / 1_000.0
}

/// Builds a JSON object, leaving out what is absent.
#[derive(Default)]
struct Fields(serde_json::Map<String, Value>);

impl Fields {
    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A payload and the note that it is whole.
    fn with_payload(self, name: &str, text: &str) -> Self {
        self.with(name, text).with(
            &format!("{name}Details"),
            serde_json::json!({ "truncated": false }),
        )
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

impl EventDetails {
    /// The details and the key they stand under; `None` where AWS sends no details.
    fn to_json(&self, event_type: EventType) -> Option<(String, Value)> {
        let fields = Fields::default();
        let value = match self {
            Self::None => return None,
            Self::ExecutionStarted { input, role_arn } => fields
                .with_payload("input", input)
                .with("roleArn", role_arn.as_str()),
            Self::Output { output } => fields.with_payload("output", output),
            Self::Failure { error, cause } => fields
                .with_some("error", error.as_deref())
                .with_some("cause", cause.as_deref()),
            Self::ExecutionRedriven { redrive_count } => {
                fields.with("redriveCount", *redrive_count)
            }
            Self::StateEntered { name, input } => fields
                .with("name", name.as_str())
                .with_payload("input", input),
            Self::StateExited {
                name,
                output,
                assigned_variables,
            } => {
                let fields = fields
                    .with("name", name.as_str())
                    .with_payload("output", output);
                if assigned_variables.is_empty() {
                    fields
                } else {
                    let variables: serde_json::Map<String, Value> = assigned_variables
                        .iter()
                        .map(|(name, value)| (name.clone(), value.as_str().into()))
                        .collect();
                    fields.with("assignedVariables", variables).with(
                        "assignedVariablesDetails",
                        serde_json::json!({ "truncated": false }),
                    )
                }
            }
            Self::TaskScheduled {
                resource_type,
                resource,
                region,
                parameters,
                timeout_seconds,
                heartbeat_seconds,
            } => fields
                .with("resourceType", resource_type.as_str())
                .with("resource", resource.as_str())
                .with("region", region.as_str())
                .with("parameters", parameters.as_str())
                .with_some("timeoutInSeconds", *timeout_seconds)
                .with_some("heartbeatInSeconds", *heartbeat_seconds),
            Self::TaskStarted {
                resource_type,
                resource,
            } => fields
                .with("resourceType", resource_type.as_str())
                .with("resource", resource.as_str()),
            Self::TaskOutput {
                resource_type,
                resource,
                output,
            } => fields
                .with("resourceType", resource_type.as_str())
                .with("resource", resource.as_str())
                .with_payload("output", output),
            Self::TaskFailure {
                resource_type,
                resource,
                error,
                cause,
            } => fields
                .with("resourceType", resource_type.as_str())
                .with("resource", resource.as_str())
                .with_some("error", error.as_deref())
                .with_some("cause", cause.as_deref()),
            Self::LambdaScheduled {
                resource,
                input,
                timeout_seconds,
            } => fields
                .with("resource", resource.as_str())
                .with_payload("input", input)
                .with_some("timeoutInSeconds", *timeout_seconds),
            Self::MapStarted { length } => fields.with("length", *length),
            Self::MapIteration { name, index } => {
                fields.with("name", name.as_str()).with("index", *index)
            }
            Self::MapRunStarted { map_run_arn } => fields.with("mapRunArn", map_run_arn.as_str()),
            Self::MapRunRedriven {
                map_run_arn,
                redrive_count,
            } => fields
                .with("mapRunArn", map_run_arn.as_str())
                .with("redriveCount", *redrive_count),
        };
        Some((self.key(event_type), value.done()))
    }

    /// The key the details stand under: shared by all states' entries and exits.
    fn key(&self, event_type: EventType) -> String {
        match self {
            Self::StateEntered { .. } => "stateEnteredEventDetails".to_owned(),
            Self::StateExited { .. } => "stateExitedEventDetails".to_owned(),
            _ => {
                let name = event_type.name();
                let (first, rest) = name.split_at(1);
                format!("{}{rest}EventDetails", first.to_ascii_lowercase())
            }
        }
    }
}

/// The history of one execution. Clones share it.
#[derive(Debug, Clone)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    events: Mutex<Vec<HistoryEvent>>,
    /// How many events there are, and whether there will be more.
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    events: usize,
    closed: bool,
    full: bool,
    transitions: u64,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                events: Mutex::default(),
                progress: watch::Sender::default(),
            }),
        }
    }

    /// Every event so far.
    #[must_use]
    pub fn events(&self) -> Vec<HistoryEvent> {
        self.lock().clone()
    }

    /// Events with an id above `id`, oldest first.
    #[must_use]
    pub fn events_after(&self, id: u64) -> Vec<HistoryEvent> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        self.lock().get(index..).unwrap_or_default().to_vec()
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.progress.borrow().events
    }

    /// Whether nothing has happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// State transitions as Step Functions bills them: each state entered, each retry
    /// and each redrive.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.shared.progress.borrow().transitions
    }

    /// The types of all events so far, in order.
    #[must_use]
    pub fn event_types(&self) -> Vec<EventType> {
        self.lock().iter().map(|event| event.event_type).collect()
    }

    /// The names of the states entered so far, in order.
    #[must_use]
    pub fn states_entered(&self) -> Vec<String> {
        let entered = |event: &HistoryEvent| match &event.details {
            EventDetails::StateEntered { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.lock().iter().filter_map(entered).collect()
    }

    /// Follows the history from its first event to its last, missing none.
    #[must_use]
    pub fn subscribe(&self) -> HistorySubscription {
        HistorySubscription {
            history: self.clone(),
            progress: self.shared.progress.subscribe(),
            next: 0,
        }
    }

    /// Adds an event and returns its id.
    ///
    /// The last place is kept for the event that ends the execution
    /// ([`History::finish`]); an event that would take it is dropped and the
    /// history is [full](History::full).
    pub(crate) fn add(
        &self,
        timestamp: OffsetDateTime,
        previous_event_id: u64,
        event_type: EventType,
        details: EventDetails,
    ) -> u64 {
        let mut events = self.lock();
        let id = events.len() as u64 + 1;
        if id >= EVENTS_MAX {
            self.shared
                .progress
                .send_modify(|progress| progress.full = true);
            return id - 1;
        }
        events.push(HistoryEvent {
            id,
            previous_event_id,
            timestamp,
            event_type,
            details,
        });
        self.shared
            .progress
            .send_modify(|progress| progress.events += 1);
        id
    }

    /// Adds the event that ends the execution.
    pub(crate) fn finish(
        &self,
        timestamp: OffsetDateTime,
        previous_event_id: u64,
        event_type: EventType,
        details: EventDetails,
    ) {
        let mut events = self.lock();
        let id = events.len() as u64 + 1;
        events.push(HistoryEvent {
            id,
            previous_event_id,
            timestamp,
            event_type,
            details,
        });
        self.shared.progress.send_modify(|progress| {
            progress.events += 1;
            progress.closed = true;
        });
    }

    /// Adds the event that takes the execution up again, and returns its id.
    pub(crate) fn reopen(&self, timestamp: OffsetDateTime, redrive_count: u64) -> u64 {
        self.shared
            .progress
            .send_modify(|progress| progress.closed = false);
        self.count_transition();
        let ending = self.len() as u64;
        let details = EventDetails::ExecutionRedriven { redrive_count };
        self.add(timestamp, ending, EventType::ExecutionRedriven, details)
    }

    /// Whether an event has been dropped for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.progress.borrow().full
    }

    /// Waits until an event has been dropped for want of room.
    pub(crate) async fn full(&self) {
        let mut progress = self.shared.progress.subscribe();
        if progress.wait_for(|progress| progress.full).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn count_transition(&self) {
        self.shared
            .progress
            .send_modify(|progress| progress.transitions += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<HistoryEvent>> {
        self.shared
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows one history.
#[derive(Debug)]
pub struct HistorySubscription {
    history: History,
    progress: watch::Receiver<Progress>,
    next: usize,
}

impl HistorySubscription {
    /// The next event; `None` after the one that ends the execution. A redrive goes on.
    pub async fn next(&mut self) -> Option<HistoryEvent> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if let Some(event) = self.history.lock().get(self.next).cloned() {
                self.next += 1;
                return Some(event);
            }
            if progress.closed || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }
}
