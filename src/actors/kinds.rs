//! The kinds of actors that a shard hosts, in one table: what differs between them is what [`Entity`] and [`Hosted`] say,
//! everything else is written once.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::{
    ask::{Ask, Failure},
    cart::CartEntity,
    checkout::CheckoutEntity,
    discount::DiscountEntity,
    durable::{Again, Entity, Facts, Input, Surroundings},
    handle::Handle,
    hands::Hands,
    inspect::About,
    order::OrderEntity,
    remote,
    residents::{Aftermath, Ground, Place, Residents, Shown, Ticket, input},
    stock::StockEntity,
};
use crate::{
    codec::{DecodeError, EncodeError, record::Armed, wire::Request},
    store::{Kind, Reason, Row, Saved},
};

/// What a kind of actor must say beside its rules, so that a shard can host it and other nodes can ask it.
pub(super) trait Hosted: Entity {
    /// A message to one of them.
    fn addressed(id: u128, to: To<Self>) -> Addressed;
    /// Those of this kind.
    fn residents(kinds: &mut Kinds) -> &mut Residents<Self>;
    /// The committed states of those of this kind.
    fn shown(shows: &Shows) -> &Arc<Shown<Self::State>>;
    /// Its id as text, as events name it.
    fn name(id: u128) -> String;
    /// What clients see as its revision.
    fn revision(state: &Self::State) -> u64;
    /// What tells two states apart for those who follow it from another node: the revision, and whatever else they wait for.
    fn mark(state: &Self::State) -> u64 {
        Self::revision(state)
    }
    /// What operators may see of a state.
    fn about(state: &Self::State) -> About;
    /// A command's bytes, for other nodes.
    fn encode_command(command: &Self::Command) -> Result<Vec<u8>, EncodeError>;
    /// The command back.
    fn decode_command(bytes: &[u8]) -> Result<Self::Command, DecodeError>;
    /// A refusal's bytes, for other nodes.
    fn encode_refusal(refusal: &Self::Refusal) -> Result<Vec<u8>, EncodeError>;
    /// The refusal back.
    fn decode_refusal(bytes: &[u8]) -> Result<Self::Refusal, DecodeError>;
    /// Does what a state of this kind needs done elsewhere.
    fn perform(hands: Hands, id: u128, call: Self::Call) -> BoxFuture<'static, Result<Self::Done, Again>>;
}

/// What an actor is sent.
pub(super) enum To<E: Entity> {
    Ask { ask: Box<Ask<E::Command>>, since_ms: u64, ticket: Ticket<E> },
    Read { timeout: Duration, since_ms: u64, ticket: Ticket<E> },
    Watch { reply: oneshot::Sender<Option<watch::Receiver<Arc<E::State>>>>, place: Place },
    Facts { reply: oneshot::Sender<Option<Facts>> },
    Loaded(u128, Result<Option<Row>, Reason>),
    Saved(u128, Saved),
    Performed(u128, Result<E::Done, Again>),
    Published { up_to: u64, published: bool },
    Wake(Armed),
    Tick,
}

/// What a message leaves for the shard to do; `None` = nothing.
pub(super) type After = Option<Aftermath>;

fn take<E: Hosted>(
    kinds: &mut Kinds,
    id: u128,
    to: To<E>,
    is_elsewhere: bool,
    around: &Surroundings,
    ground: &mut Ground,
) -> After {
    let residents = E::residents(kinds);
    let input = match to {
        To::Ask { ticket, .. } | To::Read { ticket, .. } if is_elsewhere => {
            let _ = ticket.reply.send(Err(Failure::NotOwner)); // who asked may have gone
            return None;
        }
        To::Ask { ask, since_ms, ticket } => input(*ask, since_ms, ticket),
        To::Read { timeout, since_ms, ticket } => Input::Read { timeout, since_ms, token: ticket },
        To::Watch { reply, place } => {
            drop(place);
            let _ = reply.send(residents.watch(id)); // who asked may have gone
            return None;
        }
        To::Facts { reply } => {
            let _ = reply.send(residents.facts(id)); // who asked may have gone
            return None;
        }
        To::Loaded(number, result) => Input::Loaded(number, result),
        To::Saved(op_id, saved) => Input::Saved(op_id, saved),
        // Nothing is saved any more once the shard has said that it is still: its next owner begins the deed again, or this
        // one, should it stay.
        To::Performed(number, _) if is_elsewhere => Input::Performed(number, Err(Again)),
        To::Performed(number, result) => Input::Performed(number, result),
        To::Published { up_to, .. } if is_elsewhere => Input::Published { up_to, published: false },
        To::Published { up_to, published } => Input::Published { up_to, published },
        To::Wake(armed) => Input::Wake(armed),
        To::Tick => Input::Tick,
    };
    Some(residents.step(id, input, around, ground))
}

fn kind_of(request: &Request) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| *kind as u8 == request.kind)
}

macro_rules! kinds {
    ($($kind:ident, $field:ident: $entity:ty;)+) => {
        /// A message to an actor of some kind.
        pub(super) enum Addressed {
            $($kind(u128, To<$entity>),)+
        }

        impl Addressed {
            /// Whose it is.
            pub(super) const fn whose(&self) -> (Kind, u128) {
                match self {
                    $(Self::$kind(id, _) => (Kind::$kind, *id),)+
                }
            }
        }

        /// The actors of every kind in one shard.
        pub(super) struct Kinds {
            $(pub(super) $field: Residents<$entity>,)+
        }

        /// The committed states in one shard that may be shown without a message to it.
        #[derive(Debug, Default)]
        pub(super) struct Shows {
            $(pub(super) $field: Arc<Shown<<$entity as Entity>::State>>,)+
        }

        /// The kinds that shards host.
        pub(super) const HOSTED: &[Kind] = &[$(Kind::$kind),+];

        impl Kinds {
            pub(super) fn new(shows: &Shows) -> Self {
                Self { $($field: Residents::new(Arc::clone(&shows.$field)),)+ }
            }

            /// Hands a message to its actor.
            pub(super) fn take(
                &mut self,
                message: Addressed,
                is_elsewhere: bool,
                around: &Surroundings,
                ground: &mut Ground,
            ) -> After {
                match message {
                    $(Addressed::$kind(id, to) => take::<$entity>(self, id, to, is_elsewhere, around, ground),)+
                }
            }

            /// Whether anything waits, or is on its way to the store.
            pub(super) fn any_open(&self) -> bool {
                $(self.$field.any_open())||+
            }

            /// Whether any save of unknown outcome is open.
            pub(super) fn any_unsettled(&self) -> bool {
                $(self.$field.any_unsettled())||+
            }

            /// See [`Residents::passivate`]; the bound is on all kinds together.
            pub(super) fn passivate(&mut self, now_ms: u64, idle_ms: u64, weight_bytes_max: usize, looks_max: usize) {
                let weight_bytes: usize = [$(self.$field.weight_bytes()),+].iter().sum();
                $(
                    let others_bytes = weight_bytes - self.$field.weight_bytes();
                    self.$field.passivate(now_ms, idle_ms, weight_bytes_max.saturating_sub(others_bytes), looks_max);
                )+
            }

            /// Ends every event stream.
            pub(super) fn end_watches(&mut self) {
                $(self.$field.end_watches();)+
            }

            /// Drops every actor; whoever waits is told that the shard is elsewhere.
            pub(super) fn abandon(&mut self) {
                $(self.$field.abandon(&Failure::NotOwner);)+
            }
        }

        /// A message to an actor of this kind without an answer; `None` for a kind that shards do not host.
        pub(super) fn tick(kind: Kind, id: u128) -> Option<Addressed> {
            match kind {
                $(Kind::$kind => Some(Addressed::$kind(id, To::Tick)),)+
                _ => None,
            }
        }

        /// The same for an agenda entry that has come due.
        pub(super) fn wake(kind: Kind, id: u128, armed: Armed) -> Option<Addressed> {
            match kind {
                $(Kind::$kind => Some(Addressed::$kind(id, To::Wake(armed))),)+
                _ => None,
            }
        }

        /// The timer that a row of this kind has armed; `None` also for a row that this release cannot read.
        pub(super) fn armed(kind: Kind, body: &[u8]) -> Option<Armed> {
            match kind {
                $(Kind::$kind => <$entity>::decode(body).ok().and_then(|record| record.armed),)+
                _ => None,
            }
        }

        /// The answer to another node's request that needs no waiting.
        ///
        /// # Errors
        /// The request, where it takes more.
        pub(super) fn answer_at_once(handle: &Handle, request: Box<Request>) -> Result<Vec<u8>, Box<Request>> {
            match kind_of(&request) {
                $(Some(Kind::$kind) => remote::answer_at_once::<$entity>(handle, request),)+
                _ => Ok(remote::unreadable()),
            }
        }

        /// The answer to another node's request, in time.
        pub(super) async fn answer(handle: &Handle, request: Request, timeout: Duration) -> Vec<u8> {
            match kind_of(&request) {
                $(Some(Kind::$kind) => remote::answer::<$entity>(handle, request, timeout).await,)+
                _ => remote::unreadable(),
            }
        }
    };
}

kinds! {
    Cart, carts: CartEntity;
    Checkout, checkouts: CheckoutEntity;
    Order, orders: OrderEntity;
    Stock, stocks: StockEntity;
    Discount, discounts: DiscountEntity;
}

/// What a kind says where the table is all there is to say.
macro_rules! in_the_table {
    ($kind:ident, $field:ident) => {
        fn addressed(id: u128, to: crate::actors::kinds::To<Self>) -> crate::actors::kinds::Addressed {
            crate::actors::kinds::Addressed::$kind(id, to)
        }
        fn residents(kinds: &mut crate::actors::kinds::Kinds) -> &mut crate::actors::residents::Residents<Self> {
            &mut kinds.$field
        }
        fn shown(shows: &crate::actors::kinds::Shows) -> &std::sync::Arc<crate::actors::residents::Shown<Self::State>> {
            &shows.$field
        }
    };
}
pub(super) use in_the_table;
