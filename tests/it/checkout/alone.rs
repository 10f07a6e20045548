//! What is unfinished when a node dies is finished by the next one, although nobody asks for it.

use std::time::{Duration, Instant};

use loadtest::{
    client::{Connection, request},
    shop::{Cart, Checkout},
};
use serde_json::Value;
use trolley::actors::failpoint::VARIABLE;

use crate::support::{Server, TempDir, wait::until};

const SKU: &str = "mug-blue";
/// How soon: the stock alone would give its goods back a minute after the checkout's end.
const ALONE_MAX: Duration = Duration::from_secs(30);

/// A checkout that is begun, of three units.
async fn begun(server: &Server) -> (Connection, Checkout) {
    let mut shopper = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut shopper).await.unwrap();
    assert_eq!(shopper.ask(&cart.add(SKU, 3, Some("add"))).await.unwrap().status, 200);
    let begun = shopper.ask(&Checkout::begin(&cart, "begin")).await.unwrap();
    (shopper, Checkout::of(&begun, &cart).unwrap())
}

async fn told(server: &Server, path: &str) -> Value {
    let mut operator = Connection::open(&server.admin).await.unwrap();
    operator.ask(&request("GET", path, &[], None)).await.unwrap().json()
}

async fn held(server: &Server) -> Option<u64> {
    told(server, &format!("/admin/stock/{SKU}")).await["held"].as_u64()
}

#[tokio::test]
async fn goods_of_a_checkout_that_everybody_left_are_given_back_after_a_crash() {
    let dir = TempDir::new("alone");
    let start = || {
        Server::start_with(&dir.0, |command| {
            command.args(["--set", "checkout.expire_after=2s"]);
        })
    };
    let server = start();
    begun(&server).await;
    assert_eq!(held(&server).await, Some(3));
    server.kill();
    let (server, since) = (start(), Instant::now());
    until("the goods are given back", async || (held(&server).await == Some(0)).then_some(())).await;
    assert!(since.elapsed() < ALONE_MAX, "the stock has let go of them, not the checkout");
    until("nothing is overdue", async || {
        let mut operator = Connection::open(&server.admin).await.unwrap();
        let page = operator.ask(&request("GET", "/metrics", &[], None)).await.unwrap().body;
        String::from_utf8(page).unwrap().lines().any(|line| line == "trolley_agenda_overdue_ms 0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn money_of_an_order_is_taken_after_a_crash_although_nobody_asks() {
    let dir = TempDir::new("alone");
    let server = Server::start_with(&dir.0, |command| {
        command.env(VARIABLE, "before order.capture");
    });
    let (mut shopper, checkout) = begun(&server).await;
    for change in
        [Checkout::address, |checkout: &Checkout, revision, key: &str| checkout.ship_by("standard", revision, key)]
    {
        let revision = shopper.ask(&checkout.read()).await.unwrap().json()["revision"].as_u64().unwrap();
        let changed = shopper.ask(&change(&checkout, revision, &format!("change-{revision}"))).await.unwrap();
        assert_eq!(changed.status, 200, "{}", changed.json());
    }
    // The answer may come, or end with the node.
    let _ = shopper.ask(&checkout.complete("tok_approve", "pay")).await;
    server.ended().await;
    let server = Server::start(&dir.0);
    until("the money is taken", async || {
        let book = told(&server, "/admin/sandbox/payments").await;
        let payment = &book["items"][0];
        (payment["captured"].as_i64() > Some(0) && payment["captured"] == payment["amount"]).then_some(())
    })
    .await;
}
