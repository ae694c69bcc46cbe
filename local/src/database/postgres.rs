//! PostgreSQL, set up as Aurora presents it.
//!
//! `rdsadmin` is the superuser and cannot connect over TCP; the master is an
//! ordinary role in `rds_superuser` that may create roles and databases.
//! Passwords are SCRAM, connections may use TLS.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use postgres::{Client, Config, NoTls};
use time::OffsetDateTime;
use time::macros::format_description;

use super::certificates::{Authority, ServerCertificate};
use super::discovery::Installation;
use super::keeper::{Keeper, Signals};
use super::os_account::{OsAccount, run};
use super::storage::{DataRoot, copy_files};
use super::{Bootstrap, Credentials, DatabaseError, Engine, Server};

/// The service's own superuser.
const ADMIN: &str = "rdsadmin";

/// Part of a template's name: to be raised when [`template_statements`] or [`INITDB`] change.
const TEMPLATE_REVISION: u32 = 1;

/// Small log segments: the smallest database, and so every copy of it, is 30 MB less.
const INITDB: [&str; 7] = [
    "--username=rdsadmin",
    "--encoding=UTF8",
    "--locale=C",
    "--auth=reject",
    "--no-sync",
    "--wal-segsize=1",
    "--no-instructions",
];

/// Local data is thrown away, so nothing waits for the disk; a rehearsal runs several servers, so each is small.
const SETTINGS: [&str; 20] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=16MB",
    // Inside the data directory, so that nothing stays behind when a server is killed.
    "dynamic_shared_memory_type=mmap",
    "max_connections=100",
    "jit=off",
    "wal_level=replica",
    "max_wal_senders=4",
    "max_wal_size=256MB",
    "min_wal_size=4MB",
    // The whole log is kept: points in time are restored by it.
    "wal_keep_size=1GB",
    "max_parallel_workers=2",
    // Processes that have nothing to do in a database of minutes.
    "autovacuum=off",
    "max_logical_replication_workers=0",
    "password_encryption=scram-sha-256",
    "ssl=on",
    "unix_socket_permissions=0700",
    "log_min_error_statement=panic", // statements hold passwords
    "cluster_name=aurora",
];

/// Nobody but the superuser over the socket; everybody but the superuser over TCP.
const ACCESS: &str = "\
local all rdsadmin trust
local replication rdsadmin trust
local all all reject
host all rdsadmin all reject
host rdsadmin all all reject
host replication all all reject
host all all all scram-sha-256
";

/// Its stop in good order that waits for no client, and its stop at once.
const SIGNALS: Signals = Signals {
    good_order: "INT",
    now: "QUIT",
};

/// PostgreSQL on this machine.
pub struct PostgresEngine {
    installation: Installation,
    root: Arc<DataRoot>,
    authority: Arc<Authority>,
    // One initdb at a time: the second caller finds the first one's template.
    template: Mutex<()>,
}

impl PostgresEngine {
    /// An engine that keeps its template under this root.
    pub fn new(installation: Installation, root: Arc<DataRoot>, authority: Arc<Authority>) -> Self {
        Self {
            installation,
            root,
            authority,
            template: Mutex::new(()),
        }
    }

    fn account(&self) -> OsAccount {
        self.root.account()
    }

    fn program(&self, name: &str) -> std::process::Command {
        self.account()
            .program(&self.installation.programs.join(name))
    }

    /// The initialised, empty database that new ones are copied from.
    fn template(&self) -> Result<PathBuf, DatabaseError> {
        let _one_at_a_time = self
            .template
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = self.root.templates().join(format!(
            "postgres-{}-{TEMPLATE_REVISION}",
            self.installation.version
        ));
        if path.is_dir() {
            return Ok(path);
        }
        let home = self.root.directory("template")?;
        run(self
            .program("initdb")
            .args(INITDB)
            .arg("--pgdata")
            .arg(data(home.path())))?;
        let mut server = self.launch(home.path(), None, &[])?;
        server.run_as_superuser("postgres", "CREATE DATABASE rdsadmin")?;
        server.run_as_superuser("postgres", &template_statements())?;
        server.keeper.stop()?;
        // Another process may have been quicker; its template is as good.
        if let Err(error) = fs::rename(data(home.path()), &path)
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
        more: &[String],
    ) -> Result<PostgresServer, DatabaseError> {
        let access = home.join("pg_hba.conf");
        fs::write(&access, ACCESS)
            .and_then(|()| self.account().hand_over(&access, 0o600))
            .map_err(DatabaseError::files(format!("write {}", access.display())))?;
        let address = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 5432)));
        let certificate = self.authority.certify(address.ip(), home, self.account())?;
        let log = home.join("server.log");
        let mut arguments = server_arguments(home, &access, &certificate, listen, address.port());
        arguments.extend(
            more.iter()
                .flat_map(|setting| ["-c".to_owned(), setting.clone()]),
        );
        let mut server = PostgresServer {
            keeper: Keeper::start(
                &self.root,
                SIGNALS,
                &self.installation.programs.join("postgres"),
                &arguments,
                &log,
            )?,
            home: home.to_owned(),
            port: address.port(),
            backup: self.installation.programs.join("pg_basebackup"),
            account: self.account(),
        };
        let (socket, port) = (home, address.port());
        let answers = || connect(socket, port, "postgres").is_ok();
        server.keeper.wait_until("postgres", &log, answers)?;
        Ok(server)
    }
}

impl Engine for PostgresEngine {
    fn initialise(&self, home: &Path) -> Result<(), DatabaseError> {
        let template = self.template()?;
        let data = data(home);
        fs::create_dir(&data)
            .and_then(|()| self.account().hand_over(&data, 0o700))
            .map_err(DatabaseError::files(format!(
                "make the directory {}",
                data.display()
            )))?;
        copy_files(self.account(), &template, &data)
    }

    fn start(&self, home: &Path, listen: SocketAddr) -> Result<Box<dyn Server>, DatabaseError> {
        Ok(Box::new(self.launch(home, Some(listen), &[])?))
    }

    fn recover(&self, home: &Path, log_of: &Path, until: SystemTime) -> Result<(), DatabaseError> {
        let archive = self.root.directory("log")?;
        copy_files(self.account(), &data(log_of).join("pg_wal"), archive.path())?;
        self.replay(home, archive.path(), until)
    }
}

impl PostgresEngine {
    /// Replays a log that lies in `archive` until a moment, and goes on from there in a history of its own.
    fn replay(&self, home: &Path, archive: &Path, until: SystemTime) -> Result<(), DatabaseError> {
        let signal = data(home).join("recovery.signal");
        fs::write(&signal, "")
            .and_then(|()| self.account().hand_over(&signal, 0o600))
            .map_err(DatabaseError::files(format!("write {}", signal.display())))?;
        let until = OffsetDateTime::from(until);
        let format = format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]+00"
        );
        let until = until
            .format(format)
            .map_err(|_| DatabaseError::State("that is no time"))?;
        let settings = [
            format!("restore_command=cp '{}'/%f %p", archive.display()),
            format!("recovery_target_time={until}"),
            "recovery_target_action=promote".to_owned(),
            // It answers when it has come to that moment, and not before.
            "hot_standby=off".to_owned(),
        ];
        self.launch(home, None, &settings)?.keeper.stop()
    }
}

/// A running PostgreSQL server.
struct PostgresServer {
    keeper: Keeper,
    home: PathBuf,
    port: u16,
    backup: PathBuf,
    account: OsAccount,
}

impl PostgresServer {
    fn run(
        &self,
        what: &'static str,
        database: &str,
        statements: &str,
    ) -> Result<(), DatabaseError> {
        connect(&self.home, self.port, database)
            .and_then(|mut client| client.batch_execute(statements))
            .map_err(DatabaseError::sql(what))
    }
}

impl Server for PostgresServer {
    fn create_master(&mut self, bootstrap: &Bootstrap) -> Result<(), DatabaseError> {
        let master = &bootstrap.master;
        self.run(
            "create the master user",
            "postgres",
            &format!("CREATE ROLE {}", identifier(&master.username)),
        )?;
        self.reset_master(master)?;
        let owner = identifier(&master.username);
        self.run(
            "hand over the first database",
            "postgres",
            &format!("ALTER DATABASE postgres OWNER TO {owner}"),
        )?;
        match &bootstrap.database {
            Some(name) if name != "postgres" => {
                let statement = format!("CREATE DATABASE {} OWNER {owner}", identifier(name));
                self.run("create the first database", "postgres", &statement)
            }
            _ => Ok(()),
        }
    }

    fn reset_master(&mut self, credentials: &Credentials) -> Result<(), DatabaseError> {
        let role = identifier(&credentials.username);
        let password = literal(credentials.password.reveal());
        let statements = format!(
            "ALTER ROLE {role} LOGIN CREATEDB CREATEROLE PASSWORD {password} VALID UNTIL 'infinity';
             GRANT rds_superuser TO {role} WITH ADMIN OPTION;"
        );
        self.run("reset the master password", "postgres", &statements)
    }

    fn run_as_superuser(&mut self, database: &str, statements: &str) -> Result<(), DatabaseError> {
        self.run("run statements as the superuser", database, statements)
    }

    fn back_up(&mut self, home: &Path) -> Result<(), DatabaseError> {
        run(self
            .account
            .program(&self.backup)
            .args([
                "--checkpoint=fast",
                "--wal-method=stream",
                "--no-sync",
                "--no-manifest",
                "--username",
                ADMIN,
                "--no-password",
            ])
            .arg("--host")
            .arg(&self.home)
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--pgdata")
            .arg(data(home)))
    }

    fn finish_log(&mut self) -> Result<(), DatabaseError> {
        // A replay stops at the first commit after its moment, so there must be one.
        let statements = "SELECT pg_current_xact_id(); SELECT pg_switch_wal()";
        for statement in statements.split(';') {
            self.run("finish the log", "postgres", statement)?;
        }
        Ok(())
    }

    fn stop(mut self: Box<Self>) -> Result<(), DatabaseError> {
        self.keeper.stop()
    }

    fn socket(&self) -> PathBuf {
        self.home.clone()
    }
}

/// A session of the superuser, over the socket in this directory.
fn connect(socket: &Path, port: u16, database: &str) -> Result<Client, postgres::Error> {
    Config::new()
        .host_path(socket)
        .port(port)
        .user(ADMIN)
        .dbname(database)
        .application_name("rds")
        .options("-c client_min_messages=warning")
        .connect(NoTls)
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

fn server_arguments(
    home: &Path,
    access: &Path,
    certificate: &ServerCertificate,
    listen: Option<SocketAddr>,
    port: u16,
) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), data(home).display().to_string()];
    let own = [
        format!(
            "listen_addresses={}",
            listen
                .map(|address| address.ip().to_string())
                .unwrap_or_default()
        ),
        format!("port={port}"),
        format!("unix_socket_directories={}", home.display()),
        format!("hba_file={}", access.display()),
        format!("ssl_cert_file={}", certificate.certificate.display()),
        format!("ssl_key_file={}", certificate.key.display()),
    ];
    for setting in SETTINGS
        .iter()
        .map(|setting| (*setting).to_owned())
        .chain(own)
    {
        arguments.extend(["-c".to_owned(), setting]);
    }
    arguments
}

/// Aurora's own roles, as far as they mean something here.
fn template_statements() -> String {
    let mut statements = String::new();
    for role in [
        "rds_superuser",
        "rds_password",
        "rds_iam",
        "rds_replication",
        "rds_ad",
    ] {
        let _ = writeln!(statements, "CREATE ROLE {role} NOLOGIN;");
    }
    statements.push_str(
        "GRANT rds_password, rds_replication TO rds_superuser WITH ADMIN OPTION;
         REVOKE CONNECT ON DATABASE rdsadmin FROM PUBLIC;
         DO $$ DECLARE given name; BEGIN
           FOR given IN SELECT rolname FROM pg_roles WHERE rolname IN
             ('pg_monitor', 'pg_signal_backend', 'pg_read_all_settings', 'pg_checkpoint', 'pg_create_subscription')
           LOOP EXECUTE format('GRANT %I TO rds_superuser WITH ADMIN OPTION', given); END LOOP;
         END $$;",
    );
    statements
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_end_their_quotes() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("a'b\\"), "'a''b\\'");
    }
}
