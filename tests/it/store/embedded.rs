//! What only the embedded store promises: its directory, and what is in it.

use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions};
use trolley::{
    store::{Embedded, Expect, Kind, Row, Saved, Store, embedded::OpenError},
    telemetry::clock,
};

use super::{
    child::StoreChild,
    contract::{entry, open, options, row},
};
use crate::support::{TempDir, wait::until};

async fn save(store: &Embedded, id: u128, row: Row) {
    assert_eq!(store.save(Kind::Cart, id, Expect::Absent, row, vec![]).await, Saved::Applied);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_directory_is_taken() {
    let dir = TempDir::new("store");
    let child = StoreChild::start(&options(&dir).dir, None).await;
    let error = Embedded::open(options(&dir)).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains(options(&dir).dir.to_str().unwrap()), "{error}");
    child.kill();
    drop(open(&dir));
}

#[tokio::test]
async fn a_second_store_in_the_same_process_is_told_so_too() {
    let dir = TempDir::new("store");
    let store = open(&dir);
    assert!(matches!(Embedded::open(options(&dir)), Err(OpenError::Locked { .. })));
    drop(store);
    drop(open(&dir));
}

/// P1, as far as a killed process shows it.
#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let dir = TempDir::new("store");
    let data = options(&dir).dir;
    for round in 0..3_u64 {
        let mut child = StoreChild::start(&data, None).await;
        for id in 0..50 {
            assert_eq!(child.run(&format!("save {id} {round} {}", 1000 * (round + 1) + id)).await, "applied");
        }
        child.kill();
    }
    let store = open(&dir);
    for id in 0..50_u128 {
        let row = store.load(Kind::Cart, id, true).await.unwrap().unwrap();
        assert_eq!((row.version, row.op_id), (3, 3000 + id));
    }
}

#[tokio::test]
async fn what_a_killed_creation_and_a_killed_recovery_leave_does_no_harm() {
    let dir = TempDir::new("store");
    let data = options(&dir).dir;
    for left in ["db.new", "journals.new"] {
        std::fs::create_dir_all(data.join(left)).unwrap();
        std::fs::write(data.join(left).join("0.jnl"), b"cut short").unwrap();
    }
    let store = open(&dir);
    save(&store, 1, row(1, 10)).await;
    drop(store);
    assert_eq!(open(&dir).load(Kind::Cart, 1, true).await.unwrap().map(|row| row.op_id), Some(10));
}

/// Zeroes a page within the body of a row in the journal, as if it had never reached the disk.
fn tear(dir: &TempDir, body: &[u8]) {
    let journal = options(dir).dir.join("db/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(body.len()).position(|window| window == body).unwrap();
    bytes[at + 4096..at + 8192].fill(0);
    std::fs::write(&journal, bytes).unwrap();
}

#[tokio::test]
async fn a_batch_torn_by_a_power_cut_is_dropped_whole() {
    let dir = TempDir::new("store");
    let store = open(&dir);
    save(&store, 1, row(1, 10)).await;
    let torn = Row { body: Bytes::from_iter((0..20_000).map(|_| clock::random() as u8)), ..row(1, 20) };
    let mark = vec![entry(b"p", b"torn", b"")];
    assert_eq!(store.save(Kind::Cart, 2, Expect::Absent, torn.clone(), mark).await, Saved::Applied);
    drop(store);
    tear(&dir, &torn.body);

    let store = open(&dir);
    assert_eq!(store.load(Kind::Cart, 2, true).await, Ok(None));
    assert_eq!(store.index_scan((*b"p").into(), [].into(), None, 1).await, Ok(vec![]));
    assert_eq!(store.load(Kind::Cart, 1, true).await.unwrap().map(|row| row.op_id), Some(10));
    save(&store, 2, row(1, 21)).await;
    drop(store);
    assert_eq!(open(&dir).load(Kind::Cart, 2, true).await.unwrap().map(|row| row.op_id), Some(21));
}

#[tokio::test]
async fn rot_within_what_was_synced_is_an_error_and_changes_nothing() {
    let dir = TempDir::new("store");
    let store = open(&dir);
    let rotten = Row { body: Bytes::from_iter((0..20_000).map(|_| clock::random() as u8)), ..row(1, 10) };
    save(&store, 1, rotten.clone()).await;
    save(&store, 2, row(1, 20)).await;
    drop(store);
    tear(&dir, &rotten.body);
    let journal = || std::fs::read(options(&dir).dir.join("db/0.jnl")).unwrap();
    let before = journal();
    for _ in 0..2 {
        let error = Embedded::open(options(&dir)).unwrap_err();
        assert!(matches!(error, OpenError::Database { .. }), "{error:?}");
        assert!(journal() == before);
    }
}

/// The scheduling priorities of this process's threads of that name.
#[cfg(target_os = "linux")]
fn nices(name: &str) -> Vec<i64> {
    /// In what follows the name in `/proc/PID/task/TID/stat` (proc_pid_stat(5)).
    const NICE_AT: usize = 16;
    let stat = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?; // it may have ended
        let (left, right) = stat.rsplit_once(") ")?;
        left.ends_with(&format!("({name}")).then(|| right.split(' ').nth(NICE_AT)?.parse().ok()).flatten()
    };
    std::fs::read_dir("/proc/self/task").unwrap().filter_map(stat).collect()
}

/// A flush that shares a core with those who answer shoppers must not keep them from it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_databases_own_threads_give_way_and_the_writer_does_not() {
    let dir = TempDir::new("store");
    let _store = open(&dir);
    // A thread names itself once it runs.
    let both = async || {
        let (theirs, writers) = (nices("fjall:worker"), nices("store-writer"));
        (theirs.len() >= 2 && !writers.is_empty()).then_some((theirs, writers))
    };
    let (theirs, writers) = until("the threads have their names", both).await;
    assert!(theirs.iter().all(|nice| writers.iter().all(|writer| nice > writer)), "{theirs:?} {writers:?}");
}

#[tokio::test]
async fn a_scan_frees_the_place_of_expired_rows() {
    let dir = TempDir::new("store");
    let expired = Row { updated_at_ms: clock::now().0 - 60_000, ttl_s: Some(1), ..row(1, 10) };
    let rows_on_disk = || {
        let db = Database::builder(options(&dir).dir.join("db")).open().unwrap();
        db.keyspace("rows", KeyspaceCreateOptions::default).unwrap().len().unwrap()
    };
    let store = open(&dir);
    for id in 0..10 {
        save(&store, id, expired.clone()).await;
    }
    save(&store, 10, row(1, 11)).await;
    drop(store);
    assert_eq!(rows_on_disk(), 11);

    let store = open(&dir);
    assert_eq!(store.scan_rows(Kind::Cart, None, 100).await.unwrap().rows.len(), 1);
    // The queue is served in order: this is answered after the deletion, which the scan has queued.
    save(&store, 11, row(1, 12)).await;
    drop(store);
    assert_eq!(rows_on_disk(), 2);
}

#[tokio::test]
async fn a_disk_with_too_little_room_refuses_writes_until_there_is_more() {
    let dir = TempDir::new("store");
    drop(open(&dir));
    // No disk has as much room as this.
    let store =
        Embedded::open(trolley::store::embedded::Options { free_bytes_min: u64::MAX, ..options(&dir) }).unwrap();
    let saved = store.save(Kind::Cart, 1, Expect::Absent, row(1, 10), vec![]).await;
    assert!(matches!(saved, Saved::Refused(_)), "{saved:?}");
    assert!(store.health().writes_refused.is_some());
    assert_eq!(store.load(Kind::Cart, 1, true).await, Ok(None));
}

#[tokio::test]
async fn health_tells_the_bytes_on_disk() {
    let dir = TempDir::new("store");
    let store = open(&dir);
    let empty = store.health().disk_bytes.unwrap();
    let body = Bytes::from_iter((0..256 * 1024).map(|_| clock::random() as u8));
    for id in 0..8 {
        save(&store, id, Row { body: body.clone(), ..row(1, id) }).await;
    }
    drop(store);
    let store = open(&dir);
    let filled = until("the size is known", || async { store.health().disk_bytes }).await;
    assert!(filled > empty + 1024 * 1024, "{empty} bytes grew to {filled}");
    assert!(filled < 64 * 1024 * 1024, "holes of the journal are not on disk: {filled}");
}
