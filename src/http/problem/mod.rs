//! Every way to say no: one closed code, from which status, title and retryability follow, and the one place where
//! refusals and failures become problems (RFC 9457).

mod refusals;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    actors::{Effect, Failure},
    catalog,
};

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[doc = $title:literal])+ $code:ident = $name:literal, $status:ident, $retryable:literal;)+) => {
        /// Every problem that the API knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $title])+ $code,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// As clients read it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)+ }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)+ }
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$code => $retryable,)+ }
            }

            /// A sentence for people, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => concat!($($title),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The request cannot be understood
    InvalidRequest = "invalid_request", BAD_REQUEST, false;
    /// An id in the request is not well-formed
    InvalidId = "invalid_id", BAD_REQUEST, false;
    /// Amounts of two currencies do not go together
    CurrencyMismatch = "currency_mismatch", BAD_REQUEST, false;
    /// An Idempotency-Key is needed
    IdempotencyKeyMissing = "idempotency_key_missing", BAD_REQUEST, false;
    /// A token is needed
    Unauthenticated = "unauthenticated", UNAUTHORIZED, false;
    /// The payment was declined
    PaymentDeclined = "payment_declined", PAYMENT_REQUIRED, false;
    /// The shopper must do something for the payment
    PaymentRequiresAction = "payment_requires_action", PAYMENT_REQUIRED, false;
    /// This is not allowed
    Forbidden = "forbidden", FORBIDDEN, false;
    /// There is no such thing
    NotFound = "not_found", NOT_FOUND, false;
    /// The method does not fit the resource
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, false;
    /// There is no representation that the client accepts
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, false;
    /// The request took too long to arrive
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, true;
    /// The cart takes no changes
    CartNotOpen = "cart_not_open", CONFLICT, false;
    /// The checkout takes no such change
    CheckoutNotOpen = "checkout_not_open", CONFLICT, false;
    /// That does not follow from where it is
    IllegalTransition = "illegal_transition", CONFLICT, false;
    /// Not so many are in stock
    InsufficientStock = "insufficient_stock", CONFLICT, false;
    /// Prices have risen since the shopper saw them
    PriceChanged = "price_changed", CONFLICT, false;
    /// It has expired
    Expired = "expired", GONE, false;
    /// It has changed since the client saw it
    RevisionMismatch = "revision_mismatch", PRECONDITION_FAILED, false;
    /// The body is too large
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, false;
    /// The body's media type is not supported
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false;
    /// The Idempotency-Key was used for another request
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, false;
    /// A cart cannot hold more lines
    TooManyLines = "too_many_lines", UNPROCESSABLE_ENTITY, false;
    /// The quantity is out of range
    QuantityOutOfRange = "quantity_out_of_range", UNPROCESSABLE_ENTITY, false;
    /// The metadata is too large
    MetadataTooLarge = "metadata_too_large", UNPROCESSABLE_ENTITY, false;
    /// A discount code cannot be applied
    DiscountNotApplicable = "discount_not_applicable", UNPROCESSABLE_ENTITY, false;
    /// Card numbers are not taken here
    CardDataRefused = "card_data_refused", UNPROCESSABLE_ENTITY, false;
    /// The product cannot be had now
    ProductUnavailable = "product_unavailable", UNPROCESSABLE_ENTITY, false;
    /// An If-Match header is needed
    PreconditionRequired = "precondition_required", PRECONDITION_REQUIRED, false;
    /// Too many requests
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, true;
    /// Too much is waiting
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, true;
    /// The cart is moving to another node
    ShardMoving = "shard_moving", SERVICE_UNAVAILABLE, true;
    /// The store is unavailable
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, true;
    /// The payment gateway is unavailable
    GatewayUnavailable = "gateway_unavailable", SERVICE_UNAVAILABLE, true;
    /// The actor failed repeatedly and rests
    ActorQuarantined = "actor_quarantined", SERVICE_UNAVAILABLE, true;
    /// The node is leaving
    Draining = "draining", SERVICE_UNAVAILABLE, true;
    /// Something went wrong here
    Internal = "internal", INTERNAL_SERVER_ERROR, false;
}

/// A problem on its way to the client.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    unknown_outcome: bool,
    retry_after_s: Option<u64>,
    errors: Vec<FieldError>,
    revision: Option<u64>,
    closes: bool,
}

/// What is wrong with a part of the request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// JSON pointer into the request's body.
    pub(super) pointer: String,
    /// What kind of wrong.
    pub(super) code: &'static str,
    /// For people.
    pub(super) detail: String,
}

/// A problem (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `/problems/<code>`
    #[serde(rename = "type")]
    kind: String,
    /// The same for every occurrence.
    title: &'static str,
    status: u16,
    /// From a closed list.
    code: &'static str,
    /// About this occurrence.
    detail: &'a str,
    /// The request's id.
    instance: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// `none`: certainly nothing happened; `unknown`: only the same request with the same key can tell.
    #[schema(example = "none")]
    outcome: &'static str,
    /// The present revision, where the problem is that the client saw another.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    errors: &'a [FieldError],
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_s = code.is_retryable().then_some(1);
        let (detail, errors) = (detail.into(), Vec::new());
        Self { code, detail, unknown_outcome: false, retry_after_s, errors, revision: None, closes: false }
    }

    /// Wrong in several places.
    pub(super) fn with(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// A part of the body is wrong.
    pub(super) fn at(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = FieldError { pointer: pointer.into(), code: code.name(), detail: detail.clone() };
        Self { errors: vec![error], ..Self::new(code, detail) }
    }

    fn after(self, wait: std::time::Duration) -> Self {
        // Rounded up: a client that comes back on the second must not be early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after_s: Some(seconds.max(1)), ..self }
    }

    pub(super) fn outcome(self, effect: Effect) -> Self {
        Self { unknown_outcome: effect == Effect::Unknown, ..self }
    }

    /// The connection is closed after this answer: what follows on it cannot be made sense of.
    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }
}

/// Travels with the response until the edge knows the request's id.
#[derive(Clone)]
pub(super) struct Unfinished(std::sync::Arc<Problem>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(Unfinished(std::sync::Arc::new(self)));
        response
    }
}

/// Writes the problem's body, now that the request's id is known.
pub(super) fn finish(response: &mut Response, request_id: &str) -> Option<Code> {
    let Unfinished(problem) = response.extensions_mut().remove()?;
    let body = ProblemBody {
        kind: format!("/problems/{}", problem.code.name()),
        title: problem.code.title(),
        status: problem.code.status().as_u16(),
        code: problem.code.name(),
        detail: &problem.detail,
        instance: format!("/requests/{request_id}"),
        retryable: problem.code.is_retryable(),
        outcome: if problem.unknown_outcome { "unknown" } else { "none" },
        revision: problem.revision,
        errors: &problem.errors,
    };
    // Strings and numbers alone: cannot fail.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(revision) = problem.revision {
        headers.insert(HeaderName::from_static("trolley-revision"), HeaderValue::from(revision));
    }
    if problem.code == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if problem.closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    *response.body_mut() = body.into();
    Some(problem.code)
}

impl<R: Into<Self>> From<Failure<R>> for Problem {
    fn from(failure: Failure<R>) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::KeyReused => Self::new(Code::IdempotencyKeyReused, "use a new Idempotency-Key for a new request"),
            Failure::TooManyKeys { retry_after } => {
                Self::new(Code::RateLimited, "too many keyed commands on one of them within ten minutes")
                    .after(retry_after)
            }
            Failure::Moving(effect) => {
                Self::new(Code::ShardMoving, unsure("its node could not be reached", effect)).outcome(effect)
            }
            Failure::NotOwner => Self::new(Code::ShardMoving, "another node owns it now; ask again"),
            Failure::Overloaded { retry_after } => {
                Self::new(Code::Overloaded, "too much is waiting; ask again later").after(retry_after)
            }
            Failure::StoreUnavailable(effect) => {
                Self::new(Code::StoreUnavailable, unsure("the store takes no changes at present", effect))
                    .outcome(effect)
            }
            Failure::TimedOut(effect) => {
                Self::new(Code::Overloaded, unsure("it took too long", effect)).outcome(effect)
            }
            Failure::Quarantined { retry_after } => {
                Self::new(Code::ActorQuarantined, "it failed repeatedly and rests").after(retry_after)
            }
            Failure::Draining => Self::new(Code::Draining, "the node is leaving; ask another"),
            Failure::Internal(effect) => {
                Self::new(Code::Internal, unsure("the request's id finds the log line", effect)).outcome(effect)
            }
        }
    }
}

fn unsure(what: &str, effect: Effect) -> String {
    match effect {
        Effect::None => format!("{what}; nothing was changed"),
        Effect::Unknown => format!("{what}; whether anything was changed is not known: ask again with the same key"),
    }
}

impl From<catalog::Error> for Problem {
    fn from(error: catalog::Error) -> Self {
        match error {
            catalog::Error::Store(_) => Self::new(Code::StoreUnavailable, "the catalogue was not changed for certain"),
            catalog::Error::Contended => Self::new(Code::Overloaded, error.to_string()),
            catalog::Error::Currency(_) => Self::at(Code::CurrencyMismatch, "/price/currency", error.to_string()),
            catalog::Error::Encode(_) => Self::new(Code::InvalidRequest, error.to_string()),
            catalog::Error::Decode(_) | catalog::Error::Missing | catalog::Error::Sample(_) => {
                tracing::error!(%error, "the stored catalogue is wrong");
                Self::new(Code::Internal, "the stored catalogue cannot be read; import it again")
            }
        }
    }
}

pub(super) async fn no_route() -> Problem {
    Problem::new(Code::NotFound, "there is no such route; /docs lists them")
}

pub(super) async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the Allow header lists what fits")
}
