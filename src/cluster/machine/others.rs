//! Which of the others still live: watches their leases, suspects those whose session was lost, evicts.
//!
//! An eviction is a compare-and-set of the member's row, so a renewal that came first makes it fail and one that comes
//! later fails itself. What remains is the lease that the evicted may still hold: the evictor waits it out before.

use super::{ATTEMPT_MS, LEASE_MS, Machine, Note, Output, Peer, RENEW_EVERY_MS, Surroundings, member, planted};
use crate::{
    cluster::{
        lease::AFFIRMED_MS,
        plan::{Candidate, by_release},
    },
    codec::{Member, MemberState},
    store::{Expect, Kind, Row, Saved},
};

/// A lease that is renewed no more is over after so long, also where this node's clock runs faster by a tenth.
pub(crate) const OUTLIVED_MS: u64 = LEASE_MS + LEASE_MS / 10;
/// So long after a session was lost its other end knows it, also where this node's clock runs faster by a tenth.
pub(crate) const NOTICED_MS: u64 = AFFIRMED_MS + AFFIRMED_MS / 10 + 30;
/// Looks further apart than this show nothing of what was between them.
const GAP_MS: u64 = 1_500;
/// Only while a node's own renewals succeed does another's standing still count: no longer after the last one than one
/// renewal and one attempt more, so that of those who renewed before an outage none outlives another by it.
const WROTE_LATELY_MS: u64 = RENEW_EVERY_MS + ATTEMPT_MS;
/// A member whose lease stands still for longer is given nothing.
const LIVELY_MS: u64 = 1_500;
/// Fresh connections that must be refused before a lost session counts as a dead process.
const DIALS: u32 = 2;
/// Pause between connections that are tried before.
const DIAL_EVERY_MS: u64 = 100;
/// How much later each further node acts, in the order of names: enough for the one before to be done.
const RANK_MS: u64 = 150;
/// A node that reaches too few others for so long gives up what it has; longer than an eviction on a lost session takes.
const CUT_OFF_AFTER_MS: u64 = 1_500;

/// A member as this node has watched it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) row_version: u64,
    pub(super) member: Member,
    /// Since when its row has stood still, over looks that followed close upon each other.
    pub(super) still_since_ms: u64,
}

impl Watched {
    /// Whether it can renew its lease.
    pub(super) fn is_member(&self) -> bool {
        matches!(self.member.state, MemberState::Up | MemberState::Leaving)
    }
}

/// A member whose session was reset.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    lost_ms: u64,
    /// Its row at the first look since, and when that was: from then on a renewal clears it.
    based: Option<(u64, u64)>,
    refused: u32,
    dialled_ms: u64,
}

/// An eviction: the same row however often it is sent.
#[derive(Clone, Debug)]
pub(super) struct Eviction {
    name: String,
    incarnation: u64,
    pub(super) op_id: u128,
    expect: Expect,
    row: Row,
    sent_ms: u64,
    /// An attempt may be applied yet, also one that follows.
    unsettled: bool,
    by_session: bool,
}

impl Machine {
    /// Takes in what a look shows of the members.
    pub(super) fn watch(
        &mut self,
        asked_ms: u64,
        members: Vec<(u64, Member)>,
        around: &Surroundings,
        out: &mut Vec<Output>,
    ) {
        let now_ms = around.now_ms;
        let is_gap = self.looked_ms.is_none_or(|looked_ms| now_ms > looked_ms + GAP_MS) || !self.wrote_lately(now_ms);
        for (row_version, member) in members {
            if member.name == self.me() {
                continue;
            }
            let still_since_ms = match self.members.get(&member.name) {
                Some(known) if known.row_version > row_version => continue,
                Some(known) if known.row_version == row_version && (!is_gap || planted!(GapIgnored)) => {
                    known.still_since_ms
                }
                _ => now_ms,
            };
            let key = (member.name.clone(), member.incarnation);
            if let Some(suspect) = self.suspects.get_mut(&key)
                && asked_ms >= suspect.lost_ms
            {
                match suspect.based {
                    None => suspect.based = Some((row_version, now_ms)),
                    Some((based, _)) if based == row_version => {}
                    // It renews its lease: whoever refuses connections in its place is not it.
                    Some(_) => drop(self.suspects.remove(&key)),
                }
            }
            let has_left = member.state == MemberState::Left;
            let watched = Watched { row_version, member, still_since_ms };
            if !watched.is_member() {
                self.ended_ms.entry(key.clone()).or_insert(if has_left { 0 } else { now_ms });
            }
            if let Some(old) = self.members.insert(key.0.clone(), watched)
                && old.member.incarnation != key.1
            {
                self.ended_ms.entry((key.0, old.member.incarnation)).or_insert(now_ms);
            }
        }
        let is_over = |ended_ms: u64| now_ms >= ended_ms + OUTLIVED_MS;
        for key in self.ended_ms.iter().filter(|(_, ended_ms)| is_over(**ended_ms)).map(|(key, _)| key) {
            out.push(Output::Forget(key.0.clone(), key.1));
        }
        self.ended_ms.retain(|_, ended_ms| !is_over(*ended_ms));
        let (members, map) = (&self.members, &self.map);
        let is_member = |key: &(String, u64)| {
            members.get(&key.0).is_some_and(|watched| watched.member.incarnation == key.1 && watched.is_member())
        };
        self.suspects.retain(|key, _| is_member(key));
        // An owner that is no member any more: since when this node knows it.
        let owners = map.iter().flat_map(|known| &known.map.shards);
        let gone: std::collections::BTreeSet<(String, u64)> = owners
            .map(|entry| (entry.node.clone(), entry.incarnation))
            .filter(|key| !is_member(key) && !self.is_me(&key.0, key.1))
            .collect();
        self.gone_since_ms.retain(|key, _| gone.contains(key));
        for key in gone {
            self.gone_since_ms.entry(key).or_insert(now_ms);
        }
    }

    /// Whether the store takes writes, as far as this node knows.
    pub(super) fn wrote_lately(&self, now_ms: u64) -> bool {
        self.renewed_ms.is_some_and(|sent_ms| now_ms <= sent_ms + WROTE_LATELY_MS) || planted!(JudgesWithoutLease)
    }

    /// After a look that failed nothing is known of the time before.
    pub(super) fn forget_stillness(&mut self) {
        if !planted!(GapIgnored) {
            self.looked_ms = None;
        }
    }

    pub(super) fn lost_peer(&mut self, key: (String, u64), reset: bool, around: &Surroundings) {
        if !self.sessions.remove(&key) {
            return;
        }
        self.lost_ms.insert(key.clone(), around.now_ms);
        if !reset {
            return;
        }
        let lost_ms = around.now_ms;
        if self.peer(&key).is_some() {
            self.suspects.insert(key, Suspect { lost_ms, based: None, refused: 0, dialled_ms: lost_ms });
            self.look_next_ms = 0;
            self.looking_ms = None; // one that is out may have been asked for before
        }
    }

    pub(super) fn dialled(&mut self, key: (String, u64), refused: bool, around: &Surroundings) {
        let Some(suspect) = self.suspects.get_mut(&key) else { return };
        if refused {
            suspect.refused += 1;
            return;
        }
        // A process that ends closes its sessions and its listener one after the other.
        suspect.refused = 0;
        if suspect.based.is_some_and(|(_, based_ms)| around.now_ms >= based_ms + NOTICED_MS) {
            self.suspects.remove(&key);
        }
    }

    /// Evicts whoever is dead for certain, or as good as: one at a time.
    pub(super) fn judge_others(
        &mut self,
        around: &Surroundings,
        op_id: &mut dyn FnMut() -> u128,
        out: &mut Vec<Output>,
    ) {
        let now_ms = around.now_ms;
        let is_renewed = self.is_renewed(now_ms);
        if let Some(eviction) = &mut self.eviction {
            if now_ms >= eviction.sent_ms + ATTEMPT_MS {
                if !is_renewed {
                    // The store takes nothing from this node either: whoever stands still may live. What was sent may
                    // land, and is seen then.
                    self.eviction = None;
                    return;
                }
                eviction.sent_ms = now_ms;
                eviction.unsettled = true;
                let id = member::id(&eviction.name);
                out.push(Output::Save(Kind::Member, id, eviction.expect, eviction.row.clone()));
            }
            return;
        }
        self.dial_suspects(now_ms, out);
        if !is_renewed {
            return;
        }
        let Some((name, by_session)) = self.condemned(now_ms) else { return };
        let Some(watched) = self.members.get(&name) else { return };
        let id = op_id();
        let member = Member { state: MemberState::Evicted, ..watched.member.clone() };
        match member::row(&member, watched.row_version + 1, id, around.wall) {
            Ok(row) => {
                let expect = Expect::Version(watched.row_version);
                out.push(Output::Save(Kind::Member, member::id(&name), expect, row.clone()));
                let incarnation = member.incarnation;
                self.eviction = Some(Eviction {
                    name,
                    incarnation,
                    op_id: id,
                    expect,
                    row,
                    sent_ms: now_ms,
                    unsettled: false,
                    by_session,
                });
            }
            Err(error) => out.push(Output::Note(Note::Unwritable(error.to_string()))),
        }
    }

    /// Tries connections to those whose session was lost, the last one when they must have noticed that.
    fn dial_suspects(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let due = |suspect: &Suspect| {
            let noticed_ms = suspect.based.map(|(_, based_ms)| based_ms + NOTICED_MS);
            let is_last = noticed_ms.is_some_and(|noticed_ms| now_ms >= noticed_ms && suspect.dialled_ms < noticed_ms);
            let is_early = suspect.refused + 1 < DIALS && now_ms >= suspect.dialled_ms + DIAL_EVERY_MS;
            is_last || (suspect.based.is_some() && is_early)
        };
        let keys: Vec<_> =
            self.suspects.iter().filter(|(_, suspect)| due(suspect)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let (Some(peer), Some(suspect)) = (self.peer(&key), self.suspects.get_mut(&key)) {
                suspect.dialled_ms = now_ms;
                out.push(Output::Dial(peer));
            }
        }
    }

    /// Who must be evicted, and whether on a lost session's word.
    fn condemned(&self, now_ms: u64) -> Option<(String, bool)> {
        let late_ms = RANK_MS * self.rank();
        let by_session = self.suspects.iter().find(|(key, suspect)| {
            let is_same =
                |row_version: u64| self.members.get(&key.0).is_some_and(|watched| watched.row_version == row_version);
            suspect.refused >= DIALS
                && suspect.based.is_some_and(|(version, based_ms)| {
                    let due_ms = based_ms + NOTICED_MS;
                    is_same(version) && suspect.dialled_ms >= due_ms && now_ms >= due_ms + late_ms
                })
        });
        if let Some(((name, _), _)) = by_session {
            return Some((name.clone(), true));
        }
        let is_over = |watched: &&super::Watched| {
            watched.is_member() && now_ms >= watched.still_since_ms + OUTLIVED_MS + late_ms && !planted!(NeverEvicts)
        };
        // What was not looked at since cannot be said to stand still.
        let looked_lately = self.looked_ms.is_some_and(|looked_ms| now_ms <= looked_ms + GAP_MS);
        // A store that takes no writes makes everybody stand still, whoever renewed last a little later than the others.
        let still = self.members.values().find(is_over).filter(|_| looked_lately && self.wrote_lately(now_ms));
        still.map(|watched| (watched.member.name.clone(), false))
    }

    pub(super) fn eviction_ended(&mut self, saved: &Saved, around: &Surroundings, out: &mut Vec<Output>) {
        let is_applied = match (saved, &self.eviction) {
            (Saved::Applied, _) => true,
            (Saved::Lost(Some(head)), Some(eviction)) if head.op_id == eviction.op_id => true,
            (Saved::Lost(_), _) => false,
            // The store takes no writes: that this one stands still says nothing.
            (Saved::Refused(_), Some(eviction)) if !eviction.unsettled => {
                self.eviction = None;
                self.forget_stillness();
                return;
            }
            // The very same again, when its time is over.
            (Saved::Unknown(_) | Saved::Refused(_), _) => {
                if let Some(eviction) = &mut self.eviction {
                    eviction.unsettled = true;
                }
                return;
            }
        };
        let Some(eviction) = self.eviction.take() else { return };
        let key = (eviction.name, eviction.incarnation);
        self.suspects.remove(&key);
        self.look_next_ms = 0;
        if !is_applied && !planted!(EvictionLostIgnored) {
            // It lives: whatever its row says now, it has not stood still.
            if let Some(watched) = self.members.get_mut(&key.0) {
                watched.still_since_ms = around.now_ms;
            }
            return;
        }
        out.push(Output::Note(Note::Evicted(key.0.clone(), key.1, eviction.by_session)));
        if let Some(watched) = self.members.get_mut(&key.0) {
            watched.row_version = watched.row_version.max(eviction.row.version);
            watched.member.state = MemberState::Evicted;
        }
        self.gone_since_ms.insert(key.clone(), around.now_ms);
        self.evicted_here.insert(key);
    }

    /// Whether nobody can be told anything any more by an owner that is no member.
    pub(super) fn is_outlived(&self, key: &(String, u64), now_ms: u64) -> bool {
        if self.rules.alone || self.evicted_here.contains(key) {
            return true;
        }
        let Some(since_ms) = self.gone_since_ms.get(key) else { return false };
        // Whoever evicts has waited first.
        let has_ended =
            self.members.get(&key.0).is_some_and(|watched| watched.member.incarnation == key.1 && !watched.is_member());
        let wait_ms = match self.lost_ms.get(key) {
            _ if has_ended => 0,
            // Its renewals have been impossible since, and it has noticed the loss of its session.
            Some(_) => NOTICED_MS,
            None => OUTLIVED_MS,
        };
        let from_ms = self.lost_ms.get(key).map_or(*since_ms, |lost_ms| *since_ms.max(lost_ms));
        now_ms >= from_ms + wait_ms + RANK_MS * self.rank()
    }

    /// How many living members have a lower name.
    fn rank(&self) -> u64 {
        let lives = |watched: &&super::Watched| {
            let key = (watched.member.name.clone(), watched.member.incarnation);
            watched.is_member() && !self.suspects.contains_key(&key)
        };
        self.members.values().filter(lives).filter(|watched| *watched.member.name < *self.me()).count() as u64
    }

    /// Every node that has something or may be given something; this one is the last.
    pub(super) fn candidates(&self, around: &Surroundings) -> Vec<Candidate> {
        let looks_alive = |watched: &super::Watched| {
            let key = (watched.member.name.clone(), watched.member.incarnation);
            around.now_ms <= watched.still_since_ms + LIVELY_MS && !self.suspects.contains_key(&key)
        };
        let others = self.members.values().filter(|watched| watched.is_member()).map(|watched| {
            let keeps = watched.member.state == MemberState::Up && self.reads_all(&watched.member);
            Candidate {
                name: watched.member.name.as_str().into(),
                release: watched.member.release.as_str().into(),
                takes: keeps && looks_alive(watched),
                keeps,
            }
        });
        let stays = !self.steps_back();
        let me = Candidate {
            name: self.me().into(),
            release: self.seat.member.release.as_str().into(),
            takes: stays,
            keeps: stays,
        };
        let mut all: Vec<_> = others.chain([me]).collect();
        // The plan must not depend on who makes it.
        all.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| by_release(&a.release, &b.release)));
        all
    }

    /// Members to hold a session with.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let reachable = |watched: &&super::Watched| watched.is_member() && !watched.member.cluster.is_empty();
        self.members.values().filter(reachable).map(|watched| peer_of(&watched.member)).collect()
    }

    fn peer(&self, key: &(String, u64)) -> Option<Peer> {
        let watched = self.members.get(&key.0)?;
        (watched.member.incarnation == key.1 && watched.is_member()).then(|| peer_of(&watched.member))
    }

    pub(super) fn is_anybody_in_trouble(&self) -> bool {
        !self.suspects.is_empty()
            || !self.gone_since_ms.is_empty()
            || self.peers().iter().any(|peer| self.lost_ms.contains_key(&(peer.name.to_string(), peer.incarnation)))
    }

    /// A node that reaches less than half of the members gives up what it has: the others could not reach it either.
    pub(super) fn judge_own_reach(&mut self, around: &Surroundings, out: &mut Vec<Output>) {
        let now_ms = around.now_ms;
        if !self.rules.connected || self.rules.alone {
            return;
        }
        // Those that stand still cannot take anything: they do not count.
        let lively: Vec<&Member> = self
            .members
            .values()
            .filter(|watched| watched.is_member() && now_ms <= watched.still_since_ms + LIVELY_MS)
            .map(|watched| &watched.member)
            .collect();
        let reached = |member: &&&Member| self.sessions.contains(&(member.name.clone(), member.incarnation));
        let count = lively.iter().filter(reached).count() + 1;
        let all = lively.len() + 1;
        let lowest = lively.iter().map(|member| member.name.as_str()).chain([self.me()]).min();
        let has_lowest = lowest == Some(self.me())
            || lively.iter().filter(reached).any(|member| Some(member.name.as_str()) == lowest);
        let is_cut_off = count * 2 < all || (count * 2 == all && !has_lowest);
        if !is_cut_off {
            self.cut_off_since_ms = None;
            if std::mem::take(&mut self.stepped_back) {
                out.push(Output::Note(Note::BackInReach));
            }
            return;
        }
        let since_ms = *self.cut_off_since_ms.get_or_insert(now_ms);
        if now_ms >= since_ms + CUT_OFF_AFTER_MS && !std::mem::replace(&mut self.stepped_back, true) {
            out.push(Output::Note(Note::CutOff));
        }
    }
}

fn peer_of(member: &Member) -> Peer {
    Peer { name: member.name.as_str().into(), incarnation: member.incarnation, address: member.cluster.clone() }
}
