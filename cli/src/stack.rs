//! What the parts of a deployed pipeline are called.
//!
//! Every name follows from the stack's name, so that whoever knows it finds the rest.

use aurora_restore_core::Settings;

/// A deployed pipeline: its stack's name, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    /// Twelve digits.
    pub account: String,
    /// Such as `eu-west-1`.
    pub region: String,
}

impl Stack {
    /// The state machine's ARN.
    pub fn state_machine_arn(&self) -> String {
        format!(
            "arn:aws:states:{}:{}:stateMachine:{}",
            self.region, self.account, self.name
        )
    }

    /// The ARN of a restore's execution.
    pub fn execution_arn(&self, restore_id: &str) -> String {
        format!(
            "arn:aws:states:{}:{}:execution:{}:{restore_id}",
            self.region, self.account, self.name
        )
    }

    /// The state machine of fleets, and what the stack of it is called here.
    pub fn fleet_name(&self) -> String {
        format!("{}-fleet", self.name)
    }

    /// The ARN of the fleets' state machine.
    pub fn fleet_machine_arn(&self) -> String {
        format!("{}-fleet", self.state_machine_arn())
    }

    /// The function of a step.
    pub fn function_name(&self, step: &str) -> String {
        format!("{}-{step}", self.name)
    }

    /// The state table.
    pub fn table(&self) -> String {
        format!("{}-state", self.name)
    }

    /// The role table of a pipeline in two regions, unless it was called otherwise.
    pub fn role_table(&self) -> String {
        format!("{}-role", self.name)
    }

    /// The topic for outcomes.
    pub fn topic_name(&self) -> String {
        format!("{}-outcomes", self.name)
    }

    /// What the functions read from their environment.
    pub fn settings(&self) -> Settings {
        Settings {
            pipeline: self.name.clone(),
            table: self.table(),
            topic_arn: format!(
                "arn:aws:sns:{}:{}:{}",
                self.region,
                self.account,
                self.topic_name()
            ),
            settings_parameter: format!("/{}/settings", self.name),
            profiles_path: format!("/{}/profiles", self.name),
            state_machine_arn: Some(self.state_machine_arn()),
            role_table: None,
        }
    }
}
