//! The store of a single machine: fjall, with one thread that writes.
//!
//! Saves queue for the writer, which takes all that wait, checks their versions, and commits them as one synced batch
//! (`writer`). Reads go to the database directly. A disk that fails or is full makes the store refuse writes
//! until the database has been reopened; reads go on.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{RwLock, Semaphore, oneshot},
};

use self::{
    files::{Directory, Tree},
    queue::Queue,
    writer::{Job, Work, Writer},
};
use super::{
    Done, Expect, Haste, Health, IndexEntry, Kind, Reason, Row, RowPage, SCAN_BYTES_MAX, SCAN_MAX, Save, Saved, Store,
    check_entries, check_row,
};
use crate::telemetry::clock;

mod batch;
mod files;
mod layout;
mod memtables;
mod queue;
mod writer;

/// Jobs that may wait for the writer, the batch that it works on included: four full batches, less than a second's
/// work on a slow disk.
const QUEUE_JOBS_MAX: usize = 4096;
/// Bytes of the queue that one job of ordinary size takes; larger jobs take several jobs' places, so the queue is also
/// bounded at 16 MiB.
const QUEUE_PLACE_BYTES: usize = 4096;
/// How long a write waits for a place in the queue: past it, whoever asked has better things to do.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Reads at a time: enough to keep a fast disk busy, and few threads, each of which costs memory.
const READS_MAX: usize = 16;
/// How long a read, and a write once queued, waits: a disk that takes longer than this hangs. Such a write's outcome is
/// unknown.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; created when absent.
    pub dir: PathBuf,
    /// Bytes of table blocks kept in memory. Rows are read once and then live in their actors, so the kernel's own
    /// cache is enough; this one spares the checks of blocks read again.
    pub cache_bytes: u64,
    /// Free bytes on the disk below which writes are refused: a refusal is certain, a write into a full disk is not.
    pub free_bytes_min: u64,
}

impl Options {
    /// The defaults for a directory: a few tens of MiB of memory in all.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), cache_bytes: 4 * 1024 * 1024, free_bytes_min: 64 * 1024 * 1024 }
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(
        "another process has the data directory {} open: stop it, or give this one a directory of its own", dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("cannot use the data directory {}: check that it is writable and its disk has room", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The database in the directory cannot be opened.
    #[error(
        "cannot open the database in {}: check that it has room and that no newer release wrote it, \
         else restore a backup", dir.display()
    )]
    Database {
        /// The directory.
        dir: PathBuf,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A store in a directory of this machine. Dropping it waits until the last batch is written and the directory is free.
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    dir: PathBuf,
}

/// What callers and the writer share.
struct Shared {
    /// `None` while the writer reopens the database; readers wait for the lock meanwhile.
    tree: Arc<RwLock<Option<Tree>>>,
    health: Mutex<Health>,
    queue: Queue,
    places: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Embedded {
    /// Opens or creates the store in a directory. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When another process has the directory open, or the directory or the database in it cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let dir = options.dir.clone();
        let io_failed = |source| OpenError::Io { dir: dir.clone(), source };
        let directory = Directory::lock(options)?;
        // The process before may have died after a failed sync.
        if directory.has_database().map_err(io_failed)? {
            directory.copy_journals().and_then(|()| directory.adopt_journals()).map_err(io_failed)?;
        }
        let tree = directory.open().map_err(|source| match source {
            fjall::Error::Io(source) => io_failed(source),
            fjall::Error::Locked => OpenError::Locked { dir: dir.clone() },
            other => OpenError::Database { dir: dir.clone(), source: Box::new(other) },
        })?;
        let shared = Arc::new(Shared {
            tree: Arc::new(RwLock::new(Some(tree))),
            health: Mutex::default(),
            queue: Queue::default(),
            places: Arc::new(Semaphore::new(QUEUE_JOBS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        });
        let writer = Writer::new(directory, shared.clone(), Handle::current());
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(io_failed)?;
        Ok(Self { shared, writer: Some(writer), dir })
    }

    /// Reads on a thread of its own. A row in the kernel's cache takes 5 µs and the way to the thread and back four times
    /// that; but a row that is not there takes as long as the disk pleases, and when it hangs, the threads that answer
    /// health probes must not hang with it. Actors keep what they read, so loads are rare.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared, &Tree) -> Result<T, Reason> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Reason>> {
        let shared = self.shared.clone();
        let done = async move {
            let place = shared.reads.clone().acquire_owned().await;
            let tree = shared.tree.clone().read_owned().await;
            let done = tokio::task::spawn_blocking(move || {
                let _place = place;
                let tree = tree.as_ref().ok_or_else(|| {
                    Reason::new("the database is closed after a failure of the disk; it is being reopened")
                })?;
                read(&shared, tree)
            });
            done.await.unwrap_or_else(|_| Err(Reason::new("the read did not end")))
        };
        Box::pin(async move { tokio::time::timeout(ANSWER_WAIT_MAX, done).await.unwrap_or_else(|_| Err(hangs())) })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // fails only when the writer has panicked, and then there is nothing to wait for
        }
    }
}

fn hangs() -> Reason {
    Reason::new("the disk does not answer")
}

impl Shared {
    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writes are refused now.
    fn check_writes(&self) -> Result<(), Reason> {
        self.health().writes_refused.clone().map_or(Ok(()), Err)
    }

    /// Queues work, after a wait for a place in the queue; or refuses it.
    async fn submit(&self, work: Work) {
        let places = self.places.clone().acquire_many_owned(places(&work));
        match (self.check_writes(), tokio::time::timeout(QUEUE_WAIT_MAX, places).await) {
            (Ok(()), Ok(Ok(place))) => self.queue.push(Job { work, place }),
            (Err(reason), _) => work.refuse(&reason),
            (Ok(()), _) => work.refuse(&Reason::new("too many writes wait for the disk")),
        }
    }

    /// Queues expired rows for deletion if there is a place now; the next sweep meets those again that had none.
    fn purge(&self, keys: Vec<[u8; layout::ROW_KEY_BYTES]>) {
        let work = Work::Purge { keys };
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            self.queue.push(Job { work, place });
        }
    }
}

/// Places in the queue that a job takes.
fn places(work: &Work) -> u32 {
    u32::try_from(work.bytes().div_ceil(QUEUE_PLACE_BYTES).clamp(1, QUEUE_JOBS_MAX)).unwrap_or(u32::MAX)
}

/// Waits for the writer's answer. `Err` = it may be done, or may still be.
async fn answer<T>(receiver: oneshot::Receiver<T>) -> Result<T, Reason> {
    match tokio::time::timeout(ANSWER_WAIT_MAX, receiver).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Reason::new("the store's writer stopped")),
        Err(_) => Err(hangs()),
    }
}

/// Changes of the index, queued and awaited.
async fn change_index(shared: Arc<Shared>, changes: writer::IndexChanges, haste: Haste) -> Result<(), Reason> {
    let (done, receiver) = oneshot::channel();
    shared.submit(Work::Index { changes, haste, done }).await;
    answer(receiver).await?
}

impl Store for Embedded {
    fn load(&self, kind: Kind, id: u128, _serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        self.read(move |_, tree| {
            let Some(value) = tree.rows.get(layout::row_key(kind, id)).map_err(Reason::of)? else {
                return Ok(None);
            };
            let row = layout::decode_row(&value).map_err(Reason::of)?;
            Ok(Some(row).filter(|row| !row.is_expired(clock::now())))
        })
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        let (sender, receiver) = oneshot::channel();
        let done = Done::new(move |saved| {
            let _ = sender.send(saved); // nobody waits any more
        });
        self.save_then(Save { kind, id, expect, row, marks, haste: Haste::Urgent }, done);
        Box::pin(async move { answer(receiver).await.unwrap_or_else(Saved::Unknown) })
    }

    fn save_then(&self, save: Save, done: Done) {
        let Save { kind, id, expect, row, marks, haste } = save;
        let checked = check_row(expect, &row).and_then(|()| check_entries(&marks));
        if let Err(reason) = checked.and_then(|()| self.shared.check_writes()) {
            return done.tell(Saved::Refused(reason));
        }
        let (key, head, updated_at_ms) = (layout::row_key(kind, id), row.head(), row.updated_at_ms);
        let (value, marks) = (layout::encode_row(&row), puts(marks));
        let work = Work::Save { key, expect, head, updated_at_ms, value, marks, haste, done };
        match self.shared.places.clone().try_acquire_many_owned(places(&work)) {
            Ok(place) => self.shared.queue.push(Job { work, place }),
            Err(_) => {
                let shared = self.shared.clone();
                tokio::spawn(async move { shared.submit(work).await });
            }
        }
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            check_entries(&entries)?;
            change_index(shared, puts(entries), Haste::Urgent).await
        })
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let changes = keys.iter().map(|key| (layout::index_key(&partition, key), None)).collect();
            change_index(shared, changes, Haste::Patient).await
        })
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        self.read(move |_, tree| {
            let range = layout::index_range(&partition, &from, until.as_deref());
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let entries = tree.index.range(range).take(limit.min(SCAN_MAX));
            entries
                .map(|entry| {
                    let (key, value) = entry.into_inner().map_err(Reason::of)?;
                    let key = layout::entry_key(&partition, &key);
                    Ok(IndexEntry { partition: partition.clone(), key, value: (&*value).into() })
                })
                .collect()
        })
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        self.read(move |shared, tree| {
            let now = clock::now();
            let range = layout::row_key(kind, cursor.unwrap_or(0))..=layout::row_key(kind, u128::MAX);
            let mut page = RowPage { rows: Vec::new(), next: None };
            let mut bytes = 0;
            let mut expired = Vec::new();
            for entry in tree.rows.range(range) {
                let (key, value) = entry.into_inner().map_err(Reason::of)?;
                let id = layout::row_id(&key).map_err(Reason::of)?;
                if page.rows.len() + expired.len() == limit.clamp(1, SCAN_MAX) || bytes >= SCAN_BYTES_MAX {
                    page.next = Some(id);
                    break;
                }
                bytes += value.len();
                let row = layout::decode_row(&value).map_err(Reason::of)?;
                if row.is_expired(now) {
                    expired.push(layout::row_key(kind, id));
                } else {
                    page.rows.push((id, row));
                }
            }
            if !expired.is_empty() {
                shared.purge(expired);
            }
            Ok(page)
        })
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn health(&self) -> Health {
        let mut health = self.shared.health().clone();
        if self.writer.as_ref().is_some_and(JoinHandle::is_finished) {
            health.writes_refused = Some(Reason::new("the store's writer stopped: restart the process"));
        }
        health
    }
}

/// Entries as the writer takes them.
fn puts(entries: Vec<IndexEntry>) -> writer::IndexChanges {
    entries
        .into_iter()
        .map(|entry| (layout::index_key(&entry.partition, &entry.key), Some(entry.value.into_vec())))
        .collect()
}
