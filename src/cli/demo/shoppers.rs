//! Shoppers: each adds to a cart of its own, repeats an add through other nodes until its outcome is known, and reads
//! its carts again through another node than the one that answered.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Interval, MissedTickBehavior},
};

use super::{
    door::{Answer, Door, Question},
    ledger::{Account, Ledger, Verdict},
    till::Till,
};
use crate::telemetry::clock;

/// Enough that every node always has some, few enough for a laptop.
const SHOPPERS: u32 = 16;
/// How long an answer may take before another node is asked: a frozen one never answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Pause after every node was asked in vain.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before a difference is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often a cart is read before a difference is booked.
const LOOKS_MAX: usize = 3;
/// How long an add is repeated once the load ends: longer than a takeover, shorter than people's patience.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last audit may take.
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);
/// Adds to one cart: below the limit of a line.
const TURNS_PER_CART: usize = 200;
/// Adds between two audits.
const AUDIT_EVERY: usize = 20;
/// Adds between two purchases.
const BUY_EVERY: usize = 20;
/// Products that are put into carts, so that an add to the wrong line shows.
const WARES_MAX: usize = 3;
/// Carts that a shopper reads again at the end; older ones have been read often, and memory has a bound.
const CARTS_MAX: usize = 512;

/// The load as it runs.
pub(super) struct Load {
    ending: watch::Sender<bool>,
    shoppers: JoinSet<()>,
    till: Arc<Till>,
    ledger: Arc<Ledger>,
    pub(super) rate: u32,
}

impl Load {
    /// Sends the shoppers in.
    ///
    /// # Errors
    /// When there is nothing to buy.
    pub(super) async fn start(
        rate: u32,
        doors: watch::Receiver<Arc<[SocketAddr]>>,
        admins: Vec<SocketAddr>,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, String> {
        let mut goods = wares(&doors).await?;
        let wares: Arc<[String]> = goods.iter().take(WARES_MAX).cloned().collect();
        // What is bought is not what carts are filled with, so that nobody waits for it to be sold.
        let goods = if goods.len() > WARES_MAX { goods.split_off(WARES_MAX) } else { goods };
        let till = Arc::new(Till::open(goods, admins, doors.clone()).await);
        let ending = watch::Sender::new(false);
        let mut shoppers = JoinSet::new();
        let run = clock::random();
        for number in 0..SHOPPERS {
            let mut pace = tokio::time::interval(Duration::from_secs(1) * SHOPPERS / rate);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let shopper = Shopper {
                number,
                run,
                keys: 0,
                wares: Arc::clone(&wares),
                till: Arc::clone(&till),
                open: Vec::new(),
                at: number as usize,
                doors: doors.clone(),
                ending: ending.subscribe(),
                pace,
                ledger: Arc::clone(ledger),
                carts: VecDeque::new(),
            };
            shoppers.spawn(shopper.shop());
        }
        Ok(Self { ending, shoppers, till, ledger: Arc::clone(ledger), rate })
    }

    /// Lets every add be known, reads every cart once more, and the bank's book.
    pub(super) async fn finish(mut self) {
        self.ending.send_replace(true);
        while self.shoppers.join_next().await.is_some() {}
        self.till.close(&self.ledger).await;
    }
}

/// A few products that every shopper may buy many of without choosing anything.
async fn wares(doors: &watch::Receiver<Arc<[SocketAddr]>>) -> Result<Vec<String>, String> {
    let all = doors.borrow().clone();
    let question = Question::new(Method::GET, "/v1/products?limit=100");
    for address in all.iter() {
        let Some(answer) = Door::new(*address).ask(&question, ANSWER_PATIENCE).await else { continue };
        let found = answer.json();
        let fits = |item: &&Value| {
            item["options"].as_object().is_none_or(|options| options.is_empty())
                && item["availability"] != "out_of_stock"
                && item["quantity_max"].as_u64().is_some_and(|max| max >= TURNS_PER_CART as u64)
        };
        let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let skus = items.iter().filter(fits).filter_map(|item| item["sku"].as_str().map(str::to_owned));
        let wares: Vec<String> = skus.collect();
        if wares.is_empty() {
            return Err(format!("no product may be bought {TURNS_PER_CART} times without choosing an option"));
        }
        return Ok(wares);
    }
    Err("no node answers".to_owned())
}

struct Cart {
    id: String,
    token: String,
    account: Account,
    verdict: Verdict,
    turns: usize,
}

/// What came of a request that was repeated.
pub(super) enum Outcome {
    Done(Answer),
    /// For good: nothing was changed.
    Refused,
    Unknown,
}

pub(super) struct Shopper {
    number: u32,
    run: u128,
    keys: u64,
    wares: Arc<[String]>,
    till: Arc<Till>,
    doors: watch::Receiver<Arc<[SocketAddr]>>,
    /// A connection to each of the doors, as far as they were needed.
    open: Vec<Door>,
    /// The door that is asked next.
    at: usize,
    ending: watch::Receiver<bool>,
    pace: Interval,
    ledger: Arc<Ledger>,
    /// Filled ones, the newest last.
    carts: VecDeque<Cart>,
}

impl Shopper {
    fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// A key of its own for each thing that is asked.
    pub(super) fn key(&mut self) -> String {
        self.keys += 1;
        format!("demo-{:x}-{}-{}", self.run, self.number, self.keys)
    }

    /// The next thing is asked of another node.
    pub(super) const fn next_door(&mut self) {
        self.at += 1;
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn shop(mut self) {
        while !self.is_ending() {
            self.pace.tick().await;
            let Some(mut cart) = self.cart().await else { continue };
            while cart.turns < TURNS_PER_CART && !self.is_ending() {
                if !self.add(&mut cart).await {
                    break;
                }
                if cart.turns.is_multiple_of(BUY_EVERY) {
                    let till = Arc::clone(&self.till);
                    if let Some(goods) = till.pick(clock::random()) {
                        self.buy(&till, goods).await;
                    }
                }
                if cart.turns.is_multiple_of(AUDIT_EVERY) {
                    self.audit(&mut cart).await;
                    self.audit_older().await;
                }
                self.pace.tick().await;
            }
            self.carts.push_back(cart);
            if self.carts.len() > CARTS_MAX {
                self.carts.pop_front(); // its verdict stays in the totals
            }
        }
        let until = Instant::now() + AUDIT_PATIENCE;
        while let Some(mut cart) = self.carts.pop_back() {
            let left = until.saturating_duration_since(Instant::now());
            if !matches!(tokio::time::timeout(left, self.audit(&mut cart)).await, Ok(true)) {
                self.ledger.leave_unread(1);
            }
        }
    }

    /// A new cart. It is made without a key, since there is no token yet: of one that is never told nobody misses anything.
    async fn cart(&mut self) -> Option<Cart> {
        match self.ask(&Question::new(Method::POST, "/v1/carts")).await {
            (Outcome::Done(answer), _) => {
                let told = answer.json();
                Some(Cart {
                    id: told["id"].as_str()?.to_owned(),
                    token: told["guest_token"].as_str()?.to_owned(),
                    account: Account::new(self.wares.len()),
                    verdict: Verdict::default(),
                    turns: 0,
                })
            }
            _ => None,
        }
    }

    /// Adds one unit; whether more may be added.
    async fn add(&mut self, cart: &mut Cart) -> bool {
        let ware = cart.turns % self.wares.len();
        cart.turns += 1;
        let key = self.key();
        let question = Question {
            token: Some(cart.token.clone()),
            key: Some(key),
            body: Some(json!({ "sku": self.wares[ware], "quantity": 1 }).to_string()),
            ..Question::new(Method::POST, format!("/v1/carts/{}/items", cart.id))
        };
        match self.ask(&question).await {
            (Outcome::Done(_), was_refused_first) => {
                cart.account.acknowledge(ware);
                self.ledger.acknowledge(was_refused_first);
                true
            }
            (Outcome::Refused, _) => {
                self.audit(cart).await;
                false
            }
            (Outcome::Unknown, _) => {
                cart.account.lose_sight(ware);
                self.ledger.lose_sight();
                false
            }
        }
    }

    /// Asks one node after another until the outcome is known; also tells whether the first said no.
    pub(super) async fn ask(&mut self, question: &Question) -> (Outcome, bool) {
        let mut ended_at: Option<Instant> = None;
        for attempt in 0_usize.. {
            let was_refused_first = attempt > 0;
            match self.door().ask(question, ANSWER_PATIENCE).await {
                Some(answer) if answer.status.is_success() => return (Outcome::Done(answer), was_refused_first),
                Some(answer) if !may_be_repeated(&answer) => return (Outcome::Refused, was_refused_first),
                _ => self.at += 1,
            }
            if self.is_ending() && ended_at.get_or_insert_with(Instant::now).elapsed() > RESOLVE_PATIENCE {
                break;
            }
            if (attempt + 1).is_multiple_of(self.open.len().max(1)) {
                tokio::time::sleep(PAUSE).await;
            }
        }
        (Outcome::Unknown, true)
    }

    /// The connection to the node whose turn it is.
    fn door(&mut self) -> &mut Door {
        let all = self.doors.borrow_and_update().clone();
        for address in all.iter().skip(self.open.len()) {
            self.open.push(Door::new(*address));
        }
        let at = self.at % self.open.len();
        &mut self.open[at]
    }

    async fn audit_older(&mut self) {
        // One that is chosen by chance: in time, every cart that is kept.
        let at = (clock::random() % (self.carts.len().max(1) as u128)) as usize;
        if let Some(mut cart) = self.carts.remove(at) {
            self.audit(&mut cart).await;
            self.carts.insert(at, cart);
        }
    }

    /// Reads the cart through another node than the one that answered last, and books what differs; whether it could be
    /// read. Nothing is in flight: each cart is one shopper's, who asks one thing at a time.
    async fn audit(&mut self, cart: &mut Cart) -> bool {
        let mut seen = None;
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            self.at += 1;
            let Some(found) = self.read(cart).await else { continue };
            let verdict = cart.account.judge(&found);
            seen = Some(verdict);
            if verdict == Verdict::default() {
                break;
            }
        }
        if let Some(verdict) = seen {
            self.ledger.book(cart.verdict, verdict);
            cart.verdict = verdict;
        }
        seen.is_some()
    }

    /// The units of each product; none when there is no such cart. `None` = no node told for certain.
    async fn read(&mut self, cart: &Cart) -> Option<Vec<u64>> {
        let question = Question {
            token: Some(cart.token.clone()),
            ..Question::new(Method::GET, format!("/v1/carts/{}", cart.id))
        };
        for _ in 0..self.open.len().max(1) {
            match self.door().ask(&question, ANSWER_PATIENCE).await {
                Some(answer) if answer.status.is_success() && !answer.is_stale => {
                    return units(&answer.json(), &self.wares);
                }
                Some(answer) if is_gone(answer.status) => return Some(Vec::new()),
                _ => self.at += 1,
            }
        }
        None
    }
}

/// The cart, or the right to see it, that an acknowledged request made.
fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn may_be_repeated(answer: &Answer) -> bool {
    answer.status.is_server_error() || answer.json()["retryable"] == true
}

fn units(cart: &Value, wares: &[String]) -> Option<Vec<u64>> {
    let lines = cart["lines"].as_array()?;
    let of = |sku: &String| {
        lines.iter().filter(|line| line["sku"] == **sku).filter_map(|line| line["quantity"].as_u64()).sum()
    };
    Some(wares.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_counted_over_all_lines_of_a_product() {
        let cart = json!({ "lines": [
            { "sku": "a", "quantity": 2 }, { "sku": "b", "quantity": 1 }, { "sku": "a", "quantity": 3 },
        ] });
        assert_eq!(units(&cart, &["a".to_owned(), "c".to_owned()]), Some(vec![5, 0]));
        assert_eq!(units(&json!({ "title": "a problem" }), &["a".to_owned()]), None);
    }

    #[test]
    fn what_is_refused_for_now_is_asked_again_and_what_is_refused_for_good_is_not() {
        let answer = |status, body: &'static str| Answer { status, is_stale: false, body: body.into() };
        assert!(may_be_repeated(&answer(StatusCode::SERVICE_UNAVAILABLE, "")));
        assert!(may_be_repeated(&answer(StatusCode::CONFLICT, r#"{"retryable":true}"#)));
        assert!(!may_be_repeated(&answer(StatusCode::CONFLICT, r#"{"retryable":false}"#)));
        assert!(!may_be_repeated(&answer(StatusCode::NOT_FOUND, "")));
    }
}
