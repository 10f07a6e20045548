//! A sink that posts each event to a URL: CloudEvents in structured mode, signed by Standard Webhooks 1.0.

use std::{fmt, path::PathBuf, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use sha2::{Digest, Sha256};

use super::{
    envelope::{self, Source},
    outgoing::Outgoing,
    signature::Signer,
    sink::{Failure, Sink, SinkError},
};
use crate::{
    net::{Answer, Client, Endpoint, Limits, NoAuthorities, Trust, WrongUrl},
    telemetry::clock,
};

/// Longest body of an answer that is read so that its connection can be used again; it is thrown away.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Why a webhook cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongEndpoint {
    /// The URL of this number, counted from 1.
    #[error("webhook URL {0} {1}")]
    Url(usize, WrongUrl),
    /// Nothing to check certificates with.
    #[error(transparent)]
    Authorities(#[from] NoAuthorities),
}

/// The endpoint of the `n`th URL, counted from 0.
pub(super) fn endpoint(n: usize, url: &str) -> Result<Endpoint, WrongEndpoint> {
    Endpoint::parse(url).map_err(|wrong| WrongEndpoint::Url(n + 1, wrong))
}

/// What webhooks have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Proves who sends.
    pub signer: Signer,
    /// Which shop tells.
    pub source: Source,
    /// PEM file of the authorities that sign the endpoints' certificates; `None` = the system's.
    pub tls_ca: Option<PathBuf>,
    /// How long a connection may take to open, name look-up and TLS included.
    pub connect_timeout: Duration,
    /// How long an endpoint may take altogether: Standard Webhooks recommends 15 to 30 s.
    pub request_timeout: Duration,
}

impl Settings {
    /// Those that are usual.
    #[must_use]
    pub fn new(signer: Signer) -> Self {
        Self {
            signer,
            source: Source::default(),
            tls_ca: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }
}

/// Posts each event to a URL.
pub struct Webhook {
    name: Box<str>,
    signer: Signer,
    source: Source,
    client: Client,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).field("client", &self.client).finish_non_exhaustive()
    }
}

impl Webhook {
    /// One sink for each URL.
    ///
    /// # Errors
    /// [`WrongEndpoint`] for the first that cannot be used.
    pub fn all(urls: &[String], settings: &Settings) -> Result<Vec<Self>, WrongEndpoint> {
        let endpoints = urls.iter().enumerate().map(|(n, url)| endpoint(n, url)).collect::<Result<Vec<_>, _>>()?;
        let trust = match endpoints.iter().any(Endpoint::is_tls) {
            true => Some(Trust::of(settings.tls_ca.as_deref())?),
            false => None,
        };
        let limits = Limits {
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        let make = |(url, endpoint): (&String, Endpoint)| {
            let name = name(url);
            if endpoint.is_tls() {
                tracing::info!(sink = name, ?endpoint, "events go to a webhook");
            } else {
                tracing::warn!(sink = name, ?endpoint, "events go to a webhook in plain text");
            }
            let trust = trust.clone().filter(|_| endpoint.is_tls());
            Self {
                name: name.into(),
                signer: settings.signer.clone(),
                source: settings.source.clone(),
                client: Client::new(endpoint, trust, limits),
            }
        };
        Ok(urls.iter().zip(endpoints).map(make).collect())
    }

    async fn post(&self, event: &Outgoing) -> Result<(), Failure> {
        let (id, body) = (event.id(), envelope::cloud_event(event, &self.source));
        // The moment of this attempt: consumers refuse old ones, which guards against replays by others.
        let timestamp_s = clock::now().0 / 1_000;
        let signature = self.signer.sign(&id, timestamp_s, &body);
        let unavailable = |why: Box<str>| Failure::Unavailable { why, retry_after: None };
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| unavailable(error.to_string().into()));
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", value(&id)?);
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp_s));
        headers.insert("webhook-signature", value(&signature)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(envelope::CONTENT_TYPE));
        let asked = self.client.ask(Method::POST, self.client.endpoint().path(), headers, body).await;
        // The status is the answer, whatever becomes of the body.
        let Answer { status, headers, .. } = asked.map_err(|none| unavailable(none.to_string().into()))?;
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        judge(status, retry_after.map(Duration::from_secs))
    }
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), SinkError>> {
        async move {
            for (taken, event) in events.iter().enumerate() {
                self.post(event).await.map_err(|failure| SinkError { taken, failure })?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// The same after a restart and on every node, and no part of the URL.
fn name(url: &str) -> String {
    let hash = Sha256::digest(url.as_bytes());
    let hash = hash.iter().take(4).fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
    format!("webhook-{hash:08x}")
}

/// What a status says about the endpoint, and about the event.
fn judge(status: StatusCode, retry_after: Option<Duration>) -> Result<(), Failure> {
    let why = |more: &str| format!("HTTP status {}{more}", status.as_u16()).into();
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Unavailable { why: why(""), retry_after }),
        _ if status.is_redirection() => {
            Err(Failure::Rejected { why: why(": redirects are not followed, set the endpoint's own URL") })
        }
        _ => Err(Failure::Rejected { why: why("") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_an_endpoint_that_is_down_from_an_event_that_it_refuses() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), None);
        for status in [200, 202, 204] {
            assert_eq!(judged(status), Ok(()));
        }
        for status in [408, 425, 429, 502, 503, 504] {
            assert!(matches!(judged(status), Err(Failure::Unavailable { .. })), "{status}");
        }
        for status in [301, 307, 400, 401, 404, 410, 413, 422, 500] {
            assert!(matches!(judged(status), Err(Failure::Rejected { .. })), "{status}");
        }
    }

    #[test]
    fn nothing_shown_holds_the_url_or_the_secret() {
        let settings = Settings::new(Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let made = Webhook::all(&["http://127.0.0.1:9/in/s3cret".to_owned()], &settings).unwrap();
        let shown = format!("{made:?} {settings:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("MfKQ"), "{shown}");
        assert!(made[0].name().len() <= 24);
    }
}
