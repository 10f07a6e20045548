//! The cart as a durable actor: which of the cart's rules the machine needs, and where its bytes come from.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    durable::{Again, Entity, planted},
    errand::{Answer, Errand, Terms},
    hands::Hands,
    inspect::About,
    kinds::{Hosted, in_the_table},
};
use crate::{
    codec::{self, DecodeError, EncodeError, record::Record},
    domain::{
        CartId, CheckoutId, Context, Id, UnixMillis,
        cart::{self, Call, Cart, Command, Done, Event, Line, Refusal, Status, Step},
        checkout::{self, CheckoutLine, Email},
        discount::Rule,
        pricing::{self, Quoted, Reason},
    },
    events::{self, Data},
    store::Kind,
    telemetry::clock,
};

/// How long an ended cart can still be read: longer than any retry, short enough to forget a shopper.
const ENDED_TTL_S: u32 = 30 * 24 * 60 * 60;

/// The outcome of a begin that joined a checkout that was begun under another id, and not 0: a replay must not look for its
/// own. Of an id of 128 bits it keeps 31 that are random: enough to tell one checkout of a cart from the next.
#[must_use]
pub const fn joined(checkout: CheckoutId) -> u32 {
    checkout.0.0 as u32 | 1 << 31
}

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
    type Step = Step;
    type Call = Call;
    type Done = Done;
    type Glimpse = Option<Data>;

    fn decide(state: Option<&Cart>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
        if planted!(SettledTwice)
            && let (Some(cart), Command::Settle { bought, .. }) = (state, command)
            && !cart.status.has_ended()
        {
            let change = cart::Change::Settled { bought: bought.clone() };
            return Ok(vec![Event { at: context.now, expires_at: cart.expires_at, change }]);
        }
        cart::decide(state, command, context)
    }

    fn evolve(state: &mut Option<Cart>, event: &Event) {
        cart::evolve(state, event);
    }

    /// Whoever waits for a checkout to be there is told while it is written down; and of a settled cart nobody.
    fn can_wait(command: &Command) -> bool {
        matches!(command, Command::Opened { .. } | Command::Settle { .. })
    }

    fn is_birth(command: &Command) -> bool {
        matches!(command, Command::Create { .. })
    }

    /// That its checkout exists: the checkout's row tells.
    fn is_foretold(before: &Cart, after: &Cart) -> bool {
        before.revision == after.revision && !is_opened(before) && is_opened(after)
    }

    /// Which checkout who began to buy has joined, if it was begun before; every other command answers with the whole cart, of
    /// which the route tells the rest.
    fn outcome(command: &Command, cart: Option<&Cart>) -> u32 {
        let present = cart.and_then(|cart| cart.checkout.as_ref());
        match (command, present) {
            (Command::Begin { checkout, .. }, Some(present)) if present.id != *checkout => joined(present.id),
            _ => 0,
        }
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

    fn is_pending(cart: &Cart) -> bool {
        cart.checkout.as_ref().is_some_and(|checkout| !checkout.opened)
    }

    fn pending(cart: &Cart) -> Vec<(Step, Call)> {
        cart::pending(cart)
    }

    fn on_done(step: Step, done: Done, _: bool) -> Command {
        cart::on_done(step, done)
    }

    fn glimpse(cart: Option<&Cart>, event: &Event) -> Option<Data> {
        events::of_cart(event, cart)
    }

    fn tell(_: &Event, data: Option<Data>, _: Option<&Cart>, told: &mut Vec<Data>) {
        told.extend(data);
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
        let checkout = |checkout: &cart::InCheckout| {
            size_of_val(checkout) + checkout.lines.iter().map(line).sum::<usize>() + codes(&checkout.codes)
        };
        size_of_val(cart)
            + cart.lines.iter().chain(&cart.saved).map(line).sum::<usize>()
            + cart.checkout.as_deref().map_or(0, checkout)
            + codes(&cart.codes)
            + cart.note.as_ref().map_or(0, |note| note.len())
            + cart.email.as_ref().map_or(0, |email| email.len())
    }
}

impl Hosted for CartEntity {
    in_the_table!(Cart, carts);

    fn name(id: u128) -> String {
        CartId(Id(id)).to_string()
    }

    fn revision(cart: &Cart) -> u64 {
        cart.revision
    }

    /// That its checkout exists changes nothing that clients see, but whoever begins one waits for it.
    fn mark(cart: &Cart) -> u64 {
        cart.revision << 1 | u64::from(is_opened(cart))
    }

    fn about(state: &Cart) -> About {
        About::from(state)
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

    fn perform(hands: Hands, _: u128, call: Call) -> BoxFuture<'static, Result<Done, Again>> {
        Box::pin(async move { perform(&hands, call).await })
    }
}

fn is_opened(cart: &Cart) -> bool {
    cart.checkout.as_ref().is_some_and(|checkout| checkout.opened)
}

async fn perform(hands: &Hands, call: Call) -> Result<Done, Again> {
    let Call::Open { checkout, .. } = call;
    let shop = hands.shop()?;
    let snapshot = shop.catalog.snapshot();
    let errand = {
        let product = |sku: &str| snapshot.get(sku).map(|product| &**product);
        let terms = Terms {
            now: clock::now(),
            product: &product,
            tables: &shop.tables,
            checkout_ttl_ms: shop.checkout_ttl_ms,
            checkout_ttl_max_ms: shop.checkout_ttl_max_ms,
        };
        errand(call, &terms)?
    };
    done(checkout, hands.run(errand).await?)
}

/// What is asked of whom to have it done: that a checkout begins with the cart's lines, what the catalogue says of them,
/// and what that costs so far.
pub(super) fn errand(call: Call, terms: &Terms<'_>) -> Result<Errand, Again> {
    let Call::Open { checkout: id, cart, owner, currency, lines, codes, email } = call;
    let with_product = |line: Line| {
        let product = (terms.product)(&line.sku);
        CheckoutLine {
            categories: product.map(|product| product.categories.clone()).unwrap_or_default(),
            weight_g: product.map_or(0, |product| product.weight_g),
            stock_initial: product.map_or(0, |product| product.stock),
            line,
        }
    };
    let lines: Vec<_> = lines.into_iter().map(with_product).collect();
    let items: Vec<_> = lines.iter().map(checkout_item).collect();
    let request = pricing::Request {
        currency,
        items: &items,
        rules: &codes,
        now: terms.now,
        address: None,
        option: None,
        tables: terms.tables,
    };
    // A cart's total fits, so its lines' does.
    let Quoted { quote, not_applied } = pricing::quote(&request).map_err(|_| Again)?;
    // What a checkout buys does not change: a code that takes nothing off now never will, and is not used up. One whose
    // time it is not is asked for all the same, so that its refusal is told: the cart may have shown it taking off.
    let is_in_vain = |rule: &Rule| {
        let why = not_applied.iter().find(|left| left.code == rule.code).map(|left| left.reason);
        why.is_some_and(|why| !matches!(why, Reason::NotYet | Reason::Over))
    };
    let codes = codes.iter().filter(|rule| !is_in_vain(rule)).cloned().collect();
    let (ttl_ms, ttl_max_ms) = (terms.checkout_ttl_ms, terms.checkout_ttl_max_ms);
    let email = email.map(Email);
    let asked_at = terms.now;
    let create =
        checkout::Create { id, cart, owner, currency, lines, codes, quote, email, asked_at, ttl_ms, ttl_max_ms };
    Ok(Errand::Checkout(id, checkout::Command::Create(Box::new(create))))
}

/// What the answer means to the cart.
pub(super) fn done(checkout: CheckoutId, answer: Answer) -> Result<Done, Again> {
    match answer {
        Answer::Checkout(Ok(())) => Ok(Done::Opened),
        Answer::Checkout(Err(checkout::Refusal::NotOpen(_))) => Ok(Done::Over),
        Answer::Checkout(Err(checkout::Refusal::NotFound)) => {
            tracing::error!(checkout.id = %checkout, "a cart's checkout is another cart's: it lets go of it");
            Ok(Done::Over)
        }
        Answer::Checkout(Err(refusal)) => {
            tracing::error!(checkout.id = %checkout, %refusal, "a cart was refused its checkout");
            Err(Again)
        }
        // Nobody else is asked.
        _ => Err(Again),
    }
}

/// A checkout's line as pricing sees it.
#[must_use]
pub fn checkout_item(line: &CheckoutLine) -> pricing::Item<'_> {
    pricing::Item {
        line: line.line.id,
        quantity: line.line.quantity,
        unit_price: line.line.unit_price,
        categories: &line.categories,
        weight_g: line.weight_g,
    }
}
