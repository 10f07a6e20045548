//! What a checkout holds, and for how long.

use loadtest::shop::Checkout;
use serde_json::{Value, json};

use crate::{
    http::problem,
    support::shopping::{Sale, lines},
};

#[tokio::test]
async fn goods_that_are_not_there_are_named_by_their_lines_and_the_rest_is_not_held() {
    let sale = Sale::open();
    let (plenty, few, none) =
        (sale.product(1_000, 100).await, sale.product(1_000, 2).await, sale.product(1_000, 1).await);
    let mut shopper = sale.shopper().await;
    for (sku, quantity) in [(&plenty, 5), (&few, 3), (&none, 1)] {
        shopper.add(sku, quantity).await;
    }
    sale.shoppers(1, &none, 1).await[0].begin(&sale).await;
    let refused = shopper.send(&Checkout::begin(&shopper.cart, "begin")).await;
    assert_eq!(problem(&refused), (409, "insufficient_stock".to_owned()));
    let error = |line: &str, detail: String| json!({ "pointer": format!("/lines/{line}"), "code": "insufficient_stock", "detail": detail });
    let expected = json!([
        error("l2", format!("{few}: 3 wanted, 2 available")),
        error("l3", format!("{none}: 1 wanted, 0 available")),
    ]);
    assert_eq!(refused.json()["errors"], expected, "all that is missing, and nothing else");
    sale.stocked(&plenty, 100, 0, 0).await;
    sale.stocked(&few, 2, 0, 0).await;
    shopper.cart_once("open").await;
    shopper.send(&shopper.cart.request("DELETE", "/items/l3", None, None)).await;
    let fewer = shopper.cart.request("PATCH", "/items/l2", None, Some(r#"{"quantity":2}"#));
    shopper.send(&fewer).await;
    let order = shopper.buy(&sale).await;
    assert_eq!(lines(&order), [(plenty, 5), (few, 2)]);
    sale.reckon(1, 7).await;
}

#[tokio::test]
async fn a_checkout_is_one_from_any_tab_and_is_begun_of_an_open_cart_with_something_in_it() {
    let sale = Sale::open();
    let sku = sale.product(1_000, 100).await;
    let mut shopper = sale.shopper().await;
    let empty = shopper.send(&Checkout::begin(&shopper.cart, "empty")).await;
    assert_eq!(problem(&empty), (409, "cart_not_open".to_owned()));
    shopper.add(&sku, 1).await;
    let checkout = shopper.begin(&sale).await;
    for key in ["other", "another"] {
        let again = shopper.send(&Checkout::begin(&shopper.cart, key)).await;
        assert_eq!((again.status, &again.json()["id"]), (200, &json!(checkout.id)));
        assert_eq!(again.header("location"), Some(&*format!("/v1/checkouts/{}", checkout.id)));
    }
    let close = shopper.cart.request("DELETE", "", None, None);
    assert_eq!(problem(&shopper.send(&close).await), (409, "cart_not_open".to_owned()), "it is being bought");
    assert_eq!(sale.stock(&sku).await.held, 1, "once");
    shopper.send(&checkout.cancel()).await;
    shopper.cart_once("open").await;
    assert_ne!(shopper.begin(&sale).await.id, checkout.id, "a new one after the old one's end");
    sale.reckon(0, 0).await;
}

#[tokio::test]
async fn a_checkout_left_alone_expires_and_everything_is_as_before() {
    let sale = Sale::open_with(&["checkout.expire_after=1s"]);
    let sku = sale.product(1_000, 3).await;
    let code = sale.code(&json!({ "percent_basis_points": 1_000, "uses_max": 1 })).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 3).await;
    let apply = shopper.cart.request("PUT", &format!("/discount-codes/{code}"), None, None);
    assert_eq!(shopper.send(&apply).await.status, 200);
    let before = shopper.read_cart().await;
    let checkout = shopper.begin(&sale).await;
    let expired = shopper.checkout_once(&checkout, "expired").await;
    assert_eq!((&expired["order_id"], &expired["payment"]), (&Value::Null, &Value::Null));
    sale.stocked(&sku, 3, 0, 0).await;
    let late = shopper.pay(&checkout, "tok_approve", "late").await;
    assert_eq!(problem(&late), (410, "expired".to_owned()));
    let path = format!("/v1/checkouts/{}", checkout.id);
    let tag = format!("\"{}\"", shopper.read(&checkout).await["revision"]);
    let patch = shopper.ask("PATCH", &path, &[("if-match", &tag)], Some(&json!({ "email": "a@b.example" }))).await;
    assert_eq!(problem(&patch), (410, "expired".to_owned()));
    let cart = shopper.cart_once("open").await;
    assert_eq!((&cart["lines"], &cart["discounts"]), (&before["lines"], &before["discounts"]));
    let uses = sale.admin("GET", &format!("/admin/discount-codes/{code}"), None, None).await.json();
    assert_eq!((&uses["used"], &uses["held"]), (&json!(0), &json!(0)));
    assert!(sale.payments(&checkout).await.is_empty());
    sale.reckon(0, 0).await;
}
