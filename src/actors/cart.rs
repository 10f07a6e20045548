//! The cart as a durable actor: which of the cart's rules the machine needs, and where its bytes come from.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    durable::{Again, Entity},
    hands::Hands,
    kinds::{Hosted, in_the_table},
};
use crate::{
    codec::{self, DecodeError, EncodeError, record::Record},
    domain::{
        Context, UnixMillis,
        cart::{self, Cart, Command, Event, Refusal, Status},
        discount::Rule,
    },
    store::Kind,
};

/// How long an ended cart can still be read: longer than any retry, short enough to forget a shopper.
const ENDED_TTL_S: u32 = 30 * 24 * 60 * 60;

/// The cart as a durable actor.
#[derive(Debug)]
pub struct CartEntity;

impl Entity for CartEntity {
    const KIND: Kind = Kind::Cart;
    const SCHEMA_V: u16 = codec::CART_SCHEMA_V;
    type State = Cart;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type Step = ();
    type Call = ();
    type Done = ();

    fn decide(state: Option<&Cart>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        cart::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Cart>, event: &Event) {
        cart::evolve(state, event);
    }

    fn outcome(_: &Command, _: Option<&Cart>) -> u32 {
        0 // every accepted cart command answers with the whole cart: the route tells the rest
    }

    fn absent() -> Refusal {
        Refusal::NotFound
    }

    fn wake_at(cart: &Cart) -> Option<UnixMillis> {
        match cart.status {
            Status::Open => Some(cart.expires_at),
            // Its checkout ends by itself, and lets the cart go.
            Status::CheckingOut => None,
            Status::Closed | Status::Expired | Status::Ordered => None,
        }
    }

    fn on_wake() -> Command {
        Command::Expire
    }

    fn is_pending(_: &Cart) -> bool {
        false
    }

    fn pending(_: &Cart) -> Vec<((), ())> {
        Vec::new()
    }

    fn on_done((): (), (): ()) -> Command {
        Command::Expire
    }

    fn ttl_s(cart: &Cart) -> Option<u32> {
        match cart.status {
            Status::Open | Status::CheckingOut => None,
            Status::Closed | Status::Expired | Status::Ordered => Some(ENDED_TTL_S),
        }
    }

    fn encode(record: &Record<Arc<Cart>>) -> Result<Bytes, String> {
        codec::encode_cart(record).map_err(|error| error.to_string())
    }

    fn decode(bytes: &[u8]) -> Result<Record<Cart>, String> {
        codec::decode_cart(bytes).map_err(|error| error.to_string())
    }

    fn weight_bytes(cart: &Cart) -> usize {
        let pairs = |pairs: &[(Box<str>, Box<str>)]| pairs.iter().map(|(k, v)| k.len() + v.len() + 48).sum::<usize>();
        let line = |line: &cart::Line| {
            size_of_val(line) + line.sku.len() + line.title.len() + pairs(&line.options) + pairs(&line.metadata) + 32
        };
        let codes = |rules: &[Rule]| {
            let categories = |rule: &Rule| rule.categories.iter().map(|category| category.len() + 32).sum::<usize>();
            rules.iter().map(|rule| size_of_val(rule) + rule.code.len() + categories(rule) + 32).sum::<usize>()
        };
        let checkout = cart.checkout.as_ref();
        size_of_val(cart)
            + cart.lines.iter().chain(&cart.saved).map(line).sum::<usize>()
            + checkout.map_or(0, |checkout| checkout.lines.iter().map(line).sum::<usize>() + codes(&checkout.codes))
            + codes(&cart.codes)
            + cart.note.as_ref().map_or(0, |note| note.len())
            + cart.email.as_ref().map_or(0, |email| email.len())
    }
}

impl Hosted for CartEntity {
    in_the_table!(Cart, carts);

    fn revision(cart: &Cart) -> u64 {
        cart.revision
    }

    fn encode_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
        codec::encode_cart_command(command)
    }

    fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
        codec::decode_cart_command(bytes)
    }

    fn encode_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
        codec::encode_cart_refusal(refusal)
    }

    fn decode_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
        codec::decode_cart_refusal(bytes)
    }

    fn perform(_: Hands, _: u128, (): ()) -> BoxFuture<'static, Result<(), Again>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
