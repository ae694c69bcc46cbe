//! Finds the programs of PostgreSQL and MariaDB on this machine.
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

/// MariaDB's programs, and which version they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MariadbInstallation {
    /// The server, `mariadbd`.
    pub server: PathBuf,
    /// What makes an empty database, `mariadb-install-db`.
    pub install: PathBuf,
    /// The client, `mariadb`.
    pub client: PathBuf,
    /// Such as `10.11.14`.
    pub version: String,
}

/// Directories that are on no PATH but root's, or of a package manager that leaves the PATH alone.
const SERVER_DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/sbin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
];

/// Finds MariaDB: on the PATH, and where distributions and Homebrew put it.
///
/// # Errors
/// One line that says how to install it.
pub fn find_mariadb() -> Result<MariadbInstallation, DatabaseError> {
    static FOUND: OnceLock<MariadbInstallation> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = look_for_mariadb().ok_or_else(|| {
        DatabaseError::NotInstalled(
            "MariaDB's server programs were not found, which stand in for Aurora MySQL: install them (Debian and Ubuntu: \
             `apt install mariadb-server-core mariadb-client-core`; Fedora: `dnf install mariadb-server`; macOS: \
             `brew install mariadb`) or put mariadbd, mariadb-install-db and mariadb on the PATH"
                .to_owned(),
        )
    })?;
    Ok(FOUND.get_or_init(|| found).clone())
}

fn look_for_mariadb() -> Option<MariadbInstallation> {
    let directories: Vec<PathBuf> = on_path()
        .into_iter()
        .chain(SERVER_DIRECTORIES.map(PathBuf::from))
        .collect();
    let find = |name: &str| {
        directories
            .iter()
            .map(|directory| directory.join(name))
            .find(|program| program.is_file())
    };
    let server = find("mariadbd")?;
    // `mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)`
    let printed = output_of(&server, "--version")?;
    let version = printed.split_once("Ver ")?.1.split_once("-MariaDB")?.0;
    Some(MariadbInstallation {
        version: version.to_owned(),
        server,
        install: find("mariadb-install-db")?,
        client: find("mariadb")?,
    })
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
    fn mariadb_is_found_with_its_version() {
        let found = find_mariadb().unwrap();
        let numbers = found.version.split('.').count();
        assert_eq!(numbers, 3, "{}", found.version);
    }

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
