//! Resolves the request once, checks that it can and may be carried out, records the
//! plan and takes the target's lock.
//!
//! Nothing is created here. Everything that a later step would otherwise have to
//! look up, guess or default is decided now and written down; a step that is run
//! again finds the recorded plan and changes nothing.

mod finding;
mod network;
pub mod outline;
mod permissions;
mod preflight;
mod resolve;

use aurora_restore_core::names::RestoreId;
use aurora_restore_core::plan::ApprovalNeeded;
use aurora_restore_core::region::{self, Claimant};
use aurora_restore_core::settings::{DeployedSettings, read_parameter};
use aurora_restore_core::step::{StepFuture, answer, read_event};
use aurora_restore_core::{Context, Plan, Restore, Step, StepError, approval, profile};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use finding::{Finding, Verdict};
pub use preflight::{examine, lock_is_free, region_is_active};

/// The step.
pub const STEP: Step = Step { name: "plan", run };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    restore_id: String,
    execution_arn: String,
    started_at: String,
    input: Value,
}

/// The execution that asks for a plan.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'a> {
    /// Its name.
    pub id: &'a RestoreId,
    /// Its ARN.
    pub arn: &'a str,
    /// When it started, as Step Functions tells it.
    pub started_at: &'a str,
}

/// What the state machine learns.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Whether a person must agree first.
    pub approval_needed: bool,
    /// Whether CopySnapshot has anything to do.
    pub copy_needed: bool,
    /// Heartbeats of the waits.
    pub heartbeat_seconds: Heartbeats,
}

/// Seconds between two looks of a wait.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeats {
    /// At whether somebody decided, when somebody must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<u32>,
    /// At what RDS has events for.
    pub event: u32,
    /// At what it has none for.
    pub poll: u32,
}

fn run(context: &Context, event: Value) -> StepFuture<'_> {
    Box::pin(async move {
        let event: Event = read_event(event)?;
        let id = RestoreId::parse(&event.restore_id)?;
        let execution = Execution {
            id: &id,
            arn: &event.execution_arn,
            started_at: &event.started_at,
        };
        answer(&plan(context, execution, &event.input).await?)
    })
}

/// Resolves, checks and records.
///
/// # Errors
/// AR0001 to AR0016, AR0024, AR0034, AR0038 to AR0040, AR0043, AR0051, AR0056, AR0057 and AR0064 to AR0066: see
/// each.
pub async fn plan(
    context: &Context,
    execution: Execution<'_>,
    input: &Value,
) -> Result<Answer, StepError> {
    let claimant = Claimant {
        id: execution.id,
        execution_arn: execution.arn,
        started_at: execution.started_at,
    };
    region::admit(context, claimant).await?;
    let restore = match Restore::find(context, execution.id).await? {
        Some(recorded) => recorded.of_execution(execution.started_at)?,
        None => {
            let settings = settings(context).await?;
            let plan = make(context, &settings, execution, input).await?;
            // Before the names are looked at: those of a restore that is being removed will be free.
            Restore::find_free_lock(context, &plan).await?;
            finding::judge(examine(context, &plan, &settings).await)?;
            Restore::begin(context, plan).await?
        }
    };
    let plan = restore.plan();
    tracing::info!(
        target = plan.target.cluster_identifier,
        source = %plan.source,
        "planned"
    );
    Ok(Answer::of(plan))
}

impl Answer {
    /// What the state machine learns of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            approval_needed: plan.approval.is_some(),
            copy_needed: !plan.copies.is_empty(),
            heartbeat_seconds: Heartbeats {
                approval: plan.approval.as_ref().map(ApprovalNeeded::poll_seconds),
                event: plan.waits.heartbeat_seconds,
                poll: plan.waits.poll_seconds,
            },
        }
    }
}

/// What a request must not choose.
///
/// # Errors
/// AR0004 when the deployed settings are missing or malformed.
pub async fn settings(context: &Context) -> Result<DeployedSettings, StepError> {
    DeployedSettings::read(context.aws.ssm(), &context.settings.settings_parameter).await
}

/// The plan of a request: resolved, and permitted by the deployed settings.
///
/// # Errors
/// As [`plan`].
pub async fn make(
    context: &Context,
    settings: &DeployedSettings,
    execution: Execution<'_>,
    input: &Value,
) -> Result<Plan, StepError> {
    let (input, requested_by) = approval::take_requester(input)?;
    let profile = profile::name(&input)?;
    let resolved = match profile {
        None => profile::resolve(&input, None)?,
        Some(name) => {
            let parameter = format!("{}/{name}", context.settings.profiles_path);
            let text = read_parameter(context.aws.ssm(), &parameter).await?;
            profile::resolve(&input, Some((name, text)))?
        }
    };
    let origin = resolve::Origin {
        execution,
        profile,
        production: resolved.production,
        requested_by: requested_by.as_deref(),
        settings,
    };
    resolve::plan(context, &resolved.request, &origin).await
}
