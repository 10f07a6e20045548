//! What the service has acknowledged, cart by cart, kept apart from the service: at the end every cart is read again
//! through another node than its last write, and the two are compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    service::{Ask, Service},
    shop::Cart,
};

/// Keys are remembered ten minutes at least: later, asking again could add a second time.
const KEY_KNOWN: Duration = Duration::from_secs(9 * 60);
/// Carts that are read at once.
const READERS: usize = 32;
/// Most differences that are told one by one.
const TOLD_MAX: usize = 20;
/// How long an audit waits for a service that has just lost nodes, and how much longer for each cart: what is not
/// read by then is reported as not read.
const AUDIT_WITHIN: Duration = Duration::from_secs(30);
const AUDIT_PER_CART: Duration = Duration::from_millis(5);
/// Pause after a stale answer: the node has no lease yet.
const STALE_PAUSE: Duration = Duration::from_millis(100);

/// Everything that was acknowledged in a run.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<Account>>);

/// One cart's page in the ledger.
#[derive(Clone, Debug)]
pub struct Account(Arc<Page>);

#[derive(Debug)]
struct Page {
    cart: Cart,
    entries: Mutex<Entries>,
}

/// What was asked and told about a cart.
#[derive(Clone, Debug, Default)]
struct Entries {
    units: BTreeMap<String, Units>,
    /// Keyed adds whose outcome is not known yet.
    open: Vec<Open>,
    /// Products whose units shoppers also set: what they end at depends on the order.
    free: BTreeSet<String>,
    last_node: Option<String>,
}

/// What was acknowledged at some moment.
#[derive(Clone, Debug)]
pub struct SoFar(Entries);

impl SoFar {
    /// Whether a cart as answered holds it.
    #[must_use]
    pub fn is_in(&self, cart: &Value) -> bool {
        compare(&self.0, cart).lost == 0
    }
}

/// Units of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Units {
    acknowledged: u64,
    /// Adds that may have happened and that no key can settle.
    maybe: u64,
}

#[derive(Clone, Debug)]
struct Open {
    sku: String,
    quantity: u32,
    ask: Ask,
    since: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// The cart.
    #[must_use]
    pub fn cart(&self) -> &Cart {
        &self.0.cart
    }

    /// An add was acknowledged by this node.
    pub fn acknowledged(&self, sku: &str, quantity: u32, node: &str) {
        let mut entries = locked(&self.0.entries);
        entries.units.entry(sku.to_owned()).or_default().acknowledged += u64::from(quantity);
        entries.last_node = Some(node.to_owned());
    }

    /// An unkeyed add may have happened.
    pub fn unknown(&self, sku: &str, quantity: u32) {
        locked(&self.0.entries).units.entry(sku.to_owned()).or_default().maybe += u64::from(quantity);
    }

    /// A keyed add, first sent at `since`, may have happened: the same key tells.
    pub fn open(&self, sku: &str, quantity: u32, ask: Ask, since: Instant) {
        locked(&self.0.entries).open.push(Open { sku: sku.to_owned(), quantity, ask, since });
    }

    /// This product's units are not compared.
    pub fn free(&self, sku: &str) {
        locked(&self.0.entries).free.insert(sku.to_owned());
    }

    /// What is acknowledged by now: a cart that is asked for from now on holds it.
    #[must_use]
    pub fn so_far(&self) -> SoFar {
        SoFar(locked(&self.0.entries).clone())
    }

    async fn audit(self, service: Arc<Service>, until: Instant) -> Audit {
        let open = std::mem::take(&mut locked(&self.0.entries).open);
        for open in open {
            self.resolve(&service, open, until).await;
        }
        let last = locked(&self.0.entries).last_node.clone();
        let found = self.read(&service, last.as_deref(), until).await;
        let entries = locked(&self.0.entries).clone();
        let acknowledged = entries.units.values().map(|units| units.acknowledged).sum();
        let maybe = entries.units.values().map(|units| units.maybe).sum();
        let mut audit = Audit { carts: 1, acknowledged, maybe, ..Audit::default() };
        match found {
            Some(found) => {
                let difference = compare(&entries, &found);
                (audit.lost, audit.doubled, audit.told) = (difference.lost, difference.doubled, difference.told);
                for told in &mut audit.told {
                    *told = format!("{}: {told}", self.0.cart.id);
                }
            }
            None => {
                audit.unread = 1;
                audit.told = vec![format!("{} cannot be read", self.0.cart.id)];
            }
        }
        audit
    }

    /// Sends the same key again: the outcome that it has, or has now.
    async fn resolve(&self, service: &Service, open: Open, until: Instant) {
        if open.since.elapsed() < KEY_KNOWN && Instant::now() < until {
            match service.settle(&open.ask, Instant::now(), None).await.end {
                Ok((_, node)) => return self.acknowledged(&open.sku, open.quantity, &node.name),
                // A refusal means that the key is not known: neither try had an effect.
                Err((failure, _)) if !failure.may_pass() => return,
                Err(_) => {}
            }
        }
        self.unknown(&open.sku, open.quantity);
    }

    /// The cart as it is now; a stale answer is none. A cart that is gone is an empty one.
    async fn read(&self, service: &Service, avoid: Option<&str>, until: Instant) -> Option<Value> {
        let ask = Ask { bytes: self.0.cart.request("GET", "", None, None), may_repeat: true };
        while Instant::now() < until {
            match service.settle(&ask, Instant::now(), avoid).await.end {
                Ok((answer, _)) if answer.header("trolley-stale").is_none() => return Some(answer.json()),
                Ok(_) => tokio::time::sleep(STALE_PAUSE).await,
                Err((failure, _)) if failure.may_pass() => {}
                Err(_) => return Some(Value::Null),
            }
        }
        None
    }
}

/// What an audit found, in units of products.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Carts that were compared.
    pub carts: u64,
    /// Units whose add was acknowledged.
    pub acknowledged: u64,
    /// Of them, units that are not there.
    pub lost: u64,
    /// Units that are there beyond the acknowledged and the possible ones.
    pub doubled: u64,
    /// Units whose add may have happened.
    pub maybe: u64,
    /// Carts that could not be read: nothing is known of them.
    pub unread: u64,
    /// The first differences, for people.
    pub told: Vec<String>,
}

impl Audit {
    /// Whether every cart was read, and holds what it should.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        (self.lost, self.doubled, self.unread) == (0, 0, 0)
    }

    fn add(&mut self, other: Self) {
        self.carts += other.carts;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.maybe += other.maybe;
        self.unread += other.unread;
        self.told.extend(other.told);
        self.told.truncate(TOLD_MAX);
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged {} · lost {} · doubled {}", self.acknowledged, self.lost, self.doubled)?;
        if self.maybe > 0 {
            write!(f, " · maybe {}", self.maybe)?;
        }
        if self.unread > 0 {
            write!(f, " · carts not read {}", self.unread)?;
        }
        self.told.iter().try_for_each(|told| write!(f, "\n  {told}"))
    }
}

/// Acknowledged ⊆ found ⊆ acknowledged and possible.
fn compare(entries: &Entries, found: &Value) -> Audit {
    let mut there = BTreeMap::<&str, u64>::new();
    for line in found["lines"].as_array().into_iter().flatten() {
        *there.entry(line["sku"].as_str().unwrap_or_default()).or_default() += line["quantity"].as_u64().unwrap_or(0);
    }
    let skus: BTreeSet<&str> = there.keys().copied().chain(entries.units.keys().map(String::as_str)).collect();
    let mut audit = Audit::default();
    for sku in skus.into_iter().filter(|sku| !entries.free.contains(*sku)) {
        let units = entries.units.get(sku).copied().unwrap_or_default();
        let open: u64 = entries.open.iter().filter(|open| open.sku == sku).map(|open| u64::from(open.quantity)).sum();
        let (found, most) = (there.get(sku).copied().unwrap_or(0), units.acknowledged + units.maybe + open);
        let (lost, doubled) = (units.acknowledged.saturating_sub(found), found.saturating_sub(most));
        if lost + doubled > 0 {
            audit.told.push(format!("{sku}: {} acknowledged, at most {most}, found {found}", units.acknowledged));
        }
        audit.lost += lost;
        audit.doubled += doubled;
    }
    audit
}

impl Ledger {
    /// A new page, for a cart that is empty.
    pub fn account(&self, cart: Cart) -> Account {
        let account = Account(Arc::new(Page { cart, entries: Mutex::default() }));
        locked(&self.0).push(account.clone());
        account
    }

    /// Settles what is open, reads every cart through another node than its last write, and compares. Nobody may be
    /// shopping any more.
    pub async fn audit(&self, service: &Arc<Service>) -> Audit {
        let accounts = std::mem::take(&mut *locked(&self.0));
        let carts = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
        let until = Instant::now() + AUDIT_WITHIN + AUDIT_PER_CART * carts;
        let mut accounts = accounts.into_iter();
        let (mut total, mut reading) = (Audit::default(), JoinSet::new());
        loop {
            while reading.len() < READERS
                && let Some(account) = accounts.next()
            {
                reading.spawn(account.audit(Arc::clone(service), until));
            }
            match reading.join_next().await {
                Some(Ok(audit)) => total.add(audit),
                Some(Err(_)) => total.unread += 1,
                None => return total,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account() -> Account {
        Ledger::default().account(Cart { id: "cart_1".to_owned(), token: String::new() })
    }

    fn audit(account: &Account, quantity: u64) -> (u64, u64) {
        let found = json!({ "lines": [{ "sku": "mug", "quantity": quantity }] });
        let audit = compare(&locked(&account.0.entries), &found);
        (audit.lost, audit.doubled)
    }

    #[test]
    fn found_lies_between_acknowledged_and_possible() {
        let account = account();
        account.acknowledged("mug", 2, "n1");
        account.acknowledged("mug", 1, "n2");
        account.unknown("mug", 1);
        assert_eq!([2, 3, 4, 5].map(|found| audit(&account, found)), [(1, 0), (0, 0), (0, 0), (0, 1)]);
        assert_eq!(locked(&account.0.entries).last_node.as_deref(), Some("n2"));
    }

    #[test]
    fn what_nobody_asked_for_is_doubled_and_what_is_free_is_not_compared() {
        let account = account();
        assert_eq!(audit(&account, 2), (0, 2));
        account.free("mug");
        assert_eq!(audit(&account, 2), (0, 0));
    }

    #[test]
    fn a_cart_that_is_gone_has_lost_all() {
        let account = account();
        account.acknowledged("mug", 2, "n1");
        assert_eq!(compare(&locked(&account.0.entries), &Value::Null).lost, 2);
    }
}
