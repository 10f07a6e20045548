//! Shards on the move: takes over from those that are no more, hands over what should be elsewhere.

use std::collections::BTreeMap;

use super::{ATTEMPT_MS, Known, Machine, Note, Output, Surroundings, planted};
use crate::{
    cluster::{
        ownership::map_row,
        plan::{Move, plan},
        routes::OwnedShard,
    },
    codec::{ShardEntry, ShardMap},
    domain::UnixMillis,
    store::{Expect, Kind, Row, Saved},
};

/// Most shards that one handover moves: bounds how much is dark at once.
const HANDED_OVER_MAX: usize = 16;
/// Pause between two handovers of a node that stays: a join is no emergency.
const HAND_OVER_EVERY_MS: u64 = 100;
/// How long a shard may take to settle before it is handed over as it is, under a new fence.
const SETTLE_MS: u64 = 3_000;

/// A shard that this node serves, or did a moment ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hosted {
    pub(super) epoch: u64,
    state: State,
    /// When it was last told to stop, by the wall clock: the new owner counts from then how long nobody served it.
    closed_at: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Told to stop at this moment.
    Releasing(u64),
    /// Takes nothing; whether every save is settled.
    Released(bool),
}

impl Hosted {
    pub(super) const fn open(epoch: u64) -> Self {
        Self { epoch, state: State::Open, closed_at: UnixMillis(0) }
    }

    /// Whether nothing is served any more: a new owner in the map is one that this node named.
    pub(super) fn is_handed_over(self) -> bool {
        matches!(self.state, State::Released(_))
    }
}

/// A change of the map: the same row however often it is sent.
#[derive(Clone, Debug)]
pub(super) struct MapSave {
    pub(super) op_id: u128,
    expect: Expect,
    row: Row,
    next: ShardMap,
    sent_ms: u64,
    /// An attempt's outcome is unknown.
    unsettled: bool,
    note: Note,
}

impl Machine {
    pub(super) fn released(&mut self, shard: u16, clean: bool) {
        if let Some(hosted) = self.hosted.get_mut(&shard)
            && matches!(hosted.state, State::Releasing(_))
        {
            hosted.state = State::Released(clean);
        }
    }

    /// One change of the map at a time: what is nobody's first, then what should be elsewhere.
    pub(super) fn move_shards(
        &mut self,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output>,
    ) {
        let now_ms = around.now_ms;
        if let Some(save) = &mut self.map_save {
            if now_ms >= save.sent_ms + ATTEMPT_MS {
                save.sent_ms = now_ms;
                save.unsettled = true; // whatever becomes of this attempt, the one before may land yet
                out.push(Output::Save(Kind::Map, 0, save.expect, save.row.clone()));
            }
            return;
        }
        if self.looked_ms.is_none() || !(self.rules.alone || self.is_renewed(now_ms)) {
            return;
        }
        let Some(known) = &self.map else {
            let Some(first) = self.first_map() else { return };
            return self.save_map(Expect::Absent, first, Note::TookOver(0), around, op_id, out);
        };
        let nodes = self.candidates(around);
        let owner = |entry: &ShardEntry| {
            let is_living = self.is_me(&entry.node, entry.incarnation)
                || self
                    .members
                    .get(&entry.node)
                    .is_some_and(|watched| watched.is_member() && watched.member.incarnation == entry.incarnation);
            nodes.iter().position(|node| is_living && *node.name == *entry.node)
        };
        let owners: Vec<_> = known.map.shards.iter().map(owner).collect();
        let moves = plan(&nodes, &owners);
        let me = nodes.iter().position(|node| *node.name == *self.me());
        let named = |to: usize| {
            let name = nodes[to].name.to_string();
            let incarnation = if Some(to) == me {
                self.seat.member.incarnation
            } else {
                self.members.get(&name).map_or(0, |watched| watched.member.incarnation)
            };
            (name, incarnation)
        };
        let (version, next) = (known.row_version, &known.map);
        // Those of dead owners whose reads are over.
        let is_due = |each: &&Move| {
            let entry = &next.shards[usize::from(each.shard)];
            let key = (entry.node.clone(), entry.incarnation);
            each.from.is_none() && (self.is_outlived(&key, now_ms) || planted!(TakesOverAtOnce))
        };
        let taken: BTreeMap<u16, _> = moves.iter().filter(is_due).map(|each| (each.shard, named(each.to))).collect();
        if !taken.is_empty() {
            let changed = changed(next, &taken, |_| Parting::Dead);
            let note = Note::TookOver(taken.len());
            return self.save_map(Expect::Version(version), changed, note, around, op_id, out);
        }
        let is_dark = self.hosted.values().any(|hosted| hosted.state != State::Open);
        if let Some(format) = self.format_due(next).filter(|_| !is_dark) {
            let raised = ShardMap { version: next.version + 1, format, ..next.clone() };
            let note = Note::FormatRaised(format);
            return self.save_map(Expect::Version(version), raised, note, around, op_id, out);
        }
        let mine: BTreeMap<u16, _> = moves
            .iter()
            .filter(|each| each.from == me && Some(each.to) != me)
            .map(|each| (each.shard, named(each.to)))
            .collect();
        self.hand_over(version, mine, around, op_id, out);
    }

    /// Stops shards that should be elsewhere, and names their new owners once they are still.
    fn hand_over(
        &mut self,
        version: u64,
        mine: BTreeMap<u16, (String, u64)>,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output>,
    ) {
        let now_ms = around.now_ms;
        let stopped: Vec<u16> =
            self.hosted.iter().filter(|(_, hosted)| hosted.state != State::Open).map(|(shard, _)| *shard).collect();
        if stopped.is_empty() {
            if mine.is_empty() || (now_ms < self.hand_over_next_ms && !self.steps_back()) {
                return;
            }
            self.hand_over_next_ms = now_ms + HAND_OVER_EVERY_MS;
            for shard in mine.into_keys().take(HANDED_OVER_MAX) {
                if let Some(hosted) = self.hosted.get_mut(&shard) {
                    hosted.state = State::Releasing(now_ms);
                    hosted.closed_at = around.wall;
                    out.push(Output::Release(shard));
                }
            }
            return;
        }
        let is_late =
            |hosted: &super::Hosted| matches!(hosted.state, State::Releasing(since) if now_ms >= since + SETTLE_MS);
        let still_settles =
            |hosted: &super::Hosted| matches!(hosted.state, State::Releasing(since) if now_ms < since + SETTLE_MS);
        if self.hosted.values().any(still_settles) {
            return;
        }
        for hosted in self.hosted.values_mut().filter(|hosted| is_late(hosted)) {
            hosted.state = State::Released(false);
        }
        let mut going = BTreeMap::new();
        for shard in stopped {
            match mine.get(&shard) {
                Some(to) => {
                    going.insert(shard, to.clone());
                }
                // Whoever should have had it is no more.
                None => {
                    if let Some(hosted) = self.hosted.get_mut(&shard) {
                        hosted.state = State::Open;
                        out.push(Output::Reopen(shard));
                    }
                }
            }
        }
        let Some(known) = &self.map else { return };
        if !going.is_empty() {
            let parting = |shard: u16| match self.hosted.get(&shard) {
                Some(hosted) if hosted.state == State::Released(true) => Parting::Clean(hosted.closed_at),
                Some(hosted) => Parting::Unsettled(hosted.closed_at),
                None => Parting::Dead,
            };
            let next = changed(&known.map, &going, parting);
            let note = Note::HandedOver(going.len());
            self.save_map(Expect::Version(version), next, note, around, op_id, out);
        }
    }

    fn save_map(
        &mut self,
        expect: Expect,
        next: ShardMap,
        note: Note,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output>,
    ) {
        let id = op_id();
        match map_row(&next, expect, id, around.wall) {
            Ok(row) => {
                out.push(Output::Save(Kind::Map, 0, expect, row.clone()));
                let sent_ms = around.now_ms;
                self.map_save = Some(MapSave { op_id: id, expect, row, next, sent_ms, unsettled: false, note });
            }
            Err(error) => out.push(Output::Note(Note::Unwritable(error.to_string()))),
        }
    }

    pub(super) fn map_save_ended(&mut self, saved: &Saved, _: &Surroundings, out: &mut Vec<Output>) {
        let Some(save) = &mut self.map_save else { return };
        let is_applied = match saved {
            Saved::Applied => true,
            Saved::Lost(Some(head)) if head.op_id == save.op_id => true,
            Saved::Lost(_) => false,
            Saved::Unknown(_) if planted!(UnknownHandoverReopened) => {
                self.map_save = None;
                for (shard, hosted) in &mut self.hosted {
                    if hosted.state != State::Open {
                        hosted.state = State::Open;
                        out.push(Output::Reopen(*shard));
                    }
                }
                return;
            }
            Saved::Unknown(_) => {
                save.unsettled = true;
                return;
            }
            Saved::Refused(_) if save.unsettled => return,
            // Nothing was taken, nothing ever will be.
            Saved::Refused(_) => {
                self.map_save = None;
                return;
            }
        };
        let Some(save) = self.map_save.take() else { return };
        if !is_applied {
            // Somebody else changed it; ours may lie beneath. The look tells.
            self.look_next_ms = 0;
            self.looking_ms = None;
            return;
        }
        let row_version = save.row.version;
        if self.map.as_ref().is_none_or(|known| known.row_version < row_version) {
            out.push(Output::TellMap(save.next.version));
            self.map = Some(Known { row_version, map: save.next });
        }
        out.push(Output::Note(save.note));
    }

    /// The first map of all: everything is this node's.
    fn first_map(&self) -> Option<ShardMap> {
        let member = &self.seat.member;
        let entry = || ShardEntry {
            node: member.name.clone(),
            incarnation: member.incarnation,
            epoch: 1,
            fence: 1,
            closed_at_ms: 0,
        };
        let shards = (0..self.rules.shards).map(|_| entry()).collect();
        let format = self.readable().max(member.format_min);
        (!self.steps_back()).then_some(ShardMap { version: 1, format, shards })
    }

    /// Every shard that this node serves, as the map gives it.
    #[must_use]
    pub fn owned(&self) -> Vec<OwnedShard> {
        let entries = self.map.iter().flat_map(|known| known.map.shards.iter().enumerate());
        entries
            .filter(|(_, entry)| self.is_me(&entry.node, entry.incarnation))
            .map(|(shard, entry)| OwnedShard::new(u16::try_from(shard).unwrap_or(u16::MAX), entry))
            .collect()
    }
}

/// How an owner let go of a shard.
enum Parting {
    /// It handed over and has settled everything, so that its rows need no claim; closed at this moment.
    Clean(UnixMillis),
    /// It handed over with saves still open; closed at this moment.
    Unsettled(UnixMillis),
    /// It is no more.
    Dead,
}

/// The map after these shards went to new owners.
fn changed(map: &ShardMap, to: &BTreeMap<u16, (String, u64)>, parting: impl Fn(u16) -> Parting) -> ShardMap {
    let mut next = ShardMap { version: map.version + 1, ..map.clone() };
    for (shard, (node, incarnation)) in to {
        let entry = &mut next.shards[usize::from(*shard)];
        entry.node.clone_from(node);
        entry.incarnation = *incarnation;
        if !planted!(EpochKept) {
            entry.epoch += 1;
        }
        let (closed_at, is_clean) = match parting(*shard) {
            Parting::Clean(at) => (at, true),
            Parting::Unsettled(at) => (at, false),
            Parting::Dead => (UnixMillis(0), false),
        };
        entry.closed_at_ms = closed_at.0;
        if !is_clean {
            entry.fence = entry.epoch;
        }
    }
    next
}
