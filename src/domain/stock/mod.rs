//! The stock of one product: what can be had, what checkouts hold, what is sold and not shipped yet.
//!
//! Always: on hand = available + held + sold, none of them negative. What is on hand changes only by [`Command::Adjust`],
//! [`Command::Ship`] and a [`Command::Restock`] of what came back; everything else moves units from one part to another.
//!
//! `decide` says which events a command causes, `evolve` folds one event into the state; both are pure. Holds and their
//! acts are [`super::holds`]; the rest is here.

mod command;
mod decide;
mod event;
mod evolve;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

pub use command::{Command, Source};
pub use decide::decide;
pub use event::{Change, Event};
pub use evolve::evolve;
pub use refusal::Refusal;
pub use state::{Move, Moved, Stock};

/// Most open holds on one product: each is a checkout under way, and their changes share one row and one save.
pub const OPEN_HOLDS_MAX: usize = 2_000;
/// Most holds in the row, ended ones that are not forgotten yet included: with [`MOVES_MAX`] moves and all receipts they
/// fit in a row, whatever their numbers.
pub const HOLDS_MAX: usize = 4_000;
/// Most moves in the row, forgotten ones included.
pub const MOVES_MAX: usize = 1_000;
/// Most forgotten moves that are kept, each for [`KEPT_MS`](super::holds::KEPT_MS); the oldest goes first. A command that
/// was sent before may arrive after, and must not move units twice: see [`super::holds::FORGOTTEN_MAX`].
pub const FORGOTTEN_MOVES_MAX: usize = 500;
/// Most units on hand: all sums stay far below 2^32.
pub const UNITS_MAX: u32 = 1_000_000_000;
/// Most units of which a product counts as low.
pub const LOW_MAX: u32 = 5;
/// Most bytes of an adjustment's reason.
pub const REASON_BYTES_MAX: usize = 200;
