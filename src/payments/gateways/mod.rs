//! The gateways of this shop, by name: each asked with bounded patience, and left alone while it does not answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hyper::HeaderMap;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::{
    breaker::{Breaker, BreakerState},
    gateway::{Abandon, Failure, Find, Found, Gateway, Webhook, WebhookError},
};
use crate::{
    domain::{
        UnixMillis,
        payment::{Abandoned, Authorise, Authorised, Deed, Moved},
    },
    telemetry::{clock, metrics::metrics},
};

/// Names the payment of what costs nothing, as a gateway names others.
const NOTHING_TO_PAY: &str = "nothing_to_pay";

/// How patiently gateways are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long one call may take; its outcome is unknown then.
    pub call_timeout: Duration,
    /// With less time than this before the caller's deadline no call is begun: it would only end in doubt.
    pub call_min: Duration,
    /// Calls for one deed, the first among them. Whoever keeps the deed asks again later, so a few are enough.
    pub calls_max: u32,
    /// Pause before the second call; doubles, and is drawn anew between nothing and that.
    pub pause_min: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for Limits {
    /// Card networks answer within a few seconds, and give up after some ten.
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            call_min: Duration::from_millis(50),
            calls_max: 4,
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(1),
        }
    }
}

#[derive(Debug)]
struct Guarded {
    gateway: Arc<dyn Gateway>,
    breaker: Mutex<Breaker>,
}

impl Guarded {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gateways of this shop.
#[derive(Debug, Default)]
pub struct Gateways {
    by_name: BTreeMap<Box<str>, Guarded>,
    limits: Limits,
}

impl Gateways {
    /// These gateways under these names; names become labels of metrics.
    #[must_use]
    pub fn new(gateways: impl IntoIterator<Item = (Box<str>, Arc<dyn Gateway>)>, limits: Limits) -> Self {
        let guarded = |gateway| Guarded { gateway, breaker: Mutex::default() };
        let by_name = gateways.into_iter().map(|(name, gateway)| (name, guarded(gateway))).collect();
        Self { by_name, limits }
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(AsRef::as_ref)
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether a gateway is asked at present; `None` = there is none of this name.
    #[must_use]
    pub fn breaker(&self, name: &str) -> Option<BreakerState> {
        self.by_name.get(name).map(|guarded| guarded.breaker().state())
    }

    /// Reserves money. Nothing to pay is reserved without a gateway: many refuse to be asked for nothing.
    ///
    /// # Errors
    /// [`Failure::Unknown`] once any call of this deed may have reached the gateway, else [`Failure::NotSent`].
    pub async fn authorise(&self, ask: Authorise, deadline: Instant) -> Result<Authorised, Failure> {
        if ask.amount.amount == 0 {
            return Ok(Authorised::Yes { reference: NOTHING_TO_PAY.into() });
        }
        let outcome = |answer: &Authorised| match answer {
            Authorised::Yes { .. } => "yes",
            Authorised::Declined { .. } => "declined",
            Authorised::ActionRequired { .. } => "action_required",
            Authorised::Unavailable => "unavailable",
        };
        let call = |gateway: &dyn Gateway| gateway.authorise(ask.clone());
        self.deed(&ask.gateway, "authorise", deadline, outcome, call).await
    }

    /// Moves reserved money to the shop.
    ///
    /// # Errors
    /// As [`authorise`](Self::authorise).
    pub async fn capture(&self, deed: Deed, deadline: Instant) -> Result<Moved, Failure> {
        self.deed(&deed.gateway, "capture", deadline, moved, |gateway| gateway.capture(deed.clone())).await
    }

    /// Frees reserved money.
    ///
    /// # Errors
    /// As [`authorise`](Self::authorise).
    pub async fn void(&self, deed: Deed, deadline: Instant) -> Result<Moved, Failure> {
        self.deed(&deed.gateway, "void", deadline, moved, |gateway| gateway.void(deed.clone())).await
    }

    /// Moves captured money back.
    ///
    /// # Errors
    /// As [`authorise`](Self::authorise).
    pub async fn refund(&self, deed: Deed, deadline: Instant) -> Result<Moved, Failure> {
        self.deed(&deed.gateway, "refund", deadline, moved, |gateway| gateway.refund(deed.clone())).await
    }

    /// Looks a payment up; `None` decides nothing.
    ///
    /// # Errors
    /// As [`authorise`](Self::authorise).
    pub async fn find(&self, find: Find, deadline: Instant) -> Result<Option<Found>, Failure> {
        let outcome = |found: &Option<Found>| if found.is_some() { "found" } else { "not_found" };
        self.deed(&find.gateway, "find", deadline, outcome, |gateway| gateway.find(find.clone())).await
    }

    /// Makes sure that no authorisation under the key can succeed any more.
    ///
    /// # Errors
    /// As [`authorise`](Self::authorise).
    pub async fn abandon(&self, abandon: Abandon, deadline: Instant) -> Result<Abandoned, Failure> {
        if abandon.amount.amount == 0 {
            return Ok(Abandoned::Nothing);
        }
        let outcome = |answer: &Abandoned| match answer {
            Abandoned::Nothing => "nothing",
            Abandoned::Authorised { .. } => "authorised",
        };
        let call = |gateway: &dyn Gateway| gateway.abandon(abandon.clone());
        self.deed(&abandon.gateway, "abandon", deadline, outcome, call).await
    }

    /// Reads a message that claims to be a gateway's.
    ///
    /// # Errors
    /// [`WebhookError`] unless it is signed, fresh and about a payment.
    pub fn parse_webhook(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<Webhook, WebhookError> {
        self.by_name.get(name).ok_or(WebhookError::None)?.gateway.parse_webhook(headers, body, now)
    }

    async fn deed<T>(
        &self,
        name: &str,
        deed: &'static str,
        deadline: Instant,
        outcome: impl Fn(&T) -> &'static str,
        call: impl Fn(&dyn Gateway) -> BoxFuture<'static, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(guarded) = self.by_name.get(name) else {
            return Err(Failure::not_sent("no gateway of this name is configured"));
        };
        let counted = |outcome: &str| metrics().payment_calls_total.with_label_values(&[name, deed, outcome]).inc();
        // Once a call is in doubt, what a later one says of itself does not settle it.
        let mut doubt = None;
        let mut pause = self.limits.pause_min;
        let mut calls = 0;
        let failure = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < self.limits.call_min {
                break Failure::not_sent("there was no time left");
            }
            if !self.admits(name, guarded) {
                counted("breaker");
                break Failure::not_sent("the gateway does not answer at present");
            }
            let patience = left.min(self.limits.call_timeout);
            let began = Instant::now();
            let answer = timeout(patience, call(&*guarded.gateway)).await;
            metrics()
                .payment_call_duration_seconds
                .with_label_values(&[name, deed])
                .observe(began.elapsed().as_secs_f64());
            let answer = answer.unwrap_or_else(|_| Err(Failure::unknown("no answer in time")));
            self.tell(name, guarded, answer.is_ok());
            let failure = match answer {
                Ok(answer) => {
                    counted(outcome(&answer));
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            counted(if matches!(failure, Failure::NotSent(_)) { "not_sent" } else { "unknown" });
            warn!(gateway = name, deed, why = %failure, "a payment gateway did not answer");
            if matches!(failure, Failure::Unknown(_)) {
                doubt.get_or_insert_with(|| failure.clone());
            }
            calls += 1;
            let wait = jittered(pause);
            if calls >= self.limits.calls_max || deadline.saturating_duration_since(Instant::now()) <= wait {
                break failure;
            }
            sleep(wait).await;
            pause = (pause * 2).min(self.limits.pause_max);
        };
        Err(doubt.unwrap_or(failure))
    }

    fn admits(&self, name: &str, guarded: &Guarded) -> bool {
        let mut breaker = guarded.breaker();
        let admits = breaker.admits(clock::mono_ms());
        show(name, breaker.state());
        admits
    }

    fn tell(&self, name: &str, guarded: &Guarded, answered: bool) {
        let mut breaker = guarded.breaker();
        let before = breaker.state();
        if answered {
            breaker.succeeded()
        } else {
            breaker.failed(clock::mono_ms())
        }
        let after = breaker.state();
        show(name, after);
        drop(breaker);
        if before != after {
            warn!(gateway = name, breaker = ?after, "whether a payment gateway is asked has changed");
        }
    }
}

fn moved(answer: &Moved) -> &'static str {
    match answer {
        Moved::Yes => "yes",
        Moved::Refused { .. } => "refused",
    }
}

fn show(name: &str, state: BreakerState) {
    metrics().payment_breaker_state.with_label_values(&[name]).set(state as i64);
}

/// Somewhere between nothing and `pause`: callers that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let part = (clock::random() & 0xffff) as u32;
    pause * part / 0x1_0000
}

#[cfg(test)]
mod tests;
