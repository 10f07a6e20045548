//! Nodes that come and go in order, under load: nothing fails for good, and nothing is lost or doubled.

use super::shop::{SHARDS, Shop};
use crate::{
    process::{rounds, turn},
    support::{ledger::Shoppers, wait::until},
};

const SHOPPERS: usize = 6;
const PASS: u64 = 200;
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_hands_everything_over_before_it_leaves() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let load = [Shoppers::start(SHOPPERS, &shop.http("n1")), Shoppers::start(SHOPPERS, &shop.http("n3"))];
    for _ in 0..rounds() {
        for load in &load {
            load.pass(PASS).await;
        }
        let dark = "trolley_cluster_shard_dark_seconds_count";
        let (had, before) = (shop.shards("n2").await, shop.metric("n1", dark).await + shop.metric("n3", dark).await);
        let log = shop.take("n2").stop();
        assert!(log.contains("shards were handed over"), "{log}");
        assert_eq!(shop.shards("n1").await + shop.shards("n3").await, SHARDS, "nothing is nobody's at any moment");
        let counted = shop.metric("n1", dark).await + shop.metric("n3", dark).await - before;
        assert_eq!(counted, had as f64, "for each shard it is known how long nobody served it");
        for load in &load {
            load.pass(PASS).await;
        }
        shop.start("n2");
        shop.balanced().await;
        // Whichever node is asked, it tells of the whole cluster: nothing is left to move.
        let told = shop.admin("n3", "/admin/cluster").await.1;
        assert_eq!((&told["moves"], &told["format"]), (&serde_json::json!([]), &2.into()), "{told}");
    }
    for load in load {
        load.finish(&shop.http("n2")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_restarted_one_after_the_other() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let load = Shoppers::start(SHOPPERS, &shop.http("n1"));
    for _ in 0..rounds() {
        for (name, other) in [("n1", "n2"), ("n2", "n3"), ("n3", "n1")] {
            load.go_to(Some(&shop.http(other)));
            load.pass(PASS).await;
            shop.take(name).stop();
            load.pass(PASS).await;
            shop.start(name);
            shop.balanced().await;
        }
    }
    load.finish(&shop.http("n2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_gets_its_share_while_shoppers_shop() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let load = Shoppers::start(SHOPPERS, &shop.http("n2"));
    load.pass(PASS).await;
    shop.start("n4");
    shop.balanced().await;
    load.pass(PASS).await;
    assert_eq!(shop.shards("n4").await, SHARDS / 4);
    load.finish(&shop.http("n4")).await;
}

/// Without its store a node cannot hand over, and it must end all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_without_its_store_ends() {
    let _turn = turn().await;
    let patience = || vec!["shutdown.patience=1s".to_owned()];
    let mut shop = Shop::open_with(&[("n1", patience()), ("n2", patience())]).await;
    shop.disconnect("n2");
    let stopping = shop.take("n2");
    stopping.terminate();
    let (status, log) = stopping.ended().await;
    assert!(status.success() && log.contains("not every shard could be handed over in time"), "{log}");
}

/// A stream on one node tells of changes through another, ends when its cart moves, and resumes without a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_stream_of_a_cart_that_moves_ends_and_resumes() {
    use loadtest::{client::Connection, shop::Cart};

    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let mut connection = Connection::open(&shop.http("n1")).await.unwrap();
    // One that n2 owns, watched through n1.
    let cart = until("a cart of n2's", async || {
        let cart = Cart::make(&mut connection).await.unwrap();
        let answer = cart.read(&mut connection).await.unwrap();
        (answer.header("trolley-owner") == Some("n2")).then_some(cart)
    })
    .await;
    let mut stream = super::stream::Stream::open(&shop.http("n1"), &cart, None).await;
    assert_eq!(stream.next().await, Some(1));
    let mut elsewhere = Connection::open(&shop.http("n3")).await.unwrap();
    assert_eq!(elsewhere.exchange(&cart.add("mug-blue", 1, None)).await.unwrap(), 200);
    assert_eq!(stream.next().await, Some(2), "a change through one node is told on another");
    shop.take("n2").stop();
    assert_eq!(stream.next().await, None, "the cart has moved: the stream ends");
    assert_eq!(elsewhere.exchange(&cart.add("mug-blue", 1, None)).await.unwrap(), 200);
    let mut stream = super::stream::Stream::open(&shop.http("n1"), &cart, Some(2)).await;
    assert_eq!(stream.next().await, Some(3), "what happened in between is told");
}
