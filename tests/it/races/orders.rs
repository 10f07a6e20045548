//! One purchase is one order, however often and from wherever it is asked for.

use std::collections::BTreeSet;

use loadtest::shop::Checkout;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::ROUNDS;
use crate::{
    http::problem,
    support::{
        shopping::{SHIPPING, Sale, order_id},
        wait::until,
    },
};

const TABS: usize = 4;

/// Has `TABS` tabs complete a checkout at once in each round, the tab of that number under this key.
async fn completed_at_once(key: impl Fn(usize) -> String) {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(1_000, 100).await;
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let checkout = shopper.ready(&sale).await;
        let mut tabs = shopper.tabs(TABS).await;
        let requests: Vec<_> = (0..TABS).map(|tab| checkout.complete("tok_approve", &key(tab))).collect();
        let orders: BTreeSet<_> = sale.at_once(&checkout.id, &mut tabs, &requests).await.iter().map(order_id).collect();
        assert_eq!(orders.len(), 1, "every tab is told of the same order");
        let authorised = sale.payments(&checkout).await;
        assert_eq!(authorised.len(), 1, "{authorised:?}");
    }
    let found = sale.reckon(ROUNDS as u64, ROUNDS as u64).await;
    assert_eq!(found.money, ROUNDS as i64 * (1_000 + SHIPPING));
}

/// shopware#19943 (two tabs, two orders: the cart is read outside the lock): each tab has a key of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_complete_at_once_with_keys_of_their_own_make_one_order() {
    completed_at_once(|tab| format!("tab-{tab}")).await;
}

/// woocommerce#62659 (a double click makes two orders): the same key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_double_click_makes_one_order() {
    completed_at_once(|_| "click".to_owned()).await;
}

/// shopware#19943 from the beginning: every tab begins to buy the cart, and completes what it was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_begin_at_once_are_in_one_checkout() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(1_000, 100).await;
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let mut tabs = shopper.tabs(TABS).await;
        let requests: Vec<_> = (0..TABS).map(|tab| Checkout::begin(&shopper.cart, &format!("tab-{tab}"))).collect();
        let answers = sale.at_once(&shopper.cart.id, &mut tabs, &requests).await;
        let begun: Vec<_> = answers.iter().map(|answer| Checkout::of(answer, &shopper.cart).unwrap()).collect();
        assert!(begun.iter().all(|checkout| checkout.id == begun[0].id), "{begun:?}");
        // Each tab again, whether it began the checkout or joined it.
        for (tab, (request, first)) in tabs.iter_mut().zip(requests.iter().zip(&answers)) {
            let again = tab.send(request).await;
            assert_eq!((again.status, again.json()), (first.status, first.json()));
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
        }
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 201], "one tab made it");
        assert_eq!(sale.stock(&sku).await.held, 1);
        sale.begun(&begun[0]);
        shopper.address(&begun[0]).await;
        let pay: Vec<_> = (0..TABS).map(|tab| begun[tab].complete("tok_approve", &format!("tab-{tab}"))).collect();
        let orders: BTreeSet<_> = sale.at_once(&begun[0].id, &mut tabs, &pay).await.iter().map(order_id).collect();
        assert_eq!(orders.len(), 1);
        shopper.cart_once("ordered").await;
        let again = shopper.send(&Checkout::begin(&shopper.cart, "again")).await;
        assert_eq!(problem(&again), (409, "cart_not_open".to_owned()), "what is bought is not bought again");
    }
    sale.reckon(ROUNDS as u64, ROUNDS as u64).await;
}

/// woocommerce#62659 from the other end: the answer never reaches the page, whose connection is gone; it asks again.
#[tokio::test]
async fn a_page_that_lost_its_connection_and_asks_again_is_told_of_its_order() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 100).await;
    for round in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let checkout = shopper.ready(&sale).await;
        let complete = checkout.complete("tok_approve", "pay");
        let mut lost = TcpStream::connect(shopper.address_of_the_shop()).await.unwrap();
        lost.write_all(&complete).await.unwrap();
        // Gone at once, or when the answer has begun to arrive.
        if round % 2 == 1 {
            lost.read_exact(&mut [0; 12]).await.unwrap();
        }
        drop(lost);
        let answer = shopper.send(&complete).await;
        let order = order_id(&answer);
        let replayed = shopper.send(&complete).await;
        assert_eq!((order_id(&replayed), replayed.header("idempotent-replayed")), (order, Some("true")));
        assert_eq!(sale.payments(&checkout).await.len(), 1);
    }
    sale.reckon(ROUNDS as u64, ROUNDS as u64).await;
}

/// A cancel that comes at once with a payment, while it is being made, and once the bank has said yes: there is an order
/// that is paid, or there is none and nothing was taken; never half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_meets_a_payment_ends_in_one_of_both() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(1_000, 100).await;
    let mut orders = 0;
    for round in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let checkout = shopper.ready(&sale).await;
        let mut tab = shopper.tab().await;
        let cancel = async {
            match round % 3 {
                0 => {}
                1 => {
                    until("the payment is being made", async || {
                        (tab.read(&checkout).await["status"] != "open").then_some(())
                    })
                    .await;
                }
                _ => {
                    until("the bank has said yes", async || (!sale.payments(&checkout).await.is_empty()).then_some(()))
                        .await;
                    tab.checkout_once(&checkout, "completed").await;
                }
            }
            tab.send(&checkout.cancel()).await
        };
        let both = async { tokio::join!(shopper.pay(&checkout, "tok_approve", "pay"), cancel) };
        let (paid, cancelled) = if round % 3 == 0 { sale.all_at(&checkout.id, 2, both).await } else { both.await };
        match [paid.status, cancelled.status] {
            [200, 409] => {
                assert_eq!(problem(&cancelled).1, "illegal_transition");
                orders += 1;
            }
            [409, 200] if round % 3 < 2 => assert_eq!(problem(&paid).1, "checkout_not_open"),
            other => panic!("round {round}: {other:?}: {} {}", paid.json(), cancelled.json()),
        }
    }
    sale.reckon(orders, orders).await;
}
