//! A store that misbehaves on demand: delays, refuses, loses, applies without saying so, applies much later.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::Notify;

use super::{Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, Saved, Store};

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing unusual.
    None,
    /// It takes this much longer.
    Delay(Duration),
    /// It is held until the gate is opened, then done.
    Hold(Arc<Notify>),
    /// Certainly not done: a save is refused, a load fails.
    Fail,
    /// A save's answer is unknown, and it is never done.
    Lose,
    /// A save is done, and its answer is lost.
    ApplyThenFail,
    /// A save's answer is unknown at once; it is done when the gate is opened.
    ApplyLater(Arc<Notify>),
}

/// A store with a script of faults: one for each save, one for each load, in order; past its end all goes well.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    saves: Arc<Mutex<VecDeque<Fault>>>,
    loads: Arc<Mutex<VecDeque<Fault>>>,
}

impl<S: Store + Clone> Faulty<S> {
    /// Wraps a store that so far does well.
    pub fn new(inner: S) -> Self {
        Self { inner, saves: Arc::default(), loads: Arc::default() }
    }

    /// Appends to what happens to the coming saves.
    pub fn on_saves(&self, faults: impl IntoIterator<Item = Fault>) {
        self.saves.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// Appends to what happens to the coming loads.
    pub fn on_loads(&self, faults: impl IntoIterator<Item = Fault>) {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// The store itself.
    pub const fn inner(&self) -> &S {
        &self.inner
    }
}

fn next(faults: &Mutex<VecDeque<Fault>>) -> Fault {
    faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Fault::None)
}

fn planned() -> Reason {
    Reason::new("a fault that a test asked for")
}

impl<S: Store + Clone> Store for Faulty<S> {
    fn load(&self, kind: Kind, id: u128, serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        let (fault, inner) = (next(&self.loads), self.inner.clone());
        async move {
            match fault {
                Fault::Delay(time) => tokio::time::sleep(time).await,
                Fault::Hold(gate) => gate.notified().await,
                Fault::Fail | Fault::Lose => return Err(planned()),
                Fault::None | Fault::ApplyThenFail | Fault::ApplyLater(_) => {}
            }
            inner.load(kind, id, serial).await
        }
        .boxed()
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        let (fault, inner) = (next(&self.saves), self.inner.clone());
        async move {
            let save = move || inner.save(kind, id, expect, row, marks);
            match fault {
                Fault::None => save().await,
                Fault::Delay(time) => {
                    tokio::time::sleep(time).await;
                    save().await
                }
                Fault::Hold(gate) => {
                    gate.notified().await;
                    save().await
                }
                Fault::Fail => Saved::Refused(planned()),
                Fault::Lose => Saved::Unknown(planned()),
                Fault::ApplyThenFail => {
                    save().await;
                    Saved::Unknown(planned())
                }
                Fault::ApplyLater(gate) => {
                    tokio::spawn(async move {
                        gate.notified().await;
                        save().await
                    });
                    Saved::Unknown(planned())
                }
            }
        }
        .boxed()
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        self.inner.index_put(entries)
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        self.inner.index_delete(partition, keys)
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        self.inner.index_scan(partition, from, until, limit)
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        self.inner.scan_rows(kind, cursor, limit)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}
