//! Orders, as their shoppers see and undo them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App,
    carts::{fresh, replayed, tag, told_by},
    change::{Has, Json, OptionalJson, To, Wish},
    checkout_json::OrderView,
    openapi::{OrderProblems, ReadProblems},
    problem::{Code, Problem},
};
use crate::{
    actors::{Answer, Told},
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
