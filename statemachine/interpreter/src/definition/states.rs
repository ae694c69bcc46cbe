//! The parts of a loaded definition.
//!
//! Everything here has been checked: paths parse, targets exist, numbers are in
//! range. A run has only the data to be surprised by.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::StateMachine;
use super::choice::Rule;
use crate::history::EventType;
use crate::query::{Expression, Path, Template};
use crate::retry::{Catcher, Retrier};
use crate::task::IntegrationPattern;

/// States and where to start: the machine, a branch, or what a Map state repeats.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) start_at: String,
    /// In the definition's order.
    pub(crate) states: Vec<State>,
}

impl Flow {
    pub(crate) fn state(&self, name: &str) -> Option<&State> {
        self.states.iter().find(|state| state.name == name)
    }
}

/// One state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) input_path: InputOutputPath,
    pub(crate) output_path: InputOutputPath,
    pub(crate) assign: Option<Template>,
    pub(crate) kind: Kind,
}

/// `InputPath` and `OutputPath`.
#[derive(Debug)]
pub(crate) enum InputOutputPath {
    Path(Expression),
    /// `null`: an empty object.
    Nothing,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Task(Box<Task>),
    Pass(Pass),
    Choice(Choice),
    Wait(Wait),
    Succeed,
    Fail(Fail),
    Parallel(Parallel),
    Map(Box<Map>),
}

impl Kind {
    /// The event that says a state of this kind was entered.
    pub(crate) fn entered(&self) -> EventType {
        match self {
            Self::Task(_) => EventType::TaskStateEntered,
            Self::Pass(_) => EventType::PassStateEntered,
            Self::Choice(_) => EventType::ChoiceStateEntered,
            Self::Wait(_) => EventType::WaitStateEntered,
            Self::Succeed => EventType::SucceedStateEntered,
            Self::Fail(_) => EventType::FailStateEntered,
            Self::Parallel(_) => EventType::ParallelStateEntered,
            Self::Map(_) => EventType::MapStateEntered,
        }
    }

    /// The event that says it was left; a Fail state never is.
    pub(crate) fn exited(&self) -> Option<EventType> {
        match self {
            Self::Task(_) => Some(EventType::TaskStateExited),
            Self::Pass(_) => Some(EventType::PassStateExited),
            Self::Choice(_) => Some(EventType::ChoiceStateExited),
            Self::Wait(_) => Some(EventType::WaitStateExited),
            Self::Succeed => Some(EventType::SucceedStateExited),
            Self::Fail(_) => None,
            Self::Parallel(_) => Some(EventType::ParallelStateExited),
            Self::Map(_) => Some(EventType::MapStateExited),
        }
    }

    /// The event that says it was cut short, for the states that can last.
    pub(crate) fn aborted(&self) -> Option<EventType> {
        match self {
            Self::Task(_) => Some(EventType::TaskStateAborted),
            Self::Wait(_) => Some(EventType::WaitStateAborted),
            Self::Parallel(_) => Some(EventType::ParallelStateAborted),
            Self::Map(_) => Some(EventType::MapStateAborted),
            Self::Pass(_) | Self::Choice(_) | Self::Succeed | Self::Fail(_) => None,
        }
    }

    /// The flows inside a Parallel or Map state.
    pub(crate) fn flows(&self) -> &[Flow] {
        match self {
            Self::Parallel(parallel) => &parallel.branches,
            Self::Map(map) => std::slice::from_ref(map.processor.flow()),
            _ => &[],
        }
    }
}

/// Where a state leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    State(String),
    End,
}

/// A number of seconds or how many of something: fixed, or read at run time.
#[derive(Debug)]
pub(crate) enum Amount {
    Fixed(u64),
    Path(Expression),
}

/// `ResultPath`.
#[derive(Debug)]
pub(crate) enum ResultPath {
    /// Where in the input the result goes; the root replaces it.
    Place { path: Path, text: String },
    /// `null`: the input goes on as it came.
    Discard,
}

/// What Task, Parallel and Map states share: what happens after the work.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) result_selector: Option<Template>,
    pub(crate) result_path: ResultPath,
    pub(crate) retry: Vec<Retrier>,
    pub(crate) catch: Vec<Catcher>,
    pub(crate) next: Next,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) resource: String,
    pub(crate) pattern: IntegrationPattern,
    pub(crate) parameters: Option<Template>,
    pub(crate) timeout: Option<Amount>,
    pub(crate) heartbeat: Option<Amount>,
    pub(crate) after: After,
}

#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) result: Option<Value>,
    pub(crate) parameters: Option<Template>,
    pub(crate) result_path: ResultPath,
    pub(crate) next: Next,
}

#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) until: Until,
    pub(crate) next: Next,
}

/// What a Wait state waits for.
#[derive(Debug)]
pub(crate) enum Until {
    Seconds(Duration),
    SecondsPath(Expression),
    Timestamp(OffsetDateTime),
    TimestampPath(Expression),
}

#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) error: Option<FailText>,
    pub(crate) cause: Option<FailText>,
}

/// `Error` or `ErrorPath`, `Cause` or `CausePath`.
#[derive(Debug)]
pub(crate) enum FailText {
    Literal(String),
    Computed(Expression),
}

#[derive(Debug)]
pub(crate) struct Parallel {
    pub(crate) branches: Vec<Flow>,
    pub(crate) parameters: Option<Template>,
    pub(crate) after: After,
}

#[derive(Debug)]
pub(crate) struct Map {
    /// What each item goes through; where the mode is distributed, in an execution of its own.
    pub(crate) processor: StateMachine,
    /// The settings of the distributed mode; `None` is inline.
    pub(crate) distributed: Option<Distributed>,
    /// `ItemsPath`; the whole input if absent.
    pub(crate) items: Option<Expression>,
    /// `ItemSelector`, or `Parameters` as it was called.
    pub(crate) selector: Option<Template>,
    pub(crate) max_concurrency: Option<Amount>,
    pub(crate) after: After,
}

/// What only a Distributed Map has.
#[derive(Debug)]
pub(crate) struct Distributed {
    /// `Label`, a part of the children's ARNs; made up where there is none.
    pub(crate) label: Option<String>,
    pub(crate) tolerated_count: Option<Amount>,
    pub(crate) tolerated_percentage: Option<Percentage>,
}

/// `ToleratedFailurePercentage`, from 0 to 100: fixed, or read at run time.
#[derive(Debug)]
pub(crate) enum Percentage {
    Fixed(f64),
    Path(Expression),
}
