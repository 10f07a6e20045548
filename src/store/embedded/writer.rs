//! The one thread that writes: takes everything that waits, checks versions, writes one batch, syncs once, answers all.

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fjall::PersistMode;
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{Shared, Tables, layout};
use crate::{
    store::{Expect, Head, IndexEntry, Kind, Reason, Row, Saved},
    telemetry::{clock, metrics::metrics},
};

/// Most jobs that share one sync.
const BATCH_JOBS_MAX: usize = 1024;
/// Most bytes of rows in one batch: keeps a sync short.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often the disk's free space is looked at while writes go on.
const SPACE_CHECK_EVERY: Duration = Duration::from_millis(200);
/// How often a refusing store tries whether the disk takes writes again.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// What the probe writes and syncs.
const PROBE_BYTES: usize = 64 * 1024;

/// Something to write, and whom to tell.
pub(super) enum Job {
    Save {
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
        reply: oneshot::Sender<Saved>,
    },
    Put {
        entries: Vec<IndexEntry>,
        reply: oneshot::Sender<Result<(), Reason>>,
    },
    Delete {
        partition: Box<[u8]>,
        keys: Vec<Box<[u8]>>,
        reply: oneshot::Sender<Result<(), Reason>>,
    },
    /// Deletes rows that are still past their time when their turn comes.
    Purge {
        kind: Kind,
        ids: Vec<u128>,
        reply: oneshot::Sender<Result<(), Reason>>,
    },
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Save { row, .. } => row.body.len(),
            Self::Put { .. } | Self::Delete { .. } | Self::Purge { .. } => 0,
        }
    }

    /// Certainly not done. Who asked may have gone.
    fn refuse(self, reason: Reason) {
        match self {
            Self::Save { reply, .. } => drop(reply.send(Saved::Refused(reason))),
            Self::Put { reply, .. } | Self::Delete { reply, .. } | Self::Purge { reply, .. } => {
                drop(reply.send(Err(reason)));
            }
        }
    }
}

/// An answer that leaves once the batch is synced.
enum Answer {
    Saved(oneshot::Sender<Saved>, Saved),
    Done(oneshot::Sender<Result<(), Reason>>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    space_checked: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { shared, jobs, space_checked: None }
    }

    /// Writes until every handle is gone, then gives the directory back.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let batch = self.gather(first);
            let Some(tables) = self.shared.tables() else {
                self.refuse(batch, Reason::new("the store is being opened anew"));
                continue;
            };
            if let Some(reason) = self.short_of_space() {
                self.refuse(batch, reason.clone());
                self.recover(reason, false);
                continue;
            }
            if let Err(reason) = self.write(&tables, batch) {
                drop(tables);
                self.recover(reason, true);
            }
        }
        if let Ok(mut tables) = self.shared.tables.write() {
            *tables = None;
        }
    }

    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(job) => {
                    bytes += job.bytes();
                    batch.push(job);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        batch
    }

    fn refuse(&self, batch: Vec<Job>, reason: Reason) {
        batch.into_iter().for_each(|job| job.refuse(reason.clone()));
    }

    /// Writes and syncs one batch, then answers. An error means that nothing more can be written as it is.
    fn write(&self, tables: &Tables, jobs: Vec<Job>) -> Result<(), Reason> {
        let mut batch = tables.database.batch().durability(Some(PersistMode::SyncData));
        // Heads of rows that earlier jobs of this batch change.
        let mut heads: HashMap<(Kind, u128), Option<Head>> = HashMap::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Save { kind, id, expect, row, marks, reply } => {
                    let head = match heads.get(&(kind, id)) {
                        Some(head) => *head,
                        None => match tables.row(kind, id) {
                            Ok(row) => row.map(|row| row.head()),
                            Err(error) => {
                                let reason = Reason::new(format!("reading failed: {error}"));
                                answers.push(Answer::Saved(reply, Saved::Refused(reason)));
                                continue;
                            }
                        },
                    };
                    if !expect.holds(head) {
                        // Told after the sync too: the head may be of this very batch.
                        answers.push(Answer::Saved(reply, Saved::Lost(head)));
                        continue;
                    }
                    for entry in marks {
                        batch.insert(&tables.index, layout::index_key(&entry.partition, &entry.key), &*entry.value);
                    }
                    heads.insert((kind, id), Some(row.head()));
                    batch.insert(&tables.rows, layout::row_key(kind, id), layout::write_row(&row));
                    answers.push(Answer::Saved(reply, Saved::Applied));
                }
                Job::Put { entries, reply } => {
                    for entry in entries {
                        batch.insert(&tables.index, layout::index_key(&entry.partition, &entry.key), &*entry.value);
                    }
                    answers.push(Answer::Done(reply));
                }
                Job::Delete { partition, keys, reply } => {
                    for key in keys {
                        batch.remove(&tables.index, layout::index_key(&partition, &key));
                    }
                    answers.push(Answer::Done(reply));
                }
                Job::Purge { kind, ids, reply } => {
                    self.purge(tables, kind, &ids, &heads, &mut batch);
                    answers.push(Answer::Done(reply));
                }
            }
        }
        metrics().store_batch_writes.observe(batch.len() as f64);
        let committed = batch.commit();
        if let Err(error) = committed {
            let reason = Reason::new(format!("writing failed: {error}"));
            for answer in answers {
                answer.unknown(&reason);
            }
            return Err(reason);
        }
        answers.into_iter().for_each(Answer::send);
        Ok(())
    }

    fn purge(
        &self,
        tables: &Tables,
        kind: Kind,
        ids: &[u128],
        heads: &HashMap<(Kind, u128), Option<Head>>,
        batch: &mut fjall::OwnedWriteBatch,
    ) {
        let now = clock::now();
        for id in ids {
            let key = layout::row_key(kind, *id);
            // An id is never used again, but a row that was saved anew meanwhile is not past its time.
            let stored = tables.rows.get(key).ok().flatten().and_then(|value| layout::read_row(&value));
            if !heads.contains_key(&(kind, *id)) && stored.is_some_and(|row| row.is_expired(now)) {
                batch.remove(&tables.rows, key);
            }
        }
    }

    fn short_of_space(&mut self) -> Option<Reason> {
        if self.space_checked.is_some_and(|checked| checked.elapsed() < SPACE_CHECK_EVERY) {
            return None;
        }
        self.space_checked = Some(Instant::now());
        if let Some(tables) = self.shared.tables() {
            let bytes = tables.database.disk_space().unwrap_or(0);
            self.shared.disk_bytes.store(bytes, Ordering::Relaxed);
            metrics().store_disk_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        self.lacks_space()
    }

    fn lacks_space(&self) -> Option<Reason> {
        let options = &self.shared.options;
        // A file system that cannot tell has no bound to keep.
        let disk = rustix::fs::statvfs(&options.dir).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        (free < options.free_bytes_min)
            .then(|| Reason::new(format!("the disk is full: {free} bytes free, {} wanted", options.free_bytes_min)))
    }

    /// Refuses writes until the disk takes them again. `broken`: fjall itself failed and must be opened anew.
    fn recover(&mut self, reason: Reason, broken: bool) {
        tracing::error!(%reason, "the store refuses writes; reads go on");
        self.set_refusing(Some(reason));
        while !self.probe() || (broken && !self.reopen()) {
            // Whoever came in before the refusal was seen, or comes in now.
            let until = Instant::now() + PROBE_EVERY;
            while Instant::now() < until {
                match self.jobs.try_recv() {
                    Ok(job) => {
                        let reason = self.shared.refusing().unwrap_or_else(|| Reason::new("the store refuses writes"));
                        job.refuse(reason);
                    }
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => std::thread::park_timeout(Duration::from_millis(10)),
                }
            }
        }
        self.set_refusing(None);
        tracing::info!("the store takes writes again");
    }

    /// Whether the disk takes and syncs a small file now.
    fn probe(&self) -> bool {
        if self.lacks_space().is_some() {
            return false;
        }
        let path = self.shared.options.dir.join("probe");
        let written = std::fs::File::create(&path).and_then(|mut file| {
            file.write_all(&[0x5a; PROBE_BYTES])?;
            file.sync_all()
        });
        drop(std::fs::remove_file(&path)); // left behind, it is overwritten by the next probe
        written.is_ok()
    }

    /// Opens the directory anew and makes sure that what its journal held is on the disk.
    fn reopen(&self) -> bool {
        let Ok(mut tables) = self.shared.tables.write() else { return false };
        if let Some(old) = tables.take() {
            drop(old);
        }
        match Tables::open(&self.shared.options) {
            Ok(new) => {
                let sound = new.rewrite_journaled();
                *tables = Some(new);
                if let Err(error) = &sound {
                    tracing::error!(%error, "the store was opened anew but does not take writes yet");
                }
                sound.is_ok()
            }
            Err(error) => {
                tracing::error!(%error, "the store could not be opened anew yet");
                false
            }
        }
    }

    fn set_refusing(&self, reason: Option<Reason>) {
        metrics().store_writes_refused.set(i64::from(reason.is_some()));
        if let Ok(mut refusing) = self.shared.refusing.write() {
            *refusing = reason;
        }
    }
}

impl Answer {
    /// Who asked may have gone.
    fn send(self) {
        match self {
            Self::Saved(reply, saved) => drop(reply.send(saved)),
            Self::Done(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// The batch may be in the journal or not, and may be found there later.
    fn unknown(self, reason: &Reason) {
        match self {
            Self::Saved(reply, Saved::Refused(reason)) => drop(reply.send(Saved::Refused(reason))),
            // A loser's head may be of the batch that failed: it is told nothing that could vanish.
            Self::Saved(reply, _) => drop(reply.send(Saved::Unknown(reason.clone()))),
            Self::Done(reply) => drop(reply.send(Err(reason.clone()))),
        }
    }
}
