//! How many members may be under way at once: what the account's quotas leave.
//!
//! A member holds a place for its cluster, and one for each instance, from its restore
//! to the cluster's end. Copies of snapshots are not counted here: they queue for
//! their places by themselves.

use aurora_restore_core::Context;
use aurora_restore_core::errors::{AR0060, StepError};
use aurora_restore_core::fleet::Member;

/// Places that are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    clusters: usize,
    instances: usize,
}

/// How many of these may be under way at once; at least 1.
///
/// # Errors
/// AR0060 when there will never be room for all of them; what RDS refuses.
pub(crate) async fn concurrency(
    context: &Context,
    members: &[&Member],
    most: Option<u32>,
) -> Result<usize, StepError> {
    let free = free(context).await?;
    let fitting = fitting(members, free)?;
    let most = most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    Ok(fitting.min(most).clamp(1, members.len().max(1)))
}

/// Clusters that stay keep their places for good; those that are removed when they are proved take turns in what
/// is left.
fn fitting(members: &[&Member], free: Free) -> Result<usize, StepError> {
    let (passing, staying): (Vec<&Member>, Vec<&Member>) = members
        .iter()
        .partition(|member| member.removed_when_proved);
    let kept = Free {
        clusters: staying.len(),
        instances: staying.iter().map(|member| member.instances as usize).sum(),
    };
    let largest = passing.iter().map(|member| member.instances as usize).max();
    let needed = Free {
        clusters: kept.clusters + usize::from(largest.is_some()),
        instances: kept.instances + largest.unwrap_or(0),
    };
    if needed.clusters > free.clusters || needed.instances > free.instances {
        return Err(StepError::new(
            &AR0060,
            format!(
                "{} clusters with {} instances stay, and {} more are removed when they are proved: room for {} clusters \
                 with {} instances is needed at once, and the account's quotas leave {} and {}",
                kept.clusters,
                kept.instances,
                passing.len(),
                needed.clusters,
                needed.instances,
                free.clusters,
                free.instances
            ),
        ));
    }
    Ok(match largest {
        None => members.len(),
        Some(largest) => {
            let by_instances = (free.instances - kept.instances) / largest.max(1);
            by_instances.min(free.clusters - kept.clusters)
        }
    })
}

async fn free(context: &Context) -> Result<Free, StepError> {
    let rds = context.aws.rds(context.aws.region());
    let attributes = rds.describe_account_attributes().send().await;
    let attributes = attributes.map_err(|error| StepError::from_sdk("read the quotas", error))?;
    let free = |name: &str| {
        let quotas = attributes.account_quotas();
        let quota = quotas
            .iter()
            .find(|quota| quota.account_quota_name() == Some(name));
        quota.map_or(usize::MAX, |quota| {
            let left = quota.max().unwrap_or(0) - quota.used().unwrap_or(0);
            usize::try_from(left).unwrap_or(0)
        })
    };
    Ok(Free {
        clusters: free("DBClusters"),
        instances: free("DBInstances"),
    })
}

#[cfg(test)]
mod tests {
    use aurora_restore_core::fleet::FleetId;
    use serde_json::json;

    use super::*;

    fn member(instances: u32, removed_when_proved: bool) -> Member {
        let fleet = FleetId::parse("weekly").unwrap();
        Member {
            number: 1,
            attempt: 1,
            restore_id: fleet.member(1, 1).unwrap(),
            input: json!({}),
            source: "orders-prod".to_owned(),
            target: "a".to_owned(),
            instances,
            removed_when_proved,
        }
    }

    #[test]
    fn drills_take_turns_in_the_places_that_are_left() {
        let (drill, staying) = (member(2, true), member(1, false));
        let free = |clusters, instances| Free {
            clusters,
            instances,
        };
        assert_eq!(fitting(&[&drill; 500], free(40, 40)).unwrap(), 20);
        assert_eq!(fitting(&[&drill; 500], free(10, 40)).unwrap(), 10);
        let mixed = [&staying, &staying, &drill, &drill];
        assert_eq!(fitting(&mixed, free(4, 40)).unwrap(), 2);
        assert_eq!(fitting(&[&staying; 30], free(30, 30)).unwrap(), 30);
    }

    #[test]
    fn a_fleet_that_will_never_fit_is_refused_before_it_begins() {
        let (drill, staying) = (member(2, true), member(1, false));
        for (members, clusters, instances) in [
            (vec![&staying; 41], 40, 60),
            (vec![&staying; 40], 40, 39),
            (vec![&drill], 1, 1),
            (vec![&staying, &drill], 1, 40),
        ] {
            let free = Free {
                clusters,
                instances,
            };
            assert_eq!(fitting(&members, free).unwrap_err().code().id, "AR0060");
        }
    }
}
