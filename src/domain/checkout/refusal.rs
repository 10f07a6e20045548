//! Why a checkout says no. A refusal had no effect.

use super::{ATTEMPTS_MAX, state::Status};

/// What a payment cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Where to write to the shopper.
    Email,
    /// Where the goods go.
    Address,
    /// The way of shipping.
    Option,
}

impl Missing {
    /// The field's name, as clients know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Address => "shipping_address",
            Self::Option => "shipping_option",
        }
    }
}

/// Why a checkout says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such checkout, or it is somebody else's: the two must look the same.
    #[error("there is no such checkout")]
    NotFound,
    /// It takes no such change where it is. `Expired` also while it has not noticed yet.
    #[error("the checkout is {}", .0.as_str())]
    NotOpen(Status),
    /// It changed since the client saw it.
    #[error("the checkout is at revision {present}")]
    RevisionMismatch {
        /// Its revision now.
        present: u64,
    },
    /// A payment needs something first.
    #[error("the checkout has no {} yet", .0.as_str())]
    Missing(Missing),
    /// Not all goods are held yet: try again in a moment.
    #[error("the checkout's goods are still being held")]
    StillHolding,
    /// Too many payments were tried.
    #[error("a checkout takes at most {ATTEMPTS_MAX} payment attempts")]
    TooManyAttempts,
    /// Its payment is reserved or its order made: cancel the order instead.
    #[error("the checkout has been paid for: cancel the order instead")]
    TooLate,
    /// Lines, codes and quote do not belong together: a fault of the caller, who computed them.
    #[error("the checkout's quote is not of what it holds")]
    QuoteMismatch,
}
