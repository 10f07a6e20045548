//! What goes into the machine and what comes out: inputs, outputs, and what an actor kind must say for itself.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    actors::ask::{Answer, Ask, Failure},
    codec::record::{Armed, Record, Unsent},
    domain::{Context, Try, UnixMillis},
    events::Data,
    store::{Expect, Haste, IndexEntry, Kind, Reason, Row, Saved},
};

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
    /// Names one deed that a state still needs done elsewhere.
    type Step: Copy + PartialEq + fmt::Debug + Send + 'static;
    /// What is to be done: another actor's command, a payment.
    type Call: Clone + fmt::Debug + Send + 'static;
    /// What came of it, for good.
    type Done: fmt::Debug + Send + 'static;
    /// What must be known of a state from before an event to tell others of it: small, where a state is not.
    type Glimpse;

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
    /// Whether the command makes an actor whose name was minted for it, so that there is almost never one: it is then not
    /// looked for. That there is none is what the save expects, so a wrong guess costs a save and no more.
    fn is_birth(_: &Self::Command) -> bool {
        false
    }
    /// Whether the deed may begin while the birth that needs it is being saved, where another actor's row remembers to
    /// make this one, and asks for it for the first time: it is then as good as needed by a committed state.
    fn begins_with_birth(_: Self::Step) -> bool {
        false
    }
    /// Whether what is new in the later state is that others have done something, which their rows tell already, and nothing
    /// that clients see: those who follow the actor may be told of it while it is being saved.
    fn is_foretold(_before: &Self::State, _after: &Self::State) -> bool {
        false
    }
    /// Whether nobody waits for what the command does: its save may then ride with others'. Whoever comes meanwhile waits for
    /// it, for some milliseconds at most.
    fn can_wait(_: &Self::Command) -> bool {
        false
    }
    /// What a command that was accepted did, as the receipt keeps it; `state` is what it led to.
    fn outcome(command: &Self::Command, state: Option<&Self::State>) -> u32;
    /// What to say of an actor that is not there.
    fn absent() -> Self::Refusal;
    /// When the clock must next do something.
    fn wake_at(state: &Self::State) -> Option<UnixMillis>;
    /// What the clock then asks.
    fn on_wake() -> Self::Command;
    /// Whether anything must still be done elsewhere.
    fn is_pending(state: &Self::State) -> bool;
    /// What must still be done elsewhere: pure, so that whoever loads the row finds it again. It is done at least once, and
    /// may be done late: the same step of the same state must always be the same deed.
    fn pending(state: &Self::State) -> Vec<(Self::Step, Self::Call)>;
    /// What the actor is told once it was done; on a state that needs it no more, it changes nothing. `once` = it was asked
    /// for once and answered, by nobody else and at no other time: no second request for it is on its way anywhere.
    fn on_done(step: Self::Step, done: Self::Done, once: bool) -> Self::Command;
    /// Looks at the state before `event` is folded into it; asked only where somebody wants to be told.
    fn glimpse(state: Option<&Self::State>, event: &Self::Event) -> Self::Glimpse;
    /// Adds what others are told of `event` to what they are told of the same command's earlier ones. Pure.
    fn tell(event: &Self::Event, before: Self::Glimpse, after: Option<&Self::State>, told: &mut Vec<Data>);
    /// Seconds until the store may forget a finished actor; `None` = not finished.
    fn ttl_s(state: &Self::State) -> Option<u32>;
    /// Entries by which a new actor is found in lists.
    fn listed(_: &Self::State) -> Vec<IndexEntry> {
        Vec::new()
    }
    /// What a state costs in memory, estimated.
    fn weight_bytes(state: &Self::State) -> usize;
    /// Newest version of the bytes that [`Entity::encode`] makes; a row says which its own are.
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
    /// Whether anybody wants to be told what happened: else no event is made.
    pub emits: bool,
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
    /// The deed of this number was done, or must be tried again.
    Performed(u128, Result<E::Done, Again>),
    /// What was offered by `Publish` ended.
    Published {
        /// Which offer: its last event.
        up_to: u64,
        /// `true` = nobody needs these events any more, `false` = offer them again later.
        published: bool,
    },
    /// A moment asked for by `WakeAt` has come.
    Tick,
}

/// A deed could not be done, or nobody knows whether it was: the same again, later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again;

/// A save, complete: sending it again is sending the very same.
#[derive(Clone, Debug)]
pub struct SaveOrder {
    /// What it expects to find.
    pub expect: Expect,
    /// What it writes.
    pub row: Row,
    /// The agenda entry that must be there no later than the row.
    pub arm: Option<Armed>,
    /// Committed events that the row has no room for any more: in the index no later than the row. There they are
    /// delivered from, so that none that is not committed may be among them.
    pub spill: Box<[Unsent]>,
    /// Entries by which it is found, that must be there no later than a new row; superfluous ones are harmless.
    pub listed: Vec<IndexEntry>,
    /// How many commands ride in it.
    pub riders: usize,
    /// Whether any of them waits for it.
    pub haste: Haste,
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
    /// This state is being saved, and may be told to watchers: what is new in it is in other actors' rows.
    Foretold(Arc<E::State>),
    /// Nothing may be shown to readers any more.
    Retracted,
    /// Do this elsewhere, and tell what came of it.
    Perform {
        /// Comes back with the result: one of an earlier life is told apart.
        number: u128,
        /// What is to be done.
        call: E::Call,
        /// Which attempt it is.
        nth: Try,
    },
    /// Offer these committed events to the sinks, and tell what became of it.
    Publish {
        /// Names the offer: its last event.
        up_to: u64,
        /// In order.
        events: Vec<Unsent>,
        /// Whether older ones were spilled, and come first.
        spilled: bool,
    },
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
    /// A save of unknown outcome turned out so: `applied` by a later attempt, `landed` by an earlier one, or `lost`.
    Settled(&'static str),
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
    /// A deed must be tried again.
    TriedAgain,
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
    /// Events that are not known to be with every sink.
    pub unsent: usize,
    /// Panics within the last minute.
    pub panics: usize,
}
