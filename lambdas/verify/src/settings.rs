//! Compares what RDS made with what was planned, and with what the source has.
//!
//! What a restore call leaves out, or what RDS ignores, falls back to a default
//! without a word; here it is noticed.

use aurora_restore_core::errors::AR0023;
use aurora_restore_core::fidelity::{self, Compared, Verdict};
use aurora_restore_core::plan::Plan;
use aurora_restore_core::{Context, StepError, rds};
use aws_sdk_rds::types::DbCluster;

use crate::{Checked, checked};

/// Every setting beside the plan's and the source's.
pub(crate) async fn compare(
    context: &Context,
    plan: &Plan,
    cluster: &DbCluster,
) -> Result<Vec<Compared>, StepError> {
    let client = context.aws.rds(&plan.target.region);
    let mut instances = Vec::new();
    for identifier in plan.instance_identifiers() {
        instances.push(rds::find_instance(&client, &identifier).await?);
    }
    Ok(fidelity::compare(plan, cluster, &instances))
}

/// One finding for all settings, and one for each that differs.
pub(crate) fn findings(compared: &[Compared]) -> Vec<Checked> {
    let differing = compared
        .iter()
        .filter(|row| row.verdict == Verdict::Differs);
    let failed: Vec<Checked> = differing
        .map(|row| {
            let check = format!("setting: {}", row.subject());
            checked(check, false, row.detail(), &AR0023)
        })
        .collect();
    let held = compared.len() - failed.len();
    let all = checked(
        "settings are as planned",
        failed.is_empty(),
        format!(
            "{held} of {}: {}",
            compared.len(),
            fidelity::summary(compared)
        ),
        &AR0023,
    );
    // The particular ones first: the first failed finding is the one that a run ends with.
    failed.into_iter().chain([all]).collect()
}
