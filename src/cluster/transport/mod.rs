//! Sessions between nodes, and lanes over them that carry opaque asks and answers in batches.
//!
//! The sessions are ractor_cluster's: it makes actors of other nodes reachable. What it lacks is here: mutual TLS that
//! names the peer, bounds on whoever knocks, dialling again, knowing within a second that a peer is gone, credits, and
//! an answer to every ask. An ask that ends as [`AskError::NotSent`] has certainly not been seen by the peer's [`Serve`];
//! after every other error it may or may not have been.

mod accept;
mod actors;
mod dial;
mod frame;
mod lane;
mod reply;
mod session;
mod shared;
mod socket;
mod tls;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorRef};
use ractor_cluster::{NodeServer, NodeServerMessage, node::NodeConnectionMode};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinHandle},
};

use self::{actors::LaneMessage, frame::Tag, shared::Shared};
pub use self::{reply::Reply, tls::Tls};
use super::links::Links;
pub use super::machine::Peer;
use crate::telemetry::{clock, metrics::metrics};

/// Largest frame that is read: a batch, or one large envelope, with what is around it.
const FRAME_BYTES_MAX: u64 = 1024 * 1024;
/// Events that a listener may be behind: more than sessions there can be, twice over.
const EVENTS_MAX: usize = 1_024;

/// Who this node is among others.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: letters, digits and hyphens, as its certificate carries it.
    pub node: Arc<str>,
    /// Counts its starts.
    pub incarnation: u64,
    /// The cluster's second factor, beside certificates.
    pub cookie: Cookie,
    /// `None` = everything in plain text, and whoever reaches the port and has the cookie is a peer.
    pub tls: Option<Tls>,
}

/// The cluster's second factor, beside certificates.
#[derive(Clone)]
pub struct Cookie(pub [u8; 32]);

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

impl Cookie {
    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that no certificate could carry.
    #[error("{0:?} cannot be a node's name: letters, digits and hyphens, at most 63")]
    Name(Arc<str>),
    /// A file of a certificate or a key cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificate is another node's.
    #[error(
        "this node's certificate does not name {0:?}: it needs that as a DNS name among its subject alternative names"
    )]
    Certificate(Arc<str>),
    /// Process groups are the process's: two nodes in one would take each other's actors for their own.
    #[error("this process already is a node")]
    Running,
    /// The node server or a lane did not start.
    #[error("the node server did not start: {0}")]
    Server(String),
}

/// What an ask is about. Each has lanes and credits of its own, so that neither starves the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Requests of shoppers, forwarded to whoever owns the shard.
    Requests = 0,
    /// Commands between actors.
    Commands = 1,
    /// What event streams wait for.
    Watches = 2,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Requests, Self::Commands, Self::Watches];

    /// As metrics and groups have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Commands => "commands",
            Self::Watches => "watches",
        }
    }
}

/// Serves what peers ask. Called on the lanes' own actors: it must hand the work on and return at once.
pub trait Serve: Send + Sync + 'static {
    /// A peer asks, and waits at most `deadline` for the answer.
    fn serve(&self, from: &Arc<str>, lane: Lane, body: Bytes, deadline: Duration, reply: Reply);
    /// A peer says that there is this version of the shard map.
    fn told(&self, from: &Arc<str>, map_version: u64);
    /// A session begins, and nothing has been said in it: from now on the peer may come to tell that it is lost.
    fn opening(&self, _name: &Arc<str>, _incarnation: u64) {}
    /// A peer wants to know whether this node is there, for the first time in a session. It is answered once this is
    /// granted, and may count on the answer then. `false` = not yet, ask again.
    fn met(&self, _name: &Arc<str>, _incarnation: u64, granted: Granted) -> bool {
        granted.now();
        true
    }
    /// The session with a peer that was met has ended.
    fn lost(&self, _name: &Arc<str>, _incarnation: u64, _how: Loss) {}
    /// A peer has answered the probe that was sent at this moment, on the clock that leases are counted on.
    fn heard(&self, _name: &Arc<str>, _incarnation: u64, _sent_ms: u64) {}
}

/// Lets a peer be told that this node is there.
#[derive(Debug)]
pub struct Granted(Arc<session::Session>);

impl Granted {
    /// From now on.
    pub fn now(self) {
        self.0.grant();
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody has seen it.
    #[error("not sent: {0}")]
    NotSent(NotSent),
    /// Sent, then the session or the answer was lost: the outcome is unknown.
    #[error("lost")]
    Lost,
    /// Sent, and no answer came in time: the outcome is unknown.
    #[error("timed out")]
    TimedOut,
}

/// Why an ask was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no session with that node.
    #[error("no session")]
    NoSession,
    /// Too much has been asked of it that has no answer yet.
    #[error("no credit")]
    NoCredit,
    /// The body is larger than 512 KiB.
    #[error("too large")]
    TooLarge,
}

/// What happens to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// Both nodes have the session.
    Up {
        /// Its name.
        name: Arc<str>,
        /// Which of its starts.
        incarnation: u64,
    },
    /// A session that was up has ended.
    Lost {
        /// Its name.
        name: Arc<str>,
        /// Which of its starts.
        incarnation: u64,
        /// How it ended.
        how: Loss,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection broke: the peer's process ended, or something between cut it.
    Reset,
    /// Nothing was heard for too long.
    Silent,
    /// One of the two let go, and said so.
    Closed,
}

impl Loss {
    /// As metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::Closed => "closed",
        }
    }
}

/// Why a connection did not become a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Evicted,
    Full,
    Timeout,
    Tls,
    Name,
    Hello,
    Incarnation,
    Session,
}

impl Refusal {
    const fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Full => "full",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Name => "name",
            Self::Hello => "hello",
            Self::Incarnation => "incarnation",
            Self::Session => "session",
        }
    }
}

/// A session, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The peer's name.
    pub name: Arc<str>,
    /// Which of its starts.
    pub incarnation: u64,
    /// The other end.
    pub address: String,
    /// This node dialled.
    pub is_dialled: bool,
    /// Both nodes have it.
    pub is_up: bool,
    /// Milliseconds since it began.
    pub age_ms: u64,
    /// Milliseconds since something was heard.
    pub silent_ms: u64,
    /// Of the last probe.
    pub round_trip_ms: u64,
    /// The peer's wall clock less ours.
    pub clock_offset_ms: i64,
    /// Asks that it has not answered yet.
    pub asks: usize,
}

/// The peers of this node.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    actors: Vec<ActorRef<LaneMessage>>,
    acceptor: AbortHandle,
    server_ended: Mutex<Option<JoinHandle<()>>>,
    dialled: Mutex<HashMap<Arc<str>, (Peer, AbortHandle)>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("node", &self.0.shared.full_name).finish_non_exhaustive()
    }
}

/// Whether this process is a node.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

impl Peers {
    /// Takes connections from now on; dials nobody before [`Peers::follow`].
    ///
    /// # Errors
    /// [`Error`]; a process is one node at a time, until [`Peers::stop`].
    pub async fn start(listener: TcpListener, options: Options, serve: Arc<dyn Serve>) -> Result<Self, Error> {
        let Options { node, incarnation, cookie, tls } = options;
        if !frame::is_name(&node) {
            return Err(Error::Name(node));
        }
        match &tls {
            Some(tls) if !tls.names(&node) => return Err(Error::Certificate(node)),
            Some(_) => {}
            None => tracing::warn!(
                "INSECURE: nodes talk in plain text, and whoever reaches the cluster's port can take a node's place; \
                 only for trials"
            ),
        }
        if IS_RUNNING.swap(true, Ordering::AcqRel) {
            return Err(Error::Running);
        }
        let started = Self::start_now(listener, (node, incarnation), &cookie, tls, serve).await;
        if started.is_err() {
            IS_RUNNING.store(false, Ordering::Release);
        }
        started
    }

    async fn start_now(
        listener: TcpListener,
        (me, incarnation): (Arc<str>, u64),
        cookie: &Cookie,
        tls: Option<Tls>,
        serve: Arc<dyn Serve>,
    ) -> Result<Self, Error> {
        // Its own listener cannot be turned off: it is bound where only this machine reaches it, nobody is told where,
        // and whatever comes in there is stopped.
        let node_server = NodeServer::new(
            0,
            cookie.hex(),
            actors::full_name(&me, incarnation),
            me.to_string(),
            None,
            Some(NodeConnectionMode::Isolated),
        )
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(FRAME_BYTES_MAX);
        let failed = |error: String| Error::Server(error);
        let (server, server_ended) =
            Actor::spawn(None, node_server, ()).await.map_err(|error| failed(error.to_string()))?;
        let head = frame::head(&me, incarnation);
        // Where one address is listened on, that is the node's: others and firewalls may know it by it.
        let from = listener.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
        let shared = Arc::new(Shared::new((me, incarnation, head), (tls, from), server.clone(), serve));
        let subscription = Box::new(actors::Watch(Arc::downgrade(&shared)));
        server
            .send_message(NodeServerMessage::SubscribeToEvents { id: "trolley".to_owned(), subscription })
            .map_err(|error| failed(error.to_string()))?;
        let actors = actors::start(&shared).await?;
        let acceptor = tokio::spawn(accept::accept(shared.clone(), listener)).abort_handle();
        let (server_ended, dialled) = (Mutex::new(Some(server_ended)), Mutex::default());
        Ok(Self(Arc::new(Inner { shared, actors, acceptor, server_ended, dialled })))
    }

    fn dialled(&self) -> MutexGuard<'_, HashMap<Arc<str>, (Peer, AbortHandle)>> {
        self.0.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a session with each of these from now on, and lets others go. Of two nodes the one whose name sorts first
    /// dials.
    pub fn follow(&self, wanted: Vec<Peer>) {
        let shared = &self.0.shared;
        let wanted: HashMap<_, _> = wanted
            .into_iter()
            .filter(|peer| peer.name != shared.me && frame::is_name(&peer.name))
            .map(|peer| (peer.name.clone(), peer))
            .collect();
        let mut dialled = self.dialled();
        dialled.retain(|name, (peer, task)| {
            let is_wanted = wanted.get(name) == Some(peer);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        for peer in wanted.values().filter(|peer| shared.me < peer.name) {
            let dial = || (peer.clone(), tokio::spawn(dial::keep(shared.clone(), peer.clone())).abort_handle());
            dialled.entry(peer.name.clone()).or_insert_with(dial);
        }
        drop(dialled);
        shared.want(wanted);
    }

    /// Asks a node. When the future is dropped, the ask still counts until its answer has come.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(
        &self,
        node: &str,
        lane: Lane,
        body: impl AsRef<[u8]>,
        timeout: Duration,
    ) -> Result<Bytes, AskError> {
        match self.asked(node, lane, body.as_ref(), timeout) {
            Ok(answer) => answer.await.unwrap_or(Err(AskError::Lost)),
            Err(why) => Err(AskError::NotSent(why)),
        }
    }

    /// Puts the ask on its way; the answer comes by the receiver.
    fn asked(
        &self,
        node: &str,
        lane: Lane,
        body: &[u8],
        timeout: Duration,
    ) -> Result<oneshot::Receiver<Result<Bytes, AskError>>, NotSent> {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let sessions = self.0.shared.sessions.load();
        let session = sessions.get(node).filter(|session| session.is_up()).ok_or(NotSent::NoSession)?;
        let (outbound, credits) = session.lane(lane);
        let asked = outbound.ask(credits, body, clock::mono_ms(), timeout_ms);
        if matches!(asked, Err(NotSent::NoCredit)) {
            metrics().cluster_credits_refused_total.with_label_values(&[lane.name()]).inc();
        }
        asked
    }

    /// Tells every peer, at once, that there is this version of the shard map. A hint: it may be lost.
    pub fn tell_map(&self, map_version: u64) {
        for session in self.0.shared.sessions.load().values() {
            session.say(Tag::Map, map_version, &[]);
        }
    }

    /// What happens to peers from now on, and first that those are up which are. A listener that is 1,024 events behind
    /// misses further ones.
    #[must_use]
    pub fn events(&self) -> mpsc::Receiver<PeerEvent> {
        self.0.shared.listen(EVENTS_MAX)
    }

    /// Whether nobody listens at an address: true only when a connect is refused, within 250 ms.
    pub async fn dial_refused(&self, address: &str) -> bool {
        dial::is_refused(address).await
    }

    /// Whether there is a session with this start of a node, known to both.
    #[must_use]
    pub fn is_up(&self, name: &str, incarnation: u64) -> bool {
        let session = self.0.shared.session(name);
        session.is_some_and(|session| session.is_up() && session.connection.incarnation == incarnation)
    }

    /// When something was last heard of a node with a session, on [`clock::mono_ms`].
    #[must_use]
    pub fn last_heard_ms(&self, name: &str) -> Option<u64> {
        self.0.shared.session(name).map(|session| session.heard_ms())
    }

    /// Every session, by name.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionStatus> {
        let now_ms = clock::mono_ms();
        let sessions = self.0.shared.sessions.load();
        let mut all: Vec<_> = sessions
            .values()
            .map(|session| SessionStatus {
                name: session.connection.name.clone(),
                incarnation: session.connection.incarnation,
                address: session.connection.address.clone(),
                is_dialled: session.connection.is_dialled,
                is_up: session.is_up(),
                age_ms: now_ms.saturating_sub(session.since_ms),
                silent_ms: now_ms.saturating_sub(session.heard_ms()),
                round_trip_ms: session.round_trip_ms(),
                clock_offset_ms: session.offset_ms(),
                asks: session.asks(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// How far the peers' wall clocks are from ours: the median; `None` without peers.
    #[must_use]
    pub fn clock_offset_ms(&self) -> Option<i64> {
        let sessions = self.0.shared.sessions.load();
        let mut offsets: Vec<_> =
            sessions.values().filter(|session| session.is_up()).map(|session| session.offset_ms()).collect();
        offsets.sort_unstable();
        offsets.get(offsets.len() / 2).copied()
    }

    /// Takes and dials nobody any more, and lets every peer go.
    pub async fn stop(&self) {
        self.0.acceptor.abort();
        for (_, (_, task)) in self.dialled().drain() {
            task.abort();
        }
        let shared = &self.0.shared;
        let sessions: Vec<_> = shared.sessions.load().values().cloned().collect();
        futures_util::future::join_all(sessions.iter().map(|session| shared.let_go(session))).await;
        for actor in &self.0.actors {
            actor.stop(None);
        }
        shared.server.stop(None);
        let ended = self.0.server_ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            let _ = ended.await; // it has ended, however
            IS_RUNNING.store(false, Ordering::Release);
        }
    }
}

impl Links for Peers {
    fn ask(
        &self,
        node: &str,
        lane: Lane,
        body: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, AskError>> {
        let asking = self.asked(node, lane, &body, timeout);
        Box::pin(async move {
            match asking {
                Ok(answer) => answer.await.unwrap_or(Err(AskError::Lost)),
                Err(why) => Err(AskError::NotSent(why)),
            }
        })
    }

    fn follow(&self, peers: Vec<Peer>) {
        Self::follow(self, peers);
    }

    fn tell_map(&self, map_version: u64) {
        Self::tell_map(self, map_version);
    }

    fn is_refused(&self, address: &str) -> BoxFuture<'static, bool> {
        let address = address.to_owned();
        Box::pin(async move { dial::is_refused(&address).await })
    }

    fn is_up(&self, node: &str) -> bool {
        self.0.shared.session(node).is_some_and(|session| session.is_up())
    }

    fn up(&self) -> Vec<Arc<str>> {
        let sessions = self.0.shared.sessions.load();
        let mut up: Vec<_> =
            sessions.iter().filter(|(_, session)| session.is_up()).map(|(name, _)| Arc::clone(name)).collect();
        up.sort();
        up
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        Self::clock_offset_ms(self)
    }
}
