//! Products, from memory: the catalogue, and what is known of their stock.

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
use crate::store::INDEX_KEY_BYTES_MAX;

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
    let limit = page_limit(wanted.limit.as_deref())?;
    let snapshot = app.catalog.snapshot();
    let after = wanted.cursor.as_deref().map(open_cursor).transpose()?;
    let page = snapshot.page(after.as_deref(), limit);
    let last = page.products.last().filter(|_| page.has_more);
    let next_cursor = last.map(|product| cursor(&product.sku));
    let availabilities = app.availabilities.of_all(page.products);
    let items = page.products.iter().zip(availabilities);
    let items = items.map(|(product, availability)| ProductView::new(product, availability)).collect();
    Ok(axum::Json(ProductPage { items, next_cursor }).into_response())
}

/// One product.
#[utoipa::path(get, path = "/v1/products/{sku}", tag = "Catalogue", params(("sku" = String, Path)),
    responses((status = 200, body = ProductView, description = "the product"), ProductProblems))]
pub(super) async fn get(State(app): State<App>, Path(sku): Path<String>) -> Result<Response, Problem> {
    let snapshot = app.catalog.snapshot();
    let product = snapshot.get(&sku).ok_or_else(|| Problem::new(Code::NotFound, "there is no such product"))?;
    let availability = app.availabilities.of(product).await;
    // No longer than this node itself waits until it asks the stock again.
    Ok(([(header::CACHE_CONTROL, "max-age=1")], axum::Json(ProductView::new(product, availability))).into_response())
}

/// How long a page is.
pub(super) fn page_limit(wanted: Option<&str>) -> Result<usize, Problem> {
    match wanted.map(str::parse) {
        None => Ok(LIMIT_DEFAULT),
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::at(Code::InvalidRequest, "/limit", format!("must be 1 to {LIMIT_MAX}"))),
    }
}

/// Opaque to clients: the last SKU, in hex.
fn cursor(sku: &str) -> String {
    cursor_bytes(sku.as_bytes())
}

fn open_cursor(cursor: &str) -> Result<String, Problem> {
    String::from_utf8(open_cursor_bytes(cursor)?).map_err(|_| no_cursor())
}

fn no_cursor() -> Problem {
    Problem::at(Code::InvalidRequest, "/cursor", "this is no cursor that was given out")
}

/// Opaque to clients: the last key, in hex.
pub(super) fn cursor_bytes(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn open_cursor_bytes(cursor: &str) -> Result<Vec<u8>, Problem> {
    // No key that is given out is longer.
    if cursor.len() > 2 * INDEX_KEY_BYTES_MAX {
        return Err(no_cursor());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes: Option<Vec<u8>> = cursor
        .len()
        .is_multiple_of(2)
        .then(|| cursor.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect())
        .flatten();
    bytes.ok_or_else(no_cursor)
}
