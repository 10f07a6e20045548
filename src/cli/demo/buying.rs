//! Shoppers who buy: what they were told of an order is held against the order itself, read through another node.

use std::{sync::Arc, time::Duration};

use hyper::Method;
use serde_json::{Value, json};

use super::{
    door::Question,
    shoppers::{Outcome, Shopper},
    till::Till,
};

/// Times that a change is made anew upon a newer revision, and that a payment's outcome is asked for.
const TRIES_MAX: usize = 20;
/// Pause before the same is asked again.
const PAUSE: Duration = Duration::from_millis(100);

fn address() -> Value {
    json!({ "name": "Ada Lovelace", "line1": "Torstr. 1", "city": "Berlin", "postal_code": "10119", "country": "DE" })
}

impl Shopper {
    /// Puts one unit into a cart of its own and buys it.
    pub(super) async fn buy(&mut self, till: &Arc<Till>, goods: usize) -> Option<()> {
        let sku = till.sku(goods)?.to_owned();
        let cart = self.told(&Question::new(Method::POST, "/v1/carts")).await?;
        let (cart, token) = (cart["id"].as_str()?.to_owned(), cart["guest_token"].as_str()?.to_owned());
        let add = json!({ "sku": sku, "quantity": 1 });
        let add = self.question(&token, Method::POST, format!("/v1/carts/{cart}/items"), Some(add));
        self.told(&add).await?;
        // One that is sold out is no difference: nobody was told otherwise.
        let begin = self.question(&token, Method::POST, "/v1/checkouts".to_owned(), Some(json!({ "cart_id": cart })));
        let begun = self.told(&begin).await?;
        let checkout = begun["id"].as_str()?.to_owned();
        till.begun(&checkout, &token);
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
