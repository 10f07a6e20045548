//! The public API and the operators' listener. Handlers make three moves: convert in, ask, convert out.

pub mod admin;
mod admin_events;
mod admin_shop;
mod availability;
mod cart_json;
mod carts;
mod begin;
mod cards;
mod change;
mod checkout_json;
mod checkouts;
mod dto;
mod edge;
mod events;
mod openapi;
mod orders;
mod payments;
mod problem;
mod products;
pub mod serve;
pub mod token;

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::{Semaphore, watch};

pub use self::{availability::Availabilities, edge::Cors, openapi::document, problem::Code, token::GuestTokens};
use crate::{
    actors::Handle,
    catalog::Catalog,
    cluster::{Freshness, Lease},
    domain::{cart::Cart, pricing::Tables},
    payments::{Gateways, Sandbox},
    store::Store,
};

/// A cart without codes as clients read it, for nodes that are asked for a cart of this one's.
#[must_use]
pub fn rendered(cart: &Cart) -> Vec<u8> {
    cart_json::write(cart, &|_| Vec::new(), None)
}

/// The record format that carts with codes or in checkout, checkouts, orders, stock and codes are written in.
const SHOP_FORMAT: u16 = 2;
/// How long a request waits for it: a cluster that was just made takes about a second.
const FORMAT_PATIENCE: Duration = Duration::from_secs(2);

/// Whether every node reads what selling writes: until the last node of an older release has gone, nothing of it begins.
async fn may_sell(handle: &Handle) -> Result<(), problem::Problem> {
    if handle.may_write(SHOP_FORMAT, FORMAT_PATIENCE).await {
        return Ok(());
    }
    let detail = "a new release is being rolled out: this begins once it is on every node";
    Err(problem::Problem::new(Code::ShardMoving, detail))
}

/// Largest request body: a cart's largest command is far smaller.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a request may take inside.
    pub request_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// Requests answered at once; more are refused before any work.
    pub in_flight_max: usize,
    /// Whose pages may call the API.
    pub cors: Cors,
    /// Whether every request is logged.
    pub log_requests: bool,
}

/// Who answered, where it was another node: told by handlers, read by the edge.
#[derive(Clone, Debug)]
struct Owner {
    node: Arc<str>,
    freshness: Freshness,
}

/// What handlers need.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The door to the actors.
    pub handle: Handle,
    /// What the shop sells.
    pub catalog: Catalog,
    /// Whether it can be had.
    pub availabilities: Availabilities,
    /// What shipping costs and what tax is due.
    pub tables: Arc<Tables>,
    /// For lists.
    pub store: Arc<dyn Store>,
    /// By whom money is moved.
    pub gateways: Arc<Gateways>,
    /// The bank of play money, if it takes payments.
    pub sandbox: Option<Sandbox>,
    /// Guest tokens and stream tickets.
    pub tokens: GuestTokens,
    /// This node's name, as `Trolley-Owner` tells it.
    pub node: axum::http::HeaderValue,
    /// For how long what is in memory is the newest.
    pub lease: Lease,
    /// How the API behaves.
    pub options: Options,
    /// Turns true when the node stops: event streams end.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The public API, with everything around it.
pub fn router(app: App) -> Router {
    let in_flight = Arc::new(Semaphore::new(app.options.in_flight_max));
    let (routes, document) = openapi::routes().split_for_parts();
    let edge = edge::Edge { app: app.clone(), in_flight };
    routes
        .merge(openapi::pages(&document))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(axum::middleware::from_fn_with_state(edge, edge::around))
        .with_state(app)
}
