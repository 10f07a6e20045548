//! How a shopper buys what is in a cart: each step is repeated under its key, through any node, until its outcome is
//! certain.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    client::{Answer, request},
    failure::{Effect, Failure},
    ledger::Account,
    nodes::Node,
    service::{Ask, Settled},
    shop::Checkout,
    shopper::Shopper,
    timestamp,
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

/// A checkout that a shopper began, as it was last seen.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The checkout.
    pub checkout: Checkout,
    seen: Value,
}

/// What came of a try to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paid {
    /// There is an order.
    Order(String),
    /// The card was declined.
    Declined,
    /// The gateway could not be asked; no money was reserved.
    Unavailable,
    /// The shopper must confirm the payment at their bank; then the same try goes on.
    ActionRequired,
}

/// A try to pay. Sent again it is the same try.
#[derive(Clone, Debug)]
pub struct Payment(Vec<u8>);

/// Why a step did not succeed: the problem's code; empty = it is not known.
type Refused = String;

/// Refusals of a payment that are answers like any others.
const NOT_PAID: [(&str, Paid); 3] = [
    ("payment_declined", Paid::Declined),
    ("payment_requires_action", Paid::ActionRequired),
    ("gateway_unavailable", Paid::Unavailable),
];

impl Begun {
    /// How long it lives from when it was last seen; `None` = the service does not say.
    #[must_use]
    pub fn lives(&self) -> Option<Duration> {
        timestamp::between(self.seen["updated_at"].as_str()?, self.seen["expires_at"].as_str()?)
    }
}

impl Shopper {
    /// Buys all that is in the cart with a token of the sandbox.
    pub async fn buy(&mut self, account: &Account, payment: &str) -> Bought {
        let mut begun = match self.begin(account).await {
            Ok(begun) => begun,
            Err(why) => return why,
        };
        let bought = match self.address(&mut begun).await {
            Ok(()) => {
                let payment = self.payment(&begun, payment);
                self.pay(&begun, &payment, &NOT_PAID[..1]).await
            }
            Err(why) => Err(why),
        };
        match bought {
            Ok(Paid::Order(id)) => {
                self.look_at_order(&begun, &id).await;
                Bought::Order(id)
            }
            // Whoever cannot pay lets others have the goods.
            Ok(_) => {
                self.cancel(&begun).await;
                Bought::Declined
            }
            Err(_) => {
                self.cancel(&begun).await;
                Bought::Failed
            }
        }
    }

    /// Begins to buy all that is in the cart: its goods are held.
    ///
    /// # Errors
    /// [`Bought::NoStock`] or [`Bought::Failed`].
    pub async fn begin(&mut self, account: &Account) -> Result<Begun, Bought> {
        let begin = Checkout::begin(account.cart(), &self.key());
        let seen = match self.certain("begin checkout", begin, &["insufficient_stock"]).await {
            Ok((answer, _)) => answer,
            Err(code) if code == "insufficient_stock" => return Err(Bought::NoStock),
            Err(_) => return Err(Bought::Failed),
        };
        let Some(checkout) = Checkout::of(&seen, account.cart()) else {
            self.wrong("a checkout without an id");
            return Err(Bought::Failed);
        };
        self.world().purchases.begun(&checkout);
        Ok(Begun { checkout, seen: seen.json() })
    }

    /// Says where to and how.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub async fn address(&mut self, begun: &mut Begun) -> Result<(), Refused> {
        self.change(begun, |checkout, revision, key| checkout.address(revision, key)).await?;
        if begun.seen["shipping_option"].is_null()
            && let Some(option) = begun.seen["shipping_options"][0]["id"].as_str().map(str::to_owned)
        {
            self.change(begun, |checkout, revision, key| checkout.ship_by(&option, revision, key)).await?;
        }
        Ok(())
    }

    /// A new try to pay with a token of the sandbox.
    #[must_use]
    pub fn payment(&self, begun: &Begun, token: &str) -> Payment {
        Payment(begun.checkout.complete(token, &self.key()))
    }

    /// Pays, whatever is answered.
    ///
    /// # Errors
    /// Why it is not known what came of it.
    pub async fn try_to_pay(&mut self, begun: &Begun, payment: &Payment) -> Result<Paid, Refused> {
        self.pay(begun, payment, &NOT_PAID).await
    }

    /// Pays; refusals other than these are failures.
    async fn pay(&mut self, begun: &Begun, payment: &Payment, not_paid: &[(&str, Paid)]) -> Result<Paid, Refused> {
        let expected: Vec<_> = not_paid.iter().map(|(code, _)| *code).collect();
        for _ in 0..PENDING_MAX {
            let (answer, node) = match self.certain("complete", payment.0.clone(), &expected).await {
                Ok(answered) => answered,
                Err(code) => {
                    let known = not_paid.iter().find(|(known, _)| *known == code);
                    return known.map(|(_, paid)| paid.clone()).ok_or(code);
                }
            };
            if let Some(order) = answer.json()["order_id"].as_str() {
                self.world().purchases.bought(&begun.checkout, order, &node);
                return Ok(Paid::Order(order.to_owned()));
            }
            if answer.status != 202 {
                self.wrong("a completed checkout without an order");
                break;
            }
            tokio::time::sleep(PENDING_PAUSE).await;
        }
        Err(String::new())
    }

    /// Confirms the payment that requires it, at the sandbox's bank.
    ///
    /// # Errors
    /// Why it cannot be confirmed.
    pub async fn confirm(&mut self, begun: &mut Begun) -> Result<(), Refused> {
        self.see(begun).await?;
        let Some(url) = begun.seen["payment"]["action"]["url"].as_str().map(str::to_owned) else {
            self.wrong("an action without a URL");
            return Err(String::new());
        };
        self.certain("confirm payment", request("POST", &url, &[], None), &[]).await.map(drop)
    }

    /// Reads the order that was acknowledged.
    pub async fn look_at_order(&mut self, begun: &Begun, id: &str) {
        let order = self.certain("read order", begun.checkout.order(id), &[]).await;
        if order.is_ok_and(|(order, _)| order.json()["checkout_id"] != begun.checkout.id.as_str()) {
            self.wrong("an order of another checkout");
        }
    }

    /// Gives up.
    pub async fn cancel(&mut self, begun: &Begun) {
        let cancel = begun.checkout.cancel();
        if let Ok((_, node)) = self.certain("cancel checkout", cancel, &["checkout_not_open"]).await {
            self.world().purchases.cancelled(&begun.checkout, &node);
        }
    }

    /// Walks away: the checkout is to expire.
    ///
    /// # Errors
    /// When it cannot be read for how long it lives.
    pub async fn leave(&mut self, begun: &mut Begun) -> Result<(), Refused> {
        self.see(begun).await?;
        match begun.lives() {
            Some(lives) => self.world().purchases.left(&begun.checkout, lives),
            None => self.wrong("a checkout that does not say when it expires"),
        }
        Ok(())
    }

    /// Looks at it as it is now.
    async fn see(&mut self, begun: &mut Begun) -> Result<(), Refused> {
        begun.seen = self.certain("read checkout", begun.checkout.read(), &[]).await?.0.json();
        Ok(())
    }

    /// Changes a checkout as it was seen; as it is by now, where it has moved on.
    async fn change(
        &mut self,
        begun: &mut Begun,
        change: impl Fn(&Checkout, u64, &str) -> Vec<u8>,
    ) -> Result<(), Refused> {
        for _ in 0..STALE_MAX {
            let revision = begun.seen["revision"].as_u64().unwrap_or(0);
            let ask = change(&begun.checkout, revision, &self.key());
            match self.certain("change checkout", ask, &["revision_mismatch"]).await {
                Ok((answer, _)) => {
                    begun.seen = answer.json();
                    return Ok(());
                }
                Err(code) if code == "revision_mismatch" => self.see(begun).await?,
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
            let settled = expecting(world.service.settle_unless(&ask, due, None, expected).await, expected);
            self.measured(operation, due, &settled);
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
