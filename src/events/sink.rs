//! Where events go.

use std::{fmt, time::Duration};

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::outgoing::Outgoing;

/// Takes events. Each has a lane of the relay to itself, so that one that is slow or down does not touch the others.
pub trait Sink: Send + Sync + fmt::Debug + 'static {
    /// Its name in metrics and dead letters: short, the same after a restart, and without secrets. At most 24 bytes.
    fn name(&self) -> &str;

    /// Takes one actor's events, in order. Bounds its own time: the relay waits for it. A repeat may come after any
    /// failure, even after none.
    fn deliver<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Why not all events were taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct SinkError {
    /// How many of them were taken, from the first on.
    pub taken: usize,
    /// Why not the next one.
    pub failure: Failure,
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The sink is not there, or not able: whatever the event. Never counts against the event.
    #[error("{why}")]
    Unavailable {
        /// For people; holds no secret.
        why: Box<str>,
        /// How long the sink asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The sink looked at the event and did not take it.
    #[error("{why}")]
    Rejected {
        /// For people; holds no secret.
        why: Box<str>,
    },
}

/// Writes events to the log, under the target `trolley::events`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Sink for Log {
    fn name(&self) -> &str {
        "log"
    }

    fn deliver<'a>(&'a self, events: &'a [Outgoing]) -> BoxFuture<'a, Result<(), SinkError>> {
        for event in events {
            tracing::info!(
                target: "trolley::events",
                id = event.id(),
                kind = event.kind().name(),
                at = %super::envelope::timestamp(event.at()),
                data = %String::from_utf8_lossy(event.body()),
                "event"
            );
        }
        ready(Ok(())).boxed()
    }
}
