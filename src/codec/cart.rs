//! A cart's record: `CartV1`, frozen.

use std::borrow::Borrow;

use bincode::{
    Decode, Encode,
    enc::{Encoder, write::Writer as _},
    error::EncodeError as BincodeError,
};
use bytes::Bytes;

use super::{
    envelope::{self, DecodeError, EncodeError, ROW_BYTES_MAX, RecordKind},
    record::{Armed, Effect, Receipt, Record, Unsent},
};
use crate::domain::{
    CartId, Currency, GuestId, Id, UnixMillis,
    cart::{Cart, LINES_MAX, Line, LineId, Owner, Status},
};

/// Version of the bytes that this release writes.
pub const CART_SCHEMA_V: u16 = 1;
/// Versions up to this one are read.
const READS: u16 = 1;

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
    key: u128,
    request: u128,
    at: u64,
    outcome: u32,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct UnsentV1 {
    sequence: u64,
    kind: u16,
    at: u64,
    body: Vec<u8>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct EffectV1 {
    key: u128,
    kind: u16,
    due: u64,
    attempts: u32,
    body: Vec<u8>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ArmedV1 {
    due: u64,
    version: u64,
}

/// The record's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_cart<S: Borrow<Cart>>(record: &Record<S>) -> Result<Bytes, EncodeError> {
    let body = Written { record, cart: record.state.borrow() };
    envelope::seal(RecordKind::Cart, CART_SCHEMA_V, 1, &body, ROW_BYTES_MAX).map(Bytes::from)
}

/// The record back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_cart(bytes: &[u8]) -> Result<Record<Cart>, DecodeError> {
    envelope::open::<CartV1>(bytes, RecordKind::Cart, READS)?.try_into()
}

/// The bytes of [`CartV1`], written straight from the state: a save is on the hot path, and copying every string of a
/// cart first would cost more than writing it. A test holds the two equal.
struct Written<'a, S> {
    record: &'a Record<S>,
    cart: &'a Cart,
}

impl<S> Encode for Written<'_, S> {
    fn encode<E: Encoder>(&self, to: &mut E) -> Result<(), BincodeError> {
        let Self { record, cart } = self;
        record.epoch.encode(to)?;
        record.op_id.encode(to)?;
        cart.id.0.0.encode(to)?;
        cart.revision.encode(to)?;
        match cart.owner {
            Owner::Guest(GuestId(id)) => OwnerV1::Guest(id.0).encode(to)?,
        }
        cart.generation.encode(to)?;
        status(cart.status).encode(to)?;
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
        each(&record.effects, to, |effect: &Effect, to| {
            effect.key.encode(to)?;
            effect.kind.encode(to)?;
            effect.due.0.encode(to)?;
            effect.attempts.encode(to)?;
            effect.body.encode(to)
        })?;
        record.armed.map(|armed| ArmedV1 { due: armed.due.0, version: armed.version }).encode(to)
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

const fn status(status: Status) -> StatusV1 {
    match status {
        Status::Open => StatusV1::Open,
        Status::Closed => StatusV1::Closed,
        Status::Expired => StatusV1::Expired,
    }
}

impl TryFrom<CartV1> for Record<Cart> {
    type Error = DecodeError;

    fn try_from(v1: CartV1) -> Result<Self, DecodeError> {
        let currency = std::str::from_utf8(&v1.currency)
            .ok()
            .and_then(|text| Currency::parse(text).ok())
            .ok_or_else(|| DecodeError::Malformed("the currency is no ISO 4217 code".into()))?;
        if v1.lines.len() + v1.saved.len() > LINES_MAX {
            return Err(DecodeError::Malformed("more lines than a cart may hold".into()));
        }
        let read = |lines: Vec<LineV1>| lines.into_iter().map(Line::try_from).collect::<Result<Vec<_>, _>>();
        let state = Cart {
            id: CartId(Id(v1.id)),
            revision: v1.revision,
            owner: match v1.owner {
                OwnerV1::Guest(id) => Owner::Guest(GuestId(Id(id))),
            },
            generation: v1.generation,
            status: match v1.status {
                StatusV1::Open => Status::Open,
                StatusV1::Closed => Status::Closed,
                StatusV1::Expired => Status::Expired,
            },
            currency,
            lines: read(v1.lines)?,
            saved: read(v1.saved)?,
            line_next: v1.line_next,
            note: v1.note.map(String::into_boxed_str),
            email: v1.email.map(String::into_boxed_str),
            created_at: UnixMillis(v1.created_at),
            updated_at: UnixMillis(v1.updated_at),
            expires_at: UnixMillis(v1.expires_at),
        };
        // An id that is there twice, or that a new line would get, makes two lines answer to one name.
        let mut ids: Vec<u32> = state.lines.iter().chain(&state.saved).map(|line| line.id.0).collect();
        ids.sort_unstable();
        let apart = ids.windows(2).all(|pair| pair[0] < pair[1]);
        if !apart || ids.first() == Some(&0) || ids.last().is_some_and(|last| *last >= state.line_next) {
            return Err(DecodeError::Malformed("line ids that clash".into()));
        }
        state.totals().map_err(|error| DecodeError::Malformed(error.to_string()))?;
        Ok(Self {
            epoch: v1.epoch,
            op_id: v1.op_id,
            state,
            receipts: v1.receipts.into_iter().map(Receipt::from).collect(),
            unsent: v1.unsent.into_iter().map(Unsent::from).collect(),
            effects: v1.effects.into_iter().map(Effect::from).collect(),
            armed: v1.armed.map(|armed| Armed { due: UnixMillis(armed.due), version: armed.version }),
        })
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

impl From<EffectV1> for Effect {
    fn from(v1: EffectV1) -> Self {
        Self { key: v1.key, kind: v1.kind, due: UnixMillis(v1.due), attempts: v1.attempts, body: v1.body.into() }
    }
}
