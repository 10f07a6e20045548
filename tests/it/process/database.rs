//! Three nodes of the database under one node of ours: killed, paused, brought back, under load and with a ledger.

use std::time::{Duration, Instant};

use loadtest::{client::Connection, client::request, shop::Cart};

use super::{rounds, turn};
use crate::support::{
    Server, TempDir,
    cql::{Cluster, Keyspace},
    ledger::Shoppers,
    wait::until,
};

const SHOPPERS: usize = 12;
/// Adds that must be acknowledged between two faults.
const PASS: u64 = 200;
/// Recovery by itself, counted from when the database serves again.
const RECOVERY_MAX: Duration = Duration::from_secs(15);
/// How fast a write is refused while the database is known to be away.
const REFUSAL_MAX: Duration = Duration::from_millis(200);

/// P1 and P3 while one of three nodes is away: the service goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_one_of_three_database_nodes_may_fail_in_any_way() {
    let _turn = turn().await;
    let cluster = Cluster::start(3);
    let keyspace = Keyspace::migrated(&cluster).await;
    let dir = TempDir::new("database");
    let server = Server::start_with(&dir.0, |command| keyspace.configure(command));
    let shoppers = Shoppers::start(SHOPPERS, &server.http);
    shoppers.pass(PASS).await;
    for round in 0..rounds() {
        let node = 1 + round % 3;
        cluster.kill(node);
        shoppers.pass(PASS).await;
        cluster.start_node(node);
        shoppers.pass(PASS).await;
        cluster.pause(node);
        shoppers.pass(PASS).await;
        cluster.resume(node);
        shoppers.pass(PASS).await;
    }
    shoppers.finish(&server.http).await;
}

/// A majority is away: writes are refused at once, reads of what is in memory go on, and all comes back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p9_without_a_majority_writes_are_refused_reads_go_on_and_all_comes_back() {
    let _turn = turn().await;
    let cluster = Cluster::start(3);
    let keyspace = Keyspace::migrated(&cluster).await;
    let dir = TempDir::new("database");
    let server = Server::start_with(&dir.0, |command| keyspace.configure(command));
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();
    assert_eq!(connection.exchange(&cart.add("mug-blue", 1, None)).await.unwrap(), 200);
    let shoppers = Shoppers::start(SHOPPERS, &server.http);
    for round in 0..rounds() {
        shoppers.pass(PASS).await;
        let (first, second) = (1 + round % 3, 1 + (round + 1) % 3);
        cluster.kill(first);
        cluster.kill(second);
        until("saves are refused", || async { readiness(&server).await.1.contains("refuses writes").then_some(()) })
            .await;
        // A server closes a connection that was idle for as long as this may have taken.
        let mut connection = Connection::open(&server.http).await.unwrap();
        for _ in 0..20 {
            let asked = Instant::now();
            let answer = connection.ask(&cart.add("mug-blue", 1, None)).await.unwrap();
            assert!(asked.elapsed() < REFUSAL_MAX, "a refusal took {:?}", asked.elapsed());
            assert_eq!((answer.status, &answer.json()["code"]), (503, &"store_unavailable".into()));
            assert!(answer.header("retry-after").is_some());
            let asked = Instant::now();
            let made = connection.exchange(&request("POST", "/v1/carts", &[], None)).await.unwrap();
            assert_eq!(made, 503);
            assert!(asked.elapsed() < REFUSAL_MAX, "a refusal took {:?}", asked.elapsed());
            assert_eq!(cart.read(&mut connection).await.unwrap().status, 200, "it is in memory");
        }
        assert_eq!(readiness(&server).await.0, 200, "a node that serves reads stays");
        cluster.start_node(first);
        let back = Instant::now();
        until("saves are taken again", || async {
            let mut connection = Connection::open(&server.http).await.ok()?;
            Cart::make(&mut connection).await.ok()
        })
        .await;
        assert!(back.elapsed() < RECOVERY_MAX, "it took {:?} to come back", back.elapsed());
        cluster.start_node(second);
    }
    shoppers.finish(&server.http).await;
}

/// Status and text of the verbose readiness.
async fn readiness(server: &Server) -> (u16, String) {
    let mut connection = Connection::open(&server.admin).await.unwrap();
    let answer = connection.ask(&request("GET", "/health/ready?verbose", &[], None)).await.unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}
