//! Version 1 of a checkout's bytes, frozen: the order of the fields and of the variants is the format.
//!
//! No `Debug`: a row holds what pays and what people wrote.

use bincode::{Decode, Encode};

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct CheckoutV1 {
    pub(super) id: u128,
    pub(super) revision: u64,
    pub(super) cart: u128,
    pub(super) owner: OwnerV1,
    pub(super) currency: [u8; 3],
    pub(super) lines: Vec<BoughtV1>,
    pub(super) codes: Vec<RuleV1>,
    pub(super) quote: QuoteV1,
    pub(super) email: Option<String>,
    pub(super) address: Option<AddressV1>,
    pub(super) option: Option<String>,
    pub(super) holds: Vec<HoldV1>,
    pub(super) phase: PhaseV1,
    pub(super) attempts: Vec<AttemptV1>,
    pub(super) ttl_ms: u64,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    pub(super) expires_at: u64,
    pub(super) expires_at_max: u64,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum OwnerV1 {
    Guest(u128),
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct BoughtV1 {
    pub(super) line: u32,
    pub(super) sku: String,
    pub(super) title: String,
    pub(super) quantity: u16,
    pub(super) quantity_max: u16,
    pub(super) unit_price: i64,
    pub(super) options: Vec<(String, String)>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) categories: Vec<String>,
    pub(super) weight_g: u32,
    pub(super) stock_initial: u32,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum WorthV1 {
    Percent(u16),
    Fixed(i64),
    FreeShipping,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct RuleV1 {
    pub(super) code: String,
    pub(super) worth: WorthV1,
    pub(super) currency: [u8; 3],
    pub(super) per_line: bool,
    pub(super) categories: Vec<String>,
    pub(super) minimum: i64,
    pub(super) valid_from: Option<u64>,
    pub(super) valid_until: Option<u64>,
    pub(super) uses_max: Option<u32>,
    pub(super) uses_per_shopper_max: Option<u32>,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct PricedV1 {
    pub(super) line: u32,
    pub(super) subtotal: i64,
    pub(super) discount: i64,
    pub(super) tax: i64,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct OfferV1 {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) price: i64,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct QuoteV1 {
    pub(super) currency: [u8; 3],
    pub(super) lines: Vec<PricedV1>,
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

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct AddressV1 {
    pub(super) name: String,
    pub(super) line1: String,
    pub(super) line2: Option<String>,
    pub(super) city: String,
    pub(super) region: Option<String>,
    pub(super) postal_code: String,
    pub(super) country: [u8; 2],
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum WhatV1 {
    Stock { sku: String, initial: u32, quantity: u32 },
    Code(String),
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum LackV1 {
    Stock(u32),
    Code(String),
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum HoldStateV1 {
    Wanted,
    Refused,
    Held(u64),
    Pinned(u32),
    Committed,
    Released,
    Forgotten,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct HoldV1 {
    pub(super) what: WhatV1,
    pub(super) state: HoldStateV1,
    pub(super) lack: Option<LackV1>,
    pub(super) once: bool,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum AttemptStateV1 {
    Pending,
    ActionRequired(String),
    Approved,
    Declined(String),
    Unavailable,
    Abandoned,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum UndoV1 {
    Nothing,
    Abandon,
    Void,
    Voided,
    VoidRefused,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct AttemptV1 {
    pub(super) gateway: String,
    pub(super) token: Option<String>,
    pub(super) amount: i64,
    pub(super) started_at: u64,
    pub(super) hold_until: u64,
    pub(super) round: u32,
    pub(super) reference: Option<String>,
    pub(super) state: AttemptStateV1,
    pub(super) undo: UndoV1,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum UndoneV1 {
    Cancelled,
    Expired,
    Refused,
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum EndV1 {
    Completed,
    Undone(UndoneV1),
}

#[derive(PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(Debug, wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum PhaseV1 {
    Holding,
    Open,
    Pinning,
    Authorising(u64),
    RequiresAction,
    Abandoning,
    Committing,
    Placing,
    Settling,
    Releasing(UndoneV1),
    LettingGo(UndoneV1),
    Remembering(EndV1),
    Forgetting(EndV1),
    Ended(EndV1),
}
