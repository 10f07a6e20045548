//! What happened to an order.

use super::{
    deed::{Done, Work},
    placement::Placement,
    state::Cause,
};
use crate::domain::{UnixMillis, cart::LineId};

/// One change, when, and what it needs done elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: UnixMillis,
    /// What happened.
    pub change: Change,
    /// The deeds that it adds; they get their numbers in this order.
    pub wants: Vec<Work>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The order was made.
    Placed(Box<Placement>),
    /// The money was asked for.
    CaptureAsked,
    /// A parcel was asked for.
    Fulfilled {
        /// What is in it: each line once.
        lines: Vec<(LineId, u16)>,
        /// Who carries it.
        carrier: Option<Box<str>>,
        /// Its label.
        label: Option<Box<str>>,
        /// Whether it leaves, or waits for the money.
        leaves: bool,
    },
    /// The parcels that waited for the money leave.
    WaitingShipped,
    /// The order was cancelled; parcels that waited never leave.
    Cancelled {
        /// By whom or what.
        cause: Cause,
        /// Why, for people.
        reason: Option<Box<str>>,
    },
    /// Goods came back.
    Returned {
        /// Which: each line once.
        lines: Vec<(LineId, u16)>,
        /// What goes back for them.
        refund: i64,
    },
    /// Money shall go back.
    RefundAsked {
        /// How much.
        amount: i64,
    },
    /// Money went back that nobody here had asked for.
    RefundLearnt {
        /// How much.
        amount: i64,
    },
    /// A deed was answered.
    Settled {
        /// Its number.
        n: u32,
        /// The answer.
        done: Done,
        /// No second request for it can be on its way.
        once: bool,
    },
    /// The stocks shall forget every deed that was answered at this moment or before.
    ForgetDue {
        /// The moment.
        until: UnixMillis,
    },
    /// A stock forgot a deed.
    Forgotten {
        /// Its number.
        n: u32,
    },
}
