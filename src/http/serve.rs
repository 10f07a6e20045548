//! A listener: bounded connections, slow clients cut off, an end that finishes what it began.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::telemetry::metrics::metrics;

/// Pause after an accept that failed, as it does when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a request's head: no header of ours is long.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How a listener treats its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What the listener is called in metrics.
    pub name: &'static str,
    /// Open connections; further ones wait in the system's queue.
    pub connections_max: usize,
    /// How long a client may take to send a request's head, and keep a connection open without one.
    pub head_timeout: Duration,
    /// How long a stop waits for what is being answered.
    pub patience: Duration,
}

/// Serves until `stopping` turns true, then finishes what it began.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(HEAD_BYTES_MAX);
    let open = metrics().http_connections.with_label_values(&[limits.name]);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        let open = open.clone();
        open.inc();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early"); // a client's affair
            }
            open.dec();
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.patience, graceful.shutdown()).await.is_err() {
        tracing::warn!(listener = limits.name, "requests were still open when the time to stop was over");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // The place first: a connection that cannot be served is better off in the system's queue.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are written whole; waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}
