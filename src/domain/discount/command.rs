//! What may be asked of a discount code. Safe to repeat: a definition says what should be, all else carries a
//! [`Reference`].

use super::rule::Rule;
use crate::domain::{Reference, UnixMillis, holds::Act};

/// What may be asked of a discount code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let the code be worth this from now on; uses stay.
    Define(Rule),
    /// Set a use aside for a checkout. Where it is set aside already: at least until then; a shopper other than the
    /// first one means nothing.
    Hold {
        /// Names the hold.
        by: Reference,
        /// Who uses it: the bits of the shopper's id.
        shopper: u128,
        /// Until when.
        expires_at: UnixMillis,
    },
    /// Something about a hold.
    Act {
        /// Names the hold.
        by: Reference,
        /// What.
        act: Act,
    },
    /// The clock says so: let what has lapsed go.
    Expire,
}
