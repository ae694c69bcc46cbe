//! Plans many restores from one request, and reports how they ended.
//!
//! The order is the state machine's (fleet.asl.json): plan, a child execution for each
//! member, report. A member is an ordinary restore with an id of the fleet's; what it
//! may do is decided by its own Plan. This step decides who the members are, and how
//! many may be under way at once.

mod members;
mod report;
mod room;

use aurora_restore_core::errors::{AR0061, AR0063};
use aurora_restore_core::fleet::{Fleet, FleetId, Member};
use aurora_restore_core::ledger::{Status, rfc3339};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Step, StepError, request};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use report::{Reported, report};

/// The step.
pub const STEP: Step = Step { name: "fleet", run };

/// The metrics that this step emits.
pub const METRICS: [&str; 4] = [
    "FleetMembers",
    "FleetMembersRestored",
    "FleetMembersFailed",
    "FleetDuration",
];

/// What is handed to Step Functions may have 256 KiB, of which this much is the members'.
const MEMBERS_BYTES_MAX: usize = 240 * 1024;

/// What the states hand over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    state: String,
    execution_name: String,
    execution_arn: String,
    input: Value,
    #[serde(default)]
    failure: Option<Failure>,
}

/// What kept a fleet from its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    /// The error's name.
    pub error: Option<String>,
    /// What happened, often the error object of a function as JSON.
    pub cause: Option<String>,
}

/// A request for a fleet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The fleet's id; the execution's name when absent.
    #[serde(default)]
    fleet_id: Option<String>,
    /// The inputs of the restores: requests, or profiles by name with what is laid over them.
    #[serde(default)]
    members: Vec<Value>,
    /// Every profile whose name fits this pattern, in which `*` stands for any characters.
    #[serde(default)]
    profiles: Option<String>,
    /// At most so many at once, whatever the quotas leave.
    #[serde(default)]
    max_concurrency: Option<u32>,
    /// Takes a recorded fleet up again: members that failed clean are tried once more.
    #[serde(default)]
    again: bool,
}

/// An execution of the fleet's state machine.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its ARN.
    pub arn: &'a str,
    /// Its input.
    pub input: &'a Value,
}

/// What the state machine learns.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// The fleet.
    pub fleet_id: String,
    /// How many members may be under way at once.
    pub concurrency: usize,
    /// Those that are not restored yet.
    pub members: Vec<Started>,
}

/// A member as the state machine starts it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    restore_id: String,
    input: Value,
    removed_when_proved: bool,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let execution = Execution {
            name: &event.execution_name,
            arn: &event.execution_arn,
            input: &event.input,
        };
        if event.state == "PlanFleet" {
            answer(&plan(context, execution).await?)
        } else {
            answer(&report(context, execution, event.failure).await?)
        }
    })
}

/// The fleet that an execution is about: named by the input, or by the execution itself.
///
/// # Errors
/// AR0001 when the input is no request for a fleet, or the id is none.
fn asked(execution: Execution<'_>) -> Result<(FleetId, Asked), StepError> {
    let asked: Asked = request::from_value(execution.input.clone()).map_err(members::malformed)?;
    let id = FleetId::parse(asked.fleet_id.as_deref().unwrap_or(execution.name))?;
    Ok((id, asked))
}

/// Resolves, checks and records the members, and finds room for them.
///
/// # Errors
/// AR0001 to AR0004 naming the member; AR0060 to AR0063.
pub async fn plan(context: &Context, execution: Execution<'_>) -> Result<Planned, StepError> {
    let (id, asked) = asked(execution)?;
    let table = context.table();
    let fleet = match Fleet::find(&table, &id).await? {
        Some(fleet) => take_up(context, fleet, execution, &asked).await?,
        None => begin(context, id, execution, &asked).await?,
    };
    let (standings, tally) = fleet.standings(&table).await?;
    let left: Vec<&Member> = fleet
        .members
        .iter()
        .zip(&standings)
        .filter(|(_, standing)| standing.status != Some(Status::Restored))
        .map(|(member, _)| member)
        .collect();
    let concurrency = room::concurrency(context, &left, asked.max_concurrency).await?;
    tracing::info!(fleetId = fleet.id.as_str(), concurrency, ?tally, "planned");
    Ok(Planned {
        fleet_id: fleet.id.as_str().to_owned(),
        concurrency,
        members: left.into_iter().map(started).collect(),
    })
}

fn started(member: &Member) -> Started {
    Started {
        restore_id: member.restore_id.as_str().to_owned(),
        input: member.input.clone(),
        removed_when_proved: member.removed_when_proved,
    }
}

async fn begin(
    context: &Context,
    id: FleetId,
    execution: Execution<'_>,
    asked: &Asked,
) -> Result<Fleet, StepError> {
    if asked.again {
        return Err(members::malformed(format!(
            "at `again`: there is no fleet `{}` on record, expected the id of one",
            id.as_str()
        )));
    }
    let members = members::resolve(context, &id, asked).await?;
    check_size(&members)?;
    let now = context.clock.now();
    let fleet = Fleet {
        id,
        execution_arn: execution.arn.to_owned(),
        asked: what_is_asked(execution.input),
        started_at: rfc3339(now),
        status: Status::Running.name().to_owned(),
        ended_at: None,
        members,
    };
    if fleet.begin(&context.table(), now).await? {
        return Ok(fleet);
    }
    Err(id_taken(&fleet.id))
}

/// A fleet that is on record: this execution's own, when the step is repeated, or one to go on with.
async fn take_up(
    context: &Context,
    mut fleet: Fleet,
    execution: Execution<'_>,
    asked: &Asked,
) -> Result<Fleet, StepError> {
    if fleet.execution_arn == execution.arn {
        return Ok(fleet);
    }
    if !asked.again && fleet.asked != what_is_asked(execution.input) {
        return Err(id_taken(&fleet.id));
    }
    let table = context.table();
    let (standings, _) = fleet.standings(&table).await?;
    for (member, standing) in fleet.members.iter_mut().zip(standings) {
        // A dirty end is a person's to look at: its id is taken, and the report names it again.
        if standing.status == Some(Status::FailedClean) {
            member.attempt += 1;
            member.restore_id = fleet.id.member(member.number, member.attempt)?;
        }
    }
    execution.arn.clone_into(&mut fleet.execution_arn);
    Status::Running.name().clone_into(&mut fleet.status);
    fleet.ended_at = None;
    fleet.begin_again(&table, context.clock.now()).await?;
    Ok(fleet)
}

/// The request less what may differ between two starts of one fleet.
fn what_is_asked(input: &Value) -> String {
    let mut asked = input.clone();
    if let Some(fields) = asked.as_object_mut() {
        fields.shift_remove("fleetId");
        fields.shift_remove("maxConcurrency");
    }
    asked.to_string()
}

fn id_taken(id: &FleetId) -> StepError {
    let text = format!("fleet `{}` was started with another request", id.as_str());
    StepError::new(&AR0063, text)
}

fn check_size(members: &[Member]) -> Result<(), StepError> {
    let bytes: usize = members
        .iter()
        .map(|member| answer(&started(member)).map(|started| started.to_string().len() + 1))
        .sum::<Result<_, _>>()?;
    if bytes <= MEMBERS_BYTES_MAX {
        return Ok(());
    }
    Err(StepError::new(
        &AR0061,
        format!(
            "{} members have {bytes} bytes of JSON, expected at most {MEMBERS_BYTES_MAX}",
            members.len()
        ),
    ))
}
