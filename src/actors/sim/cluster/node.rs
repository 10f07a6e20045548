//! One node: its clock, its part in the cluster, and whatever it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    super::{entity::Ask as Wish, world::Broken},
    disk::Work,
    faults::{RELEASES, Release, Upheaval},
    host::Served,
    net::End,
    trips::{Answered, Trip},
    world::{Event, TIMEOUT_MS, World},
};
use crate::{
    cluster::{
        Freshness, Grounds, Identity, Input, Machine, Peer, Routes, Rules, Seat, freshness, joining,
        machine::{Look, Note, Output, Surroundings},
        member_id, member_row,
    },
    codec::{self, Member, MemberState},
    domain::UnixMillis,
    store::{Expect, Kind, Reason, Row, Saved},
};

/// Where the wall clocks start.
const WALL_START_MS: u64 = 1_000_000_000_000;

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Serves,
    Drains,
}

/// What a node is told.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Seat(Result<Option<Row>, Reason>),
    Looked(u64, Result<Look, String>),
    Saved(u128, Saved),
    Loaded {
        shard: u16,
        turn: u64,
        id: u128,
        number: u128,
        row: Result<Option<Row>, Reason>,
    },
    ActorSaved {
        shard: u16,
        turn: u64,
        id: u128,
        op_id: u128,
        saved: Saved,
    },
    Dialled {
        name: Arc<str>,
        incarnation: u64,
        refused: bool,
    },
    /// A peer wants a session.
    Open {
        from: usize,
        session: u64,
        incarnation: u64,
    },
    Opened {
        from: usize,
        session: u64,
        incarnation: u64,
    },
    Probe {
        from: usize,
        session: u64,
        sent_ms: u64,
    },
    Echo {
        from: usize,
        session: u64,
        sent_ms: u64,
    },
    Reset {
        from: usize,
        session: u64,
    },
    Hint(u64),
    /// A client asks.
    Client {
        token: u64,
        id: u128,
        wanted: Option<(Wish, Option<u32>)>,
    },
    Request {
        from: usize,
        session: u64,
        ask: u64,
        hops: u8,
        travelled: u8,
        map_version: u64,
        id: u128,
        wanted: Option<(Wish, Option<u32>)>,
        timeout_ms: u64,
    },
    Reply {
        from: usize,
        session: u64,
        ask: u64,
        answered: Answered,
    },
}

/// A row on its way to become this node's seat.
#[derive(Clone, Debug)]
struct Joining {
    member: Member,
    expect: Expect,
    row: Row,
    is_free: bool,
}

pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) life: u32,
    pub(super) is_running: bool,
    pub(super) life_stage: Life,
    /// Serves no more.
    pub(super) closed: bool,
    pub(super) incarnation: u64,
    pub(super) release: Release,
    joining: Option<Joining>,
    pub(super) machine: Option<Machine>,
    pub(super) grounds: Grounds,
    pub(super) routes: Arc<Routes>,
    /// It has found that it is cut off, and gives up what it has.
    pub(super) is_cut_off: bool,
    pub(super) followed: Vec<Peer>,
    pub(super) ends: BTreeMap<usize, End>,
    pub(super) dial_next_ms: BTreeMap<usize, u64>,
    pub(super) shards: BTreeMap<u16, Served>,
    pub(super) trips: BTreeMap<u64, Trip>,
    /// Trips by the number that their machine here answers to.
    pub(super) here: BTreeMap<u64, u64>,
    pub(super) inputs: VecDeque<Input>,
    pub(super) is_stepping: bool,
    pub(super) paused_until_ms: u64,
    pub(super) resumed_ms: u64,
    pub(super) inbox: Vec<Message>,
    pub(super) pulse_next_ms: u64,
    clock_start_ms: u64,
    /// Thousandths by which its clock is fast.
    drift: i64,
    skew_ms: i64,
}

pub(super) fn number(name: &str) -> usize {
    name.trim_start_matches('n').parse().unwrap_or(0)
}

impl Node {
    pub(super) fn new(at: usize, clock_start_ms: u64, drift: i64, skew_ms: i64) -> Self {
        Self {
            name: format!("n{at}").into(),
            life: 0,
            is_running: false,
            life_stage: Life::Serves,
            closed: false,
            incarnation: 0,
            release: RELEASES[RELEASES.len() - 1],
            joining: None,
            machine: None,
            grounds: Grounds::default(),
            routes: Arc::default(),
            is_cut_off: false,
            followed: Vec::new(),
            ends: BTreeMap::new(),
            dial_next_ms: BTreeMap::new(),
            shards: BTreeMap::new(),
            trips: BTreeMap::new(),
            here: BTreeMap::new(),
            inputs: VecDeque::new(),
            is_stepping: false,
            paused_until_ms: 0,
            resumed_ms: 0,
            inbox: Vec::new(),
            pulse_next_ms: 0,
            clock_start_ms,
            drift,
            skew_ms,
        }
    }

    pub(super) const fn is_paused(&self, now_ms: u64) -> bool {
        now_ms < self.paused_until_ms
    }

    pub(super) fn takes_requests(&self) -> bool {
        self.is_running && self.machine.is_some() && !self.closed
    }

    /// What its clock shows.
    pub(super) const fn clock_ms(&self, now_ms: u64) -> u64 {
        self.clock_start_ms + now_ms * (1_000 + self.drift) as u64 / 1_000
    }

    pub(super) const fn wall(&self, now_ms: u64) -> UnixMillis {
        UnixMillis((WALL_START_MS + self.clock_ms(now_ms) - self.clock_start_ms).saturating_add_signed(self.skew_ms))
    }

    pub(super) fn freshness(&self, now_ms: u64) -> Freshness {
        freshness(self.grounds.until_ms(), self.clock_ms(now_ms))
    }
}

impl World {
    pub(super) fn start(&mut self, node: usize, at_ms: u64) {
        let old = &self.nodes[node];
        let life = old.life + 1;
        self.net.dark[node] = false;
        let fresh = Node::new(node, old.clock_start_ms, old.drift, old.skew_ms);
        let release = self.draw_release();
        self.nodes[node] = Node { life, is_running: true, release, ..fresh };
        self.note(format_args!("n{node} starts, life {life}, {release:?}"));
        self.at(at_ms, Event::Tick { node, life });
        self.store(Work::Seat { node, life, name: member_id(&format!("n{node}")) });
    }

    pub(super) fn crash(&mut self, node: usize) -> Result<(), Broken> {
        if !self.nodes[node].is_running {
            return Ok(());
        }
        self.note(format_args!("n{node} is gone"));
        let life = self.nodes[node].life;
        self.nodes[node].is_running = false;
        self.nodes[node].shards.clear();
        let ends = std::mem::take(&mut self.nodes[node].ends);
        for (other, end) in ends {
            if self.net.dark[node] {
                break;
            }
            self.wire(node, other, Message::Reset { from: node, session: end.session });
        }
        for op in self.ledger.crashed(node, life) {
            self.client_retries(op);
        }
        Ok(())
    }

    pub(super) fn client_retries(&mut self, op: u32) {
        if self.ledger.may_retry(op) {
            let ms = self.rng.below(1_500);
            self.after(ms, Event::Again { op });
        }
    }

    pub(super) fn deliver(&mut self, to: usize, life: u32, message: Message) -> Result<(), Broken> {
        if !self.runs(to, life) {
            return Ok(());
        }
        if self.nodes[to].is_paused(self.now_ms) {
            self.nodes[to].inbox.push(message);
            return Ok(());
        }
        self.received(to, message)
    }

    pub(super) fn received(&mut self, node: usize, message: Message) -> Result<(), Broken> {
        if !self.nodes[node].is_running {
            return Ok(());
        }
        match message {
            Message::Seat(row) => self.seat(node, row),
            Message::Saved(op_id, saved) => {
                if self.nodes[node].joining.as_ref().is_some_and(|joining| joining.row.op_id == op_id) {
                    return self.joined(node, &saved);
                }
                self.tell_machine(node, Input::Saved(op_id, saved))
            }
            Message::Looked(asked_ms, look) => self.tell_machine(node, Input::Looked(asked_ms, look)),
            Message::Loaded { shard, turn, id, number, row } => self.loaded(node, shard, turn, id, number, row),
            Message::ActorSaved { shard, turn, id, op_id, saved } => {
                self.actor_saved(node, shard, turn, id, op_id, saved)
            }
            Message::Dialled { name, incarnation, refused } => {
                self.note(format_args!("n{node} dialled {name} {incarnation}: refused={refused}"));
                self.tell_machine(node, Input::Dialled { name: name.to_string(), incarnation, refused })
            }
            Message::Client { token, id, wanted } => self.set_out(node, token, id, wanted),
            Message::Hint(version) => self.tell_machine(node, Input::Hint(version)),
            other => self.over_the_wire(node, other),
        }
    }

    // ---- joins ----

    fn seat(&mut self, node: usize, row: Result<Option<Row>, Reason>) -> Result<(), Broken> {
        let life = self.nodes[node].life;
        let Ok(row) = row else {
            self.store(Work::Seat { node, life, name: member_id(&self.nodes[node].name) });
            return Ok(());
        };
        let old = row.as_ref().and_then(|row| codec::decode_member(&row.body).ok());
        let name = Arc::clone(&self.nodes[node].name);
        let (release, format_max) = self.nodes[node].release;
        let written = self.disk.map().map_or(0, |map| map.format);
        // One that read the map just before the format was raised finds out later.
        if written > format_max && !self.rng.one_in(3) {
            self.note(format_args!("n{node} runs {release} and reads no format {written}: it does not start"));
            return self.ends(node);
        }
        let identity = Identity {
            http: String::new(),
            admin: String::new(),
            cluster: format!("{name}:1"),
            release: release.to_owned(),
            name,
        };
        let member = Member { format_max, ..joining(&identity, old.as_ref()) };
        let expect = row.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
        let op_id = self.fresh_id();
        let wall = self.nodes[node].wall(self.now_ms);
        let row = member_row(&member, expect.next(), op_id, wall).map_err(|e| Broken("P9", e.to_string()))?;
        let is_free = old.is_none_or(|old| matches!(old.state, MemberState::Left | MemberState::Evicted));
        self.nodes[node].joining = Some(Joining { member, expect, row, is_free });
        self.save_seat(node);
        Ok(())
    }

    fn save_seat(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if let Some(Joining { expect, row, member, .. }) = self.nodes[node].joining.clone() {
            let id = member_id(&member.name);
            self.store(Work::Save { node, life, kind: Kind::Member, id, expect, row, answers: true });
        }
    }

    fn joined(&mut self, node: usize, saved: &Saved) -> Result<(), Broken> {
        let Some(joining) = &self.nodes[node].joining else { return Ok(()) };
        let is_applied = match saved {
            Saved::Applied => true,
            Saved::Lost(Some(head)) => head.op_id == joining.row.op_id,
            Saved::Lost(None) => false,
            Saved::Unknown(_) | Saved::Refused(_) => {
                self.save_seat(node);
                return Ok(());
            }
        };
        let Some(joining) = self.nodes[node].joining.take() else { return Ok(()) };
        if !is_applied {
            return self.seat(node, Err(Reason::new("lost")));
        }
        let rules = Rules { shards: self.mix.shards, alone: false, connected: true };
        self.note(format_args!("n{node} joins as {}", joining.member.incarnation));
        self.nodes[node].incarnation = joining.member.incarnation;
        let seat = Seat::new(joining.expect.next(), joining.member, joining.is_free);
        self.nodes[node].machine = Some(Machine::new(rules, seat));
        self.tell_machine(node, Input::Tick)
    }

    // ---- the cluster's machine, as the keeper runs it ----

    pub(super) fn tick(&mut self, node: usize) -> Result<(), Broken> {
        self.tick_sessions(node)?;
        self.tick_shards(node)?;
        self.tell_machine(node, Input::Tick)
    }

    pub(super) fn tell_machine(&mut self, node: usize, input: Input) -> Result<(), Broken> {
        if self.nodes[node].machine.is_none() {
            return Ok(());
        }
        self.nodes[node].inputs.push_back(input);
        if std::mem::replace(&mut self.nodes[node].is_stepping, true) {
            return Ok(());
        }
        while let Some(input) = self.nodes[node].inputs.pop_front() {
            let clock_ms = self.nodes[node].clock_ms(self.now_ms);
            let wall = self.nodes[node].wall(self.now_ms);
            let quiet = self.nodes[node].grounds.is_quiet(clock_ms);
            let around = Surroundings { now_ms: clock_ms, wall, quiet };
            let mut outputs = Vec::new();
            let id_next = &mut self.id_next;
            let mut op_id = || {
                *id_next += 1;
                *id_next
            };
            let Some(machine) = &mut self.nodes[node].machine else { break };
            machine.step(input, &around, &mut op_id, &mut outputs);
            for output in outputs {
                self.perform(node, output, clock_ms)?;
            }
        }
        self.nodes[node].is_stepping = false;
        Ok(())
    }

    fn perform(&mut self, node: usize, output: Output, clock_ms: u64) -> Result<(), Broken> {
        let life = self.nodes[node].life;
        if !matches!(output, Output::Look(_)) {
            self.note_output(node, &output);
        }
        match output {
            Output::Look(asked_ms) => self.store(Work::Members { node, life, asked_ms }),
            Output::Save(kind, id, expect, row) => {
                if kind == Kind::Map {
                    self.may_move(node, &row)?;
                }
                self.store(Work::Save { node, life, kind, id, expect, row, answers: true });
            }
            Output::Renewed(from_ms) => self.nodes[node].grounds.renewed(from_ms),
            Output::Forget(name, incarnation) => {
                self.nodes[node].grounds.retain(|n, i| !(n == name && i <= incarnation));
            }
            Output::Follow(peers) => self.follow(node, peers)?,
            Output::Dial(peer) => self.dial_suspect(node, &peer),
            Output::TellMap(version) => {
                let peers: Vec<_> = self.nodes[node].ends.keys().copied().collect();
                for peer in peers {
                    self.wire(node, peer, Message::Hint(version));
                }
            }
            Output::Routes(routes) => {
                self.nodes[node].is_cut_off = routes.steps_back;
                self.nodes[node].routes = routes;
                self.changed(node);
            }
            Output::Adopt(owned) => self.adopt(node, owned)?,
            Output::Release(shard) => self.release(node, shard)?,
            Output::Reopen(shard) => self.reopen(node, shard),
            Output::Gone(shard) | Output::Depose(shard) => self.drop_shard(node, shard)?,
            Output::Drained => {
                if self.nodes[node].life_stage == Life::Drains {
                    self.stop_serving(node)?;
                    self.nodes[node].inputs.push_back(Input::Leave);
                }
            }
            Output::Left | Output::Outdated(_) => self.ends(node)?,
            Output::Replaced => {
                self.nodes[node].grounds.lapse();
                self.ends(node)?;
            }
            // Told before the routes are, and before it gives anything away.
            Output::Note(Note::CutOff) => self.nodes[node].is_cut_off = true,
            Output::Note(_) => {}
        }
        let _ = clock_ms;
        Ok(())
    }

    fn note_output(&mut self, node: usize, output: &Output) {
        match output {
            Output::Save(kind, _, expect, row) => {
                self.note(format_args!("n{node} saves {kind:?} op={} {expect:?}", row.op_id));
            }
            Output::Routes(routes) => self.note(format_args!("n{node} routes by map {}", routes.map_version)),
            Output::Follow(peers) => {
                let names: Vec<_> = peers.iter().map(|peer| (&peer.name, peer.incarnation)).collect();
                self.note(format_args!("n{node} follows {names:?}"));
            }
            Output::Dial(peer) => self.note(format_args!("n{node} dials {}", peer.name)),
            other => self.note(format_args!("n{node}: {other:?}")),
        }
    }

    /// Nothing is served here any more; who waits is told.
    pub(super) fn stop_serving(&mut self, node: usize) -> Result<(), Broken> {
        self.nodes[node].closed = true;
        let shards: Vec<_> = self.nodes[node].shards.keys().copied().collect();
        for shard in shards {
            self.drop_shard(node, shard)?;
        }
        self.changed(node);
        Ok(())
    }

    /// The process ends, and starts again some time.
    fn ends(&mut self, node: usize) -> Result<(), Broken> {
        self.stop_serving(node)?;
        self.crash(node)?;
        if self.faults {
            let ms = 500 + self.rng.below(TIMEOUT_MS);
            self.after(ms, Event::Over(Upheaval::Down(node)));
        } else {
            self.start(node, self.now_ms);
        }
        Ok(())
    }
}
