//! The side that has the store: takes connections, performs what they ask, answers when it is done.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    stream::{self, Frames},
    wire::{self, ANSWER_BYTES_MAX, Answer, GREETING, REQUEST_BYTES_MAX, Request},
};
use crate::store::{Done, ROW_BYTES_MAX, Reason, Store};

/// Connections at once: far more than a local cluster has nodes and tools. More wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;
/// Requests of a connection that are worked on at once: three nodes together fill the embedded store's queue no more
/// than that takes without anyone waiting.
const REQUESTS_MAX: usize = 1024;
/// What those requests and their answers may weigh.
const WORK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of answers that may wait for a client to read them; until it does, nothing more is begun for it.
const ANSWERS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a client may take to say who it is; then its place is another's. Later it may be silent for as long as it
/// likes: a process that is gone takes its connection with it.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause after a connection that could not be taken, mostly for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket at `path` that only this user can reach, in a directory that only this user can enter, made when absent. A
/// socket that a dead process left behind is removed.
///
/// # Errors
/// When another process listens there, something else lies there, or the directory is open to others.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if std::fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        let why = format!("others can enter {}: give the socket a directory of mode 0700", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let why = format!("{} is there and is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
            Ok(_) => {
                let why = format!("another process serves a store at {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves a store until it is dropped; then every connection is closed. Saves that the store already has go on.
///
/// `slow_ms` milliseconds are let pass before each request is performed: what a developer turns to see a slow store.
pub async fn serve(listener: UnixListener, store: Arc<dyn Store>, slow_ms: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        let has_place = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if has_place => match accepted {
                Ok((stream, _)) => {
                    let (store, slow_ms) = (store.clone(), slow_ms.clone());
                    connections.spawn(connection(stream, store, slow_ms));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the store could not be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(stream: UnixStream, store: Arc<dyn Store>, slow_ms: Arc<AtomicU64>) {
    let (reading, writing) = stream.into_split();
    let answers = Arc::new(Answers::default());
    let mut writer = JoinSet::new();
    writer.spawn({
        let answers = answers.clone();
        async move {
            let take = |empty: &mut Vec<u8>| std::mem::swap(&mut answers.open().outgoing, empty);
            stream::write_all(writing, &answers.ready, take, || answers.room.notify_one()).await
        }
    });
    let session = Session { store, slow_ms, answers: answers.clone() };
    let ended = tokio::select! {
        ended = session.read(reading) => ended,
        Some(ended) = writer.join_next() => Err(ended.unwrap_or_else(io::Error::other)),
    };
    answers.open().is_closed = true;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the store has ended");
    }
}

/// Answers that wait to be sent, and how many are owed.
#[derive(Debug, Default)]
struct Answers {
    open: Mutex<Open>,
    /// Told when an answer waits where none did.
    ready: Notify,
    /// Told after each write: there may be room for another request.
    room: Notify,
}

#[derive(Debug, Default)]
struct Open {
    outgoing: Vec<u8>,
    requests: usize,
    work_bytes: usize,
    is_closed: bool,
}

impl Answers {
    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing that runs under the lock can panic half way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        let open = self.open();
        open.requests < REQUESTS_MAX && open.work_bytes < WORK_BYTES_MAX && open.outgoing.len() < ANSWERS_BYTES_MAX
    }

    fn owe(self: &Arc<Self>, id: u64, bytes: usize) -> Owed {
        let mut open = self.open();
        open.requests += 1;
        open.work_bytes += bytes;
        Owed { answers: self.clone(), id, bytes }
    }
}

/// An answer that a request will get.
struct Owed {
    answers: Arc<Answers>,
    id: u64,
    bytes: usize,
}

impl Owed {
    fn give(self, answer: &Answer) {
        let mut open = self.answers.open();
        open.requests -= 1;
        open.work_bytes -= self.bytes;
        if open.is_closed {
            return;
        }
        let was_empty = open.outgoing.is_empty();
        wire::put_answer(&mut open.outgoing, self.id, answer);
        drop(open);
        if was_empty {
            self.answers.ready.notify_one();
        }
    }

    fn give_or_fail<T>(self, result: Result<T, Reason>, answer: impl FnOnce(T) -> Answer) {
        self.give(&result.map_or_else(Answer::Failed, answer));
    }
}

/// What serves a connection's requests.
struct Session {
    store: Arc<dyn Store>,
    slow_ms: Arc<AtomicU64>,
    answers: Arc<Answers>,
}

impl Session {
    /// Reads requests and begins them. `Ok` = the client has closed.
    async fn read(&self, half: OwnedReadHalf) -> io::Result<()> {
        let mut frames = Frames::new(half, REQUEST_BYTES_MAX);
        if timeout(GREETING_WAIT_MAX, frames.greeting()).await?? != GREETING {
            return Err(io::Error::other("this is no client of this release"));
        }
        let mut working = FuturesUnordered::new();
        loop {
            let has_room = loop {
                if !self.answers.has_room() {
                    break false;
                }
                let Some(frame) = frames.next()? else { break true };
                let bytes = frame.len();
                let (id, request) = wire::request(frame)?;
                working.extend(self.begin(id, request, bytes));
            };
            tokio::select! {
                Some(()) = working.next(), if !working.is_empty() => {}
                () = self.answers.room.notified(), if !has_room => {}
                read = frames.read(), if has_room => if !read? { return Ok(()) },
            }
        }
    }

    /// Begins a request. What must be awaited to perform it is returned; a save without delay needs nothing.
    fn begin(&self, id: u64, request: Request, request_bytes: usize) -> Option<BoxFuture<'static, ()>> {
        let answer_bytes = match request {
            Request::Load { .. } => ROW_BYTES_MAX,
            Request::IndexScan { .. } | Request::ScanRows { .. } => ANSWER_BYTES_MAX,
            _ => 0,
        };
        let owed = self.answers.owe(id, request_bytes + answer_bytes);
        // A store that is slow says so by its answers; that it is there must be known even so.
        let slow_ms = if request == Request::Ping { 0 } else { self.slow_ms.load(Ordering::Relaxed) };
        match slow_ms {
            0 => perform(&*self.store, request, owed),
            slow_ms => {
                let store = self.store.clone();
                let later = async move {
                    sleep(Duration::from_millis(slow_ms)).await;
                    let performing = perform(&*store, request, owed);
                    drop(store);
                    if let Some(performing) = performing {
                        performing.await;
                    }
                };
                Some(later.boxed())
            }
        }
    }
}

fn perform(store: &dyn Store, request: Request, owed: Owed) -> Option<BoxFuture<'static, ()>> {
    Some(match request {
        Request::Ping => {
            owed.give(&Answer::Health(store.health()));
            return None;
        }
        Request::Save(save) => {
            store.save_then(save, Done::new(move |saved| owed.give(&Answer::Saved(saved))));
            return None;
        }
        Request::Load { kind, id, serial } => {
            let loading = store.load(kind, id, serial);
            async move { owed.give_or_fail(loading.await, Answer::Row) }.boxed()
        }
        Request::IndexPut { entries } => {
            let putting = store.index_put(entries);
            async move { owed.give_or_fail(putting.await, |()| Answer::Done) }.boxed()
        }
        Request::IndexDelete { partition, keys } => {
            let deleting = store.index_delete(partition, keys);
            async move { owed.give_or_fail(deleting.await, |()| Answer::Done) }.boxed()
        }
        Request::IndexScan { partition, from, until, limit } => {
            let scanning = store.index_scan(partition, from, until, limit);
            async move { owed.give_or_fail(scanning.await, Answer::Entries) }.boxed()
        }
        Request::ScanRows { kind, cursor, limit } => {
            let scanning = store.scan_rows(kind, cursor, limit);
            async move { owed.give_or_fail(scanning.await, Answer::Page) }.boxed()
        }
    })
}
