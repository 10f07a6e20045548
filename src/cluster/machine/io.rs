//! What goes into a node's machine, and what comes out.

use std::sync::Arc;

use crate::{
    cluster::routes::{OwnedShard, Routes},
    codec::{Member, ShardMap},
    domain::UnixMillis,
    store::{Expect, Kind, Row, Saved},
};

/// What the machine cannot know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The clock that leases are counted on.
    pub now_ms: u64,
    /// The wall clock, for the rows.
    pub wall: UnixMillis,
    /// Some peer has not been heard of for a while (`Grounds::is_quiet`).
    pub quiet: bool,
}

/// Members and map as they were in the store.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Every member, with the version of its row.
    pub members: Vec<(u64, Member)>,
    /// The map, with the version of its row.
    pub map: Option<(u64, ShardMap)>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Some time has passed.
    Tick,
    /// A look came back: when it was asked for, and what it found or why not.
    Looked(u64, Result<Look, String>),
    /// An attempt to save ended.
    Saved(u128, Saved),
    /// A peer's session works both ways: told before the first of its probes is answered, so that whoever may count on this
    /// node's word is no suspect any more.
    PeerUp(String, u64),
    /// A peer's session is lost.
    PeerLost {
        /// Whose.
        name: String,
        /// Of which start.
        incarnation: u64,
        /// Whether the connection was reset or closed, as a dead process's is; silence says less.
        reset: bool,
    },
    /// A fresh connection to a peer was tried.
    Dialled {
        /// Whose.
        name: String,
        /// Of which start.
        incarnation: u64,
        /// Whether its machine answered that nobody listens.
        refused: bool,
    },
    /// A shard takes nothing more; `true` = every save is settled.
    Released(u16, bool),
    /// A row showed that a newer owner of the shard exists than the one under this epoch.
    Fenced(u16, u64),
    /// A peer says that there is a map of this version.
    Hint(u64),
    /// This node is to give up what it has.
    Drain,
    /// This node serves no more.
    Leave,
}

/// A member to hold a session with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Its start.
    pub incarnation: u64,
    /// Where its cluster listener is.
    pub address: String,
}

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Read members and map, and tell [`Input::Looked`] with this moment.
    Look(u64),
    /// Save, and tell [`Input::Saved`] with the row's `op_id`.
    Save(Kind, u128, Expect, Row),
    /// A renewal that was sent at this moment succeeded.
    Renewed(u64),
    /// This start of a node is over, and it knows: it can take nothing away from this node any more.
    Forget(String, u64),
    /// Hold a session with these and with nobody else.
    Follow(Vec<Peer>),
    /// Try a fresh connection, and tell [`Input::Dialled`].
    Dial(Peer),
    /// Tell every peer that there is a map of this version.
    TellMap(u64),
    /// Route by these from now on.
    Routes(Arc<Routes>),
    /// Serve this shard.
    Adopt(OwnedShard),
    /// Stop to take requests for this shard, park newcomers, settle what is open, tell [`Input::Released`].
    Release(u16),
    /// Serve on: nobody takes the shard after all.
    Reopen(u16),
    /// The shard was handed over: what is parked goes to its new owner.
    Gone(u16),
    /// The shard is somebody else's without a handover: drop it at once.
    Depose(u16),
    /// Nothing is left to give, or nobody is there to take it.
    Drained,
    /// The seat is given back.
    Left,
    /// The seat is given back, because the cluster has written this record format, which this release does not read.
    Outdated(u16),
    /// The seat was taken away.
    Replaced,
    /// For logs and metrics.
    Note(Note),
}

/// What is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A renewal has no answer yet.
    RenewalLate,
    /// Members or map could not be read.
    LookFailed(String),
    /// A row does not fit.
    Unwritable(String),
    /// A member was evicted: who, which start, and whether on a lost session's word.
    Evicted(String, u64, bool),
    /// Shards were taken over from those that are no more.
    TookOver(usize),
    /// Shards were handed over.
    HandedOver(usize),
    /// Every member reads this record format: from now on it is written.
    FormatRaised(u16),
    /// The cluster has written this record format, which this release does not read.
    Unreadable(u16),
    /// This node reaches too few others and gives up what it has.
    CutOff,
    /// It reaches enough of them again.
    BackInReach,
}
