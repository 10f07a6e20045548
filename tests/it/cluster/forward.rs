//! A read through a node that does not own the cart is as good as one through its owner.

use loadtest::{
    client::{Answer, Connection, request},
    shop::Cart,
};

use super::shop::Shop;
use crate::{process::turn, support::wait::until};

async fn read(connection: &mut Connection, cart: &Cart, token: &str, header: Option<(&str, &str)>) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers: Vec<_> = [("authorization", bearer.as_str())].into_iter().chain(header).collect();
    connection.ask(&request("GET", &format!("/v1/carts/{}", cart.id), &headers, None)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cart_reads_the_same_through_any_node_and_only_for_its_shopper() {
    let _turn = turn().await;
    let shop = Shop::open(&["n1", "n2"]).await;
    let mut there = Connection::open(&shop.http("n1")).await.unwrap();
    let mut owner = Connection::open(&shop.http("n2")).await.unwrap();
    let cart = until("a cart of n2's", async || {
        let cart = Cart::make(&mut there).await.unwrap();
        let answer = cart.read(&mut there).await.unwrap();
        (answer.header("trolley-owner") == Some("n2")).then_some(cart)
    })
    .await;
    assert_eq!(owner.exchange(&cart.add("mug-blue", 2, None)).await.unwrap(), 200);
    let (local, forwarded) = (cart.read(&mut owner).await.unwrap(), cart.read(&mut there).await.unwrap());
    assert_eq!((forwarded.status, &forwarded.body), (200, &local.body));
    assert_eq!(forwarded.json()["revision"], 2, "the owner's change is seen at once");
    for header in ["etag", "trolley-revision", "trolley-owner", "content-type", "trolley-stale"] {
        assert_eq!(forwarded.header(header), local.header(header), "{header}");
    }
    let etag = forwarded.header("etag").unwrap();
    let unchanged = read(&mut there, &cart, &cart.token, Some(("if-none-match", etag))).await;
    assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.body.len()), (304, Some(etag), 0));
    assert_eq!(read(&mut there, &cart, &cart.token, Some(("if-none-match", "\"1\""))).await.status, 200);
    let other = Cart::make(&mut there).await.unwrap();
    assert_eq!(read(&mut there, &cart, &other.token, None).await.status, 404, "somebody else's cart looks like none");
    let last = if cart.id.ends_with('0') { '1' } else { '0' };
    let none = Cart { id: format!("{}{last}", &cart.id[..cart.id.len() - 1]), token: cart.token.clone() };
    assert_eq!(none.read(&mut there).await.unwrap().status, 404, "there is no such cart");
}
