//! Restoring: a new cluster from a snapshot, or from another cluster as it is now or was.
//!
//! Only storage is restored. There is no instance and so nothing to connect to,
//! settings are defaults unless the call gives them, and the master password is
//! the source's until it is changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::api::{Answer, Call};
use super::catalog::{DbEngine, numbers};
use super::cluster::{self, Cluster, NewCluster};
use super::configuration::{Configuration, Inherited};
use super::encryption::Encryption;
use super::lifecycle::blocking;
use super::roles::RoleAssociation;
use super::snapshot::{self, Origin, Snapshot};
use super::state::Book;
use super::tags::Tags;
use super::trouble::Kind;
use super::{Inner, errors, names};
use crate::database::Image;
use crate::request::ApiError;

/// A cluster has so many copy-on-write descendants; the next clone is silently a full copy.
const MOST_CLONES: usize = 15;

pub(super) async fn from_snapshot(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("DBClusterIdentifier")?;
    let engine = DbEngine::named(form.required("Engine")?)?;
    rds.refuse_if_scripted(Kind::RestoredCluster, &id)?;
    let (snapshot, image) = rds.read(|book| source_snapshot(book, call))?;
    let origin = snapshot.origin;
    if engine != origin.engine {
        return Err(errors::invalid_combination(format!(
            "The engine {} of the snapshot can't be restored as {}",
            origin.engine.name(),
            engine.name()
        )));
    }
    // Not the snapshot's: a restore that names no version gets the region's default.
    let version = engine.version(form.text("EngineVersion"))?;
    if numbers(&version) < numbers(&origin.version) {
        return Err(errors::invalid_combination(format!(
            "The DB cluster snapshot of engine version {} can't be restored to the lower engine version {version}",
            origin.version
        )));
    }
    let encryption = encryption_of_restore(rds, call, &snapshot.encryption).await?;
    let durations = &rds.settings.durations;
    let in_life = durations.restore_cluster + durations.restore_per_gib * origin.size_gib;
    let inherited = Inherited {
        port: origin.port,
        backup_retention_period: origin.backup_retention_period,
    };
    restore(
        rds, call, id, origin, version, encryption, image, inherited, in_life, None,
    )
}

fn source_snapshot(book: &Book, call: &Call) -> Result<(Snapshot, Image), ApiError> {
    let text = call.form.required("SnapshotIdentifier")?;
    let snapshot = snapshot::readable(book, call, text)?;
    if snapshot.place.region != call.place.region {
        return Err(errors::snapshot_not_found(text));
    }
    match &snapshot.image {
        Some(image) if snapshot.status.is("available") => Ok((snapshot.clone(), image.clone())),
        _ => Err(errors::snapshot_state(format!(
            "The snapshot {} is not in available state: it is {}",
            snapshot.id,
            snapshot.status.as_str()
        ))),
    }
}

async fn encryption_of_restore(
    rds: &Inner,
    call: &Call,
    source: &Encryption,
) -> Result<Encryption, ApiError> {
    if let Some(key) = source.key()
        && !rds.readable(&call.caller, source).await
    {
        return Err(errors::key_not_accessible("source snapshot", &key.arn));
    }
    match (call.form.text("KmsKeyId"), source) {
        (Some(key), _) => Ok(Encryption::Key(
            rds.usable_key(&call.caller, "specified", key).await?,
        )),
        // Of a shared snapshot this is the other account's key, and stays so.
        (None, Encryption::Key(_)) => Ok(source.clone()),
        (None, Encryption::None | Encryption::AwsOwned) => Ok(rds.unkeyed()),
    }
}

pub(super) async fn to_point_in_time(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("DBClusterIdentifier")?;
    let on_write = match form.text("RestoreType").unwrap_or("full-copy") {
        "full-copy" => false,
        "copy-on-write" => true,
        other => {
            return Err(errors::invalid_value(format!(
                "Invalid value for RestoreType: {other}"
            )));
        }
    };
    let at = time_asked_for(call, on_write)?;
    rds.refuse_if_scripted(Kind::RestoredCluster, &id)?;
    let source = rds.read(|book| live_source(book, call, on_write, rds.latest_moment()))?;
    let moment = at.map(|at| source.moment(rds, at)).transpose()?;
    if form.text("KmsKeyId").is_some() && matches!(source.encryption, Encryption::None) {
        return Err(errors::invalid_combination(
            "KmsKeyId cannot be given for a source DB cluster that isn't encrypted",
        ));
    }
    let encryption = encryption_of_restore(rds, call, &source.encryption).await?;
    let volume = source.volume;
    let image = blocking(move || match moment {
        Some(moment) => volume.image_at(moment),
        None => volume.image(),
    })
    .await
    .map_err(|error| errors::invalid_restore(error.to_string()))?;
    let durations = &rds.settings.durations;
    let cloned = on_write && source.clones < MOST_CLONES;
    let (in_life, clone_group) = if cloned {
        (durations.clone_cluster, Some(source.clone_group))
    } else {
        (
            durations.restore_cluster + durations.restore_per_gib * source.origin.size_gib,
            None,
        )
    };
    let inherited = Inherited {
        // Unlike a restore from a snapshot, this one goes back to the engine's own port.
        port: source.origin.engine.port(),
        backup_retention_period: source.origin.backup_retention_period,
    };
    let version = source.origin.version.clone();
    restore(
        rds,
        call,
        id,
        source.origin,
        version,
        encryption,
        image,
        inherited,
        in_life,
        clone_group,
    )
}

/// The time that is asked for; none for the latest.
fn time_asked_for(call: &Call, on_write: bool) -> Result<Option<OffsetDateTime>, ApiError> {
    let latest = call.form.flag("UseLatestRestorableTime")?.unwrap_or(false);
    match call.form.time("RestoreToTime")? {
        Some(_) if on_write => Err(errors::invalid_combination(
            "RestoreToTime can't be specified for the RestoreType copy-on-write",
        )),
        Some(_) if latest => Err(errors::invalid_combination(
            "RestoreToTime and UseLatestRestorableTime can't be specified together",
        )),
        None if !latest => Err(errors::invalid_combination(
            "Either RestoreToTime or UseLatestRestorableTime must be specified",
        )),
        at => Ok(at),
    }
}

/// What a point-in-time restore takes from its source.
struct LiveSource {
    origin: Origin,
    encryption: Encryption,
    volume: Arc<crate::database::Volume>,
    clone_group: String,
    clones: usize,
    restorable: (OffsetDateTime, Option<OffsetDateTime>),
}

impl LiveSource {
    /// The moment of the machine's clock that a time of this world is, if this cluster can be restored to it.
    fn moment(&self, rds: &Inner, at: OffsetDateTime) -> Result<SystemTime, ApiError> {
        let (earliest, latest) = self.restorable;
        if at < earliest || latest.is_none_or(|latest| at > latest) {
            return Err(errors::invalid_value(format!(
                "The DB cluster {} can't be restored to {at}: restorable times are {earliest} to {latest:?}",
                self.origin.cluster_id
            )));
        }
        Ok(rds.moments.machine_time(at))
    }
}

fn live_source(
    book: &Book,
    call: &Call,
    on_write: bool,
    latest: Option<OffsetDateTime>,
) -> Result<LiveSource, ApiError> {
    let source = match (
        call.form.text("SourceDBClusterIdentifier"),
        call.form.text("SourceDbClusterResourceId"),
    ) {
        (Some(text), _) => {
            let (place, id) = names::locate(&call.place, "cluster", text)?;
            book.cluster(&place, &id)?
        }
        (None, Some(id)) => book
            .clusters
            .get(id)
            .ok_or_else(|| errors::cluster_not_found(id))?,
        (None, None) => return Err(errors::missing_parameter("SourceDBClusterIdentifier")),
    };
    if source.place != call.place {
        return Err(errors::cluster_not_found(&source.id));
    }
    source.require(&["available", "backing-up", "modifying"])?;
    if on_write && book.instances_of(&source.resource_id).is_empty() {
        return Err(errors::invalid_restore(
            "The source DB cluster must have at least one DB instance",
        ));
    }
    let same_group = |cluster: &&Cluster| cluster.clone_group == source.clone_group;
    Ok(LiveSource {
        origin: Origin::of(source),
        encryption: source.encryption.clone(),
        volume: Arc::clone(&source.volume),
        clone_group: source.clone_group.clone(),
        restorable: source.restorable(call.now, latest),
        clones: book
            .clusters
            .values()
            .filter(same_group)
            .count()
            .saturating_sub(1),
    })
}

#[expect(
    clippy::too_many_arguments,
    reason = "what the two ways of restoring have found out"
)]
fn restore(
    rds: &Arc<Inner>,
    call: &Call,
    id: String,
    origin: Origin,
    version: String,
    encryption: Encryption,
    image: Image,
    inherited: Inherited,
    in_life: Duration,
    clone_group: Option<String>,
) -> Answer {
    let form = &call.form;
    let quotas = &rds.settings.quotas;
    let lasting = rds.lasting(in_life, &format!("restore {id}"));
    let fate = rds.fate(Kind::RestoredCluster, &id);
    let tags = Tags::from_form(form, quotas.tags_per_resource)?;
    let roles = RoleAssociation::of_restore(form, quotas.roles_per_cluster)?;
    let resource_id = rds.edit(|book| {
        let mut configuration = Configuration::of_new_cluster(
            form,
            book,
            &call.place,
            origin.engine,
            &version,
            inherited,
        )?;
        configuration.is_public_unless_told();
        let new = NewCluster {
            id,
            engine: origin.engine,
            version,
            master_username: origin.master_username,
            database: origin.database,
            configuration,
            encryption,
            tags,
            roles,
            image,
            size_gib: origin.size_gib,
            clone_group,
        };
        cluster::insert(rds, book, call, new)
    })?;
    cluster::make_available(rds, &resource_id, lasting, fate, Kind::RestoredCluster);
    cluster::answer(rds, &resource_id)
}
