//! What a cart must have done elsewhere: its checkout opened.

use std::fmt;

use super::{
    command::Command,
    state::{Cart, Line, Owner},
};
use crate::domain::{CartId, CheckoutId, Currency, discount::Rule};

/// Names one pending deed within the cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Make this checkout exist. It carries the id, so that an answer about an earlier checkout says nothing of this one.
    Open(CheckoutId),
}

/// What must be done.
#[derive(Clone, PartialEq, Eq)]
pub enum Call {
    /// Make a checkout exist; one that is there already is left as it is.
    Open {
        /// Its id.
        checkout: CheckoutId,
        /// The cart that it buys from.
        cart: CartId,
        /// Whose both are.
        owner: Owner,
        /// Of every price.
        currency: Currency,
        /// What it buys, at the prices accepted.
        lines: Vec<Line>,
        /// The codes that it buys with.
        codes: Vec<Rule>,
        /// Where to write to the shopper, if the cart knows.
        email: Option<Box<str>>,
    },
}

/// Shows ids and counts: what people wrote stays out of logs.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Open { checkout, cart, lines, codes, .. } = self;
        write!(f, "Open({checkout} of {cart}, {} lines, {} codes)", lines.len(), codes.len())
    }
}

/// How a deed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The checkout exists: it lets the cart go by itself.
    Opened,
    /// It has been, and is over.
    Over,
}

/// What must still be done, derived from the state alone.
#[must_use]
pub fn pending(cart: &Cart) -> Vec<(Step, Call)> {
    let Some(checkout) = cart.checkout.as_ref().filter(|checkout| !checkout.opened) else { return Vec::new() };
    let call = Call::Open {
        checkout: checkout.id,
        cart: cart.id,
        owner: cart.owner,
        currency: cart.currency,
        lines: checkout.lines.to_vec(),
        codes: checkout.codes.to_vec(),
        email: cart.email.clone(),
    };
    vec![(Step::Open(checkout.id), call)]
}

/// What to tell the cart once it is done. A step that is pending no more changes nothing.
#[must_use]
pub const fn on_done(step: Step, done: Done) -> Command {
    match (step, done) {
        (Step::Open(checkout), Done::Opened) => Command::Opened { checkout },
        (Step::Open(checkout), Done::Over) => Command::LetGo { checkout },
    }
}
