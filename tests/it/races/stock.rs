//! Nobody buys what is not there, whoever asks for it at once.

use loadtest::{client::Answer, shop::Checkout};
use serde_json::json;

use super::ROUNDS;
use crate::{
    http::problem,
    support::{
        shopping::{Sale, Shopper, at_once, lines, order_id},
        wait::until,
    },
};

/// Opens a product's stock, so that there is an actor to wait at; what there is of it stays.
async fn open(sale: &Sale, sku: &str) {
    for (key, adjust) in [("one-more", 1), ("one-less", -1)] {
        let body = json!({ "adjust": adjust, "reason": "counted" });
        let adjusted = sale.admin("POST", &format!("/admin/stock/{sku}"), Some(key), Some(&body)).await;
        assert_eq!(adjusted.status, 200, "{}", adjusted.json());
    }
}

/// Has each shopper begin to buy at once; those who could, with their checkouts, and what the others were told.
async fn begin_at_once(
    sale: &Sale,
    sku: &str,
    mut shoppers: Vec<Shopper>,
) -> (Vec<(Shopper, Checkout)>, Vec<(Shopper, Answer)>) {
    open(sale, sku).await;
    let requests: Vec<_> = shoppers.iter().map(|shopper| Checkout::begin(&shopper.cart, "begin")).collect();
    let answers = sale.at_once(&format!("stock:{sku}"), &mut shoppers, &requests).await;
    let (mut begun, mut refused) = (Vec::new(), Vec::new());
    for (shopper, answer) in shoppers.into_iter().zip(answers) {
        if answer.status == 201 {
            let checkout = Checkout::of(&answer, &shopper.cart).unwrap();
            sale.begun(&checkout);
            begun.push((shopper, checkout));
        } else {
            assert_eq!(problem(&answer), (409, "insufficient_stock".to_owned()));
            refused.push((shopper, answer));
        }
    }
    (begun, refused)
}

/// medusa#16825 (two orders for the one unit that there is, one of them without stock), vendure#3508 and #1738,
/// CVE-2024-53476: many shoppers for a few units.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_shoppers_at_once_as_many_buy_as_there_are_units() {
    const SHOPPERS: usize = 8;
    let sale = Sale::open_gated(&[]);
    let mut bought = 0;
    for units in [1, 1, 1, 3, 3, 7] {
        let sku = sale.product(1_000, units).await;
        let (begun, refused) = begin_at_once(&sale, &sku, sale.shoppers(SHOPPERS, &sku, 1).await).await;
        assert_eq!(begun.len(), units as usize);
        for (mut shopper, checkout) in begun {
            shopper.address(&checkout).await;
            order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
        }
        for (mut shopper, answer) in refused {
            assert_eq!(answer.json()["errors"][0]["pointer"], "/lines/l1");
            let cart = shopper.cart_once("open").await;
            assert_eq!(lines(&cart), [(sku.clone(), 1)], "the cart is as it was");
            assert!(shopper.ask("GET", "/v1/orders", &[], None).await.json()["items"].as_array().unwrap().is_empty());
        }
        bought += u64::from(units);
        sale.stocked(&sku, 0, 0, units.into()).await;
    }
    sale.reckon(bought, bought).await;
}

/// medusa#16502 (two lines of one inventory item are each checked against all of it): they are counted together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lines_of_one_product_are_held_together_or_not_at_all() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product_with(1_000, 4, &json!({ "options": { "size": ["M", "S"] } })).await;
    // One shopper wants 1 + 2, the other 2 + 1: each for itself would fit, and each line would.
    let shopper = async |small: u32, medium: u32| {
        let mut shopper = sale.shopper().await;
        for (size, quantity) in [("S", small), ("M", medium)] {
            let body = json!({ "sku": sku, "quantity": quantity, "options": { "size": size } });
            let path = format!("/v1/carts/{}/items", shopper.cart.id);
            assert_eq!(shopper.ask("POST", &path, &[], Some(&body)).await.status, 200);
        }
        shopper
    };
    let (mut begun, refused) = begin_at_once(&sale, &sku, vec![shopper(1, 2).await, shopper(2, 1).await]).await;
    assert_eq!((begun.len(), refused.len()), (1, 1));
    let told = refused[0].1.json();
    let pointers: Vec<_> = told["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/lines/l1", "/lines/l2"], "both lines want it");
    assert!(told["errors"][0]["detail"].as_str().unwrap().ends_with("3 wanted, 1 available"), "{told}");
    let (mut shopper, checkout) = begun.remove(0);
    shopper.address(&checkout).await;
    order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
    sale.stocked(&sku, 1, 0, 3).await;
    sale.reckon(1, 3).await;
}

/// vendure PR #4930 (allocation when it is paid): the last unit is given back while others ask for it: it is sold to one
/// of them, and to nobody twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_given_back_while_others_ask_for_it_is_sold_once() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(1_000, 1).await;
    let mut waiting = sale.shoppers(1 + ROUNDS * 4, &sku, 1).await;
    let mut holder = waiting.remove(0);
    let mut held = holder.begin(&sale).await;
    for round in 0..ROUNDS {
        let mut tabs = vec![holder];
        tabs.extend(waiting.drain(..3));
        let mut requests = vec![held.cancel()];
        requests.extend(tabs[1..].iter().map(|shopper| Checkout::begin(&shopper.cart, "first")));
        let answers = sale.at_once(&format!("stock:{sku}"), &mut tabs, &requests).await;
        assert_eq!(answers[0].status, 200);
        let mut begun: Vec<_> = tabs
            .into_iter()
            .zip(&answers)
            .skip(1)
            .filter(|(_, answer)| answer.status == 201)
            .map(|(shopper, answer)| (Checkout::of(answer, &shopper.cart).unwrap(), shopper))
            .collect();
        assert!(begun.len() <= 1, "one unit, {} shoppers", begun.len());
        (held, holder) = match begun.pop() {
            Some(found) => {
                sale.begun(&found.0);
                found
            }
            // All of them came before it was back: now it is there.
            None => {
                sale.stocked(&sku, 1, 0, 0).await;
                let mut shopper = waiting.remove(0);
                (shopper.begin(&sale).await, shopper)
            }
        };
        assert_eq!(sale.stock(&sku).await.held, 1, "round {round}");
    }
    holder.address(&held).await;
    order_id(&holder.pay(&held, "tok_approve", "pay").await);
    sale.reckon(1, 1).await;
}

/// SimplCommerce#1111 (CVE-2024-53476) seen from the shop: units that are held cannot be counted away, and an operator's
/// correction that is asked for at once, and again under its key, is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_at_once_with_a_purchase_takes_nothing_that_is_held() {
    let sale = Sale::open_gated(&[]);
    for _ in 0..ROUNDS {
        let sku = sale.product(1_000, 1).await;
        let mut shoppers = sale.shoppers(1, &sku, 1).await;
        let begin = [Checkout::begin(&shoppers[0].cart, "begin")];
        let path = format!("/admin/stock/{sku}");
        let lost = json!({ "adjust": -1, "reason": "broken" });
        let adjust = || sale.admin("POST", &path, Some("broken"), Some(&lost));
        open(&sale, &sku).await;
        let all = async { tokio::join!(at_once(&mut shoppers, &begin), adjust(), adjust()) };
        let (begun, first, second) = sale.all_at(&format!("stock:{sku}"), 3, all).await;
        let stock = sale.stock(&sku).await;
        if begun[0].status == 201 {
            assert_eq!(problem(&first), (409, "insufficient_stock".to_owned()), "it is spoken for");
            assert_eq!((first.status, second.status, stock.held, stock.on_hand), (409, 409, 1, 1));
            let checkout = Checkout::of(&begun[0], &shoppers[0].cart).unwrap();
            assert_eq!(shoppers[0].send(&checkout.cancel()).await.status, 200);
            sale.stocked(&sku, 1, 0, 0).await;
        } else {
            assert_eq!(problem(&begun[0]), (409, "insufficient_stock".to_owned()));
            assert_eq!((first.status, second.status, stock.held, stock.on_hand), (200, 200, 0, 0));
        }
        until("the cart is the shopper's again", async || {
            (shoppers[0].read_cart().await["status"] == "open").then_some(())
        })
        .await;
    }
}
