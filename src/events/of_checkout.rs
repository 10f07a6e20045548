//! What the rest of the shop is told of a change to a checkout.

use super::{field::Word, kinds::Data};
use crate::domain::{
    OrderId,
    checkout::{Change, Checkout, Event, Phase, Status, Undone},
};

/// What must be known of a checkout from before an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckoutBefore {
    phase: Phase,
    status: Status,
}

impl CheckoutBefore {
    /// What is to be known of `checkout`.
    #[must_use]
    pub const fn of(checkout: &Checkout) -> Self {
        Self { phase: checkout.phase, status: checkout.visible_status() }
    }
}

/// The event's data; `None` = nothing that anybody outside needs to know. Token, address and e-mail address stay out of it.
#[must_use]
pub fn of_checkout(event: &Event, before: Option<CheckoutBefore>, after: Option<&Checkout>) -> Option<Data> {
    let (before, checkout) = (before?, after?);
    let (currency, total, attempt) = (checkout.currency, checkout.quote.total, checkout.attempt_n());
    let failed = |reason: &str| Data::CheckoutPaymentFailed { attempt, reason: Word::new(reason) };
    Some(match &event.change {
        Change::Moved(Phase::Open) if before.phase == Phase::Holding => {
            Data::CheckoutOpened { cart: checkout.cart, currency, total, expires_at: checkout.expires_at }
        }
        Change::Moved(_) if before.status != Status::Completed && checkout.visible_status() == Status::Completed => {
            Data::CheckoutCompleted { order: OrderId::of(checkout.id), currency, total }
        }
        Change::Patched { .. } => Data::CheckoutUpdated { currency, total },
        Change::AttemptBegan { gateway, amount, .. } => {
            Data::CheckoutPaymentStarted { attempt, gateway: Word::new(gateway), currency, amount: *amount }
        }
        Change::ActionRequired { .. } => Data::CheckoutActionRequired { attempt },
        Change::Declined { reason } => failed(reason),
        Change::Unavailable => failed("unavailable"),
        Change::Abandoned(_) if before.phase == Phase::Abandoning && checkout.phase == Phase::Open => {
            failed("abandoned")
        }
        Change::UnwindingBegan(undone) => {
            let status = match undone {
                Undone::Cancelled => "cancelled",
                Undone::Expired => "expired",
                Undone::Refused => "refused",
            };
            Data::CheckoutEnded { status: Word::new(status) }
        }
        _ => return None,
    })
}
