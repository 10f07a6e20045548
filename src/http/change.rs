//! Parses requests at the door: who asks, of which cart, upon what they saw, under which key, and the body. Inside,
//! all of it is already right.

use std::{str::FromStr, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use super::{
    App, BODY_BYTES_MAX,
    cards::refuse_cards,
    problem::{Code, Problem},
};
use crate::{
    actors::{Ask, Key},
    domain::{
        CartId, GuestId, IdError,
        cart::{Command, LineId, Owner},
    },
};

/// Longest Idempotency-Key.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The shopper who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) GuestId);

impl Caller {
    pub(super) fn from_headers(headers: &HeaderMap, app: &App) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
        });
        match token.and_then(|token| app.tokens.guest(token)) {
            Some(guest) => Ok(Some(Self(guest))),
            None => Err(Problem::new(Code::Unauthenticated, "the Authorization header holds no valid Bearer token")),
        }
    }

    pub(super) const fn owner(self) -> Owner {
        Owner::Guest(self.0)
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers, app)?
            .ok_or_else(|| Problem::new(Code::Unauthenticated, "send the guest token as Authorization: Bearer"))
    }
}

/// A cart that somebody asks about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressed {
    pub(super) caller: Caller,
    pub(super) cart: CartId,
    pub(super) line: Option<LineId>,
}

impl FromRequestParts<App> for Addressed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let (cart, line) = address(parts, app).await?;
        Ok(Self { caller, cart, line })
    }
}

/// The cart and the line that the path names.
pub(super) async fn address(parts: &mut Parts, app: &App) -> Result<(CartId, Option<LineId>), Problem> {
    let named = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| Problem::new(Code::InvalidId, "the path is not well-formed"))?;
    let part = |wanted: &str| named.iter().find(|(name, _)| *name == wanted).map(|(_, text)| text);
    let cart = part("id").unwrap_or_default();
    let cart = cart.parse().map_err(|error| Problem::new(Code::InvalidId, format!("cart id: {error}")))?;
    let line = part("line").map(|line| line.parse());
    let line = line.transpose().map_err(|()| Problem::new(Code::InvalidId, "a line's id is l1, l2 …"))?;
    Ok((cart, line))
}

/// A change that somebody asks of a cart.
#[derive(Debug)]
pub(super) struct Change<T> {
    pub(super) to: Addressed,
    pub(super) if_revision: Option<u64>,
    key: Option<Key>,
    pub(super) body: T,
}

impl<T> Change<T> {
    /// The line that the path names; routes with a line always name one.
    pub(super) fn line(&self) -> Result<LineId, Problem> {
        self.to.line.ok_or_else(|| Problem::new(Code::InvalidId, "the path names no line"))
    }

    pub(super) fn ask(&self, command: Command, timeout: Duration) -> Ask<Command> {
        Ask {
            command,
            by: Some(self.to.caller.owner()),
            if_revision: self.if_revision,
            key: self.key,
            timeout,
            deed: None,
        }
    }
}

/// Something other than a cart that somebody asks about.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<I> {
    pub(super) caller: Caller,
    pub(super) id: I,
}

impl<I: FromStr<Err = IdError> + Send> FromRequestParts<App> for To<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let named = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Problem::new(Code::InvalidId, "the path is not well-formed"))?;
        let id = named.iter().find(|(name, _)| *name == "id").map(|(_, text)| text).unwrap_or_default();
        let id = id.parse().map_err(|error| Problem::new(Code::InvalidId, format!("id: {error}")))?;
        Ok(Self { caller, id })
    }
}

/// The discount code that a path names, as written.
#[derive(Debug)]
pub(super) struct NamedCode(pub(super) String);

impl FromRequestParts<App> for NamedCode {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let named = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Problem::new(Code::InvalidId, "the path is not well-formed"))?;
        let code = named.iter().find(|(name, _)| *name == "code").map(|(_, text)| text.to_owned());
        Ok(Self(code.unwrap_or_default()))
    }
}

/// A change that somebody asks of something other than a cart.
#[derive(Debug)]
pub(super) struct Wish<I, T> {
    pub(super) to: To<I>,
    pub(super) if_revision: Option<u64>,
    pub(super) key: Option<Key>,
    pub(super) body: T,
}

impl<I, T> Wish<I, T> {
    pub(super) fn ask<C>(&self, command: C, timeout: Duration) -> Ask<C> {
        Ask {
            command,
            by: Some(self.to.caller.owner()),
            if_revision: self.if_revision,
            key: self.key,
            timeout,
            deed: None,
        }
    }

    /// The key, where the route cannot do without.
    pub(super) fn must_have_key(&self) -> Result<Key, Problem> {
        self.key
            .ok_or_else(|| Problem::new(Code::IdempotencyKeyMissing, "send an Idempotency-Key, a new one for each try"))
    }
}

impl<I: FromStr<Err = IdError> + Send, T: Content> FromRequest<App> for Wish<I, T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let to = To::from_request_parts(&mut parts, app).await?;
        let bytes = read(&parts.headers, body, app).await?;
        let key = idempotency_key(&parts, to.caller, &bytes)?;
        Ok(Self { to, if_revision: if_match(&parts.headers)?, key, body: T::read(&parts.headers, &bytes)? })
    }
}

/// What a route takes as its body.
pub(super) trait Content: Sized + Send {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem>;
}

impl Content for () {
    /// Routes without a body ignore what is sent.
    fn read(_: &HeaderMap, _: &[u8]) -> Result<(), Problem> {
        Ok(())
    }
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned + Send> Content for Json<T> {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        json(headers, bytes).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default + Send> Content for OptionalJson<T> {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() { Ok(Self(T::default())) } else { json(headers, bytes).map(Self) }
    }
}

/// The JSON pointer (RFC 6901) of a place in a body; what cannot be named further is pointed at as far as it can.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key: name } | Segment::Enum { variant: name } => Some(format!("/{}", escaped(name))),
        Segment::Unknown => None,
    };
    path.iter().map_while(part).collect()
}

/// A name as a part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json"));
    }
    refuse_cards(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        Problem::at(Code::InvalidRequest, pointer, error.into_inner().to_string())
    })?;
    reader.end().map_err(|error| Problem::at(Code::InvalidRequest, "", error.to_string()))?;
    Ok(value)
}

impl<T: Content> FromRequest<App> for Change<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let to = Addressed::from_request_parts(&mut parts, app).await?;
        let bytes = read(&parts.headers, body, app).await?;
        let key = idempotency_key(&parts, to.caller, &bytes)?;
        Ok(Self { to, if_revision: if_match(&parts.headers)?, key, body: T::read(&parts.headers, &bytes)? })
    }
}

/// The whole body, within its bounds of size and time.
pub(super) async fn read(headers: &HeaderMap, body: Body, app: &App) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("at most {BODY_BYTES_MAX} bytes")).closing();
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(app.options.body_timeout, Limited::new(body, BODY_BYTES_MAX).collect());
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "the body broke off").closing()),
        Err(_) => Err(Problem::new(Code::RequestTimeout, "the body took too long to arrive").closing()),
    }
}

/// The key, hashed with its scope (who, method, path; the actor is part of the path), and the request's own hash.
pub(super) fn idempotency_key(parts: &Parts, caller: Caller, body: &[u8]) -> Result<Option<Key>, Problem> {
    let Some(value) = parts.headers.get("idempotency-key") else { return Ok(None) };
    let key = value.as_bytes();
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Problem::new(Code::InvalidRequest, "an Idempotency-Key is 1–255 visible ASCII characters"));
    }
    let mut scope = Xxh3::new();
    scope.update(&caller.0.0.0.to_be_bytes());
    scope.update(parts.method.as_str().as_bytes());
    scope.update(b"\0");
    scope.update(parts.uri.path().as_bytes());
    scope.update(b"\0");
    let mut request = scope.clone();
    scope.update(key);
    request.update(parts.uri.query().unwrap_or_default().as_bytes());
    request.update(b"\0");
    request.update(parts.headers.get(header::IF_MATCH).map_or(b"".as_slice(), |value| value.as_bytes()));
    request.update(b"\0");
    request.update(body);
    Ok(Some(Key { key: scope.digest128(), request: request.digest128() }))
}

/// The revision of an If-Match header; `*` and absence mean whatever there is.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let revision = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).and_then(|v| v.parse().ok());
    revision.map(Some).ok_or_else(|| Problem::new(Code::InvalidRequest, "If-Match is one ETag as it was sent, or *"))
}

/// What the client has already: the If-None-Match header, taken alone so that no request's headers are copied.
#[derive(Debug)]
pub(super) struct Has(Option<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for Has {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get(header::IF_NONE_MATCH).cloned()))
    }
}

impl Has {
    /// Whether the client has this revision.
    pub(super) fn revision(&self, revision: u64) -> bool {
        let Some(value) = self.0.as_ref().and_then(|value| value.to_str().ok()) else { return false };
        let is_it = |tag: &str| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            tag == "*" || quoted.is_some_and(|tag| tag.parse() == Ok(revision))
        };
        value.split(',').any(is_it)
    }
}
