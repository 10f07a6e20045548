//! One lane to one peer: envelopes gather into batches, asks wait for their answers, credits bound both.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use ractor::ActorRef;
use tokio::sync::{Notify, oneshot};

use super::{
    AskError, NotSent,
    actors::LaneMessage,
    frame::{self, ENVELOPE_HEAD_BYTES, Tag},
};
use crate::telemetry::metrics::metrics;

/// A batch leaves when it has grown to this: what waits behind it waits for microseconds, and per-batch costs are
/// spread over enough envelopes.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Largest body: a larger one would hold up everything behind it.
pub(super) const BODY_BYTES_MAX: usize = 512 * 1024;
/// Asks of one peer and lane without an answer: what it may still have to do for us.
pub(super) const ASKS_MAX: usize = 1_024;
/// Bytes of those asks.
const ASKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Room that a fresh batch begins with at least.
const BATCH_ROOM_BYTES_MIN: usize = 1_024;

pub(super) type Answer = Result<Bytes, AskError>;

/// What may still be asked of one peer on one class of lanes. A credit comes back with the answer, not with the
/// asker's patience: what a slow peer has in hand stays bounded.
#[derive(Debug, Default)]
pub(super) struct Credits {
    asks: AtomicUsize,
    bytes: AtomicUsize,
}

impl Credits {
    fn take(&self, bytes: usize) -> bool {
        let asks = self.asks.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes_taken = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_free = asks <= ASKS_MAX && bytes_taken <= ASKED_BYTES_MAX;
        if !is_free {
            self.give(bytes);
        }
        is_free
    }

    fn give(&self, bytes: usize) {
        self.asks.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn in_use(&self) -> usize {
        self.asks.load(Ordering::Relaxed)
    }
}

/// Where a class gathers its asks, as one of its lanes knows it.
#[derive(Debug)]
pub(super) struct Turn {
    /// The lane whose turn it is.
    pub(super) now: Arc<AtomicUsize>,
    pub(super) own: usize,
    pub(super) next: usize,
}

impl Turn {
    /// A batch leaves: the next one gathers on the next lane. Where another lane has the turn, it keeps it.
    fn pass(&self) {
        let _ = self.now.compare_exchange(self.own, self.next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

struct Waiting {
    /// `None` once the asker has been told that it took too long.
    answer: Option<oneshot::Sender<Answer>>,
    deadline_ms: u64,
    bytes: usize,
}

struct Slot {
    /// Tells an answer to this ask from one to an earlier ask in the same place.
    generation: u32,
    waiting: Option<Waiting>,
}

/// Asks without an answer. An id is a place and its generation: no hashing, and places are used again.
struct Pending {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Where generations begin: at random, so that no answer of an earlier session fits.
    seed: u32,
}

impl Pending {
    fn insert(&mut self, waiting: Waiting) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.seed, waiting: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let mut generation = 0;
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.waiting = Some(waiting);
            generation = slot.generation;
        }
        u64::from(generation) << 32 | u64::from(place)
    }

    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let place = u32::try_from(id & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get_mut(place as usize)?;
        if u64::from(slot.generation) != id >> 32 {
            return None;
        }
        let waiting = slot.waiting.take()?;
        self.free.push(place);
        Some(waiting)
    }
}

struct State {
    is_open: bool,
    /// Whoever writes here says when the batch is complete: the pump is not told of it.
    is_held: bool,
    batch: Vec<u8>,
    envelopes: u32,
    pending: Pending,
}

/// A lane to a peer.
pub(super) struct Outbound {
    remote: ActorRef<LaneMessage>,
    head: Vec<u8>,
    state: Mutex<State>,
    /// Told when a batch has begun.
    begun: Notify,
    turn: Turn,
    room_bytes: AtomicUsize,
}

impl Outbound {
    pub(super) fn new(remote: ActorRef<LaneMessage>, head: Vec<u8>, seed: u32, turn: Turn) -> Self {
        let pending = Pending { slots: vec![], free: vec![], seed };
        let state = Mutex::new(State { is_open: true, is_held: false, batch: vec![], envelopes: 0, pending });
        let room_bytes = AtomicUsize::new(BATCH_ROOM_BYTES_MIN);
        Self { remote, head, state, begun: Notify::new(), turn, room_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an ask into the batch that leaves next.
    pub(super) fn ask(
        &self,
        credits: &Credits,
        body: &[u8],
        now_ms: u64,
        timeout_ms: u32,
    ) -> Result<oneshot::Receiver<Answer>, NotSent> {
        if body.len() > BODY_BYTES_MAX {
            return Err(NotSent::TooLarge);
        }
        if !credits.take(body.len()) {
            return Err(NotSent::NoCredit);
        }
        let (sender, receiver) = oneshot::channel();
        let deadline_ms = now_ms + u64::from(timeout_ms);
        let waiting = Waiting { answer: Some(sender), deadline_ms, bytes: body.len() };
        let mut state = self.state();
        if !state.is_open {
            drop(state);
            credits.give(body.len());
            return Err(NotSent::NoSession);
        }
        let id = state.pending.insert(waiting);
        self.put(&mut state, Tag::Ask, id, timeout_ms, body);
        Ok(receiver)
    }

    /// Puts an answer, or a word between nodes, into the batch that leaves next.
    pub(super) fn tell(&self, tag: Tag, id: u64, body: &[u8]) {
        let mut state = self.state();
        if state.is_open {
            self.put(&mut state, tag, id, 0, body);
        }
    }

    fn put(&self, state: &mut State, tag: Tag, id: u64, deadline_ms: u32, body: &[u8]) {
        if !state.batch.is_empty() && state.batch.len() + ENVELOPE_HEAD_BYTES + body.len() > BATCH_BYTES_MAX {
            self.flush(state);
        }
        let is_first = state.batch.is_empty();
        if is_first {
            state.batch = Vec::with_capacity(self.room_bytes.load(Ordering::Relaxed));
            state.batch.extend_from_slice(&self.head);
        }
        frame::put(&mut state.batch, tag, id, deadline_ms, body);
        state.envelopes += 1;
        if state.batch.len() >= BATCH_BYTES_MAX {
            self.flush(state);
        } else if is_first && !state.is_held {
            self.begun.notify_one();
        }
    }

    fn flush(&self, state: &mut State) {
        if state.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut state.batch);
        self.turn.pass();
        metrics().cluster_batch_envelopes.observe(f64::from(std::mem::take(&mut state.envelopes)));
        self.room_bytes.store(batch.len().clamp(BATCH_ROOM_BYTES_MIN, BATCH_BYTES_MAX), Ordering::Relaxed);
        let _ = self.remote.send_message(LaneMessage::Batch(batch)); // the session is ending: its asks are told
    }

    /// Keeps a batch back until the hold ends, and sends it then: a peer's asks are read one after the other, and the
    /// answers that are known at once shall not leave one by one meanwhile.
    pub(super) fn hold(&self) -> Hold<'_> {
        self.state().is_held = true;
        Hold(self)
    }

    /// Sends batches as they gather, until the lane is closed.
    pub(super) async fn pump(&self) {
        loop {
            self.begun.notified().await;
            // Everybody who is about to ask gets a turn to join this batch. Measured: without, 1.1 envelopes a batch;
            // with one turn 8 to 13, with two 18 to 20.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let mut state = self.state();
            if !state.is_open {
                return;
            }
            if !state.is_held {
                self.flush(&mut state);
            }
        }
    }

    /// Gives answers to whom they are for; late ones are for nobody.
    pub(super) fn answered(&self, credits: &Credits, answers: impl Iterator<Item = (u64, Answer)>) {
        let mut told = Vec::new();
        let mut state = self.state();
        for (id, answer) in answers {
            if let Some(waiting) = state.pending.remove(id) {
                credits.give(waiting.bytes);
                told.extend(waiting.answer.map(|sender| (sender, answer)));
            }
        }
        drop(state);
        tell_all(told);
    }

    /// Tells those whose time is over.
    pub(super) fn sweep(&self, now_ms: u64) {
        let mut told = Vec::new();
        let mut state = self.state();
        for waiting in state.pending.slots.iter_mut().filter_map(|slot| slot.waiting.as_mut()) {
            if waiting.deadline_ms <= now_ms
                && let Some(sender) = waiting.answer.take()
            {
                told.push((sender, Err(AskError::TimedOut)));
            }
        }
        drop(state);
        tell_all(told);
    }

    /// Ends the lane: what was asked has been lost.
    pub(super) fn close(&self, credits: &Credits) {
        let mut told = Vec::new();
        let mut state = self.state();
        state.is_open = false;
        state.batch = vec![];
        for waiting in state.pending.slots.iter_mut().filter_map(|slot| slot.waiting.take()) {
            credits.give(waiting.bytes);
            told.extend(waiting.answer.map(|sender| (sender, Err(AskError::Lost))));
        }
        drop(state);
        self.begun.notify_one();
        tell_all(told);
    }

    /// Sends what has gathered, now.
    pub(super) fn flush_now(&self) {
        let mut state = self.state();
        self.flush(&mut state);
    }
}

/// See [`Outbound::hold`].
pub(super) struct Hold<'a>(&'a Outbound);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_held = false;
        self.0.flush(&mut state);
    }
}

fn tell_all(told: Vec<(oneshot::Sender<Answer>, Answer)>) {
    for (sender, answer) in told {
        let _ = sender.send(answer); // the asker has gone
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::mpsc;

    use super::*;

    /// Tells how many envelopes each batch had.
    struct Counter(mpsc::Sender<usize>);

    impl Actor for Counter {
        type Msg = LaneMessage;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<LaneMessage>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<LaneMessage>,
            message: LaneMessage,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            let LaneMessage::Batch(bytes) = message else { return Ok(()) };
            self.0.send(frame::Batch::open(bytes.into())?.count()).await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_answered_during_a_hold_leaves_together_and_the_next_lane_takes_over() {
        let (sender, mut batches) = mpsc::channel(8);
        let (remote, _) = Actor::spawn(None, Counter(sender), ()).await.unwrap();
        let now = Arc::new(AtomicUsize::new(0));
        let lane = |own| {
            let turn = Turn { now: Arc::clone(&now), own, next: 1 - own };
            Arc::new(Outbound::new(remote.clone(), frame::head("a", 1), 7, turn))
        };
        let (lane, other) = (lane(0), lane(1));
        let pumping = Arc::clone(&lane);
        let pump = tokio::spawn(async move { pumping.pump().await });
        lane.tell(Tag::Reply, 1, b"before");
        let hold = lane.hold();
        for id in 2..10 {
            tokio::task::yield_now().await;
            lane.tell(Tag::Reply, id, b"during");
        }
        drop(hold);
        assert_eq!(batches.recv().await, Some(9));
        assert_eq!(now.load(Ordering::Relaxed), 1);
        lane.tell(Tag::Reply, 10, b"after");
        assert_eq!(batches.recv().await, Some(1), "the pump sends what comes without a hold");
        assert_eq!(now.load(Ordering::Relaxed), 1, "the other lane has the turn, and keeps it");
        other.tell(Tag::Reply, 11, b"here");
        other.flush_now();
        assert_eq!((batches.recv().await, now.load(Ordering::Relaxed)), (Some(1), 0));
        lane.close(&Credits::default());
        pump.await.unwrap();
        remote.stop(None);
    }
}
