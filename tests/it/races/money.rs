//! Money moves once, however often it is asked for, and whatever becomes of the answers.

use loadtest::shop::Checkout;
use serde_json::{Value, json};

use super::ROUNDS;
use crate::support::{
    shopping::{SHIPPING, Sale, at_once, order_id},
    wait::until,
};

const PRICE: i64 = 1_000;
const TOTAL: i64 = PRICE + SHIPPING;

/// The one payment of a checkout, once so much of it is taken and so much given back.
async fn paid_once(sale: &Sale, checkout: &Checkout, captured: i64, refunded: i64) {
    until("the bank's book says so", async || {
        let payments = sale.payments(checkout).await;
        assert_eq!(payments.len(), 1, "{payments:?}");
        let of = |name: &str| payments[0][name].as_i64().unwrap();
        assert!(of("captured") <= captured && of("refunded") <= refunded, "{payments:?}");
        (payments[0]["state"] == "authorised"
            && [of("amount"), of("captured"), of("refunded")] == [TOTAL, captured, refunded])
        .then_some(())
    })
    .await;
}

/// medusa#16292 (a retry has a new key, and with a new key the money moves anew), spree#9265 (two payments within a second):
/// a page that hears nothing, because the bank thinks, tries again under new keys.
#[tokio::test]
async fn retries_under_new_keys_while_the_bank_thinks_join_the_payment() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 1).await;
    let checkout = shopper.ready(&sale).await;
    let mut tabs = shopper.tabs(4).await;
    let retries = async {
        tabs[0].checkout_once(&checkout, "completing").await;
        let requests: Vec<_> = (1..=4).map(|n| checkout.complete("tok_approve", &format!("retry-{n}"))).collect();
        at_once(&mut tabs, &requests).await
    };
    let (first, retried) = tokio::join!(shopper.pay(&checkout, "tok_slow", "first"), retries);
    let order = order_id(&first);
    assert!(retried.iter().all(|answer| order_id(answer) == order));
    paid_once(&sale, &checkout, TOTAL, 0).await;
    assert_eq!(sale.reckon(1, 1).await.money, TOTAL);
}

/// magento2#31104 (the same purchase is charged again a minute, or half an hour, later): whoever asks again, under the old
/// key or under new ones, is told of the order.
#[tokio::test]
async fn asking_again_after_the_order_charges_nothing() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 10).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 1).await;
    let checkout = shopper.ready(&sale).await;
    let order = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
    paid_once(&sale, &checkout, TOTAL, 0).await;
    for n in 0..ROUNDS {
        let replayed = shopper.pay(&checkout, "tok_approve", "pay").await;
        assert_eq!((order_id(&replayed), replayed.header("idempotent-replayed")), (order.clone(), Some("true")));
        let joined = shopper.pay(&checkout, "tok_approve", &format!("new-{n}")).await;
        assert_eq!(order_id(&joined), order);
    }
    paid_once(&sale, &checkout, TOTAL, 0).await;
    assert_eq!(sale.reckon(1, 1).await.money, TOTAL);
}

/// medusa#16292 (whether the gateway did it is not known, and the retry does it anew): the bank reserves the money and its
/// answer is lost, or it does so only after it was looked for in vain; meanwhile every tab tries under a key of its own.
#[tokio::test]
async fn a_lost_or_late_answer_of_the_bank_is_not_charged_again() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 100).await;
    let tokens = ["tok_answer_lost", "tok_late"];
    for token in tokens {
        for _ in 0..2 {
            let mut shopper = sale.shopper().await;
            shopper.add(&sku, 1).await;
            let checkout = shopper.ready(&sale).await;
            let mut tabs = shopper.tabs(3).await;
            let requests: Vec<_> = (0..3).map(|n| checkout.complete(token, &format!("tab-{n}"))).collect();
            for (tab, answer) in at_once(&mut tabs, &requests).await.iter().enumerate() {
                // Not known in time: the same request again tells.
                assert!([200, 202].contains(&answer.status), "{}", answer.json());
                let told = until("the outcome is known", async || {
                    Some(shopper.send(&requests[tab]).await).filter(|answer| answer.status != 202)
                })
                .await;
                order_id(&told);
            }
            paid_once(&sale, &checkout, TOTAL, 0).await;
        }
    }
    assert_eq!(sale.reckon(4, 4).await.money, 4 * TOTAL);
}

/// The same, given up: what the bank reserved without anybody hearing of it is given back.
#[tokio::test]
async fn a_lost_or_late_answer_to_a_cancelled_checkout_leaves_nothing_reserved() {
    let sale = Sale::open();
    let sku = sale.product(PRICE, 100).await;
    let mut orders = 0;
    for token in ["tok_answer_lost", "tok_late", "tok_slow"] {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let checkout = shopper.ready(&sale).await;
        let mut tab = shopper.tab().await;
        let cancel = async {
            // The bank is being asked.
            until("there is a payment", async || (!sale.payments(&checkout).await.is_empty()).then_some(())).await;
            tab.send(&checkout.cancel()).await
        };
        let (paid, cancelled) = tokio::join!(shopper.pay(&checkout, token, "pay"), cancel);
        match (cancelled.status, paid.status) {
            // Too late: the bank had said yes.
            (409, 200) => orders += 1,
            (200, 409) => {
                until("the bank gave it back", async || {
                    let payments = sale.payments(&checkout).await;
                    assert_eq!((payments.len(), &payments[0]["captured"]), (1, &json!(0)), "{payments:?}");
                    ["voided", "abandoned"].contains(&payments[0]["state"].as_str().unwrap()).then_some(())
                })
                .await;
            }
            other => panic!("{token}: {other:?}: {} {}", cancelled.json(), paid.json()),
        }
    }
    sale.reckon(orders, orders).await;
}

/// medusa#13301 (captured twice): money is taken when operators say so, several of whom do at once, while the shopper
/// cancels in every second round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captures_at_once_take_the_money_once_and_a_cancel_gives_it_back_once() {
    let sale = Sale::open_gated(&["payments.capture=at_fulfilment"]);
    let sku = sale.product(PRICE, 100).await;
    let (mut standing, mut money) = (0, 0);
    for round in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let checkout = shopper.ready(&sale).await;
        let id = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
        paid_once(&sale, &checkout, 0, 0).await;
        let path = format!("/admin/orders/{id}/capture");
        let capture = || sale.admin("POST", &path, None, None);
        let captures = async { tokio::join!(capture(), capture(), capture()) };
        if round % 2 == 0 {
            let (one, two, three) = sale.all_at(&id, 3, captures).await;
            assert_eq!([one.status, two.status, three.status], [200; 3]);
            paid_once(&sale, &checkout, TOTAL, 0).await;
            (standing, money) = (standing + 1, money + TOTAL);
        } else {
            let cancel_path = format!("/v1/orders/{id}/cancel");
            let cancel = shopper.ask("POST", &cancel_path, &[("idempotency-key", "cancel")], None);
            let (_, cancelled) = sale.all_at(&id, 4, async { tokio::join!(captures, cancel) }).await;
            assert_eq!(cancelled.status, 200, "{}", cancelled.json());
            until("all of the money is back", async || {
                let payments = sale.payments(&checkout).await;
                assert_eq!(payments.len(), 1, "{payments:?}");
                let Value::Object(payment) = &payments[0] else { panic!("{payments:?}") };
                let is_back = payment["state"] == "voided" || payment["refunded"] == TOTAL;
                (is_back && payment["captured"] == payment["refunded"]).then_some(())
            })
            .await;
        }
    }
    let found = sale.reckon(ROUNDS as u64, standing).await;
    assert_eq!(found.money, money);
}

/// Tabs that cancel an order at once, each under a key of its own: the money goes back once, and so do the goods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_cancel_an_order_at_once_give_its_money_back_once() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(PRICE, 10).await;
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let checkout = shopper.ready(&sale).await;
        let id = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
        let path = format!("/v1/orders/{id}/cancel");
        let mut tabs = shopper.tabs(3).await;
        let cancels = tabs
            .iter_mut()
            .zip(["a", "b", "c"])
            .map(async |(tab, key)| tab.ask("POST", &path, &[("idempotency-key", key)], None).await);
        for answer in sale.all_at(&id, 3, futures_util::future::join_all(cancels)).await {
            assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("cancelled")));
        }
        until("the money is back, once", async || {
            let payments = sale.payments(&checkout).await;
            let of = |name: &str| payments[0][name].as_i64().unwrap();
            assert!(payments.len() == 1 && of("refunded") <= of("captured"), "{payments:?}");
            (payments[0]["state"] == "voided" || (of("captured") == TOTAL && of("refunded") == TOTAL)).then_some(())
        })
        .await;
        sale.stocked(&sku, 10, 0, 0).await;
    }
    assert_eq!(sale.reckon(ROUNDS as u64, 0).await.money, 0);
}

/// Operators who give money back at once: under one key it goes back once, and under many never more than was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_at_once_never_give_back_more_than_was_taken() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(PRICE, 10).await;
    let mut shopper = sale.shopper().await;
    shopper.add(&sku, 1).await;
    let checkout = shopper.ready(&sale).await;
    let id = order_id(&shopper.pay(&checkout, "tok_approve", "pay").await);
    paid_once(&sale, &checkout, TOTAL, 0).await;
    let path = format!("/admin/orders/{id}/refunds");
    let amount = json!({ "amount": 600 });
    let refund = |key: &'static str| sale.admin("POST", &path, Some(key), Some(&amount));
    let (first, again) = sale.all_at(&id, 2, async { tokio::join!(refund("a"), refund("a")) }).await;
    assert_eq!([first.status, again.status], [200, 200]);
    paid_once(&sale, &checkout, TOTAL, 600).await;
    // 890 are left: one more of 600 fits.
    let (one, two, three) = sale.all_at(&id, 3, async { tokio::join!(refund("b"), refund("c"), refund("d")) }).await;
    let mut statuses = [one.status, two.status, three.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400]);
    paid_once(&sale, &checkout, TOTAL, 1_200).await;
    assert_eq!(sale.reckon(1, 1).await.money, TOTAL - 1_200);
}
