//! What shoppers and gateways tell of payments: a confirmation of the sandbox's, a message of a gateway's.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use xxhash_rust::xxh3::Xxh3;

use super::{
    App, change,
    openapi::PaymentProblems,
    problem::{Code, Problem},
};
use crate::{
    actors::{Ask, Failure, Key},
    domain::{CheckoutId, OrderId, Try, checkout, order},
    payments::{Find, Happened, WebhookError},
    telemetry::clock,
};

/// Before an order that changed meanwhile is looked at again.
const PAUSE: Duration = Duration::from_millis(50);

/// What a shopper is to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActionWanted {
    reference: String,
    action: &'static str,
}

/// What became of a confirmation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Confirmed {
    confirmed: bool,
}

/// What the bank of play money wants from its shopper.
#[utoipa::path(get, path = "/v1/sandbox/actions/{reference}", tag = "Sandbox", params(("reference" = String, Path)),
    responses((status = 200, body = ActionWanted, description = "what to do"), PaymentProblems))]
pub(super) async fn action(State(app): State<App>, Path(reference): Path<String>) -> Result<Response, Problem> {
    if app.sandbox.is_none() {
        return Err(Problem::new(Code::NotFound, "there is no sandbox here"));
    }
    Ok(Json(ActionWanted { reference, action: "POST here to confirm the payment" }).into_response())
}

/// The shopper confirms a payment of the bank of play money; then the same `complete` again goes on.
#[utoipa::path(post, path = "/v1/sandbox/actions/{reference}", tag = "Sandbox", params(("reference" = String, Path)),
    responses((status = 200, body = Confirmed, description = "confirmed"), PaymentProblems))]
pub(super) async fn confirm(State(app): State<App>, Path(reference): Path<String>) -> Result<Response, Problem> {
    let none = || Problem::new(Code::NotFound, "there is no such payment that waits for its shopper");
    let sandbox = app.sandbox.as_ref().ok_or_else(none)?;
    let key = sandbox.key_of(&reference).ok_or_else(none)?;
    let is_confirmed = sandbox
        .confirm(&reference)
        .await
        .map_err(|_| Problem::new(Code::GatewayUnavailable, "the bank does not answer; confirm again"))?;
    if !is_confirmed {
        return Err(none());
    }
    look_again(&app, CheckoutId(key.by), None, app.options.request_timeout).await?;
    Ok(Json(Confirmed { confirmed: true }).into_response())
}

/// A gateway tells of a payment. It decides nothing: the checkout asks the gateway again.
#[utoipa::path(post, path = "/webhooks/{gateway}", tag = "Webhooks", params(("gateway" = String, Path)),
    responses((status = 200, description = "taken, or of no interest"), PaymentProblems))]
pub(super) async fn webhook(
    State(app): State<App>,
    Path(gateway): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = change::read(&parts.headers, body, &app).await?;
    let webhook = match app.gateways.parse_webhook(&gateway, &parts.headers, &bytes, clock::now()) {
        Ok(webhook) => webhook,
        Err(WebhookError::None) => return Err(Problem::new(Code::NotFound, "no messages are taken here")),
        Err(WebhookError::Irrelevant) => return Ok(StatusCode::OK.into_response()),
        Err(error) => return Err(Problem::new(Code::Unauthenticated, error.to_string())),
    };
    match webhook.key {
        // The answer to whoever asked for the money says the same.
        Some(_) if webhook.what == Happened::ActionRequired => {}
        Some(key) if webhook.what == Happened::Refunded => {
            learn_refunded(&app, Find { key, gateway: gateway.into(), reference: Some(webhook.reference) }).await?;
        }
        Some(key) => {
            let message = message_key(&gateway, &webhook.id);
            look_again(&app, CheckoutId(key.by), Some(message), app.options.request_timeout).await?;
        }
        None => tracing::info!(gateway, id = &*webhook.id, "a gateway tells of a payment that names no checkout"),
    }
    Ok(StatusCode::OK.into_response())
}

/// What names a gateway's message: the checkout keeps a receipt of it for longer than its signature is good, so that who
/// sends it again does nothing.
fn message_key(gateway: &str, id: &str) -> Key {
    let mut name = Xxh3::new();
    for part in ["webhook", gateway, id] {
        name.update(part.as_bytes());
        name.update(b"\0");
    }
    let key = name.digest128();
    Key { key, request: key }
}

/// Money went back at the gateway: the order learns how much of it went without its asking, once no money that it asked for
/// is on its way. The gateway is not answered before, and tells it again.
async fn learn_refunded(app: &App, find: Find) -> Result<(), Problem> {
    let id = OrderId::of(CheckoutId(find.key.by));
    let until = Instant::now() + app.options.request_timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut states = match app.handle.watch_order(id, left).await {
            Ok(states) => states,
            Err(Failure::Refused(order::Refusal::NotFound)) => {
                tracing::warn!(order.id = %id, gateway = &*find.gateway, "a gateway tells of a refund of no order");
                return Ok(());
            }
            Err(failure) => return Err(failure.into()),
        };
        let still = timeout_at(until, states.wait_for(|order| !order.moves_money())).await;
        let order = match still.map(|still| still.map(|order| Arc::clone(&order))) {
            Ok(Ok(order)) => order,
            // It is served elsewhere now.
            Ok(Err(_)) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(_) => return Err(order::Refusal::Busy.into()),
        };
        let found = app.gateways.find(find.clone(), until).await.map_err(|_| {
            Problem::new(Code::GatewayUnavailable, "the gateway does not say what went back; tell it again")
        })?;
        let Some(found) = found.filter(|found| found.reference == order.payment.reference) else { return Ok(()) };
        // What is asked for from here on makes another revision.
        let if_revision = Some(order.revision);
        let command = order::Command::LearnRefunded { captured: found.captured, refunded: found.refunded };
        let timeout = until.saturating_duration_since(Instant::now());
        // A deposed owner might find nothing new in what it remembers: only a save shows that it is the owner.
        let ask = Ask { command, by: None, if_revision, key: None, timeout, deed: Some(Try::Again) };
        match app.handle.ask_order(id, ask).await {
            Ok(_) => return Ok(()),
            Err(Failure::Refused(order::Refusal::RevisionMismatch { .. })) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// Lets a checkout ask its gateway again; it keeps that in its row. One that waits for no payment, or is none, needs not.
pub(super) async fn look_again(
    app: &App,
    checkout: CheckoutId,
    key: Option<Key>,
    timeout: Duration,
) -> Result<(), Problem> {
    let command = checkout::Command::Confirm;
    let ask = Ask { command, by: None, if_revision: None, key, timeout, deed: Some(Try::Again) };
    match app.handle.ask_checkout(checkout, ask).await {
        Ok(_) | Err(Failure::Refused(_)) => Ok(()),
        // The gateway, or the shopper, tells it again.
        Err(failure) => Err(failure.into()),
    }
}
