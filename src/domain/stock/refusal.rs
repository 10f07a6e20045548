//! Why a stock says no. A refusal had no effect.

use crate::domain::holds;

/// Why a stock says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody opened it, or it is another product's.
    #[error("there is no such stock")]
    NotFound,
    /// Fewer can be had than are asked for.
    #[error("only {available} can be had")]
    Insufficient {
        /// How many can be had.
        available: u32,
    },
    /// Too many checkouts hold it, or too much has not been forgotten yet: worth another try.
    #[error("too many checkouts and orders are busy with this product")]
    TooManyHolds,
    /// The hold's time is over, or it was given back.
    #[error("the hold has ended")]
    Ended,
    /// There is no hold of that name that this can be done to.
    #[error("there is no such hold")]
    NotHeld,
    /// More would leave, or come back unsold, than is sold.
    #[error("only {sold} are sold")]
    NotSold {
        /// How many are sold and have not left.
        sold: u32,
    },
    /// More would be on hand than are counted.
    #[error("more units than a stock counts")]
    TooManyUnits,
    /// The stock changed since the client saw it.
    #[error("the stock is at revision {present}")]
    RevisionMismatch {
        /// Its revision now.
        present: u64,
    },
}

impl From<holds::Refusal> for Refusal {
    fn from(refusal: holds::Refusal) -> Self {
        match refusal {
            holds::Refusal::Ended => Self::Ended,
            holds::Refusal::NotHeld => Self::NotHeld,
        }
    }
}
