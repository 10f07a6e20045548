//! Folds what happened into the state. Total: an event that does not fit changes nothing but time and revision.

use thin_vec::ThinVec;

use super::event::{Change, Event};
use super::state::{Cart, InCheckout, Line, LineId, Status};

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
            lines: ThinVec::new(),
            saved: ThinVec::new(),
            codes: ThinVec::new(),
            checkout: None,
            line_next: 1,
            note: None,
            email: None,
            created_at: event.at,
            updated_at: event.at,
            expires_at: event.expires_at,
        });
    } else if let Some(cart) = cart {
        if matches!(event.change, Change::CheckoutOpened) {
            return opened(cart);
        }
        cart.revision = cart.revision.saturating_add(1);
        cart.updated_at = event.at;
        cart.expires_at = event.expires_at;
        change(cart, &event.change);
    }
}

fn change(cart: &mut Cart, change: &Change) {
    match change {
        Change::Created { .. } | Change::CheckoutOpened => {}
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
        Change::CodeApplied(rule) => match cart.codes.iter_mut().find(|present| present.code == rule.code) {
            Some(present) => present.clone_from(rule),
            None => {
                cart.codes.reserve_exact(1);
                cart.codes.push(rule.clone());
            }
        },
        Change::CodeRemoved(code) => cart.codes.retain(|rule| rule.code != *code),
        Change::CheckoutBegun { checkout, prices } => {
            for (id, price) in prices {
                if let Some(line) = find(&mut cart.lines, *id) {
                    line.unit_price = *price;
                }
            }
            let (lines, codes) = (cart.lines.clone(), cart.codes.clone());
            cart.checkout = Some(Box::new(InCheckout { id: *checkout, opened: false, lines, codes }));
            cart.status = Status::CheckingOut;
        }
        Change::Settled { bought } => settled(cart, bought),
        Change::CheckoutLeft => {
            cart.checkout = None;
            cart.status = Status::Open;
        }
        Change::Closed => cart.status = Status::Closed,
        Change::Expired => cart.status = Status::Expired,
    }
}

fn opened(cart: &mut Cart) {
    if let Some(checkout) = &mut cart.checkout {
        checkout.opened = true;
        checkout.lines = ThinVec::new();
    }
}

/// Takes out of the cart what was bought, wherever its line is by now; what is gone already was taken out by the shopper.
fn settled(cart: &mut Cart, bought: &[(LineId, u16)]) {
    let used = cart.checkout.take().map(|checkout| checkout.codes).unwrap_or_default();
    cart.codes.retain(|rule| !used.iter().any(|used| used.code == rule.code));
    for (id, units) in bought {
        for line in cart.lines.iter_mut().chain(&mut cart.saved).filter(|line| line.id == *id) {
            line.quantity = line.quantity.saturating_sub(*units);
        }
    }
    cart.lines.retain(|line| line.quantity > 0);
    cart.saved.retain(|line| line.quantity > 0);
    let is_empty = cart.lines.is_empty() && cart.saved.is_empty();
    cart.status = if is_empty { Status::Ordered } else { Status::Open };
}

fn find(lines: &mut [Line], id: LineId) -> Option<&mut Line> {
    lines.iter_mut().find(|line| line.id == id)
}

fn take(lines: &mut ThinVec<Line>, id: LineId) -> Option<Line> {
    let at = lines.iter().position(|line| line.id == id)?;
    Some(lines.remove(at))
}
