//! What may be asked of an order. Parsed at the door: texts are within their bounds here; what depends on the order's
//! state is checked by `decide`.

use super::{
    deed::{Done, Step},
    placement::Placement,
};
use crate::domain::cart::LineId;

/// What may be asked of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make the order. On an order that is there already: no change.
    Place(Box<Placement>),
    /// Take the money now. Taken already, or being taken: no change. The shop's.
    Capture,
    /// A parcel leaves. Where the money is not taken yet it is taken first, and the parcel waits for it. The shop's.
    Fulfil {
        /// What is in it; a line that is named twice counts twice.
        lines: Vec<(LineId, u16)>,
        /// Who carries it.
        carrier: Option<Box<str>>,
        /// Its label or tracking number.
        label: Option<Box<str>>,
    },
    /// Cancel the order: its money and goods go back. Only while nothing has been fulfilled; cancelled already: no change.
    Cancel {
        /// Why, for people.
        reason: Option<Box<str>>,
    },
    /// Goods came back: what was paid for them goes back.
    Return {
        /// What came back; a line that is named twice counts twice.
        lines: Vec<(LineId, u16)>,
    },
    /// Give money back. The shop's.
    Refund {
        /// How much, in minor units.
        amount: i64,
    },
    /// The gateway says how much it has taken and given back in all: what of that the order did not ask for, somebody gave
    /// back there. Nothing that is new: no change. The shop's, and only while no money is on its way: until then nobody
    /// can tell whose it is.
    LearnRefunded {
        /// How much was taken, in minor units.
        captured: i64,
        /// How much of that went back.
        refunded: i64,
    },
    /// A deed was answered for good. One that is not pending: no change.
    Done {
        /// Which.
        step: Step,
        /// The answer.
        done: Done,
        /// No second request for it can be on its way.
        once: bool,
    },
    /// The clock says so: have the stocks forget what is old enough.
    Wake,
}
