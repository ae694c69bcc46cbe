//! What a database holds, in a form two databases can be compared by: rows and an
//! order-independent checksum for every table and materialized view.

use std::collections::BTreeMap;

use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::{Endpoint, Engine};
use postgres::types::{FromSql, Type};
use postgres::{Client, Error};
use serde::Serialize;

use super::{mysql, source};

/// What one table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Number of rows.
    pub rows: i64,
    /// Sum of the rows' 64-bit hashes.
    #[serde(serialize_with = "as_text")]
    pub checksum: i128,
}

fn as_text<S: serde::Serializer>(checksum: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(checksum)
}

/// A checksum as PostgreSQL writes it: a whole number, in text. Anything else is an error.
pub(super) struct Checksum(pub(super) i128);

impl<'a> FromSql<'a> for Checksum {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?.parse()?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT
    }
}

/// What a database holds, by table.
pub type Fingerprint = BTreeMap<String, Content>;

/// The hash of a row, given the row's alias: what checksums are sums of.
pub(crate) fn row_hash(alias: &str) -> String {
    format!("hashtextextended({alias}::text, 0)::numeric")
}

/// What the database of a rehearsal holds.
///
/// # Errors
/// What the server refuses.
pub async fn of(
    engine: Engine,
    endpoint: &Endpoint,
    master: &Credentials,
) -> anyhow::Result<Fingerprint> {
    match engine {
        Engine::Postgresql => source::session(endpoint, master, read).await,
        Engine::Mysql => mysql::session(endpoint, master, mysql::read).await,
    }
}

/// Reads every table and materialized view outside the system schemas, in one snapshot of the data.
///
/// # Errors
/// What the server refuses.
pub fn read(client: &mut Client) -> Result<Fingerprint, Error> {
    let mut transaction = client
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()?;
    let tables = transaction.query(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
         AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1",
        &[],
    )?;
    let mut fingerprint = Fingerprint::new();
    for table in tables {
        let table: String = table.try_get(0)?;
        let sum = format!(
            "SELECT count(*), coalesce(sum({}), 0)::text FROM {table} t",
            row_hash("t")
        );
        let row = transaction.query_one(&sum, &[])?;
        let (rows, Checksum(checksum)) = (row.try_get(0)?, row.try_get(1)?);
        fingerprint.insert(table, Content { rows, checksum });
    }
    Ok(fingerprint)
}
