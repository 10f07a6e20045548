//! One turn: everything that waits is decided in order, and what changed is saved together.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use thin_vec::ThinVec;

use super::{
    Committed, Durable, Entity, Flight, Note, Output, Phase, Rider, SaveOrder, Surroundings, Token, Verdict, Work,
    deeds::LOOK_AFTER_MS,
    outbox::{self, Outbox, Told},
    planted::planted,
    receipts, release, reply,
    saving::ANSWER_AFTER_MAX_MS,
};
use crate::{
    actors::ask::{Ask, Effect, Failure},
    codec::{
        envelope,
        record::{Armed, Receipt, Record},
    },
    domain::{Context, Try, UnixMillis},
    store::{Expect, Haste, Row},
};

/// After this long, an agenda entry whose row never came is dropped: no store keeps a write in flight for a day.
const ORPHAN_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// What a turn has made of the committed state so far.
struct Turn<'a, E: Entity, T> {
    base: Option<&'a Committed<E::State>>,
    now: UnixMillis,
    /// The state after the events so far; `None` = none yet.
    state: Option<E::State>,
    receipts: ThinVec<Receipt>,
    armed: Option<Armed>,
    /// What others shall be told of it.
    told: Told,
    /// How far the events in the row got.
    sent: outbox::Sent,
    /// Whether there is anything to save.
    dirty: bool,
    riders: Vec<Rider<E, T>>,
    unmark: Vec<Armed>,
    /// The row may be newer than what is in memory.
    outdated: bool,
}

impl<E: Entity, T: Token> Durable<E, T> {
    /// Starts whatever the phase and the queue call for.
    pub(super) fn advance(
        &mut self,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output<E, T>>,
    ) {
        if planted!(TwoSavesInFlight)
            && !self.waiting.is_empty()
            && let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold)
        {
            self.waiting.splice(0..0, flight.riders.into_iter().map(|rider| rider.waiting));
            self.phase = Phase::Ready(flight.next);
        }
        let mut is_new = true;
        while !self.waiting.is_empty() {
            match std::mem::replace(&mut self.phase, Phase::Cold) {
                // Who is refused, or asked for what is not made, is left over, and has the row read after all.
                Phase::Cold if std::mem::take(&mut is_new) && self.begins_with_birth() => {
                    self.outbox = Outbox::default();
                    self.turn(None, around, op_id, out);
                }
                Phase::Cold => {
                    let number = op_id();
                    self.phase = Phase::Loading(number);
                    self.waiting.iter_mut().for_each(|waiting| waiting.covered = true);
                    return out.push(Output::Load { number, serial: self.doubt });
                }
                Phase::Ready(committed) if self.awaits_siblings(around, out) => {
                    self.phase = Phase::Ready(committed);
                    return;
                }
                Phase::Ready(committed) => self.turn(Some(committed), around, op_id, out),
                busy => {
                    self.phase = busy;
                    return;
                }
            }
        }
    }

    /// Whether the first that waits makes an actor of which nothing was ever heard here.
    fn begins_with_birth(&self) -> bool {
        let first = self.waiting.first().map(|waiting| &waiting.work);
        !self.doubt && matches!(first, Some(Work::Ask(ask, _)) if E::is_birth(&ask.command))
    }

    /// One turn over everything that waits. Ends in `Ready` (nothing to save), `Saving`, or `Cold` (panic; no actor).
    pub(super) fn turn(
        &mut self,
        base: Option<Committed<E::State>>,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output<E, T>>,
    ) {
        let claimed = base.as_ref().is_none_or(|base| base.record.epoch >= around.fence);
        let mut turn = Turn::new(base.as_ref(), around.wall, self.outbox.sent());
        turn.dirty = !claimed && !planted!(ClaimSkipped);
        // Taken whole, so that an actor at rest keeps no room for a queue.
        let mut queue = std::mem::take(&mut self.waiting).into_iter();
        while let Some(waiting) = queue.next() {
            if waiting.deadline_ms <= around.mono_ms {
                reply(waiting.work, Failure::TimedOut(Effect::None), out);
                continue;
            }
            out.push(Output::Note(Note::Waited(around.mono_ms.saturating_sub(waiting.since_ms))));
            let decided = catch_unwind(AssertUnwindSafe(|| turn.decide(&waiting.work, around)));
            let Ok(verdict) = decided else {
                // What the others were told to become is void with it: they are decided again on the reloaded row.
                self.waiting = turn.riders.into_iter().map(|rider| rider.waiting).chain(queue).collect();
                reply(waiting.work, Failure::Internal(Effect::None), out);
                return self.panicked(around, out);
            };
            if planted!(UntoldWhenDoneAgain) && waiting.since_ms == 0 {
                turn.told = Told::default();
            }
            if planted!(RefusalBeforeSave)
                && let Verdict::Failed(failure) = verdict
            {
                reply(waiting.work, failure, out);
                continue;
            }
            turn.riders.push(Rider { waiting, verdict });
            if turn.told.is_full() {
                // One row has no room for more: whoever is left has the next turn.
                self.waiting = queue.collect();
                break;
            }
        }
        if !turn.dirty {
            let (riders, unmark, outdated) = (turn.riders, turn.unmark, turn.outdated);
            for rider in riders {
                if base.is_none() && !rider.waiting.covered && !planted!(AbsenceKept) {
                    self.waiting.push(rider.waiting);
                } else {
                    release(rider, base.as_ref().map(|base| &base.record.state), out);
                }
            }
            out.extend(unmark.into_iter().map(Output::Unmark));
            if outdated {
                // Read again when it is needed next; the entry fires again.
                out.push(Output::Retracted);
                self.doubt = true;
            } else if let Some(base) = base {
                self.phase = Phase::Ready(base);
            }
            return;
        }
        let op_id = op_id();
        match turn.into_flight(around, op_id) {
            Ok(mut flight) => {
                if base.is_none() {
                    let nth = flight.born_for();
                    flight.is_first_birth = nth == Some(Try::First) || (nth.is_some() && planted!(BirthTakenForFirst));
                    self.deeds.born(nth, E::is_pending(&flight.next.record.state));
                }
                if !claimed {
                    out.push(Output::Note(Note::Claimed));
                }
                if planted!(ReplyBeforeSave) {
                    for rider in std::mem::take(&mut flight.riders) {
                        release(rider, Some(&flight.next.record.state), out);
                    }
                }
                if planted!(MarkerDeletedEarly) {
                    out.extend(std::mem::take(&mut flight.unmark).into_iter().map(Output::Unmark));
                }
                out.push(Output::Save(flight.order.clone()));
                let next = &flight.next.record.state;
                let foretells =
                    |base: &Committed<E::State>| E::is_foretold(&base.record.state, next) || planted!(ForetoldBlindly);
                if claimed && base.as_ref().is_some_and(foretells) {
                    out.push(Output::Foretold(Arc::clone(next)));
                    flight.is_foretold = true;
                }
                self.tick_by(flight.sent_ms + ANSWER_AFTER_MAX_MS, out);
                self.phase = Phase::Saving { shown: base.filter(|_| claimed), flight: Box::new(flight) };
            }
            Err((riders, why)) => {
                out.push(Output::Note(Note::Unwritable(why)));
                for rider in riders {
                    reply(rider.waiting.work, Failure::Internal(Effect::None), out);
                }
                if let Some(base) = base {
                    self.phase = Phase::Ready(base);
                }
            }
        }
    }
}

impl<'a, E: Entity, T: Token> Turn<'a, E, T> {
    fn new(base: Option<&'a Committed<E::State>>, wall: UnixMillis, sent: outbox::Sent) -> Self {
        let record = base.map(|base| &base.record);
        Self {
            base,
            now: base.map_or(wall, |base| wall.max(base.updated_at)),
            state: None,
            receipts: record.map_or_else(ThinVec::new, |record| record.receipts.clone()),
            armed: record.and_then(|record| record.armed),
            told: Told::default(),
            sent,
            dirty: false,
            riders: Vec::new(),
            unmark: Vec::new(),
            outdated: false,
        }
    }

    fn state(&self) -> Option<&E::State> {
        self.state.as_ref().or(self.base.map(|base| &*base.record.state))
    }

    fn decide(&mut self, work: &Work<E, T>, around: &Surroundings) -> Verdict<E> {
        match work {
            Work::Read(_) => Verdict::Seen(0),
            Work::Ask(ask, _) => self.ask(ask, around),
            Work::Done(command) => {
                let context = self.own_context(around);
                match self.apply(command, &context, around) {
                    Ok(true) => Verdict::Done(0),
                    Ok(false) => Verdict::Seen(0),
                    Err(refusal) => Verdict::Failed(Failure::Refused(refusal)),
                }
            }
            Work::Wake(armed) => {
                self.wake(*armed, around);
                Verdict::Seen(0)
            }
            Work::Clear => {
                self.clear();
                Verdict::Seen(0)
            }
        }
    }

    fn ask(&mut self, ask: &Ask<E::Command>, around: &Surroundings) -> Verdict<E> {
        if let Some(key) = ask.key {
            match receipts::look_up(&self.receipts, key, self.now) {
                receipts::Known::Done(outcome) => return Verdict::Replayed(outcome),
                receipts::Known::Reused => return Verdict::Failed(Failure::KeyReused),
                receipts::Known::Full(ms) => {
                    return Verdict::Failed(Failure::TooManyKeys { retry_after: Duration::from_millis(ms) });
                }
                receipts::Known::New => {}
            }
        }
        let context = Context {
            now: self.now,
            by: ask.by,
            if_revision: ask.if_revision,
            expire_after_ms: around.expire_after_ms,
        };
        let applied = self.apply(&ask.command, &context, around);
        // An actor that asks takes the answer for good, also one that nothing changed or that it is refused. Told from
        // memory alone it might be a deposed owner's: only a row that takes a save shows that it is the newest. That
        // there is no row was read just now.
        if ask.deed.is_some() && self.state().is_some() && !planted!(DeedUnconfirmed) {
            self.dirty = true;
        }
        match applied {
            Err(refusal) => Verdict::Failed(Failure::Refused(refusal)),
            Ok(changed) => {
                let outcome = E::outcome(&ask.command, self.state());
                let Some(key) = ask.key else {
                    return if changed { Verdict::Done(outcome) } else { Verdict::Seen(outcome) };
                };
                // Also one that changed nothing: done again later, it might.
                if !planted!(ReceiptDropped) {
                    let receipt = Receipt { key: key.key, request: key.request, at: self.now, outcome };
                    self.receipts.push(receipt);
                }
                self.dirty = true;
                Verdict::Done(outcome)
            }
        }
    }

    /// What surrounds the actor's own work.
    fn own_context(&self, around: &Surroundings) -> Context {
        Context { now: self.now, by: None, if_revision: None, expire_after_ms: around.expire_after_ms }
    }

    fn apply(&mut self, command: &E::Command, context: &Context, around: &Surroundings) -> Result<bool, E::Refusal> {
        let events = E::decide(self.state(), command, context)?;
        if events.is_empty() {
            return Ok(false);
        }
        let mut state = self.state.take().or_else(|| self.base.map(|base| (*base.record.state).clone()));
        let mut told = Vec::new();
        for event in &events {
            if around.emits {
                let before = E::glimpse(state.as_ref(), event);
                E::evolve(&mut state, event);
                E::tell(event, before, state.as_ref(), &mut told);
            } else {
                E::evolve(&mut state, event);
            }
        }
        let version = self.base.map_or(Expect::Absent, |base| Expect::Version(base.version)).next();
        self.told.add(version, self.now, &told);
        self.state = state;
        self.dirty = true;
        Ok(true)
    }

    /// Takes out of the row what every sink has, and looks after its events no more once there are none.
    fn clear(&mut self) {
        let unsent = self.base.map_or(&[][..], |base| &base.record.unsent);
        if unsent.iter().any(|event| self.sent.has(event)) {
            self.dirty = true;
            if unsent.iter().all(|event| self.sent.has(event)) && self.told.is_empty() {
                self.armed = None;
            }
        }
    }

    /// An agenda entry fired: do what is due, or find the entry superfluous.
    fn wake(&mut self, fired: Armed, around: &Surroundings) {
        let Some(state) = self.state() else {
            if around.wall.since_ms(fired.due) > ORPHAN_AFTER_MS {
                self.unmark.push(fired);
            }
            return;
        };
        if self.armed != Some(fired) {
            let is_older = self.base.is_some_and(|base| base.version >= fired.version);
            if is_older || around.wall.since_ms(fired.due) > ORPHAN_AFTER_MS {
                self.unmark.push(fired);
            } else {
                // Of a save that this actor does not know: one still to land, or one that a former life sent.
                self.outdated = true;
            }
            return;
        }
        if E::wake_at(state).is_some_and(|due| due <= self.now) {
            let context = self.own_context(around);
            // A refusal means that there is nothing to do any more.
            let _ = self.apply(&E::on_wake(), &context, around);
        }
        // Done or too early: armed anew for what is next, if anything is.
        self.armed = None;
        self.unmark.push(fired);
        self.dirty = true;
    }

    /// The save that makes all of it durable; or, when it cannot be written, who asked for it and why not.
    #[expect(clippy::type_complexity, reason = "one caller, which takes it apart at once")]
    fn into_flight(mut self, around: &Surroundings, op_id: u128) -> Result<Flight<E, T>, (Vec<Rider<E, T>>, String)> {
        let expect = self.base.map_or(Expect::Absent, |base| Expect::Version(base.version));
        let state = match self.state.take().map(Arc::new).or_else(|| self.base.map(|b| Arc::clone(&b.record.state))) {
            Some(state) => state,
            // A key was used on an actor that is not there and was not made: nothing to attach a receipt to.
            None => return Err((self.riders, "a row needs a state".to_owned())),
        };
        let had = self.base.and_then(|base| base.record.armed);
        let unsent = self.base.map_or(&[][..], |base| &base.record.unsent);
        let (unsent, spill) = std::mem::take(&mut self.told).after(unsent, self.sent);
        let arm = self.arm(&state, expect.next(), outbox::look_after(&unsent, self.now, around));
        if had.is_some() && self.armed != had && !self.unmark.iter().any(|unmarked| Some(*unmarked) == had) {
            self.unmark.extend(had);
        }
        receipts::prune(&mut self.receipts, self.now);
        self.receipts.shrink_to_fit();
        let ttl_s = E::ttl_s(&state);
        // Until a row is claimed nobody can be shown it.
        let is_claimed = self.base.is_none_or(|base| base.record.epoch >= around.fence);
        let can_wait = is_claimed && self.riders.iter().all(|rider| rider.waiting.work.can_wait());
        let haste = if can_wait { Haste::Patient } else { Haste::Urgent };
        let listed = if self.base.is_none() { E::listed(&state) } else { Vec::new() };
        let record = Record { epoch: around.epoch, op_id, state, receipts: self.receipts, unsent, armed: self.armed };
        let body = match E::encode(&record) {
            Ok(body) => body,
            Err(why) => return Err((self.riders, why)),
        };
        let row = Row {
            version: expect.next(),
            epoch: around.epoch,
            op_id,
            schema_v: envelope::schema_v(&body).unwrap_or(E::SCHEMA_V),
            updated_at_ms: self.now.0,
            ttl_s,
            body,
        };
        Ok(Flight {
            order: SaveOrder { expect, row, arm, spill, listed, riders: self.riders.len(), haste },
            next: Committed { version: expect.next(), updated_at: self.now, record },
            riders: self.riders,
            unmark: self.unmark,
            unsettled: false,
            refused: false,
            attempts: 0,
            sent_ms: around.mono_ms,
            is_first_birth: false,
            is_foretold: false,
            resend_at_ms: None,
        })
    }

    /// Sees to it that the armed entry fires no later than the state needs; returns a new one to write.
    ///
    /// A timer later than the armed one needs no new entry: it fires early and arms again, so that an add does not cost
    /// a second write.
    fn arm(&mut self, state: &E::State, version: u64, unsent: Option<UnixMillis>) -> Option<Armed> {
        // What is done elsewhere is looked after, wherever the actor is then.
        let look_after = (E::is_pending(state) && !planted!(NotLookedAfter)).then(|| self.now.plus_ms(LOOK_AFTER_MS));
        let Some(due) = E::wake_at(state).into_iter().chain(look_after).chain(unsent).min() else {
            self.armed = None;
            return None;
        };
        if self.armed.is_some_and(|armed| armed.due <= due) {
            return None;
        }
        // Due work goes into the present: the past's entries are not scanned again.
        let armed = Armed { due: due.max(self.now), version };
        self.armed = Some(armed);
        (!planted!(MarkerNotWritten)).then_some(armed)
    }
}
