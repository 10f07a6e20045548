//! What an actor asks of another actor, or of a gateway, to have a deed done: the pure half of it. Each kind says which
//! errand a call of its is and what the answer means to it; `Hands` run errands, and so does the simulation.

use crate::{
    domain::{
        CartId, CheckoutId, DiscountId, OrderId, StockId, UnixMillis, cart, checkout, discount, order,
        payment::{Abandoned, Authorise, Authorised, Deed, Moved},
        pricing::Tables,
        product::Product,
        stock,
    },
    payments::Abandon,
};

/// What is asked of whom.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// Of a cart.
    Cart(CartId, cart::Command),
    /// Of a checkout.
    Checkout(CheckoutId, checkout::Command),
    /// Of a product's stock.
    Stock(StockId, stock::Command),
    /// Of a discount code.
    Discount(DiscountId, discount::Command),
    /// Of an order.
    Order(OrderId, order::Command),
    /// Of a gateway: reserve money.
    Authorise(Authorise),
    /// Of a gateway: never reserve money under a key.
    Abandon(Abandon),
    /// Of a gateway: take reserved money.
    Capture(Deed),
    /// Of a gateway: let go of reserved money.
    Void(Deed),
    /// Of a gateway: give money back.
    Refund(Deed),
}

/// What was said to it, for good. What an actor refused, it refused for good.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// By a cart.
    Cart(Result<(), cart::Refusal>),
    /// By a checkout.
    Checkout(Result<(), checkout::Refusal>),
    /// By a product's stock.
    Stock(Result<(), stock::Refusal>),
    /// By a discount code.
    Discount(Result<(), discount::Refusal>),
    /// By an order.
    Order(Result<(), order::Refusal>),
    /// By a gateway, to an authorisation.
    Authorised(Authorised),
    /// By a gateway, of an abandoned key.
    Abandoned(Abandoned),
    /// By a gateway, of money.
    Moved(Moved),
}

/// What a cart's errand rests on beside its call.
pub(super) struct Terms<'a> {
    /// The clock.
    pub(super) now: UnixMillis,
    /// What the catalogue says of a SKU.
    pub(super) product: &'a dyn Fn(&str) -> Option<&'a Product>,
    /// What shipping costs, and what tax is due.
    pub(super) tables: &'a Tables,
    /// How long a checkout lives without activity, in milliseconds.
    pub(super) checkout_ttl_ms: u64,
    /// How long at most.
    pub(super) checkout_ttl_max_ms: u64,
}
