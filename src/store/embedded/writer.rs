//! The thread that writes: takes all that waits, checks versions, commits one synced batch, then answers.
//!
//! A commit that fails poisons fjall's database, and may or may not have reached the disk. From then on the writer
//! refuses, and tries now and then to make the database anew: it copies the journals (see `files`), closes,
//! reopens. Until that works, reads are served from the old database, whose memory holds only what was synced.

use std::{
    collections::BTreeMap,
    io::Error as IoError,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use fjall::PersistMode;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Shared,
    files::{Directory, Tree},
    layout::{self, ROW_KEY_BYTES},
};
use crate::{
    domain::UnixMillis,
    store::{Expect, Head, Reason, Saved},
    telemetry::{clock, metrics::metrics},
};

/// Jobs in one batch: enough to share one sync among everyone who waits, few enough that the first is not kept
/// waiting by the work for the last.
const BATCH_JOBS_MAX: usize = 1024;
/// Bytes in one batch: what a slow disk syncs within tens of milliseconds.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pause between attempts to recover, at first and at most: each copies the journals, up to some 128 MiB.
const RECOVERY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECOVERY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Write buffers of one keyspace that may wait for their flush. fjall stops at four, in a loop that never
/// ends if its flushing thread has failed: stop before, and look whether it has.
const SEALED_MEMTABLES_MAX: usize = 2;
/// Tables on the first level at which saves wait for compaction; as above, fjall stops for good at 30.
const FIRST_LEVEL_TABLES_MAX: usize = 20;
/// Pause between looks whether flush or compaction has caught up.
const BACKPRESSURE_PAUSE: Duration = Duration::from_millis(5);
/// How long free space once seen is good enough: less than a fast disk needs to fill what is kept free.
const SPACE_AGE_MAX: Duration = Duration::from_millis(200);
/// How long a measurement of the disk's use stays good enough.
const DISK_BYTES_AGE_MAX: Duration = Duration::from_secs(10);

/// New values of index entries by stored key; `None` deletes.
pub(super) type IndexChanges = Vec<(Vec<u8>, Option<Vec<u8>>)>;
type RowKey = [u8; ROW_KEY_BYTES];

/// What the writer is asked.
pub(super) enum Message {
    Job(Job),
    Stop,
}

/// Work and its place in the queue, given back when the job is answered.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) place: OwnedSemaphorePermit,
}

/// One caller's writes, encoded by the caller: this thread is the one that cannot be had twice.
pub(super) enum Work {
    Save {
        key: RowKey,
        expect: Expect,
        head: Head,
        updated_at_ms: u64,
        value: Vec<u8>,
        marks: IndexChanges,
        done: oneshot::Sender<Saved>,
    },
    Index {
        changes: IndexChanges,
        done: oneshot::Sender<Result<(), Reason>>,
    },
    /// Deletes those rows that are expired.
    Purge {
        keys: Vec<RowKey>,
    },
}

impl Work {
    pub(super) fn bytes(&self) -> usize {
        let changes_bytes = |changes: &IndexChanges| -> usize {
            changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
        };
        match self {
            Self::Save { value, marks, .. } => value.len() + changes_bytes(marks),
            Self::Index { changes, .. } => changes_bytes(changes),
            Self::Purge { keys } => keys.len() * ROW_KEY_BYTES,
        }
    }
}

/// How a batch's commit failed.
enum Failure {
    /// Nothing of it was written, nor will be.
    NotWritten(Reason),
    /// Some or all of it may have reached the disk.
    MaybeWritten(Reason),
}

/// Why writes are refused, and when to try again.
struct Refusing {
    reason: Reason,
    /// Whether the database has failed and must be made anew; else there only was no room.
    broken: bool,
    retry_at: Instant,
    pause: Duration,
}

pub(super) struct Writer {
    directory: Directory,
    shared: Arc<Shared>,
    queue: Receiver<Message>,
    refusing: Option<Refusing>,
    space_at: Option<Instant>,
    disk_bytes_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(directory: Directory, shared: Arc<Shared>, queue: Receiver<Message>) -> Self {
        let mut writer = Self { directory, shared, queue, refusing: None, space_at: None, disk_bytes_at: None };
        writer.publish_health();
        writer
    }

    /// Works until told to stop, then closes the database.
    pub(super) fn run(mut self) {
        while let Some(message) = self.next() {
            match message {
                Message::Stop => break,
                Message::Job(job) if self.refuses() => self.refuse(job),
                Message::Job(job) => {
                    let (jobs, stop) = self.gather(job);
                    self.write(jobs);
                    if stop {
                        break;
                    }
                }
            }
        }
        *self.shared.tree.blocking_write() = None;
    }

    /// The next message; meanwhile recovers when its time has come.
    fn next(&mut self) -> Option<Message> {
        loop {
            let Some(refusing) = &self.refusing else {
                return self.queue.recv().ok();
            };
            let wait = refusing.retry_at.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                match self.queue.recv_timeout(wait) {
                    Ok(message) => return Some(message),
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
            self.try_recovery();
        }
    }

    /// All that waits, up to a batch; and whether to stop after it.
    fn gather(&self, first: Job) -> (Vec<Job>, bool) {
        let mut bytes = first.work.bytes();
        let mut jobs = vec![first];
        while jobs.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
            match self.queue.try_recv() {
                Ok(Message::Job(job)) => {
                    bytes += job.work.bytes();
                    jobs.push(job);
                }
                Ok(Message::Stop) => return (jobs, true),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        (jobs, false)
    }

    fn write(&mut self, jobs: Vec<Job>) {
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        metrics().store_batch_writes.observe(jobs.len() as f64);
        let shared = self.shared.clone();
        let tree = shared.tree.blocking_read();
        let result = match tree.as_ref() {
            Some(tree) => write_batch(tree, jobs),
            // Unreachable: the writer refuses while the database is closed.
            None => Err(Reason::new("the database is closed")),
        };
        drop(tree);
        match result {
            Ok(()) => self.publish_health(),
            Err(reason) => self.start_refusing(reason, true),
        }
    }

    /// Whether writes are refused now; starts to refuse when the disk has become too full.
    fn refuses(&mut self) -> bool {
        if self.refusing.is_none() && self.space_at.is_none_or(|at| at.elapsed() > SPACE_AGE_MAX) {
            self.space_at = Some(Instant::now());
            if let Err(reason) = self.directory.check_space() {
                self.start_refusing(reason, false);
            }
        }
        self.refusing.is_some()
    }

    fn start_refusing(&mut self, reason: Reason, broken: bool) {
        tracing::error!(%reason, "the store refuses writes until the disk is well again; reads go on");
        metrics().store_writes_refused.set(1);
        let retry_at = Instant::now() + RECOVERY_PAUSE_MIN;
        self.refusing = Some(Refusing { reason, broken, retry_at, pause: RECOVERY_PAUSE_MIN });
        self.publish_health();
    }

    fn refuse(&self, job: Job) {
        let Some(Refusing { reason, .. }) = &self.refusing else { return };
        match job.work {
            Work::Save { done, .. } => {
                let _ = done.send(Saved::Refused(reason.clone()));
            }
            Work::Index { done, .. } => {
                let _ = done.send(Err(reason.clone()));
            }
            Work::Purge { .. } => {}
        }
    }

    fn try_recovery(&mut self) {
        let Some(refusing) = &self.refusing else { return };
        match self.recover(refusing.broken) {
            Ok(()) => {
                self.refusing = None;
                metrics().store_writes_refused.set(0);
                tracing::info!("the store takes writes again");
            }
            Err(reason) => {
                tracing::debug!(%reason, "the store cannot take writes yet");
                let pause = (refusing.pause * 2).min(RECOVERY_PAUSE_MAX);
                let (reason, broken) = (refusing.reason.clone(), refusing.broken);
                self.refusing = Some(Refusing { reason, broken, retry_at: Instant::now() + pause, pause });
            }
        }
        self.publish_health();
    }

    /// Waits for room, and makes a broken database anew from what is certainly on disk.
    fn recover(&self, broken: bool) -> Result<(), Reason> {
        self.directory.check_space()?;
        if !broken {
            return Ok(());
        }
        // While this fails, the old database still serves reads.
        self.directory.copy_journals().map_err(Reason::of)?;
        let mut tree = self.shared.tree.blocking_write();
        *tree = None;
        self.directory.adopt_journals().map_err(Reason::of)?;
        *tree = Some(self.directory.open().map_err(Reason::of)?);
        Ok(())
    }

    fn publish_health(&mut self) {
        let mut health = self.shared.health();
        health.writes_refused = self.refusing.as_ref().map(|refusing| refusing.reason.clone());
        if self.disk_bytes_at.is_none_or(|at| at.elapsed() > DISK_BYTES_AGE_MAX)
            && let Ok(bytes) = self.directory.disk_bytes()
        {
            health.disk_bytes = Some(bytes);
            metrics().store_disk_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.disk_bytes_at = Some(Instant::now());
        }
    }
}

/// Writes and answers a batch. `Err` = writes must stop, everyone in the batch has been told.
fn write_batch(tree: &Tree, jobs: Vec<Job>) -> Result<(), Reason> {
    let mut batch = Batch::default();
    // Places are given back when everyone is answered.
    let (decided, _places): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| (batch.decide(tree, job.work), job.place)).unzip();
    let result = batch.commit(tree);
    for decided in decided {
        match decided {
            Decided::Save(done, saved) => {
                // An answer that the batch did not change may rest on another save of the batch: it falls with it.
                let _ = done.send(match &result {
                    Ok(()) => saved,
                    Err(Failure::NotWritten(reason)) => Saved::Refused(reason.clone()),
                    Err(Failure::MaybeWritten(reason)) => Saved::Unknown(reason.clone()),
                });
            }
            Decided::Index(done) => {
                let _ = done.send(match &result {
                    Ok(()) => Ok(()),
                    Err(Failure::NotWritten(reason) | Failure::MaybeWritten(reason)) => Err(reason.clone()),
                });
            }
            Decided::Nobody => {}
        }
    }
    result.map_err(|(Failure::NotWritten(reason) | Failure::MaybeWritten(reason))| reason)
}

/// Who is to be told what once the batch is on disk.
enum Decided {
    Save(oneshot::Sender<Saved>, Saved),
    Index(oneshot::Sender<Result<(), Reason>>),
    Nobody,
}

/// A row as it will be after the batch.
struct PendingRow {
    head: Option<Head>,
    /// What to write; `None` = delete.
    value: Option<Vec<u8>>,
}

/// The changes of one commit: the last one of each key.
#[derive(Default)]
struct Batch {
    rows: BTreeMap<RowKey, PendingRow>,
    index: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    fn decide(&mut self, tree: &Tree, work: Work) -> Decided {
        match work {
            Work::Save { key, expect, head, updated_at_ms, value, marks, done } => {
                let now = clock::now().max(UnixMillis(updated_at_ms));
                let found = match self.head(tree, key, now) {
                    Ok(found) => found,
                    Err(reason) => return Decided::Save(done, Saved::Refused(reason)),
                };
                if !expect.holds(found) {
                    return Decided::Save(done, Saved::Lost(found));
                }
                self.index.extend(marks);
                self.rows.insert(key, PendingRow { head: Some(head), value: Some(value) });
                Decided::Save(done, Saved::Applied)
            }
            Work::Index { changes, done } => {
                self.index.extend(changes);
                Decided::Index(done)
            }
            Work::Purge { keys } => {
                let now = clock::now();
                for key in keys {
                    // Whoever saved the row meanwhile has made it live again.
                    if !self.rows.contains_key(&key) && matches!(self.head(tree, key, now), Ok(None)) {
                        self.rows.insert(key, PendingRow { head: None, value: None });
                    }
                }
                Decided::Nobody
            }
        }
    }

    /// The row's head before this work, `None` also when the row is expired.
    fn head(&self, tree: &Tree, key: RowKey, now: UnixMillis) -> Result<Option<Head>, Reason> {
        if let Some(pending) = self.rows.get(&key) {
            return Ok(pending.head);
        }
        let Some(value) = tree.rows.get(key).map_err(Reason::of)? else {
            return Ok(None);
        };
        let row = layout::decode_header(&value).map_err(Reason::of)?;
        Ok((!row.is_expired(now)).then(|| row.head()))
    }

    fn commit(self, tree: &Tree) -> Result<(), Failure> {
        if self.rows.is_empty() && self.index.is_empty() {
            return Ok(());
        }
        wait_for_background(tree)?;
        let mut writes = tree.db.batch().durability(Some(PersistMode::SyncData));
        // Index first: readers of the database's memory see the changes of a batch one by one, in this order.
        for (key, value) in self.index {
            match value {
                Some(value) => writes.insert(&tree.index, key, value),
                None => writes.remove(&tree.index, key),
            }
        }
        for (key, row) in self.rows {
            match row.value {
                Some(value) => writes.insert(&tree.rows, key, value),
                None => writes.remove(&tree.rows, key),
            }
        }
        writes.commit().map_err(failure)
    }
}

/// Waits until fjall's own backpressure, which cannot be interrupted, has no reason to set in.
fn wait_for_background(tree: &Tree) -> Result<(), Failure> {
    let behind = |keyspace: &fjall::Keyspace| {
        keyspace.sealed_memtable_count() > SEALED_MEMTABLES_MAX || keyspace.l0_table_count() > FIRST_LEVEL_TABLES_MAX
    };
    while behind(&tree.rows) || behind(&tree.index) {
        // Fails when a background thread has; else there is nothing to do for it.
        tree.db.persist(PersistMode::Buffer).map_err(failure)?;
        thread::park_timeout(BACKPRESSURE_PAUSE);
    }
    Ok(())
}

fn failure(error: fjall::Error) -> Failure {
    match error {
        // fjall looks at this before it writes anything.
        fjall::Error::Poisoned => Failure::NotWritten(Reason::new("an earlier write to the disk failed")),
        fjall::Error::Io(error) => Failure::MaybeWritten(io_reason(&error)),
        other => Failure::MaybeWritten(Reason::of(other)),
    }
}

fn io_reason(error: &IoError) -> Reason {
    Reason::new(match error.kind() {
        std::io::ErrorKind::StorageFull => "the disk is full: make room, the store recovers by itself".to_owned(),
        _ => format!("writing to the disk failed: {error}"),
    })
}
