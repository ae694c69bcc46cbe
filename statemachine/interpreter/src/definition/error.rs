//! What is wrong with a definition, all of it at once.

use std::fmt;

/// One thing wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The state it is in; `None` for the machine itself.
    pub state: Option<String>,
    /// The field, as a path below the state, such as `Retry[0].ErrorEquals`.
    pub field: String,
    /// The value found, as JSON text, shortened when long; empty when something is missing.
    pub value: String,
    /// What is wrong and what to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "state `{state}`")?,
            None => write!(f, "state machine")?,
        }
        if !self.field.is_empty() {
            write!(f, ", `{}`", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        write!(f, ": {}", self.remedy)
    }
}

/// A definition that cannot be run as Step Functions would run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// Everything found, in the definition's order.
    pub problems: Vec<Problem>,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the state machine definition cannot be run:")?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionError {}
