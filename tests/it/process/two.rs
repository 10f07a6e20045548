//! Two processes that both believe they own the same carts.

use loadtest::{client::Connection, shop::Cart};

use super::{rounds, turn};
use crate::support::{
    Server, TempDir,
    cql::{Cluster, Keyspace},
    ledger::Shoppers,
};

const SHOPPERS: usize = 12;
const PASS: u64 = 200;

/// P2: the later one has the newer epoch; the older one stops and says so, and each acknowledged add is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_of_two_processes_the_older_one_stops_and_nothing_is_lost_or_doubled() {
    let _turn = turn().await;
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let dir = TempDir::new("two");
    let start = || Server::start_with(&dir.0, |command| keyspace.configure(command));
    let mut older = start();
    // Half of them stay with the older one for as long as it answers.
    let (staying, moving) = (Shoppers::start(SHOPPERS / 2, &older.http), Shoppers::start(SHOPPERS / 2, &older.http));
    for _ in 0..rounds() {
        staying.pass(PASS).await;
        moving.pass(PASS).await;
        let newer = start();
        moving.go_to(Some(&newer.http));
        moving.pass(PASS).await;
        let (status, log) = older.ended().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("another process has this node's place"), "{log}");
        assert!(log.contains("a cluster.node_name of its own"), "{log}");
        staying.go_to(Some(&newer.http));
        older = newer;
    }
    staying.finish(&older.http).await;
    moving.finish(&older.http).await;
}

/// P8: a process that was stopped for longer than its lease, and has been replaced, tells nothing old as new when it
/// wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_process_that_wakes_after_its_lease_gives_no_unmarked_older_answer() {
    let _turn = turn().await;
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let dir = TempDir::new("two");
    let start = || Server::start_with(&dir.0, |command| keyspace.configure(command));
    for _ in 0..rounds() {
        let older = start();
        let mut asleep = Connection::open(&older.http).await.unwrap();
        let cart = Cart::make(&mut asleep).await.unwrap();
        assert_eq!(asleep.exchange(&cart.add("mug-blue", 1, None)).await.unwrap(), 200);
        let read = cart.read(&mut asleep).await.unwrap();
        assert!(read.status == 200 && read.header("trolley-stale").is_none(), "its lease lives");
        older.pause();
        let newer = start();
        let mut awake = Connection::open(&newer.http).await.unwrap();
        assert_eq!(awake.exchange(&cart.add("mug-blue", 1, None)).await.unwrap(), 200);
        older.resume();
        let mut answers = 0;
        // Until it has noticed and stopped; a broken connection tells nothing.
        while let Ok(read) = cart.read(&mut asleep).await {
            let told = read.json()["lines"][0]["quantity"].clone();
            let is_honest = read.status != 200 || read.header("trolley-stale").is_some() || told == 2;
            assert!(is_honest, "an older answer without a mark: {told}");
            answers += 1;
        }
        println!("{answers} answers after the wake");
        let (status, log) = older.ended().await;
        assert_eq!(status.code(), Some(1), "{log}");
        // The connection from before may have been idle for too long.
        let mut awake = Connection::open(&newer.http).await.unwrap();
        let read = cart.read(&mut awake).await.unwrap();
        assert!(read.json()["lines"][0]["quantity"] == 2 && read.header("trolley-stale").is_none());
    }
}
