//! Folds what happened into the state. Total: an event that does not fit changes nothing but time and revision.

use super::{
    FORGOTTEN_MOVES_MAX,
    command::Source,
    event::{Change, Event},
    state::{Move, Moved, Stock},
};
use crate::domain::{
    Reference, UnixMillis,
    holds::{self, Shift, State},
};

/// Folds `event` into `stock`; only [`Change::Opened`] makes one out of nothing.
pub fn evolve(stock: &mut Option<Stock>, event: &Event) {
    if let Change::Opened { sku, available } = &event.change {
        *stock = Some(Stock::opened(sku.clone(), *available, event.at));
    } else if let Some(stock) = stock {
        stock.revision = stock.revision.saturating_add(1);
        stock.updated_at = event.at;
        change(stock, event.at, &event.change);
    }
}

fn change(stock: &mut Stock, at: UnixMillis, change: &Change) {
    match change {
        Change::Opened { .. } => {}
        Change::Hold(change) => hold(stock, change, at),
        Change::Shipped { by, quantity } => {
            if remember(stock, *by, *quantity, Moved::Shipped) {
                stock.sold = stock.sold.saturating_sub(*quantity);
            }
        }
        Change::Restocked { by, quantity, from } => {
            if remember(stock, *by, *quantity, Moved::Restocked(*from)) {
                if *from == Source::Sold {
                    stock.sold = stock.sold.saturating_sub(*quantity);
                }
                stock.available = stock.available.saturating_add(*quantity);
            }
        }
        Change::MoveForgotten { by } => forget_move(stock, *by, at),
        Change::Adjusted { change, .. } => stock.available = stock.available.saturating_add_signed(*change),
        Change::Swept => {
            stock.holds.drop_spent(at);
            stock.moves.retain(|one| !one.is_spent(at));
        }
    }
}

/// Units go where the hold goes.
fn hold(stock: &mut Stock, change: &holds::Change<u32>, at: UnixMillis) {
    let Some(Shift { what: quantity, from, to }) = stock.holds.evolve(change, at) else { return };
    match (from, to) {
        (None, State::Held) => stock.available = stock.available.saturating_sub(quantity),
        (Some(State::Held | State::Pinned), State::Released) => {
            stock.available = stock.available.saturating_add(quantity);
        }
        (Some(State::Pinned), State::Committed) => stock.sold = stock.sold.saturating_add(quantity),
        _ => {}
    }
}

/// Whether the move is new.
fn remember(stock: &mut Stock, by: Reference, quantity: u32, moved: Moved) -> bool {
    match stock.place(by) {
        Ok(_) => false,
        Err(place) => {
            stock.moves.insert(place, Move { by, quantity, moved, forgotten_at: None });
            true
        }
    }
}

/// The move is kept only against late commands from now on, like the newest of its kind.
fn forget_move(stock: &mut Stock, by: Reference, at: UnixMillis) {
    if let Ok(place) = stock.place(by)
        && let Some(one) = stock.moves.get_mut(place)
    {
        one.forgotten_at = Some(at);
    }
    let forgotten = || stock.moves.iter().filter_map(|one| Some((one.forgotten_at?, one.by)));
    if forgotten().count() > FORGOTTEN_MOVES_MAX
        && let Some((_, oldest)) = forgotten().min()
    {
        stock.moves.retain(|one| one.by != oldest);
    }
}
