//! A shard: one ractor actor that hosts the durable actors of a range of slots.
//!
//! It owns the timers and the agenda scan of its actors and nothing that waits: loads, saves and scans are spawned and
//! come back as messages.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use super::{
    agenda,
    durable::Surroundings,
    hands::Hands,
    journey::Entrance,
    kinds::{self, Addressed, Kinds, Shows},
    residents::{Aftermath, Ground, Queue},
    system::{Options, Settled},
};
use crate::{
    domain::{ShardId, UnixMillis},
    store::{IndexEntry, Kind, Reason, Store},
    telemetry::{clock, metrics::metrics},
};

/// Agenda entries taken up per scan: paces a shard that comes back after a long time (one scan every two seconds).
const AGENDA_PAGE: usize = 256;
/// How far the low mark stays behind the clock: covers clocks that differ and saves on their way.
const LOW_MARK_LAG_MS: u64 = 2 * 60 * 1000;
/// How far back a shard looks whose low mark is lost: no timer is armed further ahead than this.
const LOOK_BACK_BUCKETS: u64 = 24 * 120;
/// Empty buckets that one scan passes over: bounds one pulse's reads.
const BUCKETS_PER_SCAN: u64 = 64;
/// Actors looked at for passivation per pulse: keeps a pulse far below a millisecond.
const PASSIVATION_LOOKS: usize = 256;

/// What a shard and its door share.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) shard: ShardId,
    pub(super) shows: Shows,
    pub(super) queue: Arc<Queue>,
    /// [`OPEN`], [`CLOSED`] or [`SHUT`].
    state: AtomicU8,
}

/// Newcomers come in.
const OPEN: u8 = 0;
/// Newcomers wait outside: the shard may move.
const CLOSED: u8 = 1;
/// The shard is another node's.
const SHUT: u8 = 2;

impl Door {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, shows: Shows::default(), queue: Arc::default(), state: AtomicU8::new(OPEN) }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    pub(super) fn is_shut(&self) -> bool {
        self.state.load(Ordering::Acquire) == SHUT
    }

    /// How the shard stands.
    pub(super) fn entrance(&self) -> Entrance {
        match self.state.load(Ordering::Acquire) {
            OPEN => Entrance::Open,
            CLOSED => Entrance::Closed,
            _ => Entrance::Shut,
        }
    }

    /// Newcomers wait until it is opened again, or the shard is elsewhere.
    pub(super) fn close(&self) {
        let _ = self.state.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire); // or shut already
    }

    pub(super) fn open(&self) {
        let _ = self.state.compare_exchange(CLOSED, OPEN, Ordering::AcqRel, Ordering::Acquire); // or shut for good
    }

    pub(super) fn close_for_good(&self) {
        self.state.store(SHUT, Ordering::Release);
    }
}

/// What a shard is asked.
pub(super) enum Message {
    /// For one of its actors.
    Actor(Addressed),
    /// A row was seen by the sweep whose timer the agenda may have lost.
    Due(Addressed),
    /// An agenda scan ended.
    Scanned(Scanned),
    /// A timer of some actor has come.
    Tick,
    /// Housekeeping: passivate, scan the agenda.
    Pulse,
    /// Ends event streams and takes nothing more; answers once nothing is open.
    Release(Settled),
    /// Takes requests again.
    Reopen,
    /// The shard is another node's: lets go of everything and ends.
    Abandon,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message(..)") // commands hold what shoppers wrote
    }
}

impl ractor::Message for Message {}

/// What an agenda scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    due: Vec<IndexEntry>,
    /// Nothing that was looked for could not be read.
    is_whole: bool,
    /// Buckets below this are done; `None` = the store could not tell yet.
    low_mark: Option<u64>,
}

/// What a shard is started with.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) door: Arc<Door>,
    pub(super) store: Arc<dyn Store>,
    pub(super) options: Options,
    pub(super) epoch: u64,
    pub(super) fence: u64,
    /// How many shards this node serves.
    pub(super) served: Arc<AtomicUsize>,
    /// How late the oldest of each of them is.
    pub(super) overdue: Arc<agenda::Overdue>,
    /// Told when a newer owner shows up.
    pub(super) fenced: mpsc::Sender<(u16, u64)>,
    /// Through which its actors do what they need done elsewhere.
    pub(super) hands: Hands,
}

pub(super) struct ShardActor;

pub(super) struct State {
    setting: Setting,
    kinds: Kinds,
    ground: Ground,
    timers: BinaryHeap<Reverse<(u64, Kind, u128)>>,
    /// The earliest tick that is on its way.
    tick_at_ms: Option<u64>,
    /// `None` = not read yet.
    low_mark: Option<u64>,
    scanning: bool,
    releasing: Vec<Settled>,
    /// Takes nothing more.
    released: bool,
}

impl Actor for ShardActor {
    type Msg = Message;
    type State = State;
    type Arguments = Setting;

    async fn pre_start(&self, myself: ActorRef<Message>, setting: Setting) -> Result<State, ActorProcessingErr> {
        let ground = Ground {
            shard: setting.door.shard,
            store: Arc::clone(&setting.store),
            back: myself,
            op_id_next: clock::random(),
            hands: setting.hands.clone(),
            relay: setting.options.relay.clone(),
        };
        Ok(State {
            kinds: Kinds::new(&setting.door.shows),
            setting,
            ground,
            timers: BinaryHeap::new(),
            tick_at_ms: None,
            low_mark: None,
            scanning: false,
            releasing: Vec::new(),
            released: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let mono_ms = clock::mono_ms();
        state.setting.door.queue.progress_ms.store(mono_ms, Ordering::Relaxed);
        let around = state.around(mono_ms);
        match message {
            Message::Actor(message) => state.take(&myself, message, &around),
            Message::Due(wake) => state.wake(&myself, wake, &around),
            Message::Scanned(scanned) => state.scanned(&myself, scanned, &around),
            Message::Tick => state.tick(&myself, &around),
            Message::Pulse => state.pulse(&myself, &around),
            Message::Release(settled) => {
                state.kinds.end_watches();
                state.releasing.push(settled);
            }
            Message::Reopen => {
                state.released = false;
                state.releasing.clear();
                state.tick(&myself, &around); // of the time when nothing was done
            }
            Message::Abandon => {
                state.kinds.abandon();
                myself.stop(None);
            }
        }
        if !state.releasing.is_empty() && !state.kinds.any_open() {
            state.released = true;
            for settled in state.releasing.drain(..) {
                settled(true);
            }
        }
        Ok(())
    }
}

impl State {
    fn around(&self, mono_ms: u64) -> Surroundings {
        Surroundings {
            wall: clock::now(),
            mono_ms,
            epoch: self.setting.epoch,
            fence: self.setting.fence,
            expire_after_ms: self.setting.options.expire_after_ms,
            emits: self.setting.options.relay.is_some(),
        }
    }

    /// Whether nothing is begun here any more.
    fn is_elsewhere(&self) -> bool {
        self.released || self.setting.door.is_shut()
    }

    fn take(&mut self, myself: &ActorRef<Message>, message: Addressed, around: &Surroundings) {
        let (kind, id) = message.whose();
        let is_elsewhere = self.is_elsewhere();
        let Some(after) = self.kinds.take(message, is_elsewhere, around, &mut self.ground) else { return };
        let Aftermath { tick_at_ms, fenced } = after;
        for at_ms in tick_at_ms {
            self.timers.push(Reverse((at_ms, kind, id)));
        }
        self.schedule(myself, around.mono_ms);
        if fenced {
            self.deposed();
        }
    }

    /// A newer owner exists: let go of everything at once, and say so.
    fn deposed(&mut self) {
        self.setting.door.close_for_good();
        metrics().actor_fenced_total.inc();
        tracing::error!(
            shard = self.setting.door.shard.0,
            shard.epoch = self.setting.epoch,
            "fenced: another node owns this shard now; its actors are dropped here"
        );
        self.kinds.abandon();
        self.timers.clear();
        let _ = self.setting.fenced.try_send((self.setting.door.shard.0, self.setting.epoch)); // a node that stops needs not be told
    }

    fn schedule(&mut self, myself: &ActorRef<Message>, mono_ms: u64) {
        let Some(Reverse((at_ms, ..))) = self.timers.peek() else { return };
        if self.tick_at_ms.is_none_or(|pending_ms| pending_ms > *at_ms) {
            self.tick_at_ms = Some(*at_ms);
            let wait = Duration::from_millis(at_ms.saturating_sub(mono_ms));
            drop(myself.send_after(wait, || Message::Tick));
        }
    }

    fn tick(&mut self, myself: &ActorRef<Message>, around: &Surroundings) {
        self.tick_at_ms = None;
        if self.is_elsewhere() {
            return; // they wait for who has the shard then
        }
        while let Some(Reverse((at_ms, kind, id))) = self.timers.peek().copied() {
            if at_ms > around.mono_ms {
                break;
            }
            self.timers.pop();
            if let Some(tick) = kinds::tick(kind, id) {
                self.take(myself, tick, around);
            }
        }
        self.schedule(myself, around.mono_ms);
    }

    fn pulse(&mut self, myself: &ActorRef<Message>, around: &Surroundings) {
        let options = &self.setting.options;
        let share_bytes = options.resident_bytes_max / self.setting.served.load(Ordering::Relaxed).max(1);
        self.kinds.passivate(around.mono_ms, options.idle_after_ms, share_bytes, PASSIVATION_LOOKS);
        if !self.scanning && self.releasing.is_empty() && !self.is_elsewhere() {
            self.scanning = true;
            let scan = Scan {
                store: Arc::clone(&self.setting.store),
                shard: self.setting.door.shard,
                low_mark: self.low_mark,
                now: around.wall,
                may_advance: !self.kinds.any_unsettled(),
            };
            let myself = myself.clone();
            tokio::spawn(async move {
                let scanned = scan.run().await;
                let _ = myself.send_message(Message::Scanned(scanned)); // a stopped shard scans no more
            });
        }
    }

    fn scanned(&mut self, myself: &ActorRef<Message>, scanned: Scanned, around: &Surroundings) {
        self.scanning = false;
        self.low_mark = scanned.low_mark;
        let mut overdue_ms = 0;
        for entry in scanned.due {
            let Some((kind, id, armed)) = agenda::parse(&entry.key) else { continue };
            if let Some(wake) = kinds::wake(kind, id, armed) {
                overdue_ms = overdue_ms.max(around.wall.since_ms(armed.due));
                self.wake(myself, wake, around);
            }
        }
        // What could not be read may be as late as it was.
        if overdue_ms > 0 || scanned.is_whole {
            self.note_overdue(overdue_ms);
        }
    }

    fn note_overdue(&self, overdue_ms: u64) {
        let most_ms = self.setting.overdue.note(self.setting.door.shard, overdue_ms);
        metrics().agenda_overdue_ms.set(i64::try_from(most_ms).unwrap_or(i64::MAX));
    }

    fn wake(&mut self, myself: &ActorRef<Message>, wake: Addressed, around: &Surroundings) {
        if self.releasing.is_empty() && !self.is_elsewhere() {
            metrics().agenda_wakes_total.inc();
            self.take(myself, wake, around);
        }
    }
}

impl Drop for State {
    /// From here on another owner counts, or this shard's next life.
    fn drop(&mut self) {
        self.note_overdue(0);
    }
}

/// Looks for due agenda entries from the low mark on.
struct Scan {
    store: Arc<dyn Store>,
    shard: ShardId,
    low_mark: Option<u64>,
    now: UnixMillis,
    /// Whether the low mark may move: no save of unknown outcome could still bring an entry below it.
    may_advance: bool,
}

impl Scan {
    async fn run(self) -> Scanned {
        let present = agenda::bucket(self.now);
        let start = match self.low_mark {
            Some(low_mark) => low_mark,
            // An unreachable store is asked again at the next pulse.
            None => match self.stored_low_mark().await {
                Ok(stored) => stored.unwrap_or_else(|| present.saturating_sub(LOOK_BACK_BUCKETS)),
                Err(_) => return Scanned { due: Vec::new(), is_whole: false, low_mark: None },
            },
        };
        let done_below = agenda::bucket(UnixMillis(self.now.0.saturating_sub(LOW_MARK_LAG_MS)));
        let mut low_mark = start;
        let (mut due, mut is_whole) = (Vec::new(), true);
        for bucket in start..=present.min(start.saturating_add(BUCKETS_PER_SCAN)) {
            let partition = agenda::partition(self.shard, bucket);
            let until = Some(agenda::not_due(self.now));
            let page = self.store.index_scan(partition, Box::default(), until, AGENDA_PAGE - due.len()).await;
            let Ok(page) = page else {
                is_whole = false;
                break;
            };
            if page.is_empty() && bucket == low_mark && bucket < done_below && self.may_advance {
                low_mark = bucket + 1;
            }
            due.extend(page);
            if due.len() >= AGENDA_PAGE {
                break;
            }
        }
        if low_mark != start {
            // Lost, it only means more to scan at the next start.
            let _ = self.store.index_put(vec![agenda::low_mark_entry(self.shard, low_mark)]).await;
        }
        Scanned { due, is_whole, low_mark: Some(low_mark) }
    }

    async fn stored_low_mark(&self) -> Result<Option<u64>, Reason> {
        let key = self.shard.0.to_be_bytes();
        let entries = self.store.index_scan(agenda::low_marks(), Box::from(key.as_slice()), None, 1).await?;
        let entry = entries.into_iter().find(|entry| *entry.key == key);
        Ok(entry.and_then(|entry| Some(u64::from_be_bytes(entry.value.as_ref().try_into().ok()?))))
    }
}
