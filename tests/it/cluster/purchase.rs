//! Purchases on several real nodes, some of which die: exactly what there is is sold, each order is paid once, and nothing
//! stays set aside.

use std::{sync::Arc, time::Instant};

use loadtest::{
    client::Connection,
    nodes::{Node, Nodes},
    purchases::{self, Reconciled},
    scenario::{Choices, Kind, Stage},
    service::{Ask, Service},
    shop::{Cart, Checkout},
    shopper::{Shopper, World},
};
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use super::shop::Shop;
use crate::{
    process::{rounds, turn},
    support::wait::until,
};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// The one that dies.
const VICTIM: &str = "n2";
const SHOPPERS: u64 = 2_000;
const UNITS: u64 = 100;
/// Shoppers who are in the shop at once; the others stand in the queue at the door.
const INSIDE: usize = 64;
/// A node dies once so many are sold.
const KILLS_AT: [u64; 3] = [10, 40, 70];
/// Checkouts that are begun through a node that does not own them: in some of them the goods are held before anybody looks.
const BEGUN_ELSEWHERE: usize = 4;
const SEED: u64 = 0x7401_5a1e;
/// What the crashing purchases buy.
const SKU: &str = "mug-red";

/// Where shoppers and operators go, as the nodes are now.
fn nodes(shop: &Shop) -> Vec<Node> {
    let node = |(name, server): (&String, &crate::support::Server)| Node {
        name: name.clone(),
        http: server.http.clone(),
        admin: Some(server.admin.clone()),
    };
    shop.servers().map(node).collect()
}

/// Exactly the units that there are are sold, to somebody who pays for them once, whoever of the nodes dies meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_p5_p6_a_flash_sale_sells_exactly_what_there_is() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    for round in 0..rounds() {
        let found = flash_sale(&mut shop, SEED + round as u64).await;
        println!("{found}");
        assert!(found.is_clean(), "{found}");
        assert_eq!((found.orders, found.units, found.acknowledged), (UNITS, UNITS, UNITS), "{found}");
    }
}

async fn flash_sale(shop: &mut Shop, seed: u64) -> Reconciled {
    let world = Arc::new(World::new(Nodes::new(nodes(shop)), Instant::now()).unwrap());
    let stage = Arc::new(
        Stage::set(Kind::FlashSale, &Choices { units: UNITS, seed, ..Choices::default() }, &world).await.unwrap(),
    );
    let (door, mut shoppers) = (Arc::new(Semaphore::new(INSIDE)), JoinSet::new());
    for number in 1..=SHOPPERS {
        let (door, stage, world) = (Arc::clone(&door), Arc::clone(&stage), Arc::clone(&world));
        shoppers.spawn(async move {
            let _place = door.acquire_owned().await.unwrap();
            stage.visit(number, Shopper::new(&world, Instant::now())).await;
        });
    }
    for (sold, victim) in KILLS_AT.into_iter().zip(NAMES.into_iter().cycle().skip(1)) {
        until("so many are sold", async || (world.purchases.acknowledged() >= sold).then_some(())).await;
        shop.take(victim).kill();
        world.service.nodes.replace(nodes(shop));
        shop.start(victim);
        world.service.nodes.replace(nodes(shop));
    }
    while let Some(left) = shoppers.join_next().await {
        left.unwrap();
    }
    let wrong = world.measure.read().wrong;
    assert!(wrong.is_empty(), "{wrong:?}");
    world.purchases.audit(&world.service).await.unwrap()
}

/// A node that does not own the purchase learns that its goods are held as the owner does: nobody waits in vain until the
/// request's time is over, which is answered 503.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_begun_through_another_node_is_answered_once_its_goods_are_held() {
    let _turn = turn().await;
    let shop = Shop::open(&NAMES).await;
    let mut elsewhere = Connection::open(&shop.http("n1")).await.unwrap();
    for _ in 0..BEGUN_ELSEWHERE {
        let cart = cart_at_the_victim(&shop).await;
        assert_eq!(elsewhere.exchange(&cart.add(SKU, 1, None)).await.unwrap(), 200);
        let begun = elsewhere.ask(&Checkout::begin(&cart, "begin")).await.unwrap();
        assert_eq!(begun.status, 201, "{}", begun.json());
    }
}

/// What a shopper does while the node that serves them dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// Buys.
    Buys,
    /// Has a card declined, then buys with another.
    IsDeclined,
    /// Begins to buy, and leaves it.
    Leaves,
    /// Is asked to confirm the payment, and leaves.
    LeavesThePayment,
    /// Buys, and cancels the order.
    CancelsTheOrder,
}

/// Each deed of a purchase, in the story in which it happens.
const DEEDS: [(Story, &str); 16] = [
    (Story::Buys, "cart.open"),
    (Story::Buys, "checkout.hold"),
    (Story::Buys, "checkout.extend"),
    (Story::Buys, "checkout.pin"),
    (Story::Buys, "checkout.authorise"),
    (Story::Buys, "checkout.commit"),
    (Story::Buys, "checkout.place"),
    (Story::Buys, "checkout.settle"),
    (Story::Buys, "checkout.forget"),
    (Story::Buys, "order.capture"),
    (Story::IsDeclined, "checkout.unpin"),
    (Story::Leaves, "checkout.release"),
    (Story::Leaves, "checkout.letgo"),
    (Story::LeavesThePayment, "checkout.abandon"),
    (Story::CancelsTheOrder, "order.refund"),
    (Story::CancelsTheOrder, "order.restock"),
];

/// The node that serves a purchase dies before each of its deeds, and after it: the shopper goes on at another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_p5_p6_a_crash_at_each_step_leaves_one_order_one_payment_and_nothing_held() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    for (story, deed) in std::iter::repeat_n(DEEDS, rounds()).flatten() {
        for when in ["before", "after"] {
            let point = format!("{when} {deed}");
            shop.take(VICTIM).kill();
            shop.start_failing(VICTIM, &point);
            shop.balanced().await;
            let world = Arc::new(World::new(Nodes::new(nodes(&shop)), Instant::now()).unwrap());
            let found = story_with_a_crash(&mut shop, &world, story, &point).await;
            assert!(found.is_clean(), "{point}: {found}");
            let stands = u64::from(matches!(story, Story::Buys | Story::IsDeclined));
            let orders = u64::from(story == Story::CancelsTheOrder) + stands;
            assert_eq!((found.orders, found.units), (orders, stands), "{point}: {found}");
            shop.start(VICTIM);
        }
    }
}

async fn story_with_a_crash(shop: &mut Shop, world: &Arc<World>, story: Story, point: &str) -> Reconciled {
    let service = &world.service;
    world.purchases.sells(service, SKU).await.unwrap();
    let cart = cart_at_the_victim(shop).await;
    let ask = async |bytes: Vec<u8>| asked(service, bytes).await;
    ask(cart.add(SKU, 1, Some("add"))).await;
    let (_, begun) = ask(Checkout::begin(&cart, "begin")).await;
    let checkout = Checkout { id: begun["id"].as_str().unwrap().to_owned(), token: cart.token.clone() };
    world.purchases.begun(&checkout);
    let patch = async |n: u32, change: &dyn Fn(u64, &str) -> Vec<u8>| {
        until("the checkout is changed", async || {
            let (_, seen) = ask(checkout.read()).await;
            let key = format!("patch-{n}-{}", seen["revision"]);
            let (status, _) = ask(change(seen["revision"].as_u64().unwrap(), &key)).await;
            (status == 200).then_some(())
        })
        .await;
    };
    patch(1, &|revision, key| checkout.address(revision, key)).await;
    patch(2, &|revision, key| checkout.ship_by("standard", revision, key)).await;
    let order = match story {
        Story::Buys => Some(paid(service, &checkout, "tok_approve", 200).await),
        Story::IsDeclined => {
            paid(service, &checkout, "tok_decline", 402).await;
            Some(paid(service, &checkout, "tok_approve", 200).await)
        }
        Story::Leaves => None,
        Story::LeavesThePayment => {
            paid(service, &checkout, "tok_action", 402).await;
            None
        }
        Story::CancelsTheOrder => {
            let told = paid(service, &checkout, "tok_approve", 200).await;
            let id = told["order_id"].as_str().unwrap();
            until("the order is paid", async || (ask(checkout.order(id)).await.1["status"] == "paid").then_some(()))
                .await;
            let bearer = format!("Bearer {}", cart.token);
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", "cancel-order")];
            let cancel = loadtest::client::request("POST", &format!("/v1/orders/{id}/cancel"), &headers, None);
            assert_eq!(ask(cancel).await.0, 200, "{point}");
            Some(told)
        }
    };
    if let Some(order) = order {
        world.purchases.bought(&checkout, order["order_id"].as_str().unwrap(), "");
    } else {
        assert_eq!(ask(checkout.cancel()).await.0, 200, "{point}");
    }
    // The deed may be one that nobody waits for.
    let (_, log) = shop.take(VICTIM).ended().await;
    assert!(log.contains(point), "the node ended, but not at {point:?}: {log}");
    service.nodes.replace(nodes(shop));
    if story == Story::CancelsTheOrder {
        // It goes back by itself, whoever serves the order then.
        let id = checkout.id.replace("chk_", "ord_");
        until("the money is back", async || {
            let (_, order) = ask(checkout.order(&id)).await;
            let payment = &order["payments"][0];
            (payment["captured"].is_object() && payment["refunded"] == payment["captured"]).then_some(())
        })
        .await;
    }
    let found = world.purchases.audit(service).await.unwrap();
    settled_stock(service).await;
    found
}

/// A cart of a shopper whose purchase the victim serves.
async fn cart_at_the_victim(shop: &Shop) -> Cart {
    let mut connection = Connection::open(&shop.http(VICTIM)).await.unwrap();
    until("a cart is the victim's", async || {
        let cart = Cart::make(&mut connection).await.unwrap();
        let answer = cart.read(&mut connection).await.unwrap();
        (answer.header("trolley-owner") == Some(VICTIM)).then_some(cart)
    })
    .await
}

/// Asks until the outcome is certain: its status, and what was said.
async fn asked(service: &Service, bytes: Vec<u8>) -> (u16, Value) {
    let ask = Ask { bytes, may_repeat: true };
    until("the outcome is certain", async || match service.settle(&ask, Instant::now(), None).await.end {
        Ok((answer, _)) => Some((answer.status, answer.json())),
        Err((loadtest::failure::Failure::Problem { status, .. }, _)) if status < 500 => Some((status, Value::Null)),
        Err(_) => None,
    })
    .await
}

/// Pays, and asks the same again until the gateway's answer is known.
async fn paid(service: &Service, checkout: &Checkout, token: &str, expected: u16) -> Value {
    let complete = checkout.complete(token, token);
    until("the payment's outcome is known", async || {
        let (status, told) = asked(service, complete.clone()).await;
        assert!([202, expected].contains(&status), "{token}: {status} {told}");
        (status == expected).then_some(told)
    })
    .await
}

/// Nothing is set aside any more.
async fn settled_stock(service: &Service) {
    let stock = purchases::stock(service, SKU).await.unwrap();
    assert_eq!((stock.held, stock.on_hand), (0, stock.available + stock.sold));
}
