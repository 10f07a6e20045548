//! A lane against a world of actors that keep their events, a sink that fails in every way, and restarts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn event(actor: usize, sequence: u64, at: u64) -> Outgoing {
    Outgoing::from_parts(&format!("cart_{actor}"), sequence, 1, UnixMillis(at), bytes::Bytes::from_static(b"{}"))
        .unwrap()
}

fn events(actor: usize, sequences: impl IntoIterator<Item = u64>) -> Arc<[Outgoing]> {
    sequences.into_iter().map(|sequence| event(actor, sequence, 0)).collect()
}

fn at(ms: u64) -> Now {
    Now { mono_ms: ms, wall: UnixMillis(ms), random: ms.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16 }
}

fn name(actor: usize) -> Arc<str> {
    format!("cart_{actor}").into()
}

fn unavailable() -> Failure {
    Failure::Unavailable { why: "refused".into(), retry_after: None }
}

fn asks_for_rest() -> Failure {
    Failure::Unavailable { why: "HTTP status 503".into(), retry_after: Some(Duration::from_secs(3_600)) }
}

fn rejected() -> Failure {
    Failure::Rejected { why: "HTTP status 400".into() }
}

fn fails(failure: Failure) -> Result<(), SinkError> {
    Err(SinkError { taken: 0, failure })
}

fn lane() -> Lane {
    Lane::new(Patience::default(), UnixMillis(0))
}

/// The actors whose delivery begins now.
fn begun(lane: &mut Lane, now: &Now) -> Vec<Arc<str>> {
    std::iter::from_fn(|| lane.next(now))
        .map(|todo| match todo {
            Todo::Deliver { actor, .. } => actor,
            Todo::Bury { .. } => panic!("nothing is to be buried"),
        })
        .collect()
}

#[test]
fn an_event_that_was_taken_is_not_sent_again_when_its_actor_offers_it_with_more() {
    let mut lane = lane();
    lane.offer(&at(0), name(1), events(1, 1..=3));
    assert_eq!(begun(&mut lane, &at(0)), [name(1)]);
    lane.delivered(&at(1), &name(1), Err(SinkError { taken: 2, failure: asks_for_rest() }));
    assert_eq!(lane.take_ends(), [End { actor: name(1), published: false }]);
    let later = at(100_000);
    lane.offer(&later, name(1), events(1, 1..=5));
    let Some(Todo::Deliver { events, from, .. }) = lane.next(&later) else { panic!("nothing to deliver") };
    assert_eq!((events.len(), from), (5, 2));
    lane.delivered(&later, &name(1), Ok(()));
    assert_eq!(lane.take_ends(), [End { actor: name(1), published: true }]);
    // All of it is known: no delivery at all.
    lane.offer(&later, name(1), events);
    assert!(lane.next(&later).is_none());
    assert_eq!(lane.take_ends(), [End { actor: name(1), published: true }]);
}

#[test]
fn p9_a_sink_that_is_down_holds_nothing_and_is_probed_by_one_delivery() {
    let mut lane = lane();
    for actor in 0..100 {
        lane.offer(&at(0), name(actor), events(actor, [1]));
    }
    let flying = begun(&mut lane, &at(0));
    assert_eq!(flying.len(), FLIGHTS_MAX);
    for actor in &flying {
        lane.delivered(&at(1), actor, fails(unavailable()));
    }
    // Everybody was told, nobody is held, nothing is attempted.
    let ends = lane.take_ends();
    assert!(ends.iter().all(|end| !end.published));
    assert_eq!((ends.len(), lane.actors.len(), lane.wake_ms()), (100, 0, None));
    lane.offer(&at(2), name(1), events(1, [1]));
    assert!(lane.next(&at(2)).is_none());
    assert_eq!(lane.take_ends().len(), 1);
    assert_eq!(lane.oldest(), Some(UnixMillis(0)));
    // After its pause one goes through, and only one.
    let later = at(10_000);
    lane.offer(&later, name(1), events(1, [1]));
    lane.offer(&later, name(2), events(2, [1]));
    assert_eq!(begun(&mut lane, &later), [name(1)]);
    lane.offer(&later, name(3), events(3, [1]));
    assert_eq!(lane.take_ends(), [End { actor: name(3), published: false }]);
    lane.delivered(&later, &name(1), Ok(()));
    assert_eq!(begun(&mut lane, &later), [name(2)]);
    assert!(!lane.is_down());
}

#[test]
fn the_pause_grows_while_the_sink_stays_down() {
    let mut lane = lane();
    let patience = Patience::default();
    let (mut now, mut pauses) = (0, Vec::new());
    for _ in 0..12 {
        lane.offer(&at(now), name(1), events(1, [1]));
        for actor in begun(&mut lane, &at(now)) {
            lane.delivered(&at(now), &actor, fails(unavailable()));
        }
        let Breaker::Open { until_ms, .. } = lane.breaker else {
            // Not down yet: it waits in memory for its next attempt.
            now = lane.wake_ms().unwrap();
            continue;
        };
        pauses.push(until_ms - now);
        now = until_ms;
    }
    assert!(pauses.len() > 6, "{pauses:?}");
    let most = millis(patience.pause_max);
    assert!(pauses[0] < most / 4 && pauses.iter().all(|pause| *pause <= most + most / 4), "{pauses:?}");
    assert!(*pauses.last().unwrap() >= most - most / 4, "{pauses:?}");
}

#[test]
fn one_event_that_is_rejected_stops_its_actor_alone_and_becomes_a_dead_letter() {
    let mut lane = lane();
    let (mut now, mut attempts) = (0, 0);
    lane.offer(&at(now), name(1), events(1, [1, 2]));
    let until = loop {
        match lane.next(&at(now)) {
            Some(Todo::Deliver { actor, .. }) => {
                assert_eq!(actor, name(1));
                attempts += 1;
                // The others go on.
                lane.offer(&at(now), name(2), events(2, [attempts]));
                assert_eq!(begun(&mut lane, &at(now)), [name(2)]);
                lane.delivered(&at(now), &name(2), Ok(()));
                assert_eq!(lane.take_ends(), [End { actor: name(2), published: true }]);
                lane.delivered(&at(now), &name(1), fails(rejected()));
            }
            Some(Todo::Bury { actor, from, until, attempts, .. }) => {
                assert_eq!((actor, from, attempts), (name(1), 0, Patience::default().rejections_max));
                break until;
            }
            None => now = lane.wake_ms().unwrap(),
        }
    };
    assert_eq!((until, attempts), (1, 12));
    // Half an hour, not minutes and not days.
    assert!((15 * 60_000..90 * 60_000).contains(&now), "{now} ms");
    lane.buried(&at(now), &name(1), 1, true);
    assert_eq!(begun(&mut lane, &at(now)), [name(1)]);
    lane.delivered(&at(now), &name(1), Ok(()));
    assert_eq!(lane.take_ends(), [End { actor: name(1), published: true }]);
}

#[test]
fn an_event_is_given_up_by_age_only_after_a_failure_and_never_for_what_came_before_the_start() {
    let day = 24 * 60 * 60 * 1000;
    let mut lane = Lane::new(Patience::default(), UnixMillis(10 * day));
    // Ten days old, and yet young: the relay has just begun.
    lane.offer(&at(10 * day), name(1), events(1, [1, 2]));
    assert_eq!(begun(&mut lane, &at(10 * day)), [name(1)]);
    lane.delivered(&at(10 * day), &name(1), fails(unavailable()));
    assert!(lane.next(&at(10 * day)).is_none());
    // A day of failures later the next failure is one too many.
    let later = at(11 * day);
    assert_eq!(begun(&mut lane, &later), [name(1)]);
    lane.delivered(&later, &name(1), fails(unavailable()));
    let Some(Todo::Bury { from: 0, until: 1, .. }) = lane.next(&later) else { panic!("it should be given up") };
    // The store does not take it: the actor keeps it.
    lane.buried(&later, &name(1), 1, false);
    assert_eq!(lane.take_ends(), [End { actor: name(1), published: false }]);
    lane.offer(&later, name(1), events(1, [1, 2]));
    assert_eq!(begun(&mut lane, &later), [name(1)]);
}

#[test]
fn what_is_too_old_is_given_up_without_an_attempt_while_the_sink_is_down() {
    let mut lane = lane();
    let day = at(24 * 60 * 60 * 1000);
    lane.offer(&day, name(1), events(1, [1]));
    begun(&mut lane, &day);
    lane.delivered(&day, &name(1), fails(asks_for_rest()));
    assert!(lane.is_down());
    let young = event(2, 3, day.mono_ms);
    lane.offer(&day, name(2), [event(2, 1, 0), event(2, 2, 0), young].into());
    let graves: Vec<_> = std::iter::from_fn(|| lane.next(&day)).collect();
    assert!(matches!(graves[1], Todo::Bury { from: 0, until: 2, .. }), "{graves:?}");
    lane.buried(&day, &name(2), 2, true);
    assert_eq!(lane.take_ends(), [End { actor: name(2), published: false }]);
}

/// Actors whose rows outlive every restart, and what reached the consumer.
#[derive(Default)]
struct World {
    emitted: [u64; ACTORS],
    /// The oldest event that an actor's row still holds.
    unsent: [u64; ACTORS],
    offered: [bool; ACTORS],
    /// The newest event of the offer under way.
    until: [u64; ACTORS],
    flights: Vec<Todo>,
    received: [Vec<u64>; ACTORS],
    dead: [BTreeSet<u64>; ACTORS],
    now: u64,
}

const ACTORS: usize = 4;

fn number(actor: &str) -> usize {
    actor.strip_prefix("cart_").unwrap().parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self { unsent: [1; ACTORS], ..Self::default() }
    }

    fn offer(&mut self, lane: &mut Lane, actor: usize) {
        if !self.offered[actor] && self.unsent[actor] <= self.emitted[actor] {
            (self.offered[actor], self.until[actor]) = (true, self.emitted[actor]);
            let events = (self.unsent[actor]..=self.emitted[actor]).map(|sequence| event(actor, sequence, 0)).collect();
            lane.offer(&at(self.now), name(actor), events);
        }
    }

    fn begin(&mut self, lane: &mut Lane) {
        while let Some(todo) = lane.next(&at(self.now)) {
            self.flights.push(todo);
        }
        let mut last = [0; ACTORS];
        for todo in &self.flights {
            let (Todo::Deliver { actor, .. } | Todo::Bury { actor, .. }) = todo;
            last[number(actor)] += 1;
        }
        assert!(last.iter().all(|flights| *flights <= 1), "two deliveries of one actor at once");
    }

    /// `reach`: how many of the events reach the consumer; `told`: how many of those the lane hears of.
    fn land(&mut self, lane: &mut Lane, which: usize, reach: usize, told: usize, failure: Option<Failure>) {
        if self.flights.is_empty() {
            return;
        }
        let flight = self.flights.swap_remove(which % self.flights.len());
        match flight {
            Todo::Deliver { actor, events, from } => {
                let left = &events[from..];
                let reach = if failure.is_none() { left.len() } else { reach.min(left.len()) };
                self.received[number(&actor)].extend(left[..reach].iter().map(Outgoing::sequence));
                let result = failure.map_or(Ok(()), |failure| Err(SinkError { taken: told.min(reach), failure }));
                lane.delivered(&at(self.now), &actor, result);
            }
            Todo::Bury { actor, events, from, until, .. } => {
                let kept = failure.is_none();
                if kept {
                    self.dead[number(&actor)].extend(events[from..until].iter().map(Outgoing::sequence));
                }
                lane.buried(&at(self.now), &actor, until, kept);
            }
        }
    }

    fn hear(&mut self, lane: &mut Lane) {
        for End { actor, published } in lane.take_ends() {
            let actor = number(&actor);
            self.offered[actor] = false;
            if published {
                self.unsent[actor] = self.until[actor] + 1;
            }
        }
    }

    fn check(&self) {
        for actor in 0..ACTORS {
            let mut newest = 0;
            let dead = &self.dead[actor];
            for sequence in &self.received[actor] {
                if *sequence > newest {
                    let between = newest + 1..*sequence;
                    assert!(between.into_iter().all(|missed| dead.contains(&missed)), "{sequence} overtook others");
                    newest = *sequence;
                }
            }
        }
    }
}

/// Everything happens within few steps: a sink goes down, is probed, comes back; events are given up.
fn hasty() -> Patience {
    let ms = Duration::from_millis;
    Patience {
        rejections_max: 3,
        backoff: ms(2),
        backoff_max: ms(16),
        failures_max: 2,
        pause: ms(8),
        pause_max: ms(64),
        ..Patience::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p7_every_event_arrives_at_least_once_and_first_deliveries_are_in_order(
        steps in prop::collection::vec((0_u8..10, 0..ACTORS, 0_usize..5, 0_usize..5, any::<bool>()), 1..200)
    ) {
        let (mut world, mut lane) = (World::new(), Lane::new(hasty(), UnixMillis(0)));
        for (step, actor, reach, told, rejects) in steps {
            match step {
                0..=2 => world.emitted[actor] += 1,
                3 | 4 => world.offer(&mut lane, actor),
                5 => world.land(&mut lane, actor, 0, 0, None),
                6 | 7 => {
                    let failure = if rejects { rejected() } else { unavailable() };
                    world.land(&mut lane, actor, reach, told, Some(failure));
                }
                8 => world.now += 1 << (reach + told + usize::from(rejects) * 2),
                // A crash: rows stay, all else is gone; what was under way may have arrived.
                _ => {
                    for flight in std::mem::take(&mut world.flights) {
                        if let (Todo::Deliver { actor, events, from }, true) = (flight, rejects) {
                            world.received[number(&actor)].extend(events[from..].iter().map(Outgoing::sequence));
                        }
                    }
                    lane = Lane::new(hasty(), UnixMillis(world.now));
                    world.offered = [false; ACTORS];
                }
            }
            world.begin(&mut lane);
            world.hear(&mut lane);
            world.check();
        }
        // The sink is well again: everything arrives, or was given up for its rejections.
        for _ in 0..1_000 {
            (0..ACTORS).for_each(|actor| world.offer(&mut lane, actor));
            world.begin(&mut lane);
            world.land(&mut lane, 0, 0, 0, None);
            world.hear(&mut lane);
            world.now += 1_000;
        }
        world.check();
        for actor in 0..ACTORS {
            prop_assert_eq!(world.unsent[actor], world.emitted[actor] + 1);
            for sequence in 1..=world.emitted[actor] {
                let arrived = world.received[actor].contains(&sequence) || world.dead[actor].contains(&sequence);
                prop_assert!(arrived, "event {} of {} is lost", sequence, actor);
            }
        }
    }
}
