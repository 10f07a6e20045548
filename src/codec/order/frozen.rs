//! Version 1 of an order's parts, frozen: the order of the fields is the format. Kinds and states of few values are
//! numbers, whose meanings are frozen with them.

use bincode::{Decode, Encode};

use crate::codec::cart::OwnerV1;

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(in crate::codec) struct OrderV1 {
    pub(super) id: u128,
    pub(super) revision: u64,
    pub(super) cart: u128,
    pub(super) owner: OwnerV1,
    pub(super) currency: [u8; 3],
    pub(super) email: String,
    pub(super) address: Option<AddressV1>,
    pub(super) lines: Vec<LineV1>,
    pub(super) totals: TotalsV1,
    pub(super) payment: PaymentV1,
    /// 0 at order, 1 at fulfilment.
    pub(super) capture: u8,
    pub(super) deeds: Vec<DeedV1>,
    pub(super) deed_next: u32,
    pub(super) shipments: Vec<ShipmentV1>,
    pub(super) history: Vec<EntryV1>,
    pub(super) history_dropped: u32,
    /// 0 by its shopper, 1 by the shop, 2 because the capture was refused.
    pub(super) cancelled: Option<u8>,
    pub(super) placed_at: u64,
    pub(super) updated_at: u64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct AddressV1 {
    pub(super) name: String,
    pub(super) line1: String,
    pub(super) line2: Option<String>,
    pub(super) city: String,
    pub(super) region: Option<String>,
    pub(super) postal_code: String,
    pub(super) country: [u8; 2],
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct BoughtV1 {
    pub(super) line: u32,
    pub(super) sku: String,
    pub(super) title: String,
    pub(super) options: Vec<(String, String)>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) quantity: u16,
    pub(super) unit_price: i64,
    pub(super) subtotal: i64,
    pub(super) discount: i64,
    pub(super) tax: i64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct LineV1 {
    pub(super) bought: BoughtV1,
    pub(super) fulfilled: u16,
    pub(super) returned: u16,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct OfferV1 {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) price: i64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct TotalsV1 {
    pub(super) subtotal: i64,
    pub(super) discount: i64,
    pub(super) discounts: Vec<(String, i64)>,
    pub(super) shipping: i64,
    pub(super) offer: Option<OfferV1>,
    pub(super) tax: i64,
    pub(super) tax_included: bool,
    pub(super) total: i64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct PaymentV1 {
    pub(super) gateway: String,
    pub(super) reference: String,
    pub(super) authorised: i64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) voided: bool,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct DeedV1 {
    pub(super) n: u32,
    pub(super) work: WorkV1,
    pub(super) state: DeedStateV1,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum WorkV1 {
    Capture(i64),
    Void,
    Refund(i64),
    Ship(u32, u32),
    RestockSold(u32, u32),
    RestockReturned(u32, u32),
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum DeedStateV1 {
    Wanted,
    Remembered(u64),
    Forgetting,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ShipmentV1 {
    pub(super) n: u32,
    pub(super) lines: Vec<(u32, u16)>,
    pub(super) carrier: Option<String>,
    pub(super) label: Option<String>,
    pub(super) asked_at: u64,
    pub(super) left_at: Option<u64>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct EntryV1 {
    pub(super) at: u64,
    /// Its place in `Kind::ALL`.
    pub(super) kind: u8,
    pub(super) amount: Option<i64>,
    pub(super) units: Option<u32>,
    pub(super) shipment: Option<u32>,
    pub(super) note: Option<String>,
}

/// A placement on its way from a checkout. On the wire only.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct PlacementV1 {
    pub(super) checkout: u128,
    pub(super) cart: u128,
    pub(super) owner: OwnerV1,
    pub(super) currency: [u8; 3],
    pub(super) email: String,
    pub(super) address: Option<AddressV1>,
    pub(super) lines: Vec<BoughtV1>,
    pub(super) quote: QuoteV1,
    pub(super) gateway: String,
    pub(super) reference: String,
    pub(super) authorised: i64,
    pub(super) capture: u8,
}

/// On the wire only.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct QuoteV1 {
    pub(super) currency: [u8; 3],
    /// Line, subtotal, discount, tax.
    pub(super) lines: Vec<(u32, i64, i64, i64)>,
    pub(super) discounts: Vec<(String, i64)>,
    pub(super) offers: Vec<OfferV1>,
    pub(super) option: Option<String>,
    pub(super) subtotal: i64,
    pub(super) discount: i64,
    pub(super) shipping: i64,
    pub(super) tax: i64,
    pub(super) tax_included: bool,
    pub(super) total: i64,
}
