//! A purchase from the cart to the order, as a shop's page goes through it.

use loadtest::shop::Checkout;
use serde_json::{Value, json};

use super::eur;
use crate::{
    http::problem,
    support::shopping::{Sale, Shopper, address, lines, order_id},
};

/// Changes a checkout as it was last seen.
async fn patch(shopper: &mut Shopper, seen: &Value, body: &Value) -> Value {
    let path = format!("/v1/checkouts/{}", seen["id"].as_str().unwrap());
    let tag = format!("\"{}\"", seen["revision"]);
    let answer = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(body)).await;
    let told = answer.json();
    assert_eq!(answer.status, 200, "{told}");
    assert_eq!(answer.header("etag"), Some(&*format!("\"{}\"", told["revision"])));
    assert!(told["revision"].as_u64() > seen["revision"].as_u64(), "{told}");
    told
}

fn totals(subtotal: i64, shipping: i64, tax: i64) -> Value {
    json!({ "subtotal": eur(subtotal), "discount": eur(0), "shipping": eur(shipping), "tax": eur(tax),
        "tax_included": true, "total": eur(subtotal + shipping) })
}

/// Whether nothing is told to a client that has the newest.
async fn is_unchanged(shopper: &mut Shopper, path: &str) {
    let read = shopper.ask("GET", path, &[], None).await;
    assert_eq!((read.status, read.header("cache-control")), (200, Some("no-store")));
    let tag = read.header("etag").unwrap().to_owned();
    let again = shopper.ask("GET", path, &[("if-none-match", &tag)], None).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.as_str())));
    let older = shopper.ask("GET", path, &[("if-none-match", "\"0\"")], None).await;
    assert_eq!(older.status, 200);
}

#[tokio::test]
async fn from_the_cart_to_the_order() {
    let sale = Sale::open();
    let sku = sale.product_with(1_250, 10, &json!({ "weight_g": 300, "title": "Pan" })).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 2).await;

    let begun = shopper.send(&Checkout::begin(&shopper.cart, "begin")).await;
    let mut seen = begun.json();
    let checkout = Checkout::of(&begun, &shopper.cart).unwrap();
    sale.begun(&checkout);
    assert_eq!((begun.status, begun.header("location")), (201, Some(&*format!("/v1/checkouts/{}", checkout.id))));
    assert_eq!(begun.header("etag"), Some(&*format!("\"{}\"", seen["revision"])));
    assert_eq!((&seen["status"], &seen["cart_id"]), (&json!("open"), &json!(shopper.cart.id)));
    // Neither where to nor how is known: neither shipping nor tax.
    assert_eq!((&seen["totals"], &seen["shipping_options"]), (&totals(2_500, 0, 0), &json!([])));
    assert_eq!((&seen["payment"], &seen["order_id"]), (&Value::Null, &Value::Null));
    assert!(seen["expires_at"].as_str() > seen["created_at"].as_str(), "{seen}");
    assert_eq!(shopper.read_cart().await["status"], "checking_out");
    sale.stocked(&sku, 8, 2, 0).await;

    // What is missing is asked for, one thing after the other.
    let missing = async |shopper: &mut Shopper, pointer: &str| {
        let answer = shopper.pay(&checkout, "tok_approve", "too-early").await;
        assert_eq!(problem(&answer), (400, "invalid_request".to_owned()));
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    };
    missing(&mut shopper, "/email").await;
    seen = patch(&mut shopper, &seen, &json!({ "email": "ada@shop.example" })).await;
    missing(&mut shopper, "/shipping_address").await;

    let mut abroad = address();
    abroad["country"] = json!("US");
    seen = patch(&mut shopper, &seen, &json!({ "shipping_address": abroad, "shipping_option": "standard" })).await;
    assert_eq!(seen["totals"], totals(2_500, 1_490, 0));
    seen = patch(&mut shopper, &seen, &json!({ "shipping_address": address(), "shipping_option": null })).await;
    let offers: Vec<_> = seen["shipping_options"].as_array().unwrap().iter().map(|o| (&o["id"], &o["price"])).collect();
    assert_eq!(offers, [(&json!("standard"), &eur(490)), (&json!("express"), &eur(1_290))]);
    // 19 % within 25.00 is 3.99, and within 4.90 it is 0.78.
    assert_eq!(seen["totals"], totals(2_500, 0, 399));
    missing(&mut shopper, "/shipping_option").await;
    let path = format!("/v1/checkouts/{}", checkout.id);
    let tag = format!("\"{}\"", seen["revision"]);
    let drone = json!({ "shipping_option": "drone" });
    let refused = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(&drone)).await;
    assert_eq!(problem(&refused), (400, "invalid_request".to_owned()));
    assert_eq!(refused.json()["errors"][0]["detail"], "must be one of standard, express");
    seen = patch(&mut shopper, &seen, &json!({ "shipping_option": "standard" })).await;
    let due = totals(2_500, 490, 477);
    assert_eq!((&seen["totals"], &seen["lines"][0]["tax"]), (&due, &eur(399)));
    is_unchanged(&mut shopper, &path).await;

    let paid = shopper.pay(&checkout, "tok_approve", "pay").await;
    let (id, told) = (order_id(&paid), paid.json());
    assert_eq!(told["payment"], json!({ "status": "authorised", "gateway": "sandbox" }));
    assert_eq!(id, checkout.id.replace("chk_", "ord_"));
    let order = shopper.order_once(&checkout.order(&id), "paid").await;
    assert_eq!((&order["totals"], &order["checkout_id"]), (&due, &json!(checkout.id)));
    assert_eq!(
        order["shipping_option"],
        json!({ "id": "standard", "title": "Standard, 2 to 5 working days", "price": eur(490) })
    );
    assert_eq!((&order["shipping_address"], &order["email"]), (&told["shipping_address"], &json!("ada@shop.example")));
    let line = &order["lines"][0];
    assert_eq!((&line["sku"], &line["title"], &line["quantity"]), (&json!(sku), &json!("Pan"), &json!(2)));
    assert_eq!((&line["fulfilled"], &line["returned"]), (&json!(0), &json!(0)));
    let payment = &order["payments"][0];
    let amounts = [&payment["authorised"], &payment["captured"], &payment["refunded"]];
    assert_eq!(amounts, [&eur(2_990), &eur(2_990), &eur(0)]);
    let said: Vec<_> = order["number"].as_str().unwrap().split('-').map(str::len).collect();
    assert_eq!(said, [4, 4, 4], "{}", order["number"]);
    let kinds: Vec<_> = order["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["placed", "captured"]);
    is_unchanged(&mut shopper, &format!("/v1/orders/{id}")).await;
    shopper.cart_once("ordered").await;
    let tag = format!("\"{}\"", shopper.read(&checkout).await["revision"]);
    let late = json!({ "email": "other@shop.example" });
    let refused = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(&late)).await;
    assert_eq!(problem(&refused), (409, "checkout_not_open".to_owned()));
    assert_eq!(sale.reckon(1, 2).await.money, 2_990);
}

#[tokio::test]
async fn orders_are_listed_newest_first_page_by_page_and_to_their_shopper_alone() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 10).await;
    let mut shopper = sale.shopper().await;
    let mut ids = Vec::new();
    for quantity in 1..=3 {
        let made = shopper.ask("POST", "/v1/carts", &[], None).await;
        shopper.cart.id = made.json()["id"].as_str().unwrap().to_owned();
        shopper.add(&sku, quantity).await;
        ids.insert(0, shopper.buy(&sale).await["id"].clone());
    }
    let all = shopper.ask("GET", "/v1/orders", &[], None).await.json();
    let listed: Vec<_> = all["items"].as_array().unwrap().iter().map(|order| order["id"].clone()).collect();
    assert_eq!((&listed, &all["next_cursor"]), (&ids, &Value::Null));
    assert_eq!(lines(&all["items"][0]), [(sku.clone(), 3)], "each is told in whole");
    let (mut paged, mut path) = (Vec::new(), "/v1/orders?limit=2".to_owned());
    loop {
        let page = shopper.ask("GET", &path, &[], None).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        paged.extend(items.iter().map(|order| order["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/orders?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, ids);
    let others = sale.shopper().await.ask("GET", "/v1/orders", &[], None).await.json();
    assert_eq!(others, json!({ "items": [], "next_cursor": null }));
    for wrong in ["limit=0", "limit=101", "limit=x", "cursor=!"] {
        let refused = shopper.ask("GET", &format!("/v1/orders?{wrong}"), &[], None).await;
        assert_eq!(problem(&refused), (400, "invalid_request".to_owned()), "{wrong}");
    }
    sale.reckon(3, 6).await;
}
