//! Copying snapshots: into this region, from this account or one that shares.
//!
//! The target is the job: there is nothing else to follow, and no event tells
//! of its end. Copies of one source go one after another, copies from another
//! region wait in a queue nobody sees, and only so many may be under way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::api::{Answer, Call};
use super::encryption::Encryption;
use super::lifecycle::Flow;
use super::snapshot::{self, Progress, Snapshot, SnapshotType};
use super::state::{Book, Status};
use super::tags::Tags;
use super::trouble::{Ending, Fate, Kind};
use super::{Inner, errors, quotas};
use crate::request::{ApiError, Caller};

pub(super) async fn copy(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("TargetDBClusterSnapshotIdentifier")?;
    let tags = Tags::from_form(form, rds.settings.quotas.tags_per_resource)?;
    let copies_tags = form.flag("CopyTags")?.unwrap_or(false);
    rds.refuse_if_scripted(Kind::SnapshotCopy, &id)?;
    let source = rds.read(|book| {
        let source = snapshot::readable(
            book,
            call,
            form.required("SourceDBClusterSnapshotIdentifier")?,
        )?;
        require_available(source)?;
        Ok::<_, ApiError>(source.clone())
    })?;
    let encryption = encryption_of_copy(rds, call, &source).await?;
    let fate = rds.fate(Kind::SnapshotCopy, &id);
    let lasting = duration(rds, call, &source, &id).mul_f64(fate.slower);
    // Tags given win over tags copied; those of another account stay there.
    let copied =
        copies_tags && form.items("Tags").is_empty() && source.place.account == call.place.account;
    let tags = if copied { source.tags.clone() } else { tags };
    let resource_id = rds.edit(|book| {
        insert(
            rds, book, call, &source, id, encryption, tags, lasting, &fate,
        )
    })?;
    finish(rds, call.caller.clone(), &resource_id, fate);
    snapshot::answer(rds, call, &resource_id)
}

fn require_available(source: &Snapshot) -> Result<(), ApiError> {
    if source.status.is("available") {
        return Ok(());
    }
    Err(errors::snapshot_state(format!(
        "The snapshot {} is not in available state: it is {}",
        source.id,
        source.status.as_str()
    )))
}

async fn encryption_of_copy(
    rds: &Inner,
    call: &Call,
    source: &Snapshot,
) -> Result<Encryption, ApiError> {
    let wanted = call.form.text("KmsKeyId");
    let Some(source_key) = source.encryption.key() else {
        return match wanted {
            Some(_) => Err(errors::invalid_combination(
                "You can't encrypt an unencrypted DB cluster snapshot by copying it",
            )),
            None => Ok(source.encryption.clone()),
        };
    };
    let elsewhere =
        source.place.account != call.place.account && source.place.region != call.place.region;
    if elsewhere && !rds.settings.copies_across_account_and_region {
        return Err(errors::invalid_combination(
            "You can't copy an encrypted DB cluster snapshot that is shared by another account and in another region in one step",
        ));
    }
    if wanted.is_none() && source.place.account != call.place.account {
        return Err(errors::key_not_accessible("target", "None"));
    }
    if wanted.is_none() && source.place.region != call.place.region {
        return Err(errors::invalid_value(
            "Must specify new KMS key for cross region encrypted snapshot copy.",
        ));
    }
    if !rds.readable(&call.caller, &source.encryption).await {
        return Err(errors::key_not_accessible(
            "source snapshot",
            &source_key.arn,
        ));
    }
    match wanted {
        Some(key) => Ok(Encryption::Key(
            rds.usable_key(&call.caller, "target", key).await?,
        )),
        None => Ok(source.encryption.clone()),
    }
}

fn duration(rds: &Inner, call: &Call, source: &Snapshot, id: &str) -> Duration {
    let durations = &rds.settings.durations;
    let in_life = durations.copy_snapshot + durations.copy_per_gib * source.origin.size_gib;
    rds.lasting(in_life, &format!("copy {} {id}", call.place))
}

#[expect(
    clippy::too_many_arguments,
    reason = "one copy, described by all of these"
)]
fn insert(
    rds: &Inner,
    book: &mut Book,
    call: &Call,
    source: &Snapshot,
    id: String,
    encryption: Encryption,
    tags: Tags,
    lasting: Duration,
    fate: &Fate,
) -> Result<String, ApiError> {
    if book.snapshot(&call.place, &id).is_ok() {
        return Err(errors::snapshot_exists(&id));
    }
    quotas::another_manual_snapshot(book, &rds.settings.quotas, &call.place)?;
    quotas::another_copy(book, &rds.settings.quotas, &call.place)?;
    let source_arn = source.arn();
    let queue = if source.place.region == call.place.region {
        Duration::ZERO
    } else {
        rds.lasting(
            rds.settings.durations.copy_queue_across_regions,
            &format!("queue {} {id}", call.place),
        )
    };
    let turn = book
        .snapshots
        .values()
        .filter(|other| {
            other.status.is("copying") && other.source_arn.as_ref() == Some(&source_arn)
        })
        .map(|other| other.progress.until)
        .max()
        .unwrap_or(call.now);
    let from = turn.max(call.now) + queue;
    let at_most = match fate.ending {
        Ending::Status { at_percent, .. } => at_percent,
        Ending::Never => 0,
        Ending::Available => 99,
    };
    let resource_id = book.new_resource_id("snapshot");
    let copy = Snapshot {
        place: call.place.clone(),
        id,
        resource_id: resource_id.clone(),
        kind: SnapshotType::Manual,
        status: Status::new("copying", call.now),
        progress: Progress {
            from,
            until: from + lasting,
            at_most,
        },
        visible_from: call.now + rds.settings.invisible_after_create,
        tags,
        source_arn: Some(source_arn),
        shared_with: BTreeSet::new(),
        encryption,
        image: None,
        ..source.clone()
    };
    book.snapshots.insert(resource_id.clone(), copy);
    Ok(resource_id)
}

/// Ends a copy when its time has come, if its source and its keys are still there.
fn finish(rds: &Arc<Inner>, caller: Caller, resource_id: &str, fate: Fate) {
    let id = resource_id.to_owned();
    rds.flow(move |flow| async move {
        let until = flow.snapshot(&id, |copy, _| Some(copy.progress.until))?;
        let (lasting, ends_early) = match fate.ending {
            Ending::Never => return None,
            Ending::Status { at_percent, .. } => (f64::from(at_percent.min(100)) / 100.0, true),
            Ending::Available => (1.0, false),
        };
        let whole = flow.with(|rds| Some((until - rds.now()).max(time::Duration::ZERO)))?;
        flow.sleep(whole.unsigned_abs().mul_f64(lasting)).await;
        let (source, encryptions) = source_of(&flow, &id)?;
        let mut keys_work = true;
        for encryption in &encryptions {
            let rds = flow.with(|rds| Some(Arc::clone(rds)))?;
            keys_work &= rds.readable(&caller, encryption).await;
        }
        flow.snapshot(&id, |copy, now| {
            copy.status.is("copying").then_some(())?;
            match source
                .and_then(|source| source.image)
                .filter(|_| keys_work && !ends_early)
            {
                Some(image) => {
                    copy.image = Some(image);
                    copy.status.set("available", now);
                }
                None => {
                    copy.progress.at_most = copy.progress.at_most.min(99);
                    let status = match &fate.ending {
                        Ending::Status { status, .. } => status,
                        _ => "failed",
                    };
                    copy.status.set(status, now);
                }
            }
            Some(())
        })
    });
}

/// The source as it is now, if it still is, and what both ends are encrypted with.
fn source_of(flow: &Flow, copy: &str) -> Option<(Option<Snapshot>, Vec<Encryption>)> {
    flow.edit(|book| {
        let copy = book.snapshots.get(copy)?;
        let source = book
            .snapshots
            .values()
            .find(|source| Some(source.arn()) == copy.source_arn && source.status.is("available"))
            .cloned();
        let mut encryptions = vec![copy.encryption.clone()];
        encryptions.extend(source.as_ref().map(|source| source.encryption.clone()));
        Some((source, encryptions))
    })
}
