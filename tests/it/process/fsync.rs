//! SIGKILL keeps the page cache and proves nothing about syncs. So a shim between the server and the C library holds
//! back `fdatasync` and fails it on command, and the test sees that no answer leaves.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use loadtest::{client::Connection, shop::Cart};

use crate::support::{Server, TempDir};

/// Compiles the shim; every machine that builds this project has a C compiler.
fn shim(dir: &Path) -> PathBuf {
    let library = dir.join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/process/fsync_shim.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(built.unwrap().success());
    library
}

fn start(dir: &TempDir, shim: &Path, control: &Path) -> Server {
    std::fs::write(control, "pass").unwrap();
    Server::start_with(&dir.0.join("data"), |command| {
        command.env("LD_PRELOAD", shim).env("FSYNC_SHIM_CONTROL", control);
    })
}

/// P1: while a sync is held back, its answer is; reads of what is committed go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_no_answer_leaves_while_the_sync_is_held_back() {
    let dir = TempDir::new("fsync");
    let (shim, control) = (shim(&dir.0), dir.0.join("control"));
    let server = start(&dir, &shim, &control);
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();

    std::fs::write(&control, "hold").unwrap();
    let add = cart.add("mug-blue", 1, None);
    let adding = tokio::spawn(async move { connection.exchange(&add).await });
    // The shim says that a sync of the server's hangs in it now.
    let held = control.with_extension("held");
    while !held.exists() {
        tokio::task::yield_now().await;
    }
    let mut other = Connection::open(&server.http).await.unwrap();
    let read = cart.read(&mut other).await.unwrap().json();
    assert_eq!(read["revision"], 1, "a read told what was not synced: {read}");
    assert!(!adding.is_finished(), "the answer left before the sync");
    std::fs::write(&control, "pass").unwrap();
    assert_eq!(adding.await.unwrap().unwrap(), 200);
    let read = cart.read(&mut other).await.unwrap().json();
    assert_eq!(read["lines"][0]["quantity"], 1);
}

/// P1: a failed sync is never acknowledged as it is; the store refuses writes, goes on reading, and recovers by itself;
/// the save whose outcome was unknown is settled then, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_failed_sync_is_not_acknowledged_and_the_store_recovers() {
    let dir = TempDir::new("eio");
    let (shim, control) = (shim(&dir.0), dir.0.join("control"));
    let server = start(&dir, &shim, &control);
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();

    std::fs::write(&control, "fail").unwrap();
    let add = cart.add("mug-blue", 1, Some("once"));
    let first = connection.ask(&add).await.unwrap();
    assert_eq!((first.status, first.json()["outcome"].clone()), (503, "unknown".into()), "{:?}", first.json());
    let second = connection.ask(&cart.add("mug-blue", 1, None)).await.unwrap();
    assert_eq!(second.status, 503);
    assert!(second.header("retry-after").is_some());
    let read = cart.read(&mut connection).await.unwrap().json();
    assert_eq!(read["revision"], 1, "reads go on, and tell what is committed: {read}");

    std::fs::write(&control, "pass").unwrap();
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
