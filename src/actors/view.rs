//! A cart for a client to read: as it is in memory here, or as its owner rendered it.
//!
//! Most of what is forwarded are reads of carts that their owner has in memory. These make one attempt, which ends as
//! `journey` says; whatever needs another goes the way of everything else (`route`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    ask::{Effect, Failure, Told},
    cart::CartEntity,
    handle::{Handle, without_effect},
    journey::{self, Entrance, Journey, Nature, Next, Way},
    remote::{self, Seen},
    route::{self, Wanted},
};
use crate::{
    cluster::Freshness,
    codec::wire::{Question, Request},
    domain::{
        CartId,
        cart::{Cart, Owner, Refusal},
    },
    store::Kind,
};

/// Renders a cart for clients; given by whoever talks with them.
pub type Render = fn(&Cart) -> Vec<u8>;

/// A cart for a client to read.
#[derive(Clone, Debug)]
pub enum View {
    /// Still to be rendered.
    Cart(Told<Arc<Cart>>),
    /// As its owner rendered it.
    Rendered(Told<Rendered>),
}

/// A cart as its owner rendered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Whose cart it is.
    pub owner: Owner,
    /// What clients see as its revision.
    pub revision: u64,
    /// What clients read.
    pub body: Bytes,
}

impl View {
    /// Whose cart it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self {
            Self::Cart(cart) => cart.owner,
            Self::Rendered(rendered) => rendered.owner,
        }
    }

    /// What clients see as its revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::Cart(cart) => cart.revision,
            Self::Rendered(rendered) => rendered.revision,
        }
    }

    /// Which other node said it, and how fresh it was there; `None` = this node.
    #[must_use]
    pub const fn by(&self) -> Option<&(Arc<str>, Freshness)> {
        match self {
            Self::Cart(Told { by, .. }) | Self::Rendered(Told { by, .. }) => by.as_ref(),
        }
    }
}

impl Handle {
    /// The committed cart for a client to read, whoever owns it: the caller checks the owner.
    ///
    /// # Errors
    /// [`Failure`] as for [`Handle::cart`].
    pub async fn view(&self, id: CartId, timeout: Duration) -> Result<View, Failure<Refusal>> {
        if let Some(cart) = self.shown::<CartEntity>(id.0) {
            return Ok(View::Cart(Told::here(cart)));
        }
        let Some((node, map_version)) = self.owner_elsewhere(id) else {
            // Boxed, as below: what is rare shall not make every read's future large.
            return Box::pin(self.cart(id, timeout)).await.map(View::Cart);
        };
        let began = Instant::now();
        let mut journey = Journey::new(0);
        let request = Request { hops: 1, map_version, kind: Kind::Cart as u8, id: id.0, question: Question::Show };
        let reached = match self.seen_at(&node, request, timeout).await {
            Seen::View(rendered, freshness) => {
                route::count_answered();
                return Ok(View::Rendered(Told { what: rendered, by: Some((node, freshness)) }));
            }
            Seen::Other(reached) => reached,
        };
        route::count(&reached, Nature::READ);
        let told = match journey.after_there(reached, node, Nature::READ) {
            Next::Answer(answered) => answered,
            Next::Again(newer_than) => {
                let left = timeout.saturating_sub(began.elapsed());
                Box::pin(self.routed_on::<CartEntity>(id.0, Wanted::Read, left, 0, newer_than)).await
            }
        };
        told.map(|told| View::Cart(told.map(|answer| answer.state))).map_err(without_effect)
    }

    /// The other node that owns a cart, as far as the map tells that without a wait, and the map's version.
    fn owner_elsewhere(&self, id: CartId) -> Option<(Arc<str>, u64)> {
        let entrance = self.served(id.slot()).map_or(Entrance::Absent, |served| served.door.entrance());
        let routes = self.ground().routes.load();
        match journey::way(entrance, self.node().links.is_some(), &routes, id.slot(), 0) {
            Way::There(node) => Some((node, routes.map_version)),
            Way::Here | Way::Wait | Way::Nowhere => None,
        }
    }

    async fn seen_at(&self, node: &str, request: Request, timeout: Duration) -> Seen {
        match &self.node().links {
            Some(links) => remote::see(&**links, node, request, timeout).await,
            None => Seen::Other(journey::Reached::Failed(Failure::Internal(Effect::None))), // told to be elsewhere by links
        }
    }
}
