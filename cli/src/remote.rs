//! Starts and follows restores through the deployed pipeline's own services.
//!
//! The same code speaks to AWS and to the local cloud; only the endpoint differs.

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::approval::take_requester;
use aurora_restore_core::aws::configuration;
use aurora_restore_core::fleet::{Fleet, FleetId, Tally};
use aurora_restore_core::ledger::Status;
use aurora_restore_core::logs::LogSink;
use aurora_restore_core::names::RestoreId;
use aurora_restore_core::report::{self, Report};
use aurora_restore_core::table::Table;
use aurora_restore_core::{Clients, Clock, Context, StepError};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent, HistoryEventType};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::stack::Stack;

/// A deployed pipeline and the clients to speak to it.
#[derive(Debug)]
pub struct Pipeline {
    /// What its parts are called.
    pub stack: Stack,
    pub(crate) config: SdkConfig,
    pub(crate) sfn: aws_sdk_sfn::Client,
    sts: aws_sdk_sts::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
}

/// The path of an execution through its states, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Path {
    /// State names in the order they were entered.
    pub path: Vec<String>,
    /// State transitions as Step Functions bills them: states entered, and retries.
    pub transitions: usize,
}

/// How an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// What Step Functions says.
    pub status: ExecutionStatus,
    /// The error of a failed one.
    pub error: Option<String>,
    /// What happened, when it failed.
    pub cause: Option<String>,
}

impl Execution {
    fn of(found: DescribeExecutionOutput) -> Self {
        Self {
            status: found.status,
            error: found.error,
            cause: found.cause,
        }
    }

    /// Whether it is under way, or may be redriven to go on.
    pub fn runs(&self) -> bool {
        use ExecutionStatus::{PendingRedrive, Running};
        matches!(self.status, PendingRedrive | Running)
    }

    /// Whether it ended otherwise than it should.
    pub fn failed(&self) -> bool {
        use ExecutionStatus::{Aborted, Failed, TimedOut};
        matches!(self.status, Aborted | Failed | TimedOut)
    }
}

/// One line of a list of restores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The restore.
    pub restore_id: String,
    /// `Running`, `Restored`, `FailedClean` or `FailedDirty`.
    pub status: String,
    /// When it was planned (RFC 3339).
    pub started_at: String,
    /// When it ended (RFC 3339); empty while it runs.
    pub ended_at: String,
    /// The target's ARN; empty when it failed before it was planned.
    pub target: String,
}

/// How a fleet stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The fleet.
    pub fleet_id: String,
    /// `Running`, `Restored` or `Failed`.
    pub outcome: String,
    /// When it was planned first (RFC 3339).
    pub started_at: String,
    /// When it ended last (RFC 3339).
    pub ended_at: Option<String>,
    /// The execution that was started last.
    pub execution_arn: String,
    /// How many members stand how.
    pub tally: Tally,
    /// The members by number.
    pub members: Vec<FleetMember>,
}

/// One member of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetMember {
    /// The restore.
    pub restore_id: String,
    /// The cluster that it makes.
    pub target: String,
    /// `not begun`, `Running`, `Restored`, `FailedClean` or `FailedDirty`.
    pub status: String,
    /// The documented code, when it failed.
    pub error: Option<String>,
    /// When it was planned (RFC 3339).
    pub started_at: Option<String>,
    /// When it ended (RFC 3339).
    pub ended_at: Option<String>,
}

impl Pipeline {
    /// The pipeline of this stack in the account and region of the environment's credentials.
    ///
    /// # Errors
    /// When there are no credentials or no region.
    pub async fn connect(stack: &str) -> Result<Self> {
        let config = configuration().await;
        let region = config.region().map(|region| region.as_ref().to_owned());
        let region = region
            .ok_or_else(|| anyhow!("no region: set AWS_REGION or a region in your AWS profile"))?;
        let identity = aws_sdk_sts::Client::new(&config)
            .get_caller_identity()
            .send()
            .await;
        let identity = identity.context(
            "cannot tell which account this is: check your AWS credentials and endpoint",
        )?;
        let account = identity
            .account
            .ok_or_else(|| anyhow!("the caller's identity has no account"))?;
        Ok(Self::new(
            &config,
            Stack {
                name: stack.to_owned(),
                account,
                region,
            },
        ))
    }

    /// The pipeline of this stack, spoken to with this configuration.
    pub fn new(config: &SdkConfig, stack: Stack) -> Self {
        Self {
            stack,
            config: config.clone(),
            sfn: aws_sdk_sfn::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
        }
    }

    /// Starts a restore; the execution's ARN. One of this id that runs with the same request is left as it is, whoever
    /// asked for it.
    ///
    /// # Errors
    /// What Step Functions refuses.
    pub async fn start(&self, restore_id: &str, input: &Value) -> Result<String> {
        let id = RestoreId::parse(restore_id).map_err(|error| anyhow!(error.report()))?;
        let machine = self.stack.state_machine_arn();
        self.execute(&machine, id.as_str(), input)
            .await
            .map_err(|error| error.context(format!("cannot start restore `{restore_id}`")))
    }

    /// Starts a fleet; the execution's ARN. As with [`Pipeline::start`], the same one that runs is left as it is.
    ///
    /// # Errors
    /// What Step Functions refuses.
    pub async fn start_fleet(&self, name: &str, input: &Value) -> Result<String> {
        let machine = self.stack.fleet_machine_arn();
        self.execute(&machine, name, input)
            .await
            .map_err(|error| error.context(format!("cannot start fleet `{name}`")))
    }

    async fn execute(&self, machine: &str, name: &str, input: &Value) -> Result<String> {
        let started = self
            .sfn
            .start_execution()
            .state_machine_arn(machine)
            .name(name)
            .input(input.to_string())
            .send()
            .await;
        let error = match started {
            Ok(started) => return Ok(started.execution_arn),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(said) if said.is_execution_already_exists() => {
                self.find_same(machine, name, input).await
            }
            Some(said) => Err(anyhow!("{said}")),
            None => Err(anyhow!(error)),
        }
    }

    /// The execution of this name, if it runs and was started with this request. Who asked for it is none of the
    /// request: it stays whoever was first.
    async fn find_same(&self, machine: &str, name: &str, input: &Value) -> Result<String> {
        let arn = format!(
            "{}:{name}",
            machine.replacen(":stateMachine:", ":execution:", 1)
        );
        let found = self.describe(&arn).await?;
        let found = found.with_context(|| format!("`{arn}` exists, and is not to be found"))?;
        let asked = |input: &Value| take_requester(input).ok().map(|(asked, _)| asked);
        let before = found
            .input()
            .and_then(|text| serde_json::from_str(text).ok());
        let same = before.is_some_and(|before| asked(&before) == asked(input));
        if same && *found.status() == ExecutionStatus::Running {
            return Ok(arn);
        }
        let how = if same { "the same" } else { "another" };
        bail!(
            "`{name}` was started before with {how} request, and is {}: choose an id that was never used",
            found.status()
        )
    }

    /// An execution as Step Functions knows it; `None` when it does not.
    async fn describe(&self, arn: &str) -> Result<Option<DescribeExecutionOutput>> {
        let found = self.sfn.describe_execution().execution_arn(arn).send();
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.as_service_error() {
                Some(said) if said.is_execution_does_not_exist() => Ok(None),
                Some(said) => bail!("cannot look at execution `{arn}`: {said}"),
                None => Err(anyhow!(error).context(format!("cannot look at execution `{arn}`"))),
            },
        }
    }

    /// How a fleet and its members stand, from the state table; `None` before it is planned.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn fleet(&self, fleet_id: &str) -> Result<Option<FleetStatus>> {
        let id = FleetId::parse(fleet_id).map_err(|error| anyhow!(error.report()))?;
        let table = Table::new(self.dynamodb.clone(), self.stack.table());
        let Some(fleet) = Fleet::find(&table, &id).await? else {
            return Ok(None);
        };
        let (standings, tally) = fleet.standings(&table).await?;
        let members = fleet.members.iter().zip(standings);
        Ok(Some(FleetStatus {
            fleet_id: fleet_id.to_owned(),
            outcome: fleet.status.clone(),
            started_at: fleet.started_at.clone(),
            ended_at: fleet.ended_at.clone(),
            execution_arn: fleet.execution_arn.clone(),
            tally,
            members: members
                .map(|(member, standing)| FleetMember {
                    restore_id: member.restore_id.as_str().to_owned(),
                    target: member.target.clone(),
                    status: standing.status.map_or("not begun", Status::name).to_owned(),
                    error: standing.error,
                    started_at: standing.started_at,
                    ended_at: standing.ended_at,
                })
                .collect(),
        }))
    }

    /// How the execution of a restore stands.
    ///
    /// # Errors
    /// When there is none, and what Step Functions refuses.
    pub async fn execution(&self, restore_id: &str) -> Result<Execution> {
        let arn = self.stack.execution_arn(restore_id);
        let found = self.describe(&arn).await?;
        let found = found.with_context(|| {
            format!("there is no restore `{restore_id}`: Step Functions knows no execution `{arn}`")
        })?;
        Ok(Execution::of(found))
    }

    /// How the execution of a fleet stands: the one that was started last, or of a fleet that left no record the one
    /// of its name. `None` when Step Functions does not know it.
    ///
    /// # Errors
    /// What Step Functions refuses.
    pub async fn fleet_execution(
        &self,
        fleet_id: &str,
        recorded: Option<&FleetStatus>,
    ) -> Result<Option<Execution>> {
        let machine = self.stack.fleet_machine_arn();
        let own = machine.replacen(":stateMachine:", ":execution:", 1);
        let arn = recorded.map_or_else(
            || format!("{own}:{fleet_id}"),
            |fleet| fleet.execution_arn.clone(),
        );
        Ok(self.describe(&arn).await?.map(Execution::of))
    }

    /// The report of a restore, from the state table; `None` before its first record.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn report(&self, restore_id: &str, now: OffsetDateTime) -> Result<Option<Report>> {
        let id = RestoreId::parse(restore_id).map_err(|error| anyhow!(error.report()))?;
        Ok(report::build(&self.table(), &id, now).await?)
    }

    /// The state table.
    pub(crate) fn table(&self) -> Table {
        Table::new(self.dynamodb.clone(), self.stack.table())
    }

    /// What the functions' own code works with, in the name of whoever calls. Metrics go nowhere.
    pub(crate) fn context(&self, clock: Clock) -> Context {
        Context {
            settings: self.stack.settings(),
            aws: Clients::new(self.config.clone()),
            clock,
            log: LogSink::new(|_| {}),
        }
    }

    /// The ARN of whoever calls.
    ///
    /// # Errors
    /// What STS refuses.
    pub async fn caller(&self) -> Result<String> {
        let identity = self.sts.get_caller_identity().send().await;
        let identity = identity.context("cannot tell who calls: check your AWS credentials")?;
        identity
            .arn
            .ok_or_else(|| anyhow!("the caller's identity has no ARN"))
    }

    /// The path of an execution, from its history.
    ///
    /// # Errors
    /// What Step Functions refuses.
    pub async fn path(&self, restore_id: &str) -> Result<Path> {
        let mut pages = self
            .sfn
            .get_execution_history()
            .execution_arn(self.stack.execution_arn(restore_id))
            .include_execution_data(false)
            .into_paginator()
            .items()
            .send();
        let mut events = Vec::new();
        while let Some(event) = pages.next().await {
            events.push(event.context("cannot read the execution's history")?);
        }
        Ok(path(&events))
    }

    /// Restores of one status, newest first.
    ///
    /// # Errors
    /// What DynamoDB refuses.
    pub async fn list(&self, status: Status) -> Result<Vec<Listed>> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(self.stack.table())
            .index_name("by-status")
            .key_condition_expression("#status = :status")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", AttributeValue::S(status.name().to_owned()))
            .scan_index_forward(false)
            .into_paginator()
            .items()
            .send();
        let mut restores = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| {
                let table = self.stack.table();
                let error = StepError::from_sdk(format!("list restores in table `{table}`"), error);
                anyhow!("{}", error.message())
            })?;
            let text = |name: &str| {
                item.get(name)
                    .and_then(|value| value.as_s().ok())
                    .cloned()
                    .unwrap_or_default()
            };
            restores.push(Listed {
                restore_id: text("restoreId"),
                status: text("status"),
                started_at: text("startedAt"),
                ended_at: text("endedAt"),
                target: text("target"),
            });
        }
        Ok(restores)
    }
}

/// Counts states entered and retries: a task that is scheduled again without its state being entered again.
fn path(events: &[HistoryEvent]) -> Path {
    let count =
        |kind: &HistoryEventType| events.iter().filter(|event| event.r#type() == kind).count();
    let path: Vec<String> = events
        .iter()
        .filter_map(|event| event.state_entered_event_details())
        .map(|details| details.name().to_owned())
        .collect();
    let retries = count(&HistoryEventType::TaskScheduled)
        .saturating_sub(count(&HistoryEventType::TaskStateEntered));
    Path {
        transitions: path.len() + retries,
        path,
    }
}
