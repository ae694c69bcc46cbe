//! What is ours, and the proof of it.
//!
//! Every resource is tagged when it is created, by the create call itself. Nothing
//! is changed or deleted unless it is in this restore's ledger, carries this
//! restore's id in its tag, and has the resource id that was recorded for it.

use aws_sdk_rds::types::{DbClusterSnapshot, Tag};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::errors::{AR0012, StepError};
use crate::names::RestoreId;
use crate::plan::Plan;

/// Tag that names the restore.
pub const RESTORE_ID_TAG: &str = "aurora-restore:restore-id";
/// Tag that says from when a resource may be removed (RFC 3339, UTC).
pub const EXPIRES_AT_TAG: &str = "aurora-restore:expires-at";
/// Tag that names the restore whose cluster came in the place of this one.
pub const RETIRED_BY_TAG: &str = "aurora-restore:retired-by";
/// Tag that says until when a cluster that was replaced is kept (RFC 3339, UTC).
pub const RETIRED_UNTIL_TAG: &str = "aurora-restore:retired-until";
/// Tag that names the snapshot a resource came from.
pub const SOURCE_SNAPSHOT_TAG: &str = "aurora-restore:source-snapshot";
/// Tag that names the cluster a resource came from, where no snapshot was restored.
pub const SOURCE_CLUSTER_TAG: &str = "aurora-restore:source-cluster";

/// The tags of a resource of this plan: the requester's, and ours.
pub fn tags(plan: &Plan, expires_at: Option<OffsetDateTime>) -> Vec<Tag> {
    let expires = expires_at.and_then(|at| at.format(&Rfc3339).ok());
    let ours = [
        Some((RESTORE_ID_TAG, plan.restore_id.clone())),
        Some(match plan.source.snapshot_arn() {
            Some(arn) => (SOURCE_SNAPSHOT_TAG, arn.to_owned()),
            None => (SOURCE_CLUSTER_TAG, plan.source.cluster_arn()),
        }),
        expires.map(|at| (EXPIRES_AT_TAG, at)),
    ];
    let requested = plan
        .target
        .tags
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()));
    requested
        .chain(ours.into_iter().flatten())
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// The value of a tag.
pub fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter()
        .find(|tag| tag.key() == Some(key))
        .and_then(Tag::value)
}

/// Whether a snapshot is the temporary copy of a restore. A snapshot of a restored cluster may carry the restore's
/// tag, too, when the cluster copies its tags to snapshots; only the copy has the name that the restore gave it.
pub fn is_copy_of_a_restore(snapshot: &DbClusterSnapshot) -> bool {
    tag(snapshot.tag_list(), RESTORE_ID_TAG)
        .and_then(|id| RestoreId::parse(id).ok())
        .is_some_and(|id| snapshot.db_cluster_snapshot_identifier() == Some(&id.snapshot_copy()))
}

/// Whether these tags carry this restore's id.
pub fn is_tagged(tags: &[Tag], restore_id: &str) -> bool {
    tag(tags, RESTORE_ID_TAG) == Some(restore_id)
}

/// Proves that a resource found under one of our names is ours.
///
/// `recorded` is the resource id in the ledger, absent when a create call was asked for but its answer never came.
///
/// # Errors
/// AR0012 naming the resource.
pub fn prove(
    name: &str,
    tags: &[Tag],
    restore_id: &str,
    found: Option<&str>,
    recorded: Option<&str>,
) -> Result<(), StepError> {
    if !is_tagged(tags, restore_id) {
        return Err(StepError::new(
            &AR0012,
            format!("`{name}` exists and does not carry the tag {RESTORE_ID_TAG}={restore_id}"),
        ));
    }
    match (found, recorded) {
        (Some(found), Some(recorded)) if found != recorded => Err(StepError::new(
            &AR0012,
            format!(
                "`{name}` has the resource id {found}, the ledger recorded {recorded}: it was replaced by something else"
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(id: &str) -> Vec<Tag> {
        vec![Tag::builder().key(RESTORE_ID_TAG).value(id).build()]
    }

    #[test]
    fn a_resource_without_our_tag_is_a_strangers() {
        assert_eq!(
            prove("c", &[], "r1", None, None).unwrap_err().code().id,
            "AR0012"
        );
        assert_eq!(
            prove("c", &tagged("r2"), "r1", None, None)
                .unwrap_err()
                .code()
                .id,
            "AR0012"
        );
    }

    #[test]
    fn a_forged_tag_does_not_stand_in_for_the_recorded_resource_id() {
        assert!(
            prove(
                "c",
                &tagged("r1"),
                "r1",
                Some("cluster-A"),
                Some("cluster-A")
            )
            .is_ok()
        );
        assert!(
            prove(
                "c",
                &tagged("r1"),
                "r1",
                Some("cluster-B"),
                Some("cluster-A")
            )
            .is_err()
        );
    }
}
