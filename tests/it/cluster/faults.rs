//! Nodes that die, freeze and lose their store under load: everything is served again in time, and nothing acknowledged
//! is lost or doubled.

use std::time::{Duration, Instant};

use loadtest::{client::Connection, shop::Cart};

use super::shop::{SHARDS, Shop};
use crate::{
    process::{rounds, turn},
    support::{
        cql::{Cluster, Keyspace},
        ledger::Shoppers,
        wait::until,
    },
};

const SHOPPERS: usize = 6;
const PASS: u64 = 200;
/// From the death of a process to every shard served again.
const AFTER_DEATH: Duration = Duration::from_secs(2);
/// From when a node falls silent.
const AFTER_SILENCE: Duration = Duration::from_secs(5);
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// Shoppers at two nodes.
fn shoppers(shop: &Shop, at: [&str; 2]) -> [Shoppers; 2] {
    at.map(|name| Shoppers::start(SHOPPERS, &shop.http(name)))
}

async fn pass(shoppers: &[Shoppers; 2]) {
    for shoppers in shoppers {
        shoppers.pass(PASS).await;
    }
}

async fn finish(shoppers: [Shoppers; 2], at: &str) {
    for shoppers in shoppers {
        shoppers.finish(at).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_a_killed_nodes_shards_are_served_again_within_two_seconds() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let witnesses = shop.witnesses("n1").await;
    let load = shoppers(&shop, ["n1", "n3"]);
    for _ in 0..rounds() {
        pass(&load).await;
        let began = Instant::now();
        shop.take("n2").kill();
        let took = witnesses.all_served(&shop.http("n1"), began).await;
        println!("served again after {took:?}");
        assert!(took <= AFTER_DEATH, "{took:?}");
        pass(&load).await;
        shop.start("n2");
        shop.balanced().await;
    }
    finish(load, &shop.http("n2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_a_killed_node_loses_nothing_on_a_database_either() {
    let _turn = turn().await;
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let mut shop = Shop::open_on(keyspace, &NAMES).await;
    let witnesses = shop.witnesses("n1").await;
    let load = shoppers(&shop, ["n1", "n3"]);
    pass(&load).await;
    let began = Instant::now();
    shop.take("n2").kill();
    println!("served again after {:?}", witnesses.all_served(&shop.http("n1"), began).await);
    pass(&load).await;
    shop.start("n2");
    shop.balanced().await;
    pass(&load).await;
    finish(load, &shop.http("n2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_node_that_was_frozen_past_its_lease_refuses_and_does_not_lie() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let witnesses = shop.witnesses("n1").await;
    let load = shoppers(&shop, ["n1", "n3"]);
    for _ in 0..rounds() {
        pass(&load).await;
        let mut asleep = Connection::open(&shop.http("n2")).await.unwrap();
        let began = Instant::now();
        shop.node("n2").pause();
        let took = witnesses.all_served(&shop.http("n1"), began).await;
        println!("served again after {took:?}");
        assert!(took <= AFTER_SILENCE, "{took:?}");
        // Every cart is changed, so that whatever the frozen node has in memory is old.
        let mut awake = Connection::open(&shop.http("n1")).await.unwrap();
        let mut now = Vec::new();
        for cart in &witnesses.0 {
            let answer = awake.ask(&cart.add("mug-blue", 1, None)).await.unwrap();
            assert_eq!(answer.status, 200);
            now.push(answer.json()["revision"].as_u64().unwrap());
        }
        let frozen = shop.take("n2");
        frozen.resume();
        let mut answers = [0, 0];
        'woken: loop {
            for (cart, revision) in witnesses.0.iter().zip(&now) {
                // Until it has noticed and stopped; a broken connection tells nothing.
                let Ok(answer) = cart.read(&mut asleep).await else { break 'woken };
                let is_old = answer.status == 200 && answer.json()["revision"].as_u64() < Some(*revision);
                assert!(!is_old || answer.header("trolley-stale").is_some(), "an older answer without a mark");
                answers[usize::from(answer.status == 200)] += 1;
            }
        }
        println!("after the wake: {} answers, {} refusals", answers[1], answers[0]);
        let (status, log) = frozen.ended().await;
        assert!(status.code() == Some(1) && log.contains("has this node's place"), "{log}");
        shop.start("n2");
        shop.balanced().await;
    }
    finish(load, &shop.http("n2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_killed_at_once_leave_one_that_serves_everything() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let witnesses = shop.witnesses("n3").await;
    let load = [Shoppers::start(SHOPPERS, &shop.http("n3"))];
    for _ in 0..rounds() {
        load[0].pass(PASS).await;
        let began = Instant::now();
        shop.take("n1").kill();
        shop.take("n2").kill();
        let took = witnesses.all_served(&shop.http("n3"), began).await;
        println!("served again after {took:?}");
        assert!(took <= AFTER_SILENCE, "{took:?}");
        load[0].pass(PASS).await;
        shop.start("n1");
        shop.start("n2");
        shop.balanced().await;
    }
    let [load] = load;
    load.finish(&shop.http("n1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_loses_its_store_is_replaced_and_its_late_renewal_fails() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let witnesses = shop.witnesses("n1").await;
    let load = shoppers(&shop, ["n1", "n3"]);
    for _ in 0..rounds() {
        pass(&load).await;
        let began = Instant::now();
        shop.disconnect("n2");
        until("the others own everything", async || {
            (shop.shards("n1").await + shop.shards("n3").await == SHARDS).then_some(())
        })
        .await;
        let took = witnesses.all_served(&shop.http("n1"), began).await;
        println!("served again after {took:?}");
        assert!(took <= AFTER_SILENCE, "{took:?}");
        pass(&load).await;
        // It has tried to renew its lease all the time, and learns now that it must not.
        let replaced = shop.take("n2");
        shop.connect("n2");
        let (status, log) = replaced.ended().await;
        assert!(status.code() == Some(1) && log.contains("has this node's place"), "{log}");
        shop.start("n2");
        shop.balanced().await;
    }
    finish(load, &shop.http("n1")).await;
}

/// A store that is away for everybody evicts nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_for_all_evicts_nobody() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let cart = {
        let mut connection = Connection::open(&shop.http("n1")).await.unwrap();
        Cart::make(&mut connection).await.unwrap()
    };
    for name in NAMES {
        shop.disconnect(name);
    }
    // Longer than any lease: until reads are marked for so long that somebody could have been judged.
    let mut connection = Connection::open(&shop.http("n1")).await.unwrap();
    until("reads are marked as older than a lease and a half", async || {
        let answer = cart.read(&mut connection).await.unwrap();
        assert!(answer.status == 200, "{}", answer.status);
        let stale_ms: u64 = answer.header("trolley-stale")?.parse().ok()?;
        (stale_ms > 5_000).then_some(())
    })
    .await;
    for name in NAMES {
        shop.connect(name);
    }
    until("reads are fresh again", async || {
        let answer = cart.read(&mut connection).await.unwrap();
        (answer.status == 200 && answer.header("trolley-stale").is_none()).then_some(())
    })
    .await;
    shop.balanced().await;
    for name in NAMES {
        assert_eq!(shop.admin(name, "/health/ready").await.0, 200, "{name} lives");
    }
}
