//! A kept connection to one listener of one node, and questions over it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest answer: a full cart, or a page of products, is far smaller.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// One node's listener.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) token: Option<String>,
    pub(super) key: Option<String>,
    /// The ETag that a change is made upon.
    pub(super) if_match: Option<String>,
    pub(super) body: Option<String>,
}

impl Question {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), token: None, key: None, if_match: None, body: None }
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// It may not be the newest.
    pub(super) is_stale: bool,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Door {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Asks once; `None` = no answer, whatever came of it.
    pub(super) async fn ask(&mut self, question: &Question, patience: Duration) -> Option<Answer> {
        // Taken out, so that a connection on which an answer may still come is not used again.
        let sender = self.sender.take();
        let (answer, sender) =
            tokio::time::timeout(patience, exchange(self.address, sender, question)).await.ok()??;
        self.sender = Some(sender);
        Some(answer)
    }
}

async fn exchange(
    address: SocketAddr,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
    question: &Question,
) -> Option<(Answer, http1::SendRequest<Full<Bytes>>)> {
    let mut kept = sender;
    let is_open = match kept.as_mut() {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    let mut sender = match kept {
        Some(sender) if is_open => sender,
        _ => {
            let stream = TcpStream::connect(address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection); // ends with its sender
            sender
        }
    };
    let Question { method, path, token, key, if_match, body } = question;
    let mut request = Request::builder().method(method.clone()).uri(path).header(header::HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if let Some(tag) = if_match {
        request = request.header(header::IF_MATCH, tag);
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::from(body.clone().unwrap_or_default())).ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let (status, is_stale) = (answer.status(), answer.headers().contains_key("trolley-stale"));
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?.to_bytes();
    Some((Answer { status, is_stale, body }, sender))
}
