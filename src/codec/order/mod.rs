//! An order's record, `OrderV1`, frozen, and what is asked of an order by other nodes.

mod frozen;
mod read;
mod wire;
mod written;

use std::borrow::Borrow;

use bytes::Bytes;

pub(super) use self::frozen::OrderV1;
pub use self::wire::{decode_order_command, decode_order_refusal, encode_order_command, encode_order_refusal};
use super::{
    envelope::{self, DecodeError, EncodeError, ROW_BYTES_MAX, RecordKind},
    record::Record,
    record_v1::RecordV1,
};
use crate::domain::order::Order;

/// Version of the bytes that this release writes.
pub const ORDER_SCHEMA_V: u16 = 1;
/// Versions up to this one are read.
const READS: u16 = 1;

/// The record's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_order<S: Borrow<Order>>(record: &Record<S>) -> Result<Bytes, EncodeError> {
    let order: &Order = record.state.borrow();
    let body = RecordV1::around(record, OrderV1::from(order));
    envelope::seal(RecordKind::Order, ORDER_SCHEMA_V, 1, &body, ROW_BYTES_MAX).map(Bytes::from)
}

/// The record back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_order(bytes: &[u8]) -> Result<Record<Order>, DecodeError> {
    envelope::open::<RecordV1<OrderV1>>(bytes, RecordKind::Order, READS)?.into_record(Order::try_from)
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}
