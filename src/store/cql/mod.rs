//! The store on ScyllaDB or Apache Cassandra: rows by conditional updates (Paxos), the index by plain writes.
//!
//! A save is applied, lost, certainly refused, or unknown; whoever gets "unknown" sends the very same save again until it
//! is one of the others. Nothing here repeats a conditional update by itself.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt, ready},
    stream::{StreamExt, TryStreamExt, iter},
};
use scylla::{
    client::session::Session,
    errors::{ExecutionError, PrepareError},
    response::{PagingState, query_result::QueryResult},
    statement::prepared::PreparedStatement,
};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use self::{
    breaker::Breaker,
    outcome::verdict,
    statements::{Answer, Statements, answered, loaded, replace_values, save_values, scanned},
};
pub use self::{
    connect::{ConnectError, Options, connect},
    schema::{Dialect, Status},
};
use super::{
    Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, SCAN_BYTES_MAX, SCAN_MAX, Saved, Store, check_entries,
    check_row,
};
use crate::telemetry::{clock, metrics::metrics};

mod breaker;
mod connect;
pub mod examine;
pub mod migrate;
mod outcome;
pub mod schema;
mod statements;
mod watch;

/// How long a save waits for its turn: as long as a busy database needs for some thousands before it, and well below the
/// time after which an actor takes a save for lost.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long the database may fail while the store opens: nodes start with it, and it may be slow then.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
const OPEN_PAUSE: Duration = Duration::from_millis(500);
/// Keys that one request deletes: ScyllaDB takes no more in one list.
const DELETE_KEYS_MAX: usize = 100;
/// Attempts at a first save while an old row's time ends.
const EXPIRING_ATTEMPTS_MAX: usize = 3;
/// Entries put at once by one call: enough to fill a connection, few enough to leave room for saves.
const PUTS_IN_FLIGHT_MAX: usize = 64;
/// How long a load may take while saves are refused: reads that still work come through, and nobody waits for the others.
const DOUBTFUL_LOAD_TIMEOUT: Duration = Duration::from_millis(100);
/// Before each partition's name: the database takes no empty one.
const PARTITION_PREFIX: u8 = b'p';

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached, or not so.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The schema cannot be looked at.
    #[error("the schema cannot be looked at: {0}")]
    Look(#[from] migrate::Error),
    /// The schema does not fit this release.
    #[error("keyspace {keyspace}: {status}; {}", status.fix())]
    Schema {
        /// Where.
        keyspace: String,
        /// What is there.
        status: Status,
    },
    /// A statement does not fit what is there.
    #[error("the database refuses a statement: {0}")]
    Prepare(#[from] PrepareError),
    /// Conditional updates do not work.
    #[error("the database takes no conditional update: {0}; `trolley doctor` looks for the reason")]
    Probe(Reason),
}

/// The store on ScyllaDB or Apache Cassandra. Dropping it closes its connections.
pub struct Cql {
    inner: Arc<Inner>,
    watch: tokio::task::JoinHandle<()>,
}

/// How a request failed.
#[derive(Debug)]
struct Failed {
    reason: Reason,
    /// Certainly not applied, now or later.
    not_applied: bool,
}

impl From<Failed> for Reason {
    fn from(failed: Failed) -> Self {
        failed.reason
    }
}

struct Inner {
    session: Session,
    statements: Statements,
    keyspace: String,
    breaker: Mutex<Breaker>,
    /// Wakes the watch: something failed.
    doubt: Notify,
    turns: Semaphore,
    wrong_schema: Mutex<Option<Reason>>,
}

impl Cql {
    /// Connects, checks the schema, prepares every statement, and sees that conditional updates work. A database that
    /// does not answer well yet is asked again for half a minute; one that cannot be reached at all is not.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: &Options) -> Result<Self, OpenError> {
        let session = connect(options).await?;
        let began = tokio::time::Instant::now();
        let statements = loop {
            match prepared(&session, &options.keyspace).await {
                Ok(statements) => break statements,
                Err(error @ OpenError::Schema { .. }) => return Err(error),
                Err(error) if began.elapsed() >= OPEN_PATIENCE => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the database does not answer well yet");
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
            }
        };
        let inner = Arc::new(Inner {
            session,
            statements,
            keyspace: options.keyspace.clone(),
            breaker: Mutex::default(),
            doubt: Notify::new(),
            turns: Semaphore::new(options.saves_in_flight_max),
            wrong_schema: Mutex::default(),
        });
        // Also makes what a database makes only at a table's first conditional update, such as ScyllaDB's Paxos table.
        for kind in Kind::ALL {
            while let Err(failed) = inner.probe(kind).await {
                if began.elapsed() >= OPEN_PATIENCE {
                    return Err(OpenError::Probe(failed.reason));
                }
                tokio::time::sleep(OPEN_PAUSE).await;
            }
        }
        let watch = tokio::spawn(watch::run(Arc::downgrade(&inner)));
        Ok(Self { inner, watch })
    }
}

async fn prepared(session: &Session, keyspace: &str) -> Result<Statements, OpenError> {
    let status = migrate::status(session, keyspace).await?;
    if !status.is_usable() {
        return Err(OpenError::Schema { keyspace: keyspace.to_owned(), status });
    }
    Ok(Statements::prepare(session, keyspace).await?)
}

impl Drop for Cql {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl fmt::Debug for Cql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cql").field("keyspace", &self.inner.keyspace).finish_non_exhaustive()
    }
}

/// Every change under these locks is complete before they are given back: a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn partition(name: &[u8]) -> Vec<u8> {
    [&[PARTITION_PREFIX], name].concat()
}

impl Inner {
    fn succeeded(&self) {
        if lock(&self.breaker).succeeded() {
            tracing::info!("the database answers again: saves are taken");
            metrics().store_writes_refused.set(0);
        }
    }

    fn failed(&self, reason: &Reason) {
        if lock(&self.breaker).failed(reason, clock::mono_ms()) {
            tracing::error!(%reason, "the database does not answer: saves are refused until it does");
            metrics().store_breaker_opened_total.inc();
            metrics().store_writes_refused.set(1);
        }
        self.doubt.notify_one();
    }

    fn refusal(&self) -> Option<Reason> {
        lock(&self.breaker).refusal().cloned()
    }

    /// What a conditional update's end says to the breaker.
    fn updated<T>(&self, result: Result<T, ExecutionError>) -> Result<T, Failed> {
        if result.is_ok() {
            self.succeeded();
        }
        self.asked(result)
    }

    /// What any other request's end says to the breaker: that it failed. Reads may work where updates do not.
    fn asked<T>(&self, result: Result<T, ExecutionError>) -> Result<T, Failed> {
        result.map_err(|error| {
            let (verdict, reason) = (verdict(&error), Reason::of(error));
            if verdict.outage {
                self.failed(&reason);
            }
            Failed { reason, not_applied: verdict.not_applied }
        })
    }

    /// A conditional update that never applies.
    async fn probe(&self, kind: Kind) -> Result<(), Failed> {
        // Anywhere: no one part of the ring speaks for all of it, and no real row is in the way.
        let nowhere = Uuid::from_u128(clock::random());
        let probing = self.session.execute_unpaged(&self.statements.of(kind).probe, (nowhere,)).await;
        self.updated(probing).map(drop)
    }

    async fn load(&self, kind: Kind, id: u128, serial: bool) -> Result<Option<Row>, Reason> {
        let statements = self.statements.of(kind);
        let statement = if serial { &statements.load_serial } else { &statements.load };
        let loading = self.session.execute_unpaged(statement, (Uuid::from_u128(id),));
        let result = match self.refusal() {
            None => loading.await,
            Some(reason) => tokio::time::timeout(DOUBTFUL_LOAD_TIMEOUT, loading).await.map_err(|_| reason)?,
        };
        let row = loaded(self.asked(result)?)?;
        Ok(row.filter(|row| !row.is_expired(clock::now())))
    }

    async fn save(&self, kind: Kind, id: u128, expect: Expect, row: Row, marks: Vec<IndexEntry>) -> Saved {
        if let Err(reason) = check_row(expect, &row).and_then(|()| check_entries(&marks)) {
            return Saved::Refused(reason);
        }
        if let Some(reason) = self.refusal() {
            return Saved::Refused(reason);
        }
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_WAIT_MAX, self.turns.acquire()).await else {
            return Saved::Refused(Reason::new("too many saves wait for the database"));
        };
        if let Some(reason) = self.refusal() {
            return Saved::Refused(reason);
        }
        // First, and for itself: a mark without its row is superfluous, a row without its mark would never wake.
        if !marks.is_empty()
            && let Err(reason) = self.put(marks).await
        {
            return Saved::Refused(reason);
        }
        let expected = match expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(version),
        };
        match self.update(kind, id, expected, &row).await {
            Ok(Answer::Applied) => Saved::Applied,
            Ok(Answer::Lost(Some(head))) if expect != Expect::Absent => Saved::Lost(Some(head)),
            Ok(Answer::Lost(_)) => self.lost(kind, id, expect, &row).await,
            Err(saved) => saved,
        }
    }

    async fn update(&self, kind: Kind, id: u128, expected: Option<u64>, row: &Row) -> Result<Answer, Saved> {
        let values = save_values(id, expected, row, remaining_ttl_s(row));
        self.updated_row(self.session.execute_unpaged(&self.statements.of(kind).save, values).await)
    }

    fn updated_row(&self, result: Result<QueryResult, ExecutionError>) -> Result<Answer, Saved> {
        match self.updated(result) {
            // An answer that cannot be read may be one of success.
            Ok(result) => answered(result).map_err(Saved::Unknown),
            Err(failed) if failed.not_applied => Err(Saved::Refused(failed.reason)),
            Err(failed) => Err(Saved::Unknown(failed.reason)),
        }
    }

    /// Finds the head that a save lost to, where its answer did not tell. A row past its time and not yet forgotten is as
    /// good as absent: a first save takes its place.
    async fn lost(&self, kind: Kind, id: u128, expect: Expect, row: &Row) -> Saved {
        for _ in 0..EXPIRING_ATTEMPTS_MAX {
            let loading = self.session.execute_unpaged(&self.statements.of(kind).load_serial, (Uuid::from_u128(id),));
            let found = match self.asked(loading.await).map_err(Reason::from).and_then(loaded) {
                Ok(found) => found,
                // This attempt was not applied; but without the head nobody can say which one was.
                Err(reason) => return Saved::Unknown(reason),
            };
            let answer = match (expect, found) {
                (Expect::Absent, Some(old)) if old.is_expired(clock::now()) => {
                    let values = replace_values(id, &old, row, remaining_ttl_s(row));
                    let replacing = self.session.execute_unpaged(&self.statements.of(kind).replace, values).await;
                    self.updated_row(replacing)
                }
                // It was forgotten in between.
                (Expect::Absent, None) => self.update(kind, id, None, row).await,
                (_, found) => return Saved::Lost(found.as_ref().map(Row::head)),
            };
            match answer {
                Ok(Answer::Applied) => return Saved::Applied,
                Ok(Answer::Lost(_)) => {} // forgotten, or replaced by somebody else
                Err(saved) => return saved,
            }
        }
        Saved::Unknown(Reason::new("the row's predecessor kept changing"))
    }

    /// Plain writes, all or some of them done on an error.
    async fn put(&self, entries: Vec<IndexEntry>) -> Result<(), Reason> {
        let put = |entry: IndexEntry| async move {
            let values = (partition(&entry.partition), &*entry.key, &*entry.value);
            self.asked(self.session.execute_unpaged(&self.statements.index_put, values).await).map(drop)
        };
        iter(entries).map(put).buffer_unordered(PUTS_IN_FLIGHT_MAX).try_collect::<()>().await.map_err(Reason::from)
    }

    async fn delete(&self, name: &[u8], keys: Vec<Box<[u8]>>) -> Result<(), Reason> {
        for keys in keys.chunks(DELETE_KEYS_MAX) {
            let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
            let deleting = self.session.execute_unpaged(&self.statements.index_delete, (partition(name), keys)).await;
            self.asked(deleting)?;
        }
        Ok(())
    }

    async fn index(
        &self,
        name: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> Result<Vec<IndexEntry>, Reason> {
        let limit = i32::try_from(limit.min(SCAN_MAX)).unwrap_or(i32::MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (part, from) = (partition(&name), &*from);
        let scanning = match &until {
            None => self.session.execute_unpaged(&self.statements.index_scan, (part, from, limit)).await,
            Some(until) => {
                let values = (part, from, &**until, limit);
                self.session.execute_unpaged(&self.statements.index_scan_until, values).await
            }
        };
        let rows = self.asked(scanning)?.into_rows_result().map_err(Reason::of)?;
        let entry = |found: Result<(&[u8], &[u8]), _>| {
            let (key, value) = found.map_err(Reason::of)?;
            Ok(IndexEntry { partition: name.clone(), key: key.into(), value: value.into() })
        };
        rows.rows::<(&[u8], &[u8])>().map_err(Reason::of)?.map(entry).collect()
    }

    async fn scan(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> Result<RowPage, Reason> {
        let limit = limit.clamp(1, SCAN_MAX);
        let now = clock::now();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut state = PagingState::start();
        loop {
            let frame = self.frame(self.statements.of(kind), cursor, state).await?;
            for (id, row) in scanned(frame.0)? {
                // The next page begins with this row, and not after the one before: rows whose hashes are the same
                // come in one order or the other, and none may be passed over.
                if rows.len() == limit || bytes >= SCAN_BYTES_MAX {
                    return Ok(RowPage { rows, next: Some(id) });
                }
                if !row.is_expired(now) {
                    bytes += row.body.len();
                    rows.push((id, own(row)));
                }
            }
            match frame.1 {
                Some(next) => state = next,
                None => return Ok(RowPage { rows, next: None }),
            }
        }
    }

    /// One frame of a scan, and where the next one continues.
    async fn frame(
        &self,
        statements: &statements::OfKind,
        cursor: Option<u128>,
        state: PagingState,
    ) -> Result<(QueryResult, Option<PagingState>), Reason> {
        let asked: (&PreparedStatement, Vec<Uuid>) = match cursor {
            None => (&statements.scan, vec![]),
            Some(id) => (&statements.scan_from, vec![Uuid::from_u128(id)]),
        };
        let asking = self.session.execute_single_page(asked.0, asked.1, state).await;
        let (result, state) = self.asked(asking)?;
        let next = match state.into_paging_control_flow() {
            std::ops::ControlFlow::Continue(next) => Some(next),
            std::ops::ControlFlow::Break(()) => None,
        };
        Ok((result, next))
    }
}

/// A body of its own: the driver's shares the memory of the whole frame.
fn own(row: Row) -> Row {
    Row { body: Bytes::copy_from_slice(&row.body), ..row }
}

/// Seconds until the database may forget the row; 0 = never. A row past its time already is forgotten in a second.
fn remaining_ttl_s(row: &Row) -> i32 {
    let Some(ttl_s) = row.ttl_s else { return 0 };
    let age_s = clock::now().since_ms(crate::domain::UnixMillis(row.updated_at_ms)) / 1000;
    i32::try_from(u64::from(ttl_s).saturating_sub(age_s).max(1)).unwrap_or(0)
}

impl Store for Cql {
    fn load(&self, kind: Kind, id: u128, serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        let inner = Arc::clone(&self.inner);
        async move { Ok(inner.load(kind, id, serial).await?.map(own)) }.boxed()
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        let inner = Arc::clone(&self.inner);
        // Whoever drops the future leaves the save running, as the contract says.
        let saving = tokio::spawn(async move { inner.save(kind, id, expect, row, marks).await });
        saving.map(|ended| ended.unwrap_or_else(|error| Saved::Unknown(Reason::of(error)))).boxed()
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        if let Err(reason) = check_entries(&entries) {
            return ready(Err(reason)).boxed();
        }
        let inner = Arc::clone(&self.inner);
        async move { inner.put(entries).await }.boxed()
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.delete(&partition, keys).await }.boxed()
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.index(partition, from, until, limit).await }.boxed()
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.scan(kind, cursor, limit).await }.boxed()
    }

    fn health(&self) -> Health {
        Health {
            writes_refused: self.inner.refusal(),
            wrong_schema: lock(&self.inner.wrong_schema).clone(),
            disk_bytes: None,
        }
    }
}
