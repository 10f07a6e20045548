//! How a checkout begins: which one, at which prices, and what a repeated request finds.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    App,
    carts::replayed,
    change::{self, Caller, Content as _, Json},
    checkout_json::CheckoutView,
    checkouts::{represent, until},
    may_sell,
    openapi::CheckoutProblems,
    problem::{Code, FieldError, Problem},
};
use crate::{
    actors::{Ask, Effect, Failure, Key, Told, cart::joined, discount::discount_id},
    domain::{
        CartId, CheckoutId, Id,
        cart::{self, Cart},
        checkout::{Checkout, Status},
    },
    telemetry::clock,
};

/// Times that one key begins to buy anew after it was refused, or after what it had joined was over: each is a command to the
/// cart. Past it the last refusal is told again.
const TRIES_MAX: u32 = 16;

/// A cart to be bought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginCheckout {
    cart_id: String,
    /// The shopper's yes to prices that rose since the cart saw them.
    #[serde(default)]
    accept_price_changes: bool,
}

/// Begins to buy a cart: prices are quoted, goods held. The cart's open checkout again on repeat, from any device.
#[utoipa::path(post, path = "/v1/checkouts", tag = "Checkouts", security(("guest" = [])), request_body = BeginCheckout,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = CheckoutView, description = "begun"),
        (status = 200, body = CheckoutView, description = "the cart's open checkout"), CheckoutProblems))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = Caller::from_headers(&parts.headers, &app)?
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "send the guest token as Authorization: Bearer"))?;
    let bytes = change::read(&parts.headers, body, &app).await?;
    let key = change::idempotency_key(&parts, caller, &bytes)?;
    let Json(wish) = Json::<BeginCheckout>::read(&parts.headers, &bytes)?;
    let cart: CartId =
        wish.cart_id.parse().map_err(|error| Problem::at(Code::InvalidId, "/cart_id", format!("cart id: {error}")))?;
    let deadline = Instant::now() + app.options.request_timeout;
    may_sell(&app.handle).await?;
    let begin = Begin { app: &app, caller, cart, accepts: wish.accept_price_changes, deadline };
    let mut nth = 0;
    loop {
        let begun = begin.once(key, nth).await?;
        nth += 1;
        let Some(begun) = begun else {
            if nth < TRIES_MAX {
                continue;
            }
            return Err(over());
        };
        let refusal = refused(&begun.checkout);
        // What was refused, or was over already, had no effect that a key would have to remember: it is tried anew.
        let again = begun.is_told_again && refusal.is_some() || begun.joined && is_over(&begun.checkout);
        if again && nth < TRIES_MAX {
            continue;
        }
        return refusal.map_or_else(|| Ok(begun.respond()), Err);
    }
}

/// A retry does nothing that the first try did not, so it begins no other.
fn over() -> Problem {
    Problem::new(Code::CheckoutNotOpen, "the checkout that this key joined is over: begin again under a new key")
}

/// The key itself first, then others that come of it.
fn nth_key(key: Key, n: u32) -> Key {
    if n == 0 { key } else { key.derived(n.into()) }
}

/// A wish to buy a cart.
struct Begin<'a> {
    app: &'a App,
    caller: Caller,
    cart: CartId,
    accepts: bool,
    deadline: Instant,
}

/// What came of it.
struct Begun {
    checkout: Arc<Checkout>,
    /// It was begun under another key, or without one.
    joined: bool,
    /// It was done before under the same key.
    is_told_again: bool,
}

impl Begun {
    fn respond(self) -> Response {
        let status = if self.joined { StatusCode::OK } else { StatusCode::CREATED };
        let mut response = represent(status, &self.checkout);
        replayed(response.headers_mut(), self.is_told_again);
        if let Ok(location) = HeaderValue::try_from(format!("/v1/checkouts/{}", self.checkout.id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl Begin<'_> {
    /// Begins, or joins, under the `nth` of the keys that come of one; `None` = the next one was used then.
    async fn once(&self, key: Option<Key>, nth: u32) -> Result<Option<Begun>, Problem> {
        let (own, key) = (key, key.map(|key| nth_key(key, nth)));
        let id = self.mint(key);
        let seen = self.free_cart(id).await?;
        let prices = match seen.checkout {
            Some(_) => Vec::new(),
            None => {
                self.renew_codes(&seen).await?;
                match self.prices(&seen) {
                    Ok(prices) => prices,
                    // What was begun at the prices of then is told again, whatever they are now.
                    Err(problem) => {
                        let checkout = match key {
                            Some(_) => self.known(id).await?,
                            None => None,
                        };
                        let checkout = checkout.ok_or(problem)?;
                        return Ok(Some(Begun { checkout, joined: false, is_told_again: true }));
                    }
                }
            }
        };
        let (command, timeout) = (cart::Command::Begin { checkout: id, prices }, self.left());
        let by = Some(self.caller.owner());
        let ask = Ask { command, by, if_revision: None, key, timeout, deed: None };
        let answer = self.app.handle.ask_cart(self.cart, ask).await?;
        let present = answer.state.checkout.as_ref().map(|checkout| checkout.id);
        let begun = match (answer.outcome, answer.replayed, present) {
            (0, true, _) => id,
            (_, false, present) => present.unwrap_or(id),
            // What it had joined was over, and it went on under the next key.
            _ if self.known(self.mint(own.map(|key| nth_key(key, nth + 1)))).await?.is_some() => return Ok(None),
            (which, true, Some(present)) if which == joined(present) => present,
            _ => return Err(over()),
        };
        // From here on something has happened, or had.
        let checkout = self.opened(begun, answer.state.revision).await.map_err(|why| why.outcome(Effect::Unknown))?;
        let checkout = checkout.ok_or_else(over)?;
        Ok(Some(Begun { joined: begun != id, is_told_again: answer.replayed, checkout }))
    }

    fn left(&self) -> std::time::Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A retry must find the checkout that the first attempt began, also once the cart has let go of it. Of another cart the
    /// same key, which is within the body here and not in the path, begins another.
    fn mint(&self, key: Option<Key>) -> CheckoutId {
        let slot = self.cart.slot();
        let Some(key) = key else { return CheckoutId::new(slot, clock::now(), clock::random()) };
        let name = xxh3_128(&[key.key.to_be_bytes(), self.cart.0.0.to_be_bytes()].concat());
        CheckoutId(Id(u128::from(slot.get()) << 114 | name >> 14))
    }

    /// The cart, once it is in no checkout that is over: that one lets go of it by itself, a moment later. A retry need not wait
    /// for its own, which it is told of.
    async fn free_cart(&self, own: CheckoutId) -> Result<Told<Arc<Cart>>, Problem> {
        let handle = &self.app.handle;
        loop {
            let seen = handle.cart(self.cart, self.left()).await?;
            if seen.owner != self.caller.owner() {
                return Err(cart::Refusal::NotFound.into());
            }
            let Some(present) = seen.checkout.as_ref().map(|checkout| checkout.id) else { return Ok(seen) };
            match self.known(present).await? {
                Some(checkout) if present == own && refused(&checkout).is_none() => return Ok(seen),
                Some(checkout) if is_over(&checkout) => {}
                _ => return Ok(seen),
            }
            let mut states = handle.watch_cart(self.cart, self.left()).await?;
            let is_free = |cart: &Arc<Cart>| cart.checkout.as_ref().is_none_or(|now| now.id != present);
            // One that has moved is found again.
            if timeout_at(self.deadline, states.wait_for(is_free)).await.is_err() {
                return Err(Problem::new(Code::Overloaded, "the cart's last checkout is still being ended; ask again"));
            }
        }
    }

    /// A checkout of this cart's, if there is one of this id.
    async fn known(&self, id: CheckoutId) -> Result<Option<Arc<Checkout>>, Problem> {
        match self.app.handle.checkout(id, self.left()).await {
            Ok(checkout) => Ok(Some(checkout.what).filter(|checkout| checkout.cart == self.cart)),
            Err(Failure::Refused(_)) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// A cart keeps a code as the shop defined it when it was applied; bought is with what it is now.
    async fn renew_codes(&self, seen: &Cart) -> Result<(), Problem> {
        for known in &seen.codes {
            let rule = match self.app.handle.discount(discount_id(&known.code), self.left()).await {
                Ok(discount) => discount.rule.clone(),
                Err(Failure::Refused(_)) => continue,
                Err(failure) => return Err(failure.into()),
            };
            if rule == *known {
                continue;
            }
            let (command, by) = (cart::Command::ApplyCode(rule), Some(self.caller.owner()));
            let ask = Ask { command, by, if_revision: None, key: None, timeout: self.left(), deed: None };
            match self.app.handle.ask_cart(self.cart, ask).await {
                // One that is over is refused when it is to be held.
                Ok(_) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }

    /// The unit prices that the shopper pays where they are others than those seen: what fell passes on, what rose needs their
    /// yes.
    fn prices(&self, cart: &Cart) -> Result<Vec<(cart::LineId, i64)>, Problem> {
        let snapshot = self.app.catalog.snapshot();
        let (mut prices, mut risen) = (Vec::new(), Vec::new());
        for line in &cart.lines {
            let product = snapshot.get(&line.sku).ok_or_else(|| {
                let pointer = format!("/lines/{}", line.id);
                Problem::at(Code::ProductUnavailable, pointer, format!("{} is not sold any more: remove it", line.sku))
            })?;
            let (seen, now) = (line.unit_price, product.price.amount);
            if now > seen && !self.accepts {
                risen.push(FieldError {
                    pointer: format!("/lines/{}/unit_price", line.id),
                    code: Code::PriceChanged.name(),
                    detail: format!("seen {seen}, now {now} {} minor units", cart.currency),
                });
            }
            if now != seen {
                prices.push((line.id, now));
            }
        }
        if risen.is_empty() {
            return Ok(prices);
        }
        let detail = "prices rose since the cart saw them; send accept_price_changes to buy at the new ones";
        Err(Problem::new(Code::PriceChanged, detail).with(risen))
    }

    /// The checkout, once its goods were asked for; `None` = there is none. `revision` = the cart's when it had begun.
    async fn opened(&self, id: CheckoutId, revision: u64) -> Result<Option<Arc<Checkout>>, Problem> {
        let handle = &self.app.handle;
        let waits = async {
            // Seen from another node, a cart may first be as it was before: without a checkout, as one that has let go of it.
            let is_there = |cart: &Arc<Cart>| {
                let is_its_own = |checkout: &cart::InCheckout| checkout.id != id || checkout.opened;
                cart.revision >= revision && cart.checkout.as_deref().is_none_or(is_its_own)
            };
            // A cart that moves is found again: until it says so, there may be no checkout to ask for.
            while handle.watch_cart(self.cart, self.left()).await?.wait_for(is_there).await.is_err() {}
            if self.known(id).await?.is_none() {
                return Ok(None);
            }
            until(self.app, id, self.left(), |checkout| !checkout.is_holding()).await.map(Some)
        };
        match timeout_at(self.deadline, waits).await {
            Ok(Ok(Some(Some(checkout)))) => Ok(Some(checkout)),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(None))) | Err(_) => {
                Err(Problem::new(Code::Overloaded, "the goods are still being held; ask again for the same checkout"))
            }
            Ok(Err(problem)) => Err(problem),
        }
    }
}

/// Whether it has ended, or will without anybody's doing.
fn is_over(checkout: &Checkout) -> bool {
    matches!(checkout.visible_status(), Status::Completed | Status::Cancelled | Status::Expired)
}

/// Why a checkout that was just begun ended at once, if it did.
fn refused(checkout: &Checkout) -> Option<Problem> {
    let lines: Vec<_> = checkout
        .refused_lines()
        .map(|line| FieldError {
            pointer: format!("/lines/{}", line.line),
            code: Code::InsufficientStock.name(),
            detail: format!("{}: {} wanted, {} available", line.sku, line.wanted, line.available),
        })
        .collect();
    if !lines.is_empty() {
        return Some(Problem::new(Code::InsufficientStock, "not all goods are in stock").with(lines));
    }
    let code = checkout.refused_codes().next()?;
    Some(Problem::new(Code::DiscountNotApplicable, format!("{}: {}", code.code, code.reason)))
}
