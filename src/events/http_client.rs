//! A small HTTP client: POST to one endpoint, with everything bounded. No redirects, no proxies, no cookies.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{Builder, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// Longest head of a response; hyper's least is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest body of a response that is read so that its connection can be used again; it is thrown away.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Connections kept for the next request: as many as a lane has deliveries under way.
const IDLE_MAX: usize = 16;

/// Why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongEndpoint {
    /// The URL. It is not repeated: its path may hold a secret.
    #[error("webhook URL {0}: {1}")]
    Url(usize, &'static str),
    /// No authorities to check certificates with.
    #[error("no authority's certificate can be read from {from}: {why}")]
    Authorities {
        /// Where they were looked for.
        from: Box<str>,
        /// What went wrong.
        why: Box<str>,
    },
}

/// An endpoint's URL, taken apart.
#[derive(Clone)]
pub(super) struct Endpoint {
    is_tls: bool,
    host: Box<str>,
    port: u16,
    authority: HeaderValue,
    path: Uri,
}

impl fmt::Debug for Endpoint {
    /// The host alone: paths of webhooks often hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// Takes a URL apart; `n` names it in errors.
    pub(super) fn parse(url: &str, n: usize) -> Result<Self, WrongEndpoint> {
        let wrong = |why| WrongEndpoint::Url(n, why);
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("must begin with https:// (or http:// within a network that you trust)")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user's name: Trolley signs what it sends, it does not log in"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host: host.into(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("names no host"))?,
            path: path.parse().map_err(|_| wrong("has a wrong path"))?,
        })
    }

    /// Whether what is sent there is encrypted.
    pub(super) const fn is_tls(&self) -> bool {
        self.is_tls
    }
}

/// Whom to trust: the PEM file's authorities, or the system's.
pub(super) fn connector(ca: Option<&Path>) -> Result<TlsConnector, WrongEndpoint> {
    let from: Box<str> = ca.map_or_else(|| "the system's store".into(), |ca| ca.display().to_string().into());
    let wrong = |why: String| WrongEndpoint::Authorities { from: from.clone(), why: why.into() };
    let certificates: Vec<CertificateDer<'static>> = match ca {
        Some(ca) => {
            let file = CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))?;
            file.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    // Systems carry some that are malformed; one that is usable is enough to begin with.
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(wrong("it holds none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What an endpoint answered; its body is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
}

/// Posts to one endpoint.
pub(super) struct Client {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    connect_timeout: Duration,
    request_timeout: Duration,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.endpoint).finish()
    }
}

impl Client {
    pub(super) fn new(
        endpoint: Endpoint,
        tls: Option<TlsConnector>,
        connect_timeout: Duration,
        request_timeout: Duration,
    ) -> Self {
        Self { endpoint, tls, connect_timeout, request_timeout, idle: Mutex::default() }
    }

    /// Posts; the error says in words why there is no answer.
    pub(super) async fn post(
        &self,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Answer, Box<str>> {
        let mut head = HeaderMap::new();
        head.extend(headers);
        head.insert(HOST, self.endpoint.authority.clone());
        head.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        head.insert(USER_AGENT, HeaderValue::from_static(concat!("trolley/", env!("CARGO_PKG_VERSION"))));
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = hyper::Method::POST;
            *request.uri_mut() = self.endpoint.path.clone();
            *request.headers_mut() = head.clone();
            request
        };
        let whole = async {
            // The endpoint may have closed a kept connection at any moment; a repeat does no harm here.
            if let Some(sender) = self.kept().await
                && let Ok(answer) = self.send(sender, request()).await
            {
                return Ok(answer);
            }
            let sender = self.connect().await?;
            self.send(sender, request()).await
        };
        match timeout(self.request_timeout, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.request_timeout).into()),
        }
    }

    async fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut sender = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<str>> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let opening = async {
            let stream = TcpStream::connect((&**host, *port)).await.map_err(|error| said("connecting", &error))?;
            stream.set_nodelay(true).map_err(|error| said("connecting", &error))?;
            let Some(tls) = &self.tls else { return shake_hands(TokioIo::new(stream)).await };
            let name = ServerName::try_from(host.to_string()).map_err(|error| said("TLS", &error))?;
            let stream = tls.connect(name, stream).await.map_err(|error| said("TLS", &error))?;
            shake_hands(TokioIo::new(stream)).await
        };
        match timeout(self.connect_timeout, opening).await {
            Ok(sender) => sender,
            Err(_) => Err(format!("no connection within {:?}", self.connect_timeout).into()),
        }
    }

    async fn send(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<str>> {
        let response = sender.send_request(request).await.map_err(|error| said("the request", &error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let answer = Answer { status: response.status(), retry_after: retry_after.map(Duration::from_secs) };
        // The status is the answer. A body that is too long or breaks costs its connection and nothing else.
        if Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(sender);
            }
        }
        Ok(answer)
    }
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Box<str>>
where
    S: Read + Write + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(stream).await.map_err(|error| said("HTTP", &error))?;
    // Ends when its sender is dropped, or the endpoint closes it.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a webhook's connection broke");
        }
    });
    Ok(sender)
}

fn said(what: &str, error: &dyn fmt::Display) -> Box<str> {
    format!("{what}: {error}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_its_path_is_not_shown() {
        let endpoint = Endpoint::parse("https://hooks.example/in/s3cret?k=1", 1).unwrap();
        assert_eq!((endpoint.is_tls, &*endpoint.host, endpoint.port), (true, "hooks.example", 443));
        assert_eq!(endpoint.path, "/in/s3cret?k=1");
        assert_eq!(format!("{endpoint:?}"), "hooks.example:443");
        let endpoint = Endpoint::parse("http://[::1]:8099", 1).unwrap();
        assert_eq!((endpoint.is_tls, &*endpoint.host, endpoint.port), (false, "::1", 8099));
        assert_eq!((endpoint.authority.to_str().unwrap(), endpoint.path.path()), ("[::1]:8099", "/"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_repeated() {
        for url in ["", "hooks.example", "ftp://hooks.example/s3cret", "https://me:s3cret@hooks.example/", "/s3cret"] {
            let error = Endpoint::parse(url, 2).unwrap_err().to_string();
            assert!(error.starts_with("webhook URL 2") && !error.contains("s3cret"), "{error}");
        }
    }
}
