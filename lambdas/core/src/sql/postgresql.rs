//! Aurora PostgreSQL.

use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    CONNECT_TIMEOUT, Endpoint, Refusal, STATEMENT_TIMEOUT, SqlError, Unattended, blocking, tls,
};
use crate::secrets::Credentials;

pub(super) const NAME: &str = "aurora-postgresql";
pub(super) const DEFAULT_PORT: u16 = 5432;
pub(super) const LOG_TYPES: [&str; 3] = ["instance", "postgresql", "iam-db-auth-error"];

/// Of what is preloaded, pg_cron runs the jobs that it finds in its own table.
pub(super) const UNATTENDED: Unattended = Unattended {
    parameter: "shared_preload_libraries",
    runs: "the source's jobs of pg_cron",
    acts: |_, value| {
        let libraries = value.unwrap_or_default().split(',').map(str::trim);
        libraries
            .into_iter()
            .any(|library| library.eq_ignore_ascii_case("pg_cron"))
    },
    expected: "no pg_cron",
};

/// The database every Aurora PostgreSQL cluster has.
pub const MAINTENANCE_DATABASE: &str = "postgres";

/// Excludes, by their exact names, the login roles that RDS keeps for itself: a customer's role may be named alike.
const OTHER_LOGIN_ROLES: &str = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> current_user \
     AND rolname NOT IN ('rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdswriteforwarduser') ORDER BY rolname";

/// One family per major version, which is the number before the first dot.
pub(super) fn family(version: &str) -> String {
    format!("{NAME}{}", version.split('.').next().unwrap_or(version))
}

/// Runs `work` in a session.
///
/// # Errors
/// How the session or the work failed.
pub async fn session<T: Send + 'static>(
    endpoint: &Endpoint,
    credentials: &Credentials,
    database: &str,
    work: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
) -> Result<T, SqlError> {
    let (endpoint, credentials, database) =
        (endpoint.clone(), credentials.clone(), database.to_owned());
    blocking(move || {
        let mut client = connect(&endpoint, &credentials, &database)?;
        work(&mut client).map_err(|error| match error.code() {
            Some(_) => refused(&error),
            None => SqlError::Unreachable(error.into()), // the server said nothing: the connection broke
        })
    })
    .await
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
    let connected = match tls::configuration(&endpoint.tls)? {
        None => config.ssl_mode(SslMode::Disable).connect(postgres::NoTls),
        Some(tls) => config
            .ssl_mode(SslMode::Require)
            .connect(MakeRustlsConnect::new(tls)),
    };
    connected.map_err(|error| match error.code() {
        // Class 28, invalid authorization specification: wrong password, no such role, no login.
        Some(state) if state.code().starts_with("28") => SqlError::Refused,
        // Class 3D: the database does not exist.
        Some(state) if state.code().starts_with("3D") => refused(&error),
        _ => SqlError::Unreachable(error.into()),
    })
}

fn refused(error: &Error) -> SqlError {
    SqlError::Statement(Refusal {
        code: format!("SQLSTATE {}", error.code().map_or("?????", SqlState::code)),
        said: error
            .as_db_error()
            .map_or_else(String::new, |said| said.message().to_owned()),
    })
}

/// Logs in, and asks for nothing.
pub(super) async fn log_in(endpoint: &Endpoint, credentials: &Credentials) -> Result<(), SqlError> {
    session(endpoint, credentials, MAINTENANCE_DATABASE, |client| {
        client.simple_query("SELECT 1").map(|_| ())
    })
    .await
}

pub(super) async fn other_login_roles(
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

pub(super) async fn lock_other_login_roles(
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

fn list_other_login_roles(client: &mut Client) -> Result<Vec<String>, Error> {
    client
        .query(OTHER_LOGIN_ROLES, &[])?
        .iter()
        .map(|row| row.try_get(0))
        .collect()
}

pub(super) async fn value_of(
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
