//! What happened, told to the rest of the shop: the event types, the relay that delivers them, and where they go.
//!
//! An actor keeps its unsent events in its row and offers them to the [`Relay`], which tells it when every sink has taken
//! them. At least once; the first delivery of an actor's events is in their order at each sink; an event's id is always
//! the same, so that a consumer can drop repeats (P7). A sink that is down costs neither memory nor shoppers: actors are
//! told "later", keep their events and offer them again.

mod dead;
mod envelope;
mod field;
mod kinds;
mod lane;
mod of_cart;
mod of_checkout;
mod of_order;
mod of_stock;
mod outgoing;
mod relay;
mod signature;
mod sink;
mod spill;
mod stored;
mod task;
mod wanted;
mod webhook;

pub use self::{
    dead::{DeadLetter, DeadPage},
    envelope::{CONTENT_TYPE, Source, WrongSource, cloud_event},
    field::Word,
    kinds::{Data, EventType},
    lane::Patience,
    of_cart::of_cart,
    of_checkout::{CheckoutBefore, of_checkout},
    of_order::{OrderBefore, of_order},
    of_stock::of_stock,
    outgoing::{ACTOR_BYTES_MAX, DATA_BYTES_MAX, Malformed, Outgoing},
    relay::{Done, Offer, Options, Relay, ReplayError},
    signature::{Signer, WrongSecret},
    sink::{Failure, Log, Sink, SinkError},
    spill::Spill,
    wanted::{Urls, Wanted},
    webhook::{Settings, Webhook, WrongEndpoint},
};
