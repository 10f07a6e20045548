//! The store in one directory of this machine, on fjall: for one node, and for development.
//!
//! ```text
//! save, put, delete ──► bounded queue ──► one writer thread ──► one batch, one fdatasync ──► answers
//! load, scan ─────────► blocking pool ──► fjall
//! ```
//!
//! **When the disk fails or is full**, writes are refused and reads go on. fjall takes no more writes once one of its
//! writes failed, and rightly so: what the page cache shows after a failed sync need not be on the disk. The writer
//! then waits until a probe file can be written and synced, opens the directory anew and rewrites what the journal held
//! into fresh, synced tables before it takes writes again; a save whose outcome was unknown is settled when it is sent
//! again.

mod layout;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, oneshot};

use self::writer::{Job, Writer};
use super::{Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, SCAN_MAX, Saved, Store, check_entries, check_row};
use crate::telemetry::clock;

/// Writes that wait for the writer: two batches, so that the next one is full when the present one is synced.
const QUEUE_MAX: usize = 2048;
/// How long a write waits for a place in the queue: longer than any healthy sync, shorter than a client's patience.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

/// How the embedded store uses the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; made when absent. One process at a time.
    pub dir: PathBuf,
    /// Blocks of tables kept in memory, in bytes.
    pub cache_bytes: u64,
    /// Fresh writes kept in memory before they become a table, in bytes. Small: a restart replays them.
    pub memtable_bytes: u64,
    /// Free bytes on the disk below which writes are refused, so that fjall itself never meets a full disk.
    pub free_bytes_min: u64,
}

impl Options {
    /// The defaults, in this directory: about 24 MiB of memory in all.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cache_bytes: 8 * 1024 * 1024,
            memtable_bytes: 8 * 1024 * 1024,
            free_bytes_min: 64 * 1024 * 1024,
        }
    }
}

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{dir} is in use by another process: stop that one, or give this one its own store.data_dir")]
    Locked {
        /// The directory.
        dir: String,
    },
    /// It cannot be made or read.
    #[error("{dir} cannot be opened: {why}")]
    Failed {
        /// The directory.
        dir: String,
        /// What went wrong.
        why: String,
    },
}

/// The store in one directory. Clones share it; the directory is given back when the last one is dropped.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("dir", &self.shared.options.dir).finish_non_exhaustive()
    }
}

/// What readers and the writer share.
struct Shared {
    options: Options,
    /// `None` while the directory is opened anew.
    tables: RwLock<Option<Tables>>,
    /// Why writes are refused; `None` = they are taken.
    refusing: RwLock<Option<Reason>>,
    disk_bytes: AtomicU64,
}

#[derive(Clone)]
struct Tables {
    database: Database,
    rows: Keyspace,
    index: Keyspace,
}

impl Embedded {
    /// Opens the directory.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let tables = Tables::open(&options)?;
        let shared = Arc::new(Shared {
            disk_bytes: AtomicU64::new(tables.database.disk_space().unwrap_or(0)),
            options,
            tables: RwLock::new(Some(tables)),
            refusing: RwLock::new(None),
        });
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let writer = Writer::new(Arc::clone(&shared), jobs);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Failed { dir: shared.dir(), why: error.to_string() })?;
        Ok(Self { shared, queue })
    }

    async fn write<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job, refused: impl FnOnce(Reason) -> T) -> T {
        if let Some(reason) = self.shared.refusing() {
            return refused(reason);
        }
        let Ok(Ok(place)) = tokio::time::timeout(QUEUE_PATIENCE, self.queue.reserve()).await else {
            return refused(Reason::new("the store's queue of writes is full"));
        };
        let (reply, answer) = oneshot::channel();
        place.send(job(reply));
        // The writer answers every job, even one that it refuses; only its end drops the reply, before the job's turn.
        answer.await.unwrap_or_else(|_| refused(Reason::new("the store is closed")))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T, fjall::Error> + Send + 'static,
    ) -> Result<T, Reason> {
        let shared = Arc::clone(&self.shared);
        // A row that is not in memory is a disk read: never on a thread that serves others.
        let done = tokio::task::spawn_blocking(move || {
            let tables = shared.tables().ok_or_else(|| Reason::new("the store is being opened anew"))?;
            read(&tables).map_err(|error| Reason::new(format!("reading failed: {error}")))
        });
        done.await.unwrap_or_else(|error| Err(Reason::new(format!("reading failed: {error}"))))
    }
}

impl Shared {
    fn dir(&self) -> String {
        self.options.dir.display().to_string()
    }

    fn tables(&self) -> Option<Tables> {
        self.tables.read().ok()?.clone()
    }

    fn refusing(&self) -> Option<Reason> {
        self.refusing.read().ok()?.clone()
    }
}

impl Tables {
    fn open(options: &Options) -> Result<Self, OpenError> {
        let dir = || options.dir.display().to_string();
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => OpenError::Locked { dir: dir() },
            other => OpenError::Failed { dir: dir(), why: other.to_string() },
        };
        make_dir(&options.dir).map_err(|error| OpenError::Failed { dir: dir(), why: error.to_string() })?;
        let database = Database::builder(&options.dir)
            .cache_size(options.cache_bytes)
            .worker_threads(1)
            .max_journaling_size(64 * 1024 * 1024)
            .open()
            .map_err(failed)?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            let settings = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
            database.keyspace(name, settings).map_err(failed)
        };
        let (rows, index) = (keyspace("rows", options.memtable_bytes)?, keyspace("index", options.memtable_bytes / 4)?);
        // A process that was killed between writing and syncing leaves rows that only the page cache holds. They are
        // about to be read, and nothing may be told that could still vanish.
        database.persist(PersistMode::SyncAll).map_err(failed)?;
        Ok(Self { database, rows, index })
    }

    /// Writes everything that only the journal holds into fresh, synced tables: after a failed sync, a second sync of
    /// the same file proves nothing.
    fn rewrite_journaled(&self) -> Result<(), fjall::Error> {
        self.rows.rotate_memtable_and_wait()?;
        self.index.rotate_memtable_and_wait()
    }

    fn row(&self, kind: Kind, id: u128) -> Result<Option<Row>, fjall::Error> {
        let Some(value) = self.rows.get(layout::row_key(kind, id))? else { return Ok(None) };
        Ok(layout::read_row(&value).filter(|row| !row.is_expired(clock::now())))
    }
}

/// Makes the directory for its owner alone: it holds shoppers' data and the cluster's keys.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

impl Store for Embedded {
    fn load(&self, kind: Kind, id: u128, _serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        let this = self.clone();
        async move { this.read(move |tables| tables.row(kind, id)).await }.boxed()
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        let this = self.clone();
        async move {
            if let Err(reason) = check_row(expect, &row).and_then(|()| check_entries(&marks)) {
                return Saved::Refused(reason);
            }
            this.write(|reply| Job::Save { kind, id, expect, row, marks, reply }, Saved::Refused).await
        }
        .boxed()
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        let this = self.clone();
        async move {
            check_entries(&entries)?;
            this.write(|reply| Job::Put { entries, reply }, Err).await
        }
        .boxed()
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        let this = self.clone();
        async move { this.write(|reply| Job::Delete { partition, keys, reply }, Err).await }.boxed()
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        let this = self.clone();
        async move {
            this.read(move |tables| {
                let first = layout::index_key(&partition, &from);
                let last = match &until {
                    Some(until) => layout::index_key(&partition, until),
                    None => layout::partition_end(&partition),
                };
                let mut entries = Vec::new();
                for item in tables.index.range(first..last).take(limit.min(SCAN_MAX)) {
                    let (key, value) = item.into_inner()?;
                    if let Some((partition, key)) = layout::read_index_key(&key) {
                        let value = Box::from(&*value);
                        entries.push(IndexEntry { partition: partition.into(), key: key.into(), value });
                    }
                }
                Ok(entries)
            })
            .await
        }
        .boxed()
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        let this = self.clone();
        async move {
            this.read(move |tables| {
                let now = clock::now();
                let limit = limit.clamp(1, SCAN_MAX);
                let mut rows = Vec::new();
                let range = layout::row_key(kind, cursor.unwrap_or(0))..=layout::row_key(kind, u128::MAX);
                for item in tables.rows.range(range) {
                    let (key, value) = item.into_inner()?;
                    let (Some(id), Some(row)) = (layout::read_row_key(&key), layout::read_row(&value)) else {
                        continue;
                    };
                    if rows.len() == limit {
                        return Ok(RowPage { rows, next: Some(id) });
                    }
                    if !row.is_expired(now) {
                        rows.push((id, row));
                    }
                }
                Ok(RowPage { rows, next: None })
            })
            .await
        }
        .boxed()
    }

    fn purge_expired(
        &self,
        kind: Kind,
        cursor: Option<u128>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Option<u128>, Reason>> {
        let this = self.clone();
        async move {
            let (expired, next) = this
                .read(move |tables| {
                    let (now, mut expired) = (clock::now(), Vec::new());
                    let range = layout::row_key(kind, cursor.unwrap_or(0))..=layout::row_key(kind, u128::MAX);
                    for (looked, item) in tables.rows.range(range).enumerate() {
                        let (key, value) = item.into_inner()?;
                        let Some(id) = layout::read_row_key(&key) else { continue };
                        if looked == limit.clamp(1, SCAN_MAX) {
                            return Ok((expired, Some(id)));
                        }
                        if layout::read_row(&value).is_some_and(|row| row.is_expired(now)) {
                            expired.push(id);
                        }
                    }
                    Ok((expired, None))
                })
                .await?;
            if !expired.is_empty() {
                this.write(|reply| Job::Purge { kind, ids: expired, reply }, Err).await?;
            }
            Ok(next)
        }
        .boxed()
    }

    fn health(&self) -> Health {
        Health {
            writes_refused: self.shared.refusing(),
            disk_bytes: Some(self.shared.disk_bytes.load(Ordering::Relaxed)),
        }
    }
}
