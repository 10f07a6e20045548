//! The sandbox bank's record: one payment and what was done with it. The public structs are version 1 itself, frozen: the
//! order of the fields is the format.

use bincode::{Decode, Encode};

use super::envelope::{self, DecodeError, EncodeError, ROW_BYTES_MAX, RecordKind};
use crate::domain::{Currency, Id, Reference};

/// Version of a bank payment's bytes.
pub const BANK_SCHEMA_V: u16 = 1;
/// Most deeds that one payment keeps. Far more than an order asks for: captures and refunds in parts, one by one.
pub const BANK_DEEDS_MAX: usize = 256;

/// A payment in the sandbox bank's book.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct BankPayment {
    /// Who asked for it.
    pub by: u128,
    /// Which of the asker's payments it is.
    pub n: u32,
    /// Where it stands.
    pub state: BankState,
    /// How much was asked for, in minor units. 0 when it was abandoned before anybody asked.
    pub amount: i64,
    /// Of what.
    pub currency: [u8; 3],
    /// Moved to the shop, of what is reserved.
    pub captured: i64,
    /// Moved back, of what was captured.
    pub refunded: i64,
    /// Whether a capture is refused for good.
    pub refuses_capture: bool,
    /// When it was first heard of, in Unix milliseconds.
    pub created_at_ms: u64,
    /// What was done, oldest first: by this a repeated deed is recognised.
    pub deeds: Vec<BankDeed>,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub enum BankState {
    /// It was asked for, and will happen after a look-up has said that it had not.
    Late,
    /// It waits for the shopper.
    ActionRequired,
    /// The money is reserved, or was moved.
    Authorised,
    /// It was declined.
    Declined,
    /// It can never be authorised any more.
    Abandoned,
    /// The money was reserved, and is free again.
    Voided,
}

/// Something that was done with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct BankDeed {
    /// Who asked for it.
    pub by: u128,
    /// Which of the asker's deeds it is.
    pub n: u32,
    /// What it was.
    pub kind: BankDeedKind,
    /// How much, in minor units.
    pub amount: i64,
    /// Whether it was refused, for good.
    pub is_refused: bool,
}

/// What can be done with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub enum BankDeedKind {
    /// Money moves to the shop.
    Capture,
    /// Reserved money is freed.
    Void,
    /// Money moves back to the shopper.
    Refund,
}

impl BankPayment {
    /// The key that it was asked for under.
    #[must_use]
    pub const fn key(&self) -> Reference {
        Reference { by: Id(self.by), n: self.n }
    }

    /// What its deeds of a kind moved.
    fn moved(&self, kind: BankDeedKind) -> Option<i64> {
        let done = self.deeds.iter().filter(|deed| deed.kind == kind && !deed.is_refused);
        done.map(|deed| deed.amount).try_fold(0_i64, i64::checked_add)
    }

    /// Why no bank could have such a payment.
    fn fault(&self) -> Option<&'static str> {
        let is_currency = std::str::from_utf8(&self.currency).is_ok_and(|text| Currency::parse(text).is_ok());
        let is_open = self.state == BankState::Authorised;
        let faults = [
            (!is_currency, "the currency is no ISO 4217 code"),
            (self.amount < 0 || self.refunded < 0, "a negative amount"),
            (self.captured > self.amount, "more was captured than authorised"),
            (self.refunded > self.captured, "more was refunded than captured"),
            (self.captured > 0 && !is_open, "captured without being authorised"),
            (self.deeds.len() > BANK_DEEDS_MAX, "too many deeds"),
            (self.deeds.iter().any(|deed| deed.amount < 0), "a deed of a negative amount"),
            (self.moved(BankDeedKind::Capture) != Some(self.captured), "the captures do not add up"),
            (self.moved(BankDeedKind::Refund) != Some(self.refunded), "the refunds do not add up"),
        ];
        faults.into_iter().find_map(|(is_so, what)| is_so.then_some(what))
    }
}

/// The payment's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_bank(payment: &BankPayment) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Bank, BANK_SCHEMA_V, 1, payment, ROW_BYTES_MAX)
}

/// The payment back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_bank(bytes: &[u8]) -> Result<BankPayment, DecodeError> {
    let payment: BankPayment = envelope::open(bytes, RecordKind::Bank, BANK_SCHEMA_V)?;
    match payment.fault() {
        None => Ok(payment),
        Some(fault) => Err(DecodeError::Malformed(fault.into())),
    }
}
