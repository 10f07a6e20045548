//! What an audit of purchases found.

use std::fmt;

/// Most differences that are told one by one.
const TOLD_MAX: usize = 20;

/// What an audit of purchases found; everything after `declined` should be 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Checkouts that were begun.
    pub checkouts: u64,
    /// Of them, those that their shoppers left to expire.
    pub left: u64,
    /// Orders that are there.
    pub orders: u64,
    /// Orders that were acknowledged.
    pub acknowledged: u64,
    /// Units in orders that stand.
    pub units: u64,
    /// Minor units that the bank took and has not given back.
    pub money: i64,
    /// Payments that the bank declined.
    pub declined: u64,
    /// Acknowledged orders that are not there, or are others.
    pub lost: u64,
    /// Units sold beyond what there was.
    pub oversold: u64,
    /// Checkouts paid more than once, or more than their orders cost.
    pub double_charged: u64,
    /// Orders without their payment.
    pub unpaid: u64,
    /// Payments without an order, or that may yet become such.
    pub orphaned: u64,
    /// Units that are still set aside.
    pub held: u64,
    /// Units by which a stock differs from itself or from the orders.
    pub differs: u64,
    /// Checkouts that ended in another way than their shoppers were told or left them to: with an order although they were
    /// cancelled, or not by expiring although they were left.
    pub misended: u64,
    /// Shoppers who got nothing although goods came back in time for them.
    pub unserved: u64,
    /// Checkouts, orders and stocks that could not be read: nothing is known of them.
    pub unread: u64,
    /// The first differences, for people.
    pub told: Vec<String>,
}

impl Reconciled {
    /// Whether goods, money and orders fit each other, and everything could be read.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        [
            self.lost,
            self.oversold,
            self.double_charged,
            self.unpaid,
            self.orphaned,
            self.held,
            self.differs,
            self.misended,
            self.unserved,
            self.unread,
        ] == [0; 10]
    }

    pub(super) fn tell(&mut self, what: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }
}

impl fmt::Display for Reconciled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "orders {} · units {} · money {}.{:02} · lost {} · oversold {} · double charged {} · orders without payment {} · \
             payments without order {} · still held {} · stock differs {}",
            self.orders,
            self.units,
            self.money / 100,
            self.money % 100,
            self.lost,
            self.oversold,
            self.double_charged,
            self.unpaid,
            self.orphaned,
            self.held,
            self.differs
        )?;
        let more = [
            ("declined", self.declined),
            ("left", self.left),
            ("ended otherwise", self.misended),
            ("not served", self.unserved),
            ("not read", self.unread),
        ];
        for (name, count) in more.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " · {name} {count}")?;
        }
        self.told.iter().try_for_each(|told| write!(f, "\n  {told}"))
    }
}
