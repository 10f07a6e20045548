//! Reads from the state what must still be done elsewhere. Nothing else is stored: a crash forgets none of it.

use super::{
    HOLD_FIRST_MS, HOLD_GRACE_MS,
    state::{Checkout, Hold, HoldState, Phase, Undo},
    steps::{Call, Deed, MONEY, PlacedLine, Placement, Step, row},
};
use crate::domain::{Money, Reference, UnixMillis, payment};

/// Every step that must be done, and how. Each may be asked for again for as long as it is here.
#[must_use]
pub fn pending(checkout: &Checkout) -> Vec<(Step, Call)> {
    steps(checkout).into_iter().filter_map(|step| Some((step, call(checkout, step)?))).collect()
}

/// When the clock must be asked, if nothing happens before.
#[must_use]
pub fn wake_at(checkout: &Checkout) -> Option<UnixMillis> {
    match checkout.phase {
        Phase::Holding | Phase::Open | Phase::Pinning | Phase::RequiresAction => Some(checkout.expires_at),
        Phase::Authorising { until } => Some(until),
        // A gateway that does not answer keeps neither goods nor cart for ever: its money is asked after all the same.
        Phase::Abandoning => Some(checkout.expires_at.plus_ms(HOLD_GRACE_MS)),
        Phase::Remembering(_) => Some(checkout.forget_at()),
        Phase::Committing
        | Phase::Placing
        | Phase::Settling
        | Phase::Releasing(_)
        | Phase::LettingGo(_)
        | Phase::Forgetting(_)
        | Phase::Ended(_) => None,
    }
}

/// The names of all that is pending.
pub(super) fn steps(checkout: &Checkout) -> Vec<Step> {
    let does = row(checkout.phase).does;
    let money = MONEY.iter().filter(|deed| !does.contains(deed));
    does.iter().chain(money).flat_map(|deed| wanted(checkout, *deed)).collect()
}

/// Whether the phase has done all that it does.
pub(super) fn is_done(checkout: &Checkout) -> bool {
    row(checkout.phase).does.iter().all(|deed| wanted(checkout, *deed).is_empty())
}

/// Whether no money is in doubt.
pub(super) fn is_paid_back(checkout: &Checkout) -> bool {
    MONEY.iter().all(|deed| wanted(checkout, *deed).is_empty())
}

/// What of a sort is left to do.
fn wanted(checkout: &Checkout, deed: Deed) -> Vec<Step> {
    let holds = |wants: &dyn Fn(u16, HoldState) -> Option<Step>| {
        (0u16..).zip(&checkout.holds).filter_map(|(nth, hold)| wants(nth, hold.state)).collect()
    };
    let left = |ended: HoldState, step: fn(u16) -> Step| {
        let is_nothing = |hold: &Hold| hold.state == ended || (hold.state == HoldState::Refused && hold.once);
        (0u16..).zip(&checkout.holds).filter(|(_, hold)| !is_nothing(hold)).map(|(nth, _)| step(nth)).collect()
    };
    let attempts = |undo: Undo, step: fn(u32) -> Step| {
        (1u32..).zip(&checkout.attempts).filter(|(_, attempt)| attempt.undo == undo).map(|(n, _)| step(n)).collect()
    };
    let attempt = checkout.attempt_n();
    match deed {
        Deed::Hold => holds(&|nth, state| (state == HoldState::Wanted).then_some(Step::Hold(nth))),
        Deed::Extend => {
            let wish = checkout.expires_at.plus_ms(HOLD_GRACE_MS);
            holds(&|hold, state| match state {
                HoldState::Held { until } if until < wish => Some(Step::Extend { hold, until: wish }),
                _ => None,
            })
        }
        Deed::Pin => {
            holds(&|hold, state| matches!(state, HoldState::Held { .. }).then_some(Step::Pin { hold, attempt }))
        }
        Deed::Unpin => holds(&|hold, state| match state {
            // Of the attempt that is being begun: that is what pinning is for.
            HoldState::Pinned { attempt: of } if of == attempt && checkout.phase == Phase::Pinning => None,
            HoldState::Pinned { attempt: of } => Some(Step::Unpin { hold, attempt: of }),
            _ => None,
        }),
        Deed::Commit => holds(&|nth, state| matches!(state, HoldState::Pinned { .. }).then_some(Step::Commit(nth))),
        // Whatever is known of it: also one that was not answered, or refused, may be held by a request that is late.
        Deed::Release => left(HoldState::Released, Step::Release),
        Deed::Forget => left(HoldState::Forgotten, Step::Forget),
        Deed::Authorise => {
            checkout.attempts.last().map(|last| Step::Authorise { attempt, round: last.round }).into_iter().collect()
        }
        Deed::Abandon => attempts(Undo::Abandon, Step::Abandon),
        Deed::Void => attempts(Undo::Void, Step::Void),
        // An answer to one of these ends its phase.
        Deed::Place => vec![Step::Place],
        Deed::Settle => vec![Step::Settle],
        Deed::LetGo => vec![Step::LetGo],
    }
}

/// What a pending step asks for; `None` for one that cannot be, in a state that cannot be.
fn call(checkout: &Checkout, step: Step) -> Option<Call> {
    let by = Reference { by: checkout.id.0, n: 0 };
    let what = |nth: u16| checkout.holds.get(usize::from(nth)).map(|Hold { what, .. }| what.clone());
    let key = |n: u32| Reference { by: checkout.id.0, n };
    let money = |amount| Money { amount, currency: checkout.currency };
    let (cart, id) = (checkout.cart, checkout.id);
    Some(match step {
        Step::Hold(nth) => {
            let until = checkout.created_at.plus_ms(HOLD_FIRST_MS);
            Call::Hold { what: what(nth)?, by, shopper: checkout.owner, until }
        }
        Step::Extend { hold, until } => Call::Extend { what: what(hold)?, by, until },
        Step::Pin { hold, attempt } => Call::Pin { what: what(hold)?, by, attempt },
        Step::Unpin { hold, attempt } => {
            Call::Unpin { what: what(hold)?, by, attempt, until: checkout.attempt(attempt)?.hold_until }
        }
        Step::Commit(nth) => Call::Commit { what: what(nth)?, by },
        Step::Release(nth) => Call::Release { what: what(nth)?, by },
        Step::Forget(nth) => Call::Forget { what: what(nth)?, by },
        Step::Authorise { attempt: n, .. } => {
            let attempt = checkout.attempt(n)?;
            Call::Authorise(payment::Authorise {
                key: key(n),
                gateway: attempt.gateway.clone(),
                token: attempt.token.clone()?,
                amount: money(attempt.amount),
            })
        }
        Step::Abandon(n) => {
            let attempt = checkout.attempt(n)?;
            Call::Abandon {
                key: key(n),
                gateway: attempt.gateway.clone(),
                reference: attempt.reference.clone(),
                amount: money(attempt.amount),
            }
        }
        Step::Void(n) => {
            let attempt = checkout.attempt(n)?;
            Call::Void(payment::Deed {
                key: key(n),
                gateway: attempt.gateway.clone(),
                reference: attempt.reference.clone()?,
                amount: money(attempt.amount),
            })
        }
        Step::Place => Call::Place(Box::new(placement(checkout)?)),
        Step::Settle => {
            let bought = checkout.lines.iter().map(|bought| (bought.line.id, bought.line.quantity)).collect();
            Call::Settle { cart, checkout: id, bought }
        }
        Step::LetGo => Call::LetGo { cart, checkout: id },
    })
}

fn placement(checkout: &Checkout) -> Option<Placement> {
    let attempt = checkout.attempts.last()?;
    let line = |(bought, priced): (&super::CheckoutLine, &crate::domain::pricing::Priced)| PlacedLine {
        line: bought.line.clone(),
        subtotal: priced.subtotal,
        discount: priced.discount,
        tax: priced.tax,
    };
    Some(Placement {
        checkout: checkout.id,
        cart: checkout.cart,
        owner: checkout.owner,
        currency: checkout.currency,
        email: checkout.email.clone()?,
        address: checkout.address.clone()?,
        lines: checkout.lines.iter().zip(&checkout.quote.lines).map(line).collect(),
        quote: checkout.quote.clone(),
        gateway: attempt.gateway.clone(),
        reference: attempt.reference.clone()?,
        authorised: Money { amount: attempt.amount, currency: checkout.currency },
    })
}
