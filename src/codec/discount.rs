//! A discount code: its record, and what is asked of it and refused on the way between nodes. Version 1, frozen.

use std::borrow::Borrow;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::{
    envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, ROW_BYTES_MAX, RecordKind},
    holds::{ActV1, HoldV1, ReferenceV1, malformed},
    record::Record,
    record_v1::RecordV1,
    rule_v1::RuleV1,
};
use crate::domain::{
    UnixMillis,
    discount::{Command, Discount, HOLDS_MAX, Refusal, SHOPPERS_MAX},
    holds::Holds,
};

/// Version of the bytes that this release writes.
pub const DISCOUNT_SCHEMA_V: u16 = 1;
/// Versions up to this one are read.
const READS: u16 = 1;

/// Version 1, frozen: the order of the fields is the format.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct DiscountV1 {
    rule: RuleV1,
    revision: u64,
    used: u32,
    shoppers: Vec<(u128, u32)>,
    holds: Vec<UseV1>,
    created_at: u64,
    updated_at: u64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct UseV1 {
    hold: HoldV1,
    shopper: u128,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum CommandV1 {
    Define(RuleV1),
    Hold { by: ReferenceV1, shopper: u128, expires_at: u64 },
    Act { by: ReferenceV1, act: ActV1 },
    Expire,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum RefusalV1 {
    NotFound,
    NotValidNow,
    UsedUp,
    UsedUpByShopper,
    NotHeld,
    Ended,
    TooMany,
    RevisionMismatch(u64),
}

/// The record's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_discount<S: Borrow<Discount>>(record: &Record<S>) -> Result<Bytes, EncodeError> {
    let body = RecordV1::around(record, DiscountV1::from(record.state.borrow()));
    envelope::seal(RecordKind::Discount, DISCOUNT_SCHEMA_V, 1, &body, ROW_BYTES_MAX).map(Bytes::from)
}

/// The record back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_discount(bytes: &[u8]) -> Result<Record<Discount>, DecodeError> {
    envelope::open::<RecordV1<DiscountV1>>(bytes, RecordKind::Discount, READS)?.into_record(Discount::try_from)
}

/// The command's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_discount_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Command, DISCOUNT_SCHEMA_V, 1, &CommandV1::from(command), RECORD_BYTES_MAX)
}

/// The command back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_discount_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    envelope::open::<CommandV1>(bytes, RecordKind::Command, READS)?.try_into()
}

/// The refusal's bytes.
///
/// # Errors
/// [`EncodeError`]; none is known to happen.
pub fn encode_discount_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Refusal, DISCOUNT_SCHEMA_V, 1, &RefusalV1::from(refusal), RECORD_BYTES_MAX)
}

/// The refusal back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_discount_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
    envelope::open::<RefusalV1>(bytes, RecordKind::Refusal, READS).map(Refusal::from)
}

impl From<&Discount> for DiscountV1 {
    fn from(discount: &Discount) -> Self {
        let holds = discount.holds.as_slice().iter();
        Self {
            rule: (&discount.rule).into(),
            revision: discount.revision,
            used: discount.used,
            shoppers: discount.shoppers.clone(),
            holds: holds.map(|hold| UseV1 { hold: HoldV1::of(hold), shopper: hold.what }).collect(),
            created_at: discount.created_at.0,
            updated_at: discount.updated_at.0,
        }
    }
}

impl TryFrom<DiscountV1> for Discount {
    type Error = DecodeError;

    fn try_from(v1: DiscountV1) -> Result<Self, DecodeError> {
        if v1.holds.len() > HOLDS_MAX || v1.shoppers.len() > SHOPPERS_MAX {
            return Err(malformed("more holds or shoppers than a code may have"));
        }
        if !v1.shoppers.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(malformed("shoppers out of order, or one twice"));
        }
        let holds = v1.holds.into_iter().map(|one| one.hold.of_what(one.shopper)).collect();
        Ok(Self {
            rule: v1.rule.try_into()?,
            revision: v1.revision,
            used: v1.used,
            shoppers: v1.shoppers,
            holds: Holds::from_sorted(holds).ok_or_else(|| malformed("holds out of order, or one name twice"))?,
            created_at: UnixMillis(v1.created_at),
            updated_at: UnixMillis(v1.updated_at),
        })
    }
}

impl From<&Command> for CommandV1 {
    fn from(command: &Command) -> Self {
        match command {
            Command::Define(rule) => Self::Define(rule.into()),
            Command::Hold { by, shopper, expires_at } => {
                Self::Hold { by: (*by).into(), shopper: *shopper, expires_at: expires_at.0 }
            }
            Command::Act { by, act } => Self::Act { by: (*by).into(), act: (*act).into() },
            Command::Expire => Self::Expire,
        }
    }
}

impl TryFrom<CommandV1> for Command {
    type Error = DecodeError;

    fn try_from(v1: CommandV1) -> Result<Self, DecodeError> {
        Ok(match v1 {
            CommandV1::Define(rule) => Self::Define(rule.try_into()?),
            CommandV1::Hold { by, shopper, expires_at } => {
                Self::Hold { by: by.into(), shopper, expires_at: UnixMillis(expires_at) }
            }
            CommandV1::Act { by, act } => Self::Act { by: by.into(), act: act.into() },
            CommandV1::Expire => Self::Expire,
        })
    }
}

impl From<&Refusal> for RefusalV1 {
    fn from(refusal: &Refusal) -> Self {
        match *refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::NotValidNow => Self::NotValidNow,
            Refusal::UsedUp => Self::UsedUp,
            Refusal::UsedUpByShopper => Self::UsedUpByShopper,
            Refusal::NotHeld => Self::NotHeld,
            Refusal::Ended => Self::Ended,
            Refusal::TooMany => Self::TooMany,
            Refusal::RevisionMismatch { present } => Self::RevisionMismatch(present),
        }
    }
}

impl From<RefusalV1> for Refusal {
    fn from(v1: RefusalV1) -> Self {
        match v1 {
            RefusalV1::NotFound => Self::NotFound,
            RefusalV1::NotValidNow => Self::NotValidNow,
            RefusalV1::UsedUp => Self::UsedUp,
            RefusalV1::UsedUpByShopper => Self::UsedUpByShopper,
            RefusalV1::NotHeld => Self::NotHeld,
            RefusalV1::Ended => Self::Ended,
            RefusalV1::TooMany => Self::TooMany,
            RefusalV1::RevisionMismatch(present) => Self::RevisionMismatch { present },
        }
    }
}
