//! Folds what happened into the state. Total: an event that does not fit changes nothing but time and revision.

use super::{
    DEED_FIRST, HISTORY_MAX, NOTE_BYTES_MAX,
    deed::{Deed, DeedState, Done, Work},
    event::{Change, Event},
    history::{Entry, Kind},
    placement::Placement,
    state::{Line, Order, Payment, Shipment, Totals},
};
use crate::domain::{OrderId, UnixMillis, cart::LineId};

/// Folds `event` into `order`; only [`Change::Placed`] makes one out of nothing.
pub fn evolve(order: &mut Option<Order>, event: &Event) {
    if let Change::Placed(placement) = &event.change {
        *order = Some(placed(placement, event.at));
    }
    let Some(order) = order else { return };
    order.updated_at = event.at;
    if change(order, event) {
        order.revision = order.revision.saturating_add(1);
    }
    for work in &event.wants {
        order.deeds.push(Deed { n: order.deed_next, work: *work, state: DeedState::Wanted });
        order.deed_next = order.deed_next.saturating_add(1);
    }
}

fn placed(placement: &Placement, at: UnixMillis) -> Order {
    Order {
        id: OrderId::of(placement.checkout),
        revision: 0,
        cart: placement.cart,
        owner: placement.owner,
        currency: placement.currency,
        email: placement.email.clone(),
        address: placement.address.clone(),
        lines: placement
            .lines
            .iter()
            .map(|bought| Line { bought: bought.clone(), fulfilled: 0, returned: 0 })
            .collect(),
        totals: Totals::from(&placement.quote),
        payment: Payment {
            gateway: placement.gateway.clone(),
            reference: placement.reference.clone(),
            authorised: placement.authorised,
            captured: 0,
            refunded: 0,
            voided: false,
        },
        capture: placement.capture,
        deeds: Vec::new(),
        deed_next: DEED_FIRST,
        shipments: Vec::new(),
        history: Vec::new(),
        history_dropped: 0,
        cancelled: None,
        placed_at: at,
        updated_at: at,
    }
}

/// Whether clients can see it.
fn change(order: &mut Order, event: &Event) -> bool {
    let at = event.at;
    match &event.change {
        Change::Placed(placement) => {
            tell(order, Entry { amount: Some(placement.quote.total), ..entry(at, Kind::Placed) })
        }
        Change::CaptureAsked => {
            tell(order, Entry { amount: Some(order.totals.total), ..entry(at, Kind::CaptureAsked) })
        }
        Change::Fulfilled { lines, carrier, label, leaves } => {
            let n = u32::try_from(order.shipments.len()).unwrap_or(u32::MAX).saturating_add(1);
            let (lines, carrier, label) = (lines.clone(), carrier.clone(), label.clone());
            order.shipments.push(Shipment { n, lines, carrier, label, asked_at: at, left_at: None });
            if *leaves { leave(order, at) } else { parcel(order, at, Kind::FulfilmentAsked, n) }
        }
        Change::WaitingShipped => leave(order, at),
        Change::Cancelled { cause, reason } => {
            order.cancelled = Some(*cause);
            order.shipments.retain(|shipment| shipment.left_at.is_some());
            let note = reason.as_deref().map(note);
            tell(order, Entry { note, ..entry(at, Kind::Cancelled) })
        }
        Change::Returned { lines, refund } => {
            for (id, units) in lines {
                if let Some(line) = line(order, *id) {
                    line.returned = line.returned.saturating_add(*units);
                }
            }
            let (amount, units) = (Some(*refund), Some(units(lines)));
            tell(order, Entry { amount, units, ..entry(at, Kind::Returned) })
        }
        Change::RefundAsked { amount } => tell(order, Entry { amount: Some(*amount), ..entry(at, Kind::RefundAsked) }),
        Change::RefundLearnt { amount } => {
            order.payment.refunded = order.payment.refunded.saturating_add(*amount);
            let note = Some("at the gateway".into());
            tell(order, Entry { amount: Some(*amount), note, ..entry(at, Kind::Refunded) })
        }
        Change::Settled { n, done, once } => settled(order, at, *n, done, *once),
        Change::ForgetDue { until } => {
            for deed in &mut order.deeds {
                if matches!(deed.state, DeedState::Remembered { since } if since <= *until) {
                    deed.state = DeedState::Forgetting;
                }
            }
            false
        }
        Change::Forgotten { n } => {
            order.deeds.retain(|deed| deed.n != *n);
            false
        }
    }
}

/// Every parcel that waits leaves.
fn leave(order: &mut Order, at: UnixMillis) -> bool {
    let waiting = order.shipments.iter_mut().filter(|shipment| shipment.left_at.is_none());
    let parcels: Vec<(u32, Vec<(LineId, u16)>)> = waiting
        .map(|shipment| {
            shipment.left_at = Some(at);
            (shipment.n, shipment.lines.clone())
        })
        .collect();
    for (n, lines) in parcels {
        for (id, units) in lines {
            if let Some(line) = line(order, id) {
                line.fulfilled = line.fulfilled.saturating_add(units);
            }
        }
        parcel(order, at, Kind::Fulfilled, n);
    }
    true
}

fn parcel(order: &mut Order, at: UnixMillis, kind: Kind, n: u32) -> bool {
    let lines = order.shipments.iter().find(|shipment| shipment.n == n).map(|shipment| units(&shipment.lines));
    tell(order, Entry { units: lines, shipment: Some(n), ..entry(at, kind) })
}

fn settled(order: &mut Order, at: UnixMillis, n: u32, done: &Done, once: bool) -> bool {
    let is_it = |deed: &Deed| deed.n == n && deed.state == DeedState::Wanted;
    let Some(position) = order.deeds.iter().position(is_it) else { return false };
    let work = order.deeds[position].work;
    if work.is_of_stock() && *done == Done::Yes {
        // No copy can come that the stock would have to know.
        order.deeds[position].state = if once { DeedState::Forgetting } else { DeedState::Remembered { since: at } };
        return false;
    }
    order.deeds.remove(position);
    let payment = &mut order.payment;
    let (kind, amount, units) = match (work, done) {
        (Work::Capture { amount }, Done::Yes) => {
            payment.captured = payment.captured.saturating_add(amount);
            (Kind::Captured, Some(amount), None)
        }
        (Work::Refund { amount }, Done::Yes) => {
            payment.refunded = payment.refunded.saturating_add(amount);
            (Kind::Refunded, Some(amount), None)
        }
        (Work::Void, Done::Yes) => {
            payment.voided = true;
            (Kind::Voided, Some(payment.authorised), None)
        }
        (Work::Capture { amount }, Done::Refused { .. }) => (Kind::CaptureRefused, Some(amount), None),
        (Work::Refund { amount }, Done::Refused { .. }) => (Kind::RefundRefused, Some(amount), None),
        (Work::Void, Done::Refused { .. }) => (Kind::VoidRefused, Some(payment.authorised), None),
        (Work::Ship { quantity, .. } | Work::Restock { quantity, .. }, _) => (Kind::StockRefused, None, Some(quantity)),
    };
    let note = match done {
        Done::Yes => None,
        Done::Refused { reason } => Some(note(reason)),
    };
    tell(order, Entry { amount, units, note, ..entry(at, kind) })
}

const fn entry(at: UnixMillis, kind: Kind) -> Entry {
    Entry { at, kind, amount: None, units: None, shipment: None, note: None }
}

/// Adds to the history, whose oldest entry goes when it is full.
fn tell(order: &mut Order, entry: Entry) -> bool {
    if order.history.len() >= HISTORY_MAX {
        order.history.remove(0);
        order.history_dropped = order.history_dropped.saturating_add(1);
    }
    order.history.push(entry);
    true
}

fn line(order: &mut Order, id: LineId) -> Option<&mut Line> {
    order.lines.iter_mut().find(|line| line.bought.line == id)
}

fn units(lines: &[(LineId, u16)]) -> u32 {
    lines.iter().map(|(_, units)| u32::from(*units)).sum()
}

/// As much of a reason as the history keeps.
fn note(reason: &str) -> Box<str> {
    reason[..reason.floor_char_boundary(NOTE_BYTES_MAX)].into()
}
