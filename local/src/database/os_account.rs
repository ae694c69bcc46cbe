//! The operating system account that database servers run as.
//!
//! PostgreSQL refuses to run as root. Started by root, servers, their tools and
//! their files therefore belong to the `postgres` user; started by anyone else,
//! they belong to that person.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::DatabaseError;

/// Whom servers run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OsAccount {
    /// Whoever runs this process.
    Ourselves,
    /// Another account, because this process is root.
    Other {
        /// User id.
        user: u32,
        /// Group id.
        group: u32,
    },
}

/// Accounts tried for servers when this process is root.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

impl OsAccount {
    /// Chooses the account.
    ///
    /// # Errors
    /// When this process is root and no unprivileged account exists.
    pub fn choose() -> Result<Self, DatabaseError> {
        static CHOSEN: OnceLock<OsAccount> = OnceLock::new();
        if own_user_id() != Some(0) {
            return Ok(Self::Ourselves);
        }
        if let Some(chosen) = CHOSEN.get() {
            return Ok(*chosen);
        }
        let chosen = UNPRIVILEGED
            .iter()
            .find_map(|name| Some(Self::Other { user: id(&["-u", name])?, group: id(&["-g", name])? }))
            .ok_or_else(|| {
                DatabaseError::NotInstalled(
                    "this process is root and database servers refuse to run as root: add a user `postgres`, or run as another user"
                        .to_owned(),
                )
            })?;
        Ok(*CHOSEN.get_or_init(|| chosen))
    }

    /// A program to be run as this account, in a process group of its own.
    ///
    /// The group keeps Ctrl-C on a terminal from reaching servers before their owner has said how to stop.
    pub fn program(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.process_group(0).current_dir("/");
        if let Self::Other { user, group } = self {
            command.uid(user).gid(group);
        }
        command
    }

    /// Gives a file or directory to this account, and to nobody else.
    ///
    /// # Errors
    /// When owner or mode cannot be set.
    pub fn hand_over(self, path: &Path, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { user, group } => chown(path, Some(user), Some(group)),
        }
    }
}

/// The number of the user this process runs as.
pub(crate) fn own_user_id() -> Option<u32> {
    static OURS: OnceLock<Option<u32>> = OnceLock::new();
    *OURS.get_or_init(|| id(&["-u"]))
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Runs a program to its end.
///
/// # Errors
/// With the end of what it printed when it fails.
pub(crate) fn run(command: &mut Command) -> Result<(), DatabaseError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(DatabaseError::files(format!("run `{program}`")))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    Err(DatabaseError::Program {
        program,
        output: last_lines(&printed),
    })
}

/// The last lines of a log, which is where the reason stands.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}
