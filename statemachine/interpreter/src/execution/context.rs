//! The context object: what `$$` is.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::run::Run;
use crate::timestamp;

/// What a state knows of itself.
pub(super) struct StateContext<'c> {
    pub(super) name: &'c str,
    pub(super) entered_at: OffsetDateTime,
    /// Given for the states that can be retried.
    pub(super) retry_count: Option<u64>,
    pub(super) task_token: Option<&'c str>,
    /// `{"Index": …, "Value": …}` inside a Map state.
    pub(super) map_item: Option<&'c Value>,
}

/// Builds the context object of a state.
pub(super) fn context(run: &Run, state: &StateContext<'_>) -> Value {
    let launch = &run.launch;
    let machine = launch.state_machine_arn.as_str();
    let mut context = json!({
        "Execution": {
            "Id": launch.execution_arn,
            "Input": launch.input,
            "StartTime": timestamp::format(run.started_at),
            "Name": launch.name,
            "RoleArn": launch.role_arn,
            "RedriveCount": run.redrives.count,
        },
        "StateMachine": {
            "Id": machine,
            "Name": machine.rsplit(':').next().unwrap_or(machine),
        },
        "State": {
            "Name": state.name,
            "EnteredTime": timestamp::format(state.entered_at),
        },
    });
    if let Some(at) = run.redrives.last {
        context["Execution"]["RedriveTime"] = timestamp::format(at).into();
    }
    if let Some(count) = state.retry_count {
        context["State"]["RetryCount"] = count.into();
    }
    if let Some(token) = state.task_token {
        context["Task"] = json!({ "Token": token });
    }
    if let Some(item) = state.map_item {
        context["Map"] = json!({ "Item": item });
    }
    context
}
