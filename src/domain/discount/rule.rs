//! What a code takes off, and when.

use crate::domain::{Currency, UnixMillis, pricing::Reason};

/// Longest code.
pub const CODE_BYTES_MAX: usize = 40;

/// What a code is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// So many hundredths of a percent of what it applies to.
    Percent {
        /// 1 to 10,000.
        basis_points: u16,
    },
    /// A fixed amount, at most what it applies to.
    Fixed {
        /// Minor units of the rule's currency.
        amount: i64,
    },
    /// The shipping.
    FreeShipping,
}

/// A code as the shop defined it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Upper-case letters, digits and dashes: 1 to 40.
    pub code: Box<str>,
    /// What it is worth.
    pub worth: Worth,
    /// Of carts in which currency.
    pub currency: Currency,
    /// `true`: taken off each line that it applies to (a fixed amount once per line); `false`: off their sum.
    pub per_line: bool,
    /// Applies to lines of these categories; empty = all.
    pub categories: Vec<Box<str>>,
    /// Sum of the lines that it applies to below which it does not, in minor units.
    pub minimum: i64,
    /// Not before.
    pub valid_from: Option<UnixMillis>,
    /// Not at or after.
    pub valid_until: Option<UnixMillis>,
    /// How often it may be used in all.
    pub uses_max: Option<u32>,
    /// How often by one shopper.
    pub uses_per_shopper_max: Option<u32>,
}

impl Rule {
    /// Whether it is good for purchases in this currency at this moment.
    ///
    /// # Errors
    /// Why it is not.
    pub fn is_valid(&self, currency: Currency, now: UnixMillis) -> Result<(), Reason> {
        if self.currency != currency {
            return Err(Reason::Currency(self.currency));
        }
        if self.valid_from.is_some_and(|from| now < from) {
            return Err(Reason::NotYet);
        }
        if self.valid_until.is_some_and(|until| now >= until) {
            return Err(Reason::Over);
        }
        Ok(())
    }
}
