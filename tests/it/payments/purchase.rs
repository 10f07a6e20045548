//! Whole purchases over HTTP at a real node that takes payments by Stripe, and what Stripe tells it of its own accord.

use hmac::{Hmac, KeyInit, Mac};
use loadtest::{
    client::{Answer, Connection, request},
    shop::{Cart, Checkout},
};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    others::Other,
    strict::{Fault, Strict},
    stripe::{card, curl},
};
use crate::support::{Server, TempDir, wait::until};

/// How far from now a signature may be, in seconds.
const TOLERANCE_S: u64 = 5 * 60;

/// A node, and a shopper at it.
struct Shop {
    _dir: TempDir,
    server: Server,
    connection: Connection,
}

impl Shop {
    async fn open(stripe: &str) -> Self {
        let dir = TempDir::new("stripe");
        let server = Server::start_with(&dir.0, |command| {
            command
                .args(["--set", &format!("payments.stripe_url={stripe}")])
                .args(["--set", "payments.return_url=https://shop.example/back"])
                .env("TROLLEY_PAYMENTS_STRIPE_SECRET_KEY", "sk_test_1")
                .env("TROLLEY_PAYMENTS_STRIPE_WEBHOOK_SECRET", "whsec_1");
        });
        let connection = Connection::open(&server.http).await.unwrap();
        Self { _dir: dir, server, connection }
    }

    async fn ask(&mut self, request: &[u8]) -> Answer {
        self.connection.ask(request).await.unwrap()
    }

    async fn must(&mut self, request: &[u8]) -> Value {
        let answer = self.ask(request).await;
        assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.json());
        answer.json()
    }

    /// A checkout that only has to be paid.
    async fn checkout(&mut self) -> Checkout {
        self.checkout_with(&[]).await
    }

    /// The same with discount codes.
    async fn checkout_with(&mut self, codes: &[&str]) -> Checkout {
        let cart = Cart::make(&mut self.connection).await.unwrap();
        self.must(&cart.add("mug-blue", 2, None)).await;
        for code in codes {
            self.must(&cart.request("PUT", &format!("/discount-codes/{code}"), None, None)).await;
        }
        let begun = self.ask(&Checkout::begin(&cart, "begin")).await;
        let checkout = Checkout::of(&begun, &cart).unwrap();
        let revision = begun.json()["revision"].as_u64().unwrap();
        let seen = self.must(&checkout.address(revision, "address")).await;
        let option = seen["shipping_options"][0]["id"].as_str().unwrap();
        self.must(&checkout.ship_by(option, seen["revision"].as_u64().unwrap(), "option")).await;
        checkout
    }

    async fn pay(&mut self, checkout: &Checkout, token: &str, key: &str) -> Answer {
        self.ask(&complete(checkout, token, key)).await
    }

    /// Waits until a checkout is bought and its money is the shop's; the order.
    async fn paid(&mut self, checkout: &Checkout) -> Value {
        until("the order is paid", async || {
            let seen = self.must(&checkout.read()).await;
            let order = self.must(&checkout.order(seen["order_id"].as_str()?)).await;
            (seen["status"] == "completed" && order["status"] == "paid").then_some(order)
        })
        .await
    }

    /// Stripe tells of an intent; the status that it is told.
    async fn told(&mut self, message: &Value, headers: &[(&str, &str)]) -> u16 {
        self.ask(&request("POST", "/webhooks/stripe", headers, Some(&message.to_string()))).await.status
    }

    async fn told_signed(&mut self, message: &Value, secret: &str, signed_at_s: u64) -> u16 {
        let signature = signed(message, secret, signed_at_s);
        self.told(message, &[("stripe-signature", &signature)]).await
    }
}

fn complete(checkout: &Checkout, token: &str, key: &str) -> Vec<u8> {
    let bearer = format!("Bearer {}", checkout.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    let body = json!({"payment": {"gateway": "stripe", "token": token}}).to_string();
    request("POST", &format!("/v1/checkouts/{}/complete", checkout.id), &headers, Some(&body))
}

fn message(id: &str, kind: &str, intent: &Value) -> Value {
    json!({"id": id, "object": "event", "type": kind, "data": {"object": intent}})
}

fn signed(message: &Value, secret: &str, signed_at_s: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{signed_at_s}.{message}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={signed_at_s},v1={hex}")
}

fn now_s() -> u64 {
    trolley::telemetry::clock::now().0 / 1_000
}

fn id_of(order: &Value) -> &str {
    order["id"].as_str().unwrap()
}

fn must_act(answer: &Answer) -> String {
    assert_eq!((answer.status, &answer.json()["code"]), (402, &Value::from("payment_requires_action")));
    answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned()
}

const RESERVED: &str = "payment_intent.amount_capturable_updated";

#[tokio::test]
async fn a_signed_message_completes_a_purchase_that_waits_for_its_shopper_and_no_other_message_does() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let checkout = shop.checkout().await;
    let url = must_act(&shop.pay(&checkout, "pm_action", "pay").await);
    assert_eq!(url, "https://bank.example/pi_1?back=https://shop.example/back");
    stripe.act("pi_1");
    let told = message("evt_1", RESERVED, &stripe.intent());

    let now = now_s();
    let before = stripe.calls().len();
    for (secret, signed_at_s) in
        [("whsec_2", now), ("whsec_1", now - 2 * TOLERANCE_S), ("whsec_1", now + 2 * TOLERANCE_S)]
    {
        assert_eq!(shop.told_signed(&told, secret, signed_at_s).await, 401, "{secret} {signed_at_s}");
    }
    let of_another_message = signed(&message("evt_1", RESERVED, &json!({})), "whsec_1", now);
    for headers in [&[][..], &[("stripe-signature", "t=1,v1=00")], &[("stripe-signature", &of_another_message)]] {
        assert_eq!(shop.told(&told, headers).await, 401, "{headers:?}");
    }
    assert_eq!((before > 0, stripe.calls()), (true, Vec::new()), "nobody was asked because of them");
    assert_eq!(shop.must(&checkout.read()).await["status"], "requires_action");

    assert_eq!(shop.told_signed(&told, "whsec_1", now).await, 200);
    let order = shop.paid(&checkout).await;
    let total = order["totals"]["total"]["amount"].as_i64().unwrap();
    let intent = stripe.intent();
    assert_eq!((&intent["status"], &intent["amount_received"]), (&json!("succeeded"), &json!(total)));

    // The same again, others about the same payment, and some about payments of nobody.
    let captured = message("evt_2", "payment_intent.succeeded", &intent);
    let mut foreign = intent.clone();
    foreign["metadata"] = json!({});
    let mut unknown = intent.clone();
    unknown["metadata"]["trolley_key"] =
        json!(trolley::domain::Reference { by: trolley::domain::Id(9 << 80), n: 1 }.to_string());
    for told in [&told, &told, &captured, &message("evt_3", "customer.created", &json!({"id": "cus_1"}))] {
        assert_eq!(shop.told_signed(told, "whsec_1", now_s()).await, 200);
    }
    for intent in [&foreign, &unknown] {
        assert_eq!(shop.told_signed(&message("evt_4", RESERVED, intent), "whsec_1", now_s()).await, 200);
    }
    let again = shop.must(&checkout.order(order["id"].as_str().unwrap())).await;
    assert_eq!(again, order);
    assert_eq!((stripe.intent(), stripe.world().confirmations), (intent, 1));
    let nobody = request("POST", "/webhooks/nobody", &[], Some("{}"));
    assert_eq!(shop.ask(&nobody).await.status, 404);
}

/// What was signed is sent again while its signature is still good, by whoever recorded it.
#[tokio::test]
async fn a_message_that_is_sent_again_is_known_by_its_id() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let checkout = shop.checkout().await;
    must_act(&shop.pay(&checkout, "pm_action", "pay").await);
    let told = message("evt_1", RESERVED, &stripe.intent());
    let before = shop.must(&checkout.read()).await["revision"].as_u64();
    assert_eq!(shop.told_signed(&told, "whsec_1", now_s()).await, 200);
    // The gateway was asked, and still wants its shopper.
    let seen = until("the payment waits again", async || {
        let seen = shop.must(&checkout.read()).await;
        (seen["status"] == "requires_action" && seen["revision"].as_u64() > before).then_some(seen)
    })
    .await;
    stripe.act("pi_1");
    for _ in 0..3 {
        assert_eq!(shop.told_signed(&told, "whsec_1", now_s()).await, 200);
        assert_eq!(shop.must(&checkout.read()).await, seen, "it does nothing");
    }
    let next = message("evt_2", RESERVED, &stripe.intent());
    assert_eq!(shop.told_signed(&next, "whsec_1", now_s()).await, 200);
    shop.paid(&checkout).await;
}

/// The account's owner gives money back where the shop does not see it: the order learns of it, and gives back no more than
/// what is left.
#[tokio::test]
async fn p5_money_given_back_at_the_gateway_is_the_orders_too() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let checkout = shop.checkout().await;
    assert_eq!(shop.pay(&checkout, "pm_ok", "pay").await.status, 200);
    let order = shop.paid(&checkout).await;
    let (total, read) = (order["totals"]["total"]["amount"].as_i64().unwrap(), checkout.order(id_of(&order)));
    let intent = stripe.intent();
    let refunded = |event: &str, amount: i64| {
        let charge = json!({"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": amount,
            "metadata": intent["metadata"]});
        message(event, "charge.refunded", &charge)
    };
    let shop_admin = shop.server.admin.clone();
    let mut admin = Connection::open(&shop_admin).await.unwrap();
    let mut refund = async |key: &str, amount: i64| {
        let path = format!("/admin/orders/{}/refunds", id_of(&order));
        let body = json!({ "amount": amount }).to_string();
        admin.ask(&request("POST", &path, &[("idempotency-key", key)], Some(&body))).await.unwrap().status
    };

    stripe.give_back("pi_1", 300);
    for event in ["evt_1", "evt_1", "evt_2"] {
        assert_eq!(shop.told_signed(&refunded(event, 300), "whsec_1", now_s()).await, 200);
        let seen = shop.must(&read).await;
        assert_eq!(seen["payments"][0]["refunded"]["amount"], 300);
        let gone: Vec<_> =
            seen["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "refunded").collect();
        assert_eq!(
            (gone.len(), &gone[0]["note"], &seen["status"]),
            (1, &json!("at the gateway"), &json!("partly_refunded"))
        );
    }
    assert_eq!(refund("over", total - 299).await, 400, "the rest is less");
    // Looked at, listed, refunded: the last one's answer is held back, and whose money it is cannot be told.
    stripe.on_calls([Fault::None, Fault::None, Fault::Hold]);
    assert_eq!(refund("own", 200).await, 200);
    until("it is refunded", async || (stripe.world().refunds.len() == 2).then_some(())).await;
    let in_flight = async || {
        let page =
            Connection::open(&shop_admin).await.unwrap().ask(&request("GET", "/metrics", &[], None)).await.unwrap();
        let page = String::from_utf8(page.body).unwrap();
        page.lines()
            .find_map(|line| line.strip_prefix("trolley_http_requests_in_flight ")?.parse::<u64>().ok())
            .unwrap()
    };
    let (idle, told) = (in_flight().await, refunded("evt_3", 500));
    let release = async {
        until("the message waits", async || (in_flight().await > idle).then_some(())).await;
        stripe.release();
    };
    let (status, ()) = tokio::join!(shop.told_signed(&told, "whsec_1", now_s()), release);
    assert_eq!(status, 200);
    assert_eq!(shop.must(&read).await["payments"][0]["refunded"]["amount"], 500);
    stripe.give_back("pi_1", total - 500);
    assert_eq!(shop.told_signed(&refunded("evt_4", total), "whsec_1", now_s()).await, 200);
    let seen = shop.must(&read).await;
    assert_eq!((&seen["payments"][0]["refunded"]["amount"], &seen["status"]), (&json!(total), &json!("refunded")));
    let gone: Vec<_> = seen["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "refunded").collect();
    let amounts: Vec<_> = gone.iter().map(|event| event["amount"]["amount"].as_i64().unwrap()).collect();
    assert_eq!(amounts, [300, 200, total - 500], "each once");
    assert_eq!(refund("more", 1).await, 400);
}

/// The bank is fast: the shopper has acted and Stripe has told of it before Stripe's answer, which says that the shopper
/// must act, is there. Nobody would ever tell again.
#[tokio::test]
async fn a_message_that_overtakes_the_answer_is_not_forgotten() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let checkout = shop.checkout().await;
    // Created, and confirmed: that answer is held back. Asked again, Stripe says that the first call is still at work.
    stripe.on_calls([Fault::None, Fault::Hold, Fault::None, Fault::Refuse(409)]);
    let mut shopper = Connection::open(&shop.server.http).await.unwrap();
    let pay = complete(&checkout, "pm_action", "pay");
    let paying = tokio::spawn(async move { shopper.ask(&pay).await.unwrap() });
    until("the intent is confirmed", async || (stripe.world().confirmations == 1).then_some(())).await;
    stripe.act("pi_1");
    let told = message("evt_1", RESERVED, &stripe.intent());
    assert_eq!(shop.told_signed(&told, "whsec_1", now_s()).await, 200);
    stripe.release();
    let answer = paying.await.unwrap();
    assert_eq!((answer.status, &answer.json()["status"]), (200, &Value::from("completed")), "{}", answer.json());
    shop.paid(&checkout).await;
    assert_eq!((&stripe.intent()["status"], stripe.world().confirmations), (&json!("succeeded"), 1));
}

#[tokio::test]
async fn after_a_decline_another_card_pays_and_only_its_money_moves() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let checkout = shop.checkout().await;
    let declined = shop.pay(&checkout, "pm_declined", "first").await;
    assert_eq!((declined.status, &declined.json()["code"]), (402, &Value::from("payment_declined")));
    assert_eq!(shop.must(&checkout.read()).await["status"], "open");
    assert_eq!(shop.pay(&checkout, "pm_ok", "second").await.status, 200);
    shop.paid(&checkout).await;
    let world = stripe.world();
    let statuses: Vec<_> = world.intents.values().map(|intent| intent["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["requires_payment_method", "succeeded"]);
}

#[tokio::test]
async fn a_shopper_who_comes_back_buys_although_nobody_told_that_they_had_acted() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let checkout = shop.checkout().await;
    must_act(&shop.pay(&checkout, "pm_action", "pay").await);
    must_act(&shop.pay(&checkout, "pm_action", "pay").await);
    stripe.act("pi_1");
    let completed = shop.pay(&checkout, "pm_action", "pay").await;
    let seen = completed.json();
    assert_eq!((completed.status, &seen["status"]), (200, &Value::from("completed")), "{seen}");
    shop.paid(&checkout).await;
    assert_eq!((&stripe.intent()["status"], stripe.world().confirmations), (&json!("succeeded"), 1));
}

#[tokio::test]
async fn what_costs_nothing_is_bought_without_a_gateway() {
    let stripe = Strict::start().await;
    let mut shop = Shop::open(&stripe.url).await;
    let mut admin = Connection::open(&shop.server.admin).await.unwrap();
    for (code, worth) in [("GIFT", r#"{"percent_basis_points":10000}"#), ("POST", r#"{"free_shipping":true}"#)] {
        let define = request("PUT", &format!("/admin/discount-codes/{code}"), &[], Some(worth));
        let defined = admin.ask(&define).await.unwrap();
        assert_eq!(defined.status, 200, "{}", defined.json());
    }
    let checkout = shop.checkout_with(&["GIFT", "POST"]).await;
    assert_eq!(shop.must(&checkout.read()).await["totals"]["total"]["amount"], 0);
    assert_eq!(shop.pay(&checkout, "none", "pay").await.status, 200);
    let order = shop.paid(&checkout).await;
    assert_eq!(order["payments"][0]["captured"]["amount"], 0);
    assert_eq!(stripe.calls(), Vec::<String>::new());
}

/// At an independent server, which tells of it by messages that it signs itself.
#[tokio::test]
async fn an_independent_server_is_paid_by_and_its_messages_are_taken() {
    let stripe = Other::start("localstripe");
    let mut shop = Shop::open(&stripe.url).await;
    let hook = format!("url=http://{}/webhooks/stripe", shop.server.http);
    curl(&stripe, "/_config/webhooks/shop", &[&hook, "secret=whsec_1"]);
    let checkout = shop.checkout().await;
    let declined = shop.pay(&checkout, &card(&stripe, "4000000000000341"), "first").await;
    assert_eq!((declined.status, &declined.json()["code"]), (402, &Value::from("payment_declined")));
    assert_eq!(shop.pay(&checkout, &card(&stripe, "4242424242424242"), "second").await.status, 200);
    let order = shop.paid(&checkout).await;
    let list = curl(&stripe, "/v1/payment_intents", &[]);
    let captured: Vec<_> =
        list["data"].as_array().unwrap().iter().filter(|intent| intent["status"] == "succeeded").collect();
    let [intent] = &captured[..] else { panic!("{list}") };
    assert_eq!(intent["amount"], order["totals"]["total"]["amount"]);
    let mut admin = Connection::open(&shop.server.admin).await.unwrap();
    until("its messages are taken", async || {
        let page = admin.ask(&request("GET", "/metrics", &[], None)).await.unwrap();
        let page = String::from_utf8(page.body).unwrap();
        let told: Vec<_> = page.lines().filter(|line| line.contains("route=\"/webhooks/{gateway}\"")).collect();
        assert!(told.iter().all(|line| line.contains("status=\"200\"") || line.contains("_duration_")), "{told:?}");
        (!told.is_empty()).then_some(())
    })
    .await;
}
