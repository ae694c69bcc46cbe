//! Plans many restores from one request, and reports how they ended.
//!
//! The order is the state machine's (fleet.asl.json): plan, a child execution for each
//! member, report. A member is an ordinary restore with an id of the fleet's; what it
//! may do is decided by its own Plan. This step decides who the members are, and how
//! many may be under way at once.

mod members;
mod report;
mod room;

use aurora_restore_core::approval::{self, REQUESTED_BY};
use aurora_restore_core::errors::{AR0061, AR0063};
use aurora_restore_core::fleet::{self, Fleet, FleetId, Member};
use aurora_restore_core::ledger::Status;
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::table::Written;
use aurora_restore_core::{Context, Step, StepError, execution, region, request};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use members::Resolver;

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
    started_at: String,
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
    /// When it started, as Step Functions tells it.
    pub started_at: &'a str,
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
    /// Who asks, as it is laid over each member's input: `requestedBy`, or nothing.
    pub requester: Value,
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
            started_at: &event.started_at,
            input: &event.input,
        };
        if event.state == "PlanFleet" {
            answer(&plan(context, execution).await?)
        } else {
            answer(&report(context, execution, event.failure).await?)
        }
    })
}

/// The fleet that an execution is about, named by the input or by the execution itself; what is asked for, and who asks.
///
/// # Errors
/// AR0001 when the input is no request for a fleet, or the id is none.
fn asked(execution: Execution<'_>) -> Result<(FleetId, Asked, Option<String>), StepError> {
    let (input, requested_by) = approval::take_requester(execution.input)?;
    let asked: Asked = request::from_value(input).map_err(members::malformed)?;
    let id = FleetId::parse(asked.fleet_id.as_deref().unwrap_or(execution.name))?;
    Ok((id, asked, requested_by))
}

/// Resolves, checks and records the members, and finds room for them.
///
/// # Errors
/// AR0001 to AR0004 naming the member; AR0060 to AR0063; AR0064 where another region is the active one.
pub async fn plan(context: &Context, execution: Execution<'_>) -> Result<Planned, StepError> {
    // Each member's Plan would refuse it: nothing is recorded here that the active region does not know.
    if let Some(passive) = region::passive(context).await? {
        return Err(passive);
    }
    let (id, asked, requested_by) = asked(execution)?;
    let table = context.table();
    let resolver = Resolver::new(context, requested_by.as_deref());
    let fleet = match Fleet::find(&table, &id).await? {
        Some(fleet) if is_own(&fleet, execution) => fleet,
        Some(fleet) => take_up(context, fleet, execution, &asked, resolver).await?,
        None => begin(context, id, execution, &asked, resolver).await?,
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
        requester: requested_by.map_or_else(|| json!({}), |by| json!({REQUESTED_BY: by})),
        members: left.into_iter().map(started).collect(),
    })
}

fn is_own(fleet: &Fleet, execution: Execution<'_>) -> bool {
    fleet.belongs_to(execution.arn, execution.started_at)
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
    mut resolver: Resolver<'_>,
) -> Result<Fleet, StepError> {
    if asked.again {
        return Err(members::malformed(format!(
            "at `again`: there is no fleet `{}` on record, expected the id of one",
            id.as_str()
        )));
    }
    let members = resolver.members(&id, asked).await?;
    let table = context.table();
    for member in &members {
        if fleet::is_used(&table, &member.restore_id).await? {
            let taken = member.restore_id.as_str();
            return Err(id_taken(&id, &format!("restore `{taken}` is on record")));
        }
    }
    let fleet = Fleet::begun_by(id, execution.arn, execution.started_at, members);
    record(context, fleet, None, execution).await
}

/// Goes on with a fleet that is on record: what is restored stays, what failed clean is tried once more. Whoever runs
/// no more has no profile, source or target to keep, so that these are resolved anew.
async fn take_up(
    context: &Context,
    fleet: Fleet,
    execution: Execution<'_>,
    asked: &Asked,
    mut resolver: Resolver<'_>,
) -> Result<Fleet, StepError> {
    if !asked.again {
        let was = format!(
            "it was started on {} and is {}; `again` takes it up",
            fleet.started_at, fleet.status
        );
        return Err(id_taken(&fleet.id, &was));
    }
    if !asked.members.is_empty() || asked.profiles.is_some() {
        return Err(members::malformed(
            "at `again`: beside `members` or `profiles`, expected neither: a fleet that is taken up has its members",
        ));
    }
    let (arn, started_at) = (&fleet.execution_arn, &fleet.execution_started_at);
    if execution::runs(context, arn, started_at).await? {
        return Err(id_taken(
            &fleet.id,
            &format!("execution `{arn}` carries it out"),
        ));
    }
    let table = context.table();
    let (standings, tally) = fleet.standings(&table).await?;
    if tally.is_whole() {
        let ended = fleet.ended_at.as_deref().unwrap_or("its last execution");
        let was = format!(
            "all of its {} members were restored by {ended}",
            tally.members
        );
        return Err(id_taken(&fleet.id, &was));
    }
    let mut members = Vec::with_capacity(fleet.members.len());
    for (member, standing) in fleet.members.iter().zip(standings) {
        let failed = standing.status == Some(Status::FailedClean) || standing.is_taken();
        // A dirty end is a person's to look at: its id is taken, and the report names it again.
        if standing.status.is_some() && !failed {
            members.push(member.clone());
            continue;
        }
        let mut attempt = member.attempt + u32::from(failed);
        while failed && fleet::is_used(&table, &fleet.id.member(member.number, attempt)?).await? {
            attempt += 1;
        }
        let input = member.input.clone();
        let member = resolver.member(&fleet.id, member.number, attempt, input);
        members.push(member.await?);
    }
    members::check_targets(&members)?;
    let next = fleet.taken_up_by(execution.arn, execution.started_at, members);
    record(context, next, Some(&fleet), execution).await
}

/// Records the fleet, or finds that this execution did so before.
async fn record(
    context: &Context,
    fleet: Fleet,
    before: Option<&Fleet>,
    execution: Execution<'_>,
) -> Result<Fleet, StepError> {
    check_size(&fleet.members)?;
    let table = context.table();
    let written = fleet.record(&table, before, context.clock.now()).await?;
    if written == Written::Yes {
        return Ok(fleet);
    }
    match Fleet::find(&table, &fleet.id).await? {
        Some(found) if is_own(&found, execution) => Ok(found),
        Some(found) => {
            let was = format!("execution `{}` began it meanwhile", found.execution_arn);
            Err(id_taken(&fleet.id, &was))
        }
        None => Err(StepError::defect(
            "a fleet was refused and none is recorded",
        )),
    }
}

fn id_taken(id: &FleetId, why: &str) -> StepError {
    let text = format!("nothing of fleet `{}` was started: {why}", id.as_str());
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
