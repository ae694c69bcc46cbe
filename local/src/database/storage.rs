//! Where databases live on disk, and how nothing is left behind.
//!
//! Each world has a directory of its own under the data root, and a lock file
//! beside it that is held for as long as the process lives. Directories remove
//! themselves when nothing refers to them any more. A process that was killed
//! removes nothing, so the next one to start looks for lock files nobody holds
//! and removes what belongs to them; its servers have stopped by themselves,
//! because each ends when the pipe from its owner closes.
//!
//! `templates/` is a cache and stays: one initialised, empty database per
//! PostgreSQL version, which saves every new cluster the second that initdb takes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::DatabaseError;
use super::os_account::{OsAccount, own_user_id, run};

/// The file system in memory that Linux has.
const MEMORY: &str = "/dev/shm";

/// A cluster or a snapshot takes some 40 MB; with this much free a file system in memory will do.
const PLENTY_KIB: u64 = 4 * 1024 * 1024;

/// The data root of those who name none.
///
/// An empty database has more than a thousand files, and making them is most of
/// what a restore costs; in memory it is ten times quicker.
#[must_use]
pub fn quickest_base() -> PathBuf {
    // Another user's directory could be neither written to nor swept.
    let name = format!("aurora-local-cloud-{}", own_user_id().unwrap_or_default());
    match free_kib(Path::new(MEMORY)) {
        Some(free) if free >= PLENTY_KIB => Path::new(MEMORY).join(name),
        _ => std::env::temp_dir().join(name),
    }
}

fn free_kib(directory: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    // The header, then: file system, size, used, available, ...
    String::from_utf8(output.stdout)
        .ok()?
        .lines()
        .nth(1)?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()
}

/// One world's directory under the data root.
#[derive(Debug)]
pub struct DataRoot {
    templates: PathBuf,
    world: PathBuf,
    lock_path: PathBuf,
    // Held, never read: another process learns from it that this one is alive.
    _lock: File,
    account: OsAccount,
    made: AtomicU64,
}

impl DataRoot {
    /// Removes what dead processes left under `base`, and makes a directory for this world.
    ///
    /// # Errors
    /// When `base` cannot be written to.
    pub fn open(base: &Path, account: OsAccount) -> Result<Arc<Self>, DatabaseError> {
        let worlds = base.join("worlds");
        let templates = base.join("templates");
        for directory in [base, &worlds, &templates] {
            fs::create_dir_all(directory)
                .and_then(|()| open_to_traversal(directory))
                .map_err(DatabaseError::files(format!(
                    "make the directory {}",
                    directory.display()
                )))?;
        }
        sweep(&worlds);
        let (world, lock_path, lock) = claim(&worlds)?;
        fs::create_dir(&world)
            .and_then(|()| account.hand_over(&world, 0o700))
            .map_err(DatabaseError::files(format!(
                "make the directory {}",
                world.display()
            )))?;
        Ok(Arc::new(Self {
            templates,
            world,
            lock_path,
            _lock: lock,
            account,
            made: AtomicU64::new(0),
        }))
    }

    /// A new, empty directory that only servers and their owner may enter.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(self: &Arc<Self>, label: &str) -> Result<Arc<Directory>, DatabaseError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.world.join(format!("{number}-{label}"));
        fs::create_dir(&path)
            .and_then(|()| self.account.hand_over(&path, 0o700))
            .map_err(DatabaseError::files(format!(
                "make the directory {}",
                path.display()
            )))?;
        Ok(Arc::new(Directory {
            path,
            _root: Arc::clone(self),
        }))
    }

    /// Whom the files belong to.
    pub fn account(&self) -> OsAccount {
        self.account
    }

    /// Where initialised, empty databases are kept between runs.
    pub fn templates(&self) -> &Path {
        &self.templates
    }

    /// This world's directory.
    pub fn world(&self) -> &Path {
        &self.world
    }
}

impl Drop for DataRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.world);
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// A directory that is removed when nothing refers to it any more.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    // The world's directory outlives what is in it.
    _root: Arc<DataRoot>,
}

impl Directory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a directory was left to the next sweep");
        }
    }
}

/// Copies the files of `from` into `to`, sharing blocks where the file system can.
///
/// # Errors
/// When `cp` fails.
pub fn copy_files(account: OsAccount, from: &Path, to: &Path) -> Result<(), DatabaseError> {
    let mut command: Command = account.program(Path::new("cp"));
    if cfg!(target_os = "linux") {
        command.arg("--reflink=auto");
    }
    run(command.arg("-a").arg(from.join(".")).arg(to))
}

fn open_to_traversal(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Servers run by root belong to another account, which must be able to pass through.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

fn claim(worlds: &Path) -> Result<(PathBuf, PathBuf, File), DatabaseError> {
    loop {
        let name = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let lock_path = worlds.join(format!("{name}.lock"));
        let claimed = File::create_new(&lock_path).and_then(|file| file.lock().map(|()| file));
        let lock = claimed.map_err(DatabaseError::files(format!(
            "lock {}",
            lock_path.display()
        )))?;
        // A sweep elsewhere may have taken the file between its making and its locking.
        if lock_path.exists() {
            return Ok((worlds.join(name), lock_path, lock));
        }
    }
}

fn sweep(worlds: &Path) {
    let Ok(entries) = fs::read_dir(worlds) else {
        return;
    };
    for lock_path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if lock_path
            .extension()
            .is_none_or(|extension| extension != "lock")
        {
            continue;
        }
        let Ok(lock) = File::open(&lock_path) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            tracing::info!(path = %lock_path.display(), "removing what a process that is gone left behind");
            let _ = fs::remove_dir_all(lock_path.with_extension(""));
            let _ = fs::remove_file(&lock_path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let base = tempfile::tempdir().unwrap();
        let account = OsAccount::Ourselves;
        let living = DataRoot::open(base.path(), account).unwrap();
        let dead = base.path().join("worlds/0123");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.with_extension("lock"), "").unwrap();
        let second = DataRoot::open(base.path(), account).unwrap();
        assert!(!dead.exists() && !dead.with_extension("lock").exists());
        assert!(living.world().exists() && second.world().exists());
    }

    #[test]
    fn a_world_removes_its_directory() {
        let base = tempfile::tempdir().unwrap();
        let root = DataRoot::open(base.path(), OsAccount::Ourselves).unwrap();
        let directory = root.directory("volume").unwrap();
        let world = root.world().to_owned();
        drop(root);
        assert!(world.exists(), "something in it is still in use");
        drop(directory);
        assert!(!world.exists());
        assert_eq!(fs::read_dir(base.path().join("worlds")).unwrap().count(), 0);
    }
}
