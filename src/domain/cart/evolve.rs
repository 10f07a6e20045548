//! Folds what happened into the state. Total: an event that does not fit changes nothing but time and revision.

use super::event::{Change, Event};
use super::state::{Cart, Line, LineId, Status};

/// Folds `event` into `cart`; only [`Change::Created`] makes one out of nothing.
pub fn evolve(cart: &mut Option<Cart>, event: &Event) {
    if let Change::Created { id, owner, currency } = &event.change {
        *cart = Some(Cart {
            id: *id,
            revision: 1,
            owner: *owner,
            generation: 0,
            status: Status::Open,
            currency: *currency,
            lines: Vec::new(),
            saved: Vec::new(),
            line_next: 1,
            note: None,
            email: None,
            created_at: event.at,
            updated_at: event.at,
            expires_at: event.expires_at,
        });
    } else if let Some(cart) = cart {
        cart.revision = cart.revision.saturating_add(1);
        cart.updated_at = event.at;
        cart.expires_at = event.expires_at;
        change(cart, &event.change);
    }
}

fn change(cart: &mut Cart, change: &Change) {
    match change {
        Change::Created { .. } => {}
        Change::LineAdded(line) => {
            cart.line_next = cart.line_next.max(line.id.0.saturating_add(1));
            // Exactly: a hundred thousand carts in memory must not each keep room for lines that never come.
            cart.lines.reserve_exact(1);
            cart.lines.push(line.clone());
        }
        Change::LineJoined { line, quantity, quantity_max, unit_price, title } => {
            if let Some(line) = find(&mut cart.lines, *line) {
                line.quantity = *quantity;
                line.quantity_max = *quantity_max;
                line.unit_price = *unit_price;
                if line.title != *title {
                    line.title.clone_from(title);
                }
            }
        }
        Change::QuantitySet { line, quantity } => {
            if let Some(line) = find(&mut cart.lines, *line) {
                line.quantity = *quantity;
            }
        }
        Change::LineRemoved(id) => {
            cart.lines.retain(|line| line.id != *id);
            cart.saved.retain(|line| line.id != *id);
        }
        Change::Cleared => cart.lines.clear(),
        Change::LineSaved(id) => {
            let moved = take(&mut cart.lines, *id);
            cart.saved.extend(moved);
        }
        Change::LineRestored(id) => {
            let moved = take(&mut cart.saved, *id);
            cart.lines.extend(moved);
        }
        Change::LineRejoined { line, into, quantity } => {
            cart.saved.retain(|saved| saved.id != *line);
            if let Some(into) = find(&mut cart.lines, *into) {
                into.quantity = *quantity;
            }
        }
        Change::Patched { note, email } => {
            if let Some(note) = note {
                cart.note.clone_from(note);
            }
            if let Some(email) = email {
                cart.email.clone_from(email);
            }
        }
        Change::Closed => cart.status = Status::Closed,
        Change::Expired => cart.status = Status::Expired,
    }
}

fn find(lines: &mut [Line], id: LineId) -> Option<&mut Line> {
    lines.iter_mut().find(|line| line.id == id)
}

fn take(lines: &mut Vec<Line>, id: LineId) -> Option<Line> {
    let at = lines.iter().position(|line| line.id == id)?;
    Some(lines.remove(at))
}
