//! Discount codes in a purchase: what they take off, and how often they can be used.

use loadtest::shop::Checkout;
use serde_json::{Value, json};

use super::eur;
use crate::{
    http::problem,
    support::{
        shopping::{SHIPPING, Sale, Shopper, order_id},
        wait::until,
    },
};

const PRICE: i64 = 2_000;

async fn apply(shopper: &mut Shopper, code: &str) -> Value {
    let applied = shopper.send(&shopper.cart.request("PUT", &format!("/discount-codes/{code}"), None, None)).await;
    assert_eq!(applied.status, 200, "{}", applied.json());
    applied.json()
}

/// How often a code is used and held, once that is so.
async fn used(sale: &Sale, code: &str, used: u64, held: u64) {
    until("the code's uses are as they should be", async || {
        let uses = sale.admin("GET", &format!("/admin/discount-codes/{code}"), None, None).await.json();
        (uses["used"] == used && uses["held"] == held).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_for_one_purchase_is_used_by_one_of_two_shoppers() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(PRICE, 10).await;
    let code = sale.code(&json!({ "percent_basis_points": 1_000, "uses_max": 1 })).await;
    let mut shoppers = sale.shoppers(2, &sku, 1).await;
    for shopper in &mut shoppers {
        let cart = apply(shopper, &code).await;
        assert_eq!(cart["discounts"], json!([{ "code": code, "amount": eur(-200) }]), "a cart holds no use of it");
    }
    let begin: Vec<_> = shoppers.iter().map(|shopper| Checkout::begin(&shopper.cart, "begin")).collect();
    let answers = sale.at_once(&format!("discount:{code}"), &mut shoppers, &begin).await;
    let first = answers.iter().position(|answer| answer.status == 201).unwrap();
    let refused = &answers[1 - first];
    assert_eq!(problem(refused), (422, "discount_not_applicable".to_owned()));
    assert!(refused.json()["detail"].as_str().unwrap().contains(&code), "it says which: {}", refused.json());
    used(&sale, &code, 0, 1).await;
    let checkout = Checkout::of(&answers[first], &shoppers[first].cart).unwrap();
    sale.begun(&checkout);
    shoppers[first].address(&checkout).await;
    let paid = shoppers[first].pay(&checkout, "tok_approve", "pay").await;
    let order = shoppers[first].order_once(&checkout.order(&order_id(&paid)), "paid").await;
    assert_eq!(order["discounts"], json!([{ "code": code, "amount": eur(-200) }]));
    assert_eq!(order["payments"][0]["captured"], eur(PRICE - 200 + SHIPPING));
    used(&sale, &code, 1, 0).await;

    let other = &mut shoppers[1 - first];
    other.cart_once("open").await;
    assert_eq!(problem(&other.send(&Checkout::begin(&other.cart, "again")).await).1, "discount_not_applicable");
    other.cart_once("open").await;
    let removed = other.send(&other.cart.request("DELETE", &format!("/discount-codes/{code}"), None, None)).await;
    assert_eq!((removed.status, &removed.json()["discounts"]), (200, &json!([])));
    other.buy(&sale).await;
    assert_eq!(sale.reckon(2, 2).await.money, 2 * (PRICE + SHIPPING) - 200);
}

/// Two carts of one shopper begin to buy with it at once: one of them has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_for_one_purchase_of_each_shopper_is_in_one_of_their_two_carts() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(PRICE, 10).await;
    let code = sale.code(&json!({ "amount": 500, "uses_per_shopper_max": 1 })).await;
    let shopper = sale.shopper().await;
    let mut tabs = shopper.tabs(2).await;
    let made = tabs[1].ask("POST", "/v1/carts", &[], None).await;
    tabs[1].cart.id = made.json()["id"].as_str().unwrap().to_owned();
    for tab in &mut tabs {
        tab.add(&sku, 1).await;
        apply(tab, &code).await;
    }
    let begin: Vec<_> = tabs.iter().map(|tab| Checkout::begin(&tab.cart, "begin")).collect();
    let answers = sale.at_once(&format!("discount:{code}"), &mut tabs, &begin).await;
    let first = answers.iter().position(|answer| answer.status == 201).unwrap();
    assert_eq!(problem(&answers[1 - first]), (422, "discount_not_applicable".to_owned()));
    used(&sale, &code, 0, 1).await;
    let checkout = Checkout::of(&answers[first], &tabs[first].cart).unwrap();
    sale.begun(&checkout);
    tabs[first].address(&checkout).await;
    let paid = tabs[first].pay(&checkout, "tok_approve", "pay").await;
    let order = tabs[first].order_once(&checkout.order(&order_id(&paid)), "paid").await;
    assert_eq!(order["totals"]["discount"], eur(-500));
    used(&sale, &code, 1, 0).await;
    sale.reckon(1, 1).await;
}

#[tokio::test]
async fn a_code_for_one_purchase_of_each_shopper_is_free_again_after_a_cancel() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let code = sale.code(&json!({ "amount": 500, "uses_per_shopper_max": 1 })).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    apply(&mut shopper, &code).await;
    let abandoned = shopper.begin(&sale).await;
    assert_eq!(shopper.send(&abandoned.cancel()).await.status, 200);
    used(&sale, &code, 0, 0).await;
    shopper.cart_once("open").await;
    let order = shopper.buy(&sale).await;
    assert_eq!(order["totals"]["discount"], eur(-500));

    let made = shopper.ask("POST", "/v1/carts", &[], None).await;
    shopper.cart.id = made.json()["id"].as_str().unwrap().to_owned();
    shopper.add(&sku, 1).await;
    apply(&mut shopper, &code).await;
    let refused = shopper.send(&Checkout::begin(&shopper.cart, "second")).await;
    assert_eq!(problem(&refused), (422, "discount_not_applicable".to_owned()));
    let mut other = sale.shoppers(1, &sku, 1).await.remove(0);
    apply(&mut other, &code).await;
    other.buy(&sale).await;
    used(&sale, &code, 2, 0).await;
    sale.reckon(2, 2).await;
}

/// A code that takes nothing off is told of in the cart, and buying with it does not use it up.
#[tokio::test]
async fn a_code_below_its_minimum_takes_nothing_off_and_is_not_used_up() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let code = sale.code(&json!({ "amount": 500, "minimum": 3_000, "uses_per_shopper_max": 1 })).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let cart = apply(&mut shopper, &code).await;
    assert_eq!(
        (&cart["totals"]["total"], &cart["messages"][0]["code"]),
        (&eur(PRICE), &json!("discount_minimum_not_reached"))
    );
    let order = shopper.buy(&sale).await;
    assert_eq!((&order["discounts"], &order["totals"]["total"]), (&json!([]), &eur(PRICE + SHIPPING)));
    used(&sale, &code, 0, 0).await;

    let made = shopper.ask("POST", "/v1/carts", &[], None).await;
    shopper.cart.id = made.json()["id"].as_str().unwrap().to_owned();
    shopper.add(&sku, 2).await;
    let cart = apply(&mut shopper, &code).await;
    assert_eq!((&cart["totals"]["total"], &cart["messages"]), (&eur(2 * PRICE - 500), &json!([])));
    let order = shopper.buy(&sale).await;
    assert_eq!(order["totals"]["discount"], eur(-500));
    used(&sale, &code, 1, 0).await;
    sale.reckon(2, 3).await;
}

#[tokio::test]
async fn free_shipping_takes_off_what_the_chosen_way_costs() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let code = sale.code(&json!({ "free_shipping": true })).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    apply(&mut shopper, &code).await;
    let checkout = shopper.begin(&sale).await;
    assert_eq!(shopper.read(&checkout).await["totals"]["total"], eur(PRICE), "nothing is chosen yet");
    let seen = shopper.address(&checkout).await;
    assert_eq!(seen["discounts"], json!([{ "code": code, "amount": eur(-SHIPPING) }]));
    let totals = &seen["totals"];
    assert_eq!((&totals["shipping"], &totals["total"]), (&eur(SHIPPING), &eur(PRICE)));
    let tag = format!("\"{}\"", seen["revision"]);
    let path = format!("/v1/checkouts/{}", checkout.id);
    let express = json!({ "shipping_option": "express" });
    let seen = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(&express)).await.json();
    assert_eq!((&seen["totals"]["shipping"], &seen["totals"]["total"]), (&eur(1_290), &eur(PRICE)));
    let paid = shopper.pay(&checkout, "tok_approve", "pay").await;
    shopper.order_once(&checkout.order(&order_id(&paid)), "paid").await;
    assert_eq!(sale.reckon(1, 1).await.money, PRICE);
}

/// What was quoted stands until the checkout's time is over, and a code that took something off is used.
#[tokio::test]
async fn a_code_whose_time_ends_during_the_checkout_still_takes_off_what_was_quoted() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let until_ms = trolley::telemetry::clock::now().0 + 3_000;
    let code = sale.code(&json!({ "amount": 500, "valid_until_ms": until_ms })).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    apply(&mut shopper, &code).await;
    let checkout = shopper.begin(&sale).await;
    let mut late = sale.shoppers(1, &sku, 1).await.remove(0);
    until("the code's time is over", async || (trolley::telemetry::clock::now().0 > until_ms).then_some(())).await;
    let refused = late.send(&late.cart.request("PUT", &format!("/discount-codes/{code}"), None, None)).await;
    assert_eq!(problem(&refused), (422, "discount_not_applicable".to_owned()));
    assert_eq!(shopper.address(&checkout).await["totals"]["discount"], eur(-500));
    let paid = shopper.pay(&checkout, "tok_approve", "pay").await;
    let order = shopper.order_once(&checkout.order(&order_id(&paid)), "paid").await;
    assert_eq!(order["payments"][0]["captured"], eur(PRICE - 500 + SHIPPING));
    used(&sale, &code, 1, 0).await;
    sale.reckon(1, 1).await;
}

/// A cart keeps a code as it was when it was applied; what it is when the checkout begins counts.
#[tokio::test]
async fn a_code_that_is_defined_anew_is_bought_with_as_it_is() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let code = sale.code(&json!({ "percent_basis_points": 5_000 })).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    apply(&mut shopper, &code).await;
    let path = format!("/admin/discount-codes/{code}");
    let put = sale.admin("PUT", &path, None, Some(&json!({ "percent_basis_points": 500 }))).await;
    assert_eq!(put.status, 200, "{}", put.json());
    let order = shopper.buy(&sale).await;
    assert_eq!(order["totals"]["discount"], eur(-PRICE / 20));
    sale.reckon(1, 1).await;
}
