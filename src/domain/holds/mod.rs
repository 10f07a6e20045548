//! Holds: what checkouts have set aside until they pay, of units in stock or of uses of a code.
//!
//! ```text
//!          hold            pin(attempt)           commit             forget
//!   (none) ────► Held ◄──────────────────► Pinned ──────► Committed ──────► Forgotten ──► (none)
//!                 │    unpin(same attempt)   │                                 ▲    in time
//!                 └────────► Released ◄──────┘                                 │
//!                      release; time, │ where it is only held        forget    │
//!                                     └────────────────────────────────────────┘
//! ```
//!
//! Every act names its hold by a [`Reference`](super::Reference), and may arrive twice, late, or past a later one. So
//! each act says what it wants to be true, is accepted without effect where that is so, and is refused where it never
//! can be again:
//!
//! - A pin carries the number of its attempt, counted from 1. A hold remembers the highest that it was pinned or
//!   unpinned for, and is never pinned for that one or an older one again.
//! - A hold that has ended stays for a while, also when it is forgotten: one of its name that was sent before and arrives
//!   after is refused, and so is all that would follow it.
//! - A pinned hold does not lapse, and its commit cannot be refused.

mod act;
mod entry;

pub use act::{Act, Change, Refusal, Way};
pub use entry::{Hold, Holds, Shift, State};

/// How long a hold that has ended refuses a late one of its name: longer than any checkout lives (an hour and its grace),
/// so that whatever comes later has lapsed and is refused for that.
pub const KEPT_MS: u64 = 2 * 60 * 60 * 1000;
/// Most forgotten holds that are kept; the oldest goes first. Commands between actors live for five seconds: even at a
/// hundred purchases a second of one product, this outlasts them.
pub const FORGOTTEN_MAX: usize = 500;
