//! The cluster's records: a member, the shard map, the keys that every node shares. The public structs are version 1
//! itself, frozen: their field order is the format, and they hold nothing that a reader must not see raw.

use std::fmt;

use bincode::{Decode, Encode};

use super::envelope::{self, DecodeError, EncodeError, ROW_BYTES_MAX, RecordKind};

/// Record formats that this release reads, and writes where every member of the cluster reads them. A format is what a
/// release may find in all rows of a cluster: one number for all kinds of records, so that one comparison says whether a
/// node can work on what is there.
///
/// 1: carts as they are filled. 2: also carts in checkout, stock, checkouts, orders, discount codes, events.
pub const FORMATS: std::ops::RangeInclusive<u16> = 1..=2;
/// Version of a member's bytes.
pub const MEMBER_SCHEMA_V: u16 = 1;
/// Version of the map's bytes.
pub const MAP_SCHEMA_V: u16 = 1;
/// Version of the keys' bytes.
pub const KEYS_SCHEMA_V: u16 = 1;

/// A node as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct Member {
    /// The same at every start.
    pub name: String,
    /// Counts its starts.
    pub incarnation: u64,
    /// Where its public listener is.
    pub http: String,
    /// Where its admin listener is.
    pub admin: String,
    /// Where its cluster listener is; empty for a node alone.
    pub cluster: String,
    /// Release of its binary.
    pub release: String,
    /// Oldest record format that it reads.
    pub format_min: u16,
    /// Newest record format that it reads.
    pub format_max: u16,
    /// Counts its lease renewals.
    pub lease: u64,
    /// Where it is in its life.
    pub state: MemberState,
}

impl Member {
    /// Whether it can work on what a cluster holds that has written this format.
    #[must_use]
    pub const fn reads(&self, format: u16) -> bool {
        self.format_min <= format && format <= self.format_max
    }
}

/// Where a member is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub enum MemberState {
    /// It serves.
    Up,
    /// It hands over what it has.
    Leaving,
    /// Others took over what it had.
    Evicted,
    /// It serves no more, and said so.
    Left,
}

/// Who owns which shard.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct ShardMap {
    /// Rises with every change.
    pub version: u64,
    /// The newest record format that may have been written: whoever does not read it owns nothing. Never falls.
    pub format: u16,
    /// One entry per shard, in order.
    pub shards: Vec<ShardEntry>,
}

/// Who owns a shard, and under which numbers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct ShardEntry {
    /// The owner's name.
    pub node: String,
    /// The owner's start that it belongs to: a restarted process does not inherit it.
    pub incarnation: u64,
    /// The ownership.
    pub epoch: u64,
    /// The epoch of the last takeover that was no clean handoff.
    pub fence: u64,
    /// When the owner before took no more requests, by its wall clock, in Unix milliseconds; 0 = it did not hand over.
    pub closed_at_ms: u64,
}

/// Keys that every node shares.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct ClusterKeys {
    /// Key id and key for guest tokens, the newest first: the first signs, all verify.
    pub guest_mac: Vec<(u8, [u8; 32])>,
}

impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKeys({} guest keys)", self.guest_mac.len())
    }
}

macro_rules! record {
    ($encode:ident, $decode:ident, $type:ty, $kind:ident, $version:ident) => {
        /// The record's bytes.
        ///
        /// # Errors
        /// [`EncodeError::TooLarge`] past a row's bound.
        pub fn $encode(record: &$type) -> Result<Vec<u8>, EncodeError> {
            envelope::seal(RecordKind::$kind, $version, 1, record, ROW_BYTES_MAX)
        }

        /// The record back.
        ///
        /// # Errors
        /// [`DecodeError`] on anything that this release did not write, whatever it is.
        pub fn $decode(bytes: &[u8]) -> Result<$type, DecodeError> {
            envelope::open(bytes, RecordKind::$kind, $version)
        }
    };
}

record!(encode_member, decode_member, Member, Member, MEMBER_SCHEMA_V);
record!(encode_map, decode_map, ShardMap, Map, MAP_SCHEMA_V);
record!(encode_keys, decode_keys, ClusterKeys, Keys, KEYS_SCHEMA_V);
