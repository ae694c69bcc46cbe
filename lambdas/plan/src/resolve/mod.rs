//! From request to plan: what of the source is restored, what it tells, and what is made of it.

mod cluster;
mod copy;
mod source;
mod switch;
mod target;

use aurora_restore_core::errors::{AR0001, AR0006};
use aurora_restore_core::plan::{ApprovalNeeded, Source};
use aurora_restore_core::request::{Request, SwitchMode, Wanted};
use aurora_restore_core::settings::{Consent, DeployedSettings};
use aurora_restore_core::sql::Engine;
use aurora_restore_core::switching::Switch;
use aurora_restore_core::{Context, Plan, StepError, rds};
use aws_sdk_rds::types::{DbCluster, DbClusterSnapshot};

use crate::Execution;
use copy::{Home, is_expiring, longest, manual_snapshot_quota, snapshot_copies};
use source::{
    describe_source, live_instances, live_source, named_snapshot, newest_snapshot, source_secret,
};
use target::{Place, Seen, target};

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
    let Resolved {
        source,
        live,
        snapshot,
    } = resolve(context, request, &account, &region).await?;
    refuse_source_as_target(request, &source, &account, &region)?;
    origin.settings.permit(
        &source.cluster_identifier,
        &source.account,
        &account,
        &request.target.cluster_identifier,
    )?;
    let by = switch::Place {
        settings: origin.settings,
        id: origin.execution.id,
        account: &account,
        region: &region,
    };
    let switch = switch::switch(context, request, &source, &by).await?;
    let names = switch.names(&request.target.cluster_identifier);
    let production = origin
        .settings
        .permit_production(&names, origin.production)?;
    if !production {
        origin
            .settings
            .permit_lifetime(request.expires_after_hours)?;
    }
    let approval = approval(request, origin, production)?;
    // Nothing is made before somebody agreed, which may be as late as this.
    let begins = now + waited_for(approval.as_ref());
    let identifier = match &switch {
        Switch::Rename(_) => origin.execution.id.working_cluster(),
        Switch::None | Switch::Pointer(_) => request.target.cluster_identifier.to_ascii_lowercase(),
    };
    let instances = live_instances(context, &source, live.as_ref()).await?;
    let seen = Seen {
        snapshot: snapshot.as_ref(),
        cluster: live.as_ref(),
        instances: &instances,
    };
    let place = Place {
        account: &account,
        region: &region,
        identifier: &identifier,
    };
    let target = target(request, &source, &seen, &place)?;
    let until = begins + longest(&request.waits);
    let expiring = snapshot.is_some_and(|found| is_expiring(&found, live.as_ref(), until));
    let mut copies = snapshot_copies(
        request,
        &source,
        expiring,
        &Home {
            account: &account,
            region: &region,
        },
        origin.execution.id,
    )?;
    for copy in &mut copies {
        copy.quota = manual_snapshot_quota(context, &copy.region).await?;
    }
    let source_master_secret_arn = source_secret(request, live.as_ref())?;
    let secret_name = request
        .credentials
        .secret_name
        .clone()
        .unwrap_or_else(|| origin.execution.id.master_secret());
    check_log_exports(request, source.engine)?;
    let family = source.engine.family(&source.engine_version);
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
        copies,
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
        expires_at: request.expires_after_hours.map(|hours| match hours {
            0 => now, // as soon as it is proved
            _ => begins + time::Duration::hours(hours.into()),
        }),
        expiry_warning_hours: origin.settings.expiry_warning_hours,
        approval,
        requested_by: origin.requested_by.map(str::to_owned),
        switch,
    })
}

/// The approval that the request asks for, or that production needs whatever the request says.
fn approval(
    request: &Request,
    origin: &Origin<'_>,
    production: bool,
) -> Result<Option<ApprovalNeeded>, StepError> {
    let asked = request.approval.clone().unwrap_or_default();
    if !production && !asked.required {
        return Ok(None);
    }
    let settings = origin.settings;
    settings.permit_requester(origin.requested_by)?;
    Ok(Some(ApprovalNeeded {
        production,
        expires_after_minutes: asked.expires_after_minutes,
        own_counts: settings.approvers_may_approve_own,
    }))
}

/// How long an approval is waited for.
fn waited_for(approval: Option<&ApprovalNeeded>) -> time::Duration {
    let minutes = approval.map_or(0, |approval| approval.expires_after_minutes);
    time::Duration::minutes(minutes.into())
}

/// The source, the cluster itself where it can be seen, and the snapshot where one is restored.
struct Resolved {
    source: Source,
    live: Option<DbCluster>,
    snapshot: Option<DbClusterSnapshot>,
}

async fn resolve(
    context: &Context,
    request: &Request,
    account: &str,
    region: &str,
) -> Result<Resolved, StepError> {
    let wanted = request.source.wanted();
    let wanted = wanted.map_err(|problem| StepError::new(&AR0001, problem))?;
    let there = request.source.region.as_deref().unwrap_or(region);
    let here = cluster::Place { account, region };
    let snapshot = match wanted {
        Wanted::Latest => newest_snapshot(context, request, there, None).await?,
        Wanted::LatestBefore(at) => newest_snapshot(context, request, there, Some(at)).await?,
        Wanted::Snapshot(snapshot) => named_snapshot(context, snapshot, there).await?,
        Wanted::PointInTime(at) => {
            let (source, live) = cluster::point_in_time(context, request, &here, at).await?;
            return Ok(Resolved::of_cluster(source, live));
        }
        Wanted::Clone => {
            let (source, live) = cluster::clone(context, request, &here).await?;
            return Ok(Resolved::of_cluster(source, live));
        }
    };
    let source = describe_source(&snapshot, request, there)?;
    let live = live_source(context, &source, account).await?;
    Ok(Resolved {
        source,
        live,
        snapshot: Some(snapshot),
    })
}

impl Resolved {
    fn of_cluster(source: Source, live: DbCluster) -> Self {
        Self {
            source,
            live: Some(live),
            snapshot: None,
        }
    }
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
    source: &Source,
    account: &str,
    region: &str,
) -> Result<(), StepError> {
    let same_name = source
        .cluster_identifier
        .eq_ignore_ascii_case(&request.target.cluster_identifier);
    // A cluster that takes over the source's name is another: the source is renamed, and stays as it is.
    let beside = request.switch.mode == SwitchMode::Rename;
    if same_name && !beside && source.account == account && source.region == region {
        let name = &source.cluster_identifier;
        return Err(StepError::new(
            &AR0006,
            format!("`{name}` in {region} of account {account} is both"),
        ));
    }
    Ok(())
}

/// Refuses a log that the engine does not have: RDS would only when the restore has begun.
fn check_log_exports(request: &Request, engine: Engine) -> Result<(), StepError> {
    let known = engine.log_types();
    let mut asked = request.target.log_exports.iter().flatten();
    match asked.find(|asked| !known.contains(&asked.as_str())) {
        None => Ok(()),
        Some(wrong) => Err(StepError::new(
            &AR0001,
            format!(
                "at target.logExports: `{wrong}` is no log of {engine}, expected any of `{}`",
                known.join("`, `")
            ),
        )),
    }
}
