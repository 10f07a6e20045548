//! What actors must still do, and when: index entries that outlive crashes, moves and passivation.
//!
//! Entries of one shard and one hour lie in one partition, ordered by due time. An entry is written no later than the row
//! that needs it; a superfluous one is harmless and deleted when it fires. The partition's name and the key are persistent.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    codec::record::Armed,
    domain::{ShardId, UnixMillis},
    store::{IndexEntry, Kind},
};

/// Width of a bucket: a shard that was away for a day scans 24 partitions.
pub const BUCKET_MS: u64 = 60 * 60 * 1000;
const KEY_LEN: usize = 8 + 1 + 16 + 8;

/// Which bucket a moment is in.
#[must_use]
pub const fn bucket(at: UnixMillis) -> u64 {
    at.0 / BUCKET_MS
}

/// The partition of a shard's bucket.
#[must_use]
pub fn partition(shard: ShardId, bucket: u64) -> Box<[u8]> {
    let mut name = Vec::with_capacity(15);
    name.extend_from_slice(b"agenda/");
    name.extend_from_slice(&shard.0.to_be_bytes());
    name.extend_from_slice(&bucket.to_be_bytes()[2..]);
    name.into()
}

/// The partition that holds every shard's low mark: buckets below it are done.
#[must_use]
pub fn low_marks() -> Box<[u8]> {
    Box::from(b"agenda-low".as_slice())
}

/// A shard's low mark: its buckets below `bucket` are done.
#[must_use]
pub fn low_mark_entry(shard: ShardId, bucket: u64) -> IndexEntry {
    IndexEntry {
        partition: low_marks(),
        key: Box::from(shard.0.to_be_bytes().as_slice()),
        value: Box::from(bucket.to_be_bytes().as_slice()),
    }
}

/// The key of an entry: due first, so that a scan sees what is due in order.
#[must_use]
pub fn key(kind: Kind, id: u128, armed: Armed) -> Box<[u8]> {
    let mut key = Vec::with_capacity(KEY_LEN);
    key.extend_from_slice(&armed.due.0.to_be_bytes());
    key.push(kind as u8);
    key.extend_from_slice(&id.to_be_bytes());
    key.extend_from_slice(&armed.version.to_be_bytes());
    key.into()
}

/// The first key that is not due at `now`.
#[must_use]
pub fn not_due(now: UnixMillis) -> Box<[u8]> {
    Box::from(now.0.saturating_add(1).to_be_bytes().as_slice())
}

/// What a key says; `None` for bytes that are no key of this release.
#[must_use]
pub fn parse(key: &[u8]) -> Option<(Kind, u128, Armed)> {
    let (due, rest) = key.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (id, version) = rest.split_first_chunk::<16>()?;
    let kind = Kind::ALL.into_iter().find(|known| *known as u8 == *kind)?;
    let armed =
        Armed { due: UnixMillis(u64::from_be_bytes(*due)), version: u64::from_be_bytes(version.try_into().ok()?) };
    Some((kind, u128::from_be_bytes(*id), armed))
}

/// The whole entry.
#[must_use]
pub fn entry(shard: ShardId, kind: Kind, id: u128, armed: Armed) -> IndexEntry {
    IndexEntry { partition: partition(shard, bucket(armed.due)), key: key(kind, id, armed), value: Box::default() }
}

/// How late the oldest due entry of each shard of a node is.
#[derive(Debug, Default)]
pub struct Overdue(Mutex<BTreeMap<ShardId, u64>>);

impl Overdue {
    /// Takes note, in milliseconds, of how late a shard's oldest entry is; 0 = none is due, or the shard is gone. Returns how
    /// late the oldest of all shards is.
    pub fn note(&self, shard: ShardId, late_ms: u64) -> u64 {
        // Nothing that runs under the lock panics half way.
        let mut late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if late_ms == 0 {
            late.remove(&shard);
        } else {
            late.insert(shard, late_ms);
        }
        late.values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_all_shards_counts_until_it_is_done() {
        let overdue = Overdue::default();
        assert_eq!(overdue.note(ShardId(1), 3_600_000), 3_600_000);
        assert_eq!(overdue.note(ShardId(2), 1_000), 3_600_000, "a shard that is less late hides no other");
        assert_eq!(overdue.note(ShardId(1), 0), 1_000);
        assert_eq!(overdue.note(ShardId(2), 0), 0);
    }

    #[test]
    fn keys_read_back_and_sort_by_due_time() {
        let at = |due, version| Armed { due: UnixMillis(due), version };
        for armed in [at(0, 1), at(1 << 40, u64::MAX)] {
            assert_eq!(parse(&key(Kind::Cart, 7, armed)), Some((Kind::Cart, 7, armed)));
        }
        assert!(key(Kind::Cart, u128::MAX, at(5, 9)) < key(Kind::Cart, 0, at(6, 1)));
        assert!(key(Kind::Cart, u128::MAX, at(5, 9)) < not_due(UnixMillis(5)));
        assert!(key(Kind::Cart, 0, at(6, 0)) >= not_due(UnixMillis(5)));
    }

    #[test]
    fn foreign_bytes_are_no_key() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&[0; KEY_LEN]), None);
        assert_eq!(parse(&key(Kind::Cart, 7, Armed { due: UnixMillis(1), version: 1 })[..KEY_LEN - 1]), None);
    }
}
