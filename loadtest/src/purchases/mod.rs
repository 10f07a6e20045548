//! What became of every purchase, kept apart from the service: at the end each checkout and each order is read again
//! through another node, and held against the stock and against the sandbox bank's book.

mod compare;
mod operator;
mod read;
mod reconciled;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

pub use self::{
    operator::{Stock, admin, set_available, stock},
    reconciled::Reconciled,
};
use self::{
    operator::{book, settled_stock},
    read::{Order, settled},
};
use crate::{service::Service, shop::Checkout};

/// Checkouts that are read at once.
const READERS: usize = 32;
/// How long checkouts that are under way, and what is held, may take to end: a node that died is replaced in seconds.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Longest life of a checkout that is waited for, whatever the service says of it: the longest that a shop allows.
const LIFE_MAX: Duration = Duration::from_secs(60 * 60);
/// How often it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Every purchase of a run.
#[derive(Debug)]
pub struct Purchases {
    checkouts: Mutex<Vec<(Checkout, Told)>>,
    /// What there was of each product that is bought, before anybody came.
    before: Mutex<BTreeMap<String, Stock>>,
    /// When the last of the checkouts that were left expires.
    left_until: Mutex<Option<Instant>>,
    settled_within: Duration,
    acknowledged: AtomicU64,
    in_vain: AtomicU64,
}

impl Default for Purchases {
    fn default() -> Self {
        Self::settling_within(SETTLED_WITHIN)
    }
}

/// What a shopper was told of a checkout.
#[derive(Clone, Debug, Default)]
struct Told {
    wish: Wish,
    node: String,
}

/// How a shopper was told, or decided, that a checkout ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Wish {
    /// Neither: the audit ends it.
    #[default]
    Unknown,
    /// With this order.
    Bought(String),
    /// With none: its cancellation was acknowledged.
    Cancelled,
    /// By itself.
    Left,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Purchases {
    /// None yet. What is under way at the end, or is past its expiry, may take so long to end.
    #[must_use]
    pub fn settling_within(settled_within: Duration) -> Self {
        Self {
            checkouts: Mutex::default(),
            before: Mutex::default(),
            left_until: Mutex::default(),
            settled_within,
            acknowledged: AtomicU64::new(0),
            in_vain: AtomicU64::new(0),
        }
    }

    /// This product will be bought: what there is of it is written down.
    ///
    /// # Errors
    /// When its stock cannot be read.
    pub async fn sells(&self, service: &Service, sku: &str) -> io::Result<()> {
        let stock = stock(service, sku).await?;
        locked(&self.before).insert(sku.to_owned(), stock);
        Ok(())
    }

    /// A checkout was begun.
    pub fn begun(&self, checkout: &Checkout) {
        locked(&self.checkouts).push((checkout.clone(), Told::default()));
    }

    fn told(&self, checkout: &Checkout, told: Told) {
        if let Some(known) = locked(&self.checkouts).iter_mut().rev().find(|(known, _)| known.id == checkout.id) {
            known.1 = told;
        }
    }

    /// Its order was acknowledged by that node.
    pub fn bought(&self, checkout: &Checkout, order: &str, node: &str) {
        self.told(checkout, Told { wish: Wish::Bought(order.to_owned()), node: node.to_owned() });
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Its cancellation was acknowledged by that node.
    pub fn cancelled(&self, checkout: &Checkout, node: &str) {
        self.told(checkout, Told { wish: Wish::Cancelled, node: node.to_owned() });
    }

    /// Its shopper walked away; the service said that it lives so long from now on.
    pub fn left(&self, checkout: &Checkout, lives: Duration) {
        self.told(checkout, Told { wish: Wish::Left, node: String::new() });
        let until = Instant::now() + lives.min(LIFE_MAX);
        let mut left_until = locked(&self.left_until);
        *left_until = (*left_until).max(Some(until));
    }

    /// Until when what was left so far, or is held now, should be back.
    #[must_use]
    pub fn back_by(&self) -> Instant {
        self.left_back_by().max(Instant::now() + self.settled_within)
    }

    /// Until when what was left so far should be back.
    #[must_use]
    pub fn left_back_by(&self) -> Instant {
        locked(&self.left_until).map_or_else(Instant::now, |until| until + self.settled_within)
    }

    /// Somebody waited for as long as that and got nothing.
    pub fn waited_in_vain(&self) {
        self.in_vain.fetch_add(1, Ordering::Relaxed);
    }

    /// How many orders were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether anything was to be bought at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        locked(&self.before).is_empty()
    }

    /// Ends every checkout that is open, waits for those that were left, reads all of them and their orders through another
    /// node, and holds them against stock and bank. Nobody may be shopping any more.
    ///
    /// # Errors
    /// When stock or book cannot be read.
    pub async fn audit(&self, service: &Arc<Service>) -> io::Result<Reconciled> {
        let checkouts = std::mem::take(&mut *locked(&self.checkouts));
        let mut found = Reconciled { checkouts: checkouts.len() as u64, ..Reconciled::default() };
        let until = self.back_by();
        let (mut left, mut reading, mut orders) = (checkouts.into_iter(), JoinSet::new(), Vec::new());
        let (mut begun, mut ended_by_audit) = (BTreeSet::new(), 0);
        loop {
            while reading.len() < READERS
                && let Some((checkout, told)) = left.next()
            {
                begun.insert(checkout.id.clone());
                found.acknowledged += u64::from(matches!(told.wish, Wish::Bought(_)));
                found.left += u64::from(told.wish == Wish::Left);
                reading.spawn(settled(Arc::clone(service), checkout, told, until));
            }
            match reading.join_next().await {
                Some(Ok((checkout, told, Ok(ended)))) => {
                    compare::compare_end(&mut found, &checkout, &told, &ended);
                    ended_by_audit += u64::from(ended.by_audit);
                    orders.extend(ended.order);
                }
                Some(Ok((_, _, Err(why)))) => {
                    found.unread += 1;
                    found.tell(why);
                }
                Some(Err(_)) => found.unread += 1,
                None => break,
            }
        }
        found.orders = orders.len() as u64;
        self.compare_money(service, &mut found, &begun, &orders, until).await?;
        let available = self.compare_stock(service, &mut found, &orders, until).await?;
        // What the audit itself gave back came too late for anybody.
        let unserved = self.in_vain.load(Ordering::Relaxed).min(available.saturating_sub(ended_by_audit));
        if unserved > 0 {
            found.unserved = unserved;
            found.tell(format!("{unserved} shoppers got nothing, and {available} units are to be had"));
        }
        Ok(found)
    }

    /// Money is given back a moment after its checkout has ended: differences count once time is over.
    async fn compare_money(
        &self,
        service: &Service,
        found: &mut Reconciled,
        begun: &BTreeSet<String>,
        orders: &[Order],
        until: Instant,
    ) -> io::Result<()> {
        loop {
            let mut looked = found.clone();
            compare::compare_money(&mut looked, begun, orders, &book(service).await?);
            if (looked.double_charged, looked.unpaid, looked.orphaned) == (0, 0, 0) || Instant::now() >= until {
                *found = looked;
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Goods against orders; how many can be had.
    async fn compare_stock(
        &self,
        service: &Service,
        found: &mut Reconciled,
        orders: &[Order],
        until: Instant,
    ) -> io::Result<u64> {
        let units = compare::units(orders);
        found.units = units.values().map(|units| units.bought).sum();
        let (before, mut available) = (locked(&self.before).clone(), 0);
        for (sku, before) in before {
            let units = units.get(sku.as_str()).copied().unwrap_or_default();
            let (bought, then) = (units.bought, units.leave(&before));
            let now = settled_stock(service, &sku, until, |now| now.sold == then.sold && now.on_hand == then.on_hand);
            let now = now.await?;
            let oversold = bought.saturating_sub(before.available + before.held);
            let itself = now.on_hand.abs_diff(now.available + now.held + now.sold);
            let differs = itself + now.sold.abs_diff(then.sold) + now.on_hand.abs_diff(then.on_hand);
            if now.held + oversold + differs > 0 {
                found.tell(format!("{sku}: {bought} units in orders, {before:?} before, {now:?} now"));
            }
            found.held += now.held;
            found.oversold += oversold;
            found.differs += differs;
            available += now.available;
        }
        Ok(available)
    }
}
