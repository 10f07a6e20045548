//! One durable actor as a state machine without IO: `step(input) -> outputs`.
//!
//! What it owns: when to load, when to save, who may be answered when. What it leaves to its host: performing loads and
//! saves, clocks, randomness, memory pressure. What it leaves to its [`Entity`]: what commands mean.
//!
//! ```text
//!            need            row            batch with changes            applied
//!   Cold ───────────► Loading ───► Ready ───────────────────────► Saving ─────────► Ready
//!    ▲                               ▲            lost: reload      │  ▲ unknown: the identical save again
//!    └───────────────────────────────┴──────────────────────────────┘  └─┘
//! ```
//!
//! - **Output gate**: an answer leaves when the state that it was decided on is committed. Commands that meet a save in
//!   flight wait undecided and are decided together when it ends, so nothing is ever decided on uncommitted state
//!   except within one batch, and one save carries the whole batch.
//! - **Unknown outcome**: the identical save is sent again until the row's head has moved. A read decides nothing.
//! - **Claim**: a loaded row older than the fence is saved under the present epoch before anything is answered; a row of
//!   a newer epoch means that this owner is deposed.

mod batch;
mod planted;
mod receipts;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use self::planted::planted;
#[cfg(test)]
pub(super) use self::planted::{Bug, plant};
use super::ask::{Answer, Ask, Effect, Failure};
use crate::{
    codec::record::{Armed, Record},
    domain::{UnixMillis, cart::Context},
    store::{Expect, Kind, Reason, Row, Saved},
};

/// Most commands that wait for one actor or ride in its save: a lost save's riders wait again, and all are one batch.
pub const WAITING_MAX: usize = 1024;
/// Oldest wait at which newcomers are refused: by then they would outwait most clients' patience.
pub const WAITING_AGE_MAX_MS: u64 = 2_000;
/// First pause before a save of unknown outcome is sent again; doubles to [`RESEND_AFTER_MAX_MS`].
pub const RESEND_AFTER_MIN_MS: u64 = 50;
/// Longest pause between two identical saves: recovery within 2 s of the store's return needs less.
pub const RESEND_AFTER_MAX_MS: u64 = 1_000;
/// Panics within [`PANIC_WINDOW_MS`] that quarantine an actor.
pub const PANICS_MAX: usize = 3;
/// How long a panic counts.
pub const PANIC_WINDOW_MS: u64 = 60_000;
/// First rest of a quarantined actor; doubles to [`REST_MAX_MS`].
pub const REST_MIN_MS: u64 = 30_000;
/// Longest rest.
pub const REST_MAX_MS: u64 = 600_000;

/// What an actor kind must say for itself; everything durable is done for it.
pub trait Entity: fmt::Debug + Sized + 'static {
    /// Its table.
    const KIND: Kind;
    /// Its state.
    type State: Clone + fmt::Debug + Send + Sync + 'static;
    /// What may be asked.
    type Command: Clone + fmt::Debug + Send + 'static;
    /// What may happen.
    type Event;
    /// Why it may say no.
    type Refusal: Clone + fmt::Debug + Send + 'static;

    /// Decides; pure.
    ///
    /// # Errors
    /// The refusal, which had no effect.
    fn decide(
        state: Option<&Self::State>,
        command: &Self::Command,
        context: &Context,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;
    /// Folds; pure and total.
    fn evolve(state: &mut Option<Self::State>, event: &Self::Event);
    /// What a command that was accepted did, as the receipt keeps it.
    fn outcome(command: &Self::Command) -> u32;
    /// What to say of an actor that is not there.
    fn absent() -> Self::Refusal;
    /// When the clock must next do something.
    fn wake_at(state: &Self::State) -> Option<UnixMillis>;
    /// What the clock then asks.
    fn on_wake() -> Self::Command;
    /// Seconds until the store may forget a finished actor; `None` = not finished.
    fn ttl_s(state: &Self::State) -> Option<u32>;
    /// What a state costs in memory, estimated.
    fn weight_bytes(state: &Self::State) -> usize;
    /// Version of the bytes that [`Entity::encode`] makes.
    const SCHEMA_V: u16;
    /// The row's bytes.
    ///
    /// # Errors
    /// When the record is larger than a row may be.
    fn encode(record: &Record<Arc<Self::State>>) -> Result<Bytes, String>;
    /// The record back.
    ///
    /// # Errors
    /// When the bytes are damaged or newer than this release reads.
    fn decode(bytes: &[u8]) -> Result<Record<Self::State>, String>;
}

/// What surrounds a step: the readings of clocks and dice, and the ownership of the shard.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The wall clock.
    pub wall: UnixMillis,
    /// A clock that never jumps, in milliseconds: deadlines and pauses are on it.
    pub mono_ms: u64,
    /// The shard's present ownership.
    pub epoch: u64,
    /// The epoch of the shard's last takeover that was no clean handoff: rows below it must be claimed.
    pub fence: u64,
    /// After how long without a change an actor expires, for those that do.
    pub expire_after_ms: u64,
}

/// Who gets the answer: a channel in the host, a number in the simulation.
pub trait Token: fmt::Debug + 'static {}
impl<T: fmt::Debug + 'static> Token for T {}

/// What comes in.
#[derive(Debug)]
pub enum Input<E: Entity, T> {
    /// A command.
    Ask {
        /// What is asked; its `timeout` counts from `since_ms`.
        ask: Ask<E::Command>,
        /// When it was admitted, on the clock that never jumps.
        since_ms: u64,
        /// Who gets the answer.
        token: T,
    },
    /// A read of the committed state.
    Read {
        /// How long the reader waits from `since_ms`.
        timeout: Duration,
        /// When it was admitted.
        since_ms: u64,
        /// Who gets the answer.
        token: T,
    },
    /// An agenda entry has come due.
    Wake(Armed),
    /// The load of this number ended.
    Loaded(u128, Result<Option<Row>, Reason>),
    /// The save with this `op_id` ended.
    Saved(u128, Saved),
    /// A moment asked for by `WakeAt` has come.
    Tick,
}

/// A save, complete: sending it again is sending the very same.
#[derive(Clone, Debug)]
pub struct SaveOrder {
    /// What it expects to find.
    pub expect: Expect,
    /// What it writes.
    pub row: Row,
    /// The agenda entry that must be there no later than the row.
    pub arm: Option<Armed>,
    /// How many commands ride in it.
    pub riders: usize,
}

/// How an ask or a read ended.
pub type Outcome<E> = Result<Answer<<E as Entity>::State>, Failure<<E as Entity>::Refusal>>;

/// What goes out, in order.
#[derive(Debug)]
pub enum Output<E: Entity, T> {
    /// Load the row; `serial` when something about it is in doubt.
    Load {
        /// Comes back with the result: a load of an earlier life is told apart.
        number: u128,
        /// Ordered with every save.
        serial: bool,
    },
    /// Save the row.
    Save(SaveOrder),
    /// Tell the asker.
    Reply(T, Outcome<E>),
    /// This state is committed, and may be shown to readers and watchers.
    Committed(Arc<E::State>),
    /// Nothing may be shown to readers any more.
    Retracted,
    /// Send `Tick` at this moment of the clock that never jumps.
    WakeAt(u64),
    /// This agenda entry is needed no more.
    Unmark(Armed),
    /// A newer owner exists: drop the whole shard.
    Fenced,
    /// Something to count.
    Note(Note),
}

/// Something to count or to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A row was brought into memory.
    Activated,
    /// A row was claimed under the present epoch.
    Claimed,
    /// A keyed command was answered from its receipt.
    Replayed,
    /// A save's outcome was unknown.
    Unknown(Reason),
    /// A save lost its version to another save.
    Lost,
    /// A turn panicked.
    Panicked,
    /// The actor rests this long.
    Quarantined(Duration),
    /// The actor was admitted again.
    Released,
    /// The row cannot be read by this release.
    Unreadable(String),
    /// The row cannot be written: it would be too large.
    Unwritable(String),
    /// A command waited this long for its turn.
    Waited(u64),
}

/// One durable actor.
#[derive(Debug)]
pub struct Durable<E: Entity, T> {
    phase: Phase<E, T>,
    waiting: VecDeque<Waiting<E, T>>,
    /// A tick has been asked for by this moment, so that a busy actor asks for one and not for one per command.
    tick_ms: Option<u64>,
    /// Counts what was admitted.
    admitted: u64,
    /// What was admitted before the last load was sent: only these may be told that there is no row. Whoever came later
    /// may know of one.
    covered: u64,
    /// Whether the next load must be ordered with saves whose outcome this actor does not know.
    doubt: bool,
    trouble: Option<Box<Trouble>>,
}

/// What is known to be in the store.
#[derive(Clone, Debug)]
struct Committed<S> {
    version: u64,
    updated_at: UnixMillis,
    record: Record<Arc<S>>,
}

#[derive(Debug)]
enum Phase<E: Entity, T> {
    /// Nothing is known.
    Cold,
    /// This load is out.
    Loading(u128),
    Ready(Committed<E::State>),
    Saving {
        /// What was there before; `None` = no row, or one that is not claimed yet and must not be shown.
        shown: Option<Committed<E::State>>,
        flight: Box<Flight<E, T>>,
    },
    /// In quarantine until this moment.
    Resting {
        until_ms: u64,
    },
}

/// A save in flight and those who ride in it.
#[derive(Debug)]
struct Flight<E: Entity, T> {
    order: SaveOrder,
    next: Committed<E::State>,
    riders: Vec<Rider<E, T>>,
    /// Agenda entries to delete once this is committed.
    unmark: Vec<Armed>,
    /// An attempt's outcome was unknown: it may land at any time.
    unsettled: bool,
    attempts: u32,
    /// When to send it again; `None` = an attempt is out.
    resend_at_ms: Option<u64>,
}

#[derive(Debug)]
struct Waiting<E: Entity, T> {
    work: Work<E, T>,
    /// Its place among all that were admitted.
    number: u64,
    since_ms: u64,
    deadline_ms: u64,
}

#[derive(Debug)]
enum Work<E: Entity, T> {
    Ask(Ask<E::Command>, T),
    Read(T),
    Wake(Armed),
}

impl<E: Entity, T> Work<E, T> {
    fn token(self) -> Option<T> {
        match self {
            Self::Ask(_, token) | Self::Read(token) => Some(token),
            Self::Wake(_) => None,
        }
    }
}

/// A command that was decided and waits for the gate.
#[derive(Debug)]
struct Rider<E: Entity, T> {
    waiting: Waiting<E, T>,
    verdict: Verdict<E>,
}

#[derive(Debug)]
enum Verdict<E: Entity> {
    /// Changed the state (or recorded its receipt).
    Done(u32),
    /// Done before under the same key.
    Replayed(u32),
    /// Changed nothing and needed no receipt, or a read.
    Seen(u32),
    Failed(Failure<E::Refusal>),
}

impl<E: Entity> Verdict<E> {
    const fn has_effect(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

#[derive(Debug, Default)]
struct Trouble {
    panics_ms: Vec<u64>,
    rests: u32,
    rested_at_ms: u64,
}

/// Facts about an actor, for operators: no state of a shopper's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// What it is doing: cold, loading, ready, saving, resting.
    pub phase: &'static str,
    /// Version of its row.
    pub version: Option<u64>,
    /// Epoch of its row.
    pub epoch: Option<u64>,
    /// Receipts that it keeps.
    pub receipts: usize,
    /// Commands that wait for their turn.
    pub waiting: usize,
    /// Commands whose save is out.
    pub riding: usize,
    /// Whether the save's outcome is unknown.
    pub unsettled: bool,
    /// Unix milliseconds of the armed timer.
    pub armed_due_ms: Option<u64>,
    /// Panics within the last minute.
    pub panics: usize,
}

impl<E: Entity, T: Token> Default for Durable<E, T> {
    fn default() -> Self {
        Self {
            phase: Phase::Cold,
            waiting: VecDeque::new(),
            tick_ms: None,
            admitted: 0,
            covered: 0,
            doubt: false,
            trouble: None,
        }
    }
}

impl<E: Entity, T: Token> Durable<E, T> {
    /// Takes one input; what must be done because of it is appended to `out`. `op_id` makes a fresh id for a save.
    pub fn step(
        &mut self,
        input: Input<E, T>,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output<E, T>>,
    ) {
        match input {
            Input::Ask { ask, since_ms, token } => {
                let deadline_ms = since_ms.saturating_add(millis(ask.timeout));
                self.admit(Waiting { work: Work::Ask(ask, token), number: 0, since_ms, deadline_ms }, around, out);
            }
            Input::Read { timeout, since_ms, token } => {
                if let Some(state) = self.readable(around) {
                    let answer = Answer { state: Arc::clone(state), outcome: 0, replayed: false };
                    return out.push(Output::Reply(token, Ok(answer)));
                }
                let deadline_ms = since_ms.saturating_add(millis(timeout));
                self.admit(Waiting { work: Work::Read(token), number: 0, since_ms, deadline_ms }, around, out);
            }
            Input::Wake(armed) => {
                let waits = |w: &Waiting<E, T>| matches!(w.work, Work::Wake(there) if there == armed);
                if !self.waiting.iter().any(waits) && !planted!(WakeLost) {
                    let wake =
                        Waiting { work: Work::Wake(armed), number: 0, since_ms: around.mono_ms, deadline_ms: u64::MAX };
                    self.admit(wake, around, out);
                }
            }
            Input::Loaded(number, result) => self.loaded(number, result, around, op_id, out),
            Input::Saved(id, saved) => self.saved(id, saved, around, out),
            Input::Tick => self.tick(around, out),
        }
        self.advance(around, op_id, out);
    }

    /// Whether it may leave memory: nothing in flight, nobody waiting, no memory of panics that must be kept.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Cold | Phase::Ready(_)) && self.waiting.is_empty() && self.trouble.is_none()
    }

    /// Whether a save of unknown outcome is open: a shard with one is never handed off as clean.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        matches!(&self.phase, Phase::Saving { flight, .. } if flight.unsettled)
    }

    /// Whether there is nothing to remember: not loaded, nobody waiting.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        matches!(self.phase, Phase::Cold) && self.is_idle() && !self.doubt
    }

    /// How many commands wait or ride.
    #[must_use]
    pub fn pending(&self) -> usize {
        let riding = if let Phase::Saving { flight, .. } = &self.phase { flight.riders.len() } else { 0 };
        self.waiting.len() + riding
    }

    /// The committed state, where it may be shown.
    #[must_use]
    pub fn committed(&self) -> Option<&Arc<E::State>> {
        match &self.phase {
            Phase::Ready(committed) | Phase::Saving { shown: Some(committed), .. } => Some(&committed.record.state),
            _ => None,
        }
    }

    /// Receipts in memory, for the byte budget.
    #[must_use]
    pub fn receipts(&self) -> usize {
        match &self.phase {
            Phase::Ready(committed) | Phase::Saving { shown: Some(committed), .. } => committed.record.receipts.len(),
            _ => 0,
        }
    }

    /// Facts for operators.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let (phase, committed, flight) = match &self.phase {
            Phase::Cold => ("cold", None, None),
            Phase::Loading(_) => ("loading", None, None),
            Phase::Ready(committed) => ("ready", Some(committed), None),
            Phase::Saving { shown, flight } => ("saving", shown.as_ref(), Some(flight)),
            Phase::Resting { .. } => ("resting", None, None),
        };
        Facts {
            phase,
            version: committed.map(|c| c.version),
            epoch: committed.map(|c| c.record.epoch),
            receipts: committed.map_or(0, |c| c.record.receipts.len()),
            waiting: self.waiting.len(),
            riding: flight.map_or(0, |f| f.riders.len()),
            unsettled: flight.is_some_and(|f| f.unsettled),
            armed_due_ms: committed.and_then(|c| c.record.armed).map(|a| a.due.0),
            panics: self.trouble.as_ref().map_or(0, |t| t.panics_ms.len()),
        }
    }

    /// The committed state, if a read may be answered from it: claimed, by this owner.
    fn readable(&self, around: &Surroundings) -> Option<&Arc<E::State>> {
        let committed = match &self.phase {
            Phase::Ready(committed) | Phase::Saving { shown: Some(committed), .. } => committed,
            _ => return None,
        };
        (committed.record.epoch >= around.fence || planted!(ClaimSkipped)).then_some(&committed.record.state)
    }

    fn admit(&mut self, mut waiting: Waiting<E, T>, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        if let Phase::Resting { until_ms } = self.phase
            && around.mono_ms < until_ms
        {
            let retry_after = Duration::from_millis(until_ms - around.mono_ms);
            return reply(waiting.work, Failure::Quarantined { retry_after }, out);
        }
        if self.is_unsettled() && self.waiting.len() >= WAITING_MAX / 2 {
            // The store is stuck: more would only wait for their deadlines.
            return reply(waiting.work, Failure::StoreUnavailable(Effect::None), out);
        }
        let oldest_ms = self.waiting.front().map_or(0, |first| around.mono_ms.saturating_sub(first.since_ms));
        if (self.pending() >= WAITING_MAX || oldest_ms > WAITING_AGE_MAX_MS) && !planted!(QueueUnbounded) {
            let retry_after = Duration::from_secs(1);
            return reply(waiting.work, Failure::Overloaded { retry_after }, out);
        }
        if waiting.deadline_ms != u64::MAX {
            self.tick_by(waiting.deadline_ms, out);
        }
        waiting.number = self.admitted;
        self.admitted += 1;
        self.waiting.push_back(waiting);
    }

    fn tick_by(&mut self, at_ms: u64, out: &mut Vec<Output<E, T>>) {
        if self.tick_ms.is_none_or(|asked_ms| asked_ms > at_ms) {
            self.tick_ms = Some(at_ms);
            out.push(Output::WakeAt(at_ms));
        }
    }

    fn loaded(
        &mut self,
        number: u128,
        result: Result<Option<Row>, Reason>,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output<E, T>>,
    ) {
        if !matches!(self.phase, Phase::Loading(out) if out == number) {
            return; // of a life before a crash or a fence
        }
        self.phase = Phase::Cold;
        let row = match result {
            Ok(row) => row,
            Err(_) => return self.fail_waiting(&Failure::StoreUnavailable(Effect::None), out),
        };
        let Some(row) = row else {
            self.doubt = false;
            return self.turn(None, around, op_id, out);
        };
        if row.epoch > around.epoch && !planted!(NewerEpochIsMine) {
            return self.fenced(out);
        }
        match E::decode(&row.body) {
            Ok(record) => {
                self.doubt = false;
                let Record { epoch: _, op_id: _, state, receipts, unsent, effects, armed } = record;
                let record = Record {
                    epoch: row.epoch,
                    op_id: row.op_id,
                    state: Arc::new(state),
                    receipts,
                    unsent,
                    effects,
                    armed,
                };
                let updated_at = UnixMillis(row.updated_at_ms);
                let committed = Committed { version: row.version, updated_at, record };
                out.push(Output::Note(Note::Activated));
                if committed.record.epoch >= around.fence {
                    out.push(Output::Committed(Arc::clone(&committed.record.state)));
                }
                self.phase = Phase::Ready(committed);
            }
            Err(why) => {
                out.push(Output::Note(Note::Unreadable(why)));
                self.fail_waiting(&Failure::Internal(Effect::None), out);
            }
        }
    }

    fn saved(&mut self, id: u128, saved: Saved, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { flight, .. } = &mut self.phase else { return };
        if flight.order.row.op_id != id {
            return; // of a life before a crash or a fence
        }
        match saved {
            Saved::Applied => self.commit(out),
            Saved::Lost(Some(head)) if head.op_id == id => self.commit(out),
            Saved::Lost(head) => {
                if head.is_some_and(|head| head.epoch > around.epoch) {
                    return self.fenced(out);
                }
                out.push(Output::Note(Note::Lost));
                // One version on, it was somebody else's save that took the place: ours can never land. Further on,
                // ours may lie beneath; only receipts can tell.
                let certain = head.is_some_and(|head| head.version == flight.order.expect.next());
                self.decide_again(certain, out);
            }
            Saved::Unknown(reason) => {
                if planted!(UnknownSettledByRead) {
                    return self.decide_again(true, out);
                }
                out.push(Output::Note(Note::Unknown(reason)));
                flight.unsettled = true;
                flight.pause(around, out);
            }
            Saved::Refused(_) if flight.unsettled => flight.pause(around, out),
            Saved::Refused(_) => self.refuse_flight(out),
        }
    }

    /// The save is in the store: open the gate.
    fn commit(&mut self, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        let Flight { next, riders, unmark, .. } = *flight;
        out.push(Output::Committed(Arc::clone(&next.record.state)));
        for rider in riders {
            release(rider, Some(&next.record.state), out);
        }
        out.extend(unmark.into_iter().map(Output::Unmark));
        self.phase = Phase::Ready(next);
    }

    /// The save is lost: load again and decide its riders again, save those who cannot be told.
    fn decide_again(&mut self, certainly_lost: bool, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        out.push(Output::Retracted);
        self.doubt = true;
        let mut again = VecDeque::with_capacity(flight.riders.len() + self.waiting.len());
        for Rider { waiting, verdict } in flight.riders {
            let keyed = matches!(&waiting.work, Work::Ask(ask, _) if ask.key.is_some());
            if certainly_lost || keyed || !verdict.has_effect() {
                again.push_back(waiting);
            } else {
                reply(waiting.work, Failure::StoreUnavailable(Effect::Unknown), out);
            }
        }
        again.append(&mut self.waiting);
        self.waiting = again;
    }

    /// The store took nothing, and never will: back to what is committed.
    fn refuse_flight(&mut self, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { shown, flight } = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        for rider in flight.riders {
            reply(rider.waiting.work, Failure::StoreUnavailable(Effect::None), out);
        }
        match shown {
            Some(committed) => self.phase = Phase::Ready(committed),
            // Who waits would only be refused in turn, each after a load of its own.
            None => self.fail_waiting(&Failure::StoreUnavailable(Effect::None), out),
        }
    }

    /// A newer owner exists. Who waits was never part of a save; who rode in one that may have landed is not told no.
    fn fenced(&mut self, out: &mut Vec<Output<E, T>>) {
        out.push(Output::Retracted);
        if let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) {
            for Rider { waiting, verdict } in flight.riders {
                let failure =
                    if verdict.has_effect() { Failure::StoreUnavailable(Effect::Unknown) } else { Failure::NotOwner };
                reply(waiting.work, failure, out);
            }
        }
        self.fail_waiting(&Failure::NotOwner, out);
        out.push(Output::Fenced);
    }

    /// Ends everything at once because the shard moves or stops: nothing that waits had any effect.
    pub fn abandon(&mut self, failure: &Failure<E::Refusal>, out: &mut Vec<Output<E, T>>) {
        if let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) {
            for Rider { waiting, verdict } in flight.riders {
                let unknown = Failure::StoreUnavailable(Effect::Unknown);
                reply(waiting.work, if verdict.has_effect() { unknown } else { failure.clone() }, out);
            }
        }
        self.fail_waiting(failure, out);
    }

    fn fail_waiting(&mut self, failure: &Failure<E::Refusal>, out: &mut Vec<Output<E, T>>) {
        for waiting in self.waiting.drain(..) {
            reply(waiting.work, failure.clone(), out);
        }
    }

    /// Ends waits that are over, sends an unknown save again, ends a rest.
    fn tick(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        let now_ms = around.mono_ms;
        if self.tick_ms.is_some_and(|asked_ms| asked_ms <= now_ms) {
            self.tick_ms = None;
        }
        let mut stuck = false;
        let mut next_ms = u64::MAX;
        match &mut self.phase {
            Phase::Saving { flight, .. } => {
                stuck = flight.unsettled;
                let (over, riding) =
                    std::mem::take(&mut flight.riders).into_iter().partition(|r| r.waiting.deadline_ms <= now_ms);
                flight.riders = riding;
                next_ms = flight.riders.iter().map(|r| r.waiting.deadline_ms).min().unwrap_or(u64::MAX);
                for Rider { waiting, verdict } in over {
                    let effect = if verdict.has_effect() { Effect::Unknown } else { Effect::None };
                    reply(waiting.work, too_late(stuck, effect), out);
                }
                if flight.resend_at_ms.is_some_and(|at| at <= now_ms) {
                    flight.resend_at_ms = None;
                    out.push(Output::Save(flight.order.clone()));
                }
            }
            Phase::Resting { until_ms } if *until_ms <= now_ms => {
                self.phase = Phase::Cold;
                out.push(Output::Note(Note::Released));
            }
            _ => {}
        }
        if self.waiting.iter().any(|w| w.deadline_ms <= now_ms) {
            let (over, still): (VecDeque<_>, _) =
                std::mem::take(&mut self.waiting).into_iter().partition(|w| w.deadline_ms <= now_ms);
            self.waiting = still;
            for waiting in over {
                reply(waiting.work, too_late(stuck, Effect::None), out);
            }
        }
        next_ms = self.waiting.iter().map(|w| w.deadline_ms).fold(next_ms, u64::min);
        if next_ms != u64::MAX {
            self.tick_by(next_ms, out);
        }
        self.forget_trouble(now_ms);
    }

    fn forget_trouble(&mut self, now_ms: u64) {
        if let Some(trouble) = &mut self.trouble {
            trouble.panics_ms.retain(|at| now_ms.saturating_sub(*at) < PANIC_WINDOW_MS);
            let calm = now_ms.saturating_sub(trouble.rested_at_ms) >= REST_MAX_MS;
            if trouble.panics_ms.is_empty() && (trouble.rests == 0 || calm) {
                self.trouble = None;
            }
        }
    }

    /// A turn panicked: count it, and rest when it happens too often.
    fn panicked(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        out.push(Output::Note(Note::Panicked));
        out.push(Output::Retracted);
        self.phase = Phase::Cold;
        let now_ms = around.mono_ms;
        let trouble = self.trouble.get_or_insert_default();
        trouble.panics_ms.retain(|at| now_ms.saturating_sub(*at) < PANIC_WINDOW_MS);
        trouble.panics_ms.push(now_ms);
        // Its memory must not pin it longer than it matters.
        out.push(Output::WakeAt(now_ms + PANIC_WINDOW_MS));
        if trouble.panics_ms.len() < PANICS_MAX {
            return;
        }
        let rest_ms = REST_MIN_MS.saturating_mul(1 << trouble.rests.min(8)).min(REST_MAX_MS);
        trouble.rests += 1;
        trouble.rested_at_ms = now_ms + rest_ms;
        trouble.panics_ms.clear();
        let retry_after = Duration::from_millis(rest_ms);
        self.phase = Phase::Resting { until_ms: now_ms + rest_ms };
        out.push(Output::Note(Note::Quarantined(retry_after)));
        out.push(Output::WakeAt(now_ms + rest_ms));
        out.push(Output::WakeAt(now_ms + rest_ms + REST_MAX_MS));
        self.fail_waiting(&Failure::Quarantined { retry_after }, out);
    }
}

impl<E: Entity, T: Token> Flight<E, T> {
    /// Waits a little longer each time, then the very same save again.
    fn pause(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        let after_ms = RESEND_AFTER_MIN_MS.saturating_mul(1 << self.attempts.min(8)).min(RESEND_AFTER_MAX_MS);
        self.attempts = self.attempts.saturating_add(1);
        let at_ms = around.mono_ms + after_ms;
        self.resend_at_ms = Some(at_ms);
        out.push(Output::WakeAt(at_ms));
    }
}

/// Tells a rider what was decided, now that the state it was decided on is committed (`None` = there is no actor).
fn release<E: Entity, T: Token>(rider: Rider<E, T>, state: Option<&Arc<E::State>>, out: &mut Vec<Output<E, T>>) {
    let Rider { waiting, verdict } = rider;
    let (outcome, replayed) = match verdict {
        Verdict::Failed(failure) => return reply(waiting.work, failure, out),
        Verdict::Done(outcome) | Verdict::Seen(outcome) => (outcome, false),
        Verdict::Replayed(outcome) => {
            out.push(Output::Note(Note::Replayed));
            (outcome, true)
        }
    };
    let Some(token) = waiting.work.token() else { return };
    let answer = state.map(|state| Answer { state: Arc::clone(state), outcome, replayed });
    out.push(Output::Reply(token, answer.ok_or_else(|| Failure::Refused(E::absent()))));
}

fn reply<E: Entity, T: Token>(work: Work<E, T>, failure: Failure<E::Refusal>, out: &mut Vec<Output<E, T>>) {
    if let Some(token) = work.token() {
        out.push(Output::Reply(token, Err(failure)));
    }
}

const fn too_late<R>(store_stuck: bool, effect: Effect) -> Failure<R> {
    if store_stuck { Failure::StoreUnavailable(effect) } else { Failure::TimedOut(effect) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
