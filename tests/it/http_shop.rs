//! What shoppers and operators see of stock, of checkouts that go on, and of actors of every kind.

use loadtest::{
    client::{Answer, Connection, request},
    shop::{Cart, Checkout},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    http::{ids, listen, problem},
    support::{Server, TempDir, trolley, wait::until},
};

/// One server and a shopper.
struct Desk {
    dir: TempDir,
    server: Server,
    shopper: Connection,
}

impl Desk {
    async fn open() -> Self {
        let dir = TempDir::new("desk");
        let server = Server::start(&dir.0.join("data"));
        let shopper = Connection::open(&server.http).await.unwrap();
        Self { dir, server, shopper }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.shopper.ask(&request("GET", path, &[], None)).await.unwrap()
    }

    async fn operate(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string());
        // Operators come now and then: a connection that is kept is closed meanwhile.
        let mut connection = Connection::open(&self.server.admin).await.unwrap();
        connection.ask(&request(method, path, &[], body.as_deref())).await.unwrap()
    }

    async fn adjust(&mut self, sku: &str, change: i32) -> Value {
        let body = json!({ "adjust": change, "reason": "counted" });
        let answer = self.operate("POST", &format!("/admin/stock/{sku}"), Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    async fn availability(&mut self, sku: &str) -> Value {
        self.get(&format!("/v1/products/{sku}")).await.json()["availability"].take()
    }

    /// What the list says of a product of its first page.
    async fn listed(&mut self, sku: &str) -> Value {
        let mut page = self.get("/v1/products?limit=100").await.json();
        let items = page["items"].as_array_mut().unwrap();
        items.iter_mut().find(|item| item["sku"] == sku).unwrap()["availability"].take()
    }

    /// Waits until both say so.
    async fn shows(&mut self, sku: &str, availability: &str) {
        until("a product is as available as its stock says", async || {
            let told = (self.availability(sku).await, self.listed(sku).await);
            (told == (availability.into(), availability.into())).then_some(())
        })
        .await;
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

    async fn inspected(&mut self, actor: &str) -> Value {
        let answer = self.operate("GET", &format!("/admin/actors/{actor}"), None).await;
        assert_eq!(answer.status, 200, "{actor}: {}", answer.json());
        answer.json()
    }
}

#[tokio::test]
async fn a_product_is_as_available_as_its_stock_says() {
    let mut desk = Desk::open().await;
    for (sku, availability) in [("bowl-blue", "in_stock"), ("notebook-black", "low"), ("plate-blue", "out_of_stock")] {
        assert_eq!(desk.availability(sku).await, availability, "as the catalogue begins");
        assert_eq!(
            desk.operate("GET", &format!("/admin/actors/stock:{sku}"), None).await.status,
            404,
            "reads make nothing"
        );
    }
    let left = desk.adjust("bowl-blue", 0).await["available"].as_i64().unwrap();
    desk.adjust("bowl-blue", 1 - i32::try_from(left).unwrap()).await;
    desk.shows("bowl-blue", "low").await;

    let checkout = desk.begin("bowl-blue").await;
    desk.shows("bowl-blue", "out_of_stock").await;
    assert_eq!(desk.shopper.exchange(&checkout.cancel()).await.unwrap(), 200);
    desk.shows("bowl-blue", "low").await;

    desk.adjust("bowl-blue", -1).await;
    desk.shows("bowl-blue", "out_of_stock").await;
    desk.adjust("bowl-blue", 6).await;
    desk.shows("bowl-blue", "in_stock").await;

    let cart = Cart::make(&mut desk.shopper).await.unwrap();
    let refused = desk.shopper.ask(&cart.add("plate-blue", 1, None)).await.unwrap();
    assert_eq!(problem(&refused), (422, "product_unavailable".to_owned()));
    desk.adjust("plate-blue", 50).await;
    until("what came in can be put into a cart", async || {
        (desk.shopper.exchange(&cart.add("plate-blue", 1, Some("add"))).await.unwrap() == 200).then_some(())
    })
    .await;
    assert_eq!(desk.availability("plate-blue").await, "in_stock");
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

/// What operators are never shown of an actor: who the shopper is, where they live, what pays or lets in.
const SECRETS: [&str; 7] = ["@", "Lovelace", "Torstr", "Berlin", "tok_", "gst_", "guest"];

#[tokio::test]
async fn operators_see_actors_of_every_kind_and_nothing_that_shoppers_wrote() {
    let mut desk = Desk::open().await;
    let code = json!({ "percent_basis_points": 1000, "uses_max": 7 });
    assert_eq!(desk.operate("PUT", "/admin/discount-codes/WELCOME10", Some(code)).await.status, 200);
    // One whose payment waits for its shopper, so that its token is still kept; one that is bought.
    let waiting = desk.ready("mug-blue").await;
    assert_eq!(desk.shopper.exchange(&waiting.complete("tok_action", "pay")).await.unwrap(), 402);
    let bought = desk.ready("mug-blue").await;
    let order = desk.shopper.ask(&bought.complete("tok_approve", "pay")).await.unwrap().json();
    let order = order["order_id"].as_str().unwrap().to_owned();

    let mut cart = Cart::make(&mut desk.shopper).await.unwrap();
    assert_eq!(desk.shopper.exchange(&cart.add("mug-red", 2, None)).await.unwrap(), 200);
    let bearer = format!("Bearer {}", cart.token);
    let headers = [("authorization", bearer.as_str()), ("if-match", "\"2\"")];
    let patch = request(
        "PATCH",
        &format!("/v1/carts/{}", cart.id),
        &headers,
        Some(r#"{"note":"for Ada Lovelace","email":"ada@shop.example"}"#),
    );
    assert_eq!(desk.shopper.exchange(&patch).await.unwrap(), 200);
    assert_eq!(
        desk.shopper.exchange(&cart.request("PUT", "/discount-codes/welcome10", None, None)).await.unwrap(),
        200
    );
    cart.token.clear();

    let expected = [
        (cart.id.clone(), json!({ "kind": "cart", "status": "open", "lines": 1, "codes": 1 })),
        (
            waiting.id.clone(),
            json!({ "kind": "checkout", "status": "requires_action", "phase": "requires_action", "has_email": true,
                "has_shipping_address": true, "order_id": null }),
        ),
        (bought.id.clone(), json!({ "kind": "checkout", "status": "completed", "order_id": order })),
        (order.clone(), json!({ "kind": "order", "lines": 1, "gateway": "sandbox", "checkout_id": bought.id })),
        (
            "stock:mug-blue".to_owned(),
            json!({ "kind": "stock", "sku": "mug-blue", "held": 1, "sold": 1, "on_hand": 1000 }),
        ),
        ("discount:welcome10".to_owned(), json!({ "kind": "discount", "code": "WELCOME10", "used": 0, "uses_max": 7 })),
    ];
    let mut ids = Vec::new();
    for (actor, expected) in &expected {
        let facts = desk.inspected(actor).await;
        assert!(facts["machine"]["version"].as_u64() >= Some(1), "{facts}");
        is_as_expected(&facts, expected);
        let id = facts["id"].as_str().unwrap().to_owned();
        assert_eq!(desk.inspected(&id).await["id"], id.as_str(), "it is found by its id too");
        ids.push(id);
    }
    let held = &desk.inspected(&waiting.id).await["holds"][0];
    assert_eq!((&held["by"], &held["state"]), (&"stock:mug-blue".into(), &"pinned".into()), "{held}");

    for (wrong, status) in [
        ("stock:mug-green", 404),
        ("discount:NEVER", 404),
        ("ord_00000000000000000000000000", 404),
        ("gue_00000000000000000000000000", 400),
        ("stock:no+sku", 400),
    ] {
        assert_eq!(problem(&desk.operate("GET", &format!("/admin/actors/{wrong}"), None).await).0, status, "{wrong}");
    }

    // The same by the command line, through the node and without one.
    let admin = format!("admin.listen={}", desk.server.admin);
    let data = format!("store.data_dir={}", desk.dir.0.join("data").display());
    let inspect = |actor: &str, json: bool| {
        let mut command = trolley();
        command.args(["actor", "inspect", actor, "--set", &admin, "--set", &data]);
        if json {
            command.arg("--json");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{actor}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} of {actor}: {text}");
        }
        text
    };
    for (actor, expected) in &expected {
        is_as_expected(&serde_json::from_str(&inspect(actor, true)).unwrap(), expected);
        inspect(actor, false);
    }
    desk.server.stop();
    for ((actor, expected), id) in expected.iter().zip(ids) {
        let stored: Value = serde_json::from_str(&inspect(actor, true)).unwrap();
        assert!(stored["row"]["version"].as_u64() >= Some(1), "{stored}");
        assert_eq!(stored["id"], id.as_str());
        is_as_expected(&stored, expected);
    }
}

fn is_as_expected(facts: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&facts[name], value, "{name} of {facts}");
    }
    let text = facts.to_string();
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
