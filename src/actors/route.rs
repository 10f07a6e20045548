//! Finds an actor's owner and asks it, here or on another node: the two-hop bound, what is asked again and what is not,
//! and where requests wait while a shard is nobody's.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    ask::{Answer, Ask, Effect, Failure, Told},
    durable::Entity,
    handle::Handle,
    journey::{self, Entrance, Journey, Nature, Reached, Way},
    kinds::{Hosted, To},
    remote,
    residents::Ticket,
    system::Served,
};
use crate::{
    cluster::{AskError, Lane, NotSent},
    codec::{EncodeError, wire},
    domain::Id,
    telemetry::metrics::metrics,
};

/// Most requests that wait for a shard at once on one node: two seconds' worth of a node's usual load.
pub(super) const PARKED_MAX: usize = 8 * 1024;
/// A request that waits looks again after so long, whether anything was told or not: sessions come without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Next<E> = journey::Next<<E as Entity>::State, <E as Entity>::Refusal>;

/// What is wanted of an actor.
#[derive(Debug)]
pub(super) enum Wanted<E: Entity> {
    Read,
    Ask(Ask<E::Command>),
}

impl<E: Hosted> Wanted<E> {
    /// A deed is not asked for again on the way, though that would do no harm: whoever began it must know how often it was.
    pub(super) const fn nature(&self) -> Nature {
        match self {
            Self::Read => Nature::READ,
            Self::Ask(ask) => Nature { is_read: false, is_repeatable: ask.key.is_some() },
        }
    }

    fn question(&self) -> Result<wire::Question, EncodeError> {
        Ok(match self {
            Self::Read => wire::Question::Read,
            Self::Ask(ask) => wire::Question::Ask {
                command: E::encode_command(&ask.command)?,
                by: ask.by,
                if_revision: ask.if_revision,
                key: ask.key.map(|key| (key.key, key.request)),
                deed: ask.deed,
            },
        })
    }

    /// Deeds between actors have lanes of their own: shoppers' requests cannot use up their credits.
    const fn lane(&self) -> Lane {
        match self {
            Self::Ask(ask) if ask.deed.is_some() => Lane::Commands,
            _ => Lane::Requests,
        }
    }
}

impl Handle {
    /// Asks whoever owns the actor.
    pub(super) async fn routed<E: Hosted>(
        &self,
        id: Id,
        wanted: Wanted<E>,
        timeout: Duration,
    ) -> Result<Told<Answer<E::State>>, Failure<E::Refusal>> {
        self.routed_on(id, wanted, timeout, 0, 0).await
    }

    /// The same for a request that was forwarded so often, by a map of this version.
    pub(super) async fn routed_on<E: Hosted>(
        &self,
        id: Id,
        wanted: Wanted<E>,
        timeout: Duration,
        hops: u8,
        map_version: u64,
    ) -> Result<Told<Answer<E::State>>, Failure<E::Refusal>> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut journey = Journey::new(hops);
        let mut changes = self.ground().changes.subscribe();
        let mut parked: Option<Parked> = None;
        let mut newer_than = map_version;
        loop {
            changes.mark_unchanged();
            let served = self.served(id.slot());
            let entrance = served.as_ref().map_or(Entrance::Absent, |served| served.door.entrance());
            let routes = self.ground().routes.load();
            let way = journey::way(entrance, self.node().links.is_some(), &routes, id.slot(), newer_than);
            drop(routes); // held over no wait
            let next = match (way, served) {
                (Way::Here, Some(served)) => self.here(&served, id, &wanted, left()).await,
                (Way::There(_), _) if journey.is_at_its_end() => {
                    // Told to the one who asked, who knows a newer map by now or will.
                    Next::<E>::Answer(Err(Failure::NotOwner))
                }
                (Way::There(node), _) => self.there(&node, id, &wanted, left(), &mut journey).await,
                (Way::Wait | Way::Here, _) => Next::<E>::Again(newer_than),
                (Way::Nowhere, _) => Next::<E>::Answer(Err(Failure::NotOwner)),
            };
            match next {
                Next::<E>::Answer(Ok(told)) => return Ok(told),
                Next::<E>::Answer(Err(failure)) => return Err(journey.failed(failure)),
                Next::<E>::Again(version) => newer_than = newer_than.max(version),
            }
            if self.ground().closed.load(Ordering::Relaxed) {
                return Err(journey.failed(Failure::Draining));
            }
            let left = left();
            if left.is_zero() {
                return Err(journey.failed(Failure::Moving(Effect::None)));
            }
            if parked.is_none() {
                let Ok(place) = self.parking().try_acquire() else {
                    metrics().actor_overloads_total.with_label_values(&["parking"]).inc();
                    return Err(journey.failed(Failure::Overloaded { retry_after: Duration::from_secs(1) }));
                };
                parked = Some(Parked::new(place));
            }
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), changes.changed()).await; // either way it looks again
        }
    }

    async fn here<E: Hosted>(&self, served: &Served, id: Id, wanted: &Wanted<E>, timeout: Duration) -> Next<E> {
        let outcome = match wanted {
            Wanted::Read => {
                let read = |since_ms, ticket: Ticket<E>| To::<E>::Read { timeout, since_ms, ticket };
                match self.exchange(served, id, timeout, read).await {
                    // A read has no effect wherever it was lost.
                    Err(Failure::Moving(_)) => Err(Failure::NotOwner),
                    // The shard crashed and is up again: a read has no effect, so it may be asked twice.
                    Err(Failure::Internal(Effect::Unknown)) => self.exchange(served, id, timeout, read).await,
                    other => other,
                }
            }
            Wanted::Ask(ask) => {
                let ask = Box::new(Ask { timeout, ..ask.clone() });
                let message = |since_ms, ticket: Ticket<E>| To::Ask { ask, since_ms, ticket };
                self.exchange(served, id, timeout, message).await
            }
        };
        Journey::after_here(outcome)
    }

    async fn there<E: Hosted>(
        &self,
        node: &Arc<str>,
        id: Id,
        wanted: &Wanted<E>,
        timeout: Duration,
        journey: &mut Journey,
    ) -> Next<E> {
        let Some(links) = &self.node().links else { return Next::<E>::Again(0) };
        let Some((to, hops)) = journey.leg(node, links.is_up(node), || links.up()) else { return Next::<E>::Again(0) };
        let map_version = self.ground().routes.load().map_version;
        let Ok(question) = wanted.question() else {
            return Next::<E>::Answer(Err(Failure::Internal(Effect::None))); // larger than any request that was let in
        };
        let request = wire::Request { hops, map_version, kind: E::KIND as u8, id, question };
        let reached = remote::ask::<E>(&**links, &to, wanted.lane(), request, timeout).await;
        count(&reached, wanted.nature());
        journey.after_there(reached, to, wanted.nature())
    }
}

/// Counts an answer of another node.
pub(super) fn count_answered() {
    metrics().cluster_forwards_total.with_label_values(&["answered"]).inc();
}

/// Counts what came of asking another node.
pub(super) fn count<S, R>(reached: &Reached<S, R>, nature: Nature) {
    let forwards = &metrics().cluster_forwards_total;
    let again = |why| metrics().cluster_retries_total.with_label_values(&[why]).inc();
    match reached {
        Reached::Moved(_) | Reached::Failed(Failure::Draining) => again("moved"),
        Reached::Answer(..) | Reached::Failed(_) => count_answered(),
        Reached::Not(AskError::NotSent(NotSent::NoCredit | NotSent::TooLarge)) => {
            forwards.with_label_values(&["unsent"]).inc()
        }
        Reached::Not(AskError::NotSent(NotSent::NoSession)) => again("unsent"),
        Reached::Not(AskError::Lost | AskError::TimedOut) => {
            forwards.with_label_values(&["unknown"]).inc();
            if nature.is_repeatable {
                again("lost");
            }
        }
    }
}

/// A request that waits for a shard.
struct Parked<'a> {
    since: Instant,
    _place: tokio::sync::SemaphorePermit<'a>,
}

impl<'a> Parked<'a> {
    fn new(place: tokio::sync::SemaphorePermit<'a>) -> Self {
        metrics().cluster_parked.inc();
        Self { since: Instant::now(), _place: place }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        metrics().cluster_parked.dec();
        metrics().cluster_parked_seconds.observe(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ask, Wanted};
    use crate::{
        actors::{Key, stock::StockEntity},
        domain::{Try, stock::Command},
    };

    /// An actor is told of a deed whether it was asked for once; asked for again on its way, it would be told wrongly.
    #[test]
    fn a_deed_is_not_asked_for_again_on_its_way() {
        let timeout = Duration::from_secs(1);
        let ask =
            |key| Ask { command: Command::Expire, by: None, if_revision: None, key, timeout, deed: Some(Try::First) };
        assert!(!Wanted::<StockEntity>::Ask(ask(None)).nature().is_repeatable);
        assert!(Wanted::<StockEntity>::Ask(ask(Some(Key { key: 1, request: 1 }))).nature().is_repeatable);
    }
}
