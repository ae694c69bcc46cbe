//! Database servers: real processes over real data directories.
//!
//! A cluster's data is a [`Volume`]. It begins as an [`Image`] (nothing yet, or
//! the copy some snapshot holds), becomes a directory of its own when its first
//! server starts, and is copied into a new image by every snapshot. Which
//! database that is belongs to an [`Engine`]: [`postgres`] or [`mariadb`]; everything
//! outside these two serves either.
//!
//! Everything in this module blocks. Callers run it on tokio's blocking pool,
//! which also holds a paused clock still until the work is done.

pub mod addresses;
pub mod certificates;
pub mod discovery;
mod keeper;
pub mod mariadb;
pub mod os_account;
pub mod postgres;
pub mod storage;
pub mod volume;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use volume::{Image, Volume};

/// What went wrong with a database server or its files.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No server of this kind on this machine.
    #[error("{0}")]
    NotInstalled(String),
    /// A file or directory could not be made, read or removed.
    #[error("failed to {what}")]
    Files {
        /// What was attempted, on which path.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("`{program}` failed: {output}")]
    Program {
        /// The program's name.
        program: String,
        /// The end of what it printed.
        output: String,
    },
    /// A server refused a statement or a connection.
    #[error("failed to {what}")]
    Sql {
        /// What was attempted; never a statement, which may hold a password.
        what: &'static str,
        /// The server's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificates could not be made.
    #[error("failed to make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The volume was removed, or holds no server now.
    #[error("{0}")]
    State(&'static str),
}

impl DatabaseError {
    /// Names what was attempted when a file operation fails.
    pub(crate) fn files(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Files { what, source }
    }

    /// Names what was attempted when a statement fails.
    pub(crate) fn sql<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Sql {
            what,
            source: source.into(),
        }
    }
}

/// A password: it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, for the server or the secret that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// The master user and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The role's name.
    pub username: String,
    /// Its password.
    pub password: Password,
}

/// What a new, empty database starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The master user.
    pub master: Credentials,
    /// A first database besides the engine's own, if any.
    pub database: Option<String>,
}

/// A kind of database server.
pub trait Engine: Send + Sync {
    /// Makes an empty database in `home`, a directory that exists and is empty.
    ///
    /// # Errors
    /// When the engine's own tools fail.
    fn initialise(&self, home: &Path) -> Result<(), DatabaseError>;

    /// Starts a server over the database in `home` and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; the message holds the end of its log.
    fn start(&self, home: &Path, listen: SocketAddr) -> Result<Box<dyn Server>, DatabaseError>;

    /// Brings the database in `home`, as which another one began, to where the log of that one had come at a moment
    /// of the machine's clock. `log_of` is the other one's home; its log goes on past that moment.
    ///
    /// # Errors
    /// When the engine keeps no log to go back by, or its own tools fail.
    fn recover(&self, home: &Path, log_of: &Path, until: SystemTime) -> Result<(), DatabaseError> {
        let _ = (home, log_of, until);
        Err(DatabaseError::State(
            "this engine cannot go back to a point in time here",
        ))
    }
}

/// A running database server. Dropping it stops it, without care for its data.
pub trait Server: Send {
    /// Makes the master user and the first database of a new cluster.
    ///
    /// # Errors
    /// When the server refuses.
    fn create_master(&mut self, bootstrap: &Bootstrap) -> Result<(), DatabaseError>;

    /// Sets the master password, and gives the master back its privileges.
    ///
    /// # Errors
    /// When the server refuses.
    fn reset_master(&mut self, credentials: &Credentials) -> Result<(), DatabaseError>;

    /// Runs statements as the service's own superuser.
    ///
    /// # Errors
    /// When the server refuses.
    fn run_as_superuser(&mut self, database: &str, statements: &str) -> Result<(), DatabaseError>;

    /// Copies the live database into `home`, an empty directory, while it serves.
    ///
    /// The copy's consistent moment is the end of this call.
    ///
    /// # Errors
    /// When the engine's own tools fail.
    fn back_up(&mut self, home: &Path) -> Result<(), DatabaseError>;

    /// Makes sure that the log in `home` holds everything until now, and something after it.
    ///
    /// # Errors
    /// When the engine keeps no log to go back by, or the server refuses.
    fn finish_log(&mut self) -> Result<(), DatabaseError> {
        Err(DatabaseError::State(
            "this engine cannot go back to a point in time here",
        ))
    }

    /// Stops in good order: the data directory is complete afterwards.
    ///
    /// # Errors
    /// When it cannot be told to stop.
    fn stop(self: Box<Self>) -> Result<(), DatabaseError>;

    /// Where the service's own superuser connects, for tests that must look inside.
    fn socket(&self) -> PathBuf;
}
