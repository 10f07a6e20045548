//! One batch: what each job of it comes to, its commit with one sync, and the answers.

use std::{collections::BTreeMap, io, thread, time::Duration};

use fjall::PersistMode;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    files::Tree,
    layout,
    writer::{Job, RowKey, Work},
};
use crate::{
    domain::UnixMillis,
    store::{Done, Head, Reason, Saved},
    telemetry::clock,
};

/// Write buffers of one keyspace that may wait for their flush. fjall stops at four, in a loop that never
/// ends if its flushing thread has failed: stop before, and look whether it has.
const SEALED_MEMTABLES_MAX: usize = 2;
/// Tables on the first level at which saves wait for compaction; as above, fjall stops for good at 30.
const FIRST_LEVEL_TABLES_MAX: usize = 20;
/// Pause between looks whether flush or compaction has caught up.
const BACKPRESSURE_PAUSE: Duration = Duration::from_millis(5);

/// How a batch's commit failed.
enum Failure {
    /// Nothing of it was written, nor will be.
    NotWritten(Reason),
    /// Some or all of it may have reached the disk.
    MaybeWritten(Reason),
}

/// What became of a batch, for everyone who has a job in it.
pub(super) struct Ended {
    decided: Vec<Decided>,
    committed: Result<(), Failure>,
    /// Given back when everyone is answered.
    _places: Vec<OwnedSemaphorePermit>,
}

/// Writes a batch.
pub(super) fn write(tree: &Tree, jobs: Vec<Job>) -> Ended {
    let mut batch = Batch::default();
    let (decided, places) = jobs.into_iter().map(|job| (batch.decide(tree, job.work), job.place)).unzip();
    Ended { decided, committed: batch.commit(tree), _places: places }
}

impl Ended {
    /// Why writes must stop, if they must.
    pub(super) fn failure(&self) -> Option<Reason> {
        match &self.committed {
            Ok(()) => None,
            Err(Failure::NotWritten(reason) | Failure::MaybeWritten(reason)) => Some(reason.clone()),
        }
    }

    /// Answers everyone.
    pub(super) fn tell(self) {
        for decided in self.decided {
            match decided {
                Decided::Save(done, saved) => {
                    // An answer that the batch did not change may rest on another save of the batch: it falls with it.
                    done.tell(match &self.committed {
                        Ok(()) => saved,
                        Err(Failure::NotWritten(reason)) => Saved::Refused(reason.clone()),
                        Err(Failure::MaybeWritten(reason)) => Saved::Unknown(reason.clone()),
                    });
                }
                Decided::Index(done) => {
                    let _ = done.send(match &self.committed {
                        Ok(()) => Ok(()),
                        Err(Failure::NotWritten(reason) | Failure::MaybeWritten(reason)) => Err(reason.clone()),
                    });
                }
                Decided::Nobody => {}
            }
        }
    }
}

/// Who is to be told what once the batch is on disk.
enum Decided {
    Save(Done, Saved),
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
            Work::Save { key, expect, head, updated_at_ms, value, marks, done, haste: _ } => {
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
            Work::Index { changes, done, haste: _ } => {
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

fn io_reason(error: &io::Error) -> Reason {
    Reason::new(match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full: make room, the store recovers by itself".to_owned(),
        _ => format!("writing to the disk failed: {error}"),
    })
}
