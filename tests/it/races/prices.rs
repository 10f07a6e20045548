//! Nobody pays more than they saw, unless they say yes to it.

use serde_json::{Value, json};

use super::ROUNDS;
use crate::{
    http::problem,
    support::shopping::{SHIPPING, Sale, Shopper, order_id},
};
use loadtest::{client::Answer, shop::Checkout};

/// Begins to buy, with or without a yes to prices that rose.
async fn begin(shopper: &mut Shopper, accepts: bool) -> Answer {
    let body = json!({ "cart_id": shopper.cart.id, "accept_price_changes": accepts });
    shopper.ask("POST", "/v1/checkouts", &[], Some(&body)).await
}

/// Pays for what was begun; the order.
async fn bought(sale: &Sale, shopper: &mut Shopper, begun: &Answer) -> Value {
    let checkout = Checkout::of(begun, &shopper.cart).unwrap();
    sale.begun(&checkout);
    shopper.address(&checkout).await;
    let paid = shopper.pay(&checkout, "tok_approve", "pay").await;
    shopper.order_once(&checkout.order(&order_id(&paid)), "paid").await
}

/// spree#11801, Shopify/buy-button-js#794 (the price at the checkout is another than in the cart, unsaid): a rise is told
/// with both prices and needs a yes.
#[tokio::test]
async fn a_price_that_rose_is_told_and_charged_only_after_a_yes() {
    let sale = Sale::open();
    let (rises, stays) = (sale.product(1_000, 10).await, sale.product(300, 10).await);
    let mut shopper = sale.shopper().await;
    shopper.add(&stays, 1).await;
    shopper.add(&rises, 2).await;
    sale.reprice(&rises, 1_250, 10).await;
    for _ in 0..2 {
        let told = begin(&mut shopper, false).await;
        assert_eq!(problem(&told), (409, "price_changed".to_owned()));
        let errors = json!([{ "pointer": "/lines/l2/unit_price", "code": "price_changed",
            "detail": "seen 1000, now 1250 EUR minor units" }]);
        assert_eq!(told.json()["errors"], errors);
        assert_eq!(sale.stock(&rises).await.held, 0, "nothing was begun");
    }
    let begun = begin(&mut shopper, true).await;
    assert_eq!((begun.status, &begun.json()["totals"]["total"]["amount"]), (201, &json!(300 + 2 * 1_250)));
    let order = bought(&sale, &mut shopper, &begun).await;
    assert_eq!(order["payments"][0]["captured"]["amount"], 300 + 2 * 1_250 + SHIPPING);
    sale.reckon(1, 3).await;
}

/// shopperlabs/shopper PR #614 (what falls is passed on): without a question.
#[tokio::test]
async fn a_price_that_fell_is_passed_on() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 1).await;
    sale.reprice(&sku, 800, 10).await;
    let begun = begin(&mut shopper, false).await;
    assert_eq!(begun.status, 201, "{}", begun.json());
    let order = bought(&sale, &mut shopper, &begun).await;
    assert_eq!(order["payments"][0]["captured"]["amount"], 800 + SHIPPING);
    sale.reckon(1, 1).await;
}

/// spree#11801 from the other end: once begun, the quote stands until the checkout's time is over.
#[tokio::test]
async fn a_price_that_rises_during_the_checkout_does_not_reach_it() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 1).await;
    let begun = begin(&mut shopper, false).await;
    sale.reprice(&sku, 5_000, 10).await;
    let again = begin(&mut shopper, false).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &begun.json()["id"]), "the same one, on the same terms");
    let order = bought(&sale, &mut shopper, &begun).await;
    assert_eq!(order["lines"][0]["unit_price"]["amount"], 1_000);
    assert_eq!(order["payments"][0]["captured"]["amount"], 1_000 + SHIPPING);
    sale.reckon(1, 1).await;
}

/// The price rises while one shopper after the other begins to buy: each is charged what they saw, or asked first.
#[tokio::test]
async fn a_price_that_rises_as_checkouts_begin_is_never_charged_unasked() {
    const SHOPPERS: usize = 8;
    let sale = Sale::open();
    let sku = sale.product(1_000, 100).await;
    let (mut seen, mut money) = (1_000, 0);
    for _ in 0..ROUNDS / 2 {
        let mut shoppers = sale.shoppers(SHOPPERS + 1, &sku, 1).await;
        let mut late = shoppers.pop().unwrap();
        let new = seen + 100;
        let begin_in_turn = async {
            let mut answers = Vec::new();
            for shopper in &mut shoppers {
                answers.push(begin(shopper, false).await);
            }
            answers
        };
        let (mut answers, ()) = tokio::join!(begin_in_turn, sale.reprice(&sku, new, 100));
        answers.push(begin(&mut late, false).await);
        assert_eq!(answers.last().unwrap().status, 409, "by now it has risen");
        shoppers.push(late);
        for (shopper, answer) in shoppers.iter_mut().zip(answers) {
            let (begun, expected) = if answer.status == 201 {
                (answer, seen)
            } else {
                assert_eq!(problem(&answer), (409, "price_changed".to_owned()));
                (begin(shopper, true).await, new)
            };
            let order = bought(&sale, shopper, &begun).await;
            assert_eq!(order["payments"][0]["captured"]["amount"], expected + SHIPPING);
            money += expected + SHIPPING;
        }
        seen = new;
    }
    let orders = (ROUNDS / 2 * (SHOPPERS + 1)) as u64;
    assert_eq!(sale.reckon(orders, orders).await.money, money);
}
