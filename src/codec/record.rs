//! What one actor's row carries: its state and everything that must be committed together with it.

use thin_vec::ThinVec;

use crate::domain::UnixMillis;

/// An actor's state and all that is committed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<S> {
    /// The ownership under which it was saved (again beside the row: a copied body can be told from a saved one).
    pub epoch: u64,
    /// Which save this was.
    pub op_id: u128,
    /// The actor's state.
    pub state: S,
    /// What keyed commands did, oldest first.
    pub receipts: ThinVec<Receipt>,
    /// Events that no sink has acknowledged yet, oldest first.
    pub unsent: Box<[Unsent]>,
    /// The agenda entry that will wake this actor.
    pub armed: Option<Armed>,
}

/// What a keyed command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Hash of the client's key within its scope.
    pub key: u128,
    /// Hash of the request, to tell a retry from another use of the same key.
    pub request: u128,
    /// When it was decided.
    pub at: UnixMillis,
    /// What it did, in the actor's own numbers.
    pub outcome: u32,
}

/// An event on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Counts the actor's events from 1.
    pub sequence: u64,
    /// Its type, in the actor's own numbers.
    pub kind: u16,
    /// When it happened.
    pub at: UnixMillis,
    /// Its data.
    pub body: Box<[u8]>,
}

/// The agenda entry that will wake an actor: enough to delete it by its exact key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// When it fires.
    pub due: UnixMillis,
    /// The version of the row that first needed it.
    pub version: u64,
}
