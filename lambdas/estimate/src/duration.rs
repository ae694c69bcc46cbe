//! How long a restore takes: as the last ones of its target did, or by its size.

use std::time::Duration;

use aurora_restore_core::StepError;
use aurora_restore_core::ledger::Status;
use aurora_restore_core::plan::{Plan, SourceKind};
use aurora_restore_core::table::{Item, Order, Table};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Restores that tell how long the next one takes.
const MOST_EXAMPLES: usize = 5;

/// Restores of the target that are looked at for them.
const LOOKED_AT: i32 = 25;

/// How long a restore takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// From Plan to the end, in seconds.
    pub seconds: f64,
    /// What that rests on.
    pub basis: String,
}

/// How long RDS takes, where nothing better is known: assumptions, which the local cloud makes too.
#[derive(Clone, Copy, Debug)]
pub struct Assumed {
    /// To restore a cluster, besides its size.
    pub restore_cluster: Duration,
    /// More for each GiB.
    pub restore_per_gib: Duration,
    /// To clone a cluster of any size.
    pub clone_cluster: Duration,
    /// To copy a snapshot, besides its size.
    pub copy_snapshot: Duration,
    /// More for each GiB.
    pub copy_per_gib: Duration,
    /// Until a copy across regions begins.
    pub copy_queue_across_regions: Duration,
    /// To make an instance.
    pub create_instance: Duration,
    /// To change the master password.
    pub reset_credentials: Duration,
    /// Until a modification begins.
    pub modify_lag: Duration,
    /// A modification.
    pub modify: Duration,
    /// A reboot.
    pub reboot: Duration,
}

/// What is assumed.
pub const ASSUMED: Assumed = Assumed {
    restore_cluster: Duration::from_secs(12 * 60),
    restore_per_gib: Duration::from_millis(1_500),
    clone_cluster: Duration::from_secs(4 * 60),
    copy_snapshot: Duration::from_secs(3 * 60),
    copy_per_gib: Duration::from_secs(2),
    copy_queue_across_regions: Duration::from_secs(3 * 60),
    create_instance: Duration::from_secs(7 * 60),
    reset_credentials: Duration::from_secs(40),
    modify_lag: Duration::from_secs(20),
    modify: Duration::from_secs(60),
    reboot: Duration::from_secs(60),
};

impl Expected {
    /// In words: `34 minutes: the mean of …`.
    pub fn in_words(&self) -> String {
        format!("{:.0} minutes: {}", self.seconds / 60.0, self.basis)
    }
}

/// From earlier restores of the same profile and target, or else from the size.
///
/// # Errors
/// What DynamoDB refuses.
pub async fn expected(table: &Table, plan: &Plan) -> Result<Expected, StepError> {
    let key = ("target", plan.named_arn());
    let earlier = table.query_index("by-target", key, Order::NewestFirst, LOOKED_AT);
    let earlier = earlier.await?;
    let alike = earlier.iter().filter(|item| {
        item.text("status") == Some(Status::Restored.name())
            && item.text("profile") == plan.profile.as_deref()
    });
    let seconds: Vec<f64> = alike.filter_map(took).take(MOST_EXAMPLES).collect();
    if seconds.is_empty() {
        return Ok(by_size(plan));
    }
    let count = seconds.len();
    let of = plan
        .profile
        .as_deref()
        .map_or_else(String::new, |profile| format!(" by profile {profile}"));
    Ok(Expected {
        seconds: seconds.iter().sum::<f64>() / count as f64,
        basis: format!("the mean of the last {count} restores of this target{of}"),
    })
}

fn took(item: &Item) -> Option<f64> {
    let time = |name: &str| OffsetDateTime::parse(item.text(name)?, &Rfc3339).ok();
    Some((time("endedAt")? - time("startedAt")?).as_seconds_f64())
}

/// By its size and what it needs: assumptions, which only an account can correct.
pub fn by_size(plan: &Plan) -> Expected {
    let gib = u32::try_from(plan.source.allocated_storage_gib).unwrap_or(0);
    let crosses = plan.source.region != plan.target.region;
    let mut all = match plan.source.kind {
        SourceKind::Clone => ASSUMED.clone_cluster,
        _ => ASSUMED.restore_cluster + ASSUMED.restore_per_gib * gib,
    };
    if !plan.copies.is_empty() {
        all += ASSUMED.copy_snapshot + ASSUMED.copy_per_gib * gib;
        all += ASSUMED.copy_queue_across_regions * u32::from(crosses);
    }
    let rounds = if plan.target.instances.len() > 1 {
        2
    } else {
        1
    };
    all += ASSUMED.create_instance * rounds
        + ASSUMED.reset_credentials
        + ASSUMED.modify
        + ASSUMED.modify_lag * 2;
    if plan.target.cluster_parameter_group != plan.quarantine_parameter_group {
        all += ASSUMED.reboot + ASSUMED.modify;
    }
    Expected {
        seconds: all.as_secs_f64(),
        basis: format!(
            "{gib} GiB and the durations of the local cloud, which are assumptions: no restore of this target has succeeded yet"
        ),
    }
}
