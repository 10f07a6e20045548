//! The store as a model: rows by compare-and-set, agenda entries, and everything ever committed.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::{Call, Histories, Name, Role};
use crate::{
    actors::{
        cart::CartEntity,
        checkout::CheckoutEntity,
        discount::{DiscountEntity, discount_id},
        durable::SaveOrder,
        order::OrderEntity,
        stock::{StockEntity, stock_id},
    },
    codec::record::{Armed, Record, Unsent},
    domain::{
        Id, Reference,
        cart::{self, Cart},
        checkout::{self, Checkout, What},
        discount::Discount,
        holds,
        order::Order,
        stock::Stock,
    },
    store::{Row, Saved},
};

/// One version of a row.
#[derive(Debug)]
pub(super) struct Committed<S> {
    pub(super) row: Row,
    pub(super) record: Record<S>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) carts: Histories<CartEntity>,
    pub(super) checkouts: Histories<CheckoutEntity>,
    pub(super) stocks: Histories<StockEntity>,
    pub(super) discounts: Histories<DiscountEntity>,
    pub(super) orders: Histories<OrderEntity>,
    /// Whatever a committed state ever needed done elsewhere.
    pub(super) needed: BTreeMap<Name, Vec<Call>>,
    /// Agenda entries: due, whose, version.
    pub(super) agenda: BTreeSet<(u64, Name, u64)>,
    /// Every event ever committed, by its number.
    pub(super) told: BTreeMap<Name, BTreeMap<u64, Unsent>>,
    /// Events in the index.
    pub(super) spilled: BTreeMap<Name, BTreeMap<u64, Unsent>>,
}

fn head<S>(history: &BTreeMap<u128, Vec<Committed<S>>>, id: u128) -> Option<&S> {
    history.get(&id)?.last().map(|committed| &committed.record.state)
}

impl Model {
    pub(super) fn cart(&self, id: u128) -> Option<&Cart> {
        head(&self.carts, id)
    }

    pub(super) fn checkout(&self, id: u128) -> Option<&Checkout> {
        head(&self.checkouts, id)
    }

    pub(super) fn stock(&self, id: u128) -> Option<&Stock> {
        head(&self.stocks, id)
    }

    pub(super) fn discount(&self, id: u128) -> Option<&Discount> {
        head(&self.discounts, id)
    }

    pub(super) fn order(&self, id: u128) -> Option<&Order> {
        head(&self.orders, id)
    }

    /// Whether a committed state ever needed this of that actor: its own, or, of what a checkout holds, the cart's that
    /// needs the checkout, line for line.
    pub(super) fn is_needed(&self, name: Name, call: &Call) -> bool {
        if self.needed.get(&name).is_some_and(|needed| needed.contains(call)) {
            return true;
        }
        let Call::Checkout(checkout::Call::Hold { what, by, .. }) = call else { return false };
        let is_of = |needed: &Call| {
            let Call::Cart(cart::Call::Open { checkout, lines, codes, .. }) = needed else { return false };
            let is_in_it = match what {
                What::Stock { sku, quantity, .. } => {
                    let of_sku = lines.iter().filter(|line| line.sku == *sku);
                    of_sku.map(|line| u32::from(line.quantity)).sum::<u32>() == *quantity
                }
                What::Code { code } => codes.iter().any(|rule| rule.code == *code),
            };
            checkout.0 == by.by && is_in_it
        };
        self.needed.values().flatten().any(is_of)
    }

    /// Whether a cart ever needed this checkout.
    pub(super) fn is_to_be_made(&self, id: Id) -> bool {
        let opens = |needed: &Call| matches!(needed, Call::Cart(cart::Call::Open { checkout, .. }) if checkout.0 == id);
        self.needed.values().flatten().any(opens)
    }

    /// Whether rows tell what clients would see of this cart, and that its checkout exists.
    pub(super) fn tells_of_cart(&self, cart: &Cart) -> bool {
        let seen = |committed: &Committed<Cart>| committed.record.state.revision == cart.revision;
        let is_there = |checkout: &cart::InCheckout| self.checkout(checkout.id.0.0).is_some();
        self.carts.get(&cart.id.0.0).is_some_and(|history| history.iter().any(seen))
            && cart.checkout.as_deref().is_some_and(is_there)
    }

    /// Whether rows tell what clients would see of this checkout, and that everything was held for it.
    pub(super) fn tells_of_checkout(&self, checkout: &Checkout) -> bool {
        let seen = |committed: &Committed<Checkout>| committed.record.state.revision == checkout.revision;
        let by = Reference { by: checkout.id.0, n: 0 };
        let was_held = |hold: &checkout::Hold| match &hold.what {
            What::Stock { sku, .. } => {
                let held = |committed: &Committed<Stock>| {
                    committed.record.state.holds.get(by).is_some_and(holds::Hold::is_open)
                };
                self.stocks.get(&stock_id(sku).0.0).is_some_and(|history| history.iter().any(held))
            }
            What::Code { code } => {
                let held = |committed: &Committed<Discount>| {
                    committed.record.state.holds.get(by).is_some_and(holds::Hold::is_open)
                };
                self.discounts.get(&discount_id(code).0.0).is_some_and(|history| history.iter().any(held))
            }
        };
        self.checkouts.get(&checkout.id.0.0).is_some_and(|history| history.iter().any(seen))
            && checkout.holds.iter().all(was_held)
    }

    pub(super) fn row<E: Role>(&self, id: u128) -> Option<Row> {
        E::histories(self).get(&id)?.last().map(|committed| committed.row.clone())
    }

    /// The agenda entry first, then the row: as a store does that cannot do both at once.
    pub(super) fn mark(&mut self, name: Name, armed: Option<Armed>) {
        if let Some(armed) = armed {
            self.agenda.insert((armed.due.0, name, armed.version));
        }
    }

    pub(super) fn unmark(&mut self, name: Name, armed: Armed) {
        self.agenda.remove(&(armed.due.0, name, armed.version));
    }

    pub(super) fn save<E: Role>(&mut self, id: u128, order: &SaveOrder) -> Result<Saved, String> {
        let name = (E::SORT, id);
        self.mark(name, order.arm);
        if !order.spill.is_empty() {
            let spilled = order.spill.iter().map(|event| (event.sequence, event.clone()));
            self.spilled.entry(name).or_default().extend(spilled);
        }
        let head = E::histories(self).get(&id).and_then(|history| history.last()).map(|last| last.row.head());
        if !order.expect.holds(head) {
            return Ok(Saved::Lost(head));
        }
        let record = E::decode(&order.row.body)?;
        let old = self.told.entry(name).or_default();
        let newest = old.last_key_value().map_or(0, |(newest, _)| *newest);
        let new = record.unsent.iter().filter(|event| event.kind != 0 && event.sequence > newest);
        old.extend(new.map(|event| (event.sequence, event.clone())).collect::<Vec<_>>());
        let needed = self.needed.entry(name).or_default();
        for (_, call) in E::pending(&record.state) {
            let call = E::call(call);
            if !needed.contains(&call) {
                needed.push(call);
            }
        }
        E::histories_mut(self).entry(id).or_default().push(Committed { row: order.row.clone(), record });
        Ok(Saved::Applied)
    }
}
