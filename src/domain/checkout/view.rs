//! What others read from a checkout.

use super::{
    CLOCKS_APART_MS, HOLD_FIRST_MS,
    state::{Attempt, Checkout, End, Hold, Lack, Phase, Status, Undone, What},
};
use crate::domain::{OrderId, UnixMillis, cart::LineId};

/// A line whose goods could not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedLine<'a> {
    /// The cart's line.
    pub line: LineId,
    /// Its product.
    pub sku: &'a str,
    /// How many units all lines of that product want together.
    pub wanted: u32,
    /// How many there were.
    pub available: u32,
}

/// A code that could not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedCode<'a> {
    /// The code.
    pub code: &'a str,
    /// Why.
    pub reason: &'a str,
}

impl Status {
    /// As clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completing => "completing",
            Self::RequiresAction => "requires_action",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl Phase {
    /// As clients see it.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Holding | Self::Open => Status::Open,
            Self::Pinning | Self::Authorising { .. } | Self::Abandoning | Self::Committing | Self::Placing => {
                Status::Completing
            }
            Self::RequiresAction => Status::RequiresAction,
            Self::Settling
            | Self::Remembering(End::Completed)
            | Self::Forgetting(End::Completed)
            | Self::Ended(End::Completed) => Status::Completed,
            Self::Releasing(undone)
            | Self::LettingGo(undone)
            | Self::Remembering(End::Undone(undone))
            | Self::Forgetting(End::Undone(undone))
            | Self::Ended(End::Undone(undone)) => match undone {
                Undone::Cancelled | Undone::Refused => Status::Cancelled,
                Undone::Expired => Status::Expired,
            },
        }
    }
}

impl Checkout {
    /// Where it is, as clients see it.
    #[must_use]
    pub const fn visible_status(&self) -> Status {
        self.phase.status()
    }

    /// Whether goods and codes are still being asked for: who began it waits for that.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        matches!(self.phase, Phase::Holding)
    }

    /// Whether its cart was told how it ended, and will be told nothing more.
    #[must_use]
    pub const fn has_let_go(&self) -> bool {
        matches!(self.phase, Phase::Remembering(_) | Phase::Forgetting(_) | Phase::Ended(_))
    }

    /// Whether nothing will happen to it any more.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The number of the present, or last, attempt; 0 without one.
    #[must_use]
    pub fn attempt_n(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX)
    }

    /// An attempt by its number, counted from 1: what `complete` answered with, and what became of it.
    #[must_use]
    pub fn attempt(&self, n: u32) -> Option<&Attempt> {
        self.attempts.get(usize::try_from(n.checked_sub(1)?).ok()?)
    }

    /// The order, once there is one.
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        (self.visible_status() == Status::Completed).then(|| OrderId::of(self.id))
    }

    /// The lines whose goods could not be held.
    pub fn refused_lines(&self) -> impl Iterator<Item = RefusedLine<'_>> {
        self.holds.iter().flat_map(|hold| {
            let refused = match hold {
                Hold { what: What::Stock { sku, quantity, .. }, lack: Some(Lack::Stock { available }), .. } => {
                    Some((sku, *quantity, *available))
                }
                _ => None,
            };
            refused.into_iter().flat_map(|(sku, wanted, available)| {
                let of_it = self.lines.iter().filter(move |bought| bought.line.sku == *sku);
                of_it.map(move |bought| RefusedLine { line: bought.line.id, sku, wanted, available })
            })
        })
    }

    /// The codes that could not be held.
    pub fn refused_codes(&self) -> impl Iterator<Item = RefusedCode<'_>> {
        self.holds.iter().filter_map(|hold| match hold {
            Hold { what: What::Code { code }, lack: Some(Lack::Code { reason }), .. } => {
                Some(RefusedCode { code, reason })
            }
            _ => None,
        })
    }

    /// Whether a request to hold may be on its way still.
    pub(super) fn may_be_late(&self) -> bool {
        self.holds.iter().any(|hold| !hold.once)
    }

    /// When no request to hold that is still on its way can make an entry any more.
    pub(super) const fn forget_at(&self) -> UnixMillis {
        self.created_at.plus_ms(HOLD_FIRST_MS + CLOCKS_APART_MS)
    }
}
