//! Holds every committed row against what was asked and against the other rows: the promises, from outside the machines.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    bank::is_live,
    kinds::{Name, Role, Sort},
    world::World,
};
use crate::{
    actors::{discount::discount_id, errand::Errand, sim::world::Broken, stock::stock_id},
    domain::{
        CheckoutId, Id, Reference,
        cart::{self, Cart},
        checkout::{
            AttemptState, CLOCKS_APART_MS, Checkout, End, HOLD_FIRST_MS, HOLD_GRACE_MS, HoldState, Phase, Undo, Undone,
            What,
        },
        discount::Discount,
        holds::{self, State},
        order::Order,
        stock::{self, Moved, Source, Stock},
    },
};

/// How long a retry finds its outcome, in milliseconds: what the public contract promises.
const RECEIPT_LIVES_MS: u64 = 10 * 60 * 1000;

/// What was seen in rows.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Keys whose receipts were seen, and where.
    receipts: BTreeMap<Name, BTreeSet<u128>>,
}

/// What an entry says of a hold, whatever is held.
#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    attempt: u32,
    expires_at_ms: u64,
}

fn entry<W>(hold: &holds::Hold<W>) -> Entry {
    Entry { state: hold.state, attempt: hold.attempt, expires_at_ms: hold.expires_at.0 }
}

fn broken<T>(promise: &'static str, what: String) -> Result<T, Broken> {
    Err(Broken(promise, what))
}

fn units(cart: &Cart) -> i64 {
    cart.lines.iter().map(|line| i64::from(line.quantity)).sum()
}

impl World {
    /// The newest version of a row was just committed.
    pub(super) fn check<E: Role>(&mut self, id: u128) -> Result<(), Broken> {
        let name = (E::SORT, id);
        let history = E::histories(&self.model).get(&id).map_or(&[][..], Vec::as_slice);
        let Some((next, before)) = history.split_last() else { return Ok(()) };
        if next.row.version != before.len() as u64 + 1 {
            return broken("P2", format!("{name:?} version {} follows {} saves", next.row.version, before.len()));
        }
        if before.last().is_some_and(|last| last.row.epoch > next.row.epoch) {
            return broken("P2", format!("{name:?} version {} is of an owner deposed before", next.row.version));
        }
        let state = &next.record.state;
        let needs_waking = E::wake_at(state).is_some() || E::is_pending(state);
        match next.record.armed {
            None if needs_waking => return broken("P10", format!("{name:?} waits and has no timer: {state:?}")),
            Some(armed) if !self.model.agenda.contains(&(armed.due.0, name, armed.version)) => {
                return broken("P10", format!("{name:?} is armed for {armed:?} without an agenda entry"));
            }
            _ => {}
        }
        let receipts = &next.record.receipts;
        for old in before.last().into_iter().flat_map(|last| &last.record.receipts) {
            let is_young = next.row.updated_at_ms.saturating_sub(old.at.0) < RECEIPT_LIVES_MS;
            if is_young && !receipts.contains(old) {
                return broken("P3", format!("{name:?} version {} knows no more of {old:?}", next.row.version));
            }
        }
        if receipts.iter().map(|one| one.key).collect::<BTreeSet<_>>().len() != receipts.len() {
            return broken("P3", format!("{name:?} did something twice under one key: {receipts:?}"));
        }
        let seen = self.ledger.receipts.entry(name).or_default();
        let new: Vec<u64> = receipts.iter().filter(|one| seen.insert(one.key)).map(|one| one.key as u64).collect();
        self.check_told(name)?;
        match E::SORT {
            Sort::Cart => self.check_cart(id, &new),
            Sort::Checkout => self.check_checkout(id),
            Sort::Stock => self.check_stock(id, &new),
            Sort::Discount => self.check_discount(id),
            Sort::Order => self.check_order(id),
        }
    }

    /// Nothing comes into a cart but what was added, and nothing goes but what was bought.
    fn check_cart(&self, id: u128, new: &[u64]) -> Result<(), Broken> {
        let history = &self.model.carts[&id];
        let Some((next, before)) = history.split_last() else { return Ok(()) };
        let (next, before) = (&next.record.state, before.last().map(|last| &last.record.state));
        let added: i64 = new.iter().filter_map(|op| self.ops.get(op)).map(|op| added(&op.errand)).sum();
        let left = before.and_then(|before| before.checkout.as_ref()).map(|present| present.id);
        let left = left.filter(|left| next.checkout.as_ref().is_none_or(|present| present.id != *left));
        let mut bought = 0;
        if let Some(left) = left {
            let checkout = self.model.checkout(left.0.0);
            match checkout.map(|checkout| checkout.phase) {
                Some(
                    Phase::Settling
                    | Phase::Remembering(End::Completed)
                    | Phase::Forgetting(End::Completed)
                    | Phase::Ended(End::Completed),
                ) => bought = checkout.map_or(0, bought_units),
                Some(
                    Phase::LettingGo(_)
                    | Phase::Remembering(End::Undone(_))
                    | Phase::Forgetting(End::Undone(_))
                    | Phase::Ended(End::Undone(_)),
                ) => {}
                phase => return broken("P6", format!("cart {id} was let go of by {left}, which is at {phase:?}")),
            }
        }
        let expected = before.map_or(0, units) + added - bought;
        if units(next) != expected {
            let what = format!("cart {id} holds {} units, not {expected}: {added} came, {bought} went", units(next));
            return broken("P6", what);
        }
        Ok(())
    }

    fn check_checkout(&self, id: u128) -> Result<(), Broken> {
        let history = &self.model.checkouts[&id];
        let Some((next, before)) = history.split_last() else { return Ok(()) };
        let (next, at) = (&next.record.state, next.row.updated_at_ms);
        if let Some(before) = before.last().map(|last| &last.record.state) {
            self.is_in_time(before, next, at)?;
        }
        for hold in &next.holds {
            let by = Reference { by: next.id.0, n: 0 };
            let found = match &hold.what {
                What::Stock { sku, .. } => {
                    self.model.stock(stock_id(sku).0.0).and_then(|stock| stock.holds.get(by)).map(entry)
                }
                What::Code { code } => {
                    self.model.discount(discount_id(code).0.0).and_then(|code| code.holds.get(by)).map(entry)
                }
            };
            agree(next, &hold.what, hold.state, found)?;
        }
        self.check_money()
    }

    /// A checkout whose goods were held for long enough does not expire before its time.
    fn is_in_time(&self, before: &Checkout, next: &Checkout, at_ms: u64) -> Result<(), Broken> {
        let expires = matches!(next.phase, Phase::Releasing(Undone::Expired));
        let was_safe = matches!(before.phase, Phase::Open | Phase::Pinning)
            && before.holds.iter().all(|hold| match hold.state {
                HoldState::Held { until } => until >= before.expires_at.plus_ms(HOLD_GRACE_MS),
                // One that is still to be unpinned lapses at the time that was right when its attempt began.
                HoldState::Pinned { attempt } => before.phase == Phase::Pinning && attempt == before.attempt_n(),
                _ => false,
            });
        if expires && was_safe && at_ms < before.expires_at.0 {
            return broken("P5", format!("{} expired at {at_ms}, not at {:?}", next.id, before.expires_at));
        }
        Ok(())
    }

    fn check_stock(&self, id: u128, new: &[u64]) -> Result<(), Broken> {
        let history = &self.model.stocks[&id];
        let Some((next, before)) = history.split_last() else { return Ok(()) };
        let (next, before) = (&next.record.state, before.last().map(|last| &last.record.state));
        let on_hand = |stock: &Stock| i64::from(stock.on_hand());
        let opened = || self.shop.product(&next.sku).map_or(0, |product| i64::from(product.stock));
        let adjusted: i64 = new.iter().filter_map(|op| self.ops.get(op)).map(|op| adjusted(&op.errand)).sum();
        let moves = next.moves.iter().filter(|one| before.is_none_or(|before| before.find_move(one.by).is_none()));
        let moved: i64 = moves
            .map(|one| match one.moved {
                Moved::Shipped => -i64::from(one.quantity),
                Moved::Restocked(Source::Returned) => i64::from(one.quantity),
                Moved::Restocked(Source::Sold) => 0,
            })
            .sum();
        let expected = before.map_or_else(opened, on_hand) + adjusted + moved;
        if on_hand(next) != expected {
            let what = format!("{} has {} on hand, not {expected} ({moved} moved)", next.sku, on_hand(next));
            return broken("P4", what);
        }
        for hold in next.holds.as_slice() {
            self.agrees_with(&What::Stock { sku: next.sku.clone(), initial: 0, quantity: 0 }, hold)?;
        }
        Ok(())
    }

    fn check_discount(&self, id: u128) -> Result<(), Broken> {
        let history = &self.model.discounts[&id];
        let Some(next) = history.last() else { return Ok(()) };
        let discount: &Discount = &next.record.state;
        let now = crate::domain::UnixMillis(next.row.updated_at_ms);
        if discount.rule.uses_max.is_some_and(|max| discount.taken(now) > u64::from(max)) {
            return broken("P4", format!("{} is used {} times", discount.rule.code, discount.taken(now)));
        }
        let shoppers = discount.holds.as_slice().iter().map(|hold| hold.what).collect::<BTreeSet<_>>();
        let uses = shoppers.into_iter().map(|shopper| discount.taken_by(shopper, now)).max().unwrap_or(0);
        if discount.rule.uses_per_shopper_max.is_some_and(|max| uses > u64::from(max)) {
            return broken("P4", format!("{} is used {uses} times by one shopper", discount.rule.code));
        }
        for hold in discount.holds.as_slice() {
            self.agrees_with(&What::Code { code: discount.rule.code.clone() }, hold)?;
        }
        Ok(())
    }

    fn agrees_with<W>(&self, of: &What, hold: &holds::Hold<W>) -> Result<(), Broken> {
        let Some(checkout) = self.model.checkout(hold.by.by.0) else {
            // A checkout asks for its goods while it is made, where a cart remembers to make it. Given back = by the clock.
            let entry = entry(hold);
            let ends_soon = entry.expires_at_ms <= self.wall().0 + HOLD_FIRST_MS + CLOCKS_APART_MS;
            let may_be = entry.state == State::Released || (entry.state == State::Held && ends_soon);
            if may_be && self.model.is_to_be_made(hold.by.by) {
                return Ok(());
            }
            return broken("P1", format!("{of:?} is held by {:?}, which is not there: {entry:?}", hold.by));
        };
        let same = |what: &What| match (what, of) {
            (What::Stock { sku: one, .. }, What::Stock { sku: other, .. }) => one == other,
            (What::Code { code: one }, What::Code { code: other }) => one == other,
            _ => false,
        };
        match checkout.holds.iter().find(|hold| same(&hold.what)) {
            Some(known) => agree(checkout, of, known.state, Some(entry(hold))),
            None => broken("P4", format!("{of:?} is held by {} that does not buy it", checkout.id)),
        }
    }

    /// An order is made once its money is reserved and its goods are sold.
    fn check_order(&self, id: u128) -> Result<(), Broken> {
        let history = &self.model.orders[&id];
        let Some(next) = history.last() else { return Ok(()) };
        let order: &Order = &next.record.state;
        if let Err(why) = order.check() {
            return broken("P5", format!("{} cannot be: {why}", order.id));
        }
        if history.len() > 1 {
            return Ok(());
        }
        let Some(checkout) = self.model.checkout(id) else {
            return broken("P6", format!("{} is of no checkout", order.id));
        };
        if !checkout.holds.iter().all(|hold| matches!(hold.state, HoldState::Committed | HoldState::Forgotten)) {
            return broken("P6", format!("{} is made before its goods are sold: {:?}", order.id, checkout.holds));
        }
        let by = Reference { by: order.id.0, n: 0 };
        for hold in &checkout.holds {
            let state = match &hold.what {
                What::Stock { sku, .. } => {
                    self.model.stock(stock_id(sku).0.0).and_then(|stock| stock.holds.get(by)).map(|hold| hold.state)
                }
                What::Code { code } => self
                    .model
                    .discount(discount_id(code).0.0)
                    .and_then(|code| code.holds.get(by))
                    .map(|hold| hold.state),
            };
            if !matches!(state, Some(State::Committed | State::Forgotten)) {
                return broken("P6", format!("{} is made while {:?} is {state:?}", order.id, hold.what));
            }
        }
        self.check_limits(checkout)?;
        let payment = self
            .bank
            .book
            .values()
            .find(|payment| crate::payments::sandbox::bank::reference(payment.key()) == order.payment.reference);
        if !payment.is_some_and(|payment| is_live(payment) && payment.amount == order.totals.total) {
            return broken("P6", format!("{} is made without its money: {payment:?}", order.id));
        }
        Ok(())
    }

    /// There is an order of this checkout now: whoever makes them has no more with one code than it allows. Counted by the
    /// orders, not by what the code itself counts.
    fn check_limits(&self, checkout: &Checkout) -> Result<(), Broken> {
        let ordered = || self.model.orders.keys().filter_map(|id| self.model.checkout(*id));
        for rule in &checkout.codes {
            let has_it = |of: &&Checkout| of.codes.iter().any(|other| other.code == rule.code);
            let all = ordered().filter(has_it).count() as u64;
            let own = ordered().filter(has_it).filter(|of| of.owner == checkout.owner).count() as u64;
            let is_over = |count, max: Option<u32>| max.is_some_and(|max| count > u64::from(max));
            if is_over(all, rule.uses_max) || is_over(own, rule.uses_per_shopper_max) {
                return broken("P4", format!("{} is in {all} orders, {own} of one shopper", rule.code));
            }
        }
        Ok(())
    }

    /// Money that is reserved is somebody's: of the purchase that was approved, or of an attempt that is still in doubt.
    pub(super) fn check_money(&self) -> Result<(), Broken> {
        for payment in self.bank.book.values() {
            if payment.captured > payment.amount || payment.refunded > payment.captured {
                return broken("P5", format!("more was moved than there is: {payment:?}"));
            }
            if !is_live(payment) {
                continue;
            }
            let id = CheckoutId(Id(payment.by));
            let attempt = self.model.checkout(payment.by).and_then(|checkout| checkout.attempt(payment.n));
            let is_known = attempt.is_some_and(|attempt| {
                matches!(attempt.undo, Undo::Abandon | Undo::Void)
                    || matches!(
                        attempt.state,
                        AttemptState::Pending | AttemptState::ActionRequired { .. } | AttemptState::Approved
                    )
            });
            if !is_known {
                return broken("P5", format!("{id} has {payment:?} reserved, of an attempt that is over: {attempt:?}"));
            }
        }
        Ok(())
    }
}

fn added(errand: &Errand) -> i64 {
    match errand {
        Errand::Cart(_, cart::Command::Add(addition)) => i64::from(addition.quantity),
        _ => 0,
    }
}

fn adjusted(errand: &Errand) -> i64 {
    match errand {
        Errand::Stock(_, stock::Command::Adjust { change, .. }) => i64::from(*change),
        _ => 0,
    }
}

fn bought_units(checkout: &Checkout) -> i64 {
    checkout.lines.iter().map(|bought| i64::from(bought.line.quantity)).sum()
}

/// Whether what a checkout knows of a hold, and what holds it, can both be so.
fn agree(checkout: &Checkout, what: &What, known: HoldState, entry: Option<Entry>) -> Result<(), Broken> {
    let state = entry.map(|entry| entry.state);
    let pays = matches!(checkout.phase, Phase::Authorising { .. } | Phase::RequiresAction | Phase::Abandoning);
    let can_be = match known {
        HoldState::Wanted | HoldState::Refused => !matches!(state, Some(State::Pinned | State::Committed)),
        HoldState::Held { .. } if checkout.phase == Phase::Open => {
            !matches!(state, Some(State::Pinned | State::Committed))
        }
        HoldState::Held { .. } => state != Some(State::Committed),
        HoldState::Pinned { attempt } if pays => {
            state == Some(State::Pinned) && entry.is_some_and(|entry| entry.attempt == attempt)
        }
        HoldState::Pinned { .. } if checkout.phase == Phase::Committing => {
            matches!(state, Some(State::Pinned | State::Committed))
        }
        HoldState::Pinned { .. } => state != Some(State::Committed),
        HoldState::Committed => match checkout.phase {
            Phase::Forgetting(_) => !matches!(state, Some(State::Held | State::Pinned | State::Released)),
            _ => state == Some(State::Committed),
        },
        HoldState::Released | HoldState::Forgotten => {
            !matches!(state, Some(State::Held | State::Pinned | State::Committed))
        }
    };
    if !can_be {
        let phase = checkout.phase;
        return broken("P4", format!("{} ({phase:?}) knows {what:?} as {known:?}, which is {entry:?}", checkout.id));
    }
    let longest_ms = checkout.expires_at_max.plus_ms(HOLD_GRACE_MS).0;
    if entry.is_some_and(|entry| entry.state == State::Held && entry.expires_at_ms > longest_ms) {
        return broken("P4", format!("{} holds {what:?} past its end: {entry:?}", checkout.id));
    }
    Ok(())
}
