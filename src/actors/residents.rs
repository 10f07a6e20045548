//! The actors of one kind that a shard holds in memory: hosts their machines, performs what they ask for, shows what
//! is committed, and lets go of those that nobody needs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hashlink::LinkedHashMap;
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use super::{
    agenda,
    ask::{Ask, Failure},
    durable::{Durable, Entity, Facts, Input, Note, Outcome, Output, SaveOrder, Surroundings},
    hands::Hands,
    kinds::{Hosted, To},
    shard::Message,
};
use crate::{
    codec::record::{Armed, Unsent},
    domain::ShardId,
    events::{self, Offer, Outgoing, Relay, Spill},
    store::{Done, Save, Saved, Store},
    telemetry::metrics::metrics,
};

/// What an actor in memory costs beside its state: machine, map entries, allocator.
const RESIDENT_OVERHEAD_BYTES: usize = 368;
/// What a receipt costs.
const RECEIPT_BYTES: usize = 48;

/// The way to whoever asked. While it lives, the command counts as waiting in its shard.
#[derive(Debug)]
pub(super) struct Ticket<E: Entity> {
    pub(super) reply: oneshot::Sender<Outcome<E>>,
    pub(super) _place: Place,
}

/// A place in a shard's queue; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(pub(super) Arc<Queue>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much waits in a shard, by count and age.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Commands and reads admitted and not yet answered.
    pub(super) waiting: AtomicUsize,
    /// When the shard last took a message, on the clock that never jumps.
    pub(super) progress_ms: AtomicU64,
}

/// Committed states that may be shown to readers without a message to the shard.
#[derive(Debug)]
pub(super) struct Shown<S>(Mutex<HashMap<u128, Entry<S>>>);

#[derive(Debug)]
struct Entry<S> {
    state: Arc<S>,
    /// Whether it was read since it was last looked at for passivation.
    read: AtomicBool,
}

impl<S> Default for Shown<S> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<S> Shown<S> {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Entry<S>>> {
        // Every change is one insert or remove: a panic cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: u128) -> Option<Arc<S>> {
        let shown = self.lock();
        let entry = shown.get(&id)?;
        entry.read.store(true, Ordering::Relaxed);
        Some(Arc::clone(&entry.state))
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

#[derive(Debug)]
struct Resident<E: Entity> {
    machine: Durable<E, Ticket<E>>,
    /// Seconds on the clock that never jumps.
    used_s: u32,
    weight_bytes: u32,
}

/// What the actors of a shard share.
pub(super) struct Ground {
    pub(super) shard: ShardId,
    pub(super) store: Arc<dyn Store>,
    /// Where results come back to.
    pub(super) back: ActorRef<Message>,
    pub(super) op_id_next: u128,
    /// Through which actors do what their states need done elsewhere.
    pub(super) hands: Hands,
    /// Who takes events; `None` = nobody wants any.
    pub(super) relay: Option<Relay>,
}

impl Ground {
    /// Sends a result to the shard; one that stopped meanwhile needs none: its successor finds out for itself.
    fn back<E: Hosted>(&self) -> impl Fn(u128, To<E>) + Send + Sync + 'static {
        let back = self.back.clone();
        move |id, to| drop(back.send_message(Message::Actor(E::addressed(id, to))))
    }
}

/// What a step leaves for the shard to do.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) tick_at_ms: Vec<u64>,
    pub(super) fenced: bool,
}

/// The actors of one kind in one shard.
pub(super) struct Residents<E: Entity> {
    /// In order of use, the longest unused first.
    actors: LinkedHashMap<u128, Resident<E>>,
    watchers: HashMap<u128, watch::Sender<Arc<E::State>>>,
    shown: Arc<Shown<E::State>>,
    weight_bytes: usize,
    outputs: Vec<Output<E, Ticket<E>>>,
}

impl<E: Hosted> Residents<E> {
    pub(super) fn new(shown: Arc<Shown<E::State>>) -> Self {
        shown.clear();
        let (actors, watchers) = (LinkedHashMap::new(), HashMap::new());
        Self { actors, watchers, shown, weight_bytes: 0, outputs: Vec::new() }
    }

    /// Feeds one input to one actor and performs what it asks for.
    pub(super) fn step(
        &mut self,
        id: u128,
        input: Input<E, Ticket<E>>,
        around: &Surroundings,
        ground: &mut Ground,
    ) -> Aftermath {
        let wakes = matches!(input, Input::Ask { .. } | Input::Read { .. } | Input::Wake(_));
        if !wakes && !self.actors.contains_key(&id) {
            return Aftermath::default(); // left memory meanwhile
        }
        let resident = self.actors.entry(id).or_insert_with(|| {
            metrics().actors_resident.inc();
            Resident { machine: Durable::default(), used_s: seconds(around.mono_ms), weight_bytes: 0 }
        });
        if wakes {
            resident.used_s = seconds(around.mono_ms);
        }
        let next = &mut ground.op_id_next;
        let mut op_id = || {
            *next = next.wrapping_add(1);
            *next
        };
        resident.machine.step(input, around, &mut op_id, &mut self.outputs);
        let cold = resident.machine.is_cold();
        let weight_bytes = resident.machine.committed().map_or(0, |state| {
            E::weight_bytes(state) + resident.machine.receipts() * RECEIPT_BYTES + resident.machine.unsent_bytes()
        }) + RESIDENT_OVERHEAD_BYTES;
        let before_bytes = resident.weight_bytes as usize;
        self.weight_bytes = self.weight_bytes + weight_bytes - before_bytes;
        metrics().actors_resident_bytes.add(weight_bytes as i64 - before_bytes as i64);
        // A row of 256 KiB does not come near the bound.
        resident.weight_bytes = u32::try_from(weight_bytes).unwrap_or(u32::MAX);
        if cold {
            self.forget(id, "absent");
        } else if wakes {
            self.actors.to_back(&id);
        }
        self.perform(id, ground)
    }

    /// Subscribes to the states of an actor that may be shown, and to what is foretold of it; `None` = it may not be, now.
    pub(super) fn watch(&mut self, id: u128) -> Option<watch::Receiver<Arc<E::State>>> {
        let shown = self.shown.lock().get(&id).map(|entry| Arc::clone(&entry.state))?;
        let foretold = self.actors.get(&id).and_then(|resident| resident.machine.foretold());
        let state = foretold.map_or(shown, Arc::clone);
        let sender = self.watchers.entry(id).or_insert_with(|| watch::Sender::new(state));
        Some(sender.subscribe())
    }

    pub(super) fn facts(&self, id: u128) -> Option<Facts> {
        self.actors.get(&id).map(|resident| resident.machine.facts())
    }

    /// Whether any actor has a save of unknown outcome open.
    pub(super) fn any_unsettled(&self) -> bool {
        self.actors.values().any(|resident| resident.machine.is_unsettled())
    }

    /// What the actors in memory weigh, estimated.
    pub(super) const fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Whether anything waits, or is on its way to the store.
    pub(super) fn any_open(&self) -> bool {
        self.actors.values().any(|resident| resident.machine.is_open())
    }

    /// Lets go of actors unused since `idle_ms`, and of the longest unused ones while the rest weighs more than
    /// `weight_bytes_max`. Looks at no more than `looks_max` actors.
    pub(super) fn passivate(&mut self, now_ms: u64, idle_ms: u64, weight_bytes_max: usize, looks_max: usize) {
        self.watchers.retain(|_, sender| sender.receiver_count() > 0);
        for _ in 0..looks_max {
            let Some((&id, resident)) = self.actors.front() else { return };
            let is_old = now_ms.saturating_sub(u64::from(resident.used_s) * 1000) >= idle_ms;
            let is_over = self.weight_bytes > weight_bytes_max;
            if !is_old && !is_over {
                return;
            }
            let was_read = self.shown.lock().get(&id).is_some_and(|entry| entry.read.swap(false, Ordering::Relaxed));
            let pinned = !resident.machine.is_idle() || self.watchers.contains_key(&id);
            if was_read || pinned {
                if let Some(resident) = self.actors.to_back(&id) {
                    resident.used_s = seconds(now_ms);
                }
                continue;
            }
            self.forget(id, if is_old { "idle" } else { "memory" });
        }
    }

    /// Drops every actor at once; who waits is told `failure`, event streams end.
    pub(super) fn abandon(&mut self, failure: &Failure<E::Refusal>) {
        self.shown.clear();
        self.watchers.clear();
        let mut outputs = Vec::new();
        for (_, mut resident) in self.actors.drain() {
            resident.machine.abandon(failure, &mut outputs);
            metrics().actors_resident.dec();
        }
        metrics().actors_resident_bytes.sub(self.weight_bytes as i64);
        self.weight_bytes = 0;
        for output in outputs {
            if let Output::Reply(ticket, outcome) = output {
                let _ = ticket.reply.send(outcome); // who asked may have gone
            }
        }
    }

    /// Ends event streams cleanly; their clients resume elsewhere.
    pub(super) fn end_watches(&mut self) {
        self.watchers.clear();
    }

    fn forget(&mut self, id: u128, reason: &str) {
        self.shown.lock().remove(&id);
        if let Some(resident) = self.actors.remove(&id) {
            self.weight_bytes -= resident.weight_bytes as usize;
            metrics().actors_resident.dec();
            metrics().actors_resident_bytes.sub(resident.weight_bytes as i64);
            metrics().actor_passivations_total.with_label_values(&[reason]).inc();
        }
    }

    fn perform(&mut self, id: u128, ground: &Ground) -> Aftermath {
        let mut after = Aftermath::default();
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Load { number, serial } => load::<E>(id, number, serial, ground),
                Output::Save(order) => save::<E>(id, order, ground),
                Output::Reply(ticket, outcome) => {
                    count_failure::<E>(&outcome);
                    let _ = ticket.reply.send(outcome); // who asked may have gone
                }
                Output::Committed(state) => {
                    if let Some(watcher) = self.watchers.get(&id) {
                        watcher.send_replace(Arc::clone(&state));
                    }
                    self.shown.lock().insert(id, Entry { state, read: AtomicBool::new(false) });
                }
                Output::Foretold(state) => {
                    if let Some(watcher) = self.watchers.get(&id) {
                        watcher.send_replace(state);
                    }
                }
                Output::Retracted => {
                    self.shown.lock().remove(&id);
                }
                Output::WakeAt(at_ms) => after.tick_at_ms.push(at_ms),
                Output::Perform { number, call, nth } => {
                    let (back, hands) = (ground.back::<E>(), ground.hands.clone());
                    metrics().actor_deeds_total.with_label_values(&["begun"]).inc();
                    tokio::spawn(async move {
                        let result = hands.perform::<E>(id, call, nth).await;
                        back(id, To::Performed(number, result));
                    });
                }
                Output::Publish { up_to, events, spilled } => publish::<E>(id, up_to, events, spilled, ground),
                Output::Unmark(armed) => unmark::<E>(id, armed, ground),
                Output::Fenced => after.fenced = true,
                Output::Note(note) => count::<E>(id, &note),
            }
        }
        self.outputs = outputs;
        after
    }
}

impl<E: Entity> Drop for Residents<E> {
    fn drop(&mut self) {
        metrics().actors_resident.sub(self.actors.len() as i64);
        metrics().actors_resident_bytes.sub(self.weight_bytes as i64);
        self.shown.clear();
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

/// What an ask looks like to the machine.
pub(super) fn input<E: Entity>(ask: Ask<E::Command>, since_ms: u64, token: Ticket<E>) -> Input<E, Ticket<E>> {
    Input::Ask { ask, since_ms, token }
}

fn load<E: Hosted>(id: u128, number: u128, serial: bool, ground: &Ground) {
    let (back, asked) = (ground.back::<E>(), Instant::now());
    let loading = ground.store.load(E::KIND, id, serial);
    tokio::spawn(async move {
        let result = loading.await;
        metrics().store_load_duration_seconds.observe(asked.elapsed().as_secs_f64());
        back(id, To::Loaded(number, result));
    });
}

fn save<E: Hosted>(id: u128, order: SaveOrder, ground: &Ground) {
    let (back, asked) = (ground.back::<E>(), Instant::now());
    let SaveOrder { expect, row, arm, spill, listed, riders, haste } = order;
    metrics().actor_coalesced_commands.observe(riders as f64);
    metrics().store_saved_bytes_total.inc_by(row.body.len() as u64);
    let (op_id, epoch) = (row.op_id, row.epoch);
    let mut marks: Vec<_> =
        arm.map(|armed| agenda::entry(ground.shard, E::KIND, id, armed)).into_iter().chain(listed).collect();
    if !spill.is_empty() {
        let name = E::name(id);
        marks.extend(outgoing(&name, spill).map(|event| Spill::entry(&name, &event)));
    }
    let done = Done::new(move |saved| {
        let outcome = match &saved {
            Saved::Applied => "applied",
            Saved::Lost(Some(head)) if head.op_id == op_id => "ours",
            Saved::Lost(Some(head)) if head.epoch > epoch => "fenced",
            Saved::Lost(_) => "lost",
            Saved::Unknown(_) => "unknown",
            Saved::Refused(_) => "refused",
        };
        let seconds = asked.elapsed().as_secs_f64();
        metrics().store_save_duration_seconds.with_label_values(&[haste.name(), outcome]).observe(seconds);
        back(id, To::Saved(op_id, saved));
    });
    ground.store.save_then(Save { kind: E::KIND, id, expect, row, marks, haste }, done);
}

/// Events of a later release are left to nodes of that release, and all after them.
fn outgoing(name: &str, events: impl IntoIterator<Item = Unsent>) -> impl Iterator<Item = Outgoing> {
    events.into_iter().map_while(move |Unsent { sequence, kind, at, body }| {
        let event = Outgoing::from_parts(name, sequence, kind, at, body.into());
        event.inspect_err(|why| tracing::error!(%why, actor.id = name, "an event cannot be told by this release")).ok()
    })
}

fn publish<E: Hosted>(id: u128, up_to: u64, events: Vec<Unsent>, spilled: bool, ground: &Ground) {
    let (back, name, count) = (ground.back::<E>(), E::name(id), events.len());
    let events: Vec<_> = outgoing(&name, events).collect();
    let is_whole = events.len() == count;
    let later = ground.back::<E>();
    let done = events::Done::new(move |published| {
        back(id, To::Published { up_to, published: published && is_whole });
    });
    let offer = Offer { actor: name.into(), events, spilled, done };
    if !ground.relay.as_ref().is_some_and(|relay| relay.offer(offer)) {
        later(id, To::Published { up_to, published: false });
    }
}

fn unmark<E: Entity>(id: u128, armed: Armed, ground: &Ground) {
    let partition = agenda::partition(ground.shard, agenda::bucket(armed.due));
    let deleting = ground.store.index_delete(partition, vec![agenda::key(E::KIND, id, armed)]);
    tokio::spawn(async move {
        // Left behind, it fires once more and is found superfluous then.
        if let Err(reason) = deleting.await {
            tracing::debug!(%reason, "an agenda entry could not be deleted yet");
        }
    });
}

fn count<E: Entity>(id: u128, note: &Note) {
    let id = crate::domain::Id(id);
    let metrics = metrics();
    match note {
        Note::Activated => metrics.actor_activations_total.inc(),
        Note::Claimed => metrics.actor_claims_total.inc(),
        Note::Replayed => metrics.actor_replays_total.inc(),
        Note::Unknown(reason) => {
            metrics.store_unknown_saves_total.inc();
            tracing::warn!(actor.kind = ?E::KIND, actor.id = %id, %reason, "the outcome of a save is unknown");
        }
        Note::Settled(how) => {
            metrics.store_settled_saves_total.with_label_values(&[how]).inc();
            tracing::info!(actor.kind = ?E::KIND, actor.id = %id, how, "a save of unknown outcome is settled");
        }
        Note::Lost => {
            metrics.store_conflicts_total.with_label_values(&["other"]).inc();
            tracing::warn!(actor.kind = ?E::KIND, actor.id = %id, "a save lost its version to another save");
        }
        Note::Panicked => {
            metrics.actor_panics_total.inc();
            tracing::error!(actor.kind = ?E::KIND, actor.id = %id, "a turn panicked; its command was dropped");
        }
        Note::Quarantined(rest) => {
            metrics.actors_quarantined.inc();
            tracing::error!(actor.kind = ?E::KIND, actor.id = %id, rest_ms = rest.as_millis() as u64, "quarantined");
        }
        Note::Released => {
            metrics.actors_quarantined.dec();
            tracing::warn!(actor.kind = ?E::KIND, actor.id = %id, "released from quarantine");
        }
        Note::Unreadable(why) => {
            tracing::error!(actor.kind = ?E::KIND, actor.id = %id, why, "its row cannot be read by this release");
        }
        Note::Unwritable(why) => {
            tracing::error!(actor.kind = ?E::KIND, actor.id = %id, why, "its row cannot be written");
        }
        Note::TriedAgain => metrics.actor_deeds_total.with_label_values(&["again"]).inc(),
        Note::Waited(ms) => {
            metrics.actor_mailbox_wait_seconds.observe(Duration::from_millis(*ms).as_secs_f64());
        }
    }
}

fn count_failure<E: Entity>(outcome: &Outcome<E>) {
    if let Err(Failure::Overloaded { .. }) = outcome {
        metrics().actor_overloads_total.with_label_values(&["actor"]).inc();
    }
}
