//! Holds as bytes: version 1, frozen, a part of the records of stock and of discount codes, and of what is asked of them.

use bincode::{Decode, Encode};

use super::envelope::DecodeError;
use crate::domain::{
    Id, Reference, UnixMillis,
    holds::{Act, Hold, State},
};

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ReferenceV1 {
    by: u128,
    n: u32,
}

/// A hold, but for what is held.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct HoldV1 {
    by: ReferenceV1,
    state: StateV1,
    attempt: u32,
    expires_at: u64,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
enum StateV1 {
    Held,
    Pinned,
    Committed,
    Released,
    Forgotten,
}

/// An act on its way; never stored.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) enum ActV1 {
    Extend { expires_at: u64 },
    Pin { attempt: u32 },
    Unpin { attempt: u32, expires_at: u64 },
    Commit,
    Release,
    Forget,
}

impl HoldV1 {
    pub(super) fn of<W>(hold: &Hold<W>) -> Self {
        Self {
            by: hold.by.into(),
            state: match hold.state {
                State::Held => StateV1::Held,
                State::Pinned => StateV1::Pinned,
                State::Committed => StateV1::Committed,
                State::Released => StateV1::Released,
                State::Forgotten => StateV1::Forgotten,
            },
            attempt: hold.attempt,
            expires_at: hold.expires_at.0,
        }
    }

    pub(super) fn of_what<W>(self, what: W) -> Hold<W> {
        Hold {
            by: self.by.into(),
            what,
            state: match self.state {
                StateV1::Held => State::Held,
                StateV1::Pinned => State::Pinned,
                StateV1::Committed => State::Committed,
                StateV1::Released => State::Released,
                StateV1::Forgotten => State::Forgotten,
            },
            attempt: self.attempt,
            expires_at: UnixMillis(self.expires_at),
        }
    }
}

impl From<Reference> for ReferenceV1 {
    fn from(reference: Reference) -> Self {
        Self { by: reference.by.0, n: reference.n }
    }
}

impl From<ReferenceV1> for Reference {
    fn from(v1: ReferenceV1) -> Self {
        Self { by: Id(v1.by), n: v1.n }
    }
}

impl From<Act> for ActV1 {
    fn from(act: Act) -> Self {
        match act {
            Act::Extend { expires_at } => Self::Extend { expires_at: expires_at.0 },
            Act::Pin { attempt } => Self::Pin { attempt },
            Act::Unpin { attempt, expires_at } => Self::Unpin { attempt, expires_at: expires_at.0 },
            Act::Commit => Self::Commit,
            Act::Release => Self::Release,
            Act::Forget => Self::Forget,
        }
    }
}

impl From<ActV1> for Act {
    fn from(v1: ActV1) -> Self {
        match v1 {
            ActV1::Extend { expires_at } => Self::Extend { expires_at: UnixMillis(expires_at) },
            ActV1::Pin { attempt } => Self::Pin { attempt },
            ActV1::Unpin { attempt, expires_at } => Self::Unpin { attempt, expires_at: UnixMillis(expires_at) },
            ActV1::Commit => Self::Commit,
            ActV1::Release => Self::Release,
            ActV1::Forget => Self::Forget,
        }
    }
}

/// What is wrong with a record, for people.
pub(super) fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}
