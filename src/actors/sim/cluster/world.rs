//! True time and what happens when: nodes with clocks of their own, messages on their way, clients, faults.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt::Write as _,
};

use super::{
    super::{
        check::Ledger,
        entity::Ask as Wish,
        rng::Rng,
        store::Model,
        world::{Broken, Violation},
    },
    disk::{Disk, Work},
    faults::{Mix, Upheaval},
    net::Net,
    node::{Message, Node},
    releases::Place,
};
use crate::domain::{Slot, ids::SLOTS};

/// Where the nodes' clocks start: no two alike.
const CLOCK_START_MS: u64 = 1_000_000;
/// How often a node's machines are told that time has passed, as in the keeper.
const TICK_MS: u64 = 50;
/// Longest wait of a client.
pub(super) const TIMEOUT_MS: u64 = 3_000;
/// In this time everything must settle once nothing goes wrong any more: leases are outlived, saves sent again, timers
/// of twenty seconds ring.
const QUIET_MS: u64 = 26_000;
/// Within this time the last requests are answered.
const LAST_MS: u64 = 4_000;

/// Something that happens at a moment of true time.
#[derive(Debug)]
pub(super) enum Event {
    Tick {
        node: usize,
        life: u32,
    },
    /// Reaches the node, or waits until it goes on.
    Deliver {
        to: usize,
        life: u32,
        message: Message,
    },
    /// On the wire between two nodes; comes again while the way is blocked.
    Wire {
        from: usize,
        to: usize,
        life: u32,
        message: Message,
        sent_ms: u64,
    },
    Store(Work),
    /// A client wants something.
    Client,
    /// The same again, under its key.
    Again {
        op: u32,
    },
    Look {
        node: usize,
        life: u32,
        trip: u64,
    },
    Upheaval,
    Over(Upheaval),
}

#[derive(Debug)]
struct Due {
    at_ms: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) mix: Mix,
    /// True time.
    pub(super) now_ms: u64,
    queue: BinaryHeap<Reverse<Due>>,
    number_next: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    pub(super) disk: Disk,
    pub(super) model: Model,
    pub(super) ledger: Ledger,
    pub(super) op_next: u32,
    pub(super) id_next: u128,
    pub(super) faults: bool,
    /// When something other than an outage of the whole store last went wrong.
    pub(super) trouble_ms: u64,
    /// Who was given which shard under which epoch.
    pub(super) adopted: BTreeMap<(u16, u64), (usize, u32)>,
    /// Which starts of nodes run which release, and the newest format that it reads.
    pub(super) releases: BTreeMap<(String, u64), (String, u16)>,
    /// Who may be given shards, by its row.
    pub(super) places: BTreeMap<(String, u64), Place>,
    /// Changes of the map that were sent before.
    pub(super) maps_sent: BTreeSet<u128>,
    /// Since when members of several releases have places, by their rows.
    pub(super) mixed_since_ms: Option<u64>,
    /// Since when nothing goes wrong any more.
    pub(super) calm_since_ms: u64,
    /// The last requests are out: each must be answered, and with the newest.
    pub(super) is_last: bool,
    trace: Option<String>,
    pub(super) events: u64,
}

/// Runs one seed; the trace is empty unless it is asked for.
pub(super) fn run(seed: u64, is_traced: bool) -> Result<(String, u64), Violation> {
    super::super::world::quiet_planned_panics();
    let mut world = World::new(seed, is_traced);
    match world.live() {
        Ok(()) => Ok((world.trace.unwrap_or_default(), world.events)),
        Err(Broken(promise, what)) => Err(Violation { promise, what, trace: world.trace.unwrap_or_default() }),
    }
}

impl World {
    fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0xc105_7e12);
        let mix = Mix::draw(&mut rng);
        let nodes = (0..mix.nodes)
            .map(|at| {
                let drift = rng.below(101) as i64 - 50;
                Node::new(at, CLOCK_START_MS * (at as u64 + 1), drift, rng.below(1_000) as i64 - 500)
            })
            .collect();
        let mut ledger = Ledger::default();
        ledger.staleness_breaks = "P8";
        ledger.tells = false;
        Self {
            rng,
            now_ms: 0,
            queue: BinaryHeap::new(),
            number_next: 0,
            nodes,
            net: Net::default(),
            disk: Disk::default(),
            model: Model::default(),
            ledger,
            op_next: 0,
            id_next: 0,
            faults: true,
            trouble_ms: 0,
            adopted: BTreeMap::new(),
            releases: BTreeMap::new(),
            places: BTreeMap::new(),
            maps_sent: BTreeSet::new(),
            mixed_since_ms: None,
            calm_since_ms: 0,
            is_last: false,
            trace: is_traced.then(String::new),
            events: 0,
            mix,
        }
    }

    fn live(&mut self) -> Result<(), Broken> {
        for node in 0..self.mix.nodes {
            let at_ms = self.rng.below(1_500);
            self.start(node, at_ms);
        }
        self.at(500, Event::Client);
        let first_ms = 2_000 + self.rng.below(4_000);
        self.at(first_ms, Event::Upheaval);
        self.until(self.mix.storm_ms)?;
        self.calm()?;
        self.until(self.now_ms + QUIET_MS)?;
        self.is_settled()?;
        self.last_requests()?;
        self.until(self.now_ms + LAST_MS)?;
        self.all_answered()?;
        self.ledger.at_the_end(&self.model)
    }

    fn until(&mut self, end_ms: u64) -> Result<(), Broken> {
        while self.queue.peek().is_some_and(|Reverse(due)| due.at_ms <= end_ms) {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now_ms = due.at_ms;
            self.events += 1;
            self.happen(due.event)?;
        }
        self.now_ms = end_ms;
        Ok(())
    }

    pub(super) fn at(&mut self, at_ms: u64, event: Event) {
        self.number_next += 1;
        self.queue.push(Reverse(Due { at_ms: at_ms.max(self.now_ms), number: self.number_next, event }));
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms + ms, event);
    }

    pub(super) fn note(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>8} {line}", self.now_ms); // a string takes everything
        }
    }

    pub(super) fn fresh_id(&mut self) -> u128 {
        self.id_next += 1;
        self.id_next
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Tick { node, life } => {
                if self.runs(node, life) {
                    let ms = TICK_MS + self.rng.below(5);
                    self.after(ms, Event::Tick { node, life });
                    if !self.nodes[node].is_paused(self.now_ms) {
                        self.tick(node)?;
                        if !self.nodes[node].is_paused(self.now_ms) && self.runs(node, life) {
                            self.nobody_waits_too_long(node)?;
                        }
                    }
                }
                Ok(())
            }
            Event::Deliver { to, life, message } => self.deliver(to, life, message),
            Event::Wire { from, to, life, message, sent_ms } => self.wired(from, to, life, message, sent_ms),
            Event::Store(work) => self.stored(work),
            Event::Client => {
                if self.faults {
                    let ms = self.rng.below(self.mix.client_every_ms * 2);
                    self.after(ms, Event::Client);
                    self.ask()?;
                }
                Ok(())
            }
            Event::Again { op } => self.ask_again(op),
            Event::Look { node, life, trip } => {
                if !self.runs(node, life) {
                    return Ok(());
                }
                if self.nodes[node].is_paused(self.now_ms) {
                    let ms = self.nodes[node].paused_until_ms - self.now_ms;
                    self.after(ms, Event::Look { node, life, trip });
                    return Ok(());
                }
                self.look_again(node, trip)
            }
            Event::Upheaval => self.upheaval(),
            Event::Over(upheaval) => self.over(upheaval),
        }
    }

    pub(super) fn runs(&self, node: usize, life: u32) -> bool {
        self.nodes[node].life == life && self.nodes[node].is_running
    }

    /// The slot of an actor: spread over all shards.
    pub(super) fn slot(&self, id: u128) -> Slot {
        Slot::from_bits((id as u16).wrapping_mul(5_003) % SLOTS)
    }

    pub(super) fn shard(&self, id: u128) -> u16 {
        self.slot(id).shard(self.mix.shards).0
    }

    // ---- clients ----

    fn any_running(&mut self) -> Option<usize> {
        let running: Vec<_> = (0..self.mix.nodes).filter(|node| self.nodes[*node].takes_requests()).collect();
        let at = self.rng.below(running.len() as u64) as usize;
        running.get(at).copied()
    }

    fn ask(&mut self) -> Result<(), Broken> {
        let id = u128::from(self.rng.below(self.mix.actors));
        let Some(node) = self.any_running() else { return Ok(()) };
        if self.rng.one_in(2) {
            return self.read_at(node, id);
        }
        self.op_next += 1;
        let op = self.op_next;
        let wish = match self.rng.below(20) {
            0..13 => Wish::Add(op),
            13..15 => Wish::AddIfEven(op),
            15 | 16 => Wish::Send(op, u128::from(self.rng.below(self.mix.actors))),
            _ => Wish::Arm(op, 1 + self.rng.below(10_000)),
        };
        let keyed = self.rng.one_in(2);
        self.ledger.wish(op, id, wish, keyed);
        self.attempt(node, op)
    }

    fn ask_again(&mut self, op: u32) -> Result<(), Broken> {
        match self.any_running() {
            Some(node) => self.attempt(node, op),
            None => Ok(()),
        }
    }

    pub(super) fn attempt(&mut self, node: usize, op: u32) -> Result<(), Broken> {
        let token = self.ledger.attempt(op, node, self.nodes[node].life, 0);
        let (id, wish, keyed) = self.ledger.wanted(op);
        self.note(format_args!("n{node} is asked {wish:?} of a{id} keyed={keyed} token={token}"));
        self.comes(node, Message::Client { token, id, wanted: Some((wish, keyed.then_some(op))) })
    }

    pub(super) fn read_at(&mut self, node: usize, id: u128) -> Result<(), Broken> {
        let token = self.ledger.read(id, node, self.nodes[node].life, 0);
        self.note(format_args!("n{node} is asked to read a{id} token={token}"));
        self.comes(node, Message::Client { token, id, wanted: None })
    }

    /// A request is there at once, or when the node goes on.
    fn comes(&mut self, node: usize, message: Message) -> Result<(), Broken> {
        let life = self.nodes[node].life;
        self.deliver(node, life, message)
    }
}
