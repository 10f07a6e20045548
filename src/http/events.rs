//! Carts and checkouts, live: server-sent events whose ids are revisions.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    App, cart_json, carts,
    change::{self, Addressed, Caller, To},
    checkout_json::CheckoutView,
    checkouts,
    dto::Ticket,
    openapi::ReadProblems,
    problem::{Code, Problem},
    token::TICKET_TTL_MS,
};
use crate::{
    domain::{
        CheckoutId,
        cart::{Cart, Owner, Refusal},
        checkout::Checkout,
    },
    telemetry::{clock, metrics::metrics},
};

/// Comments between events, so that proxies and clients see a living stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
pub(super) struct ByTicket {
    ticket: Option<String>,
}

/// The cart whenever it changes, from its present state on. Revisions strictly rise and may skip. The stream ends
/// cleanly when the cart moves or the node leaves: connect again.
#[utoipa::path(get, path = "/v1/carts/{id}/events", tag = "Carts", security(("guest" = []), ("ticket" = [])),
    params(("id" = String, Path), ("ticket" = Option<String>, Query, description = "instead of a token"),
        ("Last-Event-ID" = Option<String>, Header, description = "the last revision seen")),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "events named `cart`"), ReadProblems))]
pub(super) async fn stream(
    State(app): State<App>,
    query: Result<Query<ByTicket>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(ByTicket { ticket }) = query.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let (mut parts, _) = request.into_parts();
    let (id, _) = change::address(&mut parts, &app).await?;
    let caller = match ticket {
        Some(ticket) => app.tokens.ticket_guest(&ticket, id, clock::now()).map(Caller),
        None => Caller::from_headers(&parts.headers, &app)?,
    };
    let caller = caller.ok_or_else(|| Problem::new(Code::Unauthenticated, "send a guest token or a valid ticket"))?;
    let mut carts = app.handle.watch_cart(id, app.options.request_timeout).await?;
    if carts.borrow_and_update().owner != Owner::Guest(caller.0) {
        return Err(Refusal::NotFound.into());
    }
    Ok(told(&app, carts, &parts.headers))
}

/// The checkout whenever it changes, from its present state on: what is held, how its payment goes, its order. Revisions
/// strictly rise and may skip. The stream ends cleanly when the checkout moves or the node leaves: connect again.
#[utoipa::path(get, path = "/v1/checkouts/{id}/events", tag = "Checkouts", security(("guest" = [])),
    params(("id" = String, Path), ("Last-Event-ID" = Option<String>, Header, description = "the last revision seen")),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "events named `checkout`"), ReadProblems))]
pub(super) async fn checkout(
    State(app): State<App>,
    to: To<CheckoutId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Its owner never changes, and the stream begins with a state at least as new.
    let owned = checkouts::owned(&app, &to).await?;
    let states = app.handle.watch_checkout(to.id, app.options.request_timeout).await?;
    let mut response = told(&app, states, &headers);
    carts::told_by(&mut response, &owned);
    Ok(response)
}

/// A ticket for a browser's EventSource, which cannot send headers: this stream alone, for 15 minutes.
#[utoipa::path(post, path = "/v1/carts/{id}/events/tickets", tag = "Carts", security(("guest" = [])), params(("id" = String, Path)),
    responses((status = 201, body = Ticket, description = "the ticket"), ReadProblems))]
pub(super) async fn ticket(State(app): State<App>, to: Addressed) -> Result<Response, Problem> {
    carts::owned(&app, &to).await?;
    let ticket = app.tokens.ticket(to.cart, to.caller.0, clock::now());
    let body = axum::Json(Ticket { ticket, expires_in: TICKET_TTL_MS / 1000 });
    Ok((axum::http::StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// What can be followed.
trait Followed: Send + Sync + 'static {
    /// The name of its events.
    const EVENT: &'static str;
    /// What clients see as its revision.
    fn revision(&self) -> u64;
    /// It, as a read shows it.
    fn written(&self, app: &App) -> Vec<u8>;
}

impl Followed for Cart {
    const EVENT: &'static str = "cart";

    fn revision(&self) -> u64 {
        self.revision
    }

    fn written(&self, app: &App) -> Vec<u8> {
        cart_json::write(self, &|sku| app.catalog.categories(sku), None)
    }
}

impl Followed for Checkout {
    const EVENT: &'static str = "checkout";

    fn revision(&self) -> u64 {
        self.revision
    }

    fn written(&self, _: &App) -> Vec<u8> {
        // Strings and numbers alone: cannot fail.
        serde_json::to_vec(&CheckoutView::from(self)).unwrap_or_default()
    }
}

/// The stream of an actor's states, from the present one on, without what the client has seen.
fn told<S: Followed>(app: &App, mut states: watch::Receiver<Arc<S>>, headers: &HeaderMap) -> Response {
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    states.mark_changed();
    let watching = Watching { states, app: app.clone(), stopping: app.stopping.clone(), seen, _open: Open::new() };
    let events = unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Watching<S> {
    states: watch::Receiver<Arc<S>>,
    app: App,
    stopping: watch::Receiver<bool>,
    seen: u64,
    _open: Open,
}

impl<S: Followed> Watching<S> {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                changed = self.states.changed() => changed.ok()?,
            }
            let state = Arc::clone(&self.states.borrow_and_update());
            if state.revision() > self.seen {
                self.seen = state.revision();
                let event = Event::default().event(S::EVENT).id(self.seen.to_string());
                return Some(event.data(String::from_utf8(state.written(&self.app)).ok()?));
            }
        }
    }
}

/// Counts open streams.
struct Open;

impl Open {
    fn new() -> Self {
        metrics().http_event_streams.inc();
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics().http_event_streams.dec();
    }
}
