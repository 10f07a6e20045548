//! What may be asked of a hold, and what comes of it.

use super::entry::{Hold, Holds, State};
use crate::domain::{Reference, UnixMillis};

/// What may be asked of a hold that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Hold it at least until then. Accepted without effect where it is pinned.
    Extend {
        /// The moment.
        expires_at: UnixMillis,
    },
    /// Let it not lapse while this attempt to pay is under way.
    Pin {
        /// Counts the checkout's attempts from 1.
        attempt: u32,
    },
    /// The attempt failed: let time run on. Accepted without effect where a newer attempt is under way.
    Unpin {
        /// Which attempt.
        attempt: u32,
        /// Until when it is held.
        expires_at: UnixMillis,
    },
    /// It is paid for.
    Commit,
    /// Give it back. Where nothing was held: let nothing be held under this name later.
    Release,
    /// Its checkout will never speak of it again.
    Forget,
}

/// What happened to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<W> {
    /// It was made.
    Held {
        /// Its name.
        by: Reference,
        /// What is held.
        what: W,
        /// Until when.
        expires_at: UnixMillis,
    },
    /// Its time was set.
    Extended {
        /// Its name.
        by: Reference,
        /// Until when it is held.
        expires_at: UnixMillis,
    },
    /// It lapses no more.
    Pinned {
        /// Its name.
        by: Reference,
        /// For which attempt.
        attempt: u32,
    },
    /// It lapses again, and is never pinned for that attempt any more.
    Unpinned {
        /// Its name.
        by: Reference,
        /// For which attempt.
        attempt: u32,
        /// Until when it is held.
        expires_at: UnixMillis,
    },
    /// It was bought.
    Committed {
        /// Its name.
        by: Reference,
    },
    /// It was given back.
    Released {
        /// Its name.
        by: Reference,
    },
    /// Nothing was held, and nothing will be under this name.
    Barred {
        /// The name.
        by: Reference,
        /// Stands for nothing: no quantity, or nobody.
        what: W,
    },
    /// It is kept only against late commands.
    Forgotten {
        /// Its name.
        by: Reference,
    },
}

/// Why a hold says no, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The hold's time is over, or it was given back.
    Ended,
    /// There is no hold of that name that this can be done to.
    NotHeld,
}

/// What a wish to hold comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is no such hold yet: the owner decides.
    New,
    /// Held already, and longer from now on.
    Longer,
    /// Held already, or bought.
    Done,
}

impl<W: Copy> Holds<W> {
    /// What the wish to hold something under this name until then comes to.
    ///
    /// # Errors
    /// [`Refusal::Ended`].
    pub fn way(&self, by: Reference, expires_at: UnixMillis, now: UnixMillis) -> Result<Way, Refusal> {
        match self.get(by) {
            None if expires_at <= now => Err(Refusal::Ended),
            None => Ok(Way::New),
            Some(hold) if hold.has_lapsed(now) => Err(Refusal::Ended),
            Some(hold) => match hold.state {
                State::Held if expires_at > hold.expires_at => Ok(Way::Longer),
                State::Held | State::Pinned | State::Committed => Ok(Way::Done),
                State::Released | State::Forgotten => Err(Refusal::Ended),
            },
        }
    }

    /// Decides what `act` does to the hold of this name; `None` = nothing, it is so already. `nothing` stands for what
    /// is held where nothing is.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn act(&self, by: Reference, act: Act, nothing: W, now: UnixMillis) -> Result<Option<Change<W>>, Refusal> {
        let Some(hold) = self.get(by) else {
            return match act {
                Act::Release => Ok(Some(Change::Barred { by, what: nothing })),
                Act::Forget => Ok(None),
                Act::Extend { .. } | Act::Pin { .. } | Act::Unpin { .. } | Act::Commit => Err(Refusal::NotHeld),
            };
        };
        match act {
            Act::Extend { expires_at } => extend(hold, expires_at, now),
            Act::Pin { attempt } => pin(hold, attempt, now),
            Act::Unpin { attempt, expires_at } => unpin(hold, attempt, expires_at),
            Act::Commit => match hold.state {
                State::Pinned => Ok(Some(Change::Committed { by })),
                State::Committed => Ok(None),
                State::Held | State::Released | State::Forgotten => Err(Refusal::NotHeld),
            },
            Act::Release => match hold.state {
                State::Held | State::Pinned => Ok(Some(Change::Released { by })),
                State::Released | State::Forgotten => Ok(None),
                State::Committed => Err(Refusal::NotHeld),
            },
            Act::Forget => match hold.state {
                State::Committed | State::Released => Ok(Some(Change::Forgotten { by })),
                State::Forgotten => Ok(None),
                State::Held | State::Pinned => Err(Refusal::NotHeld),
            },
        }
    }
}

fn extend<W>(hold: &Hold<W>, expires_at: UnixMillis, now: UnixMillis) -> Result<Option<Change<W>>, Refusal> {
    match hold.state {
        State::Held if hold.has_lapsed(now) => Err(Refusal::NotHeld),
        State::Held => Ok((expires_at > hold.expires_at).then_some(Change::Extended { by: hold.by, expires_at })),
        State::Pinned => Ok(None),
        State::Committed | State::Released | State::Forgotten => Err(Refusal::NotHeld),
    }
}

fn pin<W>(hold: &Hold<W>, attempt: u32, now: UnixMillis) -> Result<Option<Change<W>>, Refusal> {
    match hold.state {
        State::Held if attempt > hold.attempt && !hold.has_lapsed(now) => {
            Ok(Some(Change::Pinned { by: hold.by, attempt }))
        }
        State::Pinned if attempt == hold.attempt => Ok(None),
        State::Committed => Ok(None),
        State::Held | State::Pinned | State::Released | State::Forgotten => Err(Refusal::NotHeld),
    }
}

fn unpin<W>(hold: &Hold<W>, attempt: u32, expires_at: UnixMillis) -> Result<Option<Change<W>>, Refusal> {
    let by = hold.by;
    match hold.state {
        State::Held | State::Pinned if attempt < hold.attempt => Ok(None),
        State::Pinned if attempt == hold.attempt => Ok(Some(Change::Unpinned { by, attempt, expires_at })),
        State::Held if attempt == hold.attempt => Ok(None),
        // Its pin has not come yet: when it does, it is stale.
        State::Held => Ok(Some(Change::Unpinned { by, attempt, expires_at: expires_at.max(hold.expires_at) })),
        State::Pinned | State::Committed | State::Released | State::Forgotten => Err(Refusal::NotHeld),
    }
}
