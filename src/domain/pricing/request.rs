//! What a quote is asked for.

use super::tables::Tables;
use crate::domain::{Currency, UnixMillis, address::Address, cart::LineId, discount::Rule};

/// Some units of a product, as pricing sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The cart's line.
    pub line: LineId,
    /// How many.
    pub quantity: u16,
    /// Price of one, in minor units: zero or more.
    pub unit_price: i64,
    /// Where its product is filed.
    pub categories: &'a [Box<str>],
    /// What one weighs, in grams.
    pub weight_g: u32,
}

/// What a quote is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Of every price.
    pub currency: Currency,
    /// What is bought.
    pub items: &'a [Item<'a>],
    /// Codes, in the order in which the shopper gave them; none twice.
    pub rules: &'a [Rule],
    /// When: codes have their times.
    pub now: UnixMillis,
    /// Where to; without it nothing is shipped or taxed yet.
    pub address: Option<&'a Address>,
    /// The way of shipping chosen among the offers.
    pub option: Option<&'a str>,
    /// What shipping costs and what tax is due.
    pub tables: &'a Tables,
}

/// Why there is no quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The way of shipping chosen is not offered for this purchase to this address, or there is no address yet.
    #[error("this way of shipping is not offered for this purchase to this address")]
    OptionNotOffered,
    /// A sum would not fit, or a price is negative.
    #[error("the purchase's total would be out of range")]
    OutOfRange,
}
