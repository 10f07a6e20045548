//! What happened to a product's stock.

use super::command::Source;
use crate::domain::{Reference, UnixMillis, holds};

/// One change, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: UnixMillis,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The stock was opened.
    Opened {
        /// Of which product.
        sku: Box<str>,
        /// With how many units.
        available: u32,
    },
    /// Something happened to a hold.
    Hold(holds::Change<u32>),
    /// Sold units left.
    Shipped {
        /// Names the move.
        by: Reference,
        /// How many.
        quantity: u32,
    },
    /// Units can be had again.
    Restocked {
        /// Names the move.
        by: Reference,
        /// How many.
        quantity: u32,
        /// Which ones.
        from: Source,
    },
    /// Whoever asked for a move will not ask again.
    MoveForgotten {
        /// Names the move.
        by: Reference,
    },
    /// What can be had was corrected.
    Adjusted {
        /// By how many.
        change: i32,
        /// Why, for people.
        reason: Box<str>,
    },
    /// What was kept only against late commands, for long enough, went.
    Swept,
}
