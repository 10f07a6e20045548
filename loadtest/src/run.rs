//! Sends prepared requests over many connections and measures.

use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::client::Connection;

/// What a run took.
#[derive(Debug)]
pub struct Report {
    /// Answers of status 2xx.
    pub answered: u64,
    /// Other answers and broken connections.
    pub failed: u64,
    /// How long it ran.
    pub took: Duration,
    /// Microseconds from the intended send to the answer.
    pub latency_us: Histogram<u64>,
}

impl Report {
    /// Answers per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let at = |quantile: f64| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        json!({
            "rate": self.rate(), "answered": self.answered, "failed": self.failed,
            "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": self.latency_us.max() as f64 / 1000.0,
        })
    }
}

/// Sends requests for `duration` over `connections`: as fast as they are answered, or `rate` a second in all, measured
/// from when each should have been sent. Each connection takes the requests in turn, beginning at its own place.
///
/// # Errors
/// When a connection cannot be opened.
pub fn run(
    address: &str,
    requests: Vec<Vec<u8>>,
    connections: usize,
    duration: Duration,
    rate: Option<f64>,
) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let requests = Rc::new(requests);
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Connection::open(address).await?);
        }
        let began = Instant::now();
        let every = rate.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
        let workers: Vec<_> = open
            .into_iter()
            .enumerate()
            .map(|(n, connection)| {
                let first = n * requests.len() / connections;
                let offset = every.map_or(Duration::ZERO, |every| every * n as u32 / connections as u32);
                let work =
                    Work { requests: Rc::clone(&requests), first, every, due: began + offset, end: began + duration };
                tokio::task::spawn_local(work.run(connection))
            })
            .collect();
        let mut report =
            Report { answered: 0, failed: 0, took: duration, latency_us: histogram().map_err(io::Error::other)? };
        for worker in workers {
            let (answered, failed, latency_us) = worker.await.map_err(io::Error::other)??;
            report.answered += answered;
            report.failed += failed;
            report.latency_us.add(latency_us).map_err(io::Error::other)?;
        }
        report.took = began.elapsed();
        Ok(report)
    })
}

/// One microsecond to one minute, three digits.
fn histogram() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    Histogram::new_with_bounds(1, 60_000_000, 3)
}

/// How much earlier than asked for a timer is set.
const TIMER_COARSE: Duration = Duration::from_millis(2);

struct Work {
    requests: Rc<Vec<Vec<u8>>>,
    first: usize,
    every: Option<Duration>,
    due: Instant,
    end: Instant,
}

impl Work {
    async fn run(mut self, mut connection: Connection) -> io::Result<(u64, u64, Histogram<u64>)> {
        let (mut answered, mut failed) = (0, 0);
        let mut latency_us = histogram().map_err(io::Error::other)?;
        let mut next = self.first;
        loop {
            if let Some(every) = self.every {
                // A timer is a millisecond coarse: the last of the wait is spent looking at the clock.
                tokio::time::sleep_until((self.due - TIMER_COARSE).into()).await;
                while Instant::now() < self.due {
                    tokio::task::yield_now().await;
                }
                self.due += every;
            }
            let sent = if let Some(every) = self.every { self.due - every } else { Instant::now() };
            if Instant::now() >= self.end {
                return Ok((answered, failed, latency_us));
            }
            match connection.exchange(&self.requests[next % self.requests.len()]).await {
                Ok(200..300) => answered += 1,
                Ok(_) => failed += 1,
                Err(error) => return Err(error),
            }
            latency_us.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
            next += 1;
        }
    }
}
