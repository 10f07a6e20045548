//! What may be asked of an actor from outside, and how it may end.

use std::{ops::Deref, sync::Arc, time::Duration};

use crate::{
    cluster::Freshness,
    domain::{Try, cart::Owner},
};

/// A command on its way to an actor.
#[derive(Clone, Debug)]
pub struct Ask<C> {
    /// What is asked.
    pub command: C,
    /// Who asks; `None` = the shop itself.
    pub by: Option<Owner>,
    /// The revision that the change was made upon, if the client said.
    pub if_revision: Option<u64>,
    /// Makes repeating it safe.
    pub key: Option<Key>,
    /// How long the asker waits.
    pub timeout: Duration,
    /// Another actor asks, which asks again until it is told: doing it twice is doing it once.
    pub deed: Option<Try>,
}

/// An idempotency key, hashed by whoever parsed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Hash of the key within its scope (method and path; the actor is given).
    pub key: u128,
    /// Hash of the whole request.
    pub request: u128,
}

impl Key {
    /// A key of its own that comes of this one, always the same for the same `n`: for what a request is tried anew with once its
    /// own key stands for something that had no effect.
    #[must_use]
    pub fn derived(self, n: u128) -> Self {
        let key = xxhash_rust::xxh3::xxh3_128(&[self.key.to_be_bytes(), n.to_be_bytes()].concat());
        Self { key, ..self }
    }
}

/// A command that was committed (or had nothing to change).
#[derive(Clone, Debug)]
pub struct Answer<S> {
    /// The actor's committed state, at or after the command.
    pub state: Arc<S>,
    /// What it did, in the actor's own numbers; a replay tells what the first one did.
    pub outcome: u32,
    /// Whether this was done before under the same key.
    pub replayed: bool,
}

/// Something that an actor's owner said, and who that is.
#[derive(Clone, Debug)]
pub struct Told<T> {
    /// What was said.
    pub what: T,
    /// Another node said it, and how fresh it was there; `None` = this node.
    pub by: Option<(Arc<str>, Freshness)>,
}

impl<T> Told<T> {
    pub(super) const fn here(what: T) -> Self {
        Self { what, by: None }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Told<U> {
        Told { what: change(self.what), by: self.by }
    }
}

impl<T> Deref for Told<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.what
    }
}

/// Whether a failed command may have had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Certainly not.
    None,
    /// Perhaps: only the same key again can tell.
    Unknown,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<R> {
    /// The actor said no. No effect.
    #[error("refused: {0}")]
    Refused(R),
    /// The key was used for another request. No effect.
    #[error("the key was used for another request")]
    KeyReused,
    /// Too many keyed commands on one actor within the time that their receipts must live. No effect.
    #[error("too many keyed commands on one actor")]
    TooManyKeys {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// This node does not own the actor. No effect.
    #[error("this node does not own the actor")]
    NotOwner,
    /// The actor's owner could not be reached in time, or there was none.
    #[error("the actor's owner could not be reached")]
    Moving(Effect),
    /// A queue is full or too old. No effect.
    #[error("too much is waiting")]
    Overloaded {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The store does not take or give rows now.
    #[error("the store is unavailable")]
    StoreUnavailable(Effect),
    /// The time to wait was over.
    #[error("it took too long")]
    TimedOut(Effect),
    /// The actor failed repeatedly and rests. No effect.
    #[error("the actor is quarantined")]
    Quarantined {
        /// When it wakes.
        retry_after: Duration,
    },
    /// The node is leaving. No effect.
    #[error("the node is draining")]
    Draining,
    /// The row cannot be read by this release, or the actor panicked: the log tells.
    #[error("internal failure")]
    Internal(Effect),
}
