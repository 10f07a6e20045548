//! What all parts of the transport share: who is connected, who is wanted, and who is told of it.

use std::{
    collections::HashMap,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use tokio::sync::{mpsc, oneshot};

use super::{
    AskError, Granted, Lane, Loss, NotSent, Peer, PeerEvent, Refusal, Reply, Serve, Tls,
    actors::{Role, full_name},
    frame::{Batch, Envelope, Malformed, Tag},
    session::{self, Connection, Session},
    socket::{Halves, Hand},
};
use crate::telemetry::{clock, metrics::metrics};

/// Sessions, and connections on their way to one: far more nodes than share one store.
const CONNECTIONS_MAX: usize = 256;
/// How long both nodes may take to make a session of a connection that has proven itself.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);
/// A node that is not among the wanted ones may just have started: it is let go after so long.
const STRANGER_MS_MAX: u64 = 5_000;
/// How long a peer may take to hear a goodbye.
pub(super) const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Shared {
    pub(super) me: Arc<str>,
    pub(super) incarnation: u64,
    pub(super) full_name: String,
    /// What every batch of this node begins with.
    pub(super) head: Vec<u8>,
    pub(super) tls: Option<Tls>,
    /// Where this node dials from; `None` = wherever the way leads from.
    pub(super) from: Option<IpAddr>,
    pub(super) server: ActorRef<NodeServerMessage>,
    pub(super) serve: Arc<dyn Serve>,
    connections: Mutex<HashMap<String, Arc<Connection>>>,
    pub(super) sessions: ArcSwap<HashMap<Arc<str>, Arc<Session>>>,
    wanted: ArcSwap<HashMap<Arc<str>, Peer>>,
    /// Until told whom to follow, nobody is unwanted.
    is_following: AtomicBool,
    /// Also held while a session becomes up or ends, so that nobody hears of it in the wrong order.
    listeners: Mutex<Vec<mpsc::Sender<PeerEvent>>>,
}

impl Shared {
    pub(super) fn new(
        (me, incarnation, head): (Arc<str>, u64, Vec<u8>),
        (tls, from): (Option<Tls>, Option<IpAddr>),
        server: ActorRef<NodeServerMessage>,
        serve: Arc<dyn Serve>,
    ) -> Self {
        Self {
            full_name: full_name(&me, incarnation),
            me,
            incarnation,
            head,
            tls,
            from,
            server,
            serve,
            connections: Mutex::default(),
            sessions: ArcSwap::default(),
            wanted: ArcSwap::default(),
            is_following: AtomicBool::new(false),
            listeners: Mutex::default(),
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<String, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<mpsc::Sender<PeerEvent>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection(&self, label: &str) -> Option<Arc<Connection>> {
        self.connections().get(label).cloned()
    }

    pub(super) fn session(&self, name: &str) -> Option<Arc<Session>> {
        self.sessions.load().get(name).cloned()
    }

    pub(super) fn want(&self, wanted: HashMap<Arc<str>, Peer>) {
        self.wanted.store(Arc::new(wanted));
        self.is_following.store(true, Ordering::Release);
    }

    /// Whether this incarnation has been followed by a later one, as far as is known.
    pub(super) fn is_outdated(&self, name: &str, incarnation: u64) -> bool {
        let is_older = |known: u64| incarnation < known;
        self.wanted.load().get(name).is_some_and(|peer| is_older(peer.incarnation))
            || self.session(name).is_some_and(|session| is_older(session.connection.incarnation))
    }

    pub(super) fn is_unwanted(&self, session: &Session, now_ms: u64) -> bool {
        self.is_following.load(Ordering::Acquire)
            && match self.wanted.load().get(&session.connection.name) {
                Some(peer) => session.connection.incarnation < peer.incarnation,
                None => now_ms.saturating_sub(session.since_ms) > STRANGER_MS_MAX,
            }
    }

    /// Makes a session of a connection that has proven itself.
    pub(super) async fn establish(
        &self,
        peer: (Arc<str>, u64),
        from: (bool, String),
        hand: Hand,
        halves: Halves,
    ) -> Result<Arc<Session>, Refusal> {
        let is_server = !from.0;
        let (sender, ready) = oneshot::channel();
        let connection = Arc::new(Connection::new(peer, from, hand, sender));
        {
            let mut connections = self.connections();
            if connections.len() >= CONNECTIONS_MAX {
                return Err(Refusal::Full);
            }
            connections.insert(connection.label.clone(), connection.clone());
        }
        let guard = Unfinished(self, &connection);
        let stream = Box::new(halves.labelled(connection.label.clone()));
        let opened = NodeServerMessage::ConnectionOpenedExternal { stream, is_server };
        self.server.send_message(opened).map_err(|_| Refusal::Session)?;
        let session = tokio::time::timeout(SESSION_TIMEOUT, ready).await;
        let session = session.ok().and_then(Result::ok).ok_or(Refusal::Session)?;
        std::mem::forget(guard);
        Ok(session)
    }

    /// Both nodes have told each other their actors.
    pub(super) fn ready(self: &Arc<Self>, connection: &Arc<Connection>, node_id: u64) {
        let Some(waiter) = connection.waiter() else { return };
        let full_name = full_name(&connection.name, connection.incarnation);
        let made = Session::new(connection.clone(), &full_name, node_id, &self.head);
        let Some(session) = made.filter(|_| !self.is_outdated(&connection.name, connection.incarnation)) else {
            tracing::warn!(peer = full_name, "a peer without lanes, or of an earlier start, is let go");
            connection.cut();
            return;
        };
        let session = Arc::new(session);
        // A peer has one connection: when there is a new one, the earlier has broken.
        if let Some(earlier) = self.session(&connection.name) {
            self.end(&earlier, Loss::Reset);
        }
        self.sessions.rcu(|sessions| {
            let mut sessions = HashMap::clone(sessions);
            sessions.insert(connection.name.clone(), session.clone());
            sessions
        });
        self.serve.opening(&connection.name, connection.incarnation);
        session::run(self, &session);
        let _ = waiter.send(session); // it was given up just now, and cut with that
    }

    /// The connection has ended, however.
    pub(super) fn disconnected(&self, label: &str) {
        let Some(connection) = self.connections().remove(label) else { return };
        drop(connection.waiter());
        if let Some(session) = self.session(&connection.name).filter(|session| session.connection.label == label) {
            self.end(&session, if session.has_said_goodbye() { Loss::Closed } else { Loss::Reset });
        }
    }

    /// Ends a session and tells everybody.
    pub(super) fn end(&self, session: &Arc<Session>, how: Loss) {
        let listeners = self.listeners();
        if !session.end() {
            return;
        }
        let name = session.connection.name.clone();
        self.sessions.rcu(|sessions| {
            let mut sessions = HashMap::clone(sessions);
            if sessions.get(&name).is_some_and(|present| Arc::ptr_eq(present, session)) {
                sessions.remove(&name);
            }
            sessions
        });
        metrics().cluster_session_losses_total.with_label_values(&[how.name()]).inc();
        tracing::info!(peer = &*name, incarnation = session.connection.incarnation, how = how.name(), "session ended");
        if session.is_met() {
            self.serve.lost(&name, session.connection.incarnation, how);
        }
        if session.is_up() {
            metrics().cluster_sessions.dec();
            tell(listeners, &PeerEvent::Lost { name, incarnation: session.connection.incarnation, how });
        }
    }

    /// Ends a session that is no longer wanted, and lets the peer know.
    pub(super) async fn let_go(&self, session: &Arc<Session>) {
        session.goodbye();
        session.say(Tag::Goodbye, 0, &[]);
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, session.until_ended()).await; // the peer ends it, or we do
        self.end(session, Loss::Closed);
    }

    fn up(&self, session: &Session) {
        let listeners = self.listeners();
        if session.has_ended() || session.is_up() {
            return;
        }
        session.is_up_now();
        metrics().cluster_sessions.inc();
        let (name, incarnation) = (session.connection.name.clone(), session.connection.incarnation);
        tracing::info!(peer = &*name, incarnation, "session up");
        tell(listeners, &PeerEvent::Up { name, incarnation });
    }

    /// Tells of every event from now on, and first of all that are up.
    pub(super) fn listen(&self, events_max: usize) -> mpsc::Receiver<PeerEvent> {
        let (sender, receiver) = mpsc::channel(events_max);
        let mut listeners = self.listeners();
        for session in self.sessions.load().values().filter(|session| session.is_up()) {
            let (name, incarnation) = (session.connection.name.clone(), session.connection.incarnation);
            let _ = sender.try_send(PeerEvent::Up { name, incarnation }); // fewer sessions than there is room
        }
        listeners.push(sender);
        receiver
    }

    /// A batch came in.
    pub(super) fn received(&self, role: Role, bytes: Bytes) {
        let Ok(mut batch) = Batch::open(bytes) else {
            return tracing::warn!("a peer sends what is no batch");
        };
        // Between the peer's getting ready and ours there is no session yet: it probes again.
        let session = self.session(batch.name());
        let Some(session) = session.filter(|session| session.connection.incarnation == batch.incarnation) else {
            return;
        };
        session.heard();
        let read = match role {
            Role::Control => batch.try_for_each(|envelope| envelope.map(|envelope| self.word(&session, &envelope))),
            Role::Lane(lane, at) => self.envelopes(&session, (lane, at), batch),
        };
        if read.is_err() {
            tracing::warn!(peer = &*session.connection.name, "a peer sends a batch that cannot be read to its end");
        }
    }

    fn envelopes(&self, session: &Arc<Session>, (lane, at): (Lane, usize), batch: Batch) -> Result<(), Malformed> {
        let mut answers = Vec::new();
        let mut read = Ok(());
        let mut hold = None;
        for envelope in batch {
            match envelope {
                Ok(Envelope { tag: Tag::Ask, id, deadline_ms, body }) => {
                    hold.get_or_insert_with(|| session.lane_at(lane, at).0.hold());
                    self.asked(session, (lane, at, id), body, Duration::from_millis(u64::from(deadline_ms)));
                }
                Ok(Envelope { tag: Tag::Reply, id, body, .. }) => answers.push((id, Ok(body))),
                Ok(Envelope { tag: Tag::Dropped, id, .. }) => answers.push((id, Err(AskError::Lost))),
                Ok(Envelope { tag: Tag::Refused, id, .. }) => {
                    answers.push((id, Err(AskError::NotSent(NotSent::NoCredit))));
                }
                Ok(_) => {}
                Err(error) => read = Err(error),
            }
        }
        drop(hold);
        if !answers.is_empty() {
            let (outbound, credits) = session.lane_at(lane, at);
            outbound.answered(credits, answers.into_iter());
        }
        read
    }

    fn asked(&self, session: &Arc<Session>, (lane, at, id): (Lane, usize, u64), body: Bytes, deadline: Duration) {
        if !session.admit(lane) {
            return session.lane_at(lane, at).0.tell(Tag::Refused, id, &[]);
        }
        let reply = Reply { session: session.clone(), lane, at, id, is_sent: false };
        let serve = || self.serve.serve(&session.connection.name, lane, body, deadline, reply);
        if catch_unwind(AssertUnwindSafe(serve)).is_err() {
            tracing::error!(peer = &*session.connection.name, "serving a peer panicked");
        }
    }

    fn word(&self, session: &Arc<Session>, envelope: &Envelope) {
        match envelope.tag {
            Tag::Probe => {
                if session.is_granted() {
                    session.say(Tag::Echo, envelope.id, &clock::now().0.to_be_bytes());
                } else if session.is_first_met() {
                    let (name, incarnation) = (&session.connection.name, session.connection.incarnation);
                    if !self.serve.met(name, incarnation, Granted(Arc::clone(session))) {
                        session.is_not_met();
                    }
                }
            }
            Tag::Echo => {
                if let Ok(wall_ms) = <[u8; 8]>::try_from(&*envelope.body) {
                    self.serve.heard(&session.connection.name, session.connection.incarnation, envelope.id);
                    session.echoed(envelope.id, u64::from_be_bytes(wall_ms));
                    if !session.is_up() {
                        self.up(session);
                    }
                }
            }
            Tag::Map => {
                let tell = || self.serve.told(&session.connection.name, envelope.id);
                if catch_unwind(AssertUnwindSafe(tell)).is_err() {
                    tracing::error!("telling of a new map panicked");
                }
            }
            Tag::Goodbye => {
                session.goodbye();
                self.end(session, Loss::Closed);
            }
            Tag::Ask | Tag::Reply | Tag::Dropped | Tag::Refused => {}
        }
    }
}

fn tell(mut listeners: MutexGuard<'_, Vec<mpsc::Sender<PeerEvent>>>, event: &PeerEvent) {
    listeners.retain(|listener| match listener.try_send(event.clone()) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(_)) => {
            tracing::error!(?event, "a listener is too slow for what happens to peers: it misses this");
            true
        }
    });
}

/// Cuts a connection that does not become a session, also when nobody waits for it any more.
struct Unfinished<'a>(&'a Shared, &'a Arc<Connection>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.1.cut();
        // Where a session was made meanwhile, its end is told like any other's.
        if self.1.waiter().is_some() {
            self.0.connections().remove(&self.1.label);
        }
    }
}
