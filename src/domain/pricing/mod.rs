//! What a purchase costs: discounts, shipping, tax. All sums are exact; the parts always make the total.

mod quote;

pub use quote::{Discounted, Offer, Priced, Quote};
