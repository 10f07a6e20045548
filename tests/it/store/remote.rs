//! What only a store behind a socket promises: what becomes of requests when the other side goes, and who disturbs whom.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use loadtest::{client::Connection, shop::Cart};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
    task::JoinHandle,
};
use trolley::store::{
    Expect, INDEX_KEY_BYTES_MAX, INDEX_VALUE_BYTES_MAX, IndexEntry, Kind, Memory, ROW_BYTES_MAX, Remote, Row, SCAN_MAX,
    Saved, Settled, Store, embedded, faulty::Fault, faulty::Faulty, remote, settle,
};

use super::contract::{entry, open, options, row};
use crate::support::{
    Server, TempDir,
    wait::{PATIENCE, until},
};

/// A store that is served, and where.
pub(super) struct Served {
    serving: JoinHandle<()>,
    store: Option<Arc<dyn Store>>,
    slow_ms: Arc<AtomicU64>,
    dir: TempDir,
    is_embedded: bool,
}

impl Served {
    pub(super) fn start(store: Arc<dyn Store>) -> Self {
        Self::new(store, TempDir::new("remote"), false)
    }

    /// Serves an embedded store of this directory.
    pub(super) fn start_in(store: Arc<dyn Store>, dir: TempDir) -> Self {
        Self::new(store, dir, true)
    }

    fn new(store: Arc<dyn Store>, dir: TempDir, is_embedded: bool) -> Self {
        let slow_ms = Arc::<AtomicU64>::default();
        let listener = remote::bind(&socket(&dir)).unwrap();
        let serving = tokio::spawn(remote::serve(listener, store.clone(), slow_ms.clone()));
        Self { serving, store: Some(store), slow_ms, dir, is_embedded }
    }

    pub(super) async fn open(&self) -> Remote {
        self.open_with(PATIENCE).await
    }

    async fn open_with(&self, request_timeout: Duration) -> Remote {
        let options = remote::Options { connect_timeout: PATIENCE, request_timeout };
        Remote::open(socket(&self.dir), options).await.unwrap()
    }

    /// Ends the serving side with every connection.
    async fn kill(&mut self) {
        self.serving.abort();
        until("it has ended", || async { self.serving.is_finished().then_some(()) }).await;
    }

    /// Another serving side in the place of the first; an embedded store is opened anew.
    pub(super) async fn restart(&mut self) {
        self.kill().await;
        if self.is_embedded {
            self.store = None;
            // Reads of the old one may still hold it.
            let open = || async { embedded::Embedded::open(options(&self.dir)).ok() };
            self.store = Some(Arc::new(until("the directory is free", open).await));
        }
        let listener = remote::bind(&socket(&self.dir)).unwrap();
        self.serving = tokio::spawn(remote::serve(listener, self.store.clone().unwrap(), self.slow_ms.clone()));
    }
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.0.join("private/store")
}

async fn save(store: &impl Store, id: u128, row: &Row) -> Saved {
    store.save(Kind::Cart, id, Expect::Absent, row.clone(), vec![]).await
}

/// P3: a save that was sent before the other side went is unknown, whether it was applied or not; the same one again
/// finds out.
#[tokio::test]
async fn a_save_whose_answer_was_lost_is_settled_by_the_same_save_again() {
    for was_applied in [true, false] {
        let (faulty, gate) = (Faulty::new(Memory::default()), Arc::new(Notify::new()));
        faulty.on_saves([Fault::Hold(gate.clone())]);
        faulty.on_loads([Fault::None]);
        let mut served = Served::start(Arc::new(faulty.clone()));
        let store = served.open().await;
        let first = row(1, 10);
        let mut saving = Box::pin(save(&store, 1, &first));
        assert!(futures_util::poll!(&mut saving).is_pending());
        // Answered in any order, but begun in theirs: the save before it has been received.
        assert_eq!(store.load(Kind::Cart, 1, true).await, Ok(None));
        served.kill().await;
        assert!(matches!(saving.await, Saved::Unknown(_)));
        if was_applied {
            gate.notify_one();
            let is_there = || async { faulty.inner().load(Kind::Cart, 1, true).await.unwrap() };
            until("the save lands", is_there).await;
        }
        served.restart().await;
        let again = until("the store is back", || async {
            Some(save(&store, 1, &first).await).filter(|saved| !matches!(saved, Saved::Refused(_)))
        });
        let expected = if was_applied { Saved::Lost(Some(first.head())) } else { Saved::Applied };
        assert_eq!(again.await, expected);
    }
}

/// P3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_saves_is_settled_after_the_store_was_killed_amid_them() {
    const SAVES: u128 = 2000;
    let dir = TempDir::new("store");
    let mut served = Served::start_in(Arc::new(open(&dir)), dir);
    let store: Arc<dyn Store> = Arc::new(served.open().await);
    let answered = Arc::new(Notify::new());
    let saving: Vec<_> = (0..SAVES)
        .map(|id| {
            let (store, answered, row) = (store.clone(), answered.clone(), row(1, id));
            tokio::spawn(async move {
                let saved = store.save(Kind::Cart, id, Expect::Absent, row.clone(), vec![]).await;
                answered.notify_one();
                (row, saved)
            })
        })
        .collect();
    answered.notified().await;
    served.restart().await;
    let ended: Vec<_> = join_all(saving).await.into_iter().map(Result::unwrap).collect();
    until("the store is back", || async { store.health().writes_refused.is_none().then_some(()) }).await;
    for (id, (row, saved)) in (0..).zip(ended) {
        let there = store.load(Kind::Cart, id, true).await.unwrap();
        match saved {
            Saved::Applied => assert_eq!(there, Some(row.clone()), "an acknowledged save was lost"),
            Saved::Refused(_) => assert_eq!(there, None, "a refused save was applied"),
            Saved::Unknown(_) => {}
            Saved::Lost(head) => panic!("nobody else saved it: {head:?}"),
        }
        assert_eq!(settle(&store, Kind::Cart, id, Expect::Absent, row.clone()).await, Ok(Settled::Applied));
        assert_eq!(store.load(Kind::Cart, id, true).await, Ok(Some(row)));
    }
}

#[tokio::test]
async fn while_the_store_is_away_saves_are_refused_and_it_is_found_again() {
    let mut served = Served::start(Arc::new(Memory::default()));
    let store = served.open().await;
    assert_eq!(store.health().writes_refused, None);
    served.kill().await;
    until("the loss is seen", || async { store.health().writes_refused }).await;
    assert!(matches!(save(&store, 1, &row(1, 10)).await, Saved::Refused(_)));
    assert!(store.load(Kind::Cart, 1, true).await.is_err());
    assert!(store.index_put(vec![entry(b"p", b"k", b"v")]).await.is_err());
    assert!(store.scan_rows(Kind::Cart, None, 1).await.is_err());
    served.restart().await;
    until("it is found", || async { store.health().writes_refused.is_none().then_some(()) }).await;
    assert_eq!(save(&store, 1, &row(1, 10)).await, Saved::Applied);
    assert!(!store.is_exclusive());
}

#[tokio::test]
async fn a_store_that_nobody_serves_is_not_opened() {
    let dir = TempDir::new("remote");
    let options = remote::Options { connect_timeout: Duration::from_millis(50), ..remote::Options::default() };
    let reason = Remote::open(socket(&dir), options).await.unwrap_err();
    assert!(reason.to_string().contains("private/store"), "{reason}");
}

#[tokio::test]
async fn a_slow_store_makes_saves_unknown_and_says_that_it_is_there() {
    let memory = Memory::default();
    let served = Served::start(Arc::new(memory.clone()));
    served.slow_ms.store(3_600_000, Ordering::Relaxed);
    let store = served.open_with(Duration::from_millis(200)).await;
    assert!(matches!(save(&store, 1, &row(1, 10)).await, Saved::Unknown(_)));
    assert!(store.load(Kind::Cart, 1, true).await.is_err());
    assert_eq!(memory.load(Kind::Cart, 1, true).await, Ok(None), "it was performed before its time");
    assert_eq!(store.health().writes_refused, None);
    served.slow_ms.store(1, Ordering::Relaxed);
    assert_eq!(save(&store, 1, &row(1, 10)).await, Saved::Applied);
    assert!(store.load(Kind::Cart, 1, true).await.unwrap().is_some());
}

/// A connection of a client that knows how to begin.
async fn greeted(served: &Served) -> UnixStream {
    let mut stream = UnixStream::connect(socket(&served.dir)).await.unwrap();
    stream.write_all(b"TrStore\x02").await.unwrap();
    stream
}

#[tokio::test]
async fn silent_and_babbling_clients_do_not_disturb_others() {
    let served = Served::start(Arc::new(Memory::default()));
    let store = served.open().await;
    let silent = UnixStream::connect(socket(&served.dir)).await.unwrap();
    let mut half = greeted(&served).await;
    half.write_all(&[0, 0, 0, 27, 1, 2]).await.unwrap();

    let too_long = [&u32::MAX.to_be_bytes()[..], &[0; 64]].concat();
    let unknown = [&9_u32.to_be_bytes()[..], &[0; 8], &[0xff]].concat();
    let torn = [&10_u32.to_be_bytes()[..], &[0; 8], &[2, 1]].concat();
    for bytes in [too_long, unknown, torn] {
        let mut stream = greeted(&served).await;
        stream.write_all(&bytes).await.unwrap();
        // Closed, perhaps with what it did not read.
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    }
    let mut stranger = UnixStream::connect(socket(&served.dir)).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(stranger.read(&mut [0; 8]).await, Ok(0) | Err(_)));

    assert_eq!(save(&store, 1, &row(1, 10)).await, Saved::Applied);
    drop((silent, half));
}

/// P9.
#[tokio::test]
async fn a_client_that_reads_no_answers_is_not_worked_for_without_end() {
    let served = Served::start(Arc::new(Memory::default()));
    let store = served.open().await;
    let large = Row { body: Bytes::from(vec![7; ROW_BYTES_MAX]), ..row(1, 10) };
    assert_eq!(save(&store, 1, &large).await, Saved::Applied);
    let mut greedy = greeted(&served).await;
    let asking = tokio::spawn(async move {
        let load = [&27_u32.to_be_bytes()[..], &[0; 8], &[1, Kind::Cart as u8], &1_u128.to_be_bytes(), &[0]].concat();
        greedy.write_all(&load.repeat(200_000)).await.unwrap();
    });
    for id in 2..300 {
        assert_eq!(save(&store, id, &row(1, id)).await, Saved::Applied);
    }
    assert!(!asking.is_finished(), "6 MB of requests were taken, for 50 GB of answers");
    asking.abort();
}

/// P9.
#[tokio::test]
async fn requests_beyond_their_bound_are_refused_and_the_largest_answers_come() {
    let served = Served::start(Arc::new(Memory::default()));
    let store = served.open().await;
    let largest = |at: usize| -> IndexEntry {
        let mut key = [0; INDEX_KEY_BYTES_MAX];
        key[..8].copy_from_slice(&at.to_be_bytes());
        entry(&[1; INDEX_KEY_BYTES_MAX], &key, &[2; INDEX_VALUE_BYTES_MAX])
    };
    let entries: Vec<_> = (0..SCAN_MAX).map(largest).collect();
    assert!(store.index_put([&entries[..], &entries[..]].concat()).await.is_err());
    assert!(matches!(
        store.save(Kind::Cart, 1, Expect::Absent, row(1, 1), [&entries[..], &entries[..]].concat()).await,
        Saved::Refused(_)
    ));
    assert_eq!(store.index_put(entries.clone()).await, Ok(()));
    assert_eq!(store.index_scan(entries[0].partition.clone(), [].into(), None, SCAN_MAX).await, Ok(entries));
}

#[tokio::test]
async fn the_socket_is_private_and_a_dead_ones_place_is_taken() {
    let dir = TempDir::new("remote");
    let path = socket(&dir);
    let listener = remote::bind(&path).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(remote::bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(path.exists());
    drop(remote::bind(&path).unwrap());

    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "not ours").unwrap();
    assert_eq!(remote::bind(&path).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(remote::bind(&path).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_carts_from_a_store_of_another_process() {
    let served = Served::start(Arc::new(Memory::default()));
    let start = || {
        let socket = format!("store.socket={}", socket(&served.dir).display());
        let adjust = |command: &mut std::process::Command| {
            command.args(["--set", "store.kind=remote", "--set", &socket]);
            command.args(["--set", "cluster.insecure=true", "--set", "cluster.listen=127.0.0.1:0"]);
        };
        tokio::task::block_in_place(|| Server::start_with(&served.dir.0, adjust))
    };
    let node = start();
    let mut connection = Connection::open(&node.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();
    node.kill();
    let node = start();
    let mut connection = Connection::open(&node.http).await.unwrap();
    assert_eq!(cart.read(&mut connection).await.unwrap().status, 200);
    assert!(tokio::task::block_in_place(|| node.stop()).contains("ready"));
}
