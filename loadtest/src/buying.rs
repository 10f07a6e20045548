//! How a shopper buys what is in a cart: each step is repeated under its key, through any node, until its outcome is
//! certain.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::{
    client::Answer,
    failure::{Effect, Failure},
    ledger::Account,
    nodes::Node,
    service::{Ask, Settled},
    shop::Checkout,
    shopper::Shopper,
};

/// Times that a request of unknown outcome is brought to the service again, ten seconds each: longer than any takeover.
const ROUNDS_MAX: usize = 6;
/// Pause while the gateway's answer is not known.
const PENDING_PAUSE: Duration = Duration::from_millis(200);
/// Times that a payment's outcome is asked for while it is not known: twice a gateway's longest silence.
const PENDING_MAX: usize = 600;
/// Times that a change is made anew upon a newer revision: the service itself changes a checkout once or twice.
const STALE_MAX: usize = 10;

/// What came of a wish to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bought {
    /// There is an order.
    Order(String),
    /// The goods are not to be had at the moment.
    NoStock,
    /// The card was declined; the checkout was cancelled.
    Declined,
    /// Nothing is known, or something was answered that should not be: the audit finds out.
    Failed,
}

/// Why a step did not succeed: the problem's code; empty = it is not known.
type Refused = String;

impl Shopper {
    /// Buys all that is in the cart with a token of the sandbox.
    pub async fn buy(&mut self, account: &Account, payment: &str) -> Bought {
        let begin = Checkout::begin(account.cart(), &self.key());
        let begun = match self.certain("begin checkout", begin, &["insufficient_stock"]).await {
            Ok((answer, _)) => answer,
            Err(code) if code == "insufficient_stock" => return Bought::NoStock,
            Err(_) => return Bought::Failed,
        };
        let Some(checkout) = Checkout::of(&begun, account.cart()) else {
            self.wrong("a checkout without an id");
            return Bought::Failed;
        };
        self.world().purchases.begun(&checkout);
        let bought = self.pay(&checkout, begun.json(), payment).await;
        match &bought {
            Ok(Bought::Order(id)) => {
                let order = self.certain("read order", checkout.order(id), &[]).await;
                if order.is_ok_and(|(order, _)| order.json()["checkout_id"] != checkout.id.as_str()) {
                    self.wrong("an order of another checkout");
                }
            }
            // Whoever cannot pay lets others have the goods.
            _ => drop(self.certain("cancel checkout", checkout.cancel(), &["checkout_not_open"]).await),
        }
        bought.unwrap_or(Bought::Failed)
    }

    async fn pay(&mut self, checkout: &Checkout, begun: serde_json::Value, payment: &str) -> Result<Bought, Refused> {
        let addressed = self.changed(checkout, begun, |revision, key| checkout.address(revision, key)).await?;
        if addressed["shipping_option"].is_null()
            && let Some(option) = addressed["shipping_options"][0]["id"].as_str().map(str::to_owned)
        {
            self.changed(checkout, addressed, |revision, key| checkout.ship_by(&option, revision, key)).await?;
        }
        let complete = checkout.complete(payment, &self.key());
        for _ in 0..PENDING_MAX {
            let (answer, node) = match self.certain("complete", complete.clone(), &["payment_declined"]).await {
                Ok(answered) => answered,
                Err(code) if code == "payment_declined" => return Ok(Bought::Declined),
                Err(code) => return Err(code),
            };
            if let Some(order) = answer.json()["order_id"].as_str() {
                self.world().purchases.bought(checkout, order, &node);
                return Ok(Bought::Order(order.to_owned()));
            }
            if answer.status != 202 {
                self.wrong("a completed checkout without an order");
                break;
            }
            tokio::time::sleep(PENDING_PAUSE).await;
        }
        Err(String::new())
    }

    /// Changes a checkout as it was seen; as it is by now, where it has moved on.
    async fn changed(
        &mut self,
        checkout: &Checkout,
        mut seen: serde_json::Value,
        change: impl Fn(u64, &str) -> Vec<u8>,
    ) -> Result<serde_json::Value, Refused> {
        for _ in 0..STALE_MAX {
            let revision = seen["revision"].as_u64().unwrap_or(0);
            let ask = change(revision, &self.key());
            match self.certain("change checkout", ask, &["revision_mismatch"]).await {
                Ok((answer, _)) => return Ok(answer.json()),
                Err(code) if code == "revision_mismatch" => {
                    seen = self.certain("read checkout", checkout.read(), &[]).await?.0.json();
                }
                Err(code) => return Err(code),
            }
        }
        Err("revision_mismatch".to_owned())
    }

    fn key(&self) -> String {
        format!("buy-{}", self.world().keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Brings a request that may be repeated to a certain end. A refusal among `expected` is an answer like any other.
    async fn certain(
        &mut self,
        operation: &'static str,
        bytes: Vec<u8>,
        expected: &[&str],
    ) -> Result<(Answer, String), Refused> {
        let ask = Ask { bytes, may_repeat: true };
        for _ in 0..ROUNDS_MAX {
            let (due, world) = (self.due(), Arc::clone(self.world()));
            let settled = expecting(world.service.settle(&ask, due, None).await, expected);
            world.measure.request(operation, due, &settled);
            self.is_due(Instant::now());
            match settled.end {
                Ok((answer, node)) if (200..300).contains(&answer.status) => return Ok((answer, node.name.clone())),
                Ok((answer, _)) => return Err(code(&answer)),
                Err((failure, Effect::None)) if !failure.may_pass() => return Err(failure.to_string()),
                Err((failure, Effect::Unknown)) if !failure.may_pass() => return Err(failure.to_string()),
                Err(_) => {}
            }
        }
        Err(String::new())
    }
}

fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

/// An expected refusal counts as an answer.
fn expecting(settled: Settled, expected: &[&str]) -> Settled {
    let Err((Failure::Problem { status, code, .. }, _)) = &settled.end else { return settled };
    if !expected.contains(&code.as_str()) {
        return settled;
    }
    let body = serde_json::json!({ "code": code }).to_string().into_bytes();
    let node = Node { name: String::new(), http: String::new(), admin: None };
    let first = settled.first.filter(|_| settled.tries > 1);
    Settled {
        end: Ok((Answer { status: *status, head: Vec::new(), body }, Arc::new(node))),
        first,
        tries: settled.tries,
    }
}
