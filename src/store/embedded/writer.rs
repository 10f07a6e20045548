//! The thread that writes: takes all that waits, checks versions, commits one synced batch, then answers.
//!
//! A commit that fails poisons fjall's database, and may or may not have reached the disk. From then on the writer
//! refuses, and tries now and then to make the database anew: it copies the journals (see `files`), closes,
//! reopens. Until that works, reads are served from the old database, whose memory holds only what was synced.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Shared, batch, files::Directory, layout::ROW_KEY_BYTES};
use crate::{
    store::{Expect, Head, Reason, Saved},
    telemetry::metrics::metrics,
};

/// Jobs in one batch: enough to share one sync among everyone who waits, few enough that the first is not kept
/// waiting by the work for the last.
const BATCH_JOBS_MAX: usize = 1024;
/// Bytes in one batch: what a slow disk syncs within tens of milliseconds.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A batch that follows one of at least so many jobs waits a little for as many again: those who were just answered
/// are about to come back, and a sync costs the same for all of them. One lonely writer never waits.
const COMPANY_JOBS_MIN: usize = 8;
/// How long it waits for company: a fraction of what a sync takes.
const COMPANY_WAIT: Duration = Duration::from_micros(500);
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
    /// Jobs in the batch before.
    jobs_before: usize,
    refusing: Option<Refusing>,
    space_at: Option<Instant>,
    disk_bytes_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(directory: Directory, shared: Arc<Shared>, queue: Receiver<Message>) -> Self {
        let mut writer =
            Self { directory, shared, queue, jobs_before: 0, refusing: None, space_at: None, disk_bytes_at: None };
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
    fn gather(&mut self, first: Job) -> (Vec<Job>, bool) {
        let mut bytes = first.work.bytes();
        let mut jobs = vec![first];
        let company = if self.jobs_before >= COMPANY_JOBS_MIN { self.jobs_before } else { 0 };
        let until = Instant::now() + COMPANY_WAIT;
        while jobs.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
            let next = match self.queue.try_recv() {
                Err(TryRecvError::Empty) if jobs.len() < company => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.queue.recv_timeout(left).map_err(|_| TryRecvError::Empty)
                }
                other => other,
            };
            match next {
                Ok(Message::Job(job)) => {
                    bytes += job.work.bytes();
                    jobs.push(job);
                }
                Ok(Message::Stop) => {
                    self.jobs_before = jobs.len();
                    return (jobs, true);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.jobs_before = jobs.len();
        (jobs, false)
    }

    fn write(&mut self, jobs: Vec<Job>) {
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        metrics().store_batch_writes.observe(jobs.len() as f64);
        let shared = self.shared.clone();
        let tree = shared.tree.blocking_read();
        let result = match tree.as_ref() {
            Some(tree) => batch::write(tree, jobs),
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
