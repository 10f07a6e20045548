//! What may be asked of a checkout. Parsed at the door: texts and quotes are well-formed here, what depends on the
//! checkout's state is checked by `decide`.

use super::{
    state::{CheckoutLine, Email},
    steps::{Done, Step},
};
use crate::domain::{
    CartId, CheckoutId, Currency, UnixMillis, address::Address, cart::Owner, discount::Rule, payment::Token,
    pricing::Quote,
};

/// A new checkout: what its cart said when it began, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Its id, minted by the cart's `begin`.
    pub id: CheckoutId,
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
    /// What it costs, as far as it can be told without an address.
    pub quote: Quote,
    /// The cart's e-mail address.
    pub email: Option<Email>,
    /// When its cart asked for it: what is held first is held from then on, however late the request arrives.
    pub asked_at: UnixMillis,
    /// How long it lives without activity, in milliseconds.
    pub ttl_ms: u64,
    /// How long it lives at most.
    pub ttl_max_ms: u64,
}

/// A change of where to, how and to whom; `None` leaves, `Some(None)` erases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The new e-mail address.
    pub email: Option<Option<Email>>,
    /// The new address.
    pub address: Option<Option<Address>>,
    /// The new way of shipping.
    pub option: Option<Option<Box<str>>>,
    /// What it costs then: made upon the revision that the patch is made upon.
    pub quote: Quote,
}

/// What may be asked of a checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make it. On one that is there already, of the same cart: no change.
    Create(Box<Create>),
    /// Change where to, how and to whom.
    Patch(Box<Patch>),
    /// Pay. While a payment goes on, or is done: no change, the caller joins it.
    Complete {
        /// Which gateway.
        gateway: Box<str>,
        /// The shopper's token.
        token: Token,
    },
    /// The shopper has done what the payment required, or the gateway says so: ask it again.
    Confirm,
    /// End it.
    Cancel,
    /// The clock says so: do what is due, if anything is.
    Expire,
    /// A pending step was answered; one that is pending no more changes nothing.
    Done {
        /// Which step.
        step: Step,
        /// Its answer.
        done: Done,
        /// It was asked for once: no second request for it can be on its way.
        once: bool,
    },
}
