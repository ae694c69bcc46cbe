//! Map Runs: what Distributed Map states started, and the executions of their items.

use asl_interpreter::{MapRun, Status};
use serde_json::{Value, json};

use super::names::{StatesArn, execution_arn};
use super::{Run, StepFunctions, paged};
use crate::fields::{Fields, epoch_seconds};
use crate::request::{ApiError, Caller};

impl StepFunctions {
    pub(super) fn list_map_runs(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let run = self.run(caller, fields.required("executionArn")?)?;
        let launch = run.execution.launch();
        let mut map_runs = run.execution.map_runs();
        map_runs.reverse(); // those that started last come first
        let listed: Vec<Value> = map_runs
            .iter()
            .map(|map_run| {
                let mut row = json!({
                    "executionArn": launch.execution_arn,
                    "mapRunArn": map_run.arn(),
                    "stateMachineArn": launch.state_machine_arn,
                    "startDate": epoch_seconds(map_run.started_at()),
                });
                if let Some(stopped) = map_run.stopped_at() {
                    row["stopDate"] = epoch_seconds(stopped).into();
                }
                row
            })
            .collect();
        paged(fields, "mapRuns", &listed)
    }

    pub(super) fn describe_map_run(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let arn = fields.required("mapRunArn")?;
        StatesArn::parse(arn)?;
        let found = self.places.with(caller, |place| {
            let mut runs = place.runs.values();
            runs.find_map(|run| {
                let mut map_runs = run.execution.map_runs().into_iter();
                let map_run = map_runs.find(|map_run| map_run.arn() == arn)?;
                Some((run.execution.launch().execution_arn.clone(), map_run))
            })
        });
        let (parent, map_run) = found.ok_or_else(|| {
            let text = format!("Resource not found: '{arn}'");
            ApiError::new(400, "ResourceNotFound", text)
        })?;
        Ok(described(&parent, &map_run))
    }

    /// The run of a Distributed Map's item. It was started by its parent, with its parent's machine.
    pub(super) fn child(
        &self,
        caller: &Caller,
        machine_and_label: &str,
        execution_arn: &str,
    ) -> Option<Run> {
        let (machine, _) = machine_and_label.split_once('/')?;
        self.places.with(caller, |place| {
            let runs = place.runs.iter();
            let mut parents = runs.filter(|((name, _), _)| name == machine);
            parents.find_map(|(_, parent)| {
                let map_runs = parent.execution.map_runs().into_iter();
                let mut children = map_runs.flat_map(|map_run| map_run.children());
                let child = children.find(|child| child.launch().execution_arn == execution_arn)?;
                Some(Run {
                    input: child.launch().input.to_string(),
                    execution: child,
                    ..parent.clone()
                })
            })
        })
    }
}

fn described(parent: &str, map_run: &MapRun) -> Value {
    let children = map_run.children();
    let count = |status: Status| {
        let those = children.iter().filter(|child| child.status() == status);
        those.count()
    };
    let counts = json!({
        "total": map_run.total(),
        "pending": map_run.total() - children.len(),
        "running": count(Status::Running),
        "succeeded": count(Status::Succeeded),
        "failed": count(Status::Failed),
        "timedOut": count(Status::TimedOut),
        "aborted": count(Status::Aborted),
        "resultsWritten": 0,
    });
    let mut answer = json!({
        "mapRunArn": map_run.arn(),
        "executionArn": parent,
        "status": map_run.status().name(),
        "startDate": epoch_seconds(map_run.started_at()),
        "maxConcurrency": map_run.max_concurrency(),
        "itemCounts": counts,
        "executionCounts": counts,
        "redriveCount": map_run.redrive_count(),
    });
    if let Some(stopped) = map_run.stopped_at() {
        answer["stopDate"] = epoch_seconds(stopped).into();
    }
    answer
}

/// All executions of a state machine, as policies name them: those of its Map Runs' children, too.
pub(super) fn executions_of(caller: &Caller, machine: &str) -> String {
    execution_arn(caller, machine, "*")
}
