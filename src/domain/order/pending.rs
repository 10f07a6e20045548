//! What the state still needs done elsewhere. Nothing of it is stored: it follows from the committed state.

use super::{
    REMEMBER_MS,
    command::Command,
    deed::{Call, Deed, DeedState, Done, Step, Work},
    state::Order,
};
use crate::domain::{Money, Reference, UnixMillis, cart::LineId, payment};

/// Every step that is pending, with the call that does it: the same call for the same step, whenever it is asked.
#[must_use]
pub fn pending(order: &Order) -> Vec<(Step, Call)> {
    order.deeds.iter().filter_map(|deed| step(order, deed)).collect()
}

/// What the answer to a step becomes; `once` = no second request for it can be on its way.
#[must_use]
pub const fn on_done(step: Step, done: Done, once: bool) -> Command {
    Command::Done { step, done, once }
}

/// When the order wakes next: a stock must then forget a deed.
#[must_use]
pub fn wake_at(order: &Order) -> Option<UnixMillis> {
    let due = |deed: &Deed| match deed.state {
        DeedState::Remembered { since } => Some(since.plus_ms(REMEMBER_MS)),
        DeedState::Wanted | DeedState::Forgetting => None,
    };
    order.deeds.iter().filter_map(due).min()
}

/// What it is told then.
#[must_use]
pub const fn on_wake() -> Command {
    Command::Wake
}

fn step(order: &Order, deed: &Deed) -> Option<(Step, Call)> {
    let by = Reference { by: order.id.0, n: deed.n };
    let sku = |goods: LineId| order.line(goods).map(|line| line.bought.sku.clone());
    match (deed.state, deed.work) {
        (DeedState::Remembered { .. }, _) => None,
        (DeedState::Forgetting, Work::Ship { goods, .. } | Work::Restock { goods, .. }) => {
            Some((Step::Forget(deed.n), Call::Forget { sku: sku(goods)?, by }))
        }
        // Gateways remember by themselves.
        (DeedState::Forgetting, Work::Capture { .. } | Work::Void | Work::Refund { .. }) => None,
        (DeedState::Wanted, work) => {
            let money = |amount| payment::Deed {
                key: by,
                gateway: order.payment.gateway.clone(),
                reference: order.payment.reference.clone(),
                amount: Money { amount, currency: order.currency },
            };
            let call = match work {
                Work::Capture { amount } => Call::Capture(money(amount)),
                Work::Void => Call::Void(money(order.payment.authorised)),
                Work::Refund { amount } => Call::Refund(money(amount)),
                Work::Ship { goods, quantity } => Call::Ship { sku: sku(goods)?, by, quantity },
                Work::Restock { goods, quantity, from } => Call::Restock { sku: sku(goods)?, by, quantity, from },
            };
            Some((Step::Deed(deed.n), call))
        }
    }
}
