//! Takes ownership at a start: the member row first, then the map.

use std::{sync::Arc, time::Duration};

use crate::{
    codec::{self, DecodeError, EncodeError, Member, MemberState, ShardEntry, ShardMap},
    domain::{ShardId, UnixMillis, ids::SLOTS},
    store::{Expect, Kind, Reason, Row, Settled, Store, settle},
};

/// Id of the only row of its kind.
const MAP_ROW: u128 = 0;
/// How often the map is looked at: within it, a node that was replaced stops.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Attempts when others change the rows at the same time; each lost one means that somebody else's was applied.
const ATTEMPTS_MAX: usize = 10;

/// Who this node says it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, the same at every start.
    pub name: Arc<str>,
    /// Where its public listener is.
    pub http: String,
    /// Where its admin listener is.
    pub admin: String,
    /// Release of the binary.
    pub release: String,
}

/// One shard, and under which numbers it is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedShard {
    /// Which.
    pub shard: ShardId,
    /// The ownership; stamped on every row saved under it.
    pub epoch: u64,
    /// The epoch of its last takeover that was no clean handoff: rows below it must be claimed.
    pub fence: u64,
}

/// What this node owns.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Its name.
    pub node: Arc<str>,
    /// Counts its starts.
    pub incarnation: u64,
    /// Version of the map that says so.
    pub map_version: u64,
    /// Every shard, in order.
    pub shards: Vec<OwnedShard>,
    /// Whether the cluster was made just now.
    pub is_new: bool,
}

/// Why ownership could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error("the store is unavailable: {0}")]
    Store(#[from] Reason),
    /// A row cannot be read by this release.
    #[error("a row of the cluster cannot be read by this release: {0}")]
    Decode(#[from] DecodeError),
    /// A row cannot be written.
    #[error("a row of the cluster cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// Others kept changing the rows.
    #[error("other nodes kept changing the cluster's rows; start again")]
    Contended,
    /// The cluster was made with another number of shards.
    #[error(
        "the cluster has {stored} shards for ever, not {configured}: set actors.shards to {stored} or leave it out"
    )]
    Shards {
        /// As made.
        stored: usize,
        /// As configured.
        configured: u16,
    },
    /// Not a power of two up to the number of slots.
    #[error("actors.shards must be a power of two from 1 to 16384, not {0}")]
    ShardCount(u16),
}

/// Takes every shard for this node, under new epochs and fences.
///
/// # Errors
/// [`Error`]; nothing is owned then.
pub async fn take(
    store: &Arc<dyn Store>,
    identity: &Identity,
    shards: u16,
    now: UnixMillis,
    random: impl Fn() -> u128,
) -> Result<Ownership, Error> {
    if !shards.is_power_of_two() || shards > SLOTS {
        return Err(Error::ShardCount(shards));
    }
    let incarnation = join(store, identity, now, &random).await?;
    for _ in 0..ATTEMPTS_MAX {
        let stored = store.load(Kind::Map, MAP_ROW, true).await?;
        let old = stored.as_ref().map(|row| codec::decode_map(&row.body)).transpose()?;
        let map = taken(old.as_ref(), &identity.name, incarnation, shards)?;
        let expect = stored.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
        let row = Row {
            version: expect.next(),
            epoch: 0,
            op_id: random(),
            schema_v: codec::MAP_SCHEMA_V,
            updated_at_ms: now.0,
            ttl_s: None,
            body: codec::encode_map(&map)?.into(),
        };
        if settle(store, Kind::Map, MAP_ROW, expect, row).await? == Settled::Applied {
            let owned = |(n, entry): (usize, &ShardEntry)| OwnedShard {
                shard: ShardId(u16::try_from(n).unwrap_or(u16::MAX)),
                epoch: entry.epoch,
                fence: entry.fence,
            };
            return Ok(Ownership {
                node: Arc::clone(&identity.name),
                incarnation,
                map_version: map.version,
                shards: map.shards.iter().enumerate().map(owned).collect(),
                is_new: old.is_none(),
            });
        }
    }
    Err(Error::Contended)
}

/// Waits until the map gives a shard of ours to another node, or to a later start of this one. An unreachable store says
/// nothing.
pub async fn superseded(store: &Arc<dyn Store>, ownership: &Ownership) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let Ok(Some(row)) = store.load(Kind::Map, MAP_ROW, false).await else { continue };
        // A map that this release cannot read was written by a newer one: it will say so where it matters.
        let Ok(map) = codec::decode_map(&row.body) else { continue };
        let is_newer = |owned: &OwnedShard| {
            map.shards.get(usize::from(owned.shard.0)).is_some_and(|entry| entry.epoch > owned.epoch)
        };
        if map.version > ownership.map_version && ownership.shards.iter().any(is_newer) {
            return;
        }
    }
}

/// The map after this node took every shard: pure.
fn taken(old: Option<&ShardMap>, node: &str, incarnation: u64, shards: u16) -> Result<ShardMap, Error> {
    if let Some(old) = old
        && old.shards.len() != usize::from(shards)
    {
        return Err(Error::Shards { stored: old.shards.len(), configured: shards });
    }
    let entry = |shard: u16| {
        let epoch = old.map_or(0, |old| old.shards[usize::from(shard)].epoch) + 1;
        ShardEntry { node: node.to_owned(), incarnation, epoch, fence: epoch }
    };
    Ok(ShardMap { version: old.map_or(0, |old| old.version) + 1, shards: (0..shards).map(entry).collect() })
}

/// Writes this node's member row with the next incarnation, and returns that.
async fn join(
    store: &Arc<dyn Store>,
    identity: &Identity,
    now: UnixMillis,
    random: &impl Fn() -> u128,
) -> Result<u64, Error> {
    let id = xxhash_rust::xxh3::xxh3_128(identity.name.as_bytes());
    for _ in 0..ATTEMPTS_MAX {
        let stored = store.load(Kind::Member, id, true).await?;
        let old = stored.as_ref().map(|row| codec::decode_member(&row.body)).transpose()?;
        let incarnation = old.map_or(0, |old| old.incarnation) + 1;
        let member = Member {
            name: identity.name.to_string(),
            incarnation,
            http: identity.http.clone(),
            admin: identity.admin.clone(),
            cluster: String::new(),
            release: identity.release.clone(),
            schema_min: codec::CART_SCHEMA_V,
            schema_max: codec::CART_SCHEMA_V,
            lease: 0,
            state: MemberState::Up,
        };
        let expect = stored.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
        let row = Row {
            version: expect.next(),
            epoch: 0,
            op_id: random(),
            schema_v: codec::MEMBER_SCHEMA_V,
            updated_at_ms: now.0,
            ttl_s: None,
            body: codec::encode_member(&member)?.into(),
        };
        if settle(store, Kind::Member, id, expect, row).await? == Settled::Applied {
            return Ok(incarnation);
        }
    }
    Err(Error::Contended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn identity(name: &str) -> Identity {
        Identity { name: name.into(), http: String::new(), admin: String::new(), release: "0".into() }
    }

    async fn start(store: &Arc<dyn Store>, name: &str, shards: u16) -> Result<Ownership, Error> {
        take(store, &identity(name), shards, UnixMillis(1), rand::random).await
    }

    #[tokio::test]
    async fn every_start_takes_new_epochs_and_fences_and_a_new_incarnation() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let first = start(&store, "n1", 4).await.unwrap();
        let second = start(&store, "n1", 4).await.unwrap();
        assert!(first.is_new && !second.is_new);
        assert_eq!((first.incarnation, second.incarnation), (1, 2));
        assert!(second.map_version > first.map_version);
        for (old, new) in first.shards.iter().zip(&second.shards) {
            assert!(new.epoch > old.epoch, "a restarted process must not inherit its predecessor's epoch");
            assert_eq!(new.fence, new.epoch, "what the predecessor left on its way must be fenced off");
        }
    }

    #[tokio::test]
    async fn a_node_notices_that_another_took_over() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let first = start(&store, "n1", 4).await.unwrap();
        let mut waiting = Box::pin(superseded(&store, &first));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "it owns everything");
        start(&store, "n1", 4).await.unwrap();
        waiting.await;
    }

    #[tokio::test]
    async fn nodes_that_start_at_once_never_share_an_epoch() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let (a, b) = tokio::join!(start(&store, "a", 4), start(&store, "b", 4));
        let (a, b) = (a.unwrap(), b.unwrap());
        for (a, b) in a.shards.iter().zip(&b.shards) {
            assert_ne!(a.epoch, b.epoch);
        }
    }

    #[tokio::test]
    async fn the_number_of_shards_is_for_ever() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        start(&store, "n1", 4).await.unwrap();
        assert!(matches!(start(&store, "n1", 8).await, Err(Error::Shards { stored: 4, configured: 8 })));
        assert!(matches!(start(&store, "n1", 3).await, Err(Error::ShardCount(3))));
    }
}
