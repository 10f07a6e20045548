//! Performs one lane: waits for offers, deliveries and times, and tells actors what became of their offers.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::sync::{mpsc, watch};

use super::{
    dead::DeadLetters,
    lane::{End, Lane, Now, Todo},
    outgoing::Outgoing,
    relay::Table,
    sink::{Failure, Sink, SinkError},
};
use crate::telemetry::{clock, metrics::metrics};

/// How often gauges are brought up to date.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// An offer, as every lane gets it.
pub(super) type Offered = (Arc<str>, Arc<[Outgoing]>);

/// One lane and what it works with.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) lane: Lane,
    pub(super) inbox: mpsc::Receiver<Offered>,
    pub(super) table: Arc<Table>,
    pub(super) dead: DeadLetters,
    /// Turns to `true`, or is closed, when nothing new shall begin.
    pub(super) stop: watch::Receiver<bool>,
}

/// How something under way ended.
enum Landed {
    Delivered { actor: Arc<str>, result: Result<(), SinkError>, offered: usize },
    Buried { actor: Arc<str>, until: usize, count: u64, kept: bool },
}

impl Worker {
    /// Until it is told to stop and nothing is under way any more.
    pub(super) async fn run(mut self) {
        let mut flights: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
        let mut gauges = tokio::time::interval(GAUGES_EVERY);
        let mut stopping = *self.stop.borrow();
        loop {
            while let Some(todo) = self.lane.next(&now()) {
                flights.push(self.perform(todo));
            }
            self.tell();
            if stopping && self.lane.is_idle() {
                break;
            }
            let wake = self.lane.wake_ms().map(|due_ms| due_ms.saturating_sub(clock::mono_ms()));
            tokio::select! {
                offered = self.inbox.recv(), if !stopping => match offered {
                    Some((actor, events)) => self.lane.offer(&now(), actor, events),
                    None => stopping = true,
                },
                Some(landed) = flights.next() => self.land(landed),
                () = tokio::time::sleep(Duration::from_millis(wake.unwrap_or_default())), if wake.is_some() => {}
                _ = gauges.tick() => self.show(),
                _ = self.stop.changed(), if !stopping => stopping = true,
            }
            if stopping {
                self.lane.stop();
                self.inbox.close();
                while let Ok((actor, events)) = self.inbox.try_recv() {
                    self.lane.offer(&now(), actor, events);
                }
            }
        }
    }

    fn perform(&self, todo: Todo) -> BoxFuture<'static, Landed> {
        match todo {
            Todo::Deliver { actor, events, from } => {
                let sink = self.sink.clone();
                async move {
                    let delivering = AssertUnwindSafe(async { sink.deliver(&events[from..]).await }).catch_unwind();
                    let result = delivering.await.unwrap_or_else(|_| {
                        let failure = Failure::Unavailable { why: "the sink panicked".into(), retry_after: None };
                        Err(SinkError { taken: 0, failure })
                    });
                    Landed::Delivered { actor, result, offered: events.len() - from }
                }
                .boxed()
            }
            Todo::Bury { actor, events, from, until, attempts, why } => {
                let (dead, sink) = (self.dead.clone(), self.sink.clone());
                async move {
                    let given_up = &events[from..until];
                    let putting = dead.put(sink.name(), given_up, attempts.into(), clock::now(), &why);
                    let kept = putting.await.inspect_err(|error| {
                        tracing::warn!(%error, sink = sink.name(), "a dead letter could not be kept, its actor keeps it");
                    });
                    Landed::Buried { actor, until, count: given_up.len() as u64, kept: kept.is_ok() }
                }
                .boxed()
            }
        }
    }

    fn land(&mut self, landed: Landed) {
        let (name, was_down) = (self.sink.name(), self.lane.is_down());
        match landed {
            Landed::Delivered { actor, result, offered } => {
                let taken = result.as_ref().map_or_else(|error| error.taken, |()| offered);
                let events = &metrics().events_delivered_total;
                events.with_label_values(&[name, "taken"]).inc_by(taken as u64);
                let why = result.as_ref().err().map(ToString::to_string);
                if let Err(error) = &result {
                    let outcome = match error.failure {
                        Failure::Unavailable { .. } => "unavailable",
                        Failure::Rejected { .. } => "rejected",
                    };
                    events.with_label_values(&[name, outcome]).inc();
                    tracing::debug!(sink = name, %actor, %error, "an event was not taken");
                }
                self.lane.delivered(&now(), &actor, result);
                match (was_down, self.lane.is_down()) {
                    (false, true) => tracing::warn!(sink = name, why, "a sink of events is down"),
                    (true, false) => tracing::info!(sink = name, "a sink of events is back"),
                    _ => {}
                }
            }
            Landed::Buried { actor, until, count, kept } => {
                if kept {
                    tracing::warn!(sink = name, %actor, count, "events became dead letters");
                    metrics().events_dead_lettered_total.with_label_values(&[name]).inc_by(count);
                }
                self.lane.buried(&now(), &actor, until, kept);
            }
        }
        if was_down != self.lane.is_down() {
            self.show();
        }
    }

    fn tell(&mut self) {
        for End { actor, published } in self.lane.take_ends() {
            self.table.end(&actor, published);
        }
    }

    fn show(&self) {
        let age_ms = self.lane.oldest().map_or(0, |at| clock::now().since_ms(at));
        let gauge = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        metrics().events_oldest_unsent_ms.with_label_values(&[self.sink.name()]).set(gauge(age_ms));
        metrics().events_sink_down.with_label_values(&[self.sink.name()]).set(i64::from(self.lane.is_down()));
    }
}

impl Drop for Worker {
    /// Whatever ends the task: nobody waits for an answer that cannot come.
    fn drop(&mut self) {
        self.inbox.close();
        while let Ok((actor, events)) = self.inbox.try_recv() {
            self.lane.offer(&now(), actor, events);
        }
        self.lane.abandon();
        self.tell();
    }
}

fn now() -> Now {
    // The low bits are random enough to spread retries.
    Now { mono_ms: clock::mono_ms(), wall: clock::now(), random: clock::random() as u64 }
}
