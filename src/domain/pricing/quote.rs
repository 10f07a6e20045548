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
