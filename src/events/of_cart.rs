//! What the rest of the shop is told of a change to a cart.

use super::{field::Word, kinds::Data};
use crate::domain::cart::{Cart, Change, Event, Line};

/// The event's data, by what the cart was before it; `None` = nothing that anybody outside needs to know. The note and the
/// e-mail address stay out of it.
#[must_use]
pub fn of_cart(event: &Event, before: Option<&Cart>) -> Option<Data> {
    let checkout = || before?.checkout.as_ref().map(|checkout| checkout.id);
    Some(match &event.change {
        Change::Created { currency, .. } => Data::CartCreated { currency: *currency },
        Change::LineAdded(line) => Data::CartLineAdded {
            line: line.id,
            sku: Word::new(&line.sku),
            quantity: line.quantity.into(),
            unit_price: line.unit_price,
        },
        Change::LineJoined { line, quantity, unit_price, .. } => {
            Data::CartLineChanged { line: *line, quantity: (*quantity).into(), unit_price: Some(*unit_price) }
        }
        Change::QuantitySet { line, quantity } => {
            Data::CartLineChanged { line: *line, quantity: (*quantity).into(), unit_price: None }
        }
        Change::LineRemoved(line) => Data::CartLineRemoved { line: *line },
        Change::Cleared => Data::CartCleared {},
        Change::LineSaved(line) => Data::CartLineSaved { line: *line },
        Change::LineRestored(line) => Data::CartLineRestored { line: *line, into: None, quantity: None },
        Change::LineRejoined { line, into, quantity } => {
            Data::CartLineRestored { line: *line, into: Some(*into), quantity: Some((*quantity).into()) }
        }
        Change::Patched { .. } => Data::CartPatched {},
        Change::CodeApplied(rule) => Data::CartCodeApplied { code: Word::new(&rule.code) },
        Change::CodeRemoved(code) => Data::CartCodeRemoved { code: Word::new(code) },
        Change::CheckoutBegun { checkout, .. } => Data::CartCheckoutBegun { checkout: *checkout },
        Change::CheckoutOpened => return None,
        Change::Settled { bought } => {
            let is_bought = |line: &Line| bought.iter().any(|(id, units)| *id == line.id && *units >= line.quantity);
            let left = before?.lines.iter().filter(|line| !is_bought(line)).count();
            Data::CartOrdered { checkout: checkout()?, lines_left: u32::try_from(left).unwrap_or(u32::MAX) }
        }
        Change::CheckoutLeft => Data::CartCheckoutLeft { checkout: checkout()? },
        Change::Closed => Data::CartClosed {},
        Change::Expired => Data::CartExpired {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UnixMillis;

    #[test]
    fn what_a_shopper_wrote_is_told_to_nobody() {
        let change =
            Change::Patched { note: Some(Some("ring twice".into())), email: Some(Some("a@shop.example".into())) };
        let data = of_cart(&Event { at: UnixMillis(1), expires_at: UnixMillis(2), change }, None);
        assert_eq!(data.map(|data| data.json().to_string()).as_deref(), Some("{}"));
    }
}
