//! The shards that this node serves: adopts them and lets them go as the cluster says, starts them again when they
//! crash, keeps the clockwork going, stops them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    agenda,
    handle::Handle,
    hands::{Hands, Shop},
    shard::{Door, Message, Setting, ShardActor},
};
use crate::{
    cluster::{Host, Lease, Links, OwnedShard, Routes},
    domain::ShardId,
    events::Relay,
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
    /// Who takes events; `None` = nobody wants any, and none is made.
    pub relay: Option<Relay>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 256,
            expire_after_ms: 90 * 24 * 60 * 60 * 1000,
            idle_after_ms: 15 * 60 * 1000,
            resident_bytes_max: 512 * 1024 * 1024,
            relay: None,
        }
    }
}

/// Who this node is to the others.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Counts its starts.
    pub incarnation: u64,
    /// For how long what is in memory is the newest.
    pub lease: Lease,
    /// The way to the others; `None` = there are none.
    pub links: Option<Arc<dyn Links>>,
}

/// A shard that is served here: its door, and whoever is behind it now.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) door: Arc<Door>,
    pub(super) actor: ArcSwap<ActorRef<Message>>,
    pub(super) owned: OwnedShard,
}

/// What this node knows of all shards.
#[derive(Debug)]
pub(super) struct Ground {
    /// One place per shard; empty where another node serves it.
    pub(super) places: Box<[ArcSwapOption<Served>]>,
    pub(super) routes: ArcSwap<Routes>,
    /// Counts what parked requests wait for: new routes, shards adopted, opened again, gone.
    pub(super) changes: watch::Sender<u64>,
    pub(super) closed: AtomicBool,
    /// Whether every shard that the map gives this node was adopted at least once.
    served: Arc<AtomicUsize>,
}

impl Ground {
    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn served(&self) -> impl Iterator<Item = Arc<Served>> {
        self.places.iter().filter_map(ArcSwapOption::load_full)
    }
}

/// Every shard of this node.
#[derive(Debug)]
pub struct System {
    ground: Arc<Ground>,
    supervisor: ActorRef<Watch>,
    clockwork: Vec<JoinHandle<()>>,
    handle: Handle,
    hands: Hands,
    fenced: mpsc::Receiver<(u16, u64)>,
}

impl System {
    /// Starts without any shard: the cluster says which this node serves.
    ///
    /// # Errors
    /// ractor's when an actor does not start.
    pub async fn start(options: Options, store: Arc<dyn Store>, node: Node) -> Result<Self, StartError> {
        let places = (0..options.shards).map(|_| ArcSwapOption::empty()).collect();
        let served = Arc::new(AtomicUsize::new(0));
        let ground = Arc::new(Ground {
            places,
            routes: ArcSwap::default(),
            changes: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            served: Arc::clone(&served),
        });
        // Each shard is lost once until it is adopted again.
        let (fenced_by, fenced) = mpsc::channel(usize::from(options.shards).max(1));
        let hands = Hands::default();
        let start = Start {
            ground: Arc::clone(&ground),
            store: Arc::clone(&store),
            options,
            fenced: fenced_by,
            hands: hands.clone(),
        };
        let shards = start.options.shards;
        let (supervisor, _) = Actor::spawn(None, Supervisor, start).await?;
        let handle = Handle::new(Arc::clone(&ground), node);
        hands.equip(handle.clone());
        let clockwork = vec![
            tokio::spawn(pulse(Arc::clone(&ground))),
            tokio::spawn(super::sweep::run(store, Arc::clone(&ground), shards)),
        ];
        Ok(Self { ground, supervisor, clockwork, handle, hands, fenced })
    }

    /// The door for everybody else.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Lets actors have done what needs more than other actors: quotes and payments.
    pub fn open_shop(&self, shop: Shop) {
        self.hands.open_shop(shop);
    }

    /// Who serves shards here, for the cluster to tell.
    #[must_use]
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::new(Hosting { ground: Arc::clone(&self.ground), supervisor: self.supervisor.clone() })
    }

    /// Waits until a row shows that a newer owner of some shard exists; which shard, and under which epoch it was this
    /// node's.
    pub async fn fenced(&mut self) -> (u16, u64) {
        match self.fenced.recv().await {
            Some(fenced) => fenced,
            None => std::future::pending().await,
        }
    }

    /// Refuses newcomers, ends event streams, waits until every save is settled and everybody told, at most `patience`;
    /// then stops. What is not settled by then is unknown to its asker, and in the store or not.
    pub async fn stop(self, patience: Duration) {
        self.handle.refuse_newcomers();
        let drained = self.ground.served().map(|served| {
            let (reply, done) = oneshot::channel();
            // A stopped shard has nothing left.
            let _ = served.actor.load().send_message(Message::Release(Box::new(move |_| {
                let _ = reply.send(()); // whoever stops may have given up
            })));
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
        if let Some(served) = self.ground.places[usize::from(shard.0)].load().as_ref() {
            served.actor.load().kill();
        }
    }
}

/// Writes the agenda's low marks of a cluster that is about to be made: nothing older than now can be due in it.
///
/// # Errors
/// The store's reason.
pub async fn prepare(store: &Arc<dyn Store>, shards: u16) -> Result<(), Reason> {
    let now = agenda::bucket(clock::now());
    store.index_put((0..shards).map(|shard| agenda::low_mark_entry(ShardId(shard), now)).collect()).await
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

async fn pulse(ground: Arc<Ground>) {
    let group = ground.places.len().div_ceil(PULSE_GROUPS).max(1);
    let mut beat = tokio::time::interval(PULSE / u32::try_from(PULSE_GROUPS).unwrap_or(1));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for places in ground.places.chunks(group).cycle() {
        beat.tick().await;
        for place in places {
            if let Some(served) = place.load().as_ref() {
                let _ = served.actor.load().send_message(Message::Pulse); // between crash and restart there is nobody
            }
        }
    }
}

/// The cluster's orders, carried out here.
#[derive(Debug)]
struct Hosting {
    ground: Arc<Ground>,
    supervisor: ActorRef<Watch>,
}

impl Hosting {
    fn served(&self, shard: u16) -> Option<Arc<Served>> {
        self.ground.places.get(usize::from(shard))?.load_full()
    }

    /// Lets go of a shard; whoever waits in it is told that it is elsewhere.
    fn drop_shard(&self, shard: u16) {
        let Some(place) = self.ground.places.get(usize::from(shard)) else { return };
        if let Some(served) = place.swap(None) {
            served.door.close_for_good();
            self.ground.served.fetch_sub(1, Ordering::Relaxed);
            let _ = self.supervisor.send_message(Watch::Drop(served)); // a stopped system has dropped everything
        }
        self.ground.changed();
    }
}

impl Host for Hosting {
    fn adopt(&self, owned: OwnedShard) {
        let _ = self.supervisor.send_message(Watch::Adopt(owned)); // a stopped system adopts nothing
    }

    fn release(&self, shard: u16, settled: Box<dyn FnOnce(bool) + Send>) {
        let Some(served) = self.served(shard) else { return settled(true) };
        served.door.close();
        // Between a crash and the restart: what was on its way is not settled.
        if let Err(ractor::MessagingErr::SendErr(Message::Release(settled))) =
            served.actor.load().send_message(Message::Release(settled))
        {
            settled(false);
        }
    }

    fn reopen(&self, shard: u16) {
        if let Some(served) = self.served(shard) {
            served.door.open();
            let _ = served.actor.load().send_message(Message::Reopen); // one that starts again is open
        }
        self.ground.changed();
    }

    fn gone(&self, shard: u16) {
        self.drop_shard(shard);
    }

    fn depose(&self, shard: u16) {
        metrics().actor_fenced_total.inc();
        tracing::warn!(shard, "another node owns this shard now: its actors are dropped here");
        self.drop_shard(shard);
    }

    fn route(&self, routes: Arc<Routes>) {
        self.ground.routes.store(routes);
        self.ground.changed();
    }
}

/// What the supervisor is asked.
#[derive(Debug)]
enum Watch {
    Adopt(OwnedShard),
    Drop(Arc<Served>),
}

impl ractor::Message for Watch {}

/// Starts the shards, and again whichever crashes: what was acknowledged is in the store, the rest was not told.
struct Supervisor;

struct Start {
    ground: Arc<Ground>,
    store: Arc<dyn Store>,
    options: Options,
    fenced: mpsc::Sender<(u16, u64)>,
    hands: Hands,
}

struct Watched {
    start: Start,
    settings: HashMap<u16, Setting>,
}

impl Watched {
    fn setting(&self, owned: OwnedShard) -> Setting {
        Setting {
            door: Arc::new(Door::new(owned.shard)),
            store: Arc::clone(&self.start.store),
            options: self.start.options.clone(),
            epoch: owned.epoch,
            fence: owned.fence,
            served: Arc::clone(&self.start.ground.served),
            fenced: self.start.fenced.clone(),
            hands: self.start.hands.clone(),
        }
    }
}

impl Actor for Supervisor {
    type Msg = Watch;
    type State = Watched;
    type Arguments = Start;

    async fn pre_start(&self, _: ActorRef<Watch>, start: Start) -> Result<Watched, ActorProcessingErr> {
        Ok(Watched { start, settings: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Watch>,
        message: Watch,
        state: &mut Watched,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Watch::Adopt(owned) => {
                let setting = state.setting(owned);
                let (actor, _) = Actor::spawn_linked(None, ShardActor, setting.clone(), myself.get_cell()).await?;
                let served = Served { door: Arc::clone(&setting.door), actor: ArcSwap::from_pointee(actor), owned };
                let ground = &state.start.ground;
                let Some(place) = ground.places.get(usize::from(owned.shard.0)) else { return Ok(()) };
                if place.swap(Some(Arc::new(served))).is_none() {
                    ground.served.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(closed_at) = owned.closed_at {
                    let dark = Duration::from_millis(clock::now().since_ms(closed_at));
                    metrics().cluster_shard_dark_seconds.observe(dark.as_secs_f64());
                }
                state.settings.insert(owned.shard.0, setting);
                metrics().cluster_owned_shards.set(i64::try_from(state.settings.len()).unwrap_or(i64::MAX));
                ground.changed();
            }
            Watch::Drop(served) => {
                let shard = served.owned.shard.0;
                let is_it = |setting: &Setting| setting.epoch == served.owned.epoch;
                if state.settings.get(&shard).is_some_and(is_it) {
                    state.settings.remove(&shard);
                }
                metrics().cluster_owned_shards.set(i64::try_from(state.settings.len()).unwrap_or(i64::MAX));
                let _ = served.actor.load().send_message(Message::Abandon); // crashed, it has nothing
            }
        }
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
        let crashed = |served: &Arc<Served>| served.actor.load().get_id() == who.get_id();
        let Some(served) = state.start.ground.served().find(crashed) else { return Ok(()) };
        let Some(setting) = state.settings.get(&served.owned.shard.0) else { return Ok(()) };
        let reason =
            if let SupervisionEvent::ActorFailed(_, error) = &event { error.to_string() } else { "killed".into() };
        tracing::error!(shard = setting.door.shard.0, reason, "a shard actor crashed and is started again");
        metrics().shard_restarts_total.inc();
        setting.door.queue.progress_ms.store(clock::mono_ms(), Ordering::Relaxed);
        let (actor, _) = Actor::spawn_linked(None, ShardActor, setting.clone(), myself.get_cell()).await?;
        served.actor.store(Arc::new(actor));
        Ok(())
    }
}

/// Told when nothing of a shard is open any more; see [`Host::release`].
pub(super) type Settled = Box<dyn FnOnce(bool) + Send>;
