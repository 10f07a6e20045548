//! Holds every answer and every committed row against what was asked: the promises, from outside the machine.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    entity::{Ask as Wish, No, TallyEntity, copy},
    store::{Committed, Model},
    world::Broken,
};
use crate::actors::{
    ask::{Effect, Failure},
    durable::Outcome,
};

/// What a client wants, and what it knows of it.
#[derive(Debug)]
struct Op {
    id: u128,
    wish: Wish,
    keyed: bool,
    attempts: u32,
    /// Attempts that ended in `none`.
    none: u32,
    acknowledged: bool,
    refused: bool,
}

/// One asking.
#[derive(Debug)]
struct Attempt {
    /// `None` = a read.
    op: Option<u32>,
    id: u128,
    node: usize,
    life: u32,
    deadline_ms: u64,
    /// Operations of this actor acknowledged before it was asked.
    before: BTreeSet<u32>,
}

/// Everything asked and everything told.
#[derive(Debug)]
pub(super) struct Ledger {
    ops: BTreeMap<u32, Op>,
    open: BTreeMap<u64, Attempt>,
    acknowledged: BTreeMap<u128, BTreeSet<u32>>,
    token_next: u64,
    /// What an answer that is not the newest breaks: the owner's history, or a lease.
    pub(super) staleness_breaks: &'static str,
    /// Whether what happens is told to others.
    pub(super) tells: bool,
    /// How much of each row's history was checked.
    checked: BTreeMap<u128, usize>,
}

/// Attempts of one operation: a client gives up some time.
const ATTEMPTS_MAX: u32 = 6;

impl Default for Ledger {
    fn default() -> Self {
        let (ops, open, acknowledged, checked) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { ops, open, acknowledged, token_next: 0, staleness_breaks: "P2", tells: true, checked }
    }
}

impl Ledger {
    pub(super) fn wish(&mut self, op: u32, id: u128, wish: Wish, keyed: bool) {
        let (attempts, none, acknowledged, refused) = (0, 0, false, false);
        self.ops.insert(op, Op { id, wish, keyed, attempts, none, acknowledged, refused });
    }

    pub(super) fn wanted(&self, op: u32) -> (u128, Wish, bool) {
        let op = &self.ops[&op];
        (op.id, op.wish.clone(), op.keyed)
    }

    /// Only what has a key may be asked again.
    pub(super) fn may_retry(&self, op: u32) -> bool {
        let op = &self.ops[&op];
        op.keyed && op.attempts < ATTEMPTS_MAX
    }

    pub(super) fn attempt(&mut self, op: u32, node: usize, life: u32, deadline_ms: u64) -> u64 {
        let id = self.ops[&op].id;
        if let Some(op) = self.ops.get_mut(&op) {
            op.attempts += 1;
        }
        self.opened(Some(op), id, node, life, deadline_ms)
    }

    pub(super) fn read(&mut self, id: u128, node: usize, life: u32, deadline_ms: u64) -> u64 {
        self.opened(None, id, node, life, deadline_ms)
    }

    fn opened(&mut self, op: Option<u32>, id: u128, node: usize, life: u32, deadline_ms: u64) -> u64 {
        self.token_next += 1;
        // Only reads are held against it; a copy for each command would cost more than the rest of the simulation.
        let before =
            if op.is_none() { self.acknowledged.get(&id).cloned().unwrap_or_default() } else { BTreeSet::new() };
        self.open.insert(self.token_next, Attempt { op, id, node, life, deadline_ms, before });
        self.token_next
    }

    /// The node died: nobody is told. Returns the operations whose askers do not know.
    pub(super) fn crashed(&mut self, node: usize, life: u32) -> Vec<u32> {
        let gone = |attempt: &Attempt| attempt.node == node && attempt.life == life;
        let ops = self.open.values().filter(|attempt| gone(attempt)).filter_map(|attempt| attempt.op).collect();
        self.open.retain(|_, attempt| !gone(attempt));
        ops
    }

    pub(super) fn nobody_waits_past(&self, now_ms: u64, node: usize, life: u32) -> Result<(), Broken> {
        let late = |a: &&Attempt| a.node == node && a.life == life && a.deadline_ms <= now_ms;
        match self.open.values().find(late) {
            Some(attempt) => Err(Broken("P9", format!("{attempt:?} was not answered by its deadline"))),
            None => Ok(()),
        }
    }

    /// One answer. Returns the operation.
    pub(super) fn answered(
        &mut self,
        token: u64,
        outcome: &Outcome<TallyEntity>,
        by_owner: bool,
        model: &Model,
    ) -> Result<Option<u32>, Broken> {
        let Some(attempt) = self.open.remove(&token) else {
            return Err(Broken("P9", format!("token {token} was answered twice")));
        };
        let committed = model.committed(attempt.id);
        match outcome {
            Ok(answer) => {
                let told = &*answer.state;
                if !committed.iter().any(|committed| committed.record.state == *told) {
                    return Err(Broken("P1", format!("{attempt:?} was told {told:?}, which was never committed")));
                }
                if let Some(op) = attempt.op {
                    self.acknowledge(op, answer.outcome, committed)?;
                } else if by_owner && !attempt.before.iter().all(|op| told.ops.contains(op)) {
                    let before = &attempt.before;
                    return Err(Broken(
                        self.staleness_breaks,
                        format!("{told:?} was told as the newest after {before:?} were told"),
                    ));
                } else if by_owner {
                    // Whoever reads next must not see less.
                    self.acknowledged.entry(attempt.id).or_default().extend(&told.ops);
                }
            }
            Err(Failure::Refused(No::Odd(seen))) => {
                // Decided in the middle of a batch, perhaps: but of nothing that could vanish.
                if !committed.last().is_some_and(|head| head.record.state.ops.starts_with(seen)) {
                    return Err(Broken(
                        "P1",
                        format!("{attempt:?} was refused for {seen:?}, which was never committed"),
                    ));
                }
                self.had_no_effect(attempt.op, true);
            }
            Err(Failure::Refused(No::Absent)) => {
                if attempt.op.is_none() && by_owner && !attempt.before.is_empty() {
                    let what = format!("{attempt:?} was told as the newest that it is not there");
                    return Err(Broken(self.staleness_breaks, what));
                }
                self.had_no_effect(attempt.op, true);
            }
            Err(
                Failure::StoreUnavailable(Effect::Unknown)
                | Failure::TimedOut(Effect::Unknown)
                | Failure::Moving(Effect::Unknown)
                | Failure::Internal(Effect::Unknown),
            ) => {}
            Err(_) => self.had_no_effect(attempt.op, false),
        }
        Ok(attempt.op)
    }

    fn acknowledge(&mut self, op: u32, outcome: u32, committed: &[Committed]) -> Result<(), Broken> {
        if outcome != op {
            return Err(Broken("P3", format!("operation {op} was told outcome {outcome}")));
        }
        if !committed.last().is_some_and(|head| head.record.state.ops.contains(&op)) {
            return Err(Broken("P1", format!("operation {op} was acknowledged and is not in the row")));
        }
        if let Some(known) = self.ops.get_mut(&op) {
            known.acknowledged = true;
            self.acknowledged.entry(known.id).or_default().insert(op);
        }
        Ok(())
    }

    fn had_no_effect(&mut self, op: Option<u32>, refused: bool) {
        if let Some(op) = op.and_then(|op| self.ops.get_mut(&op)) {
            op.none += 1;
            op.refused |= refused;
        }
    }

    /// After every step: what was committed since, and every armed timer's agenda entry.
    pub(super) fn check(&mut self, model: &Model) -> Result<(), Broken> {
        for (id, history) in &model.history {
            let checked = self.checked.entry(*id).or_default();
            for at in *checked..history.len() {
                let (row, record) = (&history[at].row, &history[at].record);
                let state = &record.state;
                if row.version != at as u64 + 1 {
                    return Err(Broken("P2", format!("a{id} version {} follows {at} saves", row.version)));
                }
                if at > 0 && !state.ops.starts_with(&history[at - 1].record.state.ops) {
                    return Err(Broken("P2", format!("a{id} version {} does not extend the one before", row.version)));
                }
                let before = if at > 0 { history[at - 1].record.state.ops.len() } else { 0 };
                let told = record.unsent.iter().filter(|event| event.sequence / 1_000_000 == row.version);
                let told = told.map(|event| String::from_utf8_lossy(&event.body).into_owned());
                let happened = state.ops[before..].iter().map(|op| format!(r#"{{"line":"l{op}"}}"#));
                if self.tells && !told.eq(happened) {
                    return Err(Broken("P7", format!("a{id} version {} does not tell what happened", row.version)));
                }
                if state.ops.iter().collect::<BTreeSet<_>>().len() != state.ops.len() {
                    return Err(Broken("P3", format!("a{id} holds an operation twice: {:?}", state.ops)));
                }
                if (state.alarm.is_some() || !state.letters.is_empty() || !record.unsent.is_empty())
                    && record.armed.is_none()
                {
                    return Err(Broken("P10", format!("a{id} version {} has an alarm and no timer", row.version)));
                }
            }
            *checked = history.len();
            let Some(head) = history.last() else { continue };
            if let Some(armed) = head.record.armed
                && !model.agenda.contains(&(armed.due.0, *id, armed.version))
            {
                return Err(Broken("P10", format!("a{id} is armed for {armed:?} without an agenda entry")));
            }
        }
        Ok(())
    }

    /// Once everything has settled.
    pub(super) fn at_the_end(&mut self, model: &Model) -> Result<(), Broken> {
        self.check(model)?;
        if let Some(attempt) = self.open.values().next() {
            return Err(Broken("P9", format!("{attempt:?} was never answered")));
        }
        for (op, known) in &self.ops {
            let ops = model.committed(known.id).last().map(|head| head.record.state.ops.as_slice()).unwrap_or_default();
            let is_there = ops.contains(op);
            if known.acknowledged && !is_there {
                return Err(Broken("P1", format!("operation {op} was acknowledged and is lost")));
            }
            if is_there && known.attempts == known.none {
                return Err(Broken("P2", format!("operation {op} was told to have had no effect, and it had")));
            }
        }
        for (id, history) in &model.history {
            let Some(head) = history.last() else { continue };
            if let Some((op, to)) = head.record.state.letters.first() {
                return Err(Broken("P10", format!("a{id} never learned that {op} was added to a{to}")));
            }
            if let Some(alarm) = head.record.state.alarm {
                return Err(Broken("P10", format!("a{id}'s alarm of {alarm:?} never rang")));
            }
        }
        for (op, known) in &self.ops {
            let Wish::Send(_, to) = &known.wish else { continue };
            let holds = |id: &u128, op: &u32| {
                model.committed(*id).last().is_some_and(|head| head.record.state.ops.contains(op))
            };
            if holds(&known.id, op) != holds(to, &copy(*op)) {
                return Err(Broken("P10", format!("operation {op} is in a{} and a{to} not alike", known.id)));
            }
        }
        let left: Vec<_> = model.agenda.iter().filter(|(_, id, _)| !model.committed(*id).is_empty()).collect();
        if !left.is_empty() {
            return Err(Broken("P10", format!("agenda entries that nobody needs are left: {left:?}")));
        }
        Ok(())
    }
}
