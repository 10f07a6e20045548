//! The saga's table: what each phase does elsewhere, and what takes it back.

use super::state::{Email, Phase, What};
use crate::domain::{
    CartId, CheckoutId, Currency, Money, Reference, UnixMillis,
    address::Address,
    cart::{Line, LineId, Owner},
    payment::{self, GatewayReference},
    pricing::Quote,
};

/// A sort of deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Keep goods, or a use of a code, until a time.
    Hold,
    /// Keep them longer.
    Extend,
    /// Keep them for as long as a payment attempt takes.
    Pin,
    /// Keep them until a time again: the attempt came to nothing.
    Unpin,
    /// Reserve money.
    Authorise,
    /// Make sure that a reservation under its key can never succeed, or learn that it has.
    Abandon,
    /// Give reserved money back.
    Void,
    /// Sell what is pinned.
    Commit,
    /// Make the order.
    Place,
    /// Take what was bought out of the cart.
    Settle,
    /// Give what is held back.
    Release,
    /// Give the cart back.
    LetGo,
    /// Remember it no more.
    Forget,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// What the phase does. Once none of it is left to do, it is over.
    pub(super) does: &'static [Deed],
    /// What takes back all that was done up to it, before the cart is let go; empty = it is not taken back any more.
    pub(super) undo: &'static [Deed],
}

/// Money whose fate is not known is taken back in whatever phase: a gateway that is away holds up neither goods nor the
/// shopper's next try.
pub(super) const MONEY: &[Deed] = &[Deed::Abandon, Deed::Void];

/// The table.
#[rustfmt::skip]
pub(super) const fn row(phase: Phase) -> Row {
    use Deed::{Abandon, Authorise, Commit, Extend, Forget, Hold, LetGo, Pin, Place, Release, Settle, Unpin, Void};
    const fn row(does: &'static [Deed], undo: &'static [Deed]) -> Row {
        Row { does, undo }
    }
    match phase {
        //                               do                over undo
        Phase::Holding            => row(&[Hold],          &[Release]),
        Phase::Open               => row(&[Unpin, Extend], &[Release]),
        Phase::Pinning            => row(&[Unpin, Pin],    &[Release]),
        Phase::Authorising { .. } => row(&[Authorise],     &[Abandon, Void, Release]),
        Phase::RequiresAction     => row(&[],              &[Abandon, Void, Release]),
        Phase::Abandoning         => row(&[Abandon],       &[Abandon, Void, Release]),
        // The point of no return: money and goods are both certain.
        Phase::Committing         => row(&[Commit],        &[]),
        Phase::Placing            => row(&[Place],         &[]),
        Phase::Settling           => row(&[Settle],        &[]),
        // The undo column at work; money is in `MONEY`. Then what the cart did first of all is undone.
        Phase::Releasing(_)       => row(&[Release],       &[]),
        Phase::LettingGo(_)       => row(&[LetGo],         &[]),
        // Either way.
        Phase::Remembering(_)     => row(&[],              &[]),
        Phase::Forgetting(_)      => row(&[Forget],        &[]),
        Phase::Ended(_)           => row(&[],              &[]),
    }
}

/// Names one pending deed within its checkout. Holds are counted from 0, attempts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Hold that.
    Hold(u16),
    /// Hold that longer.
    Extend {
        /// What.
        hold: u16,
        /// Until when.
        until: UnixMillis,
    },
    /// Pin that for an attempt.
    Pin {
        /// What.
        hold: u16,
        /// Which attempt.
        attempt: u32,
    },
    /// Unpin that after an attempt.
    Unpin {
        /// What.
        hold: u16,
        /// Which attempt.
        attempt: u32,
    },
    /// Commit that.
    Commit(u16),
    /// Release that.
    Release(u16),
    /// Forget that.
    Forget(u16),
    /// Reserve the money of an attempt.
    Authorise {
        /// Which attempt.
        attempt: u32,
        /// How often the shopper has acted: an answer from before is of no use.
        round: u32,
    },
    /// Abandon that attempt's key.
    Abandon(u32),
    /// Give that attempt's money back.
    Void(u32),
    /// Make the order.
    Place,
    /// Settle the cart.
    Settle,
    /// Let the cart go.
    LetGo,
}

/// What must be done elsewhere: plain data. The same step is always the same call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Hold.
    Hold {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
        /// Whose uses of a code are counted.
        shopper: Owner,
        /// Until when.
        until: UnixMillis,
    },
    /// Hold longer.
    Extend {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
        /// Until when.
        until: UnixMillis,
    },
    /// Pin.
    Pin {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
        /// For which attempt.
        attempt: u32,
    },
    /// Unpin.
    Unpin {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
        /// Pinned for which attempt.
        attempt: u32,
        /// Until when it is held again.
        until: UnixMillis,
    },
    /// Commit.
    Commit {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
    },
    /// Release.
    Release {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
    },
    /// Forget.
    Forget {
        /// What.
        what: What,
        /// The entry's name.
        by: Reference,
    },
    /// Reserve money.
    Authorise(payment::Authorise),
    /// Abandon a key.
    Abandon {
        /// The key.
        key: Reference,
        /// Which gateway.
        gateway: Box<str>,
        /// The gateway's name for the payment, if it told one.
        reference: Option<GatewayReference>,
        /// How much was to be reserved under it.
        amount: Money,
    },
    /// Give money back.
    Void(payment::Deed),
    /// Make the order.
    Place(Box<Placement>),
    /// Settle the cart.
    Settle {
        /// Which.
        cart: CartId,
        /// The checkout that it is in.
        checkout: CheckoutId,
        /// How many of which lines were bought.
        bought: Vec<(LineId, u16)>,
    },
    /// Let the cart go.
    LetGo {
        /// Which.
        cart: CartId,
        /// The checkout that it is in.
        checkout: CheckoutId,
    },
}

/// The final answer to a call. An answer that its step cannot have changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done. Of a void: the money is given back.
    Ok,
    /// Not so many are there.
    Insufficient {
        /// How many are.
        available: u32,
    },
    /// The entry is not what it must be: it has ended, or is not held. Of a void: refused for good.
    Lost,
    /// The code cannot be used.
    CodeRefused {
        /// Why.
        reason: Box<str>,
    },
    /// What the gateway says to an authorisation.
    Authorised(payment::Authorised),
    /// What is known of an abandoned key.
    Abandoned(payment::Abandoned),
}

/// A line of the order to be made. All amounts in the placement's currency's minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedLine {
    /// What was bought.
    pub line: Line,
    /// Unit price times quantity.
    pub subtotal: i64,
    /// Its share of the discounts: zero or negative.
    pub discount: i64,
    /// Its tax.
    pub tax: i64,
}

/// What an order is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its checkout: the order's id is of it.
    pub checkout: CheckoutId,
    /// The cart that was bought.
    pub cart: CartId,
    /// Whose it is.
    pub owner: Owner,
    /// Of every amount.
    pub currency: Currency,
    /// Where to write to the shopper.
    pub email: Email,
    /// Where the goods go.
    pub address: Address,
    /// What was bought.
    pub lines: Vec<PlacedLine>,
    /// What it costs.
    pub quote: Quote,
    /// Which gateway reserved the money.
    pub gateway: Box<str>,
    /// The gateway's name for the payment.
    pub reference: GatewayReference,
    /// How much is reserved.
    pub authorised: Money,
}
