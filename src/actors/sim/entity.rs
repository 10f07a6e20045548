//! The actor that is simulated: a tally of numbers and an alarm. Small, so that what an answer tells can be compared with
//! what the store committed.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    actors::durable::Entity,
    codec::record::{Armed, Receipt, Record, Unsent},
    domain::{Context, UnixMillis, cart::LineId},
    events::Data,
    store::Kind,
};

/// What a tally is: every number added, in order, and what its alarm did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::actors) struct Tally {
    pub(in crate::actors) ops: Vec<u32>,
    pub(super) alarm: Option<UnixMillis>,
    /// What must still be added to other tallies, and to which.
    pub(in crate::actors) letters: Vec<(u32, u128)>,
    /// How often the alarm rang.
    pub(super) rings: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Ask {
    /// Add a number.
    Add(u32),
    /// Add a number if the tally's length is even; the refusal tells what was seen.
    AddIfEven(u32),
    /// Ring this many milliseconds from now.
    Arm(u32, u64),
    /// Add a number here, and its [`copy`] to another tally.
    Send(u32, u128),
    /// Add a number unless it is there: another tally sent it.
    Receive(u32),
    /// The number was added there.
    Sent(u32),
    /// Panic.
    Panic,
}

/// The number that a tally adds when another sends it this one.
pub(super) const fn copy(op: u32) -> u32 {
    op | 1 << 31
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Happened {
    Added(u32),
    Armed(u32, UnixMillis),
    Rang,
    Written(u32, u128),
    Arrived(u32),
}

/// The refusal tells a state, which must not vanish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) enum No {
    Absent,
    Odd(Vec<u32>),
}

#[derive(Debug)]
pub(in crate::actors) struct TallyEntity;

/// What `Panic` panics with: the test's hook keeps quiet about it.
pub(super) const PLANNED_PANIC: &str = "a panic that the simulation asked for";

impl Entity for TallyEntity {
    const KIND: Kind = Kind::Cart;
    const SCHEMA_V: u16 = 1;
    type State = Tally;
    type Command = Ask;
    type Event = Happened;
    type Refusal = No;
    type Step = u32;
    /// What is added, and to which tally.
    type Call = (u32, u128);
    type Done = ();
    type Glimpse = ();

    fn decide(state: Option<&Tally>, command: &Ask, context: &Context) -> Result<Vec<Happened>, No> {
        match command {
            Ask::Add(op) => Ok(vec![Happened::Added(*op)]),
            Ask::AddIfEven(op) => {
                let state = state.ok_or(No::Absent)?;
                if state.ops.len() % 2 == 0 { Ok(vec![Happened::Added(*op)]) } else { Err(No::Odd(state.ops.clone())) }
            }
            Ask::Arm(_, 0) => Ok(if state.is_some_and(|tally| tally.alarm.is_some_and(|at| at <= context.now)) {
                vec![Happened::Rang]
            } else {
                vec![]
            }),
            Ask::Arm(op, after_ms) => Ok(vec![Happened::Armed(*op, context.now.plus_ms(*after_ms))]),
            Ask::Send(op, to) => Ok(vec![Happened::Written(*op, *to)]),
            Ask::Receive(op) => {
                let is_there = state.is_some_and(|tally| tally.ops.contains(op));
                Ok(if is_there { vec![] } else { vec![Happened::Added(*op)] })
            }
            Ask::Sent(op) => {
                let is_open = state.is_some_and(|tally| tally.letters.iter().any(|(letter, _)| letter == op));
                Ok(if is_open { vec![Happened::Arrived(*op)] } else { vec![] })
            }
            Ask::Panic => std::panic::panic_any(PLANNED_PANIC),
        }
    }

    fn evolve(state: &mut Option<Tally>, event: &Happened) {
        let tally = state.get_or_insert_default();
        match event {
            Happened::Added(op) => tally.ops.push(*op),
            Happened::Armed(op, at) => {
                tally.ops.push(*op);
                tally.alarm = Some(*at);
            }
            Happened::Written(op, to) => {
                tally.ops.push(*op);
                tally.letters.push((*op, *to));
            }
            Happened::Arrived(op) => tally.letters.retain(|(letter, _)| letter != op),
            Happened::Rang => {
                tally.alarm = None;
                tally.rings += 1;
            }
        }
    }

    /// Some of these are right, and most are wrong.
    fn is_birth(command: &Ask) -> bool {
        matches!(command, Ask::Arm(op, _) | Ask::Send(op, _) if op % 3 == 0)
    }

    fn outcome(command: &Ask, _: Option<&Tally>) -> u32 {
        match command {
            Ask::Add(op) | Ask::AddIfEven(op) | Ask::Arm(op, _) | Ask::Send(op, _) => *op,
            Ask::Receive(_) | Ask::Sent(_) | Ask::Panic => 0,
        }
    }

    fn absent() -> No {
        No::Absent
    }

    fn wake_at(state: &Tally) -> Option<UnixMillis> {
        state.alarm
    }

    fn on_wake() -> Ask {
        Ask::Arm(0, 0)
    }

    fn is_pending(tally: &Tally) -> bool {
        !tally.letters.is_empty()
    }

    fn pending(tally: &Tally) -> Vec<(u32, (u32, u128))> {
        tally.letters.iter().map(|(op, to)| (*op, (*op, *to))).collect()
    }

    fn on_done(op: u32, (): (), _: bool) -> Ask {
        Ask::Sent(op)
    }

    fn glimpse(_: Option<&Tally>, _: &Happened) {}

    fn tell(event: &Happened, (): (), _: Option<&Tally>, told: &mut Vec<Data>) {
        if let Happened::Added(op) | Happened::Armed(op, _) | Happened::Written(op, _) = event {
            told.push(Data::CartLineRemoved { line: LineId(*op) });
        }
    }

    fn ttl_s(_: &Tally) -> Option<u32> {
        None
    }

    fn weight_bytes(_: &Tally) -> usize {
        0
    }

    fn encode(record: &Record<Arc<Tally>>) -> Result<Bytes, String> {
        let mut words: Vec<u128> = vec![u128::from(record.epoch), record.op_id];
        let tally = &record.state;
        words.push(tally.ops.len() as u128);
        words.extend(tally.ops.iter().map(|op| u128::from(*op)));
        words.extend([tally.alarm.map_or(u128::MAX, |at| u128::from(at.0)), u128::from(tally.rings)]);
        words.push(tally.letters.len() as u128);
        words.extend(tally.letters.iter().flat_map(|(op, to)| [u128::from(*op), *to]));
        words.push(record.receipts.len() as u128);
        for receipt in &record.receipts {
            words.extend([receipt.key, receipt.request, u128::from(receipt.at.0), u128::from(receipt.outcome)]);
        }
        let armed = record.armed.map_or([u128::MAX, 0], |armed| [u128::from(armed.due.0), u128::from(armed.version)]);
        words.extend(armed);
        words.push(record.unsent.len() as u128);
        for event in &record.unsent {
            words.extend([u128::from(event.sequence), u128::from(event.kind), u128::from(event.at.0)]);
            words.push(event.body.len() as u128);
            words.extend(event.body.iter().map(|byte| u128::from(*byte)));
        }
        Ok(words.into_iter().flat_map(u128::to_le_bytes).collect())
    }

    fn decode(bytes: &[u8]) -> Result<Record<Tally>, String> {
        let mut words = bytes.chunks_exact(16).map(|word| u128::from_le_bytes(word.try_into().unwrap_or_default()));
        let mut next = || words.next().ok_or_else(|| "cut off".to_owned());
        let (epoch, op_id) = (next()? as u64, next()?);
        let count = next()?;
        let ops = (0..count).map(|_| next().map(|op| op as u32)).collect::<Result<_, _>>()?;
        let alarm = Some(next()?).filter(|at| *at != u128::MAX).map(|at| UnixMillis(at as u64));
        let rings = next()? as u32;
        let count = next()?;
        let letters = (0..count).map(|_| Ok::<_, String>((next()? as u32, next()?))).collect::<Result<_, _>>()?;
        let count = next()?;
        let receipt = |next: &mut dyn FnMut() -> Result<u128, String>| {
            let (key, request) = (next()?, next()?);
            Ok::<_, String>(Receipt { key, request, at: UnixMillis(next()? as u64), outcome: next()? as u32 })
        };
        let receipts = (0..count).map(|_| receipt(&mut next)).collect::<Result<_, _>>()?;
        let (due, version) = (next()?, next()? as u64);
        let armed = (due != u128::MAX).then_some(Armed { due: UnixMillis(due as u64), version });
        let unsent = |next: &mut dyn FnMut() -> Result<u128, String>| {
            let (sequence, kind, at, length) = (next()? as u64, next()? as u16, next()? as u64, next()?);
            let body = (0..length).map(|_| next().map(|byte| byte as u8)).collect::<Result<_, _>>()?;
            Ok::<_, String>(Unsent { sequence, kind, at: UnixMillis(at), body })
        };
        let count = next()?;
        let unsent = (0..count).map(|_| unsent(&mut next)).collect::<Result<_, _>>()?;
        let state = Tally { ops, alarm, letters, rings };
        Ok(Record { epoch, op_id, state, receipts, unsent, armed })
    }
}
