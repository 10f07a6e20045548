//! What the shop itself does: counts stock, defines discount codes, sends parcels, gives money back.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::Xxh3;

use super::{
    admin::{Admin, TIMEOUT, body},
    cards::refuse_cards,
    carts::replayed,
    change::IDEMPOTENCY_KEY_BYTES_MAX,
    may_sell,
    orders::{self, SomeUnits, units},
    problem::{Code, Problem},
};
use crate::{
    actors::{
        Ask, Failure, Key,
        discount::{code_of, discount_id},
        stock::stock_id,
    },
    codec::BankState,
    domain::{
        Currency, OrderId, UnixMillis,
        discount::{self, Rule, Worth},
        order::{self, CARRIER_BYTES_MAX, LABEL_BYTES_MAX},
        pricing::BASIS_POINTS_MAX,
        product::UNIT_PRICE_MAX,
        stock::{self, REASON_BYTES_MAX, Stock},
    },
};

/// Payments of the sandbox's book per page.
const BOOK_PAGE: usize = 500;

/// An operator's request, read.
struct Wish<T> {
    key: Option<Key>,
    body: T,
}

/// Reads an operator's JSON and key; the body may be left out where the default says what it means.
async fn read<T: DeserializeOwned>(request: Request, must_have_key: bool) -> Result<Wish<T>, Problem> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let headers = request.headers().clone();
    let bytes = body(request).await?;
    let key = key(&headers, &method, &path, &bytes)?;
    if must_have_key && key.is_none() {
        return Err(Problem::new(Code::IdempotencyKeyMissing, "send an Idempotency-Key, a new one for each deed"));
    }
    refuse_cards(&bytes)?;
    let text = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
    let body = serde_json::from_slice(&text).map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    Ok(Wish { key, body })
}

fn key(headers: &HeaderMap, method: &Method, path: &str, body: &[u8]) -> Result<Option<Key>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.as_bytes();
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Problem::new(Code::InvalidRequest, "an Idempotency-Key is 1–255 visible ASCII characters"));
    }
    let mut scope = Xxh3::new();
    for part in ["admin", method.as_str(), path] {
        scope.update(part.as_bytes());
        scope.update(b"\0");
    }
    let mut request = scope.clone();
    scope.update(key);
    request.update(body);
    Ok(Some(Key { key: scope.digest128(), request: request.digest128() }))
}

const fn ask<C>(command: C, key: Option<Key>) -> Ask<C> {
    Ask { command, by: None, if_revision: None, key, timeout: TIMEOUT, deed: None }
}

/// A product's stock.
#[derive(Debug, Serialize)]
struct StockView<'a> {
    sku: &'a str,
    available: u32,
    held: u32,
    sold: u32,
    on_hand: u32,
    revision: u64,
}

impl<'a> StockView<'a> {
    fn new(stock: &'a Stock) -> Self {
        Self {
            sku: &stock.sku,
            available: stock.available,
            held: stock.held(),
            sold: stock.sold,
            on_hand: stock.on_hand(),
            revision: stock.revision,
        }
    }
}

fn initial(admin: &Admin, sku: &str) -> Result<u32, Problem> {
    let snapshot = admin.catalog.snapshot();
    snapshot
        .get(sku)
        .map(|product| product.stock)
        .ok_or_else(|| Problem::new(Code::NotFound, "there is no such product"))
}

pub(super) async fn stock(State(admin): State<Admin>, Path(sku): Path<String>) -> Result<Response, Problem> {
    match admin.handle.stock(stock_id(&sku), TIMEOUT).await {
        Ok(stock) => Ok(Json(StockView::new(&stock)).into_response()),
        // Nobody has touched it yet: it has what the catalogue says.
        Err(Failure::Refused(stock::Refusal::NotFound)) => {
            let available = initial(&admin, &sku)?;
            Ok(Json(StockView { sku: &sku, available, held: 0, sold: 0, on_hand: available, revision: 0 })
                .into_response())
        }
        Err(failure) => Err(failure.into()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjust {
    adjust: i32,
    reason: String,
}

pub(super) async fn adjust(
    State(admin): State<Admin>,
    Path(sku): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Wish { key, body: Adjust { adjust, reason } } = read::<Adjust>(request, false).await?;
    if !(1..=REASON_BYTES_MAX).contains(&reason.len()) {
        return Err(Problem::at(Code::InvalidRequest, "/reason", format!("1 to {REASON_BYTES_MAX} bytes")));
    }
    may_sell(&admin.handle).await?;
    let initial = initial(&admin, &sku)?;
    let id = stock_id(&sku);
    let command = stock::Command::Adjust { sku: sku.into(), initial, change: adjust, reason: reason.into() };
    let answer = admin.handle.ask_stock(id, ask(command, key)).await?;
    let mut response = Json(StockView::new(&answer.state)).into_response();
    replayed(response.headers_mut(), answer.replayed);
    Ok(response)
}

/// A discount code as the shop defines it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Definition {
    /// Hundredths of a percent: 1,000 = 10 %.
    percent_basis_points: Option<u16>,
    /// Minor units.
    amount: Option<i64>,
    free_shipping: bool,
    currency: Option<String>,
    per_line: bool,
    categories: Vec<String>,
    minimum: i64,
    /// Unix milliseconds.
    valid_from_ms: Option<u64>,
    /// Unix milliseconds.
    valid_until_ms: Option<u64>,
    uses_max: Option<u32>,
    uses_per_shopper_max: Option<u32>,
}

fn rule(admin: &Admin, code: Box<str>, definition: Definition) -> Result<Rule, Problem> {
    let wrong = |pointer: &str, why: String| Problem::at(Code::InvalidRequest, pointer, why);
    let worth = match (definition.percent_basis_points, definition.amount, definition.free_shipping) {
        (Some(basis_points), None, false) if (1..=BASIS_POINTS_MAX).contains(&basis_points) => {
            Worth::Percent { basis_points }
        }
        (Some(_), None, false) => {
            return Err(wrong("/percent_basis_points", format!("must be 1 to {BASIS_POINTS_MAX}")));
        }
        (None, Some(amount), false) if (1..=UNIT_PRICE_MAX).contains(&amount) => Worth::Fixed { amount },
        (None, Some(_), false) => return Err(wrong("/amount", format!("must be 1 to {UNIT_PRICE_MAX}"))),
        (None, None, true) => Worth::FreeShipping,
        _ => return Err(wrong("", "say one of percent_basis_points, amount and free_shipping".to_owned())),
    };
    let default = admin.catalog.snapshot().currency().unwrap_or(Currency::EUR);
    let currency = match definition.currency.as_deref() {
        Some(text) => Currency::parse(text).map_err(|error| wrong("/currency", error.to_string()))?,
        None => default,
    };
    if !(0..=UNIT_PRICE_MAX).contains(&definition.minimum) {
        return Err(wrong("/minimum", format!("must be 0 to {UNIT_PRICE_MAX}")));
    }
    if definition.categories.len() > 20 || definition.categories.iter().any(|name| name.len() > 100) {
        return Err(wrong("/categories", "at most 20 of at most 100 bytes".to_owned()));
    }
    Ok(Rule {
        code,
        worth,
        currency,
        per_line: definition.per_line,
        categories: definition.categories.into_iter().map(Box::from).collect(),
        minimum: definition.minimum,
        valid_from: definition.valid_from_ms.map(UnixMillis),
        valid_until: definition.valid_until_ms.map(UnixMillis),
        uses_max: definition.uses_max,
        uses_per_shopper_max: definition.uses_per_shopper_max,
    })
}

pub(super) async fn define(
    State(admin): State<Admin>,
    Path(code): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let code =
        code_of(&code).ok_or_else(|| Problem::new(Code::InvalidId, "a code is 1 to 40 letters, digits and dashes"))?;
    let Wish { key, body } = read::<Definition>(request, false).await?;
    let rule = rule(&admin, code.clone(), body)?;
    may_sell(&admin.handle).await?;
    let id = discount_id(&code);
    let answer = admin.handle.ask_discount(id, ask(discount::Command::Define(rule), key)).await?;
    Ok(Json(uses(&answer.state)).into_response())
}

pub(super) async fn code(State(admin): State<Admin>, Path(code): Path<String>) -> Result<Response, Problem> {
    let code = code_of(&code).ok_or_else(|| Problem::new(Code::NotFound, "there is no such code"))?;
    match admin.handle.discount(discount_id(&code), TIMEOUT).await {
        Ok(discount) => Ok(Json(uses(&discount)).into_response()),
        Err(Failure::Refused(_)) => Err(Problem::new(Code::NotFound, "there is no such code")),
        Err(failure) => Err(failure.into()),
    }
}

fn uses(discount: &discount::Discount) -> serde_json::Value {
    serde_json::json!({
        "code": &*discount.rule.code,
        "used": discount.used,
        "held": discount.holds.open().count(),
        "uses_max": discount.rule.uses_max,
        "uses_per_shopper_max": discount.rule.uses_per_shopper_max,
        "revision": discount.revision,
    })
}

fn order_id(id: &str) -> Result<OrderId, Problem> {
    id.parse().map_err(|error| Problem::new(Code::InvalidId, format!("order id: {error}")))
}

pub(super) async fn order(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(orders::represent(&*admin.handle.order(order_id(&id)?, TIMEOUT).await?))
}

async fn order_asked(admin: &Admin, id: &str, command: order::Command, key: Option<Key>) -> Result<Response, Problem> {
    let answer = admin.handle.ask_order(order_id(id)?, ask(command, key)).await?;
    let mut response = orders::represent(&answer.state);
    replayed(response.headers_mut(), answer.replayed);
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fulfilment {
    lines: Vec<SomeUnits>,
    carrier: Option<String>,
    label: Option<String>,
}

pub(super) async fn fulfil(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Wish { key, body: Fulfilment { lines, carrier, label } } = read::<Fulfilment>(request, true).await?;
    let bounded = |pointer: &str, text: Option<String>, bytes_max: usize| match text {
        Some(text) if text.len() > bytes_max => {
            Err(Problem::at(Code::InvalidRequest, pointer, format!("at most {bytes_max} bytes")))
        }
        text => Ok(text.map(Box::<str>::from)),
    };
    let command = order::Command::Fulfil {
        lines: units(&lines)?,
        carrier: bounded("/carrier", carrier, CARRIER_BYTES_MAX)?,
        label: bounded("/label", label, LABEL_BYTES_MAX)?,
    };
    order_asked(&admin, &id, command, key).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refund {
    /// Minor units of the order's currency.
    amount: i64,
}

pub(super) async fn refund(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Wish { key, body: Refund { amount } } = read::<Refund>(request, true).await?;
    order_asked(&admin, &id, order::Command::Refund { amount }, key).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn capture(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Wish { key, body: Nothing {} } = read::<Nothing>(request, false).await?;
    order_asked(&admin, &id, order::Command::Capture, key).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    cursor: Option<String>,
}

/// The sandbox's book, for reconciliation: what was authorised, captured and refunded under which key.
pub(super) async fn book(
    State(admin): State<Admin>,
    query: Result<Query<Cursor>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Cursor { cursor }) = query.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let sandbox = admin.sandbox.as_ref().ok_or_else(|| Problem::new(Code::NotFound, "there is no sandbox here"))?;
    let cursor = cursor
        .map(|text| u128::from_str_radix(&text, 16))
        .transpose()
        .map_err(|_| Problem::at(Code::InvalidRequest, "/cursor", "this is no cursor that was given out"))?;
    let page = sandbox
        .book(cursor, BOOK_PAGE)
        .await
        .map_err(|failure| Problem::new(Code::StoreUnavailable, format!("the book cannot be read: {failure}")))?;
    let items: Vec<_> = page
        .payments
        .iter()
        .map(|payment| {
            BTreeMap::from([
                ("key", serde_json::json!(payment.key().to_string())),
                ("state", serde_json::json!(state(payment.state))),
                ("amount", serde_json::json!(payment.amount)),
                ("captured", serde_json::json!(payment.captured)),
                ("refunded", serde_json::json!(payment.refunded)),
            ])
        })
        .collect();
    let next_cursor = page.next.map(|next| format!("{next:x}"));
    let body = serde_json::json!({ "items": items, "next_cursor": next_cursor });
    Ok((StatusCode::OK, Json(body)).into_response())
}

const fn state(state: BankState) -> &'static str {
    match state {
        BankState::Late => "late",
        BankState::ActionRequired => "action_required",
        BankState::Authorised => "authorised",
        BankState::Declined => "declined",
        BankState::Abandoned => "abandoned",
        BankState::Voided => "voided",
    }
}
