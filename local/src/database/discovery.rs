//! Finds the PostgreSQL programs on this machine.
//!
//! Distributions keep the server programs off the PATH, in a directory per
//! version, so those directories are looked at too, newest first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::DatabaseError;

/// Where an installation keeps its programs, and which version it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory with `postgres`, `initdb` and `pg_basebackup`.
    pub programs: PathBuf,
    /// Such as `15.18`.
    pub version: String,
}

/// Every program a cluster's life needs; an installation lacking one is passed over.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_basebackup"];

/// What was found; it stays where it is while a process lives, and asking takes several programs.
static FOUND: OnceLock<Installation> = OnceLock::new();

/// Finds PostgreSQL: on the PATH, in Debian's and Red Hat's directories, through `pg_config`.
///
/// # Errors
/// One line that says how to install it.
pub fn find_postgres() -> Result<Installation, DatabaseError> {
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = on_path()
        .into_iter()
        .chain(versioned_directories())
        .chain(std::iter::once_with(from_pg_config).flatten())
        .find_map(|directory| installation_in(&directory))
        .ok_or_else(|| {
            DatabaseError::NotInstalled(
                "PostgreSQL's server programs were not found: install them (Debian and Ubuntu: `apt install postgresql`; \
                 Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@15`) or put postgres, initdb and \
                 pg_basebackup on the PATH"
                    .to_owned(),
            )
        })?;
    Ok(FOUND.get_or_init(|| found).clone())
}

fn installation_in(directory: &Path) -> Option<Installation> {
    // Symbolic links are followed to the real place: PATH often holds links to some of the programs only.
    let programs = directory
        .join("postgres")
        .canonicalize()
        .ok()?
        .parent()?
        .to_owned();
    if !PROGRAMS
        .iter()
        .all(|program| programs.join(program).is_file())
    {
        return None;
    }
    let printed = output_of(&programs.join("postgres"), "--version")?;
    // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
    let version = printed.split_whitespace().nth(2)?.to_owned();
    Some(Installation { programs, version })
}

fn on_path() -> Vec<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "PATH says where programs are; it is not a setting of ours"
    )]
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

fn versioned_directories() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = [
        "/usr/lib/postgresql",
        "/usr/pgsql",
        "/opt/homebrew/opt",
        "/usr/local/opt",
    ]
    .iter()
    .filter_map(|parent| std::fs::read_dir(parent).ok())
    .flatten()
    .filter_map(Result::ok)
    .filter_map(|entry| {
        let name = entry.file_name().to_str()?.to_owned();
        let version = name.trim_start_matches("postgresql@").parse().ok()?;
        Some((version, entry.path().join("bin")))
    })
    .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

fn from_pg_config() -> Option<PathBuf> {
    output_of(Path::new("pg_config"), "--bindir").map(PathBuf::from)
}

fn output_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installation_found_has_every_program() {
        let found = find_postgres().unwrap();
        for program in PROGRAMS {
            assert!(
                found.programs.join(program).is_file(),
                "{program} in {}",
                found.programs.display()
            );
        }
        assert!(
            found
                .version
                .starts_with(|digit: char| digit.is_ascii_digit()),
            "{}",
            found.version
        );
    }
}
