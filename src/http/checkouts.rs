//! Checkouts that were begun, up to their orders. Handlers convert in, ask, wait for the saga where its outcome is what was asked
//! for, and convert out.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App,
    carts::{email_address, fresh, replayed, tag, told_by},
    change::{Has, Json, To, Wish},
    checkout_json::{CheckoutView, PostalAddress},
    openapi::{CheckoutProblems, ReadProblems},
    payments::look_again,
    problem::{Code, FieldError, Problem},
};
use crate::{
    actors::{Answer, Ask, Failure, Told, cart::checkout_item},
    domain::{
        CheckoutId,
        checkout::{self, ATTEMPTS_MAX, AttemptState, Checkout, Command, Email, Patch, Refusal, Status},
        payment::{TOKEN_BYTES_MAX, Token},
        pricing,
    },
};

/// When it is worth asking again for the outcome of a payment that a gateway has not told yet, in seconds.
const PENDING_RETRY_AFTER_S: u64 = 2;

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

/// The checkout once it is as wanted; `None` when that does not come in time.
pub(super) async fn until(
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
        // The codes' time was judged when the goods were held: what was quoted stands until the checkout's time is over.
        now: checkout.created_at,
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
    let left = || deadline.saturating_duration_since(tokio::time::Instant::now());
    let (mut asked_with, mut last) = (key, None::<Arc<Checkout>>);
    for _ in 0..ATTEMPTS_MAX {
        let command = Command::Complete { gateway: gateway.as_str().into(), token: Token(token.as_str().into()) };
        let mut ask = Ask { key: Some(asked_with), ..wish.ask(command, left()) };
        if last.is_some() {
            // Of this request's own doing it is another by now.
            ask.if_revision = None;
        }
        let answer = match (app.handle.ask_checkout(wish.to.id, ask).await, &last) {
            (Ok(answer), _) => answer,
            (Err(failure @ Failure::Refused(_)), _) | (Err(failure), None) => return Err(failure.into()),
            (Err(_), Some(last)) => return Ok(pending(last)),
        };
        let seen = &*last.insert(Arc::clone(&answer.state));
        let (n, joined) = checkout::attempt_of(answer.outcome);
        let is_its_own = !joined && n == seen.attempt_n();
        if is_its_own && seen.visible_status() == Status::RequiresAction {
            // The shopper is back. Whether they did it the gateway knows, whose own message may be late, or lost.
            if look_again(&app, wish.to.id, None, left()).await.is_err() {
                return Ok(pending(seen));
            }
        }
        let is_known = |checkout: &Checkout| match checkout.visible_status() {
            Status::Completed | Status::Cancelled | Status::Expired => true,
            _ => checkout
                .attempt(n)
                .is_none_or(|attempt| !matches!(attempt.state, AttemptState::Pending | AttemptState::Approved)),
        };
        let Ok(Some(checkout)) = until(&app, wish.to.id, left(), is_known).await else { return Ok(pending(seen)) };
        let state = checkout.attempt(n).map(|attempt| &attempt.state);
        let is_away = matches!(state, Some(AttemptState::Unavailable | AttemptState::Abandoned));
        let is_declined = matches!(state, Some(AttemptState::Declined { .. }));
        // Nothing came of that try: the same request again is another. Nor of one with another card, which went on first:
        // now it is this one's turn. Each has a key of its own.
        let is_next =
            is_away && answer.replayed && matches!(checkout.visible_status(), Status::Open | Status::Completing);
        if is_next || (joined && (is_away || is_declined)) {
            asked_with = key.derived(n.into());
            continue;
        }
        // One that waits for its shopper, who pays with this card instead.
        if joined && matches!(state, Some(AttemptState::ActionRequired { .. })) {
            asked_with = key.derived(INSTEAD | u128::from(n));
            continue;
        }
        let mut response = match outcome(&checkout, n, is_declined) {
            Ok(()) => represent(StatusCode::OK, &checkout),
            Err(problem) => problem.into_response(),
        };
        replayed(response.headers_mut(), answer.replayed);
        return Ok(response);
    }
    Err(Refusal::TooManyAttempts.into())
}

/// Marks the key of what is asked for in the place of an attempt, beside the one for what is asked for after it.
const INSTEAD: u128 = 1 << 64;

/// Nobody knows yet what comes of it.
fn pending(checkout: &Checkout) -> Response {
    let mut response = represent(StatusCode::ACCEPTED, checkout);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(PENDING_RETRY_AFTER_S));
    response
}

/// What came of an attempt to pay. `stays` = it does whatever came of the checkout since.
fn outcome(checkout: &Checkout, n: u32, stays: bool) -> Result<(), Problem> {
    match checkout.visible_status() {
        _ if stays => {}
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

pub(super) fn represent(status: StatusCode, checkout: &Checkout) -> Response {
    let mut response = (status, axum::Json(CheckoutView::from(checkout))).into_response();
    tag(response.headers_mut(), checkout.revision);
    response.headers_mut().insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    response
}
