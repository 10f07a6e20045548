//! Takes ownership at a start: the member rows first, so that nobody else's lease is renewed any more, then the map.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    lease::{self, Lease},
    member::{Seat, evict, join},
};
use crate::{
    codec::{self, DecodeError, EncodeError, ShardEntry, ShardMap},
    domain::{ShardId, UnixMillis, ids::SLOTS},
    store::{Expect, Kind, Reason, Row, Settled, Store, read, settle},
};

/// Id of the only row of its kind.
pub(super) const MAP_ROW: u128 = 0;
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
    /// This node's place among the members.
    pub seat: Seat,
    /// For how long what it has in memory is certainly the newest.
    pub lease: Lease,
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
    /// Another process took this node's place while it started.
    #[error("another process with this cluster.node_name started at the same time: give each a name of its own")]
    Replaced,
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
    let joined = join(store, identity, now, &random).await?;
    let (mut seat, incarnation) = (joined.seat, joined.incarnation);
    // A store that only one process can open has no other owner to wait for.
    let mut must_wait = joined.may_serve && !store.is_exclusive();
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(store, Kind::Map, MAP_ROW).await?;
        let old = stored.as_ref().map(|row| codec::decode_map(&row.body)).transpose()?;
        let map = taken(old.as_ref(), &identity.name, incarnation, shards)?;
        let others: BTreeSet<&str> = old.iter().flat_map(|old| &old.shards).map(|entry| entry.node.as_str()).collect();
        for other in others.into_iter().filter(|other| **other != *identity.name) {
            must_wait |= evict(store, other, now, &random).await? && !store.is_exclusive();
        }
        if must_wait {
            tracing::info!(wait_ms = lease::OUTLIVED_MS, "waiting until the reads of this node's predecessor are over");
            tokio::time::sleep(std::time::Duration::from_millis(lease::OUTLIVED_MS)).await;
            must_wait = false;
        }
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
            let lease =
                if store.is_exclusive() { Lease::for_ever() } else { lease::first(store, &mut seat, &random).await? };
            return Ok(Ownership {
                seat,
                lease,
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
