//! Orders afterwards: parcels, returns, refunds, cancels.

use loadtest::{client::Answer, shop::Checkout};
use serde_json::{Value, json};

use super::eur;
use crate::{
    http::problem,
    support::{
        shopping::{SHIPPING, Sale, Shopper, order_id},
        wait::until,
    },
};

const PRICE: i64 = 1_000;
const TOTAL: i64 = 3 * PRICE + SHIPPING;

/// An order of three units that is paid.
struct Bought {
    sale: Sale,
    shopper: Shopper,
    checkout: Checkout,
    sku: String,
    id: String,
}

impl Bought {
    async fn new() -> Self {
        let sale = Sale::open();
        let sku = sale.product(PRICE, 5).await;
        let mut shopper = sale.shoppers(1, &sku, 3).await.remove(0);
        let checkout = shopper.ready(&sale).await;
        let id = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
        shopper.order_once(&checkout.order(&id), "paid").await;
        Self { sale, shopper, checkout, sku, id }
    }

    async fn admin(&self, deed: &str, key: &str, body: &Value) -> Answer {
        self.sale.admin("POST", &format!("/admin/orders/{}/{deed}", self.id), Some(key), Some(body)).await
    }

    async fn ask(&mut self, deed: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        self.shopper.ask("POST", &format!("/v1/orders/{}/{deed}", self.id), &headers, body).await
    }

    async fn order(&mut self) -> Value {
        self.shopper.send(&self.checkout.order(&self.id)).await.json()
    }

    /// Waits until the bank has given back so much, of all that it took, in one payment.
    async fn refunded(&self, amount: i64) {
        until("the bank has given money back", async || {
            let payments = self.sale.payments(&self.checkout).await;
            assert_eq!((payments.len(), &payments[0]["captured"]), (1, &json!(TOTAL)), "{payments:?}");
            assert!(payments[0]["refunded"].as_i64().unwrap() <= amount, "{payments:?}");
            (payments[0]["refunded"] == amount).then_some(())
        })
        .await;
    }
}

fn units(quantity: u64) -> Value {
    json!({ "lines": [{ "line": "l1", "quantity": quantity }] })
}

#[tokio::test]
async fn what_was_sent_comes_back_with_its_share_of_the_money_and_no_more() {
    let mut bought = Bought::new().await;
    let early = bought.ask("returns", Some("early"), Some(&units(1))).await;
    assert_eq!(problem(&early), (409, "illegal_transition".to_owned()), "nothing has been sent");
    let parcel = json!({ "lines": [{ "line": "l1", "quantity": 2 }], "carrier": "DHL", "label": "JD1" });
    let sent = bought.admin("fulfilments", "parcel-1", &parcel).await;
    assert_eq!((sent.status, &sent.json()["status"]), (200, &json!("partly_fulfilled")), "{}", sent.json());
    let again = bought.admin("fulfilments", "parcel-1", &parcel).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    let more = bought.admin("fulfilments", "parcel-2", &units(2)).await;
    assert_eq!(problem(&more), (422, "quantity_out_of_range".to_owned()), "one is left");
    bought.sale.stocked(&bought.sku, 2, 0, 1).await;
    let cancel = bought.ask("cancel", Some("cancel"), None).await;
    assert_eq!(problem(&cancel), (409, "illegal_transition".to_owned()), "something is on its way");

    let keyless = bought.ask("returns", None, Some(&units(1))).await;
    assert_eq!(problem(&keyless), (400, "idempotency_key_missing".to_owned()));
    for (lines, status, code) in [
        (units(3), 422, "quantity_out_of_range"),
        (units(0), 422, "quantity_out_of_range"),
        (json!({ "lines": [] }), 400, "invalid_request"),
        (json!({ "lines": [{ "line": "l9", "quantity": 1 }] }), 404, "not_found"),
        (json!({ "lines": [{ "line": "one", "quantity": 1 }] }), 400, "invalid_id"),
    ] {
        let refused = bought.ask("returns", Some("wrong"), Some(&lines)).await;
        assert_eq!(problem(&refused), (status, code.to_owned()), "{lines}");
    }
    let back = bought.ask("returns", Some("back"), Some(&units(1))).await;
    assert_eq!((back.status, &back.json()["lines"][0]["returned"]), (200, &json!(1)), "{}", back.json());
    let again = bought.ask("returns", Some("back"), Some(&units(1))).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    bought.refunded(PRICE).await;
    bought.sale.stocked(&bought.sku, 3, 0, 1).await;
    let both = bought.ask("returns", Some("both"), Some(&units(2))).await;
    assert_eq!(problem(&both), (422, "quantity_out_of_range".to_owned()), "one of the two is back already");
    let order = bought.shopper.order_once(&bought.checkout.order(&bought.id), "partly_refunded").await;
    assert_eq!(order["payments"][0]["refunded"], eur(PRICE));
    assert_eq!(order["shipments"][0]["carrier"], "DHL");
}

#[tokio::test]
async fn p3_p5_a_refund_under_one_key_moves_money_once_and_never_more_than_was_taken() {
    let mut bought = Bought::new().await;
    let over = bought.admin("refunds", "over", &json!({ "amount": TOTAL + 1 })).await;
    assert_eq!(problem(&over), (400, "invalid_request".to_owned()));
    assert_eq!(over.json()["errors"][0]["pointer"], "/amount");
    for amount in [0, -1] {
        assert_eq!(bought.admin("refunds", "none", &json!({ "amount": amount })).await.status, 400);
    }
    let path = format!("/admin/orders/{}/refunds", bought.id);
    let keyless = bought.sale.admin("POST", &path, None, Some(&json!({ "amount": 1 }))).await;
    assert_eq!(problem(&keyless), (400, "idempotency_key_missing".to_owned()));
    let part = json!({ "amount": 700 });
    let first = bought.admin("refunds", "part", &part).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    bought.refunded(700).await;
    let again = bought.admin("refunds", "part", &part).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    let other = bought.admin("refunds", "part", &json!({ "amount": 701 })).await;
    assert_eq!(problem(&other), (422, "idempotency_key_reused".to_owned()));
    let over = bought.admin("refunds", "rest", &json!({ "amount": TOTAL - 700 + 1 })).await;
    assert_eq!(problem(&over), (400, "invalid_request".to_owned()), "of what is left");
    let rest = bought.admin("refunds", "rest", &json!({ "amount": TOTAL - 700 })).await;
    assert_eq!(rest.status, 200, "{}", rest.json());
    bought.refunded(TOTAL).await;
    let order = bought.shopper.order_once(&bought.checkout.order(&bought.id), "refunded").await;
    assert_eq!(order["payments"][0]["refunded"], eur(TOTAL));
    let more = bought.admin("refunds", "more", &json!({ "amount": 1 })).await;
    assert_eq!(more.status, 400, "{}", more.json());
    bought.refunded(TOTAL).await;
}

/// Placed, captured, and two for each refund: what is too much is told as a number.
#[tokio::test]
async fn an_order_tells_the_newest_of_a_long_history_and_how_much_is_older() {
    const REFUNDS: u64 = 100;
    let mut bought = Bought::new().await;
    for n in 1..=REFUNDS {
        assert_eq!(bought.order().await["events_dropped"], (2 * n).saturating_sub(200));
        let refund = bought.admin("refunds", &format!("cent-{n}"), &json!({ "amount": 1 })).await;
        assert_eq!(refund.status, 200, "{}", refund.json());
        until("it is back", async || (bought.order().await["payments"][0]["refunded"]["amount"] == n).then_some(()))
            .await;
    }
    let order = bought.order().await;
    let events = order["events"].as_array().unwrap();
    assert_eq!((events.len(), &order["events_dropped"]), (200, &json!(2)));
    assert_eq!((&events[0]["kind"], &events[199]["kind"]), (&json!("refund_asked"), &json!("refunded")));
    assert_eq!(events[199]["amount"], eur(1));
}

#[tokio::test]
async fn an_order_that_its_shopper_cancels_gives_everything_back_and_keeps_their_reason() {
    let mut bought = Bought::new().await;
    let keyless = bought.ask("cancel", None, None).await;
    assert_eq!(problem(&keyless), (400, "idempotency_key_missing".to_owned()));
    let long = json!({ "reason": "x".repeat(201) });
    let refused = bought.ask("cancel", Some("cancel"), Some(&long)).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/reason");
    let reason = json!({ "reason": "found it cheaper" });
    let cancelled = bought.ask("cancel", Some("cancel"), Some(&reason)).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    bought.refunded(TOTAL).await;
    bought.sale.stocked(&bought.sku, 5, 0, 0).await;
    let order = bought.order().await;
    let events = order["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["note"] == "found it cheaper"), "{events:?}");
    let parcel = bought.admin("fulfilments", "parcel", &units(1)).await;
    assert_eq!(problem(&parcel), (409, "illegal_transition".to_owned()), "nothing of it is sent");
    assert_eq!(bought.sale.reckon(1, 0).await.money, 0);
}
