//! The operators' listener: health, metrics, a look at actors, products, the log level. Never public.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use super::{
    BODY_BYTES_MAX, admin_events, admin_shop,
    cards::{refuse_card_as_code, refuse_cards},
    edge,
    problem::{self, Code, Problem},
};
use crate::{
    actors::{
        ClusterStatus, Failure, Handle,
        inspect::{NoSubject, Subject},
    },
    catalog::{self, Catalog},
    cluster::{self, Overview},
    domain::stock,
    events::Relay,
    payments::Sandbox,
    store::Store,
    telemetry::{clock, logs, metrics::metrics},
};

/// How long an operator's question may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the store may take for what is told in part without it.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// How far a node's wall clock may be from the others': timers and receipts are counted in minutes, saves of one row
/// by two nodes one after the other must not seem to run backwards for longer than anybody notices.
const CLOCK_OFFSET_MS_MAX: u64 = 2_000;

/// What the operators' listener needs.
#[derive(Clone)]
pub struct Admin {
    /// Turns true when the node is to leave, or leaves.
    pub drain: watch::Sender<bool>,
    /// The door to the actors.
    pub handle: Handle,
    /// What the shop sells.
    pub catalog: Catalog,
    /// For its health.
    pub store: Arc<dyn Store>,
    /// Keeps what sinks did not take.
    pub relay: Relay,
    /// The bank of play money, if it takes payments: its book is looked into.
    pub sandbox: Option<Sandbox>,
    /// Operators' token, if one is configured.
    pub token: Option<SecretString>,
    /// Where this listener is: without a token, only a loopback address takes changes.
    pub address: SocketAddr,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

/// One thing that health depends on.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// The operators' routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/startup", get(startup))
        .route("/metrics", get(render))
        .route("/admin/cluster", get(cluster))
        .route("/admin/drain", post(drain))
        .route("/admin/actors/{id}", get(actor))
        .route("/admin/products/{sku}", put(put_product))
        .route("/admin/stock/{sku}", get(admin_shop::stock).post(admin_shop::adjust))
        .route("/admin/discount-codes/{code}", get(admin_shop::code).put(admin_shop::define))
        .route("/admin/orders/{id}", get(admin_shop::order))
        .route("/admin/orders/{id}/fulfilments", post(admin_shop::fulfil))
        .route("/admin/orders/{id}/refunds", post(admin_shop::refund))
        .route("/admin/orders/{id}/capture", post(admin_shop::capture))
        .route("/admin/sandbox/payments", get(admin_shop::book))
        .route("/admin/events/dead", get(admin_events::list))
        .route("/admin/events/dead/{id}", delete(admin_events::forget))
        .route("/admin/events/dead/{id}/replay", post(admin_events::replay))
        .route("/admin/log-level", get(log_level).put(set_log_level))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(axum::middleware::from_fn_with_state(admin.clone(), guard))
        .with_state(admin)
}

/// Lets operators in, and gives every answer its request's id.
async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let request_id = edge::request_id(request.headers());
    let allowed = admit(&admin, request.method(), request.uri(), request.headers());
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    problem::finish(&mut response, &request_id);
    if let Ok(value) = request_id.try_into() {
        response.headers_mut().insert("request-id", value);
    }
    response
}

fn admit(admin: &Admin, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    refuse_card_as_code(uri)?;
    // Probes come from the kubelet, which has no token; they tell nothing of shoppers.
    if uri.path().starts_with("/health/") {
        return Ok(());
    }
    let Some(token) = &admin.token else {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if is_read || admin.address.ip().is_loopback() {
            return Ok(());
        }
        return Err(Problem::new(Code::Forbidden, "changes need admin.token to be configured"));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let is_it = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(token.expose_secret().as_bytes())));
    if is_it { Ok(()) } else { Err(Problem::new(Code::Unauthenticated, "send the operators' token as Bearer")) }
}

fn report(headers: &str, checks: Vec<Check>) -> Response {
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if headers.contains("verbose") {
        return (status, Json(Report { ok, checks })).into_response();
    }
    (status, if ok { "ok\n" } else { "unavailable\n" }).into_response()
}

/// Depends on nothing but this process: a store that is away must not restart every node.
async fn live(request: Request) -> Response {
    let detail = "the process answers".to_owned();
    report(request.uri().query().unwrap_or_default(), vec![Check { name: "process", ok: true, detail }])
}

async fn ready(State(admin): State<Admin>, request: Request) -> Response {
    let health = admin.store.health();
    let owned = admin.handle.cluster_status().shards.len();
    let leaves = *admin.drain.borrow();
    let offset_ms = admin.handle.clock_offset_ms();
    let checks = vec![
        Check { name: "actors", ok: admin.handle.is_ready(), detail: format!("{owned} shards owned") },
        Check {
            name: "leaving",
            ok: !leaves,
            detail: if leaves { "the node leaves: send it nothing more" } else { "the node stays" }.to_owned(),
        },
        // Reads go on without it: the node stays ready, and says so.
        Check {
            name: "store",
            ok: true,
            detail: health
                .writes_refused
                .map_or_else(|| "takes writes".to_owned(), |why| format!("refuses writes: {why}")),
        },
        Check {
            name: "clock",
            ok: offset_ms.is_none_or(|ms| ms.unsigned_abs() <= CLOCK_OFFSET_MS_MAX),
            detail: offset_ms.map_or_else(
                || "there is no other node to compare it with".to_owned(),
                |ms| format!("the other nodes' clocks are {ms} ms ahead of this one's"),
            ),
        },
        // Nothing that this release saves or reads would be right.
        Check {
            name: "schema",
            ok: health.wrong_schema.is_none(),
            detail: health.wrong_schema.map_or_else(|| "fits this release".to_owned(), |why| why.to_string()),
        },
        Check { name: "catalogue", ok: true, detail: format!("{} products", admin.catalog.snapshot().len()) },
    ];
    report(request.uri().query().unwrap_or_default(), checks)
}

/// The listener opens once everything has started.
async fn startup(State(admin): State<Admin>, request: Request) -> Response {
    let status = admin.handle.cluster_status();
    let detail = format!("incarnation {} of {}", status.incarnation, status.node);
    report(request.uri().query().unwrap_or_default(), vec![Check { name: "started", ok: true, detail }])
}

async fn render() -> Result<Response, Problem> {
    let text = metrics().render().map_err(|error| {
        tracing::error!(%error, "metrics could not be rendered");
        Problem::new(Code::Internal, "the log tells")
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// This node, and the whole cluster as its rows tell.
#[derive(Debug, Serialize)]
struct ClusterView {
    #[serde(flatten)]
    here: ClusterStatus,
    #[serde(flatten)]
    cluster: Overview,
    /// Why the members are not told: what this node knows of itself is told without the store too.
    #[serde(skip_serializing_if = "Option::is_none")]
    members_unknown: Option<String>,
}

async fn cluster(State(admin): State<Admin>) -> Response {
    let asking = cluster::overview(&admin.store, clock::now());
    let (cluster, members_unknown) = match tokio::time::timeout(STORE_TIMEOUT, asking).await {
        Ok(Ok(cluster)) => (cluster, None),
        Ok(Err(error)) => (Overview::default(), Some(error.to_string())),
        Err(_) => (Overview::default(), Some("the store does not answer".to_owned())),
    };
    Json(ClusterView { here: admin.handle.cluster_status(), cluster, members_unknown }).into_response()
}

/// Begins what SIGTERM begins; the answer does not wait for its end.
async fn drain(State(admin): State<Admin>) -> Response {
    let was_draining = admin.drain.send_replace(true);
    (StatusCode::ACCEPTED, Json(serde_json::json!({ "draining": true, "was_draining": was_draining }))).into_response()
}

async fn actor(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Problem> {
    let subject: Subject = id.parse().map_err(|error: NoSubject| Problem::new(Code::InvalidId, error.to_string()))?;
    let handle = &admin.handle;
    let found = match subject {
        Subject::Cart(id) => handle.inspect_cart(id, TIMEOUT).await?,
        Subject::Checkout(id) => handle.inspect_checkout(id, TIMEOUT).await?,
        Subject::Order(id) => handle.inspect_order(id, TIMEOUT).await?,
        Subject::Stock(id) => match handle.inspect_stock(id, TIMEOUT).await {
            Err(Failure::Refused(stock::Refusal::NotFound)) => {
                let detail = "nobody has asked for this stock yet: it begins with what the catalogue says";
                return Err(Problem::new(Code::NotFound, detail));
            }
            inspected => inspected?,
        },
        Subject::Discount(id) => match handle.inspect_discount(id, TIMEOUT).await {
            Err(Failure::Refused(_)) => return Err(Problem::new(Code::NotFound, "there is no such code")),
            inspected => inspected?,
        },
    };
    Ok(Json(found).into_response())
}

async fn put_product(
    State(admin): State<Admin>,
    Path(sku): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let body = body(request).await?;
    refuse_cards(&body)?;
    let product = catalog::parse_product(&body).map_err(|what| Problem::new(Code::InvalidRequest, what))?;
    if *product.sku != *sku {
        return Err(Problem::at(Code::InvalidRequest, "/sku", "must be the path's"));
    }
    let generation = admin.catalog.put(product).await?;
    Ok(Json(serde_json::json!({ "generation": generation })).into_response())
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

async fn log_level() -> Response {
    Json(Level { level: logs::level() }).into_response()
}

async fn set_log_level(request: Request) -> Result<Response, Problem> {
    let body = body(request).await?;
    let Level { level } = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(Code::InvalidRequest, format!("{error}; send {{\"level\": \"debug\"}}")))?;
    logs::set_level(&level).map_err(|error| Problem::at(Code::InvalidRequest, "/level", error))?;
    tracing::info!(level, "the log level was changed");
    Ok(Json(Level { level }).into_response())
}

pub(super) async fn body(request: Request) -> Result<bytes::Bytes, Problem> {
    let read = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
    match tokio::time::timeout(TIMEOUT, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(Code::BodyTooLarge, format!("at most {BODY_BYTES_MAX} bytes")).closing()),
        Err(_) => Err(Problem::new(Code::RequestTimeout, "the body took too long to arrive").closing()),
    }
}
