//! A cart's record: `CartV1`, frozen, and how carts are written.
//!
//! What version 1 can say is written as version 1 for ever: releases that know nothing else go on to read it. `CartV2` is
//! written for what it cannot: codes, a checkout, and the statuses that came with it.

use std::borrow::Borrow;

use bincode::{
    Decode, Encode,
    enc::{Encoder, write::Writer as _},
    error::EncodeError as BincodeError,
};
use bytes::Bytes;

use super::{
    cart_v2::{CartV2, InCheckoutV2, StatusV2},
    envelope::{self, DecodeError, EncodeError, ROW_BYTES_MAX, RecordKind},
    record::{Armed, Receipt, Record, Unsent},
    rule_v1::RuleV1,
};
use crate::domain::{
    GuestId, UnixMillis,
    cart::{Cart, Line, LineId, Owner, Status},
};

/// Newest version of the bytes, which is read like all before it; written where a cart needs it.
pub const CART_SCHEMA_V: u16 = 2;

/// Version 1, frozen: the order of the fields is the format.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct CartV1 {
    pub(super) epoch: u64,
    pub(super) op_id: u128,
    pub(super) id: u128,
    pub(super) revision: u64,
    pub(super) owner: OwnerV1,
    pub(super) generation: u32,
    pub(super) status: StatusV1,
    pub(super) currency: [u8; 3],
    pub(super) lines: Vec<LineV1>,
    pub(super) saved: Vec<LineV1>,
    pub(super) line_next: u32,
    pub(super) note: Option<String>,
    pub(super) email: Option<String>,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    pub(super) expires_at: u64,
    pub(super) receipts: Vec<ReceiptV1>,
    pub(super) unsent: Vec<UnsentV1>,
    pub(super) effects: Vec<EffectV1>,
    pub(super) armed: Option<ArmedV1>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum OwnerV1 {
    Guest(u128),
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum StatusV1 {
    Open,
    Closed,
    Expired,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct LineV1 {
    id: u32,
    sku: String,
    title: String,
    quantity: u16,
    quantity_max: u16,
    unit_price: i64,
    options: Vec<(String, String)>,
    metadata: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ReceiptV1 {
    pub(super) key: u128,
    pub(super) request: u128,
    pub(super) at: u64,
    pub(super) outcome: u32,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct UnsentV1 {
    pub(super) sequence: u64,
    pub(super) kind: u16,
    pub(super) at: u64,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct EffectV1 {
    pub(super) key: u128,
    pub(super) kind: u16,
    pub(super) due: u64,
    pub(super) attempts: u32,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ArmedV1 {
    pub(super) due: u64,
    pub(super) version: u64,
}

/// The record's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_cart<S: Borrow<Cart>>(record: &Record<S>) -> Result<Bytes, EncodeError> {
    let cart = record.state.borrow();
    let version = if needs_v2(cart) { 2 } else { 1 };
    let body = Written { record, cart, version };
    envelope::seal(RecordKind::Cart, version, version, &body, ROW_BYTES_MAX).map(Bytes::from)
}

/// The record back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_cart(bytes: &[u8]) -> Result<Record<Cart>, DecodeError> {
    let v2 = match envelope::schema_v(bytes) {
        Some(2) => envelope::open::<CartV2>(bytes, RecordKind::Cart, CART_SCHEMA_V)?,
        // Every other version, and what is no record at all, is told apart there.
        _ => envelope::open::<CartV1>(bytes, RecordKind::Cart, CART_SCHEMA_V)?.into(),
    };
    v2.try_into()
}

/// Whether version 1 cannot say all of it.
fn needs_v2(cart: &Cart) -> bool {
    let is_known = matches!(cart.status, Status::Open | Status::Closed | Status::Expired);
    !is_known || cart.checkout.is_some() || !cart.codes.is_empty()
}

/// The bytes of [`CartV1`] or [`CartV2`], written straight from the state: a save is on the hot path, and copying every
/// string of a cart first would cost more than writing it. A test holds them equal.
struct Written<'a, S> {
    record: &'a Record<S>,
    cart: &'a Cart,
    version: u16,
}

impl<S> Encode for Written<'_, S> {
    fn encode<E: Encoder>(&self, to: &mut E) -> Result<(), BincodeError> {
        let Self { record, cart, version } = self;
        record.epoch.encode(to)?;
        record.op_id.encode(to)?;
        cart.id.0.0.encode(to)?;
        cart.revision.encode(to)?;
        match cart.owner {
            Owner::Guest(GuestId(id)) => OwnerV1::Guest(id.0).encode(to)?,
        }
        cart.generation.encode(to)?;
        // The first three are numbered as in version 1, which has no others.
        StatusV2::from(cart.status).encode(to)?;
        to.writer().write(&cart.currency.bytes())?;
        lines(&cart.lines, to)?;
        lines(&cart.saved, to)?;
        cart.line_next.encode(to)?;
        cart.note.as_deref().encode(to)?;
        cart.email.as_deref().encode(to)?;
        cart.created_at.0.encode(to)?;
        cart.updated_at.0.encode(to)?;
        cart.expires_at.0.encode(to)?;
        each(&record.receipts, to, |receipt: &Receipt, to| {
            receipt.key.encode(to)?;
            receipt.request.encode(to)?;
            receipt.at.0.encode(to)?;
            receipt.outcome.encode(to)
        })?;
        each(&record.unsent, to, |unsent: &Unsent, to| {
            unsent.sequence.encode(to)?;
            unsent.kind.encode(to)?;
            unsent.at.0.encode(to)?;
            unsent.body.encode(to)
        })?;
        // No effects: what must be done follows from the state.
        0_u64.encode(to)?;
        record.armed.map(|armed| ArmedV1 { due: armed.due.0, version: armed.version }).encode(to)?;
        if *version == 1 {
            return Ok(());
        }
        // Of these there are few: the frozen structs themselves are written.
        each(&cart.codes, to, |rule, to| RuleV1::from(rule).encode(to))?;
        cart.checkout.as_deref().map(InCheckoutV2::from).encode(to)
    }
}

fn lines<E: Encoder>(lines: &[Line], to: &mut E) -> Result<(), BincodeError> {
    each(lines, to, |line: &Line, to| {
        line.id.0.encode(to)?;
        line.sku.encode(to)?;
        line.title.encode(to)?;
        line.quantity.encode(to)?;
        line.quantity_max.encode(to)?;
        line.unit_price.encode(to)?;
        line.options.encode(to)?;
        line.metadata.encode(to)
    })
}

/// A list as bincode writes one: its length as u64, then its items.
fn each<T, E: Encoder>(
    items: &[T],
    to: &mut E,
    write: impl Fn(&T, &mut E) -> Result<(), BincodeError>,
) -> Result<(), BincodeError> {
    (items.len() as u64).encode(to)?;
    items.iter().try_for_each(|item| write(item, to))
}

impl From<&Line> for LineV1 {
    fn from(line: &Line) -> Self {
        let owned = |pairs: &[(Box<str>, Box<str>)]| {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        Self {
            id: line.id.0,
            sku: line.sku.to_string(),
            title: line.title.to_string(),
            quantity: line.quantity,
            quantity_max: line.quantity_max,
            unit_price: line.unit_price,
            options: owned(&line.options),
            metadata: owned(&line.metadata),
        }
    }
}

impl TryFrom<LineV1> for Line {
    type Error = DecodeError;

    fn try_from(v1: LineV1) -> Result<Self, DecodeError> {
        if v1.quantity == 0 {
            return Err(DecodeError::Malformed("a line of no units".into()));
        }
        Ok(Self {
            id: LineId(v1.id),
            sku: v1.sku.into(),
            title: v1.title.into(),
            quantity: v1.quantity,
            quantity_max: v1.quantity_max,
            unit_price: v1.unit_price,
            options: pairs(v1.options),
            metadata: pairs(v1.metadata),
        })
    }
}

fn pairs(pairs: Vec<(String, String)>) -> Box<[(Box<str>, Box<str>)]> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

impl From<ReceiptV1> for Receipt {
    fn from(v1: ReceiptV1) -> Self {
        Self { key: v1.key, request: v1.request, at: UnixMillis(v1.at), outcome: v1.outcome }
    }
}

impl From<UnsentV1> for Unsent {
    fn from(v1: UnsentV1) -> Self {
        Self { sequence: v1.sequence, kind: v1.kind, at: UnixMillis(v1.at), body: v1.body.into() }
    }
}

/// Refuses effects: the frozen records have a place for them, in which no release has written anything.
pub(super) fn none(effects: &[EffectV1]) -> Result<(), DecodeError> {
    if effects.is_empty() { Ok(()) } else { Err(DecodeError::Malformed("effects, which no release writes".to_owned())) }
}

impl From<ArmedV1> for Armed {
    fn from(v1: ArmedV1) -> Self {
        Self { due: UnixMillis(v1.due), version: v1.version }
    }
}
