//! What a purchase costs, told in parts.

use crate::domain::{Currency, cart::LineId};

/// One line of a quote. All amounts in the quote's currency's minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The cart's line.
    pub line: LineId,
    /// Unit price times quantity.
    pub subtotal: i64,
    /// This line's share of all discounts: zero or negative.
    pub discount: i64,
    /// Tax on what remains: part of it if the quote's prices include tax, on top of it otherwise.
    pub tax: i64,
}

/// What one code takes off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discounted {
    /// The code.
    pub code: Box<str>,
    /// Zero or negative.
    pub amount: i64,
}

/// A way of shipping, and its price for this purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names it in requests.
    pub id: Box<str>,
    /// For people.
    pub title: Box<str>,
    /// Before discounts.
    pub price: i64,
}

/// What a purchase costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Of every amount in it.
    pub currency: Currency,
    /// One per line, in the order asked.
    pub lines: Vec<Priced>,
    /// What each code takes off lines and shipping; their sum is `discount`.
    pub discounts: Vec<Discounted>,
    /// Ways of shipping to the address; empty without an address.
    pub offers: Vec<Offer>,
    /// The chosen one.
    pub option: Option<Box<str>>,
    /// Sum of the lines' subtotals.
    pub subtotal: i64,
    /// Sum of the discounts: zero or negative.
    pub discount: i64,
    /// The chosen offer's price, before discounts; 0 without one.
    pub shipping: i64,
    /// Tax on lines and shipping.
    pub tax: i64,
    /// Whether prices include the tax.
    pub tax_included: bool,
    /// What is paid: subtotal + discount + shipping, and the tax unless it is included.
    pub total: i64,
}

/// Why a code takes nothing off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is for carts in another currency.
    #[error("the code is for purchases in {0}")]
    Currency(Currency),
    /// Its time has not come.
    #[error("the code is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the code is not valid any more")]
    Over,
    /// No line is of its categories.
    #[error("the code applies to none of these lines")]
    NoLine,
    /// The lines that it applies to come to less than it asks for.
    #[error("the code needs lines of {minimum} minor units, these come to {reached}")]
    Minimum {
        /// What it asks for.
        minimum: i64,
        /// What the lines come to before discounts.
        reached: i64,
    },
    /// What it would take off costs nothing, or nothing any more after the codes before it.
    #[error("nothing is left that the code could take off")]
    NothingLeft,
}

impl Reason {
    /// A word for machines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Currency(_) => "discount_currency_mismatch",
            Self::NotYet => "discount_not_valid_yet",
            Self::Over => "discount_not_valid_any_more",
            Self::NoLine => "discount_matches_no_line",
            Self::Minimum { .. } => "discount_minimum_not_reached",
            Self::NothingLeft => "discount_has_nothing_left",
        }
    }
}

/// A code that takes nothing off, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApplied {
    /// The code.
    pub code: Box<str>,
    /// Why.
    pub reason: Reason,
}

/// A quote, and the codes that are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// What is to be paid, and to be kept.
    pub quote: Quote,
    /// Codes that do not apply, in the order asked: every code is either here or among the quote's discounts.
    pub not_applied: Vec<NotApplied>,
}
