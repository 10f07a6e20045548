//! Looks after the database's health for as long as the store lives: probes it after failures, looks at the schema now
//! and then, and counts what the driver counts.

use std::{sync::Weak, time::Duration};

use scylla::observability::metrics::Metrics as DriverMetrics;
use tokio::time::Instant;

use super::{Inner, lock, migrate};
use crate::{
    store::{Kind, Reason},
    telemetry::metrics::metrics,
};

/// Pause between two probes while something is in doubt: what comes back is noticed within it and the probe's own time.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Pause between two looks at what changes seldom.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Runs until the store is dropped.
pub(super) async fn run(store: Weak<Inner>) {
    let mut driver = DriverCounts::default();
    let mut look_at = Instant::now();
    loop {
        let Some(inner) = store.upgrade() else { return };
        let is_in_doubt = lock(&inner.breaker).is_in_doubt();
        // Not while something is in doubt: a database that hangs would keep the probes waiting.
        if look_at <= Instant::now() && !is_in_doubt {
            look_at = Instant::now() + LOOK_EVERY;
            driver.publish(&inner.session.get_metrics());
            look_at_schema(&inner).await;
        }
        if is_in_doubt {
            // A failure is counted where it is noticed.
            let _ = inner.probe(Kind::Keys).await;
            drop(inner);
            tokio::time::sleep(PROBE_EVERY).await;
        } else {
            // Ended by the store's drop, whichever it waits for.
            let _ = tokio::time::timeout_at(look_at, inner.doubt.notified()).await;
        }
    }
}

/// A newer release may have migrated meanwhile: what this one cannot work with makes the node not ready.
async fn look_at_schema(inner: &Inner) {
    // A database that is away says nothing about its schema.
    let Ok(status) = migrate::status(&inner.session, &inner.keyspace).await else { return };
    let wrong = (!status.is_usable()).then(|| Reason::new(format!("{status}: {}", status.fix())));
    let mut known = lock(&inner.wrong_schema);
    if *known != wrong {
        match &wrong {
            Some(reason) => tracing::error!(%reason, "the schema does not fit this release"),
            None => tracing::info!("the schema fits this release again"),
        }
        *known = wrong;
    }
}

/// What the driver had counted when it was last looked at.
#[derive(Debug, Default)]
struct DriverCounts {
    request_timeouts: u64,
    connection_timeouts: u64,
    retries: u64,
}

impl DriverCounts {
    fn publish(&mut self, driver: &DriverMetrics) {
        let metrics = metrics();
        metrics.store_driver_connections.set(i64::try_from(driver.get_total_connections()).unwrap_or(i64::MAX));
        let grown = |before: &mut u64, now: u64| {
            let by = now.saturating_sub(*before);
            *before = now;
            by
        };
        let count = |what: &str, by| metrics.store_driver_events_total.with_label_values(&[what]).inc_by(by);
        count("request_timeout", grown(&mut self.request_timeouts, driver.get_request_timeouts()));
        count("connection_timeout", grown(&mut self.connection_timeouts, driver.get_connection_timeouts()));
        count("retry", grown(&mut self.retries, driver.get_retries_num()));
    }
}
