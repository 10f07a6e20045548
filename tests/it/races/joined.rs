//! Lines and carts that come together. Carts are not merged in this release: what a guest can join are lines, by taking one
//! back that was saved for later, and two carts of one guest stay two.

use loadtest::shop::Checkout;
use serde_json::json;

use super::ROUNDS;
use crate::{
    http::problem,
    support::shopping::{Sale, at_once, lines, order_id},
};

/// SAP/spartacus#4008, pwa-kit#2431 (both tabs join the same things): two tabs take the same line back at once, and its
/// units are there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_taken_back_by_two_tabs_at_once_is_joined_once() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(700, 1_000).await;
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 2).await;
        shopper.send(&shopper.cart.request("POST", "/items/l1/save", None, None)).await;
        shopper.add(&sku, 3).await;
        let mut tabs = shopper.tabs(2).await;
        let restore = shopper.cart.request("POST", "/items/l1/restore", None, None);
        let mut answers = sale.at_once(&shopper.cart.id, &mut tabs, &[restore.clone(), restore]).await;
        answers.sort_by_key(|answer| answer.status);
        assert_eq!((answers[0].status, problem(&answers[1])), (200, (404, "not_found".to_owned())));
        let cart = shopper.read_cart().await;
        assert_eq!((lines(&cart), &cart["saved_for_later"]), (vec![(sku.clone(), 5)], &json!([])));
    }
}

/// bagisto#2954 (joining at the limit is answered 500): it is refused, tells the limit, and both lines are as they were.
#[tokio::test]
async fn lines_that_together_pass_the_limit_are_refused_and_stay_as_they_are() {
    let sale = Sale::open();
    let sku = sale.product_with(700, 1_000, &json!({ "quantity_max": 5 })).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 3).await;
    shopper.send(&shopper.cart.request("POST", "/items/l1/save", None, None)).await;
    let before = shopper.add(&sku, 3).await;
    let mut tabs = shopper.tabs(2).await;
    let restore = shopper.cart.request("POST", "/items/l1/restore", None, None);
    for refused in at_once(&mut tabs, &[restore.clone(), restore]).await {
        assert_eq!(problem(&refused), (422, "quantity_out_of_range".to_owned()));
        assert!(refused.json()["detail"].as_str().unwrap().contains("6 is more than the 5"), "{}", refused.json());
    }
    assert_eq!(shopper.read_cart().await, before);
}

/// opencart#7375 (customers are billed for what two carts had in common): two carts of one guest with the same product,
/// bought at once: each order bills what its own cart held.
#[tokio::test]
async fn two_carts_of_one_shopper_bought_at_once_bill_each_unit_once() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut one = sale.shopper().await;
    let mut other = one.tab().await;
    let made = other.ask("POST", "/v1/carts", &[], None).await;
    assert_eq!(made.status, 201);
    other.cart.id = made.json()["id"].as_str().unwrap().to_owned();
    one.add(&sku, 1).await;
    other.add(&sku, 2).await;
    let mut tabs = [one, other];
    let mut checkouts: Vec<Checkout> = Vec::new();
    for tab in &mut tabs {
        checkouts.push(tab.ready(&sale).await);
    }
    let pay: Vec<_> = checkouts.iter().map(|checkout| checkout.complete("tok_approve", "pay")).collect();
    let paid = at_once(&mut tabs, &pay).await;
    for ((tab, checkout), (answer, units)) in tabs.iter_mut().zip(&checkouts).zip(paid.iter().zip([1, 2])) {
        let order = tab.order_once(&checkout.order(&order_id(answer)), "paid").await;
        assert_eq!(lines(&order), [(sku.clone(), units)]);
    }
    assert_eq!(sale.reckon(2, 3).await.money, 3 * 1_000 + 2 * crate::support::shopping::SHIPPING);
}
