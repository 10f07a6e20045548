//! The thread that writes: takes all that waits, checks versions, commits one synced batch, then has everyone answered.
//!
//! A commit that fails poisons fjall's database, and may or may not have reached the disk. From then on the writer
//! refuses, and tries now and then to make the database anew: it copies the journals (see `files`), closes,
//! reopens. Until that works, reads are served from the old database, whose memory holds only what was synced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
};

use super::{Shared, batch, files::Directory, layout::ROW_KEY_BYTES, memtables::Memtables, queue::Next};
use crate::{
    store::{Done, Expect, Haste, Head, Reason, Saved},
    telemetry::metrics::metrics,
};

/// Longest wait for company: a slow sync is not made much slower by it.
const COMPANY_WAIT_MAX: Duration = Duration::from_millis(4);
/// Pause between attempts to recover, at first and at most: each copies the journals, up to some 128 MiB.
const RECOVERY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECOVERY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long free space once seen is good enough: less than a fast disk needs to fill what is kept free.
const SPACE_AGE_MAX: Duration = Duration::from_millis(200);
/// How long a measurement of the disk's use stays good enough.
const DISK_BYTES_AGE_MAX: Duration = Duration::from_secs(10);

/// New values of index entries by stored key; `None` deletes.
pub(super) type IndexChanges = Vec<(Vec<u8>, Option<Vec<u8>>)>;
/// Stored key of a row.
pub(super) type RowKey = [u8; ROW_KEY_BYTES];

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
        haste: Haste,
        done: Done,
    },
    Index {
        changes: IndexChanges,
        haste: Haste,
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

    /// Whether anybody waits for it.
    pub(super) const fn haste(&self) -> Haste {
        match self {
            Self::Save { haste, .. } | Self::Index { haste, .. } => *haste,
            Self::Purge { .. } => Haste::Patient,
        }
    }

    /// Tells whoever asked that it is certainly not done.
    pub(super) fn refuse(self, reason: &Reason) {
        match self {
            Self::Save { done, .. } => done.tell(Saved::Refused(reason.clone())),
            Self::Index { done, .. } => {
                let _ = done.send(Err(reason.clone())); // nobody waits any more
            }
            Self::Purge { .. } => {}
        }
    }
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
    /// On which it answers.
    runtime: Handle,
    /// Urgent jobs in the batch before.
    urgent_before: usize,
    /// How long the last commit took, and the one before.
    commits_took: [Duration; 2],
    memtables: Memtables,
    refusing: Option<Refusing>,
    space_at: Option<Instant>,
    disk_bytes_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(directory: Directory, shared: Arc<Shared>, runtime: Handle) -> Self {
        let mut writer = Self {
            directory,
            shared,
            runtime,
            urgent_before: 0,
            commits_took: [Duration::ZERO; 2],
            memtables: Memtables::default(),
            refusing: None,
            space_at: None,
            disk_bytes_at: None,
        };
        writer.publish_health();
        writer
    }

    /// Works until the queue is closed and empty, then closes the database.
    pub(super) fn run(mut self) {
        loop {
            // Waiting twice as long as a commit takes can at most triple it, and spares whole ones: each sync that company
            // joins is one that it does not need for itself. One commit that stalled says nothing of the next.
            let [last, before] = self.commits_took;
            let company_wait = (last.min(before) * 2).min(COMPANY_WAIT_MAX);
            let patience = self.refusing.as_ref().map(|why| why.retry_at.saturating_duration_since(Instant::now()));
            match self.shared.queue.take(self.urgent_before, patience, company_wait) {
                Next::Closed => break,
                Next::Nothing => self.try_recovery(),
                Next::Batch(jobs) => match self.refusal() {
                    Some(reason) => {
                        jobs.into_iter().for_each(|job| job.work.refuse(&reason));
                        self.try_recovery();
                    }
                    None => {
                        self.urgent_before = jobs.iter().filter(|job| job.work.haste() == Haste::Urgent).count();
                        self.write(jobs);
                    }
                },
            }
        }
        *self.shared.tree.blocking_write() = None;
    }

    fn write(&mut self, jobs: Vec<Job>) {
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        metrics().store_batch_writes.observe(jobs.len() as f64);
        let began = Instant::now();
        let open = self.shared.tree.blocking_read();
        // There always is one: the writer refuses while the database is closed.
        let Some(tree) = open.as_ref() else { return };
        let ended = batch::write(tree, jobs);
        self.commits_took = [began.elapsed(), self.commits_took[0]];
        let failure = ended.failure();
        // From here each answer would wake a thread of the runtime; there, all but the first find theirs awake.
        self.runtime.spawn(async move { ended.tell() });
        let spent = self.memtables.turn_over(tree);
        if !spent.is_empty() {
            self.runtime.spawn_blocking(move || drop(spent));
        }
        drop(open);
        match failure {
            None => self.publish_health(),
            Some(reason) => self.start_refusing(reason, true),
        }
    }

    /// Why writes are refused now, if they are; starts to refuse when the disk has become too full.
    fn refusal(&mut self) -> Option<Reason> {
        if self.refusing.is_none() && self.space_at.is_none_or(|at| at.elapsed() > SPACE_AGE_MAX) {
            self.space_at = Some(Instant::now());
            if let Err(reason) = self.directory.check_space() {
                self.start_refusing(reason, false);
            }
        }
        self.refusing.as_ref().map(|why| why.reason.clone())
    }

    fn start_refusing(&mut self, reason: Reason, broken: bool) {
        tracing::error!(%reason, "the store refuses writes until the disk is well again; reads go on");
        metrics().store_writes_refused.set(1);
        let retry_at = Instant::now() + RECOVERY_PAUSE_MIN;
        if broken {
            self.memtables = Memtables::default(); // of a database that is about to be closed
        }
        self.refusing = Some(Refusing { reason, broken, retry_at, pause: RECOVERY_PAUSE_MIN });
        self.publish_health();
    }

    /// Recovers, if its time has come.
    fn try_recovery(&mut self) {
        let Some(refusing) = self.refusing.as_ref().filter(|why| why.retry_at <= Instant::now()) else { return };
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
