//! Aurora MySQL, version 3: MySQL 8.
//!
//! The statements are MySQL's. Where MariaDB, which rehearsals run on, has another
//! word for the same thing, both stand in one statement, each in a comment that only
//! its own server reads: `/*!80000 … */` MySQL 8, `/*M!100400 … */` MariaDB.

use std::sync::Arc;
use std::time::Duration;

pub use mysql_wire::{Error, Session};
use mysql_wire::{Limits, Login};

use super::{
    CONNECT_TIMEOUT, Endpoint, Quiet, Refusal, STATEMENT_TIMEOUT, SqlError, Unattended, blocking,
    tls,
};
use crate::secrets::Credentials;

pub(super) const NAME: &str = "aurora-mysql";
pub(super) const DEFAULT_PORT: u16 = 3306;
pub(super) const LOG_TYPES: [&str; 6] = [
    "audit",
    "error",
    "general",
    "instance",
    "slowquery",
    "iam-db-auth-error",
];

/// Statements end by the server's clock; the session's own limit is for a server that is gone.
const LIMITS: Limits = Limits {
    connect: CONNECT_TIMEOUT,
    answer: Duration::from_secs(STATEMENT_TIMEOUT.as_secs() + 10),
};

/// The limit of queries, in milliseconds at MySQL and seconds at MariaDB; that of other statements is the wait for a lock.
const STATEMENT_LIMIT: &str = "SET SESSION lock_wait_timeout = 60 \
     /*!80000 , SESSION max_execution_time = 120000 */ /*M!100400 , SESSION max_statement_time = 120 */";

/// The master's privileges are a role's, active by itself only where a parameter group says so.
const ALL_ROLES: &str = "/*!80000 SET ROLE ALL */ /*M!100400 DO 0 */";

/// Accounts that could log in, if only somebody had their password: not locked. The master's own is left out, and by
/// their exact names those that RDS and the server keep for themselves, which nobody else can alter.
const OTHER_ACCOUNTS: &str = "SELECT user, host, plugin FROM ( \
     /*!80000 SELECT user, host, plugin FROM mysql.user WHERE account_locked = 'N' */ \
     /*M!100400 SELECT user, host, json_value(priv, '$.plugin') AS plugin FROM mysql.global_priv \
       WHERE NOT coalesce(json_value(priv, '$.account_locked'), FALSE) \
       AND NOT coalesce(json_value(priv, '$.is_role'), FALSE) */ \
     ) AS account \
     WHERE concat(user, '@', host) <> current_user() \
     AND user NOT IN ('rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdsproxyadmin') \
     AND concat(user, '@', host) NOT IN ('mysql.sys@localhost', 'mysql.session@localhost', \
       'mysql.infoschema@localhost', 'mariadb.sys@localhost') ORDER BY user, host";

/// Sessions of anybody else. The service's own are left out likewise, and the server's threads.
const OTHER_SESSIONS: &str = "SELECT id FROM information_schema.processlist WHERE id <> connection_id() \
     AND user NOT IN ('rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdsproxyadmin', 'system user', 'event_scheduler')";

/// The way to log in of accounts that have no password but an IAM token.
const IAM_PLUGIN: &str = "AWSAuthenticationPlugin";

/// The error of a statement that one has no right to.
const DENIED: [u16; 2] = [1095, 1227];
/// The error of a session that is over.
const NO_SUCH_SESSION: u16 = 1094;

/// An account: a name and the hosts it may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    user: String,
    host: String,
    plugin: String,
}

impl Account {
    fn quoted(&self) -> String {
        format!(
            "{}@{}",
            quote_identifier(&self.user),
            quote_identifier(&self.host)
        )
    }

    /// Statements after which nobody can log in to this account, whatever they know.
    fn lock(&self) -> Vec<String> {
        let account = self.quoted();
        if self.plugin == IAM_PLUGIN {
            return vec![format!("ALTER USER {account} ACCOUNT LOCK")];
        }
        // What MySQL itself gives accounts without a password: no text has this hash.
        let no_password = "/*!80000 caching_sha2_password AS \
             '$A$005$THISISACOMBINATIONOFINVALIDSALTANDPASSWORDTHATMUSTNEVERBRBEUSED' */ \
             /*M!100400 mysql_native_password AS 'invalid' */";
        vec![
            format!("ALTER USER {account} IDENTIFIED WITH {no_password} ACCOUNT LOCK"),
            discard_second_password(&account),
        ]
    }
}

/// MySQL can keep the password before the last one valid, whatever becomes of the last one.
fn discard_second_password(account: &str) -> String {
    format!("/*!80000 ALTER USER {account} DISCARD OLD PASSWORD */ /*M!100400 DO 0 */")
}

/// One family per major version, which is the numbers before the second dot: `8.0.mysql_aurora.3.10.0`.
pub(super) fn family(version: &str) -> String {
    let mut numbers = version.split('.');
    let (first, second) = (numbers.next(), numbers.next());
    format!(
        "{NAME}{}.{}",
        first.unwrap_or_default(),
        second.unwrap_or("0")
    )
}

/// Runs `work` in a session, with this database or with none.
///
/// # Errors
/// How the session or the work failed.
pub async fn session<T: Send + 'static>(
    endpoint: &Endpoint,
    credentials: &Credentials,
    database: Option<&str>,
    work: impl FnOnce(&mut Session) -> Result<T, Error> + Send + 'static,
) -> Result<T, SqlError> {
    let (endpoint, credentials) = (endpoint.clone(), credentials.clone());
    let database = database.map(str::to_owned);
    blocking(move || {
        let mut session = connect(&endpoint, &credentials, database.as_deref())?;
        work(&mut session).map_err(failed)
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
    database: Option<&str>,
) -> Result<Session, SqlError> {
    let login = Login {
        user: &credentials.username,
        password: credentials.password.expose(),
        database,
    };
    let tls = tls::configuration(&endpoint.tls)?.map(Arc::new);
    let opened = Session::over_tcp(&endpoint.host, endpoint.port, tls, &login, LIMITS);
    let mut session = opened.map_err(|error| match error {
        Error::Refused(refusal) if refusal.is_of_a_login() => SqlError::Refused,
        // Class 42: the database does not exist, or is not for this account, whose password was right.
        Error::Refused(refusal) if refusal.state.starts_with("42") => {
            failed(Error::Refused(refusal))
        }
        other => SqlError::Unreachable(other.into()),
    })?;
    // An account whose password expired is let in and may do nothing: the statement that follows tells.
    match session.query(STATEMENT_LIMIT) {
        Ok(_) | Err(Error::Refused(_)) => Ok(session),
        Err(broken) => Err(failed(broken)),
    }
}

fn failed(error: Error) -> SqlError {
    match error {
        Error::Refused(refusal) => SqlError::Statement(Refusal {
            code: format!("SQLSTATE {} (error {})", refusal.state, refusal.number),
            said: refusal.said,
        }),
        broken => SqlError::Unreachable(broken.into()),
    }
}

/// Logs in, and asks for nothing.
pub(super) async fn log_in(endpoint: &Endpoint, credentials: &Credentials) -> Result<(), SqlError> {
    session(endpoint, credentials, None, |_| Ok(())).await
}

pub(super) async fn other_accounts(
    endpoint: &Endpoint,
    master: &Credentials,
) -> Result<Vec<String>, SqlError> {
    let accounts = session(endpoint, master, None, list_other_accounts).await?;
    Ok(names(&accounts))
}

pub(super) async fn lock_other_accounts(
    endpoint: &Endpoint,
    master: &Credentials,
) -> Result<Vec<String>, SqlError> {
    let accounts = session(endpoint, master, None, |session| {
        session.query(ALL_ROLES)?;
        let accounts = list_other_accounts(session)?;
        for statement in accounts.iter().flat_map(Account::lock) {
            session.query(&statement)?;
        }
        session.query(&discard_second_password("CURRENT_USER()"))?;
        end_other_sessions(session)?;
        Ok(accounts)
    })
    .await?;
    Ok(names(&accounts))
}

fn list_other_accounts(session: &mut Session) -> Result<Vec<Account>, Error> {
    let rows = session.query(OTHER_ACCOUNTS)?;
    let accounts = rows.into_iter().map(|row| {
        let mut values = row.into_iter().map(Option::unwrap_or_default);
        Account {
            user: values.next().unwrap_or_default(),
            host: values.next().unwrap_or_default(),
            plugin: values.next().unwrap_or_default(),
        }
    });
    Ok(accounts.collect())
}

fn names(accounts: &[Account]) -> Vec<String> {
    accounts
        .iter()
        .map(|account| format!("{}@{}", account.user, account.host))
        .collect()
}

/// Ends the sessions of locked accounts: a lock keeps new ones out and lets those that are in stay.
fn end_other_sessions(session: &mut Session) -> Result<(), Error> {
    for row in session.query(OTHER_SESSIONS)? {
        let Some(Some(id)) = row.into_iter().next() else {
            continue;
        };
        let ended = match session.query(&format!("KILL {id}")) {
            // RDS' own way, for a master that may not end others' sessions itself.
            Err(Error::Refused(refusal)) if DENIED.contains(&refusal.number) => {
                session.query(&format!("CALL mysql.rds_kill({id})"))
            }
            tried => tried,
        };
        match ended {
            Err(Error::Refused(refusal)) if refusal.number == NO_SUCH_SESSION => {}
            other => drop(other?),
        }
    }
    Ok(())
}

pub(super) async fn value_of(
    endpoint: &Endpoint,
    credentials: &Credentials,
    database: &str,
    sql: &str,
) -> Result<Option<String>, SqlError> {
    let sql = format!(
        "SELECT * FROM ({}\n) AS checked LIMIT 1",
        sql.trim_end().trim_end_matches(';')
    );
    let rows = session(endpoint, credentials, Some(database), move |session| {
        session.query("START TRANSACTION READ ONLY")?;
        session.query(&sql)
    })
    .await?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next()?))
}

/// Events run unless a group turns them off: MySQL 8 has them on by default, MySQL 5.7 off (reference manuals,
/// `event_scheduler`).
pub(super) const UNATTENDED: Unattended = Unattended {
    parameter: "event_scheduler",
    runs: "the source's events",
    acts: |family, value| match value {
        Some(value) => !["OFF", "DISABLED", "0"].contains(&value.to_ascii_uppercase().as_str()),
        None => family != "aurora-mysql5.7",
    },
    expected: "OFF",
};

/// Whether events of the restored database could run. They would act on the world: mail, charge, call.
pub(super) async fn event_scheduler(
    endpoint: &Endpoint,
    master: &Credentials,
) -> Result<Quiet, SqlError> {
    let rows = session(endpoint, master, None, |session| {
        session.query("SELECT @@GLOBAL.event_scheduler")
    })
    .await?;
    let state = rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next()?);
    let state = state.unwrap_or_default();
    Ok(Quiet {
        check: "event scheduler is off in quarantine",
        holds: matches!(state.as_str(), "OFF" | "DISABLED"),
        seen: state,
    })
}

/// Between backticks nothing but a backtick means anything, whatever the SQL mode.
fn quote_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_name_cannot_break_out_of_its_quotes() {
        let account = Account {
            user: "a`@`%`; DROP USER b; --".to_owned(),
            host: "%".to_owned(),
            plugin: String::new(),
        };
        assert_eq!(account.quoted(), "`a``@``%``; DROP USER b; --`@`%`");
    }

    #[test]
    fn an_account_of_iam_tokens_is_locked_and_keeps_its_way_to_log_in() {
        let account = |plugin: &str| Account {
            user: "app".to_owned(),
            host: "%".to_owned(),
            plugin: plugin.to_owned(),
        };
        assert_eq!(
            account(IAM_PLUGIN).lock(),
            ["ALTER USER `app`@`%` ACCOUNT LOCK"]
        );
        let with_password = account("caching_sha2_password").lock();
        assert!(with_password[0].contains("IDENTIFIED WITH"));
        assert!(with_password[1].contains("DISCARD OLD PASSWORD"));
    }
}
