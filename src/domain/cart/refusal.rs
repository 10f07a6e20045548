//! Why a cart says no. A refusal had no effect.

use super::state::{LineId, Status};
use crate::domain::{Currency, pricing::Reason};

/// Why a cart says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such cart, or it is somebody else's: the two must look the same.
    #[error("there is no such cart")]
    NotFound,
    /// The cart has ended.
    #[error("the cart is not open")]
    NotOpen(Status),
    /// There is no such line, or not where the command needs it.
    #[error("the cart has no line {0} there")]
    LineNotFound(LineId),
    /// One line more than a cart may have.
    #[error("a cart holds at most {max} lines, saved ones included")]
    TooManyLines {
        /// The limit.
        max: usize,
    },
    /// The line would hold more than its product allows.
    #[error("{requested} is more than the {max} that one cart may hold of this product")]
    QuantityOutOfRange {
        /// What the line would hold.
        requested: u32,
        /// The limit.
        max: u16,
    },
    /// The product is priced in another currency.
    #[error("the cart is in {cart}, the product is priced in {product}")]
    CurrencyMismatch {
        /// The cart's.
        cart: Currency,
        /// The product's.
        product: Currency,
    },
    /// The cart changed since the client saw it.
    #[error("the cart is at revision {present}")]
    RevisionMismatch {
        /// Its revision now.
        present: u64,
    },
    /// The code cannot be applied.
    #[error("{0}")]
    CodeNotApplicable(Reason),
    /// One code more than a cart may have.
    #[error("a cart takes at most {max} codes")]
    TooManyCodes {
        /// The limit.
        max: usize,
    },
    /// The cart has no such code.
    #[error("the cart has no such code")]
    CodeNotFound,
    /// There is nothing to buy.
    #[error("the cart has no line to buy")]
    Empty,
    /// The lines, with the shopper's choices and the client's facts, are more than a checkout keeps.
    #[error(
        "the lines are too large to be bought together, options and metadata included: remove some, or add them again with \
         less metadata"
    )]
    LinesTooLarge,
    /// The sum would not fit.
    #[error("the cart's total would be too large")]
    TotalTooLarge,
}
