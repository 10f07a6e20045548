//! Discount codes: what one takes off, and who has used it how often.
//!
//! A code is held, pinned and committed like a unit in stock: see [`super::holds`]. Uses that are held count against its
//! limits, so that the last use is not promised twice.

mod command;
mod decide;
mod event;
mod evolve;
mod refusal;
mod rule;
mod state;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use decide::decide;
pub use event::{Change, Event};
pub use evolve::evolve;
pub use refusal::Refusal;
pub use rule::{CODE_BYTES_MAX, Rule, Worth};
pub use state::Discount;

/// Most open holds on one code: each is a checkout under way, and their changes share one row and one save.
pub const OPEN_HOLDS_MAX: usize = 1_000;
/// Most holds in the row, ended ones that are not forgotten yet included: with [`SHOPPERS_MAX`] counts and all receipts
/// they fit in a row, whatever their numbers.
pub const HOLDS_MAX: usize = 1_700;
/// Most shoppers whose uses are counted: a code with a limit per shopper is used up when that many have used it.
pub const SHOPPERS_MAX: usize = 5_000;
