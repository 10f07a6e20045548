//! One sink's deliveries, decided purely: who is next, when to try again, when to leave the sink alone, when to give up.
//!
//! An actor is in a lane at most once, with events in order, and at most one of its deliveries is under way: this is
//! what keeps first deliveries in order (P7). What waits here is bounded; past a bound, and while the sink is down, actors
//! are told "later": their rows keep the events.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use hashlink::LruCache;

use super::{
    outgoing::Outgoing,
    sink::{Failure, SinkError},
};
use crate::domain::UnixMillis;

/// Actors of whom is remembered how far a sink got: it spares repeats when another sink was down. About 10 MiB.
const KNOWN_MAX: usize = 65_536;
/// Actors whose next attempt waits for its time in memory: each may hold as much as a row.
const WAITING_MAX: usize = 1_024;
/// Deliveries and burials under way at once: enough for a sink that answers in 50 ms to take hundreds a second.
const FLIGHTS_MAX: usize = 16;

/// How patient the relay is with a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often a sink may reject an event before it becomes a dead letter: half an hour, with the default pauses.
    pub rejections_max: u32,
    /// How old an event may become, counted from when the relay started if it is older, before a failure makes it a dead
    /// letter.
    pub age_max: Duration,
    /// Pause after the first failure; doubles with each further one, and is spread at random by half.
    pub backoff: Duration,
    /// Longest such pause.
    pub backoff_max: Duration,
    /// Failures in a row after which the sink is left alone: it is down. Rejections count once for each actor, so that
    /// one bad event does not stop the others.
    pub failures_max: usize,
    /// How long it is left alone at first; doubles each time that it is still down.
    pub pause: Duration,
    /// Longest such time.
    pub pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            rejections_max: 12,
            age_max: Duration::from_secs(24 * 60 * 60),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10 * 60),
            failures_max: 5,
            pause: Duration::from_secs(5),
            pause_max: Duration::from_secs(60),
        }
    }
}

/// The moment of a decision, and some randomness for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) mono_ms: u64,
    pub(super) wall: UnixMillis,
    pub(super) random: u64,
}

/// What must be done for an actor; then [`Lane::delivered`] or [`Lane::buried`] is called with the same actor.
#[derive(Clone, Debug)]
pub(super) enum Todo {
    /// Deliver `events[from..]`.
    Deliver { actor: Arc<str>, events: Arc<[Outgoing]>, from: usize },
    /// Make dead letters of `events[from..until]`.
    Bury { actor: Arc<str>, events: Arc<[Outgoing]>, from: usize, until: usize, attempts: u32, why: Box<str> },
}

/// What an actor is told of its offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) actor: Arc<str>,
    /// Whether this sink needs none of the events any more.
    pub(super) published: bool,
}

/// One sink's deliveries.
#[derive(Debug)]
pub(super) struct Lane {
    patience: Patience,
    started_at: UnixMillis,
    actors: HashMap<Arc<str>, Pending>,
    /// May be delivered now.
    ready: VecDeque<Arc<str>>,
    /// Have events to be given up.
    graves: VecDeque<(Arc<str>, Grave)>,
    /// Wait for their next attempt.
    waiting: BTreeSet<(u64, Arc<str>)>,
    flights: usize,
    breaker: Breaker,
    known: LruCache<Arc<str>, Known>,
    /// When the oldest event happened that was sent back since the sink is down.
    sent_back: Option<UnixMillis>,
    stopping: bool,
    ends: Vec<End>,
}

#[derive(Debug)]
struct Pending {
    events: Arc<[Outgoing]>,
    /// The next one to deliver.
    from: usize,
    rejections: u32,
    /// Failures in a row, of whatever kind.
    failures: u32,
}

#[derive(Debug)]
struct Grave {
    until: usize,
    why: Box<str>,
}

/// How far the sink got with an actor.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    taken: u64,
    /// How often it rejected the event after that.
    rejections: u32,
}

impl Lane {
    pub(super) fn new(patience: Patience, started_at: UnixMillis) -> Self {
        Self {
            breaker: Breaker::Closed { unavailable: 0, rejected: Vec::new() },
            patience,
            started_at,
            actors: HashMap::new(),
            ready: VecDeque::new(),
            graves: VecDeque::new(),
            waiting: BTreeSet::new(),
            flights: 0,
            known: LruCache::new(KNOWN_MAX),
            sent_back: None,
            stopping: false,
            ends: Vec::new(),
        }
    }

    /// An actor offers events, oldest first. It must not be in the lane already.
    pub(super) fn offer(&mut self, now: &Now, actor: Arc<str>, events: Arc<[Outgoing]>) {
        let Known { taken, rejections } = self.known.get(&actor).copied().unwrap_or_default();
        let from = events.partition_point(|event| event.sequence() <= taken);
        self.actors.insert(actor.clone(), Pending { events, from, rejections, failures: 0 });
        self.admit(now, actor);
    }

    /// What can be done now.
    pub(super) fn next(&mut self, now: &Now) -> Option<Todo> {
        while self.waiting.first().is_some_and(|(due_ms, _)| *due_ms <= now.mono_ms) {
            self.ready.extend(self.waiting.pop_first().map(|(_, actor)| actor));
        }
        if self.flights >= FLIGHTS_MAX {
            return None;
        }
        if let Some((actor, Grave { until, why })) = self.graves.pop_front() {
            let Pending { events, from, rejections, .. } = self.actors.get(&actor)?;
            let (events, from, attempts) = (events.clone(), *from, *rejections);
            self.flights += 1;
            return Some(Todo::Bury { actor, events, from, until, attempts, why });
        }
        if self.ready.is_empty() || !self.breaker.lets_through(now) {
            return None;
        }
        let actor = self.ready.pop_front()?;
        let Pending { events, from, .. } = self.actors.get(&actor)?;
        let (events, from) = (events.clone(), *from);
        self.flights += 1;
        Some(Todo::Deliver { actor, events, from })
    }

    /// How a delivery ended.
    pub(super) fn delivered(&mut self, now: &Now, actor: &Arc<str>, result: Result<(), SinkError>) {
        self.flights = self.flights.saturating_sub(1);
        let Some(pending) = self.actors.get_mut(actor) else { return };
        let left = pending.events.len() - pending.from;
        let error = match result {
            Ok(()) => None,
            // Whoever fails has not taken everything.
            Err(error) => Some(SinkError { taken: error.taken.min(left.saturating_sub(1)), ..error }),
        };
        let taken = error.as_ref().map_or(left, |error| error.taken);
        if taken > 0 {
            (pending.from, pending.rejections, pending.failures) = (pending.from + taken, 0, 0);
            self.breaker = Breaker::Closed { unavailable: 0, rejected: Vec::new() };
            self.sent_back = None;
        }
        let Some(SinkError { failure, .. }) = error else { return self.end(actor, true) };
        pending.failures = pending.failures.saturating_add(1);
        let (rejected, why) = match &failure {
            Failure::Unavailable { why, .. } => (false, why),
            Failure::Rejected { why } => (true, why),
        };
        pending.rejections = pending.rejections.saturating_add(u32::from(rejected));
        let old = |event: &Outgoing| is_too_old(event, self.started_at, &self.patience, now);
        let is_dead = (rejected && pending.rejections >= self.patience.rejections_max)
            || pending.events.get(pending.from).is_some_and(old);
        let backoff_ms = doubled(self.patience.backoff, self.patience.backoff_max, pending.failures - 1);
        let due_ms = now.mono_ms + spread(backoff_ms, now.random);
        let grave = Grave { until: pending.from + 1, why: why.clone() };
        let opened = self.breaker.fail(&self.patience, now, actor, &failure);
        if is_dead && !self.stopping {
            self.graves.push_back((actor.clone(), grave));
        } else if self.stopping || self.breaker.refuses(now) || self.waiting.len() >= WAITING_MAX {
            self.end(actor, false);
        } else {
            self.waiting.insert((due_ms, actor.clone()));
        }
        if opened {
            self.send_back();
        }
    }

    /// How a burial ended: events before `until` are kept as dead letters, or the store did not take them.
    pub(super) fn buried(&mut self, now: &Now, actor: &Arc<str>, until: usize, kept: bool) {
        self.flights = self.flights.saturating_sub(1);
        let Some(pending) = self.actors.get_mut(actor) else { return };
        if kept {
            (pending.from, pending.rejections, pending.failures) = (until, 0, 0);
            self.admit(now, actor.clone());
        } else {
            self.end(actor, false);
        }
    }

    /// When [`next`](Self::next) may have something although nothing else happens.
    pub(super) fn wake_ms(&self) -> Option<u64> {
        self.waiting.first().map(|(due_ms, _)| *due_ms)
    }

    /// What actors are to be told.
    pub(super) fn take_ends(&mut self) -> Vec<End> {
        std::mem::take(&mut self.ends)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights == 0
    }

    /// Whether the sink is being left alone.
    pub(super) fn is_down(&self) -> bool {
        !matches!(self.breaker, Breaker::Closed { .. })
    }

    /// When the oldest event happened that the sink was offered and has not taken.
    pub(super) fn oldest(&self) -> Option<UnixMillis> {
        let pending = self.actors.values().filter_map(|pending| pending.events.get(pending.from).map(Outgoing::at));
        pending.chain(self.sent_back).min()
    }

    /// Begins nothing any more; whoever is not under way is told "later".
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.send_back();
        for (actor, _) in std::mem::take(&mut self.graves) {
            self.end(&actor, false);
        }
    }

    /// Tells everybody left "later".
    pub(super) fn abandon(&mut self) {
        self.stop();
        let left: Vec<Arc<str>> = self.actors.keys().cloned().collect();
        left.iter().for_each(|actor| self.end(actor, false));
    }

    fn admit(&mut self, now: &Now, actor: Arc<str>) {
        let Some(pending) = self.actors.get(&actor) else { return };
        let left = &pending.events[pending.from..];
        if left.is_empty() {
            return self.end(&actor, true);
        }
        if self.stopping {
            return self.end(&actor, false);
        }
        if !self.breaker.refuses(now) {
            return self.ready.push_back(actor);
        }
        let old = left.iter().take_while(|event| is_too_old(event, self.started_at, &self.patience, now)).count();
        if old > 0 {
            let grave = Grave { until: pending.from + old, why: "the sink is down".into() };
            self.graves.push_back((actor, grave));
        } else {
            self.end(&actor, false);
        }
    }

    /// The sink is down, or the lane stops: what waits goes back to its actors.
    fn send_back(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, actor)| actor);
        let idle: Vec<Arc<str>> = std::mem::take(&mut self.ready).into_iter().chain(waiting).collect();
        idle.iter().for_each(|actor| self.end(actor, false));
    }

    fn end(&mut self, actor: &Arc<str>, published: bool) {
        let Some(pending) = self.actors.remove(actor) else { return };
        let before = self.known.get(actor).map_or(0, |known| known.taken);
        let through = if published { pending.events.len() } else { pending.from };
        let taken = pending.events[..through].last().map_or(before, |event| event.sequence().max(before));
        self.known.insert(actor.clone(), Known { taken, rejections: pending.rejections });
        if !published && self.is_down() {
            let first = pending.events.get(pending.from).map(Outgoing::at);
            self.sent_back = [self.sent_back, first].into_iter().flatten().min();
        }
        self.ends.push(End { actor: actor.clone(), published });
    }
}

fn is_too_old(event: &Outgoing, started_at: UnixMillis, patience: &Patience, now: &Now) -> bool {
    now.wall.since_ms(event.at().max(started_at)) >= millis(patience.age_max)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn doubled(first: Duration, most: Duration, times: u32) -> u64 {
    millis(first).saturating_mul(1 << times.min(32)).min(millis(most))
}

/// Three quarters to five quarters of it: whoever failed together does not return together.
fn spread(ms: u64, random: u64) -> u64 {
    ms - ms / 4 + random % (ms / 2 + 1)
}

/// Leaves a sink alone that is down.
#[derive(Debug)]
enum Breaker {
    /// It works. Since its last success: failures whatever the event, and actors whose event it rejected.
    Closed { unavailable: usize, rejected: Vec<Arc<str>> },
    /// It is left alone; after that one delivery tries whether it is back.
    Open { until_ms: u64, times: u32 },
    /// That delivery is under way.
    Probing { times: u32 },
}

impl Breaker {
    fn refuses(&self, now: &Now) -> bool {
        match self {
            Self::Closed { .. } => false,
            Self::Open { until_ms, .. } => now.mono_ms < *until_ms,
            Self::Probing { .. } => true,
        }
    }

    fn lets_through(&mut self, now: &Now) -> bool {
        if self.refuses(now) {
            return false;
        }
        if let Self::Open { times, .. } = self {
            *self = Self::Probing { times: *times };
        }
        true
    }

    /// Counts a failure; `true` = the sink is now left alone.
    fn fail(&mut self, patience: &Patience, now: &Now, actor: &Arc<str>, failure: &Failure) -> bool {
        let times = match self {
            Self::Closed { unavailable, rejected } => {
                match failure {
                    Failure::Unavailable { .. } => *unavailable += 1,
                    Failure::Rejected { .. } if rejected.contains(actor) => {}
                    Failure::Rejected { .. } => rejected.push(actor.clone()),
                }
                let asks = matches!(failure, Failure::Unavailable { retry_after: Some(_), .. });
                if *unavailable + rejected.len() < patience.failures_max && !asks {
                    return false;
                }
                0
            }
            // One that was under way when the sink went down.
            Self::Open { .. } => return false,
            Self::Probing { times } => times.saturating_add(1),
        };
        let asked_ms = match failure {
            Failure::Unavailable { retry_after: Some(after), .. } => millis(*after),
            _ => 0,
        };
        let pause_ms = spread(doubled(patience.pause, patience.pause_max, times), now.random);
        let until_ms = now.mono_ms + pause_ms.max(asked_ms.min(millis(patience.pause_max)));
        *self = Self::Open { until_ms, times };
        true
    }
}

#[cfg(test)]
mod tests;
