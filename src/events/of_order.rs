//! What the rest of the shop is told of a change to an order.

use super::{field::Word, kinds::Data};
use crate::domain::{
    cart::LineId,
    order::{Cause, Change, Event, Order},
};

/// What must be known of an order from before an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderBefore {
    captured: i64,
    refunded: i64,
    /// Parcels that had left, where the event may let others leave.
    left: Vec<u32>,
}

impl OrderBefore {
    /// What `event` needs known of `order`.
    #[must_use]
    pub fn of(event: &Event, order: Option<&Order>) -> Self {
        let Some(order) = order else { return Self::default() };
        let (captured, refunded) = (order.payment.captured, order.payment.refunded);
        let may_ship = matches!(event.change, Change::Fulfilled { .. } | Change::WaitingShipped);
        let left = order.shipments.iter().filter(|shipment| may_ship && shipment.left_at.is_some());
        Self { captured, refunded, left: left.map(|shipment| shipment.n).collect() }
    }
}

/// Adds the event's data to what the same command has told so far. Neither the address nor the reasons that people wrote
/// are in it.
pub fn of_order(event: &Event, before: &OrderBefore, after: Option<&Order>, told: &mut Vec<Data>) {
    let Some(order) = after else { return };
    let currency = order.currency;
    let status = || Word::new(order.status().as_str());
    match &event.change {
        Change::Placed(_) => told.push(Data::OrderPlaced {
            number: Word::new(&order.number().to_string()),
            checkout: order.checkout(),
            currency,
            total: order.totals.total,
            lines: u32::try_from(order.lines.len()).unwrap_or(u32::MAX),
        }),
        Change::Fulfilled { .. } | Change::WaitingShipped => {
            let left_now = order.shipments.iter().filter(|one| one.left_at.is_some() && !before.left.contains(&one.n));
            told.extend(left_now.map(|one| {
                let quantity = units(&one.lines);
                Data::OrderFulfilled { shipment: one.n, quantity, status: status() }
            }));
        }
        Change::Cancelled { cause, .. } => {
            let reason = match cause {
                Cause::Shopper => "shopper",
                Cause::Shop => "shop",
                Cause::CaptureRefused => "capture_refused",
            };
            told.push(Data::OrderCancelled { reason: Word::new(reason) });
        }
        Change::Returned { lines, .. } => {
            told.push(Data::OrderReturned { quantity: units(lines), status: status() });
        }
        Change::Settled { .. } | Change::RefundLearnt { .. } => {
            let (captured, refunded) = (order.payment.captured, order.payment.refunded);
            if captured > before.captured {
                told.push(Data::OrderPaid { currency, amount: captured - before.captured });
            }
            if refunded > before.refunded {
                told.push(Data::OrderRefunded { currency, amount: refunded - before.refunded, refunded });
            }
        }
        Change::CaptureAsked | Change::RefundAsked { .. } | Change::ForgetDue { .. } | Change::Forgotten { .. } => {}
    }
}

fn units(lines: &[(LineId, u16)]) -> u32 {
    lines.iter().map(|(_, units)| u32::from(*units)).sum()
}
