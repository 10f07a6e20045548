//! What happened to a discount code.

use super::rule::Rule;
use crate::domain::{UnixMillis, holds};

/// One change, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: UnixMillis,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The shop said what it is worth.
    Defined(Rule),
    /// Something happened to a hold; what it holds is its shopper.
    Hold(holds::Change<u128>),
    /// What was kept only against late commands, for long enough, went.
    Swept,
}
