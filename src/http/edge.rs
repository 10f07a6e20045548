//! What surrounds every request: admission, ids, CORS, negotiation, counting, logging, and the last word on panics.

use std::{
    fmt::Write as _,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::{
    App, Owner,
    cards::refuse_card_as_code,
    problem::{self, Code, Problem},
};
use crate::{
    cluster::Freshness,
    domain::Id,
    payments::looks_like_card,
    telemetry::{clock, metrics::metrics},
};

/// Longest Request-Id that is taken over from a client or a proxy.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Longest traceparent: its only version has 55 characters.
const TRACEPARENT_BYTES: usize = 55;
/// How long a browser may remember a preflight's answer.
const PREFLIGHT_S: &str = "86400";
const EXPOSED: &str = "ETag, Location, Request-Id, Retry-After, Trolley-Owner, Trolley-Revision, Trolley-Stale, \
    Idempotent-Replayed, WWW-Authenticate, traceparent";

/// Whose pages may call the API. Tokens travel in a header, never in a cookie, so any page may be allowed to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Any.
    Any,
    /// None: no CORS header is sent.
    None,
    /// These origins.
    Only(Vec<String>),
}

impl Cors {
    /// Reads `*`, `none` or origins separated by commas.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "*" => Self::Any,
            "none" | "" => Self::None,
            origins => Self::Only(origins.split(',').map(|origin| origin.trim().to_owned()).collect()),
        }
    }

    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::None => None,
            Self::Only(origins) => {
                origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct Edge {
    pub(super) app: App,
    pub(super) in_flight: Arc<Semaphore>,
}

pub(super) async fn around(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let options = &edge.app.options;
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let request_id = request_id(request.headers());
    let traceparent = traceparent(request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if method == Method::OPTIONS && origin.is_some() {
        preflight()
    } else {
        answer(&edge, request, next, route.as_ref(), &request_id).await
    };
    let by = response.extensions_mut().remove::<Owner>();
    // After the handler: what it read was the newest if the lease lives still, or lived where it was read.
    if method == Method::GET && response.status().as_u16() < 400 && route.as_ref().is_some_and(tells_of_the_shop) {
        let freshness = by.as_ref().map_or_else(|| edge.app.lease.freshness(), |by| by.freshness);
        response = marked(response, freshness);
    }
    let code = problem::finish(&mut response, &request_id);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(&request_id) {
        headers.insert(HeaderName::from_static("request-id"), value);
    }
    // A node's name is letters, digits, dots and dashes: always a header value.
    let owner = by.and_then(|by| HeaderValue::try_from(&*by.node).ok());
    headers.insert(HeaderName::from_static("trolley-owner"), owner.unwrap_or_else(|| edge.app.node.clone()));
    if let Some(traceparent) = &traceparent {
        headers.insert(HeaderName::from_static("traceparent"), traceparent.clone());
    }
    if let Some(allowed) = origin.and_then(|origin| options.cors.allowed(&origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let took = began.elapsed();
    count(&method, route, response.status(), took);
    if options.log_requests || response.status().is_server_error() {
        log(&method, route, response.status(), code, took, &request_id, traceparent.as_ref());
    }
    response
}

async fn answer(edge: &Edge, request: Request, next: Next, route: Option<&MatchedPath>, request_id: &str) -> Response {
    let Ok(_place) = edge.in_flight.try_acquire() else {
        metrics().http_shed_total.with_label_values(&["in_flight"]).inc();
        return Problem::new(Code::Overloaded, "too many requests at once; ask again later").into_response();
    };
    if let Some(refusal) = not_acceptable(request.headers(), route) {
        return refusal.into_response();
    }
    if let Err(refusal) = refuse_card_as_code(request.uri()) {
        return refusal.into_response();
    }
    metrics().http_requests_in_flight.inc();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    metrics().http_requests_in_flight.dec();
    answered.unwrap_or_else(|_| {
        tracing::error!(request.id = request_id, "a handler panicked");
        Problem::new(Code::Internal, "the request's id finds the log line").into_response()
    })
}

/// Whether a route tells what this node has in memory of carts and products.
fn tells_of_the_shop(route: &MatchedPath) -> bool {
    route.as_str().starts_with("/v1/")
}

/// Says how old an answer may be, or takes it back (P8).
fn marked(mut response: Response, freshness: Freshness) -> Response {
    let counted = |answer| metrics().http_stale_reads_total.with_label_values(&[answer]).inc();
    match freshness {
        Freshness::Fresh => response,
        Freshness::Stale(ms) => {
            counted("marked");
            response.headers_mut().insert(HeaderName::from_static("trolley-stale"), HeaderValue::from(ms));
            response
        }
        Freshness::TooOld => {
            counted("refused");
            let detail = "this node has not reached the store for too long to know whether this is the newest";
            Problem::new(Code::StoreUnavailable, detail).into_response()
        }
    }
}

/// Every representation is JSON, save streams and pages.
fn not_acceptable(headers: &HeaderMap, route: Option<&MatchedPath>) -> Option<Problem> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    let route = route?.as_str();
    let offered = match route {
        "/docs" => ["text/html", "text/*"],
        "/docs/reference.js" => ["text/javascript", "text/*"],
        _ if route.ends_with("/events") => ["text/event-stream", "text/*"],
        _ => ["application/json", "application/*"],
    };
    let fits = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let is_refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        !is_refused && (media == "*/*" || offered.iter().any(|offer| media.eq_ignore_ascii_case(offer)))
    };
    let accepted = accept.trim().is_empty() || accept.split(',').any(fits);
    (!accepted).then(|| Problem::new(Code::NotAcceptable, format!("this is offered as {}", offered[0])))
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed =
        "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Request-Id, traceparent";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_S));
    response
}

/// The client's own, if it is a sane one that is no card's number: it is logged and told back. Else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(fits) && !looks_like_card(id)
    };
    match headers.get("request-id").and_then(|value| value.to_str().ok()).filter(sane) {
        Some(id) => id.to_owned(),
        None => {
            let mut id = String::with_capacity(REQUEST_ID_BYTES_MAX);
            // Writing to a string cannot fail.
            let _ = write!(id, "req_{}", Id(clock::random()));
            id
        }
    }
}

/// The caller's trace, continued: the same trace id, a span id of our own (W3C Trace Context, version 00).
fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get("traceparent")?.to_str().ok()?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<_> = given.split('-').collect();
    let [version @ "00", trace, parent, flags] = parts[..] else { return None };
    let is_sane = given.len() == TRACEPARENT_BYTES && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    if !is_sane || ![trace, parent, flags].into_iter().all(is_hex) || trace.bytes().all(|byte| byte == b'0') {
        return None;
    }
    HeaderValue::try_from(format!("{version}-{trace}-{:016x}-{flags}", clock::random() as u64 | 1)).ok()
}

fn count(method: &Method, route: &str, status: StatusCode, took: Duration) {
    let method = match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    };
    let metrics = metrics();
    metrics.http_requests_total.with_label_values(&[method, route, status.as_str()]).inc();
    metrics.http_request_duration_seconds.with_label_values(&[method, route]).observe(took.as_secs_f64());
}

fn log(
    method: &Method,
    route: &str,
    status: StatusCode,
    code: Option<Code>,
    took: Duration,
    request_id: &str,
    traceparent: Option<&HeaderValue>,
) {
    let code = code.map_or("", Code::name);
    let trace = traceparent.and_then(|value| value.to_str().ok()?.split('-').nth(1)).unwrap_or_default();
    let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
    // The route's template: neither an id nor a query nor a ticket is ever logged.
    if status >= 500 {
        tracing::warn!(http.method = %method, http.route = route, http.status = status, code, ms, request.id = request_id, trace.id = trace, "answered");
    } else {
        tracing::info!(http.method = %method, http.route = route, http.status = status, code, ms, request.id = request_id, trace.id = trace, "answered");
    }
}
