//! A discount code as a durable actor: its limits hold however many shoppers use it at once

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
        Context, DiscountId, Id, UnixMillis,
        discount::{self, Command, Discount, Event, Refusal},
        holds::Act,
    },
    events::Data,
    store::Kind,
};

/// Which actor keeps a code's uses: a hash of its letters.
#[must_use]
pub fn discount_id(code: &str) -> DiscountId {
    DiscountId(Id(xxh3_128(code.as_bytes())))
}

/// A code's letters as they are kept, whichever case they are written in; `None` = no code has such.
#[must_use]
pub fn code_of(text: &str) -> Option<Box<str>> {
    let fits = (1..=discount::CODE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    fits.then(|| text.to_ascii_uppercase().into())
}

/// A discount code as a durable actor.
#[derive(Debug)]
pub struct DiscountEntity;

impl Entity for DiscountEntity {
    const KIND: Kind = Kind::Discount;
    const SCHEMA_V: u16 = codec::DISCOUNT_SCHEMA_V;
    type State = Discount;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type Step = ();
    type Call = ();
    type Done = ();
    type Glimpse = ();

    fn decide(state: Option<&Discount>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        discount::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Discount>, event: &Event) {
        discount::evolve(state, event);
        if planted!(UsesUncounted)
            && let Some(discount) = state
        {
            discount.shoppers.clear();
        }
    }

    /// Nobody counts on its being forgotten.
    fn can_wait(command: &Command) -> bool {
        matches!(command, Command::Act { act: Act::Forget, .. })
    }

    fn outcome(_: &Command, _: Option<&Discount>) -> u32 {
        0
    }

    fn absent() -> Refusal {
        Refusal::NotFound
    }

    fn wake_at(state: &Discount) -> Option<UnixMillis> {
        state.wake_at()
    }

    fn on_wake() -> Command {
        Command::Expire
    }

    fn is_pending(_: &Discount) -> bool {
        false
    }

    fn pending(_: &Discount) -> Vec<((), ())> {
        Vec::new()
    }

    fn on_done((): (), (): (), _: bool) -> Command {
        Command::Expire
    }

    fn glimpse(_: Option<&Discount>, _: &Event) {}

    /// What becomes of codes is told by carts and orders.
    fn tell(_: &Event, (): (), _: Option<&Discount>, _: &mut Vec<Data>) {}

    fn ttl_s(_: &Discount) -> Option<u32> {
        None
    }

    fn encode(record: &Record<Arc<Discount>>) -> Result<Bytes, String> {
        codec::encode_discount(record).map_err(|error| error.to_string())
    }

    fn decode(bytes: &[u8]) -> Result<Record<Discount>, String> {
        codec::decode_discount(bytes).map_err(|error| error.to_string())
    }

    fn weight_bytes(state: &Discount) -> usize {
        size_of_val(state)
            + state.rule.code.len()
            + size_of_val(state.holds.as_slice())
            + size_of_val(state.shoppers.as_slice())
    }
}

impl Hosted for DiscountEntity {
    in_the_table!(Discount, discounts);

    fn name(id: u128) -> String {
        DiscountId(Id(id)).to_string()
    }

    fn revision(state: &Discount) -> u64 {
        state.revision
    }

    fn about(state: &Discount) -> About {
        About::from(state)
    }

    fn encode_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
        codec::encode_discount_command(command)
    }

    fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
        codec::decode_discount_command(bytes)
    }

    fn encode_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
        codec::encode_discount_refusal(refusal)
    }

    fn decode_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
        codec::decode_discount_refusal(bytes)
    }

    fn perform(_: Hands, _: u128, (): ()) -> BoxFuture<'static, Result<(), Again>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
