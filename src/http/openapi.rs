//! The API's description, made from the code, and a reference page that needs no network.

use std::collections::BTreeMap;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        Ref, RefOr, ResponseBuilder,
        content::ContentBuilder,
        response,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App, begin, carts, checkouts, events, orders, payments,
    problem::{Code, MEDIA_TYPE, ProblemBody},
    products,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Trolley", description = "A shop's carts, checkouts and orders. Every answer is durable before it leaves.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(ProblemBody)),
    modifiers(&Schemes)
)]
struct Description;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("a guest token (gst_…)")).build();
        components.add_security_scheme("guest", SecurityScheme::Http(bearer));
        let ticket = ApiKey::Query(ApiKeyValue::with_description("ticket", "a ticket for one stream"));
        components.add_security_scheme("ticket", SecurityScheme::ApiKey(ticket));
    }
}

/// Every route of the API, with its description.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(products::list))
        .routes(routes!(products::get))
        .routes(routes!(carts::create))
        .routes(routes!(carts::get, carts::patch, carts::close))
        .routes(routes!(carts::add, carts::clear))
        .routes(routes!(carts::set_quantity, carts::remove))
        .routes(routes!(carts::save))
        .routes(routes!(carts::restore))
        .routes(routes!(begin::create))
        .routes(routes!(checkouts::get, checkouts::patch))
        .routes(routes!(checkouts::complete))
        .routes(routes!(checkouts::cancel))
        .routes(routes!(events::checkout))
        .routes(routes!(orders::list))
        .routes(routes!(orders::get))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::returns))
        .routes(routes!(carts::apply_code, carts::remove_code))
        .routes(routes!(payments::action, payments::confirm))
        .routes(routes!(payments::webhook))
        .routes(routes!(events::stream))
        .routes(routes!(events::ticket))
}

/// The description as JSON.
#[must_use]
pub fn document() -> String {
    let (_, document) = routes().split_for_parts();
    document.to_pretty_json().unwrap_or_default()
}

/// The description and the reference page, both made once.
pub(super) fn pages(document: &utoipa::openapi::OpenApi) -> Router<App> {
    let json = Bytes::from(document.to_json().unwrap_or_default());
    Router::new()
        .route("/openapi.json", get(move || async move { page("application/json", json) }))
        .route(
            "/docs",
            get(|| async { page("text/html; charset=utf-8", Bytes::from_static(include_bytes!("docs.html"))) }),
        )
        .route(
            "/docs/reference.js",
            get(|| async { page("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("docs.js"))) }),
        )
}

fn page(media_type: &'static str, body: Bytes) -> Response {
    let policy =
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    ];
    (headers, body).into_response()
}

/// The problems that a kind of route can answer, grouped by status.
macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident = $($code:ident),+;)+) => {$(
        $(#[doc = $doc])+
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<response::Response>> {
                described(&[$(Code::$code),+])
            }
        }
    )+};
}

problems! {
    /// Of a route that reads products.
    ProductProblems = InvalidRequest, NotFound, NotAcceptable, Overloaded, Internal;
    /// Of a route that reads a cart.
    ReadProblems = InvalidId, InvalidRequest, Unauthenticated, NotFound, NotAcceptable, Overloaded, ShardMoving,
        StoreUnavailable, ActorQuarantined, Draining, Internal;
    /// Of a route that makes a cart.
    CreateProblems = InvalidRequest, CurrencyMismatch, Unauthenticated, NotAcceptable, RequestTimeout, BodyTooLarge,
        UnsupportedMediaType, IdempotencyKeyReused, CartNotOpen, Expired, RateLimited, Overloaded, ShardMoving,
        StoreUnavailable, ActorQuarantined, Draining, Internal;
    /// Of a route that changes a checkout.
    CheckoutProblems = InvalidId, InvalidRequest, IdempotencyKeyMissing, Unauthenticated, PaymentDeclined,
        PaymentRequiresAction, NotFound, NotAcceptable, RequestTimeout, CartNotOpen, CheckoutNotOpen, IllegalTransition,
        InsufficientStock, PriceChanged, Expired, RevisionMismatch, BodyTooLarge, UnsupportedMediaType,
        IdempotencyKeyReused, ProductUnavailable, DiscountNotApplicable, QuantityOutOfRange, CardDataRefused, RateLimited,
        Overloaded, ShardMoving, StoreUnavailable, GatewayUnavailable, ActorQuarantined, Draining, Internal;
    /// Of a route that tells of a payment.
    PaymentProblems = InvalidRequest, Unauthenticated, NotFound, NotAcceptable, RequestTimeout, BodyTooLarge,
        Overloaded, ShardMoving, StoreUnavailable, GatewayUnavailable, ActorQuarantined, Draining, Internal;
    /// Of a route that changes an order.
    OrderProblems = InvalidId, InvalidRequest, IdempotencyKeyMissing, Unauthenticated, NotFound, NotAcceptable,
        RequestTimeout, IllegalTransition, RevisionMismatch, BodyTooLarge, UnsupportedMediaType, IdempotencyKeyReused,
        TooManyLines, QuantityOutOfRange, CardDataRefused, RateLimited, Overloaded, ShardMoving, StoreUnavailable,
        ActorQuarantined, Draining, Internal;
    /// Of a route that changes a cart.
    ChangeProblems = InvalidId, InvalidRequest, CurrencyMismatch, Unauthenticated, NotFound, NotAcceptable,
        RequestTimeout, CartNotOpen, Expired, RevisionMismatch, BodyTooLarge, UnsupportedMediaType,
        IdempotencyKeyReused, TooManyLines, QuantityOutOfRange, MetadataTooLarge, ProductUnavailable,
        DiscountNotApplicable, CardDataRefused, RateLimited, Overloaded, ShardMoving, StoreUnavailable, ActorQuarantined,
        Draining, Internal;
}

fn described(codes: &[Code]) -> BTreeMap<String, RefOr<response::Response>> {
    let mut by_status: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16().to_string()).or_default().push(code.name());
    }
    let schema = Ref::from_schema_name(ProblemBody::name());
    let response = |names: Vec<&str>| {
        let content = ContentBuilder::new().schema(Some(schema.clone())).build();
        RefOr::T(ResponseBuilder::new().description(names.join(", ")).content(MEDIA_TYPE, content).build())
    };
    by_status.into_iter().map(|(status, names)| (status, response(names))).collect()
}
