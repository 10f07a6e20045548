//! What a discount code is.

use super::rule::Rule;
use crate::domain::{UnixMillis, holds::Holds};

/// A discount code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    /// What it is worth, and its limits.
    pub rule: Rule,
    /// Rises with every change; 1 when first defined.
    pub revision: u64,
    /// How often it was used and paid for.
    pub used: u32,
    /// How often by whom, while the rule limits that; sorted by shopper, nobody twice. Uses while it does not are not
    /// counted here, even if it does later.
    pub shoppers: Vec<(u128, u32)>,
    /// Uses that checkouts hold, and held; what is held is the shopper.
    pub holds: Holds<u128>,
    /// When it was first defined.
    pub created_at: UnixMillis,
    /// When it last changed.
    pub updated_at: UnixMillis,
}

impl Discount {
    /// How many uses are taken: paid for, or held by a checkout whose time is not over.
    #[must_use]
    pub fn taken(&self, now: UnixMillis) -> u64 {
        let held = self.holds.open().filter(|hold| !hold.has_lapsed(now)).count();
        u64::from(self.used).saturating_add(held as u64)
    }

    /// How many of them this shopper has taken.
    #[must_use]
    pub fn taken_by(&self, shopper: u128, now: UnixMillis) -> u64 {
        let held = self.holds.open().filter(|hold| hold.what == shopper && !hold.has_lapsed(now)).count();
        u64::from(self.used_by(shopper)).saturating_add(held as u64)
    }

    /// How often this shopper used it and paid, as far as that is counted.
    #[must_use]
    pub fn used_by(&self, shopper: u128) -> u32 {
        self.place(shopper).ok().and_then(|at| self.shoppers.get(at)).map_or(0, |(_, uses)| *uses)
    }

    /// When the clock must next do something.
    #[must_use]
    pub fn wake_at(&self) -> Option<UnixMillis> {
        self.holds.next_expiry()
    }

    /// Where this shopper's count is, or belongs.
    pub(super) fn place(&self, shopper: u128) -> Result<usize, usize> {
        self.shoppers.binary_search_by_key(&shopper, |(known, _)| *known)
    }
}
