//! Snapshots of clusters: consistent copies of the live data.

use std::collections::BTreeSet;
use std::sync::Arc;

use time::OffsetDateTime;
use time::macros::format_description;

use super::api::{Answer, Call};
use super::audit::ResourceView;
use super::catalog::DbEngine;
use super::cluster::Cluster;
use super::encryption::Encryption;
use super::errors;
use super::events::Happening;
use super::form::Form;
use super::lifecycle::{Flow, blocking};
use super::listing::{self, Filter};
use super::names::{self, Place};
use super::state::{Book, Status};
use super::tags::Tags;
use super::trouble::{Ending, Kind};
use super::xml::Xml;
use super::{Inner, hex_of, quotas};
use crate::database::Image;
use crate::request::ApiError;

/// Who made a snapshot, and so who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SnapshotType {
    Manual,
    /// Made by RDS, named `rds:…`: it can be copied and restored, not shared or deleted.
    Automated,
    /// Made by AWS Backup, named `awsbackup:job-…`: likewise. It counts in no quota.
    AwsBackup,
}

impl SnapshotType {
    fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automated => "automated",
            Self::AwsBackup => "awsbackup",
        }
    }
}

/// A snapshot.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) resource_id: String,
    pub(super) kind: SnapshotType,
    pub(super) status: Status,
    pub(super) progress: Progress,
    /// When its data was consistent.
    pub(super) taken: OffsetDateTime,
    pub(super) visible_from: OffsetDateTime,
    pub(super) tags: Tags,
    /// Where it was copied from.
    pub(super) source_arn: Option<String>,
    /// Accounts that may copy and restore it; `all` means everybody.
    pub(super) shared_with: BTreeSet<String>,
    pub(super) encryption: Encryption,
    pub(super) origin: Origin,
    /// The data, once it is there.
    pub(super) image: Option<Image>,
}

/// What a snapshot knows about the cluster it was taken of.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) cluster_id: String,
    pub(super) cluster_resource_id: String,
    pub(super) cluster_created: OffsetDateTime,
    pub(super) engine: DbEngine,
    pub(super) version: String,
    pub(super) port: u16,
    pub(super) master_username: String,
    pub(super) database: Option<String>,
    pub(super) iam_authentication: bool,
    pub(super) backup_retention_period: u32,
    pub(super) backup_window: String,
    pub(super) storage_type: String,
    pub(super) size_gib: u32,
    vpc: String,
}

impl Origin {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let configuration = &cluster.configuration;
        Self {
            cluster_id: cluster.id.clone(),
            cluster_resource_id: cluster.resource_id.clone(),
            cluster_created: cluster.created,
            engine: cluster.engine,
            version: cluster.version.clone(),
            port: configuration.port,
            master_username: cluster.master_username.clone(),
            database: cluster.database.clone(),
            iam_authentication: configuration.iam_authentication,
            backup_retention_period: configuration.backup_retention_period,
            backup_window: configuration.backup_window.clone(),
            storage_type: configuration.storage_type.clone(),
            size_gib: cluster.size_gib,
            vpc: cluster.place.default_vpc(),
        }
    }
}

/// How far a snapshot or a copy is, by the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
    /// It gets no further than this.
    pub(super) at_most: u8,
}

impl Progress {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=100 first"
    )]
    fn percent(self, now: OffsetDateTime) -> u8 {
        let (whole, part) = (
            (self.until - self.from).as_seconds_f64(),
            (now - self.from).as_seconds_f64(),
        );
        let percent = if whole > 0.0 {
            100.0 * part / whole
        } else {
            100.0
        };
        (percent.clamp(0.0, 100.0) as u8).min(self.at_most)
    }
}

impl Snapshot {
    pub(super) fn arn(&self) -> String {
        self.place.arn("cluster-snapshot", &self.id)
    }

    /// Whether this account may copy and restore it.
    pub(super) fn open_to(&self, account: &str) -> bool {
        self.place.account == account
            || self.shared_with.contains(account)
            || self.shared_with.contains("all")
    }

    pub(super) fn view(&self) -> ResourceView {
        ResourceView {
            removed_at: None,
            kind: "cluster-snapshot",
            place: self.place.clone(),
            id: self.id.clone(),
            arn: self.arn(),
            resource_id: self.resource_id.clone(),
            status: self.status.as_str().to_owned(),
            statuses: self.status.history().to_vec(),
            tags: self.tags.clone(),
            security_groups: Vec::new(),
            security_group_history: Vec::new(),
        }
    }

    fn percent(&self, now: OffsetDateTime) -> u8 {
        match self.status.as_str() {
            "creating" | "copying" | "failed" => self.progress.percent(now),
            _ => 100,
        }
    }

    pub(super) fn write(&self, viewer: &Place, now: OffsetDateTime, xml: &mut Xml) {
        let origin = &self.origin;
        let own = self.place.account == viewer.account;
        xml.strings(
            "AvailabilityZones",
            "AvailabilityZone",
            (0..3).map(|number| self.place.zone(number)),
        )
        // To other accounts a shared snapshot goes by its ARN.
        .text(
            "DBClusterSnapshotIdentifier",
            if own { self.id.clone() } else { self.arn() },
        )
        .text("DBClusterIdentifier", &origin.cluster_id)
        .time("SnapshotCreateTime", self.taken)
        .time("ClusterCreateTime", origin.cluster_created)
        .text("Engine", origin.engine.name())
        .text("EngineMode", "provisioned")
        .text("EngineVersion", &origin.version)
        .text("AllocatedStorage", origin.size_gib)
        .text("Status", self.status.as_str())
        .text("PercentProgress", self.percent(now))
        .text("Port", origin.port)
        .text("VpcId", &origin.vpc)
        .text("MasterUsername", &origin.master_username)
        .text("LicenseModel", origin.engine.license())
        .text(
            "SnapshotType",
            if own { self.kind.name() } else { "shared" },
        )
        .text("BackupRetentionPeriod", origin.backup_retention_period)
        .text("PreferredBackupWindow", &origin.backup_window)
        .text("DBClusterSnapshotArn", self.arn())
        .some("SourceDBClusterSnapshotArn", self.source_arn.as_deref())
        .text(
            "IAMDatabaseAuthenticationEnabled",
            origin.iam_authentication,
        )
        .some(
            "StorageType",
            Some(&origin.storage_type).filter(|storage_type| *storage_type != "aurora"),
        )
        .text("DbClusterResourceId", &origin.cluster_resource_id);
        self.encryption.write(xml);
        self.tags.write(xml);
    }
}

/// Statuses of a cluster in which a snapshot of it may be taken.
const SNAPSHOTTABLE: [&str; 3] = ["available", "backing-up", "stopped"];

pub(super) fn create(rds: &Arc<Inner>, call: &Call) -> Answer {
    let form = &call.form;
    let id = form.new_identifier("DBClusterSnapshotIdentifier")?;
    let cluster = form.required("DBClusterIdentifier")?;
    let tags = Tags::from_form(form, rds.settings.quotas.tags_per_resource)?;
    rds.refuse_if_scripted(Kind::Snapshot, &id)?;
    let fate = rds.fate(Kind::Snapshot, &id);
    let lasting = rds
        .lasting(
            rds.settings.durations.create_snapshot,
            &format!("snapshot {id}"),
        )
        .mul_f64(fate.slower);
    let resource_id = rds.edit(|book| {
        let cluster = book.cluster(&call.place, cluster)?;
        cluster.require(&SNAPSHOTTABLE)?;
        let cluster = cluster.resource_id.clone();
        insert(
            rds,
            book,
            call.now + lasting,
            &cluster,
            &id,
            SnapshotType::Manual,
            tags,
        )
    })?;
    fill(rds, &resource_id, lasting, fate.ending);
    answer(rds, call, &resource_id)
}

/// Puts a snapshot of this cluster into the book, `creating` and empty.
pub(super) fn insert(
    rds: &Inner,
    book: &mut Book,
    until: OffsetDateTime,
    cluster: &str,
    id: &str,
    kind: SnapshotType,
    mut tags: Tags,
) -> Result<String, ApiError> {
    let now = rds.now();
    let resource_id = book.new_resource_id("snapshot");
    let cluster = book
        .clusters
        .get(cluster)
        .ok_or_else(|| errors::cluster_not_found(cluster))?;
    let place = cluster.place.clone();
    if book.snapshot(&place, id).is_ok() {
        return Err(errors::snapshot_exists(id));
    }
    if kind == SnapshotType::Manual {
        quotas::another_manual_snapshot(book, &rds.settings.quotas, &place)?;
    }
    if cluster.configuration.copy_tags_to_snapshot {
        tags = cluster.tags.clone().and(&tags);
    }
    let snapshot = Snapshot {
        place,
        id: id.to_owned(),
        resource_id: resource_id.clone(),
        kind,
        status: Status::new("creating", now),
        progress: Progress {
            from: now,
            until,
            at_most: 99,
        },
        taken: now,
        visible_from: now + rds.settings.invisible_after_create,
        tags,
        source_arn: None,
        shared_with: BTreeSet::new(),
        encryption: cluster.encryption.clone(),
        origin: Origin::of(cluster),
        image: None,
    };
    book.snapshots.insert(resource_id.clone(), snapshot);
    Ok(resource_id)
}

/// Copies the data at once, and calls the snapshot `available` when its time has come.
fn fill(rds: &Arc<Inner>, resource_id: &str, lasting: std::time::Duration, ending: Ending) {
    let id = resource_id.to_owned();
    rds.flow(move |flow| async move {
        let (place, name) = flow.snapshot(&id, |snapshot, _| {
            Some((snapshot.place.clone(), snapshot.id.clone()))
        })?;
        let tell = |happening| flow.tell(&place, &name, happening);
        tell(Happening::SnapshotStarted)?;
        let copied = take_image(&flow, &id).await?;
        if ending == Ending::Never {
            return None;
        }
        flow.sleep(lasting).await;
        let status = match &ending {
            Ending::Status { status, .. } => status.as_str(),
            _ if !copied => "failed",
            _ => "available",
        };
        flow.snapshot(&id, |snapshot, now| {
            snapshot
                .status
                .is("creating")
                .then(|| snapshot.status.set(status, now))
        })?;
        if status == "available" {
            tell(Happening::SnapshotCreated)?;
        }
        Some(())
    });
}

/// Copies the cluster's data into the snapshot; says whether that went well.
pub(super) async fn take_image(flow: &Flow, snapshot: &str) -> Option<bool> {
    let volume = flow.edit(|book| {
        let snapshot = book.snapshots.get(snapshot)?;
        Some(Arc::clone(
            &book
                .clusters
                .get(&snapshot.origin.cluster_resource_id)?
                .volume,
        ))
    })?;
    match blocking(move || volume.image()).await {
        Ok(image) => flow.snapshot(snapshot, |snapshot, now| {
            snapshot.image = Some(image);
            snapshot.taken = now;
            Some(true)
        }),
        Err(error) => {
            tracing::error!(%error, "a snapshot could not be taken");
            Some(false)
        }
    }
}

/// The snapshot that RDS takes every day, or that AWS Backup takes, at once.
pub(super) async fn take_unasked(
    rds: &Arc<Inner>,
    place: &Place,
    cluster: &str,
    kind: SnapshotType,
) -> Result<String, String> {
    let format = format_description!("[year]-[month]-[day]-[hour]-[minute]");
    let now = rds.now();
    let (resource_id, name, volume) = rds
        .edit(|book| {
            let cluster = book.cluster(place, cluster)?;
            let moment = now.format(&format).unwrap_or_default();
            let name = match kind {
                SnapshotType::AwsBackup => {
                    format!(
                        "awsbackup:job-{}",
                        hex_of(&format!("{place}/{}/{now}", cluster.id), 32)
                    )
                }
                _ => format!("rds:{}-{moment}", cluster.id),
            };
            let (cluster, volume) = (cluster.resource_id.clone(), Arc::clone(&cluster.volume));
            let id = insert(rds, book, now, &cluster, &name, kind, Tags::default())?;
            Ok((id, name, volume))
        })
        .map_err(|error: ApiError| error.to_string())?;
    rds.tell(place, &name, Happening::AutomatedSnapshotStarted);
    let image = blocking(move || volume.image())
        .await
        .map_err(|error| error.to_string())?;
    rds.edit(|book| {
        if let Some(snapshot) = book.snapshots.get_mut(&resource_id) {
            snapshot.image = Some(image);
            snapshot.status.set("available", rds.now());
        }
    });
    rds.tell(place, &name, Happening::AutomatedSnapshotCreated);
    Ok(name)
}

/// A snapshot this account may copy or restore, by name or ARN.
pub(super) fn readable<'a>(
    book: &'a Book,
    call: &Call,
    text: &str,
) -> Result<&'a Snapshot, ApiError> {
    let (place, id) = names::locate(&call.place, "cluster-snapshot", text)?;
    book.snapshot(&place, &id)
        .ok()
        .filter(|snapshot| snapshot.open_to(&call.place.account))
        .ok_or_else(|| errors::snapshot_not_found(text))
}

/// The snapshot, as an answer to a call about it.
pub(super) fn answer(rds: &Inner, call: &Call, resource_id: &str) -> Answer {
    rds.read(|book| {
        let snapshot = book
            .snapshots
            .get(resource_id)
            .ok_or_else(|| errors::snapshot_not_found(resource_id))?;
        Ok(Xml::of(|xml| {
            xml.within("DBClusterSnapshot", |xml| {
                snapshot.write(&call.place, rds.now(), xml)
            });
        }))
    })
}

const FILTERS: &[Filter<Snapshot>] = &[
    ("db-cluster-id", |snapshot| {
        vec![
            snapshot.origin.cluster_id.clone(),
            snapshot.place.arn("cluster", &snapshot.origin.cluster_id),
        ]
    }),
    ("db-cluster-snapshot-id", |snapshot| {
        vec![snapshot.id.clone()]
    }),
    ("snapshot-type", |snapshot| {
        vec![snapshot.kind.name().to_owned()]
    }),
    ("engine", |snapshot| {
        vec![snapshot.origin.engine.name().to_owned()]
    }),
];

/// Which snapshots a Describe is about, besides what it names.
struct Scope {
    own: bool,
    shared: bool,
    public: bool,
    kind: Option<SnapshotType>,
}

impl Scope {
    fn of(form: &Form) -> Result<Self, ApiError> {
        let own = |kind| Self {
            own: true,
            shared: false,
            public: false,
            kind,
        };
        let mut scope = match form.text("SnapshotType") {
            None => own(None),
            Some("manual") => own(Some(SnapshotType::Manual)),
            Some("automated") => own(Some(SnapshotType::Automated)),
            Some("shared") => Self {
                own: false,
                shared: true,
                public: false,
                kind: None,
            },
            Some("public") => Self {
                own: false,
                shared: false,
                public: true,
                kind: None,
            },
            Some("awsbackup") => own(Some(SnapshotType::AwsBackup)),
            Some(other) => {
                return Err(errors::invalid_value(format!(
                    "Invalid value for SnapshotType: {other}"
                )));
            }
        };
        scope.shared |= form.flag("IncludeShared")?.unwrap_or(false);
        scope.public |= form.flag("IncludePublic")?.unwrap_or(false);
        Ok(scope)
    }

    fn holds(&self, snapshot: &Snapshot, account: &str) -> bool {
        if snapshot.place.account == account {
            // AWS Backup's are shown to who asks for them.
            let unasked = snapshot.kind != SnapshotType::AwsBackup;
            return self.own && self.kind.map_or(unasked, |kind| kind == snapshot.kind);
        }
        (self.shared && snapshot.shared_with.contains(account))
            || (self.public && snapshot.shared_with.contains("all"))
    }
}

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    listing::check_filters(form, FILTERS)?;
    let scope = Scope::of(form)?;
    let wanted = form
        .text("DBClusterSnapshotIdentifier")
        .map(|text| names::locate(&call.place, "cluster-snapshot", text))
        .transpose()?;
    let cluster = form
        .text("DBClusterIdentifier")
        .map(|text| names::locate(&call.place, "cluster", text))
        .transpose()?;
    rds.read(|book| {
        let mut found = Vec::new();
        for snapshot in book.snapshots.values().filter(|snapshot| snapshot.place.region == call.place.region) {
            let named = wanted.as_ref().is_none_or(|(place, id)| snapshot.place == *place && snapshot.id == *id)
                && cluster.as_ref().is_none_or(|(_, id)| snapshot.origin.cluster_id == *id)
                && form.text("DbClusterResourceId").is_none_or(|id| snapshot.origin.cluster_resource_id == id)
                // By its own name alone an automated snapshot is not found.
                && (wanted.is_none() || snapshot.kind == SnapshotType::Manual || form.text("SnapshotType").is_some());
            let visible = snapshot.visible_from <= call.now && scope.holds(snapshot, &call.place.account);
            if named && visible && listing::passes(form, FILTERS, snapshot)? {
                found.push((snapshot.arn(), snapshot));
            }
        }
        if let (Some((_, id)), true) = (&wanted, found.is_empty()) {
            return Err(errors::snapshot_not_found(id));
        }
        let page = listing::page(form, found)?;
        Ok(Xml::of(|xml| {
            xml.some("Marker", page.marker).list("DBClusterSnapshots", "DBClusterSnapshot", page.items, |xml, snapshot| {
                snapshot.write(&call.place, call.now, xml);
            });
        }))
    })
}
