//! What a checkout is.

use std::fmt;

use crate::domain::{
    CartId, CheckoutId, Currency, UnixMillis,
    address::Address,
    cart::{Line, Owner},
    discount::Rule,
    payment::{GatewayReference, Token},
    pricing::Quote,
};

/// Where to write to the shopper. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(pub Box<str>);

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

/// A cart's line as it was when the checkout began, with what the catalogue said of its product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutLine {
    /// The line.
    pub line: Line,
    /// Where its product is filed.
    pub categories: Vec<Box<str>>,
    /// Of one unit.
    pub weight_g: u32,
    /// What the product's stock starts with if nobody has touched it yet.
    pub stock_initial: u32,
}

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Units of one product: of all its lines together.
    Stock {
        /// Which product.
        sku: Box<str>,
        /// What its stock starts with if nobody has touched it yet.
        initial: u32,
        /// How many.
        quantity: u32,
    },
    /// One use of a discount code.
    Code {
        /// Which.
        code: Box<str>,
    },
}

/// Why something is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Fewer units than wanted.
    Stock {
        /// How many there were.
        available: u32,
    },
    /// The code cannot be used.
    Code {
        /// Why.
        reason: Box<str>,
    },
}

/// What is known of a hold: what its actor answered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Asked for, not answered.
    Wanted,
    /// Refused; where a second request may be on its way and yet succeed, this is released like any other.
    Refused,
    /// Held, and lost at that time if nothing happens.
    Held {
        /// At least until then.
        until: UnixMillis,
    },
    /// Held for as long as the payment attempt takes.
    Pinned {
        /// Which attempt.
        attempt: u32,
    },
    /// Sold.
    Committed,
    /// Given back.
    Released,
    /// Its actor knows no more of it.
    Forgotten,
}

/// Something held, or to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What.
    pub what: What,
    /// What is known.
    pub state: HoldState,
    /// Why it was refused, if it was.
    pub lack: Option<Lack>,
    /// It was asked for once and answered: no second request to hold it can come late and make it anew.
    pub once: bool,
}

/// What became of a payment attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// Not known yet.
    Pending,
    /// The shopper must do something first.
    ActionRequired {
        /// Where.
        url: Box<str>,
    },
    /// The money is reserved.
    Approved,
    /// The gateway said no.
    Declined {
        /// Why, for people.
        reason: Box<str>,
    },
    /// The gateway could not be asked.
    Unavailable,
    /// It was given up before it was known.
    Abandoned,
}

/// What must be taken back of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Nothing.
    Nothing,
    /// Its key: a request on its way may still reserve money.
    Abandon,
    /// The reserved money.
    Void,
    /// It was.
    Voided,
    /// The gateway has none to give back: it let go by itself.
    VoidRefused,
}

/// One try to pay. Its number is its place, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which gateway.
    pub gateway: Box<str>,
    /// The shopper's token, for as long as the attempt may need it.
    pub token: Option<Token>,
    /// How much, in minor units.
    pub amount: i64,
    /// When it was begun.
    pub started_at: UnixMillis,
    /// Until when goods are held again if it fails.
    pub hold_until: UnixMillis,
    /// Counts how often the gateway is asked anew, after the shopper did something.
    pub round: u32,
    /// The gateway's name for the payment, once known.
    pub reference: Option<GatewayReference>,
    /// What became of it.
    pub state: AttemptState,
    /// What must be taken back of it.
    pub undo: Undo,
}

/// How a checkout ends that buys nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// Its shopper said so.
    Cancelled,
    /// Time is over.
    Expired,
    /// Something could not be held.
    Refused,
}

/// How a checkout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is an order.
    Completed,
    /// There is none.
    Undone(Undone),
}

/// Where a checkout is in its life. What each phase does is in the table of `steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Goods and codes are asked for.
    Holding,
    /// Takes changes, and a payment.
    Open,
    /// What is held is made to outlast its expiry.
    Pinning,
    /// The gateway is asked.
    Authorising {
        /// When patience ends.
        until: UnixMillis,
    },
    /// The shopper is.
    RequiresAction,
    /// Whether the gateway has reserved money is found out, for good.
    Abandoning,
    /// The goods are sold: nothing is taken back from here on.
    Committing,
    /// The order is made.
    Placing,
    /// The cart is told what was bought.
    Settling,
    /// What is held is given back.
    Releasing(Undone),
    /// The cart is told that nothing was bought.
    LettingGo(Undone),
    /// Done, save that requests that are late, where there can be any, must still be recognised.
    Remembering(End),
    /// Whoever held something is told to think of it no more.
    Forgetting(End),
    /// Done.
    Ended(End),
}

/// Where a checkout is in its life, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Takes changes, and a payment.
    Open,
    /// A payment attempt is going on.
    Completing,
    /// The shopper must do something for it.
    RequiresAction,
    /// There is an order.
    Completed,
    /// There is none, because its shopper said so or because something could not be held.
    Cancelled,
    /// There is none, because time is over.
    Expired,
}

/// A checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// Its name.
    pub id: CheckoutId,
    /// Rises with every change that a client can see; 1 when made.
    pub revision: u64,
    /// Which cart is bought.
    pub cart: CartId,
    /// Whose it is.
    pub owner: Owner,
    /// Of every price in it.
    pub currency: Currency,
    /// What is bought.
    pub lines: Vec<CheckoutLine>,
    /// The discount codes applied.
    pub codes: Vec<Rule>,
    /// What it costs.
    pub quote: Quote,
    /// Where to write to the shopper.
    pub email: Option<Email>,
    /// Where the goods go.
    pub address: Option<Address>,
    /// The chosen way of shipping.
    pub option: Option<Box<str>>,
    /// One per product, then one per code.
    pub holds: Vec<Hold>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Every try to pay, oldest first.
    pub attempts: Vec<Attempt>,
    /// How long it lives without activity, in milliseconds.
    pub ttl_ms: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it last changed.
    pub updated_at: UnixMillis,
    /// When hold, quote and payment attempt end together.
    pub expires_at: UnixMillis,
    /// The latest that activity can move that to.
    pub expires_at_max: UnixMillis,
}
