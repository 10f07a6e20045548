//! SIGKILL keeps the page cache and proves nothing about syncs. So a shim between the server and the C library holds
//! back `fdatasync` and fails it on command, and the test sees that no answer leaves.

use std::{path::PathBuf, time::Duration};

use loadtest::{client::Connection, shop::Cart};

use crate::support::{
    Server, TempDir,
    shim::{Shim, Trouble},
};

fn start(dir: &TempDir) -> (Server, Shim) {
    let data: PathBuf = dir.0.join("data");
    let shim = Shim::new(&data);
    let server = Server::start_with(&data, |command| {
        shim.preload(command);
    });
    (server, shim)
}

/// P1: while a sync is held back, its answer is; reads of what is committed go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_no_answer_leaves_while_the_sync_is_held_back() {
    let dir = TempDir::new("fsync");
    let (server, shim) = start(&dir);
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();

    shim.begin(Trouble::HoldSyncs);
    let add = cart.add("mug-blue", 1, None);
    let adding = tokio::spawn(async move { connection.exchange(&add).await });
    shim.met(Trouble::HoldSyncs).await;
    let mut other = Connection::open(&server.http).await.unwrap();
    let read = cart.read(&mut other).await.unwrap().json();
    assert_eq!(read["revision"], 1, "a read told what was not synced: {read}");
    assert!(!adding.is_finished(), "the answer left before the sync");
    shim.end(Trouble::HoldSyncs);
    assert_eq!(adding.await.unwrap().unwrap(), 200);
    let read = cart.read(&mut other).await.unwrap().json();
    assert_eq!(read["lines"][0]["quantity"], 1);
}

/// P1: a failed sync is never acknowledged as it is; the store refuses writes, goes on reading, and recovers by itself;
/// the save whose outcome was unknown is settled then, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_failed_sync_is_not_acknowledged_and_the_store_recovers() {
    let dir = TempDir::new("eio");
    let (server, shim) = start(&dir);
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();

    shim.begin(Trouble::FailSyncs);
    let add = cart.add("mug-blue", 1, Some("once"));
    let first = connection.ask(&add).await.unwrap();
    assert_eq!((first.status, first.json()["outcome"].clone()), (503, "unknown".into()), "{:?}", first.json());
    let second = connection.ask(&cart.add("mug-blue", 1, None)).await.unwrap();
    assert_eq!(second.status, 503);
    assert!(second.header("retry-after").is_some());
    let read = cart.read(&mut connection).await.unwrap().json();
    assert_eq!(read["revision"], 1, "reads go on, and tell what is committed: {read}");

    shim.end(Trouble::FailSyncs);
    let settled = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let again = connection.ask(&add).await.unwrap();
            if again.status == 200 {
                return again.json();
            }
            tokio::task::yield_now().await;
        }
    });
    let cart = settled.await.expect("the store did not recover");
    assert_eq!(cart["lines"][0]["quantity"], 1, "settled once: {cart}");
}
