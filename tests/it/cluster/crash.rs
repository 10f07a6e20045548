//! A purchase whose node dies at each of its steps in turn, and which goes on at another.

use std::{sync::Arc, time::Instant};

use loadtest::{
    client::request,
    nodes::Nodes,
    purchases::{self, Reconciled},
    service::{Ask, Service},
    shop::Checkout,
    shopper::World,
};
use serde_json::Value;

use super::{
    purchase::{NAMES, SKU, VICTIM, cart_at_the_victim, nodes},
    shop::Shop,
};
use crate::{
    process::{rounds, turn},
    support::wait::until,
};

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
    /// Leaves once the bank has reserved the money and before it says so.
    LeavesTheBank,
    /// Buys, and is sent the goods.
    IsSent,
    /// Buys, and cancels the order.
    CancelsTheOrder,
}

/// Each deed of a purchase whose money is taken at once, in the story in which it happens.
const DEEDS: [(Story, &str); 19] = [
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
    (Story::LeavesTheBank, "checkout.void"),
    (Story::IsSent, "order.ship"),
    (Story::CancelsTheOrder, "order.refund"),
    (Story::CancelsTheOrder, "order.restock"),
    (Story::CancelsTheOrder, "order.forget"),
];
/// Those that are others where money is taken as the goods leave.
const DEEDS_AT_FULFILMENT: [(Story, &str); 3] =
    [(Story::IsSent, "order.capture"), (Story::IsSent, "order.ship"), (Story::CancelsTheOrder, "order.void")];

/// The node that serves a purchase dies before each of its deeds, and after it: the shopper goes on at another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_p5_p6_a_crash_at_each_step_leaves_one_order_one_payment_and_nothing_held() {
    crash_at_each(&DEEDS, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_p5_p6_a_crash_where_money_is_taken_as_the_goods_leave_takes_it_once_or_lets_go_of_it() {
    crash_at_each(&DEEDS_AT_FULFILMENT, false).await;
}

/// A shop of its own for each: what an earlier story left to be forgotten later would kill the node too soon.
async fn crash_at_each(deeds: &[(Story, &str)], pays_at_once: bool) {
    let _turn = turn().await;
    for (story, deed) in std::iter::repeat_n(deeds, rounds()).flatten() {
        for when in ["before", "after"] {
            let point = format!("{when} {deed}");
            let mut shop = opened(pays_at_once, &point).await;
            let world = Arc::new(World::new(Nodes::new(nodes(&shop)), Instant::now()).unwrap());
            let crash = Crash { service: &world.service, story: *story, pays_at_once, point: &point };
            let found = crash.happens(&mut shop, &world).await;
            assert!(found.is_clean(), "{point}: {found}");
            let stands = u64::from(matches!(story, Story::Buys | Story::IsDeclined | Story::IsSent));
            let orders = u64::from(*story == Story::CancelsTheOrder) + stands;
            assert_eq!((found.orders, found.units), (orders, stands), "{point}: {found}");
        }
    }
}

/// A shop whose victim dies at this point.
async fn opened(pays_at_once: bool, point: &str) -> Shop {
    let mut shop = Shop::open(&[]).await;
    for name in NAMES {
        if !pays_at_once {
            shop.say(name, vec!["payments.capture=at_fulfilment".to_owned()]);
        }
        if name == VICTIM { shop.start_failing(name, point) } else { shop.start(name) }
    }
    shop.balanced().await;
    shop
}

/// A story with a crash in it.
struct Crash<'a> {
    service: &'a Arc<Service>,
    story: Story,
    /// Whether the money is taken as soon as there is an order.
    pays_at_once: bool,
    point: &'a str,
}

impl Crash<'_> {
    async fn happens(&self, shop: &mut Shop, world: &World) -> Reconciled {
        world.purchases.sells(self.service, SKU).await.unwrap();
        let checkout = self.begin(shop).await;
        world.purchases.begun(&checkout);
        self.change(&checkout, &|revision, key| checkout.address(revision, key)).await;
        self.change(&checkout, &|revision, key| checkout.ship_by("standard", revision, key)).await;
        match self.tell(&checkout).await {
            Some(order) => world.purchases.bought(&checkout, &order, ""),
            None => assert_eq!(self.ask(checkout.cancel()).await.0, 200, "{}", self.point),
        }
        // The deed may be one that nobody waits for.
        let (_, log) = shop.take(VICTIM).ended().await;
        assert!(log.contains(self.point), "the node ended, but not at {:?}: {log}", self.point);
        self.service.nodes.replace(nodes(shop));
        if self.story == Story::CancelsTheOrder {
            self.money_is_back(&checkout).await;
        }
        let found = world.purchases.audit(self.service).await.unwrap();
        // Nothing is set aside any more.
        let stock = purchases::stock(self.service, SKU).await.unwrap();
        assert_eq!((stock.held, stock.on_hand), (0, stock.available + stock.sold), "{}", self.point);
        found
    }

    async fn begin(&self, shop: &Shop) -> Checkout {
        let cart = cart_at_the_victim(shop).await;
        self.ask(cart.add(SKU, 1, Some("add"))).await;
        let (_, begun) = self.ask(Checkout::begin(&cart, "begin")).await;
        Checkout { id: begun["id"].as_str().unwrap().to_owned(), token: cart.token }
    }

    async fn change(&self, checkout: &Checkout, change: &dyn Fn(u64, &str) -> Vec<u8>) {
        until("the checkout is changed", async || {
            let (_, seen) = self.ask(checkout.read()).await;
            let (status, _) = self.ask(change(seen["revision"].as_u64()?, &format!("at-{}", seen["revision"]))).await;
            (status == 200).then_some(())
        })
        .await;
    }

    /// What the shopper does once all is said: the order's id, if there is one.
    async fn tell(&self, checkout: &Checkout) -> Option<String> {
        match self.story {
            Story::Leaves => return None,
            Story::LeavesThePayment => {
                self.pay(checkout, "tok_action", 402).await;
                return None;
            }
            Story::LeavesTheBank => {
                let service = Arc::clone(self.service);
                let complete = Ask { bytes: checkout.complete("tok_slow", "tok_slow"), may_repeat: false };
                // Whatever is answered: nobody hears it.
                let page = tokio::spawn(async move { service.settle(&complete, Instant::now(), None).await });
                until("the bank has reserved the money", async || self.is_reserved(checkout).await.then_some(())).await;
                page.abort();
                return None;
            }
            Story::IsDeclined => {
                self.pay(checkout, "tok_decline", 402).await;
            }
            Story::Buys | Story::IsSent | Story::CancelsTheOrder => {}
        }
        let told = self.pay(checkout, "tok_approve", 200).await;
        let id = told["order_id"].as_str().unwrap().to_owned();
        if self.pays_at_once && matches!(self.story, Story::IsSent | Story::CancelsTheOrder) {
            until("the order is paid", async || {
                (self.ask(checkout.order(&id)).await.1["status"] == "paid").then_some(())
            })
            .await;
        }
        if self.story == Story::IsSent {
            let parcel = r#"{"lines":[{"line":"l1","quantity":1}]}"#;
            let path = format!("/admin/orders/{id}/fulfilments");
            let send = request("POST", &path, &[("idempotency-key", "parcel")], Some(parcel));
            purchases::admin(self.service, &send).await.unwrap();
            until("the goods have left", async || {
                (self.ask(checkout.order(&id)).await.1["status"] == "fulfilled").then_some(())
            })
            .await;
        }
        if self.story == Story::CancelsTheOrder {
            let bearer = format!("Bearer {}", checkout.token);
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", "cancel-order")];
            let cancel = request("POST", &format!("/v1/orders/{id}/cancel"), &headers, None);
            assert_eq!(self.ask(cancel).await.0, 200, "{}", self.point);
        }
        Some(id)
    }

    /// It goes back by itself, whoever serves the order then.
    async fn money_is_back(&self, checkout: &Checkout) {
        let id = checkout.id.replace("chk_", "ord_");
        let wanted = if self.pays_at_once { "refunded" } else { "voided" };
        until("the money is back", async || {
            let (_, order) = self.ask(checkout.order(&id)).await;
            let payment = &order["payments"][0];
            let is_back = order["events"].as_array()?.iter().any(|event| event["kind"] == wanted);
            (is_back && payment["refunded"] == payment["captured"]).then_some(())
        })
        .await;
    }

    async fn is_reserved(&self, checkout: &Checkout) -> bool {
        let key = format!("{}-", checkout.id.trim_start_matches("chk_"));
        let mut path = "/admin/sandbox/payments".to_owned();
        loop {
            let page = purchases::admin(self.service, &request("GET", &path, &[], None)).await.unwrap();
            let is_it = |payment: &Value| {
                payment["key"].as_str().is_some_and(|text| text.starts_with(&key)) && payment["state"] == "authorised"
            };
            if page["items"].as_array().unwrap().iter().any(is_it) {
                return true;
            }
            let Some(cursor) = page["next_cursor"].as_str() else { return false };
            path = format!("/admin/sandbox/payments?cursor={cursor}");
        }
    }

    async fn ask(&self, bytes: Vec<u8>) -> (u16, Value) {
        asked(self.service, bytes).await
    }

    /// Pays, and asks the same again until the gateway's answer is known.
    async fn pay(&self, checkout: &Checkout, token: &str, expected: u16) -> Value {
        until("the payment's outcome is known", async || {
            let (status, told) = self.ask(checkout.complete(token, token)).await;
            assert!([202, expected].contains(&status), "{token}: {status} {told}");
            (status == expected).then_some(told)
        })
        .await
    }
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
