//! Names and ARNs as Step Functions takes them.

use crate::request::{ApiError, Caller};

/// The most characters a state machine's or execution's name may have.
const NAME_CHARACTERS_MAX: usize = 80;

/// Refuses names that Step Functions refuses.
///
/// # Errors
/// `InvalidName`.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let forbidden = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(character)
    };
    let length = name.chars().count();
    if (1..=NAME_CHARACTERS_MAX).contains(&length) && !name.contains(forbidden) {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "InvalidName",
        format!("Invalid Name: '{name}'"),
    ))
}

pub(super) fn machine_arn(caller: &Caller, name: &str) -> String {
    format!(
        "arn:aws:states:{}:{}:stateMachine:{name}",
        caller.region, caller.account
    )
}

pub(super) fn execution_arn(caller: &Caller, machine: &str, name: &str) -> String {
    format!(
        "arn:aws:states:{}:{}:execution:{machine}:{name}",
        caller.region, caller.account
    )
}

/// An ARN of Step Functions, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatesArn<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    kind: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> StatesArn<'a> {
    /// # Errors
    /// `InvalidArn`.
    pub(super) fn parse(arn: &'a str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = arn.split(':').collect();
        match parts.as_slice() {
            ["arn", partition, "states", region, account, kind, rest @ ..]
                if partition.starts_with("aws")
                    && !rest.is_empty()
                    && rest.iter().all(|part| !part.is_empty()) =>
            {
                Ok(Self {
                    region,
                    account,
                    kind,
                    rest: rest.to_vec(),
                })
            }
            _ => Err(invalid(&format!("Invalid ARN prefix: {arn}"))),
        }
    }

    /// The state machine's name. Versions and aliases do not exist here.
    ///
    /// # Errors
    /// `InvalidArn` when it is another resource's, `StateMachineDoesNotExist` when
    /// it names a version or alias.
    pub(super) fn machine(&self, arn: &str) -> Result<&'a str, ApiError> {
        match (self.kind, self.rest.as_slice()) {
            ("stateMachine", [name]) => Ok(name),
            ("stateMachine", [_, _]) => Err(no_machine(arn)),
            _ => Err(invalid(&format!(
                "Resource type not valid in this context: {}",
                self.kind
            ))),
        }
    }

    /// The state machine's and the execution's name.
    ///
    /// # Errors
    /// `InvalidArn` when it is another resource's.
    pub(super) fn execution(&self) -> Result<(&'a str, &'a str), ApiError> {
        match (self.kind, self.rest.as_slice()) {
            ("execution", [machine, name]) => Ok((machine, name)),
            _ => Err(invalid(&format!(
                "Resource type not valid in this context: {}",
                self.kind
            ))),
        }
    }

    /// Whether the resource is where the caller is: nothing else can be seen from there.
    pub(super) fn is_at(&self, caller: &Caller) -> bool {
        self.region == caller.region && self.account == caller.account
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::new(400, "InvalidArn", format!("Invalid Arn: '{reason}'"))
}

pub(super) fn no_machine(arn: &str) -> ApiError {
    ApiError::new(
        400,
        "StateMachineDoesNotExist",
        format!("State Machine Does Not Exist: '{arn}'"),
    )
}

pub(super) fn no_execution(arn: &str) -> ApiError {
    ApiError::new(
        400,
        "ExecutionDoesNotExist",
        format!("Execution Does Not Exist: '{arn}'"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_at_most_80_plain_characters() {
        assert!(check_name("nightly-2026_11.21").is_ok());
        for refused in ["", "with space", "a/b", "a:b", "a\u{7}", &"x".repeat(81)] {
            assert_eq!(
                check_name(refused).unwrap_err().code,
                "InvalidName",
                "{refused}"
            );
        }
    }

    #[test]
    fn an_execution_is_no_state_machine() {
        let arn = "arn:aws:states:eu-west-1:123456789012:execution:restore:r-1";
        let parsed = StatesArn::parse(arn).unwrap();
        assert_eq!(parsed.execution().unwrap(), ("restore", "r-1"));
        assert_eq!(parsed.machine(arn).unwrap_err().code, "InvalidArn");
        assert_eq!(StatesArn::parse("restore").unwrap_err().code, "InvalidArn");
    }
}
