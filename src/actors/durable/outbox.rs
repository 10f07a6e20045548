//! Events on their way out: made with the state that they tell of, kept in its row until every sink has them.
//!
//! - **Which number**: the row's version times [`NUMBERS_PER_SAVE`], and the place within the save. Versions are given once
//!   and rise, so numbers rise and are never given twice, and the row needs no counter.
//! - **When offered**: once the row that holds them is committed; again until nobody needs them. One offer at a time.
//! - **When cleared**: with the actor's next save, or by a save of its own a little later.
//! - **When there are too many**: the oldest committed ones go into the index with the save that takes them out of the row.
//!   A mark in their place remembers that they are there.
//! - **After a crash or a move**: an agenda entry sees to it that somebody loads the row. The longer a sink is away, the
//!   rarer.

use super::{Durable, Entity, Output, Phase, Surroundings, Token, Waiting, Work, planted::planted};
use crate::{codec::record::Unsent, domain::UnixMillis, events::Data};

/// Numbers that one save may give: more than commands can ride in it, and easily read off.
const NUMBERS_PER_SAVE: u64 = 1_000_000;
/// Most events of a row, and the most of a turn before the rest waits for the next one.
const UNSENT_MAX: usize = 128;
/// What they may weigh: a quarter of a row.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// What an event weighs beside its data.
const OVERHEAD_BYTES: usize = 48;
/// Stands in a row for events that are in the index; types are counted from 1.
pub(super) const SPILLED: u16 = 0;

/// First pause before events are offered again; doubles to [`AGAIN_AFTER_MAX_MS`].
const AGAIN_AFTER_MIN_MS: u64 = 500;
/// Longest pause between two offers of an actor in memory.
const AGAIN_AFTER_MAX_MS: u64 = 30_000;
/// How long sent events stay in a row that nothing else saves: a shopper who goes on clears them on the way.
const CLEAR_AFTER_MS: u64 = 5_000;
/// An actor with unsent events is woken after so long at the earliest: longer than a sink that is well takes.
const LOOK_AFTER_MIN_MS: u64 = 30_000;
/// And at the latest: bounds how late events are once a sink is back. Between, after as long as the oldest has waited, so
/// that an hour without a sink costs an actor ten saves and not a hundred.
const LOOK_AFTER_MAX_MS: u64 = 10 * 60 * 1000;

/// How far the events of a row got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Every sink has them up to here.
    up_to: u64,
    /// The mark of those spilled that every sink has.
    mark: u64,
}

impl Sent {
    /// Whether nobody needs it any more.
    pub(super) const fn has(self, event: &Unsent) -> bool {
        event.sequence <= if event.kind == SPILLED { self.mark } else { self.up_to }
    }
}

/// How far an actor's events got beyond what its row says; `None` = nothing is known, as for nearly every actor: one word.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Out>>);

#[derive(Debug, Default)]
struct Out {
    sent: Sent,
    /// What is offered, if anything is.
    offered: Option<Sent>,
    attempts: u32,
    again_at_ms: Option<u64>,
    clear_at_ms: Option<u64>,
}

impl Outbox {
    pub(super) fn sent(&self) -> Sent {
        self.0.as_ref().map(|out| out.sent).unwrap_or_default()
    }

    /// Whether leaving memory now would only mean telling again what is told.
    pub(super) fn is_busy(&self) -> bool {
        self.0.as_ref().is_some_and(|out| out.offered.is_some() || out.clear_at_ms.is_some())
    }
}

/// What one turn tells others.
#[derive(Debug, Default)]
pub(super) struct Told {
    events: Vec<Unsent>,
    bytes: usize,
}

impl Told {
    pub(super) fn add(&mut self, version: u64, at: UnixMillis, told: &[Data]) {
        for data in told {
            let place = u64::try_from(self.events.len()).unwrap_or(u64::MAX).saturating_add(1);
            let sequence = version.saturating_mul(NUMBERS_PER_SAVE).saturating_add(place);
            let body = data.json().to_string().into_bytes().into_boxed_slice();
            let event = Unsent { sequence, kind: data.kind() as u16, at, body };
            self.bytes += weight(&event);
            self.events.push(event);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether no other command may add to it.
    pub(super) const fn is_full(&self) -> bool {
        self.events.len() >= UNSENT_MAX || self.bytes >= UNSENT_BYTES_MAX
    }

    /// The events of the next row, and those that go into the index because it has no room for them. Only committed ones
    /// do: this save may be lost when they are there.
    pub(super) fn after(self, unsent: &[Unsent], sent: Sent) -> (Box<[Unsent]>, Box<[Unsent]>) {
        if unsent.is_empty() {
            return (self.events.into(), Box::default());
        }
        let mut kept: Vec<Unsent> = unsent.iter().filter(|event| !sent.has(event)).cloned().collect();
        let (mut count, mut bytes) = (kept.len() + self.events.len(), self.bytes);
        bytes += weigh(&kept);
        let mut spill = Vec::new();
        if count > UNSENT_MAX || bytes > UNSENT_BYTES_MAX {
            // Down to the half, so that not every save spills.
            let mut place = usize::from(kept.first().is_some_and(|first| first.kind == SPILLED));
            let mark_at = kept.first().map(|first| first.at);
            while let Some(event) = kept.get(place)
                && (count > UNSENT_MAX / 2 || bytes > UNSENT_BYTES_MAX / 2)
            {
                (count, bytes) = (count - 1, bytes - weight(event));
                spill.push(event.clone());
                place += 1;
            }
            if let (Some(last), Some(at)) = (spill.last(), mark_at) {
                let mark = Unsent { sequence: last.sequence, kind: SPILLED, at, body: Box::default() };
                kept.splice(..place, [mark]);
            }
        }
        kept.extend(self.events);
        (kept.into(), spill.into())
    }
}

fn weight(event: &Unsent) -> usize {
    event.body.len() + OVERHEAD_BYTES
}

/// What events weigh, in a row or in memory, about.
pub(super) fn weigh(unsent: &[Unsent]) -> usize {
    unsent.iter().map(weight).sum()
}

/// When an actor with these events is woken, wherever it is then.
pub(super) fn look_after(unsent: &[Unsent], now: UnixMillis, around: &Surroundings) -> Option<UnixMillis> {
    let oldest = unsent.first().filter(|_| around.emits && !planted!(UnsentNotLookedAfter))?;
    Some(now.plus_ms(now.since_ms(oldest.at).clamp(LOOK_AFTER_MIN_MS, LOOK_AFTER_MAX_MS)))
}

impl<E: Entity, T: Token> Durable<E, T> {
    /// Offers what is committed and not with every sink yet, unless an offer is out.
    pub(super) fn publish(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        if !around.emits {
            return;
        }
        // A row that is loaded and not claimed may be another's by now.
        let unsent = match &self.phase {
            Phase::Saving { flight, .. } if planted!(PublishedBeforeSave) => &flight.next.record.unsent,
            Phase::Ready(committed) if committed.record.epoch >= around.fence => &committed.record.unsent,
            Phase::Saving { shown: Some(committed), .. } => &committed.record.unsent,
            _ => return,
        };
        if unsent.is_empty() {
            if self.outbox.0.as_ref().is_some_and(|kept| kept.offered.is_none()) {
                self.outbox = Outbox::default();
            }
            return;
        }
        let kept = self.outbox.0.get_or_insert_default();
        if kept.offered.is_some() || kept.again_at_ms.is_some_and(|at_ms| at_ms > around.mono_ms) {
            return;
        }
        let fresh = || unsent.iter().filter(|event| !kept.sent.has(event));
        let Some(last) = fresh().next_back() else { return };
        let mark = fresh().find(|event| event.kind == SPILLED).map(|mark| mark.sequence);
        let events = fresh().filter(|event| event.kind != SPILLED).cloned().collect();
        let (up_to, spilled) = (last.sequence, mark.is_some() && !planted!(SpillForgotten));
        out.push(Output::Publish { up_to, events, spilled });
        kept.offered = Some(Sent { up_to, mark: mark.unwrap_or_default() });
        kept.again_at_ms = None;
        if planted!(ClearedWhenOffered) {
            kept.sent = Sent { up_to, mark: mark.unwrap_or_default() };
        }
    }

    /// An offer ended. One of an earlier life of this actor tells the truth as well: numbers are given once.
    pub(super) fn published(
        &mut self,
        up_to: u64,
        published: bool,
        around: &Surroundings,
        out: &mut Vec<Output<E, T>>,
    ) {
        let kept = self.outbox.0.get_or_insert_default();
        let offered = kept.offered.take_if(|offered| offered.up_to == up_to);
        if published {
            kept.sent.up_to = kept.sent.up_to.max(up_to);
            kept.sent.mark = kept.sent.mark.max(offered.map_or(0, |offered| offered.mark));
            (kept.attempts, kept.again_at_ms) = (0, None);
            let at_ms = around.mono_ms.saturating_add(CLEAR_AFTER_MS);
            kept.clear_at_ms = Some(at_ms);
            self.tick_by(at_ms, out);
        } else if offered.is_some() {
            let pause_ms = AGAIN_AFTER_MIN_MS.saturating_mul(1 << kept.attempts.min(8)).min(AGAIN_AFTER_MAX_MS);
            kept.attempts = kept.attempts.saturating_add(1);
            let at_ms = around.mono_ms.saturating_add(pause_ms);
            kept.again_at_ms = Some(at_ms);
            self.tick_by(at_ms, out);
        }
    }

    /// Sees whether sent events are still in the row; returns when to look again.
    pub(super) fn look_at_outbox(&mut self, now_ms: u64) -> u64 {
        let Some(kept) = &mut self.outbox.0 else { return u64::MAX };
        if kept.clear_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            kept.clear_at_ms = None;
            match &self.phase {
                Phase::Ready(committed) if committed.record.unsent.iter().any(|event| kept.sent.has(event)) => {
                    let (since_ms, deadline_ms) = (now_ms, u64::MAX);
                    self.waiting.push(Waiting { work: Work::Clear, covered: false, since_ms, deadline_ms });
                }
                // The save that is out may have cleared them.
                Phase::Saving { .. } => kept.clear_at_ms = Some(now_ms.saturating_add(CLEAR_AFTER_MS)),
                _ => {}
            }
        }
        let again_ms = kept.again_at_ms.filter(|at_ms| *at_ms > now_ms);
        again_ms.into_iter().chain(kept.clear_at_ms).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cart::LineId;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn told(version: u64, count: u32) -> Told {
        let mut told = Told::default();
        for n in 0..count {
            told.add(version, NOW, &[Data::CartLineRemoved { line: LineId(n) }]);
        }
        told
    }

    /// Many saves, none of whose events anybody takes: what is in the row, and in the index, of the last one.
    fn undelivered(saves: u64) -> (Box<[Unsent]>, Vec<u64>) {
        let (mut unsent, mut spilled) = (Box::default(), Vec::new());
        for version in 1..=saves {
            let (kept, spill) = told(version, 3).after(&unsent, Sent::default());
            assert!(kept.len() <= UNSENT_MAX + 1 && weigh(&kept) <= UNSENT_BYTES_MAX);
            spilled.extend(spill.iter().map(|event| event.sequence));
            unsent = kept;
        }
        (unsent, spilled)
    }

    #[test]
    fn numbers_rise_over_saves_and_within_one() {
        let numbers = |version| told(version, 2).events.iter().map(|event| event.sequence).collect::<Vec<_>>();
        assert_eq!((numbers(7), numbers(12)), (vec![7_000_001, 7_000_002], vec![12_000_001, 12_000_002]));
    }

    #[test]
    fn what_a_row_has_no_room_for_goes_into_the_index_oldest_first_and_leaves_a_mark() {
        let (unsent, spilled) = undelivered(200);
        let made = (1..=200).flat_map(|version| (1..=3).map(move |n| version * NUMBERS_PER_SAVE + n));
        let kept = unsent.iter().filter(|event| event.kind != SPILLED).map(|event| event.sequence);
        assert_eq!(spilled.iter().copied().chain(kept).collect::<Vec<_>>(), made.collect::<Vec<_>>());
        assert_eq!((unsent[0].kind, Some(&unsent[0].sequence)), (SPILLED, spilled.last()));
        assert_eq!(unsent.iter().filter(|event| event.kind == SPILLED).count(), 1);
    }

    #[test]
    fn what_every_sink_has_leaves_the_row_and_a_mark_only_with_what_it_stands_for() {
        let (unsent, _) = undelivered(50);
        let (mark, last) = (unsent[0].sequence, unsent[unsent.len() - 1].sequence);
        let kept = |sent| told(51, 0).after(&unsent, sent).0.iter().map(|event| event.sequence).collect::<Vec<_>>();
        assert_eq!(kept(Sent { up_to: last, mark }), Vec::<u64>::new());
        assert_eq!(kept(Sent { up_to: last, mark: 0 }), [mark]);
    }

    #[test]
    fn the_longer_events_wait_the_rarer_their_actor_is_woken() {
        let around = Surroundings { wall: NOW, mono_ms: 0, epoch: 1, fence: 1, expire_after_ms: 0, emits: true };
        let unsent = told(1, 1).events;
        let after_ms = |waited_ms| {
            let now = NOW.plus_ms(waited_ms);
            look_after(&unsent, now, &around).map(|due| due.since_ms(now))
        };
        assert_eq!([0, 90_000, 86_400_000].map(after_ms), [30_000, 90_000, 600_000].map(Some));
        assert_eq!(look_after(&unsent, NOW, &Surroundings { emits: false, ..around }), None);
    }
}
