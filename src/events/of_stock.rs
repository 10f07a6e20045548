//! What the rest of the shop is told of a change to a product's stock.

use super::{field::Word, kinds::Data};
use crate::domain::{
    Reference,
    holds::Change as HoldChange,
    product::Availability,
    stock::{Change, Event, Stock},
};

/// Adds the event's data to what the same command has told so far; `available_before` is how many could be had before it.
///
/// What time lets go of at once is told at once: thousands of holds may lapse together.
pub fn of_stock(event: &Event, available_before: Option<u32>, after: Option<&Stock>, told: &mut Vec<Data>) {
    let Some(stock) = after else { return };
    let (sku, available) = (Word::new(&stock.sku), stock.available);
    match &event.change {
        Change::Hold(change) => of_hold(change, stock, available_before.unwrap_or(available), told),
        Change::Shipped { by, quantity } => told.push(Data::StockShipped { sku, quantity: *quantity, by: name(*by) }),
        Change::Restocked { by, quantity, .. } => {
            told.push(Data::StockRestocked { sku, quantity: *quantity, available, by: name(*by) });
        }
        Change::Adjusted { change, reason } => {
            let change = i64::from(*change);
            told.push(Data::StockAdjusted { sku, change, available, reason: Word::new(reason) });
        }
        Change::Opened { .. } | Change::MoveForgotten { .. } | Change::Swept => {}
    }
    let level = stock.level();
    if available_before.is_some_and(|before| Stock::level_of(before) != level) {
        told.retain(|data| !matches!(data, Data::StockLevelChanged { .. }));
        told.push(Data::StockLevelChanged { sku: Word::new(&stock.sku), level: Word::new(word(level)), available });
    }
}

fn of_hold(change: &HoldChange<u32>, stock: &Stock, available_before: u32, told: &mut Vec<Data>) {
    let (sku, available) = (Word::new(&stock.sku), stock.available);
    match change {
        HoldChange::Held { by, what, .. } => {
            told.push(Data::StockHeld { sku, quantity: *what, available, by: name(*by) });
        }
        HoldChange::Released { by } => {
            let quantity = available.saturating_sub(available_before);
            let earlier = told.iter_mut().find_map(|data| match data {
                Data::StockReleased { quantity, available, by, .. } => Some((quantity, available, by)),
                _ => None,
            });
            if let Some((units, left, who)) = earlier {
                *units = units.saturating_add(quantity);
                (*left, *who) = (available, None);
            } else {
                told.push(Data::StockReleased { sku, quantity, available, by: Some(name(*by)) });
            }
        }
        HoldChange::Committed { by } => {
            let quantity = stock.holds.get(*by).map_or(0, |hold| hold.what);
            told.push(Data::StockSold { sku, quantity, by: name(*by) });
        }
        HoldChange::Extended { .. }
        | HoldChange::Pinned { .. }
        | HoldChange::Unpinned { .. }
        | HoldChange::Barred { .. }
        | HoldChange::Forgotten { .. } => {}
    }
}

fn name(by: Reference) -> Word {
    Word::new(&by.to_string())
}

const fn word(level: Availability) -> &'static str {
    match level {
        Availability::InStock => "in_stock",
        Availability::Low => "low",
        Availability::OutOfStock => "out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Context, Id, UnixMillis,
        stock::{Command, decide, evolve},
    };

    fn done(stock: &mut Option<Stock>, command: &Command, now: u64) -> Vec<Data> {
        let context = Context { now: UnixMillis(now), by: None, if_revision: None, expire_after_ms: 0 };
        let mut told = Vec::new();
        for event in decide(stock.as_ref(), command, &context).unwrap() {
            let before = stock.as_ref().map(|stock| stock.available);
            evolve(stock, &event);
            of_stock(&event, before, stock.as_ref(), &mut told);
        }
        told
    }

    #[test]
    fn a_hold_is_told_and_what_lapses_together_is_told_once() {
        let mut stock = None;
        let hold = |n| Command::Hold {
            sku: "tea-01".into(),
            initial: 7,
            by: Reference { by: Id(1), n },
            quantity: 2,
            expires_at: UnixMillis(100),
        };
        let by = |n| name(Reference { by: Id(1), n });
        let sku = || Word::new("tea-01");
        assert_eq!(
            done(&mut stock, &hold(1), 1),
            [
                Data::StockHeld { sku: sku(), quantity: 2, available: 5, by: by(1) },
                Data::StockLevelChanged { sku: sku(), level: "low".into(), available: 5 },
            ]
        );
        done(&mut stock, &hold(2), 1);
        assert_eq!(
            done(&mut stock, &Command::Expire, 200),
            [
                Data::StockReleased { sku: sku(), quantity: 4, available: 7, by: None },
                Data::StockLevelChanged { sku: sku(), level: "in_stock".into(), available: 7 },
            ]
        );
    }
}
