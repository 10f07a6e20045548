//! A checkout as a durable actor: which of the saga's rules the machine needs, and how each deed of its table is done

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    cart::CartEntity,
    discount::{DiscountEntity, discount_id},
    durable::{Again, Entity},
    hands::Hands,
    kinds::{Hosted, in_the_table},
    order::OrderEntity,
    stock::{StockEntity, stock_id},
};
use crate::{
    codec::{self, DecodeError, EncodeError, record::Record},
    domain::{
        Context, OrderId, Reference, UnixMillis,
        cart::{self, Owner},
        checkout::{self, Call, Checkout, Command, Done, Event, Refusal, Step, What},
        discount,
        holds::Act,
        order::{self, Capture},
        payment::Moved,
        stock,
    },
    payments::Abandon,
    store::Kind,
};

/// How long an ended checkout can still be read: longer than any retry, short enough to forget a shopper.
const ENDED_TTL_S: u32 = 30 * 24 * 60 * 60;

/// A checkout as a durable actor.
#[derive(Debug)]
pub struct CheckoutEntity;

impl Entity for CheckoutEntity {
    const KIND: Kind = Kind::Checkout;
    const SCHEMA_V: u16 = codec::CHECKOUT_SCHEMA_V;
    type State = Checkout;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type Step = Step;
    type Call = Call;
    type Done = Done;

    fn decide(state: Option<&Checkout>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        checkout::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Checkout>, event: &Event) {
        checkout::evolve(state, event);
    }

    fn outcome(command: &Command, state: Option<&Checkout>) -> u32 {
        state.map_or(0, |state| checkout::outcome(command, state))
    }

    fn absent() -> Refusal {
        Refusal::NotFound
    }

    fn wake_at(state: &Checkout) -> Option<UnixMillis> {
        checkout::wake_at(state)
    }

    fn on_wake() -> Command {
        checkout::on_wake()
    }

    fn is_pending(state: &Checkout) -> bool {
        !checkout::pending(state).is_empty()
    }

    fn pending(state: &Checkout) -> Vec<(Step, Call)> {
        checkout::pending(state)
    }

    fn on_done(step: Step, done: Done) -> Command {
        checkout::on_done(step, done)
    }

    fn ttl_s(state: &Checkout) -> Option<u32> {
        state.is_ended().then_some(ENDED_TTL_S)
    }

    fn encode(record: &Record<Arc<Checkout>>) -> Result<Bytes, String> {
        codec::encode_checkout(record).map_err(|error| error.to_string())
    }

    fn decode(bytes: &[u8]) -> Result<Record<Checkout>, String> {
        codec::decode_checkout(bytes).map_err(|error| error.to_string())
    }

    fn weight_bytes(state: &Checkout) -> usize {
        // What a line is, options and offers included, on the generous side.
        size_of_val(state) + state.lines.len() * 512 + state.holds.len() * 96 + state.quote.offers.len() * 96
    }
}

impl Hosted for CheckoutEntity {
    in_the_table!(Checkout, checkouts);

    fn revision(state: &Checkout) -> u64 {
        state.revision
    }

    fn encode_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
        codec::encode_checkout_command(command)
    }

    fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
        codec::decode_checkout_command(bytes)
    }

    fn encode_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
        codec::encode_checkout_refusal(refusal)
    }

    fn decode_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
        codec::decode_checkout_refusal(bytes)
    }

    fn perform(hands: Hands, _: u128, call: Call) -> BoxFuture<'static, Result<Done, Again>> {
        Box::pin(async move { perform(&hands, call).await })
    }
}

async fn perform(hands: &Hands, call: Call) -> Result<Done, Again> {
    Ok(match call {
        Call::Hold { what, by, shopper, until } => hold(hands, what, by, shopper, until).await?,
        Call::Extend { what, by, until } => act(hands, what, by, Act::Extend { expires_at: until }).await?,
        Call::Pin { what, by, attempt } => act(hands, what, by, Act::Pin { attempt }).await?,
        Call::Unpin { what, by, attempt, until } => {
            act(hands, what, by, Act::Unpin { attempt, expires_at: until }).await?
        }
        Call::Commit { what, by } => act(hands, what, by, Act::Commit).await?,
        Call::Release { what, by } => act(hands, what, by, Act::Release).await?,
        Call::Forget { what, by } => act(hands, what, by, Act::Forget).await?,
        Call::Authorise(ask) => {
            let gateways = &hands.shop()?.gateways;
            // Nothing was begun where there is no such gateway any more, or it is known to be away.
            match gateways.authorise(ask, Hands::deadline()).await {
                Ok(authorised) => Done::Authorised(authorised),
                Err(_) => return Err(Again),
            }
        }
        Call::Abandon { key, gateway, reference, amount } => {
            let abandon = Abandon { key, gateway, reference, amount };
            Done::Abandoned(hands.shop()?.gateways.abandon(abandon, Hands::deadline()).await.map_err(|_| Again)?)
        }
        Call::Void(deed) => match hands.shop()?.gateways.void(deed, Hands::deadline()).await.map_err(|_| Again)? {
            Moved::Yes => Done::Ok,
            Moved::Refused { .. } => Done::Lost,
        },
        Call::Place(placement) => {
            let id = OrderId::of(placement.checkout).0;
            let placement = Box::new(placed(*placement, hands.shop()?.capture));
            match hands.tell::<OrderEntity>(id, order::Command::Place(placement)).await? {
                Ok(_) => Done::Ok,
                Err(refusal) => {
                    tracing::error!(order.id = %id, %refusal, "a paid checkout was refused its order");
                    return Err(Again);
                }
            }
        }
        Call::Settle { cart, checkout, bought } => {
            let _ = hands.tell::<CartEntity>(cart.0, cart::Command::Settle { checkout, bought }).await?; // gone or told
            Done::Ok
        }
        Call::LetGo { cart, checkout } => {
            let _ = hands.tell::<CartEntity>(cart.0, cart::Command::LetGo { checkout }).await?; // gone or told
            Done::Ok
        }
    })
}

async fn hold(hands: &Hands, what: What, by: Reference, shopper: Owner, until: UnixMillis) -> Result<Done, Again> {
    match what {
        What::Stock { sku, initial, quantity } => {
            let id = stock_id(&sku).0;
            let command = stock::Command::Hold { sku, initial, by, quantity, expires_at: until };
            match hands.tell::<StockEntity>(id, command).await? {
                Ok(_) => Ok(Done::Ok),
                Err(stock::Refusal::Insufficient { available }) => Ok(Done::Insufficient { available }),
                Err(stock::Refusal::TooManyHolds) => Err(Again),
                Err(_) => Ok(Done::Lost),
            }
        }
        What::Code { code } => {
            let Owner::Guest(shopper) = shopper;
            let command = discount::Command::Hold { by, shopper: shopper.0.0, expires_at: until };
            match hands.tell::<DiscountEntity>(discount_id(&code).0, command).await? {
                Ok(_) => Ok(Done::Ok),
                Err(discount::Refusal::TooMany) => Err(Again),
                Err(discount::Refusal::Ended | discount::Refusal::NotHeld) => Ok(Done::Lost),
                Err(refusal) => Ok(Done::CodeRefused { reason: refusal.to_string().into() }),
            }
        }
    }
}

async fn act(hands: &Hands, what: What, by: Reference, act: Act) -> Result<Done, Again> {
    let is_done = match what {
        What::Stock { sku, .. } => {
            hands.tell::<StockEntity>(stock_id(&sku).0, stock::Command::Act { by, act }).await?.is_ok()
        }
        What::Code { code } => {
            hands.tell::<DiscountEntity>(discount_id(&code).0, discount::Command::Act { by, act }).await?.is_ok()
        }
    };
    // There is nothing to give back or to forget where there is no actor.
    let is_settled = is_done || matches!(act, Act::Release | Act::Forget);
    Ok(if is_settled { Done::Ok } else { Done::Lost })
}

/// What a checkout gives to make an order, in the order's words.
fn placed(placement: checkout::Placement, capture: Capture) -> order::Placement {
    let bought = |placed: checkout::PlacedLine| order::Bought {
        line: placed.line.id,
        sku: placed.line.sku,
        title: placed.line.title,
        options: placed.line.options,
        metadata: placed.line.metadata,
        quantity: placed.line.quantity,
        unit_price: placed.line.unit_price,
        subtotal: placed.subtotal,
        discount: placed.discount,
        tax: placed.tax,
    };
    order::Placement {
        checkout: placement.checkout,
        cart: placement.cart,
        owner: placement.owner,
        currency: placement.currency,
        email: placement.email.0,
        address: Some(placement.address),
        lines: placement.lines.into_iter().map(bought).collect(),
        quote: placement.quote,
        gateway: placement.gateway,
        reference: placement.reference,
        authorised: placement.authorised.amount,
        capture,
    }
}
