//! Orders held against what their shoppers were told, and money against orders.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Reconciled, Stock, Told, Wish,
    operator::{Book, Payment},
    read::{Ended, Order},
};
use crate::shop::Checkout;

/// Units of one product in the orders that stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) bought: u64,
    left: u64,
    back: u64,
}

impl Units {
    /// What the stock is to be, that was `before` and of which nothing is set aside any more. What left is sold no longer,
    /// and what came back is to be had.
    pub(super) const fn leave(self, before: &Stock) -> Stock {
        let on_hand = (before.on_hand + self.back).saturating_sub(self.left);
        let sold = (before.sold + self.bought).saturating_sub(self.left);
        Stock { available: on_hand.saturating_sub(sold), held: 0, sold, on_hand }
    }
}

/// Units by product. A cancelled order's goods never left.
pub(super) fn units(orders: &[Order]) -> BTreeMap<&str, Units> {
    let mut by_product = BTreeMap::<&str, Units>::new();
    for line in orders.iter().filter(|order| !order.is_cancelled).flat_map(|order| &order.lines) {
        let units = by_product.entry(&line.sku).or_default();
        units.bought += line.bought;
        units.left += line.left;
        units.back += line.back;
    }
    by_product
}

/// What a shopper was told, or left, against how their checkout ended.
pub(super) fn compare_end(found: &mut Reconciled, checkout: &Checkout, told: &Told, ended: &Ended) {
    let order = ended.order.as_ref();
    match &told.wish {
        Wish::Unknown => {}
        Wish::Bought(acknowledged) => {
            if order.is_none_or(|order| order.id != *acknowledged) {
                found.lost += 1;
                found.tell(format!("{acknowledged} was acknowledged, found {order:?}"));
            }
        }
        Wish::Cancelled => {
            if let Some(order) = order {
                found.misended += 1;
                found.tell(format!("{} was cancelled, and there is {}", checkout.id, order.id));
            }
        }
        Wish::Left => {
            if order.is_some() || !ended.has_expired {
                found.misended += 1;
                found.tell(format!("{} was left to expire, found {ended:?}", checkout.id));
            }
        }
    }
}

/// Money against orders: each order has exactly its payment, and no checkout without an order has one, or may yet have.
pub(super) fn compare_money(found: &mut Reconciled, begun: &BTreeSet<String>, orders: &[Order], book: &Book) {
    let paid = |checkout: &str| book.get(checkout.trim_start_matches("chk_")).map(Vec::as_slice).unwrap_or_default();
    let stands =
        |payment: &&Payment| payment.is_authorised && (payment.captured == 0 || payment.refunded < payment.captured);
    for checkout in begun {
        let payments: Vec<_> = paid(checkout).iter().filter(stands).cloned().collect();
        let may_yet = paid(checkout).iter().filter(|payment| payment.may_yet).count();
        found.declined += paid(checkout).iter().filter(|payment| payment.is_declined).count() as u64;
        found.money += payments.iter().map(|payment| payment.captured - payment.refunded).sum::<i64>();
        let order = orders.iter().find(|order| order.checkout == *checkout && !order.is_cancelled);
        let reserved = payments.iter().map(|payment| payment.amount).sum::<i64>();
        match order {
            Some(order) if payments.is_empty() || reserved < order.total => {
                found.unpaid += 1;
                found.tell(format!("{} costs {}, found {payments:?}", order.id, order.total));
            }
            Some(order) if payments.len() + may_yet > 1 || reserved > order.total => {
                found.double_charged += 1;
                found.tell(format!("{} costs {}, found {payments:?} and {may_yet} to come", order.id, order.total));
            }
            None if payments.len() + may_yet > 0 => {
                found.orphaned += 1;
                found.tell(format!("{checkout} has no order, found {payments:?} and {may_yet} to come"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::read::Line, *};

    fn order(total: i64) -> Order {
        Order {
            id: "ord_1".to_owned(),
            checkout: "chk_A".to_owned(),
            total,
            is_cancelled: false,
            lines: vec![line(1, 0, 0)],
        }
    }

    fn line(bought: u64, left: u64, back: u64) -> Line {
        Line { sku: "mug".to_owned(), bought, left, back }
    }

    fn payment(state: &str, amount: i64, captured: i64) -> Payment {
        Payment {
            is_authorised: state == "authorised",
            may_yet: state == "action_required",
            is_declined: state == "declined",
            amount,
            captured,
            refunded: 0,
        }
    }

    fn money(orders: &[Order], payments: &[(&str, i64, i64)]) -> (u64, u64, u64) {
        let payments = payments.iter().map(|(state, amount, captured)| payment(state, *amount, *captured));
        let mut found = Reconciled::default();
        let book = Book::from([("A".to_owned(), payments.collect())]);
        compare_money(&mut found, &BTreeSet::from(["chk_A".to_owned()]), orders, &book);
        (found.double_charged, found.unpaid, found.orphaned)
    }

    #[test]
    fn an_order_has_exactly_its_payment() {
        let (yes, no) = ("authorised", "declined");
        assert_eq!(money(&[order(10)], &[(no, 10, 0), (yes, 10, 10)]), (0, 0, 0), "a declined try costs nothing");
        assert_eq!(money(&[order(10)], &[(yes, 10, 10), (yes, 10, 0)]), (1, 0, 0));
        assert_eq!(money(&[order(10)], &[(yes, 12, 12)]), (1, 0, 0));
        assert_eq!(money(&[order(10)], &[(no, 10, 0)]), (0, 1, 0));
        assert_eq!(money(&[], &[(yes, 10, 0)]), (0, 0, 1));
        assert_eq!(money(&[], &[(no, 10, 0)]), (0, 0, 0));
        assert_eq!(money(&[], &[]), (0, 0, 0));
    }

    #[test]
    fn a_payment_that_its_shopper_may_yet_confirm_is_not_done_with() {
        assert_eq!(money(&[], &[("action_required", 10, 0)]), (0, 0, 1));
        assert_eq!(money(&[order(10)], &[("action_required", 10, 0), ("authorised", 10, 10)]), (1, 0, 0));
        assert_eq!(money(&[], &[("abandoned", 10, 0)]), (0, 0, 0));
    }

    #[test]
    fn a_stock_is_what_was_there_less_what_left_and_with_what_came_back() {
        let before = Stock { available: 5, held: 0, sold: 1, on_hand: 6 };
        let cancelled = Order { is_cancelled: true, lines: vec![line(9, 0, 0)], ..order(10) };
        let orders = [order(10), Order { lines: vec![line(3, 2, 1)], ..order(30) }, cancelled];
        let units = units(&orders)["mug"];
        assert_eq!((units.bought, units.leave(&before)), (4, Stock { available: 2, held: 0, sold: 3, on_hand: 5 }));
    }

    #[test]
    fn a_checkout_ends_as_its_shopper_was_told_or_left_it_to() {
        let checkout = Checkout { id: "chk_A".to_owned(), token: String::new() };
        let found = |wish: Wish, order: Option<Order>, has_expired| {
            let mut found = Reconciled::default();
            let told = Told { wish, ..Told::default() };
            compare_end(&mut found, &checkout, &told, &Ended { order, has_expired, by_audit: false });
            (found.lost, found.misended)
        };
        let bought = || Wish::Bought("ord_1".to_owned());
        assert_eq!(found(bought(), Some(order(10)), false), (0, 0));
        assert_eq!(found(bought(), None, false), (1, 0));
        assert_eq!(found(Wish::Bought("ord_2".to_owned()), Some(order(10)), false), (1, 0));
        assert_eq!(found(Wish::Cancelled, None, false), (0, 0));
        assert_eq!(found(Wish::Cancelled, Some(order(10)), false), (0, 1), "nobody wants it");
        assert_eq!(found(Wish::Left, None, true), (0, 0));
        assert_eq!(found(Wish::Left, None, false), (0, 1), "somebody cancelled it");
        assert_eq!(found(Wish::Left, Some(order(10)), true), (0, 1), "nobody paid");
        assert_eq!(found(Wish::Unknown, Some(order(10)), false), (0, 0));
    }
}
