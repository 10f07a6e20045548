//! A node's lease: until when what it has in memory is certainly the newest (P8). Safety of writes never depends on it.
//!
//! Two things can take a node's shards away, so two things must be ruled out. That its row among the members stood still
//! for too long: ruled out for [`LEASE_MS`] from before a renewal was sent. That a peer lost its session and found its
//! port closed: ruled out for [`AFFIRMED_MS`] from before a probe was sent that the peer has answered, or before a
//! renewal that succeeded. Whoever takes over waits for a little longer than that (`machine`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::machine::planted;
use crate::telemetry::clock;

/// How long a lease lives after its renewal was sent.
pub const LEASE_MS: u64 = 3_000;
/// How long a peer's answer speaks for this node after the probe was sent, and a renewal in its place.
pub const AFFIRMED_MS: u64 = 700;
/// Unheard for so long, a peer is no longer counted on: the store is asked instead, in time.
pub(super) const QUIET_AFTER_MS: u64 = 400;
/// Without a lease, what is in memory is told as stale for so long, and then not at all.
pub const STALE_MAX_MS: u64 = 60_000;

/// Whether what is in memory may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is the newest.
    Fresh,
    /// It was the newest so many milliseconds ago.
    Stale(u64),
    /// It is too old to be told.
    TooOld,
}

/// What a lease rests on: pure.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    renewed_ms: Option<u64>,
    /// Peers that had a session with this node since they started, and when the last probe was sent that each has
    /// answered.
    heard_ms: BTreeMap<(Arc<str>, u64), u64>,
}

impl Grounds {
    /// A renewal that was sent at this moment has succeeded.
    pub fn renewed(&mut self, sent_ms: u64) {
        self.renewed_ms = self.renewed_ms.max(Some(sent_ms));
    }

    /// The node's place is somebody else's.
    pub fn lapse(&mut self) {
        self.renewed_ms = None;
    }

    /// From now on this peer can tell that its session was lost.
    pub fn met(&mut self, name: &Arc<str>, incarnation: u64, now_ms: u64) {
        self.heard_ms.entry((Arc::clone(name), incarnation)).or_insert(now_ms);
    }

    /// A peer has answered, by now, the probe that was sent at this moment. One that was silent for so long that it may have
    /// taken everything away cannot affirm that it has not: only the store can, by a renewal that succeeds.
    pub fn heard(&mut self, name: &Arc<str>, incarnation: u64, sent_ms: u64, now_ms: u64) {
        let renewed_ms = self.renewed_ms.unwrap_or(0);
        let heard_ms = self.heard_ms.entry((Arc::clone(name), incarnation)).or_insert(sent_ms);
        if now_ms < renewed_ms.max(*heard_ms) + AFFIRMED_MS || planted!(SilenceForgiven) {
            *heard_ms = sent_ms.max(*heard_ms);
        }
    }

    /// Peers that can take nothing away any more are forgotten.
    pub fn retain(&mut self, is_member: impl Fn(&str, u64) -> bool) {
        self.heard_ms.retain(|(name, incarnation), _| is_member(name, *incarnation));
    }

    /// Until when the lease lives; 0 = it does not.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        let Some(renewed_ms) = self.renewed_ms else { return 0 };
        let affirmed = |heard_ms: &u64| renewed_ms.max(*heard_ms) + AFFIRMED_MS;
        self.heard_ms.values().map(affirmed).min().unwrap_or(u64::MAX).min(renewed_ms + LEASE_MS)
    }

    /// Whether some peer has not been heard of for a while.
    #[must_use]
    pub fn is_quiet(&self, now_ms: u64) -> bool {
        self.heard_ms.values().any(|heard_ms| now_ms.saturating_sub(*heard_ms) > QUIET_AFTER_MS)
    }
}

/// A lease, as readers see it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Until when it lives, on the clock that also counts while the machine sleeps.
    until_ms: AtomicU64,
    grounds: Mutex<Grounds>,
}

impl Lease {
    /// One that has yet to be granted.
    #[must_use]
    pub fn ungranted() -> Self {
        Self::until(0)
    }

    /// For a node that nobody else can replace while it lives.
    #[must_use]
    pub fn for_ever() -> Self {
        Self::until(u64::MAX)
    }

    fn until(until_ms: u64) -> Self {
        Self(Arc::new(Shared { until_ms: AtomicU64::new(until_ms), grounds: Mutex::default() }))
    }

    /// Changes what the lease rests on, and what follows from it.
    pub fn ground<T>(&self, change: impl FnOnce(&mut Grounds) -> T) -> T {
        let mut grounds = self.0.grounds.lock().unwrap_or_else(PoisonError::into_inner);
        let told = change(&mut grounds);
        if self.0.until_ms.load(Ordering::Acquire) != u64::MAX {
            self.0.until_ms.store(grounds.until_ms(), Ordering::Release);
        }
        told
    }

    /// Whether what was read from memory before this call may be told.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let until_ms = self.0.until_ms.load(Ordering::Acquire);
        if until_ms == u64::MAX { Freshness::Fresh } else { freshness(until_ms, clock::boot_ms()) }
    }
}

/// Whether what was in memory at this moment may be told, with a lease that lives until then.
pub(crate) const fn freshness(until_ms: u64, now_ms: u64) -> Freshness {
    match now_ms.checked_sub(until_ms) {
        None => Freshness::Fresh,
        Some(stale_ms) if stale_ms <= STALE_MAX_MS => Freshness::Stale(stale_ms),
        Some(_) => Freshness::TooOld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_what_is_told_after_the_lease_is_marked_and_then_refused() {
        let table = [
            (0, Freshness::Fresh),
            (2_999, Freshness::Fresh),
            (3_000, Freshness::Stale(0)),
            (63_000, Freshness::Stale(60_000)),
            (63_001, Freshness::TooOld),
        ];
        for (now_ms, expected) in table {
            assert_eq!(freshness(LEASE_MS, now_ms), expected, "at {now_ms}");
        }
        assert_eq!(Lease::for_ever().freshness(), Freshness::Fresh);
        assert_eq!(Lease::ungranted().freshness(), Freshness::TooOld);
    }

    #[test]
    fn p8_a_lease_rests_on_the_store_and_on_every_peer_that_it_has_met() {
        let (mut grounds, a, b) = (Grounds::default(), Arc::from("a"), Arc::from("b"));
        assert_eq!(grounds.until_ms(), 0);
        grounds.renewed(1_000);
        assert_eq!(grounds.until_ms(), 4_000);
        grounds.renewed(500);
        assert_eq!(grounds.until_ms(), 4_000, "an older renewal takes nothing away");
        grounds.met(&a, 1, 1_200);
        assert_eq!(grounds.until_ms(), 1_900, "this peer may lose its session at any moment");
        grounds.heard(&a, 1, 1_850, 1_890);
        grounds.heard(&a, 1, 2_000, 2_010);
        grounds.heard(&b, 7, 1_500, 1_510);
        assert_eq!(grounds.until_ms(), 2_200, "the quietest peer counts");
        assert!(grounds.is_quiet(2_000) && !grounds.is_quiet(1_900));
        grounds.renewed(2_100);
        assert_eq!(grounds.until_ms(), 2_800, "the store has spoken since");
        grounds.retain(|name, _| name == "a");
        assert_eq!(grounds.until_ms(), 2_800);
        grounds.heard(&a, 1, 2_700, 2_900);
        assert_eq!(grounds.until_ms(), 2_800, "its silence was too long, and its word comes too late");
        grounds.renewed(2_950);
        for sent_ms in (3_500..9_000).step_by(500) {
            grounds.heard(&a, 1, sent_ms, sent_ms + 10);
        }
        assert_eq!(grounds.until_ms(), 5_950, "without the store no peer's word is enough");
        grounds.lapse();
        assert_eq!(grounds.until_ms(), 0);
    }
}
