//! From frozen parts to an order, refusing what cannot be one.

use super::{
    frozen::{
        AddressV1, BoughtV1, DeedStateV1, DeedV1, EntryV1, LineV1, OfferV1, OrderV1, PaymentV1, PlacementV1, QuoteV1,
        ShipmentV1, TotalsV1, WorkV1,
    },
    malformed,
};
use crate::{
    codec::{cart::OwnerV1, envelope::DecodeError},
    domain::{
        CartId, CheckoutId, Currency, GuestId, Id, OrderId, UnixMillis,
        address::{Address, Country},
        cart::{LineId, Owner},
        order::{
            Bought, Capture, Cause, Deed, DeedState, Entry, Kind, Line, NOTE_BYTES_MAX, Order, Origin, Payment,
            Placement, SHIPMENTS_MAX, Shipment, Totals, Work,
        },
        pricing::{Discounted, Offer, Priced, Quote},
    },
};

impl TryFrom<OrderV1> for Order {
    type Error = DecodeError;

    fn try_from(v1: OrderV1) -> Result<Self, DecodeError> {
        if v1.shipments.len() > SHIPMENTS_MAX {
            return Err(malformed("more shipments than an order may have"));
        }
        let order = Self {
            id: OrderId(Id(v1.id)),
            revision: v1.revision,
            cart: CartId(Id(v1.cart)),
            owner: owner(v1.owner),
            currency: currency(v1.currency)?,
            email: v1.email.into(),
            address: v1.address.map(Address::try_from).transpose()?,
            lines: v1.lines.into_iter().map(Line::from).collect(),
            totals: Totals::from(v1.totals),
            payment: Payment::from(v1.payment),
            capture: capture(v1.capture)?,
            deeds: v1.deeds.into_iter().map(Deed::from).collect(),
            deed_next: v1.deed_next,
            shipments: v1.shipments.into_iter().map(Shipment::from).collect(),
            history: v1.history.into_iter().map(Entry::try_from).collect::<Result<_, _>>()?,
            history_dropped: v1.history_dropped,
            cancelled: match v1.cancelled {
                None => None,
                Some(0) => Some(Cause::Shopper),
                Some(1) => Some(Cause::Shop),
                Some(2) => Some(Cause::CaptureRefused),
                Some(_) => return Err(malformed("a cause that no cancellation has")),
            },
            placed_at: UnixMillis(v1.placed_at),
            updated_at: UnixMillis(v1.updated_at),
        };
        order.check().map_err(malformed)?;
        Ok(order)
    }
}

impl TryFrom<PlacementV1> for Placement {
    type Error = DecodeError;

    fn try_from(v1: PlacementV1) -> Result<Self, DecodeError> {
        Ok(Self {
            checkout: CheckoutId(Id(v1.checkout)),
            cart: CartId(Id(v1.cart)),
            owner: owner(v1.owner),
            currency: currency(v1.currency)?,
            email: v1.email.into(),
            address: v1.address.map(Address::try_from).transpose()?,
            lines: v1.lines.into_iter().map(Bought::from).collect(),
            quote: Quote::try_from(v1.quote)?,
            gateway: v1.gateway.into(),
            reference: v1.reference.into(),
            authorised: v1.authorised,
            capture: capture(v1.capture)?,
        })
    }
}

impl TryFrom<QuoteV1> for Quote {
    type Error = DecodeError;

    fn try_from(v1: QuoteV1) -> Result<Self, DecodeError> {
        let priced = |(line, subtotal, discount, tax)| Priced { line: LineId(line), subtotal, discount, tax };
        Ok(Self {
            currency: currency(v1.currency)?,
            lines: v1.lines.into_iter().map(priced).collect(),
            discounts: discounts(v1.discounts),
            offers: v1.offers.into_iter().map(Offer::from).collect(),
            option: text(v1.option),
            subtotal: v1.subtotal,
            discount: v1.discount,
            shipping: v1.shipping,
            tax: v1.tax,
            tax_included: v1.tax_included,
            total: v1.total,
        })
    }
}

impl TryFrom<AddressV1> for Address {
    type Error = DecodeError;

    fn try_from(v1: AddressV1) -> Result<Self, DecodeError> {
        let country = std::str::from_utf8(&v1.country).ok().and_then(Country::parse);
        Ok(Self {
            name: v1.name.into(),
            line1: v1.line1.into(),
            line2: text(v1.line2),
            city: v1.city.into(),
            region: text(v1.region),
            postal_code: v1.postal_code.into(),
            country: country.ok_or_else(|| malformed("the country is no ISO 3166-1 code"))?,
        })
    }
}

impl From<BoughtV1> for Bought {
    fn from(v1: BoughtV1) -> Self {
        Self {
            line: LineId(v1.line),
            sku: v1.sku.into(),
            title: v1.title.into(),
            options: pairs(v1.options),
            metadata: pairs(v1.metadata),
            quantity: v1.quantity,
            unit_price: v1.unit_price,
            subtotal: v1.subtotal,
            discount: v1.discount,
            tax: v1.tax,
        }
    }
}

impl From<LineV1> for Line {
    fn from(v1: LineV1) -> Self {
        Self { bought: Bought::from(v1.bought), fulfilled: v1.fulfilled, returned: v1.returned }
    }
}

impl From<OfferV1> for Offer {
    fn from(v1: OfferV1) -> Self {
        Self { id: v1.id.into(), title: v1.title.into(), price: v1.price }
    }
}

impl From<TotalsV1> for Totals {
    fn from(v1: TotalsV1) -> Self {
        Self {
            subtotal: v1.subtotal,
            discount: v1.discount,
            discounts: discounts(v1.discounts),
            shipping: v1.shipping,
            offer: v1.offer.map(Offer::from),
            tax: v1.tax,
            tax_included: v1.tax_included,
            total: v1.total,
        }
    }
}

impl From<PaymentV1> for Payment {
    fn from(v1: PaymentV1) -> Self {
        Self {
            gateway: v1.gateway.into(),
            reference: v1.reference.into(),
            authorised: v1.authorised,
            captured: v1.captured,
            refunded: v1.refunded,
            voided: v1.voided,
        }
    }
}

impl From<DeedV1> for Deed {
    fn from(v1: DeedV1) -> Self {
        let restock = |goods, quantity, from| Work::Restock { goods: LineId(goods), quantity, from };
        let work = match v1.work {
            WorkV1::Capture(amount) => Work::Capture { amount },
            WorkV1::Void => Work::Void,
            WorkV1::Refund(amount) => Work::Refund { amount },
            WorkV1::Ship(goods, quantity) => Work::Ship { goods: LineId(goods), quantity },
            WorkV1::RestockSold(goods, quantity) => restock(goods, quantity, Origin::Sold),
            WorkV1::RestockReturned(goods, quantity) => restock(goods, quantity, Origin::Returned),
        };
        let state = match v1.state {
            DeedStateV1::Wanted => DeedState::Wanted,
            DeedStateV1::Remembered(since) => DeedState::Remembered { since: UnixMillis(since) },
            DeedStateV1::Forgetting => DeedState::Forgetting,
        };
        Self { n: v1.n, work, state }
    }
}

impl From<ShipmentV1> for Shipment {
    fn from(v1: ShipmentV1) -> Self {
        Self {
            n: v1.n,
            lines: named(v1.lines),
            carrier: text(v1.carrier),
            label: text(v1.label),
            asked_at: UnixMillis(v1.asked_at),
            left_at: v1.left_at.map(UnixMillis),
        }
    }
}

impl TryFrom<EntryV1> for Entry {
    type Error = DecodeError;

    fn try_from(v1: EntryV1) -> Result<Self, DecodeError> {
        if v1.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
            return Err(malformed("a note that is too long"));
        }
        let kind = Kind::ALL.get(usize::from(v1.kind));
        Ok(Self {
            at: UnixMillis(v1.at),
            kind: *kind.ok_or_else(|| malformed("a kind that no entry has"))?,
            amount: v1.amount,
            units: v1.units,
            shipment: v1.shipment,
            note: text(v1.note),
        })
    }
}

pub(super) fn named(lines: Vec<(u32, u16)>) -> Vec<(LineId, u16)> {
    lines.into_iter().map(|(id, units)| (LineId(id), units)).collect()
}

pub(super) fn text(text: Option<String>) -> Option<Box<str>> {
    text.map(String::into_boxed_str)
}

const fn owner(v1: OwnerV1) -> Owner {
    let OwnerV1::Guest(id) = v1;
    Owner::Guest(GuestId(Id(id)))
}

fn currency(bytes: [u8; 3]) -> Result<Currency, DecodeError> {
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| Currency::parse(text).ok());
    parsed.ok_or_else(|| malformed("the currency is no ISO 4217 code"))
}

fn capture(number: u8) -> Result<Capture, DecodeError> {
    match number {
        0 => Ok(Capture::AtOrder),
        1 => Ok(Capture::AtFulfilment),
        _ => Err(malformed("a moment that no capture has")),
    }
}

fn discounts(discounts: Vec<(String, i64)>) -> Vec<Discounted> {
    discounts.into_iter().map(|(code, amount)| Discounted { code: code.into(), amount }).collect()
}

fn pairs(pairs: Vec<(String, String)>) -> Box<[(Box<str>, Box<str>)]> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}
