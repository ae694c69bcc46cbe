//! The source of a rehearsal of Aurora MySQL: its accounts, its sample, its traffic, and what it holds.
//!
//! What PostgreSQL calls schemas are databases here, `shop` and `audit`, beside the one that the cluster began with.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aurora_restore_core::Secret;
use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::Endpoint;
use aurora_restore_core::sql::mysql::{self, Error, Session};

use super::fingerprint::{Content, Fingerprint};
use super::source::{DATABASE, LOGIN_ROLES, describe};
use super::traffic::{Effect, add};

/// The family of the source's parameter group.
pub(super) const FAMILY: &str = "aurora-mysql8.0";
/// A setting of it that is not the default.
pub(super) const PARAMETER: (&str, &str) = ("long_query_time", "5");
/// The log that the source sends to CloudWatch Logs.
pub(super) const LOG: &str = "error";
/// A check beside that of rows: its name, and a query that gives nought.
pub(super) const CHECK: (&str, &str) = (
    "every table can be recovered",
    "SELECT count(*) FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND engine <> 'InnoDB' \
     AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')",
);

/// Tables outside the system's own databases, and their columns.
const COLUMNS: &str = "SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c \
     JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
     WHERE t.table_type = 'BASE TABLE' \
     AND c.table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
     ORDER BY c.table_schema, c.table_name, c.ordinal_position";

/// Runs `work` in a session with the database of the rehearsal.
pub(super) async fn session<T: Send + 'static>(
    endpoint: &Endpoint,
    credentials: &Credentials,
    work: impl FnOnce(&mut Session) -> Result<T, Error> + Send + 'static,
) -> Result<T> {
    mysql::session(endpoint, credentials, Some(DATABASE), work)
        .await
        .map_err(|error| describe(&error))
}

/// Makes the accounts of applications.
pub(super) async fn create_accounts(
    endpoint: &Endpoint,
    master: &Credentials,
    passwords: &[Secret],
) -> Result<()> {
    let accounts = LOGIN_ROLES.iter().zip(passwords);
    let statements: Vec<String> = accounts
        .map(|(role, password)| {
            format!(
                "CREATE USER {role} IDENTIFIED BY '{}'; GRANT SELECT ON *.* TO {role}",
                password.expose()
            )
        })
        .collect();
    let statements = statements.join(";");
    session(endpoint, master, move |session| session.batch(&statements))
        .await
        .context("create the source's accounts")
}

/// Loads the sample.
pub(super) async fn load_sample(endpoint: &Endpoint, master: &Credentials) -> Result<()> {
    let load = |session: &mut Session| session.batch(include_str!("sample.mysql.sql"));
    session(endpoint, master, load)
        .await
        .context("load the sample")
}

/// Loads SQL of the user's own, such as mysqldump's, by MariaDB's client.
pub(super) async fn load_dump(
    endpoint: &Endpoint,
    master: &Credentials,
    file: &Path,
) -> Result<()> {
    let (endpoint, master, path) = (endpoint.clone(), master.clone(), file.to_owned());
    tokio::task::spawn_blocking(move || {
        let program = local_cloud::database::discovery::find_mariadb()?.client;
        let content =
            File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let done = Command::new(&program)
            .args(["--no-defaults", "--host", &endpoint.host, "--port"])
            .arg(endpoint.port.to_string())
            .args(["--user", &master.username, DATABASE])
            .env("MYSQL_PWD", master.password.expose())
            .stdin(content)
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        bail!(
            "{} could not load {}: {}",
            program.display(),
            path.display(),
            said.lines().take(5).collect::<Vec<_>>().join("; ")
        )
    })
    .await?
}

/// An expression for the hash of a row, by table: what checksums are sums of.
type Hashes = BTreeMap<String, String>;

fn row_hashes(session: &mut Session) -> Result<Hashes, Error> {
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in session.query(COLUMNS)? {
        let mut names = row.into_iter().flatten();
        if let (Some(schema), Some(table), Some(column)) =
            (names.next(), names.next(), names.next())
        {
            let table = format!("{}.{}", identifier(&schema), identifier(&table));
            let quoted = format!("QUOTE({})", identifier(&column));
            columns.entry(table).or_default().push(quoted);
        }
    }
    let hash = |columns: Vec<String>| {
        let row = columns.join(", ',', ");
        format!("CAST(CONV(LEFT(MD5(CONCAT({row})), 16), 16, 10) AS UNSIGNED)")
    };
    let tables = columns.into_iter();
    Ok(tables
        .map(|(table, columns)| (table, hash(columns)))
        .collect())
}

/// A name as it is where that is unmistakable, else in quotes.
fn identifier(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match plain {
        true => name.to_owned(),
        false => format!("`{}`", name.replace('`', "``")),
    }
}

/// Reads every table outside the system's own databases, in one snapshot of the data.
pub(super) fn read(session: &mut Session) -> Result<Fingerprint, Error> {
    let hashes = row_hashes(session)?;
    session.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
    session.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
    let mut fingerprint = Fingerprint::new();
    for (table, hash) in hashes {
        let sum = format!("SELECT count(*), coalesce(sum({hash}), 0) FROM {table}");
        let values = values(session, &sum)?;
        let content = Content {
            rows: number(values.first())?,
            checksum: number(values.get(1))?,
        };
        fingerprint.insert(table, content);
    }
    session.query("COMMIT")?;
    Ok(fingerprint)
}

/// The number of the last transaction that a copy holds.
pub(super) fn last_transaction(session: &mut Session) -> Result<usize, Error> {
    let found = values(
        session,
        "SELECT coalesce(max(number), 0) FROM audit.changes",
    )?;
    number(found.first())
}

/// Opens a session for orders to come in over.
pub(super) async fn orders(
    endpoint: &Endpoint,
    master: &Credentials,
) -> Result<impl FnMut(i64) -> Result<Effect> + Send + 'static> {
    let (endpoint, master) = (endpoint.clone(), master.clone());
    let (mut session, hashes) = tokio::task::spawn_blocking(move || {
        let mut session =
            mysql::connect(&endpoint, &master, Some(DATABASE)).map_err(|error| describe(&error))?;
        let hashes = row_hashes(&mut session)?;
        anyhow::Ok((session, hashes))
    })
    .await??;
    Ok(move |number| Ok(place_order(&mut session, &hashes, number)?))
}

fn place_order(session: &mut Session, hashes: &Hashes, number: i64) -> Result<Effect, Error> {
    let mut effect = Effect::new();
    let (customer, product) = (1 + number * 17 % 40_000, 1 + number * 29 % 5_000);
    session.query("START TRANSACTION")?;
    session.query(&format!(
        "INSERT INTO shop.orders (customer_id, status, placed_at) \
         VALUES ({customer}, 'placed', TIMESTAMP '2026-06-01 00:00:00' + INTERVAL {number} SECOND)"
    ))?;
    let order = values(session, "SELECT last_insert_id()")?.concat();
    added(
        session,
        hashes,
        &mut effect,
        "shop.orders",
        &format!("id = {order}"),
    )?;
    for line in 1..=3 {
        session.query(&format!(
            "INSERT INTO shop.order_lines VALUES ({order}, {line}, {product}, {line}, {})",
            100 + number % 900
        ))?;
        let place = format!("order_id = {order} AND line = {line}");
        added(session, hashes, &mut effect, "shop.order_lines", &place)?;
    }
    // An update: the table loses the old row's hash and gains the new one's.
    let place = format!("warehouse_id = 1 AND product_id = {product}");
    let before = hash_of(session, hashes, "shop.stock", &place)?;
    session.query(&format!(
        "UPDATE shop.stock SET quantity = quantity + 1 WHERE {place}"
    ))?;
    let after = hash_of(session, hashes, "shop.stock", &place)?;
    add(&mut effect, "shop.stock", 0, after - before);
    session.query(&format!(
        "INSERT INTO audit.changes VALUES ({number}, {order})"
    ))?;
    let place = format!("number = {number}");
    added(session, hashes, &mut effect, "audit.changes", &place)?;
    session.query("COMMIT")?;
    Ok(effect)
}

/// A row came in.
fn added(
    session: &mut Session,
    hashes: &Hashes,
    effect: &mut Effect,
    table: &'static str,
    place: &str,
) -> Result<(), Error> {
    let hash = hash_of(session, hashes, table, place)?;
    add(effect, table, 1, hash);
    Ok(())
}

fn hash_of(
    session: &mut Session,
    hashes: &Hashes,
    table: &str,
    place: &str,
) -> Result<i128, Error> {
    let hash = hashes.get(table);
    let hash = hash.ok_or_else(|| Error::Protocol(format!("no columns of {table} are known")))?;
    let found = values(
        session,
        &format!("SELECT {hash} FROM {table} WHERE {place} FOR UPDATE"),
    )?;
    number(found.first())
}

/// A number that the server writes.
fn number<T: std::str::FromStr>(written: Option<&String>) -> Result<T, Error> {
    let parsed = written.and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Error::Protocol(format!("expected a number, found {written:?}")))
}

/// The values of a query's first row.
fn values(session: &mut Session, query: &str) -> Result<Vec<String>, Error> {
    let row = session.query(query)?.into_iter().next();
    Ok(row.unwrap_or_default().into_iter().flatten().collect())
}
