//! Asks one server. Its connections are kept for the next request.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    client::conn::http1::{Builder, SendRequest},
    header::{HOST, HeaderValue, USER_AGENT},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{endpoint::Endpoint, trust::Trust};

/// Longest head of an answer; hyper's least is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Connections kept for the next request; more requests at once open more.
const IDLE_MAX: usize = 16;
/// How long an unused connection is kept: below the minute after which many a load balancer forgets it without a word.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// What a client waits for and reads at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a connection may take to open, name look-up and TLS included.
    pub connect_timeout: Duration,
    /// How long a request may take altogether.
    pub request_timeout: Duration,
    /// Longest body of an answer that is read.
    pub body_bytes_max: usize,
}

/// What the server said.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or why it could not be read to its end.
    pub body: Result<Bytes, Box<str>>,
}

/// Why there is no answer, in words that hold no part of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Not a byte of the request left this process.
    #[error("{0}")]
    NotSent(Box<str>),
    /// The server may have acted on it.
    #[error("{0}")]
    Lost(Box<str>),
}

type Sender = SendRequest<Full<Bytes>>;

/// Asks one server.
pub struct Client {
    endpoint: Endpoint,
    trust: Option<Trust>,
    limits: Limits,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.endpoint).finish()
    }
}

impl Client {
    /// A client; it connects when it is first asked. Without trust it speaks in plain text, whatever the URL says: whoever
    /// makes one decides by [`Endpoint::is_tls`].
    #[must_use]
    pub fn new(endpoint: Endpoint, trust: Option<Trust>, limits: Limits) -> Self {
        Self { endpoint, trust, limits, idle: Mutex::default() }
    }

    /// What it asks.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request for this path (and query) and waits for the answer. It is sent once: a second time only if the
    /// first did not leave this process.
    ///
    /// # Errors
    /// [`NoAnswer`] tells what was certainly not sent from what may have been.
    pub async fn ask(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, NoAnswer> {
        let path: Uri = path.parse().map_err(|_| NoAnswer::NotSent("the path is none".into()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.endpoint.authority().clone());
        let user_agent = HeaderValue::from_static(concat!("trolley/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, user_agent);
        let whole = async {
            // The server may have closed a kept connection at any moment.
            if let Some(kept) = self.kept().await {
                match self.send(kept, request).await {
                    Ok(answer) => return Ok(answer),
                    Err(Unsent { request: Some(back), .. }) => request = *back,
                    Err(Unsent { request: None, why }) => return Err(NoAnswer::Lost(why)),
                }
            }
            let sender = self.connect().await.map_err(NoAnswer::NotSent)?;
            self.send(sender, request).await.map_err(|unsent| match unsent.request {
                Some(_) => NoAnswer::NotSent(unsent.why),
                None => NoAnswer::Lost(unsent.why),
            })
        };
        match timeout(self.limits.request_timeout, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Lost(format!("no answer within {:?}", self.limits.request_timeout).into())),
        }
    }

    async fn kept(&self) -> Option<Sender> {
        loop {
            let (mut sender, since) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if since.elapsed() < IDLE_TIME_MAX && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<Sender, Box<str>> {
        let (host, port) = self.endpoint.server();
        let opening = async {
            let stream = TcpStream::connect((host, port)).await.map_err(|error| said("connecting", &error))?;
            stream.set_nodelay(true).map_err(|error| said("connecting", &error))?;
            let Some(trust) = &self.trust else { return shake_hands(TokioIo::new(stream)).await };
            let name = ServerName::try_from(host.to_owned()).map_err(|error| said("TLS", &error))?;
            let stream = trust.connector().connect(name, stream).await.map_err(|error| said("TLS", &error))?;
            shake_hands(TokioIo::new(stream)).await
        };
        match timeout(self.limits.connect_timeout, opening).await {
            Ok(sender) => sender,
            Err(_) => Err(format!("no connection within {:?}", self.limits.connect_timeout).into()),
        }
    }

    async fn send(&self, mut sender: Sender, request: Request<Full<Bytes>>) -> Result<Answer, Unsent> {
        let response = sender.try_send_request(request).await.map_err(|mut error| Unsent {
            request: error.take_message().map(Box::new),
            why: said("the request", error.error()),
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.limits.body_bytes_max).collect().await;
        let body = body.map(|body| body.to_bytes()).map_err(|error| said("the answer", &*error));
        // A body that is too long or breaks costs its connection.
        if body.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push((sender, Instant::now()));
            }
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// A request without an answer; given back if not a byte of it was sent.
struct Unsent {
    request: Option<Box<Request<Full<Bytes>>>>,
    why: Box<str>,
}

async fn shake_hands<S>(stream: S) -> Result<Sender, Box<str>>
where
    S: Read + Write + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(stream).await.map_err(|error| said("HTTP", &error))?;
    // Ends when its sender is dropped, or the server closes it.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to another server broke");
        }
    });
    Ok(sender)
}

fn said(what: &str, error: &dyn fmt::Display) -> Box<str> {
    format!("{what}: {error}").into()
}
