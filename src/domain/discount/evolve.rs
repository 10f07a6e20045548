//! Folds what happened into the state. Total: an event that does not fit changes nothing but time and revision.

use super::{
    SHOPPERS_MAX,
    event::{Change, Event},
    state::Discount,
};
use crate::domain::holds::{Holds, Shift, State};

/// Folds `event` into `discount`; only [`Change::Defined`] makes one out of nothing.
pub fn evolve(discount: &mut Option<Discount>, event: &Event) {
    match (discount, &event.change) {
        (none @ None, Change::Defined(rule)) => {
            *none = Some(Discount {
                rule: rule.clone(),
                revision: 1,
                used: 0,
                shoppers: Vec::new(),
                holds: Holds::default(),
                created_at: event.at,
                updated_at: event.at,
            });
        }
        (None, Change::Hold(_) | Change::Swept) => {}
        (Some(discount), change) => {
            discount.revision = discount.revision.saturating_add(1);
            discount.updated_at = event.at;
            match change {
                Change::Defined(rule) => discount.rule = rule.clone(),
                Change::Hold(change) => {
                    if let Some(Shift { what: shopper, to: State::Committed, .. }) =
                        discount.holds.evolve(change, event.at)
                    {
                        count(discount, shopper);
                    }
                }
                Change::Swept => discount.holds.drop_spent(event.at),
            }
        }
    }
}

/// One use more, paid for.
fn count(discount: &mut Discount, shopper: u128) {
    discount.used = discount.used.saturating_add(1);
    if discount.rule.uses_per_shopper_max.is_none() {
        return;
    }
    match discount.place(shopper) {
        Ok(place) => {
            if let Some((_, uses)) = discount.shoppers.get_mut(place) {
                *uses = uses.saturating_add(1);
            }
        }
        // Only uses that were held before the rule had its limit get here with the counts full: what is paid for is
        // never refused.
        Err(place) if discount.shoppers.len() < SHOPPERS_MAX => discount.shoppers.insert(place, (shopper, 1)),
        Err(_) => {}
    }
}
