//! From an order to its frozen parts.

use super::frozen::{
    AddressV1, BoughtV1, DeedStateV1, DeedV1, EntryV1, LineV1, OfferV1, OrderV1, PaymentV1, PlacementV1, QuoteV1,
    ShipmentV1, TotalsV1, WorkV1,
};
use crate::{
    codec::cart::OwnerV1,
    domain::{
        GuestId,
        address::Address,
        cart::{LineId, Owner},
        order::{
            Bought, Capture, Cause, Deed, DeedState, Entry, Kind, Line, Order, Origin, Payment, Placement, Shipment,
            Totals, Work,
        },
        pricing::{Discounted, Offer, Quote},
    },
};

impl From<&Order> for OrderV1 {
    fn from(order: &Order) -> Self {
        Self {
            id: order.id.0.0,
            revision: order.revision,
            cart: order.cart.0.0,
            owner: owner(order.owner),
            currency: order.currency.bytes(),
            email: order.email.to_string(),
            address: order.address.as_ref().map(AddressV1::from),
            lines: order.lines.iter().map(LineV1::from).collect(),
            totals: TotalsV1::from(&order.totals),
            payment: PaymentV1::from(&order.payment),
            capture: capture(order.capture),
            deeds: order.deeds.iter().map(DeedV1::from).collect(),
            deed_next: order.deed_next,
            shipments: order.shipments.iter().map(ShipmentV1::from).collect(),
            history: order.history.iter().map(EntryV1::from).collect(),
            history_dropped: order.history_dropped,
            cancelled: order.cancelled.map(|cause| match cause {
                Cause::Shopper => 0,
                Cause::Shop => 1,
                Cause::CaptureRefused => 2,
            }),
            placed_at: order.placed_at.0,
            updated_at: order.updated_at.0,
        }
    }
}

impl From<&Placement> for PlacementV1 {
    fn from(placement: &Placement) -> Self {
        Self {
            checkout: placement.checkout.0.0,
            cart: placement.cart.0.0,
            owner: owner(placement.owner),
            currency: placement.currency.bytes(),
            email: placement.email.to_string(),
            address: placement.address.as_ref().map(AddressV1::from),
            lines: placement.lines.iter().map(BoughtV1::from).collect(),
            quote: QuoteV1::from(&placement.quote),
            gateway: placement.gateway.to_string(),
            reference: placement.reference.to_string(),
            authorised: placement.authorised,
            capture: capture(placement.capture),
        }
    }
}

impl From<&Quote> for QuoteV1 {
    fn from(quote: &Quote) -> Self {
        Self {
            currency: quote.currency.bytes(),
            lines: quote.lines.iter().map(|line| (line.line.0, line.subtotal, line.discount, line.tax)).collect(),
            discounts: discounts(&quote.discounts),
            offers: quote.offers.iter().map(OfferV1::from).collect(),
            option: text(quote.option.as_deref()),
            subtotal: quote.subtotal,
            discount: quote.discount,
            shipping: quote.shipping,
            tax: quote.tax,
            tax_included: quote.tax_included,
            total: quote.total,
        }
    }
}

impl From<&Address> for AddressV1 {
    fn from(address: &Address) -> Self {
        Self {
            name: address.name.to_string(),
            line1: address.line1.to_string(),
            line2: text(address.line2.as_deref()),
            city: address.city.to_string(),
            region: text(address.region.as_deref()),
            postal_code: address.postal_code.to_string(),
            country: address.country.bytes(),
        }
    }
}

impl From<&Bought> for BoughtV1 {
    fn from(bought: &Bought) -> Self {
        Self {
            line: bought.line.0,
            sku: bought.sku.to_string(),
            title: bought.title.to_string(),
            options: pairs(&bought.options),
            metadata: pairs(&bought.metadata),
            quantity: bought.quantity,
            unit_price: bought.unit_price,
            subtotal: bought.subtotal,
            discount: bought.discount,
            tax: bought.tax,
        }
    }
}

impl From<&Line> for LineV1 {
    fn from(line: &Line) -> Self {
        Self { bought: BoughtV1::from(&line.bought), fulfilled: line.fulfilled, returned: line.returned }
    }
}

impl From<&Offer> for OfferV1 {
    fn from(offer: &Offer) -> Self {
        Self { id: offer.id.to_string(), title: offer.title.to_string(), price: offer.price }
    }
}

impl From<&Totals> for TotalsV1 {
    fn from(totals: &Totals) -> Self {
        Self {
            subtotal: totals.subtotal,
            discount: totals.discount,
            discounts: discounts(&totals.discounts),
            shipping: totals.shipping,
            offer: totals.offer.as_ref().map(OfferV1::from),
            tax: totals.tax,
            tax_included: totals.tax_included,
            total: totals.total,
        }
    }
}

impl From<&Payment> for PaymentV1 {
    fn from(payment: &Payment) -> Self {
        Self {
            gateway: payment.gateway.to_string(),
            reference: payment.reference.to_string(),
            authorised: payment.authorised,
            captured: payment.captured,
            refunded: payment.refunded,
            voided: payment.voided,
        }
    }
}

impl From<&Deed> for DeedV1 {
    fn from(deed: &Deed) -> Self {
        let work = match deed.work {
            Work::Capture { amount } => WorkV1::Capture(amount),
            Work::Void => WorkV1::Void,
            Work::Refund { amount } => WorkV1::Refund(amount),
            Work::Ship { goods, quantity } => WorkV1::Ship(goods.0, quantity),
            Work::Restock { goods, quantity, from: Origin::Sold } => WorkV1::RestockSold(goods.0, quantity),
            Work::Restock { goods, quantity, from: Origin::Returned } => WorkV1::RestockReturned(goods.0, quantity),
        };
        let state = match deed.state {
            DeedState::Wanted => DeedStateV1::Wanted,
            DeedState::Remembered { since } => DeedStateV1::Remembered(since.0),
            DeedState::Forgetting => DeedStateV1::Forgetting,
        };
        Self { n: deed.n, work, state }
    }
}

impl From<&Shipment> for ShipmentV1 {
    fn from(shipment: &Shipment) -> Self {
        Self {
            n: shipment.n,
            lines: numbers(&shipment.lines),
            carrier: text(shipment.carrier.as_deref()),
            label: text(shipment.label.as_deref()),
            asked_at: shipment.asked_at.0,
            left_at: shipment.left_at.map(|at| at.0),
        }
    }
}

impl From<&Entry> for EntryV1 {
    fn from(entry: &Entry) -> Self {
        // The kind's number is its place in `Kind::ALL`, which holds every one: far fewer than 256.
        let place = Kind::ALL.iter().zip(0..).find(|(kind, _)| **kind == entry.kind);
        Self {
            at: entry.at.0,
            kind: place.map_or(u8::MAX, |(_, number)| number),
            amount: entry.amount,
            units: entry.units,
            shipment: entry.shipment,
            note: text(entry.note.as_deref()),
        }
    }
}

pub(super) fn numbers(lines: &[(LineId, u16)]) -> Vec<(u32, u16)> {
    lines.iter().map(|(id, units)| (id.0, *units)).collect()
}

pub(super) fn text(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

const fn owner(owner: Owner) -> OwnerV1 {
    let Owner::Guest(GuestId(id)) = owner;
    OwnerV1::Guest(id.0)
}

const fn capture(capture: Capture) -> u8 {
    match capture {
        Capture::AtOrder => 0,
        Capture::AtFulfilment => 1,
    }
}

fn discounts(discounts: &[Discounted]) -> Vec<(String, i64)> {
    discounts.iter().map(|discount| (discount.code.to_string(), discount.amount)).collect()
}

fn pairs(pairs: &[(Box<str>, Box<str>)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
