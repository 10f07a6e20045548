//! kill -9, twenty times, under load, on each store that outlives its process.

use std::process::Command;

use super::turn;
use crate::support::{
    Server, TempDir,
    cql::{Cluster, Keyspace},
    ledger::Shoppers,
};

const KILLS: usize = 20;
const SHOPPERS: usize = 12;
/// Seed of the moments at which the server is killed.
const SEED: u64 = 0x7401_1e75;

/// P1 and P3 on a real process: acknowledged ⊆ recovered ⊆ attempted, and a key's effect once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_twenty_kills_lose_nothing_acknowledged_and_double_nothing() {
    let dir = TempDir::new("kill");
    twenty_kills(|| Server::start(&dir.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_twenty_kills_on_the_database_lose_nothing_and_double_nothing() {
    let _turn = turn().await;
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let dir = TempDir::new("kill");
    twenty_kills(|| Server::start_with(&dir.0, |command: &mut Command| keyspace.configure(command))).await;
}

async fn twenty_kills(start: impl Fn() -> Server) {
    let mut server = start();
    let shoppers = Shoppers::start(SHOPPERS, &server.http);
    let mut moment = SEED;
    for _ in 0..KILLS {
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        shoppers.pass(20 + (moment >> 33) % 200).await;
        shoppers.go_to(None);
        server.kill();
        server = start();
        shoppers.go_to(Some(&server.http));
    }
    let totals = shoppers.finish(&server.http).await;
    assert!(totals.unkeyed_acknowledged > KILLS as u64 && totals.keyed_done > KILLS as u64, "hardly any load");
}
