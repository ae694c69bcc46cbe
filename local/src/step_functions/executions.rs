//! Executions: start, watch, stop.

use std::sync::Arc;

use asl_interpreter::{Execution, Interpreter, Launch, Outcome, Status};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::names::{check_name, execution_arn, machine_arn};
use super::redrives::{Redrives, redrive_status};
use super::{Run, StepFunctions, paged};
use crate::events::Event;
use crate::fields::{Fields, epoch_seconds};
use crate::request::{ApiError, Caller};
use crate::world::World;

/// The most bytes an input may have: 256 KiB.
const INPUT_BYTES_MAX: usize = 262_144;

impl StepFunctions {
    pub(super) fn start_execution(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let run = self.start_run(caller, fields)?;
        Ok(json!({
            "executionArn": run.execution.launch().execution_arn,
            "startDate": epoch_seconds(run.execution.started_at()),
        }))
    }

    /// Starts a run, or finds the one that is already under way with the same name and input.
    pub(super) fn start_run(&self, caller: &Caller, fields: Fields<'_>) -> Result<Run, ApiError> {
        let world = self.world()?;
        let machine = self.machine(caller, fields.required("stateMachineArn")?)?;
        let name = match fields.text("name")? {
            Some(name) => name.to_owned(),
            None => world.randomness().uuid(),
        };
        check_name(&name)?;
        let input = fields.text("input")?.unwrap_or("{}").to_owned();
        let launch = Launch {
            execution_arn: execution_arn(caller, &machine.name, &name),
            state_machine_arn: machine_arn(caller, &machine.name),
            role_arn: machine.role_arn.clone(),
            input: parsed_input(&input)?,
            name: name.clone(),
        };
        let (run, work) = self.places.with(caller, |place| {
            let key = (machine.name.clone(), name);
            if let Some(existing) = place.runs.get(&key) {
                if existing.execution.status() == Status::Running && existing.input == input {
                    return Ok((existing.clone(), None));
                }
                let text = format!("Execution Already Exists: '{}'", launch.execution_arn);
                return Err(ApiError::new(400, "ExecutionAlreadyExists", text));
            }
            let (execution, work) = self.interpreter.start(&machine.loaded, launch);
            place.starts += 1;
            let run = Run {
                execution,
                input,
                machine,
                start_number: place.starts,
                redrives: Redrives::default(),
                ends_published: Arc::new(watch::Sender::default()),
            };
            place.runs.insert(key, run.clone());
            Ok((run, Some(work)))
        })?;
        if let Some(work) = work {
            self.follow(&world, caller, &run, work);
        }
        Ok(run)
    }

    /// Lets a run do its work, and publishes that it runs and how it ends.
    pub(super) fn follow(
        &self,
        world: &Arc<World>,
        caller: &Caller,
        run: &Run,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        announce(world, caller, &self.interpreter, run);
        let (interpreter, run) = (self.interpreter.clone(), run.clone());
        let (caller, weak) = (caller.clone(), Arc::downgrade(world));
        world.spawn(async move {
            work.await;
            if let Some(world) = weak.upgrade() {
                announce(&world, &caller, &interpreter, &run);
            }
            run.ends_published.send_modify(|ends| *ends += 1);
        });
    }

    pub(super) fn describe_execution(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let run = self.run(caller, fields.required("executionArn")?)?;
        let mut answer = listed(&run.execution);
        answer["input"] = run.input.as_str().into();
        answer["inputDetails"] = json!({ "included": true });
        match run.execution.outcome() {
            Some(Outcome::Succeeded { output }) => {
                answer["output"] = output.to_string().into();
                answer["outputDetails"] = json!({ "included": true });
            }
            Some(Outcome::Failed { error, cause } | Outcome::Aborted { error, cause }) => {
                put_if_given(&mut answer, "error", error);
                put_if_given(&mut answer, "cause", cause);
            }
            Some(Outcome::TimedOut) | None => {}
        }
        let (status, reason) = self.redrive_status(caller, &run);
        answer["redriveStatus"] = status.into();
        put_if_given(&mut answer, "redriveStatusReason", reason);
        Ok(answer)
    }

    pub(super) fn list_executions(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let machine = self.machine(caller, fields.required("stateMachineArn")?)?;
        if fields.value("redriveFilter").is_some() {
            // AWS takes it together with a Map Run only, and refuses it beside a state machine (recorded).
            let text = "redriveFilter is for the executions of a Map Run, which the local cloud does not have: \
                        leave it out";
            return Err(ApiError::new(400, "ValidationException", text));
        }
        let status = fields.text("statusFilter")?;
        let mut runs: Vec<Run> = self.places.with(caller, |place| {
            let runs = place
                .runs
                .iter()
                .filter(|((name, _), _)| *name == machine.name);
            runs.map(|(_, run)| run.clone()).collect()
        });
        runs.retain(|run| status.is_none_or(|status| status == run.execution.status().name()));
        runs.sort_by_key(|run| std::cmp::Reverse((run.execution.started_at(), run.start_number)));
        let executions: Vec<Value> = runs.iter().map(|run| listed(&run.execution)).collect();
        paged(fields, "executions", &executions)
    }

    pub(super) async fn stop_execution(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let run = self.run(caller, fields.required("executionArn")?)?;
        run.execution
            .stop(fields.text("error")?, fields.text("cause")?);
        run.execution.finished().await;
        let stopped = run.execution.stopped_at().unwrap_or_else(|| self.now());
        Ok(json!({ "stopDate": epoch_seconds(stopped) }))
    }

    pub(super) fn get_execution_history(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
    ) -> Result<Value, ApiError> {
        let run = self.run(caller, fields.required("executionArn")?)?;
        let mut events = run.execution.history().events();
        if fields.flag("reverseOrder")? {
            events.reverse();
        }
        let with_data = fields
            .flag_if_given("includeExecutionData")?
            .unwrap_or(true);
        let mut events: Vec<Value> = events
            .iter()
            .map(asl_interpreter::HistoryEvent::to_json)
            .collect();
        if !with_data {
            events.iter_mut().for_each(remove_data);
        }
        paged(fields, "events", &events)
    }
}

fn parsed_input(input: &str) -> Result<Value, ApiError> {
    let refused = |reason: String| {
        let text = format!("Invalid State Machine Execution Input: '{reason}'");
        ApiError::new(400, "InvalidExecutionInput", text)
    };
    if input.len() > INPUT_BYTES_MAX {
        return Err(refused(format!(
            "the input is larger than {INPUT_BYTES_MAX} bytes"
        )));
    }
    serde_json::from_str(input).map_err(|error| refused(error.to_string()))
}

/// What lists and descriptions have in common.
fn listed(execution: &Execution) -> Value {
    let launch = execution.launch();
    let mut answer = json!({
        "executionArn": launch.execution_arn,
        "stateMachineArn": launch.state_machine_arn,
        "name": launch.name,
        "status": execution.status().name(),
        "startDate": epoch_seconds(execution.started_at()),
        "redriveCount": execution.redrive_count(),
    });
    if let Some(redriven) = execution.redriven_at() {
        answer["redriveDate"] = epoch_seconds(redriven).into();
    }
    if let Some(stopped) = execution.stopped_at() {
        answer["stopDate"] = epoch_seconds(stopped).into();
    }
    answer
}

/// Leaves out what states were given and gave, as `includeExecutionData: false` asks.
fn remove_data(event: &mut Value) {
    let Some(event) = event.as_object_mut() else {
        return;
    };
    for details in event.values_mut().filter_map(Value::as_object_mut) {
        details.retain(|name, _| {
            !matches!(
                name.as_str(),
                "input" | "output" | "parameters" | "assignedVariables"
            )
        });
    }
}

/// Publishes the execution's status as it is now.
fn announce(world: &World, caller: &Caller, interpreter: &Interpreter, run: &Run) {
    let execution = &run.execution;
    let launch = execution.launch();
    let milliseconds =
        |time: time::OffsetDateTime| Value::from((time.unix_timestamp_nanos() / 1_000_000) as i64);
    let (mut output, mut error, mut cause) = (None, None, None);
    match execution.outcome() {
        Some(Outcome::Succeeded { output: result }) => output = Some(result.to_string()),
        Some(
            Outcome::Failed {
                error: name,
                cause: reason,
            }
            | Outcome::Aborted {
                error: name,
                cause: reason,
            },
        ) => {
            (error, cause) = (name, reason);
        }
        Some(Outcome::TimedOut) | None => {}
    }
    let (redrive_status, redrive_status_reason) = redrive_status(interpreter, execution);
    let detail = json!({
        "executionArn": launch.execution_arn,
        "stateMachineArn": launch.state_machine_arn,
        "name": launch.name,
        "status": execution.status().name(),
        "startDate": milliseconds(execution.started_at()),
        "stopDate": execution.stopped_at().map(milliseconds),
        "input": run.input,
        "inputDetails": { "included": true },
        "output": output,
        "outputDetails": output.as_ref().map(|_| json!({ "included": true })),
        "error": error,
        "cause": cause,
        "redriveCount": execution.redrive_count(),
        "redriveDate": execution.redriven_at().map(milliseconds),
        "redriveStatus": redrive_status,
        "redriveStatusReason": redrive_status_reason,
    });
    world.publish(Event {
        account: caller.account.clone(),
        region: caller.region.clone(),
        source: "aws.states".to_owned(),
        detail_type: "Step Functions Execution Status Change".to_owned(),
        resources: vec![launch.execution_arn.clone()],
        detail,
    });
}

fn put_if_given(answer: &mut Value, name: &str, text: Option<String>) {
    if let Some(text) = text {
        answer[name] = text.into();
    }
}
