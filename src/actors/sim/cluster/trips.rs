//! Requests on their way: each node routes by what it knows, with the decisions of `journey`, which are the product's.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        entity::{Ask as Wish, No, Tally, TallyEntity, copy},
        world::Broken,
    },
    node::{Message, number},
    world::{Event, TIMEOUT_MS, World},
};
use crate::{
    actors::{
        ask::{Answer, Ask, Effect, Failure, Key, Told},
        durable::{Again, Input, Outcome},
        journey::{self, HOPS_MAX, Journey, Nature, Reached, Way},
    },
    cluster::{AskError, Freshness, NotSent},
};

/// A request that waits looks again after so long.
const LOOK_AGAIN_MS: u64 = 50;
/// By so much after its deadline a machine must have answered: its clock's ticks, and a restart of its shard.
const GRACE_MS: u64 = 500;

type Next = journey::Next<Tally, No>;

/// What is wanted: a command and the number of its key, or a read.
type Wanted = Option<(Wish, Option<u32>)>;

/// What a peer answers.
#[derive(Clone, Debug)]
pub(super) enum Answered {
    Told(Answer<Tally>, Option<Arc<str>>, Freshness),
    NotOwner(u64),
    Failed(Failure<No>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Client(u64),
    /// An actor's deed: whose, and the number that its machine knows it by.
    Deed {
        shard: u16,
        turn: u64,
        id: u128,
        number: u128,
    },
    Peer {
        from: usize,
        session: u64,
        ask: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Parked,
    Here,
    There { to: usize, session: u64, ask: u64 },
}

/// One request in one node's hands.
#[derive(Debug)]
pub(super) struct Trip {
    origin: Origin,
    pub(super) id: u128,
    wanted: Wanted,
    journey: Journey,
    deadline_ms: u64,
    newer_than: u64,
    /// How often it really was forwarded.
    travelled: u8,
    stage: Stage,
}

const fn nature(wanted: &Wanted) -> Nature {
    match wanted {
        None => Nature::READ,
        Some((Wish::Receive(_), _)) => Nature { is_read: false, is_repeatable: true },
        Some((_, key)) => Nature { is_read: false, is_repeatable: key.is_some() },
    }
}

impl World {
    pub(super) fn set_out(&mut self, node: usize, token: u64, id: u128, wanted: Wanted) -> Result<(), Broken> {
        self.begin(node, Origin::Client(token), id, wanted, TIMEOUT_MS, 0, 0, 0)
    }

    /// An actor does something to another, wherever that one is.
    pub(super) fn set_out_deed(
        &mut self,
        node: usize,
        (shard, turn): (u16, u64),
        id: u128,
        number: u128,
        (op, to): (u32, u128),
    ) -> Result<(), Broken> {
        self.note(format_args!("n{node} a{id} sends {op} to a{to}"));
        let is_committed = |row: &super::super::store::Committed| row.record.state.ops.contains(&op);
        if !self.model.committed(id).iter().any(is_committed) {
            return Err(Broken("P1", format!("a{id} sends {op}, which the store never committed")));
        }
        let origin = Origin::Deed { shard, turn, id, number };
        self.begin(node, origin, to, Some((Wish::Receive(copy(op)), None)), TIMEOUT_MS, 0, 0, 0)
    }

    #[expect(clippy::too_many_arguments, reason = "a request is what its envelope says")]
    fn begin(
        &mut self,
        node: usize,
        origin: Origin,
        id: u128,
        wanted: Wanted,
        timeout_ms: u64,
        hops: u8,
        travelled: u8,
        newer_than: u64,
    ) -> Result<(), Broken> {
        let deadline_ms = self.nodes[node].clock_ms(self.now_ms) + timeout_ms;
        let journey = Journey::new(hops);
        let trip = Trip { origin, id, wanted, journey, deadline_ms, newer_than, travelled, stage: Stage::Parked };
        let number = self.fresh_id() as u64;
        self.nodes[node].trips.insert(number, trip);
        self.go(node, number)
    }

    /// One turn of the router's loop.
    fn go(&mut self, node: usize, number: u64) -> Result<(), Broken> {
        let slot_of = self.nodes[node].trips.get(&number).map(|trip| (trip.id, trip.newer_than));
        let Some((id, newer_than)) = slot_of else { return Ok(()) };
        let entrance = self.entrance(node, self.shard(id));
        let way = journey::way(entrance, true, &self.nodes[node].routes, self.slot(id), newer_than);
        let Some(trip) = self.nodes[node].trips.get(&number) else { return Ok(()) };
        match way {
            Way::Here if self.nodes[node].closed => self.next(node, number, Next::Answer(Err(Failure::Draining))),
            Way::Here => self.here(node, number),
            Way::There(_) if trip.journey.is_at_its_end() => {
                self.next(node, number, Next::Answer(Err(Failure::NotOwner)))
            }
            Way::There(owner) => self.there(node, number, &owner),
            Way::Wait => self.next(node, number, Next::Again(newer_than)),
            Way::Nowhere => self.next(node, number, Next::Answer(Err(Failure::NotOwner))),
        }
    }

    fn here(&mut self, node: usize, number: u64) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let token = self.fresh_id() as u64;
        let Some(trip) = self.nodes[node].trips.get_mut(&number) else { return Ok(()) };
        trip.stage = Stage::Here;
        let timeout = Duration::from_millis(trip.deadline_ms.saturating_sub(clock_ms));
        let (id, since_ms) = (trip.id, clock_ms);
        let input = match &trip.wanted {
            None => Input::Read { timeout, since_ms, token },
            Some((wish, key)) => {
                let key = key.map(|op| Key { key: u128::from(op), request: u128::from(op) });
                let ask = Ask { command: wish.clone(), by: None, if_revision: None, key, timeout, deed: None };
                Input::Ask { ask, since_ms, token }
            }
        };
        self.nodes[node].here.insert(token, number);
        self.step_actor(node, self.shard(id), id, input)
    }

    /// A machine here has answered.
    pub(super) fn told_here(&mut self, node: usize, token: u64, outcome: Outcome<TallyEntity>) -> Result<(), Broken> {
        let Some(number) = self.nodes[node].here.remove(&token) else {
            return Err(Broken("P9", format!("n{node} answered {token} twice")));
        };
        let Some(trip) = self.nodes[node].trips.get(&number) else { return Ok(()) };
        let next = match outcome {
            // The shard crashed and is up again: a read may be asked twice.
            Err(Failure::Internal(Effect::Unknown)) if trip.wanted.is_none() => Next::Again(0),
            outcome => Journey::after_here(outcome),
        };
        self.next(node, number, next)
    }

    fn there(&mut self, node: usize, number: u64, owner: &Arc<str>) -> Result<(), Broken> {
        let ends = &self.nodes[node].ends;
        let up = ends.iter().filter(|(_, end)| end.is_up);
        let up: Vec<Arc<str>> = up.map(|(other, _)| Arc::clone(&self.nodes[*other].name)).collect();
        let is_up = up.contains(owner);
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let map_version = self.nodes[node].routes.map_version;
        let Some(trip) = self.nodes[node].trips.get_mut(&number) else { return Ok(()) };
        let Some((to, hops)) = trip.journey.leg(owner, is_up, || up) else {
            return self.next(node, number, Next::Again(0));
        };
        let to = self::number(&to);
        let timeout_ms = trip.deadline_ms.saturating_sub(clock_ms);
        let travelled = trip.travelled + 1;
        let (id, wanted) = (trip.id, trip.wanted.clone());
        if travelled > HOPS_MAX {
            return Err(Broken("P9", format!("a request for a{id} is forwarded {travelled} times")));
        }
        if self.faults && self.rng.one_in(100) {
            return self.reached(node, number, to, Reached::Not(AskError::NotSent(NotSent::NoCredit)));
        }
        let session = self.nodes[node].ends.get(&to).map_or(0, |end| end.session);
        let ask = self.fresh_id() as u64;
        if let Some(trip) = self.nodes[node].trips.get_mut(&number) {
            trip.stage = Stage::There { to, session, ask };
        }
        self.note(format_args!("n{node} forwards a{id} to n{to} hops={hops} {wanted:?}"));
        let is_read = wanted.is_none();
        let request =
            Message::Request { from: node, session, ask, hops, travelled, map_version, id, wanted, timeout_ms };
        if is_read && self.faults && self.rng.one_in(30) {
            self.wire(node, to, request.clone());
        }
        self.wire(node, to, request);
        let life = self.nodes[node].life;
        self.after(timeout_ms + 1, Event::Look { node, life, trip: number });
        Ok(())
    }

    pub(super) fn asked_by_peer(&mut self, node: usize, message: Message) -> Result<(), Broken> {
        let Message::Request { from, session, ask, hops, travelled, map_version, id, wanted, timeout_ms } = message
        else {
            return Ok(());
        };
        if self.nodes[node].machine.is_none() {
            return Ok(());
        }
        self.begin(node, Origin::Peer { from, session, ask }, id, wanted, timeout_ms, hops, travelled, map_version)
    }

    pub(super) fn told_by_peer(
        &mut self,
        node: usize,
        from: usize,
        ask: u64,
        answered: Answered,
    ) -> Result<(), Broken> {
        let is_it = |trip: &Trip| matches!(trip.stage, Stage::There { ask: asked, .. } if asked == ask);
        let number = self.nodes[node].trips.iter().find(|(_, trip)| is_it(trip)).map(|(number, _)| *number);
        let Some(number) = number else { return Ok(()) };
        let reached = match answered {
            Answered::Told(answer, owner, freshness) => Reached::Answer(answer, owner, freshness),
            Answered::NotOwner(map_version) => Reached::Moved(map_version),
            Answered::Failed(failure) => Reached::Failed(failure),
        };
        self.reached(node, number, from, reached)
    }

    fn reached(&mut self, node: usize, number: u64, to: usize, reached: Reached<Tally, No>) -> Result<(), Broken> {
        let name = Arc::clone(&self.nodes[to].name);
        let Some(trip) = self.nodes[node].trips.get_mut(&number) else { return Ok(()) };
        let next = trip.journey.after_there(reached, name, nature(&trip.wanted));
        self.next(node, number, next)
    }

    /// What was asked over a session that is lost may have been done.
    pub(super) fn session_lost(&mut self, node: usize, lost: u64) -> Result<(), Broken> {
        let over = self.nodes[node].trips.iter().filter_map(|(number, trip)| match trip.stage {
            Stage::There { to, session, .. } if session == lost => Some((*number, to)),
            _ => None,
        });
        for (number, to) in over.collect::<Vec<_>>() {
            self.reached(node, number, to, Reached::Not(AskError::Lost))?;
        }
        Ok(())
    }

    /// What becomes of a request after an attempt.
    fn next(&mut self, node: usize, number: u64, next: Next) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let (life, closed) = (self.nodes[node].life, self.nodes[node].closed);
        let Some(trip) = self.nodes[node].trips.get_mut(&number) else { return Ok(()) };
        let version = match next {
            Next::Answer(Ok(told)) => return self.answer(node, number, Ok(told)),
            Next::Answer(Err(failure)) => {
                let failure = trip.journey.failed(failure);
                return self.answer(node, number, Err(failure));
            }
            Next::Again(version) => version,
        };
        trip.newer_than = trip.newer_than.max(version);
        trip.stage = Stage::Parked;
        let over = if closed { Some(Failure::Draining) } else { None };
        let over = over.or_else(|| (clock_ms >= trip.deadline_ms).then_some(Failure::Moving(Effect::None)));
        if let Some(failure) = over {
            let failure = trip.journey.failed(failure);
            return self.answer(node, number, Err(failure));
        }
        self.after(LOOK_AGAIN_MS, Event::Look { node, life, trip: number });
        Ok(())
    }

    /// Something changed that parked requests wait for.
    pub(super) fn changed(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let parked = self.nodes[node].trips.iter().filter(|(_, trip)| trip.stage == Stage::Parked);
        for trip in parked.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.after(0, Event::Look { node, life, trip });
        }
    }

    pub(super) fn look_again(&mut self, node: usize, number: u64) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let Some(trip) = self.nodes[node].trips.get(&number) else { return Ok(()) };
        let is_over = clock_ms >= trip.deadline_ms;
        match trip.stage {
            Stage::Parked if is_over || self.nodes[node].closed => self.next(node, number, Next::Again(0)),
            Stage::Parked => self.go(node, number),
            Stage::There { to, .. } if is_over => self.reached(node, number, to, Reached::Not(AskError::TimedOut)),
            Stage::There { .. } => {
                let life = self.nodes[node].life;
                self.after(LOOK_AGAIN_MS, Event::Look { node, life, trip: number });
                Ok(())
            }
            Stage::Here => Ok(()),
        }
    }

    /// The answer leaves this node.
    fn answer(
        &mut self,
        node: usize,
        number: u64,
        outcome: Result<Told<Answer<Tally>>, Failure<No>>,
    ) -> Result<(), Broken> {
        let Some(trip) = self.nodes[node].trips.remove(&number) else { return Ok(()) };
        let own = self.nodes[node].freshness(self.now_ms);
        match trip.origin {
            Origin::Client(token) => {
                let (outcome, freshness) = match outcome {
                    Ok(Told { what, by }) => (Ok(what), by.map_or(own, |(_, freshness)| freshness)),
                    Err(failure) => (Err(failure), own),
                };
                let is_refused = freshness == Freshness::TooOld && trip.wanted.is_none() && outcome.is_ok();
                let outcome = if is_refused { Err(Failure::StoreUnavailable(Effect::None)) } else { outcome };
                let told = match &outcome {
                    Ok(answer) => {
                        let ops = &answer.state.ops;
                        format!("{:?} of {} outcome={}", ops.last(), ops.len(), answer.outcome)
                    }
                    Err(failure) => format!("{failure:?}"),
                };
                self.note(format_args!("n{node} token={token} is answered {told} {freshness:?}"));
                let is_unsure = !matches!(outcome, Ok(_) | Err(Failure::Refused(_)));
                // What is not there was looked for after it was asked.
                let is_newest = freshness == Freshness::Fresh || outcome.is_err();
                if !self.faults && self.is_last && (!is_newest && trip.wanted.is_none() || is_unsure) {
                    return Err(Broken("P9", format!("n{node} answers {told} {freshness:?} in quiet times")));
                }
                let op = self.ledger.answered(token, &outcome, is_newest, &self.model)?;
                if let Some(op) = op
                    && self.faults
                    && (is_unsure || self.rng.one_in(4))
                {
                    self.client_retries(op);
                }
                Ok(())
            }
            Origin::Deed { shard, turn, id, number } => {
                if !self.has_turn(node, shard, turn) {
                    return Ok(());
                }
                let result = outcome.map(|_| ()).map_err(|_| Again);
                self.step_actor(node, shard, id, Input::Performed(number, result))
            }
            Origin::Peer { from, session, ask } => {
                if self.nodes[node].ends.get(&from).is_none_or(|end| end.session != session) {
                    return Ok(());
                }
                let map_version = self.nodes[node].routes.map_version;
                let answered = match outcome {
                    Ok(Told { what, by }) => match journey::passed_on(by, own, nature(&trip.wanted)) {
                        Some((owner, freshness)) => Answered::Told(what, owner, freshness),
                        None => Answered::Failed(Failure::StoreUnavailable(Effect::None)),
                    },
                    Err(Failure::NotOwner) => Answered::NotOwner(map_version),
                    Err(failure) => Answered::Failed(failure),
                };
                self.wire(node, from, Message::Reply { from: node, session, ask, answered });
                Ok(())
            }
        }
    }

    /// Every request that a machine here had is answered by its deadline.
    pub(super) fn nobody_waits_too_long(&self, node: usize) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let mut trips = self.nodes[node].trips.values();
        if self.now_ms < self.nodes[node].resumed_ms + 2 * GRACE_MS {
            return Ok(()); // it has only just gone on
        }
        match trips.find(|trip| clock_ms > trip.deadline_ms + GRACE_MS) {
            Some(trip) => Err(Broken("P9", format!("n{node} has not answered {trip:?} at {clock_ms}"))),
            None => Ok(()),
        }
    }
}
