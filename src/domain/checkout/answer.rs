//! What an answer means to the step that asked.

use super::{
    AUTHORISE_PATIENCE_MS, HOLD_FIRST_MS, REASON_BYTES_MAX,
    event::Change,
    pending::{is_done, is_paid_back, steps},
    state::{Checkout, End, Lack, Phase, Undone},
    steps::{Done, Step},
};
use crate::domain::{
    UnixMillis,
    payment::{Abandoned, Authorised},
};

/// What an answer changes. Nothing if its step is not pending: it was answered before, or the checkout has gone on; what
/// the late answer would tell is found out again by the step that took its place.
pub(super) fn answer(checkout: &Checkout, step: Step, done: &Done, once: bool) -> Option<Change> {
    if !steps(checkout).contains(&step) {
        return None;
    }
    Some(match (step, done) {
        (Step::Hold(hold), Done::Ok) => Change::Held { hold, until: checkout.created_at.plus_ms(HOLD_FIRST_MS), once },
        (Step::Hold(hold), Done::Insufficient { available }) => {
            Change::HoldRefused { hold, lack: Lack::Stock { available: *available }, once }
        }
        (Step::Hold(hold), Done::CodeRefused { reason }) => {
            Change::HoldRefused { hold, lack: Lack::Code { reason: clipped(reason) }, once }
        }
        (Step::Extend { hold, until }, Done::Ok) => Change::Held { hold, until, once: false },
        (Step::Pin { hold, attempt }, Done::Ok) => Change::Pinned { hold, attempt },
        (Step::Unpin { hold, attempt }, Done::Ok) => {
            Change::Held { hold, until: checkout.attempt(attempt)?.hold_until, once: false }
        }
        // What was held is held no more: its time was over before this checkout could say otherwise.
        (Step::Hold(_) | Step::Extend { .. } | Step::Pin { .. } | Step::Unpin { .. }, Done::Lost) => {
            Change::UnwindingBegan(Undone::Expired)
        }
        (Step::Commit(hold), Done::Ok) => Change::Committed(hold),
        (Step::Release(hold), Done::Ok) => Change::Released(hold),
        // An entry that cannot be forgotten now will expire.
        (Step::Forget(hold), Done::Ok | Done::Lost) => Change::Forgotten(hold),
        (Step::Authorise { .. }, Done::Authorised(authorised)) => match authorised.clone() {
            Authorised::Yes { reference } => Change::Approved { reference },
            Authorised::Declined { reason } => Change::Declined { reason: clipped(&reason) },
            Authorised::ActionRequired { reference, url } => Change::ActionRequired { reference, url },
            Authorised::Unavailable => Change::Unavailable,
        },
        (Step::Abandon(attempt), Done::Abandoned(Abandoned::Nothing)) => Change::Abandoned(attempt),
        (Step::Abandon(attempt), Done::Abandoned(Abandoned::Authorised { reference })) => {
            let reference = reference.clone();
            // The shopper still waits for just this payment: it has come about.
            if checkout.phase == Phase::Abandoning && attempt == checkout.attempt_n() {
                Change::Approved { reference }
            } else {
                Change::FoundReserved { attempt, reference }
            }
        }
        (Step::Void(attempt), Done::Ok) => Change::Voided { attempt, refused: false },
        (Step::Void(attempt), Done::Lost) => Change::Voided { attempt, refused: true },
        (Step::Place, Done::Ok) => Change::Moved(Phase::Settling),
        // A cart that knows nothing of it any more has nothing to settle.
        (Step::Settle, Done::Ok | Done::Lost) => Change::Moved(Phase::Remembering(End::Completed)),
        (Step::LetGo, Done::Ok | Done::Lost) => match checkout.phase {
            Phase::LettingGo(undone) => Change::Moved(Phase::Remembering(End::Undone(undone))),
            _ => return None,
        },
        _ => return None,
    })
}

/// The phase that follows by itself, once the present one is over.
pub(super) fn next(checkout: &Checkout, now: UnixMillis) -> Option<Change> {
    let move_to = |phase| Some(Change::Moved(phase));
    match checkout.phase {
        Phase::Holding if is_done(checkout) => {
            // Only now, so that whoever began it is told of everything that is not there, and not of the first.
            let refused = checkout.holds.iter().any(|hold| hold.lack.is_some());
            if refused { Some(Change::UnwindingBegan(Undone::Refused)) } else { move_to(Phase::Open) }
        }
        Phase::Pinning if is_done(checkout) => {
            move_to(Phase::Authorising { until: now.plus_ms(AUTHORISE_PATIENCE_MS) })
        }
        Phase::Committing if is_done(checkout) => move_to(Phase::Placing),
        Phase::Releasing(undone) if is_done(checkout) => move_to(Phase::LettingGo(undone)),
        Phase::Remembering(end) if !checkout.may_be_late() || now >= checkout.forget_at() => {
            move_to(Phase::Forgetting(end))
        }
        Phase::Forgetting(end) if is_done(checkout) && is_paid_back(checkout) => move_to(Phase::Ended(end)),
        _ => None,
    }
}

/// At most so much of it as is kept.
fn clipped(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(REASON_BYTES_MAX)].into()
}
