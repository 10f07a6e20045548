//! The cluster's orders, carried out here: adopts shards and lets them go, starts them again when they crash.
//!
//! An adoption takes a moment, for an actor has to start; every other order is carried out at once. So the orders are
//! written down first, and whatever has started is served only if that is still the order.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;

use super::{
    hands::Hands,
    shard::{Door, Message, Setting, ShardActor},
    system::{Ground, Options, Served, Settled},
};
use crate::{
    cluster::{Host, OwnedShard, Routes},
    store::Store,
    telemetry::{clock, metrics::metrics},
};

/// What the cluster ordered last of the shards that it gives this node. Held while a place is filled or emptied, so that
/// no adoption outlives the order to let go.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<BTreeMap<u16, Order>>);

#[derive(Clone, Copy, Debug)]
struct Order {
    owned: OwnedShard,
    /// It is about to move: nothing of it may begin.
    is_closed: bool,
}

impl Orders {
    fn held(&self) -> MutexGuard<'_, BTreeMap<u16, Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served of it under its last order; what an earlier ownership left behind is nobody's.
    fn served(orders: &BTreeMap<u16, Order>, shard: u16, place: Option<Arc<Served>>) -> Option<Arc<Served>> {
        place.filter(|served| orders.get(&shard).is_some_and(|order| order.owned.epoch == served.owned.epoch))
    }

    fn is_wanted(orders: &BTreeMap<u16, Order>, owned: OwnedShard) -> bool {
        orders.get(&owned.shard.0).is_some_and(|order| order.owned.epoch == owned.epoch && !order.is_closed)
    }
}

/// Who carries out the cluster's orders.
#[derive(Debug)]
pub(super) struct Hosting {
    ground: Arc<Ground>,
    supervisor: ActorRef<Watch>,
}

impl Hosting {
    pub(super) fn new(ground: Arc<Ground>, supervisor: ActorRef<Watch>) -> Self {
        Self { ground, supervisor }
    }

    fn place(&self, shard: u16) -> Option<Arc<Served>> {
        self.ground.places.get(usize::from(shard))?.load_full()
    }

    /// Lets go of a shard; whoever waits in it is told that it is elsewhere.
    fn drop_shard(&self, shard: u16) {
        let Some(place) = self.ground.places.get(usize::from(shard)) else { return };
        let served = {
            let mut orders = self.ground.orders.held();
            orders.remove(&shard);
            place.swap(None)
        };
        if let Some(served) = served {
            served.door.close_for_good();
            self.ground.served.fetch_sub(1, Ordering::Relaxed);
            let _ = self.supervisor.send_message(Watch::Drop(served)); // a stopped system has dropped everything
        }
        self.ground.changed();
    }
}

impl Host for Hosting {
    fn adopt(&self, owned: OwnedShard) {
        self.ground.orders.held().insert(owned.shard.0, Order { owned, is_closed: false });
        let _ = self.supervisor.send_message(Watch::Adopt(owned)); // a stopped system adopts nothing
    }

    fn release(&self, shard: u16, settled: Settled) {
        let served = {
            let mut orders = self.ground.orders.held();
            if let Some(order) = orders.get_mut(&shard) {
                order.is_closed = true;
            }
            Orders::served(&orders, shard, self.place(shard))
        };
        // Not served yet, it has begun nothing, and will not.
        let Some(served) = served else { return settled(true) };
        served.door.close();
        // Between a crash and the restart: what was on its way is not settled.
        if let Err(ractor::MessagingErr::SendErr(Message::Release(settled))) =
            served.actor.load().send_message(Message::Release(settled))
        {
            settled(false);
        }
    }

    fn reopen(&self, shard: u16) {
        let (order, served) = {
            let mut orders = self.ground.orders.held();
            let order = orders.get_mut(&shard).map(|order| {
                order.is_closed = false;
                *order
            });
            (order, Orders::served(&orders, shard, self.place(shard)))
        };
        match (served, order) {
            (Some(served), _) => {
                served.door.open();
                let _ = served.actor.load().send_message(Message::Reopen); // one that starts again is open
            }
            // Released before it was served.
            (None, Some(order)) => drop(self.supervisor.send_message(Watch::Adopt(order.owned))), // as above
            (None, None) => {}
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
pub(super) enum Watch {
    Adopt(OwnedShard),
    Drop(Arc<Served>),
}

impl ractor::Message for Watch {}

/// Starts the shards, and again whichever crashes: what was acknowledged is in the store, the rest was not told.
pub(super) struct Supervisor;

/// What it is started with.
pub(super) struct Start {
    pub(super) ground: Arc<Ground>,
    pub(super) store: Arc<dyn Store>,
    pub(super) options: Options,
    pub(super) fenced: mpsc::Sender<(u16, u64)>,
    pub(super) hands: Hands,
}

pub(super) struct Watched {
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
            overdue: Arc::clone(&self.start.ground.overdue),
            fenced: self.start.fenced.clone(),
            hands: self.start.hands.clone(),
        }
    }

    /// Starts a shard and serves it, unless the order changed meanwhile.
    async fn adopt(&mut self, myself: &ActorRef<Watch>, owned: OwnedShard) -> Result<(), ActorProcessingErr> {
        let ground = Arc::clone(&self.start.ground);
        let Some(place) = ground.places.get(usize::from(owned.shard.0)) else { return Ok(()) };
        let is_served = || place.load().as_ref().is_some_and(|served| served.owned.epoch == owned.epoch);
        if is_served() || !Orders::is_wanted(&ground.orders.held(), owned) {
            return Ok(());
        }
        let setting = self.setting(owned);
        let (actor, _) = Actor::spawn_linked(None, ShardActor, setting.clone(), myself.get_cell()).await?;
        let served = Served { door: Arc::clone(&setting.door), actor: ArcSwap::from_pointee(actor.clone()), owned };
        let left = {
            let orders = ground.orders.held();
            if !Orders::is_wanted(&orders, owned) {
                actor.stop(None); // asked nothing, it has done nothing
                return Ok(());
            }
            place.swap(Some(Arc::new(served)))
        };
        match left {
            // A fence ended an earlier ownership; this node has the shard again.
            Some(left) => {
                left.door.close_for_good();
                let _ = left.actor.load().send_message(Message::Abandon); // crashed, it has nothing
            }
            None => drop(ground.served.fetch_add(1, Ordering::Relaxed)),
        }
        if let Some(closed_at) = owned.closed_at {
            let dark = Duration::from_millis(clock::now().since_ms(closed_at));
            metrics().cluster_shard_dark_seconds.observe(dark.as_secs_f64());
        }
        self.settings.insert(owned.shard.0, setting);
        self.count();
        ground.changed();
        Ok(())
    }

    fn drop_served(&mut self, served: &Served) {
        let shard = served.owned.shard.0;
        if self.settings.get(&shard).is_some_and(|setting| setting.epoch == served.owned.epoch) {
            self.settings.remove(&shard);
        }
        self.count();
        let _ = served.actor.load().send_message(Message::Abandon); // crashed, it has nothing
    }

    fn count(&self) {
        metrics().cluster_owned_shards.set(i64::try_from(self.settings.len()).unwrap_or(i64::MAX));
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
            Watch::Adopt(owned) => state.adopt(&myself, owned).await?,
            Watch::Drop(served) => state.drop_served(&served),
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
