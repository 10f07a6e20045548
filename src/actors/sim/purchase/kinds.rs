//! The five kinds of actors of a purchase, in one table: what the world must know of each beside its rules.

use std::collections::BTreeMap;

use super::store::{Committed, Model};
use crate::{
    actors::{
        cart::{self as cart_actor, CartEntity},
        checkout::{self as checkout_actor, CheckoutEntity},
        discount::DiscountEntity,
        durable::{Again, Durable, Entity},
        errand::{Answer, Errand, Terms},
        order::{self as order_actor, OrderEntity},
        stock::StockEntity,
    },
    domain::{
        cart, checkout,
        order::{self, Capture},
    },
};

/// Which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Cart,
    Checkout,
    Stock,
    Discount,
    Order,
}

/// One actor.
pub(super) type Name = (Sort, u128);
/// Every version of every actor of one kind.
pub(super) type Histories<E> = BTreeMap<u128, Vec<Committed<<E as Entity>::State>>>;
/// Those of one kind that a node has in memory.
type Machines<E> = BTreeMap<u128, Durable<E, u64>>;

/// What a node has in memory.
#[derive(Default)]
pub(super) struct Hosts {
    pub(super) carts: Machines<CartEntity>,
    pub(super) checkouts: Machines<CheckoutEntity>,
    pub(super) stocks: Machines<StockEntity>,
    pub(super) discounts: Machines<DiscountEntity>,
    pub(super) orders: Machines<OrderEntity>,
}

/// What must be done elsewhere, of any kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Cart(cart::Call),
    Checkout(checkout::Call),
    Order(order::Call),
    Nothing,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Cart(cart::Done),
    Checkout(checkout::Done),
    Order(order::Done),
}

impl Call {
    /// The product's own errand for it.
    pub(super) fn errand(&self, terms: &Terms<'_>, capture: Capture) -> Result<Errand, Again> {
        match self {
            Self::Cart(call) => cart_actor::errand(call.clone(), terms),
            Self::Checkout(call) => Ok(checkout_actor::errand(call, capture)),
            Self::Order(call) => Ok(order_actor::errand(call.clone())),
            Self::Nothing => Err(Again),
        }
    }

    /// What the product makes of the answer.
    pub(super) fn done(&self, answer: Answer) -> Result<Done, Again> {
        match self {
            Self::Cart(cart::Call::Open { checkout, .. }) => cart_actor::done(*checkout, answer).map(Done::Cart),
            Self::Checkout(call) => checkout_actor::done(call, answer).map(Done::Checkout),
            Self::Order(_) => order_actor::done(answer).map(Done::Order),
            Self::Nothing => Err(Again),
        }
    }
}

/// What the world must know of a kind.
pub(super) trait Role: Entity<State: PartialEq> {
    const SORT: Sort;
    fn machines(hosts: &mut Hosts) -> &mut Machines<Self>;
    fn histories(model: &Model) -> &Histories<Self>;
    fn histories_mut(model: &mut Model) -> &mut Histories<Self>;
    fn call(call: Self::Call) -> Call;
    fn done(done: Done) -> Option<Self::Done>;
    fn answer(told: Result<(), Self::Refusal>) -> Answer;
    /// Whether rows tell all of a state that is foretold.
    fn is_known(model: &Model, foretold: &Self::State) -> bool;
}

macro_rules! role {
    ($Entity:ident, $Sort:ident, $field:ident, |$call:ident| $to_call:expr, |$done:ident| $to_done:expr, $is_known:expr) => {
        impl Role for $Entity {
            const SORT: Sort = Sort::$Sort;
            fn machines(hosts: &mut Hosts) -> &mut Machines<Self> {
                &mut hosts.$field
            }
            fn histories(model: &Model) -> &Histories<Self> {
                &model.$field
            }
            fn histories_mut(model: &mut Model) -> &mut Histories<Self> {
                &mut model.$field
            }
            fn call($call: Self::Call) -> Call {
                $to_call
            }
            fn done($done: Done) -> Option<Self::Done> {
                $to_done
            }
            fn answer(told: Result<(), Self::Refusal>) -> Answer {
                Answer::$Sort(told)
            }
            fn is_known(model: &Model, foretold: &Self::State) -> bool {
                let is_known: fn(&Model, &Self::State) -> bool = $is_known;
                is_known(model, foretold)
            }
        }
    };
}

role!(
    CartEntity,
    Cart,
    carts,
    |call| Call::Cart(call),
    |done| match done {
        Done::Cart(done) => Some(done),
        _ => None,
    },
    Model::tells_of_cart
);
role!(
    CheckoutEntity,
    Checkout,
    checkouts,
    |call| Call::Checkout(call),
    |done| match done {
        Done::Checkout(done) => Some(done),
        _ => None,
    },
    Model::tells_of_checkout
);
role!(
    OrderEntity,
    Order,
    orders,
    |call| Call::Order(call),
    |done| match done {
        Done::Order(done) => Some(done),
        _ => None,
    },
    |_, _| false
);
role!(StockEntity, Stock, stocks, |_call| Call::Nothing, |_done| None, |_, _| false);
role!(DiscountEntity, Discount, discounts, |_call| Call::Nothing, |_done| None, |_, _| false);

/// Calls a function that is written once for the kind of a name.
macro_rules! by_sort {
    ($sort:expr, $($call:tt)+) => {
        match $sort {
            $crate::actors::sim::purchase::kinds::Sort::Cart => by_sort!(@ CartEntity, $($call)+),
            $crate::actors::sim::purchase::kinds::Sort::Checkout => by_sort!(@ CheckoutEntity, $($call)+),
            $crate::actors::sim::purchase::kinds::Sort::Stock => by_sort!(@ StockEntity, $($call)+),
            $crate::actors::sim::purchase::kinds::Sort::Discount => by_sort!(@ DiscountEntity, $($call)+),
            $crate::actors::sim::purchase::kinds::Sort::Order => by_sort!(@ OrderEntity, $($call)+),
        }
    };
    (@ $Entity:ident, $self:ident . $name:ident ( $($argument:expr),* )) => {
        $self.$name::<$Entity>($($argument),*)
    };
}
pub(super) use by_sort;
