//! The only door to actors from outside: admits or refuses, waits for the answer. `route` finds the way.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    ask::{Answer, Ask, Effect, Failure, Told},
    cart::CartEntity,
    checkout::CheckoutEntity,
    discount::DiscountEntity,
    durable::Outcome,
    inspect::{Hosting, Inspection},
    kinds::{Hosted, To},
    order::OrderEntity,
    residents::{self, Ticket},
    route::{PARKED_MAX, Wanted},
    shard::{Door, Message},
    stock::StockEntity,
    system::{Ground, Node, Served},
};
use crate::{
    cluster::Freshness,
    domain::{
        CartId, CheckoutId, DiscountId, Id, OrderId, ShardId, Slot, StockId,
        cart::{Cart, Command, Refusal},
        checkout::{self, Checkout},
        discount::{self, Discount},
        order::{self, Order},
        stock::{self, Stock},
    },
    telemetry::{clock, metrics::metrics},
};

/// Most commands and reads that wait in one shard: two full batches of one hot actor and as much again of others.
const SHARD_WAITING_MAX: usize = 4096;
/// A shard that has taken no message for so long, while some wait, takes no newcomers.
const SHARD_STALLED_AFTER_MS: u64 = 1_000;
/// Below this many waiting, a pause of the machine is no overload.
const SHARD_STALLED_WAITING_MIN: usize = 64;
/// The machine answers by the deadline; only a crashed or stalled shard lets its asker wait this much longer.
const GRACE: Duration = Duration::from_millis(500);
/// Attempts to subscribe while the actor comes and goes.
const WATCH_ATTEMPTS: usize = 3;

/// What the door says of one kind of actors.
macro_rules! doors {
    ($($(#[$doc:meta])* $kind:ident, $id:ty, $state:ty, $command:ty, $refusal:ty:
        $get:ident, $ask:ident, $watch:ident, $inspect:ident;)+) => {
        impl Handle {$(
            $(#[$doc])*
            /// The committed state, whoever it belongs to: the caller checks that.
            ///
            /// # Errors
            /// [`Failure`]; an absent one is refused as not found.
            pub async fn $get(&self, id: $id, timeout: Duration) -> Result<Told<Arc<$state>>, Failure<$refusal>> {
                self.get::<$kind>(id.0, timeout).await
            }

            $(#[$doc])*
            /// Asks it.
            ///
            /// # Errors
            /// [`Failure`], which says whether anything may have happened.
            pub async fn $ask(&self, id: $id, ask: Ask<$command>) -> Result<Told<Answer<$state>>, Failure<$refusal>> {
                self.ask::<$kind>(id.0, ask).await
            }

            $(#[$doc])*
            /// Every committed state from now on, the newest first. When the sender goes, it has moved or the node leaves:
            /// ask again.
            ///
            /// # Errors
            /// [`Failure`] as for a read.
            pub async fn $watch(
                &self,
                id: $id,
                timeout: Duration,
            ) -> Result<watch::Receiver<Arc<$state>>, Failure<$refusal>> {
                self.watch::<$kind>(id.0, timeout).await
            }

            $(#[$doc])*
            /// Facts about it for operators; about its machine only on the node that owns it.
            ///
            /// # Errors
            /// [`Failure`] as for a read.
            pub async fn $inspect(&self, id: $id, timeout: Duration) -> Result<Inspection, Failure<$refusal>> {
                self.inspected::<$kind>(id.0, timeout).await
            }
        )+}
    };
}

doors! {
    /// A cart.
    CartEntity, CartId, Cart, Command, Refusal:
        cart, ask_cart, watch_cart, inspect_cart;
    /// A checkout.
    CheckoutEntity, CheckoutId, Checkout, checkout::Command, checkout::Refusal:
        checkout, ask_checkout, watch_checkout, inspect_checkout;
    /// An order.
    OrderEntity, OrderId, Order, order::Command, order::Refusal:
        order, ask_order, watch_order, inspect_order;
    /// A product's stock.
    StockEntity, StockId, Stock, stock::Command, stock::Refusal:
        stock, ask_stock, watch_stock, inspect_stock;
    /// A discount code.
    DiscountEntity, DiscountId, Discount, discount::Command, discount::Refusal:
        discount, ask_discount, watch_discount, inspect_discount;
}

/// The only door to actors from outside; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ground: Arc<Ground>,
    node: Node,
    /// Places for requests that wait for a shard.
    parking: Semaphore,
}

/// One shard that this node owns, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct Owned {
    /// Its number.
    pub shard: u16,
    /// The present ownership.
    pub epoch: u64,
    /// The epoch of its last takeover.
    pub fence: u64,
    #[serde(skip)]
    moving: bool,
}

/// What this node knows of the cluster, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// This node's name.
    pub node: Arc<str>,
    /// Counts this node's starts.
    pub incarnation: u64,
    /// Version of the shard map that it follows.
    pub map_version: u64,
    /// Shards that it owns.
    pub shards: Vec<Owned>,
    /// Those of them that take no requests just now, because they move.
    pub moving: Vec<u16>,
    /// Nodes that it has a session with.
    pub sessions: Vec<Arc<str>>,
}

impl Handle {
    pub(super) fn new(ground: Arc<Ground>, node: Node) -> Self {
        Self(Arc::new(Inner { ground, node, parking: Semaphore::new(PARKED_MAX) }))
    }

    pub(super) fn ground(&self) -> &Ground {
        &self.0.ground
    }

    pub(super) fn node(&self) -> &Node {
        &self.0.node
    }

    pub(super) fn parking(&self) -> &Semaphore {
        &self.0.parking
    }

    /// The committed state, whoever it is about: the caller checks that.
    pub(super) async fn get<E: Hosted>(
        &self,
        id: Id,
        timeout: Duration,
    ) -> Result<Told<Arc<E::State>>, Failure<E::Refusal>> {
        if let Some(state) = self.shown::<E>(id) {
            return Ok(Told::here(state));
        }
        let told = self.routed::<E>(id, Wanted::Read, timeout).await.map_err(without_effect)?;
        Ok(told.map(|answer| answer.state))
    }

    /// The committed state, where it is in memory here and may be told without a message to its shard.
    pub(super) fn shown<E: Hosted>(&self, id: Id) -> Option<Arc<E::State>> {
        let place = self.place(id.slot())?.load();
        let served = place.as_ref().filter(|served| served.door.is_open())?;
        E::shown(&served.door.shows).get(id.0)
    }

    /// Asks an actor.
    pub(super) async fn ask<E: Hosted>(
        &self,
        id: Id,
        ask: Ask<E::Command>,
    ) -> Result<Told<Answer<E::State>>, Failure<E::Refusal>> {
        let timeout = ask.timeout;
        self.routed::<E>(id, Wanted::Ask(ask), timeout).await
    }

    /// Every committed state of an actor from now on, the newest first. When the sender goes, it has moved or the node
    /// leaves: ask again.
    pub(super) async fn watch<E: Hosted>(
        &self,
        id: Id,
        timeout: Duration,
    ) -> Result<watch::Receiver<Arc<E::State>>, Failure<E::Refusal>> {
        for _ in 0..WATCH_ATTEMPTS {
            let state = self.get::<E>(id, timeout).await?;
            if let Some((owner, _)) = &state.by {
                return Ok(self.follow::<E>(id, Arc::clone(owner), Arc::clone(&state)));
            }
            // Left memory in between, moved, or crashed: find it again.
            if let Some(receiver) = self.watch_here::<E>(id, timeout).await? {
                return Ok(receiver);
            }
        }
        Err(Failure::Overloaded { retry_after: Duration::from_secs(1) })
    }

    /// The same of an actor that is in memory here; `None` = it is not, now.
    pub(super) async fn watch_here<E: Hosted>(
        &self,
        id: Id,
        timeout: Duration,
    ) -> Result<Option<watch::Receiver<Arc<E::State>>>, Failure<E::Refusal>> {
        let Some(served) = self.served(id.slot()) else { return Ok(None) };
        let (reply, receiver) = oneshot::channel();
        let message = E::addressed(id.0, To::Watch { reply, place: self.admit::<E>(&served.door)? });
        let _ = served.actor.load().send_message(Message::Actor(message)); // a crashed shard drops `reply`
        let received = tokio::time::timeout(timeout, receiver).await.map_err(|_| Failure::TimedOut(Effect::None))?;
        Ok(received.ok().flatten())
    }

    /// Facts about an actor for operators.
    async fn inspected<E: Hosted>(&self, id: Id, timeout: Duration) -> Result<Inspection, Failure<E::Refusal>> {
        let state = self.get::<E>(id, timeout).await?;
        let (owner, hosting) = match &state.by {
            Some((owner, _)) => (Arc::clone(owner), None),
            None => (Arc::clone(&self.0.node.name), Some(self.hosting::<E>(id, timeout).await?)),
        };
        let shard = self.shard(id.slot()).0;
        Ok(Inspection { id: E::name(id.0), owner, shard, hosting, about: E::about(&state) })
    }

    /// Facts about the machine of an actor that is in memory here.
    async fn hosting<E: Hosted>(&self, id: Id, timeout: Duration) -> Result<Hosting, Failure<E::Refusal>> {
        let served = self.served(id.slot()).ok_or(Failure::NotOwner)?;
        let (reply, receiver) = oneshot::channel();
        let message = E::addressed(id.0, To::Facts { reply });
        let _ = served.actor.load().send_message(Message::Actor(message)); // a crashed shard drops `reply`
        let facts = tokio::time::timeout(timeout, receiver).await.map_err(|_| Failure::TimedOut(Effect::None))?;
        let machine = facts.ok().flatten().ok_or(Failure::Overloaded { retry_after: Duration::from_secs(1) })?;
        Ok(Hosting { epoch: served.owned.epoch, fence: served.owned.fence, machine })
    }

    /// What this node knows of the cluster.
    #[must_use]
    pub fn cluster_status(&self) -> ClusterStatus {
        let owned = |served: Arc<Served>| Owned {
            shard: served.owned.shard.0,
            epoch: served.owned.epoch,
            fence: served.owned.fence,
            moving: !served.door.is_open(),
        };
        let shards: Vec<Owned> = self.0.ground.served().map(owned).collect();
        ClusterStatus {
            moving: shards.iter().filter(|owned| owned.moving).map(|owned| owned.shard).collect(),
            node: Arc::clone(&self.0.node.name),
            incarnation: self.0.node.incarnation,
            map_version: self.0.ground.routes.load().map_version,
            shards,
            sessions: self.0.node.links.as_ref().map(|links| links.up()).unwrap_or_default(),
        }
    }

    /// The newest record format that may be written: every member of the cluster reads it. 0 before this node knows the
    /// map; never falls.
    #[must_use]
    pub fn format(&self) -> u16 {
        self.0.ground.routes.load().format
    }

    /// Waits until the cluster may write records of this format, at most so long; whether it may. A cluster that was just
    /// made may within a second, one whose nodes are of two releases once the last of the older has gone.
    pub async fn may_write(&self, format: u16, patience: Duration) -> bool {
        let mut changes = self.0.ground.changes.subscribe();
        let rises = async {
            while self.format() < format {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, rises).await; // either way it is looked at
        self.format() >= format
    }

    /// Whether newcomers are taken: the node knows the map, and does not give up what it has.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let routes = self.0.ground.routes.load();
        let knows_the_map = !routes.owners.is_empty();
        // Cut off, it can still serve what it has: with nothing it is of no use to anybody.
        let is_idle = routes.steps_back && self.0.ground.served().next().is_none();
        !self.0.ground.closed.load(Ordering::Relaxed) && knows_the_map && !is_idle && self.serves_what_it_owns()
    }

    /// Whether every shard that the map gives this node is served here, and by nobody newer.
    fn serves_what_it_owns(&self) -> bool {
        let routes = self.0.ground.routes.load();
        let mut owned = routes.owners.iter().zip(&self.0.ground.places).filter(|(owner, _)| owner.is_here);
        owned.all(|(_, place)| place.load().as_ref().is_some_and(|served| !served.door.is_shut()))
    }

    /// Waits until every shard that the map gives this node is served.
    pub async fn settled(&self) {
        let mut changes = self.0.ground.changes.subscribe();
        loop {
            let is_routed = !self.0.ground.routes.load().owners.is_empty();
            if is_routed && self.serves_what_it_owns() {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// How far the other nodes' wall clocks are from this one's: the median; `None` without others.
    #[must_use]
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.0.node.links.as_ref().and_then(|links| links.clock_offset_ms())
    }

    /// How fresh what is in memory here is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.0.node.lease.freshness()
    }

    pub(super) fn refuse_newcomers(&self) {
        self.0.ground.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn place(&self, slot: Slot) -> Option<&arc_swap::ArcSwapOption<Served>> {
        self.0.ground.places.get(usize::from(self.shard(slot).0))
    }

    fn shard(&self, slot: Slot) -> ShardId {
        slot.shard(u16::try_from(self.0.ground.places.len()).unwrap_or(u16::MAX))
    }

    /// The shard of a slot, where it is served here.
    pub(super) fn served(&self, slot: Slot) -> Option<Arc<Served>> {
        self.place(slot)?.load_full()
    }

    /// A place in the shard's queue, or the refusal, before any work is done.
    fn admit<E: Hosted>(&self, door: &Arc<Door>) -> Result<residents::Place, Failure<E::Refusal>> {
        if self.0.ground.closed.load(Ordering::Relaxed) {
            return Err(Failure::Draining);
        }
        if !door.is_open() {
            return Err(Failure::NotOwner);
        }
        let waiting = door.queue.waiting.fetch_add(1, Ordering::Relaxed);
        let place = residents::Place(Arc::clone(&door.queue));
        let idle_ms = || clock::mono_ms().saturating_sub(door.queue.progress_ms.load(Ordering::Relaxed));
        let stalled = waiting >= SHARD_STALLED_WAITING_MIN && idle_ms() > SHARD_STALLED_AFTER_MS;
        if waiting >= SHARD_WAITING_MAX || stalled {
            metrics().actor_overloads_total.with_label_values(&["shard"]).inc();
            return Err(Failure::Overloaded { retry_after: Duration::from_secs(1) });
        }
        Ok(place)
    }

    pub(super) async fn exchange<E: Hosted>(
        &self,
        served: &Served,
        id: Id,
        timeout: Duration,
        message: impl FnOnce(u64, Ticket<E>) -> To<E>,
    ) -> Outcome<E> {
        let admitted = self.admit::<E>(&served.door)?;
        let (reply, answer) = oneshot::channel();
        let message = E::addressed(id.0, message(clock::mono_ms(), Ticket { reply, _place: admitted }));
        if served.actor.load().send_message(Message::Actor(message)).is_err() {
            // Between a crash and the restart: never delivered.
            return Err(Failure::Overloaded { retry_after: Duration::from_secs(1) });
        }
        match tokio::time::timeout(timeout + GRACE, answer).await {
            Ok(Ok(outcome)) => outcome,
            // The shard went to another node with the question in its mailbox.
            Ok(Err(_)) if served.door.is_shut() => Err(Failure::Moving(Effect::Unknown)),
            Ok(Err(_)) => Err(Failure::Internal(Effect::Unknown)), // the shard crashed
            Err(_) => Err(Failure::TimedOut(Effect::Unknown)),
        }
    }
}

/// A read had no effect, however it failed.
pub(super) fn without_effect<R>(failure: Failure<R>) -> Failure<R> {
    match failure {
        Failure::StoreUnavailable(_) => Failure::StoreUnavailable(Effect::None),
        Failure::TimedOut(_) => Failure::TimedOut(Effect::None),
        Failure::Internal(_) => Failure::Internal(Effect::None),
        Failure::Moving(_) => Failure::Moving(Effect::None),
        other => other,
    }
}
