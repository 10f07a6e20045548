//! What is asked of an order by actors and doors on other nodes, and why it says no. Frozen like every record, because
//! nodes of two releases talk while a rollout lasts.

use bincode::{Decode, Encode};

use super::{
    frozen::PlacementV1,
    malformed,
    read::{named, text},
    written::{self, numbers},
};
use crate::{
    codec::envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, RecordKind},
    domain::{
        cart::LineId,
        order::{
            Action, CARRIER_BYTES_MAX, Command, Done, LABEL_BYTES_MAX, Placement, Refusal, SHIPMENTS_MAX, Status, Step,
        },
    },
};

/// Version of the bytes.
const WIRE_V: u16 = 1;
/// What every body starts with: commands to all kinds of actors share one kind of record, and must not be mixed up.
const TAG: u8 = RecordKind::Order as u8;

#[derive(Debug, PartialEq, Encode, Decode)]
struct Tagged<T> {
    tag: u8,
    body: T,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum CommandV1 {
    Place(Box<PlacementV1>),
    Capture,
    Fulfil {
        lines: Vec<(u32, u16)>,
        carrier: Option<String>,
        label: Option<String>,
    },
    Cancel(Option<String>),
    Return(Vec<(u32, u16)>),
    Refund(i64),
    /// Number, whether it is the forgetting, why it was refused.
    Done(u32, bool, Option<String>, bool),
    Wake,
    /// Captured, refunded.
    LearnRefunded(i64, i64),
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum RefusalV1 {
    NotFound,
    ShopOnly,
    RevisionMismatch(u64),
    /// Places in [`Status::ALL`] and [`ACTIONS`].
    IllegalTransition(u8, u8),
    NoLines,
    LineNotFound(u32),
    QuantityOutOfRange(u32, u32, u16),
    RefundOutOfRange(i64, i64),
    TooManyShipments,
    Busy,
    Inconsistent,
}

/// In the order of their persistent numbers.
const ACTIONS: [Action; 5] = [Action::Capture, Action::Fulfil, Action::Cancel, Action::Return, Action::Refund];

/// The command's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_order_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
    let body = match command {
        Command::Place(placement) => CommandV1::Place(Box::new(PlacementV1::from(&**placement))),
        Command::Capture => CommandV1::Capture,
        Command::Fulfil { lines, carrier, label } => CommandV1::Fulfil {
            lines: numbers(lines),
            carrier: written::text(carrier.as_deref()),
            label: written::text(label.as_deref()),
        },
        Command::Cancel { reason } => CommandV1::Cancel(written::text(reason.as_deref())),
        Command::Return { lines } => CommandV1::Return(numbers(lines)),
        Command::Refund { amount } => CommandV1::Refund(*amount),
        Command::Done { step, done, once } => {
            let (Step::Deed(n) | Step::Forget(n)) = step;
            let reason = match done {
                Done::Yes => None,
                Done::Refused { reason } => Some(reason.to_string()),
            };
            CommandV1::Done(*n, matches!(step, Step::Forget(_)), reason, *once)
        }
        Command::Wake => CommandV1::Wake,
        Command::LearnRefunded { captured, refunded } => CommandV1::LearnRefunded(*captured, *refunded),
    };
    envelope::seal(RecordKind::Command, WIRE_V, 1, &Tagged { tag: TAG, body }, RECORD_BYTES_MAX)
}

/// The command back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_order_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    Ok(match untagged(envelope::open(bytes, RecordKind::Command, WIRE_V)?)? {
        CommandV1::Place(placement) => Command::Place(Box::new(Placement::try_from(*placement)?)),
        CommandV1::Capture => Command::Capture,
        CommandV1::Fulfil { lines, carrier, label } => {
            let fits = |text: &Option<String>, max| text.as_ref().is_none_or(|text| text.len() <= max);
            if !fits(&carrier, CARRIER_BYTES_MAX) || !fits(&label, LABEL_BYTES_MAX) {
                return Err(malformed("a carrier or a label that is too long"));
            }
            Command::Fulfil { lines: named(lines), carrier: text(carrier), label: text(label) }
        }
        CommandV1::Cancel(reason) => Command::Cancel { reason: text(reason) },
        CommandV1::Return(lines) => Command::Return { lines: named(lines) },
        CommandV1::Refund(amount) => Command::Refund { amount },
        CommandV1::Done(n, forget, reason, once) => Command::Done {
            step: if forget { Step::Forget(n) } else { Step::Deed(n) },
            done: reason.map_or(Done::Yes, |reason| Done::Refused { reason: reason.into() }),
            once,
        },
        CommandV1::Wake => Command::Wake,
        CommandV1::LearnRefunded(captured, refunded) => Command::LearnRefunded { captured, refunded },
    })
}

/// The refusal's bytes.
///
/// # Errors
/// [`EncodeError`], which no refusal causes.
pub fn encode_order_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
    let body = match *refusal {
        Refusal::NotFound => RefusalV1::NotFound,
        Refusal::ShopOnly => RefusalV1::ShopOnly,
        Refusal::RevisionMismatch { present } => RefusalV1::RevisionMismatch(present),
        Refusal::IllegalTransition { status, action } => {
            RefusalV1::IllegalTransition(place(&Status::ALL, status), place(&ACTIONS, action))
        }
        Refusal::NoLines => RefusalV1::NoLines,
        Refusal::LineNotFound(line) => RefusalV1::LineNotFound(line.0),
        Refusal::QuantityOutOfRange { line, requested, max } => RefusalV1::QuantityOutOfRange(line.0, requested, max),
        Refusal::RefundOutOfRange { requested, max } => RefusalV1::RefundOutOfRange(requested, max),
        Refusal::TooManyShipments { .. } => RefusalV1::TooManyShipments,
        Refusal::Busy => RefusalV1::Busy,
        Refusal::Inconsistent => RefusalV1::Inconsistent,
    };
    envelope::seal(RecordKind::Refusal, WIRE_V, 1, &Tagged { tag: TAG, body }, RECORD_BYTES_MAX)
}

/// The refusal back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_order_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
    Ok(match untagged(envelope::open(bytes, RecordKind::Refusal, WIRE_V)?)? {
        RefusalV1::NotFound => Refusal::NotFound,
        RefusalV1::ShopOnly => Refusal::ShopOnly,
        RefusalV1::RevisionMismatch(present) => Refusal::RevisionMismatch { present },
        RefusalV1::IllegalTransition(status, action) => {
            let status = Status::ALL.get(usize::from(status)).ok_or_else(|| malformed("a status that no order has"))?;
            let action = ACTIONS.get(usize::from(action)).ok_or_else(|| malformed("an action that no order knows"))?;
            Refusal::IllegalTransition { status: *status, action: *action }
        }
        RefusalV1::NoLines => Refusal::NoLines,
        RefusalV1::LineNotFound(line) => Refusal::LineNotFound(LineId(line)),
        RefusalV1::QuantityOutOfRange(line, requested, max) => {
            Refusal::QuantityOutOfRange { line: LineId(line), requested, max }
        }
        RefusalV1::RefundOutOfRange(requested, max) => Refusal::RefundOutOfRange { requested, max },
        RefusalV1::TooManyShipments => Refusal::TooManyShipments { max: SHIPMENTS_MAX },
        RefusalV1::Busy => Refusal::Busy,
        RefusalV1::Inconsistent => Refusal::Inconsistent,
    })
}

fn untagged<T>(tagged: Tagged<T>) -> Result<T, DecodeError> {
    if tagged.tag == TAG { Ok(tagged.body) } else { Err(malformed("this is for another kind of actor")) }
}

/// Where `value` is in a list that holds every one.
fn place<T: PartialEq>(all: &[T], value: T) -> u8 {
    all.iter().zip(0..).find(|(known, _)| **known == value).map_or(u8::MAX, |(_, number)| number)
}
