//! A node's part in the cluster, as a state machine without IO: `step(input) -> outputs`.
//!
//! ```text
//!  every second     renew the own row ──────────────── lost: this node was replaced
//!  twice a second   look at members and map ─┬─ shards that the map gives: adopt; that it takes: let go
//!                                            ├─ a member that stands still, or is gone: evict, then take over (`others`)
//!                                            └─ shards that should be elsewhere: release, then hand over (`moves`)
//! ```
//!
//! Every change is one compare-and-set of one row: nobody is asked, nobody votes. Safety of writes rests on the rows'
//! own versions and epochs; what is decided here on a clock's word decides when, never whether.

mod format;
mod io;
mod moves;
mod others;
pub(crate) mod planted;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use self::io::{Input, Look, Note, Output, Peer, Surroundings};
pub(crate) use self::planted::planted;
#[cfg(test)]
pub(crate) use self::planted::{Bug, plant};
use self::{
    moves::{Hosted, MapSave},
    others::{Eviction, Suspect, Watched},
};
use super::{
    lease::LEASE_MS,
    member::{self, Seat},
    routes::{OwnedShard, Routes},
};
use crate::{
    codec::{Member, MemberState, ShardMap},
    store::{Expect, Kind, Saved},
};

/// How often a lease is renewed: two renewals may fail before it lapses.
const RENEW_EVERY_MS: u64 = 1_000;
/// How often while a peer is not heard of: then only the store's word keeps reads fresh.
const RENEW_ALONE_EVERY_MS: u64 = 300;
/// How long a save of the cluster's rows may take before the very same one is sent again.
const ATTEMPT_MS: u64 = 700;
/// Pause before a save that was refused is sent again: an outage may let up for less than an attempt takes.
const REFUSED_RETRY_MS: u64 = 150;
/// How often members and map are read.
const LOOK_EVERY_MS: u64 = 500;
/// How often while somebody seems to be in trouble.
const LOOK_CLOSELY_EVERY_MS: u64 = 200;
/// A look that has not come back after so long is given up.
const LOOK_MS: u64 = 2_000;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Number of shards, where the cluster is yet to be made.
    pub shards: u16,
    /// The store is this process's alone: nobody else can be there.
    pub alone: bool,
    /// Peers can be reached: a node that reaches too few of them steps back.
    pub connected: bool,
}

/// A renewal: the same row however often it is sent.
#[derive(Clone, Debug)]
struct Renewal {
    member: Member,
    op_id: u128,
    row: crate::store::Row,
    first_sent_ms: u64,
    sent_ms: u64,
}

/// The map as it is in the store.
#[derive(Clone, Debug)]
struct Known {
    row_version: u64,
    map: ShardMap,
}

/// One node's part in the cluster.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    seat: Seat,
    renewal: Option<Renewal>,
    /// When the last renewal that succeeded was sent.
    renewed_ms: Option<u64>,
    renew_next_ms: u64,
    /// When the look that is out was asked for.
    looking_ms: Option<u64>,
    look_next_ms: u64,
    /// When the last look came back, and whether it told.
    looked_ms: Option<u64>,
    map: Option<Known>,
    /// Others than this node, by name.
    members: BTreeMap<String, Watched>,
    sessions: BTreeSet<(String, u64)>,
    /// Sessions that were lost, by whose and when.
    lost_ms: BTreeMap<(String, u64), u64>,
    /// Starts that are over, and since when this node knows it: for a while they may still judge this node.
    ended_ms: BTreeMap<(String, u64), u64>,
    suspects: BTreeMap<(String, u64), Suspect>,
    eviction: Option<Eviction>,
    /// Since when an owner that the map names is no member any more.
    gone_since_ms: BTreeMap<(String, u64), u64>,
    /// Those whose reads are over for certain: this node evicted them, or they had left before it came.
    evicted_here: BTreeSet<(String, u64)>,
    hosted: BTreeMap<u16, Hosted>,
    /// Ownerships that a row showed to be over, by shard: the map that this node knows may be older.
    fenced: BTreeMap<u16, u64>,
    map_save: Option<MapSave>,
    hand_over_next_ms: u64,
    draining: bool,
    drained: bool,
    leaving: bool,
    cut_off_since_ms: Option<u64>,
    stepped_back: bool,
    replaced: bool,
    published: Option<Arc<Routes>>,
    followed: Vec<Peer>,
}

impl Machine {
    /// A node that has just written its row.
    #[must_use]
    pub fn new(rules: Rules, seat: Seat) -> Self {
        let predecessor = (seat.member.name.clone(), seat.member.incarnation.wrapping_sub(1));
        let evicted_here = if seat.is_free { BTreeSet::from([predecessor]) } else { BTreeSet::new() };
        Self {
            rules,
            seat,
            renewal: None,
            renewed_ms: None,
            renew_next_ms: 0,
            looking_ms: None,
            look_next_ms: 0,
            looked_ms: None,
            map: None,
            members: BTreeMap::new(),
            sessions: BTreeSet::new(),
            lost_ms: BTreeMap::new(),
            ended_ms: BTreeMap::new(),
            suspects: BTreeMap::new(),
            eviction: None,
            gone_since_ms: BTreeMap::new(),
            evicted_here,
            hosted: BTreeMap::new(),
            fenced: BTreeMap::new(),
            map_save: None,
            hand_over_next_ms: 0,
            draining: false,
            drained: false,
            leaving: false,
            cut_off_since_ms: None,
            stepped_back: false,
            replaced: false,
            published: None,
            followed: Vec::new(),
        }
    }

    /// Takes one input; what must be done because of it is appended to `out`. `op_id` makes a fresh id for a save.
    pub fn step(
        &mut self,
        input: Input,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output>,
    ) {
        if self.replaced {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Looked(asked_ms, look) => self.looked(asked_ms, look, around, out),
            Input::Saved(id, saved) => self.saved(id, &saved, around, out),
            Input::PeerUp(name, incarnation) => {
                self.suspects.remove(&(name.clone(), incarnation));
                self.lost_ms.remove(&(name.clone(), incarnation));
                self.sessions.insert((name, incarnation));
            }
            Input::PeerLost { name, incarnation, reset } => self.lost_peer((name, incarnation), reset, around),
            Input::Dialled { name, incarnation, refused } => self.dialled((name, incarnation), refused, around),
            Input::Released(shard, clean) => self.released(shard, clean),
            Input::Fenced(shard, epoch) => {
                if self.hosted.get(&shard).is_some_and(|hosted| hosted.epoch == epoch) {
                    self.hosted.remove(&shard);
                }
                self.fenced.insert(shard, epoch);
                self.look_next_ms = 0;
            }
            Input::Hint(version) => {
                if self.map.as_ref().is_none_or(|known| known.map.version < version) {
                    self.look_next_ms = 0;
                }
            }
            Input::Drain => self.draining = true,
            Input::Leave => self.leaving = true,
        }
        self.advance(around, op_id, out);
    }

    /// Whether this node has a place in the cluster and knows it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.map.is_some() && !self.replaced
    }

    /// Whether this node gives up what it has, for now or for good.
    fn steps_back(&self) -> bool {
        self.draining || self.stepped_back || self.unreadable().is_some()
    }

    fn me(&self) -> &str {
        &self.seat.member.name
    }

    fn is_me(&self, name: &str, incarnation: u64) -> bool {
        name == self.me() && incarnation == self.seat.member.incarnation
    }

    /// Whether this node's own lease lives, as far as the store goes: only then may it judge others.
    fn is_renewed(&self, now_ms: u64) -> bool {
        self.renewed_ms.is_some_and(|sent_ms| now_ms < sent_ms + LEASE_MS) || planted!(JudgesWithoutLease)
    }

    fn advance(&mut self, around: &Surroundings, op_id: &mut dyn FnMut() -> u128, out: &mut Vec<Output>) {
        if self.replaced {
            return;
        }
        self.judge_own_reach(around, out);
        self.renew(around, op_id, out);
        self.look(around, out);
        self.judge_others(around, op_id, out);
        self.adopt_and_drop(around, out);
        self.move_shards(around, op_id, out);
        self.publish(out);
    }

    /// Sends the next renewal, or the same one again.
    fn renew(&mut self, around: &Surroundings, op_id: &mut dyn FnMut() -> u128, out: &mut Vec<Output>) {
        if self.rules.alone {
            return;
        }
        let now_ms = around.now_ms;
        if self.renewal.is_none() {
            let state = match (self.leaving, self.steps_back()) {
                (true, _) => MemberState::Left,
                (false, true) => MemberState::Leaving,
                (false, false) => MemberState::Up,
            };
            let every_ms = if around.quiet { RENEW_ALONE_EVERY_MS } else { RENEW_EVERY_MS };
            let due_ms = self.renewed_ms.map_or(0, |sent_ms| sent_ms + every_ms).min(self.renew_next_ms);
            if state == self.seat.member.state && now_ms < due_ms {
                return;
            }
            let member = Member { lease: self.seat.member.lease + 1, state, ..self.seat.member.clone() };
            let id = op_id();
            match member::row(&member, self.seat.version + 1, id, around.wall) {
                Ok(row) => {
                    self.renewal = Some(Renewal { member, op_id: id, row, first_sent_ms: now_ms, sent_ms: now_ms });
                }
                Err(error) => return out.push(Output::Note(Note::Unwritable(error.to_string()))),
            }
        } else if self.renewal.as_ref().is_some_and(|renewal| now_ms < renewal.sent_ms + ATTEMPT_MS) {
            return;
        }
        if let Some(renewal) = &mut self.renewal {
            renewal.sent_ms = now_ms;
            let id = member::id(&renewal.member.name);
            out.push(Output::Save(Kind::Member, id, Expect::Version(self.seat.version), renewal.row.clone()));
        }
    }

    fn saved(&mut self, id: u128, saved: &Saved, around: &Surroundings, out: &mut Vec<Output>) {
        if self.renewal.as_ref().is_some_and(|renewal| renewal.op_id == id) {
            return self.renewal_ended(saved, around, out);
        }
        if self.eviction.as_ref().is_some_and(|eviction| eviction.op_id == id) {
            return self.eviction_ended(saved, around, out);
        }
        if self.map_save.as_ref().is_some_and(|save| save.op_id == id) {
            self.map_save_ended(saved, around, out);
        }
    }

    fn renewal_ended(&mut self, saved: &Saved, around: &Surroundings, out: &mut Vec<Output>) {
        let Some(renewal) = &mut self.renewal else { return };
        match saved {
            Saved::Unknown(_) => return out.push(Output::Note(Note::RenewalLate)),
            // The store takes no writes just now: whoever asks first when it does again keeps its lease.
            Saved::Refused(_) => {
                renewal.sent_ms = (around.now_ms + REFUSED_RETRY_MS).saturating_sub(ATTEMPT_MS);
                return out.push(Output::Note(Note::RenewalLate));
            }
            Saved::Lost(Some(head)) if head.op_id == renewal.op_id => {}
            Saved::Lost(_) if planted!(RenewalLostIgnored) => {}
            Saved::Lost(_) => return self.replaced(out),
            Saved::Applied => {}
        }
        let from_ms = renewal.first_sent_ms;
        self.seat.version += 1;
        if !self.wrote_lately(around.now_ms) {
            // The store took nothing for a while, from the others neither.
            self.looked_ms = None;
        }
        let Some(renewal) = &mut self.renewal else { return };
        self.renewed_ms = Some(from_ms);
        self.renew_next_ms = renewal.sent_ms + RENEW_EVERY_MS;
        if let Some(renewal) = self.renewal.take() {
            self.seat.member = renewal.member;
        }
        out.push(Output::Renewed(from_ms));
        if self.seat.member.state == MemberState::Left {
            self.replaced = true;
            out.push(self.unreadable().map_or(Output::Left, Output::Outdated));
        }
    }

    /// The seat is somebody else's: nothing that this node has may be told any more.
    fn replaced(&mut self, out: &mut Vec<Output>) {
        self.replaced = true;
        out.push(Output::Replaced);
        for shard in std::mem::take(&mut self.hosted).into_keys() {
            out.push(Output::Depose(shard));
        }
    }

    fn look(&mut self, around: &Surroundings, out: &mut Vec<Output>) {
        let now_ms = around.now_ms;
        if self.looking_ms.is_some_and(|asked_ms| now_ms < asked_ms + LOOK_MS) || now_ms < self.look_next_ms {
            return;
        }
        if self.rules.alone && self.map.is_some() {
            return; // nobody else changes anything
        }
        self.looking_ms = Some(now_ms);
        self.look_next_ms = now_ms + if self.is_anybody_in_trouble() { LOOK_CLOSELY_EVERY_MS } else { LOOK_EVERY_MS };
        out.push(Output::Look(now_ms));
    }

    fn looked(&mut self, asked_ms: u64, look: Result<Look, String>, around: &Surroundings, out: &mut Vec<Output>) {
        if self.looking_ms == Some(asked_ms) {
            self.looking_ms = None;
        }
        let look = match look {
            Ok(look) => look,
            Err(why) => {
                self.forget_stillness();
                return out.push(Output::Note(Note::LookFailed(why)));
            }
        };
        if let Some((row_version, map)) = look.map
            && self.map.as_ref().is_none_or(|known| known.row_version < row_version)
        {
            self.map = Some(Known { row_version, map });
            self.judge_format(out);
        }
        self.watch(asked_ms, look.members, around, out);
        self.looked_ms = Some(around.now_ms);
    }

    /// Adopts what the map gives this node, and lets go of what it takes.
    fn adopt_and_drop(&mut self, around: &Surroundings, out: &mut Vec<Output>) {
        let Some(known) = &self.map else { return };
        let mut changes = Vec::new();
        for (number, entry) in known.map.shards.iter().enumerate() {
            let shard = u16::try_from(number).unwrap_or(u16::MAX);
            let is_over = self.fenced.get(&shard).is_some_and(|epoch| entry.epoch <= *epoch);
            let is_mine = self.is_me(&entry.node, entry.incarnation) && !is_over && self.unreadable().is_none();
            match self.hosted.get(&shard) {
                None if is_mine => changes.push((shard, Some(Hosted::open(entry.epoch)), false)),
                Some(hosted) if is_mine && hosted.epoch == entry.epoch => {}
                // Taken away and given again since the last look: what is in memory is not the newest.
                Some(_) if is_mine => changes.push((shard, Some(Hosted::open(entry.epoch)), true)),
                Some(hosted) => changes.push((shard, None, !hosted.is_handed_over())),
                None => {}
            }
        }
        for (shard, hosted, by_force) in changes {
            if self.hosted.remove(&shard).is_some() {
                if by_force {
                    out.push(Output::Depose(shard));
                } else {
                    out.push(Output::Gone(shard));
                }
            }
            if let (Some(hosted), Some(known)) = (hosted, &self.map) {
                let entry = &known.map.shards[usize::from(shard)];
                out.push(Output::Adopt(OwnedShard::new(shard, entry)));
                self.hosted.insert(shard, hosted);
            }
        }
        self.finish(around, out);
    }

    /// Says once that a node that leaves has nothing left to give, or nobody to give it to.
    fn finish(&mut self, around: &Surroundings, out: &mut Vec<Output>) {
        let is_told = self.seat.member.state == MemberState::Leaving || self.rules.alone;
        let has_looked = self.looked_ms.is_some();
        if self.draining && !self.drained && is_told && has_looked && self.map_save.is_none() {
            let has_none = self.hosted.is_empty();
            if has_none || !self.candidates(around).iter().any(|candidate| candidate.takes) {
                self.drained = true;
                out.push(Output::Drained);
            }
        }
        if self.leaving && self.rules.alone {
            self.replaced = true;
            out.push(Output::Left);
        }
    }

    /// Tells what has changed for those who route, and whom to hold sessions with.
    fn publish(&mut self, out: &mut Vec<Output>) {
        let Some(known) = &self.map else { return };
        let peers = self.peers();
        if self.followed != peers {
            self.followed.clone_from(&peers);
            out.push(Output::Follow(peers));
        }
        let steps_back = self.steps_back();
        let is_news = self
            .published
            .as_ref()
            .is_none_or(|routes| routes.map_version != known.map.version || routes.steps_back != steps_back);
        if is_news {
            let routes = Arc::new(Routes::new(&known.map, self.me(), self.seat.member.incarnation, steps_back));
            self.published = Some(Arc::clone(&routes));
            out.push(Output::Routes(routes));
        }
    }
}
