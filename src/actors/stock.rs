//! A product's stock as a durable actor: one per SKU, so that what everybody wants is one queue and one row

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    durable::{Again, Entity, planted},
    hands::Hands,
    inspect::About,
    kinds::{Hosted, in_the_table},
};
use crate::{
    codec::{self, DecodeError, EncodeError, record::Record},
    domain::{
        Context, Id, StockId, UnixMillis,
        holds::{self, Act, Holds},
        stock::{self, Command, Event, Refusal, Stock},
    },
    events::{self, Data},
    store::Kind,
};

/// Which actor keeps a product's stock: a hash of its SKU, so that products spread over all shards.
#[must_use]
pub fn stock_id(sku: &str) -> StockId {
    StockId(Id(xxh3_128(sku.as_bytes())))
}

/// A product's stock as a durable actor.
#[derive(Debug)]
pub struct StockEntity;

impl Entity for StockEntity {
    const KIND: Kind = Kind::Stock;
    const SCHEMA_V: u16 = codec::STOCK_SCHEMA_V;
    type State = Stock;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type Step = ();
    type Call = ();
    type Done = ();
    type Glimpse = Option<u32>;

    fn decide(state: Option<&Stock>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        if planted!(PinUnfenced)
            && let Command::Act { by, act: Act::Pin { attempt } } = *command
            && state.is_some_and(|state| state.holds.open().any(|hold| hold.by == by))
        {
            let change = stock::Change::Hold(holds::Change::Pinned { by, attempt });
            return Ok(vec![Event { at: context.now, change }]);
        }
        stock::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Stock>, event: &Event) {
        stock::evolve(state, event);
        if planted!(ReleaseForgotten)
            && let Some(stock) = state
        {
            stock.holds.drop_spent(UnixMillis(u64::MAX));
        }
        if planted!(BusyShelf)
            && let Some(stock) = state
        {
            let remembered = stock.holds.as_slice().iter().filter(|hold| hold.state != holds::State::Forgotten);
            stock.holds = Holds::from_sorted(remembered.copied().collect()).unwrap_or_default();
        }
    }

    /// Nobody counts on its being forgotten.
    fn can_wait(command: &Command) -> bool {
        matches!(command, Command::Act { act: Act::Forget, .. })
    }

    fn outcome(_: &Command, _: Option<&Stock>) -> u32 {
        0
    }

    fn absent() -> Refusal {
        Refusal::NotFound
    }

    fn wake_at(state: &Stock) -> Option<UnixMillis> {
        state.wake_at()
    }

    fn on_wake() -> Command {
        Command::Expire
    }

    fn is_pending(_: &Stock) -> bool {
        false
    }

    fn pending(_: &Stock) -> Vec<((), ())> {
        Vec::new()
    }

    fn on_done((): (), (): (), _: bool) -> Command {
        Command::Expire
    }

    fn glimpse(state: Option<&Stock>, _: &Event) -> Option<u32> {
        state.map(|stock| stock.available)
    }

    fn tell(event: &Event, available_before: Option<u32>, after: Option<&Stock>, told: &mut Vec<Data>) {
        events::of_stock(event, available_before, after, told);
    }

    fn ttl_s(_: &Stock) -> Option<u32> {
        None
    }

    fn encode(record: &Record<Arc<Stock>>) -> Result<Bytes, String> {
        codec::encode_stock(record).map_err(|error| error.to_string())
    }

    fn decode(bytes: &[u8]) -> Result<Record<Stock>, String> {
        codec::decode_stock(bytes).map_err(|error| error.to_string())
    }

    fn weight_bytes(state: &Stock) -> usize {
        size_of_val(state) + state.sku.len() + size_of_val(state.holds.as_slice()) + size_of_val(state.moves.as_slice())
    }
}

impl Hosted for StockEntity {
    in_the_table!(Stock, stocks);

    fn name(id: u128) -> String {
        StockId(Id(id)).to_string()
    }

    fn revision(state: &Stock) -> u64 {
        state.revision
    }

    fn about(state: &Stock) -> About {
        About::from(state)
    }

    fn encode_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
        codec::encode_stock_command(command)
    }

    fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
        codec::decode_stock_command(bytes)
    }

    fn encode_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
        codec::encode_stock_refusal(refusal)
    }

    fn decode_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
        codec::decode_stock_refusal(bytes)
    }

    fn perform(_: Hands, _: u128, (): ()) -> BoxFuture<'static, Result<(), Again>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
