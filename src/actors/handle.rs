//! The only door to actors from outside: finds the shard, admits or refuses, waits for the answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::{
    ask::{Answer, Ask, Effect, Failure},
    cart::CartEntity,
    durable::{Facts, Outcome},
    residents::{self, Ticket},
    shard::{Door, Message},
    system,
};
use crate::{
    cluster::Ownership,
    domain::{
        CartId, ShardId, Slot,
        cart::{Cart, Command, Refusal},
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

type CartFailure = Failure<Refusal>;

/// The only door to actors from outside; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<[system::Place]>,
    closed: AtomicBool,
    node: Arc<str>,
    incarnation: u64,
    map_version: u64,
    owned: Vec<Owned>,
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
}

/// Facts about a cart for operators: nothing that its shopper wrote.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Its id.
    pub id: String,
    /// Its shard.
    pub shard: u16,
    /// The shard's ownership.
    pub epoch: u64,
    /// The epoch of the shard's last takeover.
    pub fence: u64,
    /// What the machine says.
    pub machine: Facts,
    /// open, closed or expired.
    pub status: &'static str,
    /// What clients see as its revision.
    pub revision: u64,
    /// Lines that would be bought.
    pub lines: usize,
    /// Lines kept for later.
    pub saved_for_later: usize,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Unix milliseconds.
    pub updated_at_ms: u64,
    /// Unix milliseconds.
    pub expires_at_ms: u64,
}

impl Handle {
    pub(super) fn new(places: Arc<[system::Place]>, ownership: &Ownership) -> Self {
        let owned = ownership
            .shards
            .iter()
            .map(|owned| Owned { shard: owned.shard.0, epoch: owned.epoch, fence: owned.fence })
            .collect();
        Self(Arc::new(Inner {
            places,
            closed: AtomicBool::new(false),
            node: Arc::clone(&ownership.node),
            incarnation: ownership.incarnation,
            map_version: ownership.map_version,
            owned,
        }))
    }

    /// The committed cart, whoever owns it: the caller checks the owner.
    ///
    /// # Errors
    /// [`Failure`]; an absent cart is `Refused(NotFound)`.
    pub async fn cart(&self, id: CartId, timeout: Duration) -> Result<Arc<Cart>, CartFailure> {
        let place = self.place(id.slot());
        if let Some(cart) = place.door.carts.get(id.0.0) {
            return Ok(cart);
        }
        let read = |since_ms, ticket| Message::Read { id: id.0.0, timeout, since_ms, ticket };
        match self.exchange(place, timeout, read).await {
            // The shard crashed and is up again: a read has no effect, so it may be asked twice.
            Err(Failure::Internal(Effect::Unknown)) => self.exchange(place, timeout, read).await,
            other => other,
        }
        .map(|answer| answer.state)
        .map_err(without_effect)
    }

    /// Asks a cart.
    ///
    /// # Errors
    /// [`Failure`], which says whether anything may have happened.
    pub async fn ask_cart(&self, id: CartId, ask: Ask<Command>) -> Result<Answer<Cart>, CartFailure> {
        let timeout = ask.timeout;
        let ask = Box::new(ask);
        let message = |since_ms, ticket| Message::Ask { id: id.0.0, ask, since_ms, ticket };
        self.exchange(self.place(id.slot()), timeout, message).await
    }

    /// Every committed state of a cart from now on, the newest first. When the sender goes, the cart has moved or the
    /// node leaves: ask again.
    ///
    /// # Errors
    /// [`Failure`] as for [`Handle::cart`].
    pub async fn watch_cart(&self, id: CartId, timeout: Duration) -> Result<watch::Receiver<Arc<Cart>>, CartFailure> {
        let place = self.place(id.slot());
        for _ in 0..WATCH_ATTEMPTS {
            self.cart(id, timeout).await?;
            let (reply, receiver) = oneshot::channel();
            let message = Message::Watch { id: id.0.0, reply, place: self.admit(&place.door)? };
            let _ = place.actor.load().send_message(message); // a crashed shard drops `reply`
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(Some(receiver))) => return Ok(receiver),
                Ok(_) => {} // left memory in between, or crashed: load it again
                Err(_) => return Err(Failure::TimedOut(Effect::None)),
            }
        }
        Err(Failure::Overloaded { retry_after: Duration::from_secs(1) })
    }

    /// Facts about a cart for operators.
    ///
    /// # Errors
    /// [`Failure`] as for [`Handle::cart`].
    pub async fn inspect_cart(&self, id: CartId, timeout: Duration) -> Result<Inspection, CartFailure> {
        let cart = self.cart(id, timeout).await?;
        let place = self.place(id.slot());
        let (reply, receiver) = oneshot::channel();
        let _ = place.actor.load().send_message(Message::Facts { id: id.0.0, reply }); // a crashed shard drops `reply`
        let facts = tokio::time::timeout(timeout, receiver).await.map_err(|_| Failure::TimedOut(Effect::None))?;
        let machine = facts.ok().flatten().ok_or(Failure::Overloaded { retry_after: Duration::from_secs(1) })?;
        let owned = &self.0.owned[usize::from(place.door.shard.0)];
        Ok(Inspection {
            id: id.to_string(),
            shard: owned.shard,
            epoch: owned.epoch,
            fence: owned.fence,
            machine,
            status: cart.status.as_str(),
            revision: cart.revision,
            lines: cart.lines.len(),
            saved_for_later: cart.saved.len(),
            created_at_ms: cart.created_at.0,
            updated_at_ms: cart.updated_at.0,
            expires_at_ms: cart.expires_at.0,
        })
    }

    /// What this node knows of the cluster.
    #[must_use]
    pub fn cluster_status(&self) -> ClusterStatus {
        ClusterStatus {
            node: Arc::clone(&self.0.node),
            incarnation: self.0.incarnation,
            map_version: self.0.map_version,
            shards: self.0.owned.clone(),
        }
    }

    /// Whether newcomers are taken and every shard is still this node's.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let deposed = |place: &system::Place| place.door.deposed.load(Ordering::Relaxed);
        !self.0.closed.load(Ordering::Relaxed) && !self.0.places.iter().any(deposed)
    }

    pub(super) fn refuse_newcomers(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    fn place(&self, slot: Slot) -> &system::Place {
        let shards = u16::try_from(self.0.places.len()).unwrap_or(u16::MAX);
        let ShardId(shard) = slot.shard(shards);
        &self.0.places[usize::from(shard)]
    }

    /// A place in the shard's queue, or the refusal, before any work is done.
    fn admit(&self, door: &Arc<Door>) -> Result<residents::Place, CartFailure> {
        if self.0.closed.load(Ordering::Relaxed) {
            return Err(Failure::Draining);
        }
        if door.deposed.load(Ordering::Relaxed) {
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

    async fn exchange(
        &self,
        place: &system::Place,
        timeout: Duration,
        message: impl FnOnce(u64, Ticket<CartEntity>) -> Message,
    ) -> Outcome<CartEntity> {
        let admitted = self.admit(&place.door)?;
        let (reply, answer) = oneshot::channel();
        let message = message(clock::mono_ms(), Ticket { reply, _place: admitted });
        if place.actor.load().send_message(message).is_err() {
            // Between a crash and the restart: never delivered.
            return Err(Failure::Overloaded { retry_after: Duration::from_secs(1) });
        }
        match tokio::time::timeout(timeout + GRACE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::Internal(Effect::Unknown)), // the shard crashed
            Err(_) => Err(Failure::TimedOut(Effect::Unknown)),
        }
    }
}

/// A read had no effect, however it failed.
fn without_effect(failure: CartFailure) -> CartFailure {
    match failure {
        Failure::StoreUnavailable(_) => Failure::StoreUnavailable(Effect::None),
        Failure::TimedOut(_) => Failure::TimedOut(Effect::None),
        Failure::Internal(_) => Failure::Internal(Effect::None),
        other => other,
    }
}
