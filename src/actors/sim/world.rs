//! The world: nodes that host the real machine, messages on their way, clients, and whatever can go wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use super::{
    check::Ledger,
    entity::{Ask as Wish, No, Tally, TallyEntity},
    message::{Deed, Message},
    rng::Rng,
    sink::{Mood, Offer, Sink},
    store::Model,
};
use crate::{
    actors::{
        ask::{Ask, Effect, Failure, Key},
        durable::{Durable, Input, Outcome, Output, Surroundings, WAITING_MAX},
    },
    codec::record::Armed,
    domain::UnixMillis,
};

const NODES: usize = 3;
const STEPS: u64 = 160;
/// Longest wait of a client.
pub(super) const TIMEOUT_MS: u64 = 3_000;
/// Where the wall clocks start.
const WALL_START_MS: u64 = 1_000_000_000;
/// Rounds in which everything must settle once nothing goes wrong any more.
const QUIET_ROUNDS: usize = 400;

/// A broken promise, and how it came about.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) promise: &'static str,
    pub(super) what: String,
    pub(super) trace: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken: {}", self.promise, self.what)
    }
}

/// What `check` finds.
#[derive(Debug)]
pub(super) struct Broken(pub(super) &'static str, pub(super) String);

pub(super) type Machine = Durable<TallyEntity, u64>;

/// One node: what it hosts is gone with its life.
#[derive(Default)]
pub(super) struct Node {
    pub(super) life: u32,
    /// The ownership that it believes in.
    view: Option<(u64, u64)>,
    pub(super) actors: BTreeMap<u128, Machine>,
    timers: BTreeSet<(u64, u128)>,
    /// How far its wall clock is off.
    skew_ms: i64,
    /// Saves whose answer is awaited: never two of one actor.
    pub(super) out: BTreeMap<u128, u128>,
}

/// What a seed is about: every seed draws its own mix, so that rare combinations are common in some.
pub(super) struct Mix {
    actors: u64,
    /// One request in so many goes to whoever believes to be the owner.
    stray_one_in: u64,
    /// One request in so many is a read.
    read_one_in: u64,
    /// Saves that go wrong, of [`FATES`].
    pub(super) faulty_fates: u64,
    /// Crashes, takeovers and handoffs, of 14 in 100 steps.
    upheavals: u64,
}

impl Mix {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            actors: [1, 2, 3, 12][rng.below(4) as usize],
            stray_one_in: [2, 4, 8][rng.below(3) as usize],
            read_one_in: [2, 5, 20][rng.below(3) as usize],
            faulty_fates: rng.below(7),
            upheavals: [3, 8, 14][rng.below(3) as usize],
        }
    }
}

/// Ways a save may go.
pub(super) const FATES: u64 = 16;

pub(super) struct World {
    pub(super) mix: Mix,
    pub(super) rng: Rng,
    pub(super) mono_ms: u64,
    pub(super) model: Model,
    /// Who owns the shard: node, epoch, fence.
    owner: (usize, u64, u64),
    pub(super) nodes: Vec<Node>,
    pub(super) messages: Vec<Message>,
    pub(super) ledger: Ledger,
    pub(super) sink: Sink,
    pub(super) mood: Mood,
    /// Deeds that wait for an answer, by token, and where.
    pub(super) deeds: BTreeMap<u64, (usize, Deed)>,
    pub(super) deeds_begun: u64,
    op_next: u32,
    save_next: u128,
    pub(super) faults: bool,
    trace: String,
}

/// Runs one seed to its quiet end.
pub(super) fn run(seed: u64) -> Result<String, Violation> {
    quiet_planned_panics();
    let mut world = World::new(seed);
    match world.live() {
        Ok(()) => Ok(world.trace),
        Err(Broken(promise, what)) => Err(Violation { promise, what, trace: world.trace }),
    }
}

/// The default hook prints every panic, also those that the machine is meant to survive.
pub(in crate::actors) fn quiet_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&super::entity::PLANNED_PANIC) {
                hook(info);
            }
        }));
    });
}

impl Node {
    pub(super) const fn is_serving(&self) -> bool {
        self.view.is_some()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::default()).collect();
        nodes[0].view = Some((1, 1));
        let mut rng = Rng::new(seed);
        let mix = Mix::draw(&mut rng);
        Self {
            mix,
            mood: [Mood::Well, Mood::Shaky, Mood::Down][rng.below(3) as usize],
            sink: Sink::default(),
            rng,
            mono_ms: 1_000,
            model: Model::default(),
            owner: (0, 1, 1),
            nodes,
            messages: Vec::new(),
            ledger: Ledger::default(),
            deeds: BTreeMap::new(),
            deeds_begun: 0,
            op_next: 0,
            save_next: 0,
            faults: true,
            trace: String::new(),
        }
    }

    fn live(&mut self) -> Result<(), Broken> {
        for _ in 0..STEPS {
            self.act()?;
            self.ledger.check(&self.model)?;
        }
        self.settle()
    }

    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        let _ = writeln!(self.trace, "{:>8} {line}", self.mono_ms); // a string takes everything
    }

    fn act(&mut self) -> Result<(), Broken> {
        match self.rng.below(100) {
            0..30 => self.ask(),
            30..62 => self.deliver_any(),
            62..74 => self.pass_time(),
            74..80 => self.scan_agenda(),
            80..84 => self.passivate(),
            84..98 => self.upheaval(),
            98 if self.rng.one_in(12) => self.burst(),
            _ => self.drift(),
        }
    }

    // ---- clients ----

    fn ask(&mut self) -> Result<(), Broken> {
        let node = self.any_serving_node();
        let id = u128::from(self.rng.below(self.mix.actors));
        if self.rng.one_in(self.mix.read_one_in) {
            return self.read(node, id);
        }
        self.op_next += 1;
        let op = self.op_next;
        let wish = match self.rng.below(20) {
            0..9 => Wish::Add(op),
            9..14 => Wish::AddIfEven(op),
            14..16 => Wish::Arm(op, 1 + self.rng.below(20_000)),
            16 | 17 => Wish::Send(op, u128::from(self.rng.below(self.mix.actors))),
            18 if self.rng.one_in(2) => Wish::Panic,
            _ => Wish::Add(op),
        };
        let keyed = self.rng.one_in(2) && wish != Wish::Panic;
        self.ledger.wish(op, id, wish, keyed);
        self.attempt(node, op)
    }

    pub(super) fn any_serving_node(&mut self) -> usize {
        let serving: Vec<_> = (0..NODES).filter(|n| self.nodes[*n].view.is_some()).collect();
        // Mostly the owner, as a router does; now and then whoever still believes to be it.
        if self.rng.one_in(self.mix.stray_one_in) && !serving.is_empty() {
            return serving[self.rng.below(serving.len() as u64) as usize];
        }
        self.owner.0
    }

    pub(super) fn attempt(&mut self, node: usize, op: u32) -> Result<(), Broken> {
        let (id, wish, keyed) = self.ledger.wanted(op);
        let key = keyed.then(|| Key { key: u128::from(op), request: u128::from(op) });
        let deadline_ms = self.mono_ms + TIMEOUT_MS;
        let token = self.ledger.attempt(op, node, self.nodes[node].life, deadline_ms);
        self.note(format_args!("n{node} a{id} asked {wish:?} key={keyed} token={token}"));
        if self.nodes[node].view.is_none() {
            return self.answered(node, token, Err(Failure::NotOwner));
        }
        let timeout = Duration::from_millis(TIMEOUT_MS);
        let ask = Ask { command: wish, by: None, if_revision: None, key, timeout, deed: None };
        self.step(node, id, Input::Ask { ask, since_ms: self.mono_ms, token })
    }

    fn read(&mut self, node: usize, id: u128) -> Result<(), Broken> {
        let deadline_ms = self.mono_ms + TIMEOUT_MS;
        let token = self.ledger.read(id, node, self.nodes[node].life, deadline_ms);
        self.note(format_args!("n{node} a{id} read token={token}"));
        if self.nodes[node].view.is_none() {
            return self.answered(node, token, Err(Failure::NotOwner));
        }
        let timeout = Duration::from_millis(TIMEOUT_MS);
        self.step(node, id, Input::Read { timeout, since_ms: self.mono_ms, token })
    }

    /// More commands at once than one actor may let wait.
    fn burst(&mut self) -> Result<(), Broken> {
        let node = self.owner.0;
        for _ in 0..WAITING_MAX + 50 {
            self.op_next += 1;
            self.ledger.wish(self.op_next, 0, Wish::Add(self.op_next), false);
            self.attempt(node, self.op_next)?;
        }
        Ok(())
    }

    fn answered(&mut self, node: usize, token: u64, outcome: Outcome<TallyEntity>) -> Result<(), Broken> {
        let told = match &outcome {
            Ok(answer) => format!("ok {:?} outcome={} replayed={}", answer.state, answer.outcome, answer.replayed),
            Err(failure) => format!("{failure:?}"),
        };
        self.note(format_args!("n{node} token={token} answered {told}"));
        if let Some((_, deed)) = self.deeds.remove(&token) {
            self.messages.push(Message::Performed(deed, outcome.is_ok().then_some(())));
            return Ok(());
        }
        let owns = self.owner.0 == node && self.nodes[node].view == Some((self.owner.1, self.owner.2));
        let op = self.ledger.answered(token, &outcome, owns, &self.model)?;
        let unsure = matches!(
            outcome,
            Err(Failure::StoreUnavailable(_) | Failure::TimedOut(_) | Failure::Internal(Effect::Unknown))
        );
        if let Some(op) = op
            && (unsure || self.rng.one_in(3))
            && self.ledger.may_retry(op)
        {
            self.messages.push(Message::Again { op });
        }
        Ok(())
    }

    // ---- nodes ----

    fn around(&self, node: usize) -> Option<Surroundings> {
        let (epoch, fence) = self.nodes[node].view?;
        let wall = (WALL_START_MS + self.mono_ms).saturating_add_signed(self.nodes[node].skew_ms);
        Some(Surroundings {
            wall: UnixMillis(wall),
            mono_ms: self.mono_ms,
            epoch,
            fence,
            expire_after_ms: 0,
            emits: true,
        })
    }

    pub(super) fn step(&mut self, node: usize, id: u128, input: Input<TallyEntity, u64>) -> Result<(), Broken> {
        let Some(around) = self.around(node) else { return Ok(()) };
        let mut outputs = Vec::new();
        let save_next = &mut self.save_next;
        let mut op_id = || {
            *save_next += 1;
            *save_next
        };
        let machine = self.nodes[node].actors.entry(id).or_default();
        machine.step(input, &around, &mut op_id, &mut outputs);
        let waiting = machine.facts().waiting;
        if waiting > WAITING_MAX {
            return Err(Broken("P9", format!("{waiting} commands wait for one actor")));
        }
        if machine.is_cold() {
            self.nodes[node].actors.remove(&id);
        }
        for output in outputs {
            self.perform(node, id, output)?;
        }
        Ok(())
    }

    fn perform(&mut self, node: usize, id: u128, output: Output<TallyEntity, u64>) -> Result<(), Broken> {
        let life = self.nodes[node].life;
        match output {
            Output::Load { number, serial } => {
                self.note(format_args!("n{node} a{id} loads serial={serial}"));
                self.messages.push(Message::Load { node, life, id, number });
            }
            Output::Save(order) => {
                let row = &order.row;
                self.note(format_args!(
                    "n{node} a{id} saves op={} expect={:?} epoch={} riders={}",
                    row.op_id, order.expect, row.epoch, order.riders
                ));
                if let Some(other) = self.nodes[node].out.insert(id, row.op_id)
                    && other != row.op_id
                {
                    return Err(Broken("P2", format!("save {} is sent while save {other} is out", row.op_id)));
                }
                self.messages.push(Message::Save { node, life, id, order, answers: true });
            }
            Output::Reply(token, outcome) => self.answered(node, token, outcome)?,
            Output::Unmark(armed) => self.messages.push(Message::Unmark { id, armed }),
            Output::WakeAt(at_ms) => {
                self.nodes[node].timers.insert((at_ms, id));
            }
            Output::Fenced => {
                self.note(format_args!("n{node} fenced"));
                self.drop_all(node, &Failure::NotOwner)?;
            }
            Output::Perform { number, call: (op, to), .. } => {
                self.note(format_args!("n{node} a{id} sends {op} to a{to}"));
                let is_committed = |row: &super::store::Committed| row.record.state.ops.contains(&op);
                if !self.model.committed(id).iter().any(is_committed) {
                    return Err(Broken("P1", format!("a{id} sends {op}, which the store never committed")));
                }
                self.messages.push(Message::Deed(Deed { node, life, id, number, op, to }));
            }
            Output::Committed(state) | Output::Foretold(state) => self.shown(id, &state)?,
            Output::Publish { up_to, events, spilled } => {
                self.messages.push(Message::Offer(Offer { node, life, id, up_to, events, spilled }));
            }
            Output::Retracted | Output::Note(_) => {}
        }
        Ok(())
    }

    /// What readers and watchers may see is committed.
    fn shown(&mut self, id: u128, state: &Arc<Tally>) -> Result<(), Broken> {
        if self.model.committed(id).iter().any(|committed| committed.record.state == **state) {
            return Ok(());
        }
        Err(Broken("P1", format!("a{id} shows {state:?}, which the store never committed")))
    }

    /// The node owns nothing any more, and tells everybody who waits.
    fn drop_all(&mut self, node: usize, failure: &Failure<No>) -> Result<(), Broken> {
        self.nodes[node].view = None;
        self.nodes[node].out.clear();
        self.nodes[node].timers.clear();
        let mut outputs = Vec::new();
        for (_, mut machine) in std::mem::take(&mut self.nodes[node].actors) {
            machine.abandon(failure, &mut outputs);
        }
        for output in outputs {
            if let Output::Reply(token, outcome) = output {
                self.answered(node, token, outcome)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, node: usize) -> Result<(), Broken> {
        while let Some(&(at_ms, id)) = self.nodes[node].timers.first() {
            if at_ms > self.mono_ms {
                break;
            }
            self.nodes[node].timers.remove(&(at_ms, id));
            if self.nodes[node].actors.contains_key(&id) {
                self.step(node, id, Input::Tick)?;
            }
        }
        self.ledger.nobody_waits_past(self.mono_ms, node, self.nodes[node].life)
    }

    fn scan_agenda(&mut self) -> Result<(), Broken> {
        let serving: Vec<_> = (0..NODES).filter(|n| self.nodes[*n].view.is_some()).collect();
        for node in serving {
            let Some(around) = self.around(node) else { continue };
            let due = self.model.agenda.range(..(around.wall.0 + 1, 0, 0)).copied().collect::<Vec<_>>();
            for (due, id, version) in due {
                self.note(format_args!("n{node} a{id} wakes due={due} version={version}"));
                self.step(node, id, Input::Wake(Armed { due: UnixMillis(due), version }))?;
            }
        }
        Ok(())
    }

    fn passivate(&mut self) -> Result<(), Broken> {
        let node = self.rng.below(NODES as u64) as usize;
        let id = u128::from(self.rng.below(self.mix.actors));
        if self.nodes[node].actors.get(&id).is_some_and(Machine::is_idle) {
            self.note(format_args!("n{node} a{id} passivated"));
            self.nodes[node].actors.remove(&id);
        }
        Ok(())
    }

    // ---- what goes wrong ----

    fn upheaval(&mut self) -> Result<(), Broken> {
        if self.rng.below(14) >= self.mix.upheavals {
            return Ok(());
        }
        match self.rng.below(6) {
            0 => self.crash(),
            1 | 2 => self.take_over(),
            3 => self.learn(),
            4 => self.hand_off(),
            _ => self.restart_shard(),
        }
    }

    /// A shard actor crashes and is started again: everything in memory is gone, its ownership stays.
    fn restart_shard(&mut self) -> Result<(), Broken> {
        let node = self.rng.below(NODES as u64) as usize;
        let view = self.nodes[node].view;
        self.note(format_args!("n{node}'s shard actor crashes"));
        self.die(node);
        self.nodes[node].view = view;
        Ok(())
    }

    fn die(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let skew_ms = self.nodes[node].skew_ms;
        self.nodes[node] = Node { life: life + 1, skew_ms, ..Node::default() };
        for (_, (_, deed)) in self.deeds.extract_if(.., |_, (at, _)| *at == node) {
            self.messages.push(Message::Performed(deed, None));
        }
        for op in self.ledger.crashed(node, life) {
            if self.ledger.may_retry(op) {
                self.messages.push(Message::Again { op });
            }
        }
    }

    fn crash(&mut self) -> Result<(), Broken> {
        let node = self.rng.below(NODES as u64) as usize;
        self.note(format_args!("n{node} crashes"));
        self.die(node);
        // A start takes a new epoch and a new fence.
        if self.owner.0 == node {
            self.own(node, true);
        }
        Ok(())
    }

    fn own(&mut self, node: usize, fence_rises: bool) {
        let (_, epoch, fence) = self.owner;
        self.owner = (node, epoch + 1, if fence_rises { epoch + 1 } else { fence });
        self.nodes[node].view = Some((self.owner.1, self.owner.2));
        let (_, epoch, fence) = self.owner;
        self.note(format_args!("n{node} owns the shard: epoch={epoch} fence={fence}"));
    }

    /// Another node takes the shard; the old owner does not know.
    fn take_over(&mut self) -> Result<(), Broken> {
        let node = self.rng.below(NODES as u64) as usize;
        if node != self.owner.0 {
            self.drop_all(node, &Failure::NotOwner)?;
            self.own(node, true);
        }
        Ok(())
    }

    /// A deposed node learns the map.
    fn learn(&mut self) -> Result<(), Broken> {
        let node = self.rng.below(NODES as u64) as usize;
        if node != self.owner.0 && self.nodes[node].view.is_some() {
            self.note(format_args!("n{node} learns that it is deposed"));
            self.drop_all(node, &Failure::NotOwner)?;
        }
        Ok(())
    }

    /// The owner gives the shard away, settled: the fence is carried along.
    fn hand_off(&mut self) -> Result<(), Broken> {
        let from = self.owner.0;
        let to = self.rng.below(NODES as u64) as usize;
        let settled = self.nodes[from].actors.values().all(|m| m.pending() == 0 && !m.is_unsettled());
        let busy = !self.nodes[from].out.is_empty();
        if to == from || !settled || busy || self.nodes[from].view != Some((self.owner.1, self.owner.2)) {
            return Ok(());
        }
        self.note(format_args!("n{from} hands off to n{to}"));
        self.drop_all(from, &Failure::NotOwner)?;
        self.drop_all(to, &Failure::NotOwner)?;
        self.own(to, false);
        Ok(())
    }

    fn drift(&mut self) -> Result<(), Broken> {
        let node = self.rng.below(NODES as u64) as usize;
        self.nodes[node].skew_ms += self.rng.below(1_000) as i64 - 500;
        Ok(())
    }

    fn pass_time(&mut self) -> Result<(), Broken> {
        let ms = match self.rng.below(10) {
            0..6 => self.rng.below(100),
            6..9 => self.rng.below(2_000),
            _ => self.rng.below(40_000),
        };
        self.mono_ms += ms;
        (0..NODES).try_for_each(|node| self.tick(node))
    }

    // ---- the quiet end ----

    /// Nothing goes wrong any more: everything must settle, and what was promised must be there.
    fn settle(&mut self) -> Result<(), Broken> {
        self.note(format_args!("quiet"));
        self.faults = false;
        for node in 0..NODES {
            self.nodes[node].skew_ms = 0;
            if node != self.owner.0 {
                self.drop_all(node, &Failure::NotOwner)?;
            }
        }
        for _ in 0..QUIET_ROUNDS {
            for message in std::mem::take(&mut self.messages) {
                self.deliver(message)?;
                self.ledger.check(&self.model)?;
            }
            self.mono_ms += 200;
            (0..NODES).try_for_each(|node| self.tick(node))?;
            self.scan_agenda()?;
        }
        // A day on, everything that was ever armed is due, and what nobody needs is gone.
        self.mono_ms += 25 * 60 * 60 * 1000;
        for _ in 0..60 {
            (0..NODES).try_for_each(|node| self.tick(node))?;
            self.scan_agenda()?;
            for message in std::mem::take(&mut self.messages) {
                self.deliver(message)?;
                self.ledger.check(&self.model)?;
            }
            self.mono_ms += 200;
        }
        self.ledger.at_the_end(&self.model)?;
        self.sink.at_the_end(&self.model)
    }
}
