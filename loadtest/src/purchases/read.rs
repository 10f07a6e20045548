//! How every checkout of a run ended, and the order that came of it, as their shopper reads them.

use std::{sync::Arc, time::Instant};

use serde_json::Value;

use super::{LOOK_EVERY, Told, Wish};
use crate::{
    service::{Ask, Service},
    shop::Checkout,
};

/// An order as its shopper reads it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) checkout: String,
    pub(super) total: i64,
    pub(super) is_cancelled: bool,
    pub(super) lines: Vec<Line>,
}

/// A line of an order.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) sku: String,
    /// Units that were bought.
    pub(super) bought: u64,
    /// Units of those that have left the shop.
    pub(super) left: u64,
    /// Units of those that have come back.
    pub(super) back: u64,
}

/// How a checkout ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// With an order, if it did.
    pub(super) order: Option<Order>,
    /// Because its time was over.
    pub(super) has_expired: bool,
    /// Because the audit cancelled it: nobody else would have.
    pub(super) by_audit: bool,
}

/// A checkout once it has ended, cancelled if need be, and its order if it has one. One that its shopper left is waited
/// for instead.
pub(super) async fn settled(
    service: Arc<Service>,
    checkout: Checkout,
    told: Told,
    until: Instant,
) -> (Checkout, Told, Result<Ended, String>) {
    let ended = read_settled(&service, &checkout, &told, until).await;
    (checkout, told, ended)
}

async fn read_settled(service: &Service, checkout: &Checkout, told: &Told, until: Instant) -> Result<Ended, String> {
    let avoid = Some(told.node.as_str());
    let is_left = matches!(told.wish, Wish::Left);
    let mut by_audit = false;
    loop {
        let ask = Ask { bytes: checkout.read(), may_repeat: true };
        let mut status = String::new();
        if let Ok((answer, _)) = service.settle(&ask, Instant::now(), avoid).await.end {
            let view = answer.json();
            let ended = |order| Ended { order, has_expired: view["status"] == "expired", by_audit };
            if let Some(order) = view["order_id"].as_str() {
                return read_order(service, checkout, order, avoid, until).await.map(Some).map(ended);
            }
            status = view["status"].as_str().unwrap_or_default().to_owned();
            if matches!(status.as_str(), "cancelled" | "expired") {
                return Ok(ended(None));
            }
            if matches!(status.as_str(), "open" | "requires_action") && !is_left {
                let cancel = Ask { bytes: checkout.cancel(), may_repeat: true };
                let _looked_at_again = service.settle(&cancel, Instant::now(), None).await;
                by_audit = true;
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
    let line = |line: &Value| {
        let units = |name: &str| line[name].as_u64();
        let (left, back) = (units("fulfilled")?, units("returned")?);
        Some(Line { sku: line["sku"].as_str()?.to_owned(), bought: units("quantity")?, left, back })
    };
    Some(Order {
        id: view["id"].as_str()?.to_owned(),
        checkout: view["checkout_id"].as_str()?.to_owned(),
        total: view["totals"]["total"]["amount"].as_i64()?,
        is_cancelled: view["status"] == "cancelled",
        lines: view["lines"].as_array()?.iter().map(line).collect::<Option<_>>()?,
    })
}
