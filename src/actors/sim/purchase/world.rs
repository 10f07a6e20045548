//! The world: what happens when, how time goes, and how it all comes to rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use super::{
    bank::Bank,
    check::Ledger,
    kinds::{Call, Done, Hosts, Name},
    shoppers::{Op, Shop},
    sink::{Mood, Offer, Sink},
    store::Model,
};
use crate::{
    actors::{
        durable::{Again, SaveOrder},
        errand::Errand,
        sim::{
            rng::Rng,
            world::{Broken, Violation},
        },
    },
    codec::record::Armed,
    domain::{Try, UnixMillis},
    store::{Reason, Row, Saved},
};

pub(super) const NODES: usize = 3;
/// Shards: actors of one purchase are apart, and change hands apart.
pub(super) const SHARDS: usize = 3;
const STEPS: u64 = 360;
/// Longest wait of a client, and of an actor for another.
pub(super) const TIMEOUT_MS: u64 = 5_000;
/// Where the wall clocks start.
const WALL_START_MS: u64 = 1_000_000_000;
/// After how long without a change a cart expires.
pub(super) const EXPIRE_AFTER_MS: u64 = 6 * 60 * 60 * 1000;
/// How far a node's clock may be off: two of them are apart by less than the product allows for.
pub(super) const SKEW_MAX_MS: u64 = 10_000;
/// Rounds in which everything must settle once nothing goes wrong any more.
const QUIET_ROUNDS: usize = 6_000;
/// How much time that takes at most.
const QUIET_MS: u64 = 40 * 60 * 60 * 1000;

/// One node: what it has in memory is gone with its life.
#[derive(Default)]
pub(super) struct Node {
    pub(super) life: u32,
    /// The ownership that it believes in, shard by shard: epoch, fence.
    pub(super) views: [Option<(u64, u64)>; SHARDS],
    pub(super) hosts: Hosts,
    pub(super) timers: BTreeSet<(u64, Name)>,
    /// How far its wall clock is off.
    pub(super) skew_ms: i64,
    /// Saves whose answer is awaited: never two of one actor.
    pub(super) out: BTreeMap<Name, u128>,
}

/// What one actor has done elsewhere, on behalf of its committed state.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) name: Name,
    pub(super) number: u128,
    pub(super) call: Call,
    pub(super) nth: Try,
}

/// On its way; picked in any order.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Load {
        node: usize,
        life: u32,
        name: Name,
        number: u128,
    },
    Loaded {
        node: usize,
        life: u32,
        name: Name,
        number: u128,
        row: Result<Option<Row>, Reason>,
    },
    Save {
        node: usize,
        life: u32,
        name: Name,
        order: SaveOrder,
        answers: bool,
    },
    Saved {
        node: usize,
        life: u32,
        name: Name,
        op_id: u128,
        saved: Saved,
    },
    Unmark {
        name: Name,
        armed: Armed,
    },
    /// A client that does not know, and asks again under the same key.
    Again(u32),
    /// What a deed asks of whom, on its way there; `None` = whoever asked waits no more.
    Errand(Errand, Try, Option<Deed>),
    /// What came of a deed, on its way back.
    Performed(Deed, Result<Done, Again>),
    /// Events on their way to the sink.
    Offer(Offer),
    /// What became of them, on its way back.
    Told {
        node: usize,
        life: u32,
        name: Name,
        up_to: u64,
        published: bool,
    },
}

/// What a seed is about: every seed draws its own mix, so that rare combinations are common in some.
pub(super) struct Mix {
    /// One request in so many goes to whoever believes to be the owner.
    pub(super) stray_one_in: u64,
    /// Saves that go wrong, of [`FATES`].
    pub(super) faulty_fates: u64,
    /// Deeds that go wrong, of [`FATES`].
    pub(super) faulty_deeds: u64,
    /// Crashes, takeovers and handoffs, of 14 in 100 steps.
    upheavals: u64,
    /// One step of time in so many is of minutes.
    pub(super) leap_one_in: u64,
}

/// Ways a save or a deed may go.
pub(super) const FATES: u64 = 20;

pub(super) struct World {
    pub(super) mix: Mix,
    pub(super) rng: Rng,
    pub(super) mono_ms: u64,
    pub(super) model: Model,
    pub(super) bank: Bank,
    /// The gateway is away until then.
    pub(super) bank_back_ms: u64,
    /// Who owns which shard: node, epoch, fence.
    pub(super) owners: [(usize, u64, u64); SHARDS],
    pub(super) nodes: Vec<Node>,
    pub(super) messages: Vec<Message>,
    /// What is on its way for long: until then it is not picked.
    pub(super) late: Vec<(u64, Message)>,
    /// Deeds that wait for another actor, by token, and on which node.
    pub(super) deeds: BTreeMap<u64, (usize, Deed)>,
    pub(super) shop: Shop,
    pub(super) ops: BTreeMap<u64, Op>,
    /// Commands that clients wait for, by token: on which node, which.
    pub(super) asked: BTreeMap<u64, (usize, u64)>,
    pub(super) ledger: Ledger,
    pub(super) sink: Sink,
    /// What the sink is like; `None` = nobody wants to be told, and no event is made.
    pub(super) mood: Option<Mood>,
    pub(super) token_next: u64,
    pub(super) save_next: u128,
    pub(super) faults: bool,
    pub(super) events: usize,
    trace: Option<String>,
}

/// What a seed that broke nothing was about.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) trace: String,
    pub(super) events: usize,
    /// How often what happened, for whoever wants to know what the seeds reach.
    pub(super) counts: BTreeMap<&'static str, usize>,
}

/// Runs one seed to its quiet end; keeps its trace if it is wanted.
pub(super) fn run(seed: u64, traced: bool) -> Result<Report, Violation> {
    let mut world = World::new(seed, traced);
    let done = world.live();
    let trace = world.trace.take().unwrap_or_default();
    match done {
        Ok(()) => Ok(Report { trace, events: world.events, counts: world.counts() }),
        Err(Broken(promise, what)) => Err(Violation { promise, what, trace }),
    }
}

impl World {
    fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::default()).collect();
        let mut owners = [(0, 1, 1); SHARDS];
        for (shard, owner) in owners.iter_mut().enumerate() {
            owner.0 = rng.below(NODES as u64) as usize;
            nodes[owner.0].views[shard] = Some((1, 1));
        }
        let mix = Mix {
            stray_one_in: [3, 8, 20][rng.below(3) as usize],
            faulty_fates: [0, 2, 5, 8][rng.below(4) as usize],
            faulty_deeds: [0, 3, 6, 10][rng.below(4) as usize],
            upheavals: [0, 2, 5, 12][rng.below(4) as usize],
            leap_one_in: [8, 20, 60][rng.below(3) as usize],
        };
        let mood = [None, Some(Mood::Well), Some(Mood::Shaky), Some(Mood::Down)][rng.below(4) as usize];
        let shop = Shop::draw(&mut rng);
        Self {
            mix,
            rng,
            mono_ms: 1_000,
            model: Model::default(),
            bank: Bank::default(),
            bank_back_ms: 0,
            owners,
            nodes,
            messages: Vec::new(),
            late: Vec::new(),
            deeds: BTreeMap::new(),
            shop,
            ops: BTreeMap::new(),
            asked: BTreeMap::new(),
            ledger: Ledger::default(),
            sink: Sink::default(),
            mood,
            token_next: 0,
            save_next: 0,
            faults: true,
            events: 0,
            trace: traced.then(String::new),
        }
    }

    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        self.events += 1;
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>9} {line}", self.mono_ms); // a string takes everything
        }
    }

    /// The true time.
    pub(super) const fn wall(&self) -> UnixMillis {
        UnixMillis(WALL_START_MS + self.mono_ms)
    }

    fn live(&mut self) -> Result<(), Broken> {
        self.open_shop()?;
        for _ in 0..STEPS {
            match self.rng.below(100) {
                0..26 => self.shop()?,
                26..74 => {
                    for _ in 0..1 + self.rng.below(12) {
                        self.deliver_any()?;
                    }
                }
                74..84 => self.pass_time()?,
                84..90 => self.scan_agenda()?,
                90..93 => self.passivate(),
                93..96 => self.drift(),
                _ if self.rng.below(14) < self.mix.upheavals => self.upheaval()?,
                _ => self.deliver_any()?,
            }
        }
        self.settle()
    }

    fn drift(&mut self) {
        let node = self.rng.below(NODES as u64) as usize;
        let skew_ms = self.nodes[node].skew_ms + self.rng.below(4_000) as i64 - 2_000;
        self.nodes[node].skew_ms = skew_ms.clamp(-(SKEW_MAX_MS as i64), SKEW_MAX_MS as i64);
        if self.rng.one_in(6) {
            let back_ms = self.mono_ms + self.rng.below(30_000);
            self.bank_back_ms = back_ms;
            self.note(format_args!("the gateway is away until {back_ms}"));
        }
    }

    fn pass_time(&mut self) -> Result<(), Broken> {
        let ms = match self.rng.below(12) {
            _ if self.rng.one_in(self.mix.leap_one_in) => self.rng.below(20 * 60_000),
            0..6 => self.rng.below(200),
            6..11 => self.rng.below(3_000),
            _ => self.rng.below(70_000),
        };
        self.go_to(self.mono_ms + ms)
    }

    /// Lets time come to that moment.
    fn go_to(&mut self, mono_ms: u64) -> Result<(), Broken> {
        self.mono_ms = mono_ms;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at_ms, _)| *at_ms <= mono_ms);
        self.late = late;
        self.messages.extend(Vec::into_iter(due).map(|(_, message)| message));
        (0..NODES).try_for_each(|node| self.tick(node))
    }

    // ---- the quiet end ----

    /// Nothing goes wrong any more; time runs: everything must come to rest, and agree.
    fn settle(&mut self) -> Result<(), Broken> {
        self.note(format_args!("quiet"));
        self.faults = false;
        self.bank_back_ms = 0;
        for node in 0..NODES {
            self.nodes[node].skew_ms = 0;
            for shard in 0..SHARDS {
                if self.owners[shard].0 != node {
                    self.drop_shard(node, shard)?;
                }
            }
        }
        let (begin_ms, end_ms) = (self.mono_ms, self.mono_ms + QUIET_MS);
        for _ in 0..QUIET_ROUNDS {
            if !self.messages.is_empty() {
                for message in std::mem::take(&mut self.messages) {
                    self.deliver(message)?;
                }
                continue;
            }
            let timers = self.nodes.iter().filter_map(|node| node.timers.first().map(|(at_ms, _)| *at_ms));
            // What fired before and stays belongs to a save that may yet land: it is looked at again, ever more seldom.
            let again_ms = self.mono_ms + 5_000 + (self.mono_ms - begin_ms) / 20;
            let wake_ms = |(due, ..): &(u64, Name, u64)| match due.saturating_sub(WALL_START_MS) {
                past_ms if past_ms <= self.mono_ms => again_ms,
                due_ms => due_ms,
            };
            let wakes = self.model.agenda.iter().map(wake_ms);
            let late = self.late.iter().map(|(at_ms, _)| *at_ms);
            let Some(next_ms) = timers.chain(wakes).chain(late).min() else { break };
            if next_ms > end_ms {
                break;
            }
            self.go_to(next_ms)?;
            self.scan_agenda()?;
        }
        self.at_the_end()
    }
}
