//! An order: what was bought and is owed, and how money and goods move until nothing is.
//!
//! `decide` says which events a command causes, `evolve` folds one event into the state, `pending` says which deeds
//! elsewhere the state still needs; all three are pure. Every deed has a number of its own, so that it is done once
//! however often it is asked for, and its answer counts once however often it comes.
//!
//! Money before goods: nothing ships before the money is captured. An order whose capture is refused for good cancels
//! itself while its goods are all still here.

mod command;
mod decide;
mod deed;
mod event;
mod evolve;
mod history;
mod number;
mod pending;
mod placement;
mod refusal;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub use command::Command;
pub use decide::decide;
pub use deed::{Call, Deed, DeedState, Done, Origin, Step, Work};
pub use event::{Change, Event};
pub use evolve::evolve;
pub use history::{Entry, Kind};
pub use number::Number;
pub use pending::{on_done, on_wake, pending, wake_at};
pub use placement::{Bought, Capture, Placement};
pub use refusal::{Action, Refusal};
pub use state::{Cause, Line, Order, Payment, Shipment, Status, Totals};

/// Most shipments of one order, those that wait for the money included: bounds the row. Shops ship in a few parcels.
pub const SHIPMENTS_MAX: usize = 50;
/// Most deeds that may be under way or remembered when another is asked for: bounds the row. A parcel makes at most one
/// per SKU. What an order must do by itself is never held up by it, and adds two per SKU at most.
pub const DEEDS_MAX: usize = 400;
/// Most entries of the history: bounds the row. Older ones go, and are counted in [`Order::history_dropped`]; nothing is
/// computed from the history, so nothing but the telling is lost.
pub const HISTORY_MAX: usize = 200;
/// Most bytes of a note in the history; longer reasons are cut. Bounds the row.
pub const NOTE_BYTES_MAX: usize = 100;
/// Most bytes of a carrier's name, checked where commands come in. Bounds the row.
pub const CARRIER_BYTES_MAX: usize = 40;
/// Most bytes of a parcel's label, checked where commands come in: carriers' numbers have at most 40 characters.
pub const LABEL_BYTES_MAX: usize = 100;
/// The number of an order's first deed. An order has its checkout's bits, so references made by the two differ in their
/// numbers only: a checkout's count payment attempts and holds, and stay far below.
pub const DEED_FIRST: u32 = 1 << 16;
/// How long a stock is made to remember a deed after it answered, in milliseconds: a copy of the call that comes later
/// than the answer must still be known for a copy. Calls between actors live for seconds.
pub const REMEMBER_MS: u64 = 15 * 60 * 1000;
