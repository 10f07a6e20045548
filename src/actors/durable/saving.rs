//! A save in flight: who rides in it, and what each of its ends means for them.

use std::sync::Arc;

use thin_vec::ThinVec;

use super::{
    Committed, Deeds, Durable, Entity, Note, Outbox, Output, Phase, Rider, SaveOrder, Surroundings, Token, Waiting,
    Work, planted::planted, release, reply,
};
use crate::{
    actors::ask::{Effect, Failure},
    codec::record::Armed,
    domain::Try,
    store::Saved,
};

/// First pause before a save of unknown outcome is sent again; doubles to [`RESEND_AFTER_MAX_MS`].
pub(super) const RESEND_AFTER_MIN_MS: u64 = 50;
/// Longest pause between two identical saves: recovery within 2 s of the store's return needs less.
pub(super) const RESEND_AFTER_MAX_MS: u64 = 1_000;

/// A save without an answer for so long counts as one of unknown outcome: no disk or database that is well needs it.
pub(super) const ANSWER_AFTER_MAX_MS: u64 = 10_000;

/// A save in flight and those who ride in it.
#[derive(Debug)]
pub(super) struct Flight<E: Entity, T> {
    pub(super) order: SaveOrder,
    pub(super) next: Committed<E::State>,
    pub(super) riders: Vec<Rider<E, T>>,
    /// Agenda entries to delete once this is committed.
    pub(super) unmark: Vec<Armed>,
    /// An attempt's outcome was unknown: it may land at any time.
    pub(super) unsettled: bool,
    /// The store has said since that it takes no writes: nobody needs to wait for what may take long.
    pub(super) refused: bool,
    pub(super) attempts: u32,
    pub(super) sent_ms: u64,
    /// It makes an actor, for another that asks for the first time.
    pub(super) is_first_birth: bool,
    /// Watchers may be told of it already.
    pub(super) is_foretold: bool,
    /// When to send it again; `None` = an attempt is out.
    pub(super) resend_at_ms: Option<u64>,
}

impl<E: Entity, T: Token> Durable<E, T> {
    pub(super) fn saved(&mut self, id: u128, saved: Saved, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { flight, .. } = &mut self.phase else { return };
        if flight.order.row.op_id != id {
            return; // of a life before a crash or a fence
        }
        if flight.unsettled
            && let Some(how) = settled(&saved, id)
        {
            out.push(Output::Note(Note::Settled(how)));
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
                flight.refused = false;
                flight.pause(around, out);
            }
            Saved::Refused(_) if flight.unsettled => {
                flight.refused = true;
                flight.pause(around, out);
                self.refuse_waiting(out);
            }
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
        self.deeds.look(E::is_pending(&next.record.state));
        self.phase = Phase::Ready(next);
    }

    /// The save is lost: load again and decide its riders again, save those who cannot be told.
    fn decide_again(&mut self, certainly_lost: bool, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        out.push(Output::Retracted);
        self.doubt = true;
        if flight.is_first_birth {
            self.forget_begun();
        }
        let mut again = ThinVec::with_capacity(flight.riders.len() + self.waiting.len());
        for Rider { mut waiting, verdict } in flight.riders {
            if planted!(UntoldWhenDoneAgain) {
                waiting.since_ms = 0; // known again by that
            }
            // What came of a deed is told until the state shows it.
            let repeats = waiting.work.is_own() || matches!(&waiting.work, Work::Ask(ask, _) if ask.key.is_some());
            if certainly_lost || repeats || !verdict.has_effect() {
                again.push(waiting);
            } else {
                reply(waiting.work, Failure::StoreUnavailable(Effect::Unknown), out);
            }
        }
        again.append(&mut self.waiting);
        self.waiting = again;
    }

    /// What was begun with a birth that did not come about is another life's now: it begins it again, and knows that it
    /// may have been.
    fn forget_begun(&mut self) {
        self.deeds = Deeds::default();
        self.waiting.retain(|waiting| !matches!(waiting.work, Work::Done(_)));
    }

    /// The store took nothing, and never will: back to what is committed.
    fn refuse_flight(&mut self, out: &mut Vec<Output<E, T>>) {
        let Phase::Saving { shown, flight } = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        let Flight { riders, is_foretold, .. } = *flight;
        for rider in riders {
            reply(rider.waiting.work, Failure::StoreUnavailable(Effect::None), out);
        }
        match shown {
            Some(committed) => {
                if is_foretold {
                    // It has not come about: whoever follows from now on is told what is.
                    out.push(Output::Committed(Arc::clone(&committed.record.state)));
                }
                // Answers to deeds rode in it: those are due again.
                self.deeds.look(E::is_pending(&committed.record.state));
                self.phase = Phase::Ready(committed);
            }
            // Who waits would only be refused in turn, each after a load of its own.
            None => {
                self.forget_begun();
                self.fail_waiting(&Failure::StoreUnavailable(Effect::None), out);
            }
        }
    }

    /// The store takes no writes, and whether it took the save that is out is not known: who waits behind it is told at
    /// once. The clock's own work waits on.
    fn refuse_waiting(&mut self, out: &mut Vec<Output<E, T>>) {
        let is_asked = |waiting: &mut Waiting<E, T>| !waiting.work.is_own();
        let refused: Vec<_> = self.waiting.extract_if(.., is_asked).collect();
        for waiting in refused {
            let effect = self.effect_of(&waiting.work);
            reply(waiting.work, Failure::StoreUnavailable(effect), out);
        }
    }

    /// A newer owner exists. Who waits was never part of a save, save one who repeats what rides; who rode in one that may
    /// have landed is not told no.
    pub(super) fn fenced(&mut self, out: &mut Vec<Output<E, T>>) {
        out.push(Output::Retracted);
        let waits = self.failed_waits(&Failure::NotOwner);
        if let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) {
            for Rider { waiting, verdict } in flight.riders {
                let failure =
                    if verdict.has_effect() { Failure::StoreUnavailable(Effect::Unknown) } else { Failure::NotOwner };
                reply(waiting.work, failure, out);
            }
        }
        for (work, failure) in waits {
            reply(work, failure, out);
        }
        self.deeds = Deeds::default();
        self.outbox = Outbox::default();
        out.push(Output::Fenced);
    }

    /// Ends everything at once because the shard moves or stops: nothing that waits had any effect.
    pub fn abandon(&mut self, failure: &Failure<E::Refusal>, out: &mut Vec<Output<E, T>>) {
        let waits = self.failed_waits(failure);
        if let Phase::Saving { flight, .. } = std::mem::replace(&mut self.phase, Phase::Cold) {
            for Rider { waiting, verdict } in flight.riders {
                let unknown = Failure::StoreUnavailable(Effect::Unknown);
                reply(waiting.work, if verdict.has_effect() { unknown } else { failure.clone() }, out);
            }
        }
        for (work, failure) in waits {
            reply(work, failure, out);
        }
        self.deeds = Deeds::default();
        self.outbox = Outbox::default();
    }
}

impl<E: Entity, T: Token> Flight<E, T> {
    /// What a command that waits behind this save may have done: one whose key is in it may be a repetition of one that
    /// rides.
    pub(super) fn effect_of(&self, work: &Work<E, T>) -> Effect {
        let key = if let Work::Ask(ask, _) = work { ask.key } else { None };
        let is_in_it = key.is_some_and(|key| self.next.record.receipts.iter().any(|receipt| receipt.key == key.key));
        if is_in_it { Effect::Unknown } else { Effect::None }
    }

    /// Which attempt of another actor made this one, if one did.
    pub(super) fn born_for(&self) -> Option<Try> {
        let asked = self.riders.iter().find_map(|rider| match &rider.waiting.work {
            Work::Ask(ask, _) if rider.verdict.has_effect() => Some(ask),
            _ => None,
        });
        asked.and_then(|ask| ask.deed)
    }

    /// When the store must have answered; `None` = it has, or it is late already.
    pub(super) fn answer_by_ms(&self) -> Option<u64> {
        (!self.unsettled).then_some(self.sent_ms.saturating_add(ANSWER_AFTER_MAX_MS))
    }

    /// Waits a little longer each time, then the very same save again.
    fn pause(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        let after_ms = RESEND_AFTER_MIN_MS.saturating_mul(1 << self.attempts.min(8)).min(RESEND_AFTER_MAX_MS);
        self.attempts = self.attempts.saturating_add(1);
        let at_ms = around.mono_ms + after_ms;
        self.resend_at_ms = Some(at_ms);
        out.push(Output::WakeAt(at_ms));
    }
}

/// How a save whose outcome was unknown turned out; `None` = it is not known yet.
fn settled(saved: &Saved, op_id: u128) -> Option<&'static str> {
    match saved {
        Saved::Applied => Some("applied"),
        Saved::Lost(Some(head)) if head.op_id == op_id => Some("landed"),
        Saved::Lost(_) => Some("lost"),
        Saved::Unknown(_) | Saved::Refused(_) => None,
    }
}
