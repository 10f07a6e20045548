//! A shopper's cart: what it holds, what may happen to it and what each of that does.
//!
//! `decide` says which events a command causes, `evolve` folds one event into the state; both are pure.

mod command;
mod decide;
mod event;
mod evolve;
mod refusal;
mod state;
mod steps;
#[cfg(test)]
mod tests;
mod totals;

pub use command::{Addition, Command, SetQuantity};
pub use decide::decide;
pub use event::{Change, Event};
pub use evolve::evolve;
pub use refusal::Refusal;
pub use state::{Cart, InCheckout, Line, LineId, Metadata, Options, Owner, Status};
pub use steps::{Call, Done, Step, on_done, pending};
pub use totals::{CategoriesOf, Shown, Summary, Totals};

/// Most lines in a cart, saved ones included: bounds the row, the body and the page.
pub const LINES_MAX: usize = 100;
/// What the lines of a cart in checkout may weigh, a quarter less than a row's bound of 256 KiB: those that are bought count
/// twice, for until the checkout exists its cart keeps them apart as well. The rest of the row is for receipts, codes and
/// events that no sink has taken yet. So a checkout's own lines weigh half of it at most, which leaves its row, and its
/// order's, more than as much again for what the catalogue, gateways and shoppers add.
pub const CHECKOUT_BYTES_MAX: usize = 192 * 1024;
/// Most units of one line, where the product says nothing smaller.
pub const QUANTITY_MAX: u16 = 999;
/// Most bytes of one line's metadata, names and values together.
pub const METADATA_BYTES_MAX: usize = 1024;
/// Most names in one line's metadata.
pub const METADATA_KEYS_MAX: usize = 20;
/// Most bytes of a cart's note.
pub const NOTE_BYTES_MAX: usize = 2000;
/// Most bytes of an e-mail address (RFC 5321 §4.5.3.1.3 allows 254 between the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Most discount codes of a cart: bounds the row, and what a checkout must hold.
pub const CODES_MAX: usize = 5;
