//! What operators read and do: a product's stock, and the sandbox bank's book.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::LOOK_EVERY;
use crate::{
    client::{Connection, request},
    service::Service,
};

/// How long an operator's answer may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of an operator's read, each at the next node.
const ADMIN_TRIES: usize = 30;
/// Most pages of the bank's book: beyond any run's payments.
const BOOK_PAGES_MAX: usize = 10_000;

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

/// A payment in the bank's book.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    pub(super) is_authorised: bool,
    /// It waits for its shopper, who may confirm it at any time: then its money is reserved.
    pub(super) may_yet: bool,
    pub(super) is_declined: bool,
    pub(super) amount: i64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
}

/// The bank's book, by the checkout that paid.
pub(super) type Book = BTreeMap<String, Vec<Payment>>;

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
    let present = stock(service, sku).await?;
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let change = signed(units) - signed(present.available);
    if change == 0 {
        return Ok(());
    }
    let body = format!(r#"{{"adjust":{change},"reason":"load test"}}"#);
    // What is on hand changes with each correction: the next sale's is another request, and a repeated one is not.
    let Stock { available, held, sold, on_hand } = present;
    let key = format!("set-{sku}-{available}-{held}-{sold}-{on_hand}-{units}");
    let path = format!("/admin/stock/{sku}");
    admin(service, &request("POST", &path, &[("idempotency-key", &key)], Some(&body))).await.map(drop)
}

/// The bank's book.
pub(super) async fn book(service: &Service) -> io::Result<Book> {
    let (mut book, mut path) = (Book::new(), "/admin/sandbox/payments".to_owned());
    for _ in 0..BOOK_PAGES_MAX {
        let page = admin(service, &request("GET", &path, &[], None)).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let Some((checkout, _)) = item["key"].as_str().and_then(|key| key.split_once('-')) else { continue };
            book.entry(checkout.to_owned()).or_default().push(payment(item));
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/admin/sandbox/payments?cursor={cursor}"),
            None => return Ok(book),
        }
    }
    Err(io::Error::other("the bank's book has no end"))
}

fn payment(item: &Value) -> Payment {
    let amount = |name: &str| item[name].as_i64().unwrap_or(0);
    Payment {
        is_authorised: item["state"] == "authorised" || item["state"] == "late",
        may_yet: item["state"] == "action_required",
        is_declined: item["state"] == "declined",
        amount: amount("amount"),
        captured: amount("captured"),
        refunded: amount("refunded"),
    }
}

/// A product's stock once nothing is held and `is_settled` is content with it, or as it is when time is over.
pub(super) async fn settled_stock(
    service: &Service,
    sku: &str,
    until: Instant,
    is_settled: impl Fn(&Stock) -> bool,
) -> io::Result<Stock> {
    loop {
        let now = stock(service, sku).await?;
        if (now.held == 0 && is_settled(&now)) || Instant::now() >= until {
            return Ok(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
