//! The store: every node's way to the rows, and how a save may go.

use std::collections::BTreeMap;

use super::{
    super::world::Broken,
    faults::FATES,
    node::Message,
    world::{Event, World},
};
use crate::{
    actors::durable::SaveOrder,
    cluster::machine::Look,
    codec::{self, MemberState},
    store::{Expect, Kind, Reason, Row, Saved},
};

/// After an outage of the store nobody may be evicted who was well for so long: two leases and what follows.
const WELL_MS: u64 = 9_000;

/// Members and map.
#[derive(Debug, Default)]
pub(super) struct Disk {
    rows: BTreeMap<(bool, u128), Row>,
    /// Nobody reaches it.
    pub(super) is_out: bool,
    /// It takes nothing.
    pub(super) is_read_only: bool,
    /// Nodes that do not reach it.
    pub(super) cut: [bool; 4],
}

/// What the store is asked.
#[derive(Debug)]
pub(super) enum Work {
    Members { node: usize, life: u32, asked_ms: u64 },
    Map { node: usize, life: u32, asked_ms: u64, look: Look },
    Seat { node: usize, life: u32, name: u128 },
    Save { node: usize, life: u32, kind: Kind, id: u128, expect: Expect, row: Row, answers: bool },
    Load { node: usize, life: u32, shard: u16, turn: u64, id: u128, number: u128 },
    Actor { node: usize, life: u32, shard: u16, turn: u64, id: u128, order: SaveOrder, answers: bool },
}

impl Work {
    const fn asker(&self) -> (usize, u32) {
        match self {
            Self::Members { node, life, .. }
            | Self::Map { node, life, .. }
            | Self::Seat { node, life, .. }
            | Self::Save { node, life, .. }
            | Self::Load { node, life, .. }
            | Self::Actor { node, life, .. } => (*node, *life),
        }
    }
}

fn planned() -> Reason {
    Reason::new("planned")
}

impl Disk {
    pub(super) fn row(&self, kind: Kind, id: u128) -> Option<&Row> {
        self.rows.get(&(kind == Kind::Map, id))
    }

    pub(super) fn rows(&self, kind: Kind) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |((is_map, _), _)| *is_map == (kind == Kind::Map)).map(|(_, row)| row)
    }

    pub(super) fn map(&self) -> Option<codec::ShardMap> {
        codec::decode_map(&self.row(Kind::Map, 0)?.body).ok()
    }
}

impl World {
    fn travel_ms(&mut self) -> u64 {
        match self.rng.below(60) {
            0 if self.faults && self.mix.faulty_fates > 0 => self.rng.below(2_500),
            1..4 => self.rng.below(40),
            _ => self.rng.below(4),
        }
    }

    /// Sends work to the store, which may never get it.
    pub(super) fn store(&mut self, work: Work) {
        let ms = self.travel_ms();
        let (node, _) = work.asker();
        if self.disk.is_out || self.disk.cut[node] {
            return self.fails(work);
        }
        if self.disk.is_read_only && matches!(work, Work::Save { .. } | Work::Actor { .. }) {
            return self.fails(work);
        }
        let drawn = if self.faults { self.rng.below(FATES) } else { FATES };
        if drawn >= self.mix.faulty_fates {
            return self.after(ms, Event::Store(work));
        }
        match (drawn % 5, work) {
            (0 | 1, work) => self.fails(work),
            // Slow: it lands when its sender has long given up.
            (2 | 3, Work::Save { node, life, kind, id, expect, row, .. }) => {
                let late_ms = self.rng.below(6_000);
                let again = Work::Save { node, life, kind, id, expect, row: row.clone(), answers: false };
                self.after(late_ms, Event::Store(again));
                self.tell_saved(ms + self.late(), node, life, None, row.op_id, Saved::Unknown(planned()));
            }
            (2 | 3, Work::Actor { node, life, shard, turn, id, order, .. }) => {
                let late_ms = self.rng.below(6_000);
                let op_id = order.row.op_id;
                self.after(late_ms, Event::Store(Work::Actor { node, life, shard, turn, id, order, answers: false }));
                self.tell_saved(ms, node, life, Some((shard, turn, id)), op_id, Saved::Unknown(planned()));
            }
            // Lands, and its answer is lost.
            (4, Work::Save { node, life, kind, id, expect, row, .. }) => {
                let op_id = row.op_id;
                self.after(ms, Event::Store(Work::Save { node, life, kind, id, expect, row, answers: false }));
                self.tell_saved(ms + 5, node, life, None, op_id, Saved::Unknown(planned()));
            }
            (4, Work::Actor { node, life, shard, turn, id, order, .. }) => {
                let op_id = order.row.op_id;
                self.after(ms, Event::Store(Work::Actor { node, life, shard, turn, id, order, answers: false }));
                self.tell_saved(ms + 5, node, life, Some((shard, turn, id)), op_id, Saved::Unknown(planned()));
            }
            (_, work) => self.after(ms, Event::Store(work)),
        }
    }

    const fn late(&self) -> u64 {
        300
    }

    /// It never reaches the store; the sender is told so, or is told nothing for certain.
    fn fails(&mut self, work: Work) {
        let (node, life) = work.asker();
        let refused = self.rng.one_in(2);
        let ms = if refused { 1 + self.rng.below(5) } else { self.rng.below(2_500) };
        let saved = if refused { Saved::Refused(planned()) } else { Saved::Unknown(planned()) };
        let message = match work {
            Work::Members { asked_ms, .. } | Work::Map { asked_ms, .. } => {
                Message::Looked(asked_ms, Err("planned".into()))
            }
            Work::Seat { .. } => Message::Seat(Err(planned())),
            Work::Save { row, .. } => Message::Saved(row.op_id, saved),
            Work::Load { shard, turn, id, number, .. } => {
                Message::Loaded { shard, turn, id, number, row: Err(planned()) }
            }
            Work::Actor { shard, turn, id, order, .. } => {
                // Its agenda entry may be there all the same.
                self.model.mark(id, order.arm);
                Message::ActorSaved { shard, turn, id, op_id: order.row.op_id, saved }
            }
        };
        self.after(ms, Event::Deliver { to: node, life, message });
    }

    fn tell_saved(&mut self, ms: u64, node: usize, life: u32, of: Option<(u16, u64, u128)>, op_id: u128, saved: Saved) {
        let message = match of {
            Some((shard, turn, id)) => Message::ActorSaved { shard, turn, id, op_id, saved },
            None => Message::Saved(op_id, saved),
        };
        self.after(ms, Event::Deliver { to: node, life, message });
    }

    /// Work has reached the store.
    pub(super) fn stored(&mut self, work: Work) -> Result<(), Broken> {
        let ms = self.travel_ms();
        let (to, life) = work.asker();
        let message = match work {
            Work::Members { node, life, asked_ms } => {
                let decode = |row: &Row| codec::decode_member(&row.body).map(|member| (row.version, member));
                let rows = self.disk.rows.iter().filter(|((is_map, _), _)| !is_map);
                let members = rows.filter_map(|(_, row)| decode(row).ok()).collect();
                let look = Look { members, map: None };
                self.after(ms, Event::Store(Work::Map { node, life, asked_ms, look }));
                return Ok(());
            }
            Work::Map { asked_ms, mut look, .. } => {
                look.map = self.disk.row(Kind::Map, 0).and_then(|row| Some((row.version, self.disk.map()?)));
                Message::Looked(asked_ms, Ok(look))
            }
            Work::Seat { name, .. } => Message::Seat(Ok(self.disk.row(Kind::Member, name).cloned())),
            Work::Save { kind, id, expect, row, answers, .. } => {
                let op_id = row.op_id;
                let saved = self.save(kind, id, expect, row)?;
                self.note(format_args!("{kind:?} save {op_id} of n{to} lands: {saved:?}"));
                if !answers {
                    return Ok(());
                }
                Message::Saved(op_id, saved)
            }
            Work::Load { shard, turn, id, number, .. } => {
                Message::Loaded { shard, turn, id, number, row: Ok(self.model.row(id)) }
            }
            Work::Actor { shard, turn, id, order, answers, .. } => {
                let saved = self.model.save(id, &order).map_err(|why| Broken("P2", why))?;
                let op_id = order.row.op_id;
                self.note(format_args!("a{id} save {op_id} of n{to} epoch={} lands: {saved:?}", order.row.epoch));
                self.ledger.check(&self.model)?;
                if !answers {
                    return Ok(());
                }
                Message::ActorSaved { shard, turn, id, op_id, saved }
            }
        };
        self.after(ms, Event::Deliver { to, life, message });
        Ok(())
    }

    fn save(&mut self, kind: Kind, id: u128, expect: Expect, row: Row) -> Result<Saved, Broken> {
        let head = self.disk.row(kind, id).map(Row::head);
        if !expect.holds(head) {
            return Ok(Saved::Lost(head));
        }
        if kind == Kind::Map {
            self.map_may_follow(&row)?;
        } else {
            self.member_may_follow(&row)?;
        }
        self.disk.rows.insert((kind == Kind::Map, id), row);
        self.note_mixed();
        Ok(Saved::Applied)
    }

    /// Epochs and fences never go down, and rise when they must; nor does the format, and whoever owns a shard reads it.
    fn map_may_follow(&mut self, row: &Row) -> Result<(), Broken> {
        let next = codec::decode_map(&row.body).map_err(|error| Broken("P2", error.to_string()))?;
        self.owners_read(&next)?;
        let Some(old) = self.disk.map() else { return Ok(()) };
        if next.version != old.version + 1 || next.shards.len() != old.shards.len() {
            return Err(Broken("P2", format!("map {} follows {}", next.version, old.version)));
        }
        for (shard, (old, new)) in old.shards.iter().zip(&next.shards).enumerate() {
            let same = (&old.node, old.incarnation) == (&new.node, new.incarnation);
            let rises = new.epoch > old.epoch || (same && new.epoch == old.epoch);
            if !rises || new.fence < old.fence || new.fence > new.epoch {
                return Err(Broken("P2", format!("shard {shard}: {new:?} follows {old:?}")));
            }
        }
        for (shard, entry) in next.shards.iter().enumerate() {
            if *entry != old.shards[shard] {
                self.note(format_args!("map {}: shard {shard} is {entry:?}", next.version));
            }
        }
        Ok(())
    }

    /// Nobody is evicted because the store was out.
    fn member_may_follow(&mut self, row: &Row) -> Result<(), Broken> {
        let member = codec::decode_member(&row.body).map_err(|error| Broken("P2", error.to_string()))?;
        let reads = (member.release.clone(), member.format_max);
        self.releases.insert((member.name.clone(), member.incarnation), reads);
        self.note_place(&member);
        if member.state != MemberState::Evicted {
            return Ok(());
        }
        self.note(format_args!("{} {} is evicted", member.name, member.incarnation));
        let victim = &self.nodes[super::node::number(&member.name)];
        let lives = victim.is_running && victim.incarnation == member.incarnation && victim.machine.is_some();
        if lives && self.mix.only_outages && self.now_ms > self.trouble_ms + WELL_MS {
            return Err(Broken("P8", format!("{} was evicted because the store was out", member.name)));
        }
        Ok(())
    }
}
