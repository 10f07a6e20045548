//! Calls of Stripe's API: forms out, JSON in, and what each failure means for a deed.

use std::{fmt, time::Duration};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::OptionsError;
use crate::{
    net::{self, Endpoint, NoAnswer, Trust},
    payments::Failure,
};

/// The version of the API that the objects are read as.
const VERSION: &str = "2024-06-20";
/// Largest answer that is read: a page of a hundred refunds has some 100 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long a connection may take to open: far below the time of a call, so that a gateway that is away is told from one
/// that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take when its asker sets no shorter time: then its outcome is unknown.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest message of Stripe's that is handed on.
const MESSAGE_CHARS_MAX: usize = 300;

/// Speaks with Stripe; connections are shared.
pub(super) struct Client {
    http: net::Client,
    /// Marked as sensitive: it is not shown.
    authorization: HeaderValue,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("http", &self.http).finish_non_exhaustive()
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
        let endpoint = Endpoint::parse(base).map_err(OptionsError::Url)?;
        let trust = match endpoint.is_tls() {
            true => Some(Trust::of(None)?),
            false if endpoint.is_loopback() => None,
            false => return Err(OptionsError::Plain),
        };
        if key.expose_secret().is_empty() {
            return Err(OptionsError::Key);
        }
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).map_err(|_| OptionsError::Key)?;
        authorization.set_sensitive(true);
        let limits = net::Limits {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        Ok(Self { http: net::Client::new(endpoint, trust, limits), authorization })
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
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert("stripe-version", HeaderValue::from_static(VERSION));
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        if let Some(key) = key {
            headers.insert("idempotency-key", HeaderValue::try_from(key).map_err(|error| not_sent(&error))?);
        }
        let path = format!("{}{path}", self.http.endpoint().path().trim_end_matches('/'));
        let answer = self.http.ask(method, &path, headers, Bytes::from(form.0)).await.map_err(|none| match none {
            NoAnswer::NotSent(why) => not_sent(&why),
            NoAnswer::Lost(why) => in_doubt(&why),
        })?;
        let status = answer.status;
        let is_replay = answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true");
        let body = answer.body.map_err(|error| in_doubt(&error))?;
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
