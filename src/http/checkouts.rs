//! Checkouts: from a cart to an order. Handlers convert in, ask, wait for the saga where its outcome is what was asked
//! for, and convert out.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    App,
    carts::{email_address, fresh, replayed, tag, told_by},
    change::{self, Caller, Content as _, Has, Json, To, Wish},
    checkout_json::{CheckoutView, PostalAddress},
    may_sell,
    openapi::{CheckoutProblems, ReadProblems},
    payments::look_again,
    problem::{Code, FieldError, Problem},
};
use crate::{
    actors::{
        Answer, Ask, Key, Told,
        cart::{BEGIN_JOINED, checkout_item},
    },
    domain::{
        CartId, CheckoutId, Id,
        cart::{self, Cart},
        checkout::{ATTEMPTS_MAX, AttemptState, Checkout, Command, Email, Patch, Refusal, Status},
        payment::{TOKEN_BYTES_MAX, Token},
        pricing,
    },
    telemetry::clock,
};

/// When it is worth asking again for the outcome of a payment that a gateway has not told yet, in seconds.
const PENDING_RETRY_AFTER_S: u64 = 2;

/// A cart to be bought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginCheckout {
    cart_id: String,
    /// The shopper's yes to prices that rose since the cart saw them.
    #[serde(default)]
    accept_price_changes: bool,
}

/// What is left out stays as it is; `null` erases.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchCheckout {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<PostalAddress>)]
    shipping_address: Option<Option<PostalAddress>>,
    /// One of `shipping_options`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    shipping_option: Option<Option<String>>,
}

/// Tells `null` from absence.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A payment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteCheckout {
    payment: PaymentWish,
}

/// By whom, and with what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentWish {
    #[schema(example = "sandbox")]
    gateway: String,
    /// What the gateway gave the shopper's browser.
    #[schema(example = "tok_approve")]
    token: String,
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
    let timeout = app.options.request_timeout;
    may_sell(&app.handle).await?;
    let seen = app.handle.cart(cart, timeout).await?;
    if seen.owner != caller.owner() {
        return Err(cart::Refusal::NotFound.into());
    }
    let id = match key {
        // A retry must find the checkout that the first attempt began, also once the cart has let go of it. Of another cart
        // the same key, which is within the body there and not in the path, begins another.
        Some(key) => {
            let name = xxh3_128(&[key.key.to_be_bytes(), cart.0.0.to_be_bytes()].concat());
            CheckoutId(Id(u128::from(cart.slot().get()) << 114 | name >> 14))
        }
        None => CheckoutId::new(cart.slot(), clock::now(), clock::random()),
    };
    let prices = if seen.checkout.is_some() { Vec::new() } else { prices(&app, &seen, wish.accept_price_changes)? };
    let command = cart::Command::Begin { checkout: id, prices };
    let ask = Ask { command, by: Some(caller.owner()), if_revision: None, key, timeout, deed: None };
    let answer = app.handle.ask_cart(cart, ask).await?;
    let present = answer.state.checkout.as_ref().map(|checkout| checkout.id);
    let begun = match (answer.outcome, answer.replayed, present) {
        (BEGIN_JOINED, _, Some(present)) => present,
        (BEGIN_JOINED, ..) => {
            let detail = "the checkout that this key joined is over: begin again under a new key";
            return Err(Problem::new(Code::CheckoutNotOpen, detail));
        }
        (_, true, _) => id,
        (_, false, present) => present.unwrap_or(id),
    };
    let checkout = opened(&app, (cart, answer.state.revision), begun, timeout).await?;
    if checkout.cart != cart || checkout.owner != caller.owner() {
        return Err(Problem::new(Code::CheckoutNotOpen, "begin again under a new key"));
    }
    if let Some(problem) = refused(&checkout) {
        return Err(problem);
    }
    let status = if begun == id { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = represent(status, &checkout);
    replayed(response.headers_mut(), answer.replayed);
    if let Ok(location) = HeaderValue::try_from(format!("/v1/checkouts/{begun}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The unit prices that the shopper pays where they are others than those seen: what fell passes on, what rose needs their
/// yes.
fn prices(app: &App, cart: &Cart, accepts: bool) -> Result<Vec<(cart::LineId, i64)>, Problem> {
    let snapshot = app.catalog.snapshot();
    let (mut prices, mut risen) = (Vec::new(), Vec::new());
    for line in &cart.lines {
        let product = snapshot.get(&line.sku).ok_or_else(|| {
            let pointer = format!("/lines/{}", line.id);
            Problem::at(Code::ProductUnavailable, pointer, format!("{} is not sold any more: remove it", line.sku))
        })?;
        let (seen, now) = (line.unit_price, product.price.amount);
        if now > seen && !accepts {
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

/// The checkout, once its goods were asked for. `begun` = the cart, and its revision when it had begun.
async fn opened(app: &App, begun: (CartId, u64), id: CheckoutId, timeout: Duration) -> Result<Arc<Checkout>, Problem> {
    let waits = async {
        let (cart, revision) = begun;
        // Seen from another node, a cart may first be as it was before: without a checkout, as one that has let go of it.
        let is_there = |cart: &Arc<Cart>| {
            let is_its_own = |checkout: &cart::InCheckout| checkout.id != id || checkout.opened;
            cart.revision >= revision && cart.checkout.as_deref().is_none_or(is_its_own)
        };
        // A cart that moves is found again: until it says so, there may be no checkout to ask for.
        while app.handle.watch_cart(cart, timeout).await?.wait_for(is_there).await.is_err() {}
        until(app, id, timeout, |checkout| !checkout.is_holding()).await
    };
    match tokio::time::timeout(timeout, waits).await {
        Ok(Ok(Some(checkout))) => Ok(checkout),
        Ok(Ok(None)) | Err(_) => {
            Err(Problem::new(Code::Overloaded, "the goods are still being held; ask again for the same checkout"))
        }
        Ok(Err(problem)) => Err(problem),
    }
}

/// The checkout once it is as wanted; `None` when that does not come in time.
async fn until(
    app: &App,
    id: CheckoutId,
    timeout: Duration,
    is_wanted: impl Fn(&Checkout) -> bool,
) -> Result<Option<Arc<Checkout>>, Problem> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut states = app.handle.watch_checkout(id, left).await?;
        match tokio::time::timeout(left, states.wait_for(|checkout| is_wanted(checkout))).await {
            Ok(Ok(found)) => return Ok(Some(Arc::clone(&found))),
            Ok(Err(_)) => {} // it moved: found again
            Err(_) => return Ok(None),
        }
    }
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

/// The checkout.
#[utoipa::path(get, path = "/v1/checkouts/{id}", tag = "Checkouts", security(("guest" = [])),
    params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = CheckoutView, description = "the checkout"), (status = 304, description = "unchanged"), ReadProblems))]
pub(super) async fn get(State(app): State<App>, to: To<CheckoutId>, has: Has) -> Result<Response, Problem> {
    let checkout = owned(&app, &to).await?;
    if has.revision(checkout.revision) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        tag(response.headers_mut(), checkout.revision);
        told_by(&mut response, &checkout);
        return Ok(response);
    }
    let mut response = represent(StatusCode::OK, &checkout);
    told_by(&mut response, &checkout);
    Ok(response)
}

/// Sets where to, how and to whom; the totals follow.
#[utoipa::path(patch, path = "/v1/checkouts/{id}", tag = "Checkouts", security(("guest" = [])), request_body = PatchCheckout,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "the ETag that the change is made upon; required"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CheckoutView, description = "the checkout"),
        (status = 428, body = super::problem::ProblemBody, content_type = "application/problem+json", description = "precondition_required"),
        CheckoutProblems))]
pub(super) async fn patch(
    State(app): State<App>,
    mut wish: Wish<CheckoutId, Json<PatchCheckout>>,
) -> Result<Response, Problem> {
    let Some(revision) = wish.if_revision else {
        return Err(Problem::new(Code::PreconditionRequired, "send the checkout's ETag as If-Match"));
    };
    let checkout = owned(&app, &wish.to).await?;
    let PatchCheckout { email, shipping_address, shipping_option } = std::mem::take(&mut wish.body.0);
    let email = email_address(&email)?;
    let address = match shipping_address {
        Some(Some(address)) => {
            let wrong = |(part, why): (&str, String)| {
                Problem::at(Code::InvalidRequest, format!("/shipping_address/{part}"), why)
            };
            Some(Some(address.read().map_err(wrong)?))
        }
        Some(None) => Some(None),
        None => None,
    };
    let option = shipping_option.map(|option| option.map(Box::<str>::from));
    // Made upon the revision that the client saw: the actor refuses it upon another.
    let patch = if checkout.revision == revision {
        quoted(&app, &checkout, email.map(|email| email.map(Email)), address, option)?
    } else if wish.key.is_some() && checkout.revision > revision {
        // A repeated request, which has had its effect, finds its receipt; any other is refused, whatever it says.
        Patch { email: None, address: None, option: None, quote: checkout.quote.clone() }
    } else {
        return Err(Refusal::RevisionMismatch { present: checkout.revision }.into());
    };
    let ask = wish.ask(Command::Patch(Box::new(patch)), app.options.request_timeout);
    Ok(answered(&app.handle.ask_checkout(wish.to.id, ask).await?))
}

/// The change, with what the purchase costs then.
fn quoted(
    app: &App,
    checkout: &Checkout,
    email: Option<Option<Email>>,
    address: Option<Option<crate::domain::address::Address>>,
    option: Option<Option<Box<str>>>,
) -> Result<Patch, Problem> {
    let items: Vec<_> = checkout.lines.iter().map(checkout_item).collect();
    let to = address.as_ref().unwrap_or(&checkout.address).as_ref();
    let by = option.as_ref().unwrap_or(&checkout.option).as_deref();
    let request = |option| pricing::Request {
        currency: checkout.currency,
        items: &items,
        rules: &checkout.codes,
        now: clock::now(),
        address: to,
        option,
        tables: &app.tables,
    };
    let not_offered = || {
        let offers = pricing::quote(&request(None)).map(|quoted| quoted.quote.offers).unwrap_or_default();
        let ids: Vec<_> = offers.iter().map(|offer| &*offer.id).collect();
        let detail = if ids.is_empty() {
            "nothing is shipped there; set another shipping_address".to_owned()
        } else {
            format!("must be one of {}", ids.join(", "))
        };
        Problem::at(Code::InvalidRequest, "/shipping_option", detail)
    };
    let too_large = || Problem::new(Code::QuantityOutOfRange, "the total would be too large");
    match pricing::quote(&request(by)) {
        Ok(quoted) => Ok(Patch { email, address, option, quote: quoted.quote }),
        Err(pricing::Refusal::OptionNotOffered) if option.is_some() => Err(not_offered()),
        // The way chosen before is not offered to the new address: it is chosen anew.
        Err(pricing::Refusal::OptionNotOffered) => {
            let quote = pricing::quote(&request(None)).map_err(|_| too_large())?.quote;
            Ok(Patch { email, address, option: Some(None), quote })
        }
        Err(pricing::Refusal::OutOfRange) => Err(too_large()),
    }
}

/// Pays, and makes the order.
#[utoipa::path(post, path = "/v1/checkouts/{id}/complete", tag = "Checkouts", security(("guest" = [])), request_body = CompleteCheckout,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "required; a new one for each try")),
    responses((status = 200, body = CheckoutView, description = "bought: `order_id` names the order"),
        (status = 202, body = CheckoutView, description = "the gateway's answer is not known yet: the same request again tells"),
        CheckoutProblems))]
pub(super) async fn complete(
    State(app): State<App>,
    wish: Wish<CheckoutId, Json<CompleteCheckout>>,
) -> Result<Response, Problem> {
    let key = wish.must_have_key()?;
    let PaymentWish { gateway, token } = &wish.body.0.payment;
    if !app.gateways.has(gateway) {
        let names: Vec<_> = app.gateways.names().collect();
        let detail = format!("this shop takes payments by {}", names.join(", "));
        return Err(Problem::at(Code::InvalidRequest, "/payment/gateway", detail));
    }
    if !(1..=TOKEN_BYTES_MAX).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("1 to {TOKEN_BYTES_MAX} visible ASCII characters");
        return Err(Problem::at(Code::InvalidRequest, "/payment/token", detail));
    }
    let deadline = tokio::time::Instant::now() + app.options.request_timeout;
    let mut asked_with = key;
    for _ in 0..ATTEMPTS_MAX {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let command = Command::Complete { gateway: gateway.as_str().into(), token: Token(token.as_str().into()) };
        let ask = Ask { key: Some(asked_with), ..wish.ask(command, left) };
        let answer = app.handle.ask_checkout(wish.to.id, ask).await?;
        let n = answer.outcome;
        if answer.state.visible_status() == Status::RequiresAction {
            // The shopper is back. Whether they did it the gateway knows, whose own message may be late, or lost.
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            look_again(&app, wish.to.id, None, left).await?;
        }
        let is_known = |checkout: &Checkout| match checkout.visible_status() {
            Status::Completed | Status::Cancelled | Status::Expired => true,
            _ => checkout
                .attempt(n)
                .is_none_or(|attempt| !matches!(attempt.state, AttemptState::Pending | AttemptState::Approved)),
        };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let known = until(&app, wish.to.id, left, is_known).await?;
        let Some(checkout) = known else {
            let mut response = represent(StatusCode::ACCEPTED, &answer.state);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(PENDING_RETRY_AFTER_S));
            return Ok(response);
        };
        let is_away = matches!(
            checkout.attempt(n).map(|attempt| &attempt.state),
            Some(AttemptState::Unavailable | AttemptState::Abandoned)
        );
        if is_away && answer.replayed && checkout.visible_status() == Status::Open {
            // Nothing came of that try: the same request again is another, of its own key.
            asked_with = Key { key: xxh3_128(&[key.key.to_be_bytes(), u128::from(n).to_be_bytes()].concat()), ..key };
            continue;
        }
        let mut response = match outcome(&checkout, n) {
            Ok(()) => represent(StatusCode::OK, &checkout),
            Err(problem) => problem.into_response(),
        };
        replayed(response.headers_mut(), answer.replayed);
        return Ok(response);
    }
    Err(Refusal::TooManyAttempts.into())
}

/// What came of an attempt to pay.
fn outcome(checkout: &Checkout, n: u32) -> Result<(), Problem> {
    match checkout.visible_status() {
        Status::Completed => return Ok(()),
        status @ (Status::Cancelled | Status::Expired) => return Err(Refusal::NotOpen(status).into()),
        Status::Open | Status::Completing | Status::RequiresAction => {}
    }
    Err(match checkout.attempt(n).map(|attempt| &attempt.state) {
        Some(AttemptState::Declined { reason }) => {
            Problem::new(Code::PaymentDeclined, format!("{reason}; try again with another key and another token"))
        }
        Some(AttemptState::ActionRequired { url }) => {
            let detail = "the shopper must confirm the payment; then send the same request again";
            Problem::new(Code::PaymentRequiresAction, detail).with(vec![FieldError {
                pointer: "/payment/action/url".to_owned(),
                code: Code::PaymentRequiresAction.name(),
                detail: url.to_string(),
            }])
        }
        _ => Problem::new(Code::GatewayUnavailable, "the payment gateway does not answer; no money was reserved"),
    })
}

/// Ends the checkout: goods and money are released.
#[utoipa::path(post, path = "/v1/checkouts/{id}/cancel", tag = "Checkouts", security(("guest" = [])),
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CheckoutView, description = "the checkout"), CheckoutProblems))]
pub(super) async fn cancel(State(app): State<App>, wish: Wish<CheckoutId, ()>) -> Result<Response, Problem> {
    let ask = wish.ask(Command::Cancel, app.options.request_timeout);
    Ok(answered(&app.handle.ask_checkout(wish.to.id, ask).await?))
}

/// The checkout, if it is the caller's: somebody else's looks like none. Never an old one.
pub(super) async fn owned(app: &App, to: &To<CheckoutId>) -> Result<Told<Arc<Checkout>>, Problem> {
    let checkout = fresh(app, app.handle.checkout(to.id, app.options.request_timeout).await?)?;
    if checkout.owner == to.caller.owner() { Ok(checkout) } else { Err(Refusal::NotFound.into()) }
}

fn answered(answer: &Told<Answer<Checkout>>) -> Response {
    let mut response = represent(StatusCode::OK, &answer.state);
    told_by(&mut response, answer);
    replayed(response.headers_mut(), answer.replayed);
    response
}

fn represent(status: StatusCode, checkout: &Checkout) -> Response {
    let mut response = (status, axum::Json(CheckoutView::from(checkout))).into_response();
    tag(response.headers_mut(), checkout.revision);
    response.headers_mut().insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    response
}
