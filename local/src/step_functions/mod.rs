//! Step Functions: state machines and their executions, run by the interpreter.
//!
//! The definition is the deployed one; the interpreter gives it Step Functions'
//! semantics and refuses what it does not implement, so `CreateStateMachine` here
//! answers `InvalidDefinition` with everything it found. Standard workflows only,
//! and neither versions nor aliases.

mod executions;
mod jobs;
mod machines;
mod map_runs;
mod names;
mod redrives;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use asl_interpreter::{Execution, Interpreter, TaskTokens};
use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::fields::Fields;
use crate::lambda::Lambda;
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response, response};
use crate::world::{Known, Service, World};
use machines::Machine;
use names::{StatesArn, check_name, no_execution};
use redrives::Redrives;
use tasks::Tasks;

/// Most state machines or executions in one answer, and how many when none is asked for.
const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: usize = 100;

/// State machines and executions of every account and region.
pub struct StepFunctions {
    world: Weak<World>,
    interpreter: Interpreter,
    places: Regional<Place>,
}

/// One account and region.
#[derive(Default)]
struct Place {
    machines: BTreeMap<String, Machine>,
    /// By state machine and name.
    runs: BTreeMap<(String, String), Run>,
    /// Starts so far: a later one has a higher number, even in the same instant.
    starts: u64,
}

/// An execution and what it was started with.
#[derive(Clone)]
struct Run {
    execution: Execution,
    /// As given: a repeated start must bring the same text.
    input: String,
    /// The machine as it was then; an update does not change what is running.
    machine: Machine,
    start_number: u64,
    redrives: Redrives,
    /// How many of its ends have been published: one, and one more for each redrive.
    ends_published: Arc<watch::Sender<u64>>,
}

impl StepFunctions {
    /// No state machines yet. `seed` fixes jitter, UUIDs and tokens.
    #[must_use]
    pub fn new(world: &Arc<World>, lambda: &Arc<Lambda>, seed: u64) -> Arc<Self> {
        Arc::new_cyclic(|own| {
            let tasks = Tasks::new(world, lambda, own);
            let interpreter = Interpreter::new(tasks, Arc::clone(world.clock())).with_seed(seed);
            Self {
                world: Arc::downgrade(world),
                interpreter,
                places: Regional::default(),
            }
        })
    }

    /// Creates a state machine, or gives it a new definition when it exists.
    /// Returns its ARN.
    ///
    /// # Errors
    /// `InvalidDefinition` with everything the interpreter found.
    pub fn put_state_machine(
        &self,
        account: &str,
        region: &str,
        name: &str,
        definition: &str,
        role_arn: &str,
    ) -> Result<String, ApiError> {
        let caller = root_of(account, region);
        let arn = names::machine_arn(&caller, name);
        let exists = self
            .places
            .with(&caller, |place| place.machines.contains_key(name));
        if exists {
            let request =
                json!({ "stateMachineArn": arn, "definition": definition, "roleArn": role_arn });
            self.update_state_machine(&caller, Fields::new(&request))?;
        } else {
            let request = json!({ "name": name, "definition": definition, "roleArn": role_arn });
            self.create_state_machine(&caller, Fields::new(&request))?;
        }
        Ok(arn)
    }

    /// The role of a state machine, if it exists.
    #[must_use]
    pub fn role_of(&self, account: &str, region: &str, name: &str) -> Option<String> {
        self.places.at(account, region, |place| {
            place
                .machines
                .get(name)
                .map(|machine| machine.role_arn.clone())
        })
    }

    /// Starts an execution: `StartExecution` without the wire.
    ///
    /// # Errors
    /// As `StartExecution`.
    pub fn start(
        &self,
        state_machine_arn: &str,
        name: &str,
        input: &Value,
    ) -> Result<Execution, ApiError> {
        let arn = StatesArn::parse(state_machine_arn)?;
        let caller = root_of(arn.account, arn.region);
        let request = json!({ "stateMachineArn": state_machine_arn, "name": name, "input": input.to_string() });
        let run = self.start_run(&caller, Fields::new(&request))?;
        Ok(run.execution)
    }

    /// An execution, to watch its history or wait for its end.
    ///
    /// # Errors
    /// `ExecutionDoesNotExist`, `InvalidArn`.
    pub fn execution(&self, execution_arn: &str) -> Result<Execution, ApiError> {
        let arn = StatesArn::parse(execution_arn)?;
        let caller = root_of(arn.account, arn.region);
        self.run(&caller, execution_arn).map(|run| run.execution)
    }

    /// The executions of a Distributed Map's items, of every execution that there is.
    fn children(&self) -> Vec<Execution> {
        let map_runs = self.executions().into_iter().flat_map(|run| run.map_runs());
        map_runs.flat_map(|map_run| map_run.children()).collect()
    }

    /// Every execution of every account and region, in the order of their start.
    #[must_use]
    pub fn executions(&self) -> Vec<Execution> {
        let mut runs = Vec::new();
        self.places.for_each(|_, _, place| {
            runs.extend(
                place
                    .runs
                    .values()
                    .map(|run| (run.start_number, run.execution.clone())),
            );
        });
        runs.sort_by_key(|(number, execution)| (execution.started_at(), *number));
        runs.into_iter().map(|(_, execution)| execution).collect()
    }

    /// The registry callbacks go to.
    #[must_use]
    pub fn tokens(&self) -> &TaskTokens {
        self.interpreter.tokens()
    }

    async fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let body = request.json_body()?;
        let (caller, fields) = (&request.caller, Fields::new(&body));
        match request.json_operation().unwrap_or_default() {
            "CreateStateMachine" => self.create_state_machine(caller, fields),
            "UpdateStateMachine" => self.update_state_machine(caller, fields),
            "DescribeStateMachine" => self.describe_state_machine(caller, fields),
            "ListStateMachines" => self.list_state_machines(caller, fields),
            "DeleteStateMachine" => self.delete_state_machine(caller, fields),
            "ValidateStateMachineDefinition" => self.validate_definition(fields),
            "TagResource" => self.tag_resource(caller, fields),
            "UntagResource" => self.untag_resource(caller, fields),
            "ListTagsForResource" => self.list_tags(caller, fields),
            "StartExecution" => self.start_execution(caller, fields),
            "DescribeExecution" => self.describe_execution(caller, fields),
            "DescribeStateMachineForExecution" => self.describe_machine_of(caller, fields),
            "ListExecutions" => self.list_executions(caller, fields),
            "ListMapRuns" => self.list_map_runs(caller, fields),
            "DescribeMapRun" => self.describe_map_run(caller, fields),
            "StopExecution" => self.stop_execution(caller, fields).await,
            "RedriveExecution" => self.redrive_execution(caller, fields).await,
            "GetExecutionHistory" => self.get_execution_history(caller, fields),
            "SendTaskSuccess" => self.send_task_success(fields),
            "SendTaskFailure" => self.send_task_failure(fields),
            "SendTaskHeartbeat" => self.send_task_heartbeat(fields),
            other => Err(ApiError::unknown_operation("Step Functions", other)),
        }
    }

    fn run(&self, caller: &Caller, execution_arn: &str) -> Result<Run, ApiError> {
        let arn = StatesArn::parse(execution_arn)?;
        let (machine, name) = arn.execution()?;
        if !arn.is_at(caller) {
            return Err(no_execution(execution_arn));
        }
        let key = (machine.to_owned(), name.to_owned());
        self.places
            .with(caller, |place| place.runs.get(&key).cloned())
            .or_else(|| self.child(caller, machine, execution_arn))
            .ok_or_else(|| no_execution(execution_arn))
    }

    fn send_task_success(&self, fields: Fields<'_>) -> Result<Value, ApiError> {
        let sent = self
            .tokens()
            .send_success(fields.required("taskToken")?, fields.required("output")?);
        sent.map(|()| json!({}))
            .map_err(|error| callback_refused(&error))
    }

    fn send_task_failure(&self, fields: Fields<'_>) -> Result<Value, ApiError> {
        let sent = self.tokens().send_failure(
            fields.required("taskToken")?,
            fields.text("error")?,
            fields.text("cause")?,
        );
        sent.map(|()| json!({}))
            .map_err(|error| callback_refused(&error))
    }

    fn send_task_heartbeat(&self, fields: Fields<'_>) -> Result<Value, ApiError> {
        let sent = self.tokens().send_heartbeat(fields.required("taskToken")?);
        sent.map(|()| json!({}))
            .map_err(|error| callback_refused(&error))
    }

    fn world(&self) -> Result<Arc<World>, ApiError> {
        self.world
            .upgrade()
            .ok_or_else(|| ApiError::new(500, "InternalFailure", "the world has stopped"))
    }

    fn now(&self) -> OffsetDateTime {
        self.world
            .upgrade()
            .map_or(OffsetDateTime::UNIX_EPOCH, |world| world.now())
    }
}

#[async_trait]
impl Service for StepFunctions {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request).await {
            Ok(body) => response(200, "application/x-amz-json-1.0", body.to_string()),
            Err(error) => error.to_json_response(),
        }
    }

    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        let machine = self.machine(caller, name).ok()?;
        Some(Known {
            arn: name.to_owned(),
            tags: machine.tags,
            ..Known::default()
        })
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let mut texts = Vec::new();
        for execution in self.executions().into_iter().chain(self.children()) {
            let place = format!("history {}", execution.launch().execution_arn);
            let events = execution.history().events();
            texts.extend(
                events
                    .iter()
                    .map(|event| RecordedText::new(&place, event.to_json().to_string())),
            );
        }
        texts
    }
}

fn root_of(account: &str, region: &str) -> Caller {
    Caller {
        account: account.to_owned(),
        region: region.to_owned(),
        principal: format!("arn:aws:iam::{account}:root"),
    }
}

fn callback_refused(error: &asl_interpreter::CallbackError) -> ApiError {
    ApiError::new(400, error.code(), error.to_string())
}

/// `maxResults`: 0 and absence mean the usual number.
fn page_size(fields: Fields<'_>) -> Result<usize, ApiError> {
    let asked = fields.integer("maxResults")?.unwrap_or(0);
    let asked = usize::try_from(asked)
        .ok()
        .filter(|asked| *asked <= PAGE_MAX);
    let asked = asked
        .ok_or_else(|| ApiError::new(400, "ValidationException", "maxResults must be 0 to 1000"))?;
    Ok(if asked == 0 { PAGE_DEFAULT } else { asked })
}

/// One page of `items`, under `name` beside the `nextToken`.
fn paged(fields: Fields<'_>, name: &str, items: &[Value]) -> Result<Value, ApiError> {
    let (items, next) =
        crate::fields::page(items, fields.text("nextToken")?, page_size(fields)?)
            .ok_or_else(|| ApiError::new(400, "InvalidToken", "Invalid Token: 'Invalid token'"))?;
    let mut answer = json!({ name: items });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(answer)
}

fn given_name(fields: Fields<'_>, name: &str) -> Result<String, ApiError> {
    let given = fields.required(name)?;
    check_name(given)?;
    Ok(given.to_owned())
}
