//! Calls of Stripe's API: forms out, JSON in, and what each failure means for a deed.

use std::{fmt, net::IpAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::crypto::aws_lc_rs;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::OptionsError;
use crate::payments::Failure;

/// The version of the API that the objects are read as.
const VERSION: &str = "2024-06-20";
/// Largest answer that is read: a page of a hundred refunds has some 100 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long a connection may take to open: far below the time of a call, so that a gateway that is away is told from one
/// that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an idle connection is kept: below the minute after which many a load balancer forgets it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections that are kept; more calls at once open more.
const IDLE_CONNECTIONS_MAX: usize = 16;
/// Longest message of Stripe's that is handed on.
const MESSAGE_CHARS_MAX: usize = 300;

/// Speaks with Stripe; connections are shared.
pub(super) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    /// Marked as sensitive: it is not shown.
    authorization: HeaderValue,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Why a call has no answer that counts.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Stripe says no.
    Refused(Refusal),
    /// Stripe itself failed; `is_replay` = it did so the first time, and says it again.
    Broken {
        /// What to say of it.
        failure: Failure,
        /// Whether it is what was said before under this idempotency key.
        is_replay: bool,
    },
    /// Anything else.
    Failed(Failure),
}

impl Trouble {
    /// What it means for the deed that the call was to do.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) | Self::Broken { failure, .. } => failure,
            Self::Refused(refusal) => Failure::unknown(refusal.message),
        }
    }
}

/// Stripe's no.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Refusal {
    #[serde(default, rename = "type")]
    kind: Box<str>,
    /// Why, for people.
    #[serde(default)]
    pub(super) message: Box<str>,
}

impl Refusal {
    pub(super) fn of(message: &str) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Whether the card was declined.
    pub(super) fn is_card(&self) -> bool {
        &*self.kind == "card_error"
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Refusal,
}

/// The parameters of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(String);

impl Form {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// One parameter more.
    pub(super) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
        self.0.push('=');
        self.0.extend(utf8_percent_encode(&value.to_string(), NON_ALPHANUMERIC));
        self
    }
}

impl Client {
    pub(super) fn new(base: &str, key: &SecretString) -> Result<Self, OptionsError> {
        let uri: Uri = base.parse().map_err(|_| OptionsError::Url)?;
        let host = uri.host().ok_or(OptionsError::Url)?;
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback => {}
            Some("http") => return Err(OptionsError::Plain),
            _ => return Err(OptionsError::Url),
        }
        if key.expose_secret().is_empty() {
            return Err(OptionsError::Key);
        }
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).map_err(|_| OptionsError::Key)?;
        authorization.set_sensitive(true);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(aws_lc_rs::default_provider())
            .map_err(|_| OptionsError::Url)?;
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(tls.https_or_http().enable_http1().wrap_connector(tcp));
        Ok(Self { pool, base: base.trim_end_matches('/').to_owned(), authorization })
    }

    /// Reads an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.call(Method::GET, path, Form::new(), None).await.map(|(object, _)| object)
    }

    /// Does something; returns the object, and whether it is what was said before under this idempotency key.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        form: Form,
        key: Option<String>,
    ) -> Result<(T, bool), Trouble> {
        self.call(Method::POST, path, form, key).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        form: Form,
        key: Option<String>,
    ) -> Result<(T, bool), Trouble> {
        let not_sent = |why: &dyn fmt::Display| Trouble::Failed(Failure::not_sent(why));
        let in_doubt = |why: &dyn fmt::Display| Trouble::Failed(Failure::unknown(why));
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header("stripe-version", VERSION);
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::from(form.0)).map_err(|error| not_sent(&error))?;
        let response = self.pool.request(request).await.map_err(|error| match error.is_connect() {
            true => not_sent(&error),
            false => in_doubt(&error),
        })?;
        let status = response.status();
        let is_replay = response.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| in_doubt(&error))?.to_bytes();
        if status.is_success() {
            let object = serde_json::from_slice(&body).map_err(|error| in_doubt(&error))?;
            return Ok((object, is_replay));
        }
        let mut refusal = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error).unwrap_or_default();
        refusal.message = match refusal.message.is_empty() {
            true => format!("the gateway answered {status}").into(),
            false => refusal.message.chars().take(MESSAGE_CHARS_MAX).collect::<String>().into(),
        };
        Err(match status {
            // Turned away before it was looked at.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                not_sent(&refusal.message)
            }
            // The same key is at work, or was used for something else.
            StatusCode::CONFLICT => in_doubt(&refusal.message),
            _ if &*refusal.kind == "idempotency_error" => in_doubt(&refusal.message),
            StatusCode::BAD_REQUEST | StatusCode::PAYMENT_REQUIRED | StatusCode::NOT_FOUND => Trouble::Refused(refusal),
            _ => Trouble::Broken { failure: Failure::unknown(&refusal.message), is_replay },
        })
    }
}
