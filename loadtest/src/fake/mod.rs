//! A small shop in memory with the faults that a test wants: what the ledger must find, a right server never shows.

mod purchases;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How the shop is wrong: with adds, each time on every tenth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// It acknowledges and forgets.
    pub(crate) forgets: bool,
    /// It adds, and breaks the connection before it answers.
    pub(crate) loses_answers: bool,
    /// It does not know keys again.
    pub(crate) ignores_keys: bool,
    /// It says that it is busy, and that nothing happened.
    pub(crate) is_busy: bool,
    /// What was held by a checkout that expired stays so.
    pub(crate) keeps_holds: bool,
    /// It cancels checkouts that are to expire.
    pub(crate) cancels_early: bool,
    /// It reserves the money of a payment that it says was declined.
    pub(crate) reserves_declined: bool,
    /// It fails whoever pays while a payment of somebody else's is declined.
    pub(crate) is_stormed: bool,
    /// Its checkouts live for long: that alone is no fault.
    pub(crate) lives_long: bool,
}

impl Faults {
    /// How long a checkout lives.
    fn life(self) -> Duration {
        if self.lives_long { Duration::from_secs(50) } else { Duration::from_millis(300) }
    }
}

#[derive(Debug, Default)]
struct State {
    carts: HashMap<String, Vec<(String, u64)>>,
    /// Keys of adds that were done.
    keys: HashMap<String, ()>,
    adds: u64,
    purchases: purchases::Purchases,
}

/// A shop that listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) http: String,
    _serving: JoinSet<()>,
}

impl Shop {
    pub(crate) async fn open(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap().to_string();
        let (state, mut serving) = (Arc::new(Mutex::new(State::default())), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let _closed = serve(stream, faults, &state).await;
                });
            }
        });
        Self { http, _serving: serving }
    }
}

async fn serve(mut stream: TcpStream, faults: Faults, state: &Mutex<State>) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while !is_whole(&buffer) {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let request = String::from_utf8_lossy(&buffer).into_owned();
        buffer.clear();
        let answered = answer(&request, faults, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
        let Some((status, body)) = answered else { return Ok(()) };
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    header(head, "content-length").map_or(0, |length| length.parse().unwrap()) <= body.len()
}

/// `None` = the connection breaks.
fn answer(request: &str, faults: Faults, state: &mut State) -> Option<(u16, Value)> {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let words: Vec<_> = head.split_whitespace().take(2).collect();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let path: Vec<_> = words[1].split('?').next().unwrap().split('/').skip(2).collect();
    let (method, path) = (words[0], &path[..]);
    if let Some(answered) = purchases::answer(method, path, &body, faults, state) {
        return Some(answered);
    }
    Some(match (method, path) {
        ("GET", ["products"]) => {
            let product = |sku: &str| json!({ "sku": sku, "availability": "in_stock", "quantity_max": 999 });
            let items = ["mug", "pot", "cup"].map(product);
            (200, json!({ "items": items, "next_cursor": null }))
        }
        ("GET", ["products", sku]) => (200, json!({ "sku": sku })),
        ("POST", ["carts"]) => {
            let id = format!("cart_{}", state.carts.len());
            state.carts.insert(id.clone(), Vec::new());
            (201, json!({ "id": id, "guest_token": "gst_1" }))
        }
        ("GET", ["carts", id]) => (200, shown(state.carts.get(*id)?.as_slice())),
        ("PATCH", ["carts", id, "items", _]) => {
            let cart = state.carts.get_mut(*id)?;
            cart[0].1 = body["quantity"].as_u64().unwrap();
            (200, shown(cart))
        }
        ("POST", ["carts", id, "items"]) => {
            state.adds += 1;
            let (is_tenth, key) = (state.adds.is_multiple_of(10), header(head, "idempotency-key").map(str::to_owned));
            if is_tenth && faults.is_busy {
                return Some((503, json!({ "code": "overloaded", "outcome": "none" })));
            }
            let is_known = key.is_some_and(|key| state.keys.insert(key, ()).is_some()) && !faults.ignores_keys;
            let cart = state.carts.get_mut(*id)?;
            if !(is_known || is_tenth && faults.forgets) {
                cart.push((body["sku"].as_str().unwrap().to_owned(), body["quantity"].as_u64().unwrap()));
            }
            if is_tenth && faults.loses_answers {
                return None;
            }
            (200, shown(cart))
        }
        _ => (404, json!({ "code": "not_found", "outcome": "none" })),
    })
}

fn shown(cart: &[(String, u64)]) -> Value {
    let line = |(sku, quantity): &(String, u64)| json!({ "sku": sku, "quantity": quantity });
    json!({ "lines": cart.iter().map(line).collect::<Vec<_>>() })
}
