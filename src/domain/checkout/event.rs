//! What happened to a checkout.

use super::{
    command::Create,
    state::{Email, Lack, Phase, Undone},
};
use crate::domain::{
    UnixMillis,
    address::Address,
    payment::{GatewayReference, Token},
    pricing::Quote,
};

/// One change, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: UnixMillis,
    /// What happened.
    pub change: Change,
}

/// What happened. Holds are counted from 0, attempts from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created(Box<Create>),
    /// Where to, how, to whom and at what price was set, to all of this.
    Patched {
        /// Where to write to the shopper.
        email: Option<Email>,
        /// Where the goods go.
        address: Option<Box<Address>>,
        /// The way of shipping.
        option: Option<Box<str>>,
        /// What it costs.
        quote: Box<Quote>,
        /// When it expires.
        expires_at: UnixMillis,
    },
    /// A payment attempt began.
    AttemptBegan {
        /// Which gateway.
        gateway: Box<str>,
        /// The shopper's token.
        token: Token,
        /// How much, in minor units.
        amount: i64,
        /// When the checkout expires.
        expires_at: UnixMillis,
        /// Until when goods are held again if it fails.
        hold_until: UnixMillis,
    },
    /// Something is held, until then at least.
    Held {
        /// What.
        hold: u16,
        /// Until when.
        until: UnixMillis,
        /// No second request to hold it can be on its way.
        once: bool,
    },
    /// Something cannot be held.
    HoldRefused {
        /// What.
        hold: u16,
        /// Why.
        lack: Lack,
        /// No second request to hold it can be on its way.
        once: bool,
    },
    /// Something is pinned.
    Pinned {
        /// What.
        hold: u16,
        /// For which attempt.
        attempt: u32,
    },
    /// Something is sold.
    Committed(u16),
    /// Something is given back.
    Released(u16),
    /// Something is thought of no more.
    Forgotten(u16),
    /// The present attempt waits for its shopper.
    ActionRequired {
        /// The gateway's name for the payment.
        reference: GatewayReference,
        /// Where the shopper goes.
        url: Box<str>,
    },
    /// The shopper did it; the gateway is asked again.
    Confirmed {
        /// When patience ends.
        until: UnixMillis,
    },
    /// The present attempt's money is reserved, for this checkout to be bought with.
    Approved {
        /// The gateway's name for the payment.
        reference: GatewayReference,
    },
    /// The present attempt was declined.
    Declined {
        /// Why, for people.
        reason: Box<str>,
    },
    /// The present attempt's gateway is away.
    Unavailable,
    /// The present attempt takes too long.
    AbandoningBegan,
    /// No money is reserved for an attempt, and none will be.
    Abandoned(u32),
    /// Money is reserved for an attempt that is of no use any more.
    FoundReserved {
        /// Which attempt.
        attempt: u32,
        /// The gateway's name for the payment.
        reference: GatewayReference,
    },
    /// An attempt's money was given back.
    Voided {
        /// Which attempt.
        attempt: u32,
        /// Whether the gateway had none to give back.
        refused: bool,
    },
    /// It comes to nothing: what was done is taken back.
    UnwindingBegan(Undone),
    /// A phase is over: the next one.
    Moved(Phase),
}
