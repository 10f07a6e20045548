//! The cluster as its rows tell it, for operators.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    ownership::{Error, MAP_ROW},
    plan::{Candidate, plan},
};
use crate::{
    codec::{self, Member, MemberState, ShardMap},
    domain::UnixMillis,
    store::{Kind, SCAN_MAX, Store},
};

/// A member, and what it owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// up, leaving, left or evicted.
    pub state: String,
    /// Counts its starts.
    pub incarnation: u64,
    /// Shards that the map gives it.
    pub shards: usize,
    /// The lowest and the highest epoch of those; `None` = it owns none.
    pub epochs: Option<(u64, u64)>,
    /// Counts its lease renewals; 0 = it needs no lease, or has just started.
    pub lease: u64,
    /// Milliseconds since its row was saved last, by the clocks of that machine and of this one.
    pub age_ms: u64,
    /// Oldest and newest record format that it reads.
    pub formats: (u16, u16),
    /// Release of its binary.
    pub release: String,
    /// Where its public listener is.
    pub http: String,
    /// Where its operators' listener is.
    pub admin: String,
}

/// Shards that are where they should not stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// Whose they are.
    pub from: String,
    /// Why they move.
    pub why: Why,
    /// Whose they should be; `None` = nobody is there to take them.
    pub to: Option<String>,
    /// Which, in order.
    pub shards: Vec<u16>,
}

/// Why a shard moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// Its owner is no member any more.
    Gone,
    /// Its owner leaves.
    Leaving,
    /// Its owner has more than its share.
    Share,
}

/// The whole cluster, as its rows tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The newest record format that may have been written; 0 = there is no map yet.
    pub format: u16,
    /// Every member that ever was, by name.
    pub members: Vec<MemberStatus>,
    /// What is on its way from one member to another, or about to be: by the plan that every node makes of these rows. A
    /// node that looks dead to its peers and is not evicted yet counts as one that lives.
    pub moves: Vec<Moves>,
}

/// What the rows tell.
///
/// # Errors
/// [`Error`] when the store does not answer or holds what this release cannot read.
pub async fn overview(store: &Arc<dyn Store>, now: UnixMillis) -> Result<Overview, Error> {
    let map = store.load(Kind::Map, MAP_ROW, false).await?;
    let map = map.map(|row| codec::decode_map(&row.body)).transpose()?;
    // One page: as many nodes as no cluster has.
    let page = store.scan_rows(Kind::Member, None, SCAN_MAX).await?;
    let mut members = Vec::with_capacity(page.rows.len());
    for (_, row) in page.rows {
        members.push((codec::decode_member(&row.body)?, now.since_ms(UnixMillis(row.updated_at_ms))));
    }
    members.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let moves = map.as_ref().map(|map| moves(&members, map)).unwrap_or_default();
    Ok(Overview {
        format: map.as_ref().map_or(0, |map| map.format),
        members: members.into_iter().map(|(member, age_ms)| status(member, map.as_ref(), age_ms)).collect(),
        moves,
    })
}

/// What the plan says of these members and this map, by why, from whom and to whom.
fn moves(members: &[(Member, u64)], map: &ShardMap) -> Vec<Moves> {
    let living: Vec<&Member> = members
        .iter()
        .map(|(member, _)| member)
        .filter(|member| matches!(member.state, MemberState::Up | MemberState::Leaving))
        .collect();
    let stays = |member: &Member| member.state == MemberState::Up && member.reads(map.format);
    let nodes: Vec<Candidate> = living
        .iter()
        .map(|member| Candidate {
            name: member.name.as_str().into(),
            release: member.release.as_str().into(),
            takes: stays(member),
            keeps: stays(member),
        })
        .collect();
    let is_owner = |entry: &codec::ShardEntry, member: &Member| {
        entry.node == member.name && entry.incarnation == member.incarnation
    };
    let owners: Vec<Option<usize>> =
        map.shards.iter().map(|entry| living.iter().position(|member| is_owner(entry, member))).collect();
    let planned: BTreeMap<u16, usize> = plan(&nodes, &owners).into_iter().map(|each| (each.shard, each.to)).collect();
    let mut told: BTreeMap<(Why, &str, Option<&str>), Vec<u16>> = BTreeMap::new();
    for (number, (entry, owner)) in map.shards.iter().zip(&owners).enumerate() {
        let shard = u16::try_from(number).unwrap_or(u16::MAX);
        let to = planned.get(&shard).map(|to| &*nodes[*to].name);
        let why = match owner {
            None => Why::Gone,
            Some(owner) if !nodes[*owner].keeps => Why::Leaving,
            Some(_) if to.is_some() => Why::Share,
            Some(_) => continue,
        };
        told.entry((why, entry.node.as_str(), to)).or_default().push(shard);
    }
    let moves = told.into_iter().map(|((why, from, to), shards)| Moves {
        from: from.to_owned(),
        why,
        to: to.map(str::to_owned),
        shards,
    });
    moves.collect()
}

fn status(member: Member, map: Option<&ShardMap>, age_ms: u64) -> MemberStatus {
    let is_its = |entry: &&codec::ShardEntry| entry.node == member.name && entry.incarnation == member.incarnation;
    let epochs: Vec<u64> = map.iter().flat_map(|map| &map.shards).filter(is_its).map(|entry| entry.epoch).collect();
    let state = match member.state {
        MemberState::Up => "up",
        MemberState::Leaving => "leaving",
        MemberState::Evicted => "evicted",
        MemberState::Left => "left",
    };
    MemberStatus {
        state: state.to_owned(),
        incarnation: member.incarnation,
        shards: epochs.len(),
        epochs: epochs.iter().min().copied().zip(epochs.iter().max().copied()),
        lease: member.lease,
        age_ms,
        formats: (member.format_min, member.format_max),
        release: member.release,
        http: member.http,
        admin: member.admin,
        name: member.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Identity, join, member_id, member_row},
        codec::{FORMATS, ShardEntry},
        store::{Expect, Memory, Saved},
    };

    async fn joined(store: &Arc<dyn Store>, name: &str) -> Result<crate::cluster::Seat, Error> {
        let identity = Identity {
            name: name.into(),
            http: "h:1".into(),
            admin: "a:1".into(),
            cluster: String::new(),
            release: "0.1".into(),
        };
        join(store, &identity, UnixMillis(2), &rand::random).await
    }

    async fn becomes(store: &Arc<dyn Store>, name: &str, state: MemberState) {
        let seat = joined(store, name).await.unwrap();
        let member = Member { state, ..seat.member };
        let expect = Expect::Version(seat.version);
        let row = member_row(&member, expect.next(), rand::random(), UnixMillis(2)).unwrap();
        assert_eq!(store.save(Kind::Member, member_id(name), expect, row, Vec::new()).await, Saved::Applied);
    }

    async fn mapped(store: &Arc<dyn Store>, format: u16, owners: &[(&str, u64)]) {
        let entry = |(at, (node, incarnation)): (usize, &(&str, u64))| ShardEntry {
            node: (*node).to_owned(),
            incarnation: *incarnation,
            epoch: at as u64 + 1,
            fence: 1,
            closed_at_ms: 0,
        };
        let map = ShardMap { version: 1, format, shards: owners.iter().enumerate().map(entry).collect() };
        let row = crate::cluster::ownership::map_row(&map, Expect::Absent, 1, UnixMillis(2)).unwrap();
        assert_eq!(store.save(Kind::Map, MAP_ROW, Expect::Absent, row, Vec::new()).await, Saved::Applied);
    }

    #[tokio::test]
    async fn members_are_told_with_what_the_map_gives_them() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        assert_eq!(overview(&store, UnixMillis(5)).await.unwrap(), Overview::default());
        for name in ["b", "a"] {
            joined(&store, name).await.unwrap();
        }
        mapped(&store, 2, &[("a", 1), ("a", 1)]).await;
        let told = overview(&store, UnixMillis(5)).await.unwrap();
        let short = |member: &MemberStatus| (member.name.clone(), member.state.clone(), member.shards, member.epochs);
        let expected = [("a".to_owned(), "up".to_owned(), 2, Some((1, 2))), ("b".to_owned(), "up".to_owned(), 0, None)];
        assert_eq!(told.members.iter().map(short).collect::<Vec<_>>(), expected);
        assert_eq!((told.members[0].age_ms, told.members[0].http.as_str(), told.format), (3, "h:1", 2));
        let share =
            Moves { from: "a".into(), why: Why::Share, to: Some("b".into()), shards: told.moves[0].shards.clone() };
        assert_eq!((told.moves.as_slice(), share.shards.len()), ([share.clone()].as_slice(), 1));
    }

    #[tokio::test]
    async fn moves_of_nodes_that_leave_and_that_are_gone_are_told_whoever_is_asked() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        joined(&store, "a").await.unwrap();
        becomes(&store, "b", MemberState::Leaving).await;
        becomes(&store, "c", MemberState::Evicted).await;
        joined(&store, "d").await.unwrap();
        joined(&store, "d").await.unwrap();
        mapped(&store, 1, &[("b", 1), ("a", 1), ("c", 1), ("d", 1), ("a", 1), ("d", 2)]).await;
        let told = overview(&store, UnixMillis(5)).await.unwrap();
        let of = |why, from: &str| -> Vec<u16> {
            let its = told.moves.iter().filter(|moves| moves.why == why && moves.from == from);
            its.clone().for_each(|moves| assert!(["a", "d"].contains(&moves.to.as_deref().unwrap()), "{moves:?}"));
            its.flat_map(|moves| moves.shards.clone()).collect()
        };
        assert_eq!((of(Why::Leaving, "b"), of(Why::Gone, "c")), (vec![0], vec![2]));
        assert_eq!(of(Why::Gone, "d"), [3], "a start that is over is gone, though its successor lives");
        assert_eq!(told.moves.iter().map(|moves| moves.shards.len()).sum::<usize>(), 3, "{:?}", told.moves);
    }

    #[tokio::test]
    async fn without_anybody_who_stays_it_is_told_that_shards_have_nowhere_to_go() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        becomes(&store, "a", MemberState::Leaving).await;
        mapped(&store, 1, &[("a", 1), ("a", 1)]).await;
        let moves = Moves { from: "a".into(), why: Why::Leaving, to: None, shards: vec![0, 1] };
        assert_eq!(overview(&store, UnixMillis(5)).await.unwrap().moves, [moves]);
    }

    #[tokio::test]
    async fn a_release_that_does_not_read_what_was_written_does_not_join() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let written = FORMATS.end() + 1;
        mapped(&store, written, &[("a", 1)]).await;
        let refused = joined(&store, "b").await.unwrap_err().to_string();
        assert!(refused.contains("has written record format 3, and this release reads 1 to 2"), "{refused}");
        assert_eq!(overview(&store, UnixMillis(5)).await.unwrap().members, [], "its row was not written");
    }
}
