//! What surrounds a command to any actor.

use super::{UnixMillis, cart::Owner};

/// Which attempt at a deed an actor makes, over all its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// The first: nobody can have asked for it before.
    First,
    /// Another, or nobody knows.
    Again,
}

/// What surrounds a command: who asks, when, and upon what they saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The turn's time.
    pub now: UnixMillis,
    /// Who asks and must own the actor; `None` = the shop itself (a timer).
    pub by: Option<Owner>,
    /// The revision that the change was made upon; anything else is refused. `None` = whatever it is now.
    pub if_revision: Option<u64>,
    /// After how long without a change an actor expires, for those that do, in milliseconds.
    pub expire_after_ms: u64,
}
