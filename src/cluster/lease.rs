//! A node's lease: for how long what it has in memory is certainly the newest (P8). Safety of writes never depends on it.
//!
//! A node counts its lease from before a renewal was sent; whoever takes over makes renewals impossible first, and then
//! waits for longer than any lease that was granted before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::MissedTickBehavior};

use super::{
    Error,
    member::{self, Seat},
};
use crate::{
    codec::MemberState,
    store::{Expect, Kind, Reason, Row, Saved, Store},
    telemetry::{clock, metrics::metrics},
};

/// How long a lease lives.
const LEASE_MS: u64 = 3_000;
/// How often it is renewed: two renewals may fail before it lapses.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long an attempt to renew it may take before the very same one is sent again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(700);
/// A lease that could not be renewed any more is over after so long, also where that clock runs a tenth slower.
pub(super) const OUTLIVED_MS: u64 = LEASE_MS + LEASE_MS / 10;
/// Without a lease, what is in memory is told as stale for so long, and then not at all.
const STALE_MAX_MS: u64 = 60_000;
/// Attempts to give a seat back; the next start waits out the lease if none succeeds.
const LEAVE_ATTEMPTS_MAX: usize = 3;

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

/// A lease, as readers see it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Until when it lives, on the clock that also counts while the machine sleeps.
    until_ms: Arc<AtomicU64>,
}

impl Lease {
    /// For a node that nobody else can replace while it lives.
    #[must_use]
    pub fn for_ever() -> Self {
        Self { until_ms: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    fn granted_at(sent_ms: u64) -> Self {
        Self { until_ms: Arc::new(AtomicU64::new(sent_ms + LEASE_MS)) }
    }

    fn extend(&self, sent_ms: u64) {
        self.until_ms.fetch_max(sent_ms + LEASE_MS, Ordering::AcqRel);
    }

    /// Whether what was read from memory before this call may be told.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        if until_ms == u64::MAX { Freshness::Fresh } else { freshness(until_ms, clock::boot_ms()) }
    }
}

const fn freshness(until_ms: u64, now_ms: u64) -> Freshness {
    match now_ms.checked_sub(until_ms) {
        None => Freshness::Fresh,
        Some(stale_ms) if stale_ms <= STALE_MAX_MS => Freshness::Stale(stale_ms),
        Some(_) => Freshness::TooOld,
    }
}

/// A renewal: the same row however often it is sent.
struct Renewal {
    row: Row,
    first_sent_ms: u64,
}

/// How an attempt to renew ended.
#[derive(Debug, PartialEq, Eq)]
enum Renewed {
    /// The lease lives from this moment on.
    From(u64),
    /// Nobody knows yet: the very same row again.
    NotYet,
    /// The row is somebody else's now.
    Lost,
}

impl Renewal {
    /// What an attempt sent at `sent_ms` means: pure.
    fn ended(&self, saved: &Saved, sent_ms: u64) -> Renewed {
        match saved {
            Saved::Applied => Renewed::From(sent_ms),
            // One of the earlier attempts was applied, perhaps the very first.
            Saved::Lost(Some(head)) if head.op_id == self.row.op_id => Renewed::From(self.first_sent_ms),
            Saved::Lost(_) => Renewed::Lost,
            Saved::Unknown(_) | Saved::Refused(_) => Renewed::NotYet,
        }
    }
}

async fn attempt(store: &Arc<dyn Store>, seat: &Seat, row: &Row) -> Saved {
    let saving = store.save(Kind::Member, seat.id, Expect::Version(seat.version), row.clone(), Vec::new());
    let late = || Saved::Unknown(Reason::new("the store did not answer in time"));
    tokio::time::timeout(ATTEMPT_TIMEOUT, saving).await.unwrap_or_else(|_| late())
}

/// Renews once, for as long as that takes: sends the same row until it is known how that ended.
async fn renew(
    store: &Arc<dyn Store>,
    seat: &mut Seat,
    lease: Option<&Lease>,
    random: &impl Fn() -> u128,
) -> Result<u64, Error> {
    let mut beats = tokio::time::interval(RENEW_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut member = seat.member.clone();
    member.lease += 1;
    let row = member::row(&member, seat.version + 1, random(), clock::now())?;
    let renewal = Renewal { row, first_sent_ms: clock::boot_ms() };
    loop {
        beats.tick().await;
        let sent_ms = clock::boot_ms();
        let saved = attempt(store, seat, &renewal.row).await;
        match renewal.ended(&saved, sent_ms) {
            Renewed::From(from_ms) => {
                metrics().cluster_lease_renewals_total.with_label_values(&["renewed"]).inc();
                (seat.member, seat.version) = (member, seat.version + 1);
                if let Some(lease) = lease {
                    lease.extend(from_ms);
                }
                return Ok(from_ms);
            }
            Renewed::NotYet => metrics().cluster_lease_renewals_total.with_label_values(&["late"]).inc(),
            Renewed::Lost => {
                metrics().cluster_lease_renewals_total.with_label_values(&["lost"]).inc();
                return Err(Error::Replaced);
            }
        }
    }
}

/// The lease of a node that has just taken its shards.
pub(super) async fn first(store: &Arc<dyn Store>, seat: &mut Seat, random: &impl Fn() -> u128) -> Result<Lease, Error> {
    renew(store, seat, None, random).await.map(Lease::granted_at)
}

/// Renews the lease until the seat is somebody else's (`false`), or until told to give it back, having stopped to serve
/// (`true`).
pub async fn hold(
    store: Arc<dyn Store>,
    mut seat: Seat,
    lease: Lease,
    random: impl Fn() -> u128,
    mut stopped: oneshot::Receiver<()>,
) -> bool {
    loop {
        let next = async {
            tokio::time::sleep(RENEW_EVERY).await;
            renew(&store, &mut seat, Some(&lease), &random).await
        };
        tokio::select! {
            renewed = next => {
                if renewed.is_err() {
                    return false;
                }
            }
            _ = &mut stopped => break,
        }
    }
    give_back(&store, seat, &random).await;
    true
}

/// Says that this node serves no more: the next one need not wait for its lease.
async fn give_back(store: &Arc<dyn Store>, mut seat: Seat, random: &impl Fn() -> u128) {
    seat.member.state = MemberState::Leaving;
    for _ in 0..LEAVE_ATTEMPTS_MAX {
        let Ok(row) = member::row(&seat.member, seat.version + 1, random(), clock::now()) else { return };
        match attempt(store, &seat, &row).await {
            Saved::Applied => return,
            // A renewal that was on its way when the stop came has been applied.
            Saved::Lost(Some(head)) if head.version == seat.version + 1 => seat.version = head.version,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Head;

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
        let lease = Lease::granted_at(1_000);
        lease.extend(500);
        assert_eq!(lease.until_ms.load(Ordering::Acquire), 4_000, "an older renewal takes nothing away");
        assert_eq!(Lease::for_ever().freshness(), Freshness::Fresh);
    }

    #[test]
    fn p8_a_lease_counts_from_before_the_attempt_that_may_have_been_applied() {
        let member = codec_member();
        let row = member::row(&member, 2, 7, crate::domain::UnixMillis(0)).unwrap();
        let renewal = Renewal { row, first_sent_ms: 100 };
        let head = |op_id| Saved::Lost(Some(Head { version: 2, epoch: 0, op_id }));
        assert_eq!(renewal.ended(&Saved::Applied, 900), Renewed::From(900));
        assert_eq!(renewal.ended(&head(7), 900), Renewed::From(100), "the first attempt may have been the one");
        assert_eq!(renewal.ended(&head(8), 900), Renewed::Lost);
        assert_eq!(renewal.ended(&Saved::Unknown(Reason::new("late")), 900), Renewed::NotYet);
        assert_eq!(renewal.ended(&Saved::Refused(Reason::new("away")), 900), Renewed::NotYet);
    }

    fn codec_member() -> crate::codec::Member {
        crate::codec::Member {
            name: "n1".to_owned(),
            incarnation: 1,
            http: String::new(),
            admin: String::new(),
            cluster: String::new(),
            release: String::new(),
            schema_min: 1,
            schema_max: 1,
            lease: 0,
            state: MemberState::Up,
        }
    }
}
