//! Two processes that both believe they own the same carts.

use super::{ledger::Shoppers, rounds, turn};
use crate::support::{
    Server, TempDir,
    cql::{Cluster, Keyspace},
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
        assert!(log.contains("fenced: another node took over"), "{log}");
        assert!(log.contains("give every node a cluster.node_name of its own"), "{log}");
        staying.go_to(Some(&newer.http));
        older = newer;
    }
    staying.finish(&older.http).await;
    moving.finish(&older.http).await;
}
