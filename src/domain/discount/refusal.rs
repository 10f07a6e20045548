//! Why a discount code says no. A refusal had no effect.

use crate::domain::holds;

/// Why a discount code says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody defined it.
    #[error("there is no such code")]
    NotFound,
    /// Too early or too late.
    #[error("the code is not valid now")]
    NotValidNow,
    /// All its uses are taken.
    #[error("the code is used up")]
    UsedUp,
    /// All uses that this shopper has are taken.
    #[error("this shopper has used the code up")]
    UsedUpByShopper,
    /// There is no hold of that name that this can be done to.
    #[error("there is no such hold")]
    NotHeld,
    /// The hold's time is over, or it was given back.
    #[error("the hold has ended")]
    Ended,
    /// Too many checkouts hold it, or have not let go yet: worth another try.
    #[error("too many checkouts hold this code")]
    TooMany,
    /// The code changed since the client saw it.
    #[error("the code is at revision {present}")]
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
