//! What a gateway tells of a payment, and what the shopper does, come in any order, twice, early and late. The sandbox's
//! confirmation goes the way of a gateway's message: the checkout asks the gateway again, and believes that alone.

use loadtest::shop::Checkout;
use serde_json::json;

use super::ROUNDS;
use crate::{
    http::problem,
    support::{
        shopping::{SHIPPING, Sale, Shopper, action, at_once, order_id},
        wait::until,
    },
};

/// A shopper whose payment waits for a confirmation.
async fn asked_to_confirm(sale: &Sale, sku: &str) -> (Shopper, Checkout) {
    let mut shopper = sale.shopper().await;
    shopper.add(sku, 1).await;
    let checkout = shopper.ready(sale).await;
    let asked = shopper.pay(&checkout, "tok_action", "pay").await;
    assert_eq!(problem(&asked), (402, "payment_requires_action".to_owned()));
    assert_eq!(asked.json()["errors"][0]["detail"], action(&checkout, 1), "it tells where");
    (shopper, checkout)
}

fn post(shopper: &Shopper, path: &str) -> Vec<u8> {
    let bearer = format!("Bearer {}", shopper.cart.token);
    loadtest::client::request("POST", path, &[("authorization", &bearer)], None)
}

/// The same request again tells of the order, once the bank was asked again.
async fn completed(shopper: &mut Shopper, checkout: &Checkout) -> String {
    let told = until("the payment goes on", async || {
        Some(shopper.pay(checkout, "tok_action", "pay").await).filter(|answer| answer.status == 200)
    })
    .await;
    order_id(&told)
}

/// Waits until the bank can reserve no money for a checkout any more.
async fn given_up(sale: &Sale, checkout: &Checkout) {
    until("the payment is given up", async || (sale.payments(checkout).await[0]["state"] == "abandoned").then_some(()))
        .await;
}

/// saleor#12652 (a webhook and the shopper's return complete the same checkout twice): two confirmations and the page's
/// own question at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_and_the_shoppers_return_at_once_make_one_order() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(1_000, 100).await;
    for _ in 0..ROUNDS {
        let (mut shopper, checkout) = asked_to_confirm(&sale, &sku).await;
        let confirm = post(&shopper, &action(&checkout, 1));
        let mut tabs = shopper.tabs(3).await;
        let requests = [confirm.clone(), checkout.complete("tok_action", "pay"), confirm];
        let answers = sale.all_at(&checkout.id, 2, at_once(&mut tabs, &requests)).await;
        assert_eq!([answers[0].status, answers[2].status], [200, 200]);
        assert!([200, 202, 402].contains(&answers[1].status), "{}", answers[1].json());
        let order = completed(&mut shopper, &checkout).await;
        assert_eq!(shopper.read(&checkout).await["order_id"], json!(order));
        assert_eq!(sale.payments(&checkout).await.len(), 1);
    }
    assert_eq!(sale.reckon(ROUNDS as u64, ROUNDS as u64).await.money, ROUNDS as i64 * (1_000 + SHIPPING));
}

/// statamic-cargo#190 (the event is taken before the order exists, and never again): a confirmation before there is
/// anything to confirm is refused, reserves nothing, and does not spend the one that comes in time.
#[tokio::test]
async fn a_confirmation_before_the_payment_exists_is_refused_and_the_next_one_counts() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 1).await;
    let checkout = shopper.ready(&sale).await;
    let early = shopper.confirm(&checkout, 1).await;
    assert_eq!(problem(&early), (404, "not_found".to_owned()));
    assert!(sale.payments(&checkout).await.is_empty());
    let order = checkout.order(&checkout.id.replace("chk_", "ord_"));
    assert_eq!(shopper.send(&order).await.status, 404, "there is no order yet");
    assert_eq!(shopper.pay(&checkout, "tok_action", "pay").await.status, 402, "the bank still wants its shopper");
    assert_eq!(shopper.send(&order).await.status, 404, "nor now");
    assert_eq!(shopper.confirm(&checkout, 2).await.status, 404, "of an attempt that there is not");
    assert_eq!(shopper.confirm(&checkout, 1).await.status, 200);
    completed(&mut shopper, &checkout).await;
    sale.reckon(1, 1).await;
}

/// A confirmation after the shopper has cancelled, and one at once with it: the checkout is paid for, or it is cancelled
/// and nothing is reserved; never a cancelled one that was paid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_and_a_cancel_end_in_one_of_both() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(1_000, 100).await;
    let (mut shopper, checkout) = asked_to_confirm(&sale, &sku).await;
    assert_eq!(shopper.send(&checkout.cancel()).await.status, 200);
    sale.stocked(&sku, 100, 0, 0).await;
    given_up(&sale, &checkout).await;
    let late = shopper.confirm(&checkout, 1).await;
    assert_eq!(problem(&late), (404, "not_found".to_owned()), "the bank reserves nothing any more");
    assert_eq!(shopper.read(&checkout).await["status"], "cancelled");

    let mut orders = 0;
    for _ in 0..ROUNDS {
        let (mut shopper, checkout) = asked_to_confirm(&sale, &sku).await;
        let requests = [post(&shopper, &action(&checkout, 1)), checkout.cancel()];
        let mut tabs = shopper.tabs(2).await;
        let answers = sale.at_once(&checkout.id, &mut tabs, &requests).await;
        assert!([200, 404].contains(&answers[0].status), "{}", answers[0].json());
        match answers[1].status {
            200 => drop(shopper.checkout_once(&checkout, "cancelled").await),
            409 => {
                shopper.checkout_once(&checkout, "completed").await;
                orders += 1;
            }
            _ => panic!("{}", answers[1].json()),
        }
    }
    sale.reckon(orders, orders).await;
}

/// woocommerce-gateway-stripe#5268 (an order that is paid is cancelled when its checkout's time is over): the time of a
/// checkout that was paid for is over, which another one shows that began later, and its order stands. Confirmations and
/// cancels that come late change nothing.
#[tokio::test]
async fn an_order_that_is_paid_outlives_its_checkouts_time() {
    let sale = Sale::open_with(&["checkout.expire_after=5s"]);
    let sku = sale.product(1_000, 10).await;
    let (mut shopper, checkout) = asked_to_confirm(&sale, &sku).await;
    assert_eq!(shopper.confirm(&checkout, 1).await.status, 200);
    let read = checkout.order(&completed(&mut shopper, &checkout).await);
    let paid = shopper.order_once(&read, "paid").await;

    let (mut later, waits) = asked_to_confirm(&sale, &sku).await;
    later.checkout_once(&waits, "expired").await;
    given_up(&sale, &waits).await;
    assert_eq!(problem(&later.confirm(&waits, 1).await), (404, "not_found".to_owned()), "nobody pays for nothing");
    sale.stocked(&sku, 9, 0, 1).await;

    // The connection from before may have been idle for too long.
    let mut shopper = shopper.tab().await;
    assert_eq!(shopper.confirm(&checkout, 1).await.status, 200, "told again");
    let cancel = shopper.send(&checkout.cancel()).await;
    assert_eq!(problem(&cancel), (409, "illegal_transition".to_owned()));
    assert_eq!(shopper.send(&read).await.json(), paid, "nothing of the order has changed");
    assert_eq!(sale.reckon(1, 1).await.money, 1_000 + SHIPPING);
}
