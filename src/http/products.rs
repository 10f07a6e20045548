//! Products, from memory.

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    App,
    dto::{ProductPage, ProductView},
    openapi::ProductProblems,
    problem::{Code, Problem},
};

/// Page size when none is asked for.
const LIMIT_DEFAULT: usize = 20;
/// Largest page.
const LIMIT_MAX: usize = 100;

/// Where a list starts and how long it is.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Products in SKU order.
#[utoipa::path(get, path = "/v1/products", tag = "Catalogue",
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1–100, 20 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = ProductPage, description = "a page"), ProductProblems))]
pub(super) async fn list(
    State(app): State<App>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let limit = match wanted.limit.as_deref().map(str::parse) {
        None => LIMIT_DEFAULT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => return Err(Problem::at(Code::InvalidRequest, "/limit", format!("must be 1 to {LIMIT_MAX}"))),
    };
    let snapshot = app.catalog.snapshot();
    let after = wanted.cursor.as_deref().map(open_cursor).transpose()?;
    let page = snapshot.page(after.as_deref(), limit);
    let last = page.products.last().filter(|_| page.has_more);
    let next_cursor = last.map(|product| cursor(&product.sku));
    let items = page.products.iter().map(|product| ProductView::from(&**product)).collect();
    Ok(axum::Json(ProductPage { items, next_cursor }).into_response())
}

/// One product.
#[utoipa::path(get, path = "/v1/products/{sku}", tag = "Catalogue", params(("sku" = String, Path)),
    responses((status = 200, body = ProductView, description = "the product"), ProductProblems))]
pub(super) async fn get(State(app): State<App>, Path(sku): Path<String>) -> Result<Response, Problem> {
    let snapshot = app.catalog.snapshot();
    let product = snapshot.get(&sku).ok_or_else(|| Problem::new(Code::NotFound, "there is no such product"))?;
    Ok(([(header::CACHE_CONTROL, "max-age=1")], axum::Json(ProductView::from(&**product))).into_response())
}

/// Opaque to clients: the last SKU, in hex.
fn cursor(sku: &str) -> String {
    sku.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn open_cursor(cursor: &str) -> Result<String, Problem> {
    let wrong = || Problem::at(Code::InvalidRequest, "/cursor", "this is no cursor that was given out");
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes: Option<Vec<u8>> = cursor
        .len()
        .is_multiple_of(2)
        .then(|| cursor.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect())
        .flatten();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)
}
