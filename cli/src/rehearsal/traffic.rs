//! A source that does not hold still: orders keep coming in while it is snapshotted.
//!
//! Each transaction is numbered, in `audit.changes`, and its effect on every
//! table's rows and checksum is kept here. So for any transaction that turns out to
//! be the last one in a restored copy, it is known what each table held right then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use aurora_restore_core::secrets::Credentials;
use aurora_restore_core::sql::{Endpoint, Engine, postgresql};
use postgres::{Client, Error, Transaction};

use super::fingerprint::{Checksum, Content, Fingerprint, row_hash};
use super::mysql;
use super::source::{self, DATABASE, Source};

/// Effects of one transaction: rows and checksum added, by table.
pub(super) type Effect = BTreeMap<&'static str, Content>;

/// Orders coming in, until stopped.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    writer: JoinHandle<anyhow::Result<Vec<Effect>>>,
}

/// What was written, transaction by transaction.
#[derive(Debug, Default)]
pub struct Written {
    effects: Vec<Effect>,
    /// So many were committed before the moment that is restored, whatever that moment turns out to be.
    before: usize,
}

impl Traffic {
    /// Lets orders come in at the source until stopped, from the first one on: in a thread of its own, in real time, whatever the clock of
    /// the rehearsal does.
    ///
    /// # Errors
    /// When there is no session.
    pub async fn at(source: &Source) -> anyhow::Result<Self> {
        Self::start(source, usize::MAX).await
    }

    async fn start(source: &Source, most: usize) -> anyhow::Result<Self> {
        let (endpoint, master) = (source.endpoint.clone(), source.master.clone());
        let mut place: Box<dyn FnMut(i64) -> anyhow::Result<Effect> + Send> = match source.engine {
            Engine::Mysql => Box::new(mysql::orders(&endpoint, &master).await?),
            Engine::Postgresql => {
                let connect = move || postgresql::connect(&endpoint, &master, DATABASE);
                let mut client = tokio::task::spawn_blocking(connect)
                    .await?
                    .map_err(|_| anyhow::anyhow!("no session for the source's traffic"))?;
                Box::new(move |number| Ok(place_order(&mut client, number)?))
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let committed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&committed);
        let (first, came) = mpsc::sync_channel(1);
        let writer = std::thread::spawn(move || {
            let mut effects = Vec::new();
            while effects.len() < most && !stopped.load(Ordering::Relaxed) {
                effects.push(place(effects.len() as i64 + 1)?);
                count.store(effects.len(), Ordering::Relaxed);
                let _ = first.try_send(()); // only the first is waited for
            }
            Ok(effects)
        });
        // If none comes, the writer's end says why.
        let _ = tokio::task::spawn_blocking(move || came.recv()).await?;
        Ok(Self {
            stop,
            committed,
            writer,
        })
    }

    /// How many have been committed so far, at least.
    pub fn so_far(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    /// Lets no more orders come in, without waiting for the last one.
    pub fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops, and tells what was written.
    ///
    /// # Errors
    /// When a transaction failed.
    pub async fn stop(self) -> anyhow::Result<Written> {
        self.halt();
        self.written().await
    }

    async fn written(self) -> anyhow::Result<Written> {
        let joined = tokio::task::spawn_blocking(move || self.writer.join()).await?;
        let effects = joined.map_err(|_| anyhow::anyhow!("the source's traffic crashed"))??;
        Ok(Written { effects, before: 0 })
    }
}

impl Written {
    /// Lets this many orders come in at the source, all of them before the moment that is restored.
    ///
    /// # Errors
    /// When there is no session, or a transaction failed.
    pub async fn orders(source: &Source, count: usize) -> anyhow::Result<Self> {
        let written = Traffic::start(source, count).await?.written().await?;
        Ok(written.with_before(count))
    }

    /// The same, of which so many were committed before the moment that is restored.
    #[must_use]
    pub fn with_before(self, before: usize) -> Self {
        Self { before, ..self }
    }

    /// What is wrong with a copy whose last transaction is this one, if something is: it lacks what was committed
    /// before its moment, or has what never came in.
    pub fn misses(&self, last: usize) -> Option<String> {
        let expected = self.before..=self.transactions();
        (!expected.contains(&last)).then(|| {
            format!(
                "audit.changes: {last} transactions, expected {} to {}",
                self.before,
                self.transactions()
            )
        })
    }

    /// Transactions in all.
    pub fn transactions(&self) -> usize {
        self.effects.len()
    }

    /// What the source held after its first `transactions` transactions, given what it held before them.
    pub fn after(&self, transactions: usize, baseline: &Fingerprint) -> Fingerprint {
        let mut held = baseline.clone();
        for effect in self.effects.iter().take(transactions) {
            for (table, change) in effect {
                let content = held.entry((*table).to_owned()).or_default();
                content.rows += change.rows;
                content.checksum += change.checksum;
            }
        }
        held
    }
}

/// The number of the last transaction that a copy holds.
///
/// # Errors
/// What the server refuses.
pub async fn last(
    engine: Engine,
    endpoint: &Endpoint,
    master: &Credentials,
) -> anyhow::Result<usize> {
    match engine {
        Engine::Postgresql => source::session(endpoint, master, last_transaction).await,
        Engine::Mysql => mysql::session(endpoint, master, mysql::last_transaction).await,
    }
}

fn last_transaction(client: &mut Client) -> Result<usize, Error> {
    let row = client.query_one("SELECT coalesce(max(number), 0) FROM audit.changes", &[])?;
    let number: i64 = row.try_get(0)?;
    Ok(usize::try_from(number).unwrap_or(0)) // none is negative
}

fn place_order(client: &mut Client, number: i64) -> Result<Effect, Error> {
    let mut transaction = client.transaction()?;
    let mut effect = Effect::new();
    let (customer, product) = (1 + number * 17 % 40_000, 1 + number * 29 % 5_000);
    let placed_at =
        format!("timestamptz '2026-06-01 00:00:00+00' + {number} * interval '1 second'");
    let order: i64 = transaction
        .query_one("SELECT nextval('shop.orders_id_seq')", &[])?
        .try_get(0)?;
    insert(
        &mut transaction,
        &mut effect,
        "shop.orders",
        &format!(
            "(id, customer_id, status, placed_at) VALUES ({order}, {customer}, 'placed', {placed_at})"
        ),
    )?;
    for line in 1..=3 {
        insert(
            &mut transaction,
            &mut effect,
            "shop.order_lines",
            &format!(
                "VALUES ({order}, {line}, {product}, {line}, {})",
                100 + number % 900
            ),
        )?;
    }
    take_from_stock(&mut transaction, &mut effect, product)?;
    insert(
        &mut transaction,
        &mut effect,
        "audit.changes",
        &format!("VALUES ({number}, {order})"),
    )?;
    transaction.commit()?;
    Ok(effect)
}

fn insert(
    transaction: &mut Transaction<'_>,
    effect: &mut Effect,
    table: &'static str,
    values: &str,
) -> Result<(), Error> {
    let statement = format!(
        "INSERT INTO {table} AS t {values} RETURNING {}::text",
        row_hash("t")
    );
    let Checksum(hash) = transaction.query_one(&statement, &[])?.try_get(0)?;
    add(effect, table, 1, hash);
    Ok(())
}

/// An update: the table loses the old row's hash and gains the new one's.
fn take_from_stock(
    transaction: &mut Transaction<'_>,
    effect: &mut Effect,
    product: i64,
) -> Result<(), Error> {
    let hash = row_hash("t");
    let place = format!("warehouse_id = 1 AND product_id = {product}");
    let before = format!("SELECT {hash}::text FROM shop.stock t WHERE {place} FOR UPDATE");
    let Checksum(before) = transaction.query_one(&before, &[])?.try_get(0)?;
    let after = format!(
        "UPDATE shop.stock t SET quantity = quantity + 1 WHERE {place} RETURNING {hash}::text"
    );
    let Checksum(after) = transaction.query_one(&after, &[])?.try_get(0)?;
    add(effect, "shop.stock", 0, after - before);
    Ok(())
}

pub(super) fn add(effect: &mut Effect, table: &'static str, rows: i64, checksum: i128) {
    let content = effect.entry(table).or_default();
    content.rows += rows;
    content.checksum += checksum;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_lacks_what_was_committed_before_its_moment_is_no_equal() {
        let written = Written {
            effects: vec![Effect::new(); 9],
            before: 4,
        };
        assert_eq!(
            written.misses(0).as_deref(),
            Some("audit.changes: 0 transactions, expected 4 to 9")
        );
        assert!(written.misses(3).is_some());
        assert_eq!((written.misses(4), written.misses(9)), (None, None));
        assert!(written.misses(10).is_some());
    }
}
