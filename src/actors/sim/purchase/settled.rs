//! Once everything has come to rest: money, goods, codes, carts and orders agree to the unit.

use std::collections::BTreeMap;

use super::{bank::is_live, kinds::Role, world::World};
use crate::{
    actors::{
        cart::CartEntity, checkout::CheckoutEntity, discount::DiscountEntity, order::OrderEntity, sim::world::Broken,
        stock::StockEntity,
    },
    codec::{BankPayment, BankState},
    domain::{
        cart::Status,
        checkout::{Checkout, End, Phase},
        order::{Capture, Order},
    },
    payments::sandbox::bank::reference,
};

fn broken<T>(promise: &'static str, what: String) -> Result<T, Broken> {
    Err(Broken(promise, what))
}

impl World {
    pub(super) fn at_the_end(&mut self) -> Result<(), Broken> {
        if let Some(message) = self.messages.first() {
            return broken("P10", format!("it does not come to rest: {message:?}"));
        }
        if let Some((_, deed)) = self.deeds.values().next() {
            return broken("P9", format!("{deed:?} was never answered"));
        }
        if let Some((_, op)) = self.asked.values().next() {
            return broken("P9", format!("operation {op} was never answered: {:?}", self.ops.get(op)));
        }
        self.nothing_waits::<CartEntity>()?;
        self.nothing_waits::<CheckoutEntity>()?;
        self.nothing_waits::<StockEntity>()?;
        self.nothing_waits::<DiscountEntity>()?;
        self.nothing_waits::<OrderEntity>()?;
        if let Some(left) = self.model.agenda.iter().next() {
            return broken("P10", format!("an agenda entry that nobody needs is left: {left:?}"));
        }
        self.events_are_out()?;
        self.carts_are_free()?;
        self.orders_are_made()?;
        self.money_adds_up()?;
        self.goods_add_up()?;
        self.codes_add_up()
    }

    fn nothing_waits<E: Role>(&self) -> Result<(), Broken> {
        for (id, history) in E::histories(&self.model) {
            let Some(head) = history.last() else { continue };
            let state = &head.record.state;
            if E::is_pending(state) || E::wake_at(state).is_some() {
                return broken("P10", format!("{:?} {id} waits for ever: {state:?}", E::SORT));
            }
        }
        Ok(())
    }

    fn heads<E: Role>(&self) -> impl Iterator<Item = &E::State> {
        E::histories(&self.model).values().filter_map(|history| history.last()).map(|head| &head.record.state)
    }

    fn carts_are_free(&self) -> Result<(), Broken> {
        for cart in self.heads::<CartEntity>() {
            if cart.checkout.is_some() || !matches!(cart.status, Status::Ordered | Status::Expired) {
                return broken("P10", format!("{} is {:?} for ever: {:?}", cart.id, cart.status, cart.checkout));
            }
        }
        Ok(())
    }

    fn orders_are_made(&self) -> Result<(), Broken> {
        for checkout in self.heads::<CheckoutEntity>() {
            let Phase::Ended(end) = checkout.phase else {
                return broken("P10", format!("{} is at {:?} for ever", checkout.id, checkout.phase));
            };
            let order = self.model.order(checkout.id.0.0);
            if order.is_some() != (end == End::Completed) {
                return broken("P6", format!("{} ended as {end:?}, and its order is {order:?}", checkout.id));
            }
        }
        for order in self.heads::<OrderEntity>() {
            if self.model.checkout(order.id.0.0).is_none() {
                return broken("P6", format!("{} is of no checkout", order.id));
            }
        }
        Ok(())
    }

    /// Every reservation is one order's, or nobody's any more.
    fn money_adds_up(&self) -> Result<(), Broken> {
        let orders: BTreeMap<_, &Order> =
            self.heads::<OrderEntity>().map(|order| (order.payment.reference.clone(), order)).collect();
        if orders.len() != self.model.orders.len() {
            return broken("P5", "two orders are paid with one payment".to_owned());
        }
        for payment in self.bank.book.values() {
            let Some(order) = orders.get(&reference(payment.key())) else {
                if is_live(payment) || payment.captured > 0 || payment.state == BankState::ActionRequired {
                    return broken("P5", format!("{payment:?} is of no order"));
                }
                continue;
            };
            is_paid(order, payment)?;
        }
        let paid = |order: &&Order| self.bank.book.values().any(|one| reference(one.key()) == order.payment.reference);
        match self.heads::<OrderEntity>().find(|order| !paid(order)) {
            Some(order) => broken("P5", format!("{order:?} is of no payment")),
            None => Ok(()),
        }
    }

    fn goods_add_up(&self) -> Result<(), Broken> {
        for (id, product) in self.shop.products() {
            let Some(stock) = self.model.stock(id) else { continue };
            let mut sold: i64 = 0;
            for order in self.heads::<OrderEntity>().filter(|order| order.cancelled.is_none()) {
                let of_it = order.lines.iter().filter(|line| line.bought.sku == product.sku);
                sold += of_it.map(|line| i64::from(line.bought.quantity) - i64::from(line.fulfilled)).sum::<i64>();
            }
            if i64::from(stock.sold) != sold || stock.held() != 0 {
                let (sku, held) = (&stock.sku, stock.held());
                return broken("P4", format!("{sku}: {} sold and {held} held, orders say {sold}", stock.sold));
            }
        }
        Ok(())
    }

    fn codes_add_up(&self) -> Result<(), Broken> {
        for (id, rule) in self.shop.rules() {
            let Some(discount) = self.model.discount(id) else { continue };
            let uses = |checkout: &&Checkout| {
                checkout.phase == Phase::Ended(End::Completed) && checkout.codes.iter().any(|one| one.code == rule.code)
            };
            let used = self.heads::<CheckoutEntity>().filter(uses).count();
            if discount.used as usize != used || discount.holds.open().next().is_some() {
                return broken("P4", format!("{} says {} uses, orders say {used}", rule.code, discount.used));
            }
        }
        Ok(())
    }

    /// How often what happened.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        let mut count = |what| *counts.entry(what).or_default() += 1;
        for checkout in self.heads::<CheckoutEntity>() {
            count(match checkout.phase {
                Phase::Ended(End::Completed) => "completed",
                _ => "undone",
            });
            if checkout.attempts.len() > 1 {
                count("several attempts");
            }
        }
        for order in self.heads::<OrderEntity>() {
            count(order.status().as_str());
        }
        for payment in self.bank.book.values() {
            count(match payment.state {
                BankState::Voided => "voided",
                BankState::Abandoned => "abandoned",
                _ => "other payments",
            });
        }
        counts.insert("events told", self.sink.events());
        counts
    }
}

/// Whether an order and its payment tell the same.
fn is_paid(order: &Order, payment: &BankPayment) -> Result<(), Broken> {
    let told = &order.payment;
    if (told.captured, told.refunded) != (payment.captured, payment.refunded) {
        return broken("P5", format!("{} says {told:?}, its payment is {payment:?}", order.id));
    }
    if order.cancelled.is_some() {
        if is_live(payment) || payment.captured != payment.refunded {
            return broken("P5", format!("{} is cancelled and keeps the money: {payment:?}", order.id));
        }
        return Ok(());
    }
    if payment.state != BankState::Authorised {
        return broken("P5", format!("{} has no money: {payment:?}", order.id));
    }
    if order.capture == Capture::AtOrder && payment.captured != order.totals.total {
        return broken("P5", format!("{} is not paid for: {payment:?}", order.id));
    }
    Ok(())
}
