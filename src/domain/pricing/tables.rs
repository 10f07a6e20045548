//! What shipping costs and what tax is due: the shop's tables, and how they are read.

use super::quote::Offer;
use crate::domain::{
    Currency,
    address::{Address, Country},
};

/// Most basis points of a tax or a percentage: the whole.
pub const BASIS_POINTS_MAX: u16 = 10_000;
/// The category that shipping itself is taxed as.
pub const SHIPPING_CATEGORY: &str = "shipping";

/// What shipping costs and what tax is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Ways of shipping. Of several with one id the first that fits a purchase is offered.
    pub shipping: Vec<Shipping>,
    /// Taxes; the most specific that fits is due.
    pub taxes: Vec<Tax>,
    /// Whether prices, the shipping's too, include the tax.
    pub tax_included: bool,
}

/// A way of shipping, to some countries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipping {
    /// Names it in requests.
    pub id: Box<str>,
    /// For people.
    pub title: Box<str>,
    /// Where to; `None` = everywhere.
    pub countries: Option<Vec<Country>>,
    /// Of its prices.
    pub currency: Currency,
    /// What it costs: the first whose bound holds the purchase. Past all of them it is not offered.
    pub rates: Vec<Rate>,
}

/// A price of shipping, up to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Up to and with; `None` = always.
    pub up_to: Option<UpTo>,
    /// In minor units: zero or more.
    pub price: i64,
}

/// What bounds a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// What the goods weigh, in grams.
    WeightG(u64),
    /// What the goods cost after discounts, in minor units.
    Total(i64),
}

/// A tax on goods of a category that go to a country or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tax {
    /// Which country.
    pub country: Country,
    /// Which part of it; `None` = all. Compared without regard to ASCII case.
    pub region: Option<Box<str>>,
    /// Which goods; `None` = all.
    pub category: Option<Box<str>>,
    /// How much: at most [`BASIS_POINTS_MAX`].
    pub basis_points: u16,
}

impl Tables {
    /// No shipping, no taxes: what a cart is priced with, which has no address.
    pub const NONE: Self = Self { shipping: Vec::new(), taxes: Vec::new(), tax_included: false };

    /// Ways of shipping to `address`, with their prices for goods of this weight that cost this after discounts.
    #[must_use]
    pub fn offers(&self, address: &Address, currency: Currency, weight_g: u64, total: i64) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        for way in &self.shipping {
            let goes_there = way.countries.as_ref().is_none_or(|countries| countries.contains(&address.country));
            let holds = |rate: &&Rate| match rate.up_to {
                None => true,
                Some(UpTo::WeightG(most)) => weight_g <= most,
                Some(UpTo::Total(most)) => total <= most,
            };
            if !goes_there || way.currency != currency || offers.iter().any(|offer| offer.id == way.id) {
                continue;
            }
            if let Some(rate) = way.rates.iter().find(holds) {
                offers.push(Offer { id: way.id.clone(), title: way.title.clone(), price: rate.price.max(0) });
            }
        }
        offers
    }

    /// The tax on goods of these categories that go to `address`, in basis points. The most specific one is due: region
    /// and category before region before category before country; of equally specific ones the first in the table; 0
    /// where none fits.
    #[must_use]
    pub fn tax_basis_points(&self, address: &Address, categories: &[Box<str>]) -> u16 {
        let region = address.region.as_deref().unwrap_or_default().trim();
        let fits = |tax: &&Tax| {
            tax.country == address.country
                && tax.region.as_ref().is_none_or(|of| of.eq_ignore_ascii_case(region))
                && tax.category.as_ref().is_none_or(|of| categories.contains(of))
        };
        let specific = |tax: &Tax| (tax.region.is_some(), tax.category.is_some());
        // `max_by_key` takes the last of equals: from the end, that is the first.
        let due = self.taxes.iter().filter(fits).rev().max_by_key(|tax| specific(tax));
        due.map_or(0, |tax| tax.basis_points.min(BASIS_POINTS_MAX))
    }
}
