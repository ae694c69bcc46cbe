//! A state machine's definition: what it says, once it has been found sound.
//!
//! Loading reads every state ([`read`]), then looks at the whole ([`checks`]), and
//! answers with all that is wrong or with a machine that can run.

mod checks;
pub(crate) mod choice;
mod error;
mod read;
pub(crate) mod section;
pub(crate) mod states;

use std::sync::Arc;

use serde_json::Value;

pub use error::{DefinitionError, Problem};
use read::{Reader, SECONDS_MAX};
use section::{Problems, Section};
use states::{Flow, Kind};

/// The most bytes a definition may have: 1 MiB (Step Functions quotas).
const DEFINITION_BYTES_MAX: usize = 1_048_576;

/// A loaded definition, ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StateMachine {
    inner: Arc<Machine>,
}

#[derive(Debug)]
struct Machine {
    flow: Flow,
    comment: Option<String>,
    timeout_seconds: Option<u64>,
}

/// The language of a definition's expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryLanguage {
    /// Paths, payload templates and intrinsic functions: the only one understood here.
    JsonPath,
}

impl StateMachine {
    /// Reads a definition and checks all of it.
    ///
    /// `supports` says which `Resource`s other than Lambda's can be served.
    ///
    /// # Errors
    /// [`DefinitionError`] with everything that is wrong or not implemented here.
    pub fn load(
        definition: &str,
        supports: impl Fn(&str) -> bool,
    ) -> Result<Self, DefinitionError> {
        let whole = |remedy: String| DefinitionError {
            problems: vec![Problem {
                state: None,
                field: String::new(),
                value: String::new(),
                remedy,
            }],
        };
        if definition.len() > DEFINITION_BYTES_MAX {
            return Err(whole(format!(
                "the definition is larger than {DEFINITION_BYTES_MAX} bytes"
            )));
        }
        let parsed: Value = serde_json::from_str(definition)
            .map_err(|fault| whole(format!("the definition is not JSON: {fault}")))?;
        let fields = parsed
            .as_object()
            .ok_or_else(|| whole("the definition must be a JSON object".to_owned()))?;
        let section = Section::root(fields);
        let mut reader = Reader {
            problems: Problems::default(),
            supports: &supports,
        };
        let known = [
            "StartAt",
            "States",
            "Comment",
            "TimeoutSeconds",
            "Version",
            "QueryLanguage",
        ];
        section.allow(&mut reader.problems, &[&known]);
        reader.query_language(&section);
        if section
            .text(&mut reader.problems, "Version")
            .is_some_and(|version| version != "1.0")
        {
            reader.problems.add(&section, "Version", "must be \"1.0\"");
        }
        let comment = section
            .text(&mut reader.problems, "Comment")
            .map(str::to_owned);
        let timeout_seconds =
            section.integer(&mut reader.problems, "TimeoutSeconds", 1, SECONDS_MAX);
        let flow = reader.flow(&section);
        let mut problems = reader.problems.0;
        match flow {
            // A state that could not be read would seem to be missing, so the whole is judged only when all were.
            Some(flow) if problems.is_empty() => {
                problems.extend(checks::problems(&flow));
                if problems.is_empty() {
                    return Ok(Self {
                        inner: Arc::new(Machine {
                            flow,
                            comment,
                            timeout_seconds,
                        }),
                    });
                }
            }
            _ => {}
        }
        Err(DefinitionError { problems })
    }

    /// The definition's comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.inner.comment.as_deref()
    }

    /// The first state's name.
    #[must_use]
    pub fn start_at(&self) -> &str {
        &self.inner.flow.start_at
    }

    /// The language of the definition's expressions.
    #[must_use]
    pub fn query_language(&self) -> QueryLanguage {
        QueryLanguage::JsonPath
    }

    /// The names of all states, nested ones included, in the definition's order.
    #[must_use]
    pub fn state_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        checks::for_each_state(&self.inner.flow, &mut |state| {
            names.push(state.name.as_str());
        });
        names
    }

    /// The resources of all Task states, nested ones included, in the definition's order.
    #[must_use]
    pub fn resources(&self) -> Vec<&str> {
        let mut resources = Vec::new();
        checks::for_each_state(&self.inner.flow, &mut |state| {
            if let Kind::Task(task) = &state.kind {
                resources.push(task.resource.as_str());
            }
        });
        resources
    }

    /// What a Map state does with each item.
    fn processor(flow: Flow) -> Self {
        let machine = Machine {
            flow,
            comment: None,
            timeout_seconds: None,
        };
        Self {
            inner: Arc::new(machine),
        }
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.inner.flow
    }

    pub(crate) fn timeout_seconds(&self) -> Option<u64> {
        self.inner.timeout_seconds
    }
}
