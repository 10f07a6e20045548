//! `CartV2`, frozen: what carts have had since codes and checkouts came, and how a cart is read back.

use bincode::{Decode, Encode};
use thin_vec::ThinVec;

use super::{
    cart::{ArmedV1, CartV1, EffectV1, LineV1, OwnerV1, ReceiptV1, StatusV1, UnsentV1, none},
    envelope::DecodeError,
    record::{Armed, Receipt, Record, Unsent},
    rule_v1::RuleV1,
};
use crate::domain::{
    CartId, CheckoutId, Currency, GuestId, Id, UnixMillis,
    cart::{CODES_MAX, Cart, InCheckout, LINES_MAX, Line, Owner, Status},
    discount::Rule,
};

/// Version 2, frozen: the order of the fields is the format. The fields of version 1 come first, in their order.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct CartV2 {
    epoch: u64,
    op_id: u128,
    id: u128,
    revision: u64,
    owner: OwnerV1,
    generation: u32,
    status: StatusV2,
    currency: [u8; 3],
    lines: Vec<LineV1>,
    saved: Vec<LineV1>,
    line_next: u32,
    note: Option<String>,
    email: Option<String>,
    created_at: u64,
    updated_at: u64,
    expires_at: u64,
    receipts: Vec<ReceiptV1>,
    unsent: Vec<UnsentV1>,
    effects: Vec<EffectV1>,
    armed: Option<ArmedV1>,
    codes: Vec<RuleV1>,
    checkout: Option<InCheckoutV2>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) enum StatusV2 {
    Open,
    Closed,
    Expired,
    CheckingOut,
    Ordered,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct InCheckoutV2 {
    id: u128,
    opened: bool,
    lines: Vec<LineV1>,
    codes: Vec<RuleV1>,
}

impl From<Status> for StatusV2 {
    fn from(status: Status) -> Self {
        match status {
            Status::Open => Self::Open,
            Status::Closed => Self::Closed,
            Status::Expired => Self::Expired,
            Status::CheckingOut => Self::CheckingOut,
            Status::Ordered => Self::Ordered,
        }
    }
}

impl From<&InCheckout> for InCheckoutV2 {
    fn from(checkout: &InCheckout) -> Self {
        Self {
            id: checkout.id.0.0,
            opened: checkout.opened,
            lines: checkout.lines.iter().map(LineV1::from).collect(),
            codes: checkout.codes.iter().map(RuleV1::from).collect(),
        }
    }
}

impl From<CartV1> for CartV2 {
    fn from(v1: CartV1) -> Self {
        Self {
            epoch: v1.epoch,
            op_id: v1.op_id,
            id: v1.id,
            revision: v1.revision,
            owner: v1.owner,
            generation: v1.generation,
            status: match v1.status {
                StatusV1::Open => StatusV2::Open,
                StatusV1::Closed => StatusV2::Closed,
                StatusV1::Expired => StatusV2::Expired,
            },
            currency: v1.currency,
            lines: v1.lines,
            saved: v1.saved,
            line_next: v1.line_next,
            note: v1.note,
            email: v1.email,
            created_at: v1.created_at,
            updated_at: v1.updated_at,
            expires_at: v1.expires_at,
            receipts: v1.receipts,
            unsent: v1.unsent,
            effects: v1.effects,
            armed: v1.armed,
            codes: Vec::new(),
            checkout: None,
        }
    }
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}

impl TryFrom<CartV2> for Record<Cart> {
    type Error = DecodeError;

    fn try_from(v2: CartV2) -> Result<Self, DecodeError> {
        none(&v2.effects)?;
        let currency = std::str::from_utf8(&v2.currency)
            .ok()
            .and_then(|text| Currency::parse(text).ok())
            .ok_or_else(|| malformed("the currency is no ISO 4217 code"))?;
        if v2.lines.len() + v2.saved.len() > LINES_MAX {
            return Err(malformed("more lines than a cart may hold"));
        }
        let state = Cart {
            id: CartId(Id(v2.id)),
            revision: v2.revision,
            owner: match v2.owner {
                OwnerV1::Guest(id) => Owner::Guest(GuestId(Id(id))),
            },
            generation: v2.generation,
            status: match v2.status {
                StatusV2::Open => Status::Open,
                StatusV2::Closed => Status::Closed,
                StatusV2::Expired => Status::Expired,
                StatusV2::CheckingOut => Status::CheckingOut,
                StatusV2::Ordered => Status::Ordered,
            },
            currency,
            lines: lines(v2.lines)?,
            saved: lines(v2.saved)?,
            codes: codes(v2.codes)?,
            checkout: v2.checkout.map(InCheckout::try_from).transpose()?.map(Box::new),
            line_next: v2.line_next,
            note: v2.note.map(String::into_boxed_str),
            email: v2.email.map(String::into_boxed_str),
            created_at: UnixMillis(v2.created_at),
            updated_at: UnixMillis(v2.updated_at),
            expires_at: UnixMillis(v2.expires_at),
        };
        // An id that is there twice, or that a new line would get, makes two lines answer to one name.
        let mut ids: Vec<u32> = state.lines.iter().chain(&state.saved).map(|line| line.id.0).collect();
        ids.sort_unstable();
        let apart = ids.windows(2).all(|pair| pair[0] < pair[1]);
        if !apart || ids.first() == Some(&0) || ids.last().is_some_and(|last| *last >= state.line_next) {
            return Err(malformed("line ids that clash"));
        }
        state.subtotal().map_err(|error| DecodeError::Malformed(error.to_string()))?;
        if (state.status == Status::CheckingOut) != state.checkout.is_some() {
            return Err(malformed("a checkout that the status does not tell of, or none that it tells of"));
        }
        Ok(Self {
            epoch: v2.epoch,
            op_id: v2.op_id,
            state,
            receipts: v2.receipts.into_iter().map(Receipt::from).collect(),
            unsent: v2.unsent.into_iter().map(Unsent::from).collect(),
            armed: v2.armed.map(Armed::from),
        })
    }
}

impl TryFrom<InCheckoutV2> for InCheckout {
    type Error = DecodeError;

    fn try_from(v2: InCheckoutV2) -> Result<Self, DecodeError> {
        let lines = lines(v2.lines)?;
        if lines.len() > LINES_MAX || lines.is_empty() != v2.opened {
            return Err(malformed("a checkout that has lines too many, none yet, or some still"));
        }
        Ok(Self { id: CheckoutId(Id(v2.id)), opened: v2.opened, lines, codes: codes(v2.codes)? })
    }
}

fn lines(lines: Vec<LineV1>) -> Result<ThinVec<Line>, DecodeError> {
    all(lines, Line::try_from)
}

fn codes(codes: Vec<RuleV1>) -> Result<ThinVec<Rule>, DecodeError> {
    if codes.len() > CODES_MAX {
        return Err(malformed("more codes than a cart may have"));
    }
    let codes = all(codes, Rule::try_from)?;
    let twice = codes.iter().enumerate().any(|(at, rule)| codes[..at].iter().any(|before| before.code == rule.code));
    if twice { Err(malformed("a code twice")) } else { Ok(codes) }
}

/// Everything read, in exactly the room that it needs.
fn all<V1, T>(items: Vec<V1>, read: impl Fn(V1) -> Result<T, DecodeError>) -> Result<ThinVec<T>, DecodeError> {
    let mut all = ThinVec::with_capacity(items.len());
    for item in items {
        all.push(read(item)?);
    }
    Ok(all)
}
