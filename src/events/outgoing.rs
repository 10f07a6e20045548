//! An event on its way out.

use bytes::Bytes;

use super::kinds::{Data, EventType};
use crate::domain::UnixMillis;

/// Longest data of one event: it fits, with all that is said about it, into one index entry (1 KiB) of the dead letters.
pub const DATA_BYTES_MAX: usize = 640;
/// Longest name of an actor: a prefix and 26 characters, with room for longer prefixes.
pub const ACTOR_BYTES_MAX: usize = 48;

/// An event on its way out. Built only within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    actor: Box<str>,
    sequence: u64,
    kind: EventType,
    at: UnixMillis,
    body: Bytes,
}

/// Why something is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The actor's name.
    #[error("an actor's name is 1 to {ACTOR_BYTES_MAX} of a-z 0-9 _, unlike {0:?}")]
    Actor(Box<str>),
    /// The type: this release does not know it.
    #[error("event type {0} is not known to this release")]
    Type(u16),
    /// The data.
    #[error("the data of an event has {0} bytes, {DATA_BYTES_MAX} are allowed")]
    Data(usize),
}

impl Outgoing {
    /// What happened to `actor` (its id as text) as its `sequence`-th event.
    ///
    /// # Errors
    /// [`Malformed`] on a name that is none; data always fits.
    pub fn new(actor: &str, sequence: u64, at: UnixMillis, data: &Data) -> Result<Self, Malformed> {
        let body = Bytes::from(data.json().to_string());
        Self::from_parts(actor, sequence, data.kind() as u16, at, body)
    }

    /// An event back from where its parts were kept.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_parts(actor: &str, sequence: u64, kind: u16, at: UnixMillis, body: Bytes) -> Result<Self, Malformed> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=ACTOR_BYTES_MAX).contains(&actor.len()) || !actor.bytes().all(plain) {
            return Err(Malformed::Actor(actor.chars().take(ACTOR_BYTES_MAX).collect()));
        }
        if body.len() > DATA_BYTES_MAX {
            return Err(Malformed::Data(body.len()));
        }
        let kind = EventType::from_number(kind).ok_or(Malformed::Type(kind))?;
        Ok(Self { actor: actor.into(), sequence, kind, at, body })
    }

    /// Whose event it is: an id as text.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Counts the actor's events.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What kind of thing happened.
    #[must_use]
    pub const fn kind(&self) -> EventType {
        self.kind
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> UnixMillis {
        self.at
    }

    /// Its data, JSON.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Its id: the same at every delivery.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}", self.actor, self.sequence)
    }

    /// What it weighs in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.actor.len() + self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_data_of_every_type_fits() {
        for data in Data::longest() {
            let event = Outgoing::new(&"a".repeat(ACTOR_BYTES_MAX), u64::MAX, UnixMillis(u64::MAX), &data);
            assert!(event.is_ok(), "{data:?}: {event:?}");
        }
    }

    #[test]
    fn what_is_beyond_a_bound_is_no_event() {
        let make = |actor: &str, kind: u16, bytes: usize| {
            Outgoing::from_parts(actor, 1, kind, UnixMillis(1), vec![b' '; bytes].into()).unwrap_err()
        };
        assert_eq!(make("cart\"", 1, 0), Malformed::Actor("cart\"".into()));
        assert_eq!(make("", 1, 0), Malformed::Actor("".into()));
        assert_eq!(make("cart_1", 9999, 0), Malformed::Type(9999));
        assert_eq!(make("cart_1", 1, DATA_BYTES_MAX + 1), Malformed::Data(DATA_BYTES_MAX + 1));
    }
}
