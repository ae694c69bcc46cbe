//! What the restore of a plan costs.

use anyhow::{Result, anyhow};
use aurora_restore_core::Plan;

use crate::prices::Prices;
use crate::{Architecture, Estimate, HOURS_OF_A_MONTH, Needs, Part, StorageType, estimate, render};

/// The bill of one restore.
///
/// # Errors
/// When that cannot be told: the table has no prices of the region, or not all of them.
pub fn cost(plan: &Plan) -> Result<Estimate> {
    let region = &plan.target.region;
    if !Prices::has(region)? {
        return Err(anyhow!(
            "the table has no prices of {region}; `aurora-restore cost` takes them as --price"
        ));
    }
    estimate(&needs(plan))
}

/// The bill in words: `USD 5.49 at AWS, and USD 0.01 that the pipeline adds, for 12 hours of the target`, or why it
/// cannot be told.
pub fn cost_in_words(plan: &Plan) -> String {
    match cost(plan) {
        Ok(estimate) => {
            let of = |part| render::usd(&estimate.restore(part));
            let (aws, pipeline) = (of(Part::Aws), of(Part::Pipeline));
            let lives =
                hours(plan).map_or_else(|| "a month".to_owned(), |hours| format!("{hours} hours"));
            format!(
                "USD {aws} at AWS, and USD {pipeline} that the pipeline adds, for {lives} of the target"
            )
        }
        Err(error) => format!("unknown: {error:#}"),
    }
}

/// How long the target lives; `None` when it is kept.
fn hours(plan: &Plan) -> Option<i64> {
    let expires_at = plan.expires_at?;
    Some((expires_at - plan.planned_at).whole_hours())
}

fn needs(plan: &Plan) -> Needs {
    let target = &plan.target;
    let gib = plan.source.allocated_storage_gib;
    let copied = !plan.copies.is_empty();
    // What it can use at most: an average is nobody's to know before.
    let acus = target.serverless_scaling.as_ref();
    let acus = acus.and_then(|scaling| scaling.max_capacity.to_string().parse().ok());
    Needs {
        region: target.region.clone(),
        storage_gib: gib.into(),
        instances: target
            .instances
            .iter()
            .map(|instance| instance.class.clone())
            .collect(),
        hours: hours(plan)
            .unwrap_or_else(|| HOURS_OF_A_MONTH.into())
            .into(),
        restores_per_month: 1,
        acus,
        storage_type: match target.storage_type.as_str() {
            "aurora-iopt1" => StorageType::AuroraIopt1,
            _ => StorageType::Aurora,
        },
        io_millions: 0.into(),
        copy_gib: if copied { gib.into() } else { 0.into() },
        copy_hours: 6.into(),
        copy_crosses_regions: copied && plan.source.region != target.region,
        architecture: Architecture::X86_64,
        function_memory: 256,
        call_millis: 100,
        interface_endpoints: 0,
        alarms: 0,
        prices: Vec::new(),
        prices_file: None,
    }
}
