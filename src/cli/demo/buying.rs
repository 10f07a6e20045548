//! Shoppers who buy: what they were told of orders is held against the orders themselves, the stock and the bank's book.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::Method;
use serde_json::{Value, json};

use super::{
    door::{Door, Question},
    ledger::Ledger,
    locked,
    shoppers::{Outcome, Shopper},
};

/// How long an operator's answer may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(2);
/// Products that are bought: each has some stock, so that shoppers can buy for hours.
const GOODS_MAX: usize = 100;
/// Checkouts that are remembered for the bank's book; older ones were right when they were read.
const CHECKOUTS_MAX: usize = 100_000;
/// Pages of the book that are read at the end.
const BOOK_PAGES_MAX: usize = 1_000;
/// Times that a change is made anew upon a newer revision, and that a payment's outcome is asked for.
const TRIES_MAX: usize = 20;
/// Pause before the same is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What can be bought, and what was.
pub(super) struct Till {
    admins: Vec<SocketAddr>,
    goods: Vec<Goods>,
    paid: Mutex<Paid>,
}

struct Goods {
    sku: String,
    /// Units that there were when the first shopper came.
    available: u64,
    sold: Mutex<u64>,
}

/// What each of our checkouts cost, the newest last.
#[derive(Default)]
struct Paid {
    totals: HashMap<String, i64>,
    order: VecDeque<String>,
}

impl Till {
    /// Counts what there is.
    pub(super) async fn open(skus: Vec<String>, admins: Vec<SocketAddr>) -> Self {
        let mut till = Self { admins, goods: Vec::new(), paid: Mutex::default() };
        for sku in skus.into_iter().take(GOODS_MAX) {
            let stock = till.ask(&format!("/admin/stock/{sku}")).await;
            if let Some(available) =
                stock.as_ref().and_then(|stock| stock["available"].as_u64()).filter(|units| *units > 0)
            {
                till.goods.push(Goods { sku, available, sold: Mutex::default() });
            }
        }
        till
    }

    pub(super) fn pick(&self, random: u128) -> Option<usize> {
        let count = self.goods.len() as u128;
        (count > 0).then(|| (random % count) as usize)
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        for admin in &self.admins {
            if let Some(answer) = Door::new(*admin).ask(&Question::new(Method::GET, path), ADMIN_PATIENCE).await
                && answer.status.is_success()
            {
                return Some(answer.json());
            }
        }
        None
    }

    /// An order was acknowledged; how many units beyond what there was it sold.
    fn sold(&self, goods: usize, checkout: &str, total: i64) -> u64 {
        let mut paid = locked(&self.paid);
        let key = checkout.trim_start_matches("chk_").to_owned();
        paid.totals.insert(key.clone(), total);
        paid.order.push_back(key);
        if paid.order.len() > CHECKOUTS_MAX
            && let Some(oldest) = paid.order.pop_front()
        {
            paid.totals.remove(&oldest);
        }
        drop(paid);
        let Some(goods) = self.goods.get(goods) else { return 0 };
        let mut sold = locked(&goods.sold);
        *sold += 1;
        u64::from(*sold > goods.available)
    }

    /// Holds the bank's book against the orders: each is paid once, and for what it costs.
    pub(super) async fn close(&self, ledger: &Ledger) {
        let mut charged = HashMap::<String, (u32, i64)>::new();
        let mut path = "/admin/sandbox/payments".to_owned();
        for _ in 0..BOOK_PAGES_MAX {
            let Some(page) = self.ask(&path).await else { return ledger.leave_unread(1) };
            for item in page["items"].as_array().into_iter().flatten().filter(|item| item["state"] == "authorised") {
                if let Some((checkout, _)) = item["key"].as_str().and_then(|key| key.split_once('-')) {
                    let (payments, amount) = charged.entry(checkout.to_owned()).or_default();
                    *payments += 1;
                    *amount += item["amount"].as_i64().unwrap_or(0);
                }
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            path = format!("/admin/sandbox/payments?cursor={next}");
        }
        let paid = locked(&self.paid);
        for (checkout, total) in &paid.totals {
            match charged.get(checkout) {
                Some((1, amount)) if amount == total => {}
                Some((1, amount)) if amount < total => ledger.find_lost_order(),
                Some(_) => ledger.find_double_charge(),
                None => ledger.find_lost_order(),
            }
        }
    }
}

fn address() -> Value {
    json!({ "name": "Ada Lovelace", "line1": "Torstr. 1", "city": "Berlin", "postal_code": "10119", "country": "DE" })
}

impl Shopper {
    /// Puts one unit into a cart of its own and buys it.
    pub(super) async fn buy(&mut self, till: &Arc<Till>, goods: usize) -> Option<()> {
        let sku = till.goods.get(goods)?.sku.clone();
        let cart = self.told(&Question::new(Method::POST, "/v1/carts")).await?;
        let (cart, token) = (cart["id"].as_str()?.to_owned(), cart["guest_token"].as_str()?.to_owned());
        let add = json!({ "sku": sku, "quantity": 1 });
        let add = self.question(&token, Method::POST, format!("/v1/carts/{cart}/items"), Some(add));
        self.told(&add).await?;
        // One that is sold out is no difference: nobody was told otherwise.
        let begin = self.question(&token, Method::POST, "/v1/checkouts".to_owned(), Some(json!({ "cart_id": cart })));
        let begun = self.told(&begin).await?;
        let checkout = begun["id"].as_str()?.to_owned();
        let path = format!("/v1/checkouts/{checkout}");
        let order = self.pay(&token, &path, begun).await;
        let Some(order) = order else {
            let cancel = self.question(&token, Method::POST, format!("{path}/cancel"), None);
            self.told(&cancel).await;
            return None;
        };
        self.look(till, goods, &token, &checkout, &order).await;
        Some(())
    }

    /// The order's id, once it is acknowledged.
    async fn pay(&mut self, token: &str, path: &str, begun: Value) -> Option<String> {
        let to = json!({ "email": "ada@shop.example", "shipping_address": address() });
        let addressed = self.change(token, path, begun, &to).await?;
        if addressed["shipping_option"].is_null() {
            let option = json!({ "shipping_option": addressed["shipping_options"][0]["id"].as_str()? });
            self.change(token, path, addressed, &option).await?;
        }
        let payment = json!({ "payment": { "gateway": "sandbox", "token": "tok_approve" } });
        let complete = self.question(token, Method::POST, format!("{path}/complete"), Some(payment));
        for _ in 0..TRIES_MAX {
            if let Some(order) = self.told(&complete).await?["order_id"].as_str() {
                return Some(order.to_owned());
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    async fn change(&mut self, token: &str, path: &str, mut seen: Value, wish: &Value) -> Option<Value> {
        for _ in 0..TRIES_MAX {
            let mut patch = self.question(token, Method::PATCH, path.to_owned(), Some(wish.clone()));
            patch.if_match = Some(format!("\"{}\"", seen["revision"]));
            if let Some(changed) = self.told(&patch).await {
                return Some(changed);
            }
            let read = self.question(token, Method::GET, path.to_owned(), None);
            seen = self.told(&read).await?;
        }
        None
    }

    /// Reads the order through another node than the one that acknowledged it.
    async fn look(&mut self, till: &Arc<Till>, goods: usize, token: &str, checkout: &str, order: &str) {
        self.next_door();
        let read = self.question(token, Method::GET, format!("/v1/orders/{order}"), None);
        let found = self.told(&read).await;
        let total = found.as_ref().and_then(|found| found["totals"]["total"]["amount"].as_i64());
        match (found, total) {
            (Some(found), Some(total)) if found["checkout_id"] == checkout => {
                let oversold = till.sold(goods, checkout, total);
                self.ledger().order(total, oversold);
            }
            _ => self.ledger().find_lost_order(),
        }
    }

    fn question(&mut self, token: &str, method: Method, path: String, body: Option<Value>) -> Question {
        let key = (method != Method::GET).then(|| self.key());
        let body = body.map(|body| body.to_string());
        Question { token: Some(token.to_owned()), key, body, ..Question::new(method, path) }
    }

    /// What was answered, if it was granted.
    async fn told(&mut self, question: &Question) -> Option<Value> {
        match self.ask(question).await {
            (Outcome::Done(answer), _) => Some(answer.json()),
            (Outcome::Refused | Outcome::Unknown, _) => None,
        }
    }
}
