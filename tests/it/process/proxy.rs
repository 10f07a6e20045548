//! A real database behind a proxy that loses, delays and forges what goes between it and the driver.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use scylla::errors::{DbError, WriteType};
use scylla_proxy::{
    Condition, Node, Proxy, Reaction, RequestOpcode, RequestReaction, RequestRule, ResponseFrame, ResponseReaction,
    ResponseRule, RunningProxy, ShardAwareness,
};

use super::{rounds, turn};
use crate::support::{
    Server, TempDir,
    cql::{Cluster, Keyspace},
    ledger::Shoppers,
};

const SHOPPERS: usize = 12;
/// Acknowledged adds while a fault goes on.
const PASS: u64 = 100;
/// One in so many answers or requests meets the fault.
const ONE_IN: f64 = 10.0;
/// What the node takes for a database that does not answer: short, for the sake of the test's time.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// What goes wrong.
enum Fault {
    Requests(RequestReaction),
    Answers(ResponseReaction),
}

/// Some conditional updates, and nothing of the connection that follows the cluster.
fn some() -> Condition {
    Condition::not(Condition::ConnectionRegisteredAnyEvent).and(Condition::RandomWithProbability(1.0 / ONE_IN))
}

/// The column that only answers of conditional updates have.
fn is_answer() -> Condition {
    Condition::BodyContainsCaseSensitive((*b"[applied]").into())
}

async fn proxied(cluster: &Cluster) -> (RunningProxy, SocketAddr) {
    let real: SocketAddr = cluster.contact_points().parse().unwrap();
    // The driver goes back to the node's own address and the port that it was told: another port of that address is the
    // proxy's. Free a moment ago, it still is.
    let free = std::net::TcpListener::bind((real.ip(), 0)).unwrap().local_addr().unwrap();
    let node = Node::builder().real_address(real).proxy_address(free).shard_awareness(ShardAwareness::Unaware).build();
    (Proxy::builder().with_node(node).build().run().await.unwrap(), free)
}

async fn survive(fault: impl Fn() -> Fault) {
    let _turn = turn().await;
    let cluster = Cluster::single();
    let keyspace = Keyspace::migrated(cluster).await;
    let (mut proxy, address) = proxied(cluster).await;
    let dir = TempDir::new("proxy");
    let server = Server::start_with(&dir.0, |command| {
        keyspace.configure(command);
        command.args(["--set", &format!("store.contact_points={address}")]);
        command.args(["--set", &format!("store.request_timeout={}ms", REQUEST_TIMEOUT.as_millis())]);
    });
    let shoppers = Shoppers::start(SHOPPERS, &server.http);
    for _ in 0..rounds() {
        shoppers.pass(PASS).await;
        let node = &mut proxy.running_nodes[0];
        match fault() {
            Fault::Requests(reaction) => {
                let condition = Condition::RequestOpcode(RequestOpcode::Execute).and(some());
                node.change_request_rules(Some(vec![RequestRule(condition, reaction)]));
            }
            Fault::Answers(reaction) => {
                node.change_response_rules(Some(vec![ResponseRule(is_answer().and(some()), reaction)]));
            }
        }
        shoppers.pass(PASS).await;
        proxy.turn_off_rules();
    }
    let totals = shoppers.finish(&server.http).await;
    let unknown = metric(&server, "trolley_store_unknown_saves_total").await;
    println!("{totals:?}, {unknown} saves of unknown outcome");
    assert!(unknown > 0.0, "the fault was never met");
    drop(server);
    drop(proxy.finish().await); // it complains that the server went away
}

async fn metric(server: &Server, name: &str) -> f64 {
    let mut connection = loadtest::client::Connection::open(&server.admin).await.unwrap();
    let page = connection.ask(&loadtest::client::request("GET", "/metrics", &[], None)).await.unwrap();
    let text = String::from_utf8_lossy(&page.body).into_owned();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}

const fn timed_out() -> DbError {
    let consistency = scylla::statement::Consistency::LocalSerial;
    DbError::WriteTimeout { consistency, received: 1, required: 2, write_type: WriteType::Cas }
}

/// P1 and P3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_lost_answers_of_applied_updates_lose_and_double_nothing() {
    survive(|| Fault::Answers(ResponseReaction::drop_frame())).await;
}

/// P1 and P3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_connections_cut_amid_an_update_lose_and_double_nothing() {
    survive(|| Fault::Answers(ResponseReaction::drop_connection())).await;
}

/// P1 and P3: the update was applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_a_timeout_told_of_an_applied_update_loses_and_doubles_nothing() {
    let forge = |frame: ResponseFrame| ResponseFrame::forged_error(frame.params, timed_out(), None).unwrap();
    survive(|| Fault::Answers(ResponseReaction::transform_frame(Arc::new(forge)))).await;
}

/// P1 and P3: the update never came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_a_timeout_told_of_an_update_that_never_came_loses_and_doubles_nothing() {
    survive(|| Fault::Requests(RequestReaction::forge_with_error(timed_out()))).await;
}

/// P1, P2 and P3: by then its successor has taken the version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_an_update_that_lands_long_after_its_timeout_loses_and_doubles_nothing() {
    survive(|| Fault::Requests(RequestReaction::delay(REQUEST_TIMEOUT * 4))).await;
}
