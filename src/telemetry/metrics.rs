//! Every metric of the process, on one page. The help text is the documentation.
//!
//! Names end in their unit; labels are few and closed: no id, no address, no path with an id in it.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Request and save latencies: 0.25 ms to 10 s, with an exact 10 ms (the objective for a checkout).
const LATENCY_BUCKETS_S: [f64; 19] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Times of saves: fine where a local disk answers, coarse where one that is in trouble does.
const SAVE_BUCKETS_S: [f64; 22] = [
    0.000_1, 0.000_15, 0.000_2, 0.000_25, 0.000_3, 0.000_4, 0.000_5, 0.000_6, 0.000_8, 0.001, 0.001_5, 0.002, 0.003,
    0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0,
];
/// Times in which nobody serves a shard: fine up to the objective of 50 ms, coarse up to what takeovers take.
const DARK_BUCKETS_S: [f64; 20] = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0,
    2.5, 5.0,
];
/// Commands that share one save.
const COALESCED_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $type:ident = $make:expr;)+) => {
        /// Every metric of the process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $name: $type,)+
        }

        impl Metrics {
            fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let make: fn(&str, &str) -> Result<$type, prometheus::Error> = $make;
                    let $name = make(concat!("trolley_", stringify!($name)), concat!($($help),+).trim())?;
                    registry.register(Box::new($name.clone()))?;
                )+
                Ok(Self { registry, $($name,)+ })
            }
        }
    };
}

fn counter(name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    IntCounter::new(name, help)
}
fn gauge(name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(name, help)
}
fn latency(name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS_S.to_vec()))
}

metrics! {
    /// Requests answered, by method, route template and status.
    http_requests_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["method", "route", "status"]);
    /// Seconds from the request's head to the response's head, by method and route template.
    http_request_duration_seconds: HistogramVec = |n, h| HistogramVec::new(
        HistogramOpts::new(n, h).buckets(LATENCY_BUCKETS_S.to_vec()), &["method", "route"]);
    /// Requests being answered now.
    http_requests_in_flight: IntGauge = gauge;
    /// Connections open now, by listener.
    http_connections: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["listener"]);
    /// Requests turned away at the edge before any work, by reason.
    http_shed_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["reason"]);
    /// Event streams open now.
    http_event_streams: IntGauge = gauge;
    /// Actors in memory now.
    actors_resident: IntGauge = gauge;
    /// Estimated bytes of the actors in memory now.
    actors_resident_bytes: IntGauge = gauge;
    /// Actors brought into memory.
    actor_activations_total: IntCounter = counter;
    /// Actors that left memory, by reason.
    actor_passivations_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["reason"]);
    /// Calls to payment gateways, by gateway, deed (authorise, capture, void, refund, find, abandon) and outcome: what the
    /// gateway said, not_sent, unknown, or breaker (not called, because it does not answer at present).
    payment_calls_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["gateway", "deed", "outcome"]);
    /// Seconds of a call to a payment gateway, by gateway and deed.
    payment_call_duration_seconds: HistogramVec = |n, h| HistogramVec::new(
        HistogramOpts::new(n, h).buckets(LATENCY_BUCKETS_S.to_vec()), &["gateway", "deed"]);
    /// Whether a payment gateway is asked: 0 yes, 1 one call finds out, 2 no. Alarm above 0.
    payment_breaker_state: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["gateway"]);
    /// Deeds of actors elsewhere (commands to other actors, payments), begun and tried again.
    actor_deeds_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["how"]);
    /// Seconds that a command waited between its admission and its turn.
    actor_mailbox_wait_seconds: Histogram = latency;
    /// Commands that shared one save.
    actor_coalesced_commands: Histogram =
        |n, h| Histogram::with_opts(HistogramOpts::new(n, h).buckets(COALESCED_BUCKETS.to_vec()));
    /// Keyed commands answered from their receipt.
    actor_replays_total: IntCounter = counter;
    /// Turns that panicked.
    actor_panics_total: IntCounter = counter;
    /// Actors in quarantine now: their turns panicked repeatedly. Alarm above 0.
    actors_quarantined: IntGauge = gauge;
    /// Commands refused because a queue was full or too old, by queue.
    actor_overloads_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["queue"]);
    /// Saves whose version was taken, by what had taken it.
    store_conflicts_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["head"]);
    /// Saves whose outcome was unknown at first.
    store_unknown_saves_total: IntCounter = counter;
    /// How saves of unknown outcome turned out: applied by a later attempt, landed by an earlier one, or lost.
    store_settled_saves_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["how"]);
    /// Rows claimed with the present epoch after a takeover or a start.
    actor_claims_total: IntCounter = counter;
    /// Times that this node found itself fenced by a newer epoch.
    actor_fenced_total: IntCounter = counter;
    /// Timers that woke an actor.
    agenda_wakes_total: IntCounter = counter;
    /// How many milliseconds the oldest agenda entry of all shards of this node is late; 0 = none is due.
    agenda_overdue_ms: IntGauge = gauge;
    /// Shard actors restarted after a crash.
    shard_restarts_total: IntCounter = counter;
    /// Seconds of a save, from the shard actor and back, by haste (urgent, or patient: nobody waits, and it may ride with
    /// others) and outcome: applied, ours (an earlier attempt had been applied), lost to a newer version, fenced by a newer
    /// epoch, unknown, refused.
    store_save_duration_seconds: HistogramVec = |n, h| HistogramVec::new(
        HistogramOpts::new(n, h).buckets(SAVE_BUCKETS_S.to_vec()), &["haste", "outcome"]);
    /// Seconds of a load.
    store_load_duration_seconds: Histogram = latency;
    /// Bytes of the rows saved.
    store_saved_bytes_total: IntCounter = counter;
    /// Bytes that the store takes on disk.
    store_disk_bytes: IntGauge = gauge;
    /// 1 while the store refuses writes.
    store_writes_refused: IntGauge = gauge;
    /// Times that saves were refused because the database did not answer.
    store_breaker_opened_total: IntCounter = counter;
    /// Connections that the database's driver has open.
    store_driver_connections: IntGauge = gauge;
    /// What the database's driver counts, by what: request_timeout, connection_timeout, retry.
    store_driver_events_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["what"]);
    /// Writes that one synced batch of the embedded store carried.
    store_batch_writes: Histogram =
        |n, h| Histogram::with_opts(HistogramOpts::new(n, h).buckets(COALESCED_BUCKETS.to_vec()));
    /// Events and sinks, by sink and outcome: taken, unavailable (the sink is not there, or not able), rejected.
    events_delivered_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["sink", "outcome"]);
    /// Age in milliseconds of the oldest event that this node offered to a sink and that the sink has not taken.
    events_oldest_unsent_ms: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["sink"]);
    /// 1 while a sink is left alone because it is down.
    events_sink_down: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["sink"]);
    /// Events given up and kept for an operator, by sink. Alarm on any.
    events_dead_lettered_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["sink"]);
    /// Offers of events not taken, by why: full, open (the actor's last one has not ended), stopping.
    events_offers_refused_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["why"]);
    /// Shards that this node owns.
    cluster_owned_shards: IntGauge = gauge;
    /// Attempts to renew this node's lease, by how they ended: renewed, late (sent again), lost (another took its place).
    cluster_lease_renewals_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["outcome"]);
    /// Reads answered without a lease, by answer: marked as stale, or refused as too old.
    http_stale_reads_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["answer"]);
    /// Shards adopted, each under a new epoch.
    cluster_epoch_changes_total: IntCounter = counter;
    /// Nodes that this one evicted, by what showed that they are gone: lease (it stood still), session (it was lost and
    /// connections are refused).
    cluster_evictions_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["how"]);
    /// Seconds from when a shard took no more requests here until its new owner was named.
    cluster_handover_seconds: Histogram = latency;
    /// Seconds that nobody served a shard that was handed over: from when its old owner took no more requests, by that
    /// machine's wall clock, until its actor is open here, by this one's. Clocks that differ show in it; on one machine
    /// they do not. A takeover from a dead owner is not counted.
    cluster_shard_dark_seconds: Histogram =
        |n, h| Histogram::with_opts(HistogramOpts::new(n, h).buckets(DARK_BUCKETS_S.to_vec()));
    /// Seconds that requests waited for a shard to be served again, somewhere.
    cluster_parked_seconds: Histogram = latency;
    /// Requests that wait for a shard now.
    cluster_parked: IntGauge = gauge;
    /// Requests forwarded to other nodes, by how that ended: answered, unsent, unknown.
    cluster_forwards_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["outcome"]);
    /// Forwarded requests that were routed anew, by why: moved (the node asked does not own the shard), unsent, lost (a
    /// read, or a command with a key, whose answer was lost).
    cluster_retries_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["why"]);
    /// Version of the shard map that this node follows.
    cluster_map_version: IntGauge = gauge;
    /// Sessions with other nodes that are up.
    cluster_sessions: IntGauge = gauge;
    /// Sessions with other nodes that ended, by how: reset (the connection broke), silent (nothing was heard in time),
    /// closed (one side let go).
    cluster_session_losses_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["how"]);
    /// Attempts to dial another node, by outcome: up, failed.
    cluster_dials_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["outcome"]);
    /// Envelopes that left in one batch.
    cluster_batch_envelopes: Histogram =
        |n, h| Histogram::with_opts(HistogramOpts::new(n, h).buckets(COALESCED_BUCKETS.to_vec()));
    /// Asks of other nodes that have no answer yet, by lane.
    cluster_credits_in_use: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["lane"]);
    /// Asks not sent to another node because too many had no answer yet, by lane.
    cluster_credits_refused_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["lane"]);
    /// Connections to the cluster's port that did not become a session, by reason: evicted (by newer ones that had not
    /// proven themselves either), full, timeout, tls, name, hello, incarnation, session (the cookie, or it broke).
    cluster_handshakes_refused_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["reason"]);
    /// Questions to products' stocks on behalf of their readers, by outcome: told, unopened (nobody has bought of it yet),
    /// failed (the word before stands, for a minute), unasked (too many were waiting).
    catalog_availability_refreshes_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["outcome"]);
    /// Products in the catalogue.
    catalog_products: IntGauge = gauge;
    /// Generation of the catalogue that this node serves.
    catalog_generation: IntGauge = gauge;
}

/// The process's metrics.
#[must_use]
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "names and labels are literals; every test that counts anything runs this"
        )]
        Metrics::new().expect("metric names are valid and unique")
    });
    &METRICS
}

impl Metrics {
    /// Every metric in Prometheus's text format.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}
