//! MariaDB, set up as Aurora MySQL presents itself.
//!
//! `rdsadmin` is the superuser and exists on the local socket only; the master is
//! an account with the privileges that Aurora's has, and no more. Connections may
//! use TLS.
//!
//! A snapshot is what Aurora's is: the storage as it is at one moment, under
//! whatever was going on. The server is held still, its files are copied, and it
//! goes on. A server that starts from the copy recovers, as from a loss of power:
//! every transaction that was committed is there, and none that was not.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_wire::{Error, Limits, Login, Session};

use super::certificates::{Authority, ServerCertificate};
use super::discovery::MariadbInstallation;
use super::keeper::{Keeper, Signals, pause};
use super::os_account::run;
use super::storage::{DataRoot, copy_files};
use super::{Bootstrap, Credentials, DatabaseError, Engine, Server};

/// The service's own superuser.
const ADMIN: &str = "rdsadmin";

/// Part of a template's name: to be raised when [`TEMPLATE_STATEMENTS`] or [`INSTALL`] change.
const TEMPLATE_REVISION: u32 = 1;

/// The smallest files the server takes: every copy of the database is a copy of them.
const FILES: [&str; 4] = [
    "--innodb-log-file-size=8M",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-temp-data-file-path=ibtmp1:4M:autoextend",
    "--innodb-autoextend-increment=1",
];

const INSTALL: [&str; 4] = [
    "--no-defaults",
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
    "--skip-name-resolve",
];

/// Local data is thrown away, so nothing waits for the disk; a rehearsal runs several servers, so each is small.
const SETTINGS: [&str; 17] = [
    // Accounts of `localhost` are those of the socket, and nobody else's.
    "--skip-name-resolve",
    "--skip-log-bin",
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=2", // handed to the system at commit: it is in a copy of the files
    "--innodb-flush-method=nosync",
    "--innodb-use-native-aio=OFF", // writes are the server's own, and stop when it is held still
    "--innodb-buffer-pool-size=32M",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--innodb-read-io-threads=2",
    "--innodb-write-io-threads=2",
    "--innodb-purge-threads=1",
    "--aria-pagecache-buffer-size=8M",
    "--key-buffer-size=1M",
    "--performance-schema=OFF",
    "--max-connections=100",
    "--local-infile=OFF",
];

/// Termination is its stop in good order, and there is none that is quicker and safe.
const SIGNALS: Signals = Signals {
    good_order: "TERM",
    now: "KILL",
};

/// Nobody but the superuser is left. MariaDB's own accounts stay: its views run as `mariadb.sys`.
const TEMPLATE_STATEMENTS: &str = "\
    CREATE USER rdsadmin@localhost;
    GRANT ALL PRIVILEGES ON *.* TO rdsadmin@localhost WITH GRANT OPTION;
    DELETE FROM mysql.global_priv WHERE user NOT IN ('rdsadmin', 'mariadb.sys');
    DELETE FROM mysql.proxies_priv;
    FLUSH PRIVILEGES";

/// What Aurora gives its master user, as far as MariaDB has it.
const MASTER_PRIVILEGES: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, \
    SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, CREATE VIEW, SHOW VIEW, \
    CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER, CONNECTION ADMIN";

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(300),
};

/// Longest time until every thread of a server stands still.
const HOLD_LIMIT: Duration = Duration::from_secs(10);

/// MariaDB on this machine.
pub struct MariadbEngine {
    installation: MariadbInstallation,
    root: Arc<DataRoot>,
    authority: Arc<Authority>,
    // One installation at a time: the second caller finds the first one's template.
    template: Mutex<()>,
}

impl MariadbEngine {
    /// An engine that keeps its template under this root.
    pub fn new(
        installation: MariadbInstallation,
        root: Arc<DataRoot>,
        authority: Arc<Authority>,
    ) -> Self {
        Self {
            installation,
            root,
            authority,
            template: Mutex::new(()),
        }
    }

    /// The initialised, empty database that new ones are copied from.
    fn template(&self) -> Result<PathBuf, DatabaseError> {
        let _one_at_a_time = self
            .template
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = self.root.templates().join(format!(
            "mariadb-{}-{TEMPLATE_REVISION}",
            self.installation.version
        ));
        if path.is_dir() {
            return Ok(path);
        }
        let home = self.root.directory("template")?;
        let data = make_data_directory(&self.root, home.path())?;
        run(self
            .root
            .account()
            .program(&self.installation.install)
            .args(INSTALL)
            .arg(format!("--datadir={}", data.display()))
            .args(FILES))?;
        let mut server = self.launch(home.path(), None, "root")?;
        server.as_user("root", "", TEMPLATE_STATEMENTS)?;
        server.keeper.stop()?;
        // Another process may have been quicker; its template is as good.
        if let Err(error) = fs::rename(&data, &path)
            && !path.is_dir()
        {
            return Err(DatabaseError::files(format!(
                "keep the template {}",
                path.display()
            ))(error));
        }
        Ok(path)
    }

    fn launch(
        &self,
        home: &Path,
        listen: Option<SocketAddr>,
        superuser: &str,
    ) -> Result<MariadbServer, DatabaseError> {
        let address = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 3306)));
        let certificate = self
            .authority
            .certify(address.ip(), home, self.root.account())?;
        let log = home.join("server.log");
        let mut server = MariadbServer {
            keeper: Keeper::start(
                &self.root,
                SIGNALS,
                &self.installation.server,
                &server_arguments(home, &certificate, listen),
                &log,
            )?,
            home: home.to_owned(),
            root: Arc::clone(&self.root),
        };
        let socket = socket(home);
        server
            .keeper
            .wait_until("mariadbd", &log, || connect(&socket, superuser, "").is_ok())?;
        Ok(server)
    }
}

impl Engine for MariadbEngine {
    fn initialise(&self, home: &Path) -> Result<(), DatabaseError> {
        let template = self.template()?;
        let data = make_data_directory(&self.root, home)?;
        copy_files(self.root.account(), &template, &data)
    }

    fn start(&self, home: &Path, listen: SocketAddr) -> Result<Box<dyn Server>, DatabaseError> {
        Ok(Box::new(self.launch(home, Some(listen), ADMIN)?))
    }
}

/// A running MariaDB server.
struct MariadbServer {
    keeper: Keeper,
    home: PathBuf,
    root: Arc<DataRoot>,
}

impl MariadbServer {
    fn as_user(&self, user: &str, database: &str, statements: &str) -> Result<(), DatabaseError> {
        self.run(
            "run statements as the superuser",
            user,
            database,
            statements,
        )
    }

    fn run(
        &self,
        what: &'static str,
        user: &str,
        database: &str,
        statements: &str,
    ) -> Result<(), DatabaseError> {
        connect(&socket(&self.home), user, database)
            .and_then(|mut session| session.batch(statements))
            .map_err(DatabaseError::sql(what))
    }

    /// The server's process, as it wrote it down.
    fn process(&self) -> Result<String, DatabaseError> {
        let path = self.home.join("server.pid");
        let text = fs::read_to_string(&path)
            .map_err(DatabaseError::files(format!("read {}", path.display())))?;
        Ok(text.trim().to_owned())
    }
}

impl Server for MariadbServer {
    fn create_master(&mut self, bootstrap: &Bootstrap) -> Result<(), DatabaseError> {
        self.reset_master(&bootstrap.master)?;
        match &bootstrap.database {
            Some(name) => {
                let statement = format!("CREATE DATABASE IF NOT EXISTS {}", identifier(name));
                self.run("create the first database", ADMIN, "", &statement)
            }
            None => Ok(()),
        }
    }

    fn reset_master(&mut self, credentials: &Credentials) -> Result<(), DatabaseError> {
        let master = format!("{}@'%'", identifier(&credentials.username));
        let password = literal(credentials.password.reveal());
        let statements = format!(
            "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';
             CREATE USER IF NOT EXISTS {master};
             ALTER USER {master} IDENTIFIED BY {password} ACCOUNT UNLOCK;
             GRANT {MASTER_PRIVILEGES} ON *.* TO {master} WITH GRANT OPTION"
        );
        self.run("reset the master password", ADMIN, "", &statements)
    }

    fn run_as_superuser(&mut self, database: &str, statements: &str) -> Result<(), DatabaseError> {
        self.as_user(ADMIN, database, statements)
    }

    fn back_up(&mut self, home: &Path) -> Result<(), DatabaseError> {
        let copy = make_data_directory(&self.root, home)?;
        let held = Held::still(self.process()?)?;
        copy_files(self.root.account(), &data(&self.home), &copy)?;
        drop(held);
        Ok(())
    }

    fn stop(mut self: Box<Self>) -> Result<(), DatabaseError> {
        self.keeper.stop()
    }

    fn socket(&self) -> PathBuf {
        socket(&self.home)
    }
}

/// A process that is held still, until this is dropped.
struct Held {
    process: String,
}

impl Held {
    fn still(process: String) -> Result<Self, DatabaseError> {
        signal("STOP", &process)?;
        let held = Self { process };
        let begun = Instant::now();
        while !held.stands() {
            if begun.elapsed() > HOLD_LIMIT {
                return Err(DatabaseError::State("the server does not stand still"));
            }
            pause();
        }
        Ok(held)
    }

    /// Whether every thread of the process has stopped. A write that a thread had begun is over by then.
    fn stands(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.process)) else {
            return self.stands_as_ps_tells();
        };
        threads.filter_map(Result::ok).all(|thread| {
            // `123 (mariadbd) T …`: the name may hold anything, the state comes after its last parenthesis.
            fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        })
    }

    /// Where there is no `/proc`.
    fn stands_as_ps_tells(&self) -> bool {
        let asked = Command::new("ps")
            .args(["-o", "state=", "-p", &self.process])
            .output();
        asked.is_ok_and(|told| told.stdout.trim_ascii_start().starts_with(b"T"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = signal("CONT", &self.process) {
            tracing::warn!(%error, "a database server could not be let go on");
        }
    }
}

fn signal(name: &str, process: &str) -> Result<(), DatabaseError> {
    // The shell's own: not every machine has the program.
    run(Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "kill", name, process]))
}

fn connect(socket: &Path, user: &str, database: &str) -> Result<Session, Error> {
    let login = Login {
        user,
        password: "",
        database: Some(database).filter(|database| !database.is_empty()),
    };
    Session::over_socket(socket, &login, LIMITS)
}

fn socket(home: &Path) -> PathBuf {
    home.join("server.sock")
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

fn make_data_directory(root: &DataRoot, home: &Path) -> Result<PathBuf, DatabaseError> {
    let data = data(home);
    fs::create_dir(&data)
        .and_then(|()| root.account().hand_over(&data, 0o700))
        .map_err(DatabaseError::files(format!(
            "make the directory {}",
            data.display()
        )))?;
    Ok(data)
}

fn server_arguments(
    home: &Path,
    certificate: &ServerCertificate,
    listen: Option<SocketAddr>,
) -> Vec<String> {
    let mut arguments = vec!["--no-defaults".to_owned()];
    arguments.extend(FILES.iter().chain(&SETTINGS).map(|&text| text.to_owned()));
    arguments.extend([
        format!("--datadir={}", data(home).display()),
        format!("--tmpdir={}", home.display()),
        format!("--socket={}", socket(home).display()),
        format!("--pid-file={}", home.join("server.pid").display()),
        format!("--ssl-cert={}", certificate.certificate.display()),
        format!("--ssl-key={}", certificate.key.display()),
    ]);
    match listen {
        Some(address) => arguments.extend([
            format!("--bind-address={}", address.ip()),
            format!("--port={}", address.port()),
        ]),
        None => arguments.push("--skip-networking".to_owned()),
    }
    arguments
}

/// Between backticks nothing but a backtick means anything, whatever the SQL mode.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// In a session without backslash escapes.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_end_their_quotes() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("a'b\\"), "'a''b\\'");
    }
}
