//! A connection, and the session that it becomes once both nodes know each other.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ractor::ActorRef;
use ractor_cluster::NodeSessionMessage;
use tokio::sync::{oneshot, watch};

use super::{
    Lane, Loss,
    actors::{LANES, LaneMessage, Role},
    frame::Tag,
    lane::{ASKS_MAX, Credits, Outbound, Turn},
    shared::Shared,
    socket::Hand,
};
use crate::telemetry::{clock, metrics::metrics};

/// How often a session's timers are looked at: an ask may wait this much longer than it said.
const TICK: Duration = Duration::from_millis(20);
/// How often a peer is probed.
const PROBE_EVERY_MS: u64 = 250;
/// A peer of which nothing has been heard for so long is given up: two probes may be late.
const SILENCE_MS_MAX: u64 = 700;
/// When this node itself stood still for so long, its peers get their time anew: the silence was its own.
const STALL_MS: u64 = 200;

/// A connection on its way to a session.
pub(super) struct Connection {
    pub(super) label: String,
    pub(super) name: Arc<str>,
    pub(super) incarnation: u64,
    pub(super) is_dialled: bool,
    pub(super) address: String,
    hand: Hand,
    actor: OnceLock<ActorRef<NodeSessionMessage>>,
    /// Takes the session once it is there; gone = there will be none.
    ready: Mutex<Option<oneshot::Sender<Arc<Session>>>>,
}

impl Connection {
    pub(super) fn new(
        (name, incarnation): (Arc<str>, u64),
        (is_dialled, address): (bool, String),
        hand: Hand,
        ready: oneshot::Sender<Arc<Session>>,
    ) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let label = format!("{name}#{incarnation}/{}", NUMBERS.fetch_add(1, Ordering::Relaxed));
        let (actor, ready) = (OnceLock::new(), Mutex::new(Some(ready)));
        Self { label, name, incarnation, is_dialled, address, hand, actor, ready }
    }

    pub(super) fn opened(&self, actor: ActorRef<NodeSessionMessage>) {
        let _ = self.actor.set(actor); // opened once
    }

    /// Ends it now, on this side and, by the socket, on the other.
    pub(super) fn cut(&self) {
        self.hand.cut();
        if let Some(actor) = self.actor.get() {
            actor.stop(None);
        }
    }

    /// Whoever waits for the session; the second caller gets nobody.
    pub(super) fn waiter(&self) -> Option<oneshot::Sender<Arc<Session>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The lanes of one class to a peer.
struct Class {
    lanes: [Outbound; LANES],
    credits: Credits,
    /// The one that gathers asks now.
    gathering: Arc<AtomicUsize>,
    /// What the peer has asked and has no answer to yet.
    asked: AtomicUsize,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.connection.label)
    }
}

/// A session with a peer.
pub(super) struct Session {
    pub(super) connection: Arc<Connection>,
    pub(super) since_ms: u64,
    classes: [Class; Lane::ALL.len()],
    control: Outbound,
    heard_ms: AtomicU64,
    is_up: AtomicBool,
    /// The peer has asked whether this node is there.
    is_met: AtomicBool,
    /// It may be told.
    is_granted: AtomicBool,
    offset_ms: AtomicI64,
    round_trip_ms: AtomicU64,
    /// The peer said that it ends the session.
    said_goodbye: AtomicBool,
    ended: watch::Sender<bool>,
}

impl Session {
    /// `None` when the peer did not make its actors known.
    pub(super) fn new(connection: Arc<Connection>, full_name: &str, node_id: u64, head: &[u8]) -> Option<Self> {
        let seed = u32::try_from(clock::random() & u128::from(u32::MAX)).ok()?;
        let outbound = |role: Role, turn: Turn| -> Option<Outbound> {
            let remote: ActorRef<LaneMessage> = role.find(full_name, node_id)?;
            Some(Outbound::new(remote, head.to_vec(), seed, turn))
        };
        let class = |lane| {
            let gathering = Arc::default();
            let turn = |own| Turn { now: Arc::clone(&gathering), own, next: (own + 1) % LANES };
            let lanes: Vec<_> = (0..LANES).map(|at| outbound(Role::Lane(lane, at), turn(at))).collect::<Option<_>>()?;
            let (credits, asked) = (Credits::default(), AtomicUsize::new(0));
            Some(Class { lanes: lanes.try_into().ok()?, credits, gathering, asked })
        };
        let now_ms = clock::mono_ms();
        Some(Self {
            classes: [class(Lane::Requests)?, class(Lane::Commands)?, class(Lane::Watches)?],
            control: outbound(Role::Control, Turn { now: Arc::default(), own: 0, next: 0 })?,
            connection,
            since_ms: now_ms,
            heard_ms: AtomicU64::new(now_ms),
            is_up: AtomicBool::new(false),
            is_met: AtomicBool::new(false),
            is_granted: AtomicBool::new(false),
            offset_ms: AtomicI64::new(0),
            round_trip_ms: AtomicU64::new(0),
            said_goodbye: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        })
    }

    fn class(&self, lane: Lane) -> &Class {
        &self.classes[lane as usize]
    }

    /// The lane that takes the next ask of a class, and its credits: batch by batch in turn, since asks that are spread
    /// over all lanes make batches that are as much smaller.
    pub(super) fn lane(&self, lane: Lane) -> (&Outbound, &Credits) {
        self.lane_at(lane, self.class(lane).gathering.load(Ordering::Relaxed))
    }

    /// The lane of a class with a number, and its credits.
    pub(super) fn lane_at(&self, lane: Lane, at: usize) -> (&Outbound, &Credits) {
        let class = self.class(lane);
        (&class.lanes[at % LANES], &class.credits)
    }

    /// Counts an ask of the peer; false = it asks more than its window allows.
    pub(super) fn admit(&self, lane: Lane) -> bool {
        let is_free = self.class(lane).asked.fetch_add(1, Ordering::Relaxed) < ASKS_MAX;
        if !is_free {
            self.settled(lane);
        }
        is_free
    }

    /// The peer's ask has its answer.
    pub(super) fn settled(&self, lane: Lane) {
        self.class(lane).asked.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    pub(super) fn is_met(&self) -> bool {
        self.is_met.load(Ordering::Acquire)
    }

    pub(super) fn is_first_met(&self) -> bool {
        !self.is_met.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_not_met(&self) {
        self.is_met.store(false, Ordering::Release);
    }

    pub(super) fn is_granted(&self) -> bool {
        self.is_granted.load(Ordering::Acquire)
    }

    pub(super) fn grant(&self) {
        self.is_granted.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub(super) fn heard(&self) {
        self.heard_ms.store(clock::mono_ms(), Ordering::Relaxed);
    }

    pub(super) fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    pub(super) fn round_trip_ms(&self) -> u64 {
        self.round_trip_ms.load(Ordering::Relaxed)
    }

    pub(super) fn asks(&self) -> usize {
        self.classes.iter().map(|class| class.credits.in_use()).sum()
    }

    /// Says something between nodes, at once.
    pub(super) fn say(&self, tag: Tag, id: u64, body: &[u8]) {
        self.control.tell(tag, id, body);
        self.control.flush_now();
    }

    /// The peer answered a probe.
    pub(super) fn echoed(&self, sent_ms: u64, peer_wall_ms: u64) {
        let round_trip_ms = clock::boot_ms().saturating_sub(sent_ms);
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let then = signed(peer_wall_ms).saturating_add(signed(round_trip_ms / 2));
        self.offset_ms.store(then.saturating_sub(signed(clock::now().0)), Ordering::Relaxed);
        self.round_trip_ms.store(round_trip_ms, Ordering::Relaxed);
    }

    pub(super) fn goodbye(&self) {
        self.said_goodbye.store(true, Ordering::Release);
    }

    pub(super) fn has_said_goodbye(&self) -> bool {
        self.said_goodbye.load(Ordering::Acquire)
    }

    /// The peer has the session too.
    pub(super) fn is_up_now(&self) {
        self.is_up.store(true, Ordering::Release);
    }

    /// Ends it; every ask without an answer is told. False = it had ended.
    pub(super) fn end(&self) -> bool {
        if self.ended.send_replace(true) {
            return false;
        }
        self.connection.cut();
        for class in &self.classes {
            class.lanes.iter().for_each(|lane| lane.close(&class.credits));
        }
        self.control.close(&Credits::default());
        true
    }

    /// Waits until it has ended.
    pub(super) async fn until_ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await; // the sender lives in self
    }
}

/// Starts what a session needs: its lanes' pumps and its timers. All end with it.
pub(super) fn run(shared: &Arc<Shared>, session: &Arc<Session>) {
    for role in Role::all() {
        let session = session.clone();
        tokio::spawn(async move {
            match role {
                Role::Control => session.control.pump().await,
                Role::Lane(lane, at) => session.lane_at(lane, at).0.pump().await,
            }
        });
    }
    tokio::spawn(watch_over(shared.clone(), session.clone()));
}

async fn watch_over(shared: Arc<Shared>, session: Arc<Session>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut ticked_ms, mut probed_ms) = (clock::mono_ms(), 0);
    let mut shown = [0; Lane::ALL.len()];
    while !session.has_ended() {
        ticks.tick().await;
        let now_ms = clock::mono_ms();
        if now_ms.saturating_sub(ticked_ms) > STALL_MS {
            session.heard();
        }
        ticked_ms = now_ms;
        if now_ms.saturating_sub(session.heard_ms()) > SILENCE_MS_MAX {
            shared.end(&session, Loss::Silent);
            break;
        }
        if shared.is_unwanted(&session, now_ms) {
            shared.let_go(&session).await;
            break;
        }
        // Until it is up, the peer may not have had the session yet when it was probed.
        if !session.is_up() || now_ms.saturating_sub(probed_ms) >= PROBE_EVERY_MS {
            // On the clock that leases are counted on: the answer speaks for this node as of then.
            session.say(Tag::Probe, clock::boot_ms(), &[]);
            probed_ms = now_ms;
        }
        for (lane, shown) in Lane::ALL.into_iter().zip(&mut shown) {
            let class = session.class(lane);
            class.lanes.iter().for_each(|lane| lane.sweep(now_ms));
            *shown = show(lane, *shown, class.credits.in_use());
        }
    }
    for (lane, shown) in Lane::ALL.into_iter().zip(shown) {
        show(lane, shown, 0);
    }
}

/// Brings this session's part of the gauge up to date.
fn show(lane: Lane, shown: usize, in_use: usize) -> usize {
    let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    metrics().cluster_credits_in_use.with_label_values(&[lane.name()]).add(signed(in_use) - signed(shown));
    in_use
}
