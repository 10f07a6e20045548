//! What the shoppers were told against what is found: arithmetic only.

use std::sync::Mutex;

use super::locked;

/// What one cart was told of each product, by the product's place in the list of wares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    acknowledged: Vec<u64>,
    /// Adds whose outcome nobody will know: they may be there or not.
    unknown: Vec<u64>,
}

/// How a cart differs from what was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged and not there.
    pub(super) lost: u64,
    /// There and never asked for.
    pub(super) doubled: u64,
}

impl Account {
    pub(super) fn new(wares: usize) -> Self {
        Self { acknowledged: vec![0; wares], unknown: vec![0; wares] }
    }

    pub(super) fn acknowledge(&mut self, ware: usize) {
        if let Some(units) = self.acknowledged.get_mut(ware) {
            *units += 1;
        }
    }

    pub(super) fn lose_sight(&mut self, ware: usize) {
        if let Some(units) = self.unknown.get_mut(ware) {
            *units += 1;
        }
    }

    /// Compares with the units found of each product.
    pub(super) fn judge(&self, found: &[u64]) -> Verdict {
        let mut verdict = Verdict::default();
        for (at, (acknowledged, unknown)) in self.acknowledged.iter().zip(&self.unknown).enumerate() {
            let found = found.get(at).copied().unwrap_or(0);
            verdict.lost += acknowledged.saturating_sub(found);
            verdict.doubled += found.saturating_sub(acknowledged + unknown);
        }
        verdict
    }
}

/// All carts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Totals {
    /// Adds that were answered with success.
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Adds that were refused or not answered at first, by one node or more.
    pub(super) refused_first: u64,
    /// Adds whose outcome is not known to the end.
    pub(super) unknown: u64,
    /// Times that a cart was read and compared.
    pub(super) compared: u64,
    /// Carts and checkouts that the last audit could not read.
    pub(super) unread: u64,
    /// Orders that were acknowledged and read again.
    pub(super) orders: u64,
    /// What they cost together, in minor units.
    pub(super) money: i64,
    /// Orders that were acknowledged, and are not there or are not paid.
    pub(super) orders_lost: u64,
    /// Units that were bought beyond what there was.
    pub(super) oversold: u64,
    /// Checkouts that the bank has charged more than once, or too much.
    pub(super) double_charged: u64,
    /// Checkouts that the bank has charged and that came to no order.
    pub(super) paid_for_nothing: u64,
}

/// How the bank's book differs from the orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reckoned {
    /// Orders whose payment is not there, or is less than they cost.
    pub(super) orders_lost: u64,
    /// Checkouts that were charged more than once, or too much.
    pub(super) double_charged: u64,
    /// Checkouts that were charged and came to no order.
    pub(super) paid_for_nothing: u64,
    /// Checkouts that were charged, of which nobody told what they came to.
    pub(super) unread: u64,
}

impl Totals {
    /// Whether anything is as it must never be.
    pub(super) const fn is_wrong(&self) -> bool {
        let goods = self.lost + self.doubled + self.orders_lost + self.oversold;
        goods + self.double_charged + self.paid_for_nothing > 0
    }
}

/// The totals as they grow.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Totals>);

impl Ledger {
    pub(super) fn totals(&self) -> Totals {
        *locked(&self.0)
    }

    pub(super) fn acknowledge(&self, was_refused_first: bool) {
        let mut totals = locked(&self.0);
        totals.acknowledged += 1;
        totals.refused_first += u64::from(was_refused_first);
    }

    pub(super) fn lose_sight(&self) {
        locked(&self.0).unknown += 1;
    }

    pub(super) fn leave_unread(&self, carts: u64) {
        locked(&self.0).unread += carts;
    }

    pub(super) fn order(&self, total: i64, oversold: u64) {
        let mut totals = locked(&self.0);
        totals.orders += 1;
        totals.money = totals.money.saturating_add(total);
        totals.oversold += oversold;
    }

    pub(super) fn find_lost_order(&self) {
        locked(&self.0).orders_lost += 1;
    }

    /// What the bank's book says in the end.
    pub(super) fn close(&self, reckoned: Reckoned) {
        let mut totals = locked(&self.0);
        totals.orders_lost += reckoned.orders_lost;
        totals.double_charged += reckoned.double_charged;
        totals.paid_for_nothing += reckoned.paid_for_nothing;
        totals.unread += reckoned.unread;
    }

    /// A cart's newest verdict takes the place of the one before.
    pub(super) fn book(&self, before: Verdict, now: Verdict) {
        let mut totals = locked(&self.0);
        totals.compared += 1;
        totals.lost = (totals.lost + now.lost).saturating_sub(before.lost);
        totals.doubled = (totals.doubled + now.doubled).saturating_sub(before.doubled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_is_judged_by_itself() {
        let mut account = Account::new(2);
        for ware in [0, 0, 1, 1, 1] {
            account.acknowledge(ware);
        }
        let verdict = |found: &[u64]| {
            let Verdict { lost, doubled } = account.judge(found);
            (lost, doubled)
        };
        assert_eq!(verdict(&[2, 3]), (0, 0));
        assert_eq!(verdict(&[1, 4]), (1, 1), "one product's surplus does not make up for another's loss");
        assert_eq!(verdict(&[]), (5, 0), "a cart that is gone");
    }

    #[test]
    fn an_add_of_unknown_outcome_may_be_there_or_not_but_once() {
        let mut account = Account::new(1);
        account.acknowledge(0);
        account.lose_sight(0);
        assert_eq!(account.judge(&[1]), Verdict::default());
        assert_eq!(account.judge(&[2]), Verdict::default());
        assert_eq!(account.judge(&[3]), Verdict { lost: 0, doubled: 1 });
    }

    #[test]
    fn a_later_verdict_takes_the_place_of_the_one_before() {
        let ledger = Ledger::default();
        ledger.acknowledge(false);
        ledger.acknowledge(true);
        let (fine, lost) = (Verdict::default(), Verdict { lost: 2, doubled: 0 });
        ledger.book(fine, lost);
        ledger.book(fine, Verdict { lost: 1, doubled: 3 });
        assert_eq!((ledger.totals().lost, ledger.totals().doubled), (3, 3));
        ledger.book(lost, fine);
        let expected =
            Totals { acknowledged: 2, lost: 1, doubled: 3, refused_first: 1, compared: 3, ..Totals::default() };
        assert_eq!(ledger.totals(), expected);
    }
}
