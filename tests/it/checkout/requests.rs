//! Requests that are refused: whose, upon what, and with what in them.

use loadtest::{client::request, shop::Checkout};
use serde_json::{Value, json};

use crate::{
    http::problem,
    support::shopping::{Sale, Shopper, address, order_id},
};

/// A purchase that is done, and one that is under way.
async fn purchases(sale: &Sale) -> (Shopper, String, String) {
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let checkout = shopper.ready(sale).await;
    let order = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
    let made = shopper.ask("POST", "/v1/carts", &[], None).await;
    shopper.cart.id = made.json()["id"].as_str().unwrap().to_owned();
    shopper.add(&sku, 1).await;
    let checkout = shopper.ready(sale).await;
    (shopper, checkout.id, order)
}

#[tokio::test]
async fn somebody_elses_checkouts_and_orders_are_not_there_whatever_is_asked_of_them() {
    let sale = Sale::open();
    let (mut shopper, checkout, order) = purchases(&sale).await;
    let mut stranger = sale.shopper().await;
    let absent = |id: &str| format!("{}00000000000000000000000000", &id[..4]);
    let pay = json!({ "payment": { "gateway": "sandbox", "token": "tok_approve" } });
    let units = json!({ "lines": [{ "line": "l1", "quantity": 1 }] });
    let routes = [
        ("GET", "checkouts", &checkout, "", None),
        ("PATCH", "checkouts", &checkout, "", Some(json!({ "email": "eve@shop.example" }))),
        ("POST", "checkouts", &checkout, "/complete", Some(pay)),
        ("POST", "checkouts", &checkout, "/cancel", None),
        ("GET", "orders", &order, "", None),
        ("POST", "orders", &order, "/cancel", None),
        ("POST", "orders", &order, "/returns", Some(units)),
    ];
    let seen = shopper.ask("GET", &format!("/v1/checkouts/{checkout}"), &[], None).await.json();
    let tag = format!("\"{}\"", seen["revision"]);
    let headers = [("idempotency-key", "eve"), ("if-match", tag.as_str())];
    for (method, kind, id, path, body) in &routes {
        let mut details = Vec::new();
        for id in [(*id).clone(), absent(id)] {
            let path = format!("/v1/{kind}/{id}{path}");
            let answer = stranger.ask(method, &path, &headers, body.as_ref()).await;
            assert_eq!(problem(&answer), (404, "not_found".to_owned()), "{method} {path}");
            details.push(answer.json()["detail"].clone());
            let body = body.as_ref().map(Value::to_string);
            let nobody = stranger.send(&request(method, &path, &headers, body.as_deref())).await;
            assert_eq!(problem(&nobody), (401, "unauthenticated".to_owned()), "{method} {path}");
        }
        assert_eq!(details[0], details[1], "{method} {kind}{path}: it can be told apart from an absent one");
        let wrong = stranger.ask(method, &format!("/v1/{kind}/cart_1{path}"), &headers, body.as_ref()).await;
        assert_eq!(problem(&wrong), (400, "invalid_id".to_owned()), "{method} {kind}{path}");
    }
    let others = json!({ "cart_id": shopper.cart.id });
    let begin = stranger.ask("POST", "/v1/checkouts", &[], Some(&others)).await;
    assert_eq!(problem(&begin), (404, "not_found".to_owned()));
    let now = shopper.ask("GET", &format!("/v1/checkouts/{checkout}"), &[], None).await.json();
    assert_eq!(now, seen, "nothing happened, and one revision is one body");
    sale.reckon(1, 1).await;
}

#[tokio::test]
async fn a_change_of_a_checkout_is_made_upon_what_was_seen() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let checkout = shopper.begin(&sale).await;
    let path = format!("/v1/checkouts/{}", checkout.id);
    let email = |name: &str| json!({ "email": format!("{name}@shop.example") });
    let blind = shopper.ask("PATCH", &path, &[], Some(&email("blind"))).await;
    assert_eq!(problem(&blind), (428, "precondition_required".to_owned()));
    let seen = shopper.read(&checkout).await["revision"].as_u64().unwrap();
    let tag = format!("\"{seen}\"");
    let first = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(&email("first"))).await;
    assert_eq!(first.status, 200);
    let stale = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(&email("stale"))).await;
    assert_eq!(problem(&stale), (412, "revision_mismatch".to_owned()));
    assert_eq!((&stale.json()["revision"], &first.json()["revision"]), (&json!(seen + 1), &json!(seen + 1)));
    let newest = format!("\"{}\"", seen + 1);
    let keyed = [("if-match", newest.as_str()), ("idempotency-key", "patch")];
    let second = shopper.ask("PATCH", &path, &keyed, Some(&email("second"))).await;
    let replayed = shopper.ask("PATCH", &path, &keyed, Some(&email("second"))).await;
    assert_eq!([second.status, replayed.status], [200, 200]);
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    assert_eq!(shopper.read(&checkout).await["email"], "second@shop.example");
    sale.reckon(0, 0).await;
}

#[tokio::test]
async fn what_a_request_should_not_have_is_pointed_at() {
    let sale = Sale::open();
    let (mut shopper, checkout, order) = purchases(&sale).await;
    let checkout = format!("/v1/checkouts/{checkout}");
    let order = format!("/v1/orders/{order}");
    let mut unknown = address();
    unknown["planet"] = json!("Earth");
    let mut nowhere = address();
    nowhere["country"] = json!("Germany");
    let mut empty = address();
    empty["city"] = json!(" ");
    let cart_id = shopper.cart.id.clone();
    let pay = |more: Value| json!({ "payment": more });
    let table = [
        ("POST", "/v1/checkouts".to_owned(), json!({ "cart_id": cart_id, "colour": 1 }), "/colour"),
        ("POST", "/v1/checkouts".to_owned(), json!({ "cart_id": 7 }), "/cart_id"),
        (
            "POST",
            "/v1/checkouts".to_owned(),
            json!({ "cart_id": cart_id, "accept_price_changes": "yes" }),
            "/accept_price_changes",
        ),
        ("PATCH", checkout.clone(), json!({ "phone": "1" }), "/phone"),
        ("PATCH", checkout.clone(), json!({ "email": "nobody" }), "/email"),
        ("PATCH", checkout.clone(), json!({ "shipping_address": unknown }), "/shipping_address/planet"),
        ("PATCH", checkout.clone(), json!({ "shipping_address": nowhere }), "/shipping_address/country"),
        ("PATCH", checkout.clone(), json!({ "shipping_address": empty }), "/shipping_address/city"),
        ("POST", format!("{checkout}/complete"), json!({ "payment": {}, "tip": 1 }), "/payment"),
        (
            "POST",
            format!("{checkout}/complete"),
            pay(json!({ "gateway": "sandbox", "token": "t", "cvc": "1" })),
            "/payment/cvc",
        ),
        ("POST", format!("{order}/cancel"), json!({ "why": "x" }), "/why"),
        (
            "POST",
            format!("{order}/returns"),
            json!({ "lines": [{ "line": "l1", "quantity": 1, "rotten": true }] }),
            "/lines/0/rotten",
        ),
        (
            "POST",
            format!("{order}/returns"),
            json!({ "lines": [{ "line": "l1", "quantity": -1 }] }),
            "/lines/0/quantity",
        ),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, pointer) in table {
        let seen = shopper.ask("GET", &checkout, &[], None).await.json();
        let tag = format!("\"{}\"", seen["revision"]);
        let answer = shopper.ask(method, &path, &[("idempotency-key", "k"), ("if-match", &tag)], Some(&body)).await;
        assert_eq!(problem(&answer), (400, "invalid_request".to_owned()), "{method} {path} {body}: {}", answer.json());
        if answer.json()["errors"][0]["pointer"] != pointer {
            wrong.push(format!("{method} {path} {body}: {}", answer.json()["errors"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    sale.reckon(1, 1).await;
}

/// The cart is in the body, not in the path: a key that a page uses for each of its carts begins a checkout for each.
#[tokio::test]
async fn one_key_begins_to_buy_two_carts_and_each_has_its_own_checkout() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut one = sale.shopper().await;
    let mut other = one.tab().await;
    other.cart.id = other.ask("POST", "/v1/carts", &[], None).await.json()["id"].as_str().unwrap().to_owned();
    let mut begun = Vec::new();
    for shopper in [&mut one, &mut other] {
        shopper.add(&sku, 1).await;
        let begin = Checkout::begin(&shopper.cart, "begin");
        let told = shopper.send(&begin).await;
        assert_eq!((told.status, &told.json()["cart_id"]), (201, &json!(shopper.cart.id)), "{}", told.json());
        let again = shopper.send(&begin).await;
        assert_eq!((again.status, &again.json()["id"]), (201, &told.json()["id"]));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        begun.push(Checkout::of(&told, &shopper.cart).unwrap());
    }
    assert_ne!(begun[0].id, begun[1].id);
    for (shopper, checkout) in [&mut one, &mut other].into_iter().zip(&begun) {
        sale.begun(checkout);
        shopper.address(checkout).await;
        order_id(&shopper.pay(checkout, "tok_approve", "pay").await);
        shopper.cart_once("ordered").await;
    }
    sale.reckon(2, 2).await;
}

/// A checkout that has ended lets go of its cart a moment later: whoever begins before that begins anew.
#[tokio::test]
async fn right_after_a_checkout_has_ended_the_next_one_begins() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 2).await.remove(0);
    for n in 0..30 {
        let checkout = shopper.begin(&sale).await;
        assert_eq!(shopper.send(&checkout.cancel()).await.status, 200);
        let keyed = Checkout::begin(&shopper.cart, &format!("after-{n}"));
        let begun = shopper.send(&keyed).await;
        let next = Checkout::of(&begun, &shopper.cart).unwrap();
        assert_eq!((begun.status, &begun.json()["status"]), (201, &json!("open")), "{}", begun.json());
        assert_ne!(next.id, checkout.id);
        let again = shopper.send(&keyed).await;
        assert_eq!((again.status, &again.json()["id"]), (201, &json!(next.id)));
        assert_eq!(shopper.send(&next.cancel()).await.status, 200);
        sale.begun(&next);
    }
    shopper.buy(&sale).await;
    sale.reckon(1, 2).await;
}

/// What was refused had no effect: the same request under the same key is tried anew, and what it then begins is replayed.
#[tokio::test]
async fn a_begin_that_was_refused_is_tried_anew_under_its_key() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 1).await;
    let mut shopper = sale.shoppers(1, &sku, 2).await.remove(0);
    let begin = Checkout::begin(&shopper.cart, "begin");
    for _ in 0..3 {
        assert_eq!(problem(&shopper.send(&begin).await), (409, "insufficient_stock".to_owned()));
    }
    let more = json!({ "adjust": 1, "reason": "found" });
    let counted = sale.admin("POST", &format!("/admin/stock/{sku}"), Some("count"), Some(&more)).await;
    assert_eq!(counted.status, 200);
    let begun = shopper.send(&begin).await;
    assert_eq!((begun.status, begun.header("idempotent-replayed")), (201, None), "{}", begun.json());
    let again = shopper.send(&begin).await;
    assert_eq!((again.status, &again.json()["id"]), (201, &begun.json()["id"]));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let less = json!({ "adjust": -1, "reason": "lost" });
    let counted = sale.admin("POST", &format!("/admin/stock/{sku}"), Some("recount"), Some(&less)).await;
    assert_eq!(counted.status, 409, "they are held");
    let checkout = Checkout::of(&begun, &shopper.cart).unwrap();
    sale.begun(&checkout);
    assert_eq!(shopper.send(&checkout.cancel()).await.status, 200);
    let counted = sale.admin("POST", &format!("/admin/stock/{sku}"), Some("later"), Some(&less)).await;
    assert!([200, 409].contains(&counted.status), "{}", counted.json());
}

/// A retry is told what was begun, whatever the price is by now.
#[tokio::test]
async fn a_begin_is_replayed_although_the_price_has_risen_since() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let path = "/v1/checkouts";
    let body = json!({ "cart_id": shopper.cart.id });
    let begun = shopper.ask("POST", path, &[("idempotency-key", "begin")], Some(&body)).await;
    let checkout = Checkout::of(&begun, &shopper.cart).unwrap();
    sale.begun(&checkout);
    assert_eq!(shopper.send(&checkout.cancel()).await.status, 200);
    shopper.cart_once("open").await;
    sale.reprice(&sku, 2_000, 10).await;
    let again = shopper.ask("POST", path, &[("idempotency-key", "begin")], Some(&body)).await;
    assert_eq!((again.status, &again.json()["id"]), (201, &json!(checkout.id)), "{}", again.json());
    assert_eq!((again.header("idempotent-replayed"), &again.json()["status"]), (Some("true"), &json!("cancelled")));
    let new = shopper.ask("POST", path, &[("idempotency-key", "new")], Some(&body)).await;
    assert_eq!(problem(&new), (409, "price_changed".to_owned()));
    sale.reckon(0, 0).await;
}

/// What a key joined is what it is told of again, and nothing else: it begins nothing of its own.
#[tokio::test]
async fn a_begin_that_joined_is_told_of_no_other_checkout_later() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shoppers(1, &sku, 1).await.remove(0);
    let first = shopper.begin(&sale).await;
    let join = Checkout::begin(&shopper.cart, "joins");
    for _ in 0..2 {
        let joined = shopper.send(&join).await;
        assert_eq!((joined.status, &joined.json()["id"]), (200, &json!(first.id)), "{}", joined.json());
    }
    assert_eq!(shopper.send(&first.cancel()).await.status, 200);
    shopper.cart_once("open").await;
    assert_eq!(problem(&shopper.send(&join).await), (409, "checkout_not_open".to_owned()));
    assert_eq!(sale.stock(&sku).await.held, 0);
    let second = shopper.begin(&sale).await;
    assert_eq!(problem(&shopper.send(&join).await), (409, "checkout_not_open".to_owned()));
    assert_eq!(shopper.read(&second).await["status"], "open");
    sale.reckon(0, 0).await;
}
