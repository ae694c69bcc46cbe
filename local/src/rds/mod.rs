//! RDS for Aurora: clusters are real database servers, statuses move with time.
//!
//! What makes restoring on RDS hard is kept, above all where a simpler stand-in
//! would flatter: everything is asynchronous, a restore falls back to defaults
//! for whatever the call leaves out, a restored cluster has no instances and
//! answers to the source's password, copies queue and are limited, and events
//! may be lost. What is not implemented is refused by name.
//!
//! One [`Rds`] serves every account and region of a [`World`]. `api` names the
//! operations; the modules beside it hold one concept each, its calls and its
//! place in answers together. Whatever happens after a call has been answered
//! is a flow (`lifecycle`) on the world's clock.

mod api;
mod audit;
mod catalog;
mod cluster;
mod configuration;
mod copy;
mod credentials;
mod deletion;
mod encryption;
mod errors;
mod events;
mod form;
mod global;
mod instance;
mod lifecycle;
mod listing;
mod modification;
mod moments;
mod names;
mod parameter_groups;
mod quotas;
mod restore;
mod roles;
mod settings;
mod sharing;
mod snapshot;
mod state;
mod stopping;
mod subnet_groups;
mod tags;
mod trouble;
mod xml;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use asl_interpreter::Clock;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::database::addresses::Addresses;
use crate::database::certificates::Authority;
use crate::database::discovery::{find_mariadb, find_postgres};
use crate::database::mariadb::MariadbEngine;
use crate::database::os_account::OsAccount;
use crate::database::postgres::PostgresEngine;
use crate::database::storage::{DataRoot, quickest_base};
use crate::database::volume::Store;
use crate::database::{DatabaseError, Image, Volume};
use crate::world::World;

pub use audit::{AuditRecord, ResourceView, Since};
pub use names::Place;
pub use settings::{Data, Durations, Quotas, RdsSettings};
pub use tags::Tags;
pub use trouble::{Kind, Trouble};

use moments::Moments;
use snapshot::SnapshotType;
use state::Book;
use trouble::Script;

/// RDS, for all accounts and regions of a world.
///
/// Dropping the last clone, and the world that holds one, stops every server
/// and removes every directory.
#[derive(Clone)]
pub struct Rds {
    inner: Arc<Inner>,
}

/// The state behind every handle. Flows hold it weakly, so that it can end.
struct Inner {
    world: Weak<World>,
    clock: Arc<dyn Clock>,
    settings: RdsSettings,
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
    troubles: Mutex<Vec<Script>>,
    moments: Moments,
    addresses: Addresses,
    postgres: Option<Store>,
    // Looked for when the first cluster asks for it: a world without one needs no MariaDB.
    mariadb: OnceLock<Store>,
    authority: Option<Arc<Authority>>,
}

impl Rds {
    /// RDS in this world. With [`Data::Real`] it looks for PostgreSQL and makes its data directory now;
    /// the first server starts with the first instance.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or the data root cannot be used.
    pub fn new(world: &Arc<World>, settings: RdsSettings) -> Result<Self, DatabaseError> {
        let (postgres, authority) = match settings.data {
            Data::Metadata => (None, None),
            Data::Real => {
                let authority = Arc::new(Authority::new()?);
                let base = settings.data_root.clone().unwrap_or_else(quickest_base);
                let root = DataRoot::open(&base, OsAccount::choose()?)?;
                let engine = PostgresEngine::new(
                    find_postgres()?,
                    Arc::clone(&root),
                    Arc::clone(&authority),
                );
                (
                    Some(Store {
                        engine: Arc::new(engine),
                        root,
                    }),
                    Some(authority),
                )
            }
        };
        let inner = Inner {
            world: Arc::downgrade(world),
            clock: Arc::clone(world.clock()),
            book: Mutex::new(Book::new(settings.seed)),
            changed: watch::Sender::new(0),
            troubles: Mutex::default(),
            moments: Moments::default(),
            addresses: Addresses::new(
                settings.addresses,
                settings.seed,
                settings.data == Data::Real,
            ),
            postgres,
            mariadb: OnceLock::new(),
            authority,
            settings,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The certificate of the authority that signed the servers' certificates, PEM; none without servers.
    pub fn certificate_authority(&self) -> Option<&str> {
        self.inner
            .authority
            .as_ref()
            .map(|authority| authority.pem())
    }

    /// Makes something go wrong with the next resource of this kind whose id matches (`*` stands for anything).
    pub fn script(&self, kind: Kind, id_pattern: &str, trouble: Trouble) {
        self.inner
            .troubles()
            .push(Script::new(kind, id_pattern, trouble));
    }

    /// The next cluster to be restored ends in this status instead of `available`.
    pub fn fail_next_restore(&self, status: &str) {
        self.script(
            Kind::RestoredCluster,
            "*",
            Trouble::EndsIn(status.to_owned()),
        );
    }

    /// Every call so far, in order.
    pub fn audit(&self) -> Vec<AuditRecord> {
        self.inner.read(|book| book.audit.clone())
    }

    /// Everything that exists, of one account or of all.
    pub fn resources(&self, account: Option<&str>) -> Vec<ResourceView> {
        self.inner.read(|book| audit::views(book, account))
    }

    /// What existed once and is gone, of one account or of all.
    pub fn past_resources(&self, account: Option<&str>) -> Vec<ResourceView> {
        self.inner.read(|book| {
            book.past
                .iter()
                .filter(|view| account.is_none_or(|account| view.place.account == account))
                .cloned()
                .collect()
        })
    }

    /// Pretends that this cluster's volume has this size, for the time its restores and copies take.
    pub fn set_size(&self, place: &Place, cluster: &str, gib: u32) {
        self.inner.edit(|book| {
            if let Ok(cluster) = book.cluster_mut(place, cluster) {
                cluster.size_gib = gib;
            }
        });
    }

    /// Takes the snapshot that RDS takes by itself every day, at once; gives its name, `rds:` and more.
    ///
    /// # Errors
    /// When the cluster does not exist or its data cannot be copied.
    pub async fn take_automated_snapshot(
        &self,
        place: &Place,
        cluster: &str,
    ) -> Result<String, String> {
        snapshot::take_unasked(&self.inner, place, cluster, SnapshotType::Automated).await
    }

    /// Takes a snapshot as AWS Backup does, at once; gives its name, `awsbackup:job-` and more.
    ///
    /// # Errors
    /// As [`Rds::take_automated_snapshot`].
    pub async fn take_backup(&self, place: &Place, cluster: &str) -> Result<String, String> {
        snapshot::take_unasked(&self.inner, place, cluster, SnapshotType::AwsBackup).await
    }

    /// Runs statements as the superuser on a cluster's server: to prepare what a master user of real Aurora
    /// may do and one of plain PostgreSQL may not, such as creating an untrusted extension or a subscription.
    ///
    /// # Errors
    /// When there is no such cluster, no server runs on it, or it refuses.
    pub async fn run_as_superuser(
        &self,
        place: &Place,
        cluster: &str,
        database: &str,
        statements: &str,
    ) -> Result<(), DatabaseError> {
        let volume = self
            .inner
            .volume(place, cluster)
            .ok_or(DatabaseError::State("no such cluster"))?;
        let (database, statements) = (database.to_owned(), statements.to_owned());
        lifecycle::blocking(move || volume.run_as_superuser(&database, &statements)).await
    }

    /// The directory of the socket on which `rdsadmin` connects, while a server runs on this cluster.
    pub fn superuser_socket(&self, place: &Place, cluster: &str) -> Option<PathBuf> {
        self.inner.volume(place, cluster)?.socket()
    }

    /// What a snapshot holds, to be put behind one of another world in this process: making data takes longer than
    /// copying it.
    pub fn image(&self, place: &Place, snapshot: &str) -> Option<Image> {
        self.inner
            .read(|book| book.snapshot(place, snapshot).ok()?.image.clone())
    }

    /// Puts this data behind a snapshot.
    pub fn set_image(&self, place: &Place, snapshot: &str, image: Image) {
        self.inner.edit(|book| {
            if let Ok(snapshot) = book.snapshot_mut(place, snapshot) {
                snapshot.image = Some(image);
            }
        });
    }

    /// Where this world keeps its data; none without servers.
    pub fn data_directory(&self) -> Option<PathBuf> {
        self.inner
            .postgres
            .as_ref()
            .map(|store| store.root.world().to_owned())
    }
}

impl Inner {
    fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn troubles(&self) -> MutexGuard<'_, Vec<Script>> {
        self.troubles
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn read<R>(&self, look: impl FnOnce(&Book) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the book, and wakes the flows that wait for something in it.
    fn edit<R>(&self, change: impl FnOnce(&mut Book) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// Where the data of Aurora MySQL is kept, beside that of PostgreSQL; none in a world without data.
    fn mariadb(&self) -> Result<Option<Store>, DatabaseError> {
        let (Some(beside), Some(authority)) = (&self.postgres, &self.authority) else {
            return Ok(None);
        };
        if let Some(store) = self.mariadb.get() {
            return Ok(Some(store.clone()));
        }
        let root = Arc::clone(&beside.root);
        let engine = MariadbEngine::new(find_mariadb()?, Arc::clone(&root), Arc::clone(authority));
        let engine = Arc::new(engine);
        Ok(Some(
            self.mariadb.get_or_init(|| Store { engine, root }).clone(),
        ))
    }

    fn volume(&self, place: &Place, cluster: &str) -> Option<Arc<Volume>> {
        self.read(|book| {
            book.cluster(place, cluster)
                .ok()
                .map(|cluster| Arc::clone(&cluster.volume))
        })
    }

    /// How long something of this name takes in this world.
    fn lasting(&self, in_life: Duration, what: &str) -> Duration {
        let deviation = self.settings.jitter * (2.0 * share(self.settings.seed, what) - 1.0);
        in_life.mul_f64(((1.0 + deviation) / self.settings.speed).max(0.0))
    }
}

/// A number between 0 and 1 that is always the same for this seed and text.
fn share(seed: u64, text: &str) -> f64 {
    let digest = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(text)
        .finalize();
    let number = digest
        .iter()
        .take(4)
        .fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}

/// Hexadecimal digits that are always the same for this text, as AWS's ids have them.
fn hex_of(text: &str, digits: usize) -> String {
    let digest = Sha256::digest(text);
    digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .chars()
        .take(digits)
        .collect()
}
