//! Carts that several tabs change at once, and what a change costs.

use loadtest::client::{Answer, request};
use serde_json::{Value, json};

use super::ROUNDS;
use crate::{
    http::problem,
    support::{
        shopping::{Sale, Shopper, at_once, lines, order_id},
        wait::until,
    },
};

const TABS: usize = 8;

fn quantity(cart: &Value, sku: &str) -> u64 {
    lines(cart).iter().filter(|(of, _)| of == sku).map(|(_, quantity)| quantity).sum()
}

/// open-telemetry/opentelemetry-demo#3824 (of two adds at once one is lost), vendurehq/vendure#2187, woocommerce#11062.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adds_of_many_tabs_at_once_all_count() {
    let sale = Sale::open_gated(&[]);
    let (even, odd) = (sale.product(700, 1_000).await, sale.product(900, 1_000).await);
    let shopper = sale.shopper().await;
    let mut tabs = shopper.tabs(TABS).await;
    let add = |tab: usize| shopper.cart.add(if tab.is_multiple_of(2) { &even } else { &odd }, 1, None);
    let adds: Vec<_> = (0..TABS).map(add).collect();
    for round in 1..=ROUNDS as u64 {
        for (tab, answer) in sale.at_once(&shopper.cart.id, &mut tabs, &adds).await.iter().enumerate() {
            assert_eq!(answer.status, 200, "{}", answer.json());
            let sku = if tab.is_multiple_of(2) { &even } else { &odd };
            // What was acknowledged to any tab in earlier rounds, and this add itself.
            let least = (round - 1) * (TABS as u64 / 2) + 1;
            assert!(quantity(&answer.json(), sku) >= least, "round {round}: {}", answer.json());
        }
    }
    let cart = tabs[0].read_cart().await;
    let each = (ROUNDS * TABS / 2) as u64;
    assert_eq!((quantity(&cart, &even), quantity(&cart, &odd)), (each, each));
}

/// shopware#8724: three products added at once to a new cart, three times 200, and the first of them is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_three_products_of_a_cart_added_at_once_are_all_there() {
    let sale = Sale::open_gated(&[]);
    let mut skus = Vec::new();
    for _ in 0..3 {
        skus.push(sale.product(700, 1_000).await);
    }
    skus.sort();
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        let mut tabs = shopper.tabs(3).await;
        let adds: Vec<_> = skus.iter().map(|sku| shopper.cart.add(sku, 1, None)).collect();
        assert!(sale.at_once(&shopper.cart.id, &mut tabs, &adds).await.iter().all(|answer| answer.status == 200));
        let mut found = lines(&shopper.read_cart().await);
        found.sort();
        assert_eq!(found, skus.iter().map(|sku| (sku.clone(), 1)).collect::<Vec<_>>());
    }
}

/// Universal-Commerce-Protocol/ucp#113, vendure#4152 (no concurrency control: the last one to write wins unseen).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_changes_made_upon_the_same_revision_one_is_made_and_the_others_are_told() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(700, 1_000).await;
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        let seen = shopper.add(&sku, 1).await["revision"].as_u64().unwrap();
        let (bearer, tag) = (format!("Bearer {}", shopper.cart.token), format!("\"{seen}\""));
        let headers = [("authorization", bearer.as_str()), ("if-match", &tag)];
        let path = format!("/v1/carts/{}", shopper.cart.id);
        let patch =
            |tab: usize| request("PATCH", &path, &headers, Some(&json!({ "note": format!("tab {tab}") }).to_string()));
        let mut tabs = shopper.tabs(4).await;
        let answers = sale.at_once(&shopper.cart.id, &mut tabs, &(0..4).map(patch).collect::<Vec<_>>()).await;
        let (made, told): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((made.len(), told.len()), (1, 3));
        for answer in told {
            assert_eq!(problem(answer), (412, "revision_mismatch".to_owned()));
            assert_eq!(answer.json()["revision"], seen + 1, "it tells what to look at");
        }
        assert_eq!(shopper.read_cart().await["note"], made[0].json()["note"]);
    }
}

/// opentelemetry-demo#3824 (checkout empties the cart, with what was added meanwhile) and spree#11286 (what is added
/// meanwhile changes the order that was paid): the bank holds its answer while another tab goes on shopping.
#[tokio::test]
async fn what_is_added_while_the_bank_thinks_stays_in_the_cart_and_is_not_bought() {
    let sale = Sale::open();
    let (wanted, later) = (sale.product(1_000, 10).await, sale.product(500, 10).await);
    let mut shopper = sale.shopper().await;
    shopper.add(&wanted, 2).await;
    let checkout = shopper.ready(&sale).await;
    let mut tab = shopper.tab().await;
    let goes_on = async {
        tab.checkout_once(&checkout, "completing").await;
        tab.add(&later, 1).await;
        tab.add(&wanted, 3).await;
        assert_eq!(tab.read(&checkout).await["status"], "completing", "the bank still thinks");
    };
    let (paid, ()) = tokio::join!(shopper.pay(&checkout, "tok_slow", "pay"), goes_on);
    let told = paid.json();
    let order = shopper.order_once(&checkout.order(&order_id(&paid)), "paid").await;
    assert_eq!(lines(&order), [(wanted.clone(), 2)]);
    assert_eq!((&order["totals"], &order["payments"][0]["captured"]), (&told["totals"], &told["totals"]["total"]));
    let cart = shopper.cart_once("open").await;
    assert_eq!(
        lines(&cart),
        [(wanted.clone(), 3), (later.clone(), 1)],
        "nothing of it is lost, nothing bought is left"
    );
    shopper.buy(&sale).await;
    sale.reckon(2, 6).await;
    assert_eq!((sale.stock(&wanted).await.sold, sale.stock(&later).await.sold), (5, 1));
}

/// darkroomengineering/satus#410: two first adds at once make two carts, and one add is never seen again. A guest's first
/// add makes the cart under a key of the page's; accounts, which have one active cart, are not in this release.
#[tokio::test]
async fn two_first_adds_at_once_under_one_key_are_in_one_cart() {
    let sale = Sale::open();
    let sku = sale.product(700, 1_000).await;
    let mut tabs = sale.shopper().await.tabs(2).await;
    let bearer = format!("Bearer {}", tabs[0].cart.token);
    for round in 0..ROUNDS {
        let key = format!("first-{round}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", &key)];
        let make = request("POST", "/v1/carts", &headers, None);
        let made = at_once(&mut tabs, &[make.clone(), make]).await;
        assert_eq!([made[0].status, made[1].status], [201, 201]);
        let ids: Vec<_> = made.iter().map(|answer| answer.json()["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids[0], ids[1]);
        let replayed = made.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true"));
        assert_eq!(replayed.count(), 1, "and one of them is told so");
        for (tab, id) in tabs.iter_mut().zip(&ids) {
            tab.cart.id.clone_from(id);
        }
        let adds = [tabs[0].cart.add(&sku, 1, None), tabs[1].cart.add(&sku, 1, None)];
        assert!(at_once(&mut tabs, &adds).await.iter().all(|answer| answer.status == 200));
        assert_eq!(lines(&tabs[0].read_cart().await), [(sku.clone(), 2)]);
    }
}

/// What the store did so far.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    saves: f64,
    bytes: f64,
    loads: f64,
}

impl Work {
    async fn of(sale: &Sale) -> Self {
        Self {
            saves: sale.metric("trolley_store_save_duration_seconds_count").await,
            bytes: sale.metric("trolley_store_saved_bytes_total").await,
            loads: sale.metric("trolley_store_load_duration_seconds_count").await,
        }
    }

    async fn since(self, sale: &Sale) -> Self {
        let now = Self::of(sale).await;
        Self { saves: now.saves - self.saves, bytes: now.bytes - self.bytes, loads: now.loads - self.loads }
    }
}

/// Adds to a cart of so many lines, and what that cost.
async fn adds_to_a_cart_of(sale: &Sale, skus: &[String], adds: usize) -> Work {
    let mut shopper = sale.shopper().await;
    for sku in skus {
        shopper.add(sku, 1).await;
    }
    let before = Work::of(sale).await;
    for n in 0..adds {
        let add = shopper.cart.add(&skus[n % skus.len()], 1, Some(&format!("add-{n}")));
        assert_eq!(shopper.send(&add).await.status, 200);
        shopper.read_cart().await;
    }
    before.since(sale).await
}

/// medusajs/medusa#13335, #10751, #2465 (an add takes longer with each line, up to seconds): counted instead of timed.
/// An add is one save however many lines there are, a read is nothing, and the bytes of a save grow no faster than the
/// lines do.
#[tokio::test]
async fn an_add_is_one_save_with_one_line_and_with_a_hundred() {
    const ADDS: usize = 20;
    const LINES: usize = 100;
    let sale = Sale::open_with(&[]);
    let mut skus = Vec::new();
    for _ in 0..LINES {
        skus.push(sale.product(700, 10).await);
    }
    let one = adds_to_a_cart_of(&sale, &skus[..1], ADDS).await;
    let hundred = adds_to_a_cart_of(&sale, &skus, ADDS).await;
    assert_eq!((one.saves, one.loads), (ADDS as f64, 0.0), "{one:?}");
    assert_eq!((hundred.saves, hundred.loads), (ADDS as f64, 0.0), "{hundred:?}");
    assert!(hundred.bytes <= one.bytes * LINES as f64, "{one:?} {hundred:?}");
}

/// medusa#2465 (nine items take 8.4 s to be bought): a purchase of nine products is no more than nine purchases of one.
#[tokio::test]
async fn a_purchase_of_nine_products_does_no_more_than_nine_times_the_work() {
    const PRODUCTS: usize = 9;
    let sale = Sale::open_with(&[]);
    let mut skus = Vec::new();
    for _ in 0..PRODUCTS {
        skus.push(sale.product(700, 100).await);
    }
    let bought = async |skus: &[String]| {
        let before = Work::of(&sale).await;
        let mut shopper = sale.shopper().await;
        for sku in skus {
            shopper.add(sku, 1).await;
        }
        shopper.buy(&sale).await;
        shopper.cart_once("ordered").await;
        before.since(&sale).await
    };
    // The first touch of a product opens its stock.
    bought(&skus).await;
    let (one, nine) = (bought(&skus[..1]).await, bought(&skus).await);
    assert!(one.saves > 0.0 && nine.saves <= one.saves * PRODUCTS as f64, "{one:?} {nine:?}");
    sale.reckon(3, 2 * PRODUCTS as u64 + 1).await;
}

/// vendure#2187 again, with an empty cart at the end: whoever removes and whoever adds at once, none of the two is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_and_a_removal_at_once_leave_one_of_two_histories() {
    let sale = Sale::open_gated(&[]);
    let sku = sale.product(700, 1_000).await;
    for _ in 0..ROUNDS {
        let mut shopper = sale.shopper().await;
        shopper.add(&sku, 1).await;
        let requests = [shopper.cart.request("DELETE", "/items/l1", None, None), shopper.cart.add(&sku, 2, None)];
        let mut tabs: Vec<Shopper> = shopper.tabs(2).await;
        let answers: Vec<Answer> = sale.at_once(&shopper.cart.id, &mut tabs, &requests).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        // Removed first: a new line of two. Added first: the line of three was removed.
        let left = lines(&shopper.read_cart().await);
        assert!(left == [(sku.clone(), 2)] || left.is_empty(), "{left:?}");
        until("both tabs read the same", async || {
            (tabs[0].read_cart().await == tabs[1].read_cart().await).then_some(())
        })
        .await;
    }
}
