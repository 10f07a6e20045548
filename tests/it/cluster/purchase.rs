//! Purchases on several real nodes, some of which die: exactly what there is is sold, each order is paid once, and nothing
//! stays set aside.

use std::{sync::Arc, time::Instant};

use loadtest::{
    client::Connection,
    nodes::{Node, Nodes},
    purchases::Reconciled,
    scenario::{Choices, Kind, Stage},
    shop::{Cart, Checkout},
    shopper::{Shopper, World},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::shop::Shop;
use crate::{
    process::{rounds, turn},
    support::wait::until,
};

pub(super) const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// The one that dies.
pub(super) const VICTIM: &str = "n2";
const SHOPPERS: u64 = 2_000;
const UNITS: u64 = 100;
/// Shoppers who are in the shop at once; the others stand in the queue at the door.
const INSIDE: usize = 64;
/// A node dies once so many are sold.
const KILLS_AT: [u64; 3] = [10, 40, 70];
/// Checkouts that are begun through a node that does not own them: in some of them the goods are held before anybody looks.
const BEGUN_ELSEWHERE: usize = 4;
const SEED: u64 = 0x7401_5a1e;
/// What single shoppers buy.
pub(super) const SKU: &str = "mug-red";

/// Where shoppers and operators go, as the nodes are now.
pub(super) fn nodes(shop: &Shop) -> Vec<Node> {
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

/// A cart of a shopper whose purchase the victim serves.
pub(super) async fn cart_at_the_victim(shop: &Shop) -> Cart {
    let mut connection = Connection::open(&shop.http(VICTIM)).await.unwrap();
    until("a cart is the victim's", async || {
        let cart = Cart::make(&mut connection).await.unwrap();
        let answer = cart.read(&mut connection).await.unwrap();
        (answer.header("trolley-owner") == Some(VICTIM)).then_some(cart)
    })
    .await
}
