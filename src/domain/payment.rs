//! What is said between a checkout or an order and a payment gateway.
//!
//! Every deed carries a [`Reference`] that never changes: sending it again asks for the same deed.

use std::fmt;

use super::{Money, Reference};

/// Longest token of a gateway.
pub const TOKEN_BYTES_MAX: usize = 255;

/// What a gateway gave the shopper's browser for their card. Whoever has it may charge once: it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Box<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The gateway's own name for a payment.
pub type GatewayReference = Box<str>;

/// Reserve money under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorise {
    /// The attempt: the same key again is the same attempt.
    pub key: Reference,
    /// Which gateway: `sandbox`, `stripe` …
    pub gateway: Box<str>,
    /// The shopper's token.
    pub token: Token,
    /// How much.
    pub amount: Money,
}

/// What a gateway says to an authorisation, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorised {
    /// The money is reserved.
    Yes {
        /// The gateway's name for the payment.
        reference: GatewayReference,
    },
    /// It is not, and will not be under this key.
    Declined {
        /// Why, for people.
        reason: Box<str>,
    },
    /// The shopper must do something first, under the same key; then ask again under the same key.
    ActionRequired {
        /// The gateway's name for the payment.
        reference: GatewayReference,
        /// Where the shopper does it.
        url: Box<str>,
    },
    /// Certainly not reserved, and nothing was begun: the gateway is known to be away.
    Unavailable,
}

/// What is known after a key was abandoned: from now on an authorisation under it can never succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// No money is reserved under it.
    Nothing,
    /// It had succeeded before: the money is reserved, and must be captured or voided.
    Authorised {
        /// The gateway's name for the payment.
        reference: GatewayReference,
    },
}

/// What a gateway says to a capture or a refund, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The money moved.
    Yes,
    /// It did not, and will not under this key.
    Refused {
        /// Why, for people.
        reason: Box<str>,
    },
}

/// A deed on a payment that was authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The same key again is the same deed.
    pub key: Reference,
    /// Which gateway.
    pub gateway: Box<str>,
    /// The gateway's name for the payment.
    pub reference: GatewayReference,
    /// How much; a void needs none.
    pub amount: Money,
}
