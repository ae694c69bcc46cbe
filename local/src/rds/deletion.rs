//! Deleting clusters, instances and snapshots.

use std::sync::Arc;

use super::api::{Answer, Call};
use super::cluster::Cluster;
use super::credentials;
use super::events::Happening;
use super::form::Form;
use super::lifecycle::blocking;
use super::snapshot::{self, SnapshotType};
use super::state::Book;
use super::tags::Tags;
use super::trouble::Kind;
use super::xml::Xml;
use super::{Inner, cluster, errors, global, instance, names};
use crate::request::ApiError;

/// Statuses in which a cluster is too busy to be deleted.
const BUSY: [&str; 10] = [
    "modifying",
    "resetting-master-credentials",
    "renaming",
    "upgrading",
    "starting",
    "stopping",
    "stopped",
    "backing-up",
    "failing-over",
    "rebooting",
];

pub(super) fn delete_cluster(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let final_snapshot = final_snapshot(form)?;
    let backups_go_too = form.flag("DeleteAutomatedBackups")?.unwrap_or(true);
    let resource_id = rds.edit(|book| {
        let cluster = book.cluster(&call.place, form.required("DBClusterIdentifier")?)?;
        check_deletable(rds, book, cluster)?;
        Ok::<_, ApiError>(cluster.resource_id.clone())
    })?;
    // The answer shows the cluster as it was.
    let answer = cluster::answer(rds, &resource_id);
    let snapshot = rds.edit(|book| {
        let snapshot = match &final_snapshot {
            Some(name) => Some(snapshot::insert(
                rds,
                book,
                call.now,
                &resource_id,
                name,
                SnapshotType::Manual,
                Tags::default(),
            )?),
            None => None,
        };
        if let Some(cluster) = book.clusters.get_mut(&resource_id) {
            cluster.status.set("deleting", call.now);
        }
        Ok::<_, ApiError>(snapshot)
    })?;
    finish_cluster(rds, &resource_id, snapshot, backups_go_too);
    answer
}

/// The name of the final snapshot, or that there shall be none: one of the two must be said, and not both.
fn final_snapshot(form: &Form) -> Result<Option<String>, ApiError> {
    let skipped = form.flag("SkipFinalSnapshot")?.unwrap_or(false);
    match (skipped, form.text("FinalDBSnapshotIdentifier")) {
        (true, None) => Ok(None),
        (false, Some(name)) => names::identifier("FinalDBSnapshotIdentifier", name).map(Some),
        (true, Some(_)) => Err(errors::invalid_combination(
            "FinalDBSnapshotIdentifier can not be specified when deleting with SkipFinalSnapshot",
        )),
        (false, None) => Err(errors::invalid_combination(
            "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
        )),
    }
}

fn check_deletable(rds: &Inner, book: &Book, cluster: &Cluster) -> Result<(), ApiError> {
    if cluster.configuration.deletion_protection {
        return Err(errors::invalid_combination(
            "Cannot delete protected Cluster, please disable deletion protection and try again.",
        ));
    }
    global::check_deletable(book, cluster)?;
    if book
        .instances_of(&cluster.resource_id)
        .iter()
        .any(|instance| !instance.status.is("deleting"))
    {
        return Err(errors::cluster_state(
            "Cluster cannot be deleted, it still contains DB instances in non-deleting state.",
        ));
    }
    let status = cluster.status.as_str();
    let too_early = status == "creating" && rds.settings.refuse_delete_while_creating;
    if too_early || status == "deleting" || BUSY.contains(&status) {
        return Err(errors::cluster_state(format!(
            "DB cluster {} cannot be deleted while it is {status}",
            cluster.id
        )));
    }
    Ok(())
}

fn finish_cluster(
    rds: &Arc<Inner>,
    resource_id: &str,
    final_snapshot: Option<String>,
    backups_go_too: bool,
) {
    let id = resource_id.to_owned();
    let lasting = rds.lasting(
        rds.settings.durations.delete_cluster,
        &format!("delete {id}"),
    );
    rds.flow(move |mut flow| async move {
        if let Some(snapshot) = final_snapshot {
            let copied = snapshot::take_image(&flow, &snapshot).await?;
            flow.snapshot(&snapshot, |snapshot, now| {
                snapshot
                    .status
                    .set(if copied { "available" } else { "failed" }, now);
                Some(())
            })?;
        }
        let name = flow.cluster(&id, |cluster, _| Some(cluster.id.clone()))?;
        flow.linger(Kind::Cluster, &name, "deleting").await?;
        // Its instances are on their way out; it goes after the last of them.
        flow.until(|book| book.instances_of(&id).is_empty().then_some(()))
            .await?;
        flow.sleep(lasting).await;
        let (secret, owner, volume) = flow.cluster(&id, |cluster, _| {
            Some((
                cluster.secret.take(),
                cluster.owner.clone(),
                Arc::clone(&cluster.volume),
            ))
        })?;
        if let Some(secret) = secret {
            credentials::remove_secret(&flow, &owner, &secret.arn).await;
        }
        blocking(move || {
            volume.remove();
            Ok(())
        })
        .await
        .ok()?;
        let gone = flow.edit(|book| {
            let cluster = book.clusters.remove(&id)?;
            book.past.push(cluster.view().removed(flow.now()));
            if backups_go_too {
                book.snapshots.retain(|_, snapshot| {
                    snapshot.kind != SnapshotType::Automated
                        || snapshot.origin.cluster_resource_id != id
                });
            }
            Some(cluster)
        })?;
        flow.tell(&gone.place, &gone.id, Happening::ClusterDeleted)
    });
}

pub(super) fn delete_instance(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let name = form.required("DBInstanceIdentifier")?;
    if form.text("FinalDBSnapshotIdentifier").is_some() {
        return Err(errors::invalid_combination(
            "FinalDBSnapshotIdentifier can not be specified when deleting a cluster instance",
        ));
    }
    let id = rds.edit(|book| {
        let instance = book.instance_mut(&call.place, name)?;
        if instance.status.is("deleting") {
            return Err(errors::instance_state(format!(
                "Instance {name} is already being deleted."
            )));
        }
        if instance.status.is("creating") && rds.settings.refuse_delete_while_creating {
            return Err(errors::instance_state(format!(
                "Instance {name} is currently creating: it cannot be deleted yet."
            )));
        }
        instance.status.set("deleting", call.now);
        Ok(instance.resource_id.clone())
    })?;
    finish_instance(rds, &id);
    instance::answer(rds, &id)
}

fn finish_instance(rds: &Arc<Inner>, resource_id: &str) {
    let id = resource_id.to_owned();
    let lasting = rds.lasting(
        rds.settings.durations.delete_instance,
        &format!("delete {id}"),
    );
    rds.flow(move |flow| async move {
        // The last one takes the server with it, at once; a server still to be started by a sibling starts itself.
        let volume = flow.edit(|book| {
            let cluster = book.clusters.get(&book.instances.get(&id)?.cluster)?;
            let alone = book
                .instances_of(&cluster.resource_id)
                .iter()
                .all(|sibling| sibling.status.is("deleting"));
            Some(alone.then(|| Arc::clone(&cluster.volume)))
        })?;
        if let Some(volume) = volume
            && let Err(error) = blocking(move || volume.stop()).await
        {
            tracing::error!(%error, "a database server was not stopped");
        }
        let name = flow.instance(&id, |instance, _| Some(instance.id.clone()))?;
        flow.linger(Kind::Instance, &name, "deleting").await?;
        flow.sleep(lasting).await;
        let gone = flow.edit(|book| {
            let instance = book.instances.remove(&id)?;
            if instance.writer {
                promote_heir(book, &instance.cluster);
            }
            book.past.push(instance.view().removed(flow.now()));
            Some(instance)
        })?;
        flow.tell(&gone.place, &gone.id, Happening::InstanceDeleted)
    });
}

/// Makes the reader of the lowest tier the writer.
fn promote_heir(book: &mut Book, cluster: &str) {
    let heir = book
        .instances
        .values_mut()
        .filter(|instance| instance.cluster == cluster && !instance.status.is("deleting"))
        .min_by_key(|instance| (instance.promotion_tier, instance.id.clone()));
    if let Some(heir) = heir {
        heir.writer = true;
    }
}

pub(super) fn delete_snapshot(rds: &Arc<Inner>, call: &Call) -> Answer {
    let text = call.form.required("DBClusterSnapshotIdentifier")?;
    let (resource_id, answer) = rds.edit(|book| {
        let (place, id) = names::locate(&call.place, "cluster-snapshot", text)?;
        let snapshot = book.snapshot_mut(&place, &id)?;
        if snapshot.place != call.place {
            return Err(errors::snapshot_not_found(text));
        }
        if snapshot.kind != SnapshotType::Manual {
            return Err(errors::snapshot_state(
                "Automated snapshots cannot be deleted",
            ));
        }
        // A copy is cancelled by this; a snapshot being taken is not.
        if ["creating", "deleting"].contains(&snapshot.status.as_str()) {
            return Err(errors::snapshot_state(format!(
                "The snapshot {id} cannot be deleted while it is {}",
                snapshot.status.as_str()
            )));
        }
        snapshot.status.set("deleting", call.now);
        let answer = Xml::of(|xml| {
            xml.within("DBClusterSnapshot", |xml| {
                snapshot.write(&call.place, call.now, xml)
            });
        });
        let (arn, resource_id) = (snapshot.arn(), snapshot.resource_id.clone());
        fail_copies_of(book, &arn, call);
        Ok((resource_id, answer))
    })?;
    let lasting = rds.lasting(rds.settings.durations.delete_snapshot, &resource_id);
    rds.flow(move |flow| async move {
        flow.sleep(lasting).await;
        let gone = flow.edit(|book| {
            let snapshot = book.snapshots.remove(&resource_id)?;
            book.past.push(snapshot.view().removed(flow.now()));
            Some(snapshot)
        })?;
        // The files may be the last of their kind: removing them is work.
        blocking(move || {
            drop(gone);
            Ok(())
        })
        .await
        .ok()
    });
    Ok(answer)
}

/// A copy does not survive its source.
fn fail_copies_of(book: &mut Book, source_arn: &str, call: &Call) {
    for copy in book
        .snapshots
        .values_mut()
        .filter(|copy| copy.source_arn.as_deref() == Some(source_arn))
    {
        if copy.status.is("copying") {
            copy.status.set("failed", call.now);
        }
    }
}
