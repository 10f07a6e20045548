//! Folds what happened into the state. Total: an event that does not fit changes nothing but time.

use std::mem::discriminant;

use super::{
    command::Create,
    event::{Change, Event},
    state::{Attempt, AttemptState, Checkout, CheckoutLine, Hold, HoldState, Phase, Undo, What},
    steps::{Deed, row},
};
use crate::domain::{UnixMillis, discount::Rule};

/// Folds `event` into `checkout`; only [`Change::Created`] makes one out of nothing.
pub fn evolve(checkout: &mut Option<Checkout>, event: &Event) {
    if let Change::Created(create) = &event.change {
        *checkout = Some(created(create, event.at));
    } else if let Some(checkout) = checkout {
        let before = seen(checkout);
        change(checkout, &event.change, event.at);
        // Clients see when it changed: of one revision that is one time, or its ETag would stand for two bodies.
        if matches!(event.change, Change::Patched { .. }) || seen(checkout) != before {
            checkout.updated_at = event.at;
            checkout.revision = checkout.revision.saturating_add(1);
        }
    }
}

fn created(create: &Create, at: UnixMillis) -> Checkout {
    Checkout {
        id: create.id,
        revision: 1,
        cart: create.cart,
        owner: create.owner,
        currency: create.currency,
        lines: create.lines.clone(),
        codes: create.codes.clone(),
        quote: create.quote.clone(),
        email: create.email.clone(),
        address: None,
        option: None,
        holds: holds(&create.lines, &create.codes),
        phase: Phase::Holding,
        attempts: Vec::new(),
        ttl_ms: create.ttl_ms,
        created_at: create.asked_at.min(at),
        updated_at: at,
        expires_at: at.plus_ms(create.ttl_ms.min(create.ttl_max_ms)),
        expires_at_max: at.plus_ms(create.ttl_max_ms),
    }
}

/// One hold per product, over all its lines; then one per code.
fn holds(lines: &[CheckoutLine], codes: &[Rule]) -> Vec<Hold> {
    let mut whats: Vec<What> = Vec::new();
    for bought in lines {
        let units = u32::from(bought.line.quantity);
        let same = whats.iter_mut().find_map(|what| match what {
            What::Stock { sku, quantity, .. } if *sku == bought.line.sku => Some(quantity),
            _ => None,
        });
        if let Some(quantity) = same {
            *quantity = quantity.saturating_add(units);
        } else {
            let (sku, initial) = (bought.line.sku.clone(), bought.stock_initial);
            whats.push(What::Stock { sku, initial, quantity: units });
        }
    }
    whats.extend(codes.iter().map(|rule| What::Code { code: rule.code.clone() }));
    whats.into_iter().map(|what| Hold { what, state: HoldState::Wanted, lack: None, once: false }).collect()
}

/// What clients see of a checkout, save what a patch changes. What happens between actors is none of their business, and
/// must not spoil an `If-Match`.
fn seen(checkout: &Checkout) -> impl PartialEq + use<> {
    let attempt = checkout.attempts.last().map(|attempt| discriminant(&attempt.state));
    (checkout.visible_status(), checkout.attempts.len(), attempt)
}

fn change(checkout: &mut Checkout, change: &Change, at: UnixMillis) {
    match change {
        Change::Created(_) => {}
        Change::Patched { email, address, option, quote, expires_at } => {
            checkout.email.clone_from(email);
            checkout.address = address.as_deref().cloned();
            checkout.option.clone_from(option);
            checkout.quote.clone_from(quote);
            checkout.expires_at = *expires_at;
        }
        Change::AttemptBegan { gateway, token, amount, expires_at, hold_until } => {
            checkout.expires_at = *expires_at;
            checkout.phase = Phase::Pinning;
            checkout.attempts.push(Attempt {
                gateway: gateway.clone(),
                token: Some(token.clone()),
                amount: *amount,
                started_at: at,
                hold_until: *hold_until,
                round: 0,
                reference: None,
                state: AttemptState::Pending,
                undo: Undo::Nothing,
            });
        }
        Change::Held { hold, until, once } => {
            set(checkout, *hold, HoldState::Held { until: *until });
            if let Some(hold) = checkout.holds.get_mut(usize::from(*hold)) {
                hold.once |= once;
            }
        }
        Change::HoldRefused { hold, lack, once } => {
            set(checkout, *hold, HoldState::Refused);
            if let Some(hold) = checkout.holds.get_mut(usize::from(*hold)) {
                hold.lack = Some(lack.clone());
                hold.once = *once;
            }
        }
        Change::Pinned { hold, attempt } => set(checkout, *hold, HoldState::Pinned { attempt: *attempt }),
        Change::Committed(hold) => set(checkout, *hold, HoldState::Committed),
        Change::Released(hold) => set(checkout, *hold, HoldState::Released),
        Change::Forgotten(hold) => set(checkout, *hold, HoldState::Forgotten),
        Change::ActionRequired { reference, url } => {
            checkout.phase = Phase::RequiresAction;
            if let Some(attempt) = checkout.attempts.last_mut() {
                attempt.reference = Some(reference.clone());
                attempt.state = AttemptState::ActionRequired { url: url.clone() };
            }
        }
        Change::Confirmed { until } => {
            checkout.phase = Phase::Authorising { until: *until };
            if let Some(attempt) = checkout.attempts.last_mut() {
                attempt.round = attempt.round.saturating_add(1);
                attempt.state = AttemptState::Pending;
            }
        }
        Change::Approved { reference } => {
            checkout.phase = Phase::Committing;
            if let Some(attempt) = checkout.attempts.last_mut() {
                attempt.reference = Some(reference.clone());
                settle(attempt, AttemptState::Approved, Undo::Nothing);
            }
        }
        Change::Declined { reason } => {
            checkout.phase = Phase::Open;
            if let Some(attempt) = checkout.attempts.last_mut() {
                settle(attempt, AttemptState::Declined { reason: reason.clone() }, Undo::Nothing);
            }
        }
        Change::Unavailable => {
            checkout.phase = Phase::Open;
            if let Some(attempt) = checkout.attempts.last_mut() {
                // The gateway was away when it was asked last; an earlier request may yet reach it.
                settle(attempt, AttemptState::Unavailable, Undo::Abandon);
            }
        }
        Change::AbandoningBegan => {
            checkout.phase = Phase::Abandoning;
            if let Some(attempt) = checkout.attempts.last_mut() {
                settle(attempt, AttemptState::Pending, Undo::Abandon);
            }
        }
        Change::Abandoned(n) => {
            if checkout.phase == Phase::Abandoning && *n == checkout.attempt_n() {
                checkout.phase = Phase::Open;
            }
            undone(checkout, *n, Undo::Nothing);
        }
        Change::FoundReserved { attempt: n, reference } => {
            if let Some(attempt) = nth(checkout, *n) {
                attempt.reference = Some(reference.clone());
            }
            undone(checkout, *n, Undo::Void);
        }
        Change::Voided { attempt, refused } => {
            undone(checkout, *attempt, if *refused { Undo::VoidRefused } else { Undo::Voided });
        }
        Change::UnwindingBegan(end) => {
            let undo = row(checkout.phase).undo;
            if let Some(attempt) = checkout.attempts.last_mut().filter(|attempt| is_unsettled(attempt)) {
                if undo.contains(&Deed::Abandon) {
                    settle(attempt, AttemptState::Pending, Undo::Abandon);
                } else {
                    // The gateway was never asked.
                    settle(attempt, AttemptState::Abandoned, Undo::Nothing);
                }
            }
            checkout.phase = Phase::Releasing(*end);
        }
        Change::Moved(phase) => checkout.phase = *phase,
    }
}

fn set(checkout: &mut Checkout, nth: u16, state: HoldState) {
    if let Some(hold) = checkout.holds.get_mut(usize::from(nth)) {
        hold.state = state;
    }
}

fn nth(checkout: &mut Checkout, n: u32) -> Option<&mut Attempt> {
    checkout.attempts.get_mut(usize::try_from(n.checked_sub(1)?).ok()?)
}

const fn is_unsettled(attempt: &Attempt) -> bool {
    matches!(attempt.state, AttemptState::Pending | AttemptState::ActionRequired { .. })
}

/// The gateway will not be asked to reserve again: whoever reads the row finds no token.
fn settle(attempt: &mut Attempt, state: AttemptState, undo: Undo) {
    attempt.token = None;
    attempt.state = state;
    attempt.undo = undo;
}

/// The doubt about an attempt's money has become something else; one that nobody could tell of was abandoned.
fn undone(checkout: &mut Checkout, n: u32, undo: Undo) {
    if let Some(attempt) = nth(checkout, n) {
        attempt.undo = undo;
        if is_unsettled(attempt) {
            attempt.state = AttemptState::Abandoned;
        }
    }
}
