//! A checkout as a durable actor: which of the saga's rules the machine needs, and how each deed of its table is done

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    discount::discount_id,
    durable::{Again, Entity, planted},
    errand::{Answer, Errand},
    hands::Hands,
    inspect::About,
    kinds::{Hosted, in_the_table},
    stock::stock_id,
};
use crate::{
    codec::{self, DecodeError, EncodeError, record::Record},
    domain::{
        CheckoutId, Context, Id, OrderId, Reference, UnixMillis,
        cart::{self, Owner},
        checkout::{self, Call, Checkout, Command, Done, Event, Refusal, Step, What},
        discount,
        holds::Act,
        order::{self, Capture},
        payment::Moved,
        stock,
    },
    events::{self, CheckoutBefore, Data},
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
    type Glimpse = Option<CheckoutBefore>;

    fn decide(state: Option<&Checkout>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        if planted!(CancelledTooLate)
            && matches!(command, Command::Cancel)
            && state.is_some_and(|state| state.phase == checkout::Phase::Committing)
        {
            let change = checkout::Change::UnwindingBegan(checkout::Undone::Cancelled);
            return Ok(vec![Event { at: context.now, change }]);
        }
        checkout::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Checkout>, event: &Event) {
        checkout::evolve(state, event);
    }

    /// Whoever completes is told once there is an order.
    fn can_wait(command: &Command) -> bool {
        matches!(command, Command::Done { step: Step::Settle | Step::Forget(_), .. })
    }

    fn is_birth(command: &Command) -> bool {
        matches!(command, Command::Create(_))
    }

    /// The cart's row says which goods: whoever repeats the birth asks for the same.
    fn begins_with_birth(step: Step) -> bool {
        matches!(step, Step::Hold(_))
    }

    /// That all of it is held: the rows of what is held tell.
    fn is_foretold(before: &Checkout, after: &Checkout) -> bool {
        before.revision == after.revision && before.is_holding() && !after.is_holding()
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

    fn on_done(step: Step, done: Done, once: bool) -> Command {
        checkout::on_done(step, done, once)
    }

    fn glimpse(state: Option<&Checkout>, _: &Event) -> Option<CheckoutBefore> {
        state.map(CheckoutBefore::of)
    }

    fn tell(event: &Event, before: Option<CheckoutBefore>, after: Option<&Checkout>, told: &mut Vec<Data>) {
        told.extend(events::of_checkout(event, before, after));
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

    fn name(id: u128) -> String {
        CheckoutId(Id(id)).to_string()
    }

    fn revision(state: &Checkout) -> u64 {
        state.revision
    }

    /// That all goods are held changes nothing that clients see, but whoever begins a checkout waits for it.
    fn mark(state: &Checkout) -> u64 {
        state.revision << 1 | u64::from(state.is_holding())
    }

    fn about(state: &Checkout) -> About {
        About::from(state)
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
    done(&call, hands.run(errand(&call, hands.shop()?.capture)).await?)
}

/// What is asked of whom to have it done. `capture` = when a new order takes its money.
pub(super) fn errand(call: &Call, capture: Capture) -> Errand {
    match call {
        Call::Hold { what, by, shopper, until } => hold(what, *by, *shopper, *until),
        Call::Extend { what, by, until } => act(what, *by, Act::Extend { expires_at: *until }),
        Call::Pin { what, by, attempt } => act(what, *by, Act::Pin { attempt: *attempt }),
        Call::Unpin { what, by, attempt, until } => {
            act(what, *by, Act::Unpin { attempt: *attempt, expires_at: *until })
        }
        Call::Commit { what, by } => act(what, *by, Act::Commit),
        Call::Release { what, by } => release(what, *by),
        Call::Forget { what, by } => act(what, *by, Act::Forget),
        Call::Authorise(ask) => Errand::Authorise(ask.clone()),
        Call::Abandon { key, gateway, reference, amount } => {
            let (gateway, reference) = (gateway.clone(), reference.clone());
            Errand::Abandon(Abandon { key: *key, gateway, reference, amount: *amount })
        }
        Call::Void(deed) => Errand::Void(deed.clone()),
        Call::Place(placement) => {
            let placed = Box::new(placed((**placement).clone(), capture));
            Errand::Order(OrderId::of(placement.checkout), order::Command::Place(placed))
        }
        Call::Settle { cart, checkout, bought } => {
            Errand::Cart(*cart, cart::Command::Settle { checkout: *checkout, bought: bought.clone() })
        }
        Call::LetGo { cart, checkout } => Errand::Cart(*cart, cart::Command::LetGo { checkout: *checkout }),
    }
}

fn hold(what: &What, by: Reference, shopper: Owner, expires_at: UnixMillis) -> Errand {
    match what {
        What::Stock { sku, initial, quantity } => {
            let (sku, initial, quantity) = (sku.clone(), *initial, *quantity);
            Errand::Stock(stock_id(&sku), stock::Command::Hold { sku, initial, by, quantity, expires_at })
        }
        What::Code { code } => {
            let Owner::Guest(shopper) = shopper;
            let shopper = shopper.0.0;
            Errand::Discount(discount_id(code), discount::Command::Hold { by, shopper, expires_at })
        }
    }
}

/// Also where nobody has asked for the goods yet: a request that is still on its way must find that they were given back.
/// A code that nobody has defined is held by nobody, so that no such request can succeed there.
fn release(what: &What, by: Reference) -> Errand {
    match what {
        What::Stock { sku, initial, .. } => {
            Errand::Stock(stock_id(sku), stock::Command::Release { sku: sku.clone(), initial: *initial, by })
        }
        What::Code { .. } => act(what, by, Act::Release),
    }
}

fn act(what: &What, by: Reference, act: Act) -> Errand {
    match what {
        What::Stock { sku, .. } => Errand::Stock(stock_id(sku), stock::Command::Act { by, act }),
        What::Code { code } => Errand::Discount(discount_id(code), discount::Command::Act { by, act }),
    }
}

/// What the answer means to the checkout.
pub(super) fn done(call: &Call, answer: Answer) -> Result<Done, Again> {
    Ok(match (call, answer) {
        (Call::Hold { .. }, Answer::Stock(told)) => match told {
            Ok(()) => Done::Ok,
            Err(stock::Refusal::Insufficient { available }) => Done::Insufficient { available },
            Err(stock::Refusal::TooManyHolds) => return Err(Again),
            Err(_) => Done::Lost,
        },
        (Call::Hold { .. }, Answer::Discount(told)) => match told {
            Ok(()) => Done::Ok,
            Err(discount::Refusal::TooMany) => return Err(Again),
            Err(discount::Refusal::Ended | discount::Refusal::NotHeld) => Done::Lost,
            Err(refusal) => Done::CodeRefused { reason: refusal.to_string().into() },
        },
        // There is nothing to give back or to forget where there is no actor.
        (Call::Release { .. } | Call::Forget { .. }, Answer::Stock(_) | Answer::Discount(_)) => Done::Ok,
        (_, Answer::Stock(told)) => {
            if told.is_ok() {
                Done::Ok
            } else {
                Done::Lost
            }
        }
        (_, Answer::Discount(told)) => {
            if told.is_ok() {
                Done::Ok
            } else {
                Done::Lost
            }
        }
        (_, Answer::Authorised(authorised)) => Done::Authorised(authorised),
        (_, Answer::Abandoned(abandoned)) => Done::Abandoned(abandoned),
        (_, Answer::Moved(Moved::Yes)) => Done::Ok,
        (_, Answer::Moved(Moved::Refused { .. })) => Done::Lost,
        (_, Answer::Order(Ok(()))) => Done::Ok,
        (Call::Place(placement), Answer::Order(Err(refusal))) => {
            tracing::error!(checkout.id = %placement.checkout, %refusal, "a paid checkout was refused its order");
            return Err(Again);
        }
        (_, Answer::Cart(told)) => {
            if let Err(refusal) = told {
                tracing::debug!(%refusal, "a cart is gone, and needs to be told nothing");
            }
            Done::Ok
        }
        // None is asked.
        (_, Answer::Checkout(_) | Answer::Order(Err(_))) => return Err(Again),
    })
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
