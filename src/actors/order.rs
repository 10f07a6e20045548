//! An order as a durable actor: how money and goods move once it is placed

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    durable::{Again, Entity},
    errand::{Answer, Errand},
    hands::Hands,
    inspect::About,
    kinds::{Hosted, in_the_table},
    stock::stock_id,
};
use crate::{
    codec::{self, DecodeError, EncodeError, record::Record},
    domain::{
        Context, Id, OrderId, UnixMillis,
        cart::Owner,
        holds::Act,
        order::{self, Call, Command, Done, Event, Order, Origin, Refusal, Step},
        stock::{self, Source},
    },
    events::{self, Data, OrderBefore},
    store::{IndexEntry, Kind},
};

/// The partition that lists a shopper's orders. Its name and its keys are persistent.
#[must_use]
pub fn orders_of(owner: Owner) -> Box<[u8]> {
    let Owner::Guest(shopper) = owner;
    [b"orders/".as_slice(), &shopper.0.0.to_be_bytes()].concat().into()
}

/// An order's key in it: the newest first.
fn listed_key(placed_at: UnixMillis, id: OrderId) -> Box<[u8]> {
    [(u64::MAX - placed_at.0).to_be_bytes().as_slice(), &id.0.0.to_be_bytes()].concat().into()
}

/// The order that a key of it names; `None` for bytes that are no key of this release.
#[must_use]
pub fn listed_order(key: &[u8]) -> Option<OrderId> {
    let (_, id) = key.split_first_chunk::<8>()?;
    Some(OrderId(Id(u128::from_be_bytes(id.try_into().ok()?))))
}

/// An order as a durable actor.
#[derive(Debug)]
pub struct OrderEntity;

impl Entity for OrderEntity {
    const KIND: Kind = Kind::Order;
    const SCHEMA_V: u16 = codec::ORDER_SCHEMA_V;
    type State = Order;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type Step = Step;
    type Call = Call;
    type Done = Done;
    type Glimpse = OrderBefore;

    fn decide(state: Option<&Order>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        order::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Order>, event: &Event) {
        order::evolve(state, event);
    }

    /// Whoever asked for the deed was told when it began.
    fn can_wait(command: &Command) -> bool {
        matches!(command, Command::Done { .. })
    }

    fn is_birth(command: &Command) -> bool {
        matches!(command, Command::Place(_))
    }

    fn outcome(_: &Command, _: Option<&Order>) -> u32 {
        0 // every accepted command answers with the whole order
    }

    fn absent() -> Refusal {
        Refusal::NotFound
    }

    fn wake_at(state: &Order) -> Option<UnixMillis> {
        order::wake_at(state)
    }

    fn on_wake() -> Command {
        order::on_wake()
    }

    fn is_pending(state: &Order) -> bool {
        !order::pending(state).is_empty()
    }

    fn pending(state: &Order) -> Vec<(Step, Call)> {
        order::pending(state)
    }

    fn on_done(step: Step, done: Done, once: bool) -> Command {
        order::on_done(step, done, once)
    }

    fn glimpse(state: Option<&Order>, event: &Event) -> OrderBefore {
        OrderBefore::of(event, state)
    }

    fn tell(event: &Event, before: OrderBefore, after: Option<&Order>, told: &mut Vec<Data>) {
        events::of_order(event, &before, after, told);
    }

    fn ttl_s(_: &Order) -> Option<u32> {
        None
    }

    fn encode(record: &Record<Arc<Order>>) -> Result<Bytes, String> {
        codec::encode_order(record).map_err(|error| error.to_string())
    }

    fn decode(bytes: &[u8]) -> Result<Record<Order>, String> {
        codec::decode_order(bytes).map_err(|error| error.to_string())
    }

    fn listed(order: &Order) -> Vec<IndexEntry> {
        let (partition, key) = (orders_of(order.owner), listed_key(order.placed_at, order.id));
        vec![IndexEntry { partition, key, value: Box::default() }]
    }

    fn weight_bytes(state: &Order) -> usize {
        // What a line is, on the generous side.
        size_of_val(state) + state.lines.len() * 512 + state.deeds.len() * 64 + state.history.len() * 96
    }
}

impl Hosted for OrderEntity {
    in_the_table!(Order, orders);

    fn name(id: u128) -> String {
        OrderId(Id(id)).to_string()
    }

    fn revision(state: &Order) -> u64 {
        state.revision
    }

    fn about(state: &Order) -> About {
        About::from(state)
    }

    fn encode_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
        codec::encode_order_command(command)
    }

    fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
        codec::decode_order_command(bytes)
    }

    fn encode_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
        codec::encode_order_refusal(refusal)
    }

    fn decode_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
        codec::decode_order_refusal(bytes)
    }

    fn perform(hands: Hands, _: u128, call: Call) -> BoxFuture<'static, Result<Done, Again>> {
        Box::pin(async move { perform(&hands, call).await })
    }
}

async fn perform(hands: &Hands, call: Call) -> Result<Done, Again> {
    done(hands.run(errand(call)).await?)
}

/// What is asked of whom to have it done.
pub(super) fn errand(call: Call) -> Errand {
    let stock = |sku: &str, command| Errand::Stock(stock_id(sku), command);
    match call {
        Call::Capture(deed) => Errand::Capture(deed),
        Call::Void(deed) => Errand::Void(deed),
        Call::Refund(deed) => Errand::Refund(deed),
        Call::Ship { sku, by, quantity } => stock(&sku, stock::Command::Ship { by, quantity }),
        Call::Restock { sku, by, quantity, from } => {
            let from = match from {
                Origin::Sold => Source::Sold,
                Origin::Returned => Source::Returned,
            };
            stock(&sku, stock::Command::Restock { by, quantity, from })
        }
        Call::Forget { sku, by } => stock(&sku, stock::Command::Act { by, act: Act::Forget }),
    }
}

/// What the answer means to the order.
pub(super) fn done(answer: Answer) -> Result<Done, Again> {
    match answer {
        Answer::Moved(moved) => Ok(Done::from(moved)),
        Answer::Stock(Ok(())) => Ok(Done::Yes),
        Answer::Stock(Err(stock::Refusal::TooManyHolds)) => Err(Again),
        Answer::Stock(Err(refusal)) => Ok(Done::Refused { reason: refusal.to_string().into() }),
        // Nobody else is asked.
        _ => Err(Again),
    }
}
