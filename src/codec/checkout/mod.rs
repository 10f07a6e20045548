//! A checkout's record, `CheckoutV1`, frozen, and what is asked of a checkout by other nodes.

mod frozen;
mod read;
#[cfg(test)]
mod tests;
mod wire;
mod written;

use std::borrow::Borrow;

use bytes::Bytes;

use self::frozen::CheckoutV1;
pub use self::wire::{
    decode_checkout_command, decode_checkout_refusal, encode_checkout_command, encode_checkout_refusal,
};
use super::{
    envelope::{self, DecodeError, EncodeError, ROW_BYTES_MAX, RecordKind},
    record::Record,
    record_v1::RecordV1,
};
use crate::domain::checkout::Checkout;

/// Version of the bytes that this release writes.
pub const CHECKOUT_SCHEMA_V: u16 = 1;
/// Versions up to this one are read.
const READS: u16 = 1;

/// The record's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_checkout<S: Borrow<Checkout>>(record: &Record<S>) -> Result<Bytes, EncodeError> {
    let body = RecordV1::around(record, CheckoutV1::from(record.state.borrow()));
    envelope::seal(RecordKind::Checkout, CHECKOUT_SCHEMA_V, 1, &body, ROW_BYTES_MAX).map(Bytes::from)
}

/// The record back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_checkout(bytes: &[u8]) -> Result<Record<Checkout>, DecodeError> {
    envelope::open::<RecordV1<CheckoutV1>>(bytes, RecordKind::Checkout, READS)?.into_record(Checkout::try_from)
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}
