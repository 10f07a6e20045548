//! Decides what a command does to a checkout.

use super::{
    ATTEMPTS_MAX, AUTHORISE_PATIENCE_MS, CODES_MAX, HOLD_GRACE_MS,
    answer::{answer, next},
    command::{Command, Create, Patch},
    event::{Change, Event},
    evolve::evolve,
    refusal::{Missing, Refusal},
    state::{Attempt, Checkout, CheckoutLine, Phase, Status, Undone},
    steps::{Done, Step, row},
};
use crate::domain::{Context, UnixMillis, cart::LINES_MAX, discount::Rule, payment::Token, pricing::Quote};

/// Decides the events that `command` causes, or why the checkout refuses it. No event = nothing to change.
///
/// # Errors
/// The [`Refusal`]; it had no effect.
pub fn decide(checkout: Option<&Checkout>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
    let Some(checkout) = checkout else {
        return match command {
            Command::Create(create) if belongs_together(create) => {
                Ok(vec![Event { at: context.now, change: Change::Created(create.clone()) }])
            }
            Command::Create(_) => Err(Refusal::QuoteMismatch),
            _ => Err(Refusal::NotFound),
        };
    };
    if context.by.is_some_and(|by| by != checkout.owner) {
        return Err(Refusal::NotFound);
    }
    if let Some(seen) = context.if_revision
        && seen != checkout.revision
    {
        return Err(Refusal::RevisionMismatch { present: checkout.revision });
    }
    let change = match command {
        Command::Create(create) if create.id == checkout.id && create.cart == checkout.cart => {
            if checkout.has_let_go() {
                // Its cart has begun it anew, under a key that it had forgotten: nobody else would let it go.
                return Err(Refusal::NotOpen(checkout.visible_status()));
            }
            None
        }
        Command::Create(_) => return Err(Refusal::NotFound),
        Command::Patch(change) => patch(checkout, change, context.now)?,
        Command::Complete { gateway, token } => complete(checkout, gateway, token, context.now)?,
        Command::Confirm => confirm(checkout, context.now),
        Command::Cancel => cancel(checkout)?,
        Command::Expire => expire(checkout, context.now),
        Command::Done { step, done, once } => answer(checkout, *step, done, *once),
    };
    Ok(with_moves(checkout, change, context.now))
}

/// The command that tells a checkout of an answer; `once` = no second request for it can be on its way.
#[must_use]
pub const fn on_done(step: Step, done: Done, once: bool) -> Command {
    Command::Done { step, done, once }
}

/// The command that tells a checkout of the time.
#[must_use]
pub const fn on_wake() -> Command {
    Command::Expire
}

/// Set in the outcome of a `Complete` that joined an attempt with another card, or found one that is over.
const JOINED: u32 = 1 << 31;

/// What a receipt remembers of an accepted command: of a `Complete` the number of the attempt that it began or joined, to be
/// read by [`attempt_of`].
#[must_use]
pub fn outcome(command: &Command, after: &Checkout) -> u32 {
    let Command::Complete { gateway, token } = command else { return 0 };
    let joined = if pays_with(after, gateway, token) { 0 } else { JOINED };
    after.attempt_n() | joined
}

/// Which attempt a `Complete` began or joined, and whether it joined one with another card.
#[must_use]
pub const fn attempt_of(outcome: u32) -> (u32, bool) {
    (outcome & !JOINED, outcome & JOINED != 0)
}

/// Whether the newest attempt is under way with this card.
fn pays_with(checkout: &Checkout, gateway: &str, token: &Token) -> bool {
    let is_it = |attempt: &Attempt| attempt.token.as_ref() == Some(token) && *attempt.gateway == *gateway;
    checkout.attempts.last().is_some_and(is_it)
}

/// A change, and the moves from phase to phase that follow from it.
fn with_moves(checkout: &Checkout, change: Option<Change>, now: UnixMillis) -> Vec<Event> {
    let mut events = Vec::new();
    // Seldom does nothing happen but a move: when the time to remember is over.
    let Some(first) = change.or_else(|| next(checkout, now)) else { return events };
    let mut state = Some(checkout.clone());
    let mut change = Some(first);
    // Each move goes forward in the table, so this ends.
    while let Some(happened) = change {
        let event = Event { at: now, change: happened };
        evolve(&mut state, &event);
        events.push(event);
        change = state.as_ref().and_then(|state| next(state, now));
    }
    events
}

fn patch(checkout: &Checkout, patch: &Patch, now: UnixMillis) -> Result<Option<Change>, Refusal> {
    takes_changes(checkout, now)?;
    let Patch { email, address, option, quote } = patch;
    let email = email.as_ref().unwrap_or(&checkout.email);
    let address = address.as_ref().unwrap_or(&checkout.address);
    let option = option.as_ref().unwrap_or(&checkout.option);
    if !fits(quote, &checkout.lines, &checkout.codes, option.as_deref()) || quote.currency != checkout.currency {
        return Err(Refusal::QuoteMismatch);
    }
    let same = *email == checkout.email
        && *address == checkout.address
        && *option == checkout.option
        && *quote == checkout.quote;
    Ok((!same).then(|| Change::Patched {
        email: email.clone(),
        address: address.clone().map(Box::new),
        option: option.clone(),
        quote: Box::new(quote.clone()),
        expires_at: stretched(checkout, now),
    }))
}

fn complete(checkout: &Checkout, gateway: &str, token: &Token, now: UnixMillis) -> Result<Option<Change>, Refusal> {
    match checkout.visible_status() {
        // The shopper has thought better of that card: its attempt is given up first.
        Status::RequiresAction if now < checkout.expires_at && !pays_with(checkout, gateway, token) => {
            return Ok(Some(Change::AbandoningBegan));
        }
        Status::Completing | Status::RequiresAction | Status::Completed => return Ok(None), // joined
        Status::Open | Status::Cancelled | Status::Expired => takes_changes(checkout, now)?,
    }
    if checkout.phase == Phase::Holding {
        return Err(Refusal::StillHolding);
    }
    let missing = |what| Err(Refusal::Missing(what));
    let weighs = checkout.lines.iter().any(|bought| bought.weight_g > 0);
    match checkout {
        Checkout { email: None, .. } => return missing(Missing::Email),
        Checkout { address: None, .. } => return missing(Missing::Address),
        // Nothing that weighs arrives without being shipped, even where no way is offered.
        Checkout { option: None, quote, .. } if weighs || !quote.offers.is_empty() => return missing(Missing::Option),
        _ => {}
    }
    if checkout.attempts.len() >= ATTEMPTS_MAX {
        return Err(Refusal::TooManyAttempts);
    }
    let expires_at = stretched(checkout, now);
    Ok(Some(Change::AttemptBegan {
        gateway: gateway.into(),
        token: token.clone(),
        amount: checkout.quote.total,
        expires_at,
        hold_until: expires_at.plus_ms(HOLD_GRACE_MS),
    }))
}

fn confirm(checkout: &Checkout, now: UnixMillis) -> Option<Change> {
    match checkout.phase {
        Phase::RequiresAction => Some(Change::Confirmed { until: now.plus_ms(AUTHORISE_PATIENCE_MS) }),
        // The shopper was faster than the gateway's answer, which is from before: it is asked again. That it was told so
        // must not be forgotten, but patience is no longer for it.
        Phase::Authorising { until } => Some(Change::Confirmed { until }),
        _ => None,
    }
}

fn cancel(checkout: &Checkout) -> Result<Option<Change>, Refusal> {
    if !row(checkout.phase).undo.is_empty() {
        return Ok(Some(Change::UnwindingBegan(Undone::Cancelled)));
    }
    match checkout.visible_status() {
        Status::Cancelled | Status::Expired => Ok(None),
        Status::Open | Status::Completing | Status::RequiresAction | Status::Completed => Err(Refusal::TooLate),
    }
}

fn expire(checkout: &Checkout, now: UnixMillis) -> Option<Change> {
    match checkout.phase {
        Phase::Holding | Phase::Open | Phase::Pinning | Phase::RequiresAction if now >= checkout.expires_at => {
            Some(Change::UnwindingBegan(Undone::Expired))
        }
        Phase::Authorising { until } if now >= until => Some(Change::AbandoningBegan),
        Phase::Abandoning if now >= checkout.expires_at.plus_ms(HOLD_GRACE_MS) => {
            Some(Change::UnwindingBegan(Undone::Expired))
        }
        _ => None,
    }
}

/// Whether it is open, and not only because the clock has not said yet that it is over.
fn takes_changes(checkout: &Checkout, now: UnixMillis) -> Result<(), Refusal> {
    match checkout.visible_status() {
        Status::Open if now < checkout.expires_at => Ok(()),
        Status::Open => Err(Refusal::NotOpen(Status::Expired)),
        status => Err(Refusal::NotOpen(status)),
    }
}

/// When it expires after activity. Steps that would win little are left out: each one is told to every hold.
fn stretched(checkout: &Checkout, now: UnixMillis) -> UnixMillis {
    let to = now.plus_ms(checkout.ttl_ms).min(checkout.expires_at_max);
    if to < checkout.expires_at.plus_ms(checkout.ttl_ms / 15) { checkout.expires_at } else { to }
}

fn belongs_together(create: &Create) -> bool {
    (1..=LINES_MAX).contains(&create.lines.len())
        && create.codes.len() <= CODES_MAX
        && create.currency == create.quote.currency
        && fits(&create.quote, &create.lines, &create.codes, None)
}

/// Whether a quote is of these lines, codes and way of shipping.
pub(super) fn fits(quote: &Quote, lines: &[CheckoutLine], codes: &[Rule], option: Option<&str>) -> bool {
    let subtotal = |bought: &CheckoutLine| i128::from(bought.line.unit_price) * i128::from(bought.line.quantity);
    quote.total >= 0
        && quote.option.as_deref() == option
        && option.is_none_or(|option| quote.offers.iter().any(|offer| *offer.id == *option))
        && quote.lines.len() == lines.len()
        && quote
            .lines
            .iter()
            .zip(lines)
            .all(|(priced, bought)| priced.line == bought.line.id && i128::from(priced.subtotal) == subtotal(bought))
        && quote.discounts.iter().all(|taken| codes.iter().any(|rule| rule.code == taken.code))
}
