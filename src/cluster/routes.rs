//! Who owns which shard, as this node knows it: what requests are routed by.

use std::sync::Arc;

use crate::{
    codec::{ShardEntry, ShardMap},
    domain::{ShardId, Slot, UnixMillis},
};

/// One shard, and under which numbers it is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedShard {
    /// Which.
    pub shard: ShardId,
    /// The ownership; stamped on every row saved under it.
    pub epoch: u64,
    /// The epoch of its last takeover that was no clean handoff: rows below it must be claimed.
    pub fence: u64,
    /// When the owner before took no more requests, by its wall clock; `None` = it did not hand the shard over.
    pub closed_at: Option<UnixMillis>,
}

impl OwnedShard {
    /// A shard as the map's entry gives it.
    pub(super) fn new(shard: u16, entry: &ShardEntry) -> Self {
        let closed_at = (entry.closed_at_ms > 0).then_some(UnixMillis(entry.closed_at_ms));
        Self { shard: ShardId(shard), epoch: entry.epoch, fence: entry.fence, closed_at }
    }
}

/// Whose a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The owner's name.
    pub node: Arc<str>,
    /// Its start.
    pub incarnation: u64,
    /// The ownership.
    pub epoch: u64,
    /// The epoch of the last takeover.
    pub fence: u64,
    /// Whether it is this node, as it runs now.
    pub is_here: bool,
}

/// The map as this node knows it.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Version of the map.
    pub map_version: u64,
    /// The newest record format that may be written: every member reads it. 0 before the first look; never falls.
    pub format: u16,
    /// One owner per shard; none before the first look.
    pub owners: Vec<Owner>,
    /// This node gives up what it has.
    pub steps_back: bool,
}

impl Routes {
    /// The routes of a map, seen from a node.
    #[must_use]
    pub fn new(map: &ShardMap, me: &str, incarnation: u64, steps_back: bool) -> Self {
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut name = |text: &str| match names.iter().find(|name| &***name == text) {
            Some(name) => Arc::clone(name),
            None => {
                names.push(text.into());
                Arc::from(text)
            }
        };
        let owners = map.shards.iter().map(|entry| Owner {
            node: name(&entry.node),
            incarnation: entry.incarnation,
            epoch: entry.epoch,
            fence: entry.fence,
            is_here: entry.node == me && entry.incarnation == incarnation,
        });
        Self { map_version: map.version, format: map.format, owners: owners.collect(), steps_back }
    }

    /// The shard of a slot, and its owner; `None` before the first look.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<(ShardId, &Owner)> {
        let shards = u16::try_from(self.owners.len()).ok().filter(|shards| *shards > 0)?;
        let shard = slot.shard(shards);
        self.owners.get(usize::from(shard.0)).map(|owner| (shard, owner))
    }
}
