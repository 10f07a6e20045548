//! A store that another process of this machine serves over a Unix socket: how the nodes of a local cluster share one.
//!
//! Whoever opened the real store calls [`serve`]; each node opens a [`Remote`]. One connection carries any number of
//! requests, answered in any order. A caller encodes its request into what waits to be sent (`requests`), one task writes
//! all of that at once, another reads answers and tells whoever waits (`connection`): a save costs no task of its own.
//! A connection that is lost makes what was sent unknown, and is sought again.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::AbortHandle,
};

use self::{
    requests::{Requests, Waiting},
    wire::{Answer, Request},
};
use super::{
    Done, Expect, Haste, Health, IndexEntry, Kind, Reason, Row, RowPage, SCAN_MAX, Save, Saved, Store, check_entries,
    check_row,
};

pub use self::server::{bind, serve};

mod connection;
mod requests;
mod server;
mod stream;
mod wire;

/// How often the time of requests is looked at: a request may take this much longer than its timeout.
const TICK: Duration = Duration::from_millis(100);

/// How the store is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the first connection may take to open; the process that serves may still be starting.
    pub connect_timeout: Duration,
    /// How long a request may take; a save is then of unknown outcome.
    pub request_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), request_timeout: Duration::from_secs(3) }
    }
}

/// A store that another process serves. Dropping it closes the connection.
pub struct Remote {
    shared: Arc<Shared>,
    keeping: AbortHandle,
}

/// What callers and the connection's tasks share.
struct Shared {
    path: PathBuf,
    requests: Mutex<Requests>,
    /// Told when something waits to be sent where nothing did.
    ready: Notify,
    /// What the store last said of itself; `None` = nothing yet.
    health: watch::Sender<Option<Health>>,
}

impl Remote {
    /// Connects to the process that serves the store at `path`.
    ///
    /// # Errors
    /// Why the store does not answer within `options.connect_timeout`.
    pub async fn open(path: impl Into<PathBuf>, options: Options) -> Result<Self, Reason> {
        let timeout_ticks = options.request_timeout.as_millis().div_ceil(TICK.as_millis());
        let requests = Requests::new(
            u64::try_from(timeout_ticks).unwrap_or(u64::MAX >> 1) + 1, // one has begun already
            Reason::new("the store is not connected yet"),
        );
        let (health, mut seen) = watch::channel(None);
        let shared =
            Arc::new(Shared { path: path.into(), requests: Mutex::new(requests), ready: Notify::new(), health });
        let keeping = tokio::spawn(connection::keep(shared.clone())).abort_handle();
        let remote = Self { shared, keeping };
        match tokio::time::timeout(options.connect_timeout, seen.wait_for(Option::is_some)).await {
            Ok(Ok(_)) => Ok(remote),
            _ => Err(Reason::new(match remote.shared.requests().away() {
                Some(why) => format!("{why}; is the process that serves it running?"),
                None => format!("the store at {} does not answer", remote.shared.path.display()),
            })),
        }
    }

    /// Sends a request; `read` takes what was asked for out of its answer.
    fn ask<T: Send + 'static>(
        &self,
        request: &Request,
        read: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Reason>> {
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting::Other(sender);
        self.shared.send(waiting, |out, id| wire::put_request(out, id, request));
        Box::pin(async move {
            let answer = receiver.await.unwrap_or_else(|_| Err(Reason::new("the store was closed")))?;
            read(answer).ok_or_else(|| Reason::new("the store's answer was to another question"))
        })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        // Nothing that runs under the lock can panic half way.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request, or refuses it.
    fn send(&self, waiting: Waiting, put: impl FnOnce(&mut Vec<u8>, u64) -> Result<(), usize>) {
        let added = self.requests().add(waiting, put);
        match added {
            Ok(true) => self.ready.notify_one(),
            Ok(false) => {} // whoever writes comes for it anyway
            Err((waiting, reason)) => waiting.refuse(&reason),
        }
    }
}

impl Store for Remote {
    fn load(&self, kind: Kind, id: u128, serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        self.ask(&Request::Load { kind, id, serial }, |answer| match answer {
            Answer::Row(row) => Some(row),
            _ => None,
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
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Saved::Unknown(Reason::new("the store was closed"))) })
    }

    fn save_then(&self, save: Save, done: Done) {
        if let Err(reason) = check_row(save.expect, &save.row).and_then(|()| check_entries(&save.marks)) {
            return done.tell(Saved::Refused(reason));
        }
        self.shared.send(Waiting::Save(done), |out, request| wire::put_save(out, request, &save));
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        if let Err(reason) = check_entries(&entries) {
            return ready(Err(reason)).boxed();
        }
        self.ask(&Request::IndexPut { entries }, is_done)
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        self.ask(&Request::IndexDelete { partition, keys }, is_done)
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        let limit = limit.min(SCAN_MAX);
        self.ask(&Request::IndexScan { partition, from, until, limit }, |answer| match answer {
            Answer::Entries(entries) => Some(entries),
            _ => None,
        })
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        let limit = limit.min(SCAN_MAX);
        self.ask(&Request::ScanRows { kind, cursor, limit }, |answer| match answer {
            Answer::Page(page) => Some(page),
            _ => None,
        })
    }

    fn health(&self) -> Health {
        let mut health = self.shared.health.borrow().clone().unwrap_or_default();
        if let Some(reason) = self.shared.requests().away() {
            health.writes_refused = Some(reason.clone());
        }
        health
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it reads an answer as the others do")]
fn is_done(answer: Answer) -> Option<()> {
    (answer == Answer::Done).then_some(())
}
