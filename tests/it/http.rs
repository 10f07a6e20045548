//! The API over a real listener: every route's happy path, every problem, slow clients, streams.

use std::{io, time::Duration};

use loadtest::{
    client::{Answer, Connection, request},
    shop::{Cart, Checkout},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Server, TempDir, wait::until};

/// One server, one shopper with a cart.
struct Shop {
    _dir: TempDir,
    server: Server,
    connection: Connection,
    cart: Cart,
}

impl Shop {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(options: &[&str]) -> Self {
        let dir = TempDir::new("http");
        let server = Server::start_with(&dir.0, |command| {
            for option in options {
                command.args(["--set", option]);
            }
        });
        let mut connection = Connection::open(&server.http).await.unwrap();
        let cart = Cart::make(&mut connection).await.unwrap();
        Self { _dir: dir, server, connection, cart }
    }

    /// Asks about the cart.
    async fn ask(&mut self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.ask_with(method, path, &[], body).await
    }

    async fn ask_with(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let bearer = format!("Bearer {}", self.cart.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        let path = format!("/v1/carts/{}{path}", self.cart.id);
        self.connection.ask(&request(method, &path, &all, body)).await.unwrap()
    }

    async fn raw(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        self.connection.ask(&request(method, path, headers, body)).await.unwrap()
    }

    async fn add(&mut self, sku: &str, quantity: u32) -> Value {
        let answer = self.ask("POST", "/items", Some(&json!({ "sku": sku, "quantity": quantity }).to_string())).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }
}

pub(crate) fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.json());
    let body = answer.json();
    assert_eq!(body["status"], answer.status);
    assert_eq!(body["type"], format!("/problems/{}", body["code"].as_str().unwrap()));
    assert_eq!(body["instance"], format!("/requests/{}", answer.header("request-id").unwrap()));
    (answer.status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_cart_looks_as_the_contract_says() {
    let mut shop = Shop::open().await;
    let mut cart = shop.add("mug-blue", 2).await;
    let time = |cart: &mut Value, field: &str| {
        let text = cart[field].take().as_str().unwrap().to_owned();
        assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
    };
    for field in ["created_at", "updated_at", "expires_at"] {
        time(&mut cart, field);
    }
    let eur = |amount: i64| json!({ "amount": amount, "currency": "EUR" });
    let expected = json!({
        "id": shop.cart.id, "revision": 2, "status": "open", "currency": "EUR",
        "lines": [{ "id": "l1", "sku": "mug-blue", "title": "Mug, blue", "quantity": 2, "options": {}, "metadata": {},
            "unit_price": eur(1299), "total": eur(2598) }],
        "saved_for_later": [], "discounts": [],
        "totals": { "subtotal": eur(2598), "discount": eur(0), "total": eur(2598) },
        "messages": [], "note": null, "email": null, "created_at": null, "updated_at": null, "expires_at": null,
    });
    assert_eq!(cart, expected);
}

#[tokio::test]
async fn every_operation_of_a_cart() {
    let mut shop = Shop::open().await;
    shop.add("mug-blue", 1).await;
    let shirt = r#"{"sku":"tee-blue","quantity":1,"options":{"size":"M"},"metadata":{"gift":true,"n":1,"for":"Ada"}}"#;
    let cart = shop.ask("POST", "/items", Some(shirt)).await.json();
    assert_eq!(cart["lines"][1]["metadata"], json!({ "gift": true, "n": 1, "for": "Ada" }));
    assert_eq!(cart["lines"][1]["options"], json!({ "size": "M" }));
    assert_eq!(shop.add("mug-blue", 2).await["lines"][0]["quantity"], 3, "the same product joins its line");

    let cart = shop.ask("PATCH", "/items/l1", Some(r#"{"quantity":5}"#)).await.json();
    assert_eq!(cart["lines"][0]["quantity"], 5);
    let cart = shop.ask("POST", "/items/l2/save", None).await.json();
    assert_eq!((cart["lines"].as_array().unwrap().len(), cart["saved_for_later"][0]["id"].clone()), (1, "l2".into()));
    assert_eq!(cart["totals"]["total"]["amount"], 5 * 1299, "what is saved for later does not count");
    let cart = shop.ask("POST", "/items/l2/restore", None).await.json();
    assert_eq!((cart["lines"][1]["id"].clone(), cart["saved_for_later"].clone()), ("l2".into(), json!([])));
    let cart = shop.ask("PATCH", "/items/l1", Some(r#"{"quantity":0}"#)).await.json();
    assert_eq!(cart["lines"].as_array().unwrap().len(), 1, "0 removes");
    assert_eq!(shop.ask("DELETE", "/items/l2", None).await.json()["lines"], json!([]));

    shop.add("mug-red", 1).await;
    assert_eq!(shop.ask("DELETE", "/items", None).await.json()["lines"], json!([]));
    let read = shop.ask("GET", "", None).await;
    let tag = read.header("etag").unwrap().to_owned();
    let patch = Some(r#"{"note":"ring twice","email":"ada@example.org"}"#);
    let patched = shop.ask_with("PATCH", "", &[("if-match", &tag)], patch).await;
    assert_eq!(
        (patched.json()["note"].clone(), patched.json()["email"].clone()),
        ("ring twice".into(), "ada@example.org".into())
    );
    let tag = patched.header("etag").unwrap().to_owned();
    let erased = shop.ask_with("PATCH", "", &[("if-match", &tag)], Some(r#"{"note":null}"#)).await.json();
    assert_eq!((erased["note"].clone(), erased["email"].clone()), (Value::Null, "ada@example.org".into()));

    assert_eq!(shop.ask("DELETE", "", None).await.status, 204);
    assert_eq!(shop.ask("DELETE", "", None).await.status, 204, "closing again changes nothing");
    let body = Some(r#"{"sku":"mug-blue","quantity":1}"#);
    assert_eq!(problem(&shop.ask("POST", "/items", body).await), (409, "cart_not_open".to_owned()));
    assert_eq!(shop.ask("GET", "", None).await.json()["status"], "closed");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_code() {
    let mut shop = Shop::open().await;
    shop.add("mug-blue", 1).await;
    shop.add("mug-red", 1).await;
    let long = "x".repeat(1100);
    let table: Vec<(&str, &str, Option<String>, u16, &str)> = vec![
        ("POST", "/items", Some(r#"{"sku":"no-such","quantity":1}"#.into()), 404, "not_found"),
        ("POST", "/items", Some(r#"{"sku":"mug-blue","quantity":0}"#.into()), 422, "quantity_out_of_range"),
        ("POST", "/items", Some(r#"{"sku":"mug-blue","quantity":1000}"#.into()), 422, "quantity_out_of_range"),
        ("POST", "/items", Some(r#"{"sku":"mug-blue","quantity":999}"#.into()), 422, "quantity_out_of_range"),
        ("POST", "/items", Some(r#"{"sku":"gift-25","quantity":6}"#.into()), 422, "quantity_out_of_range"),
        ("POST", "/items", Some(r#"{"sku":"tee-blue","quantity":1}"#.into()), 400, "invalid_request"),
        (
            "POST",
            "/items",
            Some(r#"{"sku":"tee-blue","quantity":1,"options":{"size":"XXXL"}}"#.into()),
            400,
            "invalid_request",
        ),
        (
            "POST",
            "/items",
            Some(r#"{"sku":"mug-blue","quantity":1,"options":{"size":"M"}}"#.into()),
            400,
            "invalid_request",
        ),
        ("POST", "/items", Some(r#"{"sku":"mug-blue","quantity":1,"colour":"red"}"#.into()), 400, "invalid_request"),
        ("POST", "/items", Some(r#"{"sku":"mug-blue","quantity":"1"}"#.into()), 400, "invalid_request"),
        ("POST", "/items", Some("{".into()), 400, "invalid_request"),
        (
            "POST",
            "/items",
            Some(format!(r#"{{"sku":"mug-blue","quantity":1,"metadata":{{"a":"{long}"}}}}"#)),
            422,
            "metadata_too_large",
        ),
        (
            "POST",
            "/items",
            Some(r#"{"sku":"mug-blue","quantity":1,"metadata":{"a":[]}}"#.into()),
            400,
            "invalid_request",
        ),
        ("PATCH", "/items/l9", Some(r#"{"quantity":1}"#.into()), 404, "not_found"),
        ("PATCH", "/items/one", Some(r#"{"quantity":1}"#.into()), 400, "invalid_id"),
        ("POST", "/items/l1/restore", None, 404, "not_found"),
        ("PATCH", "", Some(r#"{"note":"x"}"#.into()), 428, "precondition_required"),
        ("PUT", "", None, 405, "method_not_allowed"),
        ("GET", "/nothing", None, 404, "not_found"),
    ];
    for (method, path, body, status, code) in table {
        let answer = shop.ask(method, path, body.as_deref()).await;
        assert_eq!(problem(&answer), (status, code.to_owned()), "{method} {path} {body:?}: {}", answer.json());
        assert_eq!(answer.json()["outcome"], "none");
    }
    let out_of_stock = first_of(&mut shop, "out_of_stock").await;
    let body = json!({ "sku": out_of_stock, "quantity": 1 }).to_string();
    assert_eq!(problem(&shop.ask("POST", "/items", Some(&body)).await).1, "product_unavailable");
    let field = shop.ask("POST", "/items", Some(r#"{"sku":"mug-blue","quantity":"1"}"#)).await.json();
    assert_eq!(field["errors"][0]["pointer"], "/quantity");
    let stale = shop.ask_with("DELETE", "/items/l1", &[("if-match", "\"1\"")], None).await;
    assert_eq!(problem(&stale), (412, "revision_mismatch".to_owned()));
    assert_eq!((stale.json()["revision"].clone(), stale.header("trolley-revision")), (3.into(), Some("3")));
    assert_eq!(
        problem(&shop.ask_with("DELETE", "/items/l1", &[("if-match", "soon")], None).await).1,
        "invalid_request"
    );
    assert_eq!(problem(&shop.ask("POST", "/items", None).await).1, "unsupported_media_type");
    let picky = [("accept", "text/html")];
    assert_eq!(problem(&shop.ask_with("GET", "", &picky, None).await), (406, "not_acceptable".to_owned()));
    assert_eq!(shop.ask("GET", "", None).await.json()["revision"], 3, "no refusal had an effect");
}

/// Lines, options and metadata that no checkout's row has room for are told before anything is held; with fewer of them the
/// same cart is bought to the end.
#[tokio::test]
async fn a_cart_that_is_too_large_for_one_checkout_is_told_so() {
    let mut shop = Shop::open().await;
    for n in 0..100 {
        let metadata = json!({ "engraving": format!("{n:01000}") });
        let body = json!({ "sku": "mug-blue", "quantity": 1, "metadata": metadata }).to_string();
        assert_eq!(shop.ask("POST", "/items", Some(&body)).await.status, 200, "line {n}");
    }
    let begin = Checkout::begin(&shop.cart, "begin");
    let refused = shop.connection.ask(&begin).await.unwrap();
    assert_eq!(problem(&refused), (422, "too_many_lines".to_owned()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("remove some"), "{}", refused.json());
    assert_eq!(shop.ask("GET", "", None).await.json()["status"], "open");
    for n in 1..=20 {
        assert_eq!(shop.ask("DELETE", &format!("/items/l{n}"), None).await.status, 200);
    }
    let begun = shop.connection.ask(&begin).await.unwrap();
    assert_eq!(begun.status, 201, "{}", begun.json());
    let checkout = Checkout::of(&begun, &shop.cart).unwrap();
    let revision = |answer: &Answer| answer.json()["revision"].as_u64().unwrap();
    let addressed = shop.connection.ask(&checkout.address(revision(&begun), "address")).await.unwrap();
    let shipped = checkout.ship_by("standard", revision(&addressed), "ship");
    assert_eq!(shop.connection.ask(&shipped).await.unwrap().status, 200);
    let paid = shop.connection.ask(&checkout.complete("tok_approve", "pay")).await.unwrap();
    assert_eq!(paid.status, 200, "{}", paid.json());
    let order = shop.connection.ask(&checkout.order(paid.json()["order_id"].as_str().unwrap())).await.unwrap();
    assert_eq!(order.json()["lines"].as_array().map(Vec::len), Some(80));
}

/// Some product of this availability.
async fn first_of(shop: &mut Shop, availability: &str) -> String {
    let mut cursor = String::new();
    loop {
        let page = shop.raw("GET", &format!("/v1/products?limit=100{cursor}"), &[], None).await.json();
        let found = page["items"].as_array().unwrap().iter().find(|product| product["availability"] == availability);
        if let Some(product) = found {
            return product["sku"].as_str().unwrap().to_owned();
        }
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap());
    }
}

#[tokio::test]
async fn p3_a_key_has_its_effect_once_and_always_the_same_outcome() {
    let mut shop = Shop::open().await;
    let body = Some(r#"{"sku":"mug-blue","quantity":1}"#);
    let key = [("idempotency-key", "k1")];
    let first = shop.ask_with("POST", "/items", &key, body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    let again = shop.ask_with("POST", "/items", &key, body).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json()["lines"][0]["quantity"], 1);
    let other = shop.ask_with("POST", "/items", &key, Some(r#"{"sku":"mug-blue","quantity":2}"#)).await;
    assert_eq!(problem(&other), (422, "idempotency_key_reused".to_owned()));
    let elsewhere = shop.ask_with("DELETE", "/items", &key, None).await;
    assert_eq!(elsewhere.status, 200, "the same key under another method and path is another key");
    for key in ["", "with space", "ümlaut", &"k".repeat(256)] {
        let answer = shop.ask_with("POST", "/items", &[("idempotency-key", key)], body).await;
        assert_eq!(problem(&answer).1, "invalid_request", "{key:?}");
    }
    let bearer = format!("Bearer {}", shop.cart.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "cart-1")];
    let first = shop.raw("POST", "/v1/carts", &headers, None).await;
    let again = shop.raw("POST", "/v1/carts", &headers, None).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["id"], again.json()["id"], "a retry finds the cart that the first attempt made");
    assert_ne!(first.json()["id"], shop.cart.id);
}

#[tokio::test]
async fn somebody_elses_cart_is_not_there_whatever_is_asked_of_it() {
    let mut shop = Shop::open().await;
    shop.add("mug-blue", 1).await;
    let mut stranger = Connection::open(&shop.server.http).await.unwrap();
    let other = Cart::make(&mut stranger).await.unwrap();
    let absent = "cart_00000000000000000000000000";
    let add = Some(r#"{"sku":"mug-blue","quantity":1}"#);
    let routes = [
        ("GET", "", None),
        ("PATCH", "", Some("{}")),
        ("DELETE", "", None),
        ("POST", "/items", add),
        ("DELETE", "/items", None),
        ("PATCH", "/items/l1", Some(r#"{"quantity":2}"#)),
        ("DELETE", "/items/l1", None),
        ("POST", "/items/l1/save", None),
        ("POST", "/items/l1/restore", None),
        ("GET", "/events", None),
        ("POST", "/events/tickets", None),
    ];
    for (method, path, body) in routes {
        for token in [Some(other.token.as_str()), None, Some("gst_nonsense")] {
            let mut answers = Vec::new();
            for id in [shop.cart.id.as_str(), absent] {
                let bearer = token.map(|token| format!("Bearer {token}"));
                let mut headers = vec![("if-match", "\"2\"")];
                headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
                let path = format!("/v1/carts/{id}{path}");
                let answer = stranger.ask(&request(method, &path, &headers, body)).await.unwrap();
                let expected = if token == Some(&other.token) { (404, "not_found") } else { (401, "unauthenticated") };
                assert_eq!(problem(&answer), (expected.0, expected.1.to_owned()), "{method} {path}");
                answers.push(answer.json()["detail"].clone());
            }
            assert_eq!(answers[0], answers[1], "{method} {path}: it can be told apart from an absent one");
        }
    }
    assert_eq!(shop.ask("GET", "", None).await.json()["revision"], 2);
}

#[tokio::test]
async fn conditional_reads_products_pages_and_the_description() {
    let mut shop = Shop::open().await;
    let read = shop.ask("GET", "", None).await;
    let tag = read.header("etag").unwrap().to_owned();
    let unchanged = shop.ask_with("GET", "", &[("if-none-match", &tag)], None).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    shop.add("mug-blue", 1).await;
    assert_eq!(shop.ask_with("GET", "", &[("if-none-match", &tag)], None).await.status, 200);

    let (mut skus, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = shop.raw("GET", &format!("/v1/products?limit=50{cursor}"), &[], None).await.json();
        skus.extend(
            page["items"].as_array().unwrap().iter().map(|product| product["sku"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(skus.len() >= 200 && skus.is_sorted(), "every product once, in order");
    for path in
        ["/v1/products?limit=1&limit=2", "/v1/products?limit=0", "/v1/products?limit=101", "/v1/products?cursor=xyz"]
    {
        assert_eq!(problem(&shop.raw("GET", path, &[], None).await).1, "invalid_request");
    }
    assert_eq!(shop.raw("GET", "/v1/products/mug-blue", &[], None).await.json()["price"]["amount"], 1299);
    assert_eq!(problem(&shop.raw("GET", "/v1/products/none", &[], None).await).0, 404);

    let description = shop.raw("GET", "/openapi.json", &[], None).await.json();
    assert_eq!(description["openapi"].as_str().unwrap()[..3], *"3.1");
    assert_eq!(description["paths"].as_object().unwrap().len(), 22);
    let docs = shop.raw("GET", "/docs", &[], None).await;
    assert!(docs.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let page = String::from_utf8(docs.body).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs nothing from elsewhere");
}

#[tokio::test]
async fn headers_that_every_answer_has() {
    let mut shop = Shop::open().await;
    let given = [("request-id", "mine-1"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let answer = shop.ask_with("GET", "", &given, None).await;
    assert_eq!(answer.header("request-id"), Some("mine-1"));
    assert_eq!(answer.header("trolley-owner"), Some("n1"));
    let trace = answer.header("traceparent").unwrap();
    assert!(
        trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !trace.contains("b7ad6b7169203331"),
        "{trace}"
    );
    let answer =
        shop.ask_with("GET", "", &[("request-id", "not sane!"), ("origin", "https://shop.example")], None).await;
    assert!(answer.header("request-id").unwrap().starts_with("req_"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("ETag"));
    let preflight = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    let answer = shop.raw("OPTIONS", "/v1/carts", &preflight, None).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-headers").unwrap().contains("Idempotency-Key"));
}

/// Reads a stream until `enough` of what has come.
pub(crate) async fn listen(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !enough(&text) {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            n => text.push_str(std::str::from_utf8(&buffer[..n]).unwrap()),
        }
    }
    text
}

pub(crate) fn ids(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_stream_tells_every_new_state_resumes_and_ends_cleanly() {
    let mut shop = Shop::open().await;
    let mut stream = TcpStream::connect(&shop.server.http).await.unwrap();
    stream.write_all(&shop.cart.request("GET", "/events", None, None)).await.unwrap();
    let first = listen(&mut stream, |text| ids(text) == [1]).await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("event: cart"), "{first}");
    shop.add("mug-blue", 1).await;
    let second = listen(&mut stream, |text| ids(text) == [2]).await;
    assert!(second.contains(r#""quantity":1"#), "{second}");

    let ticket = shop.ask("POST", "/events/tickets", None).await;
    assert_eq!(ticket.status, 201);
    let ticket = ticket.json()["ticket"].as_str().unwrap().to_owned();
    let path = format!("/v1/carts/{}/events?ticket={ticket}", shop.cart.id);
    let mut resumed = TcpStream::connect(&shop.server.http).await.unwrap();
    resumed.write_all(&request("GET", &path, &[("last-event-id", "2")], None)).await.unwrap();
    listen(&mut resumed, |text| text.contains("\r\n\r\n")).await;
    shop.add("mug-blue", 1).await;
    let third = listen(&mut resumed, |text| !ids(text).is_empty()).await;
    assert_eq!(ids(&third), [3], "what was seen is not told again");
    let wrong = shop.raw("GET", &format!("{path}0"), &[], None).await;
    assert_eq!(problem(&wrong).0, 401);

    let log = shop.server.stop();
    let rest = listen(&mut resumed, |_| false).await;
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ends as a stream ends: {rest:?}");
    for secret in [&ticket, &shop.cart.token] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_large_bodies_refused() {
    let mut shop = Shop::open_with(&["http.head_timeout=200ms", "http.body_timeout=200ms"]).await;
    let mut slow = TcpStream::connect(&shop.server.http).await.unwrap();
    slow.write_all(b"GET /v1/products HTTP/1.1\r\nhost: shop\r\nx-slow: ").await.unwrap();
    let cut = listen(&mut slow, |_| false).await;
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 408"), "{cut}");
    let mut slow = TcpStream::connect(&shop.server.http).await.unwrap();
    let head = format!(
        "POST /v1/carts/{}/items HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{{",
        shop.cart.id, shop.cart.token
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let cut = listen(&mut slow, |_| false).await;
    assert!(cut.starts_with("HTTP/1.1 408") && cut.contains("connection: close"), "{cut}");
    let large = format!(r#"{{"sku":"{}","quantity":1}}"#, "x".repeat(70_000));
    shop.connection = Connection::open(&shop.server.http).await.unwrap();
    let answer = shop.ask("POST", "/items", Some(&large)).await;
    assert_eq!(problem(&answer), (413, "body_too_large".to_owned()));
}

/// Waits until a request, whose body is still on its way, is being answered. Shoppers who asked to find that out would be
/// in its way.
async fn in_flight(server: &Server) {
    let mut admin = Connection::open(&server.admin).await.unwrap();
    until("a request is being answered", async || {
        let metrics = String::from_utf8(admin.ask(&request("GET", "/metrics", &[], None)).await.unwrap().body).unwrap();
        metrics.contains("trolley_http_requests_in_flight 1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_and_requests_are_bounded() {
    let dir = TempDir::new("bounds");
    let server = Server::start_with(&dir.0, |command| {
        command.args(["--set", "http.connections_max=2"]);
    });
    let mut first = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut first).await.unwrap();
    let mut second = Connection::open(&server.http).await.unwrap();
    cart.read(&mut second).await.unwrap();
    let mut third = Connection::open(&server.http).await.unwrap();
    let waiting = tokio::spawn(async move { cart.read(&mut third).await.map(|answer| answer.status) });
    let open = request("GET", "/metrics", &[], None);
    let mut admin = Connection::open(&server.admin).await.unwrap();
    let text = String::from_utf8(admin.ask(&open).await.unwrap().body).unwrap();
    assert!(text.contains("trolley_http_connections{listener=\"http\"} 2"), "{text}");
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.unwrap().unwrap(), 200);

    let shop = Shop::open_with(&["http.in_flight_max=1"]).await;
    let mut held = TcpStream::connect(&shop.server.http).await.unwrap();
    let head = "POST /v1/carts HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    held.write_all(head.as_bytes()).await.unwrap();
    let mut connection = shop.connection;
    in_flight(&shop.server).await;
    let refused = connection.ask(&request("GET", "/v1/products/mug-blue", &[], None)).await.unwrap();
    assert_eq!(problem(&refused), (503, "overloaded".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    held.write_all(b"{}").await.unwrap();
    assert!(listen(&mut held, |text| text.contains("guest_token")).await.starts_with("HTTP/1.1 201"));
}

#[tokio::test]
async fn operators_see_health_metrics_and_actors_and_change_products() {
    let mut shop = Shop::open_with(&["admin.token=an-operators-long-token"]).await;
    shop.add("mug-blue", 1).await;
    let mut admin = Connection::open(&shop.server.admin).await.unwrap();
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        assert_eq!(admin.ask(&request("GET", path, &[], None)).await.unwrap().status, 200);
        let verbose = admin.ask(&request("GET", &format!("{path}?verbose"), &[], None)).await.unwrap().json();
        assert_eq!(verbose["ok"], true, "{verbose}");
    }
    let token = [("authorization", "Bearer an-operators-long-token")];
    let inspect = format!("/admin/actors/{}", shop.cart.id);
    for headers in [&[][..], &[("authorization", "Bearer an-operators-wrong-token")]] {
        for (method, path) in [("GET", "/metrics"), ("GET", inspect.as_str()), ("PUT", "/admin/log-level")] {
            assert_eq!(problem(&admin.ask(&request(method, path, headers, None)).await.unwrap()).0, 401, "{path}");
        }
    }
    let metrics = admin.ask(&request("GET", "/metrics", &token, None)).await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let counted = r#"trolley_http_requests_total{method="POST",route="/v1/carts/{id}/items",status="200"} 1"#;
    assert!(metrics.contains(counted) && metrics.contains("trolley_actors_resident 1"), "{metrics}");
    let facts = admin.ask(&request("GET", &inspect, &token, None)).await.unwrap().json();
    assert_eq!((facts["status"].clone(), facts["lines"].clone()), ("open".into(), 1.into()));
    assert_eq!(admin.ask(&request("GET", "/admin/cluster", &token, None)).await.unwrap().json()["node"], "n1");

    let product = r#"{"sku":"new-thing","title":"New thing","price":{"amount":500,"currency":"EUR"}}"#;
    let put = request("PUT", "/admin/products/new-thing", &token, Some(product));
    assert_eq!(admin.ask(&put).await.unwrap().status, 200);
    assert_eq!(shop.add("new-thing", 1).await["lines"][1]["unit_price"]["amount"], 500);
    let wrong = request("PUT", "/admin/products/other", &token, Some(product));
    assert_eq!(problem(&admin.ask(&wrong).await.unwrap()).0, 400);
    let level = request("PUT", "/admin/log-level", &token, Some(r#"{"level":"debug"}"#));
    assert_eq!(admin.ask(&level).await.unwrap().status, 200);
    let level = request("PUT", "/admin/log-level", &token, Some(r#"{"level":"loud"}"#));
    assert_eq!(problem(&admin.ask(&level).await.unwrap()).0, 400);
}

#[tokio::test]
async fn a_stop_finishes_the_request_that_it_meets() {
    let shop = Shop::open().await;
    let mut held = TcpStream::connect(&shop.server.http).await.unwrap();
    let head = "POST /v1/carts HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    held.write_all(head.as_bytes()).await.unwrap();
    let mut connection = shop.connection;
    in_flight(&shop.server).await;
    let server = shop.server;
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    // The idle connection is closed: the stop has begun.
    let idle: io::Result<_> = async {
        loop {
            connection.exchange(&request("GET", "/v1/products/mug-blue", &[], None)).await?;
        }
    }
    .await;
    let _: io::Error = match idle {
        Ok(never) => never,
        Err(error) => error,
    };
    held.write_all(b"}").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), listen(&mut held, |_| false)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("guest_token"), "{answer}");
    stopping.await.unwrap();
}
