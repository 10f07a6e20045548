//! What the actors' refusals are to clients: each kind's in one place.

use super::{Code, Problem};
use crate::domain::{
    cart::{Refusal, Status},
    checkout, discount, order, stock,
};

impl Problem {
    fn stale(present: u64, detail: String) -> Self {
        Self { revision: Some(present), ..Self::new(Code::RevisionMismatch, detail) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound => Self::new(Code::NotFound, detail),
            Refusal::LineNotFound(_) => Self::new(Code::NotFound, detail),
            Refusal::NotOpen(Status::Expired) => Self::new(Code::Expired, "the cart has expired; make a new one"),
            Refusal::NotOpen(Status::CheckingOut) => {
                Self::new(Code::CartNotOpen, "a checkout is buying from the cart; complete or cancel it")
            }
            Refusal::NotOpen(status) => {
                Self::new(Code::CartNotOpen, format!("the cart is {}; make a new one", status.as_str()))
            }
            Refusal::TooManyLines { .. } | Refusal::LinesTooLarge => Self::new(Code::TooManyLines, detail),
            Refusal::QuantityOutOfRange { .. } => Self::at(Code::QuantityOutOfRange, "/quantity", detail),
            Refusal::CodeNotApplicable(_) | Refusal::TooManyCodes { .. } => {
                Self::new(Code::DiscountNotApplicable, detail)
            }
            Refusal::CodeNotFound => Self::new(Code::NotFound, detail),
            Refusal::Empty => Self::new(Code::CartNotOpen, "the cart has no line to buy; add one"),
            Refusal::TotalTooLarge => Self::at(Code::QuantityOutOfRange, "/quantity", detail),
            Refusal::CurrencyMismatch { .. } => Self::new(Code::CurrencyMismatch, detail),
            Refusal::RevisionMismatch { present } => {
                Self { revision: Some(present), ..Self::new(Code::RevisionMismatch, detail) }
            }
        }
    }
}

impl From<checkout::Refusal> for Problem {
    fn from(refusal: checkout::Refusal) -> Self {
        use checkout::Refusal;
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound => Self::new(Code::NotFound, detail),
            Refusal::NotOpen(checkout::Status::Expired) => {
                Self::new(Code::Expired, "the checkout has expired; begin a new one")
            }
            Refusal::NotOpen(_) => Self::new(Code::CheckoutNotOpen, detail),
            Refusal::RevisionMismatch { present } => Self::stale(present, detail),
            Refusal::Missing(missing) => {
                let sent = format!("{detail}: PATCH it first");
                Self::at(Code::InvalidRequest, format!("/{}", missing.as_str()), sent)
            }
            Refusal::StillHolding => Self::new(Code::Overloaded, detail),
            Refusal::TooManyAttempts => Self::new(Code::CheckoutNotOpen, detail),
            Refusal::TooLate => Self::new(Code::IllegalTransition, detail),
            Refusal::QuoteMismatch => {
                tracing::error!("a quote was made that is not of its checkout");
                Self::new(Code::Internal, "the request's id finds the log line; nothing was changed")
            }
        }
    }
}

impl From<order::Refusal> for Problem {
    fn from(refusal: order::Refusal) -> Self {
        use order::Refusal;
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound => Self::new(Code::NotFound, detail),
            Refusal::ShopOnly => Self::new(Code::Forbidden, detail),
            Refusal::RevisionMismatch { present } => Self::stale(present, detail),
            Refusal::IllegalTransition { .. } | Refusal::TooManyShipments { .. } => {
                Self::new(Code::IllegalTransition, detail)
            }
            Refusal::NoLines => Self::at(Code::InvalidRequest, "/lines", detail),
            Refusal::LineNotFound(_) => Self::new(Code::NotFound, detail),
            Refusal::QuantityOutOfRange { .. } => Self::at(Code::QuantityOutOfRange, "/lines", detail),
            Refusal::RefundOutOfRange { .. } => Self::at(Code::InvalidRequest, "/amount", detail),
            Refusal::Busy => Self::new(Code::Overloaded, detail),
            Refusal::Inconsistent => {
                tracing::error!("a checkout gave what is no order");
                Self::new(Code::Internal, "the request's id finds the log line; nothing was changed")
            }
        }
    }
}

impl From<stock::Refusal> for Problem {
    fn from(refusal: stock::Refusal) -> Self {
        use stock::Refusal;
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound => Self::new(Code::NotFound, detail),
            Refusal::Insufficient { .. } => Self::new(Code::InsufficientStock, detail),
            Refusal::TooManyHolds => Self::new(Code::Overloaded, detail),
            Refusal::Ended | Refusal::NotHeld | Refusal::NotSold { .. } => Self::new(Code::IllegalTransition, detail),
            Refusal::TooManyUnits => Self::at(Code::InvalidRequest, "/adjust", detail),
            Refusal::RevisionMismatch { present } => Self::stale(present, detail),
        }
    }
}

impl From<discount::Refusal> for Problem {
    fn from(refusal: discount::Refusal) -> Self {
        use discount::Refusal;
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound
            | Refusal::NotValidNow
            | Refusal::UsedUp
            | Refusal::UsedUpByShopper
            | Refusal::Ended
            | Refusal::NotHeld => Self::new(Code::DiscountNotApplicable, detail),
            Refusal::TooMany => Self::new(Code::Overloaded, detail),
            Refusal::RevisionMismatch { present } => Self::stale(present, detail),
        }
    }
}
