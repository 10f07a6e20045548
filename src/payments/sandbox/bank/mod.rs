//! What the sandbox bank decides. Pure: a payment as it stands and what is asked of it, to the payment as it then stands
//! and what is said.

use crate::{
    codec::{BANK_DEEDS_MAX, BankDeed, BankDeedKind, BankPayment, BankState},
    domain::{
        Currency, Money, Reference, UnixMillis,
        payment::{Abandoned, Authorised, GatewayReference, Moved},
    },
    payments::gateway,
};

/// What every reference of the bank's starts with.
const PREFIX: &str = "sbx_";

/// What is asked of the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Reserve money, with the shopper's token.
    Authorise {
        /// How much.
        amount: Money,
        /// What stands for the shopper's card: it says what shall happen.
        token: &'a str,
    },
    /// The shopper did what was required of them.
    Confirm,
    /// Look, and see.
    Find,
    /// Never authorise under this key.
    Abandon {
        /// How much was to be authorised.
        amount: Money,
    },
    /// Move money, or free it.
    Deed {
        /// The deed's own key.
        key: Reference,
        /// What is to be done.
        kind: BankDeedKind,
        /// How much; a void needs none.
        amount: Money,
    },
}

/// What the bank says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// To an authorisation.
    Authorised(Authorised),
    /// To an authorisation that is under way, or whose answer is lost: nothing.
    Silence,
    /// To a confirmation: whether there is money reserved now.
    Confirmed(bool),
    /// To a look-up: whether there is such a payment, as it now stands.
    Seen(bool),
    /// To an abandonment.
    Abandoned(Abandoned),
    /// To a deed.
    Moved(Moved),
    /// The key was used for something else before: whoever asks is mistaken, and must not take another deed's answer for
    /// its own.
    Misused,
}

/// What comes of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The payment as it then stands; `None` = as before.
    pub next: Option<BankPayment>,
    /// What is said.
    pub say: Say,
    /// Whether it is said late.
    pub is_slow: bool,
}

impl Outcome {
    const fn same(say: Say) -> Self {
        Self { next: None, say, is_slow: false }
    }

    const fn changed(next: BankPayment, say: Say) -> Self {
        Self { next: Some(next), say, is_slow: false }
    }
}

/// The bank's name for the payment under a key.
#[must_use]
pub fn reference(key: Reference) -> GatewayReference {
    format!("{PREFIX}{key}").into()
}

/// The key of a payment by the bank's name for it.
#[must_use]
pub fn key_of(reference: &str) -> Option<Reference> {
    gateway::key_of(reference.strip_prefix(PREFIX)?)
}

/// What the bank does. `payment` is what stands under `key`, `now` is when.
#[must_use]
pub fn decide(payment: Option<&BankPayment>, key: Reference, ask: &Ask<'_>, now: UnixMillis) -> Outcome {
    match (payment, ask) {
        (None, Ask::Authorise { amount, token }) => first(key, *amount, token, now),
        (Some(payment), Ask::Authorise { amount, .. }) => again(payment, *amount),
        (None, Ask::Abandon { amount }) => {
            let next = new(key, *amount, BankState::Abandoned, now);
            Outcome::changed(next, Say::Abandoned(Abandoned::Nothing))
        }
        (Some(payment), Ask::Abandon { .. }) => abandon(payment),
        (None, Ask::Find) => Outcome::same(Say::Seen(false)),
        (Some(payment), Ask::Find) if payment.state == BankState::Late => {
            // It was not there, and now it is.
            Outcome::changed(BankPayment { state: BankState::Authorised, ..payment.clone() }, Say::Seen(false))
        }
        (Some(_), Ask::Find) => Outcome::same(Say::Seen(true)),
        (None, Ask::Confirm) => Outcome::same(Say::Confirmed(false)),
        (Some(payment), Ask::Confirm) if payment.state == BankState::ActionRequired => {
            Outcome::changed(BankPayment { state: BankState::Authorised, ..payment.clone() }, Say::Confirmed(true))
        }
        (Some(payment), Ask::Confirm) => Outcome::same(Say::Confirmed(payment.state == BankState::Authorised)),
        (None, Ask::Deed { .. }) => refused("there is no such payment"),
        (Some(payment), Ask::Deed { key, kind, amount }) => deed(payment, *key, *kind, *amount),
    }
}

fn new(key: Reference, amount: Money, state: BankState, now: UnixMillis) -> BankPayment {
    BankPayment {
        by: key.by.0,
        n: key.n,
        state,
        amount: amount.amount.max(0),
        currency: amount.currency.bytes(),
        captured: 0,
        refunded: 0,
        refuses_capture: false,
        created_at_ms: now.0,
        deeds: Vec::new(),
    }
}

/// The first time that an authorisation is asked for under a key: the token says what happens.
fn first(key: Reference, amount: Money, token: &str, now: UnixMillis) -> Outcome {
    let with = |state| new(key, amount, state, now);
    let yes = || with(BankState::Authorised);
    if amount.amount <= 0 {
        let next = with(BankState::Declined);
        let say = authorised(&next);
        return Outcome::changed(next, say);
    }
    let (next, say, is_slow) = match token {
        "tok_approve" => (yes(), None, false),
        "tok_slow" => (yes(), None, true),
        "tok_answer_lost" => (yes(), Some(Say::Silence), false),
        "tok_capture_fails" => (BankPayment { refuses_capture: true, ..yes() }, None, false),
        "tok_action" => (with(BankState::ActionRequired), None, false),
        "tok_late" => (with(BankState::Late), Some(Say::Silence), false),
        // Nothing is begun, so nothing is written.
        "tok_down" => return Outcome::same(Say::Authorised(Authorised::Unavailable)),
        // Among them `tok_decline`, and every token that the bank does not know.
        _ => (with(BankState::Declined), None, false),
    };
    let say = say.unwrap_or_else(|| authorised(&next));
    Outcome { next: Some(next), say, is_slow }
}

/// The same key again: what was said, or would have been.
fn again(payment: &BankPayment, amount: Money) -> Outcome {
    let is_same = payment.amount == amount.amount.max(0) && payment.currency == amount.currency.bytes();
    match payment.state {
        // What was never reserved is not, whatever is asked for now.
        BankState::Declined | BankState::Abandoned => Outcome::same(authorised(payment)),
        _ if !is_same => Outcome::same(Say::Misused),
        BankState::Late => {
            let next = BankPayment { state: BankState::Authorised, ..payment.clone() };
            let say = authorised(&next);
            Outcome::changed(next, say)
        }
        BankState::ActionRequired | BankState::Authorised | BankState::Voided => Outcome::same(authorised(payment)),
    }
}

/// What is said of an authorisation that stands so.
fn authorised(payment: &BankPayment) -> Say {
    let reference = reference(payment.key());
    Say::Authorised(match payment.state {
        BankState::Authorised => Authorised::Yes { reference },
        BankState::ActionRequired => Authorised::ActionRequired { reference, url: Box::default() },
        BankState::Declined => Authorised::Declined { reason: "The card was declined.".into() },
        BankState::Abandoned => Authorised::Declined { reason: "The payment was abandoned.".into() },
        BankState::Voided => Authorised::Declined { reason: "The payment was voided.".into() },
        BankState::Late => return Say::Silence,
    })
}

fn abandon(payment: &BankPayment) -> Outcome {
    match payment.state {
        BankState::Authorised => {
            let reference = reference(payment.key());
            Outcome::same(Say::Abandoned(Abandoned::Authorised { reference }))
        }
        BankState::Late | BankState::ActionRequired => {
            let next = BankPayment { state: BankState::Abandoned, ..payment.clone() };
            Outcome::changed(next, Say::Abandoned(Abandoned::Nothing))
        }
        BankState::Declined | BankState::Abandoned | BankState::Voided => {
            Outcome::same(Say::Abandoned(Abandoned::Nothing))
        }
    }
}

fn refused(why: &str) -> Outcome {
    Outcome::same(Say::Moved(Moved::Refused { reason: why.into() }))
}

/// A refusal is recorded like what was done: it is for good, also when a delayed repetition would fit by then.
fn deed(payment: &BankPayment, key: Reference, kind: BankDeedKind, amount: Money) -> Outcome {
    let value = if kind == BankDeedKind::Void { 0 } else { amount.amount };
    let is_same_key = |deed: &&BankDeed| deed.by == key.by.0 && deed.n == key.n;
    if let Some(done) = payment.deeds.iter().find(is_same_key) {
        return match () {
            () if done.kind != kind || done.amount != value.max(0) => Outcome::same(Say::Misused),
            () if done.is_refused => refused("it was refused before"),
            () => Outcome::same(Say::Moved(Moved::Yes)),
        };
    }
    if payment.deeds.len() >= BANK_DEEDS_MAX {
        return refused("too much was done with this payment");
    }
    let refusal = refusal(payment, kind, value, amount.currency);
    let mut next = payment.clone();
    next.deeds.push(BankDeed { by: key.by.0, n: key.n, kind, amount: value.max(0), is_refused: refusal.is_some() });
    if let Some(why) = refusal {
        return Outcome::changed(next, Say::Moved(Moved::Refused { reason: why.into() }));
    }
    match kind {
        BankDeedKind::Capture => next.captured += value,
        BankDeedKind::Void => next.state = BankState::Voided,
        BankDeedKind::Refund => next.refunded += value,
    }
    Outcome::changed(next, Say::Moved(Moved::Yes))
}

/// Why a new deed is refused.
fn refusal(payment: &BankPayment, kind: BankDeedKind, value: i64, currency: Currency) -> Option<&'static str> {
    let is_void = kind == BankDeedKind::Void;
    let left = match kind {
        BankDeedKind::Capture => payment.amount - payment.captured,
        BankDeedKind::Refund => payment.captured - payment.refunded,
        BankDeedKind::Void => 0,
    };
    match () {
        () if payment.state != BankState::Authorised => Some("no money is reserved"),
        () if is_void && payment.captured > 0 => Some("money was captured already"),
        () if is_void => None,
        () if payment.currency != currency.bytes() => Some("the payment is of another currency"),
        () if value <= 0 => Some("the amount is not positive"),
        () if value > left => Some("more than there is"),
        () if kind == BankDeedKind::Capture && payment.refuses_capture => Some("the card's bank refuses the capture"),
        () => None,
    }
}

#[cfg(test)]
mod tests;
