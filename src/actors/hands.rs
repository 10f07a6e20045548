//! How actors do what their states need done elsewhere: commands to other actors, here or on another node, and payments.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    ask::{Ask, Failure},
    cart::CartEntity,
    checkout::CheckoutEntity,
    discount::DiscountEntity,
    durable::Again,
    errand::{Answer, Errand},
    failpoint::Deed,
    handle::Handle,
    kinds::Hosted,
    order::OrderEntity,
    route::Wanted,
    stock::StockEntity,
};
use crate::{
    catalog::Catalog,
    domain::{Id, Try, order::Capture, pricing::Tables},
    payments::{self, Gateways},
    telemetry::metrics::metrics,
};

/// How long one attempt at a deed may take; the actor tries again after it.
pub(super) const DEED_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a gateway may take of it: its answer must still be told.
const GATEWAY_TIMEOUT: Duration = Duration::from_millis(4_500);
/// Most deeds that one node has out at once: past it the rest are tried again later, as their actors remember them.
const OUT_MAX: usize = 4096;

/// How actors do what their states need done elsewhere; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    inner: Arc<Inner>,
    /// Which attempt it is that they make.
    nth: Try,
}

#[derive(Debug)]
struct Inner {
    /// Set once the node's door exists.
    handle: OnceLock<Handle>,
    /// Set once the node knows what the shop sells.
    shop: OnceLock<Shop>,
    places: Semaphore,
}

/// What purchases need beside other actors.
#[derive(Clone, Debug)]
pub struct Shop {
    /// What is sold.
    pub catalog: Catalog,
    /// What shipping costs, and what tax is due.
    pub tables: Arc<Tables>,
    /// By whom money is moved.
    pub gateways: Arc<Gateways>,
    /// When it is taken.
    pub capture: Capture,
    /// How long a checkout lives without activity, in milliseconds.
    pub checkout_ttl_ms: u64,
    /// How long at most.
    pub checkout_ttl_max_ms: u64,
}

impl Default for Hands {
    fn default() -> Self {
        let inner = Inner { handle: OnceLock::new(), shop: OnceLock::new(), places: Semaphore::new(OUT_MAX) };
        Self { inner: Arc::new(inner), nth: Try::Again }
    }
}

impl Hands {
    /// Gives them the door to all actors.
    pub(super) fn equip(&self, handle: Handle) {
        let _ = self.inner.handle.set(handle); // equipped once
    }

    /// Gives them what purchases need: until then, deeds that need it wait.
    pub(super) fn open_shop(&self, shop: Shop) {
        let _ = self.inner.shop.set(shop); // opened once
    }

    /// What purchases need.
    pub(super) fn shop(&self) -> Result<&Shop, Again> {
        self.inner.shop.get().ok_or(Again)
    }

    /// By when a gateway must have answered: a little before the deed itself is given up.
    fn deadline() -> Instant {
        Instant::now() + GATEWAY_TIMEOUT
    }

    /// Does one deed of an actor.
    pub(super) async fn perform<E: Hosted>(mut self, id: u128, call: E::Call, nth: Try) -> Result<E::Done, Again> {
        self.nth = nth;
        let inner = Arc::clone(&self.inner);
        let Ok(_place) = inner.places.try_acquire() else {
            metrics().actor_overloads_total.with_label_values(&["deeds"]).inc();
            return Err(Again);
        };
        let deed = Deed::of(E::KIND, &call);
        deed.begins();
        let done = tokio::time::timeout(DEED_TIMEOUT, E::perform(self, id, call)).await.unwrap_or(Err(Again))?;
        deed.is_done();
        Ok(done)
    }

    /// Asks whom an errand is for, once; it does the same thing once, however often it is asked.
    pub(super) async fn run(&self, errand: Errand) -> Result<Answer, Again> {
        // Nothing was begun where there is no such gateway any more, or it is known to be away: later, it may be there.
        let again = |_: payments::Failure| Again;
        Ok(match errand {
            Errand::Cart(id, command) => Answer::Cart(self.tell::<CartEntity>(id.0, command).await?),
            Errand::Checkout(id, command) => Answer::Checkout(self.tell::<CheckoutEntity>(id.0, command).await?),
            Errand::Stock(id, command) => Answer::Stock(self.tell::<StockEntity>(id.0, command).await?),
            Errand::Discount(id, command) => Answer::Discount(self.tell::<DiscountEntity>(id.0, command).await?),
            Errand::Order(id, command) => Answer::Order(self.tell::<OrderEntity>(id.0, command).await?),
            Errand::Authorise(ask) => {
                Answer::Authorised(self.shop()?.gateways.authorise(ask, Self::deadline()).await.map_err(again)?)
            }
            Errand::Abandon(ask) => {
                Answer::Abandoned(self.shop()?.gateways.abandon(ask, Self::deadline()).await.map_err(again)?)
            }
            Errand::Capture(deed) => {
                Answer::Moved(self.shop()?.gateways.capture(deed, Self::deadline()).await.map_err(again)?)
            }
            Errand::Void(deed) => {
                Answer::Moved(self.shop()?.gateways.void(deed, Self::deadline()).await.map_err(again)?)
            }
            Errand::Refund(deed) => {
                Answer::Moved(self.shop()?.gateways.refund(deed, Self::deadline()).await.map_err(again)?)
            }
        })
    }

    /// Tells another actor to do something that it does once, however often it is told; what it refused, it refused for
    /// good.
    async fn tell<E: Hosted>(&self, id: Id, command: E::Command) -> Result<Result<(), E::Refusal>, Again> {
        let handle = self.inner.handle.get().ok_or(Again)?;
        let ask = Ask { command, by: None, if_revision: None, key: None, timeout: DEED_TIMEOUT, deed: Some(self.nth) };
        match handle.routed::<E>(id, Wanted::Ask(ask), DEED_TIMEOUT).await {
            Ok(_) => Ok(Ok(())),
            Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
            Err(_) => Err(Again),
        }
    }
}
