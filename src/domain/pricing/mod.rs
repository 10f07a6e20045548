//! What a purchase costs: discounts, shipping, tax. All sums are exact; the parts always make the total.
//!
//! `docs/pricing.md` tells the rules of rounding and the order in which they apply.

mod compute;
mod quote;
mod request;
mod round;
mod tables;
#[cfg(test)]
mod tests;

pub use compute::quote;
pub use quote::{Discounted, NotApplied, Offer, Priced, Quote, Quoted, Reason};
pub use request::{Item, Refusal, Request};
pub use round::{allocate, percent, tax_within};
pub use tables::{BASIS_POINTS_MAX, Rate, SHIPPING_CATEGORY, Shipping, Tables, Tax, UpTo};
