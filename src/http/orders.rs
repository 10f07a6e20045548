//! Orders, as their shoppers see and undo them.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    carts::{fresh, replayed, tag, told_by},
    change::{Caller, Has, Json, OptionalJson, To, Wish},
    checkout_json::OrderView,
    openapi::{OrderProblems, ReadProblems},
    problem::{Code, Problem},
    products::{cursor_bytes, open_cursor_bytes, page_limit},
};
use crate::{
    actors::{
        Answer, Failure, Told,
        order::{listed_order, orders_of},
    },
    domain::{
        OrderId,
        cart::{LINES_MAX, LineId},
        order::{Command, Order, Refusal},
    },
};

/// Longest reason that a shopper gives.
const REASON_BYTES_MAX: usize = 200;

/// Why an order is cancelled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelOrder {
    reason: Option<String>,
}

/// What comes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnGoods {
    lines: Vec<SomeUnits>,
}

/// Units of a line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SomeUnits {
    /// The line, `l1` …
    line: String,
    #[schema(minimum = 1, maximum = 999)]
    quantity: u16,
}

/// The lines that a request names.
pub(super) fn units(wished: &[SomeUnits]) -> Result<Vec<(LineId, u16)>, Problem> {
    if wished.len() > LINES_MAX {
        return Err(Problem::at(Code::TooManyLines, "/lines", format!("at most {LINES_MAX}")));
    }
    let unit = |(n, wish): (usize, &SomeUnits)| {
        let line = wish
            .line
            .parse()
            .map_err(|()| Problem::at(Code::InvalidId, format!("/lines/{n}/line"), "a line's id is l1, l2 …"))?;
        Ok((line, wish.quantity))
    };
    wished.iter().enumerate().map(unit).collect()
}

/// Where a list starts and how long it is.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    limit: Option<String>,
    cursor: Option<String>,
}

/// A page of orders, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderPage {
    items: Vec<OrderView>,
    /// Where the next page starts; `null` on the last.
    next_cursor: Option<String>,
}

/// The caller's orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "Orders", security(("guest" = [])),
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1–100, 20 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = OrderPage, description = "a page"), ReadProblems))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let limit = page_limit(wanted.limit.as_deref())?;
    // Right behind the last key of the page before.
    let from = match wanted.cursor.as_deref().map(open_cursor_bytes).transpose()? {
        Some(key) => [key.as_slice(), &[0]].concat(),
        None => Vec::new(),
    };
    let away = |_| Problem::new(Code::StoreUnavailable, "the list cannot be read at present");
    let partition = orders_of(caller.owner());
    let entries = app.store.index_scan(partition, from.into(), None, limit + 1).await.map_err(away)?;
    let has_more = entries.len() > limit;
    let mut items = Vec::with_capacity(limit);
    for entry in entries.iter().take(limit) {
        let Some(id) = listed_order(&entry.key) else { continue };
        match app.handle.order(id, app.options.request_timeout).await {
            Ok(order) if order.owner == caller.owner() => items.push(OrderView::from(&**fresh(&app, order)?)),
            // An entry is written before its order, which may then not have come.
            Ok(_) | Err(Failure::Refused(Refusal::NotFound)) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    let next_cursor = entries.get(limit.saturating_sub(1)).filter(|_| has_more).map(|entry| cursor_bytes(&entry.key));
    let mut response = axum::Json(OrderPage { items, next_cursor }).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The order.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "Orders", security(("guest" = [])),
    params(("id" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderView, description = "the order"), (status = 304, description = "unchanged"), ReadProblems))]
pub(super) async fn get(State(app): State<App>, to: To<OrderId>, has: Has) -> Result<Response, Problem> {
    let order = owned(&app, &to).await?;
    if has.revision(order.revision) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        tag(response.headers_mut(), order.revision);
        told_by(&mut response, &order);
        return Ok(response);
    }
    let mut response = represent(&order);
    told_by(&mut response, &order);
    Ok(response)
}

/// Cancels the order while nothing of it has left: money and goods go back.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "Orders", security(("guest" = [])),
    request_body(content = CancelOrder, description = "may be left out"),
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "required")),
    responses((status = 200, body = OrderView, description = "the order"), OrderProblems))]
pub(super) async fn cancel(
    State(app): State<App>,
    wish: Wish<OrderId, OptionalJson<CancelOrder>>,
) -> Result<Response, Problem> {
    wish.must_have_key()?;
    let reason = wish.body.0.reason.as_deref();
    if reason.is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
        return Err(Problem::at(Code::InvalidRequest, "/reason", format!("at most {REASON_BYTES_MAX} bytes")));
    }
    let command = Command::Cancel { reason: reason.map(Box::from) };
    let ask = wish.ask(command, app.options.request_timeout);
    Ok(answered(&app.handle.ask_order(wish.to.id, ask).await?))
}

/// Goods come back: what was paid for them goes back.
#[utoipa::path(post, path = "/v1/orders/{id}/returns", tag = "Orders", security(("guest" = [])), request_body = ReturnGoods,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "required")),
    responses((status = 200, body = OrderView, description = "the order"), OrderProblems))]
pub(super) async fn returns(
    State(app): State<App>,
    wish: Wish<OrderId, Json<ReturnGoods>>,
) -> Result<Response, Problem> {
    wish.must_have_key()?;
    let lines = units(&wish.body.0.lines)?;
    let ask = wish.ask(Command::Return { lines }, app.options.request_timeout);
    Ok(answered(&app.handle.ask_order(wish.to.id, ask).await?))
}

/// The order, if it is the caller's: somebody else's looks like none. Never an old one.
async fn owned(app: &App, to: &To<OrderId>) -> Result<Told<Arc<Order>>, Problem> {
    let order = fresh(app, app.handle.order(to.id, app.options.request_timeout).await?)?;
    if order.owner == to.caller.owner() { Ok(order) } else { Err(Refusal::NotFound.into()) }
}

fn answered(answer: &Told<Answer<Order>>) -> Response {
    let mut response = represent(&answer.state);
    told_by(&mut response, answer);
    replayed(response.headers_mut(), answer.replayed);
    response
}

pub(super) fn represent(order: &Order) -> Response {
    let mut response = axum::Json(OrderView::from(order)).into_response();
    tag(response.headers_mut(), order.revision);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
