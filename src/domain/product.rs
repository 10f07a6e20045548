//! A product as the shop sells it: what the catalogue holds and what a cart line copies from it.

use super::money::Money;

/// Highest price of one unit, in minor units: with 100 lines of 999 a cart's total stays far below 2^63.
pub const UNIT_PRICE_MAX: i64 = 1_000_000_000_000;

/// Whether a product can be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// Plenty.
    InStock,
    /// Few left.
    Low,
    /// None left; carts refuse it.
    OutOfStock,
}

/// One product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The shop's own name for it: 1–64 of `A-Z a-z 0-9 . _ -`.
    pub sku: Box<str>,
    /// One line, for people.
    pub title: Box<str>,
    /// Any text, for people.
    pub description: Box<str>,
    /// Of one unit.
    pub price: Money,
    /// Option name to the values a shopper may choose; every name must be chosen. Sorted by name.
    pub options: Vec<(Box<str>, Vec<Box<str>>)>,
    /// Where its picture is.
    pub image_url: Option<Box<str>>,
    /// Where it is filed.
    pub categories: Vec<Box<str>>,
    /// Whether it can be had now.
    pub availability: Availability,
    /// The most of it that one cart may hold: 1–999.
    pub quantity_max: u16,
    /// What one unit weighs, in grams, for shipping; 0 = nothing.
    pub weight_g: u32,
    /// Units on hand when its stock is first asked for; from then on the stock itself counts.
    pub stock: u32,
}
