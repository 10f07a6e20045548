//! Every shard of this node: starts them, starts them again when they crash, keeps the clockwork going, stops them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::{
    agenda,
    handle::Handle,
    shard::{Door, Message, Setting, ShardActor},
};
use crate::{
    cluster::Ownership,
    domain::ShardId,
    store::{Reason, Store},
    telemetry::{clock, metrics::metrics},
};

/// How often each shard does its housekeeping; also how late a timer may fire.
const PULSE: Duration = Duration::from_secs(2);
/// Pulses go out in so many groups, so that shards do not all work at once.
const PULSE_GROUPS: usize = 8;

/// How actors live.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of shards; fixed when the cluster is made.
    pub shards: u16,
    /// After how long without a change an open cart expires, in milliseconds.
    pub expire_after_ms: u64,
    /// After how long without use an actor leaves memory, in milliseconds.
    pub idle_after_ms: u64,
    /// What all actors in memory may weigh, in bytes (estimated); the longest unused leave first.
    pub resident_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 256,
            expire_after_ms: 90 * 24 * 60 * 60 * 1000,
            idle_after_ms: 15 * 60 * 1000,
            resident_bytes_max: 512 * 1024 * 1024,
        }
    }
}

/// One shard's place: its door, and whoever is behind it now.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) door: Arc<Door>,
    pub(super) actor: ArcSwap<ActorRef<Message>>,
}

/// Every shard of this node.
#[derive(Debug)]
pub struct System {
    places: Arc<[Place]>,
    supervisor: ActorRef<Watch>,
    clockwork: Vec<JoinHandle<()>>,
    handle: Handle,
    fenced: Arc<Notify>,
}

impl System {
    /// Starts every shard under the ownership just taken.
    ///
    /// # Errors
    /// The store's reason when a new cluster's marks cannot be written, or ractor's when an actor does not start.
    pub async fn start(options: Options, store: Arc<dyn Store>, ownership: &Ownership) -> Result<Self, StartError> {
        if ownership.is_new {
            let now = agenda::bucket(clock::now());
            let marks = (0..options.shards).map(|shard| agenda::low_mark_entry(ShardId(shard), now)).collect();
            store.index_put(marks).await?;
        }
        let fenced = Arc::new(Notify::new());
        let settings: Vec<Setting> = ownership
            .shards
            .iter()
            .map(|owned| Setting {
                door: Arc::new(Door::new(owned.shard)),
                store: Arc::clone(&store),
                options: options.clone(),
                epoch: owned.epoch,
                fence: owned.fence,
                fenced: Arc::clone(&fenced),
            })
            .collect();
        let (supervisor, _) = Actor::spawn(None, Supervisor, settings.clone()).await?;
        let (reply, places) = oneshot::channel();
        supervisor.send_message(Watch::Places(reply)).map_err(|error| StartError::Actor(error.to_string()))?;
        let places = places.await.map_err(|error| StartError::Actor(error.to_string()))?;
        metrics().cluster_owned_shards.set(i64::from(options.shards));
        let handle = Handle::new(Arc::clone(&places), ownership);
        let clockwork = vec![
            tokio::spawn(pulse(Arc::clone(&places))),
            tokio::spawn(super::sweep::run(store, Arc::clone(&places), options.shards)),
        ];
        Ok(Self { places, supervisor, clockwork, handle, fenced })
    }

    /// The door for everybody else.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until a row shows that a newer owner exists.
    pub async fn fenced(&self) {
        self.fenced.notified().await;
    }

    /// Refuses newcomers, ends event streams, waits until every save is settled and everybody told, at most `patience`;
    /// then stops. What is not settled by then is unknown to its asker, and in the store or not.
    pub async fn stop(self, patience: Duration) {
        self.handle.refuse_newcomers();
        let drained = self.places.iter().map(|place| {
            let (reply, done) = oneshot::channel();
            let _ = place.actor.load().send_message(Message::Drain(reply)); // a stopped shard has nothing left
            done
        });
        let all = futures_util::future::join_all(drained);
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("saves were still open when the time to stop was over");
        }
        self.clockwork.iter().for_each(JoinHandle::abort);
        let _ = self.supervisor.stop_and_wait(None, Some(patience)).await; // stopped or not, the process ends
    }

    /// Kills one shard's actor as a crash would: for tests of supervision.
    #[cfg(test)]
    pub(super) fn crash(&self, shard: ShardId) {
        self.places[usize::from(shard.0)].actor.load().kill();
    }
}

/// Why the actors did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not take the new cluster's marks.
    #[error("the store is unavailable: {0}")]
    Store(#[from] Reason),
    /// An actor did not start.
    #[error("an actor did not start: {0}")]
    Actor(String),
}

impl From<ractor::SpawnErr> for StartError {
    fn from(error: ractor::SpawnErr) -> Self {
        Self::Actor(error.to_string())
    }
}

async fn pulse(places: Arc<[Place]>) {
    let group = places.len().div_ceil(PULSE_GROUPS).max(1);
    let mut beat = tokio::time::interval(PULSE / u32::try_from(PULSE_GROUPS).unwrap_or(1));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for places in places.chunks(group).cycle() {
        beat.tick().await;
        for place in places {
            let _ = place.actor.load().send_message(Message::Pulse); // between crash and restart there is nobody
        }
    }
}

/// What the supervisor is asked.
#[derive(Debug)]
enum Watch {
    Places(oneshot::Sender<Arc<[Place]>>),
}

impl ractor::Message for Watch {}

/// Starts the shards, and again whichever crashes: what was acknowledged is in the store, the rest was not told.
struct Supervisor;

struct Watched {
    settings: Vec<Setting>,
    places: Arc<[Place]>,
}

impl Actor for Supervisor {
    type Msg = Watch;
    type State = Watched;
    type Arguments = Vec<Setting>;

    async fn pre_start(&self, myself: ActorRef<Watch>, settings: Vec<Setting>) -> Result<Watched, ActorProcessingErr> {
        let mut places = Vec::with_capacity(settings.len());
        for setting in &settings {
            let (actor, _) = Actor::spawn_linked(None, ShardActor, setting.clone(), myself.get_cell()).await?;
            places.push(Place { door: Arc::clone(&setting.door), actor: ArcSwap::from_pointee(actor) });
        }
        Ok(Watched { settings, places: places.into() })
    }

    async fn handle(&self, _: ActorRef<Watch>, message: Watch, state: &mut Watched) -> Result<(), ActorProcessingErr> {
        let Watch::Places(reply) = message;
        let _ = reply.send(Arc::clone(&state.places)); // whoever starts may have given up
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Watch>,
        event: SupervisionEvent,
        state: &mut Watched,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorFailed(who, _) | SupervisionEvent::ActorTerminated(who, ..)) = &event else {
            return Ok(());
        };
        let crashed = |place: &Place| place.actor.load().get_id() == who.get_id();
        let Some(at) = state.places.iter().position(crashed) else { return Ok(()) };
        let setting = &state.settings[at];
        let reason =
            if let SupervisionEvent::ActorFailed(_, error) = &event { error.to_string() } else { "killed".into() };
        tracing::error!(shard = setting.door.shard.0, reason, "a shard actor crashed and is started again");
        metrics().shard_restarts_total.inc();
        setting.door.queue.progress_ms.store(clock::mono_ms(), Ordering::Relaxed);
        let (actor, _) = Actor::spawn_linked(None, ShardActor, setting.clone(), myself.get_cell()).await?;
        state.places[at].actor.store(Arc::new(actor));
        Ok(())
    }
}
