//! Brings a request to the service: kept connections, one try after another through any node, until success, a refusal
//! for good, or ten seconds after it should have been sent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    client::{Answer, Connection},
    failure::{Effect, Failure},
    nodes::{Node, Nodes},
};

/// A request counts as good when it has succeeded by then, from when it should have been sent.
pub const GOOD_WITHIN: Duration = Duration::from_secs(10);
/// How long a try of what may be repeated waits: then another node may do better. Others wait as long as there is.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after the first failed try; it doubles up to the longest. Another node may answer at once, and a cluster in
/// which a cart is moving is not to be stormed.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_millis(320);
/// Most idle connections that are kept to one address.
const IDLE_MAX: usize = 4096;

/// The service, as its shoppers reach it.
#[derive(Debug)]
pub struct Service {
    /// Where it is.
    pub nodes: Nodes,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

/// A request, and what sending it twice would mean.
#[derive(Clone, Debug)]
pub struct Ask {
    /// As sent.
    pub bytes: Vec<u8>,
    /// Reads and what has an `Idempotency-Key`: sending it again does no harm.
    pub may_repeat: bool,
}

/// What became of a request in the end.
#[derive(Debug)]
pub struct Settled {
    /// The answer and who gave it, or why there is none; the effect covers all tries.
    pub end: Result<(Answer, Arc<Node>), (Failure, Effect)>,
    /// Why the first try failed, if it did.
    pub first: Option<Failure>,
    /// How many tries there were.
    pub tries: u32,
}

impl Service {
    /// A service at these nodes.
    #[must_use]
    pub fn new(nodes: Nodes) -> Self {
        Self { nodes, idle: Mutex::default() }
    }

    /// Brings a request, due at `due`, to its end. The first try avoids a node, if asked to.
    pub async fn settle(&self, ask: &Ask, due: Instant, avoid: Option<&str>) -> Settled {
        self.settle_unless(ask, due, avoid, &[]).await
    }

    /// The same. Problems of these codes are ends too, whether or not another try might do better.
    pub async fn settle_unless(&self, ask: &Ask, due: Instant, avoid: Option<&str>, ends: &[&str]) -> Settled {
        let deadline = due + GOOD_WITHIN;
        let (mut avoid, mut pause) = (avoid.map(str::to_owned), PAUSE_FIRST);
        let (mut first, mut tries, mut effect) = (None, 0, Effect::None);
        loop {
            let node = self.nodes.next(avoid.as_deref());
            let left = deadline.saturating_duration_since(Instant::now());
            let time = if ask.may_repeat { left.min(TRY_TIMEOUT) } else { left };
            tries += 1;
            let failure = match &node {
                Some(node) => match self.attempt(node, &ask.bytes, time).await {
                    Ok(answer) => return Settled { end: Ok((answer, Arc::clone(node))), first, tries },
                    Err(failure) => failure,
                },
                None => Failure::Unreached,
            };
            if failure.effect() == Effect::Unknown {
                effect = Effect::Unknown;
            }
            first.get_or_insert_with(|| failure.clone());
            let is_end = matches!(&failure, Failure::Problem { code, .. } if ends.contains(&code.as_str()));
            let is_over = is_end || Instant::now() + pause >= deadline;
            if is_over || !failure.is_tried_again(ask.may_repeat) {
                return Settled { end: Err((failure, effect)), first, tries };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
            avoid = node.map(|node| node.name.clone());
        }
    }

    async fn attempt(&self, node: &Node, bytes: &[u8], time: Duration) -> Result<Answer, Failure> {
        let mut connection = match self.idle(&node.http) {
            Some(connection) => connection,
            None => match tokio::time::timeout(time.min(CONNECT_TIMEOUT), Connection::open(&node.http)).await {
                Ok(opened) => opened.map_err(|error| Failure::of_connecting(&error))?,
                Err(_) => return Err(Failure::Unreached),
            },
        };
        let answer = match tokio::time::timeout(time, connection.ask(bytes)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(Failure::Broken),
            Err(_) => return Err(Failure::Late),
        };
        if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = idle.entry(node.http.clone()).or_default();
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
        match Failure::of(&answer) {
            None => Ok(answer),
            Some(failure) => Err(failure),
        }
    }

    /// A kept connection that the other side has not closed.
    fn idle(&self, http: &str) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.get_mut(http)?;
        std::iter::from_fn(|| idle.pop()).find(Connection::is_idle)
    }
}
