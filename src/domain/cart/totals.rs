//! What a cart comes to, as far as it can be told without an address.

use super::state::{Cart, Line};
use crate::domain::{
    Money, MoneyError,
    pricing::{self, Item, Reason, Tables},
};

/// Where the product of a SKU is filed, as the catalogue tells it: a cart does not keep it.
pub type CategoriesOf<'a> = &'a dyn Fn(&str) -> Vec<Box<str>>;

/// Sums over the lines (saved ones do not count).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Sum of the lines.
    pub subtotal: Money,
    /// What is taken off: zero or negative.
    pub discount: Money,
    /// What remains.
    pub total: Money,
}

/// A code as a cart shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The code.
    pub code: &'a str,
    /// What it takes off the lines: zero or negative.
    pub amount: i64,
    /// Why it takes nothing off, where it does not apply.
    pub not_applied: Option<Reason>,
}

/// Sums, and what each code has to do with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The sums.
    pub totals: Totals,
    /// Every code of the cart, in its order.
    pub codes: Vec<Shown<'a>>,
}

impl Cart {
    /// Price of the whole line.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`]; `decide` refuses what would get there.
    pub fn line_total(&self, line: &Line) -> Result<Money, MoneyError> {
        Money { amount: line.unit_price, currency: self.currency }.checked_mul(u32::from(line.quantity))
    }

    /// Sum of the lines before discounts.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`]; `decide` refuses what would get there.
    pub fn subtotal(&self) -> Result<Money, MoneyError> {
        let zero = Money::zero(self.currency);
        self.lines.iter().try_fold(zero, |sum, line| sum.checked_add(self.line_total(line)?))
    }

    /// Sums over the lines with discounts; neither shipping nor tax, which need an address.
    ///
    /// Codes with a time are judged as of the cart's last change: two readers of one revision see one cart.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`]; `decide` refuses what would get there.
    pub fn summary(&self, categories: CategoriesOf<'_>) -> Result<Summary<'_>, MoneyError> {
        let subtotal = self.subtotal()?;
        let zero = Money::zero(self.currency);
        if self.codes.is_empty() {
            return Ok(Summary { totals: Totals { subtotal, discount: zero, total: subtotal }, codes: Vec::new() });
        }
        // Asked only where some code needs them.
        let needed = self.codes.iter().any(|rule| !rule.categories.is_empty());
        let filed = |line: &Line| if needed { categories(&line.sku) } else { Vec::new() };
        let filed: Vec<Vec<Box<str>>> = self.lines.iter().map(filed).collect();
        let items: Vec<Item<'_>> = self
            .lines
            .iter()
            .zip(&filed)
            .map(|(line, categories)| Item {
                line: line.id,
                quantity: line.quantity,
                unit_price: line.unit_price,
                categories,
                weight_g: 0,
            })
            .collect();
        let request = pricing::Request {
            currency: self.currency,
            items: &items,
            rules: &self.codes,
            now: self.updated_at,
            address: None,
            option: None,
            tables: &Tables::NONE,
        };
        let quoted = pricing::quote(&request).map_err(|_| MoneyError::Overflow)?;
        let codes = self.codes.iter().map(|rule| {
            let code = &*rule.code;
            let applied = quoted.quote.discounts.iter().find(|discounted| *discounted.code == *code);
            let refused = quoted.not_applied.iter().find(|refused| *refused.code == *code);
            Shown {
                code,
                amount: applied.map_or(0, |discounted| discounted.amount),
                not_applied: refused.map(|refused| refused.reason),
            }
        });
        let codes = codes.collect();
        let of = |amount| Money { amount, currency: self.currency };
        let totals = Totals { subtotal, discount: of(quoted.quote.discount), total: of(quoted.quote.total) };
        Ok(Summary { totals, codes })
    }
}
