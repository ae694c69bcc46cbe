//! From request to plan: the snapshot, what the source tells, and what is made of it.

mod copy;
mod source;
mod target;

use aurora_restore_core::errors::{AR0001, AR0006};
use aurora_restore_core::plan::{ApprovalNeeded, SourceSnapshot};
use aurora_restore_core::request::Request;
use aurora_restore_core::settings::{Consent, DeployedSettings};
use aurora_restore_core::{Context, Plan, StepError, rds};

use crate::Execution;
use copy::{is_expiring, longest, snapshot_copy};
use source::{describe_source, find_snapshot, live_source, source_secret};
use target::{family, target};

/// Where a plan comes from.
pub(crate) struct Origin<'a> {
    pub(crate) execution: Execution<'a>,
    pub(crate) profile: Option<&'a str>,
    pub(crate) production: Consent<'a>,
    pub(crate) requested_by: Option<&'a str>,
    pub(crate) settings: &'a DeployedSettings,
}

/// Resolves every field of the plan.
pub(crate) async fn plan(
    context: &Context,
    request: &Request,
    origin: &Origin<'_>,
) -> Result<Plan, StepError> {
    let now = context.clock.now();
    let account = own_account(context, origin.execution.arn).await?;
    let region = context.aws.region().to_owned();
    let source_region = request
        .source
        .region
        .clone()
        .unwrap_or_else(|| region.clone());

    let snapshot = find_snapshot(context, request, &source_region).await?;
    let source = describe_source(&snapshot, request, &source_region)?;
    let source_name = &source.cluster_identifier;
    origin.settings.permit(
        source_name,
        &source.account,
        &account,
        &request.target.cluster_identifier,
    )?;
    let target_name = &request.target.cluster_identifier;
    let settings = origin.settings;
    settings.permit_production(target_name, origin.production)?;
    settings.permit_lifetime(target_name, request.expires_after_hours)?;
    let approval = approval(request, origin)?;
    // Nothing is made before somebody agreed, which may be as late as this.
    let begins = now + waited_for(approval.as_ref());
    let live = live_source(context, &source, &account).await?;
    refuse_source_as_target(request, &source, &account, &region)?;

    let target = target(request, &source, live.as_ref(), &account, &region);
    let expiring = is_expiring(&snapshot, live.as_ref(), begins + longest(&request.waits));
    let copy = snapshot_copy(
        request,
        &source,
        expiring,
        &account,
        &region,
        origin.execution.id,
    );
    let source_master_secret_arn = source_secret(request, live.as_ref())?;
    let secret_name = request
        .credentials
        .secret_name
        .clone()
        .unwrap_or_else(|| origin.execution.id.master_secret());
    let family = family(&source.engine, &source.engine_version);
    let quarantine_parameter_group = origin
        .settings
        .quarantine_parameter_groups
        .get(&family)
        .map(|name| name.to_ascii_lowercase());
    Ok(Plan {
        restore_id: origin.execution.id.as_str().to_owned(),
        execution_arn: origin.execution.arn.to_owned(),
        execution_started_at: origin.execution.started_at.to_owned(),
        profile: origin.profile.map(str::to_owned),
        planned_at: now,
        source,
        copy,
        target,
        quarantine_security_group_ids: origin.settings.quarantine_security_group_ids.clone(),
        quarantine_parameter_group: quarantine_parameter_group
            .unwrap_or_else(|| format!("default.{family}")),
        master_password: request.credentials.master,
        secret_name,
        source_master_secret_arn,
        checks: request.checks.clone(),
        database_tls: origin.settings.database_tls.clone(),
        waits: request.waits.clone(),
        expires_at: request
            .expires_after_hours
            .map(|hours| begins + time::Duration::hours(hours.into())),
        expiry_warning_hours: origin.settings.expiry_warning_hours,
        approval,
        requested_by: origin.requested_by.map(str::to_owned),
    })
}

/// The approval that the request asks for, or that a production target needs whatever the request says.
fn approval(request: &Request, origin: &Origin<'_>) -> Result<Option<ApprovalNeeded>, StepError> {
    let settings = origin.settings;
    let production = settings.is_production(&request.target.cluster_identifier);
    let asked = request.approval.clone().unwrap_or_default();
    if !production && !asked.required {
        return Ok(None);
    }
    let own_counts = settings.approvers_may_approve_own;
    if !own_counts && origin.requested_by.is_none() {
        return Err(StepError::new(
            &AR0001,
            "at `requestedBy`: absent, expected the ARN of who asks for this restore: it needs an approval, and as deployed nobody approves their own",
        ));
    }
    Ok(Some(ApprovalNeeded {
        production,
        expires_after_minutes: asked.expires_after_minutes,
        own_counts,
    }))
}

/// How long an approval is waited for.
fn waited_for(approval: Option<&ApprovalNeeded>) -> time::Duration {
    let minutes = approval.map_or(0, |approval| approval.expires_after_minutes);
    time::Duration::minutes(minutes.into())
}

/// The account the pipeline runs in: the execution's own.
async fn own_account(context: &Context, execution_arn: &str) -> Result<String, StepError> {
    if let Some(account) = rds::arn_field(execution_arn, 4) {
        return Ok(account.to_owned());
    }
    let identity = context.aws.sts().get_caller_identity().send().await;
    let identity = identity.map_err(|error| StepError::from_sdk("ask for the account", error))?;
    identity
        .account
        .ok_or_else(|| StepError::defect("the caller's identity has no account"))
}

fn refuse_source_as_target(
    request: &Request,
    source: &SourceSnapshot,
    account: &str,
    region: &str,
) -> Result<(), StepError> {
    let same_name = source
        .cluster_identifier
        .eq_ignore_ascii_case(&request.target.cluster_identifier);
    if same_name && source.account == account && source.region == region {
        let name = &source.cluster_identifier;
        return Err(StepError::new(
            &AR0006,
            format!("`{name}` in {region} of account {account} is both"),
        ));
    }
    Ok(())
}
