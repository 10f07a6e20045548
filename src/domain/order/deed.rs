//! Deeds: what an order needs done elsewhere, each once, under a number that never changes.

use crate::domain::{
    Reference, UnixMillis,
    cart::LineId,
    payment::{self, Moved},
};

/// Where goods come from that go back into the stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// They were sold and never left.
    Sold,
    /// They left and came back.
    Returned,
}

/// What a deed does. Nothing in it ever changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Take reserved money.
    Capture {
        /// How much.
        amount: i64,
    },
    /// Let go of reserved money.
    Void,
    /// Give money back.
    Refund {
        /// How much.
        amount: i64,
    },
    /// Sold units leave.
    Ship {
        /// A line of their product.
        goods: LineId,
        /// How many.
        quantity: u32,
    },
    /// Units become available again.
    Restock {
        /// A line of their product.
        goods: LineId,
        /// How many.
        quantity: u32,
        /// Where they were.
        from: Origin,
    },
}

impl Work {
    /// Whether a stock does it, which must then be told to forget it; gateways remember by themselves.
    #[must_use]
    pub const fn is_of_stock(self) -> bool {
        matches!(self, Self::Ship { .. } | Self::Restock { .. })
    }
}

/// How far a deed is. One that is over is dropped: its number comes never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeedState {
    /// To be done, perhaps done, the answer is not known.
    Wanted,
    /// A stock did it, and still knows that it did.
    Remembered {
        /// When the answer came.
        since: UnixMillis,
    },
    /// The stock shall forget it.
    Forgetting,
}

/// Something that must be done elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Its number in this order: it makes its [`Reference`].
    pub n: u32,
    /// What it does.
    pub work: Work,
    /// How far it is.
    pub state: DeedState,
}

/// Names one thing that is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Do the deed of this number.
    Deed(u32),
    /// Have its stock forget it.
    Forget(u32),
}

/// What must be done, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The gateway takes the money.
    Capture(payment::Deed),
    /// The gateway lets go of it.
    Void(payment::Deed),
    /// The gateway gives it back.
    Refund(payment::Deed),
    /// The stock lets sold units leave.
    Ship {
        /// Whose stock.
        sku: Box<str>,
        /// The same reference again is the same deed.
        by: Reference,
        /// How many.
        quantity: u32,
    },
    /// The stock takes units in.
    Restock {
        /// Whose stock.
        sku: Box<str>,
        /// The same reference again is the same deed.
        by: Reference,
        /// How many.
        quantity: u32,
        /// Where they were.
        from: Origin,
    },
    /// The stock forgets a deed.
    Forget {
        /// Whose stock.
        sku: Box<str>,
        /// The deed's reference.
        by: Reference,
    },
}

/// The final answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done, now or before.
    Yes,
    /// It is not done, and will not be under this number.
    Refused {
        /// Why, for people.
        reason: Box<str>,
    },
}

impl From<Moved> for Done {
    fn from(moved: Moved) -> Self {
        match moved {
            Moved::Yes => Self::Yes,
            Moved::Refused { reason } => Self::Refused { reason },
        }
    }
}
