//! The cluster as its rows tell it, for operators.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ownership::{Error, MAP_ROW};
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

/// Every member that ever was, by name.
///
/// # Errors
/// [`Error`] when the store does not answer or holds what this release cannot read.
pub async fn members(store: &Arc<dyn Store>, now: UnixMillis) -> Result<Vec<MemberStatus>, Error> {
    let map = store.load(Kind::Map, MAP_ROW, false).await?;
    let map = map.map(|row| codec::decode_map(&row.body)).transpose()?;
    // One page: as many nodes as no cluster has.
    let page = store.scan_rows(Kind::Member, None, SCAN_MAX).await?;
    let mut members = Vec::with_capacity(page.rows.len());
    for (_, row) in page.rows {
        let member = codec::decode_member(&row.body)?;
        members.push(status(member, map.as_ref(), now.since_ms(UnixMillis(row.updated_at_ms))));
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
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
        cluster::{Identity, join},
        codec::ShardEntry,
        store::{Expect, Memory, Saved},
    };

    #[tokio::test]
    async fn members_are_told_with_what_the_map_gives_them() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        assert_eq!(members(&store, UnixMillis(5)).await.unwrap(), []);
        for name in ["b", "a"] {
            let identity = Identity {
                name: name.into(),
                http: "h:1".into(),
                admin: "a:1".into(),
                cluster: String::new(),
                release: "0.1".into(),
            };
            join(&store, &identity, UnixMillis(2), &rand::random).await.unwrap();
        }
        let entry = |node: &str, epoch| ShardEntry { node: node.to_owned(), incarnation: 1, epoch, fence: 1, closed_at_ms: 0 };
        let map = ShardMap { version: 1, format: 1, shards: vec![entry("a", 1), entry("a", 2)] };
        let row = crate::cluster::ownership::map_row(&map, Expect::Absent, 1, UnixMillis(2)).unwrap();
        assert_eq!(store.save(Kind::Map, MAP_ROW, Expect::Absent, row, Vec::new()).await, Saved::Applied);
        let told = members(&store, UnixMillis(5)).await.unwrap();
        let short = |member: &MemberStatus| (member.name.clone(), member.state.clone(), member.shards, member.epochs);
        let expected = [("a".to_owned(), "up".to_owned(), 2, Some((1, 2))), ("b".to_owned(), "up".to_owned(), 0, None)];
        assert_eq!(told.iter().map(short).collect::<Vec<_>>(), expected);
        assert_eq!((told[0].age_ms, told[0].http.as_str()), (3, "h:1"));
    }
}
