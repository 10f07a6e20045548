//! What becomes of a request on its way to an actor's owner: pure decisions, which `route` carries out and the simulation
//! of whole clusters drives.

use std::sync::Arc;

use super::ask::{Answer, Effect, Failure, Told};
use crate::{
    cluster::{AskError, Freshness, NotSent, Routes, STALE_MAX_MS, machine::planted},
    domain::Slot,
};

/// How often a request is forwarded: to whom the map names, and from there to whom a newer map names.
pub(super) const HOPS_MAX: u8 = 2;
/// Looks without a session to the owner after which another peer is asked to reach it.
const LOOKS_BEFORE_DETOUR: u32 = 6;

/// How a shard stands on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// It is not served here.
    Absent,
    /// Newcomers come in.
    Open,
    /// Newcomers wait outside.
    Closed,
    /// It is another's.
    Shut,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Here,
    There(Arc<str>),
    /// The shard is nobody's just now, or about to be this node's.
    Wait,
    /// Another process has it, and there is no way to any other.
    Nowhere,
}

/// The way to a slot's owner; `newer_than` = a map of this version is known to exist.
pub(super) fn way(entrance: Entrance, is_connected: bool, routes: &Routes, slot: Slot, newer_than: u64) -> Way {
    match entrance {
        Entrance::Open => return Way::Here,
        Entrance::Shut if !is_connected => return Way::Nowhere,
        _ => {}
    }
    match routes.owner(slot) {
        // A shard that is being handed over belongs to this node until the map says otherwise.
        Some((_, owner)) if !owner.is_here && routes.map_version >= newer_than && is_connected => {
            Way::There(Arc::clone(&owner.node))
        }
        _ => Way::Wait,
    }
}

/// What a request is, as far as it matters on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nature {
    /// It changes nothing.
    pub(super) is_read: bool,
    /// Doing it twice is doing it once.
    pub(super) is_repeatable: bool,
}

impl Nature {
    /// A read's.
    pub(super) const READ: Self = Self { is_read: true, is_repeatable: true };
}

/// What becomes of a request after an attempt.
#[derive(Debug)]
pub(super) enum Next<S, R> {
    Answer(Result<Told<Answer<S>>, Failure<R>>),
    /// Once the map is of this version, or something else has changed.
    Again(u64),
}

/// What came of asking another node.
#[derive(Debug)]
pub(super) enum Reached<S, R> {
    /// The answer, by whom if not by whom was asked, and how fresh it was.
    Answer(Answer<S>, Option<Arc<str>>, Freshness),
    /// Certainly not done: that node's map, of this version, gives the shard to another.
    Moved(u64),
    Failed(Failure<R>),
    Not(AskError),
}

/// A request on its way: what it may still do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journey {
    /// How often it was forwarded before it came here.
    hops: u8,
    /// An attempt may have been carried out.
    unknown: bool,
    /// Looks in vain for a session to the owner.
    unreached: u32,
}

impl Journey {
    pub(super) const fn new(hops: u8) -> Self {
        Self { hops, unknown: false, unreached: 0 }
    }

    /// Whether it may not be forwarded again.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.hops >= HOPS_MAX && !planted!(HopsUnbounded)
    }

    /// Whom to ask, and how often the request was forwarded then; `None` = nobody can be reached now.
    pub(super) fn leg(
        &mut self,
        owner: &Arc<str>,
        is_up: bool,
        up: impl FnOnce() -> Vec<Arc<str>>,
    ) -> Option<(Arc<str>, u8)> {
        let hops = self.hops + 1;
        if is_up {
            return Some((Arc::clone(owner), hops.min(HOPS_MAX)));
        }
        self.unreached += 1;
        if self.unreached < LOOKS_BEFORE_DETOUR || hops >= HOPS_MAX {
            return None;
        }
        up().into_iter().find(|peer| peer != owner).map(|peer| (peer, hops))
    }

    /// What an attempt here means.
    pub(super) fn after_here<S, R>(outcome: Result<Answer<S>, Failure<R>>) -> Next<S, R> {
        match outcome {
            // Certainly not applied: the shard was closed, moved or lost meanwhile.
            Err(Failure::NotOwner) => Next::Again(0),
            other => Next::Answer(other.map(Told::here)),
        }
    }

    /// What an attempt elsewhere means.
    pub(super) fn after_there<S, R>(&mut self, reached: Reached<S, R>, node: Arc<str>, nature: Nature) -> Next<S, R> {
        match reached {
            Reached::Answer(answer, owner, freshness) => {
                let freshness = if planted!(StaleUnmarked) { Freshness::Fresh } else { freshness };
                Next::Answer(Ok(Told { what: answer, by: Some((owner.unwrap_or(node), freshness)) }))
            }
            Reached::Moved(map_version) => Next::Again(map_version),
            // It leaves, and so does the shard.
            Reached::Failed(Failure::Draining) | Reached::Not(AskError::NotSent(NotSent::NoSession)) => Next::Again(0),
            Reached::Failed(failure) => Next::Answer(Err(failure)),
            Reached::Not(AskError::NotSent(NotSent::NoCredit | NotSent::TooLarge)) => {
                Next::Answer(Err(Failure::Overloaded { retry_after: std::time::Duration::from_secs(1) }))
            }
            Reached::Not(AskError::Lost | AskError::TimedOut) => {
                self.unknown |= !nature.is_read && !planted!(UnknownForgotten);
                if nature.is_repeatable || planted!(RetriesUnkeyed) {
                    return Next::Again(0);
                }
                Next::Answer(Err(Failure::Moving(Effect::Unknown)))
            }
        }
    }

    /// A failure of this attempt, in the light of those before.
    pub(super) fn failed<R>(&self, failure: Failure<R>) -> Failure<R> {
        match failure {
            failure if !self.unknown => failure,
            // Its receipt is there, and the attempt before meets it too.
            failure @ Failure::KeyReused => failure,
            // Also a refusal: a refused command leaves no receipt, and the attempt before may yet be carried out.
            _ => Failure::Moving(Effect::Unknown),
        }
    }
}

/// What a node tells of an answer that was given here, or passed on: by whom, and how fresh it is; `None` = a read that is
/// too old to be told. A command that was carried out is told as such, however old the lease.
pub(super) fn passed_on(
    by: Option<(Arc<str>, Freshness)>,
    own: Freshness,
    nature: Nature,
) -> Option<(Option<Arc<str>>, Freshness)> {
    let (owner, freshness) = match by {
        Some((owner, freshness)) => (Some(owner), freshness),
        None => (None, own),
    };
    match freshness {
        Freshness::TooOld if nature.is_read => None,
        Freshness::TooOld => Some((owner, Freshness::Stale(STALE_MAX_MS))),
        freshness => Some((owner, freshness)),
    }
}
