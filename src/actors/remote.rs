//! Actors on other nodes: asks their owner, and answers what other nodes ask of actors here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    ask::{Answer, Ask, Effect, Failure, Key},
    handle::{CartFailure, Handle},
    journey::{self, Nature},
    route::Wanted,
};
use crate::{
    cluster::{Freshness, Lane, Links},
    codec::{
        self,
        record::Record,
        wire::{self, Failed, Question, Reply, Request},
    },
    domain::{
        CartId,
        cart::{Cart, Refusal},
    },
};

/// How long an owner lets a watching node wait for a change before it says that there was none.
const WATCH_WAIT: Duration = Duration::from_secs(20);
/// How much longer the watching node waits for that.
const WATCH_GRACE: Duration = Duration::from_secs(5);

/// What came of asking another node.
pub(super) type Reached = journey::Reached<Cart, Refusal>;

/// Asks a node about a cart.
pub(super) async fn ask(links: &dyn Links, node: &str, request: Request, timeout: Duration) -> Reached {
    let is_read = matches!(request.question, Question::Read);
    let Ok(body) = codec::wire::encode_request(request) else {
        return Reached::Failed(Failure::Internal(Effect::None)); // larger than any request that was let in
    };
    match links.ask(node, Lane::Requests, body, timeout).await {
        Ok(bytes) => read_reply(&bytes, is_read),
        Err(error) => Reached::Not(error),
    }
}

fn read_reply(bytes: &[u8], is_read: bool) -> Reached {
    let unreadable = |error: codec::DecodeError| {
        tracing::error!(%error, "another node's answer cannot be read by this release");
        Reached::Failed(Failure::Internal(if is_read { Effect::None } else { Effect::Unknown }))
    };
    match codec::wire::decode_reply(bytes) {
        Ok(Reply::Cart { record, outcome, replayed, stale_ms, owner }) => match codec::decode_cart(&record) {
            Ok(record) => {
                let answer = Answer { state: Arc::new(record.state), outcome, replayed };
                let freshness = stale_ms.map_or(Freshness::Fresh, Freshness::Stale);
                Reached::Answer(answer, owner.map(Arc::from), freshness)
            }
            Err(error) => unreadable(error),
        },
        Ok(Reply::NotOwner { map_version }) => Reached::Moved(map_version),
        Ok(Reply::Failed(failed)) => Reached::Failed(failure(failed)),
        Ok(Reply::Unchanged) => Reached::Failed(Failure::Internal(Effect::None)),
        Err(error) => unreadable(error),
    }
}

impl Handle {
    /// Follows a cart that another node owns: asks for each next state, until the cart moves or nobody listens.
    pub(super) fn follow(&self, id: CartId, owner: Arc<str>, cart: Arc<Cart>) -> watch::Receiver<Arc<Cart>> {
        let (told, receiver) = watch::channel(cart);
        let handle = self.clone();
        tokio::spawn(async move {
            let Some(links) = handle.node().links.clone() else { return };
            loop {
                let seen = told.borrow().revision;
                let map_version = handle.ground().routes.load().map_version;
                let request = Request { hops: 1, map_version, cart: id, question: Question::Watch { seen } };
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
                    Ok(Reply::Cart { record, .. }) => match codec::decode_cart(&record) {
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
pub struct Inbound(Handle);

impl Inbound {
    /// Answers through this door.
    #[must_use]
    pub const fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The answer that needs no waiting: a read of what is in memory. Everything else is for [`Inbound::answer`].
    ///
    /// # Errors
    /// The request, where it takes more.
    pub fn answer_at_once(&self, body: &[u8]) -> Result<Vec<u8>, Box<Request>> {
        let request = match codec::wire::decode_request(body) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(%error, "another node's request cannot be read by this release");
                return Ok(encode(Reply::Failed(Failed::Internal(false))));
            }
        };
        if matches!(request.question, Question::Read)
            && let Some(cart) = self.0.shown(request.cart)
        {
            let answer = Answer { state: cart, outcome: 0, replayed: false };
            return Ok(encode(self.told(&answer, None, Nature::READ)));
        }
        Err(Box::new(request))
    }

    /// The answer, in time.
    pub async fn answer(&self, request: Request, timeout: Duration) -> Vec<u8> {
        let Request { hops, map_version, cart, question } = request;
        let wanted = match question {
            Question::Watch { seen } => return encode(self.watched(cart, seen, timeout).await),
            Question::Read => Wanted::Read,
            Question::Ask { command, by, if_revision, key } => {
                let key = key.map(|(key, request)| Key { key, request });
                Wanted::Ask(Ask { command, by, if_revision, key, timeout })
            }
        };
        let nature = wanted.nature();
        encode(match self.0.routed_on(cart, wanted, timeout, hops, map_version).await {
            Ok(told) => self.told(&told.what, told.by, nature),
            Err(Failure::NotOwner) => self.not_owner(),
            Err(failure) => Reply::Failed(failed(failure)),
        })
    }

    /// The cart once it differs from what the asker has seen.
    async fn watched(&self, cart: CartId, seen: u64, timeout: Duration) -> Reply {
        let until = Instant::now() + timeout.min(WATCH_WAIT);
        let mut carts = match self.0.watch_here(cart, timeout).await {
            Ok(Some(carts)) => carts,
            // Not in memory: brought there by a read, or elsewhere.
            Ok(None) => match self.0.routed_on(cart, Wanted::Read, timeout, journey::HOPS_MAX, 0).await {
                Ok(told) => return self.told(&told.what, told.by, Nature::READ),
                Err(_) => return self.not_owner(),
            },
            Err(_) => return self.not_owner(),
        };
        loop {
            let state = Arc::clone(&carts.borrow_and_update());
            if state.revision != seen {
                return self.told(&Answer { state, outcome: 0, replayed: false }, None, Nature::READ);
            }
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, carts.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return self.not_owner(),
                Err(_) => return Reply::Unchanged,
            }
        }
    }

    fn not_owner(&self) -> Reply {
        Reply::NotOwner { map_version: self.0.ground().routes.load().map_version }
    }

    /// An answer from here, or passed on; what was read here was the newest if the lease lives still.
    fn told(&self, answer: &Answer<Cart>, by: Option<(Arc<str>, Freshness)>, nature: Nature) -> Reply {
        let Some((owner, freshness)) = journey::passed_on(by, self.0.freshness(), nature) else {
            return Reply::Failed(Failed::StoreUnavailable(false));
        };
        let stale_ms = if let Freshness::Stale(ms) = freshness { Some(ms) } else { None };
        // Its receipts are the owner's affair.
        let record = Record {
            epoch: 0,
            op_id: 0,
            state: Arc::clone(&answer.state),
            receipts: Vec::new(),
            unsent: Box::default(),
            effects: Box::default(),
            armed: None,
        };
        match codec::encode_cart(&record) {
            Ok(record) => Reply::Cart {
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

fn failed(failure: CartFailure) -> Failed {
    let is_unknown = |effect| effect == Effect::Unknown;
    match failure {
        Failure::Refused(refusal) => Failed::Refused(refusal),
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

fn failure(failed: wire::Failed) -> CartFailure {
    let effect = |unknown| if unknown { Effect::Unknown } else { Effect::None };
    let after = Duration::from_millis;
    match failed {
        Failed::Refused(refusal) => Failure::Refused(refusal),
        Failed::KeyReused => Failure::KeyReused,
        Failed::TooManyKeys(ms) => Failure::TooManyKeys { retry_after: after(ms) },
        Failed::Overloaded(ms) => Failure::Overloaded { retry_after: after(ms) },
        Failed::StoreUnavailable(unknown) => Failure::StoreUnavailable(effect(unknown)),
        Failed::TimedOut(unknown) => Failure::TimedOut(effect(unknown)),
        Failed::Quarantined(ms) => Failure::Quarantined { retry_after: after(ms) },
        Failed::Draining => Failure::Draining,
        Failed::Internal(unknown) => Failure::Internal(effect(unknown)),
    }
}
