//! Carts: every handler converts in, asks, converts out.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    App, Owner as AnsweredBy, cart_json,
    change::{self, Addressed, Caller, Change, Content as _, Has, Json, NamedCode, OptionalJson},
    dto::{AddItem, CartView, CreateCart, PatchCart, SetQuantity},
    may_sell,
    openapi::{ChangeProblems, CreateProblems, ReadProblems},
    problem::{Code, Problem},
};
use crate::{
    actors::{
        Answer, Ask, Told, View,
        discount::{code_of, discount_id},
    },
    cluster::Freshness,
    domain::{
        CartId, Currency, GuestId, Id, Slot,
        cart::{
            self, Addition, Cart, Command, EMAIL_BYTES_MAX, METADATA_BYTES_MAX, METADATA_KEYS_MAX, NOTE_BYTES_MAX,
            Owner, QUANTITY_MAX,
        },
        product::{Availability, Product},
    },
    telemetry::clock,
};

/// Room for an answer's headers, the edge's and the server's too: growing costs more than all of them.
const HEADERS_USUAL: usize = 12;

/// Makes a cart. Without a token it also makes a guest, whose token the body tells once.
#[utoipa::path(post, path = "/v1/carts", tag = "Carts", request_body(content = CreateCart, description = "may be left out"),
    params(("Idempotency-Key" = Option<String>, Header, description = "makes a retry safe; needs a token"),
        ("Authorization" = Option<String>, Header, description = "Bearer guest token")),
    responses((status = 201, body = CartView, description = "made"), CreateProblems))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = Caller::from_headers(&parts.headers, &app)?;
    let bytes = change::read(&parts.headers, body, &app).await?;
    let OptionalJson(wish) = OptionalJson::<CreateCart>::read(&parts.headers, &bytes)?;
    let currency = catalogue_currency(&app, wish.currency.as_deref())?;
    let now = clock::now();
    let (guest, key, is_new) = match caller {
        Some(caller) => (caller.0, change::idempotency_key(&parts, caller, &bytes)?, false),
        None => (GuestId::new(Slot::from_bits(clock::random() as u16), now, clock::random()), None, true),
    };
    let id = match key {
        // A retry must find the cart that the first attempt made: its id follows from the guest and the key.
        Some(key) => CartId(Id(u128::from(guest.slot().get()) << 114 | key.key >> 14)),
        None => CartId::new(guest.slot(), now, clock::random()),
    };
    let owner = Owner::Guest(guest);
    let command = Command::Create { id, owner, currency };
    let ask =
        Ask { command, by: Some(owner), if_revision: None, key, timeout: app.options.request_timeout, deed: None };
    let answer = app.handle.ask_cart(id, ask).await?;
    let token = is_new.then(|| app.tokens.guest_token(guest));
    let mut response = answered(&app, StatusCode::CREATED, &answer, token.as_deref());
    if let Ok(location) = HeaderValue::try_from(format!("/v1/carts/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if is_new {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// The cart.
#[utoipa::path(get, path = "/v1/carts/{id}", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("If-None-Match" = Option<String>, Header, description = "an ETag: 304 when it is still the present")),
    responses((status = 200, body = CartView, description = "the cart; with `Trolley-Stale: <ms>` it was the newest so long ago"), (status = 304, description = "unchanged"), ReadProblems))]
pub(super) async fn get(State(app): State<App>, to: Addressed, has: Has) -> Result<Response, Problem> {
    let view = app.handle.view(to.cart, app.options.request_timeout).await?;
    if view.owner() != to.caller.owner() {
        return Err(cart::Refusal::NotFound.into());
    }
    let revision = view.revision();
    let by = view.by().cloned();
    let mut response = if has.revision(revision) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        tag(response.headers_mut(), revision);
        response
    } else {
        match view {
            View::Cart(cart) => represent(&app, StatusCode::OK, &cart, None),
            View::Rendered(Told { what, .. }) => present(StatusCode::OK, what.body, revision),
        }
    };
    if let Some((node, freshness)) = by {
        response.extensions_mut().insert(AnsweredBy { node, freshness });
    }
    Ok(response)
}

/// Sets note and e-mail.
#[utoipa::path(patch, path = "/v1/carts/{id}", tag = "Carts", security(("guest" = [])), request_body = PatchCart,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "the ETag that the change is made upon; required"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the cart"),
        (status = 428, body = super::problem::ProblemBody, content_type = "application/problem+json", description = "precondition_required"),
        ChangeProblems))]
pub(super) async fn patch(State(app): State<App>, change: Change<Json<PatchCart>>) -> Result<Response, Problem> {
    if change.if_revision.is_none() {
        return Err(Problem::new(Code::PreconditionRequired, "send the cart's ETag as If-Match"));
    }
    let Json(PatchCart { note, email }) = &change.body;
    let note = text("/note", note, NOTE_BYTES_MAX)?;
    let email = email_address(email)?;
    ask(&app, &change, Command::Patch { note, email }).await
}

/// Closes the cart.
#[utoipa::path(delete, path = "/v1/carts/{id}", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "closed"), ChangeProblems))]
pub(super) async fn close(State(app): State<App>, change: Change<()>) -> Result<Response, Problem> {
    let answer = asked(&app, &change, Command::Close).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    tag(response.headers_mut(), answer.state.revision);
    told_by(&mut response, &answer);
    replayed(response.headers_mut(), answer.replayed);
    Ok(response)
}

/// Adds units of a product; the same product, options and metadata join the same line.
#[utoipa::path(post, path = "/v1/carts/{id}/items", tag = "Carts", security(("guest" = [])), request_body = AddItem,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn add(State(app): State<App>, mut change: Change<Json<AddItem>>) -> Result<Response, Problem> {
    let item = std::mem::replace(
        &mut change.body.0,
        AddItem { sku: String::new(), quantity: 0, options: Default::default(), metadata: Default::default() },
    );
    let snapshot = app.catalog.snapshot();
    let product = snapshot.get(&item.sku).ok_or_else(|| {
        Problem::at(Code::NotFound, "/sku", format!("there is no product {:?}", shortened(&item.sku)))
    })?;
    let addition = addition(item, product)?;
    // What is sold out may yet come back, so carts take it, and the checkout tells what there is. What the catalogue itself
    // does not offer is refused, unless its stock was filled since.
    if product.availability == Availability::OutOfStock
        && app.availabilities.of(product).await == Availability::OutOfStock
    {
        return Err(Problem::at(Code::ProductUnavailable, "/sku", "the product is out of stock"));
    }
    ask(&app, &change, Command::Add(addition)).await
}

/// Removes every line; saved ones stay.
#[utoipa::path(delete, path = "/v1/carts/{id}/items", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the empty cart"), ChangeProblems))]
pub(super) async fn clear(State(app): State<App>, change: Change<()>) -> Result<Response, Problem> {
    ask(&app, &change, Command::Clear).await
}

/// Sets a line's quantity; 0 removes it.
#[utoipa::path(patch, path = "/v1/carts/{id}/items/{line}", tag = "Carts", security(("guest" = [])), request_body = SetQuantity,
    params(("id" = String, Path), ("line" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn set_quantity(
    State(app): State<App>,
    change: Change<Json<SetQuantity>>,
) -> Result<Response, Problem> {
    let line = change.line()?;
    let quantity = quantity(change.body.0.quantity)?;
    ask(&app, &change, Command::SetQuantity(cart::SetQuantity { line, quantity })).await
}

/// Removes a line.
#[utoipa::path(delete, path = "/v1/carts/{id}/items/{line}", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("line" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn remove(State(app): State<App>, change: Change<()>) -> Result<Response, Problem> {
    let line = change.line()?;
    ask(&app, &change, Command::Remove(line)).await
}

/// Keeps a line for later.
#[utoipa::path(post, path = "/v1/carts/{id}/items/{line}/save", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("line" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn save(State(app): State<App>, change: Change<()>) -> Result<Response, Problem> {
    let line = change.line()?;
    ask(&app, &change, Command::Save(line)).await
}

/// Takes a line back that was kept for later.
#[utoipa::path(post, path = "/v1/carts/{id}/items/{line}/restore", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("line" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn restore(State(app): State<App>, change: Change<()>) -> Result<Response, Problem> {
    let line = change.line()?;
    ask(&app, &change, Command::Restore(line)).await
}

/// Applies a discount code as the shop defines it now.
#[utoipa::path(put, path = "/v1/carts/{id}/discount-codes/{code}", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("code" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn apply_code(
    State(app): State<App>,
    code: NamedCode,
    change: Change<()>,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(Code::DiscountNotApplicable, "there is no such code");
    let code = code_of(&code.0).ok_or_else(unknown)?;
    may_sell(&app.handle).await?;
    let discount = app.handle.discount(discount_id(&code), app.options.request_timeout).await?;
    ask(&app, &change, Command::ApplyCode(discount.rule.clone())).await
}

/// Takes a discount code away.
#[utoipa::path(delete, path = "/v1/carts/{id}/discount-codes/{code}", tag = "Carts", security(("guest" = [])),
    params(("id" = String, Path), ("code" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = CartView, description = "the whole cart"), ChangeProblems))]
pub(super) async fn remove_code(
    State(app): State<App>,
    code: NamedCode,
    change: Change<()>,
) -> Result<Response, Problem> {
    let code = code_of(&code.0).ok_or_else(|| Problem::new(Code::NotFound, "the cart has no such code"))?;
    ask(&app, &change, Command::RemoveCode(code)).await
}

async fn asked<T>(app: &App, change: &Change<T>, command: Command) -> Result<Told<Answer<Cart>>, Problem> {
    Ok(app.handle.ask_cart(change.to.cart, change.ask(command, app.options.request_timeout)).await?)
}

async fn ask<T>(app: &App, change: &Change<T>, command: Command) -> Result<Response, Problem> {
    Ok(answered(app, StatusCode::OK, &asked(app, change, command).await?, None))
}

/// The cart, if it is the caller's: somebody else's looks like none.
pub(super) async fn owned(app: &App, to: &Addressed) -> Result<Told<Arc<Cart>>, Problem> {
    let cart = app.handle.cart(to.cart, app.options.request_timeout).await?;
    if cart.owner == to.caller.owner() { Ok(cart) } else { Err(cart::Refusal::NotFound.into()) }
}

/// An e-mail address that is set or erased.
pub(super) fn email_address(given: &Option<Option<String>>) -> Result<Option<Option<Box<str>>>, Problem> {
    let email = text("/email", given, EMAIL_BYTES_MAX)?;
    let is_address = |email: &str| {
        let parts = email.split_once('@');
        parts.is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.') && !email.contains(' '))
    };
    if email.as_ref().is_some_and(|email| email.as_ref().is_some_and(|email| !is_address(email))) {
        return Err(Problem::at(Code::InvalidRequest, "/email", "this is no e-mail address"));
    }
    Ok(email)
}

/// What was told, if it is the newest for certain: money and goods are never told of as they were.
pub(super) fn fresh<T>(app: &App, told: Told<T>) -> Result<Told<T>, Problem> {
    let freshness = told.by.as_ref().map_or_else(|| app.lease.freshness(), |(_, freshness)| *freshness);
    match freshness {
        Freshness::Fresh => Ok(told),
        Freshness::Stale(_) | Freshness::TooOld => {
            Err(Problem::new(Code::StoreUnavailable, "whether this is the newest cannot be told; ask again"))
        }
    }
}

/// Lets the edge say who answered, where another node did.
pub(super) fn told_by<T>(response: &mut Response, told: &Told<T>) {
    if let Some((owner, freshness)) = &told.by {
        response.extensions_mut().insert(AnsweredBy { node: Arc::clone(owner), freshness: *freshness });
    }
}

fn answered(app: &App, status: StatusCode, answer: &Told<Answer<Cart>>, guest_token: Option<&str>) -> Response {
    let mut response = represent(app, status, &answer.state, guest_token);
    told_by(&mut response, answer);
    replayed(response.headers_mut(), answer.replayed);
    response
}

/// Says that the same request was answered before under the same key.
pub(super) fn replayed(headers: &mut HeaderMap, is_it: bool) {
    if is_it {
        headers.insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
    }
}

fn represent(app: &App, status: StatusCode, cart: &Cart, guest_token: Option<&str>) -> Response {
    let body = cart_json::write(cart, &|sku| app.catalog.categories(sku), guest_token);
    present(status, body.into(), cart.revision)
}

fn present(status: StatusCode, body: Bytes, revision: u64) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().reserve(HEADERS_USUAL);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    tag(response.headers_mut(), revision);
    response
}

pub(super) fn tag(headers: &mut HeaderMap, revision: u64) {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(HeaderName::from_static("trolley-revision"), HeaderValue::from(revision));
}

fn catalogue_currency(app: &App, wished: Option<&str>) -> Result<Currency, Problem> {
    let has = app.catalog.snapshot().currency().unwrap_or(Currency::EUR);
    let Some(wished) = wished else { return Ok(has) };
    let wished =
        Currency::parse(wished).map_err(|error| Problem::at(Code::InvalidRequest, "/currency", error.to_string()))?;
    if wished == has {
        return Ok(has);
    }
    Err(Problem::at(Code::CurrencyMismatch, "/currency", format!("this shop sells in {has}")))
}

fn quantity(quantity: u32) -> Result<u16, Problem> {
    u16::try_from(quantity).ok().filter(|quantity| *quantity <= QUANTITY_MAX).ok_or_else(|| {
        Problem::at(Code::QuantityOutOfRange, "/quantity", format!("at most {QUANTITY_MAX} of one product"))
    })
}

/// A wish and its product become an addition, or the wish does not fit the product.
fn addition(item: AddItem, product: &Product) -> Result<Addition, Problem> {
    let quantity = quantity(item.quantity)?;
    if quantity == 0 {
        return Err(Problem::at(Code::QuantityOutOfRange, "/quantity", "at least 1"));
    }
    for (name, values) in &product.options {
        let pointer = || format!("/options/{name}");
        match item.options.get(&**name) {
            None => {
                return Err(Problem::at(
                    Code::InvalidRequest,
                    pointer(),
                    format!("choose one of {}", values.join(", ")),
                ));
            }
            Some(chosen) if !values.iter().any(|value| **value == **chosen) => {
                return Err(Problem::at(
                    Code::InvalidRequest,
                    pointer(),
                    format!("must be one of {}", values.join(", ")),
                ));
            }
            Some(_) => {}
        }
    }
    if let Some(name) = item.options.keys().find(|name| !product.options.iter().any(|(known, _)| **known == ***name)) {
        let pointer = format!("/options/{}", shortened(name));
        return Err(Problem::at(Code::InvalidRequest, pointer, "the product has no such option"));
    }
    let metadata = metadata(item.metadata)?;
    Ok(Addition {
        sku: product.sku.clone(),
        title: product.title.clone(),
        unit_price: product.price.amount,
        currency: product.price.currency,
        quantity,
        quantity_max: product.quantity_max,
        options: item.options.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        metadata,
    })
}

fn metadata(given: std::collections::BTreeMap<String, serde_json::Value>) -> Result<cart::Metadata, Problem> {
    if given.len() > METADATA_KEYS_MAX {
        let detail = format!("at most {METADATA_KEYS_MAX} names");
        return Err(Problem::at(Code::MetadataTooLarge, "/metadata", detail));
    }
    if let Some((name, _)) = given.iter().find(|(_, value)| value.is_array() || value.is_object() || value.is_null()) {
        let pointer = format!("/metadata/{}", shortened(name));
        return Err(Problem::at(Code::InvalidRequest, pointer, "must be a string, a number or a boolean"));
    }
    let metadata: cart::Metadata =
        given.into_iter().map(|(name, value)| (name.into(), value.to_string().into())).collect();
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_BYTES_MAX {
        let detail = format!("at most {METADATA_BYTES_MAX} bytes, names and values together");
        return Err(Problem::at(Code::MetadataTooLarge, "/metadata", detail));
    }
    Ok(metadata)
}

fn text(pointer: &str, given: &Option<Option<String>>, bytes_max: usize) -> Result<Option<Option<Box<str>>>, Problem> {
    if given.as_ref().is_some_and(|text| text.as_ref().is_some_and(|text| text.len() > bytes_max)) {
        return Err(Problem::at(Code::InvalidRequest, pointer, format!("at most {bytes_max} bytes")));
    }
    Ok(given.as_ref().map(|text| text.as_deref().map(Box::from)))
}

/// What a client sent, short enough to be told back.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
