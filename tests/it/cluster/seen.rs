//! What one node shows of what another owns: how available a product is, and how a checkout goes on.

use loadtest::{
    client::{Connection, request},
    shop::{Cart, Checkout},
};

use super::{shop::Shop, stream::Stream};
use crate::{process::turn, support::wait::until};

const NAMES: [&str; 2] = ["n1", "n2"];
const SKU: &str = "mug-red";

/// A cart that `owner` owns.
async fn cart_at(shop: &Shop, owner: &str) -> Cart {
    let mut connection = Connection::open(&shop.http(owner)).await.unwrap();
    until("a cart is that node's", async || {
        let cart = Cart::make(&mut connection).await.unwrap();
        let answer = cart.read(&mut connection).await.unwrap();
        (answer.header("trolley-owner") == Some(owner)).then_some(cart)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_shows_what_there_is_and_follows_a_checkout_wherever_it_is() {
    let _turn = turn().await;
    let mut shop = Shop::open(&NAMES).await;
    let (mut here, mut there) =
        (Connection::open(&shop.http("n1")).await.unwrap(), Connection::open(&shop.http("n2")).await.unwrap());

    let cart = cart_at(&shop, "n2").await;
    assert_eq!(here.exchange(&cart.add(SKU, 1, None)).await.unwrap(), 200);
    let begun = here.ask(&Checkout::begin(&cart, "begin")).await.unwrap();
    let checkout = Checkout::of(&begun, &cart).unwrap();
    let bearer = format!("Bearer {}", checkout.token);
    let path = format!("/v1/checkouts/{}/events", checkout.id);
    let mut stream =
        Stream::asked(&shop.http("n1"), &request("GET", &path, &[("authorization", bearer.as_str())], None)).await;
    let first = stream.next().await.unwrap();
    let changed = there.ask(&checkout.address(first, "address")).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.json());
    let second = stream.next().await.unwrap();
    assert!(second > first && Some(second) == changed.json()["revision"].as_u64(), "{first} {second}");

    for node in NAMES {
        let (status, facts) = shop.admin(node, &format!("/admin/actors/{}", checkout.id)).await;
        assert_eq!((status, &facts["owner"], &facts["has_email"]), (200, &"n2".into(), &true.into()), "{facts}");
        assert_eq!(facts["machine"].is_object(), node == "n2", "its owner knows the machine: {facts}");
    }

    let mut operator = Connection::open(&shop.node("n1").admin).await.unwrap();
    // One is held: everything else goes.
    let body = r#"{"adjust":-999,"reason":"counted"}"#;
    let adjust = request("POST", &format!("/admin/stock/{SKU}"), &[], Some(body));
    assert_eq!(operator.exchange(&adjust).await.unwrap(), 200);
    let product = request("GET", &format!("/v1/products/{SKU}"), &[], None);
    until("both nodes show that nothing is left", async || {
        let mut all_out = true;
        for node in [&mut here, &mut there] {
            all_out &= node.ask(&product).await.unwrap().json()["availability"] == "out_of_stock";
        }
        all_out.then_some(())
    })
    .await;

    shop.take("n2").stop();
    assert_eq!(stream.next().await, None, "its checkout moves: the stream ends, and the client finds it anew");
    until("the checkout is served again", async || {
        (here.exchange(&checkout.read()).await.unwrap() == 200).then_some(())
    })
    .await;
    let again = request("GET", &path, &[("authorization", bearer.as_str())], None);
    assert_eq!(Stream::asked(&shop.http("n1"), &again).await.next().await, Some(second));
}
