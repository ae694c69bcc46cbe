//! SQL sessions with a restored cluster, one module of calls per engine family.
//!
//! A session is short and blocking: it runs on the blocking pool, connects within
//! seconds, and every statement has a timeout. How a login ended is told apart from
//! everything else, because "refused" is what a test of old credentials must see.

use std::sync::Arc;
use std::time::Duration;

use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::errors::{AR0021, AR0023, AR0032, AR0033, StepError, chain};
use crate::secrets::Credentials;
use crate::settings::DatabaseTls;

/// Longest time to establish a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Longest time for one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// Amazon RDS' certificate authorities.
const RDS_AUTHORITIES: &str = include_str!("../certificates/rds-global-bundle.pem");

/// Where a cluster listens, and how it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address, as RDS describes it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the server is checked.
    pub tls: DatabaseTls,
}

/// Why a session gave no result.
#[derive(Debug)]
pub enum SqlError {
    /// The server answered and refused the login (SQLSTATE class 28).
    Refused,
    /// No session came about: not listening, not resolving, starting up, TLS not agreed.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// A statement failed.
    Statement(Box<postgres::Error>),
    /// The TLS settings cannot be used.
    Settings(String),
}

impl SqlError {
    /// As a step's error. `action` is what was tried, such as `log in as the master user`.
    pub fn during(self, action: &str) -> StepError {
        match self {
            Self::Refused => StepError::new(
                &AR0021,
                format!("failed to {action}: the server refused the login"),
            ),
            Self::Unreachable(source) => StepError::new(
                &AR0032,
                format!("failed to {action}: no session ({})", chain(&*source)),
            )
            .caused_by(source),
            // A database error's text can quote data, so only its SQLSTATE is told.
            Self::Statement(source) => {
                let state = source
                    .code()
                    .map_or("connection lost", SqlState::code)
                    .to_owned();
                StepError::new(&AR0023, format!("failed to {action}: SQLSTATE {state}"))
            }
            Self::Settings(problem) => {
                StepError::new(&AR0033, format!("failed to {action}: {problem}"))
            }
        }
    }
}

/// Runs `work` in a session.
///
/// # Errors
/// How the session or the work failed.
pub async fn session<T: Send + 'static>(
    endpoint: &Endpoint,
    credentials: &Credentials,
    database: &str,
    work: impl FnOnce(&mut Client) -> Result<T, postgres::Error> + Send + 'static,
) -> Result<T, SqlError> {
    let (endpoint, credentials, database) =
        (endpoint.clone(), credentials.clone(), database.to_owned());
    let run = move || {
        let mut client = connect(&endpoint, &credentials, &database)?;
        work(&mut client).map_err(|error| match error.code() {
            Some(_) => SqlError::Statement(Box::new(error)),
            None => SqlError::Unreachable(error.into()), // the server said nothing: the connection broke
        })
    };
    tokio::task::spawn_blocking(run)
        .await
        .map_err(|error| SqlError::Unreachable(error.into()))?
}

/// Opens a session. Blocking: call it from the blocking pool or a thread of your own.
///
/// # Errors
/// How it failed.
pub fn connect(
    endpoint: &Endpoint,
    credentials: &Credentials,
    database: &str,
) -> Result<Client, SqlError> {
    let mut config = Config::new();
    config
        .host(&endpoint.host)
        .port(endpoint.port)
        .user(&credentials.username)
        .password(credentials.password.expose())
        .dbname(database)
        .application_name("aurora-restore")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(STATEMENT_TIMEOUT)
        .options(&format!(
            "-c statement_timeout={}",
            STATEMENT_TIMEOUT.as_millis()
        ));
    let connected = match authorities(&endpoint.tls) {
        None => config.ssl_mode(SslMode::Disable).connect(postgres::NoTls),
        Some(pem) => config.ssl_mode(SslMode::Require).connect(tls(pem)?),
    };
    connected.map_err(|error| match error.code() {
        // Class 28, invalid authorization specification: wrong password, no such role, no login.
        Some(state) if state.code().starts_with("28") => SqlError::Refused,
        // Class 3D: the database does not exist.
        Some(state) if state.code().starts_with("3D") => SqlError::Statement(Box::new(error)),
        _ => SqlError::Unreachable(error.into()),
    })
}

fn authorities(tls: &DatabaseTls) -> Option<&str> {
    match tls {
        DatabaseTls::VerifyFull => Some(RDS_AUTHORITIES),
        DatabaseTls::VerifyFullWith { authorities_pem } => Some(authorities_pem),
        DatabaseTls::Disable => None,
    }
}

fn tls(authorities_pem: &str) -> Result<MakeRustlsConnect, SqlError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let unusable =
        |problem: String| SqlError::Settings(format!("databaseTls.authoritiesPem: {problem}"));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Whether the server lets these credentials in. An unreachable server is neither yes nor no.
///
/// # Errors
/// AR0032 when no session came about for another reason than the login.
pub async fn accepts(
    endpoint: &Endpoint,
    credentials: &Credentials,
    database: &str,
) -> Result<bool, StepError> {
    match session(endpoint, credentials, database, |client| {
        client.simple_query("SELECT 1").map(|_| ())
    })
    .await
    {
        Ok(()) => Ok(true),
        Err(SqlError::Refused) => Ok(false),
        Err(other) => Err(other.during("try a login")),
    }
}

/// PostgreSQL: what the steps ask of a server of this family.
pub mod postgresql {
    use super::{Client, Credentials, Endpoint, SqlError, session};

    /// The database every Aurora PostgreSQL cluster has.
    pub const MAINTENANCE_DATABASE: &str = "postgres";

    /// Excludes, by their exact names, the login roles that RDS keeps for itself: a customer's role may be named alike.
    const OTHER_LOGIN_ROLES: &str = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> current_user \
         AND rolname NOT IN ('rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdswriteforwarduser') ORDER BY rolname";

    /// Login roles other than the master user and the service's own.
    ///
    /// # Errors
    /// How the session failed.
    pub async fn other_login_roles(
        endpoint: &Endpoint,
        master: &Credentials,
    ) -> Result<Vec<String>, SqlError> {
        session(
            endpoint,
            master,
            MAINTENANCE_DATABASE,
            list_other_login_roles,
        )
        .await
    }

    /// Takes login and password from every login role but the master user and the service's own; answers their names.
    ///
    /// The password goes too: a role that is only locked would take its old password back when it is unlocked.
    ///
    /// # Errors
    /// How the session failed.
    pub async fn lock_other_login_roles(
        endpoint: &Endpoint,
        master: &Credentials,
    ) -> Result<Vec<String>, SqlError> {
        session(endpoint, master, MAINTENANCE_DATABASE, |client| {
            let roles = list_other_login_roles(client)?;
            for role in &roles {
                client.batch_execute(&format!(
                    "ALTER ROLE {} NOLOGIN PASSWORD NULL",
                    quote_identifier(role)
                ))?;
            }
            Ok(roles)
        })
        .await
    }

    fn list_other_login_roles(client: &mut Client) -> Result<Vec<String>, postgres::Error> {
        client
            .query(OTHER_LOGIN_ROLES, &[])?
            .iter()
            .map(|row| row.try_get(0))
            .collect()
    }

    /// The one value of a query as text; `None` when it is null or there is no row.
    ///
    /// The query is wrapped and runs in a read-only transaction, so that it can be nothing but a query.
    ///
    /// # Errors
    /// How the session failed.
    pub async fn value_of(
        endpoint: &Endpoint,
        credentials: &Credentials,
        database: &str,
        sql: &str,
    ) -> Result<Option<String>, SqlError> {
        let sql = format!(
            "SELECT value::text FROM ({}\n) AS checked (value) LIMIT 1",
            sql.trim_end().trim_end_matches(';')
        );
        session(endpoint, credentials, database, move |client| {
            let mut transaction = client.build_transaction().read_only(true).start()?;
            match transaction.query_opt(&sql, &[])? {
                Some(row) => row.try_get(0),
                None => Ok(None),
            }
        })
        .await
    }

    fn quote_identifier(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    #[cfg(test)]
    mod tests {
        use super::quote_identifier;

        #[test]
        fn a_role_name_cannot_break_out_of_its_quotes() {
            assert_eq!(
                quote_identifier("a\"; DROP ROLE b; --"),
                "\"a\"\"; DROP ROLE b; --\""
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_authorities_are_usable() {
        assert!(tls(RDS_AUTHORITIES).is_ok());
        assert!(matches!(
            tls("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Err(SqlError::Settings(_))
        ));
    }
}
