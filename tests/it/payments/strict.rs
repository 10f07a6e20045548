//! A strict little Stripe: PaymentIntents and refunds with idempotency keys as Stripe documents them, which no server
//! that can be had does, and with faults on demand.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing unusual.
    None,
    /// The connection ends and nothing was done.
    Lose,
    /// It is done, and the connection ends before the answer.
    Cut,
    /// It is done, and the answer comes when [`Strict::release`] says so.
    Hold,
    /// It is done, and what is said, and said again, is that the server failed.
    Break,
    /// It is not done, and what is said, and said again, is that the server failed.
    Fail,
    /// It is turned away with this status, and not remembered.
    Refuse(u16),
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) intents: BTreeMap<String, Value>,
    pub(super) refunds: Vec<Value>,
    pub(super) confirmations: usize,
    answers: HashMap<String, (String, u16, Value)>,
    faults: VecDeque<Fault>,
    calls: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Strict {
    world: Arc<Mutex<World>>,
    held: Arc<Semaphore>,
    pub(super) url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Strict {
    pub(super) async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (served, held) = (Arc::clone(&world), Arc::new(Semaphore::new(0)));
        let release = Arc::clone(&held);
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let (answer, is_held) = served.lock().unwrap().answer(&method, &uri, &headers, &body);
            let release = Arc::clone(&release);
            async move {
                if is_held {
                    release.acquire().await.unwrap().forget();
                }
                answer
            }
        };
        let app = Router::new().fallback(answer);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { world, held, url, task }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What happens to the coming calls, one each.
    pub(super) fn on_calls(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults.extend(faults);
    }

    /// Lets one answer go that is held back.
    pub(super) fn release(&self) {
        self.held.add_permits(1);
    }

    /// The shopper does what is required of them.
    pub(super) fn act(&self, reference: &str) {
        let mut world = self.world();
        let intent = world.intents.get_mut(reference).unwrap();
        assert_eq!(intent["status"], "requires_action");
        intent["status"] = "requires_capture".into();
    }

    /// The account's owner gives money back, without the shop.
    pub(super) fn give_back(&self, reference: &str, amount: i64) {
        let form = [("payment_intent", reference.to_owned()), ("amount", amount.to_string())];
        self.world().refund(&form.map(|(name, value)| (name.to_owned(), value)).into());
    }

    /// The only intent there is.
    pub(super) fn intent(&self) -> Value {
        let world = self.world();
        assert_eq!(world.intents.len(), 1, "{:?}", world.intents);
        world.intents.values().next().unwrap().clone()
    }

    /// What was asked for since this was asked last.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }
}

fn error(kind: &str, message: &str) -> Value {
    json!({"error": {"type": kind, "message": message}})
}

fn said(status: u16, body: &Value, is_replay: bool) -> Response {
    let mut response = Response::builder().status(status);
    if is_replay {
        response = response.header("idempotent-replayed", "true");
    }
    response.body(Body::from(body.to_string())).unwrap()
}

fn cut() -> Response {
    let broken = stream::iter([Err::<Bytes, _>(io::Error::other("cut"))]);
    Response::builder().status(StatusCode::OK).body(Body::from_stream(broken)).unwrap()
}

impl World {
    /// The answer, and whether it is held back.
    fn answer(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> (Response, bool) {
        self.calls.push(format!("{method} {}", uri.path()));
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        (self.answer_with(fault, method, uri, headers, body), fault == Fault::Hold)
    }

    fn answer_with(&mut self, fault: Fault, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        if headers.get("authorization").is_none_or(|value| value != "Bearer sk_test_1") {
            return said(401, &error("invalid_request_error", "Invalid API Key provided"), false);
        }
        match fault {
            Fault::Refuse(status) => return said(status, &error("invalid_request_error", "turned away"), false),
            Fault::Lose => return cut(),
            _ => {}
        }
        let request = format!("{uri} {}", String::from_utf8_lossy(body));
        let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        if let Some((before, status, answer)) = key.as_ref().and_then(|key| self.answers.get(key)) {
            return match *before == request {
                true => said(*status, answer, true),
                false => said(400, &error("idempotency_error", "Keys for idempotent requests …"), false),
            };
        }
        let form: HashMap<String, String> = body
            .split(|byte| *byte == b'&')
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        let (mut status, mut answer) = match fault {
            Fault::Fail => (500, Value::Null),
            _ => self.perform(method, uri, &form),
        };
        if matches!(fault, Fault::Break | Fault::Fail) {
            (status, answer) = (500, error("api_error", "Something went wrong"));
        }
        // What fails before anything is begun is not remembered.
        if let Some(key) = key.filter(|_| status != 400 && status != 404) {
            self.answers.insert(key, (request, status, answer.clone()));
        }
        if fault == Fault::Cut { cut() } else { said(status, &answer, false) }
    }

    fn perform(&mut self, method: &Method, uri: &Uri, form: &HashMap<String, String>) -> (u16, Value) {
        let parts: Vec<&str> = uri.path().trim_start_matches("/v1/").split('/').collect();
        match (method.as_str(), &parts[..]) {
            ("POST", ["payment_intents"]) => self.create(form),
            ("GET", ["payment_intents", "search"]) => {
                let query = decoded(uri.query().unwrap_or_default());
                let wanted = |intent: &&Value| {
                    let key = intent["metadata"]["trolley_key"].as_str().unwrap();
                    query == format!("query=metadata['trolley_key']:'{key}'")
                };
                (200, json!({"data": self.intents.values().filter(wanted).collect::<Vec<_>>(), "has_more": false}))
            }
            ("GET", ["payment_intents", id]) => {
                self.intents.get(*id).map_or_else(missing, |intent| (200, intent.clone()))
            }
            ("POST", ["payment_intents", id, deed]) => self.change(id, deed, form),
            ("GET", ["refunds"]) => {
                let of = |refund: &&Value| uri.query().unwrap().contains(refund["payment_intent"].as_str().unwrap());
                (200, json!({"data": self.refunds.iter().filter(of).collect::<Vec<_>>(), "has_more": false}))
            }
            ("POST", ["refunds"]) => self.refund(form),
            _ => missing(),
        }
    }

    fn create(&mut self, form: &HashMap<String, String>) -> (u16, Value) {
        assert_eq!(form["capture_method"], "manual");
        let id = format!("pi_{}", self.intents.len() + 1);
        let intent = json!({
            "id": id, "status": "requires_payment_method", "amount": form["amount"].parse::<i64>().unwrap(),
            "currency": form["currency"], "amount_received": 0, "last_payment_error": null, "next_action": null,
            "latest_charge": null, "metadata": {"trolley_key": form["metadata[trolley_key]"]},
        });
        self.intents.insert(id, intent.clone());
        (200, intent)
    }

    fn change(&mut self, id: &str, deed: &str, form: &HashMap<String, String>) -> (u16, Value) {
        let Some(intent) = self.intents.get_mut(id) else { return missing() };
        let status = intent["status"].as_str().unwrap().to_owned();
        let is_open = matches!(&*status, "requires_payment_method" | "requires_confirmation");
        match deed {
            "confirm" if is_open => {
                self.confirmations += 1;
                match form.get("payment_method").map(String::as_str) {
                    Some("pm_ok") => intent["status"] = "requires_capture".into(),
                    Some("pm_action") => {
                        intent["status"] = "requires_action".into();
                        let url = format!("https://bank.example/{id}?back={}", form["return_url"]);
                        intent["next_action"] = json!({"type": "redirect_to_url", "redirect_to_url": {"url": url}});
                    }
                    Some("pm_declined") => {
                        intent["last_payment_error"] = json!({"message": "Your card was declined."});
                        return (402, error("card_error", "Your card was declined."));
                    }
                    other => {
                        return (400, error("invalid_request_error", &format!("No such PaymentMethod: {other:?}")));
                    }
                }
            }
            "capture" if status == "requires_capture" => {
                let amount: i64 = form["amount_to_capture"].parse().unwrap();
                if amount > intent["amount"].as_i64().unwrap() {
                    return (400, error("invalid_request_error", "The amount is greater than the capturable one."));
                }
                intent["status"] = "succeeded".into();
                intent["amount_received"] = amount.into();
            }
            "cancel" if is_open || matches!(&*status, "requires_action" | "requires_capture") => {
                intent["status"] = "canceled".into();
            }
            _ => return (400, error("invalid_request_error", &format!("unexpected state: {status}"))),
        }
        (200, intent.clone())
    }

    /// More may be refunded than was captured: the gateway must not rely on its server for that.
    fn refund(&mut self, form: &HashMap<String, String>) -> (u16, Value) {
        let refund = json!({
            "id": format!("re_{}", self.refunds.len() + 1), "payment_intent": form["payment_intent"],
            "amount": form["amount"].parse::<i64>().unwrap(), "status": "succeeded",
            "metadata": form.get("metadata[trolley_deed]").map_or(json!({}), |deed| json!({"trolley_deed": deed})),
        });
        self.refunds.push(refund.clone());
        let of_it = self.refunds.iter().filter(|one| one["payment_intent"] == refund["payment_intent"]);
        let in_all: i64 = of_it.map(|one| one["amount"].as_i64().unwrap()).sum();
        if let Some(intent) = self.intents.get_mut(&form["payment_intent"]) {
            intent["latest_charge"] = json!({"id": "ch_1", "amount_refunded": in_all});
        }
        (200, refund)
    }
}

fn missing() -> (u16, Value) {
    (404, error("invalid_request_error", "No such object"))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
