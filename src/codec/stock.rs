//! A product's stock: its record, and what is asked of it and refused on the way between nodes. Version 1, frozen.

use std::borrow::Borrow;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::{
    envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, ROW_BYTES_MAX, RecordKind},
    holds::{ActV1, HoldV1, ReferenceV1, malformed},
    record::Record,
    record_v1::RecordV1,
};
use crate::domain::{
    UnixMillis,
    holds::Holds,
    stock::{Command, HOLDS_MAX, MOVES_MAX, Move, Moved, Refusal, Source, Stock, UNITS_MAX},
};

/// Version of the bytes that this release writes.
pub const STOCK_SCHEMA_V: u16 = 1;
/// Versions up to this one are read.
const READS: u16 = 1;

/// Version 1, frozen: the order of the fields is the format.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct StockV1 {
    sku: String,
    revision: u64,
    available: u32,
    sold: u32,
    holds: Vec<UnitsV1>,
    moves: Vec<MoveV1>,
    created_at: u64,
    updated_at: u64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct UnitsV1 {
    hold: HoldV1,
    quantity: u32,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct MoveV1 {
    by: ReferenceV1,
    quantity: u32,
    moved: MovedV1,
    forgotten_at: Option<u64>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
enum MovedV1 {
    Shipped,
    RestockedSold,
    RestockedReturned,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum CommandV1 {
    Hold { sku: String, initial: u32, by: ReferenceV1, quantity: u32, expires_at: u64 },
    Act { by: ReferenceV1, act: ActV1 },
    Ship { by: ReferenceV1, quantity: u32 },
    Restock { by: ReferenceV1, quantity: u32, is_sold: bool },
    Adjust { sku: String, initial: u32, change: i32, reason: String },
    Expire,
    Release { sku: String, initial: u32, by: ReferenceV1 },
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum RefusalV1 {
    NotFound,
    Insufficient(u32),
    TooManyHolds,
    Ended,
    NotHeld,
    NotSold(u32),
    TooManyUnits,
    RevisionMismatch(u64),
}

/// The record's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_stock<S: Borrow<Stock>>(record: &Record<S>) -> Result<Bytes, EncodeError> {
    let body = RecordV1::around(record, StockV1::from(record.state.borrow()));
    envelope::seal(RecordKind::Stock, STOCK_SCHEMA_V, 1, &body, ROW_BYTES_MAX).map(Bytes::from)
}

/// The record back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_stock(bytes: &[u8]) -> Result<Record<Stock>, DecodeError> {
    envelope::open::<RecordV1<StockV1>>(bytes, RecordKind::Stock, READS)?.into_record(Stock::try_from)
}

/// The command's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_stock_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Command, STOCK_SCHEMA_V, 1, &CommandV1::from(command), RECORD_BYTES_MAX)
}

/// The command back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_stock_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    envelope::open::<CommandV1>(bytes, RecordKind::Command, READS)?.try_into()
}

/// The refusal's bytes.
///
/// # Errors
/// [`EncodeError`]; none is known to happen.
pub fn encode_stock_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Refusal, STOCK_SCHEMA_V, 1, &RefusalV1::from(refusal), RECORD_BYTES_MAX)
}

/// The refusal back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_stock_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
    envelope::open::<RefusalV1>(bytes, RecordKind::Refusal, READS).map(Refusal::from)
}

impl From<&Stock> for StockV1 {
    fn from(stock: &Stock) -> Self {
        let moved = |one: &Move| MoveV1 {
            by: one.by.into(),
            quantity: one.quantity,
            moved: match one.moved {
                Moved::Shipped => MovedV1::Shipped,
                Moved::Restocked(Source::Sold) => MovedV1::RestockedSold,
                Moved::Restocked(Source::Returned) => MovedV1::RestockedReturned,
            },
            forgotten_at: one.forgotten_at.map(|at| at.0),
        };
        let holds = stock.holds.as_slice().iter();
        Self {
            sku: stock.sku.to_string(),
            revision: stock.revision,
            available: stock.available,
            sold: stock.sold,
            holds: holds.map(|hold| UnitsV1 { hold: HoldV1::of(hold), quantity: hold.what }).collect(),
            moves: stock.moves.iter().map(moved).collect(),
            created_at: stock.created_at.0,
            updated_at: stock.updated_at.0,
        }
    }
}

impl TryFrom<StockV1> for Stock {
    type Error = DecodeError;

    fn try_from(v1: StockV1) -> Result<Self, DecodeError> {
        if v1.holds.len() > HOLDS_MAX || v1.moves.len() > MOVES_MAX {
            return Err(malformed("more holds or moves than a stock may have"));
        }
        let holds = v1.holds.into_iter().map(|units| units.hold.of_what(units.quantity)).collect();
        let moved = |one: MoveV1| Move {
            by: one.by.into(),
            quantity: one.quantity,
            moved: match one.moved {
                MovedV1::Shipped => Moved::Shipped,
                MovedV1::RestockedSold => Moved::Restocked(Source::Sold),
                MovedV1::RestockedReturned => Moved::Restocked(Source::Returned),
            },
            forgotten_at: one.forgotten_at.map(UnixMillis),
        };
        let stock = Self {
            sku: v1.sku.into(),
            revision: v1.revision,
            available: v1.available,
            sold: v1.sold,
            holds: Holds::from_sorted(holds).ok_or_else(|| malformed("holds out of order, or one name twice"))?,
            moves: v1.moves.into_iter().map(moved).collect(),
            created_at: UnixMillis(v1.created_at),
            updated_at: UnixMillis(v1.updated_at),
        };
        if !stock.moves.is_sorted_by(|one, next| one.by < next.by) {
            return Err(malformed("moves out of order, or one name twice"));
        }
        // The sums saturate: what is past all counting is past this bound too.
        if stock.on_hand() > UNITS_MAX {
            return Err(malformed("more units than a stock counts"));
        }
        Ok(stock)
    }
}

impl From<&Command> for CommandV1 {
    fn from(command: &Command) -> Self {
        match command {
            Command::Hold { sku, initial, by, quantity, expires_at } => Self::Hold {
                sku: sku.to_string(),
                initial: *initial,
                by: (*by).into(),
                quantity: *quantity,
                expires_at: expires_at.0,
            },
            Command::Release { sku, initial, by } => {
                Self::Release { sku: sku.to_string(), initial: *initial, by: (*by).into() }
            }
            Command::Act { by, act } => Self::Act { by: (*by).into(), act: (*act).into() },
            Command::Ship { by, quantity } => Self::Ship { by: (*by).into(), quantity: *quantity },
            Command::Restock { by, quantity, from } => {
                Self::Restock { by: (*by).into(), quantity: *quantity, is_sold: *from == Source::Sold }
            }
            Command::Adjust { sku, initial, change, reason } => {
                Self::Adjust { sku: sku.to_string(), initial: *initial, change: *change, reason: reason.to_string() }
            }
            Command::Expire => Self::Expire,
        }
    }
}

impl TryFrom<CommandV1> for Command {
    type Error = DecodeError;

    fn try_from(v1: CommandV1) -> Result<Self, DecodeError> {
        Ok(match v1 {
            CommandV1::Hold { quantity: 0, .. }
            | CommandV1::Ship { quantity: 0, .. }
            | CommandV1::Restock { quantity: 0, .. } => return Err(malformed("a command about no units")),
            CommandV1::Hold { sku, initial, by, quantity, expires_at } => {
                Self::Hold { sku: sku.into(), initial, by: by.into(), quantity, expires_at: UnixMillis(expires_at) }
            }
            CommandV1::Release { sku, initial, by } => Self::Release { sku: sku.into(), initial, by: by.into() },
            CommandV1::Act { by, act } => Self::Act { by: by.into(), act: act.into() },
            CommandV1::Ship { by, quantity } => Self::Ship { by: by.into(), quantity },
            CommandV1::Restock { by, quantity, is_sold } => {
                let from = if is_sold { Source::Sold } else { Source::Returned };
                Self::Restock { by: by.into(), quantity, from }
            }
            CommandV1::Adjust { sku, initial, change, reason } => {
                Self::Adjust { sku: sku.into(), initial, change, reason: reason.into() }
            }
            CommandV1::Expire => Self::Expire,
        })
    }
}

impl From<&Refusal> for RefusalV1 {
    fn from(refusal: &Refusal) -> Self {
        match *refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::Insufficient { available } => Self::Insufficient(available),
            Refusal::TooManyHolds => Self::TooManyHolds,
            Refusal::Ended => Self::Ended,
            Refusal::NotHeld => Self::NotHeld,
            Refusal::NotSold { sold } => Self::NotSold(sold),
            Refusal::TooManyUnits => Self::TooManyUnits,
            Refusal::RevisionMismatch { present } => Self::RevisionMismatch(present),
        }
    }
}

impl From<RefusalV1> for Refusal {
    fn from(v1: RefusalV1) -> Self {
        match v1 {
            RefusalV1::NotFound => Self::NotFound,
            RefusalV1::Insufficient(available) => Self::Insufficient { available },
            RefusalV1::TooManyHolds => Self::TooManyHolds,
            RefusalV1::Ended => Self::Ended,
            RefusalV1::NotHeld => Self::NotHeld,
            RefusalV1::NotSold(sold) => Self::NotSold { sold },
            RefusalV1::TooManyUnits => Self::TooManyUnits,
            RefusalV1::RevisionMismatch(present) => Self::RevisionMismatch { present },
        }
    }
}
