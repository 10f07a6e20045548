//! What surrounds the state in the rows of every kind but the cart: version 1, frozen.
//!
//! A kind's frozen struct is `RecordV1<ItsStateV1>`; how the state is read and written is the kind's own business.

use bincode::{Decode, Encode};

use super::{
    cart::{ArmedV1, EffectV1, ReceiptV1, UnsentV1, none},
    envelope::DecodeError,
    record::{Armed, Receipt, Record, Unsent},
};

/// Version 1, frozen: the order of the fields is the format.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct RecordV1<S> {
    pub(super) epoch: u64,
    pub(super) op_id: u128,
    pub(super) state: S,
    pub(super) receipts: Vec<ReceiptV1>,
    pub(super) unsent: Vec<UnsentV1>,
    pub(super) effects: Vec<EffectV1>,
    pub(super) armed: Option<ArmedV1>,
}

impl<S> RecordV1<S> {
    /// All of `record` but its state, around the state's own frozen struct.
    pub(super) fn around<T>(record: &Record<T>, state: S) -> Self {
        let receipt = |receipt: &Receipt| ReceiptV1 {
            key: receipt.key,
            request: receipt.request,
            at: receipt.at.0,
            outcome: receipt.outcome,
        };
        let unsent = |unsent: &Unsent| UnsentV1 {
            sequence: unsent.sequence,
            kind: unsent.kind,
            at: unsent.at.0,
            body: unsent.body.to_vec(),
        };
        Self {
            epoch: record.epoch,
            op_id: record.op_id,
            state,
            receipts: record.receipts.iter().map(receipt).collect(),
            unsent: record.unsent.iter().map(unsent).collect(),
            effects: Vec::new(),
            armed: record.armed.map(|Armed { due, version }| ArmedV1 { due: due.0, version }),
        }
    }

    /// The record back, with the state that `read` makes of the frozen one.
    ///
    /// # Errors
    /// What `read` says of a state that cannot be.
    pub(super) fn into_record<T>(
        self,
        read: impl FnOnce(S) -> Result<T, DecodeError>,
    ) -> Result<Record<T>, DecodeError> {
        none(&self.effects)?;
        Ok(Record {
            epoch: self.epoch,
            op_id: self.op_id,
            state: read(self.state)?,
            receipts: self.receipts.into_iter().map(Receipt::from).collect(),
            unsent: self.unsent.into_iter().map(Unsent::from).collect(),
            armed: self.armed.map(Armed::from),
        })
    }
}
