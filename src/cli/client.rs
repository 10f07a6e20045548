//! Asks the running node's operators' listener.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;

use super::config::Config;

/// How long the node may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the node says to a GET of this path; `None` = no node listens there.
pub(super) async fn get(config: &Config, path: &str) -> Result<Option<(StatusCode, Bytes)>, String> {
    ask(config, Method::GET, path).await
}

/// The same for a POST without a body.
pub(super) async fn post(config: &Config, path: &str) -> Result<Option<(StatusCode, Bytes)>, String> {
    ask(config, Method::POST, path).await
}

async fn ask(config: &Config, method: Method, path: &str) -> Result<Option<(StatusCode, Bytes)>, String> {
    let Ok(stream) = tokio::net::TcpStream::connect(config.admin_listen).await else { return Ok(None) };
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, config.admin_listen.to_string());
        if let Some(token) = &config.admin_token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let request = request.body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.map_err(|error| Box::new(error) as Error)?).await?;
        let status = answer.status();
        Ok::<_, Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(error)) => Err(format!("{} does not answer as a node does: {error}", config.admin_listen)),
        Err(_) => Err(format!("{} took too long to answer", config.admin_listen)),
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;
