//! Decides what a command does to a discount code.

use super::{
    HOLDS_MAX, OPEN_HOLDS_MAX, SHOPPERS_MAX,
    command::Command,
    event::{Change, Event},
    refusal::Refusal,
    state::Discount,
};
use crate::domain::{
    Context, Reference, UnixMillis,
    holds::{self, Way},
};

/// Decides the events that `command` causes, or why the code refuses it. No event = nothing to change.
///
/// # Errors
/// The [`Refusal`]; it had no effect.
pub fn decide(discount: Option<&Discount>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
    if let (Some(seen), Some(discount)) = (context.if_revision, discount)
        && seen != discount.revision
    {
        return Err(Refusal::RevisionMismatch { present: discount.revision });
    }
    let now = context.now;
    let mut changes = Vec::new();
    match (discount, command) {
        (present, Command::Define(rule)) => {
            if present.is_none_or(|discount| discount.rule != *rule) {
                changes.push(Change::Defined(rule.clone()));
            }
        }
        (None, Command::Expire) => {}
        (None, _) => return Err(Refusal::NotFound),
        (Some(discount), Command::Hold { by, shopper, expires_at }) => {
            hold(discount, *by, *shopper, *expires_at, now, &mut changes)?;
        }
        (Some(discount), Command::Act { by, act }) => {
            let change = discount.holds.act(*by, *act, 0, now)?;
            // A full row is no reason to refuse to let go: late holds are refused there anyway.
            let is_full =
                matches!(change, Some(holds::Change::Barred { .. })) && discount.holds.as_slice().len() >= HOLDS_MAX;
            changes.extend(change.filter(|_| !is_full).map(Change::Hold));
        }
        (Some(discount), Command::Expire) => let_go(discount, now, &mut changes),
    }
    Ok(changes.into_iter().map(|change| Event { at: now, change }).collect())
}

fn hold(
    discount: &Discount,
    by: Reference,
    shopper: u128,
    expires_at: UnixMillis,
    now: UnixMillis,
    changes: &mut Vec<Change>,
) -> Result<(), Refusal> {
    match discount.holds.way(by, expires_at, now)? {
        Way::Done => {}
        Way::Longer => changes.push(Change::Hold(holds::Change::Extended { by, expires_at })),
        Way::New => {
            may_use(discount, shopper, now)?;
            if !discount.holds.has_room(OPEN_HOLDS_MAX, HOLDS_MAX, now) {
                return Err(Refusal::TooMany);
            }
            let_go(discount, now, changes);
            changes.push(Change::Hold(holds::Change::Held { by, what: shopper, expires_at }));
        }
    }
    Ok(())
}

/// Whether this shopper may use the code once more.
fn may_use(discount: &Discount, shopper: u128, now: UnixMillis) -> Result<(), Refusal> {
    let rule = &discount.rule;
    let is_early = rule.valid_from.is_some_and(|from| now < from);
    let is_late = rule.valid_until.is_some_and(|until| now >= until);
    if is_early || is_late {
        return Err(Refusal::NotValidNow);
    }
    if rule.uses_max.is_some_and(|max| discount.taken(now) >= u64::from(max)) {
        return Err(Refusal::UsedUp);
    }
    let Some(max) = rule.uses_per_shopper_max else { return Ok(()) };
    if discount.taken_by(shopper, now) >= u64::from(max) {
        return Err(Refusal::UsedUpByShopper);
    }
    // Every open hold may become a shopper who must be counted.
    let is_known = discount.place(shopper).is_ok();
    if !is_known && discount.shoppers.len() + discount.holds.open().count() >= SHOPPERS_MAX {
        return Err(Refusal::UsedUp);
    }
    Ok(())
}

/// Lets go of what has lapsed, and of what was kept for long enough.
fn let_go(discount: &Discount, now: UnixMillis, changes: &mut Vec<Change>) {
    let released = discount.holds.lapsed(now).map(|hold| Change::Hold(holds::Change::Released { by: hold.by }));
    changes.extend(released);
    if discount.holds.has_spent(now) {
        changes.push(Change::Swept);
    }
}
