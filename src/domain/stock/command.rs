//! What may be asked of a product's stock. Every command but an adjustment carries a [`Reference`] that makes it safe to
//! repeat; an adjustment is guarded by its client's key.

use crate::domain::{Reference, UnixMillis, holds::Act};

/// Where restocked units come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// They were sold and never left: an order was cancelled.
    Sold,
    /// They had left and came back.
    Returned,
}

/// What may be asked of a product's stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Set units aside for a checkout. The first command to a stock opens it. Where they are set aside already: at least
    /// until then; a quantity other than the first one's means nothing.
    Hold {
        /// Which product.
        sku: Box<str>,
        /// What a stock that is not there yet opens with.
        initial: u32,
        /// Names the hold.
        by: Reference,
        /// How many.
        quantity: u32,
        /// Until when.
        expires_at: UnixMillis,
    },
    /// Give a hold back, and refuse it where it comes only later. The first command to a stock opens it.
    Release {
        /// Which product.
        sku: Box<str>,
        /// What a stock that is not there yet opens with.
        initial: u32,
        /// Names the hold.
        by: Reference,
    },
    /// Something about a hold; to forget, also about a move.
    Act {
        /// Names the hold or move.
        by: Reference,
        /// What.
        act: Act,
    },
    /// Sold units leave.
    Ship {
        /// Names the move.
        by: Reference,
        /// How many.
        quantity: u32,
    },
    /// Units can be had again.
    Restock {
        /// Names the move.
        by: Reference,
        /// How many.
        quantity: u32,
        /// Which ones.
        from: Source,
    },
    /// The shop counted, received or lost units. The first command to a stock opens it.
    Adjust {
        /// Which product.
        sku: Box<str>,
        /// What a stock that is not there yet opens with.
        initial: u32,
        /// How many more, or fewer, can be had.
        change: i32,
        /// Why, for people.
        reason: Box<str>,
    },
    /// The clock says so: let what has lapsed go.
    Expire,
}
