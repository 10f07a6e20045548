//! Payments that do not succeed at once, and what the shopper can do then.

use loadtest::shop::Checkout;
use serde_json::{Value, json};

use crate::{
    http::problem,
    support::{
        shopping::{SHIPPING, Sale, Shopper, action, order_id},
        wait::until,
    },
};

const PRICE: i64 = 1_000;
const TOTAL: i64 = PRICE + SHIPPING;

async fn ready(sale: &Sale) -> (Shopper, Checkout, String) {
    let sku = sale.product(PRICE, 5).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let checkout = shopper.ready(sale).await;
    (shopper, checkout, sku)
}

/// The states of a checkout's payments in the bank's book, by their attempts.
async fn states(sale: &Sale, checkout: &Checkout) -> Vec<(String, String)> {
    let mut payments = sale.payments(checkout).await;
    payments.sort_by_key(|payment| payment["key"].as_str().unwrap().to_owned());
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    payments.iter().map(|payment| (text(&payment["key"]).split_off(27), text(&payment["state"]))).collect()
}

fn told(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(attempt, state)| ((*attempt).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn a_decline_keeps_the_goods_and_a_new_key_with_another_card_pays() {
    let sale = Sale::open();
    let (mut shopper, checkout, sku) = ready(&sale).await;
    let declined = shopper.pay(&checkout, "tok_decline", "first").await;
    assert_eq!(problem(&declined), (402, "payment_declined".to_owned()));
    assert!(declined.json()["detail"].as_str().unwrap().starts_with("The card was declined."), "{}", declined.json());
    let seen = shopper.read(&checkout).await;
    assert_eq!((&seen["status"], &seen["payment"]["status"]), (&json!("open"), &json!("declined")));
    assert_eq!(sale.stock(&sku).await.held, 1, "the goods are still the shopper's");
    let again = shopper.pay(&checkout, "tok_decline", "first").await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (402, Some("true")),
        "the old key tells the old end"
    );
    let other = shopper.pay(&checkout, "tok_approve", "first").await;
    assert_eq!(problem(&other), (422, "idempotency_key_reused".to_owned()));
    order_id(&shopper.pay(&checkout, "tok_approve", "second").await);
    assert_eq!(states(&sale, &checkout).await, told(&[("1", "declined"), ("2", "authorised")]));
    assert_eq!(sale.reckon(1, 1).await.money, TOTAL);
}

#[tokio::test]
async fn a_payment_that_wants_its_shopper_tells_where_and_goes_on_once_they_were_there() {
    let sale = Sale::open();
    let (mut shopper, checkout, sku) = ready(&sale).await;
    let asked = shopper.pay(&checkout, "tok_action", "pay").await;
    assert_eq!(problem(&asked), (402, "payment_requires_action".to_owned()));
    let seen = shopper.read(&checkout).await;
    let url = seen["payment"]["action"]["url"].as_str().unwrap().to_owned();
    assert_eq!((&seen["status"], &*url), (&json!("requires_action"), &*action(&checkout, 1)));
    let error = &asked.json()["errors"][0];
    assert_eq!((&error["pointer"], &error["detail"]), (&json!("/payment/action/url"), &json!(url)));
    assert_eq!(shopper.ask("GET", &url, &[], None).await.status, 200);
    assert_eq!(shopper.pay(&checkout, "tok_action", "pay").await.status, 402, "they have not been there");
    assert_eq!(shopper.ask("POST", &url, &[], None).await.json(), json!({ "confirmed": true }));
    let paid = until("the payment goes on", async || {
        Some(shopper.pay(&checkout, "tok_action", "pay").await).filter(|answer| answer.status == 200)
    })
    .await;
    order_id(&paid);
    assert_eq!(shopper.read(&checkout).await["payment"], json!({ "status": "authorised", "gateway": "sandbox" }));
    sale.stocked(&sku, 4, 0, 1).await;
    assert_eq!(sale.reckon(1, 1).await.money, TOTAL);
}

#[tokio::test]
async fn a_gateway_that_is_away_costs_nothing_and_can_be_asked_again() {
    let sale = Sale::open();
    let (mut shopper, checkout, _) = ready(&sale).await;
    let away = shopper.pay(&checkout, "tok_down", "first").await;
    assert_eq!(problem(&away), (503, "gateway_unavailable".to_owned()));
    let problem = away.json();
    assert_eq!((&problem["retryable"], &problem["outcome"]), (&json!(true), &json!("none")));
    assert!(away.header("retry-after").is_some());
    let seen = shopper.read(&checkout).await;
    assert_eq!((&seen["status"], &seen["payment"]["status"]), (&json!("open"), &json!("unavailable")));
    let again = shopper.pay(&checkout, "tok_down", "first").await;
    assert_eq!(again.status, 503, "still away: the same request is another try");
    order_id(&shopper.pay(&checkout, "tok_approve", "second").await);
    // Whatever may have been on its way to the gateway can reserve nothing any more.
    until("the first two tries are given up", async || {
        (states(&sale, &checkout).await == told(&[("1", "abandoned"), ("2", "abandoned"), ("3", "authorised")]))
            .then_some(())
    })
    .await;
    assert_eq!(sale.reckon(1, 1).await.money, TOTAL);
}

#[tokio::test]
async fn a_cancel_gives_back_goods_and_money_wherever_the_payment_is() {
    let sale = Sale::open();
    for (token, expected) in
        [(None, &[][..]), (Some("tok_decline"), &["declined"]), (Some("tok_action"), &["abandoned"])]
    {
        let (mut shopper, checkout, sku) = ready(&sale).await;
        if let Some(token) = token {
            assert_eq!(shopper.pay(&checkout, token, "pay").await.status, 402);
        }
        for _ in 0..2 {
            let cancelled = shopper.send(&checkout.cancel()).await;
            assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
        }
        sale.stocked(&sku, 5, 0, 0).await;
        until("the bank has let go", async || {
            let found = states(&sale, &checkout).await;
            found.iter().map(|(_, state)| state.as_str()).eq(expected.iter().copied()).then_some(())
        })
        .await;
        assert_eq!(shopper.cart_once("open").await["lines"][0]["quantity"], 1, "the cart is the shopper's again");
        let late = shopper.pay(&checkout, "tok_approve", "late").await;
        assert_eq!(problem(&late), (409, "checkout_not_open".to_owned()));
        shopper.buy(&sale).await;
    }
    assert_eq!(sale.reckon(3, 3).await.money, 3 * TOTAL);
}

#[tokio::test]
async fn a_capture_that_is_refused_cancels_the_order_and_restocks() {
    let sale = Sale::open();
    let (mut shopper, checkout, sku) = ready(&sale).await;
    let id = order_id(&shopper.pay(&checkout, "tok_capture_fails", "pay").await);
    let order = shopper.order_once(&checkout.order(&id), "cancelled").await;
    let kinds: Vec<_> = order["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds[0], "placed");
    assert!(kinds.contains(&json!("cancelled")), "{kinds:?}");
    sale.stocked(&sku, 5, 0, 0).await;
    until("the money is let go", async || (states(&sale, &checkout).await == told(&[("1", "voided")])).then_some(()))
        .await;
    let path = format!("/admin/orders/{id}/fulfilments");
    let all = json!({ "lines": [{ "line": "l1", "quantity": 1 }] });
    let refused = sale.admin("POST", &path, Some("parcel"), Some(&all)).await;
    assert_eq!(problem(&refused), (409, "illegal_transition".to_owned()), "nothing of it is sent");
    assert_eq!(sale.reckon(1, 0).await.money, 0);
}

#[tokio::test]
async fn p3_complete_needs_a_key_that_is_for_one_request() {
    let sale = Sale::open();
    let (mut shopper, checkout, _) = ready(&sale).await;
    let path = format!("/v1/checkouts/{}/complete", checkout.id);
    let payment = |token: &str| json!({ "payment": { "gateway": "sandbox", "token": token } });
    let keyless = shopper.ask("POST", &path, &[], Some(&payment("tok_approve"))).await;
    assert_eq!(problem(&keyless), (400, "idempotency_key_missing".to_owned()));
    let gateway = json!({ "payment": { "gateway": "cash", "token": "tok_approve" } });
    let refused = shopper.ask("POST", &path, &[("idempotency-key", "pay")], Some(&gateway)).await;
    assert_eq!(problem(&refused), (400, "invalid_request".to_owned()));
    assert_eq!(refused.json()["errors"][0]["pointer"], "/payment/gateway");
    for token in ["", "with space", &"t".repeat(3_000)] {
        let refused = shopper.ask("POST", &path, &[("idempotency-key", "pay")], Some(&payment(token))).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], "/payment/token", "{}", refused.json());
    }
    // Refusals are not remembered: the key is still free.
    let paid = shopper.pay(&checkout, "tok_approve", "pay").await;
    assert_eq!((order_id(&paid), paid.header("idempotent-replayed")), (checkout.id.replace("chk_", "ord_"), None));
    let replayed = shopper.pay(&checkout, "tok_approve", "pay").await;
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (200, Some("true")));
    let other = shopper.pay(&checkout, "tok_decline", "pay").await;
    assert_eq!(problem(&other), (422, "idempotency_key_reused".to_owned()));
    sale.reckon(1, 1).await;
}

/// The shopper is asked to confirm, and takes another card instead: the first one's payment is given up, and pays nothing
/// although it is confirmed afterwards.
#[tokio::test]
async fn another_card_takes_the_place_of_one_that_waits_for_its_shopper() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let checkout = shopper.ready(&sale).await;
    assert_eq!(problem(&shopper.pay(&checkout, "tok_action", "first").await).1, "payment_requires_action");
    let paid = shopper.pay(&checkout, "tok_approve", "second").await;
    let order = order_id(&paid);
    let replayed = shopper.pay(&checkout, "tok_approve", "second").await;
    assert_eq!((order_id(&replayed), replayed.header("idempotent-replayed")), (order.clone(), Some("true")));
    assert_eq!(shopper.confirm(&checkout, 1).await.status, 404, "the bank reserves nothing any more");
    shopper.order_once(&checkout.order(&order), "paid").await;
    let states: Vec<_> = sale.payments(&checkout).await.iter().map(|payment| payment["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| **state == "authorised").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == "abandoned").count(), 1, "{states:?}");
    sale.reckon(1, 1).await;
}

/// Another card joins while the bank is being asked about one that it then wants confirmed: it takes its place.
#[tokio::test]
async fn a_card_that_joined_before_the_shopper_was_asked_to_confirm_takes_the_others_place() {
    let sale = Sale::open_with(&[]);
    let sku = sale.product(PRICE, 100).await;
    for _ in 0..6 {
        let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
        let checkout = shopper.ready(&sale).await;
        let mut tabs = shopper.tabs(2).await;
        let requests = [checkout.complete("tok_action", "waits"), checkout.complete("tok_approve", "pays")];
        let answers = crate::support::shopping::at_once(&mut tabs, &requests).await;
        let order = order_id(&answers[1]);
        assert!([200, 402, 503].contains(&answers[0].status), "{}", answers[0].json());
        let again = shopper.send(&requests[1]).await;
        assert_eq!((order_id(&again), again.header("idempotent-replayed")), (order.clone(), Some("true")));
        shopper.order_once(&checkout.order(&order), "paid").await;
    }
    sale.reckon(6, 6).await;
}

/// Two tabs pay with two cards at once: one that joined the other's payment, which was declined, is not declined for it. What
/// was declined stays so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_waited_for_one_that_is_declined_is_tried_then() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(PRICE, 100).await;
    for _ in 0..6 {
        let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
        let checkout = shopper.ready(&sale).await;
        let mut tabs = shopper.tabs(2).await;
        let requests = [checkout.complete("tok_decline", "declined"), checkout.complete("tok_approve", "approved")];
        let answers = sale.at_once(&checkout.id, &mut tabs, &requests).await;
        let order = order_id(&answers[1]);
        // It came first and was declined, whatever came after; or it found the order.
        let tries = sale.payments(&checkout).await.len();
        let first = (answers[0].status, answers[0].json()["code"].clone());
        assert_eq!(first, if tries == 2 { (402, json!("payment_declined")) } else { (200, Value::Null) });
        for (request, answer) in requests.iter().zip(&answers) {
            let again = shopper.send(request).await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (answer.status, Some("true")));
        }
        shopper.order_once(&checkout.order(&order), "paid").await;
    }
    sale.reckon(6, 6).await;
}
