//! What must not be kept or told: card numbers, and who the shopper is.

use serde_json::{Value, json};

use crate::{
    http::problem,
    support::shopping::{Sale, address, order_id},
};

/// A card scheme's own test number, as people write it.
const CARD: &str = "4242 4242 4242 4242";
/// The same in one row.
const ROW: &str = "5555555555554444";

/// The body with a card number at this place.
fn with_card(mut body: Value, pointer: &str, card: &str) -> Value {
    match body.pointer_mut(pointer) {
        Some(place) => *place = json!(card),
        None => {
            let (within, name) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(within).unwrap()[name] = json!(card);
        }
    }
    body
}

/// Whatever is sent and wherever it stands, a card number is refused before anything else is looked at, and neither it nor
/// anything about the shopper reaches the log, be it as wordy as can be.
#[tokio::test]
async fn card_numbers_are_refused_and_the_log_knows_nobody() {
    let sale = Sale::open_with(&["log.level=trace", "log.requests=true"]);
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let checkout = shopper.ready(&sale).await;
    let (cart, at) = (format!("/v1/carts/{}", shopper.cart.id), format!("/v1/checkouts/{}", checkout.id));
    let items = format!("{cart}/items");
    let complete = format!("{at}/complete");
    let order = format!("/v1/orders/{}", checkout.id.replace("chk_", "ord_"));
    let payment = json!({ "payment": { "gateway": "sandbox", "token": "tok_approve" } });
    let item = json!({ "sku": sku, "quantity": 1, "metadata": { "for": "Ada" } });
    let patch = json!({ "email": "ada@shop.example", "shipping_address": address() });
    let table = [
        ("PATCH", &cart, json!({ "note": "" }), "/note"),
        ("POST", &items, item.clone(), "/metadata/for"),
        ("POST", &items, item.clone(), "/sku"),
        ("POST", &items, item, "/unheard"),
        ("POST", &"/v1/checkouts".to_owned(), json!({ "cart_id": "" }), "/cart_id"),
        ("PATCH", &at, patch.clone(), "/shipping_address/name"),
        ("PATCH", &at, patch.clone(), "/shipping_address/line1"),
        ("PATCH", &at, patch.clone(), "/shipping_option"),
        ("PATCH", &at, patch, "/email"),
        ("POST", &complete, payment.clone(), "/payment/token"),
        ("POST", &complete, payment.clone(), "/payment/gateway"),
        ("POST", &complete, payment, "/payment/number"),
        ("POST", &format!("{order}/cancel"), json!({}), "/reason"),
        ("POST", &format!("{order}/returns"), json!({ "lines": [{ "line": "l1", "quantity": 1 }] }), "/lines/0/line"),
    ];
    let seen = shopper.read(&checkout).await;
    let tag = format!("\"{}\"", seen["revision"]);
    for (method, path, body, pointer) in table {
        for card in [CARD, ROW] {
            let body = with_card(body.clone(), pointer, card);
            let headers = [("idempotency-key", "card"), ("if-match", tag.as_str())];
            let refused = shopper.ask(method, path, &headers, Some(&body)).await;
            let told = refused.json();
            assert_eq!(problem(&refused), (422, "card_data_refused".to_owned()), "{method} {path} {pointer}: {told}");
            assert_eq!(told["errors"][0]["pointer"], pointer, "{method} {path}");
            assert!(!told.to_string().contains(card), "it is not told back");
        }
    }
    let number = json!({ "payment": { "gateway": "sandbox", "token": 4_242_424_242_424_242_u64 } });
    let refused = shopper.ask("POST", &complete, &[("idempotency-key", "card")], Some(&number)).await;
    assert_eq!(problem(&refused).1, "card_data_refused", "nor as a number");
    for (method, path) in [
        ("PUT", format!("{cart}/discount-codes/{ROW}")),
        ("DELETE", format!("{cart}/discount-codes/{}", CARD.replace(' ', "%20"))),
    ] {
        let refused = shopper.ask(method, &path, &[("request-id", ROW)], None).await;
        assert_eq!(problem(&refused), (422, "card_data_refused".to_owned()), "{method} {path}");
        let told = refused.json().to_string();
        assert!(!told.contains("4242") && !told.contains(ROW) && refused.header("request-id") != Some(ROW), "{told}");
    }
    // It may be a barcode, which is looked up and told to nobody.
    let none = shopper.ask("GET", &format!("/v1/products/{ROW}"), &[], None).await;
    assert!(none.status == 404 && !none.json().to_string().contains(ROW), "{}", none.json());
    let refused = sale.admin("PUT", &format!("/admin/discount-codes/{ROW}"), None, Some(&json!({}))).await;
    assert_eq!(problem(&refused), (422, "card_data_refused".to_owned()), "nor in an operator's path");
    let (stock, fulfilments) = (format!("/admin/stock/{sku}"), format!("/admin/orders/{}/fulfilments", &order[11..]));
    let product = json!({ "sku": "odd", "title": "", "price": { "amount": 1, "currency": "EUR" } });
    for (method, path, body, pointer) in [
        ("POST", stock, json!({ "adjust": 1, "reason": "" }), "/reason"),
        ("POST", fulfilments, json!({ "lines": [], "label": "" }), "/label"),
        ("PUT", "/admin/products/odd".to_owned(), product, "/title"),
    ] {
        let refused = sale.admin(method, &path, Some("card"), Some(&with_card(body, pointer, CARD))).await;
        assert_eq!(problem(&refused), (422, "card_data_refused".to_owned()), "{path}: nor from an operator");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{path}");
    }
    let now = shopper.read(&checkout).await;
    assert_eq!((&now["revision"], &now["payment"]), (&seen["revision"], &Value::Null), "nothing happened");

    let declined = shopper.pay(&checkout, "tok_of_a_shopper_who_is_declined", "first").await;
    assert_eq!(declined.status, 402);
    let id = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
    shopper.order_once(&checkout.order(&id), "paid").await;
    let reason = json!({ "reason": "moved to Paris" });
    let cancel = format!("/v1/orders/{id}/cancel");
    assert_eq!(shopper.ask("POST", &cancel, &[("idempotency-key", "cancel")], Some(&reason)).await.status, 200);
    let token = shopper.cart.token.clone();
    drop(shopper);
    sale.reckon(1, 0).await;
    let log = sale.stop();
    assert!(log.contains("/v1/checkouts/{id}/complete"), "requests are logged");
    let secrets = [
        CARD,
        ROW,
        "4242424242424242",
        "ada@shop.example",
        "Lovelace",
        "Torstr",
        "tok_of_a_shopper",
        "tok_approve",
        "moved to Paris",
        &token,
    ];
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret)).unwrap_or_default();
        assert!(line.is_empty(), "{secret} is in the log: {line}");
    }
}
