//! A checkout: a cart's lines on their way to being an order. A saga of deeds of other actors and of a payment gateway,
//! written as a table (`steps`): what each phase does, and what takes it back.
//!
//! `decide` says which events a command causes, `evolve` folds one event into the state, `pending` reads from the state
//! what must still be done elsewhere; all are pure. Every deed may be asked for twice, late, and past a later one: its
//! reference and its attempt fence it.
//!
//! ```text
//!  Holding ─► Open ⇄ Pinning ─► Authorising ⇄ RequiresAction
//!                ▲                │  │ patience ends
//!                └── declined ────┘  ▼
//!                ▲                Abandoning ── it had succeeded ─► Committing
//!                └── nothing there ──┘
//!  Committing ─► Placing ─► Settling ─► Remembering ─► Forgetting ─► Ended(Completed)
//!
//!  from anywhere before Committing:
//!  Releasing ─► LettingGo ─► Remembering ─► Forgetting ─► Ended(Undone), and money in doubt is given back meanwhile
//! ```

mod answer;
mod command;
mod decide;
mod event;
mod evolve;
mod pending;
mod refusal;
mod state;
mod steps;
#[cfg(test)]
mod tests;
mod view;

pub use command::{Command, Create, Patch};
pub use decide::{attempt_of, decide, on_done, on_wake, outcome};
pub use event::{Change, Event};
pub use evolve::evolve;
pub use pending::{pending, wake_at};
pub use refusal::{Missing, Refusal};
pub use state::{
    Attempt, AttemptState, Checkout, CheckoutLine, Email, End, Hold, HoldState, Lack, Phase, Status, Undo, Undone, What,
};
pub use steps::{Call, Done, PlacedLine, Placement, Step};
pub use view::{RefusedCode, RefusedLine};

/// Most payment attempts of one checkout: nobody has more cards, and each stays in the row.
pub const ATTEMPTS_MAX: usize = 20;
/// Most discount codes of one checkout: as many as a cart takes.
pub const CODES_MAX: usize = 5;
/// Longest name of a gateway.
pub const GATEWAY_BYTES_MAX: usize = 32;
/// Longest reason of a gateway or of a code that is kept; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 300;
/// How long a gateway may think before the attempt is abandoned: longer than any gateway's own time limit, shorter than
/// a shopper's patience with a page that says "paying".
pub const AUTHORISE_PATIENCE_MS: u64 = 60_000;
/// How much longer than the visible expiry goods are held: the clocks of two nodes differ, and whoever completes at the
/// last moment must still find their goods.
pub const HOLD_GRACE_MS: u64 = 60_000;
/// For how long goods are held at first; the hold is stretched to the visible expiry as soon as it is known to be there.
/// Asking to hold is the one deed that makes an entry out of nothing, so a request that arrives late makes one anew once
/// the entry is forgotten. It is refused when its time is over: this bounds for how long an entry must be remembered.
pub const HOLD_FIRST_MS: u64 = 60_000;
/// How far the clocks of two nodes may be apart for that bound to hold: far more than any time service lets them be.
pub const CLOCKS_APART_MS: u64 = 30_000;
