//! Actors on other nodes: asks their owner, and answers what other nodes ask of actors here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use thin_vec::ThinVec;
use tokio::sync::watch;

use super::{
    ask::{Answer, Ask, Effect, Failure, Key},
    cart::CartEntity,
    durable::Entity,
    handle::Handle,
    journey::{self, Nature},
    kinds::{self, Hosted},
    route::Wanted,
    view::{Render, Rendered},
};
use crate::{
    cluster::{Freshness, Lane, Links},
    codec::{
        self, DecodeError,
        record::Record,
        view,
        wire::{Failed, Question, Reply, Request},
    },
    domain::{Id, cart::Cart},
};

/// How long an owner lets a watching node wait for a change before it says that there was none.
const WATCH_WAIT: Duration = Duration::from_secs(20);
/// How much longer the watching node waits for that.
const WATCH_GRACE: Duration = Duration::from_secs(5);

/// What came of asking another node.
type Reached<E> = journey::Reached<<E as Entity>::State, <E as Entity>::Refusal>;

/// Asks a node about an actor.
pub(super) async fn ask<E: Hosted>(
    links: &dyn Links,
    node: &str,
    lane: Lane,
    request: Request,
    timeout: Duration,
) -> Reached<E> {
    let is_read = matches!(request.question, Question::Read);
    let Ok(body) = codec::wire::encode_request(request) else {
        return Reached::<E>::Failed(Failure::Internal(Effect::None)); // larger than any request that was let in
    };
    match links.ask(node, lane, body, timeout).await {
        Ok(bytes) => read_reply::<E>(&bytes, is_read),
        Err(error) => Reached::<E>::Not(error),
    }
}

/// What a node says of a cart that is to be shown.
pub(super) enum Seen {
    View(Rendered, Freshness),
    Other(Reached<CartEntity>),
}

/// Asks a node for a cart as clients read it.
pub(super) async fn see(links: &dyn Links, node: &str, request: Request, timeout: Duration) -> Seen {
    let Ok(body) = codec::wire::encode_request(request) else {
        return Seen::Other(Reached::<CartEntity>::Failed(Failure::Internal(Effect::None))); // larger than any that was let in
    };
    let bytes = match links.ask(node, Lane::Requests, body, timeout).await {
        Ok(bytes) => bytes,
        Err(error) => return Seen::Other(Reached::<CartEntity>::Not(error)),
    };
    match view::decode_view(&bytes) {
        Ok(view::View { owner, revision, stale_ms, body }) => {
            Seen::View(Rendered { owner, revision, body }, stale_ms.map_or(Freshness::Fresh, Freshness::Stale))
        }
        Err(_) => Seen::Other(read_reply::<CartEntity>(&bytes, true)), // a reply, or it says what is wrong
    }
}

fn read_reply<E: Hosted>(bytes: &[u8], is_read: bool) -> Reached<E> {
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "another node's answer cannot be read by this release");
        Reached::<E>::Failed(Failure::Internal(if is_read { Effect::None } else { Effect::Unknown }))
    };
    match codec::wire::decode_reply(bytes) {
        Ok(Reply::State { record, outcome, replayed, stale_ms, owner }) => match E::decode(&record) {
            Ok(record) => {
                let answer = Answer { state: Arc::new(record.state), outcome, replayed };
                let freshness = stale_ms.map_or(Freshness::Fresh, Freshness::Stale);
                Reached::<E>::Answer(answer, owner.map(Arc::from), freshness)
            }
            Err(error) => unreadable(&error),
        },
        Ok(Reply::NotOwner { map_version }) => Reached::<E>::Moved(map_version),
        Ok(Reply::Failed(failed)) => match failure::<E>(failed) {
            Ok(failure) => Reached::<E>::Failed(failure),
            Err(error) => unreadable(&error),
        },
        Ok(Reply::Unchanged) => Reached::<E>::Failed(Failure::Internal(Effect::None)),
        Err(error) => unreadable(&error),
    }
}

impl Handle {
    /// Follows an actor that another node owns: asks for each next state, until it moves or nobody listens.
    pub(super) fn follow<E: Hosted>(
        &self,
        id: Id,
        owner: Arc<str>,
        state: Arc<E::State>,
    ) -> watch::Receiver<Arc<E::State>> {
        let (told, receiver) = watch::channel(state);
        let handle = self.clone();
        tokio::spawn(async move {
            let Some(links) = handle.node().links.clone() else { return };
            loop {
                let seen = E::mark(&told.borrow());
                let map_version = handle.ground().routes.load().map_version;
                let question = Question::Watch { seen };
                let request = Request { hops: 1, map_version, kind: E::KIND as u8, id, question };
                let Ok(body) = codec::wire::encode_request(request) else { return };
                let asking = links.ask(&owner, Lane::Watches, body, WATCH_WAIT + WATCH_GRACE);
                let answered = tokio::select! {
                    answered = asking => answered,
                    () = told.closed() => return,
                };
                // Whatever else it is, the stream ends and its client finds the owner anew.
                let Ok(bytes) = answered else { return };
                match codec::wire::decode_reply(&bytes) {
                    Ok(Reply::Unchanged) => {}
                    Ok(Reply::State { record, .. }) => match E::decode(&record) {
                        Ok(record) => drop(told.send_replace(Arc::new(record.state))),
                        Err(_) => return,
                    },
                    _ => return,
                }
            }
        });
        receiver
    }
}

/// Answers what other nodes ask of actors here.
#[derive(Clone, Debug)]
pub struct Inbound(Handle, Render);

impl Inbound {
    /// Answers through this door, and shows carts like this.
    #[must_use]
    pub const fn new(handle: Handle, render: Render) -> Self {
        Self(handle, render)
    }

    /// The answer that needs no waiting: a read of what is in memory. Everything else is for [`Inbound::answer`].
    ///
    /// # Errors
    /// The request, where it takes more.
    pub fn answer_at_once(&self, body: &[u8]) -> Result<Vec<u8>, Box<Request>> {
        match codec::wire::decode_request(body) {
            Ok(mut request) => {
                if request.question == Question::Show {
                    if let Some(view) = self.0.shown::<CartEntity>(request.id).and_then(|cart| self.view(&cart)) {
                        return Ok(view);
                    }
                    request.question = Question::Read;
                }
                kinds::answer_at_once(&self.0, Box::new(request))
            }
            Err(error) => {
                tracing::error!(%error, "another node's request cannot be read by this release");
                Ok(unreadable())
            }
        }
    }

    /// A cart from here as clients read it; `None` = it cannot be told like this: it is too large or too old, or what its
    /// codes take off depends on the catalogue.
    fn view(&self, cart: &Cart) -> Option<Vec<u8>> {
        if !cart.codes.is_empty() {
            return None;
        }
        let body = (self.1)(cart);
        let (_, freshness) = journey::passed_on(None, self.0.freshness(), Nature::READ)?;
        let stale_ms = if let Freshness::Stale(ms) = freshness { Some(ms) } else { None };
        view::encode_view(cart.owner, cart.revision, stale_ms, &body).ok()
    }

    /// The answer, in time.
    pub async fn answer(&self, request: Request, timeout: Duration) -> Vec<u8> {
        kinds::answer(&self.0, request, timeout).await
    }
}

/// What a node is told whose request cannot be read here.
pub(super) fn unreadable() -> Vec<u8> {
    encode(Reply::Failed(Failed::Internal(false)))
}

/// See [`Inbound::answer_at_once`].
pub(super) fn answer_at_once<E: Hosted>(handle: &Handle, request: Box<Request>) -> Result<Vec<u8>, Box<Request>> {
    if matches!(request.question, Question::Read)
        && let Some(state) = handle.shown::<E>(request.id)
    {
        let answer = Answer { state, outcome: 0, replayed: false };
        return Ok(encode(handle.told::<E>(&answer, None, Nature::READ)));
    }
    Err(request)
}

/// See [`Inbound::answer`].
pub(super) async fn answer<E: Hosted>(handle: &Handle, request: Request, timeout: Duration) -> Vec<u8> {
    let Request { hops, map_version, kind: _, id, question } = request;
    let wanted = match question {
        Question::Watch { seen } => return encode(handle.watched::<E>(id, seen, timeout).await),
        Question::Read | Question::Show => Wanted::Read,
        Question::Ask { command, by, if_revision, key, deed } => {
            let Ok(command) = E::decode_command(&command) else { return unreadable() };
            let key = key.map(|(key, request)| Key { key, request });
            Wanted::Ask(Ask { command, by, if_revision, key, timeout, deed })
        }
    };
    let nature = wanted.nature();
    encode(match handle.routed_on::<E>(id, wanted, timeout, hops, map_version).await {
        Ok(told) => handle.told::<E>(&told.what, told.by, nature),
        Err(Failure::NotOwner) => handle.not_owner(),
        Err(failure) => Reply::Failed(failed::<E>(failure)),
    })
}

impl Handle {
    /// The state once it differs from what the asker has seen.
    async fn watched<E: Hosted>(&self, id: Id, seen: u64, timeout: Duration) -> Reply {
        let until = Instant::now() + timeout.min(WATCH_WAIT);
        let mut states = match self.watch_here::<E>(id, timeout).await {
            Ok(Some(states)) => states,
            // Not in memory: brought there by a read, or elsewhere.
            Ok(None) => match self.routed_on::<E>(id, Wanted::Read, timeout, journey::HOPS_MAX, 0).await {
                Ok(told) => return self.told::<E>(&told.what, told.by, Nature::READ),
                Err(_) => return self.not_owner(),
            },
            Err(_) => return self.not_owner(),
        };
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            if E::mark(&state) != seen {
                return self.told::<E>(&Answer { state, outcome: 0, replayed: false }, None, Nature::READ);
            }
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, states.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return self.not_owner(),
                Err(_) => return Reply::Unchanged,
            }
        }
    }

    fn not_owner(&self) -> Reply {
        Reply::NotOwner { map_version: self.ground().routes.load().map_version }
    }

    /// An answer from here, or passed on; what was read here was the newest if the lease lives still.
    fn told<E: Hosted>(&self, answer: &Answer<E::State>, by: Option<(Arc<str>, Freshness)>, nature: Nature) -> Reply {
        let Some((owner, freshness)) = journey::passed_on(by, self.freshness(), nature) else {
            return Reply::Failed(Failed::StoreUnavailable(false));
        };
        let stale_ms = if let Freshness::Stale(ms) = freshness { Some(ms) } else { None };
        // Its receipts are the owner's affair.
        let record = Record {
            epoch: 0,
            op_id: 0,
            state: Arc::clone(&answer.state),
            receipts: ThinVec::new(),
            unsent: Box::default(),
            armed: None,
        };
        match E::encode(&record) {
            Ok(record) => Reply::State {
                record: record.into(),
                outcome: answer.outcome,
                replayed: answer.replayed,
                stale_ms,
                owner: owner.map(|owner| owner.to_string()),
            },
            Err(_) => Reply::Failed(Failed::Internal(true)), // it came out of a row, so it fits one
        }
    }
}

fn encode(reply: Reply) -> Vec<u8> {
    codec::wire::encode_reply(reply).unwrap_or_default() // smaller than a row; an empty answer cannot be read
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn failed<E: Hosted>(failure: Failure<E::Refusal>) -> Failed {
    let is_unknown = |effect| effect == Effect::Unknown;
    match failure {
        Failure::Refused(refusal) => match E::encode_refusal(&refusal) {
            Ok(refusal) => Failed::Refused(refusal),
            Err(_) => Failed::Internal(false), // a few words
        },
        Failure::KeyReused => Failed::KeyReused,
        Failure::TooManyKeys { retry_after } => Failed::TooManyKeys(millis(retry_after)),
        Failure::Overloaded { retry_after } => Failed::Overloaded(millis(retry_after)),
        Failure::StoreUnavailable(effect) | Failure::Moving(effect) => Failed::StoreUnavailable(is_unknown(effect)),
        Failure::TimedOut(effect) => Failed::TimedOut(is_unknown(effect)),
        Failure::Quarantined { retry_after } => Failed::Quarantined(millis(retry_after)),
        Failure::Draining | Failure::NotOwner => Failed::Draining,
        Failure::Internal(effect) => Failed::Internal(is_unknown(effect)),
    }
}

fn failure<E: Hosted>(failed: Failed) -> Result<Failure<E::Refusal>, DecodeError> {
    let effect = |unknown| if unknown { Effect::Unknown } else { Effect::None };
    let after = Duration::from_millis;
    Ok(match failed {
        Failed::Refused(refusal) => Failure::Refused(E::decode_refusal(&refusal)?),
        Failed::KeyReused => Failure::KeyReused,
        Failed::TooManyKeys(ms) => Failure::TooManyKeys { retry_after: after(ms) },
        Failed::Overloaded(ms) => Failure::Overloaded { retry_after: after(ms) },
        Failed::StoreUnavailable(unknown) => Failure::StoreUnavailable(effect(unknown)),
        Failed::TimedOut(unknown) => Failure::TimedOut(effect(unknown)),
        Failed::Quarantined(ms) => Failure::Quarantined { retry_after: after(ms) },
        Failed::Draining => Failure::Draining,
        Failed::Internal(unknown) => Failure::Internal(effect(unknown)),
    })
}
