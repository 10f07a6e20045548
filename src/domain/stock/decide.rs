//! Decides what a command does to a product's stock.

use std::borrow::Cow;

use super::{
    HOLDS_MAX, MOVES_MAX, OPEN_HOLDS_MAX, UNITS_MAX,
    command::{Command, Source},
    event::{Change, Event},
    refusal::Refusal,
    state::Stock,
};
use crate::domain::{
    Context, Reference, UnixMillis,
    holds::{self, Act, Way},
};

/// Decides the events that `command` causes, or why the stock refuses it. No event = nothing to change.
///
/// # Errors
/// The [`Refusal`]; it had no effect.
pub fn decide(stock: Option<&Stock>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
    if let (Some(seen), Some(stock)) = (context.if_revision, stock)
        && seen != stock.revision
    {
        return Err(Refusal::RevisionMismatch { present: stock.revision });
    }
    let now = context.now;
    let mut changes = Vec::new();
    match command {
        Command::Hold { sku, initial, by, quantity, expires_at } => {
            let stock = &opened(stock, sku, *initial, now, &mut changes)?;
            hold(stock, *by, *quantity, *expires_at, now, &mut changes)?;
        }
        Command::Adjust { sku, initial, change, reason } => {
            let stock = &opened(stock, sku, *initial, now, &mut changes)?;
            adjust(stock, *change, reason, &mut changes)?;
        }
        Command::Release { sku, initial, by } => {
            let stock = &opened(stock, sku, *initial, now, &mut changes)?;
            act(stock, *by, Act::Release, now, &mut changes)?;
        }
        Command::Act { by, act } => self::act(stock.ok_or(Refusal::NotFound)?, *by, *act, now, &mut changes)?,
        Command::Ship { by, quantity } => {
            let stock = stock.ok_or(Refusal::NotFound)?;
            if stock.find_move(*by).is_none() {
                is_sold(stock, *quantity)?;
                make_room(stock, now, &mut changes)?;
                changes.push(Change::Shipped { by: *by, quantity: *quantity });
            }
        }
        Command::Restock { by, quantity, from } => {
            let stock = stock.ok_or(Refusal::NotFound)?;
            if stock.find_move(*by).is_none() {
                match from {
                    Source::Sold => is_sold(stock, *quantity)?,
                    Source::Returned => fits(stock, *quantity)?,
                }
                make_room(stock, now, &mut changes)?;
                changes.push(Change::Restocked { by: *by, quantity: *quantity, from: *from });
            }
        }
        Command::Expire => {
            if let Some(stock) = stock {
                let_go(stock, now, &mut changes);
            }
        }
    }
    Ok(changes.into_iter().map(|change| Event { at: now, change }).collect())
}

/// The stock of this product, opened if it is not there.
fn opened<'a>(
    stock: Option<&'a Stock>,
    sku: &str,
    initial: u32,
    now: UnixMillis,
    changes: &mut Vec<Change>,
) -> Result<Cow<'a, Stock>, Refusal> {
    match stock {
        Some(stock) if *stock.sku == *sku => Ok(Cow::Borrowed(stock)),
        // Two products whose names have one hash: certain never to be, and worse than a refusal.
        Some(_) => Err(Refusal::NotFound),
        None => {
            let available = initial.min(UNITS_MAX);
            changes.push(Change::Opened { sku: sku.into(), available });
            Ok(Cow::Owned(Stock::opened(sku.into(), available, now)))
        }
    }
}

fn hold(
    stock: &Stock,
    by: Reference,
    quantity: u32,
    expires_at: UnixMillis,
    now: UnixMillis,
    changes: &mut Vec<Change>,
) -> Result<(), Refusal> {
    match stock.holds.way(by, expires_at, now)? {
        Way::Done => {}
        Way::Longer => changes.push(Change::Hold(holds::Change::Extended { by, expires_at })),
        Way::New => {
            let available = stock.available_at(now);
            if available < quantity {
                return Err(Refusal::Insufficient { available });
            }
            if !stock.holds.has_room(OPEN_HOLDS_MAX, HOLDS_MAX, now) {
                return Err(Refusal::TooManyHolds);
            }
            let_go(stock, now, changes);
            changes.push(Change::Hold(holds::Change::Held { by, what: quantity, expires_at }));
        }
    }
    Ok(())
}

fn act(stock: &Stock, by: Reference, act: Act, now: UnixMillis, changes: &mut Vec<Change>) -> Result<(), Refusal> {
    let change = stock.holds.act(by, act, 0, now)?;
    // A full row is no reason to refuse to let go: late holds are refused there anyway.
    let is_full = matches!(change, Some(holds::Change::Barred { .. })) && stock.holds.as_slice().len() >= HOLDS_MAX;
    changes.extend(change.filter(|_| !is_full).map(Change::Hold));
    if act == Act::Forget && stock.find_move(by).is_some_and(|one| one.forgotten_at.is_none()) {
        changes.push(Change::MoveForgotten { by });
    }
    Ok(())
}

fn adjust(stock: &Stock, change: i32, reason: &str, changes: &mut Vec<Change>) -> Result<(), Refusal> {
    if stock.available.checked_add_signed(change).is_none() {
        return Err(Refusal::Insufficient { available: stock.available });
    }
    fits(stock, u32::try_from(change).unwrap_or(0))?;
    if change != 0 {
        changes.push(Change::Adjusted { change, reason: reason.into() });
    }
    Ok(())
}

/// Lets go of what has lapsed, and of what was kept for long enough.
fn let_go(stock: &Stock, now: UnixMillis, changes: &mut Vec<Change>) {
    let released = stock.holds.lapsed(now).map(|hold| Change::Hold(holds::Change::Released { by: hold.by }));
    changes.extend(released);
    if stock.has_spent(now) {
        changes.push(Change::Swept);
    }
}

/// Makes room for one move more.
fn make_room(stock: &Stock, now: UnixMillis, changes: &mut Vec<Change>) -> Result<(), Refusal> {
    if stock.has_spent(now) {
        changes.push(Change::Swept);
    }
    if stock.moves.iter().filter(|one| !one.is_spent(now)).count() >= MOVES_MAX {
        return Err(Refusal::TooManyHolds);
    }
    Ok(())
}

const fn is_sold(stock: &Stock, quantity: u32) -> Result<(), Refusal> {
    if stock.sold >= quantity { Ok(()) } else { Err(Refusal::NotSold { sold: stock.sold }) }
}

fn fits(stock: &Stock, more: u32) -> Result<(), Refusal> {
    let on_hand = stock.on_hand().checked_add(more);
    if on_hand.is_some_and(|on_hand| on_hand <= UNITS_MAX) { Ok(()) } else { Err(Refusal::TooManyUnits) }
}
