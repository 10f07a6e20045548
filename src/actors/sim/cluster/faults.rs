//! What goes wrong, for how long, and what a seed is about.

use super::{
    super::{rng::Rng, world::Broken},
    node::Life,
    world::{Event, World},
};
use crate::cluster::Input;

/// What a seed is about: every seed draws its own mix, so that rare combinations are common in some.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) nodes: usize,
    pub(super) shards: u16,
    pub(super) actors: u64,
    pub(super) storm_ms: u64,
    pub(super) client_every_ms: u64,
    upheaval_every_ms: u64,
    /// Saves that go wrong, of [`FATES`].
    pub(super) faulty_fates: u64,
    /// Which of the kinds of upheavals there are, by bits.
    kinds: u64,
    /// Nothing but outages of the whole store.
    pub(super) only_outages: bool,
    /// A node whose peer finds it refused cannot reach the store either.
    is_firewalled: bool,
    /// Nodes run several releases, another at each start.
    pub(super) is_mixed: bool,
}

/// A release, and the newest record format that it reads.
pub(super) type Release = (&'static str, u16);
/// Older ones first; the last two read the same.
pub(super) const RELEASES: [Release; 3] = [("0.1.0", 1), ("0.9.0", 2), ("0.10.0", 2)];
/// When in the quiet time nodes are restarted one after the other with the newest release, and how far apart.
const ROLLS_OUT_MS: (u64, u64) = (7_000, 2_500);

/// Ways a save may go.
pub(super) const FATES: u64 = 40;
const KINDS: u64 = 12;

impl Mix {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let only_outages = rng.one_in(10);
        let mixed = Self::draw_mixed(rng, only_outages);
        // What takes several misfortunes at once is too rare in a mix of all.
        match rng.below(5) {
            // A node that looks dead and cannot renew its lease, and is read all the time.
            0 if !only_outages => Self {
                shards: 2,
                actors: 2,
                client_every_ms: 25,
                upheaval_every_ms: 1_500,
                faulty_fates: 0,
                kinds: 1 << 2 | 1 << 6,
                is_firewalled: true,
                is_mixed: false,
                ..mixed
            },
            // Owners that die or freeze with saves on their way.
            1 if !only_outages => Self {
                actors: 2,
                client_every_ms: 25,
                upheaval_every_ms: 1_000,
                faulty_fates: 10,
                kinds: 1 << 1 | 1 << 2 | 1 << 7,
                is_mixed: false,
                ..mixed
            },
            // Nodes that come and go, so that releases meet.
            2 if !only_outages => Self { kinds: mixed.kinds | 1 << 7 | 1 << 8, is_mixed: true, ..mixed },
            _ => mixed,
        }
    }

    fn draw_mixed(rng: &mut Rng, only_outages: bool) -> Self {
        Self {
            nodes: 3 + rng.below(2) as usize,
            shards: [2, 4, 8][rng.below(3) as usize],
            actors: [2, 3, 6][rng.below(3) as usize],
            storm_ms: 8_000 + rng.below(14_000),
            client_every_ms: [25, 60, 150][rng.below(3) as usize],
            upheaval_every_ms: [400, 1_000, 2_500][rng.below(3) as usize],
            faulty_fates: if only_outages { 0 } else { [0, 0, 1, 5, 10][rng.below(5) as usize] },
            kinds: if only_outages { 1 | 1 << 11 } else { rng.next() | rng.next() },
            only_outages,
            is_firewalled: false,
            is_mixed: false,
        }
    }
}

/// What is wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upheaval {
    StoreOut,
    ReadOnly,
    StoreCut(usize),
    Pause(usize),
    Blocked(usize, usize),
    Rejects(usize, usize),
    Down(usize),
    /// A node is restarted with the newest release.
    Upgrade(usize),
    /// A node that drains has had its time.
    Drains(usize, u32),
}

impl World {
    pub(super) fn upheaval(&mut self) -> Result<(), Broken> {
        if !self.faults {
            return Ok(());
        }
        let every_ms = self.mix.upheaval_every_ms;
        let next_ms = every_ms / 2 + self.rng.below(every_ms);
        self.after(next_ms, Event::Upheaval);
        let kind = self.rng.below(KINDS);
        if self.mix.kinds >> kind & 1 == 0 {
            return Ok(());
        }
        let node = self.rng.below(self.mix.nodes as u64) as usize;
        let other = (node + 1 + self.rng.below(self.mix.nodes as u64 - 1) as usize) % self.mix.nodes;
        let ms = [200, 900, 2_500, 7_000][self.rng.below(4) as usize];
        let ms = ms / 2 + self.rng.below(ms);
        if kind != 0 && kind != 11 {
            self.trouble_ms = self.now_ms + ms;
        }
        if self.nodes[node].is_paused(self.now_ms) && [6, 8, 9].contains(&kind) {
            return Ok(());
        }
        self.note(format_args!("upheaval {kind} of n{node} and n{other} for {ms} ms"));
        match kind {
            0 => {
                self.disk.is_out = true;
                self.after(ms, Event::Over(Upheaval::StoreOut));
            }
            1 => {
                self.disk.cut[node] = true;
                self.after(ms, Event::Over(Upheaval::StoreCut(node)));
            }
            2 => self.pause(node, ms),
            3 => self.block(&[(node, other)], ms),
            4 => self.block(&[(node, other), (other, node)], ms),
            5 => {
                let others = (0..self.mix.nodes).filter(|other| *other != node);
                let ways: Vec<_> = others.flat_map(|other| [(node, other), (other, node)]).collect();
                self.block(&ways, ms);
            }
            6 => {
                // The firewall's way: one side's session is reset, and dials are refused although the peer lives.
                self.net.rejects[node][other] = true;
                self.after(ms, Event::Over(Upheaval::Rejects(node, other)));
                if self.mix.is_firewalled {
                    // It lives, and cannot say so.
                    self.disk.cut[other] = true;
                    self.after(ms, Event::Over(Upheaval::StoreCut(other)));
                }
                self.close(node, other, true, self.mix.shards > 2)?;
            }
            7 => {
                self.crash(node)?;
                self.after(ms, Event::Over(Upheaval::Down(node)));
            }
            8 => {
                let life = self.nodes[node].life;
                if self.nodes[node].machine.is_some() {
                    self.nodes[node].life_stage = Life::Drains;
                    self.tell_machine(node, Input::Drain)?;
                    self.after(ms.max(3_000), Event::Over(Upheaval::Drains(node, life)));
                }
            }
            9 => self.restart_shard(node)?,
            10 => {
                self.net.dark[node] = true;
                self.crash(node)?;
                self.after(ms, Event::Over(Upheaval::Down(node)));
            }
            _ => {
                self.disk.is_read_only = true;
                self.after(ms, Event::Over(Upheaval::ReadOnly));
            }
        }
        Ok(())
    }

    fn pause(&mut self, node: usize, ms: u64) {
        let until_ms = self.now_ms + ms;
        let paused = &mut self.nodes[node];
        paused.paused_until_ms = paused.paused_until_ms.max(until_ms);
        self.after(ms, Event::Over(Upheaval::Pause(node)));
    }

    fn block(&mut self, ways: &[(usize, usize)], ms: u64) {
        for (from, to) in ways {
            self.net.blocked[*from][*to] = true;
            self.after(ms, Event::Over(Upheaval::Blocked(*from, *to)));
        }
    }

    pub(super) fn over(&mut self, upheaval: Upheaval) -> Result<(), Broken> {
        self.note(format_args!("over: {upheaval:?}"));
        match upheaval {
            Upheaval::StoreOut => self.disk.is_out = false,
            Upheaval::ReadOnly => self.disk.is_read_only = false,
            Upheaval::StoreCut(node) => self.disk.cut[node] = false,
            Upheaval::Pause(node) => self.resume(node)?,
            Upheaval::Blocked(from, to) => self.net.blocked[from][to] = false,
            Upheaval::Rejects(from, to) => self.net.rejects[from][to] = false,
            Upheaval::Down(node) => {
                if self.faults && !self.nodes[node].is_running {
                    self.start(node, self.now_ms);
                }
            }
            Upheaval::Upgrade(node) => {
                if self.nodes[node].machine.is_some() && self.nodes[node].life_stage == Life::Serves {
                    self.nodes[node].life_stage = Life::Drains;
                    self.tell_machine(node, Input::Drain)?;
                }
            }
            Upheaval::Drains(node, life) => {
                if self.runs(node, life) && self.nodes[node].is_paused(self.now_ms) {
                    self.after(100, Event::Over(Upheaval::Drains(node, life)));
                } else if self.runs(node, life) {
                    self.stop_serving(node)?;
                    self.tell_machine(node, Input::Leave)?;
                }
            }
        }
        Ok(())
    }

    /// What had queued up comes before the clock's ticks, or after them.
    fn resume(&mut self, node: usize) -> Result<(), Broken> {
        if !self.nodes[node].is_running || self.nodes[node].is_paused(self.now_ms) {
            return Ok(());
        }
        self.nodes[node].resumed_ms = self.now_ms;
        let life = self.nodes[node].life;
        for trip in self.nodes[node].trips.keys().copied().collect::<Vec<_>>() {
            self.after(0, Event::Look { node, life, trip });
        }
        if self.rng.one_in(2) {
            self.tick(node)?;
        }
        for message in std::mem::take(&mut self.nodes[node].inbox) {
            self.received(node, message)?;
        }
        Ok(())
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&mut self) -> Result<(), Broken> {
        self.note(format_args!("quiet"));
        self.faults = false;
        self.disk.is_out = false;
        self.disk.is_read_only = false;
        self.disk.cut = Default::default();
        self.net.blocked = Default::default();
        self.net.rejects = Default::default();
        self.calm_since_ms = self.now_ms;
        if self.mix.is_mixed && self.rng.one_in(2) {
            for node in 0..self.mix.nodes {
                let ms = ROLLS_OUT_MS.0 + ROLLS_OUT_MS.1 * node as u64;
                self.after(ms, Event::Over(Upheaval::Upgrade(node)));
            }
        }
        // One that is gone may be gone for good.
        let (stays_down, mut down) = (self.rng.one_in(2), 0);
        for node in 0..self.mix.nodes {
            self.nodes[node].paused_until_ms = 0;
            self.resume(node)?;
            if !(self.nodes[node].is_running || stays_down && down == 0) {
                self.start(node, self.now_ms);
            } else if !self.nodes[node].is_running {
                down += 1;
            }
        }
        Ok(())
    }
}
