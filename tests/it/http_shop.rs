//! What shoppers see of checkouts that go on.

use loadtest::{
    client::{Connection, request},
    shop::{Cart, Checkout},
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    http::{ids, listen, problem},
    support::{Server, TempDir},
};

/// One server and a shopper.
struct Desk {
    _dir: TempDir,
    server: Server,
    shopper: Connection,
}

impl Desk {
    async fn open() -> Self {
        let dir = TempDir::new("desk");
        let server = Server::start(&dir.0.join("data"));
        let shopper = Connection::open(&server.http).await.unwrap();
        Self { _dir: dir, server, shopper }
    }

    async fn begin(&mut self, sku: &str) -> Checkout {
        let cart = Cart::make(&mut self.shopper).await.unwrap();
        assert_eq!(self.shopper.exchange(&cart.add(sku, 1, None)).await.unwrap(), 200);
        let begun = self.shopper.ask(&Checkout::begin(&cart, "begin")).await.unwrap();
        assert_eq!(begun.status, 201, "{}", begun.json());
        Checkout::of(&begun, &cart).unwrap()
    }

    /// The checkout with everything that it needs to be paid.
    async fn ready(&mut self, sku: &str) -> Checkout {
        let checkout = self.begin(sku).await;
        let seen = self.shopper.ask(&checkout.read()).await.unwrap().json();
        let revision = seen["revision"].as_u64().unwrap();
        let patched = self.shopper.ask(&checkout.address(revision, "address")).await.unwrap().json();
        let revision = patched["revision"].as_u64().unwrap();
        assert_eq!(self.shopper.exchange(&checkout.ship_by("standard", revision, "ship")).await.unwrap(), 200);
        checkout
    }
}

/// What an event stream has told: each event's data.
fn events(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[tokio::test]
async fn a_checkout_is_followed_until_there_is_an_order() {
    let mut desk = Desk::open().await;
    let checkout = desk.ready("mug-blue").await;
    let path = format!("/v1/checkouts/{}/events", checkout.id);
    let bearer = format!("Bearer {}", checkout.token);
    let open = async |http: &str, seen: Option<u64>| {
        let seen = seen.map(|seen| seen.to_string());
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(seen.as_deref().map(|seen| ("last-event-id", seen)));
        let mut stream = TcpStream::connect(http).await.unwrap();
        stream.write_all(&request("GET", &path, &headers, None)).await.unwrap();
        stream
    };
    let mut stream = open(&desk.server.http, None).await;
    let begins = listen(&mut stream, |text| !events(text).is_empty()).await;
    assert!(begins.contains("content-type: text/event-stream") && begins.contains("event: checkout"), "{begins}");
    let read = desk.shopper.ask(&checkout.read()).await.unwrap();
    assert_eq!(events(&begins), [read.json()], "it begins with what a read shows");
    assert_eq!(ids(&begins), [read.json()["revision"].as_u64().unwrap()]);

    let paying = tokio::spawn({
        let (http, complete) = (desk.server.http.clone(), checkout.complete("tok_slow", "pay"));
        async move { Connection::open(&http).await.unwrap().ask(&complete).await.unwrap() }
    });
    let is_over = |text: &str| events(text).last().is_some_and(|last| last["status"] == "completed");
    let rest = listen(&mut stream, is_over).await;
    let mut told = events(&begins);
    told.extend(events(&rest));
    let revisions = [ids(&begins), ids(&rest)].concat();
    assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
    assert_eq!(revisions, told.iter().map(|told| told["revision"].as_u64().unwrap()).collect::<Vec<_>>());
    let mut statuses: Vec<_> = told.iter().map(|told| told["status"].as_str().unwrap()).collect();
    statuses.dedup();
    assert_eq!(statuses, ["open", "completing", "completed"]);
    let paid = paying.await.unwrap();
    assert_eq!((paid.status, &paid.json()["order_id"]), (200, &told.last().unwrap()["order_id"]));

    let before_last = revisions[revisions.len() - 2];
    let mut resumed = open(&desk.server.http, Some(before_last)).await;
    let again = listen(&mut resumed, is_over).await;
    assert_eq!(ids(&again), revisions[revisions.len() - 1..], "what was seen is not told again");

    let stranger = Cart::make(&mut desk.shopper).await.unwrap();
    let strange = format!("Bearer {}", stranger.token);
    let ticket = desk.shopper.ask(&stranger.request("POST", "/events/tickets", None, None)).await.unwrap().json();
    let by_ticket = format!("{path}?ticket={}", ticket["ticket"].as_str().unwrap());
    let absent = "/v1/checkouts/chk_00000000000000000000000000/events".to_owned();
    for (path, headers, expected) in [
        (&path, vec![("authorization", strange.as_str())], 404),
        (&absent, vec![("authorization", strange.as_str())], 404),
        (&path, vec![], 401),
        (&by_ticket, vec![], 401),
    ] {
        let answer = desk.shopper.ask(&request("GET", path, &headers, None)).await.unwrap();
        assert_eq!(problem(&answer).0, expected, "{path}");
    }
    desk.server.stop();
    let end = listen(&mut resumed, |_| false).await;
    assert!(end.ends_with("0\r\n\r\n"), "the stream ends as a stream ends: {end:?}");
}
