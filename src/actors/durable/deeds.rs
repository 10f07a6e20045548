//! What a committed state needs done elsewhere: begun once it is committed, tried again until the state shows that it was
//! done.
//!
//! Nothing of it is stored: the state says what is pending, and whoever loads the row finds it again. An agenda entry sees
//! to it that somebody loads it.

use super::{Again, Durable, Entity, Note, Output, Phase, Surroundings, Token, Waiting, Work, planted::planted};
use crate::domain::Try;

/// An actor that still needs something done elsewhere is woken after so long, wherever it is then: longer than most deeds
/// take, so that they cost no entry of their own more than once.
pub(super) const LOOK_AFTER_MS: u64 = 5_000;
/// First pause before a deed is tried again; doubles to [`AGAIN_AFTER_MAX_MS`].
const AGAIN_AFTER_MIN_MS: u64 = 100;
/// Longest pause between two attempts: what is away is seen to be back within this time.
const AGAIN_AFTER_MAX_MS: u64 = 5_000;
/// Most deeds that one actor has out at once: as many as a purchase has lines and codes, and as many again.
const OUT_MAX: usize = 256;
/// How long the answer to one deed waits for those of others that are out: what is begun together is mostly answered
/// together, and then costs one save. Shorter than a save on a database takes.
const SIBLINGS_MS: u64 = 5;

/// What is being done elsewhere; nothing for nearly every actor, which then holds a word and no more.
#[derive(Debug)]
pub(super) struct Deeds<S>(Option<Box<Out<S>>>);

#[derive(Debug)]
struct Out<S> {
    begun: Vec<Deed<S>>,
    /// The committed state may need other deeds than those begun.
    changed: bool,
    /// The state was read: whoever wrote it may have begun what it needs.
    inherits: bool,
}

#[derive(Debug)]
struct Deed<S> {
    step: S,
    number: u128,
    attempts: u32,
    /// An earlier life of this actor, on whichever node, may have begun it too.
    inherited: bool,
    /// When to try again; `None` = it is out.
    again_at_ms: Option<u64>,
    /// It was answered for good. Until the save behind which that waits is over, to begin it again would be to forget it.
    answered: bool,
}

impl<S> Default for Deeds<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S> Default for Out<S> {
    fn default() -> Self {
        Self { begun: Vec::new(), changed: false, inherits: false }
    }
}

impl<S> Deeds<S> {
    /// The committed state is another, which needs something done or not.
    pub(super) fn look(&mut self, is_pending: bool) {
        if is_pending || self.0.is_some() {
            self.0.get_or_insert_default().changed = true;
        }
    }

    /// The committed state is another, and was read from the store.
    pub(super) fn inherit(&mut self, is_pending: bool) {
        self.look(is_pending);
        if let Some(out) = &mut self.0 {
            out.inherits = true;
            out.begun.iter_mut().for_each(|deed| deed.inherited = true);
        }
    }

    /// Another actor asks for this one's birth, and may have asked an earlier life, of which nothing is left but what it
    /// began.
    pub(super) fn born(&mut self, nth: Option<Try>, is_pending: bool) {
        if nth == Some(Try::Again) && !planted!(BirthTakenForFirst) {
            self.inherit(is_pending);
        } else {
            self.look(is_pending);
        }
    }

    /// Whether anything is out. What only waits for its next attempt needs nobody in memory: its agenda entry remembers.
    pub(super) fn any_out(&self) -> bool {
        self.0.as_ref().is_some_and(|out| out.begun.iter().any(|deed| deed.again_at_ms.is_none()))
    }

    /// Finds what is to be tried again; returns when the next one is.
    pub(super) fn tick(&mut self, now_ms: u64) -> u64 {
        let Some(out) = &mut self.0 else { return u64::MAX };
        let times = || out.begun.iter().filter_map(|deed| deed.again_at_ms);
        let is_due = times().any(|at_ms| at_ms <= now_ms);
        let next_ms = times().filter(|at_ms| *at_ms > now_ms).min().unwrap_or(u64::MAX);
        out.changed |= is_due;
        next_ms
    }
}

impl<E: Entity, T: Token> Durable<E, T> {
    /// Begins what the committed state needs and is not begun; lets go of what it needs no more.
    pub(super) fn perform(
        &mut self,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output<E, T>>,
    ) {
        if planted!(PerformedBeforeSave) {
            self.deeds.look(true);
        }
        let Some(deeds) = self.deeds.0.as_mut().filter(|deeds| deeds.changed) else { return };
        // A row that is loaded and not claimed may be another's by now.
        let is_saving = matches!(self.phase, Phase::Saving { .. });
        let (state, is_being_born) = match &self.phase {
            Phase::Ready(committed) if committed.record.epoch >= around.fence => (&committed.record.state, false),
            Phase::Saving { flight, .. } if planted!(PerformedBeforeSave) => (&flight.next.record.state, false),
            Phase::Saving { shown: Some(committed), .. } => (&committed.record.state, false),
            Phase::Saving { flight, .. } if flight.is_first_birth => (&flight.next.record.state, true),
            // Looked at again once there is a committed state.
            _ => return,
        };
        deeds.changed = false;
        let inherited = std::mem::take(&mut deeds.inherits);
        let mut pending = E::pending(state);
        if pending.is_empty() {
            self.deeds.0 = None;
            return;
        }
        if is_being_born {
            pending.retain(|(step, _)| E::begins_with_birth(*step));
        }
        let begun = &mut deeds.begun;
        begun.retain(|deed| pending.iter().any(|(step, _)| *step == deed.step));
        let mut next_ms = u64::MAX;
        for (step, call) in pending {
            let Some(deed) = begun.iter_mut().find(|deed| deed.step == step) else {
                if begun.len() < OUT_MAX {
                    let number = op_id();
                    begun.push(Deed { step, number, attempts: 0, inherited, again_at_ms: None, answered: false });
                    out.push(Output::Perform { number, call, nth: if inherited { Try::Again } else { Try::First } });
                }
                continue;
            };
            match deed.again_at_ms {
                // Looked at again when the save is over.
                Some(_) if deed.answered && is_saving => {}
                Some(at_ms) if at_ms <= around.mono_ms => {
                    deed.number = op_id();
                    deed.again_at_ms = None;
                    deed.answered = false;
                    out.push(Output::Perform { number: deed.number, call, nth: Try::Again });
                }
                Some(at_ms) => next_ms = next_ms.min(at_ms),
                None => {}
            }
        }
        if next_ms != u64::MAX {
            self.tick_by(next_ms, out);
        }
    }

    /// Whether all that waits are answers to deeds, and others may follow at once.
    pub(super) fn awaits_siblings(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) -> bool {
        let Some(first) = self.waiting.first() else { return false };
        let until_ms = first.since_ms.saturating_add(SIBLINGS_MS);
        let is_answer = |waiting: &Waiting<E, T>| matches!(waiting.work, Work::Done(_));
        let waits = around.mono_ms < until_ms && self.deeds.any_out() && self.waiting.iter().all(is_answer);
        if waits {
            self.tick_by(until_ms, out);
        }
        waits
    }

    /// A deed ended. Whatever came of it, it is tried again later unless the state shows by then that it was done.
    pub(super) fn performed(
        &mut self,
        number: u128,
        result: Result<E::Done, Again>,
        around: &Surroundings,
        out: &mut Vec<Output<E, T>>,
    ) {
        let is_it = |deed: &&mut Deed<E::Step>| deed.number == number && deed.again_at_ms.is_none();
        let Some(deed) = self.deeds.0.iter_mut().flat_map(|deeds| &mut deeds.begun).find(is_it) else {
            return; // of an earlier life, or needed no more
        };
        let pause_ms = match result {
            Ok(_) => AGAIN_AFTER_MAX_MS,
            Err(Again) => AGAIN_AFTER_MIN_MS.saturating_mul(1 << deed.attempts.min(8)).min(AGAIN_AFTER_MAX_MS),
        };
        let at_ms = around.mono_ms.saturating_add(pause_ms);
        deed.again_at_ms = Some(at_ms);
        deed.answered = result.is_ok();
        let once = (deed.attempts == 0 && !deed.inherited) || planted!(OnceAssumed);
        deed.attempts = deed.attempts.saturating_add(1);
        let step = deed.step;
        self.tick_by(at_ms, out);
        match result {
            Ok(done) => {
                let work = Work::Done(E::on_done(step, done, once));
                let since_ms = around.mono_ms;
                self.admit(Waiting { work, covered: false, since_ms, deadline_ms: u64::MAX }, around, out);
                // Another deed may have its turn.
                self.deeds.look(true);
            }
            Err(Again) => {
                if planted!(DeedGivenUp) {
                    let begun = self.deeds.0.iter_mut().flat_map(|deeds| &mut deeds.begun);
                    begun.for_each(|deed| deed.again_at_ms = Some(u64::MAX));
                }
                out.push(Output::Note(Note::TriedAgain));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{Durable, Input, Output, Surroundings},
        SIBLINGS_MS,
    };
    use crate::{
        actors::{
            ask::Ask as Asked,
            sim::entity::{Ask, TallyEntity},
        },
        domain::UnixMillis,
        store::Saved,
    };

    type Out = Output<TallyEntity, u32>;

    struct Bench {
        machine: Durable<TallyEntity, u32>,
        around: Surroundings,
        op_id: u128,
    }

    impl Bench {
        fn step(&mut self, input: Input<TallyEntity, u32>) -> Vec<Out> {
            let (next, mut out) = (&mut self.op_id, Vec::new());
            let mut op_id = || {
                *next += 1;
                *next
            };
            self.machine.step(input, &self.around, &mut op_id, &mut out);
            out
        }

        /// With two deeds out at once; returns their numbers.
        fn with_two_out() -> (Self, [u128; 2]) {
            let around = Surroundings {
                wall: UnixMillis(1_000),
                mono_ms: 1_000,
                epoch: 5,
                fence: 5,
                expire_after_ms: 1,
                emits: false,
            };
            let mut bench = Self { machine: Durable::default(), around, op_id: 0 };
            let mut out = Vec::new();
            for (token, op) in [(1, 11), (2, 12)] {
                let (command, timeout) = (Ask::Send(op, 9), Duration::from_secs(3));
                let ask = Asked { command, by: None, if_revision: None, key: None, timeout, deed: None };
                out.extend(bench.step(Input::Ask { ask, since_ms: 1_000, token }));
            }
            let load =
                out.iter().find_map(|output| if let Out::Load { number, .. } = output { Some(*number) } else { None });
            let out = bench.step(Input::Loaded(load.unwrap(), Ok(None)));
            let out = bench.step(Input::Saved(saved(&out).unwrap(), Saved::Applied));
            let numbers: Vec<_> = out
                .iter()
                .filter_map(|output| if let Out::Perform { number, .. } = output { Some(*number) } else { None })
                .collect();
            (bench, numbers.try_into().unwrap())
        }
    }

    /// The save that was sent, if one was.
    fn saved(out: &[Out]) -> Option<u128> {
        out.iter().find_map(|output| if let Out::Save(order) = output { Some(order.row.op_id) } else { None })
    }

    #[test]
    fn answers_to_deeds_that_were_begun_together_share_a_save() {
        let (mut bench, [one, two]) = Bench::with_two_out();
        assert_eq!(saved(&bench.step(Input::Performed(one, Ok(())))), None, "its sibling may follow at once");
        let save = saved(&bench.step(Input::Performed(two, Ok(())))).expect("both are answered");
        bench.step(Input::Saved(save, Saved::Applied));
        assert!(bench.machine.committed().unwrap().letters.is_empty());
    }

    #[test]
    fn an_answer_does_not_wait_for_long_and_nobody_waits_for_answers() {
        let (mut bench, [one, _]) = Bench::with_two_out();
        let out = bench.step(Input::Performed(one, Ok(())));
        let wakes = |output: &Out| matches!(output, Out::WakeAt(at_ms) if *at_ms <= 1_000 + SIBLINGS_MS);
        assert!(saved(&out).is_none() && out.iter().any(wakes));
        bench.around.mono_ms += SIBLINGS_MS;
        assert!(saved(&bench.step(Input::Tick)).is_some(), "the other takes longer");

        let (mut bench, [one, _]) = Bench::with_two_out();
        bench.step(Input::Performed(one, Ok(())));
        let (command, timeout) = (Ask::Add(3), Duration::from_secs(3));
        let ask = Asked { command, by: None, if_revision: None, key: None, timeout, deed: None };
        let out = bench.step(Input::Ask { ask, since_ms: 1_000, token: 3 });
        assert!(saved(&out).is_some(), "a shopper waits for no deed");
    }
}
