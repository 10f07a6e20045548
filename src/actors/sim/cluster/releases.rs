//! Nodes of several releases: what they read, and where shards may go while releases differ.

use super::{
    super::world::Broken,
    faults::{RELEASES, Release},
    world::World,
};
use crate::{
    cluster::plan::by_release,
    codec::{self, Member, MemberState, ShardMap},
    store::{Kind, Row},
};

/// Releases have met for so long that every node that may move anything knows it: it looks twice a second, and moves
/// nothing without a lease of its own.
const KNOWN_MS: u64 = 6_000;
/// Whoever has had a place for so long is known to everybody.
const SEEN_MS: u64 = 1_500;
/// In the quiet time nobody looks dead any more who lives.
const QUIETED_MS: u64 = 6_000;

/// A member's time as one that stays.
#[derive(Debug)]
pub(super) struct Place {
    since_ms: u64,
    until_ms: Option<u64>,
}

impl World {
    /// What a node starts with: in quiet times the newest, else any.
    pub(super) fn draw_release(&mut self) -> Release {
        let newest = RELEASES[RELEASES.len() - 1];
        if !self.mix.is_mixed || !self.faults {
            return newest;
        }
        RELEASES[[0, 0, 1, 2, 2][self.rng.below(5) as usize]]
    }

    fn living(&self) -> Vec<Member> {
        let members = self.disk.members();
        members.into_iter().filter(|member| matches!(member.state, MemberState::Up | MemberState::Leaving)).collect()
    }

    /// Whoever owns a shard reads what the map says was written, and that never falls.
    pub(super) fn owners_read(&self, next: &ShardMap) -> Result<(), Broken> {
        let written = self.disk.map().map_or(0, |map| map.format);
        if next.format < written {
            return Err(Broken("gate", format!("format {} follows {written}", next.format)));
        }
        for (shard, entry) in next.shards.iter().enumerate() {
            let (release, reads) = self.release_of(&entry.node, entry.incarnation);
            if reads < next.format {
                let what = format!("shard {shard} is {entry:?}'s: {release} reads {reads}, not {}", next.format);
                return Err(Broken("gate", what));
            }
        }
        Ok(())
    }

    fn release_of(&self, name: &str, incarnation: u64) -> (&str, u16) {
        let known = self.releases.get(&(name.to_owned(), incarnation));
        known.map_or(RELEASES[0], |(release, reads)| (release, *reads))
    }

    /// In the end the format is what every member reads.
    pub(super) fn format_is_raised(&self, map: &ShardMap) -> Result<(), Broken> {
        let readable = self.living().iter().map(|member| member.format_max).min().unwrap_or(map.format);
        if map.format == readable {
            return Ok(());
        }
        Err(Broken("gate", format!("format {} is written, and every member reads {readable}", map.format)))
    }

    /// Keeps who may be given shards, and since when.
    pub(super) fn note_place(&mut self, member: &Member) {
        let is_up = member.state == MemberState::Up;
        for ((name, incarnation), place) in &mut self.places {
            if *name == member.name && !(is_up && *incarnation == member.incarnation) {
                place.until_ms.get_or_insert(self.now_ms);
            }
        }
        let key = (member.name.clone(), member.incarnation);
        // One that was cut off and is back begins anew.
        if is_up && self.places.get(&key).is_none_or(|place| place.until_ms.is_some()) {
            self.places.insert(key, Place { since_ms: self.now_ms, until_ms: None });
        }
    }

    /// Keeps since when releases differ.
    pub(super) fn note_mixed(&mut self) {
        if !self.mix.is_mixed {
            return;
        }
        let living = self.living();
        let is_mixed = living.windows(2).any(|pair| pair[0].release != pair[1].release);
        self.mixed_since_ms = is_mixed.then(|| self.mixed_since_ms.unwrap_or(self.now_ms));
    }

    /// While releases differ, a node that stays gives nothing away; and what moves in quiet times goes to the newest
    /// release, as long as it has not more than its share.
    pub(super) fn may_move(&mut self, node: usize, row: &Row) -> Result<(), Broken> {
        // One that is sent again was decided on what was so then.
        if !self.mix.is_mixed || !self.maps_sent.insert(row.op_id) {
            return Ok(());
        }
        let next = codec::decode_map(&row.body).map_err(|error| Broken("P2", error.to_string()))?;
        let Some(old) = self.disk.map().filter(|old| old.version + 1 == next.version) else { return Ok(()) };
        let moved: Vec<usize> = (0..next.shards.len())
            .filter(|shard| {
                let (old, new) = (&old.shards[*shard], &next.shards[*shard]);
                (&old.node, old.incarnation) != (&new.node, new.incarnation)
            })
            .collect();
        let me = &self.nodes[node];
        let stays = |shard: &usize| {
            let entry = &old.shards[*shard];
            *entry.node == *me.name && entry.incarnation == me.incarnation && !me.is_cut_off
        };
        let is_known = self.mixed_since_ms.is_some_and(|since_ms| self.now_ms >= since_ms + KNOWN_MS);
        if let Some(shard) = moved.iter().find(|shard| stays(shard)).filter(|_| is_known) {
            let what = format!("n{node} stays and gives shard {shard} away while releases differ");
            return Err(Broken("rollout", what));
        }
        if self.faults || self.now_ms < self.calm_since_ms + QUIETED_MS {
            return Ok(());
        }
        self.goes_to_the_newest(node, &moved, &next)
    }

    /// Judged by whoever has had a place for so long that everybody knows, and by no more room than the mover may see.
    fn goes_to_the_newest(&self, node: usize, moved: &[usize], next: &ShardMap) -> Result<(), Broken> {
        let seen_ms = self.now_ms.saturating_sub(SEEN_MS);
        let is_mover = |name: &str| *name == *self.nodes[node].name && self.nodes[node].routes.steps_back;
        let known = self.places.iter().filter(|((name, _), _)| !is_mover(name));
        let takers =
            known.clone().filter(|(_, place)| place.until_ms.is_none_or(|until_ms| until_ms > seen_ms)).count();
        let sure = known.filter(|(_, place)| place.until_ms.is_none() && place.since_ms <= seen_ms);
        let sure: Vec<(&str, &str)> =
            sure.map(|((name, incarnation), _)| (name.as_str(), self.release_of(name, *incarnation).0)).collect();
        let Some(newest) = sure.iter().map(|(_, release)| *release).max_by(|a, b| by_release(a, b)) else {
            return Ok(());
        };
        let most = next.shards.len().div_ceil(takers.max(1));
        let load = |name: &str| next.shards.iter().filter(|entry| entry.node == name).count();
        let has_room = |(name, release): &&(&str, &str)| *release == newest && load(name) < most;
        let Some((free, _)) = sure.iter().find(has_room) else { return Ok(()) };
        let is_older = |shard: &&usize| {
            let entry = &next.shards[**shard];
            by_release(self.release_of(&entry.node, entry.incarnation).0, newest).is_lt()
        };
        if let Some(shard) = moved.iter().find(is_older) {
            let to = &next.shards[*shard].node;
            return Err(Broken("rollout", format!("n{node} gives shard {shard} to {to}, and newer {free} has room")));
        }
        Ok(())
    }
}

impl super::disk::Disk {
    fn members(&self) -> Vec<Member> {
        self.rows(Kind::Member).filter_map(|row| codec::decode_member(&row.body).ok()).collect()
    }
}
