//! Why an order says no.

use super::state::Status;
use crate::domain::cart::LineId;

/// What was asked for where it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Take the money.
    Capture,
    /// Send goods.
    Fulfil,
    /// Cancel the order.
    Cancel,
    /// Take goods back.
    Return,
    /// Give money back.
    Refund,
}

impl Action {
    /// As it reads after "cannot be".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "captured",
            Self::Fulfil => "fulfilled",
            Self::Cancel => "cancelled",
            Self::Return => "returned",
            Self::Refund => "refunded",
        }
    }
}

/// Why an order refuses a command. It had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such order, or it is somebody else's: the two must look the same.
    #[error("there is no such order")]
    NotFound,
    /// Only the shop may do this.
    #[error("only the shop may do this")]
    ShopOnly,
    /// The order changed since the client saw it.
    #[error("the order is at revision {present}")]
    RevisionMismatch {
        /// Its revision now.
        present: u64,
    },
    /// Not from where the order is.
    #[error("an order that is {} cannot be {}", .status.as_str(), .action.as_str())]
    IllegalTransition {
        /// Where it is.
        status: Status,
        /// What was asked.
        action: Action,
    },
    /// No line was named.
    #[error("name at least one line")]
    NoLines,
    /// There is no such line.
    #[error("the order has no line {0}")]
    LineNotFound(LineId),
    /// No units, or more than there are to ship or to take back.
    #[error("{requested} units of line {line} were asked for, 1 to {max} are possible")]
    QuantityOutOfRange {
        /// Which line.
        line: LineId,
        /// How many were asked for.
        requested: u32,
        /// How many are left.
        max: u16,
    },
    /// No money, or more than was taken and has not been given back.
    #[error("{requested} was asked for, 1 to {max} are possible")]
    RefundOutOfRange {
        /// How much was asked for, in minor units.
        requested: i64,
        /// How much is left.
        max: i64,
    },
    /// One shipment more than an order may have.
    #[error("an order has at most {max} shipments")]
    TooManyShipments {
        /// The limit.
        max: usize,
    },
    /// Too much is under way: worth another try later.
    #[error("too much of this order is still under way")]
    Busy,
    /// A checkout gave what cannot be an order: a fault of ours.
    #[error("what the checkout gave is no order")]
    Inconsistent,
}
