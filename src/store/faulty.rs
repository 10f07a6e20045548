//! A store that fails on purpose: any store behind a plan that says what becomes of each call.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, Saved, Store};

/// What kind of call the plan is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Store::load`].
    Load,
    /// [`Store::save`].
    Save,
    /// [`Store::index_put`] and [`Store::index_delete`].
    IndexWrite,
    /// [`Store::index_scan`] and [`Store::scan_rows`].
    Scan,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It goes through.
    None,
    /// It goes through after a while.
    Delay(Duration),
    /// It is refused: certainly not applied. A read fails.
    Refuse,
    /// It never reaches the store, and the caller cannot know. A read fails.
    Lose,
    /// It is applied, and the caller cannot know. A read fails.
    ApplyThenFail,
    /// The caller cannot know; it is applied when [`Faulty::release`] is called. A read fails.
    ApplyLater,
}

/// Says what becomes of each call, in the order of the calls.
pub type Plan = Box<dyn FnMut(Call) -> Fault + Send>;

/// Any store, with faults. Clones share the plan and the writes held back.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Arc<Mutex<Plan>>,
    held: Arc<Mutex<VecDeque<BoxFuture<'static, ()>>>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .field("held", &lock(&self.held).len())
            .finish_non_exhaustive()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn injected() -> Reason {
    Reason::new("injected fault")
}

impl Faulty {
    /// `inner` behind `plan`.
    pub fn new(inner: Arc<dyn Store>, plan: impl FnMut(Call) -> Fault + Send + 'static) -> Self {
        Self { inner, plan: Arc::new(Mutex::new(Box::new(plan))), held: Arc::default() }
    }

    /// `inner`, whose first saves meet `faults` one by one; every other call goes through.
    pub fn scripted(inner: Arc<dyn Store>, faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut faults: VecDeque<Fault> = faults.into_iter().collect();
        Self::new(inner, move |call| match call {
            Call::Save => faults.pop_front().unwrap_or(Fault::None),
            _ => Fault::None,
        })
    }

    /// Applies the writes held back, in the order in which they were made; answers how many they were.
    pub async fn release(&self) -> usize {
        let held = std::mem::take(&mut *lock(&self.held));
        let count = held.len();
        for write in held {
            write.await;
        }
        count
    }

    fn fault(&self, call: Call) -> Fault {
        (lock(&self.plan))(call)
    }

    /// A write under the plan; `unknown` and `refused` make the caller's answer.
    fn write<T: Send + 'static>(
        &self,
        call: Call,
        write: BoxFuture<'static, T>,
        unknown: fn(Reason) -> T,
        refused: fn(Reason) -> T,
    ) -> BoxFuture<'static, T> {
        let store = self.clone();
        Box::pin(async move {
            match store.fault(call) {
                Fault::None => write.await,
                Fault::Delay(time) => {
                    tokio::time::sleep(time).await;
                    write.await
                }
                Fault::Refuse => refused(injected()),
                Fault::Lose => unknown(injected()),
                Fault::ApplyThenFail => {
                    write.await;
                    unknown(injected())
                }
                Fault::ApplyLater => {
                    lock(&store.held).push_back(Box::pin(async move {
                        write.await;
                    }));
                    unknown(injected())
                }
            }
        })
    }

    fn read<T: Send + 'static>(
        &self,
        call: Call,
        read: BoxFuture<'static, Result<T, Reason>>,
    ) -> BoxFuture<'static, Result<T, Reason>> {
        let store = self.clone();
        Box::pin(async move {
            match store.fault(call) {
                Fault::None => read.await,
                Fault::Delay(time) => {
                    tokio::time::sleep(time).await;
                    read.await
                }
                Fault::Refuse | Fault::Lose | Fault::ApplyThenFail | Fault::ApplyLater => Err(injected()),
            }
        })
    }
}

impl Store for Faulty {
    fn load(&self, kind: Kind, id: u128, serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        self.read(Call::Load, self.inner.load(kind, id, serial))
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        self.write(Call::Save, self.inner.save(kind, id, expect, row, marks), Saved::Unknown, Saved::Refused)
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        self.write(Call::IndexWrite, self.inner.index_put(entries), Err, Err)
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        self.write(Call::IndexWrite, self.inner.index_delete(partition, keys), Err, Err)
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        self.read(Call::Scan, self.inner.index_scan(partition, from, until, limit))
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        self.read(Call::Scan, self.inner.scan_rows(kind, cursor, limit))
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}
