//! What a real node tells of a shopper's doings, and what its operators do about what nobody took.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use loadtest::{
    client::{Answer, Connection, request},
    shop::{Cart, Checkout},
};
use serde_json::{Value, json};
use trolley::{
    actors::inspect::Subject,
    events::{Relay, Signer},
    store::{Embedded, Store, embedded},
};

use super::{Mood, Receiver, SECRET, events, hasty, publish, sinks};
use crate::support::{
    Server, TempDir,
    wait::{PATIENCE, until},
};

fn start_telling(dir: &TempDir, receiver: &Receiver) -> Server {
    Server::start_with(&dir.0, |command| {
        command
            .args(["--set", "events.sinks=webhook", "--set", &format!("events.webhook_urls={}", receiver.url)])
            .env("TROLLEY_EVENTS_WEBHOOK_SECRET", SECRET);
    })
}

#[tokio::test]
async fn p7_a_receiver_that_is_down_costs_no_shopper_anything_and_loses_nothing_over_a_crash() {
    let dir = TempDir::new("telling");
    let mut receiver = Receiver::start(Mood::Answers(503)).await;
    let server = start_telling(&dir, &receiver);
    let mut connection = Connection::open(&server.http).await.unwrap();
    let cart = Cart::make(&mut connection).await.unwrap();
    for sku in ["mug-blue", "mug-red"] {
        assert_eq!(connection.ask(&cart.add(sku, 1, None)).await.unwrap().status, 200);
    }
    assert!(receiver.next().await.id.starts_with(&cart.id), "it was tried meanwhile");
    server.kill();
    receiver.mood.send_replace(Mood::Answers(204));
    let server = start_telling(&dir, &receiver);
    let mut connection = Connection::open(&server.http).await.unwrap();
    assert_eq!(connection.ask(&cart.add("mug-blue", 2, None)).await.unwrap().status, 200);

    // First deliveries, by number; the receiver took none before the crash, whatever it was sent.
    let (mut seen, mut types) = (std::collections::BTreeSet::new(), Vec::new());
    while types.len() < 4 {
        let got = receiver.next().await;
        let signed = Signer::new(SECRET).unwrap().sign(&got.id, got.timestamp.parse().unwrap(), &got.body);
        assert_eq!(got.signature, signed);
        let event: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!((&event["subject"], &event["id"]), (&Value::from(&*cart.id), &Value::from(&*got.id)));
        assert!(seen.last().is_none_or(|last| *last < got.sequence()) || seen.contains(&got.sequence()));
        if seen.insert(got.sequence()) {
            types.push(event["type"].as_str().unwrap().to_owned());
        }
    }
    let expected = ["cart.created", "cart.line_added", "cart.line_added", "cart.line_changed"];
    assert_eq!(types, expected.map(|name| format!("trolley.{name}.v1")));
}

/// Whether a document is a CloudEvent of ours: its attributes, and its data by the schema that is published for its type.
fn check(event: &Value) {
    let kind = event["type"].as_str().unwrap();
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/events/{kind}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(published).unwrap()).unwrap();
    jsonschema::validate(&schema, &event["data"]).unwrap_or_else(|error| panic!("{event}: {error}"));
    assert_eq!((&event["specversion"], &event["datacontenttype"]), (&json!("1.0"), &json!("application/json")));
    assert_eq!((&event["dataschema"], &event["source"]), (&schema["$id"], &json!("/trolley")));
    assert_eq!(event["id"], format!("{}-{}", event["subject"].as_str().unwrap(), sequence(event)));
    event["time"].as_str().unwrap().parse::<humantime::Timestamp>().unwrap();
}

fn sequence(event: &Value) -> u64 {
    event["sequence"].as_str().unwrap().parse().unwrap()
}

/// An operator does something.
async fn admin(server: &Server, path: &str, key: &str, body: &Value) {
    let mut connection = Connection::open(&server.admin).await.unwrap();
    let ask = request("POST", path, &[("idempotency-key", key)], Some(&body.to_string()));
    let answer = connection.ask(&ask).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
}

/// Waits until the stock has so many units in this state.
async fn stocked(server: &Server, state: &str, units: u64) {
    let mut connection = Connection::open(&server.admin).await.unwrap();
    let read = request("GET", "/admin/stock/mug-blue", &[], None);
    until("the stock is so", async || (connection.ask(&read).await.unwrap().json()[state] == units).then_some(()))
        .await;
}

/// A shopper, and what they must be answered.
struct Shopper(Connection);

impl Shopper {
    async fn ask(&mut self, bytes: &[u8], status: u16) -> Answer {
        let answer = self.0.ask(bytes).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.json());
        answer
    }

    /// Begins to buy two mugs.
    async fn begin(&mut self) -> (Cart, Checkout) {
        let cart = Cart::of(&self.ask(&request("POST", "/v1/carts", &[], None), 201).await).unwrap();
        self.ask(&cart.add("mug-blue", 2, None), 200).await;
        let begun = self.ask(&Checkout::begin(&cart, "begin"), 201).await;
        let checkout = Checkout::of(&begun, &cart).unwrap();
        (cart, checkout)
    }
}

/// A purchase from the first look to a mug that comes back, with a decline on the way, and one that is left.
#[tokio::test]
async fn p7_a_purchase_is_told_by_its_cart_checkout_order_and_stock_as_their_schemas_say() {
    let dir = TempDir::new("telling");
    let mut receiver = Receiver::start(Mood::Answers(204)).await;
    let server = start_telling(&dir, &receiver);
    let count = json!({ "adjust": 1, "reason": "found" });
    admin(&server, "/admin/stock/mug-blue", "count", &count).await;

    let mut shopper = Shopper(Connection::open(&server.http).await.unwrap());
    let (left_cart, left) = shopper.begin().await;
    shopper.ask(&left.cancel(), 200).await;
    stocked(&server, "held", 0).await;
    let (cart, checkout) = shopper.begin().await;
    let seen = shopper.ask(&checkout.address(1, "address"), 200).await;
    shopper.ask(&checkout.ship_by("standard", seen.json()["revision"].as_u64().unwrap(), "option"), 200).await;
    shopper.ask(&checkout.complete("tok_decline", "first"), 402).await;
    let bought = shopper.ask(&checkout.complete("tok_approve", "second"), 200).await.json();
    let order = bought["order_id"].as_str().unwrap();
    until("the order is paid", async || {
        (shopper.ask(&checkout.order(order), 200).await.json()["status"] == "paid").then_some(())
    })
    .await;
    let units = |quantity: u32| json!({ "lines": [{ "line": "l1", "quantity": quantity }] });
    admin(&server, &format!("/admin/orders/{order}/fulfilments"), "parcel", &units(2)).await;
    stocked(&server, "sold", 0).await;
    let bearer = format!("Bearer {}", checkout.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "back")];
    let back = request("POST", &format!("/v1/orders/{order}/returns"), &headers, Some(&units(1).to_string()));
    shopper.ask(&back, 200).await;

    let stock = "stock:mug-blue".parse::<Subject>().unwrap().to_string();
    let expected = [
        (left_cart.id.as_str(), &["cart.created", "cart.line_added", "cart.checkout_begun", "cart.checkout_left"][..]),
        (&left.id, &["checkout.opened", "checkout.ended"]),
        (&cart.id, &["cart.created", "cart.line_added", "cart.checkout_begun", "cart.ordered"]),
        (
            &checkout.id,
            &[
                "checkout.opened",
                "checkout.updated",
                "checkout.updated",
                "checkout.payment_started",
                "checkout.payment_failed",
                "checkout.payment_started",
                "checkout.completed",
            ],
        ),
        (order, &["order.placed", "order.paid", "order.fulfilled", "order.returned", "order.refunded"]),
        (
            &stock,
            &[
                "stock.adjusted",
                "stock.held",
                "stock.released",
                "stock.held",
                "stock.sold",
                "stock.shipped",
                "stock.restocked",
            ],
        ),
    ];
    let mut told = BTreeMap::<String, BTreeMap<u64, String>>::new();
    let is_all = |told: &BTreeMap<String, BTreeMap<u64, String>>| {
        expected.iter().all(|(subject, types)| told.get(*subject).is_some_and(|told| told.len() >= types.len()))
    };
    while !is_all(&told) {
        let got = tokio::time::timeout(PATIENCE, receiver.next()).await;
        let got = got.unwrap_or_else(|_| panic!("no more is told than {told:?}"));
        let event: Value = serde_json::from_slice(&got.body).unwrap();
        check(&event);
        let of_it = told.entry(event["subject"].as_str().unwrap().to_owned()).or_default();
        let is_repeat = of_it.contains_key(&sequence(&event));
        assert!(is_repeat || of_it.last_key_value().is_none_or(|(last, _)| *last < sequence(&event)), "{event}");
        of_it.insert(sequence(&event), event["type"].as_str().unwrap().to_owned());
    }
    for (subject, types) in expected {
        let types: Vec<_> = types.iter().map(|name| format!("trolley.{name}.v1")).collect();
        assert_eq!(told[subject].values().cloned().collect::<Vec<_>>(), types);
    }
}

/// Given up by a node that is gone; its operators look at what is left, at another.
#[tokio::test]
async fn dead_letters_are_read_delivered_again_and_forgotten_over_http() {
    let dir = TempDir::new("dead");
    let mut receiver = Receiver::start(Mood::Answers(400)).await;
    let store: Arc<dyn Store> = Arc::new(Embedded::open(embedded::Options::new(&dir.0)).unwrap());
    let relay = Relay::start(sinks(&[&receiver.url]), Arc::clone(&store), hasty());
    publish(&relay, "ord_1", events("ord_1", [1, 2])).await;
    relay.stop(PATIENCE).await;
    drop((relay, store));
    while receiver.got.try_recv().is_ok() {}

    let server = start_telling(&dir, &receiver);
    let mut operator = Connection::open(&server.admin).await.unwrap();
    let mut ask = async |method: &str, path: &str, status: u16| {
        let answer = operator.ask(&request(method, path, &[], None)).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {:?}", String::from_utf8_lossy(&answer.body));
        answer
    };
    let list = "/admin/events/dead";
    let page = ask("GET", list, 200).await.json();
    let letters = page["items"].as_array().unwrap();
    assert_eq!((letters.len(), &page["next_cursor"]), (2, &Value::Null));
    for (letter, n) in letters.iter().zip(1..) {
        assert_eq!((&letter["event"], &letter["subject"]), (&json!(format!("ord_1-{n}")), &json!("ord_1")));
        assert_eq!((&letter["type"], &letter["attempts"]), (&json!("trolley.cart.code_applied.v1"), &json!(3)));
        assert_eq!(letter["data"], json!({ "code": "TEA10" }));
        assert!(letter["why"].as_str().unwrap().contains("400"), "{letter}");
    }
    let path = |n: usize| format!("{list}/{}", letters[n]["id"].as_str().unwrap());
    let replay = format!("{}/replay", path(0));
    let refused = ask("POST", &replay, 409).await.json();
    assert_eq!(refused["code"], "illegal_transition");
    assert!(refused["detail"].as_str().unwrap().contains("400"), "{refused}");
    assert_eq!(receiver.next().await.id, "ord_1-1");
    receiver.mood.send_replace(Mood::Answers(204));
    ask("POST", &replay, 204).await;
    let got = receiver.next().await;
    let signed = Signer::new(SECRET).unwrap().sign(&got.id, got.timestamp.parse().unwrap(), &got.body);
    assert_eq!((&*got.id, got.signature), ("ord_1-1", signed));
    ask("POST", &replay, 404).await;
    assert_eq!(ask("GET", list, 200).await.json()["items"].as_array().unwrap().len(), 1);
    for _ in 0..2 {
        ask("DELETE", &path(1), 204).await;
    }
    ask("POST", &format!("{}/replay", path(1)), 404).await;
    assert_eq!(ask("GET", list, 200).await.json()["items"], json!([]));
    assert!(receiver.got.try_recv().is_err(), "what is forgotten is not delivered");
}
