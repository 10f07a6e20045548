//! What became of every purchase, kept apart from the service: at the end each checkout and each order is read again
//! through another node, and held against the stock and against the sandbox bank's book.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    client::{Connection, request},
    service::{Ask, Service},
    shop::Checkout,
};

/// Checkouts that are read at once.
const READERS: usize = 32;
/// How long checkouts that are under way, and what is held, may take to end: a node that died is replaced in seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long an operator's answer may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of an operator's read, each at the next node.
const ADMIN_TRIES: usize = 30;
/// Most pages of the bank's book: beyond any run's payments.
const BOOK_PAGES_MAX: usize = 10_000;
/// Most differences that are told one by one.
const TOLD_MAX: usize = 20;

/// Every purchase of a run.
#[derive(Debug, Default)]
pub struct Purchases {
    checkouts: Mutex<Vec<(Checkout, Told)>>,
    /// What there was of each product that is bought, before anybody came.
    before: Mutex<BTreeMap<String, Stock>>,
    acknowledged: AtomicU64,
}

/// What a shopper was told of a checkout.
#[derive(Clone, Debug, Default)]
struct Told {
    /// The order, if one was acknowledged.
    order: Option<String>,
    node: String,
}

/// A product's stock as operators read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// What can be had.
    pub available: u64,
    /// What is set aside.
    pub held: u64,
    /// What was bought and is here still.
    pub sold: u64,
    /// All of it.
    pub on_hand: u64,
}

/// An order as its shopper reads it.
#[derive(Clone, Debug)]
struct Order {
    id: String,
    checkout: String,
    total: i64,
    is_cancelled: bool,
    units: Vec<(String, u64)>,
}

/// A payment in the bank's book.
#[derive(Clone, Debug)]
struct Payment {
    is_authorised: bool,
    amount: i64,
    captured: i64,
    refunded: i64,
}

/// What an audit of purchases found; everything after `money` should be 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Checkouts that were begun.
    pub checkouts: u64,
    /// Orders that are there.
    pub orders: u64,
    /// Orders that were acknowledged.
    pub acknowledged: u64,
    /// Units in orders that stand.
    pub units: u64,
    /// Minor units that the bank took and has not given back.
    pub money: i64,
    /// Acknowledged orders that are not there, or are others.
    pub lost: u64,
    /// Units sold beyond what there was.
    pub oversold: u64,
    /// Checkouts paid more than once, or more than their orders cost.
    pub double_charged: u64,
    /// Orders without their payment.
    pub unpaid: u64,
    /// Payments without an order.
    pub orphaned: u64,
    /// Units that are still set aside.
    pub held: u64,
    /// Units by which a stock differs from itself or from the orders.
    pub differs: u64,
    /// Checkouts, orders and stocks that could not be read: nothing is known of them.
    pub unread: u64,
    /// The first differences, for people.
    pub told: Vec<String>,
}

impl Reconciled {
    /// Whether goods, money and orders fit each other, and everything could be read.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        [
            self.lost,
            self.oversold,
            self.double_charged,
            self.unpaid,
            self.orphaned,
            self.held,
            self.differs,
            self.unread,
        ] == [0; 8]
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }
}

impl fmt::Display for Reconciled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "orders {} · units {} · money {}.{:02} · lost {} · oversold {} · double charged {} · orders without payment {} · \
             payments without order {} · still held {} · stock differs {}",
            self.orders,
            self.units,
            self.money / 100,
            self.money % 100,
            self.lost,
            self.oversold,
            self.double_charged,
            self.unpaid,
            self.orphaned,
            self.held,
            self.differs
        )?;
        if self.unread > 0 {
            write!(f, " · not read {}", self.unread)?;
        }
        self.told.iter().try_for_each(|told| write!(f, "\n  {told}"))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An operator's request, at any node that answers.
///
/// # Errors
/// When none does.
pub async fn admin(service: &Service, request: &[u8]) -> io::Result<Value> {
    let mut why = io::Error::other("no node has an admin listener that is known: say --admin");
    for _ in 0..ADMIN_TRIES {
        let Some(admin) = service.nodes.next(None).and_then(|node| node.admin.clone()) else { return Err(why) };
        let asked = async { Connection::open(&admin).await?.ask(request).await };
        match tokio::time::timeout(ADMIN_TIMEOUT, asked).await {
            Ok(Ok(answer)) if answer.status == 200 => return Ok(answer.json()),
            Ok(Ok(answer)) => {
                why = io::Error::other(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            Ok(Err(error)) => why = error,
            Err(_) => why = io::ErrorKind::TimedOut.into(),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(why)
}

/// A product's stock.
///
/// # Errors
/// When no node tells.
pub async fn stock(service: &Service, sku: &str) -> io::Result<Stock> {
    let told = admin(service, &request("GET", &format!("/admin/stock/{sku}"), &[], None)).await?;
    let units = |name: &str| told[name].as_u64().ok_or_else(|| io::Error::other(format!("a stock without {name}")));
    Ok(Stock { available: units("available")?, held: units("held")?, sold: units("sold")?, on_hand: units("on_hand")? })
}

/// Has so many units of a product to be had, whatever there was.
///
/// # Errors
/// When no node does so.
pub async fn set_available(service: &Service, sku: &str, units: u64) -> io::Result<()> {
    let present = stock(service, sku).await?.available;
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let change = signed(units) - signed(present);
    if change == 0 {
        return Ok(());
    }
    let body = format!(r#"{{"adjust":{change},"reason":"load test"}}"#);
    let key = format!("set-{sku}-{present}-{units}");
    let path = format!("/admin/stock/{sku}");
    admin(service, &request("POST", &path, &[("idempotency-key", &key)], Some(&body))).await.map(drop)
}

impl Purchases {
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

    /// Its order was acknowledged by that node.
    pub fn bought(&self, checkout: &Checkout, order: &str, node: &str) {
        let told = Told { order: Some(order.to_owned()), node: node.to_owned() };
        if let Some(known) = locked(&self.checkouts).iter_mut().rev().find(|(known, _)| known.id == checkout.id) {
            known.1 = told;
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
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

    /// Ends every checkout that is open, reads all of them and their orders through another node, and holds them against
    /// stock and bank. Nobody may be shopping any more.
    ///
    /// # Errors
    /// When stock or book cannot be read.
    pub async fn audit(&self, service: &Arc<Service>) -> io::Result<Reconciled> {
        let checkouts = std::mem::take(&mut *locked(&self.checkouts));
        let mut found = Reconciled { checkouts: checkouts.len() as u64, ..Reconciled::default() };
        let until = Instant::now() + SETTLED_WITHIN;
        let (mut left, mut reading, mut orders) = (checkouts.into_iter(), JoinSet::new(), Vec::new());
        let mut begun = BTreeSet::new();
        loop {
            while reading.len() < READERS
                && let Some((checkout, told)) = left.next()
            {
                begun.insert(checkout.id.clone());
                found.acknowledged += u64::from(told.order.is_some());
                reading.spawn(settled(Arc::clone(service), checkout, told, until));
            }
            match reading.join_next().await {
                Some(Ok((told, Ok(order)))) => {
                    if let Some(acknowledged) = told.order
                        && order.as_ref().is_none_or(|order| order.id != acknowledged)
                    {
                        found.lost += 1;
                        found.tell(format!("{acknowledged} was acknowledged, found {order:?}"));
                    }
                    orders.extend(order);
                }
                Some(Ok((_, Err(why)))) => {
                    found.unread += 1;
                    found.tell(why);
                }
                Some(Err(_)) => found.unread += 1,
                None => break,
            }
        }
        found.orders = orders.len() as u64;
        let book = book(service).await?;
        compare_money(&mut found, &begun, &orders, &book);
        self.compare_stock(service, &mut found, &orders, until).await?;
        Ok(found)
    }

    async fn compare_stock(
        &self,
        service: &Service,
        found: &mut Reconciled,
        orders: &[Order],
        until: Instant,
    ) -> io::Result<()> {
        let mut units = BTreeMap::<&str, u64>::new();
        for (sku, quantity) in orders.iter().filter(|order| !order.is_cancelled).flat_map(|order| &order.units) {
            *units.entry(sku).or_default() += quantity;
        }
        found.units = units.values().sum();
        let before = locked(&self.before).clone();
        for (sku, before) in before {
            let bought = units.get(sku.as_str()).copied().unwrap_or(0);
            let mut now = stock(service, &sku).await?;
            while (now.held > 0 || now.sold != before.sold + bought) && Instant::now() < until {
                tokio::time::sleep(LOOK_EVERY).await;
                now = stock(service, &sku).await?;
            }
            let oversold = bought.saturating_sub(before.available + before.held);
            let itself = now.on_hand.abs_diff(now.available + now.held + now.sold);
            let differs = itself + now.sold.abs_diff(before.sold + bought) + now.on_hand.abs_diff(before.on_hand);
            if now.held + oversold + differs > 0 {
                found.tell(format!("{sku}: {bought} units in orders, {before:?} before, {now:?} now"));
            }
            found.held += now.held;
            found.oversold += oversold;
            found.differs += differs;
        }
        Ok(())
    }
}

/// Money against orders: each order has exactly its payment, and no checkout without an order has one.
fn compare_money(
    found: &mut Reconciled,
    begun: &BTreeSet<String>,
    orders: &[Order],
    book: &BTreeMap<String, Vec<Payment>>,
) {
    let paid = |checkout: &str| book.get(checkout.trim_start_matches("chk_")).map(Vec::as_slice).unwrap_or_default();
    let standing = |checkout: &str| {
        let payments = paid(checkout).iter().filter(|payment| payment.is_authorised);
        payments
            .filter(|payment| payment.captured == 0 || payment.refunded < payment.captured)
            .cloned()
            .collect::<Vec<_>>()
    };
    for checkout in begun {
        let payments = standing(checkout);
        found.money += payments.iter().map(|payment| payment.captured - payment.refunded).sum::<i64>();
        let order = orders.iter().find(|order| order.checkout == *checkout && !order.is_cancelled);
        let reserved = payments.iter().map(|payment| payment.amount).sum::<i64>();
        match order {
            Some(order) if payments.is_empty() || reserved < order.total => {
                found.unpaid += 1;
                found.tell(format!("{} costs {}, found {payments:?}", order.id, order.total));
            }
            Some(order) if payments.len() > 1 || reserved > order.total => {
                found.double_charged += 1;
                found.tell(format!("{} costs {}, found {payments:?}", order.id, order.total));
            }
            None if !payments.is_empty() => {
                found.orphaned += 1;
                found.tell(format!("{checkout} has no order, found {payments:?}"));
            }
            _ => {}
        }
    }
}

/// A checkout once it has ended, cancelled if need be, and its order if it has one.
async fn settled(
    service: Arc<Service>,
    checkout: Checkout,
    told: Told,
    until: Instant,
) -> (Told, Result<Option<Order>, String>) {
    let found = read_settled(&service, &checkout, &told, until).await;
    (told, found)
}

async fn read_settled(
    service: &Service,
    checkout: &Checkout,
    told: &Told,
    until: Instant,
) -> Result<Option<Order>, String> {
    let avoid = Some(told.node.as_str());
    loop {
        let ask = Ask { bytes: checkout.read(), may_repeat: true };
        let mut status = String::new();
        if let Ok((answer, _)) = service.settle(&ask, Instant::now(), avoid).await.end {
            let view = answer.json();
            if let Some(order) = view["order_id"].as_str() {
                return read_order(service, checkout, order, avoid, until).await.map(Some);
            }
            status = view["status"].as_str().unwrap_or_default().to_owned();
            if matches!(status.as_str(), "cancelled" | "expired") {
                return Ok(None);
            }
            if matches!(status.as_str(), "open" | "requires_action") {
                let cancel = Ask { bytes: checkout.cancel(), may_repeat: true };
                let _looked_at_again = service.settle(&cancel, Instant::now(), None).await;
                continue;
            }
        }
        if Instant::now() >= until {
            return Err(format!("{} does not end: {status:?}", checkout.id));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read_order(
    service: &Service,
    checkout: &Checkout,
    id: &str,
    avoid: Option<&str>,
    until: Instant,
) -> Result<Order, String> {
    loop {
        let ask = Ask { bytes: checkout.order(id), may_repeat: true };
        match service.settle(&ask, Instant::now(), avoid).await.end {
            Ok((answer, _)) => {
                let view = answer.json();
                // The money is taken a moment after the order is made.
                let is_under_way = view["status"] == "placed" && Instant::now() < until;
                if !is_under_way {
                    return order(&view).ok_or_else(|| format!("{id} is no order: {view}"));
                }
            }
            // Told of, and gone.
            Err((failure, _)) if !failure.may_pass() => return Err(format!("{id}: {failure}")),
            Err((failure, _)) if Instant::now() >= until => return Err(format!("{id} cannot be read: {failure}")),
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn order(view: &Value) -> Option<Order> {
    let line = |line: &Value| Some((line["sku"].as_str()?.to_owned(), line["quantity"].as_u64()?));
    Some(Order {
        id: view["id"].as_str()?.to_owned(),
        checkout: view["checkout_id"].as_str()?.to_owned(),
        total: view["totals"]["total"]["amount"].as_i64()?,
        is_cancelled: view["status"] == "cancelled",
        units: view["lines"].as_array()?.iter().map(line).collect::<Option<_>>()?,
    })
}

/// The bank's book, by the checkout that paid.
async fn book(service: &Service) -> io::Result<BTreeMap<String, Vec<Payment>>> {
    let (mut book, mut path) = (BTreeMap::<_, Vec<_>>::new(), "/admin/sandbox/payments".to_owned());
    for _ in 0..BOOK_PAGES_MAX {
        let page = admin(service, &request("GET", &path, &[], None)).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let Some((checkout, _)) = item["key"].as_str().and_then(|key| key.split_once('-')) else { continue };
            let amount = |name: &str| item[name].as_i64().unwrap_or(0);
            book.entry(checkout.to_owned()).or_default().push(Payment {
                is_authorised: item["state"] == "authorised" || item["state"] == "late",
                amount: amount("amount"),
                captured: amount("captured"),
                refunded: amount("refunded"),
            });
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/admin/sandbox/payments?cursor={cursor}"),
            None => return Ok(book),
        }
    }
    Err(io::Error::other("the bank's book has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(total: i64) -> Order {
        let units = vec![("mug".to_owned(), 1)];
        Order { id: "ord_1".to_owned(), checkout: "chk_A".to_owned(), total, is_cancelled: false, units }
    }

    fn money(orders: &[Order], payments: &[(bool, i64, i64)]) -> (u64, u64, u64) {
        let payment = |&(is_authorised, amount, captured): &(bool, i64, i64)| Payment {
            is_authorised,
            amount,
            captured,
            refunded: 0,
        };
        let book = BTreeMap::from([("A".to_owned(), payments.iter().map(payment).collect())]);
        let mut found = Reconciled::default();
        compare_money(&mut found, &BTreeSet::from(["chk_A".to_owned()]), orders, &book);
        (found.double_charged, found.unpaid, found.orphaned)
    }

    #[test]
    fn an_order_has_exactly_its_payment() {
        assert_eq!(money(&[order(10)], &[(false, 10, 0), (true, 10, 10)]), (0, 0, 0), "a declined try costs nothing");
        assert_eq!(money(&[order(10)], &[(true, 10, 10), (true, 10, 0)]), (1, 0, 0));
        assert_eq!(money(&[order(10)], &[(true, 12, 12)]), (1, 0, 0));
        assert_eq!(money(&[order(10)], &[(false, 10, 0)]), (0, 1, 0));
        assert_eq!(money(&[], &[(true, 10, 0)]), (0, 0, 1));
        assert_eq!(money(&[], &[]), (0, 0, 0));
    }
}
