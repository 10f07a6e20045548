//! The shards that this node serves, as one system: starts it, keeps its clockwork going, stops it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::{Actor, ActorRef};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    agenda,
    handle::Handle,
    hands::{Hands, Shop},
    hosting::{Hosting, Orders, Start, Supervisor, Watch},
    shard::{Door, Message},
};
use crate::{
    cluster::{Host, Lease, Links, OwnedShard, Routes},
    domain::ShardId,
    events::Relay,
    store::{Reason, Store},
    telemetry::clock,
};

/// How often each shard does its housekeeping; also how late a timer may fire.
const PULSE: Duration = Duration::from_secs(2);
/// Pulses go out in so many groups: what many shards do at once holds up the saves of that moment.
const PULSE_GROUPS_MAX: usize = 128;

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
    /// How many are served here.
    pub(super) served: Arc<AtomicUsize>,
    /// How late the oldest agenda entry of each of its shards is.
    pub(super) overdue: Arc<agenda::Overdue>,
    pub(super) orders: Orders,
}

impl Ground {
    pub(super) fn changed(&self) {
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
        let ground = Arc::new(Ground {
            places,
            routes: ArcSwap::default(),
            changes: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            served: Arc::default(),
            overdue: Arc::default(),
            orders: Orders::default(),
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
        Arc::new(Hosting::new(Arc::clone(&self.ground), self.supervisor.clone()))
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
    let groups = ground.places.chunks(ground.places.len().div_ceil(PULSE_GROUPS_MAX).max(1));
    let mut beat = tokio::time::interval(PULSE / u32::try_from(groups.len()).unwrap_or(1).max(1));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for places in groups.cycle() {
        beat.tick().await;
        for place in places {
            if let Some(served) = place.load().as_ref() {
                let _ = served.actor.load().send_message(Message::Pulse); // between crash and restart there is nobody
            }
        }
    }
}

/// Told when nothing of a shard is open any more; see [`Host::release`].
pub(super) type Settled = Box<dyn FnOnce(bool) + Send>;
