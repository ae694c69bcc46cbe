//! SQL sessions with a restored cluster, a module per engine.
//!
//! What differs between engines is asked of the plan's [`Engine`]: its names in the
//! API, and the few things that steps want of a server. Behind it each engine's
//! module has its own client and its own statements; no step branches on the engine.
//!
//! A session is short and blocking: it runs on the blocking pool, connects within
//! seconds, and every statement has a timeout. How a login ended is told apart from
//! everything else, because "refused" is what a test of old credentials must see.

pub mod mysql;
pub mod postgresql;
mod tls;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::errors::{AR0021, AR0023, AR0032, AR0033, StepError, chain};
use crate::secrets::Credentials;
use crate::settings::DatabaseTls;

/// Longest time to establish a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Longest time for one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// The kind of database a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Engine {
    /// Aurora PostgreSQL.
    #[serde(rename = "aurora-postgresql")]
    Postgresql,
    /// Aurora MySQL.
    #[serde(rename = "aurora-mysql")]
    Mysql,
}

/// A finding about a server that its engine asks for, beside logins and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// What is looked at, for the evidence.
    pub check: &'static str,
    /// Whether nothing runs by itself.
    pub holds: bool,
    /// What was seen.
    pub seen: String,
}

/// What a cluster parameter group must not leave on in quarantine, or the restored server acts by itself.
#[derive(Clone, Copy, Debug)]
pub struct Unattended {
    /// The parameter.
    pub parameter: &'static str,
    /// What it lets run, for people.
    pub runs: &'static str,
    /// Whether the server acts by itself under this value; `None` where the group leaves it to the engine.
    pub acts: fn(family: &str, value: Option<&str>) -> bool,
    /// What is expected instead.
    pub expected: &'static str,
}

impl Engine {
    /// Every engine that can be restored.
    pub const ALL: [Self; 2] = [Self::Postgresql, Self::Mysql];

    /// The engine that RDS calls so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// RDS' name of it, such as `aurora-postgresql`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgresql => postgresql::NAME,
            Self::Mysql => mysql::NAME,
        }
    }

    /// The port of a cluster for which none was asked.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Postgresql => postgresql::DEFAULT_PORT,
            Self::Mysql => mysql::DEFAULT_PORT,
        }
    }

    /// The parameter group family of an engine version, such as `aurora-postgresql16`.
    pub fn family(self, version: &str) -> String {
        match self {
            Self::Postgresql => postgresql::family(version),
            Self::Mysql => mysql::family(version),
        }
    }

    /// Logs that can be sent to CloudWatch Logs.
    pub fn log_types(self) -> &'static [&'static str] {
        match self {
            Self::Postgresql => &postgresql::LOG_TYPES,
            Self::Mysql => &mysql::LOG_TYPES,
        }
    }

    /// What database secrets call it, in their key `engine`.
    pub fn secret_name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgres",
            Self::Mysql => "mysql",
        }
    }

    /// Whether the server lets these credentials in. An unreachable server is neither yes nor no.
    ///
    /// # Errors
    /// AR0032 when no session came about for another reason than the login.
    pub async fn accepts(
        self,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<bool, StepError> {
        let tried = match self {
            Self::Postgresql => postgresql::log_in(endpoint, credentials).await,
            Self::Mysql => mysql::log_in(endpoint, credentials).await,
        };
        match tried {
            Ok(()) => Ok(true),
            Err(SqlError::Refused) => Ok(false),
            Err(other) => Err(other.during("try a login")),
        }
    }

    /// Accounts that may log in, beside the master user and the service's own.
    ///
    /// # Errors
    /// How the session failed.
    pub async fn other_logins(
        self,
        endpoint: &Endpoint,
        master: &Credentials,
    ) -> Result<Vec<String>, SqlError> {
        match self {
            Self::Postgresql => postgresql::other_login_roles(endpoint, master).await,
            Self::Mysql => mysql::other_accounts(endpoint, master).await,
        }
    }

    /// Takes login and password from every account but the master user and the service's own; answers their names.
    ///
    /// The password goes too: an account that is only locked would take its old password back when it is unlocked.
    ///
    /// # Errors
    /// How the session failed.
    pub async fn lock_other_logins(
        self,
        endpoint: &Endpoint,
        master: &Credentials,
    ) -> Result<Vec<String>, SqlError> {
        match self {
            Self::Postgresql => postgresql::lock_other_login_roles(endpoint, master).await,
            Self::Mysql => mysql::lock_other_accounts(endpoint, master).await,
        }
    }

    /// The one value of a query as text; `None` when it is null or there is no row.
    ///
    /// The query is wrapped and runs in a read-only transaction, so that it can be nothing but a query.
    ///
    /// # Errors
    /// How the session failed.
    pub async fn value_of(
        self,
        endpoint: &Endpoint,
        credentials: &Credentials,
        database: &str,
        sql: &str,
    ) -> Result<Option<String>, SqlError> {
        match self {
            Self::Postgresql => postgresql::value_of(endpoint, credentials, database, sql).await,
            Self::Mysql => mysql::value_of(endpoint, credentials, database, sql).await,
        }
    }

    /// The parameter by which a cluster parameter group lets the server act by itself.
    pub fn unattended(self) -> &'static Unattended {
        match self {
            Self::Postgresql => &postgresql::UNATTENDED,
            Self::Mysql => &mysql::UNATTENDED,
        }
    }

    /// Whether the server runs nothing by itself while it is in quarantine; `None` where its engine has nothing that
    /// could. (PostgreSQL's own has not: what would, is preloaded by a parameter group.)
    ///
    /// # Errors
    /// How the session failed.
    pub async fn is_quiet(
        self,
        endpoint: &Endpoint,
        master: &Credentials,
    ) -> Result<Option<Quiet>, SqlError> {
        match self {
            Self::Postgresql => Ok(None),
            Self::Mysql => mysql::event_scheduler(endpoint, master).await.map(Some),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// As the SDK takes it.
impl From<Engine> for String {
    fn from(engine: Engine) -> Self {
        engine.name().to_owned()
    }
}

impl From<&Engine> for String {
    fn from(engine: &Engine) -> Self {
        (*engine).into()
    }
}

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
    /// The server answered and refused the login.
    Refused,
    /// No session came about: not listening, not resolving, starting up, TLS not agreed.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// A statement failed.
    Statement(Refusal),
    /// The TLS settings cannot be used.
    Settings(String),
}

/// A statement that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE, and MySQL's own number of the error where there is one: never data.
    pub code: String,
    /// The server's words, which can quote data: for people who may see it.
    pub said: String,
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
            // A database error's text can quote data, so only its code is told.
            Self::Statement(refusal) => {
                StepError::new(&AR0023, format!("failed to {action}: {}", refusal.code))
            }
            Self::Settings(problem) => {
                StepError::new(&AR0033, format!("failed to {action}: {problem}"))
            }
        }
    }
}

/// Runs blocking work where it holds nobody up; tokio moves no paused clock meanwhile.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SqlError::Unreachable(error.into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_goes_by_the_name_that_rds_has_for_it() {
        for engine in Engine::ALL {
            assert_eq!(Engine::named(engine.name()), Some(engine));
            assert_eq!(
                serde_json::to_value(engine).unwrap(),
                serde_json::json!(engine.name())
            );
        }
        assert_eq!(Engine::named("mysql"), None);
    }

    #[test]
    fn a_family_is_the_engine_and_its_major_version() {
        let family = |engine: Engine, version| engine.family(version);
        assert_eq!(family(Engine::Postgresql, "16.8"), "aurora-postgresql16");
        let version = "8.0.mysql_aurora.3.10.0";
        assert_eq!(family(Engine::Mysql, version), "aurora-mysql8.0");
        assert_eq!(
            family(Engine::Mysql, "8.4.mysql_aurora.8.4.7"),
            "aurora-mysql8.4"
        );
    }
}
