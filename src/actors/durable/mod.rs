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
#[cfg(test)]
mod births;
mod deeds;
mod io;
mod outbox;
pub(super) mod planted;
mod receipts;
mod saving;
mod trouble;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use thin_vec::ThinVec;

pub use self::io::{Again, Entity, Facts, Input, Note, Outcome, Output, SaveOrder, Surroundings, Token};
pub(super) use self::planted::planted;
#[cfg(test)]
pub(super) use self::planted::{Bug, is as is_planted, plant};
use self::{deeds::Deeds, outbox::Outbox, saving::Flight, trouble::Trouble};
use super::ask::{Answer, Ask, Effect, Failure};
use crate::{
    codec::record::{Armed, Record},
    domain::UnixMillis,
    store::{Reason, Row},
};

/// Most commands that wait for one actor or ride in its save: a lost save's riders wait again, and all are one batch.
pub const WAITING_MAX: usize = 1024;
/// Oldest wait at which newcomers are refused: by then they would outwait most clients' patience.
pub const WAITING_AGE_MAX_MS: u64 = 2_000;

/// One durable actor.
#[derive(Debug)]
pub struct Durable<E: Entity, T> {
    phase: Phase<E, T>,
    /// Oldest first. Taken whole by each turn.
    waiting: ThinVec<Waiting<E, T>>,
    /// A tick has been asked for by this moment (`u64::MAX` = none), so that a busy actor asks for one and not for one per command.
    tick_ms: u64,
    /// Whether the next load must be ordered with saves whose outcome this actor does not know.
    doubt: bool,
    trouble: Option<Box<Trouble>>,
    /// What is being done elsewhere because the committed state needs it.
    deeds: Deeds<E::Step>,
    /// How far its events got beyond what its row says.
    outbox: Outbox,
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

#[derive(Debug)]
struct Waiting<E: Entity, T> {
    work: Work<E, T>,
    /// It was there when the last load was sent: only then may it be told that there is no row. Whoever came later may
    /// know of one.
    covered: bool,
    since_ms: u64,
    deadline_ms: u64,
}

#[derive(Debug)]
enum Work<E: Entity, T> {
    Ask(Ask<E::Command>, T),
    Read(T),
    Wake(Armed),
    /// What came of a deed.
    Done(E::Command),
    /// Take out of the row what every sink has.
    Clear,
}

impl<E: Entity, T> Work<E, T> {
    fn token(self) -> Option<T> {
        match self {
            Self::Ask(_, token) | Self::Read(token) => Some(token),
            Self::Wake(_) | Self::Done(_) | Self::Clear => None,
        }
    }

    /// Whether its save may ride with others'.
    fn can_wait(&self) -> bool {
        match self {
            Self::Ask(Ask { command, .. }, _) | Self::Done(command) => E::can_wait(command),
            Self::Read(_) | Self::Wake(_) => false,
            Self::Clear => true,
        }
    }

    /// Whether nobody waits for it: the actor's own work, done again until it is done.
    const fn is_own(&self) -> bool {
        matches!(self, Self::Wake(_) | Self::Done(_) | Self::Clear)
    }
}

/// Those whose wait failed, and how.
type FailedWaits<E, T> = Vec<(Work<E, T>, Failure<<E as Entity>::Refusal>)>;

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

impl<E: Entity, T: Token> Default for Durable<E, T> {
    fn default() -> Self {
        Self {
            phase: Phase::Cold,
            waiting: ThinVec::new(),
            tick_ms: u64::MAX,
            doubt: false,
            trouble: None,
            deeds: Deeds::default(),
            outbox: Outbox::default(),
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
                self.admit(Waiting { work: Work::Ask(ask, token), covered: false, since_ms, deadline_ms }, around, out);
            }
            Input::Read { timeout, since_ms, token } => {
                if let Some(state) = self.readable(around) {
                    let answer = Answer { state: Arc::clone(state), outcome: 0, replayed: false };
                    return out.push(Output::Reply(token, Ok(answer)));
                }
                let deadline_ms = since_ms.saturating_add(millis(timeout));
                self.admit(Waiting { work: Work::Read(token), covered: false, since_ms, deadline_ms }, around, out);
            }
            Input::Wake(armed) => {
                let waits = |w: &Waiting<E, T>| matches!(w.work, Work::Wake(there) if there == armed);
                if !self.waiting.iter().any(waits) && !planted!(WakeLost) {
                    let wake = Waiting {
                        work: Work::Wake(armed),
                        covered: false,
                        since_ms: around.mono_ms,
                        deadline_ms: u64::MAX,
                    };
                    self.admit(wake, around, out);
                }
            }
            Input::Loaded(number, result) => self.loaded(number, result, around, op_id, out),
            Input::Saved(id, saved) => self.saved(id, saved, around, out),
            Input::Performed(number, result) => self.performed(number, result, around, out),
            Input::Published { up_to, published } => self.published(up_to, published, around, out),
            Input::Tick => self.tick(around, out),
        }
        self.advance(around, op_id, out);
        self.perform(around, op_id, out);
        self.publish(around, out);
    }

    /// Whether it may leave memory: nothing in flight, nobody waiting, no memory of panics that must be kept.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Cold | Phase::Ready(_))
            && self.waiting.is_empty()
            && self.trouble.is_none()
            && !self.deeds.any_out()
            && !self.outbox.is_busy()
    }

    /// Whether a save of unknown outcome is open: a shard with one is never handed off as clean.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        matches!(&self.phase, Phase::Saving { flight, .. } if flight.unsettled)
    }

    /// Whether a load or a save is out, or somebody waits for one: before that is over, a shard is not still.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.phase {
            Phase::Loading(_) | Phase::Saving { .. } => true,
            // Whoever waits for a rest to end waits as well elsewhere.
            Phase::Resting { .. } => false,
            Phase::Cold | Phase::Ready(_) => !self.waiting.is_empty(),
        }
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

    /// The state that is being saved, where watchers may be told of it already.
    #[must_use]
    pub fn foretold(&self) -> Option<&Arc<E::State>> {
        match &self.phase {
            Phase::Saving { flight, .. } if flight.is_foretold => Some(&flight.next.record.state),
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

    /// What unsent events weigh, for the byte budget.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        match &self.phase {
            Phase::Ready(committed) | Phase::Saving { shown: Some(committed), .. } => {
                outbox::weigh(&committed.record.unsent)
            }
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
            unsent: committed.map_or(0, |c| c.record.unsent.len()),
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

    fn admit(&mut self, waiting: Waiting<E, T>, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        if let Phase::Resting { until_ms } = self.phase
            && around.mono_ms < until_ms
        {
            let retry_after = Duration::from_millis(until_ms - around.mono_ms);
            return reply(waiting.work, Failure::Quarantined { retry_after }, out);
        }
        if let Phase::Saving { flight, .. } = &self.phase
            && flight.unsettled
            && (flight.refused || self.waiting.len() >= WAITING_MAX / 2)
            && !waiting.work.is_own()
        {
            // The store is stuck: more would only wait for their deadlines.
            let effect = flight.effect_of(&waiting.work);
            return reply(waiting.work, Failure::StoreUnavailable(effect), out);
        }
        let oldest_ms = self.waiting.first().map_or(0, |first| around.mono_ms.saturating_sub(first.since_ms));
        let is_full = self.pending() >= WAITING_MAX || oldest_ms > WAITING_AGE_MAX_MS;
        if is_full && !matches!(waiting.work, Work::Done(_)) && !planted!(QueueUnbounded) {
            let retry_after = Duration::from_secs(1);
            return reply(waiting.work, Failure::Overloaded { retry_after }, out);
        }
        if waiting.deadline_ms != u64::MAX {
            self.tick_by(waiting.deadline_ms, out);
        }
        self.waiting.push(waiting);
    }

    fn tick_by(&mut self, at_ms: u64, out: &mut Vec<Output<E, T>>) {
        if self.tick_ms > at_ms {
            self.tick_ms = at_ms;
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
            self.outbox = Outbox::default();
            return self.turn(None, around, op_id, out);
        };
        if row.epoch > around.epoch && !planted!(NewerEpochIsMine) {
            return self.fenced(out);
        }
        match E::decode(&row.body) {
            Ok(record) => {
                self.doubt = false;
                let Record { epoch: _, op_id: _, state, receipts, unsent, armed } = record;
                let record =
                    Record { epoch: row.epoch, op_id: row.op_id, state: Arc::new(state), receipts, unsent, armed };
                let updated_at = UnixMillis(row.updated_at_ms);
                let committed = Committed { version: row.version, updated_at, record };
                out.push(Output::Note(Note::Activated));
                if committed.record.epoch >= around.fence {
                    out.push(Output::Committed(Arc::clone(&committed.record.state)));
                }
                self.deeds.inherit(E::is_pending(&committed.record.state));
                self.phase = Phase::Ready(committed);
            }
            Err(why) => {
                out.push(Output::Note(Note::Unreadable(why)));
                self.fail_waiting(&Failure::Internal(Effect::None), out);
            }
        }
    }

    /// Ends every wait.
    fn fail_waiting(&mut self, failure: &Failure<E::Refusal>, out: &mut Vec<Output<E, T>>) {
        for (work, failure) in self.failed_waits(failure) {
            reply(work, failure, out);
        }
    }

    /// Everyone who waits, each with what to be told: one who may repeat what is not settled is not told that nothing
    /// happened.
    fn failed_waits(&mut self, failure: &Failure<E::Refusal>) -> FailedWaits<E, T> {
        let waiting = std::mem::take(&mut self.waiting);
        let told = |waiting: Waiting<E, T>| match self.effect_of(&waiting.work) {
            Effect::None => (waiting.work, failure.clone()),
            Effect::Unknown => (waiting.work, Failure::StoreUnavailable(Effect::Unknown)),
        };
        waiting.into_iter().map(told).collect()
    }

    /// What a command that waits may have done already, as an earlier attempt under its key: it is in the save that is
    /// out, or may be in one that was lost from sight.
    fn effect_of(&self, work: &Work<E, T>) -> Effect {
        match (&self.phase, work) {
            (Phase::Saving { flight, .. }, _) => flight.effect_of(work),
            (_, Work::Ask(ask, _)) if self.doubt && ask.key.is_some() => Effect::Unknown,
            _ => Effect::None,
        }
    }

    /// Ends waits that are over, sends an unknown save again, ends a rest.
    fn tick(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        let now_ms = around.mono_ms;
        if self.tick_ms <= now_ms {
            self.tick_ms = u64::MAX;
        }
        let mut stuck = false;
        let mut next_ms = u64::MAX;
        match &mut self.phase {
            Phase::Saving { flight, .. } => {
                if flight.answer_by_ms().is_some_and(|by_ms| by_ms <= now_ms) {
                    out.push(Output::Note(Note::Unknown(Reason::new("the store does not answer"))));
                    flight.unsettled = true;
                }
                stuck = flight.unsettled;
                let (over, riding) =
                    std::mem::take(&mut flight.riders).into_iter().partition(|r| r.waiting.deadline_ms <= now_ms);
                flight.riders = riding;
                let deadlines_ms = flight.riders.iter().map(|rider| rider.waiting.deadline_ms);
                next_ms = deadlines_ms.chain(flight.answer_by_ms()).min().unwrap_or(u64::MAX);
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
            let (over, still): (ThinVec<_>, _) =
                std::mem::take(&mut self.waiting).into_iter().partition(|w| w.deadline_ms <= now_ms);
            self.waiting = still;
            for waiting in over {
                let effect = self.effect_of(&waiting.work);
                reply(waiting.work, too_late(stuck, effect), out);
            }
        }
        next_ms = self.waiting.iter().map(|w| w.deadline_ms).fold(next_ms, u64::min);
        next_ms = next_ms.min(self.deeds.tick(now_ms)).min(self.look_at_outbox(now_ms));
        if next_ms != u64::MAX {
            self.tick_by(next_ms, out);
        }
        self.forget_trouble(now_ms);
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
